"""The one call for every method (chapters 05_lime to 07_gradients)."""

import inspect
from difflib import get_close_matches

import numpy as np

from xaifake.errors import UserError
from xaifake.explainers import gradients, innvestigate, lime, lrp
from xaifake.explainers.question import RANGE, ask

OWN = {
    "gradient": gradients.gradient,
    "input_t_gradient": gradients.input_t_gradient,
    "integrated_gradients": gradients.integrated_gradients,
    "guided_backprop": gradients.guided_backprop,
    "grad_cam": gradients.grad_cam,
    "lime": lime.explain_lime,
    **lrp.METHODS,
}
_INTERNAL = {"question", "bookkeeping"}
ENGINES = {"xaifake": tuple(OWN), "innvestigate": innvestigate.METHODS}


def methods(engine="xaifake"):
    """List the methods that `explain` knows.

    Parameters
    ----------
    engine : str
        "xaifake" or "innvestigate".

    Returns
    -------
    list of str
        Names, iNNvestigate's where it has the method.
    """
    return list(_offered(engine))


def explain(
    model,
    images,
    method,
    target="fake",
    engine="xaifake",
    value_range=RANGE,
    return_report=False,
    **options,
):
    """Explain a detector's answer on some pictures.

    Parameters
    ----------
    model : keras.Model
        A functional or Sequential Keras 3 model that ends in logits; a sigmoid or softmax at its
        end is taken off. It is left as it is.
    images : numpy.ndarray, (N, H, W, 3)
        uint8 RGB pictures from 0 to 255, or floats in `value_range`, of the model's size.
    method : str
        One of `methods`.
    target : str or int
        What the relevance is to speak for: "fake" (the logit of a detector with one) or "real"
        (the negated logit); the index of a class for a model with several logits.
    engine : str
        "xaifake", or "innvestigate" for the library that the paper used, in a process of its own.
    value_range : (float, float)
        What black and white are to the model; Xception's own by default.
    return_report : bool
        Also return how each explanation fared.
    **options
        The method's own, documented with the functions in `xaifake.explainers.gradients`, `.lime`,
        `.lrp` and `.innvestigate`; `batch_size` and `progress` go with all of them.

    Returns
    -------
    relevance : numpy.ndarray of float32, (N, H, W, 3)
        Positive where a value of the picture speaks for the target. Not normalised or clipped. A
        heatmap is the sum over the last axis; a method that gives one map puts a third of it into
        each colour.
    report : pandas.DataFrame
        Only with `return_report`: one row a picture, with `logit` (of the target), `sum` (of the
        relevance; it means nothing for LIME and Grad-CAM) and what the method adds, such as LIME's
        `r2`, the `completeness_error` of Integrated Gradients, or what biases took of LRP's
        relevance.

    Raises
    ------
    UserError
        If the model, the pictures, the method or an option cannot be used; the message tells why.
    """
    offered = _offered(engine)
    if method not in offered:
        raise UserError(_unknown(method, engine))
    question = ask(model, images, target, value_range)
    if engine == "innvestigate":
        relevance, report = innvestigate.explain_innvestigate(question, method, **options)
    else:
        _check_options(method, options)
        if method in lrp.METHODS:
            options["bookkeeping"] = return_report
        relevance, report = OWN[method](question, **options)
    if not return_report:
        return relevance
    import pandas as pd

    total = relevance.sum(axis=(1, 2, 3), dtype=np.float64)
    return relevance, pd.DataFrame({"logit": report.pop("logit"), "sum": total, **report})


def _offered(engine):
    if engine not in ENGINES:
        raise UserError(f"No engine {engine!r}: give one of {', '.join(ENGINES)}.")
    return ENGINES[engine]


def _unknown(method, engine):
    others = [name for name in ENGINES if name != engine and method in ENGINES[name]]
    if others:
        return f"{method!r} is a method of another engine: give engine={others[0]!r}."
    near = get_close_matches(str(method), ENGINES[engine], n=3, cutoff=0.4)
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    return f"No method {method!r}. {hint}xaifake.methods({engine!r}) lists them all."


def _check_options(method, options):
    known = [n for n in inspect.signature(OWN[method]).parameters if n not in _INTERNAL]
    if unknown := [name for name in options if name not in known]:
        raise UserError(f"{method} has no option {unknown[0]!r}; it has {', '.join(known)}.")
