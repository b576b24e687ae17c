"""Explanations by the gradient of the logit (chapter 09_gradients).

All of them run on the Keras 3 model, compiled to a graph, and take a
`Request`, which `xaifake.explain` makes. Each returns relevance, float32 (N, H, W, 3), and a dict
of columns for the report.
"""

import keras
import numpy as np
import tensorflow as tf

from xaifake.detector.graph import RELUS, find_layer, kept, nodes
from xaifake.errors import UserError
from xaifake.explainers.compiled import compile_function
from xaifake.explainers.registry import register
from xaifake.explainers.request import as_baseline, batches, choose
from xaifake.progress import progress_bar


@register("gradient")
def gradient(request, batch_size=32, progress=True):
    """Return the gradient of the logit with respect to the picture (Simonyan et al. 2014).

    Parameters
    ----------
    request : Request
    batch_size : int
        Pictures at a time.
    progress : bool
        Show a progress bar if it takes more than some seconds.

    Returns
    -------
    relevance : numpy.ndarray of float32, (N, H, W, C)
        How much the logit rises for a rise of each value; says nothing of how far it is raised.
    report : dict of str to array
        `logit` of the class asked for.
    """
    return _collect(request, _slope, batch_size, progress)


@register("input_t_gradient")
def input_t_gradient(request, batch_size=32, progress=True):
    """Return the picture times the gradient of the logit (Shrikumar et al. 2017).

    It depends on which colour the model's range calls 0, here mid-grey. For a network of linear
    layers and ReLUs without biases it sums to the logit and equals LRP's z rule.

    Parameters and returns are those of `gradient`.
    """
    relevance, report = gradient(request, batch_size, progress)
    return request.images * relevance, report


