"""The same network with its batch norms folded away, as LRP needs it (chapter 07_lrp).

A batch norm after a convolution is a second linear map. A rule that treats the two one after the
other gives other relevance than one that treats them as the single map that they are together.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import keras
import numpy as np

from xaifake.detector.graph import flatten, nodes, without_head
from xaifake.errors import UserError
from xaifake.explainers.request import as_network

if TYPE_CHECKING:
    from xaifake.detector.detector import Detector

BatchNorm = keras.layers.BatchNormalization
# In Keras a depthwise convolution is no Conv2D, but a transposed one is.
FOLDABLE = {"Conv2D", "Dense", "DepthwiseConv2D", "SeparableConv2D"}


def merge_batch_norms(detector: Detector | keras.Model) -> keras.Model:
    """Fold each batch norm into the linear layer before it.

    At inference a batch norm multiplies each channel by ``gamma / sqrt(variance + epsilon)`` and
    adds a constant. If a convolution or a dense layer without activation stands before it and
    feeds nothing else, its kernel and bias can take up both exactly. Other batch norms stay as
    they are, linear layers of their own; one that changes nothing is left out.

    Parameters
    ----------
    detector : Detector or keras.Model
        It is left as it is.

    Returns
    -------
    keras.Model
        With weights of its own, and the names of the given model's layers. A sigmoid or softmax at
        the end is taken off.

    Raises
    ------
    UserError
        If the model cannot be followed, or a batch norm does not work on the last axis.
    """
    plan = MergePlan(as_network(detector)[0])
    canonical = plan.build()
    for name, weights in plan.weights().items():
        canonical.get_layer(name).set_weights(weights)
    return canonical


class MergePlan:
    """What is folded where in a model.

    Attributes
    ----------
    model : keras.Model
        Ends in logits.
    hosts : dict of str to str
        For each batch norm that can be folded, the layer that takes it up.
    removed : frozenset of str
        The batch norms that a folded network does without.
    """

    def __init__(self, model):
        self.model = flatten(without_head(model), attention=True)
        found = nodes(self.model)
        self._nodes = {node.name: node for node in found}
        self.hosts = {}
        uses = Counter(source for node in found for source in node.inputs)
        calls = Counter(node.layer.name for node in found)
        norms = [node for node in found if isinstance(node.layer, BatchNorm)]
        for node in norms:
            _check_axis(node)
            source = node.inputs[0]
            host = self.hosts.get(source, source)
            once = calls[node.name] == calls[host] == uses[source] == 1
            if once and _can_carry(self._nodes[host]):
                self.hosts[node.name] = host
        self.removed = frozenset(
            node.layer.name for node in norms if node.name in self.hosts or _changes_nothing(node)
        )

    @property
    def normalises(self):
        """Whether a layer's weights become constants of the network when they are set."""
        return any(hasattr(node.layer, "finalize_state") for node in self._nodes.values())

    def build(self):
        """Return the folded network, with weights that are still to be set."""

        def copy(layer):
            if not isinstance(layer, keras.layers.Layer):
                return type(layer).from_config(layer.get_config())  # an operation
            # In full precision, even if the model computes in half.
            precision = layer.dtype_policy.variable_dtype
            config = layer.get_config()
            config["dtype"] = precision if precision == "float64" else "float32"
            if layer.name in self.hosts.values():
                config |= {"use_bias": True}
            return type(layer).from_config(config)

        def call(layer, inputs, *others, **settings):
            return inputs if layer.name in self.removed else layer(inputs, *others, **settings)

        # Without the model's loss and metrics, which a clone would have to rebuild.
        bare = keras.Model(self.model.inputs[0], self.model.outputs[0], name=self.model.name)
        x = bare.inputs[0]
        first = keras.Input(batch_shape=x.shape, dtype=x.dtype, name=bare.layers[0].name)
        return keras.models.clone_model(bare, first, clone_function=copy, call_function=call)

    def weights(self):
        """Return the folded network's weights by layer, from the model's present ones."""
        folded = {
            node.layer.name: [_as_full(weight) for weight in node.layer.get_weights()]
            for node in self._nodes.values()
            if node.layer_has_weights and node.layer.name not in self.removed
        }
        for norm, host in self.hosts.items():  # the first of two comes first
            layer = self._nodes[host].layer
            folded[host] = _fold(layer, folded[host], *_norm(self._nodes[norm].layer))
        return folded


def scale_and_shift(layer, weights):
    """Return what a batch norm multiplies its channels by and adds to them, at inference.

    Parameters
    ----------
    layer : keras.layers.BatchNormalization
    weights : list of numpy.ndarray
        The layer's, in Keras' order.

    Returns
    -------
    scale, shift : numpy.ndarray of float64, (channels,)
    """
    *learned, mean, variance = (np.asarray(weight, float) for weight in weights)
    scale = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * learned[0]
    shift = -mean * scale
    if layer.center:
        shift = shift + learned[-1]
    return scale, shift


def _as_full(weight):
    return weight if weight.dtype == np.float64 else np.asarray(weight, np.float32)


def _norm(layer):
    return scale_and_shift(layer, layer.get_weights())


def _fold(layer, weights, scale, shift):
    """Return a layer's weights with another factor and constant for each of its outputs."""
    *kernels, last = weights if len(weights) > _kernel_count(layer) else [*weights, 0.0]
    kernel = kernels[-1].astype(float)
    outputs = scale.reshape(kernel.shape[2:]) if _is_depthwise(layer) else scale
    bias = np.asarray(last, float) * scale + shift
    dtype = kernels[-1].dtype
    return [*kernels[:-1], (kernel * outputs).astype(dtype), bias.astype(dtype)]


def _kernel_count(layer):
    return 2 if isinstance(layer, keras.layers.SeparableConv2D) else 1


def _is_depthwise(layer):
    return isinstance(layer, keras.layers.DepthwiseConv2D)


def _can_carry(node):
    return type(node.layer).__name__ in FOLDABLE and node.activation == "linear"


def _check_axis(node):
    axis, rank = node.layer.axis, len(node.output.shape)
    if axis not in (-1, rank - 1):
        raise UserError(
            f"The batch norm {node.name!r} works on axis {axis}, and only one on the last axis, "
            "the channels, can be folded or followed: build the model with its channels last."
        )


def _changes_nothing(node):
    scale, shift = _norm(node.layer)
    slack = 4 * np.finfo(node.layer.moving_mean.numpy().dtype).eps
    return np.abs(scale - 1).max() < slack and np.abs(shift).max() < slack
