"""A catalogue of DeepFakeDetection's own size goes through planning, splitting and resuming."""

import json
import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import tiny

from xaifake.data.dataset import read_manifest

pytestmark = pytest.mark.slow
REALS, FAKES = 363, 3068
RUN = """
import json, resource, sys
from xaifake.data import compare_with_dfd, extract_faces, read_catalogue, sampling_rates
from xaifake.data import split_by_person
if __name__ == "__main__":
    catalogue = read_catalogue(sys.argv[1])
    missing = int(compare_with_dfd(catalogue).missing.sum())
    split = split_by_person(catalogue, 0)
    sampling_rates(split, 39)
    frames = {"real": 2, "fake": 1}
    extract_faces(split, sys.argv[2], (1.3,), frames, workers=2, progress=False)
    # getrusage's figure for the process itself begins with that of the one that started it.
    with open("/proc/self/status") as status:
        own = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    kilobytes = [own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]
    print(json.dumps([missing, len(split), max(kilobytes) / 1024]))
"""


def names():
    """File names like DFD's: 28 people, of whom each real one plays some scenes."""
    rng = np.random.default_rng(0)
    people, scenes = range(1, 29), [f"scene_{letter}" for letter in "abcdefghijklmnop"]
    reals = [f"{p:02d}__{s}" for p, s in product(people, scenes)][:REALS]
    pairs = [(p, q, s) for p, q, s in product(people, people, scenes) if p != q]
    chosen = rng.permutation(len(pairs))[:FAKES]
    fakes = [
        f"{p:02d}_{q:02d}__{s}__{i:08d}" for i, (p, q, s) in enumerate(pairs[j] for j in chosen)
    ]
    return reals, fakes


@pytest.fixture(scope="module")
def dfd(tmp_path_factory):
    """3,431 videos and 3,068 masks, each a link to the one tiny video."""
    root = tmp_path_factory.mktemp("dfd")
    video = tiny.encode(root / "video.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 3)
    reals, fakes = names()
    for folder, stems in ((tiny.REAL, reals), (tiny.FAKE, fakes), (tiny.MASK, fakes)):
        (root / folder).mkdir(parents=True)
        for stem in stems:
            os.link(video, root / folder / f"{stem}.mp4")
    return root


@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")
def test_a_catalogue_of_3431_videos_is_planned_split_and_resumed(dfd, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    out = tmp_path / "out"
    kept = None
    for _ in range(2):
        command = [sys.executable, str(script), str(dfd), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        missing, videos, megabytes = json.loads(done.stdout)
        shards = sorted((out / "shards").iterdir())
        assert missing == 0 and len(shards) == videos > 1000 and megabytes < 1000
        times = {shard: shard.stat().st_mtime_ns for shard in shards[100:]}
        assert kept in (None, times)  # what was there was not made again
        if kept is None:  # as if killed shortly before the end
            kept = times
            for shard in shards[:100]:
                shard.unlink()
    manifest = read_manifest(out)
    assert manifest.video.nunique() == len(shards)
    assert set(manifest.reason) == {"no_face"}
