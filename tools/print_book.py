"""Print the whole book into one PDF with headless Chromium or Chrome.

    python tools/print_book.py                                  from the outputs in notebooks/
    python tools/print_book.py --notebooks _build/executed      from copies run just now

All pages are laid into a single one first, in the order of the contents.
"""

import argparse
import sys
from pathlib import Path

import build_book
import chapters
from browser import open_browser

# On paper nothing can be clicked open: answers are shown, and what only a screen needs is not.
PAPER = """
#pst-primary-sidebar, .bd-header-article, .bd-sidebar-secondary, .bd-header, .prev-next-footer,
.skip-link, .pst-async-banner-revealer, #pst-back-to-top, .headerlink { display: none !important }
.bd-main .bd-content .bd-article-container, .bd-page-width { max-width: none !important }
.cell_output img, figure img { max-height: 23cm; object-fit: contain }
img, figure, pre, .cell_input, details > summary { break-inside: avoid }
h1, h2, h3, summary { break-after: avoid }
#jb-print-docs-body { display: none }
span[id^="document-"] + section { break-before: page }
pre { white-space: pre-wrap !important; border-left: none !important }
"""


def print_book(notebooks=chapters.NOTEBOOKS, where=chapters.ROOT):
    """Build the book as one page and print it.

    Returns
    -------
    Path
        `where/_build/book.pdf`.

    Raises
    ------
    RuntimeError
        If there is no browser, or the build fails.
    """
    html = build_book.build_pages(notebooks, where, builder="singlehtml")
    pdf = html.parent / "book.pdf"
    with open_browser() as browser:
        page = browser.new_page(color_scheme="light")
        page.goto((html / "index.html").as_uri(), wait_until="load")
        page.evaluate("window.MathJax?.startup?.promise")  # until all formulas are set
        page.add_style_tag(content=PAPER)
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        margin = dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
        options = {"print_background": True, "tagged": True, "outline": True}
        page.pdf(path=pdf, format="A4", scale=0.8, margin=margin, **options)
    return pdf


def main(arguments=None):
    """Print the book and say where it is; return 0, or 1 if it cannot be printed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notebooks", type=Path, default=chapters.NOTEBOOKS)
    try:
        pdf = print_book(parser.parse_args(arguments).notebooks)
    except (RuntimeError, FileNotFoundError) as error:
        print(f"There is no PDF: {error}", file=sys.stderr)
        return 1
    print(f"The book is printed: {pdf} ({pdf.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
