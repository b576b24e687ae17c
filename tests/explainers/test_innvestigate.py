"""iNNvestigate in its worker: it runs, it agrees where it must, and nothing changes outside it."""

import io
import os
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import xaifake
from small import INNVESTIGATE_OPTIONS
from xaifake.detector import build_xception
from xaifake.detector.xception import batch_norms
from xaifake.errors import UserError
from xaifake.explainers import gradients, innvestigate
from xaifake.explainers.request import prepare
from xaifake.explainers.stored import rule_grid


def plain_network(bias=True, seed=0):
    """Two convolutions, an addition, pooling and two dense layers; no batch norm."""
    inputs = keras.Input((12, 12, 3))
    first = keras.layers.Conv2D(6, 3, padding="same", use_bias=bias, activation="relu")(inputs)
    second = keras.layers.Conv2D(6, 3, padding="same", use_bias=bias)(first)
    x = keras.layers.ReLU()(keras.layers.Add(name="add")([first, second]))
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(x))
    x = keras.layers.Dense(5, use_bias=bias, activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=bias)(x))
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.4, weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture(scope="module", autouse=True)
def worker_ends_with_the_module():
    yield
    innvestigate._stop()


@pytest.fixture(scope="module")
def network():
    return plain_network()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).uniform(-1, 1, (3, 12, 12, 3)).astype(np.float32)


def run(model, images, method, **options):
    return xaifake.explain(model, images, method, engine="innvestigate", **options)


def assert_close(a, b, tolerance=1e-4):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("method", ["gradient", "input_t_gradient"])
def test_both_engines_agree(network, images, method):
    assert_close(xaifake.explain(network, images, method), run(network, images, method))


def guided_from_the_logits_value(model, images):
    """Our Guided Backprop as the other engine starts it: from the logit's value instead of 1."""
    maps = {
        t: xaifake.explain(model, images, "guided_backprop", target=t) for t in ("fake", "real")
    }
    logit = model(images).numpy()[:, 0]
    return np.stack([abs(z) * maps["fake" if z > 0 else "real"][n] for n, z in enumerate(logit)])


def test_guided_backprop_agrees_up_to_where_it_starts(network, images):
    assert_close(
        guided_from_the_logits_value(network, images), run(network, images, "guided_backprop")
    )


def test_integrated_gradients_agree_at_the_other_engines_nodes(network, images):
    request = prepare(network, images)
    # Its points are 0, 1/steps ... and leave out the picture itself.
    mean = gradients._path_mean(request, np.zeros_like(images), np.arange(64) / 64, 32, False)
    assert_close(images * mean, run(network, images, "integrated_gradients", steps=64))


@pytest.fixture(scope="module")
def xception():
    model = build_xception(71, seed=3)
    rng = np.random.default_rng(4)
    for layer in batch_norms(model):
        gamma, beta, mean, variance = layer.get_weights()
        random = rng.uniform(0.5, 1.5, gamma.shape), rng.normal(0, 0.1, beta.shape)
        layer.set_weights([*random, rng.normal(0, 0.1, mean.shape), variance])
    return model


@pytest.mark.slow
def test_integrated_gradients_agree_on_xception(xception):
    images = np.random.default_rng(4).uniform(-1, 1, (1, 71, 71, 3)).astype(np.float32)
    request = prepare(xception, images)
    mean = gradients._path_mean(request, np.zeros_like(images), np.arange(4) / 4, 4, False)
    assert_close(images * mean, run(xception, images, "integrated_gradients", steps=4))


@pytest.mark.slow
def test_guided_backprop_agrees_on_xception(xception):
    images = np.random.default_rng(5).uniform(-1, 1, (1, 71, 71, 3)).astype(np.float32)
    assert_close(
        guided_from_the_logits_value(xception, images), run(xception, images, "guided_backprop")
    )


def test_every_method_runs(network, images):
    for method in xaifake.methods("innvestigate"):
        relevance = run(network, images, method, **INNVESTIGATE_OPTIONS.get(method, {}))
        assert relevance.shape == images.shape and relevance.dtype == np.float32
        assert np.isfinite(relevance).all() and np.abs(relevance).max() > 0


