"""What this book means by a detector, and the one door by which a network becomes one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, cast

import keras
import numpy as np

from xaifake.detector.forward import forward, in_batches, weights_digest
from xaifake.detector.graph import flatten, node_behind, without_head
from xaifake.detector.inputs import RANGE, as_floats, check_shape
from xaifake.detector.xception import build_xception, load_weights, shipped_file
from xaifake.errors import UserError
from xaifake.lazy import Function
from xaifake.progress import progress_bar
from xaifake.scales import SCALE, SCALES

if TYPE_CHECKING:
    from xaifake.data.dataset import Faces

KNOWN_FACES = 128  # that a detector is asked about before it is believed
_PROMISING = 0.6  # an AUC from which on a guess at what is wrong is told
_CLEARLY = 0.05  # by which the AUC of another range is to be larger before it is asked after
_RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))


@dataclass(frozen=True, eq=False)
class Detector:
    """A network that answers a face with one logit, above 0 for fake, and what belongs to it.

    Make one by `pretrained` or `from_keras`; the class itself takes only a model that is in this
    form already, and believes what it is told.

    Parameters
    ----------
    model : keras.Model
        From float32 (N, H, W, C) in `value_range` to logits (N, 1); kept in the form that
        `xaifake.detector.graph.flatten` gives it, with the same layers.
    value_range : (float, float)
        What black and white are to the model.
    scale : float, optional
        Side of the square that its faces were cut by, over the larger side of dlib's face box.
    name : str, optional
        What it is called on pages; the model's own name if not given.
    shipped : bool
        Whether it is one of those that come with the package, of which more is known.

    Raises
    ------
    UserError
        If the model has several inputs or outputs, a head, or another number of logits.
    """

    model: keras.Model
    value_range: tuple[float, float] = RANGE
    scale: float | None = SCALE
    name: str | None = None
    shipped: bool = False

    def __post_init__(self):
        flat = flatten(self.model)
        if without_head(flat) is not flat:
            raise UserError(
                "The model ends in a probability: give it to Detector.from_keras, which takes a "
                "sigmoid or softmax off."
            )
        if flat.output_shape != (None, 1):
            raise UserError(
                f"The model's output has the shape {flat.output_shape}, and a detector has one "
                "logit, (None, 1), above 0 for fake: Detector.from_keras makes one of two."
            )
        object.__setattr__(self, "model", flat)
        low, high = self.value_range
        if not low < high:
            raise UserError(f"value_range={self.value_range}: give what black and white are.")
        object.__setattr__(self, "value_range", (float(low), float(high)))
        object.__setattr__(self, "name", self.name or self.model.name)

    @classmethod
    def pretrained(cls, scale: float = SCALE, weights: str | Path | None = None) -> Detector:
        """Return Xception with the shipped weights of one scale, or your own.

        Parameters
        ----------
        scale : float
            1.3 or 2.0; with weights of your own, that of the faces that they were trained on.
        weights : str or Path, optional
            A file that `train` or `save_weights` wrote.

        Raises
        ------
        UserError
            If no detector is shipped for this scale, or the file does not fit Xception.
        """
        path = Path(weights) if weights else shipped_file(scale, "safetensors")
        model = load_weights(build_xception(), path)
        return cls(model, RANGE, float(scale), path.name, shipped=not weights)

    @classmethod
    def from_keras(
        cls,
        model: keras.Model | str | Path,
        value_range: tuple[float, float] = RANGE,
        fake: int = 1,
        scale: float | None = SCALE,
        name: str | None = None,
        faces: Faces | None = None,
        check: bool = True,
    ) -> Detector:
        """Make a detector of a Keras model, and ask it about known faces before it is believed.

        A sigmoid or softmax at the model's end is taken off, wherever it stands; two logits become
        one, their difference; models within the model become part of it.

        Parameters
        ----------
        model : keras.Model, or path of a .keras or .h5 file, one of Keras 2 too
            One input, pictures (N, H, W, 3); one output, (N, 1) or (N, 2).
        value_range : (float, float)
            What black and white are to the model, such as (0, 1) or, if it rescales its input
            itself, (0, 255).
        fake : int
            The class that means fake, 0 or 1: with one output, whether a high answer means fake
            (1) or real (0); with two, the index of the output for fake.
        scale : float, optional
            As in `Detector`.
        name : str, optional
            As in `Detector`; that of the file or the model if not given.
        faces : xaifake.data.dataset.Faces, optional
            Real and fake faces whose truth is known, of which it is asked about 128 at most; some
            that come with the package if not given.
        check : bool
            Whether to ask. Without it a wrong range or order of classes goes unnoticed.

        Raises
        ------
        UserError
            If the model cannot be a detector, or its answers about the known faces have an AUC
            below 0.5 or are all on one side, with the likely reason.
        """
        if not isinstance(model, keras.Model):
            name, model = name or Path(model).name, _read(Path(model))
        detector = cls(_one_logit(without_head(model), fake), value_range, scale, name)
        if check:
            detector._check(faces)
        return detector

    @property
    def fingerprint(self) -> str:
        """A short text that is the same for the same weights."""
        return weights_digest(self.model)

    @property
    def input_shape(self) -> tuple[int | None, int | None, int]:
        """(H, W, C) of its pictures; None where any size will do."""
        return self.model.input_shape[1:]

    @property
    def side(self) -> int:
        """Pixels of the squares that are cut for it; 128 where any size will do."""
        return self.input_shape[0] or 128

    @property
    def known_scale(self) -> float:
        """`scale`, for whatever cuts or reads faces by it; a `UserError` where it is not known."""
        if self.scale is None:
            told = "The detector's scale is not known: give Detector.from_keras(..., scale=)."
            raise UserError(told)
        return self.scale

    def logits(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        progress: bool = False,
        count: int | None = None,
        engine: str | None = None,
        precision: str = "float32",
    ) -> np.ndarray:
        """Return the logit for each picture.

        OpenVINO answers where it is installed and many pictures are asked about, Keras else; see
        `xaifake.detector.forward`.

        Parameters
        ----------
        images : numpy.ndarray, (N, H, W, C)
            uint8 RGB pictures from 0 to 255, or floats in `value_range`.
        batch_size : int
            Pictures at a time.
        progress : bool
            Show a progress bar.
        count : int, optional
            How many pictures it will be asked about in all, if this call is one of many.
        engine : str, optional
            "keras" or "openvino", whatever the count.
        precision : str
            "float32"; or "bfloat16", where digits may be traded for speed: OpenVINO's, on
            processors that have it.

        Returns
        -------
        numpy.ndarray of float32, (N,)
            Above 0 means fake; the probability of fake is the sigmoid.

        Raises
        ------
        UserError
            If the pictures do not fit, or the engine or precision is not to be had.
        """
        count = len(images) if count is None else count
        return self.predictor(count, batch_size, engine, precision)(images, progress)

    def predictor(
        self,
        count: int,
        batch_size: int = 32,
        engine: str | None = None,
        precision: str = "float32",
    ) -> Callable[..., np.ndarray]:
        """Return `logits` as a function, to ask about pictures in many parts.

        Parameters are those of `logits`.

        Returns
        -------
        callable
            From pictures, and whether to show a progress bar, to logits. It holds the weights as
            they are now.
        """
        shape = self.input_shape
        answer = None  # till the pictures tell their size
        if None not in shape:
            answer = forward(self.model, count, batch_size, engine, precision, shape)

        def predict(images, progress=False):
            nonlocal answer
            images = np.asarray(images)
            if not len(images):
                return np.empty(0, np.float32)
            check_shape(images.shape, shape)
            if answer is None:
                size = images.shape[1:]
                answer = forward(self.model, count, batch_size, engine, precision, size)
            total = math.ceil(len(images) / batch_size)
            batches = in_batches(images, batch_size)
            bar = progress_bar(batches, show=progress, unit="batch", total=total)
            floats = (as_floats(batch, shape, self.value_range) for batch in bar)
            return answer(floats)[:, 0]

        return predict

    def _check(self, faces):
        """Refuse a detector that says of known faces what cannot be right."""
        faces = _known_faces(self, faces)
        images = np.stack([_fitting(image, self.input_shape) for image in faces.images])
        logits = self.logits(images)
        if not np.isfinite(logits).all():
            raise UserError(
                f"The detector answers {(~np.isfinite(logits)).sum()} of {len(logits)} known faces "
                "with NaN or infinity: look after its weights."
            )
        area = _auc(faces.labels, logits)
        other_range, its_area = self._best_range(faces, images)
        sides = [name for name, side in (("fake", logits > 0), ("real", logits <= 0)) if side.all()]
        if area >= 0.5 and not sides:
            if its_area > area + _CLEARLY:
                warnings.warn(
                    f"On known faces the detector's AUC is {area:.2f} with value_range="
                    f"{self.value_range} and {its_area:.2f} with {other_range}: is that its range?",
                    stacklevel=3,
                )
            return
        found = f"calls all of them {sides[0]}" if sides else f"has an AUC of {area:.2f}"
        of = f"{(faces.labels == 0).sum()} real and {(faces.labels == 1).sum()} fake faces"
        reason = (
            "Neither the other order of classes nor another range would make a detector of it; "
            "perhaps a head is left on, or it knows another kind of fake."
        )
        if max(1 - area, its_area) >= _PROMISING:
            reason = f"Its range seems to be value_range={other_range}."
            if 1 - area > its_area:
                reason = "The other class seems to mean fake: give fake=0, or 1 if that was 0."
        raise UserError(
            f"Asked about {of} whose truth is known, the detector {found}, and so it is not to be "
            f"believed. {reason} Is it right all the same, give faces of the kind that it was made "
            "for as faces=, or check=False."
        )

    def _best_range(self, faces, images):
        """Return which other range would make the best detector of the model, and its AUC."""
        areas = {}
        for other in _RANGES:
            if other != self.value_range:
                logits = replace(self, value_range=other).logits(images)
                one_side = not np.isfinite(logits).all() or len(set(logits > 0)) < 2
                areas[other] = 0.0 if one_side else _auc(faces.labels, logits)
        best = max(areas, key=areas.get)
        return best, areas[best]


def as_detector(detector) -> Detector:
    """Return a detector; refuse what is none.

    Raises
    ------
    UserError
        With how a Keras model becomes one.
    """
    if isinstance(detector, Detector):
        return detector
    raise UserError(
        f"Here a Detector is asked for, not {type(detector).__module__}.{type(detector).__name__}: "
        "make one by Detector.from_keras(model), or take Detector.pretrained()."
    )


def takes_detector(function: Function) -> Function:
    """Let a function refuse whatever is no detector in its first argument, with `as_detector`."""

    @wraps(function)
    def checked(detector, *arguments, **options):
        return function(as_detector(detector), *arguments, **options)

    return cast(Function, checked)


# What Keras 2 wrote of these layers into an .h5 file, though it means nothing to them.
_MEANINGLESS = ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint")


def _from_keras_2(layer):
    """Return what builds a layer from a file of Keras 2, without what today's refuses."""

    def from_config(config):
        return layer.from_config({k: v for k, v in config.items() if k not in _MEANINGLESS})

    return type(layer.__name__, (), {"from_config": staticmethod(from_config)})


