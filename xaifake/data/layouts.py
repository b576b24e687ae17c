"""How data sets of deepfakes lie on disk: one small reader each (chapter 01_dataset).

A reader is a generator of a folder, or of a table, that yields every path it meets with the video's
row of the catalogue, or with the reason, a string, why it is no video::

    original_sequences/actors/c23/videos/<actor>__<scene>.mp4                  DeepFakeDetection
    manipulated_sequences/DeepFakeDetection/c23/videos/<target>_<source>__<scene>__<8 letters>.mp4
    original_sequences/youtube/c23/videos/<target>.mp4                         FaceForensics++
    manipulated_sequences/<method>/c23/videos/<target>_<source>.mp4
    manipulated_sequences/<method>/masks/videos/<as the fake>.mp4
    Celeb-real/<target>_<number>.mp4                                           Celeb-DF
    Celeb-synthesis/<target>_<source>_<number>.mp4
    YouTube-real/<number>.mp4
    dfdc_train_part_0/metadata.json and the videos that it names               DFDC

The embedded clips lie as DeepFakeDetection does.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from xaifake.errors import UserError

REAL_FOLDER = Path("original_sequences", "actors")
FAKE_FOLDER = Path("manipulated_sequences", "DeepFakeDetection")
COMPRESSIONS = ("c23", "c40", "raw")  # the first one that is there is read
COLUMNS = ("video", "label", "collection", "target", "source", "scene", "path", "mask_path")

_SCENE = r"(?P<scene>[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*)"
_SWAPPED = (r"(?P<target>\d{3})_(?P<source>\d{3})", "<target>_<source>.mp4, three digits each")
# Of a collection of FaceForensics++: names of its videos, and how to tell them.
_REAL = {
    "actors": (rf"(?P<target>\d+)__{_SCENE}", "<actor>__<scene>.mp4"),
    "youtube": (r"(?P<target>\d{3})", "<target>.mp4, three digits"),
}
_FAKE = {
    "DeepFakeDetection": (
        rf"(?P<target>\d+)_(?P<source>\d+)__{_SCENE}__[A-Za-z0-9]{{8}}",
        "<target>_<source>__<scene>__<8 letters or digits>.mp4",
    ),
    **dict.fromkeys(("Deepfakes", "Face2Face", "FaceShifter", "FaceSwap"), _SWAPPED),
    "NeuralTextures": _SWAPPED,
}
_CELEB = {
    "Celeb-real": (r"(?P<target>id\d+)_(?P<scene>\d+)", "<target>_<number>.mp4"),
    "Celeb-synthesis": (
        r"(?P<target>id\d+)_(?P<source>id\d+)_(?P<scene>\d+)",
        "<target>_<source>_<number>.mp4",
    ),
    "YouTube-real": (r"(?P<target>\d+)", "<number>.mp4"),
}
_WORDS = {"0": 0, "real": 0, "1": 1, "fake": 1}


def entries(place: Path, compression: str | None = None) -> Iterator[tuple[Path, dict | str]]:
    """Yield what lies in a folder, or is named in a table, by the reader that knows the layout.

    Parameters
    ----------
    place : Path
        Absolute.
    compression : str, optional
        Of FaceForensics++: "c23", "c40" or "raw"; the first of them that all its parts have if not
        given.

    Yields
    ------
    path : Path
    found : dict or str
        A row with `COLUMNS` and ``original``, the name that the real video behind a fake would
        have; or why this is no video.

    Raises
    ------
    UserError
        If no reader knows the layout.
    """
    if place.is_file():
        return _table(place)
    if not place.is_dir():
        raise UserError(f"There is no folder {place}. Give the folder that holds {REAL_FOLDER}.")
    if any((place / top).is_dir() for top in ("original_sequences", "manipulated_sequences")):
        return _face_forensics(place, compression)
    if any((place / name).is_dir() for name in _CELEB):
        return _celeb_df(place)
    if _dfdc_parts(place):
        return _dfdc(place)
    raise UserError(
        f"{place} is not laid out like DFD: expected videos in {REAL_FOLDER / 'c23' / 'videos'} "
        f"and {FAKE_FOLDER / 'c23' / 'videos'}, or folders of FaceForensics++, Celeb-DF or DFDC. "
        "Videos that lie anyhow are read from a table with the columns file and label."
    )


def _row(path, label, collection, video=None, mask=None, **known):
    """Return a row of the catalogue; a mask that is not there is none."""
    found = {"video": video or path.stem, "label": label, "collection": collection}
    found |= dict.fromkeys(("target", "source", "scene", "original")) | known
    mask = str(mask) if mask is not None and mask.is_file() else None
    return found | {"path": str(path), "mask_path": mask}


def _misfit(path, name, expected):
    """Say why a path has not the name of a video; an empty string if it has."""
    if path.is_dir():
        return "a folder, expected a video"
    if path.suffix.lower() != ".mp4":
        return "not an .mp4 file"
    return "" if re.fullmatch(name, path.stem) else f"the name of a {expected}"


def _within(folder):
    return sorted(folder.iterdir()) if folder.is_dir() else ()


def _face_forensics(root, compression):
    level = _compression(root, compression)
    for top, names, kind in (("original", _REAL, "real"), ("manipulated", _FAKE, "fake")):
        for place in _within(root / f"{top}_sequences"):
            if place.name not in names:
                yield place, f"expected one of {', '.join(names)}"
                continue
            name, expected = names[place.name]
            for path in _within(place / level / "videos"):
                reason = _misfit(path, name, f"{kind} video is {expected}")
                yield path, reason or _forensics_row(path, place, kind, name)


def _forensics_row(path, place, kind, name):
    parts = re.fullmatch(name, path.stem).groupdict()
    target, ours = parts["target"], place.name in ("actors", "DeepFakeDetection")
    # The methods name their videos alike, so what is not of DeepFakeDetection begins with them.
    video = path.stem if ours else f"{place.name}_{path.stem}"
    if kind == "real":
        return _row(path, 0, place.name, video, **parts)
    parts["original"] = f"{target}__{parts['scene']}" if ours else f"youtube_{target}"
    mask = place / "masks" / "videos" / f"{path.stem}.mp4"
    return _row(path, 1, place.name, video, mask, **parts)


def _compression(root, wanted):
    """Return the level to read: the one wanted, or the first that all parts on disk have."""
    places = [root / "original_sequences" / name for name in _REAL]
    places += [root / "manipulated_sequences" / name for name in _FAKE]
    levels = {
        str(place.relative_to(root)): {c for c in COMPRESSIONS if (place / c / "videos").is_dir()}
        for place in places
    }
    levels = {name: found for name, found in levels.items() if found}
    if not levels:
        raise UserError(
            f"{root} is not laid out like DFD: expected videos in {REAL_FOLDER / 'c23' / 'videos'} "
            f"and {FAKE_FOLDER / 'c23' / 'videos'} (c40 and raw are read too)."
        )
    shared = set.intersection(*levels.values()) & {wanted or c for c in COMPRESSIONS}
    if not shared:
        # A detector would learn the compression instead of the manipulation.
        there = "; ".join(f"{name} {sorted(found)}" for name, found in levels.items())
        raise UserError(
            f"There is {there}: get both classes at the same compression level"
            + (f", {wanted}." if wanted else ".")
        )
    return next(level for level in COMPRESSIONS if level in shared)


def _celeb_df(root):
    for place in sorted(root.iterdir()):
        if place.name not in _CELEB:
            yield place, f"expected one of {', '.join(_CELEB)}"
            continue
        name, expected = _CELEB[place.name]
        for path in _within(place):
            reason = _misfit(path, name, f"video in {place.name} is {expected}")
            yield path, reason or _celeb_row(path, place, name)


def _celeb_row(path, place, name):
    parts = re.fullmatch(name, path.stem).groupdict()
    if place.name == "Celeb-synthesis":
        parts["original"] = f"{parts['target']}_{parts['scene']}"
        return _row(path, 1, place.name, **parts)
    if place.name == "YouTube-real":  # numbers of videos, not of people
        parts = {"target": f"youtube{path.stem}"}
    return _row(path, 0, place.name, **parts)


def _dfdc_parts(root):
    return sorted([*root.glob("metadata.json"), *root.glob("*/metadata.json")])


def _dfdc(root):
    """DFDC does not name people: whoever is in a real video and its fakes counts as one."""
    for listing in _dfdc_parts(root):
        try:
            listed = dict(json.loads(listing.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            yield listing, "not a list of labels in JSON"
            continue
        for name, about in sorted(listed.items()):
            path, label = listing.parent / name, str(about.get("label")).lower()
            if label not in _WORDS:
                yield path, f"its label in {listing.name} is {about.get('label')!r}"
            elif not path.is_file():
                yield path, f"named in {listing.name}, but not there"
            else:
                original = Path(about.get("original") or name).stem
                known = {"target": original, "original": original if _WORDS[label] else None}
                yield path, _row(path, _WORDS[label], listing.parent.name, **known)
        for path in _within(listing.parent):
            if path.name not in listed and path != listing and not path.is_dir():
                yield path, f"not named in {listing.name}"


def _table(place):
    """Read a table of any files: ``file``, ``label`` and, if it likes, ``group`` and ``mask``."""
    try:
        table = pd.read_csv(place, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{place} cannot be read as a table: {error}") from None
    if not {"file", "label"} <= set(table):
        raise UserError(
            f"{place} has the columns {', '.join(table)}: give file and label (0 or 1, real or "
            "fake), and group and mask if there are some."
        )
    stems = table.file.map(lambda file: Path(file).stem)
    # A name for each video that may name a file: the stem, or the whole path where that is shared.
    names = stems.mask(
        stems.duplicated(keep=False), table.file.str.replace(r"[/\\]", "_", regex=True)
    )
    for video, about in zip(names, table.to_dict("records"), strict=True):
        path, label = place.parent / about["file"], about["label"].strip().lower()
        if label not in _WORDS:
            yield path, f"its label is {about['label']!r}, expected 0 or 1, real or fake"
        elif not path.is_file():
            yield path, "missing"
        else:
            group = about.get("group") or video
            mask = place.parent / about["mask"] if about.get("mask") else None
            if mask is not None and not mask.is_file():
                yield mask, f"the mask of {about['file']}, missing"
            yield path, _row(path, _WORDS[label], place.stem, video, mask, target=group)
