"""The checkers take right functions, and name the mistake in wrong ones."""

import numpy as np
import pytest

from xaifake.exercises import WrongAnswer
from xaifake.exercises.believed import check_interval, check_mass_accuracy, check_pointing_game
from xaifake.exercises.data import check_blend, check_square
from xaifake.exercises.detector import check_auc, check_cross_entropy
from xaifake.exercises.looking import (
    check_epsilon_rule,
    check_integrated_gradients,
    check_proximity,
)
from xaifake.exercises.showing import check_share_of_true_alarms


def true_alarms(base_rate, recall, false_alarms):
    caught, bothered = base_rate * recall, (1 - base_rate) * false_alarms
    return caught / (caught + bothered)


def blend(target, source, alpha):
    return target + alpha[..., None] * (source - target)


def square(box, nose, scale):
    side = scale * max(box[2] - box[0], box[3] - box[1])
    return nose[0] - side / 2, nose[1] - side / 2, side


def cross_entropy(logits, labels):
    return np.mean(np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits))))


def naive_cross_entropy(logits, labels):
    with np.errstate(all="ignore"):
        p = np.exp(logits) / (1 + np.exp(logits))
        return -np.mean(np.where(labels == 1, np.log(p), np.log(1 - p)))


def auc(scores, labels):
    fake, real = scores[labels == 1][:, None], scores[labels == 0][None]
    return np.mean((fake > real) + 0.5 * (fake == real))


def proximity(shown, width):
    cosine = shown.sum(1) / (np.sqrt(shown.shape[1]) * np.sqrt(shown.sum(1)))
    return np.exp(-((1 - cosine) ** 2) / (2 * width**2))


def epsilon_rule(below, w, relevance, epsilon):
    z = below @ w
    return below * (w @ (relevance / (z + epsilon * np.where(z < 0, -1, 1))))


def integrated(gradient, picture, baseline, steps):
    points = [baseline + (k + 0.5) / steps * (picture - baseline) for k in range(steps)]
    return (picture - baseline) * np.mean([gradient(point) for point in points], axis=0)


def mass(heatmap, mask):
    positive = np.clip(heatmap, 0, None)
    return positive[mask].sum() / positive.sum() if positive.any() else mask.mean()


def pointing(heatmap, mask):
    return mask[heatmap == heatmap.max()].mean()


def interval(scores, people, seed):
    rng, names = np.random.default_rng(seed), np.unique(people)
    draws = [
        np.concatenate([scores[people == name] for name in rng.choice(names, len(names))]).mean()
        for _ in range(500)
    ]
    return np.percentile(draws, [2.5, 97.5])


def picture_interval(scores, people, seed):
    rng = np.random.default_rng(seed)
    return np.percentile([rng.choice(scores, len(scores)).mean() for _ in range(500)], [2.5, 97.5])


RIGHT = [
    (check_blend, blend),
    (check_square, square),
    (check_cross_entropy, cross_entropy),
    (check_auc, auc),
    (check_proximity, proximity),
    (check_epsilon_rule, epsilon_rule),
    (check_integrated_gradients, integrated),
    (check_mass_accuracy, mass),
    (check_pointing_game, pointing),
    (check_interval, interval),
    (check_share_of_true_alarms, true_alarms),
]
WRONG = [
    (check_blend, lambda t, s, a: blend(s, t, a), "changed places"),
    (check_blend, lambda t, s, a: t, "expected"),
    (check_blend, lambda t, s, a: blend(t, s, a > 0.5), "hard mask"),
    (check_square, lambda b, n, s: square(b, n[::-1], s), "x and y"),
    (check_square, lambda b, n, s: (*n, square(b, n, s)[2]), "half a side"),
    (check_square, lambda b, n, s: square(b, n, 1), "not scaled"),
    (check_square, lambda b, n, s: square((b[0], 0, b[2], 0), n, s), "take the larger side"),
    (check_cross_entropy, lambda z, y: 4 * cross_entropy(z, y), "return the mean"),
    (check_cross_entropy, lambda z, y: cross_entropy(z, 1 - y), "label 1 is fake"),
    (check_cross_entropy, naive_cross_entropy, "logaddexp"),
    (check_auc, lambda s, y: auc(s, 1 - y), "turn it round"),
    (check_auc, lambda s, y: np.mean(s[y == 1][:, None] > s[y == 0]), "ties count as lost"),
    (check_proximity, lambda s, w: proximity(s, w) ** 2, "root is missing"),
    (check_proximity, lambda s, w: 1 - np.sqrt(s.mean(1)), "falls with it"),
    (check_epsilon_rule, lambda b, w, r, e: w @ r, "weights alone"),
    (check_epsilon_rule, lambda b, w, r, e: (b[:, None] * w / (b @ w + e)) @ r, "sign of z"),
    (check_integrated_gradients, lambda g, p, b, n: (p - b) * g(p), "go along the path"),
    (check_integrated_gradients, lambda g, p, b, n: integrated(g, b, p, n), "not back"),
    (check_integrated_gradients, lambda g, p, b, n: n * integrated(g, p, b, n), "their mean"),
    (check_mass_accuracy, lambda h, m: mass(np.abs(h), m), "sign is dropped"),
    (check_mass_accuracy, lambda h, m: h[m].sum() / h.sum(), "negative relevance is counted"),
    (check_mass_accuracy, lambda h, m: h[m & (h > 0)].sum() / h[h > 0].sum(), "without positive"),
    (check_pointing_game, lambda h, m: pointing(np.abs(h), m), "the highest counts"),
    (check_pointing_game, lambda h, m: m.flat[h.argmax()], "you took the first"),
    (check_interval, picture_interval, "draw people"),
    (check_share_of_true_alarms, lambda b, r, f: r / (r + f), "base rate is missing"),
    (check_share_of_true_alarms, lambda b, r, f: r, "ask it of the alarms"),
    (check_share_of_true_alarms, lambda b, r, f: b * r / (b * r + f), "1 - base_rate"),
    (check_interval, lambda s, p, seed: interval(s, p, seed)[::-1], "low comes first"),
    (check_interval, lambda s, p, seed: interval(s, p, None), "default_rng(seed)"),
]


@pytest.mark.parametrize(("check", "function"), RIGHT)
def test_a_right_function_passes(check, function, capsys):
    assert check(function) is None
    assert capsys.readouterr().out.startswith("Right")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("check", "function", "message"), WRONG)
def test_a_wrong_function_is_told_its_mistake(check, function, message):
    with pytest.raises(WrongAnswer) as error:
        check(function)
    assert message in str(error.value)


@pytest.mark.parametrize("check", [check for check, _ in RIGHT])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda *given: None, "returned nothing"),
        (lambda *given: ..., "returned nothing"),
        (lambda *given: np.zeros((7, 7)), "shape (7, 7)"),
        (lambda *given: "text", "expected numbers"),
        (lambda *given: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_is_no_answer_at_all_is_told(check, function, message):
    with pytest.raises(WrongAnswer, match=None) as error:
        check(function)
    assert message in str(error.value)
