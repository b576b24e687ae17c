"""Does a map depend on what the network has learned? (chapter 12_sanity).

These checks are read as passed or failed and rank nothing: a map of pure noise passes the
randomisation test best of all (Binder et al. 2023).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import keras
import numpy as np
import pandas as pd
from skimage.metrics import structural_similarity

from xaifake.detector.detector import takes_detector
from xaifake.errors import UserError
from xaifake.heatmaps import colour_limit
from xaifake.judge.stability import compare

if TYPE_CHECKING:
    from xaifake.detector.detector import Detector

ORDERS = ("top_down", "bottom_up")
STEPS = 6
# A map that is this much like the trained network's when most of the training is gone shows the
# picture, not the network: half of the variance of the ranks.
FAILED = 0.5**0.5
MOST = 0.75  # of the layers


@takes_detector
def cascading_randomisation(detector, order="top_down", steps=STEPS, seed=0):
    """Take away what a network has learned, some layers at a time (Adebayo et al. 2018).

    Every layer's weights are shuffled within the layer, so that their sizes stay what they were;
    the four numbers of a batch norm's channel stay together.

    Parameters
    ----------
    detector : Detector
        It is left as it is.
    order : str
        "top_down" from the logit to the picture, "bottom_up" the other way.
    steps : int
        In the first step of top-down the layer of the logits alone is shuffled; the rest are as
        many layers each as can be. After the last step all are.
    seed : int
        The same seed shuffles a layer alike in every step and order.

    Yields
    ------
    step : int
        From 1.
    shuffled : float
        Share of the layers with weights that are shuffled by now.
    detector : Detector
        A copy, new in each step.

    Raises
    ------
    UserError
        If the order is unknown, or the network has fewer layers with weights than steps.
    """
    for step, share, weights in _shuffled(detector.model, order, steps, seed):
        copy = _copy(detector)
        copy.model.set_weights(weights)
        yield step, share, copy


def _copy(detector):
    return replace(detector, model=keras.models.clone_model(detector.model), shipped=False)


def _shuffled(model, order, steps, seed):
    """Yield `cascading_randomisation` with the list of all weights in the copy's place."""
    if order not in ORDERS:
        raise UserError(f"No order {order!r}: give {' or '.join(ORDERS)}.")
    weights = [layer.get_weights() for layer in model.layers]
    places = [n for n, w in enumerate(weights) if w]
    if not 2 <= steps <= len(places):
        raise UserError(
            f"steps={steps}: give 2 to {len(places)}, the number of layers that have weights."
        )
    groups = [[places[-1]], *np.array_split(places[-2::-1], steps - 1)]
    if order == "bottom_up":
        groups.reverse()
    for step in range(1, steps + 1):
        chosen = np.concatenate(groups[:step]).astype(int)
        shuffled = [_shuffle(w, seed, n) if n in chosen else w for n, w in enumerate(weights)]
        yield step, len(chosen) / len(places), [one for layer in shuffled for one in layer]


def _shuffle(weights, seed, number):
    rng = np.random.default_rng([seed, number])
    if (
        len(weights) > 1
        and all(w.shape == weights[0].shape for w in weights)
        and weights[0].ndim == 1
    ):
        order = rng.permutation(len(weights[0]))
        return [w[order] for w in weights]
    return [rng.permutation(w.ravel()).reshape(w.shape) for w in weights]


def map_similarity(one, other):
    """Compare maps of the same pictures as the randomisation test does.

    Parameters
    ----------
    one, other : numpy.ndarray of float, (N, H, W)

    Returns
    -------
    pandas.DataFrame
        One row per picture: `rank_correlation`; `rank_correlation_absolute`, that of the sizes; and
        `ssim`, the structural similarity (Wang et al. 2004) of the maps as grey levels, each
        divided by the 99.5th percentile of its sizes and cut there, as they are seen in figures.
        NaN where a map is the same everywhere or not finite.
    """
    rows = []
    for a, b in zip(one, other, strict=True):
        if not (np.isfinite(a).all() and np.isfinite(b).all() and np.ptp(a) and np.ptp(b)):
            rows.append((np.nan,) * 3)
            continue
        signed = compare(a.reshape(1, -1), b.reshape(1, -1)).rank_correlation[0]
        sizes = compare(np.abs(a).reshape(1, -1), np.abs(b).reshape(1, -1)).rank_correlation[0]
        rows.append((signed, sizes, structural_similarity(_seen(a), _seen(b), data_range=1.0)))
    return pd.DataFrame(rows, columns=["rank_correlation", "rank_correlation_absolute", "ssim"])