def test_the_list_of_methods_is_the_packages_own():
    offered = set(innvestigate._call("state")[0])
    assert offered - set(innvestigate.METHODS) == {"input", "random"}
    assert not set(innvestigate.METHODS) - offered


def test_alpha_beta_without_bias_matches_its_definition(images):
    model = plain_network(bias=False)
    kernels = model.get_weights()
    dense = keras.Model(model.inputs[0], model.layers[-3].output)
    below = dense.predict(images, verbose=0)  # the flattened maps under the two dense layers
    hidden = np.maximum(0, below @ kernels[2])
    head = keras.Sequential([keras.Input((1, 1, below.shape[1])), keras.layers.Flatten()])
    head.add(keras.layers.Dense(5, use_bias=False, activation="relu"))
    head.add(keras.layers.Dense(1, use_bias=False))
    head.set_weights(kernels[2:])
    pictures = below[:, None, None, :]
    given = run(head, pictures, "lrp.alpha_2_beta_1", value_range=(-1e3, 1e3))

    def back(below, w, relevance):
        sent = below[:, :, None] * w[None]
        plus, minus = np.maximum(sent, 0), np.minimum(sent, 0)
        # A neuron without negative part gives 2 R, as the library does.
        shares = [share(part) for part in (plus, minus)]
        return ((2 * shares[0] - shares[1]) * relevance[:, None, :]).sum(2)

    def share(part):
        total = part.sum(1, keepdims=True)
        return np.divide(part, total, where=total != 0, out=np.zeros_like(part))

    logit = hidden @ kernels[3]
    expected = back(below, kernels[2], back(hidden, kernels[3], logit))
    assert_close(given[:, 0, 0, :], expected, 1e-3)


def separable_and_ordinary(seed=0):
    """The same function as a separable and as an ordinary convolution."""
    rng = np.random.default_rng(seed)
    depthwise, pointwise = rng.normal(size=(3, 3, 4, 1)), rng.normal(size=(1, 1, 4, 6))
    head = rng.normal(size=(216, 1))
    layers = {
        keras.layers.SeparableConv2D(6, 3, use_bias=False): [depthwise, pointwise],
        keras.layers.Conv2D(6, 3, use_bias=False): [depthwise * pointwise],
    }
    for layer, weights in layers.items():
        inputs = keras.Input((8, 8, 4))
        flat = keras.layers.Flatten()(keras.layers.ReLU()(layer(inputs)))
        model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(flat))
        model.set_weights([*weights, head])
        yield model


def test_alpha_beta_rules_tell_a_separable_convolution_from_its_equal_and_others_do_not():
    images = np.random.default_rng(1).uniform(0, 1, (4, 8, 8, 4)).astype(np.float32)
    separable, ordinary = separable_and_ordinary()
    np.testing.assert_allclose(separable(images), ordinary(images), atol=1e-4)

    def likeness(rule):
        maps = [run(m, images, rule, value_range=(0, 1)).ravel() for m in (separable, ordinary)]
        return np.corrcoef(*maps)[0, 1], np.mean(np.sign(maps[0]) == np.sign(maps[1]))

    for rule in ("lrp.z", "lrp.epsilon", "lrp.flat", "lrp.w_square"):
        assert likeness(rule)[0] > 0.999
    assert likeness("lrp.alpha_1_beta_0")[0] < 0.9
    correlation, same_sign = likeness("lrp.alpha_2_beta_1")
    assert correlation < 0.6 and same_sign < 0.7


def test_real_is_the_map_of_the_negated_logit(network, images):
    negated = keras.models.clone_model(network)
    weights = network.get_weights()
    negated.set_weights([*weights[:-2], -weights[-2], -weights[-1]])
    for method in ("lrp.alpha_2_beta_1", "guided_backprop"):
        real = run(network, images, method, target="real")
        np.testing.assert_array_equal(real, run(negated, images, method))


