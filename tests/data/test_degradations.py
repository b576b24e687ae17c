"""The chain of degradations: each step by its closed form, and the same for real and fake."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from xaifake.data import portraits
from xaifake.data.degradations import (
    FACE_PX,
    PLAIN,
    cut_turned,
    degrade,
    degrade_mask,
    draw_chain,
    through_video,
)


@pytest.fixture(scope="module")
def picture():
    return np.ascontiguousarray(portraits.load_portrait("004").images[0][142:398, 142:398])


def distance(one, other):
    return np.abs(one.astype(float) - other).mean()


def test_a_chain_that_does_nothing_changes_the_size_alone(picture):
    small = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.array_equal(degrade(picture, 200, PLAIN), small)
    assert np.array_equal(degrade(small, 100, PLAIN), small)


@pytest.mark.parametrize("seed", range(12))
def test_real_and_fake_are_treated_alike(picture, seed):
    """Equal pictures stay equal, whatever is drawn, and again with the same draw."""
    chain = draw_chain(np.random.default_rng(seed))
    made = degrade(picture, 180, chain)
    assert made.shape == (128, 128, 3) and made.dtype == np.uint8
    assert np.array_equal(degrade(picture.copy(), 180, chain), made)


def test_blur_has_the_standard_deviation_that_is_told():
    point = np.zeros((256, 256, 3), np.uint8)
    point[120:136, 120:136] = 255  # 8 x 8 pixels of the result
    for blur in (1.0, 2.0):
        made = degrade(point, 100, replace(PLAIN, blur=blur)).astype(float)[..., 0]
        weights, places = made.sum(0) / made.sum(), np.arange(128)
        variance = weights @ places**2 - (weights @ places) ** 2
        assert variance - (8**2 - 1) / 12 == pytest.approx(blur**2, rel=0.2)


def test_noise_has_the_standard_deviation_that_is_told():
    grey = np.full((128, 128, 3), 128, np.uint8)
    made = degrade(grey, 100, replace(PLAIN, noise=5.0)).astype(float) - 128
    assert made.std() == pytest.approx(5, rel=0.05) and abs(made.mean()) < 0.2
    assert np.array_equal(made[..., 0], made[..., 2])
    coloured = degrade(grey, 100, replace(PLAIN, noise=3.0, colour_noise=4.0)).astype(float) - 128
    assert coloured.std() == pytest.approx(5, rel=0.05)
    other = degrade(grey, 100, replace(PLAIN, noise=5.0, seed=1))
    assert not np.array_equal(other - 128.0, made)


def test_a_small_face_lacks_what_a_small_face_cannot_show(picture):
    """Stripes of two pixels at 200 pixels of face are beyond the limit at 80."""
    stripes = np.zeros_like(picture)
    stripes[:, ::2] = 255
    large = degrade(stripes, 200, PLAIN, size=256)
    small = degrade(stripes, 200, replace(PLAIN, face_px=80.0), size=256)
    assert large.std() > 100 and small.std() < 0.2 * large.std()


def test_colours_follow_gain_and_gamma():
    grey = np.full((128, 128, 3), 64, np.uint8)
    made = degrade(grey, 100, replace(PLAIN, gain=(1.1, 1.0, 0.9), gamma=0.5))
    expected = 255 * np.sqrt(64 / 255) * np.array([1.1, 1.0, 0.9])
    assert np.abs(made - expected).max() <= 0.5


def test_lower_rates_lose_more(picture):
    losses = [distance(through_video(picture, crf), picture) for crf in (18, 28, 38)]
    assert 0 < losses[0] < losses[1] < losses[2] < 12
    losses = [
        distance(degrade(picture, 200, replace(PLAIN, jpeg=quality)), degrade(picture, 200, PLAIN))
        for quality in (95, 60, 35)
    ]
    assert 0 < losses[0] < losses[1] < losses[2] < 12


def test_a_predicted_frame_shows_the_picture_and_not_the_one_before(picture):
    moved = (2, -3)
    shown = through_video(picture, 24, moved)
    assert distance(shown, picture) < 5
    assert distance(shown, picture) < 0.5 * distance(shown, np.roll(picture, moved, (0, 1)))
    assert not np.array_equal(shown, through_video(picture, 24))


def test_a_square_is_cut_by_the_pixel_and_goes_on_beyond_the_edge(picture):
    assert np.array_equal(cut_turned(picture, (100, 90), 60, 0), picture[60:120, 70:130])
    beyond = cut_turned(picture, (10, 128), 60, 0)
    assert np.array_equal(beyond[:, 20:], picture[98:158, :40])
    assert (beyond[:, :20] == picture[98:158, :1]).all()


def test_a_quarter_turn_is_that_of_numpy(picture):
    turned = cut_turned(picture, (100, 90), 60, 90)
    assert np.abs(turned.astype(int) - np.rot90(picture[60:120, 70:130])).max() <= 1


def test_a_mask_marks_what_is_half_changed():
    alpha = np.zeros((256, 256), np.float32)
    alpha[:, :101] = 0.3
    mask = degrade_mask(alpha)
    assert mask[:, :51].all() and not mask[:, 51:].any()
    assert not degrade_mask(alpha / 255).any()


def test_draws_cover_what_is_told():
    rng = np.random.default_rng(0)
    chains = [draw_chain(rng) for _ in range(2000)]
    sizes = np.array([chain.face_px for chain in chains])
    assert FACE_PX[0] <= sizes.min() < 65 and 240 < sizes.max() <= FACE_PX[1]
    shares = {
        "crf": np.mean([chain.crf > 0 for chain in chains]),
        "jpeg": np.mean([chain.jpeg > 0 for chain in chains]),
        "blur": np.mean([chain.blur > 0 for chain in chains]),
    }
    assert shares == pytest.approx({"crf": 0.55, "jpeg": 0.4, "blur": 0.3}, abs=0.05)
    assert draw_chain(np.random.default_rng(5)) == draw_chain(np.random.default_rng(5))
