"""Cues planted in a detector that is there, in a 2 x 2 (chapter 12_sanity).

A cue *adds* texture or *removes* it, and it is *local*, there or not, or *relational*, so that only
the inside of a region against its outside tells. A detector is fine-tuned to one of them; whether
it goes by it, and in which way, is asked before its maps are: the region and what is around it are
changed one without the other, as in `xaifake.judge.interventions`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from xaifake.detector.detector import takes_detector
from xaifake.detector.devices import Devices
from xaifake.detector.fused import FusedAdam, with_fused_batch_norms
from xaifake.detector.inputs import as_floats
from xaifake.detector.xception import batch_norms
from xaifake.errors import UserError
from xaifake.judge.faithfulness import patch_effects
from xaifake.judge.interventions import CORNERS, corner_table
from xaifake.judge.localisation import SCORES, baselines, next_person, spread, swap_area
from xaifake.judge.planted import fit, split_people, vary

if TYPE_CHECKING:
    from xaifake.data.dataset import Faces
    from xaifake.detector.detector import Detector

CUES = ("adds-local", "removes-local", "adds-relational", "removes-relational")
RADII = (0.1, 0.16)  # of the picture's side
ADDED = 6.0  # grey levels
BLURRED = 1.5  # pixels
GRAIN = 6.0  # grey levels that a blur finds everywhere, also on smooth skin
LEVELS = {"adds": (2.0, 16.0), "removes": (0.4, 2.5)}  # of a picture, where only the ratio tells
RATIO = 2.0  # inside to outside
EVERYWHERE = 0.25  # of the fakes with a local cue that a network learns from
HELD_OUT = 0.5  # of the people
ASKED, SLOW_FACES = 50, 12
SIGNS: dict[str, Callable] = {
    "positive": lambda maps: maps,
    "negative": np.negative,
    "size": np.abs,
}


def draw_regions(faces: Faces, seed: int = 0) -> np.ndarray:
    """Draw a disc at a random place of each face: bool (N, H, W).

    Its middle lies in the area that a swap of the whole face would replace, every pixel of which
    is as likely, and its radius is drawn from `RADII`.
    """
    return _discs(swap_area(faces, "whole"), np.random.default_rng(seed))


def _discs(areas, rng):
    rows, columns = np.indices(areas.shape[1:])
    discs = []
    for area in areas:
        radius = rng.uniform(*RADII) * len(area)
        places = np.argwhere(area)
        y, x = places[rng.integers(len(places))]
        discs.append(np.hypot(rows - y, columns - x) <= radius)
    return np.stack(discs)


def plant_cue(images: np.ndarray, regions: np.ndarray, cue: str, seed: int = 0) -> np.ndarray:
    """Plant a cue in regions of pictures, around them, in both and in neither.

    Parameters
    ----------
    images : numpy.ndarray of uint8, (N, H, W, 3)
    regions : numpy.ndarray of bool, (N, H, W)
    cue : str
        - "adds-local": noise of `ADDED` grey levels;
        - "removes-local": a Gaussian blur of `BLURRED` pixels, in pictures that have noise of
          `GRAIN` grey levels everywhere;
        - "adds-relational": the picture has noise of a strength drawn from `LEVELS`, and the cue is
          `RATIO` times of it. The noise has the energy, over the picture, that was drawn: those
          with and without the cue cannot be told by it;
        - "removes-relational": the picture, with the same grain, is blurred by a width drawn from
          `LEVELS`, and the cue is a blur of `RATIO` times that width.
    seed : int
        Of noise and levels; a `numpy.random.Generator` too.

    Returns
    -------
    numpy.ndarray of uint8, (N, 4, H, W, 3)
        In the order of `xaifake.judge.interventions.CORNERS`: without the cue, in the region
        alone, around it alone, and everywhere. The first two differ within the region alone.

    Raises
    ------
    UserError
        If there is no such cue.
    """
    weak, strong = _levels(images, regions, cue, seed)
    inside = regions[..., None]
    corners = [weak, np.where(inside, strong, weak), np.where(inside, weak, strong), strong]
    return np.stack(corners, axis=1)


def _levels(images, regions, cue, seed):
    """Return the whole pictures at the level without the cue and at that with it, uint8."""
    if cue not in CUES:
        raise UserError(f"No cue {cue!r}: give one of {', '.join(CUES)}.")
    act, _, span = cue.partition("-")
    rng, count = np.random.default_rng(seed), len(images)
    low, high = LEVELS[act]
    base = np.exp(rng.uniform(np.log(low), np.log(high), count))
    base = base if span == "relational" else np.zeros(count)
    noise = rng.normal(size=(*images.shape[:3], 1))
    if act == "removes":
        strong = base * RATIO if span == "relational" else np.full(count, BLURRED)
        return [_blurred(images + GRAIN * noise, widths) for widths in (base, strong)]
    share = regions.mean(axis=(1, 2))
    base = base / np.sqrt(1 + share * (RATIO**2 - 1))
    strong = base * RATIO if span == "relational" else np.full(count, ADDED)
    return [_to_bytes(images + noise * level.reshape(-1, 1, 1, 1)) for level in (base, strong)]


def _blurred(images, widths):
    each = zip(images, widths, strict=True)
    return _to_bytes(np.stack([gaussian_filter(image, (s, s, 0)) for image, s in each]))


def _to_bytes(pictures):
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


class CueBatches(keras.utils.PyDataset):
    """Batches of real faces and of the same ones with a cue, by turns, planted anew each time.

    A local cue fills the whole picture of some of the fakes (`EVERYWHERE`), so that a network must
    go by what is there, and cannot by its difference from what is around it.

    Parameters
    ----------
    detector : Detector
        Whose form of pictures they take.
    faces : xaifake.data.dataset.Faces
    cue : str
        One of `CUES`.
    steps, batch_size : int
    seed : int
    """

    def __init__(self, detector, faces, cue, steps, batch_size=32, seed=0):
        super().__init__()
        self.form = detector.input_shape, detector.value_range
        self.faces, self.cue, self.areas = faces, cue, swap_area(faces, "whole")
        self.steps, self.batch_size, self.seed = steps, batch_size, seed

    def __len__(self):
        return self.steps

    def __getitem__(self, number):
        """Return pictures (B, H, W, 3) as the detector takes them, and labels (B, 1)."""
        rng = np.random.default_rng([self.seed, number])
        rows = rng.choice(len(self.faces), self.batch_size // 2)
        discs = _discs(self.areas[rows], rng)
        images = vary(self.faces.images[rows].astype(np.float32), rng)
        everywhere = self.cue.endswith("local") & (rng.random(len(rows)) < EVERYWHERE)
        fakes = plant_cue(images, discs, self.cue, rng)
        fakes = np.where(everywhere[:, None, None, None], fakes[:, 3], fakes[:, 1])
        pairs = np.stack([_without(images, self.cue, rng), fakes], axis=1)
        pictures = as_floats(pairs.reshape(-1, *images.shape[1:]), *self.form)
        return pictures, np.tile([0.0, 1.0], len(rows))[:, None]


def _without(images, cue, seed):
    """Return real pictures at levels of their own."""
    return _levels(images, np.zeros(images.shape[:3], bool), cue, seed)[0]


@takes_detector
def fine_tune(
    detector: Detector,
    faces: Faces,
    cue: str,
    images: int = 1600,
    batch_size: int = 32,
    learning_rate: float = 3e-4,
    precision: str = "float32",
    seed: int = 0,
    progress: bool = True,
) -> Detector:
    """Fine-tune a copy of a detector to a cue.

    Parameters
    ----------
    detector : Detector
        It is left as it is.
    faces : xaifake.data.dataset.Faces
        Real faces with landmarks.
    cue : str
        One of `CUES`.
    images : int
        How many pictures it sees, half of them with the cue.
    batch_size : int
        Even.
    learning_rate : float
        The highest; it falls to 0 along a cosine.
    precision : str
        "float32"; or "mixed_bfloat16", which a single processor that calculates in it takes half of
        the time for.
    seed : int
    progress : bool
        Show a progress bar.

    Returns
    -------
    Detector
        That answers above 0 for pictures with the cue.
    """
    network, steps = detector.model, max(1, images // batch_size)
    adam = keras.optimizers.Adam
    # The fused batch norm is for feature maps, on a processor.
    if Devices().fused and all(len(layer.input.shape) == 4 for layer in batch_norms(network)):
        network, adam = with_fused_batch_norms(network, precision), FusedAdam
    else:
        network = keras.models.clone_model(network)
        network.set_weights(detector.model.get_weights())

    def batches(first, count):
        return CueBatches(detector, faces, cue, count, batch_size, seed + first)

    fit(network, batches, steps, adam, learning_rate, seed, progress)
    copy = keras.models.clone_model(detector.model)
    copy.set_weights(network.get_weights())
    return replace(detector, model=copy, name=f"{detector.name}, {cue}", shipped=False)


@takes_detector
def prove_use(
    detector: Detector, faces: Faces, regions: np.ndarray, cue: str, seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray]:
    """Ask a detector whether it goes by a cue, and whether by the region or by the difference.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Real faces of people it was not fine-tuned on.
    regions : numpy.ndarray of bool, (N, H, W)
    cue : str
    seed : int

    Returns
    -------
    table : pandas.DataFrame
        One row per face: the logits of the four pictures of `plant_cue`; the three effects that
        they split into, see `xaifake.judge.interventions.split_effects`; `change`, what the cue in
        the region does to the logit; `undone`, what of it goes when all around gets the cue too,
        which is all of it for a detector that compares and nothing for one that looks at the
        region alone; `undone_elsewhere`, its control: an equally large region half a picture away
        gets the cue; `logit_other`, of the face without the cue at another level; `detection`, the
        AUC of the pictures with the cue in the region against those. To take a cue out of its
        region again gives the picture without it, so that this undoes everything by construction:
        what there is to be found is the size of `change`.
    pictures : numpy.ndarray of uint8, (N, 4, H, W, 3)
        As `plant_cue` returns them.
    """
    height, width = regions.shape[1:]
    pictures = plant_cue(faces.images, regions, cue, seed)
    # An equally large region that no disc reaches from its own place.
    elsewhere = np.roll(regions, (height // 2, width // 2), axis=(1, 2))[..., None]
    control = np.where(elsewhere, pictures[:, 3], pictures[:, 1])
    other = _without(faces.images, cue, [seed, 1])
    asked = np.concatenate([pictures, control[:, None], other[:, None]], axis=1)
    logits = detector.logits(asked.reshape(-1, *asked.shape[2:])).reshape(asked.shape[:2])
    table = corner_table(logits[:, : len(CORNERS)])
    table["undone_elsewhere"] = table.logit_10 - logits[:, 4]
    table["logit_other"] = logits[:, 5]
    answers = np.concatenate([table.logit_10, table.logit_other])
    table["detection"] = roc_auc_score(np.repeat([1, 0], len(table)), answers)
    return table, pictures


def score_signs(heatmaps: np.ndarray, regions: np.ndarray) -> pd.DataFrame:
    """Score what of maps is above 0, what is below, and their size, against regions.

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
    regions : numpy.ndarray of bool, (N, H, W)

    Returns
    -------
    pandas.DataFrame
        All maps by one `sign` after another, "positive", "negative" (the map turned over) and
        "size": `xaifake.judge.localisation.SCORES` to three decimals.
    """
    parts = []
    for sign, change in SIGNS.items():
        scores = {name: score(change(heatmaps), regions) for name, score in SCORES.items()}
        parts.append(pd.DataFrame(scores).round(3).assign(sign=sign))
    return pd.concat(parts, ignore_index=True)


@takes_detector
def planted_cue(
    detector: Detector,
    faces: Faces,
    cue: str,
    ways: dict[str, Callable],
    slow: Collection[str] = (),
    asked: int = ASKED,
    slow_faces: int = SLOW_FACES,
    seed: int = 0,
    progress: bool = True,
    **training: Any,
) -> pd.DataFrame:
    """Fine-tune a detector to a cue, prove that it goes by it, and ask every method for the region.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        With landmarks; the real ones are taken, half of the people to learn from.
    cue : str
        One of `CUES`.
    ways : dict of str to callable
        By method: from a detector and pictures (N, H, W, 3) to maps (N, H, W).
    slow : collection of str
        Methods that are asked about `slow_faces` of the faces alone, and not without the cue.
    asked, slow_faces : int
        Of the faces that it did not learn from.
    seed : int
    progress : bool
        Show a progress bar of the fine-tuning.
    **training
        Passed on to `fine_tune`.

    Returns
    -------
    pandas.DataFrame
        With the columns cue, video, frame, target, `share` (of the region in the picture) and

        - where `method` is "none" those of `prove_use`, one row per face;
        - else those of `score_signs`, one row per face, method, `relevance` and `sign`.
          `relevance` is "with" (the map of the picture with the cue), "without" (that of the
          picture without it, what a map shows there anyway) or "other" (that of another person's
          face with its cue elsewhere). The baselines are those of
          `xaifake.judge.localisation.baselines`, with the mean of other regions for the mean mask;
          "patch_effect" is what putting back the cells of the picture without the cue does, the
          ceiling.

    Raises
    ------
    UserError
        If there are no real faces of two people, or no such cue.
    """
    train, test = split_people(faces[faces.labels == 0], HELD_OUT)
    test = test[spread(test, asked)]
    tuned = fine_tune(detector, train, cue, seed=seed, progress=progress, **training)
    regions = draw_regions(test, seed)
    proof, pictures = prove_use(tuned, test, regions, cue, seed)
    without, with_cue = pictures[:, 0], pictures[:, 1]
    known = test.table[["video", "frame", "target"]].assign(cue=cue, share=regions.mean((1, 2)))
    parts = [pd.concat([known, proof.assign(method="none")], axis=1)]

    def add(method, relevance, maps, rows):
        told = pd.concat([known.iloc[rows]] * len(SIGNS), ignore_index=True)
        told = told.assign(method=method, relevance=relevance)
        parts.append(pd.concat([told, score_signs(maps, regions[rows])], axis=1))

    everyone = np.arange(len(test))
    few = spread(test, slow_faces)
    pairs = replace(test, images=with_cue, originals=without, masks=regions)
    mean = draw_regions(train, seed).mean(axis=0)
    maps = baselines(pairs, mean, seed)
    effect = patch_effects(tuned, pairs, progress=False).effect
    cell = regions.shape[1] // effect.shape[1]
    maps["patch_effect"] = effect.repeat(cell, axis=1).repeat(cell, axis=2)
    for name, heatmaps in maps.items():
        add(name, "with", heatmaps, everyone)
    for name, way in ways.items():
        rows = few if name in slow else everyone
        heatmaps = way(tuned, with_cue[rows])
        add(name, "with", heatmaps, rows)
        add(name, "other", heatmaps[next_person(test.table.target.iloc[rows])], rows)
        if name not in slow:
            add(name, "without", way(tuned, without), rows)
    return pd.concat(parts, ignore_index=True)
