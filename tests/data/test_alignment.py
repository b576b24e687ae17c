"""Fakes laid over their originals: known frames left out, others' videos, masks by difference."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import odd_clips
from xaifake.data import extract_faces, load_faces, read_catalogue
from xaifake.data.alignment import PAIR, align, difference_mask, small_frames
from xaifake.data.clips import embedded_clips
from xaifake.data.dataset import read_manifest, read_statuses
from xaifake.data.extraction import align_catalogue, frame_pair
from xaifake.data.faces import FaceFinder, cut_mask, cut_square
from xaifake.data.media import open_media
from xaifake.errors import UserError

FRAMES = 32


@pytest.fixture(scope="module")
def clips():
    return read_catalogue(embedded_clips("tiny")).set_index("video", drop=False)


def frames_of(path):
    return [frame.image for frame in open_media(path).read()]


@pytest.fixture(scope="module")
def small(clips):
    """Small frames of every embedded clip, by its name."""
    return {video: small_frames(frames_of(path)) for video, path in clips.path.items()}


def moving_bars(count, seed=0):
    """Small frames with a texture that moves by a different step each time."""
    rng = np.random.default_rng(seed)
    texture = np.kron(rng.integers(0, 256, (9, 200)), np.ones((4, 4))).astype(np.uint8)
    return np.stack([texture[:, left : left + 64] for left in np.cumsum(rng.integers(1, 5, count))])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_was_left_out_is_found_to_the_frame(data):
    """Noise, and a patch that has nothing to do with the original; frames all differ."""
    original = moving_bars(60, data.draw(st.integers(0, 99)))
    kept = sorted(data.draw(st.sets(st.integers(0, 59), min_size=30, max_size=60)))
    rng = np.random.default_rng(0)
    fake = original[kept] + rng.normal(0, 2, (len(kept), 36, 64))
    fake[:, 10:26, 20:40] = rng.integers(0, 256, (16, 20))
    found = align(fake.clip(0, 255).astype(np.uint8), original)
    np.testing.assert_array_equal(found.numbers, kept)
    assert found.is_pair


def test_repeated_frames_are_found_too():
    original = moving_bars(40)
    shown = np.floor(np.arange(50) * 0.8).astype(int)  # 24 frames per second shown as 30
    np.testing.assert_array_equal(align(original[shown], original).numbers, shown)


def test_where_nothing_moves_the_videos_stay_in_step():
    original = moving_bars(40)
    original[10:30] = original[10]
    kept = np.delete(np.arange(40), 35)
    found = align(original[kept], original)
    np.testing.assert_array_equal(found.numbers, kept)
    still = np.repeat(original[:1], 12, axis=0)
    np.testing.assert_array_equal(align(still, still).numbers, np.arange(12))
    assert align(still, still).score == 1
    assert align(still, 255 - still).score < PAIR


def test_what_cannot_be_aligned_is_told():
    with pytest.raises(UserError, match="0 frames of the fake"):
        align(moving_bars(3)[:0], moving_bars(3))
    with pytest.raises(UserError, match="too many to align"):
        align(np.zeros((10, 36, 64), np.uint8), np.zeros((2**25, 1, 1), np.uint8))


@pytest.mark.parametrize("left_out", [0.02, 0.1, 0.25, 0.5])
def test_embedded_fakes_are_laid_over_their_originals(clips, small, tmp_path, left_out):
    """Frames left out at random, encoded anew with another quality and rate."""
    rng = np.random.default_rng(round(100 * left_out))
    fakes = clips[clips.label == 1]
    for row in fakes.iloc[:: len(fakes) // 6].itertuples():
        kept = np.sort(rng.permutation(FRAMES)[: FRAMES - max(1, round(FRAMES * left_out))])
        frames, path = frames_of(row.path), tmp_path / f"{row.video}.mp4"
        odd_clips.write(path, [frames[k] for k in kept], crf=28, rate=30)
        fewer = small_frames(frames_of(path))
        found = align(fewer, small[row.original])
        assert np.abs(found.numbers - kept).max() <= 1
        assert (found.numbers == kept).mean() > 0.9 and found.score > 0.9
        for other in clips.video[(clips.label == 0) & (clips.video != row.original)]:
            assert align(fewer, small[other]).score < 0.65


def test_embedded_fakes_of_all_frames_are_in_step(clips, small):
    for row in clips[clips.label == 1].itertuples():
        found = align(small[row.video], small[row.original])
        np.testing.assert_array_equal(found.numbers, np.arange(FRAMES))


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.fixture(scope="module")
def shortened(clips, tmp_path_factory):
    """The embedded clips of two people without masks, with frames of the fakes left out.

    Also the frames that are left of each fake.
    """
    root = tmp_path_factory.mktemp("shortened")
    rng = np.random.default_rng(0)
    kept = {}
    source = embedded_clips("tiny")
    some = clips[clips.target.isin(clips.target.unique()[:2])]
    for row in some[(some.label == 0) | (some.kind == "whole")].itertuples():
        out = root / row.path.removeprefix(f"{source}/")
        out.parent.mkdir(parents=True, exist_ok=True)
        frames = frames_of(row.path)
        kept[row.video] = np.sort(rng.permutation(FRAMES)[: 20 if row.label else FRAMES])
        odd_clips.write(out, [frames[k] for k in kept[row.video]], crf=18, rate=24)
    return root, kept


def test_fakes_without_masks_give_faces_and_with_twins_masks(clips, shortened, tmp_path):
    root, kept = shortened
    catalogue = read_catalogue(root).assign(split="test")
    assert catalogue.mask_path.isna().all()
    settings = {"frames_per_video": {"real": 2, "fake": 6}, "scales": (2.0,), "workers": 2}
    plain = extract_faces(catalogue, tmp_path / "plain", progress=False, **settings)
    fakes = plain[plain.label == 1]
    assert fakes.accepted.all() and len(fakes) == 12
    assert fakes.mask_source.isna().all() and fakes.mask_share.isna().all()
    assert (plain.mask_share[plain.label == 0] == 0).all()
    assert load_faces(tmp_path / "plain", scale=2.0).originals is None

    extract_faces(catalogue, tmp_path / "paired", originals=True, progress=False, **settings)
    faces = load_faces(tmp_path / "paired", scale=2.0)
    faces = faces[faces.labels == 1]
    assert len(faces) == 12 and set(faces.table.mask_source) == {"difference"}
    paths, overlaps = catalogue.set_index("video").path, []
    for k, row in enumerate(faces.table.itertuples()):
        square, number = (row.left, row.top, row.side), kept[row.video][row.frame]
        original = cut_square(frames_of(paths[row.original])[number], square)[0]
        assert np.abs(faces.originals[k].astype(int) - original).mean() < 2  # what JPEG changes
        mask = frames_of(clips.mask_path[row.video])[number][..., 0] >= 128
        overlaps.append(overlap(faces.masks[k], cut_mask(mask, square)))
    assert np.mean(overlaps) > 0.85 and min(overlaps) > 0.75


def test_a_frame_its_original_and_its_mask_with_and_without_a_file_of_masks(clips, shortened):
    root, kept = shortened
    with_masks, without = read_catalogue(embedded_clips("tiny")), read_catalogue(root)
    for fake in without[without.original.notna()].iloc[:2].itertuples():
        number = kept[fake.video][9]
        row = with_masks.set_index("video", drop=False).loc[fake.video]
        frame, original, mask = frame_pair(row, with_masks, number)
        np.testing.assert_array_equal(frame, frames_of(row.path)[number])
        np.testing.assert_array_equal(original, frames_of(clips.path[row.original])[number])
        np.testing.assert_array_equal(mask, frames_of(row.mask_path)[number][..., 1] >= 128)
        again, beside, found = frame_pair(fake, without, 9)
        for one, other in ((again, frame), (beside, original)):
            assert np.abs(one.astype(int) - other).mean() < 3  # what another encoding changes
        assert overlap(found, mask) > 0.75


def test_masks_by_difference_of_whole_faces(clips):
    finder, overlaps = FaceFinder(), []
    for row in clips[clips.kind == "whole"].itertuples():
        fake, original = frames_of(row.path)[7], frames_of(clips.path[row.original])[7]
        mask = frames_of(row.mask_path)[7][..., 0] >= 128
        (face,) = finder.find(original)
        found = difference_mask(fake, original, face.box[2] - face.box[0])
        overlaps.append(overlap(found, mask))
    assert min(overlaps) > 0.75 and np.mean(np.array(overlaps) >= 0.8) > 0.9
    assert not difference_mask(original, original, 100).any()


def test_an_original_that_is_another_video_is_told(shortened, tmp_path):
    root, _ = shortened
    catalogue = read_catalogue(root).assign(split="test")
    reals = catalogue.video[catalogue.label == 0].tolist()
    swapped = dict(zip(reals, reals[::-1], strict=True))
    wrong = catalogue.assign(original=catalogue.original.map(swapped))
    settings = {"frames_per_video": {"real": 1, "fake": 1}, "originals": True, "workers": 1}
    extract_faces(wrong, tmp_path / "out", progress=False, **settings)
    told = read_statuses(tmp_path / "out").set_index("video").status
    fakes = catalogue.video[catalogue.label == 1]
    assert all("original: another video, they do not move alike" in told[video] for video in fakes)
    assert not read_manifest(tmp_path / "out").label.any()
    pairs = align_catalogue(wrong, workers=1, progress=False)
    assert pairs.video.tolist() == fakes.tolist() and pairs.score.max() < 0.65
    pairs = align_catalogue(catalogue, workers=1, progress=False)
    assert (pairs.status == "pair").all() and (pairs.frames == 20).all()
    assert (pairs.original_frames == FRAMES).all() and (pairs.in_step < 0.5).all()
