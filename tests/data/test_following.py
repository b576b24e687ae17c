"""Following a face finds the faces that a search of every whole frame finds."""

import dlib
import numpy as np
import pytest

import hd_clips
from xaifake.data.extraction import _search_every
from xaifake.data.faces import Face, FaceFinder, face_square
from xaifake.data.portraits import read_portraits
from xaifake.data.pyramid import _copies, boxes_near


@pytest.fixture(scope="module")
def finder():
    return FaceFinder()


def frames_of(kind, seed, count):
    people = np.random.default_rng(seed).permutation(read_portraits().index)[:2]
    return zip(*hd_clips.hd_frames(kind, people, count, seed), strict=True)


def overlaps(some, others):
    """Intersections over unions of the squares of faces, pair by pair."""
    squares = (np.array([face_square(face, 2.0) for face in faces]) for faces in (some, others))
    return hd_clips.overlap(*squares)


def test_this_dlib_can_be_asked_for_one_copy(finder):
    assert finder._detect_near is not None


def test_near_a_face_the_search_finds_what_the_search_of_the_whole_frame_does(finder):
    followed, searched = [], []
    for seed in range(5):
        frames, _ = frames_of("one", seed, 8)
        before = None
        for frame in frames:
            whole = finder.find(frame)
            if before is not None and len(whole) == 1:
                near = finder._find_near(frame, before)
                assert len(near) == 1
                followed += near
                searched += whole
            before = whole[0] if len(whole) == 1 else None
    assert len(followed) > 30
    assert np.mean(overlaps(followed, searched) > 0.9) >= 0.99
    same = [one.box == other.box for one, other in zip(followed, searched, strict=True)]
    assert np.mean(same) > 0.8  # to the pixel


@pytest.mark.parametrize("region", [(0, 0, 90, 80), (130, 70, 210, 170), (250, 200, 320, 241)])
def test_parts_of_the_copies_have_the_pixels_that_dlib_gives_the_whole_copies(region):
    whole = np.random.default_rng(0).integers(0, 256, (241, 320, 3), dtype=np.uint8)
    for number, (part, y, x) in _copies(whole, region, 0, 4).items():
        theirs = whole[y : y + part.shape[0], x : x + part.shape[1]]
        assert part.shape == theirs.shape and part.shape[0] > 40 and part.shape[1] > 40
        # A sum that is nearly whole may be cut off on either side of it, once a copy.
        assert np.abs(part - theirs.astype(int)).max() <= number
        assert np.mean(part != theirs) < 0.01, number
        whole = dlib.resize_image(whole, 5 * whole.shape[0] // 6, 5 * whole.shape[1] // 6)


@pytest.mark.parametrize("kind", hd_clips.KINDS)
def test_a_followed_clip_has_the_faces_of_one_that_is_searched_whole(finder, kind):
    frames, inside = frames_of(kind, 11, 10)
    followed, whole = list(finder.follow(frames, every=4)), [finder.find(f) for f in frames]
    counts = [len(faces) for faces in followed]
    assert counts == [len(faces) for faces in whole]
    followed, whole = (
        [sorted(f, key=lambda face: face.box) for f in way] for way in (followed, whole)
    )
    assert set(counts) == {"one": {1}, "two": {1, 2}, "none": {0}, "leaving": {0, 1}}[kind]
    assert 1 not in np.array(counts)[np.array(inside) >= 2]
    if kind != "none":
        assert (overlaps(sum(followed, []), sum(whole, [])) > 0.9).all()


class Counting(FaceFinder):
    """A finder that is told where faces are, one list of corners a frame, and counts searches."""

    def __init__(self, near=1):
        self._detect_near, self.near = True, near
        self.whole, self.around = [], []

    def find(self, frame):
        self.whole.append(int(frame[0, 0, 0]))
        return [self._at(corner) for corner in frame[0, 1:3, 0] if corner]

    def _find_near(self, frame, face):
        self.around.append(int(frame[0, 0, 0]))
        corners = [c for c in frame[0, 1:3, 0] if c and abs(int(c) - face.box[0]) < 20]
        return [self._at(corner) for corner in corners] * self.near

    def _at(self, corner):
        return Face((int(corner), 0, int(corner) + 50, 50), np.zeros((68, 2), np.float32))


def told(*corners):
    """Frames that carry their number, and the corners of up to two faces."""
    frames = np.zeros((len(corners), 480, 640, 3), np.uint8)
    for number, (frame, places) in enumerate(zip(frames, corners, strict=True)):
        frame[0, : 1 + len(places), 0] = [number, *places]
    return frames


ONE, TWO = (9,), (9, 99)


@pytest.mark.parametrize(
    ("near", "corners", "whole", "around"),
    [
        (1, [ONE] * 10, [0, 4, 8, 9], [1, 2, 3, 5, 6, 7]),
        (1, [TWO] * 5, [0, 4], [1, 1, 2, 2, 3, 3]),
        (1, [ONE] * 3 + [TWO] * 5, [0, 1, 2, 3, 4, 7], [5, 5, 6, 6]),  # a second face comes
        (1, [TWO, (50, 99), (55, 90), (50, 99), TWO], [0, 1, 2, 3, 4], None),  # which is which?
        (1, [ONE, ONE, TWO, (99,), (99,)], [0, 1, 2, 3, 4], None),  # one gives way to another
        (0, [ONE] * 5, [0, 1, 2, 3, 4], [1, 2, 3]),  # it is lost in each frame
    ],
)
def test_faces_are_followed_where_nothing_else_can_be(near, corners, whole, around):
    finder = Counting(near)
    found = list(finder.follow(told(*corners), every=4))
    assert [tuple(sorted(face.box[0] for face in faces)) for faces in found] == corners
    assert sorted(set(finder.whole)) == whole
    assert around is None or finder.around == around


def test_a_face_larger_or_smaller_than_before_is_found_at_its_own_size(finder):
    (frame,), _ = frames_of("one", 3, 1)
    (face,) = finder.find(frame)
    left, top, right, bottom = face.box
    for change in (-0.1, 0.1):
        by = round(change * (right - left))
        before = (left - by, top - by, right + by, bottom + by)
        box = boxes_near(finder._detect_near, frame, before)[0]
        assert np.abs(np.subtract(box, (left, top, right - 1, bottom - 1))).max() <= 1


def test_a_video_is_searched_whole_at_least_every_two_seconds():
    wanted = list(range(39))
    assert _search_every(wanted, 30.0) == 2  # 0.77 s from one frame to the next
    assert _search_every(list(range(267)), 30.0) == 16
    assert _search_every(wanted, 0.0) == 1
    assert _search_every([0], 90.0) == 1
