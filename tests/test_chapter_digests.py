"""What a chapter rests on: changed, it must run again; left alone, it need not."""

import shutil

import nbformat
import pytest

import chapter_digests
import chapters

FILES = {
    "xaifake/__init__.py": '__version__ = "1"\n_HOME = "xaifake.show.maps"\n',
    "xaifake/data/__init__.py": '_HOME = {"load": "dataset", "cut": "cutting"}\n',
    "xaifake/data/dataset.py": 'FACES = "assets", "faces"\ndef load(): ...\n',
    "xaifake/data/cutting.py": "def cut(): ...\n",
    "xaifake/data/worker.py": "",
    "xaifake/judge/__init__.py": "",
    "xaifake/judge/scores.py": "from xaifake.data.cutting import cut\n",
    "xaifake/judge/runner.py": 'WORKER = "worker.py"\n',
    "xaifake/judge/worker.py": "import xaifake.data.worker\n",
    "xaifake/show/__init__.py": "",
    "xaifake/show/maps.py": "",
    "xaifake/assets/faces/faces.parquet": "pixels",
    "xaifake/assets/weights/detector.safetensors": "weights",
    "requirements/requirements.txt": "numpy==2.0\n",
    "requirements/innvestigate.txt": "innvestigate==2.1.2\n",
    "notebooks/profiles/demo.yml": "01_first: {seed: 0}\n02_second: {seed: 0}\n",
}
CODE = {
    "01_first": "%pip install xaifake\nfrom xaifake.data import load\nload()",
    "02_second": "from xaifake.judge import scores\n\ndef late():\n    import xaifake.judge.runner",
}


@pytest.fixture
def project(tmp_path):
    """A repository of two chapters whose digests are recorded."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for stem, source in CODE.items():
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, id="cell")])
        chapters.write(made, tmp_path / "notebooks" / f"{stem}.ipynb")
    chapter_digests.store(chapters.chapter_paths(tmp_path / "notebooks"), tmp_path)
    return tmp_path


def changed(project):
    return [path.stem for path in chapter_digests.changed(project)]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("xaifake/__init__.py", ["01_first", "02_second"]),
        ("xaifake/data/__init__.py", ["01_first", "02_second"]),
        ("xaifake/data/dataset.py", ["01_first"]),
        ("xaifake/data/cutting.py", ["02_second"]),
        ("xaifake/data/worker.py", ["02_second"]),
        ("xaifake/judge/worker.py", ["02_second"]),
        ("xaifake/show/maps.py", []),
        ("xaifake/assets/faces/faces.parquet", ["01_first"]),
        ("xaifake/assets/weights/detector.safetensors", []),
        ("requirements/requirements.txt", ["01_first", "02_second"]),
        ("requirements/innvestigate.txt", ["01_first", "02_second"]),
        ("notebooks/01_first.ipynb", ["01_first"]),
    ],
)
def test_a_change_concerns_the_chapters_that_rest_on_it(project, file, expected):
    assert changed(project) == []
    path = project / file
    path.write_text(path.read_text().replace("import load", "import  load") + "\n")
    assert changed(project) == expected


def test_parameters_count_and_a_new_chapter_has_never_agreed(project):
    profile = project / "notebooks/profiles/demo.yml"
    profile.write_text("01_first: {seed: 1}\n02_second: {seed: 0}\n03_third: {}\n")
    notebooks = project / "notebooks"
    shutil.copy(notebooks / "02_second.ipynb", notebooks / "03_third.ipynb")
    assert changed(project) == ["01_first", "03_third"]


def test_only_the_chapters_that_agreed_are_recorded_and_without_a_record_everything_runs(project):
    (project / "xaifake/__init__.py").write_text("")
    chapter_digests.store([project / "notebooks/02_second.ipynb"], project)
    assert changed(project) == ["01_first"]
    (project / "notebooks/.ran.json").unlink()
    assert changed(project) == ["01_first", "02_second"]


def test_every_chapter_is_drawn_by_some_commit_and_the_record_names_no_others():
    paths = chapters.chapter_paths()
    assert {chapter_digests.drawn(f"{number:040x}") for number in range(len(paths))} == set(paths)
    assert chapter_digests.read_record().keys() <= {path.stem for path in paths}


@pytest.mark.book
@pytest.mark.parametrize("path", chapters.chapter_paths(), ids=lambda path: path.stem)
def test_a_chapter_used_nothing_that_its_digest_does_not_cover(path, executed):
    if executed is None or not (executed / path.name).is_file():
        pytest.skip("this chapter was not run")
    used = (executed / path.with_suffix(".used").name).read_text(encoding="utf-8").splitlines()
    known = {str(file) for file in chapter_digests.rests_on(path)}
    assert len(used) > 5 and [file for file in used if file not in known] == []
