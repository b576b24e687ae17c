"""A network whose batch norms are folded away answers like the given one, which stays as it was."""

import gc
import weakref
from contextlib import contextmanager

import keras
import numpy as np
import pytest

from small import SIZE, chain, detector, draw_weights, floats, logits
from xaifake.detector.graph import nodes
from xaifake.errors import UserError
from xaifake.explainers.lrp import merge_batch_norms

layers = keras.layers
BatchNorm = layers.BatchNormalization


@contextmanager
def precision(dtype):
    before = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_dtype_policy(dtype)
    if not dtype.startswith("mixed"):
        keras.config.set_floatx(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before[0])
        keras.config.set_floatx(before[1])


@pytest.fixture
def double():
    with precision("float64"):
        yield


def norms(model):
    return [node.name for node in nodes(model) if isinstance(node.layer, BatchNorm)]


def difference(model, canonical, images=None):
    """Return how far the answers are from each other, in units of the largest."""
    images = floats(3) if images is None else images
    expected = logits(model, images)
    assert np.isfinite(expected).all() and np.ptp(expected) > 1e-3 * np.abs(expected).max()
    return np.abs(logits(canonical, images) - expected).max() / np.abs(expected).max()


NETWORKS = ("Xception", "MobileNetV2", "ResNet50", "VGG16")


def application(name):
    """Return a network with random weights, and statistics and factors of its batch norms."""
    settings = {"weights": None, "input_shape": (96, 96, 3), "classifier_activation": None}
    model = draw_weights(getattr(keras.applications, name)(classes=5, **settings))
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, BatchNorm):  # both signs, and sizes that do not die out with depth
            shape = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.5, 1.5, shape) * rng.choice([1, 1, 1, -1], shape))
            layer.moving_mean.assign(rng.normal(0, 0.3, shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, shape))
    return model


@pytest.fixture(scope="module", params=NETWORKS)
def folded(request):
    model = application(request.param)
    before = [weight.copy() for weight in model.get_weights()]
    yield model, merge_batch_norms(model), before
    gc.collect()


def test_a_folded_network_answers_like_the_given_one(folded):
    model, canonical, _ = folded
    assert difference(model, canonical, floats(2, size=96)) < 1e-4


def test_all_norms_of_well_known_networks_are_folded(folded):
    model, canonical, _ = folded
    assert norms(canonical) == []
    kept = {node.name for node in nodes(model)[1:] if not isinstance(node.layer, BatchNorm)}
    assert {node.name for node in nodes(canonical)[1:]} == kept


def test_the_given_network_keeps_its_weights(folded):
    model, canonical, before = folded
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not {id(w) for w in model.weights} & {id(w) for w in canonical.weights}


@pytest.mark.parametrize("name", NETWORKS)
def test_in_double_precision_the_answers_agree_to_ten_digits(double, name):
    model = application(name)
    canonical = merge_batch_norms(model)
    assert {weight.dtype for weight in canonical.weights} == {"float64"}
    images = floats(1, size=96).astype(float)
    assert difference(model, canonical, images) < 1e-10
    del model, canonical
    gc.collect()


CARRIERS = {
    "conv": lambda bias: layers.Conv2D(5, 3, use_bias=bias),
    "conv in groups": lambda bias: layers.Conv2D(6, 3, groups=3, use_bias=bias),
    "conv dilated": lambda bias: layers.Conv2D(5, 3, dilation_rate=2, use_bias=bias),
    "depthwise": lambda bias: layers.DepthwiseConv2D(3, strides=2, use_bias=bias),
    "depthwise times 2": lambda bias: layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=bias),
    "separable": lambda bias: layers.SeparableConv2D(5, 3, padding="same", use_bias=bias),
    "separable times 2": lambda bias: layers.SeparableConv2D(
        5, 3, depth_multiplier=2, use_bias=bias
    ),
    "dense on maps": lambda bias: layers.Dense(5, use_bias=bias),
}
NORMS = {
    "norm": BatchNorm,
    "norm without beta": lambda: BatchNorm(center=False),
    "norm without gamma": lambda: BatchNorm(scale=False),
    "norm without both": lambda: BatchNorm(center=False, scale=False),
    "norm with a large epsilon": lambda: BatchNorm(epsilon=0.7),
    "norm on the last axis": lambda: BatchNorm(axis=3),
    "frozen norm": lambda: BatchNorm(trainable=False),
}


def end():
    return [layers.ReLU(), layers.Flatten(), layers.Dense(4)]


def assert_folded(model, staying=()):
    """Draw weights, fold, and compare; `staying` are the norms that nothing can take up."""
    canonical = merge_batch_norms(draw_weights(model))
    assert sorted(norms(canonical)) == list(staying)
    assert difference(model, canonical) < 1e-12
    return canonical


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("kind", CARRIERS)
def test_each_layer_takes_up_a_norm_and_a_second_one(double, kind, bias):
    canonical = assert_folded(chain(CARRIERS[kind](bias), BatchNorm(), *end()))
    assert canonical.layers[1].use_bias
    assert_folded(chain(CARRIERS[kind](bias), BatchNorm(), BatchNorm(), *end()))


