"""LIME is the lime package's, to the bit; it finds what was planted, and its options do as told."""

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from lime.lime_image import LimeImageExplainer
from lime.wrappers.scikit_image import SegmentationAlgorithm
from scipy.ndimage import gaussian_filter
from scipy.special import expit, softmax
from skimage.segmentation import slic

from small import run_explain
from xaifake.detector import forward, preprocess
from xaifake.errors import UserError
from xaifake.explainers.lime import (
    SEGMENTATIONS,
    Classifier,
    explain_lime,
    fit_surrogate,
    make_fills,
    segment,
)
from xaifake.explainers.request import prepare

SIZE = 24
# A grid of 16 squares, and the same with numbers that begin anywhere and leave gaps.
SQUARES = (np.arange(SIZE) // 6)[:, None] * 4 + np.arange(SIZE) // 6
GAPS = 4 * SQUARES + 5


def faces(count=3, size=SIZE, seed=0):
    """Return smooth colourful pictures, uint8."""
    noise = np.random.default_rng(seed).normal(size=(count, size, size, 3))
    noise = gaussian_filter(noise, (0, 2, 2, 0))
    return np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)


def detector(weights, head=None, bias=0.0):
    """Return a model that weighs pixels: (H, W, K) for K logits, all three colours alike."""
    height, width, logits = weights.shape
    inputs = keras.Input((height, width, 3))
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(logits, activation=head)(flat))
    kernel = weights.repeat(3, axis=1).reshape(-1, logits)
    model.set_weights([kernel, np.full(logits, bias)])
    return model


def random_weights(logits=1, seed=0):
    weights = np.random.default_rng(seed).normal(size=(SIZE, SIZE, logits))
    return gaussian_filter(weights, (3, 3, 0)) / 10


@pytest.fixture(scope="module")
def model():
    return detector(random_weights())


@pytest.fixture(scope="module")
def probability(model):
    """Return the detector's probability of fake, without TensorFlow."""
    kernel = model.get_weights()[0].astype(np.float64)[:, 0]
    return lambda pictures: expit(np.stack([picture.ravel() @ kernel for picture in pictures]))


def explain(model, images, method="lime", **options):
    return run_explain(
        model, images, method, **{"segmentation": SQUARES, "num_samples": 100, **options}
    )


def weights_of(relevance, segments=SQUARES):
    """Return what each segment's pixels hold, over their colours together."""
    total = np.bincount(segments.ravel(), relevance.sum(axis=-1, dtype=float).ravel())
    return total / np.bincount(segments.ravel())


def plain_lime(classify, image, segments, fill, samples, seed, batch_size, **how):
    explainer = LimeImageExplainer(kernel_width=0.25, random_state=seed, **how)

    def both(pictures):
        return np.stack([1 - classify(pictures), classify(pictures)], axis=1)

    # Without random_seed, lime draws one from the generator of the perturbations.
    found = explainer.explain_instance(
        image, both, labels=(1,), top_labels=None, hide_color=fill, num_samples=samples,
        batch_size=batch_size, segmentation_fn=lambda _: segments, random_seed=seed,
    )  # fmt: skip
    by_segment = dict(found.local_exp[1])
    return np.array([by_segment[number] for number in range(len(by_segment))]), found


ODD = SEGMENTATIONS["quickshift"](faces(1, seed=5)[0] / 255)


