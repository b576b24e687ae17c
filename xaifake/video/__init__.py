"""The sixth room: a page about any video (chapter 15_explain_a_video)."""

from xaifake.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
