"""Xception with one logit: building it, and its weights on disk (chapter 03_training)."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from xaifake.errors import UserError
from xaifake.runs import write_whole
from xaifake.scales import SCALE, SCALES

WEIGHTS_FOLDER = Path(__file__).resolve().parents[1] / "assets" / "weights"
SMALLEST_SIZE = 71


def build_xception(
    size: int = 128, momentum: float = 0.9, precision: str = "float32", seed: int = 0
) -> keras.Model:
    """Build Xception with random weights and a single logit at its end.

    At 128 pixels it has the 134 layers and 20,863,529 parameters (20,809,001 trainable) of
    Malolan et al. 2020, section III B; the network is Chollet 2017, figure 5. The weights do not
    depend on `size`, because the convolutions end in a mean over all positions.

    Parameters
    ----------
    size : int
        Height and width of the input in pixels, at least 71.
    momentum : float
        Momentum of every batch norm's moving statistics. Keras' own 0.99 keeps 4 % of the
        starting values after 320 steps, and a network that learns looks like chance till then.
    precision : str
        Name of a Keras dtype policy: "float32", "mixed_bfloat16" or "mixed_float16". Variables and
        the logit are float32 under each of them.
    seed : int
        Seed of the starting weights; the same seed gives the same weights on every backend.

    Returns
    -------
    keras.Model
        Maps float32 (N, size, size, 3) in [-1, 1] to logits (N, 1); above 0 means fake.

    Raises
    ------
    UserError
        If `size` is too small for five halvings.
    """
    if size < SMALLEST_SIZE:
        raise UserError(f"Xception cannot take {size} x {size} pixels: give at least 71 x 71.")
    with _dtype_policy(precision):
        base = keras.applications.Xception(
            include_top=False, weights=None, input_shape=(size, size, 3)
        )
        pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(base.output)
        logit = keras.layers.Dense(1, name="predictions", dtype="float32")(pooled)
        model = keras.Model(base.input, logit, name="xception")
    for layer in batch_norms(model):
        layer.momentum = momentum
    _initialise(model, seed)
    return model


@contextmanager
def _dtype_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _initialise(model, seed):
    """Draw every kernel anew: Glorot's uniform distribution, as is Keras' default."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            field = math.prod(weight.shape[:-2])
            limit = math.sqrt(6 / (field * (weight.shape[-2] + weight.shape[-1])))
            weight.assign(rng.uniform(-limit, limit, weight.shape).astype(np.float32))


def batch_norms(model):
    """Return the list of the model's batch normalisation layers, in order."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def save_weights(
    model: keras.Model, path: str | Path, metadata: dict[str, str] | None = None
) -> None:
    """Store a model's weights as safetensors, a format that cannot run code on loading.

    Kernels are stored as float16, whose largest number is 65504; the vectors (biases, and batch
    norm's scale, shift, mean and variance, whose range float16 does not cover) as float32. The
    order of `model.weights` is in the names ("000/block1_conv1/kernel"), because Keras numbers
    unnamed layers anew for each model. The file appears whole or not at all.

    Parameters
    ----------
    model : keras.Model
        The model.
    path : str or path
        The file to write.
    metadata : dict of str to str, optional
        Stored in the file's header.

    Raises
    ------
    UserError
        If a kernel has values that float16 cannot hold.
    """
    tensors = {}
    for number, weight in enumerate(model.weights):
        value = np.asarray(weight.numpy())
        dtype = np.float16 if value.ndim > 1 else np.float32
        with np.errstate(over="ignore"):
            stored = tensors[f"{number:03d}/{weight.path}"] = value.astype(dtype)
        if np.isinf(stored).any():
            raise UserError(
                f"The weights {weight.path} reach {np.abs(value).max():.4g}, and kernels are "
                f"stored as float16, up to {np.finfo(np.float16).max:.0f}: keep such a network by "
                "model.save_weights of Keras, or train it again with a lower learning rate."
            )
    write_tensors(tensors, path, metadata)


def write_tensors(tensors, path, metadata=None):
    """Write a dict of arrays as safetensors; the file appears whole or not at all."""
    # A transposed array would be written in the order of its memory, and read back scrambled.
    tensors = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    with write_whole(Path(path)) as file:
        file.write(save(tensors, metadata=metadata))


def load_weights(model: keras.Model, path: str | Path) -> keras.Model:
    """Put weights stored by `save_weights` into a model of the same architecture.

    Parameters
    ----------
    model : keras.Model
        Filled in place, by order; the names of its layers do not matter.
    path : str or path
        A file written by `save_weights`.

    Returns
    -------
    keras.Model
        The same model.

    Raises
    ------
    UserError
        If the file is missing, is not safetensors, or holds another architecture's weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"No weights at {path}: give a file that save_weights wrote.")
    try:
        with safe_open(path, framework="numpy") as file:
            values = [file.get_tensor(key) for key in sorted(file.keys(), key=_in_order)]
    except SafetensorError as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}).") from error
    found = [value.shape for value in values]
    expected = [tuple(weight.shape) for weight in model.weights]
    if found != expected:
        raise UserError(
            f"{path} holds {len(found)} arrays with {sum(map(math.prod, found)):,} numbers that do "
            f"not fit the model's {len(expected)} with {sum(map(math.prod, expected)):,}: "
            "build the architecture that the file was saved from."
        )
    for weight, value in zip(model.weights, values, strict=True):
        weight.assign(value.astype(np.float32))
    return model


def _in_order(key):
    """Sort by number, then name: beyond 999 arrays the numbers have four digits."""
    number = key.partition("/")[0]
    return int(number) if number.isdecimal() else -1, key


def detector_card(scale: float = SCALE) -> dict:
    """Return how the shipped detector of one scale was trained and what it scores.

    Parameters
    ----------
    scale : float
        1.3 or 2.0.

    Returns
    -------
    dict
        Settings, seed, log, scores and versions, as `train` wrote them.

    Raises
    ------
    UserError
        If there is no detector for this scale, or its card is not there.
    """
    return json.loads(shipped_file(scale, "json").read_text(encoding="utf-8"))


def shipped_file(scale, suffix):
    """Return the path of a shipped detector's weights ("safetensors") or card ("json").

    Raises
    ------
    UserError
        If there is no detector for this scale, or the file is not there.
    """
    if scale not in SCALES:
        raise UserError(
            f"No detector is shipped for scale {scale}: give 1.3 or 2.0, or train one with "
            "xaifake.detector.train and take Detector.pretrained(scale, weights=...)."
        )
    path = WEIGHTS_FOLDER / f"xception_{scale:.1f}.{suffix}"
    if not path.is_file():
        raise UserError(
            f"{path} is missing, though it belongs to the package: install xaifake again."
        )
    return path
