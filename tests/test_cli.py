"""The command line, from clips to scores, as a user types it."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from xaifake import explain
from xaifake.cli import app
from xaifake.data import extract_faces, read_catalogue
from xaifake.data.dataset import load_faces, read_manifest
from xaifake.errors import UserError

runner = CliRunner()


def run(*arguments, code=0):
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output


def test_former_names_of_options_are_taken_and_told():
    # Nothing is read: the folder is missing.
    output = run("extract", "nowhere", "--out", "x", "--twins", code=2)
    assert "--twins is --originals now" in output and "nowhere" in output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def clips(folder):
    run("clips", "--size", "tiny", "--out", folder / "clips", "--workers", 2)
    return folder / "clips"


@pytest.fixture(scope="module")
def faces(folder, clips):
    arguments = ["--frames-per-fake", 1, "--originals", "--workers", 2, "--split", "video"]
    output = run("extract", clips, "--out", folder / "faces", *arguments)
    assert "frames_per_video" in output
    return folder / "faces"


def test_every_command_has_help():
    overview = run("--help")
    for command in (
        "clips",
        "catalogue",
        "extract",
        "train",
        "evaluate",
        "maps",
        "explain",
        "judge",
    ):
        assert command in overview
        assert "Options" in run(command, "--help")


def as_json(*arguments):
    """What a command prints for a machine; anything beside the document would not parse."""
    result = runner.invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_machine_reads_what_clips_holds_and_what_was_cut(folder, clips, faces):
    assert as_json("clips", "--size", "tiny", "--out", clips)["fake"] == 24
    listed = as_json("catalogue", clips)
    assert listed["videos"]["fake"]["found"] == listed["with_mask"] == 24
    arguments = ["--frames-per-fake", 1, "--originals", "--split", "video"]
    cut = as_json("extract", clips, "--out", faces, *arguments)
    accepted = [row for row in cut["crops"] if row["scale"] == 1.3 and row["reason"] == ""]
    assert sum(row["count"] for row in accepted) == 48 and cut["unreadable"] == []
    assert cut["frames_per_video"]["fake"] == 1 and cut["left_out"] == []


def test_maps_are_those_of_explain_and_a_second_run_keeps_them(
    folder, shipped_detector, shipped_faces
):
    arguments = ["maps", "--method", "gradient", "--count", 3, "--out", folder / "maps"]
    assert as_json(*arguments)["maps"] == 3
    piece = folder / "maps" / "maps_0000.npz"
    before = piece.stat().st_mtime_ns
    assert "3 maps of gradient" in run(*arguments)
    assert piece.stat().st_mtime_ns == before
    table = pd.read_csv(folder / "maps" / "faces.csv")
    with np.load(piece) as stored:
        heatmaps = stored["heatmaps"]
    shipped = shipped_faces(2.0)
    rows = [0, round((len(shipped) - 1) / 2), len(shipped) - 1]
    model = shipped_detector(2.0)
    relevance = explain(model, shipped.images[rows], "gradient", progress=False)
    np.testing.assert_allclose(heatmaps, relevance.sum(-1), atol=1e-5 * np.abs(heatmaps).max())
    assert table.video.tolist() == shipped.table.video[rows].tolist()
    np.testing.assert_allclose(table.logit, model.logits(shipped.images[rows]), atol=1e-3)


def test_catalogue_tells_what_is_there_and_what_is_not(clips):
    (clips / "original_sequences/actors/c23/videos/holiday.mp4").touch()
    output = run("catalogue", clips)
    assert "3068" in output and "363" in output
    assert "fakes with a mask: 24; with their original: 24" in output
    assert "not understood" in output and "holiday.mp4" in output


def test_catalogue_aligns_fakes_to_their_originals(clips, tmp_path):
    some = ["003__look_around", "003_134__look_around"]
    for path in clips.rglob("*.mp4"):
        if "masks" not in path.parts and path.name.startswith(tuple(some)):
            (tmp_path / path.relative_to(clips)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / path.relative_to(clips))
    found = as_json("catalogue", tmp_path, "--align", "--workers", 1)
    assert found["with_mask"] == 0 and found["pairs"]
    assert {pair["status"] for pair in found["pairs"]} == {"pair"}
    output = run("catalogue", tmp_path, "--align", "--workers", 1)
    assert f"aligned to their original: {len(found['pairs'])} of {len(found['pairs'])}" in output


def test_labelled_videos_are_scored_per_video(clips, tmp_path, shipped_detector):
    names = [*sorted(clips.glob("original_sequences/**/*look_around.mp4"))]
    names += sorted(clips.glob("manipulated_sequences/DeepFakeDetection/c23/videos/*.mp4"))[::6]
    rows = [f"{path},{'fake' if '_sequences/D' in str(path) else 'real'}" for path in names]
    rows += ["nowhere.mp4,fake", f"{tmp_path / 'text.mp4'},real"]
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "mine.csv").write_text("file,label\n" + "\n".join(rows))
    found = as_json("evaluate", "--videos", tmp_path / "mine.csv", "--frames", 2)
    scores = {(row["level"], row["score"]): row for row in found["scores"]}
    catalogue = read_catalogue(tmp_path / "mine.csv").assign(split="test")
    few = {"real": 2, "fake": 2}
    extract_faces(catalogue, tmp_path / "faces", (2.0,), few, workers=1, progress=False)
    cut = load_faces(tmp_path / "faces", scale=2.0)
    logits = shipped_detector(2.0).logits(cut.images).astype(float)
    mean = cut.table.assign(p=expit(logits)).groupby("video")[["label", "p"]].mean()
    auc = scores["video", "auc"]
    assert auc["value"] == pytest.approx(roc_auc_score(mean.label, mean.p), abs=1e-6)
    assert auc["low"] <= auc["value"] <= auc["high"]
    told = {Path(row["video"]).name: row["reason"] for row in found["not_scored"]}
    assert told["nowhere.mp4"] == "missing" and "no video" in told["text"] and len(told) == 2
    for arguments in ([], ["faces", "--videos", "x.csv"]):
        assert "one of the two" in run("evaluate", *arguments, code=2)


def test_extract_balances_the_classes_and_cuts_both_scales(faces):
    manifest = read_manifest(faces)
    assert set(manifest.scale) == {1.3, 2.0}
    counts = manifest[manifest.scale == 1.3].label.value_counts()
    assert counts[1] == 24 and counts[0] == 24
    assert load_faces(faces, "train", 2.0).originals is not None


def test_train_and_evaluate_a_detector_of_ones_own(folder, faces):
    sizes = ["--epochs", 1, "--images-per-epoch", 4, "--batch-size", 4, "--validation-images", 2]
    output = run("train", faces, "--out", folder / "run", *sizes, "--patch-epochs", 1)
    assert "Weights" in output
    weights, scores = folder / "run" / "weights.safetensors", folder / "scores.json"
    output = run("evaluate", faces, "--weights", weights, "--out", scores)
    assert "equal_error_rate" in output
    rows = json.loads(scores.read_text())
    assert {(r["level"], r["score"]) for r in rows} >= {("frame", "auc"), ("video", "accuracy")}
    assert as_json("evaluate", faces, "--weights", weights)["scores"] == rows
    assert as_json("train", faces, "--out", folder / "run", *sizes, "--patch-epochs", 1)["log"]


def test_a_detector_of_somebody_else_is_asked_and_scored(tmp_path, shipped_detector):
    """It takes colours from 0 to 1 and ends in the probability of being real."""
    ours, inputs = shipped_detector(1.3), keras.Input((128, 128, 3))
    scaled = keras.layers.Rescaling(2.0, -1.0)(inputs)
    theirs = keras.Model(inputs, keras.layers.Activation("sigmoid")(-ours.model(scaled)))
    theirs.save(tmp_path / "theirs.keras")
    own = ["--model", tmp_path / "theirs.keras", "--scale", 1.3, "--value-range", 0, 1]
    out = ["--method", "gradient", "--count", 2, "--out", tmp_path / "maps"]
    told = run("maps", *out, *own, code=2)
    assert "AUC of 0.0" in told and "give fake=0" in told
    run("maps", *out, *own, "--fake", 0)
    table = pd.read_csv(tmp_path / "maps" / "faces.csv")
    run("maps", *out[:4], "--out", tmp_path / "ours", "--scale", 1.3)
    np.testing.assert_allclose(
        table.logit, pd.read_csv(tmp_path / "ours" / "faces.csv").logit, atol=1e-3
    )
    assert "name two detectors" in run("maps", *out, *own, "--weights", "x", code=2)
    assert "one --scale" in run("judge", "--out", "x", "--model", "x.keras", code=2)


def test_cross_fitted_detectors_are_judged_each_on_its_fold(tmp_path, monkeypatch):
    for name in ("1.3_0", "1.3_2", "2.0_1", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").touch()
    seen, cues = [], []

    def judge(out, detectors, *_, folds, protocol, **__):
        seen.extend(zip(detectors, folds, strict=True))
        cues.append(len(protocol.cues))
        raise UserError("seen")

    monkeypatch.setattr("xaifake.detector.Detector.pretrained",
                        lambda scale, path: (scale, path.parent.name))  # fmt: skip
    monkeypatch.setattr("xaifake.judge.runner.judge", judge)
    given = ["judge", "--out", "x", "--faces", "folds", "--cross-fit", tmp_path]
    run(*given, code=2)
    assert seen == [((1.3, "1.3_0"), 0), ((1.3, "1.3_2"), 2), ((2.0, "2.0_1"), 1)]
    run(*given, "--no-cues", code=2)
    assert cues == [4, 0]


def test_the_answers_to_labelled_videos_are_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [("a", 0, "x", "none"), ("b", 1, "x", "moderate"), ("c", 1, "y", "weak")]
    survey = pd.DataFrame(rows, columns=["video", "label", "target", "answer"])
    monkeypatch.setattr("xaifake.video.survey.survey_videos", lambda *_: survey)
    found = as_json("explain", "videos", "--table")
    assert [row["moderate"] for row in found["summary"]] == [0, 1]
    assert found["summary"][1]["share"] == 0.5 and found["answers"] == "videos_answers.csv"
    pd.testing.assert_frame_equal(pd.read_csv("videos_answers.csv"), survey)


GOES_ON = {
    "xaifake.data.clips.make_clips": ["clips", "--out", "x"],
    "xaifake.data.extraction.extract_faces": ["extract", "{clips}", "--out", "x"],
    "xaifake.detector.training.train": ["train", "{faces}", "--out", "x"],
    "xaifake.judge.maps.write_maps": ["maps", "--method", "gradient", "--out", "x"],
    "xaifake.video.report.explain_video": ["explain", "clip.mp4", "--out", "page.html"],
    "xaifake.video.survey.survey_videos": ["explain", "{clips}", "--table"],
    "xaifake.judge.runner.judge": ["judge", "--out", "x"],
}
STARTS_ANEW = {
    "xaifake.data.dfd.read_catalogue": ["catalogue", "{clips}"],
    "xaifake.detector.detector.build_xception": ["evaluate", "{faces}"],
    "xaifake.video.overlay.write_overlay": ["explain", "clip.mp4", "--video", "x.mp4"],
}


@pytest.mark.parametrize("stopped", [*GOES_ON, *STARTS_ANEW])
def test_ctrl_c_says_that_a_command_goes_on_only_where_it_does(
    stopped, clips, faces, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def stop(*_, **__):
        raise KeyboardInterrupt

    page = SimpleNamespace(write=lambda page: None, table=pd.DataFrame())
    monkeypatch.setattr("xaifake.video.report.explain_video", lambda *_: page)
    monkeypatch.setattr("xaifake.video.overlay.check_overlay", lambda *_: None)
    monkeypatch.setattr(stopped, stop)
    arguments = (GOES_ON | STARTS_ANEW)[stopped]
    output = run(*[a.format(clips=clips, faces=faces) for a in arguments], code=130)
    assert "xaifake: stopped" in output
    assert ("the same command goes on from here" in output) == (stopped in GOES_ON)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["catalogue", "nowhere"], "no folder"),
        (["extract", "nowhere", "--out", "x"], "no folder"),
        (["train", "nowhere", "--out", "x"], "no manifest.parquet"),
        (["evaluate", "nowhere"], "no manifest.parquet"),
        (["clips", "--out", "{clips}", "--size", "small"], "size was tiny, is small"),
        (["evaluate", "{faces}", "--scale", "1.7"], "1.7"),
        (["extract", "{clips}", "--out", "x", "--scheduler", "nowhere"], "No Dask scheduler"),
        (["maps", "--method", "magic", "--out", "x"], "No method 'magic'"),
        (["judge", "--out", "x", "--cross-fit", "nowhere"], "No runs named SCALE_FOLD"),
        (["maps", "--method", "gradient", "--count", "0", "--out", "x"], "at least 1"),
        (["explain", "nowhere.mp4"], "There is no nowhere.mp4"),
        (["explain", "clip.mp4", "--out", "page.pdf"], "ends in .html"),
        (["explain", "clip.mp4", "--video", "x.avi"], "ends in .mp4"),
        (["explain", "clip.mp4", "--methods", "magic"], "No method 'magic'"),
        (["explain", "clips", "--table", "--out", "page.html"], "ends in .csv"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(arguments, message, clips, faces, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = run(*[a.format(clips=clips, faces=faces) for a in arguments], code=2)
    assert message in output and "Traceback" not in output
