"""What a Keras model is made of, and the same model without its sigmoid or softmax.

Every method that looks into a network starts here (chapters 04_activations to 07_gradients).
"""

from dataclasses import dataclass
from difflib import get_close_matches
from weakref import WeakKeyDictionary

import keras

from xaifake.errors import UserError

HEADS = {keras.activations.sigmoid, keras.activations.softmax}
_without_head = WeakKeyDictionary()


@dataclass
class Node:
    """One layer of a model.

    Attributes
    ----------
    layer : keras.layers.Layer
    inputs : list of str
        Names of the layers whose outputs it takes; empty for the model's input.
    """

    layer: keras.layers.Layer
    inputs: list


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
    by_name = {operation.name: operation for operation in model.operations}
    found = []
    for config in model.get_config()["layers"]:
        layer, calls = by_name[config["name"]], config["inbound_nodes"]
        if isinstance(layer, keras.Model):
            raise UserError(
                f"The model holds the model {layer.name!r} as one layer, and its inside cannot be "
                "reached: build one flat model out of both."
            )
        if len(calls) > 1:
            raise UserError(f"The model uses the layer {layer.name!r} twice: give each its own.")
        found.append(Node(layer, list(_sources(calls[0])) if calls else []))
    return found


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
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not hasattr(model, "operations"):
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
    return model


def _sources(call):
    """Yield the names of the layers whose tensors stand in a call's serialised arguments."""
    if isinstance(call, dict) and call.get("class_name") == "__keras_tensor__":
        yield call["config"]["keras_history"][0]
    elif isinstance(call, dict):
        for value in call.values():
            yield from _sources(value)
    elif isinstance(call, (list, tuple)):
        for value in call:
            yield from _sources(value)


def find_layer(model, name):
    """Return a model's layer by name.

    Raises
    ------
    UserError
        If there is none of this name; the nearest names are suggested.
    """
    names = [layer.name for layer in model.layers]
    if name not in names:
        near = get_close_matches(str(name), names, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(names[:5])} ..."
        raise UserError(f"The model has no layer {name!r}: {hint}")
    return model.get_layer(name)


def without_head(model):
    """Return the model that ends in logits, with a sigmoid or softmax at its end taken off.

    A sigmoid is flat where the detector is sure, and it changes the sign of relevance where the
    logit is negative; so explanations start from the logit (Bach et al. 2015 start from the
    network's last sum for the same reason).

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
    last = nodes(model)[-1]
    activation = getattr(last.layer, "activation", keras.activations.linear)
    if isinstance(last.layer, keras.layers.Softmax):
        activation = keras.activations.softmax
    if activation is keras.activations.linear:
        return model
    if activation not in HEADS:
        name = getattr(activation, "__name__", activation)
        raise UserError(
            f"The model ends in {name}, and an explanation starts from the sums before it: end the "
            "model in a layer without activation, a sigmoid or a softmax."
        )
    before = model.get_layer(last.inputs[0]).output
    if not last.layer.weights:
        return as_functional(keras.Model(model.inputs[0], before, name=model.name))
    if model not in _without_head:
        config = last.layer.get_config() | {"activation": "linear", "name": "logits"}
        logits = type(last.layer).from_config(config)
        _without_head[model] = keras.Model(model.inputs[0], logits(before), name=model.name)
    bare = _without_head[model]
    bare.layers[-1].set_weights(last.layer.get_weights())
    return bare
