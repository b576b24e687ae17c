"""What is finished stays, whole and as it was made, and what was not finished is made anew."""

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

from xaifake.data.folders import ABANDONED
from xaifake.errors import UserError
from xaifake.judge import parts as module
from xaifake.judge.parts import Parts

NEAR = ["plain (absolute)", "maps/plain", "lrp.z", "lrp.z_plus"]
NAMES = ["plain", "maps/lrp.z (iNNvestigate)", "put_back/centred Gaussian", "a/b/c [1] {2}; 50 %"]
SETTINGS = {"scale": 2.0, "seed": 0, "faces": "ab12"}


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
            "entry": ["gradient", "lrp.z (iNNvestigate)", "lime"],
            "r2": [0.1 + 0.2, np.nan, -np.inf],
            "small": np.array([0.1, 1e-45, 3e38], np.float32),
            "frame": np.array([8, 0, 2**31 - 1], np.int32),
            "sampled": [True, False, True],
            "kind": pd.Categorical(["a", "b", "a"]),
        }
    )


def assert_same(one, other):
    assert list(one) == list(other)
    for name in one:
        assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape)
        assert one[name].tobytes() == other[name].tobytes(), name


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path / "some" / "folder", SETTINGS)


@pytest.mark.parametrize("name", NAMES)
def test_arrays_come_back_to_the_bit_and_are_made_once(parts, name):
    made = once(some_arrays())
    for _ in range(3):
        assert_same(parts.arrays(name, made), some_arrays())
    assert_same(Parts(parts.folder, SETTINGS).arrays(name, never), some_arrays())


@pytest.mark.parametrize("name", NAMES)
def test_tables_come_back_to_the_bit_and_are_made_once(parts, name):
    made = once(some_table())
    for _ in range(3):
        pd.testing.assert_frame_equal(parts.table(name, made), some_table(), check_exact=True)
    again = Parts(parts.folder, SETTINGS).table(name, never)
    pd.testing.assert_frame_equal(again, some_table(), check_exact=True)
    assert again.r2.to_numpy().tobytes() == some_table().r2.to_numpy().tobytes()


def test_pieces_of_near_names_are_apart(parts):
    for number, name in enumerate([*NAMES, *NEAR]):
        parts.arrays(name, lambda number=number: {"n": np.array(number)})
        parts.table(name, lambda number=number: pd.DataFrame({"n": [number + 100]}))
    for number, name in enumerate([*NAMES, *NEAR]):
        assert parts.arrays(name, never)["n"] == number
        assert parts.table(name, never).n.tolist() == [number + 100]


@pytest.mark.parametrize("kind", ["arrays", "table"])
def test_a_piece_that_fails_leaves_nothing_behind_and_is_made_anew(parts, kind):
    before = files(parts.folder)
    for _ in range(2):
        with pytest.raises(Stopped):
            getattr(parts, kind)("maps/gradient", stop)
    assert files(parts.folder) == before == ["settings.json"]
    assert parts.seconds() == 0
    if kind == "arrays":
        assert_same(parts.arrays("maps/gradient", some_arrays), some_arrays())
    else:
        assert len(parts.table("maps/gradient", some_table)) == 3


@pytest.mark.parametrize("kind", ["arrays", "table"])
def test_a_piece_whose_writing_fails_is_not_finished(parts, kind, monkeypatch):
    def half(where, *_, **__):
        where.write(b"PK half of a file")
        raise Stopped

    make = {"arrays": some_arrays, "table": some_table}[kind]
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", half)
        patch.setattr(pd.DataFrame, "to_parquet", lambda self, where, **_: half(where))
        with pytest.raises(Stopped):
            getattr(parts, kind)("piece", make)
    got = getattr(parts, kind)("piece", make)
    assert list(got) == list(make())
    assert not [name for name in files(parts.folder) if "unfinished" in name]


def test_seconds_add_up_over_the_finished_pieces(parts, monkeypatch):
    # When a piece begins and ends, in turn.
    clock = iter([10.0, 11.25, 20.0, 22.5, 30.0, 30.25])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert parts.seconds() == 0
    parts.arrays("maps/gradient", some_arrays)
    assert parts.seconds() == 1.25
    parts.table("maps/gradient", some_table)
    parts.arrays("maps/gradient", never)
    parts.table("maps/gradient", never)
    assert parts.seconds() == 3.75
    again = Parts(parts.folder, SETTINGS)
    again.table("seeds", some_table)
    assert again.seconds() == 4


def test_a_piece_that_was_made_but_not_written_adds_no_seconds(parts, monkeypatch):
    clock = iter([10.0, 11.25, 20.0, 22.5])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", stop)
        with pytest.raises(Stopped):
            parts.arrays("piece", some_arrays)
    assert parts.seconds() == 0
    parts.arrays("piece", some_arrays)
    assert parts.seconds() == 2.5


def test_the_same_settings_are_taken_again(tmp_path):
    for _ in range(3):
        assert Parts(tmp_path, SETTINGS).folder == tmp_path
    assert Parts(str(tmp_path), dict(reversed(SETTINGS.items()))).folder == tmp_path


