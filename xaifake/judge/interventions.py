"""Is the evidence inside the swap, outside, or in their disagreement? (chapter 13_evidence).

Putting the original's pixels back changes the picture inside the mask alone, so it can never find
what a detector takes from the rest. Here the inside and the outside are changed one without the
other, and both: four pictures, whose logits L(inside, outside) split exactly into three effects,

    inside        I = (L(1,0) - L(0,0) + L(1,1) - L(0,1)) / 2
    outside       O = (L(0,1) - L(0,0) + L(1,1) - L(1,0)) / 2
    disagreement  D = (L(1,0) + L(0,1) - L(0,0) - L(1,1)) / 2

so that L(1,0) - L(0,0) = I + D, L(0,1) - L(0,0) = O + D and L(1,1) - L(0,0) = I + O. A detector
that looks only inside has O = D = 0, one that looks only outside I = D = 0. One that compares both
does not mind a change of both, I + O = 0: if it asks whether they differ, I = O = 0; if it asks
whether the inside is the softer one, I = -O. In either case the outside undoes what the inside has
done: (L(1,0) - L(1,1)) / (L(1,0) - L(0,0)), `undone` over `change`, is 1, and 0 for a detector that
looks only inside. One that is content with either of two clues has a D, and I and O of its sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter
from skimage.transform import SimilarityTransform, warp

from xaifake.detector.detector import takes_detector
from xaifake.errors import UserError
from xaifake.judge.localisation import crop_landmarks, swap_area

if TYPE_CHECKING:
    from xaifake.data.dataset import Faces
    from xaifake.detector.detector import Detector

CORNERS = ("logit_00", "logit_10", "logit_01", "logit_11")  # inside changed, outside changed
EFFECTS = ("inside", "outside", "disagreement")
TEXTURES = ("softened", "sharpened", "noise")
EDGE = 3  # pixels over which a change sets in
BLUR = 1.0  # pixels
NOISE = 5.0  # grey levels
_SIGMAS = np.arange(0, 4.01, 0.25)


def split_effects(corners: np.ndarray) -> np.ndarray:
    """Split the logits of four pictures into inside, outside and disagreement.

    Parameters
    ----------
    corners : numpy.ndarray of float, (N, 4)
        In the order of `CORNERS`.

    Returns
    -------
    numpy.ndarray of float64, (N, 3)
        In the order of `EFFECTS`, in units of the logit.
    """
    none, inner, outer, both = np.asarray(corners, np.float64).T
    halves = (inner + both - none - outer, outer + both - none - inner, inner + outer - none - both)
    return np.stack(halves, axis=1) / 2


@takes_detector
def outside_effects(detector: Detector, faces: Faces, pool: Faces) -> pd.DataFrame:
    """Exchange the inside of fakes with their originals', and change what is around it.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Fakes with masks, landmarks and originals.
    pool : xaifake.data.dataset.Faces
        Its real faces give other surroundings.

    Returns
    -------
    pandas.DataFrame
        All faces by one `treatment`, then by the other: "softened", the outside blurred until it
        has lost as much of its fine detail as the swap has; "take", hair, neck and wall come from
        another genuine picture of the person, laid on by the landmarks (`other` is the video;
        another person's if there is none). `sigma` of the blur in pixels; the logits of `CORNERS`,
        where 1 means the fake's inside and the changed outside; `EFFECTS`; `change`, what the
        inside alone does, the fake's logit less its original's; and `undone`, what of it the
        outside takes back. Effects and `undone` are NaN where the swap has lost no detail: nothing
        is to be matched then.

    Raises
    ------
    UserError
        If there are no originals, or no real face to take from.
    """
    if faces.originals is None:
        raise UserError("These faces have no originals: extract them with originals=True.")
    pairs = np.stack([faces.originals, faces.images], axis=1)
    sigmas = np.array([matching_blur(*one) for one in zip(*np.moveaxis(pairs, 1, 0), faces.masks)])
    softened = [_softened(pair, sigma) for pair, sigma in zip(pairs, sigmas, strict=True)]
    taken, videos = _other_takes(faces, pool)
    around = [ramps(~one)[:, None] for one in
              (faces.masks, faces.masks | swap_area(faces, "whole"))]  # fmt: skip
    changed = {"softened": (np.stack(softened), around[0]), "take": (taken[:, None], around[1])}
    predict, parts = detector.predictor(2 * len(pairs) * (1 + len(changed))), []
    plain = _ask(predict, pairs)
    for treatment, (others, weights) in changed.items():
        corners = np.concatenate([plain, _ask(predict, mixed(pairs, others, weights))], axis=1)
        table = corner_table(corners, treatment=treatment)
        softening = treatment == "softened"
        table["sigma"], table["other"] = (sigmas, None) if softening else (np.nan, videos)
        if softening:
            table.loc[sigmas == 0, [*EFFECTS, "undone"]] = np.nan
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


@takes_detector
def texture_effects(detector: Detector, faces: Faces, seed: int = 0) -> pd.DataFrame:
    """Change the fine detail inside and outside the face, of real faces and fakes alike.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        With landmarks. The inside of a fake is its mask, that of a real face what a swap of the
        whole face would replace.
    seed : int
        Of the noise.

    Returns
    -------
    pandas.DataFrame
        All faces by one `treatment` after another: "softened" (Gaussian blur of `BLUR` pixels),
        "sharpened" (what this blur takes away added once more) and "noise" (Gaussian, `NOISE` grey
        levels). The logits of `CORNERS`, where 1 means changed; and `EFFECTS`.
    """
    fakes = (faces.labels == 1)[:, None, None]
    inside = np.where(fakes, faces.masks, swap_area(faces, "whole"))
    images = faces.images[:, None].astype(float)
    blurred = gaussian_filter(images, (0, 0, BLUR, BLUR, 0))
    noise = np.random.default_rng(seed).normal(0, NOISE, images.shape)
    changed = (blurred, 2 * images - blurred, images + noise)
    weights = [ramps(area)[:, None] for area in (inside, ~inside)]
    predict, parts = detector.predictor(len(images) * (1 + 3 * len(changed))), []
    plain = _ask(predict, images)
    for treatment, others in zip(TEXTURES, changed, strict=True):
        pictures = [mixed(images, others, w) for w in (*weights, weights[0] + weights[1])]
        corners = np.concatenate([plain, *(_ask(predict, one) for one in pictures)], axis=1)
        parts.append(corner_table(corners, treatment=treatment))
    return pd.concat(parts, ignore_index=True)


def matching_blur(original: np.ndarray, fake: np.ndarray, mask: np.ndarray) -> float:
    """Return the blur that takes as much fine detail from the original as the swap has lost.

    Fine detail is the variance, inside the mask, of what a Gaussian of 1 pixel takes away.

    Parameters
    ----------
    original, fake : numpy.ndarray, (H, W, 3)
    mask : numpy.ndarray of bool, (H, W)

    Returns
    -------
    float
        Standard deviation in pixels, up to 4; 0 for a fake that has lost nothing.
    """
    core = binary_erosion(mask, iterations=EDGE)
    core = core if core.any() else mask

    def detail(image):
        return np.var((image - gaussian_filter(image, 1))[core])

    grey, lost = (np.asarray(image, float).mean(axis=2) for image in (original, fake))
    kept = np.array([detail(gaussian_filter(grey, sigma)) for sigma in _SIGMAS])
    return float(np.interp(-detail(lost), -kept, _SIGMAS))


def _softened(images, sigma):
    return gaussian_filter(images.astype(float), (0, sigma, sigma, 0))


def ramps(areas: np.ndarray) -> np.ndarray:
    """Return 1 in the depth of areas, less towards their edges, 0 outside: (N, H, W, 1)."""
    depth = np.stack([distance_transform_edt(area) for area in areas])
    return np.clip(depth / EDGE, 0, 1)[..., None]


def mixed(images: np.ndarray, others: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return pictures that go over into others where the weights are 1, as floats."""
    return images + weights * (others - images.astype(float))


def _ask(predict, pictures):
    """Return the logits (N, K) of pictures (N, K, H, W, 3)."""
    flat = np.clip(np.rint(pictures), 0, 255).astype(np.uint8).reshape(-1, *pictures.shape[2:])
    return predict(flat).reshape(pictures.shape[:2])


def corner_table(corners: np.ndarray, **columns) -> pd.DataFrame:
    """Return a table of the logits (N, 4) of `CORNERS`, their `EFFECTS`, and given columns.

    `change` is what the inside alone does, and `undone` what of it goes when the outside is changed
    too.
    """
    table = pd.DataFrame(np.asarray(corners, float), columns=list(CORNERS))
    table[list(EFFECTS)] = split_effects(corners)
    change, undone = table.logit_10 - table.logit_00, table.logit_10 - table.logit_11
    return table.assign(change=change, undone=undone, **columns)


def _other_takes(faces, pool):
    """Lay another genuine picture of each person over the face's own landmarks."""
    real = pool[pool.labels == 0]
    if not len(real):
        raise UserError("There are no real faces to take other surroundings from: give some.")
    goals, places = crop_landmarks(faces), crop_landmarks(real)
    pictures, videos = [], []
    for goal, row in zip(goals, faces.table.itertuples(), strict=True):
        fits = [SimilarityTransform.from_estimate(goal, place) for place in places]
        apart = [np.sqrt(np.mean(fit.residuals(goal, place) ** 2)) if fit else np.inf
                 for fit, place in zip(fits, places, strict=True)]  # fmt: skip
        # The person's other clips come before the same clip, and that before other people.
        strange = (real.table.target != row.target).to_numpy()
        same = (real.table.video == row.original).to_numpy()
        best = np.lexsort((apart, same, strange))[0]
        pictures.append(warp(real.images[best], fits[best], mode="reflect", preserve_range=True))
        videos.append(real.table.video.iloc[best])
    return np.stack(pictures), videos
