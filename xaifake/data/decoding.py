"""The frames of a video file as a decoder shows them: found, numbered, and as upright RGB.

Which frames a file shows, in which order and when, is found from its packets without decoding them.
Where their time stamps tell frames apart, each packet takes the number of its frame through the
decoder: a frame is known by its number whatever the container, and wherever decoding began.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, chain, count

import av
import numpy as np
from av.filter import Graph
from av.stream import Disposition

from xaifake.errors import UserError

LONGEST_SIDE = 8192  # pixels; larger frames are reduced, and it is said
REDUCED = f"Frames are reduced to {LONGEST_SIDE:,} pixels: small faces may be missed."
_WORTH_A_JUMP = 30  # frames that need not be decoded
_STEPS_BACK = (1, 2, 4)  # key frames, until decoding begins early enough; then from the start
_STRANGE_PACKETS = 8  # after a jump, until one that is known
_DISCONTINUITY = 10  # seconds between two stamps of a broadcast; FFmpeg's own limit
_ONE_ODD_STAMP_IN = 1000  # packets; where more come twice, stamps are no names
_STAMPS_MAY_JUMP = 0x0200  # AVFMT_TS_DISCONT
# Formats that are lists of other files or addresses, or text: none of it is what was given.
_NO_VIDEO = {
    *("hls", "dash", "concat", "concatf", "imf", "sdp", "rtsp", "webm_dash_manifest"),
    *("ffmetadata", "tty"),
}
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics (ITU-T H.273) made for other screens
_TO_SDR = "out_transfer=bt709:out_primaries=bt709:intent=perceptual"
_UNSPECIFIED, _BT709 = 2, 1  # matrix coefficients (ITU-T H.273)
_TAGS = ("title", "comment", "encoder", "creation_time", "com.android.version")
_ZEROS = bytes(8)  # never in an intact packet of H.264 or HEVC, which escape runs of zeros
# Text in a header need not be UTF-8. From PyAV 19 on it is always read; before, on request.
_ODD_METADATA = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


class Unreadable(UserError):
    """A file that cannot be used; its text is the reason, without the file's name."""


def open_video(path):
    """Open a video file and return its container, to be closed, and its video stream.

    Raises
    ------
    Unreadable
        If it holds no video that can be shown as it is meant.
    """
    av.logging.set_level(None)
    try:
        # A file can make FFmpeg ask for others: it may have no protocol but plain files.
        limits = {"protocol_whitelist": "file"}
        container = av.open(os.path.abspath(path), container_options=limits, **_ODD_METADATA)
    except (av.FFmpegError, OSError, ValueError):
        raise Unreadable("no video or picture, or its beginning is damaged") from None
    streams = container.streams.video
    moving = [s for s in streams if not s.disposition & Disposition.attached_pic]
    stream = next((s for s in moving if s == container.streams.best("video")), None)
    stream = stream or next(iter(moving), None)
    if reason := _why_not(container, stream):
        container.close()
        raise Unreadable(f"{reason} ({container.format.long_name})")
    return container, stream


def _why_not(container, stream):
    """Return why a stream cannot be shown, or None."""
    if _NO_VIDEO.intersection(container.format.name.split(",")):
        return "only names other files, or is text"
    if stream is None:
        return "holds sound and a cover, no video" if container.streams.video else "holds no video"
    if stream.codec_context is None or not stream.codec_context.width:
        return "holds no video that can be decoded"
    if stream.codec_context.codec_tag in ("dvh1", "dvhe"):
        return "is Dolby Vision without a layer that other decoders show"
    return None


