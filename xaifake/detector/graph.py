"""What a Keras model is made of, and the same model flat and without its sigmoid or softmax.

Every method that looks into a network starts here (chapters 03_training to 09_gradients).
"""

import inspect
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from weakref import WeakKeyDictionary, ref

import keras

from xaifake.errors import UserError

HEADS = ("sigmoid", "softmax")
RELUS = ("relu", "relu6")
# Layers at the end of a model that leave the logits what they are.
_NEUTRAL = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Identity, keras.layers.Reshape)
_SLOPED = (keras.layers.ELU, keras.layers.LeakyReLU, keras.layers.PReLU)
# What may end in a sigmoid that cannot be seen.
_OPAQUE = (keras.layers.Lambda, keras.layers.TFSMLayer, keras.Model)
_kept = WeakKeyDictionary()


def parts(model):
    """Return what a graph takes from a model when it is traced; new values are not among it."""
    return [
        part
        for layer in _all_layers(model)
        for part in (layer, getattr(layer, "activation", None), *layer.variables)
    ]


def _all_layers(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def remember(made_of):
    """Return a function that tells whether other parts are these, by identity; none is kept."""
    references = [None if part is None else _reference(part) for part in made_of]

    def fits(others):
        return len(references) == len(others) and all(
            other is None if before is None else other is not None and before() is other
            for before, other in zip(references, others)
        )

    return fits


def _reference(part):
    """Return a function to a part; where it cannot be referred to weakly, it is kept."""
    try:
        return ref(part)
    except TypeError:
        return lambda: part


def kept(model, key, make):
    """Return what was made of a model before, or make it, as long as the model has the same parts.

    Parameters
    ----------
    model : keras.Model
        When it goes, what was made of it goes with it; so that must not refer to the model.
    key : hashable
        What it is called.
    make : callable
        Makes it. It is called again when layers, activations or variables were replaced; values
        of variables that change are not noticed.

    Returns
    -------
    object
    """
    now = parts(model)
    known = _kept.get(model)
    if known is None or not known[0](now):
        known = _kept[model] = remember(now), {}
    if key not in known[1]:
        known[1][key] = make()
    return known[1][key]


def forget():
    """Forget all that is `kept`."""
    _kept.clear()


@dataclass
class Node:
    """One call of a layer, or of an operation such as ``keras.ops.relu``, in a model.

    Attributes
    ----------
    layer : keras.layers.Layer or keras.Operation
    name : str
        The layer's name; of its second call in the model that and ".2", and so on.
    inputs : list of str
        Names of the nodes whose outputs it takes; empty for the model's input.
    output : keras.KerasTensor
        What it returns in this model.
    sources : list of keras.KerasTensor
        What it takes in this model.
    arguments : keras.src.ops.symbolic_arguments.SymbolicArguments
        All that it was called with, as Keras keeps it.
    """

    layer: keras.layers.Layer
    name: str
    inputs: list
    output: keras.KerasTensor
    sources: list
    arguments: object

    def run(self, values):
        """Call the layer as in the model, with other values of `sources` by their ``id``."""
        args, options = self.arguments.fill_in(values)
        return self.layer(*args, **options)

    @property
    def layer_has_weights(self):
        """Whether it has weights of its own."""
        return bool(getattr(self.layer, "weights", []))

    @property
    def activation(self):
        """Name of the nonlinear function that it ends in; "linear" if it ends in none."""
        if isinstance(self.layer, keras.layers.Softmax):
            return "softmax"
        if isinstance(self.layer, keras.layers.ReLU):
            config = self.layer.get_config()
            plain = not config["negative_slope"] and not config["threshold"]
            return "relu" if plain else "leaky_relu"
        if isinstance(self.layer, _SLOPED):
            return type(self.layer).__name__
        if not isinstance(self.layer, keras.layers.Layer):
            kind = type(self.layer)
            return kind.__name__.lower() if kind.__module__.endswith("ops.nn") else "linear"
        function = getattr(self.layer, "activation", None) or keras.activations.linear
        return getattr(function, "__name__", type(function).__name__)


def nodes(model):
    """Return the calls of a model's layers in an order in which data can pass them.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential, with one input and one output.

    Returns
    -------
    list of Node

    Raises
    ------
    UserError
        If the model is of another kind, holds one whose layers cannot be followed, or a layer that
        returns several tensors.
    """
    names, times, found = {}, Counter(), []
    for call in _calls(as_functional(model)):
        layer = call.operation
        if isinstance(layer, keras.Model):
            raise UserError(
                f"The model holds {layer.name!r}, a model of its own class, and its inside cannot "
                "be reached: build one model out of both by keras.Model(inputs, outputs)."
            )
        if len(call.outputs) > 1:
            raise UserError(
                f"The layer {layer.name!r} returns {len(call.outputs)} tensors: give a model whose "
                "layers return one each."
            )
        times[layer.name] += 1
        name = layer.name if times[layer.name] == 1 else f"{layer.name}.{times[layer.name]}"
        names[id(call.outputs[0])] = name
        inputs = [names[id(tensor)] for tensor in call.input_tensors]
        found.append(Node(layer, name, inputs, call.outputs[0], call.input_tensors, call.arguments))
    return found


def _calls(model):
    """Return Keras' own nodes of a functional model, in an order in which data can pass them."""
    place = {id(layer): number for number, layer in enumerate(model.operations)}
    return [
        call
        for _, calls in sorted(model._nodes_by_depth.items(), reverse=True)
        for call in sorted(calls, key=lambda call: place[id(call.operation)])
    ]


def node_behind(tensor):
    """Return the layer that made a tensor of a model, with its inputs, as a `Node`."""
    # A layer may serve several models; only the tensor tells which of its calls is this one's.
    layer, number, _ = tensor._keras_history
    call = layer._inbound_nodes[number]
    inputs = [source._keras_history.operation.name for source in call.input_tensors]
    return Node(layer, layer.name, inputs, tensor, call.input_tensors, call.arguments)


def as_functional(model):
    """Return a Functional or Sequential model as a functional one; the layers are shared.

    Raises
    ------
    UserError
        If the model is of another kind, is not built, or has several inputs or outputs.
    """
    if not isinstance(model, keras.Model):
        raise UserError(
            f"Give a keras.Model of Keras 3, not {type(model).__module__}.{type(model).__name__}."
        )
    grown = isinstance(model, keras.Sequential) and model.built
    if not grown and not hasattr(model, "operations"):
        raise UserError(
            f"{model.name!r} is a model of its own class or not built yet, so its layers cannot be "
            "followed: give a functional model, keras.Model(inputs, outputs), or a built "
            "Sequential."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UserError(
            f"The model has {len(model.inputs)} inputs and {len(model.outputs)} outputs: give one "
            "that takes a picture and returns its logits."
        )
    if not grown and all(isinstance(x, keras.KerasTensor) for x in (model.input, model.output)):
        return model
    # A Sequential may have grown since; then its parts are others.
    return kept(model, "functional", lambda: _functional(model))


def _functional(model):
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def find_layer(model, name):
    """Return a model's layer by name, as a `Node`.

    Raises
    ------
    UserError
        If there is none of this name; the nearest names are suggested.
    """
    found = {node.name: node for node in nodes(model)}
    if name not in found:
        near = get_close_matches(str(name), found, n=3, cutoff=0.4)
        some = ", ".join(list(found)[:5])
        hint = f"did you mean {', '.join(near)}?" if near else f"it has {some} ..."
        raise UserError(f"The model has no layer {name!r}: {hint}")
    return found[name]


def flatten(model, attention=False):
    """Return a model in whose graph the layers of the models that it holds stand themselves.

    A network that was trained before, with a new end, is one layer and the end to Keras.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential.
    attention : bool
        Whether what multi-head attention is made of stands there too, under its name and a dot.

    Returns
    -------
    keras.Model
        The same answers by the same layers; the model itself where it is flat already. Of layers of
        the same name, which Keras has in one model only once, those of inner models are called by
        the inner model's name and a dot before their own. Models of their own class, whose layers
        cannot be followed, stay single layers.

    Raises
    ------
    UserError
        As in `as_functional`.
    """
    model = as_functional(model)
    if not any(_has_graph(layer) or attention and _is_attention(layer) for layer in _all(model)):
        return model

    def make():
        tensor = model.inputs[0]
        (answer,) = _Inliner(model, attention).run(model, [tensor])
        return keras.Model(tensor, answer, name=model.name)

    return kept(model, ("flat", attention), make)


def _all(model):
    return [call.operation for call in _calls(model)]


def _has_graph(layer):
    return isinstance(layer, keras.Sequential) or hasattr(layer, "operations")


def _is_attention(layer):
    return type(layer) is keras.layers.MultiHeadAttention


class _Inliner:
    """Calls the layers of a model and of those within it anew, each under a name of its own."""

    def __init__(self, model, attention):
        self._attention = attention
        self._named = {x.name: x for x in model.operations if not _has_graph(x)}
        self._used = {id(x): x for x in self._named.values()}

    def run(self, model, tensors):
        """Return what a model makes of tensors, as a list."""
        values = dict(zip(map(id, model.inputs), tensors, strict=True))
        for call in _calls(model):
            if call.is_input:
                continue
            args, options = call.arguments.fill_in(values)
            answers = keras.tree.flatten(self._call(call.operation, model, args, options))
            values |= zip(map(id, call.outputs), answers, strict=True)
        return [values[id(tensor)] for tensor in model.outputs]

    def _call(self, layer, model, args, options):
        if _has_graph(layer):
            inner = layer if hasattr(layer, "_nodes_by_depth") else as_functional(layer)
            return self.run(inner, keras.tree.flatten(args or options.get("inputs")))
        if self._attention and _is_attention(layer):
            given = inspect.signature(layer.call).bind(*args, **options).arguments
            given = {
                n: value for n, value in given.items() if value is not None and value is not False
            }
            if _is_plain(layer, given):
                return self._attend(layer, **{"key": given["value"], **given})
        return self._own(layer, model.name)(*args, **options)

    def _own(self, layer, owner):
        """Return a layer, or one that shares all with it but the name, if that is taken."""
        if id(layer) not in self._used:
            name = layer.name
            while self._named.setdefault(name, layer) is not layer:
                name = f"{owner}.{name}"
            self._used[id(layer)] = layer if name == layer.name else _twin(layer, name)
        return self._used[id(layer)]

    def _attend(self, layer, query, key, value):
        """Call what multi-head attention consists of, step by step (Vaswani et al. 2017)."""

        def call(kind, name, x, *settings):
            return kind(*settings, name=f"{layer.name}.{name}")(x)

        def product(name, a, b):
            tensor = keras.ops.matmul(a, b)
            tensor._keras_history.operation.name = f"{layer.name}.{name}"
            return tensor

        kinds = keras.layers
        q, k, v = (
            call(kinds.Permute, f"{name}_by_head", self._part(layer, name, dense)(given), order)
            for name, dense, given, order in (
                ("query", layer.query_dense, query, (2, 1, 3)),
                ("key", layer.key_dense, key, (2, 3, 1)),
                ("value", layer.value_dense, value, (2, 1, 3)),
            )
        )
        scores = call(kinds.Rescaling, "scores", product("product", q, k), layer.key_dim**-0.5)
        mixed = product("mix", call(kinds.Softmax, "softmax", scores), v)
        mixed = call(kinds.Permute, "mix_by_place", mixed, (2, 1, 3))
        answer = self._part(layer, "output", layer.output_dense)(mixed)
        # The dense layer does not know how many rows there are; who takes its answer may need it.
        shape = layer.compute_output_shape(query.shape, value.shape)[1:]
        return call(kinds.Reshape, "rows", answer, [-1 if n is None else n for n in shape])

    def _part(self, layer, name, dense):
        if id(dense) not in self._used:
            self._used[id(dense)] = _twin(dense, f"{layer.name}.{name}")
        return self._used[id(dense)]


def _is_plain(layer, given):
    """Whether attention is over rows of vectors, without mask, gate or window."""
    config = layer.get_config()
    rows = all(isinstance(x, keras.KerasTensor) and len(x.shape) == 3 for x in given.values())
    return (
        rows
        and set(given) <= {"query", "value", "key"}
        and not (config.get("use_gate") or config.get("sliding_window"))
    )


def _twin(layer, name):
    """Return a layer with the variables and settings of another, and calls of its own."""
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__)
    twin.__dict__.update(name=name, _inbound_nodes=[], _outbound_nodes=[])
    return twin


def without_head(model):
    """Return the model that ends in logits, with a sigmoid or softmax at its end taken off.

    A sigmoid is flat where the detector is sure, and relevance that starts from a probability
    cannot be negative; explanations start from the sum before it, as in Bach et al. 2015.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential, also of models; ends in a sum or in a sigmoid or softmax of one.

    Returns
    -------
    keras.Model
        As `flatten` makes it. Shares the given model's layers, save a last one that holds the
        sigmoid itself.

    Raises
    ------
    UserError
        If the model ends in another activation, or in a layer that may hide one.
    """
    model = flatten(model)
    last = _last(model)
    if isinstance(last.layer, _OPAQUE):
        raise UserError(
            f"The model ends in {last.name!r}, a {type(last.layer).__name__}, which may hide a "
            "sigmoid or softmax: end it in layers of Keras, such as Dense(1)."
        )
    if last.activation == "linear":
        return model
    if last.activation not in HEADS:
        raise UserError(
            f"The model ends in {last.activation}, and an explanation starts from the sums before "
            "it: end the model in a layer without activation, or in a sigmoid or softmax."
        )
    bare = kept(model, "without head", lambda: _take_off(model, last))
    if last.layer_has_weights:
        bare.layers[-1].set_weights(last.layer.get_weights())
    return bare


def _last(model):
    """Return the last layer that changes the answer."""
    last = node_behind(model.outputs[0])
    while last.inputs and last.activation == "linear" and _is_neutral(last.layer):
        last = node_behind(last.sources[0])
    return last


def _take_off(model, last):
    before = last.sources[0]
    if last.layer_has_weights:
        config = last.layer.get_config() | {"activation": "linear"}
        before = type(last.layer).from_config(config)(before)
    return keras.Model(model.inputs[0], before, name=model.name)


def _is_neutral(layer):
    return isinstance(layer, (*_NEUTRAL, keras.layers.Activation))
