"""Extracted faces as arrays (chapter 02_face_extraction).

Reads what `xaifake.data.extraction` writes: ``manifest.parquet``, one row per video, frame and
scale, and ``shards/*.parquet`` with the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:  # worker processes start faster without pandas
    import pandas as pd

from xaifake.data.faces import decode_image, decode_mask
from xaifake.errors import UserError
from xaifake.lazy import warn_of_former_name
from xaifake.runs import as_folder, read_parquet
from xaifake.scales import SCALE

# Faces that come with the package: of unseen people, and of seen and unseen ones in a scene that no
# detector was trained on.
FACES = Path(__file__).parents[1] / "assets" / "faces"
LEAKAGE_FACES = FACES.with_name("faces_leakage")

BOX = ("box_left", "box_top", "box_right", "box_bottom")
SQUARE = ("left", "top", "side")
# Names of columns in folders that were extracted by version 0.1.
_FORMER = {"parent": "original", "twin": "original"}
_KEY = ["video", "frame", "scale"]


@dataclass
class Faces:
    """Faces of one scale, all arrays in the same order.

    Attributes
    ----------
    images : numpy.ndarray
        ``uint8 (N, H, W, 3)`` RGB.
    labels : numpy.ndarray
        ``int64 (N,)``, 1 fake, 0 real.
    masks : numpy.ndarray
        ``bool (N, H, W)``, true where the picture is manipulated; all false for real faces, and
        for fakes of which no mask is known (see ``mask_source`` in `read_manifest`).
    originals : numpy.ndarray or None
        ``uint8 (N, H, W, 3)``, the original's same frame cut by the same square; a real face is
        its own original. None if the folder has no originals.
    table : pandas.DataFrame
        N rows of the manifest.
    scale : float
        Side of the squares as a factor of the larger side of the face's box.
    """

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    originals: np.ndarray | None
    table: pd.DataFrame
    scale: float

    def __len__(self):
        return len(self.images)

    @property
    def twins(self):
        """The former name of `originals`."""
        warn_of_former_name("Faces.twins", "Faces.originals")
        return self.originals

    def __getitem__(self, which):
        """Return some of the faces: ``which`` is a number, a slice, indices or a boolean mask."""
        which = np.arange(len(self))[which].reshape(-1)
        return replace(
            self,
            images=self.images[which],
            labels=self.labels[which],
            masks=self.masks[which],
            originals=None if self.originals is None else self.originals[which],
            table=self.table.iloc[which].reset_index(drop=True),
        )


def split_of_fold(folds, fold):
    """Split by a column of folds: one is tested, the one after it validates, the rest train.

    Parameters
    ----------
    folds : pandas.Series of int
        Number of the fold of each row, from 0.
    fold : int
        The fold that a detector must not have seen.

    Returns
    -------
    pandas.Series of str
        "train", "validation" or "test".

    Raises
    ------
    UserError
        If there is no such fold, or fewer than three.
    """
    numbers = sorted(folds.unique().tolist())
    if fold not in numbers or len(numbers) < 3:
        raise UserError(f"fold is {fold}, of the folds {numbers}: give one of at least three.")
    following = numbers[(numbers.index(fold) + 1) % len(numbers)]
    return folds.map({fold: "test", following: "validation"}).fillna("train")


def read_manifest(folder):
    """Read the table of an extraction: one row per video, frame and scale, rejected ones included.

    Returns
    -------
    pandas.DataFrame
        ``video``, ``frame``, ``scale``, the catalogue's columns, ``accepted``, ``reason`` ("",
        "no_face", "several_faces" or "too_small"), the face's box (``box_left`` ...; right and
        bottom are the first pixels outside), ``landmarks`` (68 points as x, y, x, y ...), the
        square (``left``, ``top``, ``side``), all in pixels of the frame and NaN where there is no
        single face; ``padded`` (the square reaches beyond the frame), ``mask_share`` (share of the
        crop that is manipulated; NaN for a fake without a mask), ``mask_source`` ("file",
        "difference" from the original, or None; not in folders of older versions) and ``shard``.
    """
    path = as_folder(folder) / "manifest.parquet"
    if not path.is_file():
        raise UserError(
            f"There are no finished faces in {folder} (no manifest.parquet): run extract_faces "
            "with out= this folder, to its end."
        )
    return _named(read_parquet(path)).to_pandas().astype(dict.fromkeys(BOX + SQUARE, "float64"))


def read_statuses(folder):
    """Read how each video of an extraction fared: ``video``, ``label``, ``split``, ``status``.

    Returns
    -------
    pandas.DataFrame
        One row per video; the status is "ok", or why the video gave no faces.
    """
    return read_parquet(as_folder(folder) / "videos.parquet").to_pandas()


def load_faces(
    folder: str | Path | None = None,
    split: str | None = None,
    scale: float = SCALE,
    fold: int | None = None,
) -> Faces:
    """Load the accepted faces of one scale into memory.

    Parameters
    ----------
    folder : str or Path, optional
        Where `extract_faces` wrote to, a path or an fsspec URL; the faces that come with the
        package if not given.
    split : str, optional
        "train", "validation" or "test"; all if not given.
    scale : float
    fold : int, optional
        Split by the column "fold" with this one tested, see `split_of_fold`; by the column "split"
        if not given.

    Returns
    -------
    Faces

    Raises
    ------
    UserError
        If the folder holds no finished extraction, or none of this split or scale.
    """
    folder = _folder(folder)
    table = _choose(folder, split, scale, fold)
    pictures = _read_pictures(folder, table, ["image", "mask", "original"])
    images = np.stack([decode_image(data) for data in pictures["image"]])
    masks = np.zeros(images.shape[:3], dtype=bool)
    for i, data in enumerate(pictures["mask"]):
        if data is not None:
            masks[i] = decode_mask(data)
    originals = None
    if any(data is not None for data in pictures["original"]):
        originals = images.copy()
        for i, data in enumerate(pictures["original"]):
            if data is not None:
                originals[i] = decode_image(data)
    return Faces(images, table.label.to_numpy(np.int64), masks, originals, table, float(scale))


def read_encoded(folder=None, split=None, scale=SCALE, fold=None):
    """Read the accepted faces of one scale as JPEG bytes, for sets too large to hold decoded.

    Parameters are those of `load_faces`; `decode_image` turns one into an array.

    Returns
    -------
    images : list of bytes
    labels : numpy.ndarray
        ``int64 (N,)``, 1 fake, 0 real.
    table : pandas.DataFrame
        N rows of the manifest.
    """
    folder = _folder(folder)
    table = _choose(folder, split, scale, fold)
    images = _read_pictures(folder, table, ["image"])["image"]
    return images, table.label.to_numpy(np.int64), table


def read_pairs(folder=None, split=None, scale=SCALE, fold=None):
    """Read the accepted fakes of one scale that have an original, and the originals, as JPEG bytes.

    Parameters are those of `load_faces`.

    Returns
    -------
    originals, fakes : list of bytes
    table : pandas.DataFrame
        Rows of the manifest, one a fake.

    Raises
    ------
    UserError
        As `load_faces`, and if no fake has an original.
    """
    folder = _folder(folder)
    table = _choose(folder, split, scale, fold)
    table = table[table.label == 1]
    pictures = _read_pictures(folder, table, ["original", "image"])
    paired = np.array([data is not None for data in pictures["original"]], dtype=bool)
    if not paired.any():
        raise UserError(
            f"No fake of split {split!r} and scale {scale} in {folder} has its original, which "
            "makes a pair with it: extract the faces with originals=True."
        )
    originals, fakes = ([data[i] for i in np.flatnonzero(paired)] for data in pictures.values())
    return originals, fakes, table[paired].reset_index(drop=True)


def average_mask(folder, split, scale, fold=None):
    """Average the masks of the accepted fakes of one split and scale, reading the masks alone.

    Parameters
    ----------
    folder : str or Path
        Where `extract_faces` wrote to.
    split : str
    scale : float
    fold : int, optional
        As for `load_faces`.

    Returns
    -------
    numpy.ndarray of float64, (H, W)
        Share of the fakes that are manipulated at each pixel.

    Raises
    ------
    UserError
        As `load_faces`, and if there is no mask among them.
    """
    table = _choose(folder, split, scale, fold)
    masks = _read_pictures(_folder(folder), table[table.label == 1], ["mask"])["mask"]
    masks = [data for data in masks if data is not None]
    if not masks:
        raise UserError(f"No fake of split {split!r} in {folder} has a mask.")
    return sum(decode_mask(data).astype(float) for data in masks) / len(masks)


def pack_faces(folder, out, rows):
    """Copy some faces into a folder of their own with a single shard.

    Parameters
    ----------
    folder : str or Path
        Where `extract_faces` wrote to.
    out : str or Path
        Folder to write to; `load_faces` reads it.
    rows : pandas.DataFrame
        The rows of the manifest to keep; all must be accepted.
    """
    folder, out = _folder(folder), Path(out)
    rows = rows.sort_values(_KEY, ignore_index=True)
    if not len(rows) or not rows.accepted.all():
        raise UserError(
            "pack_faces takes at least one row of the manifest, and accepted ones only."
        )
    pictures = _read_pictures(folder, rows, ["image", "mask", "original"])
    keys = {name: pa.array(rows[name]) for name in _KEY}
    columns = {name: pa.array(data, pa.binary()) for name, data in pictures.items()}
    (out / "shards").mkdir(parents=True, exist_ok=True)
    shard = pa.table({**keys, **columns})
    pq.write_table(shard, out / "shards" / "faces.parquet", use_dictionary=False)
    schema = _named(read_parquet(folder / "manifest.parquet")).schema
    table = pa.Table.from_pandas(rows.assign(shard="faces.parquet"), schema, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(), out / "manifest.parquet")


def _folder(folder):
    return FACES if folder is None else as_folder(folder)


def _named(manifest):
    """Give the columns of an earlier version's manifest the names of today."""
    return manifest.rename_columns([_FORMER.get(name, name) for name in manifest.column_names])


