"""What each claim of the paper is worth, by rules that were registered first (chapter 14_verdict).

``assets/judge/claims.json`` says of each claim which quantity is measured, from which margin on it
holds, and why. It was written before the numbers of the cross-fitted detectors existed and is never
edited: a correction is a new entry, and a change of the rule stands under "rule_changes".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from xaifake.errors import UserError
from xaifake.judge.localisation import BASELINES, region_contrast
from xaifake.judge.runner import STORED, judged
from xaifake.scales import SCALES

CLAIMS = STORED / "claims.json"
HOLDS, FAILS, OPEN, UNTESTED = "holds", "does not hold", "undecided", "not tested"
RESAMPLES = 2000
FEW = 6  # people; the interval over five covers 84 % instead of 95, and decides nothing
UNIT = ["scale", "fold", "target"]
SINGLE = ("eyes", "nose", "mouth", "left_half", "right_half")
# Of DeepFakeDetection, FaceForensics++ (whose method comes first) and Celeb-DF.
SOURCE = r"^(?:[A-Za-z][A-Za-z0-9]*_)?(?:\d+_(?=\d)|id\d+_(?=id))((?:id)?\d+)(?:_|$)"
LEAST_AGREEMENT = 0.5  # of a method with itself: less is noise, which keeps nothing


def read_claims(path: str | Path | None = None) -> list[dict]:
    """Return the registered claims, one dict each, in the order of the file.

    Parameters
    ----------
    path : str or Path, optional
        Of a file of the same form; the package's own if not given.
    """
    return json.loads(Path(path or CLAIMS).read_text(encoding="utf-8"))["claims"]


def verdicts(
    folder: str | Path | None = None,
    claims: list[dict] | None = None,
    seed: int = 0,
    sources: bool = True,
) -> pd.DataFrame:
    """Give the verdict on each claim, by its registered rule.

    Parameters
    ----------
    folder : str or Path, optional
        The `out` of `xaifake.judge.judge`; what was measured on the shipped detectors if not given.
    claims : list of dict, optional
        As of `read_claims`, which is asked if not given. A claim's "quantity" may also be a
        function like those of `QUANTITIES`.
    seed : int
        Of the draws.
    sources : bool
        People are drawn as the sources of swaps, too; False for the rule as it was first.

    Returns
    -------
    pandas.DataFrame
        One row per claim and scale: `claim` (its id), `scale`, `value`, `low` and `high` (a 95 %
        interval over people and, where there are several, detectors), `margin`, `claimed` ("above"
        or "below"), `verdict`, and over how many `faces` (those told apart by video and frame),
        `people` (targets) and `detectors`. A claim that cannot be tested has one row, with the
        reason in `note`.
    """
    tables = _Tables(folder, sources)
    rows = [row for claim in claims or read_claims() for row in _judge(claim, tables, seed)]
    return pd.DataFrame(rows)


def both_scales(table: pd.DataFrame) -> pd.Series:
    """Return one verdict per claim: that of both scales if they agree, else "undecided".

    Parameters
    ----------
    table : pandas.DataFrame
        Of `verdicts`.

    Returns
    -------
    pandas.Series of str
        By claim. An undecided one that was decided at one scale says why it does not count:
        "(one scale)" if the other was not measured, "(scales differ)" if it says something else.
    """
    return table.groupby("claim", sort=False).verdict.agg(_both)


def _both(found):
    if set(found) <= {OPEN} or UNTESTED in set(found):
        return found.iloc[0]
    if len(found) < len(SCALES):
        return f"{OPEN} (one scale)"
    return found.iloc[0] if found.nunique() == 1 else f"{OPEN} (scales differ)"


def specifications(claim: dict, folder: str | Path | None = None, seed: int = 0) -> pd.DataFrame:
    """Measure a claim in every way that its entry lists beside the registered one.

    Parameters
    ----------
    claim : dict
        Of `read_claims`.
    folder, seed
        As in `verdicts`.

    Returns
    -------
    pandas.DataFrame
        The columns of `verdicts`, one row per specification and scale, the registered one first,
        and `specification`: what is changed against it, such as "share=5"; then each detector
        alone, where there are several. Specifications that were not measured are left out.
    """
    tables, rows = _Tables(folder), []
    changes = [{}, *({name: value} for name, values in claim["vary"].items() for value in values)]
    for change in changes:
        said = ", ".join(f"{name}={_said(value)}" for name, value in change.items())
        varied = claim | {"with": claim["with"] | change}
        rows += [row | {"specification": said or "registered"}
                 for row in _judge(varied, tables, seed)]  # fmt: skip
    values = _measure(claim, tables)
    if isinstance(values, pd.DataFrame):
        for (scale, fold), one in values.groupby(["scale", "fold"]):
            if values[values.scale == scale].fold.nunique() > 1:
                row = _row(claim, scale, one, seed)
                rows.append(row | {"specification": f"detector {fold:g}"})
    table = pd.DataFrame(rows)
    return table[table.verdict != UNTESTED].reset_index(drop=True)


def no_method_beats(
    quantity: str = "mass",
    against: str = "mean mask",
    folder: str | Path | None = None,
    seed: int = 0,
    margin: float = 0.05,
    **how: object,
) -> str:
    """Say in one sentence per scale which methods beat a baseline, and on what.

    Parameters
    ----------
    quantity : str
        "mass" (relevance in the mask) or "closes" (the gap that goes when cells are put back).
    against : str
        A baseline.
    folder, seed
        As in `verdicts`.
    margin : float
        By how much; that of the registered claims if not given.
    **how
        Of the quantity, such as region="whole" or share=10.

    Returns
    -------
    str
        A method beats the baseline if its whole interval lies above `margin`.

    Raises
    ------
    UserError
        If the table for it was not made.
    """
    tables = _Tables(folder)
    table = tables({"mass": "localisation", "closes": "faithfulness"}[quantity])
    if table is None:
        raise UserError(f"No table to tell {quantity!r} from: run `xaifake judge` to its end.")
    names = [n for n in table.method.unique() if n not in (*BASELINES, "patch_effect", "best")]
    rows = []
    for name in names:
        which = how | {"method": name, "against": against}
        claim = {"id": "", "quantity": quantity, "with": which, "margin": margin,
                 "claimed": "above"}  # fmt: skip
        rows += [row | {"method": name} for row in _judge(claim, tables, seed)]
    said = {"quantity": quantity} | how
    scope = ", ".join(f"{key}={_said(value)}" for key, value in said.items())
    result = pd.DataFrame(rows)
    if "scale" not in result:
        return f"No face to compare methods with the {against} on ({scope})."
    result, sentences = result.dropna(subset="scale"), []
    for scale, group in result.groupby("scale"):
        best = group[group.verdict == HOLDS].sort_values("value", ascending=False)
        listed = ", ".join(f"{row.method} ({row.value:+.2f} [{row.low:+.2f}, {row.high:+.2f}], "
                           f"{row.faces} fakes)" for row in best.itertuples())  # fmt: skip
        count = f"{len(best)} of {len(group)} methods beat" if len(best) else "no method beats"
        most = group.sort_values("faces").iloc[-1]
        on = f"{most.faces} fakes of {most.people} people at most, {most.detectors} detector(s)"
        sentences.append(
            f"At {scale:.1f}x ({scope}; {on}) {count} the {against} by more than {margin:g}"
            f"{': ' * bool(listed)}{listed}."
        )
    return "\n".join(sentences)


def weighted_interval(
    rows: pd.DataFrame, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Return a weighted mean and its 95 % interval over people and detectors.

    People and detectors are drawn independently, with replacement, and a row counts as often as
    its detector and all of its people were drawn together (the pigeonhole bootstrap, Owen 2007): it
    serves whether detectors share their people or not. A swap shows two people, its target and its
    source; where rows name both, people are drawn once for both roles (Snijders and Borgatti 1999).
    A single detector is kept as it is. With few people the percentile interval is too narrow (of 16
    it covers about 93 %, of 8 about 89 %); over several detectors that hardly differ it is too
    wide, since it draws their people twice, and so it is with sources that do not matter.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns fold, target, `value`, `weight` and perhaps source, which is None for a real face.
    seed, resamples : int

    Returns
    -------
    tuple of float
        Mean, lower and upper end.
    """
    rng = np.random.default_rng(seed)
    weight = rows.weight.to_numpy(float)
    amount = rows.value.to_numpy(float) * weight
    drawn = np.ones((resamples, len(rows)))
    for columns in (["fold"], ["target", "source"]):
        roles = [rows[name] for name in columns if name in rows]
        codes, names = pd.factorize(pd.concat([role.astype(object) for role in roles]))
        if columns == ["fold"] and len(names) < 2:
            continue
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
        times = np.column_stack([times, np.ones(resamples)])  # the last is nobody
        for role in codes.reshape(len(roles), len(rows)):
            drawn *= times[:, role]
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = np.nanpercentile((drawn @ amount) / (drawn @ weight), [2.5, 97.5])
    return float(amount.sum() / weight.sum()), float(low), float(high)


