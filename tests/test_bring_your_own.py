"""The page about other detectors: its code runs, from top to bottom, as a reader would run it."""

import keras
import numpy as np
import pytest
from scipy.special import logit

import xaifake
from chapters import ROOT
from page_code import python_blocks, run
from small import LRP_OPTIONS, pictures
from xaifake import Detector

PAGE = ROOT / "book" / "bring_your_own.md"
BLOCKS = python_blocks(PAGE.read_text(encoding="utf-8"))
(MESONET,) = [block for block in BLOCKS if "def mesonet" in block]
FIRST_STAGES = {
    "Meso-4": "conv(8, 3), conv(8, 5)",
    "MesoInception-4": "inception(1, 4, 4, 2), inception(2, 4, 4, 2)",
}


def mesonet(name, library=keras, side=64):
    """The page's network as it stands there, of this Keras or of Keras 2."""
    names, definitions = {"keras": library}, MESONET.split("\n\n\nmeso = ")[0]
    exec(
        definitions.replace("negative_slope", "negative_slope" if library is keras else "alpha"),
        names,
    )
    return eval(f"mesonet({FIRST_STAGES[name]}, side={side})", names)


def weights_of_keras_2(name, path, side=64):
    """Write random weights as Keras 2 does, like the owners' file; returns its network."""
    keras_2 = pytest.importorskip("tf_keras", reason="comes with the extra innvestigate")
    model, rng = mesonet(name, keras_2, side), np.random.default_rng(1)
    for weight in model.weights:
        value = rng.normal(size=weight.shape) * np.sqrt(2 / np.prod(weight.shape[:-1]))
        weight.assign(1 + np.abs(value) if "variance" in weight.name else value)
    model.save_weights(path)
    return model


@pytest.mark.parametrize("name", FIRST_STAGES)
def test_a_published_detector_answers_as_in_keras_2_and_every_method_takes_it(name, tmp_path):
    theirs = weights_of_keras_2(name, tmp_path / "Meso.h5")
    model = mesonet(name)
    model.load_weights(tmp_path / "Meso.h5")
    images = pictures(2, 64)
    probability_of_real = theirs.predict(images / np.float32(255), verbose=0)[:, 0]
    detector = Detector.from_keras(model, (0, 1), fake=0, check=False)
    np.testing.assert_allclose(detector.logits(images), -logit(probability_of_real), rtol=1e-4)
    options = LRP_OPTIONS | {"lime": {"segmentation": "slic", "num_samples": 24}}
    for method in xaifake.methods():
        is_lrp = method.startswith("lrp")
        asked = options.get(method, {}) | ({"conservation": True} if is_lrp else {})
        found = xaifake.explain(detector, images, method, progress=False, **asked)
        assert np.isfinite(found).all() and np.abs(found).max() > 0, method
        if is_lrp:
            columns = found.columns
            spent = [columns[part] for part in ("sum", "bias", "stabiliser", "unassigned")]
            size = np.maximum(np.abs(columns["logit"]), columns["abs_sum"])
            assert np.all(np.abs(columns["logit"] - sum(spent)) < 1e-4 * size), method


def test_the_published_detectors_have_the_parameters_of_their_paper():
    trained = {"Meso-4": 27977, "MesoInception-4": 28615}
    for name, count in trained.items():
        model = mesonet(name, side=256)
        assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == count
    assert mesonet("Meso-4", side=256).count_params() == 28073 and "28,073" in PAGE.read_text()


@pytest.mark.book
def test_the_code_of_the_page_runs(tmp_path):
    weights_of_keras_2("Meso-4", tmp_path / "Meso4_DF.h5", side=256)
    blocks = BLOCKS
    assert len(blocks) >= 8
    done = run(blocks, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "answers 'fake' or 'real'" in done.stdout or "has 2 logits" in done.stdout


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        (
            "```python\na = 1\n```\ntext\n```bash\nls\n```\n```python\nb = 2\n```",
            ["a = 1", "b = 2"],
        ),
        ("no code", []),
    ],
)
def test_the_python_of_a_page_is_found(text, blocks):
    assert python_blocks(text) == blocks
