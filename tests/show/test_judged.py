"""The figures of scores show what the tables say, baselines apart from methods."""

import numpy as np
import pandas as pd

from xaifake.judge.localisation import BASELINES
from xaifake.judge.runner import default_methods, judged
from xaifake.show import judged as figures


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_every_entry_is_of_its_kind_and_has_a_name_of_its_own():
    names = [method.name for method in default_methods()] + list(BASELINES)
    assert len({figures.readable(name) for name in names}) == len(names)
    assert figures.readable("grad_cam_plus_plus") == "Grad-CAM++"
    assert figures.readable("what will rise") == "what will rise"  # no method's name
    assert figures.readable("lrp.alpha_2_beta_1_IB") == "LRP alpha-2-beta-1 without bias"
    assert (
        figures.readable("lrp.sequential_preset_a_flat (iNNvestigate)") == "LRP preset A flat (iNN)"
    )
    kinds = pd.Series([figures.kind(name) for name in names]).value_counts()
    assert kinds["baseline"] == len(BASELINES)
    engines = [method.engine for method in default_methods()]
    assert kinds["iNNvestigate"] == engines.count("innvestigate")


def test_scores_stand_at_their_values_from_the_best_down():
    table = pd.DataFrame(
        {"method": ["chance", "lime"], "value": [0.2, 0.6], "low": [0.1, 0.5], "high": [0.3, 0.7]}
    )
    figure = figures.plot_scores({"a": table, "b": table}, {"a": 0.2}, "mass", named="chance")
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["LIME", "chance"]
    points = {float(line.get_xdata()[0]): float(line.get_ydata()[0]) for line in right.lines}
    assert points == {0.2: -1.0, 0.6: 0.0}
    assert len(left.lines) == 3  # the two kinds, and the reference
    assert left.get_xlim() == right.get_xlim()
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["knows nothing", "this book", "chance"]


def test_agreements_are_written_into_their_cells():
    pairs = pd.DataFrame(
        {"method": ["a"], "other": ["b"], "rank_correlation": [0.52], "beyond_centre": [-0.31]}
    )
    plain, beyond = figures.plot_rank_agreement(pairs, ["a", "b"]).axes[:2]
    assert texts(plain) == ["0.5", "0.5"] and texts(beyond) == ["-0.3", "-0.3"]
    shown = np.ma.getmaskarray(plain.collections[0].get_array()).reshape(2, 2)
    assert shown.tolist() == [[True, False], [False, True]]  # of a method with itself: nothing


def test_a_summary_leaves_empty_what_was_not_measured():
    table = pd.DataFrame({"mass": [0.254, np.nan], "passes": [238.4, 3.0]}, index=["a", "b"])
    figure = figures.plot_summary(table, {"mass": (0, 1), "passes": (50, 0)})
    assert texts(figure.axes[0]) == ["0.25", "238", "3.00"]  # seaborn writes nothing where masked


def test_put_back_curves_start_at_nothing():
    means = pd.DataFrame({"method": ["best"] * 2, "percent": [5, 20], "value": [0.9, 1.1]})
    means = means.assign(low=means.value - 0.1, high=means.value + 0.1)
    line = figures.plot_restored(means, ["best"]).axes[0].lines[0]
    assert line.get_xdata().tolist() == [0, 5, 20] and line.get_ydata().tolist() == [0, 0.9, 1.1]


def test_a_claim_stands_on_the_side_of_its_margin_that_it_claims():
    common = {"margin": 0.5, "low": 0.6, "high": 0.8, "value": 0.7, "scale": 2.0}
    rows = [
        common | {"claim": "up", "claimed": "above", "verdict": "holds"},
        common | {"claim": "down", "claimed": "below", "verdict": "does not hold"},
        {"claim": "open", "verdict": "not tested", "scale": 2.0},
    ]
    (axis,) = figures.plot_verdicts(pd.DataFrame(rows), {"up": "It rises"}).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["It rises", "down"]
    points = [(line.get_xdata()[0], line.get_color()) for line in axis.lines[:2]]
    np.testing.assert_allclose([x for x, _ in points], [0.2, -0.2])
    assert [colour for _, colour in points] == [
        figures.VERDICTS["holds"], figures.VERDICTS["does not hold"]
    ]  # fmt: skip


def test_the_stored_tables_draw():
    stable, curves = judged("stability"), judged("randomisation")
    panels = figures.plot_stability(stable, ["gradient", "lime"]).axes
    assert [len(panel.get_yticks()) for panel in panels] == [9, 9]
    assert [len(panel.texts) for panel in panels] == [0, 6]  # LIME has three perturbations
    panel = figures.plot_randomisation(curves, ["gradient"], "ssim").axes[0]
    assert panel.lines[0].get_xdata()[[0, -1]].tolist() == [0, 1]
    sweep = judged("planted")
    figure = figures.plot_planted(sweep[~sweep.partly], ["lime"])
    assert [axis.get_title() for axis in figure.axes][:2] == ["detector's AUC", "LIME"]
    filling = judged("filling")
    figure = figures.plot_filling(filling[filling.act == "deletion"], ["patch_effect"])
    assert [axis.get_title() for axis in figure.axes] == ["filled with grey", "filled with blur"]
