#!/usr/bin/env bash
# scipy.ndimage.zoom moves the cells of a coarse map outwards; OpenCV does not
# Harms: map
# Call: zoom(cam, 32, order=1) of a Grad-CAM of 4 x 4 cells for a picture of 128 x 128
# Guess: the middle of a cell ends up within 1 pixel of the middle of its 32 x 32 pixels.
# Effect: the map is shifted towards the border, most strongly at the edge of the face. The pointing game and the mass in a mask change.
# Instead: use zoom(..., grid_mode=True, mode="nearest"), cv2.resize or tf.image.resize. In PyTorch, set align_corners=False.
# xaifake: no, tests/explainers/test_gradients.py::test_grad_cam_enlarges_the_coarse_map_by_bilinear_interpolation
# Picture: A bright spot near the upper edge on the left, and one at the edge on the right.
# Caption: A cell of the first row enlarged by cv2.resize (left) and by zoom (right).
source "$(dirname "$0")/environment.bash" scipy==1.17.1 numpy==2.4.6 opencv-python-headless==5.0.0.93
python - <<'PYTHON'
import cv2
import numpy as np
import scipy
from scipy.ndimage import zoom


def peaks(enlarge):
    found = []
    for row in range(4):
        cam = np.zeros((4, 4))
        cam[row] = 1
        large = enlarge(cam)[:, 64]
        found.append(float(np.flatnonzero(large > large.max() - 1e-9).mean()))
    return found


ways = {
    "cv2.resize": lambda cam: cv2.resize(cam, (128, 128)),
    "zoom": lambda cam: zoom(cam, 32, order=1),
    "zoom, grid_mode": lambda cam: zoom(cam, 32, order=1, grid_mode=True, mode="nearest"),
}
found = {name: peaks(enlarge) for name, enlarge in ways.items()}
one = np.zeros((4, 4))
one[0, 1] = 255
pair = [ways[name](one) for name in ("cv2.resize", "zoom")]
cv2.imwrite("picture.png", np.hstack([pair[0], np.full((128, 8), 255), pair[1]]).astype(np.uint8))
print("scipy", scipy.__version__, "opencv", cv2.__version__)
for name, rows in found.items():
    print(f"{name}: a row of cells about pixel 15.5, 47.5, 79.5, 111.5 has its peak at", rows)
moved = max(abs(a - b) for a, b in zip(found["zoom"], found["cv2.resize"]))
assert found["zoom"][0] == 0 and found["zoom"][3] == 127 and moved > 5 and found["zoom, grid_mode"] == found["cv2.resize"], "zoom keeps places now"
print(f"The peak is up to {moved:.1f} of 128 pixels further out than by cv2.resize.")
PYTHON
