"""Relevance through a whole network, compiled once for each set of rules (chapter 06_lrp)."""

from dataclasses import dataclass, replace
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf

from xaifake.detector.graph import RELUS, nodes
from xaifake.errors import UserError
from xaifake.explainers.lrp.batch_norms import FOLDABLE
from xaifake.explainers.lrp.linear import linear_layer
from xaifake.explainers.lrp.rules import STABILISER, divide

# What a layer without weights does with relevance. `ADD` and `AVERAGE` divide it by the z rule,
# `ROUTE` sends it to where the values came from, `PASS` leaves it where it is.
ADD = {"Add"}
AVERAGE = {"AveragePooling2D", "GlobalAveragePooling2D"}
ROUTE = {
    *("Concatenate", "Cropping2D", "Flatten", "GlobalMaxPooling2D", "MaxPooling2D", "Permute"),
    *("Reshape", "ZeroPadding2D"),
}
PASS = {
    *("Activation", "ActivityRegularization", "Dropout", "GaussianDropout", "GaussianNoise"),
    *("Identity", "ReLU", "Relu", "Relu6", "SpatialDropout2D"),
}
# Operations that are no layers, such as `x + y`; others of their kind take other arguments.
OPERATIONS = {"Add", "Relu", "Relu6"}
WEIGHTED = {*FOLDABLE, "BatchNormalization"}
SPENT = ("bias", "stabiliser", "unassigned")


@dataclass
class Step:
    """One layer of a folded network, and what is done with it.

    Attributes
    ----------
    node : Node
    kind : str
        "input", "weighted", "add", "average", "route" or "pass".
    linear : Linear or None
    signed : bool
        Whether what it takes can be negative.
    first : bool
        Whether no other layer with weights stands between it and the picture.
    """

    node: object
    kind: str
    linear: object
    signed: bool
    first: bool


def steps(canonical, weights, sign=1.0):
    """Read a folded network.

    Parameters
    ----------
    canonical : keras.Model
        From `merge_batch_norms`.
    weights : dict of str to list of numpy.ndarray
        By layer.
    sign : float
        -1 to negate its logits.

    Returns
    -------
    list of Step

    Raises
    ------
    UserError
        If a layer is none that LRP is defined for here.
    """
    found, nonnegative, touched = [], set(), set()
    for node in nodes(canonical):
        kind = _kind(node)
        sources = node.inputs
        linear = linear_layer(node, weights[node.name]) if kind == "weighted" else None
        signed = not nonnegative.issuperset(sources) or not sources
        found.append(Step(node, kind, linear, signed, not touched.intersection(sources)))
        if node.activation in RELUS or (not signed and kind in ("add", "average", "route", "pass")):
            nonnegative.add(node.name)
        if kind == "weighted" or touched.intersection(sources):
            touched.add(node.name)
    return _negate(found) if sign < 0 else found


def check_layers(model):
    """Raise a UserError if a model has a layer that LRP is not defined for here."""
    for node in nodes(model):
        _kind(node)


def _kind(node):
    layer, name = node.layer, type(node.layer).__name__
    if isinstance(layer, keras.layers.InputLayer):
        return "input"
    kinds = {"weighted": WEIGHTED, "add": ADD, "average": AVERAGE, "route": ROUTE, "pass": PASS}
    kind = next((kind for kind, names in kinds.items() if name in names), None)
    known = type(layer).__module__.startswith("keras.")
    known &= isinstance(layer, keras.layers.Layer) or name in OPERATIONS
    if kind is None or not known or (kind == "add" and len(node.sources) < 2):
        raise UserError(
            f"LRP has no rule for the layer {node.name!r}, a {name}. It takes "
            f"{', '.join(sorted((WEIGHTED | ADD | AVERAGE | ROUTE | PASS) - {'Relu', 'Relu6'}))}: "
            "build the detector of these, or use a method that works for any, such as "
            "integrated_gradients or lime."
        )
    if node.activation not in (*RELUS, "linear"):
        raise UserError(
            f"The layer {node.name!r} ends in {node.activation}, and LRP's rules are for relu, "
            "relu6 and no activation: use those, or a method that works for any, such as "
            "integrated_gradients or lime."
        )
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise UserError(f"The layer {node.name!r} has its channels first: build them last.")
    return kind


def _negate(found):
    """Return the steps of the network whose logits are the negated ones."""
    by_name = {step.node.name: step for step in found}
    waiting, passed, negated = [found[-1].node.name], set(), set()
    while waiting:
        step = by_name[waiting.pop()]
        if step.kind == "weighted" and step.node.activation == "linear":
            negated.add(step.node.name)
        elif step.node.activation == "linear" and _is_linear(step):
            passed.add(step.node.name)
            waiting += step.node.inputs
        else:
            raise _cannot_negate(step)
    for step in found:  # what is negated must reach the logits, and nothing else
        if step.node.name not in passed and not (passed | negated).isdisjoint(step.node.inputs):
            raise _cannot_negate(step)
    return [
        replace(step, linear=step.linear.negated()) if step.node.name in negated else step
        for step in found
    ]


