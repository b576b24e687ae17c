"""The registered rule gives the verdict that the numbers deserve, and a map of noise none."""

import hashlib
import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from xaifake.data import load_faces
from xaifake.judge import faithfulness, localisation, verdict
from xaifake.judge.runner import default_methods
from xaifake.judge.stability import compare
from xaifake.judge.verdict import (
    both_scales,
    no_method_beats,
    read_claims,
    specifications,
    verdicts,
    weighted_interval,
)

CLAIM = {
    "id": "one", "quantity": "mass", "with": {"method": "mine", "against": "chance"}, "margin": 0.1,
    "claimed": "above", "why": "", "vary": {"against": ["edges"], "score": ["auc"]},
}  # fmt: skip
PEOPLE = [f"{n:03d}" for n in range(12)]


def localisation_table(mine=0.5, spread=0.0, folds=(-1,), scale=2.0, bias=()):
    """Return rows of methods: mine beyond chance by this much, give or take a spread by person."""
    rng, parts = np.random.default_rng(1), []
    for number, fold in enumerate(folds):
        shift = bias[number] if bias else 0
        for method, mass in (("mine", mine + shift), ("chance", 0.0), ("edges", 1.0)):
            noise = (
                rng.normal(0, spread, len(PEOPLE)) if method == "mine" else np.zeros(len(PEOPLE))
            )
            noise = noise - noise.mean()
            rows = {"target": PEOPLE, "video": PEOPLE, "frame": 8, "region": "whole"}
            parts.append(pd.DataFrame(rows | {"method": method, "mass": mass + noise}))
            parts[-1] = parts[-1].assign(scale=scale, fold=fold)
    return pd.concat(parts, ignore_index=True)


def write(folder, **tables):
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


@pytest.mark.parametrize("claimed", ["above", "below"])
@pytest.mark.parametrize(
    "mine, spread, expected",
    [(0.3, 0.05, "holds"), (-0.1, 0.05, "does not hold"), (0.1, 0.05, "undecided"),
     (0.3, 1.0, "undecided")],
)  # fmt: skip
def test_the_rule(tmp_path, mine, spread, expected, claimed):
    write(tmp_path, localisation=localisation_table(mine, spread))
    (row,) = verdicts(tmp_path, [CLAIM | {"claimed": claimed}]).to_dict("records")
    opposite = {"holds": "does not hold", "does not hold": "holds"}
    assert row["verdict"] == (expected if claimed == "above" else opposite.get(expected, expected))
    assert row["low"] <= row["value"] <= row["high"] and row["people"] == len(PEOPLE)


def test_detectors_that_differ_make_the_interval_wider_than_people_do(tmp_path):
    bias = (-0.4, -0.2, 0.0, 0.2, 0.4)
    alike = localisation_table(0.3, 0.05, range(5))
    differing = localisation_table(0.3, 0.05, range(5), bias=bias)
    found = [verdicts(write(tmp_path, localisation=table), [CLAIM]) for table in (alike, differing)]
    assert [f.verdict[0] for f in found] == ["holds", "undecided"]
    assert all(f.detectors[0] == 5 and f.faces[0] == 12 for f in found)
    # The bootstrap's spread over five detectors is that of the closed form.
    width = (found[1].high - found[1].low)[0]
    assert width == pytest.approx(2 * 1.96 * np.std(bias) / 5**0.5, rel=0.15)


def test_an_interval_over_people_has_the_closed_forms_width():
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(200), 3)
    value = np.repeat(rng.normal(size=200), 3)
    rows = pd.DataFrame({"fold": -1, "target": people, "value": value, "weight": 1.0})
    mean, low, high = weighted_interval(rows)
    assert mean == pytest.approx(value.mean())
    assert (high - low) == pytest.approx(2 * 1.96 * value.std() / 200**0.5, rel=0.1)
    # Weights are those of a mean of shares.
    rows = rows.assign(weight=np.where(people < 100, 2.0, 0.0))
    assert weighted_interval(rows)[0] == pytest.approx(value[people < 100].mean())


