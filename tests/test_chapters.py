"""Every line of every chapter runs, with tiny settings (the profile smoke)."""

import base64
import io

import nbformat
import numpy as np
import pytest
from PIL import Image

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


@pytest.mark.parametrize(("alpha", "mode"), [(255, "RGB"), (200, "RGBA")])
def test_a_fine_picture_keeps_its_colours_and_its_size_on_a_page(alpha, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 260, 4), np.uint8)
    pixels[..., 3] = alpha
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    data = {"image/png": base64.b64encode(file.getvalue()).decode()}
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data)])
    chapters.fit_pictures(nbformat.v4.new_notebook(cells=[cell]))
    (output,) = cell.outputs
    picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
    assert picture.mode == mode
    np.testing.assert_array_equal(picture, pixels[..., : len(mode)])
    assert output.metadata["image/png"].width == 260 * chapters.DPI_ON_PAGE // chapters.DPI
