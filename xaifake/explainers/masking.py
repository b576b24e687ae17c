"""Explanations by what the logit loses when parts of the picture are hidden (judged in chapter 11).

They ask the network for answers alone, which OpenVINO gives where there are many. All return one
map; each colour channel has a third of it.
"""

from math import comb

import numpy as np

from xaifake.detector.forward import BATCH, forward, in_batches
from xaifake.errors import UserError
from xaifake.explainers.lime import make_fills, segment
from xaifake.explainers.registry import register
from xaifake.explainers.request import as_baseline, batches
from xaifake.progress import progress_bar


@register("occlusion")
def occlusion(request, batch_size=32, progress=True, side=None, stride=None, baseline=None):
    """Return how far the logit falls when a square is hidden (Zeiler and Fergus 2014).

    A pixel has the mean over the squares that hide it.

    Parameters
    ----------
    request : Request
    batch_size : int
        Pictures with a hidden part that are made at a time; the network takes at most 32 at once.
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
    rows, columns = (_bands(size, side, stride) for size in (height, width))
    hidden = np.einsum("ih,jw->ijhw", rows, columns).reshape(-1, height, width)
    start = as_baseline(request, baseline)
    shown = [1 - hidden] * len(start)
    logit, answers = _ask(request, shown, start, batch_size, progress)
    losses = logit[:, None] - np.stack(answers)
    return _as_maps(np.tensordot(losses, hidden, 1) / hidden.sum(0), request), {"logit": logit}


def _bands(size, length, stride):
    """Return where windows lie along one side: (windows, size), 0 and 1."""
    starts, places = np.arange(stride - length, size, stride)[:, None], np.arange(size)
    return ((places >= starts) & (places < starts + length)).astype(np.float32)


@register("rise")
def rise(
    request, batch_size=32, progress=True, samples=1000, cells=7, shown=0.5, baseline=None, seed=0
):
    """Return for each pixel the mean logit of randomly masked pictures that show it (RISE).

    Petsiuk et al. 2018, equation 4, with the logit for the probability. A mask is a grid of cells
    that are shown or hidden, enlarged by bilinear interpolation and shifted. The mean is divided by
    the sum of the masks that were drawn, as in xplique; the paper's equation 6 divides by what is
    expected of it, and its maps have the noise of the difference. The logit of pictures of which
    half is hidden is the map's level, and only differences within a map mean something.

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
            f"samples={samples}, cells={cells}, shown={shown}: give at least one mask and cell, "
            "and a chance between 0 and 1."
        )
    masks = random_masks(request.images.shape[1:3], samples, cells, shown, seed)
    start = as_baseline(request, baseline)
    logit, answers = _ask(request, [masks] * len(start), start, batch_size, progress)
    total = masks.sum(0)
    weighted = np.tensordot(np.stack(answers), masks, 1)
    maps = np.divide(weighted, total, out=np.zeros_like(weighted), where=total > 0)
    return _as_maps(maps, request), {"logit": logit}


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


@register("kernel_shap")
def kernel_shap(
    request,
    batch_size=32,
    progress=True,
    segmentation="quickshift",
    num_samples=1000,
    fill="mean",
    seed=0,
):
    """Return the Shapley value of each segment, spread over its pixels (Lundberg and Lee 2017).

    The value is the segment's mean gain in the logit over all orders in which the segments may
    appear. The map sums to the logit less that of the picture with all segments hidden.

    Parameters
    ----------
    request, batch_size, progress
        As in `occlusion`.
    segmentation, fill
        As in `xaifake.explainers.lime.explain_lime`.
    num_samples : int
        Choices of segments that are shown, beside all and none. If there are no more than that, all
        are, and the values are exact; else pairs are drawn, of a choice and what it leaves out.
    seed : int
        Of the choices.

    Returns
    -------
    relevance : numpy.ndarray of float32, (N, H, W, C)
    report : dict of str to array
        `logit`; `logit_hidden`, with all segments hidden; `segments`, their number.

    Raises
    ------
    UserError
        If an option is of the wrong kind or shape, or there are fewer samples than segments.
    """
    segments = segment(request, segmentation)
    counts = segments.max((1, 2)) + 1
    if num_samples < counts.max():
        raise UserError(
            f"num_samples={num_samples}: give at least one per segment, {counts.max()}."
        )
    fills = zip(request.images, segments, make_fills(request, fill), strict=True)
    fills = [_mean_colours(image, own) if f is None else f for image, own, f in fills]
    drawn = [coalitions(count, num_samples, seed) for count in counts]
    shown = [
        _Cut(np.vstack([np.zeros((1, count), bool), some]), own)
        for (some, _), count, own in zip(drawn, counts, segments, strict=True)
    ]
    logit, answers = _ask(request, shown, np.stack(fills), batch_size, progress)
    maps, hidden = np.empty(segments.shape), np.array([some[0] for some in answers])
    for number, (some, weights) in enumerate(drawn):
        gains = answers[number][1:] - hidden[number]
        values = shapley_values(some, weights, gains, logit[number] - hidden[number])
        maps[number] = (values / np.bincount(segments[number].ravel()))[segments[number]]
    return _as_maps(maps, request), {"logit": logit, "logit_hidden": hidden, "segments": counts}


