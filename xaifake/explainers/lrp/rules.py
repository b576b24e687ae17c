"""LRP's rules: how a linear layer's relevance is divided among its inputs (chapter 07_lrp).

A rule has two halves. `forward` computes the layer's sums z and keeps what the way back needs;
`backward` turns the relevance of the outputs into that of the inputs and says where the rest went:

bias
    What the bias took as its share of the sum. It is not handed on.
stabiliser
    What the small number took that keeps a denominator away from zero.
unassigned
    In alpha-beta rules, the relevance that found no input (no positive part: alpha R is lost) less
    what was handed out without counterpart (no negative part: beta R is not taken back). In the
    others, the relevance of outputs that are connected to nothing. Also what rules that do not look
    at the inputs give to the zeros around a padded picture.

Output relevance = input relevance + bias + stabiliser + unassigned, for each rule, layer and
picture.
"""

from dataclasses import dataclass
from numbers import Real

import numpy as np
import tensorflow as tf

from xaifake.errors import UserError

STABILISER = 1e-7


class Rule:
    """What the rules share; see the module for what their two halves do."""

    def prepare(self, linear, signed):
        """Return the arrays that the rule needs of a layer.

        Parameters
        ----------
        linear : Linear
        signed : bool
            Whether inputs can be negative.

        Returns
        -------
        dict
            Of arrays and lists of arrays.
        """
        bias = {} if linear.bias is None else {"bias": linear.bias}
        return {"kernels": linear.kernels, **bias}

    def forward(self, linear, weights, x, signed):
        """Return the layer's sums z, and what to keep for the way back."""
        z = _sums(linear, weights, x)
        return z, z

    def backward(self, linear, weights, x, kept, relevance, signed):
        """Return the inputs' relevance and, as a dict of tensors like z, what else took some."""
        raise NotImplementedError


@dataclass(frozen=True)
class Epsilon(Rule):
    """Each input gets its share of the sum (Bach et al. 2015, equation 58).

    ``R_i = sum_j x_i w_ij / (z_j + epsilon sign(z_j)) R_j``

    Parameters
    ----------
    epsilon : float
        In units of z. The smallest value, the default, makes it the z rule.
    bias : bool
        Whether the bias is part of z_j and takes its share.
    """

    epsilon: float = STABILISER
    bias: bool = True

    def __post_init__(self):
        if not _is_number(self.epsilon) or not self.epsilon > 0:
            raise UserError(f"epsilon={self.epsilon}: give a positive number, such as 1e-7.")

    def backward(self, linear, weights, x, kept, relevance, signed):  # noqa: D102
        z, bias = kept, weights.get("bias")
        if bias is not None and not self.bias:
            z, bias = z - bias, None
        c, stabiliser = divide(relevance, z, self.epsilon)
        spent = {"stabiliser": stabiliser}
        if bias is not None:
            spent["bias"] = c * bias
        return x * linear.transpose(c, weights["kernels"], x), spent


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """What speaks for and what speaks against an output, apart (Bach et al. 2015, equation 60).

    ``R_i = sum_j (alpha (x_i w_ij)+ / z_j+ - beta (x_i w_ij)- / z_j-) R_j``

    The sign is that of the product of input and weight, and the weight that of the whole layer. The
    positive bias is part of z_j+, the negative one of z_j-. Where one part has no inputs, nothing
    is given for it: an output without negative part hands on alpha R_j, as in iNNvestigate.

    Parameters
    ----------
    alpha, beta : float
        ``beta = alpha - 1 >= 0``; one of the two will do.
    bias : bool
        Whether the bias takes its share.
    """

    alpha: float | None = None
    beta: float | None = None
    bias: bool = True

    def __post_init__(self):
        alpha, beta = self.alpha, self.beta
        if alpha is None and beta is not None:
            alpha = beta + 1
        if beta is None and alpha is not None:
            beta = alpha - 1
        if alpha is None or not beta >= 0 or not np.isclose(alpha - beta, 1):
            raise UserError(
                f"alpha={self.alpha}, beta={self.beta}: give alpha of at least 1, and beta = alpha "
                "- 1, such as alpha=2, beta=1."
            )
        object.__setattr__(self, "alpha", float(alpha))
        object.__setattr__(self, "beta", float(beta))

    def prepare(self, linear, signed):  # noqa: D102
        arrays = super().prepare(linear, signed)
        both = self.beta > 0
        if both:
            del arrays["kernels"]  # the sums come out of their two parts
        if self.bias and linear.bias is not None:
            arrays["signed_bias"] = _signed(linear.bias, both)
        return {**arrays, "signed": linear.signed_kernels(signed, both)}

    def forward(self, linear, weights, x, signed):  # noqa: D102
        both = self.beta > 0
        parts = linear.apply_signed(_signs(x, signed), weights["signed"], signed, both)
        if not both:
            return _sums(linear, weights, x), parts
        z = tf.add_n(tf.split(parts, 2, -1))
        return z + weights["bias"] if "bias" in weights else z, parts

    def backward(self, linear, weights, x, kept, relevance, signed):  # noqa: D102
        both = self.beta > 0
        if both:
            relevance = tf.concat([self.alpha * relevance, -self.beta * relevance], -1)
        bias = weights.get("signed_bias")
        parts = kept if bias is None else kept + bias
        c = tf.math.divide_no_nan(relevance, parts)
        spent = {"unassigned": tf.where(parts == 0, relevance, 0)}
        if bias is not None:
            spent["bias"] = c * bias
        return _hand_on(linear, weights, x, c, signed, both), spent


