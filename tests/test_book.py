"""The book as a reader meets it: run with the smoke profile, built, clicked through, looked at.

The committed chapters are run again and compared with their stored outputs by nbval, which pytest
collects from notebooks/ itself (see pyproject.toml).
"""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import sync_playwright

import build_book
import chapters
import pages
import run_chapters

CHAPTERS = chapters.chapter_paths()
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_BROWSER = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
# The theme declares this constant twice on every page, which harms nothing.
THEMES_OWN_ERROR = "Identifier 'THEBE_JS_URL' has already been declared"


def test_a_changed_number_in_a_stored_output_is_noticed(tmp_path):
    # The same cell three times, with what a run a moment ago would have stored and two lies.
    source = (
        "import random\n"
        "print(f'{6 * 7} of 50 right, accuracy {21 / 25:.3f}')\n"
        "print(f'took {random.random():.3f} s', object())"
    )
    noise = "\ntook 0.111 s <object object at 0x7f2a1b3c4d5e>\n"
    told = ["42 of 50 right, accuracy 0.840", "43 of 50 right, accuracy 0.840"]
    told += ["42 of 50 right, accuracy 0.841"]
    cells = [
        nbformat.v4.new_code_cell(
            source,
            execution_count=count,
            outputs=[nbformat.v4.new_output("stream", name="stdout", text=text + noise)],
        )
        for count, text in enumerate(told, start=1)
    ]
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": chapters.KERNELSPEC})
    chapters.write(made, tmp_path / "copy.ipynb")
    options = ["-rA", "-p", "no:cacheprovider", "--rootdir", chapters.ROOT]
    options += ["-c", chapters.ROOT / "pyproject.toml", tmp_path / "copy.ipynb"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *map(str, options)],
        cwd=chapters.ROOT,
        capture_output=True,
        text=True,
    )
    outcomes = re.findall(r"^(PASSED|FAILED) .*::Cell (\d)", done.stdout, re.MULTILINE)
    assert {int(cell): word for word, cell in outcomes} == {0: "PASSED", 1: "FAILED", 2: "FAILED"}


@pytest.mark.parametrize("name", run_chapters.PROFILES)
def test_every_profile_fits_the_chapters(name):
    assert run_chapters.read_profile(name).keys() == {path.stem for path in CHAPTERS}


def test_the_demo_profile_is_what_the_committed_chapters_ran_with():
    for stem, values in run_chapters.read_profile("demo").items():
        notebook = chapters.read(chapters.NOTEBOOKS / f"{stem}.ipynb")
        assert run_chapters.changed_parameters(notebook, values) == {}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_runs_with_the_smoke_profile(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    values = run_chapters.read_profile("smoke")[path.stem]
    copy = run_chapters.run_chapter(path, values, tmp_path, progress=False)
    code = [cell for cell in chapters.read(copy).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert not [o for cell in code for o in cell.outputs if o.get("name") == "stderr"]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The book built from the stored outputs; a warning or a bad page raises here."""
    return build_book.build(where=tmp_path_factory.mktemp("book"))


def test_the_book_builds_from_stored_outputs_without_a_warning(html):
    assert (html / "index.html").is_file()
    for path in CHAPTERS:
        assert (html / "notebooks" / f"{path.stem}.html").is_file()


def test_links_and_pictures_of_the_pages_are_sound(html):
    assert pages.problems(html) == []


def browser():
    """The path of an installed Chromium or Chrome, or None."""
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    return found[0] if found else MAC_BROWSER if Path(MAC_BROWSER).exists() else None


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def address(html):
    """The built pages, served on this machine."""
    handler = functools.partial(_Quiet, directory=html)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_every_page_opens_in_a_browser_without_errors_or_outside_requests(html, address):
    executable = browser()
    if not executable:
        message = f"no browser found (looked for {', '.join(BROWSERS)})"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    names = [path.relative_to(html).as_posix() for path in pages.page_paths(html)]
    faults = []
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=executable)
        page = window.new_page()
        page.route(lambda url: not url.startswith(address), lambda route: route.abort())
        page.on("request", lambda r: faults.append(f"asks for {r.url}") if outside(r.url) else None)
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        for name in names:
            page.goto(f"{address}/{name}", wait_until="load")
            title = page.title()
            faults.append(f"{name}: no title") if not title else None
        window.close()
    assert [fault for fault in faults if THEMES_OWN_ERROR not in fault] == []


def outside(url):
    """Whether a request leaves this machine."""
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))
