"""What the benchmarks share: the machine's name and flags, and figures with their spread."""

import os
import platform
from pathlib import Path

import numpy as np


def spread(values):
    """Write a median with the smallest and largest."""
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


# On what the speed of a network depends most, as /proc/cpuinfo calls it.
FLAGS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX512_BF16", "amx_bf16": "AMX"}


def machine(*modules):
    """Name the processor, its flags and cores, and the versions of the modules that work."""
    name = _said("model name") or platform.processor() or platform.machine()
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in modules)
    return f"{name} ({flags()}), {os.cpu_count()} cores, {versions}"


def flags():
    """Name those of `FLAGS` that the processor has."""
    there = set(_said("flags").split())
    return ", ".join(name for flag, name in FLAGS.items() if flag in there) or "flags unknown"


def _said(key):
    """Return what Linux says of the first core; empty where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":")[1].strip() for line in lines if line.startswith(key)), "")
