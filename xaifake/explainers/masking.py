"""Explanations by what the logit loses when parts of the picture are hidden (chapter 07_gradients).

They ask the network for answers alone. Both return one map; each colour channel has a third of it.
"""

import numpy as np

from xaifake.errors import UserError
from xaifake.explainers.compiled import compile_function
from xaifake.explainers.gradients import as_baseline, logit_of, logits_of
from xaifake.explainers.registry import register
from xaifake.explainers.request import batches
from xaifake.progress import progress_bar


@register("occlusion")
def occlusion(request, batch_size=32, progress=True, side=None, stride=None, baseline=None):
    """Return how far the logit falls when a square is hidden (Zeiler and Fergus 2014).

    A pixel has the mean over the squares that hide it.

    Parameters
    ----------
    request : Request
    batch_size : int
        Pictures with a hidden square at a time.
    progress : bool
        Show a progress bar if it takes more than some seconds.
    side : int, optional
        Of the square, in pixels; an eighth of the picture's shorter side if not given.
    stride : int, optional
        Pixels from one square to the next; half a square if not given. Squares at the border may
        stand out of the picture.
    baseline : numpy.ndarray, optional
        What is seen in the square's place: pictures like the ones explained, one for all or one for
        each. The middle of the model's range if not given.

    Returns
    -------
    relevance : numpy.ndarray of float32, (N, H, W, C)
    report : dict of str to array
        `logit` of the class asked for.

    Raises
    ------
    UserError
        If the square or the stride is smaller than a pixel or larger than fits.
    """
    height, width = request.images.shape[1:3]
    side = max(1, min(height, width) // 8) if side is None else side
    stride = max(1, side // 2) if stride is None else stride
    if not 1 <= stride <= side <= min(height, width):
        raise UserError(
            f"side={side}, stride={stride}: give a square that fits into {height} x {width} pixels "
            "and a stride of at least 1 and at most its side."
        )
    hidden = np.stack(
        [
            np.outer(_within(top, side, height), _within(left, side, width))
            for top in range(stride - side, height, stride)
            for left in range(stride - side, width, stride)
        ]
    )
    logit, losses = _losses(request, 1 - hidden, baseline, batch_size, progress)
    return _as_maps(np.tensordot(losses, hidden, 1) / hidden.sum(0), request), {"logit": logit}


@register("rise")
def rise(
    request, batch_size=32, progress=True, samples=1000, cells=7, shown=0.5, baseline=None, seed=0
):
    """Return the mean of random masks, each weighted with the logit that it leaves (RISE).

    Petsiuk et al. 2018, equation 6, with the logit for the probability. A mask is a grid of cells
    that are shown or hidden, enlarged by bilinear interpolation and shifted.

    Parameters
    ----------
    request, batch_size, progress, baseline
        As in `occlusion`.
    samples : int
        Masks, the same for all pictures.
    cells : int
        Along each side of the grid.
    shown : float
        The chance of a cell to be shown.
    seed : int
        Of the masks.

    Returns
    -------
    relevance, report
        As from `occlusion`.

    Raises
    ------
    UserError
        If there are no masks or cells, or the chance is not between 0 and 1.
    """
    if samples < 1 or cells < 1 or not 0 < shown < 1:
        raise UserError(
            f"samples={samples}, cells={cells}, shown={shown}: give at least one mask, one cell, and "
            "a chance between 0 and 1."
        )
    masks = random_masks(request.images.shape[1:3], samples, cells, shown, seed)
    logit, losses = _losses(request, masks, baseline, batch_size, progress)
    weighted = np.tensordot(logit[:, None] - losses, masks, 1)
    return _as_maps(weighted / (samples * shown), request), {"logit": logit}


def random_masks(shape, samples, cells, shown, seed):
    """Return RISE's masks.

    Parameters
    ----------
    shape : (int, int)
    samples, cells, shown, seed
        As in `rise`.

    Returns
    -------
    numpy.ndarray of float32, (samples, H, W)
        From 0, hidden, to 1.
    """
    rng = np.random.default_rng(seed)
    grids = rng.random((samples, cells + 1, cells + 1)) < shown
    steps = [-(-size // cells) for size in shape]
    shifts = np.stack([rng.integers(0, step, samples) for step in steps])
    masks = np.empty((samples, *shape), np.float32)
    for mask, grid, shift in zip(masks, grids, shifts.T, strict=True):
        rows, columns = (
            _blend(cells + 1, (np.arange(size) + start) / step)
            for size, start, step in zip(shape, shift, steps, strict=True)
        )
        mask[:] = rows @ grid @ columns.T
    return masks


def _blend(count, places):
    """Return the weights (places, count) by which values at 0, 1 ... are read between them."""
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count)))


def _within(start, length, size):
    places = np.arange(size)
    return ((places >= start) & (places < start + length)).astype(np.float32)


def _losses(request, masks, baseline, batch_size, progress):
    """Return the logits (N,), and how far each mask lowers each, (N, masks)."""
    logit = compile_function(logit_of, request)
    images, start = request.images, as_baseline(request, baseline)
    points, answers = np.arange(len(images) * len(masks)), []
    firsts = batches(len(points), batch_size)
    for first in progress_bar(firsts, show=progress, delay=3, unit="batch"):
        picture, number = np.divmod(points[first : first + batch_size], len(masks))
        mask = masks[number][..., None]
        answers.append(logit(mask * images[picture] + (1 - mask) * start[picture]).numpy())
    whole = logits_of(request, images, batch_size)
    return whole, whole[:, None] - np.concatenate(answers).reshape(len(images), -1)


def _as_maps(maps, request):
    channels = request.images.shape[3]
    return np.repeat((maps / channels).astype(np.float32)[..., None], channels, -1)
