"""Captions, openers and the glossary: what a reader reads beside the text."""

import re

import nbformat
import pytest

import chapters

CHAPTERS = chapters.chapter_paths()
BOOK = chapters.ROOT / "book"
PAGES = sorted(BOOK.rglob("*.md"))
GLOSSARY = BOOK / "glossary.md"
FILE_NAME = re.compile(r"\S+\.(png|jpe?g|svg|gif)$", re.IGNORECASE)
TERM_ROLE = re.compile(r"\{term\}`([^`]+)`")
ENTRY = re.compile(r"^(?P<term>\S.*)\n(?P<text>(?:[ ]{2}.*\n)+)", re.MULTILINE)
INTRODUCED = re.compile(r"Introduced in \[chapter (\d+)\]\(\.\./notebooks/(\S+)\.ipynb\)\.$")


def pictures(notebook):
    """The cells that make a picture, by their number."""
    return {
        number: cell
        for number, cell in enumerate(notebook.cells)
        if any(kind.startswith("image/") for kind in kinds(cell))
    }


def kinds(cell):
    return [kind for output in cell.get("outputs", []) for kind in output.get("data", {})]


def caption_faults(notebook):
    """Everything wrong with the captions of a chapter and with its opener, one line each."""
    found = []
    for number, cell in pictures(notebook).items():
        about = cell.metadata.get("mystnb", {})
        alt = about.get("image", {}).get("alt", "").strip()
        caption = about.get("figure", {}).get("caption", "").strip()
        name = about.get("figure", {}).get("name", "")
        if not alt or FILE_NAME.fullmatch(alt):
            found.append(f"cell {number}: no alternative text ({alt!r})")
        if not caption or caption == alt:
            found.append(f"cell {number}: no caption beside the alternative text")
        if "{" in caption or "\n" in caption:
            found.append(f"cell {number}: a caption with a role or of several paragraphs")
        if not re.fullmatch(r"fig-\d\d-[a-z0-9-]+", name):
            found.append(f"cell {number}: no name such as fig-08-rules ({name!r})")
        # MyST-NB makes a figure of each output, and would give all of them the one name.
        if sum("data" in output for output in cell.outputs) > 1:
            found.append(f"cell {number}: a picture and another output share one caption")
    openers = [n for n, cell in enumerate(notebook.cells) if "opener" in chapters.tags(cell)]
    if len(openers) != 1 or openers[0] not in pictures(notebook):
        found.append(f"not one picture cell is tagged 'opener', but cells {openers}")
    return found


def figure_names(notebook):
    cells = pictures(notebook).values()
    return [cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in cells]


def glossary_entries(text):
    """Terms and definitions in the text of a glossary page."""
    body = text.partition("```{glossary}")[2].rpartition("```")[0]
    return {found["term"]: " ".join(found["text"].split()) for found in ENTRY.finditer(body)}


def glossary_faults(text, stems):
    """Everything wrong with the configs of a glossary, given the chapters' names."""
    found = []
    for term, definition in glossary_entries(text).items():
        link = INTRODUCED.search(definition)
        if not link:
            found.append(f"{term}: does not say at its end which chapter introduces it")
        elif link[2] not in stems or not link[2].startswith(f"{int(link[1]):02d}_"):
            found.append(f"{term}: there is no chapter {link[1]} called {link[2]}")
        elif not definition[: link.start()].strip():
            found.append(f"{term}: no definition")
    return found


def unknown_terms(text, terms):
    """Terms that a page links to and the glossary lacks."""
    known = {term.lower() for term in terms}
    used = [re.sub(r"^.*<(.+)>$", r"\1", " ".join(use.split())) for use in TERM_ROLE.findall(text)]
    return [term for term in used if term.lower() not in known]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_picture_has_a_caption_and_every_chapter_an_opener(path):
    assert caption_faults(chapters.read(path)) == []


def test_no_two_figures_have_one_name():
    names = [name for path in CHAPTERS for name in figure_names(chapters.read(path))]
    assert len(names) == len(set(names)) > 50


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_figure_is_named_after_its_chapter(path):
    prefix = f"fig-{path.stem[:2]}-"
    assert all(name and name.startswith(prefix) for name in figure_names(chapters.read(path)))


def test_every_term_is_defined_and_linked_to_the_chapter_that_introduces_it():
    text = GLOSSARY.read_text(encoding="utf-8")
    assert len(glossary_entries(text)) > 50
    assert glossary_faults(text, {path.stem for path in CHAPTERS}) == []


def test_every_term_that_a_page_links_to_is_in_the_glossary():
    terms = glossary_entries(GLOSSARY.read_text(encoding="utf-8"))
    texts = {path.relative_to(BOOK).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
    unknown = {page: unknown_terms(text, terms) for page, text in texts.items()}
    assert {page: missing for page, missing in unknown.items() if missing} == {}
    assert sum(len(TERM_ROLE.findall(text)) for text in texts.values()) > 20


def picture_cell(image="a curve that falls", tags=("opener",), **figure):
    """A captioned picture, tagged as the opener, with what a test changes of it."""
    figure = {"caption": "The loss falls.", "name": "fig-03-loss", **figure}
    about = {"image": {"alt": image}, "figure": figure}
    cell = nbformat.v4.new_code_cell("plot()", metadata={"mystnb": about, "tags": list(tags)})
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": "AAAA"})]
    return cell


@pytest.mark.parametrize(
    "changes",
    [
        {"caption": ""},
        {"caption": "a curve that falls"},
        {"caption": "As in {numref}`fig-03-loss`."},
        {"name": "Loss"},
        {"image": "loss-curve.png"},
        {"tags": []},
    ],
)
def test_a_planted_fault_in_a_caption_is_found(changes):
    assert caption_faults(nbformat.v4.new_notebook(cells=[picture_cell()])) == []
    assert len(caption_faults(nbformat.v4.new_notebook(cells=[picture_cell(**changes)]))) == 1


def test_two_openers_and_a_second_output_are_found():
    cells = [picture_cell(), picture_cell()]
    assert len(caption_faults(nbformat.v4.new_notebook(cells=cells))) == 1
    cells[0].outputs.append(nbformat.v4.new_output("execute_result", {"text/plain": "1"}))
    assert len(caption_faults(nbformat.v4.new_notebook(cells=cells[:1]))) == 1


@pytest.mark.parametrize(
    "link",
    [
        "",
        "Introduced in [chapter 3](../notebooks/05_activations.ipynb).",
        "Introduced in [chapter 6](../notebooks/05_nothing.ipynb).",
    ],
)
def test_a_glossary_entry_without_its_chapter_is_found(link):
    page = "# Glossary\n\n```{glossary}\n:sorted:\n\nlogit\n  A number.\n  {}\n\n```\n"
    stems = {path.stem for path in CHAPTERS}
    right = "Introduced in [chapter 3](../notebooks/03_training.ipynb)."
    assert glossary_faults(page.replace("{}", right), stems) == []
    assert len(glossary_faults(page.replace("{}", link), stems)) == 1


def test_a_term_that_is_not_in_the_glossary_is_found():
    page = "A {term}`Logit`, {term}`originals <original>`, a {term}`planted\ncue`, a {term}`lgoit`."
    assert unknown_terms(page, ["logit", "original", "planted cue"]) == ["lgoit"]
