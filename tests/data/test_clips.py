"""The embedded clips: same seed, same bytes; fake and original differ inside the mask alone."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from xaifake.data import portraits, swaps
from xaifake.data.clips import (
    _REAL_VIDEOS,
    N_FRAMES,
    _clip_paths,
    embedded_truth,
    make_clips,
    make_scene,
    plan_clips,
)
from xaifake.data.dfd import read_catalogue
from xaifake.data.encoding import VideoWriter
from xaifake.data.rendering import Scene
from xaifake.errors import UserError


def frames(path):
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


@pytest.fixture(scope="module")
def scene_folder(tmp_path_factory):
    """One scene of four people: a real clip, a whole-face fake and five regional ones of each."""
    out = tmp_path_factory.mktemp("clips")
    make_clips(out, "tiny", workers=2, progress=False)
    return out


@pytest.fixture(scope="module")
def plan():
    return plan_clips("full")


def test_the_full_set_has_the_promised_size(plan):
    assert (plan.label == 0).sum() >= 200
    assert (plan.label == 1).sum() >= 1000
    assert plan.video.is_unique
    assert N_FRAMES >= 32
    regional = (plan.kind == "regional").sum() / (plan.label == 1).sum()
    assert 0.25 < regional < 0.4
    assert 0.8 < (plan.degraded_px[plan.label == 1] > 0).mean() < 0.97


def test_no_person_is_in_two_splits(plan):
    names = ["person", "split"]
    targets = plan[["target", "split"]].set_axis(names, axis=1)
    sources = plan.dropna(subset="source")[["source", "split"]].set_axis(names, axis=1)
    pairs = pd.concat([targets, sources])
    assert (pairs.groupby("person").split.nunique() == 1).all()
    assert pairs.person.nunique() == 100


def test_every_fake_has_its_real_original_and_a_test_target_all_regions_from_one_source(plan):
    fakes = plan[plan.label == 1]
    assert set(fakes.target + "__" + fakes.scene) <= set(plan.video[plan.label == 0])
    assert (fakes.target != fakes.source).all()
    first = fakes[(fakes.split == "test") & (fakes.scene == "look_around")].groupby("target")
    assert (first.region.agg(sorted).map(tuple) == tuple(sorted(["whole", *swaps.REGIONS]))).all()
    assert len(first) == 16 and (first.source.nunique() == 1).all()


def test_small_and_tiny_are_part_of_full(plan):
    for size in ("small", "tiny"):
        part = plan_clips(size)
        assert set(part.split) == {"test"}
        whole = plan.set_index("video").loc[part.video].reset_index()
        pd.testing.assert_frame_equal(part[whole.columns], whole, check_dtype=False)


def test_leakage_clips_are_of_a_scene_that_nobody_trained_on(plan):
    leakage = plan_clips("leakage")
    assert set(leakage.split) == {"train", "test"}
    assert not set(leakage.scene) & set(plan.scene)
    per_split = leakage.groupby(["split", "kind"]).size().unstack()
    assert (per_split.loc["train"] == per_split.loc["test"]).all()


def test_folds_leave_everybody_out_once_with_those_who_were_put_into_their_clips():
    plan = plan_clips("folds")
    assert plan.video.is_unique and plan.target.nunique() == 100
    fold = portraits.deal_people()
    assert fold.value_counts().to_dict() == dict.fromkeys(range(5), 20)
    assert (plan.fold == plan.target.map(fold)).all()
    fakes = plan[plan.label == 1]
    assert (fakes.fold == fakes.source.map(fold)).all()
    first = fakes[fakes.scene == "look_around"].groupby("target").region
    for _, regions in first:
        assert sorted(regions) == sorted(["whole", *swaps.REGIONS])
    assert (fakes.degraded_px == 0).mean() == pytest.approx(0.5, abs=0.04)
    folds = plan.groupby("split").fold.nunique()
    assert folds.to_dict() == {"test": 1, "train": 3, "validation": 1}


def test_people_are_dealt_as_pairs_of_one_tone():
    people = portraits.read_portraits()
    tone = people.tone.groupby(portraits.deal_people(seed=3)).agg(["min", "max"])
    assert (tone["min"] < 58).all() and (tone["max"] > 68).all()
    assert not portraits.deal_people(seed=3).equals(portraits.deal_people(seed=4))
    sizes = portraits.deal_people(folds=7).value_counts()
    assert sizes.max() - sizes.min() <= 2


def test_an_unknown_size_is_refused():
    with pytest.raises(UserError, match="'huge'.*full"):
        plan_clips("huge")


def test_splits_are_four_to_one_to_one_and_cover_all_tones():
    splits = portraits.split_people(seed=3)
    counts = splits.value_counts()
    assert counts["validation"] == counts["test"] == 16 and counts["train"] == 68
    tone = portraits.read_portraits().tone.groupby(splits).agg(["min", "max"])
    assert (tone["min"] < 50).all() and (tone["max"] > 65).all()
    assert portraits.split_people(3).equals(splits) and not portraits.split_people(4).equals(splits)


def test_aligned_shape_undoes_a_similarity():
    points = portraits.load_portrait("001").landmarks[0]
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = 1.7 * points @ turn.T + [12, -30]
    np.testing.assert_allclose(portraits.aligned_shape(moved, points), points, atol=1e-2)


def test_sources_are_ranked_by_tone_and_shape():
    ranked = portraits.rank_sources("001", portraits.read_portraits().index)
    assert "001" not in ranked.index and ranked.is_monotonic_increasing
    tone = portraits.read_portraits().tone
    assert abs(tone[ranked.index[0]] - tone["001"]) < 10


def test_halves_meet_and_regions_lie_in_their_place():
    points = portraits.load_portrait("004").landmarks[0]
    whole = swaps.swap_mask(points, "whole", "full")
    left, right = (swaps.swap_mask(points, f"{side}_half") for side in ("left", "right"))
    np.testing.assert_array_equal(left + right, whole)
    for region, inside, outside in (("eyes", 39, 57), ("nose", 30, 8), ("mouth", 62, 27)):
        mask = swaps.swap_mask(points, region)
        for k, value in ((inside, 1), (outside, 0)):
            x, y = points[k].astype(int)
            assert mask[y, x] == value, (region, k)


def test_alignment_puts_landmarks_onto_landmarks():
    """A picture that shows its own x coordinate tells where each aligned pixel came from."""
    a, b = portraits.load_portrait("002").landmarks[0], portraits.load_portrait("009").landmarks[0]
    ramp = np.repeat(np.tile(np.arange(540) * 0.45, (540, 1)).astype(np.uint8)[..., None], 3, 2)
    aligned = swaps.align(ramp, a, b, shape=0.0)
    for k in (30, 36, 45, 8, 48, 54):
        x, y = b[k].round().astype(int)
        assert abs(aligned[y, x, 0] / 0.45 - a[k, 0]) < 5, k


def test_colour_match_reaches_the_target_mean():
    rng = np.random.default_rng(0)
    source = rng.integers(60, 120, (80, 80, 3)).astype(np.uint8)
    target = rng.integers(120, 200, (80, 80, 3)).astype(np.uint8)
    mask = np.ones((80, 80), np.float32)
    matched = swaps.match_colour(source, target, mask, strength=1.0)
    np.testing.assert_allclose(matched.mean((0, 1)), target.mean((0, 1)), atol=4)
    unmatched = swaps.match_colour(source, target, mask, strength=0.0)
    np.testing.assert_allclose(unmatched, source, atol=0.5)


def test_twins_differ_inside_the_mask_alone_before_compression():
    scene = Scene("004", "sway", 4)
    recipe = swaps.Recipe("whole", "full", 40.0, 3.0, 0.8, 1.0, 0.2)
    images, alphas = swaps.swap(scene.portrait, portraits.load_portrait("017"), recipe)
    for i in range(4):
        fake, mask = scene.frame(i, images, alphas)
        real, _ = scene.frame(i, scene.portrait.images)
        difference = np.abs(fake.astype(int) - real).max(-1)
        assert difference[~mask].max() <= 2  # less than half a grey level of blend, sharpened
        assert difference[mask].mean() > 3
        assert 0.02 < mask.mean() < 0.4


def test_twins_differ_by_compression_noise_outside_the_mask(scene_folder):
    table = read_catalogue(scene_folder)
    assert len(table) == 28
    for fake in table[table.label == 1].iloc[::4].itertuples():
        real = frames(table.path[table.video == fake.original].item())
        mask = frames(fake.mask_path)[..., 0] > 128
        difference = np.abs(frames(fake.path).astype(int) - real).mean(-1)
        assert len(real) == N_FRAMES
        # H.264 spreads a change over its blocks, so the near surroundings are left out.
        near = cv2.dilate(mask[0].astype(np.uint8), np.ones((33, 33))) > 0
        assert difference[0][~near].mean() < 1.5
        assert difference[mask].mean() > 2.5 * difference[~mask].mean()


def test_same_seed_same_bytes(scene_folder, tmp_path):
    plan = plan_clips("tiny")
    group = plan[plan.target == plan.target[0]]
    for path in (p for _, row in group.iterrows() for p in _clip_paths(row, tmp_path) if p):
        path.parent.mkdir(parents=True, exist_ok=True)
    make_scene(group, tmp_path, seed=0)
    for _, row in group.iterrows():
        for again, before in zip(_clip_paths(row, tmp_path), _clip_paths(row, scene_folder)):
            assert before is None or again.read_bytes() == before.read_bytes()


def test_the_encoder_gives_the_same_bytes_whatever_the_memory_held(tmp_path):
    """libx264 once read what earlier work had left in memory; here that is different each time."""
    scene = Scene("004", "look_around", 12)
    frames = [scene.frame(i, scene.portrait.images)[0] for i in range(12)]
    rng = np.random.default_rng(0)
    written = set()
    for k in range(12):
        rubbish = [rng.integers(0, 255, 700_000).astype(np.uint8) for _ in range(20)]
        del rubbish
        with VideoWriter(tmp_path / f"{k}.mp4", 23, (360, 360)) as writer:
            for frame in frames:
                writer.write(frame)
        written.add((tmp_path / f"{k}.mp4").read_bytes())
    assert len(written) == 1


def test_our_own_clips_are_recognised_and_their_parents_found(scene_folder):
    table = read_catalogue(scene_folder)
    for row in table.iloc[::5].itertuples():
        original = table.path[table.video == row.original]
        expected = {"label": row.label, "original": Path(original.item()) if row.original else None}
        assert embedded_truth(row.path) == expected


def test_a_set_says_its_seed_and_one_that_does_not_has_seed_0(scene_folder, tmp_path):
    out = tmp_path / "set"
    shutil.copytree(scene_folder, out)
    path = read_catalogue(out).path[0]
    settings = out / "settings.json"
    told = settings.read_text()
    for odd, known in (("[]", True), ('{"seed": 1}', False), (told, True), ("{", True)):
        settings.write_text(odd)
        assert bool(embedded_truth(path)) == known
    settings.unlink()
    assert embedded_truth(path)


@pytest.mark.parametrize("theirs", ["a table of their own", "our very table"])
def test_a_table_beside_other_peoples_videos_makes_none_of_them_ours(
    scene_folder, tmp_path, theirs
):
    """Even where name and place are those of one of our clips."""
    table = read_catalogue(scene_folder)
    one, other = table[table.label == 0].target[:2]
    somebody = table.path[(table.target == other) & (table.label == 0)].item()
    names = [Path(path).relative_to(scene_folder) for path in table.path[table.target == one]]
    names.append(_REAL_VIDEOS / "01__exit_phone_room.mp4")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(somebody, tmp_path / name)
    if theirs == "our very table":
        shutil.copy(scene_folder / "clips.csv", tmp_path)
    else:
        (tmp_path / "clips.csv").write_text("video,split\n01__exit_phone_room,test\n")
    assert len(read_catalogue(tmp_path)) == len(names) == 8
    assert [embedded_truth(tmp_path / name) for name in names] == [{}] * 8


def test_a_folder_with_another_set_is_refused(scene_folder):
    with pytest.raises(UserError, match="other settings.*seed was 0, is 1"):
        make_clips(scene_folder, "tiny", seed=1, progress=False)


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_written_clip_and_goes_on(scene_folder, tmp_path):
    def whole():
        paths = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".unfinished"]
        return {p.relative_to(tmp_path): p.read_bytes() for p in paths}

    expected = {
        p.relative_to(scene_folder): p.read_bytes() for p in scene_folder.rglob("*") if p.is_file()
    }
    code = (
        "import sys; from xaifake.data.clips import make_clips as m; m(sys.argv[1], 'tiny', 0, 2)"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], start_new_session=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    end = time.monotonic() + 120
    while not list(tmp_path.rglob("*.mp4.*.unfinished")) and time.monotonic() < end:
        assert run.poll() is None
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert whole().items() <= expected.items()
    make_clips(tmp_path, "tiny", workers=2, progress=False)
    assert whole() == expected
