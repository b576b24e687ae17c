"""Training batches: read ahead on the host, varied on the device (chapter 03_training)."""

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pandas as pd
from joblib import cpu_count
from keras import ops

from xaifake.data.dataset import decode_image

# Of the decoded pictures so many bytes are kept; the others are decoded each time.
CACHE_BYTES = 2**30
READERS = min(8, cpu_count())
# Keys of the seed sequences, so that no two draws of a run share a random stream.
EPOCH, BATCH, VALIDATION, RECALIBRATION, PORTRAIT_SPLIT, PAIR = range(6)


class EncodedFaces:
    """The JPEG bytes, labels and clips of one split.

    Parameters
    ----------
    encoded : list of bytes
        N JPEG files of pictures of one shape.
    labels : array of int, (N,)
        1 is fake, 0 real.
    clips : array, (N,)
        The video each face comes from.
    cache_bytes : int
        The first pictures, so many as have room in these bytes, are decoded only once.
    """

    paired = False

    def __init__(self, encoded, labels, clips, cache_bytes=CACHE_BYTES):
        self.encoded = encoded
        self.labels = np.asarray(labels)
        self.clips = np.asarray(clips)
        self.shape = decode_image(encoded[0]).shape
        count = min(len(encoded), cache_bytes // math.prod(self.shape))
        self._decoded = np.empty((count, *self.shape), dtype=np.uint8)
        self._known = np.zeros(count, dtype=bool)

    def decode(self, rows, seed=(), first=0):
        """Return the pictures of some rows, uint8 (len(rows), H, W, 3); nothing is drawn."""
        pictures = np.empty((len(rows), *self.shape), dtype=np.uint8)
        for place, row in enumerate(rows):
            pictures[place] = self._picture(row)
        return pictures

    def counts(self):
        """Return how many faces and clips there are of each class, by its name."""
        return {
            name: {
                "faces": int((self.labels == label).sum()),
                "clips": len(set(self.clips[self.labels == label])),
            }
            for label, name in enumerate(("real", "fake"))
        }

    def _picture(self, row):
        if row >= len(self._known):
            return decode_image(self.encoded[row])
        if not self._known[row]:
            # Two threads may both do this: they write the same pixels.
            self._decoded[row] = decode_image(self.encoded[row])
            self._known[row] = True
        return self._decoded[row]

    def draw_balanced(self, count, rng):
        """Return `count` rows, real and fake by turns, each class spread over its clips."""
        halves = []
        for label in (0, 1):
            rows = np.flatnonzero(self.labels == label)
            halves.append(rows[spread_over_clips(self.clips[rows], math.ceil(count / 2), rng)])
        return np.stack(halves, axis=1).ravel()[:count]


def spread_over_clips(clips, count, rng):
    """Draw faces so that all clips appear as equally often as can be.

    Parameters
    ----------
    clips : array, (N,)
        The clip of each face.
    count : int
        How many to draw; no face comes twice before all have come once.
    rng : numpy.random.Generator
        Source of the draw.

    Returns
    -------
    numpy.ndarray of int, (count,)
        Positions in `clips`: first one face of each clip in random order, then a second one...
    """
    drawn = [np.empty(0, int)]
    for _ in range(math.ceil(count / max(1, len(clips)))):
        order = rng.permutation(len(clips))
        turn = pd.Series(clips[order]).groupby(clips[order]).cumcount().to_numpy()
        drawn.append(order[np.argsort(turn, kind="stable")])
    return np.concatenate(drawn)[:count]


def draw_variations(count, side, size, rng):
    """Draw how training pictures are varied, in ways that tell nothing about their class.

    Mirrored in half of the cases; shifted by up to 3 % of the side in whole pixels and in half of
    the cases zoomed by up to 5 %, so that the other half keeps its pixels untouched; contrast and
    brightness changed by up to 15 and 10 %. A `size` below `side` cuts a patch from around the
    middle, where the face is. Drawn on the host, so that they are the same on every backend and
    for every number of devices.

    Parameters
    ----------
    count : int
        Number of pictures.
    side, size : int
        Side of the pictures in pixels, before and after.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    numpy.ndarray of float32, (count, 6)
        What `augment` does to each picture: left and top (pixels), zoom (factor), mirror (0 or 1),
        contrast (factor), brightness (grey levels of 255).
    """
    most = round(0.03 * side) + (side - size) // 4
    corners = (side - size) // 2 + rng.integers(-most, most + 1, (count, 2))
    zoom = np.where(rng.random(count) < 0.5, rng.uniform(0.95, 1.05, count), 1.0)
    mirror = rng.random(count) < 0.5
    contrast, brightness = rng.uniform(0.85, 1.15, count), rng.uniform(-25.5, 25.5, count)
    return np.column_stack([corners, zoom, mirror, contrast, brightness]).astype(np.float32)


def augment(images, variations, size):
    """Vary pictures on the device and scale them as the network takes them.

    A zoom with a shift is a weighted sum over rows and then over columns. Cubic convolution (Keys
    1981, with a = -0.75 as in OpenCV) gives the weights; beyond its border a picture goes on with
    its last pixel. As matrix products these sums are exact where the weights are 0 and 1, that is,
    without a zoom, even in the reduced precision of a GPU's matrix units.

    Parameters
    ----------
    images : tensor of uint8, (N, H, H, 3)
        RGB pictures.
    variations : tensor of float32, (N, 6)
        As `draw_variations` gives them.
    size : int
        Side of the pictures returned, at most H.

    Returns
    -------
    tensor of float32, (N, size, size, 3)
        Values from -1 to 1.
    """
    side = images.shape[1]
    left, top, zoom, mirror, contrast, brightness = (variations[:, k, None] for k in range(6))
    places = ops.arange(size, dtype="float32")[None]
    mirrored = mirror * (size - 1 - places) + (1 - mirror) * places
    rows, columns = (
        _cubic_weights((start + place - (side - 1) / 2) / zoom + (side - 1) / 2, side)
        for start, place in ((top, places), (left, mirrored))
    )
    pixels = ops.einsum("nyh,nhwc->nywc", rows, ops.cast(images, "float32"))
    pixels = ops.einsum("nxw,nywc->nyxc", columns, pixels)
    contrast, brightness = contrast[..., None, None], brightness[..., None, None]
    varied = ops.clip((pixels - 127.5) * contrast + (127.5 + brightness), 0, 255)
    return varied / 127.5 - 1


def _cubic_weights(source, side):
    """Return for each point of (N, size) the weights of all `side` pixels, (N, size, side)."""
    before = ops.floor(source)
    t = source - before
    far = [-0.75 * (x * x * x - 2 * x * x + x) for x in (t, 1 - t)]
    near = [1.25 * x * x * x - 2.25 * x * x + 1 for x in (t, 1 - t)]
    pixels = ops.arange(side, dtype="float32")
    weights = 0.0
    for offset, weight in zip((-1, 0, 1, 2), (far[0], near[0], near[1], far[1])):
        place = ops.clip(before + offset, 0, side - 1)
        weights = weights + weight[..., None] * ops.cast(place[..., None] == pixels, "float32")
    return weights


class Augment(keras.layers.Layer):
    """`augment` as a layer, so that it is a part of the compiled training step."""

    def __init__(self, size, **options):
        super().__init__(dtype="float32", **options)
        self.size = size

    def call(self, images, variations):
        """Return the varied pictures, float32 (N, size, size, 3) in [-1, 1]."""
        return augment(images, variations, self.size)


def with_augmentation(network, shape):
    """Put `augment` before a network.

    Parameters
    ----------
    network : keras.Model
        Maps float32 (N, size, size, 3) in [-1, 1] to logits.
    shape : tuple of int
        Shape (H, H, 3) of the pictures, before they are varied.

    Returns
    -------
    keras.Model
        Maps uint8 pictures (N, H, H, 3) and their variations (N, 6) to the network's logits.
    """
    images = keras.Input(shape, dtype="uint8")
    variations = keras.Input((6,))
    varied = Augment(network.input_shape[1])(images, variations)
    return keras.Model([images, variations], network(varied))


class EpochBatches(keras.utils.PyDataset):
    """The batches of one epoch, made by threads some steps before they are needed.

    Each batch depends on seed, epoch and its number alone, and they come in order: Keras' own
    workers are not used, since what they hand over is not always in order. A context manager: at
    its end the threads end.

    Parameters
    ----------
    faces : EncodedFaces or xaifake.detector.pairs.PairedFaces
        The training faces.
    settings : dict
        Of `train`: batch_size, images_per_epoch and seed are read.
    epoch : int
        Number of the epoch, from 1.
    size : int
        Side in pixels of the pictures that the network gets.
    share : tuple of int
        (k, n): the k-th of n equal parts of every batch, for the k-th of n hosts.
    readers : int
        Number of threads.
    """

    def __init__(self, faces, settings, epoch, size, share=(0, 1), readers=READERS):
        super().__init__()
        self.faces, self.size, self.share, self.readers = faces, size, share, readers
        self.batch_size = settings["batch_size"]
        self.seed = (settings["seed"], epoch)
        self.steps = settings["images_per_epoch"] // self.batch_size
        rng = np.random.default_rng([EPOCH, *self.seed])
        self.rows = faces.draw_balanced(self.steps * self.batch_size, rng)
        self.threads = ThreadPoolExecutor(readers)
        self.coming = deque()
        self.failure = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.threads.shutdown(cancel_futures=True)

    def __len__(self):
        return self.steps

    def __getitem__(self, number):
        """Return ((uint8 (B, H, H, 3), float32 (B, 6)), float32 (B, 1)): pictures, labels."""
        if not self.coming or self.coming[0][0] != number:  # the start, or a jump
            self.coming.clear()
        last = self.coming[-1][0] if self.coming else number - 1
        for ahead in range(last + 1, min(number + self.readers + 2, self.steps)):
            self.coming.append((ahead, self.threads.submit(self._make, ahead)))
        try:
            return self.coming.popleft()[1].result()
        except Exception as failure:
            self.failure = failure
            raise

    def _make(self, number):
        rng = np.random.default_rng([BATCH, *self.seed, number])
        variations = draw_variations(self.batch_size, self.faces.shape[0], self.size, rng)
        if self.faces.paired:
            variations[1::2] = variations[::2]
        part, parts = self.share
        mine = np.arange(self.batch_size).reshape(parts, -1)[part]
        rows = self.rows[number * self.batch_size + mine]
        labels = self.faces.labels[rows, None].astype(np.float32)
        pictures = self.faces.decode(rows, (BATCH, *self.seed, number), int(mine[0]))
        return (pictures, variations[mine]), labels