def _is_linear(step):
    return step.kind != "input" and not type(step.node.layer).__name__.endswith("MaxPooling2D")


def _cannot_negate(step):
    return UserError(
        "The negated logit is explained by negating the last weights, and in this model "
        f"{step.node.name!r} stands behind them: explain 'fake', or end the model in a Dense layer."
    )


def bottlenecks(found):
    """Return the names of the layers that each path from the picture to the logits passes."""
    waiting, names = {}, set()  # layers whose outputs are still to be taken, by how many
    for step in found:
        for source in step.node.inputs:
            waiting[source] -= 1
            if not waiting[source]:
                del waiting[source]
        if not waiting:
            names.add(step.node.name)
        waiting[step.node.name] = sum(other.node.inputs.count(step.node.name) for other in found)
    return names


class Network:
    """A folded network with a rule for each layer that has weights, as one compiled function.

    Parameters
    ----------
    found : list of Step
    rules : dict of str to Rule
        By layer.
    stabiliser : float
        Keeps the denominators of additions and averages from zero; in units of their sums.
    """

    def __init__(self, found, rules, stabiliser=STABILISER):
        self.steps = found
        self.rules = rules
        self.stabiliser = stabiliser
        kernels = [kernel.dtype for step in found if step.linear for kernel in step.linear.kernels]
        self.dtype = tf.float64 if "float64" in kernels else tf.float32
        self.load(found)
        picture = tf.TensorSpec([None, *found[0].node.output.shape[1:]], self.dtype)
        specs = tf.nest.map_structure(tf.TensorSpec.from_tensor, self.weights)
        self._signature = picture, tf.TensorSpec([], tf.int32), specs

    def _compile(self, function):
        # Without autograph, which would take as long as the rest to read the code for loops that
        # depend on tensors; there are none.
        return tf.function(function, autograph=False).get_concrete_function(*self._signature)

    @cached_property
    def _run(self):
        return self._compile(self._explain)

    @cached_property
    def _trace(self):
        return self._compile(self._explain_with_trace)

    def load(self, found):
        """Take the weights of other steps, of the same shapes."""
        self.weights = {}
        for step in found:
            if step.kind == "weighted":
                arrays = self.rules[step.node.name].prepare(step.linear, step.signed)
                self.weights[step.node.name] = tf.nest.map_structure(self._tensor, arrays)

    def _tensor(self, array):
        return tf.convert_to_tensor(np.asarray(array, self.dtype.as_numpy_dtype))

    def explain(self, images, index):
        """Return the relevance of pictures, and their logits.

        Parameters
        ----------
        images : numpy.ndarray, (N, H, W, C)
        index : int
            Which logit.

        Returns
        -------
        relevance : numpy.ndarray, (N, H, W, C)
        logit : numpy.ndarray, (N,)
        """
        case = self._tensor(images), tf.constant(index), self.weights
        return [part.numpy() for part in self._run(*case)]

    def explain_with_trace(self, images, index):
        """Return what `explain` does, and what became of the relevance on its way.

        Returns
        -------
        relevance, logit
            As from `explain`.
        trace : dict of str to numpy.ndarray, (layers, N)
            For each layer, in the order of the steps: `relevance`, the sum that its outputs got,
            `abs_sum`, the same without signs, and what was `SPENT` at it; `unassigned_outputs`, how
            many of them had relevance and only one part.
        """
        case = self._tensor(images), tf.constant(index), self.weights
        relevance, logit, trace = self._trace(*case)
        return relevance.numpy(), logit.numpy(), {k: part.numpy() for k, part in trace.items()}

    def explain_at(self, images, index, names):
        """Return the relevance of some layers' outputs, summed over the channels.

        Parameters
        ----------
        images, index
            As for `explain`.
        names : collection of str
            Layers with outputs of shape (N, H, W, C); "input" is the picture's.

        Returns
        -------
        dict of str to numpy.ndarray, (N, H, W)
        """
        maps = _Maps({self.steps[0].node.name if name == "input" else name for name in names})
        *_, trace = self._pass_through(self._tensor(images), index, self.weights, maps)
        trace.found["input"] = trace.found.get(self.steps[0].node.name)
        return {name: trace.found[name].numpy() for name in names}

    def _explain(self, images, index, weights):
        relevance, logit, _ = self._pass_through(images, index, weights, _Nothing())
        return relevance, logit

    def _explain_with_trace(self, images, index, weights):
        relevance, logit, trace = self._pass_through(images, index, weights, _Trace())
        return relevance, logit, trace.table(self.steps)

    def _pass_through(self, images, index, weights, trace):
        values, kept = self._forward(images, weights)
        logits = values[self.steps[-1].node.name]
        logit = logits[:, index]
        start = logit[:, None] * tf.one_hot(index, logits.shape[-1], dtype=self.dtype)
        waiting = {self.steps[-1].node.name: [start]}
        for step in reversed(self.steps):
            name = step.node.name
            if name not in waiting:  # an output that nobody uses
                continue
            relevance = _total(waiting.pop(name))
            trace.arrived(name, relevance)
            if step.kind == "input":
                return relevance, logit, trace
            sources = [values[source] for source in step.node.inputs]
            parts, spent = self._backward(step, weights, sources, kept.pop(name), relevance)
            trace.spent(name, spent, relevance)
            for source, part in zip(step.node.inputs, parts, strict=True):
                waiting.setdefault(source, []).append(part)
        raise UserError("The model's answer does not depend on the picture: nothing to explain.")

    def _forward(self, images, weights):
        values, kept = {}, {}
        for step in self.steps:
            name, layer = step.node.name, step.node.layer
            sources = [values[source] for source in step.node.inputs]
            if step.kind == "input":
                values[name] = images
            elif step.kind == "weighted":
                rule = self.rules[name]
                case = step.linear, weights[name], *sources, step.signed
                z, kept[name] = rule.forward(*case)
                linear = step.node.activation == "linear"
                values[name] = z if linear else layer.activation(z)
            elif step.kind == "pass":
                linear = step.node.activation == "linear"  # dropout and its like do nothing now
                values[name], kept[name] = sources[0] if linear else layer(sources[0]), None
            else:
                values[name], kept[name] = _call(layer, sources)
        return values, kept

    def _backward(self, step, weights, sources, kept, relevance):
        """Return the relevance of each source, and what was spent."""
        name = step.node.name
        if step.kind == "weighted":
            case = step.linear, weights[name], *sources, kept, relevance, step.signed
            part, spent = self.rules[name].backward(*case)
            return [part], spent
        if step.kind == "pass":
            return [relevance], {}
        tape, taped, output = kept
        if step.kind == "route":
            parts = tape.gradient(output, taped, relevance)
            pads = type(step.node.layer).__name__ == "ZeroPadding2D"
            return parts, {"unassigned": relevance - step.node.layer(parts[0])} if pads else {}
        c, stabiliser = divide(relevance, output, self.stabiliser)
        backs = tape.gradient(output, taped, c)
        return [x * back for x, back in zip(sources, backs)], {"stabiliser": stabiliser}


