"""The figures that answer to their reader in a page without a kernel.

    python tools/make_interactive.py

computes their arrays with the calls and the faces of chapters 5, 6 and 8, some minutes on two CPU
cores, and stores them in `book/interactive/arrays`; what is stored already is left alone. The
build of the book draws them (`render`): each state of a figure is a picture of its own with a
caption. `book/_static/interactive.js` adds the controls and hides all states but one; without
scripts all of them are shown.
"""

import base64
import html
import io
import itertools
import json
import sys
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from tqdm import tqdm

import chapters
from xaifake.data.folders import whole_file

ARRAYS = chapters.ROOT / "book" / "interactive" / "arrays"
SCALE, SEED, SAMPLES = 2.0, 0, 200
RULES = (
    "lrp.epsilon",
    "lrp.flat",
    "lrp.gamma",
    "lrp.alpha_1_beta_0",
    "lrp.alpha_2_beta_1",
    "lrp.sequential_preset_a_flat",
    "lrp.sequential_preset_b_flat",
)
SEGMENTS = (10, 20, 50, 100, 200)
FILLS = ("mean colour", "real twin")
BLURS = (0, 0.5, 1, 1.5, 2, 3)
TURNS = (-45, -30, -20, -10, 0, 10, 20, 30, 45)
LRP_RULE = "lrp.sequential_preset_b_flat"  # that of the paper's Figure 5
SIDE = 192  # of one drawn picture, in pixels
GAP = 6
COLOURS = matplotlib.colormaps["RdBu_r"]
PERCENTILE = 99.5  # as in xaifake.show.maps


def compute_lrp():
    """Maps of two fakes and of the first one's real twin: by rule, at the picture and inside.

    Returns
    -------
    dict of str to numpy.ndarray
        `faces`, `masks`; a float16 `map_LAYER` (rules, faces, h, w) for each of `layers`, as shares
        of each map's largest value; `sums` (layers, rules, faces) and `logits` (faces,).
    """
    from xaifake.data import load_faces
    from xaifake.detector import load_detector, predict_logits
    from xaifake.explainers.lrp import relevance_at, relevance_by_layer
    from xaifake.explainers.stored import rule_grid

    detector, faces = load_detector(SCALE), load_faces(None, "test", SCALE)
    keys = list(zip(faces.table.video, faces.table.frame))
    shown = faces[[keys.index(face) for face in rule_grid(SCALE).faces]]
    images = np.concatenate([shown.images, shown.twins[:1]])
    masks = np.concatenate([shown.masks, np.zeros_like(shown.masks[:1])])
    depth = relevance_by_layer(detector, images[:1], RULES[0])
    ends = depth[depth.whole & (depth.kind == "Add")].layer.tolist()
    layers = ["input", "block1_conv2_act", *ends[:3], "block14_sepconv2_act"]
    by_rule = [relevance_at(detector, images, rule, layers) for rule in tqdm(RULES, desc="lrp")]
    found = {"faces": images, "masks": masks, "logits": predict_logits(detector, images)}
    names = ("picture", "block 1", "block 2", "block 3", "block 4", "last maps")
    found["layers"] = np.array(names)
    maps = [np.stack([maps[layer] for maps in by_rule]) for layer in layers]
    found["sums"] = np.stack([layer.sum((2, 3)) for layer in maps]).astype(np.float32)
    return found | {f"map_{name}": as_shares(layer) for name, layer in zip(names, maps)}


