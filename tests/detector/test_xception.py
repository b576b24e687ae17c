import json
import math
import os

import keras
import numpy as np
import pytest
from planted import pictures
from safetensors.numpy import load_file

from xaifake.detector import Detector, preprocess, xception as module
from xaifake.detector.xception import (
    batch_norms,
    build_xception,
    detector_card,
    load_weights,
    save_weights,
    write_tensors,
)
from xaifake.errors import UserError

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
    logits = Detector(seen).logits(images)
    assert np.allclose(Detector(other).logits(images), logits, atol=0.01 * np.abs(logits).max())


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
        Detector.pretrained(1.5)
    with pytest.raises(UserError, match="xception_2.0.safetensors is missing"):
        Detector.pretrained(2)
    with pytest.raises(UserError, match="xception_1.3.json is missing"):
        detector_card(1.3)
    save_weights(seen, tmp_path / "xception_2.0.safetensors")
    (tmp_path / "xception_2.0.json").write_text(json.dumps({"scale": 2.0}))
    assert np.array_equal(Detector.pretrained(2).model.weights[1].numpy(), seen.weights[1].numpy())
    assert detector_card(2.0) == {"scale": 2.0}
