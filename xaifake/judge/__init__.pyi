from .faithfulness import (
    patch_effects as patch_effects,
    restore_cells as restore_cells,
)
from .localisation import (
    localise as localise,
    mask_auc as mask_auc,
    pointing_game as pointing_game,
    register_score as register_score,
    relevance_mass_accuracy as relevance_mass_accuracy,
    relevance_rank_accuracy as relevance_rank_accuracy,
)
from .perturbations import (
    Affine as Affine,
    Blur as Blur,
    Noise as Noise,
    perturbation_curve as perturbation_curve,
    rotation as rotation,
    scaling as scaling,
    shear as shear,
    translation as translation,
)
from .runner import (
    Protocol as Protocol,
    default_methods as default_methods,
    judge as judge,
    judged as judged,
)
from .sanity import randomisation_curve as randomisation_curve
from .stability import stability as stability
