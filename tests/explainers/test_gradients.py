"""The gradient's maps are those of a pen, of other code, and of the formulas they come from."""

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from small import (
    METHODS,
    SIZE,
    chain,
    detector,
    draw_weights,
    fingerprints,
    floats,
    logits,
    pictures,
    run_explain,
)
from xaifake.errors import UserError

SCRIPT = Path(__file__).parents[1] / "small.py"
layers = keras.layers


def two_layers():
    """A picture of one pixel, three hidden units, one logit: small enough for a pen.

    The pixel (0.5, -1, 1) gives the sums 1.5, 0.5 and -1, so that the third ReLU is closed, and
    the logit 2 * 1.5 - 1 * 0.5 = 2.5.
    """
    model = chain(layers.Flatten(), layers.Dense(3, activation="relu"), layers.Dense(1), size=1)
    hidden = np.array([[1, 3, 0], [0, 1, -1], [1, 0, -2]])
    model.set_weights([hidden, np.zeros(3), np.array([[2], [-1], [5]]), np.zeros(1)])
    return model, np.array([[[[0.5, -1, 1]]]], dtype=np.float32)


def answer(model, images, method, **options):
    return run_explain(model, images, method, progress=False, **options)


def test_the_gradient_by_hand():
    model, pixel = two_layers()
    relevance = answer(model, pixel, "gradient")
    # 2 * (1, 0, 1) - 1 * (3, 1, 0)
    assert relevance.ravel().tolist() == [-1, -1, 2]
    assert answer(model, pixel, "gradient", target="real").ravel().tolist() == [1, 1, -2]


def test_picture_times_gradient_by_hand():
    model, pixel = two_layers()
    relevance, report = answer(model, pixel, "input_t_gradient", return_report=True)
    assert relevance.ravel().tolist() == [-0.5, 1, 2]
    assert report["sum"].item() == report["logit"].item() == 2.5


def test_guided_backprop_by_hand():
    model, pixel = two_layers()
    # The second unit is open, and -1 flows back to it: cut off. The third is closed.
    assert answer(model, pixel, "guided_backprop").ravel().tolist() == [2, 0, 2]
    # Of -2, 1 and -5 only the 1 is left: not the opposite of the map before.
    real = answer(model, pixel, "guided_backprop", target="real")
    assert real.ravel().tolist() == [3, 1, 0]


RELUS = {
    "activation": lambda units: [layers.Dense(units, activation="relu")],
    "Activation": lambda units: [layers.Dense(units), layers.Activation("relu")],
    "ReLU": lambda units: [layers.Dense(units), layers.ReLU()],
    "relu6": lambda units: [layers.Dense(units, activation="relu6")],
}


@pytest.mark.parametrize("kind", RELUS)
def test_three_layers_agree_with_a_backward_pass_in_numpy(kind):
    relu = RELUS[kind]
    model = draw_weights(chain(layers.Flatten(), *relu(9), *relu(7), layers.Dense(3), size=4))
    images = floats(3, size=4)
    w1, b1, w2, b2, w3, _ = model.get_weights()
    flat = images.reshape(3, -1)
    top = 6 if kind == "relu6" else np.inf
    z1 = flat @ w1 + b1
    z2 = np.clip(z1, 0, top) @ w2 + b2
    open1, open2 = (z1 > 0) & (z1 < top), (z2 > 0) & (z2 < top)
    back = np.tile(w3[:, 1], (3, 1))
    gradient = (back * open2) @ w2.T * open1 @ w1.T
    guided = (np.maximum((np.maximum(back, 0) * open2) @ w2.T, 0) * open1) @ w1.T
    assert not np.allclose(gradient, guided, atol=0.1)
    relevance = answer(model, images, "gradient", target=1).reshape(3, -1)
    assert np.allclose(relevance, gradient, atol=1e-4)
    relevance = answer(model, images, "guided_backprop", target=1).reshape(3, -1)
    assert np.allclose(relevance, guided, atol=1e-4)


def test_the_gradient_of_the_small_detector_agrees_with_differences():
    # In a piecewise linear network a small step shows the slope, but for a step over a kink.
    model, images, step = detector(), floats(1), 1e-2
    relevance = answer(model, images, "gradient")[0].ravel()
    steps = (step * np.eye(relevance.size)).reshape(-1, *images.shape[1:])
    ahead, behind = (logits(model, images + sign * steps)[:, 0] for sign in (1, -1))
    differences = (ahead - behind) / (2 * step)
    off = np.abs(differences - relevance) / np.abs(relevance).max()
    assert np.median(off) < 1e-3 and np.mean(off < 0.01) > 0.8


