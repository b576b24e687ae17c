"""What CONTRIBUTING.md says holds: its examples work, and its template is a chapter."""

import re

import pytest
import yaml
from nbclient import NotebookClient

import chapters
from page_code import python_blocks, run
from test_notebooks import missing_from_the_frame
from test_reading import caption_faults

PAGE = (chapters.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TEMPLATE = chapters.ROOT / "book" / "template" / "chapter.ipynb"
TRUTHS = """
import keras
import xaifake
from xaifake.errors import UserError

keras.utils.set_random_seed(0)
linear = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
flat = keras.layers.Flatten()
layers = [keras.Input((8, 8, 3)), flat, keras.layers.Dense(9, "tanh"), keras.layers.Dense(1)]
curved = keras.Sequential(layers)
pictures = np.random.default_rng(1).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
varied = {m: xaifake.explain(m, pictures, "vargrad", noise=0.3) for m in (linear, curved)}
assert np.allclose(varied[linear], 0, atol=1e-9) and varied[curved].max() > 1e-3
still = xaifake.explain(curved, pictures, "vargrad", noise=0)
assert np.allclose(still, 0, atol=1e-9) and {"logit", "sum"} <= set(still.report)
again = xaifake.explain(curved, pictures, "vargrad", noise=0.3)
assert np.array_equal(again, varied[curved]) and "vargrad" in xaifake.methods()
try:
    xaifake.explain(curved, pictures, "vargrad", sample=3)
except UserError as error:
    assert "no option 'sample'" in str(error)
else:
    raise AssertionError("a misspelt option went through")
masks = np.zeros((2, 10, 10), bool)
masks[:, :2, :5] = True
assert np.allclose(top_share(masks.astype(float), masks), 1)
assert np.allclose(top_share(1.0 - masks, masks), 0)
from xaifake.data import load_faces
from xaifake.judge import localise
from xaifake.judge.runner import default_methods

faces = load_faces()[:2]
assert np.allclose(localise(faces.masks.astype(float), faces).top_share, 1)
assert "vargrad" in [config.name for config in default_methods()]
"""


def test_the_examples_are_short_and_work_through_the_front_door(tmp_path):
    blocks = python_blocks(PAGE)
    assert len(blocks) == 2
    assert all(len(block.splitlines()) < 20 for block in blocks)
    done = run([*blocks, TRUTHS], tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_files_that_are_named_exist():
    named = re.findall(r"`((?:tools|tests|book|notebooks|xaifake)/[\w./]+)`|\]\(([\w./]+)\)", PAGE)
    assert len(named) > 8
    assert [n for pair in named for n in pair if n and not (chapters.ROOT / n).exists()] == []


@pytest.mark.slow
def test_the_template_is_a_chapter_that_runs():
    notebook = chapters.read(TEMPLATE)
    assert missing_from_the_frame(notebook, "00_template") == []
    assert chapters.parameters(notebook)["explained"] == 4
    chapters.quiet_kernels()
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    assert caption_faults(notebook) == []


def test_the_hooks_run_what_the_tests_run():
    config = yaml.safe_load((chapters.ROOT / ".pre-commit-config.yaml").read_text())
    (repo,) = config["repos"]
    assert [hook["entry"] for hook in repo["hooks"]] == [
        ".venv/bin/ruff check --fix",
        ".venv/bin/ruff format",
    ]
    assert all("jupyter" in hook["types_or"] for hook in repo["hooks"])
