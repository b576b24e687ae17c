"""Run the settings of the institute's notebooks beside the book's own, for its page about them.

    python tools/authors_page.py

Measures the shipped detectors, writes book/authors.json, draws the pictures of book/images/authors
and fills the places of book/authors.md that are marked by comments, in some ten minutes on two CPU
cores. What tools/compute_grids.py stores, the turns and the grid of rules, has to be there. The
words of the page are checked against the numbers by tests/test_authors_page.py.
"""

import io
import json
import re
from dataclasses import dataclass, replace

import cv2
import keras
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from tqdm import tqdm

import chapters
import xaifake
from xaifake.data import load_faces
from xaifake.data.marks import ILLUSTRATION, SWAP, marked
from xaifake.detector import Detector, sample_true_positives
from xaifake.explainers import activations
from xaifake.explainers.stored import rule_grid
from xaifake.judge import Blur, perturbation_curve, rotation
from xaifake.judge.perturbations import Perturbation, stored_curves
from xaifake.scales import SCALE, SCALES
from xaifake.show.maps import heatmaps, show_channels, show_grid, strongest_segments

PAGE = chapters.ROOT / "book" / "authors.md"
NUMBERS = PAGE.with_suffix(".json")
PICTURES = PAGE.parent / "images" / "authors"
LAYER = "block2_sepconv2_act"
RULE = "lrp.sequential_preset_b_flat"
RULES = [f"lrp.{name}" for name in ("z", "epsilon", "flat", "w_square", "alpha_2_beta_1")]
RULES += ["lrp.alpha_1_beta_0", "lrp.z_plus_fast", "lrp.sequential_preset_a"]
RULES += ["lrp.sequential_preset_b", RULE]
RANGED = ["lrp.z", "lrp.epsilon", "lrp.alpha_1_beta_0", "lrp.z_plus_fast", RULE]
MEASURED = 8  # fakes that the LRP maps of a table are of
COMPARED = 64  # faces that both forms of the detector are asked about
SAMPLES = 1000  # lime's own


@dataclass(frozen=True)
class SmallBlur(Perturbation):
    """The blur that the notebooks run: a Gaussian of 4 pixels, cut off by a kernel of 5 x 5."""

    kind = "blur, 5 x 5"
    strength = 4.0

    def apply(self, images):
        """Return blurred pictures; see `Perturbation.apply`."""
        return np.stack([cv2.GaussianBlur(image, (5, 5), self.strength) for image in images])


# scipy turns against the clock, this package with it.
CHANGES = {"as it is": Blur(0), "blur, 5 x 5": SmallBlur()}
CHANGES |= {f"turned by {degrees}°": rotation(-degrees) for degrees in (90, 180, 270)}


def from_zero_to_one(detector):
    """Return the same detector for pictures from 0 to 1 in place of -1 to 1.

    With x = 2 u - 1 the first layer is w x = (2 w) u - sum(w). Batch norm subtracts a mean m next,
    and m + sum(w) subtracts both. The layer has no padding, whose zeros would be grey before and
    black after.
    """
    model = keras.models.clone_model(detector.model)
    model.set_weights(detector.model.get_weights())
    kernel = model.get_layer("block1_conv1").kernel
    mean = model.get_layer("block1_conv1_bn").moving_mean
    mean.assign_add(keras.ops.sum(kernel, (0, 1, 2)))
    kernel.assign(2 * kernel)
    return replace(detector, model=model, value_range=(0, 1))


