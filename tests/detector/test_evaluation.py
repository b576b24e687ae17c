from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from xaifake.data.dataset import Faces
from xaifake.detector import Detector, evaluation
from xaifake.detector.evaluation import (
    case_file,
    control_region,
    evaluate,
    evaluate_logits,
    false_positives_when_blurred,
    paired_test,
    recall_by,
    reliability_table,
    sample_true_positives,
    score,
    top_true_positives,
)
from xaifake.detector.intervals import interval_over_people
from xaifake.errors import UserError

SIZE = 16


def scored(labels, probabilities, weights=None):
    labels, probabilities = np.array(labels), np.array(probabilities, dtype=float)
    return score(labels, probabilities, np.ones(len(labels)) if weights is None else weights)


def table_of(people, labels, frames=1):
    """Return a table with one video a person and label, and its number of frames."""
    rows = pd.DataFrame({"target": people, "label": labels})
    rows["video"] = rows.target + "__" + rows.label.astype(str)
    return rows.loc[rows.index.repeat(frames)].reset_index(drop=True)


def test_scores_of_four_faces_by_hand():
    scores = scored([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9])
    assert scores == {
        "accuracy": 0.5,
        "accuracy_always_fake": 0.5,
        "auc": 0.75,  # 3 of the 4 pairs of a fake and a real face are in order
        "equal_error_rate": 0.5,
        "brier": pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4),
        "ece": pytest.approx((0.1 + 0.6 + 0.6 + 0.1) / 4),
    }
    assert tuple(scores) == evaluation.SCORES


def test_a_perfect_and_a_constant_detector():
    perfect = scored([0, 1, 1], [0, 1, 1])
    assert perfect["accuracy"] == perfect["auc"] == 1
    assert perfect["equal_error_rate"] == perfect["brier"] == perfect["ece"] == 0
    assert perfect["accuracy_always_fake"] == pytest.approx(2 / 3)
    constant = scored([0, 1, 1, 1], [0.75] * 4)
    assert constant["accuracy"] == constant["accuracy_always_fake"] == 0.75
    assert constant["auc"] == constant["equal_error_rate"] == 0.5
    assert constant["ece"] == 0


def test_the_equal_error_rate_lies_between_the_points_of_the_curve():
    # One of 2 real faces, then 2 of 3 fakes from the top: the ROC curve has the corners (0, 1/3),
    # (1/2, 1/3), (1/2, 1), and meets the diagonal from (0, 1) to (1, 0) at (1/2, 1/2).
    scores = scored([1, 0, 1, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.1])
    assert scores["equal_error_rate"] == pytest.approx(1 / 2)
    # Ties make a slope: from (0, 1/3) to (1/2, 1), which meets it at 2/7.
    scores = scored([1, 0, 1, 1, 0], [0.9, 0.7, 0.7, 0.7, 0.1])
    assert scores["equal_error_rate"] == pytest.approx(2 / 7)


def test_one_class_alone_has_no_ranking():
    scores = scored([1, 1], [0.2, 0.9])
    assert np.isnan(scores["auc"]) and np.isnan(scores["equal_error_rate"])
    assert scores["accuracy"] == 0.5


rows = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 3)), min_size=2, max_size=40
)


@given(rows)
@settings(max_examples=60, deadline=None)
def test_weights_are_repetitions_and_auc_counts_pairs(rows):
    labels, probabilities, times = np.transpose([(int(y), p / 20, w) for y, p, w in rows])
    labels = np.repeat(labels, times.astype(int)).astype(int)
    repeated = np.repeat(probabilities, times.astype(int))
    real, fake = repeated[labels == 0], repeated[labels == 1]
    if not len(real) or not len(fake):
        return
    weighted = scored([int(y) for y, _, _ in rows], probabilities, times)
    plain = scored(labels, repeated)
    assert weighted == pytest.approx(plain, abs=1e-9)
    assert plain["auc"] == pytest.approx(roc_auc_score(labels, repeated))
    order = fake[:, None] - real
    assert plain["auc"] == pytest.approx(np.mean((order > 0) + (order == 0) / 2))


def test_reliability_of_a_detector_that_is_too_sure():
    labels, probabilities = [1] * 6 + [0] * 4 + [0], [0.95] * 10 + [1.0]
    table = reliability_table(labels, probabilities)
    assert table.to_dict("records") == [
        {
            "low": 0.9,
            "high": 1.0,
            "n": 11,
            "mean_probability": pytest.approx(10.5 / 11),
            "share_fake": pytest.approx(6 / 11),
        }
    ]
    assert scored(labels, probabilities)["ece"] == pytest.approx(4.5 / 11)
    assert reliability_table([0, 1], [0.1, 0.9], bins=2).n.tolist() == [1, 1]


