"""The figures show what they are given: right places, right numbers, right marks."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from xaifake.data.faces import Face
from xaifake.show import figures


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_images_stand_in_rows_with_their_titles_and_marks():
    images = [np.full((8, 10, 3), k, np.uint8) for k in range(5)]
    figure = figures.show_images(
        images, list("abcde"), [False, True, False, True, False], columns=3
    )
    assert len(figure.axes) == 6
    shown = [axis for axis in figure.axes if axis.images]
    for k, axis in enumerate(shown):
        np.testing.assert_array_equal(axis.images[0].get_array(), images[k])
        assert axis.get_title() == "abcde"[k]
        assert [t.get_text() for t in axis.texts] == (["manipulated"] if k in (1, 3) else [])


def test_a_mask_tints_its_pixels_alone():
    image = np.full((4, 4, 3), 100, np.uint8)
    mask = np.zeros((4, 4), bool)
    mask[1, 2] = True
    tinted = figures.overlay_mask(image, mask, strength=0.5)
    np.testing.assert_array_equal(tinted[1, 2], np.rint((100 + figures.MASK_COLOUR) / 2))
    np.testing.assert_array_equal(tinted[~mask], image[~mask])


def test_a_detection_shows_box_and_squares_where_they_are():
    points = np.random.default_rng(0).uniform(20, 60, (68, 2)).astype(np.float32)
    face = Face((10, 12, 70, 80), points)
    frame = np.zeros((100, 100, 3), np.uint8)
    figure = figures.show_detection(frame, face, {"square": (5, 6, 80)}, manipulated=True)
    axis = figure.axes[0]
    assert [(p.get_xy(), p.get_width(), p.get_height()) for p in axis.patches] == [
        ((10, 12), 60, 68),
        ((5, 6), 80, 80),
    ]
    drawn = np.concatenate([line.get_xydata() for line in axis.lines])
    assert {tuple(p) for p in points.round(3)} == {tuple(p) for p in drawn.round(3).astype("f4")}
    assert texts(figure) == ["manipulated"]


def test_a_confusion_matrix_shows_counts_and_row_shares():
    figure = figures.plot_confusion({"one": np.array([[30, 10], [5, 15]])})
    assert texts(figure) == ["30\n75%", "10\n25%", "5\n25%", "15\n75%"]


def test_the_legend_tells_the_area_under_the_curve():
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    figure = figures.plot_roc({"toy": (labels, scores)})
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["guessing", "toy: area 0.75"]  # three of four pairs are in order


def test_a_learning_curve_shows_every_epoch():
    columns = [
        "loss",
        "val_loss",
        "accuracy",
        "val_accuracy",
        "val_auc",
        "val_auc_batch_statistics",
    ]
    log = pd.DataFrame({name: [0.7, 0.6, 0.5] for name in columns}).assign(images=[10, 20, 30])
    figure = figures.plot_learning_curve(log)
    lines = [line for axis in figure.axes for line in axis.lines if len(line.get_xdata())]
    assert len(lines) == 6
    assert all(list(line.get_xdata()) == [10, 20, 30] for line in lines)


def test_intervals_stand_beside_their_names():
    table = pd.DataFrame({"v": [0.5, 0.7], "lo": [0.4, 0.6], "hi": [0.6, 0.9], "n": ["a", "b"]})
    figure = figures.plot_intervals(table, "v", "lo", "hi", "n", reference=0.5)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    segments = axis.collections[0].get_segments()
    np.testing.assert_allclose([s[:, 0] for s in segments], [[0.4, 0.6], [0.6, 0.9]])


def test_depth_starts_at_the_first_layer_and_shows_every_detector():
    columns = ["height", "width", "similarity", "similarity_other", "active_places"]
    table = pd.DataFrame({name: [4.0, 2.0, 1.0] for name in [*columns, "never_active"]})
    figure = figures.plot_depth({1.3: table, 2.0: table})
    left = figure.axes[0]
    assert [list(line.get_xdata()) for line in left.lines] == [[1, 2, 3]] * 2
    assert list(left.lines[0].get_ydata()) == [16, 4, 1]
    assert [len(axis.lines) for axis in figure.axes] == [2, 4, 4]


def test_curves_of_perturbations_start_at_the_picture_as_it_is():
    rows = [("blur", 0, 0.9), ("blur", 2, 0.6), ("rotation", -10, 0.8), ("scaling", 1.5, 0.7)]
    table = pd.DataFrame(rows, columns=["kind", "strength", "value"])
    table = table.assign(score="auc", low=table.value - 0.1, high=table.value + 0.1, scale=2.0)
    figure = figures.plot_perturbation_curves(table, "auc", "AUC", reference=0.5)
    shown = {
        axis.get_title(): dict(zip(*axis.lines[0].get_data(), strict=True))
        for axis in figure.axes
        if axis.get_title()
    }
    assert shown == {
        "blur": {0: 0.9, 2: 0.6},
        "rotation": {-10: 0.8, 0: 0.9},
        "scaling": {1: 0.9, 1.5: 0.7},
    }


def test_the_sweep_of_lime_has_a_line_for_each_fill():
    rows = [(fill, n, n / 400, 0.5) for fill in ("mean", "twin") for n in (100, 200) for _ in "ab"]
    table = pd.DataFrame(rows, columns=["fill", "num_samples", "agreement", "r2"])
    left, right = figures.plot_lime_sweep(table).axes
    for axis, expected in ((left, [0.25, 0.5]), (right, [0.5, 0.5])):
        lines = [line for line in axis.lines if len(line.get_xdata()) == 2]
        assert len(lines) == 2
        np.testing.assert_allclose([line.get_ydata() for line in lines], [expected] * 2)


def test_paths_run_from_the_baseline_to_the_picture():
    logits, slopes = np.array([[0.0, 1.0]]), np.array([[3.0, 2.0]])
    left, right = figures.plot_paths(logits, slopes, ["one"]).axes
    np.testing.assert_allclose(left.lines[0].get_data(), [[0.25, 0.75], [0, 1]])
    np.testing.assert_allclose(right.lines[0].get_data(), [[0.25, 0.75], [3, 2]])


def test_agreement_has_a_point_for_each_face_in_its_rules_row():
    table = pd.DataFrame(
        {
            "method": ["lrp.z", "lrp.z", "lrp.flat", "lrp.flat"] * 2,
            "scale": [1.3] * 4 + [2.0] * 4,
            "correlation": [0.1, 0.2, 0.8, 0.9, -0.1, -0.2, 0.5, 0.6],
        }
    )
    axis = figures.plot_agreement(table, ["lrp.flat", "lrp.z"]).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["lrp.flat", "lrp.z"]
    points = np.concatenate([dots.get_offsets() for dots in axis.collections])
    assert sorted(x for x, y in points if round(y) == 0) == [0.5, 0.6, 0.8, 0.9]
    assert sorted(x for x, y in points if round(y) == 1) == [-0.2, -0.1, 0.1, 0.2]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["1.3x", "2.0x"]


def test_relevance_by_depth_is_in_logits_and_leaves_out_layers_that_see_a_part():
    table = pd.DataFrame(
        {
            "rule": "lrp.z",
            "layer": ["input", "branch", "answer"],
            "relevance": [1.0, 99.0, 2.0],
            "size": [8.0, 99.0, 2.0],
            "whole": [True, False, True],
        }
    )
    left, right = figures.plot_relevance_depth(table).axes
    assert left.lines[0].get_ydata().tolist() == [0.5, 1]
    assert right.lines[0].get_ydata().tolist() == [4, 1]
    assert left.lines[0].get_xdata().tolist() == ["picture", "answer"]
