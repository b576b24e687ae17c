"""Heatmaps beside their pictures, grids of channels, and pictures cut into segments.

Red speaks for the class that was asked about, blue against it, white for nothing: a scale that
does not depend on telling red from green. Where its picture is known, a map lies on a faint grey
copy of it. Nothing is normalised before it gets here. Every function that shows something returns
the matplotlib figure.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from skimage.segmentation import mark_boundaries

from xaifake.heatmaps import COLOURS, colour_limit
from xaifake.show.figures import MASK_COLOUR, in_rows, mark_manipulated, readable, subplots

FAINT = 0.3  # what is left of a picture's contrast under a map
SILENT = 0.35  # grey of a channel that is 0 everywhere
GAP = 2  # pixels between channels, before they are enlarged


def heatmaps(relevance):
    """Sum relevance (N, H, W, C) over its colours: one map (H, W) for each picture."""
    return np.asarray(relevance).sum(axis=-1)


def show_grid(
    rows, columns=None, manipulated=None, masks=None, width=1.35, together=False, under=None
):
    """Show pictures and heatmaps in rows of the same length.

    Parameters
    ----------
    rows : dict of str to sequence of ndarray
        Named rows; uint8 (H, W, 3) is shown as a picture, uint8 (H, W) in grey, float (H, W) as a
        heatmap, laid on the first picture of its column, or else of its row.
    columns : sequence of str, optional
        Written above the columns.
    manipulated : sequence of bool, or dict of str to such, optional
        Which columns show manipulated faces, in all rows or in those named: the word is written on
        their pictures.
    masks : sequence of ndarray, bool (H, W), optional
        One per column: its outline is drawn on the heatmaps.
    width : float
        Of one picture, in inches.
    under : ndarray, uint8 (H, W, 3), optional
        The picture that all heatmaps lie on instead, as where they were brought back to it.
    together : bool
        Give the heatmaps of a row one scale; otherwise each has its own, up to the 99.5th
        percentile of its absolute values.
    """
    count = len(next(iter(rows.values())))
    size = (count * width + 0.9, len(rows) * width + (0.3 if columns else 0.05))
    figure, axes = subplots(len(rows), count, size)
    for line, (name, items) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(readable(name), fontsize=8)
        limit = colour_limit(np.stack(items)) if together and not _is_picture(items[0]) else None
        marked = manipulated.get(name) if isinstance(manipulated, dict) else manipulated
        for number, (axis, item) in enumerate(zip(line, items, strict=True)):
            axis.set(xticks=[], yticks=[])
            if _is_picture(item):
                axis.imshow(item, cmap="gray", vmin=0, vmax=255)
                if item.ndim == 3 and marked is not None and marked[number]:
                    mark_manipulated(axis)
            else:
                mask = None if masks is None else masks[number]
                face = _face_of(rows, items, number) if under is None else under
                _draw_map(axis, item, mask, limit, face)
    for axis, title in zip(axes[0], columns or [], strict=False):
        axis.set_title(title, fontsize=8, pad=3)
    _add_legend(figure, axes, own=not together)
    return figure


def show_cases(cases, maps=None, width=1.5):
    """Show the faces of a case file with what a detector says of them, their originals and maps.

    Parameters
    ----------
    cases : xaifake.data.dataset.Faces
        See `xaifake.detector.case_file`; their table has ``logit`` and ``logit_original``.
    maps : dict of str to sequence of ndarray, optional
        Further rows, as for `show_grid`: one map or picture for each face. The outline of the swap
        is drawn on maps.
    width : float
        Of one picture, in inches.
    """
    fakes = cases.labels == 1
    titles = []
    for row, fake in zip(cases.table.itertuples(), fakes, strict=True):
        kind = f"fake ({row.region.replace('_', ' ')})" if fake else "real"
        title = f"{kind}\ncalled {'fake' if row.logit > 0 else 'real'}, {row.logit:+.1f}"
        known = fake and cases.originals is not None
        titles.append(f"{title}\noriginal {row.logit_original:+.1f}" if known else title)
    rows = {"face": cases.images}
    if cases.originals is not None:
        rows["original"] = cases.originals
    changed = [name for name in (maps or {}) if _is_picture(maps[name][0])]
    marked = dict.fromkeys(["face", *changed], fakes)
    return show_grid(rows | (maps or {}), titles, marked, cases.masks, width)


def show_forgetting(image, strips, shares, width=1.1):
    """Show what becomes of maps of a manipulated picture while a network forgets, row by method.

    Parameters
    ----------
    image : ndarray, uint8 (H, W, 3)
    strips : dict of str to sequence of ndarray of float, (H, W)
        By method: of the trained network, and then one for each share; see
        `xaifake.judge.sanity.shuffled_maps`.
    shares : sequence of float
        Of the network that has been shuffled, first 0 and at the end 1.
    width : float
        Of one picture, in inches.
    """
    words = {0: "knows\neverything", 1: "knows\nnothing"}
    titles = ["the picture", *(words.get(s, f"{s:.0%}\nforgotten") for s in shares)]
    rows = {name: [image, *maps] for name, maps in strips.items()}
    return show_grid(rows, titles, [True] * len(titles), width=width)


def show_gallery(image, maps, mask=None, columns=6, width=1.6):
    """Show a manipulated picture and many heatmaps of it, each on its own scale.

    Parameters
    ----------
    image : ndarray, uint8 (H, W, 3)
    maps : dict of str to ndarray of float, (H, W)
        Named heatmaps.
    mask : ndarray of bool, (H, W), optional
        Its outline is drawn on the heatmaps.
    columns : int
        Pictures in a row.
    width : float
        Of one picture, in inches.
    """
    figure, axes = in_rows(len(maps) + 1, columns, width + 0.7 / columns, width + 0.35)
    axes[0, 0].imshow(image)
    mark_manipulated(axes[0, 0])
    for axis, (name, heatmap) in zip(axes.flat[1:], maps.items(), strict=False):
        axis.set_title(readable(name), fontsize=7, pad=2)
        _draw_map(axis, heatmap, mask, face=image)
    _add_legend(figure, axes, own=True)
    return figure


def _face_of(rows, items, number):
    candidates = [*(ones[number] for ones in rows.values() if number < len(ones)), *items]
    return next((one for one in candidates if np.ndim(one) == 3), None)


def _is_picture(item):
    return np.asarray(item).dtype == np.uint8


def _draw_map(axis, heatmap, mask=None, limit=None, face=None):
    """Draw a heatmap with the outline of a mask, on a faint picture of what it explains."""
    if limit is None:  # what prefers no place is pale, and not all at the end of the scale
        limit = colour_limit(heatmap) * (4 if np.ptp(heatmap) == 0 else 1)
    shown = {"cmap": COLOURS, "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    if face is not None:
        height, width = np.shape(heatmap)
        shown |= {"extent": (-0.5, width - 0.5, height - 0.5, -0.5)}
        faint = 255 - FAINT * (255 - np.mean(face, axis=-1))
        axis.imshow(faint, cmap="gray", vmin=0, vmax=255, extent=shown["extent"])
        shown |= {"alpha": np.clip(2 * np.abs(heatmap) / limit, 0, 1)}
    axis.imshow(heatmap, **shown)
    if mask is not None and mask.any():
        axis.contour(mask, [0.5], colors=[MASK_COLOUR / 255], linewidths=0.8)


def _add_legend(figure, axes, own):
    """Say what the colours mean, once per figure with heatmaps; no blue where nothing is below 0.

    `own` says that each map has a scale of its own.
    """
    shown = [image for axis in axes.flat for image in axis.images]
    maps = [image for image in shown if image.get_cmap().name == COLOURS]
    if not maps:
        return
    colours = ScalarMappable(maps[0].norm, COLOURS)
    bar = figure.colorbar(colours, ax=axes, shrink=min(0.8, 2 / len(axes)), aspect=20, pad=0.01)
    low, high = maps[0].get_clim()
    bar.set_ticks([low, 0, high], labels=["against", "0", "for"])
    if all(image.get_array().min() >= 0 for image in maps):
        bar.ax.set_ylim(0, high)
    bar.set_label("each map on its own scale" if own else "one scale per row", fontsize=7)
    bar.ax.tick_params(labelsize=7, length=0)


def strongest_segments(heatmap, count=5):
    """Tell where the segments with the largest positive weights of a LIME map lie.

    Parameters
    ----------
    heatmap : ndarray of float, (H, W)
        At every pixel of a segment its weight; segments of the same weight count as one.
    count : int
        How many segments, at most; lime's own number if not given.

    Returns
    -------
    ndarray of bool, (H, W)
    """
    weights = np.unique(heatmap)[-count:]
    return np.isin(heatmap, weights[weights > 0])


def show_channels(maps, columns=16, numbers=None, width=9.0, standardised=False):
    """Show the channels of a layer for one picture.

    Each channel is stretched to its own largest value, from black to white; one that is 0 all
    over is plain grey.

    Parameters
    ----------
    maps : ndarray of float, (h, w, channels)
    columns : int
        Channels in a row.
    numbers : sequence of int, optional
        The channels to show, in this order, with their numbers written on them; all if not given.
    width : float
        Of the figure, in inches.
    standardised : bool
        Show each channel less its mean, over its standard deviation, in viridis from -2 to 2, as
        in Chollet's "Deep Learning with Python"; one that is the same all over is plain.
    """
    stretch = _standardise if standardised else _stretch
    shown = range(maps.shape[2]) if numbers is None else numbers
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    height, breadth = maps.shape[0] + GAP, maps.shape[1] + GAP
    canvas = np.full((rows * height - GAP, columns * breadth - GAP), np.nan)  # not drawn
    for place, channel in enumerate(shown):
        top, left = place // columns * height, place % columns * breadth
        stretched = stretch(maps[..., channel])
        canvas[top : top + maps.shape[0], left : left + maps.shape[1]] = stretched
    size = (width, width * canvas.shape[0] / canvas.shape[1])
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    colours = "viridis" if standardised else "gray"
    axis.imshow(canvas, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    axis.axis("off")
    if numbers is not None:
        box = {"facecolor": "black", "alpha": 0.6, "pad": 1, "edgecolor": "none"}
        for place, channel in enumerate(shown):
            x, y = place % columns * breadth, place // columns * height
            axis.text(x + 1, y + 1, str(channel), color="white", fontsize=7, va="top", bbox=box)
    return figure


def show_layers(layers, width=1.1):
    """Show a few channels of several layers, one row per layer.

    Parameters
    ----------
    layers : dict of str to ndarray of float, (h, w, channels)
        Named layers, all with the same number of channels; each is stretched as by
        `show_channels`.
    width : float
        Of one map, in inches.
    """
    count = next(iter(layers.values())).shape[2]
    figure, axes = subplots(len(layers), count, (count * width + 2, len(layers) * width))
    for line, (name, maps) in zip(axes, layers.items(), strict=True):
        for axis, channel in zip(line, np.moveaxis(maps, 2, 0), strict=True):
            axis.imshow(_stretch(channel), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        label = f"{name}\n{maps.shape[0]} x {maps.shape[1]}"
        line[0].set_ylabel(label, fontsize=7, rotation=0, ha="right", va="center")
    return figure


def _stretch(channel):
    top = channel.max()
    return np.clip(channel / top, 0, 1) if top > 0 else np.full(channel.shape, SILENT)


def _standardise(channel):
    spread = channel.std() or 1
    return np.clip((channel - channel.mean()) / spread / 4 + 0.5, 0, 1)


def outline_segments(image, segments):
    """Draw the borders of segments, int (H, W), on a picture, uint8 (H, W, 3).

    Returns uint8 (2 H, 2 W, 3), enlarged so that the lines are thin.
    """
    large, labels = (np.asarray(a).repeat(2, axis=0).repeat(2, axis=1) for a in (image, segments))
    outlined = mark_boundaries(large, labels, color=(1, 0.9, 0), mode="inner")
    return np.rint(outlined * 255).astype(np.uint8)
