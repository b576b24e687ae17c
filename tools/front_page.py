"""Draw the picture of the book's first page, into `book/images/front.png`.

    python tools/front_page.py

The fake is that of the page about the institute's notebooks: of the whole-face fakes that the
detector finds, the one with the median logit. Beside it is where three methods see the reason.
"""

import chapters
import xaifake
from authors_page import median_fake
from xaifake.data import load_faces
from xaifake.data.marks import SWAP, marked
from xaifake.detector import Detector
from xaifake.scales import SCALE
from xaifake.show.maps import heatmaps, show_gallery

PICTURE = chapters.ROOT / "book" / "images" / "front.png"
METHODS = ("input_t_gradient", "lrp.sequential_preset_b_flat", "guided_backprop")


def draw():
    """Return the figure."""
    detector = Detector.pretrained(SCALE)
    face, _ = median_fake(detector, load_faces(scale=SCALE))
    maps = {name: heatmaps(xaifake.explain(detector, face.images, name))[0] for name in METHODS}
    return show_gallery(face.images[0], maps, face.masks[0], columns=4, width=2.0)


if __name__ == "__main__":
    draw().savefig(PICTURE, dpi=150)
    PICTURE.write_bytes(marked(PICTURE.read_bytes(), SWAP))
    print(PICTURE)
