"""Figures of how methods score (chapters 10_perturbations to 14_verdict).

What knows nothing of the detector, a baseline, is orange everywhere; where methods are lines of a
list, this package's are blue and iNNvestigate's purple. As a curve, each has one colour and marker
in all figures. Every function returns the matplotlib figure.
"""

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from xaifake.judge.localisation import BASELINES, means_over_people
from xaifake.show.figures import PALETTE, in_rows, readable, subplots

COLOURS = {"method": PALETTE[0], "iNNvestigate": (0.5, 0.2, 0.5), "baseline": PALETTE[1],
           "experiment": "0.25"}  # fmt: skip
EXPERIMENTS = ("best", "patch_effect")
# Of what is drawn as curves: the same colour, marker and line in every figure.
CURVES = {
    "gradient (absolute)": (PALETTE[0], "o"),
    "gradient": (PALETTE[9], "v"),
    "input_t_gradient": (PALETTE[9], "<"),
    "integrated_gradients": (PALETTE[2], "s"),
    "guided_backprop": ("0.5", "X"),
    "grad_cam": (PALETTE[3], "D"),
    "lime": (PALETTE[5], "P"),
    "lrp.epsilon": (PALETTE[6], ">"),
    "lrp.alpha_1_beta_0": (PALETTE[4], "^"),
    "lrp.sequential_preset_b_flat": (COLOURS["iNNvestigate"], "d"),
    "best": ("black", "*", ":"),
    "patch_effect": (COLOURS["experiment"], "p", ":"),
    "mean mask": (PALETTE[1], "s", "--"),
    "centred Gaussian": (PALETTE[1], "o", "-."),
    "chance": (PALETTE[1], "x", ":"),
    "noise": (PALETTE[1], "x", ":"),
}
FEW = 5  # pictures, of which a share says little
VERDICTS = {"holds": PALETTE[2], "undecided": "0.5", "does not hold": PALETTE[3]}
SHAPES = {"method": "o", "iNNvestigate": "D", "baseline": "s", "experiment": "*"}
NAMES = {"method": "this book", "baseline": "knows nothing", "experiment": "by experiment"}


def kind(method):
    """Tell a baseline, an order by experiment, iNNvestigate's method or this package's by name."""
    for name, known in {"baseline": BASELINES, "experiment": EXPERIMENTS}.items():
        if method in known:
            return name
    return "iNNvestigate" if method.endswith("(iNNvestigate)") else "method"


def plot_scores(panels, reference=None, xlabel="", order=None, named=""):
    """Plot scores with intervals, one line per method, baselines and methods alike.

    All panels have one abscissa, and a legend says whose method a colour stands for.

    Parameters
    ----------
    panels : dict of str to pandas.DataFrame
        By title; columns method, value, low and high.
    reference : float or dict of str to float, optional
        Draw a dashed line here; by title if the panels differ.
    xlabel : str
    order : sequence of str, optional
        Entries from top to bottom; by the first panel's value if not given.
    named : str
        What the dashed line is.
    """
    if order is None:
        first = next(iter(panels.values()))
        order = first.sort_values("value", ascending=False).method.tolist()
    size = (3.4 * len(panels) + 2.0, 1.3 + 0.21 * len(order))
    figure, axes = subplots(1, len(panels), size, sharex=True, sharey=True)
    places, labels = {method: -number for number, method in enumerate(order)}, {}
    for axis, (title, table) in zip(axes[0], panels.items(), strict=True):
        table = table[table.method.isin(order)]
        for name, group in table.groupby(table.method.astype(str).map(kind)):
            y, colour = group.method.astype(str).map(places), COLOURS[name]
            axis.hlines(y, group.low, group.high, color=colour, linewidth=2.5, alpha=0.45)
            points = axis.plot(group.value, y, SHAPES[name], color=colour, markersize=4)
            labels[NAMES.get(name, name)] = points[0]
        line = reference.get(title) if isinstance(reference, dict) else reference
        if line is not None:
            labels[named] = axis.axvline(line, color="0.4", linestyle="--", linewidth=1)
        axis.set(title=title, xlabel=xlabel)
        axis.set_yticks(list(places.values()), [readable(e) for e in order], fontsize=7)
        axis.grid(axis="x", alpha=0.3)
        sns.despine(ax=axis)
    for label, method in zip(axes[0, 0].get_yticklabels(), order, strict=True):
        label.set_color(COLOURS[kind(method)])
    axes[0, 0].set_ylim(-len(order) + 0.4, 0.6)
    shown = {name: line for name, line in labels.items() if name}
    columns = len(shown) if len(panels) > 1 else 2
    place = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": 7}
    figure.legend(shown.values(), shown.keys(), **place)
    return figure


