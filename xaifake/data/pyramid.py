"""dlib's search for faces, around one place only (chapter 02_face_extraction).

dlib slides a window over ever smaller copies of a frame and keeps the best of windows that overlap.
Where a face was a moment ago only a few copies matter, and of them only a part. For the same
answer the pixels of the parts are computed as dlib computes them, and the windows begin where they
begin in the whole frame: one that begins elsewhere has another score, and the next copy's may win.
"""

import math
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.sparse import csr_array

SCALE = 6 / 5  # of a copy's side to the next one's
_STEP = 8  # pixels of a copy from one window to the next
BOX = 72  # side of the box that a window stands for
_MARGIN = 0.35  # of the face's side: how far it may have moved
_CONTEXT = 24  # pixels around a window that its score depends on, or more
_SHIFT = 0.3  # dlib's coordinates in a copy are 6/5 of those in the next, and this
# How dlib writes "1000 copies, down to 64 x 64", and how "1 copy".
_MANY_COPIES, _ONE_COPY = bytes([2, 0xE8, 3, 1, 64, 1, 64]), bytes([1, 1, 1, 64, 1, 64])


def one_copy_detector(detector):
    """Return a dlib detector for a picture's own size only; None if dlib writes others now."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "detector.svm")
        detector.save(str(path))
        written = path.read_bytes()
        if written.count(_MANY_COPIES) != 1:
            return None
        path.write_bytes(written.replace(_MANY_COPIES, _ONE_COPY))
        return type(detector)(str(path))


def boxes_near(detector, frame, box):
    """Return the boxes of faces near a box, as the detector of all copies gives them.

    The copy in which a face of this size fills a window is searched, and the next on both sides;
    one more where the best score lies in the last. ``detector`` is of `one_copy_detector`. Boxes
    are ``(left, top, right, bottom)``, given with the first pixels outside and returned as dlib
    has them, with the last ones inside; the best first.
    """
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    level = max(0, round(math.log(side / BOX, SCALE)))
    low, high = max(0, level - 1), level + 1
    margin = _MARGIN * side
    region = left - margin, top - margin, right + margin, bottom + margin
    copies = _copies(frame, region, max(0, low - 1), high + 1)
    search = partial(_hits, detector, copies)
    hits = [hit for number in range(low, high + 1) for hit in search(number)]
    best = max(hits)[1] if hits else None
    if best is not None and (best == high or 0 < best == low):
        hits += search(high + 1 if best == high else low - 1)
    return _apart([box for _, _, box in sorted(hits, reverse=True)])


def _copies(frame, region, low, high):
    """Return by number the parts of copies that a region needs: pixels, first row and column."""
    sizes = [frame.shape[:2]]
    for _ in range(high):
        sizes.append((5 * sizes[-1][0] // 6, 5 * sizes[-1][1] // 6))
    rows, columns = (
        _spans([size[axis] for size in sizes], region[1 - axis], region[3 - axis], low)
        for axis in (0, 1)
    )
    part = frame[slice(*rows[0]), slice(*columns[0])].astype(np.float32)
    copies = {}
    for number in range(high + 1):
        for axis, spans in enumerate((rows, columns) if number else ()):
            lengths = sizes[number - 1][axis], sizes[number][axis]
            part = cv2.transpose(_reduce(part, *lengths, spans[number - 1], spans[number]))
        np.trunc(part, out=part)  # dlib keeps whole numbers, cut off
        if number >= low:
            copies[number] = part.astype(np.uint8), rows[number][0], columns[number][0]
    return copies


def _spans(lengths, start, end, low):
    """Return which rows (or columns) of each copy are needed, as (first, last + 1)."""
    spans = []
    for number in reversed(range(len(lengths))):
        first, last = lengths[number], 0
        if number >= low:
            first, last = start / SCALE**number - _CONTEXT, end / SCALE**number + _CONTEXT
        if spans:
            ratio = (lengths[number] - 1) / (lengths[number + 1] - 1)
            first = min(first, spans[-1][0] * ratio)
            last = max(last, (spans[-1][1] - 1) * ratio + 2)
        spans.append((max(0, math.floor(first)), min(lengths[number], math.ceil(last))))
    return spans[::-1]


def _reduce(part, before, length, had, wanted):
    """Interpolate rows ``wanted`` of a copy from rows ``had`` of the one before it.

    Corners lie on corners: row 0 on row 0, and the last of ``length`` on the last of ``before``.
    """
    at = np.arange(*wanted) * ((before - 1) / (length - 1))
    low = np.minimum(at.astype(int), before - 2)
    weights = np.stack([low + 1 - at, at - low], axis=1).astype(np.float32)
    places = np.stack([low, low + 1], axis=1) - had[0]
    shape = len(at), len(part)
    mix = csr_array((weights.ravel(), places.ravel(), np.arange(len(at) + 1) * 2), shape)
    return (mix @ part.reshape(len(part), -1)).reshape(-1, *part.shape[1:])


def _hits(detector, copies, number):
    """Search one copy; return ``(score, number, box in the frame)`` of each hit."""
    part, y, x = copies[number]
    skip_y, skip_x = -y % _STEP, -x % _STEP
    boxes, scores, _ = detector.run(np.ascontiguousarray(part[skip_y:, skip_x:]), 0, 0.0)
    corner = np.array([x + skip_x, y + skip_y] * 2)
    scale = SCALE**number
    shift = _SHIFT * (scale - 1) / (SCALE - 1)  # the sum over the copies
    hits = []
    for box, score in zip(boxes, scores):
        edges = np.array([box.left(), box.top(), box.right(), box.bottom()]) + corner
        hits.append((score, number, tuple(np.floor(edges * scale + shift + 0.5).astype(int))))
    return hits


def _apart(boxes):
    """Drop the boxes whose middle lies in one before them."""
    kept = []
    for box in boxes:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if not any(b[0] <= x <= b[2] and b[1] <= y <= b[3] for b in kept):
            kept.append(box)
    return kept
