"""Each rule on each layer gives the relevance of its formula on an explicit matrix."""

import tracemalloc
from dataclasses import dataclass, replace
from functools import cache, partial
from types import SimpleNamespace

import keras
import matrices
import numpy as np
import pytest
import tensorflow as tf

from small import chain, draw_weights, floats, logits, run_explain
from xaifake.errors import UserError
from xaifake.explainers.lrp import (
    RULES,
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    WSquare,
    ZPlusFast,
    relevance_by_layer,
)
from xaifake.explainers.lrp.linear import linear_layer

layers = keras.layers
MAPS = (5, 6, 4)

CONV, DEPTHWISE = layers.Conv2D, layers.DepthwiseConv2D
SEPARABLE, SAME = layers.SeparableConv2D, {"padding": "same"}
LAYERS = {
    "dense": (partial(layers.Dense, 5), (9,)),
    "dense on maps": (partial(layers.Dense, 3), MAPS),
    "conv": (partial(CONV, 5, 3, **SAME), MAPS),
    "conv valid": (partial(CONV, 5, (2, 3)), MAPS),
    "conv of even size": (partial(CONV, 3, (4, 2), **SAME), MAPS),
    "conv stride 2": (partial(CONV, 5, 3, strides=2, **SAME), MAPS),
    "conv stride 2 valid": (partial(CONV, 5, 3, strides=2), MAPS),
    "conv strides 1 and 3": (partial(CONV, 3, 2, strides=(1, 3), **SAME), MAPS),
    "conv 1x1": (partial(CONV, 5, 1), MAPS),
    "conv 1x1 stride 2": (partial(CONV, 5, 1, strides=2, **SAME), MAPS),
    "conv dilated": (partial(CONV, 5, 3, dilation_rate=2, **SAME), MAPS),
    "conv dilated valid": (partial(CONV, 5, 2, dilation_rate=(3, 2)), MAPS),
    "conv in groups": (partial(CONV, 6, 3, groups=2, **SAME), MAPS),
    "conv in groups of one": (partial(CONV, 8, 3, groups=4, strides=2), MAPS),
    "conv 1x1 in groups": (partial(CONV, 8, 1, groups=4), MAPS),
    "depthwise": (partial(DEPTHWISE, 3, **SAME), MAPS),
    "depthwise times 2": (partial(DEPTHWISE, 3, depth_multiplier=2), MAPS),
    "depthwise stride 2": (partial(DEPTHWISE, 3, strides=2, depth_multiplier=2, **SAME), MAPS),
    "depthwise dilated": (partial(DEPTHWISE, 2, dilation_rate=2, **SAME), MAPS),
    "separable": (partial(SEPARABLE, 5, 3, **SAME), MAPS),
    "separable valid": (partial(SEPARABLE, 5, (2, 3)), MAPS),
    "separable stride 2": (partial(SEPARABLE, 5, 3, strides=2, **SAME), MAPS),
    "separable dilated": (partial(SEPARABLE, 5, 2, dilation_rate=2, **SAME), MAPS),
    "separable times 2": (partial(SEPARABLE, 5, 3, depth_multiplier=2, **SAME), MAPS),
    "separable times 2 stride 2": (partial(SEPARABLE, 5, 3, strides=2, depth_multiplier=2), MAPS),
}
ROW, BLOCK = (7, 4), (3, 4, 3, 2)
OTHERS = {
    "conv of rows": (partial(layers.Conv1D, 5, 3, **SAME), ROW),
    "conv of rows causal": (partial(layers.Conv1D, 5, 2, padding="causal", dilation_rate=2), ROW),
    "conv of rows in groups": (partial(layers.Conv1D, 6, 3, groups=2, strides=2), ROW),
    "conv of blocks": (partial(layers.Conv3D, 3, 2, **SAME), BLOCK),
    "depthwise of rows": (partial(layers.DepthwiseConv1D, 3, depth_multiplier=2), ROW),
    "separable of rows": (partial(layers.SeparableConv1D, 5, 3, depth_multiplier=2), ROW),
    "transposed": (partial(layers.Conv2DTranspose, 3, 3, strides=2, **SAME), (3, 4, 2)),
    "transposed valid": (partial(layers.Conv2DTranspose, 3, (2, 3)), (3, 4, 2)),
    "transposed of rows": (partial(layers.Conv1DTranspose, 3, 3, strides=2, **SAME), ROW),
    "transposed of blocks": (partial(layers.Conv3DTranspose, 2, 2), (2, 3, 2, 2)),
    "einsum": (
        lambda use_bias=True: layers.EinsumDense(
            "btd,dnh->btnh", (None, 2, 3), bias_axes="nh" if use_bias else None
        ),
        ROW,
    ),
}
# Of so many channels that no output lacks a part.
WIDE = {
    f"{kind} of 16": (LAYERS[kind][0], (5, 6, 16))
    for kind in ("separable", "separable valid", "separable stride 2")
}
NORMS = {
    "norm": (layers.BatchNormalization, MAPS),
    "norm without beta": (partial(layers.BatchNormalization, center=False), MAPS),
    "norm without gamma": (partial(layers.BatchNormalization, scale=False), MAPS),
    "norm of a row": (layers.BatchNormalization, (7,)),
}


