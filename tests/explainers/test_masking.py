"""Maps of hidden parts, noisy copies and weighted channels are those of their definitions."""

from functools import cache
from itertools import permutations
from math import factorial

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import map_coordinates

import xaifake
from small import chain, detector, draw_weights, floats, logits
from xaifake.errors import UserError
from xaifake.explainers.masking import coalitions, random_masks, shapley_values

SIZE = 8
QUARTERS = np.arange(SIZE)[:, None] // 4 * 2 + np.arange(SIZE) // 4
OPTIONS = {
    "rise": {"samples": 30, "cells": 3},
    "smoothgrad": {"samples": 5},
    "kernel_shap": {"segmentation": QUARTERS},
}
METHODS = ("occlusion", "rise", "smoothgrad", "grad_cam_plus_plus", "kernel_shap")


@pytest.fixture(scope="module")
def model():
    return detector()


def explain(model, images, method, **options):
    options = {**OPTIONS.get(method, {}), "progress": False, **options}
    return np.asarray(xaifake.explain(model, images, method, **options))


def assert_alike(found, expected, tolerance=1e-4):
    size = np.abs(expected).max()
    assert size > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * size)


def logit(model, picture):
    return float(logits(model, picture[None].astype(np.float32))[0, 0])


@pytest.mark.parametrize("side, stride, fill", [(2, 1, None), (3, 2, 0.5), (4, 4, -1.0)])
def test_occlusion_is_the_mean_loss_of_the_squares_over_a_pixel(model, side, stride, fill):
    images = floats(2)
    grey = np.full_like(images, fill or 0)
    expected, over = np.zeros((2, SIZE, SIZE)), np.zeros((SIZE, SIZE))
    for top in range(stride - side, SIZE, stride):
        for left in range(stride - side, SIZE, stride):
            where = slice(max(top, 0), top + side), slice(max(left, 0), left + side)
            over[where] += 1
            for number, picture in enumerate(images):
                hidden = picture.copy()
                hidden[where] = grey[number][where]
                expected[number][where] += logit(model, picture) - logit(model, hidden)
    options = {"side": side, "stride": stride, "baseline": None if fill is None else grey}
    found = explain(model, images, "occlusion", **options)
    assert_alike(found.sum(-1), expected / over)
    assert np.array_equal(found[..., 0], found[..., 2])


def test_hidden_pixels_of_a_linear_network_are_picture_times_weight():
    linear = draw_weights(chain(keras.layers.Flatten(), keras.layers.Dense(1)))
    images = floats(2)
    by_gradient = explain(linear, images, "input_t_gradient").sum(-1)
    assert_alike(explain(linear, images, "occlusion", side=1).sum(-1), by_gradient)
    real = explain(linear, images, "occlusion", side=1, target="real").sum(-1)
    assert_alike(real, -by_gradient)


def test_rise_is_the_mean_of_masks_weighted_with_their_logits(model):
    images = floats(2)
    masks = random_masks((SIZE, SIZE), 30, 3, 0.4, seed=5)
    expected = [
        sum(logit(model, mask[..., None] * picture) * mask for mask in masks) / sum(masks)
        for picture in images
    ]
    found = explain(model, images, "rise", shown=0.4, seed=5)
    assert_alike(found.sum(-1), np.array(expected))


def test_masks_are_grids_enlarged_bilinearly_and_shifted():
    samples, cells, shape = 400, 4, (10, 13)
    masks = random_masks(shape, samples, cells, 0.3, seed=1)
    rng = np.random.default_rng(1)
    grids = (rng.random((samples, cells + 1, cells + 1)) < 0.3).astype(float)
    steps = (3, 4)
    shifts = [rng.integers(0, step, samples) for step in steps]
    for number in (0, 7, 399):
        places = np.meshgrid(
            *((np.arange(n) + s[number]) / step for n, s, step in zip(shape, shifts, steps)),
            indexing="ij",
        )
        expected = map_coordinates(grids[number], places, order=1)
        np.testing.assert_allclose(masks[number], expected, atol=1e-6)
    assert abs(masks.mean() - 0.3) < 0.01 and masks.min() >= 0 and masks.max() <= 1


def test_rise_finds_the_one_place_that_the_logit_looks_at():
    network = chain(keras.layers.Flatten(), keras.layers.Dense(1))
    weights = np.zeros((SIZE, SIZE, 3))
    weights[2, 5] = 1
    network.set_weights([weights.reshape(-1, 1), np.zeros(1)])
    found = explain(network, np.ones((1, SIZE, SIZE, 3), np.float32), "rise", samples=2000, cells=8)
    assert np.unravel_index(found[0].sum(-1).argmax(), (SIZE, SIZE)) == (2, 5)


def shapley_by_hand(count, worth):
    """The mean gain over all orders in which the players may come."""
    worth, values = cache(worth), np.zeros(count)
    for order in permutations(range(count)):
        there = set()
        for player in order:
            before = worth(frozenset(there))
            there.add(player)
            values[player] += worth(frozenset(there)) - before
    return values / factorial(count)


