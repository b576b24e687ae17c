#!/usr/bin/env bash
# Matplotlib draws a noisy heatmap paler the smaller the figure is, but a smooth one unchanged
# Harms: page
# Call: plt.imshow(heatmap, cmap="seismic", vmin=-3, vmax=3) of 512 x 512 values, in a figure with fewer pixels
# Guess: the colours of a map change by no more than 20 % with the size of the figure; at most thin lines vanish.
# Effect: red and blue neighbours become a pale violet that the colour scale does not contain. Next to a smooth Grad-CAM a gradient's map looks weak, and the more maps are in a row, the weaker it looks.
# Instead: use imshow(..., interpolation="nearest"), or one pixel of the figure per pixel of the map.
# xaifake: no, tests/test_known_traps.py::test_a_noisy_map_keeps_its_colours_in_a_small_figure
# Picture: Two squares of noise in red and blue, the left one in full colours, the right one pale violet.
# Caption: A corner of one map, drawn with 512 pixels (left) and with 128 (right).
source "$(dirname "$0")/environment.bash" matplotlib==3.11.2 numpy==2.4.6
MPLBACKEND=agg python - <<'PYTHON'
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from draw import draw

x = np.linspace(0, 2 * np.pi, 512)
maps = {"noisy": np.random.default_rng(0).normal(size=(512, 512)), "smooth": 2 * np.outer(np.sin(x), np.sin(x))}


def drawn(heatmap, pixels, **how):
    figure = plt.figure(figsize=(1, 1), dpi=pixels)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(heatmap, cmap="seismic", vmin=-3, vmax=3, **how)
    axis.axis("off")
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[..., :3]


def kept(heatmap, pixels, **how):
    colour, full = (np.ptp(drawn(heatmap, p, **how), axis=-1).mean() for p in (pixels, 512))
    return round(float(colour / full), 2)


found = {name: {pixels: kept(heatmap, pixels) for pixels in (400, 256, 128)} for name, heatmap in maps.items()}
draw(*(drawn(maps["noisy"], pixels)[:64, :64] for pixels in (512, 128)), side=128)
print("matplotlib", matplotlib.__version__)
for name, shares in found.items():
    print(f"{name} map of 512 x 512, colour kept by the figure's pixels: {shares}")
nearest = kept(maps["noisy"], 128, interpolation="nearest")
print("noisy, interpolation='nearest', 128 pixels:", nearest)
assert found["noisy"][128] < 0.7 and found["smooth"][128] > 0.98 and nearest > 0.95, "colours are kept now"
print(f"In a figure of 128 pixels the noisy map has {found['noisy'][128]:.0%} of its colour, the smooth one {found['smooth'][128]:.0%}.")
PYTHON
