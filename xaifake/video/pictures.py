"""Pictures of a report, small enough to stand inside of it (chapter 12_explain_a_video)."""

import io

import cv2
import matplotlib
import numpy as np
from PIL import Image
from scipy.special import expit

from xaifake.data.faces import decode_image, encode_jpeg
from xaifake.heatmaps import colour_limit
from xaifake.judge.localisation import region_masks
from xaifake.show.maps import COLOURS

MARK = "manipulated research illustration"
CHART = {"width": 720, "height": 230, "left": 46, "right": 14, "top": 24, "bottom": 40}
_OUTLINE = 255  # the place of the outline's colour in the palette


def heatmap_png(heatmaps, faces):
    """Draw maps on one scale, with the outlines of the face's regions.

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
    faces : xaifake.data.dataset.Faces
        The N faces.

    Returns
    -------
    list of bytes
        PNG files with a palette: red for positive, blue for negative, white for 0; the darkest
        colour stands for the 99.5th percentile of the sizes in all of the maps.
    """
    limit = colour_limit(heatmaps)
    indices = np.rint((np.clip(heatmaps / limit, -1, 1) + 1) / 2 * (_OUTLINE - 1)).astype(np.uint8)
    regions = sum(k * mask for k, mask in enumerate(region_masks(faces).values()))
    files = []
    for picture, region in zip(indices, regions, strict=True):
        picture[_borders(region)] = _OUTLINE
        image = Image.fromarray(picture)
        image.putpalette(_palette())
        file = io.BytesIO()
        image.save(file, format="PNG", optimize=True)
        files.append(file.getvalue())
    return files


def _borders(regions):
    borders = np.zeros(regions.shape, bool)
    borders[1:] |= regions[1:] != regions[:-1]
    borders[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    return borders


def _palette():
    colours = matplotlib.colormaps[COLOURS](np.linspace(0, 1, _OUTLINE))[:, :3]
    return (*np.rint(colours * 255).astype(int).ravel().tolist(), 90, 90, 90)


def marked_jpeg(portrait, manipulated):
    """Return a face as JPEG, with the mark of a manipulated picture written into it."""
    if not manipulated:
        return portrait
    image = decode_image(portrait).copy()
    height, width = image.shape[:2]
    image[-16:] = image[-16:] // 3
    font = cv2.FONT_HERSHEY_SIMPLEX
    (wide, _), _ = cv2.getTextSize(MARK, font, 1.0, 1)
    white = (255, 255, 255)
    cv2.putText(image, MARK, (3, height - 5), font, (width - 6) / wide, white, 1, cv2.LINE_AA)
    return encode_jpeg(image)


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
