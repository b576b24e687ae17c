"""What a model is made of is told as it is, and its logits are those under its sigmoid."""

import keras
import numpy as np
import pytest

import xaifake
from small import METHODS, SIZE, chain, detector, draw_weights, floats, logits, pictures
from xaifake.detector.graph import as_functional, find_layer, flatten, nodes, without_head
from xaifake.errors import UserError
from xaifake.explainers import activations
from xaifake.explainers.innvestigate import describe
from xaifake.explainers.request import prepare

layers = keras.layers


def inputs_by_name(model):
    return {node.layer.name: node.inputs for node in nodes(model)}


def test_nodes_of_branches_name_their_inputs_in_the_order_of_the_call():
    picture = keras.Input((SIZE, SIZE, 3), name="picture")
    a = layers.Conv2D(2, 1, name="a")(picture)
    b = layers.Conv2D(2, 1, name="b")(picture)
    both = layers.Concatenate(name="both")([b, a])
    c = layers.Conv2D(2, 1, name="c")(both)
    total = layers.Add(name="total")([c, a, b])
    twice = layers.Add(name="twice")([total, total])
    model = keras.Model(picture, layers.Flatten(name="flat")(twice))
    assert inputs_by_name(model) == {
        "picture": [],
        "a": ["picture"],
        "b": ["picture"],
        "both": ["b", "a"],
        "c": ["both"],
        "total": ["c", "a", "b"],
        "twice": ["total", "total"],
        "flat": ["twice"],
    }
    assert all(node.layer is model.get_layer(node.layer.name) for node in nodes(model))


def test_data_can_pass_the_nodes_in_their_order():
    model = keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3), classes=2)
    found = nodes(model)
    assert len(found) == len(model.layers)
    known = set()
    for node in found:
        assert known.issuperset(node.inputs)
        known.add(node.layer.name)
    assert found[0].inputs == [] and found[-1].layer is model.layers[-1]


def test_walking_the_nodes_computes_the_models_answer():
    model, images = detector(), floats(2)
    answers = {}
    for node in nodes(model):
        given = [answers[name] for name in node.inputs]
        if not given:
            answers[node.layer.name] = keras.ops.convert_to_tensor(images)
        else:
            answers[node.layer.name] = node.layer(given if len(given) > 1 else given[0])
    assert np.array_equal(answers["answer"], logits(model, images))


def test_a_head_that_has_moved_is_taken_off_where_it_is_now():
    model = chain(layers.Flatten(), layers.Dense(1), layers.Activation("sigmoid"), size=4)
    images = floats(3, 4)
    before = logits(without_head(model), images)
    model.layers[-1].activation = keras.activations.linear
    model.layers[-2].activation = keras.activations.sigmoid
    assert np.allclose(logits(without_head(model), images), before, atol=1e-5)
    assert 0 < logits(model, images).min() <= logits(model, images).max() < 1


def test_a_sequential_model_becomes_functional_and_shares_its_layers():
    model = chain(layers.Flatten(name="flat"), layers.Dense(1, name="answer"))
    functional = as_functional(model)
    assert inputs_by_name(model)["answer"] == ["flat"]
    assert functional.get_layer("answer") is model.get_layer("answer")
    assert as_functional(functional) is functional


