"""The consented portraits that the embedded clips are made of (chapter 01_dataset).

200 photographs of 100 adults, each once neutral and once smiling: Face Research Lab London Set,
Lisa DeBruine and Benedict Jones (2017), doi:10.6084/m9.figshare.5047666.v5, CC BY 4.0. What may
and what must not be done with them stands in ``SOURCE.md`` beside the files.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from xaifake.errors import UserError

FOLDER = Path(__file__).parents[1] / "assets" / "portraits"

# Indices into the 68 landmarks (counted from 0).
JAW = np.arange(0, 17)
BROWS = np.arange(17, 27)
NOSE = np.arange(27, 36)
EYES = np.arange(36, 48)
OUTER_LIPS = np.arange(48, 60)


@dataclass(frozen=True)
class Portrait:
    """One person's two photographs.

    Attributes
    ----------
    person : str
        Number of the person in the London Set, three digits.
    images : tuple of ndarray, uint8 (540, 540, 3)
        RGB, neutral and smiling.
    landmarks : tuple of ndarray, float32 (68, 2)
        Pixels ``(x, y)`` of the same two images.
    """

    person: str
    images: tuple
    landmarks: tuple


@lru_cache(maxsize=1)
def read_portraits():
    """Read the table of people: person, age, gender, ethnicity (self-reported) and skin tone.

    Returns
    -------
    pandas.DataFrame
        100 rows, one per person, indexed by ``person``. ``tone`` is the mean CIE L* (0 to 100) of
        the cheeks in the neutral picture, a measure of the photograph and not of the person.
    """
    people = pd.read_csv(FOLDER / "portraits.csv", dtype={"person": str})
    people = people[people.expression == "neutral"].set_index("person")
    people = people[["age", "gender", "ethnicity"]].sort_index()
    people["tone"] = [_cheek_tone(load_portrait(person)) for person in people.index]
    return people


@lru_cache(maxsize=1)
def _landmark_table():
    table = pd.read_csv(FOLDER / "landmarks68.csv").set_index("file")
    columns = [f"{axis}{i}" for i in range(68) for axis in "xy"]
    return table[columns]


@lru_cache(maxsize=128)
def load_portrait(person):
    """Load one person's neutral and smiling photograph with their landmarks.

    Parameters
    ----------
    person : str
        Three digits, one of ``read_portraits().index``.

    Returns
    -------
    Portrait

    Raises
    ------
    UserError
        If there is no such person.
    """
    images, landmarks = [], []
    for expression in ("neutral", "smiling"):
        file = f"{person}_{expression}.jpg"
        if file not in _landmark_table().index:
            raise UserError(
                f"There is no portrait of person {person!r}. "
                "xaifake.data.portraits.read_portraits().index lists the 100 there are."
            )
        picture = cv2.imread(str(FOLDER / "images" / file), cv2.IMREAD_COLOR)
        images.append(np.ascontiguousarray(picture[..., ::-1]))
        points = _landmark_table().loc[file].to_numpy(np.float32)
        landmarks.append(points.reshape(68, 2))
    return Portrait(person, tuple(images), tuple(landmarks))


def _cheek_tone(portrait):
    """Mean L* of two discs of 12 pixels between eye, nose wing and mouth corner."""
    points = portrait.landmarks[0]
    lightness = cv2.cvtColor(portrait.images[0].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[..., 0]
    disc = np.zeros(lightness.shape, np.uint8)
    for eye, corner, jaw in ((41, 48, 3), (46, 54, 13)):
        x, y = (points[eye] + points[corner] + points[jaw]) / 3
        cv2.circle(disc, (round(float(x)), round(float(y))), 12, 1, -1)
    return float(lightness[disc > 0].mean())


def split_people(seed=0):
    """Deal the 100 people to train, validation and test, 4 : 1 : 1: the split by person.

    Within each gender the people are sorted by skin tone and dealt as neighbouring pairs, six
    pairs at a time, so that each split holds the whole range of tones and everybody has somebody
    of a similar tone beside them to be swapped with.
    """
    rng = np.random.default_rng([seed, 0])
    splits = pd.Series(index=read_portraits().index, dtype=object)
    splits[:] = "train"
    for _, people in read_portraits().groupby("gender"):
        order = people.sort_values("tone").index
        pairs = [order[i : i + 2] for i in range(0, len(order) - 1, 2)]
        for start in range(0, len(pairs) - 5, 6):
            validation, test = rng.choice(6, 2, replace=False)
            splits[pairs[start + validation]] = "validation"
            splits[pairs[start + test]] = "test"
    return splits


def deal_people(folds=5, seed=0):
    """Deal the 100 people to folds of equal size, so that each can be left out of a training once.

    Within each gender neighbouring pairs by skin tone are dealt, as in `split_people`.

    Parameters
    ----------
    folds : int
    seed : int

    Returns
    -------
    pandas.Series
        Number of the fold, from 0, by person. Sizes differ by at most two.
    """
    rng = np.random.default_rng([seed, 3])
    people = read_portraits()
    dealt = pd.Series(-1, index=people.index)
    for _, group in people.groupby("gender"):
        order = group.sort_values("tone").index
        for start in range(0, len(order), 2 * folds):
            block = order[start : start + 2 * folds]
            # The fewer people a fold has, the earlier its turn: that matters in the last block.
            sizes = [(dealt == fold).sum() for fold in range(folds)]
            turns = sorted(rng.permutation(folds), key=lambda fold: sizes[fold])
            for place in range(0, len(block), 2):
                dealt[block[place : place + 2]] = turns[place // 2]
    return dealt


def aligned_shape(points, onto):
    """Move landmarks (68, 2) by the similarity (Procrustes) that brings them closest to others."""
    mean_from, mean_to = points.mean(0), onto.mean(0)
    a, b = points - mean_from, onto - mean_to
    u, s, vt = np.linalg.svd(a.T @ b)
    flip = np.diag([1, np.sign(np.linalg.det(u @ vt))])
    scale = (s * np.diag(flip)).sum() / (a**2).sum()
    return (scale * a @ u @ flip @ vt + mean_to).astype(np.float32)


def rank_sources(person, candidates):
    """Order people by how well their face fits onto another's: same shape, same skin tone.

    The cost of a candidate is the root-mean-square distance of the aligned landmarks in per cent
    of the face's width, plus half a point for each L* of difference in tone, plus 4 where the
    self-reported gender differs. Light and dark pairs look translucent when they are blended.

    Parameters
    ----------
    person : str
    candidates : iterable of str

    Returns
    -------
    pandas.Series
        Cost by candidate, lowest first, without the person.
    """
    people = read_portraits()
    shape = load_portrait(person).landmarks[0]
    width = np.ptp(shape[:, 0])
    costs = {}
    for other in candidates:
        if other == person:
            continue
        distance = aligned_shape(load_portrait(other).landmarks[0], shape) - shape
        cost = 100 * np.sqrt((distance**2).sum(1).mean()) / width
        cost += 0.5 * abs(people.tone[person] - people.tone[other])
        cost += 4 * (people.gender[person] != people.gender[other])
        costs[other] = cost
    return pd.Series(costs).sort_values()
