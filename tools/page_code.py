"""The Python code on a page in Markdown, run as a reader would, with failing blocks named."""

import os
import re
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stdout
from io import StringIO

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What the code needs around it: no window for figures, no chatter.
QUIET = {"MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}


def python_blocks(text):
    """The fenced blocks marked `python`, in order.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return [block.rstrip("\n") for block in BLOCK.findall(text)]


def script(blocks):
    """One program of all blocks; a traceback's line names the block that failed."""
    parts = [
        f"exec(compile({block!r}, 'block {number} of the page', 'exec'), globals())\n"
        for number, block in enumerate(blocks, start=1)
    ]
    return "".join(parts)


def run(blocks, folder):
    """Run blocks in order in a fresh process, whose working directory is `folder`.

    Returns
    -------
    subprocess.CompletedProcess
    """
    # As a command and not as a file, which worker processes would import, and so run it again.
    command = [sys.executable, "-c", script(blocks)]
    environment = {**os.environ, **QUIET}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


def run_here(blocks, folder):
    """Run blocks in order in this process, in a namespace of their own and in `folder`.

    Saves the seconds in which a process imports TensorFlow. Figures that the code leaves open are
    closed, and warnings are as a fresh process has them.

    Returns
    -------
    str
        What the code printed.

    Raises
    ------
    Exception
        Whatever the code raises; its traceback names the block.
    """
    import matplotlib.pyplot as plt

    printed = StringIO()
    with chdir(folder), redirect_stdout(printed), warnings.catch_warnings():
        warnings.resetwarnings()
        try:
            exec(script(blocks), {"__name__": "__main__"})
        finally:
            plt.close("all")
    return printed.getvalue()
