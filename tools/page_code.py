"""The Python code on a page in Markdown, run as a reader would, with failing blocks named."""

import os
import re
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stdout
from io import StringIO

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PRINTED = re.compile(r"\n\nThis prints:\n\n```text\n.*?\n```", re.DOTALL)
# What the code needs around it: no window for figures, no chatter.
QUIET = {"MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}


def python_blocks(text):
    """Return the fenced blocks of a text that are marked `python`, in order."""
    return [block.rstrip("\n") for block in BLOCK.findall(text)]


def script(blocks):
    """One program of all blocks; a traceback's line names the block that failed."""
    line = "exec(compile({!r}, 'block {} of the page', 'exec'), globals())\n"
    return "".join(line.format(block, n) for n, block in enumerate(blocks, start=1))


def run(blocks, folder):
    """Run blocks in order in a fresh process, whose working directory is `folder`."""
    # As a command and not as a file, which worker processes would import, and so run it again.
    command = [sys.executable, "-c", script(blocks)]
    options = {"cwd": folder, "env": {**os.environ, **QUIET}, "timeout": 600}
    return subprocess.run(command, capture_output=True, text=True, **options)


def run_here(blocks, folder):
    """Run blocks in order in this process, in a namespace of their own and in `folder`.

    Saves the seconds in which a process imports TensorFlow. Figures that the code leaves open are
    closed, and warnings are as a fresh process has them. Returns what each block printed; a
    traceback of what it raises names the block.
    """
    import matplotlib.pyplot as plt

    names, printed = {"__name__": "__main__"}, []
    with chdir(folder), warnings.catch_warnings():
        warnings.resetwarnings()
        try:
            for number, block in enumerate(blocks, start=1):
                with redirect_stdout(StringIO()) as said:
                    exec(compile(block, f"block {number} of the page", "exec"), names)
                printed.append(said.getvalue())
        finally:
            plt.close("all")
    return printed


def outputs(text):
    """Return what a page says that its blocks print, in order."""
    return [said.split("```text\n")[1].removesuffix("\n```") for said in _PRINTED.findall(text)]


def without_outputs(text):
    """Return a page without what its blocks print."""
    return _PRINTED.sub("", text)


def with_outputs(text, folder):
    """Run a page's blocks and return the page with what each of them prints below it."""
    text = without_outputs(text)
    printed = iter(run_here(python_blocks(text), folder))

    def below(block):
        said = next(printed).rstrip()
        return block[0] + (f"\n\nThis prints:\n\n```text\n{said}\n```" if said else "")

    return BLOCK.sub(below, text)
