"""The page "What the authors ran": its settings are those it names, its words fit its numbers."""

import inspect
import json

import cv2
import keras
import numpy as np
import pytest

import authors_page
import small
from xaifake.detector import Detector
from xaifake.judge.perturbations import stored_curves


@pytest.fixture(scope="module")
def numbers():
    return json.loads(authors_page.NUMBERS.read_text(encoding="utf-8"))


def test_a_detector_for_pictures_from_0_to_1_gives_the_same_logits():
    network = small.chain(  # Xception's first two layers before an end of their own
        keras.layers.Conv2D(5, 3, strides=2, use_bias=False, name="block1_conv1"),
        keras.layers.BatchNormalization(name="block1_conv1_bn"),
        keras.layers.Activation("relu"),
        keras.layers.Conv2D(3, 2),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(1),
    )
    detector = Detector(small.draw_weights(network, seed=2))
    pictures = small.pictures(4)
    before = detector.logits(pictures)
    page = authors_page.PAGE.read_text(encoding="utf-8")
    assert inspect.getsource(authors_page.from_zero_to_one) in page
    other = authors_page.from_zero_to_one(detector)
    assert other.value_range == (0, 1) and np.ptp(before) > 0
    np.testing.assert_allclose(other.logits(pictures), before, atol=1e-5 * np.abs(before).max())
    np.testing.assert_array_equal(detector.logits(pictures), before)
    mine, its = (one.model.get_layer("block1_conv1_bn") for one in (detector, other))
    its.moving_mean.assign(mine.moving_mean)  # the shift left out
    assert not np.allclose(other.logits(pictures), before, atol=1e-2 * np.abs(before).max())


def test_the_perturbations_are_the_notebooks():
    pictures = small.pictures(2, 12)
    found = authors_page.perturbed(pictures)
    np.testing.assert_array_equal(found[0], pictures)
    # The accident: what is meant to say what lies beyond the edge is read as the deviation.
    for picture, one in zip(pictures, found[1], strict=True):
        np.testing.assert_array_equal(one, cv2.GaussianBlur(picture, (5, 5), cv2.BORDER_DEFAULT))
        assert (one != cv2.GaussianBlur(picture, (5, 5), 0)).mean() > 0.5
    for times, one in zip((1, 2, 3), found[2:], strict=True):
        np.testing.assert_array_equal(one, np.rot90(pictures, times, (1, 2)))
    maps = found[..., 0].astype(float)
    back = authors_page.undone(maps)
    np.testing.assert_allclose(back[2:], np.broadcast_to(maps[0], back[2:].shape), atol=1e-9)
    np.testing.assert_array_equal(back[:2], maps[:2])


def test_the_blur_is_nearly_a_box_and_softens_as_a_gaussian_of_less_than_1_5_pixels():
    kernel = cv2.getGaussianKernel(5, authors_page.SmallBlur.strength).ravel()
    assert kernel.max() / kernel.min() < 1.2
    assert np.sqrt((kernel * np.arange(-2, 3) ** 2).sum()) == pytest.approx(1.4, abs=0.05)


def test_a_map_over_a_face_is_red_for_blue_against_and_pale_elsewhere():
    heatmap = np.array([[4.0, 0.0, -2.0]])
    red, none, blue = authors_page.over_face(np.full((1, 3, 3), 100, np.uint8), heatmap)[0]
    assert red[0] > 2 * red[2] and blue[2] > 2 * blue[0] and np.ptp(none.astype(int)) <= 2


def test_the_page_has_the_measured_numbers_and_changes_with_them(numbers):
    page = authors_page.PAGE.read_text(encoding="utf-8")
    assert all(text in page for text in authors_page.tables(numbers).values())
    assert authors_page.filled(page, numbers) == page
    for row in numbers["detection"]:
        row["auc"] += 0.1
    assert authors_page.filled(page, numbers) != page


def test_the_words_of_the_page_fit_its_numbers(numbers):
    rows = {(row["scale"], row["change"]): row for row in numbers["detection"]}
    turned = {name for name in authors_page.CHANGES if name.startswith("turned")}
    for (scale, change), row in rows.items():
        upright, blurred = rows[scale, "as it is"], rows[scale, "blur, 5 x 5"]
        assert row["auc"] < upright["auc"] or change not in turned
        assert upright["false_positive_rate"] < 0.2 and blurred["false_positive_rate"] > 0.5
        assert blurred["recall"] > 0.9
    for change in ("turned by 90°", "turned by 270°"):
        assert rows[2.0, change]["accuracy"] < rows[2.0, change]["always_fake"]
        assert rows[1.3, change]["false_positive_rate"] > 0.9
    gaussian = stored_curves().query("kind == 'blur' and strength == 1.5 and scale == 2.0")
    gaussian = gaussian.set_index("score").value
    assert gaussian["auc"] < rows[2.0, "blur, 5 x 5"]["auc"] - 0.05
    assert [logit > 0 for logit in numbers["face"]["shown"]] == [True, True, False, True, False]
    likeness = {row["change"]: row["xaifake"][0] for row in numbers["likeness"]}
    assert max(likeness[name] for name in turned) < likeness["another face"]
    assert likeness["another face"] < likeness["blur, 5 x 5"]
    by_rule = {row["rule"]: row for row in numbers["range"]}
    assert all(abs(by_rule[f"lrp.{name}"]["correlation"]) < 0.1 for name in ("z", "epsilon"))
    assert by_rule[authors_page.RULE]["correlation"] > 0.999
    assert min(by_rule["lrp.z_plus_fast"]["against"]) > 0.3
    assert max(by_rule["lrp.alpha_1_beta_0"]["against"]) < 1e-6


def test_every_picture_is_on_the_page_with_words_for_it():
    page = authors_page.PAGE.read_text(encoding="utf-8")
    for path in sorted(authors_page.PICTURES.glob("*.jpg")):
        figure = page.split(f"```{{figure}} images/authors/{path.name}\n")[1].split("```")[0]
        assert "alt: >-\n" in figure and "manipulated research illustration" in figure
