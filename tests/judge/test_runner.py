"""Every method is measured once, what is finished is kept, and the tables say what was measured."""

import dataclasses
import functools
import importlib.util
import json
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import xaifake
from xaifake.data import load_faces
from xaifake.data.dataset import Faces
from xaifake.detector import Detector, preprocess
from xaifake.errors import UserError
from xaifake.explainers.registry import METHODS
from xaifake.judge import judge, judged, runner
from xaifake.judge.cues import CUES
from xaifake.judge.localisation import BASELINES, localise, mean_mask, next_person
from xaifake.judge.perturbations import Blur, Noise, rotation
from xaifake.judge.planted import small_network
from xaifake.judge.protocols import OUTCOMES
from xaifake.judge.runner import TABLES, WITHOUT_ORIGINALS, MethodConfig, Protocol, judged_settings
from xaifake.judge.sanity import randomisation_curve
from xaifake.scales import SCALE

LIME = MethodConfig("lime", options=(("num_samples", 10),), slow=True)
CHEAP = (MethodConfig("gradient"), MethodConfig("lrp.epsilon"))
NAMES = ["gradient", "lrp.epsilon", "lime"]
# A run of `judge` in a minute: three methods, four faces, hardly a setting.
PROTOCOL = Protocol(
    found=6, sample=4, slow_faces=2, shuffled_faces=3, draws=2, moved=("gradient", "lime"),
    filled=("noise", "patch_effect", "gradient"), settings=(Blur(1), rotation(20)),
    slow_settings=(Noise(5),), drawn=2, attacked=1, edited=1, ordered=1, orders=4,
    compared=("gradient", "lrp.epsilon"),
)  # fmt: skip
# Whatever takes long, all the rest is reading and adding up.
MEASURED = [
    (MethodConfig, "maps"), (runner.faithfulness, "patch_effects"),
    (runner.faithfulness, "best_order"),
    (runner.faithfulness, "restore_cells"), (runner.faithfulness, "region_effects"),
    (runner.faithfulness, "deletion"), (runner.faithfulness, "insertion"),
    (runner.sanity, "randomisation_curve"), (runner.planted, "sweep"), (runner, "stability"),
    (runner.interventions, "outside_effects"), (runner.interventions, "texture_effects"),
    (runner.protocols, "attack_named_segments"), (runner.protocols, "harmless_edits"),
    (runner.protocols, "turned_verdicts"), (runner.faithfulness, "shapley_cells"),
    (runner.faithfulness, "road"), (runner.cues, "planted_cue"),
]  # fmt: skip


class Stopped(Exception):
    """What stops a run on its way."""


def stop(*_, **__):
    raise Stopped


def few_faces(folder=None, split=None, scale=SCALE):
    """Every fifth of the shipped faces, whatever the folder is called."""
    return load_faces(scale=scale)[::5]


def no_sweep(faces, ways, seed):
    """Stand in for the training on planted cues, the same each time."""
    return pd.DataFrame({"method": list(ways), "mass": 0.5, "found": True, "faces": len(faces)})


def no_cue(detector, faces, cue, ways, slow, asked, slow_faces, seed, progress):
    """Stand in for a detector that is fine-tuned to a cue."""
    people = faces.table.target[:1].repeat(len(ways)).to_numpy()
    return pd.DataFrame({"target": people, "method": list(ways), "cue": cue, "mass": 0.5})


def make_small(patch):
    patch.setattr(runner, "load_faces", few_faces)
    patch.setattr(runner.cues, "planted_cue", no_cue)
    patch.setattr(runner.planted, "sweep", no_sweep)
    short = functools.partial(randomisation_curve, steps=2)
    patch.setattr(runner.sanity, "randomisation_curve", short)


@functools.cache
def quick_detector(scale=2.0):
    """Stand in for Xception: an untrained small network that finds half of the fakes."""
    model = small_network(seed=round(scale))
    faces = few_faces(scale=scale)
    kernel, bias = model.layers[-1].get_weights()
    middle = np.median(Detector(model).logits(faces.images[faces.labels == 1]))
    model.layers[-1].set_weights([kernel, bias - middle])
    return Detector(model, scale=scale)


def run(out, detectors=None, methods=(*CHEAP, LIME), protocol=PROTOCOL, **how):
    detectors = quick_detector() if detectors is None else detectors
    return judge(out, detectors, methods=methods, protocol=protocol, progress=False, **how)


