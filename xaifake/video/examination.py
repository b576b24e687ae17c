"""The checks of the judging chapters, for one verdict (chapter 12_explain_a_video).

Chapters 8 to 10 measure methods over many faces. Here the same questions are asked of one verdict:
where the maps lie, whether they agree, whether they stay under a little blur and rotation, and,
where the real parent is known, what the detector really reacts to.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from xaifake.data.dataset import Faces
from xaifake.errors import UserError
from xaifake.judge import faithfulness
from xaifake.judge.localisation import rank_agreement, region_masks, relevance_mass_accuracy
from xaifake.judge.perturbations import Blur, rotation
from xaifake.judge.stability import interpolation_ceiling, stability
from xaifake.judge.verdict import default_methods, judged

METHODS = ("gradient (absolute)", "lrp.sequential_preset_b_flat", "lime", "grad_cam")
LITTLE = (Blur(0.5), rotation(5))
PUT_BACK = 0.1  # of the picture
_NOISE = 12  # grey levels by which compression alone may move the edge of an aligned parent
_CHANGED = 16  # grey levels


@dataclass
class Examination:
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
        One row a pair of methods, one and other: `rank_correlation` of their maps over cells, and
        `beyond_centre`, with what both share with the centre taken out.
    stability : pandas.DataFrame
        One row a method and perturbation of the first picture: kind, strength, method, correlation
        with the map of the picture as it is, and `ceiling`, what interpolation alone allows.
    probabilities : dict of str to float
        Of fake, for the first picture as it is ("none") and under each perturbation.
    put_back : PutBack or None
        None where no parent is known.
    """

    faces: Faces
    sign: int
    maps: dict
    regions: pd.DataFrame
    agreement: pd.DataFrame
    stability: pd.DataFrame
    probabilities: dict
    put_back: "PutBack | None" = None


@dataclass
class PutBack:
    """What happens to the score when the real parent's pixels are put back.

    Attributes
    ----------
    probability, parent : float
        Of fake, for the first picture and for its parent.
    gap : float
        Between their logits.
    regions : pandas.Series
        By region: the share of the gap that goes when it alone is put back.
    methods : pandas.Series
        By method: the share that goes with the tenth of the picture that its map puts first; also
        "chance", the mean of ten random orders, and "experiment", the order of `effect`.
    effect : numpy.ndarray of float, (H, W)
        By experiment: by how much each cell moves the logit (`faithfulness.CausalMaps.effect`).
    """

    probability: float
    parent: float
    gap: float
    regions: pd.Series
    methods: pd.Series
    effect: np.ndarray


def find_entries(names):
    """Return the `Entry` of each method's name.

    Raises
    ------
    UserError
        If there is no such method.
    """
    offered = {entry.name: entry for entry in default_methods() if entry.engine == "xaifake"}
    for name in names:
        if name not in offered:
            raise UserError(f"No method {name!r} here: give some of {', '.join(offered)}.")
    if not names:
        raise UserError(f"No method is given: give some of {', '.join(offered)}.")
    return [offered[name] for name in dict.fromkeys(names)]


def count_passes(entries):
    """Return what a map of each entry costs, in forward passes, as was measured for the book."""
    passes = judged("cost").assign(entry=lambda table: table.entry.astype(str))
    return passes.set_index("entry").passes[[entry.name for entry in entries]].to_dict()


def known_faithfulness(scale):
    """Return how far each method's maps could be trusted on the shipped detector of a scale.

    Returns
    -------
    pandas.Series
        By method and baseline: the share of the logit gap to the real twin that went when the tenth
        of the picture that the map puts first was put back, over fifty fakes.
    """
    table = judged("faithfulness")
    table = table[np.isclose(table.scale, scale)].assign(entry=lambda t: t.entry.astype(str))
    sums = table.groupby("entry")[["lost_10", "gap"]].sum()
    return sums.lost_10 / sums.gap


def deciding_frames(logits, count):
    """Return the indices of the frames that weigh most for the verdict, the heaviest first.

    The verdict is the side of 0.5 on which the mean probability lies.
    """
    sign = 1 if expit(logits).mean() >= 0.5 else -1
    return np.argsort(-sign * np.asarray(logits), kind="stable")[:count]


def as_faces(sightings, scale, twins=None, label=1):
    """Return sightings as `Faces`, so that all that measures faces takes them.

    Parameters
    ----------
    sightings : sequence of xaifake.video.people.Sighting
    scale : float
    twins : numpy.ndarray of uint8, (N, H, W, 3), optional
        The same squares of the real parent; the mask is where they differ.
    label : int
    """
    images = np.stack([sighting.image for sighting in sightings])
    masks = np.zeros(images.shape[:3], bool)
    if twins is not None:
        masks = np.abs(images.astype(int) - twins).max(axis=-1) > _CHANGED
    rows = [
        {
            "video": "", "frame": sighting.number, "label": label, "target": "",
            "landmarks": sighting.face.landmarks.ravel(),
            **dict(zip(("left", "top", "side"), sighting.square, strict=True)),
        }
        for sighting in sightings
    ]  # fmt: skip
    labels = np.full(len(images), label)
    return Faces(images, labels, masks, twins, pd.DataFrame(rows), float(scale))


