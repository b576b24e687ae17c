"""Does a map lie where the detector's evidence lies? (chapter 13_evidence).

A map can miss the manipulated area because the map is wrong, or because the detector goes by
something else. Only the detector can tell: a fake's original is equal to it outside the mask, so
putting the original's pixels back takes the forgery away piece by piece and leaves a picture that
is as real as the original. The logit then says where the evidence was, with no grey or blurred
filling that could look forged itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu
from scipy.special import comb
from scipy.stats import spearmanr

from xaifake.detector.detector import takes_detector
from xaifake.errors import UserError
from xaifake.explainers.lime import BLUR_SHARE
from xaifake.judge.localisation import region_masks
from xaifake.progress import progress_bar

if TYPE_CHECKING:
    from xaifake.data.dataset import Faces
    from xaifake.detector.detector import Detector

CELL = 8  # pixels
SHARES = (0.05, 0.1, 0.2)
FILL_SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
FILLS = ("grey", "blur")


@dataclass
class PatchEffects:
    """Where a detector's evidence for 'fake' lies, by experiment.

    Attributes
    ----------
    fake, original : numpy.ndarray of float64, (N,)
        Logits of the fake and of its original.
    removal : numpy.ndarray of float64, (N, G, G)
        By how much the fake's logit falls when one cell is put back.
    insertion : numpy.ndarray of float64, (N, G, G)
        By how much the original's logit rises when one cell of the fake is put into it.
    changed : numpy.ndarray of bool, (N, G, G)
        Cells that the mask touches. The others differ by the compression alone; they are not tried
        and count as without effect.
    """

    fake: np.ndarray
    original: np.ndarray
    removal: np.ndarray
    insertion: np.ndarray
    changed: np.ndarray

    @property
    def effect(self):
        """The mean of both.

        What one of several cells with the same evidence removes alone is too little, what it gives
        alone too much; the mean is Shapley's value cut down to the first and the last place.
        """
        return (self.removal + self.insertion) / 2


@takes_detector
def patch_effects(
    detector: Detector, faces: Faces, cell: int = CELL, progress: bool = True
) -> PatchEffects:
    """Find by experiment where a detector's evidence lies.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Fakes with originals, in register.
    cell : int
        Side of the squares that are put back, in pixels; a divisor of the picture's side.
    progress : bool
        Show a progress bar if it takes more than some seconds.

    Returns
    -------
    PatchEffects

    Raises
    ------
    UserError
        If there are no originals, or the cells do not fill the picture.
    """
    originals = _originals(faces)
    height, width = faces.images.shape[1:3]
    cells = cell_numbers(height, width, cell)
    count = cells.max() + 1
    changed = cell_sums(faces.masks, cell).reshape(len(faces), count) > 0
    removal, insertion = np.zeros((2, len(faces), count))
    ends = np.empty((2, len(faces)))
    predict = detector.predictor(2 * (len(faces) + changed.sum()))
    bar = progress_bar(range(len(faces)), show=progress, delay=3, unit="face", desc="causal maps")
    for n in bar:
        where = (cells == np.flatnonzero(changed[n])[:, None, None])[..., None]
        fake, original = faces.images[n], originals[n]
        pictures = [
            fake[None],
            original[None],
            np.where(where, original, fake),
            np.where(where, fake, original),
        ]
        logits = predict(np.concatenate(pictures)).astype(np.float64)
        ends[:, n] = logits[:2]
        without, alone = np.split(logits[2:], 2)
        removal[n, changed[n]], insertion[n, changed[n]] = ends[0, n] - without, alone - ends[1, n]
    shape = (len(faces), faces.images.shape[1] // cell, -1)
    return PatchEffects(
        ends[0], ends[1], removal.reshape(shape), insertion.reshape(shape), changed.reshape(shape)
    )


@takes_detector
def region_effects(detector: Detector, faces: Faces, seed: int = 0) -> pd.DataFrame:
    """Put back the regions of the face, one at a time and in every combination.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Fakes with originals and landmarks.
    seed : int
        Of the rest's place.

    Returns
    -------
    pandas.DataFrame
        One row per face: `logit` of the fake; `gap`, that less its original's; `without_eyes` ...
        `without_outside`, how much of the logit goes when this region of the original is put back;
        `last_eyes` ..., how much more goes with it when the others are back already; `shapley_eyes`
        ..., Shapley's value over all 120 orders of the regions, which sum to the gap;
        `without_nose_mouth`, both at once; `without_rest`, an equally large part of the mask that
        is neither, grown around a random place, NaN where the mask has none so large.
    """
    originals = _originals(faces)
    regions = region_masks(faces)
    stacked = np.stack(list(regions.values()), axis=-1)
    count = len(regions)
    subsets = np.array(list(product((False, True), repeat=count)))
    predict = detector.predictor((1 + len(subsets)) * len(faces))

    def lost(where):
        return fake - predict(np.where(where[..., None], originals, faces.images))

    fake = predict(faces.images).astype(float)
    values = np.stack([lost((stacked & subset).any(axis=-1)) for subset in subsets], axis=1)
    columns = {"logit": fake, "gap": values[:, -1]}
    bit = 1 << np.arange(count)[::-1]  # a subset's number has the first region's bit in front
    sizes = subsets.sum(axis=1)
    for place, name in enumerate(regions):
        before = np.flatnonzero(~subsets[:, place])
        gains = values[:, before + bit[place]] - values[:, before]
        weights = 1 / (count * comb(count - 1, sizes[before]))
        columns |= {f"without_{name}": gains[:, 0], f"last_{name}": gains[:, -1]}
        columns[f"shapley_{name}"] = gains @ weights
    both = regions["nose"] | regions["mouth"]
    columns["without_nose_mouth"] = lost(both)
    rest = np.stack(list(_rests(faces.masks & ~both, (faces.masks & both).sum((1, 2)), seed)))
    columns["without_rest"] = np.where(rest.any((1, 2)), lost(rest), np.nan)
    return pd.DataFrame(columns).astype(float)


def _rests(areas, sizes, seed):
    """Yield a part of each area of so many pixels, around a random one; empty if there is none."""
    rng = np.random.default_rng(seed)
    for area, size in zip(areas, sizes, strict=True):
        places = np.argwhere(area)
        part = np.zeros_like(area)
        if 0 < size <= len(places):
            away = np.hypot(*(places - places[rng.integers(len(places))]).T)
            part[tuple(places[np.argsort(away, kind="stable")[:size]].T)] = True
        yield part


@takes_detector
def shapley_cells(
    detector: Detector, faces: Faces, orders: int = 16, cell: int = CELL, seed: int = 0
) -> np.ndarray:
    """Estimate Shapley's value of every cell that the mask touches, by drawing orders.

    Every second order is the one before it backwards.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Fakes with originals.
    orders : int
        How many orders are drawn for each face, an even number.
    cell : int
    seed : int

    Returns
    -------
    numpy.ndarray of float64, (2, N, G, G)
        The means over one half of the pairs of orders and over the other: their mean is the
        estimate, their difference says how far to trust it. 0 where the mask touches nothing. The
        cells of a face sum to what goes when all of them are put back.
    """
    if orders < 4 or orders % 4:
        raise UserError(f"orders={orders}: give a multiple of four, two pairs at the least.")
    originals = _originals(faces)
    cells = cell_numbers(faces.images.shape[1], faces.images.shape[2], cell)
    changed = cell_sums(faces.masks, cell).reshape(len(faces), -1) > 0
    predict = detector.predictor(orders * (changed.sum() + len(faces)))
    rng, values = np.random.default_rng(seed), np.zeros((2, *changed.shape))
    for n, touched in enumerate(changed):
        order = np.flatnonzero(touched)
        for number in range(orders):
            order = order[::-1] if number % 2 else rng.permutation(order)
            rank = np.full(changed.shape[1], len(order))
            rank[order] = np.arange(len(order))
            back = rank[cells] < np.arange(len(order) + 1)[:, None, None]
            logits = predict(np.where(back[..., None], originals[n], faces.images[n]))
            values[number // 2 % 2, n, order] -= np.diff(logits.astype(float)) / (orders / 2)
    return values.reshape(2, len(faces), faces.images.shape[1] // cell, -1)


def cell_numbers(height, width, cell=CELL):
    """Number the cells of a picture row by row: int (height, width).

    Raises
    ------
    UserError
        If cells of this side do not fill the picture.
    """
    if cell < 1 or height % cell or width % cell:
        raise UserError(f"cell={cell}: give a divisor of the picture's {height} x {width} pixels.")
    rows, columns = np.mgrid[:height, :width] // cell
    return rows * (width // cell) + columns


def cell_sums(heatmaps, cell=CELL):
    """Sum maps over cells.

    Parameters
    ----------
    heatmaps : numpy.ndarray, (N, H, W)
    cell : int

    Returns
    -------
    numpy.ndarray, (N, H / cell, W / cell)
    """
    n, height, width = np.shape(heatmaps)
    cell_numbers(height, width, cell)
    blocks = np.reshape(heatmaps, (n, height // cell, cell, width // cell, cell))
    return blocks.sum(axis=(2, 4))


def order_cells(scores, seed=0):
    """Order cells from the highest score to the lowest, equal ones at random.

    Parameters
    ----------
    scores : numpy.ndarray of float, (N, G, G)
    seed : int

    Returns
    -------
    numpy.ndarray of int, (N, G * G)
    """
    flat = np.reshape(np.asarray(scores, np.float64), (len(scores), -1))
    chance = np.random.default_rng(seed).random(flat.shape)
    return np.lexsort((chance, -flat), axis=-1)


@takes_detector
def best_order(detector, faces, effects, shares=SHARES, cell=CELL):
    """Order cells by experiment, as well as a greedy search can.

    The cells for the first share are those with the largest effect; then every other cell is tried
    again on top of them, and so on to the last share.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Fakes with originals.
    effects : PatchEffects
        Of these faces.
    shares : sequence of float
        Growing, from 0 to 1.
    cell : int

    Returns
    -------
    numpy.ndarray of int, (N, G * G)
    """
    originals, orders = _originals(faces), order_cells(effects.effect)
    cells = cell_numbers(*faces.images.shape[1:3], cell)
    predict = detector.predictor((len(shares) - 1) * (len(faces) + effects.changed.sum()))
    for n, order in enumerate(orders):
        for share in shares[:-1]:
            done = round(share * len(order))
            rest = order[done:]
            open_ = rest[effects.changed[n].ravel()[rest]]
            if not len(open_):
                continue
            base = np.isin(cells, order[:done])
            where = np.concatenate([base[None], base | (cells == open_[:, None, None])])
            whole, *logits = predict(np.where(where[..., None], originals[n], faces.images[n]))
            # Cells outside the mask remove nothing: what makes matters worse stands behind them.
            lost = np.zeros(cells.max() + 1)
            lost[open_] = whole - np.array(logits)
            order[done:] = rest[np.argsort(-lost[rest], kind="stable")]
    return orders


@takes_detector
def restore_cells(
    detector: Detector,
    faces: Faces,
    orders: np.ndarray,
    shares: Sequence[float] = SHARES,
    cell: int = CELL,
    count: int | None = None,
) -> np.ndarray:
    """Put the original's cells back in some order, and read the logit.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Fakes with originals.
    orders : numpy.ndarray of int, (N, G * G)
        Cells by number.
    shares : sequence of float
        Shares of the picture that are put back.
    cell : int
    count : int, optional
        How many pictures the detector will be asked about in all, if this call is one of many.

    Returns
    -------
    numpy.ndarray of float64, (N, len(shares))
    """
    return _replace(detector, faces.images, _originals(faces), orders, shares, cell, count)


def fill(images, name):
    """Return what a picture is filled with where it is deleted.

    Parameters
    ----------
    images : numpy.ndarray of uint8, (N, H, W, 3)
    name : str
        One of `FILLS`: mid-grey, or the picture blurred until no feature of a face survives.

    Returns
    -------
    numpy.ndarray of uint8, same shape

    Raises
    ------
    UserError
        If there is no such fill.
    """
    if name == "grey":
        return np.full_like(images, 128)
    if name == "blur":
        sigma = BLUR_SHARE * images.shape[1]
        return np.rint(gaussian_filter(images.astype(float), (0, sigma, sigma, 0))).astype(np.uint8)
    raise UserError(f"No fill {name!r}: give {' or '.join(FILLS)}.")


@takes_detector
def deletion(detector, images, orders, name, shares=FILL_SHARES, cell=CELL, count=None):
    """Delete cells in some order, as is done where no original is known (Petsiuk et al. 2018).

    Parameters
    ----------
    detector : Detector
    images : numpy.ndarray of uint8, (N, H, W, 3)
    orders : numpy.ndarray of int, (N, G * G)
        The most relevant cell first.
    name : str
        One of `FILLS`.
    shares : sequence of float
        Shares of the picture that are deleted.
    cell : int
    count : int, optional
        How many pictures the detector will be asked about in all, if this call is one of many.

    Returns
    -------
    numpy.ndarray of float64, (N, len(shares))
        Logits: a good map is said to make them fall fast.
    """
    return _replace(detector, images, fill(images, name), orders, shares, cell, count)


@takes_detector
def insertion(detector, images, orders, name, shares=FILL_SHARES, cell=CELL, count=None):
    """Put cells of a picture into its filling; a good map is said to make the logit rise fast.

    Parameters and returns are those of `deletion`.
    """
    return _replace(detector, fill(images, name), images, orders, shares, cell, count)


def _replace(detector, images, others, orders, shares, cell, count):
    replaced = _first_cells(images, orders, shares, cell)
    logits = np.empty((len(images), len(shares)))
    predict = detector.predictor(logits.size if count is None else count)
    for k, where in enumerate(replaced):
        logits[:, k] = predict(np.where(where[..., None], others, images))
    return logits


def _first_cells(images, orders, shares, cell):
    """Return for each share where the first cells of the pictures' orders lie: bool (N, H, W)."""
    cells = cell_numbers(*images.shape[1:3], cell)
    if np.shape(orders) != (len(images), cells.max() + 1):
        raise UserError(
            f"Orders of shape {np.shape(orders)}, where {len(images)} pictures have "
            f"{cells.max() + 1} cells each."
        )
    ranks = np.argsort(orders, axis=1)[np.arange(len(images))[:, None, None], cells]
    return [ranks < round(share * (cells.max() + 1)) for share in shares]


