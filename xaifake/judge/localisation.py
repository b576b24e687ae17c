"""Does a map lie where the picture was manipulated? (chapters 08_auditing and 11_localisation).

A score alone says little: a face crop has its face, and so its swap, in the middle, and a map that
knows nothing but this scores well. So every score stands beside those of `baselines`, and
`region_contrast` asks what the middle cannot answer: does the map go where the swap goes?
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.ndimage import sobel
from scipy.stats import rankdata

from xaifake.detector.intervals import interval_over_people
from xaifake.errors import UserError
from xaifake.explainers.registry import make_register

if TYPE_CHECKING:
    from xaifake.data.dataset import Faces

REGIONS = ("eyes", "nose", "mouth", "jaw", "outside")
SCORES = {}  # of maps against masks, by the names of their columns
BASELINES = ("chance", "noise", "edges", "centred Gaussian", "mean mask")
CENTRED_SIGMA = 1 / 6  # of the picture's side
MEAN_MASKS = Path(__file__).parents[1] / "assets" / "judge" / "mean_masks.npz"
# Regions that a swap of the other one leaves alone.
APART = {
    "eyes": ("nose", "mouth"),
    "nose": ("eyes", "mouth"),
    "mouth": ("eyes", "nose"),
    "left_half": ("right_half",),
    "right_half": ("left_half",),
}
_register = make_register(SCORES, "score")


def register_score(name: str) -> Callable:
    """Make a function a score of maps, which `localise` and `xaifake judge` take along.

    Parameters
    ----------
    name : str
        Of its column.

    Returns
    -------
    callable
        A decorator for a function of maps (N, H, W) and masks (N, H, W) that returns float (N,).

    Raises
    ------
    UserError
        If the package has a score of this name.
    """
    return _register(name)


def region_masks(faces):
    """Draw the regions of faces, from their landmarks.

    Eyes (with the brows), nose and mouth are the areas that a swap of this region alone replaces;
    where two meet, the nose gives way to the mouth and both to the eyes. The rest of the area that
    a swap of the whole face replaces is called jaw; it has cheeks and lower forehead as well.

    Parameters
    ----------
    faces : xaifake.data.dataset.Faces

    Returns
    -------
    dict of str to numpy.ndarray of bool, (N, H, W)
        By `REGIONS`; each pixel lies in one.
    """
    free = np.ones(faces.images.shape[:3], bool)
    masks = {}
    for name, region in {"eyes": "eyes", "mouth": "mouth", "nose": "nose", "jaw": "whole"}.items():
        drawn = swap_area(faces, region)
        masks[name] = drawn & free
        free &= ~drawn
    masks["outside"] = free
    return {name: masks[name] for name in REGIONS}


def swap_areas(faces):
    """Draw the area that a swap of each region would replace, whatever was swapped.

    Unlike `region_masks` they overlap, and a half is half of the face.

    Parameters
    ----------
    faces : xaifake.data.dataset.Faces

    Returns
    -------
    dict of str to numpy.ndarray of bool, (N, H, W)
        By `xaifake.data.swaps.REGIONS`.
    """
    from xaifake.data import swaps

    return {region: swap_area(faces, region) for region in swaps.REGIONS}


def swap_area(faces: Faces, region: str) -> np.ndarray:
    """Draw the area that a swap of a region, or of the "whole" face, would replace: (N, H, W)."""
    # With what draws: a score of given masks needs no OpenCV.
    from xaifake.data import swaps

    size = faces.images.shape[1]
    points = crop_landmarks(faces).astype(np.float32)
    return np.stack([swaps.swap_mask(p, region, size=size) > 0 for p in points])


def crop_landmarks(faces: Faces) -> np.ndarray:
    """Return the landmarks of faces in pixels of their pictures, float (N, 68, 2) as (x, y)."""
    points = np.stack([np.reshape(flat, (68, 2)) for flat in faces.table.landmarks])
    corners = faces.table[["left", "top"]].to_numpy(float)[:, None]
    return (points - corners) * (
        faces.images.shape[1] / faces.table.side.to_numpy(float)[:, None, None]
    )


@register_score("mass")
def relevance_mass_accuracy(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of the positive relevance that lies in a mask (Arras et al. 2022).

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
    masks : numpy.ndarray of bool, (N, H, W)

    Returns
    -------
    numpy.ndarray of float64, (N,)
        From 0 to 1; by chance the mask's share of the picture. NaN for a map without a positive
        value.

    Raises
    ------
    UserError
        If maps and masks are not of one shape.
    """
    heatmaps, masks = _check(heatmaps, masks)
    positive = np.maximum(heatmaps, 0)
    # By its largest value first: sums of numbers near the smallest or largest would lose them.
    peak = positive.max(axis=(1, 2), keepdims=True)
    positive = positive / np.where(peak > 0, peak, np.nan)
    return (positive * masks).sum((1, 2)) / positive.sum((1, 2))


