"""LIME: a linear model of the detector around one picture (chapter 06_lime).

The `lime` package does the sampling and the fit (Ribeiro et al. 2016; the paper's equations 1 and
2). Around it: segments count from 0, the detector's one probability is given as two, each
picture gets its own seeded explainer, and perturbed pictures go to the network in large batches.
"""

import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
from tqdm import TqdmWarning

from xaifake.detector.forward import BATCH, forward, in_batches
from xaifake.errors import UserError
from xaifake.explainers.registry import register
from xaifake.explainers.request import as_baseline, batches, one_for_each
from xaifake.progress import progress_bar


def _cutter(name, **settings):
    """Return a function that cuts a picture by one of scikit-image's algorithms."""

    def cut(image):
        from skimage import segmentation  # the other methods need it not

        return getattr(segmentation, name)(image, **settings)

    return cut


# Quickshift's settings are lime's own and cut a face of 128 x 128 pixels into a dozen segments; the
# others' cut it into about 40.
SEGMENTATIONS = {
    "quickshift": _cutter("quickshift", kernel_size=4, max_dist=200, ratio=0.2, rng=0),
    "slic": _cutter("slic", n_segments=50, compactness=10, start_label=0),
    "felzenszwalb": _cutter("felzenszwalb", scale=50, sigma=0.5, min_size=80),
}
FILLS = ("mean", "grey", "blur")
BLUR_SHARE = 1 / 12  # of the picture's side: no feature of a face survives
KERNEL_WIDTH = 0.25  # lime's own


@dataclass
class Surrogate:
    """LIME's linear model around one picture.

    Attributes
    ----------
    weights : numpy.ndarray of float, (S,)
        How much the probability of the target rises with each segment.
    intercept : float
        Its answer with every segment hidden.
    r2 : float
        Weighted share of the variance over the perturbed pictures that it explains.
    prediction : float
        Its answer for the picture itself.
    probability : float
        The detector's.
    """

    weights: np.ndarray
    intercept: float
    r2: float
    prediction: float
    probability: float


@register("lime")
def explain_lime(
    request,
    batch_size=256,
    progress=True,
    segmentation="quickshift",
    num_samples=1000,
    fill="mean",
    seed=0,
    precision="float32",
):
    """Return LIME's weight of each segment, at all its pixels.

    Parameters
    ----------
    request : Request
    batch_size : int
        Perturbed pictures that are made at a time; the network takes at most 32 of them at once.
    progress : bool
        Show a progress bar if it takes more than some seconds.
    segmentation : str or numpy.ndarray
        "quickshift" (as in the paper's library), "slic", "felzenszwalb", or the segments
        themselves, int (H, W) for all pictures or (N, H, W).
    num_samples : int
        Perturbed pictures for each picture explained, itself included.
    fill : str or numpy.ndarray
        What a hidden segment shows: "mean" (its mean colour, as in the paper's library), "grey",
        "blur" (the picture blurred), or pictures like the ones explained, one for all or one for
        each: with their originals, no fill can look forged itself.
    seed : int
        Of the perturbations. The same seed gives a picture the same map, alone or among others, up
        to the last digits where these are so many that OpenVINO answers.
    precision : str
        "float32", or "bfloat16" where digits may be traded for speed; see
        `xaifake.detector.forward.forward`.

    Returns
    -------
    relevance : numpy.ndarray of float32, (N, H, W, C)
        At every pixel of a segment, over its colours together, the segment's weight: how much it
        raises the probability of the target.
    report : dict of str to array
        `logit`; `segments`, their number; `r2`, the surrogate's weighted coefficient of
        determination; `prediction_gap`, its answer for the picture less the detector's. Where the
        network did not calculate in float32 also `precision`.

    Raises
    ------
    UserError
        If an option is of the wrong kind or shape.
    """
    if num_samples < 2:
        raise UserError(f"num_samples={num_samples}: LIME needs some hundred, and 2 at least.")
    if request.images.shape[3] != 3:
        raise UserError(f"LIME cuts RGB pictures, not ones with {request.images.shape[3]} colours.")
    segments = segment(request, segmentation)
    fills = make_fills(request, fill)
    relevance = np.empty_like(request.images)
    columns = {"segments": [], "r2": [], "prediction_gap": []}
    probability = Classifier(request, num_samples * len(request.images), batch_size, precision)
    bar = zip(request.images, segments, fills, strict=True)
    bar = progress_bar(
        bar, show=progress, delay=3, unit="picture", desc="lime", total=len(segments)
    )
    for number, (image, labels, filled) in enumerate(bar):
        found = fit_surrogate(probability, image, labels, filled, num_samples, seed, batch_size)
        relevance[number] = found.weights[labels][..., None] / image.shape[2]
        columns["segments"].append(len(found.weights))
        columns["r2"].append(found.r2)
        columns["prediction_gap"].append(found.prediction - found.probability)
    if probability.precision != "float32":
        columns["precision"] = [probability.precision] * len(segments)
    logit = probability.logit(request.images)
    return relevance, {"logit": logit, **{name: np.array(v) for name, v in columns.items()}}


