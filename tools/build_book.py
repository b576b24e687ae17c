"""Build the book and check it.

    python tools/build_book.py                                  from the outputs in notebooks/
    python tools/build_book.py --notebooks _build/executed      from copies run just now
    python tools/build_book.py --pdf                            the whole book as one PDF

The sources are copied to `_build/source` and built there, so nothing that is committed changes.
Every warning of the build is an error. The PDF is printed by headless Chromium or Chrome, from a
single page in the order of the contents.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import browser
import chapters
import make_interactive
import make_slides
import pages

ALONE = ("examples", "study")  # folders of pages of their own, which chapter 15 links to
SOURCES = ("_config.yml", "_toc.yml", "index.md", "book")
# On paper nothing can be clicked open: answers are shown, and what only a screen needs is not.
PAPER = Path(__file__).with_name("paper.css")


def copy_sources(notebooks, source):
    """Lay the book's sources into an empty folder, with the chapters from the folder `notebooks`.

    A FileNotFoundError says which chapter of the book is not there.
    """
    shutil.rmtree(source, ignore_errors=True)
    (source / "notebooks").mkdir(parents=True)
    for path in (chapters.ROOT / name for name in SOURCES):
        if path.is_dir():  # but no weights, which are large and on no page
            no_weights = shutil.ignore_patterns("*.safetensors")
            shutil.copytree(path, source / path.name, ignore=no_weights)
        else:
            shutil.copy(path, source / path.name)
    for chapter in chapters.chapter_paths():
        shutil.copy(Path(notebooks) / chapter.name, source / "notebooks" / chapter.name)
    make_interactive.render(source / "book" / "interactive")


def build_pages(notebooks, where, builder):
    """Let Sphinx' builder `html` or `singlehtml` write its pages into `where/_build/BUILDER`.

    A RuntimeError says that the build fails or warns.
    """
    html = Path(where) / "_build" / builder
    source = html.parent / "source"
    copy_sources(notebooks, source)
    shutil.rmtree(html, ignore_errors=True)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source]
    command += ["--builder", "custom", "--custom-builder", builder]
    command += ["--path-output", where, "-W", "-n", "--keep-going", "--all", "-q"]
    if subprocess.run(list(map(str, command))).returncode:
        raise RuntimeError("the build failed; what it complains about is printed above")
    return html


def build(notebooks=chapters.NOTEBOOKS, where=chapters.ROOT):
    """Build the HTML and return its folder, `where/_build/html`.

    A RuntimeError says that the build fails or warns, or which problems its pages have.
    """
    html = build_pages(notebooks, where, "html")
    make_slides.make(html, notebooks)
    for folder in ALONE:
        shutil.copytree(chapters.ROOT / "book" / folder, html / "book" / folder)
    if found := pages.problems(html):
        raise RuntimeError("the pages have problems:\n  " + "\n  ".join(found))
    return html


def print_book(notebooks=chapters.NOTEBOOKS, where=chapters.ROOT):
    """Build the book as one page, print it and return the path, `where/_build/book.pdf`.

    A RuntimeError says that there is no browser, or that the build fails.
    """
    html = build_pages(notebooks, where, "singlehtml")
    pdf = html.parent / "book.pdf"
    with browser.open_browser() as opened:
        page = opened.new_page(color_scheme="light")
        page.goto((html / "index.html").as_uri(), wait_until="load")
        page.evaluate("window.MathJax?.startup?.promise")  # until all formulas are set
        page.add_style_tag(path=PAPER)
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        margin = dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
        options = {"print_background": True, "tagged": True, "outline": True}
        page.pdf(path=pdf, format="A4", scale=0.8, margin=margin, **options)
    return pdf


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notebooks", type=Path, default=chapters.NOTEBOOKS)
    parser.add_argument("--pdf", action="store_true", help="print it into one PDF instead")
    options = parser.parse_args()
    try:
        made = (print_book if options.pdf else build)(options.notebooks)
    except (RuntimeError, FileNotFoundError) as error:
        sys.exit(f"There is no book: {error}")
    print(f"The book is ready: {made if options.pdf else made / 'index.html'}")