class _Cut:
    """Masks of segments, made when they are asked for."""

    def __init__(self, some, segments):
        self.some, self.segments = some, segments

    def __len__(self):
        return len(self.some)

    def __getitem__(self, number):
        return self.some[number][self.segments].astype(np.float32)


def _mean_colours(image, segments):
    means = [
        np.bincount(segments.ravel(), image[..., c].ravel()) / np.bincount(segments.ravel())
        for c in range(image.shape[2])
    ]
    return np.stack(means, -1)[segments].astype(np.float32)


def coalitions(count, samples, seed):
    """Return which segments are shown together, and with what weight.

    Parameters
    ----------
    count : int
        Segments.
    samples, seed : int
        As in `kernel_shap`.

    Returns
    -------
    shown : numpy.ndarray of bool, (M, count)
        Neither all nor none of the segments.
    weights : numpy.ndarray of float, (M,)
        The Shapley kernel, ``(count - 1) / (C(count, k) k (count - k))`` for k shown; 1 where
        choices are drawn, since they are drawn by it.
    """
    if 2**count - 2 <= samples:
        shown = (np.arange(1, 2**count - 1)[:, None] >> np.arange(count)) % 2 == 1
        kernel = [(count - 1) / (comb(count, k) * k * (count - k)) for k in range(1, count)]
        return shown, np.array(kernel)[shown.sum(1) - 1]
    rng, sizes = np.random.default_rng(seed), np.arange(1, count)
    chance = 1 / (sizes * (count - sizes))
    drawn = rng.choice(sizes, samples // 2, p=chance / chance.sum())
    shown = rng.random((len(drawn), count)).argsort(1) < drawn[:, None]
    return np.concatenate([shown, ~shown]), np.ones(2 * len(drawn))


def shapley_values(shown, weights, gains, whole):
    """Return the weighted least-squares values that sum to the gain of the whole.

    Parameters
    ----------
    shown, weights
        From `coalitions`.
    gains : numpy.ndarray of float, (M,)
        Of each choice over nothing shown.
    whole : float
        The same of all segments.

    Returns
    -------
    numpy.ndarray of float, (count,)
        The Shapley values if the choices are all there are.
    """
    root, last = np.sqrt(weights), shown[:, -1].astype(float)
    columns = root[:, None] * (shown[:, :-1] - last[:, None])
    values = np.linalg.lstsq(columns, root * (gains - whole * last), rcond=None)[0]
    return np.append(values, whole - values.sum())


def _ask(request, shown, fills, batch_size, progress):
    """Return the logits of pictures (N,), and for each those of it under its own masks, arrays.

    `shown` has for each picture something with a length whose items are masks (H, W).
    """
    images, size = request.images, min(batch_size, BATCH)
    points = [(n, mask) for n, masks in enumerate(shown) for mask in range(len(masks))]
    starts = progress_bar(batches(len(points), size), show=progress, delay=3, unit="batch")

    def made():
        for first in starts:
            some = points[first : first + size]
            rows = [number for number, _ in some]
            mask = np.stack([shown[number][place] for number, place in some])[..., None]
            yield mask * images[rows] + (1 - mask) * fills[rows]
        yield from in_batches(images, size)

    count = len(points) + len(images)
    network = forward(request.model, count, size, shape=images.shape[1:])
    logits = request.sign * network(made())[:, request.index]
    ends = np.cumsum([len(masks) for masks in shown])
    *answers, whole = np.split(logits, ends)
    return whole, answers


def _as_maps(maps, request):
    channels = request.images.shape[3]
    return np.repeat((maps / channels).astype(np.float32)[..., None], channels, -1)
