"""People are told apart and followed, through leaving, coming back and changing places."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from joblib import cpu_count

import odd_clips
from xaifake.data.faces import FaceFinder, cut_square, decode_image, face_square
from xaifake.data.media import Frame
from xaifake.video.tracks import SAME_PERSON, FaceTrack, assign, track_faces

ONE, OTHER = "006", "010"


@pytest.fixture(scope="module")
def finder():
    return FaceFinder()


def frames(*arguments, **options):
    for number, image in enumerate(odd_clips.faces(*arguments, **options)):
        yield Frame(number, number / 25, image)


def numbers(person):
    return [detection.number for detection in person.detections]


def test_two_people_are_two_and_the_one_seen_most_often_comes_first(finder):
    seen = {0: range(3, 6)}
    people = track_faces(frames([ONE, OTHER], 6, (800, 400), seen), 2.0, finder=finder)
    assert [numbers(person) for person in people] == [list(range(6)), [3, 4, 5]]
    lefts = [{detection.square[0] > 300 for detection in person.detections} for person in people]
    assert lefts == [{True}, {False}]


def test_who_leaves_and_comes_back_is_the_same_person(finder):
    (person,) = track_faces(frames([ONE], 6, seen={0: {0, 1, 5}}), 2.0, finder=finder)
    assert numbers(person) == [0, 1, 5]


def test_a_cut_to_somebody_at_the_same_place_is_not_taken_for_the_first(finder):
    cut = [*frames([ONE], 3), *(Frame(f.number + 3, 0.0, f.image) for f in frames([OTHER], 3))]
    people = track_faces(cut, 2.0, finder=finder)
    assert sorted(numbers(person) for person in people) == [[0, 1, 2], [3, 4, 5]]


def test_two_who_change_places_are_still_themselves(finder):
    there, back = frames([ONE, OTHER], 1, (800, 400)), frames([OTHER, ONE], 1, (800, 400))
    swapped = [next(there), Frame(1, 0.04, next(back).image)]
    people = track_faces(swapped, 2.0, finder=finder)
    assert [numbers(person) for person in people] == [[0, 1], [0, 1]]
    for person in people:
        first, second = (detection.square[0] for detection in person.detections)
        assert abs(first - second) > 300


def test_nobody_is_nobody(finder):
    assert track_faces(frames([], 2), 2.0, finder=finder) == []


def test_a_small_face_is_not_overlooked(finder):
    (frame,) = frames([ONE], 1, (320, 240), side=120)
    assert finder.find(frame.image) == []
    (person,) = track_faces([frame], 2.0, finder=finder)
    assert 70 < person.detections[0].square[2] < 120
    large = next(frames([ONE], 1, (320, 240), side=240))
    (small,), (face,) = (finder.find(f.image, k) for f, k in ((frame, 1), (large, 0)))
    middle = np.array([160, 120])
    np.testing.assert_allclose(
        small.landmarks - middle, (face.landmarks - middle) / 2, atol=4
    )  # of the same person at half the size


def test_a_sighting_is_what_the_extraction_would_cut(finder):
    (frame,) = frames([ONE], 1)
    (person,) = track_faces([frame], 2.0, finder=finder)
    (detection,), (face,) = person.detections, finder.find(frame.image)
    assert detection.square == face_square(face, 2.0)
    np.testing.assert_array_equal(detection.image, cut_square(frame.image, detection.square)[0])
    assert decode_image(detection.portrait).shape == (192, 192, 3)
    np.testing.assert_allclose(person.description, finder.describe(frame.image, face))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_no_two_faces_of_a_frame_belong_to_one_person(count, known, seed):
    rng = np.random.default_rng(seed)
    people = [FaceTrack(description=rng.uniform(0, 0.1, 128)) for _ in range(known)]
    owners = assign(people, list(rng.uniform(0, 0.1, (count, 128))))
    found = [id(owner) for owner in owners if owner is not None]
    assert len(found) == len(set(found)) == min(count, known)


@given(arrays(float, 128, elements=st.floats(-1, 1)))
def test_a_face_beyond_the_limit_is_somebody_new(direction):
    direction = direction if np.linalg.norm(direction) > 0.1 else np.eye(128)[0]
    direction = direction / np.linalg.norm(direction)
    person = FaceTrack(description=np.zeros(128))
    near, far = 0.99 * SAME_PERSON * direction, 1.01 * SAME_PERSON * direction
    assert assign([person], [near]) == [person] and assign([person], [far]) == [None]


def test_a_search_on_all_cores_finds_what_one_frame_at_a_time_shows_and_reads_little_ahead(finder):
    images = list(odd_clips.faces([ONE, OTHER], 9, (800, 400), {0: {0, 1, 5}, 1: {1, 2, 8}}))
    read = []
    searched = finder.search(read.append(n) or image for n, image in enumerate(images))
    for number, (image, faces) in enumerate(searched):
        assert image is images[number] and len(read) <= number + cpu_count() + 1
        alone = finder.find(image)
        assert [face.box for face in faces] == [face.box for face in alone]
        for one, other in zip(faces, alone, strict=True):
            np.testing.assert_array_equal(one.landmarks, other.landmarks)
    assert number == 8


def test_a_search_that_fails_or_is_given_up_ends(finder):
    def fail(frame):
        raise KeyError(frame)

    with pytest.raises(KeyError, match="3"):
        list(finder.search([3, 4], fail))
    searched = finder.search(iter(range(100)), lambda frame: [frame])
    assert next(searched) == (0, [0])
    searched.close()