def alpha_beta(alpha, beta, **options):
    return partial(matrices.alpha_beta, alpha=alpha, beta=beta, **options)


RULES_AND_FORMULAS = {
    "Z": (RULES["Z"], matrices.z),
    "Epsilon": (Epsilon(0.3), partial(matrices.z, epsilon=0.3)),
    "Epsilon, no bias": (Epsilon(0.3, bias=False), partial(matrices.z, epsilon=0.3, bias=False)),
    "Gamma": (RULES["Gamma"], matrices.gamma),
    "Gamma 3, no bias": (Gamma(3, bias=False), partial(matrices.gamma, gamma=3, bias=False)),
    "Alpha1Beta0": (RULES["Alpha1Beta0"], alpha_beta(1, 0)),
    "Alpha2Beta1": (RULES["Alpha2Beta1"], alpha_beta(2, 1)),
    "Alpha2Beta1IgnoreBias": (RULES["Alpha2Beta1IgnoreBias"], alpha_beta(2, 1, bias=False)),
    "AlphaBeta 3.5": (AlphaBeta(3.5), alpha_beta(3.5, 2.5)),
    "ZPlus": (RULES["ZPlus"], matrices.z_plus),
    "ZPlusFast": (ZPlusFast(), matrices.z_plus_fast),
    "Bounded": (Bounded(-4, 5), partial(matrices.bounded, low=-4, high=5)),
    "WSquare": (WSquare(), matrices.w_square),
    "Flat": (Flat(), matrices.flat),
}
every_layer = pytest.mark.parametrize("kind", [*LAYERS, *OTHERS, *NORMS])
every_rule = pytest.mark.parametrize("name", RULES_AND_FORMULAS)


def assert_close(found, expected, tolerance):
    size = max(np.abs(expected).max(), 1e-3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * size)


@dataclass
class Case:
    """A layer in double precision, inputs of both signs, and relevance of both signs."""

    layer: keras.layers.Layer
    weights: list
    matrix: matrices.Matrix
    x: np.ndarray
    relevance: np.ndarray


@cache
def case(kind, bias=True, seed=0):
    make, shape = (LAYERS | OTHERS | WIDE | NORMS)[kind]
    layer = make() if kind in NORMS else make(use_bias=bias)
    layer.build((None, *shape))
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=weight.shape) for weight in layer.weights]
    if kind in NORMS:
        weights[-1] = 0.5 + np.square(weights[-1])
    else:
        weights[0].flat[::11] = 0  # a connection of its own kind
    make_matrix = matrices.probed if kind in OTHERS else matrices.matrix_of
    matrix = make_matrix(layer, shape, weights)
    x, relevance = rng.normal(size=(2, *shape)), rng.normal(size=(2, *matrix.shape))
    return Case(layer, weights, matrix, x, relevance)


def linear_of(case):
    source = SimpleNamespace(shape=(None, *case.x.shape[1:]))
    return linear_layer(
        SimpleNamespace(name="layer", layer=case.layer, sources=[source]), case.weights
    )


def divided(rule, case, x, signed=True):
    """Return sums, the inputs' relevance, and what was spent, from the library; rows of each."""
    linear = linear_of(case)
    arrays = tf.nest.map_structure(tf.constant, rule.prepare(linear, signed))
    x, relevance = tf.constant(x), tf.constant(case.relevance)
    z, kept = rule.forward(linear, arrays, x, signed)
    part, spent = rule.backward(linear, arrays, x, kept, relevance, signed)
    assert part.shape == x.shape and z.shape == relevance.shape
    spent = {key: rows(value.numpy()) for key, value in spent.items()}
    return rows(z.numpy()), rows(part.numpy()), spent


@cache
def answer(kind, name, bias=True):
    this = case(kind, bias)
    return divided(RULES_AND_FORMULAS[name][0], this, this.x)


def rows(x):
    return x.reshape(len(x), -1)


@every_layer
def test_the_matrices_of_the_tests_give_what_keras_gives(kind):
    this = case(kind)
    for weight, value in zip(this.layer.weights, this.weights, strict=True):
        weight.assign(value)
    expected = rows(this.x) @ this.matrix.weights + this.matrix.bias
    assert_close(rows(logits(this.layer, this.x.astype(np.float32))), expected, 1e-6)


