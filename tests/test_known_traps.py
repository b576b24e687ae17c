"""What other libraries do silently (`findings/`) does not happen here, and the page says so."""

import importlib.util
import json
import re
from pathlib import Path

import distributed
import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest

import xaifake
from small import METHODS, SIZE, detector, draw_weights, floats, logits, run_explain
from xaifake.data.faces import FaceFinder
from xaifake.data.portraits import load_portrait
from xaifake.data.workers import run_tasks
from xaifake.errors import UserError
from xaifake.heatmaps import colour_limit
from xaifake.show import maps

ROOT = Path(__file__).parents[1]
FINDINGS = ROOT / "findings"
SCRIPTS = sorted(FINDINGS.glob("*_*.sh"))
layers = keras.layers


@pytest.fixture(scope="module")
def run_all():
    spec = importlib.util.spec_from_file_location("run_all", FINDINGS / "run_all.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_says_all_that_the_page_needs_and_names_a_test_that_exists(script, run_all):
    said = run_all.header(script)
    assert said["Harms"] in run_all.HARMS and ("Expected" in said) != ("Guess" in said)
    assert {"title", "Call", "Effect", "Instead", "xaifake"} <= set(said)
    drawn = (run_all.PICTURES / f"{script.stem}.png").exists()
    assert ("Picture" in said) == ("Caption" in said) == drawn
    file, test = re.search(r"(tests/\S+\.py)::(\w+)$", said["xaifake"]).groups()
    assert f"def {test}(" in (ROOT / file).read_text("utf-8")


def test_the_page_has_what_the_scripts_printed(run_all):
    runs = json.loads(run_all.RUNS.read_text("utf-8"))
    assert set(runs) == {script.stem for script in SCRIPTS}
    assert run_all.PAGE.read_text("utf-8") == run_all.page(SCRIPTS, runs)


def networks():
    """Return one network with layers that act in training alone, and one without, alike else."""
    pair = []
    for augmented in (True, False):
        given = x = keras.Input((SIZE, SIZE, 3))
        if augmented:
            for layer in (
                layers.RandomTranslation(0.5, 0.5), layers.RandomBrightness(0.9, (-1, 1)),
                layers.GaussianNoise(1.0),
            ):  # fmt: skip
                x = layer(x)
        x = layers.Conv2D(4, 3, activation="relu", padding="same")(x)
        x = layers.Dropout(0.9)(x) if augmented else x
        x = layers.BatchNormalization()(x)
        answer = layers.Dense(1)(layers.GlobalAveragePooling2D()(x))
        pair.append(draw_weights_of_layers(keras.Model(given, answer)))
    return pair


def draw_weights_of_layers(model):
    """Draw the weights of the layers that have some; a seed generator's state is none."""
    for layer in model.layers:
        if layer.trainable_weights:
            draw_weights(layer)
    return model


@pytest.mark.parametrize("method", [*METHODS, "lime"])
def test_layers_that_augment_do_nothing_in_an_explanation(method):
    augmented, plain = networks()
    images = floats(2)
    assert np.array_equal(logits(augmented, images), logits(plain, images))
    assert not np.allclose(augmented(images), plain(images))  # Keras' own call augments
    expected = run_explain(plain, images, method)
    try:
        found = run_explain(augmented, images, method)
    except UserError as refused:
        assert "RandomTranslation" in str(refused) and method.startswith("lrp")
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", [*METHODS, "lime"])
def test_pictures_are_not_overwritten(method):
    images, model = floats(2), detector()
    images.setflags(write=False)
    given = images.copy()
    for ask in (xaifake.explain, lambda *asked: logits(*asked[:2])):
        ask(model, images, method)
        assert np.array_equal(images, given)
    xaifake.detector.preprocess(given)
    assert np.array_equal(images, given)


def test_a_constant_grad_cam_keeps_its_value():
    given = keras.Input((SIZE, SIZE, 3))
    maps_ = layers.Conv2D(4, 1, kernel_initializer="ones", name="maps")(given)
    answer = layers.Dense(1, kernel_initializer="ones")(layers.GlobalAveragePooling2D()(maps_))
    found = run_explain(
        keras.Model(given, answer), np.ones((1, SIZE, SIZE, 3), "float32"), "grad_cam"
    )
    # Four channels of 3, each with the slope 1/64 of a mean over 64 places.
    np.testing.assert_allclose(found.sum(-1), 4 * 3 / SIZE**2, rtol=1e-6)


def test_a_map_of_zeros_is_drawn_white():
    zeros = np.zeros((1, SIZE, SIZE))
    figure = maps.show_grid({"map": zeros})
    image = figure.axes[0].images[0]
    drawn = image.cmap(image.norm(image.get_array()))[..., :3]
    plt.close(figure)
    assert drawn.min() > 0.95
    assert colour_limit(zeros) == 1  # by which the report and the overlay draw


def test_a_noisy_map_keeps_its_colours_in_a_small_figure():
    """Matplotlib averages colours where it makes a picture smaller: red and blue make violet."""
    noise, colours = np.random.default_rng(0).normal(size=(1, 128, 128)), []
    for pixels in (400, 40):
        figure = maps.show_grid({"map": noise})
        axis = figure.axes[0]
        figure.set_dpi(pixels / axis.get_window_extent().width * figure.dpi)
        figure.canvas.draw()
        left, top, right, bottom = axis.get_window_extent().extents.astype(int)
        drawn = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3]
        inside = drawn[top + 2 : bottom - 2, left + 2 : right - 2]
        colours.append(np.ptp(inside, axis=-1).mean())
        plt.close(figure)
    assert colours[1] == pytest.approx(colours[0], rel=0.05)


def test_a_view_has_the_faces_of_its_copy():
    finder, picture = FaceFinder(), load_portrait("001").images[0]
    for view in (picture[::2, ::2], picture[::2, ::2, ::-1]):
        boxes = [face.box for face in finder.find(view)]
        assert boxes and boxes == [face.box for face in finder.find(view.copy())]


def random_number(job, settings):
    return float(np.random.default_rng().random())


def test_equal_jobs_are_all_done():
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        jobs = [{"video": "a", "path": str(Path(__file__))}] * 3
        done = run_tasks(random_number, jobs, {}, scheduler=cluster.scheduler_address, say=str)
        assert len({result for _, result in done}) == 3


def test_weights_that_are_stored_again_are_the_same_bytes(tmp_path):
    stamp = {"settings": json.dumps({"seed": 1, "scale": 2.0})}  # one entry, as training writes
    model, stored = detector(), set()
    for _ in range(10):
        xaifake.detector.save_weights(model, tmp_path / "x.safetensors", stamp)
        stored.add((tmp_path / "x.safetensors").read_bytes())
    assert len(stored) == 1


def test_no_chapter_glues():
    assert not [
        path for path in ROOT.glob("notebooks/*.ipynb") if "glue(" in path.read_text("utf-8")
    ]
