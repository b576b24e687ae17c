#!/usr/bin/env bash
# x265 stamps clips of two frames by chance
# Harms: data
# Call: CodecContext.create('libx265', 'w'), one thread, two frames
# Guess: an encoder with fixed settings and one thread writes a clip of two frames the same way each time, or fails each time.
# Effect: fixtures of two frames are readable on some runs and not on others.
# Instead: bframes=0, or clips of eight frames.
# xaifake: no, its encoder is H.264: tests/data/test_decoding.py::test_dolby_vision_without_a_common_layer_is_named
source "$(dirname "$0")/environment.sh" av==18.1.0 numpy==2.4.6
python - <<'PYTHON'
import collections
from fractions import Fraction

import av
import numpy as np


def stamps(frames, **options):
    """Encode grey frames and return the decoding stamps of the packets."""
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.thread_count = 96, 96, "yuv420p", 1
    encoder.time_base, encoder.options = Fraction(1, 25), {"x265-params": "log-level=none", **options}
    packets = []
    for number in range(frames):
        picture = av.VideoFrame.from_ndarray(np.full((96, 96, 3), 99 + number, np.uint8), format="rgb24")
        picture.pts, picture.time_base = number, encoder.time_base
        packets += encoder.encode(picture)
    return tuple(packet.dts for packet in packets + encoder.encode(None))


seen = {n: collections.Counter(stamps(n) for _ in range(200)) for n in (2, 8)}
quiet = collections.Counter(stamps(2, **{"x265-params": "log-level=none:bframes=0"}) for _ in range(200))
print("av", av.__version__)
for n, counts in seen.items():
    print(f"{n} frames, 200 times, decoding stamps: {dict(counts)}")
print(f"2 frames without B frames: {dict(quiet)}")
assert len(seen[2]) > 1, "the stamps are the same each time now"
assert len(seen[8]) == len(quiet) == 1
print("A clip of 2 frames gets decoding stamps by chance, often unusable ones; with bframes=0 they are 0 and 1.")
PYTHON
