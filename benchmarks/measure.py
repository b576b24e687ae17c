"""What the benchmarks share: the machine's name, and figures with their spread."""

import os
import platform
from pathlib import Path

import numpy as np


def spread(values):
    """Write a median with the smallest and largest."""
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def machine(*modules):
    """Name the processor, its cores and the versions of the modules that do the work."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in modules)
    return f"{name}, {os.cpu_count()} cores, {versions}"
