"""The Python code on a page in Markdown, as one program that says which of its blocks failed."""

import re
import subprocess
import sys

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What the program needs around it: no window for figures, no chatter.
PREPARE = """\
import os
os.environ |= {"MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}
"""


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
    return PREPARE + "".join(parts)


def run(blocks, folder):
    """Run blocks in order in a fresh process, whose working directory is `folder`.

    Returns
    -------
    subprocess.CompletedProcess
    """
    # As a command and not as a file, which worker processes would import, and so run it again.
    command = [sys.executable, "-c", script(blocks)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
