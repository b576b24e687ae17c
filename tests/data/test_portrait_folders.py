"""Folders of portraits: whose face is found, what is kept, what is told."""

import shutil

import cv2
import numpy as np
import pytest

from xaifake.data import portrait_folders, portraits
from xaifake.data.dataset import decode_image
from xaifake.data.portrait_folders import find_portraits, list_portraits, portraits_digest
from xaifake.errors import UserError

PEOPLE = ("001", "004")


@pytest.fixture
def folder(tmp_path):
    """Two portraits, one of them large and in a folder below, and a picture of nobody."""
    folder = tmp_path / "faces"
    (folder / "large").mkdir(parents=True)
    first, second = (portraits.FOLDER / "images" / f"{name}_neutral.jpg" for name in PEOPLE)
    shutil.copy(first, folder / "one.JPG")
    large = cv2.resize(cv2.imread(str(second)), None, fx=4, fy=4)
    cv2.imwrite(str(folder / "large" / "two.png"), large)
    cv2.imwrite(str(folder / "wall.jpg"), np.full((200, 200, 3), 90, np.uint8))
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_faces_are_found_where_they_are(folder, tmp_path):
    listed = list_portraits([folder])
    assert list(listed) == ["0/large/two.png", "0/one.JPG", "0/wall.jpg"]
    found = find_portraits(listed, tmp_path / "found.parquet", progress=False)
    assert found.names == ["0/large/two.png", "0/one.JPG"]
    for number, person in enumerate(reversed(PEOPLE)):
        picture, points = decode_image(found.encoded[number]), found.landmarks[number]
        expected = portraits.load_portrait(person)
        # Both sets of landmarks, as a similarity of each other, and the pixels at them.
        scale = np.ptp(points[:, 0]) / np.ptp(expected.landmarks[0][:, 0])
        fitted = portraits.aligned_shape(expected.landmarks[0], points)
        assert np.abs(fitted - points).max() < 0.06 * found.boxes[number]
        assert found.boxes[number] <= 261 and 0.5 < scale < 1.5
        inner = np.arange(17, 60)
        here, there = (
            np.array([image[int(y), int(x)] for x, y in places[inner]], float)
            for image, places in ((picture, fitted), (expected.images[0], expected.landmarks[0]))
        )
        assert np.corrcoef(here.ravel(), there.ravel())[0, 1] > 0.8


def test_faces_are_looked_for_once(folder, tmp_path, monkeypatch):
    listed, cache = list_portraits([folder]), tmp_path / "found.parquet"
    found = find_portraits(listed, cache, progress=False)
    monkeypatch.setattr(portrait_folders, "FaceFinder", None)
    again = find_portraits(listed, cache, progress=False)
    assert again.names == found.names and again.encoded == found.encoded
    assert np.array_equal(again.landmarks, found.landmarks)
    assert np.array_equal(again.boxes, found.boxes)
    (folder / "wall.jpg").unlink()
    with pytest.raises(TypeError):  # another set is searched anew
        find_portraits(list_portraits([folder]), cache, progress=False)


def test_a_set_is_recognised_wherever_it_lies(folder, tmp_path):
    digest = portraits_digest(list_portraits([folder]))
    moved = folder.rename(tmp_path / "moved")
    assert portraits_digest(list_portraits([moved])) == digest
    shutil.copy(moved / "wall.jpg", moved / "wall2.jpg")
    assert portraits_digest(list_portraits([moved])) != digest


def test_two_folders_of_one_name_are_told_apart(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "again" / "faces")
    assert len(list_portraits([folder, other])) == 6


def test_pictures_that_cannot_be_read_are_named(folder, tmp_path):
    for number in range(7):
        (folder / f"broken{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"7 of 10 .*broken0.jpg.*broken4.jpg and 2 more\. Remove"):
        find_portraits(list_portraits([folder]), tmp_path / "found.parquet", progress=False)
    assert not (tmp_path / "found.parquet").exists()


def test_a_folder_without_faces_is_refused(folder, tmp_path):
    (folder / "one.JPG").unlink()
    (folder / "large" / "two.png").unlink()
    with pytest.raises(UserError, match="None of the 1 portraits shows exactly one face"):
        find_portraits(list_portraits([folder]), tmp_path / "found.parquet", progress=False)
    (folder / "wall.jpg").unlink()
    with pytest.raises(UserError, match="no picture in .*faces.*jpg"):
        list_portraits([folder])
    with pytest.raises(UserError, match="There is no folder nowhere"):
        list_portraits(["nowhere"])
