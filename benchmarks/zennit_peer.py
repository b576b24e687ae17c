"""zennit's side of benchmarks/lrp.py; runs in an environment with torch and zennit.

python zennit_peer.py FOLDER                    serve: a rule a line, answers seconds
python zennit_peer.py --first START FOLDER RULE the first map of a fresh process
"""

import pickle
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from zennit.attribution import Gradient
from zennit.composites import LayerMapComposite, SpecialFirstLayerMapComposite
from zennit.layer import Sum
from zennit.rules import AlphaBeta, Epsilon, Flat, Norm, Pass, WSquare, ZPlus
from zennit.types import Activation, AvgPool, Convolution, Linear

ALIKE = [(Activation, Pass()), (Sum, Norm()), (AvgPool, Norm())]


def composite(rule):
    """Return the composite that has the name of one of xaifake's methods."""
    single = {
        "lrp.epsilon": Epsilon(1e-7),
        "lrp.alpha_1_beta_0": AlphaBeta(1, 0),
        "lrp.alpha_2_beta_1": AlphaBeta(2, 1),
        "lrp.z_plus_fast": ZPlus(),
        "lrp.flat": Flat(),
        "lrp.w_square": WSquare(),
    }
    if rule in single:
        return LayerMapComposite([*ALIKE, (Convolution, single[rule]), (Linear, single[rule])])
    layers = [*ALIKE, (Convolution, AlphaBeta(2, 1)), (Linear, Epsilon(0.1))]
    return SpecialFirstLayerMapComposite(layer_map=layers, first_map=[(Convolution, Flat())])


class Network(nn.Module):
    """The folded network, layer by layer."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers
        self.parts = nn.ModuleDict()
        for kind, name, _, config, activation, arrays in layers:
            part = self._part(kind, config, arrays)
            if activation == "relu":
                part = nn.Sequential(part, nn.ReLU())
            self.parts[name.replace(".", "_")] = part

    def _part(self, kind, config, arrays):
        tensors = {name: torch.from_numpy(np.asarray(a)) for name, a in arrays.items()}
        bias = tensors.get("bias")
        if kind == "Conv2D":
            kernel = tensors["kernel0"]
            kernel = kernel[None, None] if kernel.ndim == 2 else kernel
            return _convolution(kernel.permute(3, 2, 0, 1), bias, config["strides"], 0)
        if kind == "SeparableConv2D":
            depth = tensors["kernel0"].permute(2, 3, 0, 1)
            point = tensors["kernel1"].T[:, :, None, None]
            channels = len(depth)
            padding = depth.shape[-1] // 2
            first = _convolution(depth, None, config["strides"], padding, groups=channels)
            return nn.Sequential(first, _convolution(point, bias, (1, 1), 0))
        if kind == "Dense":
            dense = nn.Linear(*tensors["kernel0"].shape)
            dense.weight.data, dense.bias.data = tensors["kernel0"].T.contiguous(), bias
            return dense
        if kind == "MaxPooling2D":
            return _SamePool(config["pool_size"], config["strides"])
        if kind == "GlobalAveragePooling2D":
            return nn.AdaptiveAvgPool2d(1)
        return Sum() if kind == "Add" else nn.Identity()

    def forward(self, x):
        """Return the logits (N, 1)."""
        values = {}
        for kind, name, inputs, *_ in self.layers:
            part = self.parts[name.replace(".", "_")]
            if kind == "InputLayer":
                values[name] = x
            elif kind == "Add":
                values[name] = part(torch.stack([values[i] for i in inputs], dim=-1))
            else:
                value = part(values[inputs[0]])
                values[name] = value.flatten(1) if kind == "GlobalAveragePooling2D" else value
        return values[name]


class _SamePool(nn.Module):
    """Max pooling with TensorFlow's padding."""

    def __init__(self, size, strides):
        super().__init__()
        self.size, self.stride = size[0], strides[0]
        self.pool = nn.MaxPool2d(self.size, self.stride)

    def forward(self, x):
        n = x.shape[-1]
        total = max((-(-n // self.stride) - 1) * self.stride + self.size - n, 0)
        before, after = total // 2, total - total // 2
        x = nn.functional.pad(x, (before, after, before, after), value=-torch.inf)
        return self.pool(x)


def _convolution(kernel, bias, strides, padding, groups=1):
    outputs, inputs, *size = kernel.shape
    layer = nn.Conv2d(
        *(inputs * groups, outputs, size),
        stride=tuple(strides),
        padding=padding,
        groups=groups,
        bias=bias is not None,
    )
    layer.weight.data = kernel.contiguous()
    if bias is not None:
        layer.bias.data = bias
    return layer


def load(folder):
    """Return the network and the pictures."""
    with open(Path(folder) / "network.pickle", "rb") as file:
        layers, images = pickle.load(file)
    network = Network(layers).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    # Channels last is what torch is faster with here.
    network = network.to(memory_format=torch.channels_last)
    return network, torch.from_numpy(images).permute(0, 3, 1, 2)


def explain(network, images, rule):
    """Return maps (N, H, W, C); the logit is what is handed back."""
    with Gradient(model=network, composite=composite(rule)) as attributor:
        _, relevance = attributor(images.clone().requires_grad_(), lambda logits: logits)
    return relevance.permute(0, 2, 3, 1).detach().numpy()


def main(arguments):
    """Serve, or time one map."""
    if arguments[0] == "--first":
        start, folder, rule = float(arguments[1]), *arguments[2:]
        network, images = load(folder)
        loaded = time.time()
        explain(network, images[:1], rule)
        print(time.time() - start, time.time() - loaded)
        return
    network, images = load(arguments[0])
    for line in sys.stdin:
        start = time.perf_counter()
        maps = explain(network, images, line.strip())
        seconds = time.perf_counter() - start
        np.save(Path(arguments[0]) / "maps.npy", maps)
        print(seconds, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
