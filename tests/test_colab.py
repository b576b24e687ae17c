"""Each chapter on Colab's stack: opened alone in an empty folder, set up by its own first cell.

The stack is made anew from requirements/colab.txt, beside a stand-in for the module google.colab.
Chapters that do something else with the paper's profile, DFD on a GPU, walk through it here, on the
embedded clips and for one short epoch. The others run with the smoke profile; those that explain
faces, on some that were just extracted and have no originals.
"""

import functools
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import chapters
import run_chapters
import set_address
from xaifake.data import extract_faces, read_catalogue
from xaifake.data.clips import embedded_clips

CHAPTERS = chapters.chapter_paths()
PYTHON = "3.13"
PINS = chapters.ROOT / "requirements" / "colab.txt"
# What a clone of the repository must hold for the library to be installed and a chapter opened.
PUBLISHED = ("xaifake", "notebooks", "pyproject.toml", "README.md", "CITATION.cff", "_config.yml")
PUBLISHED += ("LICENSE", "LICENSE-TEXT", "index.md")
WITH_CLIPS = ("02_face_extraction", "03_training", "12_sanity", "13_evidence")
WITH_CLIPS += ("15_explain_a_video",)
WITH_FACES = ("04_evaluation", "05_activations", "06_lime", "07_lrp", "08_auditing")
WITH_FACES += ("09_gradients", "10_perturbations", "11_localisation", "14_verdict")
FRAMES = {"real": 4, "fake": 2}
SHORT = {
    "precision": "float32",
    "train_epochs": 1,
    "images_per_epoch": 32,
    "practice_steps": 2,
    "test_faces": 40,
    "weights": None,  # a network that was trained for a minute finds no fakes to explain
    "judged_folder": None,  # measuring all methods takes an hour
    "train_steps": 10,
    "asked": 2,
    "frames": 4,
    "methods": ["gradient (absolute)", "grad_cam"],
}
PLACEHOLDER = "https://github.com/someone/some-book"
UV = Path(sys.executable).with_name("uv")


def pins(text=None):
    """Versions by canonical name that Colab's stack is pinned to."""
    lines = (PINS.read_text(encoding="utf-8") if text is None else text).splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in requirements}


def changed(before, after):
    """What an installation did to packages that were there before it, one line each."""
    return [
        f"{name} {version} became {after.get(name, 'nothing')}"
        for name, version in before.items()
        if after.get(name) != version
    ]


def find_python():
    """Colab's minor version of Python, or else the Python of these tests."""
    candidates = [shutil.which(f"python{PYTHON}")]
    candidates += Path.home().glob(f".pyenv/versions/{PYTHON}.*/bin/python{PYTHON}")
    for candidate in filter(None, candidates):
        if not subprocess.run([candidate, "-c", ""], capture_output=True).returncode:
            return str(candidate)
    return sys.executable


def run(*command, **options):
    """Run a command; what it said is part of the error if it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert not done.returncode, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What GitHub would hold once the address is set: a repository with its branch main."""
    folder = tmp_path_factory.mktemp("github") / "book"
    folder.mkdir()
    for name in PUBLISHED:
        source = chapters.ROOT / name
        if source.is_dir():
            skipped = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            shutil.copytree(source, folder / name, ignore=skipped)
        else:
            shutil.copy(source, folder / name)
    if not set_address.read_address(folder):
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        text = text.replace('repository = ""', f'repository = "{PLACEHOLDER}"')
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        set_address.set_address(folder)
    git = functools.partial(run, "git", "-c", "user.name=a", "-c", "user.email=a@b.c", cwd=folder)
    git("init", "--quiet", "--initial-branch", set_address.BRANCH)
    git("add", "--all")
    git("commit", "--quiet", "--message", "as published")
    return folder


class Runtime:
    """A fresh Colab: its packages, its Python, its kernel, and the module google.colab."""

    def __init__(self, folder):
        self.folder, self.python = folder, folder / "bin" / "python"
        run(UV, "venv", "--quiet", "--seed", "--no-project", "--python", find_python(), folder)
        run(UV, "pip", "install", "--quiet", "--python", self.python, "--requirements", PINS)
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        self.packages = Path(run(self.python, "-c", code).strip())
        module = self.packages / "google" / "colab"
        module.mkdir(parents=True)
        (module / "__init__.py").write_text('"""Stands in for Colab\'s own module."""\n')
        # Colab's kernel has imported the module before the first cell runs.
        (self.packages / "stand_in.pth").write_text("import google.colab\n")
        kernel = self.folder / "share" / "jupyter" / "kernels" / "python3"
        kernel.mkdir(parents=True, exist_ok=True)
        command = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        specification = {"argv": command, "display_name": "Python 3", "language": "python"}
        # The installed file is a link into uv's cache: written to, it would change for all.
        (kernel / "kernel.json").unlink(missing_ok=True)
        (kernel / "kernel.json").write_text(json.dumps(specification))
        self.before = self.versions()

    def versions(self):
        """The installed packages: versions by canonical name."""
        found = importlib.metadata.distributions(path=[str(self.packages)])
        return {canonicalize_name(d.metadata["Name"]): d.version for d in found}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """A function that gives the runtime in which a first cell has been, or will be, run.

    Chapters with the same first cell share one: a second installation would do nothing.
    """

    @functools.cache
    def made(first_cell):
        return Runtime(tmp_path_factory.mktemp("colab") / "usr")

    return made


