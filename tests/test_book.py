"""The book as a reader meets it: built, opened in a browser, searched, clicked through.

It is built from the stored outputs, or from the copies of a run (`--executed`, see conftest.py).
What looks at every page with axe belongs to the run of the published profile (`make test-book`).
"""

import functools
import http.server
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe

import build_book
import chapters
import pages
import run_chapters

pytestmark = pytest.mark.pages
CHAPTERS = chapters.chapter_paths()
CODED = ("07_lrp", "15_explain_a_video")  # chapters with code in all of its colours
# The theme declares this constant twice on every page, which harms nothing.
THEMES_OWN_ERROR = "Identifier 'THEBE_JS_URL' has already been declared"
# What axe finds in the parts that are not ours, as (rule, what the element's HTML begins with).
NOT_OURS = {
    ("region", '<div class="sidebar-primary-item">'),  # the theme's logo is in no landmark
    ("summary-name", "<summary>"),  # the theme's menu: its arrows; ours have words (test_exercises)
    ("empty-table-header", "<th></th>"),  # pandas: the corner of a table, levels of its header
    ("aria-allowed-role", '<div class="citation"'),  # docutils: the list of references
    ("aria-deprecated-role", '<div class="citation"'),
    ("aria-required-children", '<div role="list" class="citation-list">'),
}
MOST_BYTES = 3_000_000
PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1280, "height": 800}


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
    cells = [nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]})]
    cells[0].execution_count = 1
    cells += [
        nbformat.v4.new_code_cell(
            source,
            execution_count=count,
            outputs=[nbformat.v4.new_output("stream", name="stdout", text=text + noise)],
        )
        for count, text in enumerate(told, start=2)
    ]
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": chapters.KERNELSPEC})
    chapters.write(made, tmp_path / "chapter.ipynb")
    run_chapters.run_chapter(tmp_path / "chapter.ipynb", {}, tmp_path / "run")
    outcomes = compare(tmp_path / "chapter.ipynb", tmp_path / "run")
    assert outcomes == {0: "PASSED", 1: "PASSED", 2: "FAILED", 3: "FAILED"}


def compare(path, executed):
    """The outcome of each cell when a stored chapter is held against an executed copy."""
    options = ["-rA", "-p", "no:cacheprovider", "--rootdir", chapters.ROOT, "-m", "book"]
    options += ["-c", chapters.ROOT / "pyproject.toml", "--executed", executed, path]
    options += ["--confcutdir", chapters.ROOT, "-p", "conftest"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *map(str, options)],
        cwd=chapters.ROOT,
        capture_output=True,
        text=True,
    )
    outcomes = re.findall(r"^(PASSED|FAILED|ERROR) .*::Cell (\d+)", done.stdout, re.MULTILINE)
    return {int(cell): word for word, cell in outcomes}


def test_a_copy_of_other_code_or_none_is_refused(tmp_path):
    cell = nbformat.v4.new_code_cell("print(1)", execution_count=1)
    stored = nbformat.v4.new_notebook(cells=[cell])
    chapters.write(stored, tmp_path / "chapter.ipynb")
    (tmp_path / "run").mkdir()
    assert compare(tmp_path / "chapter.ipynb", tmp_path / "run") == {0: "ERROR"}
    stored.cells[0].source = "print(2)"
    chapters.write(stored, tmp_path / "run" / "chapter.ipynb")
    assert compare(tmp_path / "chapter.ipynb", tmp_path / "run") == {0: "FAILED"}


@pytest.mark.parametrize("name", run_chapters.PROFILES)
def test_every_profile_fits_the_chapters(name):
    assert run_chapters.read_profile(name).keys() == {path.stem for path in CHAPTERS}


def test_the_demo_profile_is_what_the_committed_chapters_ran_with():
    for stem, values in run_chapters.read_profile("demo").items():
        notebook = chapters.read(chapters.NOTEBOOKS / f"{stem}.ipynb")
        assert run_chapters.changed_parameters(notebook, values) == {}


@pytest.fixture(scope="module")
def html(tmp_path_factory, executed):
    """The built book; a warning or a bad page raises here."""
    return build_book.build(executed or chapters.NOTEBOOKS, tmp_path_factory.mktemp("book"))


def test_the_book_builds_without_a_warning(html):
    assert (html / "index.html").is_file()
    for path in CHAPTERS:
        assert (html / "notebooks" / f"{path.stem}.html").is_file()


