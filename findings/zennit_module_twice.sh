#!/usr/bin/env bash
# zennit's map of a module that is used twice has the right sum in the wrong places
# Harms: map
# Call: Gradient(network, composite of Epsilon rules), where forward() calls one Linear twice
# Expected: the same map as for the network with two copies of the layer.
# Effect: the map mixes the two calls, but passes a check of its sum.
# Instead: use one module per call, as zennit's documentation requires for ReLUs, and compare maps instead of sums.
# xaifake: no, it refuses such a model: tests/explainers/test_request.py::test_models_that_cannot_be_explained_are_refused
# Picture: Two columns of six cells, five of them coloured on the left and one on the right.
# Caption: Relevance of the six inputs with two copies of the layer (left), and with one layer that is used twice (right).
source "$(dirname "$0")/environment.bash" torch==2.13.0 torchvision==0.28.0 zennit==0.5.1
python - <<'PYTHON'
import copy

import numpy as np
import torch
from draw import draw
from importlib.metadata import version

try:
    import torchvision  # noqa: F401
except RuntimeError:  # a build for CUDA beside a torch for CPUs: zennit needs its models alone
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
from zennit.attribution import Gradient
from zennit.composites import LayerMapComposite
from zennit.rules import Epsilon
from zennit.types import Linear


class Network(torch.nn.Module):
    def __init__(self, twice):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.head = torch.nn.Linear(6, 6, bias=False), torch.nn.Linear(6, 1, bias=False)
        self.two = self.one if twice else copy.deepcopy(self.one)

    def forward(self, x):
        return self.head(torch.relu(self.two(torch.relu(self.one(x)))))


x, maps = torch.rand(1, 6, generator=torch.Generator().manual_seed(0)), []
for twice in (True, False):
    composite = LayerMapComposite([(Linear, Epsilon(epsilon=1e-6))])
    with Gradient(Network(twice), composite) as attributor:
        maps.append(attributor(x, torch.ones(1, 1))[1][0].numpy())
found, sums = np.corrcoef(*maps)[0, 1], [m.sum() for m in maps]
draw(*(np.repeat(m[:, None], 3, 1) for m in maps[::-1]), side=162)
print("zennit", version("zennit"), "torch", version("torch"))
print(f"sums, one module twice and two copies: {sums[0]:.2f}, {sums[1]:.2f}")
print(f"correlation of the two maps: {found:.2f}")
assert abs(sums[0] - sums[1]) < 0.01 and found < 0.75, "the maps are alike now"
print(f"The map of one module that is used twice correlates {found:.2f} with the right one; the sums agree.")
PYTHON
