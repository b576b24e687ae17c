"""Footage as readers bring it: turned, cut short, of uneven times, odd formats, several people.

The faces are those of the embedded portraits, unmanipulated.
"""

import struct
from itertools import chain

import cv2
import numpy as np

from xaifake.data.encoding import VideoWriter
from xaifake.data.rendering import FRAME_SIZE, Scene

_BITS = 8
# The display matrix of ISO 14496-12, by the degrees that a player turns the frames clockwise.
MATRICES = {
    90: (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
    180: (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30),
    270: (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30),
}


def faces(people, count, size=(640, 480), seen=None, side=FRAME_SIZE):
    """Yield frames, width and height `size`, with people side by side before a grey wall.

    `seen` has the frames in which somebody is seen, by the place in `people`; all if not given. The
    picture of a person is `side` pixels wide and high.
    """
    scenes = [Scene(person, "look_around", count) for person in people]
    for i in range(count):
        frame = np.full((size[1], size[0], 3), 128, np.uint8)
        for k, scene in enumerate(scenes):
            if seen is None or k not in seen or i in seen[k]:
                picture = scene.frame(i, scene.portrait.images)[0]
                picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
                left = round((k + 0.5) * size[0] / len(people) - side / 2)
                top = (size[1] - side) // 2
                frame[top : top + side, left : left + side] = picture
        yield frame


def counted(count, size=(160, 120)):
    """Yield frames with a red corner, top left, and their number below in black and white bars."""
    for i in range(count):
        frame = np.full((size[1], size[0], 3), 128, np.uint8)
        frame[: size[1] // 4, : size[0] // 4] = (255, 0, 0)
        for bit in range(_BITS):
            frame[size[1] // 2 :, _bar(bit, size[0])] = 255 * (i >> bit & 1)
        yield frame


def number_of(frame):
    """Return the number that `counted` wrote into a frame."""
    low = frame[frame.shape[0] // 2 :]
    return sum((low[:, _bar(bit, frame.shape[1])].mean() > 128) << bit for bit in range(_BITS))


def _bar(bit, width):
    return slice(bit * width // _BITS, (bit + 1) * width // _BITS)


def write(path, frames, format="mp4", codec="libx264", rate=25, times=None, first=False, crf=18):
    """Write frames; `times` are their seconds, `first` puts an MP4's header before them."""
    frames, options = iter(frames), {"movflags": "faststart"} if first else {}
    first_one = next(frames)
    size = first_one.shape[1], first_one.shape[0]
    with VideoWriter(path, crf, size, None, format, codec, rate, options) as writer:
        for i, frame in enumerate(chain([first_one], frames)):
            writer.write(frame, None if times is None else times[i])
    return path


def turn(path, degrees):
    """Write into an MP4's header that it is to be shown turned clockwise, as phones do."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", *MATRICES[degrees])
    path.write_bytes(data)
    return path


def cut_short(path, share):
    """Cut a file off after a share of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: round(share * len(data))])
    return path
