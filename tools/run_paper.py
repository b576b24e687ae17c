"""Take DeepFakeDetection through every stage with the paper's settings: a job for a GPU machine.

    python tools/run_paper.py [--data data/DFD] [--scheduler ADDRESS] [--dry-run]

Catalogue, faces, training, scores, maps, every method judged, and at last the chapters, which find
what the stages before them have left. The settings are those of `notebooks/profiles/paper.yml`.
Every stage may be killed: the same command goes on. To a batch system it is one line, such as

    sbatch --gpus=1 --cpus-per-task=16 --mem=64G --time=72:00:00 --wrap \
        ".venv/bin/python tools/run_paper.py"
"""

import argparse
import subprocess
import sys
from pathlib import Path

import chapters
from run_chapters import read_profile

MAPS = ("grad_cam", "guided_backprop", "integrated_gradients", "lrp.sequential_preset_b_flat")
MAPPED = 1000  # test faces
VALIDATION_IMAGES = 64  # as in chapter 3, which goes on with this very run


def stages(profile, data, scheduler=None):
    """Return the arguments of `xaifake` for each stage before the chapters, by its name.

    A stage with ``--json`` leaves its document beside the faces. `profile` has the parameters by
    chapter, `data` is the folder that holds ``original_sequences``, and `scheduler`, if given, that
    of a Dask cluster for the extraction.
    """
    cut, trained = profile["02_face_extraction"], profile["03_training"]
    faces, run = _place(cut["faces_folder"]), _place(trained["run_folder"]) / "run"
    frames, scale = cut["frames_per_video"], ["--scale", trained["scale"]]
    own = [*scale, "--weights", run / "weights.safetensors"]
    cluster = ["--scheduler", scheduler] if scheduler else []
    judged = ["judge", "--out", _place(profile["14_verdict"]["judged_folder"])]
    found = {
        "catalogue": ["catalogue", data, "--json"],
        "extract": [
            "extract", data, "--out", faces, "--frames-per-fake", frames["fake"],
            "--frames-per-real", frames["real"], "--seed", cut["seed"], "--json", *cluster,
        ],
        "train": [
            "train", faces, "--out", run, *scale, "--epochs", trained["train_epochs"],
            "--images-per-epoch", trained["images_per_epoch"],
            "--patch-epochs", trained["patch_epochs"], "--precision", trained["precision"],
            "--validation-images", VALIDATION_IMAGES, "--seed", trained["seed"],
        ],
        "evaluate": ["evaluate", faces, *own, "--json"],
    }  # fmt: skip
    for method in MAPS:
        out = ["--faces", faces, "--out", run.parent / "maps" / method]
        found[f"maps {method}"] = ["maps", "--method", method, "--count", MAPPED, *own, *out]
    found["judge"] = [*judged, *own, "--faces", faces]
    return {name: [str(argument) for argument in stage] for name, stage in found.items()}


def _place(folder):
    """Return a folder of the profile, whose paths start in notebooks/."""
    return (chapters.NOTEBOOKS / folder).resolve()


def run_stage(name, arguments, reports):
    """Run one stage; its JSON goes to a file in the folder of reports."""
    print(f"\n== {name}: xaifake {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "xaifake.cli", *arguments]
    if "--json" not in arguments:
        subprocess.run(command, check=True)
        return
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    reports.mkdir(parents=True, exist_ok=True)
    (reports / f"{name}.json").write_text(text, encoding="utf-8")


def main(arguments=None):
    """Run all stages and the chapters; return 0, or the status of the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="by default the profile's own data_root")
    parser.add_argument("--scheduler", help="of a Dask cluster that cuts the faces")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and stop")
    options = parser.parse_args(arguments)
    profile = read_profile("paper")
    data = options.data or _place(profile["02_face_extraction"]["data_root"])
    todo = stages(profile, data.resolve(), options.scheduler)
    if options.dry_run:
        print("\n".join(f"xaifake {' '.join(stage)}" for stage in todo.values()))
        return 0
    reports = _place(profile["02_face_extraction"]["faces_folder"]).with_name("reports")
    try:
        for name, stage in todo.items():
            run_stage(name, stage, reports)
    except subprocess.CalledProcessError as error:
        print(f"{name} ended with {error.returncode}; the same command goes on.", file=sys.stderr)
        return error.returncode
    command = [sys.executable, str(chapters.ROOT / "tools" / "run_chapters.py")]
    return subprocess.run([*command, "--profile", "paper", "--out", "_build/paper"]).returncode


if __name__ == "__main__":
    sys.exit(main())
