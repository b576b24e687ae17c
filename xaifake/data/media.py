"""Frames of a video, a folder of pictures or a picture, of any format (chapter 15_explain_a_video).

The one reader of the page, the overlay and the extraction of faces. What somebody brings is read as
far as it can be, and what is wrong with it is told; training data are read strictly.
"""

import functools
import os
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, ImageSequence

from xaifake.data.decoding import LONGEST_SIDE, REDUCED, Unreadable, VideoReader
from xaifake.errors import UserError

_SMALLEST_SIDE = 16  # pixels
_PICTURES = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_MOVING = ("AVIF", "GIF", "PNG")  # where these move, FFmpeg shows them
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # of Pillow
_REDUCED_PAGE = 1  # in TIFF's NewSubfileType
_UNSAID_DURATION = 100  # milliseconds, as browsers take it
# Brands of ISO 23008-12; of their pictures FFmpeg shows single tiles.
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif")
# Where HEIF (colr) and PNG (cICP) say that a picture is PQ (16) or HLG (18).
_HDR = re.compile(rb"colrnclx..\0[\x10\x12]|cICP.[\x10\x12]", re.DOTALL)
_HIDDEN = re.compile("[\u202a-\u202e\u2066-\u2069]")  # characters that turn the reading direction
_ADVICE = "give a video, a picture or a folder of pictures"


@dataclass(frozen=True)
class Frame:
    """One picture of some footage.

    Attributes
    ----------
    number : int
        From 0, in the order in which the frames are shown.
    seconds : float or None
        After the first frame; None for pictures, which have no time.
    image : numpy.ndarray
        ``uint8 (H, W, 3)`` RGB, upright, with square pixels, at most 8,192 pixels long.
    """

    number: int
    seconds: float | None
    image: np.ndarray


@dataclass
class Media:
    """A video, a folder of pictures or a single picture, opened for reading.

    Attributes
    ----------
    path : Path
    kind : str
        "video", "folder" (or a file of several pages) or "picture".
    about : dict of str to str
        What the file says of itself, and what was done to show it, ready to be shown.
    problems : list of str
        What could not be read, in sentences; grows while frames are read.
    """

    path: Path
    kind: str
    about: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)
    _stamps: Sequence = ()  # when each frame is shown, from 0; empty for what has no time
    _unit: Fraction = Fraction(1)  # seconds of one unit of the time stamps
    _pages: Sequence = ()  # path and page of each picture that Pillow reads
    _video: VideoReader | None = None

    def __len__(self):
        return len(self._stamps) or len(self._pages)

    @property
    def name(self):
        """The name of the file or folder, without characters that hide or turn other text."""
        return readable(os.path.basename(os.path.abspath(self.path)) or "/")

    def seconds(self, number):
        """Return when a frame is shown, in seconds after the first; None for pictures."""
        return float(self._stamps[number] * self._unit) if len(self._stamps) else None

    def spread(self, count):
        """Return at most ``count`` frame numbers, evenly spread over the time or the pictures."""
        if not len(self._stamps):
            return spaced_frames(len(self), count)
        stamps = np.array(self._stamps, dtype=np.float64)
        wanted = np.linspace(stamps[0], stamps[-1], min(count, len(stamps)))
        right = np.searchsorted(stamps, wanted).clip(0, len(stamps) - 1)
        left = (right - 1).clip(0)
        nearer = np.where(wanted - stamps[left] <= stamps[right] - wanted, left, right)
        return np.unique(nearer).tolist()

    def read(self, numbers=None):
        """Yield frames, one at a time.

        Parameters
        ----------
        numbers : sequence of int, optional
            Ascending; all if not given.

        Yields
        ------
        Frame
            Those that can be read; `problems` tells of the others.

        Raises
        ------
        Unreadable
            If the footage was opened as ``strict`` and is damaged anywhere.
        """
        numbers = range(len(self)) if numbers is None else numbers
        images = self._pictures(numbers) if self._video is None else self._video.read(numbers)
        for number, image in images:
            yield Frame(number, self.seconds(number), image)

    def _pictures(self, numbers):
        for path, ones in groupby(numbers, lambda number: self._pages[number][0]):
            try:
                with Image.open(path, formats=_picture_formats()) as image:
                    if max(image.size) > LONGEST_SIDE and REDUCED not in self.problems:
                        self.problems.append(REDUCED)
                    for number in ones:
                        yield number, _as_rgb(image, self._pages[number][1])
            except _UNREADABLE as error:
                why = f": {error}" if isinstance(error, Unreadable) else ""
                self.problems.append(f"{readable(path.name)} cannot be read as a picture{why}.")


def open_media(path, strict=False):
    """Open a video, a folder of pictures or a picture, whatever its name ends in.

    Parameters
    ----------
    path : str or Path
        A file in any format that FFmpeg or Pillow decodes; a folder, whose pictures are taken for
        the frames of one scene, in the order of the numbers in their names.
    strict : bool
        Take a video only, and a whole one: damage raises an error, here or when frames are read.

    Returns
    -------
    Media

    Raises
    ------
    UserError
        If there is nothing there, or nothing in it that can be shown; with ``strict`` an
        `Unreadable`, whose text is the reason alone.
    """
    try:
        return _open(path and Path(path), strict)
    except Unreadable as why:
        if strict:
            raise
        begins = f"There is no {path}" if str(why) == "missing" else f"{path}: {why}"
        raise UserError(f"{begins}: {_ADVICE}.") from None


