"""The first room: from videos of faces to arrays (chapters 01_dataset and 02_face_extraction)."""

from xaifake.lazy import attach

# Reading a catalogue needs neither dlib nor a decoder.
__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "clips": ["make_clips"],
        "dataset": ["load_faces"],
        "dfd": [
            "compare_with_dfd",
            "frames_per_video",
            "read_catalogue",
            "sampling_rates",
            "skipped_files",
            "split_by_person",
            "split_by_video",
        ],
        "extraction": ["extract_faces"],
    },
)
