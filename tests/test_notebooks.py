"""The committed chapters are clean: what the book's build and nbval would let through."""

import re

import nbformat
import pytest
import yaml

import chapters
import set_address

CHAPTERS = chapters.chapter_paths()
MACHINE_PATH = re.compile(
    r"(?<![\w./~-])/(home|root|Users|tmp|var|private|mnt|opt|usr|work|content|workspace)/"
    r"|\b[A-Z]:\\\\?\w|site-packages"
)
DIRECTIVE = re.compile(r"^(`{3,}|:{3,}|~{3,})\{|\{[\w:-]+\}`", re.MULTILINE)
PICTURES = {"image/png", "image/jpeg", "image/svg+xml"}


def text_of(output):
    """Everything in an output that is text, pictures left out."""
    parts = [output.get("text", "")]
    parts += [text for kind, text in output.get("data", {}).items() if kind not in PICTURES]
    return "\n".join(map(str, parts))


def faults(notebook):
    """Everything wrong with a notebook that is to be committed, one line each."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append(f"not executed in order from a fresh kernel: {counts}")
    if notebook.metadata != {"kernelspec": chapters.KERNELSPEC}:
        found.append(f"metadata beyond the kernel: {sorted(notebook.metadata)}")
    if sum("parameters" in chapters.tags(cell) for cell in code) != 1:
        found.append("not exactly one cell tagged 'parameters'")
    for number, cell in enumerate(notebook.cells):
        found += [f"cell {number}: {fault}" for fault in cell_faults(cell)]
    return found


def cell_faults(cell):
    """Everything wrong with one cell."""
    if extra := set(cell.metadata) - set(chapters.KEPT_CELL_METADATA):
        yield f"metadata {sorted(extra)}"
    if cell.cell_type == "markdown":
        if DIRECTIVE.search(cell.source):
            yield "a MyST directive or role, which Colab and GitHub show raw"
        if re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=)", cell.source):
            yield "a picture without alt text"
        return
    kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
    if kinds & PICTURES and not cell.metadata.get("mystnb", {}).get("image", {}).get("alt"):
        yield "a picture without alt text in the metadata (mystnb.image.alt)"
    if any("widget" in kind for kind in kinds):
        yield "a widget, which needs other hosts' scripts"
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"an error, {output.ename}"
        if output.get("name") == "stderr":
            yield f"text on stderr: {output.text[:60]!r}"
        if place := MACHINE_PATH.search(text_of(output)):
            yield f"a path of some machine: {place.group()}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_is_clean(path):
    assert faults(chapters.read(path)) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_begins_with_its_title(path):
    first = chapters.read(path).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")


# What every chapter's first cell and its summary hold, as the line begins.
OPENING = (r"\*\*After this chapter you can\*\*", r"\*\*You need\*\*")
OPENING += (r".*\*\*Time\*\*:[^.]*minutes?\s+to\s+read",)
CLOSING = (r"\*\*What .*(shows?|gives)\.\*\*", r"\*\*What .*cannot (show|give)\.\*\*")
CLOSING += (r"\*\*When to use .*\.\*\*", r"\*\*Software\.\*\*", r"\*\*References\.\*\*")


def missing_from_the_frame(notebook, stem):
    """What a chapter lacks at its beginning and its end."""
    first, last = notebook.cells[0].source, notebook.cells[-1].source
    summary = last.partition("## Summary\n")[2]
    found = [part for part in OPENING if not re.search(f"^{part}", first, re.MULTILINE)]
    found += [part for part in CLOSING if not re.search(f"^{part}", summary, re.MULTILINE)]
    exercises = f"(../book/exercises/{stem}.md)"
    return found + ([] if exercises in summary else [exercises])


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_says_at_first_what_one_can_do_and_at_last_what_it_showed(path):
    assert missing_from_the_frame(chapters.read(path), path.stem) == []


@pytest.mark.parametrize("part", ["After this chapter", "Time", "cannot", "Software", "exercises/"])
def test_a_missing_part_of_the_frame_is_noticed(part):
    notebook = chapters.read(CHAPTERS[4])
    for cell in (notebook.cells[0], notebook.cells[-1]):
        cell.source = cell.source.replace(part, "")
    assert len(missing_from_the_frame(notebook, CHAPTERS[4].stem)) == 1


def test_the_contents_list_every_chapter_in_order():
    contents = yaml.safe_load((chapters.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [config["file"] for part in contents["parts"] for config in part["chapters"]]
    listed = [name.removeprefix("notebooks/") for name in files if name.startswith("notebooks/")]
    assert listed == [path.stem for path in CHAPTERS]


def test_the_address_is_written_everywhere_or_nowhere():
    assert set_address.outdated() == {}


def clean_notebook():
    """A notebook with no fault, in which one is planted."""
    alt = {"mystnb": {"image": {"alt": "a curve that falls"}}}
    cells = [
        nbformat.v4.new_markdown_cell("# Title"),
        nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("plot()", metadata=alt),
        nbformat.v4.new_code_cell("show()"),
    ]
    for number, cell in enumerate(cells[1:], start=1):
        cell.execution_count = number
    cells[2].outputs = [nbformat.v4.new_output("display_data", {"image/png": "AAAA"})]
    cells[3].outputs = [nbformat.v4.new_output("stream", name="stdout", text="27 of 30 right\n")]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": chapters.KERNELSPEC})


ERROR = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
OF_OUTPUTS = ("name", "data", "text")
# By what is said of it: the cell that a fault is planted in, and what of it is changed to what.
FAULTS = {
    "an error, ValueError": (3, {"outputs": [ERROR]}),
    "not executed in order from a fresh kernel: [1, 2, None]": (3, {"execution_count": None}),
    "not executed in order from a fresh kernel: [1, 2, 7]": (3, {"execution_count": 7}),
    "text on stderr": (3, {"name": "stderr"}),
    "a widget": (2, {"data": WIDGET}),
    "path of some machine: /home/": (3, {"text": "saved in /home/somebody/clips"}),
    "path of some machine: C:": (3, {"text": r"saved in C:\Users\somebody"}),
    "a picture without alt text in the metadata": (2, {"metadata": {}}),
    "metadata ['execution']": (3, {"metadata": {"execution": {"iopub": "2026-01-01T00:00:00Z"}}}),
    "not exactly one cell tagged 'parameters'": (1, {"metadata": {}}),
    "not exactly one cell tagged": (3, {"metadata": {"tags": ["parameters"]}}),
    "a MyST directive": (0, {"source": "# Title\n\n```{note}\nraw in Colab\n```"}),
    "or role": (0, {"source": "# Title\n\nAs in {cite:p}`malolan2020`."}),
    "a picture without alt text": (0, {"source": "# Title\n\n![](pipeline.svg)"}),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_planted_fault_is_found(said):
    notebook = clean_notebook()
    assert faults(notebook) == []
    number, changes = FAULTS[said]
    cell = notebook.cells[number]
    for key, value in changes.items():
        (cell.outputs[0] if key in OF_OUTPUTS else cell)[key] = nbformat.from_dict(value)
    (found,) = faults(notebook)
    assert said in found


def test_versions_in_the_metadata_are_found():
    notebook = clean_notebook()
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    assert faults(notebook) == ["metadata beyond the kernel: ['kernelspec', 'language_info']"]
