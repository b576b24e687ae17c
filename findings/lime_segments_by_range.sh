#!/usr/bin/env bash
# lime cuts a float picture from 0 to 255 into far more segments than the same picture from 0 to 1
# Harms: map
# Call: LimeImageExplainer().explain_instance(picture, ...), the default segmentation, for one picture in three ranges
# Expected: the segmentation scales the picture, or the results differ by a few segments.
# Effect: the size and number of the regions, and hence the map, depend on how the network's input happens to be scaled.
# Instead: segment the uint8 picture and pass the labels: segmentation_fn=lambda _: labels.
# xaifake: no, tests/explainers/test_lime.py::test_segments_are_counted_from_0_and_do_not_depend_on_the_range
# Picture: A photograph with the borders of 6 segments on the left and of 34 on the right.
# Caption: The segments of one picture from 0 to 1 (left) and from 0 to 255 in floats (right).
source "$(dirname "$0")/environment.bash" lime==0.2.0.1 scikit-image==0.26.0 numpy==2.4.6 scikit-learn==1.8.0
python - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from lime.wrappers.scikit_image import SegmentationAlgorithm
from skimage.data import astronaut
from skimage.io import imsave
from skimage.segmentation import mark_boundaries
from skimage.transform import resize

picture = resize(astronaut()[:256, 128:384], (64, 64))  # floats from 0 to 1
cut = SegmentationAlgorithm("quickshift", kernel_size=4, max_dist=200, ratio=0.2)  # lime's own default
counts = {
    "0 to 1": cut(picture).max() + 1,
    "-1 to 1": cut(2 * picture - 1).max() + 1,
    "0 to 255, floats": cut(255 * picture).max() + 1,
    "0 to 255, uint8": cut((255 * picture).astype("uint8")).max() + 1,
}
pair = [mark_boundaries(picture, cut(scale * picture), (1, 1, 0)) for scale in (1, 255)]
imsave("picture.png", (255 * np.kron(np.hstack(pair), np.ones((3, 3, 1)))).astype(np.uint8), check_contrast=False)
print("lime", version("lime"), "scikit-image", version("scikit-image"))
print("segments of one picture:", {n: int(c) for n, c in counts.items()})
assert counts["0 to 255, floats"] > 3 * counts["0 to 1"] and counts["0 to 255, uint8"] == counts["0 to 1"], "the range does not matter now"
print(f"One picture has {counts['0 to 1']} segments from 0 to 1 and {counts['0 to 255, floats']} from 0 to 255 in floats.")
PYTHON
