"""LRP of whole networks: one function has one map, however it is written, fed and kept."""

import gc
import weakref

import keras
import numpy as np
import pytest

from small import (
    LRP_OPTIONS,
    SIZE,
    chain,
    detector,
    draw_weights,
    floats,
    logits,
    pictures,
    run_explain,
)
from xaifake.errors import UserError
from xaifake.explainers.lrp import METHODS

layers = keras.layers
FEW = ["lrp.z", "lrp.alpha_2_beta_1", "lrp.sequential_preset_b_flat"]
SEVERAL = [*FEW, "lrp.gamma", "lrp.w_square", "lrp.z_plus"]


def explain(model, images, method, **options):
    options = {**LRP_OPTIONS.get(method, {}), **options}
    return run_explain(model, images, method, progress=False, **options)


def assert_same(relevance, expected, tolerance):
    """Compare maps in units of each one's largest config."""
    largest = np.abs(expected).max(axis=(1, 2, 3))
    assert (largest > 0).all()
    difference = np.abs(relevance - expected).max(axis=(1, 2, 3)) / largest
    assert difference.max() <= tolerance


def copy_of(model):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def with_other_answer(model, factor):
    other = copy_of(model)
    other.layers[-1].set_weights([factor * w for w in model.layers[-1].get_weights()])
    return other


def test_the_z_rule_without_biases_is_picture_times_gradient():
    model = draw_weights(
        chain(
            layers.Conv2D(5, 3, use_bias=False, activation="relu"),
            layers.MaxPooling2D(2),
            layers.SeparableConv2D(4, 3, use_bias=False, padding="same"),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(6, use_bias=False, activation="relu"),
            layers.Dense(1, use_bias=False),
        )
    )
    images = floats(4)
    expected = run_explain(model, images, "input_t_gradient")
    assert_same(explain(model, images, "lrp.z"), expected, 1e-5)


