"""Does a map lie where the detector's evidence lies? (chapter 10_sanity).

A map can miss the manipulated area because the map is wrong, or because the detector goes by
something else. Only the detector can tell: a fake's original is equal to it outside the mask, so
putting the original's pixels back takes the forgery away piece by piece and leaves a picture that
is as real as the original. The logit then says where the evidence was, with no grey or blurred
filling that could look forged itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
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
def region_effects(detector, faces):
    """Put back one region of the face at a time.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Fakes with originals and landmarks.

    Returns
    -------
    pandas.DataFrame
        One row per face: `gap`, the fake's logit less its original's, and `without_eyes` ...
        `without_outside`, how much of it goes when this region of the original is put back.
    """
    originals = _originals(faces)
    regions = region_masks(faces)
    predict = detector.predictor((2 + len(regions)) * len(faces))
    fake, original = (predict(images) for images in (faces.images, originals))
    columns = {"gap": fake - original}
    for name, region in regions.items():
        rest = predict(np.where(region[..., None], originals, faces.images))
        columns[f"without_{name}"] = fake - rest
    return pd.DataFrame(columns).astype(float)


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
def best_order(detector, faces, maps, shares=SHARES, cell=CELL):
    """Order cells by experiment, as well as a greedy search can.

    The cells for the first share are those with the largest effect; then every other cell is tried
    again on top of them, and so on to the last share.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Fakes with originals.
    maps : PatchEffects
        Of these faces.
    shares : sequence of float
        Growing, from 0 to 1.
    cell : int

    Returns
    -------
    numpy.ndarray of int, (N, G * G)
    """
    originals, orders = _originals(faces), order_cells(maps.effect)
    cells = cell_numbers(*faces.images.shape[1:3], cell)
    predict = detector.predictor((len(shares) - 1) * (len(faces) + maps.changed.sum()))
    for n, order in enumerate(orders):
        for share in shares[:-1]:
            done = round(share * len(order))
            rest = order[done:]
            open_ = rest[maps.changed[n].ravel()[rest]]
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
    cells = cell_numbers(*images.shape[1:3], cell)
    if np.shape(orders) != (len(images), cells.max() + 1):
        raise UserError(
            f"Orders of shape {np.shape(orders)}, where {len(images)} pictures have "
            f"{cells.max() + 1} cells each."
        )
    ranks = np.argsort(orders, axis=1)[np.arange(len(images))[:, None, None], cells]
    logits = np.empty((len(images), len(shares)))
    predict = detector.predictor(len(images) * len(shares) if count is None else count)
    for k, share in enumerate(shares):
        replaced = ranks < round(share * orders.shape[1])
        logits[:, k] = predict(np.where(replaced[..., None], others, images))
    return logits


def score_against_effects(heatmaps, maps, cell=CELL):
    """Compare maps with what the experiment found.

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
    maps : PatchEffects
    cell : int

    Returns
    -------
    pandas.DataFrame
        One row per face: `patch_effect`, the rank correlation with `PatchEffects.effect` over all
        cells, and `patch_effect_inside`, over those that the mask touches: knowing where the swap
        is helps with the first, and only knowing what the detector makes of it with the second. NaN
        for a map that is the same everywhere.
    """
    sums = cell_sums(np.asarray(heatmaps, np.float64), cell)
    rows = []
    for one, effect, changed in zip(sums, maps.effect, maps.changed, strict=True):
        rows.append((_rank(one.ravel(), effect.ravel()), _rank(one[changed], effect[changed])))
    return pd.DataFrame(rows, columns=["patch_effect", "patch_effect_inside"])


def _rank(one, other):
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
