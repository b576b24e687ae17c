"""Regions partition a picture, lie where the landmarks are, and shares are what a hand adds up.

So are the other scores, and the masks that they are measured against lie where the fakes differ
from their originals.
"""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import roc_auc_score

from xaifake.data import load_faces, swaps
from xaifake.errors import UserError
from xaifake.judge import localisation
from xaifake.judge.localisation import (
    BASELINES,
    CENTRED_SIGMA,
    REGIONS,
    against_best_baseline,
    baselines,
    centred_gaussian,
    describe_swaps,
    localise,
    mask_auc,
    means_over_people,
    pointing_game,
    rank_agreement,
    region_contrast,
    region_masks,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    swap_areas,
)

FOUR = relevance_mass_accuracy, relevance_rank_accuracy, pointing_game, mask_auc
SCORES = dict(zip(("mass", "rank", "pointing", "auc"), FOUR, strict=True))
NAMES = tuple(SCORES)
BY_RANK = NAMES[1:]
every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
few = settings(max_examples=40)


def scores_of(maps, masks, names=NAMES):
    """Return the scores as an array, one row a metric."""
    return np.stack([SCORES[name](np.array(maps), np.array(masks)) for name in names])


@pytest.fixture(scope="module", params=[1.3, 2.0])
def faces(request, shipped_faces):
    return shipped_faces(request.param)[::16]


@pytest.fixture(scope="module", params=[1.3, 2.0])
def fakes(request, shipped_faces):
    """Return the fakes of every other person."""
    faces = shipped_faces(request.param)
    people = np.unique(faces.table.target)[::2]
    return faces[(faces.labels == 1) & np.isin(faces.table.target, people)]


@pytest.fixture(scope="module")
def some(fakes):
    """Return every fifth fake of each region."""
    number = fakes.table.groupby("region").cumcount()
    return fakes[(number % 5 == 0).to_numpy()]


def test_fakes_without_a_mask_are_told_in_a_sentence(some):
    sources = np.where(np.arange(len(some)) < 2, None, "file")
    lacking = replace(some, table=some.table.assign(mask_source=sources))
    maps = np.ones(some.images.shape[:3])
    for measure in (lambda faces: localise(maps[: len(faces)], faces), describe_swaps):
        with pytest.raises(UserError, match=f"2 of {len(some)} fakes have no mask.*originals=True"):
            measure(lacking)
        assert len(measure(lacking[2:])) == len(some) - 2


def test_each_pixel_lies_in_one_region(faces):
    masks = region_masks(faces)
    assert tuple(masks) == REGIONS
    assert (sum(mask.astype(int) for mask in masks.values()) == 1).all()
    assert all(mask.any(axis=(1, 2)).all() for mask in masks.values())


def test_the_landmarks_of_a_region_lie_in_it(faces):
    masks = region_masks(faces)
    size = faces.images.shape[1]
    for number, row in faces.table.iterrows():
        points = np.reshape(row.landmarks, (68, 2))
        x, y = ((points - [row.left, row.top]) * size / row.side).astype(int).T
        # dlib's points: 30 the tip of the nose, 36 to 47 the eyes, 62 and 66 between the lips
        for region, chosen in {"nose": [30], "eyes": range(36, 48), "mouth": [62, 66]}.items():
            assert masks[region][number, y[chosen], x[chosen]].all(), region
        assert masks["outside"][number, 0, 0]


def test_a_swap_of_a_region_lies_in_the_region(shipped_faces):
    faces = shipped_faces(1.3)
    for region in ("eyes", "nose", "mouth"):
        swapped = faces[(faces.table.region == region).to_numpy()]
        inside = region_masks(swapped)[region]
        # The mask of the swap is softened and moves with the frames; most of the region is in it.
        assert np.median((swapped.masks & inside).sum((1, 2)) / inside.sum((1, 2))) > 0.9


def test_the_area_of_a_swap_is_covered_by_the_mask_of_such_a_swap(fakes):
    areas = swap_areas(fakes)
    assert tuple(areas) == swaps.REGIONS
    for region, area in areas.items():
        of = (fakes.table.region == region).to_numpy()
        covered = (fakes.masks & area)[of].sum((1, 2)) / area[of].sum((1, 2))
        assert covered.min() > 0.9, region


def test_areas_overlap_where_regions_give_way(faces):
    areas, regions = swap_areas(faces), region_masks(faces)
    np.testing.assert_array_equal(areas["eyes"], regions["eyes"])
    np.testing.assert_array_equal(areas["mouth"] & ~areas["eyes"], regions["mouth"])
    for region in ("nose", "mouth"):
        assert not (regions[region] & ~areas[region]).any()
    assert (areas["nose"] & areas["eyes"]).any(axis=(1, 2)).all()


def test_the_halves_of_a_face_are_its_left_and_its_right_half(faces):
    areas = swap_areas(faces)
    left, right = areas["left_half"], areas["right_half"]
    assert not (left & right).any()
    columns = np.arange(left.shape[2])
    middles = [(half * columns).sum((1, 2)) / half.sum((1, 2)) for half in (left, right)]
    assert (middles[0] < middles[1]).all()  # as the viewer sees them
    inside = ~region_masks(faces)["outside"]
    both = left | right
    assert ((both & inside).sum((1, 2)) / (both | inside).sum((1, 2))).min() > 0.9


