"""Who is seen in some footage, and where (chapter 12_explain_a_video).

For training data a frame with several faces is thrown away, since nobody knows which one a label
means (Malolan, Parekh and Kazi 2020, section III A). Here there is no label: everybody is followed
through the footage and gets a verdict of their own.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from xaifake.data.faces import Face, FaceFinder, cut_square, encode_jpeg, face_square

SAME_PERSON = 0.6  # between dlib's descriptions; its author's own limit
PORTRAIT = 192  # pixels
_FAR_APART = 1e3  # more than any two descriptions


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
    """Somebody who is seen in one or more frames.

    Attributes
    ----------
    detections : list of FaceDetection
        In the order of the frames, at most one a frame.
    description : numpy.ndarray
        ``float64 (128,)``, the mean of dlib's descriptions of the detections. It serves to tell the
        people of one piece of footage apart and is not written anywhere.
    """

    detections: list = field(default_factory=list)
    description: np.ndarray | None = None

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


def track_faces(frames, scale, size=128, finder=None):
    """Find everybody in some frames and tell them apart.

    A face belongs to the person whose mean description is nearest, if it is within `SAME_PERSON`,
    and no two faces of a frame to one person (the assignment of Kuhn 1955). So people may leave
    and come back, or change places from one frame to the next.

    Parameters
    ----------
    frames : iterable of xaifake.data.media.Frame
        Read one at a time; few are kept at a time.
    scale : float
        Side of the square over the larger side of the face's box.
    size : int
        Side of the pictures that the detector takes, in pixels.
    finder : FaceFinder, optional

    Returns
    -------
    list of FaceTrack
        The one seen most often first.
    """
    finder, people = finder or FaceFinder(), []

    def find(frame):
        # A face that is too small to be judged is to be called that, and not to be overlooked.
        return finder.find(frame.image) or finder.find(frame.image, enlarged=1)

    for frame, faces in finder.search(frames, find):
        descriptions = [finder.describe(frame.image, face) for face in faces]
        owners = assign(people, descriptions)
        for face, description, owner in zip(faces, descriptions, owners, strict=True):
            if owner is None:
                owner = FaceTrack()
                people.append(owner)
            owner.add(_sighting(frame, face, scale, size), description)
    return sorted(people, key=lambda person: -len(person.detections))


def assign(people, descriptions):
    """Say whose face each description is: a person, or None for somebody new."""
    owners = [None] * len(descriptions)
    if not people or not descriptions:
        return owners
    known = np.stack([person.description for person in people])
    apart = np.linalg.norm(np.stack(descriptions)[:, None] - known, axis=-1)
    apart[apart > SAME_PERSON] = _FAR_APART
    for face, person in zip(*linear_sum_assignment(apart), strict=True):
        if apart[face, person] <= SAME_PERSON:
            owners[face] = people[person]
    return owners


def _sighting(frame, face, scale, size):
    square = face_square(face, scale)
    image, _ = cut_square(frame.image, square, size)
    portrait, _ = cut_square(frame.image, square, PORTRAIT)
    return FaceDetection(frame.number, frame.seconds, face, square, image, encode_jpeg(portrait))