def compute_lime():
    """LIME's maps of three fakes by number of segments and fill.

    Returns
    -------
    dict of str to numpy.ndarray
        `faces`, `masks` (faces, H, W); `segments` (counts, faces, H, W); `maps` (fills, counts,
        faces, H, W); `fits`, the R2, and `inside`, the share of positive weight in the swap.
    """
    from skimage.segmentation import slic

    import xaifake
    from xaifake.data import load_faces
    from xaifake.detector import found_fakes, load_detector
    from xaifake.show.maps import heatmaps

    detector = load_detector(SCALE)
    fakes = found_fakes(detector, load_faces(None, "test", SCALE), count=3, region="whole")
    cuts = [
        np.stack([slic(image, n, compactness=10, start_label=0) for image in fakes.images])
        for n in SEGMENTS
    ]
    maps, fits = [], []
    cases = itertools.product(("mean", fakes.twins), cuts)
    for fill, cut in tqdm(list(cases), desc="lime"):
        options = {"segmentation": cut, "fill": fill, "num_samples": SAMPLES, "seed": SEED}
        relevance, report = xaifake.explain(
            detector, fakes.images, "lime", return_report=True, progress=False, **options
        )
        maps.append(heatmaps(relevance))
        fits.append(report.r2)
    shape = (len(FILLS), len(SEGMENTS), len(fakes))
    maps = np.stack(maps).reshape(*shape, *fakes.images.shape[1:3])
    positive = np.maximum(maps, 0)
    return {
        "faces": fakes.images,
        "masks": fakes.masks,
        "segments": np.stack(cuts).astype(np.uint8),
        "maps": as_shares(maps),
        "fits": np.reshape(fits, shape).astype(np.float32),
        "inside": (positive * fakes.masks).sum((3, 4)) / positive.sum((3, 4)),
    }


def compute_perturbed():
    """A fake and its real twin, blurred and turned, with the maps of two methods.

    Returns
    -------
    dict of str to numpy.ndarray
        `inputs` (faces, changes, H, W, 3), `lime` and `lrp` (faces, changes, H, W), `logits` and
        `alike_lime`, `alike_lrp` (faces, changes): the correlation of the map, brought back, with
        that of the unchanged face, where it can be compared. Changes: `BLURS`, then `TURNS`.
    """
    import xaifake
    from xaifake.data import load_faces
    from xaifake.detector import found_fakes, load_detector, predict_logits
    from xaifake.explainers.lime import segment
    from xaifake.explainers.question import ask
    from xaifake.judge import Blur, rotation
    from xaifake.show.maps import heatmaps

    detector = load_detector(SCALE)
    fake = found_fakes(detector, load_faces(None, "test", SCALE), count=1, region="whole")
    changes = [Blur(sigma) for sigma in BLURS] + [rotation(angle) for angle in TURNS]
    found = {key: [] for key in ("inputs", "lime", "lrp", "logits", "alike_lime", "alike_lrp")}
    for face in tqdm((fake.images, fake.twins), desc="perturbed"):
        inputs = np.concatenate([change.apply(face) for change in changes])
        cut = segment(ask(detector, face), "slic")[0]
        carried = np.stack([_carry(cut, change) for change in changes])
        options = {"segmentation": carried, "num_samples": SAMPLES, "seed": SEED}
        lime = xaifake.explain(detector, inputs, "lime", progress=False, **options)
        lrp = xaifake.explain(detector, inputs, LRP_RULE, progress=False)
        found["inputs"].append(inputs)
        found["logits"].append(predict_logits(detector, inputs))
        for name, relevance in (("lime", lime), ("lrp", lrp)):
            found[name].append(as_shares(heatmaps(relevance)))
            found[f"alike_{name}"].append(_likeness(relevance, changes))
    return {key: np.stack(parts) for key, parts in found.items()}


def _carry(segments, change):
    """The segments of a face on the changed face; blurring moves none."""
    if change.kind == "blur":
        return segments
    bands = (segments[..., None] == np.arange(segments.max() + 1)).astype(float)
    return change.apply(bands[None])[0].argmax(axis=-1)


def _likeness(relevance, changes):
    """Correlation of each map, brought back, with the first, at the pixels that survive."""
    back = [change.undo(one[None])[0].sum(-1) for change, one in zip(changes, relevance)]
    kept = [change.survives(*relevance.shape[1:3]) for change in changes]
    return [np.corrcoef(one[k], back[0][k])[0, 1] for one, k in zip(back, kept)]


