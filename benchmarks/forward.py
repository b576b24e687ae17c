"""How fast the shipped detectors answer: Keras beside OpenVINO, in float32 and in bfloat16.

    python benchmarks/forward.py [--count 128] [--rounds 3] [--batch 32]

All take turns on the same pictures. Keras' rate is that of `predict_on_batch`, to which OpenVINO's
are compared; the first answer, for which a network is traced or converted, is timed apart. Bfloat16
is left out where the processor does not calculate in it.
"""

import argparse
import importlib.util
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine, spread  # noqa: E402
from xaifake.data import load_faces  # noqa: E402
from xaifake.detector import Detector, preprocess  # noqa: E402
from xaifake.detector.forward import forward, in_batches  # noqa: E402
from xaifake.errors import UserError  # noqa: E402

WAYS = {
    "Keras": {"engine": "keras"},
    "OpenVINO": {"engine": "openvino"},
    "OpenVINO, bfloat16": {"engine": "openvino", "precision": "bfloat16"},
}


def prepare(model, count, batch):
    """Return a function to logits for each way that is to be had here."""
    found = {}
    for name, options in WAYS.items():
        try:
            found[name] = forward(model, count, batch, **options)
        except UserError as error:
            print(f"{name}: {error}")
    return found


def timed(answer, images, batch):
    """Return the logits of some pictures, and the seconds that they took."""
    start = time.perf_counter()
    logits = answer(in_batches(images, batch))
    return logits, time.perf_counter() - start


def compare(model, images, batch, rounds):
    """Let the ways answer in turn, print, and return images per second by way and round."""
    logits, rates = {}, {}
    start = time.perf_counter()
    answers = prepare(model, len(images), batch)
    prepared = time.perf_counter() - start
    for name, answer in answers.items():
        logits[name], first = timed(answer, images[:batch], batch)
        print(f"{name}: the first batch takes {first:.1f} s")
    print(f"to convert the network takes {prepared:.1f} s")
    for _ in range(rounds):
        for name, answer in answers.items():
            logits[name], seconds = timed(answer, images, batch)
            rates.setdefault(name, []).append(len(images) / seconds)
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(values, rates["Keras"])]
        apart = np.abs(logits[name] - logits["Keras"]).max()
        print(
            f"{name}: {spread(values)} images per second, {spread(ratios)} times Keras, "
            f"logits at most {apart:.1e} apart"
        )
    return rates


def main(arguments=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=128, help="pictures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--scales", type=float, nargs="+", default=[1.3, 2.0])
    options = parser.parse_args(arguments)
    print(machine(tf, keras, np))
    if importlib.util.find_spec("openvino") is None:
        print("OpenVINO is not installed.")
    for scale in options.scales:
        print(f"detector of scale {scale}")
        images = preprocess(load_faces(scale=scale).images[: options.count])
        compare(Detector.pretrained(scale).model, images, options.batch, options.rounds)


if __name__ == "__main__":
    main()
