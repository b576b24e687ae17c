"""The first room: from videos of faces to arrays (chapters 01_dataset and 02_face_extraction)."""

import importlib

_HOME = {  # loaded when first asked for: reading a catalogue needs neither dlib nor a decoder
    "read_catalogue": "dfd",
    "compare_with_dfd": "dfd",
    "split_by_person": "dfd",
    "split_by_video": "dfd",
    "split_by_frame": "dfd",
    "sampling_rates": "dfd",
    "make_clips": "clips",
    "extract_faces": "extraction",
    "load_faces": "dataset",
}
__all__ = list(_HOME)


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(f"xaifake.data.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
