"""The figures that answer to their reader in a page without a kernel.

    python tools/make_interactive.py

computes their arrays with the calls and the faces of chapters 1, 4 to 7 and 10, some minutes on two
CPU cores, and stores them in `book/interactive/arrays`; what is stored already is left alone. The
build of the book draws them (`render`): each state of a figure is a picture of its own with a
caption. `book/_static/interactive.js` adds the controls and hides all states but one; without
scripts all of them are shown.
"""

import base64
import io
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jinja2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

import chapters
import xaifake
from xaifake import data, detector, judge
from xaifake.data import portraits, swaps
from xaifake.data.marks import FIGURE, ILLUSTRATION, SWAP, xmp
from xaifake.heatmaps import colour_limit, pack_maps
from xaifake.runs import write_whole
from xaifake.scales import SCALES

ARRAYS = chapters.ROOT / "book" / "interactive" / "arrays"
SCALE, SEED, SAMPLES = 2.0, 0, 200
RULES = ("epsilon", "flat", "gamma", "alpha_1_beta_0", "alpha_2_beta_1")
RULES += ("sequential_preset_a_flat", "sequential_preset_b_flat")
RULES = tuple(f"lrp.{rule}" for rule in RULES)
SEGMENTS = (10, 20, 50, 100, 200)
FILLS = ("mean colour", "original")
BLURS = (0, 0.5, 1, 1.5, 2, 3)
TURNS = (-45, -30, -20, -10, 0, 10, 20, 30, 45)
TARGET = "004"  # as in chapter 1, with the source that fits best
OPACITIES, FEATHERS, DETAILS = (0.5, 0.75, 1.0), (1, 6, 16), (0, 60, 30)
THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(1, 20))
LAYERS = tuple(f"block{n}_act" for n in ("1_conv2", "3_sepconv2", "5_sepconv2", "9_sepconv2",
                                         "14_sepconv2"))  # fmt: skip
CHANNELS = 6  # of each layer, those that vary most on the first face
LRP_RULE = "lrp.sequential_preset_b_flat"  # that of the paper's Figure 5
SIDE, GAP = 192, 6  # of the drawn pictures, in pixels
COLOURS = matplotlib.colormaps["RdBu_r"]


def compute_lrp():
    """Map two fakes and the first one's original: by rule, at the picture and inside.

    Gives `faces`, `masks`; a float16 `map_LAYER` (rules, faces, h, w) for each of `layers`, as
    shares of each map's largest value; `sums` (layers, rules, faces) and `logits` (faces,).
    """
    from xaifake.explainers.lrp import relevance_at, relevance_by_layer
    from xaifake.explainers.stored import rule_grid

    model, faces = detector.Detector.pretrained(SCALE), data.load_faces(None, "test", SCALE)
    keys = list(zip(faces.table.video, faces.table.frame))
    shown = faces[[keys.index(face) for face in rule_grid(SCALE).faces]]
    images = np.concatenate([shown.images, shown.originals[:1]])
    masks = np.concatenate([shown.masks, np.zeros_like(shown.masks[:1])])
    depth = relevance_by_layer(model, images[:1], RULES[0])
    ends = depth[depth.whole & (depth.kind == "Add")].layer.tolist()
    layers = ["input", "block1_conv2_act", *ends[:3], "block14_sepconv2_act"]
    by_rule = [relevance_at(model, images, rule, layers) for rule in tqdm(RULES, desc="lrp")]
    found = {"faces": images, "masks": masks, "logits": model.logits(images)}
    names = ("picture", "block 1", "block 2", "block 3", "block 4", "last maps")
    found["layers"] = np.array(names)
    maps = [np.stack([maps[layer] for maps in by_rule]) for layer in layers]
    found["sums"] = np.stack([layer.sum((2, 3)) for layer in maps]).astype(np.float32)
    return found | {f"map_{name}": pack_maps(layer)[0] for name, layer in zip(names, maps)}


