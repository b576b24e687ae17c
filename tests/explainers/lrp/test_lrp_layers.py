"""Each kind of layer hands relevance on by its own formula, and each network's logit is divided."""

import keras
import matrices
import numpy as np
import pytest

from small import draw_weights, floats, logits, run_explain
from xaifake.explainers import activations
from xaifake.explainers.lrp import Bounded, relevance_at, relevance_by_layer
from xaifake.explainers.lrp.network import Network

pytestmark = pytest.mark.usefixtures("uncompiled")
layers, ops = keras.layers, keras.ops
SIDE, TINY = 4, 1e-20
TOKENS = (SIDE * SIDE, 3)


def network(middle, side=SIDE, answer=None):
    """Return a network in which something stands between the picture and a dense layer."""
    picture = keras.Input((side, side, 3))
    x = middle(picture)
    x = x if len(x.shape) == 2 else layers.Flatten()(x)
    answer = answer or layers.Dense(1, use_bias=False, name="answer")
    return draw_weights(keras.Model(picture, answer(x)), seed=2)


def handed_on(middle, images=None):
    """Return a layer's inputs and outputs, and the relevance of both."""
    images = floats(3, SIDE) if images is None else images
    model = network(middle)
    model.get_layer("answer").set_weights([np.abs(model.get_layer("answer").get_weights()[0])])
    relevance, _ = run_explain(
        model, images, "lrp.epsilon", True, epsilon=TINY, stabiliser=TINY, progress=False
    )
    answer = model.get_layer("answer")
    outputs = logits(keras.Model(model.inputs[0], answer.input), images).astype(float)
    return images.astype(float), outputs, relevance, outputs * answer.get_weights()[0][:, 0]


def assert_same(found, expected):
    size = np.abs(expected).max()
    assert size > 0
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=0, atol=1e-5 * size)


def normalization():
    return layers.Normalization(mean=[0.1, -0.2, 0.3], variance=[0.5, 2.0, 1.0])


STAYS = {
    **{
        name: lambda x, name=name: layers.Activation(name)(x)
        for name in ("relu", "relu6", "silu", "gelu", "hard_silu", "hard_sigmoid", "tanh", "mish")
    },
    "LeakyReLU": lambda x: layers.LeakyReLU(0.2)(x),
    "PReLU": lambda x: layers.PReLU()(x),
    "ELU": lambda x: layers.ELU()(x),
    "ReLU of all settings": lambda x: layers.ReLU(6, 0.1, 0.5)(x),
    "operation": lambda x: ops.silu(x),
    "layer norm": lambda x: layers.LayerNormalization()(x),
    "group norm": lambda x: layers.GroupNormalization(1)(x),
    "Rescaling": lambda x: layers.Rescaling(0.5, 0.25)(x),
    "Normalization": lambda x: normalization()(x),
    "arithmetic": lambda x: ops.flip(ops.flip(x, 1) / 2 - 0.5, 1) * np.float32(3),
    "augmentation": lambda x: layers.RandomFlip()(layers.RandomRotation(0.5)(x)),
    "noise": lambda x: layers.GaussianNoise(0.5)(layers.Dropout(0.5)(x)),
}


@pytest.mark.parametrize("name", STAYS)
def test_relevance_stays_where_it_is(name):
    _, _, relevance, given = handed_on(STAYS[name])
    assert_same(relevance, given)


