#!/usr/bin/env bash
# PyAV and imageio's pyav plugin leave a phone's video on its side; OpenCV and imageio's FFMPEG turn it
# Harms: picture
# Call: container.decode(video=0) and cv2.VideoCapture(path).read() on one MP4 with a rotation of 90 degrees
# Expected: the same picture from both.
# Effect: with half of the readers, a detector trained on upright faces sees faces that lie on their side.
# Instead: rotate by frame.rotation, or by the whole display matrix if it may contain a mirror.
# xaifake: no, tests/data/test_media.py::test_a_phones_video_is_upright
# Picture: The letter F upright on the left and lying on its side on the right.
# Caption: The first frame by OpenCV (left) and by PyAV (right).
source "$(dirname "$0")/environment.bash" av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93 imageio==2.37.0 imageio-ffmpeg==0.6.0
python - 2>errors.txt <<'PYTHON'
import struct
from importlib.metadata import version
from pathlib import Path

import av
import cv2
import imageio.v3 as iio
import numpy as np

letter = cv2.putText(np.zeros((96, 64, 3), np.uint8), "F", (6, 82), cv2.FONT_HERSHEY_SIMPLEX, 3, (255,) * 3, 8)
lying = np.ascontiguousarray(np.rot90(letter))
with av.open("phone.mp4", "w") as container:
    stream = container.add_stream("mpeg4", rate=25)
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    for _ in range(3):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(lying)))
    container.mux(stream.encode())
data, one = Path("phone.mp4").read_bytes(), 1 << 16
place = data.index(b"tkhd") + 44  # version 0: the display matrix follows 40 bytes
turned = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
Path("phone.mp4").write_bytes(data[:place] + turned + data[place + 36:])
with av.open("phone.mp4") as container:
    frame = next(container.decode(video=0))
upright = cv2.VideoCapture("phone.mp4").read()[1]
pair = np.full((96, 168, 3), 128)
pair[:, :64], pair[16:80, 72:] = upright, frame.to_ndarray(format="rgb24")
cv2.imwrite("picture.png", np.kron(pair, np.ones((2, 2, 1))).astype(np.uint8))
shapes = {
    "PyAV": frame.to_ndarray(format="rgb24").shape[:2],
    "OpenCV": upright.shape[:2],
    "imageio, pyav": iio.imread("phone.mp4", index=0, plugin="pyav").shape[:2],
    "imageio, FFMPEG": iio.imread("phone.mp4", index=0, plugin="FFMPEG").shape[:2],
}
print("av", av.__version__, "opencv", cv2.__version__, "imageio", version("imageio"))
print("height and width:", shapes, "frame.rotation:", frame.rotation)
turned = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
assert np.abs(turned - upright.astype(int)).mean() < 5, "frame.rotation means another angle now"
assert shapes["PyAV"] == shapes["imageio, pyav"] == (64, 96) and shapes["OpenCV"] == shapes["imageio, FFMPEG"] == (96, 64), "they agree now"
print("Of four ways to read one video two show it upright and two lying.")
PYTHON
