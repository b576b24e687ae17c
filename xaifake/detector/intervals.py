"""How far a score would move with other people (chapters 04_evaluation to 11_localisation)."""

import numpy as np


def interval_over_people(measure, people, seed=0, resamples=1000):
    """Return 95 % intervals by drawing people anew, with everything that belongs to them.

    The percentile bootstrap over clusters (Davison and Hinkley 1997, section 3.8). A real clip
    belongs to its actor and a fake to its target, the person whose video it was; that sources
    recur is not drawn, so with few people the intervals are rather too narrow than too wide.

    Parameters
    ----------
    measure : callable
        Takes weights (N,), how often each row counts, and returns a list of K numbers; NaN
        where a draw leaves one undefined.
    people : array, (N,)
        The person each row belongs to.
    seed : int
        Seed of the draws.
    resamples : int
        Number of draws.

    Returns
    -------
    numpy.ndarray of float, (2, K)
        Lower and upper ends; NaN for numbers that were never defined.
    """
    rng = np.random.default_rng(seed)
    names, person = np.unique(np.asarray(people), return_inverse=True)
    drawn = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        drawn.append(measure(times[person].astype(np.float64)))
    ends = np.full((2, len(drawn[0])), np.nan)
    for number, values in enumerate(np.transpose(drawn)):
        if not np.isnan(values).all():
            ends[:, number] = np.nanpercentile(values, [2.5, 97.5])
    return ends