def compute_lime():
    """Map three fakes by LIME with several numbers of segments and fills.

    Gives `faces`, `masks` (faces, H, W); `segments` (counts, faces, H, W); `maps` (fills, counts,
    faces, H, W); `fits`, the R2, and `inside`, the share of positive weight in the swap.
    """
    from skimage.segmentation import slic

    model, faces = detector.Detector.pretrained(SCALE), data.load_faces(None, "test", SCALE)
    fakes, options = (
        detector.top_true_positives(model, faces, count=3, region="whole"),
        _lime_options(),
    )
    cuts = [
        [slic(face, n, compactness=10, start_label=0) for face in fakes.images] for n in SEGMENTS
    ]
    cuts, found = np.array(cuts), []
    for fill, cut in tqdm(list(itertools.product(("mean", fakes.originals), cuts)), desc="lime"):
        options |= {"segmentation": cut, "fill": fill}
        found.append(xaifake.explain(model, fakes.images, "lime", **options))
    shape = (len(FILLS), len(SEGMENTS), len(fakes))
    maps = np.reshape([relevance.sum(-1) for relevance in found], (*shape, *cuts.shape[2:]))
    fits = np.reshape([relevance.report.r2 for relevance in found], shape).astype(np.float32)
    positive = np.maximum(maps, 0)
    inside = (positive * fakes.masks).sum((3, 4)) / positive.sum((3, 4))
    arrays = {"faces": fakes.images, "masks": fakes.masks, "segments": cuts.astype(np.uint8)}
    return arrays | {"maps": pack_maps(maps)[0], "fits": fits, "inside": inside}


def _lime_options():
    return {"num_samples": SAMPLES, "seed": SEED, "progress": False}


def compute_perturbed():
    """Map a fake and its original, blurred and turned, by two methods.

    Gives `inputs` (faces, changes, H, W, 3), `lime` and `lrp` (faces, changes, H, W), `logits` and
    `alike_lime`, `alike_lrp` (faces, changes): the correlation of the map, brought back, with that
    of the unchanged face, where it can be compared. Changes: `BLURS`, then `TURNS`.
    """
    from xaifake.explainers.lime import segment
    from xaifake.explainers.request import prepare

    model, faces = detector.Detector.pretrained(SCALE), data.load_faces(None, "test", SCALE)
    fake = detector.top_true_positives(model, faces, count=1, region="whole")
    changes = [judge.Blur(sigma) for sigma in BLURS] + [judge.rotation(angle) for angle in TURNS]
    found = []
    for face in tqdm((fake.images, fake.originals), desc="perturbed"):
        inputs = np.concatenate([change.apply(face) for change in changes])
        cut = segment(prepare(model, face), "slic")[0]
        carried = np.stack([_carry(cut, change) for change in changes])
        lime = xaifake.explain(model, inputs, "lime", segmentation=carried, **_lime_options())
        lrp = xaifake.explain(model, inputs, LRP_RULE, progress=False)
        found.append({"inputs": inputs, "logits": model.logits(inputs)})
        for name, relevance in (("lime", lime), ("lrp", lrp)):
            found[-1][name] = pack_maps(relevance.sum(-1))[0]
            maps, cases = relevance.sum(-1), zip(changes, relevance.sum(-1), strict=True)
            alike = [judge.stability(maps[:1], one[None], change) for change, one in cases]
            found[-1][f"alike_{name}"] = [scores.correlation[0] for scores in alike]
    return {key: np.stack([one[key] for one in found]) for key in found[0]}


def compute_blend():
    """Swap a face with several opacities, soft edges and details of the source.

    Gives `original` (H, W, 3) and `blends` (opacities, feathers, details, H, W, 3), the square
    around the face, and `masks`, of the same shape but for the colours.
    """
    target = portraits.load_portrait(TARGET)
    people = portraits.read_portraits().index
    source = portraits.load_portrait(portraits.rank_sources(TARGET, people).index[0])
    points = target.landmarks[0]
    (left, top), (right, bottom) = points.min(0), points.max(0)
    side, middle = 1.4 * max(right - left, bottom - top), (left + right, top + bottom)
    box = [round((m - side) / 2) for m in middle] + [round((m + side) / 2) for m in middle]

    def square(image):
        return np.asarray(Image.fromarray(image).crop(box).resize((128, 128)))

    blends, masks = [], []
    for opacity, feather, detail in itertools.product(OPACITIES, FEATHERS, DETAILS):
        recipe = swaps.Recipe("whole", "inner", detail, feather, 1.0, opacity, 0.2)
        images, alphas = swaps.swap(target, source, recipe)
        blends.append(square(images[0]))
        masks.append(square(np.uint8(255 * (alphas[0] > 0))) > 127)
    shape = (len(OPACITIES), len(FEATHERS), len(DETAILS), 128, 128)
    found = {"original": square(target.images[0]), "blends": np.reshape(blends, (*shape, 3))}
    return found | {"masks": np.reshape(masks, shape)}


