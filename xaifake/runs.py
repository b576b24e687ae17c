"""A run's folder, files that appear whole, results kept piece by piece, and digests (all rooms)."""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from io import BytesIO
from pathlib import Path
from typing import IO, Self

import numpy as np

from xaifake import __version__
from xaifake.errors import UserError

ABANDONED = 24 * 60 * 60  # seconds without a write, after which an unfinished file is nobody's
_SETTINGS, _LOCK, _MADE, _VERSION = "settings.json", "run.lock", "made.jsonl", "xaifake version"


def as_folder(address: str | Path):
    """Return a folder that takes the methods of a path: a `pathlib.Path` or a `upath.UPath`.

    Parameters
    ----------
    address : str or path
        A path, or an fsspec URL such as ``s3://bucket/faces``; the package that reaches the store
        (``s3fs``, ``gcsfs``, ...) finds credentials as it does everywhere.

    Raises
    ------
    UserError
        If a package for the URL is missing.
    """
    if "://" not in str(address):
        return Path(address)
    try:
        from upath import UPath

        folder = UPath(address)
        folder.fs  # noqa: B018, made when first asked for
    except (ImportError, ValueError) as error:
        raise UserError(
            f"{address} cannot be reached: {error}. URLs of stores need universal_pathlib and the "
            "package of the store, such as s3fs or gcsfs."
        ) from None
    return folder


@contextmanager
def write_whole(path) -> Iterator[IO[bytes]]:
    """Open a file of a folder of `as_folder` for writing bytes; it appears whole or not at all.

    On a disk it is written beside its place, under a name that no other writer has, be it another
    thread, process or machine, and renamed at the end; what a writer leaves that is killed,
    `remove_abandoned` removes. A store is sent the finished bytes at once: object stores show no
    object before all of it has arrived.
    """
    if not isinstance(path, Path):
        buffer = BytesIO()
        yield buffer
        path.write_bytes(buffer.getvalue())
        return
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.unfinished")
    try:
        with unfinished.open("wb") as file:
            yield file
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    with write_whole(as_folder(path)) as file:
        file.write(text.encode("utf-8"))


def read_parquet(path, columns: list[str] | None = None):
    """Read a Parquet file of a folder of `as_folder`, as a `pyarrow.Table`."""
    from pyarrow.parquet import ParquetFile  # who writes weights reads no tables

    # Not by read_table: the threads that it starts now and then abort a process at its end.
    with path.open("rb") as file:
        return ParquetFile(file).read(columns)


def remove_abandoned(folder) -> None:
    """Delete the unfinished files below a folder that nobody has written to for `ABANDONED`.

    Younger ones stay: another process, here or on another machine, may be writing them.
    """
    if not isinstance(folder, Path):
        return  # `write_whole` leaves nothing in a store
    for leftover in folder.rglob("*.unfinished"):
        with suppress(FileNotFoundError):  # renamed or removed meanwhile
            if leftover.is_file() and time.time() - leftover.stat().st_mtime > ABANDONED:
                leftover.unlink()


class RunFolder:
    """A folder of results that belong to one set of settings, which `settings.json` keeps.

    The version of this package is kept with them and not compared: a long run goes on after an
    update.

    Parameters
    ----------
    path : str or Path
        Of a folder, which need not be there; a path or a URL, see `as_folder`.
    settings : dict
        Of plain values: what the results depend on.
    """

    versioned = False  # whether results of another version are others

    def __init__(self, path: str | Path, settings: dict):
        self.path = as_folder(path)
        settings = {_VERSION: __version__, **settings}
        self.settings = json.loads(json.dumps(settings))  # as they will be read

    def claim(self) -> Self:
        """Make the folder, or go on with it; return itself. Several processes may do so at once.

        Raises
        ------
        UserError
            If the folder was begun with other settings, which the message names, or holds files
            that no run made.
        """
        begun = self._begun()
        if begun is None:
            self._make_folder()
            text = json.dumps(self.settings, indent=1) + "\n"
            write_text(self.path / _SETTINGS, text)
        elif changed := self._changed(begun):
            raise UserError(
                f"{self.path} holds results of other settings ({'; '.join(changed)}): give the "
                "same settings to go on with it, or another folder to start anew."
            )
        remove_abandoned(self.path)
        return self

    @contextmanager
    def alone(self, wait: bool = False) -> Iterator["RunFolder"]:
        """`claim` the folder of a disk and keep others out who ask for the same until the end.

        Parameters
        ----------
        wait : bool
            Wait for another process that has it, instead of refusing.

        Raises
        ------
        UserError
            As `claim`, and if another process has the folder.
        """
        from filelock import FileLock, Timeout  # who writes weights needs no lock

        self._begun()  # refuses what is not a run's before the lock is put there
        self._make_folder()
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise UserError(
                f"Another process is at work in {self.path}: wait until it has ended, or give "
                "another folder."
            ) from None
        try:
            yield self.claim()
        finally:
            lock.release()

    def _begun(self):
        """Return the settings that the folder was begun with, or None where there are none yet."""
        with suppress(FileNotFoundError, NotADirectoryError, TypeError, ValueError):
            return dict(json.loads((self.path / _SETTINGS).read_text(encoding="utf-8")))
        there = self.path.iterdir() if self.path.is_dir() else ()
        strange = [path.name for path in there if path.is_file() and not _passes(path.name)]
        if strange:
            raise UserError(
                f"{self.path} holds files ({min(strange)}) but no {_SETTINGS}, so they are "
                "somebody else's or an older version's: give another folder, or an empty one."
            )
        return None

    def _changed(self, begun):
        names = (begun.keys() | self.settings.keys()) - (set() if self.versioned else {_VERSION})
        return [
            f"{name} was {begun.get(name, 'nothing')}, is {self.settings.get(name, 'nothing')}"
            for name in sorted(names)
            if begun.get(name) != self.settings.get(name)
        ]

    def _make_folder(self):
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UserError(f"There is a file where {self.path} is to be: give a folder.") from None


