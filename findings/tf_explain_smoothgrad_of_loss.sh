#!/usr/bin/env bash
# tf-explain's SmoothGrad follows the loss: its map is zero for a network with one output, and negated for one with two
# Harms: map
# Call: SmoothGrad().explain((pictures, None), model, class_index)
# Expected: the gradient of the class's score, as in the library's other methods.
# Effect: a detector with one sigmoid gets an empty map. One with two outputs gets a map with red and blue exchanged, and the surer the detector, the fainter the map.
# Instead: average gradients of the logit.
# xaifake: no, tests/explainers/test_masking.py::test_smoothgrad_is_the_mean_over_noisy_copies
# Picture: Two heatmaps, red in one where the other is blue.
# Caption: The network with two outputs: the gradient of the score (left), and tf-explain's SmoothGrad (right).
source "$(dirname "$0")/environment.bash" tensorflow==2.20.0 keras==3.15.0 tf_keras==2.20.1 numpy==2.4.6 matplotlib==3.11.2 pillow==13.0.0 opencv-python-headless==5.0.0.93
pip install -qq --no-deps tf-explain==0.3.1
TF_USE_LEGACY_KERAS=1 python - 2>errors.txt <<'PYTHON'
import numpy as np
import tensorflow as tf
from draw import draw
from importlib.metadata import version
from tf_explain.core.smoothgrad import SmoothGrad

L = tf.keras.layers
x = np.random.default_rng(0).random((1, 8, 8, 3), "float32")
print("tf-explain", version("tf-explain"), "tensorflow", tf.__version__)
found = {}
for outputs, activation in ((1, "sigmoid"), (2, "softmax")):
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), L.Conv2D(8, 3, activation="relu"), L.Flatten(), L.Dense(outputs, activation)])
    noisy = SmoothGrad.generate_noisy_images(x, 50, 0.01)
    smooth = SmoothGrad.get_averaged_gradients(noisy, model, 0, 50).numpy()
    with tf.GradientTape() as tape:
        picture = tf.constant(x)
        tape.watch(picture)
        score = model(picture)[:, 0]
    gradient = tape.gradient(score, picture).numpy()
    alike = np.corrcoef(smooth.ravel(), gradient.ravel())[0, 1] if smooth.any() else np.nan
    found[outputs] = np.abs(smooth).max(), alike
    print(f"{outputs} output(s), {activation}: largest value {found[outputs][0]:.3g}, correlation with the gradient {alike:.2f}")
draw(*(m.reshape(8, 8, 3).sum(-1) for m in (gradient, smooth)))
assert found[1][0] == 0 and found[2][1] < -0.99, "it follows something else now"
print(f"One sigmoid: an empty map. Two outputs: correlation {found[2][1]:.2f} with the gradient of the score.")
PYTHON
