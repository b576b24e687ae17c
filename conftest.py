"""What holds for all tests, those of the library and the comparison of the chapters."""

import os

import hypothesis
import pytest

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    # Threads of one worker that wait for a core of another's cost a seventh of the time.
    share = max(1, (os.cpu_count() or 1) // workers)
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(share))

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
