#!/usr/bin/env bash
# PyAV's frame.rotation does not show that a video is mirrored
# Harms: picture
# Call: frame.rotation of a video with a display matrix that mirrors
# Guess: if the display matrix mirrors one of two videos, their values of frame.rotation differ, or PyAV shows that one mirrored.
# Effect: if you rotate by the angle alone, you show a selfie upside down or leave it mirrored.
# Instead: use the whole matrix, side_data['DISPLAYMATRIX'].
# xaifake: no, tests/data/test_decoding.py::test_all_eight_display_matrices
# Picture: The letter F three times: upright, mirrored, and upside down.
# Caption: A frame as it is stored (left), turned by the whole matrix (middle) and by frame.rotation alone (right).
source "$(dirname "$0")/environment.bash" av==18.1.0 numpy==2.4.6 pillow==13.0.0
python - <<'PYTHON'
import struct
from pathlib import Path

import av
import numpy as np
from draw import draw


def film(path, matrix):
    """Write a video of the letter F, bright on the left, and a display matrix into its header."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[8:56, 16:24] = picture[8:16, 16:48] = picture[28:36, 16:40] = 255
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    data = Path(path).read_bytes()
    place = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes
    one = 1 << 16
    fixed = struct.pack(">9i", *(round(x * one) for x in matrix[:2]), 0,
                        *(round(x * one) for x in matrix[2:]), 0, 0, 0, 1 << 30)
    Path(path).write_bytes(data[:place] + fixed + data[place + 36:])


found = {}
for name, matrix in {"upright": (1, 0, 0, 1), "mirrored": (-1, 0, 0, 1), "flipped": (1, 0, 0, -1)}.items():
    film(f"{name}.mp4", matrix)
    with av.open(f"{name}.mp4") as container:
        frame = next(container.decode(video=0))
    grey = frame.to_ndarray(format="gray")
    left = grey[:, :32].mean() > 2 * grey[:, 32:].mean()
    if name == "mirrored":
        stored = np.dstack([grey] * 3)
        draw(stored, stored[:, ::-1], np.rot90(stored, round(frame.rotation / 90)), side=128)
    found[name] = frame.rotation, bool(left)
    print(f"{name}: rotation {frame.rotation}, bright side as it was filmed: {bool(left)}")
print("PyAV", av.__version__)
assert all(left for _, left in found.values())
assert found["flipped"][0] == found["upright"][0] == 0 and abs(found["mirrored"][0]) == 180, "mirroring is told otherwise now"
print("A mirrored video has the angle of a half turn, a flipped one that of an upright one: read the whole matrix, side_data['DISPLAYMATRIX'].")
PYTHON
