#!/usr/bin/env bash
# tf-explain's Integrated Gradients is the mean gradient, without the multiplication by the picture
# Harms: map
# Call: IntegratedGradients().explain((pictures, None), model, class_index, n_steps=200)
# Expected: the mean gradient times the difference between picture and baseline, which sums to the difference of the scores.
# Effect: black pixels get relevance, although they cannot have changed anything, and the sum means nothing.
# Instead: multiply by the picture yourself (get_integrated_gradients gives the gradients).
# xaifake: no, tests/explainers/test_gradients.py::test_integrated_gradients_of_a_linear_model_are_exact
# Picture: A picture whose left half is black, a heatmap with colour also over a part of the black half, and one that is empty there.
# Caption: The picture (left), tf-explain's map (middle), and the map times the picture (right).
source "$(dirname "$0")/environment.bash" tensorflow==2.20.0 keras==3.15.0 tf_keras==2.20.1 numpy==2.4.6 matplotlib==3.11.2 pillow==13.0.0 opencv-python-headless==5.0.0.93
pip install -qq --no-deps tf-explain==0.3.1
TF_USE_LEGACY_KERAS=1 python - 2>errors.txt <<'PYTHON'
import numpy as np
import tensorflow as tf
from draw import draw
from importlib.metadata import version
from tf_explain.core.integrated_gradients import IntegratedGradients as IG

L = tf.keras.layers
tf.keras.utils.set_random_seed(0)
model = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), L.Conv2D(8, 3, activation="relu"), L.Flatten(), L.Dense(2)])
x = np.random.default_rng(0).random((1, 8, 8, 3), "float32")
x[:, :, :4] = 0
path = IG.generate_interpolations(x, 200).astype("float32")
found = IG.get_integrated_gradients(path, model, 0, 200).numpy()
difference = float((model(x) - model(0 * x))[0, 0])
black = np.abs(found[:, :, :4]).sum() / np.abs(found).sum()
draw(255 * x[0], found[0].sum(-1), (found * x)[0].sum(-1))
print("tf-explain", version("tf-explain"), "tensorflow", tf.__version__)
print(f"difference of scores {difference:.3f}, sum of the map {found.sum():.3f}, times the picture {(found * x).sum():.3f}")
assert abs(found.sum() / difference - 1) > 0.3 and abs((found * x).sum() / difference - 1) < 0.05 and black > 0.2, "the map is otherwise now"
print(f"The black half of the picture, equal to the baseline, has {black:.0%} of the map.")
PYTHON