def plot_rank_agreement(table, methods):
    """Plot how alike methods rank the places of a picture.

    Left the plain rank correlation of each pair, right with the centre taken out.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `xaifake.judge.judged("agreement")` for one scale.
    methods : sequence of str
    """
    side = 0.9 + 0.3 * len(methods)
    figure, axes = subplots(1, 2, (2 * side + 1.2, side + 0.6), sharey=True)
    titles = {"rank_correlation": "as they are", "beyond_centre": "beyond the centre"}
    names = [readable(method) for method in methods]
    both = pd.concat([table, table.rename(columns={"method": "other", "other": "method"})])
    for axis, (column, title) in zip(axes[0], titles.items(), strict=True):
        square = both.astype({"method": str, "other": str}).pivot(
            index="method", columns="other", values=column
        )
        sns.heatmap(
            square.reindex(index=methods, columns=methods).to_numpy(), cmap="RdBu_r", vmin=-1,
            vmax=1, annot=True, fmt=".1f", square=True, cbar=axis is axes[0, -1],
            xticklabels=names, yticklabels=names, annot_kws={"fontsize": 6},
            cbar_kws={"shrink": 0.6}, ax=axis,
        )  # fmt: skip
        axis.set_title(title, fontsize=9)
        axis.set_facecolor("0.85")
        axis.tick_params(labelsize=7, length=0)
    return figure


def plot_stability(table, methods, score="correlation", seed=0):
    """Plot how alike the maps of perturbed pictures are, beside what interpolation allows.

    One panel per method; one line per perturbation: the mean with its 95 % interval over people,
    and a dash at the mean of the ceiling. What was not measured says so.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `xaifake.judge.judged("stability")`.
    methods : sequence of str
    score : str
        Column of the table, which also has its ``ceiling_``.
    seed : int
        Of the bootstrap.
    """
    table = table[(table.kind != "seed") & table.method.isin(methods)]
    table = table.assign(label=table.kind + " " + table.strength.map("{:g}".format))
    order = list(dict.fromkeys(table.label))
    columns = min(5, len(methods))
    rows = -(-len(methods) // columns)
    size = (1.15 + 1.45 * columns, 0.3 + rows * (0.6 + 0.2 * len(order)))
    figure, axes = subplots(rows, columns, size, sharex=True, sharey=True)
    for axis in axes.flat[len(methods) :]:
        axis.set_visible(False)
    for axis, method in zip(axes.flat, methods, strict=False):
        part = table[table.method == method]
        means = means_over_people(part, [score], by="label", seed=seed).set_index("label")
        means = means.reindex(order)
        means["ceiling"] = part.groupby("label")[f"ceiling_{score}"].mean()
        places = -np.arange(len(order))
        axis.hlines(places, means.low, means.high, color=PALETTE[0], lw=2.5, alpha=0.45)
        axis.plot(means.value, places, "o", color=PALETTE[0], ms=4)
        axis.plot(means.ceiling, places, "|", color="black", ms=9, mew=1.6)
        for place in places[means.value.isna()]:
            axis.text(0.02, place, "not measured", fontsize=6, color="0.5", va="center")
        axis.set_title(readable(method), fontsize=8)
        axis.set(xlim=(-0.1, 1.05), ylim=(-len(order) + 0.4, 0.6))
        axis.set_yticks(places, order, fontsize=7)
        axis.tick_params(axis="x", labelsize=7)
        axis.axvline(0, color="grey", lw=0.6)
        sns.despine(ax=axis)
    figure.supxlabel(score.replace("_", " "), fontsize=8)
    return figure


def plot_randomisation(table, methods, score, reference=None, named=""):
    """Plot how alike maps stay to the trained network's while its weights are shuffled.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `xaifake.judge.judged("randomisation")`.
    methods : sequence of str
    score : str
    reference : float, optional
        Draw a dashed line here.
    named : str
        What the dashed line is.
    """
    figure, axes = subplots(1, 2, (8.6, 3.4), sharey=True)
    titles = {"top_down": "from the logit down", "bottom_up": "from the picture up"}
    for axis, (order, title) in zip(axes[0], titles.items(), strict=True):
        for method, look in _looks(methods):
            part = table[(table.order == order) & (table.method == method)]
            means = part.groupby("shuffled")[score].mean()
            axis.plot([0, *means.index], [1, *means], **look, label=readable(method))
        axis.axhline(0, color="grey", lw=0.6)
        if reference is not None:
            axis.axhline(reference, color="0.3", linestyle="--", lw=1, label=named)
        axis.set(title=title, xlabel="share of the layers that are shuffled")
    names = {"ssim": "structural similarity"}
    return _with_legend(figure, axes, names.get(score, score.replace("_", " ")))


def _looks(methods):
    """Yield methods with how their curves look: `CURVES`, or what colours are left."""
    for method, spare in zip(methods, sns.color_palette("husl", len(methods)), strict=True):
        colour, marker, *style = CURVES.get(method, (spare, "."))
        style = style[0] if style else "-"
        yield method, {"color": colour, "marker": marker, "ms": 4, "lw": 1.5, "linestyle": style}


def _with_legend(figure, axes, ylabel):
    """Name the lines of the first panel beside the figure, and its ordinate."""
    for axis in axes.flat:
        sns.despine(ax=axis)
    axes[0, 0].set_ylabel(ylabel)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize=7, loc="outside right center")
    return figure