def compute_threshold():
    """Give the logits of each scale's faces, `logits_SCALE`, and which are fakes, `fake_SCALE`."""
    found = {}
    for scale in SCALES:
        faces = data.load_faces(None, "test", scale)
        logits = detector.Detector.pretrained(scale).logits(faces.images)
        found |= {f"logits_{scale}": logits, f"fake_{scale}": faces.labels == 1}
    return found


def compute_channels():
    """Give the case file's `faces`, and for each layer `maps_LAYER` and the `numbers_LAYER`.

    Maps are (faces, channels, h, w).
    """
    from xaifake.explainers import activations

    model, faces = detector.Detector.pretrained(SCALE), data.load_faces(None, "test", SCALE)
    cases = detector.case_file(model, faces)
    found = {"faces": cases.images, "logits": cases.table.logit, "fake": cases.labels == 1}
    for layer in LAYERS:
        maps = np.moveaxis(activations(model, cases.images, layer), -1, 1)
        numbers = np.argsort(-maps[0].std((1, 2)))[:CHANNELS]
        found[f"maps_{layer}"] = maps[:, numbers].astype(np.float16)
        found[f"numbers_{layer}"] = numbers
    return found


def _carry(segments, change):
    """The segments of a face on the changed face; blurring moves none."""
    if change.kind == "blur":
        return segments
    bands = (segments[..., None] == np.arange(segments.max() + 1)).astype(float)
    return change.apply(bands[None])[0].argmax(axis=-1)


# From here on: drawing, which the book's build does.


def draw(face, *maps, mask=None, segments=None):
    """Draw a face (H, W, 3) of bytes and its maps (h, w) side by side, as a picture of Pillow's.

    Red is for fake, blue against, white nothing; each map has its own scale. The `segments` (H, W)
    are outlined on the face, the `mask` (H, W) on the maps.
    """
    canvas = Image.new("RGB", (SIDE + len(maps) * (SIDE + GAP), SIDE), "white")
    large = _enlarge(face, Image.Resampling.BICUBIC)
    if segments is not None:
        large = np.where(_borders(segments)[..., None], np.uint8([255, 230, 0]), large)
    canvas.paste(Image.fromarray(large), (0, 0))
    for number, one in enumerate(maps, start=1):
        one = one.astype(np.float32)
        coloured = np.uint8(255 * COLOURS(0.5 + one / (2 * colour_limit(one)))[..., :3])
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
    whose = ("fake, whole face swapped", "fake, eyes swapped", "real, the first one's original")
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
        outlined = {"mask": arrays["masks"][f], "segments": cut}
        picture = draw(arrays["faces"][f], arrays["maps"][h, s, f], **outlined)
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
        enumerate(("fake, whole face swapped", "real, its original")), enumerate(changes)
    ):
        logit = arrays["logits"][f, c]
        picture = draw(arrays["inputs"][f, c], arrays["lime"][f, c], arrays["lrp"][f, c])
        caption = (
            f"{face}, {kind} {strength}: p(fake) = {1 / (1 + np.exp(-logit)):.2f}; likeness of "
            f"the map to the unchanged face's, once brought back: LIME "
            f"{arrays['alike_lime'][f, c]:.2f}, LRP {arrays['alike_lrp'][f, c]:.2f}"
        )
        yield {"face": face, "change": kind, "strength": strength}, picture, caption