_OF_KERAS_2 = {
    layer.__name__: _from_keras_2(layer)
    for layer in (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
}


def _read(path):
    """Load a model that Keras saved."""
    if not path.is_file():
        raise UserError(f"No model at {path}: give a file that model.save wrote, FILE.keras.")
    try:
        return keras.saving.load_model(path, custom_objects=_OF_KERAS_2, compile=False)
    except Exception as error:  # whatever a file may hold
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"Keras {keras.__version__} cannot load {path.name}: build the network anew by its "
            f"code, load its weights, and give it to Detector.from_keras. Keras says: {said}"
        ) from error


def _one_logit(model, fake):
    """Return a model whose one logit is above 0 for fake."""
    classes = model.output_shape[1:]
    if classes not in ((1,), (2,)):
        raise UserError(
            f"The model returns {model.output_shape}, and a detector says real or fake: give one "
            "with one or two outputs, (None, 1) or (None, 2)."
        )
    if fake not in (0, 1):
        raise UserError(f"fake={fake!r}: give 0 or 1, the class that means fake.")
    if classes == (1,) and fake == 1:
        return model
    # From all logits to one: the negative of one, or a difference of two.
    direction = np.array([[-1.0]] if classes == (1,) else [[1.0], [-1.0]], np.float32)
    direction = -direction if classes == (2,) and fake == 1 else direction
    last = node_behind(model.outputs[0])
    merges = isinstance(last.layer, keras.layers.Dense)
    weights = last.layer.get_weights() if merges else [np.eye(classes[0], dtype=np.float32)]
    tensor = last.sources[0] if merges else model.outputs[0]
    dense = keras.layers.Dense(1, use_bias=len(weights) > 1, dtype="float32", name="logit")
    one = keras.Model(model.inputs[0], dense(tensor), name=model.name)
    dense.set_weights([weight @ direction for weight in weights])
    return one


def _known_faces(detector, faces):
    """Return some faces, as many real as fake if can be, each of another clip if can be.

    They are the package's own if none are given.
    """
    from xaifake.data.dataset import load_faces  # explaining needs neither faces nor OpenCV

    if detector.input_shape[2] != 3:
        raise UserError(
            f"The detector takes pictures with {detector.input_shape[2]} channels last, and faces "
            "are RGB: build it for (H, W, 3)."
        )
    if faces is None:
        faces = load_faces(None, "test", detector.scale if detector.scale in SCALES else SCALE)
    if len(set(faces.labels)) < 2:
        raise UserError(
            f"{len(faces)} faces, all real or all fake, tell nothing of a detector: give faces= of "
            "both kinds, or check=False."
        )
    order = np.argsort(faces.table.groupby("video").cumcount(), kind="stable")
    chosen = [order[faces.labels[order] == label][: KNOWN_FACES // 2] for label in (0, 1)]
    return faces[np.sort(np.concatenate(chosen))]


def _fitting(image, shape):
    height, width = (given or own for given, own in zip(shape[:2], image.shape[:2], strict=True))
    if image.shape[:2] == (height, width):
        return image
    import cv2

    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _auc(labels, logits):
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(labels, logits)
