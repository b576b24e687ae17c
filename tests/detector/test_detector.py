"""A network becomes a detector only where its answers mean what the book takes them for."""

import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from planted import pictures
from scipy.special import expit, logit

import xaifake
from xaifake import Detector
from xaifake.data.dataset import Faces
from xaifake.detector import (
    build_xception,
    evaluate,
    load_weights,
    preprocess,
    save_weights,
    top_true_positives,
)
from xaifake.errors import UserError
from xaifake.judge import patch_effects, perturbation_curve
from xaifake.judge.maps import write_maps

L = keras.layers
SIDE = 8


def faces_told_by_red(count=40, seed=0):
    """Return faces of which the fake ones are red, so that a weight on red tells them."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(count) % 2
    images[labels == 1, ..., 0] += 130
    table = pd.DataFrame({"video": range(count), "label": labels, "target": range(count)})
    return Faces(images, labels, np.zeros(images.shape[:3], bool), None, table, 2.0)


FACES = faces_told_by_red()


def mean_red(value_range=(-1, 1), sign=1):
    """Return the logit of a detector that is right about these faces, as layers of Keras."""
    low, high = value_range
    kernel = np.zeros((3, 1), np.float32)
    kernel[0] = sign * 20 / (high - low)
    dense = L.Dense(1, name="end")
    dense.build((None, 3))
    # Above 125 of 255 is fake.
    dense.set_weights([kernel, -kernel[0] * (low + 125 / 255 * (high - low))])
    return [L.GlobalAveragePooling2D(), dense]


def network(*last, value_range=(-1, 1), sign=1):
    return keras.Sequential([keras.Input((SIDE, SIDE, 3)), *mean_red(value_range, sign), *last])


def two_classes(fake, *last):
    (kernel, bias), dense = mean_red()[1].get_weights(), L.Dense(2)
    first = [keras.Input((SIDE, SIDE, 3)), L.GlobalAveragePooling2D(), dense]
    model = keras.Sequential([*first, *last])
    both, biases = np.full((3, 2), 0.3, np.float32), np.full(2, 0.1, np.float32)
    both[:, fake], biases[fake] = kernel[:, 0], bias[0]
    dense.set_weights([both, biases])
    return model


def nested(inner):
    return keras.Sequential([keras.Input((SIDE, SIDE, 3)), L.Identity(), inner])


def as_operation(function):
    inputs = keras.Input((SIDE, SIDE, 3))
    return keras.Model(inputs, function(network()(inputs)))


EXPECTED = Detector(network()).logits(FACES.images)
SIGMOID = L.Activation("sigmoid")
SAME = {
    "logit": (lambda: network(), {}),
    "sigmoid": (lambda: network(L.Activation("sigmoid")), {}),
    "sigmoid under dropout": (lambda: network(L.Activation("sigmoid"), L.Dropout(0.5)), {}),
    "operation": (lambda: as_operation(keras.ops.sigmoid), {}),
    "nested": (lambda: nested(network()), {}),
    "nested head": (lambda: nested(network(L.Activation("sigmoid"))), {}),
    "twice nested head": (lambda: nested(nested(network(L.Activation("sigmoid")))), {}),
    "real is one": (lambda: network(L.Activation("sigmoid"), sign=-1), {"fake": 0}),
    "behind a neutral layer": (lambda: network(L.Dropout(0.5), sign=-1), {"fake": 0}),
    "range": (lambda: network(value_range=(0, 1)), {"value_range": (0, 1)}),
    "own rescaling": (
        lambda: nested(keras.Sequential([L.Rescaling(1 / 127.5, -1.0), network()])),
        {"value_range": (0, 255)},
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_network_in_another_form_is_the_same_detector(name):
    make, options = SAME[name]
    model = make()
    before = np.asarray(model(np.zeros((1, SIDE, SIDE, 3), np.float32)))
    detector = Detector.from_keras(model, faces=FACES, **options)
    np.testing.assert_allclose(detector.logits(FACES.images), EXPECTED, atol=1e-4)
    assert detector.model.output_shape == (None, 1)
    np.testing.assert_array_equal(model(np.zeros((1, SIDE, SIDE, 3), np.float32)), before)
    scores = evaluate(detector, FACES, resamples=2).scores.set_index("score").value
    assert scores.auc.min() == 1 and scores.accuracy.min() > 0.9


@pytest.mark.parametrize("fake", [0, 1])
@pytest.mark.parametrize("last", [[], [L.Softmax()], [L.Dropout(0.5)]])
def test_of_two_classes_the_logit_is_the_log_odds_of_fake(fake, last):
    model = two_classes(fake, *last)
    detector = Detector.from_keras(model, fake=fake, faces=FACES)
    scores = np.asarray(model(preprocess(FACES.images)), np.float64)
    shares = scores if last and isinstance(last[0], L.Softmax) else np.exp(scores)
    shares = shares / shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(detector.logits(FACES.images), logit(shares[:, fake]), atol=1e-3)


def test_floats_in_the_range_are_taken_as_they_are():
    detector = Detector(network(value_range=(0, 1)), (0, 1))
    floats = FACES.images.astype(np.float32) / 255
    np.testing.assert_allclose(detector.logits(floats), detector.logits(FACES.images), atol=1e-5)
    with pytest.warns(UserWarning, match="outside the 0 to 1"):
        detector.logits(FACES.images.astype(np.float32))


class Hidden(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = network(L.Activation("sigmoid"))

    def call(self, x):
        return self.inner(x)


def of_a_loaded_graph(tmp_path):
    network(L.Activation("sigmoid")).export(tmp_path / "graph", verbose=False)
    inputs = keras.Input((SIDE, SIDE, 3))
    answer = L.TFSMLayer(str(tmp_path / "graph"), call_endpoint="serve")(inputs)
    return keras.Model(inputs, answer)


def of_two_inputs(_):
    one, other = keras.Input((SIDE, SIDE, 3)), keras.Input((SIDE, SIDE, 3))
    return keras.Model([one, other], network()(one + other))


REFUSED = {
    "two inputs": (of_two_inputs, {}, "2 inputs and 1 outputs"),
    "a Lambda": (lambda _: network(L.Lambda(keras.ops.sigmoid)), {}, "Lambda, which may hide a"),
    "a loaded graph": (of_a_loaded_graph, {}, "TFSMLayer, which may hide a sigmoid"),
    "a model of its own class": (lambda _: nested(Hidden()), {}, "Hidden, which may hide a"),
    "such a model itself": (lambda _: Hidden(), {}, "its layers cannot be followed"),
    "unbuilt": (lambda _: keras.Sequential(mean_red()), {}, "not built yet"),
    "three classes": (lambda _: network(L.Dense(3)), {}, r"returns \(None, 3\).*one or two"),
    "a map": (
        lambda _: keras.Sequential([keras.Input((SIDE, SIDE, 3)), L.Conv2D(1, 1)]),
        {}, "None, 8, 8, 1.*one or two outputs",
    ),
    "no axis": (lambda _: network(L.Reshape(())), {}, r"returns \(None,\)"),
    "tanh": (lambda _: network(L.Activation("tanh")), {}, "ends in tanh"),
    "no class": (lambda _: network(), {"fake": 2}, "fake=2: give 0 or 1"),
    "no range": (lambda _: network(), {"value_range": (1, 0)}, r"value_range=\(1, 0\)"),
    "reversed": (
        lambda _: network(L.Activation("sigmoid"), sign=-1), {},
        "20 real and 20 fake faces.*AUC of 0.00.*other class seems to mean fake: give fake=0",
    ),
    "all on one side": (
        lambda _: network(value_range=(0, 255)), {},
        r"calls all of them real.*range seems to be value_range=\(0.0, 255.0\)",
    ),
    "chance": (
        lambda _: network(L.Dense(1, bias_initializer="ones", kernel_initializer="zeros")),
        {}, "calls all of them fake.*Neither the other order of classes nor another range",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_detector_is_refused_in_one_sentence(name, tmp_path):
    make, options, told = REFUSED[name]
    model = make(tmp_path)
    with pytest.raises(UserError, match=told) as refused:
        Detector.from_keras(
            model if name != "no model" else "no_model.keras", faces=FACES, **options
        )
    assert "\n" not in str(refused.value)


def test_a_network_that_answers_nan_is_refused():
    model = network()
    model.get_layer("end").set_weights([np.full((3, 1), np.nan), np.zeros(1)])
    with pytest.raises(UserError, match="40 of 40 known faces with NaN"):
        Detector.from_keras(model, faces=FACES)


def test_a_range_that_would_suit_better_is_asked_after():
    model = keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), L.GlobalAveragePooling2D(), L.Dense(2, "relu"), L.Dense(1)]
    )
    # From 0 to 255 red above 125 decides; from -1 to 1 nearly nothing does, on both sides of 0.
    first = np.array([[1, 0.02], [0, -1], [0, 0]], np.float32)
    model.set_weights([first, np.array([-125, 100]), np.array([[10], [1]]), np.array([-100.53])])
    with pytest.warns(UserWarning, match=r"AUC is 0.[67].*1.00 with \(0.0, 255.0\): is that its"):
        detector = Detector.from_keras(model, faces=FACES)
    assert detector.value_range == (-1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Detector.from_keras(model, (0, 255), faces=FACES)


def test_without_the_question_whatever_answers_is_believed():
    detector = Detector.from_keras(network(sign=-1), check=False)
    np.testing.assert_allclose(detector.logits(FACES.images), -EXPECTED, atol=1e-4)


def test_of_the_packages_faces_as_many_real_as_fake_are_asked_about(shipped_detector):
    shipped = shipped_detector(2.0)
    probability = keras.Model(shipped.model.inputs[0], SIGMOID(shipped.model.outputs[0]))
    detector = Detector.from_keras(probability)
    images = pictures(2)
    np.testing.assert_allclose(detector.logits(images), shipped.logits(images), rtol=1e-3)
    assert detector.fingerprint == shipped.fingerprint and not detector.shipped
    turned = keras.Model(shipped.model.inputs[0], SIGMOID(-shipped.model.outputs[0]))
    with pytest.raises(UserError, match="about 64 real and 64 fake.*fake=0"):
        Detector.from_keras(turned)


def test_faces_of_another_size_are_resized_for_the_question_alone():
    kinds = [keras.Input((20, 20, 3)), *mean_red()]
    detector = Detector.from_keras(keras.Sequential(kinds), faces=FACES)
    assert detector.side == 20
    with pytest.raises(UserError, match="8 x 8 pixels.*takes 20 x 20.*size=20"):
        detector.logits(FACES.images)


def test_a_network_of_any_size_is_asked_in_the_size_of_the_pictures():
    detector = Detector.from_keras(
        keras.Sequential([keras.Input((None, None, 3)), *mean_red()]), faces=FACES
    )
    assert detector.side == 128 and detector.input_shape == (None, None, 3)
    np.testing.assert_allclose(detector.logits(FACES.images), EXPECTED, atol=1e-4)
    larger = FACES.images.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(detector.logits(larger), EXPECTED, atol=1e-4)


CHANNELS = {
    "grey": ((SIDE, SIDE, 1), "with 1 channels last, and faces are RGB"),
    "channels first": ((3, SIDE, SIDE), "with 8 channels last, and faces are RGB"),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_other_channels_are_refused(name):
    shape, told = CHANNELS[name]
    model = keras.Sequential([keras.Input(shape), L.Flatten(), L.Dense(1)])
    with pytest.raises(UserError, match=told):
        Detector.from_keras(model)
    with pytest.raises(UserError, match="RGB becomes grey|channels first"):
        xaifake.explain(model, FACES.images, "gradient")


def test_a_file_of_keras_2_answers_as_it_did_there(tmp_path):
    """Separable and depthwise convolutions name what today's Keras refuses."""
    keras_2 = pytest.importorskip("tf_keras", reason="comes with the extra innvestigate")
    wide = {"padding": "same", "activation": "relu"}
    theirs = keras_2.Sequential(
        [
            keras_2.Input((SIDE, SIDE, 3)),
            keras_2.layers.SeparableConv2D(6, 3, **wide),
            keras_2.layers.BatchNormalization(),
            keras_2.layers.DepthwiseConv2D(3, depth_multiplier=2, **wide),
            keras_2.layers.GlobalAveragePooling2D(),
            keras_2.layers.Dense(1, activation="sigmoid"),
        ]
    )
    rng = np.random.default_rng(0)
    for weight in theirs.weights:
        positive = "moving_variance" in weight.name
        weight.assign(rng.uniform(0.5 if positive else -0.5, 0.7, weight.shape))
    with warnings.catch_warnings(action="ignore"):
        theirs.save(tmp_path / "keras_2.h5")
    ours = Detector.from_keras(tmp_path / "keras_2.h5", value_range=(0, 1), check=False)
    told = theirs.predict(FACES.images[:6].astype(np.float32) / 255, verbose=0)[:, 0]
    np.testing.assert_allclose(ours.logits(FACES.images[:6]), logit(told), rtol=1e-3)


