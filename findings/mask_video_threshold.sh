#!/usr/bin/env bash
# A mask compressed with H.264 is an eighth larger if every value above 0 counts
# Harms: score
# Call: frame > 0 on the frames of a video of black and white masks, as FaceForensics++ has them
# Guess: the area grows by less than 5 %.
# Effect: ringing around the edge counts as manipulated. The chance level and the scores of localisation rise because of the compression, not because of the map.
# Instead: use frame > 127.
# xaifake: no, tests/data/test_extraction.py::test_a_mask_marks_its_pixels_exactly
# Picture: A white ellipse with a red fringe of small blocks.
# Caption: The mask is white. Red marks what also counts as mask after the compression if every value above 0 does.
source "$(dirname "$0")/environment.bash" av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
python - <<'PYTHON'
import av
import cv2
import numpy as np

y, x = np.mgrid[:256, :256] - 127.5
mask = ((y / 70) ** 2 + (x / 50) ** 2 < 1).astype(np.uint8)
with av.open("mask.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"crf": "23"})
    stream.width = stream.height = 256
    for _ in range(5):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.dstack([255 * mask] * 3), format="rgb24")))
    container.mux(stream.encode())
with av.open("mask.mp4") as container:
    read = list(container.decode(video=0))[2].to_ndarray(format="rgb24")[..., 0]
marked = np.dstack([255 * mask] * 3)
marked[(read > 0) & (mask == 0)] = (0, 0, 255)
cv2.imwrite("picture.png", marked)
shares = {limit: float((read > limit).sum() / mask.sum()) for limit in (0, 1, 10, 127)}
print("av", av.__version__)
print("area over that of the mask, by threshold:", {n: round(s, 3) for n, s in shares.items()})
assert abs(shares[0] - 1.125) < 0.02 and abs(shares[127] - 1) < 0.01, "the area is kept now"
print(f"Counted above 0 the mask has {shares[0]:.0%} of its area, above 127 {shares[127]:.0%}.")
PYTHON
