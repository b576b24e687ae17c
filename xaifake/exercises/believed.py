"""Checkers of part "Can it be believed?" (exercises of chapters 10_perturbations to 14_verdict)."""

import numpy as np

from xaifake.exercises import WrongAnswer, call, expect


def check_mass_accuracy(mass_accuracy):
    """Try ``mass_accuracy(heatmap, mask)``: the share of positive relevance inside the mask.

    It takes float (H, W) and bool (H, W); returns a number from 0 to 1, and the mask's share of
    the picture for a map without positive relevance, as a map that says nothing would get.
    """
    heatmap = np.array([[4.0, 1.0, -5.0], [2.0, 0.0, 3.0]])
    mask = np.array([[True, False, True], [True, False, False]])
    mistakes = [
        (0.2, "negative relevance is counted: it speaks against fake, leave it out"),
        (11 / 15, "the sign is dropped: negative relevance is no evidence for fake"),
        (0.5, "that is the mask's share of the picture: weigh the pixels by the map"),
        (2 / 3, "pixels are counted, not relevance"),
        (0.4, "that is the share outside the mask"),
        (6.0, "that is a sum: divide by all positive relevance"),
    ]
    found = call(mass_accuracy, heatmap, mask)
    expect(found, 0.6, mistakes, given=f"the map {heatmap.tolist()} and a mask of half of it")
    try:
        found = call(mass_accuracy, -np.ones((2, 3)), mask)
    except WrongAnswer as error:
        raise WrongAnswer(
            f"a map without positive relevance: {error}. The sum below is 0: return the mask's "
            "share of the picture there"
        ) from error
    expect(found, 0.5, given="a map without positive relevance, half of it in the mask")
    print("Right, also for a map that says nothing.")


def check_pointing_game(pointing):
    """Try ``pointing(heatmap, mask)``: does the highest point lie in the mask?

    It takes float (H, W) and bool (H, W); returns 1 or 0, and with several highest points the
    share of them that lies inside.
    """
    mask = np.zeros((3, 4), bool)
    mask[0, 2:] = True
    heatmap = np.zeros((3, 4))
    heatmap[0, 3], heatmap[2, 0] = 2.0, -9.0
    found = call(pointing, heatmap, mask)
    mistakes = [(0.0, "the lowest or the largest absolute value was taken: the highest counts")]
    expect(found, 1.0, mistakes, given="highest point inside, a lower negative one outside")
    heatmap[2, 3] = 3.0
    mistakes = [(1.0, "x and y may have changed places: argmax counts along the rows")]
    expect(call(pointing, heatmap, mask), 0.0, mistakes, given="highest point below the mask")
    mistakes = [
        (0.0, "all points are equal, and you took the first: any of them may be the highest"),
        (1.0, "all points are equal: that some of them lie inside is no hit"),
    ]
    found = call(pointing, np.ones((3, 4)), mask)
    expect(found, mask.mean(), mistakes, given="a flat map, a sixth of it in the mask")
    print("Right: an even map scores what chance would.")


def check_interval(interval):
    """Try ``interval(scores, people, seed)``, a bootstrap interval over people.

    It takes scores (N,), the person on each picture (N,) and a seed; returns the 2.5th and the
    97.5th percentile of the mean over pictures, when people are drawn with replacement, each
    with all of their pictures.
    """
    people = np.repeat(np.arange(10), 20)
    # All of a person's pictures agree, and no two people do, so that no two seeds agree by chance.
    scores = np.repeat(np.arange(10) % 2 + 0.01 * np.arange(10), 20)
    low, high = call(interval, scores, people, 0, shape=(2,))
    if low > high:
        raise WrongAnswer(f"the interval is from {low:.2f} to {high:.2f}: low comes first")
    if high - low < 0.3:
        raise WrongAnswer(
            f"10 people with 20 equal pictures each: your interval is {high - low:.2f} wide. "
            "Pictures seem to be drawn one by one; 200 pictures of 10 people are 10 independent "
            "answers, draw people"
        )
    if not (0.05 <= low <= 0.35 and 0.65 <= high <= 0.95):
        raise WrongAnswer(
            f"10 people, half near 0 and half near 1: your interval is {low:.2f} to {high:.2f}, "
            "expected about 0.2 to 0.8. Are the percentiles 2.5 and 97.5, of at least a few "
            "hundred draws of 10 people each?"
        )
    if not np.array_equal(call(interval, scores, people, 0, shape=(2,)), [low, high]):
        raise WrongAnswer("the same seed gave another interval: use numpy.random.default_rng(seed)")
    print("Right: people are drawn, not pictures.")
