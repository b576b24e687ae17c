#!/usr/bin/env bash
# Quantus calls a map simpler if its batch contains a stronger one
# Harms: score
# Call: EffectiveComplexity()(model, x_batch, y_batch, a_batch=maps), and Sparseness() and Sufficiency() likewise
# Guess: the score of a map does not depend on the other maps in the batch.
# Effect: maps are divided by the largest value of the batch, and values that are small after that do not count. The ranking of methods changes with the batch, most of all for methods whose maps explode.
# Instead: divide each map by its largest absolute value first and pass normalise=False, or score in batches of one.
# xaifake: no, it scores each map by itself: tests/judge/test_localisation.py::test_scores_are_those_computed_by_hand
source "$(dirname "$0")/environment.bash" torch==2.13.0 numpy==2.4.6 quantus==0.6.0
python - 2>errors.txt <<'PYTHON'
import numpy as np
import quantus
from importlib.metadata import version

weak = np.random.default_rng(0).normal(size=(1, 1, 16, 16))


def score(metric, chosen, **how):
    count = len(chosen)
    return float(metric(disable_warnings=True, **how)(
        model=None, x_batch=np.zeros((count, 3, 16, 16)), y_batch=np.zeros(count, int), a_batch=chosen.copy(), channel_first=True
    )[0])


print("quantus", version("quantus"))
found = {}
for metric in (quantus.EffectiveComplexity, quantus.Sparseness):
    found[metric.__name__] = [
        score(metric, weak if factor is None else np.concatenate([weak, factor * weak])) for factor in (None, 1, 1e4, 1e6)
    ]
    print(f"{metric.__name__} of one map: alone, and beside itself times 1, 1e4, 1e6:", [round(s, 3) for s in found[metric.__name__]])
divided = np.concatenate([m / np.abs(m).max() for m in (weak, 1e6 * weak)])
apart = [score(metric, divided, normalise=False) for metric in (quantus.EffectiveComplexity, quantus.Sparseness)]
print("each map divided by its largest value, normalise=False, beside itself times 1e6:", [round(s, 3) for s in apart])
alone, same, strong, stronger = found["EffectiveComplexity"]
sparse = found["Sparseness"]
assert alone == same > strong > stronger == 0 and sparse[0] == sparse[1] > sparse[3] + 0.05 and np.allclose(apart, [alone, sparse[0]]), "the maps beside it do not matter now"
print(f"A map of {alone:.0f} relevant pixels has {strong:.0f} beside a map that is 1e4 times as strong.")
PYTHON
