"""Rules are chosen as asked or refused with a reason, and reports conserve."""

import keras
import numpy as np
import pytest

from small import LRP_OPTIONS, SIZE, chain, detector, draw_weights, floats, logits, run_explain
from xaifake.errors import UserError
from xaifake.explainers.lrp import (
    METHODS,
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    WSquare,
    relevance_by_layer,
)

layers = keras.layers


@pytest.fixture(scope="module")
def model():
    return detector()


@pytest.fixture(scope="module")
def images():
    return floats(3)


def explain(model, images, method="lrp", **options):
    return run_explain(model, images, method, progress=False, **options)


def composed(model, images, *rules):
    return explain(model, images, rule=list(rules))


METHODS_AS_RULES = {
    "lrp.z": "Z",
    "lrp.epsilon": Epsilon(),
    "lrp.gamma": Gamma(0.25),
    "lrp.w_square": WSquare(),
    "lrp.alpha_2_beta_1": AlphaBeta(beta=1),
    "lrp.alpha_2_beta_1_IB": AlphaBeta(2, bias=False),
    "lrp.sequential_preset_a": [("Dense", Epsilon(0.1)), ("*", "Alpha1Beta0")],
    "lrp.sequential_preset_b_flat": [
        ("input", "Flat"), ("Dense", Epsilon(0.1)), ("*", AlphaBeta(2, 1)),
    ],
    "lrp.sequential_preset_b_flat_until_idx": [
        (lambda layer: layer.name in ("conv", "sepconv"), Flat()),
        ("Dense", Epsilon(0.1)),
        ("*", AlphaBeta(2, 1)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS_AS_RULES)
def test_methods_are_compositions_of_rules(method, model, images):
    by_name = explain(
        model, images, method, **({"until_layer_idx": 4} if "until" in method else {})
    )
    assert np.array_equal(explain(model, images, rule=METHODS_AS_RULES[method]), by_name)


def is_last(layer):
    return layer.name == "answer"


@pytest.mark.parametrize("which", ["answer", "ans*", "Dense", "D*e", is_last])
def test_layers_are_chosen_by_name_class_or_function(which, model, images):
    relevance = composed(model, images, (which, "Flat"), ("*", "Z"))
    assert not np.allclose(relevance, explain(model, images, "lrp.z"))
    assert np.array_equal(relevance, composed(model, images, ("answer", "Flat"), ("*", "Z")))


def test_the_first_rule_that_fits_a_layer_decides(model, images):
    z = explain(model, images, "lrp.z")
    for rules in ([("*", "Z"), ("Dense", "Flat")], [("*Conv2D", "Z"), ("answer", "Z")]):
        assert np.array_equal(composed(model, images, *rules, ("*", "Flat")), z)
    assert np.array_equal(
        composed(model, images, ("conv", "Flat"), ("input", "WSquare"), ("*", "Z")),
        composed(model, images, ("input", "Flat"), ("*", "Z")),
    )


def test_a_class_is_meant_as_a_whole_unless_a_star_stands_for_the_rest(model, images):
    one = composed(model, images, ("Conv2D", "Flat"), ("*", "Z"))
    by_name = composed(model, images, ("conv", "Flat"), ("last_maps", "Flat"), ("*", "Z"))
    assert np.array_equal(one, by_name)
    assert not np.allclose(one, composed(model, images, ("*Conv2D", "Flat"), ("*", "Z")))


def two_branches():
    picture = keras.Input((SIZE, SIZE, 3))
    a = layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(picture)
    padded = layers.ZeroPadding2D(1)(layers.Activation("linear")(picture))
    b = layers.Conv2D(4, 3, activation="relu", name="b")(padded)
    both = layers.Concatenate()([a, b, picture])
    c = layers.Conv2D(4, 3, activation="relu", name="c")(both)
    return draw_weights(keras.Model(picture, layers.Dense(1, name="d")(layers.Flatten()(c))))


def test_the_input_is_where_no_weights_stand_before(images):
    model = two_branches()
    expected = composed(model, images, ("a", "Flat"), ("b", "Flat"), ("*", "Z"))
    assert np.array_equal(composed(model, images, ("input", "Flat"), ("*", "Z")), expected)
    assert np.array_equal(explain(model, images, rule="Z", input_layer_rule="Flat"), expected)


def test_bounds_are_those_of_the_models_range(model, images):
    shifted = (images + 1) / 2
    for low, high, given in ((-1, 1, images), (0, 1, shifted)):
        three_ways = [
            explain(model, given, "lrp.z", value_range=(low, high), input_layer_rule=rule)
            for rule in ("Bounded", (low, high), Bounded(low, high))
        ]
        assert np.array_equal(three_ways[0], three_ways[1])
        assert np.array_equal(three_ways[0], three_ways[2])


@pytest.mark.parametrize("index, names", [(0, ""), (3, "a"), (5, "ab"), (7, "abc"), (8, "abcd")])
def test_an_index_counts_the_layers_of_the_model(index, names, images):
    model = two_branches()
    named = {layer.name for layer in model.layers[: index + 1] if layer.weights}
    assert named == set(names)
    relevance = explain(model, images, rule="Z", until_layer_idx=index, until_layer_rule="Flat")
    by_name = [(name, "Flat") for name in names]
    assert np.array_equal(relevance, composed(model, images, *by_name, ("*", "Z")))


def test_an_index_counts_the_input_of_a_sequential_model_too(images):
    # As the other engine does; Keras does not list it among such a model's layers.
    model = draw_weights(
        chain(
            layers.Conv2D(4, 3, name="a"),
            layers.Conv2D(4, 3, name="b"),
            layers.Flatten(),
            layers.Dense(1),
        )
    )
    relevance = explain(model, images, rule="Z", until_layer_idx=1, until_layer_rule="Flat")
    assert np.array_equal(relevance, composed(model, images, ("a", "Flat"), ("*", "Z")))


BAD_OPTIONS = {
    "no rule": ("lrp", {}, "Give rule="),
    "unknown rule": ("lrp", {"rule": "Zet"}, "No rule 'Zet': give one of Z, Epsilon.*AlphaBeta"),
    "unknown in a list": ("lrp", {"rule": [("*", "Zet")]}, "No rule 'Zet'"),
    "nothing in a list": ("lrp", {"rule": [("*", None)]}, "No rule None"),
    "layer left out": (
        "lrp", {"rule": [("Conv2D", "Z"), ("answer", "Z")]},
        "leave out the layer 'sepconv', a SeparableConv2D: add a last pair for all others",
    ),
    "empty list": ("lrp", {"rule": []}, "rule=.*: give the name of a rule"),
    "rule None": ("lrp", {"rule": None}, "(?i)rule.*None"),
    "rule a number": ("lrp", {"rule": 2}, "(?i)rule.*2"),
    "pair without list": ("lrp", {"rule": ("input", "Flat")}, "(?i)pair|rule"),
    "list without pairs": ("lrp", {"rule": ["Z", "Epsilon", "Flat"]}, "(?i)pair|rule"),
    "dict": ("lrp", {"rule": {"*": "Z"}}, "(?i)pair|rule"),
    "input rule": ("lrp.z", {"input_layer_rule": "bounds"}, "No rule 'bounds'.*Bounded"),
    "bounds in the wrong order": ("lrp.z", {"input_layer_rule": (1, -1)}, "low=1, high=-1: give"),
    "bounds without 0": ("lrp.z", {"input_layer_rule": (0.5, 1)}, "bounds with 0 between"),
    "alpha under 1": ("lrp.alpha_beta", {"alpha": 0.5}, "alpha=0.5, beta=.*alpha of at least 1"),
    "alpha and beta apart": ("lrp.alpha_beta", {"alpha": 2, "beta": 2}, "alpha=2, beta=2: give"),
    "beta under 0": ("lrp.alpha_beta", {"alpha": None, "beta": -0.5}, "beta=-0.5: give alpha"),
    "no alpha": ("lrp.alpha_beta", {"alpha": None}, "alpha=None, beta=None: give alpha"),
    "epsilon 0": ("lrp.epsilon", {"epsilon": 0}, "epsilon=0: give a positive number"),
    "epsilon under 0": ("lrp.sequential_preset_a", {"epsilon": -1}, "epsilon=-1: give a positive"),
    "gamma under 0": ("lrp.gamma", {"gamma": -1}, "gamma=-1: give a number of at least 0"),
    "stabiliser 0": ("lrp.z", {"stabiliser": 0}, "stabiliser=0: give a positive number"),
    "stabiliser under 0": ("lrp.flat", {"stabiliser": -1e-2}, "stabiliser=-0.01: give a positive"),
    "index too large": (
        "lrp.sequential_preset_b_flat_until_idx", {"until_layer_idx": 11},
        "until_layer_idx=11: give a whole number, 0 .the input. to 10",
    ),
    "index under 0": ("lrp", {"rule": "Z", "until_layer_idx": -1}, "until_layer_idx=-1: give a"),
    "index between layers": (
        "lrp.z", {"until_layer_idx": 1.5, "until_layer_rule": "Flat"}, "until_layer_idx=1.5",
    ),
    "index without rule": ("lrp.z", {"until_layer_idx": 1}, "No rule None"),
    "unknown option": ("lrp.z", {"epsilon": 1}, "lrp.z has no option 'epsilon'; it has input_lay"),
    "of the inside": ("lrp.z", {"bookkeeping": True}, "no option 'bookkeeping'"),
    "of another": ("lrp.epsilon", {"rule": "Z"}, "no option 'rule'; it has epsilon, bias, input_"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_options_that_make_no_sense_are_refused(name, model, images):
    method, options, message = BAD_OPTIONS[name]
    with pytest.raises(UserError, match=message):
        run_explain(model, images, method, **options)


def own_activation(x):
    return x**2


def own_layer():
    class Doubling(layers.Layer):
        def __init__(self, factor):
            super().__init__(name="odd")
            self.factor = factor

        def call(self, x):
            return self.factor(x)

    return Doubling(lambda x: 2 * x)


def own_convolution():
    class Convolution(layers.Conv2D):
        pass

    return Convolution(4, 3, name="odd")


UNKNOWN = "LRP has no rule for the layer 'odd', an? {}: build.*integrated_gradients or lime"
SLOPE = "The layer 'odd' ends in {}, and LRP has rules for activations.*integrated_gradients"
FIRST = "The layer 'odd' has its channels first: build them last"
BAD_LAYERS = {
    "Lambda": (lambda: layers.Lambda(lambda x: 2 * x, name="odd"), UNKNOWN, "Lambda"),
    "own layer": (own_layer, UNKNOWN, "Doubling"),
    "own convolution": (own_convolution, UNKNOWN, "Convolution"),
    "own activation": (
        lambda: layers.Activation(own_activation, name="odd"), SLOPE, "own_activation",
    ),
    "gated activation": (lambda: layers.Conv2D(4, 3, activation="glu", name="odd"), SLOPE, "glu"),
    "random cut": (lambda: layers.RandomCrop(4, 4, name="odd"), UNKNOWN, "RandomCrop"),
    "quotient": (lambda: lambda x: 2.0 / (x + 1), "no rule for.*, a TrueDivide", ""),
    "channels first": (
        lambda: layers.Conv2D(4, 3, data_format="channels_first", name="odd"), FIRST, "",
    ),
    "pooling of channels first": (
        lambda: layers.MaxPooling2D(2, data_format="channels_first", name="odd"), FIRST, "",
    ),
    "norm of rows": (
        lambda: layers.BatchNormalization(axis=1, name="odd"),
        "batch norm 'odd' works on axis 1.*channels last", "",
    ),
    "operation": (lambda: keras.ops.square, "no rule for.*Square", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_LAYERS)
def test_layers_that_lrp_is_not_defined_for_are_named(name, images):
    make, message, kind = BAD_LAYERS[name]
    picture = keras.Input((SIZE, SIZE, 3))
    odd = make()(layers.Conv2D(4, 3, activation="relu")(picture))
    model = keras.Model(picture, layers.Dense(1)(layers.Flatten()(odd)))
    with pytest.raises(UserError, match=message.format(kind)):
        explain(model, images, "lrp.alpha_2_beta_1")


def test_relus_that_are_no_layers_are_passed_like_layers(images):
    picture = keras.Input((SIZE, SIZE, 3))
    conv, dense = layers.Conv2D(4, 3, name="a"), layers.Dense(1, name="b")
    models = [
        draw_weights(keras.Model(picture, dense(layers.Flatten()(relu(conv(picture))))))
        for relu in (keras.ops.relu, layers.ReLU())
    ]
    pair = [explain(model, images, "lrp.alpha_2_beta_1") for model in models]
    assert np.array_equal(*pair)


def test_a_sum_that_is_no_layer_is_divided_like_one_or_refused(images):
    picture = keras.Input((SIZE, SIZE, 3))
    a, b = (layers.Conv2D(4, 3, name=name)(picture) for name in "ab")
    dense = layers.Dense(1, name="c")
    loose, layer = (
        draw_weights(keras.Model(picture, dense(layers.Flatten()(add)))) for add in
        (keras.ops.add(a, b), layers.Add()([a, b]))
    )  # fmt: skip
    try:
        relevance = explain(loose, images, "lrp.z")
    except UserError as error:
        assert "no rule for" in str(error)
    else:
        assert np.array_equal(relevance, explain(layer, images, "lrp.z"))


ENDS_IN_MAXIMUM = {
    "GlobalMaxPooling2D": lambda: [layers.Conv2D(1, 3), layers.GlobalMaxPooling2D(name="top")],
    "MaxPooling2D": lambda: [
        layers.Conv2D(1, 3),
        layers.MaxPooling2D(6, name="top"),
        layers.Flatten(),
    ],
    "relu": lambda: [layers.Conv2D(1, 3), layers.ReLU(name="top"), layers.GlobalAveragePooling2D()],
}


@pytest.mark.parametrize("name", ENDS_IN_MAXIMUM)
def test_real_is_refused_where_the_last_weights_do_not_make_the_logit(name, images):
    model = draw_weights(chain(*ENDS_IN_MAXIMUM[name]()))
    assert np.isfinite(explain(model, images, "lrp.z")).all()
    with pytest.raises(UserError, match="'top' stands behind them: explain 'fake'"):
        explain(model, images, "lrp.z", target="real")


COLUMNS = ["logit", "sum", "bias", "stabiliser", "unassigned", "unassigned_outputs", "abs_sum"]


@pytest.mark.parametrize("method", METHODS)
def test_the_report_divides_the_logit(method, model, images):
    options = LRP_OPTIONS.get(method, {})
    relevance, report = explain(model, images, method, return_report=True, **options)
    assert list(report.columns) == COLUMNS and len(report) == 3
    np.testing.assert_allclose(report.logit, logits(model, images)[:, 0], rtol=1e-4)
    np.testing.assert_allclose(report["sum"], relevance.sum((1, 2, 3), dtype=float), rtol=1e-9)
    size = np.abs(relevance.astype(float)).sum((1, 2, 3))
    np.testing.assert_allclose(report["abs_sum"], size, rtol=1e-9)
    off = report.logit - report[["sum", "bias", "stabiliser", "unassigned"]].sum(axis=1)
    assert (off.abs() <= 1e-4 * report.logit.abs()).all()
    alone = explain(model, images, method, **options)
    assert isinstance(alone, np.ndarray)
    assert np.array_equal(alone, relevance)


def one_sum(weights, bias=0.0):
    """One pixel (0.5, -1, 1) and one sum of it."""
    model = chain(layers.Flatten(), layers.Dense(1), size=1)
    model.set_weights([np.reshape(weights, (3, 1)), np.array([bias])])
    return model, np.array([[[[0.5, -1, 1]]]], np.float32)


def columns(model, pixel, method, **options):
    relevance, report = explain(model, pixel, method, return_report=True, **options)
    return relevance.ravel().tolist(), report.iloc[0].round(5).to_dict()


def test_what_the_bias_takes_by_hand():
    # 0.5 * 2 + 1 * 1 - 1 * 1 - 0.5 = 0.5
    relevance, told = columns(*one_sum([2, -1, -1], bias=-0.5), "lrp.z")
    assert np.allclose(relevance, [1, 1, -1], atol=1e-5)
    assert told["logit"] == 0.5 and told["sum"] == 1 and told["bias"] == -0.5
    assert told["abs_sum"] == 3 and told["unassigned"] == told["unassigned_outputs"] == 0
    # Of the positive part 2, and of the negative part -1.5, the bias is a third.
    relevance, told = columns(*one_sum([2, -1, -1], bias=-0.5), "lrp.alpha_2_beta_1")
    assert np.allclose(relevance, [0.5, 0.5, -1 / 3], atol=1e-5)
    assert np.isclose(told["bias"], -0.5 / 3, atol=1e-4) and told["unassigned"] == 0
    _, told = columns(*one_sum([2, -1, -1], bias=-0.5), "lrp.alpha_2_beta_1_IB")
    assert told["sum"] == told["logit"] == 0.5 and told["bias"] == 0


def test_what_a_stabiliser_takes_by_hand():
    # z = 1 becomes 1 + 3: a quarter is handed on, and three quarters are not.
    relevance, told = columns(*one_sum([2, -1, -1]), "lrp.epsilon", epsilon=3)
    assert np.allclose(relevance, [0.25, 0.25, -0.25], atol=1e-6)
    assert told["sum"] == 0.25 and told["stabiliser"] == 0.75 and told["bias"] == 0


def test_what_one_sided_sums_lose_and_gain_by_hand():
    # Only a positive part: twice the sum of 2.5 is handed on, and none of it is taken back.
    relevance, told = columns(*one_sum([1, -1, 1]), "lrp.alpha_2_beta_1")
    assert np.allclose(relevance, [1, 2, 2]) and told["sum"] == 5
    assert told["unassigned"] == -2.5 and told["unassigned_outputs"] == 1
    # Only a negative part: twice the sum of -2.5 finds nobody, and -2.5 is taken from the inputs.
    relevance, told = columns(*one_sum([-1, 1, -1]), "lrp.alpha_2_beta_1")
    assert np.allclose(relevance, [0.5, 1, 1]) and told["sum"] == 2.5
    assert told["unassigned"] == -5 and told["unassigned_outputs"] == 1
    # Nothing for alpha-1-beta-0 to hand on.
    relevance, told = columns(*one_sum([-1, 1, -1]), "lrp.alpha_1_beta_0")
    assert not any(relevance) and told["unassigned"] == told["logit"] == -2.5


OPTIONS = {"lrp.z": {}, "lrp.alpha_2_beta_1": {}, "lrp.sequential_preset_b_flat": {"epsilon": 1.0}}
SPENT = ["bias", "stabiliser", "unassigned"]


@pytest.mark.parametrize("method", OPTIONS)
@pytest.mark.parametrize("target", ["fake", "real"])
def test_relevance_is_followed_from_layer_to_layer(method, target, model, images):
    options = {"target": target, **OPTIONS[method]}
    table = relevance_by_layer(model, images, method, batch_size=2, **options)
    relevance, report = explain(model, images, method, return_report=True, **options)
    names = ["picture", "conv", "act", "sepconv", "add", "pool", "last_maps", "mean", "dropout"]
    for picture, rows in table.groupby("picture"):
        assert rows.layer.tolist() == [*names, "answer"]
        row = rows.set_index("layer")
        told = report.iloc[picture]
        assert row.loc["picture", "kind"] == "InputLayer" and row.loc["answer", "kind"] == "Dense"
        assert np.isclose(row.relevance["answer"], told.logit, rtol=1e-5)
        assert np.isclose(row.relevance["picture"], told["sum"], rtol=1e-4, atol=1e-6)
        assert np.isclose(row["abs_sum"]["picture"], told["abs_sum"], rtol=1e-4)
        whole = row.relevance["picture"] + row[SPENT].sum().sum()
        assert np.isclose(whole, told.logit, rtol=1e-4)
        for name in (*SPENT, "unassigned_outputs"):
            assert np.isclose(row[name].sum(), told[name], rtol=1e-3, atol=1e-6)
        assert (row["abs_sum"] >= row.relevance.abs() - 1e-6).all()
        # What goes through one layer alone is the logit less what was spent behind it.
        assert row.index[~row.is_bottleneck].tolist() == ["sepconv"]
        behind = row[SPENT].sum(axis=1)[::-1].cumsum().shift(fill_value=0)[::-1]
        left = told.logit - behind[row.is_bottleneck]
        assert np.allclose(row.relevance[row.is_bottleneck], left, rtol=1e-4, atol=1e-6)
    assert set(table.picture) == {0, 1, 2} and table.layer[0] == "picture"


def test_relevance_of_a_chain_goes_from_each_layer_to_the_one_before(images):
    model = draw_weights(
        chain(
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(4, 2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(5, activation="relu"),
            layers.Dense(1),
        )
    )
    table = relevance_by_layer(model, images[:1], "lrp.alpha_2_beta_1")
    assert "BatchNormalization" not in set(table.kind)
    handed_on = table.relevance - table[SPENT].sum(axis=1)
    np.testing.assert_allclose(handed_on[1:], table.relevance[:-1], rtol=1e-4, atol=1e-6)
    assert (table.loc[table.bias != 0, "kind"].isin(["Conv2D", "Dense"])).all()
    assert (table.loc[table.stabiliser != 0, "kind"] == "AveragePooling2D").all()


@pytest.mark.parametrize(
    "method, options, message",
    [
        ("gradient", {}, "'gradient' is no LRP method: give one of lrp, lrp.z"),
        ("lrp.zet", {}, "'lrp.zet' is no LRP method"),
        ("lrp", {}, "Give rule="),
        ("lrp.z", {"epsilon": 1}, "no option 'epsilon'"),
        ("lrp.z", {"batch_size": 0}, "batch_size=0"),
        ("lrp.z", {"stabiliser": 0}, "stabiliser=0"),
        ("lrp.z", {"target": 0}, "No target 0"),
    ],
)
def test_what_cannot_be_followed_is_refused(method, options, message, model, images):
    with pytest.raises(UserError, match=message):
        relevance_by_layer(model, images, method, **options)
