#!/usr/bin/env bash
# safetensors scrambles an array that is not contiguous
# Harms: data
# Call: safetensors.numpy.save({'array': a.T})
# Expected: the array comes back as it was given, or is refused.
# Effect: kernels that were transposed between libraries come back with the right shape but wrong values.
# Instead: call np.ascontiguousarray before saving.
# xaifake: no, tests/detector/test_xception.py::test_a_transposed_array_comes_back_as_it_was
source "$(dirname "$0")/environment.bash" safetensors==0.8.0 numpy==2.4.6
python - <<'PYTHON'
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
