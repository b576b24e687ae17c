"""The paper's own library, iNNvestigate, on today's TensorFlow (chapter 08_auditing).

iNNvestigate 2.1.2 (Alber et al. 2019) was written for the Keras inside TensorFlow 1 and 2.6 to
2.14, and for graphs without eager execution. It runs in a worker process that has both; weights
travel to it from the Keras 3 model, maps travel back, and nothing changes in the caller's process.

Its rules are what the paper shows, not what is right: on separable convolutions the alpha-beta
rules split each kernel by its sign instead of the product of both, they count a bias in both parts,
and since version 2.0 batch norm is replaced by another map. `xaifake.explainers.lrp` has it right.
"""

import atexit
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from xaifake.detector.graph import nodes
from xaifake.errors import UserError
from xaifake.explainers.request import batches
from xaifake.progress import progress_bar
from xaifake.runs import digest

METHODS = (
    *("gradient", "gradient.baseline", "input_t_gradient", "deconvnet", "guided_backprop"),
    *("integrated_gradients", "smoothgrad", "lrp", "lrp.z", "lrp.epsilon", "lrp.w_square"),
    *("lrp.flat", "lrp.alpha_beta", "lrp.alpha_2_beta_1", "lrp.alpha_2_beta_1_IB"),
    *("lrp.alpha_1_beta_0", "lrp.alpha_1_beta_0_IB", "lrp.z_plus", "lrp.z_plus_fast"),
    *("lrp.sequential_preset_a", "lrp.sequential_preset_b", "lrp.sequential_preset_a_flat"),
    *("lrp.sequential_preset_b_flat", "lrp.sequential_preset_b_flat_until_idx"),
    *("deep_taylor", "deep_taylor.bounded"),
)
# These take 64 variants of each picture through the network at once.
REPEATING = ("integrated_gradients", "smoothgrad")
ENVIRONMENT = {
    "TF_USE_LEGACY_KERAS": "1",  # tf.keras becomes tf_keras, in the worker alone
    "CUDA_VISIBLE_DEVICES": "-1",  # the caller's TensorFlow has taken the GPU's memory already
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
WORKER = Path(__file__).with_name("innvestigate_worker.py")
INSTALL = "python -m pip install --no-deps --ignore-requires-python innvestigate==2.1.2"
# What iNNvestigate knows, and by which settings; the rest of a layer's settings does not matter
# for an answer. (It refuses the layer ReLU, but not an activation relu.)
_SIZES = ("pool_size", "strides", "padding")
_CONVOLUTION = ("kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias")
_SETTINGS = {
    "Activation": ("activation",),
    "Add": (),
    "AveragePooling2D": _SIZES,
    "BatchNormalization": ("axis", "epsilon", "center", "scale"),
    "Concatenate": ("axis",),
    "Conv2D": ("filters", "groups", *_CONVOLUTION),
    "Dense": ("units", "activation", "use_bias"),
    "DepthwiseConv2D": ("depth_multiplier", *_CONVOLUTION),
    "Dropout": ("rate",),
    "Flatten": (),
    "GlobalAveragePooling2D": ("keepdims",),
    "MaxPooling2D": _SIZES,
    "SeparableConv2D": ("filters", "depth_multiplier", *_CONVOLUTION),
    "ZeroPadding2D": ("padding",),
}
_NEW_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # Windows
_lock = threading.Lock()
_worker = None


def missing():
    """Return which of the packages that this engine needs are not installed: list of str."""
    return [name for name in ("innvestigate", "tf_keras") if not importlib.util.find_spec(name)]


def _install(package):
    if package == "innvestigate":
        return INSTALL
    fitting = ".".join(tf.__version__.split(".")[:2])  # another would replace TensorFlow
    return f'python -m pip install "{package}=={fitting}.*"'


class Refused(UserError):
    """iNNvestigate does not take a model or an option."""


def explain_innvestigate(request, method, batch_size=16, progress=True, **options):
    """Run one of iNNvestigate's methods.

    The first map of a method takes the time that building its graph takes: for Xception 10 to 20
    seconds. The last four analyzers, of the last two models, are kept for further calls. They run
    on the CPU, whatever the caller's network runs on.

    Parameters
    ----------
    request : Request
    method : str
        One of `METHODS`.
    batch_size : int
        Pictures at a time; `REPEATING` methods take one at a time.
    progress : bool
        Show a progress bar if it takes more than some seconds.
    **options
        iNNvestigate's own, such as ``epsilon=1e-2``, ``alpha=3, beta=2``, ``steps=128`` or
        ``rule="Z"``; names, numbers, arrays and tuples of them. ``seed`` (0) is that of
        ``smoothgrad``, whose noise depends on a picture's place in the batch and has a standard
        deviation of 1, in the model's range, whatever its ``noise_scale`` says.

    Returns
    -------
    relevance : numpy.ndarray of float32, (N, H, W, C)
    report : dict of str to array
        `logit` of the class asked for.

    Raises
    ------
    Refused
        If iNNvestigate does not take this model, method or option.
    UserError
        If it or tf_keras is not installed, its process ends, or its numbers grow beyond what
        float32 holds.
    RuntimeError
        If its process fails in another way.
    """
    if "noise_scale" in options:
        raise Refused("iNNvestigate's smoothgrad passes noise_scale over; its noise is 1 always.")
    layers = describe(request)
    name = digest(layers)
    answers, logits = [], []
    if method in REPEATING:
        batch_size = 1
    starts = batches(len(request.images), batch_size)
    for first in progress_bar(starts, show=progress, delay=3, unit="batch", desc=method):
        images = request.images[first : first + batch_size]
        anew = method == "smoothgrad" and first == 0  # so that its noise starts from the seed
        with _lock:
            if not _call("knows", name):
                _call("put", name, layers)
            answers.append(_call("analyze", name, method, options, images, request.index, anew))
        if not np.isfinite(answers[-1]).all():
            raise UserError(f"The numbers of {method} grow beyond float32 on this model.")
        logits.append(request.logit(images).numpy())
    return np.concatenate(answers), {"logit": np.concatenate(logits)}


def describe(request):
    """Describe a model as the worker builds it.

    Parameters
    ----------
    request : Request
        The negative logit is asked for by a last layer with negated weights.

    Returns
    -------
    list of (str, dict, list of str, list of numpy.ndarray)
        Class, settings, names of the inputs, and weights of each layer.

    Raises
    ------
    UserError
        If the model has layers that iNNvestigate does not know.
    """
    found = []
    for node in nodes(request.model):
        kind, config = _describe_layer(node.layer)
        weights = [np.asarray(weight, dtype=np.float32) for weight in node.layer.get_weights()]
        # A layer that is called twice becomes two with the same weights.
        found.append((kind, config | {"name": node.name}, node.inputs, weights))
    return _negate(found) if request.sign < 0 else found


def _negate(layers):
    """Give the last layer with weights, behind which nothing but its sum may follow, the others."""
    for number, (kind, config, inputs, weights) in reversed(list(enumerate(layers))):
        if kind == "Dense" and config["activation"] == "linear":
            negated = kind, config, inputs, [-weight for weight in weights]
            return [*layers[:number], negated, *layers[number + 1 :]]
        if kind not in ("Flatten", "Dropout") and config.get("activation") != "linear":
            break
    raise UserError(
        "iNNvestigate can explain 'real' only of a model that ends in a Dense layer, and this one "
        f"ends in {layers[-1][0]}: explain 'fake'."
    )


def _describe_layer(layer):
    if isinstance(layer, keras.layers.InputLayer):
        return "InputLayer", {"name": layer.name, "shape": layer.batch_shape[1:]}
    config, kind = layer.get_config(), type(layer).__name__
    plain = not (config.get("negative_slope") or config.get("threshold"))
    if kind == "ReLU" and config["max_value"] is None and plain:
        return "Activation", {"name": layer.name, "activation": "relu"}
    if kind not in _SETTINGS or not type(layer).__module__.startswith("keras."):
        raise UserError(
            f"iNNvestigate has no {kind} like the layer {layer.name!r}. It takes "
            f"{', '.join(_SETTINGS)} and plain ReLU."
        )
    if config.get("data_format", "channels_last") != "channels_last":
        raise UserError(f"The layer {layer.name!r} has its channels first: build them last.")
    settings = {name: config[name] for name in _SETTINGS[kind] if name in config}
    if not isinstance(settings.get("activation", ""), str):
        raise UserError(f"iNNvestigate does not know the activation of the layer {layer.name!r}.")
    return kind, {"name": layer.name, **settings}


def _call(function, *arguments):
    """Run one of the worker's functions; the process is started when it is first needed."""
    global _worker
    if absent := missing():
        raise UserError(
            f"engine='innvestigate' needs what is not installed, {' and '.join(absent)}: run\n  "
            + "\n  ".join(map(_install, absent))
        )
    if _worker is None or not _worker.is_usable():
        _stop()
        _worker = _Worker()
    try:
        kind, value = _worker.ask(function, arguments)
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        said = _worker.last_words()
        _stop()
        raise UserError(
            "The process with iNNvestigate has ended, perhaps for want of memory (Xception needs "
            f"2 to 6 GB there): call again with a smaller batch_size. {said}"
        ) from error
    except BaseException:  # interrupted: the answer to this request must not meet the next one
        _stop()
        raise
    if kind == "refused":
        method, options = arguments[1:3]
        given = f" with {', '.join(options)}" if options else ""
        raise Refused(f"iNNvestigate cannot run {method}{given} on this model. It says: {value}")
    if kind == "failed":
        raise RuntimeError(f"The process with iNNvestigate failed:\n{value}")
    return value


class _Worker:
    """The process, and the two pipes to it."""

    def __init__(self):
        self.owner = os.getpid()
        self.errors = tempfile.TemporaryFile()
        # -P: otherwise this folder's innvestigate.py would hide the package of that name.
        self.process = subprocess.Popen(
            [sys.executable, "-P", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | ENVIRONMENT,
            # An interrupt in a notebook is for the notebook alone.
            start_new_session=True,
            creationflags=_NEW_GROUP,
        )

    def is_usable(self):
        """Whether the process lives and belongs to this one, not to one it was forked from."""
        return self.owner == os.getpid() and self.process.poll() is None

    def ask(self, function, arguments):
        """Send a request and wait for its answer."""
        pickle.dump((function, arguments), self.process.stdin, pickle.HIGHEST_PROTOCOL)
        self.process.stdin.flush()
        return pickle.load(self.process.stdout)

    def last_words(self):
        """Return the last line that the process wrote to its error output."""
        self.process.wait(timeout=30)
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")

    def stop(self):
        """End the process and close the pipes."""
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            with suppress(OSError):
                pipe.close()


@atexit.register
def _stop():
    """End the worker, if there is one."""
    global _worker
    if _worker is not None:
        _worker.stop()
        _worker = None
