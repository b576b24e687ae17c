"""The exercises as assignments: solved they pass their checkers, and graders find their marks."""

import csv
import json
import os
import shutil
import sys

import nbformat
import pytest

import chapters
import export_exercises
from page_code import run_here
from test_colab import UV, run

STEMS = [path.stem for path in chapters.chapter_paths()]
# nbgrader's own rules for a cell of its schema 3: which flags go together.
KINDS = {
    "read": {"grade": False, "solution": False, "locked": True},
    "answer": {"grade": False, "solution": True, "locked": False},
    "by hand": {"grade": True, "solution": True, "locked": False},
    "test": {"grade": True, "solution": False, "locked": True},
}


def kind_of(cell):
    flags = {name: cell.metadata.nbgrader[name] for name in ("grade", "solution", "locked")}
    return next(kind for kind, known in KINDS.items() if known == flags)


@pytest.mark.parametrize("grader", export_exercises.GRADERS)
def test_every_chapter_becomes_a_valid_notebook_the_same_each_time(grader, tmp_path):
    paths = export_exercises.export(grader, tmp_path / "one", STEMS)
    again = export_exercises.export(grader, tmp_path / "two", STEMS)
    assert [path.stem for path in paths] == STEMS
    for one, two in zip(paths, again, strict=True):
        assert one.read_bytes() == two.read_bytes()
        notebook = nbformat.read(one, 4)
        nbformat.validate(notebook)
        source = "\n".join(cell.source for cell in notebook.cells)
        assert source.count("BEGIN SOLUTION") == source.count("END SOLUTION") > 0
        assert "<details>" not in source and "```" not in source


def test_nbgrader_finds_answers_tests_and_points(tmp_path):
    checked = 0
    for path in export_exercises.export("nbgrader", tmp_path, STEMS):
        cells = nbformat.read(path, 4).cells
        names = [cell.metadata.nbgrader.grade_id for cell in cells]
        assert len(set(names)) == len(names)
        kinds = [kind_of(cell) for cell in cells]
        assert kinds.count("read") - 1 == kinds.count("by hand") + kinds.count("test") >= 3
        for cell, kind in zip(cells, kinds, strict=True):
            assert (cell.metadata.nbgrader.get("points", 0) > 0) == (kind in ("by hand", "test"))
        checked += kinds.count("test")
    assert checked == 11  # as many as there are checkers


def cleared(cells):
    """What a student gets: nbgrader puts an error in the place of a solution."""
    for cell in cells:
        before, _, rest = cell.source.partition("### BEGIN SOLUTION")
        yield before + "raise NotImplementedError()" if rest else cell.source


def test_what_is_solved_passes_and_what_is_handed_out_does_not(tmp_path):
    (path,) = export_exercises.export("nbgrader", tmp_path, ["14_verdict"])
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    first = cells[: 1 + next(k for k, cell in enumerate(cells) if kind_of(cell) == "test")]
    assert "Right" in "".join(run_here([cell.source for cell in first], tmp_path))
    *_, answer, test = cleared(first)
    with pytest.raises(NotImplementedError):
        run_here([answer, test], tmp_path)


@pytest.mark.slow
def test_nbgrader_gives_the_solved_assignment_its_points_and_the_blank_one_none(tmp_path):
    """The round trip with nbgrader itself, in an environment of its own beside this kernel's."""
    tools, course, kernel = (
        tmp_path / "tools",
        tmp_path / "course",
        tmp_path / "kernels" / "python3",
    )
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Python 3"}))
    run(UV, "venv", "--quiet", "--no-project", "--python", sys.executable, tools)
    run(UV, "pip", "install", "--quiet", "--python", tools / "bin" / "python", "nbgrader==0.9.6")
    environment = {**os.environ, "JUPYTER_PATH": str(tmp_path), "PYTHONPATH": str(chapters.ROOT)}
    environment["PATH"] = f"{tools / 'bin'}{os.pathsep}{environment['PATH']}"
    here = {"cwd": course, "env": environment}
    (solved,) = export_exercises.export("nbgrader", course / "source", ["14_verdict"])
    run("nbgrader", "generate_assignment", "14_verdict", **here)
    blank = course / "release" / "14_verdict" / solved.name
    for student, notebook in {"solved": solved, "blank": blank}.items():
        folder = course / "submitted" / student / "14_verdict"
        folder.mkdir(parents=True)
        shutil.copy(notebook, folder)
    run(
        "nbgrader",
        "autograde",
        "14_verdict",
        "--create",
        "--ExecutePreprocessor.timeout=600",
        **here,
    )
    run("nbgrader", "export", "--to", "grades.csv", **here)
    with (course / "grades.csv").open() as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores == {"solved": 1.0, "blank": 0.0}
