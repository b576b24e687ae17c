#!/usr/bin/env bash
# Keras 2 and PyTorch store a different moving variance from Keras 3 for the same pictures
# Harms: picture
# Call: BatchNormalization(momentum=0) called once in training on 2 pictures of 2 x 2
# Expected: one definition of the variance.
# Effect: the difference is small in large maps, but a seventh with 8 values per channel. After a move between libraries, training continues from different statistics and the logits drift.
# Instead: when you move late layers of small batches, multiply by (n - 1) / n, and compare logits.
# xaifake: no, its fused layer stores what Keras 3 stores: tests/detector/test_fused.py::test_fused_batch_norm_is_keras_in_every_precision
source "$(dirname "$0")/environment.bash" tensorflow==2.20.0 keras==3.15.0 tf_keras==2.20.1 numpy==2.4.6 matplotlib==3.11.2 pillow==13.0.0 opencv-python-headless==5.0.0.93
pip install -qq torch==2.13.0
python - 2>errors.txt <<'PYTHON'
import keras
import numpy as np
import tf_keras
import torch

x, found = np.random.default_rng(0).normal(size=(2, 2, 2, 3)).astype("float32"), {}
for name, library in (("Keras 3", keras), ("Keras 2", tf_keras)):
    model = library.Sequential([library.Input((2, 2, 3)), library.layers.BatchNormalization(momentum=0.0)])
    model(x, training=True)
    found[name] = np.asarray(model.layers[0].moving_variance)
norm = torch.nn.BatchNorm2d(3, momentum=1.0)
norm(torch.tensor(x.transpose(0, 3, 1, 2)))
found["PyTorch"] = norm.running_var.numpy()
ratios = {name: round(float((variance / x.var((0, 1, 2))).mean()), 3) for name, variance in found.items()}
print("keras", keras.__version__, "tf_keras", tf_keras.__version__, "torch", torch.__version__)
print("moving variance over the variance of the 8 values:", ratios)
assert ratios["Keras 3"] == 1 and ratios["Keras 2"] == ratios["PyTorch"] == 1.143, "they agree now"
print(f"Keras 2 and PyTorch store {ratios['PyTorch']} of what Keras 3 stores.")
PYTHON