@dataclass(frozen=True)
class Gamma(Rule):
    """Each input gets its share, those with the sign of the sum a larger one.

    ``R_i = sum_j (x_i w_ij + gamma (x_i w_ij)s) / sum_i (x_i w_ij + gamma (x_i w_ij)s) R_j``

    Here ()s is the positive part where z_j is positive, and the negative part where it is negative
    (Andeol et al. 2021). For inputs and sums that are never negative this is the rule of Montavon
    et al. 2019, which has the positive part everywhere, and there a denominator near zero for
    negative sums.

    Parameters
    ----------
    gamma : float
        0 makes it the z rule; the larger, the nearer to alpha-1-beta-0.
    bias : bool
        Whether the bias is one of the inputs and takes its share.
    """

    gamma: float = 0.25
    bias: bool = True

    def __post_init__(self):
        if not _is_number(self.gamma) or not self.gamma >= 0:
            raise UserError(f"gamma={self.gamma}: give a number of at least 0, such as 0.25.")

    def prepare(self, linear, signed):  # noqa: D102
        arrays = super().prepare(linear, signed)
        del arrays["kernels"]
        if self.bias and linear.bias is not None:
            arrays["signed_bias"] = _signed(linear.bias, both=True)
        return {**arrays, "signed": linear.signed_kernels(signed, both=True)}

    def forward(self, linear, weights, x, signed):  # noqa: D102
        parts = linear.apply_signed(_signs(x, signed), weights["signed"], signed, both=True)
        z = tf.add_n(tf.split(parts, 2, -1))
        return z + weights["bias"] if "bias" in weights else z, parts

    def backward(self, linear, weights, x, kept, relevance, signed):  # noqa: D102
        bias = weights.get("signed_bias")
        parts = tf.split(kept if bias is None else kept + bias, 2, -1)
        z = tf.add_n(parts)
        up = z >= 0
        c, stabiliser = divide(relevance, z + self.gamma * tf.where(up, *parts), STABILISER)
        more = (1 + self.gamma) * c
        c = tf.concat([tf.where(up, more, c), tf.where(up, c, more)], -1)
        spent = {"stabiliser": stabiliser}
        if bias is not None:
            spent["bias"] = c * bias
        return _hand_on(linear, weights, x, c, signed, both=True), spent


@dataclass(frozen=True)
class ZPlusFast(Rule):
    """The z-plus rule for inputs that are never negative (Montavon et al. 2017, z+-rule).

    ``R_i = sum_j x_i w_ij+ / sum_i x_i w_ij+ R_j``

    Negative inputs are taken as they come, and z can then vanish; `AlphaBeta` with alpha = 1 treats
    them right. The bias has no part in it.
    """

    def prepare(self, linear, signed):  # noqa: D102
        arrays = super().prepare(linear, signed)
        return {**arrays, "signed": linear.signed_kernels(signed=False, both=False)}

    def forward(self, linear, weights, x, signed):  # noqa: D102
        parts = linear.apply_signed(x, weights["signed"], signed=False, both=False)
        return _sums(linear, weights, x), parts

    def backward(self, linear, weights, x, kept, relevance, signed):  # noqa: D102
        c, stabiliser = divide(relevance, kept, STABILISER)
        c = linear.transpose_signed(c, weights["signed"], x, signed=False, both=False)
        return x * c, {"stabiliser": stabiliser}