@every_rule
@every_layer
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_rule_on_a_layer_is_its_formula_on_the_matrix_and_its_report_is_complete(
    kind, name, bias
):
    this, formula = case(kind, bias), RULES_AND_FORMULAS[name][1]
    sums, part, spent = answer(kind, name, bias)
    x, relevance = rows(this.x), rows(this.relevance)
    assert_close(sums, x @ this.matrix.weights + this.matrix.bias, 1e-10)
    expected, of_bias = formula(this.matrix, x, relevance)
    assert_close(part, expected, 1e-10)
    assert_close(spent.get("bias", np.zeros((2, 1))).sum(-1), of_bias.sum(-1), 1e-10)
    # What is not handed on is in the report.
    total = part.sum(-1) + sum(value.sum(-1) for value in spent.values())
    size = np.abs(part).sum(-1) + sum(np.abs(value).sum(-1) for value in spent.values())
    assert (np.abs(total - relevance.sum(-1)) <= 1e-12 * size).all()
    assert set(spent) <= {"bias", "stabiliser", "unassigned"}


@every_rule
def test_only_the_flat_rule_makes_patterns_and_signed_weights_are_kept_once(name):
    layer, kernel = layers.Dense(500, use_bias=False), np.full((1000, 500), 2.0)
    layer.build((None, 1000))
    tracemalloc.start()
    linear = linear_layer(SimpleNamespace(name="layer", layer=layer), [kernel])
    described = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert described < kernel.nbytes / 50
    rule, asked = RULES_AND_FORMULAS[name][0], []
    noting = replace(linear, make_patterns=lambda: asked.append(1) or linear.make_patterns())
    prepared = rule.prepare(noting, signed=True)
    assert bool(asked) == isinstance(rule, Flat)
    signed = keras.tree.flatten(prepared.get("signed", []))
    assert sum(part.size for part in signed) <= 2 * kernel.size
    if asked:
        assert [shares.shape for shares in prepared["shares"]] == [kernel.shape]
        assert (prepared["shares"][0] == 1).all()


@every_rule
@every_layer
def test_inputs_that_are_never_negative_need_half_of_the_work(kind, name):
    this, rule = case(kind), RULES_AND_FORMULAS[name][0]
    x = np.maximum(this.x, 0)
    (*found, spent), (*expected, all_spent) = (divided(rule, this, x, s) for s in (False, True))
    for one, other in zip([*found, *map(spent.get, all_spent)], [*expected, *all_spent.values()]):
        assert_close(one, other, 1e-10)


@pytest.mark.parametrize("name", ["Gamma", "Alpha2Beta1", "Bounded", "Flat"])
@pytest.mark.parametrize("kind", ["conv", "depthwise times 2", "separable", "norm", "dense"])
def test_a_negated_layer_has_the_matrix_with_the_other_sign(kind, name):
    this, (rule, formula) = case(kind), RULES_AND_FORMULAS[name]
    linear = linear_of(this).negated()
    arrays = tf.nest.map_structure(tf.constant, rule.prepare(linear, True))
    z, kept = rule.forward(linear, arrays, tf.constant(this.x), True)
    part, _ = rule.backward(
        linear, arrays, tf.constant(this.x), kept, tf.constant(this.relevance), True
    )
    matrix = matrices.Matrix(
        -this.matrix.weights, -this.matrix.bias, this.matrix.connected, this.matrix.shape
    )
    x = rows(this.x)
    assert_close(rows(z.numpy()), x @ matrix.weights + matrix.bias, 1e-10)
    assert_close(rows(part.numpy()), formula(matrix, x, rows(this.relevance))[0], 1e-10)


class OneByOne(AlphaBeta):
    """Splits the two kernels of a separable convolution by their signs one by one.

    So does iNNvestigate: one layer of all positive parts, one of all negative parts. But the
    negative part of a product is not the product of negative parts.
    """

    def prepare(self, linear, signed):
        up = [np.maximum(kernel, 0) for kernel in linear.kernels]
        return {"up": up, "down": [np.minimum(kernel, 0) for kernel in linear.kernels]}

    def forward(self, linear, weights, x, signed):
        parts = [linear.apply(x, weights[which]) for which in ("up", "down")]
        return tf.add_n(parts), parts

    def backward(self, linear, weights, x, kept, relevance, signed):
        up, down = (tf.math.divide_no_nan(relevance, total) for total in kept)
        up = self.alpha * x * linear.transpose(up, weights["up"], x)
        return up - self.beta * x * linear.transpose(down, weights["down"], x), {}


@pytest.mark.parametrize("kind", WIDE)
def test_signs_taken_kernel_by_kernel_are_told_from_those_of_the_layer(kind):
    this = case(kind, bias=False)
    x = np.abs(this.x)  # all as behind a relu, so that no denominator is near zero
    expected, _ = matrices.alpha_beta(this.matrix, rows(x), rows(this.relevance), 2, 1)
    right, wrong = (
        divided(rule, this, x, signed=False)[1] for rule in (AlphaBeta(2, 1), OneByOne(2, 1))
    )
    for part in (expected, right, wrong):  # none of the sums tells
        assert np.allclose(part.sum(-1), rows(this.relevance).sum(-1), rtol=0, atol=1e-6)
    assert_close(right, expected, 1e-10)
    with pytest.raises(AssertionError):
        assert_close(wrong, expected, 0.1)
    assert np.corrcoef(wrong.ravel(), expected.ravel())[0, 1] < 0.9


