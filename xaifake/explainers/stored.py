"""What takes too long for a chapter and was computed once, by tools/compute_grids.py.

Chapters 05_lime and 06_lrp run some of the entries again and compare.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xaifake.detector.xception import SCALES
from xaifake.errors import UserError

GRIDS = Path(__file__).parents[1] / "assets" / "grids"


@dataclass
class RuleGrid:
    """Maps of some faces by every method of iNNvestigate: the paper's Figure 6.

    Attributes
    ----------
    faces : list of (str, int)
        Video and frame of each face.
    heatmaps : dict of str to numpy.ndarray of float32, (F, H, W)
        Relevance summed over the colours, by method; precise to 1/2000 of each map's largest value.
    refused : dict of str to str
        Methods that iNNvestigate cannot run on the network, and what it says.
    """

    faces: list
    heatmaps: dict
    refused: dict


def rule_grid(scale=2.0):
    """Return the stored maps of the shipped detector of one scale.

    Parameters
    ----------
    scale : float
        1.3 or 2.0.

    Returns
    -------
    RuleGrid

    Raises
    ------
    UserError
        If none is stored for this scale.
    """
    if scale not in SCALES:
        raise UserError(f"No maps are stored for scale {scale}: give 1.3 or 2.0.")
    with np.load(GRIDS / f"rules_{scale:.1f}.npz") as stored:
        maps = stored["maps"].astype(np.float32) * stored["peaks"][..., None, None]
        return RuleGrid(
            list(zip(stored["videos"].tolist(), stored["frames"].tolist(), strict=True)),
            dict(zip(stored["methods"].tolist(), maps, strict=True)),
            dict(zip(stored["refused"].tolist(), stored["reasons"].tolist(), strict=True)),
        )


def write_rule_grid(grid, scale):
    """Store maps as float16 of their largest value; see `rule_grid`."""
    maps = np.stack(list(grid.heatmaps.values()))
    peaks = np.abs(maps).max(axis=(2, 3))
    GRIDS.mkdir(parents=True, exist_ok=True)
    path = GRIDS / f"rules_{scale:.1f}.npz"
    temporary = path.with_suffix(".unfinished.npz")
    np.savez_compressed(
        temporary,
        methods=list(grid.heatmaps),
        maps=(maps / np.maximum(peaks, 1e-30)[..., None, None]).astype(np.float16),
        peaks=peaks.astype(np.float32),
        videos=[video for video, _ in grid.faces],
        frames=[frame for _, frame in grid.faces],
        refused=np.array(list(grid.refused), dtype=str),
        reasons=np.array(list(grid.refused.values()), dtype=str),
    )
    temporary.replace(path)


def lime_sweep():
    """Return how far LIME's weights move with samples, seeds and fills.

    Returns
    -------
    pandas.DataFrame
        One row a face of the shipped detector at 2.0x, fill and number of samples: `video`,
        `frame`, `fill`, `num_samples`, `r2` (mean over seeds) and `agreement`, the mean correlation
        of the segments' weights between two seeds.
    """
    return pd.read_csv(GRIDS / "lime_sweep.csv")
