"""Folders of anybody's portraits, as real faces to train on (03_training)."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xaifake.data.degradations import FACE_PX
from xaifake.data.faces import NOSE_TIP, FaceFinder, encode_jpeg
from xaifake.errors import UserError
from xaifake.progress import progress_bar
from xaifake.runs import digest, read_parquet, write_whole

ENDINGS = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_LONGEST = 1600  # pixels; a larger picture is reduced before its face is looked for
_KEPT = 2.6  # times the face's box, around the nose: what a turned square of scale 2.0 needs
_SHOWN = 5  # names in an error


@dataclass(frozen=True)
class FoundPortraits:
    """Pictures with one face each.

    Attributes
    ----------
    names : list of str
        As `list_portraits` gives them.
    encoded : list of bytes
        JPEG of the face and what is around it, the face's box at most 260 pixels.
    landmarks : numpy.ndarray
        ``float32 (N, 68, 2)``, pixels of that picture.
    boxes : numpy.ndarray
        ``float64 (N,)``, side of the face's box in them.
    """

    names: list
    encoded: list
    landmarks: np.ndarray
    boxes: np.ndarray

    def __len__(self):
        return len(self.names)

    def part(self, rows):
        """Return some of them."""
        names, encoded = ([ones[row] for row in rows] for ones in (self.names, self.encoded))
        return FoundPortraits(names, encoded, self.landmarks[rows], self.boxes[rows])


def list_portraits(folders):
    """List the pictures of some folders and of the folders in them, in a fixed order.

    Parameters
    ----------
    folders : iterable of str or path

    Returns
    -------
    dict of str to pathlib.Path
        By the number of the folder and the path in it, which are the same on every machine.

    Raises
    ------
    UserError
        If a folder is not there or has no picture.
    """
    listed = {}
    for number, folder in enumerate(map(Path, folders)):
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}: give a folder of portraits.")
        paths = [path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS]
        if not paths:
            raise UserError(
                f"There is no picture in {folder}: portraits are files that end in "
                f"{', '.join(sorted(ENDINGS))}."
            )
        for path in sorted(paths):
            listed[f"{number}/{path.relative_to(folder).as_posix()}"] = path
    return listed


def portraits_digest(listed):
    """Return a digest of names and sizes, to recognise a set of pictures by."""
    return digest([(name, path.stat().st_size) for name, path in listed.items()])


def find_portraits(listed, cache, progress=True):
    """Find the face in each picture, or read what was found before.

    A picture without a face, with several, or with one below 60 pixels is left out.

    Parameters
    ----------
    listed : dict of str to path
        From `list_portraits`.
    cache : str or path
        Parquet file for what is found; it appears whole or not at all.
    progress : bool
        Show a bar.

    Returns
    -------
    FoundPortraits

    Raises
    ------
    UserError
        If pictures cannot be read, all of which are counted and some named, or none has one face.
    """
    cache, known = Path(cache), portraits_digest(listed).encode()
    if cache.is_file():
        table = read_parquet(cache)
        if table.schema.metadata[b"portraits"] == known:
            return _as_found(table)
    table = _search(listed, progress).replace_schema_metadata({b"portraits": known})
    with write_whole(cache) as file:
        pq.write_table(table, file, use_dictionary=False)
    return _as_found(table)


def _search(listed, progress):
    rows, names, unreadable, finder = [], [], [], FaceFinder()
    bar = progress_bar(show=progress, total=len(listed), unit="portrait", desc="finding faces")
    with bar:

        def read():
            for name, path in listed.items():
                bar.update(1)
                picture = _read(path)
                (unreadable if picture is None else names).append(name)
                if picture is not None:
                    yield picture

        for number, (picture, found) in enumerate(finder.search(read())):
            if len(found) == 1 and found[0].side >= FACE_PX[0]:
                rows.append({"name": names[number], **_cut(picture, found[0])})
    if unreadable:
        more = len(unreadable) - _SHOWN
        shown = ", ".join(str(listed[name]) for name in unreadable[:_SHOWN])
        raise UserError(
            f"{len(unreadable)} of {len(listed)} portraits cannot be read: {shown}"
            f"{f' and {more} more' if more > 0 else ''}. "
            "Remove or replace them."
        )
    if not rows:
        raise UserError(
            f"None of the {len(listed)} portraits shows exactly one face of at least "
            f"{FACE_PX[0]} pixels, seen from the front: give other pictures."
        )
    return pa.Table.from_pylist(rows)


def _read(path):
    """Return a picture, uint8 (H, W, 3) RGB, or None if it is none."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        return None
    factor = _LONGEST / max(picture.shape[:2])
    if factor < 1:
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(picture[..., ::-1])


def _cut(picture, face):
    """Keep the part around a face, at most as large as the largest face in a video."""
    side = face.side
    corner = np.floor(face.landmarks[NOSE_TIP] - _KEPT / 2 * side).astype(int).clip(0)
    last = np.ceil(face.landmarks[NOSE_TIP] + _KEPT / 2 * side).astype(int)
    part = picture[corner[1] : last[1], corner[0] : last[0]]
    factor = min(1.0, FACE_PX[1] / side)
    if factor < 1:
        part = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    landmarks = (face.landmarks - corner + 0.5) * factor - 0.5
    return {
        "image": encode_jpeg(np.ascontiguousarray(part)),
        "landmarks": landmarks.astype(np.float32).ravel().tolist(),
        "box": side * factor,
    }


def _as_found(table):
    landmarks = np.array(table["landmarks"].to_pylist(), np.float32).reshape(-1, 68, 2)
    return FoundPortraits(
        table["name"].to_pylist(),
        table["image"].to_pylist(),
        landmarks,
        np.array(table["box"].to_pylist()),
    )
