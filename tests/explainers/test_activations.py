"""Activations are what the layers compute, and the statistics are those of planted channels."""

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from small import SIZE, chain, detector, draw_weights, floats, logits, pictures
from xaifake.errors import UserError
from xaifake.explainers import activation_statistics, activations, class_differences, map_layers

LUMINANCE = [0.299, 0.587, 0.114]
layers = keras.layers


def channels(*planted, relu="relu"):
    """Return one layer of maps, each a weighted sum of the colours: (weights, bias)."""
    model = chain(layers.Conv2D(len(planted), 1, activation=relu, name="maps"))
    kernel = np.array([weights for weights, _ in planted]).T.reshape(1, 1, 3, -1)
    model.set_weights([kernel, np.array([bias for _, bias in planted])])
    return model


NEVER = ([0, 0, 0], -1)
COPY = (LUMINANCE, 1)  # never below 0


def describe(model, images, **options):
    table = activation_statistics(model, images, progress=False, **options)
    return table if len(table) > 1 else table.iloc[0]


def test_activations_by_hand():
    model, images = channels(([1, 0, 0], 0), ([0.5, 0, -2], 0.25), NEVER), pictures(3)
    red, _, blue = np.moveaxis(images / 127.5 - 1, 3, 0)
    maps = activations(model, images, "maps")
    assert maps.dtype == np.float32 and maps.shape == (3, SIZE, SIZE, 3)
    assert np.allclose(maps[..., 0], np.maximum(red, 0), atol=1e-6)
    assert np.allclose(maps[..., 1], np.maximum(red / 2 - 2 * blue + 0.25, 0), atol=1e-6)
    assert not maps[..., 2].any()


@pytest.mark.parametrize("name", ["picture", "norm", "sepconv", "mean", "answer"])
def test_activations_are_the_same_in_batches_and_for_every_kind_of_layer(name):
    model, images = detector(), floats(5)
    part = keras.Model(model.inputs[0], model.get_layer(name).output)
    answers = activations(model, images, name, batch_size=2)
    assert np.allclose(answers, logits(part, images), atol=1e-6)


def test_activations_of_a_sequential_model_and_of_another_range():
    # In the range of bytes the layer sees the bytes themselves.
    images = pictures(2)
    maps = activations(channels(([1, 0, 0], 0)), images, "maps", value_range=(0, 255))
    assert np.array_equal(maps[..., 0], images[..., 0])


def test_activations_of_a_network_in_half_precision_are_float32():
    model = chain(layers.Conv2D(2, 1, activation="relu", name="maps", dtype="mixed_bfloat16"))
    assert activations(model, floats(2), "maps").dtype == np.float32


def test_activations_refuse_what_they_cannot_show():
    model = detector()
    with pytest.raises(UserError, match="no layer 'sepconw': did you mean sepconv"):
        activations(model, floats(1), "sepconw")
    with pytest.raises(UserError, match="One picture of shape"):
        activations(model, floats(1)[0], "conv")
    with pytest.raises(UserError, match="Give a keras.Model"):
        activations(None, floats(1), "conv")


def test_a_warning_of_pictures_out_of_range_points_to_the_caller():
    with pytest.warns(UserWarning, match="outside the -1 to 1") as seen:
        activations(detector(), 9 * floats(1), "conv")
    assert [warning.filename for warning in seen] == [__file__]


def test_map_layers_are_those_with_a_relu_from_first_to_last():
    assert map_layers(detector()) == ["act", "sepconv", "last_maps"]
    model = chain(
        layers.Conv2D(2, 3, name="linear"), layers.ReLU(name="layer"),
        layers.Conv2D(2, 1, activation="relu6", name="six"),
        layers.Conv2D(2, 1, activation="tanh", name="tanh"),
        layers.Flatten(), layers.Dense(2, activation="relu", name="no_maps"),
    )  # fmt: skip
    assert map_layers(model) == ["layer", "six"]


def test_a_dead_channel_and_one_that_copies_the_luminance():
    row = describe(channels(NEVER, COPY), pictures(4))
    assert (row["layer"], row["height"], row["width"], row["channels"]) == ("maps", SIZE, SIZE, 2)
    assert row["dead_channels"] == row["inactive"] == row["active_places"] == 0.5
    # The dead channel has no correlation and is left out.
    assert row["similarity"] == pytest.approx(1, abs=1e-5)
    assert row["similarity_other"] < 0.5


