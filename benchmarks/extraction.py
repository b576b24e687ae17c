"""How fast faces are cut out of 1920 x 1080 videos, beside a search of every whole frame.

    python benchmarks/extraction.py [--clips 8] [--frames 48] [--rounds 3] [--processes 1 2]

The clips are made from the embedded portraits on larger, moving backgrounds (see
tools/hd_clips.py): in most of them one person, in others two, none, or one who leaves. Both ways
take turns in the same minutes; the figures are medians over the rounds, with the smallest and
largest. What part decoding, searching and writing have is measured in one process. The clips' own
frames are all taken; of a video of which only some are, decoding has a larger part.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import hd_clips  # noqa: E402
from xaifake.data import extract_faces  # noqa: E402
from xaifake.data import extraction as stages  # noqa: E402
from xaifake.data.dataset import SQUARE  # noqa: E402
from xaifake.data.portraits import read_portraits  # noqa: E402

KINDS = ("one", "one", "one", "two", "one", "one", "leaving", "none")


def make_clips(folder, count, frames):
    """Write the clips and return their catalogue."""
    rng, rows = np.random.default_rng(0), []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        people = rng.permutation(read_portraits().index)[:2]
        path = folder / f"{number:02d}_{kind}.mp4"
        pictures = hd_clips.hd_frames(kind, people, frames, number)
        hd_clips.write_hd_clip(path, (frame for frame, _ in pictures))
        rows.append({"video": path.stem, "path": str(path), "target": f"{number:03d}"})
    plain = {"label": 0, "source": None, "scene": "s", "split": "train"}
    return pd.DataFrame(rows).assign(**plain, mask_path=None, parent=None)


def extract(catalogue, frames, full, processes):
    """Extract into a new folder; return seconds and the manifest."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        manifest = extract_faces(
            catalogue, out, scales=(2.0,), frames_per_video={"real": frames, "fake": frames},
            full_search=full, workers=processes, progress=False,
        )  # fmt: skip
        return time.perf_counter() - start, manifest


def overlap(one, other):
    """Intersection over union of squares, arrays of (left, top, side)."""
    low = np.maximum(one[:, :2], other[:, :2])
    high = np.minimum(one[:, :2] + one[:, 2:], other[:, :2] + other[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    return shared / (one[:, 2] ** 2 + other[:, 2] ** 2 - shared)


def compare(plain, fast):
    """Return how many faces both ways accept, and the share of them with IoU over 0.9."""
    both = plain[plain.accepted].merge(fast, on=["video", "frame"], suffixes=("", "_fast"))
    both = both[both.accepted_fast.astype(bool)]
    squares = [both[[f"{n}{end}" for n in SQUARE]].to_numpy(float) for end in ("", "_fast")]
    return len(both), float((overlap(*squares) > 0.9).mean())


def shares(catalogue, frames, full):
    """Return the seconds of decoding, searching and all the rest, in this process."""
    finder, spent = stages.FaceFinder(), {"decoding": 0.0, "searching": 0.0}

    def timed(name, items):
        while True:
            start = time.perf_counter()
            item = next(items, None)
            spent[name] += time.perf_counter() - start
            if item is None:
                return
            yield item

    start = time.perf_counter()
    for path in catalogue.path:
        wanted = list(range(frames))
        read = timed("decoding", stages.read_frames(path, wanted))
        before = spent["decoding"]
        found = list(timed("searching", finder.follow(read, 1 if full else 16)))
        spent["searching"] -= spent["decoding"] - before  # done while it waited
        assert len(found) == frames
    return spent, time.perf_counter() - start


def spread(values, unit=""):
    """Write a median with the smallest and largest."""
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f}){unit}"


def main(arguments=None):
    """Make clips, extract them in both ways, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, os.cpu_count()])
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        catalogue = make_clips(Path(folder), options.clips, options.frames)
        total = options.clips * options.frames
        print(f"{options.clips} clips of 1920 x 1080, {total} frames, all of them taken")
        seconds = {True: [], False: []}
        for _ in range(options.rounds):
            manifests = {}
            for full in seconds:
                took, manifests[full] = extract(catalogue, options.frames, full, 1)
                seconds[full].append(took)
        for full, name in ((True, "every frame whole"), (False, "followed")):
            rates = [total / took for took in seconds[full]]
            print(f"{name}: {spread(rates)} frames a second and core")
        ratios = [a / b for a, b in zip(seconds[True], seconds[False])]
        print(f"ratio: {spread(ratios)}")
        both, alike = compare(manifests[True], manifests[False])
        print(f"faces accepted by both: {both}; squares with IoU over 0.9: {alike:.1%}")
        for full, name in ((True, "every frame whole"), (False, "followed")):
            spent, whole = shares(catalogue, options.frames, full)
            parts = ", ".join(f"{part} {took / whole:.0%}" for part, took in spent.items())
            print(f"{name}, without writing: {parts}; {1e3 * whole / total:.0f} ms a frame")
        for processes in options.processes:
            took, _ = extract(catalogue, options.frames, False, processes)
            print(f"{processes} processes: {total / took:.1f} frames a second")


if __name__ == "__main__":
    main()