def as_shares(maps):
    """Maps as float16 shares of each one's largest absolute value."""
    peaks = np.abs(maps).max(axis=(-2, -1), keepdims=True)
    return (maps / np.maximum(peaks, 1e-30)).astype(np.float16)


FIGURES = {"lrp": compute_lrp, "lime": compute_lime, "perturbed": compute_perturbed}


def store(arrays, path):
    """Write arrays at once, so that a run that is killed leaves nothing half done."""
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)


# From here on: drawing, which the book's build does.


def draw(face, *maps, mask=None, segments=None):
    """Draw a face and its maps side by side.

    Parameters
    ----------
    face : numpy.ndarray of uint8, (H, W, 3)
    *maps : numpy.ndarray of float, (h, w)
        Red is for fake, blue against, white nothing; each has its own scale.
    mask : numpy.ndarray of bool, (H, W), optional
        Outlined on maps.
    segments : numpy.ndarray of int, (H, W), optional
        Outlined on the face.

    Returns
    -------
    PIL.Image.Image
    """
    canvas = Image.new("RGB", (SIDE + len(maps) * (SIDE + GAP), SIDE), "white")
    large = _enlarge(face, Image.Resampling.BICUBIC)
    if segments is not None:
        large = np.where(_borders(segments)[..., None], np.uint8([255, 230, 0]), large)
    canvas.paste(Image.fromarray(large), (0, 0))
    for number, one in enumerate(maps, start=1):
        one = one.astype(np.float32)
        limit = np.percentile(np.abs(one), PERCENTILE) or np.abs(one).max() or 1.0
        coloured = np.uint8(255 * COLOURS(0.5 + one / (2 * limit))[..., :3])
        large = _enlarge(coloured, Image.Resampling.NEAREST)
        if mask is not None and mask.any():
            large = np.where(_borders(mask)[..., None], np.uint8([0, 150, 136]), large)
        canvas.paste(Image.fromarray(large), (number * (SIDE + GAP), 0))
    return canvas


def _enlarge(image, resampling):
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), resampling))


def _borders(labels):
    """Where the enlarged labels change from one pixel to the next."""
    large = _enlarge(labels.astype(np.uint8), Image.Resampling.NEAREST)
    found = np.zeros(large.shape, bool)
    found[:-1] |= large[1:] != large[:-1]
    found[:, :-1] |= large[:, 1:] != large[:, :-1]
    return found


def lrp_states(arrays):
    """Yield (values of the controls, picture, caption) for each rule, face and layer."""
    whose = ("fake, whole face swapped", "fake, eyes swapped", "real, the first one's twin")
    layers = arrays["layers"].tolist()
    order = itertools.product(enumerate(RULES), enumerate(whose), enumerate(layers))
    for (r, rule), (f, face), (k, layer) in order:
        heatmap = arrays[f"map_{layer}"][r, f]
        picture = draw(arrays["faces"][f], heatmap, mask=arrays["masks"][f])
        side = heatmap.shape[0]
        caption = (
            f"{face} (logit {arrays['logits'][f]:+.1f}); {rule} at {layer}, {side} x {side} "
            f"values: sum {arrays['sums'][k, r, f]:+.3g}"
        )
        yield {"rule": rule, "face": face, "layer": layer}, picture, caption


def lime_states(arrays):
    """Yield (values of the controls, picture, caption) for each fill, face and segmentation."""
    faces = [f"face {n}" for n in range(1, len(arrays["faces"]) + 1)]
    order = itertools.product(enumerate(FILLS), enumerate(faces), enumerate(SEGMENTS))
    for (h, fill), (f, face), (s, wanted) in order:
        cut = arrays["segments"][s, f]
        picture = draw(
            arrays["faces"][f], arrays["maps"][h, s, f], mask=arrays["masks"][f], segments=cut
        )
        caption = (
            f"{face}, {len(np.unique(cut))} segments, hidden ones filled with {fill}: "
            f"fit R2 {arrays['fits'][h, s, f]:.2f}, {arrays['inside'][h, s, f]:.0%} of the "
            f"positive weight inside the swap ({arrays['masks'][f].mean():.0%} of the picture)"
        )
        yield {"fill": fill, "face": face, "segments": str(wanted)}, picture, caption


