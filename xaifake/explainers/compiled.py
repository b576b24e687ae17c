"""Functions of a network, compiled to a graph once (chapters 06_lime and 09_gradients).

Eagerly, Python starts each of the network's operations anew for each batch. A graph, a
`tf.function`, is traced once for a model, which takes about a second for Xception, and then answers
in a half to a quarter of the time.
"""

import weakref

import tensorflow as tf

from xaifake.detector.graph import kept


def compile_function(function, request, model=None):
    """Return a function of a request's model as a function of pictures alone.

    Parameters
    ----------
    function : callable
        From (model, images, index, sign), with images a tensor (B, H, W, C) and the rest as in
        `Request`, to tensors. Defined once, in a module: its graphs are kept by it.
    request : Request
    model : keras.Model, optional
        What the function gets for its model; the request's own if not given.

    Returns
    -------
    callable
        From float32 (B, H, W, C) to the function's tensors. Weights that change between calls are
        seen, as are layers and activations that are replaced before this call.
    """
    model = request.model if model is None else model
    shape = request.images.shape[1:]
    graph = kept(model, (function, shape), lambda: _graph(function, model, shape))
    index, sign = tf.constant(request.index), tf.constant(request.sign, tf.float32)
    return lambda images: graph(tf.convert_to_tensor(images), index, sign)


def _graph(function, model, shape):
    reference = weakref.ref(model)  # what is kept must not keep the model
    specs = (tf.TensorSpec((None, *shape)), tf.TensorSpec((), tf.int32), tf.TensorSpec(()))
    # Without autograph, which would read all of the layers' code for loops that depend on tensors:
    # a model built of layers has none.
    graph = tf.function(
        lambda *given: function(reference(), *given), input_signature=specs, autograph=False
    )
    # Traced here, once: TensorFlow warns of functions of one name that are traced when called. It
    # runs as a graph even where functions are set to run eagerly.
    return graph.get_concrete_function()
