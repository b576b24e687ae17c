"""What is asked about which pictures: checks that every method shares.

A request is a network, pictures and a target; here it is put into the form that the methods of
chapters 06_lime to 09_gradients work on, or refused with a reason.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from xaifake.detector.detector import Detector
from xaifake.detector.graph import flatten, without_head
from xaifake.detector.inputs import RANGE, as_floats
from xaifake.errors import UserError

CLASSES = {"fake": 1.0, "real": -1.0}


@dataclass
class Request:
    """A model, pictures as it takes them, and the output that is asked about.

    Attributes
    ----------
    model : keras.Model
        Flat, and ends in logits.
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


def prepare(detector, images, target="fake", value_range=None):
    """Check a detector or model, pictures and a target, and bring them into one form.

    Parameters
    ----------
    detector : Detector or keras.Model
        A Keras model goes through the door by which it becomes a detector, but is asked about no
        known faces, and may have more classes than two: functional or Sequential; models that it
        holds become part of it, and a sigmoid or softmax at its end is taken off.
    images : numpy.ndarray, (N, H, W, C)
        uint8 pictures from 0 to 255, or floats in the range of values.
    target : str or int
        "fake" or "real" of a network with one logit; the class's index of one with several.
    value_range : (float, float), optional
        What black and white are to a Keras model, -1 and 1 if not given; a detector says it.

    Returns
    -------
    Request

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
    model, value_range = as_network(detector, value_range)
    model = without_head(model)
    index, sign = _choose_logit(model, target)
    images = as_floats(images, model.input_shape[1:], value_range)
    return Request(model, images, index, sign, value_range)


def as_network(detector, value_range=None):
    """Return the flat Keras model of a detector, or of a model, and the range of its input."""
    if not isinstance(detector, Detector):
        return flatten(detector), value_range or RANGE
    if value_range not in (None, detector.value_range):
        raise UserError(
            f"value_range={value_range}, and the detector has {detector.value_range}: leave it out."
        )
    return detector.model, detector.value_range


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


def as_baseline(request, baseline=None):
    """Return what each picture is compared with, (N, H, W, C); grey if no `baseline` is given."""
    if baseline is None:
        return np.full_like(request.images, sum(request.value_range) / 2)
    return one_for_each(baseline, "baseline", request.images, request.value_range)


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
