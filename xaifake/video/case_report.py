"""The checks of the judging chapters, for one verdict (chapter 15_explain_a_video).

Chapters 10 to 13 measure methods over many faces. Here the same questions are asked of one verdict:
where the maps lie, whether they agree, whether they stay under a little blur and rotation, and,
where the original is known, what the detector really reacts to.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from xaifake.data.dataset import Faces
from xaifake.errors import UserError
from xaifake.judge import faithfulness
from xaifake.judge.localisation import (
    BASELINES,
    rank_agreement,
    region_masks,
    relevance_mass_accuracy,
)
from xaifake.judge.perturbations import Blur, rotation
from xaifake.judge.runner import default_methods, judged
from xaifake.judge.stability import interpolation_ceiling, stability

METHODS = ("gradient (absolute)", "lrp.sequential_preset_b_flat", "lime", "grad_cam")
LITTLE = (Blur(0.5), rotation(5))
RESTORED_SHARE = 0.1  # of the picture
_NOISE = 12  # grey levels by which compression alone may move the edge of an aligned original
_CHANGED = 16  # grey levels


@dataclass
class CaseReport:
    """What was found out about the pictures that decided a verdict.

    Attributes
    ----------
    faces : xaifake.data.dataset.Faces
        The F pictures, the most decisive first.
    sign : int
        1 if the verdict is fake, -1 if it is real.
    maps : dict of str to numpy.ndarray of float32, (F, H, W)
        By method; positive speaks for fake. Made for the class that the verdict names; where a
        method tells only what is in favour of it, nothing here has the other sign.
    regions : pandas.DataFrame
        One row a region of the face; column `even` has its share of the picture, the others each
        method's share of the relevance that speaks for the verdict. NaN where none does.
    agreement : pandas.DataFrame
        One row per pair of methods, one and other: `rank_correlation` of their maps over cells, and
        `beyond_centre`, with what both share with the centre taken out.
    stability : pandas.DataFrame
        One row per method and perturbation of the first picture: kind, strength, method,
        correlation with the map of the picture as it is, and `ceiling`, what interpolation alone
        allows.
    probabilities : dict of str to float
        Of fake, for the first picture as it is ("none") and under each perturbation.
    restored : Restored or None
        None where no original is known.
    """

    faces: Faces
    sign: int
    maps: dict
    regions: pd.DataFrame
    agreement: pd.DataFrame
    stability: pd.DataFrame
    probabilities: dict
    restored: "Restored | None" = None


@dataclass
class Restored:
    """What happens to the score when the original's pixels are put back.

    Attributes
    ----------
    probability, original : float
        Of fake, for the first picture and for its original.
    gap : float
        Between their logits.
    regions : pandas.Series
        By region: the probability when it alone is put back.
    methods : pandas.Series
        By method: the probability when the tenth of the picture that its map puts first is put
        back; also "chance", the mean of ten random orders, and "experiment", the order of `effect`.
    effect : numpy.ndarray of float, (H, W)
        By experiment: by how much each cell moves the logit (`faithfulness.PatchEffects.effect`).
    """

    probability: float
    original: float
    gap: float
    regions: pd.Series
    methods: pd.Series
    effect: np.ndarray


def find_configs(names):
    """Return the `MethodConfig` of each method's name.

    Raises
    ------
    UserError
        If there is no such method, or the stored tables do not tell what it costs and how often it
        is right.
    """
    measured = set(judged("cost").method)
    offered = {
        config.name: config
        for config in default_methods()
        if config.engine == "xaifake" and config.name in measured
    }
    for name in names:
        if name not in offered:
            raise UserError(f"No method {name!r} here: give some of {', '.join(offered)}.")
    if not names:
        raise UserError(f"No method is given: give some of {', '.join(offered)}.")
    return [offered[name] for name in dict.fromkeys(names)]


def count_passes(configs):
    """Return what a map of each config costs, in forward passes, as was measured for the book."""
    passes = judged("cost").assign(method=lambda table: table.method.astype(str))
    return passes.set_index("method").passes[[config.name for config in configs]].to_dict()


def right_places(scale):
    """Return how often each method's maps found the right place on the shipped detector of a scale.

    The right place is found where the tenth of the picture that a map puts first takes at least
    half of the way from a fake's logit to its original's when the real pixels are put back there.

    Returns
    -------
    pandas.DataFrame
        By method and baseline: `right` and `tried`, fakes; `blind`, how often the best of the maps
        was right that know nothing of the detector (`xaifake.judge.localisation.BASELINES`); and
        whether a method `failed`, being right less often than that.
    """
    table = judged("faithfulness")
    table = table[np.isclose(table.scale, scale)].assign(method=lambda t: t.method.astype(str))
    found = (table.logit_drop_10 >= table.gap / 2).groupby(table.method).agg(["sum", "size"])
    found.columns = ["right", "tried"]
    found["blind"] = found.right[list(BASELINES)].max()
    return found.assign(failed=found.right < found.blind)


def deciding_frames(logits, count):
    """Return the indices of the frames that weigh most for the verdict, the heaviest first.

    The verdict is the side of 0.5 on which the mean probability lies.
    """
    sign = 1 if expit(logits).mean() >= 0.5 else -1
    return np.argsort(-sign * np.asarray(logits), kind="stable")[:count]


def as_faces(detections, scale, originals=None, label=1):
    """Return detections as `Faces`, so that all that measures faces takes them.

    Parameters
    ----------
    detections : sequence of xaifake.video.tracks.FaceDetection
    scale : float
    originals : numpy.ndarray of uint8, (N, H, W, 3), optional
        The same squares of the original; the mask is where they differ.
    label : int
    """
    images = np.stack([detection.image for detection in detections])
    masks = np.zeros(images.shape[:3], bool)
    if originals is not None:
        masks = np.abs(images.astype(int) - originals).max(axis=-1) > _CHANGED
    rows = [
        {
            "video": "", "frame": detection.number, "label": label, "target": "",
            "landmarks": detection.face.landmarks.ravel(),
            **dict(zip(("left", "top", "side"), detection.square, strict=True)),
        }
        for detection in detections
    ]  # fmt: skip
    labels = np.full(len(images), label)
    return Faces(images, labels, masks, originals, pd.DataFrame(rows), float(scale))


def check_aligned(faces):
    """Refuse an original that is not in register with its fake.

    Raises
    ------
    UserError
        If the pictures differ at their edge, where a swap of the face changes nothing.
    """
    edge = np.ones(faces.images.shape[1:3], bool)
    edge[4:-4, 4:-4] = False
    apart = np.abs(faces.images.astype(int) - faces.originals)[:, edge].mean(axis=(1, 2))
    if not apart.max() <= _NOISE:
        raise UserError(
            f"The original does not lie under the video pixel by pixel: at the edge of the face's "
            f"picture they differ by {apart.max():.0f} of 255 grey levels, where compression alone "
            f"makes less than {_NOISE}. Putting back needs the very video that was manipulated."
        )


def report_case(detector, faces, sign, configs, keep=None, done=None):
    """Explain the pictures that decided a verdict, and check the explanations.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Of one person, from `as_faces`, the most decisive first. With originals the detector's
        evidence is also found by putting back.
    sign : int
        1 to ask what speaks for fake, -1 for real.
    configs : sequence of xaifake.judge.runner.MethodConfig
    keep : callable, optional
        Takes a name and a function without arguments that makes a dict of arrays, and returns it,
        as `xaifake.runs.ResultCache.cached_arrays` does; so finished maps survive a killed run.
    done : callable, optional
        Called with a config and a number of maps when they are finished.

    Returns
    -------
    CaseReport
    """
    keep, done = keep or (lambda name, make: make()), done or (lambda config, count: None)

    count, first = len(faces.images), faces.images[:1]
    moved = [perturbation.apply(first) for perturbation in LITTLE]
    images = np.concatenate([faces.images, *moved])

    def maps_of(config):
        # Of all pictures at once: a method prepares itself for each call.
        return keep(
            config.name, lambda: {"maps": _speaking_for_fake(detector, images, config, sign)}
        )

    maps, rows = {}, []
    for config in configs:
        maps[config.name], others = np.split(maps_of(config)["maps"], [count])
        rows += [
            _compare(maps[config.name][:1], others[[k]], perturbation, config.name)
            for k, perturbation in enumerate(LITTLE)
        ]
        done(config, len(images))
    pictures = {"none": first, **{p.kind: i for p, i in zip(LITTLE, moved, strict=True)}}
    logits = detector.logits(np.concatenate(list(pictures.values())))
    return CaseReport(
        faces,
        sign,
        maps,
        share_of_evidence(maps, faces, sign),
        agreement(maps),
        pd.DataFrame(rows),
        dict(zip(pictures, expit(logits.astype(float)).tolist(), strict=True)),
        None if faces.originals is None else restore(detector, faces[:1], maps, keep),
    )


def _cell(side):
    """Return the divisor of a picture's side that comes nearest to a sixteenth of it."""
    divisors = [k for k in range(1, side + 1) if side % k == 0]
    return min(divisors, key=lambda k: abs(k - side / 16))


