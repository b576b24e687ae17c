#!/usr/bin/env bash
# safetensors does not always write the same arrays and metadata in the same bytes
# Harms: data
# Call: safetensors.numpy.save(arrays, metadata={"seed": "1", "scale": "2", "version": "3"})
# Guess: the same bytes for the same content.
# Effect: digests of weights change although the weights do not, so caches miss and releases cannot be compared.
# Instead: use a single metadata entry that contains JSON with sorted keys.
# xaifake: no, training writes one entry: tests/test_known_traps.py::test_weights_that_are_stored_again_are_the_same_bytes
source "$(dirname "$0")/environment.bash" safetensors==0.8.0 numpy==2.4.6
python - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from safetensors.numpy import save

arrays = {"a": np.zeros(2), "b": np.ones(3)}
metadata = {"seed": "1", "scale": "2", "version": "3"}
several = {save(arrays, metadata=metadata) for _ in range(100)}
single = {save(arrays, metadata={"all": str(sorted(metadata.items()))}) for _ in range(100)}
print("safetensors", version("safetensors"))
print("different files of 100, three entries of metadata:", len(several), " one entry:", len(single))
assert len(several) > 1 == len(single), "the bytes are the same now"
print(f"The same arrays and metadata come in {len(several)} different files.")
PYTHON
