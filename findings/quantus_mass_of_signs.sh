#!/usr/bin/env bash
# Quantus gives evidence against the class, inside the mask, a relevance mass of 2, although 1 is the best
# Harms: score
# Call: RelevanceMassAccuracy()(model=None, x_batch=..., y_batch=..., a_batch=maps with both signs, s_batch=masks)
# Guess: the score lies between 0 and 1, and negative relevance in the mask does not raise it.
# Effect: the score divides one sum of mixed signs by another. For Integrated Gradients, LRP or gradients, the maps whose sum is near 0 decide the mean.
# Instead: set negative values to 0 first. With abs=True the score stays below 1, but evidence against the class counts as evidence for it.
# xaifake: no, it counts only positive relevance: tests/judge/test_localisation.py::test_scores_are_those_computed_by_hand
# Picture: An empty square with a dark blue cell in a black frame, and a pale red cell outside the frame.
# Caption: The map that scores 2: relevance of -2 inside the mask (black frame) and of 1 outside.
source "$(dirname "$0")/environment.bash" torch==2.13.0 numpy==2.4.6 quantus==0.6.0
python - 2>errors.txt <<'PYTHON'
import numpy as np
import quantus
from draw import colours, draw
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


def framed(heatmap):
    """Return a map in colours, with a black frame about the mask."""
    drawn = np.kron(colours(heatmap), np.ones((20, 20, 1)))
    drawn[80:, 80:][:3] = drawn[80:, 80:][:, :3] = drawn[-3:, 80:] = drawn[80:, -3:] = 0
    return drawn


draw(framed(against[0, 0]))
scores = mass(noise)
one, by_size, positive = (float(s[0]) for s in (mass(against), mass(against, abs=True), mass(against.clip(0))))
outside = ((scores < 0) | (scores > 1)).mean()
print("quantus", version("quantus"))
print("-2 inside the mask and 1 outside:", one, " with abs=True:", round(by_size, 3), " with negative values set to 0:", positive)
print(f"1000 maps of noise, a mask of a quarter: from {scores.min():.1f} to {scores.max():.1f}, outside of 0 to 1 {outside:.0%}")
assert one == 2 and positive == 0 and abs(by_size - 2 / 3) < 1e-6 and 0.4 < outside < 0.6, "signs are treated otherwise now"
print(f"Evidence against the class scores {one:.0f}; of maps of noise {outside:.0%} score below 0 or above 1.")
PYTHON
