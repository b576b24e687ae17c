"""Detectors whose evidence is known in closed form: the experiment finds it, and scores by it."""

from itertools import combinations

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.ndimage import gaussian_filter1d
from scipy.stats import rankdata

from xaifake.data import load_faces
from xaifake.data.dataset import Faces
from xaifake.detector import load_detector, predict_logits, sample_found_fakes
from xaifake.errors import UserError
from xaifake.judge import faithfulness
from xaifake.judge.faithfulness import (
    FILLS,
    CausalMaps,
    best_order,
    causal_maps,
    cell_numbers,
    cell_sums,
    deletion,
    fill,
    insertion,
    order_cells,
    put_back,
    region_effects,
    score_against_cause,
)
from xaifake.judge.localisation import REGIONS, region_masks

SIZE, SIDE, CELLS = 32, 8, 16  # a picture of 4 x 4 cells of 8 x 8 pixels


def linear_detector(size=SIZE, seed=0):
    """Return a detector that adds up weighted pixels, and the weights (size, size, 3)."""
    weights = np.random.default_rng(seed).normal(0, 0.1, (size, size, 3)).astype(np.float32)
    inputs = keras.Input((size, size, 3))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(inputs)))
    model.set_weights([weights.reshape(-1, 1), np.array([0.3])])
    return model, weights.astype(float)


def noise_faces(count=3, size=SIZE, seed=0):
    """Return fakes of noise whose masks differ; they are their twins outside, as they should be."""
    rng = np.random.default_rng(seed)
    twins, swapped = rng.integers(0, 256, (2, count, size, size, 3), dtype=np.uint8)
    masks = np.zeros((count, size, size), dtype=bool)
    for n in range(count):
        masks[n, 5 : 17 + 4 * n, 9 - n : 27] = True
    images = np.where(masks[..., None], swapped, twins)
    table = pd.DataFrame({"target": [f"{n:03d}" for n in range(count)]})
    return Faces(images, np.ones(count, dtype=np.int64), masks, twins, table, 1.3)


def whiteness_detector(combine):
    """Return a detector whose logit is made of how white, 0 to 1, each of the 16 cells is."""
    inputs = keras.Input((SIZE, SIZE, 3))
    white = keras.layers.AveragePooling2D(SIDE)(inputs)[..., 0]
    return keras.Model(inputs, combine(ops.reshape(white, (-1, CELLS)) / 2 + 0.5))


def one(white, number):
    return white[:, number : number + 1]


def black_and_white(*numbers):
    """Return one fake with white cells, whose twin is black."""
    mask = np.isin(cell_numbers(SIZE, SIZE, SIDE), numbers)[None]
    image = np.where(mask[..., None], 255, 0).repeat(3, axis=-1).astype(np.uint8)
    table = pd.DataFrame({"target": ["000"]})
    return Faces(image, np.array([1]), mask, np.zeros_like(image), table, 1.3)


def squares(size, cell):
    """List the cells as slices, row by row."""
    starts = range(0, size, cell)
    return [(slice(y, y + cell), slice(x, x + cell)) for y in starts for x in starts]


def random_orders(count, seed=0):
    return np.random.default_rng(seed).permuted(np.tile(np.arange(CELLS), (count, 1)), axis=1)


@pytest.mark.parametrize("cell", [4, 8, 16])
def test_of_a_linear_detector_a_cell_removes_what_it_gives_and_that_is_its_difference(cell):
    (model, weights), faces = linear_detector(), noise_faces()
    maps = causal_maps(model, faces, cell, progress=False)
    terms = weights * (faces.images.astype(float) - faces.twins) / 127.5
    for n, (rows, columns) in np.ndindex(3, len(squares(SIZE, cell))), ():
        pass
    expected = np.array([[t[r, c].sum() for r, c in squares(SIZE, cell)] for t in terms])
    expected = expected.reshape(3, SIZE // cell, SIZE // cell)
    for found in (maps.removed, maps.given, maps.effect):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(maps.effect.sum((1, 2)), maps.fake - maps.twin, atol=1e-3)
    np.testing.assert_allclose(maps.fake - maps.twin, terms.sum((1, 2, 3)), atol=1e-4)
