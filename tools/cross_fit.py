"""Train ten detectors, so that each of the 100 people is unseen by two of them.

    python tools/cross_fit.py FACES OUT --portraits FOLDER [--portraits FOLDER ...]

FACES holds the faces of the clips of size `folds`, cut with `--split given --originals`. For each
fold and scale there is one run of `xaifake train`, in OUT/SCALE_FOLD; its seed is the number of the
fold. They run one after another. Stopped at any time, the same command goes on from the last
checkpoint.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from xaifake.scales import SCALES

FOLDS = 5
RECIPE = {
    "epochs": 16,
    "images-per-epoch": 2496,
    "validation-images": 512,
    "batch-size": 32,
    "learning-rate": 0.001,
    "precision": "mixed_bfloat16",
    "portrait-share": 0.5,
}


def command(faces, out, portraits, scale, fold):
    """Return the command of one run."""
    options = {"scale": scale, "fold": fold, "seed": fold, **RECIPE}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    folders = [word for folder in portraits for word in ("--portraits", str(folder))]
    run = Path(out) / f"{scale}_{fold}"
    return [
        *(sys.executable, "-m", "xaifake.cli", "train", str(faces), "--out", str(run)),
        *(*words, *folders),
    ]


def main(faces, out, portraits):
    """Train whatever is not trained yet."""
    for fold in range(FOLDS):
        for scale in SCALES:
            if (Path(out) / f"{scale}_{fold}" / "card.json").is_file():
                continue
            words = command(faces, out, portraits, scale, fold)
            print(" ".join(words), flush=True)
            subprocess.run(words, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faces")
    parser.add_argument("out", type=Path)
    parser.add_argument("--portraits", action="append", default=[], required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(given.out / "cross_fit.lock", timeout=0):
            main(given.faces, given.out, given.portraits)
    except Timeout:
        sys.exit(f"Another run works in {given.out}: wait for it, or stop it first.")
