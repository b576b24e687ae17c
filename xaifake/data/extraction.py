"""Faces out of videos, by several processes, safe to kill (chapter 02_face_extraction).

Each video is one task and gives one file in ``shards/``, which appears whole or not at all, so a
run that was killed goes on where it stopped and ends with the same bytes. The manifest is put
together from the shards at the end.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from contextlib import closing
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xaifake.data.alignment import align, difference_mask, small_frames
from xaifake.data.dataset import BOX, SQUARE, read_manifest
from xaifake.data.decoding import Unreadable
from xaifake.data.faces import (
    FULL_SEARCH_EVERY,
    FaceFinder,
    cut_mask,
    cut_square,
    encode_jpeg,
    encode_mask,
    face_square,
)
from xaifake.data.media import open_media, spaced_frames
from xaifake.data.workers import run_tasks, stopping
from xaifake.errors import UserError
from xaifake.lazy import renamed_arguments
from xaifake.progress import progress_bar
from xaifake.runs import RunFolder, as_folder, read_parquet, write_whole
from xaifake.scales import SCALES

if TYPE_CHECKING:
    import pandas as pd

FRAMES_PER_VIDEO = {"real": 32, "fake": 12}
_LONGEST_UNSEARCHED = 2.0  # seconds of a video between two frames that are searched whole
_FROM_CATALOGUE = ("label", "target", "source", "scene", "split", "kind", "region", "original")
_MEASURED = pa.schema(
    [("video", pa.string()), ("frame", pa.int32()), ("scale", pa.float64())]
    + [("accepted", pa.bool_()), ("reason", pa.string())]
    + [(name, pa.int32()) for name in BOX]
    + [("landmarks", pa.list_(pa.float32()))]
    + [(name, pa.int32()) for name in SQUARE]
    + [("padded", pa.bool_()), ("mask_share", pa.float32()), ("mask_source", pa.string())]
)
_PICTURES = [(name, pa.binary()) for name in ("image", "mask", "original")]
_SHARD = pa.schema(list(_MEASURED) + _PICTURES)
_MANIFEST_ORDER = (
    *("video", "frame", "scale", "label", "target", "source", "scene", "split", "kind", "region"),
    *("original", "accepted", "reason", *BOX, "landmarks", *SQUARE, "padded", "mask_share"),
    *("mask_source", "shard"),
)


@renamed_arguments(twins="originals")
def extract_faces(
    catalogue: pd.DataFrame,
    out: str | Path,
    scales: Sequence[float] = SCALES,
    frames_per_video: dict = FRAMES_PER_VIDEO,
    originals: bool = False,
    size: int = 128,
    smallest: int = 120,
    full_search: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Cut the faces out of all videos of a catalogue.

    From each video evenly spaced frames are taken and the face is looked for once in each; every
    scale is cut from that one detection. A frame is rejected if it shows no face or several (in a
    fake nobody knows which one was swapped), and a crop if its square is smaller than ``smallest``
    (Malolan, Parekh and Kazi 2020, section III A). A video that cannot be read whole gives no
    faces; why is recorded, and the run goes on. Masks are taken along where there are some.

    May be killed at any moment: the same call then goes on, and ends with the same files.

    Parameters
    ----------
    catalogue : pandas.DataFrame
        From `read_catalogue`, with a column ``split``.
    out : str or Path
        Folder to write to, or an fsspec URL (see `xaifake.runs.as_folder`). With a
        scheduler all machines must reach it, as they must the videos.
    scales : sequence of float
        Sides of the squares, as factors of the larger side of the face's box.
    frames_per_video : dict
        Frames to take from a ``"real"`` and from a ``"fake"`` video; 32 and 12 if not given, which
        uses all of an embedded real clip.
    originals : bool
        Also cut, by the fake's square, the frame of its original that it was made from, which
        `xaifake.data.alignment.align` finds. A fake without an original that fits gives no faces
        then. One without a mask gets one from the difference of the two frames.
    size : int
        Side of the crops, in pixels.
    smallest : int
        Least side of a square, in pixels of the frame.
    full_search : bool
        Search every frame whole. If not, a face is followed from frame to frame (see
        `xaifake.data.faces.FaceFinder.follow`), and frames are searched whole at least every 2
        seconds of the video.
    workers : int, optional
        Processes; as many as there are processors if not given.
    scheduler : str, optional
        Address of a Dask scheduler whose workers cut the faces, or "local" for a cluster of
        ``workers`` processes on this machine. Workers may come and go: what one had begun when it
        died, another does. Without it the processes are a plain pool.
    progress : bool
        Show a progress bar, and at the end what was rejected and what could not be read.

    Returns
    -------
    pandas.DataFrame
        The manifest, as `xaifake.data.dataset.read_manifest` reads it from ``out``. How each video
        fared, `xaifake.data.dataset.read_statuses` reads.

    Raises
    ------
    UserError
        If an argument makes no sense, ``out`` holds faces of other settings, a worker process dies,
        or the scheduler is not to be had.
    """
    _check_catalogue(catalogue)
    settings = _checked_settings(scales, frames_per_video, originals, size, smallest, full_search)
    folder = RunFolder(out, settings).claim().path  # other machines may do so too
    (folder / "shards").mkdir(exist_ok=True)
    rows = _records(catalogue)
    jobs = _jobs(rows, folder, settings)
    status = {job["video"]: "ok" for job in jobs if _is_done(job)}
    waiting = [job for job in jobs if job["video"] not in status]
    bar = progress_bar(show=progress, total=len(jobs), initial=len(status), unit="video")
    results = run_tasks(
        cut_video, waiting, settings, workers, scheduler, bar.write if progress else _say_nothing
    )
    with bar, closing(results):  # on Ctrl-C too the processes end before this returns
        for video, result in results:
            status[video] = result
            bar.update()
    _write_tables(rows, status, folder)
    manifest = read_manifest(folder)
    if progress:
        print(_summary(manifest, status))
    return manifest