def _packets(container, stream):
    """Yield the packets of a stream as far as they can be read, and an empty one at the end."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        yield packet


@dataclass
class FrameIndex:
    """Which frames a video shows, in which order and when.

    Attributes
    ----------
    stamps : numpy.ndarray, (N,)
        When each frame is shown, from 0, in units of `unit`, never falling.
    unit : Fraction
        In seconds.
    promised : int
        Frames that the file says it shows: N, or more if it was cut short.
    cut_short : str
        What the file says and what is there, in a sentence; empty if all of it is there.
    packets : tuple or None
        Time stamps, places in the file and sizes of the packets in the order of decoding; None
        where these do not tell frames apart, which then can only be counted.
    numbers : numpy.ndarray
        From a packet's number to its frame's, or -1 where nothing is shown.
    keys : list of tuple
        Where decoding can begin: the number of the first frame shown from there on, the packet's
        number, time stamps and place; ascending.
    by_place : bool
        Whether to jump to a place in the file and not to a time, which may come twice.
    """

    stamps: np.ndarray
    unit: Fraction
    promised: int
    cut_short: str = ""
    packets: tuple | None = None
    numbers: np.ndarray | None = None
    keys: Sequence = ()
    by_place: bool = False

    @cached_property
    def places(self):
        """From what tells a packet from the others to its number in the order of decoding."""
        return {place: k for k, place in enumerate(zip(*self.packets, strict=True))}

    def leave_out(self, count):
        """Take out the first frames."""
        self.stamps = self.stamps[count:] - self.stamps[count]
        self.promised -= count
        self.numbers = np.maximum(self.numbers - count, -1)
        self.keys = [(max(0, key[0] - count), *key[1:]) for key in self.keys]


def index_frames(container, stream):
    """Return the `FrameIndex` of a stream that nothing was read from; nothing is decoded."""
    # The index of MP4 and AVI knows what is left out or repeated, the number of frames does not.
    promised = stream.frames and len(stream.index_entries) or stream.frames
    rows = _read_packets(container, stream)
    if all(row[5] for row in rows):
        raise Unreadable(truncated(0, promised) if promised else "holds no frames")
    pts, dts, pos, sizes, is_key, hidden, lasts = zip(*rows, strict=True)
    order, times, unit, by_place = _in_order(container, stream, pts, dts, is_key)
    shown = ~np.array(hidden)[order]
    stamps = times[shown]
    if len(stamps) > 1 and stamps[0] == stamps[-1]:
        stamps, unit = np.arange(len(stamps)), Fraction(1, 25)
    index = FrameIndex(stamps - stamps[0], unit, len(stamps))
    index.promised += max(0, promised - len(rows))
    index.cut_short = _cut_short(
        _promised_seconds(container, stream),
        (index.stamps[-1] + (lasts[order[shown][-1]] or _typical(np.diff(stamps)))) * float(unit),
        0 if None in pts else min(pts) * float(stream.time_base),
        len(rows) / promised if promised else None,
    )
    if by_place is not None:
        first = np.empty(len(rows), int)
        first[order] = shown.cumsum() - shown
        index.numbers, index.by_place = np.where(hidden, -1, first), by_place
        index.packets = pts, pos, sizes
        # A packet of MPEG-2 may hold several frames, and only the first of them has its place.
        starts = list(accumulate(pos, lambda before, now: before if now is None else now))
        keys = np.flatnonzero(is_key).tolist()
        index.keys = sorted((int(first[k]), k, pts[k], dts[k], starts[k]) for k in keys)
    return index


def _read_packets(container, stream):
    """Return what packets say of themselves, as far as they can be read."""
    rows, vp8 = [], stream.codec_context.name == "vp8"
    try:
        for p in container.demux(stream):
            if p.size:
                # VP8 has frames that others are made of but nobody sees (RFC 6386, section 9.1).
                hidden = p.is_discard or vp8 and not memoryview(p)[0] & 16
                rows.append((p.pts, p.dts, p.pos, p.size, p.is_keyframe, hidden, p.duration))
    except av.FFmpegError:
        pass
    return rows


def _in_order(container, stream, pts, dts, is_key):
    """Return the order in which packets are shown, when, and in which unit.

    Also whether to jump by places; None if time stamps do not tell frames apart.
    """
    plain = np.arange(len(pts))
    # AVI keeps no times of display, only those of decoding.
    decoding = container.format.name == "avi" and stream.codec_context.has_b_frames
    if None in pts or decoding:
        if None in dts:
            return plain, plain, 1 / (stream.guessed_rate or Fraction(25)), None
        return plain, np.array(dts), stream.time_base, None
    broadcast = bool(container.format.flags & _STAMPS_MAY_JUMP)
    stamps = np.array(pts)
    pieces = _pieces(stamps, dts, is_key, float(stream.time_base), broadcast)
    order = np.lexsort((stamps, pieces))
    steps = np.diff(stamps[order], prepend=stamps[order[0]])
    joins = np.diff(pieces[order], prepend=0) > 0
    odd = np.sum((steps <= 0) & ~joins) - 1
    steps[joins] = _typical(steps)
    by_place = broadcast or bool(pieces[-1])
    told = odd <= len(pts) / _ONE_ODD_STAMP_IN
    return order, steps.cumsum(), stream.time_base, by_place if told else None


def _cut_short(said, length, start, share):
    """Return a sentence if a file says that there is more of a stream than there is.

    ``said``, ``length`` and ``start`` are in seconds, ``share`` is that of its packets, if known.
    """
    # Some formats say how long it is, some when it ends.
    short = said - max(length, start + length)
    if short <= 0.02 * said or (short <= 1 if share is None else share >= 0.98):
        return ""
    there = f"it says that it has {said:.1f} seconds, and {length:.1f} are there"
    return f"The file is cut short: {there}."


def _pieces(pts, dts, is_key, unit, broadcast):
    """Return, for each packet, the number of the joined recording that it is from."""
    known = np.array(dts, float)  # None becomes NaN, which is never greater or less
    steps = np.diff(known, prepend=known[0]) * unit
    again = np.append(False, pts[1:] <= np.maximum.accumulate(pts)[:-1])
    breaks = (steps < -1) | (steps < 0) & np.array(is_key) & again
    if broadcast:
        usual = np.nanmedian(np.abs(steps)) if len(steps) > 1 else 0.0
        breaks |= steps > max(_DISCONTINUITY, 10 * usual)
    return breaks.cumsum()


def _typical(steps):
    rising = steps[steps > 0]
    return int(np.median(rising)) if len(rising) else 0


def _promised_seconds(container, stream):
    """Return how long a file says that this stream is, in seconds; 0 if it says nothing of it."""
    if container.format.flags & _STAMPS_MAY_JUMP:
        return 0.0  # it says nothing, and FFmpeg's guess is of the last time stamp
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if tag := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")):
        return sum(float(part) * 60**k for part, k in zip(tag.groups(), (2, 1, 0), strict=True))
    return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0


def truncated(decoded, promised):
    """Return the reason for which a file is not whole."""
    return f"truncated or damaged: {decoded} of {promised} frames can be decoded"


class VideoReader:
    """Reads frames of one video file.

    Parameters
    ----------
    path : Path
    strict : bool
        Decode the whole file, and raise `Unreadable` where any of it is damaged or lacks. If not,
        what can be decoded is given, and `problems` tells of the rest.

    Attributes
    ----------
    index : FrameIndex
    about : dict of str to str
        What the file says of itself; what was done to its frames is added while they are read.
    problems : list of str
        What could not be read, in sentences; grows while frames are read.
    """

    def __init__(self, path, strict=False):
        self.path, self.strict, self.problems = path, strict, []
        self._tone_mapped = None, None
        container, stream = open_video(path)
        with container:
            self.about = _about(container, stream)
            self.index = index_frames(container, stream)
        if self.index.keys and self.index.keys[0][0] > 0:
            self._leave_out_a_headless_beginning()
        if self.index.cut_short:
            self.problems.append(self.index.cut_short)

    def _leave_out_a_headless_beginning(self):
        """Take out of the index what depends on frames before the file's first, and is not shown.

        What is cut out of a broadcast begins with such frames.
        """
        with ExitStack() as files:
            first = _Decoder(self, files).find(0)
        if first is not None:
            self.index.leave_out(first[1].pts)

    def read(self, numbers):
        """Yield frames by their numbers, which ascend.

        Yields
        ------
        number : int
            Where a frame cannot be decoded, that of the next one that can.
        image : numpy.ndarray
            ``uint8 (H, W, 3)`` RGB, upright, with square pixels, at most `LONGEST_SIDE` long.
        """
        with ExitStack() as files:
            decoder, last, lost = _Decoder(self, files), -1, False
            for number in numbers:
                if number <= last:
                    continue
                frames = decoder.find(number)
                lost = not frames or self.strict and frames[1].pts != number
                if lost:
                    break
                last = frames[1].pts
                yield last, self._image(decoder.stream, frames)
            if self.strict:
                decoder.finish(lost)
            elif lost and not self.index.cut_short:
                at = float(self.index.stamps[number] * self.index.unit)
                self.tell(f"From {at:.1f} seconds on, no frame can be decoded.")

    def tell(self, problem):
        """Note a problem, once."""
        if problem not in self.problems:
            self.problems.append(problem)

    def _image(self, stream, frames):
        """Return the middle one of three frames as it is to be seen; its neighbours may be None."""
        frame, done = frames[1], []
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if frame.interlaced_frame:
            frame = _deinterlaced(frames)
            done.append("deinterlaced (bwdif)")
        if frame.color_trc in _HDR:
            frame = self._to_sdr(frame)
            done.append(f"{_HDR[frames[1].color_trc]} tone-mapped to BT.709")
        elif _is_untagged_hd(frame):
            frame.colorspace = _BT709
            done.append("colours taken for BT.709, as the file does not say")
        wide = float(stream.sample_aspect_ratio or 1)
        width, height = frame.width * max(wide, 1), frame.height / min(wide, 1)
        factor = min(1, LONGEST_SIDE / max(width, height))
        if factor < 1:
            self.tell(REDUCED)
        size = {"width": max(2, round(width * factor)), "height": max(2, round(height * factor))}
        if (size["width"], size["height"]) == (frame.width, frame.height):
            image = frame.to_ndarray(format="rgb24")
        else:
            image = frame.to_ndarray(format="rgb24", interpolation="AREA", **size)
        if done:
            self.about["shown"] = "; ".join(done)
        return np.ascontiguousarray(image if matrix is None else _turned(image, matrix))

    def _to_sdr(self, frame):
        """Return an HDR frame as FFmpeg's scaler tone-maps it; older versions of it cannot."""
        try:
            if _look(frame) != self._tone_mapped[0]:  # a table that takes seconds to make
                graph = _graph(frame, ("scale", _TO_SDR), ("format", "rgb24"))
                self._tone_mapped = _look(frame), graph
            self._tone_mapped[1].push(frame)
            shown = self._tone_mapped[1].pull()
        except (av.FFmpegError, ValueError):
            shown = frame
        if shown.color_trc != _BT709:
            name = _HDR[frame.color_trc]
            raise Unreadable(f"HDR video ({name}), which this version of FFmpeg cannot tone-map")
        return shown


