"""Linear layers as LRP's rules see them: ``z = W x + b`` and its transpose (chapter 07_lrp).

A layer is a chain of factors, each one operation with one kernel: a convolution has one, a
separable convolution two, the depthwise and the pointwise one, whose product is its W. What a rule
needs of W it needs of the product:

- the squares and the pattern of W are the products of those of the factors;
- the positive and the negative part are not. Through each factor go two parts, what has come to
  speak for the output (never negative) and what against it (never positive), and

      positive' = K+ positive + K- negative,    negative' = K- positive + K+ negative,

  since minus times minus is plus. For a separable convolution these are four separable
  convolutions, and W itself, of 176 million weights in Xception, is never made.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import keras
import numpy as np
import tensorflow as tf

from xaifake.explainers.lrp.batch_norms import BatchNorm, scale_and_shift

L = keras.layers


class Matrix:
    """Multiplies the last axis by a kernel (C, O): a dense layer or a pointwise convolution."""

    mixes = True

    def apply(self, x, kernel):
        """Return W x."""
        return tf.tensordot(x, kernel, 1) if len(x.shape) > 2 else tf.matmul(x, kernel)

    def transpose(self, c, kernel, like):
        """Return W^T c."""
        shape = tf.concat([tf.shape(c)[:-1], [kernel.shape[0]]], 0)
        flat = tf.reshape(c, (-1, c.shape[-1]))
        return tf.reshape(tf.matmul(flat, kernel, transpose_b=True), shape)


@dataclass
class Convolution:
    """Convolves with a kernel (h, w, C, O)."""

    strides: tuple
    padding: str
    mixes = True

    def apply(self, x, kernel):
        """Return W x."""
        return tf.nn.conv2d(x, kernel, self.strides, self.padding)

    def transpose(self, c, kernel, like):
        """Return W^T c, of the height and width of `like`."""
        shape = tf.concat([tf.shape(like)[:3], [kernel.shape[2]]], 0)
        return tf.nn.conv2d_transpose(c, kernel, shape, self.strides, self.padding)


@dataclass
class Depthwise:
    """Convolves each channel with its own kernels (h, w, C, multiplier)."""

    strides: tuple
    padding: str
    mixes = False

    def apply(self, x, kernel):
        """Return W x."""
        return tf.nn.depthwise_conv2d(x, kernel, (1, *self.strides, 1), self.padding)

    def transpose(self, c, kernel, like):
        """Return W^T c, of the height and width of `like`."""
        shape = tf.concat([tf.shape(like)[:3], [kernel.shape[2]]], 0)
        strides = (1, *self.strides, 1)
        return tf.nn.depthwise_conv2d_backprop_input(shape, kernel, c, strides, self.padding)


class Scale:
    """Multiplies each channel by a number (C,): a batch norm that could not be folded."""

    mixes = False

    def apply(self, x, kernel):
        """Return W x."""
        return x * kernel

    def transpose(self, c, kernel, like):
        """Return W^T c."""
        return c * kernel


class AsLayer:
    """Calls a copy of any layer that is linear in its input and in its one kernel.

    Parameters
    ----------
    layer : keras.layers.Layer
    shape : tuple
        Of its input.
    kernel : numpy.ndarray
        Of the shape and precision of those to come; undilated and ungrouped.
    """

    mixes = False

    def __init__(self, layer, shape, kernel):
        config = layer.get_config() | {"activation": None, "dtype": str(kernel.dtype)}
        if isinstance(layer, L.EinsumDense):
            config |= {"bias_axes": None}
        else:
            config |= {"use_bias": False, "kernel_size": kernel.shape[:-2], "dilation_rate": 1}
            config |= {"groups": 1} if "groups" in config else {}
        self._layer = type(layer).from_config(config)
        self._layer.build(shape)

    def apply(self, x, kernel):
        """Return W x."""
        return self._layer.stateless_call([kernel], [], x)[0]

    def transpose(self, c, kernel, like):
        """Return W^T c, of the shape of `like`."""
        return taped(lambda x: self.apply(x, kernel), like)[1](c)[0]


def taped(function, *sources):
    """Return what a function makes of tensors, and its transposed derivative there, a function."""
    sources = [tf.identity(source) for source in sources]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        output = function(*sources)
    return output, lambda c: tape.gradient(output, sources, c)


@dataclass
class Linear:
    """One linear layer of a folded network.

    Attributes
    ----------
    name : str
    factors : list
        Applied one after the other.
    kernels : list of numpy.ndarray
        One for each factor.
    bias : numpy.ndarray or None, (outputs,)
    make_patterns : callable
        Without arguments, to `patterns`.
    """

    name: str
    factors: list
    kernels: list
    bias: np.ndarray | None
    make_patterns: Callable

    @property
    def patterns(self):
        """1 where an input is connected to an output, else 0, a list of arrays like `kernels`.

        Made when asked for: they are as large as the kernels, and one rule alone needs them.
        """
        return self.make_patterns()

    def negated(self):
        """Return the layer whose sums are the negated ones."""
        bias = None if self.bias is None else -self.bias
        return replace(self, kernels=[*self.kernels[:-1], -self.kernels[-1]], bias=bias)

    def apply(self, x, kernels):
        """Return what kernels shaped like the layer's make of x."""
        for factor, kernel in zip(self.factors, kernels, strict=True):
            x = factor.apply(x, kernel)
        return x

    def transpose(self, c, kernels, like):
        """Return the transposed map of `apply`; `like` is an input."""
        for factor, kernel in zip(self.factors[::-1], kernels[::-1], strict=True):
            c = factor.transpose(c, kernel, like)
        return c

    def signed_kernels(self, signed, both):
        """Return the kernels for `apply_signed` and `transpose_signed`.

        Parameters
        ----------
        signed : bool
            Whether inputs can be negative; if not, half of the work is saved.
        both : bool
            Whether the negative part of the sums is wanted too.

        Returns
        -------
        list
            For each factor its signed kernel, or a pair of the positive and the negative one.
        """
        last = len(self.factors) - 1
        return [
            _signed_kernel(factor, kernel, 1 + (signed or number > 0), 1 + (both or number < last))
            for number, (factor, kernel) in enumerate(zip(self.factors, self.kernels, strict=True))
        ]

    def apply_signed(self, pair, kernels, signed, both):
        """Return the positive and the negative part of each sum, one after the other.

        Parameters
        ----------
        pair : Tensor
            Inputs; with `signed` first the positive, then the negative ones along the last axis.
        kernels : list
            Of `signed_kernels`, with the same settings.
        signed, both : bool

        Returns
        -------
        Tensor
            Positive parts, then, with `both`, negative parts along the last axis.
        """
        paired = signed
        for number, (factor, kernel) in enumerate(zip(self.factors, kernels, strict=True)):
            if not isinstance(kernel, tuple):
                pair = factor.apply(pair, kernel)
            elif factor.mixes:
                pair = _multiply_both(factor.apply, pair, kernel)
            else:
                keep = both or number < len(self.factors) - 1
                pair = _apply_channelwise(factor, pair, kernel, paired, keep)
            paired = True
        return pair

    def transpose_signed(self, c, kernels, like, signed, both):
        """Return the transposed map of `apply_signed`, for positive and for negative inputs.

        Parameters
        ----------
        c : Tensor
            For the positive, with `both` also for the negative parts, as `apply_signed` has them.
        kernels, signed, both
            As there.
        like : Tensor
            An input.

        Returns
        -------
        Tensor
            What positive inputs are to be multiplied by; with `signed` then the same for negative
            ones, along the last axis.
        """
        for number in reversed(range(len(self.factors))):
            factor, kernel = self.factors[number], kernels[number]
            paired = signed or number > 0
            if not isinstance(kernel, tuple):
                c = factor.transpose(c, kernel, like)
            elif factor.mixes:
                c = _multiply_both(lambda x, k: factor.transpose(x, k, like), c, kernel)  # noqa: B023
            else:
                has_both = both or number < len(self.factors) - 1
                c = _transpose_channelwise(factor, c, kernel, like, paired, has_both)
        return c


