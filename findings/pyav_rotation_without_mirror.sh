#!/usr/bin/env bash
# PyAV's frame.rotation does not show that a video is mirrored
# Harms: picture
# Call: frame.rotation of a video with a display matrix that mirrors
# Guess: if the display matrix mirrors one of two videos, their values of frame.rotation differ, or PyAV shows that one mirrored.
# Effect: if you rotate by the angle alone, you show a selfie upside down or leave it mirrored.
# Instead: use the whole matrix, side_data['DISPLAYMATRIX'].
# xaifake: no, tests/data/test_decoding.py::test_all_eight_display_matrices
source "$(dirname "$0")/environment.bash" av==18.1.0 numpy==2.4.6
python - <<'PYTHON'
import struct
from pathlib import Path

import av
import numpy as np


def film(path, matrix):
    """Write a video whose left half is bright, and a display matrix into its header."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :32] = 255
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
    left = frame.to_ndarray(format="gray")[:, :32].mean() > 128
    found[name] = frame.rotation, bool(left)
    print(f"{name}: rotation {frame.rotation}, bright side as it was filmed: {bool(left)}")
print("PyAV", av.__version__)
assert all(left for _, left in found.values())
assert found["flipped"][0] == 0 and abs(found["mirrored"][0]) == 180, "mirroring is told otherwise now"
print("A mirrored video has the angle of a half turn, a flipped one that of an upright one: read the whole matrix, side_data['DISPLAYMATRIX'].")
PYTHON
