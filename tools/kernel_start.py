"""Run in a chapter's kernel at its start; leaves no name in the chapter.

Keeps the kernel's end quiet, and notes which files of xaifake the chapter uses: the kernel writes
them after each cell to the file named by CHAPTER_USES, one path per line, so that `chapter_digests`
can be held to what a chapter really rested on.
"""


def _quiet_end():
    import logging

    # A kernel that is told to stop drops the task in which it waits for such orders; asyncio tells
    # of it as of an error.
    logging.getLogger("asyncio").addFilter(lambda r: "Kernel.dispatch_" not in r.getMessage())


def _watch():
    import importlib.util
    import os
    import sys
    from pathlib import Path

    spec, opened = importlib.util.find_spec("xaifake"), set()
    if "CHAPTER_USES" not in os.environ or spec is None:  # on Colab, before the first cell
        return
    out, package = os.environ["CHAPTER_USES"], spec.submodule_search_locations[0]

    def note(event, arguments):
        if event == "open" and isinstance(arguments[0], str):
            opened.add(arguments[0])

    def write(*_):
        modules = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        used = {path for path in modules | opened if path and path.startswith(package)}
        sources = {path for path in used if "__pycache__" not in path and os.path.isfile(path)}
        Path(out).write_text("\n".join(sorted(sources)), encoding="utf-8")

    sys.addaudithook(note)
    get_ipython().events.register("post_run_cell", write)  # noqa: F821


_quiet_end()
_watch()
del _quiet_end, _watch
