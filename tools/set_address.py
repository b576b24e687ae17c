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
# Colab has dlib but not its models, which these chapters need.
MORE_PACKAGES = dict.fromkeys(
    ("02_face_extraction", "12_explain_a_video"), ["face_recognition_models"]
)
# iNNvestigate's metadata forbids today's versions, on which it runs. Colab has tf_keras so far.
INNVESTIGATE = ("06_lrp", "08_perturbations")
INNVESTIGATE_PACKAGES = {
    "tf_keras": "tf_keras",
    "innvestigate": "--no-deps --ignore-requires-python innvestigate==2.1.2",
}

# The first line goes on with the section html, which stands above the mark.
CONFIG = """\
  use_repository_button: true
repository:
  url: {address}
  branch: {branch}
launch_buttons:
  colab_url: https://colab.research.google.com
  thebe: false
"""
CITATION = "repository-code: {address}\n"
README = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{name}/blob/{branch}/notebooks/{first})\n"
    "[![Tests and book]({address}/actions/workflows/book.yml/badge.svg)]"
    "({address}/actions/workflows/book.yml)\n"
)
COLAB_LINK = (
    "[Open this chapter in Colab]"
    "(https://colab.research.google.com/github/{name}/blob/{branch}/notebooks/{chapter})"
)
INDEX = """\
Run a chapter on Colab: it opens in your browser, and its first cell installs what is missing.

{links}
"""
INDEX_LINK = (
    "- [{title}](https://colab.research.google.com/github/{name}/blob/{branch}/notebooks/{chapter})"
)
COLAB_CELL = """\
# On Colab this installs what is missing; anywhere else it does nothing.
import sys
from importlib.util import find_spec

if "google.colab" in sys.modules:"""
COLAB_INSTALL = """
    if not find_spec("{module}"):
        %pip install --quiet {package}"""


def read_address(root=chapters.ROOT):
    """The repository's address, or "" while it is unset.

    Raises
    ------
    ValueError
        If it is not the address of a GitHub repository: Colab opens no other.
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
    """What has to change so that every file agrees with the setting.

    Returns
    -------
    dict
        The new text by path, for the files whose text is another one.
    """
    address = read_address(root)
    notebooks = chapters.chapter_paths(root / "notebooks")
    names = {
        "address": address,
        "branch": BRANCH,
        "name": address.removeprefix("https://github.com/"),
        "first": notebooks[0].name if notebooks else "",
    }
    names["links"] = "\n".join(_index_link(path, names) for path in notebooks)
    texts = {
        root / "_config.yml": _between(root / "_config.yml", CONFIG, names, "# {}address"),
        root / "CITATION.cff": _between(root / "CITATION.cff", CITATION, names, "# {}address"),
        root / "README.md": _between(root / "README.md", README, names, "<!-- {}address -->"),
        root / "index.md": _between(root / "index.md", INDEX, names, "<!-- {}address -->"),
    }
    texts |= {path: _in_notebook(path, names) for path in notebooks}
    return {path: text for path, text in texts.items() if text != path.read_text("utf-8")}


def set_address(root=chapters.ROOT):
    """Bring every file in line with the setting and return those that were changed.

    Doing it a second time changes nothing.
    """
    texts = outdated(root)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _between(path, template, names, mark):
    """The file's text with the lines between its two marks made anew."""
    begin, end = mark.format(""), mark.format("/")
    before, found, rest = path.read_text(encoding="utf-8").partition(begin + "\n")
    _, found_end, after = rest.partition(end + "\n")
    if not (found and found_end):
        raise ValueError(f"{path.name} has lost its lines `{begin}` and `{end}`; put them back")
    filling = template.format(**names) if names["address"] else ""
    return before + begin + "\n" + filling + end + "\n" + after


def _in_notebook(path, names):
    """The notebook's text with its two cells for Colab below the title, or without them."""
    notebook = chapters.read(path)
    others = [cell for cell in notebook.cells if "colab" not in chapters.tags(cell)]
    had_cells, needs_cells = len(others) < len(notebook.cells), bool(names["address"])
    if not (had_cells or needs_cells):
        return path.read_text(encoding="utf-8")
    added = _colab_cells(path, names) if needs_cells else []
    if any(cell.get("execution_count") for cell in others) and added:
        added[1].execution_count = 1
    notebook.cells = others[:1] + added + others[1:]
    if had_cells != needs_cells:
        chapters.renumber(notebook)
    return chapters.as_text(notebook)


def _index_link(path, names):
    """The line of the first page that opens a chapter in Colab."""
    title = chapters.read(path).cells[0].source.splitlines()[0].removeprefix("# ")
    return INDEX_LINK.format(**names, title=title, chapter=path.name)


def _colab_cells(path, names):
    """The link to Colab and the cell that installs there what Colab has not."""
    missing = {"xaifake": f'"xaifake @ git+{names["address"]}@{BRANCH}"'}
    missing |= {name: name for name in MORE_PACKAGES.get(path.stem, [])}
    if path.stem in INNVESTIGATE:
        missing |= INNVESTIGATE_PACKAGES
    link = nbformat.v4.new_markdown_cell(
        COLAB_LINK.format(**names, chapter=path.name),
        id="colab-link",
        metadata={"tags": ["colab"]},
    )
    installs = [COLAB_INSTALL.format(module=name, package=p) for name, p in missing.items()]
    install = nbformat.v4.new_code_cell(
        COLAB_CELL + "".join(installs),
        id="colab-install",
        metadata={"tags": ["colab", "remove-cell"]},
    )
    return [link, install]


def main():
    """Write the address and name the files that changed; return 0, or 1 if it cannot be."""
    try:
        changed = set_address()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for path in changed:
        print(f"changed {path.relative_to(chapters.ROOT)}")
    print(f"{len(changed)} files changed; the address is {read_address() or 'unset'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
