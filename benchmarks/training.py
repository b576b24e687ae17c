"""How fast Xception trains from extracted faces, beside Keras' `fit` on arrays in memory.

    python benchmarks/training.py [--batch 32 64] [--precision float32 mixed_bfloat16] [--steps 8]
        [--rounds 3] [--plain-precision float32] [--profile] [--csv FILE]

Both train the same network on 128 x 128 pixels, from the same weights, on the same pictures in the
same order. `train`'s own batches start as JPEG files in memory, are decoded (once), varied and
scaled, and on a processor its network has fused operations (`xaifake.detector.fused`); the peer
is Keras' network as it is and gets the varied and scaled pictures as one float32 array. They take
turns in the same process; the figures are medians over the rounds, with the smallest and largest.
Tracing and the first decoding are done before. Beside the speed stands the processor time of a
step, which other work on the machine hardly changes, and the largest difference of the two losses,
each a mean over a round. The share of waiting is taken on one more pass in which each step is
waited for: from the end of a step until the next batch is handed over. On a GPU that is listed
here, the arithmetic is set against its limit: three times the forward pass' multiplications and
additions.

`--profile` adds where the steps of both spend their time, by kind of operation. The times are
added up as if each operation ran alone: with `TF_NUM_INTEROP_THREADS=1 TF_NUM_INTRAOP_THREADS=1`
in the environment this is so.
"""

import argparse
import collections
import csv
import math
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine, spread  # noqa: E402
from xaifake.data.dataset import read_encoded  # noqa: E402
from xaifake.detector import build_xception  # noqa: E402
from xaifake.detector.batches import EncodedFaces, EpochBatches, augment  # noqa: E402
from xaifake.detector.devices import Devices  # noqa: E402
from xaifake.detector.training import model_to_fit  # noqa: E402
from xaifake.progress import progress_bar  # noqa: E402

SIZE = 128
LEARNING_RATE = 1e-4
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


def plain_model(precision):
    """Build and compile Xception as a plain Keras program would."""
    model = build_xception(SIZE, precision=precision)
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    accuracy = keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)
    model.compile(optimizer=optimizer, loss=loss, metrics=[accuracy])
    return model


def ways_to_train(faces, settings, precision, plain_precision):
    """Return a function for each way, which trains on all batches and returns the loss."""
    network = plain_model(plain_precision)
    _, own = model_to_fit(
        build_xception(SIZE, precision=precision), faces.shape, LEARNING_RATE, precision, Devices()
    )
    with EpochBatches(faces, settings, 1, SIZE) as batches:
        several = [batches[number] for number in range(len(batches))]
    arrays = [keras.ops.convert_to_numpy(augment(*one, SIZE)) for one, _ in several]
    images, labels = np.concatenate(arrays), np.concatenate([label for _, label in several])

    def plain():
        done = network.fit(
            images, labels, batch_size=settings["batch_size"], shuffle=False, verbose=0
        )
        return done.history["loss"][0]

    def pipeline(callbacks=()):
        with Watched(faces, settings, 1, SIZE) as batches:
            done = own.fit(batches, callbacks=list(callbacks), shuffle=False, verbose=0)
        pipeline.given = batches.given
        return done.history["loss"][0]

    return {"own": pipeline, "plain": plain}


def measure(ways, images, rounds):
    """Let the ways take turns: a table of way, images per second, processor seconds and loss."""
    rows = []
    for number in progress_bar(range(rounds + 1), show=True, unit="round"):
        for name, way in ways.items():
            start, processor = time.perf_counter(), time.process_time()
            loss = way()
            rows.append(
                {"round": number, "way": name, "rate": images / (time.perf_counter() - start),
                 "processor": time.process_time() - processor, "loss": loss}
            )  # fmt: skip
    return pd.DataFrame(rows)


def profile(way):
    """Print the share of each kind of operation in the time of all, on TensorFlow's processor."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            way()
        found = next(Path(folder).rglob("*.xplane.pb")).read_bytes()
    times = collections.Counter()
    for plane in XSpace.FromString(found).planes:
        for event in (event for line in plane.lines for event in line.events):
            times[kind_of_operation(plane.event_metadata[event.metadata_id].name)] += (
                event.duration_ps
            )
    del times[None]
    for kind, picoseconds in times.most_common():
        print(f"    {kind}: {picoseconds / times.total():.1%}")


def kind_of_operation(name):
    """Sort an operation, such as TensorFlow's profiler names it, or return None."""
    place, _, operation = name.rpartition(":")
    if not place.startswith("StatefulPartitionedCall"):
        return None
    if "_bn" in place or "batch_normalization" in place:
        return "batch norm"
    kinds = {
        "Depthwise": "depthwise convolutions", "Conv2D": "other convolutions", "Relu": "ReLU",
        "MaxPool": "pooling",
    }  # fmt: skip
    for part, kind in kinds.items():
        if part in operation:
            return kind
    return "Adam" if "adam" in place.lower() else "the rest"


def report(faces, batch, precision, options):
    """Measure one batch size and precision, print, and return the row of the table."""
    settings = {"batch_size": batch, "images_per_epoch": batch * options.steps, "seed": 0}
    plain_precision = options.plain_precision or precision
    ways = ways_to_train(faces, settings, precision, plain_precision)
    table = measure(ways, batch * options.steps, options.rounds)
    measured = table[table["round"] > 0]  # the first round traces
    own, plain = (measured[measured["way"] == way].reset_index() for way in ways)
    ways["own"](callbacks=[ends := Ends()])
    waiting = waited(ways["own"].given, ends.times)
    name, most = limit(precision)
    speed, ratios = own["rate"].median(), own["rate"] / plain["rate"]
    work = 3 * operations(build_xception(SIZE))
    share = f"{speed * work / most:.1%}" if most else "unknown"
    saved = plain["processor"] / own["processor"]
    losses = table.pivot(index="round", columns="way", values="loss")
    apart = (losses["own"] - losses["plain"]).abs().max()
    print(f"{precision}, batch {batch}, {name}:")
    print(f"  images per second: {spread(own['rate'])}")
    print(f"  plain fit on arrays, {plain_precision}: {spread(plain['rate'])}")
    print(f"  ratio: {spread(ratios)}")
    print(f"  processor seconds per step: {spread(own['processor'] / options.steps)}")
    print(f"  plain fit's: {spread(plain['processor'] / options.steps)}; ratio: {spread(saved)}")
    print(f"  losses: {', '.join(f'{loss:.5f}' for loss in losses['own'])}; apart: {apart:.1e}")
    print(f"  waiting for input: {waiting:.1%}; of the arithmetic limit: {share}")
    for way in ways if options.profile else ():
        print(f"  operations of {way}:")
        profile(ways[way])
    return {
        "device": name, "precision": precision, "batch": batch,
        "images_per_second": round(speed, 2), "plain_precision": plain_precision,
        "ratio_to_plain_fit": round(ratios.median(), 3),
        "ratio_of_processor_time": round(saved.median(), 3), "losses_apart": float(apart),
        "waiting": round(waiting, 4), "of_limit": share,
    }  # fmt: skip


def main(arguments=None):
    """Measure every batch size and precision, print, and write a table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain-precision")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--csv")
    options = parser.parse_args(arguments)
    backend = sys.modules[keras.backend.backend()]
    print(machine(keras, backend, np))
    encoded, kind, table = read_encoded(None, None, 1.3)
    faces, rows = EncodedFaces(encoded, kind, table["video"]), []
    for precision in options.precision:
        for batch in options.batch:
            rows.append(report(faces, batch, precision, options))
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
