"""The front door: one array with a report, a target per picture, methods as objects, one's own."""

import numpy as np
import pytest

import xaifake
from small import SIZE, detector, floats
from xaifake import explainers
from xaifake.detector import Detector
from xaifake.errors import UserError
from xaifake.explainers import Explainer, Relevance, register
from xaifake.explainers.registry import METHODS
from xaifake.explainers.request import Request

OBJECTS = {
    "gradient": "Gradient", "input_t_gradient": "InputTimesGradient", "grad_cam": "GradCAM",
    "integrated_gradients": "IntegratedGradients", "guided_backprop": "GuidedBackprop",
    "lime": "LIME", "lrp": "LRP", "smoothgrad": "SmoothGrad", "occlusion": "Occlusion",
    "grad_cam_plus_plus": "GradCAMPlusPlus", "rise": "RISE", "kernel_shap": "KernelSHAP",
}  # fmt: skip
BLOCKS = {"segmentation": np.arange(SIZE)[:, None] // 4 * 2 + np.arange(SIZE) // 4}
OPTIONS = {
    "lime": BLOCKS,
    "kernel_shap": BLOCKS,
    "rise": {"samples": 40},
    "lrp": {"rule": "Epsilon"},
}


def explain(model, images, method, **options):
    options = OPTIONS.get(method, {}) | options
    return xaifake.explain(model, images, method, progress=False, **options)


@pytest.mark.parametrize("method", [*OBJECTS, "lrp.sequential_preset_b_flat"])
def test_a_target_per_picture_is_that_pictures_own_explanation(method):
    model, images = detector(), floats(5)
    targets = ["fake", "real", "real", "fake", "real"]
    mixed = explain(model, images, method, target=targets)
    for target in ("fake", "real"):
        rows = np.flatnonzero(np.array(targets) == target)
        alone = explain(model, images[rows], method, target=target)
        np.testing.assert_allclose(mixed[rows], alone, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(mixed.report.logit[rows], alone.report.logit, rtol=1e-4)
    assert list(mixed.report) == list(alone.report) and len(mixed.report) == 5


def test_classes_may_be_asked_for_one_by_one():
    model, images = detector(classes=3), floats(4)
    mixed = explain(model, images, "gradient", target=np.array([2, 0, 1, 2]))
    for row, target in enumerate((2, 0, 1, 2)):
        alone = explain(model, images[[row]], "gradient", target=target)
        np.testing.assert_allclose(mixed[[row]], alone, rtol=1e-4, atol=1e-7)


def test_what_goes_with_a_picture_goes_with_its_target():
    model, images = detector(), floats(4)
    baselines = floats(4, seed=1)
    targets = ["real", "fake", "real", "fake"]
    mixed = explain(model, images, "integrated_gradients", target=targets, baseline=baselines)
    for row, target in enumerate(targets):
        alone = explain(
            model, images[[row]], "integrated_gradients", target=target, baseline=baselines[[row]]
        )
        np.testing.assert_allclose(mixed[[row]], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("targets", "told"), [
    (["fake"] * 3, "3 targets for 4 pictures"),
    (["fake", "real", "fake", "cat"], "No target 'cat'"),
])  # fmt: skip
def test_targets_that_do_not_fit_are_refused(targets, told):
    with pytest.raises(UserError, match=told):
        explain(detector(), floats(4), "gradient", target=targets)


@pytest.mark.parametrize("method", OBJECTS)
def test_an_object_has_the_maps_of_its_method(method):
    model, images = detector(), floats(3)
    made = getattr(explainers, OBJECTS[method])(model, progress=False, **OPTIONS.get(method, {}))
    found, expected = made(images, "real"), explain(model, images, method, target="real")
    np.testing.assert_array_equal(found, expected)
    assert found.report.equals(expected.report)


def test_an_object_tells_wrong_options_when_it_is_made():
    model = Detector(detector())
    with pytest.raises(UserError, match="grad_cam has no option 'steps'; it has batch_size"):
        explainers.GradCAM(model, steps=3)
    with pytest.raises(UserError, match="No method 'grad'. Did you mean"):
        Explainer(model, "grad")
    by_name = Explainer(model, "lrp.z", progress=False)
    np.testing.assert_array_equal(by_name(floats(2)), explain(model, floats(2), "lrp.z"))


def test_relevance_is_an_array_that_carries_its_report():
    found = explain(detector(), floats(3), "input_t_gradient")
    assert isinstance(found, np.ndarray) and isinstance(found, Relevance)
    assert found.dtype == np.float32 and found.shape == (3, SIZE, SIZE, 3)
    report = found.report
    np.testing.assert_allclose(report["sum"], np.asarray(found).sum((1, 2, 3)), rtol=1e-5)
    # What is left of it is about other pictures, or none.
    assert len(found[1:].report) == 0 and type(2 * found) is np.ndarray
    np.testing.assert_array_equal(np.concatenate([found, found])[3:], found)
    assert isinstance(found.sum(), np.float32)


def test_the_report_beside_it_works_for_a_release_and_warns():
    with pytest.warns(FutureWarning, match="has a report, explain"):
        relevance, report = explain(detector(), floats(2), "gradient", return_report=True)
    assert report.equals(relevance.report)


def test_a_method_of_ones_own_is_explained_listed_and_checked():
    for factor in (2, 3):  # a cell that is run again

        @register("mine")
        def mine(request, factor=factor):
            return factor * request.images

    try:
        found = xaifake.explain(detector(), floats(2), "mine")
        np.testing.assert_allclose(found, 3 * floats(2), rtol=1e-6)
        assert "mine" in xaifake.methods() and list(found.report) == ["logit", "sum"]
        with pytest.raises(UserError, match="mine has no option 'factors'; it has factor"):
            xaifake.explain(detector(), floats(2), "mine", factors=2)
        with pytest.raises(UserError, match="'gradient' is a method of xaifake already"):
            register("gradient")(mine)
    finally:
        METHODS.pop("mine")


def test_the_logits_that_a_method_of_ones_own_leaves_out_are_asked_for_in_batches(monkeypatch):
    asked, logit = [], Request.logit
    monkeypatch.setitem(METHODS, "mine", lambda request: request.images)
    monkeypatch.setattr(Request, "logit", lambda *of: asked.append(len(of[1])) or logit(*of))
    one, images = detector(), floats(35)
    for options, sizes in (({}, [32, 3]), ({"batch_size": 20}, [20, 15])):
        found = explain(one, images, "mine", **options).columns["logit"]
        wanted = explain(one, images, "gradient").columns["logit"]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        assert asked == sizes
        asked.clear()
