"""How often different people are taken for one, and one person for two, by group.

    python benchmarks/identities.py          # five minutes on two cores
    python benchmarks/identities.py --store  # and fill the table of book/responsible_use.md

The groups are those that the people of the embedded portraits name themselves. Of everybody there
are two pictures, neutral and smiling, and three scenes of a second each, with other light, motion
and camera; of a scene four frames are described, and their mean is that of a track.
"""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from xaifake.data.faces import Face, FaceFinder
from xaifake.data.portraits import load_portrait, read_portraits
from xaifake.data.rendering import SCENES, Scene
from xaifake.video.tracks import ANOTHER_PERSON, SAME_PERSON, FaceDetection, FaceTrack, join_tracks

PAGE = Path(__file__).parents[1] / "book" / "responsible_use.md"
MARKED = re.compile(r"(?<=<!-- identities -->\n).*?(?=\n<!-- /identities -->)", re.DOTALL)
LEAST_PEOPLE = 9  # of a group of which anything is said
_FRAMES = (0, 6, 16, 31)


def groups():
    """Return the people of each group that is large enough, by name."""
    people = read_portraits()
    members = {name: list(rows.index) for name, rows in people.groupby("ethnicity")}
    members = {name: ones for name, ones in members.items() if len(ones) >= LEAST_PEOPLE}
    return dict(sorted(members.items(), key=lambda item: -len(item[1])))


def portraits(finder, people):
    """Return the descriptions of people's two pictures: float (N, 2, 128)."""
    return np.array([[_described(finder, *pair) for pair in _pictures(who)] for who in people])


def _pictures(person):
    portrait = load_portrait(person)
    return zip(portrait.images, portrait.landmarks, strict=True)


def _described(finder, image, landmarks):
    # dlib describes what lies between the landmarks; the box is told and not used.
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    return finder.describe(image, Face((*map(int, low), *map(int, high)), landmarks))


def scenes(finder, people, count=3):
    """Return the mean descriptions of people's scenes: float (N, count, 128)."""
    return np.array(
        [[_scene(finder, Scene(who, name)) for name in list(SCENES)[:count]] for who in people]
    )


def _scene(finder, scene):
    found = []
    for number in _FRAMES:
        frame, _ = scene.frame(number, scene.portrait.images)
        found += [finder.describe(frame, face) for face in finder.find(frame)]
    return np.mean(found, axis=0)


def nearest(descriptions):
    """Return how near any description of one comes to any of another, by pair: float (pairs,)."""
    pairs = zip(*np.triu_indices(len(descriptions), 1), strict=True)
    return np.array([cdist(descriptions[i], descriptions[j]).min() for i, j in pairs])


def split(descriptions):
    """Return who is more than one person to `join_tracks`: bool (N,)."""
    return np.array([len(joined(one[None])) > 1 for one in descriptions])


def joined(descriptions):
    """Return what `join_tracks` makes of tracks (N, K, 128), K of each: a list of sets of N."""
    tracks, owners = [], {}
    for number, (who, k) in enumerate(np.ndindex(descriptions.shape[:2])):
        face = Face((0, 0, 1, 1), np.zeros((68, 2), np.float32))
        detection = FaceDetection(number, None, face, (0, 0, 1), np.zeros((1, 1, 3), np.uint8), b"")
        tracks.append(FaceTrack([detection], descriptions[who, k]))
        owners[number] = who
    return [{owners[number] for number in person.numbers} for person in join_tracks(tracks)]


def table(by_group):
    """Return one row a group, from pictures and scenes: dict of str to a pair of float arrays."""
    rows = []
    for name, (pictures, tracks) in by_group.items():
        near, moving = nearest(pictures), nearest(tracks)
        rows.append(
            {
                "group": name.replace("_asian", " Asian"),
                "people": len(pictures),
                "pairs": len(near),
                f"joined at {ANOTHER_PERSON}": _share(near <= ANOTHER_PERSON),
                f"joined at {SAME_PERSON}": _share(near <= SAME_PERSON),
                "nearest pair": f"{near.min():.2f}",
                "one in two": _share(split(pictures)),
                "joined, scenes": _share(moving <= SAME_PERSON),
                "one in two, scenes": _share(split(tracks)),
            }
        )
    return pd.DataFrame(rows)


def _share(found):
    return f"{100 * found.mean():.1f} %" if found.any() else "none"


def markdown(rows):
    """Return a table for the page."""
    lines = [rows.columns, ["---"] * len(rows.columns), *rows.itertuples(index=False)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    finder = FaceFinder()
    found = {
        name: (portraits(finder, people), scenes(finder, people))
        for name, people in groups().items()
    }
    rows = markdown(table(found))
    print(rows)
    if "--store" in sys.argv:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(MARKED.sub(lambda _: f"\n{rows}\n", page), encoding="utf-8")
