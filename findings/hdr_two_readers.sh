#!/usr/bin/env bash
# PyAV and OpenCV show the same HDR video in different brightness
# Harms: picture
# Call: frame.to_ndarray(format="rgb24") and cv2.VideoCapture(path).read() on a video with the transfer function PQ
# Expected: the same pixels, since both use FFmpeg's libraries.
# Effect: phones film in HDR, so the network sees a different face depending on the reader. With one of the readers, light skin is white.
# Instead: check frame.color_trc (16 is PQ, 18 HLG), and map the tones yourself or refuse the video.
# xaifake: no, tests/data/test_decoding.py::test_hdr_is_tone_mapped_and_it_is_said
# Picture: Three greys in two rows; in the lower row the first is darker and the others are lighter, the last white.
# Caption: Three greys of one HDR video, by PyAV (upper row) and by OpenCV (lower row).
source "$(dirname "$0")/environment.bash" av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
python - <<'PYTHON'
import av
import cv2
import numpy as np

tags = "transfer=smpte2084:colorprim=bt2020:colormatrix=bt2020nc"
levels, found = (60, 128, 200), {}
for level in levels:
    with av.open("hdr.mkv", "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5", "x264-params": tags})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="rgb24")))
        container.mux(stream.encode())
    with av.open("hdr.mkv") as container:
        frame = next(container.decode(video=0))
    by_av = frame.to_ndarray(format="rgb24")[20, 20]
    found[level] = int(by_av[1]), int(cv2.VideoCapture("hdr.mkv").read()[1][20, 20, 1])
print("av", av.__version__, "opencv", cv2.__version__)
print("frame.color_trc:", int(frame.color_trc))
print("grey of the signal: by PyAV, by OpenCV:", found)
away = max(abs(a - b) for a, b in found.values())
cv2.imwrite("picture.png", np.kron(np.array(list(found.values())).T, np.ones((64, 96))).astype(np.uint8))
(av_dark, cv_dark), _, (av_light, cv_light) = found.values()
assert int(frame.color_trc) == 16 and away > 20 and cv_dark < av_dark and av_light < 210 and cv_light == 255, "they agree now"
print(f"One frame differs by up to {away} levels.")
PYTHON
