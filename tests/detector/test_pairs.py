"""Pairs: a real face and its own fake, drawn, made and degraded together."""

import cv2
import numpy as np
import pytest

from xaifake.data import portraits
from xaifake.data.dataset import decode_image
from xaifake.data.faces import encode_jpeg
from xaifake.data.portrait_folders import FoundPortraits
from xaifake.detector.batches import EpochBatches
from xaifake.detector.pairs import PairedFaces
from xaifake.detector.training import PairLoss

RUN = {"batch_size": 8, "images_per_epoch": 40, "seed": 1}
CLIPS = np.repeat(["a", "b", "c"], [6, 2, 1])


def found_portraits(people=("001", "004", "009")):
    known = [portraits.load_portrait(person) for person in people]
    return FoundPortraits(
        list(people),
        [encode_jpeg(one.images[0]) for one in known],
        np.stack([one.landmarks[0] for one in known]),
        np.full(len(people), 250.0),
    )


def paired_faces(share=0.5, scale=1.3):
    """Nine pairs of videos, whose fakes are 40 grey levels brighter, and three portraits."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(60, 120, 3) + np.zeros((128, 128, 1)) for _ in CLIPS]
    originals, fakes = (
        [encode_jpeg((picture + more).astype(np.uint8)) for picture in pictures] for more in (0, 40)
    )
    return PairedFaces(originals, fakes, CLIPS, scale, share, portraits=found_portraits())


@pytest.fixture(scope="module")
def faces():
    return paired_faces()


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_the_sources_have_their_shares_and_each_pair_stands_together(share):
    faces = paired_faces(share)
    rows = faces.draw_balanced(48, np.random.default_rng(0))
    assert np.array_equal(rows[::2] + 1, rows[1::2])
    assert faces.labels[rows].tolist() == [0, 1] * 24
    assert faces.of_portraits(rows).mean() == share
    often = np.bincount(rows[::2][faces.of_portraits(rows[::2])] // 2 - len(CLIPS), minlength=3)
    assert often.max() - often.min() <= 1


def test_clips_count_alike_however_many_frames_they_have(faces):
    rows = paired_faces(0.001).draw_balanced(18, np.random.default_rng(0))
    assert sorted(rows[::2] // 2) == list(range(9))
    rows = paired_faces(0.001).draw_balanced(6, np.random.default_rng(0))
    assert set(CLIPS[rows[::2] // 2]) == {"a", "b", "c"}


def test_real_and_fake_go_through_the_same_chain(faces):
    """The fakes of these videos are brighter everywhere: a monotone chain leaves them so."""
    for number in range(8):
        (real, fake), mask = faces.make(0, [number])
        assert mask is None
        gap = fake.astype(int) - real
        assert gap.mean() > 10 and gap.std() < 12


def blurred(faces, count=24):
    """Share of the pairs of portraits whose pasted part is less sharp than the same of the real."""
    found = 0
    for number in range(count):
        pair, mask = faces.make(len(CLIPS) + number % 3, [number])
        edges = [cv2.Laplacian(x.astype(np.float32).mean(axis=2), cv2.CV_32F) for x in pair]
        real, fake = (np.abs(one)[mask].mean() for one in edges)
        found += fake < 0.95 * real
    return found / count


def test_easy_pairs_are_told_by_blur_and_the_others_are_not():
    faces = paired_faces()
    assert 0.3 < blurred(faces) < 0.7
    faces.easy = 1.0
    assert blurred(faces) == 1
    for pair in range(3):  # of videos: as they are
        for made, encoded in zip(faces.make(pair, [0])[0], (faces.originals, faces.fakes)):
            np.testing.assert_array_equal(made, decode_image(encoded[pair]))


def test_the_loss_of_pairs_is_that_of_each_picture_and_of_their_gap():
    logits = np.array([[0.3], [1.2], [-0.5], [-2.0]], np.float32)  # real, fake, real, fake
    labels = np.array([[0], [1], [0], [1]], np.float32)
    each = np.log1p(np.exp(np.where(labels == 1, -logits, logits))).mean()
    gaps = np.log1p(np.exp(-np.array([1.2 - 0.3, -2.0 + 0.5]))).mean()
    assert float(PairLoss()(labels, logits)) == pytest.approx(each + gaps, rel=1e-6)
    # What both of a pair have in common does not count in the second part.
    moved = logits + np.array([[3], [3], [-1], [-1]], np.float32)
    each_moved = np.log1p(np.exp(np.where(labels == 1, -moved, moved))).mean()
    assert float(PairLoss()(labels, moved)) == pytest.approx(each_moved + gaps, rel=1e-6)


@pytest.mark.parametrize("scale", [1.3, 2.0])
def test_portraits_are_blended_where_their_mask_says(scale):
    faces = paired_faces(scale=scale)
    inside, outside = [], []
    for number in range(12):
        (real, fake), mask = faces.make(len(CLIPS) + number % 3, [number])
        assert real.shape == fake.shape == (128, 128, 3) and mask.shape == (128, 128)
        gap = np.abs(fake.astype(int) - real).mean(axis=2)
        inside.append(gap[mask].mean())
        outside.append(gap[~mask].mean())
    assert np.median(inside) > 3 * np.median(outside)


def test_the_middle_of_a_portrait_is_the_nose():
    landmarks = found_portraits().landmarks
    for scale in (1.3, 2.0):
        faces = paired_faces(scale=scale)
        faces.easy = 1.0  # not turned
        made = faces.make(len(CLIPS), [5])[0][0]
        side = round(scale * 250)
        x, y = landmarks[0][30].round().astype(int) - side // 2
        cut = portraits.load_portrait("001").images[0][max(y, 0) : y + side, max(x, 0) : x + side]
        grey = cv2.resize(cut, (128, 128), interpolation=cv2.INTER_AREA)
        pair = [image[32:96, 32:96].astype(float).ravel() for image in (grey, made)]
        assert np.corrcoef(*pair)[0, 1] > 0.8


def test_the_same_seed_gives_the_same_pictures_and_another_one_others(faces):
    rows = faces.draw_balanced(12, np.random.default_rng(0))
    made = faces.decode(rows, (1, 2))
    assert np.array_equal(faces.decode(rows, (1, 2)), made)
    assert not np.array_equal(faces.decode(rows, (1, 3)), made)


@pytest.mark.parametrize("hosts", [2, 8])
def test_hosts_share_a_batch_even_where_it_parts_a_pair(faces, hosts):
    (images, variations), labels = EpochBatches(faces, RUN, 2, 80)[1]
    assert labels[:, 0].tolist() == [0, 1] * 4
    assert np.array_equal(variations[::2], variations[1::2])
    parts = [EpochBatches(faces, RUN, 2, 80, share=(host, hosts))[1] for host in range(hosts)]
    assert np.array_equal(np.concatenate([part[0][0] for part in parts]), images)
    assert np.array_equal(np.concatenate([part[0][1] for part in parts]), variations)
