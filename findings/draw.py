"""Copied by environment.bash to where a script runs, which draws its picture with it."""

import numpy as np
from PIL import Image


def draw(*tiles, side=160):
    """Write picture.png, tiles side by side, enlarged to the height `side` without smoothing.

    A tile is a heatmap, (height, width), or colours from 0 to 255, (height, width, 3). The largest
    size of a heatmap is drawn in full red if it is positive, blue if negative; 0 is white.
    """
    parts = []
    for tile in map(np.asarray, tiles):
        part = colours(tile) if tile.ndim == 2 else tile
        part = np.kron(part, np.ones((side // len(part), side // len(part), 1)))
        parts += [part, np.full((len(part), 8, 3), 128)]
    Image.fromarray(np.hstack(parts[:-1]).round().astype(np.uint8)).save("picture.png")


def colours(heatmap):
    """Return a heatmap in red, white and blue."""
    share = heatmap / (np.abs(heatmap).max() or 1)
    return 255 * np.stack([1 - (-share).clip(0), 1 - np.abs(share), 1 - share.clip(0)], -1)
