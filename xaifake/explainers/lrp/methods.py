"""LRP under iNNvestigate's names, with rules chosen layer by layer (chapter 07_lrp).

It is tested against explicit matrices, layer by layer; against iNNvestigate, on networks where
that is right; and by its own report (`relevance_by_layer`).
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from xaifake.detector.graph import kept
from xaifake.errors import UserError
from xaifake.explainers.lrp.batch_norms import MergePlan
from xaifake.explainers.lrp.layers import check_layers, steps
from xaifake.explainers.lrp.network import SPENT, Network, bottlenecks, bounds_at
from xaifake.explainers.lrp.rules import (
    STABILISER,
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZPlusFast,
)
from xaifake.explainers.registry import register
from xaifake.explainers.request import prepare
from xaifake.progress import progress_bar

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from xaifake.detector.detector import Detector
    from xaifake.explainers.request import Request

# iNNvestigate's names, and Gamma, which it has not.
RULES = {
    "Z": Epsilon(),
    "Epsilon": Epsilon(),
    "WSquare": WSquare(),
    "Flat": Flat(),
    "Alpha2Beta1": AlphaBeta(2, 1),
    "Alpha2Beta1IgnoreBias": AlphaBeta(2, 1, bias=False),
    "Alpha1Beta0": AlphaBeta(1, 0),
    "Alpha1Beta0IgnoreBias": AlphaBeta(1, 0, bias=False),
    "ZPlus": AlphaBeta(1, 0, bias=False),
    "ZPlusFast": ZPlusFast(),
    "Gamma": Gamma(),
}
KEPT_NETWORKS = 5  # of one model; with alpha-beta rules twice the size of its weights each


def explain_lrp(
    request: Request,
    rule: str | Rule | list[tuple],
    input_layer_rule: str | Rule | tuple[float, float] | None = None,
    until_layer_idx: int | None = None,
    until_layer_rule: str | Rule | None = None,
    stabiliser: float = STABILISER,
    batch_size: int = 32,
    progress: bool = True,
    conservation: bool = False,
) -> tuple[np.ndarray, dict]:
    """Hand the logit back through the network, by a rule for each layer (Bach et al. 2015).

    Each batch norm is folded into the layer before it (`merge_batch_norms`), and a separable
    convolution is one linear layer. Additions and average pooling divide by the z rule, max pooling
    gives all to the winner, activations and layer norms pass relevance on, and gates, such as those
    of squeeze-and-excite, are constants. `xaifake.explainers.lrp.layers` tells of all layers.

    Parameters
    ----------
    request : Request
    rule : str, Rule or list of (which, rule)
        One rule for all layers with weights: a name in `RULES` or an object such as
        ``AlphaBeta(3, 2)``. Or a composite: the first pair that fits a layer decides. `which` is
        "input" (the layers that take the picture), a pattern such as "Dense", "*Conv2D" or
        "block1_*" for the class or the name, or a function of the Keras layer. ::

            [("input", "Flat"), ("Dense", Epsilon(0.1)), ("*", AlphaBeta(2, 1))]

    input_layer_rule : str, Rule or (low, high), optional
        For the layers that take the picture; two numbers, or "Bounded" for those of the model's
        range, mean the z-B rule.
    until_layer_idx : int, optional
        Up to this one of the given model's layers, counted from the input, which is 0,
        `until_layer_rule` holds.
    until_layer_rule : str or Rule, optional
    stabiliser : float
        Keeps the sums in additions and average pooling from zero. In a network with shortcuts rules
        that do not look at the inputs (flat, w-square) send relevance to sums near zero, and their
        maps change with a rounding error unless this is in the order of the sums (1e-2, say).
    batch_size : int
        Pictures at a time, or fewer where their layers' outputs would take some hundred megabytes.
    progress : bool
        Show a progress bar if it takes more than some seconds.
    conservation : bool
        Whether the report is to say where the relevance went; compiling takes longer.

    Returns
    -------
    relevance : numpy.ndarray of float32, (N, H, W, C)
    report : dict of str to array
        `logit` of the class asked for. With `conservation` also `bias`, `stabiliser` and
        `unassigned`: logit = sum + bias + stabiliser + unassigned, up to rounding, which with
        cancelling parts is that of `abs_sum`, the map's sum without signs. `unassigned`, see
        `xaifake.explainers.lrp.rules`, is 0 except in alpha-beta rules for outputs with a part
        missing, of which `unassigned_outputs` is the number, and where flat, w-square or z-B meet
        zero padding.

    Raises
    ------
    UserError
        If a layer is none that LRP is defined for here, has no rule, or an option does not fit.
    """
    network = compile_network(
        request, rule, input_layer_rule, until_layer_idx, until_layer_rule, stabiliser
    )
    answers, traces = [], []
    parts = network.chunks(request.images, batch_size)
    for images in progress_bar(parts, show=progress, delay=3, unit="batch"):
        if conservation:
            *answer, trace = network.explain_with_trace(images, request.index)
            traces.append(trace)
        else:
            answer = network.explain(images, request.index)
        answers.append(answer)
    relevance, logit = (np.concatenate(part) for part in zip(*answers))
    report = {"logit": logit}
    if conservation:
        totals = {key: np.concatenate([b[key].sum(0) for b in traces]) for key in traces[0]}
        report |= {key: totals[key] for key in (*SPENT, "unassigned_outputs")}
        report["abs_sum"] = np.abs(relevance).sum((1, 2, 3), dtype=float)
    return relevance.astype(np.float32, copy=False), report


def relevance_by_layer(
    detector: Detector | keras.Model,
    images: np.ndarray,
    method: str,
    target: str | int | Sequence[str | int] = "fake",
    value_range: tuple[float, float] | None = None,
    batch_size: int = 32,
    **options: Any,
) -> pd.DataFrame:
    """Follow the relevance through the network.

    Parameters
    ----------
    detector, images, target, value_range
        As in `xaifake.explain`.
    method : str
        One of LRP's.
    batch_size : int
        Pictures at a time.
    **options
        The method's own.

    Returns
    -------
    pandas.DataFrame
        One row per layer of the folded network and picture, from the input on: `layer`, `kind` (its
        class), `rule` (what divides its relevance; of a product, who takes it and which factors are
        constants), `picture`; `relevance`, the sum that the layer's outputs got, and `abs_sum`, the
        same without signs; `bias`, `stabiliser`, `unassigned` (spent at this layer) and
        `unassigned_outputs`, as in `explain_lrp`; `is_bottleneck`, whether all relevance passes
        this layer.
    """
    import pandas as pd  # maps need no tables

    request, network = _prepare(detector, images, method, target, value_range, options)
    layers = [step.node for step in network.steps]
    rules = [_told(step, network.rules) for step in network.steps]
    tables, first = [], 0
    for part in network.chunks(request.images, batch_size):
        *_, trace = network.explain_with_trace(part, request.index)
        count = len(part)
        table = pd.DataFrame({key: values.ravel() for key, values in trace.items()})
        table.insert(0, "layer", np.repeat([node.name for node in layers], count))
        table.insert(1, "kind", np.repeat([type(node.layer).__name__ for node in layers], count))
        table.insert(2, "rule", np.repeat(rules, count))
        table.insert(3, "picture", np.tile(np.arange(first, first + count), len(layers)))
        table["is_bottleneck"] = table.layer.isin(bottlenecks(network.steps))
        tables.append(table)
        first += count
    return pd.concat(tables, ignore_index=True)


def _told(step, rules):
    if step.kind == "product":
        gates = [name for name in step.sources if name not in step.signals]
        constant = f", {' and '.join(gates)} constant" if gates else ""
        return f"product: {' and '.join(step.signals)}{constant}"
    return str(rules.get(step.node.name, step.kind))


def relevance_at(
    detector: Detector | keras.Model,
    images: np.ndarray,
    method: str,
    layers: Sequence[str],
    target: str | int | Sequence[str | int] = "fake",
    value_range: tuple[float, float] | None = None,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Draw the relevance where it stands on its way: maps of inner layers.

    Parameters
    ----------
    detector, images, target, value_range
        As in `xaifake.explain`.
    method : str
        One of LRP's.
    layers : sequence of str
        Names of the folded network's layers with outputs (N, H, W, C), as in `relevance_by_layer`;
        "input" is the picture.
    **options
        The method's own.

    Returns
    -------
    dict of str to numpy.ndarray of float32, (N, H, W)
        Relevance of the layer's outputs, summed over the channels, by layer.

    Raises
    ------
    UserError
        If the network has no such layer, or its outputs are no maps.
    """
    request, network = _prepare(detector, images, method, target, value_range, options)
    known = {step.node.name for step in network.steps if len(step.node.output.shape) == 4}
    if unknown := [name for name in layers if name not in known | {"input"}]:
        raise UserError(
            f"{unknown[0]!r} is no layer of the folded network that has maps: give some of "
            f"input, {', '.join(sorted(known))}."
        )
    chunks = network.chunks(request.images, len(request.images))
    parts = [network.explain_at(images, request.index, layers) for images in chunks]
    return {name: np.concatenate([part[name] for part in parts]) for name in layers}


