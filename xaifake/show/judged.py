"""Figures of how methods score (chapters 09_localisation to 11_verdict).

What knows nothing of the detector, a baseline, is orange everywhere; this package's methods are
blue, iNNvestigate's purple.
"""

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from xaifake.judge.localisation import BASELINES
from xaifake.show.figures import PALETTE

COLOURS = {"method": PALETTE[0], "iNNvestigate": (0.5, 0.2, 0.5), "baseline": PALETTE[1]}
SHAPES = {"method": "o", "iNNvestigate": "D", "baseline": "s"}
SHORT = {
    "lrp.sequential_preset_": "lrp preset ",
    "integrated_gradients": "integrated gradients",
    "_": " ",
    " (iNNvestigate)": " (iNN)",
}


def kind(entry):
    """Tell a baseline, iNNvestigate's method or this package's by its name."""
    if entry in BASELINES:
        return "baseline"
    return "iNNvestigate" if entry.endswith("(iNNvestigate)") else "method"


def short(entry):
    """Return a name that fits beside a figure."""
    for long, brief in SHORT.items():
        entry = entry.replace(long, brief)
    return entry


def plot_scores(panels, reference=None, xlabel="", order=None):
    """Plot scores with intervals, one line an entry, baselines and methods alike.

    Parameters
    ----------
    panels : dict of str to pandas.DataFrame
        By title; columns entry, value, low and high.
    reference : float or dict of str to float, optional
        Draw a dashed line here; by title if the panels differ.
    xlabel : str
    order : sequence of str, optional
        Entries from top to bottom; by the first panel's value if not given.

    Returns
    -------
    matplotlib.figure.Figure
    """
    tables = list(panels.values())
    if order is None:
        order = tables[0].sort_values("value", ascending=False).entry.tolist()
    size = (3.4 * len(panels) + 2.0, 0.9 + 0.21 * len(order))
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, squeeze=False, sharey=True, layout="constrained"
    )
    places = {entry: -number for number, entry in enumerate(order)}
    for axis, (title, table) in zip(axes[0], panels.items(), strict=True):
        table = table[table.entry.isin(order)]
        _draw_scores(axis, table, places)
        line = reference.get(title) if isinstance(reference, dict) else reference
        if line is not None:
            axis.axvline(line, color="0.4", linestyle="--", linewidth=1)
        axis.set(title=title, xlabel=xlabel)
        axis.set_yticks(list(places.values()), [short(e) for e in order], fontsize=7)
        axis.grid(axis="x", alpha=0.3)
        sns.despine(ax=axis)
    for label, entry in zip(axes[0, 0].get_yticklabels(), order, strict=True):
        label.set_color(COLOURS[kind(entry)])
    axes[0, 0].set_ylim(-len(order) + 0.4, 0.6)
    return figure


def _draw_scores(axis, table, places):
    for name, group in table.groupby(table.entry.astype(str).map(kind)):
        y = group.entry.astype(str).map(places)
        axis.hlines(y, group.low, group.high, color=COLOURS[name], linewidth=2.5, alpha=0.45)
        axis.plot(group.value, y, SHAPES[name], color=COLOURS[name], markersize=4)


def plot_region_shares(table, limit=0.4):
    """Plot where the relevance of each entry lies, region by region.

    Parameters
    ----------
    table : pandas.DataFrame
        Shares from 0 to 1, one row an entry and one column a region.
    limit : float
        Share of the darkest colour.

    Returns
    -------
    matplotlib.figure.Figure
    """
    size = (1.5 + 0.75 * table.shape[1] + 1.6, 0.8 + 0.24 * len(table))
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    sns.heatmap(
        table.rename(index=short), annot=True, fmt=".2f", cmap="Blues", vmin=0, vmax=limit,
        cbar=False, linewidths=0.5, annot_kws={"fontsize": 7}, ax=axis,
    )  # fmt: skip
    axis.tick_params(labelsize=7, length=0)
    axis.xaxis.tick_top()
    axis.set(xlabel="", ylabel="")
    return figure