def _signed_kernel(factor, kernel, rows, columns):
    """Return a factor's kernel for one or both parts of its inputs (rows) and sums (columns)."""
    if factor.mixes and not (isinstance(factor, Matrix) and rows == columns == 2):
        return _block(kernel, rows, columns)
    return np.maximum(kernel, 0), np.minimum(kernel, 0)


def _multiply_both(multiply, pair, kernel):
    """Multiply both parts by a positive and a negative matrix, of which a block would be twice.

    The two parts lie one after the other along the last axis, and as two rows they take no copy.
    """
    up, down = tf.split(pair, 2, -1)
    rows = tf.concat([tf.shape(pair)[:-1], [2, up.shape[-1]]], 0)
    crossed = tf.concat([down, up], -1)
    made = tf.add_n(
        [multiply(tf.reshape(x, rows), part) for x, part in zip((pair, crossed), kernel)]
    )
    return tf.reshape(made, tf.concat([tf.shape(pair)[:-1], [2 * made.shape[-1]]], 0))


def _block(kernel, rows, columns):
    """Return a kernel for both parts at once: positive weights where row and column are alike."""
    inputs, outputs = kernel.shape[-2:]
    block = np.empty((*kernel.shape[:-2], rows * inputs, columns * outputs), kernel.dtype)
    for row, column in product(range(rows), range(columns)):
        where = slice(row * inputs, (row + 1) * inputs), slice(column * outputs, None)
        keep = np.maximum if row == column else np.minimum
        keep(kernel, 0, out=block[..., where[0], where[1]][..., :outputs])
    return block


def _apply_channelwise(factor, pair, kernel, paired, keep):
    """Apply a factor that keeps channels apart to a positive and a negative part."""
    positive, negative = kernel
    if not paired:
        parts = [factor.apply(pair, k) for k in (positive, negative)[: 1 + keep]]
        return tf.concat(parts, -1) if keep else parts[0]
    up, down = tf.split(pair, 2, -1)
    parts = [factor.apply(up, positive) + factor.apply(down, negative)]
    if keep:
        parts.append(factor.apply(up, negative) + factor.apply(down, positive))
    return tf.concat(parts, -1) if keep else parts[0]


