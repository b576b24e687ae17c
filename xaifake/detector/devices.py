"""Sharing the steps of training among the devices of a host, and among hosts (03_training)."""

import os
import sys
from contextlib import contextmanager, nullcontext

import keras

from xaifake.errors import UserError

# The variables by which `keras.distribution.initialize` is told about the other hosts.
HOSTS = "KERAS_DISTRIBUTION_NUM_PROCESSES"


def join_hosts():
    """Join the other hosts that train with this one, if the environment names any.

    The same command runs on each host, with the three variables that
    `keras.distribution.initialize` reads: `KERAS_DISTRIBUTION_JOB_ADDRESSES` (the first host's
    "address:port"), `KERAS_DISTRIBUTION_NUM_PROCESSES` and `KERAS_DISTRIBUTION_PROCESS_ID` (from
    0). Without them nothing happens. Must come before anything is computed.

    Raises
    ------
    UserError
        If there are such variables and the backend is not JAX, the only one for which Keras 3
        trains over several hosts.
    """
    if HOSTS not in os.environ:
        return
    backend = keras.backend.backend()
    if backend != "jax":
        raise UserError(
            f"{HOSTS} asks for several hosts, which Keras offers on JAX only, and the backend is "
            f"{backend}: set KERAS_BACKEND=jax, or unset {HOSTS} to train on this host alone."
        )
    import jax

    if not jax.distributed.is_initialized():
        keras.distribution.initialize()


class Devices:
    """The devices among which each batch is shared, with equal parts.

    All accelerators, of all hosts that `join_hosts` has joined: by
    `tf.distribute.MirroredStrategy` on TensorFlow and `keras.distribution.DataParallel` on JAX. A
    single device, and torch, need neither.

    Attributes
    ----------
    count : int
        Number of devices.
    host, hosts : int
        Number of this host, from 0, and number of hosts.
    fused : bool
        Whether the layers and the optimiser of `xaifake.detector.fused` are for this device: a
        single processor under TensorFlow. Elsewhere XLA fuses operations, or several devices
        take batch norm's statistics together, which the fused operation cannot.
    """

    def __init__(self):
        self.backend = keras.backend.backend()
        names = [] if self.backend == "torch" else keras.distribution.list_devices()
        self.count = max(1, len(names))
        self.fused = self.backend == "tensorflow" and names[0].startswith("cpu") and len(names) == 1
        self.host, self.hosts = 0, 1
        self._distribution = self._strategy = None
        if self.count > 1 and self.backend == "tensorflow":
            import tensorflow as tf

            self._strategy = tf.distribute.MirroredStrategy(names)
        elif self.count > 1:
            # Each host makes its own part of a batch, so there is nothing left to be sharded.
            self._distribution = keras.distribution.DataParallel(
                devices=names, auto_shard_dataset=False
            )
            jax = sys.modules["jax"]
            self.host, self.hosts = jax.process_index(), jax.process_count()

    def check_batch(self, size, together=1):
        """Raise a UserError if a batch has no equal parts, in which so many stay together."""
        parts = self.count * together
        if size % parts:
            of = f"{self.count} devices" + (f" and groups of {together}" if together > 1 else "")
            raise UserError(f"batch_size is {size}, for {of}: give a multiple of {parts}.")

    def scope(self):
        """Return the context in which a model is built and trained on all devices."""
        if self._strategy is not None:
            return self._strategy.scope()
        return nullcontext() if self._distribution is None else self._distribution.scope()

    def normalise_together(self, layers):
        """Let batch norm layers take their statistics from the whole batch.

        TensorFlow's devices would each take those of their own part; JAX's see the whole batch.
        """
        for layer in layers:
            layer.synchronized = self._strategy is not None

    def wait(self):
        """Wait until every host has come here."""
        if self.hosts > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("xaifake")

    @contextmanager
    def main_process_first(self):
        """Let the other hosts do something only after the first one has done it."""
        if self.host:
            self.wait()
        yield
        if not self.host:
            self.wait()
