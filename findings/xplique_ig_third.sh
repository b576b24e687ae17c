#!/usr/bin/env bash
# Xplique's Integrated Gradients of a colour picture sum to a third of the score
# Harms: map
# Call: IntegratedGradients(model, steps=200, baseline_value=0.0).explain(pictures, classes)
# Expected: by completeness, the map sums to the difference between the scores of picture and baseline.
# Effect: the map is the mean over the colours, which is a third of the sum. Compared with another library's map, two thirds seem to be missing.
# Instead: pass reducer="sum", or pass reducer=None and sum over the colours yourself.
# xaifake: no, tests/explainers/test_gradients.py::test_the_map_sums_to_the_difference_of_logits_with_enough_steps
# Picture: Two heatmaps of one pattern, pale on the left and in full colours on the right.
# Caption: The map by default (left) and with reducer="sum" (right), in one scale of colours.
source "$(dirname "$0")/environment.bash" tensorflow==2.20.0 keras==3.15.0 tf_keras==2.20.1 numpy==2.4.6 matplotlib==3.11.2 pillow==13.0.0 opencv-python-headless==5.0.0.93
pip install -qq --no-compile einops==0.8.1 deprecated==1.3.1 scikit-image==0.26.0 scikit-learn==1.8.0 tensorflow-probability==0.25.0
pip install -qq --no-deps xplique==2.0.2 # would bring the libraries for GPUs
python - 2>errors.txt <<'PYTHON'
import keras
import numpy as np
import tensorflow as tf
from draw import colours, draw
from importlib.metadata import version
from xplique.attributions import IntegratedGradients

keras.utils.set_random_seed(0)
L = keras.layers
model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(8, 3, activation="relu"), L.Flatten(), L.Dense(2)])
x = np.random.default_rng(0).random((1, 8, 8, 3), "float32")
difference = float((model(x) - model(0 * x))[0, 0])
maps = {
    reducer: np.asarray(IntegratedGradients(model, steps=200, baseline_value=0.0, reducer=reducer).explain(x, tf.one_hot([0], 2)))
    for reducer in ("mean", "sum")
}
shares = {reducer: float(m.sum()) / difference for reducer, m in maps.items()}
both = colours(np.hstack([m.reshape(8, 8) for m in maps.values()]))
draw(both[:, :8], both[:, 8:])
print("xplique", version("xplique"), "tensorflow", tf.__version__)
print("sum of the map over the difference of scores, reducer mean (default) and sum:", {n: round(s, 3) for n, s in shares.items()})
assert abs(shares["mean"] - 1 / 3) < 0.01 and abs(shares["sum"] - 1) < 0.01, "the default sums otherwise now"
print(f"The map sums to {shares['mean']:.3f} of what it explains.")
PYTHON
