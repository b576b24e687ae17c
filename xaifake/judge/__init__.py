"""The fourth room: can the explanations be believed? (chapters 10_perturbations to 14_verdict)."""

from xaifake.lazy import attach

# The scores of maps against masks are NumPy's work and need no network.
__getattr__, __dir__, __all__ = attach(
    __name__, renamed={"causal_maps": "patch_effects", "put_back": "restore_cells"}
)
