#!/usr/bin/env bash
# iNNvestigate 2 explains a batch norm as if it were a different layer
# Harms: map
# Call: create_analyzer("lrp.epsilon", model) on a network with BatchNormalization
# Expected: the same map as for the network with the norm merged into the convolution before it.
# Effect: it divides each channel's share by the variance instead of the standard deviation, so channels with a small variance dominate.
# Instead: fold batch norms and explain with an engine whose rules know biases (chapter 8): the package's own alpha-beta rules do not.
# xaifake: no, tests/explainers/lrp/test_batch_norms.py::test_a_folded_network_answers_like_the_given_one
# Picture: Two heatmaps of 8 by 8 pixels with different patterns.
# Caption: The map of the network (left) and of its folded copy (right).
source "$(dirname "$0")/environment.bash" tensorflow==2.20.0 keras==3.15.0 tf_keras==2.20.1 numpy==2.4.6 matplotlib==3.11.2 pillow==13.0.0 opencv-python-headless==5.0.0.93
pip install -qq --no-deps --ignore-requires-python innvestigate==2.1.2
TF_USE_LEGACY_KERAS=1 python - 2>errors.txt <<'PYTHON'
import innvestigate
import numpy as np
import tensorflow as tf
from draw import draw
from importlib.metadata import version

tf.compat.v1.disable_eager_execution()
L, rng = tf.keras.layers, np.random.default_rng(0)
kernel, last = rng.normal(size=(3, 3, 3, 8)), rng.normal(size=(288, 1))
gamma, beta, mean, variance = rng.uniform(0.5, 2, 8), rng.normal(size=8), rng.normal(size=8), rng.uniform(0.1, 5, 8)
x, scale = rng.random((4, 8, 8, 3)), gamma / np.sqrt(variance + 1e-3)


def network(weights, *layers):
    model = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), *layers, L.ReLU(), L.Flatten(), L.Dense(1, use_bias=False)])
    model.set_weights([*weights, last])
    return model


given = network([kernel, gamma, beta, mean, variance], L.Conv2D(8, 3, use_bias=False), L.BatchNormalization())
folded = network([kernel * scale, beta - mean * scale], L.Conv2D(8, 3))
assert np.allclose(given.predict(x), folded.predict(x), atol=1e-4)
maps = [innvestigate.create_analyzer("lrp.epsilon", m, disable_model_checks=True).analyze(x) for m in (given, folded)]
draw(*(m[0].sum(-1) for m in maps))
found = np.corrcoef(*(m.ravel() for m in maps))[0, 1]
print("innvestigate", version("innvestigate"), "tf_keras", version("tf_keras"))
print(f"correlation of the maps of the network and of its folded copy, which answers alike: {found:.2f}")
assert found < 0.75, "the maps agree now"
print(f"Folding a batch norm, which changes no answer, changes the map: correlation {found:.2f}.")
PYTHON
