#!/usr/bin/env bash
# iNNvestigate's alpha-beta rules split the two kernels of a separable convolution by sign instead of their product
# Harms: map
# Call: create_analyzer("lrp.alpha_2_beta_1", model) on a network with SeparableConv2D, such as Xception
# Expected: the same map as for the ordinary convolution whose kernel is the product.
# Effect: minus times minus counts as inhibition. The map is nearly unrelated to the right one, although its sum can be right.
# Instead: use an engine that splits the product, or the rules z, epsilon and flat, which are not affected.
# xaifake: no, tests/explainers/test_lrp_networks.py::test_separable_layers_with_batch_norms_have_the_maps_of_ordinary_ones
# Picture: Two heatmaps with different patterns.
# Caption: Maps by alpha 2 and beta 1: the network with a separable convolution (left), and the same network with an ordinary one (right).
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
depth, point, last = rng.normal(size=(3, 3, 4, 1)), rng.normal(size=(1, 1, 4, 8)), rng.normal(size=(288, 1))
x = rng.random((4, 8, 8, 4))


def network(layer, weights):
    model = tf.keras.Sequential([tf.keras.Input((8, 8, 4)), layer, L.Flatten(), L.Dense(1, use_bias=False)])
    model.set_weights([*weights, last])
    return model


one = network(L.SeparableConv2D(8, 3, use_bias=False, activation="relu"), [depth, point])
other = network(L.Conv2D(8, 3, use_bias=False, activation="relu"), [depth * point])
print("innvestigate", version("innvestigate"), "tf_keras", version("tf_keras"))
found = {}
for rule in ("lrp.z", "lrp.flat", "lrp.epsilon", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1"):
    a, b = (innvestigate.create_analyzer(rule, m).analyze(x).ravel() for m in (one, other))
    found[rule] = np.corrcoef(a, b)[0, 1]
    print(f"{rule}: correlation of the maps of two equal networks {found[rule]:.2f}")
draw(*(m.reshape(4, 8, 8, 4)[0].sum(-1) for m in (a, b)))
assert min(found[rule] for rule in ("lrp.z", "lrp.flat", "lrp.epsilon")) > 0.99 and found["lrp.alpha_1_beta_0"] < 0.8 and abs(found["lrp.alpha_2_beta_1"]) < 0.2, "the rules agree now"
print(f"With alpha 2 and beta 1 the map correlates {found['lrp.alpha_2_beta_1']:.2f} with that of the same network of ordinary convolutions.")
PYTHON
