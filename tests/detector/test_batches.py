import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from planted import read_planted

from xaifake.data.dataset import decode_image
from xaifake.detector.batches import (
    EncodedFaces,
    EpochBatches,
    augment,
    draw_variations,
    spread_over_clips,
)

RUN = {"batch_size": 6, "images_per_epoch": 50, "seed": 1}
STILL = {"left": 0, "top": 0, "zoom": 1, "mirror": 0, "contrast": 1, "brightness": 0}


@pytest.fixture(scope="module")
def faces():
    encoded, labels, table = read_planted("faces", "train", 1.3)
    return EncodedFaces(encoded, labels, table["video"])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 60), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_clips_are_drawn_equally_often_and_no_face_twice_before_all(sizes, count, seed):
    clips = np.repeat([f"clip {i}" for i in range(len(sizes))], sizes)
    drawn = spread_over_clips(clips, count, np.random.default_rng(seed))
    assert len(drawn) == count
    times = np.bincount(drawn, minlength=len(clips))
    assert times.max() - times.min() <= 1
    first = drawn[: min(count, min(sizes) * len(sizes))]
    often = pd.Series(clips[first]).value_counts()
    if len(first) >= len(sizes):
        assert len(often) == len(sizes) and often.max() - often.min() <= 1
    again = spread_over_clips(clips, count, np.random.default_rng(seed))
    assert np.array_equal(drawn, again)


@pytest.mark.parametrize("room", [0, 10, 44])
def test_kept_pictures_are_those_that_decoding_gives(faces, room):
    kept = EncodedFaces(faces.encoded, faces.labels, faces.clips, room * 128 * 128 * 3)
    rows = [43, 0, 9, 10, 0]
    expected = np.stack([decode_image(faces.encoded[row]) for row in rows])
    assert np.array_equal(kept.decode(rows), expected)
    assert np.array_equal(kept.decode(rows), expected)
    assert len(kept._decoded) == room


def test_batches_are_half_real_and_depend_on_seed_epoch_and_number_alone(faces):
    batches = EpochBatches(faces, RUN, epoch=2, size=80)
    assert len(batches) == 8
    (images, variations), labels = batches[1]
    assert images.shape == (6, 128, 128, 3) and images.dtype == np.uint8
    assert variations.shape == (6, 6) and labels.shape == (6, 1) and labels.sum() == 3
    for other in (EpochBatches(faces, RUN, 3, 80), EpochBatches(faces, {**RUN, "seed": 2}, 2, 80)):
        assert not np.array_equal(other.rows, batches.rows)


@pytest.mark.parametrize("readers", [1, 4])
def test_batches_come_in_order_whatever_the_number_of_threads(faces, readers):
    with EpochBatches(faces, RUN, 2, 80, readers=readers) as batches:
        # Keras looks at the first batches before it starts from the beginning.
        for number in [0, 1, *range(8)]:
            (images, variations), labels = batches[number]
            (images_alone, variations_alone), labels_alone = batches._make(number)
            assert np.array_equal(images, images_alone)
            assert np.array_equal(variations, variations_alone)
            assert np.array_equal(labels, labels_alone)


def test_hosts_share_a_batch(faces):
    (images, variations), labels = EpochBatches(faces, RUN, 2, 80)[3]
    parts = [EpochBatches(faces, RUN, 2, 80, share=(host, 3))[3] for host in range(3)]
    assert np.array_equal(np.concatenate([part[0][0] for part in parts]), images)
    assert np.array_equal(np.concatenate([part[0][1] for part in parts]), variations)
    assert np.array_equal(np.concatenate([part[1] for part in parts]), labels)


def test_an_error_in_a_thread_reaches_the_caller(faces):
    with EpochBatches(faces, RUN, 2, 80) as batches:
        batches.rows = batches.rows + 1000
        with pytest.raises(IndexError):
            batches[0]
        assert isinstance(batches.failure, IndexError)


def photograph():
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 2)


def varied(image, size, **how):
    """One varied picture, in grey levels."""
    variation = np.array([list({**STILL, **how}.values())], dtype=np.float32)
    return (np.asarray(augment(image[None], variation, size))[0] + 1) * 127.5


def test_augmentation_without_zoom_is_a_crop_of_the_very_pixels():
    image = photograph()
    # Scaling to [-1, 1] and back costs a rounding.
    exactly = {"rtol": 0, "atol": 1e-4}
    assert np.allclose(varied(image, 128), image, **exactly)
    patch = varied(image, 80, left=24, top=30)
    assert np.allclose(patch, image[30:110, 24:104], **exactly)
    moved = varied(image, 128, left=3, top=-2)
    assert np.allclose(moved[2:, :-3], image[:-2, 3:], **exactly)
    assert np.allclose(moved[:2], moved[2], **exactly)  # the border goes on
    assert np.allclose(varied(image, 128, mirror=1), image[:, ::-1], **exactly)
    mirrored = varied(image, 80, left=20, mirror=1)
    assert np.allclose(mirrored, image[:80, 20:100][:, ::-1], **exactly)


def test_contrast_and_brightness_are_about_the_middle_grey_and_stay_in_range():
    image = photograph()
    changed = varied(image, 128, contrast=1.1, brightness=20)
    expected = np.clip((image - 127.5) * 1.1 + 147.5, 0, 255)
    assert np.allclose(changed, expected, atol=1e-3)
    assert varied(image, 128, brightness=200).max() <= 255


@pytest.mark.parametrize("zoom", [0.95, 1.04])
def test_zoom_is_that_of_opencv(zoom):
    image, size, corner = photograph(), 80, (26, 21)
    move = (1 - zoom) * 63.5 - np.array(corner)
    matrix = np.array([[zoom, 0, move[0]], [0, zoom, move[1]]])
    expected = cv2.warpAffine(
        image, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    found = varied(image, size, left=corner[0], top=corner[1], zoom=zoom)
    # OpenCV rounds places to 1/32 of a pixel and the result to whole grey levels.
    assert np.abs(found - expected).max() < 2


def test_draws_have_the_ranges_that_are_told():
    left, top, zoom, mirror, contrast, brightness = draw_variations(
        4000, 128, 80, np.random.default_rng(0)
    ).T
    for corner in (left, top):
        assert (corner.min(), corner.max()) == (8, 40) and (corner % 1 == 0).all()
    assert (zoom == 1).mean() == pytest.approx(0.5, abs=0.03)
    assert mirror.mean() == pytest.approx(0.5, abs=0.03)
    for values, low, high in ((zoom, 0.95, 1.05), (contrast, 0.85, 1.15), (brightness, -26, 26)):
        assert low < values.min() < values.max() < high
    again = draw_variations(4000, 128, 80, np.random.default_rng(0))
    assert np.array_equal(again[:, 0], left)