def perturbed_states(arrays):
    """Yield (values of the controls, picture, caption) for each face and change."""
    changes = [("blur", f"{b:g} px") for b in BLURS] + [("rotation", f"{t:+d}°") for t in TURNS]
    for (f, face), (c, (kind, strength)) in itertools.product(
        enumerate(("fake, whole face swapped", "real, its twin")), enumerate(changes)
    ):
        logit = arrays["logits"][f, c]
        picture = draw(arrays["inputs"][f, c], arrays["lime"][f, c], arrays["lrp"][f, c])
        caption = (
            f"{face}, {kind} {strength}: p(fake) = {1 / (1 + np.exp(-logit)):.2f}; likeness of "
            f"the map to the unchanged face's, once brought back: LIME "
            f"{arrays['alike_lime'][f, c]:.2f}, LRP {arrays['alike_lrp'][f, c]:.2f}"
        )
        yield {"face": face, "change": kind, "strength": strength}, picture, caption


# Of each figure: its states, what the panels are, and its controls as (key, kind, legend).
DRAWN = {
    "lrp": (
        lrp_states,
        ("the face", "relevance, the swap outlined"),
        (("rule", "select", "Rule"), ("face", "radio", "Face"), ("layer", "range", "Layer")),
    ),
    "lime": (
        lime_states,
        ("the face, cut into segments", "LIME's weights, the swap outlined"),
        (
            ("segments", "range", "Segments asked for"),
            ("fill", "radio", "A hidden segment shows"),
            ("face", "radio", "Face"),
        ),
    ),
    "perturbed": (
        perturbed_states,
        ("the changed face", "LIME", "LRP, preset B flat"),
        (
            ("change", "radio", "Change"),
            ("strength", "range", "Strength"),
            ("face", "radio", "Face"),
        ),
    ),
}
MARK = "Swapped faces are manipulated research illustrations."
LEGEND = "Red speaks for fake, blue against it, white for neither; each map has its own scale."


def figure(name, arrays):
    """One figure as a fragment of HTML with all its states.

    Parameters
    ----------
    name : str
        In `DRAWN`.
    arrays : mapping of str to numpy.ndarray

    Returns
    -------
    str
    """
    states, panels, controls = DRAWN[name]
    drawn = [_state(name, n, *state, panels) for n, state in enumerate(states(arrays))]
    described = json.dumps([dict(zip(("key", "kind", "legend"), c)) for c in controls])
    return (
        f'<div class="interactive" id="interactive-{name}" '
        f'data-controls="{html.escape(described)}">\n'
        f'<p class="interactive-legend">From left to right: {"; ".join(panels)}. {LEGEND} '
        f"{MARK}</p>\n" + "\n".join(drawn) + "\n</div>\n"
    )


def _state(name, number, values, picture, caption, panels):
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=82, method=4)
    data = base64.b64encode(file.getvalue()).decode()
    alt = html.escape(f"{', '.join(panels)}: {caption}", quote=True)
    return (
        f'<figure id="{name}-{number}" data-state="{html.escape(json.dumps(values))}">'
        f'<img src="data:image/webp;base64,{data}" width="{picture.width}" '
        f'height="{picture.height}" alt="{alt}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def render(folder, arrays=ARRAYS):
    """Draw all figures into a folder, as NAME.html, from the stored arrays."""
    for name in DRAWN:
        with np.load(arrays / f"{name}.npz") as stored:
            text = figure(name, dict(stored))
        (Path(folder) / f"{name}.html").write_text(text, encoding="utf-8")


def main():
    """Compute what is not stored yet."""
    ARRAYS.mkdir(parents=True, exist_ok=True)
    for name, compute in FIGURES.items():
        path = ARRAYS / f"{name}.npz"
        if path.exists():
            print(f"{path.relative_to(chapters.ROOT)} is there; delete it to have it made anew")
        else:
            store(compute(), path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
