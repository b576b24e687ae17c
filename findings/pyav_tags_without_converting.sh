#!/usr/bin/env bash
# A video that PyAV tags as BT.709 still has the colours of BT.601
# Harms: picture
# Call: options={"x264-params": "colormatrix=bt709:..."} and VideoFrame.from_ndarray(rgb, format="rgb24")
# Expected: a colour that one library writes and reads with the right tags comes back unchanged.
# Effect: skin becomes lighter and yellower in all clips that you make yourself, but not in those from elsewhere. This is a cue for a detector.
# Instead: call frame.reformat(format="yuv420p", dst_colorspace="ITU709") before encoding, or use no tags and small pictures.
# xaifake: no, it writes no tags: tests/data/test_decoding.py::test_untagged_hd_is_taken_for_bt709_as_players_do
# Picture: Two patches of the colour of skin; the right one is yellower.
# Caption: The colour as written (left), and as read from the tagged video (right).
source "$(dirname "$0")/environment.bash" av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
python - <<'PYTHON'
import av
import cv2
import numpy as np

TAGS = "colormatrix=bt709:colorprim=bt709:transfer=bt709"
color = np.array([200, 120, 100])


def written_and_read(tags, reformat):
    with av.open("x.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5", "x264-params": tags})
        stream.width, stream.height = 1280, 720
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((720, 1280, 3), color, np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", **reformat)))
        container.mux(stream.encode())
    with av.open("x.mp4") as container:
        return list(container.decode(video=0))[1].to_ndarray(format="rgb24")[20, 20].astype(int)


found = {
    "untagged": written_and_read("", {}),
    "tagged": written_and_read(TAGS, {}),
    "tagged and converted": written_and_read(TAGS, {"dst_colorspace": "ITU709"}),
}
print("av", av.__version__)
print("the colour", color.tolist(), "comes back as", {n: c.tolist() for n, c in found.items()})
cv2.imwrite("picture.png", np.kron(np.array([[color[::-1], found["tagged"][::-1]]]), np.ones((96, 144, 1))).astype(np.uint8))
away = {name: np.abs(c - color).max() for name, c in found.items()}
assert away["tagged"] > 4 and away["untagged"] <= 3 and away["tagged and converted"] <= 3, "tags convert now"
print(f"With the tag alone a colour moves by {away['tagged']} levels.")
PYTHON