def test_what_was_not_measured_is_not_tested(tmp_path):
    write(tmp_path, localisation=localisation_table())
    others = [CLAIM | {"with": CLAIM["with"] | {"method": "theirs"}},
              CLAIM | {"quantity": "silent", "with": {}},
              CLAIM | {"quantity": None, "why": "needs people"}]  # fmt: skip
    table = verdicts(tmp_path, others)
    assert (table.verdict == "not tested").all()
    assert [*table.note] == ["no method 'theirs' in the table 'localisation'",
                             "no table 'silent'", "needs people"]  # fmt: skip


def test_too_few_people_decide_nothing_and_a_missing_region_is_no_answer(tmp_path):
    table = localisation_table(0.3, 0.05)
    few = table[table.target.isin(PEOPLE[:5])]
    (row,) = verdicts(write(tmp_path, localisation=few), [CLAIM]).to_dict("records")
    assert (row["verdict"], row["note"]) == ("undecided", "fewer than 6 people")
    write(tmp_path, localisation=table.assign(region="eyes"))
    single = CLAIM | {"with": CLAIM["with"] | {"region": "single"}}
    (row,) = verdicts(tmp_path, [single]).to_dict("records")
    assert row["note"] == "no fakes of nose, mouth, left_half, right_half"
    rows = {"scale": 2.0, "region": "whole", "logit": 1.0, "gap": 2.0, "target": PEOPLE,
            "without_nose_mouth": [2.0] * 6 + [np.nan] * 6}  # fmt: skip
    flips = CLAIM | {"quantity": "flips", "with": {}, "margin": 0.5}
    write(tmp_path, regions=pd.DataFrame(rows | {"video": PEOPLE, "frame": 8}))
    (row,) = verdicts(tmp_path, [flips]).to_dict("records")
    assert (row["value"], row["people"]) == (1, 6)


def test_both_scales_must_agree(tmp_path):
    rows = [localisation_table(0.3, scale=1.3), localisation_table(-0.3, scale=2.0)]
    write(tmp_path, localisation=pd.concat(rows))
    table = verdicts(tmp_path, [CLAIM, CLAIM | {"id": "two", "margin": 0.9}])
    assert both_scales(table).to_dict() == {
        "one": "undecided (scales differ)", "two": "does not hold"
    }  # fmt: skip


def test_one_scale_decides_nothing(tmp_path):
    write(tmp_path, localisation=localisation_table(-0.3))
    untested = CLAIM | {"id": "three", "quantity": "silent", "with": {}}
    table = verdicts(tmp_path, [CLAIM, CLAIM | {"id": "two", "margin": -0.3}, untested])
    assert [*both_scales(table)] == ["undecided (one scale)", "undecided", "not tested"]


def test_every_specification_is_measured_and_each_detector_alone(tmp_path):
    write(tmp_path, localisation=localisation_table(folds=(0, 1), bias=(0.0, 0.1)))
    claim = CLAIM | {"vary": {"against": ["edges", "absent"]}}
    table = specifications(claim, tmp_path).set_index("specification")
    assert [*table.index] == ["registered", "against=edges", "detector 0", "detector 1"]
    np.testing.assert_allclose(table.value, [0.55, -0.45, 0.5, 0.6])
    assert [*table.verdict] == ["holds", "does not hold", "holds", "holds"]


@pytest.mark.parametrize("mine, said", [
    (0.5, "At 2.0x (quantity=mass, region=whole; 12 fakes of 12 people at most, 1 detector(s)) "
          "1 of 1 methods beat the chance by more than 0.05: "
          "mine (+0.50 [+0.50, +0.50], 12 fakes)."),
    (-0.5, "no method beats the chance by more than 0.05."),
])  # fmt: skip
def test_the_sentence_is_made_of_the_table(tmp_path, mine, said):
    write(tmp_path, localisation=localisation_table(mine))
    assert no_method_beats(against="chance", folder=tmp_path, region="whole").endswith(said)
    nothing = no_method_beats(against="chance", folder=tmp_path, region="single")
    assert nothing.startswith("No face to compare methods with the chance on")


