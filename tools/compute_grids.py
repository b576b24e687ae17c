"""Compute what takes too long for a chapter, once, and store it in the package.

    python tools/compute_grids.py [rules] [agreement] [perturbations] [lime] [judge] [reference]

All of them if none is named. Every part is kept in `_build` as it is finished, so that a run which
was killed goes on where it stopped; delete `_build/grids` and `_build/judged` after a change of
weights, faces or methods. The chapters run a config or two of each again and compare.
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
from xaifake.detector import Detector, sample_true_positives, top_true_positives
from xaifake.detector.xception import WEIGHTS_FOLDER
from xaifake.explainers import explain, methods
from xaifake.explainers.innvestigate import Refused
from xaifake.explainers.lime import Classifier, fit_surrogate, make_fills, segment
from xaifake.explainers.request import prepare
from xaifake.explainers.stored import GRIDS, RuleGrid, write_rule_grid
from xaifake.judge.localisation import region_masks, relevance_mass_accuracy
from xaifake.judge.perturbations import SWEEP, perturbation_curve
from xaifake.judge.runner import STORED, judge as run_judge
from xaifake.runs import write_text, write_whole
from xaifake.scales import SCALES
from xaifake.video import reference as references

PARTS = chapters.ROOT / "_build" / "grids"
REGIONS = ("whole", "eyes")
# The general rules need settings, and the others would show a map twice.
LEFT_OUT = {"lrp", "lrp.alpha_beta", "gradient.baseline", "lrp.z_plus"}
OPTIONS = {
    "lrp.sequential_preset_b_flat_until_idx": {"until_layer_idx": 20},
    "deep_taylor.bounded": {"low": -1.0, "high": 1.0},
}
# LRP methods of both engines, without those that need a setting.
SHARED = [name for name in methods() if name in methods("innvestigate") and name[:4] == "lrp."]
SHARED = [name for name in SHARED if name not in LEFT_OUT and not name.endswith("_idx")]
LIME_COUNTS = (50, 100, 200, 400)
LIME_SEEDS = (0, 1, 2)
LIME_FACES = 4


def rules():
    """Map a whole-face fake and one of the eyes by iNNvestigate's methods, and by our LRP."""
    for scale in SCALES:
        model, faces = Detector.pretrained(scale), load_faces(scale=scale)
        chosen = [top_true_positives(model, faces, 1, region) for region in REGIONS]
        images = np.concatenate([face.images for face in chosen])
        keys = [(face.table.video[0], int(face.table.frame[0])) for face in chosen]
        grid = RuleGrid(keys, {}, {}, {})
        names = [name for name in methods("innvestigate") if name not in LEFT_OUT]
        for name in tqdm(names, desc=f"rules {scale}x"):
            part = _kept(f"rules_{scale}_{name}.npz", _run_rule, model, images, name)
            if "heatmaps" in part:
                grid.heatmaps[name] = part["heatmaps"]
            else:
                grid.refused[name] = str(part["reason"])
        for name in SHARED:
            grid.own[name] = explain(model, images, name, progress=False).sum(axis=-1)
        write_rule_grid(grid, scale)


def _run_rule(model, images, name):
    options = {"engine": "innvestigate", "progress": False, **OPTIONS.get(name, {})}
    try:
        return {"heatmaps": explain(model, images, name, **options).sum(axis=-1)}
    except Refused as error:
        return {"reason": str(error)}


def agreement():
    """Compare the LRP maps of both engines on fifty fakes per scale."""
    tables = []
    for scale in SCALES:
        model = Detector.pretrained(scale)
        faces = sample_true_positives(model, load_faces(scale=scale))
        regions = region_masks(faces)
        areas = {"in_mask": faces.masks, "nose_mouth": regions["nose"] | regions["mouth"]}
        for name in tqdm(SHARED, desc=f"agreement {scale}x"):
            part = _kept(f"agreement_{scale}_{name}.npz", _run_rule, model, faces.images, name)
            library = part["heatmaps"].astype(float)
            own = explain(model, faces.images, name, progress=False)
            table = faces.table[["video", "frame", "region"]].assign(scale=scale, method=name)
            table = _compare(table, own.sum(axis=-1, dtype=float), library, areas)
            tables.append(table.assign(logit=own.report.logit))
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
        table[f"abs_sum{suffix}"] = np.abs(maps).sum((1, 2))
        for area, masks in areas.items():
            table[f"{area}{suffix}"] = relevance_mass_accuracy(maps, masks)
    for area, masks in areas.items():
        table[f"{area}_by_chance"] = masks.mean((1, 2))
    return table


