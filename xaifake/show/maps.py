"""Heatmaps beside their pictures, grids of channels, and pictures cut into segments.

Red speaks for the class that was asked about, blue against it, white for nothing: a scale that
does not depend on telling red from green. Nothing is normalised before it gets here. Every
function that shows something returns the matplotlib figure.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.segmentation import mark_boundaries

from xaifake.heatmaps import colour_limit
from xaifake.show.figures import MASK_COLOUR, in_rows, mark_manipulated, subplots

COLOURS = "RdBu_r"
SILENT = 0.35  # grey of a channel that is 0 everywhere
GAP = 2  # pixels between channels, before they are enlarged


def heatmaps(relevance):
    """Sum relevance (N, H, W, C) over its colours: one map (H, W) for each picture."""
    return np.asarray(relevance).sum(axis=-1)


def show_grid(rows, columns=None, manipulated=None, masks=None, width=1.35, together=False):
    """Show pictures and heatmaps in rows of the same length.

    Parameters
    ----------
    rows : dict of str to sequence of ndarray
        Named rows; uint8 (H, W, 3) is shown as a picture, uint8 (H, W) in grey, float (H, W) as a
        heatmap.
    columns : sequence of str, optional
        Written above the columns.
    manipulated : sequence of bool, optional
        Which columns show manipulated faces: the word is written on their pictures.
    masks : sequence of ndarray, bool (H, W), optional
        One per column: its outline is drawn on the heatmaps.
    width : float
        Of one picture, in inches.
    together : bool
        Give the heatmaps of a row one scale; otherwise each has its own, up to the 99.5th
        percentile of its absolute values.
    """
    count = len(next(iter(rows.values())))
    size = (count * width + 0.9, len(rows) * width + (0.3 if columns else 0.05))
    figure, axes = subplots(len(rows), count, size)
    for line, (name, items) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, fontsize=8)
        limit = colour_limit(np.stack(items)) if together and not _is_picture(items[0]) else None
        for number, (axis, item) in enumerate(zip(line, items, strict=True)):
            axis.set(xticks=[], yticks=[])
            if _is_picture(item):
                axis.imshow(item, cmap="gray", vmin=0, vmax=255)
                if item.ndim == 3 and manipulated is not None and manipulated[number]:
                    mark_manipulated(axis)
            else:
                _draw_map(axis, item, None if masks is None else masks[number], limit)
    for axis, title in zip(axes[0], columns or [], strict=False):
        axis.set_title(title, fontsize=8, pad=3)
    _add_legend(figure, axes)
    return figure


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
        axis.set_title(name.replace("preset", "\npreset"), fontsize=7, pad=2)
        _draw_map(axis, heatmap, mask)
    _add_legend(figure, axes)
    return figure


def _is_picture(item):
    return np.asarray(item).dtype == np.uint8


def _draw_map(axis, heatmap, mask=None, limit=None):
    """Draw a heatmap with the outline of a mask."""
    limit = colour_limit(heatmap) if limit is None else limit
    axis.imshow(heatmap, cmap=COLOURS, vmin=-limit, vmax=limit, interpolation="nearest")
    if mask is not None and mask.any():
        axis.contour(mask, [0.5], colors=[MASK_COLOUR / 255], linewidths=0.8)


def _add_legend(figure, axes):
    """Say what the colours mean, once per figure with heatmaps."""
    shown = [image for axis in axes.flat for image in axis.images]
    maps = [image for image in shown if image.get_cmap().name == COLOURS]
    if maps:
        bar = figure.colorbar(maps[0], ax=axes, shrink=min(0.8, 2 / len(axes)), aspect=20, pad=0.01)
        low, high = maps[0].get_clim()
        bar.set_ticks([low, 0, high], labels=["against", "0", "for"])
        bar.ax.tick_params(labelsize=7, length=0)
        bar.outline.set_visible(False)


def show_channels(maps, columns=16, numbers=None, width=9.0):
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
    """
    shown = range(maps.shape[2]) if numbers is None else numbers
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    height, breadth = maps.shape[0] + GAP, maps.shape[1] + GAP
    canvas = np.ones((rows * height - GAP, columns * breadth - GAP))
    for place, channel in enumerate(shown):
        top, left = place // columns * height, place % columns * breadth
        stretched = _stretch(maps[..., channel])
        canvas[top : top + maps.shape[0], left : left + maps.shape[1]] = stretched
    size = (width, width * canvas.shape[0] / canvas.shape[1])
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    axis.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
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


def outline_segments(image, segments):
    """Draw the borders of segments, int (H, W), on a picture, uint8 (H, W, 3).

    Returns uint8 (2 H, 2 W, 3), enlarged so that the lines are thin.
    """
    large, labels = (np.asarray(a).repeat(2, axis=0).repeat(2, axis=1) for a in (image, segments))
    outlined = mark_boundaries(large, labels, color=(1, 0.9, 0), mode="inner")
    return np.rint(outlined * 255).astype(np.uint8)
