"""Squares and cuts against arithmetic of their own, and faces whose place is known."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tiny import encode, portrait

from xaifake.data import faces
from xaifake.data.faces import Face, FaceFinder, cut_mask, cut_square, face_square
from xaifake.data.media import open_media
from xaifake.errors import UserError


@pytest.fixture(scope="module")
def finder():
    return FaceFinder()


def face_at(x, y, box):
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[30] = x, y
    return Face(box, landmarks)


def test_the_square_is_centred_on_the_nose_tip():
    face = face_at(200, 150, (140, 90, 260, 190))  # 120 wide, 100 high
    assert face_square(face, 1.3) == (200 - 78, 150 - 78, 156)
    assert face_square(face, 2.0) == (200 - 120, 150 - 120, 240)
    assert face_square(face_at(10, 5, (0, 0, 50, 80)), 2.0) == (10 - 80, 5 - 80, 160)


@given(
    x=st.floats(-50, 2000, width=32),
    y=st.floats(-50, 2000, width=32),
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    scale=st.floats(0.5, 4),
)
def test_any_square_is_centred_to_a_pixel(x, y, width, height, scale):
    left, top, side = face_square(face_at(x, y, (7, 9, 7 + width, 9 + height)), scale)
    assert all(isinstance(number, int) for number in (left, top, side))
    assert abs(side - scale * max(width, height)) <= 0.5
    assert abs(left + side / 2 - x) <= 0.5 and abs(top + side / 2 - y) <= 0.5


def block_means(image, factor):
    size = image.shape[0] // factor
    blocks = image.reshape(size, factor, size, factor, -1).astype(float)
    return blocks.mean(axis=(1, 3))


def test_a_cut_inside_the_frame_is_the_mean_over_blocks():
    image = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    crop, padded = cut_square(image, (33, 71, 256), 128)
    assert crop.dtype == np.uint8 and not padded
    expected = block_means(image[71 : 71 + 256, 33 : 33 + 256], 2)
    assert np.abs(crop - expected).max() <= 0.5
    same, _ = cut_square(image, (100, 200, 128), 128)
    np.testing.assert_array_equal(same, image[200:328, 100:228])


@pytest.mark.parametrize(
    ("left", "top", "padded"),
    [(0, 0, False), (-1, 0, True), (0, -1, True), (72, 172, False), (73, 0, True), (0, 173, True)],
)
def test_padding_repeats_the_edge_and_is_told(left, top, padded):
    image = np.random.default_rng(1).integers(0, 256, (300, 200), dtype=np.uint8)
    crop, told = cut_square(image, (left, top, 128), 128)
    assert told is padded
    wide = np.pad(image, 200, mode="edge")
    np.testing.assert_array_equal(crop, wide[200 + top : 328 + top, 200 + left : 328 + left])


def test_a_square_outside_the_frame_is_all_edge():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    crop, padded = cut_square(image, (-50, -50, 20), 8)
    assert padded and (crop == image[0, 0]).all()


def test_enlarging_interpolates_linearly():
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    crop, _ = cut_square(ramp, (0, 0, 64), 128)
    steps = np.diff(crop[0].astype(int))
    assert steps[1:-1].min() >= 1 and steps.max() <= 3


def area_share(mask, square, size):
    """Share of each output pixel's area that is true, from an integral image."""
    left, top, side = square
    wide = np.pad(mask, side, mode="edge").astype(float)
    wide = wide[top + side : top + 2 * side, left + side : left + 2 * side]
    total = np.pad(wide.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    edges = np.linspace(0, side, size + 1)
    whole = np.arange(side + 1)
    rows = np.stack([np.interp(edges, whole, column) for column in total.T], axis=1)
    both = np.stack([np.interp(edges, whole, row) for row in rows])
    return np.diff(np.diff(both, axis=0), axis=1) * (size / side) ** 2


@settings(max_examples=40)
@given(
    seed=st.integers(0, 999),
    left=st.integers(-60, 60),
    top=st.integers(-60, 60),
    side=st.integers(64, 200),
)
def test_a_mask_is_true_where_half_of_the_area_is(seed, left, top, side):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :160]
    a, b, c, d = rng.uniform(20, 140, 4)
    mask = ((x - a) / (5 + c / 3)) ** 2 + ((y - b) / (5 + d / 3)) ** 2 < 1
    crop = cut_mask(mask, (left, top, side), 64)
    share = area_share(mask, (left, top, side), 64)
    sure = abs(share - 0.5) > 0.01
    assert crop.dtype == bool
    np.testing.assert_array_equal(crop[sure], (share > 0.5)[sure])