def test_intervals_are_those_of_a_mean_over_people():
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)

    def mean(weights):
        return [np.average(values, weights=weights)]

    low, high = interval_over_people(mean, np.arange(400), seed=1, resamples=4000)[:, 0]
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_more_frames_of_the_same_people_do_not_narrow_an_interval():
    people = [f"{i:03d}" for i in range(30)]
    labels = np.random.default_rng(0).integers(0, 2, 30)
    answers = np.random.default_rng(1).normal(labels, 1)
    one = evaluate_logits(table_of(people, labels), answers, seed=3, resamples=200)
    ten = evaluate_logits(table_of(people, labels, 10), answers.repeat(10), seed=3, resamples=200)
    pd.testing.assert_frame_equal(one.scores, ten.scores)
    assert one.confusion.n.tolist() == [30, 30] and ten.confusion.n.tolist() == [300, 30]
    again = evaluate_logits(table_of(people, labels), answers, seed=3, resamples=200)
    pd.testing.assert_frame_equal(one.scores, again.scores)
    other = evaluate_logits(table_of(people, labels), answers, seed=4, resamples=200)
    assert not one.scores.low.equals(other.scores.low)
    assert (one.scores.low <= one.scores.value).all() and (
        one.scores.high >= one.scores.value
    ).all()


def test_a_video_has_the_mean_probability_of_its_frames():
    table = table_of(["001", "001", "002"], [0, 1, 1], frames=2)
    table["frame"], table["region"] = [0, 1] * 3, ["none", "none", "eyes", "eyes", None, None]
    probabilities = np.array([0.2, 0.7, 0.9, 0.3, 0.1, 0.2])
    result = evaluate_logits(table, logit(probabilities), resamples=10)
    videos = result.videos.set_index("video")
    assert videos.probability.to_dict() == pytest.approx(
        {"001__0": 0.45, "001__1": 0.6, "002__1": 0.15}
    )
    assert videos.frames.tolist() == [2, 2, 2]
    assert videos.region.tolist()[:2] == ["none", "eyes"] and "frame" not in videos
    assert result.frames.probability.to_numpy() == pytest.approx(probabilities)
    frame, video = result.confusion.to_dict("records")
    counts = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    assert [frame[name] for name in counts] == [1, 1, 3, 1]
    assert [video[name] for name in counts] == [1, 0, 1, 1]
    assert frame["people"] == 2
    values = result.scores.set_index(["level", "score"]).value
    assert values["frame", "accuracy"] == pytest.approx(2 / 6)
    assert values["video", "accuracy"] == pytest.approx(2 / 3)
    assert values["video", "accuracy_always_fake"] == pytest.approx(2 / 3)


def test_people_of_one_class_only_give_no_warning_and_no_auc():
    result = evaluate_logits(table_of(["001", "002"], [1, 1]), [1.0, -1.0], resamples=20)
    row = result.scores.set_index(["level", "score"]).loc[("frame", "auc")]
    assert row.isna().all()


def test_recall_by_kind_and_by_bins():
    table = table_of([f"{i:03d}" for i in range(6)], [0, 1, 1, 1, 1, 1], frames=2)
    table["kind"] = np.repeat(["real", "whole", "whole", "whole", "regional", "regional"], 2)
    table["degraded_px"] = np.repeat([np.nan, 0, 30, 40, 40, 60], 2)
    answers = np.array([-1, -1, 1, 1, 3, -1, -1, -1, 1, 1, -1, -1])
    result = evaluate_logits(table, answers, resamples=10)
    by_kind = recall_by(result, "kind").set_index("kind")
    assert by_kind.index.tolist() == ["regional", "whole"]
    assert by_kind.loc["whole"].to_dict() == pytest.approx(
        {"people": 3, "videos": 3, "frames": 6, "recall_frames": 0.5, "recall_videos": 2 / 3}
    )
    by_bin = recall_by(result, "degraded_px", [0, 1, 40, 64])
    assert by_bin.videos.tolist() == [1, 1, 3]
    assert by_bin.recall_frames.tolist() == pytest.approx([1, 0.5, 1 / 3])
    with pytest.raises(UserError, match="no column 'colour'.*kind"):
        recall_by(result, "colour")


def linear_detector(weights):
    """A detector that weighs pixels, given as (H, W) for all three channels alike."""
    inputs = keras.Input((*weights.shape, 3))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(inputs)))
    model.set_weights([weights.repeat(3).reshape(-1, 1), np.zeros(1)])
    return Detector(model)


