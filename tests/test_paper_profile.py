"""The paper's profile, DFD on a GPU, walked through on the embedded clips for one short epoch.

Chapters 6, 8 and 9 do the same with any faces; tests/test_colab.py runs them on faces of one's own.
"""

import pytest

import chapters
import run_chapters
from xaifake.data.clips import embedded_clips

SAME_WITH_ANY_FACES = ("06_lrp", "08_perturbations", "09_localisation")
CHAPTERS = [p for p in chapters.chapter_paths() if p.stem not in SAME_WITH_ANY_FACES]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The chapters run with the paper's parameters, but on the embedded clips and a CPU."""
    folder = tmp_path_factory.mktemp("paper")
    profile = run_chapters.read_profile("paper")
    on_embedded_clips = {
        "data_root": str(embedded_clips("small")),
        "faces_folder": str(folder / "faces"),
        "frames_per_video": {"real": 4, "fake": 2},
        "train_epochs": 1,
        "images_per_epoch": 32,
        "precision": "float32",
        "run_folder": str(folder / "run"),
        "test_faces": 40,
        "weights": None,  # a network that was trained for a minute finds no fakes to explain
        "measured_faces": 16,
        "num_samples": 16,
        "explained": 1,
        "steps": 4,
        "judged_folder": None,  # measuring all methods takes an hour
        "train_steps": 10,
        "asked": 2,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TQDM_DISABLE", "1")
        for path in CHAPTERS:
            values = profile[path.stem]
            values |= {name: v for name, v in on_embedded_clips.items() if name in values}
            run_chapters.run_chapter(path, values, folder, progress=False)
    return folder


def printed(path):
    cells = [cell for cell in chapters.read(path).cells if cell.cell_type == "code"]
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


def test_every_chapter_runs_through(executed):
    for path in CHAPTERS:
        assert (executed / path.name).is_file()


def test_the_detector_that_was_trained_is_the_one_that_is_scored(executed):
    text = printed(executed / "03_training.ipynb")
    assert "\nimages: 32\n" in "\n" + text  # from the run's own card, not from the shipped one
    assert (executed / "faces" / "manifest.parquet").is_file()
    assert (executed / "run" / "run" / "weights.safetensors").is_file()  # for the next chapters
