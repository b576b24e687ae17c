"""The tools behind `make`: profiles, running, storing, the address, looking over the pages."""

import re
import shutil

import nbformat
import pytest
import yaml

import chapters
import pages
import run_chapters
import set_address
from xaifake.explainers import innvestigate

ADDRESS = "https://github.com/someone/some-book"


def notebook(*cells):
    """A notebook of (source, tags) cells behind a title."""
    made = [nbformat.v4.new_markdown_cell("# Title", id="title")]
    made += [
        nbformat.v4.new_code_cell(source, id=f"cell-{i}", metadata={"tags": tags} if tags else {})
        for i, (source, tags) in enumerate(cells)
    ]
    return nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": chapters.KERNELSPEC})


@pytest.fixture
def folder(tmp_path):
    """A folder of chapters with one chapter and its smoke profile."""
    made = notebook(
        ("frames = 32\nscales = (1.3, 2.0)\nfolder = None", ["parameters"]),
        ("print(frames, scales, folder)", []),
    )
    chapters.write(made, tmp_path / "01_first.ipynb")
    (tmp_path / "profiles").mkdir()
    return tmp_path


def profile(folder, **sections):
    (folder / "profiles" / "smoke.yml").write_text(yaml.safe_dump(sections))
    return run_chapters.read_profile("smoke", folder)