@takes_detector
def road(
    detector: Detector,
    images: np.ndarray,
    orders: np.ndarray,
    shares: Sequence[float] = SHARES,
    cell: int = CELL,
    seed: int = 0,
) -> np.ndarray:
    """Delete cells in some order and fill them by `impute` (ROAD, Rong et al. 2022).

    Parameters and returns are those of `deletion`, but for the fill.
    """
    removed = _first_cells(images, orders, shares, cell)
    logits = [detector.logits(impute(images, gone, seed)) for gone in removed]
    return np.stack(logits, axis=1).astype(float)


def impute(
    images: np.ndarray, removed: np.ndarray, seed: int = 0, noise: float = 0.01
) -> np.ndarray:
    """Fill removed pixels with the weighted mean of their neighbours, and noise.

    The noisy linear imputation of Rong et al. (2022): each removed pixel is the mean of its eight
    neighbours, removed or not, direct ones with twice the weight of diagonal ones; these equations
    are solved together. A fill so smooth does not tell the shape of what was removed.

    Parameters
    ----------
    images : numpy.ndarray of uint8, (N, H, W, 3)
    removed : numpy.ndarray of bool, (N, H, W)
        Not the whole picture.
    seed : int
    noise : float
        Standard deviation, as a share of the range of grey levels.

    Returns
    -------
    numpy.ndarray of uint8, (N, H, W, 3)
    """
    rng, filled = np.random.default_rng(seed), images.astype(float)
    for picture, gone in zip(filled, removed, strict=True):
        if gone.any():
            picture[gone] = _smooth_fill(picture, gone)
            picture[gone] += rng.normal(0, 255 * noise, picture[gone].shape)
    return np.clip(np.rint(filled), 0, 255).astype(np.uint8)


