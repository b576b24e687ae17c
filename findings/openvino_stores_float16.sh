#!/usr/bin/env bash
# OpenVINO stores a float32 network in float16 and clips weights beyond its range
# Harms: picture
# Call: openvino.save_model(model, "x.xml")
# Guess: the stored network equals the given one.
# Effect: logits change, a little in general and a lot with one weight beyond 65504.
# Instead: use save_model(..., compress_to_fp16=False), and compare a logit before and after.
# xaifake: no, it stores no such file: tests/detector/test_forward.py::test_openvino_agrees_with_keras_on_the_shipped_detector
source "$(dirname "$0")/environment.bash" openvino==2026.4.1 numpy==2.4.6
CI=true python - <<'PYTHON'
import numpy as np
import openvino
from openvino import opset13

core, x = openvino.Core(), np.random.default_rng(1).normal(size=(1, 8)).astype("float32")
print("openvino", openvino.__version__.split("-")[0])
found = {}
for largest in (1, 1e5):
    weights = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    weights[0, 0] = largest
    given = opset13.parameter([1, 8], np.float32)
    model = openvino.Model([opset13.matmul(given, opset13.constant(weights), False, False)], [given])
    openvino.save_model(model, "x.xml")
    openvino.save_model(model, "whole.xml", compress_to_fp16=False)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    models = model, core.read_model("x.xml"), core.read_model("whole.xml")
    before, after, whole = (core.compile_model(m, "CPU", exact)(x)[0][0] for m in models)
    assert np.array_equal(before, whole), "compress_to_fp16=False changes weights now"
    found[largest] = np.abs(before - after).max() / np.abs(before).max()
    print(f"largest weight {largest:g}: outputs {before.astype(float).round(4).tolist()}, stored and read {after.astype(float).round(4).tolist()}")
clipped = 1 - 65504 / 1e5  # of the only large weight
assert 1e-5 < found[1] < 1e-2 and abs(found[1e5] - clipped) < 0.01, "weights are stored as they are now"
print(f"The largest output moves by {found[1]:.1e} of itself, and by {found[1e5]:.0%} where a weight is 1e5.")
PYTHON