@pytest.mark.parametrize("kind", NORMS)
def test_each_norm_is_taken_up_or_stays(double, kind):
    for bias in (True, False):
        assert_folded(chain(layers.Conv2D(5, 3, use_bias=bias), NORMS[kind](), *end()))
    alone = NORMS[kind]()
    assert_folded(chain(alone, *end()), [alone.name])


def test_a_dense_layer_takes_up_a_norm_of_a_row_and_the_last_one_a_norm_behind_it(double):
    hidden = [layers.Dense(6), BatchNorm(), layers.ReLU(), layers.Dense(4)]
    assert_folded(chain(layers.Flatten(), *hidden))
    assert_folded(chain(layers.Flatten(), layers.Dense(4), BatchNorm()))


def test_kernels_by_hand():
    """Times 3 / sqrt(4) = 1.5 with gamma = 3, then less 2 * 1.5 and plus 5."""
    model = chain(
        layers.Flatten(), layers.Dense(1, name="sum"), BatchNorm(epsilon=1.0, name="norm"), size=1
    )
    column = np.array([[1], [-2], [4]])
    model.set_weights([column, np.array([7]), *(np.array([n]) for n in (3, 5, 2, 3))])
    kernel, bias = merge_batch_norms(model).get_layer("sum").get_weights()
    assert kernel.tolist() == [[1.5], [-3], [6]] and bias.tolist() == [7 * 1.5 - 3 + 5]


def branching(first, second):
    """Return a model of `first`, and of what comes behind it added to it."""
    picture = keras.Input((SIZE, SIZE, 3))
    x = before = first(picture)
    for layer in second:
        x = layer(x)
    x = layers.Add()([before, x])
    return keras.Model(picture, layers.Dense(4)(layers.Flatten()(layers.ReLU()(x))))


def a_norm_of_a_sum():
    picture = keras.Input((SIZE, SIZE, 3))
    total = layers.Add()([layers.Conv2D(3, 1)(picture), layers.Conv2D(3, 1)(picture)])
    x = layers.ReLU()(BatchNorm(name="norm")(total))
    return keras.Model(picture, layers.Dense(4)(layers.Flatten()(x)))


STAYING = {
    "input": lambda: chain(BatchNorm(name="norm"), layers.Conv2D(3, 3), *end()),
    "relu": lambda: chain(
        layers.Conv2D(3, 3), layers.ReLU(), BatchNorm(name="norm"), layers.Conv2D(3, 3), *end()
    ),
    "an activation of the layer": lambda: chain(
        layers.Conv2D(3, 3, activation="relu"), BatchNorm(name="norm"), *end()
    ),
    "pooling": lambda: chain(
        layers.Conv2D(3, 3), layers.MaxPooling2D(), BatchNorm(name="norm"), *end()
    ),
    "padding": lambda: chain(
        layers.Conv2D(3, 3), layers.ZeroPadding2D(), BatchNorm(name="norm"), *end()
    ),
    "a layer that feeds two": lambda: branching(
        layers.Conv2D(3, 1), [BatchNorm(name="norm"), layers.ReLU()]
    ),
    "sum": a_norm_of_a_sum,
}


@pytest.mark.parametrize("place", STAYING)
def test_a_norm_with_nothing_to_take_it_up_stays_where_it_is(double, place):
    model = STAYING[place]()
    canonical = assert_folded(model, ["norm"])
    expected = model.get_layer("norm").get_weights()
    for given, kept in zip(expected, canonical.get_layer("norm").get_weights(), strict=True):
        np.testing.assert_array_equal(given, kept)


def test_of_two_norms_behind_a_sum_both_stay(double):
    assert_folded(chain(BatchNorm(name="one"), BatchNorm(name="two"), *end()), ["one", "two"])


def test_a_norm_that_feeds_two_is_taken_up_and_one_behind_it_is_not(double):
    def first(x):
        return BatchNorm(name="first")(layers.Conv2D(3, 1)(x))

    assert_folded(branching(first, [BatchNorm(name="second"), layers.ReLU()]), ["second"])


def test_both_of_two_norms_on_one_layer_stay(double):
    picture = keras.Input((SIZE, SIZE, 3))
    sums = layers.Conv2D(3, 1)(picture)
    joint = layers.Concatenate()([BatchNorm(name="one")(sums), BatchNorm(name="two")(sums)])
    model = keras.Model(picture, layers.Dense(4)(layers.Flatten()(joint)))
    assert_folded(model, ["one", "two"])


def change_nothing(norm):
    """Give a norm the factor 1 and the constant 0."""
    norm.gamma.assign(np.ones(norm.gamma.shape))
    norm.beta.assign(np.zeros(norm.beta.shape))
    norm.moving_mean.assign(np.zeros(norm.gamma.shape))
    norm.moving_variance.assign(np.full(norm.gamma.shape, 1 - norm.epsilon))