# Each with the scores in the order of NAMES.
BY_HAND = {
    # 3 of 4. Of the two largest, 3 and 1, one is inside; of the pairs 3 wins both, -5 none.
    "signs": ([[3, -5], [1, 0]], [[1, 1], [0, 0]], (3 / 4, 1 / 2, 1, 2 / 4)),
    # 5 of 9. Places 1 and 2 are 4 and 3, the third is either 1. Inside 4, 1 and -2, outside 3, 1
    # and 0: of nine pairs 4 wins three, 1 wins one and draws one.
    "signs and a tie": (
        [[4, 3, -2], [1, 1, 0]],
        [[1, 0, 1], [1, 0, 0]],
        (5 / 9, 1.5 / 3, 1, 4.5 / 9),
    ),
    # Without positive relevance there are still ranks: -1 and -2 are the two largest. Of the pairs
    # -2 wins one and -3 draws one.
    "nothing positive": ([[-1, -2], [-3, -3]], [[0, 1], [1, 0]], (np.nan, 1 / 2, 0, 1.5 / 4)),
    # Two of the three fives have a place, and each may be the largest.
    "ties at the top": ([[5, 5], [5, 0]], [[1, 0], [0, 1]], (5 / 15, (2 / 3) / 2, 1 / 3, 1 / 4)),
    "one pixel, hit": ([[0, 1], [7, 2]], [[0, 0], [1, 0]], (7 / 10, 1, 1, 1)),
    "one pixel, missed": ([[0, 1], [7, 2]], [[1, 0], [0, 0]], (0, 0, 0, 0)),
    "all but one pixel": ([[0, 1], [7, 2]], [[1, 1], [0, 1]], (3 / 10, 2 / 3, 0, 0)),
    "all zero": ([[0, 0], [0, 0]], [[1, 0], [0, 0]], (np.nan, 1 / 4, 1 / 4, 1 / 2)),
    "an empty mask": ([[4, 3], [1, -2]], [[0, 0], [0, 0]], (0, np.nan, 0, np.nan)),
    "the whole picture": ([[4, 3], [1, -2]], [[1, 1], [1, 1]], (1, 1, 1, np.nan)),
    "a single row": ([[2, -1, 3, 0]], [[1, 1, 0, 0]], (2 / 5, 1 / 2, 0, 1 / 4)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BY_HAND)
def test_scores_are_those_computed_by_hand(name):
    heatmap, mask, expected = BY_HAND[name]
    scores = scores_of([heatmap], np.array([mask], bool))
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-15)


# At 2e307 the sum of 4, 3, 1 and 1 is beyond the largest number, and 5e-324 is the smallest.
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1e30, 1e-30, 2e307, 5e-324])
def test_scores_of_huge_and_tiny_maps_are_those_computed_by_hand(unit):
    heatmap, mask, expected = BY_HAND["signs and a tie"]
    scores = scores_of([unit * np.array(heatmap)], np.array([mask], bool))
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-12)


def test_single_precision_and_whole_numbers_score_alike():
    heatmap, mask, expected = BY_HAND["signs and a tie"]
    for dtype, unit in ((np.float32, 2e37), (np.float32, 2.0**-149), (np.float16, 1), (np.int8, 1)):
        maps = (unit * np.array([heatmap])).astype(dtype)
        scores = scores_of(maps, np.array([mask], bool))
        np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-6)


def test_huge_relevance_inside_drowns_the_tiny_outside():
    mask = np.array([[[True, False], [False, False]]])
    np.testing.assert_array_equal(scores_of([[[1e30, 1e-30], [1e-30, -1e30]]], mask), 1)
    # The other way round only the order of the rest can tell.
    scores = scores_of([[[1e-30, 1e30], [0, -1e30]]], mask)
    np.testing.assert_allclose(scores[:, 0], (0, 0, 0, 2 / 3), atol=1e-15)


@every_score
def test_no_faces_have_no_scores_and_arrays_are_left_alone(score):
    assert score(np.zeros((0, 4, 4)), np.zeros((0, 4, 4), bool)).shape == (0,)
    maps = np.random.default_rng(0).normal(size=(2, 4, 4))
    masks = maps > 1
    before = maps.copy()
    score(maps, masks)
    np.testing.assert_array_equal(maps, before)
    np.testing.assert_array_equal(masks, before > 1)


GOOD = np.arange(8.0).reshape(2, 2, 2)


@every_score
@pytest.mark.parametrize(
    "maps, masks, message",
    [
        (np.ones((2, 2, 2, 3)), GOOD > 3, r"\(2, 2, 2, 3\): sum it over the colours .*\(N, H, W\)"),
        (np.ones((2, 2, 2, 1)), np.ones((2, 2, 2, 1), bool), "sum it over the colours"),
        (GOOD[0], GOOD[0] > 1, r"\(2, 2\) and masks of shape \(2, 2\): give both as \(N, H, W\)"),
        (GOOD, GOOD[:1] > 3, r"Heatmaps of shape \(2, 2, 2\) and masks of shape \(1, 2, 2\)"),
        (GOOD, GOOD[:, :, :1] > 3, r"masks of shape \(2, 2, 1\)"),
        (GOOD, GOOD[0] > 1, r"masks of shape \(2, 2\)"),  # NumPy would repeat the one mask
        (GOOD, GOOD, "Masks of type float64: give True where the picture is manipulated"),
        (GOOD, (GOOD > 3).astype(np.uint8), "Masks of type uint8"),
        (np.where(GOOD == 5, np.nan, GOOD), GOOD > 3, "NaN or infinite values"),
        (np.where(GOOD == 5, np.inf, GOOD), GOOD > 3, "NaN or infinite values"),
        (np.where(GOOD == 5, -np.inf, GOOD), GOOD > 3, "NaN or infinite values"),
    ],
)
def test_what_cannot_be_scored_is_refused(score, maps, masks, message):
    with pytest.raises(UserError, match=message):
        score(maps, masks)


