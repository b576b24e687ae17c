"""What LRP does at each kind of layer, and a network read accordingly (chapter 07_lrp).

weighted
    Linear with weights: a rule divides the relevance (`xaifake.explainers.lrp.rules`).
sum
    Linear without weights that a rule could look at: the z rule.
route
    Takes values from where they are: the relevance goes there.
pass
    One output for each input, an activation or a normalisation: the relevance stays where it is
    (for layer normalisation Achtibat et al. 2024, proposition 3.4).
scale
    Multiplies and shifts each value by constants. Of the picture, a change of units: as `pass`.
    Elsewhere as `sum`, and the shift takes its share.
product
    The signal takes all, and a gate, such as that of squeeze-and-excite, is a constant. Factors
    that are no gates get equal shares (Achtibat et al. 2024, proposition 3.3).
softmax
    The first terms of its Taylor series (Achtibat et al. 2024, proposition 3.1).
"""

from dataclasses import dataclass, replace

import keras

from xaifake.detector.graph import RELUS, nodes
from xaifake.errors import UserError
from xaifake.explainers.lrp.linear import linear_layer


def _in_each_dimension(*names):
    return {f"{name}{n}D" for name in names for n in "123"}


# By the class of the layer or operation. One that is linear without a bias goes into "sum".
KINDS = {
    "weighted": {"Dense", "EinsumDense", "BatchNormalization"}
    | _in_each_dimension("Conv")
    | {f"Conv{n}DTranspose" for n in "123"}
    | {f"{kind}Conv{n}D" for kind in ("Depthwise", "Separable") for n in "12"},
    "sum": {"Add", "Average", "CenterCrop", "CustomScaleLayer", "Mean", "RepeatVector", "Resizing"}
    | {"Subtract", "Sum"}
    | _in_each_dimension("AveragePooling", "GlobalAveragePooling", "AdaptiveAveragePooling")
    | _in_each_dimension("UpSampling"),
    "route": {"Amax", "Concatenate", "ExpandDims", "Flatten", "Flip", "GetItem", "Max", "Maximum"}
    | {"Minimum", "Moveaxis", "Permute", "Ravel", "Reshape", "Squeeze", "Stack", "Swapaxes"}
    | {"Transpose"}
    | _in_each_dimension("MaxPooling", "GlobalMaxPooling", "AdaptiveMaxPooling")
    | _in_each_dimension("Cropping", "ZeroPadding"),
    "pass": {"Activation", "ELU", "GroupNormalization", "LayerNormalization", "LeakyReLU", "PReLU"}
    | {"ReLU", "RMSNormalization", "UnitNormalization"},
    "scale": {"LayerScale", "Negative", "Normalization", "Rescaling"},
    "product": {"Einsum", "Matmul", "Multiply"},
    "idle": {"ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout"}
    | {"GaussianNoise", "Identity", "StochasticDepth"}
    | _in_each_dimension("SpatialDropout"),
}
_WITH_A_CONSTANT = {"Add", "Divide", "Multiply", "Subtract", "TrueDivide"}
_ELEMENTWISE = {"linear", "prelu", "tanh"} | {
    name.replace("_", "")
    for name in dir(keras.activations)
    if name not in ("glu", "log_softmax", "softmax", "sparsemax")
}
_GATES = {"sigmoid", "hardsigmoid", "softmax", "sparsesigmoid"}
_PERHAPS_GATES = {"relu6", "tanh", "hardtanh", "softsign"}
_NEVER_NEGATIVE = {*RELUS, "sigmoid", "hardsigmoid", "softmax", "softplus"}
_KEEP_SIGN = {"Add", "Average", "Mean", "Sum", "Multiply", *KINDS["idle"], *KINDS["route"]}
_KEEP_SIGN |= {name for name in KINDS["sum"] if "Average" in name or "UpSampling" in name}


@dataclass
class Step:
    """One layer of a folded network, and what is done with it.

    Attributes
    ----------
    node : Node
    kind : str
        "input", one of `KINDS`, or "idle".
    linear : Linear or None
    signed : bool
        Whether what it takes can be negative.
    first : bool
        Whether no other layer with weights stands between it and the picture.
    signals : list of str
        Of a product, the inputs that take relevance.
    """

    node: object
    kind: str
    linear: object
    signed: bool
    first: bool
    signals: list

    @property
    def sources(self):
        """Names of the steps whose outputs it takes, each once."""
        return list(dict.fromkeys(self.node.inputs))


def steps(canonical, weights, sign=1.0):
    """Read a folded network.

    Parameters
    ----------
    canonical : keras.Model
        From `merge_batch_norms`.
    weights : dict of str to list of numpy.ndarray
        By layer.
    sign : float
        -1 to negate its logits.

    Returns
    -------
    list of Step

    Raises
    ------
    UserError
        If a layer is none that LRP is defined for here.
    """
    found, nonnegative, touched = {}, set(), set()
    for node in nodes(canonical):
        kind, sources = _kind(node), node.inputs
        first = not touched.intersection(sources)
        if kind == "scale":
            kind = "pass" if first else "sum"
        linear = linear_layer(node, weights[node.layer.name]) if kind == "weighted" else None
        signed = not nonnegative.issuperset(sources) or not sources
        signals = _signals(node, found) if kind == "product" else []
        found[node.name] = Step(node, kind, linear, signed, first, signals)
        kept = not signed and type(node.layer).__name__ in _KEEP_SIGN and not has_constant(node)
        if kept or function_of(node) in _NEVER_NEGATIVE:
            nonnegative.add(node.name)
        if kind == "weighted" or not first:
            touched.add(node.name)
    found = list(found.values())
    return _negate(found) if sign < 0 else found


