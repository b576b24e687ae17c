#!/usr/bin/env bash
# zennit merges a batch norm into the layer registered before it, even if the norm runs first
# Harms: map
# Call: EpsilonPlus(canonizers=[SequentialMergeBatchNorm()]) on a network that normalises its input first
# Expected: a canonized network answers as before, since merging is exact.
# Effect: the map explains a different function. There is no error, and afterwards the network is as before.
# Instead: register layers in the order in which they run, and compare the network's output with its output under the composite.
# xaifake: no, tests/explainers/lrp/test_batch_norms.py::test_a_folded_network_answers_like_the_given_one
source "$(dirname "$0")/environment.bash" torch==2.13.0 torchvision==0.28.0 zennit==0.5.1
python - <<'PYTHON'
import torch
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
with Gradient(network, EpsilonPlus(canonizers=[SequentialMergeBatchNorm()])) as attributor:
    explained, _ = attributor(x, torch.eye(3)[:1])
before, explained, after = (y[0].detach().numpy().round(2) for y in (network(x), explained, network(x)))
print("zennit", version("zennit"), "torch", version("torch"))
print("output of the network:    ", before)
print("output while it explains: ", explained)
assert abs(before - explained).max() > 0.5, "the output is kept now"
assert (before == after).all()
print(f"The explained network answers {explained[0]:.2f} where the given one answers {before[0]:.2f}.")
PYTHON
