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
    files = [entry["file"] for part in contents["parts"] for entry in part["chapters"]]
    listed = [name.removeprefix("notebooks/") for name in files if name.startswith("notebooks/")]
    assert listed == [path.stem for path in CHAPTERS]


def test_the_address_is_written_everywhere_or_nowhere():
    assert set_address.outdated() == {}


def clean_notebook():
    """A notebook with no fault; the tests below plant one each."""
    cells = [
        nbformat.v4.new_markdown_cell("# Title"),
        nbformat.v4.new_code_cell("seed = 0", execution_count=1, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "plot()",
            execution_count=2,
            metadata={"mystnb": {"image": {"alt": "a curve that falls"}}},
            outputs=[nbformat.v4.new_output("display_data", {"image/png": "AAAA"})],
        ),
        nbformat.v4.new_code_cell(
            "show()",
            execution_count=3,
            outputs=[nbformat.v4.new_output("stream", name="stdout", text="27 of 30 right\n")],
        ),
    ]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": chapters.KERNELSPEC})


def test_a_clean_notebook_has_no_fault():
    assert faults(clean_notebook()) == []


def _error(notebook):
    notebook.cells[3].outputs = [
        nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    ]


def _not_run(notebook):
    notebook.cells[3].execution_count = None


def _run_twice(notebook):
    notebook.cells[3].execution_count = 7


def _stderr(notebook):
    notebook.cells[3].outputs[0].name = "stderr"


def _widget(notebook):
    kind = "application/vnd.jupyter.widget-view+json"
    notebook.cells[2].outputs[0].data = {kind: {"model_id": "1"}}


def _path(notebook):
    notebook.cells[3].outputs[0].text = "saved in /home/somebody/clips\n"


def _windows_path(notebook):
    notebook.cells[3].outputs[0].text = r"saved in C:\Users\somebody"


def _no_alt_text(notebook):
    notebook.cells[2].metadata = nbformat.from_dict({})


def _versions(notebook):
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}


def _timings(notebook):
    notebook.cells[3].metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}


def _no_parameters(notebook):
    notebook.cells[1].metadata = nbformat.from_dict({})


def _two_parameters(notebook):
    notebook.cells[3].metadata = nbformat.from_dict({"tags": ["parameters"]})


def _directive(notebook):
    notebook.cells[0].source += "\n\n```{note}\nraw in Colab\n```"


def _role(notebook):
    notebook.cells[0].source += "\n\nAs in {cite:p}`malolan2020`."


def _picture_without_alt(notebook):
    notebook.cells[0].source += "\n\n![](pipeline.svg)"


@pytest.mark.parametrize(
    "plant",
    [
        _error,
        _not_run,
        _run_twice,
        _stderr,
        _widget,
        _path,
        _windows_path,
        _no_alt_text,
        _versions,
        _timings,
        _no_parameters,
        _two_parameters,
        _directive,
        _role,
        _picture_without_alt,
    ],
)
def test_a_planted_fault_is_found(plant):
    notebook = clean_notebook()
    plant(notebook)
    assert len(faults(notebook)) >= 1