def blend_states(arrays):
    """Yield (values of the controls, picture, caption) for each way to blend."""
    original = arrays["original"].astype(float)
    details = ["all of it", *(f"{pixels} px" for pixels in DETAILS[1:])]
    ways = itertools.product(enumerate(OPACITIES), enumerate(FEATHERS), enumerate(details))
    for (o, opacity), (f, feather), (d, detail) in ways:
        face, mask = arrays["blends"][o, f, d], arrays["masks"][o, f, d]
        change = np.abs(face - original).mean(-1)
        left = _detail(face, mask) / _detail(arrays["original"], mask)
        caption = (
            f"opacity {opacity:.0%}, edge softened by {feather} px, the source's detail: {detail}. "
            f"Inside, colours change by {change[mask].mean():.0f} grey levels on average, and "
            f"{left:.0%} of the original's fine detail is there"
        )
        values = {"opacity": f"{opacity:.0%}", "edge": f"{feather} px", "detail": detail}
        yield values, draw(face, change, mask=mask), caption


def _detail(image, mask):
    """How much neighbouring pixels differ inside a mask."""
    grey = image.astype(float).mean(-1)
    return (np.abs(np.diff(grey, axis=0))[mask[1:]]).mean()


def threshold_states(arrays):
    """Yield (values of the controls, picture, caption) for each scale and threshold."""
    for scale, threshold in itertools.product(SCALES, THRESHOLDS):
        logits, fake = arrays[f"logits_{scale}"], arrays[f"fake_{scale}"]
        limit = np.log(threshold / (1 - threshold))
        called = logits > limit
        hits, alarms = (called & fake).sum(), (called & ~fake).sum()
        caption = (
            f"{scale}x, called fake from p = {threshold:.2f} on: {hits} of {fake.sum()} fakes "
            f"found ({hits / fake.sum():.0%}), {alarms} of {(~fake).sum()} real faces called fake "
            f"({alarms / (~fake).sum():.0%}), accuracy {(called == fake).mean():.2f}"
        )
        values = {"scale": f"{scale}x", "threshold": f"{threshold:.2f}"}
        yield values, draw_logits(logits[~fake], logits[fake], limit), caption


def draw_logits(real, fake, limit, low=-8, high=10, bins=36):
    """Draw two histograms of logits, real above and fake below, with a limit between verdicts."""
    width, height = 2 * SIDE + GAP, SIDE
    canvas = Image.new("RGB", (width, height), "white")
    pen, middle = ImageDraw.Draw(canvas), height // 2
    edges, step = np.linspace(low, high, bins + 1), width / bins
    counts = [np.histogram(np.clip(one, low, high), edges)[0] for one in (real, fake)]
    for count, colour, side in zip(counts, ((0, 115, 178), (222, 143, 5)), (-1, 1), strict=True):
        for n, share in enumerate(count / count.max()):
            ends = sorted((middle, middle + side * round(share * (middle - 4))))
            pen.rectangle((n * step + 1, ends[0], (n + 1) * step - 1, ends[1]), fill=colour)
    place = (limit - low) / (high - low) * width
    pen.line((0, middle, width, middle), fill=(90, 90, 90))
    pen.line((place, 0, place, height), fill=(0, 0, 0), width=2)
    return canvas


def channels_states(arrays):
    """Yield (values of the controls, picture, caption) for each face, layer and channel."""
    kinds = ("found", "one region, found", "missed", "called fake")
    whose = [f"{'fake' if fake else 'real'}, {kind}" for fake, kind in zip(arrays["fake"], kinds)]
    order = itertools.product(enumerate(whose), LAYERS, range(CHANNELS))
    for (f, face), layer, place in order:
        heatmap = arrays[f"maps_{layer}"][f, place].astype(np.float32)
        number, side = arrays[f"numbers_{layer}"][place], heatmap.shape[0]
        caption = (
            f"{face} (logit {arrays['logits'][f]:+.1f}); {layer}, channel {number}: "
            f"{side} x {side} places, {(heatmap > 0).mean():.0%} of them active, "
            f"{heatmap.max():.2f} at most"
        )
        values = {"face": face, "layer": layer, "channel": f"{place + 1}"}
        yield values, draw(arrays["faces"][f], heatmap), caption


