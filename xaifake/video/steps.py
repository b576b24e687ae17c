"""Whether somebody's score changes in a step, as if of two people (chapter 15_explain_a_video).

A fake that is taken for a real person by mistake would hide in that person's mean score. So the
scores over time are searched for a part that contradicts the rest.
"""

import numpy as np

from xaifake.video.wording import UNDECIDED

LEAST_FRAMES = 4  # in a row, of a part and of the rest
CLEAR = 8.5  # standard errors between the means of the two sides
SPLIT = 2.0  # standard errors between a part and the rest, which may hold both sides


def contradicting(probabilities: np.ndarray) -> np.ndarray | None:
    """Return which frames contradict the others, if a score changes in a step.

    Frames in a row are split off (circular binary segmentation; Olshen et al. 2004) where their
    mean and that of the rest lie on both sides of 0.5, `CLEAR` pooled standard errors apart or
    more: the clearest first, and so on within both. It is a step if what lies above in the end
    has a mean that is called fake, what lies below one that is called real, and both are as far
    apart.

    Parameters
    ----------
    probabilities : numpy.ndarray of float, (N,)
        Of fake, in the order of the frames.

    Returns
    -------
    numpy.ndarray of bool, (N,), or None
        True where the score is of the higher part; None without a step.
    """
    values = np.asarray(probabilities, np.float64)
    if len(values) < 2 * LEAST_FRAMES or not np.isfinite(values).all():
        return None
    high = np.empty(len(values), bool)
    for part in _parts(values, np.arange(len(values))):
        high[part] = values[part].mean() > 0.5
    if high.all() or not high.any():
        return None
    low_mean, high_mean = values[~high].mean(), values[high].mean()
    apart = _apart(values.var() * len(values), len(values), high.sum(), high_mean, low_mean)
    clear = low_mean <= UNDECIDED[0] and high_mean >= UNDECIDED[1] and apart >= CLEAR
    return high if clear else None


def _parts(values, places):
    """Split places into the parts between which the score changes."""
    split = _clearest(values[places])
    if split is None:
        return [places]
    return [*_parts(values, places[split]), *_parts(values, places[~split])]


def _clearest(values):
    """Return the frames in a row whose mean differs most clearly from the rest's; None if none."""
    count = len(values)
    start, end = np.triu_indices(count + 1, LEAST_FRAMES)
    enough = count - (end - start) >= LEAST_FRAMES
    start, end = start[enough], end[enough]
    if not len(start):
        return None
    sums, inside = np.concatenate([[0], np.cumsum(values)]), end - start
    one = (sums[end] - sums[start]) / inside
    rest = (sums[-1] - sums[end] + sums[start]) / (count - inside)
    apart = _apart(values.var() * count, count, inside, one, rest)
    apart[(one > 0.5) == (rest > 0.5)] = 0
    best = apart.argmax()
    if apart[best] < SPLIT:
        return None
    return (np.arange(count) >= start[best]) & (np.arange(count) < end[best])


def _apart(squares, count, inside, one, rest):
    """Return by how many pooled standard errors two means differ."""
    shares = inside * (count - inside) / count
    within = np.maximum(squares - shares * (one - rest) ** 2, 1e-12) / (count - 2)
    return np.abs(one - rest) / np.sqrt(within / shares)