def test_links_and_pictures_of_the_pages_are_sound(html):
    assert pages.problems(html) == []


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address(html):
    """The built pages, served on this machine."""
    handler = functools.partial(_Quiet, directory=html)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def tab(browser):
    """A function that opens a tab with Playwright's options."""
    opened = []

    def new(**options):
        opened.append(browser.new_page(**{"viewport": LAPTOP, **options}))
        return opened[-1]

    yield new
    for page in opened:
        page.close()


@pytest.fixture(scope="module")
def names(html):
    """The pages' places, as in `notebooks/01_dataset.html`."""
    return [path.relative_to(html).as_posix() for path in pages.page_paths(html)]


@pytest.fixture(scope="module")
def opened(names, address, browser):
    """What is wrong with the pages as they open: errors, outside requests, too wide for a phone."""
    found = {"opening": [], "phone": []}
    opening = found["opening"]
    page = browser.new_page(viewport=LAPTOP, color_scheme="light")
    page.route(lambda url: not url.startswith(address), lambda route: route.abort())
    page.on("request", lambda r: opening.append(f"asks for {r.url}") if outside(r.url) else None)
    page.on("console", lambda m: opening.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: opening.append(str(error)))
    for name in names:
        page.goto(f"{address}/{name}", wait_until="load")
        opening += [] if page.title() else [f"{name}: no title"]
        page.set_viewport_size(PHONE)
        width = page.evaluate("document.scrollingElement.scrollWidth")
        found["phone"] += [f"{name} is {width} px wide"] if width > PHONE["width"] else []
        page.set_viewport_size(LAPTOP)
    page.close()
    return found


@pytest.fixture(scope="module")
def faults(ours, address, browser):
    """What axe finds on the pages with a text of ours, light and dark."""
    found = {"axe": [], "dark": []}
    page = browser.new_page(viewport=LAPTOP, color_scheme="light")
    for name in ours:
        page.goto(f"{address}/{name}", wait_until="load")
        found["axe"] += axe_faults(page, name)
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        # The theme's pages say what they show; the slides follow the system at once.
        page.wait_for_function("document.documentElement.dataset.theme !== 'light'")
        # Code has the same few colours in all chapters, and thousands of words in them.
        seen = not name.startswith("notebooks/") or Path(name).stem in CODED
        left_out = None if seen else {"exclude": [[".highlight"]]}
        found["dark"] += axe_faults(page, name, {"runOnly": ["color-contrast"]}, left_out)
        page.emulate_media(color_scheme="light")
    page.close()
    return found


def test_every_page_opens_without_errors_or_outside_requests(opened):
    assert [fault for fault in opened["opening"] if THEMES_OWN_ERROR not in fault] == []


def outside(url):
    """Whether a request leaves this machine."""
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def weight(path):
    """How many bytes a page is that the pages do not share: itself and its own pictures."""
    sources = {source for source, _ in pages.read_page(path).images}
    own = [path.parent / unquote(one) for one in sources if not one.startswith("data:")]
    return sum(file.stat().st_size for file in (path, *own))


def test_no_page_is_over_3_megabytes(html, names):
    weights = {name: weight(html / name) for name in names}
    assert weights["notebooks/08_auditing.html"] > 1_000_000  # its pictures are counted
    assert {name: weight for name, weight in weights.items() if weight > MOST_BYTES} == {}


def test_the_search_finds_relevance(address, tab):
    page = tab()
    page.goto(f"{address}/search.html?q=relevance")
    page.wait_for_selector("#search-results .search-summary >> text=/found/i")
    found = page.locator("#search-results li a").evaluate_all("links => links.map(a => a.href)")
    assert any("notebooks/07_lrp.html" in link for link in found)


def axe_faults(page, name, options=None, context=None):
    """What axe finds on the page that is open, the known faults of others left out."""
    # Without preloading, which asks for files at places of its own guess; what passes is not told.
    options = {"preload": False, "resultTypes": ["violations"], **(options or {})}
    return [
        f"{name}: {violation['id']}: {node['html'][:100]} ({node['failureSummary'][:150]})"
        for violation in Axe().run(page, context=context, options=options).response["violations"]
        for node in violation["nodes"]
        if not any(
            violation["id"] == rule and node["html"].startswith(begin) for rule, begin in NOT_OURS
        )
    ]


@pytest.fixture(scope="module")
def ours(names):
    """The pages with a text of ours; of those made from code, one of each kind for all."""
    made = ("_modules/", "book/api/")
    for_all = ("_modules/xaifake/show/maps.html", "book/api/index.html", "book/api/show.html")
    return [name for name in names if not name.startswith(made) or name in for_all]


