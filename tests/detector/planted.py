"""A tiny detector and faces whose class a colour tells; run as a script, it trains on them."""

import sys

import cv2
import keras
import numpy as np
import pandas as pd

from xaifake.detector import training

SETTINGS = {
    "epochs": 4,
    "images_per_epoch": 64,
    "scale": 1.3,
    "patch_epochs": 2,
    "validation_images": 24,
    "batch_size": 4,
    "learning_rate": 0.01,
    "progress": False,
}


def pictures(count, size=128, seed=0):
    """Return random pictures, uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def tiny_network(size=128, momentum=0.9, precision="float32", seed=0):
    """Stand in for `build_xception`: a mean over positions after one convolution."""
    rng = np.random.default_rng(seed)
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, use_bias=False, dtype=precision)(inputs)
    x = keras.layers.BatchNormalization(momentum=momentum, dtype=precision)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype=precision)(x)
    x = keras.layers.Dense(1, dtype="float32")(x)
    model = keras.Model(inputs, x)
    for weight in model.trainable_weights[0], model.trainable_weights[3]:  # the two kernels
        weight.assign(rng.normal(0, 0.2, weight.shape))
    return model


def read_planted(folder, split, scale, fold=None):
    """Stand in for `read_encoded`: 4 real and 8 fake clips, the fakes a little redder."""
    rng = np.random.default_rng([split == "train", int(10 * scale)])
    encoded, labels, videos = [], [], []
    for clip in range(12):
        for _ in range(3 if clip >= 4 else 5):
            image = rng.normal((110, 110, 122 if clip >= 4 else 110), 20, (128, 128, 3))
            image = image.clip(0, 255).astype(np.uint8)
            encoded.append(cv2.imencode(".jpg", image)[1].tobytes())
            labels.append(int(clip >= 4))
            videos.append(f"{clip:03d}__{split}")
    return encoded, np.array(labels), pd.DataFrame({"video": videos})


def read_planted_pairs(folder, split, scale, fold=None):
    """Stand in for `read_pairs`: 3 frames each of 4 fake clips, redder than their originals."""
    encoded, labels, table = read_planted(folder, split, scale)
    fakes = [encoded[row] for row in np.flatnonzero(labels)[:12]]
    originals = [encoded[row] for row in np.flatnonzero(labels == 0)[:12]]
    return originals, fakes, table[labels == 1][:12].reset_index(drop=True)


def split_the_processor():
    """Make two devices out of one processor."""
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", 2)
    else:
        import tensorflow as tf

        processor = tf.config.list_physical_devices("CPU")[0]
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(processor, halves)


if __name__ == "__main__":
    training.build_xception = tiny_network
    training.read_encoded = read_planted
    training.read_pairs = read_planted_pairs
    if sys.argv[2] == "2":
        split_the_processor()
    training.train("faces", sys.argv[1], **SETTINGS, portraits=sys.argv[3:])