def _prepare(detector, images, method, target, value_range, options):
    """What is asked, and the network that answers by one of LRP's methods."""
    if method not in METHODS:
        raise UserError(f"{method!r} is no LRP method: give one of {', '.join(METHODS)}.")
    request = prepare(detector, images, target, value_range)
    rule, settings = METHODS[method].split(options)
    known = [*METHODS[method].own, *list(inspect.signature(compile_network).parameters)[2:]]
    if unknown := [name for name in options if name not in known]:
        raise UserError(f"There is no option {unknown[0]!r} here: {method} has {', '.join(known)}.")
    return request, compile_network(request, rule, **settings)


def compile_network(
    request,
    rule,
    input_layer_rule=None,
    until_layer_idx=None,
    until_layer_rule=None,
    stabiliser=STABILISER,
):
    """Return the request's network with a rule for each layer, compiled or kept from before.

    Parameters and errors are those of `explain_lrp`.

    Returns
    -------
    Network
    """
    if not stabiliser > 0:
        raise UserError(f"stabiliser={stabiliser}: give a positive number, such as 1e-7.")
    composite = _as_pairs(rule)
    if until_layer_idx is not None:
        composite = [(_until(request.model, until_layer_idx), until_layer_rule), *composite]
    if input_layer_rule is not None:
        composite = [("input", input_layer_rule), *composite]
    composite = [(which, _as_rule(rule, request.value_range)) for which, rule in composite]
    known = kept(request.model, "lrp", lambda: _Known(request.model))
    known.update(request.model)
    return known.network(request.sign, composite, stabiliser)


