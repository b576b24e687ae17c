"""How often a score is taken to change in a step where it does not, and the other way round.

    python benchmarks/steps.py  # ten minutes on two cores

Over the embedded `small` clips, of people whom the detector has not seen: each as it is, and a fake
that the detector calls fake spliced with somebody's real clip that it calls real.
"""

import numpy as np
import pandas as pd
from scipy.special import expit

from xaifake.data import read_catalogue
from xaifake.data.clips import embedded_clips
from xaifake.data.media import open_media
from xaifake.detector import Detector
from xaifake.progress import progress_bar
from xaifake.video.steps import contradicting
from xaifake.video.tracks import track_faces
from xaifake.video.wording import UNDECIDED

SPLICES = [(16, 16), (6, 26), (4, 28), (10, 12, 10), (8, 8, 8, 8), (5,) * 6]  # frames in turns
DRAWS = 200


def answers(detector, catalogue):
    """Return each clip's probabilities of fake, frame by frame: a list of float (N,)."""
    found = []
    for path in progress_bar(catalogue.path, show=True, unit="clip"):
        (person,) = track_faces(open_media(path).read(), detector.scale, detector.side)
        found.append(expit(detector.logits(person.images).astype(np.float64)))
    return found


def some(probabilities, count):
    """Return so many of a clip's probabilities, evenly spread."""
    return probabilities[np.linspace(0, len(probabilities) - 1, count).round().astype(int)]


def false_steps(probabilities):
    """Return the share of clips with a step, by the number of their frames looked at."""
    return {
        count: np.mean([contradicting(some(one, count)) is not None for one in probabilities])
        for count in (32, 16)
    }


def splice(fakes, reals, lengths, rng):
    """Return a fake and a real clip in turns, and which frames are of the fake."""
    pair, first = (
        (fakes[rng.integers(len(fakes))], reals[rng.integers(len(reals))]),
        rng.integers(2),
    )
    turns = [(k + first) % 2 for k in range(len(lengths))]
    parts = [some(pair[turn], count) for turn, count in zip(turns, lengths, strict=True)]
    return np.concatenate(parts), np.repeat(turns, lengths) == 0


def found_steps(fakes, reals):
    """Return one row per kind of splice: the share found, and of the frames that are right then."""
    rng, rows = np.random.default_rng(0), []
    for lengths in SPLICES:
        tried = [splice(fakes, reals, lengths, rng) for _ in range(DRAWS)]
        found = [(contradicting(one), truth) for one, truth in tried]
        right = [(high == truth).mean() for high, truth in found if high is not None]
        rows.append({"frames in turns": lengths, "found": len(right) / DRAWS,
                     "frames right": np.mean(right)})  # fmt: skip
    return pd.DataFrame(rows)


if __name__ == "__main__":
    catalogue = read_catalogue(embedded_clips("small"))
    probabilities = answers(Detector.pretrained(), catalogue)
    pairs = list(zip(probabilities, catalogue.label, strict=True))
    fakes = [one for one, label in pairs if label == 1 and one.mean() >= UNDECIDED[1]]
    reals = [one for one, label in pairs if label == 0 and one.mean() <= UNDECIDED[0]]
    print(f"{len(pairs)} clips; with a step, by frames looked at: {false_steps(probabilities)}")
    print(f"spliced: {len(fakes)} fakes called fake with {len(reals)} real clips called real")
    print(found_steps(fakes, reals).round(3).to_string(index=False))
