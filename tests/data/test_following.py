"""Following a face: the same faces as a search of every whole frame, in a fraction of the time."""

import numpy as np
import pytest

import hd_clips
from xaifake.data.extraction import _search_every
from xaifake.data.faces import Face, FaceFinder, face_square
from xaifake.data.portraits import read_portraits
from xaifake.data.pyramid import boxes_near


@pytest.fixture(scope="module")
def finder():
    return FaceFinder()


def frames_of(kind, seed, count):
    people = np.random.default_rng(seed).permutation(read_portraits().index)[:2]
    return zip(*hd_clips.hd_frames(kind, people, count, seed), strict=True)


def overlap(one, other):
    """Intersection over union of two squares."""
    (x, y, side), (u, v, length) = one, other
    width = max(0, min(x + side, u + length) - max(x, u))
    height = max(0, min(y + side, v + length) - max(y, v))
    return width * height / (side**2 + length**2 - width * height)


def test_this_dlib_can_be_asked_for_one_copy(finder):
    assert finder._detect_near is not None


def test_near_a_face_the_search_finds_what_the_search_of_the_whole_frame_does(finder):
    squares, boxes = [], []
    for seed in range(5):
        frames, _ = frames_of("one", seed, 8)
        before = None
        for frame in frames:
            whole = finder.find(frame)
            if before is not None and len(whole) == 1:
                near = finder._find_near(frame, before)
                assert len(near) == 1
                squares.append(overlap(face_square(near[0], 2.0), face_square(whole[0], 2.0)))
                boxes.append(near[0].box == whole[0].box)
            before = whole[0] if len(whole) == 1 else None
    assert len(squares) > 30
    assert np.mean(np.array(squares) > 0.9) >= 0.99
    assert np.mean(boxes) > 0.8  # to the pixel


@pytest.mark.parametrize("kind", hd_clips.KINDS)
def test_a_followed_clip_has_the_faces_of_one_that_is_searched_whole(finder, kind):
    frames, inside = frames_of(kind, 11, 10)
    followed, whole = list(finder.follow(frames, every=4)), [finder.find(f) for f in frames]
    assert [len(faces) for faces in followed] == [len(faces) for faces in whole]
    for one, other in zip(followed, whole, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert overlap(face_square(mine, 2.0), face_square(theirs, 2.0)) > 0.9
    several = np.array(inside) >= 2
    assert not any(len(faces) == 1 for faces, two in zip(followed, several, strict=True) if two)


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


def test_few_frames_are_searched_whole():
    finder = Counting()
    found = list(finder.follow(told(*[(9,)] * 10), every=4))
    assert [len(faces) for faces in found] == [1] * 10
    assert finder.whole == [0, 4, 8, 9] and finder.around == [1, 2, 3, 5, 6, 7]


def test_where_a_second_face_comes_all_frames_between_are_searched_whole():
    finder = Counting()
    found = list(finder.follow(told(*[(9,)] * 3, *[(9, 99)] * 5), every=4))
    assert [len(faces) for faces in found] == [1] * 3 + [2] * 5
    assert finder.around == []


def test_where_one_face_gives_way_to_another_all_frames_between_are_searched_whole():
    finder = Counting()
    found = list(finder.follow(told((9,), (9,), (9, 99), (99,), (99,)), every=4))
    assert [len(faces) for faces in found] == [1, 1, 2, 1, 1]


def test_a_frame_in_which_the_face_is_lost_is_searched_whole():
    finder = Counting(near=0)
    assert [len(faces) for faces in finder.follow(told(*[(9,)] * 5), every=4)] == [1] * 5
    assert sorted(finder.whole) == [0, 1, 2, 3, 4] and finder.around == [1, 2, 3]


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
