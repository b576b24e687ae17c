"""OpenVINO answers as Keras does, sees what changes, keeps quiet, and may be missing."""

import gc
import os
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from xaifake.data import load_faces
from xaifake.detector import Detector, evaluate, forward as module, preprocess
from xaifake.detector.forward import MIN_FOR_OPENVINO, forward, in_batches
from xaifake.errors import UserError

layers = keras.layers
SIZE = 12


def network(seed=0, activation="relu", head=1):
    """Return a small network with each kind of layer that Xception has."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = skip = layers.Conv2D(8, 3, padding="same", activation=activation, name="first")(inputs)
    x = layers.BatchNormalization()(layers.SeparableConv2D(8, 3, padding="same")(x))
    x = layers.MaxPooling2D(2)(layers.Add()([layers.ReLU()(x), skip]))
    return keras.Model(inputs, layers.Dense(head)(layers.GlobalAveragePooling2D()(x)))


def floats(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)


def pictures(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def eager(model, images):
    return np.asarray(model(images, training=False))


def by(engine, model, images, **options):
    answer = forward(model, len(images), engine=engine, **options)
    assert answer.engine == engine
    return answer(in_batches(images))


@pytest.fixture
def alone(monkeypatch):
    """Let the variable of the environment say nothing."""
    monkeypatch.delenv(module.VARIABLE, raising=False)


@pytest.fixture
def without_openvino(monkeypatch, alone):
    find = module.importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name)
    )


@pytest.mark.parametrize("engine", module.ENGINES)
@pytest.mark.parametrize("count", [1, 31, 70])
def test_every_engine_gives_the_networks_logits_in_their_order(engine, count):
    model, images = network(head=3), floats(count)
    found = by(engine, model, images)
    assert found.shape == (count, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found, eager(model, images), atol=1e-5)


@pytest.mark.parametrize("engine", module.ENGINES)
def test_no_pictures_have_no_logits(engine):
    assert by(engine, network(), floats(0)).shape == (0, 1)


def test_openvino_agrees_with_keras_on_the_shipped_detector():
    detector, images = Detector.pretrained(2.0), load_faces(scale=2.0).images[:40]
    one, other = (detector.logits(images, engine=engine) for engine in module.ENGINES)
    assert np.ptp(one) > 1
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_picture_has_the_same_logit_to_the_bit_in_whatever_company():
    model, images = network(), floats(70)
    answer = forward(model, 70, engine="openvino")
    whole = answer(in_batches(images))
    np.testing.assert_array_equal(answer([images[33:35]]), whole[33:35])
    np.testing.assert_array_equal(answer(in_batches(images)), whole)


@pytest.mark.parametrize("engine", module.ENGINES)
def test_weights_that_change_in_place_are_seen(engine):
    model, images = network(), floats(40)
    before = by(engine, model, images)
    for weight in model.weights:
        weight.assign(1.5 * weight)
    after = by(engine, model, images)
    np.testing.assert_allclose(after, eager(model, images), atol=1e-4)
    assert np.abs(after - before).max() > 0.1 * np.abs(before).max()


@pytest.mark.parametrize("engine", module.ENGINES)
def test_an_activation_that_is_replaced_is_seen(engine):
    model, images = network(), floats(40)
    before = by(engine, model, images)
    model.get_layer("first").activation = keras.activations.tanh
    after = by(engine, model, images)
    np.testing.assert_allclose(after, eager(model, images), atol=1e-5)
    assert np.abs(after - before).max() > 0.1 * np.abs(before).max()


def test_keras_own_graph_of_before_is_not_trusted():
    model, images = network(), floats(8)
    model.predict_on_batch(images)  # traced by somebody else
    model.get_layer("first").activation = keras.activations.tanh
    np.testing.assert_allclose(by("keras", model, images), eager(model, images), atol=1e-5)


def test_a_model_is_converted_once_and_goes_with_its_owner(monkeypatch):
    made = []
    convert = module._Converted.convert
    monkeypatch.setattr(
        module._Converted, "convert", lambda self, model: made.append(1) or convert(self, model)
    )
    model, images = network(), floats(8)
    for size in (8, 4, 8):
        forward(model, 8, size, "openvino")(in_batches(images, size))
    assert len(made) == 1
    known, trace = len(module._converted), weakref.ref(model)
    del model
    gc.collect()
    assert trace() is None and len(module._converted) < known


def test_the_call_alone_decides(alone, monkeypatch):
    monkeypatch.setattr(module, "_is_faster", lambda: True)
    model = network()
    assert forward(model, MIN_FOR_OPENVINO - 1).engine == "keras"
    assert forward(model, MIN_FOR_OPENVINO).engine == "openvino"
    assert forward(model, MIN_FOR_OPENVINO - 1).engine == "keras"  # though it is converted now
    monkeypatch.setenv(module.VARIABLE, "keras")
    assert forward(model, MIN_FOR_OPENVINO).engine == "keras"
    monkeypatch.setenv(module.VARIABLE, "openvino")
    assert forward(model, 1).engine == "openvino"
    assert forward(model, MIN_FOR_OPENVINO, engine="keras").engine == "keras"


def test_the_same_call_gives_the_same_bytes(alone):
    model, images = network(), pictures(MIN_FOR_OPENVINO)
    few, many = Detector(model).logits(images[:40]), Detector(model).logits(images)
    np.testing.assert_array_equal(Detector(model).logits(images[:40]), few)
    np.testing.assert_array_equal(Detector(model).logits(images), many)
    np.testing.assert_allclose(many[:40], few, atol=1e-5)
    wanted = eager(model, preprocess(images))[:, 0]
    np.testing.assert_allclose(many, wanted, atol=1e-5)


def test_calls_that_are_parts_of_a_larger_one_can_say_so(alone, monkeypatch):
    seen = []
    choose = module._choose
    monkeypatch.setattr(module, "_choose", lambda *given: seen.append(given[0]) or choose(*given))
    Detector(network()).logits(pictures(3), count=7)
    assert seen == [7]


def test_without_openvino_all_is_as_with_keras(without_openvino):
    model, images = network(), pictures(MIN_FOR_OPENVINO)
    found = Detector(model).logits(images)
    np.testing.assert_array_equal(found, Detector(model).logits(images, engine="keras"))
    with pytest.raises(UserError, match="not installed: run"):
        Detector(model).logits(images, engine="openvino")
    with pytest.raises(UserError, match="not installed: run"):
        Detector(model).logits(images, precision="bfloat16")


@pytest.mark.filterwarnings("error")
def test_a_model_that_cannot_be_converted_is_answered_by_keras_with_one_sentence():
    def double(x):
        return tf.ensure_shape(tf.py_function(lambda y: 2 * y, [x], tf.float32), x.shape)

    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Lambda(double, output_shape=(SIZE, SIZE, 3))(inputs)
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))
    images = pictures(5)
    with pytest.warns(UserWarning, match="OpenVINO cannot stand in") as told:
        found = Detector(model).logits(images, engine="openvino")
    assert len(told) == 1 and "\n" not in str(told[0].message)
    np.testing.assert_array_equal(found, Detector(model).logits(images, engine="keras"))
    Detector(model).logits(images, engine="openvino")  # is not told again


def test_a_network_that_comes_out_otherwise_is_not_used(monkeypatch):
    model = network()
    answer = module._Network.__call__
    monkeypatch.setattr(module._Network, "__call__", lambda *given: answer(*given) + 1e-3)
    with pytest.warns(UserWarning, match="apart from Keras' own"):
        assert forward(model, 8, engine="openvino").engine == "keras"


def test_batches_may_be_made_while_the_network_runs_and_may_fail():
    model, images = network(), floats(64)
    answer = forward(model, 64, engine="openvino")

    def failing():
        yield images[:32]
        raise KeyError("lost")

    with pytest.raises(KeyError):
        answer(failing())
    found = answer(in_batches(images))
    np.testing.assert_allclose(found, eager(model, images), atol=1e-5)


def test_bfloat16_is_near_and_says_what_it_is(alone):
    if "BF16" not in module._capabilities():
        pytest.skip("a processor without bfloat16")
    model, images = network(), floats(64)
    answer = forward(model, 64, precision="bfloat16")
    assert (answer.engine, answer.precision) == ("openvino", "bfloat16")
    found, wanted = answer(in_batches(images)), eager(model, images)
    assert 0 < np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


def test_wishes_that_cannot_be_met_are_refused(alone, monkeypatch):
    model = network()
    with pytest.raises(UserError, match="No engine 'torch': give keras or openvino"):
        forward(model, 1, engine="torch")
    with pytest.raises(UserError, match="No precision 'float16'"):
        forward(model, 1, precision="float16")
    with pytest.raises(UserError, match="Keras answers in float32"):
        forward(model, 1, engine="keras", precision="bfloat16")
    monkeypatch.setattr(module, "_capabilities", lambda: ["FP32"])
    with pytest.raises(UserError, match="does not calculate in bfloat16"):
        forward(model, 1, precision="bfloat16")
    monkeypatch.setenv(module.VARIABLE, "tpu")
    with pytest.raises(UserError, match="XAIFAKE_ENGINE"):
        forward(model, 1)


def test_what_proves_a_number_takes_no_bfloat16():
    with pytest.raises(TypeError, match="precision"):
        evaluate(Detector(network()), None, precision="bfloat16")


QUIET = """
import os, socket, sys, threading, urllib.request
home = os.environ["HOME"]
def refuse(*given, **options):
    open(home + "_asked", "a").write("asked")  # the sender's is a process of its own
    raise OSError("no network here")