def _smooth_fill(picture, gone):
    """Return the values of the removed pixels, (K, 3)."""
    number = np.full(gone.shape, -1)
    number[gone] = np.arange(gone.sum())
    places = np.argwhere(gone)
    own, known = np.zeros(len(places)), np.zeros((len(places), picture.shape[2]))
    rows, columns, values = [np.arange(len(places))], [np.arange(len(places))], []
    for step in product((-1, 0, 1), repeat=2):
        if step == (0, 0):
            continue
        weight = 1 / 6 if 0 in step else 1 / 12
        there = places + step
        inside = np.flatnonzero(((there >= 0) & (there < gone.shape)).all(axis=1))
        there = tuple(there[inside].T)
        own[inside] += weight
        unknown = gone[there]
        known[inside[~unknown]] += weight * picture[there][~unknown]
        rows.append(inside[unknown])
        columns.append(number[there][unknown])
        values.append(np.full(unknown.sum(), -weight))
    matrix = csc_matrix(
        (np.concatenate([own, *values]), (np.concatenate(rows), np.concatenate(columns)))
    )
    return splu(matrix, permc_spec="MMD_AT_PLUS_A").solve(known)


def score_against_effects(heatmaps, effects, cell=CELL):
    """Compare maps with what the experiment found.

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
    effects : PatchEffects
    cell : int

    Returns
    -------
    pandas.DataFrame
        One row per face: `patch_effect`, the rank correlation with `PatchEffects.effect` over all
        cells, and `patch_effect_inside`, over those that the mask touches: knowing where the swap
        is helps with the first, and only knowing what the detector makes of it with the second;
        `patch_effect_residual`, over all cells, of what is left of map and effect when the mean
        over these faces is taken from each: what is common to all pictures helps with neither. NaN
        for a map that is the same everywhere, or for all faces.
    """
    sums = cell_sums(np.asarray(heatmaps, np.float64), cell)
    left = [_residual(values).reshape(len(sums), -1) for values in (sums, effects.effect)]
    rows = [
        (
            rank_correlation(one.ravel(), effect.ravel()),
            rank_correlation(one[changed], effect[changed]),
            rank_correlation(*rest),
        )
        for one, effect, changed, *rest in zip(
            sums, effects.effect, effects.changed, *left, strict=True
        )
    ]
    names = ["patch_effect", "patch_effect_inside", "patch_effect_residual"]
    return pd.DataFrame(rows, columns=names)


def _residual(values):
    """Return maps of mean size 1 less their mean over the pictures; rounding counts as nothing."""
    size = np.abs(values).mean(axis=(1, 2), keepdims=True)
    unit = values / np.where(size > 0, size, 1)
    return (unit - unit.mean(axis=0)).round(9)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's rank correlation; NaN of fewer than three numbers or equal ones."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return spearmanr(one, other)[0]


def _originals(faces):
    if faces.originals is None:
        raise UserError(
            "These faces have no originals: extract them with originals=True from clips whose "
            "originals are pixel-aligned, as the embedded ones are."
        )
    return faces.originals
