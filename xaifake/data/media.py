"""Frames of a video, a folder of pictures or a picture, of any format (chapter 12_explain_a_video).

`xaifake.data.extraction` is strict, as training data must be: one format, whole files. Here a
reader brings whatever there is, so everything that FFmpeg decodes is read as far as it can be read,
turned the way a phone says it was held, and what is wrong with it is told and not hidden.
"""

import functools
import os
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image, ImageOps

from xaifake.data.extraction import ODD_METADATA, spaced_frames
from xaifake.errors import UserError

LONGEST_SIDE = 1920  # pixels; larger frames are reduced, which loses no face that is looked at
_FAR = 10.0  # seconds; a frame further ahead is jumped to
_SMALLEST_SIDE = 16  # pixels
# Formats that are lists of other files or addresses: what they name is not what was given.
_LISTS = {
    "hls",
    "dash",
    "concat",
    "concatf",
    "imf",
    "sdp",
    "rtsp",
    "webm_dash_manifest",
    "ffmetadata",
}
_PICTURES = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_UNREADABLE = (OSError, ValueError, SyntaxError)  # what Pillow raises, by format
_TAGS = ("title", "comment", "encoder", "creation_time", "com.android.version")
_CUT_SHORT = "The file is cut short"
_HIDDEN = re.compile("[\u202a-\u202e\u2066-\u2069]")  # characters that turn the reading direction


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
        ``uint8 (H, W, 3)`` RGB, upright, at most `LONGEST_SIDE` pixels long.
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
        "video", "folder" or "picture".
    about : dict of str to str
        What the file says of itself, ready to be shown.
    problems : list of str
        What could not be read, in sentences; grows while frames are read.
    """

    path: Path
    kind: str
    about: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)
    _places: Sequence = ()  # time stamps of a video's frames, or paths of pictures
    _unit: Fraction = Fraction(1)  # seconds of one unit of the time stamps
    _timed: bool = True  # whether the frames carry time stamps; else they are counted

    def __len__(self):
        return len(self._places)

    @property
    def name(self):
        """The name of the file or folder, without characters that hide or turn other text."""
        return readable(os.path.basename(os.path.abspath(self.path)) or "/")

    def seconds(self, number):
        """Return when a frame is shown, in seconds after the first; None for pictures."""
        if self.kind != "video":
            return None
        return float((self._places[number] - self._places[0]) * self._unit)

    def spread(self, count):
        """Return at most ``count`` frame numbers, evenly spread over the time or the pictures."""
        if self.kind != "video":
            return spaced_frames(len(self), count)
        stamps = np.array(self._places, dtype=np.float64)
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
        """
        numbers = range(len(self)) if numbers is None else numbers
        if self.kind == "video":
            yield from self._read_video(numbers)
            return
        for number in numbers:
            image = _read_picture(self._places[number])
            if image is None:
                self._tell(f"{readable(self._places[number].name)} cannot be read as a picture.")
            else:
                yield Frame(number, None, image)

    def _read_video(self, numbers):
        wanted = iter(numbers)
        number = next(wanted, None)
        with _opened(self.path) as container:
            stream = container.streams.best("video")
            stream.thread_type = "AUTO"
            frames, last = self._decoded(container, stream), 0
            while number is not None:
                stamp = self._places[number]
                if self._timed and (stamp - last) * self._unit > _FAR:
                    frames = self._jump(container, stream, stamp, frames)
                last, frame = next((f for f in frames if f[0] >= stamp), (None, None))
                if frame is None:
                    if not any(problem.startswith(_CUT_SHORT) for problem in self.problems):
                        at = self.seconds(number)
                        self._tell(f"From {at:.1f} seconds on, no frame can be decoded.")
                    return
                found = min(bisect_left(self._places, last), len(self) - 1)
                yield Frame(found, self.seconds(found), _upright(frame, stream))
                number = next((n for n in wanted if self._places[n] > last), None)

    def _decoded(self, container, stream):
        """Yield the sound frames from here on, each with its time stamp."""
        count = 0
        for packet in _packets(container, stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._tell("Parts of the file are damaged and were left out.")
                continue
            for frame in frames:
                count += 1
                stamp = frame.pts if self._timed else count - 1
                if stamp is not None and not frame.is_corrupt:
                    yield stamp, frame

    def _jump(self, container, stream, stamp, frames):
        try:
            container.seek(stamp, stream=stream)
        except av.FFmpegError:  # not every format can be jumped in
            return frames
        return self._decoded(container, stream)

    def _tell(self, problem):
        if problem not in self.problems:
            self.problems.append(problem)


def open_media(path):
    """Open a video, a folder of pictures or a picture, whatever its name ends in.

    Parameters
    ----------
    path : str or Path
        A file in any format that FFmpeg or OpenCV decodes; a folder, whose pictures are taken for
        the frames of one scene, in the order of the numbers in their names.

    Returns
    -------
    Media

    Raises
    ------
    UserError
        If there is nothing there, or nothing in it that can be shown.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise UserError(f"There is no {path}: give a video, a picture or a folder of pictures.")
    if not path.stat().st_size:
        raise UserError(f"{path} is empty: give a video, a picture or a folder of pictures.")
    if _is_picture(path):
        return _open_picture(path)
    return _open_video(path)


def readable(text, longest=200):
    """Return text from a file as it may be shown: whole characters, none that turns others."""
    text = str(text).encode("utf-8", "replace").decode("utf-8")
    text = "".join("\ufffd" if unicodedata.category(c) == "Cc" else c for c in text)
    text = _HIDDEN.sub("\ufffd", text)
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"


@functools.cache
def _picture_formats():
    """Return those of the formats that this Pillow knows; it stumbles over others."""
    Image.init()
    return [name for name in _PICTURES if name in Image.OPEN]


def _is_picture(path):
    """Whether a file begins like a picture that does not move."""
    try:
        with Image.open(path, formats=_picture_formats()) as image:
            return not getattr(image, "is_animated", False)
    except (*_UNREADABLE, Image.DecompressionBombError):
        return False


def _open_folder(path):
    pictures = [file for file in path.iterdir() if file.is_file() and _is_picture(file)]
    others = sum(1 for _ in path.iterdir()) - len(pictures)
    if not pictures:
        raise UserError(
            f"{path} holds no picture: give a folder of pictures, or one of the videos in it."
        )
    footage = Media(path, "folder", _places=tuple(sorted(pictures, key=_natural)))
    footage.about = {"pictures": f"{len(pictures):,}"}
    if others:
        footage.problems.append(f"{others:,} files in the folder are no pictures.")
    return footage


def _natural(path):
    """Sort frame_10 after frame_9."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _open_picture(path):
    image = _read_picture(path)
    if image is None:
        raise UserError(f"{path} begins like a picture, but cannot be read as one: it is damaged.")
    height, width = image.shape[:2]
    return Media(path, "picture", {"size": f"{width} x {height} pixels"}, _places=(path,))


def _read_picture(path):
    """Return a picture as its EXIF says it was held, or None if it cannot be read whole."""
    try:
        with Image.open(path, formats=_picture_formats()) as image:
            image = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except _UNREADABLE:
        return None
    return None if min(image.shape[:2]) < _SMALLEST_SIDE else _reduced(image)


def _reduced(image):
    factor = LONGEST_SIDE / max(image.shape[:2])
    if factor >= 1:
        return image
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _opened(path):
    """Open a video file, or raise `UserError`; it is a context manager that closes it."""
    av.logging.set_level(None)
    advice = "give a video or picture that FFmpeg can decode"
    try:
        # A file can make FFmpeg ask for others: it may have no protocol but plain files.
        limits = {"protocol_whitelist": "file"}
        container = av.open(os.path.abspath(path), container_options=limits, **ODD_METADATA)
    except (av.FFmpegError, OSError, ValueError):
        raise UserError(
            f"{path} is no video or picture, or its beginning is damaged: {advice}."
        ) from None
    lists = _LISTS.intersection(container.format.name.split(","))
    stream = container.streams.best("video")
    if lists or stream is None or stream.codec_context is None or not stream.codec_context.width:
        container.close()
        kind = "only names other files" if lists else "holds no video"
        raise UserError(f"{path} {kind} ({container.format.long_name}): {advice}.")
    return container


def _packets(container, stream):
    """Yield the packets of a stream as far as they can be read."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        yield packet


def _open_video(path):
    with _opened(path) as container:
        stream = container.streams.best("video")
        stamps = [packet.pts for packet in _packets(container, stream) if packet.size]
        # AVI keeps no times of display, only an order of decoding.
        timed = None not in stamps and container.format.name != "avi"
        unit = stream.time_base if timed else 1 / (stream.guessed_rate or Fraction(25))
        promised, said = stream.frames, _promised_seconds(container, stream)
        about = _about(container, stream)
    if not stamps:
        raise UserError(f"{path} holds not a single frame: its beginning is all there is.")
    places = sorted(set(stamps)) if timed else range(len(stamps))
    footage = Media(path, "video", about, [], places, unit, timed)
    length = footage.seconds(len(places) - 1)
    about["frames"] = f"{len(places):,} in {length:.1f} seconds"
    missing = len(stamps) < 0.98 * promised if promised else said - length > 1
    if missing and length < 0.98 * said:
        footage.problems.append(
            f"{_CUT_SHORT}: it says that it has {said:.1f} seconds, and {length:.1f} are there."
        )
    return footage


def _promised_seconds(container, stream):
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _about(container, stream):
    context = stream.codec_context
    about = {"format": container.format.long_name, "video codec": context.codec.long_name}
    about["size"] = f"{context.width} x {context.height} pixels"
    tags = {**container.metadata, **stream.metadata}
    about |= {name.replace("_", " "): tags[name] for name in _TAGS if tags.get(name)}
    return {name: readable(text) for name, text in about.items()}


def _upright(frame, stream):
    """Return a frame as RGB, with square pixels, reduced, and turned as it is to be seen."""
    wide = float(stream.sample_aspect_ratio or 1)
    width, height = frame.width * max(wide, 1), frame.height / min(wide, 1)
    factor = min(1, LONGEST_SIDE / max(width, height))
    size = {"width": max(2, round(width * factor)), "height": max(2, round(height * factor))}
    if (size["width"], size["height"]) == (frame.width, frame.height):
        image = frame.to_ndarray(format="rgb24")
    else:
        image = frame.to_ndarray(format="rgb24", interpolation="AREA", **size)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
