"""What a report says, for readers who know nothing of the field (chapter 15_explain_a_video).

Limits that turn numbers into words stand here, where they can be read and changed. Those for
agreement and stability are the ones of chapter 14_verdict.
"""

from xaifake.explainers.registry import TITLES
from xaifake.video.evidence import WORDS as WORDS
from xaifake.video.reference import FLAGS

UNDECIDED = (0.4, 0.6)
FEW = 5  # frames
MOST_PAIRS = 10  # of people who may be one, that are named
SAME = 0.5  # rank correlation beyond the centre
STABLE = 0.8  # of what interpolation alone allows
RARE = 0.01  # share of manipulated videos
NOT_THE_VIDEO = "Shows the software, not the video."
BELOW_EFFECT = "Red: real pixels here lower the score."
BAR = "{l_bar}{bar}| [{elapsed}<{remaining}]"

REGIONS = {
    "eyes": "eyes and brows",
    "nose": "nose",
    "mouth": "mouth",
    "jaw": "cheeks, jaw and lower forehead",
    "outside": "outside of the face",
}

WITHOUT_SIGN = ("gradient (absolute)",)

_TITLES = TITLES | {
    "gradient": "Gradient",
    "gradient (absolute)": "Sensitivity",
    "input_t_gradient": "Input times gradient",
    "occlusion": "Occlusion",
}
# What a method does, in a sentence that its title begins.
_MEANINGS = {
    "gradient": "shows in which direction each pixel would have to change to raise the score.",
    "gradient (absolute)": (
        "shows how strongly the score reacts to a tiny change of each pixel, and not which way."
    ),
    "input_t_gradient": "multiplies each pixel by the score's sensitivity to it.",
    "guided_backprop": (
        "follows only what speaks for the score back to the picture. It mostly redraws the edges "
        "of the picture, whatever the detector has learned."
    ),
    "grad_cam": "shows on which coarse areas the last layer of the detector relied.",
    "integrated_gradients": (
        "adds up the score's sensitivity on the way from a grey picture to this one."
    ),
    "lime": (
        "paints patches over with their average colour, in many combinations, and finds out which "
        "of them raise the score when they are left."
    ),
    "occlusion": "covers one square after the other with grey, and shows how far the score falls.",
    "rise": "covers many random parts, and shows which places were seen when the score was high.",
    "smoothgrad": "averages the gradient over copies of the picture with a little noise.",
    "grad_cam_plus_plus": (
        "shows on which coarse areas the last layer of the detector relied, several if there are."
    ),
    "kernel_shap": (
        "paints patches over with their average colour, and shares the score out among them."
    ),
}
_LRP = ("LRP", "shares the score out backwards, layer by layer, until it lies on pixels")


def method_title(name):
    """Return what a method is called."""
    if name.startswith("lrp"):
        rest = name.removeprefix("lrp").strip(".").replace("_", " ")
        return f"{_LRP[0]} ({rest})" if rest else _LRP[0]
    return _TITLES.get(name, name)


def method_meaning(name):
    """Return what a method does, in a sentence that its title begins."""
    if name.startswith("lrp"):
        return f"{_LRP[1]}."
    return _MEANINGS.get(name, "is described in the book.")


def duration(seconds):
    """Return a length of time in words."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"{round(seconds / 10) * 10} seconds"
    return f"{seconds / 60:.0f} minutes"


def estimate(frames, methods, seconds):
    """Say beforehand how long it takes."""
    return (
        f"About {duration(seconds)} for one person on this machine: {_count(frames, 'frame')} to "
        f"search for faces, and {_count(methods, 'method')} to explain the deciding ones."
    )


def _count(number, thing):
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def people_found(people, maps, seconds):
    """Say how long the explanations take, now that it is known how many people there are."""
    who = "1 person" if people == 1 else f"{people} people"
    return f"{who} to explain: {_count(maps, 'map')}, about {duration(seconds)}"


def when(detection, footage):
    """Say which frame a detection is from."""
    if detection.seconds is None:
        return "the picture" if len(footage) == 1 else f"picture {detection.number + 1}"
    return clock(detection.seconds)


def overlay_estimate(frames):
    """Say beforehand how long a video takes, as measured for one face in full HD on two cores."""
    return f"Writing the video: {_count(frames, 'frame')}, about {duration(0.26 * frames)}"


def overlay_note(method):
    """Say in a line below a video what the colours mean."""
    if method in WITHOUT_SIGN:
        meaning = "The redder, the more the score depends on this place."
    else:
        meaning = "Red: speaks for manipulated. Blue: speaks against it."
    return f"ANALYSIS by xaifake, not the original recording. {method_title(method)}: {meaning}"


def clock(seconds):
    """Return a time as 1.23 s, 12.3 s, 4:05 or 1:02:03."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