def test_a_batch_equals_its_pictures_one_by_one(network, images):
    for method in set(xaifake.methods("innvestigate")) - {"smoothgrad"}:
        options = INNVESTIGATE_OPTIONS.get(method, {})
        together = run(network, images, method, **options)
        single = [run(network, image[None], method, **options)[0] for image in images]
        assert_close(np.stack(single), together, 1e-4)  # sums in another order


def test_smoothgrad_is_seeded(network, images):
    first = run(network, images[:1], "smoothgrad", augment_by_n=4, seed=1)
    np.testing.assert_array_equal(
        first, run(network, images[:1], "smoothgrad", augment_by_n=4, seed=1)
    )
    assert (first != run(network, images[:1], "smoothgrad", augment_by_n=4, seed=2)).any()


def test_analyzers_are_built_once_and_follow_the_weights(images):
    model = plain_network(seed=8)
    built = lambda: innvestigate._call("state")[1]  # noqa: E731
    before, count = run(model, images, "lrp.epsilon"), built()
    run(model, images, "lrp.flat")
    np.testing.assert_array_equal(before, run(model, images, "lrp.epsilon"))
    assert built() == count + 1
    model.set_weights([2 * weight for weight in model.get_weights()])
    assert np.abs(run(model, images, "lrp.epsilon")).max() > 2 * np.abs(before).max()
    assert built() == count + 2


def test_two_baselines_that_differ_in_the_middle_give_two_maps(network):
    images = np.random.default_rng(6).uniform(-1, 1, (1, 12, 12, 3)).astype(np.float32)
    first = np.zeros((1, 12, 12, 3), np.float32)
    second = first.copy()
    second[0, 5:7, 5:7] = 0.5
    maps = [
        run(network, images, "integrated_gradients", steps=4, reference_inputs=reference)
        for reference in (first, second)
    ]
    assert (maps[0] != maps[1]).any()


def test_nothing_changes_in_the_callers_process(network, images):
    before = [weight.copy() for weight in network.get_weights()]
    environment = dict(os.environ)
    own = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
    answer = own(np.ones((1, 2))).numpy()
    run(network, images, "lrp.flat")
    assert tf.executing_eagerly() and tf.keras.__version__ == keras.__version__
    np.testing.assert_array_equal(own(np.ones((1, 2))).numpy(), answer)
    assert dict(os.environ) == environment
    for mine, theirs in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


