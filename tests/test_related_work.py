"""The page beside other papers says what the tables say, whatever they say."""

import re

import pandas as pd
import pytest

import chapters
import related_work
from related_work import NUMBERS, PARTS, measured, number, page, points

PEOPLE = [f"{n:03d}" for n in range(8)]
ORDERS = ("one", "two", "three", "four")
FACES = pd.DataFrame(
    {"target": PEOPLE, "video": PEOPLE, "frame": 8, "region": "whole", "scale": 2.0}
)


def table(values, **known):
    """Return one row per face of what is known and of columns of values."""
    return FACES.assign(**known, **values)


def attacked(lime, grad_cam):
    each = {"lime": lime, "grad_cam": grad_cam}
    return {"attacked": pd.concat(
        [table({"attacked": logit}, method=method, top=top) for method, logit in each.items()
         for top in (1, 3)])}  # fmt: skip


def parts(turned):
    taken = {f"without_{part}": float(n) for n, part in enumerate(PARTS)}
    named = {
        f"mass_region_{part}": n**2 * (-1.0 if turned else 1.0) for n, part in enumerate(PARTS)
    }
    return {"regions": table(taken),
            "localisation": table(named, method="gradient (absolute)", mass=0.5)}  # fmt: skip


def filling(**ranks):
    """Deletion and insertion that put the methods in these orders."""
    runs = {name: ("deletion", name) for name in ("grey", "blur", "road")}
    runs["inserted"] = ("insertion", "grey")
    return pd.concat(
        [table({"logit": rank * (1.0 if act == "insertion" else -1.0)}, act=act, fill=fill,
               method=method)
         for name, (act, fill) in runs.items() if name in ranks
         for method, rank in zip(ORDERS, ranks[name], strict=True)])  # fmt: skip


def back(ranks):
    drops = zip(ORDERS, ranks, strict=True)
    return pd.concat([table({"logit_drop_10": r, "gap": 8.0}, method=m) for m, r in drops])


def alike(value):
    one, other = NUMBERS["pairs"][1]["methods"][:2]
    return {"alike": table({"rank_correlation": value}, method=one, other=other)}


def cues(adds, removes):
    each = {"adds-local": adds, "removes-local": removes}
    told = {"relevance": "with", "sign": "positive"}
    return {"planted_xception": pd.concat(
        [table({"auc": auc, "pointing": auc > 0.5}, method=method, cue=cue, **told)
         for cue, auc in each.items() for method in ("gradient", "lime")]
        + [table({"auc": 1.0, "pointing": True}, method="patch_effect", cue=cue, **told)
           for cue in each])}  # fmt: skip


UP, DOWN = (1, 2, 3, 4), (4, 3, 2, 1)
SAME, NOT = "points the same way", "does not"


@pytest.mark.parametrize(
    "name, tables, value, said",
    [("attack", attacked(-1, 1), 1, SAME), ("attack", attacked(1, -1), -1, NOT),
     ("attack", attacked(1, 1), 0, "is undecided"),
     ("parts", parts(False), 1, SAME), ("parts", parts(True), -1, NOT),
     ("acts", {"filling": filling(grey=UP, inserted=UP)}, 1, NOT),
     ("acts", {"filling": filling(grey=UP, inserted=DOWN)}, -1, SAME),
     ("fills", {"filling": filling(grey=UP, blur=(2, 1, 3, 4))}, 0.8, NOT),
     ("back", {"filling": filling(grey=DOWN), "faithfulness": back(UP)}, -1, SAME),
     ("road", {"filling": filling(grey=DOWN, road=UP), "faithfulness": back(UP)}, 2, SAME),
     ("road", {"filling": filling(grey=UP, road=DOWN), "faithfulness": back(UP)}, -2, NOT),
     ("pairs", alike(0.2), 0.2, SAME), ("pairs", alike(0.7), 0.7, NOT),
     ("cues", cues(0.9, 0.3), 0.5, "is undecided"), ("cues", cues(0.9, 0.7), 1, NOT),
     ("hidden", cues(0.9, 0.7), -0.2, SAME), ("hidden", cues(0.6, 0.7), 0.1, NOT)],
)  # fmt: skip
def test_a_planted_answer_is_found_and_worded(tmp_path, name, tables, value, said):
    for file, rows in tables.items():
        rows.to_parquet(tmp_path / f"{file}.parquet", index=False)
    (row,) = measured(name, tmp_path)
    assert row["value"] == pytest.approx(value) and points([row]) == said
    assert row["people"] == len(PEOPLE) and f"{len(PEOPLE)} people" in number([row])
    assert (f"Ours {said}" in number([row])) == (len(NUMBERS[name]) > 2)
    assert f"{value:+.2f} [" in page(tmp_path)


def test_without_tables_nothing_is_said_to_agree_or_to_differ(tmp_path):
    text = page(tmp_path)
    assert text.count("not measured with the shipped tables") == len(NUMBERS)
    assert not re.search(r"Ours (points|does)|points the same way|A guess|[+-]\d\.\d", text)


def test_one_scale_that_says_otherwise_leaves_it_undecided(tmp_path):
    rows = [alike(v)["alike"].assign(scale=s) for v, s in ((0.2, 1.3), (0.7, 2.0))]
    pd.concat(rows).to_parquet(tmp_path / "alike.parquet", index=False)
    assert points(measured("pairs", tmp_path)) == "is undecided"


def test_a_table_without_people_gives_no_interval_and_no_verdict(tmp_path):
    rows = alike(0.2)["alike"].drop(columns="target")[:1]
    rows.to_parquet(tmp_path / "agreement.parquet", index=False)
    found = measured("pairs", tmp_path)
    assert points(found) == "has no interval" and "[" not in number(found)


def test_ten_papers_are_cited_and_stand_in_the_references():
    text = related_work.PAGE.read_text(encoding="utf-8")
    cited = set(re.findall(r"\{cite:\w\}`(\w+)`", text))
    references = (chapters.ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    assert len(cited) == 10 and cited <= set(re.findall(r"@\w+\{(\w+),", references))
    assert len(text.split()) <= 1300
