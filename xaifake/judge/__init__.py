"""The fourth room: can the explanations be believed? (chapters 08_perturbations to 11_verdict)."""

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

__all__ = [
    "Affine",
    "Blur",
    "Noise",
    "perturbation_curve",
    "rotation",
    "scaling",
    "shear",
    "translation",
]
