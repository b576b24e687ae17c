"""Checkers of part "The detector" (exercises of chapters 03_training and 04_evaluation)."""

import numpy as np

from xaifake.exercises import WrongAnswer, call, expect


def check_cross_entropy(cross_entropy):
    """Try ``cross_entropy(logits, labels)``, the mean binary cross-entropy.

    It takes float (N,) and labels (N,), 1 fake and 0 real; returns a number.
    """
    logits, labels = np.array([-2.0, 0.5, 3.0, -1.0]), np.array([0, 1, 1, 1])
    losses = np.logaddexp(0, logits) - labels * logits
    swapped = np.logaddexp(0, logits) - (1 - labels) * logits
    mistakes = [
        (losses.sum(), "that is the sum over the pictures: return the mean"),
        (-losses.mean(), "the sign is wrong: a loss is never negative"),
        (swapped.mean(), "real and fake have changed places: label 1 is fake"),
        (losses.mean() / np.log(2), "the logarithm is to the base 2: use the natural one"),
    ]
    found = call(cross_entropy, logits, labels)
    expect(found, losses.mean(), mistakes, given=f"logits {logits}, labels {labels}")
    sure = np.array([800.0, -800.0])
    try:
        found = call(cross_entropy, sure, np.array([0, 1]))
    except WrongAnswer as error:
        raise WrongAnswer(
            f"logits {sure}, both wrong: {error}. exp(800) is too large for a float: work with the "
            "logit, not with the probability (numpy.logaddexp)"
        ) from error
    expect(found, 800.0, given=f"logits {sure}, both wrong")
    print("Right, also for logits of 800.")


def check_auc(auc):
    """Try ``auc(scores, labels)``: how often a fake scores above a real face.

    It takes float (N,) and labels (N,), 1 fake and 0 real; returns a number from 0 to 1, in which
    a tie counts one half.
    """
    scores, labels = np.array([3.0, 1.0, 2.0, 0.0, -1.0]), np.array([1, 1, 0, 0, 0])
    found = call(auc, scores, labels)
    mistakes = [
        (1 / 6, "that is how often a real face scores above a fake: turn it round"),
        (5.0, "that is the number of pairs: divide by how many there are"),
        (0.8, "that is an accuracy at some threshold: compare pairs, no threshold"),
    ]
    expect(found, 5 / 6, mistakes, given=f"scores {scores}, labels {labels}")
    ties = np.zeros(4), np.array([1, 0, 1, 0])
    mistakes = [
        (0.0, "ties count as lost: they count one half"),
        (1.0, "ties count as won: they count one half"),
    ]
    expect(call(auc, *ties), 0.5, mistakes, given="four equal scores")
    print("Right: pairs won, ties by half.")
