"""How good a detector is, and what it goes by (chapter 04_evaluation).

Frames of a clip and clips of a person resemble each other, so all intervals come from drawing
whole people anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import expit

from xaifake.detector.detector import takes_detector
from xaifake.detector.intervals import interval_over_people
from xaifake.errors import UserError

if TYPE_CHECKING:
    from xaifake.data.dataset import Faces
    from xaifake.detector.detector import Detector

SCORES = ("accuracy", "accuracy_always_fake", "auc", "equal_error_rate", "brier", "ece")
# Columns of the manifest that differ from frame to frame of a video.
_OF_A_FRAME = {
    *("frame", "scale", "accepted", "reason", "landmarks", "left", "top", "side", "padded"),
    *("box_left", "box_top", "box_right", "box_bottom", "mask_share", "shard"),
}


@dataclass
class Evaluation:
    """A detector's answers on some faces and the scores made from them.

    Attributes
    ----------
    frames : pandas.DataFrame
        The faces' table with `logit` and `probability` (of fake).
    videos : pandas.DataFrame
        One row per video: what is the same in all its frames, `frames` (their number) and
        `probability`, the mean over its frames.
    scores : pandas.DataFrame
        Columns level ("frame" or "video"), score (one of `SCORES`), value, low, high: the value
        and its 95 % interval over people.
    confusion : pandas.DataFrame
        One row per level: n, people, true_negatives, false_positives, false_negatives,
        true_positives.
    """

    frames: pd.DataFrame
    videos: pd.DataFrame
    scores: pd.DataFrame
    confusion: pd.DataFrame


@takes_detector
def evaluate(
    detector: Detector, faces: Faces, seed: int = 0, resamples: int = 1000, progress: bool = False
) -> Evaluation:
    """Score a detector per frame and per video.

    Fake is what has a probability above 0.5; a video's probability is the mean over its frames.
    The scores are defined in `score`, the intervals in `interval_over_people`.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Faces of people the detector has not seen; real and fake ones for AUC and equal error
        rate, which are NaN otherwise.
    seed : int
        Seed of the bootstrap.
    resamples : int
        Number of bootstrap draws.
    progress : bool
        Show a progress bar of the predictions.

    Returns
    -------
    Evaluation
    """
    logits = detector.logits(faces.images, progress=progress)
    return evaluate_logits(faces.table, logits, seed, resamples)


def evaluate_logits(
    table: pd.DataFrame, logits: np.ndarray, seed: int = 0, resamples: int = 1000
) -> Evaluation:
    """Score a detector from its answers; see `evaluate`.

    Parameters
    ----------
    table : pandas.DataFrame
        N rows with at least the columns video, label and target.
    logits : array of float, (N,)
        The detector's answer for each row.
    seed, resamples : int
        As in `evaluate`.

    Returns
    -------
    Evaluation

    Raises
    ------
    UserError
        If an answer is NaN or infinite: what is no number has no score.
    """
    answered = np.isfinite(logits)
    if not answered.all():
        raise UserError(
            f"{(~answered).sum()} of {len(answered)} answers of the detector are NaN or infinite: "
            "look after its weights, and at the range of the pictures."
        )
    probability = expit(np.asarray(logits, dtype=np.float64))
    frames = table.reset_index(drop=True).assign(logit=logits, probability=probability)
    of_a_video = [name for name in table.columns if name not in {*_OF_A_FRAME, "video"}]
    groups = frames.groupby("video")
    videos = groups[of_a_video].first()
    videos["frames"], videos["probability"] = groups.size(), groups.probability.mean()
    videos = videos.reset_index()
    levels = {"frame": frames, "video": videos}
    scores = pd.concat(
        [_score_level(name, rows, seed, resamples) for name, rows in levels.items()],
        ignore_index=True,
    )
    confusion = pd.DataFrame([_confusion(name, rows) for name, rows in levels.items()])
    return Evaluation(frames, videos, scores, confusion)


def _score_level(level, rows, seed, resamples):
    labels, probabilities = rows.label.to_numpy(), rows.probability.to_numpy()

    def measure(weights):
        return list(score(labels, probabilities, weights).values())

    low, high = interval_over_people(measure, rows.target, seed, resamples)
    values = measure(np.ones(len(rows)))
    return pd.DataFrame(
        {"level": level, "score": SCORES, "value": values, "low": low, "high": high}
    )


def _confusion(level, rows):
    said, label = rows.probability > 0.5, rows.label == 1
    return {
        "level": level,
        "n": len(rows),
        "people": rows.target.nunique(),
        "true_negatives": int((~said & ~label).sum()),
        "false_positives": int((said & ~label).sum()),
        "false_negatives": int((~said & label).sum()),
        "true_positives": int((said & label).sum()),
    }


def score(labels, probabilities, weights):
    """Compare probabilities with the truth.

    Parameters
    ----------
    labels : array of int, (N,)
        1 is fake, 0 real.
    probabilities : array of float, (N,)
        Probability of fake.
    weights : array of float, (N,)
        How often each row counts.

    Returns
    -------
    dict of str to float
        - accuracy: share of rows on whose side of 0.5 the probability lies;
        - accuracy_always_fake: the same for a detector that says fake to everything;
        - auc: area under the ROC curve, the chance that a fake ranks above a real one (Hanley
          and McNeil 1982);
        - equal_error_rate: where the ROC curve, straight between its points, has as large a
          share of false fakes among the real as of missed ones among the fake;
        - brier: mean of (probability - label)^2 (Brier 1950);
        - ece: expected calibration error, the mean gap of `reliability_table` (Guo et al. 2017,
          equation 3, taken for the probability of fake).
    """
    fake = labels == 1
    area, equal_error = _roc_scores(labels, probabilities, weights)
    gap, counted = _reliability(labels, probabilities, weights)[2:4]
    return {
        "accuracy": np.average((probabilities > 0.5) == fake, weights=weights),
        "accuracy_always_fake": np.average(fake, weights=weights),
        "auc": area,
        "equal_error_rate": equal_error,
        "brier": np.average((probabilities - labels) ** 2, weights=weights),
        "ece": np.average(np.abs(gap), weights=counted),
    }


def _roc_scores(labels, probabilities, weights):
    if len(set(labels[weights > 0])) < 2:
        return np.nan, np.nan
    # Ties count as one step of the curve. (scikit-learn's roc_curve gives the same, but checks
    # its input at a cost that the thousands of calls of a bootstrap feel.)
    values, step = np.unique(-probabilities, return_inverse=True)
    false_alarms, hits = (
        np.append(0, np.cumsum(np.bincount(step, weights * (labels == label), len(values))))
        for label in (0, 1)
    )
    false_alarms, hits = false_alarms / false_alarms[-1], hits / hits[-1]
    # Grows from -1 to 1 along the curve; it is 0 where the two errors are equal.
    difference = false_alarms - (1 - hits)
    return np.trapezoid(hits, false_alarms), np.interp(0, difference, false_alarms)


def _reliability(labels, probabilities, weights, bins=10):
    """Return mean probability, share of fakes, their gap and the weight, for bins that have any."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    counted, mean, share = (
        np.bincount(place, weights * values, bins) for values in (1, probabilities, labels)
    )
    kept = counted > 0
    counted, mean, share = counted[kept], mean[kept] / counted[kept], share[kept] / counted[kept]
    return mean, share, share - mean, counted, np.flatnonzero(kept)


