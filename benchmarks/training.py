"""How fast Xception trains from extracted faces, beside Keras' `fit` on arrays in memory.

    python benchmarks/training.py [--batch 32 64] [--precision float32 mixed_bfloat16] [--steps 8]
        [--rounds 3] [--csv FILE]

Both train the same network on 128 x 128 pixels. `train`'s own batches start as JPEG files in
memory, are decoded (once), varied and scaled; the peer gets the varied and scaled pictures as one
float32 array. They take turns in the same process; the figures are medians over the rounds, with
the smallest and largest. Tracing and the first decoding are done before. The share of waiting is
taken on one more pass in which each step is waited for: from the end of a step until the next
batch is handed over. On a GPU that is listed here, the arithmetic is set against its limit: three
times the forward pass' multiplications and additions.
"""

import argparse
import csv
import math
import sys
import time
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine, spread  # noqa: E402

from xaifake.data.dataset import read_encoded  # noqa: E402
from xaifake.detector import build_xception  # noqa: E402
from xaifake.detector.batches import (  # noqa: E402
    EncodedFaces,
    EpochBatches,
    augment,
    with_augmentation,
)
from xaifake.progress import progress_bar  # noqa: E402

SIZE = 128
# Operations a second without sparsity, by the makers' data sheets: 16 bits on the matrix units,
# and float32 (on those that have it, TensorFloat-32, which TensorFlow uses for float32). Of A100,
# H100 and V100 those in SXM modules; as PCIe cards they have less.
LIMITS = {
    "A100": (312e12, 156e12),
    "H100": (989e12, 494e12),
    "L4": (121e12, 60.5e12),
    "T4": (65e12, 8.1e12),
    "V100": (125e12, 15.7e12),
}


class Watched(EpochBatches):
    """Batches that note when each was handed over."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.given = {}

    def __getitem__(self, number):
        batch = super().__getitem__(number)
        self.given[number] = time.perf_counter()
        return batch


class Ends(keras.callbacks.Callback):
    """Notes when each step has ended; without `async_safe`, Keras waits for it."""

    def on_train_begin(self, logs=None):
        """Start anew."""
        self.times = []

    def on_train_batch_end(self, batch, logs=None):
        """Wait for the step and note the time."""
        float(logs["loss"])
        self.times.append(time.perf_counter())


def waited(given, ends):
    """Return the share of the time that steps waited for their batches, the first step left out."""
    waits = [max(0.0, given[k] - ends[k - 1]) for k in range(1, len(ends))]
    return sum(waits) / (ends[-1] - ends[0])


def operations(model):
    """Count the multiplications and additions of the forward pass for one picture."""
    total = 0
    for layer in model.layers:
        kernels = [weight for weight in layer.trainable_weights if len(weight.shape) > 1]
        places = math.prod(layer.output.shape[1:-1]) if kernels else 0
        total += 2 * places * sum(math.prod(kernel.shape) for kernel in kernels)
    return total


def limit(precision):
    """Return the device's name and its operations a second, or None where they are not known."""
    if keras.backend.backend() == "jax":
        name = sys.modules["jax"].devices()[0].device_kind
    else:
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        name = tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "cpu"
    found = [rates for key, rates in LIMITS.items() if key in name.replace("-", " ").split()]
    return name, found[0][precision == "float32"] if found else None


def compiled(model, precision):
    """Compile a model as `train` does."""
    optimizer = keras.optimizers.Adam(1e-4)
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    accuracy = keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)
    model.compile(optimizer=optimizer, loss=loss, metrics=[accuracy])
    return model


def measure(faces, batch, precision, steps, rounds):
    """Return images a second of both ways in each round, and the share of waiting."""
    settings = {"batch_size": batch, "images_per_epoch": batch * steps, "seed": 0}
    network = compiled(build_xception(SIZE, precision=precision), precision)
    own = compiled(
        with_augmentation(build_xception(SIZE, precision=precision), faces.shape), precision
    )
    with EpochBatches(faces, settings, 1, SIZE) as batches:
        several = [batches[number] for number in range(steps)]
    arrays = [keras.ops.convert_to_numpy(augment(*one, SIZE)) for one, _ in several]
    images, labels = np.concatenate(arrays), np.concatenate([label for _, label in several])

    def plain():
        network.fit(images, labels, batch_size=batch, shuffle=False, verbose=0)

    def pipeline(callbacks=()):
        with Watched(faces, settings, 1, SIZE) as batches:
            own.fit(batches, callbacks=list(callbacks), shuffle=False, verbose=0)
        return batches

    ways = {"own": pipeline, "plain": plain}
    rates = {name: [] for name in ways}
    for number in progress_bar(range(rounds + 1), show=True, unit="round"):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:  # the first round traces
                rates[name].append(batch * steps / (time.perf_counter() - start))
    watched = pipeline([ends := Ends()])
    return rates, waited(watched.given, ends.times), 3 * operations(network)


def main(arguments=None):
    """Measure every batch size and precision, print, and write a table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv")
    options = parser.parse_args(arguments)
    backend = sys.modules[keras.backend.backend()]
    print(machine(keras, backend, np))
    encoded, kind, table = read_encoded(None, None, 1.3)
    faces, rows = EncodedFaces(encoded, kind, table["video"]), []
    for precision in options.precision:
        name, most = limit(precision)
        for batch in options.batch:
            rates, waiting, work = measure(faces, batch, precision, options.steps, options.rounds)
            ratios = [a / b for a, b in zip(rates["own"], rates["plain"])]
            speed = np.median(rates["own"])
            share = f"{speed * work / most:.1%}" if most else "unknown"
            print(f"{precision}, batch {batch}, {name}:")
            print(f"  images a second: {spread(rates['own'])}")
            print(f"  plain fit on arrays: {spread(rates['plain'])}; ratio: {spread(ratios)}")
            print(f"  waiting for input: {waiting:.1%}; of the arithmetic limit: {share}")
            rows.append(
                {"device": name, "precision": precision, "batch": batch,
                 "images_per_second": round(speed, 2), "ratio_to_plain_fit":
                 round(float(np.median(ratios)), 3), "waiting": round(waiting, 4),
                 "of_limit": share}
            )  # fmt: skip
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