def _transpose_channelwise(factor, c, kernel, like, paired, has_both):
    positive, negative = kernel
    up, down = tf.split(c, 2, -1) if has_both else (c, None)

    def back(first, second):
        total = factor.transpose(up, first, like)
        return total + factor.transpose(down, second, like) if has_both else total

    if not paired:
        return back(positive, negative)
    return tf.concat([back(positive, negative), back(negative, positive)], -1)


def linear_layer(node, weights):
    """Describe a layer with weights as a linear map.

    Parameters
    ----------
    node : Node
        Of a folded network.
    weights : list of numpy.ndarray
        The layer's.

    Returns
    -------
    Linear
    """
    layer = node.layer
    if isinstance(layer, BatchNorm):
        scale, shift = (x.astype(weights[-1].dtype) for x in scale_and_shift(layer, weights))
        return Linear(node.name, [Scale()], [scale], shift, lambda: [np.ones_like(scale)])
    kernels = 2 if "Separable" in type(layer).__name__ else 1
    given, bias = weights[:kernels], weights[-1] if len(weights) > kernels else None
    factors, kernels = _factors(node, given)
    alike = [(kernel.shape, kernel.dtype) for kernel in given]
    return Linear(
        node.name, factors, kernels, bias, lambda: _factors(node, [np.ones(*a) for a in alike])[1]
    )


def _factors(node, kernels):
    """Return the factors of a layer, and for each its kernel, from the layer's own kernels."""
    layer = node.layer
    if isinstance(layer, L.Dense):
        return [Matrix()], kernels
    if not isinstance(layer, L.EinsumDense):
        kernels = [_dilate(kernel, layer.dilation_rate) for kernel in kernels]
    if len(kernels) == 2 and (layer.rank == 1 or layer.depth_multiplier > 1):
        # A weight is a sum of products here, and its sign is known only when it is made.
        kernels = [_multiply(*kernels)]
    elif _has_a_channel_in_each_group(layer, kernels[0]):
        *size, _, outputs = kernels[0].shape
        kernel = kernels[0].reshape(*size, layer.groups, outputs // layer.groups)
        return [Depthwise(tuple(layer.strides), layer.padding.upper())], [kernel]
    elif getattr(layer, "groups", 1) > 1:
        kernels = [_ungroup(kernels[0], layer.groups)]
    if not isinstance(layer, L.Conv2D | L.DepthwiseConv2D | L.SeparableConv2D):
        return [AsLayer(_ordinary(layer), node.sources[0].shape, kernels[0])], kernels
    strides, padding = tuple(layer.strides), layer.padding.upper()
    if isinstance(layer, L.DepthwiseConv2D):
        return [Depthwise(strides, padding)], kernels
    if len(kernels) == 2:
        depth, point = kernels
        return [Depthwise(strides, padding), Matrix()], [depth, point[0, 0]]
    if kernels[0].shape[:2] == strides == (1, 1):
        return [Matrix()], [kernels[0][0, 0]]
    return [Convolution(strides, padding)], kernels


def _has_a_channel_in_each_group(layer, kernel):
    """Whether it is a depthwise convolution that TensorFlow has as one."""
    alone = isinstance(layer, L.Conv2D) and layer.groups > 1 and kernel.shape[-2] == 1
    return alone and len(set(layer.strides)) == 1


def _ordinary(layer):
    if not isinstance(layer, L.SeparableConv1D):
        return layer
    names = ("filters", "kernel_size", "strides", "padding", "data_format")
    return L.Conv1D(**{name: getattr(layer, name) for name in names})


def _multiply(depthwise, pointwise):
    """Return the kernel of the ordinary convolution that a separable one is."""
    *_, channels, multiplier = depthwise.shape
    point = pointwise.reshape(channels, multiplier, -1)
    return np.einsum("...cm,cmo->...co", depthwise, point)


def _ungroup(kernel, groups):
    """Return the kernel of a grouped convolution with zeros between the groups."""
    *size, inputs, outputs = kernel.shape
    full = np.zeros((*size, groups, inputs, groups, outputs // groups), kernel.dtype)
    for group, part in enumerate(np.split(kernel, groups, axis=-1)):
        full[..., group, :, group, :] = part
    return full.reshape(*size, groups * inputs, outputs)


def _dilate(kernel, rates):
    """Return a kernel with the zeros that its dilation stands for."""
    *size, inputs, outputs = kernel.shape
    rates = [rate if taps > 1 else 1 for taps, rate in zip(size, rates)]
    if max(rates) == 1:
        return kernel
    reach = [(taps - 1) * rate + 1 for taps, rate in zip(size, rates)]
    full = np.zeros((*reach, inputs, outputs), kernel.dtype)
    full[tuple(slice(None, None, rate) for rate in rates)] = kernel
    return full
