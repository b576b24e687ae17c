"""One place that answers logits, by the engine that suits (chapter 03_training).

Keras always answers, on each of its backends. OpenVINO answers the same from the same weights in
less time on a processor, where it is installed and the network runs on TensorFlow; to convert a
network takes it some seconds, so it is used where many pictures are asked about. Which of them
answers depends on the call alone and not on what was asked before, so that the same call gives the
same bytes each time.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import warnings
from contextlib import contextmanager
from functools import cache
from weakref import WeakKeyDictionary, WeakSet

import keras
import numpy as np

from xaifake import runs
from xaifake.detector.graph import forget, kept, parts, remember
from xaifake.errors import UserError

ENGINES = ("keras", "openvino")
PRECISIONS = ("float32", "bfloat16")
VARIABLE = "XAIFAKE_ENGINE"
INSTALL = 'python -m pip install "openvino>=2025.4"'
BATCH = 32
# From so many pictures on a conversion pays: it takes as long as some 500 pictures save.
MIN_FOR_OPENVINO = 512
# By how much a converted network's logits may differ from Keras' own, as a share of the largest or
# of 1; Xception's differ by 1e-5.
TOLERANCE = 1e-4
_MOST_STREAMS = 8  # each holds a batch's maps of a layer or two, some hundred megabytes
_KEPT_NETWORKS = 2  # of a model: sizes of a batch and precisions
_LIBRARY = "openvino_telemetry"

_converted = WeakKeyDictionary()
_told = WeakSet()
_lock = threading.RLock()


class Forward:
    """A network as a function from batches of pictures to logits.

    Attributes
    ----------
    engine : str
        Which of `ENGINES` answers.
    precision : str
        Which of `PRECISIONS` it calculates in.
    """

    def __init__(self, answer, engine, precision="float32"):
        self._answer, self.engine, self.precision = answer, engine, precision

    def __call__(self, batches):
        """Return the logits of some pictures.

        Parameters
        ----------
        batches : iterable of numpy.ndarray of float32, (B, H, W, C)
            In the model's range; none larger than the first, or than the size of batch that was
            named. They may be made while the network runs.

        Returns
        -------
        numpy.ndarray of float32, (N, K)
        """
        return self._answer(batches)


def forward(model, count, batch_size=BATCH, engine=None, precision="float32", shape=None):
    """Return a function that gives a network's logits.

    Parameters
    ----------
    model : keras.Model
        The function holds its weights as they are now: ask anew when they have changed.
    count : int
        How many pictures will be given in all. From `MIN_FOR_OPENVINO` on OpenVINO answers, where
        it is installed, Keras runs on TensorFlow, and TensorFlow has no GPU.
    batch_size : int
        The largest batch.
    engine : str, optional
        "keras" or "openvino", whatever the count. Before the count decides, the environment
        variable ``XAIFAKE_ENGINE`` does.
    precision : str
        "float32". Or "bfloat16", where a caller may trade digits for speed: OpenVINO's, on
        processors that have it; logits of the shipped detectors change by up to a tenth.
    shape : tuple of int, optional
        (H, W, C) of the pictures; the model's own if not given.

    Returns
    -------
    Forward
        Of Keras in float32, after a warning in one sentence, if OpenVINO cannot convert the model
        or the converted model answers otherwise.

    Raises
    ------
    UserError
        If there is no such engine or precision, or it is not to be had here.
    """
    name = _choose(count, engine, precision)
    if name == "openvino":
        network = _network(model, tuple(shape or model.input_shape[1:]), batch_size, precision)
        if network is not None:
            return Forward(network, "openvino", precision)
    return Forward(_keras(model), "keras")


def clear_cache() -> None:
    """Forget what is kept of networks: compiled, folded and converted forms, some gigabytes."""
    _converted.clear()
    forget()


def in_batches(images, batch_size=BATCH):
    """Yield pictures, an array (N, ...), a batch at a time."""
    for start in range(0, len(images), batch_size):
        yield images[start : start + batch_size]


def _choose(count, engine, precision):
    """Return the name of the engine that answers a call, or tell why there is none."""
    if precision not in PRECISIONS:
        raise UserError(f"No precision {precision!r}: give {' or '.join(PRECISIONS)}.")
    engine = engine or os.environ.get(VARIABLE) or None
    if engine not in (None, *ENGINES):
        raise UserError(
            f"No engine {engine!r}: give {' or '.join(ENGINES)}, as an argument or in {VARIABLE}."
        )
    if precision != "float32" and engine == "keras":
        raise UserError(f"Keras answers in float32: {precision} needs the engine openvino.")
    if engine is None and precision == "float32":
        return "openvino" if count >= MIN_FOR_OPENVINO and _is_faster() else "keras"
    if engine != "keras":
        _check_openvino(precision)
        return "openvino"
    return engine


def _is_faster():
    if importlib.util.find_spec("openvino") is None or keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def _check_openvino(precision):
    if importlib.util.find_spec("openvino") is None:
        raise UserError(f"OpenVINO is not installed: run\n  {INSTALL}")
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"OpenVINO is given networks by TensorFlow, and Keras runs on "
            f"{keras.backend.backend()}: set KERAS_BACKEND=tensorflow, or leave the engine out."
        )
    if precision == "bfloat16" and "BF16" not in _capabilities():
        raise UserError("This processor does not calculate in bfloat16: leave the precision out.")


def _capabilities():
    return _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _keras(model):
    """Return a function from batches to Keras' own answers."""
    # Keras keeps the graph that it once traced, with the activations of that time.
    kept(model, "traced", lambda: model.make_predict_function(force=True) is not None)

    def answer(batches):
        found, size = [np.empty((0, *model.output_shape[1:]), np.float32)], None
        for batch in batches:
            size = size or len(batch)
            logits = model.predict_on_batch(_filled(batch, size))
            found.append(np.asarray(logits, dtype=np.float32)[: len(batch)])
        return np.concatenate(found)

    return answer