def _say_nothing(line):
    pass


def _check_catalogue(catalogue):
    if "split" not in catalogue or catalogue["split"].isna().any():
        raise UserError(
            "Every video needs a split before its faces are cut: call split_by_person(catalogue, "
            "seed) first."
        )
    if not len(catalogue) or catalogue.video.duplicated().any():
        raise UserError("The catalogue must hold at least one video, and each video only once.")


def _checked_settings(scales, frames_per_video, originals, size, smallest, full_search):
    if set(frames_per_video) != {"real", "fake"} or min(frames_per_video.values()) < 1:
        raise UserError(
            f"frames_per_video is {frames_per_video}; expected a number of frames, at least 1, "
            "for 'real' and for 'fake'."
        )
    scales = sorted({float(scale) for scale in scales})
    if not scales or scales[0] <= 0:
        raise UserError(f"scales is {scales}; expected factors above 0, such as (1.3, 2.0).")
    return {
        "scales": scales,
        "frames_per_video": {kind: int(frames_per_video[kind]) for kind in ("real", "fake")},
        "originals": bool(originals),
        "size": int(size),
        "smallest": int(smallest),
        "full_search": bool(full_search),
    }


def _records(catalogue):
    """Return the catalogue's rows as dicts, sorted by video, with None for nothing."""
    plain = catalogue.sort_values("video").astype(object)
    return plain.where(plain.notna(), None).to_dict("records")


def _jobs(rows, out, settings):
    # Whole paths: on another machine the task runs in another folder.
    paths = {row["video"]: os.path.abspath(row["path"]) for row in rows}
    jobs = []
    for row in rows:
        job = {"video": row["video"], "label": row["label"], "path": paths[row["video"]]}
        job["shard"] = str(out.absolute() / "shards" / f"{row['video']}.parquet")
        if row["label"]:
            if row["mask_path"]:
                job["mask"] = os.path.abspath(row["mask_path"])
            if settings["originals"]:
                job["original"] = paths.get(row["original"])
        jobs.append(job)
    return jobs


