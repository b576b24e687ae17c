"""Write the measured costs of explanations into the page "At scale", and draw their growth.

    python tools/scale_page.py

Reads xaifake/assets/benchmarks/explanations.csv, which `python benchmarks/explanations.py --store`
writes, and what `python benchmarks/lrp.py --store` measured of three LRP engines; fills the places
of book/scale.md that are marked by comments, and draws book/images/costs.svg.
"""

import math
import re

import matplotlib.pyplot as plt
import pandas as pd

import chapters
from xaifake.data.marks import FIGURE, marked
from xaifake.explainers.stored import lrp_benchmark

PAGE = chapters.ROOT / "book" / "scale.md"
PICTURE = chapters.ROOT / "book" / "images" / "costs.svg"
TABLE = chapters.ROOT / "xaifake" / "assets" / "benchmarks" / "explanations.csv"
PANELS = {
    "size": "side of the picture (pixels)",
    "pictures": "pictures in a batch",
    "num_samples": "samples of LIME",
    "steps": "steps of Integrated Gradients",
}
MARKED = re.compile(r"(?<=<!-- (\w{7}) -->\n).*?(?=\n<!-- /\1 -->)", re.DOTALL)


def methods_table(costs):
    """Return a Markdown table: seconds and forward passes per face, and memory, by method."""
    measured = costs[costs.part == "method"]
    found = measured.pivot(index="method", columns="at")
    memory = costs[costs.part == "memory"].set_index("method").megabytes
    batches = sorted(found.seconds.columns)
    head = [f"{what}, batch {batch:.0f}" for what in ("seconds", "passes") for batch in batches]
    lines = [f"| method | {' | '.join(head)} | MB at 64 |", "| --- " * (len(head) + 2) + "|"]
    for name in measured.method.unique():
        cells = [name if name == "forward pass" else f"`{name}`"]
        cells += [f"{found.seconds[batch][name]:.3f}" for batch in batches]
        cells += [f"{found.passes[batch][name]:.1f}" for batch in batches]
        cells += [f"{memory[name]:,.0f}" if name in memory else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def engines_table(speed):
    """Return a Markdown table: maps per second (and passes), and the first map's seconds."""
    engines, speed = ("xaifake", "innvestigate", "zennit"), speed.set_index(["rule", "engine"])
    lines = [f"| | {' | '.join(f'`{engine}`' for engine in engines)} |", "| --- " * 4 + "|"]
    rules = list(dict.fromkeys(speed.index.get_level_values("rule")))
    for rule in rules:
        rows = [speed.loc[rule, engine] for engine in engines]
        cells = [f"{row.maps_per_second:.1f} ({row.passes:.1f})" for row in rows]
        lines.append(f"| `{rule}` | {' | '.join(cells)} |")
    for rule in rules:
        waits = [speed.loc[(rule, engine), "first_map_s"] for engine in engines]
        if not any(map(math.isnan, waits)):
            cells = " | ".join(f"{wait:.1f} s" for wait in waits)
            lines.append(f"| first map, `{rule}` | {cells} |")
    return "\n".join(lines)


def growth_figure(costs):
    """Return a figure of seconds per face against size, batch, samples and steps."""
    figure, axes = plt.subplots(2, 2, figsize=(8, 6.4), layout="constrained")
    for axis, (part, label) in zip(axes.flat, PANELS.items(), strict=True):
        points = costs[costs.part == part]
        for name, line in points.groupby("method", sort=False):
            axis.loglog(line["at"], line.seconds, marker="o", markersize=4, label=name)
        ticks = sorted(points["at"].unique())
        axis.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        axis.minorticks_off()
        axis.set(xlabel=label, ylabel="seconds per face")
        # Above the lines, which would else run behind it.
        axis.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
        axis.grid(alpha=0.3)
    return figure


def filled(page, costs):
    """Return the page's text with the tables made anew from what was measured."""
    tables = {"methods": methods_table(costs), "engines": engines_table(lrp_benchmark())}
    return MARKED.sub(lambda found: f"\n{tables[found[1]]}\n", page)


if __name__ == "__main__":
    costs = pd.read_csv(TABLE)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), costs), encoding="utf-8")
    plt.rcParams["svg.hashsalt"] = "xaifake"  # the same picture, the same bytes
    growth_figure(costs).savefig(PICTURE, metadata={"Date": None})
    PICTURE.write_bytes(marked(PICTURE.read_bytes(), FIGURE))