@register("integrated_gradients")
def integrated_gradients(request, batch_size=32, progress=True, steps=64, baseline=None):
    """Return Integrated Gradients (Sundararajan et al. 2017, equation 1).

    The integral over the straight path from the baseline to the picture is taken by the midpoint
    rule: the gradient at (k - 1/2) / steps of the way for k = 1 ... steps. The map sums to the
    difference of the two logits up to an error that falls with the number of steps.

    Parameters
    ----------
    request, batch_size, progress
        As in `gradient`; the batch counts points on paths.
    steps : int
        Points on each path.
    baseline : numpy.ndarray, optional
        Where the paths start: pictures like the ones explained, one for all or one for each (the
        originals, for instance). The middle of the model's range, a grey picture, if not given.

    Returns
    -------
    relevance : numpy.ndarray of float32, (N, H, W, C)
    report : dict of str to array
        `logit`, `logit_baseline` and `completeness_error`: how far the map's sum is from their
        difference, as a share of that difference; not finite where the two logits are equal.

    Raises
    ------
    UserError
        If `steps` is below 1 or the baseline fits neither one picture nor all.
    """
    if steps < 1 or steps != int(steps):
        raise UserError(f"steps={steps}: give a whole number of steps, at least one.")
    start = as_baseline(request, baseline)
    mean = _path_mean(request, start, (np.arange(steps) + 0.5) / steps, batch_size, progress)
    relevance = ((request.images - start) * mean).astype(np.float32)
    logit = _logits(request, request.images, batch_size)
    logit_baseline = _logits(request, start, batch_size)
    difference = logit - logit_baseline
    error = np.abs(relevance.sum((1, 2, 3), dtype=np.float64) - difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = error / np.abs(difference)
    report = {"logit": logit, "logit_baseline": logit_baseline, "completeness_error": error}
    return relevance, report


def _path_mean(request, start, alphas, batch_size, progress):
    """Return the mean gradient over points `start + alpha * (picture - start)`, float64."""

    def point(picture, step):
        way = alphas[step].astype(np.float32)[:, None, None, None]
        return start[picture] + way * (request.images[picture] - start[picture])

    return _mean_slope(request, point, len(alphas), 1, batch_size, progress)


def _mean_slope(request, point, count, power, batch_size, progress):
    """Return the mean of a power of the gradient over points of each picture, float64."""
    total = np.zeros(request.images.shape)
    points = np.arange(len(request.images) * count)
    slope_at = compile_function(_slope, request)
    starts = batches(len(points), batch_size)
    for first in progress_bar(starts, show=progress, delay=3, unit="batch"):
        picture, step = np.divmod(points[first : first + batch_size], count)
        slope = slope_at(point(picture, step))[0].numpy() ** power
        for number in np.unique(picture):
            total[number] += slope[picture == number].sum(axis=0, dtype=np.float64)
    return total / count


@register("smoothgrad")
def smoothgrad(
    request, batch_size=32, progress=True, samples=50, noise=0.15, squared=False, seed=0
):
    """Return the mean gradient over noisy copies of the picture (Smilkov et al. 2017).

    Parameters
    ----------
    request, batch_size, progress
        As in `gradient`; the batch counts noisy copies.
    samples : int
        Copies of each picture.
    noise : float
        The standard deviation of the noise, as a share of the model's range.
    squared : bool
        Whether the mean is of the squared gradient, which is never negative (Hooker et al. 2019).
    seed : int
        Of the noise, which is the same for all pictures.

    Returns
    -------
    relevance, report
        As from `gradient`.

    Raises
    ------
    UserError
        If there are no copies, or the noise is negative.
    """
    if samples < 1 or not noise >= 0:
        raise UserError(f"samples={samples}, noise={noise}: give at least 1 and 0.")
    low, high = request.value_range
    rng, shape = np.random.default_rng(seed), request.images.shape[1:]
    added = rng.normal(0, noise * (high - low), (samples, *shape)).astype(np.float32)

    def point(picture, copy):
        return request.images[picture] + added[copy]

    mean = _mean_slope(request, point, samples, 1 + bool(squared), batch_size, progress)
    return mean.astype(np.float32), {"logit": _logits(request, request.images, batch_size)}


@register("guided_backprop")
def guided_backprop(request, batch_size=32, progress=True):
    """Return Guided Backpropagation (Springenberg et al. 2015).

    The gradient, with the negative part of what flows back cut off at each ReLU. It starts from 1
    at the logit; iNNvestigate starts from the logit's value, and its maps are larger by that.
    A LeakyReLU, which is never closed, hands the gradient back as it is, as in captum.

    Parameters and returns are those of `gradient`.

    Raises
    ------
    UserError
        If the model has no ReLU, or activations of another kind, for which it is not defined.
    """
    return _collect(request, _slope, batch_size, progress, _guided_copy(request.model))


def _guided_copy(model):
    """Return a copy of the model whose ReLUs pass only positive gradients."""
    copy = kept(model, "guided", lambda: _with_guided_relus(model))
    copy.set_weights(model.get_weights())
    return copy


def _with_guided_relus(model):
    _check_relus(model)
    # Without the model's loss and metrics, which a clone would have to rebuild.
    bare = keras.Model(model.inputs[0], model.outputs[0])
    return keras.models.clone_model(bare, clone_function=_guided_layer)


def _check_relus(model):
    found = nodes(model)
    activations = {node.activation for node in found}
    relus = [node for node in found if node.activation in RELUS]
    loose = [node.name for node in relus if not isinstance(node.layer, keras.layers.Layer)]
    others = activations - {*RELUS, "LeakyReLU", "linear"}
    if others:
        raise UserError(
            f"Guided Backprop is defined for ReLUs alone; this model has {', '.join(others)} too."
        )
    if loose:
        raise UserError(f"{loose[0]!r} is an operation and no layer: use keras.layers.ReLU there.")
    if not relus:
        raise UserError("Guided Backprop changes the gradient at ReLUs, and this model has none.")


def _guided_layer(layer):
    if isinstance(layer, keras.layers.ReLU):
        return keras.layers.Activation(_guide(layer.call), name=layer.name)
    copy = type(layer).from_config(layer.get_config())
    if getattr(getattr(layer, "activation", None), "__name__", "") in RELUS:
        copy.activation = _guide(layer.activation)
    return copy


@tf.RegisterGradient("XaifakeGuidedRelu")
def _guided_relu(op, upstream):
    return tf.raw_ops.ReluGrad(gradients=tf.nn.relu(upstream), features=op.outputs[0])


@tf.RegisterGradient("XaifakeGuidedRelu6")
def _guided_relu6(op, upstream):
    return tf.raw_ops.Relu6Grad(gradients=tf.nn.relu(upstream), features=op.outputs[0])


def _guide(activation):
    def call(x):
        # A custom gradient would be kept, with the whole graph, when the model is gone.
        names = {"Relu": "XaifakeGuidedRelu", "Relu6": "XaifakeGuidedRelu6"}
        with tf.compat.v1.get_default_graph().gradient_override_map(names):
            return activation(x)

    return call


@register("grad_cam")
def grad_cam(request, batch_size=32, progress=True, layer=None):
    """Return Grad-CAM (Selvaraju et al. 2017, equations 1 and 2).

    The layer's channels, weighted by their mean gradient, summed, without the negative part, and
    enlarged to the picture by bilinear interpolation. The map has the layer's own coarse grid, is
    never negative, and its sum has no meaning; a third of it stands in each colour channel.

    Parameters
    ----------
    request, batch_size, progress
        As in `gradient`.
    layer : str, optional
        Name of a layer that returns maps; the last one if not given.

    Returns
    -------
    relevance : numpy.ndarray of float32, (N, H, W, C)
    report : dict of str to array
        `logit` of the class asked for.

    Raises
    ------
    UserError
        If there is no such layer or it returns no maps.
    """
    return _collect(request, _cam, batch_size, progress, _split(request.model, layer))


@register("grad_cam_plus_plus")
def grad_cam_plus_plus(request, batch_size=32, progress=True, layer=None):
    """Return Grad-CAM++ (Chattopadhay et al. 2018, equations 10 and 19).

    A channel's weight is the sum of its positive gradients g, each divided by ``2 + g a``, with a
    the sum of the channel: where a class stands at several places, the small ones count too. Else
    as `grad_cam`, with its parameters, returns and errors.
    """
    return _collect(request, _cam_plus_plus, batch_size, progress, _split(request.model, layer))


def _split(model, layer):
    """Return a model that returns the maps of a layer, the last if not given, and the logits."""
    node = find_layer(model, layer) if layer is not None else _last_maps(model)
    if len(node.output.shape) != 4:
        raise UserError(
            f"The layer {node.name!r} returns {tuple(node.output.shape)}, and Grad-CAM needs maps "
            "(N, h, w, channels)."
        )
    both = [node.output, model.outputs[0]]
    return kept(model, ("split", node.name), lambda: keras.Model(model.inputs[0], both))


def _cam(split, images, index, sign):
    """Return the Grad-CAM of a model that returns maps and logits, and the logit."""
    maps, slopes, logit = _maps_and_slopes(split, images, index, sign)
    weights = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
    return _enlarged(weights * maps, images), logit


def _cam_plus_plus(split, images, index, sign):
    maps, slopes, logit = _maps_and_slopes(split, images, index, sign)
    total = tf.reduce_sum(maps, axis=(1, 2), keepdims=True)
    # The paper's class score is the exponential of the logit: its derivatives are powers of the
    # logit's gradient times itself, which is the same for all channels and left out.
    weights = tf.math.divide_no_nan(tf.nn.relu(slopes), 2 + total * slopes)
    weights = tf.reduce_sum(weights, axis=(1, 2), keepdims=True)
    return _enlarged(weights * maps, images), logit


def _maps_and_slopes(split, images, index, sign):
    """Return the maps of `_split`'s layer, the gradient of the logit in them, and the logit."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        maps, logits = split(images, training=False)
        logit = choose(logits, index, sign)
    maps, slopes = (tf.cast(x, tf.float32) for x in (maps, _used(tape.gradient(logit, maps))))
    return maps, slopes, logit


def _enlarged(parts, images):
    """Return the positive part of the sum over channels at the picture's size."""
    cam = tf.nn.relu(tf.reduce_sum(parts, axis=-1, keepdims=True))
    height, width, channels = images.shape[1:]
    return tf.repeat(tf.image.resize(cam, (height, width)) / channels, channels, axis=-1)


def _last_maps(model):
    found = [node for node in nodes(model) if node.inputs and len(node.output.shape) == 4]
    found = [node for node in found if node.output.shape[1:3] != (1, 1)]
    if not found:
        raise UserError("Grad-CAM needs a layer with maps (N, h, w, channels); there is none.")
    return found[-1]


def _slope(model, images, index, sign):
    """Return the gradient of a logit with respect to pictures, and the logit."""
    logit = choose(model(images, training=False), index, sign)
    # Of the graph; a tape would take no notice of another gradient at ReLUs.
    return _used(tf.gradients(logit, images)[0]), logit


def _logit(model, images, index, sign):
    return choose(model(images, training=False), index, sign)


def _used(slopes):
    if slopes is None:
        raise UserError("The model's answer does not depend on the picture: nothing to explain.")
    return slopes


def _collect(request, function, batch_size, progress, model=None):
    """Run a function to relevance and logits over batches."""
    explain, found = compile_function(function, request, model), []
    starts = batches(len(request.images), batch_size)
    for first in progress_bar(starts, show=progress, delay=3, unit="batch"):
        parts = explain(request.images[first : first + batch_size])
        found.append([part.numpy() for part in parts])
    relevance, logits = (np.concatenate(part) for part in zip(*found, strict=True))
    return relevance, {"logit": logits}


def _logits(request, images, batch_size):
    logit = compile_function(_logit, request)
    starts = batches(len(images), batch_size)
    return np.concatenate([logit(images[i : i + batch_size]).numpy() for i in starts])
