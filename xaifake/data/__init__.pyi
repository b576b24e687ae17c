from .clips import make_clips as make_clips
from .dataset import load_faces as load_faces
from .dfd import (
    compare_with_dfd as compare_with_dfd,
    frames_per_video as frames_per_video,
    read_catalogue as read_catalogue,
    sampling_rates as sampling_rates,
    skipped_files as skipped_files,
    split_by_person as split_by_person,
    split_by_video as split_by_video,
)
from .extraction import extract_faces as extract_faces, frame_pair as frame_pair