def faces_with_originals(count=6):
    """Fakes with a square in the middle raised, their originals, and one real face for each."""
    rng = np.random.default_rng(0)
    originals = rng.integers(0, 128, (count, SIZE, SIZE, 3), dtype=np.uint8)
    masks = np.zeros((count, SIZE, SIZE), dtype=bool)
    masks[:, 4:10, 4:10] = True
    fakes = np.where(masks[..., None], originals + 100, originals).astype(np.uint8)
    people = [f"{i:03d}" for i in range(count)]
    table = table_of(people * 2, [1] * count + [0] * count)
    return Faces(
        images=np.concatenate([fakes, originals]),
        labels=table.label.to_numpy(),
        masks=np.concatenate([masks, np.zeros_like(masks)]),
        originals=np.concatenate([originals, originals]),
        table=table,
        scale=1.3,
    )


def test_the_paired_test_finds_evidence_where_it_was_planted():
    faces = faces_with_originals()
    detector = linear_detector(faces.masks[0] / 100)
    result = paired_test(detector, faces, resamples=50)
    scores = result.scores.set_index("score")
    assert scores.value.to_dict() == pytest.approx(
        {"fake_above_original": 1, "gap_closed_inside": 1, "gap_closed_control": 0}, abs=1e-5
    )
    assert np.allclose(scores.low, scores.value) and np.allclose(scores.high, scores.value)
    assert len(result.pairs) == 6 and result.pairs.video.str.endswith("__1").all()
    assert np.allclose(
        result.pairs.fake - result.pairs.original, 36 * 3 * 100 / 127.5 / 100, atol=1e-4
    )


def test_the_paired_test_exposes_a_detector_that_looks_beside_the_mask():
    faces = faces_with_originals()
    faces.images[:6, 12:] += 100  # a trace outside the mask, the only one it looks at
    beside = np.zeros((SIZE, SIZE))
    beside[12:] = 0.01
    values = (
        paired_test(linear_detector(beside), faces, resamples=5).scores.set_index("score").value
    )
    assert values["gap_closed_inside"] == pytest.approx(0, abs=1e-5)
    assert 0.05 < values["gap_closed_control"] <= 1


def test_the_paired_test_is_seeded_and_passes_over_fakes_without_originals():
    faces = faces_with_originals()
    faces.originals[0] = faces.images[0]
    detector = linear_detector(np.random.default_rng(1).normal(0, 0.01, (SIZE, SIZE)))
    one, two, other = (paired_test(detector, faces, seed, 20) for seed in (0, 0, 1))
    assert len(one.pairs) == 5
    pd.testing.assert_frame_equal(one.pairs, two.pairs)
    pd.testing.assert_frame_equal(one.scores, two.scores)
    assert (one.pairs.original == other.pairs.original).all()
    with pytest.raises(UserError, match="originals=True"):
        paired_test(detector, faces[faces.labels == 0])