ORDERS = {
    "the user's tf.keras first": "import tensorflow as tf; own = MODEL(tf.keras); import xaifake",
    "xaifake first": "import xaifake; xaifake.methods(); import tensorflow as tf",
    "tf_keras instead of Keras 3": (
        "import os; os.environ['TF_USE_LEGACY_KERAS'] = '1'; import tensorflow as tf, xaifake"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_import_order_does_not_matter(order):
    script = f"""
MODEL = lambda k: k.Sequential([k.layers.Input((2,)), k.layers.Dense(1, kernel_initializer="ones")])
{ORDERS[order]}
import keras, numpy as np
users = own if "own" in globals() else MODEL(tf.keras)
net = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
pictures = np.full((1, 4, 4, 3), 0.5, "float32")
legacy = os.environ["TF_USE_LEGACY_KERAS"] if "os" in globals() else None
given = xaifake.explain(net, pictures, "lrp.z", engine="innvestigate")
assert np.allclose(given, xaifake.explain(net, pictures, "input_t_gradient"), atol=1e-5)
import os
assert os.environ.get("TF_USE_LEGACY_KERAS") == legacy
for own in (users, MODEL(tf.keras)):
    assert float(own(np.ones((1, 2), "float32"))[0, 0]) == 2 and tf.executing_eagerly()
print("well", end="")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.endswith("well"), done.stderr[-2000:]


@pytest.mark.parametrize(
    ("method", "options", "reason"),
    [
        ("lrp", {}, "Need LRP rule"),
        ("lrp.epsilon", {"epsilon": -1}, "epsilon"),
        ("gradient", {"no_such_option": 1}, "no_such_option"),
    ],
)
def test_what_the_library_refuses_is_told_in_its_words(network, images, method, options, reason):
    with pytest.raises(UserError, match=f"(?s)iNNvestigate cannot run {method}.*{reason}"):
        run(network, images, method, **options)


def test_an_activation_without_rule_is_refused(images):
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(2, 3, activation="elu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))
    with pytest.raises(UserError, match="only specified for networks with ReLU"):
        run(model, images, "guided_backprop")


def test_a_layer_that_the_library_does_not_know_is_named(images):
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.LayerNormalization(name="odd")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))
    with pytest.raises(UserError, match="no LayerNormalization.*'odd'"):
        run(model, images, "gradient")


@pytest.mark.parametrize(
    "absent", [["innvestigate"], ["tf_keras"], ["innvestigate", "tf_keras"]], ids=" and ".join
)
def test_missing_packages_are_told_with_their_commands(network, images, monkeypatch, absent):
    find = innvestigate.importlib.util.find_spec
    monkeypatch.setattr(
        innvestigate.importlib.util, "find_spec", lambda n: None if n in absent else find(n)
    )
    with pytest.raises(UserError) as told:
        run(network, images, "lrp.z")
    sentence, *commands = str(told.value).splitlines()
    assert f"not installed, {' and '.join(absent)}: run" in sentence
    # A tf_keras of another minor version would replace TensorFlow.
    fitting = ".".join(tf.__version__.split(".")[:2])
    known = {"innvestigate": innvestigate.INSTALL, "tf_keras": f'install "tf_keras=={fitting}.*"'}
    assert len(commands) == len(absent)
    assert all(known[name] in command for name, command in zip(absent, commands, strict=True))


def test_a_worker_that_was_killed_is_replaced(network, images):
    before = run(network, images, "lrp.z")
    innvestigate._worker.process.kill()
    innvestigate._worker.process.wait()
    np.testing.assert_array_equal(run(network, images, "lrp.z"), before)


def test_a_worker_that_dies_at_work_is_told(network, images, monkeypatch):
    run(network, images, "lrp.z")
    worker = innvestigate._worker
    monkeypatch.setattr(worker, "is_usable", lambda: True)
    worker.process.kill()
    worker.process.wait()
    with pytest.raises(UserError, match="has ended"):
        run(network, images, "lrp.z")
    assert np.isfinite(run(network, images, "lrp.z")).all()


def test_an_answer_cut_short_is_told(network, images, monkeypatch):
    run(network, images, "lrp.z")
    half = io.BytesIO(pickle.dumps(("done", images))[:100])
    monkeypatch.setattr(innvestigate._worker.process, "stdout", half)
    monkeypatch.setattr(innvestigate._worker, "last_words", lambda: "")
    with pytest.raises(UserError, match="has ended"):
        run(network, images, "lrp.z")


def test_noise_that_the_library_would_ignore_is_refused(network, images):
    with pytest.raises(UserError, match="passes noise_scale over"):
        run(network, images, "smoothgrad", noise_scale=0.1)


def test_a_leaky_or_clipped_relu_is_not_taken_for_a_plain_one(images):
    for relu in (keras.layers.ReLU(threshold=0.5), keras.layers.ReLU(max_value=6)):
        inputs = keras.Input((12, 12, 3))
        flat = keras.layers.Flatten()(relu(inputs))
        model = keras.Model(inputs, keras.layers.Dense(1)(flat))
        with pytest.raises(UserError, match="no ReLU like the layer"):
            run(model, images, "lrp.z")


def test_a_layer_without_effect_behind_the_logit_changes_nothing(network, images):
    tail = keras.layers.Activation("linear", dtype="float32")(network.outputs[0])
    longer = keras.Model(network.inputs[0], tail)
    for target in ("fake", "real"):
        assert_close(
            run(longer, images, "lrp.z", target=target),
            run(network, images, "lrp.z", target=target),
        )


def test_stored_maps_belong_to_faces_that_are_there():
    from xaifake.data import load_faces

    for scale in (1.3, 2.0):
        grid = rule_grid(scale)
        table = load_faces(scale=scale).table
        keys = set(zip(table.video, table.frame, strict=True))
        assert set(grid.faces) <= keys and len(grid.faces) == 2
        for heatmaps in grid.heatmaps.values():
            assert heatmaps.shape == (2, 128, 128) and np.isfinite(heatmaps).all()