def assert_same(tables, others, but=()):
    assert list(tables) == list(others)
    for name in set(tables) - set(but):
        pd.testing.assert_frame_equal(tables[name], others[name], obj=name, rtol=1e-5)


def pieces(out):
    """Return when each piece was written."""
    stored = [p for p in (out / "parts").rglob("*") if p.suffix in (".npz", ".parquet")]
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in stored}


@pytest.fixture
def quick(monkeypatch):
    make_small(monkeypatch)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory, detector):
    """The folder and tables of a run on the shipped detector."""
    out = tmp_path_factory.mktemp("shipped")
    # LIME's stability is measured with the quick detector.
    protocol = dataclasses.replace(PROTOCOL, moved=("gradient",))
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        return out, run(out, detector, protocol=protocol)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and tables of an undisturbed run on the quick detector."""
    out = tmp_path_factory.mktemp("quick")
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        return out, run(out)


@pytest.fixture(scope="module")
def detector(shipped_detector):
    return shipped_detector(2.0)


def faces_of(rows):
    """Return the faces that rows of a table are about, in their order."""
    faces = load_faces(scale=2.0)
    keys = pd.MultiIndex.from_frame(faces.table[["video", "frame"]])
    return faces[keys.get_indexer(pd.MultiIndex.from_frame(rows[["video", "frame"]]))]


def test_all_tables_are_made_and_written(shipped):
    out, tables = shipped
    assert list(tables) == list(TABLES)
    for name, table in tables.items():
        assert len(table) and (table.scale == 2).all(), name
        pd.testing.assert_frame_equal(judged(name, out), table, obj=name)
        pd.testing.assert_frame_equal(judged(name, str(out)), table, obj=name)


def test_the_settings_are_written_too(shipped):
    out, _ = shipped
    settings = judged_settings(out)
    (case,) = settings["detectors"]
    assert (case["scale"], case["seed"], case["found"], case["sample"]) == (2.0, 0, 6, 4)
    stored = json.loads((out / "parts" / "2.0x" / "settings.json").read_text())
    assert stored == {"xaifake version": xaifake.__version__, **case}
    lines = (out / "parts" / "2.0x" / "made.jsonl").read_text().splitlines()
    seconds = sum(json.loads(line).get("seconds", 0) for line in lines)
    assert settings["minutes"] == pytest.approx(seconds / 60, abs=0.05)
    assert settings["versions"]["numpy"] == np.__version__


def test_numbers_are_small_and_words_stay_words(shipped):
    _, tables = shipped
    for name, table in tables.items():
        kinds = {str(kind) for kind in table.dtypes}
        assert "float64" not in kinds and "category" not in kinds, name


@pytest.mark.parametrize("name", NAMES)
def test_localisation_is_that_of_the_maps_of_explain(shipped, detector, name):
    rows = shipped[1]["localisation"]
    rows = rows[rows.method == name].reset_index(drop=True)
    faces = faces_of(rows)
    options = {"num_samples": 10} if name == "lime" else {}
    relevance = xaifake.explain(detector, faces.images, name, progress=False, **options)
    expected = localise(relevance.sum(axis=-1), faces)
    assert len(expected) == (4 if name == "lime" else 6)
    # Stored maps have the eleven bits of float16 each, and values may tie that did not before.
    for column in expected.columns.drop("pointing"):
        np.testing.assert_allclose(rows[column], expected[column], atol=5e-3, err_msg=column)
    assert (np.abs(rows.pointing - expected.pointing) <= 0.5).all()


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_scored_on_the_same_faces(shipped, name):
    table = shipped[1]["localisation"]
    rows = table[table.method == name].reset_index(drop=True)
    own = table[table.method == "gradient"].reset_index(drop=True)
    known = ["video", "frame", "target", "region", "sampled"]
    assert rows[known].astype(str).equals(own[known].astype(str))
    if name == "mean mask":
        faces = faces_of(rows)
        maps = np.broadcast_to(mean_mask(2.0), faces.masks.shape)
        np.testing.assert_allclose(rows.mass, localise(maps, faces).mass, rtol=1e-5)
    if name == "chance":
        np.testing.assert_allclose(rows.mass, faces_of(rows).masks.mean((1, 2)), rtol=1e-5)


def test_each_sampled_face_is_a_fake_that_is_found(shipped, detector):
    rows = shipped[1]["localisation"]
    found = faces_of(rows[rows.method == "gradient"])
    assert (found.labels == 1).all()
    assert (detector.logits(found.images) > 0).all()
    sampled = rows[rows.sampled].groupby("method", observed=True).size()
    assert sampled.to_dict() == dict.fromkeys([*NAMES, *BASELINES], 4)
    chosen = {
        frozenset(zip(part.video, part.frame, strict=True))
        for _, part in rows[rows.sampled].groupby("method", observed=True)
    }
    assert len(chosen) == 1, "not every method was measured on the same faces"


def test_each_row_is_about_a_person_kept_for_the_test(shipped, shipped_faces):
    _, tables = shipped
    people = set(shipped_faces(2.0).table.query("split == 'test'").target)
    named = [name for name in tables if "target" in tables[name]]
    assert set(TABLES) - set(named) == {"agreement", "randomisation", "planted", "cost"}
    for name in named:
        assert set(tables[name].target) <= people, name


def test_sums_and_effects_are_those_of_their_faces(shipped, detector):
    sums, effects = shipped[1]["sums"], shipped[1]["faithfulness"]
    assert dict(sums.groupby("method", observed=True).size()) == {"gradient": 4, "lrp.epsilon": 4}
    rows = sums[sums.method == "gradient"].reset_index(drop=True)
    faces = faces_of(rows)
    for column, images in {"logit": faces.images, "logit_original": faces.originals}.items():
        np.testing.assert_allclose(rows[column], detector.logits(images), atol=1e-3)
    for column, images in {"sum": faces.images, "sum_original": faces.originals}.items():
        relevance = xaifake.explain(detector, images, "gradient", progress=False)
        np.testing.assert_allclose(rows[column], relevance.sum((1, 2, 3)), rtol=1e-2, atol=1e-2)
    assert effects.method.drop_duplicates().tolist() == [*NAMES, *BASELINES, "patch_effect", "best"]
    for _, part in effects.groupby("method", observed=True):
        assert part.video.tolist() == rows.video.tolist()
        np.testing.assert_allclose(part.gap, rows.logit - rows.logit_original, atol=1e-3)


def test_the_order_of_the_experiment_takes_most_and_chance_takes_less(shipped):
    lost = (
        shipped[1]["faithfulness"]
        .groupby("method", observed=True)[["logit_drop_5", "logit_drop_10"]]
        .mean()
    )
    assert (lost.loc["best"] >= lost.loc["patch_effect"] - 0.5).all()
    assert (lost.loc["patch_effect"] > lost.loc["noise"]).all()


def test_each_table_has_its_rows(shipped):
    _, tables = shipped
    assert len(tables["swaps"]) == 6 and tables["swaps"].share.between(0, 1).all()
    # Three methods and two baselines, each with each.
    pairs = tables["agreement"][["method", "other"]].astype(str)
    assert len(pairs) == len(set(map(frozenset, pairs.to_numpy()))) == 10
    assert len(tables["regions"]) == 4
    assert tables["cost"].method.tolist() == NAMES and (tables["cost"].seconds > 0).all()
    assert tables["cost"].r2.notna().tolist() == [False, False, True]
    # Names, acts, fills, shares and faces; and ROAD, which deletes three shares.
    assert len(tables["filling"]) == 3 * (2 * 2 * 5 + 3) * 4
    assert (
        not tables["filling"].duplicated(["video", "frame", "method", "act", "fill", "share"]).any()
    )


def test_what_is_dear_is_measured_less_often(whole):
    _, tables = whole
    moved = tables["stability"].groupby(["method", "kind", "strength"], observed=True).size()
    assert moved.to_dict() == {
        ("gradient", "blur", 1): 4, ("gradient", "rotation", 20): 4,
        ("lime", "noise", 5): 2, ("lime", "seed", 1): 2,
    }  # fmt: skip
    shuffled = tables["randomisation"].groupby(["method", "order"], observed=True).size()
    assert shuffled.to_dict() == {
        ("gradient", "bottom_up"): 6, ("gradient", "top_down"): 6,
        ("lime", "bottom_up"): 2, ("lime", "top_down"): 2,
    }  # fmt: skip
    dealt = tables["randomisation"].query("method == 'gradient'").groupby("draw").face.unique()
    assert {draw: set(faces) for draw, faces in dealt.items()} == {0: {0, 3}, 1: {2}}


def test_a_second_call_computes_nothing_anew(whole, quick, monkeypatch):
    out, tables = whole
    before = pieces(out)
    for place, name in MEASURED:
        monkeypatch.setattr(place, name, stop)
    # With what a piece cost, which no second measurement would give again.
    assert_same(run(out), tables)
    assert pieces(out) == before


@pytest.mark.parametrize("absent", ["innvestigate", "tf_keras"])
def test_without_innvestigate_all_others_are_judged(whole, quick, monkeypatch, tmp_path, absent):
    out, tables = shutil.copytree(whole[0], tmp_path / "copy"), whole[1]
    theirs = (
        MethodConfig("lrp.z", "innvestigate", slow=True),
        MethodConfig("deconvnet", "innvestigate"),
    )
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == absent else find(n))
    with pytest.warns(UserWarning) as told:
        assert_same(run(out, methods=(*CHEAP, LIME, *theirs)), tables)
    (warning,) = [w for w in told if "not judged" in str(w.message)]
    assert str(warning.message) == (
        f"Without {absent}, not installed here, these are not judged: lrp.z (iNNvestigate), "
        "deconvnet (iNNvestigate)."
    )
    assert warning.filename == __file__
    assert "innvestigate" not in judged_settings(out)["versions"]


def test_versions_are_known_before_anything_is_computed(quick, monkeypatch, tmp_path):
    """TensorFlow may come with a package of another name, such as tensorflow-cpu."""
    asked = []
    monkeypatch.setattr(runner, "version", lambda name: asked.append(name) or "1.0")
    monkeypatch.setattr(runner, "load_faces", stop)
    with pytest.raises(Stopped):
        run(tmp_path)
    assert asked == ["lime"]
    own = MethodConfig("lrp.z", "innvestigate")
    found = runner._versions([*CHEAP, own])
    assert found["tensorflow"] == tf.__version__ and found["keras"] == keras.__version__
    assert found["innvestigate"] == "1.0" and "lime" not in found


@pytest.fixture
def interrupted(tmp_path, quick):
    """The folder of a run that was stopped on its way again and again, and the pieces by then."""
    written = []
    for allowed in (2, 9, 9, 9):
        calls = iter(range(allowed))

        def until(function, calls=calls):
            def measure(*args, **how):
                if next(calls, None) is None:
                    raise Stopped
                return function(*args, **how)

            return measure

        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
            for place, name in MEASURED:
                patch.setattr(place, name, until(getattr(place, name)))
            run(tmp_path)
        written.append(pieces(tmp_path))
    assert len(written[0]) == 2 and len(set(map(len, written))) == 4
    return tmp_path, written


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(whole, interrupted):
    out, written = interrupted
    assert not (out / "localisation.parquet").exists()
    tables = run(out)
    assert_same(tables, whole[1], but=["cost"])
    but_time = whole[1]["cost"].drop(columns=["seconds", "passes"])
    pd.testing.assert_frame_equal(
        tables["cost"].drop(columns=["seconds", "passes"]), but_time, rtol=1e-5
    )
    end = pieces(out)
    assert end.keys() == pieces(whole[0]).keys()
    for before in written:
        assert before.items() <= end.items(), "a finished piece was made again"
    assert not list(out.rglob("*.unfinished"))


def test_a_folder_of_other_settings_is_refused(whole, quick, monkeypatch):
    out, _ = whole
    before = pieces(out)
    with pytest.raises(UserError, match="seed was 0, is 1.*another folder"):
        run(out, seed=1)
    more = MethodConfig("lime", options=(("num_samples", 20),), slow=True)
    with pytest.raises(UserError, match="options was .*'num_samples': 10.* is .*: 20"):
        run(out, methods=(*CHEAP, more))
    with pytest.raises(UserError, match="protocol was"):
        run(out, protocol=dataclasses.replace(PROTOCOL, slow_faces=1))
    other = dataclasses.replace(quick_detector(1.3), scale=2.0)
    with pytest.raises(UserError, match="weights was"):
        run(out, other)
    assert pieces(out) == before


def test_of_several_detectors_the_last_is_measured_in_all_ways(whole, quick, tmp_path):
    out = tmp_path / "both"
    shutil.copytree(whole[0], out)
    tables = run(out, [quick_detector(1.3), quick_detector(2.0)])
    once = {"cost", "randomisation", "planted", "filling"}
    for name, table in tables.items():
        scales = [2.0] if name in once else [1.3, 2.0]
        assert sorted(set(table.scale.round(1))) == pytest.approx(scales), name
        last = table[table.scale == 2].reset_index(drop=True)
        alone = whole[1][name]
        pd.testing.assert_frame_equal(last, alone, check_dtype=False, check_categorical=False)
    record = judged_settings(out)
    assert [case["scale"] for case in record["detectors"]] == [1.3, 2.0]
    assert record["detectors"][0]["options"] == {"lime": {"num_samples": 10}}
    assert record["versions"]["xaifake"] == xaifake.__version__


def test_without_twins_what_needs_none_is_measured(whole, quick, monkeypatch, tmp_path):
    faces, asked = few_faces(scale=2.0), []
    mean = faces.masks[::3].mean(axis=0)

    def twinless(*what):
        asked.append(("faces", *what))
        return dataclasses.replace(faces, originals=None)

    def own_mean(*what):
        asked.append(("mean mask", *what))
        return mean

    monkeypatch.setattr(runner, "load_faces", twinless)
    monkeypatch.setattr(runner.localisation, "mean_mask", own_mean)
    tables = run(tmp_path, faces_dir="control")
    assert list(tables) == list(WITHOUT_ORIGINALS)
    assert {p.stem for p in tmp_path.glob("*.parquet")} == set(WITHOUT_ORIGINALS)
    assert set(asked) == {("faces", "control", "test", 2.0), ("mean mask", 2.0, "control", None)}
    # The mean mask is that of the folder's own training faces, all else as with originals.
    theirs, ours = (t["localisation"] for t in (whole[1], tables))
    others = [table[table.method != "mean mask"] for table in (ours, theirs)]
    pd.testing.assert_frame_equal(*others, rtol=1e-5)
    rows = ours[ours.method == "mean mask"].reset_index(drop=True)
    chosen = faces_of(rows)
    maps = np.broadcast_to(mean, chosen.masks.shape)
    np.testing.assert_allclose(rows.mass, localise(maps, chosen).mass, rtol=1e-5)
    with pytest.raises(UserError, match="no sums.parquet.*Without originals it makes localisation"):
        judged("sums", tmp_path)


def test_two_detectors_of_one_scale_are_refused(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"scales \[2.0, 2.0\].*a folder of its own"):
        run(out, [quick_detector(), quick_detector()])
    with pytest.raises(UserError, match="a Detector is asked for"):
        run(out, [quick_detector().model])
    assert not out.exists()


def test_detectors_of_one_scale_are_told_apart_by_their_folds(tmp_path, monkeypatch):
    pair = [quick_detector(), quick_detector()]
    assert [fold for _, fold in runner._as_detectors(pair, [0, 3])] == [0, 3]
    for folds, said in (([0], "2 detectors and 1 folds"), ([1, 1], "by scale and fold")):
        with pytest.raises(UserError, match=said):
            run(tmp_path / "out", pair, folds=folds)
    asked = []
    monkeypatch.setattr(
        runner, "load_faces", lambda *what, **how: asked.append((what, how)) or stop()
    )
    with pytest.raises(Stopped):
        run(tmp_path, pair, faces_dir="folds", folds=[3, 0])
    assert asked == [(("folds", "test", 2.0), {"fold": 3})]


def test_the_new_experiments_are_about_faces_of_each_outcome(shipped, detector):
    _, tables = shipped
    texture, outside = tables["texture"], tables["outside"]
    assert set(texture.outcome) <= set(OUTCOMES) and len(texture) == 3 * 8
    assert set(outside.outcome) == {"found", "missed"} and len(outside) == 2 * 4
    for table in (texture, outside[outside.treatment == "take"]):
        rows = table.reset_index(drop=True)
        faces = faces_of(rows)
        start = faces.images if table is texture else faces.originals
        np.testing.assert_allclose(rows.logit_00, detector.logits(start), atol=1e-3)
    called = (texture.logit_00 > 0) == texture.outcome.isin(["found", "false alarm"])
    assert called.all()
    assert set(tables["harmless"].method) == {"none", "gradient"}
    assert set(tables["attacked"].method) == {
        "gradient", "edges", "centred Gaussian", "mean mask", "mask", "random segments",
    }  # fmt: skip
    assert tables["alike"].groupby("target").size().eq(1).all()
    assert tables["silent"].silent.between(0, 1).all() and tables["shapley"].error.ge(0).all()


def test_without_detectors_the_shipped_ones_are_judged(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(runner, "load_faces", lambda *how: asked.append(how) or stop())
    with pytest.raises(Stopped):
        judge(tmp_path, methods=CHEAP)
    assert asked == [(None, None, 1.3)]


def test_a_scale_may_be_a_whole_number():
    # Faces and detectors take 2 for 2.0: a run must not find out hours later that masks do not.
    np.testing.assert_array_equal(mean_mask(2), mean_mask(2.0))


def test_a_detector_that_finds_no_fake_is_refused(tmp_path, quick):
    model = small_network()
    model.layers[-1].set_weights([np.zeros((64, 1)), -np.ones(1)])
    with pytest.raises(UserError, match="finds no fake"):
        run(tmp_path, Detector(model))


def test_a_table_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="No table 'localization': give one of localisation, swaps"):
        judged("localization", tmp_path)
    with pytest.raises(UserError, match="no localisation.parquet in .*: run `xaifake judge`"):
        judged("localisation", tmp_path)
    with pytest.raises(UserError, match="no settings.json in .*: run `xaifake judge`"):
        judged_settings(tmp_path)


def drawn(people, found, sample, seed=0):
    """Draw from faces of which every third is real and only some fakes are found.

    Each picture's first value says whether the detector finds it.
    """
    rng = np.random.default_rng(seed)
    count = len(people)
    labels = (np.arange(count) % 3 > 0).astype(int)
    images = np.zeros((count, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = rng.random(count) < 0.9
    table = pd.DataFrame({
        "video": [f"{n // 2:03}" for n in range(count)], "frame": np.arange(count) % 2,
        "target": people, "number": np.arange(count),
    })  # fmt: skip
    faces = Faces(images, labels, images[..., 0] > 0, None, table, 2.0)
    candidates = np.flatnonzero((labels == 1) & (images[:, 0, 0, 0] == 1))
    chosen = faces[np.sort(rng.permutation(candidates)[:sample])]
    detector = SimpleNamespace(logits=lambda images: images[:, 0, 0, 0] - 0.5)
    rows = runner._draw_found(detector, faces, chosen, found, seed).table.number.tolist()
    return rows, candidates.tolist(), chosen.table.number.tolist()


EVEN = np.repeat(list("abcdef"), 30)
UNEVEN = np.repeat(list("abcd"), [90, 6, 30, 54])


@pytest.mark.parametrize("people", [EVEN, UNEVEN, np.tile(EVEN[::30], 30)])
@pytest.mark.parametrize("found, sample", [(20, 0), (20, 8), (60, 20), (20, 20), (500, 9)])
@pytest.mark.parametrize("seed", range(3))
def test_as_many_found_fakes_are_drawn_as_asked_for_with_the_sample(people, found, sample, seed):
    rows, candidates, chosen = drawn(people, found, sample, seed)
    assert len(rows) == len(set(rows)) == min(found, len(candidates))
    assert set(chosen) <= set(rows) <= set(candidates)
    assert rows == sorted(rows), "not in the order of the faces"
    assert rows == drawn(people, found, sample, seed)[0]


@pytest.mark.parametrize("sample", [0, 12])
@pytest.mark.parametrize("people", [EVEN, UNEVEN])
@pytest.mark.parametrize("seed", range(3))
def test_people_come_in_turns(people, sample, seed):
    rows, candidates, chosen = drawn(people, 40, sample, seed)
    names = pd.Series(people)
    drawn_of, there, sampled = (
        names[numbers].value_counts().reindex(sorted(set(people)), fill_value=0)
        for numbers in (rows, candidates, chosen)
    )
    # Who has less than another has no more to give, or the other has as many in the sample alone.
    top = drawn_of[drawn_of > sampled].max()
    behind = drawn_of[drawn_of < there]
    assert (behind >= top - 1).all(), drawn_of.to_dict()


def test_another_seed_draws_others():
    one, other = (drawn(EVEN, 20, 0, seed)[0] for seed in (0, 1))
    assert one != other


def test_methods_have_names_of_their_own_and_there_are_all():
    configs, protocol = runner.default_methods(), Protocol()
    names = [config.name for config in configs]
    assert len(set(names)) == len(names)
    assert not set(names) & {*BASELINES, "patch_effect", "best"}
    for config in configs:
        assert config.method in xaifake.methods(config.engine)
        assert config.name.startswith(config.method)
    assert set(protocol.moved) <= set(names)
    assert set(protocol.filled) <= {*names, *BASELINES, "patch_effect", "best"}
    assert {MethodConfig("gradient"), MethodConfig("gradient", absolute=True)} <= set(configs)


def test_a_method_that_is_registered_is_judged(monkeypatch):
    monkeypatch.setitem(METHODS, "mine", lambda question: question.images)
    assert MethodConfig("mine") in runner.default_methods()
    maps, columns = MethodConfig("mine").maps(quick_detector(), few_faces().images[:2])
    np.testing.assert_allclose(maps, preprocess(few_faces().images[:2]).sum(-1), atol=1e-6)
    np.testing.assert_allclose(
        columns["logit"], quick_detector().logits(few_faces().images[:2]), atol=1e-5
    )


def test_an_entry_sums_over_the_colours_sizes_if_absolute():
    model, images = quick_detector(), few_faces(scale=2.0).images[:2]
    relevance = xaifake.explain(model, images, "gradient", progress=False)
    maps, columns = MethodConfig("gradient").maps(model, images)
    np.testing.assert_allclose(maps, relevance.sum(axis=-1), rtol=1e-6)
    assert columns.keys() == {"logit", "sum"} and all(len(v) == 2 for v in columns.values())
    sizes, _ = MethodConfig("gradient", absolute=True).maps(model, images)
    np.testing.assert_allclose(sizes, np.abs(relevance).sum(axis=-1), rtol=1e-6)


def test_the_next_row_of_another_person_in_turn():
    assert next_person(list("aabcc")).tolist() == [2, 2, 3, 0, 0]
    assert next_person(list("abab")).tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize("size", [1e-34, 1e-6, 1.0, 1e5, 1e34])
def test_maps_of_any_size_are_stored_to_the_eleven_bits_of_float16(size):
    maps = (np.random.default_rng(0).normal(size=(3, 16, 16)) * size).astype(np.float32)
    maps[1] = 0
    stored = runner._pack(maps)
    assert stored["maps"].dtype == np.float16
    back = runner._unpack(stored)
    peak = np.abs(maps).max()
    np.testing.assert_allclose(back / peak, maps / peak, rtol=1e-3, atol=1e-7)


def test_methods_are_judged_in_float32_alone():
    with pytest.raises(UserError, match="judged in float32, not in bfloat16"):
        MethodConfig("lime", options=(("precision", "bfloat16"),))


def test_the_detector_is_fine_tuned_to_each_cue_and_all_methods_are_asked(whole):
    table = whole[1]["planted_xception"]
    assert table.groupby("cue", sort=False).method.agg(list).to_dict() == dict.fromkeys(CUES, NAMES)


def test_cues_are_left_out_if_none_are_given_and_planted_in_the_last_detector_of_a_scale(
    monkeypatch, tmp_path
):
    made = []

    class Case:
        def __init__(self, out, detector, *_):
            self.scale = detector.scale

        def jobs(self, last, tuned):
            made.append((self.scale, last, tuned))
            return []

        def tables(self, last, tuned):
            raise Stopped

    monkeypatch.setattr(runner, "_Case", Case)
    detectors = [quick_detector(scale) for scale in (1.3, 2.0, 1.3, 2.0)]
    with pytest.raises(Stopped):
        run(tmp_path, detectors, folds=[0, 0, 1, 1])
    assert made == [(1.3, 0, 0), (2.0, 0, 0), (1.3, 0, 1), (2.0, 1, 1)]
    monkeypatch.undo()
    make_small(monkeypatch)
    none = dataclasses.replace(PROTOCOL, cues=())
    ((_, fold),) = runner._as_detectors(quick_detector(), None)
    case = runner._Case(tmp_path, quick_detector(), None, "test", fold, 0, CHEAP, CHEAP, none)
    assert not any("cue adds" in name for name, _ in case.jobs(True, True))
