"""Pictures blurred, made noisy, turned and moved, and the way back (chapter 10_perturbations).

Blur and noise leave everything where it was, so their maps compare pixel by pixel. An affine
transform moves it: its map is first warped back, and compared where the pixels survived both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.special import expit
from skimage.transform import AffineTransform, warp

from xaifake.detector.detector import takes_detector
from xaifake.detector.evaluation import score
from xaifake.detector.intervals import interval_over_people
from xaifake.errors import UserError
from xaifake.explainers.stored import GRIDS
from xaifake.progress import progress_bar

if TYPE_CHECKING:
    from xaifake.data.dataset import Faces
    from xaifake.detector.detector import Detector

SCORES = (
    "accuracy", "auc", "probability_real", "probability_fake", "false_positive_rate", "recall",
)  # fmt: skip


def _as_numbers(values, shape):
    """Return finite numbers of this shape as an array, or None if they are not."""
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        return None
    return numbers if numbers.shape == shape and np.isfinite(numbers).all() else None


def _check(good, name, given, expected):
    if not good:
        raise UserError(f"{name}={given!r}: give {expected}.")


class Perturbation:
    """What every perturbation can do; a perturbation that moves nothing inherits all but `apply`.

    Attributes
    ----------
    kind : str
        Such as "rotation".
    strength : float
        In the unit that the kind is given in.
    """

    kind: str
    strength: float

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Return perturbed pictures.

        Parameters
        ----------
        images : numpy.ndarray, (N, H, W, C)
            uint8 from 0 to 255, or floats.

        Returns
        -------
        numpy.ndarray, same shape and type
        """
        raise NotImplementedError

    def undo(self, maps: np.ndarray) -> np.ndarray:
        """Bring maps of perturbed pictures back to the pictures' own places.

        Parameters
        ----------
        maps : numpy.ndarray of float, (N, H, W, C)

        Returns
        -------
        numpy.ndarray of float, same shape
            0 where nothing comes back.
        """
        return np.array(maps)

    def survives(self, height: int, width: int) -> np.ndarray:
        """Tell which pixels come back whole.

        Returns
        -------
        numpy.ndarray of bool, (height, width)
        """
        return np.ones((height, width), dtype=bool)


@dataclass(frozen=True)
class Blur(Perturbation):
    """Gaussian blur.

    Attributes
    ----------
    sigma : float
        Standard deviation in pixels, not negative.
    """

    sigma: float
    kind = "blur"

    def __post_init__(self):
        _check(0 <= self.sigma < np.inf, "sigma", self.sigma, "0 or more pixels")

    @property
    def strength(self):
        """Sigma, in pixels."""
        return self.sigma

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Return blurred pictures; see `Perturbation.apply`."""
        images = _check_batch(images)
        blurred = gaussian_filter(images.astype(np.float64), (0, self.sigma, self.sigma, 0))
        return _as_type(blurred, images.dtype)


@dataclass(frozen=True)
class Noise(Perturbation):
    """Gaussian noise, independent in every value.

    Attributes
    ----------
    sigma : float
        Standard deviation in grey levels of 255 for uint8 pictures, in their own unit for floats.
    seed : int
        The same seed gives the n-th picture of a batch the same noise.
    """

    sigma: float
    seed: int = 0
    kind = "noise"

    def __post_init__(self):
        _check(0 <= self.sigma < np.inf, "sigma", self.sigma, "0 or more")

    @property
    def strength(self):
        """Sigma, in grey levels."""
        return self.sigma

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Return noisy pictures; see `Perturbation.apply`."""
        images = _check_batch(images)
        noise = np.random.default_rng(self.seed).normal(0, self.sigma, images.shape)
        return _as_type(images + noise, images.dtype)