def _call(layer, sources):
    """Call a layer without weights, and keep what its gradient needs."""
    sources = [tf.identity(source) for source in sources]  # one may be there twice
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        one_list = isinstance(layer, keras.layers.Layer) and len(sources) > 1
        output = layer(sources) if one_list else layer(*sources)
    return output, (tape, sources, output)


def _total(parts):
    return tf.add_n(parts) if len(parts) > 1 else parts[0]


class _Nothing:
    """Reports nothing."""

    def arrived(self, name, relevance):
        pass

    def spent(self, name, spent, relevance):
        pass


class _Maps(_Nothing):
    """Keeps the maps of some layers."""

    def __init__(self, names):
        self.names, self.found = names, {}

    def arrived(self, name, relevance):
        if name in self.names:
            self.found[name] = tf.reduce_sum(relevance, axis=-1)


class _Trace:
    """Reports each layer's relevance, for each picture."""

    def __init__(self):
        self.layers = {}

    def arrived(self, name, relevance):
        sums = {"relevance": _sum(relevance), "abs_sum": _sum(tf.abs(relevance))}
        self.layers[name] = sums

    def spent(self, name, spent, relevance):
        self.layers[name] |= {key: _sum(part) for key, part in spent.items()}
        if "unassigned" in spent:
            lost = spent["unassigned"] != 0
            parts = lost.shape[-1] // relevance.shape[-1]
            count = tf.cast(tf.reduce_any(tf.stack(tf.split(lost, parts, -1)), 0), relevance.dtype)
            self.layers[name]["unassigned_outputs"] = _sum(count)

    def table(self, found):
        nothing = tf.zeros_like(self.layers[found[-1].node.name]["relevance"])
        columns = ("relevance", "abs_sum", *SPENT, "unassigned_outputs")
        rows = [self.layers.get(step.node.name, {}) for step in found]
        return {c: tf.stack([row.get(c, nothing) for row in rows]) for c in columns}


def _sum(x):
    return tf.reduce_sum(tf.cast(x, tf.float64), axis=range(1, len(x.shape)))