def plot_rank_agreement(table, entries):
    """Plot how alike methods rank the places of a picture.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `xaifake.judge.judged("agreement")` for one scale.
    entries : sequence of str

    Returns
    -------
    matplotlib.figure.Figure
        Left the plain rank correlation of each pair, right with the centre taken out.
    """
    side = 0.9 + 0.3 * len(entries)
    size = (2 * side + 1.2, side + 0.6)
    figure, axes = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    titles = {"rank_correlation": "as they are", "beyond_centre": "beyond the centre"}
    for axis, (column, title) in zip(axes, titles.items(), strict=True):
        square = np.full((len(entries),) * 2, np.nan)
        for row in table.itertuples():
            if row.entry in entries and row.other in entries:
                i, j = entries.index(row.entry), entries.index(row.other)
                square[i, j] = square[j, i] = getattr(row, column)
        names = [short(entry) for entry in entries]
        sns.heatmap(
            square, cmap="RdBu_r", vmin=-1, vmax=1, annot=True, fmt=".1f", square=True,
            cbar=axis is axes[-1], xticklabels=names, yticklabels=names,
            annot_kws={"fontsize": 6}, cbar_kws={"shrink": 0.6}, ax=axis,
        )  # fmt: skip
        axis.set_title(title, fontsize=9)
        axis.set_facecolor("0.85")
        axis.tick_params(labelsize=7, length=0)
    return figure


def plot_stability(table, entries, score="correlation"):
    """Plot how alike the maps of perturbed pictures are, beside what interpolation allows.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `xaifake.judge.judged("stability")`.
    entries : sequence of str
    score : str
        Column of the table, which also has its ``ceiling_``.

    Returns
    -------
    matplotlib.figure.Figure
        One panel an entry; one line a perturbation, its mean and a dash at its ceiling.
    """
    table = table[(table.kind != "seed") & table.entry.isin(entries)]
    label = table.kind + " " + table.strength.map("{:g}".format)
    order = list(dict.fromkeys(label))
    width = 1.15 + 1.25 * len(entries)
    figure, axes = plt.subplots(
        1, len(entries), figsize=(width, 0.8 + 0.24 * len(order)), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, entry in zip(axes[0], entries, strict=True):
        part = table[table.entry == entry].assign(label=label)
        means = part.groupby("label")[[score, f"ceiling_{score}"]].mean().reindex(order)
        places = -np.arange(len(order))
        axis.barh(places, means[score], color=PALETTE[0], height=0.6)
        axis.plot(means[f"ceiling_{score}"], places, "|", color="black", ms=9, mew=1.6)
        axis.set_title(short(entry).replace(" ", "\n", 1), fontsize=7)
        axis.set(xlim=(min(0, means[score].min()) - 0.02, 1.05))
        axis.set_yticks(places, order, fontsize=7)
        axis.tick_params(axis="x", labelsize=7)
        axis.axvline(0, color="grey", lw=0.6)
        sns.despine(ax=axis)
    figure.supxlabel(score.replace("_", " "), fontsize=8)
    return figure


def plot_randomisation(table, entries, score, reference=None):
    """Plot how alike maps stay to the trained network's while its weights are shuffled.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `xaifake.judge.judged("randomisation")`.
    entries : sequence of str
    score : str
    reference : float, optional
        Draw a dashed line here.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.4), sharey=True, layout="constrained")
    titles = {"top_down": "from the logit down", "bottom_up": "from the picture up"}
    styles = dict(zip(entries, ("-", "--", "-.", ":") * len(entries), strict=False))
    for axis, (order, title) in zip(axes, titles.items(), strict=True):
        for entry, colour in zip(
            entries, sns.color_palette("colorblind", len(entries)), strict=True
        ):
            part = table[(table.order == order) & (table.entry == entry)]
            means = part.groupby("shuffled")[score].mean()
            axis.plot([0, *means.index], [1, *means], styles[entry], color=colour, marker="o",
                      ms=3, label=short(entry))  # fmt: skip
        axis.axhline(0, color="grey", lw=0.6)
        if reference is not None:
            axis.axhline(reference, color="0.3", linestyle="--", lw=1)
        axis.set(title=title, xlabel="share of the layers that are shuffled")
        sns.despine(ax=axis)
    axes[0].set_ylabel(score.replace("_", " "))
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="outside right center")
    return figure


def plot_planted(table, entries):
    """Plot where methods find a planted cue, by its size and contrast.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `xaifake.judge.judged("planted")`, planted in all.
    entries : sequence of str

    Returns
    -------
    matplotlib.figure.Figure
        One panel an entry with the share of found cues, and first the detector's own AUC. White
        where the detector finds none.
    """
    columns = min(5, len(entries) + 1)
    rows = -(-(len(entries) + 1) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.75 * columns, 1.7 * rows), squeeze=False, layout="constrained"
    )
    grids = {"detector's AUC": table.groupby(["size", "contrast"]).detection.mean().unstack()}
    for entry in entries:
        part = table[table.entry == entry]
        found = part.groupby(["size", "contrast"]).found.mean().unstack()
        grids[short(entry)] = found.reindex_like(grids["detector's AUC"])
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, grid) in zip(axes.flat, grids.items(), strict=False):
        axis.axis("on")
        sns.heatmap(
            grid.iloc[::-1], cmap="viridis", vmin=0, vmax=1, annot=True, fmt=".1f", cbar=False,
            annot_kws={"fontsize": 6}, ax=axis,
        )  # fmt: skip
        axis.set_title(title, fontsize=7)
        axis.set_xticklabels([f"{c:g}" for c in grid.columns])
        axis.tick_params(labelsize=6, length=0)
        axis.set(xlabel="", ylabel="")
    figure.supxlabel("contrast, grey levels", fontsize=8)
    figure.supylabel("size, pixels", fontsize=8)
    return figure


def plot_put_back(means, entries):
    """Plot how much of the logit gap goes as the twin's cells are put back.

    Parameters
    ----------
    means : pandas.DataFrame
        Columns entry, percent and value, a share of the gap.
    entries : dict of str to str
        Entries and what to call them.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axis = plt.subplots(figsize=(6.6, 3.6), layout="constrained")
    known = {"best": "black", "cause": "0.45"}
    others = iter(sns.color_palette("colorblind", len(entries)))
    for entry, name in entries.items():
        part = means[means.entry == entry].sort_values("percent")
        baseline = kind(entry) == "baseline"
        axis.plot(
            [0, *part.percent], [0, *part.value], label=name, lw=1.8,
            color=known.get(entry) or next(others), marker="s" if baseline else "o", ms=4,
            linestyle="--" if baseline else ":" if entry in known else "-",
        )  # fmt: skip
    axis.set(xlabel="percent of the picture put back", ylabel="share of the logit gap gone")
    axis.axhline(1, color="grey", lw=0.6)
    figure.legend(fontsize=7, loc="outside right center")
    sns.despine(ax=axis)
    return figure


def plot_filling(table, entries):
    """Plot the logit while cells are deleted from fakes, by fill.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `xaifake.judge.judged("filling")` for one act.
    entries : dict of str to str
        Entries and what to call them.

    Returns
    -------
    matplotlib.figure.Figure
    """
    fills = list(dict.fromkeys(table.fill))
    size = (3.4 * len(fills) + 1.8, 3.2)
    figure, axes = plt.subplots(1, len(fills), figsize=size, sharey=True, layout="constrained")
    for axis, filled in zip(axes, fills, strict=True):
        for (entry, name), colour in zip(
            entries.items(), sns.color_palette("colorblind", len(entries)), strict=True
        ):
            part = table[(table.fill == filled) & (table.entry == entry)]
            means = part.groupby("share").logit.mean()
            style = "--" if kind(entry) == "baseline" else "-"
            axis.plot(means.index, means, style, color=colour, marker="o", ms=3, label=name)
        axis.axhline(0, color="grey", lw=0.8)
        axis.set(title=f"filled with {filled}", xlabel="share of the picture")
        sns.despine(ax=axis)
    axes[0].set_ylabel("mean logit")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="outside right center")
    return figure