@pytest.mark.parametrize("kind", ["dense", "conv", "depthwise", "conv in groups"])
def test_signs_taken_kernel_by_kernel_are_right_where_there_is_one_kernel(kind):
    this = case(kind, bias=False)
    x = np.abs(this.x)
    expected, _ = matrices.alpha_beta(this.matrix, rows(x), rows(this.relevance), 2, 1)
    assert_close(divided(OneByOne(2, 1), this, x)[1], expected, 1e-10)


def one_output(weights, bias=None):
    """Return a dense layer with one output that has the relevance 8, and inputs of one."""
    column = np.array(weights, float)[:, None]
    layer = layers.Dense(1, use_bias=bias is not None)
    biases = [] if bias is None else [np.array([bias], float)]
    return Case(layer, [column, *biases], None, np.ones((1, len(column))), np.full((1, 1), 8.0))


@pytest.mark.parametrize(
    "rule, weights, bias, part, spent",
    [
        # Both parts: 2 * 8 to what speaks for the output, -8 to what speaks against it.
        (AlphaBeta(2), [1, 3, -2], None, [4, 12, -8], {"unassigned": 0}),
        (AlphaBeta(1), [1, 3, -2], None, [2, 6, 0], {"unassigned": 0}),
        # Nothing speaks against it: 16 are handed on, and the report says that 8 are not taken
        # back.
        (AlphaBeta(2), [1, 3], None, [4, 12], {"unassigned": -8}),
        (AlphaBeta(1), [1, 3], None, [2, 6], {"unassigned": 0}),
        # Nothing speaks for it: the 16 find no input.
        (AlphaBeta(2), [-1, -3], None, [-2, -6], {"unassigned": 16}),
        (AlphaBeta(3), [-1, -3], None, [-4, -12], {"unassigned": 24}),
        (AlphaBeta(1), [-1, -3], None, [0, 0], {"unassigned": 8}),
        (AlphaBeta(2), [0, 0], None, [0, 0], {"unassigned": 8}),
        # A bias makes a part, unless it is left out.
        (AlphaBeta(2), [-1, -3], 2, [-2, -6], {"unassigned": 0, "bias": 16}),
        (AlphaBeta(2), [1, 2], -1, [16 / 3, 32 / 3], {"unassigned": 0, "bias": -8}),
        (AlphaBeta(2), [1, 2], 1, [4, 8], {"unassigned": -8, "bias": 4}),
        (AlphaBeta(2, bias=False), [-1, -3], 2, [-2, -6], {"unassigned": 16}),
        (AlphaBeta(1, bias=False), [1, 3], 4, [2, 6], {"unassigned": 0}),
        (AlphaBeta(1), [1, 3], 4, [1, 3], {"unassigned": 0, "bias": 4}),
        (Epsilon(1), [1, 3, -1], None, [2, 6, -2], {"stabiliser": 2}),
        (Epsilon(1), [-1, -3, 1], None, [2, 6, -2], {"stabiliser": 2}),
        (Epsilon(1), [1, 3], 3, [1, 3], {"stabiliser": 1, "bias": 3}),
        (Epsilon(1, bias=False), [1, 2], 5, [2, 4], {"stabiliser": 2}),
        (Gamma(1), [1, 2, -2], None, [4, 8, -4], {"stabiliser": 0}),
        (Gamma(1), [-1, -2, 2], None, [4, 8, -4], {"stabiliser": 0}),
        (Gamma(1), [1, -1], 1, [16 / 3, -8 / 3], {"stabiliser": 0, "bias": 16 / 3}),
        (Gamma(1, bias=False), [1, 2, -2], -7, [4, 8, -4], {"stabiliser": 0}),
        (ZPlusFast(), [1, 3, -9], 5, [2, 6, 0], {"stabiliser": 0}),
        # x - low is 2 for positive weights, x - high is -1 for negative ones.
        (Bounded(-1, 2), [1, -2], 5, [4, 4], {"stabiliser": 0}),
        (WSquare(), [1, -1, 2, 0], 5, [4 / 3, 4 / 3, 16 / 3, 0], {"unassigned": 0}),
        (WSquare(), [0, 0], 5, [0, 0], {"unassigned": 8}),
        (Flat(), [1, -1, 2, 0], 5, [2, 2, 2, 2], {"unassigned": 0}),
        (Flat(), [0, 0], 5, [4, 4], {"unassigned": 0}),
    ],
)
def test_rules_and_their_reports_by_hand(rule, weights, bias, part, spent):
    _, found, reports = divided(rule, one_output(weights, bias), np.ones((1, len(weights))))
    assert np.allclose(found, [part], rtol=0, atol=1e-5)
    assert {key: value.sum() for key, value in reports.items()} == pytest.approx(spent, abs=1e-5)
    assert sum(part) + sum(spent.values()) == pytest.approx(8)


