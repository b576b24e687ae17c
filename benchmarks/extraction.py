"""How fast faces are cut out of 1920 x 1080 videos, beside a search of every whole frame.

    python benchmarks/extraction.py [--clips 8] [--frames 48] [--rounds 3] [--processes 1 2]

The clips are made from the embedded portraits on larger, moving backgrounds (see
hd_clips.py): in most of them one person, in others two, none, or one who leaves. Both ways
take turns in the same minutes; the figures are medians over the rounds, with the smallest and
largest. What parts decoding, searching and the rest (cutting and JPEG) have, and which kind of clip
gains how much, is measured on one pass in this process. All frames of the clips are taken; of a
video of which only some are, decoding has a larger part. The rates over processes include starting
them.
"""

import argparse
import os
import sys
import tempfile
import time
from itertools import tee
from pathlib import Path

import av
import cv2
import dlib
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))

import hd_clips  # noqa: E402
from measure import machine, spread  # noqa: E402
from xaifake.data import (
    extract_faces,  # noqa: E402
    extraction as stages,  # noqa: E402
)
from xaifake.data.dataset import SQUARE  # noqa: E402
from xaifake.data.faces import FULL_SEARCH_EVERY  # noqa: E402
from xaifake.data.media import open_media  # noqa: E402
from xaifake.data.portraits import read_portraits  # noqa: E402
from xaifake.progress import progress_bar  # noqa: E402

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
    return pd.DataFrame(rows).assign(**plain, mask_path=None, original=None)


def extract(catalogue, frames, full, processes):
    """Extract into a new folder; return seconds and the manifest."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        manifest = extract_faces(
            catalogue, out, scales=(2.0,), frames_per_video={"real": frames, "fake": frames},
            full_search=full, workers=processes, progress=False,
        )  # fmt: skip
        return time.perf_counter() - start, manifest


def compare(plain, fast):
    """Return how many faces both ways accept, and the share of them with IoU over 0.9."""
    both = plain[plain.accepted].merge(fast, on=["video", "frame"], suffixes=("", "_fast"))
    both = both[both.accepted_fast.astype(bool)]
    squares = [both[[f"{n}{end}" for n in SQUARE]].to_numpy(float) for end in ("", "_fast")]
    return len(both), float((hd_clips.overlap(*squares) > 0.9).mean())


def _images(path, count):
    return (frame.image for frame in open_media(path, strict=True).read(range(count)))


def shares(catalogue, frames, full):
    """Return the seconds of decoding, of searching, and of it all, in this process."""
    finder, spent = stages.FaceFinder(), {"decoding": 0.0, "searching": 0.0}
    settings = {"scales": [2.0], "smallest": 120, "size": 128}

    def timed(name, items):
        while True:
            start, before = time.perf_counter(), sum(spent.values())
            item = next(items, None)
            inside = sum(spent.values()) - before  # the search asks for frames
            spent[name] += time.perf_counter() - start - inside
            if item is None:
                return
            yield item

    start = time.perf_counter()
    for path in catalogue.path:
        shown, ahead = tee(timed("decoding", _images(path, frames)))
        found = finder.follow(ahead, 1 if full else FULL_SEARCH_EVERY)
        for frame, faces in zip(shown, timed("searching", found)):
            stages._frame_rows("", 0, frame, faces, {}, settings)
    return spent, time.perf_counter() - start


def main(arguments=None):
    """Make clips, extract them in both ways, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, os.cpu_count()])
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    print(machine(dlib, cv2, av))
    with tempfile.TemporaryDirectory() as folder:
        catalogue = make_clips(Path(folder), options.clips, options.frames)
        total = options.clips * options.frames
        print(f"{options.clips} clips of 1920 x 1080, {total} frames, all of them taken")
        seconds = {True: [], False: []}
        for _ in progress_bar(range(options.rounds), show=True, unit="round"):
            manifests = {}
            for full in seconds:
                took, manifests[full] = extract(catalogue, options.frames, full, 1)
                seconds[full].append(took)
        for full, name in ((True, "every frame whole"), (False, "followed")):
            rates = [total / took for took in seconds[full]]
            print(f"{name}: {spread(rates)} frames per second and core")
        ratios = [a / b for a, b in zip(seconds[True], seconds[False])]
        print(f"ratio: {spread(ratios)}")
        both, alike = compare(manifests[True], manifests[False])
        print(f"faces accepted by both: {both}; squares with IoU over 0.9: {alike:.1%}")
        kinds = catalogue.groupby(catalogue.video.str.split("_").str[1], sort=False)
        for kind, clips in kinds:
            count = len(clips) * options.frames
            for full, name in ((True, "every frame whole"), (False, "followed")):
                spent, whole = shares(clips, options.frames, full)
                spent["cutting and JPEG"] = whole - sum(spent.values())
                parts = ", ".join(f"{part} {took / whole:.0%}" for part, took in spent.items())
                print(f"{kind}, {name}: {1e3 * whole / count:.0f} ms a frame; {parts}")
        for processes in options.processes:
            took, _ = extract(catalogue, options.frames, False, processes)
            print(f"{processes} processes: {total / took:.1f} frames per second")


if __name__ == "__main__":
    main()
