#!/usr/bin/env bash
# Xception's preprocess_input overwrites the caller's floats
# Harms: picture
# Call: keras.applications.xception.preprocess_input(pictures)
# Guess: preprocess_input returns a new array, and the caller's stays as it was.
# Effect: if you call it twice on one array, the network sees nearly the same grey everywhere. Figures that are drawn afterwards are dark.
# Instead: pass a copy.
# xaifake: no, tests/test_known_traps.py::test_pictures_are_not_overwritten
source "$(dirname "$0")/environment.bash" keras==3.15.0 jax==0.10.0
KERAS_BACKEND=jax python - <<'PYTHON'
import keras
import numpy as np
from keras.applications.xception import preprocess_input

print("keras", keras.__version__)
for kind in ("uint8", "float32"):
    pictures = np.full((1, 2, 2, 3), 255, dtype=kind)
    preprocess_input(pictures)
    print(f"{kind}: 255 in the caller's array is {pictures.max():g} after the call")
    assert (pictures.max() == 255) == (kind == "uint8"), "the caller's array is treated otherwise now"
print("Floats are scaled in place: called twice on one array, the network sees nearly the same grey everywhere.")
PYTHON
