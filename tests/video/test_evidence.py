"""Words of evidence are earned on people who were left out, and the intervals are right."""

import numpy as np
import pytest
from scipy.stats import beta, norm

from xaifake.errors import UserError
from xaifake.video.evidence import BASE_RATES, WORDS, Evidence, calibrate, jeffreys


def clips(apart, people=40, each=10, seed=0):
    """Labels, logits and people: normal scores, fakes' `apart` above the reals'."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], people * each // 2)
    return labels, rng.normal(size=len(labels)) + apart * labels, np.repeat(range(people), each)


def test_the_limits_are_where_the_likelihoods_stand_in_that_ratio():
    """Of two normal densities the share at x is known: its logit is apart * (x - apart / 2)."""
    apart = 2.0
    found = calibrate(*clips(apart, people=40, each=500)).limits
    for word, share in WORDS.items():
        expected = apart / 2 + np.log(share / (1 - share)) / apart
        assert found[word] == pytest.approx(expected, abs=0.15)


def test_a_word_is_given_from_its_limit_on():
    found = Evidence({"moderate": 2.0, "weak": 1.0}, np.array([0, 1]), np.array(["none"] * 2), 2)
    logits = [-np.inf, 0.99, 1.0, 1.99, 2.0, np.inf]
    words = ["none", "none", "weak", "weak", "moderate", "moderate"]
    assert [found.word(logit) for logit in logits] == words
    assert found.word(np.nan) == "none"


def test_nobody_judges_by_limits_of_their_own_clips():
    """Somebody whose reals all score high is called so, though the limits of all are above them."""
    labels, logits, people = clips(8.0, people=10)
    logits[(people == 3) & (labels == 0)] = 20.0
    found = calibrate(labels, logits, people)
    own = (people == 3) & (labels == 0)
    without = calibrate(labels[people != 3], logits[people != 3], people[people != 3])
    assert (found.words[own] == without.word(20.0)).all() and without.word(20.0) == "moderate"


def test_moderate_has_to_be_earned_on_those_left_out():
    """Here each person's own reals set limits that say nothing about the next one's."""
    rng = np.random.default_rng(0)
    people = np.repeat(range(6), 10)
    labels = np.tile([0, 1], 30)
    logits = rng.normal(size=60) + rng.normal(scale=30, size=6)[people]
    found = calibrate(labels, logits, people)
    assert found.limits["moderate"] == np.inf and "moderate" not in found.words
    assert found.word(1e9) != "moderate"


def test_the_share_is_bayes_rule():
    words = np.array(["moderate"] * 50 + ["none"] * 50 + ["moderate"] + ["none"] * 99)
    found = Evidence({}, np.repeat([1, 0], 100), words, 20)
    for rate in BASE_RATES:
        share, low, high = found.share("moderate", rate)
        assert share == pytest.approx(rate * 0.5 / (rate * 0.5 + (1 - rate) * 0.01))
        assert 0 < low < share < high < 1
    assert np.isnan(found.share("weak")).all()
    assert found.counts("moderate") == {"fakes": 50, "of_fakes": 100, "reals": 1, "of_reals": 100}


def test_the_interval_is_jeffreys_also_where_no_genuine_clip_was_called_so():
    """Held against draws of another generator."""
    people = 25
    words = np.array(["moderate"] * 10 + ["none"] * 10)
    found = Evidence({}, np.repeat([1, 0], 10), words, people)
    share, low, high = found.share("moderate")
    ends = [people + 0.5, 0.5]
    draws = beta.rvs(ends, ends[::-1], size=(200_000, 2), random_state=1)
    assert share == high == 1
    assert low == pytest.approx(np.quantile(draws[:, 0] / draws.sum(axis=1), 0.025), abs=0.01)
    assert low < 0.95


def test_the_interval_of_a_share_covers_it_about_as_often_as_it_says():
    rng, truth = np.random.default_rng(0), 0.08
    found = [jeffreys(n / 60, 60) for n in rng.binomial(60, truth, 2000)]
    assert 0.91 < np.mean([low <= truth <= high for low, high in found]) < 0.99
    assert jeffreys(0, 10) == (0, pytest.approx(beta.ppf(0.975, 0.5, 10.5)))
    low, high = jeffreys(0.5, 10_000)
    assert high - low == pytest.approx(2 * norm.ppf(0.975) * 0.005, rel=0.01)


def test_too_few_people_are_told():
    with pytest.raises(UserError, match="Without the clips of a"):
        calibrate([0, 1, 1], [0.0, 1.0, 2.0], ["a", "a", "b"])
