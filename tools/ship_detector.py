"""Score trained detectors and put weights, cards and test faces into the package.

    python tools/ship_detector.py RUNS FACES LEAKAGE

RUNS holds the folders `1.3` and `2.0` that `xaifake train` wrote; FACES the faces of the `full`
clips and LEAKAGE those of the `leakage` clips, both cut with `--originals`. The commands that made
them stand in book/model_card.md, which is written from the cards this leaves.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

import mark_pictures
import model_card
from xaifake.data import load_faces
from xaifake.data.clips import plan_clips
from xaifake.data.dataset import FACES, LEAKAGE_FACES, average_mask, pack_faces, read_manifest
from xaifake.detector.detector import Detector
from xaifake.detector.evaluation import (
    evaluate,
    evaluate_logits,
    false_positives_when_blurred,
    paired_test,
    recall_by,
    reliability_table,
)
from xaifake.detector.xception import WEIGHTS_FOLDER
from xaifake.judge.localisation import MEAN_MASKS
from xaifake.scales import SCALES

DEGRADED_EDGES = [0, 1, 40, 52, 65]  # 0 px: not degraded
FEATHER_EDGES = [1, 2.8, 4.4, 6.1]
TWIN_FAKES = 480
BLURRED_FACES = 320


def ship_faces(faces, leakage):
    """Pack the faces that come with the package, all with their originals.

    Of unseen people: of the first scene all six kinds of fake at the same two moments, of the
    second the whole-face fakes, and of every scene two real faces. For the leakage experiment, of
    seen and unseen people alike: three real faces of a clip and one of each fake.
    """
    rows = read_manifest(faces)
    rows = rows[rows.accepted & (rows.split == "test")]
    paired = (rows.label == 1) & rows.scene.isin(["look_around", "nod_and_smile"])
    shutil.rmtree(FACES, ignore_errors=True)
    kinds = [_moments(rows[paired], 2), _moments(rows[rows.label == 0], 2)]
    pack_faces(faces, FACES, pd.concat(kinds))
    rows = read_manifest(leakage)
    rows = rows[rows.accepted]
    kinds = [_moments(rows[rows.label == 0], 3), _moments(rows[rows.label == 1], 1)]
    shutil.rmtree(LEAKAGE_FACES, ignore_errors=True)
    pack_faces(leakage, LEAKAGE_FACES, pd.concat(kinds))
    for folder in (FACES, LEAKAGE_FACES):
        mark_pictures.mark_faces(folder)


def _moments(rows, count):
    """Some frames of each video, evenly spaced and away from its ends."""
    place = rows.groupby(["video", "scale"]).cumcount()
    size = rows.groupby(["video", "scale"]).frame.transform("size")
    wanted = [((2 * k + 1) * size) // (2 * count) for k in range(count)]
    return rows[np.any([place == one for one in wanted], axis=0)]


def ship_mean_masks(faces):
    """Store where the training fakes are manipulated on average, a baseline of chapter 11."""
    means = {f"{scale}": average_mask(faces, "train", scale) for scale in SCALES}
    MEAN_MASKS.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(MEAN_MASKS, **{k: mask.astype(np.float16) for k, mask in means.items()})


def score(model, faces, scale):
    """Return what the card says of a detector on all test faces of one scale, lists of records."""
    test = load_faces(faces, "test", scale)
    draws = plan_clips("full")[["video", "degraded_px", "feather_px"]]
    test.table = test.table.merge(draws, on="video", how="left")
    result = evaluate(model, test, progress=True)
    frames = result.frames
    whole = frames[frames.kind != "regional"]
    rng = np.random.default_rng(0)
    fakes, reals = (rng.permutation(np.flatnonzero(test.labels == label)) for label in (1, 0))
    fakes, reals = test[np.sort(fakes[:TWIN_FAKES])], test[np.sort(reals[:BLURRED_FACES])]
    tables = {
        "scores": result.scores,
        "scores_whole_face": evaluate_logits(whole, whole.logit).scores,
        "confusion": result.confusion,
        "recall_by_kind": recall_by(result, "kind"),
        "recall_by_region": recall_by(result, "region"),
        "recall_by_degradation": recall_by(result, "degraded_px", DEGRADED_EDGES),
        "recall_by_feather": recall_by(result, "feather_px", FEATHER_EDGES),
        "reliability": reliability_table(frames.label, frames.probability),
        "blurred_reals": false_positives_when_blurred(model, reals),
        "paired_test": paired_test(model, fakes).scores,
    }
    return {name: _records(table) for name, table in tables.items()}


def _records(table):
    # Bins become text, numbers are rounded to what two machines agree on.
    table = table.apply(lambda c: c.astype(str) if c.dtype == "category" else c)
    return json.loads(table.round(4).to_json(orient="records"))


def ship(run, faces, scale):
    """Score one detector and put its weights and card into the package."""
    model = Detector.pretrained(scale, run / "weights.safetensors")
    card = json.loads((run / "card.json").read_text(encoding="utf-8"))
    card["test"] = score(model, faces, scale)
    shipped = evaluate(model, load_faces(FACES, "test", scale), progress=True)
    card["shipped_faces"] = _records(shipped.scores)
    WEIGHTS_FOLDER.mkdir(exist_ok=True)
    path = WEIGHTS_FOLDER / f"xception_{scale:.1f}.json"
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    shutil.copy(run / "weights.safetensors", path.with_suffix(".safetensors"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("runs", "faces", "leakage"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    ship_faces(options.faces, options.leakage)
    ship_mean_masks(options.faces)
    for scale in SCALES:
        ship(options.runs / f"{scale:.1f}", options.faces, scale)
    model_card.write()
