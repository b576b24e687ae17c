#!/usr/bin/env bash
# lime never hides the last segment if the segmentation counts from 1, as scikit-image's slic does
# Harms: map
# Call: LimeImageExplainer().explain_instance(picture, classify, segmentation_fn=slic)
# Expected: each segment is hidden in about half of the samples.
# Effect: the last segment is visible in every picture and gets no relevance, while feature 0 hides nothing.
# Instead: subtract 1: segmentation_fn=lambda picture: slic(picture) - 1.
# xaifake: no, tests/explainers/test_lime.py::test_segments_are_counted_from_0_and_do_not_depend_on_the_range
# Picture: A photograph, and its segments in red except for the lowest, which is white.
# Caption: The picture (left), and in red how often each segment was hidden (right). The last one never was.
source "$(dirname "$0")/environment.bash" lime==0.2.0.1 scikit-image==0.26.0 numpy==2.4.6 scikit-learn==1.8.0
python - 2>errors.txt <<'PYTHON'
import numpy as np
from draw import draw
from importlib.metadata import version
from lime.lime_image import LimeImageExplainer
from skimage.data import astronaut
from skimage.segmentation import slic

picture, seen = astronaut()[:128, 160:288] / 255 + 0.01, []
segments = slic(picture, n_segments=9)


def classify(pictures):
    seen.append(pictures.copy())
    share = pictures.mean((1, 2, 3))
    return np.stack([share, 1 - share], 1)


def hiding(first):
    """Return how often each pixel is hidden, with segments that are counted from `first`."""
    seen.clear()
    LimeImageExplainer(random_state=0).explain_instance(
        picture, classify, labels=(0,), top_labels=None, hide_color=0, num_samples=400,
        segmentation_fn=lambda image: segments - 1 + first,
    )
    return (np.concatenate(seen) == 0).all(-1).mean(0)


def by_segment(hidden):
    return {int(label): round(float(hidden[segments == label].mean()), 2) for label in np.unique(segments)}


hidden = hiding(1)
shares, from_zero = by_segment(hidden), by_segment(hiding(0))
draw(255 * picture, hidden, side=128)
print("lime", version("lime"), "scikit-image", version("scikit-image"))
print("share of the samples in which a segment is hidden:", shares)
print("the same, counted from 0:", from_zero)
assert shares[max(shares)] == 0 and min(list(shares.values())[:-1]) > 0.4 and min(from_zero.values()) > 0.4, "all segments are hidden now"
print(f"Segment {max(shares)} of {len(shares)} is hidden in none of 400 samples.")
PYTHON