def test_a_grouped_layer_shares_evenly_within_a_group_alone():
    this = case("conv 1x1 in groups")
    part = answer("conv 1x1 in groups", "Flat")[1].reshape(this.x.shape)
    assert np.allclose(part, this.relevance.reshape(*part.shape, 2).sum(-1))


# Through the whole way, from the picture to its map. Here all is in single precision.


def explained(model, images, rule, **options):
    composite = [("answer", "Alpha2Beta1"), ("*", rule)]
    return run_explain(model, images, "lrp", rule=composite, progress=False, **options)


def last_relevance(model, values, sign=1):
    """Return the relevance of the values that the last layer takes, by hand."""
    last = matrices.matrix_of(model.get_layer("answer"), (values.shape[-1],))
    last.weights, last.bias = sign * last.weights, sign * last.bias
    logit = values @ last.weights + last.bias
    return matrices.alpha_beta(last, values, logit, 2, 1)[0]


WHOLE = {
    "conv": "Z",
    "conv stride 2": "Alpha2Beta1",
    "conv dilated": "Gamma",
    "conv in groups": "Flat",
    "conv 1x1": "WSquare",
    "depthwise times 2": "AlphaBeta 3.5",
    "separable": "Alpha2Beta1IgnoreBias",
    "separable times 2": "Gamma 3, no bias",
    "separable stride 2": "Bounded",
}


@pytest.mark.parametrize("kind, name", WHOLE.items(), ids=str)
@pytest.mark.parametrize("target", ["fake", "real"])
def test_a_map_is_the_product_of_the_formulas(kind, name, target):
    rule, formula = RULES_AND_FORMULAS[name]
    layer = LAYERS[kind][0]() if kind != "conv in groups" else layers.Conv2D(6, 3, groups=3)
    end = [layers.ReLU(), layers.Flatten(), layers.Dense(1, name="answer")]
    model, images = draw_weights(chain(layer, *end, size=6)), floats(3, size=6)
    matrix = matrices.matrix_of(layer, (6, 6, 3))
    sums = rows(images) @ matrix.weights + matrix.bias
    relevance = last_relevance(model, np.maximum(sums, 0), 1 if target == "fake" else -1)
    expected, _ = formula(matrix, rows(images).astype(float), relevance)
    found = explained(model, images, rule, target=target)
    assert found.dtype == np.float32 and found.shape == images.shape
    assert_close(rows(found), expected, 1e-5)


def turned(x):
    return np.swapaxes(x, 1, 2)


def up(x):
    """Move pictures up by one row."""
    return np.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))


def turn():
    return layers.Permute((2, 1, 3))


def move_up():
    return [layers.Cropping2D(((1, 0), (0, 0))), layers.ZeroPadding2D(((0, 1), (0, 0)))]


SUMS = {
    "two": (lambda x, y, _: layers.Add()([x, y]), (1, 1, 0)),
    "three": (lambda x, y, z: layers.Add()([x, y, z]), (1, 1, 1)),
    "the same twice": (lambda x, *_: layers.Add()([x, x]), (2, 0, 0)),
    "one of three twice": (lambda x, y, _: layers.Add()([y, x, y]), (1, 2, 0)),
    "an operation": (lambda x, y, _: x + y, (1, 1, 0)),
    "the same in an operation": (lambda x, *_: x + x, (2, 0, 0)),
}


