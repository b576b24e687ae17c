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
    sources_of,
    specifications,
    verdicts,
    weighted_interval,
)

CLAIM = {
    "id": "one", "quantity": "mass", "with": {"method": "mine", "against": "chance"}, "margin": 0.1,
    "claimed": "above", "why": "", "vary": {"against": ["edges"], "score": ["auc"]},
}  # fmt: skip
PEOPLE = [f"{n:03d}" for n in range(12)]
FIRST = 18  # claims were registered at first; the others answer objections


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


def crossed(number, roles):
    """Return swaps of twelve people with each other, whose values go with the people they show."""
    rng = np.random.default_rng(number)
    target, source = np.nonzero(~np.eye(12, dtype=bool))
    own = rng.normal(size=(2, 12))
    lent = own[0 if roles == "same" else 1]
    value = own[0][target] + lent[source] + 0.5 * rng.normal(size=len(target))
    names = "" if roles == "same" else "lender "
    rows = {"target": [str(n) for n in target], "source": [f"{names}{n}" for n in source]}
    return pd.DataFrame(rows | {"fold": -1, "value": value, "weight": 1.0})


@pytest.mark.parametrize("roles", ["same", "crossed"])
def test_intervals_cover_two_crossed_random_factors_only_if_both_are_drawn(roles):
    # Twelve people lend to each other (one effect in both roles), or two separate groups of them.
    drawn = [crossed(number, roles) for number in range(200)]
    covers = [
        [low < 0 < high for _, low, high in map(interval, drawn)]
        for interval in (
            lambda rows: weighted_interval(rows, 1, 200),
            lambda rows: weighted_interval(rows.drop(columns="source"), 1, 200),
        )
    ]
    both, targets = np.mean(covers, axis=1)
    assert 0.88 <= both <= 0.99 and targets < 0.82


def test_rows_without_sources_get_the_interval_over_targets():
    rng = np.random.default_rng(0)
    rows = {"fold": np.repeat([0, 1], 20), "target": rng.choice(PEOPLE, 40)}
    rows |= {"value": rng.normal(size=40), "weight": rng.uniform(1, 2, 40)}
    rows = pd.DataFrame(rows)
    times, again = np.ones((300, 40)), np.random.default_rng(7)
    for column in ("fold", "target"):
        codes, names = pd.factorize(rows[column])
        even = np.full(len(names), 1 / len(names))
        times *= again.multinomial(len(names), even, 300)[:, codes]
    weight = rows.weight.to_numpy()
    ends = np.nanpercentile(times @ (rows.value * weight) / (times @ weight), [2.5, 97.5])
    for given in (rows, rows.assign(source=None), rows.assign(source=np.nan)):
        np.testing.assert_allclose(weighted_interval(given, 7, 300)[1:], ends)


def test_names_of_videos_tell_the_source_of_a_swap():
    names = {"003_010__nod_and_smile__UHK0WN7N": "010", "Deepfakes_000_003": "003",
             "id0_id16_0004": "id16", "03__talking__again": None, "id0_0004": None, "000": None,
             "my_clip_7": None, "Face2Face_071_054": "054"}  # fmt: skip
    found = sources_of(pd.Series(list(names)))
    assert [None if pd.isna(name) else name for name in found] == [*names.values()]


def test_sources_that_matter_leave_a_claim_undecided_that_targets_decide(tmp_path):
    table = localisation_table(0.3, 0.05)
    lent = np.where(table.index % 12 < 6, "040", "041")
    table["video"] = table.target + "_" + lent + "__nod__" + "A" * 8
    table["mass"] += np.where(lent == "040", 0.45, -0.35) * (table.method == "mine")
    write(tmp_path, localisation=table)
    found = [verdicts(tmp_path, [CLAIM | {"margin": 0.05}], sources=known).verdict[0]
             for known in (False, True)]  # fmt: skip
    assert found == ["holds", "undecided"]


