"""What a detector knows: how its scores turned out before, and which faces are like those.

(Chapter 12_explain_a_video.) A detector answers every picture with a number, also pictures of a
kind that it has never seen. So a verdict on a reader's own video stands beside two things measured
on faces whose truth is known: how often such a score was right, and how far the face at hand is
from those faces.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd

from xaifake.data import load_faces
from xaifake.detector.detector import takes_detector
from xaifake.detector.evaluation import evaluate
from xaifake.detector.forward import in_batches
from xaifake.detector.inputs import as_floats
from xaifake.detector.xception import detector_card
from xaifake.errors import UserError
from xaifake.runs import write_whole

STORED = Path(__file__).resolve().parents[1] / "assets" / "reference"
SMALLEST = 120  # pixels of the frame: Malolan, Parekh and Kazi 2020, section III A
DIRECTIONS = 10  # of the features that are told apart
FOLDS = 4  # or as many as there are people
LEAST_FACES = 20
PASSED = 0.95  # share of known faces that are to pass as known
FLAGS = {
    "too_small": "the face is too small",
    "blurred": "the face is blurred",
    "out_of_distribution": "the picture is unlike those that the detector was tested on",
}


@dataclass
class Reference:
    """What is known of a detector from faces whose truth is known, of people new to it.

    Attributes
    ----------
    labels, probabilities : numpy.ndarray, (V,)
        Of the test clips: 1 fake, 0 real; the mean probability of a clip's frames.
    people : int
        People in these clips.
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
    """

    labels: np.ndarray
    probabilities: np.ndarray
    people: int
    frames: int
    least_sharpness: float
    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float
    most_ood_score: float

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
            score in it) and fakes (how many of them were fake).
        """
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
        arrays = {name: np.asarray(value) for name, value in vars(self).items()}
        small = {
            name: value.astype(np.float32) if value.dtype == np.float64 else value
            for name, value in arrays.items()
        }
        with write_whole(Path(path)) as file:
            np.savez_compressed(file, **small)


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
        If there are fewer than two people or twenty faces, too few to learn from.
    """
    people = faces.table.target.to_numpy()
    if len(faces) < LEAST_FACES or len(set(people)) < 2:
        raise UserError(
            f"{len(faces)} faces of {len(set(people))} people are too few to know a detector by: "
            f"give at least {LEAST_FACES} of two people, better hundreds of many."
        )
    videos = evaluate(detector, faces, resamples=1, progress=progress).videos
    known = features(detector, faces.images)
    return Reference(
        videos.label.to_numpy(),
        videos.probability.to_numpy(),
        len(set(people)),
        len(faces),
        float(sharpness(faces.images).min()),
        *_plane(known),
        float(np.quantile(_of_others(known, people), PASSED)),
    )


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
        Of convolutions.
    images : numpy.ndarray of uint8, (N, H, W, 3)
    batch_size : int

    Returns
    -------
    numpy.ndarray of float64, (N, C)
    """
    model, side = detector.model, detector.side / 8
    maps = [
        layer
        for layer in model.layers
        if len(layer.output.shape) == 4 and (layer.output.shape[1] or 0) >= side
    ]
    if not maps:
        raise UserError("This detector has no maps of an eighth of the picture's side or more.")
    probe = keras.Model(model.input, keras.layers.GlobalAveragePooling2D()(maps[-1].output))
    parts = [
        np.asarray(probe(as_floats(batch, detector.input_shape, detector.value_range)))
        for batch in in_batches(images, batch_size)
    ]
    return np.concatenate(parts).astype(np.float64)


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
        `SMALLEST`), blurred or out_of_distribution, unlike the known faces.
    """
    table = pd.DataFrame({"side": sides, "sharpness": sharpness(images)})
    table["ood_score"] = reference.distance(features(detector, images))
    table["too_small"] = table.side < SMALLEST
    table["blurred"] = ~(table.sharpness >= reference.least_sharpness)
    # Nothing that cannot be compared passes.
    table["out_of_distribution"] = ~(table.ood_score <= reference.most_ood_score)
    return table


def raised_flags(checks):
    """Return the names of the `FLAGS` that hold for more than half of a person's faces."""
    return [name for name in FLAGS if checks[name].mean() > 0.5]


def _plane(known):
    mean = known.mean(axis=0)
    _, sizes, directions = np.linalg.svd(known - mean, full_matrices=False)
    variances = sizes**2 / len(known)
    # Of few faces or channels all directions would leave no rest.
    kept = min(DIRECTIONS, len(known) // 2, known.shape[1] // 2)
    return mean, directions[:kept], variances[:kept], float(variances[kept:].sum())


def _distance(features, mean, directions, variances, rest):
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
