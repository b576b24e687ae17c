"""Training Xception from scratch, resumable after a kill, on any Keras backend (03_training)."""

from __future__ import annotations

import json
import platform
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from safetensors import safe_open
from sklearn.metrics import roc_auc_score

from xaifake import __version__
from xaifake.data.blending import KINDS
from xaifake.data.dataset import read_encoded, read_pairs
from xaifake.data.portrait_folders import find_portraits, list_portraits, portraits_digest
from xaifake.detector.batches import (
    PORTRAIT_SPLIT,
    RECALIBRATION,
    VALIDATION,
    EncodedFaces,
    EpochBatches,
    with_augmentation,
)
from xaifake.detector.detector import Detector
from xaifake.detector.devices import Devices, join_hosts
from xaifake.detector.fused import FusedAdam, with_fused_batch_norms
from xaifake.detector.inputs import preprocess
from xaifake.detector.pairs import PairedFaces
from xaifake.detector.xception import batch_norms, build_xception, save_weights, write_tensors
from xaifake.errors import UserError
from xaifake.lazy import renamed_arguments
from xaifake.progress import progress_bar
from xaifake.runs import RunFolder, digest, write_text
from xaifake.scales import SCALE

SIZE = 128
PATCH_SIZE = 80
WARM_UP_STEPS = 30
LAST_LEARNING_RATE = 1e-5
BATCH_STATISTICS_IMAGES = 160
RECALIBRATION_IMAGES = 2000
HELD_OUT_PORTRAITS = 0.1  # share of the portraits that validate
PORTRAITS = "portraits.parquet"
EASY = 0.35  # share of the epochs in which some pairs are easy, all of them in the first


