"""Pictures in the form that a network takes, or a sentence that says why not."""

import sys
import warnings

import numpy as np

from xaifake.errors import UserError

RANGE = (-1.0, 1.0)


def preprocess(images: np.ndarray, value_range: tuple[float, float] = RANGE) -> np.ndarray:
    """Scale pictures from 0..255 to a network's range.

    Parameters
    ----------
    images : array of uint8 or float, any shape
        Values from 0 to 255.
    value_range : (float, float)
        What 0 and 255 become.

    Returns
    -------
    numpy.ndarray of float32, same shape
    """
    low, high = value_range
    return np.asarray(images, dtype=np.float32) / np.float32(255 / (high - low)) + np.float32(low)


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
    check_shape(images.shape, tuple(shape))
    low, high = value_range
    if not low < high:
        raise UserError(f"value_range={value_range}: give the values of black and white, (-1, 1).")
    if images.dtype == np.uint8:
        return preprocess(images, value_range)
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


def check_shape(given, expected):
    """Refuse pictures whose shape is not that which a model takes.

    Parameters
    ----------
    given : tuple of int
        The pictures' shape.
    expected : tuple of int or None
        (H, W, C); None where any number will do.

    Raises
    ------
    UserError
        With what was given, what is expected, and how one becomes the other.
    """
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
    if expected[2] not in (None, given[3]):
        raise UserError(
            f"Pictures of shape {given}, where {wanted} is asked for: {_change(given, expected)}."
        )
    if any(n not in (None, m) for n, m in zip(expected, given[1:], strict=True)):
        raise UserError(
            f"Pictures of {given[1]} x {given[2]} pixels, where the model takes {expected[0]} x "
            f"{expected[1]}: cut faces of that size by extract_faces(..., size={expected[0]}), or "
            "resize them."
        )


def _change(given, expected):
    """Say how pictures get the number of channels that a model takes."""
    have, wants = given[3], expected[2]
    if expected[0] == have:
        return "the model has its channels first, so build it with channels last"
    known = {
        (1, 3): "grey becomes RGB by np.repeat(images, 3, axis=-1)",
        (4, 3): "RGBA becomes RGB by images[..., :3]",
        (3, 1): "RGB becomes grey by images.mean(axis=-1, keepdims=True)",
    }
    return known.get((have, wants), f"{wants} channels come last")
