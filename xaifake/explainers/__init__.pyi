from .activations import (
    activation_statistics as activation_statistics,
    activations as activations,
    class_differences as class_differences,
    map_layers as map_layers,
)
from .api import (
    LIME as LIME,
    LRP as LRP,
    RISE as RISE,
    Explainer as Explainer,
    GradCAM as GradCAM,
    GradCAMPlusPlus as GradCAMPlusPlus,
    Gradient as Gradient,
    GuidedBackprop as GuidedBackprop,
    InputTimesGradient as InputTimesGradient,
    IntegratedGradients as IntegratedGradients,
    KernelSHAP as KernelSHAP,
    Occlusion as Occlusion,
    Relevance as Relevance,
    SmoothGrad as SmoothGrad,
    explain as explain,
    methods as methods,
)
from .registry import register as register