@renamed_arguments(faces="faces_dir")
def train(
    faces_dir: str | Path,
    out: str | Path,
    scale: float = SCALE,
    epochs: int = 20,
    images_per_epoch: int = 2000,
    patch_epochs: int = 0,
    validation_images: int = 400,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    precision: str = "float32",
    seed: int = 0,
    progress: bool = True,
    portraits: Sequence[str | Path] = (),
    portrait_share: float = 0.5,
    kinds: Sequence[str] = KINDS,
    fold: int | None = None,
) -> pd.DataFrame:
    """Train Xception from scratch on extracted faces; started again it goes on where it was.

    Adam on the binary cross-entropy of the logit, the learning rate rising for 30 steps and then
    falling along a cosine to 1e-5. Every batch is half real and half fake, and within a class all
    clips appear equally often. After each epoch the detector is scored on a fixed balanced draw of
    validation faces, and everything needed to go on is written to `out`. At the end batch norm's
    statistics are measured anew (see `recalibrate`) and kept if the validation loss gets better.

    With `portraits` every batch consists of pairs, a real face and its own fake: self-blended
    portraits (see `xaifake.data.blending`) and fakes of the extracted faces with their originals.
    All go through one chain of degradations (`xaifake.data.degradations`), in validation too, and
    the loss also asks which of a pair is the fake (`PairLoss`). The first epoch has only pairs that
    are easy to tell apart (`xaifake.detector.pairs`), and fewer and fewer of them follow. A tenth
    of the portraits is kept for validation.

    Parameters
    ----------
    faces_dir : str or path
        Folder written by `xaifake.data.extraction.extract_faces`, with faces of the splits
        "train" and "validation".
    out : str or path
        Folder for `settings.json`, `log.csv`, `weights.safetensors` (see `save_weights`),
        `card.json` and, while the run lasts, `checkpoint.safetensors`.
    scale : float
        Which of the extracted scales to train on.
    epochs : int
        Number of epochs, each closed by a validation and a checkpoint.
    images_per_epoch : int
        Training images in an epoch; rounded down to whole batches.
    patch_epochs : int
        So many of the epochs, the first ones, see random 80 x 80 patches of the crops: the
        same weights at about twice the progress a minute.
    validation_images : int
        Validation faces scored after each epoch, half of them real.
    batch_size : int
        Images in a step, an even number.
    learning_rate : float
        The highest learning rate.
    precision : str
        "float32", "mixed_bfloat16" (fast on CPUs with AVX-512 BF16 and on recent GPUs) or
        "mixed_float16" (GPUs).
    seed : int
        Seed of the starting weights and of every draw.
    progress : bool
        Show a progress bar, an estimate of the time, and a line for each epoch.
    portraits : sequence of str or path
        Folders of portraits or other pictures with one face each, searched with all below them.
        Faces are looked for once; what is found lies in `out` while the run lasts.
    portrait_share : float
        Share of the pairs that are self-blended portraits, above 0 and up to 1.
    kinds : sequence of str
        Which of `xaifake.data.blending.KINDS` are blended.
    fold : int, optional
        Train without the people of this fold, for faces of the clips of size "folds"; see
        `xaifake.data.dataset.split_of_fold`.

    Returns
    -------
    pandas.DataFrame
        The log, one row an epoch: epoch, size (pixels), images (so far), learning_rate, loss,
        accuracy, val_loss, val_accuracy, val_auc, val_auc_batch_statistics (of the first 160
        validation faces, normalised by their own batches: far above val_auc where the moving
        statistics lag behind), seconds, images_per_second; with portraits also val_auc_videos and
        val_auc_portraits, as far as both are there.

    Raises
    ------
    UserError
        If a setting makes no sense, a split lacks a class, `out` holds a run with other settings or
        other faces, another process trains there, or the portraits cannot be used (see
        `find_portraits`).
    """
    settings = {
        "scale": float(scale),
        "epochs": epochs,
        "images_per_epoch": images_per_epoch,
        "patch_epochs": patch_epochs,
        "validation_images": validation_images,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": precision,
        "seed": seed,
    }
    if fold is not None:
        settings["fold"] = fold
    listed = list_portraits(portraits) if portraits else None
    if listed:
        settings |= {"portraits": portraits_digest(listed), "portrait_share": float(portrait_share)}
        settings["kinds"] = list(kinds)
    _check_settings(settings)
    join_hosts()
    devices = Devices()
    devices.check_batch(batch_size, together=2 if listed else 1)
    read = _read_pairs if listed else _read
    training, validation = (read(faces_dir, split, settings) for split in ("train", "validation"))
    settings["data"] = digest([(faces.labels, faces.encoded) for faces in (training, validation)])
    folder, out = RunFolder(out, settings), Path(out)
    card_path = out / "card.json"
    with ExitStack() as held:
        with devices.main_process_first():
            folder.claim()
            if devices.host == 0 and not card_path.is_file():  # the other hosts only read
                held.enter_context(folder.alone())
        finished = card_path.is_file()
        devices.wait()
        if not finished:
            if listed:
                with devices.main_process_first():
                    found = find_portraits(listed, out / PORTRAITS, progress)
                _deal(found, training, validation, seed)
            run = _Run(training, validation, out, settings, devices, progress)
            with run.bar:
                run.train()
                run.finish(card_path)
    return pd.DataFrame(json.loads(card_path.read_text(encoding="utf-8"))["log"])