@settings(max_examples=40)
@given(left=st.integers(-40, 100), top=st.integers(-40, 100), side=st.integers(64, 200))
def test_mask_and_image_are_cut_alike(left, top, side):
    mask = np.zeros((180, 180), bool)
    mask[60:110, 80:140] = True
    image = np.where(mask[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    crop, _ = cut_square(image, (left, top, side), 64)
    np.testing.assert_array_equal(cut_mask(mask, (left, top, side), 64), crop[..., 0] >= 128)


def test_jpeg_keeps_the_picture_and_its_colours():
    image = portrait(1, 128)[0]
    again = faces.decode_image(faces.encode_jpeg(image))
    assert again.shape == image.shape and again.dtype == np.uint8
    error = np.sqrt(((again.astype(float) - image) ** 2).mean())
    assert error < 2.5
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    assert np.abs(faces.decode_image(faces.encode_jpeg(red)).astype(int) - red).max() <= 2
    # Colour is not subsampled: a seam of one pixel between red and blue stays a seam.
    seam = red.copy()
    seam[:, 7:] = 0, 0, 200
    again = faces.decode_image(faces.encode_jpeg(seam)).astype(int)
    assert (again[:, 6, 0] - again[:, 7, 0] > 150).all()
    mask = np.random.default_rng(0).random((128, 128)) > 0.5
    np.testing.assert_array_equal(faces.decode_mask(faces.encode_mask(mask)), mask)


def test_bytes_that_are_no_image_are_told():
    with pytest.raises(UserError, match="no JPEG or PNG"):
        faces.decode_image(b"text")


def test_missing_packages_are_told(monkeypatch):
    monkeypatch.setattr(faces.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps face_recognition_models"):
        FaceFinder()
    monkeypatch.setitem(__import__("sys").modules, "dlib", None)
    with pytest.raises(UserError, match="pip install dlib-bin"):
        FaceFinder()


def test_every_face_is_found(finder):
    assert finder.find(np.full((200, 200, 3), 127, np.uint8)) == []
    image, points = portrait(1)
    (face,) = finder.find(image)
    assert face.landmarks.shape == (68, 2) and face.landmarks.dtype == np.float32
    assert np.abs(face.landmarks - points).mean() < 2
    left, top, right, bottom = face.box
    assert left < face.landmarks[30, 0] < right and top < face.landmarks[30, 1] < bottom
    assert len(finder.find(np.hstack([image, portrait(3)[0]]))) == 2


@pytest.mark.parametrize(
    ("person", "start", "step"), [(1, (20, 30), (3, 1)), (3, (60, 10), (-2, 2))]
)
def test_a_face_at_a_known_place_gives_its_square(finder, tmp_path, person, start, step):
    """A portrait moves over a plain background; its nose is where the landmarks' table says."""
    import dlib

    image, points = portrait(person)
    places = np.array([np.add(start, np.multiply(step, k)) for k in range(8)])
    frames = []
    for x, y in places:
        frame = np.full((400, 420, 3), 96, np.uint8)
        frame[y : y + len(image), x : x + len(image)] = image
        frames.append(frame)
    path = encode(tmp_path / "clip.mp4", frames)
    decoded = [frame.image for frame in open_media(path, strict=True).read()]
    assert len(decoded) == len(frames)
    for frame, original, place in zip(decoded, frames, places, strict=True):
        (face,) = finder.find(frame)
        (box,) = dlib.get_frontal_face_detector()(original, 0)
        for scale in (1.3, 2.0):
            left, top, side = face_square(face, scale)
            known = scale * max(box.width(), box.height())
            x, y = points[30] + place
            assert abs(side - known) <= 2
            assert abs(left + side / 2 - x) <= 2 and abs(top + side / 2 - y) <= 2