class _Decoder:
    """Decodes from one place of a file on; knows where it is.

    Frames carry their number as their time stamp.
    """

    def __init__(self, reader, files):
        self.reader, self.index, self.files = reader, reader.index, files
        self.decoded, self.interlaced = 0, False
        self._from_start()

    def find(self, number):
        """Return the first frame from a number on, between its neighbours; None if there is none.

        The neighbours are None where the frame is not interlaced, or has none.
        """
        at = self._key_before(number)
        ahead = at >= 0 and self.index.keys[at][0] > self.last + _WORTH_A_JUMP
        if ahead and not self.reader.strict:
            self._jump(number - self.interlaced)
        before, frame = self._forward(number)
        if frame and frame.interlaced_frame and not self.interlaced:
            self.interlaced = True
            if before is None and frame.pts:
                self._jump(frame.pts - 1)
                before, frame = self._forward(frame.pts)
        if frame is None or not frame.interlaced_frame:
            return frame and [None, frame, None]
        self.ahead = self._next()
        return [before, frame, self.ahead]

    def finish(self, lost):
        """Decode to the end; raise `Unreadable` if frames are lacking, or one has been lost."""
        while self._next():
            pass
        if lost or self.index.cut_short or self.decoded < self.index.promised:
            raise Unreadable(truncated(self.decoded, self.index.promised))

    @property
    def last(self):
        """The number of the last frame that was looked for and found, or -1."""
        return -1 if self.frame is None else self.frame.pts

    def _forward(self, number):
        """Decode until a frame, or a later one, comes; return the one before it and itself."""
        before = self.frame
        while (frame := self._next()) and frame.pts < number:
            before = frame
        self.frame = frame
        return before, frame

    def _from_start(self):
        self.files.close()
        container, self.stream = open_video(self.reader.path)
        self.container = self.files.enter_context(container)
        if self.reader.strict:
            self.stream.codec_context.thread_count = 1  # one process per video is parallel enough
            self.stream.codec_context.options = {"err_detect": "explode"}
        else:
            self.stream.thread_type = "AUTO"
        self.decoded = 0
        self._begin(_packets(container, self.stream))

    def _begin(self, packets):
        self.frames, self.frame, self.ahead = self._decode(packets), None, None
        self.latest, self.unknown = -1, 0

    def _key_before(self, number):
        return bisect_right(self.index.keys, (number, float("inf"))) - 1

    def _jump(self, number):
        """Go to where decoding reaches a frame; what arrives must show that it does."""
        at = self._key_before(number)
        landed = at < 1  # before the second key frame there is nothing to jump over
        for back in _STEPS_BACK:
            packets = self._land(*self.index.keys[at + 1 - back][1:]) if at >= back else None
            if packets is not None:
                landed = True
                self._begin(packets)
                before, frame = self._forward(number)
                if frame and (frame.pts == number or before and not self.unknown):
                    self.frame, self.ahead = before, frame
                    return
        if not landed:
            self.index.keys = ()  # not every file can be jumped in
        self._from_start()

    def _land(self, wanted, pts, dts, pos):
        """Return the packets from a key frame on, or from before it; None if that fails."""
        offsets = [(pos, True)] * self.index.by_place + [(pts, False), (dts, False)]
        for offset, in_bytes in offsets:
            try:
                how = {"stream": self.stream, "unsupported_byte_offset": in_bytes}
                self.container.seek(offset, **how)
            except (av.FFmpegError, TypeError):  # it cannot be jumped in, or this is not known
                continue
            packets = _packets(self.container, self.stream)
            skipped = []
            for packet in packets:
                skipped.append(packet)
                place = self.index.places.get(_place(packet))
                if place is not None or len(skipped) > _STRANGE_PACKETS:
                    break
            if skipped and place is not None and place <= wanted:
                return chain(skipped, packets)
        return None

    def _next(self):
        if self.ahead:
            frame, self.ahead = self.ahead, None
            return frame
        frame = next(self.frames, None)
        if frame and frame.pts <= self.latest:  # the stamps are not those of what is shown
            latest, self.index.packets, self.index.keys = self.latest, None, ()
            self._from_start()
            frame = next((frame for frame in self.frames if frame.pts > latest), None)
        self.latest = frame.pts if frame else self.latest
        return frame

    def _decode(self, packets):
        """Yield the sound frames, each with its number for a time stamp."""
        number = count()
        for packet in packets:
            if self.index.packets and packet.size:
                place = self.index.places.get(_place(packet))
                self.unknown += place is None
                packet.pts = -1 if place is None else int(self.index.numbers[place])
                packet.dts = None
            for frame in self._decoded(packet):
                self.decoded += 1
                if not self.index.packets:
                    frame.pts = next(number)
                if frame.pts is not None and frame.pts >= 0 and not frame.is_corrupt:
                    yield frame

    def _decoded(self, packet):
        """Return the frames that a packet completes; damage is told, or raised if strict."""
        try:
            if self.reader.strict and _has_hole(packet):
                raise av.InvalidDataError(0, "a hole full of zeros")
            return packet.decode()
        except av.FFmpegError:
            # H.264 has no checksum: a few changed bytes may decode to a picture all the same.
            if self.reader.strict:
                raise Unreadable(truncated(self.decoded, self.index.promised)) from None
            self.reader.tell("Parts of the file are damaged and were left out.")
            return []


