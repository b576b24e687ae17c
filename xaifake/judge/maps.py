"""Heatmaps of many faces, kept piece by piece (the command `xaifake maps`)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xaifake.data import load_faces
from xaifake.detector.detector import Detector, as_detector
from xaifake.errors import UserError
from xaifake.explainers.api import explain, methods
from xaifake.lazy import renamed_arguments
from xaifake.progress import progress_bar
from xaifake.runs import ResultCache, digest, write_text

if TYPE_CHECKING:
    import pandas as pd

PIECE = 64  # faces
_KEPT = ("video", "frame", "label", "target", "source", "scene")


@renamed_arguments(faces="faces_dir")
def write_maps(
    out: str | Path,
    method: str,
    detector: Detector | None = None,
    faces_dir: str | Path | None = None,
    split: str = "test",
    target: str = "fake",
    count: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Explain the faces of a split and keep their heatmaps; a second call goes on.

    Parameters
    ----------
    out : str or Path
        Folder to write to: ``maps_0000.npz`` ..., each with ``heatmaps``, float32 (64, H, W), the
        relevance summed over colours and not normalised; ``faces.csv``, one row per face in the
        order of the maps.
    method : str
        One of `xaifake.methods()`, with its default options.
    detector : Detector, optional
        The shipped one of the larger scale if not given.
    faces_dir : str or Path, optional
        Folder of `extract_faces`; the faces that come with the package if not given.
    split : str
    target : str
        "fake" or "real": what the relevance is to speak for.
    count : int, optional
        So many faces, spread evenly over the split; all if not given.
    progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        As in ``faces.csv``: video, frame, label, target, source, scene, ``logit`` (positive for
        fake), ``piece`` and ``row``, which say where the map is.

    Raises
    ------
    UserError
        If there is no such method, count is below 1, or `out` holds maps of other settings.
    """
    if method not in methods():
        raise UserError(f"No method {method!r}: give one of {', '.join(methods())}.")
    if count is not None and count < 1:
        raise UserError(f"count={count}: give the number of faces to explain, at least 1.")
    detector = Detector.pretrained() if detector is None else as_detector(detector)
    chosen = load_faces(faces_dir, split if faces_dir else None, detector.known_scale)
    if count is not None and count < len(chosen):
        chosen = chosen[np.linspace(0, len(chosen) - 1, count).round().astype(int)]
    settings = {
        "method": method,
        "target": target,
        "weights": detector.fingerprint,
        "faces": digest(chosen.images),
    }
    folder = ResultCache(out, settings).claim()

    def heatmaps(first):
        images = chosen.images[first : first + PIECE]
        relevance = explain(detector, images, method, target=target, progress=False)
        return {"heatmaps": np.asarray(relevance).sum(axis=-1)}

    starts = range(0, len(chosen), PIECE)
    for first in progress_bar(starts, show=progress, unit="piece", desc=method):
        folder.cached_arrays(f"maps_{first // PIECE:04d}", partial(heatmaps, first))
    number = np.arange(len(chosen))
    table = chosen.table[list(_KEPT)].assign(
        logit=detector.logits(chosen.images), piece=number // PIECE, row=number % PIECE
    )
    write_text(folder.path / "faces.csv", table.to_csv(index=False))
    return table