def sources_of(videos: pd.Series) -> pd.Series:
    """Return who lent the face of swaps, by the names of their videos.

    Parameters
    ----------
    videos : pandas.Series of str
        Such as "003_010__nod__ABCDEFGH": person 010's face in a clip of person 003.

    Returns
    -------
    pandas.Series of str
        NaN where a name tells of no source.
    """
    return videos.astype(str).str.extract(SOURCE, expand=False)


def _judge(claim, tables, seed):
    values = _measure(claim, tables)
    if isinstance(values, str):
        return [{"claim": claim["id"], "verdict": UNTESTED, "note": values}]
    return [_row(claim, scale, rows, seed) for scale, rows in values.groupby("scale")]


def _row(claim, scale, rows, seed):
    value, low, high = weighted_interval(rows, seed)
    margin, above = claim["margin"], claim["claimed"] == "above"
    sides = (low > margin, high < margin) if above else (high < margin, low > margin)
    people = rows.target.nunique()
    decided = HOLDS if sides[0] else FAILS if sides[1] else OPEN
    return {
        "claim": claim["id"], "scale": float(scale), "value": value, "low": low, "high": high,
        "margin": margin, "claimed": claim["claimed"],
        "verdict": OPEN if people < FEW else decided,
        "faces": len(rows.drop_duplicates([n for n in ("video", "frame") if n in rows] or None)),
        "people": people, "detectors": rows.fold.nunique(),
        "note": f"fewer than {FEW} people" * (people < FEW),
    }  # fmt: skip


