"""The fourth room: can the explanations be believed? (chapters 08_perturbations to 11_verdict)."""

from xaifake.lazy import attach

# The scores of maps against masks are NumPy's work and need no network.
__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "faithfulness": ["causal_maps", "put_back"],
        "localisation": [
            "localise",
            "mask_auc",
            "pointing_game",
            "register_score",
            "relevance_mass_accuracy",
            "relevance_rank_accuracy",
        ],
        "perturbations": [
            "Affine",
            "Blur",
            "Noise",
            "perturbation_curve",
            "rotation",
            "scaling",
            "shear",
            "translation",
        ],
        "sanity": ["randomisation_curve"],
        "stability": ["stability"],
        "verdict": ["Protocol", "default_methods", "judge", "judged"],
    },
)