def _place(packet):
    """Return what tells a packet of a stream from the others."""
    return packet.pts, packet.pos, packet.size


def _has_hole(packet):
    return packet.stream.codec_context.name in ("h264", "hevc") and _ZEROS in bytes(packet)


def _about(container, stream):
    context = stream.codec_context
    about = {"format": container.format.long_name, "video codec": context.codec.long_name}
    about["size"] = f"{context.width} x {context.height} pixels"
    tags = {**container.metadata, **stream.metadata}
    return about | {name.replace("_", " "): tags[name] for name in _TAGS if tags.get(name)}


def _is_untagged_hd(frame):
    """Whether players take a frame's colours for BT.709 though nothing says so."""
    coded = not frame.format.is_rgb and len(frame.format.components) > 2
    large = frame.width >= 1280 or frame.height > 576
    return coded and large and frame.colorspace == _UNSPECIFIED


def _look(frame):
    """Return what all frames in a graph of filters must have in common."""
    return frame.width, frame.height, frame.format.name, frame.color_trc


def _deinterlaced(frames):
    """Return the middle one of three frames without its lines being of two times."""
    there = [frame for frame in frames if frame and _look(frame) == _look(frames[1])]
    graph = _graph(there[0], ("bwdif", "mode=send_frame"))
    for frame in [*there, None]:
        graph.push(frame)
    return [graph.pull() for _ in there][there.index(frames[1])]


def _graph(frame, *filters):
    """Return a graph of filters for frames like one."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    nodes = [source, *(graph.add(*filter) for filter in filters), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    return graph


def _turned(image, matrix):
    """Return an image as a display matrix (ISO 14496-12) shows it: turned, mirrored or both."""
    a, b, _, c, d = np.frombuffer(bytes(matrix), "=i4")[:5].astype(float)
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
