"""Say in each entry of the library's reference which chapters use it.

The chapters' code is read for what it imports from `xaifake`; the first chapter that imports a
name is the one that explains it. The way back, from a name in a code cell to its entry, is the
work of sphinx-codeautolink.
"""

import ast
import importlib
from pathlib import Path

import nbformat

LIBRARY = "xaifake"


def imported(source):
    """The dotted names that a cell's code takes from the library, as written there."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a cell with a magic command
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == LIBRARY:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == LIBRARY:
            yield f"{LIBRARY}.{node.attr}"


def place(name):
    """Where the thing of that name is defined, as `module.name`; a module is its own place."""
    module, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(module), last, None)
    if thing is None:
        return name
    if not hasattr(thing, "__qualname__"):
        return getattr(thing, "__name__", name)
    return f"{thing.__module__}.{thing.__qualname__}"


def usage(folder):
    """The chapters that use each name.

    Parameters
    ----------
    folder : Path
        With the chapters' notebooks.

    Returns
    -------
    dict of list
        File names without ending, in the order of the book, by `module.name` of the definition.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        names = {name for c in cells if c.cell_type == "code" for name in imported(c.source)}
        for name in sorted({place(name) for name in names}):
            found.setdefault(name, []).append(path.stem)
    return found


def used_in(chapters):
    """The line of an entry, in reStructuredText."""
    links = [f":doc:`{stem[:2].lstrip('0')} </notebooks/{stem}>`" for stem in chapters]
    word = "chapter" if len(links) == 1 else "chapters"
    return f"**Used in** {word} {', '.join(links)}."


def add_usage(app, what, name, thing, options, lines):
    """Append the line to the docstring of what the chapters use."""
    if not hasattr(app, "chapters_usage"):
        app.chapters_usage = usage(Path(app.srcdir) / "notebooks")
    if chapters := app.chapters_usage.get(name):
        lines += ["", used_in(chapters), ""]


def setup(app):
    """Register the extension; its line comes after napoleon has parsed the docstring."""
    app.connect("autodoc-process-docstring", add_usage, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
