"""The third room: looking inside a detector (chapters 05_activations to 09_gradients).

`explain` is the one call for every method; `methods` lists them.
"""

from xaifake.lazy import attach

# LRP for a network of one's own needs neither LIME's packages nor OpenCV.
__getattr__, __dir__, __all__ = attach(
    __name__, renamed={"describe_depth": "activation_statistics"}
)