@dataclass(frozen=True)
class Bounded(Rule):
    """The z-B rule for inputs between two bounds (Montavon et al. 2017, zB-rule).

    ``R_i = sum_j (x_i w_ij - low w_ij+ - high w_ij-) / sum_i (same) R_j``

    For the layer that takes the picture. The bias has no part in it.

    Parameters
    ----------
    low, high : float or tuple of float
        The bounds: what black and white are to the model. For each channel by itself, two tuples.
    """

    low: float | tuple = -1.0
    high: float | tuple = 1.0

    def __post_init__(self):
        low, high = (np.ravel(bound).tolist() for bound in (self.low, self.high))
        fits = len(low) == len(high) and all(map(_is_number, low + high))
        if not fits or not all(a <= 0 <= b and a < b for a, b in zip(low, high)):
            raise UserError(
                f"low={self.low!r}, high={self.high!r}: give bounds with 0 between them."
            )

    def prepare(self, linear, signed):  # noqa: D102
        arrays = super().prepare(linear, signed)
        return {**arrays, "signed": linear.signed_kernels(signed=True, both=False)}

    def _pair(self, x):
        return tf.concat([x - tf.constant(bound, x.dtype) for bound in (self.low, self.high)], -1)

    def forward(self, linear, weights, x, signed):  # noqa: D102
        parts = linear.apply_signed(self._pair(x), weights["signed"], signed=True, both=False)
        return _sums(linear, weights, x), parts

    def backward(self, linear, weights, x, kept, relevance, signed):  # noqa: D102
        c, stabiliser = divide(relevance, kept, STABILISER)
        c = linear.transpose_signed(c, weights["signed"], x, signed=True, both=False)
        return tf.add_n(tf.split(self._pair(x) * c, 2, -1)), {"stabiliser": stabiliser}


@dataclass(frozen=True)
class WSquare(Rule):
    """Shares by the squared weights alone (Montavon et al. 2017, w2-rule).

    ``R_i = sum_j w_ij^2 / sum_i w_ij^2 R_j``
    """

    def _shares(self, linear):
        return [np.square(kernel) for kernel in linear.kernels]

    def prepare(self, linear, signed):  # noqa: D102
        return {**super().prepare(linear, signed), "shares": self._shares(linear)}

    def backward(self, linear, weights, x, kept, relevance, signed):  # noqa: D102
        total = linear.apply(tf.ones_like(x[:1]), weights["shares"])
        c = tf.math.divide_no_nan(relevance, total)
        spent = {"unassigned": tf.where(total == 0, relevance, 0)}
        return linear.transpose(c, weights["shares"], x), spent


@dataclass(frozen=True)
class Flat(WSquare):
    """The same share for each input (Lapuschkin et al. 2017); `WSquare` for weights of one."""

    def _shares(self, linear):
        return linear.patterns


def divide(relevance, z, epsilon=STABILISER):
    """Divide relevance by stabilised sums; return the quotient and what the stabiliser takes.

    Parameters
    ----------
    relevance, z : Tensor
        Of the same shape.
    epsilon : float
        Added to z with its sign; the sign of 0 is taken as positive, as in iNNvestigate.
    """
    signed = tf.where(z >= 0, tf.constant(epsilon, z.dtype), tf.constant(-epsilon, z.dtype))
    c = relevance / (z + signed)
    return c, c * signed


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)


def _sums(linear, weights, x):
    z = linear.apply(x, weights["kernels"])
    return z + weights["bias"] if "bias" in weights else z


def _signs(x, signed):
    """Return positive, then negative inputs along the last axis; or x, if it has only the first."""
    return tf.concat([tf.nn.relu(x), -tf.nn.relu(-x)], -1) if signed else x


def _signed(bias, both):
    return np.concatenate([np.maximum(bias, 0), np.minimum(bias, 0)][: 1 + both], -1)


def _hand_on(linear, weights, x, c, signed, both):
    """Multiply each input by what comes back for its sign."""
    c = linear.transpose_signed(c, weights["signed"], x, signed, both)
    if not signed:
        return x * c
    up, down = tf.split(c, 2, -1)
    return x * tf.where(x > 0, up, down)