def fit_surrogate(classify, image, segments, fill, num_samples=1000, seed=0, batch_size=256):
    """Fit LIME's linear model around one picture (the paper's equations 1 and 2).

    Parameters
    ----------
    classify : callable
        From pictures (B, H, W, C) to the probability (B,) of the class asked about.
    image : numpy.ndarray of float, (H, W, C)
    segments : numpy.ndarray of int, (H, W)
        0, 1, ... without gaps.
    fill : numpy.ndarray of float, (H, W, C), or None
        What hidden segments show; their mean colour if None.
    num_samples, seed, batch_size : int
        As in `explain_lime`.

    Returns
    -------
    Surrogate
    """
    explainer = _fast_explainer()(
        kernel_width=KERNEL_WIDTH, feature_selection="none", random_state=seed
    )

    def both(pictures):
        probability = np.asarray(classify(pictures), dtype=np.float64)
        return np.stack([1 - probability, probability], axis=1)

    found = explainer.explain_instance(
        image, both, labels=(1,), top_labels=None, hide_color=fill, num_samples=num_samples,
        batch_size=batch_size, segmentation_fn=lambda _: segments, random_seed=seed,
    )  # fmt: skip
    weights = np.zeros(segments.max() + 1)
    for number, weight in found.local_exp[1]:
        weights[number] = weight
    return Surrogate(
        weights, found.intercept[1], found.score, found.local_pred[0], explainer.probability
    )


@cache
def _fast_explainer():
    """Return the class of lime's explainer with perturbed pictures made by indexing.

    The package brings scikit-learn and matplotlib with it, which no other method needs.
    """
    with warnings.catch_warnings():
        # lime imports a progress bar that complains, in a notebook, where there are no widgets.
        warnings.simplefilter("ignore", TqdmWarning)
        from lime.lime_image import LimeImageExplainer

    class FastExplainer(LimeImageExplainer):
        """lime's explainer without its loop over segments."""

        def data_labels(
            self, image, fudged_image, segments, classifier_fn, num_samples, batch_size=10
        ):
            """Draw what lime draws, and return the draws and the answers, (S, n) and (S, 2)."""
            shape = num_samples, segments.max() + 1
            data = self.random_state.randint(0, 2, shape[0] * shape[1]).reshape(shape)
            data[0] = 1
            labels = []
            for first in batches(num_samples, batch_size):
                shown = data[first : first + batch_size].astype(bool)[:, segments]
                labels.append(classifier_fn(np.where(shown[..., None], image, fudged_image)))
            labels = np.concatenate(labels)
            self.probability = labels[0, 1]
            return data, labels

    return FastExplainer


class Classifier:
    """A request's model as a function from pictures to the probability of the target.

    Parameters
    ----------
    request : Request
    count : int
        How many pictures it will be asked about in all.
    batch_size : int
        Pictures at a time; the network takes at most 32 of them at once.
    precision : str
        As in `xaifake.detector.forward.forward`.

    Attributes
    ----------
    engine, precision : str
        What answers.
    """

    def __init__(self, request, count=1, batch_size=BATCH, precision="float32"):
        # No more for the network, so that some requests of a batch of pictures run at a time.
        self._request, self._batch = request, min(batch_size, BATCH)
        self._logits = forward(
            request.model, count, self._batch, None, precision, request.images.shape[1:]
        )
        self.engine, self.precision = self._logits.engine, self._logits.precision

    def logit(self, images):
        """Return the logit (N,) of the target for pictures (N, H, W, C)."""
        return self._request.sign * self._ask(images)[:, self._request.index]

    def __call__(self, images):
        """Return the probability (N,), float64, of the target for pictures (N, H, W, C)."""
        from scipy.special import expit, softmax  # the other methods need it not

        if self._request.model.output_shape[1] == 1:
            return expit(self.logit(images).astype(np.float64))
        return softmax(self._ask(images).astype(np.float64), axis=1)[:, self._request.index]

    def _ask(self, images):
        return self._logits(in_batches(np.asarray(images, np.float32), self._batch))


def segment(request, segmentation):
    """Cut pictures into segments.

    Parameters
    ----------
    request : Request
    segmentation : str or numpy.ndarray
        As in `explain_lime`.

    Returns
    -------
    numpy.ndarray of int, (N, H, W)
        Each picture's segments are counted from 0 without gaps.

    Raises
    ------
    UserError
        If the segmentation is unknown or does not fit the pictures.
    """
    shape = request.images.shape[:3]
    if isinstance(segmentation, str):
        if segmentation not in SEGMENTATIONS:
            raise UserError(
                f"No segmentation {segmentation!r}: give {', '.join(SEGMENTATIONS)}, or an array "
                f"of whole numbers of shape {shape[1:]}."
            )
        cut, (low, high) = SEGMENTATIONS[segmentation], request.value_range
        # The algorithms convert to Lab and expect colours from 0 to 1.
        pictures = np.clip((request.images.astype(np.float64) - low) / (high - low), 0, 1)
        found = np.stack([cut(picture) for picture in pictures])
    else:
        found = np.asarray(segmentation)
        if found.shape not in (shape, shape[1:]) or found.dtype.kind not in "iu":
            raise UserError(
                f"Segments of shape {found.shape} and type {found.dtype}: give whole numbers of "
                f"shape {shape[1:]} or {shape}."
            )
        found = np.broadcast_to(found, shape)
    return np.stack([np.unique(s, return_inverse=True)[1].reshape(s.shape) for s in found])


def make_fills(request, fill):
    """Return what hidden segments show.

    Parameters
    ----------
    request : Request
    fill : str or numpy.ndarray
        As in `explain_lime`.

    Returns
    -------
    list of numpy.ndarray of float32, (H, W, C), or None for the segment's mean colour

    Raises
    ------
    UserError
        If the fill is unknown or does not fit the pictures.
    """
    images = request.images
    if not isinstance(fill, str):
        return list(one_for_each(fill, "fill", images, request.value_range))
    if fill == "mean":
        return [None] * len(images)
    if fill == "grey":
        return list(as_baseline(request))
    if fill == "blur":
        from scipy.ndimage import gaussian_filter

        sigma = BLUR_SHARE * images.shape[1]
        return list(gaussian_filter(images, (0, sigma, sigma, 0)))
    raise UserError(f"No fill {fill!r}: give {', '.join(FILLS)}, or pictures.")
