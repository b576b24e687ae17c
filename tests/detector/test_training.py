import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from planted import SETTINGS, read_planted, read_planted_pairs, tiny_network
from safetensors.numpy import load

import xaifake
from xaifake.data import portrait_folders, portraits
from xaifake.detector import Detector, load_weights, training
from xaifake.detector.batches import VALIDATION, EncodedFaces
from xaifake.detector.devices import Devices
from xaifake.detector.training import recalibrate
from xaifake.errors import UserError
from xaifake.runs import RunFolder

SCRIPT = Path(__file__).with_name("planted.py")


@pytest.fixture
def planted(monkeypatch):
    """Let `train` see the planted faces and a network that trains in a second."""
    monkeypatch.setattr(training, "read_encoded", read_planted)
    monkeypatch.setattr(training, "read_pairs", read_planted_pairs)
    monkeypatch.setattr(training, "build_xception", tiny_network)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder and the log of an undisturbed run."""
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "read_encoded", read_planted)
        patch.setattr(training, "build_xception", tiny_network)
        return out, training.train("faces", out, **SETTINGS)


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
        *("card.json", "log.csv", "run.lock", "settings.json", "weights.safetensors")
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
    assert card["versions"]["xaifake"] == xaifake.__version__
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
    rng = np.random.default_rng([VALIDATION, 0])
    rows = faces.draw_balanced(24, rng)
    logits = Detector(model).logits(faces.decode(rows)).astype(float)
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


def test_a_second_process_may_not_train_in_the_same_folder(finished, planted, tmp_path):
    with RunFolder(finished[0], json.loads((finished[0] / "settings.json").read_text())).alone():
        training.train("faces", finished[0], **SETTINGS)  # it is done, and only read
    for name in ("settings.json", "run.lock"):
        shutil.copy(finished[0] / name, tmp_path)
    with FileLock(tmp_path / "run.lock"):
        with pytest.raises(UserError, match="Another process is at work"):
            training.train("faces", tmp_path, **SETTINGS)
    assert len(list(tmp_path.iterdir())) == 2


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


def assert_same_weights(out, expected):
    """By order: Keras numbers the layers of each model anew."""
    first, second = (load((run / "weights.safetensors").read_bytes()) for run in (out, expected))
    for one, other in zip(sorted(first), sorted(second), strict=True):
        assert np.allclose(first[one], second[other], rtol=0.01, atol=1e-3), one


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
    assert_same_weights(tmp_path, finished[0])


TEN_STEPS = {**SETTINGS, "epochs": 2, "images_per_epoch": 20, "patch_epochs": 1}


@pytest.fixture(scope="module")
def portrait_folder(tmp_path_factory):
    """Four people's portraits."""
    folder = tmp_path_factory.mktemp("portraits")
    for person in ("001", "004", "009", "012"):
        shutil.copy(portraits.FOLDER / "images" / f"{person}_neutral.jpg", folder)
    return folder


def test_a_run_on_portraits_stopped_at_any_place_gets_the_weights_of_an_undisturbed_one(
    portrait_folder, planted, tmp_path, monkeypatch
):
    how = {**TEN_STEPS, "portraits": [portrait_folder]}
    expected = training.train("faces", tmp_path / "whole", **how)
    assert {"val_auc_videos", "val_auc_portraits"} <= set(expected)
    card = json.loads((tmp_path / "whole" / "card.json").read_text())
    assert card["training_faces"] == {"videos": {"pairs": 12, "clips": 4}, "portraits": 3}
    assert "portraits=[...]" in card["command"] and str(portrait_folder) not in json.dumps(card)
    assert sorted(file.name for file in (tmp_path / "whole").iterdir()) == [
        *("card.json", "log.csv", "run.lock", "settings.json", "weights.safetensors")
    ]

    saved, searched = training._Run._save, []

    def stopped(run):
        if len(run.log) == 2:
            raise KeyboardInterrupt
        saved(run)

    monkeypatch.setattr(training._Run, "_save", stopped)
    with pytest.raises(KeyboardInterrupt):
        training.train("faces", tmp_path / "parts", **how)
    monkeypatch.setattr(training._Run, "_save", saved)
    monkeypatch.setattr(portrait_folders, "FaceFinder", lambda: searched.append(1))
    assert_same_run(training.train("faces", tmp_path / "parts", **how), expected)
    assert_same_weights(tmp_path / "parts", tmp_path / "whole")
    assert not searched


def test_another_folder_of_portraits_is_another_run(portrait_folder, planted, tmp_path):
    how = {**TEN_STEPS, "epochs": 1}
    training.train("faces", tmp_path / "run", **how, portraits=[portrait_folder])
    (other := tmp_path / "other").mkdir()
    shutil.copy(next(portrait_folder.iterdir()), other)
    with pytest.raises(UserError, match="portraits was .*, is "):
        training.train("faces", tmp_path / "run", **how, portraits=[other])
    with pytest.raises(UserError, match="one portrait with a face: give at least two"):
        training.train("faces", tmp_path / "alone", **how, portraits=[other])


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"portrait_share": 0}, "portrait_share is 0.0: give a share above 0"),
        ({"kinds": ["eyes", "ears"]}, "kinds is .*ears.*: give some of whole, inner"),
        ({"portraits": ["nowhere"]}, "There is no folder nowhere"),
    ],
)
def test_portraits_that_make_no_sense_are_refused(
    wrong, message, portrait_folder, planted, tmp_path
):
    with pytest.raises(UserError, match=message):
        training.train(
            "faces", tmp_path / "run", **{**TEN_STEPS, "portraits": [portrait_folder], **wrong}
        )
    assert not (tmp_path / "run").exists()