def reliability_table(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 10
) -> pd.DataFrame:
    """Compare what the detector says with how often it is so.

    Parameters
    ----------
    labels : array of int, (N,)
        1 is fake, 0 real.
    probabilities : array of float, (N,)
        Probability of fake.
    bins : int
        Number of equally wide bins from 0 to 1.

    Returns
    -------
    pandas.DataFrame
        One row per bin that is not empty: low, high, n, mean_probability, share_fake.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    mean, share, _, counted, place = _reliability(labels, probabilities, np.ones(len(labels)), bins)
    return pd.DataFrame(
        {
            "low": place / bins,
            "high": (place + 1) / bins,
            "n": counted.astype(int),
            "mean_probability": mean,
            "share_fake": share,
        }
    )


def recall_by(
    evaluation: Evaluation, column: str, edges: list[float] | None = None
) -> pd.DataFrame:
    """Tell which fakes are found.

    Parameters
    ----------
    evaluation : Evaluation
        What `evaluate` returned.
    column : str
        A column that describes videos, such as "kind", "region" or "degraded_px".
    edges : list of float, optional
        Edges of bins for a column of numbers, each with its lower edge and without its upper one.

    Returns
    -------
    pandas.DataFrame
        One row a value or bin: the column, people, videos, frames, recall_frames (share of the
        fakes' frames that are called fake) and recall_videos.

    Raises
    ------
    UserError
        If there is no such column.
    """
    frames, videos = (rows[rows.label == 1] for rows in (evaluation.frames, evaluation.videos))
    if column not in videos:
        raise UserError(
            f"Videos have no column {column!r}; there are {', '.join(map(str, videos.columns))}."
        )

    def group(rows):
        values = rows[column] if edges is None else pd.cut(rows[column], edges, right=False)
        return rows.assign(found=rows.probability > 0.5).groupby(values, observed=True)

    by_frame, by_video = group(frames), group(videos)
    table = pd.DataFrame(
        {
            "people": by_video.target.nunique(),
            "videos": by_video.size(),
            "frames": by_frame.size(),
            "recall_frames": by_frame.found.mean(),
            "recall_videos": by_video.found.mean(),
        }
    )
    return table.rename_axis(column).reset_index()


@takes_detector
def case_file(detector: Detector, faces: Faces) -> Faces:
    """Choose four faces on which a detector is right and wrong, to show every method on them.

    In this order: a fake of a whole face that is called fake while its original is called real; a
    fake of a single region that is called fake; a fake that is called real; a real face that is
    called fake. Of all that fit, the one with the median logit is taken (of two the lower one), of
    people not yet chosen while there are any. If none fits, the highest logit takes the place,
    or the lowest for the missed fake.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Fakes and real faces; of each clip the first frame is looked at. Fakes whose table names no
        region, such as DFD's, are whole faces; where all are, one more stands for the region.

    Returns
    -------
    xaifake.data.dataset.Faces
        Four; their table has also ``logit`` and ``logit_original`` (NaN without originals), and
        no empty ``region``.

    Raises
    ------
    UserError
        If there are no fakes, or no real faces.
    """
    table = faces.table.assign(row=np.arange(len(faces)), fake=faces.labels == 1)
    table = table[~table.duplicated("video")].assign(logit_original=np.nan)
    fake, whole = table.fake, _regions(table) == "whole"
    if fake.all() or not fake.any():
        counts = f"{fake.sum()} fake and {(~fake).sum()} real clips"
        raise UserError(f"A case file needs fakes and real faces, not {counts}: give both.")
    table["logit"] = detector.logits(faces.images[table.row])
    if faces.originals is not None:
        table["logit_original"] = detector.logits(faces.originals[table.row])
    found = table.logit > 0
    regions = (kind if kind.any() else fake for kind in (fake & whole, fake & ~whole))
    wanted = (found & ~(table.logit_original > 0), found, ~found, found)
    chosen = []
    for number, (kind, fits) in enumerate(zip([*regions, fake, ~fake], wanted, strict=True)):
        others = ~table.target.isin([one.target for one in chosen])
        rows = next(r for r in (kind & fits & others, kind & fits, kind) if r.any())
        ranked = table[rows].sort_values("logit", kind="stable")
        nearest = 0 if number == 2 else -1
        chosen.append(ranked.iloc[(len(ranked) - 1) // 2 if (kind & fits).any() else nearest])
    chosen = pd.DataFrame(chosen).reset_index(drop=True)
    selected = faces[chosen.row.to_numpy(int)]
    logits = chosen[["logit", "logit_original"]]
    table = selected.table.assign(region=_regions(selected.table)).join(logits)
    return replace(selected, table=table)


@takes_detector
def top_true_positives(
    detector: Detector, faces: Faces, count: int = 4, region: str | None = None
) -> Faces:
    """Choose fakes that a detector finds, each of another person, to explain them.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Faces; of each fake clip the first frame is looked at.
    count : int
        How many fakes, at most.
    region : str, optional
        Only fakes of this region, such as "whole" or "eyes"; any if not given. Fakes whose table
        names no region, such as DFD's, are whole faces.

    Returns
    -------
    xaifake.data.dataset.Faces
        For each person, in the order of the faces, the fake with the highest logit above 0.

    Raises
    ------
    UserError
        If the detector finds none.
    """
    table = faces.table
    candidates = (faces.labels == 1) & ~table.duplicated("video").to_numpy()
    if region is not None:
        candidates &= (_regions(table) == region).to_numpy()
    rows = np.flatnonzero(candidates)
    if len(rows):
        found = table.iloc[rows].assign(row=rows, logit=detector.logits(faces.images[rows]))
        found = found[found.logit > 0].sort_values("logit", ascending=False, kind="stable")
        found = found.drop_duplicates("target").sort_values("row")[:count]
        if len(found):
            return faces[found.row.to_numpy()]
    kind = f" of region {region!r}" if region else ""
    raise UserError(f"Among these faces the detector finds no fake{kind}: give others.")


@takes_detector
def sample_true_positives(
    detector: Detector, faces: Faces, count: int = 50, seed: int = 0
) -> Faces:
    """Draw fakes that a detector finds: half of them whole faces, half single regions.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Fakes whose table names no region, such as DFD's, are whole faces; if all are, so is the
        sample.
    count : int
        How many, at most: of each clip one frame, of each person about as many.
    seed : int

    Returns
    -------
    xaifake.data.dataset.Faces
        In the order of the faces; the same for the same detector, faces and seed.

    Raises
    ------
    UserError
        If the detector finds none.
    """
    fakes = np.flatnonzero(faces.labels == 1)
    found = fakes[detector.logits(faces.images[fakes]) > 0] if len(fakes) else fakes
    rows = np.random.default_rng(seed).permutation(found)
    table = faces.table.reset_index(drop=True).iloc[rows].drop_duplicates("video")
    whole = _regions(table) == "whole"
    parts = [part for part in (table[whole], table[~whole]) if len(part)]
    if not parts:
        raise UserError("Among these faces the detector finds no fake: give others.")
    chosen = []
    for part in parts:
        turns = part.groupby("target").cumcount().to_numpy()
        share = math.ceil(count / len(parts))
        chosen += part.index[np.argsort(turns, kind="stable")][:share].tolist()
    return faces[np.sort(chosen[:count])]


def _regions(table):
    """Return the swapped regions; where none is named, as in DFD, it is the whole face."""
    return table.region.astype(object).replace({"": "whole", None: "whole", np.nan: "whole"})


@takes_detector
def false_positives_when_blurred(
    detector: Detector, faces: Faces, pixels: Sequence[int] = (128, 102, 77, 58)
) -> pd.DataFrame:
    """Tell how often real faces are called fake when the whole picture is made coarser.

    A detector that goes by blur alone, and not by a difference within the picture, fails here.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Faces; the real ones are used.
    pixels : sequence of int
        Sides that the pictures are reduced to before they are brought back to size.

    Returns
    -------
    pandas.DataFrame
        One row per side: pixels, n, false_positive_rate (share called fake), mean_logit.

    Raises
    ------
    UserError
        If there are no real faces.
    """
    images = faces.images[faces.labels == 0]
    if not len(images):
        raise UserError("There are no real faces among these: give some.")
    rows, predict = [], detector.predictor(len(images) * len(pixels))
    for side in pixels:
        logits = predict(np.stack([_coarser(image, side) for image in images]))
        rows.append(
            {
                "pixels": side,
                "n": len(images),
                "false_positive_rate": np.mean(logits > 0),
                "mean_logit": np.mean(logits),
            }
        )
    return pd.DataFrame(rows)


def _coarser(image, side):
    import cv2  # nothing else here needs it

    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


@dataclass
class PairedTest:
    """What the detector says when the swap is undone in part.

    Attributes
    ----------
    pairs : pandas.DataFrame
        One row per fake: video, frame, target, kind, region, and the logits `fake`, `original`,
        `inside` (the original's pixels put back inside the mask) and `control` (as many put back
        outside).
    scores : pandas.DataFrame
        Columns score, value, low, high with the rows fake_above_original (share of the fakes whose
        logit is above their original's), gap_closed_inside and gap_closed_control (sum of the
        logits lost over the sum of the gaps between fake and original); 95 % intervals over people.
    """

    pairs: pd.DataFrame
    scores: pd.DataFrame


@takes_detector
def paired_test(
    detector: Detector, faces: Faces, seed: int = 0, resamples: int = 1000
) -> PairedTest:
    """Compare each fake with its original, the same frame without the swap.

    How often the fake scores higher is a finding about the detector. The other two scores check
    masks and compression: outside the mask both are the same picture, so the pixels put back inside
    have to take away the whole gap between the logits, and those put back elsewhere nothing.
    'Elsewhere' is the patch of pixels nearest to a random place outside the mask, with as many
    pixels as the mask has, or all that are outside if there are fewer.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Faces with originals; the fakes that have one are used.
    seed : int
        Seed of the places and of the bootstrap.
    resamples : int
        Number of bootstrap draws.

    Returns
    -------
    PairedTest

    Raises
    ------
    UserError
        If no fake has an original.
    """
    fakes = _fakes_with_original(faces)
    rng = np.random.default_rng(seed)
    others = np.stack([control_region(mask, rng) for mask in fakes.masks])
    pictures = {
        "fake": fakes.images,
        "original": fakes.originals,
        "inside": np.where(fakes.masks[..., None], fakes.originals, fakes.images),
        "control": np.where(others[..., None], fakes.originals, fakes.images),
    }
    predict = detector.predictor(len(pictures) * len(fakes))
    logits = {name: predict(images) for name, images in pictures.items()}
    described = ["video", "frame", "target", "kind", "region"]
    pairs = fakes.table[[name for name in described if name in fakes.table]].assign(**logits)
    gap, above = pairs.fake - pairs.original, pairs.fake > pairs.original

    def measure(weights):
        whole = np.sum(weights * gap)
        lost = [np.sum(weights * (pairs.fake - pairs[name])) for name in ("inside", "control")]
        shares = [part / whole if whole else np.nan for part in lost]
        return [np.average(above, weights=weights), *shares]

    low, high = interval_over_people(measure, pairs.target, seed, resamples)
    names = ["fake_above_original", "gap_closed_inside", "gap_closed_control"]
    values = measure(np.ones(len(pairs)))
    scores = pd.DataFrame({"score": names, "value": values, "low": low, "high": high})
    return PairedTest(pairs, scores)


def _fakes_with_original(faces):
    if faces.originals is not None:
        # A fake without an original stands as its own.
        differs = (faces.images != faces.originals).any(axis=(1, 2, 3))
        kept = (faces.labels == 1) & differs
        if kept.any():
            return faces[kept]
    raise UserError(
        "None of these faces is a fake with an original: extract them with originals=True from "
        "clips whose originals are there."
    )


def control_region(mask, rng):
    """Choose a patch outside a mask, as large as the mask if there is room.

    Parameters
    ----------
    mask : numpy.ndarray of bool, (H, W)
        Where not to choose.
    rng : numpy.random.Generator
        Source of the place.

    Returns
    -------
    numpy.ndarray of bool, (H, W)
        True on the pixels outside the mask that lie nearest to a random one of them.
    """
    patch = np.zeros_like(mask)
    places = np.argwhere(~mask)
    if len(places):
        distance = ((places - places[rng.integers(len(places))]) ** 2).sum(axis=1)
        nearest = places[np.argsort(distance, kind="stable")[: mask.sum()]]
        patch[tuple(nearest.T)] = True
    return patch
