import json
import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from planted import pictures
from safetensors.numpy import load_file
from scipy.special import expit

from xaifake.detector import xception as module
from xaifake.detector.xception import (
    batch_norms,
    build_xception,
    detector_card,
    load_detector,
    load_weights,
    predict_logits,
    preprocess,
    save_weights,
    write_tensors,
)
from xaifake.errors import UserError
from xaifake.explainers.graph import without_head

BATCH_NORM = ["gamma", "beta", "moving_mean", "moving_variance"]


def test_it_is_the_papers_network(xception):
    assert len(xception.layers) == 134
    assert xception.count_params() == 20_863_529
    assert sum(math.prod(w.shape) for w in xception.trainable_weights) == 20_809_001
    assert xception.input_shape == (None, 128, 128, 3)
    assert xception.output_shape == (None, 1)
    assert xception.get_layer("block2_sepconv2_act").output.shape == (None, 61, 61, 128)
    assert xception.layers[-1].activation is keras.activations.linear
    assert len(batch_norms(xception)) == 40
    assert {layer.momentum for layer in batch_norms(xception)} == {0.9}


def test_weights_do_not_depend_on_the_size_and_precision_does_not_leak(xception):
    before = keras.config.dtype_policy()
    small = build_xception(80, precision="mixed_bfloat16")
    assert keras.config.dtype_policy() == before
    assert small.layers[5].compute_dtype == "bfloat16"
    assert small.output.dtype == "float32" and small.weights[0].dtype == "float32"
    small.set_weights(xception.get_weights())


def test_starting_weights_are_glorot_uniform_and_seeded(xception):
    kernel = xception.get_layer("block1_conv2").kernel.numpy()  # 3 x 3 x 32 x 64
    limit = math.sqrt(6 / (9 * (32 + 64)))
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / math.sqrt(3), rel=0.02)
    again, other = build_xception(71, seed=0), build_xception(71, seed=1)
    assert np.array_equal(again.get_layer("block1_conv2").kernel.numpy(), kernel)
    assert not np.array_equal(other.get_layer("block1_conv2").kernel.numpy(), kernel)


def test_too_small_a_size_is_refused():
    with pytest.raises(UserError, match="70 x 70.*71 x 71"):
        build_xception(70)


def test_preprocess_has_xceptions_range():
    scaled = preprocess(np.array([0, 255], dtype=np.uint8))
    assert scaled.dtype == np.float32 and scaled.tolist() == [-1, 1]
    grey = np.arange(256, dtype=np.float32)
    theirs = keras.applications.xception.preprocess_input(grey.copy())
    assert np.allclose(preprocess(grey), theirs, atol=1e-6)


def test_logits_are_those_of_the_model_whatever_the_batch(seen):
    images = pictures(5)
    direct = np.asarray(seen(preprocess(images), training=False))[:, 0]
    assert direct.std() > 0
    for batch_size in (2, 32):
        logits = predict_logits(seen, images, batch_size)
        assert logits.dtype == np.float32 and logits.shape == (5,)
        assert np.allclose(logits, direct, rtol=1e-3, atol=1e-5)
    assert predict_logits(seen, images[:0]).shape == (0,)


def test_pictures_of_another_size_are_refused(xception):
    with pytest.raises(UserError, match=r"\(N, 128, 128, 3\).*\(2, 80, 80, 3\)"):
        predict_logits(xception, pictures(2, 80))


def test_weights_survive_the_way_to_the_disk_and_back(seen, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(seen, path, {"scale": "1.3"})
    assert path.stat().st_size < 43e6
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]
    other = build_xception(seed=1)
    names = [[layer.name for layer in model.layers] for model in (seen, other)]
    assert names[0] != names[1]  # Keras numbers the shortcuts' layers on
    load_weights(other, path)
    for ours, theirs in zip(seen.weights, other.weights, strict=True):
        exact = ours.numpy() if len(ours.shape) == 1 else ours.numpy().astype(np.float16)
        assert np.array_equal(exact, theirs.numpy())
    images = pictures(4, seed=2)
    logits = predict_logits(seen, images)
    assert np.allclose(predict_logits(other, images), logits, atol=0.01 * np.abs(logits).max())