UNBIASED = chain(
    layers.Conv2D(5, 3, use_bias=False, activation="relu"),
    layers.MaxPooling2D(2),
    layers.Conv2D(4, 3, use_bias=False),
    layers.ReLU(),
    layers.Flatten(),
    layers.Dense(1, use_bias=False),
)


@given(st.integers(0, 10_000))
@settings(max_examples=15)
def test_picture_times_gradient_of_a_network_without_biases_sums_to_the_logit(seed):
    draw_weights(UNBIASED, seed)
    images = floats(2, seed=seed)
    relevance, report = answer(UNBIASED, images, "input_t_gradient", return_report=True)
    size = np.abs(relevance).sum(axis=(1, 2, 3))
    assert (np.abs(report["sum"] - report["logit"]) <= 1e-5 * size + 1e-7).all()
    assert np.allclose(report["logit"], logits(UNBIASED, images)[:, 0], rtol=1e-5, atol=1e-7)


def linear():
    return draw_weights(chain(layers.Flatten(), layers.Dense(1)))


@pytest.mark.parametrize("steps", [1, 3, 64])
def test_integrated_gradients_of_a_linear_model_are_exact(steps):
    model, images = linear(), floats(3)
    slope = model.get_weights()[0].reshape(1, SIZE, SIZE, 3)
    relevance, report = answer(
        model, images, "integrated_gradients", steps=steps, return_report=True
    )
    assert np.allclose(relevance, images * slope, rtol=1e-5, atol=1e-7)
    bias = model.get_weights()[1].item()
    assert np.allclose(report["logit_baseline"], bias)
    assert np.allclose(report["logit"], logits(model, images)[:, 0], rtol=1e-5)
    assert (report["completeness_error"] < 1e-4).all()


def test_the_baseline_is_one_for_all_or_one_for_each():
    model, images, starts = linear(), pictures(3), pictures(3, seed=1)
    slope = model.get_weights()[0].reshape(1, SIZE, SIZE, 3)
    way = (images.astype(float) - starts) / 127.5
    each = answer(model, images, "integrated_gradients", baseline=starts, steps=2)
    assert np.allclose(each, way * slope, rtol=1e-4, atol=1e-6)
    way = (images.astype(float) - starts[:1]) / 127.5
    for one in (starts[0], starts[:1], starts[0] / np.float32(127.5) - 1):
        relevance = answer(model, images, "integrated_gradients", baseline=one, steps=2)
        assert np.allclose(relevance, way * slope, rtol=1e-4, atol=1e-6)


def test_paths_start_from_the_middle_of_the_range_if_no_baseline_is_given():
    model, images = linear(), pictures(2)
    slope = model.get_weights()[0].reshape(1, SIZE, SIZE, 3)
    relevance = answer(model, images, "integrated_gradients", value_range=(0, 255), steps=1)
    assert np.allclose(relevance, (images - 127.5) * slope, rtol=1e-4, atol=1e-4)


def test_one_step_is_exact_where_the_slope_is_linear_along_the_path():
    picture = keras.Input((SIZE, SIZE, 3))
    sums = layers.Dense(4)(layers.Flatten()(picture))
    outputs = layers.Dense(1)(layers.Multiply()([sums, sums]))
    model = draw_weights(keras.Model(picture, outputs))
    images, start = floats(2), floats(2, seed=1)
    w, b, v, _ = (weight.astype(float) for weight in model.get_weights())
    # The slope of sum v z^2 is 2 v z w, whose mean over the path is v (z at one end + the other) w.
    ends = (images + start).reshape(2, -1) @ w + 2 * b
    expected = (images - start).reshape(2, -1) * ((ends * v[:, 0]) @ w.T)
    for steps in (1, 5):
        relevance, report = answer(
            model, images, "integrated_gradients", baseline=start, steps=steps, return_report=True
        )
        assert np.allclose(relevance.reshape(2, -1), expected, rtol=1e-4, atol=1e-4)
        assert (report["completeness_error"] < 1e-4).all()


def softplus_of_a_sum():
    model = chain(layers.Flatten(), layers.Dense(1, activation="softplus"), layers.Dense(1))
    slope = np.random.default_rng(0).normal(0, 0.3, (SIZE * SIZE * 3, 1))
    model.set_weights([slope, np.zeros(1), np.ones((1, 1)), np.zeros(1)])
    return model, slope[:, 0]


