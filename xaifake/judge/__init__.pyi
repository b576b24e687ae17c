from .cues import (
    draw_regions as draw_regions,
    fine_tune as fine_tune,
    plant_cue as plant_cue,
    planted_cue as planted_cue,
    prove_use as prove_use,
    score_signs as score_signs,
)
from .faithfulness import (
    patch_effects as patch_effects,
    restore_cells as restore_cells,
)
from .interventions import (
    outside_effects as outside_effects,
    texture_effects as texture_effects,
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
from .protocols import (
    attack as attack,
    attack_named_segments as attack_named_segments,
    draw_by_outcome as draw_by_outcome,
    harmless_edits as harmless_edits,
    turned_verdicts as turned_verdicts,
)
from .runner import (
    Protocol as Protocol,
    default_methods as default_methods,
    judge as judge,
    judged as judged,
)
from .sanity import randomisation_curve as randomisation_curve
from .stability import stability as stability
from .verdict import (
    no_method_beats as no_method_beats,
    read_claims as read_claims,
    specifications as specifications,
    verdicts as verdicts,
)
