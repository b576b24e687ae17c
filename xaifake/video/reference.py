"""What a detector knows: how its scores turned out before, and which faces are like those.

(Chapter 15_explain_a_video.) A detector answers every picture with a number, also pictures of a
kind that it has never seen. So a verdict on a reader's own video stands beside two things measured
on faces whose truth is known: how often such a score was right, and how far the face at hand is
from those faces. The distance is a guard: before it is believed, it is tried on pictures of no
face, and what it cannot compare does not pass.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
from scipy.special import expit, log_expit, logsumexp

from xaifake.data import load_faces
from xaifake.detector.detector import takes_detector
from xaifake.detector.evaluation import evaluate
from xaifake.detector.forward import in_batches
from xaifake.detector.graph import node_behind
from xaifake.detector.inputs import as_floats
from xaifake.detector.xception import detector_card
from xaifake.errors import UserError
from xaifake.runs import write_whole
from xaifake.video.evidence import calibrate

STORED = Path(__file__).resolve().parents[1] / "assets" / "reference"
SMALLEST = 120  # pixels of the frame: Malolan, Parekh and Kazi 2020, section III A
DIRECTIONS = 10  # of the features that are told apart
FOLDS = 4  # or as many as there are people
LEAST_FACES = 20
PASSED = 0.95  # share of known faces that are to pass as known
FLAGS = {
    "unanswered": "the answer of the detector is not a number",
    "too_small": "the face is too small",
    "blurred": "the face is blurred",
    "out_of_distribution": "the picture is unlike those that the detector was tested on",
    "unchecked": "nothing tells whether the detector knows such pictures",
}
TRIED = 16  # known faces that are shuffled, and as many pictures of noise
_TILES = 8  # of a shuffled face, in a row


@dataclass
class Reference:
    """What is known of a detector from faces whose truth is known, of people new to it.

    Attributes
    ----------
    labels, logits : numpy.ndarray, (V,)
        Of the test clips: 1 fake, 0 real; `log_odds` of a clip's frames.
    targets : numpy.ndarray of str, (V,)
        Who is seen in a clip.
    frames : int
        Frames of these clips.
    least_sharpness : float
        `sharpness` below which a face counts as blurred: no known face is.
    mean : numpy.ndarray, (C,)
        Of the `features` of the known faces.
    directions : numpy.ndarray, (K, C)
        The K directions in which the features vary most, of length 1.
    variances : numpy.ndarray, (K,)
        Along these directions.
    rest : float
        Mean of the squared distance from the plane of these directions.
    most_ood_score : float
        `distance` that 95 in 100 known faces keep below, when the people measured are others than
        those that the mean and the directions are from.
    passing : numpy.ndarray of str
        Names of the `strange_pictures` of which more than half pass as known: if there are any, the
        distance is no guard for this detector.
    """

    labels: np.ndarray
    logits: np.ndarray
    targets: np.ndarray
    frames: int
    least_sharpness: float
    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float
    most_ood_score: float
    passing: np.ndarray

    @property
    def probabilities(self):
        """Of fake, the mean over a clip's frames: float (V,)."""
        return expit(np.asarray(self.logits, np.float64))

    @property
    def people(self):
        """How many people are seen in the test clips."""
        return len(np.unique(self.targets))

    @cached_property
    def evidence(self):
        """What a score is worth in words, an `xaifake.video.evidence.Evidence`."""
        return calibrate(self.labels, self.logits, self.targets)

    @property
    def guards(self):
        """Whether the distance tells what the detector knows from what it does not."""
        return bool(np.isfinite(self.most_ood_score)) and not len(self.passing)

    def knows(self, distances):
        """Return which distances pass as those of known faces: bool (N,)."""
        # Whatever is not finite has nothing to be compared with.
        limit = self.most_ood_score if np.isfinite(self.most_ood_score) else np.nan
        return np.isfinite(distances) & (distances <= limit)

    def sharp(self, values):
        """Return which values of `sharpness` pass as those of known faces: bool (N,)."""
        limit = self.least_sharpness if np.isfinite(self.least_sharpness) else np.nan
        return np.isfinite(values) & (values >= limit)

    def distance(self, features):
        """Return how far features (N, C) are from the known ones: float (N,).

        The squared Mahalanobis distance within the directions, over their number, plus the squared
        distance from their plane over its mean: about 2 for a known face. The distance of Lee et
        al. (2018), with one class, and with what lies outside of the directions taken together.
        """
        return _distance(features, self.mean, self.directions, self.variances, self.rest)

    def reliability(self, probability):
        """Tell what a score meant in the test clips.

        Parameters
        ----------
        probability : float

        Returns
        -------
        dict
            low, high (the fifth of the scale that the probability lies in), n (test clips with a
            score in it) and fakes (how many of them were fake). Of a probability that is not a
            number nothing is known.
        """
        if not np.isfinite(probability):
            return {"low": np.nan, "high": np.nan, "n": 0, "fakes": 0}
        place = min(int(probability * 5), 4)
        inside = np.minimum((self.probabilities * 5).astype(int), 4) == place
        fakes = int(self.labels[inside].sum())
        return {"low": place / 5, "high": (place + 1) / 5, "n": int(inside.sum()), "fakes": fakes}

    def confusion(self):
        """Count how the test clips were judged: true and false positives, of fake and real."""
        said, fake = self.probabilities > 0.5, self.labels == 1
        return {
            "false_positives": int((said & ~fake).sum()),
            "real": int((~fake).sum()),
            "true_positives": int((said & fake).sum()),
            "fake": int(fake.sum()),
        }

    def save(self, path):
        """Write it whole as arrays, without anything that can run code."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        small = {
            name: value.astype(np.float32) if value.dtype == np.float64 else value
            for name, value in arrays.items()
        }
        with write_whole(Path(path)) as file:
            np.savez_compressed(file, **small)


def log_odds(logits: np.ndarray) -> float:
    """Return the logit of the mean probability of some frames, from their logits (N,).

    It tells scores apart that are all 1.00 as probabilities.
    """
    logits = np.asarray(logits, np.float64)
    return float(logsumexp(log_expit(logits)) - logsumexp(log_expit(-logits)))


@takes_detector
def learn_reference(detector, faces, progress=False):
    """Measure what a detector makes of faces whose truth is known.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Real and fake faces of people the detector has not seen.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Reference

    Raises
    ------
    UserError
        If there are fewer than two people or twenty faces, too few to learn from, or the detector
        answers one with NaN or infinity.
    """
    people = faces.table.target.to_numpy()
    if len(faces) < LEAST_FACES or len(set(people)) < 2:
        raise UserError(
            f"{len(faces)} faces of {len(set(people))} people are too few to know a detector by: "
            f"give at least {LEAST_FACES} of two people, better hundreds of many."
        )
    frames = evaluate(detector, faces, resamples=1, progress=progress).frames
    clips = frames.groupby("video")
    known = features(detector, faces.images)
    reference = Reference(
        clips.label.first().to_numpy(),
        clips.logit.agg(log_odds).to_numpy(),
        clips.target.first().to_numpy().astype(str),
        len(faces),
        float(sharpness(faces.images).min()),
        *_plane(known),
        float(np.quantile(_of_others(known, people), PASSED)),
        np.array([], str),
    )
    distances = {
        kind: reference.distance(features(detector, images))
        for kind, images in strange_pictures(faces.images).items()
    }
    passing = [kind for kind, apart in distances.items() if reference.knows(apart).mean() > 0.5]
    return replace(reference, passing=np.array(passing, str))


def strange_pictures(images):
    """Make pictures of no face, which a guard has to refuse.

    Parameters
    ----------
    images : numpy.ndarray of uint8, (N, H, W, 3)
        Known faces.

    Returns
    -------
    dict of str to numpy.ndarray of uint8, (M, H, W, 3)
        "noise", each value drawn evenly; "a grey square"; and "a shuffled face", known faces cut
        into 8 x 8 tiles and put together in another order.
    """
    rng = np.random.default_rng(0)
    some = images[:: -(-len(images) // TRIED)]
    return {
        "noise": rng.integers(0, 256, some.shape, np.uint8),
        "a grey square": np.full_like(some[:1], 128),
        "a shuffled face": np.stack([_shuffled(image, rng) for image in some]),
    }


def _shuffled(image, rng):
    """Return a picture with its tiles in another order; what is left at two edges stays."""
    high, wide = (side // _TILES for side in image.shape[:2])
    image = image.copy()
    tiles = image[: high * _TILES, : wide * _TILES]
    tiles = tiles.reshape(_TILES, high, _TILES, wide, 3).swapaxes(1, 2)
    tiles[:] = rng.permutation(tiles.reshape(-1, high, wide, 3)).reshape(tiles.shape)
    return image


def load_reference(scale):
    """Return what is known of the shipped detector of one scale, from the faces of the package.

    Raises
    ------
    UserError
        If no detector is shipped for this scale.
    """
    detector_card(scale)  # tells which scales there are
    with np.load(STORED / f"reference_{scale:.1f}.npz") as stored:
        return Reference(**{f.name: stored[f.name][()] for f in fields(Reference)})


def reference_for(detector, faces=None, progress=False):
    """Return the stored reference of a shipped detector, or measure that of another one.

    Parameters
    ----------
    detector : Detector
    faces : str or Path, optional
        Folder of `extract_faces` whose split "test" the detector is measured on; the faces that
        come with the package if not given.
    progress : bool
        Show a progress bar.
    """
    if detector.shipped and faces is None:
        return load_reference(detector.scale)
    known = load_faces(faces, "test" if faces else None, detector.scale)
    return learn_reference(detector, known, progress)


def features(detector, images, batch_size=32):
    """Return the mean of every channel where the maps have an eighth of the picture's side.

    There a detector's features are still about texture, light and colour, by which pictures from
    elsewhere differ; behind it they are about what it was trained to tell apart.

    Parameters
    ----------
    detector : Detector
    images : numpy.ndarray of uint8, (N, H, W, 3)
    batch_size : int

    Returns
    -------
    numpy.ndarray of float64, (N, C)
        Of a detector without such maps, as of one that hides its layers, those of its input.
    """
    maps = _maps_of_an_eighth(detector, images.shape[1])
    probe = keras.Model(detector.model.inputs[0], keras.layers.GlobalAveragePooling2D()(maps))
    parts = [
        np.asarray(probe(as_floats(batch, detector.input_shape, detector.value_range)))
        for batch in in_batches(images, batch_size)
    ]
    return np.concatenate(parts).astype(np.float64)


def _maps_of_an_eighth(detector, side):
    """Return the last tensor of the detector's graph with maps of at least an eighth of a side."""
    model, found, waiting = detector.model, {}, [detector.model.outputs[0]]
    while waiting:
        node = node_behind(waiting.pop())
        if node.name not in found:
            found[node.name] = node.output
            waiting += node.sources
    tensors = [found[layer.name] for layer in model.operations if layer.name in found]
    tensors = [tensor for tensor in tensors if len(tensor.shape) == 4]
    shapes = [tensor.shape for tensor in tensors]
    if any(shape[1] is None for shape in shapes):  # only a picture tells
        picture = np.zeros((1, side, side, 3), np.float32)
        shapes = [maps.shape for maps in keras.Model(model.inputs[0], tensors)(picture)]
    return [t for t, shape in zip(tensors, shapes, strict=True) if shape[1] >= side / 8][-1]


