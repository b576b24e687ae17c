"""The script that trains a detector for each fold and scale."""

import inspect
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import cross_fit
from xaifake.cli import app
from xaifake.data import load_faces
from xaifake.data.clips import plan_clips
from xaifake.detector import training

PEOPLE = [f"{n:03d}" for n in range(20)]


@pytest.fixture
def started(monkeypatch):
    """The commands that would have been run; what they leave is not scored."""
    commands = []
    monkeypatch.setattr(cross_fit, "keep", lambda *run: None)
    monkeypatch.setattr(cross_fit.subprocess, "run", lambda words, check: commands.append(words))
    return commands


def test_every_fold_and_scale_has_one_run_that_leaves_the_fold_out(started, tmp_path):
    cross_fit.main("faces", tmp_path, ["one", "two"])
    given = [dict(zip(words[5::2], words[6::2], strict=True)) for words in started]
    assert {(one["--scale"], one["--fold"]) for one in given} == {
        (scale, str(fold)) for scale in ("1.3", "2.0") for fold in range(5)
    }
    assert len({one["--out"] for one in given}) == len(given) == 10
    assert all(one["--seed"] == one["--fold"] for one in given)
    assert all(words.count("--portraits") == 2 for words in started)


def test_what_is_trained_is_not_trained_again(started, tmp_path):
    (tmp_path / "2.0_3").mkdir()
    (tmp_path / "2.0_3" / "card.json").touch()
    cross_fit.main("faces", tmp_path, ["one"])
    assert len(started) == 9 and not any(str(tmp_path / "2.0_3") in words for words in started)


def test_the_command_line_hands_all_settings_to_the_training(started, tmp_path, monkeypatch):
    handed = []

    def train(*arguments, **named):
        handed.append(inspect.signature(trained).bind(*arguments, **named).arguments)
        (tmp_path / "1.3_2").mkdir()
        (tmp_path / "1.3_2" / "card.json").write_text("{}")

    trained = training.train
    monkeypatch.setattr(training, "train", train)
    words = cross_fit.command("faces", tmp_path, ["one", "two"], 1.3, 2)
    done = CliRunner().invoke(app, words[3:])
    assert done.exit_code == 0, done.output
    (settings,) = handed
    assert [folder.name for folder in settings["portraits"]] == ["one", "two"]
    assert (settings["scale"], settings["fold"], settings["seed"]) == (1.3, 2, 2)
    for name, value in cross_fit.RECIPE.items():
        assert settings[name.replace("-", "_")] == value, name


def answers(real, degraded, undegraded, blurred=0.0, original=-9.0):
    """Return a table as `cross_fit.answers` makes it, with one face of each kind per person."""
    kinds = {"real": real, "degraded": degraded, "undegraded": undegraded}
    parts = [pd.DataFrame({"target": PEOPLE, "label": int(kind != "real"), "logit": logit,
                           "degraded_px": {"real": np.nan, "degraded": 40.0}.get(kind, 0.0),
                           "logit_original": np.nan if kind == "real" else original,
                           "logit_blurred": blurred if kind == "real" else np.nan})
             for kind, logit in kinds.items()]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_each_score_is_what_it_is_called():
    low = np.arange(20) - 15.5  # four real faces are called fake
    found = cross_fit.scores(answers(low, 10.0, -100.0, blurred=1.0)).value
    assert found["auc_degraded"] == 1 and found["auc_undegraded"] == 0 and found["auc"] == 0.5
    assert found["false_alarms"] == 0.2
    assert found["degraded"] == 1 and found["undegraded"] == 0 and found["blurred"] == 1
    assert found["above"] == 0.5


def test_the_threshold_is_exceeded_by_a_twentieth_of_the_real_faces():
    real = np.arange(20.0)  # of which one lies above 18
    found = cross_fit.scores(answers(real, 18.5, 18.0, blurred=real - 0.5)).value
    assert found["degraded_at"] == 1 and found["undegraded_at"] == 0
    assert found["blurred_at"] == 0.05  # 18.5
    assert found["degraded"] == found["undegraded"] == 1  # at a logit of 0


def test_a_threshold_is_drawn_anew_with_the_people():
    rng = np.random.default_rng(0)
    # All people have the same fake, so what moves with them is the threshold alone.
    real = np.sort(rng.normal(size=20))
    table = cross_fit.scores(answers(real, real[-2:].mean(), rng.normal(size=20)))
    assert table.low["degraded"] == table.high["degraded"] == 1
    assert (table.low["degraded_at"], table.high["degraded_at"]) == (0, 1)
    assert (table.low <= table.value).all() and (table.value <= table.high).all()


def test_answers_are_of_fakes_originals_and_blurred_real_faces(monkeypatch):
    faces = load_faces(split="test", scale=1.3)
    faces = faces[np.r_[np.flatnonzero(faces.labels)[:3], np.flatnonzero(faces.labels == 0)[:2]]]
    plan = plan_clips("folds").iloc[:1]
    plan = plan.assign(video=faces.table.video[0], degraded_px=41.5)
    monkeypatch.setattr(cross_fit, "plan_clips", lambda size: plan)
    sharp = SimpleNamespace(logits=lambda images, progress: images.std(axis=(1, 2, 3)))
    table = cross_fit.answers(sharp, faces)
    fake = faces.labels == 1
    assert np.allclose(table.logit, sharp.logits(faces.images, False), rtol=1e-6)
    assert np.allclose(table.logit_original[fake], sharp.logits(faces.originals[fake], False))
    assert (table.logit_blurred[~fake] < table.logit[~fake]).all()
    assert table.logit_original[~fake].isna().all() and table.logit_blurred[fake].isna().all()
    known = (table.video == faces.table.video[0]).to_numpy()
    assert (table.degraded_px[known] == 41.5).all() and table.degraded_px[~known].isna().all()


@pytest.mark.parametrize("fold", [0, 3])
def test_one_folds_weights_are_kept(monkeypatch, tmp_path, fold):
    run = tmp_path / "run"
    run.mkdir()
    (run / "card.json").write_text("{}")
    (run / "weights.safetensors").write_text("weights")
    loaded = []
    monkeypatch.setattr(cross_fit, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(cross_fit, "write", lambda: None)
    monkeypatch.setattr(cross_fit, "load_faces", lambda *asked: loaded.append(asked))
    monkeypatch.setattr(cross_fit.Detector, "pretrained", lambda scale, weights: None)
    monkeypatch.setattr(cross_fit, "answers", lambda *_: answers(0.0, 1.0, 1.0))
    cross_fit.keep(run, "faces", 2.0, fold)
    assert loaded == [("faces", "test", 2.0, fold)]
    kept = {path.name for path in (tmp_path / "records" / f"2.0_{fold}").iterdir()}
    weights = {"weights.safetensors"} if fold == 0 else set()
    assert kept == {"card.json", "answers.parquet", *weights}


def test_the_tables_say_what_the_page_concludes():
    found = [cross_fit.scores(pd.read_parquet(path)).value
             for path in sorted(cross_fit.RECORDS.glob("*/" + cross_fit.ANSWERS))]  # fmt: skip
    assert found
    for one in found:
        assert one["auc_degraded"] > 0.85 > 0.65 > one["auc_undegraded"]
        assert one["undegraded_at"] < 0.15
        assert one["blurred"] > 0.5 > 0.15 > one["blurred_at"]