@pytest.mark.slow
def test_the_same_weights_give_the_same_logits_on_jax(seen, tmp_path):
    save_weights(seen, tmp_path / "weights")
    np.save(tmp_path / "images.npy", pictures(2))
    code = (
        "import sys, numpy as np\n"
        "from xaifake.detector import build_xception, load_weights, predict_logits\n"
        "model = load_weights(build_xception(), sys.argv[1] + '/weights')\n"
        "logits = predict_logits(model, np.load(sys.argv[1] + '/images.npy'))\n"
        "np.save(sys.argv[1] + '/logits.npy', logits)\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)
    stored = load_weights(build_xception(), tmp_path / "weights")
    logits = predict_logits(stored, pictures(2))
    assert np.allclose(np.load(tmp_path / "logits.npy"), logits, rtol=1e-3, atol=1e-4)


def test_variances_out_of_float16s_range_are_kept(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(name="bn")])
    values = np.array([1e-12, 1e-7, 1, 1e9], dtype=np.float32)
    model.layers[0].moving_variance.assign(values)
    save_weights(model, tmp_path / "w")
    stored = load_file(tmp_path / "w")
    assert [name.split("/")[0] for name in stored] == ["000", "001", "002", "003"]
    assert [name.split("/")[-1] for name in stored] == BATCH_NORM
    assert np.array_equal(list(stored.values())[3], values)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w"
    write_tensors({"a": np.zeros(3)}, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_tensors({"a": np.ones(3)}, path)
    assert path.read_bytes() == before


def test_a_transposed_array_comes_back_as_it_was(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    views = {"transposed": array.T, "turned": array[::-1, ::2], "number": np.float32(7)}
    write_tensors(views, tmp_path / "w")
    for name, stored in load_file(tmp_path / "w").items():
        assert stored.shape == np.shape(views[name])
        assert np.array_equal(stored, views[name]), name


def test_more_than_a_thousand_arrays_are_read_in_their_order(tmp_path):
    model = keras.Sequential([keras.Input((1,)), *(keras.layers.Dense(1) for _ in range(501))])
    model.set_weights([np.full(w.shape, n) for n, w in enumerate(model.weights)])
    save_weights(model, tmp_path / "w")
    other = load_weights(keras.models.clone_model(model), tmp_path / "w")
    assert [float(w.numpy().item()) for w in other.weights] == list(range(1002))


def test_kernels_beyond_float16_are_refused(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="last")])
    model.set_weights([np.array([[65504.0]]), np.array([1e9])])
    save_weights(model, tmp_path / "w")
    assert load_weights(model, tmp_path / "w").get_weights()[0] == 65504
    model.set_weights([np.array([[-7e4]]), np.array([0])])
    with pytest.raises(UserError, match=r"last/kernel reach 7e\+04.* float16, up to 65504"):
        save_weights(model, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def ending_in(*last, outputs=1):
    """Return a model of 4 x 4 pictures that ends in some layers."""
    first = [keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(outputs)]
    return keras.Sequential([*first, *last])


def functional(function):
    inputs = keras.Input((4, 4, 3))
    return keras.Model(inputs, function(ending_in()(inputs)))


L = keras.layers
NO_LOGIT = {
    "two logits": (ending_in(outputs=2), r"shape \(None, 2\).*one logit, \(None, 1\)"),
    "softmax": (ending_in(L.Softmax(), outputs=2), "ends in softmax"),
    "a map": (keras.Sequential([keras.Input((4, 4, 3)), L.Conv2D(1, 1)]), r"\(None, 4, 4, 1\)"),
    "no axis": (ending_in(L.Reshape(())), r"shape \(None,\)"),
    "sigmoid": (ending_in(L.Dense(1, activation="sigmoid")), "ends in sigmoid.*without_head"),
    "a layer": (ending_in(L.Activation("sigmoid"), L.Dropout(0.5)), "ends in sigmoid"),
    "float32": (
        ending_in(L.Activation("sigmoid"), L.Activation("linear", dtype="float32")),
        "ends in sigmoid",
    ),
    "an operation": (functional(keras.ops.sigmoid), "ends in sigmoid"),
    "a model in it": (functional(ending_in(L.Activation("sigmoid")).layers[-1]), "ends in sigmoid"),
    "one softmax": (ending_in(L.Softmax()), "ends in softmax"),
}


@pytest.mark.parametrize("name", NO_LOGIT)
def test_what_does_not_end_in_one_logit_is_refused(name):
    model, told = NO_LOGIT[name]
    with pytest.raises(UserError, match=told):
        predict_logits(model, pictures(2, 4))


def test_two_logits_become_one_and_a_head_is_taken_off_as_the_refusals_say():
    images = pictures(3, 4)
    model = ending_in(outputs=2)
    x = model.outputs[0]
    one = keras.Model(model.inputs[0], x[:, 1:] - x[:, :1])
    real, fake = np.asarray(model(preprocess(images))).T
    assert np.allclose(predict_logits(one, images), fake - real, atol=1e-5)
    headed = ending_in(L.Dense(1, activation="sigmoid"))
    probability = np.asarray(headed(preprocess(images)))[:, 0]
    assert np.allclose(expit(predict_logits(without_head(headed), images)), probability, atol=1e-5)


@pytest.mark.parametrize("last", [[], [L.Dropout(0.5)], [L.Dense(1, activation="tanh")]])
def test_one_logit_however_it_is_made_is_taken(last):
    assert predict_logits(ending_in(*last), pictures(2, 4)).shape == (2,)


def test_files_that_do_not_fit_are_refused_with_a_reason(xception, tmp_path):
    with pytest.raises(UserError, match="No weights at"):
        load_weights(xception, tmp_path / "nothing")
    (tmp_path / "text").write_text("these are no weights")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load_weights(xception, tmp_path / "text")
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    save_weights(other, tmp_path / "other")
    with pytest.raises(UserError, match="2 arrays with 10 numbers.*236 with 20,863,529"):
        load_weights(xception, tmp_path / "other")


def test_shipped_detectors_are_found_by_scale(seen, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(UserError, match="scale 1.5.*1.3 or 2.0"):
        load_detector(1.5)
    with pytest.raises(UserError, match="xception_2.0.safetensors is missing"):
        load_detector(2)
    with pytest.raises(UserError, match="xception_1.3.json is missing"):
        detector_card(1.3)
    save_weights(seen, tmp_path / "xception_2.0.safetensors")
    (tmp_path / "xception_2.0.json").write_text(json.dumps({"scale": 2.0}))
    assert np.array_equal(load_detector(2).weights[1].numpy(), seen.weights[1].numpy())
    assert detector_card(2.0) == {"scale": 2.0}
