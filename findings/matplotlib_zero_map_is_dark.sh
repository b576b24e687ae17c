#!/usr/bin/env bash
# Matplotlib draws a heatmap of zeros in the strongest negative colour
# Harms: page
# Call: plt.imshow(np.zeros((8, 8)), cmap="seismic"), also with CenteredNorm()
# Expected: white, the colour of zero.
# Effect: a picture about which a method says nothing seems to be full of evidence against.
# Instead: set vmin=-limit and vmax=limit, with a limit above 0.
# xaifake: no, tests/test_known_traps.py::test_a_map_of_zeros_is_drawn_white
# Picture: A dark blue square and a white one.
# Caption: A map of zeros by imshow without limits (left), and with limits from -1 to 1 (right).
source "$(dirname "$0")/environment.bash" matplotlib==3.11.2 numpy==2.4.6
MPLBACKEND=agg python - <<'PYTHON'
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import CenteredNorm

found = {}
for name, how in (("seismic", {}), ("seismic, CenteredNorm", {"norm": CenteredNorm()}), ("jet", {"cmap": "jet"}), ("seismic, -1 to 1", {"vmin": -1, "vmax": 1})):
    image = plt.figure().subplots().imshow(np.zeros((8, 8)), **{"cmap": "seismic", **how})
    found[name] = [round(float(c), 2) for c in image.cmap(image.norm(image.get_array()))[0, 0, :3]]
figure, axes = plt.subplots(1, 2, figsize=(3, 1.5), layout="constrained")
for axis, how in zip(axes, ({}, {"vmin": -1, "vmax": 1})):
    axis.imshow(np.zeros((8, 8)), cmap="seismic", **how)
    axis.set(xticks=[], yticks=[])
figure.savefig("picture.png", dpi=80)
print("matplotlib", matplotlib.__version__)
print("red, green and blue of a zero:", found)
assert found["seismic"] == found["seismic, CenteredNorm"] == [0, 0, 0.3] and found["jet"] == [0, 0, 0.5] and min(found["seismic, -1 to 1"]) > 0.98, "zero is white now"
print("A map of zeros is dark blue in 'seismic', also with CenteredNorm, and white from -1 to 1.")
PYTHON