def test_a_saved_model_is_loaded_and_one_that_cannot_be_says_why(tmp_path):
    path = tmp_path / "mine.keras"
    network(L.Activation("sigmoid")).save(path)
    detector = Detector.from_keras(path, faces=FACES)
    assert detector.name == "mine.keras"
    np.testing.assert_allclose(detector.logits(FACES.images), EXPECTED, atol=1e-4)
    with pytest.raises(UserError, match="No model at .*other.keras"):
        Detector.from_keras(tmp_path / "other.keras")
    path.write_bytes(b"no model")
    with pytest.raises(UserError, match="cannot load mine.keras: build the network anew"):
        Detector.from_keras(path)


def test_only_a_model_in_its_form_is_taken_as_it_is():
    with pytest.raises(UserError, match="ends in a probability: give it to Detector.from_keras"):
        Detector(network(L.Activation("sigmoid")))
    with pytest.raises(UserError, match=r"shape \(None, 2\).*from_keras makes one of two"):
        Detector(two_classes(1))
    with pytest.raises(UserError, match="a Detector is asked for.*Detector.from_keras"):
        write_maps("nowhere", "gradient", network())


@pytest.mark.parametrize("ask", [evaluate, top_true_positives, perturbation_curve, patch_effects])
def test_what_asks_a_detector_says_how_a_model_becomes_one(ask):
    with pytest.raises(UserError, match="a Detector is asked for.*Detector.from_keras"):
        ask(network(), FACES)


