"""The page and the extraction of training data see the same pixels."""

from fractions import Fraction

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import odd_clips
from xaifake.data import extract_faces
from xaifake.data.dataset import SQUARE
from xaifake.data.faces import FaceFinder, encode_jpeg
from xaifake.data.media import open_media
from xaifake.video.reference import SMALLEST
from xaifake.video.tracks import track_faces


@pytest.fixture(scope="module")
def finder():
    return FaceFinder()


def test_page_and_extraction_cut_the_same_pixels(finder, tmp_path):
    """Of a phone's video, held upright and mirrored, with pixels that are not square."""
    frames = [cv2.resize(np.rot90(f), (400, 640)) for f in odd_clips.faces(["022"], 40)]
    path = odd_clips.film(tmp_path / "phone.mp4", frames, "mp4", sar=Fraction(6, 5), g="8")
    odd_clips.set_matrix(path, (0, 1, 1, 0))
    row = {"video": "phone", "path": str(path), "label": 0, "target": "022", "source": None}
    row |= {"scene": "s", "split": "test", "mask_path": None, "original": None}
    manifest = extract_faces(
        pd.DataFrame([row]), tmp_path / "out", scales=(2.0,), smallest=60, full_search=True,
        frames_per_video={"real": 4, "fake": 4}, workers=1, progress=False,
    )  # fmt: skip
    assert manifest.accepted.all() and len(manifest) == 4
    shard = pq.read_table(tmp_path / "out" / "shards" / "phone.parquet").to_pandas()
    footage = open_media(path)
    (person,) = track_faces(footage.read(manifest.frame.tolist()), 2.0, finder=finder)
    squares = [list(detection.square) for detection in person.detections]
    assert squares == manifest[list(SQUARE)].to_numpy().tolist()
    for detection, image in zip(person.detections, shard.image, strict=True):
        assert encode_jpeg(detection.image) == image


def test_a_face_that_is_large_enough_in_the_file_is_not_reduced(finder, tmp_path):
    """Of 4K the middle is full HD: there the face is as large."""
    (frame,) = odd_clips.faces(["022"], 1, (3840, 2160), side=250)
    sides = []
    for name, image in (("4k", frame), ("hd", frame[540:1620, 960:2880])):
        path = odd_clips.film(tmp_path / f"{name}.mp4", [np.ascontiguousarray(image)], "mp4")
        (person,) = track_faces(open_media(path).read(), 2.0, finder=finder)
        sides.append(person.detections[0].square[2])
    assert min(sides) >= SMALLEST and 0.8 <= sides[0] / sides[1] <= 1.25  # a step of dlib's scales
