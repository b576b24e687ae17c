"""Build the book's HTML and check it.

    python tools/build_book.py                                  from the outputs in notebooks/
    python tools/build_book.py --notebooks _build/executed      from copies run just now

The sources are copied to `_build/source` and built there, so nothing that is committed changes.
Every warning of the build is an error.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import chapters
import make_interactive
import make_slides
import pages

EXAMPLE = "example_report.html"  # a page of its own, which chapter 12 links to
SOURCES = ("_config.yml", "_toc.yml", "index.md", "book")


def copy_sources(notebooks, source, root=chapters.ROOT):
    """Lay the book's sources into an empty folder, with the chapters taken from `notebooks`.

    Raises
    ------
    FileNotFoundError
        If a chapter of the book is not among `notebooks`.
    """
    shutil.rmtree(source, ignore_errors=True)
    (source / "notebooks").mkdir(parents=True)
    for name in SOURCES:
        if (root / name).is_dir():
            shutil.copytree(root / name, source / name)
        else:
            shutil.copy(root / name, source / name)
    for chapter in chapters.chapter_paths(root / "notebooks"):
        shutil.copy(Path(notebooks) / chapter.name, source / "notebooks" / chapter.name)
    make_interactive.render(source / "book" / "interactive")


def build_pages(notebooks=chapters.NOTEBOOKS, where=chapters.ROOT, root=chapters.ROOT, *, builder):
    """Let Sphinx' builder `html` or `singlehtml` write its pages into `where/_build/BUILDER`.

    Raises
    ------
    RuntimeError
        If the build fails or warns.
    """
    html = Path(where) / "_build" / builder
    source = html.parent / "source"
    copy_sources(notebooks, source, root)
    shutil.rmtree(html, ignore_errors=True)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source]
    command += ["--builder", "custom", "--custom-builder", builder]
    command += ["--path-output", where, "-W", "-n", "--keep-going", "--all", "-q"]
    if subprocess.run(list(map(str, command))).returncode:
        raise RuntimeError("the build failed; what it complains about is printed above")
    return html


def build(notebooks=chapters.NOTEBOOKS, where=chapters.ROOT, root=chapters.ROOT):
    """Build the HTML into `where/_build/html`.

    Returns
    -------
    Path
        The folder with `index.html`.

    Raises
    ------
    RuntimeError
        If the build fails or warns, or its pages have problems (`pages.problems`).
    """
    html = build_pages(notebooks, where, root, builder="html")
    make_slides.make(html, notebooks)
    shutil.copy(Path(root) / "book" / EXAMPLE, html / "book" / EXAMPLE)
    if found := pages.problems(html):
        raise RuntimeError("the pages have problems:\n  " + "\n  ".join(found))
    return html


def main(arguments=None):
    """Build the book and say where it is; return 0, or 1 if it cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notebooks", type=Path, default=chapters.NOTEBOOKS)
    try:
        html = build(parser.parse_args(arguments).notebooks)
    except (RuntimeError, FileNotFoundError) as error:
        print(f"There is no book: {error}", file=sys.stderr)
        return 1
    print(f"The book is ready: {html / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
