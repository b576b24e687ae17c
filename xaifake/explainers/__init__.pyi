from .activations import (
    activation_statistics as activation_statistics,
    activations as activations,
    class_differences as class_differences,
    map_layers as map_layers,
)
from .api import (
    LIME as LIME,
    LRP as LRP,
    Explainer as Explainer,
    GradCAM as GradCAM,
    Gradient as Gradient,
    GuidedBackprop as GuidedBackprop,
    InputTimesGradient as InputTimesGradient,
    IntegratedGradients as IntegratedGradients,
    Relevance as Relevance,
    explain as explain,
    methods as methods,
)
from .registry import register as register