@pytest.mark.parametrize("place", STAYING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_norm_that_changes_nothing_is_left_out_anywhere(dtype, place):
    with precision(dtype):
        model = draw_weights(STAYING[place]())
        change_nothing(model.get_layer("norm"))
        canonical = merge_batch_norms(model)
    assert norms(canonical) == []
    assert difference(model, canonical) < (1e-6 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("factor", [1 + 1e-4, -1])
def test_a_norm_that_changes_little_is_not_left_out(factor):
    model = draw_weights(STAYING["input"]())
    change_nothing(model.get_layer("norm"))
    model.get_layer("norm").gamma.assign([1, 1, factor])
    assert norms(merge_batch_norms(model)) == ["norm"]


@pytest.mark.parametrize("axis", [1, 2])
def test_a_norm_on_another_axis_is_refused_by_name(axis):
    model = chain(layers.Conv2D(3, 3), BatchNorm(axis=axis, name="norm_of_rows"), *end())
    with pytest.raises(UserError, match=f"'norm_of_rows' works on axis {axis}.*channels last"):
        merge_batch_norms(model)


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
@pytest.mark.parametrize("own", [True, False], ids=["of the layer", "as a layer"])
def test_a_head_is_taken_off(double, head, own):
    hidden = [layers.Conv2D(4, 3), BatchNorm(), layers.ReLU(), layers.Flatten()]
    last = [layers.Dense(4, activation=head, name="answer")]
    if not own:
        last = [layers.Dense(4, name="answer"), layers.Activation(head)]
    model = draw_weights(chain(*hidden, *last))
    canonical = merge_batch_norms(model)
    assert nodes(canonical)[-1].name == "answer" and nodes(canonical)[-1].activation == "linear"
    found = getattr(keras.ops, head)(logits(canonical, floats(2))).numpy()
    np.testing.assert_allclose(found, logits(model, floats(2)), rtol=1e-10, atol=0)
    assert nodes(model)[-1].activation == head


def test_names_of_layers_are_those_of_the_given_model():
    model = detector()
    canonical = merge_batch_norms(model)
    expected = [layer.name for layer in model.layers if layer.name != "norm"]
    assert [layer.name for layer in canonical.layers] == expected
    assert canonical.name == model.name and canonical.input_shape == model.input_shape
    assert difference(model, canonical) < 1e-5


@pytest.mark.parametrize("name", ["picture", None])
def test_the_input_keeps_its_name(name):
    picture = keras.Input((SIZE, SIZE, 3), name=name)
    model = keras.Model(picture, layers.Dense(2)(layers.Flatten()(picture)))
    assert merge_batch_norms(model).layers[0].name == model.layers[0].name


def test_a_model_that_is_trained_further_leaves_its_folded_copy_alone():
    model, images = detector(), floats(2)
    canonical = merge_batch_norms(model)
    before = logits(canonical, images)
    draw_weights(model, seed=5)
    np.testing.assert_array_equal(logits(canonical, images), before)
    assert difference(model, merge_batch_norms(model), images) < 1e-5


def test_a_compiled_model_is_folded_without_its_loss():
    def loss_of_mine(truth, answer):
        return truth - answer

    model = detector()
    model.compile(loss=loss_of_mine)
    assert difference(model, merge_batch_norms(model)) < 1e-5


def with_operations():
    picture = keras.Input((SIZE, SIZE, 3))
    sums = BatchNorm()(layers.Conv2D(3, 1)(picture))
    total = keras.ops.relu(sums) + keras.ops.relu6(layers.Conv2D(3, 1)(picture))
    return draw_weights(keras.Model(picture, layers.Dense(4)(layers.Flatten()(total))))


def test_operations_that_are_no_layers_are_copied(double):
    assert_folded(with_operations())


@pytest.mark.parametrize("make", [detector, with_operations])
def test_a_model_does_not_keep_its_folded_copies(make):
    model = make()
    canonical = merge_batch_norms(model)
    trace = weakref.ref(canonical.layers[-1])
    del canonical
    gc.collect()
    assert trace() is None


def test_a_sequential_model_may_grow_after_it_was_folded():
    model = chain(layers.Conv2D(4, 3), BatchNorm(), layers.ReLU())
    merge_batch_norms(chain(layers.Conv2D(4, 3), BatchNorm()))
    model.add(layers.Flatten())
    model.add(layers.Dense(2))
    draw_weights(model)
    assert difference(model, merge_batch_norms(model)) < 1e-5


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_of_half_precision_becomes_one_of_full_precision(policy):
    full = detector()
    with precision(policy):
        half = detector()
    half.set_weights(full.get_weights())
    canonical = merge_batch_norms(half)
    assert {weight.dtype for weight in canonical.weights} == {"float32"}
    assert {layer.compute_dtype for layer in canonical.layers} == {"float32"}
    images = floats(3)
    assert logits(canonical, images).dtype == np.float32
    # Nearer to the model in full precision than the one in half is.
    assert difference(full, canonical, images) < 1e-5 < difference(full, half, images)