def _source_bytes(job):
    """Return the sizes of a task's files: a shard cut from other files is not taken for done."""
    files = [job[name] for name in ("path", "mask", "original") if job.get(name)]
    sizes = [os.path.getsize(file) if os.path.isfile(file) else -1 for file in files]
    return json.dumps(sizes).encode()


def _is_done(job):
    shard = as_folder(job["shard"])
    if not shard.is_file():
        return False
    with shard.open("rb") as file:
        schema = pq.read_schema(file)
    return schema.equals(_SHARD) and schema.metadata[b"source_bytes"] == _source_bytes(job)


_thread = threading.local()  # a detector of dlib belongs to one thread


def cut_video(job, settings):
    """Cut the faces of one video into its shard; return "ok" or why there are none."""
    if not hasattr(_thread, "finder"):
        cv2.setNumThreads(1)  # as many processes as cores are parallel enough
        _thread.finder = FaceFinder()
    if _is_done(job):  # by a worker that was lost before it could say so
        return "ok"
    shard = as_folder(job["shard"])
    try:
        rows = _video_rows(job, settings, _thread.finder)
    except Unreadable as reason:
        shard.unlink(missing_ok=True)
        return str(reason)
    table = pa.Table.from_pylist(rows, _SHARD.with_metadata({"source_bytes": _source_bytes(job)}))
    with write_whole(shard) as file:
        pq.write_table(table, file, use_dictionary=False, write_statistics=False)
    return "ok"


def _video_rows(job, settings, finder):
    kind = "fake" if job["label"] else "real"
    footage = open_media(job["path"], strict=True)
    wanted = spaced_frames(len(footage), settings["frames_per_video"][kind])
    frames, ahead = tee(frame.image for frame in footage.read(wanted))
    seconds = footage.seconds(len(footage) - 1)
    found = finder.follow(ahead, 1 if settings["full_search"] else _search_every(wanted, seconds))
    beside = {}
    if "mask" in job:
        beside["mask"] = _named("mask", _frames(job["mask"], wanted))
    if "original" in job:
        beside["original"] = _named(
            "original", _matched_frames(job["original"], _all_small(job["path"]), wanted)
        )
    rows = []
    for number, frame, faces in zip(wanted, frames, found):
        if stopping():
            raise Unreadable("stopped")  # by Ctrl-C: nobody reads this
        extra = {name: next(frames) for name, frames in beside.items()}
        for name, picture in extra.items():
            if picture.shape[:2] != frame.shape[:2]:
                raise Unreadable(f"{name}: {_shape(picture)}, the video {_shape(frame)}")
        rows += _frame_rows(job, number, frame, faces, extra, settings)
    next(frames, None)  # reads on to the end, so that a truncated video gives no faces
    return rows


def _matched_frames(path, small, wanted):
    """Yield the frames of a video that those of another, whose small frames are given, come from.

    Raises `Unreadable` if it is another video.
    """
    try:
        found = align(small, _all_small(path))
    except UserError as error:
        raise Unreadable(str(error)) from None
    if not found.is_pair:
        raise Unreadable(f"another video, {found.refusal}")
    numbers = found.numbers[wanted]
    frames = _frames(path, np.unique(numbers).tolist())
    for number, before in zip(numbers, [None, *numbers], strict=False):
        if number != before:
            frame = next(frames)
        yield frame


