"""Relevance through a whole network, compiled once for each set of rules (chapter 07_lrp)."""

from functools import cached_property

import numpy as np
import tensorflow as tf

from xaifake.errors import UserError
from xaifake.explainers.lrp.layers import has_constant
from xaifake.explainers.lrp.linear import taped
from xaifake.explainers.lrp.rules import STABILISER, divide
from xaifake.explainers.request import batches

SPENT = ("bias", "stabiliser", "unassigned")
CHUNK = 180e6  # bytes of layers' outputs at a time; what is kept of them for the way back is more
SMALLEST = 4  # pictures; fewer are summed in another order, and maps differ in the fifth digit


def bounds_at(found, step, low, high):
    """Return between what each channel of a layer's input lies, 0 included, as two tuples.

    Parameters
    ----------
    found : list of Step
    step : Step
        A first layer with weights; before it stand a change of units and the like, at most.
    low, high : float
        The bounds of pictures.
    """
    shape = [n or 32 for n in found[0].node.output.shape[1:]]
    pictures = np.stack([np.full(shape, bound, np.float32) for bound in (low, high)])
    values = {found[0].node.name: tf.constant(pictures)}
    for before in found[1:]:
        if before.first and before.kind != "weighted" and values.keys() >= set(before.sources):
            sources = [values[source] for source in before.sources]
            values[before.node.name] = (
                sources[0] if before.kind == "idle" else _run(before, *sources)
            )
    x = values[step.sources[0]].numpy()
    axes = tuple(range(x.ndim - 1))
    low, high = np.minimum(x.min(axes), 0), np.maximum(x.max(axes), 0)
    return tuple(low.tolist()), tuple(high.tolist())


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

    def chunks(self, images, batch_size):
        """Return pictures in batches, each in parts of about `CHUNK` for the sake of memory."""
        sizes = [np.prod([n or 1 for n in step.node.output.shape[1:]]) for step in self.steps]
        largest = max(SMALLEST, int(CHUNK / (sum(sizes) * self.dtype.size)))
        return [
            part
            for first in batches(len(images), batch_size)
            for batch in [images[first : first + batch_size]]
            for part in np.array_split(batch, max(1, len(batch) // largest))
        ]

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
            parts, spent = self._backward(step, weights, values, kept.pop(name), relevance)
            trace.spent(name, spent, relevance)
            for source, part in parts.items():
                waiting.setdefault(source, []).append(part)
        raise UserError("The model's answer does not depend on the picture: nothing to explain.")

    def _forward(self, images, weights):
        values, kept = {}, {}
        for step in self.steps:
            name, node = step.node.name, step.node
            sources = [values[source] for source in step.sources]
            kept[name] = None
            if step.kind == "input":
                values[name] = images
            elif step.kind == "weighted":
                rule = self.rules[name]
                z, rest = rule.forward(step.linear, weights[name], *sources, step.signed)
                values[name] = z if node.activation == "linear" else node.layer.activation(z)
                kept[name] = rest, z if node.activation == "softmax" else None
            elif step.kind == "idle":
                (values[name],) = sources
            elif step.kind in ("pass", "softmax"):
                values[name] = _run(step, *sources)
            else:
                output, back = taped(lambda *given, step=step: _run(step, *given), *sources)
                values[name], kept[name] = output, back
        return values, kept

    def _backward(self, step, weights, values, kept, relevance):
        """Return the relevance of each source, and what was spent."""
        name, sources = step.node.name, {source: values[source] for source in step.sources}
        if step.kind == "weighted":
            kept, z = kept
            sums = relevance if z is None else _through_softmax(-1, z, values[name], relevance)
            case = step.linear, weights[name], *sources.values(), kept, sums, step.signed
            part, spent = self.rules[name].backward(*case)
            if z is not None:
                lost = relevance - sums
                spent["bias"] = tf.concat([spent["bias"], lost], -1) if "bias" in spent else lost
            return dict(zip(sources, [part])), spent
        if step.kind in ("idle", "pass"):
            return dict.fromkeys(sources, relevance), {}
        if step.kind == "softmax":
            (source,) = sources
            axis = getattr(step.node.layer, "axis", -1)
            part = _through_softmax(axis, sources[source], values[name], relevance)
            return {source: part}, {"bias": relevance - part}
        if step.kind == "route":
            parts = kept(relevance)
            pads = type(step.node.layer).__name__.startswith("ZeroPadding")
            spent = {"unassigned": relevance - _run(step, *parts)} if pads else {}
            return dict(zip(sources, parts)), spent
        c, stabiliser = divide(relevance, values[name], self.stabiliser)
        spent = {"stabiliser": stabiliser}
        if has_constant(step.node):
            spent["bias"] = c * _run(step, *map(tf.zeros_like, sources.values()))
        takers = step.signals or step.sources
        factors = sum(source in takers for source in step.node.inputs) if step.signals else 1
        parts = {
            source: x * back / factors
            for (source, x), back in zip(sources.items(), kept(c), strict=True)
            if source in takers
        }
        return parts, spent


def _run(step, *sources):
    """Call a layer of the network with values of its sources, each given once."""
    values, node = dict(zip(step.sources, sources, strict=True)), step.node
    return node.run({id(x): values[name] for x, name in zip(node.sources, node.inputs)})


def _through_softmax(axis, x, shares, relevance):
    return x * (relevance - shares * tf.reduce_sum(relevance, axis, keepdims=True))


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
