"""Compute what takes too long for a chapter, once, and store it in the package.

    python tools/compute_grids.py [rules] [agreement] [perturbations] [lime] [judge] [reference]

All of them if none is named. Every part is kept in `_build` as it is finished, so that a run which
was killed goes on where it stopped; delete `_build/grids` and `_build/judged` after a change of
weights, faces or methods. The chapters run an entry or two of each again and compare.
"""

import json
import shutil
import subprocess
import sys
from itertools import combinations, product

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from tqdm import tqdm

import chapters
from xaifake.data import load_faces
from xaifake.data.folders import whole_file, write_text
from xaifake.detector import found_fakes, load_detector, sample_found_fakes
from xaifake.detector.reference import STORED as REFERENCES
from xaifake.detector.reference import learn_reference
from xaifake.detector.xception import WEIGHTS_FOLDER
from xaifake.explainers import explain, methods
from xaifake.explainers.innvestigate import Refused
from xaifake.explainers.lime import Classifier, fit_surrogate, make_fills, segment
from xaifake.explainers.question import ask
from xaifake.explainers.stored import GRIDS, RuleGrid, write_rule_grid
from xaifake.judge.localisation import region_masks, relevance_mass_accuracy
from xaifake.judge.perturbations import SWEEP, perturbation_curve
from xaifake.judge.verdict import STORED
from xaifake.judge.verdict import judge as run_judge
from xaifake.scales import SCALES

PARTS = chapters.ROOT / "_build" / "grids"
REGIONS = ("whole", "eyes")
# The general rules need settings, and the others would show a map twice.
LEFT_OUT = {"lrp", "lrp.alpha_beta", "gradient.baseline", "lrp.z_plus"}
OPTIONS = {
    "lrp.sequential_preset_b_flat_until_idx": {"until_layer_idx": 20},
    "deep_taylor.bounded": {"low": -1.0, "high": 1.0},
}
# LRP methods of both engines, without those that need a setting.
SHARED = [
    name
    for name in methods()
    if name in methods("innvestigate")
    and name.startswith("lrp.")
    and name not in LEFT_OUT
    and not name.endswith("_idx")
]
LIME_COUNTS = (50, 100, 200, 400)
LIME_SEEDS = (0, 1, 2)
LIME_FACES = 4


def rules():
    """Map a whole-face fake and one of the eyes by iNNvestigate's methods, and by our LRP."""
    for scale in SCALES:
        model, faces = load_detector(scale), load_faces(scale=scale)
        chosen = [found_fakes(model, faces, 1, region) for region in REGIONS]
        images = np.concatenate([face.images for face in chosen])
        keys = [(face.table.video[0], int(face.table.frame[0])) for face in chosen]
        grid = RuleGrid(keys, {}, {}, {})
        names = [name for name in methods("innvestigate") if name not in LEFT_OUT]
        for name in tqdm(names, desc=f"rules {scale}x"):
            part = PARTS / f"rules_{scale}_{name}.npz"
            if not part.exists():
                _save(part, **_run_rule(model, images, name))
            with np.load(part) as stored:
                if "heatmaps" in stored:
                    grid.heatmaps[name] = stored["heatmaps"]
                else:
                    grid.refused[name] = str(stored["reason"])
        for name in SHARED:
            grid.own[name] = explain(model, images, name, progress=False).sum(axis=-1)
        write_rule_grid(grid, scale)


def _run_rule(model, images, name):
    options = OPTIONS.get(name, {})
    try:
        relevance = explain(model, images, name, engine="innvestigate", progress=False, **options)
    except Refused as error:
        return {"reason": str(error)}
    return {"heatmaps": relevance.sum(axis=-1)}


def agreement():
    """Compare the LRP maps of both engines on fifty fakes a scale."""
    tables = []
    for scale in SCALES:
        model = load_detector(scale)
        faces = sample_found_fakes(model, load_faces(scale=scale))
        regions = region_masks(faces)
        areas = {"in_mask": faces.masks, "nose_mouth": regions["nose"] | regions["mouth"]}
        for name in tqdm(SHARED, desc=f"agreement {scale}x"):
            part = PARTS / f"agreement_{scale}_{name}.npz"
            if not part.exists():
                _save(part, **_run_rule(model, faces.images, name))
            with np.load(part) as stored:
                library = stored["heatmaps"].astype(float)
            own, report = explain(model, faces.images, name, progress=False, return_report=True)
            table = faces.table[["video", "frame", "region"]].assign(scale=scale, method=name)
            table = _compare(table, own.sum(axis=-1, dtype=float), library, areas)
            tables.append(table.assign(logit=report.logit))
    _write(pd.concat(tables), GRIDS / "rule_agreement.csv")


