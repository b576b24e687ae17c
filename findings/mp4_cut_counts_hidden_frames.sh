#!/usr/bin/env bash
# A cut MP4 counts frames that it does not show, and as MKV it begins with them
# Harms: data
# Call: ffmpeg -ss 1 -i long.mp4 -c copy cut.mp4, and the same into cut.mkv; then the number of frames
# Expected: the file says how many frames it shows, and both files have the same first frame.
# Effect: frames drawn evenly over this count miss the end, and masks are a second off from their frames.
# Instead: count frames by decoding. If frames have to match, also cut by decoding and encoding.
# xaifake: no, tests/data/test_decoding.py::test_a_trimmed_file_shows_what_its_edit_list_shows
source "$(dirname "$0")/environment.bash" av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93 imageio==2.37.0 imageio-ffmpeg==0.6.0
python - 2>errors.txt <<'PYTHON'
import subprocess

import av
import cv2
import imageio_ffmpeg
import numpy as np

with av.open("long.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"g": "50"})
    stream.width = stream.height = 64
    for number in range(100):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 2 * number, np.uint8), format="rgb24")))
    container.mux(stream.encode())
print("av", av.__version__, "opencv", cv2.__version__, "ffmpeg", imageio_ffmpeg.get_ffmpeg_version())
found = {}
for name in ("cut.mp4", "cut.mkv"):
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-ss", "1", "-i", "long.mp4", "-c", "copy", name], check=True)
    with av.open(name) as container:
        said, frames = container.streams.video[0].frames, list(container.decode(video=0))
    first = round(frames[0].to_ndarray(format="rgb24").mean() / 2)
    found[name] = said, int(cv2.VideoCapture(name).get(cv2.CAP_PROP_FRAME_COUNT)), len(frames), first
    print(f"{name}: stream.frames {said}, CAP_PROP_FRAME_COUNT {found[name][1]}, decoded {len(frames)}, the first is frame {first} of the long one")
assert found["cut.mp4"] == (100, 100, 75, 25) and found["cut.mkv"][1:] == (100, 100, 0), "they agree now"
print("The cut MP4 says 100 frames and shows 75, from frame 25; the cut MKV shows 100, from frame 0.")
PYTHON
