#!/usr/bin/env bash
# The structural similarity of a heatmap and its negative is clearly positive
# Harms: score
# Call: skimage.metrics.structural_similarity(heatmap, -heatmap, data_range=2)
# Expected: -1, or a value below 0, for maps that are opposite at every pixel.
# Effect: the minus signs of mean and structure cancel, so a check that randomises the weights calls an inverted map 'similar'.
# Instead: shift maps to grey levels from 0 to 1 first, as figures show them, and also report a rank correlation.
# xaifake: no, tests/judge/test_sanity.py::test_a_negated_map_is_the_opposite_and_alike_in_its_sizes
# Picture: A smooth heatmap of red and blue spots, and the same one with red and blue exchanged.
# Caption: A map and its negative, which structural_similarity calls similar.
source "$(dirname "$0")/environment.bash" scikit-image==0.26.0 numpy==2.4.6 scipy==1.17.1
python - <<'PYTHON'
import numpy as np
import skimage
from draw import draw
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

heatmap = gaussian_filter(np.random.default_rng(0).normal(size=(128, 128)), 4)
heatmap /= np.abs(heatmap).max()
draw(heatmap, -heatmap, side=128)
signed = structural_similarity(heatmap, -heatmap, data_range=2)
grey = structural_similarity((1 + heatmap) / 2, (1 - heatmap) / 2, data_range=1)
print("scikit-image", skimage.__version__)
print(f"a smooth map of both signs and its negative: {signed:+.2f}; both as grey levels from 0 to 1: {grey:+.2f}")
assert signed > 0.3 > grey, "signs count now"
print(f"A map and its negative have a similarity of {signed:+.2f}.")
PYTHON
