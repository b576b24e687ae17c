"""Write the repository's public address to every place that needs it, or take it out again.

    make address

The address is one setting, `repository` under `[tool.xaifake]` in pyproject.toml, such as
"https://github.com/OWNER/NAME". From it come the launch buttons of the pages, the links to Colab on
the first page, the address in CITATION.cff, the links in README.md, and at the top of every chapter
a link to Colab and the cell that installs the library there. While the setting is empty there is
none of them.
"""

import re
import sys
import tomllib

import nbformat

import chapters

BRANCH = "main"
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+(?<!\.git)")
COLAB = "https://colab.research.google.com/github/{name}/blob/" + BRANCH + "/notebooks/"
# Colab has dlib but not its models, which these chapters need.
WITH_DLIB_MODELS = ("02_face_extraction", "15_explain_a_video")
# iNNvestigate's metadata forbids today's versions, on which it runs. Colab has tf_keras so far.
INNVESTIGATE = ("08_auditing", "10_perturbations")
INNVESTIGATE_PACKAGES = {
    "tf_keras": "tf_keras",
    "innvestigate": "--no-deps --ignore-requires-python innvestigate==2.1.2",
}
# What stands between the two marks of a file, by the file.
YAML_MARK, PAGE_MARK = "# {}address\n", "<!-- {}address -->\n"
FILLINGS = {
    # The first line goes on with the section html, which stands above the mark.
    "_config.yml": (YAML_MARK, f"""\
  use_repository_button: true
repository:
  url: {{address}}
  branch: {BRANCH}
launch_buttons:
  colab_url: https://colab.research.google.com
  thebe: false
"""),
    "CITATION.cff": (YAML_MARK, "repository-code: {address}\n"),
    "README.md": (PAGE_MARK, f"""\
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({COLAB}{{first}})
[![Tests and book]({{address}}/actions/workflows/book.yml/badge.svg)]\
({{address}}/actions/workflows/book.yml)
"""),
    "index.md": (PAGE_MARK, """\
Run a chapter on Colab: it opens in your browser, and its first cell installs what is missing.

{links}
"""),
}  # fmt: skip
COLAB_CELL = """\
# On Colab this installs what is missing; anywhere else it does nothing.
import sys
from importlib.util import find_spec

if "google.colab" in sys.modules:"""
COLAB_INSTALL = """
    if not find_spec("{module}"):
        %pip install --quiet {package}"""


def read_address(root=chapters.ROOT):
    """Return the repository's address, or "" while it is unset.

    A ValueError if it is not the address of a GitHub repository: Colab opens no other.
    """
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address = settings["tool"]["xaifake"]["repository"]
    if address and not ADDRESS.fullmatch(address):
        raise ValueError(
            f'repository = "{address}" in pyproject.toml: expected "" or an address such as '
            "https://github.com/OWNER/NAME, without .git or a slash at its end"
        )
    return address


def outdated(root=chapters.ROOT):
    """Return the new text of each file that does not agree with the setting, by its path."""
    address = read_address(root)
    names = {"address": address, "name": address.removeprefix("https://github.com/")}
    notebooks, colab = chapters.chapter_paths(root / "notebooks"), COLAB.format(**names)
    titles = {path: chapters.title(chapters.read(path)) for path in notebooks}
    names["links"] = "\n".join(f"- [{titles[path]}]({colab}{path.name})" for path in notebooks)
    names["first"] = notebooks[0].name if notebooks else ""
    texts = {root / file: _between(root / file, *parts, names) for file, parts in FILLINGS.items()}
    texts |= {path: _in_notebook(path, address, colab) for path in notebooks}
    return {path: text for path, text in texts.items() if text != path.read_text("utf-8")}


def set_address(root=chapters.ROOT):
    """Bring every file in line with the setting and return those that were changed.

    Doing it a second time changes nothing.
    """
    texts = outdated(root)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _between(path, mark, template, names):
    """Return the file's text with the lines between its two marks made anew."""
    begin, end = mark.format(""), mark.format("/")
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        marks = f"`{begin.strip()}` and `{end.strip()}`"
        raise ValueError(f"{path.name} has lost its lines {marks}; put them back")
    return before + begin + (template.format(**names) if names["address"] else "") + end + after


def _in_notebook(path, address, colab):
    """Return the notebook's text with its two cells for Colab below the title, or without them."""
    notebook = chapters.read(path)
    others = [cell for cell in notebook.cells if "colab" not in chapters.tags(cell)]
    had_cells, needs_cells = len(others) < len(notebook.cells), bool(address)
    if not (had_cells or needs_cells):
        return path.read_text(encoding="utf-8")
    added = _colab_cells(path, address, colab) if needs_cells else []
    if any(cell.get("execution_count") for cell in others) and added:
        added[1].execution_count = 1
    notebook.cells = others[:1] + added + others[1:]
    if had_cells != needs_cells:
        chapters.renumber(notebook)
    return chapters.as_text(notebook)


def _colab_cells(path, address, colab):
    """Return the link to Colab and the cell that installs there what Colab has not."""
    missing = {"xaifake": f'"xaifake[chapters] @ git+{address}@{BRANCH}"'}
    if path.stem in WITH_DLIB_MODELS:
        missing["face_recognition_models"] = "face_recognition_models"
    if path.stem in INNVESTIGATE:
        missing |= INNVESTIGATE_PACKAGES
    source = COLAB_CELL
    source += "".join(COLAB_INSTALL.format(module=m, package=p) for m, p in missing.items())
    link = f"[Open this chapter in Colab]({colab}{path.name})"
    about = {"tags": ["colab"]}, {"tags": ["colab", "remove-cell"]}
    return [
        nbformat.v4.new_markdown_cell(link, id="colab-link", metadata=about[0]),
        nbformat.v4.new_code_cell(source, id="colab-install", metadata=about[1]),
    ]


if __name__ == "__main__":
    try:
        changed = set_address()
    except ValueError as error:
        sys.exit(str(error))
    for path in changed:
        print(f"changed {path.relative_to(chapters.ROOT)}")
    print(f"{len(changed)} files changed; the address is {read_address() or 'unset'}.")