def test_the_negative_of_the_picture_is_as_similar():
    negative = (-np.array(LUMINANCE), 1)
    assert describe(channels(negative), pictures(4))["similarity"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("constant", [0.1, 0.3, 0.7, 1.0])
def test_a_channel_of_one_value_is_left_out_whatever_the_value(constant):
    row = describe(channels(COPY, ([0, 0, 0], constant)), pictures(4))
    assert row["similarity"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("grey", [0.0, 0.3, 0.5])
def test_a_picture_of_one_colour_is_like_no_map(grey):
    # A padded convolution sees the border of it, so its channels are not constant.
    model = draw_weights(chain(layers.Conv2D(3, 3, padding="same", activation="relu", name="maps")))
    flat = np.full((1, SIZE, SIZE, 3), grey, np.float32)
    row = describe(model, np.concatenate([flat, flat]))
    assert row["similarity"] == pytest.approx(0, abs=1e-3)


def test_silence_and_activity_by_counting():
    # Channel 0 speaks in one picture of four, at one place; channel 1 everywhere; 2 never.
    images = np.zeros((4, SIZE, SIZE, 3), np.float32)
    images[2, 3, 5] = (1, 0, 0)
    row = describe(channels(([1, 0, 0], 0), ([0, 0, 0], 1), NEVER), images)
    assert row["dead_channels"] == pytest.approx(1 / 3)
    assert row["inactive"] == pytest.approx((3 / 4 + 0 + 1) / 3)
    assert row["active_places"] == pytest.approx((1 / (4 * SIZE * SIZE) + 1 + 0) / 3)


def test_the_next_picture_is_compared_too():
    images = pictures(3)
    grey = [(one @ LUMINANCE).ravel() for one in images]
    pairs = [abs(np.corrcoef(grey[i], grey[(i + 1) % 3])[0, 1]) for i in range(3)]
    row = describe(channels(COPY), images)
    assert row["similarity_other"] == pytest.approx(np.mean(pairs), abs=1e-4)


def test_identical_pictures_are_as_similar_to_each_other_as_to_themselves():
    table = describe(detector(), np.repeat(pictures(1), 3, axis=0))
    assert np.allclose(table["similarity"], table["similarity_other"], atol=1e-6)
    assert (table["similarity"] > 0).all()


def correlation(a, b):
    return abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if a.std() > 0 else np.nan


def test_the_small_detectors_layers_by_other_code():
    model, images = detector(), pictures(5)
    table = describe(model, images, batch_size=2).set_index("layer")
    grey = (images / 127.5 - 1) @ LUMINANCE
    for name in ("act", "sepconv"):
        maps = activations(model, images, name).astype(float)
        active = maps > 0
        row = table.loc[name]
        assert row["active_places"] == pytest.approx(active.mean())
        assert row["inactive"] == pytest.approx(1 - active.any(axis=(1, 2)).mean())
        assert row["dead_channels"] == pytest.approx(1 - active.any(axis=(0, 1, 2)).mean())
        for column, other in (("similarity", grey), ("similarity_other", np.roll(grey, -1, 0))):
            found = [[correlation(m[..., k], o) for k in range(8)] for m, o in zip(maps, other)]
            assert row[column] == pytest.approx(np.nanmean(found, axis=1).mean(), abs=1e-4)


def test_the_picture_is_reduced_to_the_layers_size_by_block_means():
    # The mean over 2 x 2 blocks of the luminance, as a layer and as the picture it is held against.
    model = chain(
        layers.Conv2D(1, 1, name="copy"), layers.AveragePooling2D(2), layers.ReLU(name="maps")
    )
    model.set_weights([np.reshape(LUMINANCE, (1, 1, 3, 1)), np.ones(1)])
    row = describe(model, pictures(3))
    assert (row["height"], row["width"]) == (SIZE // 2, SIZE // 2)
    assert row["similarity"] == pytest.approx(1, abs=1e-5)


def test_batches_do_not_matter_for_the_description():
    tables = [describe(detector(), pictures(5), batch_size=size) for size in (1, 2, 16)]
    for other in tables[1:]:
        numbers = tables[0].columns[1:]
        assert np.allclose(tables[0][numbers], other[numbers], atol=1e-6)


def test_a_description_wants_two_pictures_and_a_relu():
    with pytest.raises(UserError, match="1 pictures and 3 layers with maps"):
        describe(detector(), pictures(1))
    with pytest.raises(UserError, match="2 pictures and 0 layers with maps"):
        describe(channels(COPY, relu=None), pictures(2))


def faces_with_redder_fakes(labels):
    images = pictures(len(labels)) // 4
    images[np.array(labels) == 1, ..., 0] += 100
    return images


def test_the_channel_that_is_larger_for_fakes_comes_first():
    labels = [0, 1, 1, 0, 1, 0, 0]
    images = faces_with_redder_fakes(labels)
    model = channels(([0, 1, 0], 1), ([1, 0, 0], 1), NEVER, ([-0.5, 0, 0], 1))
    table = class_differences(model, images, labels, "maps")
    assert list(table.columns) == ["channel", "real", "fake", "auc"]
    assert list(table.index) == [0, 1, 2, 3]
    assert table["channel"].tolist()[:2] == [1, 3] and table["auc"].tolist()[:2] == [1, 0]
    by_channel = table.set_index("channel")
    assert by_channel.loc[2, ["real", "fake", "auc"]].tolist() == [0, 0, 0.5]
    for label, column in enumerate(("real", "fake")):
        red = images[np.array(labels) == label, ..., 0].mean() / 127.5
        assert by_channel.loc[1, column] == pytest.approx(red, rel=1e-5)


@pytest.mark.parametrize("name", ["sepconv", "mean"])
def test_the_area_under_the_curve_is_scikit_learns(name):
    model, images = detector(), pictures(40)
    images[:8] = images[8:16]  # ties
    labels = np.random.default_rng(1).integers(0, 2, 40)
    table = class_differences(model, images, labels, name, batch_size=16)
    means = activations(model, images, name, batch_size=16)  # another size rounds ties apart
    means = means.reshape(40, -1, means.shape[-1]).mean(axis=1)
    for _, row in table.iterrows():
        expected = roc_auc_score(labels, means[:, int(row["channel"])])
        assert row["auc"] == pytest.approx(expected)
    far = np.abs(table["auc"] - 0.5)
    assert (np.diff(far) <= 0).all()


def test_class_differences_want_both_classes_and_a_layer():
    with pytest.raises(UserError, match="0 real and 3 fake faces"):
        class_differences(detector(), pictures(3), [1, 1, 1], "conv")
    with pytest.raises(UserError, match="3 real and 0 fake faces"):
        class_differences(detector(), pictures(3), np.zeros(3), "conv")
    with pytest.raises(UserError, match="no layer 'cnv': did you mean conv"):
        class_differences(detector(), pictures(3), [0, 1, 1], "cnv")


def test_labels_are_as_many_as_pictures():
    with pytest.raises(UserError):
        class_differences(detector(), pictures(3), [0, 1], "conv")
