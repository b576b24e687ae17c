"""LRP gives iNNvestigate's maps where that is right, and others where it is not."""

import keras
import numpy as np
import pytest

import xaifake
from small import chain, draw_weights, floats, run_explain
from xaifake.explainers import innvestigate
from xaifake.explainers.lrp import RULES, merge_batch_norms

layers = keras.layers
SIZE = 10
UNTIL = "lrp.sequential_preset_b_flat_until_idx"  # without an index it is the one before
PLAIN = [
    method
    for method in xaifake.methods("innvestigate")
    if method.startswith("lrp.") and method not in ("lrp.alpha_beta", UNTIL)
]
CASES = {
    **{method: {"method": method} for method in PLAIN},
    "epsilon of 0.1": {"method": "lrp.epsilon", "epsilon": 0.1},
    "alpha 3": {"method": "lrp.alpha_beta", "alpha": 3, "beta": 2},
    **{f"flat until {n}": {"method": UNTIL, "until_layer_idx": n} for n in (2, 4, 8)},
    "Z over flat until 4": {
        "method": "lrp", "rule": "Z", "until_layer_idx": 4, "until_layer_rule": "Flat",
    },
    "Alpha2Beta1 over flat": {"method": "lrp", "rule": "Alpha2Beta1", "input_layer_rule": "Flat"},
    **{
        f"{rule} over bounds": {"method": "lrp", "rule": rule, "input_layer_rule": (-1.0, 1.0)}
        for rule in RULES
        if rule != "Gamma"
    },
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def worker_ends_with_the_module():
    yield
    innvestigate._stop()


def vgg(bias=False):
    """Convolutions and max pooling, then dense layers; no weights that LRP treats in two ways."""

    def conv(filters, **settings):
        return layers.Conv2D(filters, 3, use_bias=bias, activation="relu", **settings)

    model = chain(
        conv(4, padding="same"),
        conv(4),
        layers.MaxPooling2D(2),
        conv(6),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(5, use_bias=bias, activation="relu"),
        layers.Dense(1, use_bias=bias),
        size=SIZE,
    )
    return draw_weights(model, seed=5)  # each picture's last sum has parts of both signs


@pytest.fixture(scope="module")
def network():
    return vgg()


@pytest.fixture(scope="module")
def biased():
    return vgg(bias=True)


@pytest.fixture(scope="module")
def images():
    return floats(3, SIZE)


def ours_and_theirs(model, images, **call):
    ours = run_explain(model, images, progress=False, **call)
    return ours, run_explain(model, images, engine="innvestigate", progress=False, **call)


def distance(ours, theirs):
    """The largest difference, in units of the largest config, for each picture."""
    largest = np.abs(theirs).max(axis=(1, 2, 3))
    assert (largest > 0).all()
    return np.abs(ours - theirs).max(axis=(1, 2, 3)) / largest


@pytest.mark.parametrize("name", CASES)
def test_maps_agree_on_convolutions_without_bias(name, network, images):
    assert distance(*ours_and_theirs(network, images, **CASES[name])).max() < 1e-4


AGREE_WITH_BIAS = [
    *("lrp.z", "lrp.epsilon", "lrp.w_square", "lrp.flat", "lrp.z_plus", "lrp.z_plus_fast"),
    *("lrp.alpha_2_beta_1_IB", "lrp.alpha_1_beta_0_IB"),
]


@pytest.mark.parametrize("method", AGREE_WITH_BIAS)
def test_maps_agree_with_bias_where_one_sum_holds_it_or_none(method, biased, images):
    assert distance(*ours_and_theirs(biased, images, method=method)).max() < 1e-4


@pytest.mark.parametrize("method", ["lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1"])
def test_alpha_beta_rules_conserve_where_the_other_counts_biases_twice(method, biased, images):
    assert distance(*ours_and_theirs(biased, images, method=method)).min() > 1e-3
    _, report = run_explain(biased, images, method, return_report=True, progress=False)
    found = report[["sum", "bias", "stabiliser", "unassigned"]].sum(axis=1)
    assert (report.bias != 0).all()
    np.testing.assert_allclose(found, report.logit, rtol=1e-4)


def with_shortcut():
    picture = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(5, 3, use_bias=False, activation="relu")(picture)
    skip = layers.Conv2D(5, 1, use_bias=False)(x)
    x = layers.Conv2D(5, 3, padding="same", use_bias=False)(x)
    x = layers.Activation("relu")(layers.Add()([x, skip]))
    x = layers.Conv2D(4, 3, strides=2, use_bias=False, activation="relu")(
        layers.AveragePooling2D(2)(x)
    )
    other = layers.Conv2D(4, 1, use_bias=False, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(layers.Concatenate()([x, other]))
    return draw_weights(keras.Model(picture, layers.Dense(1, use_bias=False)(x)))


@pytest.mark.parametrize(
    "method", ["lrp.z", "lrp.w_square", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1"]
)
def test_maps_agree_with_shortcuts_and_means(method, images):
    assert distance(*ours_and_theirs(with_shortcut(), images, method=method)).max() < 1e-4


def separable():
    model = chain(
        layers.SeparableConv2D(6, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.SeparableConv2D(5, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(1, use_bias=False),
        size=SIZE,
    )
    return draw_weights(model)


def as_ordinary(model):
    """The same function, with one convolution in place of two and a batch norm."""
    original = chain(
        layers.Conv2D(6, 3, activation="relu"),
        layers.Conv2D(5, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(1, use_bias=False),
        size=SIZE,
    )
    *folded, head = model.get_weights()
    weights = []
    for block in (folded[:6], folded[6:]):
        depthwise, pointwise, gamma, beta, mean, variance = (part.astype(float) for part in block)
        factor = gamma / np.sqrt(variance + 1e-3)
        weights += [depthwise * pointwise * factor, beta - mean * factor]
    original.set_weights([*weights, head])
    return original


def test_one_function_written_in_two_ways_has_one_map_here_and_two_there(images):
    ways = separable(), as_ordinary(separable())
    np.testing.assert_allclose(*(model(images) for model in ways), rtol=1e-4)
    here, there = zip(
        *(ours_and_theirs(model, images, method="lrp.alpha_2_beta_1") for model in ways)
    )
    assert distance(*here).max() < 1e-5
    assert np.corrcoef(*(maps.ravel() for maps in there))[0, 1] < 0.9


@pytest.mark.slow
def test_on_a_folded_network_the_other_engine_has_the_z_rule_right_and_alpha_beta_wrong(images):
    folded = merge_batch_norms(separable())
    ours, theirs = ours_and_theirs(folded, images, method="lrp.epsilon")
    assert distance(ours, theirs).max() < 1e-4
    ours, theirs = ours_and_theirs(folded, images, method="lrp.alpha_1_beta_0")
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] < 0.9