def _stored(name, columns):
    """Return the name of a column of pictures in a shard, maybe of an earlier version."""
    return next((old for old, new in _FORMER.items() if new == name and old in columns), name)


def _choose(folder, split, scale, fold=None):
    """Return the manifest's accepted rows of a split and scale, with whole pixels as integers."""
    table = read_manifest(folder)
    if fold is not None:
        if "fold" not in table:
            raise UserError(
                f"The faces in {folder} are not dealt to folds: take those of the clips of size "
                "'folds', or give no fold."
            )
        table["split"] = split_of_fold(table.fold, fold)
    for name, asked in (("split", split), ("scale", scale)):
        there = sorted(table[name].unique().tolist())
        if asked is not None and asked not in there:
            raise UserError(f"The faces in {folder} have no {name} {asked!r}; there are {there}.")
    keep = table.accepted & (table.scale == scale)
    if split is not None:
        keep &= table.split == split
    if not keep.any():
        raise UserError(f"No face of split {split!r} and scale {scale} in {folder} was accepted.")
    table = table[keep].reset_index(drop=True)
    return table.astype(dict.fromkeys(BOX + SQUARE, "int64"))


def _read_pictures(folder, table, names):
    """Return lists of encoded pictures in the order of the table's rows, None for no picture."""
    found = {}
    for shard, rows in table.groupby("shard", sort=False):
        with (folder / "shards" / shard).open("rb") as file:
            shard_file = pq.ParquetFile(file)
            stored = [_stored(name, shard_file.schema_arrow.names) for name in names]
            for batch in shard_file.iter_batches(64, columns=_KEY + stored):
                asked = [pc.is_in(batch[key], pa.array(rows[key].unique(), batch[key].type))
                         for key in ("frame", "scale")]  # fmt: skip
                batch = batch.filter(pc.and_(*asked))
                columns = [batch[name].to_pylist() for name in _KEY + stored]
                found |= {key[: len(_KEY)]: key[len(_KEY) :] for key in zip(*columns, strict=True)}
    keys = zip(*(table[name].tolist() for name in _KEY), strict=True)
    pictures = [found[key] for key in keys]
    return {name: [row[i] for row in pictures] for i, name in enumerate(names)}
