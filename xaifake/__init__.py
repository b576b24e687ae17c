"""xaifake: look inside a deepfake detector, and measure whether what you see can be believed."""

import importlib

__version__ = "0.1.0"
__all__ = ["explain", "methods"]


def __getattr__(name):
    # Loaded when first used: the worker processes that cut faces need no network.
    if name in __all__:
        return getattr(importlib.import_module("xaifake.explainers"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
