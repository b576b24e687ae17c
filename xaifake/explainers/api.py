"""The one call for every method (chapters 06_lime to 09_gradients), and the methods as objects."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from xaifake.detector.forward import BATCH
from xaifake.errors import UserError, told_what_to_install
from xaifake.explainers import (  # noqa: F401 (they register)
    gradients,
    innvestigate,
    lime,
    lrp,
    masking,
)
from xaifake.explainers.registry import METHODS
from xaifake.explainers.request import batches, prepare

if TYPE_CHECKING:
    import keras

    from xaifake.detector.detector import Detector

ENGINES = ("xaifake", "innvestigate")
_INTERNAL = ("request",)
_GENERAL = ("batch_size", "progress")
# Options that may be given per picture, and the dimensions that they have then.
_PER_PICTURE = {"baseline": 4, "fill": 4, "segmentation": 3}


class Relevance(np.ndarray):
    """Relevance of pictures, float32 (N, H, W, C): an array that carries a report.

    Attributes
    ----------
    columns : dict of str to numpy.ndarray, (N,)
        `logit` (of the target), `sum` (of the relevance; it means nothing for LIME and Grad-CAM)
        and what the method adds, such as LIME's `r2` or the `completeness_error` of Integrated
        Gradients. Empty for parts of it; what is calculated from it is a plain array.
    """

    def __new__(cls, values, columns):
        """Make one of an array and columns."""
        made = np.asarray(values, np.float32).view(cls)
        made.columns = columns
        return made

    def __array_finalize__(self, other):
        self.columns = {}

    def __array_wrap__(self, array, context=None, return_scalar=False):
        """Return what is calculated from it as a plain array or number."""
        return array[()] if return_scalar else np.asarray(array)

    @property
    def report(self):
        """The columns as a `pandas.DataFrame`, one row per picture."""
        import pandas as pd  # maps need no tables

        return pd.DataFrame(self.columns)


class Explainer:
    """A method with its options for one detector, to be called with pictures.

    Parameters
    ----------
    detector : Detector or keras.Model
    method : str
        One of `methods`.
    **options
        As `explain` takes them.

    Examples
    --------
    >>> GradCAM(detector)(images, target="fake")
    >>> Explainer(detector, "lrp.sequential_preset_b_flat")(images)
    """

    method: str | None = None

    def __init_subclass__(cls, method=None, **options):
        super().__init_subclass__(**options)
        if method:
            cls.method = method

    def __init__(self, detector, method=None, **options):
        self.detector, self.method, self.options = detector, method or self.method, options
        _check(self.method, options.get("engine", ENGINES[0]), options)

    def __call__(self, images, target="fake"):
        """Return the `Relevance` of pictures; see `explain`."""
        return explain(self.detector, images, self.method, target, **self.options)


class Gradient(Explainer, method="gradient"):
    """See `xaifake.explainers.gradients.gradient`."""


class InputTimesGradient(Explainer, method="input_t_gradient"):
    """See `xaifake.explainers.gradients.input_t_gradient`."""


class IntegratedGradients(Explainer, method="integrated_gradients"):
    """See `xaifake.explainers.gradients.integrated_gradients`."""


class SmoothGrad(Explainer, method="smoothgrad"):
    """See `xaifake.explainers.gradients.smoothgrad`."""


class GuidedBackprop(Explainer, method="guided_backprop"):
    """See `xaifake.explainers.gradients.guided_backprop`."""


class GradCAM(Explainer, method="grad_cam"):
    """See `xaifake.explainers.gradients.grad_cam`."""


class GradCAMPlusPlus(Explainer, method="grad_cam_plus_plus"):
    """See `xaifake.explainers.gradients.grad_cam_plus_plus`."""


class Occlusion(Explainer, method="occlusion"):
    """See `xaifake.explainers.masking.occlusion`."""


class RISE(Explainer, method="rise"):
    """See `xaifake.explainers.masking.rise`."""


class LIME(Explainer, method="lime"):
    """See `xaifake.explainers.lime.explain_lime`."""


class KernelSHAP(Explainer, method="kernel_shap"):
    """See `xaifake.explainers.masking.kernel_shap`."""


class LRP(Explainer, method="lrp"):
    """See `xaifake.explainers.lrp.explain_lrp`; the option ``rule`` has to be given."""


def methods(engine: str = "xaifake") -> list[str]:
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
    if engine not in ENGINES:
        raise UserError(f"No engine {engine!r}: give one of {', '.join(ENGINES)}.")
    return list(METHODS if engine == "xaifake" else innvestigate.METHODS)


def explain(
    detector: Detector | keras.Model,
    images: np.ndarray,
    method: str,
    target: str | int | Sequence[str | int] = "fake",
    engine: str = "xaifake",
    value_range: tuple[float, float] | None = None,
    return_report: bool | None = None,
    **options: Any,
) -> Relevance:
    """Explain a detector's answer on some pictures.

    Parameters
    ----------
    detector : Detector or keras.Model
        A Keras 3 model is functional or Sequential and ends in logits; a sigmoid or softmax at its
        end is taken off, and models within it are looked into. It is left as it is.
    images : numpy.ndarray, (N, H, W, 3)
        uint8 RGB pictures from 0 to 255, or floats in the range of values, of the network's size.
    method : str
        One of `methods`.
    target : str, int, or a sequence of N of them
        What the relevance is to speak for: "fake" (the logit of a detector) or "real" (the negated
        logit); the index of a class for a model with several logits. One for all pictures, or one
        for each.
    engine : str
        "xaifake", or "innvestigate" for the library that the paper used, in a process of its own.
    value_range : (float, float), optional
        What black and white are to a Keras model, -1 and 1 if not given.
    return_report : bool, optional
        Of an earlier version, which returned the report beside the relevance.
    **options
        The method's own, documented with the functions in `xaifake.explainers.gradients`, `.lime`,
        `.lrp` and `.innvestigate`; `batch_size` and `progress` go with all of them.

    Returns
    -------
    Relevance
        float32 (N, H, W, 3), positive where a value of the picture speaks for the target. Not
        normalised or clipped. A heatmap is the sum over the last axis; a method that gives one map
        puts a third of it into each colour. Its `report` says how each explanation fared.

    Raises
    ------
    UserError
        If the detector, the pictures, the method or an option cannot be used; the message tells
        why.
    """
    _check(method, engine, options)
    if isinstance(target, list | tuple | np.ndarray):
        relevance = _each(detector, images, method, target, engine, value_range, options)
    else:
        relevance = _explain(detector, images, method, target, engine, value_range, options)
    if return_report is None:
        return relevance
    warnings.warn(
        "return_report goes: what explain returns has a report, explain(...).report.",
        FutureWarning,
        stacklevel=2,
    )
    return (relevance, relevance.report) if return_report else relevance  # type: ignore


def _explain(detector, images, method, target, engine, value_range, options):
    request, options = prepare(detector, images, target, value_range), dict(options)
    size = options.get("batch_size", BATCH)
    if engine == "innvestigate":
        found = innvestigate.explain_innvestigate(request, method, **options)
    else:
        general = {name: options.pop(name) for name in _GENERAL if name in options}
        taken = inspect.signature(METHODS[method]).parameters  # one's own may do without
        options |= {name: value for name, value in general.items() if name in taken}
        with told_what_to_install(f"The method {method!r}"):
            found = METHODS[method](request, **options)
    relevance, columns = found if isinstance(found, tuple) else (found, {})
    if "logit" not in columns:
        starts = batches(len(request.images), size)
        logits = [request.logit(request.images[i : i + size]).numpy() for i in starts]
        columns = {"logit": np.concatenate(logits), **columns}
    total = np.sum(relevance, axis=(1, 2, 3), dtype=np.float64)
    logit = columns.pop("logit")
    return Relevance(relevance, {"logit": logit, "sum": total, **columns})


def _each(detector, images, method, targets, engine, value_range, options):
    """Explain pictures with a target each: those with the same one together."""
    images, targets = np.asarray(images), list(targets)
    if len(targets) != len(images):
        raise UserError(
            f"{len(targets)} targets for {len(images)} pictures: give one, or one per picture."
        )
    places, parts = [], []
    for target in dict.fromkeys(targets):
        rows = np.flatnonzero([one == target for one in targets])
        own = {
            name: value[rows]
            if np.ndim(value) == _PER_PICTURE.get(name) and len(value) == len(images)
            else value
            for name, value in options.items()
        }
        parts.append(_explain(detector, images[rows], method, target, engine, value_range, own))
        places.append(rows)
    order = np.argsort(np.concatenate(places))
    columns = {
        name: np.concatenate([part.columns[name] for part in parts])[order]
        for name in parts[0].columns
    }
    return Relevance(np.concatenate(parts)[order], columns)


def _check(method, engine, options):
    """Refuse a method or an option that there is not."""
    if method not in methods(engine):
        raise UserError(_unknown(method, engine))
    if engine != "xaifake":
        return
    known = [n for n in inspect.signature(METHODS[method]).parameters if n not in _INTERNAL]
    known_too = ("engine", "value_range")  # of `explain`, kept by an `Explainer`
    if unknown := [name for name in options if name not in (*known, *known_too, *_GENERAL)]:
        raise UserError(f"{method} has no option {unknown[0]!r}; it has {', '.join(known)}.")


def _unknown(method, engine):
    others = [name for name in ENGINES if name != engine and method in methods(name)]
    if others:
        return f"{method!r} is a method of another engine: give engine={others[0]!r}."
    near = get_close_matches(str(method), methods(engine), n=3, cutoff=0.4)
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    return f"No method {method!r}. {hint}xaifake.methods({engine!r}) lists them all."