def planted(claim, values):
    """Return the table that gives a claim these values, one for each person."""
    how = claim["with"]
    rows = pd.DataFrame({"target": PEOPLE, "video": PEOPLE, "frame": 8, "region": "whole",
                         "scale": 2.0})  # fmt: skip
    pair = [how.get("method"), how.get("against")]
    if claim["quantity"] == "lies":
        first, *others = [f"mass_region_{name}" for name in how["regions"]]
        rest = dict.fromkeys(others, 0.1)
        parts = [rows.assign(method=name, **rest, **{first: 0.3 + more})
                 for name, more in zip(pair, (values, 0.0), strict=True)]  # fmt: skip
        return {"localisation": pd.concat(parts)}
    if claim["quantity"] == "closes":
        drop = f"logit_drop_{how['share']}"
        parts = [rows.assign(method=name, gap=8.0, **{drop: 4 + 8 * more})
                 for name, more in zip(pair, (values, 0.0), strict=True)]  # fmt: skip
        return {"faithfulness": pd.concat(parts)}
    if claim["quantity"] == "agrees":
        parts = [rows.assign(method=one, other=other, absolute_beyond_centre=values)
                 for one, other in combinations(how["methods"], 2)]  # fmt: skip
        return {"alike": pd.concat(parts)}
    rows = rows.assign(method=pair[0], ceiling_correlation=1.0)
    parts = [rows.assign(kind=kind, correlation=values) for kind in how["kinds"]]
    return {"stability": pd.concat([*parts, rows.assign(kind="seed", correlation=1.0)])}


@pytest.mark.parametrize("number", range(FIRST, FIRST + 9))
def test_later_claims_are_judged_as_planted(tmp_path, number):
    claim = read_claims()[number]
    beyond = 0.2 if claim["claimed"] == "above" else -0.2
    for change, expected in ((beyond, "holds"), (-beyond, "does not hold"), (0, "undecided")):
        values = claim["margin"] + change + np.tile([-0.1, 0.1], 6)
        found = verdicts(write(tmp_path, **planted(claim, values)), [claim])
        assert [*found.verdict] == [expected]
        assert found.value[0] == pytest.approx(claim["margin"] + change)


def test_kinds_count_alike_however_many_settings_they_have(tmp_path):
    old, new = [c for c in read_claims() if c["id"] in ("lrp-structure", "lrp-structure-kinds")]
    table = planted(new, 0.9)["stability"]
    turned = table[table.kind == "rotation"].assign(correlation=0.3)
    table = pd.concat([table[table.kind != "rotation"], turned, turned, turned])
    found = verdicts(write(tmp_path, stability=table), [old, new])
    np.testing.assert_allclose(found.value, [(4 * 0.9 + 3 * 0.3) / 7, (4 * 0.9 + 0.3) / 5])
    assert [*found.verdict] == ["does not hold", "holds"]


@pytest.mark.parametrize("kept, again, expected", [(0.5, 0.6, 0.5 / 0.6), (0.1, 0.05, 0.2)])
def test_what_another_seed_changes_is_not_blamed_on_the_perturbation(
    tmp_path, kept, again, expected
):
    (claim,) = [c for c in read_claims() if c["id"] == "lime-structure-ceiling"]
    table = planted(claim, kept)["stability"]
    table["correlation"] = np.where(table.kind == "seed", again, table.correlation)
    assert verdicts(write(tmp_path, stability=table), [claim]).value[0] == pytest.approx(expected)


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
        again = keys.join(compare(one, np.roll(one, -1, axis=0)))
        stable.append(again.assign(method=name, kind="seed", strength=1.0))
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
                        "lime-background", "ig-favourable", "gbp-favourable",
                        "lrp-nose-mouth-chance", "lime-background-prior"}  # fmt: skip


def test_registered_claims_and_rules_are_never_edited():
    # A correction is a new entry, at the end: what was registered together has one digest.
    stored = json.loads(verdict.CLAIMS.read_text(encoding="utf-8"))
    claims, rules = stored["claims"], [stored["rule"], stored["rule_changes"]]
    digests = [hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]
               for part in (claims[:FIRST], claims[FIRST:], rules)]  # fmt: skip
    assert digests == ["088a5c2548b50087", "5935a03029cc5ff8", "5bb3c5db33f208a5"]
    ids = [claim["id"] for claim in claims]
    replaced = {
        ids.index(claim["id"]): claim["replaces"] for claim in claims if "replaces" in claim
    }
    assert all(old in ids[:number] for number, old in replaced.items())


def test_claims_name_what_there_is():
    claims = read_claims()
    assert len({claim["id"] for claim in claims}) == len(claims)
    known = {config.name for config in default_methods()}
    for claim in claims:
        assert claim["quantity"] is None or claim["quantity"] in verdict.QUANTITIES
        assert claim["claimed"] in ("above", "below", None) and claim["why"] and claim["quote"]
        named = [n for n in methods_of(claim) if n] + claim["vary"].get("method", [])
        assert set(named) <= known, claim["id"]
