"""Face swaps between two portraits, with the mask of what was changed (chapter 01_dataset).

A swap is made once on the target's two photographs; the clip is then rendered from them by the
same code that renders the real clip (``xaifake.data.rendering``), so that nothing but the
swapped face tells a fake from its original.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

from xaifake.data import portraits

REGIONS = ("eyes", "nose", "mouth", "left_half", "right_half")
HULLS = ("full", "inner", "low")


@dataclass(frozen=True)
class Recipe:
    """How a swap is blended. Lengths are pixels of the 540-pixel portrait unless said otherwise.

    Attributes
    ----------
    region : str
        ``"whole"`` or one of `REGIONS`; left and right as the viewer sees them.
    hull : str
        Outline of a whole-face swap: ``"full"`` from the forehead, ``"inner"`` from the brows to
        below the mouth, ``"low"`` from the brows to the jaw line.
    degraded_px : float
        Pixels across the face that the source is first reduced to, as a low-resolution decoder
        would put it out; 0 leaves it as it is.
    feather_px : float
        Standard deviation of the soft edge.
    colour : float
        Strength of the colour match, 0 to 1.
    opacity : float
        Of the source's face, 0 to 1.
    shape : float
        How far the target's landmarks give way to the source's own shape, 0 to 1.
    """

    region: str
    hull: str
    degraded_px: float
    feather_px: float
    colour: float
    opacity: float
    shape: float


def displacement_field(points, towards, size, step=6, smoothing=1.0):
    """Interpolate ``towards - points``, (K, 2) in pixels (x, y), everywhere by a thin-plate spline.

    It is evaluated on a grid of ``step`` pixels and enlarged linearly, to float32 (size, size, 2);
    ``smoothing`` is that of `scipy.interpolate.RBFInterpolator`, and evens out landmarks that
    contradict each other.
    """
    spline = RBFInterpolator(points, towards - points, smoothing=smoothing)
    nodes = np.arange(0, size + step, step, dtype=np.float32)
    grid = np.stack(np.meshgrid(nodes, nodes), -1)
    coarse = spline(grid.reshape(-1, 2)).reshape(grid.shape).astype(np.float32)
    x = np.arange(size, dtype=np.float32) / step
    return cv2.remap(coarse, *np.meshgrid(x, x), cv2.INTER_LINEAR)


def swap_mask(landmarks, region, hull="full", size=540):
    """Draw the area that a swap of a region replaces, hard-edged: float32 (size, size), 0 or 1."""
    outline = region_outline(landmarks, region, hull)
    mask = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(outline.astype(np.int32)), 1.0, cv2.LINE_8)
    if region.endswith("half"):
        # The dividing line runs from the bridge of the nose (27) to the chin (8).
        (x0, y0), (x1, y1) = landmarks[27], landmarks[8]
        y, x = np.mgrid[:size, :size]
        left = x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        mask *= left if region == "left_half" else ~left
    return mask


def region_outline(landmarks, region, hull):
    """Return points whose convex hull a swap of a region fills, (K, 2); see `swap_mask`."""
    centre = landmarks[30]
    if region == "eyes":
        return _grow(landmarks[np.r_[portraits.EYES, portraits.BROWS]], (1.08, 1.25))
    if region == "nose":
        return _grow(landmarks[portraits.NOSE], (1.5, 1.1))
    if region == "mouth":
        return _grow(landmarks[portraits.OUTER_LIPS], (1.25, 1.4))
    if region == "whole" and hull == "inner":
        return _grow(landmarks[17:], (1.12, 1.12))
    jaw = centre + 0.9 * (landmarks[portraits.JAW] - centre)
    brows = landmarks[portraits.BROWS]
    if region == "whole" and hull == "low":
        return np.vstack([jaw[2:15], brows])
    forehead = brows + 0.15 * (brows - landmarks[33])
    return np.vstack([jaw, forehead])


def _grow(points, factors):
    centre = (points.min(0) + points.max(0)) / 2
    return centre + (points - centre) * factors


def align(source_image, source_landmarks, target_landmarks, shape):
    """Warp the source's photograph so that its landmarks lie on the target's, (68, 2).

    ``shape`` 0 puts the features exactly there, 1 keeps the source's own shape.
    """
    own = portraits.aligned_shape(source_landmarks, target_landmarks)
    goal = (1 - shape) * target_landmarks + shape * own
    outer = np.arange(60)  # the inner lips may coincide, and then contradict each other
    field = displacement_field(goal[outer], source_landmarks[outer], len(source_image))
    return cv2.remap(source_image, *_coordinates(field), cv2.INTER_CUBIC, None, cv2.BORDER_REFLECT)


def _coordinates(field):
    y, x = np.mgrid[: field.shape[0], : field.shape[1]].astype(np.float32)
    return x + field[..., 0], y + field[..., 1]


def degrade(image, landmarks, pixels):
    """Reduce a picture until the face is ``pixels`` wide, and enlarge it again.

    This is what a face-swap network with a small output does to the face it paints.
    """
    factor = pixels / np.ptp(landmarks[:, 0])
    if pixels == 0 or factor >= 1:
        return image
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def match_colour(source, target, mask, strength):
    """Bring the source's colours to the target's inside a mask, float32 (H, W).

    First mean and standard deviation in CIE Lab (Reinhard et al. 2001, equations 10 and 11), then
    the slow changes of light over the face. Returns float32 (H, W, 3) in 0 to 255.
    """
    inside = mask > 0.5
    a, b = (cv2.cvtColor(i.astype(np.float32) / 255, cv2.COLOR_RGB2Lab) for i in (source, target))
    mean_a, mean_b = a[inside].mean(0), b[inside].mean(0)
    ratio = np.clip(b[inside].std(0) / (a[inside].std(0) + 1e-3), 0.6, 1.4)
    matched = (a - mean_a) * ratio + mean_b
    weight = cv2.GaussianBlur(mask, (0, 0), 20) + 1e-3
    slow = cv2.GaussianBlur((b - matched) * mask[..., None], (0, 0), 20) / weight[..., None]
    matched = a + strength * (matched + slow - a)
    return 255 * np.clip(cv2.cvtColor(matched.astype(np.float32), cv2.COLOR_Lab2RGB), 0, 1)


def swap(target, source, recipe):
    """Put the source's face onto both photographs of the target.

    Parameters
    ----------
    target, source : xaifake.data.portraits.Portrait
    recipe : Recipe

    Returns
    -------
    images : tuple of ndarray, uint8 (540, 540, 3)
        Neutral and smiling.
    alphas : tuple of ndarray, float32 (540, 540)
        Share of the source in each pixel; above 0 the picture was changed.
    """
    images, alphas = [], []
    for k in range(2):
        picture, points = target.images[k], target.landmarks[k]
        face = align(source.images[k], source.landmarks[k], points, recipe.shape)
        face = degrade(face, points, recipe.degraded_px)
        mask = swap_mask(points, recipe.region, recipe.hull)
        face = match_colour(face, picture, mask, recipe.colour)
        alpha = recipe.opacity * cv2.GaussianBlur(mask, (0, 0), recipe.feather_px)
        alpha[alpha < 0.5 / 255] = 0
        blend = picture + alpha[..., None] * (face - picture)
        images.append(np.rint(blend).clip(0, 255).astype(np.uint8))
        alphas.append(alpha)
    return tuple(images), tuple(alphas)