def tables_of(maps, faces):
    """Return the tables that maps earn, by name, on a detector that adds up the swap's pixels."""
    keys = faces.table[["video", "frame", "target", "region"]]
    mean_mask = localisation.mean_mask(2.0)
    everything = maps | localisation.baselines(faces, mean_mask, seed=9)
    terms = np.random.default_rng(5).uniform(0, 1, faces.masks.shape) * faces.masks
    effects = faithfulness.cell_sums(terms).reshape(len(faces), -1)
    found, faithful = [], []
    for name, heatmaps in everything.items():
        found.append(keys.join(localisation.localise(heatmaps, faces)).assign(method=name))
        order = faithfulness.order_cells(faithfulness.cell_sums(heatmaps), seed=4)
        gained = np.take_along_axis(effects, order, 1).cumsum(axis=1)
        drops = {f"logit_drop_{s}": gained[:, round(s / 100 * order.shape[1]) - 1]
                 for s in (5, 10, 20)}  # fmt: skip
        faithful.append(keys.assign(method=name, gap=effects.sum(axis=1), **drops))
    flat = {n: faithfulness.cell_sums(m).reshape(len(faces), -1) for n, m in maps.items()}
    stable, pairs = [], []
    for name, one in flat.items():
        for kind in ("blur", "rotation", "translation", "scaling", "shear"):
            scores = compare(one, np.roll(one, 1, axis=0))  # the map of another face
            stable.append(keys.join(scores).join(scores.notna().add_prefix("ceiling_")))
            stable[-1] = stable[-1].assign(method=name, kind=kind, strength=1.0)
    for one, other in combinations(maps, 2):
        alike = compare(flat[one], flat[other])
        row = keys.assign(method=one, other=other, absolute_beyond_centre=alike.rank_correlation)
        pairs.append(row)
    swaps = keys.join(localisation.describe_swaps(faces))
    made = {"localisation": pd.concat(found), "faithfulness": pd.concat(faithful), "swaps": swaps,
            "stability": pd.concat(stable), "alike": pd.concat(pairs)}  # fmt: skip
    return {name: table.assign(scale=2.0) for name, table in made.items()}


def methods_of(claim):
    """The methods that a claim is about."""
    return claim["with"].get("methods", [claim["with"].get("method")])


@pytest.mark.parametrize("kind", ["noise", "truth"])
def test_a_map_of_noise_gets_no_holds_anywhere_and_a_map_of_the_truth_does(tmp_path, kind):
    faces = load_faces(scale=2.0)
    faces = faces[np.flatnonzero(faces.labels == 1)[::2]]
    claims = [c for c in read_claims() if methods_of(c)[0]]
    names = sorted({n for claim in claims for n in (*methods_of(claim), "gradient (absolute)")})
    rng = np.random.default_rng(0)
    if kind == "noise":
        maps = {name: rng.uniform(size=faces.masks.shape) for name in names}
    else:
        maps = {name: faces.masks + 0.01 * rng.uniform(size=faces.masks.shape) for name in names}
    table = verdicts(write(tmp_path, **tables_of(maps, faces)), claims)
    assert set(table.claim) == {claim["id"] for claim in claims}
    if kind == "noise":
        assert not table.verdict.isin(["holds", "not tested"]).any(), table[
            table.verdict == "holds"
        ]
    else:
        held = set(table.claim[table.verdict == "holds"])
        assert held >= {"lrp-mask-prior", "lrp-nose-mouth", "lime-evidence-prior",
                        "lime-background", "ig-favourable", "gbp-favourable"}  # fmt: skip


def test_registered_claims_are_never_edited():
    # A correction is a new entry: the digest is of those registered first, in their order.
    first = [claim for claim in read_claims() if claim["registered"] == "2026-11-29"]
    text = json.dumps(first, sort_keys=True).encode()
    assert hashlib.sha256(text).hexdigest()[:16] == "088a5c2548b50087"


def test_claims_name_what_there_is():
    claims = read_claims()
    assert len({claim["id"] for claim in claims}) == len(claims)
    known = {config.name for config in default_methods()}
    for claim in claims:
        assert claim["quantity"] is None or claim["quantity"] in verdict.QUANTITIES
        assert claim["claimed"] in ("above", "below", None) and claim["why"] and claim["quote"]
        named = [n for n in methods_of(claim) if n] + claim["vary"].get("method", [])
        assert set(named) <= known, claim["id"]