@st.composite
def maps_and_masks(draw):
    """Draw maps of whole numbers, so that many tie, and masks neither empty nor whole."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(2, 5)))
    maps = draw(arrays(np.int64, shape, elements=st.integers(-9, 9))).astype(float)
    masks = draw(arrays(bool, shape))
    masks[:, 0, 0], masks[:, -1, -1] = True, False
    return maps, masks


@given(maps_and_masks(), st.floats(1e-30, 1e30))
@few
def test_a_map_that_is_the_same_everywhere_scores_the_masks_share(pair, value):
    masks = pair[1]
    share = masks.mean((1, 2))
    expected = [share, share, share, np.full(len(share), 0.5)]
    same = np.full(masks.shape, value)
    np.testing.assert_allclose(scores_of(same, masks), expected, rtol=1e-12)
    np.testing.assert_allclose(scores_of(-same, masks, BY_RANK), expected[1:], rtol=1e-12)


@given(maps_and_masks(), st.floats(1e-30, 1e30))
@few
def test_a_map_equal_to_the_mask_scores_one(pair, value):
    masks = pair[1]
    np.testing.assert_array_equal(scores_of(value * masks, masks), 1)
    # Its opposite has no relevance inside, and of the best pixels only those it cannot avoid.
    unavoidable = np.maximum(2 * masks.sum((1, 2)) - masks[0].size, 0) / masks.sum((1, 2))
    nothing = np.zeros(len(masks))
    expected = [nothing, unavoidable, nothing, nothing]
    np.testing.assert_allclose(scores_of(value * ~masks, masks), expected, rtol=1e-12)


@given(maps_and_masks(), st.integers(-900, 900), st.floats(1e-3, 1e3))
@few
def test_a_positive_factor_changes_nothing(pair, exponent, factor):
    maps, masks = pair
    scores = scores_of(maps, masks)
    # A power of two is multiplied without rounding.
    np.testing.assert_array_equal(scores_of(maps * 2.0**exponent, masks), scores)
    np.testing.assert_allclose(scores_of(maps * factor, masks), scores, rtol=1e-12)


@given(maps_and_masks(), arrays(float, 19, elements=st.floats(0.01, 1e6)))
@few
def test_scores_by_rank_see_only_the_order_of_the_pixels(pair, steps):
    maps, masks = pair
    increasing = np.cumsum(steps) - 1e3
    transformed = increasing[maps.astype(int) + 9]
    expected = scores_of(maps, masks, BY_RANK)
    np.testing.assert_array_equal(scores_of(transformed, masks, BY_RANK), expected)
    np.testing.assert_array_equal(scores_of(np.exp(maps), masks, BY_RANK), expected)


@given(maps_and_masks())
@few
def test_what_turns_map_and_mask_together_changes_nothing(pair):
    scores = scores_of(*pair)
    turns = [lambda a: a[:, ::-1], lambda a: a[:, :, ::-1], lambda a: a.transpose(0, 2, 1)]
    for turn in (*turns, lambda a: np.roll(a, 1, axis=2)):
        np.testing.assert_allclose(scores_of(*map(turn, pair)), scores, rtol=1e-12)


@given(maps_and_masks())
@few
def test_a_face_scores_alike_whatever_others_come_with_it(pair):
    maps, masks = pair
    alone = [scores_of(maps[i : i + 1], masks[i : i + 1])[:, 0] for i in range(len(maps))]
    np.testing.assert_allclose(scores_of(maps, masks), np.transpose(alone), rtol=1e-12)


@given(maps_and_masks())
@few
def test_what_is_not_inside_is_outside(pair):
    maps, masks = pair
    np.testing.assert_allclose(mask_auc(maps, ~masks), 1 - mask_auc(maps, masks), atol=1e-12)
    np.testing.assert_allclose(mask_auc(-maps, masks), 1 - mask_auc(maps, masks), atol=1e-12)
    for score in (relevance_mass_accuracy, pointing_game):
        np.testing.assert_allclose(score(maps, ~masks), 1 - score(maps, masks), atol=1e-12)


@given(maps_and_masks())
@few
def test_the_auc_is_scikit_learns(pair):
    expected = [roc_auc_score(m.ravel(), h.ravel()) for h, m in zip(*pair, strict=True)]
    np.testing.assert_allclose(mask_auc(*pair), expected, atol=1e-12)


@given(arrays(int, (1, 3, 3), elements=st.integers(-1, 2)), arrays(bool, (1, 3, 3)).filter(np.any))
@few
def test_the_rank_accuracy_is_the_mean_over_all_fair_draws(heatmap, mask):
    values, inside = heatmap.ravel(), mask.ravel()
    chosen = [list(pixels) for pixels in combinations(range(9), int(mask.sum()))]
    most = max(values[pixels].sum() for pixels in chosen)
    hits = [inside[pixels].mean() for pixels in chosen if values[pixels].sum() == most]
    assert relevance_rank_accuracy(heatmap, mask)[0] == pytest.approx(np.mean(hits))


def test_random_maps_score_the_masks_share_on_average():
    rng = np.random.default_rng(0)
    masks = np.zeros((4000, 6, 6), bool)
    masks[:, 1:4, 2:5] = True
    masks[:, 0, 0] = True  # ten of 36
    for maps in (rng.random(masks.shape), rng.integers(3, size=masks.shape) + 1):
        scores = scores_of(maps, masks)
        away = scores.mean(axis=1) - [10 / 36, 10 / 36, 10 / 36, 0.5]
        assert (np.abs(away) < 4 * scores.std(axis=1) / np.sqrt(len(masks))).all()


def test_masks_as_maps_score_perfectly(some):
    scores = localise(some.masks.astype(np.float32), some)
    np.testing.assert_array_equal(scores[list(NAMES)], 1)


def moved(masks, down, right):
    """Return masks moved by up to 8 pixels, with nothing coming in at the edge."""
    height, width = masks.shape[1:]
    padded = np.pad(masks, ((0, 0), (8, 8), (8, 8)))
    return padded[:, 8 - down : 8 - down + height, 8 - right : 8 - right + width]


DIRECTIONS = [(8, 0), (-8, 0), (0, 8), (0, -8)]


@pytest.mark.parametrize("direction", [*DIRECTIONS, (3, -5)], ids=str)
def test_masks_beside_their_place_score_what_the_overlap_says(some, direction):
    masks, beside = some.masks, moved(some.masks, *direction)
    pixels, size, found = masks[0].size, masks.sum((1, 2)), beside.sum((1, 2))
    both = (masks & beside).sum((1, 2))
    # Of a map of ones and zeros the ones come first, in any order; a mask that has left the picture
    # in part has too few of them, and a draw among the zeros fills the rest of the places.
    drawn = (size - found) / (pixels - found)
    rank = np.where(found < size, (both + drawn * (size - both)) / size, both / found)
    # A pair of pixels draws, or the one inside wins or loses.
    auc = (1 + both / size - (found - both) / (pixels - size)) / 2
    scores = localise(beside.astype(float), some)
    expected = {"mass": both / found, "rank": rank, "pointing": both / found, "auc": auc}
    for name in NAMES:
        np.testing.assert_allclose(scores[name], expected[name], rtol=1e-12)
    assert (scores[list(NAMES)] < 1).all(axis=None)


@pytest.fixture(scope="module")
def differs(fakes):
    """Return by how many grey levels fakes differ from their originals, in the mean of colours."""
    return np.abs(fakes.images.astype(np.float32) - fakes.originals).mean(axis=3)


def test_fakes_differ_from_their_twins_inside_their_masks(fakes, differs):
    strong = differs > 25
    assert strong.sum() > 10_000
    assert strong[fakes.masks].sum() / strong.sum() > 0.999
    # Face by face too, where more than a speck of JPEG's noise differs so much.
    count = strong.sum((1, 2))
    share = (strong & fakes.masks).sum((1, 2))[count > 30] / count[count > 30]
    assert len(share) > 50 and share.min() > 0.9
    assert differs[~fakes.masks].mean() < 2 and differs[fakes.masks].mean() > 8


def correlation(maps, masks):
    """Return Pearson's correlation of each map with its mask."""
    maps = maps - maps.mean(axis=(1, 2), keepdims=True)
    masks = masks - masks.mean(axis=(1, 2), keepdims=True)
    norms = np.sqrt((maps**2).sum((1, 2)) * (masks**2).sum((1, 2)))
    return (maps * masks).sum((1, 2)) / norms


