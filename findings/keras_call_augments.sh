#!/usr/bin/env bash
# A Keras model augments the picture when you call it as model(x)
# Harms: map
# Call: model(x) where the model has a layer such as RandomTranslation
# Guess: a Keras model that is called as model(x) is in use and not in training, so a random layer in it leaves the picture as it is, as with model.predict(x).
# Effect: gradients and heatmaps taken through model(x) belong to a different picture, and to a new one each time.
# Instead: call model(x, training=False).
# xaifake: no, tests/test_known_traps.py::test_layers_that_augment_do_nothing_in_an_explanation
# Picture: A ramp from black to white, and the same ramp moved down, with its first rows mirrored.
# Caption: The picture as given (left), and what the network saw (right).
source "$(dirname "$0")/environment.bash" keras==3.15.0 jax==0.10.0
pip install -qq --no-compile pillow==13.0.0
KERAS_BACKEND=jax python - <<'PYTHON'
import keras
import numpy as np
from draw import draw

inputs = keras.Input((8, 8, 3))
model = keras.Model(inputs, keras.layers.RandomTranslation(0.5, 0.5, seed=0)(inputs))
picture = np.arange(192, dtype="float32").reshape(1, 8, 8, 3)
called, predicted = np.asarray(model(picture)), model.predict(picture, verbose=0)
draw(*(255 * given[0] / picture.max() for given in (picture, called)))
print("keras", keras.__version__)
print("model(x) gives the picture back:   ", np.array_equal(called, picture))
print("model.predict(x) gives it back:    ", np.array_equal(predicted, picture))
asked = np.asarray(model(picture, training=False))
print("model(x, training=False) gives it: ", np.array_equal(asked, picture))
assert not np.array_equal(called, picture), "calling a model no longer augments"
assert np.array_equal(predicted, picture) and np.array_equal(asked, picture), "the other two ways augment now"
print("A called model augments: gradients and heatmaps taken through model(x) are those of another picture.")
PYTHON
