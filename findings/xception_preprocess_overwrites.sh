#!/usr/bin/env bash
# Xception's preprocess_input overwrites the caller's floats
# Harms: picture
# Call: keras.applications.xception.preprocess_input(pictures)
# Guess: preprocess_input returns a new array, and the caller's stays as it was.
# Effect: if you call it twice on one array, the network sees a picture that is black nearly everywhere. Figures that are drawn afterwards are black, too.
# Instead: pass a copy.
# xaifake: no, tests/test_known_traps.py::test_pictures_are_not_overwritten
# Picture: Coloured stripes on the left, and a black square on the right.
# Caption: The picture (left), and what the network sees after two calls on one array (right).
source "$(dirname "$0")/environment.bash" keras==3.15.0 jax==0.10.0
pip install -qq --no-compile pillow==13.0.0
KERAS_BACKEND=jax python - <<'PYTHON'
import keras
import numpy as np
from draw import draw
from keras.applications.xception import preprocess_input

print("keras", keras.__version__)
for kind in ("uint8", "float32"):
    pictures = np.full((1, 2, 2, 3), 255, dtype=kind)
    preprocess_input(pictures)
    print(f"{kind}: 255 in the caller's array is {pictures.max():g} after the call")
    assert pictures.max() == {"uint8": 255, "float32": 1}[kind], "the caller's array is treated otherwise now"
picture = np.zeros((1, 16, 16, 3), "float32")
picture[..., 0], picture[..., 1] = np.linspace(0, 255, 16), 255 * (np.arange(16)[:, None] // 4 % 2)
given, _ = picture.copy(), preprocess_input(picture)
seen = preprocess_input(picture)
shown = 127.5 * (seen.clip(-1, 1) + 1)  # -1 is black and 1 is white for this network
draw(given[0], shown[0])
print(f"after two calls the network gets values from {seen.min():.3f} to {seen.max():.3f}")
assert seen.max() < -0.99, "a second call keeps the picture now"
print("Floats are scaled in place: after two calls on one array all values are nearly -1, which is black.")
PYTHON