def test_masks_beside_their_place_miss_where_fakes_differ(fakes, differs):
    strong = differs > 25
    missed = strong[~fakes.masks].sum()
    there, beside = correlation(differs, fakes.masks), []
    for direction in DIRECTIONS:
        masks = moved(fakes.masks, *direction)
        assert strong[~masks].sum() > 10 * missed, direction
        beside.append(correlation(differs, masks))
        assert (beside[-1] < there).mean() > 0.85, direction
    assert (np.mean(beside, axis=0) < there).mean() > 0.95


def test_masks_explain_the_differences_best_where_they_are(fakes, differs):
    offsets = [(down, right) for down in (-4, 0, 4) for right in (-4, 0, 4)]
    fits = [correlation(differs, moved(fakes.masks, *offset)).mean() for offset in offsets]
    assert offsets[np.argmax(fits)] == (0, 0)


def test_a_table_of_scores_has_the_columns_it_promises(some):
    noise = np.random.default_rng(0).normal(size=some.masks.shape)
    table = localise(noise, some)
    within = [f"mass_region_{region}" for region in REGIONS]
    on = [f"mass_swap_area_{region}" for region in swaps.REGIONS]
    assert list(table) == [*NAMES, *within, *on] and len(table) == len(some)
    np.testing.assert_allclose(table[list(NAMES)].T, scores_of(noise, some.masks))
    np.testing.assert_allclose(table[within].sum(axis=1), 1)
    np.testing.assert_allclose(
        table[["mass_swap_area_eyes", "mass_swap_area_mouth"]],
        table[["mass_region_eyes", "mass_region_mouth"]],
    )


def test_a_map_of_a_region_lies_in_this_region_alone(some):
    areas = swap_areas(some)
    for region, mask in region_masks(some).items():
        table = localise(mask.astype(float), some)
        assert (table[f"mass_region_{region}"] == 1).all()
        assert (table[[f"mass_region_{other}" for other in REGIONS if other != region]] == 0).all(
            axis=None
        )
        for name, area in areas.items():
            expected = (area & mask).sum((1, 2)) / mask.sum((1, 2))
            np.testing.assert_allclose(table[f"mass_swap_area_{name}"], expected)


def test_swaps_are_described_in_shares_that_add_up(fakes):
    table = describe_swaps(fakes)
    np.testing.assert_allclose(table.filter(like="swap_in_").sum(axis=1), 1)
    np.testing.assert_allclose(table.filter(like="area_of_").sum(axis=1), 1)
    np.testing.assert_allclose(table.share, fakes.table.mask_share, atol=1e-6)
    for region, mask in region_masks(fakes).items():
        np.testing.assert_allclose(table[f"area_of_{region}"], mask.mean((1, 2)))
        share = (fakes.masks & mask).sum((1, 2)) / fakes.masks.sum((1, 2))
        np.testing.assert_allclose(table[f"swap_in_{region}"], share, rtol=1e-12)


def test_most_of_a_swap_lies_in_the_region_that_was_swapped(fakes):
    table = describe_swaps(fakes).groupby(fakes.table.region.to_numpy()).mean()
    within = table[[f"swap_in_{region}" for region in REGIONS]]
    assert within.loc["eyes", "swap_in_eyes"] > 0.6
    for region in ("eyes", "nose", "mouth"):
        assert within.loc[region].idxmax() == f"swap_in_{region}"
    assert within.loc["eyes", "swap_in_mouth"] < 0.01 > within.loc["mouth", "swap_in_eyes"]
    assert table.share.idxmax() == "whole"


@pytest.fixture(scope="module")
def blind(some):
    """Return the baselines of some fakes."""
    return baselines(some, localisation.mean_mask(some.scale))


