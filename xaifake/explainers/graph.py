"""What a Keras model is made of, and the same model without its sigmoid or softmax.

Every method that looks into a network starts here (chapters 04_activations to 07_gradients).
"""

from dataclasses import dataclass
from difflib import get_close_matches
from weakref import WeakKeyDictionary

import keras

from xaifake.errors import UserError

HEADS = ("sigmoid", "softmax")
RELUS = ("relu", "relu6")
# Layers at the end of a model that leave the logits what they are.
_NEUTRAL = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Identity, keras.layers.Reshape)
_SLOPED = (keras.layers.ELU, keras.layers.LeakyReLU, keras.layers.PReLU)
_without_head = WeakKeyDictionary()
_functional = WeakKeyDictionary()


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
        node = _node_behind(waiting.pop())
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


def _node_behind(tensor):
    """Return the layer that made a tensor, with its inputs."""
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
    known = _functional.get(model)
    if known is None or known.outputs[0] is not model.outputs[0]:  # a Sequential may have grown
        known = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
        _functional[model] = known
    return known


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


def without_head(model):
    """Return the model that ends in logits, with a sigmoid or softmax at its end taken off.

    A sigmoid is flat where the detector is sure, and relevance that starts from a probability
    cannot be negative; explanations start from the sum before it, as in Bach et al. 2015.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential; ends in a sum or in a sigmoid or softmax of one.

    Returns
    -------
    keras.Model
        Shares the given model's layers, save a last one that holds the sigmoid itself.

    Raises
    ------
    UserError
        If the model ends in another activation.
    """
    model = as_functional(model)
    last = _node_behind(model.outputs[0])
    while last.inputs and last.activation == "linear" and _is_neutral(last.layer):
        last = _node_behind(last.sources[0])
    if last.activation == "linear":
        return model
    if last.activation not in HEADS:
        raise UserError(
            f"The model ends in {last.activation}, and an explanation starts from the sums before "
            "it: end the model in a layer without activation, or in a sigmoid or softmax."
        )
    head, bare = _without_head.get(model, (None, None))
    if head is not last.layer:  # another one, where the activation of the first was replaced
        bare = _take_off(model, last)
        _without_head[model] = last.layer, bare
    if last.layer_has_weights:
        bare.layers[-1].set_weights(last.layer.get_weights())
    return bare


def _take_off(model, last):
    before = last.sources[0]
    if last.layer_has_weights:
        config = last.layer.get_config() | {"activation": "linear"}
        before = type(last.layer).from_config(config)(before)
    return keras.Model(model.inputs[0], before, name=model.name)


def _is_neutral(layer):
    return isinstance(layer, (*_NEUTRAL, keras.layers.Activation))
