"""What holds of LRP in any network of the layers that it takes, tried on random ones."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings, strategies as st

from small import SIZE, draw_weights, floats, logits, run_explain
from xaifake.detector.graph import nodes
from xaifake.explainers.lrp import AlphaBeta, Epsilon, Gamma, merge_batch_norms
from xaifake.explainers.lrp.layers import steps

pytestmark = pytest.mark.usefixtures("uncompiled")
layers = keras.layers
# Not made smaller where a test fails: each try builds a network, and examples are short.
few = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


paddings = st.sampled_from(["same", "valid"])
one_or_two = st.sampled_from([1, 2])
sizes = st.sampled_from([1, 2, 3])
BLOCKS = {
    "conv": (sizes, one_or_two, paddings),
    "dilated": (paddings,),
    "groups": (paddings,),
    "depthwise": (one_or_two, one_or_two, paddings),
    "separable": (one_or_two, one_or_two, paddings),
    "residual": (st.sampled_from(["Add", "+"]), st.booleans()),
    "sum of three": (),
    "twice": (),
    "concatenate": (),
    "max": (sizes, paddings),
    "average": (sizes, paddings),
    "pad": (),
    "crop": (),
    "norm": (),
    "dropout": (),
}
ACTIVATIONS = {
    "none": lambda x: x,
    "ReLU": lambda x: layers.ReLU()(x),
    "relu": lambda x: layers.Activation("relu")(x),
    "operation": keras.ops.relu,
    "ReLU 6": lambda x: layers.ReLU(6.0)(x),
    "relu6": lambda x: layers.Activation("relu6")(x),
}
ENDS = ["Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D"]


def networks(constants=True, relu6=True, signed_sums=True):
    """Return a strategy for what `build` makes a network of: readable if a test fails.

    Parameters
    ----------
    constants : bool
        Whether there are biases and batch norms that do more than multiply.
    relu6 : bool
        Whether activations may be cut off at the top.
    signed_sums : bool
        Whether additions and averages may have inputs of both signs.
    """
    activations = st.sampled_from([name for name in ACTIVATIONS if relu6 or "6" not in name])
    norms = st.sampled_from([0, 0, 1, 2])
    block = st.sampled_from(list(BLOCKS)).flatmap(
        lambda kind: st.tuples(st.just(kind), st.tuples(*BLOCKS[kind]), norms, activations)
    )
    return st.fixed_dictionaries(
        {
            "blocks": st.lists(block, min_size=2, max_size=5),
            "end": st.sampled_from(ENDS),
            "hidden": st.booleans(),
            "biased": st.booleans() if constants else st.just(False),
            "constants": st.just(constants),
            "signed_sums": st.just(signed_sums),
            "seed": st.integers(0, 999),
        }
    )


def build(blocks, end, hidden, biased, constants, signed_sums, seed):
    """Return a network with random weights."""
    parts = Parts(biased, signed_sums)
    picture = x = keras.Input((SIZE, SIZE, 3))
    for kind, options, norms, activation in blocks:
        x = ACTIVATIONS[activation](parts.normed(parts.block(x, kind, *options), norms))
    x = getattr(layers, end)()(parts.summand(x) if "Average" in end else x)
    if hidden:
        x = layers.Dense(5, activation="relu", use_bias=biased)(x)
    model = keras.Model(picture, layers.Dense(1, use_bias=biased)(layers.Flatten()(x)))
    draw_weights(model, seed)
    if not constants:
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                for weight in (layer.beta, layer.moving_mean):
                    weight.assign(np.zeros(weight.shape))
    return model


class Parts:
    """Makes the blocks of a network."""

    def __init__(self, biased, signed_sums):
        self.biased = biased
        self.summand = (lambda x: x) if signed_sums else (lambda x: layers.ReLU()(x))

    def normed(self, x, norms):
        for _ in range(norms):
            x = layers.BatchNormalization()(x)
        return x

    def conv(self, x, filters=None, size=3, padding="same", **settings):
        settings |= {"padding": _fit(x, size, padding), "use_bias": self.biased}
        return layers.Conv2D(filters or x.shape[-1], size, **settings)(x)

    def block(self, x, kind, *options):
        make = {
            "conv": self.plain,
            "dilated": lambda x, padding: self.conv(x, 4, 2, _fit(x, 3, padding), dilation_rate=2),
            "groups": self.groups,
            "depthwise": self.depthwise,
            "separable": self.separable,
            "residual": self.residual,
            "sum of three": lambda x: self.sum(x, self.conv(x), self.conv(x, size=1)),
            "twice": lambda x: self.sum(x, x),
            "concatenate": lambda x: layers.Concatenate()([x, self.conv(x, 3)]),
            "max": self.max,
            "average": self.average,
            "pad": lambda x: layers.ZeroPadding2D(((1, 0), (0, 2)))(x),
            "crop": lambda x: layers.Cropping2D(((0, 1), (0, 0)))(x) if x.shape[1] > 1 else x,
            "norm": lambda x: layers.BatchNormalization()(x),
            "dropout": lambda x: layers.Dropout(0.5)(x),
        }
        return make[kind](x, *options)

    def plain(self, x, size, stride, padding):
        return self.conv(x, 4, size, padding, strides=stride)

    def groups(self, x, padding):
        groups = next(n for n in range(2, 99) if x.shape[-1] % n == 0)
        return self.conv(x, 2 * groups, 3, padding, groups=groups)

    def depthwise(self, x, times, stride, padding):
        settings = {"padding": _fit(x, 3, padding), "use_bias": self.biased}
        return layers.DepthwiseConv2D(3, stride, depth_multiplier=times, **settings)(x)

    def separable(self, x, times, stride, padding):
        settings = {"padding": _fit(x, 3, padding), "use_bias": self.biased}
        return layers.SeparableConv2D(4, 3, stride, depth_multiplier=times, **settings)(x)

    def residual(self, x, how, with_relu):
        inner = layers.ReLU()(self.conv(x)) if with_relu else x
        inner = self.normed(self.conv(inner), 1)
        return self.summand(x) + self.summand(inner) if how == "+" else self.sum(x, inner)

    def sum(self, *parts):
        return layers.Add()([self.summand(part) for part in parts])

    def max(self, x, size, padding):
        return layers.MaxPooling2D(size, padding=_fit(x, size, padding))(x)

    def average(self, x, size, padding):
        pool = layers.AveragePooling2D(size, padding=_fit(x, size, padding))
        return pool(self.summand(x))


def _fit(x, size, padding):
    return "same" if min(x.shape[1:3]) < size else padding


def explained(model, images, method, **options):
    return run_explain(model, images, method, return_report=True, progress=False, **options)


def largest(model, images):
    return np.abs(logits(model, images)).max()


@given(networks())
@few
def test_a_folded_network_answers_like_the_given_one(network):
    model, images = build(**network), floats(4)
    canonical = merge_batch_norms(model)
    off = np.abs(logits(canonical, images) - logits(model, images))
    assert off.max() <= 1e-4 * largest(model, images)


@given(networks())
@few
def test_a_norm_stays_only_where_no_layer_before_it_can_take_it_up(network):
    model = build(**network)
    canonical = {node.name: node for node in nodes(merge_batch_norms(model))}
    for node in canonical.values():
        if isinstance(node.layer, layers.BatchNormalization):
            before = canonical[node.inputs[0]]
            alone = sum(before.name in other.inputs for other in canonical.values()) == 1
            linear = before.activation == "linear" and hasattr(before.layer, "kernel")
            assert not (alone and linear)


@given(networks())
@few
def test_what_counts_as_never_negative_is_never_negative(network):
    model = merge_batch_norms(build(**network))
    found = steps(model, {layer.name: layer.get_weights() for layer in model.layers})
    taken = [step for step in found if step.kind != "input" and not step.signed]
    for source in {id(x): x for step in taken for x in step.node.sources}.values():
        values = logits(keras.Model(model.inputs[0], source), floats(4))
        assert values.min() >= 0
    behind_relu = {step.node.name for step in found if step.node.activation == "relu"}
    for step in found:
        if behind_relu.issuperset(step.node.inputs) and step.kind != "input":
            assert not step.signed


PLAIN = ("z", "gamma", "alpha_2_beta_1_IB", "z_plus", "z_plus_fast", "w_square", "flat")
PLAIN += ("sequential_preset_a",)
RULES = [(f"lrp.{name}", {}) for name in PLAIN] + [
    ("lrp.epsilon", {"epsilon": 0.25}),
    ("lrp.epsilon", {"epsilon": 0.25, "bias": False}),
    ("lrp.gamma", {"gamma": 2, "bias": False, "input_layer_rule": "Bounded"}),
    ("lrp.alpha_beta", {"alpha": 3}),
    ("lrp.alpha_2_beta_1", {"input_layer_rule": "WSquare"}),
    ("lrp.alpha_1_beta_0", {"input_layer_rule": (-1, 1)}),
    ("lrp.sequential_preset_b_flat", {"epsilon": 0.5}),
    ("lrp", {"rule": [("*Conv2D", AlphaBeta(2)), ("Dense", Gamma(1)), ("*", Epsilon(0.1))]}),
]


PADDED = {
    "blocks": [("pad", (), 0, "none"), ("conv", (3, 2, "valid"), 1, "relu")],
    "end": "GlobalAveragePooling2D", "hidden": True, "biased": True, "constants": True,
    "signed_sums": True, "seed": 0,
}  # fmt: skip


@given(networks(), st.sampled_from(RULES), st.sampled_from(["fake", "real"]))
@example(PADDED, ("lrp.flat", {}), "fake")
@example(PADDED, ("lrp.z", {"input_layer_rule": (-1, 1)}), "fake")
@settings(few, max_examples=40)
def test_the_report_is_conserved(network, rule, target):
    method, options = rule
    model, images = build(**network), floats(3)
    relevance, report = explained(model, images, method, target=target, **options)
    total = report[["sum", "bias", "stabiliser", "unassigned"]].sum(axis=1)
    size = np.maximum(report["logit"].abs(), report["abs_sum"])
    assert np.isfinite(relevance).all()
    assert ((total - report["logit"]).abs() <= 1e-4 * size).all()
    sign = 1 if target == "fake" else -1
    off = np.abs(sign * report["logit"] - logits(model, images)[:, 0])
    assert (off <= 1e-4 * largest(model, images)).all()


@pytest.mark.parametrize("method", ["lrp.z_plus", "lrp.flat", "lrp.w_square"])
@given(networks(constants=False))
@few
def test_without_constants_all_is_handed_on_where_there_is_someone_to_take_it(method, network):
    _, report = explained(build(**network), floats(3), method)
    kept = report["sum"] + report["stabiliser"] + report["unassigned"]
    size = np.maximum(report["logit"].abs(), report["abs_sum"])
    assert (report["bias"] == 0).all()
    assert ((kept - report["logit"]).abs() <= 1e-4 * size).all()
    padded = "pad" in [kind for kind, *_ in network["blocks"]]
    if method != "lrp.z_plus" and not padded:
        assert (report["unassigned"] == 0).all()


@pytest.mark.parametrize("method", ["lrp.z_plus", "lrp.flat", "lrp.w_square"])
@given(networks(signed_sums=False))
@few
def test_maps_of_a_positive_logit_are_never_negative(method, network):
    """Unless additions or averages take inputs of both signs; they go by the z rule."""
    model, images = build(**network), floats(3)
    for target in ("fake", "real"):
        relevance, report = explained(model, images, method, target=target)
        positive = relevance[report["logit"] > 0]
        assert (positive >= 0).all()


@given(networks(constants=False, relu6=False))
@few
def test_the_z_rule_is_picture_times_gradient_where_all_is_piecewise_linear(network):
    """Each sum hands on its slope times what it takes, and what it takes cancels on the way.

    But for the stabiliser, which would show in networks with sums of its size: here a smaller one.
    With relu6 a sum above 6 counts as 6, and has relevance but no gradient. TensorFlow has no
    gradient of grouped convolutions on every processor.
    """
    assume(all(kind != "groups" for kind, *_ in network["blocks"]))
    model, images = build(**network), floats(3)
    relevance, _ = explained(model, images, "lrp.epsilon", epsilon=1e-15, stabiliser=1e-15)
    expected, _ = explained(model, images, "input_t_gradient")
    size = np.abs(expected).max(axis=(1, 2, 3), keepdims=True)
    assert (np.abs(relevance - expected) <= 1e-4 * size).all()