def spaced_frames(count, wanted):
    """Return at most ``wanted`` frame numbers, evenly spaced from the first to the last."""
    return np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist()


def readable(text, longest=200):
    """Return text from a file as it may be shown: whole characters, none that turns others."""
    text = str(text).encode("utf-8", "replace").decode("utf-8")
    text = "".join("\ufffd" if unicodedata.category(c) == "Cc" else c for c in text)
    text = _HIDDEN.sub("\ufffd", text)
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"


def _open(path, strict):
    if path is None or not path.exists() or strict and path.is_dir():
        raise Unreadable("missing")
    if path.is_dir():
        return _open_folder(path)
    if path.is_file() and not path.stat().st_size:
        raise Unreadable("empty file")
    pages, lasts = _pages(path)
    if pages and not strict:
        return _open_pictures(path, pages, lasts)
    reader = VideoReader(path, strict)
    index, about = reader.index, reader.about
    footage = Media(path, "video", about, reader.problems, index.stamps, index.unit, (), reader)
    for name in about:
        about[name] = readable(about[name])
    about["frames"] = f"{len(footage):,} in {footage.seconds(len(footage) - 1):.1f} seconds"
    return footage


def _open_folder(path):
    pictures, others, named = [], 0, []
    for file in sorted(path.iterdir(), key=_natural):
        try:
            pages = _pages(file)[0] if file.is_file() else []
        except Unreadable as why:
            named.append(f"{readable(file.name)} is passed over: {why}.")
            continue
        pictures += [(file, pages[0])] if len(pages) == 1 else []
        others += len(pages) != 1
    if not pictures:
        because = f" ({named[0][:-1]})" if named else ""
        raise UserError(
            f"{path} holds no picture{because}: give a folder of pictures, or one of its videos."
        )
    if others:
        named.append(f"{others:,} files in the folder are no pictures.")
    return Media(path, "folder", {"pictures": f"{len(pictures):,}"}, named, _pages=pictures)


def _natural(path):
    """Sort frame_10 after frame_9."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _open_pictures(path, pages, lasts):
    kind = "video" if lasts else "picture" if len(pages) == 1 else "folder"
    footage = Media(path, kind, _pages=[(path, page) for page in pages])
    first = next(footage._pictures([0]), None)
    if first is None:
        reason = footage.problems[-1].partition("picture: ")[2] or "it is damaged."
        raise UserError(f"{path} begins like a picture, but cannot be read as one: {reason}")
    height, width = first[1].shape[:2]
    footage.about = {"size": f"{width} x {height} pixels"}
    if len(pages) > 1:
        footage.about["pictures"] = f"{len(pages):,}"
    if lasts:
        footage._stamps, footage._unit = np.cumsum([0, *lasts[:-1]]), Fraction(1, 1000)
    return footage


@functools.cache
def _picture_formats():
    """Return those of the formats that this Pillow knows; it stumbles over others."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return [name for name in _PICTURES if name in Image.OPEN]


def _pages(path):
    """Return which pages of a file are pictures for Pillow, and their milliseconds if they move.

    None stands for the main picture of a file, beside which phones keep others of depth or light.
    """
    head = b""
    try:
        with open(path, "rb") as file:
            head = file.read(1 << 16)
        with Image.open(path, formats=_picture_formats()) as image:
            several, format = getattr(image, "is_animated", False), image.format
            if several and format in _MOVING:
                return [], []
            if _HDR.search(head):
                raise Unreadable("an HDR picture (PQ or HLG), which is not tone-mapped")
            if several and format == "WEBP":
                lasts = [_milliseconds(frame) for frame in ImageSequence.Iterator(image)]
                return list(range(len(lasts))), lasts
            if several and format == "TIFF":
                kinds = [page.tag_v2.get(254, 0) for page in ImageSequence.Iterator(image)]
                return [k for k, kind in enumerate(kinds) if not kind & _REDUCED_PAGE], []
            return [None], []
    except Unreadable:
        raise
    except _UNREADABLE:
        if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
            raise Unreadable(
                "a HEIC or AVIF picture that cannot be read; for HEIC, pip install pillow-heif"
            ) from None
        return [], []


def _milliseconds(frame):
    frame.load()
    return frame.info["duration"] or _UNSAID_DURATION


def _as_rgb(image, page):
    """Return a page of a picture as its EXIF says it was held, reduced if it is very large."""
    if page is not None:
        image.seek(page)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16") or (upright.mode, image.format) == ("I", "PNG"):
        upright = Image.fromarray((np.asarray(upright).astype(np.uint32) // 257).astype(np.uint8))
    if upright.mode in ("I", "F"):
        raise Unreadable(
            "its brightness is in numbers of 32 bits, of which none is said to be white"
        )
    pixels = np.array(upright.convert("RGB"))
    if min(pixels.shape[:2]) < _SMALLEST_SIDE:
        raise Unreadable(f"it has less than {_SMALLEST_SIDE} pixels a side")
    factor = LONGEST_SIDE / max(pixels.shape[:2])
    if factor >= 1:
        return pixels
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