socket.socket.connect = urllib.request.urlopen = socket.getaddrinfo = refuse
{before}
import keras, numpy as np
from xaifake.detector.forward import forward
inputs = keras.Input((8, 8, 3))
model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(inputs)))
answer = forward(model, 4, engine="openvino")
answer([np.zeros((4, 8, 8, 3), np.float32)])
assert answer.engine == "openvino"
{after}
print([os.path.join(folder, name) for folder, _, names in os.walk(home) for name in names])
"""


def run_quietly(home, before="", after=""):
    code = QUIET.format(before=before, after=after)
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD")}
    environment |= {"HOME": str(home), "USERPROFILE": str(home)}
    environment |= {"KERAS_HOME": f"{home}_other", "MPLCONFIGDIR": f"{home}_other"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert not os.path.exists(f"{home}_asked")


def test_openvino_reports_nothing_to_its_makers(tmp_path):
    after = (
        "assert not any('openvino_telemetry' in name for name in sys.modules), 'library loaded'\n"
        "from openvino.tools.ovc import telemetry_utils, telemetry_stub\n"
        "assert telemetry_utils.tm is telemetry_stub"
    )
    run_quietly(tmp_path, after=after)


def test_where_somebody_else_imported_openvino_our_conversions_are_not_reported(tmp_path):
    before = (
        "import openvino_telemetry\ntold = []\n"
        "openvino_telemetry.Telemetry.init = lambda self, *given, **options: None\n"
        "for name in ('send_event', 'send_error', 'start_session', 'end_session'):\n"
        "    setattr(openvino_telemetry.Telemetry, name, lambda *a, **k: told.append(a))\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "assert telemetry_utils.tm is openvino_telemetry and told\n"
        "told.clear()"
    )
    after = "assert telemetry_utils.tm is openvino_telemetry and not told"
    run_quietly(tmp_path, before, after)