def _passes(name):
    return name.startswith(".") or name.endswith(".unfinished") or name in (_LOCK, _MADE)


class ResultCache(RunFolder):
    """A folder of finished pieces, so that a long computation which is stopped goes on.

    A piece is what the code of one version made of the settings, so the version is compared too.
    """

    versioned = True

    def cached_arrays(self, name: str, make: Callable[[], dict]) -> dict[str, np.ndarray]:
        """Return the arrays of a piece; `make` is called if it is not finished yet."""
        path = self._piece(f"{name}.npz", make, lambda made, f: np.savez_compressed(f, **made))
        with np.load(path) as stored:
            return dict(stored)

    def cached_table(self, name: str, make: Callable):
        """Return the `pandas.DataFrame` of a piece; `make` is called if it is not finished yet."""
        path = self._piece(f"{name}.parquet", make, lambda made, f: made.to_parquet(f, index=False))
        return read_parquet(path).to_pandas()

    def seconds(self) -> float:
        """Return how long the finished pieces took to make, in all."""
        return sum(line.get("seconds", 0) for line in self._made())

    @contextmanager
    def scratch(self) -> Iterator["ResultCache"]:
        """Have the folder `alone` until its pieces have served; then nothing of it is left.

        Pieces of other settings make way. After an error they stay, for a next call. Only what this
        class made is deleted, and only those folders which it made and in which nothing else is.
        """
        begun = self._begun()
        settings, self.settings = self.settings, begun or self.settings
        with self.alone():
            if self.settings != settings:
                self._clear()
                self.settings = settings
                self.claim()
            yield self
            self._remove()

    def _clear(self):
        """Delete the pieces, also half-written ones, and the settings."""
        made = self._made()
        pieces = {(self.path / line["piece"]).resolve() for line in made if "piece" in line}
        for piece in (p for p in pieces if p.is_relative_to(self.path.resolve())):
            for leftover in piece.parent.glob(f"{escape(piece.name)}.*.unfinished"):
                leftover.unlink(missing_ok=True)
            piece.unlink(missing_ok=True)
            for folder in piece.parents:
                if folder == self.path.resolve():
                    break
                with suppress(OSError):  # something else is in it
                    folder.rmdir()
        (self.path / _SETTINGS).unlink()
        kept = [json.dumps(line) + "\n" for line in made if "folders" in line]
        write_text(self.path / _MADE, "".join(kept))

    def _remove(self):
        around = sum(line.get("folders", 0) for line in self._made())
        self._clear()
        for name in (_MADE, _LOCK):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # something else is in it
            for folder in (self.path, *self.path.parents)[: 1 + around]:
                folder.rmdir()

    def _piece(self, name, make, write):
        path = self.path / name
        if not path.exists():
            start = time.perf_counter()
            made = make()
            seconds = round(time.perf_counter() - start, 2)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._note(piece=name)  # before it is there: `remove` is to know of it in any case
            with write_whole(path) as file:
                write(made, file)
            self._note(piece=name, seconds=seconds)
        return path

    def _make_folder(self):
        new = [folder for folder in self.path.parents if not folder.exists()]
        super()._make_folder()
        if new:
            self._note(folders=len(new))

    def _note(self, **what):
        with open(self.path / _MADE, "a", encoding="utf-8") as file:
            file.write(json.dumps(what) + "\n")

    def _made(self):
        path, found = self.path / _MADE, []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            with suppress(ValueError):  # cut off by a kill
                found.append(json.loads(line))
        return found


def digest(*things) -> str:
    """Return 16 hexadecimal digits by which things are known again: equal ones have the same.

    Parameters
    ----------
    *things
        Arrays, of which values, shape and dtype count; text, bytes, numbers, None; and lists,
        tuples and dicts of these, in their order.
    """
    state = hashlib.blake2b(digest_size=8)
    _feed(state, things)
    return state.hexdigest()


def _feed(state, thing):
    if isinstance(thing, dict):
        thing = list(thing.items())
    if isinstance(thing, (list, tuple)):
        state.update(f"list {len(thing)};".encode())
        for one in thing:
            _feed(state, one)
    elif isinstance(thing, (str, bytes, int, float, type(None))):
        data = thing if isinstance(thing, bytes) else str(thing).encode()
        state.update(f"{type(thing).__name__} {len(data)};".encode() + data)
    else:
        array = np.asarray(thing, order="C")
        if array.dtype.hasobject:
            raise TypeError(f"No digest of {type(thing).__name__}: its values are not plain.")
        state.update(f"{array.dtype} {array.shape};".encode())
        state.update(array.reshape(-1).view(np.uint8))