def _compare(table, own, library, areas):
    """Add to a table how alike two sets of maps are, and what each says of some areas."""
    pairs = [(a.ravel(), b.ravel()) for a, b in zip(own, library, strict=True)]
    table = table.assign(
        correlation=[np.corrcoef(*pair)[0, 1] for pair in pairs],
        rank_correlation=[spearmanr(*pair)[0] for pair in pairs],
    )
    for suffix, maps in {"": own, "_library": library}.items():
        table[f"sum{suffix}"] = maps.sum((1, 2))
        table[f"size{suffix}"] = np.abs(maps).sum((1, 2))
        for area, masks in areas.items():
            table[f"{area}{suffix}"] = relevance_mass_accuracy(maps, masks)
    for area, masks in areas.items():
        table[f"{area}_by_chance"] = masks.mean((1, 2))
    return table


def perturbations():
    """Score both detectors under every perturbation of the sweep."""
    tables = []
    for scale in SCALES:
        model, faces = load_detector(scale), load_faces(scale=scale)
        for perturbation in tqdm(SWEEP, desc=f"perturbations {scale}x"):
            name = f"{perturbation.kind}_{perturbation.strength:g}"
            part = PARTS / f"perturbation_{scale}_{name}.csv"
            if not part.exists():
                table = perturbation_curve(model, faces, [perturbation], progress=False)
                _write(table.assign(scale=scale), part)
            tables.append(pd.read_csv(part))
    _write(pd.concat(tables), GRIDS / "perturbations.csv")


def lime():
    """Fit LIME with several fills, seeds and numbers of samples around some faces."""
    model, faces = load_detector(2.0), load_faces(scale=2.0)
    chosen = found_fakes(model, faces, LIME_FACES, "whole")
    question = ask(model, chosen.images)
    segments = segment(question, "slic")
    pictures = 4 * len(chosen) * len(LIME_SEEDS) * max(LIME_COUNTS)  # with each of four fills
    classify = Classifier(question, pictures)
    fills = {name: make_fills(question, name) for name in ("mean", "grey", "blur")}
    fills["twin"] = make_fills(question, chosen.twins)
    rows = []
    for fill, number in tqdm(list(product(fills, range(len(chosen)))), desc="lime"):
        key = {"video": chosen.table.video[number], "frame": int(chosen.table.frame[number])}
        part = PARTS / f"lime_{fill}_{key['video']}_{key['frame']}.csv"
        if not part.exists():
            case = question.images[number], segments[number], fills[fill][number]
            table = pd.DataFrame(_sweep_samples(classify, *case))
            _write(table.assign(**key, fill=fill), part)
        rows.append(pd.read_csv(part))
    _write(pd.concat(rows), GRIDS / "lime_sweep.csv")


def _sweep_samples(classify, image, segments, fill):
    """Compare the seeds at each number of samples; fewer samples are the first of the many."""
    answers = {seed: _record(classify, image, segments, fill, seed) for seed in LIME_SEEDS}
    for count in LIME_COUNTS:
        found = [
            fit_surrogate(_replay(answers[seed]), image, segments, fill, count, seed)
            for seed in LIME_SEEDS
        ]
        pairs = combinations([surrogate.weights for surrogate in found], 2)
        yield {
            "num_samples": count,
            "r2": np.mean([surrogate.r2 for surrogate in found]),
            "agreement": np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]),
        }


def _record(classify, image, segments, fill, seed):
    answers = []

    def record(pictures):
        answers.append(classify(pictures))
        return answers[-1]

    fit_surrogate(record, image, segments, fill, max(LIME_COUNTS), seed)
    return np.concatenate(answers)


def _replay(answers):
    waiting = iter(answers)
    return lambda pictures: np.array([next(waiting) for _ in pictures])


def judge():
    """Measure every method, and ship the tables with the commit that the weights came with."""
    folder = PARTS.parent / "judged"
    run_judge(folder)
    STORED.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.parquet"):
        shutil.copy(path, STORED)
    record = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    command = ["git", "log", "-1", "--format=%H", "--", str(WEIGHTS_FOLDER)]
    done = subprocess.run(command, cwd=chapters.ROOT, capture_output=True, text=True, check=True)
    record["weights_commit"] = done.stdout.strip()
    text = json.dumps(record, indent=1) + "\n"
    (STORED / "settings.json").write_text(text, encoding="utf-8")


def _save(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)


def _write(table, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, table.to_csv(index=False, float_format="%.6g"))


def reference():
    """Measure what the shipped detectors know, for verdicts on footage from elsewhere."""
    REFERENCES.mkdir(exist_ok=True)
    for scale in SCALES:
        known = learn_reference(load_detector(scale), load_faces(scale=scale))
        known.save(REFERENCES / f"reference_{scale:.1f}.npz")


def main(arguments):
    """Compute the grids named, or all; return 0, or 2 for a name that is none."""
    grids = {"rules": rules, "agreement": agreement, "perturbations": perturbations, "lime": lime}
    grids |= {"judge": judge, "reference": reference}
    if unknown := set(arguments) - set(grids):
        print(f"No grid {', '.join(unknown)}: give {', '.join(grids)}.", file=sys.stderr)
        return 2
    for name in arguments or grids:
        grids[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