def _speaking_for_fake(detector, images, config, sign):
    """Explain the class that the verdict names, since not every method tells what is against it."""
    heatmaps, _ = config.maps(detector, images, "fake" if sign > 0 else "real")
    return heatmaps if config.absolute else sign * heatmaps


def count_maps(pictures):
    """Return how many maps `report_case` makes with each config, for so many pictures."""
    return pictures + len(LITTLE)


def share_of_evidence(maps, faces, sign):
    """Return where the relevance that speaks for a verdict lies; see `CaseReport.regions`."""
    masks = region_masks(faces)
    table = {"even": {name: float(mask.mean()) for name, mask in masks.items()}}
    for method, heatmaps in maps.items():
        shares = {}
        for name, mask in masks.items():
            # Sizes speak for neither class, and are taken as they are.
            speaking = heatmaps if (heatmaps >= 0).all() else sign * heatmaps
            values = relevance_mass_accuracy(speaking, mask)
            shares[name] = np.nan if np.isnan(values).all() else float(np.nanmean(values))
        table[method] = shares
    return pd.DataFrame(table)


def agreement(maps):
    """Correlate the maps of every pair of methods; see `CaseReport.agreement`."""
    names = list(maps)
    if len(names) < 2:
        return pd.DataFrame(columns=["one", "other", "rank_correlation", "beyond_centre"])
    cell = _cell(next(iter(maps.values())).shape[1])
    cells = np.stack([faithfulness.cell_sums(m, cell).reshape(len(m), -1) for m in maps.values()])
    plain, beyond = rank_agreement(cells)
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    return pd.DataFrame(
        [(names[i], names[j], plain[i, j], beyond[i, j]) for i, j in pairs],
        columns=["one", "other", "rank_correlation", "beyond_centre"],
    )