def check_aligned(faces):
    """Refuse a parent that is not in register with its fake.

    Raises
    ------
    UserError
        If the pictures differ at their edge, where a swap of the face changes nothing.
    """
    edge = np.ones(faces.images.shape[1:3], bool)
    edge[4:-4, 4:-4] = False
    apart = np.abs(faces.images.astype(int) - faces.twins)[:, edge].mean(axis=(1, 2))
    if apart.max() > _NOISE:
        raise UserError(
            f"The parent does not lie under the video pixel by pixel: at the edge of the face's "
            f"picture they differ by {apart.max():.0f} of 255 grey levels, where compression alone "
            f"makes less than {_NOISE}. Putting back needs the very video that was manipulated."
        )


def examine(detector, faces, sign, entries, keep=None, done=None):
    """Explain the pictures that decided a verdict, and check the explanations.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Of one person, from `as_faces`, the most decisive first. With twins the detector's evidence
        is also found by putting back.
    sign : int
        1 to ask what speaks for fake, -1 for real.
    entries : sequence of xaifake.judge.verdict.Entry
    keep : callable, optional
        Takes a name and a function without arguments that makes a dict of arrays, and returns it,
        as `xaifake.runs.ResultCache.cached_arrays` does; so finished maps survive a killed run.
    done : callable, optional
        Called with an entry and a number of maps when they are finished.

    Returns
    -------
    Examination
    """
    keep, done = keep or (lambda name, make: make()), done or (lambda entry, count: None)

    count, first = len(faces.images), faces.images[:1]
    moved = [perturbation.apply(first) for perturbation in LITTLE]
    images = np.concatenate([faces.images, *moved])

    def maps_of(entry):
        # Of all pictures at once: a method prepares itself for each call.
        return keep(entry.name, lambda: {"maps": _speaking_for_fake(detector, images, entry, sign)})

    maps, rows = {}, []
    for entry in entries:
        maps[entry.name], others = np.split(maps_of(entry)["maps"], [count])
        rows += [
            _compare(maps[entry.name][:1], others[[k]], perturbation, entry.name)
            for k, perturbation in enumerate(LITTLE)
        ]
        done(entry, len(images))
    pictures = {"none": first, **{p.kind: i for p, i in zip(LITTLE, moved, strict=True)}}
    logits = detector.logits(np.concatenate(list(pictures.values())))
    return Examination(
        faces,
        sign,
        maps,
        share_of_evidence(maps, faces, sign),
        agreement(maps),
        pd.DataFrame(rows),
        dict(zip(pictures, expit(logits.astype(float)).tolist(), strict=True)),
        None if faces.twins is None else put_back(detector, faces[:1], maps, keep),
    )


def _cell(side):
    """Return the divisor of a picture's side that comes nearest to a sixteenth of it."""
    divisors = [k for k in range(1, side + 1) if side % k == 0]
    return min(divisors, key=lambda k: abs(k - side / 16))


def _speaking_for_fake(detector, images, entry, sign):
    """Explain the class that the verdict names, since not every method tells what is against it."""
    heatmaps, _ = entry.maps(detector, images, "fake" if sign > 0 else "real")
    return heatmaps if entry.absolute else sign * heatmaps


def count_maps(pictures):
    """Return how many maps `examine` makes with each entry, for so many pictures."""
    return pictures + len(LITTLE)


def share_of_evidence(maps, faces, sign):
    """Return where the relevance that speaks for a verdict lies; see `Examination.regions`."""
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
    """Correlate the maps of every pair of methods; see `Examination.agreement`."""
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


def put_back(detector, faces, maps, keep):
    """Put the parent's pixels back into one fake; see `PutBack`."""
    check_aligned(faces)
    effects = faithfulness.region_effects(detector, faces).iloc[0]
    gap, cell = effects.gap, _cell(faces.images.shape[1])
    made = keep(
        "causal_maps", lambda: vars(faithfulness.causal_maps(detector, faces, cell, progress=False))
    )
    cause = faithfulness.CausalMaps(**made)
    cells = {name: faithfulness.cell_sums(heatmaps[:1], cell) for name, heatmaps in maps.items()}
    orders = {name: faithfulness.order_cells(sums) for name, sums in cells.items()}
    orders["experiment"] = faithfulness.order_cells(cause.effect)
    gone = {name: _gone(detector, faces, order, cause, cell) for name, order in orders.items()}
    even = np.zeros_like(cause.effect)
    random = [faithfulness.order_cells(even, seed) for seed in range(10)]
    gone["chance"] = np.mean([_gone(detector, faces, order, cause, cell) for order in random])
    effect = np.kron(cause.effect[0], np.ones((cell, cell))) / cell**2
    regions = {name: effects[f"without_{name}"] / gap for name in region_masks(faces)}
    probability, parent = expit([cause.fake[0], cause.twin[0]]).tolist()
    return PutBack(probability, parent, float(gap), pd.Series(regions), pd.Series(gone), effect)


def _gone(detector, faces, order, cause, cell):
    logit = faithfulness.put_back(detector, faces, order, (PUT_BACK,), cell)[0, 0]
    return float((cause.fake[0] - logit) / (cause.fake[0] - cause.twin[0]))


def _compare(heatmap, moved, perturbation, method):
    row = {"kind": perturbation.kind, "strength": perturbation.strength, "method": method}
    row["correlation"] = stability(heatmap, moved, perturbation).correlation[0]
    row["ceiling"] = interpolation_ceiling(heatmap, perturbation).correlation[0]
    return row
