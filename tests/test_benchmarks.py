"""The benchmarks measure what they print."""

import importlib.util
import re
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

import xaifake
from chapters import ROOT
from xaifake.explainers.request import prepare

pytestmark = pytest.mark.slow


def load(name):
    path = ROOT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small_network(size=128, precision="float32"):
    """A network of four layers in Xception's place: the benchmark's arithmetic is tested."""
    inputs = keras.Input((size, size, 3))
    start = keras.initializers.GlorotUniform(seed=0)
    x = keras.layers.Conv2D(2, 8, strides=8, dtype=precision, kernel_initializer=start)(inputs)
    x = keras.layers.BatchNormalization(dtype=precision)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype=precision)(x)
    x = keras.layers.Dense(1, dtype="float32", kernel_initializer=start)(x)
    return keras.Model(inputs, x)


@pytest.fixture(scope="module")
def benchmark():
    return load("lrp")


@pytest.fixture(scope="module")
def question():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    outputs = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x))
    return prepare(keras.Model(inputs, outputs), np.zeros((2, 8, 8, 3), np.uint8))


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


SHIPPED = SimpleNamespace(pretrained=lambda scale: SimpleNamespace(model=small_network()))


def test_the_training_benchmark_prints_speed_waiting_and_ratio(capsys, monkeypatch, tmp_path):
    training = load("training")
    monkeypatch.setattr(training, "build_xception", small_network)
    table = tmp_path / "table.csv"
    precisions = ["--precision", "float32", "mixed_float16"]
    few = ["--batch", "4", "--steps", "3", "--rounds", "1"]
    training.main([*few, *precisions, "--csv", str(table)])
    printed = capsys.readouterr().out
    for words in ("cores", "images per second: ", "ratio: ", "waiting for input: ", "limit: "):
        assert words in printed
    written = pd.read_csv(table)
    assert written.precision.to_list() == written.plain_precision.to_list() == precisions[1:]
    # The same weights, pictures and steps: the fused way learns what the plain one does.
    assert (written.losses_apart < [1e-4, 1e-2]).all()
    # 16 x 16 places, each with 8 x 8 x 3 weights for both channels; the end has two weights.
    assert training.operations(small_network()) == 2 * (256 * 192 * 2 + 2)


