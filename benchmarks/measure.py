"""What the benchmarks share: the machine's name, and how a spread is written."""

import os
import platform
from pathlib import Path

import av
import cv2
import dlib
import numpy as np


def spread(values):
    """Write a median with the smallest and largest."""
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def machine():
    """Name the processor, its cores and the libraries that do the work."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (dlib, cv2, av))
    return f"{name}, {os.cpu_count()} cores, {versions}"
