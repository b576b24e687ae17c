"""What explanations cost: LIME beside the lime package, every method, memory and growth.

    python benchmarks/explanations.py [--rounds 3] [--methods gradient ...] [--only-lime] [--store]

Both LIMEs get the same picture, segments and samples, and take turns; lime's own has its defaults
and asks Keras' `predict_on_batch`. Where the processor calculates in bfloat16, ours takes a turn in
it too. The methods' unit is one forward pass of the network, as a
graph and in batches of the same size. LIME explains one face at any batch, of perturbed pictures;
Integrated Gradients one, of points on its path. Memory is what a fresh process needs at its height
beyond that of a forward pass. All is measured on the device that TensorFlow takes: a GPU where
there is one. `--store` writes the table to xaifake/assets/benchmarks.
"""

import argparse
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from lime.lime_image import LimeImageExplainer
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine, spread  # noqa: E402
from xaifake import explain, methods  # noqa: E402
from xaifake.data import load_faces  # noqa: E402
from xaifake.detector import Detector, build_xception  # noqa: E402
from xaifake.errors import UserError  # noqa: E402
from xaifake.explainers import lime  # noqa: E402
from xaifake.explainers.request import batches, prepare  # noqa: E402
from xaifake.explainers.stored import BENCHMARKS  # noqa: E402
from xaifake.progress import progress_bar  # noqa: E402

OPTIONS = {
    "lime": {"segmentation": "slic"},
    "lrp": {"rule": "Epsilon"},
    "lrp.alpha_beta": {"alpha": 3},
    "lrp.sequential_preset_b_flat_until_idx": {"until_layer_idx": 5},
}
ONE_FACE = ("lime", "integrated_gradients")
CURVES = ("gradient", "grad_cam", "lrp.sequential_preset_b_flat")
MANY = 32  # pictures of a curve: from so many on, gradients run as graphs
SIZE_BATCH = 8  # so that the largest pictures fit


def timed(function, rounds):
    """Return the seconds of each round after one that is not counted."""
    function()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


def forward(model, images, batch):
    """Return a function that passes pictures through the network, as a graph, in batches."""
    request = prepare(model, images)
    run = tf.function(lambda x: model(x, training=False), autograph=False, reduce_retracing=True)
    starts = batches(len(images), batch)
    return lambda: [run(request.images[i : i + batch]).numpy() for i in starts]


def row(part, method, at, seconds, faces, passes):
    """Return a row of the table: seconds per face, and the same in forward passes."""
    each = [took / faces for took in seconds]
    cost = dict(zip(("seconds", "fastest", "slowest"), (np.median(each), min(each), max(each))))
    return {"part": part, "method": method, "at": at, **cost, "passes": passes}


def measure(part, model, images, batch, names, at, rounds, **more):
    """Yield a row for a forward pass and for each method."""
    seconds = timed(forward(model, images, batch), rounds)
    unit = np.median(seconds) / len(images)
    yield row(part, "forward pass", at, seconds, len(images), 1.0)
    for name in names:
        faces = images[:1] if name in ONE_FACE else images
        options = OPTIONS.get(name, {}) | more | {"batch_size": batch, "progress": False}
        seconds = timed(partial(explain, model, faces, name, **options), rounds)
        yield row(part, name, at, seconds, len(faces), np.median(seconds) / len(faces) / unit)


def compare_lime(model, images, samples, rounds):
    """Let both LIMEs explain one picture in turn; print, and return their rows."""
    request = prepare(model, images[:1])
    image, segments = request.images[0], lime.segment(request, "slic")[0]
    spent = []

    def ours(precision):
        asked = lime.Classifier(request, samples, precision=precision)

        def classify(pictures):
            start = time.perf_counter()
            answer = asked(pictures)
            spent.append(time.perf_counter() - start)
            return answer

        return lambda: lime.fit_surrogate(classify, image, segments, None, samples).weights

    def both(pictures):
        logits = model.predict_on_batch(pictures.astype(np.float32))
        probability = 1 / (1 + np.exp(-logits.astype(float)))
        return np.hstack([1 - probability, probability])

    def theirs():
        explainer = LimeImageExplainer(random_state=0)
        found = explainer.explain_instance(
            image, both, num_samples=samples,
            segmentation_fn=lambda _: segments, random_seed=0,
        )  # fmt: skip
        return np.array([weight for _, weight in sorted(found.local_exp[1])])

    ways = {"xaifake": ours("float32"), "lime": theirs}
    try:
        ways["xaifake, bfloat16"] = ours("bfloat16")
    except UserError as error:
        print(f"LIME in bfloat16: {error}")
    weights = {name: run() for name, run in ways.items()}
    seconds, inside = {name: [] for name in ways}, []
    for _ in range(rounds):
        for name, run in ways.items():
            spent.clear()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
            if name == "xaifake":
                inside.append(sum(spent))
    largest = np.abs(weights["lime"]).max()
    print(f"LIME, {samples} samples, {segments.max() + 1} segments, coefficients to {largest:.2g}")
    for name in ways:
        ratios = [b / a for a, b in zip(seconds[name], seconds["lime"])]
        apart = np.abs(weights[name] - weights["lime"]).max()
        alike = spearmanr(weights[name][segments].ravel(), weights["lime"][segments].ravel())[0]
        print(
            f"{name}: {spread(seconds[name])} s; ratio: {spread(ratios)}; coefficients at most "
            f"{apart:.1e} apart, rank correlation of the maps {alike:.4f}"
        )
    share = sum(inside) / sum(seconds["xaifake"])
    print(f"share of forward passes in ours: {share:.1%}")
    return [row("lime", name, samples, seconds[name], 1, np.nan) for name in ("xaifake", "lime")]