def test_the_import_benchmark_prints_seconds_beside_numpy(capsys, monkeypatch):
    imports = load("imports")
    monkeypatch.setattr(imports, "IMPORTS", ("import numpy", "import xaifake"))
    imports.main(["--rounds", "1"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert "cores" in head
    assert re.fullmatch(r"import numpy: .* s, \d+ modules, 1.00 times NumPy", lines[0])
    assert re.fullmatch(r"import xaifake: .* s, \d+ modules, \S+ times NumPy", lines[1])
    seconds, modules = imports.measure("import time, wave; time.sleep(0.2)")
    assert seconds >= 0.2 and modules > 10


SHIPPED = SimpleNamespace(pretrained=lambda scale: SimpleNamespace(model=small_network()))


def test_the_training_benchmark_says_where_the_time_goes(capsys, monkeypatch):
    training = load("training")
    monkeypatch.setattr(training, "build_xception", small_network)
    few = ["--batch", "4", "--steps", "3", "--rounds", "1"]
    training.main([*few, "--plain-precision", "mixed_bfloat16", "--profile"])
    printed = capsys.readouterr().out
    assert "plain fit on arrays, mixed_bfloat16: " in printed
    for way in ("own", "plain"):
        table = printed.split(f"operations of {way}:\n")[1].split("  operations of")[0]
        shares = dict(re.findall(r"    (.+): (\S+)%", table))
        assert {"batch norm", "other convolutions", "Adam"} <= set(shares)
        assert sum(map(float, shares.values())) == pytest.approx(100, abs=1)


def test_operations_are_sorted_by_what_they_are_and_where_they_stand():
    kind = load("training").kind_of_operation
    call, convolution = "StatefulPartitionedCall", "block5_sepconv1_1/separable_conv2d"
    assert kind(f"{call}/xception_1/block5_sepconv1_bn_1/moments/mean:Mean") == "batch norm"
    assert kind(f"{call}/xception_1/batch_normalization_1/batchnorm/mul:Mul") == "batch norm"
    assert kind(f"{call}/xception_1/{convolution}:_MklNativeConv2D") == "other convolutions"
    depthwise = f"{convolution}/depthwise:_MklNativeDepthwiseConv2dNative"
    assert kind(f"{call}/gradient_tape/xception_1/{depthwise}") == "depthwise convolutions"
    assert kind(f"{call}/adam/ResourceApplyAdam_3:ResourceApplyAdam") == "Adam"
    assert kind(f"{call}/xception_1/add_1/Add:AddV2") == "the rest"
    assert kind("ExecutorState::Process") is None and kind("EagerExecute") is None


def test_a_step_waits_from_the_end_of_the_one_before_until_its_batch_is_there():
    given, ends = {0: 0.0, 1: 0.5, 2: 2.5, 3: 3.5}, [1.0, 2.0, 3.5, 5.0]
    assert load("training").waited(given, ends) == pytest.approx(0.5 / 4)


def test_the_plan_for_dfd_multiplies_what_it_measures(capsys):
    load("planning").main(["--seconds", "1", "--rounds", "1", "--workers", "1", "10"])
    told = capsys.readouterr().out
    seconds = {
        kind: float(re.search(rf"{kind} video of 1 s, .*? taken: (\S+)", told)[1])
        for kind in ("real", "fake")
    }
    hours = (363 * seconds["real"] + 3068 * seconds["fake"]) / 3600
    assert float(re.search(r"DFD: (\S+) hours", told)[1]) == pytest.approx(hours, abs=0.1)
    assert float(re.search(r"10 workers .*?: (\S+) hours", told)[1]) == pytest.approx(
        hours / 10, abs=0.1
    )


def test_the_explanation_benchmark_measures_each_part(capsys, monkeypatch):
    explanations = load("explanations")
    monkeypatch.setattr(explanations, "Detector", SHIPPED)
    monkeypatch.setattr(explanations, "build_xception", small_network)
    tiny = "--rounds 1 --methods gradient lime --samples 8 --batches 1 --memory 0 --sizes 71"
    tiny += " --growing 32 --growing-samples 4 --steps"
    explanations.main(tiny.split())
    printed = capsys.readouterr().out
    for words in ("cores", "GPU: ", "ratio: ", "rank correlation", "share of forward passes in o"):
        assert words in printed
    for part in ("lime", "method", "size", "pictures", "num_samples"):
        assert any(line.split()[:1] == [part] for line in printed.splitlines())


def test_memory_is_what_a_method_needs_beyond_a_forward_pass():
    # At the height of the gradient the activations of all layers are held, for the way back.
    few, more = (load("explanations").memory("gradient", count)["megabytes"] for count in (4, 16))
    assert 10 < few < more < 10_000


def test_the_ways_to_a_logit_are_compared_on_the_same_pictures(capsys, monkeypatch):
    forward = load("forward")
    monkeypatch.setattr(forward, "Detector", SHIPPED)
    forward.main("--count 40 --rounds 2 --batch 16 --scales 2".split())
    lines = capsys.readouterr().out.splitlines()
    for way in ("Keras", "OpenVINO"):
        (line,) = [line for line in lines if line.startswith(f"{way}: ") and "times Keras" in line]
        assert float(re.search(r"at most (\S+) apart", line)[1]) < 1e-4
    assert re.search(r"^Keras: .* 1\.00 \(1\.00 to 1\.00\) times Keras", "\n".join(lines), re.M)


def test_the_machine_is_named_with_the_flags_that_a_network_needs(monkeypatch, tmp_path):
    measure = load("measure")
    said = "model name\t: Some Processor\nflags\t\t: fpu avx2 avx512f amx_bf16\n"
    (tmp_path / "cpuinfo").write_text(said + "model name\t: Another\nflags\t\t: none\n")
    monkeypatch.setattr(measure, "Path", lambda _: tmp_path / "cpuinfo")
    assert measure.machine(np).startswith("Some Processor (AVX2, AVX-512, AMX), ")
    (tmp_path / "cpuinfo").unlink()
    assert "flags unknown" in measure.machine(np)
