"""What is asked about which pictures: checks that every method shares.

A question is a model, pictures and a target; here it is put into the form that the methods of
chapters 05_lime to 07_gradients work on, or refused with a reason.
"""

import sys
import warnings
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from xaifake.errors import UserError
from xaifake.explainers.graph import without_head

CLASSES = {"fake": 1.0, "real": -1.0}
RANGE = (-1.0, 1.0)


@dataclass
class Question:
    """A model, pictures as it takes them, and the output that is asked about.

    Attributes
    ----------
    model : keras.Model
        Ends in logits.
    images : numpy.ndarray of float32, (N, H, W, C)
        In the model's own range.
    index : int
        Which logit.
    sign : float
        -1 where the answer is to speak for what a negative logit means, 1 else.
    value_range : (float, float)
        What black and white are to the model.
    """

    model: keras.Model
    images: np.ndarray
    index: int
    sign: float
    value_range: tuple

    def logit(self, images):
        """Return the logit asked for as a tensor (N,), differentiable in the pictures."""
        return choose(self.model(images, training=False), self.index, self.sign)


def choose(logits, index, sign):
    """Choose from logits (N, K) one, with a sign: float32 (N,)."""
    return sign * tf.cast(logits[:, index], tf.float32)


def ask(model, images, target="fake", value_range=RANGE):
    """Check a model, pictures and a target, and bring them into one form.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential; a sigmoid or softmax at its end is taken off.
    images : numpy.ndarray, (N, H, W, C)
        uint8 pictures from 0 to 255, or floats in `value_range`.
    target : str or int
        "fake" or "real" of a model with one logit; the class's index of a model with several.
    value_range : (float, float)
        What black and white are to the model.

    Returns
    -------
    Question

    Raises
    ------
    UserError
        If anything of it cannot be explained; the message tells why and what to do.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"Keras runs on {keras.backend.backend()}, and explanations need TensorFlow's "
            "gradients: set the environment variable KERAS_BACKEND=tensorflow and start anew."
        )
    model = without_head(model)
    index, sign = _choose_logit(model, target)
    images = as_floats(images, model.input_shape[1:], value_range)
    return Question(model, images, index, sign, value_range)


def _choose_logit(model, target):
    outputs = model.output_shape[1:]
    if len(outputs) != 1:
        raise UserError(f"The model returns {outputs} for a picture, not a row of logits (K,).")
    if outputs[0] == 1:
        if not isinstance(target, str) or target not in CLASSES:
            raise UserError(
                f"No target {target!r}: a detector with one logit answers 'fake' or 'real'."
            )
        return 0, CLASSES[target]
    whole = isinstance(target, (int, np.integer)) and not isinstance(target, bool)
    if not whole or not 0 <= target < outputs[0]:
        raise UserError(
            f"No target {target!r}: this model has {outputs[0]} logits, give the index of one, 0 "
            f"to {outputs[0] - 1}."
        )
    return int(target), 1.0


def as_floats(images, shape, value_range=RANGE):
    """Bring pictures into a model's range.

    Parameters
    ----------
    images : numpy.ndarray, (N, H, W, C)
        uint8 from 0 to 255, or floats in `value_range`.
    shape : tuple of int or None
        (H, W, C) that the model takes; None where any size will do.
    value_range : (float, float)
        What 0 and 255 become.

    Returns
    -------
    numpy.ndarray of float32, (N, H, W, C)

    Raises
    ------
    UserError
        If shape or type do not fit, there are no pictures, or some values are not finite.
    """
    images = np.asarray(images)
    _check_shape(images.shape, tuple(shape))
    low, high = value_range
    if not low < high:
        raise UserError(f"value_range={value_range}: give the values of black and white, (-1, 1).")
    if images.dtype == np.uint8:
        # The network's own arithmetic, so that its answers stay equal to the last bit.
        return images.astype(np.float32) / np.float32(255 / (high - low)) + np.float32(low)
    if images.dtype.kind != "f":
        raise UserError(
            f"Pictures of type {images.dtype}: give uint8 from 0 to 255, or floats from {low:g} to "
            f"{high:g}."
        )
    if not np.isfinite(images).all():
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        raise UserError(f"NaN or infinite values in the pictures {bad[:5].tolist()} of the batch.")
    slack = 1e-3 * (high - low)
    if images.min() < low - slack or images.max() > high + slack:
        warnings.warn(
            f"The pictures reach from {images.min():.3g} to {images.max():.3g}, outside the "
            f"{low:g} to {high:g} that the model is said to take: give uint8 pictures, scale them "
            "with xaifake.detector.preprocess, or name the model's value_range.",
            stacklevel=_frames_to_caller(),
        )
    return images.astype(np.float32)


def _frames_to_caller():
    """Count the frames between `warnings.warn` and the first one outside this package."""
    frame, count = sys._getframe(1), 1
    while frame.f_back and frame.f_globals["__name__"].startswith("xaifake."):
        frame, count = frame.f_back, count + 1
    return count


def one_for_each(pictures, name, images, value_range):
    """Bring pictures that go with others into the model's range: one for all, or one for each.

    Parameters
    ----------
    pictures : numpy.ndarray, (H, W, C), (1, H, W, C) or (N, H, W, C)
    name : str
        What they are called in a message.
    images : numpy.ndarray of float32, (N, H, W, C)
        Those that they go with.
    value_range : (float, float)

    Returns
    -------
    numpy.ndarray of float32, (N, H, W, C)

    Raises
    ------
    UserError
        If they are not pictures, or of another number or size.
    """
    array = np.asarray(pictures)
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4:
        raise UserError(
            f"{name}={pictures!r}: give pictures like the ones explained, for instance "
            "np.zeros_like(images) for black ones."
        )
    if len(array) not in (1, len(images)):
        raise UserError(
            f"{len(array)} {name}s for {len(images)} pictures: give one for all, or one for each."
        )
    return np.broadcast_to(as_floats(array, images.shape[1:], value_range), images.shape)


def batches(count, batch_size):
    """Return where batches start.

    Raises
    ------
    UserError
        If there is to be nothing in a batch.
    """
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: give the number of pictures at a time.")
    return range(0, count, batch_size)


def _check_shape(given, expected):
    if len(expected) != 3:
        raise UserError(f"The model takes {expected}, not pictures (H, W, C).")
    wanted = f"(N, {', '.join('any' if n is None else str(n) for n in expected)})"
    if len(given) == 3 and all(n in (None, m) for n, m in zip(expected, given, strict=True)):
        raise UserError(
            f"One picture of shape {given}, where a batch {wanted} is asked for: add an axis, "
            "images[None]."
        )
    if len(given) != 4:
        raise UserError(f"Pictures of shape {given}, where {wanted} is asked for.")
    if given[0] == 0:
        raise UserError(f"No pictures: the batch {given} is empty.")
    if given[3] != expected[2]:
        kinds = {1: "grey", 3: "RGB", 4: "RGBA"}
        raise UserError(
            f"Pictures with {given[3]} channels ({kinds.get(given[3], 'unknown')}), where the "
            f"model takes {expected[2]}: grey becomes RGB by np.repeat(images, 3, axis=-1), RGBA "
            "by images[..., :3]."
        )
    if any(n not in (None, m) for n, m in zip(expected, given[1:], strict=True)):
        raise UserError(
            f"Pictures of {given[1]} x {given[2]} pixels, where the model takes {expected[0]} x "
            f"{expected[1]}: cut or resize them first."
        )