class _Known:
    """What is kept of a model: its folded form, and networks with rules."""

    def __init__(self, model):
        self._fold(MergePlan(model), _values(model))

    def _fold(self, plan, given):
        check_layers(plan.model)
        self._removed, self._given, self._canonical = plan.removed, given, plan.build()
        self._networks = OrderedDict()
        self._load(plan)

    def _load(self, plan):
        """Take a model's weights."""
        weights, layers = plan.weights(), [x for x in self._canonical.layers if x.weights]
        for layer in layers:
            layer.set_weights(weights[layer.name])
            getattr(layer, "finalize_state", lambda: None)()
        self._weights = {layer.name: _values(layer) for layer in layers}

    def update(self, model):
        """Bring the weights up to date; fold anew where they are to be folded otherwise."""
        given = _values(model)
        if all(map(np.array_equal, given, self._given)):
            return
        plan = MergePlan(model)
        if plan.removed != self._removed or plan.normalises:
            self._fold(plan, given)
            return
        self._given = given
        self._load(plan)
        for (sign, *_), network in self._networks.items():
            network.load(steps(self._canonical, self._weights, sign))

    def network(self, sign, composite, stabiliser):
        """Return a network with a rule for each layer, made anew if need be."""
        found = steps(self._canonical, self._weights, sign)
        rules = {}
        for step in [step for step in found if step.kind == "weighted"]:
            rule = _choose(step, composite)
            if isinstance(rule, Bounded) and step.first and step.sources[0] != found[0].node.name:
                rule = Bounded(*bounds_at(found, step, rule.low, rule.high))
            rules[step.node.name] = rule
        key = sign, stabiliser, tuple(rules.items())
        if key not in self._networks:
            self._networks[key] = Network(found, rules, stabiliser)
            while len(self._networks) > KEPT_NETWORKS:
                self._networks.popitem(last=False)
        self._networks.move_to_end(key)
        return self._networks[key]


def _values(layer):
    """Return the weights as they are now, in the variables' own memory.

    TensorFlow gives a variable new memory when it is changed while something holds the old.
    """
    return [np.asarray(tf.convert_to_tensor(weight.value)) for weight in layer.weights]


def _as_pairs(rule):
    """Return a rule for all layers, or a composite, as a list of (which, rule)."""
    if isinstance(rule, str | Rule):
        return [("*", rule)]
    pairs = list(rule) if isinstance(rule, list | tuple) else []
    fit = [
        isinstance(pair, tuple)
        and len(pair) == 2
        and (isinstance(pair[0], str) or callable(pair[0]))
        for pair in pairs
    ]
    if not pairs or not all(fit):
        raise UserError(
            f"rule={rule!r}: give the name of a rule, such as 'Epsilon', or a list of pairs (which "
            "layers, rule), such as [('Dense', 'Epsilon'), ('*', 'Alpha1Beta0')]."
        )
    return pairs