FACE = ("face", "radio", "Face")


@dataclass(frozen=True)
class Interactive:
    """A figure: how its arrays and states are made, and what stands around them.

    Attributes
    ----------
    compute, states : callable
        Return its arrays; yield its states from them.
    panels : tuple of str
        What each picture shows, from left to right.
    controls : tuple of (str, str, str)
        Key, kind and legend of each.
    colours : str
        What they mean.
    mark : tuple of str
        What its pictures are, as `xaifake.data.marks.xmp` takes it.
    """

    compute: Callable
    states: Callable
    panels: tuple
    controls: tuple
    colours: str = (
        "Red speaks for fake, blue against it, white for neither; each map has its own scale."
    )
    mark: tuple = (SWAP, ILLUSTRATION)


FIGURES = {
    "blend": Interactive(
        compute_blend,
        blend_states,
        ("the swapped face", "what it changed, the mask outlined"),
        (
            ("opacity", "range", "Opacity"),
            ("edge", "range", "Soft edge"),
            ("detail", "radio", "Detail of the source"),
        ),
        "The redder, the larger the change; each picture has its own scale.",
    ),
    "threshold": Interactive(
        compute_threshold,
        threshold_states,
        ("the logits of real faces (blue, upwards) and fakes (orange, downwards)",),
        (("scale", "radio", "Scale"), ("threshold", "range", "Called fake from p =")),
        "Whatever lies to the right of the black line is called fake.",
        (FIGURE,),
    ),
    "channels": Interactive(
        compute_channels,
        channels_states,
        ("the face", "the channel"),
        (FACE, ("layer", "range", "Layer"), ("channel", "range", "Channel")),
        "The redder, the stronger the channel answers; each map has its own scale.",
    ),
    "lrp": Interactive(
        compute_lrp,
        lrp_states,
        ("the face", "relevance, the swap outlined"),
        (("rule", "select", "Rule"), FACE, ("layer", "range", "Layer")),
    ),
    "lime": Interactive(
        compute_lime,
        lime_states,
        ("the face, cut into segments", "LIME's weights, the swap outlined"),
        (
            ("segments", "range", "Segments asked for"),
            ("fill", "radio", "A hidden segment shows"),
            FACE,
        ),
    ),
    "perturbed": Interactive(
        compute_perturbed,
        perturbed_states,
        ("the changed face", "LIME", "LRP, preset B flat"),
        (("change", "radio", "Change"), ("strength", "range", "Strength"), FACE),
    ),
}
TEMPLATE = Path(__file__).with_name("interactive.html.jinja")


def figure(name, arrays):
    """Return a figure of `FIGURES` as a fragment of HTML with all its states."""
    shown = FIGURES[name]
    template = jinja2.Template(TEMPLATE.read_text(encoding="utf-8"), autoescape=True)
    controls = json.dumps(
        [dict(zip(("key", "kind", "legend"), control)) for control in shown.controls]
    )
    drawn = [
        (json.dumps(values), _webp(p, shown.mark), p.size, said)
        for values, p, said in shown.states(arrays)
    ]
    words = {"name": name, "controls": controls, "panels": shown.panels, "states": drawn}
    return template.render(**words, legend=shown.colours, swapped=SWAP in shown.mark)


def _webp(picture, mark):
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=82, method=4, xmp=xmp(*mark))
    return base64.b64encode(file.getvalue()).decode()


def render(folder, arrays=ARRAYS):
    """Draw all figures into a folder, as NAME.html, from the stored arrays."""
    for name in FIGURES:
        with np.load(arrays / f"{name}.npz") as stored:
            text = figure(name, dict(stored))
        (Path(folder) / f"{name}.html").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    ARRAYS.mkdir(parents=True, exist_ok=True)
    for name, shown in FIGURES.items():
        path = ARRAYS / f"{name}.npz"
        if path.exists():
            print(f"{path.relative_to(chapters.ROOT)} is there; delete it to have it made anew")
        else:
            arrays = shown.compute()
            with write_whole(path) as file:
                np.savez_compressed(file, **arrays)