@pytest.mark.parametrize("filled", [False, True], ids=["mean", "array"])
@pytest.mark.parametrize(
    "segments, samples, seed, batch_size",
    [(SQUARES, 100, 0, 64), (SQUARES, 33, 1, 10), (ODD, 60, 2, 7)],
)
def test_the_surrogate_is_limes_own_to_the_bit(
    segments, samples, seed, batch_size, filled, probability
):
    image, fill = preprocess(faces(2, seed=seed))
    fill = fill if filled else None
    how = image, segments, fill, samples, seed, batch_size
    ours = fit_surrogate(probability, *how)
    weights, theirs = plain_lime(probability, *how, feature_selection="none")
    np.testing.assert_array_equal(ours.weights, weights)
    assert ours.intercept == theirs.intercept[1]
    assert ours.r2 == theirs.score
    assert ours.prediction == theirs.local_pred[0]
    assert ours.probability == probability(image[None])[0]
    # lime's default sorts the segments before the fit; the sums are taken in another order.
    weights, theirs = plain_lime(probability, *how)
    np.testing.assert_allclose(ours.weights, weights, rtol=1e-6, atol=1e-12)


def test_the_surrogate_solves_the_papers_equation(probability):
    image, fill = preprocess(faces(2))
    samples, number = 80, 16
    found = fit_surrogate(probability, image, SQUARES, fill, samples, seed=4)
    shown = np.random.RandomState(4).randint(0, 2, samples * number).reshape(samples, number)
    shown[0] = 1
    answers = probability(np.where(shown.astype(bool)[:, SQUARES][..., None], image, fill))
    distance = 1 - np.sqrt(shown.sum(axis=1) / number)  # of cosines, to the row of ones
    near = np.exp(-(distance**2) / 0.25**2 / 2)
    # Weighted least squares with a ridge of 1 on all but the intercept.
    rows = np.column_stack([np.ones(samples), shown])
    ridge = np.diag([0.0] + [1.0] * number)
    solution = np.linalg.solve(rows.T * near @ rows + ridge, rows.T * near @ answers)
    assert found.intercept == pytest.approx(solution[0])
    np.testing.assert_allclose(found.weights, solution[1:], atol=1e-9)
    error = answers - rows @ solution
    spread = answers - np.average(answers, weights=near)
    assert found.r2 == pytest.approx(1 - np.sum(near * error**2) / np.sum(near * spread**2))
    assert found.prediction == pytest.approx(solution.sum())


def test_the_network_sees_what_lime_drew_and_no_segment_is_empty(probability):
    image, fill = preprocess(faces(2))
    seen = []

    def classify(pictures):
        seen.append(pictures.copy())
        return probability(pictures)

    fit_surrogate(classify, image, SQUARES, fill, num_samples=50, seed=1, batch_size=20)
    assert [len(pictures) for pictures in seen] == [20, 20, 10]
    shown = (np.concatenate(seen) == image).all(axis=-1)
    assert shown[0].all() and ((np.concatenate(seen) == fill).all(axis=-1) == ~shown).all()
    drawn = np.random.RandomState(1).randint(0, 2, 50 * 16).reshape(50, 16).astype(bool)
    np.testing.assert_array_equal(shown[1:], drawn[1:][:, SQUARES])


def test_the_coefficients_of_a_linear_classifier_are_recovered():
    image, fill = preprocess(faces(2))
    coefficients = np.random.default_rng(0).permutation(np.linspace(-0.06, 0.06, 16))

    def classify(pictures):
        hidden = (pictures == fill).all(axis=-1)
        shown = [~hidden[:, SQUARES == number].all(axis=1) for number in range(16)]
        return 0.5 + np.transpose(shown) @ coefficients

    found = fit_surrogate(classify, image, SQUARES, fill, num_samples=1000)
    assert np.argsort(found.weights).tolist() == np.argsort(coefficients).tolist()
    assert np.sign(found.weights).tolist() == np.sign(coefficients).tolist()
    # The ridge of 1 draws them towards 0 by less than one part in twenty.
    np.testing.assert_allclose(found.weights, coefficients, rtol=0.05, atol=1e-3)
    assert found.intercept == pytest.approx(0.5, abs=5e-3)
    assert found.r2 > 0.999
    assert found.probability == pytest.approx(0.5 + coefficients.sum())
    assert found.prediction == pytest.approx(found.probability, abs=5e-3)


