"""How fast LRP is, beside iNNvestigate, zennit and one forward pass, on the shipped Xception.

    python benchmarks/lrp.py [--zennit PYTHON] [--rounds 3] [--store]

For each rule the engines take turns in the same minutes; the figures are medians over the rounds,
with the smallest and largest. PYTHON is that of an environment with torch and zennit, which are
none of the project's own packages:

    python -m venv /tmp/zennit && /tmp/zennit/bin/pip install torch torchvision zennit

zennit gets the same network, folded, with the two halves of each separable convolution as two
layers, as it has them; its alpha-beta maps are therefore other maps. `--store` writes the table
that chapter 07_lrp shows.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
BATCH = 32
RULES = {
    "lrp.epsilon": 2.5,
    "lrp.alpha_1_beta_0": 5.0,
    "lrp.alpha_2_beta_1": 8.0,
    "lrp.sequential_preset_b_flat": 8.0,
    "lrp.z_plus_fast": None,
    "lrp.flat": None,
}
FIRST_ROUNDS = 3
FIRST = """
import sys, time
start = float(sys.argv[1])
import numpy as np
import xaifake
from xaifake.detector import Detector
model = Detector.pretrained(2.0).model
images = np.load(sys.argv[2])[:1]
loaded = time.time()
xaifake.explain(model, images, sys.argv[3])
print(time.time() - start, time.time() - loaded)
"""
FIRST_INNVESTIGATE = """
import os, pickle, sys, time
start = float(sys.argv[1])
os.environ |= {"TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
import numpy as np
from xaifake.explainers import innvestigate_worker as worker
worker._prepare()
import innvestigate
layers, images = pickle.load(open(sys.argv[2], "rb"))
loaded = time.time()
worker.put("model", layers)
worker.analyze("model", sys.argv[3], {}, images, 0)
print(time.time() - start, time.time() - loaded)
"""


class Own:
    """This package, in this process."""

    def __init__(self, request):
        self.request = request

    def run(self, rule):
        """Explain the batch; return seconds and maps."""
        from xaifake.explainers.lrp import METHODS

        start = time.perf_counter()
        maps, _ = METHODS[rule](self.request, batch_size=BATCH, progress=False)
        return time.perf_counter() - start, maps


class Library:
    """iNNvestigate in its worker, without what this package does around it."""

    def __init__(self, request):
        from xaifake.explainers import innvestigate

        self.images = request.images
        self._call = innvestigate._call
        layers = innvestigate.describe(request)
        self._call("put", "model", layers)

    def run(self, rule):
        """Explain the batch; return seconds and maps."""
        start = time.perf_counter()
        maps = self._call("analyze", "model", rule, {}, self.images, 0, False)
        return time.perf_counter() - start, maps


class Zennit:
    """zennit in a process of its own, which times itself."""

    def __init__(self, python, folder):
        self.python, self.folder = python, folder
        command = [python, HERE / "zennit_peer.py", folder]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, rule):
        """Explain the batch; return seconds and maps."""
        print(rule, file=self.process.stdin, flush=True)
        seconds = float(self.process.stdout.readline())
        return seconds, np.load(self.folder / "maps.npy")


def export(request, folder):
    """Write the folded network and the pictures for the other processes."""
    from xaifake.explainers import innvestigate
    from xaifake.explainers.lrp.batch_norms import MergePlan
    from xaifake.explainers.lrp.layers import steps

    folding = MergePlan(request.model)
    found = steps(folding.build(), folding.weights())
    layers = []
    for step in found:
        layer, arrays = step.node.layer, {}
        if step.linear is not None:
            arrays = {f"kernel{n}": k for n, k in enumerate(step.linear.kernels)}
            arrays["bias"] = step.linear.bias
        config = {k: getattr(layer, k, None) for k in ("strides", "padding", "pool_size")}
        activation = step.node.activation
        layers.append(
            (type(layer).__name__, layer.name, step.node.inputs, config, activation, arrays)
        )
    with open(folder / "network.pickle", "wb") as file:
        pickle.dump((layers, request.images), file)
    with open(folder / "innvestigate.pickle", "wb") as file:
        pickle.dump((innvestigate.describe(request), request.images[:1]), file)


def forward_seconds(request):
    """Return a function that times one forward pass of the given network."""
    import tensorflow as tf

    run = tf.function(lambda x: request.model(x, training=False))
    run(request.images)

    def measure():
        start = time.perf_counter()
        run(request.images).numpy()
        return time.perf_counter() - start

    return measure


def throughput(engines, forward, rounds):
    """Let the engines take turns; return one row per rule, engine and round."""
    rows, first = [], {}
    for rule in RULES:
        for name, engine in engines.items():  # builds what is built once
            first[name] = engine.run(rule)[1].sum(axis=-1)
        for number in range(rounds):
            unit = forward() / BATCH
            for name, engine in engines.items():
                seconds = engine.run(rule)[0] / BATCH
                row = {"rule": rule, "engine": name, "round": number}
                rows.append(row | {"maps_per_second": 1 / seconds, "passes": seconds / unit})
        own = first["xaifake"]
        for name, maps in first.items():
            alike = np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(own, maps)])
            for row in rows:
                if row["rule"] == rule and row["engine"] == name:
                    row["correlation"] = alike
        print(pd.DataFrame(rows).query("rule == @rule").groupby("engine").median(numeric_only=True))
    return pd.DataFrame(rows)


def first_maps(folder, python):
    """Time the first map of fresh processes: in all, and once packages and weights are loaded."""
    commands = {
        "xaifake": ([sys.executable, "-c", FIRST], folder / "images.npy"),
        "innvestigate": (
            [sys.executable, "-c", FIRST_INNVESTIGATE],
            folder / "innvestigate.pickle",
        ),
    }
    if python:
        commands["zennit"] = ([python, HERE / "zennit_peer.py", "--first"], folder)
    rows = []
    for rule in ("lrp.epsilon", "lrp.alpha_2_beta_1"):
        for number in range(FIRST_ROUNDS):
            for name, (command, data) in commands.items():
                arguments = [*command, str(time.time()), str(data), rule]
                environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
                answer = subprocess.run(
                    arguments, env=environment, capture_output=True, text=True, check=True
                )
                total, after = map(float, answer.stdout.split()[-2:])
                row = {"rule": rule, "engine": name, "round": number}
                rows.append(row | {"process_s": total, "first_map_s": after})
    return pd.DataFrame(rows)


def summarise(speed, first):
    """Return medians and spread by rule and engine, with ratios to this package."""
    table = speed.groupby(["rule", "engine"], sort=False).agg(
        maps_per_second=("maps_per_second", "median"),
        slowest=("maps_per_second", "min"),
        fastest=("maps_per_second", "max"),
        passes=("passes", "median"),
        correlation=("correlation", "median"),
    )
    ratios = [
        table.loc[(rule, "xaifake"), "maps_per_second"] / row.maps_per_second
        for (rule, _), row in table.iterrows()
    ]
    table["times_slower"] = ratios
    medians = first.groupby(["rule", "engine"])[["process_s", "first_map_s"]].median()
    spread = first.groupby(["rule", "engine"]).first_map_s.agg(["min", "max"])
    spread.columns = ["first_map_min_s", "first_map_max_s"]
    return table.join(medians).join(spread).reset_index()


def main():
    """Measure, print, and store the table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--zennit", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", action="store_true")
    arguments = parser.parse_args()
    from xaifake.data import load_faces
    from xaifake.detector import Detector
    from xaifake.explainers.request import prepare
    from xaifake.explainers.stored import BENCHMARKS

    images = load_faces(scale=2.0).images[:BATCH]
    request = prepare(Detector.pretrained(2.0).model, images)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.save(folder / "images.npy", images)
        export(request, folder)
        first = first_maps(folder, arguments.zennit)
        engines = {"xaifake": Own(request), "innvestigate": Library(request)}
        if arguments.zennit:
            engines["zennit"] = Zennit(arguments.zennit, folder)
        speed = throughput(engines, forward_seconds(request), arguments.rounds)
    table = summarise(speed, first)
    print(table.to_string(float_format="{:.3g}".format))
    for rule, aim in RULES.items():
        if aim:
            row = table[(table.rule == rule) & (table.engine == "xaifake")].iloc[0]
            print(f"{rule}: {row.passes:.2f} forward passes per map, aim {aim}")
    print(json.dumps({"cores": os.cpu_count(), "batch": BATCH}))
    if arguments.store:
        BENCHMARKS.mkdir(parents=True, exist_ok=True)
        table.to_csv(BENCHMARKS / "lrp.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
