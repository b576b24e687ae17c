"""Catalogues of videos: what a folder holds, splits and sampling rates (chapter 01_dataset).

`xaifake.data.layouts` knows how the data sets lie on disk. FaceForensics++ DeepFakeDetection (DFD,
Google and Jigsaw), the paper's, names its videos after the people and the scene in them, and has no
official split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from xaifake.data.layouts import COLUMNS, FAKE_FOLDER, REAL_FOLDER, entries
from xaifake.errors import UserError

SPLITS = ("train", "validation", "test")
DFD_VIDEOS = {"real": 363, "fake": 3068}
TABLE_I = {  # frames in the paper's Table I
    ("train", "real"): 67_203,
    ("train", "fake"): 83_728,
    ("validation", "real"): 14_696,
    ("validation", "fake"): 17_488,
    ("test", "real"): 14_929,
    ("test", "fake"): 17_513,
}

_DRAWS = 1000  # random splits that split_by_person chooses from


def read_catalogue(folder: str | Path, compression: str | None = None) -> pd.DataFrame:
    """List the videos of DFD, of clips in its layout, or of another data set.

    Parameters
    ----------
    folder : str or Path
        The folder that holds ``original_sequences`` and ``manipulated_sequences`` (DFD and the rest
        of FaceForensics++), ``Celeb-real`` and ``Celeb-synthesis`` (Celeb-DF), or ``metadata.json``
        with its videos or folders of such (DFDC). Or a table, FILE.csv, with the columns ``file``
        (relative to the table) and ``label`` (0 or 1, real or fake) and, where known, ``group``
        (who is seen; else each video is a group of its own) and ``mask``.
    compression : str, optional
        Of FaceForensics++: "c23", "c40" or "raw". If not given c23 is read, else c40, else raw; all
        parts from the same level.

    Returns
    -------
    pandas.DataFrame
        One row per video, sorted by ``video`` (a unique name, mostly the file's stem): ``label`` (1
        fake, 0 real), ``collection`` (the part of the data set), ``target`` (the person seen),
        ``source`` (whose face was put in; None for real, or where not known), ``scene``, ``path``,
        ``mask_path`` (None where there is no mask), ``original`` (name of the real video behind a
        fake, None if it is not there). DFDC does not name people: the target is there the real
        video. The columns of a table ``clips.csv`` in the folder are joined by ``video``.
        `skipped_files` tells what was passed over.

    Raises
    ------
    UserError
        If the folder is not there, or holds no video in such a layout.
    """
    root = Path(folder).absolute()
    rows = [found for _, found in entries(root, compression) if isinstance(found, dict)]
    if not rows:
        raise UserError(f"No video under {root} has a name of its data set's form.")
    catalogue = pd.DataFrame(rows, columns=[*COLUMNS, "original"])
    catalogue = catalogue.sort_values("video", ignore_index=True)
    if catalogue.video.duplicated().any():
        twice = catalogue.video[catalogue.video.duplicated()].iloc[0]
        raise UserError(f"Two videos under {root} have the name {twice}: give one of them another.")
    real = catalogue.video[catalogue.label == 0]
    catalogue["original"] = catalogue.original.where(catalogue.original.isin(real))
    # None for nothing, whatever pandas has.
    for name in ("source", "scene", "mask_path", "original"):
        column = catalogue[name].astype(object)
        catalogue[name] = column.where(column.notna(), None)
    return _join_table(catalogue, root / "clips.csv")


def skipped_files(folder: str | Path, compression: str | None = None) -> dict[str, str]:
    """Tell what `read_catalogue` passes over in a folder.

    Returns
    -------
    dict of str to str
        Why, by path.
    """
    found = entries(Path(folder).absolute(), compression)
    return {str(path): reason for path, reason in found if isinstance(reason, str)}


def _join_table(catalogue, path):
    if not path.is_file():
        return catalogue
    text = {"video": str, "kind": str, "region": str, "split": str}
    table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    if "video" not in table or table.video.duplicated().any():
        raise UserError(f"{path} needs a column 'video' with each video once; make the clips anew.")
    new = [name for name in table if name == "video" or name not in catalogue]
    return catalogue.merge(table[new], on="video", how="left")


def compare_with_dfd(catalogue: pd.DataFrame) -> pd.DataFrame:
    """Compare the number of videos found with the full DFD.

    Returns
    -------
    pandas.DataFrame
        Rows ``real`` and ``fake``; columns ``expected`` (363 and 3068), ``found``, ``missing``.
    """
    if "collection" in catalogue:
        catalogue = catalogue[catalogue.collection.isin((REAL_FOLDER.name, FAKE_FOLDER.name))]
    found = {"real": int((catalogue.label == 0).sum()), "fake": int((catalogue.label == 1).sum())}
    table = pd.DataFrame({"expected": DFD_VIDEOS, "found": found})
    table["missing"] = (table.expected - table.found).clip(lower=0)
    return table.rename_axis("class")


def split_by_person(catalogue: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Split videos 4 : 1 : 1 so that no person is in two splits, as target or as source.

    People are drawn into the splits; a fake whose target and source come to lie in different
    splits is dropped. Of many seeded draws the one is taken that keeps most videos; draws that
    leave a split without one of the two classes are taken only if there is no other.

    Parameters
    ----------
    catalogue : pandas.DataFrame
        From `read_catalogue`; a column ``split`` that is there already is replaced.
    seed : int
        Same catalogue and same seed, same split.

    Returns
    -------
    pandas.DataFrame
        The videos kept, with the column ``split`` ("train", "validation", "test").
    """
    target = catalogue.target.to_numpy(dtype=object)
    source = catalogue.source.fillna(catalogue.target).to_numpy(dtype=object)
    people = np.unique(np.concatenate([target, source]).astype(str))
    if len(people) < len(SPLITS):
        raise UserError(f"{len(people)} people cannot be split three ways: add videos of others.")
    rng = np.random.default_rng(seed)
    codes = _four_one_one(len(people))
    draws = np.stack([rng.permutation(codes) for _ in range(_DRAWS)])
    of_target = draws[:, np.searchsorted(people, target.astype(str))]
    kept = of_target == draws[:, np.searchsorted(people, source.astype(str))]
    groups = of_target * 2 + catalogue.label.to_numpy()
    complete = np.all([((groups == g) & kept).any(axis=1) for g in range(6)], axis=0)
    best = int(np.argmax(kept.sum(axis=1) + complete * (len(catalogue) + 1)))
    split = catalogue[kept[best]].reset_index(drop=True)
    split["split"] = np.array(SPLITS)[of_target[best, kept[best]]]
    return split