def test_of_many_faces_some_of_both_kinds_are_asked_about(monkeypatch):
    many, asked = faces_told_by_red(600), []
    logits = Detector.logits
    monkeypatch.setattr(
        Detector, "logits", lambda self, images: asked.append(images) or logits(self, images)
    )
    Detector.from_keras(network(), faces=many)
    assert all(len(images) == 128 for images in asked)
    red = np.array(asked[0])[..., 0].mean(axis=(1, 2)) > 125
    assert red.sum() == 64
    with pytest.raises(UserError, match="300 faces, all real or all fake"):
        Detector.from_keras(network(), faces=many[many.labels == 1])


def test_a_detector_cannot_be_changed_and_says_what_it_is():
    detector = Detector(network(), (-1, 1), 1.3, "mine")
    with pytest.raises(AttributeError):
        detector.scale = 2.0
    assert (detector.value_range, detector.scale, detector.name) == ((-1.0, 1.0), 1.3, "mine")
    same, other = Detector(network()), Detector(network(sign=-1))
    assert detector.fingerprint == same.fingerprint != other.fingerprint


def test_a_detector_brings_its_range_to_explain():
    detector = Detector(network(value_range=(0, 1)), (0, 1))
    ours = xaifake.explain(detector, FACES.images, "input_t_gradient")
    theirs = xaifake.explain(detector.model, FACES.images, "input_t_gradient", value_range=(0, 1))
    np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(UserError, match="the detector has .0.0, 1.0.: leave it out"):
        xaifake.explain(detector, FACES.images, "gradient", value_range=(-1, 1))


