#!/usr/bin/env bash
# imageio's two plugins and OpenCV find three different numbers of frames in a phone's video
# Harms: data
# Call: imageio.v3.imread(path, plugin="FFMPEG") on a video whose frames come at uneven times
# Guess: both plugins return the frames that the file has.
# Effect: frame 30 of the masks shows a different moment from frame 30 of the pictures. Repeated frames count several times in a mean.
# Instead: decode with PyAV and keep frame.pts. If the frame rate varies, never address frames by number across readers.
# xaifake: no, tests/data/test_media.py::test_uneven_times_are_spread_over_time_and_not_over_frames
# Picture: Two rows of narrow grey stripes from dark to light; in the lower row many stripes are repeated, and it is longer.
# Caption: Each stripe is a frame: as PyAV reads them (upper row), and imageio's FFMPEG plugin (lower row). Each frame of the film is lighter than the one before.
source "$(dirname "$0")/environment.bash" av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93 imageio==2.37.0 imageio-ffmpeg==0.6.0
python - 2>errors.txt <<'PYTHON'
from fractions import Fraction
from importlib.metadata import version

import av
import cv2
import imageio.v3 as iio
import numpy as np
from draw import draw

times = np.cumsum([0] + [33] * 9 + [66] * 5 + [100] * 5)  # in milliseconds: the light gets worse
with av.open("phone.mkv", "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
    stream.width, stream.height, stream.codec_context.time_base = 64, 64, Fraction(1, 1000)
    for number, time in enumerate(times):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 10 * number, np.uint8), format="rgb24")
        frame.pts, frame.time_base = int(time), Fraction(1, 1000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
with av.open("phone.mkv") as container:
    rows = [[frame.to_ndarray(format="gray") for frame in container.decode(video=0)]]
counts = {"written": len(times), "PyAV": len(rows[0])}
counts["imageio, pyav"] = len(iio.imread("phone.mkv", plugin="pyav"))
rows.append(iio.imread("phone.mkv", plugin="FFMPEG"))
counts["imageio, FFMPEG"] = len(rows[1])
counts["OpenCV's CAP_PROP_FRAME_COUNT"] = int(cv2.VideoCapture("phone.mkv").get(cv2.CAP_PROP_FRAME_COUNT))
greys = np.full((2, max(map(len, rows))), 255.0)
for row, frames in enumerate(rows):
    greys[row, : len(frames)] = [frame.mean() for frame in frames]
draw(np.kron(np.dstack([greys] * 3), np.ones((40, 12, 1))), side=80)
print("imageio", version("imageio"), "av", av.__version__, "opencv", cv2.__version__)
print("frames:", counts)
by_ffmpeg, promised = counts["imageio, FFMPEG"], counts["OpenCV's CAP_PROP_FRAME_COUNT"]
assert counts["PyAV"] == counts["imageio, pyav"] == 20 and len({20, by_ffmpeg, promised}) == 3 and by_ffmpeg > 25, "they agree now"
print(f"Of 20 frames one plugin makes {by_ffmpeg}, and OpenCV promises {promised}.")
PYTHON
