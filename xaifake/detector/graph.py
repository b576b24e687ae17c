"""What a Keras model is made of, and the same model flat and without its sigmoid or softmax.

Every method that looks into a network starts here (chapters 03_training to 07_gradients).
"""

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
    """One layer, or operation such as ``keras.ops.relu``, of a model.

    Attributes
    ----------
    layer : keras.layers.Layer or keras.Operation
    inputs : list of str
        Names of the layers whose outputs it takes; empty for the model's input.
    output : keras.KerasTensor
        What it returns in this model.
    sources : list of keras.KerasTensor
        What it takes in this model.
    """

    layer: keras.layers.Layer
    inputs: list
    output: keras.KerasTensor
    sources: list

    @property
    def name(self):
        """The layer's name."""
        return self.layer.name

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
    """Return a model's layers in an order in which data can pass them.

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
        If the model is of another kind, holds a model as a layer, or uses a layer twice.
    """
    model = as_functional(model)
    found = {}
    waiting = [model.outputs[0]]
    while waiting:
        node = node_behind(waiting.pop())
        layer = node.layer
        if layer.name not in found:
            found[layer.name] = node
            waiting += node.sources
        elif found[layer.name].output is not node.output:
            raise UserError(f"The model uses the layer {layer.name!r} twice: give each its own.")
        if isinstance(layer, keras.Model):
            raise UserError(
                f"The model holds the model {layer.name!r} as one layer, and its inside cannot be "
                "reached: build one flat model out of both."
            )
    return [found[layer.name] for layer in model.operations]


def node_behind(tensor):
    """Return the layer that made a tensor of a model, with its inputs, as a `Node`."""
    # A layer may serve several models; only the tensor tells which of its calls is this one's.
    layer, call, _ = tensor._keras_history
    first = isinstance(layer, keras.layers.InputLayer)
    sources = [] if first else list(layer._inbound_nodes[call].input_tensors)
    return Node(layer, [t._keras_history.operation.name for t in sources], tensor, sources)


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


def flatten(model):
    """Return a model in whose graph the layers of the models that it holds stand themselves.

    A network that was trained before, with a new end, is one layer and the end to Keras.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential.

    Returns
    -------
    keras.Model
        The same answers by the same layers; the model itself where it is flat already, or where
        layers of two models have the same name, which Keras has in one model only once. Models of
        their own class, whose layers cannot be followed, stay single layers.

    Raises
    ------
    UserError
        As in `as_functional`.
    """
    model = as_functional(model)
    names = [layer.name for layer in _operations(model)]
    if len(names) == len(model.operations) or len(set(names)) < len(names):
        return model

    def make():
        tensor = model.inputs[0]
        return keras.Model(tensor, _inline(model, tensor), name=model.name)

    return kept(model, "flat", make)


def _operations(model):
    """Yield what a model calls, with what models within it call in their place, inputs once."""
    for layer in model.operations:
        if _has_graph(layer):
            inner = as_functional(layer)
            inputs = {tensor._keras_history.operation for tensor in inner.inputs}
            yield from (one for one in _operations(inner) if one not in inputs)
        else:
            yield layer


def _has_graph(layer):
    return isinstance(layer, keras.Sequential) or hasattr(layer, "operations")


def _inline(model, tensor):
    """Return what a model's layers, and those of the models among them, make of an input."""
    last, answers = node_behind(model.outputs[0]).layer, {}

    def call(layer, *args, **options):
        if _has_graph(layer):
            answers[layer.name] = _inline(as_functional(layer), args[0])
        else:
            answers[layer.name] = layer(*args, **options)
        return answers[layer.name]

    # Without the model's loss and metrics, which a clone would have to rebuild. The clone itself
    # begins anew at its input, so that the answers are taken on the way.
    bare = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    keras.models.clone_model(bare, tensor, clone_function=lambda layer: layer, call_function=call)
    return answers[last.name]


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
