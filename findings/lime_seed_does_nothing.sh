#!/usr/bin/env bash
# lime's random_seed fixes neither the samples nor the segments
# Harms: map
# Call: explainer.explain_instance(picture, classify, random_seed=0)
# Expected: the same call gives the same map.
# Effect: two runs of a notebook show two maps, and a stored figure cannot be made again.
# Instead: a new LimeImageExplainer(random_state=0) for each picture; the random_state of one explainer moves on from call to call.
# xaifake: no, tests/explainers/test_lime.py::test_the_same_seed_gives_the_same_map_alone_or_among_others
source "$(dirname "$0")/environment.bash" lime==0.2.0.1 scikit-image==0.26.0 numpy==2.4.6 scikit-learn==1.8.0
python - 2>/dev/null <<'PYTHON'
import numpy as np
from importlib.metadata import version
from lime.lime_image import LimeImageExplainer
from lime.wrappers.scikit_image import SegmentationAlgorithm
from skimage.data import astronaut

picture = astronaut()[:96, 176:272] / 255


def classify(pictures):
    share = pictures[:, :48].mean((1, 2, 3))
    return np.stack([share, 1 - share], 1)


def weights(explainer):
    found = explainer.explain_instance(picture, classify, labels=(0,), top_labels=None, hide_color=0, num_samples=50, random_seed=0)
    return dict(found.local_exp[0])


def segments(seed):
    return SegmentationAlgorithm("quickshift", kernel_size=4, max_dist=200, ratio=0.2, random_seed=seed)(picture)


same = weights(LimeImageExplainer()) == weights(LimeImageExplainer())
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