def test_a_sequential_model_that_was_built_by_a_call_is_followed():
    model = keras.Sequential([layers.Flatten(name="flat"), layers.Dense(1, name="answer")])
    model(floats(1))
    assert list(inputs_by_name(model))[1:] == ["flat", "answer"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("depth", [1, 2])
def test_models_in_a_model_are_looked_into(method, depth):
    """A network that was trained before is one layer to Keras, and none to an explanation."""
    plain, images = detector(activation="sigmoid"), floats(2)
    model = detector(activation="sigmoid")
    for _ in range(depth):
        model = chain(layers.Identity(), model)
    expected = xaifake.explain(plain, images, method, progress=False)
    np.testing.assert_allclose(
        xaifake.explain(model, images, method, progress=False), expected, rtol=1e-4, atol=1e-6
    )
    draw_weights(model, seed=3)  # the layers are the model's own
    changed = xaifake.explain(model, images, method, progress=False)
    draw_weights(plain, seed=3)
    expected = xaifake.explain(plain, images, method, progress=False)
    np.testing.assert_allclose(changed, expected, rtol=1e-4, atol=1e-6)


def test_a_model_with_branches_in_and_around_it_becomes_flat():
    picture = keras.Input((SIZE, SIZE, 3))
    a = layers.Conv2D(3, 1, name="a")(picture)
    inner = keras.Model(picture, layers.Add(name="sum")([a, picture, a]), name="inner")
    outer = keras.Input((SIZE, SIZE, 3))
    once = inner(2 * outer)
    both = layers.Concatenate(name="both")([once, outer])
    model = keras.Model(outer, layers.Dense(1)(layers.Flatten()(both)))
    flat = flatten(model)
    assert {"a", "sum", "both"} < {node.name for node in nodes(flat)}
    images = floats(3)
    np.testing.assert_allclose(logits(flat, images), logits(model, images), rtol=1e-5)
    assert flatten(flat) is flat and flatten(model) is flat


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "guided_backprop", "lrp.z"])
def test_layers_of_two_models_may_have_the_same_name(method):
    def make(*inner):
        first = [*inner, layers.Conv2D(3, 1, name="same"), layers.ReLU(name="relu")]
        if inner:
            first = [keras.Sequential(first, name="base")]
        name = "same" if inner else "base_same"
        last = [layers.Conv2D(2, 1, name=name), layers.ReLU(name="last"), layers.Flatten()]
        return draw_weights(chain(*first, *last, layers.Dense(1)))

    model, plain = make(keras.Input((SIZE, SIZE, 3))), make()
    images = floats(2)
    for seed in (0, 1):  # weights that change are those of both
        draw_weights(model, seed), draw_weights(plain, seed)
        found = xaifake.explain(model, images, method, progress=False)
        expected = xaifake.explain(plain, images, method, progress=False)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert {"same", "base.same"} < {node.name for node in nodes(flatten(model))}
    maps = activations(model, images, "base.same")
    np.testing.assert_allclose(maps, activations(plain, images, "same"), atol=1e-6)


def shared(call_twice):
    """Return a model that calls a model, and so its layers, twice, or two of the same weights."""
    inner, other = (
        keras.Sequential(
            [keras.Input((SIZE, SIZE, 3)), layers.Conv2D(3, 3, padding="same", name="conv" + end)]
            + [layers.ReLU(name="act" + end)]
        )
        for end in ("", "_again")
    )
    picture = x = keras.Input((SIZE, SIZE, 3))
    for copy in (inner, inner if call_twice else other):
        x = layers.Add()([copy(x), x])
    model = draw_weights(keras.Model(picture, layers.Dense(1)(layers.Flatten()(x))))
    draw_weights(inner), draw_weights(other), draw_weights(model.layers[-1])
    return model


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "guided_backprop", "lrp.gamma"])
def test_a_layer_that_is_called_twice_is_like_two_with_the_same_weights(method):
    images = floats(2)
    maps = [xaifake.explain(shared(twice), images, method) for twice in (True, False)]
    assert np.abs(maps[0]).max() > 0
    np.testing.assert_allclose(*maps, rtol=1e-5, atol=1e-7)
    names = [[node.name for node in nodes(flatten(shared(twice)))] for twice in (True, False)]
    assert {"conv", "conv.2", "act.2"} < set(names[0]) and len(names[0]) == len(names[1])
    known = set()
    for _, config, inputs, _ in describe(prepare(shared(True), images)):
        assert known.issuperset(inputs) and config["name"] not in known
        known.add(config["name"])


def test_a_model_of_its_own_class_in_a_model_is_named():
    class Own(keras.Model):
        def call(self, x):
            return 2 * x

    model = chain(Own(name="mine"), layers.Conv2D(3, 1), layers.Flatten(), layers.Dense(1))
    assert np.abs(xaifake.explain(model, floats(2), "gradient")).max() > 0
    with pytest.raises(UserError, match="holds 'mine', a model of its own class"):
        xaifake.explain(model, floats(2), "grad_cam")


def test_a_layer_is_found_by_name_and_the_nearest_suggested():
    model = detector()
    assert find_layer(model, "sepconv").layer is model.get_layer("sepconv")
    with pytest.raises(UserError, match="no layer 'sepconf': did you mean sepconv"):
        find_layer(model, "sepconf")
    with pytest.raises(UserError, match="no layer 7: it has picture, conv, norm"):
        find_layer(model, 7)


HEADS = {
    "activation of Dense": lambda classes, name: detector(classes, activation=name),
    "Activation": lambda classes, name: topped(detector(classes), layers.Activation(name)),
    "Softmax": lambda classes, name: topped(detector(classes), layers.Softmax()),
}


def topped(model, layer):
    return keras.Model(model.inputs[0], layer(model.outputs[0]))