LINEAR = {
    "average": (layers.AveragePooling2D, {"pool_size": 3, "strides": 2, "padding": "same"}),
    "mean": (layers.GlobalAveragePooling2D, {}),
    "nearest": (layers.UpSampling2D, {}),
    "bilinear": (layers.UpSampling2D, {"interpolation": "bilinear"}),
    "resizing": (layers.Resizing, {"height": 3, "width": 5}),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_layers_divide_by_the_z_rule(name):
    kind, settings = LINEAR[name]
    x, _, relevance, given = handed_on(lambda x: kind(**settings)(x), np.abs(floats(3, SIDE)))
    matrix = matrices.probed(kind(**settings), x.shape[1:], [])
    expected, _ = matrices.z(matrix, x.reshape(3, -1), given, TINY)
    assert_same(relevance, expected)


def test_within_a_network_constants_take_their_share():
    images, scale, shift = floats(3, SIDE), 2.0, 0.5
    conv = layers.Conv2D(1, 3, name="conv", use_bias=False)
    model = network(lambda x: layers.Rescaling(scale, shift)(conv(x)))
    found = relevance_at(model, images, "lrp.epsilon", ["conv"], epsilon=TINY, stabiliser=TINY)
    x = activations(model, images, "conv")[..., 0].astype(float)
    weights = model.get_layer("answer").get_weights()[0].reshape(x.shape[1:])
    assert_same(found["conv"], scale * x * weights)  # of (scale * x + shift) * weights


PRODUCTS = {
    "squeeze and excite": (lambda x: layers.Multiply()([x, excite(x, "sigmoid")]), 1),
    "excite first": (lambda x: layers.Multiply()([excite(x, "hard_sigmoid"), x]), 1),
    "of MobileNetV3": (lambda x: x * (layers.ReLU(6.0)(excite(x, None) + 3.0) * (1 / 6))),
    "silu": (lambda x: x * ops.sigmoid(x), 1),
    "softmax": (lambda x: x * layers.Conv2D(3, 1, activation="softmax")(x), 1),
    "square": (lambda x: x * x, 1),
    "two signals": (lambda x: x * layers.Identity()(x), 1),
}
PRODUCTS["of MobileNetV3"] = PRODUCTS["of MobileNetV3"], 1


def excite(x, activation):
    mean = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Conv2D(3, 1, activation=activation)(mean)


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_signal_takes_what_a_product_has_and_a_gate_nothing(name):
    _, _, relevance, given = handed_on(PRODUCTS[name][0])
    assert_same(relevance, given)


@pytest.mark.parametrize("side", [1, SIDE])
def test_a_gate_of_the_signals_size_is_told_by_its_function(side):
    def middle(x):
        features = layers.Conv2D(3, 1, activation="relu6", name="features")(x)
        return layers.Multiply()([layers.Conv2D(3, 1, activation="sigmoid")(x), features])

    model, images = network(middle, side), floats(2, side)
    told = relevance_by_layer(model, images, "lrp.z").query("kind == 'Multiply'").rule.iloc[0]
    assert told.startswith("product: features, conv2d") and told.endswith("constant")
    found = relevance_at(model, images, "lrp.z", ["features"])["features"]
    np.testing.assert_allclose(found.sum((1, 2)), logits(model, images)[:, 0], rtol=1e-4)


def test_of_two_signals_each_takes_half():
    def middle(x):
        return layers.Conv2D(3, 1, name="a")(x) * layers.Conv2D(3, 1, name="b")(x)

    model, images = network(middle), floats(2, SIDE)
    found = relevance_at(model, images, "lrp.z", ["a", "b"])
    half = logits(model, images)[:, 0] / 2
    told = relevance_by_layer(model, images, "lrp.z").set_index("kind").rule
    assert set(told["Multiply"]) == {"product: a and b"} and set(told["Flatten"]) == {"route"}
    for name in "ab":
        np.testing.assert_allclose(found[name].sum((1, 2)), half, rtol=1e-4)


@pytest.mark.parametrize("own", ["layer", "activation", "operation", "of another axis"])
def test_softmax_takes_the_first_terms_of_its_series(own):
    axis = 1 if own == "of another axis" else 3
    kinds = {"activation": layers.Activation("softmax"), "operation": ops.softmax}
    x, _, relevance, given = handed_on(kinds.get(own, layers.Softmax(axis)))
    given = given.reshape(x.shape)
    shares = np.exp(x) / np.exp(x).sum(axis, keepdims=True)
    assert_same(relevance, x * (given - shares * given.sum(axis, keepdims=True)))


def attention_by_hand(layer, x, given):
    """The formulas of Achtibat et al. 2024 for one picture's self-attention, in loops over heads.

    Relevance through linear maps goes by the z rule, biases included.
    """
    (wq, bq), (wk, bk), (wv, bv), (wo, bo) = (
        [np.asarray(weight, float) for weight in dense.get_weights()]
        for dense in (layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense)
    )
    quotient = given / (sum(mixed_head(layer, x, n)[3] @ wo[n] for n in range(2)) + bo)
    relevance = np.zeros(x.shape)
    for n in range(2):
        q, k, v, mixed, shares, scores = mixed_head(layer, x, n)
        of_mixed = mixed * (quotient @ wo[n].T)
        of_shares = shares * ((of_mixed / mixed) @ v.T) / 2
        of_v = v * (shares.T @ (of_mixed / mixed)) / 2
        of_scores = scores * (of_shares - shares * of_shares.sum(1, keepdims=True))
        per_product = of_scores / (q @ k.T) / 2
        for part, of_part, weight in (
            (q, q * (per_product @ k), wq), (k, k * (per_product.T @ q), wk), (v, of_v, wv)
        ):  # fmt: skip
            relevance += x * ((of_part / part) @ weight[:, n].T)
    return relevance


def mixed_head(layer, x, n):
    q, k, v = (
        x @ dense.get_weights()[0][:, n].astype(float) + dense.get_weights()[1][n]
        for dense in (layer.query_dense, layer.key_dense, layer.value_dense)
    )
    scores = q @ k.T / np.sqrt(layer.key_dim)
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return q, k, v, shares @ v, shares, scores


@pytest.mark.parametrize("call", ["positional", "named", "with a key"])
def test_attention_has_the_relevance_of_its_formulas(call):
    layer = layers.MultiHeadAttention(2, 3)
    attend = {
        "positional": lambda x: layer(x, x),
        "named": lambda x: layer(query=x, value=x, training=False),
        "with a key": lambda x: layer(x, x, key=x),
    }[call]
    x, _, relevance, given = handed_on(lambda x: attend(layers.Reshape(TOKENS)(x)))
    for picture in range(3):
        expected = attention_by_hand(
            layer, x[picture].reshape(TOKENS), given[picture].reshape(TOKENS)
        )
        assert_same(relevance[picture], expected)


def test_attention_with_a_mask_is_named():
    def middle(x):
        x = layers.Reshape(TOKENS)(x)
        return layers.MultiHeadAttention(2, 3, name="odd")(x, x, use_causal_mask=True)

    with pytest.raises(Exception, match="no rule for the layer 'odd', a MultiHeadAttention"):
        run_explain(network(middle), floats(1, SIDE), "lrp.z")


def vit(x):
    """A vision transformer of two blocks, with positions (Dosovitskiy et al. 2021)."""
    x = layers.Reshape((16, 6))(layers.Conv2D(6, 2, strides=2)(x))
    x = x + np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    for _ in range(2):
        normal = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4, dropout=0.1)(normal, normal)])
        hidden = layers.Dense(8, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dropout(0.1)(layers.Dense(6)(hidden))])
    return layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))


