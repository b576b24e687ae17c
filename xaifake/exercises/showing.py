"""Checkers of part "Showing it" (exercises of chapter 15_explain_a_video)."""

import numpy as np

from xaifake.exercises import WrongAnswer, call, expect


def check_share_of_true_alarms(share_of_true_alarms):
    """Try ``share_of_true_alarms(base_rate, recall, false_alarms)``.

    It takes the share of fakes among all videos, the share of the fakes that are called fake, and
    the share of the real videos that are; returns the share of fakes among those called fake.
    """
    for base_rate, recall, false_alarms in ((0.5, 0.8, 0.2), (0.01, 0.9, 0.05), (0.3, 0.6, 0.1)):
        found = call(share_of_true_alarms, base_rate, recall, false_alarms)
        true, false = base_rate * recall, (1 - base_rate) * false_alarms
        mistakes = [
            (recall, "that is the share of fakes that are found: ask it of the alarms"),
            (
                recall / (recall + false_alarms),
                "the base rate is missing: fakes are not half of the videos",
            ),
            (
                true / (true + false_alarms),
                "only real videos can be false alarms: weigh them by 1 - base_rate",
            ),
            (1 - false_alarms, "that is the share of the real videos that are let pass"),
        ]
        given = f"base rate {base_rate}, recall {recall}, false alarms {false_alarms}"
        expect(found, true / (true + false), mistakes, given=given)
    if not np.isclose(call(share_of_true_alarms, 0.2, 0.7, 0.0), 1):
        raise WrongAnswer("without false alarms every alarm is true")
    print("Right: the rarer the fakes, the more of the alarms are false.")
