"""Layers as explicit matrices, and LRP's rules on them: NumPy, float64.

Kernels are put into their places by loops, or weights asked of Keras one by one, and a rule is its
formula on the array of all products ``x_i w_ij``. Inputs and relevance are rows, (pictures, inputs)
and (pictures, outputs). Each rule returns the inputs' relevance and the biases'.
"""

from dataclasses import dataclass

import numpy as np

STABILISER = 1e-7


@dataclass
class Matrix:
    """A layer as ``x @ weights + bias``; `connected` is where a weight could be, even if it is 0.

    `shape` is that of one output before it is made a row.
    """

    weights: np.ndarray
    bias: np.ndarray
    connected: np.ndarray
    shape: tuple


def matrix_of(layer, shape, weights=None):
    """Return a layer with weights as a matrix, for inputs of a shape such as (8, 8, 3)."""
    weights = [np.asarray(w, float) for w in (weights or layer.get_weights())]
    if type(layer).__name__ == "BatchNormalization":
        return _norm(layer, shape, weights)
    kernel, pattern = _dense_kernel(layer, weights)
    if type(layer).__name__ == "Dense":
        geometry = (1, 1), "valid", (1, 1)
    else:
        geometry = layer.strides, layer.padding, layer.dilation_rate
    places = shape if len(shape) == 3 else (1, 1, *shape)
    full = _spread(kernel, places, *geometry)
    connected = _spread(pattern, places, *geometry) > 0
    bias = weights[-1] if layer.use_bias else np.zeros(kernel.shape[-1])
    outputs = full.shape[3:] if len(shape) == 3 else full.shape[-1:]
    return _flat(full, np.broadcast_to(bias, outputs), connected, outputs)


def probed(layer, shape, weights):
    """Return any layer as a matrix, by asking Keras' own what it makes of each single input."""
    own = type(layer).from_config(layer.get_config() | {"dtype": "float64"})
    own.build((None, *shape))
    count = 2 if "Separable" in type(layer).__name__ else 1
    units = np.concatenate([np.zeros((1, *shape)), np.eye(np.prod(shape)).reshape(-1, *shape)])

    def answers(kernels, biases):
        own.set_weights([*kernels, *biases])
        return np.asarray(own(units), float)

    none, ones = [0 * w for w in weights[count:]], [np.ones(w.shape) for w in weights[:count]]
    bias, *full = answers(weights[:count], weights[count:])
    connected = answers(ones, none)[1:] > 0
    return _flat(np.stack(full) - bias, bias, connected, bias.shape)


def average_pooling(layer, shape):
    """Return an average pooling as a matrix: each mean is over what of its window is inside."""
    windows = _windows(layer, shape)
    weights = windows / windows.sum((0, 1, 2))
    return _flat(weights, np.zeros(windows.shape[3:]), windows > 0, windows.shape[3:])


def max_pooling(layer, shape):
    """Return which inputs each output of a max pooling looks at, as a matrix of ones."""
    windows = _windows(layer, shape)
    return _flat(windows, np.zeros(windows.shape[3:]), windows > 0, windows.shape[3:])


def _flat(full, bias, connected, outputs):
    size = bias.size
    return Matrix(full.reshape(-1, size), bias.ravel(), connected.reshape(-1, size), outputs)


def _windows(layer, shape):
    if type(layer).__name__.startswith("Global"):
        size, strides, padding = shape[:2], (1, 1), "valid"
    else:
        size, strides, padding = layer.pool_size, layer.strides, layer.padding
    channels = np.broadcast_to(np.eye(shape[2]), (*size, shape[2], shape[2]))
    return _spread(channels, shape, strides, padding, (1, 1))


def _norm(layer, shape, weights):
    *learned, mean, variance = weights
    gamma = learned.pop(0) if layer.scale else 1.0
    beta = learned.pop(0) if layer.center else 0.0
    scale = gamma / np.sqrt(variance + layer.epsilon)
    scale, shift = (np.broadcast_to(n, shape).ravel() for n in (scale, beta - scale * mean))
    return Matrix(np.diag(scale), shift, np.eye(scale.size) > 0, shape)


