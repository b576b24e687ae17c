"""Does a map stay when the picture is perturbed? (chapter 10_perturbations).

The map of the perturbed picture is brought back to the picture's own place and compared with the
picture's map, where pixels survived both ways (Tetkova and Hansen 2023 call it equivariance).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from xaifake.errors import UserError
from xaifake.judge.perturbations import Affine, Blur, Noise, rotation, scaling, shear, translation

if TYPE_CHECKING:
    from xaifake.judge.perturbations import Perturbation

TOP = 0.1
# What stability was measured at: settings of chapter 10 that leave most verdicts as they were, and
# a turn that does not.
SETTINGS = (
    Blur(0.5), Blur(1), Noise(5), rotation(5), rotation(20), rotation(45), translation(8),
    scaling(1.1), shear(10),
)  # fmt: skip


def stability(
    heatmaps: np.ndarray, perturbed: np.ndarray, perturbation: Perturbation
) -> pd.DataFrame:
    """Compare maps with those of perturbed pictures, brought back.

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
        Of the pictures.
    perturbed : numpy.ndarray of float, (N, H, W)
        Of `perturbation.apply` of the pictures.
    perturbation : xaifake.judge.perturbations.Perturbation

    Returns
    -------
    pandas.DataFrame
        One row per picture, over the pixels that survive: `correlation`, `rank_correlation`, and
        `overlap`, the share that the tenths with the most relevance have in common (0.1 by
        chance; with ties, the cosine of the probabilities to be among them). NaN where a map is
        the same everywhere or not finite.

    Raises
    ------
    UserError
        If the maps do not fit each other, or hardly a pixel survives.
    """
    heatmaps, perturbed = np.asarray(heatmaps, float), np.asarray(perturbed, float)
    if heatmaps.ndim != 3 or heatmaps.shape != perturbed.shape:
        raise UserError(
            f"Maps of shapes {heatmaps.shape} and {perturbed.shape}: give both as (N, H, W)."
        )
    kept = perturbation.survives(*heatmaps.shape[1:])
    if kept.sum() < 10:
        raise UserError(f"Of the picture {kept.sum()} pixels survive: too few to compare.")
    back = perturbation.undo(perturbed[..., None])[..., 0]
    return compare(heatmaps[:, kept], back[:, kept])


def interpolation_ceiling(heatmaps, perturbation):
    """Return the stability of a method that moves with the picture perfectly.

    The map itself is moved and brought back: what it loses, interpolation alone has taken.

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
    perturbation : xaifake.judge.perturbations.Perturbation

    Returns
    -------
    pandas.DataFrame
        As `stability`; 1 for what moves nothing.
    """
    heatmaps = np.asarray(heatmaps, float)
    moved = heatmaps
    if isinstance(perturbation, Affine):
        moved = perturbation.apply(heatmaps[..., None])[..., 0]
    return stability(heatmaps, moved, perturbation)


def compare(one, other):
    """Compare rows of numbers: correlation, rank correlation and overlap of the top tenths.

    Differences below a billionth of a row's largest size are rounding and count as none.

    Parameters
    ----------
    one, other : numpy.ndarray of float, (N, P)

    Returns
    -------
    pandas.DataFrame
        N rows, see `stability`.
    """
    one, other = _rounded(one), _rounded(other)
    ranks = [rankdata(values, axis=1) for values in (one, other)]
    scores = {
        "correlation": _cosines(*(v - v.mean(axis=1, keepdims=True) for v in (one, other))),
        "rank_correlation": _cosines(*(r - r.mean(axis=1, keepdims=True) for r in ranks)),
        "overlap": _cosines(_in_top(one), _in_top(other)),
    }
    said = np.isfinite(one).all(axis=1) & np.isfinite(other).all(axis=1)
    said &= (np.ptp(one, axis=1) > 0) & (np.ptp(other, axis=1) > 0)
    return pd.DataFrame({name: np.where(said, values, np.nan) for name, values in scores.items()})


def _rounded(values):
    """Divide rows by their largest size, so that no square is beyond a float, and round."""
    values = np.asarray(values, np.float64)
    size = np.abs(values).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.round(values / np.where(size > 0, size, 1), 9)


def _cosines(one, other):
    with np.errstate(invalid="ignore", divide="ignore"):
        norm = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
        return (one * other).sum(axis=1) / norm


def _in_top(values):
    """Return with which probability each number is in the top tenth if ties are drawn fairly.

    Without ties the cosine of two such rows is the share that the tops have in common.
    """
    size = max(1, round(TOP * values.shape[1]))
    last = np.partition(values, -size, axis=1)[:, [-size]]
    above, ties = values > last, values == last
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = (size - above.sum(axis=1, keepdims=True)) / ties.sum(axis=1, keepdims=True)
        return above + ties * drawn
