import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import SETTINGS, read_planted, tiny_network

from xaifake.detector import load_weights, predict_logits, training
from xaifake.detector.training import (
    EncodedFaces,
    EpochBatches,
    augment,
    data_parallel,
    recalibrate,
    spread_over_clips,
)
from xaifake.errors import UserError

SCRIPT = Path(__file__).with_name("planted.py")


@pytest.fixture
def planted(monkeypatch):
    """Let `train` see the planted faces and a network that trains in a second."""
    monkeypatch.setattr(training, "read_encoded", read_planted)
    monkeypatch.setattr(training, "build_xception", tiny_network)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder and the log of an undisturbed run."""
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "read_encoded", read_planted)
        patch.setattr(training, "build_xception", tiny_network)
        return out, training.train("faces", out, **SETTINGS)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 60), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_clips_are_drawn_equally_often_and_no_face_twice_before_all(sizes, count, seed):
    clips = np.repeat([f"clip {i}" for i in range(len(sizes))], sizes)
    drawn = spread_over_clips(clips, count, np.random.default_rng(seed))
    assert len(drawn) == count
    times = np.bincount(drawn, minlength=len(clips))
    assert times.max() - times.min() <= 1
    first = drawn[: min(count, min(sizes) * len(sizes))]
    often = pd.Series(clips[first]).value_counts()
    if len(first) >= len(sizes):
        assert len(often) == len(sizes) and often.max() - often.min() <= 1
    again = spread_over_clips(clips, count, np.random.default_rng(seed))
    assert np.array_equal(drawn, again)


def test_batches_are_half_real_and_depend_on_seed_epoch_and_number_alone():
    faces = EncodedFaces(*read_planted("faces", "train", 1.3)[:2], np.arange(44))
    run = {"batch_size": 6, "images_per_epoch": 20, "seed": 1}
    batches = EpochBatches(faces, run, epoch=2, size=80)
    assert len(batches) == 3
    images, labels = batches[1]
    assert images.shape == (6, 80, 80, 3) and images.dtype == np.float32
    assert np.abs(images).max() <= 1
    assert labels.shape == (6, 1) and labels.sum() == 3
    again = EpochBatches(faces, run, epoch=2, size=80)
    again[0], again[2]
    assert np.array_equal(again[1][0], images)
    for other in (EpochBatches(faces, run, 3, 80), EpochBatches(faces, {**run, "seed": 2}, 2, 80)):
        assert not np.array_equal(other.rows, batches.rows)


class Still:
    """A generator whose draws are the middle of their range, but for the shift."""

    def __init__(self, shift=(0, 0), chance=0.9):
        self.shift, self.chance = np.array(shift), chance

    def integers(self, *_):
        return self.shift

    def random(self):
        return self.chance

    def uniform(self, low, high):
        return (low + high) / 2


def photograph():
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 2)


def test_augmentation_without_chance_is_a_crop_of_the_very_pixels():
    image = photograph()
    assert np.array_equal(augment(image, 128, Still()), image)
    assert np.array_equal(augment(image, 80, Still()), image[24:104, 24:104])
    moved = augment(image, 128, Still(shift=(3, -2)))
    assert np.array_equal(moved[2:, :-3], image[:-2, 3:])
    assert (moved[:2] == moved[2]).all()  # the border is replicated
    mirrored = augment(image, 128, Still(chance=0.1))  # and a zoom of exactly 1
    assert np.array_equal(mirrored, image[:, ::-1])


@given(st.integers(0, 10_000), st.sampled_from([80, 128]))
@settings(max_examples=40, deadline=None)
def test_augmentation_stays_in_range_and_near_the_middle(seed, size):
    # Red tells the column, green the row.
    ramp = np.zeros((128, 128, 3), dtype=np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(128), np.arange(128)[:, None]
    rng = np.random.default_rng(seed)
    varied = augment(ramp, size, rng)
    assert varied.shape == (size, size, 3) and varied.dtype == np.float32
    assert varied.min() >= 0 and varied.max() <= 255
    again = augment(ramp, size, np.random.default_rng(seed))
    assert np.array_equal(varied, again)
    geometry = np.abs(np.diff(varied[size // 2, :, 0])).mean()
    assert 0.7 < geometry < 1.25  # contrast over zoom


def test_recalibration_is_the_plain_average_over_batches():
    model = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.BatchNormalization(momentum=0.9)]
    )
    layer = model.layers[0]
    rng = np.random.default_rng(0)
    batches = rng.normal(3, 2, (5, 8, 4, 4, 3)).astype(np.float32)
    scale = layer.gamma.numpy()
    recalibrate(model, iter(batches))
    by_channel = batches.transpose(0, 4, 1, 2, 3).reshape(5, 3, -1)
    mean, variance = by_channel.mean(axis=2).mean(axis=0), by_channel.var(axis=2).mean(axis=0)
    assert np.allclose(layer.moving_mean.numpy(), mean, rtol=1e-4)
    assert np.allclose(layer.moving_variance.numpy(), variance, rtol=1e-4)
    assert layer.momentum == 0.9 and np.array_equal(layer.gamma.numpy(), scale)


def test_a_run_learns_and_leaves_log_card_and_weights(finished):
    out, log = finished
    assert sorted(file.name for file in out.iterdir()) == [
        *("card.json", "log.csv", "settings.json", "weights.safetensors")
    ]
    assert log["size"].tolist() == [80, 80, 128, 128]
    assert log["images"].tolist() == [64, 128, 192, 256]
    assert log["loss"].iloc[-1] < 0.8 * log["loss"].iloc[0]
    assert log["val_auc"].iloc[-1] > 0.9 and log["val_auc_batch_statistics"].iloc[-1] > 0.9
    pd.testing.assert_frame_equal(pd.read_csv(out / "log.csv"), log)
    card = json.loads((out / "card.json").read_text())
    assert card["log"] == log.to_dict("records")
    assert card["training_faces"]["fake"] == {"faces": 24, "clips": 8}
    assert card["versions"]["keras"] == keras.__version__
    assert "patch_epochs=2" in card["command"] and str(out) not in json.dumps(card)


def test_the_learning_rate_warms_up_and_falls_along_a_cosine(finished):
    rates = finished[1]["learning_rate"].to_numpy()
    peak, last = 0.01, 1e-5
    # 16 steps an epoch: one after 16 of 30 warm-up steps, then 2, 18 and 34 of 34 falling ones.
    warm = peak / 30 + (peak - peak / 30) * 16 / 30
    falling = [last + (peak - last) * (1 + np.cos(np.pi * step / 34)) / 2 for step in (2, 18, 34)]
    assert rates == pytest.approx([warm, *falling], rel=1e-3)


def test_the_kept_weights_are_the_better_ones_and_give_the_score_on_the_card(finished):
    out, _ = finished
    card = json.loads((out / "card.json").read_text())
    losses = {name: scores["val_loss"] for name, scores in card["validation"].items()}
    assert set(losses) == {"moving_averages", "recalibrated"}
    kept = card["batch_norm_statistics"]
    assert losses[kept] == min(losses.values())
    model = load_weights(tiny_network(), out / "weights.safetensors")
    encoded, labels, table = read_planted("faces", "validation", 1.3)
    faces = EncodedFaces(encoded, labels, table["video"])
    rng = np.random.default_rng([training._VALIDATION, 0])
    rows = faces.draw_balanced(24, rng)
    logits = predict_logits(model, faces.decode(rows)).astype(float)
    loss = np.mean(np.logaddexp(0, logits) - labels[rows] * logits)
    assert loss == pytest.approx(losses[kept], abs=0.02)


def test_a_finished_run_is_read_not_repeated(finished, planted, monkeypatch):
    out, log = finished
    monkeypatch.setattr(training, "_Run", None)
    pd.testing.assert_frame_equal(training.train("faces", out, **SETTINGS), log)


def test_another_seed_is_another_run(finished, planted, tmp_path):
    other = training.train("faces", tmp_path, **{**SETTINGS, "seed": 1, "epochs": 2})
    assert not np.allclose(other["loss"], finished[1]["loss"][:2], rtol=1e-3)


def test_a_folder_with_other_settings_or_other_faces_is_refused(finished, planted, monkeypatch):
    out, _ = finished
    with pytest.raises(UserError, match="epochs was 4, is 5; learning_rate was 0.01, is 0.1"):
        training.train("faces", out, **{**SETTINGS, "epochs": 5, "learning_rate": 0.1})

    def one_less(*arguments):
        encoded, labels, table = read_planted(*arguments)
        return encoded[1:], labels[1:], table.iloc[1:]

    monkeypatch.setattr(training, "read_encoded", one_less)
    with pytest.raises(UserError, match="data was"):
        training.train("faces", out, **SETTINGS)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 5}, "batch_size is 5.*even"),
        ({"images_per_epoch": 3}, "images_per_epoch is 3, less than one batch of 4"),
        ({"validation_images": 1}, "validation_images is 1"),
        ({"patch_epochs": 5}, r"patch_epochs is 5: give 0 to 4"),
        ({"precision": "float8"}, "precision is 'float8'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_written(
    wrong, message, planted, tmp_path
):
    with pytest.raises(UserError, match=message):
        training.train("faces", tmp_path / "run", **{**SETTINGS, **wrong})
    assert not (tmp_path / "run").exists()


def test_a_split_without_fakes_is_refused(planted, tmp_path, monkeypatch):
    def real_ones(*arguments):
        encoded, labels, table = read_planted(*arguments)
        return encoded[:20], labels[:20], table[:20]

    monkeypatch.setattr(training, "read_encoded", real_ones)
    with pytest.raises(UserError, match="train split at scale 1.3 has 20 real and 0 fake faces"):
        training.train("faces", tmp_path, **SETTINGS)


NOISE = ["seconds", "images_per_second"]


def assert_same_run(log, expected):
    """The rows but for times; a machine may add up in another order the second time."""
    pd.testing.assert_frame_equal(
        log.drop(columns=NOISE), expected.drop(columns=NOISE), rtol=0.02, atol=0.01
    )


@pytest.mark.parametrize("place, epoch", [("_save", 3), ("finish", 4)])
def test_an_interrupted_run_goes_on_where_it_was(
    place, epoch, finished, planted, tmp_path, monkeypatch
):
    """Stopped after an epoch is trained and before it is saved, or at the very end."""
    untouched = getattr(training._Run, place)

    def interrupted(run, *arguments):
        if len(run.log) == epoch:
            raise KeyboardInterrupt
        untouched(run, *arguments)

    monkeypatch.setattr(training._Run, place, interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train("faces", tmp_path, **SETTINGS)
    monkeypatch.setattr(training._Run, place, untouched)
    trained = []
    fit = training._Run._fit
    monkeypatch.setattr(
        training._Run, "_fit", lambda run, epoch: trained.append(epoch) or fit(run, epoch)
    )
    assert_same_run(training.train("faces", tmp_path, **SETTINGS), finished[1])
    assert trained == {"_save": [3, 4], "finish": []}[place]


def start(out, devices=1, backend="tensorflow"):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": backend}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), str(devices)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def run_to_the_end(out, **how):
    output, _ = (process := start(out, **how)).communicate()
    assert process.returncode == 0, output
    assert not (out / "checkpoint.safetensors").exists()
    return pd.read_csv(out / "log.csv")


def test_a_killed_run_goes_on_where_it_was(finished, tmp_path):
    process = start(tmp_path)
    log = tmp_path / "log.csv"
    while process.poll() is None and not log.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert_same_run(run_to_the_end(tmp_path), finished[1])


def test_jax_trains_the_same_on_two_devices(finished, tmp_path):
    log = run_to_the_end(tmp_path, devices=2, backend="jax")
    assert json.loads((tmp_path / "card.json").read_text())["versions"]["backend"] == "jax"
    # The same starting weights and draws; sums taken in another order drift apart slowly.
    losses, expected = log["loss"].to_numpy(), finished[1]["loss"].to_numpy()
    assert losses[0] == pytest.approx(expected[0], rel=2e-3)
    assert losses == pytest.approx(expected, rel=0.05)
    assert log["val_auc"].iloc[-1] > 0.9


def test_tensorflow_trains_on_two_devices(finished, tmp_path):
    # Each device normalises its own half of a batch, so the numbers are near, not the same.
    log = run_to_the_end(tmp_path, devices=2)
    losses, expected = log["loss"].to_numpy(), finished[1]["loss"].to_numpy()
    assert losses == pytest.approx(expected, rel=0.2)
    assert log["val_auc"].iloc[-1] > 0.9


def test_one_device_needs_no_distribution():
    with data_parallel():
        assert keras.distribution.distribution() is None