def test_logits_are_those_of_the_model_whatever_the_batch(seen):
    images, detector = pictures(5), Detector(seen)
    direct = np.asarray(seen(preprocess(images), training=False))[:, 0]
    assert direct.std() > 0
    for batch_size in (2, 32):
        logits = detector.logits(images, batch_size)
        assert logits.dtype == np.float32 and logits.shape == (5,)
        assert np.allclose(logits, direct, rtol=1e-3, atol=1e-5)
    assert detector.logits(images[:0]).shape == (0,)


@pytest.mark.slow
def test_the_same_weights_give_the_same_logits_on_jax(seen, tmp_path):
    save_weights(seen, tmp_path / "weights")
    np.save(tmp_path / "images.npy", pictures(2))
    code = (
        "import sys, numpy as np\n"
        "from xaifake import Detector\n"
        "detector = Detector.pretrained(weights=sys.argv[1] + '/weights')\n"
        "logits = detector.logits(np.load(sys.argv[1] + '/images.npy'))\n"
        "np.save(sys.argv[1] + '/logits.npy', logits)\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)
    stored = load_weights(build_xception(), tmp_path / "weights")
    logits = Detector(stored).logits(pictures(2))
    assert np.allclose(np.load(tmp_path / "logits.npy"), logits, rtol=1e-3, atol=1e-4)


def test_the_sigmoid_of_the_logit_is_the_probability_of_before():
    headed = network(L.Activation("sigmoid"))
    probability = np.asarray(headed(tf.constant(preprocess(FACES.images))))[:, 0]
    detector = Detector.from_keras(headed, faces=FACES)
    assert np.allclose(expit(detector.logits(FACES.images)), probability, atol=1e-5)
