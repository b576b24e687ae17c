"""The third room: looking inside a detector (chapters 04_activations to 07_gradients).

`explain` is the one call for every method; `methods` lists them.
"""

from xaifake.explainers.activations import (
    activations,
    class_differences,
    describe_depth,
    map_layers,
)
from xaifake.explainers.api import explain, methods

__all__ = [
    "activations",
    "class_differences",
    "describe_depth",
    "explain",
    "map_layers",
    "methods",
]