def convnext(x):
    from keras.src.applications.convnext import LayerScale, StochasticDepth

    x = layers.Conv2D(6, 2, strides=2)(x)
    y = layers.LayerNormalization()(layers.Conv2D(6, 3, padding="same", groups=6)(x))
    y = LayerScale(0.5, 6)(layers.Dense(6)(layers.Dense(9, activation="gelu")(y)))
    return layers.GlobalMaxPooling2D()(x + StochasticDepth(0.5)(y))


def hourglass(x):
    down = layers.Conv2D(5, 3, strides=2, padding="same", activation="leaky_relu")(x)
    down = layers.PReLU()(layers.Conv2D(5, 3, dilation_rate=2, padding="same")(down))
    up = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="elu")(down)
    x = layers.Concatenate()([up, layers.UpSampling2D(interpolation="bilinear")(down), x])
    return layers.Maximum()([layers.Conv2D(3, 3)(x), layers.Conv2D(3, 3)(x)])


def other_dimensions(x):
    blocks = layers.Conv3D(3, 2, activation="relu")(layers.Reshape((8, 8, 3, 1))(x))
    blocks = layers.MaxPooling3D((2, 2, 1))(layers.ZeroPadding3D(1)(blocks))
    rows = layers.SeparableConv1D(4, 3, activation="silu")(layers.Reshape((8, 24))(x))
    rows = layers.AveragePooling1D(2)(layers.Cropping1D(1)(rows))
    return layers.Concatenate()([layers.Flatten()(blocks), layers.Flatten()(rows)])