def check_layers(model):
    """Raise a UserError if a model has a layer that LRP is not defined for here."""
    for node in nodes(model):
        _kind(node)


def function_of(node):
    """Return the name of the nonlinear function that a layer ends in, as "hardsigmoid"."""
    return node.activation.replace("_", "").lower()


def has_constant(node):
    """Whether a layer multiplies or shifts its one input by constants."""
    name = type(node.layer).__name__
    alone = len(node.inputs) == 1 and not isinstance(node.layer, keras.layers.Layer)
    return name in KINDS["scale"] or (alone and name in _WITH_A_CONSTANT)


def _kind(node):
    layer, name = node.layer, type(node.layer).__name__
    if isinstance(layer, keras.layers.InputLayer):
        return "input"
    kind = _kind_by_class(node, name) if type(layer).__module__.startswith("keras.") else None
    if kind is None:
        raise UserError(
            f"LRP has no rule for the layer {node.name!r}, a {name}: build the detector of other "
            "layers of Keras, or use a method that works for any, such as integrated_gradients or "
            "lime."
        )
    softmax = kind == "weighted" and node.activation == "softmax"
    if kind in ("weighted", "pass") and not softmax and not _passes(node):
        raise UserError(
            f"The layer {node.name!r} ends in {node.activation}, and LRP has rules for activations "
            "of Keras that take each value alone, and softmax: use those, or a method that works "
            "for any, such as integrated_gradients or lime."
        )
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise UserError(f"The layer {node.name!r} has its channels first: build them last.")
    return kind


def _kind_by_class(node, name):
    if function_of(node) == "softmax" and name in ("Activation", "Softmax"):
        return "softmax"
    if has_constant(node):
        tensor = isinstance(node.arguments.args[0], keras.KerasTensor)
        if not tensor and "Divide" in name:
            return None
        return "scale" if node.output.shape == node.sources[0].shape else "sum"
    if name in KINDS["product"] and len(node.inputs) == 1:
        return "sum"
    if name.startswith("Random") and name != "RandomCrop":  # which crops in use, too
        return "idle"
    kind = next((kind for kind, names in KINDS.items() if name in names), None)
    if kind is None and not isinstance(node.layer, keras.layers.Layer):
        return "pass" if name.lower() in _ELEMENTWISE - {"linear"} else None
    return kind


def _passes(node):
    function = getattr(node.layer, "activation", None)
    module = getattr(function, "__module__", type(function).__module__)
    known = function is None or module.startswith(("keras.", "tensorflow."))
    return known and function_of(node) in _ELEMENTWISE


def _signals(node, found):
    """Return the inputs of a product that are no gates; all, if none or each could be one."""
    sources = list(dict.fromkeys(node.inputs))
    if type(node.layer).__name__ != "Multiply":
        return sources
    smaller = {
        name for name, tensor in zip(node.inputs, node.sources) if tensor.shape != node.output.shape
    }
    for is_gate in (
        lambda name: _ends_in(name, found, _GATES),
        smaller.__contains__,
        lambda name: _ends_in(name, found, _PERHAPS_GATES),
    ):
        signals = [name for name in sources if not is_gate(name)]
        if 0 < len(signals) < len(sources):
            return signals
    return sources


def _ends_in(name, found, functions):
    """Whether what comes behind the last of some functions changes no more than shape and size."""
    step = found[name]
    while function_of(step.node) not in functions:
        alone = len(step.sources) == 1 and function_of(step.node) == "linear"
        moves = step.kind in ("idle", "route", "sum") or has_constant(step.node)
        if not (alone and moves):
            return False
        step = found[step.sources[0]]
    return True


def _negate(found):
    """Return the steps of the network whose logits are the negated ones."""
    by_name = {step.node.name: step for step in found}
    waiting, passed, negated = [found[-1].node.name], set(), set()
    while waiting:
        step = by_name[waiting.pop()]
        if step.kind == "weighted" and step.node.activation == "linear":
            negated.add(step.node.name)
        elif _keeps_minus(step):
            passed.add(step.node.name)
            waiting += step.node.inputs
        else:
            raise _cannot_negate(step)
    for step in found:  # what is negated must reach the logits, and nothing else
        if step.node.name not in passed and not (passed | negated).isdisjoint(step.node.inputs):
            raise _cannot_negate(step)
    return [
        replace(step, linear=step.linear.negated()) if step.node.name in negated else step
        for step in found
    ]


def _keeps_minus(step):
    """Whether the negated input has the negated output."""
    if step.kind == "pass":
        return type(step.node.layer).__name__ == "Activation" and function_of(step.node) == "linear"
    moves = step.kind in ("idle", "route", "sum") and not has_constant(step.node)
    return moves and not type(step.node.layer).__name__.startswith(
        ("Amax", "Max", "Min", "GlobalM")
    )


def _cannot_negate(step):
    return UserError(
        "The negated logit is explained by negating the last weights, and in this model "
        f"{step.node.name!r} stands behind them: explain 'fake', or end the model in a Dense layer."
    )
