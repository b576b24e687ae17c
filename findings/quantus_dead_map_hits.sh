#!/usr/bin/env bash
# Quantus refuses a single empty map, but counts it as a hit in a batch
# Harms: score
# Call: PointingGame()(model=None, x_batch=..., y_batch=..., a_batch=maps, s_batch=masks)
# Expected: for a map of zeros: NaN, an error, or the share of the mask.
# Effect: each failed explanation counts as a full hit, so a method that fails often wins the pointing game.
# Instead: leave out maps without a positive value before scoring, and report how many there were.
# xaifake: no, an empty map scores the mask's share: tests/judge/test_localisation.py::test_scores_are_those_computed_by_hand
# Picture: Three squares with one black frame each; the second is empty, the others are full of red cells.
# Caption: The three maps of a batch and their mask (black frame). Only the empty one is a hit.
source "$(dirname "$0")/environment.bash" torch==2.13.0 numpy==2.4.6 quantus==0.6.0
python - 2>errors.txt <<'PYTHON'
import numpy as np
import quantus
from draw import colours, draw
from importlib.metadata import version

maps = np.random.default_rng(0).random((3, 1, 8, 8))
maps[1] = 0
masks = np.zeros((3, 1, 8, 8), bool)
masks[..., 5:, 5:] = True


def score(metric, chosen):
    count = len(chosen)
    return metric(disable_warnings=True)(
        model=None, x_batch=np.zeros((count, 3, 8, 8)), y_batch=np.zeros(count, int), a_batch=chosen, s_batch=masks[:count], channel_first=True
    )


def framed(heatmap):
    """Return a map in colours, with a black frame about the mask."""
    drawn = np.kron(colours(heatmap), np.ones((20, 20, 1)))
    drawn[100:, 100:][:3] = drawn[100:, 100:][:, :3] = drawn[-3:, 100:] = drawn[100:, -3:] = 0
    return drawn


draw(*(framed(m[0]) for m in maps))
print("quantus", version("quantus"))
try:
    refused = score(quantus.PointingGame, maps[1:2])
except AssertionError as error:
    refused = f"refused, '{str(error)[:61]}'"
print("the empty map alone:", refused)
hits = [bool(hit) for hit in score(quantus.PointingGame, maps)]
ranks = [round(float(x), 2) for x in score(quantus.RelevanceRankAccuracy, maps)]
print("random, empty, random map, pointing game:", hits, "relevance rank:", ranks)
assert "refused" in str(refused), "the empty map alone is scored now"
assert hits == [False, True, False], "an empty map is no hit now"
print("In a batch the empty map is the only hit of three.")
PYTHON
