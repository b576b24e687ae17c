import keras
import numpy as np
import pytest
import tensorflow as tf

from xaifake.detector.devices import Devices
from xaifake.detector.fused import FusedAdam, FusedBatchNormalization, with_fused_batch_norms
from xaifake.detector.training import model_to_fit
from xaifake.detector.xception import batch_norms, build_xception


def normalised(x, gamma, beta, epsilon):
    """Batch norm in float64, by its definition: outputs, mean and variance over n places."""
    mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta, mean, variance


def derivative(function, value, step=1e-6):
    """The derivative of a number by each element of an array, by central differences."""
    result = np.empty_like(value)
    for place in np.ndindex(value.shape):
        moved = [value.copy(), value.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        result[place] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return result


@pytest.mark.parametrize("channels", [5, 16])
def test_fused_batch_norm_and_its_gradient_are_batch_norms_by_definition(channels):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(3, 2, (2, 2, 3, 3, channels))
    gamma, beta = rng.normal(1, 0.5, (2, channels))
    layer = FusedBatchNormalization(momentum=0.9)
    layer.build(x.shape)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    inputs = tf.constant(x, "float32")
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        total = tf.reduce_sum(outputs * weights.astype(np.float32))
    expected, mean, variance = normalised(x, gamma, beta, layer.epsilon)
    assert np.allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    # 18 places: the variance by n - 1 would be 6 % larger.
    assert np.allclose(layer.moving_mean, 0.1 * mean, rtol=1e-5)
    assert np.allclose(layer.moving_variance, 0.9 + 0.1 * variance, rtol=1e-5)
    found = tape.gradient(total, [inputs, layer.gamma.value, layer.beta.value])
    for one, at, place in zip(found, (x, gamma, beta), range(3), strict=True):

        def value(moved, place=place):
            arguments = [x, gamma, beta]
            arguments[place] = moved
            return (normalised(*arguments, layer.epsilon)[0] * weights).sum()

        assert np.allclose(one, derivative(value, at), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("channels", [24, 32])
@pytest.mark.parametrize("training", [True, False])
def test_fused_batch_norm_is_keras_in_every_precision(precision, channels, training):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(1, 2, (2, 4, 9, 9, channels)).astype(np.float32)
    # A unit in the last place of 16 bits may be rounded to either side.
    unit = {"float32": 1e-5, "mixed_bfloat16": 2**-7, "mixed_float16": 2**-10}[precision]
    found = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = kind(momentum=0.9, dtype=precision)
        inputs = tf.cast(x, layer.compute_dtype)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
            total = tf.reduce_sum(tf.cast(outputs, "float32") * weights)
        assert outputs.dtype == layer.compute_dtype
        gradients = tape.gradient(total, [inputs, layer.gamma.value, layer.beta.value])
        assert gradients[0].dtype == layer.compute_dtype
        found.append([tf.cast(one, "float32") for one in (outputs, *gradients)] + layer.weights)
    for one, other in zip(*found, strict=True):
        assert np.allclose(one, other, rtol=unit, atol=unit * np.abs(other).max())
    # The statistics are float32 in every precision.
    for one, other in zip(found[0][-2:], found[1][-2:], strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_fused_adam_takes_the_steps_of_the_paper():
    """Kingma and Ba 2015, algorithm 1 in the order of section 2's end, in float64."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 4)), rng.normal(size=(5, 3, 4))
    variable = keras.Variable(start.astype(np.float32))
    optimizer = FusedAdam(keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5))
    optimizer.build([variable])
    value, m, v = start.copy(), 0.0, 0.0
    for number, gradient in enumerate(gradients):
        optimizer.apply([tf.constant(gradient, "float32")], [variable])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        correction = np.sqrt(1 - 0.999 ** (number + 1)) / (1 - 0.9 ** (number + 1))
        value -= 0.1 * 0.5**number * correction * m / (np.sqrt(v) + 1e-7)
        assert np.allclose(variable, value, rtol=1e-5, atol=1e-6)
    assert int(optimizer.iterations) == 5


@pytest.fixture(scope="module")
def pair():
    """Xception, and its fused copy."""
    plain = build_xception(71)
    return plain, with_fused_batch_norms(plain)


def test_the_fused_copy_is_xception_with_the_same_weights_in_the_same_order(pair):
    plain, fused = pair
    assert [one.name for one in fused.layers[1:]] == [one.name for one in plain.layers[1:]]
    assert {type(layer) for layer in batch_norms(fused)} == {FusedBatchNormalization}
    assert {layer.momentum for layer in batch_norms(fused)} == {0.9}
    for one, other in zip(fused.weights, plain.weights, strict=True):
        assert one.path.split("/")[-1] == other.path.split("/")[-1]
        assert one.trainable == other.trainable and np.array_equal(one, other)
    kinds = {type(layer) for layer in plain.layers}
    assert FusedBatchNormalization not in kinds


def test_the_fused_copy_calculates_in_another_precision_but_for_its_ends(pair):
    copy = with_fused_batch_norms(pair[0], "mixed_bfloat16")
    kinds = [layer.compute_dtype for layer in copy.layers]
    assert set(kinds[1:-1]) == {"bfloat16"} and {kinds[0], kinds[-1]} == {"float32"}
    assert all(np.array_equal(*two) for two in zip(copy.weights, pair[0].weights, strict=True))


def outputs_and_gradients(model, images, labels, kind):
    """Return the logits, and the gradients of the loss by all weights, as one float64 array."""
    with tf.GradientTape() as tape:
        logits = model(tf.constant(images, kind), training=True)
        loss = keras.losses.BinaryCrossentropy(from_logits=True, dtype=kind)(labels, logits)
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    return logits, np.concatenate([np.ravel(one).astype(np.float64) for one in gradients])


def test_the_fused_copy_has_xceptions_outputs_and_gradients(pair):
    """Rounding alone moves the gradients of 40 batch norms and kinks: float64 says how far."""
    plain, fused = pair
    exact = build_xception(71, precision="float64")
    exact.set_weights(plain.get_weights())
    images = np.random.default_rng(0).uniform(-1, 1, (8, 71, 71, 3))
    labels = np.arange(8)[:, None] % 2
    logits, truth = outputs_and_gradients(exact, images, labels, "float64")
    errors = []
    for model in (plain, fused):
        found, gradients = outputs_and_gradients(model, images, labels, "float32")
        assert np.allclose(found, logits, rtol=1e-5, atol=1e-5)
        errors.append(np.linalg.norm(gradients - truth) / np.linalg.norm(truth))
    assert errors[1] < 2 * errors[0] and errors[0] < 0.02


def test_one_processor_under_tensorflow_gets_the_fused_copy_and_others_do_not():
    """And a checkpoint of either goes on with the other: the same variables in the same order."""
    devices = Devices()
    assert devices.fused
    checkpoints = []
    for fused in (True, False):
        devices.fused = fused
        network, model = model_to_fit(build_xception(71), (80, 80, 3), 1e-3, "float32", devices)
        kind = FusedBatchNormalization if fused else keras.layers.BatchNormalization
        assert {type(layer) for layer in batch_norms(network)} == {kind}
        assert isinstance(model.optimizer, FusedAdam) == fused
        model.optimizer.build(model.trainable_variables)
        assert len(model.optimizer.variables) == 2 + 2 * 156
        variables = [*model.variables, *model.optimizer.variables]
        # Keras numbers the layers of each model anew, so only the ends of names agree.
        ends = [one.name.split("_")[-2:] for one in variables if one.shape]
        checkpoints.append((ends, [(one.shape, one.dtype) for one in variables]))
    assert checkpoints[0] == checkpoints[1]
