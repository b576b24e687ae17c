"""The whole book as one PDF."""

import pytest
from pypdf import PdfReader

import build_book
import chapters

pytestmark = pytest.mark.book


def test_the_whole_book_prints_into_one_pdf(need_browser, tmp_path):
    reader = PdfReader(build_book.print_book(where=tmp_path))
    assert len(reader.pages) > 100
    text = " ".join(" ".join(page.extract_text().split()) for page in reader.pages)
    for path in chapters.chapter_paths():
        assert chapters.title(chapters.read(path)) in text