FINDINGS = {
    "moderate": "moderate signs of a swapped face, no proof",
    "weak": "weak signs of a swapped face, no proof",
    "none": "none of the signs that the software looks for, which does not mean genuine",
    "withheld": "no answer",
}


def doubt(report, prediction, word):
    """Return what speaks against leaning on a finding, in one to three sentences.

    Parameters
    ----------
    report : xaifake.video.report.Report
    prediction : xaifake.video.report.Prediction
    word : str
        Of `Report.evidence`.
    """
    if word == "withheld":
        return (
            f"The software could not judge this face: {because(prediction.flags, '; ')}"
            ". That speaks neither for nor against a swap."
        )
    evidence, told = report.reference.evidence, []
    n = evidence.counts(word)
    if not report.measured:
        told = ["The software was not tested on anything like this: the answer may mean nothing."]
    elif word == "none":
        told = [
            f"In tests {n['fakes']} of {n['of_fakes']} manipulated clips got this answer, too, and "
            f"{n['reals']} of {n['of_reals']} genuine ones. Neither count is the chance that this "
            "one is manipulated."
        ]
    else:
        told = [
            f"In tests {n['fakes']} of {n['of_fakes']} manipulated clips got this answer, and "
            f"{n['reals']} of {n['of_reals']} genuine ones."
        ]
        if not evidence.share(word, RARE)[1] >= 0.5:
            told += [_false_alarms(n)]
    if len(prediction.logits) < FEW:
        told += [f"It rests on {_count(len(prediction.logits), 'frame')} only."]
    return " ".join(told)


def _false_alarms(n):
    """Say what an answer is worth where few videos are manipulated; `n` as of `counts`."""
    fakes, reals = RARE * n["fakes"] / n["of_fakes"], (1 - RARE) * n["reals"] / n["of_reals"]
    told = (
        f"If only {100 * RARE:g} video in 100 is manipulated, most such answers can be false alarms"
    )
    if not n["reals"]:
        return f"{told}."
    return (
        f"{told}: of 1,000 videos, about {1000 * fakes:.0f} manipulated and {1000 * reals:.0f} "
        "genuine ones would get it."
    )


def below_map(tested):
    """Return the lines that a map's picture carries.

    Parameters
    ----------
    tested : pandas.Series or None
        The row of `right_places`; None if nobody has tested the method on the detector.
    """
    if tested is None:
        return [NOT_THE_VIDEO, "Nobody has tested this method on it."]
    right = f"right place in {tested.right} of {tested.tried} fakes"
    if not tested.failed:
        return [NOT_THE_VIDEO, f"In tests {right}."]
    return [NOT_THE_VIDEO, f"FAILED: {right},", f"a map that sees no picture in {tested.blind}."]


def maybe_one(alike):
    """Say which people of the page may be one, and why they were not taken for one.

    Parameters
    ----------
    alike : list of tuple
        Of `xaifake.video.report.Report.alike`.

    Returns
    -------
    list of str
        Sentences.
    """
    told = [
        f"Person {one} and person {other} were taken for one at first. But the scores of some "
        "frames contradict those of the others so clearly that both have an answer of their own. "
        "They may be two people, or one, of whom only a part was manipulated, or who looks "
        "different to the detector at times."
        for one, other, why in alike
        if why == "step"
    ]
    pairs = [f"{one} and {other}" for one, other, why in alike if why == "alike"]
    if pairs:
        more = f", and {len(pairs) - MOST_PAIRS} other pairs" if len(pairs) > MOST_PAIRS else ""
        told.append(
            f"Of these people two may be one: {', '.join(pairs[:MOST_PAIRS])}{more}. Their faces "
            "are alike, but not enough to be sure, and they are never seen in the same frame. So "
            "each has an answer of their own."
        )
    return told


def because(flags, between):
    """Return the reasons for which a score does not count, in words."""
    return between.join(FLAGS[name] for name in flags)


def percent(share):
    """Return a share in percent, a small one with a decimal."""
    if share != share:
        return "–"
    return f"{100 * share:.1f} %" if 0 < share < 0.01 else f"{round(100 * share)} %"
