"""Write book/related_work.md: what other papers found, beside the nearest numbers of this book.

    python tools/related_work.py

Our numbers, and every word on agreement, come from the shipped tables of `xaifake judge`.
"""

from itertools import combinations
from pathlib import Path

import jinja2
import pandas as pd

import chapters
from xaifake.judge.localisation import BASELINES
from xaifake.judge.verdict import FAILS, HOLDS, OPEN, UNIT, UNTESTED, verdicts

PAGE = chapters.ROOT / "book" / "related_work.md"
FACE = [*UNIT, "video", "frame"]
PARTS = ("eyes", "nose", "mouth", "jaw")
WORDS = {HOLDS: "points the same way", FAILS: "does not", OPEN: "is undecided",
         UNTESTED: "not measured"}  # fmt: skip


def less(one, other, keys, column):
    """Pair rows by keys, with the difference of a column as their value."""
    both = one.merge(other, on=keys, suffixes=("", "_other"))
    return both.assign(value=both[column] - both[f"{column}_other"], weight=1)


def rank_correlation(one, other):
    """Return Spearman's correlation of the rows of two tables over the columns they share."""
    shared = one.columns.intersection(other.columns)
    return one[shared].rank(axis=1).corrwith(other[shared].rank(axis=1), axis=1)


def attacked(tables, method, against):
    """How many more fakes are called real after an attack on what one map names than another's."""
    rows = tables.need("attacked").assign(real=lambda table: (table.attacked <= 0) * 1.0)
    pair = [rows[rows.method == name] for name in (method, against)]
    return less(*pair, [*FACE, "top"], "real")


def parts(tables, method):
    """Of whole-face fakes: do the parts with more relevance take more of the gap when put back?"""
    relevance = tables.need("localisation", method=method, region="whole")
    both = relevance.merge(tables.need("regions", region="whole"), on=FACE)
    named = [both[[f"{what}_{part}" for part in PARTS]].set_axis(PARTS, axis=1)
             for what in ("mass_region", "without")]  # fmt: skip
    return both.assign(value=rank_correlation(*named), weight=1)


def order(tables, test):
    """Return how a test scores methods (columns) on each person (rows); higher is better."""
    keys = [*UNIT, "method"]
    if test == "put back":
        gone = tables.need("faithfulness").groupby(keys)[["logit_drop_10", "gap"]].sum()
        return (gone.logit_drop_10 / gone.gap).unstack()
    act, fill = test.split()
    logits = tables.need("filling", act=act, fill=fill).groupby(keys).logit.mean().unstack()
    return -logits if act == "deletion" else logits


def orders(tables, one, other, minus=None):
    """For each person, the rank correlation of methods by two tests, minus that by a third."""
    value = rank_correlation(order(tables, one), order(tables, other))
    if minus:
        value -= rank_correlation(order(tables, minus), order(tables, other))
    return value.rename("value").reset_index().assign(weight=1)


def pairs(tables, methods):
    """Rank correlation of the maps of each pair of methods, with their signs."""
    table = tables.need("agreement" if tables("alike") is None else "alike")
    chosen = [table[table.method.isin(two) & table.other.isin(two)]
              for two in combinations(methods, 2)]  # fmt: skip
    rows = pd.concat(chosen)
    return rows.assign(value=rows.rank_correlation, target=rows.get("target", ""), weight=1)


def planted(tables, name, score, **which):
    """Share of the planted cues that methods find."""
    rows = tables.need(name, **which)
    rows = rows[~rows.method.isin([*BASELINES, "patch_effect"])]
    return rows.assign(value=rows[score], target=rows.get("target", ""), weight=1)


def hidden(tables):
    """How much less of a cue that removes texture maps show than of one that adds it."""
    rows = planted(tables, "planted_xception", "auc", relevance="with", sign="positive")
    pair = [rows[rows.cue == f"{kind}-local"].drop(columns="value") for kind in ("removes", "adds")]
    return less(*pair, [*FACE, "method"], "auc")


