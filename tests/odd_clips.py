"""Footage as readers bring it: turned, cut short, of uneven times, odd formats, several people.

The faces are those of the embedded portraits, unmanipulated.
"""

import struct
from fractions import Fraction
from itertools import chain

import av
import cv2
import numpy as np
from av.stream import Disposition

from xaifake.data.encoding import VideoWriter
from xaifake.data.rendering import FRAME_SIZE, Scene

_BITS = 8
# The display matrix of ISO 14496-12, by the degrees that a player turns the frames clockwise.
MATRICES = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def faces(people, count, size=(640, 480), seen=None, side=FRAME_SIZE):
    """Yield frames, width and height `size`, with people side by side before a grey wall.

    `seen` has the frames in which somebody is seen, by the place in `people`; all if not given. The
    picture of a person is `side` pixels wide and high.
    """
    scenes = [Scene(person, "look_around", count) for person in people]
    for i in range(count):
        frame = np.full((size[1], size[0], 3), 128, np.uint8)
        for k, scene in enumerate(scenes):
            if seen is None or k not in seen or i in seen[k]:
                picture = scene.frame(i, scene.portrait.images)[0]
                picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
                left = round((k + 0.5) * size[0] / len(people) - side / 2)
                top = (size[1] - side) // 2
                frame[top : top + side, left : left + side] = picture
        yield frame