def test_a_profile_gives_parameters_by_chapter(folder):
    sections = profile(folder, **{"01_first": {"frames": 4}})
    assert sections == {"01_first": {"frames": 4}}
    assert profile(folder, **{"01_first": None}) == {"01_first": {}}


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"01_first": {"frame": 4}}, "no parameter 'frame'; it has frames, scales, folder"),
        ({}, "no section for chapter 01_first"),
        ({"01_first": {}, "02_second": {}}, "section 02_second, but no such chapter"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused(folder, sections, complaint):
    with pytest.raises(ValueError, match=complaint):
        profile(folder, **sections)


@pytest.mark.parametrize("source", ["frames = len([1])", "import os", "a, b = 1, 2"])
def test_parameters_are_plain_values(source):
    with pytest.raises(ValueError):
        chapters.parameters(notebook((source, ["parameters"])))


def test_parameters_stand_in_one_cell_and_those_that_change_nothing_leave_none_behind(folder):
    with pytest.raises(ValueError, match="found 0"):
        chapters.parameters(notebook(("frames = 32", [])))
    values = {"frames": 32, "scales": [1.3, 2.0]}
    assert run_chapters.changed_parameters(chapters.read(folder / "01_first.ipynb"), values) == {}


def test_a_chapter_runs_with_its_parameters_and_its_copy_is_clean(folder):
    chapter = folder / "01_first.ipynb"
    before = chapter.read_bytes()
    copy = run_chapters.run_chapter(chapter, {"frames": 4}, folder / "out")
    executed = chapters.read(copy)
    assert executed.cells[-1].outputs[0].text == "4 (1.3, 2.0) None\n"
    assert executed.metadata == {"kernelspec": chapters.KERNELSPEC}
    assert str(folder) not in copy.read_text() and "papermill" not in copy.read_text()
    assert chapter.read_bytes() == before


def test_names_of_digits_stay_text_from_the_profile_to_the_chapter(folder):
    """YAML's own whole numbers make 2423 of 24_23, 10299 of 024_073 and 7 of 07."""
    text = "01_first: {frames: 24_23, scales: [1.3, 07, 024_073, -8], folder: 7}\n"
    (folder / "profiles" / "smoke.yml").write_text(text)
    values = run_chapters.read_profile("smoke", folder)["01_first"]
    copy = run_chapters.run_chapter(folder / "01_first.ipynb", values, folder / "out")
    printed = chapters.read(copy).cells[-1].outputs[0].text
    assert printed == "24_23 [1.3, '07', '024_073', -8] 7\n"


def test_a_refreshed_chapter_is_the_same_bytes_each_time(folder):
    chapter = folder / "01_first.ipynb"
    stored = []
    for _ in range(2):
        ((_, _, failure),) = run_chapters.store([chapter], folder / "out")
        stored.append(chapter.read_bytes())
    assert failure is None and stored[0] == stored[1]
    assert chapters.read(chapter).cells[-1].outputs[0].text == "32 (1.3, 2.0) None\n"


def test_progress_bars_and_tensorflow_log_stay_out_of_a_refreshed_chapter(tmp_path):
    source = "from tqdm import tqdm\nfor _ in tqdm(range(3)):\n    pass\nprint('done')"
    chapters.write(notebook((source, [])), tmp_path / "bar.ipynb")
    list(run_chapters.store([tmp_path / "bar.ipynb"], tmp_path / "out"))
    (output,) = chapters.read(tmp_path / "bar.ipynb").cells[-1].outputs
    assert (output.name, output.text) == ("stdout", "done\n")


def test_a_chapter_that_fails_is_told_and_the_others_run(tmp_path):
    sources = {"01_fails": "1 / 0", "02_runs": "print(2)", "03_runs": "print(3)"}
    for stem, source in sources.items():
        made = notebook(("seed = 0", ["parameters"]), (source, []))
        chapters.write(made, tmp_path / f"{stem}.ipynb")
    paths = chapters.chapter_paths(tmp_path)
    ended = list(run_chapters.run_all(paths, dict.fromkeys(sources, {}), tmp_path / "out", jobs=2))
    assert sorted(path.stem for path, *_ in ended) == list(sources)
    failures = {path.stem: failure for path, _, failure in ended if failure}
    assert failures.keys() == {"01_fails"}
    assert "cell 2 failed with ZeroDivisionError" in failures["01_fails"]
    cells = chapters.read(tmp_path / "out" / "03_runs.ipynb").cells
    assert cells[-1].outputs[0].text == "3\n"


def test_a_chapter_that_does_not_exist_cannot_be_run_and_a_failing_one_is_left(tmp_path, capsys):
    assert run_chapters.main(["notebooks/99_none.ipynb"]) == 1
    assert "no such chapter: " in capsys.readouterr().err
    path = tmp_path / "fails.ipynb"
    chapters.write(notebook(("print(1)", []), ("1 / 0", [])), path)
    before = path.read_bytes()
    ((_, _, failure),) = run_chapters.store([path], tmp_path / "out")
    assert "cell 2 failed" in failure and path.read_bytes() == before


@pytest.fixture
def project(tmp_path):
    """A copy of the files that the address goes into, with two executed chapters."""
    for name in ("pyproject.toml", "_config.yml", "CITATION.cff", "README.md", "index.md"):
        shutil.copy(chapters.ROOT / name, tmp_path / name)
    (tmp_path / "notebooks").mkdir()
    for name in ("01_first", "02_face_extraction"):
        made = notebook(("frames = 32", ["parameters"]), ("1 + 1", []))
        made.cells[2].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"})]
        made.cells[1].execution_count = made.cells[2].execution_count = 1
        chapters.renumber(made)
        chapters.write(made, tmp_path / "notebooks" / f"{name}.ipynb")
    configure(tmp_path, "")
    set_address.set_address(tmp_path)
    return tmp_path


def configure(project, address):
    """Set the address in a copy's pyproject.toml."""
    path = project / "pyproject.toml"
    line = f'repository = "{address}"'
    path.write_text(re.sub('^repository = ".*"$', line, path.read_text(), flags=re.MULTILINE))


def contents(project):
    return {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}


def test_the_address_is_written_once_and_taken_out_without_a_trace(project):
    unset = contents(project)
    assert not any(b"colab.research" in text for text in unset.values())
    configure(project, ADDRESS)
    assert len(set_address.set_address(project)) == 6
    assert set_address.set_address(project) == []
    config = yaml.safe_load((project / "_config.yml").read_text())
    assert config["repository"] == {"url": ADDRESS, "branch": "main"}
    assert config["html"]["use_repository_button"] and config["html"]["extra_footer"]
    assert yaml.safe_load((project / "CITATION.cff").read_text())["repository-code"] == ADDRESS
    assert ADDRESS in (project / "README.md").read_text()
    link = "(https://colab.research.google.com/github/someone/some-book/blob/main/notebooks/"
    assert (project / "index.md").read_text().count(link) == 2
    configure(project, "")
    assert len(set_address.set_address(project)) == 6
    assert contents(project) == unset


def test_colab_gets_a_link_and_the_first_code_cell(project):
    configure(project, ADDRESS)
    set_address.set_address(project)
    first, second = (chapters.read(p) for p in chapters.chapter_paths(project / "notebooks"))
    title, link, install, *_ = first.cells
    assert title.source == "# Title"
    name = "colab.research.google.com/github/someone/some-book/blob/main/notebooks/01_first.ipynb"
    assert name in link.source
    assert f'%pip install --quiet "xaifake[chapters] @ git+{ADDRESS}@main"' in install.source
    assert "face_recognition_models" not in install.source
    assert "face_recognition_models" in second.cells[2].source
    counts = [cell.execution_count for cell in first.cells if cell.cell_type == "code"]
    assert counts == [1, 2, 3] and first.cells[-1].outputs[0].execution_count == 3


@pytest.mark.parametrize(
    "address", [f"{ADDRESS}.git", f"{ADDRESS}/", "github.com/a/b", "git@x:a/b"]
)
def test_an_address_that_colab_could_not_open_is_refused(project, address):
    configure(project, address)
    with pytest.raises(ValueError, match="expected"):
        set_address.set_address(project)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="gone.html">x</a>', "gone.html does not exist"),
        ('<a href="#gone">x</a>', "#gone has no such anchor"),
        ('<a href="other.html#gone">x</a>', "other.html#gone has no such anchor"),
        ('<a href="../outside.html">x</a>', "../outside.html does not exist"),
        ('<script src="https://example.org/x.js"></script>', "loads https://example.org/x.js"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "loads //example.org/x.css"),
        ('<img src="picture.png">', "picture.png has no alt text"),
        ('<img src="picture.png" alt="picture.png">', "picture.png has no alt text"),
        ('<div class="output traceback">no</div>', "shows a failed cell"),
    ],
)
def test_a_planted_fault_in_a_page_is_found(tmp_path, body, problem):
    (tmp_path / "outside.html").write_text("<p>not part of the book</p>")
    html = tmp_path / "html"
    html.mkdir()
    assert pages.problems(html) == ["there is no index.html"]
    (html / "picture.png").write_bytes(b"")
    (html / "other.html").write_text('<h1 id="here">Other</h1>')
    good = (
        '<h1 id="top">A</h1><a href="#top">a</a><a href="other.html#here">b</a><a href="#">c</a>'
        '<a href="https://example.org">d</a><img src="picture.png" alt="a face">'
        '<link rel="canonical" href="https://example.org/"><a href="mailto:a@example.org">e</a>'
    )
    (html / "index.html").write_text(good)
    assert pages.problems(html) == []
    (html / "index.html").write_text(good + body)
    (found,) = pages.problems(html)
    assert problem in found


