"""What every room does to heatmaps alike: their colours, where these end, how they are stored."""

import numpy as np

COLOURS = "RdBu_r"  # Matplotlib's name
PERCENTILE = 99.5


def colour_limit(heatmaps: np.ndarray) -> float:
    """Return the absolute value at which the colours of heatmaps end.

    The 99.5th percentile, so that a few pixels do not hide the rest; the largest value where that
    is 0, and 1 where all are.
    """
    values = np.abs(heatmaps)
    return float(np.percentile(values, PERCENTILE) or values.max() or 1.0)


def pack_maps(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return maps (..., H, W) as float16 shares of each one's peak, and the peaks (...), float32.

    What explodes is beyond float16 alone; this way each map is precise to 1/2000 of its peak.
    """
    peaks = np.abs(maps).max(axis=(-2, -1))
    shares = maps / np.where(peaks > 0, peaks, 1)[..., None, None]
    return shares.astype(np.float16), peaks.astype(np.float32)


def unpack_maps(shares: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Return the maps of `pack_maps`, float32 (..., H, W)."""
    return shares.astype(np.float32) * peaks[..., None, None]
