#!/usr/bin/env bash
# pytorch-grad-cam turns a map that is the same everywhere into zeros
# Harms: map
# Call: GradCAM(network, [layer])(pictures, targets)
# Expected: a layer that supports the class equally everywhere gives a map with a single positive value.
# Effect: full evidence looks like none. Each map is stretched from its minimum to its maximum, so you cannot compare levels between pictures either.
# Instead: compute the weighted sum yourself, and stretch it only for display.
# xaifake: no, tests/test_known_traps.py::test_a_constant_grad_cam_keeps_its_value
# Picture: A square full of red on the left and an empty one on the right.
# Caption: The weighted sum of the channels (left), and the map that GradCAM returns (right).
source "$(dirname "$0")/environment.bash" torch==2.13.0 torchvision==0.28.0 grad-cam==1.5.7
python - <<'PYTHON'
import torch
from draw import draw
from importlib.metadata import version

try:
    import torchvision  # noqa: F401
except RuntimeError:  # a build for CUDA beside a torch for CPUs
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

conv = torch.nn.Conv2d(3, 4, 1)
network = torch.nn.Sequential(conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2))
with torch.no_grad():
    for parameter in network.parameters():
        parameter.fill_(1.0)
picture = torch.ones(1, 3, 8, 8)
found = GradCAM(network, [conv])(picture, [ClassifierOutputTarget(0)])[0]
channels = conv(picture)
(slopes,) = torch.autograd.grad(network[1:](channels)[0, 0], channels)
by_hand = (slopes.mean((2, 3), keepdim=True) * channels).sum(1)[0].detach().numpy()
draw(by_hand, found)
print("grad-cam", version("grad-cam"), "torch", version("torch"))
print(f"weighted sum of the channels from {by_hand.min():.2f} to {by_hand.max():.2f}; map returned from {found.min():.0f} to {found.max():.0f}")
assert by_hand.min() == by_hand.max() == 0.25 and not found.any(), "a constant map keeps its value now"
print("Positive evidence that is the same everywhere is returned as zeros.")
PYTHON