@dataclass(frozen=True)
class Affine(Perturbation):
    """An affine transform about the middle of the picture.

    What comes in from beyond the edge is the picture's own reflection: black corners would be a
    second perturbation.

    Attributes
    ----------
    matrix : tuple of tuple of float, (2, 2)
        Takes a place (x, y), in pixels from the middle, to where it goes; y points down.
    shift : (float, float)
        Added to it, (right, down) in pixels.
    kind : str
    strength : float
        What the kind's own function was given.
    """

    matrix: tuple
    shift: tuple = (0.0, 0.0)
    kind: str = "affine"
    strength: float = 1.0

    def __post_init__(self):
        matrix = _as_numbers(self.matrix, (2, 2))
        usable = matrix is not None and abs(np.linalg.det(matrix)) > 1e-6
        _check(usable, "matrix", self.matrix, "2 x 2 numbers that can be inverted")
        usable = _as_numbers(self.shift, (2,)) is not None
        _check(usable, "shift", self.shift, "two numbers, right and down")

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Return warped pictures, by bilinear interpolation; see `Perturbation.apply`."""
        images = _check_batch(images)
        transform = self._transform(*images.shape[1:3])
        return _warp(images, transform.inverse, mode="reflect")

    def undo(self, maps: np.ndarray) -> np.ndarray:
        """Bring maps back by the exact inverse transform; see `Perturbation.undo`."""
        maps = _check_batch(maps)
        return _warp(maps, self._transform(*maps.shape[1:3]), mode="constant")

    def survives(self, height: int, width: int) -> np.ndarray:
        """Tell which pixels are made of pixels of the picture, both ways."""
        transform = self._transform(height, width)
        rows, columns = np.mgrid[:height, :width]
        places = transform.inverse(np.stack([columns.ravel(), rows.ravel()], axis=1))
        limits = np.array([width - 1, height - 1])
        inside = ((places > -1e-6) & (places < limits + 1e-6)).all(axis=1)
        inside = inside.reshape(height, width).astype(float)
        whole = warp(inside, transform, order=1, cval=0, clip=False)
        return whole > 1 - 1e-6

    def _transform(self, height, width):
        middle = np.array([width - 1, height - 1]) / 2
        matrix = np.eye(3)
        matrix[:2, :2] = self.matrix
        matrix[:2, 2] = middle + self.shift - matrix[:2, :2] @ middle
        return AffineTransform(matrix=matrix)


def rotation(degrees: float) -> Affine:
    """Turn the picture about its middle, clockwise as seen on the page for positive degrees."""
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    return Affine(((cosine, -sine), (sine, cosine)), kind="rotation", strength=degrees)


def translation(right: float, down: float = 0.0) -> Affine:
    """Move the picture by pixels; its strength is the distance, negative to the left and up."""
    distance = np.hypot(right, down) * (np.sign(right) or np.sign(down))
    return Affine(_IDENTITY, (right, down), kind="translation", strength=float(distance))


def scaling(factor: float) -> Affine:
    """Enlarge the picture about its middle for a factor above 1, reduce it for one below."""
    _check(factor > 0, "factor", factor, "a number above 0")
    return Affine(((factor, 0.0), (0.0, factor)), kind="scaling", strength=factor)


def shear(degrees: float) -> Affine:
    """Slant the picture: what stood upright leans to the left by `degrees`, from -80 to 80."""
    _check(abs(degrees) <= 80, "degrees", degrees, "at most 80 to either side")
    slope = np.tan(np.deg2rad(degrees))
    return Affine(((1.0, slope), (0.0, 1.0)), kind="shear", strength=degrees)


_IDENTITY = ((1.0, 0.0), (0.0, 1.0))

# What the stored curves were measured at, `Blur(0)` for the picture as it is.
SWEEP = (
    *(Blur(sigma) for sigma in (0, 0.5, 1, 1.5, 2, 3)),
    *(Noise(sigma) for sigma in (2, 5, 10, 20)),
    *(rotation(degrees) for degrees in (-180, -90, -45, -20, -10, -5, 5, 10, 20, 45, 90)),
    *(translation(pixels) for pixels in (4, 8, 16, 24)),
    *(scaling(factor) for factor in (0.8, 0.9, 1.1, 1.25, 1.5)),
    *(shear(degrees) for degrees in (-10, -5, 5, 10, 20)),
)


def stored_curves():
    """Return `perturbation_curve` of the shipped detectors on all shipped faces, over `SWEEP`.

    Returns
    -------
    pandas.DataFrame
        The columns of `perturbation_curve`, and `scale`.
    """
    return pd.read_csv(GRIDS / "perturbations.csv")


@takes_detector
def perturbation_curve(
    detector: Detector,
    faces: Faces,
    perturbations: Sequence[Perturbation],
    seed: int = 0,
    resamples: int = 1000,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure how a detector's answers change with the strength of perturbations.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Real and fake faces of people the detector has not seen.
    perturbations : sequence of Perturbation
    seed, resamples : int
        Of the bootstrap over people.
    progress : bool
        Show a progress bar if it takes more than some seconds.

    Returns
    -------
    pandas.DataFrame
        Columns kind, strength, score, value, low, high, with 95 % intervals over people; six rows
        a perturbation: accuracy and auc of single frames, `probability_real` and
        `probability_fake` (the mean probability of fake that real and fake faces are given),
        `false_positive_rate` (share of the real faces called fake) and `recall` (of the fakes).
    """
    rows, predict = [], detector.predictor(len(faces) * len(perturbations))
    bar = progress_bar(perturbations, show=progress, delay=3, unit="perturbation")
    for perturbation in bar:
        logits = predict(perturbation.apply(faces.images))
        described = {"kind": perturbation.kind, "strength": float(perturbation.strength)}
        rows += [described | row for row in _score_rows(faces, logits, seed, resamples)]
    return pd.DataFrame(rows)


def _score_rows(faces, logits, seed, resamples):
    fake, probability = faces.labels == 1, expit(logits.astype(np.float64))

    def measure(weights):
        both = score(faces.labels, probability, weights)
        means = [
            _mean(values, weights * side)
            for values in (probability, probability > 0.5)
            for side in (~fake, fake)
        ]
        return [both["accuracy"], both["auc"], *means]

    values = measure(np.ones(len(fake)))
    low, high = interval_over_people(measure, faces.table.target, seed, resamples)
    columns = zip(SCORES, values, low, high, strict=True)
    return [dict(zip(("score", "value", "low", "high"), row, strict=True)) for row in columns]


def _mean(values, weights):
    total = weights.sum()
    return float((values * weights).sum() / total) if total else np.nan


def _warp(images, inverse_map, mode):
    """Warp every picture of a batch bilinearly; the channels of a batch go through as one."""
    n, height, width, channels = images.shape
    flat = images.astype(np.float64).transpose(1, 2, 0, 3).reshape(height, width, n * channels)
    # Clipping would hold every picture to the range of all.
    options = {"cval": 0.0, "preserve_range": True, "clip": False}
    warped = warp(flat, inverse_map, order=1, mode=mode, **options)
    warped = warped.reshape(height, width, n, channels).transpose(2, 0, 1, 3)
    return _as_type(warped, images.dtype)


def _as_type(values, dtype):
    if dtype == np.uint8:
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return values.astype(dtype)


def _check_batch(images):
    images = np.asarray(images)
    if images.ndim != 4 or not images.size:
        raise UserError(f"Pictures of shape {images.shape}, where (N, H, W, C) is asked for.")
    return images