def plot_summary(table, better):
    """Plot a table of methods by criteria, each column coloured from its worst to its best.

    Parameters
    ----------
    table : pandas.DataFrame
        Numbers, one row an entry and one column a criterion; NaN where not measured.
    better : dict of str to (float, float)
        By column: the values of the palest and the darkest colour.

    Returns
    -------
    matplotlib.figure.Figure
    """
    shades = table.copy().astype(float)
    for column, (worst, best) in better.items():
        shades[column] = ((table[column] - worst) / (best - worst)).clip(0, 1)
    text = table.map(lambda v: "" if np.isnan(v) else f"{v:.2f}" if abs(v) < 10 else f"{v:.0f}")
    size = (1.7 + 0.95 * table.shape[1], 0.9 + 0.26 * len(table))
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    sns.heatmap(
        shades.rename(index=short, columns=lambda name: fill(name, 11)), annot=text.to_numpy(),
        fmt="", cmap="Blues", vmin=0, vmax=1.25,
        cbar=False, linewidths=0.5, annot_kws={"fontsize": 7}, ax=axis,
    )  # fmt: skip
    axis.set_facecolor("0.9")
    axis.xaxis.tick_top()
    axis.tick_params(labelsize=7, length=0)
    axis.set(xlabel="", ylabel="")
    return figure
