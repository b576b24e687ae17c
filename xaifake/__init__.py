"""xaifake: look inside a deepfake detector, and measure whether what you see can be believed."""

from xaifake.lazy import attach

__version__ = "0.1.0"

# The worker processes that cut faces need no network.
__getattr__, __dir__, __all__ = attach(__name__)
