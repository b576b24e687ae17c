"""What holds for all tests, those of the library and the comparison of the chapters."""

import os
from pathlib import Path

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


def pytest_addoption(parser):
    """Add the folder of executed chapters."""
    parser.addoption(
        "--executed",
        type=lambda path: Path(path).absolute(),
        help="folder with copies of chapters that tools/run_chapters.py has run: their outputs "
        "are compared with the stored ones, and the tests of the built book look at them",
    )


def pytest_collect_file(file_path, parent):
    """Collect a chapter as the comparison with its executed copy."""
    executed = parent.config.option.executed
    if executed is None or file_path.suffix != ".ipynb":
        return None
    from replay import ReplayedChapter

    chapter = ReplayedChapter.from_parent(parent, path=file_path)
    chapter.copy = executed / file_path.name
    return chapter


@pytest.fixture(scope="session")
def executed(request):
    """The folder of executed chapters, or None."""
    return request.config.option.executed
