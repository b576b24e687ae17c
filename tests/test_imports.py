"""What is loaded with what: nobody waits for packages that the work in hand does not need."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib import metadata
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import xaifake
from chapters import ROOT
from page_code import python_blocks
from xaifake.errors import told_what_to_install

VIDEO = ("av", "dlib", "cv2")
PLOTS = ("matplotlib", "seaborn")
LEARNING = ("lime", "skimage", "sklearn")
NETWORK = ("tensorflow", "keras", "tf_keras", "jax")
EVERYTHING = (*VIDEO, *PLOTS, *LEARNING, *NETWORK, "pandas", "scipy", "pyarrow")
# TensorFlow and Keras take seconds to load, so that what needs them shares a process.
WITHOUT = {
    "import xaifake": (*EVERYTHING, "numpy"),
    "import xaifake.data, xaifake.detector, xaifake.explainers, xaifake.judge": EVERYTHING,
    "from xaifake.explainers import lrp; from xaifake.explainers.lrp import AlphaBeta; "
    "from xaifake import Detector, explain": (
        *(*VIDEO, *PLOTS, *LEARNING, "pandas", "pyarrow", "tf_keras"),
    ),
    "from xaifake.judge import localise, relevance_mass_accuracy, relevance_rank_accuracy, "
    "pointing_game, mask_auc": (*VIDEO, *PLOTS, *LEARNING, *NETWORK),
}
ROOMS = ("xaifake", "xaifake.data", "xaifake.detector", "xaifake.explainers", "xaifake.judge")


@pytest.mark.parametrize("statements", WITHOUT)
def test_it_loads_without_the_packages_of_other_work(statements):
    # With None in `sys.modules` a package is as good as not installed. Whether it is loaded in the
    # end would say nothing of this library: Keras loads pandas, OpenCV and more where they are.
    code = f"import sys; sys.modules |= dict.fromkeys({WITHOUT[statements]}); {statements}"
    code += f"; print([name for name in {WITHOUT[statements]} if sys.modules[name] is not None])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# What each extra is for, beside what those before it are for; dlib and OpenCV come by "local".
ROOMS_OF = {
    ("data",): ("cli", "data", "detector", "explainers"),
    ("data", "lime"): ("judge",),
    ("video",): ("video",),
    ("chapters",): ("show", "exercises"),
}
CORE = (
    "detector.detector", "explainers.api", "explainers.lrp", "runs", "errors", "heatmaps", "lazy",
    "progress", "scales",
)  # fmt: skip


def absent(*extras):
    """Return the modules on this machine that the library does not bring with these extras."""
    known, waiting = {"xaifake"}, list(PROJECT["dependencies"])
    waiting += [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    while waiting:
        asked = Requirement(waiting.pop())
        name = canonicalize_name(asked.name)
        if name == "xaifake":
            waiting += [r for e in asked.extras for r in PROJECT["optional-dependencies"][e]]
        elif name not in known and (not asked.marker or asked.marker.evaluate({"extra": ""})):
            known.add(name)
            with suppress(metadata.PackageNotFoundError):
                waiting += metadata.requires(name) or ()
    owned = metadata.packages_distributions().items()
    return [m for m, owners in owned if not known & {canonicalize_name(o) for o in owners}]


def run(code, stages, *arguments):
    command = [sys.executable, "-c", WITHOUT_THEM + code, json.dumps(stages), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


WITHOUT_THEM = """
import importlib, json, sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in cls.absent else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
stages = json.loads(sys.argv[1])
"""
IMPORTS = """
for Finder.absent, names in stages:
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            print(name, "needs", error.name)
"""


def test_what_an_extra_is_for_imports_with_what_the_extra_brings():
    modules = [m.name for m in pkgutil.walk_packages(xaifake.__path__, "xaifake.")]
    stages = [(absent(), [f"xaifake.{name}" for name in CORE])]
    for extras, rooms in ROOMS_OF.items():
        own = [name for name in modules if name.split(".")[1] in rooms]
        stages.append((absent(*extras, "local"), own))
    assert set(modules) <= {name for _, names in stages for name in names}
    assert run(IMPORTS, stages) == []


EXPLAINS = """
Finder.absent = stages[0]

import keras, numpy as np
from xaifake import Detector, explain
layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation="relu")]
layers += [keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid")]
detector = Detector.from_keras(keras.Sequential(layers), check=False)
images = np.zeros((2, 8, 8, 3), np.uint8)
for method in ("gradient", "integrated_gradients", "guided_backprop", "grad_cam", "lrp.epsilon"):
    assert explain(detector, images, method).columns["logit"].shape == (2,)
some = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
exec(sys.argv[2])
assert relevance.shape == some.shape and np.abs(relevance).max() > 0
for wanted, extra in (("lime", "lime"), (None, "data")):
    try:
        explain(detector, images, "lime") if wanted else __import__("xaifake.data").data.load_faces
    except ModuleNotFoundError as error:
        print(error)
Finder.absent = stages[1]
print(explain(detector, images, "lime", num_samples=20).shape)
"""


def test_five_packages_explain_a_detector_and_for_the_rest_an_extra_is_named():
    page = (ROOT / "book" / "bring_your_own.md").read_text(encoding="utf-8")
    (six,) = [block for block in python_blocks(page) if "keras.applications" in block]
    *lines, shown = six.replace("xaifake.explain", "explain").splitlines()
    assert len(lines) == 6 and shown.startswith("print")  # as the page says
    assert len(PROJECT["dependencies"]) == 5
    told = run(EXPLAINS, [absent(), absent("lime")], "\n".join(lines))
    assert re.match("The method 'lime' needs .*, which is not installed: run", told[0])
    assert told[1].endswith('pip install "xaifake[data]"') or told[1].endswith('"xaifake[lime]"')
    assert told[2].startswith("xaifake.data.load_faces needs ") and '"xaifake[data]"' in told[3]
    assert told[4] == "(2, 8, 8, 3)"


@pytest.mark.parametrize("name", [*VIDEO, *PLOTS, *LEARNING, "pandas", "jinja2", "distributed"])
def test_the_extra_that_is_named_brings_the_package(name):
    with pytest.raises(ModuleNotFoundError) as told, told_what_to_install("This"):
        raise ModuleNotFoundError(name=name)
    (extra,) = re.findall(r"xaifake\[(\w+)\]", str(told.value))
    assert name not in absent(extra)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_the_names_that_it_lists(room):
    package = importlib.import_module(room)
    assert package.__all__ and set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match=f"'{room}' has no attribute 'no_such_name'"):
        package.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", ["xaifake.explainers.activations", "xaifake.judge.stability"])
def test_a_function_is_not_hidden_by_its_module_of_the_same_name(name):
    module = importlib.import_module(name)
    package, _, last = name.rpartition(".")
    assert isinstance(module, ModuleType)
    assert getattr(sys.modules[package], last) is getattr(module, last)
