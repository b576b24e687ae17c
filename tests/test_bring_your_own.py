"""The page about other detectors: its code runs, from top to bottom, as a reader would run it."""

import pytest

from chapters import ROOT
from page_code import python_blocks, run

PAGE = ROOT / "book" / "bring_your_own.md"


@pytest.mark.book
def test_the_code_of_the_page_runs(tmp_path):
    blocks = python_blocks(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) >= 8
    done = run(blocks, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "answers 'fake' or 'real'" in done.stdout or "has 2 logits" in done.stdout


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        (
            "```python\na = 1\n```\ntext\n```bash\nls\n```\n```python\nb = 2\n```",
            ["a = 1", "b = 2"],
        ),
        ("no code", []),
    ],
)
def test_the_python_of_a_page_is_found(text, blocks):
    assert python_blocks(text) == blocks
