"""What is loaded with what: nobody waits for packages that the work in hand does not need."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

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
    "from xaifake import explain; from xaifake.detector import load_detector": (
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