def plot_planted(table, methods):
    """Plot where methods find a planted cue, by its size and contrast.

    One panel per method with the share of found cues, and first the detector's own AUC. White where
    the detector finds none, and in brackets where it finds fewer than `FEW`.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `xaifake.judge.judged("planted")`, planted in all.
    methods : sequence of str
    """
    detected = table.groupby(["size", "contrast"]).detection.mean().unstack()
    cells = table.groupby(["method", "size", "contrast"], observed=True).found
    found, counts = cells.mean().unstack(), cells.count().unstack()
    grids = {"detector's AUC": (detected, None)}
    for method in methods:
        grids[readable(method)] = found.loc[method].reindex_like(detected), counts.loc[method]
    figure, axes = in_rows(len(grids), min(5, len(grids)), 1.75, 1.7)
    for axis, (title, (grid, count)) in zip(axes.flat, grids.items(), strict=False):
        axis.axis("on")
        text = grid.map("{:.1f}".format)
        if count is not None:
            text = text.where(count.reindex_like(grid).fillna(FEW) >= FEW, "(" + text + ")")
        sns.heatmap(
            grid.iloc[::-1], cmap="viridis", vmin=0, vmax=1, annot=text.iloc[::-1], fmt="",
            cbar=False, annot_kws={"fontsize": 6}, ax=axis,
        )  # fmt: skip
        axis.set_title(title, fontsize=7)
        axis.set_xticklabels([f"{c:g}" for c in grid.columns])
        axis.tick_params(labelsize=6, length=0)
        axis.tick_params(axis="y", rotation=0)
        axis.set(xlabel="", ylabel="")
    figure.supxlabel("contrast, grey levels", fontsize=8)
    figure.supylabel("size, pixels", fontsize=8)
    return figure


def plot_restored(means, methods):
    """Plot how much of the logit gap goes as the original's cells are put back.

    Parameters
    ----------
    means : pandas.DataFrame
        Columns method, percent, value, a share of the gap, and the ends of its interval, low and
        high.
    methods : sequence of str
    """
    figure, axis = plt.subplots(figsize=(6.6, 3.6), layout="constrained")
    for method, look in _looks(methods):
        part = means[means.method == method].sort_values("percent")
        axis.vlines(part.percent, part.low, part.high, color=look["color"], alpha=0.3, lw=3)
        axis.plot([0, *part.percent], [0, *part.value], **look, label=readable(method))
    axis.set(xlabel="percent of the picture put back", ylabel="share of the logit gap gone")
    axis.set_xticks([0, *sorted(set(means.percent))])
    axis.axhline(1, color="grey", lw=0.6)
    figure.legend(fontsize=7, loc="outside right center")
    sns.despine(ax=axis)
    return figure


