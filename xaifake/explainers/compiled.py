"""Questions answered by a compiled graph where there are many pictures (chapters 05 and 07).

Eagerly, Python starts each of the network's operations anew for each batch. A graph, a
`tf.function`, is traced once for a model, which takes as long as some ten batches, and then answers
in less time. A graph fuses operations, so its last digits differ from those of an eager answer.
"""

import weakref

import tensorflow as tf

from xaifake.detector.forward import parts, remember

# From so many pictures on a graph is used. It depends on the call alone and not on what was asked
# before, so that the same call gives the same bytes each time.
ENOUGH = 32
_graphs = weakref.WeakKeyDictionary()


def answers(function, question, count, model=None):
    """Return a function of a question's model as a function of pictures alone.

    Parameters
    ----------
    function : callable
        From (model, images, index, sign), with images a tensor (B, H, W, C) and the rest as in
        `Question`, to tensors. Defined once, in a module: its graphs are kept by it.
    question : Question
    count : int
        How many pictures will be given in all; from `ENOUGH` on a graph is used, unless the model
        is set to `run_eagerly`.
    model : keras.Model, optional
        What the function gets for its model; the question's own if not given.

    Returns
    -------
    callable
        From float32 (B, H, W, C) to the function's tensors. Weights that change between calls are
        seen, as are layers and activations that are replaced before this call.
    """
    model = question.model if model is None else model
    if count < ENOUGH or question.model.run_eagerly or tf.config.functions_run_eagerly():
        return lambda images: function(
            model, tf.convert_to_tensor(images), question.index, question.sign
        )
    graph = _graph(function, model, question.images.shape[1:])
    index, sign = tf.constant(question.index), tf.constant(question.sign, tf.float32)
    return lambda images: graph(images, index, sign)


def _graph(function, model, shape):
    """Return the graph of a function of a model, traced when it is first called."""
    kept, key, now = _graphs.setdefault(model, {}), (function, tuple(shape)), parts(model)
    if key not in kept or not kept[key][0](now):
        reference = weakref.ref(model)  # what is kept must not keep the model
        specs = (tf.TensorSpec((None, *shape)), tf.TensorSpec((), tf.int32), tf.TensorSpec(()))
        # Without autograph, which would read all of the layers' code for loops that depend on
        # tensors: a model built of layers has none.
        graph = tf.function(
            lambda *given: function(reference(), *given), input_signature=specs, autograph=False
        )
        kept[key] = remember(now), graph
    return kept[key][1]
