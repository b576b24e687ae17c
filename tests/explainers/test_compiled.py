"""A graph answers as the eager network does, sees what changes, and goes with its model."""

import gc
import logging
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

import xaifake
from small import LRP_OPTIONS, SIZE, detector, draw_weights, floats, logits
from xaifake.detector import graph
from xaifake.errors import UserError
from xaifake.explainers import lrp
from xaifake.explainers.lime import Classifier
from xaifake.explainers.request import prepare

METHODS = ("gradient", "guided_backprop", "grad_cam", "integrated_gradients", "lime")
BLOCKS = np.arange(SIZE)[:, None] // 4 * 2 + np.arange(SIZE) // 4
OPTIONS = {
    "integrated_gradients": {"steps": 9},
    "lime": {"segmentation": BLOCKS, "num_samples": 40},
}
layers = keras.layers


def answer(model, images, method, **options):
    return xaifake.explain(
        model, images, method, progress=False, **{**OPTIONS.get(method, {}), **options}
    )


def by_hand(model, images, target):
    """Return the gradient that an eager tape finds."""
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        logit = model(images, training=False)[:, 0]
    return {"fake": 1, "real": -1}[target] * tape.gradient(logit, images).numpy()


def assert_alike(one, other, tolerance=1e-5):
    size = np.abs(other).max()
    assert size > 0 and np.abs(one - other).max() <= tolerance * size


@pytest.mark.parametrize("target", ["fake", "real"])
@pytest.mark.parametrize("count", [1, 31, 32, 40])
def test_a_graph_has_the_gradient_of_the_eager_network(count, target):
    model, images = detector(), floats(count)
    assert_alike(answer(model, images, "gradient", target=target), by_hand(model, images, target))


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_has_the_same_map_in_whatever_company(method):
    model, images = detector(), floats(40)
    options = {"num_samples": 20} if method == "lime" else {}
    many = answer(model, images, method, **options)
    one = answer(model, images[31:32], method, **options)
    assert_alike(one, many[31:32], 1e-4 if method == "lime" else 1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_change_are_seen(method):
    model, images = detector(), floats(3)
    before = answer(model, images, method)
    draw_weights(model, seed=3)
    after, expected = (answer(m, images, method) for m in (model, draw_weights(detector(), 3)))
    assert_alike(after, expected, 1e-4 if method == "lime" else 1e-5)
    assert np.abs(after - before).max() > 0.1 * np.abs(expected).max()


REPLACED = [
    *((method, OPTIONS.get(method, {})) for method in METHODS),
    *((method, LRP_OPTIONS.get(method, {})) for method in lrp.METHODS),
]


@pytest.mark.parametrize("activation", ["linear", "tanh"])
@pytest.mark.parametrize(("method", "options"), REPLACED)
def test_an_activation_that_is_replaced_is_seen(method, options, activation):
    """The answer, be it a refusal, is that of a model that has never had another activation."""
    images = floats(2)

    def ask_again(model):
        model.get_layer("act").activation = keras.activations.get(activation)
        try:
            return xaifake.explain(model, images, method, progress=False, **options)
        except UserError as refusal:
            return str(refusal)

    model = detector()
    before = xaifake.explain(model, images, method, progress=False, **options)
    found, expected = ask_again(model), ask_again(detector())
    if isinstance(expected, str):
        assert activation == "tanh" and found == expected
    else:
        assert_alike(found, expected, 1e-4 if method == "lime" else 1e-5)
        assert np.abs(before - expected).max() > 0.1 * np.abs(expected).max()


def traced():
    """Return a model that counts how often its layers are read, and the counts."""
    seen = []

    class Watcher(layers.Layer):
        def call(self, pictures):
            seen.append(tf.executing_eagerly())
            return pictures

    inputs = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(Watcher()(inputs))))
    seen.clear()
    return model, seen


def test_one_trace_serves_batches_calls_and_targets():
    model, seen = traced()
    images = floats(35)
    answer(model, images, "gradient", batch_size=10)
    answer(model, images[:1], "input_t_gradient", target="real")
    answer(model, images[:1], "integrated_gradients", steps=32)
    assert seen == [False] * 2  # one for the gradient, one for the ends of the paths


@pytest.mark.parametrize("method", ["gradient", "guided_backprop", "grad_cam"])
def test_it_is_a_graph_even_where_functions_run_eagerly(method):
    expected = answer(detector(), floats(2), method)
    tf.config.run_functions_eagerly(True)
    try:
        assert_alike(answer(detector(), floats(2), method), expected)
    finally:
        tf.config.run_functions_eagerly(False)


def test_many_networks_make_no_warning(caplog):
    tensorflow = logging.getLogger("tensorflow")
    tensorflow.addHandler(caplog.handler)
    for seed in range(8):
        answer(detector(seed=seed), floats(1), "gradient")
    tensorflow.removeHandler(caplog.handler)
    assert "retracing" not in caplog.text


def test_graphs_go_with_the_model():
    model = detector(activation="sigmoid")
    for method in METHODS:
        answer(model, floats(1), method)
    trace, before = weakref.ref(model), len(graph._kept)
    del model
    for _ in range(3):  # what is kept for the model is free when the model is gone
        gc.collect()
    assert trace() is None and len(graph._kept) < before


def test_no_gradient_of_a_graph_stays_when_its_model_goes():
    model = detector()
    answer(model, floats(1), "gradient")
    before = set(ops.gradient_registry.list())
    answer(model, floats(2), "guided_backprop")
    assert set(ops.gradient_registry.list()) == before


@pytest.mark.parametrize("count", [1, 512])
def test_limes_classifier_gives_the_probability(count):
    images = floats(5)
    one, three = detector(), detector(3)
    sigmoid = 1 / (1 + np.exp(-logits(one, images)[:, 0]))
    found = Classifier(prepare(one, images), count)(images.astype(float))
    np.testing.assert_allclose(found, sigmoid, rtol=1e-5)
    shares = np.exp(logits(three, images).astype(float))
    found = Classifier(prepare(three, images, 1), count)(images)
    np.testing.assert_allclose(found, shares[:, 1] / shares.sum(axis=1), rtol=1e-5)
