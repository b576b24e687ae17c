"""What is loaded with what: nobody waits for packages that the work in hand does not need."""

import importlib
import re
import subprocess
import sys
from types import ModuleType

import pytest

from chapters import ROOT
from page_code import python_blocks

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


CORE = """
import importlib.metadata as metadata, re, sys
from packaging.requirements import Requirement

def needed(names, known):
    for name in names:
        if name not in known:
            known.add(name)
            asked = map(Requirement, metadata.requires(name) or ())
            there = [r.name for r in asked if not r.marker or r.marker.evaluate({"extra": ""})]
            needed([n for n in there if _there(n)], known)
    return known

def _there(name):
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False

plain = [Requirement(r) for r in metadata.requires("xaifake")]
plain = [r.name for r in plain if not r.marker or r.marker.evaluate({"extra": ""})]
assert len(plain) == 5, plain
known = {re.sub("[-_.]+", "-", name).lower() for name in needed(plain, set())}
for module, owners in metadata.packages_distributions().items():
    if not {re.sub("[-_.]+", "-", o).lower() for o in owners} & known and module != "xaifake":
        sys.modules[module] = None

import keras, numpy as np
from xaifake import Detector, explain
layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation="relu")]
layers += [keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid")]
detector = Detector.from_keras(keras.Sequential(layers), check=False)
images = np.zeros((2, 8, 8, 3), np.uint8)
for method in ("gradient", "integrated_gradients", "guided_backprop", "grad_cam", "lrp.epsilon"):
    assert explain(detector, images, method).columns["logit"].shape == (2,)
some = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
exec(sys.argv[1])
assert relevance.shape == some.shape and np.abs(relevance).max() > 0
for wanted, extra in (("lime", "lime"), (None, "data")):
    try:
        explain(detector, images, "lime") if wanted else __import__("xaifake.data").data.load_faces
    except ModuleNotFoundError as error:
        print(error)
"""


def test_five_packages_explain_a_detector_and_for_the_rest_an_extra_is_named():
    page = (ROOT / "book" / "bring_your_own.md").read_text(encoding="utf-8")
    (six,) = [block for block in python_blocks(page) if "keras.applications" in block]
    *lines, shown = six.replace("xaifake.explain", "explain").splitlines()
    assert len(lines) == 6 and shown.startswith("print")  # as the page says
    command = [sys.executable, "-c", CORE, "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    told = done.stdout.splitlines()
    assert re.match("The method 'lime' needs .*, which is not installed: run", told[0])
    assert told[1].endswith('pip install "xaifake[data]"') or told[1].endswith('"xaifake[lime]"')
    assert told[2].startswith("xaifake.data.load_faces needs ") and '"xaifake[data]"' in told[3]


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
