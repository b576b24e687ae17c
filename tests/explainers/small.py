"""Small networks with seeded weights, and pictures; as a script it prints a hash of each map."""

import hashlib

import keras
import numpy as np

import xaifake

METHODS = [
    *("gradient", "input_t_gradient", "integrated_gradients", "guided_backprop", "grad_cam"),
]
SIZE = 8


def pictures(count, size=SIZE, seed=0):
    """Return random pictures, uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def floats(count, size=SIZE, seed=0):
    """Return random pictures from -1 to 1."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


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


def fingerprints():
    """Return one line for each method: its name and a hash of its map."""
    lines = []
    for name in METHODS:
        relevance = xaifake.explain(detector(), pictures(3), name, progress=False)
        lines.append(f"{name} {hashlib.sha256(relevance.tobytes()).hexdigest()}")
    return lines


if __name__ == "__main__":
    print(*fingerprints(), sep="\n")
