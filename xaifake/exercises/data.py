"""Checkers of part "The data" (exercises of chapters 01_dataset and 02_face_extraction)."""

import numpy as np

from xaifake.exercises import call, expect


def check_blend(blend):
    """Try ``blend(target, source, alpha)``, which puts a source into a target by a soft mask.

    It takes float (H, W, 3), float (H, W, 3) and float (H, W); returns float (H, W, 3).
    """
    rng = np.random.default_rng(0)
    target, source = rng.uniform(0, 255, (2, 4, 6, 3))
    alpha = rng.uniform(0, 1, (4, 6))
    for mask, given in ((np.zeros((4, 6)), "alpha = 0 everywhere"), (alpha, "a soft alpha")):
        soft = mask[..., None]
        found = call(blend, target, source, mask, shape=target.shape)
        mistakes = [
            (soft * target + (1 - soft) * source, "target and source have changed places"),
            (target + soft * source, "the target keeps its full weight: where is 1 - alpha?"),
            (np.where(soft > 0.5, source, target), "alpha is used as a hard mask: keep its steps"),
        ]
        expect(found, (1 - soft) * target + soft * source, mistakes, given=given)
    print("Right: the target shows where alpha is 0, the source where it is 1.")


def check_square(square_around):
    """Try ``square_around(box, nose, scale)``, the square that is cut out around a face.

    It takes (left, top, right, bottom), (x, y) and a factor; returns (x, y, side), the upper left
    corner and the side, as numbers that need not be whole.
    """
    for box, nose, scale in (
        ((100, 80, 200, 180), (150, 140), 1.3),
        ((100, 80, 180, 200), (150, 140), 2.0),
    ):
        left, top, right, bottom = box
        wide, high = right - left, bottom - top
        given = f"box {box}, nose {nose}, scale {scale}"
        found = call(square_around, box, nose, scale, shape=(3,))
        side = scale * max(wide, high)
        centre = (left + right) / 2, (top + bottom) / 2
        mistakes = [
            (_square(nose, scale * min(wide, high)), "take the larger side of the box"),
            (_square(centre, side), "the square is centred on the box; centre it on the nose"),
            ((*nose, side), "that is the nose, not the corner: half a side is missing"),
            (_square(nose[::-1], side), "x and y have changed places"),
            (_square(nose, max(wide, high)), "the side is not scaled"),
        ]
        expect(found, _square(nose, side), mistakes, given=given)
    print("Right: centred on the nose, with the larger side of the box times the scale.")


def _square(centre, side):
    return centre[0] - side / 2, centre[1] - side / 2, side
