"""Write the five pages that the book shows as examples, into `book/examples`.

    python tools/example_report.py [NAME ...]

A fake that is found, one that is missed, a genuine clip, a false alarm, and a face that the
software does not judge. Their people are new to the detector, and each page's reference is measured
without the person on it. Nobody picks them: of the clips of these people, judged by the faces that
come with the package and ordered by score and name, those that get the answer in question are tried
from the middle on until the page agrees; for a false alarm the genuine clips from the highest score
on. The detector is that of the larger scale, or where it gives no such page the other one. The face
that is not judged is the genuine example's, in a third of its size.
"""

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd

import chapters
from xaifake.data import load_faces, read_catalogue
from xaifake.data.clips import embedded_clips
from xaifake.data.encoding import VideoWriter
from xaifake.data.marks import LABELLED, SWAP, mp4_box
from xaifake.data.media import open_media
from xaifake.detector import Detector, evaluate
from xaifake.scales import SCALES
from xaifake.video.case_report import METHODS
from xaifake.video.reference import learn_reference, load_reference, log_odds
from xaifake.video.report import explain_video

FOLDER = chapters.ROOT / "book" / "examples"
SIZE = "small"
TRIES = 5  # clips
QUICK = [name for name in METHODS if name != "lime"]
# What the page is to say, by the example's name.
ANSWERS = {
    "found": "moderate".__eq__,
    "missed": "none".__eq__,
    "genuine": "none".__eq__,
    "false_alarm": lambda word: word in ("weak", "moderate"),
    "withheld": "withheld".__eq__,
}


def without(known, person):
    """Return what a reference says in words, of all people but one."""
    others = known.targets != person
    kept = {name: getattr(known, name)[others] for name in ("labels", "logits", "targets")}
    return replace(known, **kept)


def judged(detector, faces, known, catalogue):
    """Return path, label, target, logit and word of the clips, ordered by logit and name."""
    clips = evaluate(detector, faces, resamples=1, progress=True).frames.groupby("video")
    table = clips[["label", "target"]].first().assign(logit=clips.logit.agg(log_odds))
    table["word"] = [
        without(known, row.target).evidence.word(row.logit) for row in table.itertuples()
    ]
    paths = catalogue.set_index("video").path
    return table.assign(path=paths).dropna(subset="path").sort_values(["logit", "path"])


def candidates(table):
    """Return the rows to try for each of the first four examples, the first one first."""
    fakes, reals = table[table.label == 1], table[table.label == 0]
    groups = {
        "found": fakes[fakes.word == "moderate"],
        "missed": fakes[fakes.word == "none"],
        "genuine": reals[reals.word == "none"],
    }
    middle = {name: _from_the_middle(rows) for name, rows in groups.items()}
    return {**middle, "false_alarm": reals.iloc[::-1]}


def _from_the_middle(rows):
    return rows.iloc[np.argsort(np.abs(np.arange(len(rows)) - len(rows) // 2), kind="stable")]


def shrink(path, out):
    """Write a clip in a third of its size."""
    frames = [frame.image for frame in open_media(path).read()]
    size = tuple(side // 3 // 2 * 2 for side in frames[0].shape[1::-1])
    with VideoWriter(out, 18, size, mark=mp4_box(SWAP, LABELLED[0])) as writer:
        for image in frames:
            writer.write(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def page(name, path, target, detector, faces):
    """Write a page if it gives the answer that it is an example of; say whether it does."""
    others = faces[(faces.table.target != target).to_numpy()]
    reference = learn_reference(detector, others)
    report = explain_video(path, detector, QUICK, reference=reference)
    fits = list(map(ANSWERS[name], report.table.evidence)) == [True]
    if fits:
        report.write(FOLDER / f"{name}.html")
    print(f"{name}: {Path(path).name}{'' if fits else ' does not fit'}", flush=True)
    return fits


def tries(names, folder):
    """Yield name, detector, its faces and the rows to try, at the larger scale first."""
    catalogue = read_catalogue(embedded_clips(SIZE))
    for scale in sorted(SCALES, reverse=True):
        detector, faces = Detector.pretrained(scale), load_faces(scale=scale)
        rows = candidates(judged(detector, faces, load_reference(scale), catalogue))
        genuine = rows["genuine"].iloc[0]
        small = Path(folder) / f"small_{Path(genuine.path).name}"
        shrink(genuine.path, small)
        rows["withheld"] = pd.DataFrame([genuine.replace(genuine.path, str(small))])
        for name in names:
            yield name, detector, faces, rows[name].head(TRIES)


def main(names):
    """Write the pages named, or all; return 1 if there is no example of one, else 0."""
    missing = set(names or ANSWERS)
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        for name, detector, faces, rows in tries(names or list(ANSWERS), folder):
            some = (row for row in rows.itertuples() if name in missing)
            if any(page(name, row.path, row.target, detector, faces) for row in some):
                missing.discard(name)
            if not missing:
                return 0
    print(f"no example of {', '.join(sorted(missing))}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