def separable():
    """Separable convolutions and batch norms of each kind that can be folded."""
    return draw_weights(
        chain(
            layers.SeparableConv2D(6, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=2),
            layers.BatchNormalization(scale=False),
            layers.ReLU(),
            layers.SeparableConv2D(4, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(4, 2, use_bias=False),
            layers.BatchNormalization(center=False),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(5, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(1),
        ),
        seed=12,
    )


def ordinary_copy(model):
    """The same function without separable layers and batch norms."""
    original, weights = [], []
    for layer in model.layers:
        given = [weight.astype(float) for weight in layer.get_weights()]
        if isinstance(layer, layers.BatchNormalization):
            gamma = given.pop(0) if layer.scale else 1
            beta = given.pop(0) if layer.center else 0
            mean, variance = given
            factor = gamma / np.sqrt(variance + layer.epsilon)
            weights[-2:] = [weights[-2] * factor, (weights[-1] - mean) * factor + beta]
            continue
        config = layer.get_config()
        if isinstance(layer, layers.SeparableConv2D):
            names = ("filters", "kernel_size", "strides", "padding", "activation")
            original.append(layers.Conv2D(**{name: config[name] for name in names}))
            depthwise, pointwise, *bias = given
            channels, multiplier = depthwise.shape[2:]
            pointwise = pointwise.reshape(channels, multiplier, -1)
            given = [np.einsum("hwcm,cmo->hwco", depthwise, pointwise), *bias]
        else:
            if given:
                config["use_bias"] = True
            original.append(type(layer).from_config(config))
        if len(given) == 1:
            given.append(np.zeros(given[0].shape[-1]))
        weights += given
    original = chain(*original)
    original.set_weights(weights)
    return original


@pytest.fixture(scope="module")
def two_ways():
    return separable(), ordinary_copy(separable())


@pytest.mark.parametrize("method", METHODS)
def test_separable_layers_with_batch_norms_have_the_maps_of_ordinary_ones(method, two_ways):
    images = floats(3)
    first, second = two_ways
    np.testing.assert_allclose(logits(first, images), logits(second, images), rtol=1e-4)
    options = [{"until_layer_idx": n} if "until" in method else {} for n in (4, 3)]
    pair = [explain(model, images, method, **o) for model, o in zip(two_ways, options)]
    fast = method == "lrp.z_plus_fast"  # on negative inputs it divides by sums near zero
    assert_same(*pair, 1e-4 if fast else 1e-5)


@pytest.mark.parametrize("method", SEVERAL)
def test_a_logit_three_times_as_large_has_a_map_three_times_as_large(method):
    model, images = detector(), floats(3)
    # An epsilon of 0.1 is in units of the sums, and they grow with the weights.
    options = {"epsilon": 1e-7} if "preset" in method else {}
    expected = 3 * explain(model, images, method, **options)
    larger = with_other_answer(model, 3)
    assert_same(explain(larger, images, method, **options), expected, 1e-5)


@pytest.mark.parametrize("method", SEVERAL)
def test_real_has_the_map_of_the_detector_with_negated_answer(method):
    model, images = detector(seed=3), floats(3)
    negated = with_other_answer(model, -1)
    for target, other in (("real", "fake"), ("fake", "real")):
        relevance, report = explain(model, images, method, target=target, return_report=True)
        assert np.array_equal(relevance, explain(negated, images, method, target=other))
        sign = {"real": -1, "fake": 1}[target]
        np.testing.assert_allclose(report.logit, sign * logits(model, images)[:, 0], rtol=1e-4)


@pytest.mark.parametrize("method", SEVERAL)
def test_a_batch_has_the_maps_of_its_pictures_in_any_order(method):
    model, images = detector(), floats(5)
    together = explain(model, images, method)
    alone = [explain(model, images[i : i + 1], method) for i in range(5)]
    assert_same(np.concatenate(alone), together, 1e-6)
    assert_same(explain(model, images, method, batch_size=2), together, 1e-6)
    order = [3, 0, 4, 1, 2]
    assert_same(explain(model, images[order], method), together[order], 1e-6)


@pytest.mark.parametrize("method", SEVERAL)
def test_an_index_has_the_map_of_the_detector_with_that_logit_alone(method):
    three, one, images = detector(3, seed=5), detector(), floats(3)
    kernel, bias = three.layers[-1].get_weights()
    seen = []
    for index in range(3):
        part = slice(index, index + 1)
        one.set_weights([*three.get_weights()[:-2], kernel[:, part], bias[part]])
        relevance = explain(three, images, method, target=index)
        assert_same(relevance, explain(one, images, method), 1e-5)
        seen.append(relevance)
    assert not np.allclose(seen[0], seen[1]) and not np.allclose(seen[1], seen[2])


def shortcut(norm_behind=None, norm=layers.BatchNormalization):
    """Return a network with a shortcut, and if wanted with a batch norm somewhere."""

    def add_norm(x, place):
        return norm(name="norm")(x) if place == norm_behind else x

    picture = keras.Input((SIZE, SIZE, 3))
    x = add_norm(layers.Conv2D(6, 3, padding="same", name="a")(picture), "convolution")
    x = skip = add_norm(layers.ReLU()(x), "relu")
    x = layers.SeparableConv2D(6, 3, padding="same", name="b")(x)
    x = add_norm(layers.Add()([x, skip]), "addition")
    x = layers.MaxPooling2D(2)(layers.Activation("relu")(x))
    x = add_norm(layers.Conv2D(4, 3, activation="relu", name="c")(x), "convolution with relu")
    outputs = layers.Dense(1, name="d")(layers.Flatten()(x))
    return draw_weights(keras.Model(picture, outputs))


PLACES = ["convolution", "relu", "addition", "convolution with relu"]


def make_norm_change_nothing(model):
    norm = model.get_layer("norm")
    ones, zeros = np.ones(norm.gamma.shape), np.zeros(norm.gamma.shape)
    norm.set_weights([ones, zeros, zeros, ones - norm.epsilon])


@pytest.fixture(scope="module")
def plain():
    return shortcut()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", SEVERAL)
def test_a_batch_norm_that_changes_nothing_changes_no_map(method, place, plain):
    longer, images = shortcut(norm_behind=place), floats(3)
    make_norm_change_nothing(longer)
    for name in "abcd":
        longer.get_layer(name).set_weights(plain.get_layer(name).get_weights())
    assert_same(explain(longer, images, method), explain(plain, images, method), 1e-6)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", SEVERAL)
def test_the_logit_is_divided_wherever_there_is_a_batch_norm(method, place):
    model, images = shortcut(norm_behind=place), floats(3)
    _, report = explain(model, images, method, return_report=True)
    np.testing.assert_allclose(report.logit, logits(model, images)[:, 0], rtol=1e-4)
    off = report.logit - report[["sum", "bias", "stabiliser", "unassigned"]].sum(axis=1)
    assert (off.abs() <= 1e-4 * report.logit.abs()).all()


def with_convolution_as_norm(model, place):
    """The same function, with a convolution of one pixel and each channel in a norm's place."""
    original = shortcut(place, lambda name: layers.DepthwiseConv2D(1, name=name))
    norm = model.get_layer("norm")
    gamma, beta, mean, variance = (weight.astype(float) for weight in norm.get_weights())
    factor = gamma / np.sqrt(variance + norm.epsilon)
    original.get_layer("norm").set_weights([factor.reshape(1, 1, -1, 1), beta - mean * factor])
    for name in "abcd":
        original.get_layer(name).set_weights(model.get_layer(name).get_weights())
    return original


@pytest.mark.parametrize("place", ["relu", "addition"])
@pytest.mark.parametrize("method", SEVERAL)
def test_a_batch_norm_that_cannot_be_folded_is_a_linear_layer_of_its_own(method, place):
    model, images = shortcut(norm_behind=place), floats(3)
    expected = explain(with_convolution_as_norm(model, place), images, method)
    assert_same(explain(model, images, method), expected, 1e-5)


@pytest.mark.parametrize("method", SEVERAL)
def test_new_weights_are_seen(method):
    model, other, images = detector(), detector(seed=3), floats(2)
    before = explain(model, images, method)
    weights = model.get_weights()
    model.set_weights(other.get_weights())
    after = explain(model, images, method)
    assert not np.allclose(before, after)
    assert np.array_equal(after, explain(other, images, method))
    model.set_weights(weights)
    assert np.array_equal(explain(model, images, method), before)


@pytest.mark.parametrize("name", ["conv", "norm", "sepconv", "answer"])
def test_new_weights_of_one_layer_are_seen_under_a_sigmoid_too(name):
    model, images = detector(activation="sigmoid"), floats(2)
    before = explain(model, images, "lrp.alpha_2_beta_1")
    weights = model.get_layer(name).weights
    for weight in weights:
        weight.assign(weight + 0.1)
    after = explain(model, images, "lrp.alpha_2_beta_1")
    assert not np.allclose(before, after)
    assert np.array_equal(after, explain(copy_of(model), images, "lrp.alpha_2_beta_1"))


@pytest.mark.parametrize("place", PLACES)
def test_a_batch_norm_may_begin_and_cease_to_change_something(place):
    model, images, method = shortcut(norm_behind=place), floats(2), "lrp.alpha_2_beta_1"
    something = model.get_layer("norm").get_weights()
    for change in ("nothing", "something", "nothing"):
        if change == "something":
            model.get_layer("norm").set_weights(something)
        else:
            make_norm_change_nothing(model)
        expected = explain(copy_of(model), images, method)
        assert np.array_equal(explain(model, images, method), expected)


def test_two_models_do_not_mix():
    # Of one architecture and with the same names, and by more rules than are kept of each.
    methods, models, images = SEVERAL[:5], [detector(), detector(seed=3)], floats(2)
    expected = [{m: explain(copy_of(model), images, m) for m in methods} for model in models]
    for method in (*methods, *methods[::-1]):
        for model, maps in zip(models, expected):
            assert np.array_equal(explain(model, images, method), maps[method])


MADE = {
    "logit": detector,
    "sigmoid": lambda: detector(activation="sigmoid"),
    "Sequential": lambda: chain(layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(1)),
    "norms left over": lambda: shortcut(norm_behind="relu"),
}


@pytest.mark.parametrize("make", MADE)
def test_what_is_kept_of_a_model_goes_with_it(make):
    model = MADE[make]()
    for method in ("lrp.z", "lrp.alpha_2_beta_1"):
        for target in ("fake", "real"):
            explain(model, floats(1), method, target=target)
    explain(model, floats(1), "lrp.z", return_report=True)
    trace = weakref.ref(model)
    del model
    gc.collect()
    assert trace() is None


@pytest.mark.parametrize("method", SEVERAL)
def test_the_model_and_the_pictures_stay_as_they_were(method):
    model, images = detector(activation="sigmoid"), pictures(2)
    given = images.copy()
    weights, config, before = model.get_weights(), model.to_json(), logits(model, floats(2))
    explain(model, images, method, return_report=True)
    for old, new in zip(weights, model.get_weights(), strict=True):
        assert np.array_equal(old, new)
    assert model.to_json() == config and np.array_equal(logits(model, floats(2)), before)
    assert np.array_equal(images, given)


HEADS = {
    "sigmoid": lambda: detector(activation="sigmoid"),
    "softmax": lambda: detector(3, activation="softmax"),
    "sigmoid layer": lambda: under(detector(), layers.Activation("sigmoid")),
    "softmax layer": lambda: under(detector(3), layers.Softmax()),
    "linear layer": lambda: under(detector(), layers.Activation("linear")),
}


def under(model, layer):
    return keras.Model(model.inputs[0], layer(model.outputs[0]))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("method", FEW)
def test_a_head_changes_no_map(method, head):
    model, images = HEADS[head](), floats(3)
    classes = model.output_shape[1]
    target = "fake" if classes == 1 else 1
    expected = explain(detector(classes), images, method, target=target)
    assert np.array_equal(explain(model, images, method, target=target), expected)


def detector_of(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return detector()
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_trained_in_mixed_precision_has_the_maps_of_its_copy_in_full(policy):
    half, full, images = detector_of(policy), detector(), floats(3)
    explain(half, images, FEW[0])  # what is kept of it then must not change with it
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    half.compile(keras.optimizers.SGD(0.01), loss)
    half.fit(floats(8), np.arange(8) % 2, verbose=0)
    full.set_weights(half.get_weights())
    for method in FEW:
        assert_same(explain(half, images, method), explain(full, images, method), 1e-6)


@pytest.mark.parametrize("policy", ["bfloat16", "float16", "float64"])
def test_a_model_of_another_precision_has_nearly_the_maps_of_its_copy(policy):
    model, full, images = detector_of(policy), detector(), floats(3)
    full.set_weights([weight.astype(np.float32) for weight in model.get_weights()])
    for method in FEW:
        relevance = explain(model, images, method)
        assert relevance.dtype == np.float32
        expected = explain(full, images, method)
        assert np.corrcoef(relevance.ravel(), expected.ravel())[0, 1] > 0.99


def linear_shortcut(behind):
    """Return a network whose answer is a sum that is taken twice, once through other layers."""
    picture = keras.Input((SIZE, SIZE, 3))
    first = layers.Dense(1)(layers.Flatten()(picture))
    second = layers.Dense(1)(behind(first))
    return draw_weights(keras.Model(picture, layers.Add()([first, second])))


@pytest.mark.parametrize("behind", [layers.Dropout(0.5), layers.ReLU()], ids=["linear", "relu"])
def test_real_is_the_negated_logit_or_refused_where_a_sum_is_taken_twice(behind):
    model, images = linear_shortcut(behind), floats(3)
    try:
        _, report = explain(model, images, "lrp.z", target="real", return_report=True)
    except UserError as error:
        assert "explain 'fake'" in str(error)
    else:
        np.testing.assert_allclose(report.logit, -logits(model, images)[:, 0], rtol=1e-4)
