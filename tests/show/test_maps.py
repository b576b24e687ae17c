"""Heatmaps, channels and outlines are drawn as they are: right places, right scales."""

import numpy as np
import pytest
import scipy
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from lime.lime_image import ImageExplanation

from xaifake.show import figures, maps

RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8) for _ in range(3)]
MAPS = [RNG.normal(0, scale, (12, 12)) for scale in (1, 0.01, 30)]
ROWS = {"face": PICTURES, "LIME": MAPS}


def grid(figure, rows, columns):
    """Return the axes of the pictures and the rest, the legend's."""
    number = rows * columns
    return np.reshape(figure.axes[:number], (rows, columns)), figure.axes[number:]


def limits(axes):
    return [axis.images[-1].get_clim() for axis in axes]


def test_a_heatmap_is_the_sum_over_colours():
    relevance = np.arange(2 * 2 * 2 * 3).reshape(2, 2, 2, 3)
    summed = maps.heatmaps(relevance)
    assert summed.tolist() == [[[3, 12], [21, 30]], [[39, 48], [57, 66]]]
    np.testing.assert_array_equal(maps.heatmaps(relevance.tolist()), summed)


def test_pictures_and_maps_stand_where_they_belong_with_names_and_titles():
    axes, _ = grid(maps.show_grid(ROWS, columns=["one", "two", "three"]), 2, 3)
    for line, items in zip(axes, ROWS.values(), strict=True):
        for axis, item in zip(line, items, strict=True):
            image = axis.images[-1]
            np.testing.assert_array_equal(image.get_array(), item)
    assert {axis.images[-1].get_cmap().name for axis in axes[1]} == {maps.COLOURS}
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["face", "LIME"]
    assert not any(axis.get_ylabel() for axis in axes[:, 1:].flat)
    assert [axis.get_title() for axis in axes[0]] == ["one", "two", "three"]
    assert not any(axis.get_title() for axis in axes[1])


def test_a_map_lies_on_a_faint_copy_of_its_picture():
    heatmap = np.array([[0.0, 1.0], [-0.25, 0.0]])
    axes, _ = grid(maps.show_grid({"face": PICTURES[:1], "map": [heatmap]}), 2, 1)
    face, drawn = axes[1, 0].images
    grey = PICTURES[0].mean(axis=-1)
    np.testing.assert_allclose(255 - face.get_array(), maps.FAINT * (255 - grey))
    assert face.get_extent() == drawn.get_extent()
    limit = drawn.get_clim()[1]
    np.testing.assert_allclose(drawn.get_alpha(), [[0, 1], [0.5 / limit, 0]])
    grid_under = maps.show_grid({"face": PICTURES[:1], "map": [heatmap]}, under=PICTURES[1])
    shown = grid(grid_under, 2, 1)[0][1, 0].images[0].get_array()
    np.testing.assert_allclose(255 - shown, maps.FAINT * (255 - PICTURES[1].mean(axis=-1)))
    (alone,) = maps.show_grid({"map": [heatmap]}).axes[0].images
    assert alone.get_alpha() is None


def test_a_scale_has_no_blue_half_where_nothing_speaks_against():
    for values, lowest in ((np.eye(4), 0), (-np.eye(4), -1)):
        _, (bar,) = grid(maps.show_grid({"map": [values]}), 1, 1)
        assert bar.get_ylim() == (lowest, 1)


def test_a_strip_shows_the_picture_and_then_how_each_map_changes():
    shares = [0.0, 0.25, 1.0]
    figure = maps.show_forgetting(PICTURES[0], {"one": MAPS, "other": MAPS[::-1]}, shares)
    axes, _ = grid(figure, 2, 4)
    titles = [axis.get_title().replace("\n", " ") for axis in axes[0]]
    assert titles == ["the picture", "knows everything", "25% forgotten", "knows nothing"]
    for line, items in zip(axes, (MAPS, MAPS[::-1]), strict=True):
        for axis, item in zip(line, [PICTURES[0], *items], strict=True):
            np.testing.assert_array_equal(axis.images[-1].get_array(), item)
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["one", "other"]


def test_red_speaks_for_and_blue_against():
    figure = maps.show_grid({"map": [np.array([[-1.0, 0.0, 1.0]])]})
    image = figure.axes[0].images[0]
    (against, nothing, in_favour), *_ = image.cmap(image.norm(image.get_array()))[..., :3]
    assert against[2] > 2 * against[0] and in_favour[0] > 2 * in_favour[2]
    assert (nothing > 0.95).all()


def test_each_map_has_its_own_scale_about_nothing():
    figure = maps.show_grid({"a": [np.eye(4), -3 * np.eye(4), np.full((4, 4), 3.0)]})
    assert limits(figure.axes[:3]) == [(-1, 1), (-3, 3), (-12, 12)]  # even ones are pale
    # The 201 values 0, 1, ... 200, of any sign: the 99.5th percentile is the last but one.
    values = np.arange(201.0) * np.where(np.arange(201) % 2, -1, 1)
    figure = maps.show_grid({"a": [values.reshape(3, 67)]})
    assert limits(figure.axes[:1]) == [(-199, 199)]


