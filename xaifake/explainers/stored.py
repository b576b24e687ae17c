"""What takes too long for a chapter and was computed once, by tools/compute_grids.py.

Chapters 06_lime and 08_auditing run some of the entries again and compare.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xaifake.errors import UserError
from xaifake.heatmaps import pack_maps, unpack_maps
from xaifake.runs import write_whole
from xaifake.scales import SCALE, SCALES

GRIDS = Path(__file__).parents[1] / "assets" / "grids"
BENCHMARKS = GRIDS.with_name("benchmarks")


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
    own : dict of str to numpy.ndarray of float32, (F, H, W)
        The same by this package's LRP, for the methods that both have.
    """

    faces: list
    heatmaps: dict
    refused: dict
    own: dict


def rule_grid(scale=SCALE):
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
        return RuleGrid(
            list(zip(stored["videos"].tolist(), stored["frames"].tolist(), strict=True)),
            _unpack(stored, ""),
            dict(zip(stored["refused"].tolist(), stored["reasons"].tolist(), strict=True)),
            _unpack(stored, "own_"),
        )


def _unpack(stored, prefix):
    maps = unpack_maps(stored[f"{prefix}maps"], stored[f"{prefix}peaks"])
    return dict(zip(stored[f"{prefix}methods"].tolist(), maps, strict=True))


def _pack(heatmaps, prefix):
    maps, peaks = pack_maps(np.stack(list(heatmaps.values())))
    names = list(heatmaps)
    return {f"{prefix}methods": names, f"{prefix}maps": maps, f"{prefix}peaks": peaks}


def write_rule_grid(grid, scale):
    """Store maps as float16 of their largest value; see `rule_grid`."""
    GRIDS.mkdir(parents=True, exist_ok=True)
    path = GRIDS / f"rules_{scale:.1f}.npz"
    with write_whole(path) as file:
        np.savez_compressed(
            file,
            **_pack(grid.heatmaps, ""),
            **_pack(grid.own, "own_"),
            videos=[video for video, _ in grid.faces],
            frames=[frame for _, frame in grid.faces],
            refused=np.array(list(grid.refused), dtype=str),
            reasons=np.array(list(grid.refused.values()), dtype=str),
        )


def rule_agreement():
    """Return how far the LRP maps of iNNvestigate and of this package agree on Xception.

    Returns
    -------
    pandas.DataFrame
        One row per scale, method and fake of fifty that the shipped detector finds: `correlation`
        and `rank_correlation` of the two heatmaps; `sum` and `abs_sum`, the sum without signs;
        `in_mask` and `nose_mouth`, the shares of the positive relevance in the manipulated area and
        on nose and mouth. The columns ending in `_library` are iNNvestigate's, those ending in
        `_by_chance` the areas' shares of the picture; `logit` is what was divided.
    """
    return pd.read_csv(GRIDS / "rule_agreement.csv")


def lrp_benchmark():
    """Return how fast LRP is on Xception, as benchmarks/lrp.py measured it.

    Returns
    -------
    pandas.DataFrame
        One row per rule and engine: `maps_per_second` (median; `slowest` and `fastest` round),
        `passes` (forward passes in the time of one map), `correlation` with this package's maps,
        `times_slower` than this package, and, for some rules, the time to the first map of a fresh
        process, in all (`process_s`) and after loading packages and weights (`first_map_s`).
    """
    return pd.read_csv(BENCHMARKS / "lrp.csv")


def lime_sweep():
    """Return how far LIME's weights move with samples, seeds and fills.

    Returns
    -------
    pandas.DataFrame
        One row per face of the shipped detector at 2.0x, fill and number of samples: `video`,
        `frame`, `fill`, `num_samples`, `r2` (mean over seeds) and `agreement`, the mean correlation
        of the segments' weights between two seeds.
    """
    return pd.read_csv(GRIDS / "lime_sweep.csv")
