"""The figures of the chapters: pictures in grids, masks over faces, curves and tables.

Every function returns the matplotlib figure, so that a chapter's cell can end in it, and takes
plain arrays and tables. Colours come from seaborn's ``colorblind`` palette; manipulated pictures
carry the word on them.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from sklearn.metrics import roc_curve

PALETTE = sns.color_palette("colorblind")
REAL, FAKE = PALETTE[0], PALETTE[1]
MASK_COLOUR = np.array([0, 158, 115])
FACE_PARTS = {
    "jaw": (0, 17, False),
    "brow": (17, 22, False),
    "brow ": (22, 27, False),
    "bridge": (27, 31, False),
    "nostrils": (31, 36, False),
    "eye": (36, 42, True),
    "eye ": (42, 48, True),
    "lips": (48, 60, True),
    "inner lips": (60, 68, True),
}


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

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    ratio = images[0].shape[0] / images[0].shape[1]
    title_height = 0.3 if titles is not None else 0.05
    size = (columns * width, rows * (width * ratio + title_height))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for k, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        if titles is not None:
            axis.set_title(titles[k], fontsize=8, pad=3)
        if manipulated is not None and manipulated[k]:
            mark_manipulated(axis)
    return figure


def plot_scores(times, probabilities, decided):
    """Plot the probability of fake over time.

    Parameters
    ----------
    times : sequence of float, (N,)
        Seconds, or the numbers of pictures.
    probabilities : sequence of float, (N,)
    decided : sequence of int
        Indices of frames to ring, the most decisive first.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
    axis.plot(times, probabilities, "o-", color="0.25", ms=4, lw=1)
    axis.axhline(0.5, color="0.5", lw=1, ls="--")
    for rank, k in enumerate(decided, start=1):
        axis.plot(times[k], probabilities[k], "o", ms=13, mfc="none", mec=FAKE, mew=2)
        place = (times[k], probabilities[k])
        axis.annotate(str(rank), place, (0, -18), textcoords="offset points", ha="center")
    axis.set(ylim=(-0.05, 1.08), xlabel="time in the video, seconds", ylabel="probability of fake")
    sns.despine(ax=axis)
    return figure


def mark_manipulated(axis):
    """Write on a picture that it is a manipulated research illustration."""
    box = {"facecolor": "black", "alpha": 0.65, "pad": 1.2, "edgecolor": "none"}
    axis.text(
        0.02, 0.02, "manipulated", transform=axis.transAxes, color="white", fontsize=6, bbox=box
    )


def overlay_mask(image, mask, strength=0.45):
    """Tint the pixels of a picture where a mask is true.

    Parameters
    ----------
    image : ndarray, uint8 (H, W, 3)
    mask : ndarray, bool (H, W)
    strength : float
        Share of the tint.

    Returns
    -------
    ndarray, uint8 (H, W, 3)
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

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axis = plt.subplots(figsize=(4.2, 4.2), layout="constrained")
    axis.imshow(frame)
    axis.axis("off")
    left, top, right, bottom = face.box
    _draw_square(axis, (left, top), (right - left, bottom - top), PALETTE[0], "dlib's box")
    for first, last, closed in FACE_PARTS.values():
        points = face.landmarks[np.r_[first:last, first] if closed else np.r_[first:last]]
        axis.plot(*points.T, color=PALETTE[4], linewidth=0.8, marker="o", markersize=1.5)
    axis.plot(*face.landmarks[30], "o", color=PALETTE[3], markersize=5, label="nose tip (30)")
    for colour, (name, (x, y, side)) in zip(PALETTE[1:3], (squares or {}).items(), strict=False):
        _draw_square(axis, (x, y), (side, side), colour, name)
    axis.legend(loc="lower right", fontsize=7, framealpha=0.9)
    axis.set_xlim(0, frame.shape[1])
    axis.set_ylim(frame.shape[0], 0)
    if manipulated:
        mark_manipulated(axis)
    return figure


def _draw_square(axis, corner, size, colour, label):
    patch = plt.Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=1.8, label=label)
    axis.add_patch(patch)


def plot_learning_curve(log):
    """Plot loss and validation scores over the images seen.

    Parameters
    ----------
    log : pandas.DataFrame
        Of `xaifake.detector.train`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    losses = {"loss": "training", "val_loss": "validation"}
    for (column, name), colour in zip(losses.items(), PALETTE, strict=False):
        sns.lineplot(log, x="images", y=column, marker="o", ax=left, label=name, color=colour)
    left.set(xlabel="training images seen", ylabel="binary cross-entropy", ylim=(0, None))
    names = {
        "accuracy": "training accuracy",
        "val_accuracy": "validation accuracy",
        "val_auc": "validation AUC",
        "val_auc_batch_statistics": "validation AUC, batch statistics",
    }
    for (column, name), colour in zip(names.items(), PALETTE, strict=False):
        sns.lineplot(log, x="images", y=column, marker="o", ax=right, label=name, color=colour)
    right.set(xlabel="training images seen", ylabel="score", ylim=(0.4, 1.02))
    right.legend(fontsize=7, loc="lower right")
    return figure


