"""What was computed once belongs to the shipped detectors, and is computed in pieces."""

import re

import numpy as np
import pandas as pd
import pytest

import compute_grids
from xaifake.detector import sample_true_positives
from xaifake.explainers import explain
from xaifake.explainers.stored import lrp_benchmark, rule_agreement, rule_grid
from xaifake.judge.localisation import BASELINES, against_best_baseline, localise, region_contrast
from xaifake.judge.perturbations import SCORES, SWEEP, Blur, perturbation_curve, stored_curves
from xaifake.judge.runner import default_methods, judged, judged_settings
from xaifake.judge.sanity import FAILED, agreement_when_randomised

# Methods and variants that are measured since the stored tables of scores and costs were made.
SINCE = (
    "lime (slic)", "integrated_gradients (blur)", "grad_cam_plus_plus", "kernel_shap", "occlusion",
    "rise", "smoothgrad",
)  # fmt: skip


def test_stored_curves_have_every_entry_of_the_sweep():
    stored = stored_curves()
    configs = {(p.kind, round(p.strength, 6), s) for p in SWEEP for s in SCORES}
    for scale in (1.3, 2.0):
        rows = stored[stored.scale == scale]
        assert {(*key, s) for *key, s in rows[["kind", "strength", "score"]].to_numpy()} == configs
        assert (rows.low <= rows.value).all() and (rows.value <= rows.high).all()


@pytest.mark.book
def test_a_stored_entry_comes_out_again(shipped_detector, shipped_faces):
    stored = stored_curves().query("scale == 2.0 and kind == 'blur' and strength == 0")
    now = perturbation_curve(shipped_detector(2.0), shipped_faces(2.0), [Blur(0)], resamples=2)
    assert list(now.score) == list(stored.score)
    # A logit on the threshold may fall on its other side on another processor.
    np.testing.assert_allclose(now.value, stored.value, atol=0.01)


def test_no_map_of_the_grid_stands_there_twice_and_one_comes_out_again(
    shipped_detector, shipped_faces
):
    for scale in (1.3, 2.0):
        grid = rule_grid(scale)
        maps = list(grid.heatmaps.items())
        for number, (name, one) in enumerate(maps):
            for other, two in maps[:number]:
                assert not np.array_equal(one, two), (name, other)
    faces = shipped_faces(2.0)
    keys = list(zip(faces.table.video, faces.table.frame, strict=True))
    images = faces.images[[keys.index(face) for face in grid.faces]]
    now = explain(shipped_detector(2.0), images, "gradient").sum(axis=-1)
    stored = grid.heatmaps["gradient"]
    np.testing.assert_allclose(now, stored, atol=2e-3 * np.abs(stored).max())


@pytest.mark.book
def test_the_stored_agreement_has_each_shared_rule_on_fifty_fakes_a_scale(
    shipped_detector, shipped_faces
):
    stored = rule_agreement()
    assert set(stored.method) == set(compute_grids.SHARED)
    assert (stored.groupby(["scale", "method"]).video.nunique() == 50).all()
    for scale, part in stored.groupby("scale"):
        sample = sample_true_positives(shipped_detector(scale), shipped_faces(scale))
        assert set(sample.table.video) == set(part.video)


@pytest.mark.book
def test_stored_maps_of_our_rules_come_out_again(shipped_detector, shipped_faces):
    grid = rule_grid(2.0)
    assert set(grid.own) == set(compute_grids.SHARED)
    faces = shipped_faces(2.0)
    keys = list(zip(faces.table.video, faces.table.frame, strict=True))
    images = faces.images[[keys.index(face) for face in grid.faces]]
    for method in ("lrp.alpha_2_beta_1", "lrp.sequential_preset_a_flat"):
        now = explain(shipped_detector(2.0), images, method).sum(axis=-1)
        np.testing.assert_allclose(now, grid.own[method], atol=2e-3 * np.abs(now).max())


def test_what_chapter_6_says_of_fifty_fakes():
    stored = rule_agreement()
    medians = stored.groupby(["method", "scale"]).correlation.median().unstack()
    presets = medians[medians.index.str.contains("preset")]
    assert len(presets) == 4 and (presets > 0.85).all(axis=None)
    assert (medians.loc[["lrp.z", "lrp.epsilon"]].abs() < 0.05).all(axis=None)
    assert medians.loc["lrp.alpha_2_beta_1"].between(0.3, 0.7).all()
    flipped = stored[stored.method.str.contains("preset") & (stored.correlation < 0)]
    assert len(flipped) and (flipped.sum_library < 0).all()