def plot_filling(table, methods):
    """Plot the logit while cells are deleted from fakes, by fill.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `xaifake.judge.judged("filling")` for one act.
    methods : sequence of str
    """
    fills = list(dict.fromkeys(table.fill))
    figure, axes = subplots(1, len(fills), (3.4 * len(fills) + 1.8, 3.2), sharey=True)
    for axis, filled in zip(axes[0], fills, strict=True):
        for method, look in _looks(methods):
            part = table[(table.fill == filled) & (table.method == method)]
            means = part.groupby("share").logit.mean()
            axis.plot(means.index, means, **look, label=readable(method))
        axis.axhline(0, color="grey", lw=0.8, label="between real and fake")
        axis.set(title=f"filled with {filled}", xlabel="share of the picture that is filled")
    return _with_legend(figure, axes, "mean logit")


def plot_verdicts(table, titles=None):
    """Plot the intervals of all claims, each by how far it lies beyond its margin (a forest plot).

    Parameters
    ----------
    table : pandas.DataFrame
        Of `xaifake.judge.verdict.verdicts`; or of `specifications`, whose lines are then named by
        what was changed.
    titles : dict of str to str, optional
        What a line is called instead of its id.
    """
    table = table[table.verdict != "not tested"]
    name = "specification" if "specification" in table else "claim"
    order = list(dict.fromkeys(table[name]))
    scales = sorted(table.scale.unique())
    size = (3.2 * len(scales) + 2.6, 1.15 + 0.24 * len(order))
    figure, axes = subplots(1, len(scales), size, sharey=True)
    for axis, scale in zip(axes[0], scales, strict=True):
        for row in table[table.scale == scale].itertuples():
            sign = 1 if row.claimed == "above" else -1
            ends = [sign * (end - row.margin) for end in (row.low, row.high, row.value)]
            place, colour = -order.index(getattr(row, name)), VERDICTS[row.verdict]
            axis.hlines(place, ends[0], ends[1], color=colour, linewidth=2.5, alpha=0.5)
            axis.plot(ends[2], place, "o", color=colour, markersize=5)
        axis.axvline(0, color="0.4", linestyle="--", linewidth=1)
        axis.set(title=f"{scale:.1f}x", xlabel="beyond the margin, as claimed")
        axis.set_yticks([-n for n in range(len(order))], [(titles or {}).get(o, o) for o in order])
        axis.tick_params(axis="y", labelsize=8)
        axis.grid(axis="x", alpha=0.3)
        sns.despine(ax=axis)
    handles = [plt.Line2D([], [], color=c, marker="o", label=v) for v, c in VERDICTS.items()]
    figure.legend(handles=handles, fontsize=7, ncols=3, loc="outside upper right", frameon=False)
    return figure


def plot_summary(table, better):
    """Plot a table of methods by criteria, each column coloured from its worst to its best.

    Parameters
    ----------
    table : pandas.DataFrame
        Numbers, one row per method and one column per criterion; NaN where not measured.
    better : dict of str to (float, float)
        By column: the values of the palest and the darkest colour.
    """
    shades = table.copy().astype(float)
    for column, (worst, best) in better.items():
        shades[column] = ((table[column] - worst) / (best - worst)).clip(0, 1)
    text = table.map(lambda v: "" if np.isnan(v) else f"{v:.2f}" if abs(v) < 10 else f"{v:.0f}")
    size = (1.7 + 0.95 * table.shape[1], 0.9 + 0.26 * len(table))
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    sns.heatmap(
        shades.rename(index=readable, columns=lambda name: fill(name, 11)), annot=text.to_numpy(),
        fmt="", cmap="Blues", vmin=0, vmax=1.25, cbar=False, linewidths=0.5,
        annot_kws={"fontsize": 7}, ax=axis,
    )  # fmt: skip
    axis.set_facecolor("0.9")
    axis.xaxis.tick_top()
    axis.tick_params(labelsize=7, length=0)
    axis.set(xlabel="", ylabel="")
    return figure
