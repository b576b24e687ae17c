"""Checkers of part "Looking inside" (exercises of chapters 05_activations to 09_gradients)."""

import numpy as np

from xaifake.exercises import WrongAnswer, call, expect


def check_proximity(proximity):
    """Try ``proximity(shown, width)``, the weight that LIME gives to a sample.

    It takes 0/1 (samples, segments), 1 for a segment that is shown, and the kernel's width;
    returns float (samples,), ``sqrt(exp(-d**2 / width**2))`` with d the cosine distance of the
    row from a row of ones.
    """
    shown = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    distance = 1 - np.sqrt(shown.mean(axis=1))
    for width in (0.25, 1.0):
        found = call(proximity, shown, width, shape=(3,))
        mistakes = [
            (np.exp(-(distance**2) / width**2), "the root is missing: lime takes the square root"),
            (
                np.sqrt(np.exp(-((1 - shown.mean(axis=1)) ** 2) / width**2)),
                "the cosine is the root of the share that is shown, not the share",
            ),
            (np.sqrt(np.exp(-distance / width)), "distance and width are to be squared"),
            (distance, "that is the distance; the weight falls with it, by the kernel"),
        ]
        right = np.sqrt(np.exp(-(distance**2) / width**2))
        expect(found, right, mistakes, given=f"rows with all, half and a quarter, width {width}")
    print("Right: the picture as it is weighs 1, and the more is hidden the less a sample counts.")


def check_epsilon_rule(send_back):
    """Try ``send_back(below, w, relevance, epsilon)``, LRP's epsilon rule for a dense layer.

    It takes activations (I,), weights (I, J), the relevance (J,) of the outputs and epsilon;
    returns the relevance (I,) of the inputs. No bias.
    """
    rng = np.random.default_rng(1)
    below, w, relevance = rng.normal(size=4), rng.normal(size=(4, 3)), rng.normal(size=3)
    for epsilon in (1e-9, 0.5):
        z = below @ w
        sign = np.where(z >= 0, 1.0, -1.0)
        found = call(send_back, below, w, relevance, epsilon, shape=(4,))
        given = f"4 inputs, 3 outputs, epsilon {epsilon}"
        mistakes = [
            (w @ relevance, "the weights alone: activation times weight is what is divided"),
            (w @ (relevance / (z + epsilon * sign)), "the activations are missing: times below"),
            ((below[:, None] * w / z) @ relevance, "epsilon is not used"),
            (
                (below[:, None] * w / (z + epsilon)) @ relevance,
                "epsilon has the sign of z: added to a negative z it would bring it nearer to 0",
            ),
        ]
        right = (below[:, None] * w / (z + epsilon * sign)) @ relevance
        expect(found, right, mistakes, given=given)
        if epsilon < 1e-6 and not np.isclose(found.sum(), relevance.sum()):
            raise WrongAnswer(f"{given}: {relevance.sum():.4f} came in, {found.sum():.4f} went out")
    found = call(send_back, np.zeros(4), w, relevance, 1e-3, shape=(4,))
    expect(found, np.zeros(4), given="all inputs 0, so that every z is 0")
    print("Right: nothing is lost but what the stabiliser takes.")


def check_integrated_gradients(integrated_gradients):
    """Try ``integrated_gradients(gradient, picture, baseline, steps)``.

    It takes a function that returns the gradient (D,) at a point (D,), two points (D,) and how
    many steps there are; returns the attribution (D,).
    """
    picture, baseline = np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.0, -1.0])
    slopes = np.array([2.0, -1.0, 0.5])
    way = picture - baseline
    found = call(integrated_gradients, lambda x: slopes, picture, baseline, 8, shape=(3,))
    mistakes = [
        (slopes, "that is the mean gradient: times (picture - baseline)"),
        (slopes * picture, "times the picture: take its difference from the baseline"),
        (-slopes * way, "the way goes from the baseline to the picture, not back"),
        (8 * slopes * way, "the gradients are summed: take their mean"),
    ]
    expect(found, slopes * way, mistakes, given="a linear function")
    found = call(integrated_gradients, lambda x: 3 * x**2, picture, baseline, 2000, shape=(3,))
    right = picture**3 - baseline**3
    mistakes = [(3 * picture**2 * way, "only the gradient at the picture: go along the path")]
    expect(found, right, mistakes, tolerance=2e-2, given="the sum of cubes, 2000 steps")
    print("Right: the parts sum to the difference between picture and baseline.")
