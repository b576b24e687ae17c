"""Draw the picture of the book's first page, into `book/images/front.png`.

    python tools/front_page.py

A fake that the larger scale's detector finds, and where three methods see the reason. The fake is
that of a whole face with the median logit among those found, of the first frames of the clips that
come with the package.
"""

import numpy as np

import chapters
import xaifake
from xaifake.data import load_faces
from xaifake.data.marks import SWAP, marked
from xaifake.detector import Detector
from xaifake.scales import SCALES
from xaifake.show.maps import heatmaps, show_gallery

PICTURE = chapters.ROOT / "book" / "images" / "front.png"
METHODS = ("input_t_gradient", "lrp.sequential_preset_b_flat", "guided_backprop")


def median_find(detector, faces):
    """Return the found fake of a whole face with the median logit, one of `Faces`."""
    first = (faces.table.region == "whole") & ~faces.table.duplicated("video")
    rows = np.flatnonzero(first & (faces.labels == 1))
    logits = detector.logits(faces.images[rows])
    rows, logits = rows[logits > 0], logits[logits > 0]
    return faces[int(rows[np.argsort(logits)[len(rows) // 2]])]


def draw():
    """Return the figure."""
    detector = Detector.pretrained(SCALES[-1])
    face = median_find(detector, load_faces(scale=SCALES[-1]))
    maps = {name: heatmaps(xaifake.explain(detector, face.images, name))[0] for name in METHODS}
    return show_gallery(face.images[0], maps, face.masks[0], columns=4, width=2.0)


if __name__ == "__main__":
    draw().savefig(PICTURE, dpi=150)
    PICTURE.write_bytes(marked(PICTURE.read_bytes(), SWAP))
    print(PICTURE)