@pytest.mark.parametrize("kind", SUMS)
def test_an_addition_divides_by_the_shares_of_its_sum(kind):
    add, (a, b, c) = SUMS[kind]
    picture = keras.Input((6, 6, 3))
    crop, pad = move_up()
    total = add(picture, turn()(picture), pad(crop(picture)))
    outputs = layers.Dense(1, name="answer")(layers.Flatten()(total))
    model, images = draw_weights(keras.Model(picture, outputs)), floats(2, size=6)
    x = images.astype(float)
    sums = a * x + b * turned(x) + c * up(x)
    share = last_relevance(model, rows(sums)).reshape(x.shape) / sums
    # What was moved up comes back down, and what was turned is turned back.
    back = np.pad((up(x) * share)[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
    expected = a * x * share + b * turned(turned(x) * share) + c * back
    assert_close(explained(model, images, "Z"), expected, 1e-5)


def test_a_number_added_to_a_whole_map_gets_what_it_adds_at_each_place():
    picture = keras.Input((6, 6, 3))
    mean = layers.GlobalAveragePooling2D(keepdims=True)(picture)
    total = layers.Add()([picture, mean])
    outputs = layers.Dense(1, name="answer")(layers.Flatten()(total))
    model, images = draw_weights(keras.Model(picture, outputs)), floats(2, size=6)
    x = images.astype(float)
    sums = x + x.mean((1, 2), keepdims=True)
    share = last_relevance(model, rows(sums)).reshape(x.shape) / sums
    expected = x * share + x * share.mean((1, 2), keepdims=True)
    assert_close(explained(model, images, "Z"), expected, 2e-5)


POOLINGS = {
    "average": lambda: layers.AveragePooling2D(2),
    "average that leaves some out": lambda: layers.AveragePooling2D(4, strides=3),
    "average same": lambda: layers.AveragePooling2D(3, strides=2, padding="same"),
    "average same, dense": lambda: layers.AveragePooling2D((3, 2), strides=1, padding="same"),
    "global average": layers.GlobalAveragePooling2D,
    "global average with axes": lambda: layers.GlobalAveragePooling2D(keepdims=True),
    "max": lambda: layers.MaxPooling2D(2),
    "max that overlaps": lambda: layers.MaxPooling2D(3, strides=1),
    "max same": lambda: layers.MaxPooling2D(3, strides=2, padding="same"),
    "global max": layers.GlobalMaxPooling2D,
}


@pytest.mark.parametrize("kind", POOLINGS)
def test_poolings_divide_by_shares_or_give_all_to_the_winner(kind):
    layer = POOLINGS[kind]()
    model = chain(layer, layers.Flatten(), layers.Dense(1, name="answer"), size=7)
    draw_weights(model, seed=3)
    images = floats(3, size=7)
    images[2] = -np.abs(images[2])  # so that zeros around the picture would win
    x, average = rows(images).astype(float), "average" in kind
    matrix = (matrices.average_pooling if average else matrices.max_pooling)(layer, (7, 7, 3))
    if average:
        values = x @ matrix.weights
        expected, _ = matrices.z(matrix, x, last_relevance(model, values))
    else:
        values = np.where(matrix.connected, x[:, :, None], -np.inf).max(1)
        expected = matrices.winner_takes_all(matrix, x, last_relevance(model, values))
    assert_close(rows(explained(model, images, "Z")), expected, 1e-5)
    assert_close(rows(logits(keras.Model(model.inputs[0], layer.output), images)), values, 1e-6)


ROUTES = {
    "zero padding": (
        layers.ZeroPadding2D(((1, 2), (0, 3))),
        lambda x: np.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0))),
        lambda r: r[:, 1:-2, :-3],
    ),
    "cropping": (
        layers.Cropping2D(((2, 1), (0, 3))),
        lambda x: x[:, 2:-1, :-3],
        lambda r: np.pad(r, ((0, 0), (2, 1), (0, 3), (0, 0))),
    ),
    "permute": (
        layers.Permute((3, 1, 2)),
        lambda x: x.transpose(0, 3, 1, 2),
        lambda r: r.transpose(0, 2, 3, 1),
    ),
    "reshape": (
        layers.Reshape((4, 9, 3)),
        lambda x: x.reshape(-1, 4, 9, 3),
        lambda r: r.reshape(-1, 6, 6, 3),
    ),
    "flatten": (layers.Flatten(), rows, lambda r: r.reshape(-1, 6, 6, 3)),
}
SAME_PLACE = [layers.Dropout(0.5), layers.SpatialDropout2D(0.5), layers.GaussianNoise(1.0)]
SAME_PLACE += [layers.Identity(), layers.Activation("linear")]
ROUTES |= {layer.name: (layer, lambda x: x, lambda r: r) for layer in SAME_PLACE}


@pytest.mark.parametrize("kind", ROUTES)
def test_relevance_goes_back_where_the_values_came_from(kind):
    layer, there, back = ROUTES[kind]
    layer = type(layer).from_config(layer.get_config())
    model = draw_weights(chain(layer, layers.Flatten(), layers.Dense(1, name="answer"), size=6))
    images = floats(2, size=6)
    values = there(images.astype(float))
    expected = back(last_relevance(model, rows(values)).reshape(values.shape))
    assert_close(explained(model, images, "Z"), expected, 1e-5)