@given(st.floats(0, 1), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_elsewhere_is_as_large_as_the_mask_and_outside(share, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((SIZE, SIZE)) < share
    patch = control_region(mask, rng)
    assert not (patch & mask).any()
    assert patch.sum() == min(mask.sum(), (~mask).sum())


def test_a_blur_detector_is_exposed_and_the_full_size_changes_nothing():
    """Its logit is -1 + the share of the contrast between neighbours that is gone."""
    rng = np.random.default_rng(0)
    board = np.indices((SIZE, SIZE)).sum(axis=0) % 2
    images = np.repeat(255 * board[None, ..., None], 3, axis=3).repeat(4, axis=0).astype(np.uint8)
    images[3] = rng.integers(0, 255, images[3].shape)
    table = table_of(["001", "002", "003", "004"], [0, 0, 0, 1])
    faces = Faces(images, table.label.to_numpy(), images[..., 0] < 0, None, table, 1.3)
    detector = linear_detector((1 - 2 * board) / (3 * SIZE**2))
    detector.model.layers[-1].bias.assign([0.5])
    table = false_positives_when_blurred(detector, faces, pixels=(SIZE, SIZE // 2))
    assert table.n.tolist() == [3, 3]
    assert table.mean_logit.tolist() == pytest.approx([-0.5, 0.5], abs=1e-5)
    assert table.false_positive_rate.tolist() == [0, 1]
    with pytest.raises(UserError, match="no real faces"):
        false_positives_when_blurred(detector, faces[3:])


def test_evaluate_asks_the_model():
    faces = faces_with_originals()
    result = evaluate(linear_detector(faces.masks[0] / 100), faces, resamples=10)
    assert len(result.frames) == 12
    assert result.scores.query("level == 'frame' and score == 'auc'").value.item() == 1


def faces_with_redness(redness, target, video, region):
    """Real (first) and fake faces of one colour each, and a detector that calls red ones fake."""
    count = len(redness)
    images = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    images[..., 0] = np.reshape(redness, (count, 1, 1))
    table = pd.DataFrame({"target": target, "video": video, "region": region})
    masks = np.zeros((count, SIZE, SIZE), bool)
    faces = Faces(images, np.arange(count).clip(0, 1), masks, None, table, 1.3)
    inputs = keras.Input((SIZE, SIZE, 3))
    mean = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(mean))
    # Fake is what has more than 120 of 255 in red.
    model.set_weights([np.array([[1.0], [0], [0]]), np.array([1 - 120 / 127.5])])
    return faces, Detector(model)


def test_found_fakes_are_of_different_people_and_the_clearest_of_each():
    faces, model = faces_with_redness(
        [0, 90, 200, 150, 250, 100, 220],
        target=["a", "a", "a", "b", "b", "c", "d"],
        video=["a1", "a2", "a3", "b1", "b1", "c1", "d1"],
        region=["", "whole", "eyes", "whole", "whole", "whole", ""],
    )

    def chosen(count, region=None):
        return top_true_positives(model, faces, count, region).table.video.to_list()

    assert chosen(4) == ["a3", "b1", "d1"]  # not the second frame of b1, and c1 is missed
    assert chosen(2) == ["a3", "b1"]
    assert chosen(4, "whole") == ["b1", "d1"]
    with pytest.raises(UserError, match="finds no fake of region 'nose'"):
        chosen(1, "nose")


def test_a_case_file_takes_the_median_of_what_fits_and_other_people_where_it_can():
    redness = [0, 130, 150, 170, 250, 140, 240, 90, 60, 30, 125, 135, 145, 10]
    region = [""] + ["whole"] * 4 + ["eyes", "nose", "whole", "eyes", "whole"] + [""] * 4
    target = list("abcdefbgbhijcl")
    faces, model = faces_with_redness(redness, target, list("abcdefghijklmn"), region)
    faces = replace(faces, labels=np.array([0] + [1] * 9 + [0] * 4))
    cases = case_file(model, faces)
    # Found: 130, 150, 170, 250. Regions: 140, 240. Missed: 90, 60 (of b), 30. Called fake, of
    # people not yet chosen: 125.
    assert cases.images[:, 0, 0, 0].tolist() == [150, 140, 60, 125]
    assert cases.labels.tolist() == [1, 1, 1, 0] and cases.table.logit_original.isna().all()
    assert np.allclose(cases.table.logit, model.logits(cases.images))

    originals = np.zeros_like(faces.images)
    originals[[1, 2], ..., 0] = 200  # of 130 and 150: called fake, too
    cases = case_file(model, replace(faces, originals=originals))
    assert cases.images[:, 0, 0, 0].tolist() == [170, 140, 60, 135]
    assert (cases.table.logit_original[:1] < 0).all()


def test_where_no_face_fits_a_case_the_nearest_takes_its_place():
    faces, model = faces_with_redness([0, 250, 200, 60], list("abcd"), list("abcd"), [""] * 4)
    faces = replace(faces, labels=np.array([0, 1, 1, 0]))
    assert case_file(model, faces).images[:, 0, 0, 0].tolist() == [200, 250, 200, 60]
    with pytest.raises(UserError, match="not 2 fake and 0 real clips"):
        case_file(model, faces[1:3])


def test_a_sample_of_found_fakes_is_half_whole_and_spread_over_people():
    target = ["a", *"aaaaaabbcc"]
    video = ["a0", "a1", "a1", "a2", "a3", "a4", "a5", "b1", "b2", "c1", "c2"]
    region = ["", *["whole"] * 4, "eyes", "nose", "whole", "mouth", "whole", "eyes"]
    faces, model = faces_with_redness([250] * 10 + [50], target, video, region)
    for seed in range(5):
        table = sample_true_positives(model, faces, 6, seed).table
        assert (table.region == "whole").sum() == 3 and (table.region == "eyes").sum() <= 1
        assert not table.video.duplicated().any() and not {"a0", "c2"} & set(table.video)
        assert set(table[table.region == "whole"].target) == {"a", "b", "c"}
        assert len(sample_true_positives(model, faces, 1, seed)) == 1
        again = sample_true_positives(model, faces, 6, seed).table
        assert again.video.to_list() == table.video.to_list()


def test_a_sample_without_regions_is_of_whole_faces():
    faces, model = faces_with_redness([0, 250, 250, 250], list("abcd"), list("abcd"), [""] * 4)
    assert len(sample_true_positives(model, faces, 2).table) == 2
    faces, model = faces_with_redness([0, 50], list("ab"), list("ab"), [""] * 2)
    with pytest.raises(UserError, match="finds no fake"):
        sample_true_positives(model, faces)


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_is_not_scored(nothing):
    table = pd.DataFrame({"video": ["a", "b"], "label": [0, 1], "target": ["x", "y"]})
    with pytest.raises(UserError, match="1 of 2 answers"):
        evaluate_logits(table, np.array([nothing, 1.0]))
