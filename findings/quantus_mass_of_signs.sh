#!/usr/bin/env bash
# Quantus gives evidence against the class, inside the mask, a relevance mass of 2, although 1 is the best
# Harms: score
# Call: RelevanceMassAccuracy()(model=None, x_batch=..., y_batch=..., a_batch=maps with both signs, s_batch=masks)
# Guess: the score lies between 0 and 1, and negative relevance in the mask does not raise it.
# Effect: the score divides one sum of mixed signs by another. For Integrated Gradients, LRP or gradients, the maps whose sum is near 0 decide the mean.
# Instead: set negative values to 0 first, or pass abs=True.
# xaifake: no, it counts only positive relevance: tests/judge/test_localisation.py::test_scores_are_those_computed_by_hand
source "$(dirname "$0")/environment.bash" torch==2.13.0 numpy==2.4.6 quantus==0.6.0
python - 2>errors.txt <<'PYTHON'
import numpy as np
import quantus
from importlib.metadata import version

against = np.zeros((1, 1, 8, 8))
against[..., 5, 5], against[..., 0, 0] = -2, 1
noise = np.random.default_rng(0).normal(size=(1000, 1, 8, 8))


def mass(maps, **how):
    count = len(maps)
    masks = np.zeros((count, 1, 8, 8), bool)
    masks[..., 4:, 4:] = True
    return np.array(quantus.RelevanceMassAccuracy(disable_warnings=True, **how)(
        model=None, x_batch=np.zeros((count, 3, 8, 8)), y_batch=np.zeros(count, int), a_batch=maps.copy(), s_batch=masks, channel_first=True
    ), float)


scores, one = mass(noise), float(mass(against)[0])
print("quantus", version("quantus"))
print("-2 inside the mask and 1 outside:", one, " with abs=True:", round(float(mass(against, abs=True)[0]), 3))
print(f"1000 maps of noise, a mask of a quarter: from {scores.min():.1f} to {scores.max():.1f}, outside of 0 to 1 {((scores < 0) | (scores > 1)).mean():.0%}")
assert one == 2 and ((scores < 0) | (scores > 1)).mean() > 0.2, "signs are treated otherwise now"
print(f"Evidence against the class scores {one:.0f}; of maps of noise {((scores < 0) | (scores > 1)).mean():.0%} score below 0 or above 1.")
PYTHON
