"""What a report says, for readers who know nothing of the field (chapter 12_explain_a_video).

Limits that turn numbers into words stand here, where they can be read and changed. Those for
agreement and stability are the ones of chapter 11_verdict.
"""

from xaifake.video.reference import FLAGS

UNDECIDED = (0.4, 0.6)
FEW = 5  # frames
MOST_PAIRS = 10  # of people who may be one, that are named
SAME, PARTLY = 0.5, 0.25  # rank correlation beyond the centre
STABLE, HALF = 0.8, 0.5  # of what interpolation alone allows
MORE = 1.5  # times what an even spread would give
BAR = "{l_bar}{bar}| [{elapsed}<{remaining}]"

REGIONS = {
    "eyes": "eyes and brows",
    "nose": "nose",
    "mouth": "mouth",
    "jaw": "cheeks, jaw and lower forehead",
    "outside": "outside of the face",
}

WITHOUT_SIGN = ("gradient (absolute)",)
ONE_SIDED = ("grad_cam",)

# What a method is called on the page, and what it does, in a sentence.
_METHODS = {
    "gradient": (
        "Gradient",
        "shows in which direction each pixel would have to change to raise the score.",
    ),
    "gradient (absolute)": (
        "Sensitivity",
        "shows how strongly the score reacts to a tiny change of each pixel. It has no sign: it "
        "tells where the detector is sensitive, not which way.",
    ),
    "input_t_gradient": (
        "Input times gradient",
        "multiplies each pixel by the score's sensitivity to it.",
    ),
    "guided_backprop": (
        "Guided Backprop",
        "follows only what speaks for the score back to the picture. It mostly redraws the edges "
        "of the picture, whatever the detector has learned.",
    ),
    "grad_cam": (
        "Grad-CAM",
        "stands for Gradient-weighted Class Activation Mapping, and shows on which coarse areas "
        "the last layer of the detector relied, in a grid of four by four that is smoothed.",
    ),
    "integrated_gradients": (
        "Integrated Gradients",
        "adds up the score's sensitivity on the way from a grey picture to this one.",
    ),
    "lime": (
        "LIME",
        "stands for Local Interpretable Model-agnostic Explanations. It paints small patches over "
        "with their average colour, in many combinations, and finds out which of them raise the "
        "score when they are left as they are.",
    ),
}
_LRP = ("LRP", "shares the score out backwards, layer by layer, until it lies on pixels")


def method_title(name):
    """Return what a method is called."""
    if name.startswith("lrp"):
        rest = name.removeprefix("lrp").strip(".").replace("_", " ")
        return f"{_LRP[0]} ({rest})" if rest else _LRP[0]
    return _METHODS.get(name, (name, ""))[0]


def method_meaning(name):
    """Return what a method does, in a sentence that its title begins."""
    if name.startswith("lrp"):
        return (
            f"{_LRP[1]} (Layer-wise Relevance Propagation; the words in brackets name the rules)."
        )
    return _METHODS.get(name, (name, "is described in the book."))[1]


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


def headline(prediction, number):
    """Return the verdict on a person in a sentence."""
    return {
        "fake": f"Person {number}: the detector judges this face to be manipulated.",
        "real": f"Person {number}: the detector finds none of the traces that it knows.",
        "undecided": f"Person {number}: the detector is undecided.",
        "none": f"Person {number}: no verdict.",
    }[prediction.word]


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
        "frames contradict those of the others so clearly that both have a verdict of their own. "
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
            "each has a verdict of their own."
        )
    return told


def because(flags, between):
    """Return the reasons for which a score does not count, in words."""
    return between.join(FLAGS[name] for name in flags)


def agreement(value):
    """Say what a rank correlation beyond the centre means."""
    if value != value:
        return "cannot be compared"
    return "agree" if value >= SAME else "agree in part" if value >= PARTLY else "do not agree"


def agreeing(values):
    """Say how many pairs of methods agree."""
    agree = sum(value >= SAME for value in values)
    verb = "agrees" if agree == 1 else "agree"
    return f"{agree} of {_count(len(values), 'pair')} of methods {verb}."


def share_of_true_alarms(tests, base_rate=0.01):
    """Return the share of manipulated ones among those called so, by Bayes' rule."""
    if not tests["fake"] or not tests["real"]:
        return float("nan")
    true = base_rate * tests["true_positives"] / tests["fake"]
    false = (1 - base_rate) * tests["false_positives"] / tests["real"]
    return true / (true + false) if true + false else float("nan")


def stability(share):
    """Say what a share of the possible correlation means."""
    if not abs(share) < float("inf"):
        return "cannot be compared"
    return "stays" if share >= STABLE else "stays in part" if share >= HALF else "does not stay"


def times(share, even):
    """Say how a share compares with what an even spread would give."""
    if share != share or not even:
        return ""
    ratio = share / even
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:.0f} times"


def percent(share):
    """Return a share in percent."""
    return "none" if share != share else f"{round(100 * share)} %"