def perturbations():
    """Score both detectors under every perturbation of the sweep."""
    tables = []
    for scale in SCALES:
        model, faces = Detector.pretrained(scale), load_faces(scale=scale)
        for perturbation in tqdm(SWEEP, desc=f"perturbations {scale}x"):
            name = f"perturbation_{scale}_{perturbation.kind}_{perturbation.strength:g}.csv"
            case = model, faces, [perturbation]
            table = _kept(name, perturbation_curve, *case, progress=False)
            tables.append(table.assign(scale=scale))
    _write(pd.concat(tables), GRIDS / "perturbations.csv")


def lime():
    """Fit LIME with several fills, seeds and numbers of samples around some faces."""
    model, faces = Detector.pretrained(2.0), load_faces(scale=2.0)
    chosen = top_true_positives(model, faces, LIME_FACES, "whole")
    request = prepare(model, chosen.images)
    segments = segment(request, "slic")
    pictures = 4 * len(chosen) * len(LIME_SEEDS) * sum(LIME_COUNTS)  # with each of four fills
    classify = Classifier(request, pictures)
    fills = {name: make_fills(request, name) for name in ("mean", "grey", "blur")}
    fills["original"] = make_fills(request, chosen.originals)
    rows = []
    for fill, number in tqdm(list(product(fills, range(len(chosen)))), desc="lime"):
        key = {"video": chosen.table.video[number], "frame": int(chosen.table.frame[number])}
        case = request.images[number], segments[number], fills[fill][number]
        name = f"lime_{fill}_{key['video']}_{key['frame']}.csv"
        rows.append(_kept(name, _sweep_samples, classify, *case).assign(**key, fill=fill))
    _write(pd.concat(rows), GRIDS / "lime_sweep.csv")


def _sweep_samples(classify, image, segments, fill):
    """Compare the seeds at each number of samples."""
    case, rows = (classify, image, segments, fill), []
    for count in LIME_COUNTS:
        found = [fit_surrogate(*case, count, seed) for seed in LIME_SEEDS]
        pairs = combinations([surrogate.weights for surrogate in found], 2)
        fits = np.mean([surrogate.r2 for surrogate in found])
        alike = np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])
        rows.append({"num_samples": count, "r2": fits, "agreement": alike})
    return pd.DataFrame(rows)


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
    write_text(STORED / "settings.json", text)


def _kept(name, make, *arguments, **options):
    """Return a part of a grid, a table (.csv) or arrays (.npz), made only if it is not stored."""
    path = PARTS / name
    if not path.exists():
        made = make(*arguments, **options)
        if path.suffix == ".csv":
            _write(made, path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_whole(path) as file:
                np.savez_compressed(file, **made)
    return pd.read_csv(path) if path.suffix == ".csv" else dict(np.load(path))


def _write(table, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, table.to_csv(index=False, float_format="%.6g"))


def reference():
    """Measure what the shipped detectors know, for verdicts on footage from elsewhere."""
    references.STORED.mkdir(exist_ok=True)
    for scale in SCALES:
        known = references.learn_reference(Detector.pretrained(scale), load_faces(scale=scale))
        known.save(references.STORED / f"reference_{scale:.1f}.npz")


def main(arguments):
    """Compute the grids named, or all; return 0, or 2 for a name that is none."""
    every = rules, agreement, perturbations, lime, judge, reference
    grids = {compute.__name__: compute for compute in every}
    if unknown := set(arguments) - set(grids):
        print(f"No grid {', '.join(unknown)}: give {', '.join(grids)}.", file=sys.stderr)
        return 2
    for name in arguments or grids:
        grids[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
