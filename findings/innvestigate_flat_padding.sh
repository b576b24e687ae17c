#!/usr/bin/env bash
# iNNvestigate's flat presets have no effect if the network begins with ZeroPadding2D
# Harms: map
# Call: create_analyzer("lrp.sequential_preset_a_flat", model)
# Expected: the flat rule at the first convolution, no matter where the zeros are added.
# Effect: you get the map of the plain preset under the name of the flat one. An equal network that pads inside the convolution has a different map.
# Instead: use padding="same" in the convolution itself, or compare with the map of the preset without 'flat'.
# xaifake: no, tests/explainers/test_lrp_options.py::test_the_input_is_where_no_weights_stand_before
# Picture: Three heatmaps, the second and the third the same.
# Caption: One network's map by the flat preset: with padding='same' (left), and behind a ZeroPadding2D (middle), where it equals the map of the plain preset (right).
source "$(dirname "$0")/environment.bash" tensorflow==2.20.0 keras==3.15.0 tf_keras==2.20.1 numpy==2.4.6 matplotlib==3.11.2 pillow==13.0.0 opencv-python-headless==5.0.0.93
pip install -qq --no-deps --ignore-requires-python innvestigate==2.1.2
TF_USE_LEGACY_KERAS=1 python - 2>errors.txt <<'PYTHON'
import innvestigate
import numpy as np
import tensorflow as tf
from draw import draw
from importlib.metadata import version

tf.compat.v1.disable_eager_execution()
L, first = tf.keras.layers, tf.keras.initializers.GlorotUniform(1)
x = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 3))


def maps(padded):
    given = tf.keras.Input((8, 8, 3))
    h = L.ZeroPadding2D(1)(given) if padded else given
    h = L.Conv2D(8, 3, padding="valid" if padded else "same", activation="relu", use_bias=False, kernel_initializer=first)(h)
    answer = L.Dense(2, use_bias=False, kernel_initializer=tf.keras.initializers.GlorotUniform(2))(L.Flatten()(h))
    model = tf.keras.Model(given, answer)
    return [innvestigate.create_analyzer("lrp.sequential_preset_a" + flat, model).analyze(x).ravel() for flat in ("", "_flat")]


(plain, flat), (padded_plain, padded_flat) = maps(False), maps(True)
draw(*(m.reshape(8, 8, 3).sum(-1) for m in (flat, padded_flat, padded_plain)))
print("innvestigate", version("innvestigate"), "tf_keras", version("tf_keras"))
found = np.corrcoef(flat, padded_flat)[0, 1]
print(f"preset and flat preset differ, 'same' padding: {not np.allclose(plain, flat)}; ZeroPadding2D: {not np.allclose(padded_plain, padded_flat)}")
assert np.allclose(padded_plain, padded_flat) and not np.allclose(plain, flat) and found < 0.75, "the flat rule reaches the convolution now"
print(f"Behind a ZeroPadding2D the flat preset is the plain one; correlation with the flat map of the same network {found:.2f}.")
PYTHON
