"""The script that trains a detector for each fold and scale."""

import inspect

import pytest
from typer.testing import CliRunner

import cross_fit
from xaifake.cli import app
from xaifake.detector import training


@pytest.fixture
def started(monkeypatch):
    """The commands that would have been run."""
    commands = []
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