def _check_settings(settings):
    for name, least in (("epochs", 1), ("validation_images", 2), ("batch_size", 2)):
        if settings[name] < least:
            raise UserError(f"{name} is {settings[name]}: give at least {least}.")
    if settings["batch_size"] % 2:
        raise UserError(
            f"batch_size is {settings['batch_size']}: give an even number, half of each batch is "
            "real and half fake."
        )
    if settings["images_per_epoch"] < settings["batch_size"]:
        raise UserError(
            f"images_per_epoch is {settings['images_per_epoch']}, less than one batch of "
            f"{settings['batch_size']}: give more images or smaller batches."
        )
    if not 0 <= settings["patch_epochs"] <= settings["epochs"]:
        raise UserError(
            f"patch_epochs is {settings['patch_epochs']}: give 0 to {settings['epochs']} (epochs)."
        )
    if settings["precision"] not in ("float32", "mixed_bfloat16", "mixed_float16"):
        raise UserError(
            f"precision is {settings['precision']!r}: give float32, mixed_bfloat16 or "
            "mixed_float16."
        )
    if not 0 < settings.get("portrait_share", 1) <= 1:
        raise UserError(
            f"portrait_share is {settings['portrait_share']}: give a share above 0 and up to 1, or "
            "no portraits."
        )
    if not set(settings.get("kinds", KINDS)) <= set(KINDS) or not settings.get("kinds", KINDS):
        raise UserError(f"kinds is {settings['kinds']}: give some of {', '.join(KINDS)}.")


def _read(folder, split, settings):
    """Read one split of a folder of extracted faces, which must have both classes."""
    scale = settings["scale"]
    encoded, labels, table = read_encoded(folder, split, scale, settings.get("fold"))
    faces = EncodedFaces(encoded, labels, table["video"])
    if set(faces.labels) != {0, 1}:
        raise UserError(
            f"The {split} split at scale {scale} has {(faces.labels == 0).sum()} real and "
            f"{(faces.labels == 1).sum()} fake faces: it needs both kinds."
        )
    return faces


def _read_pairs(folder, split, settings):
    """Read the fakes of one split that have an original."""
    originals, fakes, table = read_pairs(folder, split, settings["scale"], settings.get("fold"))
    return PairedFaces(
        originals, fakes, table["video"], settings["scale"], settings["portrait_share"],
        settings["kinds"],
    )  # fmt: skip


def _deal(found, training, validation, seed):
    """Give a tenth of the portraits, at least one, to validation and the others to training."""
    if len(found) < 2:
        raise UserError("There is one portrait with a face: give at least two, one to validate.")
    held_out = max(1, round(HELD_OUT_PORTRAITS * len(found)))
    order = np.random.default_rng([PORTRAIT_SPLIT, seed]).permutation(len(found))
    validation.portraits = found.part(np.sort(order[:held_out]))
    training.portraits = found.part(np.sort(order[held_out:]))


def recalibrate(model, batches):
    """Measure batch norm's statistics anew as plain averages over batches.

    The moving averages of training weigh the last few batches, seen through weights that were
    still changing; here every batch counts the same and the weights stand still (Wu and Johnson
    2021, 'Rethinking "Batch" in BatchNorm', section 3: PreciseBN). The k-th batch is taken in with
    momentum 1 - 1/k.

    Parameters
    ----------
    model : keras.Model
        Its moving means and variances are replaced; nothing else changes.
    batches : iterable of float32 arrays (B, H, W, 3)
        Network inputs in [-1, 1].
    """
    layers = batch_norms(model)
    before = [layer.momentum for layer in layers]
    try:
        for k, batch in enumerate(batches, start=1):
            for layer in layers:
                layer.momentum = 1 - 1 / k
            model(batch, training=True)
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum


class PairLoss(keras.losses.BinaryCrossentropy):
    """Cross-entropy of each picture, and of which picture of a pair is the fake.

    What a pair has in common, person, scene and compression, falls out of the second part, which
    is that of the difference of the two logits. Rows are a real face and its fake by turns.
    """

    def __init__(self):
        super().__init__(from_logits=True)

    def call(self, labels, logits):
        """Return the loss of each picture, float32 (N,)."""
        gaps = keras.ops.squeeze(logits[1::2] - logits[0::2], -1)
        return super().call(labels, logits) + keras.ops.repeat(keras.ops.softplus(-gaps), 2)


