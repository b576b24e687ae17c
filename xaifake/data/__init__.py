"""The first room: from videos of faces to arrays (chapters 01_dataset and 02_face_extraction)."""

from xaifake.lazy import attach

# Reading a catalogue needs neither dlib nor a decoder.
__getattr__, __dir__, __all__ = attach(__name__)