def plot_confusion(counts):
    """Plot confusion matrices side by side.

    Parameters
    ----------
    counts : dict of str to ndarray, int (2, 2)
        Named matrices; rows are the truth (real, fake), columns the verdict.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(
        1, len(counts), figsize=(3.2 * len(counts), 2.8), squeeze=False, layout="constrained"
    )
    for axis, (name, matrix) in zip(axes.flat, counts.items(), strict=True):
        shares = matrix / matrix.sum(1, keepdims=True)
        text = [[f"{n:,}\n{s:.0%}" for n, s in zip(*pair)] for pair in zip(matrix, shares)]
        names = ["real", "fake"]
        sns.heatmap(
            shares, annot=np.array(text), fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False,
            square=True, xticklabels=names, yticklabels=names, ax=axis,
        )  # fmt: skip
        axis.set(title=name, xlabel="verdict", ylabel="truth")
    return figure


def plot_roc(answers):
    """Plot receiver operating characteristics with their areas.

    Parameters
    ----------
    answers : dict of str to (labels, scores)
        Labels 1 fake, 0 real; a higher score means fake.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axis = plt.subplots(figsize=(4, 3.6), layout="constrained")
    axis.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="guessing")
    for (name, (labels, scores)), colour in zip(answers.items(), PALETTE, strict=False):
        false_positives, true_positives, _ = roc_curve(labels, scores)
        area = np.trapezoid(true_positives, false_positives)
        label = f"{name}: area {area:.2f}"
        axis.plot(false_positives, true_positives, color=colour, label=label)
    axis.set(xlabel="real faces called fake", ylabel="fakes found")
    axis.legend(fontsize=8, loc="lower right")
    return figure


def plot_intervals(table, value, low, high, label, reference=None, xlabel=""):
    """Plot scores with their intervals, one a line.

    Parameters
    ----------
    table : pandas.DataFrame
    value, low, high, label : str
        Columns: the score, the ends of its interval, and the name of the line.
    reference : float, optional
        Draw a dashed line at this score.
    xlabel : str

    Returns
    -------
    matplotlib.figure.Figure
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
        What `xaifake.explainers.describe_depth` returned, by scale.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 2.9), layout="constrained")
    for (scale, table), colour in zip(tables.items(), PALETTE, strict=False):
        number = np.arange(1, len(table) + 1)
        left.plot(number, table.height * table.width, "o-", ms=3, color=colour, label=f"{scale}x")
        middle.plot(number, table.similarity, color=colour, label=f"{scale}x, own picture")
        middle.plot(
            number, table.similarity_other, "--", color=colour, label=f"{scale}x, another face"
        )
        right.plot(number, table.active_places, color=colour, label=f"{scale}x, places active")
        right.plot(
            number, table.never_active, ":", color=colour, lw=2.5, label=f"{scale}x, never active"
        )
    left.set(yscale="log", ylabel="places of a map")
    middle.set(ylabel="absolute correlation", ylim=(0, None))
    right.set(ylabel="share", ylim=(-0.03, 1))
    for axis in (left, middle, right):
        axis.set_xlabel("layer with a ReLU, first to last")
        axis.legend(fontsize=7)
        sns.despine(ax=axis)
    return figure


def plot_lime_sweep(table):
    """Plot how LIME's agreement between seeds and its fit depend on the number of samples.

    Lines are means over faces, bands reach from the smallest to the largest of them.

    Parameters
    ----------
    table : pandas.DataFrame
        `xaifake.explainers.stored.lime_sweep`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    labels = {"agreement": "correlation of weights, two seeds", "r2": "fit, R2"}
    for axis, (column, label) in zip(axes, labels.items(), strict=True):
        sns.lineplot(
            table, x="num_samples", y=column, hue="fill", style="fill", markers=True, dashes=False,
            errorbar=("pi", 100), palette=PALETTE[: table.fill.nunique()], ax=axis,
        )  # fmt: skip
        low = min(0, table[column].min())
        axis.set(xscale="log", xlabel="samples", ylabel=label, ylim=(low, 1.02))
        axis.set_xticks(counts := sorted(table.num_samples.unique()), counts, minor=False)
        axis.set_xticks([], minor=True)
        axis.legend(fontsize=7, loc="lower right")
        sns.despine(ax=axis)
    return figure