def median_fake(detector, faces):
    """Return the whole-face fake with the median logit of those found, and how many these are."""
    whole = faces[(faces.labels == 1) & (faces.table.region == "whole").to_numpy()]
    logits = detector.logits(whole.images)
    found = np.flatnonzero(logits > 0)
    order = found[np.argsort(logits[found], kind="stable")]
    return whole[int(order[len(order) // 2])], len(order)


def perturbed(images):
    """Return pictures under each of the changes, (5, N, H, W, C)."""
    return np.stack([change.apply(images) for change in CHANGES.values()])


def undone(maps):
    """Bring maps (5, N, H, W) of perturbed pictures back to the pictures' own places."""
    pairs = zip(CHANGES.values(), maps, strict=True)
    return np.stack([change.undo(one[..., None])[..., 0] for change, one in pairs])


def correlations(ones, others):
    """Return the correlation of each of the maps (N, H, W) with its partner."""
    return [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(ones, others, strict=True)]


def measure_detection():
    """Return how both detectors do under the changes, a list of dicts; turns are stored."""
    rows = []
    for scale in SCALES:
        faces = load_faces(split="test", scale=scale)
        stored = stored_curves().query("scale == @scale")
        blurred = perturbation_curve(Detector.pretrained(scale), faces, [CHANGES["blur, 5 x 5"]])
        places = [("blur", 0), ("rotation", -90), ("rotation", -180), ("rotation", 90)]
        parts = [stored[(stored.kind == k) & (stored.strength == s)] for k, s in places]
        parts.insert(1, blurred)
        for name, part in zip(CHANGES, parts, strict=True):
            part = part.set_index("score")
            row = {"scale": scale, "change": name, **part.value.round(3).to_dict()}
            row |= {"low": round(part.low["auc"], 3), "high": round(part.high["auc"], 3)}
            rows.append(row | {"always_fake": round(float(faces.labels.mean()), 3)})
    return rows


def measure_range(detector, other, faces):
    """Return what pictures from 0 to 1 do to LRP's maps by each rule, a list of dicts."""
    rows = []
    for rule in tqdm(RANGED, desc="rules", unit="rule"):
        found = [xaifake.explain(one, faces.images, rule) for one in (detector, other)]
        maps = [heatmaps(one).astype(float) for one in found]
        below = [np.minimum(m, 0).sum((1, 2)) / np.abs(m).sum((1, 2)) for m in maps]
        ratios = [one.report["sum"] / one.report.logit for one in found]
        rows.append(
            {
                "rule": rule,
                "correlation": float(np.median(correlations(*maps))),
                "against": [float(abs(np.median(share))) for share in below],
                "sum": [float(np.median(ratio)) for ratio in ratios],
            }
        )
    return rows


def measure_likeness(detector, faces):
    """Return how like the map of the face as it is the others are, brought back; list of dicts.

    Beside it the likeness of the maps of two people's faces.
    """
    inputs = perturbed(faces.images)
    shape, flat = inputs.shape[:-1], inputs.reshape(-1, *inputs.shape[2:])
    rows = [{"change": name} for name in [*CHANGES, "another face"]]
    for engine in ("innvestigate", "xaifake"):
        maps = xaifake.explain(detector, flat, RULE, engine=engine)
        maps = undone(heatmaps(maps).astype(float).reshape(shape))
        others = np.roll(maps[0], len(faces) // 2, axis=0)
        for row, one in zip(rows, [*maps, others], strict=True):
            found = np.nan_to_num(correlations(one, maps[0]))
            row[engine] = np.percentile(found, [50, 0, 100]).round(3).tolist()
    return rows


def over_face(image, heatmap):
    """Lay a map, over its largest absolute value, half transparent over a picture."""
    colours = plt.get_cmap("seismic")(heatmap / np.abs(heatmap).max() / 2 + 0.5)[..., :3]
    return np.uint8(np.rint(127.5 * colours + image / 2))


def draw_channels(detector, image):
    """Yield Figure 2's name and figure, as the notebooks draw it and as the book does."""
    maps = activations(detector, image[None], LAYER)[0]
    for name, standardised in (("activations", True), ("activations_book", False)):
        yield name, show_channels(maps, width=8.3, standardised=standardised)


def draw_perturbed(detector, image):
    """Yield Figures 3 to 5: five pictures, what LIME keeps of each, and its LRP map."""
    inputs = perturbed(image[None])[:, 0]
    lime = xaifake.explain(detector, inputs, "lime", num_samples=SAMPLES)
    weights = heatmaps(lime)
    kept = np.stack([strongest_segments(heatmap) for heatmap in weights])
    titles = [f"{name}\np = {expit(z):.2f}" for name, z in zip(CHANGES, lime.report.logit)]
    rows = {"input": inputs, "five segments": inputs * kept[..., None], "all weights": weights}
    yield "lime", show_grid(rows, titles, [True] * len(inputs), width=1.6)
    theirs, ours = both_engines(detector, inputs, RULE)
    rows = {"input": inputs, "notebooks": list(map(over_face, inputs, theirs)), "book": ours}
    yield "lrp_perturbed", show_grid(rows, titles, [True] * len(inputs), width=1.6)


def draw_rules(faces):
    """Yield Figure 6, in two halves: the rules of LRP on the first face of the stored grid."""
    grid = rule_grid(SCALE)
    places = list(zip(faces.table.video, faces.table.frame))
    image = faces.images[places.index(grid.faces[0])]
    for half in (0, 1):
        names = RULES[half * 5 : half * 5 + 5]
        rows = {"notebooks": [over_face(image, grid.heatmaps[name][0]) for name in names]}
        rows["book"] = [grid.own[name][0] for name in names]
        titles = [name.removeprefix("lrp.").replace("_preset", "\npreset") for name in names]
        yield f"lrp_rules_{half + 1}", show_grid(rows, titles, [True] * 5, width=1.6, under=image)


def draw_gradients(detector, book, image):
    """Yield Figure 7: Integrated Gradients, from black and from grey, and Guided Backprop."""
    names, rows = ("integrated_gradients", "guided_backprop"), {"notebooks": [], "book": []}
    for name in names:
        theirs = xaifake.explain(detector, image[None], name, engine="innvestigate")
        rows["notebooks"].append(over_face(image, heatmaps(theirs)[0]))
        rows["book"].append(heatmaps(xaifake.explain(book, image[None], name))[0])
    titles = [name.replace("_", " ") for name in names]
    yield "gradients", show_grid(rows, titles, [True] * 2, width=2, under=image)


def both_engines(detector, images, rule):
    """Return the maps of some pictures by iNNvestigate and by the right rules."""
    return [
        heatmaps(xaifake.explain(detector, images, rule, engine=engine))
        for engine in ("innvestigate", "xaifake")
    ]


def save(name, figure):
    """Store a figure with a face on it, marked for people and machines."""
    file = io.BytesIO()
    options = {"quality": 92, "subsampling": 0}  # a third of a PNG; a page has 3 MB at most
    figure.savefig(file, dpi=120, format="jpg", pil_kwargs=options)
    plt.close(figure)
    (PICTURES / f"{name}.jpg").write_bytes(marked(file.getvalue(), SWAP, ILLUSTRATION))


def tables(numbers):
    """Return the text of each marked place, by name."""
    face = numbers["face"]
    words = f"whole-face fakes of unseen people that the {SCALE}x detector finds"
    return {
        "face": f"Of the {face['found']} {words}, the face below has the median logit, "
        f"{face['logit']:+.1f}.\nOn {face['compared']} faces the two forms of the detector differ "
        f"by {face['gap']:.0e} at most; their logits reach from {face['low']:+.1f} to "
        f"{face['high']:+.1f}.",
        "shown": "The detector gives it, in the order of the pictures, a probability of *fake* of "
        f"{', '.join(f'{expit(logit):.2f}' for logit in face['shown'])}.",
        "always": "Always saying *fake* has an accuracy of "
        f"{100 * numbers['detection'][0]['always_fake']:.0f} %.",
        "detection": _markdown(
            ["scale", "picture", "AUC (95 % interval)", "accuracy", "real faces called fake"]
            + ["fakes found"],
            [
                [f"{r['scale']}x", r["change"], f"{r['auc']:.2f} ({r['low']:.2f}, {r['high']:.2f})"]
                + [f"{r[name]:.0%}" for name in ("accuracy", "false_positive_rate", "recall")]
                for r in numbers["detection"]
            ],
        ),
        "likeness": _markdown(
            ["map of", "iNNvestigate", "right rules"],
            [
                [r["change"]] + [_median_and_range(r[name]) for name in ("innvestigate", "xaifake")]
                for r in numbers["likeness"][1:]
            ],
        ),
        "range": _markdown(
            ["rule", "correlation", "against, -1 to 1", "against, 0 to 1", "sum, -1 to 1"]
            + ["sum, 0 to 1"],
            [
                [f"`{r['rule']}`", f"{r['correlation']:.2f}"]
                + [f"{value:.0%}" for value in r["against"]]
                + [f"{value:.2f}" for value in r["sum"]]
                for r in numbers["range"]
            ],
        ),
    }


def _median_and_range(values):
    return "{:.2f} ({:.2f} to {:.2f})".format(*values)


def _markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(page, numbers):
    """Return the page's text with its marked places made anew."""
    for name, text in tables(numbers).items():
        place = rf"(?<=<!-- {name} -->\n).*?(?=\n<!-- /{name} -->)"
        page = re.sub(place, f"\n{text}\n", page, flags=re.DOTALL)  # no text has a backslash
    return page


def measure(detector, other, faces):
    """Return all numbers of the page, and the face that its pictures show."""
    face, found = median_fake(detector, faces)
    some = faces.images[:: len(faces) // COMPARED]
    logits = detector.logits(some)
    about = {"found": found, "logit": float(detector.logits(face.images)[0])}
    about |= {"compared": len(some), "low": float(logits.min()), "high": float(logits.max())}
    about["shown"] = detector.logits(perturbed(face.images)[:, 0]).tolist()
    about["gap"] = float(np.abs(other.logits(some) - logits).max())
    sample = sample_true_positives(detector, faces, 2 * MEASURED)
    sample = sample[(sample.table.region == "whole").to_numpy()]
    numbers = {
        "face": about,
        "detection": measure_detection(),
        "range": measure_range(detector, other, sample),
        "likeness": measure_likeness(other, sample),
    }
    return numbers, face.images[0]


def main():
    """Measure, draw and fill the page."""
    detector, faces = Detector.pretrained(SCALE), load_faces(split="test", scale=SCALE)
    other = from_zero_to_one(detector)
    numbers, image = measure(detector, other, faces)
    NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), numbers), encoding="utf-8")
    PICTURES.mkdir(exist_ok=True)
    draws = (draw_channels(other, image), draw_perturbed(other, image), draw_rules(faces))
    for drawn in (*draws, draw_gradients(other, detector, image)):
        for name, figure in drawn:
            save(name, figure)


if __name__ == "__main__":
    main()