def start(out, devices=1, backend="tensorflow", folders=(), **variables):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": backend, **variables}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), str(devices), *map(str, folders)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def run_to_the_end(out, **how):
    output, _ = (process := start(out, **how)).communicate()
    assert process.returncode == 0, output
    assert not (out / "checkpoint.safetensors").exists()
    return pd.read_csv(out / "log.csv")


def kill_after_an_epoch(out, **how):
    process = start(out, **how)
    log = out / "log.csv"
    while process.poll() is None and not log.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(finished, tmp_path):
    kill_after_an_epoch(tmp_path)
    assert_same_run(run_to_the_end(tmp_path), finished[1])


@pytest.mark.slow
def test_a_killed_run_on_portraits_goes_on_where_it_was(portrait_folder, tmp_path):
    how = {"folders": [portrait_folder]}
    expected = run_to_the_end(tmp_path / "whole", **how)
    kill_after_an_epoch(tmp_path / "parts", **how)
    assert_same_run(run_to_the_end(tmp_path / "parts", **how), expected)
    assert_same_weights(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_two_devices_train_as_one_does(backend, finished, tmp_path):
    log = run_to_the_end(tmp_path, devices=2, backend=backend)
    assert json.loads((tmp_path / "card.json").read_text())["versions"]["backend"] == backend
    # The same starting weights, draws and batch statistics; sums are taken in another order.
    losses, expected = log["loss"].to_numpy(), finished[1]["loss"].to_numpy()
    assert losses == pytest.approx(expected, rel=2e-3)
    assert log["val_auc"].iloc[-1] > 0.9


@pytest.mark.slow
def test_two_hosts_train_as_one_does(finished, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    hosts = [
        start(tmp_path, backend="jax", KERAS_DISTRIBUTION_JOB_ADDRESSES=address,
              KERAS_DISTRIBUTION_NUM_PROCESSES="2", KERAS_DISTRIBUTION_PROCESS_ID=str(number))
        for number in range(2)
    ]  # fmt: skip
    for host in hosts:
        output, _ = host.communicate(timeout=300)
        assert host.returncode == 0, output
    losses = pd.read_csv(tmp_path / "log.csv")["loss"].to_numpy()
    assert losses == pytest.approx(finished[1]["loss"].to_numpy(), rel=2e-3)
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_several_hosts_are_refused_where_keras_cannot_join_them(planted, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    with pytest.raises(UserError, match="on JAX only.*KERAS_BACKEND=jax"):
        training.train("faces", tmp_path, **SETTINGS)


def test_the_steps_in_float16_scale_the_loss_and_go_on_where_they_were(
    planted, tmp_path, monkeypatch
):
    few = {**SETTINGS, "epochs": 2, "patch_epochs": 0, "precision": "mixed_float16"}
    expected = training.train("faces", tmp_path / "whole", **few)
    fit = training._Run._fit

    def interrupted(run, epoch):
        scaled = run.model.optimizer
        assert isinstance(scaled, keras.optimizers.LossScaleOptimizer)
        if epoch == 2:
            raise KeyboardInterrupt
        return fit(run, epoch)

    monkeypatch.setattr(training._Run, "_fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train("faces", tmp_path / "parts", **few)
    monkeypatch.setattr(training._Run, "_fit", fit)
    assert_same_run(training.train("faces", tmp_path / "parts", **few), expected)
    assert_same_weights(tmp_path / "parts", tmp_path / "whole")


def test_an_error_of_a_reading_thread_is_raised_as_it_is(planted, tmp_path, monkeypatch):
    def broken(faces, rows, *_):
        raise UserError("a damaged picture")

    run_fit = training._Run._fit

    def fit(run, epoch):
        monkeypatch.setattr(EncodedFaces, "decode", broken)
        return run_fit(run, epoch)

    monkeypatch.setattr(training._Run, "_fit", fit)
    with pytest.raises(UserError, match="^a damaged picture$"):
        training.train("faces", tmp_path, **SETTINGS)


def test_a_batch_that_the_devices_cannot_share_equally_is_refused():
    devices = Devices()
    assert (devices.count, devices.host, devices.hosts) == (1, 0, 1)
    devices.count = 4
    devices.check_batch(8)
    with pytest.raises(UserError, match="batch_size is 6, for 4 devices: give a multiple of 4"):
        devices.check_batch(6)
    with pytest.raises(UserError, match="batch_size is 12, for 4 .* of 2: give a multiple of 8"):
        devices.check_batch(12, together=2)
