"""Run the code of the exercise pages and write below each block what it prints.

    python tools/solution_outputs.py [book/exercises/07_lrp.md ...]

All pages if none is named. The tests of `make test-book` run the pages and hold what they print
against what is written.
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm.auto import tqdm

import chapters
from page_code import QUIET, with_outputs

PAGES = chapters.ROOT / "book" / "exercises"


def main(paths=None):
    """Run the pages at these paths, or all, and write what they print into them."""
    os.environ.update(QUIET)
    bar = tqdm([Path(path) for path in paths or sorted(PAGES.glob("*.md"))], unit="page")
    for path in bar:
        bar.set_description(path.stem)
        with TemporaryDirectory() as folder:
            text = with_outputs(path.read_text(encoding="utf-8"), folder)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
