"""Whether LRP's rules give zennit's and autolrp's relevance, layer by layer, on the same weights.

    python benchmarks/zennit_layers.py PYTHON

PYTHON is that of an environment with torch, zennit and autolrp, see benchmarks/lrp.py. Layers have
no bias, since the others give it another share, and inputs of both signs. Printed is the largest
difference as a share of the largest relevance; autolrp starts from a 1 at one output, and is
compared with what that one hands back. Last comes what differs, on linear networks so small that
the answer is known: an input adds itself times its weight to the logit.
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
INPUT, WEIGHTS, BIAS = np.float32([0.6, 0.2, 0]), np.float32([[1, -1, 0]]), np.float32([-0.9])


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
            one = np.zeros_like(z)
            one.flat[np.argmax(z[:1])] = 1
            alone, _ = made.backward(linear, arrays, tf.constant(x), kept, tf.constant(one), True)
            case = (weights[0], x, relevance.numpy(), part.numpy(), one, alone.numpy())
            cases.append((name, rule, *case))
    return cases


def ours_where_others_differ():
    """Return the relevance of the z rule of the two networks of `differences`."""
    import keras

    import xaifake

    given = keras.Input((1, 1, 3))
    dense = keras.layers.Dense(1)(keras.layers.Flatten()(given))
    one, two = (keras.layers.Dense(1, use_bias=False)(keras.layers.Flatten()(given)) for _ in "ab")
    models = [keras.Model(given, dense), keras.Model(given, keras.layers.Add()([one, two]))]
    models[0].set_weights([WEIGHTS.T, BIAS])
    models[1].set_weights([np.diag(WEIGHTS[0])[:, :1], np.diag(WEIGHTS[0])[:, 1:2]])
    picture = INPUT.reshape(1, 1, 1, 3)
    return [xaifake.explain(model, picture, "lrp.z").ravel().tolist() for model in models]


def compare(cases, where_others_differ):
    """Print the differences; runs where torch is."""
    import autolrp
    import torch
    from zennit import rules

    made = {
        "Epsilon": rules.Epsilon(1e-7), "Alpha2Beta1": rules.AlphaBeta(2, 1, stabilizer=1e-12),
        "Alpha1Beta0": rules.AlphaBeta(1, 0, stabilizer=1e-12), "WSquare": rules.WSquare(1e-12),
        "Gamma": rules.Gamma(0.25, 1e-7), "Flat": rules.Flat(1e-12),
    }  # fmt: skip
    products = ("AddmmBackward", "MmBackward", "ConvolutionBackward")
    known = {
        "Epsilon": "epsilon", "Alpha1Beta0": "zplus", "Gamma": ("gamma", {"gamma": 0.25}),
        "Alpha2Beta1": ("alpha_beta", {"alpha": 2.0, "beta": 1.0}),
    }  # fmt: skip
    print(f"{'':31} zennit  autolrp")
    for name, rule, weight, x, relevance, expected, one, alone in cases:
        kind, _, shape, settings = LAYERS[name]
        layer = _in_torch(torch, kind, weight, shape, settings)
        given = _channels_first(torch, x).requires_grad_()
        told = "        "
        if rule in known:
            wrapped = autolrp.tensor(given.detach().clone())
            place = tuple(np.argwhere(np.moveaxis(one, -1, 1))[0])
            config = autolrp.LRPConfig(rule=autolrp.BASE | autolrp.on(products, known[rule]))
            layer(wrapped)[place].lrp(config=config)
            told = f"{_apart(wrapped.relevance, alone):.1e} "
        handle = made[rule].copy().register(layer)
        upstream = _channels_first(torch, relevance)
        (found,) = torch.autograd.grad(layer(given), given, upstream)
        handle.remove()
        print(f"{name:18} {rule:12} {_apart(found, expected):.1e} {told}")
    with_bias = torch.nn.Linear(3, 1)
    with_bias.weight.data, with_bias.bias.data = map(torch.from_numpy, (WEIGHTS, BIAS))
    first, second = torch.diag(torch.from_numpy(WEIGHTS[0]))[:2]
    networks = {
        "a bias": with_bias,
        "an addition": lambda x: (x @ first[:, None]) + (x @ second[:, None]),
    }
    print("contributions", np.round(INPUT * WEIGHTS[0], 3))
    for (name, network), own in zip(networks.items(), where_others_differ):
        wrapped = autolrp.tensor(torch.from_numpy(INPUT[None].copy()))
        logit = network(wrapped)[0, 0]
        logit.lrp()
        theirs = (wrapped.relevance[0] * logit).detach().numpy()
        print(f"{name}: autolrp {np.round(theirs, 3)}, xaifake {np.round(own, 3)}")


def _channels_first(torch, array):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1)))


def _apart(found, expected):
    found = np.moveaxis(found.detach().numpy(), 1, -1)
    return np.abs(found - expected).max() / np.abs(expected).max()


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
        compare(*pickle.load(sys.stdin.buffer))
    else:
        command, made = [sys.argv[1], __file__, "--compare"], (ours(), ours_where_others_differ())
        subprocess.run(command, input=pickle.dumps(made), check=True)