def frame_pair(
    fake: pd.Series, catalogue: pd.DataFrame, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a frame of a fake, the frame of its original that it was made from, and its mask.

    Parameters
    ----------
    fake : pandas.Series
        A row of the catalogue with an ``original``.
    catalogue : pandas.DataFrame
        From `read_catalogue`.
    number : int
        Of the frame in the fake, from 0.

    Returns
    -------
    frame, original : numpy.ndarray
        ``uint8 (H, W, 3)`` RGB.
    mask : numpy.ndarray of bool, (H, W)
        Where the frame is manipulated: of the fake's file of masks; where it has none, by the
        difference of the two frames (see `xaifake.data.alignment.difference_mask`).

    Raises
    ------
    Unreadable
        If a file cannot be read to its end, the original is another video, or a fake without a
        file of masks does not show one face in this frame.
    """
    path = catalogue.set_index("video").path[fake.original]
    frame = next(_frames(fake.path, [number]))
    original = next(_matched_frames(path, _all_small(fake.path), [number]))
    if isinstance(fake.mask_path, str):
        return frame, original, next(_frames(fake.mask_path, [number]))[..., 1] >= 128
    faces = FaceFinder().find(frame)
    if len(faces) != 1:
        raise Unreadable(f"{len(faces)} faces in frame {number}: without a mask it must show one")
    return frame, original, _mask(frame, faces[0], {"original": original})[0]


def align_catalogue(catalogue, workers=None, progress=True):
    """Align each fake of a catalogue to its original, to see which are pairs.

    Both are read whole, which takes some fifteen seconds of a core per pair of 30 s in full HD.

    Parameters
    ----------
    catalogue : pandas.DataFrame
        From `read_catalogue`.
    workers : int, optional
        Processes; one per core if not given.
    progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row per fake whose original is in the catalogue: ``video``, ``status`` ("pair", or why
        it is none), ``score`` (see `xaifake.data.alignment.Alignment`), ``frames`` and
        ``original_frames``, and ``in_step``, the share of the frames with the same number in both;
        NaN where a file cannot be read.
    """
    import pandas as pd  # nothing else here needs it, worker processes least of all

    paths = dict(zip(catalogue.video, catalogue.path, strict=True))
    fakes = catalogue[catalogue.original.notna()]
    jobs = [
        {"video": row.video, "path": row.path, "original": paths[row.original]}
        for row in fakes.itertuples()
    ]
    bar = progress_bar(show=progress, total=len(jobs), unit="pair")
    results = run_tasks(align_video, jobs, {}, workers)
    rows = {}
    with bar, closing(results):
        for video, row in results:
            rows[video] = {"video": video, **row}
            bar.update()
    columns = ["video", "status", "score", "frames", "original_frames", "in_step"]
    return pd.DataFrame([rows[job["video"]] for job in jobs], columns=columns)


def align_video(job, settings):
    """Align one fake to its original; return a row of `align_catalogue`."""
    try:
        fake, original = (_all_small(job[name]) for name in ("path", "original"))
        found = align(fake, original)
    except (Unreadable, UserError) as error:
        return {"status": str(error)}
    return {
        "status": "pair" if found.is_pair else found.refusal,
        "score": found.score,
        "frames": len(fake),
        "original_frames": len(original),
        "in_step": float((found.numbers == np.arange(len(fake))).mean()),
    }


def _all_small(path):
    return small_frames(_frames(path))


def _frames(path, wanted=None):
    for frame in open_media(path, strict=True).read(wanted):
        yield frame.image


def _search_every(wanted, seconds):
    """Return how many of the frames come from one that is searched whole to the next."""
    if not seconds:
        return 1
    return max(1, min(FULL_SEARCH_EVERY, int(_LONGEST_UNSEARCHED * len(wanted) / seconds)))


def _shape(picture):
    return f"{picture.shape[1]} x {picture.shape[0]} px"


def _named(name, frames):
    """Yield a mask's or an original's frames; say whose they are where they cannot be read."""
    try:
        yield from frames
    except Unreadable as reason:
        raise Unreadable(f"{name}: {reason}") from None


def _frame_rows(job, number, frame, faces, extra, settings):
    """Return the rows of one frame, one per scale, from one detection."""
    where = {"video": job["video"], "frame": number}
    if len(faces) != 1:
        reason = "several_faces" if faces else "no_face"
        rejected = {**where, "accepted": False, "reason": reason, "padded": False}
        return [{**rejected, "scale": scale} for scale in settings["scales"]]
    face = faces[0]
    where |= dict(zip(BOX, face.box, strict=True), landmarks=face.landmarks.ravel())
    rows = []
    mask, source = _mask(frame, face, extra)
    # Nothing of a real face is manipulated; how much of a fake without a mask is, nobody knows.
    known = {"mask_source": source, "mask_share": None if job["label"] else 0.0}
    for scale in settings["scales"]:
        square = face_square(face, scale)
        row = {**where, "scale": scale, **dict(zip(SQUARE, square, strict=True)), "padded": False}
        if square[-1] < settings["smallest"]:
            row |= {"accepted": False, "reason": "too_small"}
        else:
            pictures = _cut(frame, mask, extra.get("original"), square, settings["size"])
            row |= {"accepted": True, "reason": "", **known, **pictures}
        rows.append(row)
    return rows


def _mask(frame, face, extra):
    """Return where a frame is manipulated and how that is known; None and None if it is not."""
    if "mask" in extra:
        return extra["mask"][..., 1] >= 128, "file"
    if "original" in extra:
        return difference_mask(frame, extra["original"], face.side), "difference"
    return None, None


def _cut(frame, mask, original, square, size):
    image, padded = cut_square(frame, square, size)
    cut = {"image": encode_jpeg(image), "padded": padded}
    if mask is not None:
        mask = cut_mask(mask, square, size)
        cut |= {"mask": encode_mask(mask), "mask_share": float(mask.mean())}
    if original is not None:
        cut["original"] = encode_jpeg(cut_square(original, square, size)[0])
    return cut


def _write_tables(rows, status, out):
    """Put the manifest together from the shards, and list how each video fared."""
    dealt = ["fold"] if "fold" in rows[0] else []
    order = [*_MANIFEST_ORDER, *dealt]
    tables = []
    for row in rows:
        if status[row["video"]] != "ok":
            continue
        name = f"{row['video']}.parquet"
        table = read_parquet(out / "shards" / name, _MEASURED.names)
        for column in (*_FROM_CATALOGUE, *dealt):
            table = table.append_column(column, _repeated(row.get(column), column, len(table)))
        tables.append(table.append_column("shard", _repeated(name, "shard", len(table))))
    fields = {field.name: field for field in _MEASURED}
    schema = pa.schema([fields.get(name, pa.field(name, _type(name))) for name in order])
    tables = [table.select(order).replace_schema_metadata() for table in tables]
    with write_whole(out / "manifest.parquet") as file:
        pq.write_table(pa.concat_tables([schema.empty_table(), *tables]), file)
    videos = pa.table({name: [row[name] for row in rows] for name in ("video", "label", "split")})
    videos = videos.append_column("status", pa.array([status[row["video"]] for row in rows]))
    with write_whole(out / "videos.parquet") as file:
        pq.write_table(videos, file)


def _type(column):
    return pa.int64() if column in ("label", "fold") else pa.string()


def _repeated(value, column, n):
    return pa.array([value] * n, _type(column))


def _summary(manifest, status):
    frames = manifest.groupby(["scale", "reason"], sort=True).size()
    lines = []
    for scale in sorted(manifest.scale.unique()):
        parts = [f"{n:,} {reason or 'accepted'}" for reason, n in frames[scale].items()]
        lines.append(f"scale {scale}: {', '.join(parts)}")
    reasons = [f"  {video}: {told}" for video, told in sorted(status.items()) if told != "ok"]
    lines.append(f"{len(reasons)} videos could not be read" + (":" if reasons else ""))
    return "\n".join(lines + reasons)