def sharpness(images):
    """Return how much of the contrast of pictures is between neighbouring pixels.

    The logarithm of the variance of the Laplacian (Pech-Pacheco et al. 2000) over the variance of
    the brightness, so that a dark picture does not count as a blurred one.

    Parameters
    ----------
    images : numpy.ndarray of uint8, (N, H, W, 3)

    Returns
    -------
    numpy.ndarray of float64, (N,)
        -inf for a picture of one colour.
    """
    values = []
    for image in images:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
        contrast = grey.var()
        values.append(cv2.Laplacian(grey, cv2.CV_64F).var() / contrast if contrast else 0.0)
    with np.errstate(divide="ignore"):
        return np.log(values)


@takes_detector
def check_faces(detector, images, sides, reference):
    """Ask of each face whether the detector can be expected to judge it.

    Parameters
    ----------
    detector : Detector
    images : numpy.ndarray of uint8, (N, H, W, 3)
    sides : sequence of int, (N,)
        Sides of the squares in the frames, in pixels, before they were resized.
    reference : Reference
        Of this detector.

    Returns
    -------
    pandas.DataFrame
        One row per face: side, sharpness, ood_score, and by `FLAGS` whether it is too_small (below
        `SMALLEST`), blurred or out_of_distribution, unlike the known faces; or "unchecked", since
        the distance is no guard for this detector (`Reference.guards`).
    """
    table = pd.DataFrame({"side": sides, "sharpness": sharpness(images)})
    table["ood_score"] = reference.distance(features(detector, images))
    # Nothing that cannot be compared passes: all of these ask for what is to hold.
    table["too_small"] = ~(table.side >= SMALLEST)
    table["blurred"] = ~reference.sharp(table.sharpness)
    table["out_of_distribution"] = reference.guards & ~reference.knows(table.ood_score)
    table["unchecked"] = not reference.guards
    return table


