"""The whole book as one PDF."""

import os

import pytest
from pypdf import PdfReader

import chapters
import print_book
from browser import MISSING, find_browser


def test_the_whole_book_prints_into_one_pdf(tmp_path):
    if not find_browser():
        pytest.fail(MISSING) if os.environ.get("CI") else pytest.skip(MISSING)
    reader = PdfReader(print_book.print_book(where=tmp_path))
    assert len(reader.pages) > 100
    text = " ".join(" ".join(page.extract_text().split()) for page in reader.pages)
    for path in chapters.chapter_paths():
        title = chapters.read(path).cells[0].source.splitlines()[0].removeprefix("# ")
        assert title in text
