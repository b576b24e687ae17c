"""What the layers of a detector see: activations and their statistics (chapter 05_activations)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd
from scipy.stats import rankdata

from xaifake.detector.graph import RELUS, find_layer, nodes
from xaifake.detector.inputs import as_floats
from xaifake.errors import UserError
from xaifake.explainers.request import as_network, batches
from xaifake.progress import progress_bar

if TYPE_CHECKING:
    from xaifake.detector.detector import Detector

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def activations(
    detector: Detector | keras.Model,
    images: np.ndarray,
    layer: str,
    batch_size: int = 32,
    value_range: tuple[float, float] | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Return what a layer answers to some pictures.

    Parameters
    ----------
    detector : Detector or keras.Model
    images : numpy.ndarray, (N, H, W, C)
        uint8 from 0 to 255, or floats in `value_range`.
    layer : str
        The layer's name, such as "block2_sepconv2_act".
    batch_size : int
        Pictures at a time.
    value_range : (float, float), optional
        What black and white are to a Keras model, -1 and 1 if not given.
    progress : bool
        Show a progress bar if it takes more than some seconds.

    Returns
    -------
    numpy.ndarray of float32, (N, h, w, channels) for a layer with maps

    Raises
    ------
    UserError
        If there is no such layer, or the pictures do not fit the model.
    """
    model, value_range = as_network(detector, value_range)
    tensor = find_layer(model, layer).output
    images = as_floats(images, model.input_shape[1:], value_range)
    answers = _run([tensor], model, images, batch_size, progress)
    return np.concatenate([maps for (maps,) in answers])


def map_layers(detector: Detector | keras.Model) -> list[str]:
    """Return the names of the layers that return maps out of a ReLU, from the first to the last."""
    return [node.name for node in _map_nodes(as_network(detector)[0])]


def _map_nodes(model):
    return [x for x in nodes(model) if x.activation in RELUS and len(x.output.shape) == 4]


def _run(tensors, model, images, batch_size, progress):
    """Yield lists of float32 arrays, one a tensor, for each batch of pictures."""
    part = keras.Model(model.inputs[0], tensors)
    starts = batches(len(images), batch_size)
    for first in progress_bar(starts, show=progress, delay=3, unit="batch"):
        answers = keras.tree.flatten(part(images[first : first + batch_size], training=False))
        yield [np.asarray(keras.ops.cast(answer, "float32")) for answer in answers]