def test_together_a_row_has_one_scale_and_the_next_row_another():
    rows = {
        "a": [np.full((4, 4), 1.0), np.full((4, 4), -3.0)],
        "faces": PICTURES[:2],
        "b": [np.full((4, 4), 0.25), np.zeros((4, 4))],
    }
    axes, _ = grid(maps.show_grid(rows, together=True), 3, 2)
    assert limits(axes[0]) == [(-3, 3)] * 2
    assert limits(axes[2]) == [(-0.25, 0.25)] * 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("together", [False, True])
def test_a_map_of_nothing_is_white(together):
    figure = maps.show_grid({"a": [np.zeros((8, 8))] * 2}, together=together)
    figure.canvas.draw()
    low, high = figure.axes[0].images[0].get_clim()
    assert low == -high < 0


def test_a_map_of_few_pixels_is_not_shown_as_nothing():
    sparse = np.zeros((64, 64))
    sparse[5, 5:10] = 1e-3  # less than half a percent of the pixels
    image = maps.show_grid({"a": [sparse]}).axes[0].images[0]
    red, _, blue, _ = image.cmap(image.norm(sparse[5, 5]))
    assert red > 1.5 * blue


def test_the_word_is_on_manipulated_pictures_alone():
    axes, _ = grid(maps.show_grid(ROWS, manipulated=[True, False, True]), 2, 3)
    written = [[[t.get_text() for t in axis.texts] for axis in line] for line in axes]
    assert written == [[["manipulated"], [], ["manipulated"]], [[], [], []]]


@pytest.mark.filterwarnings("error")
def test_masks_are_outlined_on_the_maps_of_their_columns():
    masks = np.zeros((3, 12, 12), dtype=bool)
    masks[1, 2:5, 3:7] = True
    axes, _ = grid(maps.show_grid(ROWS, masks=masks), 2, 3)
    assert [[len(axis.collections) for axis in line] for line in axes] == [[0, 0, 0], [0, 1, 0]]
    (outline,) = axes[1, 1].collections
    corners = np.concatenate([path.vertices for path in outline.get_paths()])
    np.testing.assert_allclose(corners.min(axis=0), [2.5, 1.5])
    np.testing.assert_allclose(corners.max(axis=0), [6.5, 4.5])
    colour = outline.get_edgecolor()[0, :3] * 255
    np.testing.assert_allclose(colour, figures.MASK_COLOUR)
    axes, _ = grid(maps.show_grid(ROWS), 2, 3)
    assert not any(axis.collections for axis in axes.flat)


def test_only_figures_with_maps_have_a_legend():
    assert grid(maps.show_grid({"face": PICTURES}), 1, 3)[1] == []
    _, (legend,) = grid(maps.show_grid(ROWS), 2, 3)
    assert [text.get_text() for text in legend.get_yticklabels()] == ["against", "0", "for"]
    low, middle, high = legend.get_yticks()
    assert low == -high < middle == 0


def test_a_single_map_and_a_wider_grid_are_shown_and_rows_of_different_lengths_are_not():
    narrow, wide = (maps.show_grid({"a": MAPS}, width=width) for width in (1, 2))
    assert np.allclose(wide.get_size_inches() - narrow.get_size_inches(), [3, 1])
    assert len(maps.show_grid({"a": MAPS[:1]}).axes) == 2
    with pytest.raises(ValueError):
        maps.show_grid({"a": MAPS, "b": MAPS[:2]})


def channels(count=5):
    """Return channels of 2 x 3 pixels, of very different strength."""
    return RNG.uniform(0, 1, (2, 3, count)) * 10.0 ** np.arange(count)


def canvas(figure):
    return np.asarray(figure.axes[0].images[0].get_array())


def place(row, column, height=2, width=3):
    """Return where a channel stands on the canvas, two pixels from the next."""
    top, left = row * (height + maps.GAP), column * (width + maps.GAP)
    return slice(top, top + height), slice(left, left + width)


def test_channels_stand_in_rows_each_stretched_to_its_own_maximum():
    given = channels()
    shown = canvas(maps.show_channels(given, columns=2))
    assert shown.shape == (3 * 2 + 2 * maps.GAP, 2 * 3 + maps.GAP)
    expected = np.full_like(shown, np.nan)  # the white of the page
    for number in range(5):
        channel = given[..., number]
        expected[place(*divmod(number, 2))] = channel / channel.max()
    np.testing.assert_allclose(shown, expected)


def test_black_is_0_and_white_the_maximum():
    image = maps.show_channels(channels()).axes[0].images[0]
    assert image.get_clim() == (0, 1) and image.get_cmap().name == "gray"
    below = np.array([[-2.0, 0.0, 4.0]])[..., None]
    assert canvas(maps.show_channels(below)).tolist() == [[0, 0, 1]]


@pytest.mark.filterwarnings("error")
def test_silent_channels_are_grey():
    given = channels(3)
    given[..., 1] = 0
    shown = canvas(maps.show_channels(given))
    assert (shown[place(0, 1)] == maps.SILENT).all()
    assert shown[place(0, 0)].max() == shown[place(0, 2)].max() == 1