@pytest.mark.parametrize("settings", [{"sizes": (4, 8)}, {"found": None}, {}], ids=str)
def test_settings_are_the_same_as_themselves(tmp_path, settings):
    Parts(tmp_path, settings)
    Parts(tmp_path, settings)


def test_other_settings_are_refused_with_the_old_and_the_new(tmp_path):
    Parts(tmp_path, SETTINGS).arrays("piece", some_arrays)
    before = files(tmp_path)
    with pytest.raises(UserError) as refusal:
        Parts(tmp_path, SETTINGS | {"seed": 3, "faces": "cd34"})
    told = str(refusal.value)
    assert f"{tmp_path} holds results of other settings" in told
    assert "faces was ab12, is cd34" in told and "seed was 0, is 3" in told
    assert "scale" not in told
    assert "give another folder, or delete this one" in told
    assert files(tmp_path) == before
    assert_same(Parts(tmp_path, SETTINGS).arrays("piece", never), some_arrays())


@pytest.mark.parametrize(
    "other, told",
    [
        (SETTINGS | {"people": 16}, "people was nothing, is 16"),
        ({"scale": 2.0, "seed": 0}, "faces was ab12, is nothing"),
        (SETTINGS | {"scale": 1.3}, "scale was 2.0, is 1.3"),
    ],
)
def test_settings_that_came_or_went_are_refused_too(tmp_path, other, told):
    Parts(tmp_path, SETTINGS)
    with pytest.raises(UserError, match=told):
        Parts(tmp_path, other)


def test_what_another_version_made_is_refused_and_named(tmp_path, monkeypatch):
    Parts(tmp_path, SETTINGS).arrays("piece", some_arrays)
    now = module.__version__
    with monkeypatch.context() as patch:
        patch.setattr(module, "__version__", "99.0")
        with pytest.raises(UserError, match=f"xaifake version was {now}, is 99.0.*another folder"):
            Parts(tmp_path, SETTINGS)
    assert_same(Parts(tmp_path, SETTINGS).arrays("piece", never), some_arrays())
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))  # as older versions wrote it
    with pytest.raises(UserError, match=f"xaifake version was nothing, is {now}"):
        Parts(tmp_path, SETTINGS)


# As a child process: the module by its file, since the package would load TensorFlow first.
CHILD = """
import importlib.util, sys
import numpy as np, pandas as pd
spec = importlib.util.spec_from_file_location("parts", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
parts = module.Parts(sys.argv[2], {"seed": 0})
noise = np.random.default_rng(0)
parts.arrays("small", lambda: {"a": np.arange(5)})
parts.arrays("maps/large", lambda: {"a": noise.random(6_000_000)})
parts.table("large", lambda: pd.DataFrame(noise.random((400_000, 20))).add_prefix("c"))
"""


def start(folder):
    command = [sys.executable, "-c", CHILD, module.__file__, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def size_of_unfinished(path):
    """Return how much of a file a process has written that was not killed a day ago."""
    now = [p.stat() for p in path.parent.glob(f"{path.name}.*.unfinished")]
    return max((s.st_size for s in now if time.time() - s.st_mtime < ABANDONED), default=0)


def kill_while_it_writes(folder, path):
    """Start the child and kill it in the middle of writing a file; tell how far it was."""
    child = start(folder)
    try:
        limit = time.monotonic() + 300
        while size_of_unfinished(path) < 100_000:
            assert child.poll() is None, child.stderr.read()
            assert time.monotonic() < limit, "it never came to write"
            time.sleep(0.002)
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == -signal.SIGKILL
    size = size_of_unfinished(path)
    for leftover in path.parent.glob("*.unfinished"):
        os.utime(leftover, (time.time() - ABANDONED - 60,) * 2)
    return size


def assert_whole(folder, names):
    """Every file but the unfinished ones can be read, and it is these."""
    whole = [name for name in files(folder) if "unfinished" not in name]
    assert whole == sorted(names)
    for name in whole:
        path = folder / name
        if path.suffix == ".npz":
            with np.load(path) as stored:
                assert len(stored["a"]) in (5, 6_000_000)
        elif path.suffix == ".parquet":
            assert pd.read_parquet(path).shape == (400_000, 20)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_what_is_there_is_whole_however_often_the_process_is_killed(tmp_path):
    arrays, table = (tmp_path / name for name in ("maps/large.npz", "large.parquet"))
    finished, written = ["seconds.jsonl", "settings.json", "small.npz"], set()
    for path in (arrays, table):
        for _ in range(2):
            assert kill_while_it_writes(tmp_path, path) >= 100_000
            assert_whole(tmp_path, finished)
            written.add((tmp_path / "small.npz").stat().st_mtime_ns)
        finished.append(str(path.relative_to(tmp_path)))
    child = start(tmp_path)
    assert child.wait(timeout=300) == 0, child.stderr.read()
    child.communicate()
    assert_whole(tmp_path, finished)
    assert not [name for name in files(tmp_path) if "unfinished" in name]
    # The piece that was finished before the first kill was never written again.
    assert written == {(tmp_path / "small.npz").stat().st_mtime_ns}
    parts = Parts(tmp_path, {"seed": 0})
    expected = np.random.default_rng(0).random(6_000_000)
    assert parts.arrays("maps/large", never)["a"].tobytes() == expected.tobytes()