def memory(name, count):
    """Return the megabytes that a method needs beyond a forward pass, measured in a new process."""
    command = [sys.executable, __file__, "--peak", name, "--memory", str(count)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"part": "memory", "method": name, "at": count, "megabytes": float(answer.stdout)}


def peak(name, count):
    """Print how much this process grows at its height when a method runs after a forward pass."""
    model, images = Detector.pretrained(2.0).model, load_faces(scale=2.0).images[:count]
    forward(model, images, count)()
    before = height()
    faces = images[:1] if name in ONE_FACE else images
    explain(model, faces, name, batch_size=count, progress=False, **OPTIONS.get(name, {}))
    print(height() - before)


def height():
    """Return the most megabytes that this process has held at a time."""
    try:
        # getrusage's figure begins with that of the process that started this one.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def growth(model, images, options):
    """Yield rows of the curves: size, batch, samples and steps."""
    names = [name for name in CURVES if name in options.methods]
    for size in options.sizes:
        pictures = np.random.default_rng(0).integers(0, 256, (MANY, size, size, 3), dtype=np.uint8)
        larger = build_xception(size)
        yield from measure("size", larger, pictures, SIZE_BATCH, names, size, options.rounds)
    for count in options.growing:
        yield from measure("pictures", model, images[:MANY], count, names, count, options.rounds)
    for name, key, values in (
        ("lime", "num_samples", options.growing_samples),
        ("integrated_gradients", "steps", options.steps),
    ):
        for value in values if name in options.methods else ():
            more = {key: value}
            yield from measure(
                key, model, images[:MANY], MANY, [name], value, options.rounds, **more
            )


def parse(arguments):
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=methods(), choices=methods())
    parser.add_argument("--samples", type=int, default=1000, help="of LIME, but for its curve")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 32])
    parser.add_argument("--memory", type=int, default=64, help="batch at which memory is measured")
    parser.add_argument("--sizes", type=int, nargs="*", default=[96, 128, 192, 256])
    parser.add_argument("--growing", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--growing-samples", type=int, nargs="*", default=[125, 250, 500, 1000])
    parser.add_argument("--steps", type=int, nargs="*", default=[16, 32, 64, 128])
    parser.add_argument("--only-lime", action="store_true", help="compare both LIMEs, nothing else")
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments=None):
    """Measure, print, and store the table if asked to."""
    options = parse(arguments)
    if options.peak:
        return peak(options.peak, options.memory)
    devices = tf.config.list_physical_devices("GPU")
    gpu = [tf.config.experimental.get_device_details(device)["device_name"] for device in devices]
    print(f"{machine(tf, np)}, GPU: {', '.join(gpu) or 'none'}")
    model, images = Detector.pretrained(2.0).model, load_faces(scale=2.0).images
    OPTIONS["lime"]["num_samples"] = options.samples
    rows = compare_lime(model, images, options.samples, options.rounds)
    if options.only_lime:
        return
    for batch in options.batches:
        found = measure(
            "method", model, images[:batch], batch, options.methods, batch, options.rounds
        )
        rows += progress_bar(found, show=True, unit="method", total=len(options.methods) + 1)
    if options.memory:
        bar = progress_bar(options.methods, show=True, unit="process")
        rows += [memory(name, options.memory) for name in bar]
    rows += progress_bar(growth(model, images, options), show=True, unit="point", total=None)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.3g}".format, na_rep=""))
    if options.store:
        BENCHMARKS.mkdir(parents=True, exist_ok=True)
        table.to_csv(BENCHMARKS / "explanations.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
