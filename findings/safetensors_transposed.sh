#!/usr/bin/env bash
# safetensors.numpy.save and an array that is not contiguous.
#
# Guess before running: save() writes the bytes of the array's memory and the shape of the view, so
# that a transposed array is read back with its values in another order, and nothing is said.
#
# Exit code: 0 if it behaves so, 1 if it does not (any more).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load, save

given = np.arange(6, dtype=np.float32).reshape(2, 3).T
found = load(save({"array": given}))["array"]
again = load(save({"array": np.ascontiguousarray(given)}))["array"]
print(f"safetensors {version('safetensors')}, numpy {version('numpy')}")
print("given   ", given.tolist())
print("found   ", found.tolist())
print("found, made contiguous before", again.tolist())
scrambled = found.shape == given.shape and not np.array_equal(found, given)
if scrambled and np.array_equal(again, given):
    print("A transposed array comes back in its shape with its values in another order; no error.")
    sys.exit(0)
print("The behaviour has changed: a transposed array comes back as it was given, or is refused.")
sys.exit(1)
PYTHON