def bright_mean(region, strength=3.0):
    """Return a detector whose logit is the mean over a region, and a picture bright all over."""
    model = detector((strength * region / region.sum() / 3)[..., None])
    picture = np.random.default_rng(0).uniform(0.2, 0.9, (1, *region.shape, 3))
    return model, picture.astype(np.float32)


@pytest.mark.parametrize("planted", [0, 6, 15])
def test_evidence_planted_in_one_segment_is_found_there(planted):
    model, image = bright_mean(SQUARES == planted)
    relevance = explain(model, image, fill="grey")
    weights = weights_of(relevance[0])
    assert weights.argmax() == planted
    # Grey is 0, where the logit is 0 and the probability a half.
    mean = image[0, SQUARES == planted].mean(dtype=float)
    assert weights[planted] == pytest.approx(expit(3 * mean) - 0.5, rel=0.1)
    assert np.abs(np.delete(weights, planted)).max() < 0.05 * weights[planted]
    against = explain(model, image, fill="grey", target="real")
    np.testing.assert_allclose(against, -relevance, atol=1e-6 * relevance.max())


def test_evidence_planted_in_a_segment_that_was_found_is_found_there(model):
    images = faces(1)
    segments = segment(prepare(model, images), "slic")[0]
    planted = segments.max() // 2
    watcher, _ = bright_mean(segments == planted)
    images[:, segments == planted] = 250
    # The bright patch moves the borders, so the segments of before are given.
    relevance = explain(watcher, images, fill="grey", segmentation=segments, num_samples=300)
    assert weights_of(relevance[0], segments).argmax() == planted


def test_relevance_is_the_segments_weight_at_each_of_its_pixels(model, probability):
    images = faces(2)
    relevance = explain(model, images, segmentation=ODD, seed=3)
    assert relevance.shape == images.shape and relevance.dtype == np.float32
    for image, shown in zip(preprocess(images), relevance, strict=True):
        found = fit_surrogate(probability, image, ODD, None, num_samples=100, seed=3)
        np.testing.assert_allclose(
            weights_of(shown, ODD), found.weights, atol=1e-4 * np.abs(found.weights).max()
        )
        for number in range(ODD.max() + 1):
            assert len(np.unique(shown[ODD == number])) == 1


def test_the_same_seed_gives_the_same_map_alone_or_among_others(model):
    images = faces(3)
    together = explain(model, images, segmentation="slic")
    np.testing.assert_array_equal(explain(model, images, segmentation="slic"), together)
    backwards = explain(model, images[::-1], segmentation="slic")[::-1]
    np.testing.assert_array_equal(backwards, together)
    alone = explain(model, images[1:2], segmentation="slic")
    np.testing.assert_array_equal(alone, together[1:2])
    other = explain(model, images, segmentation="slic", seed=1)
    near = np.isclose(other, together, rtol=1e-3, atol=0)
    assert near.mean() < 0.1
    assert np.corrcoef(other.ravel(), together.ravel())[0, 1] > 0.5  # another draw, same request


def test_neither_batch_nor_type_of_the_pictures_matters(model):
    images = faces(2)
    before, weights = images.copy(), model.get_weights()
    one = explain(model, images)
    scale = np.abs(one).max()
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(model.get_weights()[0], weights[0])
    for batch_size in (1, 7, 300):
        other = explain(model, images, batch_size=batch_size)
        np.testing.assert_allclose(other, one, atol=1e-5 * scale)
    floats = explain(model, preprocess(images))
    np.testing.assert_allclose(floats, one, atol=1e-5 * scale)


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_segments_are_counted_from_0_and_do_not_depend_on_the_range(name):
    images = faces(2, size=64)
    larger = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Flatten()])
    larger.add(keras.layers.Dense(1))
    bytes_ = segment(prepare(larger, images), name)
    assert bytes_.shape == (2, 64, 64)
    for segments in bytes_:
        assert np.unique(segments).tolist() == list(range(segments.max() + 1))
        assert 2 < segments.max() < 200
    assert not np.array_equal(bytes_[0], bytes_[1])
    wide = segment(prepare(larger, images.astype(float), value_range=(0, 255)), name)
    np.testing.assert_array_equal(wide, bytes_)
    np.testing.assert_array_equal(
        segment(prepare(larger, images, value_range=(0, 255)), name), bytes_
    )
    np.testing.assert_array_equal(segment(prepare(larger, images[1:]), name)[0], bytes_[1])


