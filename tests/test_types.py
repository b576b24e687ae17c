"""The public functions say what they take and give, and say it as it is."""

import importlib
import inspect
import os
import subprocess
import sys

import pytest

from chapters import ROOT

ROOMS = (
    "xaifake",
    *(f"xaifake.{name}" for name in ("data", "detector", "explainers", "judge", "video")),
)
USER = """
from pathlib import Path

import xaifake
from xaifake.data import load_faces
from xaifake.detector import Detector, evaluate, train

faces = load_faces(None, "test", 2.0)
detector = Detector.from_keras("mine.keras", scale=2.0)
reveal_type(xaifake.explain(detector, faces.images, "lrp.epsilon"))
evaluate(detector, faces, seed=1)
{line}
"""


def public_functions():
    """Return the functions and the methods of classes that the rooms offer, by their names."""
    from xaifake.judge.maps import write_maps

    offered = [getattr(importlib.import_module(room), name)
               for room in ROOMS for name in importlib.import_module(room).__all__]  # fmt: skip
    found = {}
    for thing in (*offered, write_maps):
        members = vars(thing).values() if inspect.isclass(thing) else [thing]
        for member in members:
            function = inspect.unwrap(getattr(member, "__func__", member))
            if inspect.isfunction(function) and not function.__name__.startswith("_"):
                found[f"{function.__module__}.{function.__qualname__}"] = function
    return found


def test_all_parameters_and_results_have_types():
    functions = public_functions()
    assert len(functions) > 60
    for name, function in functions.items():
        signature = inspect.signature(function)
        untyped = [p.name for p in signature.parameters.values()
                   if p.annotation is p.empty and p.name not in ("self", "cls")]  # fmt: skip
        assert not untyped, f"{name}: {untyped}"
        assert signature.return_annotation is not signature.empty, name


def test_what_may_be_left_out_as_none_says_so():
    for name, function in public_functions().items():
        for parameter in inspect.signature(function).parameters.values():
            if parameter.default is None:
                assert "None" in str(parameter.annotation), f"{name}: {parameter}"


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """Return a function that runs mypy and returns its exit status and what it says."""
    cache = tmp_path_factory.mktemp("mypy")

    def run(*arguments, cwd=ROOT):
        environment = os.environ | {"MYPYPATH": str(ROOT)}  # an editable installation hides it
        command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml"]
        done = subprocess.run(
            [*command, "--cache-dir", cache, *arguments],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=environment,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_what_the_library_does_fits_its_types(check):
    status, said = check("xaifake")
    assert status == 0, said


def test_somebody_elses_code_is_checked_against_the_types(check, tmp_path):
    (tmp_path / "right.py").write_text(USER.format(line='train("faces", Path("out"), scale=1.3)'))
    (tmp_path / "wrong.py").write_text(USER.format(line='train("faces", Path("out"), scale="1")'))
    status, said = check("right.py", cwd=tmp_path)
    assert status == 0 and 'Revealed type is "xaifake.explainers.api.Relevance"' in said, said
    status, said = check("wrong.py", cwd=tmp_path)
    assert status == 1 and said.count("error:") == 1 and '"scale" to "train"' in said, said
