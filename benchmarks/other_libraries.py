"""What the calls of other libraries give that the page book/coming_from.md shows beside ours.

    python benchmarks/other_libraries.py iNNvestigate | tf-explain | tf-keras-vis | captum

Runs in an environment that has the library, in the version that the page names, and none of this
project's packages but Keras or torch. Evaluates the first column of the library's table, and prints
shape, type and range of what comes back, its sum for each picture, and the score explained.
"""

import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[1] / "book" / "coming_from.md"
IMPORTS = {
    "iNNvestigate": """
import tf_keras as keras, tensorflow as tf
tf.compat.v1.disable_eager_execution()
from innvestigate import create_analyzer, model_wo_softmax
""",
    "tf-explain": """
from tf_explain.core.grad_cam import GradCAM
from tf_explain.core.gradients_inputs import GradientsInputs
from tf_explain.core.integrated_gradients import IntegratedGradients
from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity
from tf_explain.core.vanilla_gradients import VanillaGradients
""",
    "tf-keras-vis": """
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
from tf_keras_vis.utils.scores import CategoricalScore
""",
    "captum": "from captum.attr import *",
}
TORCH = """
import collections, torch
from torch import nn

torch.manual_seed(0)
x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 32)).astype("float32"))
squares = (torch.arange(32)[:, None] // 8 * 4 + torch.arange(32) // 8)[None, None]


class Network(nn.Module):
    def __init__(self, *end):
        super().__init__()
        self.first, self.last, self.end = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.ModuleList(end)
        self.relus, self.pool = nn.ModuleList([nn.ReLU(), nn.ReLU()]), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        x = self.relus[1](self.last(self.relus[0](self.first(x))))
        x = self.pool(x).flatten(1)
        for layer in self.end:
            x = layer(x)
        return x


class Shortcut(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.relu, self.dense = nn.ReLU(), nn.Linear(3 * 32 * 32, 1, bias=False)

    def forward(self, x):
        return self.dense((x + self.relu(self.conv(x))).flatten(1))


logits, shortcut = Network(nn.Linear(8, 2)).eval(), Shortcut().eval()
plain = Network(logits.end[0], nn.Softmax(1)).eval()
for name in ("first", "last"):
    getattr(plain, name).load_state_dict(getattr(logits, name).state_dict())
"""


def names(library, text):
    """Return the names that the calls of a library use."""
    made = {"np": np}
    exec(IMPORTS[library], made)
    if library == "captum":
        exec(TORCH, made)
        return made
    block = re.search(r"```python\n(import keras.*?)```", text, re.DOTALL)[1]
    block = block.replace("from xaifake import explain", "")
    if library == "iNNvestigate":
        block = block.replace("import keras", "")
    exec(block, made)
    if library == "iNNvestigate":
        made |= {"logits": made["model_wo_softmax"](made["plain"])}
        made |= {"transfer_logits": made["model_wo_softmax"](made["transfer"])}
    return made


def told(call, made):
    """Return in a line what a call gives."""
    try:
        found = eval(call, made)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    found = np.asarray(getattr(found, "detach", lambda: found)())
    line = f"{found.dtype} {found.shape} {found.min():.3g} to {found.max():.3g}"
    if len(found) > 2:
        return line  # one picture of both
    return f"{line}, sums {found.reshape(2, -1).sum(axis=1)}"


def main(library):
    """Print a line for each call, and what the networks answer."""
    os.environ |= {"TF_USE_LEGACY_KERAS": "1"} if library == "iNNvestigate" else {}
    warnings.simplefilter("ignore")
    text = PAGE.read_text(encoding="utf-8")
    made = names(library, text)
    section = text.split(f"## {library}\n")[1].split("\n## ")[0]
    for call in re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE):
        print(f"{call}\n    {told(call, made)}")
    for name in ("plain", "logits", "sigmoid", "shortcut"):
        if name in made:
            ask = f"{name}(x)" if library == "captum" else f"{name}.predict(x, verbose=0)"
            print(name, *eval(ask, made))


if __name__ == "__main__":
    main(sys.argv[1])
