"""The exercise pages: complete, and their code runs from top to bottom."""

import re
import subprocess
import sys

import pytest
import yaml

import chapters
from page_code import QUIET, outputs, python_blocks, run, run_here, with_outputs

CHAPTERS = [path.stem for path in chapters.chapter_paths()]
FOLDER = chapters.ROOT / "book" / "exercises"
PAGES = [path for path in sorted((chapters.ROOT / "book").rglob("*.md"))
         if python_blocks(path.read_text(encoding="utf-8"))]  # fmt: skip
# The guard that no page lives on what an earlier one left behind in the process that they share.
IN_A_PROCESS = "05_activations"
EXERCISE = re.compile(r"^## Exercise (\d+): (.+)$", re.MULTILINE)
ANSWER = re.compile(
    r"<details>\n<summary>(?P<title>.+?)</summary>\n\n(?P<text>.*?)\n\n</details>", re.DOTALL
)
QUESTION = re.compile(r"^\*\*(\d+)\. .+?\*\*$", re.MULTILINE | re.DOTALL)
CHECKER = re.compile(r"^from xaifake\.exercises\.\w+ import check_\w+", re.MULTILINE)


def page_faults(text):
    """Everything that a page lacks or has too much, one line each."""
    found = []
    answers = {a["title"]: a["text"] for a in ANSWER.finditer(text)}
    if not text.count("<details>") == text.count("</details>") == len(answers):
        found.append("a <details> that is not closed, has no summary or no blank lines around it")
    exercises = [int(number) for number, _ in EXERCISE.findall(text)]
    if len(exercises) < 3 or exercises != list(range(1, len(exercises) + 1)):
        found.append(f"exercises {exercises}, expected three or more, counted from 1")
    for number in exercises:
        solution = answers.get(f"Solution to exercise {number}", "")
        if not python_blocks(solution):
            found.append(f"exercise {number} has no solution with code")
    questions = [int(number) for number in QUESTION.findall(text)]
    if len(questions) < 5 or questions != list(range(1, len(questions) + 1)):
        found.append(f"questions {questions}, expected five or more, counted from 1")
    for number in questions:
        answer = answers.get(f"Answer to question {number}", "")
        if not re.match(r"\*\*[A-D]\.\*\*", answer) or len(answer.split()) < 15:
            found.append(f"question {number} has no explained answer")
        asked = text.partition(f"\n**{number}. ")[2].partition("<details>")[0]
        if not all(f"\n- {letter}. " in asked for letter in "ABC"):
            found.append(f"question {number} has no options A, B and C")
    return found


def read(stem):
    return (FOLDER / f"{stem}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("stem", CHAPTERS)
def test_every_chapter_has_exercises_and_questions(stem):
    assert page_faults(read(stem)) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_code_of_a_page_uses_no_name_that_it_does_not_have(path):
    code = "\n".join(python_blocks(path.read_text(encoding="utf-8")))
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,E9", "-"]
    done = subprocess.run(ruff, input=code, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.book
@pytest.mark.parametrize("stem", [stem for stem in CHAPTERS if stem != IN_A_PROCESS])
def test_the_code_of_the_solutions_runs(stem, tmp_path, monkeypatch):
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    page = read(stem)
    assert with_outputs(page, tmp_path) == page


def test_the_code_of_the_solutions_runs_in_a_fresh_process(tmp_path):
    page = read(IN_A_PROCESS)
    done = run(python_blocks(page), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == " ".join(outputs(page)).split()


def test_every_part_has_an_exercise_with_a_checker():
    contents = yaml.safe_load((chapters.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    for part in contents["parts"]:
        stems = [config["file"].removeprefix("notebooks/") for config in part["chapters"]]
        pages = [read(stem) for stem in stems if stem in CHAPTERS]
        assert not pages or any(CHECKER.search(page) for page in pages), part["caption"]


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        ("<summary>Answer to question 2</summary>", "<summary>Answer</summary>"),
        ("Solution to exercise 3", "Solution"),
        ("</details>", ""),
        (r"(Answer to question 1</summary>\n\n)(?s:.*?)(\n\n</details>)", r"\1**B.**\2"),
        ("## Exercise 3: ", "## "),
        (r"\n- C\. ", "\n- "),
    ],
)
def test_a_planted_fault_of_a_page_is_found(pattern, instead):
    text = read(CHAPTERS[0])
    planted = re.sub(pattern, instead, text, count=1)
    assert planted != text and page_faults(planted)


def test_a_failing_block_is_named(tmp_path):
    done = run(["a = 1", "b = a + 1\nassert b == 3"], tmp_path)
    assert done.returncode and "block 2 of the page" in done.stderr and "line 2" in done.stderr


def test_pages_in_one_process_share_neither_names_nor_folder(tmp_path):
    assert run_here(["a = 1", "open('note', 'w').close()\nprint(a + 1)"], tmp_path) == ["", "2\n"]
    assert (tmp_path / "note").exists()
    with pytest.raises(NameError, match="'a'") as raised:
        run_here(["b = 1", "print(a)"], tmp_path)
    assert raised.traceback[-1].path == "block 2 of the page"