def _measure(claim, tables):
    """Return rows with `UNIT`, the face where it is known, value and weight, or why not."""
    if claim["quantity"] is None:
        return claim["why"]
    quantity = claim["quantity"]
    try:
        rows = (quantity if callable(quantity) else QUANTITIES[quantity])(tables, **claim["with"])
    except _Missing as missing:
        return str(missing)
    if tables.sources and "video" in rows:
        rows = rows.assign(source=sources_of(rows.video))
    known = [name for name in (*UNIT, "video", "frame", "value", "weight") if name in rows]
    names = known + ["source"] * ("source" in rows)  # a real face has none
    rows = rows[names].astype({"value": float, "weight": float}).dropna(subset=known)
    return rows if len(rows) else "no face that it could be measured on"


def _said(value):
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


class _Missing(Exception):
    """A table or method that was not measured."""


class _Tables:
    """The tables of a folder, each read once; a detector's fold is -1 where it has none."""

    def __init__(self, folder, sources=True):
        self.folder, self.sources, self.read = folder, sources, {}

    def __call__(self, name):
        if name not in self.read:
            try:
                table = judged(name, self.folder)
            except UserError:
                table = None
            if table is not None and "fold" not in table:
                table = table.assign(fold=-1)
            self.read[name] = table
        return self.read[name]

    def need(self, name, **where):
        """Return the rows of a table where columns have these values, each of which must occur."""
        table = self(name)
        if table is None:
            raise _Missing(f"no table {name!r}")
        for column, value in where.items():
            table = table[table[column] == value]
            if table.empty:
                raise _Missing(f"no {column} {value!r} in the table {name!r}")
        return table


def _of_region(table, region):
    if region is None:
        return table
    return _of_regions(table, SINGLE if region == "single" else (region,))


def _of_regions(table, regions):
    """Return the rows of these regions, each of which must occur."""
    absent = [region for region in regions if not (table.region == region).any()]
    if absent:
        raise _Missing(f"no fakes of {', '.join(absent)}")
    return table[table.region.isin(regions)]


def _paired(tables, name, method, against, columns):
    keys = [*UNIT, "video", "frame", "region"]
    pair = [tables.need(name, method=one)[[*keys, *columns]] for one in (method, against)]
    return pair[0].merge(pair[1], on=keys, suffixes=("", "_other"))


def _mass(tables, method, against, region=None, score="mass"):
    both = _of_region(_paired(tables, "localisation", method, against, [score]), region)
    return both.assign(value=both[score] - both[f"{score}_other"], weight=1)


