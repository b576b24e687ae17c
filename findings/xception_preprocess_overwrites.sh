#!/usr/bin/env bash
# Guess, written before the first run: preprocess_input returns a new array, and the caller's stays as it was.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet keras==3.15.0 jax==0.10.0
KERAS_BACKEND=jax "$folder/env/bin/python" - <<'PYTHON'
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
