"""Whether LRP goes through each family of keras.applications, and divides the whole logit.

    python benchmarks/applications.py [--families MobileNetV2 ...] [--methods lrp.epsilon ...]

The smallest member of each family, with random weights, is the base of a transfer-learning model: a
model in a model, with a pooling and a dense layer behind it. Batch norms have the statistics of the
pictures, so that the signal neither fades nor grows. `off` is how far the logit is from the map's
sum and what biases, the stabiliser and missing parts took, and `logit_off` how far the folded
network's logit is from the model's; both as shares of the size, the larger of logit and map.
"""

import argparse
import time

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import xaifake
from xaifake.errors import UserError

FAMILIES = {
    "ConvNeXtTiny": 64, "DenseNet121": 64, "EfficientNetB0": 64, "EfficientNetV2B0": 64,
    "InceptionResNetV2": 75, "InceptionV3": 75, "MobileNet": 64, "MobileNetV2": 64,
    "MobileNetV3Small": 64, "NASNetMobile": 64, "ResNet50": 64, "ResNet50V2": 64, "VGG16": 64,
    "Xception": 71,
}  # fmt: skip
SCALED = ("ConvNeXt", "EfficientNet", "MobileNetV3")  # take values from 0 to 255
METHODS = ("lrp.epsilon", "lrp.alpha_1_beta_0", "lrp.sequential_preset_b_flat")
SPENT = ["sum", "bias", "stabiliser", "unassigned"]


def transfer_model(family, pictures):
    """Return a new end on a base with random weights."""
    keras.utils.set_random_seed(0)
    base = getattr(keras.applications, family)(
        weights=None, include_top=False, input_shape=pictures.shape[1:]
    )
    norms = [x for x in base.layers if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    base(pictures, training=True)
    inputs = keras.Input(pictures.shape[1:])
    x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dropout(0.2)(x)))


def measure(family, side, methods):
    """Yield one row per method."""
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, side, side, 3)).astype(np.float32)
    low, high = (0, 255) if family.startswith(SCALED) else (-1, 1)
    pictures = (low + high) / 2 + pictures * (high - low) / 2
    model = transfer_model(family, pictures)
    expected = np.asarray(model(pictures, training=False))[:, 1]
    for method in methods:
        start = time.perf_counter()
        row = {"family": family, "weights": model.count_params(), "method": method}
        options = {"value_range": (low, high), "conservation": True, "progress": False}
        try:
            report = xaifake.explain(model, pictures, method, target=1, **options).report
        except UserError as refusal:
            yield row | {"refused": str(refusal)}
            continue
        seconds = time.perf_counter() - start
        size = np.maximum(report.logit.abs(), report["abs_sum"])
        off = ((report[SPENT].sum(axis=1) - report.logit).abs() / size).max()
        logit_off = (np.abs(report.logit - expected) / size).max()
        yield row | {"off": off, "logit_off": logit_off, "first_map_s": seconds}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    arguments = parser.parse_args()
    rows = []
    for family in arguments.families:
        for row in measure(family, FAMILIES[family], arguments.methods):
            rows.append(row)
            print(row, flush=True)
        keras.backend.clear_session()
        xaifake.clear_cache()
    print(f"Keras {keras.__version__}, TensorFlow {tf.__version__}, {time.strftime('%Y-%m-%d')}")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.1e}".format))


if __name__ == "__main__":
    main()