def test_chapters_that_run_innvestigate_install_it_on_colab():
    said = [
        path.stem
        for path in chapters.chapter_paths()
        if any('engine="innvestigate"' in c.source for c in chapters.read(path).cells)
    ]
    assert tuple(said) == set_address.INNVESTIGATE
    version = (chapters.ROOT / "requirements" / "innvestigate.txt").read_text().split()[0]
    assert version in set_address.INNVESTIGATE_PACKAGES["innvestigate"]
    assert set(set_address.INNVESTIGATE_PACKAGES) == {"innvestigate", "tf_keras"}
    assert version in innvestigate.INSTALL


def test_noting_what_a_chapter_uses_leaves_it_no_names_and_misses_nothing(folder):
    source = "print([n for n in dir() if not n.startswith('_')])\nimport xaifake.errors"
    chapters.write(notebook(("seed = 0", ["parameters"]), (source, [])), folder / "01_first.ipynb")
    copy = run_chapters.run_chapter(folder / "01_first.ipynb", {}, folder / "out")
    (printed,) = chapters.read(copy).cells[-1].outputs
    assert printed.text == "['In', 'Out', 'exit', 'get_ipython', 'open', 'quit', 'seed']\n"
    used = copy.with_suffix(".used").read_text().splitlines()
    library = chapters.ROOT / "xaifake"
    names = ("__init__.py", "__init__.pyi", "errors.py", "lazy.py")
    assert used == [str(library / name) for name in names]