def test_integrated_gradients_of_a_softplus_have_a_closed_form():
    model, slope = softplus_of_a_sum()
    images, start = floats(3), floats(3, seed=1)
    way = (images.astype(float) - start).reshape(3, -1)
    from_, to = start.reshape(3, -1) @ slope, images.reshape(3, -1) @ slope
    mean = (np.logaddexp(0, to) - np.logaddexp(0, from_)) / (to - from_)
    relevance = answer(model, images, "integrated_gradients", baseline=start, steps=128)
    assert np.allclose(relevance.reshape(3, -1), way * slope * mean[:, None], atol=1e-4)


def completeness_errors(model, images, steps, **options):
    reports = [
        answer(model, images, "integrated_gradients", steps=n, return_report=True, **options)[1]
        for n in steps
    ]
    return [report["completeness_error"].to_numpy() for report in reports]


def test_the_midpoint_rules_error_falls_with_the_square_of_the_steps():
    model, _ = softplus_of_a_sum()
    few, many = completeness_errors(model, floats(3), [8, 16], baseline=floats(3, seed=1))
    assert (few > 1e-5).any()
    seen = few > 1e-5  # above what float32 leaves
    assert np.allclose(few[seen] / many[seen], 4, rtol=0.2)


def test_the_map_sums_to_the_difference_of_logits_with_enough_steps():
    errors = [e.mean() for e in completeness_errors(detector(), floats(4), [4, 16, 64, 256])]
    assert all(after < 1.1 * before for before, after in zip(errors, errors[1:], strict=False))
    assert errors[-1] < 0.02 and errors[-1] < errors[0] / 4


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "steps=0: give a whole number of steps, at least one"),
        ({"steps": -2}, "steps=-2"),
        ({"baseline": floats(2)}, "2 baselines for 3 pictures: give one for all, or one for each"),
        ({"baseline": floats(4)}, "4 baselines for 3 pictures"),
        ({"baseline": floats(1, size=6)}, "Pictures of 6 x 6 pixels"),
        ({"baseline": pictures(1).astype(int)}, "type int64"),
        ({"baseline": np.full((1, 8, 8, 3), np.nan)}, "NaN"),
    ],
)
def test_paths_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        answer(linear(), floats(3), "integrated_gradients", **options)


@pytest.mark.parametrize("baseline", [0, 0.5, "black"])
def test_a_baseline_that_is_no_picture_is_refused(baseline):
    with pytest.raises(UserError):
        answer(linear(), floats(3), "integrated_gradients", baseline=baseline)


def test_half_a_step_is_refused():
    # The midpoints of 2.5 steps would be 0.2, 0.6 and 1.0: not the path's.
    with pytest.raises(UserError, match="steps"):
        answer(linear(), floats(3), "integrated_gradients", steps=2.5)


@pytest.mark.parametrize(
    "activation, message",
    [
        ("swish", "Guided Backprop is defined for ReLUs alone; this model has si"),
        ("linear", "changes the gradient at ReLUs, and this model has none"),
    ],
)
def test_guided_backprop_wants_relus(activation, message):
    model = chain(layers.Conv2D(2, 3, activation=activation), layers.Flatten(), layers.Dense(1))
    with pytest.raises(UserError, match=message):
        answer(model, floats(1), "guided_backprop")


def test_guided_backprop_wants_no_swish_beside_relus():
    model = chain(
        layers.Conv2D(2, 3, activation="relu"), layers.Conv2D(2, 3), layers.Activation("swish"),
        layers.Flatten(), layers.Dense(1),
    )  # fmt: skip
    with pytest.raises(UserError, match="this model has si"):
        answer(model, floats(1), "guided_backprop")


def test_guided_backprop_hands_the_gradient_through_a_leaky_relu_as_it_is():
    ends = layers.Dense(7), layers.LeakyReLU(negative_slope=0.2), layers.Dense(1)
    model = draw_weights(chain(layers.Flatten(), layers.Dense(9, "relu"), *ends, size=4))
    images = floats(3, size=4)
    w1, b1, w2, b2, w3, _ = model.get_weights()
    z1 = images.reshape(3, -1) @ w1 + b1
    slopes = np.where(np.maximum(z1, 0) @ w2 + b2 > 0, 1, 0.2)
    assert len(np.unique(slopes)) == 2 and w3.min() < 0
    guided = np.maximum((slopes * w3[:, 0]) @ w2.T, 0) * (z1 > 0) @ w1.T
    relevance = answer(model, images, "guided_backprop").reshape(3, -1)
    np.testing.assert_allclose(relevance, guided, atol=1e-5)


