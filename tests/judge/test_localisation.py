"""Regions partition a picture, lie where the landmarks are, and shares are what a hand adds up."""

import numpy as np
import pytest

from xaifake.data import load_faces
from xaifake.judge.localisation import REGIONS, region_masks, relevance_mass_accuracy


@pytest.fixture(scope="module", params=[1.3, 2.0])
def faces(request):
    return load_faces(scale=request.param)[::16]


def test_each_pixel_lies_in_one_region(faces):
    masks = region_masks(faces)
    assert tuple(masks) == REGIONS
    assert (sum(mask.astype(int) for mask in masks.values()) == 1).all()
    assert all(mask.any(axis=(1, 2)).all() for mask in masks.values())


def test_the_landmarks_of_a_region_lie_in_it(faces):
    masks = region_masks(faces)
    size = faces.images.shape[1]
    for number, row in faces.table.iterrows():
        points = np.reshape(row.landmarks, (68, 2))
        x, y = ((points - [row.left, row.top]) * size / row.side).astype(int).T
        # dlib's points: 30 the tip of the nose, 36 to 47 the eyes, 62 and 66 between the lips
        for region, chosen in {"nose": [30], "eyes": range(36, 48), "mouth": [62, 66]}.items():
            assert masks[region][number, y[chosen], x[chosen]].all(), region
        assert masks["outside"][number, 0, 0]


def test_a_swap_of_a_region_lies_in_the_region():
    faces = load_faces(scale=1.3)
    for region in ("eyes", "nose", "mouth"):
        swapped = faces[(faces.table.region == region).to_numpy()]
        inside = region_masks(swapped)[region]
        # The mask of the swap is softened and moves with the frames; most of the region is in it.
        assert np.median((swapped.masks & inside).sum((1, 2)) / inside.sum((1, 2))) > 0.9


def test_the_mass_in_a_mask_is_the_share_of_the_positive_relevance():
    heatmap = np.array([[[3.0, -5.0], [1.0, 0.0]]])
    mask = np.array([[[True, True], [False, False]]])
    assert relevance_mass_accuracy(heatmap, mask) == 0.75
    assert relevance_mass_accuracy(7 * heatmap, mask) == 0.75
    assert relevance_mass_accuracy(np.ones((1, 2, 2)), mask) == 0.5
    assert relevance_mass_accuracy(mask.astype(float), mask) == 1
    assert np.isnan(relevance_mass_accuracy(-np.ones((1, 2, 2)), mask)).all()
