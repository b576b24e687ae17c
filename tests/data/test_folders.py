"""Files appear whole or not at all, however many write them, and nobody's leftovers stay."""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xaifake.data.folders import ABANDONED, remove_abandoned, whole_file, write_text
from xaifake.data.rendering import VideoWriter
from xaifake.detector.xception import write_tensors
from xaifake.judge.parts import Parts
from xaifake.show.report import Report


def write_video(folder):
    with VideoWriter(folder / "video.mp4", 23, (16, 16)) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))


def write_page(folder):
    report = Report(None, "", 0, [], None, {}, {}, None)
    report.html = lambda day: "<p>"
    report.write(folder / "page.html")


def write_pieces(folder):
    (folder / "piece.npz").unlink(missing_ok=True)
    (folder / "piece.parquet").unlink(missing_ok=True)
    parts = Parts(folder, {})
    parts.arrays("piece", lambda: {"a": np.ones(3)})
    parts.table("piece", lambda: pd.DataFrame({"a": [1]}))


WRITERS = {
    "text": lambda folder: write_text(folder / "log.csv", "a,b\n"),
    "weights": lambda folder: write_tensors({"a": np.ones(3)}, folder / "w.safetensors"),
    "video": write_video,
    "page": write_page,
    "pieces": write_pieces,
}


@pytest.mark.parametrize("name", WRITERS)
def test_no_two_writers_share_the_name_of_an_unfinished_file(name, tmp_path, monkeypatch):
    seen = []

    def noting(replace):
        def note(source, target):
            seen.append(Path(source))
            return replace(source, target)

        return note

    monkeypatch.setattr(os, "replace", noting(os.replace))
    monkeypatch.setattr(Path, "replace", noting(Path.replace))
    for _ in range(2):
        WRITERS[name](tmp_path)
    assert len(set(seen)) == len(seen) >= 2
    assert not list(tmp_path.rglob("*.unfinished"))


def test_of_two_writers_of_a_file_the_last_one_stands_whole(tmp_path):
    path = tmp_path / "file"
    with whole_file(path) as first:
        first.write(b"first")
        with whole_file(path) as second:
            second.write(b"second, and longer")
        assert path.read_bytes() == b"second, and longer"
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_text(path, "before ä")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == "before ä"
    assert list(tmp_path.iterdir()) == [path]


def test_only_what_nobody_has_written_to_for_a_day_is_removed(tmp_path):
    deep = tmp_path / "shards"
    deep.mkdir()
    ages = {"old.1.unfinished": 60, "young.2.unfinished": -60, "old.parquet": 3 * ABANDONED}
    for name, beyond in ages.items():
        (deep / name).write_bytes(b"half")
        os.utime(deep / name, (time.time() - ABANDONED - beyond,) * 2)
    remove_abandoned(tmp_path)
    assert sorted(p.name for p in deep.iterdir()) == ["old.parquet", "young.2.unfinished"]
