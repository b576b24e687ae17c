"""How long cutting the faces of all of DeepFakeDetection takes, and what they need of a disk.

    python benchmarks/planning.py [--seconds 20] [--rounds 3] [--workers 1 8 64 256]

A clip of 1920 x 1080 at 25 frames per second with one person in it (see hd_clips.py) stands for
a real video, from which 267 frames are taken, and with a mask video beside it for a fake one, from
which 39 are, as many as in the paper. Every video is decoded to its end. One process cuts both
scales; the figures are medians over the rounds, with the smallest and largest, times DFD's 363 real
and 3,068 fake videos. A video of another length takes another time, about in proportion.
"""

import argparse
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import dlib
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import hd_clips  # noqa: E402
from measure import machine, spread  # noqa: E402
from xaifake.data.dfd import DFD_VIDEOS  # noqa: E402
from xaifake.data.extraction import cut_video  # noqa: E402
from xaifake.data.portraits import read_portraits  # noqa: E402
from xaifake.data.rendering import FRAME_RATE  # noqa: E402
from xaifake.progress import progress_bar  # noqa: E402

TAKEN = {"real": 267, "fake": 39}
SETTINGS = {
    "scales": [1.3, 2.0], "frames_per_video": TAKEN, "originals": False, "size": 128,
    "smallest": 120, "full_search": False,
}  # fmt: skip


def make_videos(folder, seconds):
    """Write the clip and a mask as large; return their paths."""
    people = read_portraits().index[:1]
    # There and back again, so that the person stays in the picture.
    away = [frame for frame, _ in hd_clips.hd_frames("one", people, 2 * FRAME_RATE)]
    there_and_back = away + away[-2:0:-1]
    clip, mask = folder / "clip.mp4", folder / "mask.mp4"
    count = seconds * FRAME_RATE
    hd_clips.write_hd_clip(clip, islice(cycle(there_and_back), count))
    patch = np.zeros((hd_clips.HEIGHT, hd_clips.WIDTH, 3), np.uint8)
    patch[400:700, 800:1100] = 255
    moving = (np.roll(patch, i % 50, axis=1) for i in range(count))
    hd_clips.write_hd_clip(mask, moving)
    return str(clip), str(mask)


def cut(kind, clip, mask, folder):
    """Cut one video; return seconds and the bytes of its shard."""
    shard = folder / f"{kind}.parquet"
    shard.unlink(missing_ok=True)
    job = {"video": kind, "label": int(kind == "fake"), "path": clip, "shard": str(shard)}
    if kind == "fake":
        job["mask"] = mask
    start = time.perf_counter()
    status = cut_video(job, SETTINGS)
    if status != "ok":
        raise RuntimeError(f"{kind}: {status}")
    return time.perf_counter() - start, shard.stat().st_size


def main(arguments=None):
    """Measure both kinds of videos, multiply, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64, 256])
    options = parser.parse_args(arguments)
    print(machine(dlib, cv2, av))
    seconds, sizes = {kind: [] for kind in TAKEN}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip, mask = make_videos(folder, options.seconds)
        for number in progress_bar(range(options.rounds + 1), show=True, unit="round"):
            for kind, takes in seconds.items():
                took, sizes[kind] = cut(kind, clip, mask, folder)
                if number:  # the first loads dlib's models
                    takes.append(took)
    for kind, takes in seconds.items():
        print(
            f"{kind} video of {options.seconds} s, {TAKEN[kind]} frames taken: {spread(takes)} s, "
            f"{sizes[kind] / 1e6:.2f} MB"
        )
    whole = sum(DFD_VIDEOS[kind] * np.median(takes) for kind, takes in seconds.items()) / 3600
    disk = sum(DFD_VIDEOS[kind] * size for kind, size in sizes.items()) / 1e9
    print(f"all of DFD: {whole:.2f} hours of one core, {disk:.1f} GB of faces")
    for workers in options.workers:
        print(f"{workers} workers with a core each: {whole / workers:.2f} hours")


if __name__ == "__main__":
    main()
