"""Video files that appear whole: clips, overlays, and those of the tests."""

from contextlib import ExitStack
from fractions import Fraction
from io import SEEK_END

import av
import numpy as np

from xaifake.runs import write_whole

# Without "cpu-independent" libx264 gives other bytes in each run, even with one thread.
H264 = {"preset": "veryfast", "x264-params": "cpu-independent=1"}
_MILLISECOND = Fraction(1, 1000)


class VideoWriter:
    """Write frames to a video file that appears under its name only when it is whole.

    Use it in a ``with`` statement. One encoder thread, so that the same frames give the same bytes
    on the same machine.

    Parameters
    ----------
    path : pathlib.Path
    crf : int
        Constant rate factor of libx264; lower is better.
    size : tuple of int
        Width and height of the frames, pixels.
    title : str, optional
        What the file says of itself.
    format, codec : str
        FFmpeg's names; H.264 in MP4 if not given.
    rate : int
        Frames per second, where frames come without times.
    options : dict of str to str, optional
        Of the format.
    mark : bytes
        Put behind the video, as `xaifake.data.marks.mp4_box` makes it.
    """

    def __init__(
        self,
        path,
        crf,
        size,
        title=None,
        format="mp4",
        codec="libx264",
        rate=25,
        options=None,
        mark=b"",
    ):
        self._closing = ExitStack()
        file = self._closing.enter_context(write_whole(path))
        self._closing.callback(_append, file, mark)
        container = av.open(file, "w", format=format, options=options or {})
        self._container = self._closing.enter_context(container)
        self._closing.push(self._flush)
        if title is not None:
            container.metadata["title"] = title
        self._stream = container.add_stream(codec, rate=rate)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 1
        if codec == "libx264":
            self._stream.options = {"crf": str(crf), **H264}

    def write(self, frame, seconds=None):
        """Add a frame, uint8 (height, width, 3) RGB, at a time or right after the one before."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        if seconds is not None:
            self._stream.codec_context.time_base = _MILLISECOND
            picture.pts, picture.time_base = round(seconds / _MILLISECOND), _MILLISECOND
        self._container.mux(self._stream.encode(picture))

    def __enter__(self):
        return self

    def _flush(self, failure, *_):
        if failure is None:
            self._container.mux(self._stream.encode())

    def __exit__(self, *failure):
        return self._closing.__exit__(*failure)


def _append(file, data):
    file.seek(0, SEEK_END)
    file.write(data)