@pytest.fixture(scope="module")
def own_faces(tmp_path_factory):
    """A folder of faces such as a reader extracts, of four people and without originals."""
    folder = tmp_path_factory.mktemp("faces")
    frames = {"real": 2, "fake": 2}
    clips = read_catalogue(embedded_clips("tiny"))
    clips.loc[clips.target == clips.target.min(), "split"] = "train"
    extract_faces(clips, folder, frames_per_video=frames, workers=1, progress=False)
    return folder


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """A function that gives a chapter's parameters in the paper's profile, as far as a CPU goes.

    The chapters share a folder, as a reader's do: the faces that one extracts, others read.
    """
    folder, clips = tmp_path_factory.mktemp("paper"), embedded_clips("small")
    profile = run_chapters.read_profile("paper")
    here = {"data_root": str(clips), "frames_per_video": FRAMES, "run_folder": str(folder / "run")}

    def values(stem):
        faces = folder / "faces"
        if stem != WITH_CLIPS[0] and not faces.is_dir():  # a chapter that is tested alone
            extract_faces(read_catalogue(clips), faces, frames_per_video=FRAMES, progress=False)
        changed = {**SHORT, **here, "faces_folder": str(faces)}
        return profile[stem] | {n: v for n, v in changed.items() if n in profile[stem]}

    return values


def assert_made(stem, values, copy):
    """What a chapter leaves in the paper's profile is there, and is what it shows."""
    if stem == "02_face_extraction":
        assert (Path(values["faces_folder"]) / "manifest.parquet").is_file()
    if stem == "03_training":
        cells = [cell for cell in chapters.read(copy).cells if cell.cell_type == "code"]
        text = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
        assert "\nimages: 32\n" in "\n" + text  # from the run's own card, not the shipped one
        assert (Path(values["run_folder"]) / "run" / "weights.safetensors").is_file()


def first_cell(notebook):
    """The cell that comes before all other code."""
    return next(cell for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.slow
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_runs_on_colab_by_its_own_first_cell(
    path, repository, runtime, paper, own_faces, tmp_path, monkeypatch
):
    (tmp_path / "content").mkdir()
    opened = shutil.copy(repository / "notebooks" / path.name, tmp_path / "content")
    cell = first_cell(chapters.read(opened))
    assert chapters.tags(cell) == ["colab", "remove-cell"]
    colab = runtime(cell.source)

    monkeypatch.setenv("JUPYTER_PATH", str(colab.folder / "share" / "jupyter"))
    monkeypatch.setenv("VIRTUAL_ENV", str(colab.folder))
    monkeypatch.setenv("PATH", f"{colab.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")  # GitHub is this folder
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{repository.as_uri()}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", set_address.read_address(repository))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("XAIFAKE_CACHE", str(tmp_path / "cache"))
    values = run_chapters.read_profile("smoke")[path.stem]
    if path.stem in WITH_CLIPS:
        values = paper(path.stem)
    if path.stem in WITH_FACES:
        values["faces_folder"] = str(own_faces)
    copy = run_chapters.run_chapter(opened, values, tmp_path / "executed")

    code = [cell for cell in chapters.read(copy).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert not [o.text for cell in code for o in cell.outputs if o.get("name") == "stderr"]
    if path.stem in WITH_CLIPS:
        assert_made(path.stem, values, copy)
    assert changed(colab.before, colab.versions()) == []
    assert "xaifake" in colab.versions()


@pytest.mark.slow
def test_colabs_stack_is_the_pinned_one(runtime):
    versions = runtime("nothing is installed here").versions()
    assert pins().items() <= versions.items()
    assert not {"lime", "innvestigate", "papermill", "nbval", "xaifake"} & versions.keys()


def test_a_replaced_package_is_noticed():
    assert changed({"numpy": "2.1.3"}, {"numpy": "2.1.3", "lime": "0.2"}) == []
    assert changed({"numpy": "2.1.3"}, {"numpy": "2.4.0"}) == ["numpy 2.1.3 became 2.4.0"]
    assert changed({"numpy": "2.1.3"}, {}) == ["numpy 2.1.3 became nothing"]


@pytest.mark.parametrize(
    ("on_colab", "installed", "installs"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_the_first_cell_installs_on_colab_alone_and_only_what_is_missing(
    on_colab, installed, installs, repository, monkeypatch
):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    if on_colab:
        monkeypatch.setitem(sys.modules, "google.colab", Mock())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: Mock() if installed else None)
    for path in chapters.chapter_paths(repository / "notebooks"):
        shell = Mock()
        cell = TransformerManager().transform_cell(first_cell(chapters.read(path)).source)
        exec(cell, {"get_ipython": Mock(return_value=shell)})
        asked = [call.args for call in shell.run_line_magic.call_args_list]
        assert bool(asked) == installs, path.stem
        assert all(name == "pip" and "--quiet" in line for name, line in asked)
