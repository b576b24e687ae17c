"""The benchmarks measure what they print."""

import importlib.util

import keras
import numpy as np
import pandas as pd
import pytest

import xaifake
from chapters import ROOT
from xaifake.explainers.question import ask


def load(name):
    path = ROOT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark():
    return load("lrp")


@pytest.fixture(scope="module")
def question():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    outputs = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x))
    return ask(keras.Model(inputs, outputs), np.zeros((2, 8, 8, 3), np.uint8))


def test_it_times_rules_that_both_engines_have(benchmark):
    assert set(benchmark.RULES) <= set(xaifake.methods()) & set(xaifake.methods("innvestigate"))


def test_it_times_this_package_with_the_maps_that_explain_gives(benchmark, question):
    seconds, maps = benchmark.Own(question).run("lrp.flat")
    assert seconds > 0
    assert np.array_equal(maps, xaifake.explain(question.model, question.images, "lrp.flat"))
    assert benchmark.forward_seconds(question)() > 0


def test_ratios_are_of_medians_and_to_this_package(benchmark):
    rates = {"xaifake": (20, 30, 10), "zennit": (5, 4, 6)}
    rows = [
        {"rule": "lrp.flat", "engine": engine, "maps_per_second": rate, "passes": 60 / rate,
         "correlation": 1.0}
        for engine, several in rates.items()
        for rate in several
    ]  # fmt: skip
    first = [
        {"rule": "lrp.flat", "engine": engine, "process_s": 9.0, "first_map_s": seconds}
        for engine in rates
        for seconds in (1.0, 3.0, 2.0)
    ]
    table = benchmark.summarise(pd.DataFrame(rows), pd.DataFrame(first)).set_index("engine")
    assert table.maps_per_second.to_dict() == {"xaifake": 20, "zennit": 5}
    assert table.times_slower.to_dict() == {"xaifake": 1, "zennit": 4}
    assert (table.slowest["zennit"], table.fastest["zennit"]) == (4, 6)
    assert table.passes["xaifake"] == 3
    assert table.loc["zennit", "first_map_s":].to_list() == [2, 1, 3]


def test_ways_of_extraction_are_compared_by_the_squares_that_both_accept():
    plain = pd.DataFrame({"video": "a", "frame": range(4), "accepted": [True, True, True, False]})
    plain = plain.assign(left=10, top=20, side=100)
    fast = plain.assign(left=[10, 15, 30, 10], accepted=[True, True, True, True])
    # 95 of 105 columns shared, then 80 of 120; the last frame is not accepted by both.
    both, alike = load("extraction").compare(plain, fast)
    assert both == 3 and alike == pytest.approx(2 / 3)


def test_the_extraction_benchmark_prints_ratio_and_shares(capsys):
    load("extraction").main(["--clips", "1", "--frames", "3", "--rounds", "1", "--processes", "1"])
    printed = capsys.readouterr().out
    parts = ("decoding ", "searching ", "cutting and JPEG ")
    for words in ("cores", "ratio: ", "IoU over 0.9: 100.0%", *parts, "1 processes: "):
        assert words in printed


def test_the_explanation_benchmark_measures_each_part(capsys):
    tiny = "--rounds 1 --methods gradient lime --samples 8 --batches 1 --memory 0 --sizes 71"
    tiny += " --growing 32 --growing-samples 4 --steps"
    load("explanations").main(tiny.split())
    printed = capsys.readouterr().out
    for words in ("cores", "GPU: ", "ratio: ", "share of forward passes in ours: "):
        assert words in printed
    for part in ("lime", "method", "size", "pictures", "num_samples"):
        assert any(line.split()[:1] == [part] for line in printed.splitlines())


def test_memory_is_what_a_method_needs_beyond_a_forward_pass():
    found = load("explanations").memory("gradient", 4)
    assert found["at"] == 4 and 0 <= found["megabytes"] < 10_000
