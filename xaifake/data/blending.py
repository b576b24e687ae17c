"""Self-blended faces: fakes made from real portraits alone, with their masks (chapter 03_training).

Shiohara and Yamasaki (2022), 'Detecting Deepfakes with Self-Blended Images': a slightly changed
copy of a face is pasted onto the face itself. What gives it away is what gives a swap away, a seam
and two kinds of pixels in one picture, and nobody is shown as somebody else.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from xaifake.data.swaps import region_outline

KINDS = ("whole", "inner", "low", "eyes", "mouth", "centre")
_HULLS = {"whole": "full", "inner": "inner", "low": "low"}
_MASK_BOX = 64  # pixels of the face's box while a mask is drawn; its edges are soft anyway
_MARGIN = 0.3  # of the box, around the outline: room for warping, blurring and moving


@dataclass(frozen=True)
class Blend:
    """How a face is pasted onto itself. Lengths are shares of the face's box.

    Attributes
    ----------
    kind : str
        One of `KINDS`: the whole face with part of the forehead, the inner face, the face from
        the brows to the jaw line, eyes and brows, mouth and jaw, nose and mouth.
    warp : float
        How far the outline of the mask is bent.
    feather : float
        Standard deviation of the soft edge.
    opacity : float
        Of what is pasted, 0 to 1.
    changed : str
        ``"source"``: what is pasted is changed; ``"target"``: what it is pasted onto.
    gain, offset : tuple of float
        Factor and shift in grey levels of the three colours of what is changed.
    saturation : float
        Factor of its distance from grey.
    degraded_px : float
        Pixels of the face's box that it is reduced to and brought back from; 0 for not.
    sharpened : float
        Strength of an unsharp mask on it; 0 for none.
    angle, zoom, shift : float, float, tuple of float
        The source is turned (degrees), enlarged and moved by so much.
    resampling : int
        OpenCV's interpolation of that.
    """

    kind: str
    warp: float
    feather: float
    opacity: float
    changed: str
    gain: tuple
    offset: tuple
    saturation: float
    degraded_px: float
    sharpened: float
    angle: float
    zoom: float
    shift: tuple
    resampling: int


def draw_blend(rng, kinds=KINDS, easy=False):
    """Draw how a face is pasted onto itself.

    Four in ten are neither degraded nor sharpened, and the face around is changed as often as what
    is pasted, so that blur alone does not tell. The strength of the change of colour is drawn from
    none to clearly visible. In easy ones, to begin a training with, what is pasted is opaque,
    degraded, and clearly of another colour.

    Parameters
    ----------
    rng : numpy.random.Generator
    kinds : sequence of str
        Those of `KINDS` to choose from.
    easy : bool
        Draw an easy one.

    Returns
    -------
    Blend
    """
    strength, more = (1.0, 2) if easy else (rng.uniform(), 1)
    quality = rng.choice(["untouched", "degraded", "sharpened"], p=[0.4, 0.45, 0.15])
    degraded_px = float(np.exp(rng.uniform(np.log(36), np.log(60 if easy else 150))))
    opacity = float(rng.choice([0.5, 0.75, 1.0], p=[0.1, 0.3, 0.6]))
    changed = str(rng.choice(["source", "target"]))
    return Blend(
        kind=str(rng.choice(kinds)),
        warp=rng.uniform(0, 0.06),
        feather=float(np.exp(rng.uniform(np.log(0.01), np.log(0.06)))),
        opacity=1.0 if easy else opacity,
        changed="source" if easy else changed,
        gain=tuple(np.exp(strength * (rng.normal(0, 0.08) + rng.normal(0, 0.04 * more, 3)))),
        offset=tuple(strength * (rng.normal(0, 8) + rng.normal(0, 4 * more, 3))),
        saturation=float(np.exp(strength * rng.normal(0, 0.25))),
        degraded_px=degraded_px if easy or quality == "degraded" else 0.0,
        sharpened=rng.uniform(0.4, 1.5) if quality == "sharpened" and not easy else 0.0,
        angle=rng.uniform(-3, 3),
        zoom=rng.uniform(0.95, 1.05),
        shift=tuple(rng.uniform(-0.025, 0.025, 2)),
        resampling=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4])),
    )


def self_blend(picture, landmarks, box, blend, rng):
    """Paste a changed copy of a face onto the face.

    Parameters
    ----------
    picture : numpy.ndarray
        ``uint8 (H, W, 3)`` RGB.
    landmarks : numpy.ndarray
        ``float32 (68, 2)``, pixels ``(x, y)`` of the picture.
    box : float
        Side of the face's box in pixels.
    blend : Blend
    rng : numpy.random.Generator
        Of the bends of the mask's outline.

    Returns
    -------
    real, fake : numpy.ndarray
        ``uint8 (H, W, 3)``, equal where nothing is pasted. The real one is the picture, changed as
        a whole where ``blend.changed`` is ``"target"``.
    alpha : numpy.ndarray
        ``float32 (H, W)``, share of the pasted copy in each pixel of the fake.
    """
    points = _outline(landmarks, blend.kind)
    (left, top), (right, bottom) = _room(points, box, picture.shape)
    changed = _change(picture, box, blend)
    real, source = (picture, changed) if blend.changed == "source" else (changed, picture)
    part = np.s_[top:bottom, left:right]
    target = real[part]
    pasted = _move(source[part], landmarks[30] - (left, top), box, blend)
    alpha = np.zeros(picture.shape[:2], np.float32)
    alpha[part] = _soft_mask(points - (left, top), target.shape[:2], box, blend, rng)
    weight = cv2.merge([alpha[part]] * 3)
    mixed = cv2.add(
        cv2.multiply(pasted, weight, dtype=cv2.CV_32F),
        cv2.multiply(target, 1 - weight, dtype=cv2.CV_32F),
    )
    fake = real.copy()
    fake[part] = np.rint(mixed)
    return real, fake, alpha


def _outline(landmarks, kind):
    if kind in _HULLS:
        return region_outline(landmarks, "whole", _HULLS[kind])
    if kind == "mouth":
        lips = region_outline(landmarks, "mouth", "full")
        return np.vstack([lips, landmarks[4:13]])
    if kind == "centre":
        parts = [region_outline(landmarks, part, "full") for part in ("nose", "mouth")]
        return np.vstack(parts)
    return region_outline(landmarks, kind, "full")


def _room(points, box, shape):
    """Return the corners of the part of a picture that a blend can touch."""
    margin = _MARGIN * box
    first = np.floor(points.min(0) - margin).astype(int).clip(0)
    last = np.ceil(points.max(0) + margin).astype(int)
    return first, np.minimum(last, shape[1::-1])


def _change(picture, box, blend):
    """Return a picture in other colours and of another sharpness."""
    levels = np.arange(256.0)[:, None] * blend.gain + blend.offset
    table = np.rint(levels).clip(0, 255).astype(np.uint8)[None]
    changed = cv2.LUT(picture, table)
    grey = cv2.cvtColor(cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    changed = cv2.addWeighted(changed, blend.saturation, grey, 1 - blend.saturation, 0)
    if 0 < blend.degraded_px < box:
        factor = blend.degraded_px / box
        small = cv2.resize(changed, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        changed = cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    if blend.sharpened:
        soft = cv2.GaussianBlur(changed, (0, 0), box / 120)
        changed = cv2.addWeighted(changed, 1 + blend.sharpened, soft, -blend.sharpened, 0)
    return changed


def _move(source, centre, box, blend):
    matrix = cv2.getRotationMatrix2D([float(x) for x in centre], blend.angle, blend.zoom)
    matrix[:, 2] += box * np.array(blend.shift)
    return cv2.warpAffine(
        source, matrix, source.shape[1::-1], flags=blend.resampling, borderMode=cv2.BORDER_REFLECT
    )


def _soft_mask(points, shape, box, blend, rng):
    """Draw, bend and soften a mask at low resolution, and enlarge it."""
    factor = _MASK_BOX / box
    small = (round(shape[1] * factor), round(shape[0] * factor))
    mask = np.zeros(small[::-1], np.float32)
    corners = (points - points.mean(0)) * rng.uniform(0.95, 1.05, 2) + points.mean(0)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(factor * corners).astype(np.int32)), 1.0)
    bends = rng.normal(0, blend.warp * _MASK_BOX / 2, (5, 5, 2)).clip(-4, 4).astype(np.float32)
    bends = cv2.resize(bends, small, interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[: small[1], : small[0]].astype(np.float32)
    mask = cv2.remap(mask, x + bends[..., 0], y + bends[..., 1], cv2.INTER_LINEAR)
    mask = cv2.GaussianBlur(mask, (0, 0), max(0.5, blend.feather * _MASK_BOX))
    mask = cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_LINEAR)
    mask *= blend.opacity
    mask[mask < 0.5 / 255] = 0
    return mask
