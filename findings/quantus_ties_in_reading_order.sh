#!/usr/bin/env bash
# Quantus breaks ties in a map by the order of its pixels
# Harms: score
# Call: RelevanceRankAccuracy()(..., a_batch=maps of a few levels, s_batch=masks)
# Expected: a fair share of equal pixels counts, or the result does not depend on where the mask is.
# Effect: a coarse map, such as LIME's segments or Grad-CAM's cells, scores well or badly depending on where the mask is.
# Instead: give each tie the probability of a fair draw, or add tiny noise and average.
# xaifake: no, tests/judge/test_localisation_quantus.py::test_ties_count_as_by_quantus_on_average_over_fair_draws
# Picture: The same map with two red squares, shown twice. A black mask is at the upper left in one and at the lower right in the other.
# Caption: One map of two equal segments, with the mask by which it is scored in black. Its score is 0.50 or 0, depending on where the mask is.
source "$(dirname "$0")/environment.bash" torch==2.13.0 numpy==2.4.6 quantus==0.6.0
python - 2>errors.txt <<'PYTHON'
import numpy as np
import quantus
from draw import colours, draw
from importlib.metadata import version

coarse = np.kron(np.array([[1.0, 0], [0, 1]]), np.ones((4, 4)))[None, None]  # two of four segments
found, drawn = {}, []
for name, rows in (("upper left", slice(0, 2)), ("lower right", slice(6, 8))):
    mask = np.zeros((1, 1, 8, 8), bool)
    mask[..., rows, rows] = True
    found[name] = float(quantus.RelevanceRankAccuracy(disable_warnings=True)(
        model=None, x_batch=np.zeros((1, 3, 8, 8)), y_batch=np.zeros(1, int), a_batch=coarse, s_batch=mask, channel_first=True
    )[0])
    drawn.append(colours(coarse[0, 0]) * ~mask[0, 0, ..., None])
draw(*drawn)
print("quantus", version("quantus"))
print("one map of two equal segments, a mask of 4 pixels in either:", found)
print("by a fair draw among the 32 equal pixels: 0.125 in both")
assert found == {"upper left": 0.5, "lower right": 0}, "ties are broken fairly now"
print(f"The same evidence scores {found['upper left']:.2f} at the upper left and {found['lower right']:.2f} at the lower right.")
PYTHON
