#!/usr/bin/env bash
# zennit merges a batch norm into the layer registered before it, even if the norm runs first
# Harms: map
# Call: EpsilonPlus(canonizers=[SequentialMergeBatchNorm()]) on a network that normalises its input first
# Expected: a canonized network answers as before, since merging is exact.
# Effect: the map explains a different function, and is empty where that function answers 0. There is no error, and afterwards the network is as before.
# Instead: register layers in the order in which they run, and compare the network's output with its output under the composite.
# xaifake: no, tests/explainers/lrp/test_batch_norms.py::test_a_folded_network_answers_like_the_given_one
# Picture: A red heatmap on the left, and an empty square on the right.
# Caption: The map of the network with its norm folded into the convolution by hand (left), and with the canonizer (right).
source "$(dirname "$0")/environment.bash" torch==2.13.0 torchvision==0.28.0 zennit==0.5.1
python - <<'PYTHON'
import torch
from draw import draw
from importlib.metadata import version

try:
    import torchvision  # noqa: F401
except RuntimeError:  # a build for CUDA beside a torch for CPUs: zennit needs its models alone
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import EpsilonPlus


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 3, 3), torch.nn.BatchNorm2d(3)

    def forward(self, x):
        return torch.relu(self.conv(self.norm(x))).sum((2, 3))


torch.manual_seed(0)
network, x = Network().eval(), torch.rand(1, 3, 8, 8)
network.norm.running_mean += torch.tensor([0.5, 0.2, 0.1])
network.norm.running_var *= torch.tensor([0.3, 2.0, 0.7])
folded = Network().eval()
scale = (network.norm.running_var + network.norm.eps) ** -0.5
with torch.no_grad():  # as the norm runs first, it goes into the kernel's input channels
    folded.conv.weight.copy_(network.conv.weight * scale[None, :, None, None])
    folded.conv.bias.copy_(network.conv.bias - (folded.conv.weight.sum((2, 3)) @ network.norm.running_mean))
folded.norm = torch.nn.Identity()
assert torch.allclose(folded(x), network(x), atol=1e-4)
with Gradient(folded, EpsilonPlus()) as attributor:
    _, right = attributor(x, torch.eye(3)[:1])
with Gradient(network, EpsilonPlus(canonizers=[SequentialMergeBatchNorm()])) as attributor:
    explained, wrong = attributor(x, torch.eye(3)[:1])
maps = [m[0].sum(0).numpy() for m in (right, wrong)]
draw(*maps)
before, explained, after = (y[0].detach().numpy().round(2) for y in (network(x), explained, network(x)))
print("zennit", version("zennit"), "torch", version("torch"))
print("output of the network:    ", before)
print("output while it explains: ", explained)
largest = [float(abs(m).max()) for m in maps]
print(f"largest value of the map of the first output: {largest[0]:.2f} with the norm folded by hand, {largest[1]:.2f} with the canonizer")
assert abs(before - explained).max() > 5 and largest[0] > 0.1 and largest[1] < 0.01, "the output is kept now"
assert (before == after).all()
print(f"The explained network answers {explained[0]:.2f} where the given one answers {before[0]:.2f}.")
PYTHON
