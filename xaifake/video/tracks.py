"""Who is seen in some footage, and where (chapter 15_explain_a_video).

For training data a frame with several faces is thrown away, since nobody knows which one a label
means (Malolan, Parekh and Kazi 2020, section III A). Here there is no label: everybody is followed
through the footage and gets a verdict of their own.

Place and time come first: a track is a face that stays at its place within a shot (`Follower`).
What faces look like to dlib only joins tracks (`join_tracks`), under a limit at which at most 1 in
100 pairs of different people would be joined in every group of the portraits that has nine people
or more; `benchmarks/identities.py` measures it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any

import cv2
import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist, squareform

from xaifake.data.faces import Face, FaceFinder, cut_square, encode_jpeg, face_square

SAME_PERSON = 0.42  # between dlib's descriptions: tracks nearer than that are joined
ANOTHER_PERSON = 0.6  # the limit that dlib's author names: above it nobody is taken for the same
STEADY = 0.07  # seconds from frame to frame, over which a face can be followed
WATCHED = 2.0  # seconds between two searched frames, up to which those between are looked at
OVERLAP = 0.5  # of a face's box with its last place: intersection over union
CHANGED = 12.0  # grey levels by which a face's place may change from frame to frame
PORTRAIT = 192  # pixels
_LOOK = 16  # pixels
_FAR_APART = 1e9  # more than any two descriptions, also in the mean over many


@dataclass(frozen=True)
class FaceDetection:
    """A face in one frame.

    Attributes
    ----------
    number : int
        Of the frame.
    seconds : float or None
        Of the frame; None in pictures.
    face : Face
        In pixels of the frame.
    square : tuple of int
        ``(left, top, side)`` in pixels of the frame, as `xaifake.data.faces.face_square` cuts it.
    image : numpy.ndarray
        ``uint8 (size, size, 3)`` RGB: the square as the detector takes it.
    portrait : bytes
        The same at 192 x 192 pixels to look at, as JPEG.
    """

    number: int
    seconds: float | None
    face: Face
    square: tuple
    image: np.ndarray
    portrait: bytes


@dataclass
class FaceTrack:
    """Somebody who is seen in one or more frames: a track, or several that were joined.

    Attributes
    ----------
    detections : list of FaceDetection
        In the order of the frames, at most one a frame.
    description : numpy.ndarray
        ``float64 (128,)``, the mean of dlib's descriptions of the detections. It serves to tell the
        people of one piece of footage apart and is not written anywhere.
    """

    detections: list = field(default_factory=list)
    description: Any = None

    def add(self, detection, description):
        """Add a detection and its description."""
        seen = len(self.detections)
        before = 0 if self.description is None else self.description
        self.description = (before * seen + description) / (seen + 1)
        self.detections.append(detection)

    @property
    def images(self):
        """What the detector takes: ``uint8 (N, size, size, 3)``."""
        return np.stack([detection.image for detection in self.detections])

    def part(self, chosen: np.ndarray) -> "FaceTrack":
        """Return somebody who is seen in some of the detections only: those where bool (N,)."""
        detections = [s for s, wanted in zip(self.detections, chosen, strict=True) if wanted]
        return FaceTrack(detections, self.description)

    @property
    def numbers(self):
        """The frames in which the person is seen, a set of int."""
        return {detection.number for detection in self.detections}


class Follower:
    """Tells which faces stay at their place from frame to frame, within a shot.

    A face goes on where another was if their boxes overlap (`OVERLAP`), no other face could be
    meant, and in the frames read in between, at most `STEADY` seconds apart, the picture at that
    place changed by less than `CHANGED` grey levels from each to the next, on the average over
    16 x 16 pixels. So a cut ends it, whoever is seen behind it, and so does a fast motion. Frames
    further apart show nothing of what happened between them: there nobody is followed.
    """

    def __init__(self):
        self._seconds = None
        self._open = []  # faces that can go on: whose it is, the face, how its place looks

    def look(self, frame):
        """Compare a frame with the one before; end what changed."""
        still = self._seconds is not None and frame.seconds is not None
        still = still and 0 <= frame.seconds - self._seconds <= STEADY
        before, self._open, self._seconds = self._open if still else [], [], frame.seconds
        for owner, face, look in before:
            now = _look(frame.image, face)
            if np.abs(now - look).mean() < CHANGED:
                self._open.append((owner, face, now))

    def owners(self, faces):
        """Say whose place each face of the frame looked at last is: an owner, or None."""
        over = np.array(
            [[overlap(face.box, last.box) for _, last, _ in self._open] for face in faces]
        ).reshape(len(faces), len(self._open))
        over = over >= OVERLAP
        alone = over & (over.sum(axis=0) == 1) & (over.sum(axis=1, keepdims=True) == 1)
        return [self._open[row.argmax()][0] if row.any() else None for row in alone]

    def go_on(self, frame, faces, owners):
        """Follow these faces of the frame looked at last from here on."""
        kept = [
            (owner, last, look)
            for owner, last, look in self._open
            if all(overlap(face.box, last.box) < OVERLAP for face in faces)
            and all(other is not owner for other in owners)
        ]
        found = zip(owners, faces, strict=True)
        self._open = kept + [(owner, face, _look(frame.image, face)) for owner, face in found]


def track_faces(
    frames: Iterable,
    scale: float,
    size: int = 128,
    finder: FaceFinder | None = None,
    searched: Iterable[int] | None = None,
) -> list[FaceTrack]:
    """Find everybody in some frames and tell them apart.

    Parameters
    ----------
    frames : iterable of xaifake.data.media.Frame
        Read one at a time; few are kept at a time. Where they lie further apart than `STEADY`,
        faces are told apart by their descriptions alone: see `watched_frames`.
    scale : float
        Side of the square over the larger side of the face's box.
    size : int
        Side of the pictures that the detector takes, in pixels.
    finder : FaceFinder, optional
    searched : iterable of int, optional
        Ascending numbers of the frames that are searched for faces, or the next that could be
        read; the others only tell whether a face stayed at its place. All if not given.

    Returns
    -------
    list of FaceTrack
        The one seen most often first.
    """
    finder = finder or FaceFinder()
    return join_tracks(_tracks(frames, scale, size, finder, searched))


def _tracks(frames, scale, size, finder, searched):
    """Return a `FaceTrack` for each track."""
    follower, tracks, last = Follower(), [], {}

    def find(pair):
        frame, wanted = pair
        if not wanted:
            return None
        # A face that is too small to be judged is to be called that, and not to be overlooked.
        return finder.find(frame.image) or finder.find(frame.image, enlarged=1)

    for (frame, _), faces in finder.search(_wanted(frames, searched), find):
        follower.look(frame)
        if faces is None:
            continue
        owners = follower.owners(faces)
        for k, face in enumerate(faces):
            description = finder.describe(frame.image, face)
            track = owners[k]
            if track is None or not _apart(description, last[id(track)]) <= ANOTHER_PERSON:
                track = owners[k] = FaceTrack()
                tracks.append(track)
            track.add(_detection(frame, face, scale, size), description)
            last[id(track)] = description
        follower.go_on(frame, faces, owners)
    return tracks


def _wanted(frames, searched):
    """Yield each frame, and whether it is to be searched."""
    waiting = None if searched is None else deque(searched)
    for frame in frames:
        wanted = waiting is None
        while waiting and waiting[0] <= frame.number:
            waiting.popleft()
            wanted = True
        yield frame, wanted


def join_tracks(tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
    """Make people of tracks, by dlib's descriptions: agglomerative clustering, average linkage.

    The two nearest are joined first, and so on while two are within `SAME_PERSON`, in the mean
    over their tracks; never two that share a frame.

    Parameters
    ----------
    tracks : sequence of FaceTrack

    Returns
    -------
    list of FaceTrack
        The one seen most often first; with a mean description over the detections.
    """
    groups = np.arange(len(tracks))
    if len(tracks) > 1:
        apart = pdist(np.stack([track.description for track in tracks]))
        apart = squareform(np.where(np.isfinite(apart), apart, _FAR_APART))
        for i, j in combinations(range(len(tracks)), 2):
            if tracks[i].numbers & tracks[j].numbers:
                apart[i, j] = apart[j, i] = _FAR_APART
        groups = fcluster(linkage(squareform(apart), "average"), SAME_PERSON, "distance")
    people = [
        _joined([tracks[k] for k in np.flatnonzero(groups == group).tolist()])
        for group in dict.fromkeys(groups.tolist())
    ]
    return by_frames(people)


def by_frames(people):
    """Sort people, the one seen most often first; those seen as often as they come."""
    return sorted(people, key=lambda person: -len(person.detections))


def _joined(tracks):
    seen = [len(track.detections) for track in tracks]
    description = np.average([track.description for track in tracks], axis=0, weights=seen)
    detections = [detection for track in tracks for detection in track.detections]
    return FaceTrack(sorted(detections, key=lambda detection: detection.number), description)


def may_be_one(one: FaceTrack, other: FaceTrack) -> bool:
    """Whether two people who were not joined may be one: alike, and never seen in one frame."""
    return _apart(one.description, other.description) <= ANOTHER_PERSON and not (
        one.numbers & other.numbers
    )


def watched_frames(footage, searched: Sequence[int]) -> list[int]:
    """Return which frames to read so that faces can be followed from one searched to the next.

    Parameters
    ----------
    footage : xaifake.data.media.Media
    searched : sequence of int
        Ascending numbers of frames.

    Returns
    -------
    list of int
        Ascending: those searched, and, where two of these in a row are at most `WATCHED` seconds
        apart, frames between them that are at most `STEADY` seconds apart if the footage has such.
    """
    seconds, read = footage.seconds, list(searched[:1])
    for first, second in pairwise(searched):
        if seconds(first) is not None and seconds(second) - seconds(first) <= WATCHED:
            last = first
            for number in range(first + 2, second + 1):
                if seconds(number) - seconds(last) > STEADY:
                    last = number - 1
                    read.append(last)
        read.append(second)
    return read


def assign(people, descriptions):
    """Say whose face each description is: a person, or None for somebody new."""
    owners = [None] * len(descriptions)
    if not people or not descriptions:
        return owners
    known = np.stack([person.description for person in people])
    apart = np.linalg.norm(np.stack(descriptions)[:, None] - known, axis=-1)
    apart[~(apart <= SAME_PERSON)] = _FAR_APART
    for face, person in zip(*linear_sum_assignment(apart), strict=True):
        if apart[face, person] <= SAME_PERSON:
            owners[face] = people[person]
    return owners


def _apart(one, other):
    return float(np.linalg.norm(one - other))


def _look(image, face):
    """Return a face's place in few grey pixels, to see whether something else has taken it."""
    square = face_square(face, 1.0)
    return cv2.cvtColor(cut_square(image, square, _LOOK)[0], cv2.COLOR_RGB2GRAY).astype(float)


def overlap(one: tuple, other: tuple) -> float:
    """Return the intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def _detection(frame, face, scale, size):
    square = face_square(face, scale)
    image, _ = cut_square(frame.image, square, size)
    portrait, _ = cut_square(frame.image, square, PORTRAIT)
    return FaceDetection(frame.number, frame.seconds, face, square, image, encode_jpeg(portrait))
