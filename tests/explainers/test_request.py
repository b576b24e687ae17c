"""What cannot be explained is refused with the reason, and what can be comes in one form."""

import warnings

import keras
import numpy as np
import pytest

import xaifake
from small import (
    METHODS,
    SIZE,
    chain,
    detector,
    draw_weights,
    floats,
    logits,
    pictures,
    run_explain,
)
from xaifake.errors import UserError
from xaifake.explainers.request import as_floats, prepare

layers = keras.layers


@pytest.fixture(scope="module")
def model():
    return detector()


def with_one(value):
    images = floats(3)
    images[1, 2, 3, 0] = value
    return images


BAD_PICTURES = {
    "one picture": (floats(1)[0], r"One picture of shape \(8, 8, 3\).*\(N, 8, 8, 3\).*add an axis"),
    "wrong size": (floats(2, size=6), "Pictures of 6 x 6 pixels, where the model takes 8 x 8"),
    "not square": (floats(2)[:, :5], "Pictures of 5 x 8 pixels, where the model takes 8 x 8"),
    "grey": (floats(2)[..., :1], r"shape \(2, 8, 8, 1\), where \(N, 8, 8, 3\).*np.repeat"),
    "RGBA": (np.zeros((2, 8, 8, 4), np.uint8), r"shape \(2, 8, 8, 4\).*RGBA.*images\[..., :3\]"),
    "no channels": (floats(2)[..., 0], r"Pictures of shape \(2, 8, 8\), where \(N, 8, 8, 3\)"),
    "five axes": (floats(2)[None], r"Pictures of shape \(1, 2, 8, 8, 3\), where \(N, 8, 8, 3\)"),
    "empty": (floats(0), r"No pictures: the batch \(0, 8, 8, 3\) is empty"),
    "int64": (pictures(2).astype(np.int64), "type int64: give uint8 from 0 to 255, or floats"),
    "bool": (pictures(2) > 9, "type bool"),
    "object": (pictures(2).astype(object), "type object"),
    "complex": (floats(2).astype(complex), "type complex128"),
    "nothing": (None, r"Pictures of shape \(\)"),
    "NaN": (with_one(np.nan), r"NaN or infinite values in the pictures \[1\]"),
    "infinity": (with_one(-np.inf), r"NaN or infinite values in the pictures \[1\]"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_pictures_that_do_not_fit_are_refused(name, model):
    images, message = BAD_PICTURES[name]
    with pytest.raises(UserError, match=message):
        run_explain(model, images, "gradient")


def test_pictures_out_of_range_are_warned_of_where_they_were_given(model):
    with pytest.warns(UserWarning, match="reach from 0 to 255, outside the -1 to 1") as seen:
        xaifake.explain(model, pictures(2).astype(np.float32) // 255 * 255, "gradient")
    assert [warning.filename for warning in seen] == [__file__]


@pytest.mark.parametrize(
    "images, options",
    [
        (255 * np.abs(floats(2)), {"value_range": (0, 255)}),
        (np.abs(floats(2)), {"value_range": (0, 1)}),
        (floats(2) * np.float32(1.0005), {}),  # what rounding leaves of a resized picture
        (pictures(2), {}),
    ],
)
def test_pictures_in_the_range_that_is_named_are_not_warned_of(images, options, model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_explain(model, images, "gradient", **options)


@pytest.mark.parametrize("low, high", [(-1, 1), (0, 1), (0, 255), (-0.5, 0.5)])
def test_bytes_reach_from_end_to_end_of_the_range(low, high):
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    scaled = as_floats(grey, (16, 16, 3), (low, high))
    assert scaled.dtype == np.float32
    assert np.allclose(scaled[0, ..., 0].ravel(), np.linspace(low, high, 256), atol=1e-4)
    assert scaled.min() == pytest.approx(low) and scaled.max() == pytest.approx(high)


def test_bytes_and_their_floats_give_the_same_maps(model):
    images = pictures(2)
    scaled = images / np.float32(127.5) - 1
    assert np.array_equal(
        run_explain(model, images, "gradient"), run_explain(model, scaled, "gradient")
    )


def test_a_model_of_any_size_takes_pictures_of_any_size():
    picture = keras.Input((None, None, 3))
    mean = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(picture))
    any_size = keras.Model(picture, layers.Dense(1)(mean))
    for method in METHODS:
        assert run_explain(any_size, pictures(1, size=9), method).shape == (1, 9, 9, 3)
    with pytest.raises(UserError, match=r"One picture.*\(N, any, any, 3\)"):
        run_explain(any_size, pictures(1)[0], "gradient")


def test_the_target_chooses_logit_and_sign():
    one, three, images = detector(), detector(3), floats(2)
    request = prepare(one, images)
    assert np.array_equal(request.logit(images), logits(one, images)[:, 0])
    request = prepare(one, images, target="real")
    assert np.array_equal(request.logit(images), -logits(one, images)[:, 0])
    for index in (0, 2, np.int64(1)):
        request = prepare(three, images, target=index)
        assert np.array_equal(request.logit(images), logits(three, images)[:, index])


@pytest.mark.parametrize("target", ["fakes", "Fake", 0, 1, None])
def test_a_detector_answers_fake_or_real(target, model):
    with pytest.raises(UserError, match=f"No target {target!r}.*one logit answers 'fake' or 'rea"):
        run_explain(model, floats(1), "gradient", target=target)


@pytest.mark.parametrize("target", ["fake", -1, 3, 1.0, None])
def test_a_model_with_three_logits_wants_an_index(target):
    with pytest.raises(UserError, match=f"No target {target!r}: this model has 3 logits.*0 to 2"):
        run_explain(detector(3), floats(1), "gradient", target=target)


@pytest.mark.parametrize(
    "call, message",
    [
        ({"method": "gradients"}, "No method 'gradients'. Did you mean gradient"),
        ({"method": "gradcam"}, "Did you mean grad_cam"),
        ({"method": "?"}, r"No method '\?'. xaifake.methods\('xaifake'\) lists them all"),
        ({"method": None}, "No method None"),
        ({"method": "deep_taylor"}, "another engine: give engine='innvestigate'"),
        ({"method": "grad_cam", "engine": "innvestigate"}, "another engine: give engine='xaifake'"),
        ({"method": "gradient", "engine": "tf"}, "No engine 'tf': give one of xaifake, innvesti"),
        ({"method": "gradient", "step": 3}, "gradient has no option 'step'; it has batch_size, "),
        ({"method": "gradient", "layer": "conv"}, "gradient has no option 'layer'"),
        ({"method": "gradient", "request": 1}, "gradient has no option 'request'"),
        ({"method": "grad_cam", "layer": "last_map"}, "no layer 'last_map': did you mean last"),
        ({"method": "grad_cam", "layer": "answer"}, r"'answer' returns \(None, 1\).*needs maps"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_and_the_nearest_suggested(call, message, model):
    with pytest.raises(UserError, match=message):
        run_explain(model, floats(1), **call)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batches_have_at_least_one_picture(batch_size, model):
    with pytest.raises(UserError, match="batch_size"):
        run_explain(model, floats(1), "gradient", batch_size=batch_size)


def test_the_methods_are_listed():
    assert set(METHODS) < set(xaifake.methods())
    assert "lrp.alpha_2_beta_1" in xaifake.methods("innvestigate")
    with pytest.raises(UserError, match="No engine 'tf'"):
        xaifake.methods("tf")


class OwnClass(keras.Model):
    def __init__(self):
        super().__init__(name="own")
        self.answer = layers.Dense(1)

    def call(self, images):
        return self.answer(keras.ops.mean(images, axis=(1, 2)))


def own_class():
    model = OwnClass()
    model(floats(1))
    return model


def two_inputs():
    a, b = keras.Input((SIZE, SIZE, 3)), keras.Input((SIZE, SIZE, 3))
    return keras.Model([a, b], layers.Dense(1)(layers.Flatten()(layers.Add()([a, b]))))


def two_outputs():
    picture = keras.Input((SIZE, SIZE, 3))
    flat = layers.Flatten()(picture)
    return keras.Model(picture, [layers.Dense(1)(flat), layers.Dense(1)(flat)])


def nested():
    return chain(OwnClass(), layers.Dense(1))


def layer_used_twice():
    picture = keras.Input((SIZE, SIZE, 3))
    layer = layers.Conv2D(3, 1, name="twice")
    return keras.Model(picture, layers.Dense(1)(layers.Flatten()(layer(layer(picture)))))


def ends_in(activation):
    return chain(layers.Flatten(), layers.Dense(1, activation=activation))


BAD_MODELS = {
    "own class": (own_class, "'own' is a model of its own class or not built yet"),
    "unbuilt": (
        lambda: keras.Sequential([layers.Flatten(), layers.Dense(1)], name="raw"),
        "'raw' is a model of its own class or not built yet.*built Sequential",
    ),
    "two inputs": (two_inputs, "2 inputs and 1 outputs"),
    "two outputs": (two_outputs, "1 inputs and 2 outputs"),
    "nested": (nested, "holds 'own', a model of its own class, and its inside cannot be reached"),
    "no model": (lambda: "detector", "Give a keras.Model of Keras 3, not builtins.str"),
    "a layer": (lambda: layers.Dense(1), "Give a keras.Model of Keras 3, not keras.*Dense"),
    "tanh": (lambda: ends_in("tanh"), "ends in tanh"),
    "relu": (lambda: ends_in("relu"), "ends in relu"),
    "tanh layer": (
        lambda: chain(layers.Flatten(), layers.Dense(1), layers.Activation("tanh")),
        "ends in tanh",
    ),
    "maps": (lambda: chain(layers.Conv2D(1, 3)), r"returns \(6, 6, 1\) for a picture, not a row"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_models_that_cannot_be_explained_are_refused(name):
    build, message = BAD_MODELS[name]
    with pytest.raises(UserError, match=message):
        run_explain(build(), floats(1), "guided_backprop")


@pytest.mark.parametrize("build", [nested, layer_used_twice])
def test_what_needs_only_the_answer_does_not_look_inside(build):
    relevance, report = run_explain(build(), floats(1), "input_t_gradient", return_report=True)
    # Linear but for the biases, which are 0 at first.
    np.testing.assert_allclose(relevance.sum(), report.logit[0], rtol=1e-4)


def test_a_model_that_takes_no_pictures_is_refused():
    of_rows = keras.Sequential([keras.Input((5,)), layers.Dense(1)])
    with pytest.raises(UserError):
        run_explain(of_rows, floats(1), "gradient")


@pytest.mark.parametrize("method", METHODS)
def test_a_model_of_a_list_of_inputs_and_outputs_is_explained(method, model):
    listed = keras.Model([model.inputs[0]], [model.outputs[0]])
    images = floats(2)
    relevance = run_explain(listed, images, method)
    assert np.array_equal(relevance, run_explain(model, images, method))


@pytest.mark.parametrize("method", METHODS)
def test_the_report_has_logit_and_sum_of_each_picture(method, model):
    images = floats(3)
    relevance, report = run_explain(model, images, method, return_report=True)
    assert np.array_equal(relevance, run_explain(model, images, method))
    assert list(report.columns[:2]) == ["logit", "sum"] and len(report) == 3
    assert np.allclose(report["logit"], logits(model, images)[:, 0], rtol=1e-5)
    assert np.allclose(report["sum"], relevance.astype(float).sum(axis=(1, 2, 3)), rtol=1e-12)
    _, real = run_explain(model, images, method, target="real", return_report=True)
    assert np.array_equal(real["logit"], -report["logit"])


def test_a_sequential_model_has_the_maps_of_its_functional_form():
    stack = [
        layers.Conv2D(4, 3, activation="relu"),
        layers.Conv2D(4, 3, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1, activation="sigmoid"),
    ]
    sequential, images = draw_weights(chain(*stack)), floats(2)
    picture = x = keras.Input((SIZE, SIZE, 3))
    for layer in stack:
        x = type(layer).from_config(layer.get_config())(x)
    functional = keras.Model(picture, x)
    functional.set_weights(sequential.get_weights())
    for method in METHODS:
        relevance = run_explain(sequential, images, method)
        assert np.array_equal(relevance, run_explain(functional, images, method)), method


@pytest.mark.parametrize("method", METHODS)
def test_a_sequential_model_may_grow_layer_by_layer(method):
    stack = [
        layers.Conv2D(4, 3, activation="relu"),
        layers.Conv2D(4, 3, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1),
    ]
    grown = keras.Sequential()
    grown.add(keras.Input((SIZE, SIZE, 3)))
    for layer in stack:
        grown.add(layer)
    at_once = chain(*[type(layer).from_config(layer.get_config()) for layer in stack])
    at_once.set_weights(draw_weights(grown).get_weights())
    images = floats(2)
    relevance = run_explain(grown, images, method)
    assert np.array_equal(relevance, run_explain(at_once, images, method))
