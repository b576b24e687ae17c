"""Run in a chapter's kernel at its start: note which files of xaifake the chapter uses.

The kernel writes them after each cell to the file named by CHAPTER_USES, one path a line, so that
`chapter_digests` can be held to what a chapter really rested on.
"""

import os
import sys
from pathlib import Path


def _watch(out, package):
    opened = set()

    def note(event, arguments):
        if event == "open" and isinstance(arguments[0], str) and package in arguments[0]:
            opened.add(arguments[0])

    def write(*_):
        modules = (getattr(m, "__file__", None) for m in list(sys.modules.values()))
        used = {path for path in [*modules, *opened] if path and package in path}
        sources = {path for path in used if "__pycache__" not in path and Path(path).is_file()}
        Path(out).write_text("\n".join(sorted(sources)), encoding="utf-8")

    sys.addaudithook(note)
    get_ipython().events.register("post_run_cell", write)  # noqa: F821


if os.environ.get("CHAPTER_USES"):
    _watch(os.environ["CHAPTER_USES"], f"{os.sep}xaifake{os.sep}")
del _watch
