"""Does a map lie where the picture was manipulated? (chapters 06_lrp and 09_localisation)."""

import numpy as np

from xaifake.data.swaps import swap_mask

REGIONS = ("eyes", "nose", "mouth", "jaw", "outside")


def region_masks(faces):
    """Draw the regions of faces, from their landmarks.

    Eyes (with the brows), nose and mouth are the areas that a swap of this region alone replaces;
    where two meet, the nose gives way to the mouth and both to the eyes. The rest of the area that
    a swap of the whole face replaces is called jaw, though it has cheeks and forehead as well.

    Parameters
    ----------
    faces : xaifake.data.dataset.Faces

    Returns
    -------
    dict of str to numpy.ndarray of bool, (N, H, W)
        By `REGIONS`; each pixel lies in one.
    """
    size = faces.images.shape[1]
    points = np.stack([np.reshape(flat, (68, 2)) for flat in faces.table.landmarks])
    corners = faces.table[["left", "top"]].to_numpy(float)[:, None]
    points = (points - corners) * (size / faces.table.side.to_numpy(float)[:, None, None])
    free = np.ones(faces.images.shape[:3], bool)
    masks = {}
    for name, region in {"eyes": "eyes", "mouth": "mouth", "nose": "nose", "jaw": "whole"}.items():
        drawn = np.stack([swap_mask(p.astype(np.float32), region, size=size) > 0 for p in points])
        masks[name] = drawn & free
        free &= ~drawn
    masks["outside"] = free
    return {name: masks[name] for name in REGIONS}


def relevance_mass_accuracy(heatmaps, masks):
    """Return the share of the positive relevance that lies in a mask (Arras et al. 2022).

    Parameters
    ----------
    heatmaps : numpy.ndarray of float, (N, H, W)
    masks : numpy.ndarray of bool, (N, H, W)

    Returns
    -------
    numpy.ndarray of float64, (N,)
        From 0 to 1; by chance the mask's share of the picture. NaN for a map without a positive
        value.
    """
    positive = np.maximum(np.asarray(heatmaps, float), 0)
    with np.errstate(invalid="ignore"):
        return (positive * masks).sum((1, 2)) / positive.sum((1, 2))
