"""Heatmaps of many faces, kept piece by piece (the command `xaifake maps`)."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from xaifake.data import load_faces
from xaifake.data.folders import write_text
from xaifake.detector.xception import load_detector, predict_logits
from xaifake.errors import UserError
from xaifake.explainers.api import explain, methods
from xaifake.judge.parts import Parts
from xaifake.progress import progress_bar
from xaifake.scales import SCALE

PIECE = 64  # faces
_KEPT = ("video", "frame", "label", "target", "source", "scene")


def write_maps(
    out,
    method,
    scale=SCALE,
    faces=None,
    split="test",
    weights=None,
    target="fake",
    count=None,
    progress=True,
):
    """Explain the faces of a split and keep their heatmaps; a second call goes on.

    Parameters
    ----------
    out : str or Path
        Folder to write to: ``maps_0000.npz`` ..., each with ``heatmaps``, float32 (64, H, W), the
        relevance summed over colours and not normalised; ``faces.csv``, one row a face in the
        order of the maps.
    method : str
        One of `xaifake.methods()`, with its default options.
    scale : float
        Of the faces, and of the shipped weights if no others are given.
    faces : str or Path, optional
        Folder of `extract_faces`; the faces that come with the package if not given.
    split : str
    weights : str or Path, optional
        Of Xception, instead of the shipped ones.
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
    model = load_detector(scale, weights)
    chosen = load_faces(faces, split if faces else None, scale)
    if count is not None and count < len(chosen):
        chosen = chosen[np.linspace(0, len(chosen) - 1, count).round().astype(int)]
    settings = {
        "method": method,
        "target": target,
        "weights": fingerprint(model.get_weights()),
        "faces": fingerprint([chosen.images]),
    }
    parts = Parts(out, settings)

    def heatmaps(first):
        images = chosen.images[first : first + PIECE]
        relevance = explain(model, images, method, target=target, progress=False)
        return {"heatmaps": relevance.sum(axis=-1)}

    starts = range(0, len(chosen), PIECE)
    for first in progress_bar(starts, show=progress, unit="piece", desc=method):
        parts.arrays(f"maps_{first // PIECE:04d}", lambda first=first: heatmaps(first))
    number = np.arange(len(chosen))
    table = chosen.table[list(_KEPT)].assign(
        logit=predict_logits(model, chosen.images), piece=number // PIECE, row=number % PIECE
    )
    write_text(Path(out) / "faces.csv", table.to_csv(index=False))
    return table


def read_maps(folder):
    """Read what `write_maps` wrote.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    heatmaps : numpy.ndarray of float32, (N, H, W)
    table : pandas.DataFrame
        N rows.

    Raises
    ------
    UserError
        If the folder holds no finished maps.
    """
    path = Path(folder) / "faces.csv"
    if not path.is_file():
        raise UserError(f"There is no faces.csv in {folder}: run `xaifake maps` to its end.")
    table = pd.read_csv(path, dtype={"target": str, "source": str})
    pieces = [Path(folder) / f"maps_{piece:04d}.npz" for piece in range(table.piece.max() + 1)]
    return np.concatenate([np.load(piece)["heatmaps"] for piece in pieces]), table


def fingerprint(arrays):
    """Return a digest of arrays, to recognise them by."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
