"""iNNvestigate in a process of its own; `xaifake.explainers.innvestigate` speaks to it.

The package knows neither Keras 3 nor eager execution. It needs tf_keras in the place of
``tf.keras``, which an environment variable decides once for a whole process, and it needs a graph.
In its own process it can have both, and the caller's TensorFlow stays as it is.

Run as a program it reads pickled requests (function, arguments) from standard input and writes
pickled answers (kind, value) to standard output until its input ends.
"""

import logging
import os
import pickle
import sys
import traceback
import warnings
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

# A model of Xception's size takes 100 MB here, and each of its analyzers nearly a GB.
KEPT_MODELS = 2
KEPT_ANALYZERS = 4

_models = OrderedDict()
_analyzers = OrderedDict()
built = 0  # analyzers so far


class CannotRun(Exception):
    """What iNNvestigate says when it cannot analyze a model."""


@dataclass
class _Analyzer:
    graph: object
    session: object
    analyzer: object


def knows(fingerprint):
    """Tell whether a model is here."""
    return fingerprint in _models


def put(fingerprint, layers):
    """Keep a model's description: a list of (class, config, inputs, weights)."""
    _models[fingerprint] = layers
    while len(_models) > KEPT_MODELS:
        _models.popitem(last=False)


def state():
    """Return the names of iNNvestigate's methods, and how many analyzers were built."""
    _prepare()
    import innvestigate

    return list(innvestigate.analyzer.analyzers), built


def analyze(fingerprint, method, options, images, index, anew=False):
    """Run one method on some pictures, with its analyzer built anew or kept from before.

    Returns
    -------
    numpy.ndarray of float32, the shape of `images`

    Raises
    ------
    CannotRun
        If iNNvestigate does not take the model or an option.
    """
    key = fingerprint, method, pickle.dumps(sorted(options.items()))
    _models.move_to_end(fingerprint)
    if anew:
        _drop(key)
    if key not in _analyzers:
        _analyzers[key] = _build(_models[fingerprint], method, options)
        while len(_analyzers) > KEPT_ANALYZERS:
            _drop(next(iter(_analyzers)))
    _analyzers.move_to_end(key)
    this = _analyzers[key]
    with this.graph.as_default(), this.session.as_default(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answer = this.analyzer.analyze(images, neuron_selection=index)
        except Exception as error:
            _drop(key)
            raise CannotRun(f"{type(error).__name__}: {error}") from None
    return np.asarray(answer, dtype=np.float32)


def _drop(key):
    if key in _analyzers:
        _analyzers.pop(key).session.close()


def _build(layers, method, options):
    """Build a model and its analyzer in a graph of their own."""
    global built
    tf = _prepare()
    import innvestigate

    built += 1
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    with graph.as_default(), session.as_default(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tf.compat.v1.keras.backend.set_session(session)
        tf.compat.v1.set_random_seed(options.get("seed", 0))
        options = {name: value for name, value in options.items() if name != "seed"}
        model = _build_model(layers)
        try:
            analyzer = innvestigate.create_analyzer(
                method, model, neuron_selection_mode="index", **options
            )
        except Exception as error:
            session.close()
            raise CannotRun(f"{type(error).__name__}: {error}") from None
    return _Analyzer(graph, session, analyzer)


def _prepare():
    import tensorflow as tf
    from tf_keras.src.engine import base_layer_utils

    tf.get_logger().setLevel(logging.ERROR)
    # Otherwise tf_keras evaluates constants in a session for each backward operation and extends
    # the graph again: for Xception quarters of an hour instead of half a minute.
    base_layer_utils._UNSAFE_GRAPH_OP_LAYER_CREATION = True
    return tf


def _build_model(layers):
    """Build the tf_keras model from its description and give it its weights."""
    import tf_keras

    tensors, values = {}, []
    for kind, config, inputs, weights in layers:
        name = config["name"]
        # iNNvestigate adds layers of its own, with Keras' usual names such as "add".
        config = config | {"name": f"given_{name}"}
        if kind == "InputLayer":
            tensors[name] = first = tf_keras.Input(**config)
            continue
        layer = getattr(tf_keras.layers, kind)(**config)
        sources = [tensors[source] for source in inputs]
        tensors[name] = last = layer(sources if len(sources) > 1 else sources[0])
        values += zip(layer.weights, weights, strict=True)
    # All at once: each layer's own set_weights would extend the session's graph again.
    tf_keras.backend.batch_set_value(values)
    return tf_keras.Model(first, last)


def serve(requests, answers):
    """Answer requests until there are no more."""
    functions = {function.__name__: function for function in (knows, put, state, analyze)}
    while True:
        try:
            name, arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            answer = "done", functions[name](*arguments)
        except CannotRun as error:
            answer = "refused", str(error)
        except Exception:
            answer = "failed", traceback.format_exc()
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    # Whatever else is printed must not mix with the answers.
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve(sys.stdin.buffer, private)
