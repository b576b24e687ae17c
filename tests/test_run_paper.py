"""The paper's profile as a script: the command line takes its stages, each finds the one before."""

import json

import pytest
import typer

import chapters
import run_paper
from run_chapters import read_profile
from xaifake.cli import app
from xaifake.data.clips import embedded_clips


@pytest.fixture(scope="module")
def profile():
    return read_profile("paper")


def parsed(arguments):
    """What the command line makes of arguments, by the name of the parameter."""
    command = typer.main.get_command(app).commands[arguments[0]]
    return command.make_context(arguments[0], list(arguments[1:])).params


def test_the_command_line_takes_every_stage(profile, tmp_path):
    stages = run_paper.stages(profile, tmp_path, "tcp://10.0.0.1:8786")
    found = {name: parsed(arguments) for name, arguments in stages.items()}
    assert found["extract"]["scheduler"] == "tcp://10.0.0.1:8786"
    trained, cut = profile["03_training"], profile["02_face_extraction"]
    for name in ("images_per_epoch", "patch_epochs", "precision", "scale", "seed"):
        assert found["train"][name] == trained[name]
    assert found["train"]["epochs"] == trained["train_epochs"]
    chapter = chapters.read(chapters.NOTEBOOKS / "03_training.ipynb")
    call = next(cell.source for cell in chapter.cells if "log = train(" in cell.source)
    # Another number here, and chapter 3 would refuse to go on with the run.
    assert f"validation_images={found['train']['validation_images']}," in call
    frames = {kind: found["extract"][f"frames_per_{kind}"] for kind in ("real", "fake")}
    assert frames == cut["frames_per_video"]
    # The chapters look for what the stages before leave.
    weights = str(found["train"]["out"] / "weights.safetensors")
    assert found["extract"]["out"] == found["train"]["faces"] == found["judge"]["faces"]
    assert str(found["judge"]["weights"]) == weights
    for chapter in ("05_activations", "14_verdict"):
        assert str((chapters.NOTEBOOKS / profile[chapter]["weights"]).resolve()) == weights


def test_a_stage_leaves_its_report_and_a_failure_its_status(tmp_path, capfd):
    clips = embedded_clips("tiny")
    run_paper.run_stage("catalogue", ["catalogue", str(clips), "--json"], tmp_path / "reports")
    report = json.loads((tmp_path / "reports" / "catalogue.json").read_text())
    assert report["videos"]["real"]["found"] > 0
    assert run_paper.main(["--data", str(tmp_path / "nowhere")]) == 2
    told = capfd.readouterr().err
    assert "no folder" in told and "catalogue ended with 2" in told


def test_a_dry_run_prints_the_commands(capsys):
    assert run_paper.main(["--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [
        "catalogue", "extract", "train", "evaluate", *["maps"] * 4, "judge",
    ]  # fmt: skip