def test_the_stored_benchmark_has_each_rule_and_engine():
    stored = lrp_benchmark()
    assert set(stored.engine) == {"xaifake", "innvestigate", "zennit"}
    assert stored.groupby("rule").engine.nunique().eq(3).all()
    ours = stored[stored.engine == "xaifake"].set_index("rule")
    for rule, aim in {"epsilon": 2.5, "alpha_1_beta_0": 5, "alpha_2_beta_1": 8}.items():
        assert ours.passes[f"lrp.{rule}"] < aim
    slower = stored.pivot(index="rule", columns="engine", values="times_slower")
    assert (slower.zennit > 1.5).all() and (slower.innvestigate.drop("lrp.z_plus_fast") > 1).all()
    assert slower.innvestigate["lrp.z_plus_fast"] < 1
    zennit = stored[stored.engine == "zennit"].set_index("rule")
    assert zennit.correlation["lrp.epsilon"] > 0.9999
    assert ours.times_slower.eq(1).all() and ours.correlation.gt(0.999).all()
    assert stored.first_map_s.notna().sum() >= 6


def test_a_run_that_was_killed_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(compute_grids, "PARTS", tmp_path / "parts")
    monkeypatch.setattr(compute_grids, "GRIDS", tmp_path / "grids")
    monkeypatch.setattr(compute_grids, "SCALES", (2.0,))
    monkeypatch.setattr(compute_grids, "SWEEP", [Blur(1), Blur(2), Blur(3)])
    monkeypatch.setattr(compute_grids.Detector, "pretrained", lambda scale: None)
    monkeypatch.setattr(compute_grids, "load_faces", lambda scale: None)
    asked = []

    def curve(model, faces, perturbations, progress):
        asked.append(perturbations[0].sigma)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return pd.DataFrame({"strength": [perturbations[0].sigma], "value": [0.5]})

    monkeypatch.setattr(compute_grids, "perturbation_curve", curve)
    with pytest.raises(KeyboardInterrupt):
        compute_grids.main(["perturbations"])
    assert compute_grids.main(["perturbations"]) == 0
    assert asked == [1, 2, 3, 3]
    table = pd.read_csv(tmp_path / "grids" / "perturbations.csv")
    assert table.strength.to_list() == [1, 2, 3]


def test_a_grid_that_does_not_exist_is_told(capsys):
    assert compute_grids.main(["rule"]) == 2
    told = capsys.readouterr().err
    assert "No grid rule: give rules, agreement, perturbations, lime, judge, reference." in told


def test_the_stored_judgement_has_every_method_on_the_fakes_that_were_found(shipped_detector):
    stored, record = judged("localisation"), judged_settings()
    assert re.fullmatch("[0-9a-f]{40}", record["weights_commit"])
    for about in record["detectors"]:
        part = stored[stored.scale == np.float32(about["scale"])]
        model = shipped_detector(about["scale"])
        assert model.fingerprint == about["weights"]
        sizes = part.groupby("method", observed=True).size()
        for config in default_methods():
            if config.name in SINCE and config.name not in sizes:
                continue
            assert sizes[config.name] == (about["sample"] if config.slow else about["found"])
        assert (sizes[list(BASELINES)] == about["found"]).all()


@pytest.mark.book
def test_stored_scores_of_maps_come_out_again(shipped_detector, shipped_faces):
    stored = judged("localisation")
    stored = stored[stored.scale == np.float32(2.0)].set_index(["method", "video", "frame"])
    model = shipped_detector(2.0)
    few = sample_true_positives(model, shipped_faces(2.0))[:4]
    for name in ("input_t_gradient", "lrp.alpha_1_beta_0"):
        now = localise(explain(model, few.images, name).sum(axis=-1), few)
        then = stored.loc[[(name, *key) for key in zip(few.table.video, few.table.frame)]]
        for column in ("mass", "rank", "auc", "mass_region_eyes"):
            np.testing.assert_allclose(now[column], then[column], atol=0.02)


def test_what_the_chapters_say_of_the_stored_judgement_is_so():
    table = judged("localisation").astype({"method": str})
    for scale, part in table.groupby("scale"):
        whole = part[part.region == "whole"]
        gaps = against_best_baseline(whole, "mass", resamples=200)
        assert (gaps.high < 0).all(), "no method beats the mean mask on whole faces"
        moved = {
            name: region_contrast(rows).contrast.mean() for name, rows in part.groupby("method")
        }
        assert moved["gradient"] > 0.04 and moved["input_t_gradient"] > 0.03
        for name in ("a", "b", "a_flat", "b_flat"):
            assert moved[f"lrp.sequential_preset_{name}"] < -0.03
        assert moved["guided_backprop"] < -0.05 and abs(moved["mean mask"]) < 0.01
        faithful = judged("faithfulness").astype({"method": str})
        lost = faithful[faithful.scale == scale].groupby("method")[["logit_drop_10", "gap"]].sum()
        gone = lost.logit_drop_10 / lost.gap
        methods_alone = gone.drop([*BASELINES, "patch_effect", "best"])
        assert methods_alone.idxmax() == "gradient (absolute)"
        assert gone["best"] >= gone["patch_effect"] - 0.02 > gone["mean mask"] - 0.05
    alike = agreement_when_randomised(judged("randomisation"))
    failed = ["guided_backprop", "lrp.alpha_1_beta_0", "lrp.sequential_preset_b_flat"]
    assert (alike[failed] > FAILED).all() and (alike[["gradient", "lrp.epsilon"]] < 0.2).all()
