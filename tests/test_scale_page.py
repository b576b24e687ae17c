"""The page "At scale" says what the stored benchmark measured."""

import pandas as pd
import pytest

import scale_page
from test_grids import SINCE


@pytest.fixture(scope="module")
def costs():
    return pd.read_csv(scale_page.TABLE)


def test_the_page_has_the_measured_table_and_changes_with_it(costs):
    page = scale_page.PAGE.read_text(encoding="utf-8")
    assert scale_page.methods_table(costs) in page
    assert scale_page.filled(page, costs) == page
    changed = costs.assign(seconds=costs.seconds * 3)
    assert scale_page.filled(page, changed) != page


def test_every_method_is_in_the_table_and_every_curve_in_the_picture(costs):
    import xaifake

    measured = set(costs.method[costs.part == "method"]) - {"forward pass"}
    assert measured | set(SINCE) >= set(xaifake.methods()) >= measured
    figure = scale_page.growth_figure(costs)
    for axis, part in zip(figure.axes, scale_page.PANELS, strict=True):
        lines = axis.get_lines()
        assert len(lines) == costs[costs.part == part].method.nunique() >= 2
        assert all(len(line.get_xdata()) >= 3 for line in lines)
