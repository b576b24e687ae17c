"""The one error that every room raises when its caller can put things right."""

from contextlib import contextmanager

# Which extra of this package brings a module; "data" brings the others.
_EXTRAS = {
    "lime": "lime", "jinja2": "video", "matplotlib": "video", "seaborn": "chapters",
    "dask": "cluster", "distributed": "cluster", "cv2": "local", "dlib": "local",
}  # fmt: skip


class UserError(ValueError):
    """Bad input, told in the caller's terms: what was given, what was expected, what to do."""


@contextmanager
def told_what_to_install(wanted):
    """Say of a package that is not installed which extra of this one brings it.

    Parameters
    ----------
    wanted : str
        What cannot be had without it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in ("", "xaifake"):
            raise
        extra = _EXTRAS.get(name, "data")
        raise ModuleNotFoundError(
            f"{wanted} needs {name}, which is not installed: run\n"
            f'  python -m pip install "xaifake[{extra}]"',
            name=error.name,
        ) from error
