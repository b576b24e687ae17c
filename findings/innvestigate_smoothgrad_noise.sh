#!/usr/bin/env bash
# iNNvestigate's SmoothGrad adds noise of standard deviation 1, whatever noise_scale and the range of the pictures are
# Harms: map
# Call: create_analyzer("smoothgrad", model, augment_by_n=256, noise_scale=0.0).analyze(pictures)
# Expected: noise of the size that was asked for; with 0 it is the plain gradient.
# Effect: on pictures from 0 to 1 the map is mostly noise, and on pictures from 0 to 255 it is the plain gradient.
# Instead: add noise of 10 to 20 % of the range yourself, as the SmoothGrad paper proposes, and average the gradients.
# xaifake: partly, its own SmoothGrad takes the noise as a share of the range, and iNNvestigate's keeps 1 but refuses noise_scale: tests/explainers/test_innvestigate.py::test_noise_that_the_library_would_ignore_is_refused
# Picture: Three heatmaps. The second is unlike the first; the third is like it.
# Caption: The gradient (left), SmoothGrad on the picture from 0 to 1 (middle) and from 0 to 255 (right).
source "$(dirname "$0")/environment.bash" tensorflow==2.20.0 keras==3.15.0 tf_keras==2.20.1 numpy==2.4.6 matplotlib==3.11.2 pillow==13.0.0 opencv-python-headless==5.0.0.93
pip install -qq --no-deps --ignore-requires-python innvestigate==2.1.2
TF_USE_LEGACY_KERAS=1 python - 2>errors.txt <<'PYTHON'
import innvestigate
import numpy as np
import tensorflow as tf
from draw import draw
from importlib.metadata import version

tf.compat.v1.disable_eager_execution()
tf.keras.utils.set_random_seed(0)
L = tf.keras.layers
model = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), L.Conv2D(8, 3, activation="relu"), L.Flatten(), L.Dense(8, activation="relu"), L.Dense(2)])
x, found, maps = np.random.default_rng(0).random((1, 8, 8, 3)), {}, {}
for highest in (1, 255):
    plain = innvestigate.create_analyzer("gradient", model).analyze(x * highest)
    smooth = innvestigate.create_analyzer("smoothgrad", model, augment_by_n=256).analyze(x * highest)
    maps |= {highest: smooth} if maps else {"gradient": plain, highest: smooth}
    found[highest] = np.corrcoef(plain.ravel(), smooth.ravel())[0, 1]
    print(f"pictures from 0 to {highest}: correlation of SmoothGrad with the plain gradient {found[highest]:.3f}")
still = innvestigate.create_analyzer("smoothgrad", model, augment_by_n=256, noise_scale=0.0).analyze(x)
without = np.corrcoef(maps["gradient"].ravel(), still.ravel())[0, 1]
print(f"pictures from 0 to 1, noise_scale=0: correlation {without:.3f}")
draw(*(maps[name][0].sum(-1) for name in ("gradient", 1, 255)))
print("innvestigate", version("innvestigate"), "tf_keras", version("tf_keras"))
assert found[1] < 0.6 and without < 0.6 and found[255] > 0.99, "the noise is set otherwise now"
print(f"The correlation with the plain gradient is {found[1]:.2f} on pictures from 0 to 1 and {found[255]:.3f} on 0 to 255.")
PYTHON
