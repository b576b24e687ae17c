"""Small networks with seeded weights, and pictures; as a script it prints a hash of each map."""

import hashlib

import keras
import numpy as np

import xaifake
from xaifake.detector import build_xception
from xaifake.explainers import lrp

METHODS = [
    *("gradient", "input_t_gradient", "integrated_gradients", "guided_backprop", "grad_cam"),
    "lrp.sequential_preset_b_flat",
]
SIZE = 8


def pictures(count, size=SIZE, seed=0):
    """Return random pictures, uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def floats(count, size=SIZE, seed=0):
    """Return random pictures from -1 to 1."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


def run_explain(detector, images, method, return_report=False, **options):
    """Return plain relevance of `xaifake.explain`, and with it the report if asked for.

    The report of LRP says where relevance went.
    """
    if return_report and method.startswith("lrp") and options.get("engine") != "innvestigate":
        options["conservation"] = True
    made = xaifake.explain(detector, images, method, **options)
    return (np.asarray(made), made.report) if return_report else np.asarray(made)


def draw_weights(model, seed=0):
    """Give a model random weights that no other library's generator has a hand in."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(size=weight.shape)
        if len(weight.shape) > 1:
            value *= np.sqrt(2 / np.prod(weight.shape[:-1]))  # so that depth changes no size
        elif "variance" in weight.path:
            value = 1 + np.abs(value)
        elif "gamma" not in weight.path:
            value *= 0.1
        weight.assign(value)
    return model


def chain(*layers, size=SIZE):
    """Return the Sequential model of some layers; the weights are still Keras' own."""
    return keras.Sequential([keras.Input((size, size, 3)), *layers])


def detector(classes=1, activation=None, seed=1):
    """Return a small relative of Xception, with each kind of layer that Xception has.

    With seeds 1, 3 and 5 no method's map of the pictures here is empty, whatever the target.
    """
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3), name="picture")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = skip = layers.Activation("relu", name="act")(x)
    x = layers.SeparableConv2D(8, 3, padding="same", activation="relu", name="sepconv")(x)
    x = layers.Add(name="add")([x, skip])
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="last_maps")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    outputs = layers.Dense(classes, activation=activation, name="answer")(x)
    return draw_weights(keras.Model(inputs, outputs), seed)


def logits(model, images):
    """Return the model's answer as an array."""
    return np.asarray(model(images, training=False))


LRP_OPTIONS = {
    "lrp": {"rule": "Gamma", "input_layer_rule": "Bounded"},
    "lrp.alpha_beta": {"alpha": 3},
    "lrp.sequential_preset_b_flat_until_idx": {"until_layer_idx": 5},
}
INNVESTIGATE_OPTIONS = {
    "lrp": {"rule": "Epsilon", "bn_layer_rule": "Epsilon"},
    "lrp.alpha_beta": {"alpha": 3, "beta": 2},
    "deep_taylor.bounded": {"low": -1.0, "high": 1.0},
    "integrated_gradients": {"steps": 4},
    "smoothgrad": {"augment_by_n": 4},
    "lrp.sequential_preset_b_flat_until_idx": {"until_layer_idx": 1},
}


def calls():
    """Yield (name, model, images, options): every method on a small net, five on Xception."""
    model, images = detector(), pictures(3)
    blocks = np.arange(SIZE)[:, None] // 4 * 2 + np.arange(SIZE) // 4
    lime = {"method": "lime", "segmentation": blocks, "num_samples": 24}
    for method in dict.fromkeys([*METHODS, *lrp.METHODS]):
        yield method, model, images, {"method": method, **LRP_OPTIONS.get(method, {})}
    yield "lime", model, images, lime
    for method in xaifake.methods("innvestigate"):
        options = INNVESTIGATE_OPTIONS.get(method, {})
        options = {"method": method, "engine": "innvestigate", **options}
        yield f"innvestigate {method}", model, images, options
    xception, large = build_xception(71), pictures(2, 71)
    yield "gradient of Xception", xception, large, {"method": "gradient"}
    paths = {"method": "integrated_gradients", "steps": 4}
    yield "integrated_gradients of Xception", xception, large, paths
    lime = {"method": "lime", "segmentation": "slic", "num_samples": 24, "batch_size": 24}
    yield "lime of Xception", xception, large, lime
    for method in ("lrp.z", "lrp.sequential_preset_b_flat"):
        yield f"{method} of Xception", xception, large, {"method": method}


def fingerprints():
    """Return one line for each of `calls`: its name and a hash of its map."""
    lines = []
    for name, model, images, options in calls():
        relevance = xaifake.explain(model, images, progress=False, **options)
        lines.append(f"{name} {hashlib.sha256(relevance.tobytes()).hexdigest()}")
    return lines


if __name__ == "__main__":
    print(*fingerprints(), sep="\n")