def raised_flags(checks):
    """Return the names of the `FLAGS` that hold for more than half of a person's faces."""
    return [name for name in FLAGS if name in checks and not checks[name].mean() <= 0.5]


def _plane(known):
    mean = known.mean(axis=0)
    if not np.isfinite(mean).all():
        return mean, np.zeros((1, len(mean))), np.full(1, np.nan), np.nan
    _, sizes, directions = np.linalg.svd(known - mean, full_matrices=False)
    variances = sizes**2 / len(known)
    # Of few faces or channels all directions would leave no rest.
    kept = max(1, min(DIRECTIONS, len(known) // 2, known.shape[1] // 2))
    return mean, directions[:kept], variances[:kept], float(variances[kept:].sum())


def _distance(features, mean, directions, variances, rest):
    # Features that do not vary, or are not finite, have no distance.
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = features - mean
        along = apart @ directions.T
        beyond = (apart**2).sum(axis=1) - (along**2).sum(axis=1)
        return (along**2 / variances).mean(axis=1) + beyond / rest


def _of_others(known, people):
    """Return the distance of each face from the plane of other people's faces."""
    names, distances = np.unique(people), np.empty(len(known))
    folds = min(FOLDS, len(names))
    for fold in range(folds):
        others = np.isin(people, names[fold::folds])
        distances[others] = _distance(known[others], *_plane(known[~others]))
    return distances
