"""Train ten detectors, so that each of the 100 people is unseen by two of them, and score them.

    python tools/cross_fit.py FACES OUT --portraits FOLDER [--portraits FOLDER ...]

FACES holds the faces of the clips of size `folds`, cut with `--split given --originals`. For each
fold and scale there is one run of `xaifake train`, in OUT/SCALE_FOLD; its seed is the number of the
fold. They run one after another. When a run has ended, its card and its answers to the people that
it has not seen go into `book/cross_fit`, from which `book/cross_fit.md` is written. Stopped at any
time, the same command goes on from the last checkpoint.
"""

import argparse
import json
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from sklearn.metrics import roc_auc_score

import chapters
from xaifake.data import load_faces
from xaifake.data.clips import plan_clips
from xaifake.detector import Detector
from xaifake.detector.intervals import interval_over_people
from xaifake.judge.perturbations import Blur
from xaifake.runs import read_parquet, write_whole
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
RECORDS = chapters.ROOT / "book" / "cross_fit"
PAGE = chapters.ROOT / "book" / "cross_fit.md"
ANSWERS = "answers.parquet"
SHIPPED = 0  # the fold whose weights are kept; the others are 42 MB each
BLUR = 1.5  # pixels
FALSE_ALARMS = 0.05
DESCRIBED = ["video", "frame", "target", "label", "kind", "region"]
SCORES = {
    "auc": "ROC AUC, frames",
    "auc_degraded": "ROC AUC, degraded fakes",
    "auc_undegraded": "ROC AUC, undegraded fakes",
    "false_alarms": "real called fake",
    "degraded": "degraded fakes called fake",
    "undegraded": "undegraded fakes called fake",
    "blurred": "real, blurred, called fake",
    "degraded_at": "degraded fakes found",
    "undegraded_at": "undegraded fakes found",
    "blurred_at": "real, blurred, called fake",
    "above": "fakes that score above their original",
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
    """Train and score whatever is not there yet, and write the page."""
    for fold in range(FOLDS):
        for scale in SCALES:
            if not (Path(out) / f"{scale}_{fold}" / "card.json").is_file():
                words = command(faces, out, portraits, scale, fold)
                print(" ".join(words), flush=True)
                subprocess.run(words, check=True)
            if not (kept(scale, fold) / ANSWERS).is_file():
                keep(Path(out) / f"{scale}_{fold}", faces, scale, fold)


def kept(scale, fold):
    """Return the folder of what is kept of a run."""
    return RECORDS / f"{scale}_{fold}"


def keep(run, faces, scale, fold):
    """Keep a run's card, its answers to unseen people and, of one fold, its weights."""
    detector = Detector.pretrained(scale, run / "weights.safetensors")
    table = answers(detector, load_faces(faces, "test", scale, fold))
    folder = kept(scale, fold)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("card.json", "weights.safetensors")[: 1 + (fold == SHIPPED)]:
        shutil.copy(run / name, folder)
    with write_whole(folder / ANSWERS) as file:  # last: where it is, all is
        table.to_parquet(file, index=False)
    write()


def answers(detector, test):
    """Return what a detector says of faces, of the fakes' originals, and of real ones blurred."""
    real = test.labels == 0
    table = test.table[DESCRIBED].assign(logit=detector.logits(test.images, progress=True))
    table.loc[~real, "logit_original"] = detector.logits(test.originals[~real], progress=True)
    blurred = Blur(BLUR).apply(test.images[real])
    table.loc[real, "logit_blurred"] = detector.logits(blurred, progress=True)
    plan = plan_clips("folds")[["video", "degraded_px", "feather_px"]]
    table = table.merge(plan, on="video", how="left", validate="many_to_one")
    return table.astype(dict.fromkeys(table.select_dtypes("float64"), "float32"))


def scores(table):
    """Score the answers of `answers`: a table with value, low and high by the names of `SCORES`.

    Those that end in "_at" are asked at the threshold which `FALSE_ALARMS` of the real frames
    exceed, the others at a logit of 0. The 95 % intervals come from drawing people anew.
    """
    real, degraded = (table.label == 0).to_numpy(), (table.degraded_px > 0).to_numpy()
    kinds = {"degraded": degraded, "undegraded": ~real & ~degraded}
    logit, blurred = table.logit.to_numpy(float), table.logit_blurred.to_numpy(float)
    above = logit > table.logit_original.to_numpy(float)
    order = np.argsort(-logit[real])

    def measure(weights):
        alarms = np.cumsum(weights[real][order]) / weights[real].sum()
        threshold = logit[real][order][np.searchsorted(alarms, FALSE_ALARMS, side="right")]
        found = {"auc": _auc(logit, real, ~real, weights)}
        found |= {f"auc_{name}": _auc(logit, real, kind, weights) for name, kind in kinds.items()}
        for end, limit in {"": 0.0, "_at": threshold}.items():
            found |= {name + end: _share(logit > limit, kind, weights)
                      for name, kind in kinds.items()}  # fmt: skip
            found[f"blurred{end}"] = _share(blurred > limit, real, weights)
        found["false_alarms"] = _share(logit > 0, real, weights)
        found["above"] = _share(above, ~real, weights)
        return [found[name] for name in SCORES]

    low, high = interval_over_people(measure, table.target)
    values = measure(np.ones(len(table)))
    return pd.DataFrame({"value": values, "low": low, "high": high}, index=list(SCORES))


def _share(said, which, weights):
    return np.average(said[which], weights=weights[which])


def _auc(logit, real, fake, weights):
    asked = real | fake
    return roc_auc_score(fake[asked], logit[asked], sample_weight=weights[asked])


def page():
    """Return the text of the page."""
    tables = {
        run: read_parquet(kept(*run) / ANSWERS).to_pandas()
        for run in product(SCALES, range(FOLDS))
        if (kept(*run) / ANSWERS).is_file()
    }
    first, one = next(iter(tables.items()))
    given = {
        "runs": {run: scores(table) for run, table in tables.items()},
        "card": json.loads((kept(*first) / "card.json").read_text(encoding="utf-8")),
        "people": one.target.nunique(),
        "frames": len(one),
        "clips": one.video.nunique(),
        "names": SCORES,
        "blur": BLUR,
        "false_alarms": FALSE_ALARMS,
    }  # fmt: skip
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("cross_fit.md.jinja").render(given)


def write():
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


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
