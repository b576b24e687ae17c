"""Checkers for the coding exercises: they try the reader's function and say what is wrong.

Each takes the function, prints a line if it is right, and raises `WrongAnswer` otherwise; the
message says where and why.
"""

import numpy as np


class WrongAnswer(AssertionError):
    """The reader's function does not do what the exercise asks; the message says where and why."""


def call(function, *arguments, shape=()):
    """Call the reader's function and return its answer as an array of the expected shape.

    Parameters
    ----------
    function : callable
    *arguments
        Copies are handed on, so that the function cannot change what the checker goes on using.
    shape : tuple of int
        Of the answer; () for a number.

    Returns
    -------
    numpy.ndarray of float64

    Raises
    ------
    WrongAnswer
        If the function fails, returns nothing, something that is no number, another shape, or
        values that are not finite.
    """
    name = getattr(function, "__name__", "your function")
    copies = [np.array(a) if isinstance(a, np.ndarray) else a for a in arguments]
    try:
        answer = function(*copies)
    except Exception as error:
        raise WrongAnswer(f"{name} stopped with {type(error).__name__}: {error}") from error
    if answer is None or answer is Ellipsis:
        raise WrongAnswer(f"{name} returned nothing: does it end in `return ...`?")
    try:
        found = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        raise WrongAnswer(f"{name} returned {answer!r}, expected numbers") from None
    if found.shape != shape:
        raise WrongAnswer(f"{name} returned the shape {found.shape}, expected {shape}")
    if not np.isfinite(found).all():
        raise WrongAnswer(f"{name} returned values that are not finite: {found}")
    return found


def expect(found, expected, mistakes=(), tolerance=1e-6, given=""):
    """Compare an answer with the right one, and name the mistake that leads to it.

    Parameters
    ----------
    found, expected : array_like
    mistakes : iterable of (array_like, str)
        Wrong answers that are known, and what leads to them.
    tolerance : float
    given : str
        What the function was called with, in words.

    Raises
    ------
    WrongAnswer
        If they differ.
    """
    if np.allclose(found, expected, rtol=tolerance, atol=tolerance):
        return
    for wrong, reason in mistakes:
        if np.allclose(found, wrong, rtol=tolerance, atol=tolerance):
            raise WrongAnswer(f"{given}: {reason}")
    raise WrongAnswer(f"{given}: you returned {_short(found)}, expected {_short(expected)}")


def _short(values):
    return np.array2string(np.asarray(values), precision=4, threshold=12)
