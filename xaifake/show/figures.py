"""The figures of the chapters: pictures in grids, masks over faces, curves and tables.

Every function returns the matplotlib figure, so that a chapter's cell can end in it, and takes
plain arrays and tables. Colours come from seaborn's ``colorblind`` palette; manipulated pictures
carry the word on them.
"""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from xaifake.explainers.registry import TITLES

PALETTE = sns.color_palette("colorblind")
REAL, FAKE = PALETTE[0], PALETTE[1]
MASK_COLOUR = np.array([0, 158, 115])
# Jaw, brows, bridge, nostrils, eyes, lips, inner lips: first and last landmark, and if closed.
FACE_PARTS = (
    *((0, 17, False), (17, 22, False), (22, 27, False), (27, 31, False), (31, 36, False)),
    *((36, 42, True), (42, 48, True), (48, 60, True), (60, 68, True)),
)
READABLE = TITLES | {
    "input_t_gradient": "input x gradient",
    "gradient (absolute)": "size of the gradient",
    "lime (slic)": "LIME (SLIC)",
    "patch_effect": "patch-effect map",
}


def readable(method):
    """Return a method's or a baseline's name as a figure shows it."""
    if method in READABLE:
        return READABLE[method]
    name, bracket, settings = method.partition(" (")
    name = READABLE.get(name, re.sub(r"^lrp\.(sequential_)?", "LRP ", name))
    name = re.sub(r"preset_([ab])", lambda found: f"preset {found[1].upper()}", name)
    name = re.sub(r"alpha_(\d)_beta_(\d)", r"alpha-\1-beta-\2", name)
    name = name.replace("_IB", " without bias").replace("_", " ")
    return name + bracket + settings.replace("iNNvestigate", "iNN")


def subplots(rows, columns, size, **options):
    """Return a figure of `size` inches and its axes, always an array (rows, columns)."""
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)


