#!/usr/bin/env bash
# Guess, written before the first run: an encoder with fixed settings and one thread writes a clip of two frames the
# same way each time, or fails each time.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
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