_SIZE, _GREY = "gradient (absolute)", "deletion grey"
_TENTH = {"method": "lime", "share": 10}
_WHOLE = {"method": _SIZE, "region": "whole"}
_OWN = ("lime", "lrp.sequential_preset_b_flat (iNNvestigate)", "integrated_gradients",
        "guided_backprop")  # fmt: skip
_CUES = {"name": "planted_xception", "score": "pointing", "relevance": "with", "sign": "positive"}
# What is measured, and on which side of which margin it points the way of the paper: those without
# one are not judged.
NUMBERS = {
    "mask": ("mass", _WHOLE | {"against": "chance"}),
    "mean_mask": ("mass", _WHOLE | {"against": "mean mask"}),
    "attack": (attacked, {"method": "lime", "against": "grad_cam"}, "above", 0),
    "grad_cam": ("closes", _TENTH | {"against": "grad_cam"}, "above", 0),
    "size": ("closes", _TENTH | {"against": _SIZE}, "above", 0),
    "fill": ("closes", {"method": "lime (slic)", "against": "lime", "share": 10}),
    "parts": (parts, {"method": _SIZE}),
    "areas": (parts, {"method": "chance"}),
    "acts": (orders, {"one": _GREY, "other": "insertion grey"}, "below", 0.5),
    "road": (orders, {"one": "deletion road", "other": "put back", "minus": _GREY}, "above", 0),
    "pairs": (pairs, {"methods": _OWN}, "below", 0.5),
    "fills": (orders, {"one": _GREY, "other": "deletion blur"}, "below", 0.5),
    "back": (orders, {"one": _GREY, "other": "put back"}, "below", 0.5),
    "cues": (planted, _CUES, "below", 0.5),
    "small_network": (planted, {"name": "planted", "score": "found", "partly": False}),
    "hidden": (hidden, {}, "below", 0),
}


def measured(name, folder=None):
    """Return the rows of `verdicts` for one of `NUMBERS`, a list of dicts, one per scale."""
    quantity, how, claimed, margin = (*NUMBERS[name], "above", 0)[:4]
    claim = {"id": name, "quantity": quantity, "with": how, "claimed": claimed, "margin": margin}
    return verdicts(folder, [claim]).to_dict("records")


def points(rows):
    """Say whether ours points the way of the paper, by the rule of the registered claims."""
    if rows[0].get("people") == 1:
        return "has no interval"
    found = {row["verdict"] for row in rows}
    return WORDS[found.pop() if len(found) == 1 else OPEN]


def number(rows):
    """Say what was measured, on whom, and whether it points the way of the paper."""
    if rows[0]["verdict"] == UNTESTED:
        return f"not measured with the shipped tables ({rows[0]['note']})"
    (quantity, *_), judged = NUMBERS[rows[0]["claim"]], len(NUMBERS[rows[0]["claim"]]) > 2
    several = rows[0]["people"] > 1
    values = [f"{row['value']:+.2f}" + f" [{row['low']:+.2f}, {row['high']:+.2f}]" * several
              + f" at {row['scale']:.1f}x" for row in rows]  # fmt: skip
    if not several:
        return f"{', '.join(values)} (no interval: people are not told apart)"
    named = ("people",) if quantity in (orders, pairs) else ("faces", "people")
    named += ("detectors",) * (rows[0]["detectors"] > 1)
    on = [f"{' and '.join(dict.fromkeys(str(row[what]) for row in rows))} {what}" for what in named]
    return f"{', '.join(values)} ({', '.join(on)})" + f". Ours {points(rows)}" * judged


def page(folder=None):
    """Return the text of the page, from the shipped tables if no folder of `judge` is given."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined,
        trim_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    rows = {name: measured(name, folder) for name in NUMBERS}
    given = {said.__name__: {name: said(found) for name, found in rows.items()}
             for said in (number, points)}  # fmt: skip
    return environment.get_template("related_work.md.jinja").render(given, differ=WORDS[FAILS])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
