"""What is finished stays, whole and as it was made, and what was not finished is made anew.

Files appear whole or not at all, however many write them, and nobody else's are deleted.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from upath import UPath

from xaifake import runs
from xaifake.data.encoding import VideoWriter
from xaifake.detector.xception import write_tensors
from xaifake.errors import UserError
from xaifake.heatmaps import colour_limit, pack_maps, unpack_maps
from xaifake.runs import (
    ABANDONED,
    ResultCache,
    RunFolder,
    as_folder,
    digest,
    remove_abandoned,
    write_text,
    write_whole,
)
from xaifake.video.reference import Reference
from xaifake.video.report import Report

NEAR = ["plain (absolute)", "maps/plain", "lrp.z", "lrp.z_plus"]
NAMES = ["plain", "maps/lrp.z (iNNvestigate)", "put_back/centred Gaussian", "a/b/c [1] {2}; 50 %"]
SETTINGS = {"scale": 2.0, "seed": 0, "faces": "ab12"}
KINDS = pytest.mark.parametrize("kind", ["cached_arrays", "cached_table"])


class Stopped(Exception):
    """What stops a piece on its way."""


def stop(*_, **__):
    raise Stopped


def never():
    raise AssertionError("made again, though it was finished")


def once(value):
    """Return a `make` that gives a value the first time and fails the second."""
    values = iter([value])
    return lambda: next(values)


def some_arrays():
    rng = np.random.default_rng(0)
    return {
        "maps": rng.normal(size=(3, 5, 4)).astype(np.float16),
        "peaks": np.array([1e38, np.nan, np.inf, -0.0], np.float32),
        "exact": rng.normal(size=(2, 3)),
        "order": np.arange(6)[::-1].reshape(2, 3),
        "changed": np.array([True, False]),
        "alone": np.array(7.5),
        "none": np.zeros((0, 4)),
    }


def some_table():
    return pd.DataFrame(
        {
            "method": ["gradient", "lrp.z (iNNvestigate)", "lime"],
            "r2": [0.1 + 0.2, np.nan, -np.inf],
            "small": np.array([0.1, 1e-45, 3e38], np.float32),
            "frame": np.array([8, 0, 2**31 - 1], np.int32),
            "sampled": [True, False, True],
            "kind": pd.Categorical(["a", "b", "a"]),
        }
    )


MAKE = {"cached_arrays": some_arrays, "cached_table": some_table}


def assert_same(one, other):
    """Compare dicts of arrays, or tables, to the bit."""
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
        one, other = ({name: t[name].to_numpy() for name in ("r2", "small")} for t in (one, other))
    assert list(one) == list(other)
    for name in one:
        assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape)
        assert one[name].tobytes() == other[name].tobytes(), name


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def results(path, settings=SETTINGS):
    return ResultCache(path, settings).claim()


@pytest.fixture
def cache(tmp_path):
    return results(tmp_path)


# Pieces


@KINDS
@pytest.mark.parametrize("name", NAMES)
def test_pieces_come_back_to_the_bit_and_are_made_once(cache, kind, name):
    made = once(MAKE[kind]())
    for _ in range(3):
        assert_same(getattr(cache, kind)(name, made), MAKE[kind]())
    assert_same(getattr(results(cache.path), kind)(name, never), MAKE[kind]())


def test_pieces_of_near_names_are_apart(cache):
    for number, name in enumerate([*NAMES, *NEAR]):
        cache.cached_arrays(name, lambda number=number: {"n": np.array(number)})
        cache.cached_table(name, lambda number=number: pd.DataFrame({"n": [number + 100]}))
    for number, name in enumerate([*NAMES, *NEAR]):
        assert cache.cached_arrays(name, never)["n"] == number
        assert cache.cached_table(name, never).n.tolist() == [number + 100]


@KINDS
def test_a_piece_that_fails_leaves_nothing_behind_and_is_made_anew(cache, kind):
    for _ in range(2):
        with pytest.raises(Stopped):
            getattr(cache, kind)("maps/gradient", stop)
    assert files(cache.path) == ["settings.json"] and cache.seconds() == 0
    assert_same(getattr(cache, kind)("maps/gradient", MAKE[kind]), MAKE[kind]())


@KINDS
def test_a_piece_whose_writing_fails_is_not_finished(cache, kind, monkeypatch):
    def half(where, *_, **__):
        where.write(b"PK half of a file")
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", half)
        patch.setattr(pd.DataFrame, "to_parquet", lambda self, where, **_: half(where))
        with pytest.raises(Stopped):
            getattr(cache, kind)("piece", MAKE[kind])
    assert_same(getattr(cache, kind)("piece", MAKE[kind]), MAKE[kind]())
    assert not list(cache.path.rglob("*.unfinished"))


def test_seconds_add_up_over_the_finished_pieces(cache, monkeypatch):
    # When a piece begins and ends, in turn.
    clock = iter([0.0, 5.0, 10.0, 11.25, 20.0, 22.5, 30.0, 30.25])
    monkeypatch.setattr(runs, "time", SimpleNamespace(perf_counter=clock.__next__, time=time.time))
    with monkeypatch.context() as patch:  # made, and not written
        patch.setattr(np, "savez_compressed", stop)
        with pytest.raises(Stopped):
            cache.cached_arrays("maps/gradient", some_arrays)
    assert cache.seconds() == 0
    cache.cached_arrays("maps/gradient", some_arrays)
    assert cache.seconds() == 1.25
    cache.cached_table("maps/gradient", some_table)
    cache.cached_arrays("maps/gradient", never)
    cache.cached_table("maps/gradient", never)
    assert cache.seconds() == 3.75
    results(cache.path).cached_table("seeds", some_table)
    assert cache.seconds() == 4


# Whose folder it is


@pytest.mark.parametrize("kind", [RunFolder, ResultCache])
@pytest.mark.parametrize("settings", [SETTINGS, {"sizes": (4, 8)}, {"found": None}, {}], ids=str)
def test_the_same_settings_are_taken_again(tmp_path, kind, settings):
    for path in (tmp_path / "new" / "folder", tmp_path, str(tmp_path)):
        for _ in range(2):
            assert kind(path, settings).claim().path == Path(path)
    assert kind(tmp_path, dict(reversed(settings.items()))).claim()


@pytest.mark.parametrize(
    "other, told",
    [
        (SETTINGS | {"seed": 3, "faces": "cd34"}, "faces was ab12, is cd34; seed was 0, is 3"),
        (SETTINGS | {"people": 16}, "people was nothing, is 16"),
        ({"scale": 2.0, "seed": 0}, "faces was ab12, is nothing"),
        (SETTINGS | {"scale": 1.3}, "scale was 2.0, is 1.3"),
    ],
)
def test_other_settings_are_refused_with_the_old_and_the_new(cache, other, told):
    cache.cached_arrays("piece", some_arrays)
    before = files(cache.path)
    for kind in (ResultCache, RunFolder):
        with pytest.raises(UserError) as refusal:
            kind(cache.path, other).claim()
        start = f"{cache.path} holds results of other settings ({told}): "
        assert str(refusal.value).startswith(start)
        assert "or another folder to start anew" in str(refusal.value)
    assert files(cache.path) == before
    assert_same(results(cache.path).cached_arrays("piece", never), some_arrays())


def test_pieces_of_another_version_are_refused_and_runs_go_on(cache, monkeypatch):
    now = runs.__version__
    with monkeypatch.context() as patch:
        patch.setattr(runs, "__version__", "99.0")
        with pytest.raises(UserError, match=f"xaifake version was {now}, is 99.0.*another folder"):
            results(cache.path)
        assert RunFolder(cache.path, SETTINGS).claim()
    (cache.path / "settings.json").write_text(json.dumps(SETTINGS))  # as older versions wrote it
    assert RunFolder(cache.path, SETTINGS).claim()
    with pytest.raises(UserError, match=f"xaifake version was nothing, is {now}"):
        results(cache.path)


@pytest.mark.parametrize("name", ["clips.csv", "settings.json"])
@pytest.mark.parametrize("begin", ["claim", "alone", "scratch"])
def test_a_folder_with_files_of_others_is_refused_and_kept(tmp_path, name, begin):
    (tmp_path / name).write_text("[1, 2]")
    with pytest.raises(UserError, match=rf"holds files .{name}. but no settings.json.*give ano"):
        with getattr(ResultCache(tmp_path, SETTINGS), begin)():
            pass
    assert files(tmp_path) == [name] and (tmp_path / name).read_text() == "[1, 2]"
    for place in (tmp_path / name, tmp_path / name / "deeper"):
        with pytest.raises(UserError, match="There is a file where .*: give a folder"):
            with getattr(ResultCache(place, SETTINGS), begin)():
                pass


def test_what_a_start_that_was_killed_leaves_is_no_obstacle(tmp_path):
    for name in ("settings.json.0815.unfinished", "run.lock", ".DS_Store", "shards/a.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert RunFolder(tmp_path, SETTINGS).claim()


HOLDER = """
import sys, time
from xaifake.runs import RunFolder
with RunFolder(sys.argv[1], {"seed": 0}).alone():
    print("in", flush=True)
    sys.stdin.read()