LEAKY = [layers.PReLU, layers.ELU, lambda: layers.ReLU(negative_slope=0.2)]


@pytest.mark.parametrize("leaky", LEAKY, ids=["PReLU", "ELU", "ReLU with slope"])
def test_guided_backprop_wants_no_layers_of_another_activation_beside_relus(leaky):
    model = chain(
        layers.Conv2D(2, 3, activation="relu"), layers.Conv2D(2, 3), leaky(),
        layers.Flatten(), layers.Dense(1),
    )  # fmt: skip
    with pytest.raises(UserError, match="defined for ReLUs alone"):
        answer(model, floats(1), "guided_backprop")


def test_guided_backprop_refuses_relus_that_are_no_layers():
    picture = keras.Input((SIZE, SIZE, 3))
    first = layers.Conv2D(3, 3, activation="relu")(picture)
    sums = layers.Conv2D(3, 3)(first)
    loose = layers.Dense(1)(layers.Flatten()(keras.ops.relu(sums)))
    with pytest.raises(UserError, match="is an operation and no layer"):
        answer(keras.Model(picture, loose), floats(1), "guided_backprop")


def test_a_compiled_model_is_copied_without_its_loss():
    def loss_of_mine(truth, answer):
        return truth - answer

    model, images = detector(), floats(1)
    before = answer(model, images, "guided_backprop")
    model = detector()
    model.compile(loss=loss_of_mine)
    np.testing.assert_array_equal(answer(model, images, "guided_backprop"), before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_gives_float32_maps_near_those_of_full_precision(policy, method):
    full = detector()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        half = detector()
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(full.get_weights())
    relevance = answer(half, floats(2), method)
    assert relevance.dtype == np.float32
    expected = answer(full, floats(2), method)
    assert np.corrcoef(relevance.ravel(), expected.ravel())[0, 1] > 0.95


def test_guided_backprop_sees_new_weights():
    model, other, images = detector(), detector(seed=3), floats(2)
    before = answer(model, images, "guided_backprop")
    model.set_weights(other.get_weights())
    after = answer(model, images, "guided_backprop")
    assert not np.allclose(before, after)
    assert np.array_equal(after, answer(other, images, "guided_backprop"))


def maps_of_the_pictures_size():
    return draw_weights(
        chain(
            layers.Conv2D(5, 3, padding="same", activation="relu", name="early"),
            layers.Conv2D(4, 1, activation="relu", name="late"),
            layers.Flatten(),
            layers.Dense(2),
        ),
        seed=9,  # about half of both maps is cut off
    )


def cam_by_hand(model, images, index):
    """Equations 1 and 2; each value of the last maps has a weight of its own into the logit."""
    late = model.get_layer("late")
    early = np.asarray(model.get_layer("early")(images))
    kernel, bias = late.get_weights()
    maps = np.maximum(early @ kernel[0, 0] + bias, 0)
    slopes = model.layers[-1].get_weights()[0][:, index].reshape(SIZE, SIZE, 4)
    alpha = slopes.mean(axis=(0, 1))
    return np.maximum((maps * alpha).sum(axis=-1), 0)


@pytest.mark.parametrize("index", [0, 1])
def test_grad_cam_by_hand_at_the_layers_own_size(index):
    model, images = maps_of_the_pictures_size(), floats(3)
    expected = cam_by_hand(model, images, index)
    assert 0.1 < np.mean(expected > 0) < 0.9
    relevance = answer(model, images, "grad_cam", target=index)
    assert np.allclose(relevance.sum(axis=-1), expected, rtol=1e-4, atol=1e-8)
    assert np.array_equal(relevance, relevance[..., :1].repeat(3, axis=-1))
    named = answer(model, images, "grad_cam", target=index, layer="late")
    assert np.array_equal(relevance, named)
    early = answer(model, images, "grad_cam", target=index, layer="early")
    assert not np.allclose(relevance, early, atol=1e-5)


def test_grad_cam_enlarges_the_coarse_map_by_bilinear_interpolation():
    # A mean over places spreads each weight evenly: equation 1 gives the weight over their number.
    model, images = detector(), floats(4)
    part = keras.Model(model.inputs[0], model.get_layer("last_maps").output)
    maps = logits(part, images)
    alpha = model.get_layer("answer").get_weights()[0][:, 0] / maps[0, ..., 0].size
    coarse = np.maximum((maps * alpha).sum(axis=-1), 0)
    expected = [cv2.resize(one, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR) for one in coarse]
    relevance = answer(model, images, "grad_cam")
    assert relevance.max() > 0
    assert np.allclose(relevance.sum(axis=-1), expected, atol=1e-6)


@pytest.mark.parametrize("target", ["fake", "real"])
@pytest.mark.parametrize("layer", [None, "conv", "add", "pool"])
def test_grad_cam_is_never_negative(target, layer):
    assert answer(detector(), floats(8), "grad_cam", target=target, layer=layer).min() >= 0


def test_grad_cam_wants_a_layer_with_maps():
    with pytest.raises(UserError, match="needs a layer with maps.*there is none"):
        answer(linear(), floats(1), "grad_cam")


def test_grad_cam_takes_maps_that_come_before_all_weights():
    model, images = chain(layers.AveragePooling2D(1), layers.Flatten(), layers.Dense(1)), floats(2)
    slopes = draw_weights(model).get_weights()[0].reshape(SIZE, SIZE, 3)
    expected = np.maximum((images * slopes.mean(axis=(0, 1))).sum(axis=-1), 0)
    relevance = answer(model, images, "grad_cam")
    assert np.allclose(relevance.sum(axis=-1), expected, atol=1e-6)


def test_frozen_weights_change_no_map():
    model, frozen, images = detector(), detector(), floats(2)
    frozen.trainable = False
    for method in METHODS:
        assert np.array_equal(answer(frozen, images, method), answer(model, images, method))


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def test_maps_are_float32_of_the_pictures_shape(self, method):
        for images in (pictures(3), floats(3), floats(3).astype(np.float64)):
            relevance = answer(detector(), images, method)
            assert relevance.dtype == np.float32 and relevance.shape == images.shape
            assert np.isfinite(relevance).all() and relevance.any()

    def test_real_is_the_map_of_the_negated_detector(self, method):
        model, images = detector(), floats(4)
        negated = detector()
        last = negated.layers[-1]
        last.set_weights([-weight for weight in last.get_weights()])
        for target, other in (("real", "fake"), ("fake", "real")):
            relevance = answer(model, images, method, target=target)
            expected = answer(negated, images, method, target=other)
            assert np.allclose(relevance, expected, rtol=1e-6, atol=0)

    def test_an_index_is_the_map_of_the_detector_with_that_logit_alone(self, method):
        three, one, images = detector(3), detector(), floats(3)
        kernel, bias = three.layers[-1].get_weights()
        one.set_weights([*three.get_weights()[:-2], kernel[:, 2:], bias[2:]])
        relevance, expected = answer(three, images, method, target=2), answer(one, images, method)
        assert np.abs(relevance - expected).max() <= 1e-5 * np.abs(expected).max()

    def test_a_batch_has_the_maps_of_its_pictures(self, method):
        model, images = detector(), pictures(5)
        few = {"steps": 7} if method == "integrated_gradients" else {}  # batches cross pictures
        together = answer(model, images, method, **few)
        halves = answer(model, images, method, batch_size=2, **few)
        alone = np.concatenate([answer(model, images[i : i + 1], method, **few) for i in range(5)])
        size = np.abs(together).max(axis=(1, 2, 3), keepdims=True)
        assert (np.abs(together - alone) <= 1e-5 * size).all()
        assert (np.abs(together - halves) <= 1e-5 * size).all()

    def test_the_model_stays_as_it_was(self, method):
        model, images = detector(activation="sigmoid"), pictures(2)
        given = images.copy()
        weights, config, before = model.get_weights(), model.to_json(), logits(model, floats(2))
        parts = [(layer, getattr(layer, "activation", None)) for layer in model.layers]
        answer(model, images, method)
        for old, new in zip(weights, model.get_weights(), strict=True):
            assert np.array_equal(old, new)
        for (layer, activation), now in zip(parts, model.layers, strict=True):
            assert now is layer and getattr(now, "activation", None) is activation
        assert model.to_json() == config and np.array_equal(logits(model, floats(2)), before)
        assert np.array_equal(images, given)


def test_what_is_kept_of_a_model_goes_with_it():
    model = detector(activation="sigmoid")
    for method in METHODS:
        answer(model, floats(1), method)
    trace = weakref.ref(model)
    del model
    gc.collect()
    assert trace() is None


@pytest.mark.slow
def test_two_processes_give_the_same_bytes():
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    other = subprocess.run(
        [sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True
    )
    assert other.returncode == 0, other.stderr
    assert other.stdout.splitlines() == fingerprints()
