#!/usr/bin/env bash
# safetensors scrambles an array that is not contiguous
# Harms: data
# Call: safetensors.numpy.save({'array': a.T})
# Expected: the array comes back as it was given, or is refused.
# Effect: kernels that were transposed between libraries come back with the right shape but wrong values.
# Instead: call np.ascontiguousarray before saving.
# xaifake: no, tests/detector/test_xception.py::test_a_transposed_array_comes_back_as_it_was
# Picture: A disc on the left, and slanted stripes on the right.
# Caption: A transposed array as it was given (left), and as it comes back (right).
source "$(dirname "$0")/environment.bash" safetensors==0.8.0 numpy==2.4.6 pillow==13.0.0
python - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from draw import draw
from safetensors.numpy import load, save

given = np.arange(6, dtype=np.float32).reshape(2, 3).T
found = load(save({"array": given}))["array"]
again = load(save({"array": np.ascontiguousarray(given)}))["array"]
print(f"safetensors {version('safetensors')}, numpy {version('numpy')}")
print("given   ", given.tolist())
print("found   ", found.tolist())
print("found, made contiguous before", again.tolist())
y, x = np.mgrid[:32, :40]
disc = ((y - 13.5) ** 2 + (x - 17.5) ** 2 < 100).astype(np.float32).T  # 40 x 32
draw(disc, load(save({"array": disc}))["array"])
scrambled = found.shape == given.shape and np.array_equal(found.ravel(), given.T.ravel())
assert scrambled and np.array_equal(again, given), "a transposed array comes back as it was given now"
print("A transposed array comes back in its shape with its values in another order; no error.")
PYTHON
