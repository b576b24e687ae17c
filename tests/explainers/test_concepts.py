"""Concept activation vectors: planted concepts, and derivatives by finite differences."""

import keras
import numpy as np
import pytest
from scipy.special import expit

from xaifake.detector import Detector
from xaifake.errors import UserError
from xaifake.explainers import activations
from xaifake.explainers.concepts import _channel_slopes, _direction, concept_test
from xaifake.explainers.request import prepare

SIDE, CHANNELS = 8, 6


def network(weights, activation=None):
    """Colours as channels, through a convolution, to a weighted sum of their means."""
    inputs = keras.Input((SIDE, SIDE, 3))
    maps = keras.layers.Conv2D(CHANNELS, 1, activation="relu", name="maps")(inputs)
    x = keras.layers.Conv2D(CHANNELS, 3, activation=activation)(maps)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    if weights is not None:  # of the channels alone, place by place
        kernel = np.zeros((3, 3, CHANNELS, CHANNELS))
        kernel[1, 1] = np.eye(CHANNELS)
        colours = np.eye(3, CHANNELS)[None, None]
        zero, last = np.zeros(CHANNELS), np.reshape(weights, (-1, 1))
        model.set_weights([colours, zero + 2, kernel, zero, last, np.zeros(1)])
    return Detector(model)


def pictures(count, seed, red=0):
    """Noise, and more red where that is asked for."""
    images = np.random.default_rng(seed).integers(80, 120, (count, SIDE, SIDE, 3))
    return (images + [red, 0, 0]).astype(np.uint8)


@pytest.mark.parametrize("weight", [3.0, -3.0])
def test_a_logit_follows_a_concept_that_it_weighs(weight):
    detector = network([weight, 0, 0, 0, 0, 0])
    table = concept_test(detector, pictures(10, 0), pictures(20, 1, 60), pictures(20, 2), "maps")
    assert table.groupby("kind").size().to_dict() == {"concept": 20, "shuffled": 20}
    found = table[table.kind == "concept"]
    assert (found.accuracy == 1).all()
    assert (found.score == (weight > 0)).all()
    shuffled = table[table.kind == "shuffled"]
    assert 0.3 < shuffled.accuracy.mean() < 0.7
    assert set(shuffled.score) == {0, 1}  # the gradient is the same for all pictures
    other = concept_test(detector, pictures(10, 0), pictures(20, 1, 60), pictures(20, 2), "maps",
                         target="real")  # fmt: skip
    assert (other.score == 1 - table.score).all()


def test_the_slopes_are_the_logits_derivatives_by_finite_differences():
    detector = network(None, "softplus")
    images = pictures(5, 3)
    slopes = _channel_slopes(prepare(detector, images), "maps", 2)
    maps = activations(detector, images, "maps", progress=False).astype(np.float64)
    kernel, bias, weights, last = [w.astype(float) for w in detector.model.get_weights()[2:]]

    def logit(maps):
        rows = [maps[:, i : i + SIDE - 2, j : j + SIDE - 2] @ kernel[i, j]
                for i in range(3) for j in range(3)]  # fmt: skip
        return (np.logaddexp(0, np.sum(rows, axis=0) + bias).mean((1, 2)) @ weights + last)[:, 0]

    np.testing.assert_allclose(logit(maps), detector.logits(images), atol=1e-4)
    direction = np.random.default_rng(4).normal(size=CHANNELS)
    rise = (logit(maps + 1e-5 * direction) - logit(maps - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(slopes @ direction, rise, rtol=1e-4)


def test_the_direction_is_that_of_the_regression_in_the_layers_own_units():
    rng = np.random.default_rng(5)
    features = rng.normal(size=(4000, 3)) * [1.0, 10.0, 0.1] + [5, -2, 0]
    truth = np.array([1.0, -0.05, 0.0])
    labels = (rng.random(4000) < expit(features @ truth - 5)).astype(int)
    direction, accuracy = _direction(features, labels, np.random.default_rng(0))
    np.testing.assert_allclose(direction[:2], truth[:2], rtol=0.2)
    assert accuracy > 0.6


def test_draws_differ_and_a_seed_repeats_them():
    given = network(None, "relu"), pictures(6, 0), pictures(9, 1, 8), pictures(9, 2), "maps"
    one, again, other = (concept_test(*given, draws=3, seed=seed) for seed in (0, 0, 1))
    assert one.equals(again) and not one.equals(other)


def test_too_few_examples_and_layers_without_maps_are_refused():
    detector, some = network(None), pictures(8, 0)
    with pytest.raises(UserError, match="7 pictures with the concept and 8 others"):
        concept_test(detector, some, some[:7], some, "maps")
    with pytest.raises(UserError, match="give a layer that returns maps"):
        concept_test(detector, some, some, some, detector.model.layers[-1].name)
