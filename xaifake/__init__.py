"""xaifake: look inside a deepfake detector, and measure whether what you see can be believed."""

__version__ = "0.1.0"