@pytest.mark.filterwarnings("error")
def test_standardised_channels_forget_their_strength_and_one_without_any_is_plain():
    given = channels(3)
    given[..., 1] = 7
    figure = maps.show_channels(given, standardised=True)
    assert figure.axes[0].images[0].get_cmap().name == "viridis"
    for number in (0, 2):
        bytes_ = 64 * scipy.stats.zscore(given[..., number], axis=None) + 128
        shown = canvas(figure)[place(0, number)]
        np.testing.assert_allclose(256 * shown, np.clip(bytes_, 0, 256), atol=1e-9)
    assert np.ptp(canvas(figure)[place(0, 1)]) == 0


@pytest.mark.parametrize("count", [1, 5])
def test_the_strongest_segments_are_those_that_lime_itself_keeps(count):
    segments = RNG.permutation(np.arange(144) % 12).reshape(12, 12)
    segments[0] = 3  # the largest is not the strongest
    weights = RNG.normal(size=12)
    theirs = ImageExplanation(np.ones((12, 12, 3)), segments)
    order = np.argsort(-np.abs(weights))
    theirs.local_exp[0] = [(number, weights[number]) for number in order]
    kept = {"positive_only": True, "hide_rest": True, "num_features": count}
    _, mask = theirs.get_image_and_mask(0, **kept)
    np.testing.assert_array_equal(maps.strongest_segments(weights[segments], count), mask == 1)
    assert not maps.strongest_segments(-np.abs(weights)[segments], count).any()


def test_chosen_channels_keep_their_order_and_carry_their_numbers():
    given = channels()
    figure = maps.show_channels(given, columns=2, numbers=[4, 0, 3])
    shown = canvas(figure)
    assert shown.shape == (2 * 2 + maps.GAP, 2 * 3 + maps.GAP)
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == ["4", "0", "3"]
    for number, (at, text) in enumerate(zip([4, 0, 3], texts, strict=True)):
        rows, columns = place(*divmod(number, 2))
        np.testing.assert_allclose(shown[rows, columns], given[..., at] / given[..., at].max())
        x, y = text.get_position()
        assert rows.start <= y < rows.stop and columns.start <= x < columns.stop
    assert not maps.show_channels(given).axes[0].texts


def test_few_channels_fill_one_row_and_the_figure_has_the_canvass_form():
    figure = maps.show_channels(channels(3), columns=16, width=6)
    assert canvas(figure).shape == (2, 3 * 3 + 2 * maps.GAP)
    width, height = figure.get_size_inches()
    assert width == 6 and height == pytest.approx(6 * 2 / 13)


def test_layers_stand_in_rows_with_their_names_and_sizes():
    layers = {"first": channels(3), "last": RNG.uniform(0, 9, (1, 1, 3))}
    axes, rest = grid(maps.show_layers(layers), 2, 3)
    for line, (name, layer) in zip(axes, layers.items(), strict=True):
        for number, axis in enumerate(line):
            channel = layer[..., number]
            np.testing.assert_allclose(axis.images[0].get_array(), channel / channel.max())
        assert name in line[0].get_ylabel()
    assert "2 x 3" in axes[0, 0].get_ylabel() and "1 x 1" in axes[1, 0].get_ylabel()
    assert rest == []


YELLOW = np.array([255, 230, 0])


def outlined(labels):
    """Return the pixels that are drawn over, and the enlarged labels."""
    image = np.full((*labels.shape, 3), (10, 20, 30), dtype=np.uint8)
    shown = maps.outline_segments(image, labels)
    assert shown.dtype == np.uint8
    assert shown.shape == (2 * labels.shape[0], 2 * labels.shape[1], 3)
    drawn = (shown != (10, 20, 30)).any(axis=-1)
    assert np.abs(shown[drawn] - YELLOW.astype(int)).max(initial=0) <= 1
    return drawn, labels.repeat(2, axis=0).repeat(2, axis=1)


@given(arrays(np.int64, (5, 6), elements=st.integers(0, 3)))
def test_lines_are_on_all_borders_and_nowhere_else(labels):
    drawn, large = outlined(labels)
    near = np.zeros_like(drawn)
    cuts = {0: (np.s_[:-1], np.s_[1:]), 1: (np.s_[:, :-1], np.s_[:, 1:])}
    for axis, (one, other) in cuts.items():
        differs = np.diff(large, axis=axis) != 0
        assert (drawn[one] | drawn[other])[differs].all()
        near[one] |= differs
        near[other] |= differs
    assert not drawn[~near].any()
    assert not any(outlined(np.full((5, 6), label))[0].any() for label in (0, 7))


def test_between_the_lines_the_picture_is_untouched():
    segments = np.arange(12)[:, None] // 6 + np.zeros(12, dtype=int)
    shown = maps.outline_segments(PICTURES[0], segments)
    large = PICTURES[0].repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(shown[:11], large[:11])
    np.testing.assert_array_equal(shown[13:], large[13:])
    assert (shown[11:13] != large[11:13]).any()
