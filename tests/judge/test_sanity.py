"""Shuffling takes away what was learned, nothing else; maps are compared as they are seen."""

import keras
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import sobel
from skimage.metrics import structural_similarity

import xaifake
from xaifake.detector import Detector
from xaifake.errors import UserError
from xaifake.judge.sanity import (
    ORDERS,
    cascading_randomisation,
    map_similarity,
    randomisation_curve,
    shuffled_maps,
    sum_follows_logit,
)

SIZE = 12
LAYERS = 7  # with weights: three convolutions, a batch norm each, and the logit's layer
ALIKE = ["rank_correlation", "rank_correlation_absolute", "ssim"]


def network():
    """Weights of which no two are equal: a fresh batch norm's would look unmoved."""
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(12, 3, padding="same", use_bias=False, name="separable")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(12, 3, strides=2, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    model = keras.Model(inputs, layers.Dense(1)(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        size = np.sqrt(2 / np.prod(weight.shape[:-1])) if len(weight.shape) > 1 else 0.3
        value = rng.normal(size=weight.shape) * size
        if "gamma" in weight.path or "variance" in weight.path:
            value = 1 + np.abs(value)
        weight.assign(value)
    return Detector(model)


def pictures(count):
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def answers(model):
    return model.model.predict_on_batch(pictures(2) / np.float32(255))


def gradient(model, images):
    return xaifake.explain(model, images, "gradient", progress=False).sum(axis=-1)


def edges(model, images):
    grey = images.mean(axis=3)
    return np.hypot(sobel(grey, axis=1), sobel(grey, axis=2))


def layer_weights(model):
    return [layer.get_weights() for layer in model.model.layers if layer.get_weights()]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def moved(model, copy):
    """Tell of each layer with weights whether it was shuffled."""
    pairs = zip(layer_weights(model), layer_weights(copy), strict=True)
    return [not same(one, other) for one, other in pairs]


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def copies(model):
    """The share and the copy of each step, by order."""
    return {order: [step[1:] for step in cascading_randomisation(model, order)] for order in ORDERS}


@pytest.mark.parametrize("order", ORDERS)
def test_the_model_is_left_as_it_is(model, order):
    weights, outputs = model.model.get_weights(), answers(model)
    shuffled = [copy for _, _, copy in cascading_randomisation(model, order, steps=2)]
    shuffled[-1].model.set_weights([np.zeros_like(w) for w in weights])
    assert same(model.model.get_weights(), weights)
    np.testing.assert_array_equal(answers(model), outputs)


def test_each_step_has_a_copy_of_its_own(copies):
    networks = [copy for order in ORDERS for _, copy in copies[order]]
    assert len({id(network) for network in networks}) == len(networks) == 12
    variables = [id(weight) for network in networks for weight in network.model.weights]
    assert len(set(variables)) == len(variables)


def test_from_the_top_the_logits_layer_goes_first_and_alone(model, copies):
    steps = [moved(model, copy) for _, copy in copies["top_down"]]
    assert steps[0] == [False] * (LAYERS - 1) + [True]
    assert all(steps[-1])
    for step in steps:
        assert step == sorted(step), "a layer was passed over on the way down"


def test_the_layers_after_the_first_step_go_in_groups_as_even_as_can_be(model, copies):
    counts = [sum(moved(model, copy)) for _, copy in copies["top_down"]]
    assert counts[0] == 1 and sorted(np.diff(counts)) == [1, 1, 1, 1, 2]
    counts = [sum(moved(model, copy)) for _, _, copy in cascading_randomisation(model, steps=4)]
    assert counts == [1, 3, 5, 7]
    counts = [
        sum(moved(model, copy)) for _, _, copy in cascading_randomisation(model, steps=LAYERS)
    ]
    assert counts == list(range(1, LAYERS + 1))


def test_bottom_up_is_the_reverse(model, copies):
    down, up = ([moved(model, copy) for _, copy in copies[order]] for order in ORDERS)
    # What is shuffled after k steps from below is what the last k steps from above shuffle.
    for k in range(1, len(up)):
        assert up[k - 1] == [not shuffled for shuffled in down[-k - 1]]
    assert up[-1] == down[-1]


@pytest.mark.parametrize("order", ORDERS)
def test_shares_grow_to_one_and_count_layers(model, copies, order):
    shares = [share for share, _ in copies[order]]
    assert (np.diff(shares) > 0).all() and shares[-1] == 1
    assert shares == [sum(moved(model, copy)) / LAYERS for _, copy in copies[order]]
    assert [step for step, _, _ in cascading_randomisation(model, order, steps=3)] == [1, 2, 3]


@pytest.mark.parametrize("order", ORDERS)
def test_a_layers_weights_stay_the_numbers_that_they_were(model, copies, order):
    for _, copy in copies[order]:
        for before, after in zip(layer_weights(model), layer_weights(copy), strict=True):
            for one, other in zip(before, after, strict=True):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(np.sort(one.ravel()), np.sort(other.ravel()))


def test_the_four_numbers_of_a_channel_of_a_batch_norm_stay_together(model, copies):
    copy = copies["top_down"][-1][1]
    pairs = zip(model.model.layers, copy.model.layers, strict=True)
    norms = [pair for pair in pairs if isinstance(pair[0], keras.layers.BatchNormalization)]
    assert len(norms) == 3
    for norm, shuffled in norms:
        before, after = (np.stack(layer.get_weights(), axis=1) for layer in (norm, shuffled))
        assert before.shape[1] == 4
        assert not np.array_equal(before, after)
        assert set(map(tuple, before)) == set(map(tuple, after))


def test_the_kernels_of_a_separable_convolution_are_shuffled_each_for_itself(model, copies):
    ends = model, copies["top_down"][-1][1]
    before, after = (network.model.get_layer("separable").get_weights() for network in ends)
    assert len(before) == 2
    for one, other in zip(before, after, strict=True):
        assert not np.array_equal(one, other)
        # Number by number, so that channels keep nothing of their own.
        assert not np.allclose(np.sort(one.sum(axis=(0, 1))), np.sort(other.sum(axis=(0, 1))))


def test_the_same_seed_shuffles_a_layer_alike_in_every_step_and_order(model, copies):
    networks = [copy for order in ORDERS for _, copy in copies[order]]
    networks += [copy for _, _, copy in cascading_randomisation(model, steps=3)]
    end = layer_weights(copies["top_down"][-1][1])
    for network in networks:
        steps = zip(moved(model, network), layer_weights(network), end, strict=True)
        assert all(not shuffled or same(now, last) for shuffled, now, last in steps)
    # And another seed shuffles every layer otherwise.
    *_, (_, _, other) = cascading_randomisation(model, steps=2, seed=1)
    assert all(moved(copies["top_down"][-1][1], other))


def test_two_layers_of_one_shape_are_not_shuffled_alike():
    dense = [keras.layers.Dense(30, use_bias=False) for _ in range(2)]
    model = keras.Sequential([keras.Input((30,)), *dense, keras.layers.Dense(1, use_bias=False)])
    values = np.arange(900.0).reshape(30, 30)
    model.set_weights([values, values, values[:, :1]])
    *_, (_, _, copy) = cascading_randomisation(Detector(model), steps=2)
    one, other, _ = copy.model.get_weights()
    assert (one == other).mean() < 0.05


def test_what_lies_below_the_shuffled_layers_still_answers_the_same(model, copies):
    networks = model, copies["top_down"][0][1]
    before_last = [keras.Model(n.model.inputs, n.model.layers[-2].output) for n in networks]
    features, still = (m.predict_on_batch(pictures(2) / np.float32(255)) for m in before_last)
    np.testing.assert_array_equal(features, still)
    one, other = map(answers, networks)
    assert np.abs(one - other).min() > 1e-3


def test_an_unknown_order_and_steps_that_the_layers_are_too_few_for_are_refused(model):
    with pytest.raises(UserError, match="No order 'sideways': give top_down or bottom_up"):
        list(cascading_randomisation(model, "sideways"))
    for steps in (-1, 0, 1, LAYERS + 1):
        with pytest.raises(UserError, match=f"steps={steps}: give 2 to {LAYERS}"):
            list(cascading_randomisation(model, steps=steps))


@pytest.fixture
def maps():
    """Three maps of both signs, smooth enough that a neighbourhood has a structure."""
    rng = np.random.default_rng(3)
    return np.cumsum(rng.normal(size=(3, 24, 20)), axis=2) + rng.normal(size=(3, 1, 1))


def test_a_map_is_wholly_like_itself(maps):
    table = map_similarity(maps, maps)
    assert list(table) == ALIKE and len(table) == 3
    np.testing.assert_allclose(table, 1)


@pytest.mark.parametrize("smooth", [True, False], ids=["smooth", "noise"])
def test_a_negated_map_is_the_opposite_and_alike_in_its_sizes(maps, smooth):
    maps = maps if smooth else np.random.default_rng(0).normal(size=maps.shape)
    table = map_similarity(maps, -maps)
    np.testing.assert_allclose(table.rank_correlation, -1)
    np.testing.assert_allclose(table.rank_correlation_absolute, 1)
    # Where both local means and both structures are opposite, the formula's two minuses cancel
    # unless the maps are given to it as the grey levels, from 0 on, that it was made for.
    assert (table.ssim < 0).all()


def test_unrelated_maps_are_hardly_alike():
    one, other = np.random.default_rng(0).normal(size=(2, 4, 64, 64))
    assert map_similarity(one, other).abs().to_numpy().max() < 0.1


@pytest.mark.parametrize("factor", [1e-30, 0.2, 7.0, 1e30])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_positive_factor_changes_nothing(maps, factor, kind):
    other = np.roll(maps, 1, axis=0)
    scaled = (other * factor).astype(kind)
    np.testing.assert_allclose(
        map_similarity(maps, scaled), map_similarity(maps, other), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, -np.inf])
def test_an_empty_or_infinite_map_is_like_nothing_and_spoils_no_other(maps, bad):
    other = maps + 0.1 * np.random.default_rng(0).normal(size=maps.shape)
    clean = map_similarity(maps, other)
    broken = other.copy()
    broken[1] = bad if bad == 0 else np.where(np.arange(20) == 4, bad, broken[1])
    for table in (map_similarity(maps, broken), map_similarity(broken, maps)):
        assert table.loc[1].isna().all()
        np.testing.assert_allclose(table.loc[[0, 2]], clean.loc[[0, 2]])


def wang(one, other):
    """Structural similarity of grey levels from 0 to 1, by the paper's formula, 7 x 7 windows."""
    one, other = (sliding_window_view(m, (7, 7)).reshape(-1, 49) for m in (one, other))
    first, second = one.mean(axis=1), other.mean(axis=1)
    spread = one.var(axis=1, ddof=1) + other.var(axis=1, ddof=1)
    together = ((one - first[:, None]) * (other - second[:, None])).sum(axis=1) / 48
    small, large = 0.01**2, 0.03**2
    top = (2 * first * second + small) * (2 * together + large)
    return (top / ((first**2 + second**2 + small) * (spread + large))).mean()


def test_the_structural_similarity_is_that_of_the_maps_as_figures_show_them(maps):
    other = maps[::-1] + np.random.default_rng(1).normal(size=maps.shape)
    seen = [
        [(1 + np.clip(m / np.quantile(np.abs(m), 0.995), -1, 1)) / 2 for m in several]
        for several in (maps, other)
    ]
    found = map_similarity(maps, other).ssim
    for n, pair in enumerate(zip(*seen, strict=True)):
        assert found[n] == pytest.approx(wang(*pair), abs=1e-9)
        assert found[n] == pytest.approx(structural_similarity(*pair, data_range=1), abs=1e-9)


def test_one_huge_value_does_not_hide_how_alike_maps_are(maps):
    spiked = maps.copy()
    spiked[:, 0, 0] = 1e6
    assert (map_similarity(maps, spiked).ssim > 0.9).all()


def test_maps_of_a_single_pixel_are_compared_too():
    # 99.5 % of such a map are 0: there is no percentile to divide it by.
    one, other = np.zeros((2, 1, 32, 32))
    one[0, 5, 5], other[0, 25, 25] = 2.0, 1.0
    np.testing.assert_allclose(map_similarity(one, one), 1)
    apart = map_similarity(one, other).loc[0]
    assert np.isfinite(apart).all() and abs(apart.rank_correlation) < 0.01


def test_a_method_that_ignores_the_network_stays_as_it_was(model):
    curve = randomisation_curve(model, edges, pictures(2), steps=3)
    assert len(curve) == 2 * 3 * 2
    np.testing.assert_allclose(curve[ALIKE], 1)


@pytest.fixture(scope="module")
def curve(model):
    return randomisation_curve(model, gradient, pictures(4))


def test_the_gradient_falls_with_the_network(curve):
    for _, rows in curve.groupby("order"):
        means = rows.groupby("step")[ALIKE].mean()
        assert (means.rank_correlation < 0.6).all()
        assert (means.iloc[-1] < 0.4).all()


def test_a_curve_has_a_row_an_order_a_step_and_a_picture(curve, copies):
    assert list(curve) == [*ALIKE, "order", "step", "shuffled", "face"]
    assert not curve.isna().any().any()
    assert not curve.duplicated(["order", "step", "face"]).any()
    for order, rows in curve.groupby("order"):
        assert rows.step.tolist() == np.repeat(range(1, 7), 4).tolist()
        assert rows.face.tolist() == [0, 1, 2, 3] * 6
        assert rows.shuffled[::4].tolist() == [share for share, _ in copies[order]]


def test_both_orders_end_in_the_same_rows(curve):
    last = curve[curve.step == 6]
    ends = [last[last.order == order].drop(columns="order") for order in ORDERS]
    assert len(ends[0]) == 4
    np.testing.assert_array_equal(*ends)


def test_a_rows_numbers_are_those_of_the_step_by_hand(model, copies, curve):
    images = pictures(4)
    for order in ORDERS:
        copy = copies[order][2][1]
        found = curve[(curve.order == order) & (curve.step == 3)]
        expected = map_similarity(gradient(model, images), gradient(copy, images))
        np.testing.assert_allclose(found[ALIKE], expected, atol=1e-6)


def test_the_maps_of_all_steps_are_those_of_the_copies(model, copies):
    images = pictures(2)
    shares, maps = shuffled_maps(model, gradient, images, "bottom_up")
    assert shares == [0, *(share for share, _ in copies["bottom_up"])] and len(maps) == 7
    expected = [gradient(one, images) for one in (model, copies["bottom_up"][2][1])]
    np.testing.assert_allclose(maps[[0, 3]], expected, atol=1e-6)


def test_maps_that_are_given_are_not_made_again(model):
    asked = []

    def explainer(network, images):
        asked.append(network)
        return edges(network, images)

    randomisation_curve(model, explainer, pictures(2), steps=2)
    assert len(asked) == 1 + 2 * 2 - 1 and asked[0] is model
    asked.clear()
    maps = edges(model, pictures(2))[:, ::-1]
    curve = randomisation_curve(model, explainer, pictures(2), original=maps, steps=2)
    assert len(asked) == 2 * 2 - 1 and model not in asked
    assert (curve.rank_correlation < 0.9).all()


def test_a_map_that_shuffling_empties_leaves_a_gap(model):
    def explainer(network, images):
        return edges(network, images) * (network is model)

    curve = randomisation_curve(model, explainer, pictures(2), steps=2)
    assert curve[ALIKE].isna().all().all() and len(curve) == 8


def test_what_a_sum_says_by_hand():
    told = sum_follows_logit([-2, 2, 4], [-2, 3, 6])
    # off by 0, 1 and 2; the logits' mean size is 8 / 3
    assert told["error"] == pytest.approx(1 / (8 / 3))
    assert sum_follows_logit([-2, 2, 4], [-3, 5, 9])["correlation"] == pytest.approx(1)
    assert sum_follows_logit([-2, 2, 4], [2, -2, -4])["correlation"] == pytest.approx(-1)
    # All the same: no correlation.
    assert np.isnan(sum_follows_logit([1.0, 2.0, 3.0], [4.0, 4.0, 4.0])["correlation"])


def test_sums_that_are_the_logits_are_told_from_those_that_have_nothing_to_do_with_them():
    logits, sums = np.random.default_rng(0).normal(size=(2, 4000))
    told = sum_follows_logit(logits, sums)
    assert abs(told["correlation"]) < 0.1 and told["error"] > 0.5
    told = sum_follows_logit(logits, logits)
    assert told["correlation"] == pytest.approx(1) and told["error"] == 0