def transfer(x):
    base = keras.applications.MobileNetV3Small((32, 32, 3), weights=None, include_top=False)
    x = layers.RandomFlip()(layers.UpSampling2D(4)(x))
    return layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(base(x, training=False)))


def efficient(x):
    base = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg"
    )
    return base(layers.Rescaling(127.5, 127.5)(layers.Resizing(32, 32)(x)))


NETWORKS = (vit, convnext, hourglass, other_dimensions, transfer, efficient)
METHODS = ("lrp.epsilon", "lrp.alpha_2_beta_1", "lrp.sequential_preset_b_flat")


@pytest.fixture(scope="module")
def networks():
    return {make: network(make, 8, layers.Dense(1)) for make in NETWORKS}


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_the_logit_is_divided(networks, make, method):
    model, images = networks[make], floats(2)
    relevance, report = run_explain(model, images, method, True, progress=False)
    total = report[["sum", "bias", "stabiliser", "unassigned"]].sum(axis=1)
    size = np.maximum(report.logit.abs(), report["abs_sum"])
    assert np.isfinite(relevance).all() and (np.abs(relevance).max(axis=(1, 2, 3)) > 0).all()
    assert ((total - report.logit).abs() <= 1e-4 * size).all()
    np.testing.assert_allclose(report.logit, logits(model, images)[:, 0], rtol=1e-4)


@pytest.mark.parametrize("make, method", [(hourglass, "grad_cam"), (vit, "gradient")])
def test_other_methods_look_into_them_too(networks, make, method):
    found = run_explain(networks[make], floats(2), method, progress=False)
    assert np.isfinite(found).all() and np.abs(found).max() > 0


def test_bounds_of_pictures_are_those_of_the_first_layers_input():
    conv = layers.Conv2D(4, 3, name="conv")
    inside = network(lambda x: conv(normalization()(layers.Rescaling(1 / 255)(x))))
    outside = network(lambda x: conv(x))
    outside.set_weights([w for w in inside.get_weights() if w.ndim])
    images = floats(2, SIDE) * 127.5 + 127.5
    options = {"rule": "Z", "input_layer_rule": "Bounded", "progress": False}
    found = run_explain(inside, images, "lrp", value_range=(0, 255), **options)
    mean, deviation = np.array([0.1, -0.2, 0.3]), np.sqrt([0.5, 2.0, 1.0])
    given = ((images / 255 - mean) / deviation).astype(np.float32)
    low, high = (tuple((bound - mean) / deviation) for bound in (0, 1))
    low = tuple(np.minimum(low, 0))  # padding would add 0
    options["input_layer_rule"] = Bounded(low, high)
    assert_same(found, run_explain(outside, given, "lrp", value_range=(-9, 9), **options))


def test_many_pictures_go_in_parts_with_the_same_maps(monkeypatch):
    model, images = network(hourglass, 8, layers.Dense(1)), floats(11)
    sizes, explain = [], Network.explain
    monkeypatch.setattr(
        Network, "explain", lambda self, x, index: sizes.append(len(x)) or explain(self, x, index)
    )
    whole = run_explain(model, images, "lrp.z", progress=False)
    monkeypatch.setattr("xaifake.explainers.lrp.network.CHUNK", 1)
    parts = run_explain(model, images, "lrp.z", progress=False)
    assert sizes == [11, 6, 5]
    assert_same(parts, whole)
    assert relevance_at(model, images, "lrp.z", ["input"])["input"].shape == (11, 8, 8)
