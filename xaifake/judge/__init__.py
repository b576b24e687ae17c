"""The fourth room: can the explanations be believed? (chapters 08_perturbations to 11_verdict)."""

from xaifake.judge.faithfulness import causal_maps, put_back
from xaifake.judge.localisation import (
    localise,
    mask_auc,
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
)
from xaifake.judge.perturbations import (
    Affine,
    Blur,
    Noise,
    perturbation_curve,
    rotation,
    scaling,
    shear,
    translation,
)
from xaifake.judge.sanity import randomisation_curve
from xaifake.judge.stability import stability
from xaifake.judge.verdict import judge, judged

__all__ = [
    "Affine",
    "Blur",
    "Noise",
    "causal_maps",
    "judge",
    "judged",
    "localise",
    "mask_auc",
    "perturbation_curve",
    "pointing_game",
    "put_back",
    "randomisation_curve",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "rotation",
    "scaling",
    "shear",
    "stability",
    "translation",
]