def test_what_zeros_around_the_picture_are_given_is_reported():
    pad = layers.ZeroPadding2D(1, name="pad")
    model = draw_weights(chain(pad, layers.Flatten(), layers.Dense(1), size=6))
    images = floats(2, size=6)
    relevance, report = run_explain(model, images, "lrp.flat", return_report=True, progress=False)
    logit = logits(model, images)[:, 0]
    assert_close(rows(relevance), np.tile(logit[:, None] / (8 * 8 * 3), 6 * 6 * 3), 1e-5)
    assert_close(report["unassigned"], logit * (8 * 8 - 6 * 6) / (8 * 8), 1e-5)
    reports = relevance_by_layer(model, images, "lrp.flat").set_index("layer").loc["pad"]
    assert_close(reports["unassigned"], report["unassigned"], 1e-5)
    # Where nothing is given for zeros, nothing is lost.
    _, report = run_explain(model, images, "lrp.z", return_report=True, progress=False)
    assert (report["unassigned"] == 0).all()


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_a_concatenation_gives_each_input_its_own(axis):
    picture = keras.Input((6, 6, 3))
    crop, pad = move_up()
    joint = layers.Concatenate(axis)([picture, pad(crop(picture)), picture])
    outputs = layers.Dense(1, name="answer")(layers.Flatten()(joint))
    model, images = draw_weights(keras.Model(picture, outputs)), floats(2, size=6)
    x = images.astype(float)
    values = np.concatenate([x, up(x), x], axis)
    first, moved, last = np.split(
        last_relevance(model, rows(values)).reshape(values.shape), 3, axis
    )
    expected = first + last + np.pad(moved[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
    assert_close(explained(model, images, "Z"), expected, 1e-5)


RELUS = {
    "ReLU": (layers.ReLU, np.inf),
    "relu": (lambda: layers.Activation("relu"), np.inf),
    "operation": (lambda: keras.ops.relu, np.inf),
    "ReLU 6": (lambda: layers.ReLU(6.0), 6),
    "relu6": (lambda: layers.Activation("relu6"), 6),
    "operation 6": (lambda: keras.ops.relu6, 6),
}


@pytest.mark.parametrize("kind", RELUS)
def test_an_activation_passes_relevance_on_and_is_in_the_sums(kind):
    make, top = RELUS[kind]
    picture = keras.Input((6, 6, 3))
    outputs = layers.Dense(1, name="answer")(layers.Flatten()(make()(picture)))
    model, images = draw_weights(keras.Model(picture, outputs)), 10 * floats(2, size=6)
    values = np.clip(rows(images).astype(float), 0, top)
    assert (values == 6).any() == (top == 6)
    found, report = explained(model, images, "Z", value_range=(-10, 10), return_report=True)
    assert_close(rows(found), last_relevance(model, values), 1e-5)
    assert_close(report["logit"], logits(model, images)[:, 0], 1e-5)
    # By the flat rule, closed units have relevance as well, and do not keep it.
    options = {"value_range": (-10, 10), "progress": False}
    even = run_explain(model, images, "lrp.flat", **options)
    assert_close(even[:, 0, 0, 0] * even[0].size, logits(model, images)[:, 0], 1e-5)
    assert np.ptp(even[0]) == 0


@pytest.mark.parametrize("kind", ["ReLU 6", "relu6"])
def test_sums_above_six_count_as_six_in_the_layer_behind(kind):
    conv = layers.Conv2D(5, 3, activation="relu6" if kind == "relu6" else None)
    relu = [layers.ReLU(6.0)] if kind == "ReLU 6" else []
    end = [layers.Flatten(), layers.Dense(1, name="answer")]
    model, images = draw_weights(chain(conv, *relu, *end, size=6)), 10 * floats(2, size=6)
    matrix = matrices.matrix_of(conv, (6, 6, 3))
    sums = rows(images).astype(float) @ matrix.weights + matrix.bias
    assert (sums > 6).any()
    relevance = last_relevance(model, np.clip(sums, 0, 6))
    expected, _ = matrices.gamma(matrix, rows(images).astype(float), relevance)
    assert_close(rows(explained(model, images, "Gamma", value_range=(-10, 10))), expected, 1e-5)


NORMS_THAT_STAY = {
    "input": (lambda picture: picture, lambda x: x),
    "relu": (lambda picture: layers.ReLU()(picture), lambda x: np.maximum(x, 0)),
    "sum": (lambda picture: layers.Add()([picture, turn()(picture)]), lambda x: x + turned(x)),
}


@pytest.mark.parametrize("name", ["Z", "Alpha2Beta1", "Gamma", "WSquare"])
@pytest.mark.parametrize("place", NORMS_THAT_STAY)
def test_a_norm_that_cannot_be_folded_is_a_layer_of_its_own(place, name):
    before, by_hand = NORMS_THAT_STAY[place]
    norm = layers.BatchNormalization()
    picture = keras.Input((6, 6, 3))
    x = layers.Flatten()(norm(before(picture)))
    model = draw_weights(keras.Model(picture, layers.Dense(1, name="answer")(x)))
    images = floats(2, size=6)
    matrix = matrices.matrix_of(norm, (6, 6, 3))
    values = by_hand(images.astype(float))
    rule, formula = RULES_AND_FORMULAS[name]
    relevance = last_relevance(model, rows(values) @ matrix.weights + matrix.bias)
    part = formula(matrix, rows(values), relevance)[0].reshape(values.shape)
    if place == "sum":
        share = part / (values + np.copysign(matrices.STABILISER, values))
        part = images * share + turned(turned(images) * share)
    assert_close(explained(model, images, rule), part, 1e-5)


def test_each_row_of_the_report_is_that_of_its_layer():
    """Three hidden units for a pixel (1, 1, 1): the first has no part against it, the second none
    for it, and is open by its bias alone, the third has both.
    """
    hidden = layers.Dense(3, activation="relu", name="hidden")
    model = chain(layers.Flatten(), hidden, layers.Dense(1, name="answer"), size=1)
    kernel = np.array([[1, -1, 2], [2, -1, -1], [1, 0, 1]])
    model.set_weights([kernel, np.array([0, 3, 0]), np.array([[1], [2], [-1]]), np.zeros(1)])
    pixel = np.ones((1, 1, 1, 3), np.float32)
    table = relevance_by_layer(model, pixel, "lrp.alpha_2_beta_1").set_index("layer")
    # The units are 4, 1 and 2; the logit is 4 + 2 - 2 = 4, its parts 6 and -2.
    answer, units = table.loc["answer"], table.loc["hidden"]
    assert answer[["relevance", "abs_sum", "unassigned", "bias"]].tolist() == [4, 4, 0, 0]
    assert answer["unassigned_outputs"] == 0
    # They get 2 * 4 * 4/6, 2 * 4 * 2/6 and -4; the first hands on twice that, the bias of the
    # second takes twice that, and gives what is taken from its inputs.
    first, second, third = 16 / 3, 8 / 3, -4
    assert units["relevance"] == pytest.approx(4) and units["abs_sum"] == pytest.approx(12)
    assert units["unassigned"] == pytest.approx(-first)
    assert units["unassigned_outputs"] == 1
    assert units["bias"] == pytest.approx(2 * second)
    picture = table.iloc[0]
    assert picture["kind"] == "InputLayer"
    assert picture["relevance"] == pytest.approx(2 * first - second + third)
    assert (table["stabiliser"] == 0).all()


def hidden_row(method):
    """Follow (1, 1, 1) through four units, all of them with the weight 1 into the logit.

    Unit 1 is 2, without negative part. Unit 2 is -1 + 2 = 1, and has a positive part in its bias
    alone. Unit 3 is closed. Unit 4 is 1, its bias.
    """
    hidden = layers.Dense(4, activation="relu", name="hidden")
    model = chain(layers.Flatten(), hidden, layers.Dense(1, name="answer"), size=1)
    kernel = np.array([[1, -1, -1, 0], [1, 0, -1, 0], [0, 0, 0, 0]])
    model.set_weights([kernel, np.array([0, 2, 0, 1]), np.ones((4, 1)), np.zeros(1)])
    pixel = np.ones((1, 1, 1, 3), np.float32)
    return relevance_by_layer(model, pixel, method).set_index("layer").loc["hidden"]


@pytest.mark.parametrize(
    "method, arrived, unassigned, outputs",
    [
        ("lrp.z", 4, 0, 0),
        ("lrp.w_square", 4, 1, 1),  # unit 4 has no weights
        ("lrp.flat", 4, 0, 0),
        # The answer has no negative part and hands on 4, 2, 0 and 2. Units 1 and 4 take back none
        # of that, and of the others the second has both parts, and the third no relevance.
        ("lrp.alpha_2_beta_1", 8, -4 - 2, 2),
        # Without biases unit 2 has no positive part, and unit 4 neither.
        ("lrp.alpha_2_beta_1_IB", 8, -4 + 4 + 2, 3),
        ("lrp.alpha_1_beta_0", 4, 0, 0),
        ("lrp.z_plus", 4, 2, 2),
    ],
)
def test_outputs_with_a_part_missing_are_counted(method, arrived, unassigned, outputs):
    hidden = hidden_row(method)
    assert hidden["relevance"] == pytest.approx(arrived)
    assert hidden["unassigned"] == pytest.approx(unassigned)
    assert hidden["unassigned_outputs"] == outputs


def test_a_sum_that_must_and_must_not_change_its_sign_has_no_opposite():
    """The logit is a + b with b = w a + c: b would need -a in its place, and a as its input."""
    picture = keras.Input((4, 4, 3))
    first = layers.Dense(1, name="first")(layers.Flatten()(picture))
    second = layers.Dense(1, name="second")(first)
    model = draw_weights(keras.Model(picture, layers.Add()([first, second])))
    images = floats(3, size=4)
    _, report = run_explain(model, images, "lrp.z", return_report=True, progress=False)
    assert_close(report["logit"], logits(model, images)[:, 0], 1e-5)
    with pytest.raises(UserError, match="explain 'fake'"):
        run_explain(model, images, "lrp.z", target="real", progress=False)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_a_sum_of_two_last_layers_has_its_opposite(activation):
    picture = keras.Input((4, 4, 3))
    x = layers.Dense(5, activation=activation)(layers.Flatten()(picture))
    model = keras.Model(picture, layers.Dense(1)(x) + layers.Dense(1, use_bias=False)(x))
    draw_weights(model)
    images, options = floats(3, size=4), {"return_report": True, "progress": False}
    fake, report = run_explain(model, images, "lrp.z", **options)
    real, opposite = run_explain(model, images, "lrp.z", target="real", **options)
    assert_close(report["logit"], logits(model, images)[:, 0], 1e-5)
    assert_close(opposite["logit"], -report["logit"], 1e-5)
    assert_close(real, -fake, 1e-5)