def test_quickshift_is_limes_own_and_slic_that_of_the_picture_in_colour():
    picture = faces(1, size=48)[0]
    theirs = SegmentationAlgorithm(
        "quickshift", kernel_size=4, max_dist=200, ratio=0.2, random_seed=0
    )
    floats = picture / 255
    np.testing.assert_array_equal(SEGMENTATIONS["quickshift"](floats), theirs(floats))
    found = SEGMENTATIONS["slic"](floats)
    np.testing.assert_array_equal(found, slic(picture, n_segments=50, compactness=10) - 1)


@given(coarse=arrays(np.int64, (2, SIZE // 8, SIZE // 8), elements=st.integers(-3, 12)))
@settings(max_examples=30)
def test_segments_that_are_given_are_renumbered_and_stay_apart(coarse, model):
    named = coarse.repeat(8, axis=1).repeat(8, axis=2)
    found = segment(prepare(model, faces(2)), named)
    for ours, theirs in zip(found, named, strict=True):
        names = np.unique(theirs)
        np.testing.assert_array_equal(names[ours], theirs)  # one number for each name, in order
        assert np.unique(ours).tolist() == list(range(len(names)))


def test_one_segmentation_serves_all_pictures_and_gaps_make_no_features(model):
    images = faces(2)
    relevance, report = explain(model, images, segmentation=GAPS, return_report=True)
    assert report.segments.tolist() == [16, 16]
    np.testing.assert_array_equal(relevance, explain(model, images))
    each = np.stack([GAPS.astype(np.uint8), SQUARES // 8])
    relevance, report = explain(model, images, segmentation=each, return_report=True)
    assert report.segments.tolist() == [16, 2]
    np.testing.assert_array_equal(relevance[0], explain(model, images)[0])
    assert [len(np.unique(picture)) for picture in relevance] == [16, 2]


class Camera(keras.layers.Layer):
    """Lets pictures pass and keeps them; the model must run eagerly."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, pictures):
        if hasattr(pictures, "numpy"):
            self.seen.append(pictures.numpy())
        return pictures


def photographed(images, samples=16, **options):
    """Return what the network sees of each picture: (N, samples, H, W, 3)."""
    camera = Camera()
    inputs = keras.Input((SIZE, SIZE, 3))
    flat = keras.layers.Flatten()(camera(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(flat))
    model.run_eagerly = True
    explain(model, images, num_samples=samples, batch_size=samples, **options)
    return [pictures for pictures in camera.seen if len(pictures) == samples]


def mean_colours(image):
    filled = np.empty_like(image)
    for number in range(16):
        filled[SQUARES == number] = image[SQUARES == number].mean(axis=0)
    return filled


def blurred(image):
    return cv2.GaussianBlur(image, (17, 17), SIZE / 12, borderType=cv2.BORDER_REFLECT)


BYTES = faces(2)
TWINS = faces(2, seed=9)


@pytest.mark.parametrize(
    "fill, expected",
    [
        ("mean", [mean_colours(image) for image in preprocess(BYTES)]),
        ("grey", [np.zeros((SIZE, SIZE, 3))] * 2),
        ("blur", [blurred(image) for image in preprocess(BYTES)]),
        (TWINS, preprocess(TWINS)),
        (preprocess(TWINS), preprocess(TWINS)),
        (TWINS[1:], preprocess(TWINS[[1, 1]])),
        (TWINS[1], preprocess(TWINS[[1, 1]])),
    ],
    ids=["mean", "grey", "blur", "originals", "originals as floats", "one for all", "one picture"],
)
def test_hidden_segments_show_the_fill(fill, expected):
    seen = photographed(BYTES, fill=fill)
    assert len(seen) == 2
    drawn = np.random.RandomState(0).randint(0, 2, 16 * 16).reshape(16, 16).astype(bool)
    drawn[0] = True
    for pictures, image, hidden in zip(seen, preprocess(BYTES), expected, strict=True):
        wanted = np.where(drawn[:, SQUARES][..., None], image, hidden)
        np.testing.assert_allclose(pictures, wanted, atol=1e-5)


def test_grey_is_the_middle_of_the_models_range(model):
    request = prepare(model, faces(1), value_range=(0, 255))
    assert np.unique(make_fills(request, "grey")[0]).tolist() == [127.5]


def test_a_head_makes_no_difference():
    images, weights = faces(2), random_weights()
    bare = explain(detector(weights, bias=0.3), images)
    scale = np.abs(bare).max()
    headed = explain(detector(weights, "sigmoid", 0.3), images)
    np.testing.assert_allclose(headed, bare, atol=1e-5 * scale)
    weights = random_weights(3)
    bare = explain(detector(weights), images, target=1)
    headed = explain(detector(weights, "softmax"), images, target=1)
    np.testing.assert_allclose(headed, bare, atol=1e-5 * np.abs(bare).max())


def test_two_logits_of_which_one_is_0_make_the_detector_with_one():
    images, weights = faces(2), random_weights()
    one = explain(detector(weights), images)
    two = detector(np.concatenate([0 * weights, weights], axis=2))
    scale = np.abs(one).max()
    np.testing.assert_allclose(explain(two, images, target=1), one, atol=1e-5 * scale)
    np.testing.assert_allclose(explain(two, images, target=0), -one, atol=1e-5 * scale)


def test_what_speaks_for_one_class_speaks_against_the_others():
    images, several = faces(1), detector(random_weights(3))
    maps, reports = zip(
        *(explain(several, images, target=k, return_report=True) for k in range(3)), strict=True
    )
    # Probabilities add up to 1 in every perturbed picture.
    np.testing.assert_allclose(sum(maps), 0, atol=1e-5 * np.abs(maps).max())
    logits = several.predict(preprocess(images), verbose=0)[0]
    np.testing.assert_allclose([report.logit[0] for report in reports], logits, atol=1e-5)
    kernel = several.get_weights()[0].astype(float)

    def second(pictures):
        return softmax([picture.ravel() @ kernel for picture in pictures], axis=1)[:, 2]

    found = fit_surrogate(second, preprocess(images)[0], SQUARES, None, num_samples=100)
    np.testing.assert_allclose(
        weights_of(maps[2][0]), found.weights, atol=1e-4 * np.abs(found.weights).max()
    )


def test_the_report_tells_how_the_surrogate_fared(model, probability):
    images = faces(3)
    relevance, report = explain(model, images, return_report=True)
    assert list(report) == ["logit", "sum", "segments", "r2", "prediction_gap"]
    assert len(report) == 3 and report.segments.tolist() == [16] * 3
    logits = model.predict(preprocess(images), verbose=0)[:, 0]
    np.testing.assert_allclose(report.logit, logits, atol=1e-5)
    np.testing.assert_allclose(report["sum"], relevance.sum(axis=(1, 2, 3)), rtol=1e-3)
    for row, image in zip(report.itertuples(), preprocess(images), strict=True):
        found = fit_surrogate(probability, image, SQUARES, None, num_samples=100)
        assert row.r2 == pytest.approx(found.r2, abs=1e-4)
        gap = found.prediction - probability(image[None])[0]
        assert row.prediction_gap == pytest.approx(gap, abs=1e-5)
    against = explain(model, images, target="real", return_report=True)[1]
    np.testing.assert_allclose(against.logit, -report.logit, atol=1e-6)
    np.testing.assert_allclose(against.prediction_gap, -report.prediction_gap, atol=1e-5)


def test_digits_may_be_traded_for_speed_and_the_report_says_so(monkeypatch):
    if "BF16" not in forward._capabilities():
        pytest.skip("a processor without bfloat16")
    monkeypatch.delenv("XAIFAKE_ENGINE", raising=False)
    region = np.isin(SQUARES, [3, 6, 9])
    model, image = bright_mean(region)
    full, report = explain(model, image, fill="grey", return_report=True)
    assert "precision" not in report
    fast, report = explain(model, image, fill="grey", precision="bfloat16", return_report=True)
    assert report.precision.tolist() == ["bfloat16"]
    size = np.abs(weights_of(full[0])).max()
    np.testing.assert_allclose(weights_of(fast[0]), weights_of(full[0]), atol=0.05 * size)
    assert np.abs(fast - full).max() > 0


@pytest.mark.parametrize("count", [1, 10_000])
def test_many_pictures_are_answered_as_few_are(model, count):
    request = prepare(model, faces(40))
    found = Classifier(request, count)(request.images)
    logits = model.predict(request.images, verbose=0)[:, 0]
    np.testing.assert_allclose(found, expit(logits), atol=1e-6)


def test_a_detector_that_sees_nothing_has_an_empty_map():
    blind = detector(np.zeros((SIZE, SIZE, 1)), bias=1.0)
    relevance, report = explain(blind, faces(1), return_report=True)
    np.testing.assert_allclose(relevance, 0, atol=1e-7)
    np.testing.assert_allclose(report.prediction_gap, 0, atol=1e-6)


def test_a_picture_in_one_segment_can_be_explained(model):
    relevance, report = explain(
        model, faces(1), segmentation=np.zeros((SIZE, SIZE), int), return_report=True
    )
    assert report.segments.tolist() == [1] and np.isfinite(report.to_numpy(float)).all()
    assert len(np.unique(relevance)) == 1


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"segmentation": "voronoi"}, "No segmentation 'voronoi': give quickshift, slic, fel"),
        ({"segmentation": SQUARES[:-1]}, r"\(23, 24\).*\(24, 24\) or \(2, 24, 24\)"),
        ({"segmentation": np.stack([SQUARES] * 3)}, r"\(3, 24, 24\).*\(2, 24, 24\)"),
        ({"segmentation": SQUARES.astype(float)}, "type float64: give whole numbers"),
        ({"segmentation": None}, "Segments of shape"),
        ({"fill": "black"}, "No fill 'black': give mean, grey, blur, or pictures"),
        ({"fill": faces(3)}, "3 fills for 2 pictures: give one for all, or one for each"),
        ({"fill": faces(2, size=12)}, "12 x 12 pixels"),
        ({"fill": np.full((SIZE, SIZE, 3), np.nan)}, "NaN"),
        ({"num_samples": 1}, "num_samples=1.*some hundred"),
        ({"samples": 100}, "lime has no option 'samples'.*num_samples"),
        ({"target": "forged"}, "No target 'forged'"),
    ],
)
def test_options_that_cannot_be_used_are_refused(wrong, message, model):
    with pytest.raises(UserError, match=message):
        explain(model, faces(2), **wrong)


@pytest.mark.parametrize("fill", [0, 0.5, None, np.zeros(3)])
def test_a_fill_that_is_no_picture_is_refused(fill, model):
    # lime's own hide_color takes a number or a colour, so people will try.
    with pytest.raises(UserError, match="fill|shape"):
        explain(model, faces(2), fill=fill)


def test_explain_lime_can_be_asked_directly(model):
    images = faces(2)
    relevance, report = explain_lime(
        prepare(model, images), progress=False, segmentation=SQUARES, num_samples=100
    )
    np.testing.assert_array_equal(relevance, explain(model, images))
    assert set(report) == {"logit", "segments", "r2", "prediction_gap"}
