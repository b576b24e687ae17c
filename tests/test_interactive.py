"""The figures with controls: true to the library, complete without scripts, alive with them."""

import html
import json
import re

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

import make_interactive
import xaifake
from chapters import ROOT
from xaifake.explainers import activations
from xaifake.explainers.lrp import relevance_at
from xaifake.heatmaps import pack_maps
from xaifake.show.maps import heatmaps

STATIC = ROOT / "book" / "_static"
COUNTS = {"blend": 27, "threshold": 38, "channels": 120, "lrp": 126, "lime": 30, "perturbed": 30}
FIGURE = re.compile(
    r'<figure id="([^"]+)" data-state="([^"]+)"><img src="data:image/webp;base64,[^"]+" '
    r'width="\d+" height="\d+" alt="([^"]+)"><figcaption>([^<]+)</figcaption></figure>'
)


def arrays(name):
    with np.load(make_interactive.ARRAYS / f"{name}.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The fragments, as the build of the book draws them."""
    folder = tmp_path_factory.mktemp("drawn")
    make_interactive.render(folder)
    return {name: (folder / f"{name}.html").read_text(encoding="utf-8") for name in COUNTS}


@pytest.mark.parametrize("name", COUNTS)
def test_every_state_has_a_picture_and_words_of_its_own(name, drawn):
    ids, states, alts, captions = zip(*FIGURE.findall(drawn[name]))
    assert len(ids) == COUNTS[name] == drawn[name].count("<figure")
    for parts in (ids, states, alts, captions):
        assert len(set(parts)) == len(parts)
    controls = json.loads(html.unescape(re.search(r'data-controls="([^"]+)"', drawn[name])[1]))
    keys = {control["key"] for control in controls}
    assert all(json.loads(html.unescape(state)).keys() == keys for state in states)
    assert ("manipulated research illustrations" in drawn[name]) == (name != "threshold")
    assert len(drawn[name]) < 1_500_000


def test_drawing_twice_gives_the_same(drawn):
    assert make_interactive.figure("lime", arrays("lime")) == drawn["lime"]


def test_a_missing_state_is_noticed(drawn):
    assert len(FIGURE.findall(drawn["lime"].replace('alt="', 'title="', 1))) == COUNTS["lime"] - 1


def test_a_threshold_is_counted_as_scikit_learn_does():
    stored = arrays("threshold")
    for values, _, caption in make_interactive.threshold_states(stored):
        scale, threshold = values["scale"][:-1], float(values["threshold"])
        truth, p = stored[f"fake_{scale}"], 1 / (1 + np.exp(-stored[f"logits_{scale}"]))
        tn, fp, fn, tp = confusion_matrix(truth, p > threshold).ravel()
        assert f"{tp} of {tp + fn} fakes found" in caption
        assert f"{fp} of {tn + fp} real faces called fake" in caption


def test_the_blends_are_those_of_the_library_and_detail_falls():
    stored, now = arrays("blend"), make_interactive.compute_blend()
    assert all(np.array_equal(stored[name], now[name]) for name in stored)
    said = [caption for _, _, caption in make_interactive.blend_states(stored)]
    left = np.array([int(re.search(r"(\d+)% of the original's", one)[1]) for one in said])
    left = left.reshape(3, 3, 3)
    assert (left[2, :, 0] > left[2, :, 1]).all() and (left[2, :, 1] > left[2, :, 2]).all()


@pytest.mark.book
def test_the_channels_are_those_of_the_library(shipped_detector):
    stored, detector = arrays("channels"), shipped_detector(make_interactive.SCALE)
    for layer in make_interactive.LAYERS:
        maps = np.moveaxis(activations(detector, stored["faces"], layer), -1, 1)
        there = maps[:, stored[f"numbers_{layer}"]]
        np.testing.assert_allclose(stored[f"maps_{layer}"], there, rtol=2e-3, atol=2e-3)


@pytest.mark.book
def test_the_lrp_maps_are_those_of_the_library(shipped_detector):
    stored, detector = arrays("lrp"), shipped_detector(make_interactive.SCALE)
    rule = make_interactive.RULES.index("lrp.alpha_1_beta_0")
    now = relevance_at(
        detector, stored["faces"], "lrp.alpha_1_beta_0", ["input", "block1_conv2_act"]
    )
    for name, maps in {"picture": now["input"], "block 1": now["block1_conv2_act"]}.items():
        there = pack_maps(maps)[0]
        np.testing.assert_allclose(stored[f"map_{name}"][rule], there, atol=0.02)
    np.testing.assert_allclose(stored["sums"][0, rule], now["input"].sum((1, 2)), rtol=0.01)


@pytest.mark.book
def test_the_perturbed_maps_are_those_of_the_library(shipped_detector):
    stored, detector = arrays("perturbed"), shipped_detector(make_interactive.SCALE)
    inputs = stored["inputs"][0, [0, 3]]
    now = heatmaps(xaifake.explain(detector, inputs, make_interactive.LRP_RULE))
    np.testing.assert_allclose(stored["lrp"][0, [0, 3]], pack_maps(now)[0], atol=0.02)


@pytest.mark.book
def test_the_lime_maps_are_those_of_the_library(shipped_detector):
    stored, detector = arrays("lime"), shipped_detector(make_interactive.SCALE)
    cut = stored["segments"][0, :1].astype(int)
    options = {"segmentation": cut, "fill": "mean", "num_samples": make_interactive.SAMPLES}
    now = xaifake.explain(detector, stored["faces"][:1], "lime", seed=0, **options)
    correlation = np.corrcoef(heatmaps(now).ravel(), stored["maps"][0, 0, 0].ravel())[0, 1]
    assert correlation > 0.98


def open_figure(browser, fragment, folder, **options):
    """A page with one figure, opened from disk as a reader without a network would."""
    style, script = (STATIC / f"interactive.{kind}" for kind in ("css", "js"))
    (folder / "page.html").write_text(
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A figure</title>'
        f"<style>{style.read_text()}</style></head><body>{fragment}"
        f"<script>{script.read_text()}</script></body></html>",
        encoding="utf-8",
    )
    page = browser.new_page(**options)
    page.goto((folder / "page.html").as_uri())
    return page


def seen(page):
    return [figure.get_attribute("id") for figure in page.locator("figure:visible").all()]


def test_without_scripts_all_states_are_seen(browser, drawn, tmp_path):
    page = open_figure(browser, drawn["lime"], tmp_path, java_script_enabled=False)
    assert len(seen(page)) == COUNTS["lime"] and page.locator("input").count() == 0
    page.close()


def test_the_controls_choose_by_mouse(browser, drawn, tmp_path):
    page = open_figure(browser, drawn["lrp"], tmp_path)
    assert seen(page) == ["lrp-0"]
    page.get_by_label("Rule").select_option("lrp.gamma")
    page.get_by_label("real, the first one's original").check()
    (shown,) = seen(page)
    caption = page.locator(f"#{shown} figcaption").inner_text()
    assert "lrp.gamma" in caption and caption.startswith("real")
    assert page.locator("[role=status]").inner_text() == caption
    page.close()


def test_the_controls_choose_by_keyboard_and_later_ones_follow(browser, drawn, tmp_path):
    page = open_figure(browser, drawn["perturbed"], tmp_path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "blur"
    page.keyboard.press("ArrowDown")
    assert page.locator("output").inner_text() == "-45°"  # there is no 0 px of a rotation
    page.keyboard.press("Tab")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    (shown,) = seen(page)
    assert "rotation -10°" in page.locator(f"#{shown} figcaption").inner_text()
    assert page.get_by_label("Strength").get_attribute("aria-valuetext") == "-10°"
    page.close()