def in_rows(count, columns, width, height):
    """Return a figure and axes (rows, columns), switched off, for `count` panels of this size."""
    rows = -(-count // columns)
    figure, axes = subplots(rows, columns, (columns * width, rows * height))
    for axis in axes.flat:
        axis.axis("off")
    return figure, axes


def show_images(images, titles=None, manipulated=None, columns=6, width=1.7):
    """Show pictures in a grid.

    Parameters
    ----------
    images : sequence of ndarray, uint8 (H, W, 3) or (H, W)
    titles : sequence of str, optional
        One above each picture.
    manipulated : sequence of bool, optional
        Which pictures are manipulated: the word is written on them.
    columns : int
        Pictures in a row.
    width : float
        Of one picture, in inches.
    """
    ratio = images[0].shape[0] / images[0].shape[1]
    height = width * ratio + (0.3 if titles is not None else 0.05)
    figure, axes = in_rows(len(images), min(columns, len(images)), width, height)
    for k, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        if titles is not None:
            axis.set_title(titles[k], fontsize=8, pad=3)
        if manipulated is not None and manipulated[k]:
            mark_manipulated(axis)
    return figure


def mark_manipulated(axis):
    """Write on a picture that it is a manipulated research illustration."""
    box = {"facecolor": "black", "alpha": 0.65, "pad": 1.2, "edgecolor": "none"}
    style = {"transform": axis.transAxes, "color": "white", "fontsize": 6, "bbox": box}
    axis.text(0.02, 0.02, "manipulated", **style)


def overlay_mask(image, mask, strength=0.45):
    """Tint the pixels of a picture, uint8 (H, W, 3), where a mask, bool (H, W), is true.

    `strength` is the share of the tint. Returns uint8 (H, W, 3).
    """
    share = strength * mask[..., None]
    return np.rint(image + share * (MASK_COLOUR - image.astype(float))).astype(np.uint8)


def show_detection(frame, face, squares=None, manipulated=False):
    """Show a frame with the face's box, its landmarks and the squares that are cut.

    Parameters
    ----------
    frame : ndarray, uint8 (H, W, 3)
    face : xaifake.data.faces.Face
    squares : dict of str to (left, top, side), optional
        Named squares, in the frame's pixels.
    manipulated : bool
    """
    figure, axis = plt.subplots(figsize=(4.2, 4.2), layout="constrained")
    axis.imshow(frame)
    axis.axis("off")
    left, top, right, bottom = face.box
    _draw_box(axis, (left, top), (right - left, bottom - top), PALETTE[0], "dlib's box")
    for first, last, closed in FACE_PARTS:
        points = face.landmarks[np.r_[first:last, first] if closed else np.r_[first:last]]
        axis.plot(*points.T, color=PALETTE[4], linewidth=0.8, marker="o", markersize=1.5)
    axis.plot(*face.landmarks[30], "o", color=PALETTE[3], markersize=5, label="nose tip (30)")
    for colour, (name, (x, y, side)) in zip(PALETTE[1:3], (squares or {}).items(), strict=False):
        _draw_box(axis, (x, y), (side, side), colour, name)
    figure.legend(fontsize=7, loc="outside lower center", ncols=2, frameon=False)
    # A square may reach beyond the frame: it is drawn whole.
    corners = [(0, 0, *frame.shape[1::-1])]
    corners += [(x, y, x + side, y + side) for x, y, side in (squares or {}).values()]
    lowest, highest = np.min(corners, axis=0), np.max(corners, axis=0)
    axis.set(xlim=(lowest[0] - 2, highest[2] + 2), ylim=(highest[3] + 2, lowest[1] - 2))
    if manipulated:
        mark_manipulated(axis)
    return figure


def _draw_box(axis, corner, size, colour, label):
    style = {"fill": False, "edgecolor": colour, "linewidth": 1.8, "label": label}
    axis.add_patch(plt.Rectangle(corner, *size, **style))


def plot_confusion(counts):
    """Plot confusion matrices side by side.

    Parameters
    ----------
    counts : dict of str to ndarray, int (2, 2)
        Named matrices; rows are the truth (real, fake), columns the verdict.
    """
    figure, axes = subplots(1, len(counts), (3.2 * len(counts), 2.8))
    names = ["real", "fake"]
    for axis, (name, matrix) in zip(axes.flat, counts.items(), strict=True):
        shares = matrix / matrix.sum(1, keepdims=True)
        text = [[f"{n:,}\n{s:.0%}" for n, s in zip(*pair)] for pair in zip(matrix, shares)]
        sns.heatmap(
            shares, annot=np.array(text), fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False,
            square=True, xticklabels=names, yticklabels=names, ax=axis,
        )  # fmt: skip
        axis.set(title=name, xlabel="verdict", ylabel="truth")
    return figure


def plot_intervals(table, value, low, high, label, reference=None, xlabel=""):
    """Plot scores with their intervals, one per line.

    Parameters
    ----------
    table : pandas.DataFrame
    value, low, high, label : str
        Columns: the score, the ends of its interval, and the name of the line.
    reference : float, optional
        Draw a dashed line at this score.
    xlabel : str
    """
    figure, axis = plt.subplots(figsize=(6, 0.6 + 0.32 * len(table)), layout="constrained")
    places = np.arange(len(table))[::-1]
    axis.hlines(places, table[low], table[high], color=PALETTE[0], linewidth=3, alpha=0.5)
    axis.plot(table[value], places, "o", color=PALETTE[0])
    axis.set(yticks=places, yticklabels=table[label], xlabel=xlabel, ylim=(-0.7, len(table) - 0.3))
    if reference is not None:
        axis.axvline(reference, color="0.4", linestyle="--", linewidth=1)
    sns.despine(ax=axis)
    return figure


def plot_depth(tables):
    """Plot how maps change from the first layer to the last.

    Parameters
    ----------
    tables : dict of float to pandas.DataFrame
        What `xaifake.explainers.activation_statistics` returned, by scale.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 2.9), layout="constrained")
    for (scale, table), colour in zip(tables.items(), PALETTE, strict=False):
        thick = 3 if scale == next(iter(tables)) else 1.3  # where they agree, both are seen
        number = np.arange(1, len(table) + 1)

        def draw(axis, values, style="-", name="", width=thick, x=number, scale=scale, c=colour):
            axis.plot(x, values, style, ms=3, color=c, lw=width, label=f"{scale}x{name}")

        draw(left, table.height * table.width, "o-")
        draw(middle, table.similarity, name=", own picture")
        draw(middle, table.similarity_other, "--", ", another face")
        draw(right, table.active_places, name=", places active")
        draw(right, table.dead_channels, ":", ", never active")
    left.set(yscale="log", ylabel="places of a map")
    middle.set(ylabel="absolute correlation", ylim=(0, None))
    right.set(ylabel="share", ylim=(-0.03, 1))
    for axis in (left, middle, right):
        axis.set_xlabel("layer with a ReLU, first to last")
        axis.legend(fontsize=7)
        sns.despine(ax=axis)
    return figure


def plot_perturbation_curves(table, score, ylabel, reference=None):
    """Plot a detector's score against the strength of perturbations, one plot per kind.

    All plots have one ordinate. Turns beyond 20 degrees are drawn closer together.

    Parameters
    ----------
    table : pandas.DataFrame
        `xaifake.judge.perturbation_curve` with the column `scale`; ``Blur(0)`` is the picture as
        it is, and starts every curve.
    score : str
        A value of the column `score`.
    ylabel : str
        What it is.
    reference : float, optional
        Draw a dashed line at this score, that of guessing, and let the ordinate begin below it.
    """
    units = {
        "blur": "sigma, pixels", "noise": "sigma, grey levels", "rotation": "degrees clockwise",
        "translation": "pixels to the right", "scaling": "factor", "shear": "degrees",
    }  # fmt: skip
    table = table[table.score == score]
    kinds = list(dict.fromkeys(table.kind))
    figure, axes = in_rows(len(kinds), min(3, len(kinds)), 3, 2.6)
    asis = table[(table.kind == "blur") & (table.strength == 0)]
    lowest = 0 if reference is None else min(reference, table.low.min()) - 0.02
    for axis, kind in zip(axes.flat, kinds, strict=False):
        axis.axis("on")
        start = asis.assign(kind=kind, strength=1.0 if kind == "scaling" else 0.0)
        curve = pd.concat([start, table[table.kind == kind]]).drop_duplicates(["scale", "strength"])
        for (scale, line), colour in zip(curve.groupby("scale"), PALETTE, strict=False):
            line = line.sort_values("strength")
            axis.fill_between(line.strength, line.low, line.high, color=colour, alpha=0.2, lw=0)
            axis.plot(line.strength, line.value, "o-", ms=3, color=colour, label=f"{scale}x")
        if reference is not None:
            axis.axhline(reference, color="0.4", linestyle="--", linewidth=1, label="guessing")
        axis.set(title=kind, xlabel=units.get(kind, "strength"), ylim=(lowest, 1.02))
        if kind == "rotation":
            axis.set_xscale("symlog", linthresh=20, linscale=0.5)
            turns = [turn for turn in sorted(set(curve.strength)) if turn == 0 or abs(turn) >= 20]
            axis.set_xticks(turns, [f"{turn:g}" for turn in turns], fontsize=7)
            axis.minorticks_off()
        sns.despine(ax=axis)
    for line in axes:
        line[0].set_ylabel(ylabel)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, fontsize=8, loc="outside upper right", ncols=3, frameon=False)
    return figure


def plot_relevance_depth(table):
    """Plot the relevance that arrives at the layers through which all of it passes.

    Left the sum and right the size, the sum without signs, as multiples of the logit.

    Parameters
    ----------
    table : pandas.DataFrame
        `xaifake.explainers.lrp.relevance_by_layer` of one picture by several methods, with a column
        `method`.
    """
    table = table[table.is_bottleneck]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, column in zip(axes, ("relevance", "abs_sum"), strict=True):
        for (name, part), style in zip(table.groupby("method", sort=False), ("-", "--", "-.", ":")):
            values = part[column].to_numpy() / part.relevance.iloc[-1]
            axis.plot(range(len(part)), values, style, lw=1.8, label=readable(name))
        places = _places(part.layer)
        axis.set_xticks(list(places), list(places.values()), fontsize=7)
        axis.set_xlabel("the picture, the ends of the blocks, the logit")
        sns.despine(ax=axis)
    axes[0].set(ylabel="sum / logit")
    axes[0].axhline(0, color="grey", lw=0.6)
    axes[0].legend(fontsize=7)
    axes[1].set(ylabel="sum without signs / logit", yscale="log")
    return figure


def _places(layers):
    """Return what the ticks of layers say, by their number: Xception's blocks, else their names.

    The shortcut of a block is added at its end, by a layer that has no name of its own.
    """
    block, ends = 0, {}
    for number, name in enumerate(list(layers)[:-1]):
        found = re.match(r"block(\d+)_", name)
        block = int(found[1]) if found else block + name.startswith("add")
        ends[block or name] = number
    ticks = {number: str(end) for end, number in ends.items()}
    return ticks | {0: "picture", len(layers) - 1: "\nlogit"}  # below the last block's
