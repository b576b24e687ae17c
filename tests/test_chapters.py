"""Every line of every chapter runs, with tiny settings (the profile smoke)."""

import pytest

import chapters
import run_chapters


@pytest.mark.parametrize("path", chapters.chapter_paths(), ids=lambda path: path.stem)
def test_chapter_runs_to_its_end_and_complains_of_nothing(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    values = run_chapters.read_profile("smoke")[path.stem]
    cells = chapters.read(run_chapters.run_chapter(path, values, tmp_path)).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert [o.text for cell in code for o in cell.outputs if o.get("name") == "stderr"] == []