"""


def test_two_processes_are_not_alone_in_one_folder(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    folder = RunFolder(tmp_path, {"seed": 0})
    try:
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(UserError, match=f"Another process is at work in {tmp_path}"):
            with folder.alone():
                pass
        assert folder.claim()  # where several may work together
    finally:
        holder.kill()
        holder.communicate()
    with folder.alone(wait=True):  # nothing is left of who was killed
        pass


# What is made is deleted, and nothing else


def test_a_scratch_folder_goes_with_what_it_made_and_around_it(tmp_path):
    cache = ResultCache(tmp_path / "new" / "own", SETTINGS)
    with pytest.raises(Stopped), cache.scratch():
        cache.cached_arrays("a/b/finished", some_arrays)
        cache.cached_arrays("a/stopped", stop)
    with ResultCache(cache.path, SETTINGS).scratch() as again:
        assert_same(again.cached_arrays("a/b/finished", never), some_arrays())
    assert not list(tmp_path.iterdir())


def test_in_a_scratch_folder_pieces_of_other_settings_make_way(tmp_path):
    with (
        pytest.raises(Stopped),
        ResultCache(tmp_path / "own", {"digest": "another"}).scratch() as old,
    ):
        old.cached_arrays("person_0/x", some_arrays)
        (old.path / "person_0" / "x.npz.0815.unfinished").write_bytes(b"half")
        stop()
    with ResultCache(tmp_path / "own", SETTINGS).scratch() as cache:
        assert files(cache.path) == ["made.jsonl", "run.lock", "settings.json"]
        cache.cached_arrays("person_0/x", lambda: {"a": np.ones(1)})
    assert not list(tmp_path.iterdir())


def test_what_others_put_into_a_scratch_folder_stays(tmp_path):
    with ResultCache(tmp_path / "new" / "own", SETTINGS).scratch() as cache:
        cache.cached_arrays("a/piece", some_arrays)
        theirs = [cache.path / "notes.txt", cache.path / "a" / "other.npz"]
        for path in theirs:
            path.write_text("theirs")
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(theirs)


def test_a_record_that_was_changed_or_cut_off_deletes_nothing_elsewhere(tmp_path):
    (tmp_path / "theirs.txt").write_text("theirs")
    with ResultCache(tmp_path / "own", SETTINGS).scratch() as cache:
        cache.cached_arrays("piece", some_arrays)
        with open(cache.path / "made.jsonl", "a") as record:
            record.write('{"piece": "../theirs.txt"}\n{"piece": "/etc/passwd"}\n{"pie')
    assert files(tmp_path) == ["theirs.txt"]


# Files


def write_video(folder):
    with VideoWriter(folder / "video.mp4", 23, (16, 16)) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))


def write_page(folder):
    report = Report(None, "", 0, [], None, {}, {}, None)
    report.html = lambda day: "<p>"
    report.write(folder / "page.html")


def write_pieces(folder):
    for path in folder.glob("piece.*"):
        path.unlink()
    cache = results(folder)
    cache.cached_arrays("piece", lambda: {"a": np.ones(3)})
    cache.cached_table("piece", lambda: pd.DataFrame({"a": [1]}))


WRITERS = {
    "text": lambda folder: write_text(folder / "log.csv", "a,b\n"),
    "weights": lambda folder: write_tensors({"a": np.ones(3)}, folder / "w.safetensors"),
    "video": write_video,
    "page": write_page,
    "pieces": write_pieces,
    "reference": lambda folder: Reference(*[np.ones(2)] * 11).save(folder / "reference.npz"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_no_two_writers_share_the_name_of_an_unfinished_file(name, tmp_path, monkeypatch):
    seen, replace = [], os.replace

    def note(source, target):
        seen.append(Path(source))
        return replace(source, target)

    monkeypatch.setattr(os, "replace", note)
    for _ in range(2):
        WRITERS[name](tmp_path)
    assert len(set(seen)) == len(seen) >= 2
    assert not list(tmp_path.rglob("*.unfinished"))


def test_of_two_writers_of_a_file_the_last_one_stands_whole(tmp_path):
    path = tmp_path / "file"
    with write_whole(path) as first:
        first.write(b"first")
        with write_whole(path) as second:
            second.write(b"second, and longer")
        assert path.read_bytes() == b"second, and longer"
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("store", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path, store):
    path = UPath("memory://bucket/file") if store else tmp_path / "file"
    path.parent.mkdir(parents=True, exist_ok=True)
    for there in (False, True):
        with pytest.raises(KeyboardInterrupt), write_whole(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt
        assert path.exists() == there
        write_text(path, "before ä")
    assert path.read_text(encoding="utf-8") == "before ä"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_only_what_nobody_has_written_to_for_a_day_is_removed(tmp_path):
    deep = tmp_path / "shards"
    deep.mkdir()
    ages = {"old.1.unfinished": 60, "young.2.unfinished": -60, "old.parquet": 3 * ABANDONED}
    for name, beyond in ages.items():
        (deep / name).write_bytes(b"half")
        os.utime(deep / name, (time.time() - ABANDONED - beyond,) * 2)
    remove_abandoned(tmp_path)
    assert sorted(p.name for p in deep.iterdir()) == ["old.parquet", "young.2.unfinished"]


@pytest.mark.parametrize("address", ["s3://bucket/faces", "odd://x"])
def test_a_store_without_its_package_is_told(address):
    with pytest.raises(UserError, match=f"{address} cannot be reached.*s3fs"):
        as_folder(address)


# As a child process: without the package's rooms, which would load TensorFlow first.
CHILD = """
import sys
import numpy as np, pandas as pd
from xaifake.runs import ResultCache
cache = ResultCache(sys.argv[1], {"seed": 0}).claim()
noise = np.random.default_rng(0)
cache.cached_arrays("small", lambda: {"a": np.arange(5)})
cache.cached_arrays("maps/large", lambda: {"a": noise.random(6_000_000)})
cache.cached_table("large", lambda: pd.DataFrame(noise.random((400_000, 20))).add_prefix("c"))
"""


def start(folder):
    command = [sys.executable, "-c", CHILD, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kill_while_it_writes(folder, path):
    """Start the child, kill it in the middle of writing a file, and make what it left a day old."""
    child, limit = start(folder), time.monotonic() + 300
    try:
        while not any(p.stat().st_size > 100_000 for p in path.parent.glob(f"{path.name}.*.unf*")):
            assert child.poll() is None, child.stderr.read()
            assert time.monotonic() < limit, "it never came to write"
            time.sleep(0.002)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == -signal.SIGKILL
    for leftover in path.parent.glob("*.unfinished"):
        leftover.replace(leftover.with_name("0815.unfinished"))
        os.utime(leftover.with_name("0815.unfinished"), (time.time() - ABANDONED - 60,) * 2)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_what_is_there_is_whole_however_often_the_process_is_killed(tmp_path):
    arrays, table = (tmp_path / name for name in ("maps/large.npz", "large.parquet"))
    there, written = ["made.jsonl", "settings.json", "small.npz"], set()
    for path in (arrays, table):
        for _ in range(2):
            kill_while_it_writes(tmp_path, path)
            assert [name for name in files(tmp_path) if "unfinished" not in name] == sorted(there)
            written.add((tmp_path / "small.npz").stat().st_mtime_ns)
        there.append(str(path.relative_to(tmp_path)))
    child = start(tmp_path)
    assert child.wait(timeout=300) == 0, child.stderr.read()
    child.communicate()
    assert files(tmp_path) == sorted(there)
    # The piece that was finished before the first kill was never written again.
    assert written == {(tmp_path / "small.npz").stat().st_mtime_ns}
    cache, noise = results(tmp_path, {"seed": 0}), np.random.default_rng(0)
    assert (cache.cached_arrays("maps/large", never)["a"] == noise.random(6_000_000)).all()
    assert cache.cached_table("large", never).shape == (400_000, 20)


# To know things by


def test_a_digest_is_that_of_equal_things_alone():
    array = np.arange(6, dtype=np.float32)
    apart = [
        (),
        (array,),
        (array.reshape(2, 3),),
        (array.reshape(3, 2),),
        (array.astype(np.float64),),
        (array.view(np.int32),),
        (array[::-1],),
        (array[:3], array[3:]),
        ([array[:3], array[3:]],),
        (np.float32(0),),
        (np.zeros(0), np.zeros((0, 3))),
        (np.zeros((0, 3)), np.zeros(0)),
        (0,), (0.0,), (False,), (None,), ("",), ("0",), (b"0",),
        ("ab", "c"), ("a", "bc"), (["a", "bc"],), (["a"], "bc"),
        ({"a": 1},), ({"a": "1"},), (["a", 1],),
        ({"weights": [array, array], "name": "x"},),
    ]  # fmt: skip
    digests = [digest(*things) for things in apart]
    assert len(set(digests)) == len(digests)
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in digests)
    assert digests == [digest(*things) for things in apart]
    turned = np.asfortranarray(array.reshape(2, 3))
    assert digest(turned) == digest(array.reshape(2, 3).copy()) != digest(turned.T)
    assert digest((1, "a")) == digest([1, "a"])
    with pytest.raises(TypeError, match="not plain"):
        digest(np.array([object()]))


def test_packed_maps_keep_each_ones_shape_whatever_its_size():
    maps = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    maps *= np.float32([[1e-30, 1, 1e30]] * 2)[..., None, None]
    maps[1, 1] = 0
    shares, peaks = pack_maps(maps)
    assert shares.dtype == np.float16 and peaks.shape == (2, 3)
    again = unpack_maps(shares, peaks)
    assert again.dtype == np.float32 and not again[1, 1].any()
    assert (np.abs(again - maps) <= np.abs(maps).max(axis=(2, 3), keepdims=True) / 2000).all()


def test_colours_end_where_few_pixels_are_beyond():
    values = np.concatenate([np.linspace(-1, 1, 1000), [1e6]])
    assert colour_limit(values) == pytest.approx(0.995, abs=0.01)
    few = np.zeros(1000)
    assert colour_limit(few) == 1
    few[7] = -3
    assert colour_limit(few) == 3