@pytest.mark.book
def test_axe_finds_only_what_is_not_ours(faults):
    assert faults["axe"] == []


@pytest.mark.book
def test_dark_mode_is_legible(faults):
    assert faults["dark"] == []


def test_axe_notices_a_planted_fault(address, tab):
    page = tab(color_scheme="dark")
    page.goto(f"{address}/index.html", wait_until="load")
    page.evaluate(
        "document.querySelector('article p').innerHTML = "
        "'<img src=x><span style=\"color: #333; background: #222\">hidden</span>'"
    )
    rules = {fault.split(": ")[1] for fault in axe_faults(page, "index.html")}
    assert {"image-alt", "color-contrast"} <= rules


def test_every_page_fits_a_phone(opened):
    assert opened["phone"] == []


def test_the_first_key_leads_past_the_menu(address, tab):
    page = tab()
    page.goto(f"{address}/notebooks/07_lrp.html", wait_until="load")
    page.keyboard.press("Tab")
    assert "main content" in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main-content"


def test_a_chapter_shows_its_picture_in_the_first_screen(address, tab):
    page = tab()
    for path in CHAPTERS:
        page.goto(f"{address}/notebooks/{path.stem}.html", wait_until="load")
        box = page.locator(".opener img").bounding_box()
        assert box["y"] + box["height"] < LAPTOP["height"] and box["height"] > 100, path.stem


def test_every_picture_of_a_chapter_is_a_captioned_and_numbered_figure(html):
    numbers = []
    for path in CHAPTERS:
        cells = chapters.read(path).cells
        pictures = sum("image/png" in str(cell.get("outputs", "")) for cell in cells)
        text = (html / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        found = re.findall(r'<span class="caption-number">Figure (\d+) </span>', text)
        assert len(found) == pictures, path.stem
        numbers += map(int, found)
    assert numbers == sorted(set(numbers)) and len(numbers) > 60


def test_a_term_shows_its_definition_when_focused(address, tab):
    page = tab(viewport=PHONE)
    page.goto(f"{address}/book/intro.html", wait_until="load")
    term = page.locator("a.term-link").first
    term.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")  # focus by the keyboard is what :focus-visible means
    card = "getComputedStyle(document.querySelector('a.term-link'), '::after')"
    assert len(page.evaluate(f"{card}.content")) > 40
    assert term.get_attribute("aria-description") in page.evaluate(f"{card}.content")
    assert float(page.evaluate(f"{card}.width").removesuffix("px")) <= PHONE["width"]


def test_from_a_chapter_to_the_code_behind_a_figure_in_two_clicks(address, tab):
    page = tab()
    page.goto(f"{address}/notebooks/08_auditing.html", wait_until="load")
    page.locator("a.sphinx-codeautolink-a", has_text="show_gallery").first.click()
    config = page.locator("dt", has=page.locator(":target")).or_(page.locator("dt:target"))
    config.get_by_text("[source]").click()
    assert "_modules/xaifake/show/maps.html#show_gallery" in page.url
    assert "def show_gallery" in " ".join(page.locator("body").inner_text().split())


def test_every_chapter_links_its_code_to_the_reference_and_is_linked_back(html):
    back = "".join(path.read_text(encoding="utf-8") for path in (html / "book/api").glob("*.html"))
    for path in CHAPTERS:
        page = html / "notebooks" / f"{path.stem}.html"
        ours = page.read_text(encoding="utf-8").count('"sphinx-codeautolink-a" href="../book/api/')
        assert ours > 5, path.stem
        assert f'href="../../notebooks/{path.stem}.html"' in back


def listed(configs):
    """The files of a table of contents in the order of reading."""
    for config in configs:
        yield config["file"]
        yield from listed(config.get("sections", []))


def test_next_leads_through_the_whole_book_in_the_order_of_the_contents(html):
    contents = yaml.safe_load((chapters.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = [part["chapters"] for part in contents["parts"]]
    expected = ["index", *(name for part in parts for name in listed(part))]
    path, visited = html / "index.html", []
    while path:
        visited.append(path.relative_to(html).with_suffix("").as_posix())
        text = path.read_text(encoding="utf-8")
        following = re.search(r'class="right-next"\s+href="([^"]+)"', text)
        path = (path.parent / following[1]).resolve() if following else None
    assert visited == expected
