"""Does the logit follow a concept that examples define? (chapter 05_activations).

Testing with concept activation vectors (TCAV, Kim et al. 2018, sections 3.1 to 3.3), with one
change: a direction has a number per channel, the same at every place. The concept is then added all
over the picture, and a few dozen examples are enough to find it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xaifake.detector.detector import takes_detector
from xaifake.detector.graph import find_layer
from xaifake.errors import UserError
from xaifake.explainers.activations import activations
from xaifake.explainers.compiled import compile_function
from xaifake.explainers.request import batches, choose, prepare

if TYPE_CHECKING:
    from xaifake.detector.detector import Detector

FEWEST = 8  # examples of each kind


@takes_detector
def concept_test(
    detector: Detector,
    images: np.ndarray,
    concept: np.ndarray,
    others: np.ndarray,
    layer: str,
    target: str = "fake",
    draws: int = 20,
    seed: int = 0,
    batch_size: int = 32,
) -> pd.DataFrame:
    """Ask for how many pictures the logit rises along the direction of a concept.

    A logistic regression on the layer's channel means tells half of the examples of a concept from
    half of the others; its direction, from the others to the concept, is the concept's. So often as
    `draws` says, examples are drawn anew. As a control, the same is done with shuffled labels.
    Compare the scores of both kinds, not a score with 0.5: where the gradient is about the same for
    all pictures, every direction scores near 0 or near 1.

    Parameters
    ----------
    detector : Detector
    images : numpy.ndarray, (N, H, W, C)
        The pictures that are asked about.
    concept, others : numpy.ndarray, (M, H, W, C)
        Pictures that show the concept, and such as do not, but are alike in all else.
    layer : str
        Name of a layer that returns maps.
    target : str
        Whose logit: "fake" or "real".
    draws : int
    seed : int
    batch_size : int
        Pictures at a time.

    Returns
    -------
    pandas.DataFrame
        One row per draw and `kind`, "concept" or "shuffled": `accuracy` of the regression on the
        examples that it was not fitted to, and `score`, the share of the pictures for which the
        logit's derivative along the direction is above 0.

    Raises
    ------
    UserError
        If there are fewer than eight examples of a kind, or the layer does not return maps.
    """
    if min(len(concept), len(others)) < FEWEST:
        raise UserError(
            f"{len(concept)} pictures with the concept and {len(others)} others: give at least "
            f"{FEWEST} of each, since half of them are for the test of its direction."
        )
    slopes = _channel_slopes(prepare(detector, images, target), layer, batch_size)
    answers = [activations(detector, pictures, layer, batch_size, progress=False).mean(axis=(1, 2))
               for pictures in (concept, others)]  # fmt: skip
    features, labels = np.concatenate(answers), np.repeat([1, 0], [len(a) for a in answers])
    rng, rows = np.random.default_rng(seed), []
    for draw in range(draws):
        for kind, truth in {"concept": labels, "shuffled": rng.permutation(labels)}.items():
            direction, accuracy = _direction(features, truth, rng)
            score = np.mean(slopes @ direction > 0)
            rows.append({"draw": draw, "kind": kind, "accuracy": accuracy, "score": score})
    return pd.DataFrame(rows)


def _channel_slopes(request, layer, batch_size):
    """Return by how much the logit rises for a rise of each channel at all places: (N, C)."""
    maps = find_layer(request.model, layer).output
    if len(maps.shape) != 4:
        raise UserError(f"{layer!r} returns {tuple(maps.shape)}: give a layer that returns maps.")
    split = keras.Model(request.model.inputs[0], [maps, request.model.outputs[0]])
    graph = compile_function(_sum_slopes, request, split)
    starts = batches(len(request.images), batch_size)
    return np.concatenate([graph(request.images[k : k + batch_size]) for k in starts])


def _sum_slopes(split, images, index, sign):
    maps, logits = split(images, training=False)
    (slopes,) = tf.gradients(choose(logits, index, sign), maps)
    return tf.reduce_sum(tf.cast(slopes, tf.float32), axis=(1, 2))


def _direction(features, labels, rng):
    """Fit half of the examples of each label; return the direction and the rest's accuracy."""
    fitted = np.zeros(len(labels), bool)
    for label in (0, 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        fitted[rows[: len(rows) // 2]] = True
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features[fitted], labels[fitted])
    direction = model[-1].coef_[0] / model[0].scale_
    return direction, model.score(features[~fitted], labels[~fitted])
