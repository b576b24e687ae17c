"""Names, splits and sampling rates of DFD, against folders and catalogues made up here."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from xaifake.data import (
    compare_with_dfd,
    frames_per_video,
    read_catalogue,
    sampling_rates,
    skipped_files,
    split_by_person,
    split_by_video,
)
from xaifake.data.dfd import SPLITS, TABLE_I
from xaifake.errors import UserError

ACTORS = "original_sequences/actors"
FAKES = "manipulated_sequences/DeepFakeDetection"


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def dfd(root):
    """Lay out a piece of DFD: names as in the real data set."""
    touch(
        root,
        f"{ACTORS}/c23/videos/01__walking_outside_cafe_disgusted.mp4",
        f"{ACTORS}/c23/videos/02__exit_phone_room.mp4",
        f"{FAKES}/c23/videos/01_02__walking_outside_cafe_disgusted__YVGY8LOK.mp4",
        f"{FAKES}/c23/videos/02_07__talking_against_wall__ABC123XY.mp4",
        f"{FAKES}/masks/videos/01_02__walking_outside_cafe_disgusted__YVGY8LOK.mp4",
    )
    return root


def catalogue_of(pairs):
    """Make a catalogue of (target, source or None) pairs."""
    rows = [
        {
            "video": f"{target}__s{i}" if source is None else f"{target}_{source}__s{i}__ABCDEFGH",
            "label": int(source is not None),
            "target": target,
            "source": source,
        }
        for i, (target, source) in enumerate(pairs)
    ]
    return pd.DataFrame(rows)


def like_dfd(people=28, scenes=4, fakes=600, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"{i:02d}" for i in range(1, people + 1)]
    swaps = rng.choice(list(itertools.permutations(names, 2)), fakes).tolist()
    return catalogue_of([(name, None) for name in names for _ in range(scenes)] + swaps)


def test_names_are_read(tmp_path):
    catalogue = read_catalogue(dfd(tmp_path)).set_index("video")
    assert list(catalogue.index) == sorted(catalogue.index)
    fake = catalogue.loc["01_02__walking_outside_cafe_disgusted__YVGY8LOK"]
    assert (fake.label, fake.target, fake.source) == (1, "01", "02")
    assert fake.scene == "walking_outside_cafe_disgusted"
    assert fake.original == "01__walking_outside_cafe_disgusted"
    assert fake.mask_path == str(tmp_path / FAKES / "masks/videos" / f"{fake.name}.mp4")
    assert fake.path == str(tmp_path / FAKES / "c23/videos" / f"{fake.name}.mp4")
    orphan = catalogue.loc["02_07__talking_against_wall__ABC123XY"]
    assert orphan.original is None and orphan.mask_path is None
    real = catalogue.loc["02__exit_phone_room"]
    assert (real.label, real.target, real.scene) == (0, "02", "exit_phone_room")
    assert real.source is None and real.original is None and real.mask_path is None


def test_what_is_not_understood_is_told_with_its_reason(tmp_path):
    dfd(tmp_path)
    name = "the name of a fake video is <target>_<source>__<scene>__<8 letters or digits>.mp4"
    reasons = {
        f"{ACTORS}/c23/videos/holiday.mp4": "the name of a real video is <actor>__<scene>.mp4",
        f"{ACTORS}/c23/videos/03__scene.mp4.part": "not an .mp4 file",
        f"{ACTORS}/c23/videos/more": "a folder, expected a video",
        f"{FAKES}/c23/videos/01__walking_outside_cafe_disgusted.mp4": name,
        f"{FAKES}/c23/videos/01_02__hugging_happy__SHORT.mp4": name,
    }
    touch(tmp_path, *(f"{path}/x.mp4" if path.endswith("more") else path for path in reasons))
    assert len(read_catalogue(tmp_path)) == 4
    assert skipped_files(tmp_path) == {str(tmp_path / path): why for path, why in reasons.items()}


@pytest.mark.parametrize(
    ("reals", "fakes", "read"),
    [
        (["c23", "c40", "raw"], ["c23", "raw"], "c23"),
        (["c40", "raw"], ["raw", "c40"], "c40"),
        (["c23", "raw"], ["raw"], "raw"),  # both classes from one level, or compression tells
        (["c40"], [], "c40"),
    ],
)
def test_one_compression_level_is_read(tmp_path, reals, fakes, read):
    touch(tmp_path, *(f"{ACTORS}/{level}/videos/01__scene.mp4" for level in reals))
    touch(tmp_path, *(f"{FAKES}/{level}/videos/01_02__scene__ABCDEFGH.mp4" for level in fakes))
    catalogue = read_catalogue(tmp_path)
    assert len(catalogue) == 1 + bool(fakes)
    assert all(f"/{read}/" in path for path in catalogue.path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "not laid out like DFD"),
        ([f"{ACTORS}/c23/videos/holiday.mp4"], "No video under"),
        (
            [f"{ACTORS}/raw/videos/01__s.mp4", f"{FAKES}/c23/videos/01_02__s__ABCDEFGH.mp4"],
            "same compression level",
        ),
    ],
)
def test_a_folder_without_a_usable_pair_of_classes_is_told(tmp_path, names, message):
    with pytest.raises(UserError, match="There is no folder"):
        read_catalogue(tmp_path / "nowhere")
    touch(tmp_path, *names)
    with pytest.raises(UserError, match=message):
        read_catalogue(tmp_path)


def test_the_table_beside_the_clips_is_joined(tmp_path):
    dfd(tmp_path)
    (tmp_path / "clips.csv").write_text(
        "video,label,kind,region,split,degraded_px\n"
        "02__exit_phone_room,9,real,none,test,\n"
        "01_02__walking_outside_cafe_disgusted__YVGY8LOK,9,regional,eyes,train,56\n"
    )
    catalogue = read_catalogue(tmp_path).set_index("video")
    assert catalogue.region["02__exit_phone_room"] == "none"
    row = catalogue.loc["01_02__walking_outside_cafe_disgusted__YVGY8LOK"]
    assert (row.kind, row.region, row.split, row.degraded_px) == ("regional", "eyes", "train", 56)
    assert sorted(catalogue.label) == [0, 0, 1, 1]  # the names decide, not the table
    assert pd.isna(catalogue.split["01__walking_outside_cafe_disgusted"])
    (tmp_path / "clips.csv").write_text("video,kind\na,real\na,real\n")
    with pytest.raises(UserError, match="each video once"):
        read_catalogue(tmp_path)


def test_comparison_with_the_full_set(tmp_path):
    table = compare_with_dfd(read_catalogue(dfd(tmp_path)))
    assert table.loc["real"].to_dict() == {"expected": 363, "found": 2, "missing": 361}
    assert table.loc["fake"].to_dict() == {"expected": 3068, "found": 2, "missing": 3066}


people = st.integers(0, 15).map(lambda i: f"{i:02d}")
pairs = st.lists(st.tuples(people, st.none() | people), min_size=1, max_size=60).filter(
    lambda some: len({person for pair in some for person in pair} - {None}) >= 3
)


@settings(max_examples=60)
@given(pairs=pairs, seed=st.integers(0, 2**32 - 1))
def test_no_person_is_in_two_splits(pairs, seed):
    catalogue = catalogue_of(pairs)
    split = split_by_person(catalogue, seed)
    seen = {
        name: set(part.target) | set(part.source.dropna()) for name, part in split.groupby("split")
    }
    assert all(not a & b for a, b in itertools.combinations(seen.values(), 2))
    assert set(split.split) <= set(SPLITS)
    assert set(catalogue.video[catalogue.label == 0]) <= set(split.video)  # a real has one person
    assert set(split.video) <= set(catalogue.video) and split.video.is_unique
    assert "split" not in catalogue


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_catalogue_and_its_index_do_not_matter(seed):
    catalogue = like_dfd(people=8, fakes=40)
    mixed = catalogue.sample(frac=1, random_state=1)
    first = split_by_person(catalogue, seed).set_index("video").split
    second = split_by_person(mixed, seed).set_index("video").split
    assert first.to_dict() == second.to_dict()


@pytest.mark.parametrize("seed", range(5))
def test_people_are_split_four_to_one_to_one(seed):
    catalogue = like_dfd()
    split = split_by_person(catalogue, seed)
    people = [split.target[split.split == name].nunique() for name in SPLITS]
    assert people == [18, 5, 5]
    assert (split.groupby(["split", "label"]).size() > 0).sum() == 6
    # A random draw keeps (18/28)^2 + 2 (5/28)^2 = 48 % of the fakes; the best of many, more.
    assert (split.label == 1).sum() > 0.5 * (catalogue.label == 1).sum()


def test_the_split_depends_on_the_seed_alone():
    catalogue = like_dfd()
    first, again, other = (split_by_person(catalogue, seed) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert first.set_index("video").split.to_dict() != other.set_index("video").split.to_dict()


def test_every_split_gets_both_classes_where_that_is_possible():
    # Only splits along the three pairs have fakes everywhere; others keep as many videos or more.
    pairs = [("1", "2")] * 50 + [("3", "4")] * 2 + [("5", "6")] * 2 + [("1", "3"), ("1", "5")] * 10
    pairs += [(person, None) for person in "123456789"]
    for seed in range(10):
        split = split_by_person(catalogue_of(pairs), seed)
        assert (split.groupby(["split", "label"]).size() > 0).sum() == 6


def test_too_few_people_are_told():
    with pytest.raises(UserError, match="2 people"):
        split_by_person(catalogue_of([("1", "2"), ("1", None)]), 0)


def test_splits_that_leak():
    catalogue = like_dfd()
    split = split_by_video(catalogue, 0)
    assert sorted(split.video) == sorted(catalogue.video)
    for label, n in ((0, 112), (1, 600)):
        counts = split.split[split.label == label].value_counts()
        assert [counts[name] for name in SPLITS] == [n - 2 * round(n / 6), *[round(n / 6)] * 2]
    pd.testing.assert_frame_equal(split, split_by_video(catalogue, 0))


def test_sampling_rates_balance_the_classes():
    catalogue = split_by_video(like_dfd(), 0)
    rates = sampling_rates(catalogue, frames_per_fake=39)
    per_class = rates.groupby("class").frames_per_video.agg(set).to_dict()
    assert per_class == {"real": {round(39 * 600 / 112)}, "fake": {39}}
    frames = rates.groupby("class").frames.sum()
    assert frames["fake"] == 600 * 39
    assert abs(frames["real"] / frames["fake"] - 1) < 0.01
    assert rates.paper_frames.sum() == 215_557
    assert (rates.frames == rates.videos * rates.frames_per_video).all()
    assert list(zip(rates.split, rates["class"], strict=True)) == list(TABLE_I)
    assert frames_per_video(catalogue, 39, longest=32) == {"real": 32, "fake": 39}
    capped = sampling_rates(catalogue, frames_per_fake=39, longest=32)
    assert capped.frames_per_video.tolist() == [32, 39] * 3


def test_sampling_rates_of_the_full_dfd_are_those_of_the_paper():
    rates = frames_per_video(pd.DataFrame({"label": [0] * 363 + [1] * 3068}), frames_per_fake=39)
    # Table I: 96,828 real frames of 363 videos, 118,729 fake ones of 3,068.
    assert round(118_729 / 3_068) == rates["fake"]
    assert abs(rates["real"] * 363 / (39 * 3068) - 1) < 0.005


def test_sampling_rates_need_a_split_and_both_classes():
    with pytest.raises(UserError, match="split_by_person"):
        sampling_rates(like_dfd(), 12)
    with pytest.raises(UserError, match="both classes"):
        sampling_rates(pd.DataFrame({"label": [0], "split": ["train"]}), 12)