def model_to_fit(network, shape, learning_rate, precision, devices, paired=False):
    """Make the compiled model that `train` fits.

    Parameters
    ----------
    network : keras.Model
        Maps float32 (N, size, size, 3) in [-1, 1] to logits.
    shape : tuple of int
        Shape (H, H, 3) of the training pictures.
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule
        Of Adam.
    precision : str
        The network's; with "mixed_float16" the loss is scaled.
    devices : Devices
        What trains. A single processor under TensorFlow gets the network's fused copy.
    paired : bool
        Whether batches are pairs, and `PairLoss` is what is made small.

    Returns
    -------
    tuple of keras.Model
        The network that learns, with the weights of the given one, and the model, which maps
        uint8 pictures (N, H, H, 3) and their variations (N, 6) to that network's logits.
    """
    if devices.fused:
        network = with_fused_batch_norms(network)
    devices.normalise_together(batch_norms(network))
    optimizer = (FusedAdam if devices.fused else keras.optimizers.Adam)(learning_rate)
    if precision == "mixed_float16":
        # Small gradients would be zero in float16.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model = with_augmentation(network, shape)
    # Keras compiles with XLA, but on TensorFlow's CPU, where XLA is slower.
    model.compile(
        optimizer=optimizer,
        loss=PairLoss() if paired else keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
    )
    return network, model


class _Progress(keras.callbacks.Callback):
    """Moves the run's bar and, after a few steps, tells how long the rest will take."""

    # Called in threads, so that the device need not wait until a step's loss has been read.
    async_safe = True

    def __init__(self, bar, batch_size, steps_to_go):
        super().__init__()
        self.bar, self.batch_size, self.steps_to_go = bar, batch_size, steps_to_go
        self.lock = threading.Lock()

    def on_train_batch_end(self, batch, logs=None):
        with self.lock:
            self._count(batch, logs)

    def _count(self, batch, logs):
        self.bar.update(self.batch_size)
        self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)
        # The first step is slow: the backend traces the network.
        if batch == 0:
            self.start = time.perf_counter()
        if batch == 8 and self.steps_to_go is not None and not self.bar.disable:
            minutes = (time.perf_counter() - self.start) / 8 * (self.steps_to_go - 9) / 60
            self.bar.write(f"about {minutes:.0f} minutes to go, validations not counted")


