"""The scores are those of Quantus (Hedström et al. 2023), where the two count alike.

They differ by intention in four cases. Quantus' mass adds up negative relevance too, though Arras
et al. divide by the positive one; so maps are compared that have none. Of equal pixels its rank
takes whichever its sort puts first, where ours takes a fair draw; and its pointing game counts one
hit among several largest values as a full one, where ours counts the share of hits. For an empty
mask it says NaN, or True in the pointing game.
"""

import numpy as np
import pytest
import quantus
from scipy.ndimage import gaussian_filter

from xaifake.judge.localisation import (
    mask_auc,
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
)

PAIRS = {
    relevance_mass_accuracy: quantus.RelevanceMassAccuracy,
    relevance_rank_accuracy: quantus.RelevanceRankAccuracy,
    pointing_game: quantus.PointingGame,
    mask_auc: quantus.AUC,
}
every_score = pytest.mark.parametrize("score", PAIRS, ids=lambda score: score.__name__)


def by_quantus(score, maps, masks, normalise=False):
    """Return Quantus' scores of given maps, for which it asks no model."""
    metric = PAIRS[score](abs=False, normalise=normalise, disable_warnings=True)
    scores = metric(
        model=None,
        x_batch=np.zeros((len(maps), 3, *maps.shape[1:])),
        y_batch=np.ones(len(maps), int),
        a_batch=maps[:, None],
        s_batch=masks[:, None],
        channel_first=True,
    )
    return np.array(scores, float)


@pytest.fixture(scope="module", params=[1.3, 2.0])
def fakes(request, shipped_faces):
    faces = shipped_faces(request.param)
    return faces[faces.labels == 1][::32]


@pytest.fixture(scope="module")
def maps(fakes):
    """Return non-negative maps: noise, smooth spots, and what partly follows the mask."""
    noise = np.random.default_rng(0).random(fakes.masks.shape)
    spots = gaussian_filter(noise, (0, 8, 8))
    following = gaussian_filter(fakes.masks.astype(float), (0, 10, 10)) + 0.5 * noise
    maps = {"noise": noise, "spots": spots - spots.min(), "following": following}
    for each in maps.values():
        assert all(np.unique(one).size == one.size for one in each)  # no ties
    return maps


@every_score
@pytest.mark.parametrize("normalise", [False, True])
def test_maps_of_fakes_score_as_by_quantus(score, fakes, maps, normalise):
    for name, given in maps.items():
        ours = score(given, fakes.masks)
        theirs = by_quantus(score, given, fakes.masks, normalise)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, err_msg=name)


@every_score
def test_signed_maps_score_as_by_quantus_once_negative_relevance_is_no_mass(score, fakes):
    signed = np.random.default_rng(1).normal(size=fakes.masks.shape)
    signed += 0.5 * fakes.masks
    theirs = np.maximum(signed, 0) if score is relevance_mass_accuracy else signed
    expected = by_quantus(score, theirs, fakes.masks)
    np.testing.assert_allclose(score(signed, fakes.masks), expected, rtol=1e-9)


def test_ties_count_in_the_auc_as_by_quantus(fakes):
    steps = np.random.default_rng(2).integers(-3, 4, fakes.masks.shape) + fakes.masks
    expected = by_quantus(mask_auc, steps.astype(float), fakes.masks)
    np.testing.assert_allclose(mask_auc(steps, fakes.masks), expected, rtol=1e-9)


@pytest.mark.parametrize("score", [relevance_rank_accuracy, pointing_game])
def test_ties_count_as_by_quantus_on_average_over_fair_draws(score):
    rng = np.random.default_rng(3)
    steps = rng.integers(0, 3, (5, 6, 6)).astype(float)
    masks = rng.random((5, 6, 6)) < 0.3
    broken = [by_quantus(score, steps + 0.5 * rng.random(steps.shape), masks) for _ in range(400)]
    error = np.std(broken, axis=0) / np.sqrt(len(broken))
    assert (np.abs(np.mean(broken, axis=0) - score(steps, masks)) < 4 * error).all()