def split_by_video(catalogue: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Split the videos of each class 4 : 1 : 1 whoever is in them; the same person may be in all.

    Only for measuring what such a split leaks; returns the catalogue with a column ``split``.
    """
    split = catalogue.copy()
    split["split"] = ""
    rng = np.random.default_rng(seed)
    for label in (0, 1):
        rows = np.flatnonzero(catalogue.label == label)
        codes = rng.permutation(_four_one_one(len(rows)))
        split.iloc[rows, split.columns.get_loc("split")] = np.array(SPLITS)[codes]
    return split


def _four_one_one(n):
    """Return n split numbers (0, 1, 2) in the ratio 4 : 1 : 1; no split is empty from n = 3 on."""
    small = max(1, round(n / 6))
    return np.repeat([0, 1, 2], [n - 2 * small, small, small]) if n > 2 else np.arange(n)


def frames_per_video(
    catalogue: pd.DataFrame, frames_per_fake: int, longest: int | None = None
) -> dict[str, int]:
    """Choose how many frames to take from a real video so that both classes come out even.

    Parameters
    ----------
    catalogue : pandas.DataFrame
        Of videos of both classes.
    frames_per_fake : int
        Frames from each fake video.
    longest : int, optional
        Most frames that a real video can give, its length.

    Returns
    -------
    dict of str to int
        By class, "real" and "fake", as `extract_faces` takes it.

    Raises
    ------
    UserError
        If there is but one class.
    """
    fakes = int((catalogue.label == 1).sum())
    reals = len(catalogue) - fakes
    if not fakes or not reals:
        raise UserError(f"Balancing needs both classes; there are {reals} real, {fakes} fake.")
    per_real = max(1, round(frames_per_fake * fakes / reals))
    return {"real": min(per_real, longest or per_real), "fake": frames_per_fake}


def sampling_rates(
    catalogue: pd.DataFrame, frames_per_fake: int, longest: int | None = None
) -> pd.DataFrame:
    """Tell what `frames_per_video` gives in each split, beside the paper's Table I.

    The paper takes about 267 frames of a real video and 39 of a fake one. Parameters are those of
    `frames_per_video`; the catalogue has a column ``split``.

    Returns
    -------
    pandas.DataFrame
        One row per split and class: ``split``, ``class``, ``videos``, ``frames_per_video``,
        ``frames``, ``paper_frames``.
    """
    if "split" not in catalogue:
        raise UserError("The catalogue has no column 'split': call split_by_person on it first.")
    rates = frames_per_video(catalogue, frames_per_fake, longest)
    table = pd.DataFrame([{"split": s, "class": c} for s, c in TABLE_I])
    videos = catalogue.groupby(["split", "label"]).size()
    table["videos"] = [int(videos.get((s, int(c == "fake")), 0)) for s, c in TABLE_I]
    table["frames_per_video"] = table["class"].map(rates)
    table["frames"] = table.videos * table.frames_per_video
    table["paper_frames"] = list(TABLE_I.values())
    return table
