"""A graph answers as the eager network does, sees what changes, and goes with its model."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import LRP_OPTIONS, SIZE, detector, draw_weights, floats, logits
from tensorflow.python.framework import ops

import xaifake
from xaifake.errors import UserError
from xaifake.explainers import compiled, lrp
from xaifake.explainers.lime import Classifier
from xaifake.explainers.question import ask

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


def both_ways(model, images, method, monkeypatch, **options):
    """Return the maps of the graph and of the eager network."""
    graph = answer(model, images, method, **options)
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "ENOUGH", 10**9)
        return graph, answer(model, images, method, **options)


def assert_alike(one, other, tolerance=1e-5):
    size = np.abs(other).max()
    assert size > 0 and np.abs(one - other).max() <= tolerance * size


def count_of(method):
    """Return enough pictures for a graph."""
    return {"integrated_gradients": 4, "lime": 1}.get(method, compiled.ENOUGH + 3)


@pytest.mark.parametrize("target", ["fake", "real"])
@pytest.mark.parametrize("method", METHODS)
def test_a_graph_has_the_maps_of_the_eager_network(method, target, monkeypatch):
    model, images = detector(), floats(count_of(method))
    graph, eager = both_ways(model, images, method, monkeypatch, target=target)
    # The probabilities' last digits count for more in LIME's small differences.
    assert_alike(graph, eager, 1e-4 if method == "lime" else 1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_change_are_seen(method, monkeypatch):
    model, images = detector(), floats(count_of(method))
    before = answer(model, images, method)
    draw_weights(model, seed=3)
    graph, eager = both_ways(model, images, method, monkeypatch)
    assert_alike(graph, eager, 1e-4 if method == "lime" else 1e-5)
    assert np.abs(graph - before).max() > 0.1 * np.abs(eager).max()


FEW = {"lime": {"num_samples": 24}}  # fewer pictures than make a graph
REPLACED = [
    *((method, count_of(method), OPTIONS.get(method, {})) for method in METHODS),
    *((method, 1, OPTIONS.get(method, {}) | FEW.get(method, {})) for method in METHODS),
    *((method, 2, LRP_OPTIONS.get(method, {})) for method in lrp.METHODS),
    ("lrp.sequential_preset_b_flat", compiled.ENOUGH + 3, {}),
]


@pytest.mark.parametrize("activation", ["linear", "tanh"])
@pytest.mark.parametrize(("method", "count", "options"), REPLACED)
def test_an_activation_that_is_replaced_is_seen(method, count, options, activation):
    """The answer, be it a refusal, is that of a model that has never had another activation."""
    images = floats(count)

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
    images = floats(compiled.ENOUGH + 3)
    answer(model, images, "gradient", batch_size=10)
    answer(model, images, "input_t_gradient", target="real")
    answer(model, images[:1], "integrated_gradients", steps=compiled.ENOUGH)
    assert seen.count(False) == 1


def test_few_pictures_and_models_that_must_be_eager_make_no_graph():
    model, seen = traced()
    answer(model, floats(compiled.ENOUGH - 1), "gradient")
    model.run_eagerly = True
    answer(model, floats(compiled.ENOUGH), "gradient")
    assert all(seen)
    tf.config.run_functions_eagerly(True)
    try:
        answer(detector(), floats(compiled.ENOUGH), "guided_backprop")
    finally:
        tf.config.run_functions_eagerly(False)


def test_graphs_go_with_the_model():
    model = detector(activation="sigmoid")
    for method in METHODS:
        answer(model, floats(count_of(method)), method)
    trace, before = weakref.ref(model), len(compiled._graphs)
    del model
    for _ in range(2):  # what is kept for the model is free when the model is gone
        gc.collect()
    assert trace() is None and len(compiled._graphs) < before


def test_no_gradient_of_a_graph_stays_when_its_model_goes():
    model = detector()
    answer(model, floats(1), "guided_backprop")  # makes the copy whose ReLUs are guided
    before = set(ops.gradient_registry.list())
    answer(model, floats(count_of("guided_backprop")), "guided_backprop")
    assert set(ops.gradient_registry.list()) == before


@pytest.mark.parametrize("count", [1, compiled.ENOUGH])
def test_limes_classifier_gives_the_probability(count):
    images = floats(5)
    one, three = detector(), detector(3)
    sigmoid = 1 / (1 + np.exp(-logits(one, images)[:, 0]))
    found = Classifier(ask(one, images), count)(images.astype(float))
    np.testing.assert_allclose(found, sigmoid, rtol=1e-5)
    shares = np.exp(logits(three, images).astype(float))
    found = Classifier(ask(three, images, 1), count)(images)
    np.testing.assert_allclose(found, shares[:, 1] / shares.sum(axis=1), rtol=1e-5)