def activation_statistics(
    detector: Detector | keras.Model,
    images: np.ndarray,
    batch_size: int = 16,
    value_range: tuple[float, float] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure how a network's maps change with depth.

    Parameters
    ----------
    detector, images, batch_size, value_range, progress
        As in `activations`; at least two pictures.

    Returns
    -------
    pandas.DataFrame
        One row for each of `map_layers`: `layer`, `height`, `width`, `channels`; `dead_channels`,
        the share of its channels that are 0 at every place of every picture; `inactive`, the mean
        share of its channels that are 0 all over one picture; `active_places`, the share of all
        its values that are above 0; `similarity`, the mean over channels of the absolute
        correlation over places between the channel and the picture's luminance, reduced to the
        layer's size; and `similarity_other`, the same with the next picture's luminance: what
        comes of few places, and of any two faces being alike.

    Raises
    ------
    UserError
        If there are fewer than two pictures or no layer with maps.
    """
    model, value_range = as_network(detector, value_range)
    images = as_floats(images, model.input_shape[1:], value_range)
    found = _map_nodes(model)
    if len(images) < 2 or not found:
        raise UserError(
            f"{len(images)} pictures and {len(found)} layers with maps: give at least 2 pictures "
            "and a model with ReLUs."
        )
    tensors = [node.output for node in found]
    grey = images @ LUMINANCE if images.shape[3] == 3 else images.mean(axis=3)
    depth = [_Depth(tensor.shape[3]) for tensor in tensors]
    first = 0
    for batch in _run(tensors, model, images, batch_size, progress):
        own = np.arange(first, first + len(batch[0]))
        first += len(own)
        for maps, layer in zip(batch, depth, strict=True):
            layer.add(maps, grey[own], grey[(own + 1) % len(grey)])
    sizes = [dict(zip(("height", "width", "channels"), t.shape[1:], strict=True)) for t in tensors]
    rows = [
        {"layer": node.name, **size, **layer.summary(len(images))}
        for node, size, layer in zip(found, sizes, depth, strict=True)
    ]
    return pd.DataFrame(rows)


class _Depth:
    """Sums over pictures for one layer."""

    def __init__(self, channels):
        self.ever = np.zeros(channels, dtype=bool)
        self.inactive, self.places, self.own, self.other = 0.0, 0.0, 0.0, 0.0

    def add(self, maps, grey, other):
        active = maps > 0
        speaks = active.any(axis=(1, 2))
        self.ever |= speaks.any(axis=0)
        self.inactive += (~speaks).mean(axis=1).sum()
        self.places += active.mean(axis=(1, 2, 3)).sum()
        for picture, mine, another in zip(maps, grey, other, strict=True):
            columns = _standardise(picture.reshape(-1, picture.shape[2]))
            self.own += _mean_correlation(columns, _reduce(mine, picture.shape[:2]))
            self.other += _mean_correlation(columns, _reduce(another, picture.shape[:2]))

    def summary(self, n):
        return {
            "dead_channels": 1 - self.ever.mean(),
            "inactive": self.inactive / n,
            "active_places": self.places / n,
            "similarity": self.own / n,
            "similarity_other": self.other / n,
        }


def _reduce(picture, shape):
    import cv2  # nothing else here needs it

    return cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA)


def _standardise(columns):
    columns = columns[:, columns.max(axis=0) > columns.min(axis=0)]
    columns = columns - columns.mean(axis=0)
    return columns / np.sqrt((columns**2).sum(axis=0))


def _mean_correlation(columns, picture):
    """Mean absolute correlation of a picture with standardised columns; constant ones are out."""
    picture = _standardise(picture.reshape(-1, 1))
    return np.abs(picture.T @ columns).mean() if picture.size and columns.size else 0.0


def class_differences(
    detector: Detector | keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    layer: str,
    **options: Any,
) -> pd.DataFrame:
    """Tell which channels of a layer differ between real and fake faces.

    Parameters
    ----------
    detector, images, layer
        As in `activations`, whose other parameters may follow.
    labels : array of int, (N,)
        1 is fake, 0 real.

    Returns
    -------
    pandas.DataFrame
        One row per channel, those that differ most first: `channel`, `real` and `fake` (its mean
        over places and pictures), and `auc`, the chance that a fake's mean over places is larger
        than a real face's (0.5 for a channel that cannot tell them apart). With many channels the
        first of the list differ by luck as well: look at them again on other people.

    Raises
    ------
    UserError
        If one of the two classes is missing.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(images),):
        raise UserError(f"{labels.shape} labels for {len(images)} pictures: give one for each.")
    means = activations(detector, images, layer, **options)
    means = means.reshape(len(means), -1, means.shape[-1]).mean(axis=1)
    real, fake = means[labels == 0], means[labels == 1]
    if not len(real) or not len(fake):
        raise UserError(f"{len(real)} real and {len(fake)} fake faces: give some of both.")
    ranks = rankdata(np.concatenate([fake, real]), axis=0)[: len(fake)]
    # Mann and Whitney's statistic over the number of pairs is the area under the ROC curve.
    auc = (ranks.sum(axis=0) - len(fake) * (len(fake) + 1) / 2) / (len(fake) * len(real))
    table = pd.DataFrame(
        {"channel": range(len(auc)), "real": real.mean(0), "fake": fake.mean(0), "auc": auc}
    )
    order = np.argsort(-np.abs(auc - 0.5), kind="stable")
    return table.iloc[order].reset_index(drop=True)
