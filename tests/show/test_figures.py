"""The figures show what they are given: right places, right numbers, right marks."""

import numpy as np
import pandas as pd

from xaifake.data.faces import Face
from xaifake.show import figures


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
    figure = figures.show_detection(frame, face, {"square": (50, 6, 80)}, manipulated=True)
    axis = figure.axes[0]
    assert [(p.get_xy(), p.get_width(), p.get_height()) for p in axis.patches] == [
        ((10, 12), 60, 68),
        ((50, 6), 80, 80),
    ]
    assert axis.get_xlim()[1] > 130 and axis.get_ylim()[0] < 110  # also what is beyond the frame
    drawn = np.concatenate([line.get_xydata() for line in axis.lines])
    assert {tuple(p) for p in points.round(3)} == {tuple(p) for p in drawn.round(3).astype("f4")}
    assert texts(figure) == ["manipulated"]


def test_a_confusion_matrix_shows_counts_and_row_shares():
    figure = figures.plot_confusion({"one": np.array([[30, 10], [5, 15]])})
    assert texts(figure) == ["30\n75%", "10\n25%", "5\n25%", "15\n75%"]


def test_intervals_stand_beside_their_names():
    table = pd.DataFrame({"v": [0.5, 0.7], "lo": [0.4, 0.6], "hi": [0.6, 0.9], "n": ["a", "b"]})
    figure = figures.plot_intervals(table, "v", "lo", "hi", "n", reference=0.5)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    segments = axis.collections[0].get_segments()
    np.testing.assert_allclose([s[:, 0] for s in segments], [[0.4, 0.6], [0.6, 0.9]])


def test_depth_starts_at_the_first_layer_and_shows_every_detector():
    columns = ["height", "width", "similarity", "similarity_other", "active_places"]
    table = pd.DataFrame({name: [4.0, 2.0, 1.0] for name in [*columns, "dead_channels"]})
    figure = figures.plot_depth({1.3: table, 2.0: table, 3.0: table})
    left = figure.axes[0]
    assert [list(line.get_xdata()) for line in left.lines] == [[1, 2, 3]] * 3
    assert list(left.lines[0].get_ydata()) == [16, 4, 1]
    assert [len(axis.lines) for axis in figure.axes] == [3, 6, 6]


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


def test_relevance_by_depth_is_in_logits_and_leaves_out_layers_that_see_a_part():
    table = pd.DataFrame(
        {
            "method": "lrp.z",
            "layer": ["input", "branch", "block1_conv2", "block1_act", "add_3", "answer"],
            "relevance": [1.0, 99.0, 2.0, 2.0, 2.0, 2.0],
            "abs_sum": [8.0, 99.0, 2.0, 2.0, 2.0, 2.0],
            "is_bottleneck": [True, False, True, True, True, True],
        }
    )
    left, right = figures.plot_relevance_depth(table).axes
    assert left.lines[0].get_ydata().tolist() == [0.5, 1, 1, 1, 1]
    assert right.lines[0].get_ydata().tolist() == [4, 1, 1, 1, 1]
    ticks = dict(zip(left.get_xticks(), (t.get_text() for t in left.get_xticklabels())))
    assert ticks == {0: "picture", 2: "1", 3: "2", 4: "\nlogit"}