def test_baselines_are_maps_of_all_faces_in_double_precision(some, blind):
    assert tuple(blind) == BASELINES
    for name, maps in blind.items():
        assert maps.shape == some.masks.shape and maps.dtype == np.float64, name
        assert np.isfinite(maps).all(), name
    given_mask = np.random.default_rng(0).random(some.masks.shape[1:])
    assert (baselines(some, given_mask)["mean mask"] == given_mask).all()


def test_chance_is_the_same_everywhere_and_scores_like_it(some, blind):
    assert np.ptp(blind["chance"]) == 0
    share = some.masks.mean((1, 2))
    expected = [share, share, share, np.full(len(some), 0.5)]
    np.testing.assert_allclose(scores_of(blind["chance"], some.masks), expected)


def test_noise_is_uniform_and_that_of_its_seed(some, blind):
    noise = blind["noise"]
    assert noise.min() >= 0 and noise.max() <= 1
    np.testing.assert_allclose(np.quantile(noise, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.01)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.03
    same, other = (baselines(some, blind["mean mask"][0], seed)["noise"] for seed in (0, 1))
    np.testing.assert_array_equal(same, noise)
    assert abs(np.corrcoef(other.ravel(), noise.ravel())[0, 1]) < 0.01


def slope(grey):
    """Return the size of Sobel's slope of one picture, its edge pixels repeated outside."""
    p = np.pad(grey, 1, mode="edge")
    across, down = p[:, 2:] - p[:, :-2], p[2:] - p[:-2]
    across = across[:-2] + 2 * across[1:-1] + across[2:]
    down = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return np.hypot(across, down)


def test_edges_are_the_slopes_of_each_pictures_brightness(some, blind):
    for image, edges in zip(some.images, blind["edges"], strict=True):
        expected = slope(image.mean(axis=2))
        # Up to a factor, which no score sees.
        np.testing.assert_allclose(edges / edges.max(), expected / expected.max(), atol=1e-9)


def test_a_plain_picture_has_no_edges_whatever_others_come_with_it(some):
    plain = replace(some[:3], images=some.images[:3].copy())
    plain.images[1] = 128
    edges = baselines(plain, np.ones(some.masks.shape[1:]))["edges"]
    assert edges[1].max() == 0 and edges[[0, 2]].max(axis=(1, 2)).min() > 0


def test_the_centred_gaussian_has_its_spread_and_its_middle(blind):
    assert CENTRED_SIGMA == pytest.approx(1 / 6)
    odd = centred_gaussian(13, 25)
    # From the middle, 6 and 12, two pixels down are two 13ths of the height.
    assert odd[6, 12] == odd.max() == 1
    assert odd[8, 12] == pytest.approx(np.exp(-((2 / 13) ** 2) / 2 * 36))
    assert odd[6, 17] == pytest.approx(np.exp(-((5 / 25) ** 2) / 2 * 36))
    assert odd[8, 17] == pytest.approx(odd[8, 12] * odd[6, 17])
    gaussian = blind["centred Gaussian"]
    np.testing.assert_array_equal(gaussian, gaussian[:, ::-1, ::-1])
    np.testing.assert_array_equal(gaussian, gaussian.transpose(0, 2, 1))
    # Its standard deviation, that of what little of it is cut off at the edge aside.
    rows = (gaussian[0].sum(axis=1) / gaussian[0].sum()) @ (np.arange(128) - 63.5) ** 2
    assert np.sqrt(rows) / 128 == pytest.approx(1 / 6, rel=0.03)


def test_the_centred_gaussian_ranks_pixels_by_their_distance_from_the_middle():
    gaussian = centred_gaussian(128, 128)[None]
    y, x = np.mgrid[:128, :128] - 63.5
    for radius in (5, 30, 60):
        disc = (np.hypot(x, y) < radius)[None]
        np.testing.assert_array_equal(scores_of(gaussian, disc, BY_RANK), 1)
        np.testing.assert_array_equal(scores_of(-gaussian, disc, ("pointing", "auc")), 0)
    half = np.broadcast_to(x < 0, (1, 128, 128))
    np.testing.assert_allclose(scores_of(gaussian, half), 0.5)


@pytest.mark.parametrize("scale", [1.3, 2.0])
def test_the_mean_mask_of_the_training_fakes_is_that_of_any_fakes(scale, shipped_faces):
    mean_mask = localisation.mean_mask(scale)
    assert mean_mask.shape == (128, 128) and mean_mask.dtype == np.float64
    assert mean_mask.min() >= 0 and mean_mask.max() <= 1
    faces = shipped_faces(scale)
    whole, regional = (faces.masks[faces.table.kind == kind] for kind in ("whole", "regional"))
    # Of three fakes that a detector is trained on two are swaps of the whole face.
    alike = (2 * whole.mean(axis=0) + regional.mean(axis=0)) / 3
    assert np.corrcoef(mean_mask.ravel(), alike.ravel())[0, 1] > 0.99
    assert mean_mask.mean() == pytest.approx(alike.mean(), rel=0.03)


def test_the_mean_mask_shrinks_with_the_scale_and_other_scales_have_none():
    small, large = (localisation.mean_mask(scale).mean() for scale in (2, 1.3))
    assert small / large == pytest.approx((1.3 / 2.0) ** 2, rel=0.02)
    for scale in (1.5, 1.30001, -2.0):
        with pytest.raises(UserError, match=f"No mean mask for scale {scale}: there are 1.3, 2.0"):
            localisation.mean_mask(scale)


ON = [
    "mass_swap_area_eyes",
    "mass_swap_area_nose",
    "mass_swap_area_mouth",
    "mass_swap_area_left_half",
    "mass_swap_area_right_half",
]


def test_contrasts_of_a_table_are_those_computed_by_hand():
    table = pd.DataFrame(
        [
            ("a", "eyes", 0.6, 0.1, 0.1, 0.5, 0.5),
            ("a", "nose", 0.2, 0.4, 0.3, 0.5, 0.5),
            ("a", "mouth", 0.4, 0.2, 0.7, 0.5, 0.5),
            ("a", "mouth", 0.6, 0.3, 0.8, 0.5, 0.5),  # another frame
            ("a", "left_half", 0.9, 0.9, 0.9, 0.8, 0.2),
            ("a", "right_half", 0.9, 0.9, 0.9, 0.3, 0.6),
            ("a", "whole", 0.9, 0.9, 0.9, 0.9, 0.9),
            ("b", "eyes", 0.9, 0, 0, 0, 0),
            ("b", "left_half", 0, 0.9, 0.9, 0.9, 0),  # a half is no control of the eyes
            ("b", "whole", 0, 0.9, 0.9, 0, 0.9),
            ("c", "nose", 0.2, 0.3, 0, 0, 0),
            ("c", "mouth", 0.2, 0.5, 0.1, 0, 0),
        ],
        columns=["target", "region", *ON],
    )
    expected = pd.DataFrame(
        [
            ("a", "eyes", 0.6, (0.2 + 0.4 + 0.6) / 3),
            ("a", "nose", 0.4, (0.1 + 0.2 + 0.3) / 3),
            ("a", "mouth", 0.7, (0.1 + 0.3) / 2),
            ("a", "mouth", 0.8, (0.1 + 0.3) / 2),
            ("a", "left_half", 0.8, 0.3),
            ("a", "right_half", 0.6, 0.2),
            ("c", "nose", 0.3, 0.5),
            ("c", "mouth", 0.1, 0.0),
        ],
        columns=["target", "region", "swapped", "control"],
    )
    expected["contrast"] = expected.swapped - expected.control
    pd.testing.assert_frame_equal(region_contrast(table), expected)
    # Whatever the rows are called.
    pd.testing.assert_frame_equal(region_contrast(table.set_axis([7] * len(table))), expected)
    assert (
        list(region_contrast(table[:1])) == list(expected) and len(region_contrast(table[:1])) == 0
    )


def one_face_swapped_in_each_region():
    """Return copies of one face, each with the mask of another region."""
    copies = load_faces(scale=1.3)[[0] * len(swaps.REGIONS)]
    areas = swap_areas(copies)
    masks = np.stack([areas[region][0] for region in swaps.REGIONS])
    return replace(copies, masks=masks, table=copies.table.assign(region=swaps.REGIONS))


def contrast_of(maps, faces):
    return region_contrast(localise(maps, faces).assign(**faces.table[["target", "region"]]))


def test_maps_of_the_swapped_areas_move_by_what_the_areas_do_not_share():
    faces = one_face_swapped_in_each_region()
    eyes, nose, mouth, _, _ = faces.masks

    def shared(one, other):
        return (one & other).sum() / other.sum()

    three = ((eyes, nose, mouth), (nose, eyes, mouth), (mouth, eyes, nose))
    elsewhere = [(shared(one, a) + shared(one, b)) / 2 for one, a, b in three] + [0, 0]
    table = contrast_of(faces.masks.astype(float), faces)
    assert table.region.tolist() == list(swaps.REGIONS)
    np.testing.assert_array_equal(table.swapped, 1)
    np.testing.assert_allclose(table.control, elsewhere)
    np.testing.assert_allclose(table.contrast, 1 - np.array(elsewhere))
    assert table.contrast.min() > 0.7


def test_half_a_map_that_moves_moves_half_as_far():
    faces = one_face_swapped_in_each_region()
    whole = contrast_of(faces.masks.astype(float), faces).contrast
    unit = faces.masks / faces.masks.sum((1, 2), keepdims=True)
    still = centred_gaussian(128, 128)
    half = contrast_of(unit + still / still.sum(), faces).contrast
    np.testing.assert_allclose(half, whole / 2)


def test_a_map_that_is_the_same_for_all_swaps_of_a_face_does_not_move():
    faces = one_face_swapped_in_each_region()
    blind = baselines(faces, localisation.mean_mask(1.3))
    for name in ("chance", "centred Gaussian", "mean mask"):
        np.testing.assert_allclose(contrast_of(blind[name], faces).contrast, 0, atol=1e-12)
    nothing = contrast_of(np.zeros(faces.masks.shape), faces)
    assert len(nothing) == 5 and nothing.contrast.isna().all()


def test_masks_move_and_the_middle_does_not(fakes):
    regional = fakes[(fakes.table.kind == "regional").to_numpy()]
    table = contrast_of(regional.masks.astype(float), regional)
    assert len(table) == len(regional)  # each has a control
    assert table.contrast.min() > 0 and table.groupby("region").contrast.mean().min() > 0.4
    gaussian = np.broadcast_to(centred_gaussian(128, 128), regional.masks.shape)
    assert contrast_of(gaussian, regional).groupby("region").contrast.mean().abs().max() < 0.02


def some_scores(count=80, seed=0):
    """Return scores of three methods for a dozen people; some are missing."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"method": rng.choice(["LRP", "LIME", "chance"], count)})
    table["target"] = rng.choice([f"{i:03d}" for i in range(12)], count)
    table["mass"], table["rank"] = rng.random(count), rng.random(count)
    table["weight"] = rng.integers(1, 9, count)
    table.loc[rng.random(count) < 0.2, "rank"] = np.nan
    return table


def test_means_over_people_are_plain_means():
    table = some_scores()
    means = means_over_people(table, ["mass", "rank"], resamples=9)
    assert list(means) == ["method", "score", "value", "low", "high", "n", "people"]
    # Groups in the order of the table, scores in the order asked for.
    order = [(method, score) for method in table.method.unique() for score in ("mass", "rank")]
    assert list(zip(means.method, means.score, strict=True)) == order
    for row in means.itertuples():
        there = table[(table.method == row.method) & table[row.score].notna()]
        assert row.value == pytest.approx(there[row.score].mean())
        assert row.n == len(there) and row.people == there.target.nunique()


@pytest.mark.parametrize("weights", [None, "weight"])
def test_intervals_are_those_of_a_bootstrap_in_plain_python(weights):
    table = some_scores()
    columns, resamples = ["mass", "rank"], 60
    means = means_over_people(table, columns, weights=weights, seed=3, resamples=resamples)
    rng = np.random.default_rng(3)
    names = sorted(table.target.unique())
    by_person = {name: table[table.target == name].to_dict("records") for name in names}
    drawn = {key: [] for key in zip(means.method, means.score, strict=True)}
    for _ in range(resamples):
        people = [names[i] for i in rng.integers(len(names), size=len(names))]
        rows = [row for name in people for row in by_person[name]]
        for (method, score), values in drawn.items():
            chosen = [r for r in rows if r["method"] == method and not np.isnan(r[score])]
            total = sum(r[weights] if weights else 1 for r in chosen)
            values.append(sum(r[score] * (r[weights] if weights else 1) for r in chosen) / total)
    ends = np.array([np.percentile(values, [2.5, 97.5]) for values in drawn.values()])
    np.testing.assert_allclose(means[["low", "high"]], ends)


def test_intervals_contain_the_value_and_are_those_of_their_seed():
    table = some_scores()
    one, two, other = (means_over_people(table, ["mass", "rank"], seed=s) for s in (0, 0, 1))
    assert ((one.low < one.value) & (one.value < one.high)).all()
    pd.testing.assert_frame_equal(one, two)
    assert one.value.equals(other.value) and not one.low.equals(other.low)
    np.testing.assert_allclose(one[["low", "high"]], other[["low", "high"]], atol=0.05)


def test_groups_with_the_same_rows_have_the_same_interval():
    table = some_scores()
    both = pd.concat([table.assign(method="one"), table.assign(method="other")])
    means = means_over_people(both, ["rank"], resamples=50)
    one, other = means.drop(columns="method").to_numpy()
    np.testing.assert_array_equal(one, other)


def test_the_interval_of_many_people_is_the_standard_errors():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"method": "LRP", "target": np.arange(400), "mass": rng.normal(size=400)})
    row = means_over_people(table, ["mass"]).iloc[0]
    error = table.mass.std() / np.sqrt(400)
    assert (row.high - row.low) / 2 == pytest.approx(1.96 * error, rel=0.1)
    assert (row.high + row.low) / 2 == pytest.approx(row.value, abs=0.3 * error)


def test_more_frames_of_the_same_people_say_no_more():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"method": "LRP", "target": np.arange(20), "mass": rng.random(20)})
    once, often = (means_over_people(t, ["mass"]) for t in (table, pd.concat([table] * 10)))
    np.testing.assert_allclose(often[["value", "low", "high"]], once[["value", "low", "high"]])
    assert (once.n[0], often.n[0]) == (20, 200) and once.people[0] == often.people[0] == 20


def test_a_single_person_has_no_spread():
    means = means_over_people(some_scores().assign(target="003"), ["mass", "rank"], resamples=5)
    np.testing.assert_allclose(means.low, means.value)
    np.testing.assert_allclose(means.high, means.value)
    assert (means.people == 1).all()


@pytest.mark.filterwarnings("error")
def test_what_was_never_measured_is_missing_and_hides_nothing_else():
    table = some_scores()
    table.loc[table.method == "LIME", "rank"] = np.nan
    means = means_over_people(table, ["mass", "rank"], resamples=50).set_index(["method", "score"])
    missing = means.loc[("LIME", "rank")]
    assert missing[["value", "low", "high"]].isna().all() and missing.n == missing.people == 0
    assert means.drop(index=("LIME", "rank")).notna().all(axis=None)


def test_a_weighted_mean_of_shares_is_the_share_of_the_whole():
    rows = [("LRP", "a", 0.5, 100), ("LRP", "b", 0.1, 300), ("LIME", "a", 0.2, 10)]
    rows += [("LIME", "b", 0.6, 30), ("LIME", "c", np.nan, 500)]
    table = pd.DataFrame(rows, columns=["method", "who", "share", "of"])
    means = means_over_people(table, ["share"], by="method", people="who", weights="of")
    # 50 and 30 of 400; 2 and 18 of 40, the missing one left out with its weight
    np.testing.assert_allclose(means.value, [80 / 400, 20 / 40])
    assert list(means)[0] == "method" and means.n.tolist() == [2, 2]
    np.testing.assert_allclose(means[["low", "high"]], [[0.1, 0.5], [0.2, 0.6]])


# Chance scores best on all faces, noise on those that LRP was scored on.
COMPARED = pd.DataFrame({"video": [*"vvwx"], "frame": [0, 8, 0, 0], "target": [*"aabc"]})
COMPARED = COMPARED.assign(
    LRP=(0.5, 0.3, 0.1, np.nan), noise=(0.2, 0.3, 0.1, 0.2), chance=(0.1, 0.1, 0.1, 0.9),
    LIME=(0.5, 0.5, 0.4, 0.6),
).melt(["video", "frame", "target"], var_name="method", value_name="mass").dropna()  # fmt: skip


def test_methods_stand_beside_the_baseline_that_is_best_on_their_faces():
    result = against_best_baseline(COMPARED, "mass", seed=1, resamples=40)
    columns = ["method", "score", "value", "low", "high", "n", "people", "baseline"]
    assert list(result) == columns and set(result.score) == {"mass"}
    assert dict(zip(result.method, result.baseline)) == {"LRP": "noise", "LIME": "chance"}
    # 0.3, 0 and 0; 0.4, 0.4, 0.3 and -0.3
    np.testing.assert_allclose(result.value, [0.3 / 3, 0.8 / 4])
    assert result.n.tolist() == [3, 4] and result.people.tolist() == [2, 3]
    alone = pd.DataFrame({"method": "LIME", "target": [*"aabc"], "mass": [0.4, 0.4, 0.3, -0.3]})
    expected = means_over_people(alone, ["mass"], seed=1, resamples=40)
    np.testing.assert_allclose(result[["low", "high"]][1:], expected[["low", "high"]])


def test_faces_are_paired_whatever_the_order_of_the_rows():
    expected = against_best_baseline(COMPARED, "mass", resamples=40).set_index("method")
    for seed in range(3):
        shuffled = COMPARED.sample(frac=1, random_state=seed)
        result = against_best_baseline(shuffled, "mass", resamples=40).set_index("method")
        pd.testing.assert_frame_equal(result.loc[expected.index], expected)


def test_a_method_without_a_score_does_not_hide_the_others():
    # Such as the mass of maps that are nowhere positive.
    nowhere = COMPARED[COMPARED.method == "LIME"].assign(method="Grad-CAM", mass=np.nan)
    table = pd.concat([COMPARED, nowhere], ignore_index=True)
    result = against_best_baseline(table, "mass", resamples=9).set_index("method")
    np.testing.assert_allclose(result.value[["LRP", "LIME"]], [0.1, 0.2])


def nearness(side):
    """Return the ranks of cells by their nearness to the middle, from whole numbers."""
    away = 2 * np.arange(side) - (side - 1)
    return rankdata(-(away[:, None] ** 2 + away**2))


def planted_maps(methods=3, pictures=4, side=6, centre=1.0, prefers=nearness, seed=0):
    """Return maps over cells, of noise and as much of the centre as asked for."""
    noise = np.random.default_rng(seed).normal(size=(methods, pictures, side * side))
    shared = prefers(side)
    return centre * (shared - shared.mean()) / shared.std() + noise


# Of 14, equally far cells differ by rounding in a Gaussian.
@pytest.mark.parametrize("side", [5, 6, 14])
def test_the_agreement_is_the_mean_partial_rank_correlation(side):
    maps = np.round(planted_maps(side=side), 1)  # ties among them
    plain, beyond = rank_agreement(maps)
    design = np.stack([np.ones(side * side), nearness(side)], axis=1)
    for i, j in np.ndindex(3, 3):
        expected_plain, expected_beyond = [], []
        for one, other in zip(maps[i], maps[j], strict=True):
            expected_plain.append(spearmanr(one, other).statistic)
            ranks = np.stack([rankdata(one), rankdata(other)], axis=1)
            rest = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
            expected_beyond.append(np.corrcoef(rest.T)[0, 1])
        assert plain[i, j] == pytest.approx(np.mean(expected_plain), abs=1e-10)
        assert beyond[i, j] == pytest.approx(np.mean(expected_beyond), abs=1e-10)


def test_the_agreement_is_kendalls_formula():
    one, other = planted_maps(2, 1, seed=3)[:, 0]
    ab, ac, bc = (
        spearmanr(x, y).statistic
        for x, y in ((one, other), (one, nearness(6)), (other, nearness(6)))
    )
    expected = (ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2))
    beyond = rank_agreement(np.stack([one, other])[:, None])[1]
    assert beyond[0, 1] == pytest.approx(expected)


def test_agreement_is_symmetric_and_complete_with_oneself():
    maps = planted_maps(4)
    for agreement in rank_agreement(maps):
        assert agreement.shape == (4, 4)
        np.testing.assert_allclose(agreement, agreement.T)
        np.testing.assert_allclose(np.diag(agreement), 1)
        assert np.abs(agreement).max() <= 1 + 1e-12
    for agreement, other in zip(rank_agreement(maps), rank_agreement(np.exp(maps)), strict=True):
        np.testing.assert_allclose(agreement, other)  # an increasing transform keeps the ranks
    mirrored = np.stack([maps[0], -maps[0]])
    for agreement in rank_agreement(mirrored):
        np.testing.assert_allclose(agreement, [[1, -1], [-1, 1]])


def test_maps_that_share_the_centre_alone_do_not_agree_beyond_it():
    maps = planted_maps(2, pictures=40, side=16, centre=1.5)
    plain, beyond = rank_agreement(maps)
    assert plain[0, 1] > 0.6 and abs(beyond[0, 1]) < 0.05
    # What they share besides is found; noise alone shares nothing either way.
    shared = planted_maps(1, pictures=40, side=16, centre=0, seed=7)
    plain, beyond = rank_agreement(maps + 2 * shared)
    assert beyond[0, 1] > 0.6
    plain, beyond = rank_agreement(planted_maps(2, pictures=40, side=16, centre=0))
    assert abs(plain[0, 1]) < 0.05 and abs(beyond[0, 1]) < 0.05


def test_of_a_steep_centre_a_part_remains():
    # The partial correlation takes out what is linear in the ranks. A Gaussian in noise is not: far
    # from the middle it is flat, and its cells' order chance.
    maps = planted_maps(2, 40, 16, 1.5, lambda side: centred_gaussian(side, side).ravel())
    plain, beyond = rank_agreement(maps)
    assert plain[0, 1] > 0.5 and 0.1 < beyond[0, 1] < 0.4 * plain[0, 1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [5, 8, 16])
def test_a_map_without_ranks_of_its_own_has_no_agreement(side):
    maps = planted_maps(4, 2, side)
    maps[1] = 0.1
    maps[2] = np.exp(centred_gaussian(side, side).ravel())
    plain, beyond = rank_agreement(maps)
    for agreement, known in ((plain, [0, 2, 3]), (beyond, [0, 3])):
        known = np.isin(range(4), known)
        np.testing.assert_array_equal(np.isfinite(agreement), np.outer(known, known))
    assert plain[0, 2] > 0.3
