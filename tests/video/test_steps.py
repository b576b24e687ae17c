"""A score that changes in a step is found, wherever it does, and one that only varies is not."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from xaifake.video.steps import LEAST_FRAMES, contradicting

FAKE, REAL = 0.8, 0.15


def scores(*lengths, noise=0.08, seed=0):
    """Scores of a fake and a real person in turns, and whose they are."""
    high = np.concatenate([np.full(n, k % 2 == 0) for k, n in enumerate(lengths)])
    spread = np.random.default_rng(seed).normal(0, noise, len(high))
    return np.clip(np.where(high, FAKE, REAL) + spread, 0, 1), high


@pytest.mark.parametrize(
    "lengths",
    [(12, 32), (32, 12), (4, 28), (10, 12, 10), (0, 10, 6, 10), (8, 8, 8, 8), (5,) * 6],
)
def test_a_planted_splice_is_found_to_the_frame(lengths):
    probabilities, high = scores(*lengths)
    assert contradicting(probabilities).tolist() == high.tolist()


@given(st.integers(LEAST_FRAMES, 20), st.integers(LEAST_FRAMES, 20), st.integers(0, 10**6))
def test_it_does_not_matter_which_side_comes_first(one, other, seed):
    probabilities, high = scores(one, other, noise=0.05, seed=seed)
    assert contradicting(probabilities).tolist() == high.tolist()
    assert contradicting(probabilities[::-1]).tolist() == high[::-1].tolist()
    assert contradicting(1 - probabilities).tolist() == (~high).tolist()


@given(st.floats(0, 1), st.floats(0.01, 0.2), st.integers(0, 60), st.integers(0, 10**6))
def test_noise_about_one_mean_is_no_step(mean, noise, count, seed):
    spread = np.random.default_rng(seed).normal(0, noise, count)
    assert contradicting(np.clip(mean + spread, 0, 1)) is None


@pytest.mark.parametrize(
    ("probabilities", "why"),
    [
        ([FAKE] * 3 + [REAL] * 20, "three frames are too few to tell"),
        ([0.55] * 10 + [0.2] * 10, "nobody would call the higher part fake"),
        ([0.9] * 10 + [0.45] * 10, "nor the lower one real"),
        (np.linspace(0.35, 0.65, 32), "it rises, and both halves are undecided"),
        ([np.nan] * 10 + [0.9] * 10, "what is no number is higher than nothing"),
        ([0.3], "one frame"),
        ([], "none"),
    ],
)
def test_what_is_no_step(probabilities, why):
    assert contradicting(np.array(probabilities)) is None, why
