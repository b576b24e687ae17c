#!/usr/bin/env bash
# OpenVINO computes a float32 network in bfloat16 by default, if the processor can
# Harms: picture
# Call: Core().compile_model(model, "CPU")
# Expected: the precision of the network.
# Effect: logits change, and differ from machine to machine.
# Instead: use compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).
# xaifake: no, tests/detector/test_forward.py::test_bfloat16_is_near_and_says_what_it_is
source "$(dirname "$0")/environment.bash" openvino==2026.4.1 numpy==2.4.6
CI=true python - <<'PYTHON'
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13

able = any(word in Path("/proc/cpuinfo").read_text() for word in ("avx512_bf16", "amx_bf16"))
core, x = openvino.Core(), np.random.default_rng(1).normal(size=(64, 512)).astype("float32")
weights = np.random.default_rng(0).normal(size=(512, 512)).astype("float32")
given = opset13.parameter([64, 512], np.float32)
model = openvino.Model([opset13.matmul(given, opset13.constant(weights), False, False)], [given])
default, exact = (core.compile_model(model, "CPU", c) for c in ({}, {"INFERENCE_PRECISION_HINT": "f32"}))
away = np.abs(default(x)[0] - exact(x)[0]).max() / np.abs(exact(x)[0]).max()
hint = default.get_property("INFERENCE_PRECISION_HINT").to_string()
print("openvino", openvino.__version__.split("-")[0], "on a processor", "with" if able else "without", "bfloat16")
print(f"precision by default: {hint}; largest difference from float32 over the largest output: {away:.1e}")
assert (hint == "bf16") == able and (away > 1e-4) == able, "the default is another one now"
print(f"By default this processor computes in {hint}.")
PYTHON