def _filled(batch, size):
    """Fill a short batch up: for a new shape a backend would prepare the network again."""
    missing = size - len(batch)
    return np.concatenate([batch, np.repeat(batch[:1], missing, 0)]) if missing > 0 else batch


def _network(model, shape, batch_size, precision):
    """Return the converted network for batches of a size; None if it cannot be converted."""
    with _lock:
        known, now, digest = _converted.get(model), parts(model), weights_digest(model)
        if known is None or not known.fits(now, digest, shape):
            known = _converted[model] = _Converted(now, digest, shape)
            known.convert(model)
        if known.reason is None:
            return known.network(batch_size, precision)
    if model not in _told:
        _told.add(model)
        warnings.warn(
            f"OpenVINO cannot stand in for this model, so Keras answers: {known.reason}",
            stacklevel=3,
        )
    return None


def weights_digest(model):
    """Return a short text that is the same for the same weights."""
    return runs.digest(model.get_weights())


class _Converted:
    """A model as OpenVINO has it, and why not if it has not."""

    def __init__(self, made_of, digest, shape):
        self._has_parts = remember(made_of)
        self._digest, self._shape = digest, shape
        self._networks, self._model, self.reason = {}, None, None

    def fits(self, made_of, digest, shape):
        """Tell whether it was made of these parts, weights and sizes of pictures."""
        return (digest, shape) == (self._digest, self._shape) and self._has_parts(made_of)

    def convert(self, model):
        """Convert the model, and compare its answers with Keras' own on two pictures of noise."""
        import tensorflow as tf

        noise = np.random.default_rng(0).uniform(-1, 1, (2, *self._shape)).astype(np.float32)
        try:
            function = tf.function(
                lambda images: model(images, training=False),
                input_signature=[tf.TensorSpec((None, *self._shape), tf.float32)],
                autograph=False,
            ).get_concrete_function()
            with _unreported():
                self._model = _openvino().convert_model(function)
            found = self.network(len(noise), "float32")([noise])
        except Exception as error:  # a converter may fail in any way, and Keras does not
            self.reason = str(error).strip().split("\n")[0] or type(error).__name__
        else:
            wanted = np.asarray(function(tf.constant(noise)), np.float32)
            apart = np.abs(found - wanted).max() / max(1, np.abs(wanted).max())
            if not apart <= TOLERANCE:
                self.reason = f"its answers would be {apart:.1g} apart from Keras' own."
        self._networks.clear()
        if self.reason is not None:
            self._model = None

    def network(self, batch_size, precision):
        """Return the compiled network for batches of a size, made or kept from before."""
        key = batch_size, precision
        if key not in self._networks:
            while len(self._networks) >= _KEPT_NETWORKS:
                self._networks.pop(next(iter(self._networks)))
            self._networks[key] = _Network(self._model, (batch_size, *self._shape), precision)
        return self._networks[key]


class _Network:
    """A compiled network with as many requests in flight as keep the cores busy."""

    def __init__(self, model, shape, precision):
        from joblib import cpu_count  # Keras needs no count

        cores = cpu_count()
        streams = min(cores, _MOST_STREAMS)
        model = model.clone()
        model.reshape(list(shape))
        compiled = _core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
                "INFERENCE_NUM_THREADS": cores,
                "NUM_STREAMS": streams,
                # Two processes would be held to the same cores.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._size, self._queue = shape[0], _openvino().AsyncInferQueue(compiled, streams)
        self._outputs = tuple(compiled.outputs[0].get_partial_shape().to_shape()[1:])
        self._lock = threading.Lock()

    def __call__(self, batches):
        """Return the logits of batches of pictures; see `Forward`."""
        answers = [np.empty((0, *self._outputs), np.float32)]

        def keep(request, place):
            number, count = place
            answers[number] = request.get_output_tensor(0).data[:count].astype(np.float32)

        with self._lock:
            self._queue.set_callback(keep)
            try:
                for batch in batches:
                    answers.append(None)
                    filled = np.ascontiguousarray(_filled(batch, self._size), np.float32)
                    self._queue.start_async({0: filled}, (len(answers) - 1, len(batch)))
            finally:
                self._queue.wait_all()
        return np.concatenate(answers)


@cache
def _core():
    return _openvino().Core()


def _openvino():
    """Import OpenVINO without its reports."""
    with _unreported():
        import openvino
    return openvino


@contextmanager
def _unreported():
    """Keep OpenVINO's converter from reporting to its makers that and how it is used.

    When it is imported and for each conversion, it sends an event over the network, and it writes a
    number that the user is known by to the home folder, unless the user has objected before. Videos
    that are looked at here may be anybody's secret. Where its library for that cannot be imported,
    the converter takes a stub without effect; that stub it gets.
    """
    loaded = {name: module for name, module in sys.modules.items() if _reports(name, module)}
    before = {name: module.tm for name, module in loaded.items()}
    absent = object()
    library = sys.modules.get(_LIBRARY, absent)
    sys.modules[_LIBRARY] = None
    try:
        for module in loaded.values():  # imported by somebody else, with its reports
            from openvino.tools.ovc import telemetry_stub

            module.tm = telemetry_stub
        yield
    finally:
        if library is absent:
            del sys.modules[_LIBRARY]
        else:
            sys.modules[_LIBRARY] = library
        for name, module in loaded.items():
            module.tm = before[name]


def _reports(name, module):
    return name.startswith("openvino.tools.ovc") and hasattr(module, "tm")