def _seen(heatmap):
    """Return a map as grey levels from 0 to 1: the formula of SSIM is not made for signs."""
    return (np.clip(heatmap / colour_limit(heatmap), -1, 1) + 1) / 2


@takes_detector
def shuffled_maps(
    detector: Detector,
    explainer: Callable,
    images: np.ndarray,
    order: str = "top_down",
    steps: int = STEPS,
    seed: int = 0,
) -> tuple[list[float], np.ndarray]:
    """Make a method's maps while the network loses what it has learned, to be looked at.

    Parameters are those of `randomisation_curve` and `cascading_randomisation`.

    Returns
    -------
    shares : list of float
        Of the layers that are shuffled, first 0.
    maps : numpy.ndarray of float, (1 + steps, N, H, W)
    """
    networks = [(0.0, detector)]
    networks += [rest for _, *rest in cascading_randomisation(detector, order, steps, seed)]
    shares, several = zip(*networks, strict=True)
    return list(shares), np.stack([explainer(one, images) for one in several])


@takes_detector
def randomisation_curve(
    detector: Detector,
    explainer: Callable,
    images: np.ndarray,
    original: np.ndarray | None = None,
    steps: int = STEPS,
    seed: int = 0,
) -> pd.DataFrame:
    """Follow a method's maps while the network loses what it has learned.

    Parameters
    ----------
    detector : Detector
    explainer : callable
        From a detector and pictures to heatmaps (N, H, W).
    images : numpy.ndarray, (N, H, W, 3)
    original : numpy.ndarray of float, (N, H, W), optional
        The maps of the trained network; made if not given.
    steps, seed : int
        As in `cascading_randomisation`.

    Returns
    -------
    pandas.DataFrame
        Rows of `map_similarity` with the columns order, step, shuffled and face, the number of the
        picture. The last step of both orders is the same network and measured once.
    """
    original = explainer(detector, images) if original is None else original
    parts = []
    copy = _copy(detector)  # one for all steps, so that nothing is compiled again
    for order in ORDERS:
        for step, share, weights in _shuffled(detector.model, order, steps, seed):
            if order == "bottom_up" and step == steps:
                part = parts[steps - 1].assign(order=order)
            else:
                copy.model.set_weights(weights)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)
                    part = map_similarity(original, explainer(copy, images))
                part = part.assign(order=order, step=step, shuffled=share, face=range(len(images)))
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def agreement_when_randomised(curves, order="top_down"):
    """Return how alike each method's maps are when most of the layers are shuffled.

    Not all of them are. Top-down, what is left are the first layers, which see edges and colours
    whatever the network was trained for: a method whose maps still stand shows what these see.
    Bottom-up, what is left are the last.

    Parameters
    ----------
    curves : pandas.DataFrame
        Of `randomisation_curve`, with a column method.
    order : str
        ``"top_down"`` or ``"bottom_up"``.

    Returns
    -------
    pandas.Series
        Mean rank correlation by method, at the first step that shuffles `MOST` of the layers.
    """
    rows = curves[(curves.order == order) & (curves.shuffled >= MOST)]
    return (
        rows[rows.step == rows.step.min()].groupby("method", observed=True).rank_correlation.mean()
    )


def sum_follows_logit(logits, sums):
    """Tell whether the sum of a map says what the logit says.

    Parameters
    ----------
    logits, sums : array of float, (N,)
        Of pictures called real and pictures called fake.

    Returns
    -------
    dict of str to float
        `correlation` of sums and logits; `error`, the median of abs(sum - logit) over the mean of
        abs(logit): 0 for a map that divides the logit among the pixels.
    """
    logits, sums = np.asarray(logits, float), np.asarray(sums, float)
    correlation = compare(logits[None], sums[None]).correlation[0]
    return {
        "correlation": correlation,
        "error": np.median(np.abs(sums - logits)) / np.abs(logits).mean(),
    }
