"""Self-blended faces: the fake is the real face but for what the mask says."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from xaifake.data import portraits
from xaifake.data.blending import KINDS, Blend, draw_blend, self_blend

BOX = 250.0
PLAIN = Blend(
    kind="whole", warp=0.0, feather=0.02, opacity=1.0, changed="source", gain=(1.0, 1.0, 1.0),
    offset=(0.0, 0.0, 0.0), saturation=1.0, degraded_px=0.0, sharpened=0.0, angle=0.0, zoom=1.0,
    shift=(0.0, 0.0), resampling=cv2.INTER_LINEAR,
)  # fmt: skip


@pytest.fixture(scope="module")
def face():
    portrait = portraits.load_portrait("004")
    return portrait.images[0], portrait.landmarks[0]


def blended(face, blend, seed=0):
    return self_blend(*face, BOX, blend, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changed", ["source", "target"])
def test_a_fake_differs_from_its_real_face_where_the_mask_says_and_nowhere_else(
    face, kind, changed
):
    blend = replace(PLAIN, kind=kind, changed=changed, offset=(30.0, 30.0, 30.0), warp=0.05)
    real, fake, alpha = blended(face, blend)
    assert np.array_equal(real, face[0]) == (changed == "source")
    assert 0 < (alpha > 0).mean() < 0.5
    assert np.array_equal(fake[alpha == 0], real[alpha == 0])
    assert (fake != real).any(axis=2)[alpha > 0.1].mean() > 0.95


def test_an_unchanged_copy_changes_nothing(face):
    real, fake, alpha = blended(face, PLAIN)
    assert alpha.max() == pytest.approx(1, abs=1e-3)
    assert np.abs(fake.astype(int) - real).max() <= 1


@pytest.mark.parametrize("opacity", [0.5, 1.0])
def test_the_share_of_the_copy_is_the_alpha(opacity):
    grey = np.full((540, 540, 3), 100, np.uint8)
    landmarks = portraits.load_portrait("004").landmarks[0]
    blend = replace(PLAIN, opacity=opacity, gain=(1.2, 1.1, 1.0), offset=(10.0, 0.0, -40.0))
    _, fake, alpha = blended((grey, landmarks), blend)
    pasted = np.array([130, 110, 60])
    expected = 100 + alpha[..., None] * (pasted - 100)
    assert alpha.max() == pytest.approx(opacity, abs=1e-3)
    assert np.abs(fake - expected).max() <= 0.51


@pytest.mark.parametrize(
    "kind, inside, outside",
    [
        ("whole", (8, 27, 48, 19), ()),
        ("inner", (30, 48, 27), (0, 8)),
        ("low", (30, 48, 6), ()),
        ("eyes", (37, 46, 19), (30, 48, 8)),
        ("mouth", (48, 57, 8), (30, 27, 37)),
        ("centre", (30, 51, 57), (37, 46, 8)),
    ],
)
def test_each_kind_covers_the_parts_that_it_is_called_after(face, kind, inside, outside):
    alpha = blended(face, replace(PLAIN, kind=kind, feather=0.005))[2]
    for points, expected in ((inside, True), (outside, False)):
        for number in points:
            # Towards the nose: a landmark may lie on the very outline.
            x, y = (0.9 * face[1][number] + 0.1 * face[1][30]).round().astype(int)
            assert (alpha[y, x] > 0.5) == expected, (kind, number)


def test_a_degraded_copy_lacks_detail_and_a_sharpened_one_has_more(face):
    def detail(**how):
        _, fake, alpha = blended(face, replace(PLAIN, **how))
        fake = fake.astype(np.float32)
        return (fake - cv2.GaussianBlur(fake, (0, 0), 2))[alpha > 0.98].std()

    assert detail(degraded_px=50.0) < 0.6 * detail()
    assert detail(sharpened=1.0) > 1.2 * detail()


def test_a_moved_copy_is_moved_by_shares_of_the_box():
    picture = np.zeros((540, 540, 3), np.uint8)
    landmarks = portraits.load_portrait("004").landmarks[0]
    x, y = landmarks[30].round().astype(int)
    picture[y, x] = 255
    fake = blended((picture, landmarks), replace(PLAIN, shift=(0.02, -0.04)))[1]
    row, column = np.unravel_index(fake[..., 0].argmax(), fake.shape[:2])
    assert (column - x, row - y) == (5, -10)


def test_draws_depend_on_the_generator_alone_and_keep_to_the_kinds(face):
    one, other, third = (draw_blend(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one == other != third
    assert all(np.array_equal(a, b) for a, b in zip(blended(face, one), blended(face, one)))
    rng = np.random.default_rng(0)
    drawn = [draw_blend(rng, ("eyes", "low")) for _ in range(400)]
    assert {blend.kind for blend in drawn} == {"eyes", "low"}
    untouched = np.mean([not blend.degraded_px and not blend.sharpened for blend in drawn])
    assert untouched == pytest.approx(0.4, abs=0.08)
