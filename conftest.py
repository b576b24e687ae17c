"""What holds for all tests, those of the library and the comparison of the chapters."""

import os

import hypothesis
import pytest

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

# The same examples in every run, and no failure because a machine is slow.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Chapters are stored without progress bars, which go to stderr; so are they compared."""
    if item.path.suffix != ".ipynb":
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TQDM_DISABLE", "1")
        return (yield)
