"""Tiny clips in DFD's layout, encoded from the portraits, and ways to damage them."""

import functools
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd

import odd_clips
import xaifake

PORTRAITS = Path(xaifake.__file__).parent / "assets" / "portraits"
REAL = Path("original_sequences/actors/c23/videos")
FAKE = Path("manipulated_sequences/DeepFakeDetection/c23/videos")
MASK = Path("manipulated_sequences/DeepFakeDetection/masks/videos")
SIDE = 300  # of a frame of a tiny clip, in pixels


@functools.cache
def portrait(person, side=SIDE):
    """Return a person's neutral portrait, uint8 RGB, and the 68 landmarks in its pixels."""
    name = f"{person:03d}_neutral.jpg"
    image = cv2.cvtColor(cv2.imread(str(PORTRAITS / "images" / name)), cv2.COLOR_BGR2RGB)
    table = pd.read_csv(PORTRAITS / "landmarks68.csv").set_index("file")
    points = table.loc[name, [f"{axis}{i}" for i in range(68) for axis in "xy"]]
    points = points.to_numpy(float).reshape(68, 2) * side / image.shape[0]
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), points


def encode(path, frames, crf=18, faststart=False):
    """Write frames (uint8 RGB, even sides) as H.264 in MP4; faststart puts the header first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return odd_clips.write(path, frames, first=faststart, crf=crf)


def moving(image, count):
    """Return frames of an image that drifts by a pixel a frame."""
    return [np.roll(image, k % 4, axis=1) for k in range(count)]


def encode_audio(path, seconds=1):
    """Write an MP4 with a tone and no picture."""
    wave = np.sin(np.arange(48_000 * seconds, dtype=np.float32) * 0.05)[None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_pair(root, target, source, frames=6):
    """Write a real clip, a fake of it (inner face swapped) and the fake's mask."""
    image, points = portrait(target)
    x, y = points[30].round().astype(int)
    other, other_points = portrait(source)
    u, v = other_points[30].round().astype(int)
    swapped, mask = image.copy(), np.zeros_like(image)
    swapped[y - 30 : y + 30, x - 30 : x + 30] = other[v - 30 : v + 30, u - 30 : u + 30]
    mask[y - 30 : y + 30, x - 30 : x + 30] = 255
    fake = f"{target:03d}_{source:03d}__look_around__TINYCLIP.mp4"
    encode(root / REAL / f"{target:03d}__look_around.mp4", moving(image, frames))
    encode(root / FAKE / fake, moving(swapped, frames))
    encode(root / MASK / fake, moving(mask, frames))


def write_clips(root, people=6, frames=6):
    """Write a real and a fake clip for each person; the source is the next person."""
    for person in range(1, people + 1):
        write_pair(root, person, person % people + 1, frames)
    return root
