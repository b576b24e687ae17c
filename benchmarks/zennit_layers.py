"""Whether LRP's rules give zennit's relevance, layer by layer, on the same weights.

    python benchmarks/zennit_layers.py PYTHON

PYTHON is that of an environment with torch and zennit, see benchmarks/lrp.py. Layers have no bias,
since zennit gives it another share in some rules, and inputs of both signs. Printed is the largest
difference as a share of the largest relevance.
"""

import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np

# Kind, settings of Keras, shape of the input, settings of torch.
K3 = {"kernel_size": 3}
LAYERS = {
    "dense": ("Dense", {"units": 5}, (9,), {}),
    "conv1d": ("Conv1D", K3 | {"filters": 5}, (8, 4), {}),
    "dilated": ("Conv2D", K3 | {"filters": 5, "dilation_rate": 2}, (7, 8, 4), {"dilation": 2}),
    "groups": ("Conv2D", K3 | {"filters": 6, "groups": 2}, (7, 8, 4), {"groups": 2}),
    "depthwise": ("DepthwiseConv2D", K3, (7, 8, 4), {"groups": 4}),
    "conv3d": ("Conv3D", {"filters": 3, "kernel_size": 2}, (4, 5, 4, 2), {}),
    "transposed": ("Conv2DTranspose", K3 | {"filters": 3, "strides": 2}, (4, 5, 4), {"stride": 2}),
    "transposed 1d": ("Conv1DTranspose", K3 | {"filters": 3}, (5, 4), {}),
}  # fmt: skip
RULES = ("Epsilon", "Alpha2Beta1", "Alpha1Beta0", "Gamma", "WSquare", "Flat")


def ours():
    """Return for each layer and rule what the rule makes of random weights and inputs."""
    import keras
    import tensorflow as tf

    from xaifake.explainers.lrp import RULES as MADE
    from xaifake.explainers.lrp.linear import linear_layer

    rng, cases = np.random.default_rng(0), []
    for name, (kind, settings, shape, _) in LAYERS.items():
        layer = getattr(keras.layers, kind)(**settings, use_bias=False)
        layer.build((None, *shape))
        weights = [rng.normal(size=w.shape) for w in layer.weights]
        node = SimpleNamespace(
            name=name, layer=layer, sources=[SimpleNamespace(shape=(None, *shape))]
        )
        linear, x = linear_layer(node, weights), rng.normal(size=(2, *shape))
        for rule in RULES:
            made = MADE[rule]
            arrays = tf.nest.map_structure(tf.constant, made.prepare(linear, True))
            z, kept = made.forward(linear, arrays, tf.constant(x), True)
            relevance = tf.constant(rng.normal(size=z.shape))
            part, _ = made.backward(linear, arrays, tf.constant(x), kept, relevance, True)
            cases.append((name, rule, weights[0], x, relevance.numpy(), part.numpy()))
    return cases


def compare(cases):
    """Print zennit's differences; runs where torch is."""
    import torch
    from zennit import rules

    made = {
        "Epsilon": rules.Epsilon(1e-7), "Alpha2Beta1": rules.AlphaBeta(2, 1, stabilizer=1e-12),
        "Alpha1Beta0": rules.AlphaBeta(1, 0, stabilizer=1e-12), "WSquare": rules.WSquare(1e-12),
        "Gamma": rules.Gamma(0.25, 1e-7), "Flat": rules.Flat(1e-12),
    }  # fmt: skip
    for name, rule, weight, x, relevance, expected in cases:
        kind, _, shape, settings = LAYERS[name]
        layer = _in_torch(torch, kind, weight, shape, settings)
        handle = made[rule].copy().register(layer)
        given = torch.from_numpy(np.moveaxis(x, -1, 1)).requires_grad_()
        given = given.contiguous()
        upstream = torch.from_numpy(np.moveaxis(relevance, -1, 1).copy())
        (found,) = torch.autograd.grad(layer(given), given, upstream)
        handle.remove()
        found = np.moveaxis(found.detach().numpy(), 1, -1)
        off = np.abs(found - expected).max() / np.abs(expected).max()
        print(f"{name:18} {rule:12} {off:.1e}")


def _in_torch(torch, kind, weight, shape, settings):
    if kind == "Dense":
        layer, weight = torch.nn.Linear(*weight.shape, bias=False), weight.T
    else:
        rank, transposed = len(shape) - 1, "Transpose" in kind
        name = f"Conv{'Transpose' if transposed else ''}{rank}d"
        weight = np.moveaxis(weight, (-1, -2), (0, 1))  # outputs first; transposed, inputs first
        if kind == "DepthwiseConv2D":
            weight = np.moveaxis(weight, 1, 0)
        inputs = shape[-1]
        outputs = weight.shape[1] if transposed else weight.shape[0]
        layer = getattr(torch.nn, name)(inputs, outputs, weight.shape[2:], bias=False, **settings)
    layer.double().weight.data = torch.from_numpy(np.ascontiguousarray(weight))
    return layer


if __name__ == "__main__":
    if sys.argv[1] == "--compare":
        compare(pickle.load(sys.stdin.buffer))
    else:
        command = [sys.argv[1], __file__, "--compare"]
        subprocess.run(command, input=pickle.dumps(ours()), check=True)
