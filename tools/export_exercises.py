"""Write the exercises of the book as assignments for nbgrader or otter-grader.

    python tools/export_exercises.py nbgrader course/source
    python tools/export_exercises.py otter assignments 06_lime 07_lrp

One notebook per chapter, made from `book/exercises`, in the instructor's form of the grader: with
solutions, which `nbgrader generate_assignment` or `otter assign` takes out. nbgrader's go into
FOLDER/CHAPTER/CHAPTER.ipynb, otter's into FOLDER/CHAPTER.ipynb. An exercise that has a checker is
marked by it, for one point; the others are marked by hand, for two.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

import chapters

PAGES = chapters.ROOT / "book" / "exercises"
GRADERS = ("nbgrader", "otter")
POINTS = {True: 1, False: 2}  # of an exercise with a checker, and of one that is marked by hand
_CODE = re.compile(r"^```python\n(.*?)\n^```\n?", re.MULTILINE | re.DOTALL)
_EXERCISE = re.compile(r"^## Exercise (\d+): ", re.MULTILINE)
_DETAILS = re.compile(r"<details>\n<summary>.*?</summary>\n\n(.*?)\n\n</details>", re.DOTALL)
_CHECKER = re.compile(r"`(check_\w+)\((\w+)\)` from `(xaifake\.exercises\.\w+)` tries ")

# Otter compares what a test prints; a checker raises where an answer is wrong, and that is enough.
_UNSEEN = """from contextlib import redirect_stdout
from io import StringIO

from {module} import {call}

with redirect_stdout(StringIO()):
    {call}({function})"""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a page.

    Attributes
    ----------
    number : int
    asked, stub, solution, explained : str
        What is asked in Markdown, the beginning of a function that is given ("" if none), the code
        that solves it, and what the page says about the solution.
    checker : tuple of str, or None
        Name of the checker, of the reader's function, and the module that the checker is in.
    """

    number: int
    asked: str
    stub: str
    solution: str
    explained: str
    checker: tuple | None

    @property
    def name(self):
        """What graders call it."""
        return f"exercise-{self.number}"


def read_page(text):
    """Return what is to be run first, and the list of `Exercise` of a page in Markdown."""
    before, *parts = _EXERCISE.split(text.partition("\n## Check yourself")[0])
    exercises = []
    for number, part in zip(parts[::2], parts[1::2], strict=True):
        asked, solved = _DETAILS.sub("", part).strip(), _DETAILS.search(part)[1]
        exercises.append(
            Exercise(
                int(number),
                f"## Exercise {number}: {_CODE.sub('', asked).strip()}",
                "\n\n".join(_CODE.findall(asked)),
                "\n\n".join(_CODE.findall(solved)),
                _CODE.sub("", solved).strip(),
                next(iter(_CHECKER.findall(asked)), None),
            )
        )
    return "\n\n".join(_CODE.findall(before)), exercises


def for_nbgrader(setup, exercises):
    """Return the notebook in nbgrader's form (its cell metadata, version 3 of the schema)."""
    cells = [_cell(new_code_cell(setup), "setup", locked=True)]
    for one in exercises:
        cells.append(_cell(new_markdown_cell(one.asked), one.name, locked=True))
        code = f"### BEGIN SOLUTION\n{one.solution}\n### END SOLUTION"
        marked = {} if one.checker else {"grade": True, "points": POINTS[False]}
        answer = new_code_cell("\n\n".join(filter(None, [one.stub, code])))
        cells.append(_cell(answer, f"{one.name}-answer", solution=True, **marked))
        if one.checker:
            call, function, module = one.checker
            test = new_code_cell(f"from {module} import {call}\n\n{call}({function})")
            about = {"grade": True, "locked": True, "points": POINTS[True]}
            cells.append(_cell(test, f"{one.name}-test", **about))
    return new_notebook(cells=cells)


def _cell(cell, name, **about):
    flags = {"grade": False, "solution": False, "locked": False, "task": False}
    cell.metadata["nbgrader"] = {"schema_version": 3, "grade_id": name, **flags, **about}
    return cell


def for_otter(setup, exercises):
    """Return the notebook in the form of `otter assign`: marks in raw cells."""
    cells = [new_raw_cell("# ASSIGNMENT CONFIG"), new_code_cell(setup)]
    for one in exercises:
        by_hand = "" if one.checker else "\nmanual: true"
        about = f"name: {one.name}\npoints: {POINTS[bool(one.checker)]}{by_hand}"
        cells += [new_raw_cell(f"# BEGIN QUESTION\n{about}"), new_markdown_cell(one.asked)]
        solved = f"# BEGIN SOLUTION\n{one.solution}\n# END SOLUTION"
        answer = new_code_cell("\n\n".join(filter(None, [one.stub, solved])))
        cells += [new_raw_cell("# BEGIN SOLUTION"), answer, new_raw_cell("# END SOLUTION")]
        if one.checker:
            call, function, module = one.checker
            test = new_code_cell(_UNSEEN.format(module=module, call=call, function=function))
            cells += [new_raw_cell("# BEGIN TESTS"), test, new_raw_cell("# END TESTS")]
        cells.append(new_raw_cell("# END QUESTION"))
    return new_notebook(cells=cells)


def export(grader, folder, stems):
    """Write the chapters' assignments; return their paths."""
    written = []
    for stem in stems:
        text = (PAGES / f"{stem}.md").read_text(encoding="utf-8")
        make = for_nbgrader if grader == "nbgrader" else for_otter
        notebook = make(*read_page(text))
        notebook.metadata["kernelspec"] = chapters.KERNELSPEC
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"  # the same page gives the same bytes
        path = Path(folder) / (stem if grader == "nbgrader" else "") / f"{stem}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        written.append(path)
    return written


def main():
    """Parse arguments, write the assignments, say where they are."""
    known = sorted(path.stem for path in PAGES.glob("*.md"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grader", choices=GRADERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("chapters", nargs="*", help="all if none is named")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.chapters) - set(known)):
        sys.exit(f"No exercises for {', '.join(unknown)}: there are some for {', '.join(known)}.")
    for path in export(arguments.grader, arguments.folder, arguments.chapters or known):
        print(path)


if __name__ == "__main__":
    main()