def plot_perturbation_curves(table, score, ylabel, reference=None):
    """Plot a detector's score against the strength of perturbations, one plot a kind.

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
        Draw a dashed line at this score.

    Returns
    -------
    matplotlib.figure.Figure
    """
    units = {
        "blur": "sigma, pixels", "noise": "sigma, grey levels", "rotation": "degrees clockwise",
        "translation": "pixels to the right", "scaling": "factor", "shear": "degrees",
    }  # fmt: skip
    neutral = {"scaling": 1.0}
    table = table[table.score == score]
    kinds = list(dict.fromkeys(table.kind))
    columns = min(3, len(kinds))
    rows = -(-len(kinds) // columns)
    size = (3 * columns, 2.6 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    asis = table[(table.kind == "blur") & (table.strength == 0)]
    for axis, kind in zip(axes.flat, kinds, strict=False):
        start = asis.assign(kind=kind, strength=neutral.get(kind, 0.0))
        curve = pd.concat([start, table[table.kind == kind]]).drop_duplicates(["scale", "strength"])
        for (scale, line), colour in zip(curve.groupby("scale"), PALETTE, strict=False):
            line = line.sort_values("strength")
            axis.fill_between(line.strength, line.low, line.high, color=colour, alpha=0.2, lw=0)
            axis.plot(line.strength, line.value, "o-", ms=3, color=colour, label=f"{scale}x")
        if reference is not None:
            axis.axhline(reference, color="0.4", linestyle="--", linewidth=1)
        axis.set(title=kind, xlabel=units.get(kind, "strength"), ylabel=ylabel, ylim=(0, 1.02))
        sns.despine(ax=axis)
    for axis in axes.flat[len(kinds) :]:
        axis.axis("off")
    axes[0, 0].legend(fontsize=7)
    return figure


def plot_paths(logits, slopes, titles):
    """Plot what the logit does on the way from a baseline to a picture.

    Parameters
    ----------
    logits : ndarray of float, (N, steps)
        The logit at equal steps from the baseline (left) to the picture (right).
    slopes : ndarray of float, (N, steps)
        The length of its gradient there.
    titles : sequence of str
        One a path.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.9), layout="constrained")
    for axis, values, label in zip(axes, (logits, slopes), ("logit", "length of the gradient")):
        for line, title, colour in zip(values, titles, PALETTE, strict=False):
            way = (np.arange(len(line)) + 0.5) / len(line)
            axis.plot(way, line, color=colour, label=title)
        axis.set(xlabel="share of the way from baseline to picture", ylabel=label)
        sns.despine(ax=axis)
    axes[0].axhline(0, color="0.6", linestyle="--", linewidth=1)
    axes[1].legend(fontsize=7)
    return figure


def plot_agreement(table, methods):
    """Plot how alike the maps of two engines are, by rule, over faces.

    Parameters
    ----------
    table : pandas.DataFrame
        `xaifake.explainers.stored.rule_agreement`, or one with its columns.
    methods : sequence of str
        From top to bottom.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axis = plt.subplots(figsize=(8, 0.42 * len(methods) + 0.9), layout="constrained")
    table = table.assign(scale=table.scale.astype(str) + "x")
    settings = {"x": "correlation", "y": "method", "hue": "scale", "order": methods, "ax": axis}
    hues = sorted(table.scale.unique())
    colours = PALETTE[: len(hues)]
    sns.boxplot(
        table, **settings, hue_order=hues, palette=colours, fliersize=0, linewidth=0.8, fill=False
    )
    sns.stripplot(
        table, **settings, hue_order=hues, palette=colours, dodge=True, size=2, alpha=0.5,
        legend=False, jitter=False,
    )  # fmt: skip
    axis.axvline(0, color="grey", lw=0.8)
    axis.set(xlim=(-1.05, 1.05), xlabel="correlation of the two maps, one point a face", ylabel="")
    axis.legend(fontsize=7, loc="lower left", title=None)
    sns.despine(ax=axis)
    return figure


def plot_relevance_depth(table):
    """Plot the relevance that arrives at the layers through which all of it passes.

    Parameters
    ----------
    table : pandas.DataFrame
        `xaifake.explainers.lrp.relevance_by_layer` of one picture for several rules, with a column
        `rule`.

    Returns
    -------
    matplotlib.figure.Figure
        Left the sum and right the size, the sum without signs, as multiples of the logit.
    """
    table = table[table.whole]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for (rule, part), style in zip(table.groupby("rule", sort=False), ("-", "--", "-.", ":")):
        logit = part.relevance.iloc[-1]
        for axis, column in ((left, "relevance"), (right, "size")):
            values = part[column].to_numpy() / logit
            axis.plot(["picture", *part.layer[1:]], values, style, lw=1.8, label=rule)
    left.set(ylabel="sum / logit")
    right.set(ylabel="size / logit", yscale="log")
    left.axhline(0, color="grey", lw=0.6)
    for axis in (left, right):
        axis.tick_params(axis="x", rotation=90, labelsize=6)
        axis.set_xlabel("layer, from the picture to the logit")
        sns.despine(ax=axis)
    left.legend(fontsize=7)
    return figure