def counted(count, size=(160, 120)):
    """Yield frames with a red corner, top left, and their number below in black and white bars."""
    for i in range(count):
        frame = np.full((size[1], size[0], 3), 128, np.uint8)
        frame[: size[1] // 4, : size[0] // 4] = (255, 0, 0)
        for bit in range(_BITS):
            frame[size[1] // 2 :, _bar(bit, size[0])] = 255 * (i >> bit & 1)
        yield frame


def number_of(frame):
    """Return the number that `counted` wrote into a frame."""
    low = frame[frame.shape[0] // 2 :]
    return sum((low[:, _bar(bit, frame.shape[1])].mean() > 128) << bit for bit in range(_BITS))


def _bar(bit, width):
    return slice(bit * width // _BITS, (bit + 1) * width // _BITS)


def write(path, frames, format="mp4", codec="libx264", rate=25, times=None, first=False, crf=18):
    """Write frames; `times` are their seconds, `first` puts an MP4's header before them."""
    frames, options = iter(frames), {"movflags": "faststart"} if first else {}
    first_one = next(frames)
    size = first_one.shape[1], first_one.shape[0]
    with VideoWriter(path, crf, size, None, format, codec, rate, options) as writer:
        for i, frame in enumerate(chain([first_one], frames)):
            writer.write(frame, None if times is None else times[i])
    return path


def film(
    path, frames, format, codec="libx264", rate=25, start=0, sound=0, sar=None, pix_fmt="yuv420p",
    tag=None, **options
):  # fmt: skip
    """Write frames with any encoder and its options, from `start` seconds on, and some sound."""
    frames = list(frames)
    with av.open(str(path), "w", format=format) as container:
        video = container.add_stream(codec, rate=Fraction(rate))
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.options = pix_fmt, options
        video.codec_context.thread_count = 1
        if sar:
            video.sample_aspect_ratio = sar
        if tag:
            video.codec_context.codec_tag = tag
        audio = container.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.time_base = 1 / Fraction(rate)
            picture.pts = round(start * rate) + number
            container.mux(video.encode(picture))
        container.mux(video.encode())
        for number in range(int(sound * 48_000) // 1024):
            silence = np.zeros((1, 1024), np.float32)
            block = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            block.rate, block.pts, block.time_base = 48_000, number * 1024, Fraction(1, 48_000)
            container.mux(audio.encode(block))
        if audio:
            container.mux(audio.encode())
    return path


def song(path):
    """Write an MP3 with a picture for a cover."""
    with av.open(str(path), "w", format="mp3") as container:
        audio = container.add_stream("mp3", rate=44_100)
        picture = container.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 160, 120, "yuvj420p"
        picture.disposition = Disposition.attached_pic
        for number in range(60):
            silence = np.zeros((1, 1152), np.float32)
            block = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            block.rate, block.pts, block.time_base = 44_100, number * 1152, Fraction(1, 44_100)
            container.mux(audio.encode(block))
        container.mux(audio.encode())
        cover = av.VideoFrame.from_ndarray(next(counted(1)), format="rgb24")
        container.mux(picture.encode(cover))
        container.mux(picture.encode())
    return path


def heic(path, photo):
    """Write a photo of 1024 x 1024 as phones do: a grid of four HEVC tiles (ISO 23008-12)."""
    tiles = [photo[y : y + 512, x : x + 512] for y in (0, 512) for x in (0, 512)]
    quiet = "keyint=1:bframes=0:log-level=none"
    coded = film(path, map(np.ascontiguousarray, tiles), "mp4", "libx265", tag="hvc1", crf="15",
                 **{"x265-params": quiet})  # fmt: skip
    with av.open(str(coded)) as container:
        stream = container.streams.video[0]
        setup = bytes(stream.codec_context.extradata)
        parts = [bytes(packet) for packet in container.demux(stream) if packet.size]
    pack = struct.pack

    def box(kind, *content):
        return pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)

    def full(kind, version, flags, *content):
        return box(kind, pack(">I", version << 24 | flags), *content)

    grid = pack(">BBBBHH", 0, 0, 1, 1, 1024, 1024)
    kind = box(b"ftyp", b"heic", pack(">I", 0), b"mif1heic")

    def meta(offsets):
        items = [full(b"infe", 2, 1, pack(">HH4s", k, 0, b"hvc1"), b"\0") for k in range(1, 5)]
        items.append(full(b"infe", 2, 0, pack(">HH4s", 5, 0, b"grid"), b"\0"))
        sizes = [full(b"ispe", 0, 0, pack(">II", side, side)) for side in (512, 1024)]
        ties = [pack(">HBBB", k, 2, 0x81, 2) for k in range(1, 5)]
        ties = full(b"ipma", 0, 0, pack(">I", 5), *ties, pack(">HBB", 5, 1, 3))
        places = [
            pack(">HHHHII", k + 1, 0, 0, 1, offset, len(part))
            for k, (offset, part) in enumerate(zip(offsets, parts, strict=True))
        ]
        places.append(pack(">HHHHII", 5, 1, 0, 1, 0, len(grid)))
        return full(
            b"meta", 0, 0,
            full(b"hdlr", 0, 0, pack(">I4sIII", 0, b"pict", 0, 0, 0), b"\0"),
            full(b"pitm", 0, 0, pack(">H", 5)),
            full(b"iinf", 0, 0, pack(">H", 5), *items),
            full(b"iref", 0, 0, box(b"dimg", pack(">HHHHHH", 5, 4, 1, 2, 3, 4))),
            box(b"iprp", box(b"ipco", box(b"hvcC", setup), *sizes), ties),
            full(b"iloc", 1, 0, pack(">BBH", 0x44, 0, 5), *places),
            box(b"idat", grid),
        )  # fmt: skip

    start = len(kind) + len(meta([0] * 4)) + 8
    offsets = [start + sum(map(len, parts[:k])) for k in range(4)]
    path.write_bytes(kind + meta(offsets) + box(b"mdat", *parts))
    return path


def turn(path, degrees):
    """Write into an MP4's header that it is to be shown turned clockwise, as phones do."""
    return set_matrix(path, MATRICES[degrees])


def set_matrix(path, matrix):
    """Write a display matrix into an MP4's header: a, b, c, d of ISO 14496-12."""
    a, b, c, d = (65536 * value for value in matrix)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def trim(path, start, count, rate=25):
    """Write into an MP4's edit list that so many frames are shown, from one on."""
    data = bytearray(path.read_bytes())
    units = struct.unpack(">I", data[data.index(b"mdhd") + 16 :][:4])[0]
    place = data.index(b"elst") + 12
    offset = 2 * units // rate  # of frames that are stored before they are shown
    edit = struct.pack(">Ii", count * 1000 // rate, offset + start * units // rate)
    data[place : place + 8] = edit
    path.write_bytes(data)
    return path


def repeat_each(path):
    """Write an empty frame after each of an AVI, which shows the one before again."""
    data = path.read_bytes()
    movie = data.index(b"movi")
    at, body, index = movie + 4, b"", b""
    while data[at : at + 4] == b"00dc":
        size = struct.unpack("<I", data[at + 4 : at + 8])[0]
        for content in (data[at + 8 : at + 8 + size], b""):
            flags = 16 if content else 0
            index += b"00dc" + struct.pack("<III", flags, 4 + len(body), len(content))
            body += b"00dc" + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        at += 8 + size + size % 2
    header = bytearray(data[: movie - 8])
    count = len(index) // 16
    for place in (header.index(b"avih") + 24, header.index(b"strh") + 40):
        header[place : place + 4] = struct.pack("<I", count)
    movie = b"LIST" + struct.pack("<I", 4 + len(body)) + b"movi" + body
    path.write_bytes(header + movie + b"idx1" + struct.pack("<I", len(index)) + index)
    return path


def cut_short(path, share):
    """Cut a file off after a share of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: round(share * len(data))])
    return path
