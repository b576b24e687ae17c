#!/usr/bin/env bash
# lime's random_seed fixes neither the samples nor the segments
# Harms: map
# Call: explainer.explain_instance(picture, classify, random_seed=0)
# Expected: the same call gives the same map.
# Effect: two runs of a notebook show two different maps, and you cannot reproduce a stored figure.
# Instead: create a new LimeImageExplainer(random_state=0) for each picture, because the random state of an explainer moves on from call to call.
# xaifake: no, tests/explainers/test_lime.py::test_the_same_seed_gives_the_same_map_alone_or_among_others
# Picture: A photograph and two heatmaps of it with different colours in the same segments.
# Caption: The picture, and the maps of two calls with random_seed=0.
source "$(dirname "$0")/environment.bash" lime==0.2.0.1 scikit-image==0.26.0 numpy==2.4.6 scikit-learn==1.8.0
python - 2>errors.txt <<'PYTHON'
import numpy as np
from draw import draw
from importlib.metadata import version
from lime.lime_image import LimeImageExplainer
from lime.wrappers.scikit_image import SegmentationAlgorithm
from skimage.data import astronaut

picture = astronaut()[:96, 176:272] / 255


def classify(pictures):
    share = pictures[:, :48].mean((1, 2, 3))
    return np.stack([share, 1 - share], 1)


def explained(explainer):
    return explainer.explain_instance(picture, classify, labels=(0,), top_labels=None, hide_color=0, num_samples=50, random_seed=0)


def weights(explainer):
    return dict(explained(explainer).local_exp[0])


def segments(seed):
    return SegmentationAlgorithm("quickshift", kernel_size=4, max_dist=200, ratio=0.2, random_seed=seed)(picture)


twice = [explained(LimeImageExplainer()) for _ in range(2)]
same = twice[0].local_exp[0] == twice[1].local_exp[0]
draw(255 * picture, *(np.vectorize(dict(e.local_exp[0]).get)(e.segments) for e in twice), side=192)
kept = LimeImageExplainer(random_state=0)
again = weights(kept) == weights(kept)
fresh = weights(LimeImageExplainer(random_state=0)) == weights(LimeImageExplainer(random_state=0))
alike = all(np.array_equal(segments(0), segments(seed)) for seed in range(1, 5))
print("lime", version("lime"), "scikit-image", version("scikit-image"))
print("same weights, two calls with random_seed=0:", same)
print("same weights, two calls of one explainer with random_state=0:", again)
print("same weights, two explainers with random_state=0:", fresh)
print("same segments whatever random_seed is:", alike)
assert fresh and alike and not same and not again, "the seed decides now"
print("random_seed=0 twice gives two maps; a new explainer with random_state=0 gives the same one.")
PYTHON