@register_score("rank")
def relevance_rank_accuracy(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of the K most relevant pixels that lie in a mask of K pixels.

    The measure of Arras et al. (2022). Of pixels that tie for the last of the K places each counts
    with the probability that a fair draw takes it.

    Parameters and errors are those of `relevance_mass_accuracy`.

    Returns
    -------
    numpy.ndarray of float64, (N,)
        From 0 to 1; by chance the mask's share of the picture. NaN for an empty mask.
    """
    heatmaps, masks = _check(heatmaps, masks)
    return np.array([_rank_accuracy(*pair) for pair in zip(heatmaps, masks, strict=True)])


def _rank_accuracy(heatmap, mask):
    size = int(mask.sum())
    if not size:
        return np.nan
    last = np.partition(heatmap.ravel(), -size)[-size]
    above, ties = heatmap > last, heatmap == last
    drawn = (size - above.sum()) / ties.sum()
    return ((above & mask).sum() + drawn * (ties & mask).sum()) / size


@register_score("pointing")
def pointing_game(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Tell whether the most relevant pixel lies in a mask (Zhang et al. 2018, without tolerance).

    Parameters and errors are those of `relevance_mass_accuracy`.

    Returns
    -------
    numpy.ndarray of float64, (N,)
        1 or 0, or the share of hits among several largest values; by chance the mask's share of
        the picture.
    """
    heatmaps, masks = _check(heatmaps, masks)
    largest = heatmaps == heatmaps.max(axis=(1, 2), keepdims=True)
    return (largest & masks).sum((1, 2)) / largest.sum((1, 2))


@register_score("auc")
def mask_auc(heatmaps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of telling a mask's pixels from the others by relevance.

    Parameters and errors are those of `relevance_mass_accuracy`.

    Returns
    -------
    numpy.ndarray of float64, (N,)
        From 0 to 1: the probability that a pixel inside has more relevance than one outside, ties
        counted half; by chance 0.5. NaN where the mask is empty or the whole picture.
    """
    heatmaps, masks = _check(heatmaps, masks)
    total = heatmaps[0].size if len(heatmaps) else 0
    ranks = rankdata(heatmaps.reshape(len(heatmaps), total), axis=1)
    inside = masks.reshape(len(masks), total)
    n = inside.sum(axis=1).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        # The Mann-Whitney statistic over the number of pairs.
        return ((ranks * inside).sum(axis=1) - n * (n + 1) / 2) / (n * (total - n))


def _check(heatmaps, masks):
    heatmaps, masks = np.asarray(heatmaps), np.asarray(masks)
    if heatmaps.ndim == 4:
        raise UserError(
            f"Relevance of shape {heatmaps.shape}: sum it over the colours first, to (N, H, W)."
        )
    if heatmaps.ndim != 3 or heatmaps.shape != masks.shape:
        raise UserError(
            f"Heatmaps of shape {heatmaps.shape} and masks of shape {masks.shape}: give both as "
            "(N, H, W)."
        )
    if masks.dtype != bool:
        raise UserError(f"Masks of type {masks.dtype}: give True where the picture is manipulated.")
    if not np.isfinite(heatmaps).all():
        raise UserError("NaN or infinite values in the heatmaps.")
    return heatmaps.astype(np.float64), masks


def baselines(faces, mean_mask, seed=0):
    """Make maps that know nothing of the detector.

    Parameters
    ----------
    faces : xaifake.data.dataset.Faces
    mean_mask : numpy.ndarray of float, (H, W)
        Share of the training fakes that are manipulated at each pixel.
    seed : int
        Of the noise.

    Returns
    -------
    dict of str to numpy.ndarray of float64, (N, H, W)
        By `BASELINES`: the same everywhere; uniform noise; the size of the brightness's slope
        (Sobel); a Gaussian in the middle with a standard deviation of a sixth of the side;
        `mean_mask`.
    """
    shape = faces.images.shape[:3]
    grey = faces.images.mean(axis=3)
    return {
        "chance": np.ones(shape),
        "noise": np.random.default_rng(seed).random(shape),
        "edges": np.stack([np.hypot(sobel(g, axis=0), sobel(g, axis=1)) for g in grey]),
        "centred Gaussian": np.broadcast_to(centred_gaussian(*shape[1:]), shape),
        "mean mask": np.broadcast_to(np.asarray(mean_mask, float), shape),
    }


def spread(faces, count=None):
    """Return the places of so many faces, or of all, from the first to the last."""
    count = len(faces) if count is None else min(count, len(faces))
    return np.linspace(0, len(faces) - 1, count).round().astype(int)


def next_person(people):
    """Return for each row the place of the next one, in turn, that shows another person."""
    people = np.asarray(people)
    rows = np.arange(len(people))
    return np.array(
        [next((j for j in np.roll(rows, -i - 1) if people[j] != people[i]), i) for i in rows]
    )


def mean_mask(scale, folder=None, fold=None):
    """Return the mean mask of the fakes that a detector was trained on.

    Parameters
    ----------
    scale : float
    folder : str or Path, optional
        Of `extract_faces`, with a split "train"; the faces that the shipped detectors were trained
        on if not given.
    fold : int, optional
        The fold that was left out of training.

    Returns
    -------
    numpy.ndarray of float, (H, W)
        Share of the training fakes that are manipulated at each pixel.

    Raises
    ------
    UserError
        If there is none for this scale.
    """
    if folder is not None:
        from xaifake.data.dataset import average_mask

        return average_mask(folder, "train", scale, fold)
    with np.load(MEAN_MASKS) as stored:
        if f"{scale:.1f}" not in stored or round(scale, 6) != round(scale, 1):
            raise UserError(f"No mean mask for scale {scale}: there are {', '.join(stored)}.")
        return stored[f"{scale:.1f}"].astype(float)


def centred_gaussian(height, width):
    """Return a Gaussian (height, width) in the middle; `CENTRED_SIGMA` is its spread."""
    rows, columns = np.mgrid[:height, :width]
    rows, columns = (rows - (height - 1) / 2) / height, (columns - (width - 1) / 2) / width
    return np.exp(-(rows**2 + columns**2) / (2 * CENTRED_SIGMA**2))


def check_masks(faces):
    """Refuse fakes of which nobody knows where they are manipulated.

    Parameters
    ----------
    faces : xaifake.data.dataset.Faces

    Raises
    ------
    UserError
        If there is a fake without a mask.
    """
    if "mask_source" not in faces.table:  # extracted before masks were optional
        return
    without = faces.table.mask_source[faces.labels == 1].isna()
    if without.any():
        raise UserError(
            f"{without.sum()} of {len(without)} fakes have no mask, so that where a map should lie "
            "is not known: extract them with their masks, or with originals=True, which takes "
            "a mask from the difference to the original."
        )


def localise(heatmaps: np.ndarray, faces: Faces) -> pd.DataFrame:
    """Score maps of fakes against the truth.

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
        Positive where a pixel is said to speak for fake.
    faces : xaifake.data.dataset.Faces
        Fakes with masks and landmarks.

    Returns
    -------
    pandas.DataFrame
        One row per face: `SCORES` against the mask, such as `mass`, `rank`, `pointing` and `auc`;
        `mass_region_eyes`, `mass_region_nose`, `mass_region_mouth`, `mass_region_jaw` and
        `mass_region_outside`, the shares of the positive relevance in the regions;
        `mass_swap_area_eyes` ... `mass_swap_area_right_half`, those in the areas that a swap of
        each would replace.

    Raises
    ------
    UserError
        If a fake has no mask.
    """
    check_masks(faces)
    scores = {name: score(heatmaps, faces.masks) for name, score in SCORES.items()}
    for prefix, areas in (
        ("mass_region", region_masks(faces)),
        ("mass_swap_area", swap_areas(faces)),
    ):
        for name, masks in areas.items():
            scores[f"{prefix}_{name}"] = relevance_mass_accuracy(heatmaps, masks)
    return pd.DataFrame(scores)


def describe_swaps(faces):
    """Tell where the swaps lie, in the words of `localise`.

    Parameters
    ----------
    faces : xaifake.data.dataset.Faces

    Returns
    -------
    pandas.DataFrame
        One row per face: `share`, the mask's share of the picture; `swap_in_eyes` ..., the shares
        of the mask in the regions; `area_of_eyes` ..., the regions' shares of the picture.

    Raises
    ------
    UserError
        If a fake has no mask.
    """
    check_masks(faces)
    masks = faces.masks.astype(float)
    columns = {"share": masks.mean((1, 2))}
    for name, region in region_masks(faces).items():
        columns[f"swap_in_{name}"] = relevance_mass_accuracy(masks, region)
        columns[f"area_of_{name}"] = region.mean((1, 2))
    return pd.DataFrame(columns)


def region_contrast(table):
    """Tell how much more of a map lies in a region when this region is the one swapped.

    The control is the same person's clips in which another region, apart from it, was swapped: the
    person, the middle of the picture and the region's size say nothing then.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of `localise` for one method, with the columns target and region of the faces.

    Returns
    -------
    pandas.DataFrame
        One row per face that has a control: target, region, `swapped` (share of the relevance in
        its own region), `control` (the mean share of it in the controls) and `contrast`, the
        difference.
    """
    rows = []
    for face in table[table.region.isin(APART)].itertuples():
        same = (table.target == face.target) & table.region.isin(APART[face.region])
        column = f"mass_swap_area_{face.region}"
        if same.any():
            swapped, others = getattr(face, column), table.loc[same, column].mean()
            rows.append((face.target, face.region, swapped, others, swapped - others))
    table = pd.DataFrame(rows, columns=["target", "region", "swapped", "control", "contrast"])
    return table.astype(dict.fromkeys(("swapped", "control", "contrast"), float))


def rank_agreement(maps):
    """Correlate the ranks of maps pair by pair, with and without what the centre explains.

    Faces stand in the middle of their crops, so any two maps that prefer the middle agree. The
    partial rank correlation (Kendall 1942) takes out of both what goes with the distance from the
    middle, as far as it goes linearly with its rank: two maps that share nothing but a steep
    centre may keep 0.2.

    Parameters
    ----------
    maps : numpy.ndarray of float, (M, N, C)
        M methods' maps of N pictures over C = G * G cells of a square grid.

    Returns
    -------
    plain, beyond : numpy.ndarray of float64, (M, M)
        Means over the pictures; NaN for a map that is the same everywhere, or whose ranks are the
        centre's.
    """
    side = round(maps.shape[2] ** 0.5)
    ranks = rankdata(maps, axis=2)
    centre = rankdata(centred_gaussian(side, side).round(12))
    centre = (centre - centre.mean()) / np.linalg.norm(centre - centre.mean())
    ranks = ranks - ranks.mean(axis=2, keepdims=True)
    rest = ranks - (ranks @ centre)[..., None] * centre
    return _mean_correlations(ranks), _mean_correlations(rest)


def _mean_correlations(values):
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.linalg.norm(values, axis=2, keepdims=True)
        unit = np.where(size > 1e-6, values / size, np.nan)
    return np.einsum("inc,jnc->ij", unit, unit) / values.shape[1]


def means_over_people(
    table, columns, by="method", people="target", weights=None, seed=0, resamples=1000
):
    """Return means of columns for groups of rows, with intervals over people.

    Every group is drawn alike, so that the intervals of groups can be compared.

    Parameters
    ----------
    table : pandas.DataFrame
    columns : sequence of str
        Numbers; rows with NaN are left out of that column.
    by, people : str
        The column that groups the rows, and the one that names the person.
    weights : str, optional
        A column that rows are weighted by. The mean of shares of something, weighted by what they
        are shares of, is the share of the whole.
    seed, resamples : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        Columns `by`, score, value, low, high, n, people; groups in the order of the table.
    """
    groups = list(dict.fromkeys(table[by]))
    values = table[list(columns)].to_numpy(float)
    own = 1.0 if weights is None else table[weights].to_numpy(float)
    member = np.stack([(table[by] == group).to_numpy(float) for group in groups])
    valid, filled = ~np.isnan(values), np.nan_to_num(values)

    def measure(drawn):
        weighted = member * (drawn * own)
        with np.errstate(invalid="ignore", divide="ignore"):
            return ((weighted @ filled) / (weighted @ valid)).ravel()

    mean = measure(np.ones(len(table)))
    low, high = interval_over_people(measure, table[people], seed, resamples)
    keys = pd.MultiIndex.from_product([groups, columns], names=[by, "score"])
    result = pd.DataFrame({"value": mean, "low": low, "high": high}, index=keys)
    result["n"] = (member @ valid).ravel().astype(int)
    seen = [table.loc[(table[by] == g) & table[c].notna(), people].nunique() for g, c in keys]
    return result.assign(people=seen).reset_index()


def against_best_baseline(table, score, seed=0, resamples=1000):
    """Compare each method with the baseline that scores best, face by face.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of `localise` with the columns method (a method, or one of `BASELINES`), video, frame
        and target.
    score : str
        One of `SCORES`.
    seed, resamples : int
        Of the bootstrap over people.

    Returns
    -------
    pandas.DataFrame
        Columns method, score (its name), value (mean of the differences), low, high, n, people, and
        `baseline`, the one compared with: the best on the faces that the method was scored on.
    """
    wide = table.pivot(index=["video", "frame", "target"], columns="method", values=score)
    known = [name for name in BASELINES if name in wide]
    parts = []
    for method in dict.fromkeys(table.method):
        if method in known:
            continue
        scored = wide[wide[method].notna()]
        if scored.empty:  # a map without a positive value has no mass anywhere
            continue
        best = scored[known].mean().idxmax()
        part = (scored[method] - scored[best]).rename(score).reset_index()
        part = means_over_people(
            part.assign(method=method), [score], seed=seed, resamples=resamples
        )
        parts.append(part.assign(baseline=best))
    return pd.concat(parts, ignore_index=True)