@pytest.mark.parametrize("target, fill", [("fake", "mean"), ("real", "grey")])
def test_kernel_shap_has_the_shapley_values_of_the_segments(model, target, fill):
    columns = np.repeat(np.array([0, 0, 1, 2, 2, 2, 3, 4]), SIZE).reshape(SIZE, SIZE).T
    (picture,), sign = floats(1), {"fake": 1, "real": -1}[target]
    hidden = np.zeros_like(picture)
    for number in range(5 if fill == "mean" else 0):
        hidden[columns == number] = picture[columns == number].mean(0)

    def worth(there):
        shown = np.isin(columns, list(there))[..., None]
        return sign * logit(model, np.where(shown, picture, hidden))

    expected = shapley_by_hand(5, worth)
    options = {"segmentation": columns, "fill": fill, "target": target, "num_samples": 30}
    found = explain(model, picture[None], "kernel_shap", **options)[0]
    assert np.array_equal(found[..., 0], found[..., 1])
    sums = np.bincount(columns.ravel(), found.sum(-1).ravel())
    assert_alike(sums, expected)
    report = xaifake.explain(model, picture[None], "kernel_shap", progress=False, **options).report
    gap = report.logit - report.logit_hidden
    np.testing.assert_allclose(report["sum"], gap, rtol=1e-4)
    np.testing.assert_allclose(report.logit_hidden, worth(set()), rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_the_kernel_makes_shapley_values_of_any_game(count):
    gains = np.random.default_rng(count).normal(size=2**count)
    gains[0] = 0
    shown, weights = coalitions(count, 2**count, seed=0)
    assert len(shown) == len({tuple(row) for row in shown}) == 2**count - 2
    place = shown @ 2 ** np.arange(count)
    expected = shapley_by_hand(count, lambda there: gains[sum(2**player for player in there)])
    found = shapley_values(shown, weights, gains[place], gains[-1])
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_drawn_choices_come_in_pairs_by_the_kernel_and_are_enough_for_sums():
    count, samples = 12, 2000
    shown, weights = coalitions(count, samples, seed=0)
    assert np.array_equal(shown[: samples // 2], ~shown[samples // 2 :]) and (weights == 1).all()
    sizes = np.arange(1, count)
    kernel = 1 / (sizes * (count - sizes))
    share = np.bincount(shown.sum(1), minlength=count + 1)[1:-1] / samples
    np.testing.assert_allclose(share, kernel / kernel.sum(), atol=0.03)
    worth = np.random.default_rng(1).normal(size=count)
    found = shapley_values(shown, weights, shown @ worth, worth.sum())
    np.testing.assert_allclose(found, worth, atol=1e-9)
    pairs = worth[:, None] * worth  # a game in which any two win together: half for each
    together = np.einsum("ni,ij,nj->n", shown, pairs, shown)
    found = shapley_values(shown, weights, together, pairs.sum())
    np.testing.assert_allclose(found, pairs.sum(1), atol=1e-9)


@pytest.mark.parametrize("squared", [False, True])
def test_smoothgrad_is_the_mean_over_noisy_copies(model, squared):
    images = floats(2)
    noise = np.random.default_rng(3).normal(0, 0.1 * 2, (5, SIZE, SIZE, 3))
    expected = np.zeros(images.shape)
    for copy in noise:
        given = tf.constant((images + copy).astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(given)
            answer = model(given, training=False)
        expected += tape.gradient(answer, given).numpy() ** (2 if squared else 1) / 5
    options = {"noise": 0.1, "seed": 3, "squared": squared, "batch_size": 3}
    assert_alike(explain(model, images, "smoothgrad", **options), expected)
    still = explain(model, images, "smoothgrad", noise=0, squared=squared)
    assert_alike(still, explain(model, images, "gradient") ** (2 if squared else 1))


def test_grad_cam_plus_plus_has_the_weights_of_its_equations():
    """Equation 19 with the derivatives of the exponential of the logit, in loops."""
    model, images = detector(), floats(2)
    split = keras.Model(model.inputs[0], [model.get_layer("last_maps").output, model.outputs[0]])
    with tf.GradientTape() as tape:
        maps, answer = split(images, training=False)
        tape.watch(maps)
        score = model.get_layer("answer")(model.get_layer("mean")(maps))
    first = tape.gradient(score, maps).numpy().astype(float)
    maps, score = maps.numpy().astype(float), score.numpy()[:, 0]
    found = explain(model, images, "grad_cam_plus_plus", layer="last_maps").sum(-1)
    for number in range(2):
        y, a, g = np.exp(score[number]), maps[number], first[number]
        cam = np.zeros(a.shape[:2])
        for k in range(a.shape[-1]):
            weight = 0.0
            for i, j in np.ndindex(*cam.shape):
                second, third = y * g[i, j, k] ** 2, y * g[i, j, k] ** 3
                below = 2 * second + a[..., k].sum() * third
                weight += (second / below if below else 0) * max(y * g[i, j, k], 0)
            cam += weight / y * a[..., k]
        expected = tf.image.resize(np.maximum(cam, 0)[..., None], (SIZE, SIZE))[..., 0].numpy()
        assert_alike(found[number], expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_has_its_map_in_any_company(model, method):
    images = floats(5)
    many = explain(model, images, method, batch_size=7)
    assert_alike(explain(model, images[3:4], method), many[3:4])
    report = xaifake.explain(
        model, images, method, progress=False, **OPTIONS.get(method, {})
    ).report
    np.testing.assert_allclose(report.logit, logits(model, images)[:, 0], rtol=1e-5)


@pytest.mark.parametrize(
    "method, options, message",
    [
        ("occlusion", {"side": 9}, "side=9.*fits into 8 x 8"),
        ("occlusion", {"side": 2, "stride": 3}, "stride=3"),
        ("rise", {"samples": 0}, "samples=0.*at least one mask"),
        ("rise", {"shown": 1.0}, "shown=1.0"),
        ("kernel_shap", {"num_samples": 3}, "num_samples=3.*one per segment, 4"),
        ("smoothgrad", {"noise": -1}, "noise=-1"),
        ("grad_cam_plus_plus", {"layer": "mean"}, "'mean' returns"),
    ],
)
def test_options_that_make_no_sense_are_refused(model, method, options, message):
    with pytest.raises(UserError, match=message):
        explain(model, floats(1), method, **options)
