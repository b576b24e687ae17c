"""Pictures of a report, small enough to stand inside of it (chapter 15_explain_a_video)."""

import io
from itertools import pairwise

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.special import expit

from xaifake.data.faces import decode_image, encode_jpeg
from xaifake.data.marks import COMPOSITE, ILLUSTRATION, LABELLED, SWAP, marked, xmp
from xaifake.heatmaps import COLOURS, colour_limit
from xaifake.judge.localisation import region_masks

SHOWN = 256  # pixels, of a map's side
STRENGTH = 0.75  # of the colour where a map is darkest
PLACES = {"width": 720, "height": 130, "left": 100, "right": 14, "top": 30, "row": 40}
CHART = {"width": 720, "height": 230, "left": 46, "right": 14, "top": 24, "bottom": 40}
_LINE = 15  # pixels, of a line of text in a picture


def heatmap_pictures(heatmaps, faces, sentences, source=(COMPOSITE, "")):
    """Lay maps over the faces, on one scale, with a sentence below that no crop of a page loses.

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
    faces : xaifake.data.dataset.Faces
        The N faces.
    sentences : sequence of str
        Lines of plain letters.
    source : tuple of str
        What they are to machines, see `xaifake.data.marks.xmp`.

    Returns
    -------
    list of bytes
        WebP files, `SHOWN` pixels wide: the face in grey, red where the map is positive, blue where
        it is negative; the darkest colour stands for the 99.5th percentile of the sizes in all of
        the maps. The regions of the face are outlined.
    """
    limit = colour_limit(heatmaps)
    regions = sum(k * mask for k, mask in enumerate(region_masks(faces).values()))
    files = []
    for heatmap, image, region in zip(heatmaps, faces.images, regions, strict=True):
        face = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (SHOWN, SHOWN))[..., None]
        values = _enlarged(np.clip(heatmap / limit, -1, 1).astype(np.float32))
        picture = tinted(face, values, STRENGTH)
        picture[_borders(_enlarged(region.astype(np.uint8)))] = 90
        file = io.BytesIO()
        captioned(Image.fromarray(picture), sentences).save(
            file, "WEBP", quality=80, method=4, xmp=xmp(*source)
        )
        files.append(file.getvalue())
    return files


def tinted(picture: np.ndarray, values: np.ndarray, strength: float) -> np.ndarray:
    """Lay the colours of a map, float (H, W) from -1 to 1, over a picture: uint8 (H, W, 3).

    `strength` is the share of the colour where the map is -1 or 1; where it is 0 there is none.
    """
    share = (strength * np.abs(values))[..., None]
    colours = 255 * matplotlib.colormaps[COLOURS]((values + 1) / 2)[..., :3]
    return np.rint(picture * (1 - share) + colours * share).astype(np.uint8)


def _enlarged(values):
    return cv2.resize(values, (SHOWN, SHOWN), interpolation=cv2.INTER_NEAREST)


def captioned(picture, lines):
    """Return a picture of Pillow's with lines of white text on black below it."""
    below = Image.new("RGB", (picture.width, picture.height + _LINE * len(lines) + 4))
    below.paste(picture)
    font = ImageFont.load_default(_LINE - 3)
    for k, line in enumerate(lines):
        place = 4, picture.height + _LINE * k + 1
        ImageDraw.Draw(below).text(place, line, "white", font)
    return below


def _borders(regions):
    borders = np.zeros(regions.shape, bool)
    borders[1:] |= regions[1:] != regions[:-1]
    borders[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    return borders


def marked_jpeg(portrait, manipulated):
    """Return a face of the book's clips as JPEG, marked for machines, and if swapped for people."""
    if not manipulated:
        return marked(portrait, SWAP, LABELLED[0])
    image = Image.fromarray(decode_image(portrait))
    return marked(encode_jpeg(np.asarray(captioned(image, [ILLUSTRATION]))), SWAP, ILLUSTRATION)


def place_chart(logit, reference):
    """Return where a logit lies among those of the test clips, as places in a drawing.

    Parameters
    ----------
    logit : float
        Of `xaifake.video.reference.log_odds`; finite.
    reference : xaifake.video.reference.Reference

    Returns
    -------
    dict
        ``rows`` of genuine and of manipulated clips (name, drawn path, clips, how many have a lower
        logit), ``zones`` of the words (word, left, width), ``here`` and the sizes of `PLACES`.
    """
    logits, labels = np.asarray(reference.logits, np.float64), reference.labels
    ends = logits.min() - 0.5, logits.max() + 0.5
    wide = PLACES["width"] - PLACES["left"] - PLACES["right"]

    def along(values):
        return PLACES["left"] + (np.clip(values, *ends) - ends[0]) / (ends[1] - ends[0]) * wide

    limits = reference.evidence.limits
    starts = [along(ends[0]), along(limits["weak"]), along(limits["moderate"]), along(ends[1])]
    rows = []
    for k, name in enumerate(("genuine", "manipulated")):
        own, top = logits[labels == k], PLACES["top"] + k * PLACES["row"]
        path = "".join(f"M{x:.1f},{top}v{PLACES['row'] - 12}" for x in np.sort(along(own)))
        rows.append((name, path, len(own), int((own < logit).sum())))
    zones = [
        (word, round(float(start), 1), round(float(max(end - start, 0)), 1))
        for word, (start, end) in zip(("none", "weak", "moderate"), pairwise(starts), strict=True)
    ]
    return {**PLACES, "rows": rows, "zones": zones, "here": round(float(along(logit)), 1)}


def score_chart(prediction, footage):
    """Return the score over time as places in a drawing; None for one frame, or without answers.

    Parameters
    ----------
    prediction : xaifake.video.report.Prediction
    footage : xaifake.data.media.Media

    Returns
    -------
    dict or None
        ``points`` (x, y), ``lines`` (strings of places that belong together: where a frame without
        the person lies between, the line is broken), ``decided`` (x, y and rank), ``ticks`` (x and
        text) and the sizes of `CHART`.
    """
    detections = prediction.person.detections
    if len(detections) < 2 or not np.isfinite(prediction.logits).all():
        return None
    along = np.array([_moment(footage, s.number) for s in detections])
    length = max(_moment(footage, len(footage) - 1), 1e-9)
    wide = CHART["width"] - CHART["left"] - CHART["right"]
    x = CHART["left"] + along / length * wide
    inner = CHART["height"] - CHART["top"] - CHART["bottom"]
    y = CHART["top"] + (1 - expit(np.asarray(prediction.logits, np.float64))) * inner
    points = [(round(float(a), 1), round(float(b), 1)) for a, b in zip(x, y, strict=True)]
    shares = (0, 0.25, 0.5, 0.75, 1)
    return {
        **CHART,
        "points": points,
        "lines": [" ".join(f"{a},{b}" for a, b in part) for part in _unbroken(points, along)],
        "decided": [(*points[k], rank) for rank, k in enumerate(prediction.deciding, start=1)],
        "ticks": [(round(CHART["left"] + share * wide, 1), share * length) for share in shares],
    }


def _moment(footage, number):
    seconds = footage.seconds(number)
    return float(number) if seconds is None else seconds


def _unbroken(points, along):
    """Split points where the step is more than half longer than the usual one."""
    steps = np.diff(along)
    usual = np.median(steps)
    breaks = np.flatnonzero(steps > 1.5 * usual) + 1
    return [part for part in np.split(np.array(points), breaks) if len(part) > 1]
