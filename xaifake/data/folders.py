"""Folders to write results to: local or shared paths, and object stores by their fsspec URL."""

import os
import time
import uuid
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from xaifake.errors import UserError

ABANDONED = 24 * 60 * 60  # seconds without a write, after which an unfinished file is nobody's


def as_folder(address):
    """Return a folder that takes the methods of a path.

    Parameters
    ----------
    address : str or path
        A path, or an fsspec URL such as ``s3://bucket/faces``; the package that reaches the store
        (``s3fs``, ``gcsfs``, ...) finds credentials as it does everywhere.

    Returns
    -------
    pathlib.Path or upath.UPath

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
def whole_file(path):
    """Open a file for writing bytes that appears whole or not at all.

    On a disk it is written beside its place and renamed at the end. A store is sent the finished
    bytes at once: object stores show no object before all of it has arrived.
    """
    if not isinstance(path, Path):
        buffer = BytesIO()
        yield buffer
        path.write_bytes(buffer.getvalue())
        return
    with whole_path(path) as temporary, temporary.open("wb") as file:
        yield file


@contextmanager
def whole_path(path):
    """Give a path to write to; at the end the file appears, whole, at the path asked for.

    Both are on one disk. No two writers get the same path, be they threads, processes or machines.
    What a writer leaves that is killed, `remove_abandoned` removes.
    """
    # Not the number of the process: several machines may write to one folder.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.unfinished")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path, text):
    """Write a text file that appears whole or not at all."""
    with whole_file(Path(path)) as file:
        file.write(text.encode("utf-8"))


def remove_abandoned(folder):
    """Delete the unfinished files below a folder that nobody has written to for `ABANDONED`.

    Younger ones stay: another process, here or on another machine, may be writing them.
    """
    if not isinstance(folder, Path):
        return  # `whole_file` leaves nothing in a store
    for leftover in folder.rglob("*.unfinished"):
        with suppress(FileNotFoundError):  # renamed or removed meanwhile
            if leftover.is_file() and time.time() - leftover.stat().st_mtime > ABANDONED:
                leftover.unlink()


def read_parquet(path, columns=None):
    """Read a Parquet file of a folder of `as_folder`, as a `pyarrow.Table`."""
    import pyarrow.parquet as pq  # who writes weights reads no tables

    with path.open("rb") as file:
        return pq.read_table(file, columns=columns)