def _dense_kernel(layer, weights):
    """Return the kernel (h, w, C, O) of the one ordinary convolution that a layer is."""
    kind = type(layer).__name__
    if kind == "Dense":
        kernel = weights[0][None, None]
        return kernel, np.ones_like(kernel)
    if kind == "DepthwiseConv2D":
        height, width, channels, multiplier = weights[0].shape
        kernel = np.zeros((height, width, channels, channels * multiplier))
        pattern = kernel.copy()
        for c in range(channels):
            for m in range(multiplier):
                kernel[:, :, c, c * multiplier + m] = weights[0][:, :, c, m]
                pattern[:, :, c, c * multiplier + m] = 1
        return kernel, pattern
    if kind == "SeparableConv2D":
        depthwise, pointwise = weights[:2]
        height, width, channels, multiplier = depthwise.shape
        kernel = np.zeros((height, width, channels, pointwise.shape[-1]))
        for c in range(channels):
            for m in range(multiplier):
                kernel[:, :, c] += np.multiply.outer(
                    depthwise[:, :, c, m], pointwise[0, 0, c * multiplier + m]
                )
        return kernel, np.ones_like(kernel)
    height, width, inputs, outputs = weights[0].shape
    kernel = np.zeros((height, width, inputs * layer.groups, outputs))
    pattern = kernel.copy()
    for o in range(outputs):
        first = o // (outputs // layer.groups) * inputs
        kernel[:, :, first : first + inputs, o] = weights[0][..., o]
        pattern[:, :, first : first + inputs, o] = 1
    return kernel, pattern


def _spread(kernel, shape, strides, padding, dilation):
    """Return weights (H, W, C, H', W', O) between all inputs and all outputs."""
    height, rows = _places(shape[0], kernel.shape[0], strides[0], padding, dilation[0])
    width, columns = _places(shape[1], kernel.shape[1], strides[1], padding, dilation[1])
    full = np.zeros((*shape, height, width, kernel.shape[-1]))
    for i, k, y in rows:
        for j, m, x in columns:
            full[y, x, :, i, j] = kernel[k, m]
    return full


def _places(size, taps, stride, padding, dilation):
    """Return the number of outputs along an axis, and all (output, tap, input) inside it."""
    reach = (taps - 1) * dilation + 1
    if padding == "same":
        count = -(-size // stride)
        before = max((count - 1) * stride + reach - size, 0) // 2
    else:
        count, before = (size - reach) // stride + 1, 0
    all_ = [(i, k, i * stride + k * dilation - before) for i in range(count) for k in range(taps)]
    return count, [place for place in all_ if 0 <= place[2] < size]


def z(matrix, x, relevance, epsilon=STABILISER, bias=True):
    products, b = _products(matrix, x)
    return _share(products, b * bias, relevance, epsilon)


def gamma(matrix, x, relevance, gamma=0.25, bias=True):
    """The positive part is favoured where the sum is at least 0, else the negative part."""
    products, b = _products(matrix, x)
    b = b * bias
    up = (products.sum(1) + b >= 0)[:, None]
    products = products + gamma * np.where(up, np.maximum(products, 0), np.minimum(products, 0))
    b = b + gamma * np.where(up[:, 0], np.maximum(b, 0), np.minimum(b, 0))
    return _share(products, b, relevance)


def alpha_beta(matrix, x, relevance, alpha, beta, bias=True):
    """Where a part is missing, nothing is handed on for it."""
    products, b = _products(matrix, x)
    b = b * bias
    up = _share(np.maximum(products, 0), np.maximum(b, 0), alpha * relevance, 0)
    down = _share(np.minimum(products, 0), np.minimum(b, 0), -beta * relevance, 0)
    return tuple(one + other for one, other in zip(up, down, strict=True))


def z_plus(matrix, x, relevance):
    return alpha_beta(matrix, x, relevance, 1, 0, bias=False)


def z_plus_fast(matrix, x, relevance):
    """Takes negative inputs as they come, so that it is the z rule for the positive weights."""
    return _share(x[:, :, None] * np.maximum(matrix.weights, 0), 0, relevance)


def bounded(matrix, x, relevance, low, high):
    w = matrix.weights
    products = x[:, :, None] * w - low * np.maximum(w, 0) - high * np.minimum(w, 0)
    return _share(products, 0, relevance)


def w_square(matrix, x, relevance):
    return _share(np.square(matrix.weights)[None], 0, relevance, 0)


def flat(matrix, x, relevance):
    return _share(matrix.connected[None].astype(float), 0, relevance, 0)


def winner_takes_all(matrix, x, relevance):
    """Give the first largest input of each window all of its relevance."""
    seen = np.where(matrix.connected, x[:, :, None], -np.inf)
    given = np.zeros(x.shape)
    for picture, winners in enumerate(seen.argmax(1)):
        np.add.at(given[picture], winners, relevance[picture])
    return given


def _products(matrix, x):
    return x[:, :, None] * matrix.weights, np.broadcast_to(matrix.bias, (len(x), matrix.bias.size))


def _share(products, bias, relevance, epsilon=STABILISER):
    """Divide relevance by products (N, inputs, outputs) and a bias; where all are 0, not at all."""
    total = products.sum(1) + bias
    total = total + np.where(total >= 0, epsilon, -epsilon)
    total, relevance = np.broadcast_arrays(total, relevance)
    quotient = np.divide(relevance, total, out=np.zeros(total.shape), where=total != 0)
    return (products * quotient[:, None]).sum(2), quotient * bias
