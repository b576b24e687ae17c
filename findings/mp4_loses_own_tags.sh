#!/usr/bin/env bash
# A mark in a video's metadata disappears from an MP4, and changes its key in an MKV
# Harms: data
# Call: container.metadata["Digital-Source"] = "...", written and copied by PyAV
# Guess: after writing and copying, an entry can be read under its key.
# Effect: a deepfake that was marked as such loses its mark in a copy without encoding. metadata["comment"] fails in an MKV, where the key is COMMENT.
# Instead: use the entry 'comment', which MP4 keeps, or pass options={"movflags": "use_metadata_tags"} at each copy. Look up keys regardless of case.
# xaifake: no, the mark is in the picture and in the title: tests/data/test_clips.py::test_our_own_clips_are_recognised_and_their_parents_found
source "$(dirname "$0")/environment.bash" av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
python - <<'PYTHON'
import av
import numpy as np


def write(name, **how):
    with av.open(name, "w", **how) as container:
        container.metadata.update({"comment": "a fake", "Digital-Source": "composite"})
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())


def copy(name, to):
    with av.open(name) as given, av.open(to, "w") as container:
        container.metadata.update(given.metadata)
        stream = container.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)


def marks(name):
    with av.open(name) as container:
        return sorted(key for key in container.metadata if key.lower() in ("comment", "digital-source"))


write("plain.mp4")
write("kept.mp4", options={"movflags": "use_metadata_tags"})
copy("kept.mp4", "copy.mp4")
copy("kept.mp4", "copy.mkv")
found = {name: marks(name) for name in ("plain.mp4", "kept.mp4", "copy.mp4", "copy.mkv")}
print("av", av.__version__)
for name, keys in found.items():
    print(f"{name}: {keys}")
assert len(found["kept.mp4"]) == 2 and found["copy.mp4"] == ["comment"] == found["plain.mp4"] and found["copy.mkv"] == ["COMMENT", "DIGITAL-SOURCE"], "keys are kept now"
print("Of two entries an MP4 has one after a copy, and an MKV has both under other keys.")
PYTHON