def _choose(step, composite):
    """Return the rule of the first pair that fits a layer."""
    layer = step.node.layer
    for which, rule in composite:
        if callable(which):
            fits = which(layer)
        elif which == "input":
            fits = step.first
        else:
            fits = any(fnmatchcase(name, which) for name in (layer.name, type(layer).__name__))
        if fits:
            return rule
    raise UserError(
        f"The rules leave out the layer {layer.name!r}, a {type(layer).__name__}: add a last pair "
        "for all others, such as ('*', 'Epsilon')."
    )


def _as_rule(rule, value_range):
    if isinstance(rule, Rule):
        return rule
    if rule == "Bounded":
        return Bounded(*value_range)
    if isinstance(rule, str) and rule in RULES:
        return RULES[rule]
    if isinstance(rule, tuple) and len(rule) == 2:
        return Bounded(*rule)
    raise UserError(
        f"No rule {rule!r}: give one of {', '.join([*RULES, 'Bounded'])}, or an object such as "
        "AlphaBeta(3, 2) from xaifake.explainers.lrp."
    )


def _until(model, index):
    whole = isinstance(index, int | np.integer) and not isinstance(index, bool)
    if not whole or not 0 <= index < len(model.layers):
        raise UserError(
            f"until_layer_idx={index!r}: give a whole number, 0 (the input) to "
            f"{len(model.layers) - 1}, the last layer."
        )
    names = {layer.name for layer in model.layers[: index + 1]}
    return lambda layer: layer.name in names


class Method:
    """A way of choosing rules, with settings of its own beside those of `explain_lrp`."""

    def __init__(self, make, **defaults):
        self._make = make
        self._defaults = defaults
        self.own = inspect.signature(make).parameters
        request, _, *shared = inspect.signature(explain_lrp).parameters.values()
        own = [p.replace(kind=p.KEYWORD_ONLY) for p in self.own.values()]
        shared = [p.replace(kind=p.KEYWORD_ONLY) for p in shared]
        self.__signature__ = inspect.Signature([request, *own, *shared])

    def split(self, options):
        """Return the rules that options ask for, and the options left for `explain_lrp`."""
        own = {name: options[name] for name in self.own if name in options}
        needed = {name for name, p in self.own.items() if p.default is p.empty}
        if missing := sorted(needed - set(own)):
            raise UserError(f"Give {missing[0]}=..., see xaifake.explainers.lrp.explain_lrp.")
        others = {name: value for name, value in options.items() if name not in own}
        return self._make(**own), self._defaults | others

    def __call__(self, request, **options):
        """Explain a request; see `explain_lrp`."""
        rule, settings = self.split(options)
        return explain_lrp(request, rule, **settings)


def sequential_preset(alpha, first=None, epsilon=0.1):
    """Return iNNvestigate's sequential presets: epsilon on dense layers, alpha-beta on the others.

    A on convolutions takes alpha = 1, B alpha = 2; the flat ones add the flat rule at the picture
    (Lapuschkin et al. 2017; compared with others in Kohlbrenner et al. 2020).
    """
    rules = [("Dense", Epsilon(epsilon)), ("*", AlphaBeta(alpha))]
    return [("input", first), *rules] if first else rules


def _preset(alpha, first=None, **defaults):
    return Method(lambda epsilon=0.1: sequential_preset(alpha, first, epsilon), **defaults)


METHODS = {
    "lrp": Method(lambda rule: rule),
    "lrp.z": Method(lambda: "Z"),
    "lrp.epsilon": Method(Epsilon),
    "lrp.gamma": Method(Gamma),
    "lrp.w_square": Method(lambda: "WSquare"),
    "lrp.flat": Method(lambda: "Flat"),
    "lrp.alpha_beta": Method(AlphaBeta),
    "lrp.alpha_2_beta_1": Method(lambda: "Alpha2Beta1"),
    "lrp.alpha_2_beta_1_IB": Method(lambda: "Alpha2Beta1IgnoreBias"),
    "lrp.alpha_1_beta_0": Method(lambda: "Alpha1Beta0"),
    "lrp.alpha_1_beta_0_IB": Method(lambda: "Alpha1Beta0IgnoreBias"),
    "lrp.z_plus": Method(lambda: "ZPlus"),
    "lrp.z_plus_fast": Method(lambda: "ZPlusFast"),
    "lrp.sequential_preset_a": _preset(1),
    "lrp.sequential_preset_b": _preset(2),
    "lrp.sequential_preset_a_flat": _preset(1, "Flat"),
    "lrp.sequential_preset_b_flat": _preset(2, "Flat"),
    "lrp.sequential_preset_b_flat_until_idx": _preset(2, "Flat", until_layer_rule="Flat"),
}

for _name, _method in METHODS.items():
    register(_name)(_method)
