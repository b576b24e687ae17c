"""Tables of methods and scores by name; one of one's own is added by a decorator."""

from collections.abc import Callable

from xaifake.errors import UserError


def make_register(table: dict[str, Callable], kind: str) -> Callable:
    """Return a decorator that takes a name and puts functions into a table.

    Parameters
    ----------
    table : dict of str to callable
    kind : str
        What its functions are, for messages.

    Returns
    -------
    callable
        It raises UserError where the package itself has a function of the name. Yours may be
        registered again, as when a cell is run twice.
    """

    def register(name: str) -> Callable[[Callable], Callable]:
        def keep(function):
            taken = table.get(name)
            if taken is not None and taken.__module__.startswith("xaifake."):
                raise UserError(f"{name!r} is a {kind} of xaifake already: give another name.")
            table[name] = function
            return function

        return keep

    return register


METHODS: dict[str, Callable] = {}
# What methods are called that have another name in print than in code.
TITLES = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "guided_backprop": "Guided Backprop",
    "integrated_gradients": "Integrated Gradients",
    "kernel_shap": "KernelSHAP",
    "lime": "LIME",
    "rise": "RISE",
    "smoothgrad": "SmoothGrad",
}
_register = make_register(METHODS, "method")


def register(name: str) -> Callable[[Callable], Callable]:
    """Make a function a method of `xaifake.explain`, and of `xaifake judge`.

    Parameters
    ----------
    name : str
        What it is called.

    Returns
    -------
    callable
        A decorator for a function of a `xaifake.explainers.request.Request`, ``batch_size``,
        ``progress`` and options with defaults, which returns relevance (N, H, W, C), or that and
        a dict of columns for the report.

    Raises
    ------
    UserError
        If the package has a method of this name.

    Examples
    --------
    >>> @register("picture")
    ... def picture(request, batch_size=32, progress=True):
    ...     return request.images
    """
    return _register(name)