def _closes(tables, method, against, share=10, region=None):
    column = f"logit_drop_{share}"
    both = _of_region(_paired(tables, "faithfulness", method, against, [column, "gap"]), region)
    return both.assign(value=(both[column] - both[f"{column}_other"]) / both.gap, weight=both.gap)


def _moves(tables, method, regions):
    table = tables.need("localisation", method=method)
    parts = []
    for (scale, fold), rows in table.groupby(["scale", "fold"]):
        moved = region_contrast(rows).assign(scale=scale, fold=fold)
        parts.append(moved.rename(columns={"contrast": "value"}))
    return _of_regions(pd.concat(parts), regions).assign(weight=1)


def _flips(tables, region=None):
    rows = _of_region(tables.need("regions"), region)
    if "without_nose_mouth" not in rows:
        raise _Missing("nose and mouth were not put back together")
    left = rows.logit - rows.without_nose_mouth
    return rows.assign(value=(left < 0).astype(float).where(left.notna()), weight=1)


def _joint(tables, region=None):
    rows = _of_region(tables.need("regions"), region)
    if "without_rest" not in rows:
        raise _Missing("nose and mouth were not put back together")
    more = rows.without_nose_mouth - rows.without_rest
    return rows.assign(value=more / rows.gap, weight=rows.gap)


def _lies(tables, method, against, regions, region=None):
    columns = [f"mass_region_{name}" for name in regions]
    both = _of_region(_paired(tables, "localisation", method, against, columns), region)
    other = both[[f"{name}_other" for name in columns]].sum(axis=1, skipna=False)
    return both.assign(value=both[columns].sum(axis=1, skipna=False) - other, weight=1)


def _background(tables, method, region=None):
    keys = [*UNIT, "video", "frame", "region"]
    rows = tables.need("localisation", method=method)[[*keys, "mass_region_outside"]]
    both = rows.merge(tables.need("swaps")[[*keys, "area_of_outside"]], on=keys)
    area = both.area_of_outside
    return _of_region(both.assign(value=both.mass_region_outside / area, weight=area), region)


def _agrees(tables, methods, column):
    table, parts = tables.need("alike"), []
    for one, other in combinations(methods, 2):
        chosen = table[table.method.isin((one, other)) & table.other.isin((one, other))]
        if chosen.empty:
            raise _Missing(f"no pair {one!r}, {other!r} in the table 'alike'")
        parts.append(chosen)
    rows = pd.concat(parts)
    return rows.assign(value=rows[column], weight=1)


def _kept(tables, method, kinds, column="correlation", even=False, again=False):
    """Return shares of the ceiling; `even`, with all kinds alike; `again`, of LIME's own, too."""
    table = tables.need("stability", method=method)
    for kind in kinds:
        tables.need("stability", method=method, kind=kind)
    rows = table[table.kind.isin(kinds)].dropna(subset=[column, f"ceiling_{column}"])
    ceiling = rows[f"ceiling_{column}"]
    if again:
        keys = [*UNIT, "video", "frame"]
        own = tables.need("stability", method=method, kind="seed")[[*keys, column]]
        rows = rows.merge(own, on=keys, suffixes=("", "_again")).dropna(subset=f"{column}_again")
        ceiling = rows[f"ceiling_{column}"] * rows[f"{column}_again"].clip(lower=LEAST_AGREEMENT)
    weight = ceiling
    if even:
        weight = ceiling / ceiling.groupby([rows.scale, rows.kind.astype(str)]).transform("sum")
    return rows.assign(value=rows[column] / ceiling, weight=weight)


def _turned(tables, degrees):
    rows = tables.need("turned")
    for angle in degrees:
        tables.need("turned", degrees=angle)
    rows = rows[rows.degrees.isin(degrees)]
    share = rows.groupby([*UNIT[:2], "label"]).label.transform("size")
    same = (rows.logit > 0) == (rows.upright > 0)
    return rows.assign(value=same, weight=share.mean() / share)


def _silent(tables):
    rows = tables.need("silent")
    return rows.assign(value=rows.silent, weight=1)


QUANTITIES: dict[str, Callable] = {
    "mass": _mass, "closes": _closes, "moves": _moves, "lies": _lies, "flips": _flips,
    "joint": _joint, "background": _background, "agrees": _agrees, "kept": _kept,
    "turned": _turned, "silent": _silent,
}  # fmt: skip
