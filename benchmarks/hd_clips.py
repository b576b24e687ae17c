"""Clips of 1920 x 1080 with people of the embedded portraits before larger, moving backgrounds.

What extraction is measured and tested on at the size of real footage: one person, two (the second
for a part of the clip), none, or one who leaves the picture and comes back.
"""

import cv2
import numpy as np

from xaifake.data.encoding import VideoWriter
from xaifake.data.rendering import SCENES, Scene

WIDTH, HEIGHT = 1920, 1080
CRF = 23
_SPARE = 800  # pixels that the background is larger
KINDS = ("one", "two", "none", "leaving")


def hd_frames(kind, people, n_frames, seed=0):
    """Yield the frames of a clip.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    people : tuple of str
        The one that is seen, and the second of ``"two"``, as in `read_portraits`.
    n_frames : int
    seed : int
        Of background, sizes and paths. A person's picture is 270 to 936 px wide.

    Yields
    ------
    frame : numpy.ndarray
        ``uint8 (1080, 1920, 3)`` RGB.
    faces : int
        How many people are wholly in the picture; a person at its edge counts as a half.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    # In a long clip the background moves slower, so that there is always some of it.
    background, pan = _background(rng), rng.uniform(-1, 1, 2) * min(6, _SPARE / 2 / n_frames)
    actors = [_Actor(person, n_frames, rng) for person in people[: 2 if kind == "two" else 1]]
    if kind == "two":
        actors[0].x, actors[1].x = rng.uniform(0.1, 0.3) * WIDTH, rng.uniform(0.65, 0.85) * WIDTH
        actors[1].seen = range(n_frames // 3, n_frames)
    for i in range(n_frames):
        x, y = (_SPARE / 2 + pan * i).round().astype(int)
        frame = background[y : y + HEIGHT, x : x + WIDTH].copy()
        inside = 0.0
        for actor in actors if kind != "none" else ():
            away = 1.3 * WIDTH * max(0, 1 - abs(i / n_frames - 0.5) * 6) * (kind == "leaving")
            inside += actor.paint(frame, i, away) if i in actor.seen else 0
        yield frame, inside


class _Actor:
    """A person, cut out softly, who drifts through the picture."""

    def __init__(self, person, n_frames, rng):
        self.scene = Scene(person, str(rng.choice(list(SCENES))), n_frames, int(rng.integers(99)))
        self.size = int(360 * np.exp(rng.uniform(np.log(0.75), np.log(2.6))))
        self.x, self.y = rng.uniform(0.25, 0.75) * WIDTH, rng.uniform(0.4, 0.6) * HEIGHT
        self.speed = rng.uniform(-5, 5, 2)
        self.seen = range(n_frames)
        away = np.hypot(*np.mgrid[-1 : 1 : self.size * 1j, -1 : 1 : self.size * 1j])
        self.alpha = np.clip((1.0 - away) / 0.08, 0, 1)[..., None].astype(np.float32)

    def paint(self, frame, i, away):
        """Put the person into a frame; say how much of them is in it: 0, 0.5 or 1."""
        picture, _ = self.scene.frame(i, self.scene.portrait.images, None)
        picture = cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_CUBIC)
        left = round(self.x + self.speed[0] * i + away - self.size / 2)
        top = round(self.y + self.speed[1] * i - self.size / 2)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + self.size, WIDTH), min(top + self.size, HEIGHT)
        if x1 <= x0 or y1 <= y0:
            return 0
        part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        alpha, there = self.alpha[part], frame[y0:y1, x0:x1]
        there[:] = np.rint(alpha * picture[part] + (1 - alpha) * there)
        return 1 if (x1 - x0) * (y1 - y0) == self.size**2 else 0.5


def _background(rng):
    """Return a picture larger than a frame, with large and small things in it."""
    height, width = HEIGHT + _SPARE, WIDTH + _SPARE
    picture = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((6, 0.6), (40, 0.25), (300, 0.15)):
        small = rng.uniform(0, 255, (cells, cells * 16 // 9, 3)).astype(np.float32)
        picture += weight * cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    for _ in range(30):  # edges, as of furniture and windows
        x, y = rng.integers(0, (width, height))
        end = int(x + rng.integers(50, 500)), int(y + rng.integers(50, 500))
        colour = rng.uniform(0, 255, 3).tolist()
        cv2.rectangle(picture, (int(x), int(y)), end, colour, int(rng.choice([-1, 3, 8])))
    return picture.clip(0, 255).astype(np.uint8)


def write_hd_clip(path, frames):
    """Write frames as H.264, about as hard compressed as DFD's c23."""
    with VideoWriter(path, CRF, (WIDTH, HEIGHT)) as writer:
        for frame in frames:
            writer.write(frame)


def overlap(one, other):
    """Return the intersection over union of squares, two arrays (N, 3) of left, top, side."""
    low = np.maximum(one[:, :2], other[:, :2])
    high = np.minimum(one[:, :2] + one[:, 2:], other[:, :2] + other[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    return shared / (one[:, 2] ** 2 + other[:, 2] ** 2 - shared)
