"""Progress bars, one way for every room."""

from tqdm import tqdm


def progress_bar(iterable=None, show=True, **options):
    """Return a `tqdm` bar, which the environment variable ``TQDM_DISABLE`` hides.

    Parameters
    ----------
    iterable : iterable, optional
        What to count.
    show : bool
        Whether the caller wants a bar.
    **options
        Passed on to `tqdm`.
    """
    # A `disable` that is given, even False, would override the environment variable.
    return tqdm(iterable, **options) if show else tqdm(iterable, disable=True, **options)
