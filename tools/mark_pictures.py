"""Mark every stored picture of the package and the book for machines; run it after making any.

    python tools/mark_pictures.py

The packed faces, the pictures of the book, its pages and the outputs of its chapters say in their
metadata from what kind of source they are (`xaifake.data.marks`). What is marked stays as it is,
and no pixel changes. The portraits are other people's photographs, and are left alone.
"""

import base64
import re

import pyarrow as pa
import pyarrow.parquet as pq

import chapters
from build_book import ALONE
from xaifake.data.dataset import FACES, LEAKAGE_FACES, read_manifest
from xaifake.data.marks import FIGURE, LABELLED, MASK, SWAP, marked, source_type
from xaifake.runs import write_whole

BOOK = chapters.ROOT / "book"
IMAGES = BOOK / "images"
SOURCES = {"screenshot.png": "screenCapture", "costs.svg": FIGURE}
DRAWN = "digitalCreation"  # by a human, as the diagrams are
_KEY = ["video", "frame", "scale"]
_IN_A_PAGE = re.compile(r"data:image/[a-z+]+;base64,([A-Za-z0-9+/=]+)")


def mark_faces(folder):
    """Mark the pictures that `xaifake.data.dataset.pack_faces` packed into a folder."""
    labels = read_manifest(folder).set_index(_KEY).label
    for path, table in _shards(folder):
        rows = zip(*(table[name].to_pylist() for name in _KEY))
        marks = {"image": [(SWAP, LABELLED[labels[row]]) for row in rows]}
        marks["mask"] = [(MASK, "")] * len(table)
        for name in table.column_names[len(_KEY) :]:
            said = marks.get(name, [(SWAP, LABELLED[0])] * len(table))
            pairs = zip(table[name].to_pylist(), said, strict=True)
            data = pa.array([one and marked(one, *mark) for one, mark in pairs], pa.binary())
            table = table.set_column(table.column_names.index(name), name, data)
        with write_whole(path) as file:
            pq.write_table(table, file, use_dictionary=False)


def unmarked():
    """Return the names of the stored pictures that have no mark."""
    return [name for name, data in _stored() if source_type(data) is None]


def mark_page(path):
    """Mark the pictures in a page of HTML that have no mark: faces of the book's own clips."""

    def marked_too(match):
        data = base64.b64decode(match[1])
        if source_type(data) is None:
            data = marked(data, SWAP, LABELLED[0])
        return match[0].replace(match[1], base64.b64encode(data).decode())

    text = _IN_A_PAGE.sub(marked_too, path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


def _pages():
    return sorted(path for name in ALONE for path in (BOOK / name).glob("*.html"))


def _images():
    return sorted(path for path in IMAGES.rglob("*") if path.is_file())


def _stored():
    """Yield name and bytes of every stored picture."""
    for path in _images():
        yield path.name, path.read_bytes()
    for path in _pages():
        for number, data in enumerate(_IN_A_PAGE.findall(path.read_text(encoding="utf-8"))):
            yield f"{path.name}, picture {number}", base64.b64decode(data)
    for path in chapters.chapter_paths():
        for number, (_, data) in enumerate(chapters.pictures(chapters.read(path))):
            yield f"{path.name}, picture {number}", base64.b64decode(data["image/png"])
    for folder in (FACES, LEAKAGE_FACES):
        for _, table in _shards(folder):
            for name in table.column_names[len(_KEY) :]:
                for row, data in enumerate(table[name].to_pylist()):
                    if data is not None:
                        yield f"{folder.name}, {name} {row}", data


def _shards(folder):
    for path in sorted((folder / "shards").glob("*.parquet")):
        yield path, pq.read_table(path)


def main():
    """Mark everything."""
    for folder in (FACES, LEAKAGE_FACES):
        mark_faces(folder)
    for path in _images():
        kind = DRAWN if path.parent == IMAGES else FIGURE
        path.write_bytes(marked(path.read_bytes(), SOURCES.get(path.name, kind)))
    for path in _pages():
        mark_page(path)
    for path in chapters.chapter_paths():
        notebook = chapters.read(path)
        chapters.mark_pictures(notebook)
        chapters.write(notebook, path)


if __name__ == "__main__":
    main()
