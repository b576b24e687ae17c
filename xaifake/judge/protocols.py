"""Tests of maps that others proposed, and edits that are no forgeries (chapter 12_sanity).

The attack on the segments that a map names follows Tsigos et al. (2024), with a ball that holds;
the harmless edits ask who is called fake for them, and whether a map shows what was edited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from xaifake.detector.detector import takes_detector
from xaifake.errors import UserError
from xaifake.explainers.api import explain
from xaifake.explainers.lime import SEGMENTATIONS
from xaifake.judge.interventions import mixed, ramps
from xaifake.judge.localisation import APART, mask_auc, relevance_mass_accuracy, swap_areas
from xaifake.judge.perturbations import rotation

if TYPE_CHECKING:
    from xaifake.data.dataset import Faces
    from xaifake.detector.detector import Detector

OUTCOMES = ("found", "missed", "real", "false alarm")
TOPS = (1, 3)  # segments
EPSILON = 2  # grey levels
STEPS = 4  # of one grey level each
EDITS = ("smoothed", "brightened", "recompressed", "pasted")
QUARTERS = (90, 180, 270)  # degrees
TURNS = (-45, -20, -10, 10, 20, 45)


@takes_detector
def draw_by_outcome(detector: Detector, faces: Faces, count: int = 50, seed: int = 0) -> Faces:
    """Draw faces of each outcome at random, people in turns.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
    count : int
        How many of each outcome, at most.
    seed : int

    Returns
    -------
    xaifake.data.dataset.Faces
        Its table has the columns `outcome`, one of `OUTCOMES` (a fake that is found or missed, a
        real face that is called real or fake), and `logit`.
    """
    logits = detector.logits(faces.images)
    fake, called = faces.labels == 1, logits > 0
    outcome = np.select([fake & called, fake, ~called], OUTCOMES[:3], OUTCOMES[3])
    rows = np.random.default_rng(seed).permutation(len(faces))
    table = faces.table.iloc[rows].assign(row=rows, outcome=outcome[rows], logit=logits[rows])
    table = table.assign(turn=table.groupby(["outcome", "target"]).cumcount())
    table = table.sort_values("turn", kind="stable").groupby("outcome").head(count)
    chosen = np.sort(table.row.to_numpy())
    drawn = faces[chosen]
    drawn.table = drawn.table.assign(outcome=outcome[chosen], logit=logits[chosen])
    return drawn


def attack(
    detector: Detector,
    images: np.ndarray,
    areas: np.ndarray,
    epsilon: int = EPSILON,
    steps: int = STEPS,
) -> np.ndarray:
    """Change pictures within areas so that they are called fake less.

    Projected gradient descent on the logit (Madry et al. 2018): each step moves every value by one
    grey level down the gradient's sign, and no value leaves the ball, an L-infinity ball of
    `epsilon` grey levels around the picture.

    Parameters
    ----------
    detector : Detector
    images : numpy.ndarray of uint8, (N, H, W, 3)
    areas : numpy.ndarray of bool, (N, H, W)
        Where the pictures may be changed.
    epsilon : int
        Grey levels.
    steps : int

    Returns
    -------
    numpy.ndarray of uint8, (N, H, W, 3)

    Raises
    ------
    UserError
        If epsilon or steps is below 1.
    """
    if epsilon < 1 or steps < 1:
        raise UserError(f"epsilon={epsilon}, steps={steps}: give whole numbers from 1 on.")
    start = images.astype(np.int16)
    low, high = np.maximum(start - epsilon, 0), np.minimum(start + epsilon, 255)
    attacked = start
    for _ in range(steps):
        slope = np.asarray(explain(detector, attacked.astype(np.uint8), "gradient", progress=False))
        step = np.sign(slope).astype(np.int16) * areas[..., None]
        attacked = np.clip(attacked - step, low, high)
    return attacked.astype(np.uint8)


def name_segments(heatmaps: np.ndarray, segments: np.ndarray, count: int) -> np.ndarray:
    """Return the area of the segments that a map names: those with the highest mean.

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
    segments : numpy.ndarray of int, (N, H, W)
        Numbered from 0.
    count : int
        How many are named.

    Returns
    -------
    numpy.ndarray of bool, (N, H, W)
    """
    areas = []
    for heatmap, labels in zip(np.asarray(heatmaps, float), segments, strict=True):
        sizes = np.bincount(labels.ravel())
        with np.errstate(invalid="ignore"):
            means = np.bincount(labels.ravel(), heatmap.ravel()) / sizes
        best = np.argsort(-np.nan_to_num(means, nan=-np.inf), kind="stable")[:count]
        areas.append(np.isin(labels, best))
    return np.stack(areas)


@takes_detector
def attack_named_segments(
    detector: Detector,
    images: np.ndarray,
    heatmaps: dict[str, np.ndarray],
    tops: Sequence[int] = TOPS,
    seed: int = 0,
) -> pd.DataFrame:
    """Attack what each map names (Tsigos et al. 2024), with random segments as the control.

    Pictures are cut by SLIC into about fifty segments. Theirs is a search without gradients whose
    ball did not bound the sum of its steps; here it is `attack`.

    Parameters
    ----------
    detector : Detector
    images : numpy.ndarray of uint8, (N, H, W, 3)
        Fakes that the detector finds.
    heatmaps : dict of str to numpy.ndarray of float, (N, H, W)
        By method.
    tops : sequence of int
        Numbers of segments that are attacked.
    seed : int
        Of the random segments.

    Returns
    -------
    pandas.DataFrame
        All faces by one method and number of segments after another: `method` ("random segments"
        among them), `top`, `area` (share of the picture that is attacked), `logit` before and
        `attacked` after. The accuracy after the attack is the share of `attacked` above 0, and the
        sufficiency the mean fall of the score, the sigmoid of the logit.
    """
    segments = np.stack([SEGMENTATIONS["slic"](image / 255) for image in images])
    chance = np.random.default_rng(seed).random((len(images), segments.max() + 1))
    faces = np.arange(len(images))
    everything = heatmaps | {"random segments": chance[faces[:, None, None], segments]}
    named = {(name, top): name_segments(maps, segments, top)
             for name, maps in everything.items() for top in tops}  # fmt: skip
    # Maps often name the same segments: each area of a face is attacked once.
    areas = {(n, area[n].tobytes()): area[n] for area in named.values() for n in faces}
    owners = np.array([n for n, _ in areas])
    before = detector.logits(images)
    attacked = attack(detector, images[owners], np.stack(list(areas.values())))
    after = dict(zip(areas, detector.logits(attacked), strict=True))
    parts = [
        pd.DataFrame({
            "method": name, "top": top, "area": area.mean((1, 2)), "logit": before,
            "attacked": [after[n, area[n].tobytes()] for n in faces],
        })
        for (name, top), area in named.items()
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def edit(images: np.ndarray, areas: np.ndarray, kind: str) -> np.ndarray:
    """Edit areas of pictures as people do who forge nothing.

    Parameters
    ----------
    images : numpy.ndarray of uint8, (N, H, W, 3)
    areas : numpy.ndarray of bool, (N, H, W)
        The edit sets in softly from their edges inwards.
    kind : str
        "smoothed" (a beauty filter's bilateral smoothing), "brightened" (by 15 %), "recompressed"
        (JPEG of quality 30) or "pasted" (the area enlarged, reduced and put back onto itself, which
        changes it by about a grey level).

    Returns
    -------
    numpy.ndarray of uint8, (N, H, W, 3)

    Raises
    ------
    UserError
        If there is no such edit.
    """
    import cv2  # nothing else here needs it

    from xaifake.data.degradations import through_jpeg

    def enlarged(image):
        large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        return cv2.resize(large, image.shape[1::-1], interpolation=cv2.INTER_AREA)

    ways = {
        "smoothed": lambda image: cv2.bilateralFilter(image, 7, 40, 3),
        "brightened": lambda image: image * 1.15,
        "recompressed": lambda image: through_jpeg(image, 30),
        "pasted": enlarged,
    }
    if kind not in ways:
        raise UserError(f"No edit {kind!r}: give one of {', '.join(EDITS)}.")
    edited = np.stack([ways[kind](image) for image in images])
    return np.clip(np.rint(mixed(images, edited, ramps(areas))), 0, 255).astype(np.uint8)


@takes_detector
def harmless_edits(
    detector: Detector, faces: Faces, ways: dict[str, Callable], seed: int = 0
) -> pd.DataFrame:
    """Edit a region of each real face in every way, ask the detector, and ask the maps for it.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Real faces with landmarks.
    ways : dict of str to callable
        By method: from a detector and pictures (N, H, W, 3) to maps (N, H, W).
    seed : int
        Of the regions, one for each face.

    Returns
    -------
    pandas.DataFrame
        All faces by one edit and method after another: `edit`, `edited` (the region), `method`
        ("none" for the logits alone), `logit` before and `logit_edited` after, `changed` (mean
        change in the region, in grey levels); `mass` of the edited picture's map in the region and
        `mass_before`, of the picture's own; likewise `auc`. What a map shows of the edit is the
        difference: before it the region was not edited.
    """
    regions = np.random.default_rng(seed).choice(list(APART), len(faces))
    drawn = swap_areas(faces)
    areas = np.stack([drawn[region][n] for n, region in enumerate(regions)])
    kinds = {kind: edit(faces.images, areas, kind) for kind in EDITS}
    everything = np.concatenate([faces.images, *kinds.values()])
    logits = np.split(detector.logits(everything), 1 + len(kinds))
    scores = {"none": None} | {name: _in_area(way(detector, everything), areas)
                               for name, way in ways.items()}  # fmt: skip
    parts = []
    for name, own in scores.items():
        for number, (kind, edited) in enumerate(kinds.items(), start=1):
            apart = np.abs(edited.astype(float) - faces.images).mean(axis=3)
            table = pd.DataFrame({
                "edit": kind, "edited": regions, "method": name, "logit": logits[0],
                "logit_edited": logits[number],
                "changed": (apart * areas).sum((1, 2)) / areas.sum((1, 2)),
            })  # fmt: skip
            if own is not None:
                for score, values in own.items():
                    table[score], table[f"{score}_before"] = values[number], values[0]
            parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _in_area(heatmaps, areas):
    several = np.split(heatmaps, len(heatmaps) // len(areas))
    scores = {"mass": relevance_mass_accuracy, "auc": mask_auc}
    return {name: [score(maps, areas) for maps in several] for name, score in scores.items()}


@takes_detector
def turned_verdicts(detector: Detector, faces: Faces) -> pd.DataFrame:
    """Turn faces, and read the logit beside that of a control.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces

    Returns
    -------
    pandas.DataFrame
        All faces by one angle after another: `degrees`, clockwise; `label`; `logit` of the turned
        picture and `upright`, that of its control. `QUARTERS` are turned without resampling, and
        the control is the picture itself; for `TURNS` it is the picture turned and turned back.
    """
    predict = detector.predictor(len(faces) * (1 + len(QUARTERS) + 2 * len(TURNS)))
    plain, parts = predict(faces.images), []
    for degrees in (*QUARTERS, *TURNS):
        if degrees in QUARTERS:
            turned, upright = np.rot90(faces.images, -degrees // 90, axes=(1, 2)), plain
        else:
            turned = rotation(degrees).apply(faces.images)
            upright = predict(rotation(-degrees).apply(turned))
        answers = {"degrees": degrees, "label": faces.labels, "logit": predict(turned)}
        parts.append(pd.DataFrame(answers | {"upright": upright}))
    return pd.concat(parts, ignore_index=True)