class _Run:
    """The state of one training run: models, optimiser, log."""

    def __init__(self, training, validation, out, settings, devices, progress):
        self.training, self.out, self.settings = training, out, settings
        self.devices = devices
        rng = np.random.default_rng([VALIDATION, settings["seed"]])
        rows = validation.draw_balanced(settings["validation_images"], rng)
        self.val_images = validation.decode(rows, (VALIDATION, settings["seed"]))
        self.val_labels = validation.labels[rows]
        self.val_parts = _parts(validation, rows)
        self.steps = settings["images_per_epoch"] // settings["batch_size"]
        # Scored with the network that is shipped: full size and precision, one device.
        self.scored = build_xception(SIZE, seed=settings["seed"])
        self.model = None
        self.checkpoint = out / "checkpoint.safetensors"
        self.log = self._read_log()
        self.resumed_after = len(self.log)
        size = self.settings["batch_size"] * self.steps
        self.bar = progress_bar(
            show=progress and devices.host == 0,
            total=self.settings["epochs"] * size,
            initial=self.resumed_after * size,
            unit="img",
            mininterval=1,
        )

    def _size(self, epoch):
        return PATCH_SIZE if epoch <= self.settings["patch_epochs"] else SIZE

    def _read_log(self):
        if not self.checkpoint.is_file():
            return []
        with safe_open(self.checkpoint, framework="numpy") as file:
            return json.loads(file.metadata()["log"])

    def train(self):
        """Train the epochs that are still to be trained."""
        for epoch in range(len(self.log) + 1, self.settings["epochs"] + 1):
            with self.devices.scope():
                if self.model is None or self.network.input_shape[1] != self._size(epoch):
                    self._build(epoch)
                seconds, fitted = self._fit(epoch)
            self.scored.set_weights(self.network.get_weights())
            self._record(epoch, seconds, fitted)
            self._save()
        if self.model is None:
            with self.devices.scope():
                self._build(self.settings["epochs"])

    def _build(self, epoch):
        """Make the model for an epoch's size, in the state of the end of the epoch before."""
        precision = self.settings["precision"]
        network = build_xception(self._size(epoch), precision=precision, seed=self.settings["seed"])
        rate = self.settings["learning_rate"]
        steps = self.settings["epochs"] * self.steps
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=rate / WARM_UP_STEPS,
            decay_steps=max(1, steps - WARM_UP_STEPS),
            alpha=LAST_LEARNING_RATE / rate,
            warmup_target=rate,
            warmup_steps=WARM_UP_STEPS,
        )
        self.network, self.model = model_to_fit(
            network, self.training.shape, schedule, precision, self.devices, self.training.paired
        )
        self.model.optimizer.build(self.model.trainable_variables)
        if self.checkpoint.is_file():
            with safe_open(self.checkpoint, framework="numpy") as file:
                for key, variable in self._state().items():
                    variable.assign(file.get_tensor(key))

    def _state(self):
        """Return every variable that the next step depends on."""
        variables = [*self.model.variables, *self.model.optimizer.variables]
        return {f"{number:03d}": variable for number, variable in enumerate(variables)}

    def _fit(self, epoch):
        first = epoch == self.resumed_after + 1
        steps_to_go = self._steps_to_go(epoch) if first else None
        callbacks = [_Progress(self.bar, self.settings["batch_size"], steps_to_go)]
        if self.training.paired:
            self.training.easy = max(0.0, 1 - (epoch - 1) / (EASY * self.settings["epochs"]))
        start = time.perf_counter()
        share = (self.devices.host, self.devices.hosts)
        with EpochBatches(self.training, self.settings, epoch, self._size(epoch), share) as batches:
            try:
                fitted = self.model.fit(batches, verbose=0, callbacks=callbacks, shuffle=False)
            except Exception:
                # TensorFlow wraps an error of the reading threads into one of its own.
                if batches.failure is not None:
                    raise batches.failure from None
                raise
        return time.perf_counter() - start, fitted.history

    def _steps_to_go(self, epoch):
        """Return the cost of this and all later epochs in steps of this one: as the area."""
        epochs = range(epoch, self.settings["epochs"] + 1)
        return sum((self._size(one) / self._size(epoch)) ** 2 * self.steps for one in epochs)

    def _record(self, epoch, seconds, fitted):
        images = self.steps * self.settings["batch_size"]
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        self.log.append(
            {
                "epoch": epoch,
                "size": self._size(epoch),
                "images": epoch * images,
                "learning_rate": float(rate),
                "loss": float(fitted["loss"][0]),
                "accuracy": float(fitted["accuracy"][0]),
                **self._validate(),
                "val_auc_batch_statistics": self._batch_statistics_auc(),
                "seconds": round(seconds, 1),
                "images_per_second": round(images / seconds, 2),
            }
        )
        line = (
            "epoch {epoch}: loss {loss:.3f}, validation loss {val_loss:.3f}, accuracy "
            "{val_accuracy:.3f}, AUC {val_auc:.3f} (batch statistics "
            "{val_auc_batch_statistics:.3f}), {images_per_second:.1f} images/s"
        )
        self._say(line.format(**self.log[-1]))

    def _say(self, line):
        if not self.bar.disable:
            self.bar.write(line)

    def _validate(self):
        # The weights change from epoch to epoch: nothing is to be gained by converting them.
        logits = Detector(self.scored).logits(self.val_images, engine="keras").astype(np.float64)
        scores = {
            "val_loss": float(np.mean(np.logaddexp(0, logits) - self.val_labels * logits)),
            "val_accuracy": float(np.mean((logits > 0) == self.val_labels)),
            "val_auc": float(roc_auc_score(self.val_labels, logits)),
        }
        for name, part in self.val_parts.items():
            scores[name] = float(roc_auc_score(self.val_labels[part], logits[part]))
        return scores

    def _batch_statistics_auc(self):
        """Score some validation faces normalised by their own batches; moves the statistics."""
        images = preprocess(self.val_images[:BATCH_STATISTICS_IMAGES])
        parts = [images[start : start + 32] for start in range(0, len(images), 32)]
        logits = [keras.ops.convert_to_numpy(self.scored(part, training=True)) for part in parts]
        labels = self.val_labels[: len(images)]
        return float(roc_auc_score(labels, np.concatenate(logits)[:, 0]))

    def _save(self):
        """Write the checkpoint, then the log that stands in it; the first host does."""
        if self.devices.host == 0:
            tensors = {key: np.asarray(one.numpy()) for key, one in self._state().items()}
            write_tensors(tensors, self.checkpoint, {"log": json.dumps(self.log)})
            write_text(self.out / "log.csv", pd.DataFrame(self.log).to_csv(index=False))
        self.devices.wait()

    def finish(self, card_path):
        """Settle batch norm's statistics, write weights and card, drop the checkpoint."""
        trained = self.network.get_weights()
        self.scored.set_weights(trained)
        scores = {"moving_averages": self._validate()}
        self._say("measuring batch norm's statistics anew")
        recalibrate(self.scored, self._recalibration_batches())
        scores["recalibrated"] = self._validate()
        kept = min(scores, key=lambda name: scores[name]["val_loss"])
        if kept == "moving_averages":
            self.scored.set_weights(trained)
        if self.devices.host == 0:
            # One entry only: safetensors writes several in random order.
            stamp = {"settings": json.dumps(self.settings)}
            save_weights(self.scored, self.out / "weights.safetensors", stamp)
            write_text(card_path, json.dumps(self._card(scores, kept), indent=2))
            self.checkpoint.unlink()
            (self.out / PORTRAITS).unlink(missing_ok=True)
        self.devices.wait()

    def _recalibration_batches(self):
        rng = np.random.default_rng([RECALIBRATION, self.settings["seed"]])
        count = min(RECALIBRATION_IMAGES, len(self.training.labels))
        rows = self.training.draw_balanced(count, rng)
        size = self.settings["batch_size"]
        for start in range(0, count - size + 1, size):
            part, key = rows[start : start + size], (RECALIBRATION, self.settings["seed"])
            yield preprocess(self.training.decode(part, key, start))

    def _card(self, scores, kept):
        seconds = sum(row["seconds"] for row in self.log)
        arguments = ", ".join(
            f"{name}={'[...]' if name == 'portraits' else repr(value)}"
            for name, value in self.settings.items()
            if name != "data"
        )
        return {
            "network": "Xception, 128 x 128 x 3, one logit, trained from scratch",
            **self.settings,
            "command": f"xaifake.detector.train(faces, out, {arguments})",
            "training_faces": self.training.counts(),
            "images": self.log[-1]["images"],
            "minutes": round(seconds / 60, 1),
            "images_per_second": round(self.log[-1]["images"] / seconds, 2),
            "validation": scores,
            "batch_norm_statistics": kept,
            "log": self.log,
            "versions": {
                "xaifake": __version__,
                "python": platform.python_version(),
                "keras": keras.__version__,
                "backend": keras.backend.backend(),
                # The module knows, whatever the package is called that it came with.
                keras.backend.backend(): sys.modules[keras.backend.backend()].__version__,
                "numpy": np.__version__,
            },
        }


def _parts(validation, rows):
    """Say which validation faces come from videos and which from portraits, by a score's name."""
    if not validation.paired:
        return {}
    of_portraits = validation.of_portraits(rows)
    parts = {"val_auc_videos": ~of_portraits, "val_auc_portraits": of_portraits}
    return {name: part for name, part in parts.items() if part.any()}