def restore(detector, faces, maps, keep):
    """Put the original's pixels back into one fake; see `Restored`."""
    check_aligned(faces)
    lost = faithfulness.region_effects(detector, faces).iloc[0]
    cell = _cell(faces.images.shape[1])
    made = keep(
        "patch_effects",
        lambda: vars(faithfulness.patch_effects(detector, faces, cell, progress=False)),
    )
    effects = faithfulness.PatchEffects(**made)
    cells = {name: faithfulness.cell_sums(heatmaps[:1], cell) for name, heatmaps in maps.items()}
    orders = {name: faithfulness.order_cells(sums) for name, sums in cells.items()}
    orders["experiment"] = faithfulness.order_cells(effects.effect)
    after = {name: _tenth_restored(detector, faces, order, cell) for name, order in orders.items()}
    even = np.zeros_like(effects.effect)
    random = [faithfulness.order_cells(even, seed) for seed in range(10)]
    after["chance"] = np.mean([_tenth_restored(detector, faces, order, cell) for order in random])
    effect = np.kron(effects.effect[0], np.ones((cell, cell))) / cell**2
    fake, original = effects.fake[0], effects.original[0]
    regions = {name: expit(fake - lost[f"without_{name}"]) for name in region_masks(faces)}
    return Restored(
        *expit([fake, original]).tolist(),
        float(lost.gap),
        pd.Series(regions),
        pd.Series(after),
        effect,
    )


def _tenth_restored(detector, faces, order, cell):
    logit = faithfulness.restore_cells(detector, faces, order, (RESTORED_SHARE,), cell)[0, 0]
    return float(expit(logit))


def _compare(heatmap, moved, perturbation, method):
    row = {"kind": perturbation.kind, "strength": perturbation.strength, "method": method}
    row["correlation"] = stability(heatmap, moved, perturbation).correlation[0]
    row["ceiling"] = interpolation_ceiling(heatmap, perturbation).correlation[0]
    return row