@pytest.mark.parametrize(
    "kind, classes, name",
    [
        ("activation of Dense", 1, "sigmoid"),
        ("Activation", 1, "sigmoid"),
        ("activation of Dense", 3, "softmax"),
        ("Activation", 3, "softmax"),
        ("Softmax", 3, "softmax"),
    ],
)
def test_a_head_is_taken_off(kind, classes, name):
    bare, images, headed = detector(classes), floats(2), HEADS[kind](classes, name)
    answer = logits(headed, images)
    assert np.array_equal(logits(without_head(headed), images), logits(bare, images))
    target = "fake" if classes == 1 else 2
    for method in METHODS:
        relevance = xaifake.explain(headed, images, method, target=target)
        expected = xaifake.explain(bare, images, method, target=target)
        assert np.array_equal(relevance, expected), method
    assert np.array_equal(logits(headed, images), answer)
    assert (answer >= 0).all() and (answer <= 1).all()


def test_a_model_that_ends_in_logits_is_returned_as_it_is():
    model = detector()
    assert without_head(model) is model


def test_a_head_of_an_unsure_detector_does_not_flatten_the_map():
    # The same logit plus 60: the sigmoid's own gradient is 0 in float32 there.
    bare, headed, images = detector(), detector(activation="sigmoid"), floats(1)
    kernel, bias = headed.layers[-1].get_weights()
    headed.layers[-1].set_weights([kernel, bias + 60])
    assert np.array_equal(
        xaifake.explain(headed, images, "gradient"), xaifake.explain(bare, images, "gradient")
    )


def test_new_weights_of_a_model_with_a_head_are_seen():
    model, other, images = detector(activation="sigmoid"), detector(seed=3), floats(2)
    before = logits(without_head(model), images)
    model.set_weights(other.get_weights())
    after = logits(without_head(model), images)
    assert not np.allclose(after, before)
    assert np.array_equal(after, logits(other, images))


def test_a_head_may_stand_behind_an_operation_that_is_no_layer():
    picture = keras.Input((SIZE, SIZE, 3))
    mean = keras.ops.mean(layers.Conv2D(4, 3, activation="relu")(picture), axis=(1, 2))
    headed = keras.Model(picture, layers.Dense(1, activation="sigmoid")(mean))
    bare = keras.Model(picture, layers.Dense(1)(mean))
    bare.set_weights(draw_weights(headed).get_weights())
    images = floats(2)
    assert np.array_equal(
        xaifake.explain(headed, images, "gradient"), xaifake.explain(bare, images, "gradient")
    )


@pytest.mark.parametrize("name", ["sigmoid", "softmax"])
def test_a_head_that_is_an_operation_is_taken_off(name):
    bare, images = detector(3), floats(2)
    headed = keras.Model(bare.inputs[0], getattr(keras.ops, name)(bare.outputs[0]))
    relevance = xaifake.explain(headed, images, "gradient", target=1)
    assert np.array_equal(relevance, xaifake.explain(bare, images, "gradient", target=1))


@pytest.mark.parametrize("kind", ["linear", "reshape"])
def test_a_head_under_a_layer_that_changes_nothing_is_taken_off(kind):
    # Models of mixed precision often end in Activation("linear", dtype="float32").
    bare, images = detector(), floats(2)
    last = layers.Activation("linear") if kind == "linear" else layers.Reshape((1,))
    headed = topped(detector(activation="sigmoid"), last)
    relevance = xaifake.explain(headed, images, "gradient")
    assert np.array_equal(relevance, xaifake.explain(bare, images, "gradient"))


@pytest.mark.parametrize("layer", [layers.ReLU, layers.LeakyReLU, layers.ELU, layers.PReLU])
def test_a_model_that_ends_in_a_layer_of_another_activation_is_refused(layer):
    with pytest.raises(UserError, match="ends in"):
        without_head(topped(detector(), layer()))


@pytest.mark.parametrize("activation", [None, "sigmoid"])
@pytest.mark.parametrize("method", METHODS)
def test_layers_that_another_model_called_first_belong_to_this_one_too(method, activation):
    # The usual way to give a network another input size.
    first, images = detector(activation=activation), pictures(2, size=10)
    picture = x = keras.Input((10, 10, 3))
    for name in ("conv", "act", "last_maps", "mean", "answer"):
        x = first.get_layer(name)(x)
    model = keras.Model(picture, x)
    alone = keras.models.clone_model(model)
    alone.set_weights(model.get_weights())
    relevance = xaifake.explain(model, images, method)
    assert np.array_equal(relevance, xaifake.explain(alone, images, method))
