"""A detector whose evidence is known, because it was planted (chapter 12_sanity).

A small chequered patch at a random place alone decides the label, so a method that is asked why
this picture is 'fake' has one right answer. Nothing about faces, masks or swaps is needed.
"""

import itertools

import keras
import numpy as np
import pandas as pd
from keras import layers
from scipy.ndimage import uniform_filter
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from xaifake.detector.detector import Detector, takes_detector
from xaifake.detector.inputs import preprocess
from xaifake.errors import UserError
from xaifake.judge.localisation import pointing_game, relevance_mass_accuracy
from xaifake.progress import progress_bar

SIZES = (4, 8, 16, 24)
CONTRASTS = (2, 4, 8, 16, 32)
TRAINED_SIZES = (6, 24)
TRAINED_CONTRASTS = (8, 64)
SQUARE = 2  # pixels of a square of the pattern
BOX = 8  # pixels
FOUND_IN = 0.1  # of the picture
ASKED = 16  # pictures per size and contrast


def plant(images, size, contrast, seed=0):
    """Add a chequered patch to each picture, at a random place.

    Parameters
    ----------
    images : numpy.ndarray of uint8, (N, H, W, 3)
    size : int or array of int, (N,)
        Side of the patch, in pixels.
    contrast : float or array of float, (N,)
        Grey levels by which its squares are lighter and darker in turn.
    seed : int or numpy.random.Generator
        Of the places.

    Returns
    -------
    planted : numpy.ndarray of uint8, (N, H, W, 3)
    masks : numpy.ndarray of bool, (N, H, W)
        True on the patch.

    Raises
    ------
    UserError
        If a patch does not fit into the picture.
    """
    n, height, width = images.shape[:3]
    size, contrast = np.broadcast_to(size, n), np.broadcast_to(contrast, n)
    if size.min(initial=1) < 1 or size.max(initial=1) > min(height, width):
        raise UserError(
            f"size={size.min()} to {size.max()}: give 1 to {min(height, width)} pixels."
        )
    rng = np.random.default_rng(seed)
    top, left = rng.integers(0, height - size + 1), rng.integers(0, width - size + 1)
    top, left, side, strength = (v.reshape(n, 1, 1) for v in (top, left, size, contrast))
    down, right = np.arange(height)[:, None] - top, np.arange(width) - left
    masks = (down >= 0) & (down < side) & (right >= 0) & (right < side)
    sign = 1 - 2 * ((down // SQUARE + right // SQUARE) % 2)
    added = images + (strength * sign * masks)[..., None]
    return np.clip(np.rint(added), 0, 255).astype(np.uint8), masks


def small_network(size=128, seed=0):
    """Build a small relative of Xception that a laptop trains in a minute.

    One convolution and four separable ones, each with batch norm and ReLU, then the mean over all
    places and one logit: 128 x 128 pixels to 12,049 parameters.

    Parameters
    ----------
    size : int
        Side of the pictures, in pixels.
    seed : int

    Returns
    -------
    keras.Model
        (N, size, size, 3) in [-1, 1] to logits (N, 1).
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(11).tolist())

    def start(*names):
        kinds = {f"{name}_initializer": next(seeds) for name in names}
        return {key: keras.initializers.GlorotUniform(one) for key, one in kinds.items()}

    def block(layer, x):
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(layer(x)))

    inputs, shared = keras.Input((size, size, 3)), {"padding": "same", "use_bias": False}
    x = block(layers.Conv2D(16, 3, strides=2, **shared, **start("kernel")), inputs)
    for number, filters in enumerate((32, 48, 64, 64)):
        both = start("depthwise", "pointwise")
        x = block(layers.SeparableConv2D(filters, 3, **shared, **both), x)
        if number < 3:
            x = layers.MaxPooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(1, **start("kernel"))(x))


def split_people(faces, held_out=0.25):
    """Split faces by person into those to train on and those to test on, two `Faces`.

    The last quarter of the people by name, or another share, is kept for the test; a `UserError` if
    there is only one person.
    """
    people = sorted(faces.table.target.unique())
    if len(people) < 2:
        raise UserError(f"{len(people)} person: two are needed, one to train on and one to test.")
    test = faces.table.target.isin(people[-max(1, int(held_out * len(people))) :]).to_numpy()
    return faces[~test], faces[test]


class PlantedBatches(keras.utils.PyDataset):
    """Batches for training, planted anew each time.

    Parameters
    ----------
    faces : xaifake.data.dataset.Faces
    steps, batch_size : int
    partly : bool
        False: the cue is planted in half of the pictures, and it alone decides the label. True:
        the label is the faces' own, and the cue is planted in half of the fakes.
    seed : int
    """

    def __init__(self, faces, steps, batch_size=32, partly=False, seed=0):
        super().__init__()
        self.faces, self.steps, self.batch_size = faces, steps, batch_size
        self.partly, self.seed = partly, seed

    def __len__(self):
        return self.steps

    def __getitem__(self, number):
        rng = np.random.default_rng([self.seed, number])
        half = self.batch_size // 2
        if self.partly:
            rows = [rng.choice(np.flatnonzero(self.faces.labels == k), half) for k in (1, 0)]
            rows, planted = np.concatenate(rows), np.arange(2 * half) < half // 2
            labels = np.repeat([1.0, 0.0], half)
        else:
            rows = rng.choice(len(self.faces), self.batch_size)
            planted = np.arange(self.batch_size) < half
            labels = planted.astype(float)
        images = vary(self.faces.images[rows].astype(np.float32), rng)
        sizes = rng.integers(*TRAINED_SIZES, len(rows), endpoint=True)
        with_cue, _ = plant(images, sizes, rng.uniform(*TRAINED_CONTRASTS, len(rows)), rng)
        images = np.where(planted[:, None, None, None], with_cue, images)
        return preprocess(images), labels[:, None]


def vary(images, rng):
    """Mirror some of the pictures, and draw contrast and brightness; float to uint8."""
    flipped, shape = rng.random(len(images)) < 0.5, (len(images), 1, 1, 1)
    images[flipped] = images[flipped, :, ::-1]
    images = images * rng.uniform(0.8, 1.2, shape) + rng.uniform(-20, 20, shape)
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def train_planted(model, faces, steps=300, batch_size=32, learning_rate=1e-2, partly=False, seed=0):
    """Train a network to find the planted cue; return the mean loss of each tenth of the steps.

    Parameters
    ----------
    model : keras.Model
        One logit; it is changed.
    faces : xaifake.data.dataset.Faces
        See `split_people`.
    steps, batch_size : int
    learning_rate : float
        The highest; it falls to 0 along a cosine.
    partly : bool
        As in `PlantedBatches`.
    seed : int
    """

    def batches(first, count):
        return PlantedBatches(faces, count, batch_size, partly, seed + first)

    return fit(model, batches, steps, keras.optimizers.Adam, learning_rate, seed)


def fit(model, batches, steps, optimizer, learning_rate, seed=0, progress=False):
    """Train a model; return the mean loss of each tenth of the steps.

    Parameters
    ----------
    model : keras.Model
        One logit; it is changed.
    batches : callable
        From the number of the first step and a number of steps to a `keras.utils.PyDataset`.
    steps : int
    optimizer : callable
        From a schedule of learning rates, which falls to 0 along a cosine, to an optimizer.
    learning_rate : float
        The highest.
    seed : int
    progress : bool
        Show a progress bar of the tenths.
    """
    keras.utils.set_random_seed(seed)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer(schedule), loss)
    edges = np.linspace(0, steps, min(10, steps) + 1).astype(int).tolist()
    losses = []
    bar = progress_bar(list(itertools.pairwise(edges)), show=progress, unit="tenth")
    for first, end in bar:
        fitted = model.fit(batches(first, end - first), verbose=0, shuffle=False)
        losses.append(fitted.history["loss"][0])
        bar.set_postfix(loss=f"{losses[-1]:.2f}")
    return losses


@takes_detector
def detection(detector, faces, size, contrast, seed=0):
    """Tell how well a detector finds a cue of some size and contrast.

    Parameters
    ----------
    detector : Detector
    faces : xaifake.data.dataset.Faces
        Of people it was not trained on.
    size, contrast, seed
        As in `plant`.

    Returns
    -------
    auc : float
        Of pictures with the cue against the same without.
    planted, masks : numpy.ndarray
        As `plant` returns them.
    logits : numpy.ndarray of float32, (N,)
        Of the planted pictures.
    """
    predict = detector.predictor(2 * len(faces))
    return _detection(predict, predict(faces.images), faces, size, contrast, seed)


def _detection(predict, clean, faces, size, contrast, seed):
    """Do the same with a function to logits, and those of the pictures without the cue."""
    planted, masks = plant(faces.images, size, contrast, seed)
    logits, labels = predict(planted), np.repeat([1, 0], len(planted))
    return roc_auc_score(labels, np.concatenate([logits, clean])), planted, masks, logits


def score_planted(heatmaps, masks):
    """Score maps of pictures with a planted cue.

    A chequered cue has evidence of both signs a few pixels apart, so that a signed map is averaged
    over `BOX` pixels before its largest places are looked at.

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
    masks : numpy.ndarray of bool, (N, H, W)

    Returns
    -------
    pandas.DataFrame
        One row per picture: `mass` of the map as it is; `pointing` of the averaged one; and
        `found`, whether the middle of the cue is among the tenth of the averaged map with the most
        relevance. By chance a tenth are found; a coarse map is not punished for being coarse.
    """
    averaged = uniform_filter(np.asarray(heatmaps, float), (0, BOX, BOX))
    # What differs by less than a billionth of the largest is equal but for rounding.
    peak = np.abs(averaged).max(axis=(1, 2), keepdims=True)
    averaged = np.round(averaged / np.where(peak > 0, peak, 1), 9)
    ranks = rankdata(averaged.reshape(len(averaged), -1), axis=1).reshape(averaged.shape)
    middle = [np.rint(np.argwhere(mask).mean(axis=0)).astype(int) for mask in masks]
    above = np.array([rank[tuple(m)] for rank, m in zip(ranks, middle, strict=True)])
    scores = {
        "mass": relevance_mass_accuracy(heatmaps, masks),
        "pointing": pointing_game(averaged, masks),
        "found": above / ranks[0].size > 1 - FOUND_IN,
    }
    return pd.DataFrame(scores)


def sweep(faces, ways, seed=0, sizes=SIZES, contrasts=CONTRASTS, **training):
    """Train on planted cues and look for them with every method, at every size and contrast.

    Parameters
    ----------
    faces : xaifake.data.dataset.Faces
    ways : dict of str to callable
        By name: from a detector and pictures to heatmaps (N, H, W) and a report.
    seed : int
    sizes, contrasts : sequence of float
    **training
        Passed on to `train_planted`.

    Returns
    -------
    pandas.DataFrame
        Rows of `score_planted` of pictures whose cue the detector finds, with method, size,
        contrast and detection (the detector's AUC there), `partly` (whether the cue was planted in
        half of the fakes alone) and `share`, the cue's share of the picture.
    """
    train, test = split_people(faces)
    parts = []
    for partly in (False, True):
        model = small_network(faces.images.shape[1], seed)
        train_planted(model, train, partly=partly, seed=seed, **training)
        asked = test[test.labels == 1] if partly else test
        one = [(sizes[len(sizes) // 2], contrasts[-1])]
        cases = one if partly else list(itertools.product(sizes, contrasts))
        detector = Detector(model)
        predict = detector.predictor((1 + len(cases)) * len(asked))
        clean = predict(asked.images)
        for size, contrast in cases:
            auc, planted, masks, logits = _detection(predict, clean, asked, size, contrast, seed)
            rows = np.flatnonzero(logits > 0)[:ASKED]
            case = {"size": size, "contrast": contrast, "detection": auc, "partly": partly}
            for name, way in ways.items() if len(rows) else ():
                scores = score_planted(way(detector, planted[rows])[0], masks[rows])
                parts.append(scores.assign(method=name, **case, share=masks[0].mean()))
    if not parts:
        raise UserError(
            f"The trained network finds no cue of sizes {list(sizes)} and contrasts "
            f"{list(contrasts)}: give larger ones, or train longer."
        )
    return pd.concat(parts, ignore_index=True)
