"""A video with the heatmap over every face and the running score (chapter 15_explain_a_video)."""

from contextlib import ExitStack
from itertools import islice, tee
from pathlib import Path

import cv2
import numpy as np
from scipy.special import expit

from xaifake.data.encoding import VideoWriter
from xaifake.data.faces import FULL_SEARCH_EVERY, FaceFinder, cut_square, face_square
from xaifake.data.marks import COMPOSITE, ILLUSTRATION, SWAP, mp4_box
from xaifake.data.media import open_media
from xaifake.errors import UserError
from xaifake.heatmaps import colour_limit
from xaifake.progress import progress_bar
from xaifake.video import wording
from xaifake.video.case_report import find_configs
from xaifake.video.pictures import tinted
from xaifake.video.tracks import OVERLAP, FaceTrack, Follower, assign, overlap

BATCH = 32  # frames; fewer of larger ones than full HD, of which each has up to 100 MB
_FULL_HD = 1920 * 1080
SMOOTHED = 2.0  # pixels of the map: single pixels flicker from frame to frame
STRENGTH = 0.65  # of the colour where the map is darkest
BAND = 34  # pixels below the picture
CRF = 20
_CHEAP = "gradient (absolute)"


def check_overlay(out, path):
    """Refuse to write a video that cannot be written, before the long work begins."""
    if out is None:
        return
    if out.suffix.lower() != ".mp4":
        raise UserError(f"{out} is not the name of a video: give one that ends in .mp4.")
    if open_media(path).kind != "video":
        raise UserError(f"{path} is no video: --video needs one.")
    if not out.parent.is_dir():
        raise UserError(f"There is no folder {out.parent} to write {out.name} to: make it first.")
    if out.exists() and Path(path).exists() and out.samefile(path):
        raise UserError(f"{out} is the video that is explained: give another name.")


def write_overlay(report, out, progress=True):
    """Write the footage of a report with heatmaps over the faces and the running scores.

    Every frame is searched, judged and explained by the first of the report's methods that needs
    only a few passes through the network. There is no sound. Frames keep their times.

    Parameters
    ----------
    report : xaifake.video.report.Report
        Of a video.
    out : str or Path
        An ``.mp4`` file; it appears whole or not at all.
    progress : bool
        Show a progress bar.

    Raises
    ------
    UserError
        If the footage is no video, or none of its frames can be read.
    """
    footage = report.footage
    if footage.kind != "video":
        raise UserError(f"{footage.name} is a {footage.kind}: --video needs a video.")
    config = next((e for e in find_configs(report.settings["methods"]) if not e.slow), None)
    config = config or find_configs([_CHEAP])[0]
    finder = FaceFinder()
    artist = _Artist(report, config, finder)
    first = next(footage.read(), None)
    if first is None:
        raise UserError(f"Not a single frame of {footage.name} can be read: there is no video.")
    held = int(np.clip(BATCH * _FULL_HD / first.image[..., 0].size, 1, BATCH))
    small = any("too_small" in v.flags for v in report.predictions)
    pairs = _with_faces(footage, finder, small, min(held, FULL_SEARCH_EVERY))
    if progress:
        print(wording.overlay_estimate(len(footage)))
    bar = progress_bar(show=progress, total=len(footage), unit="frame", desc="video")
    title = f"Analysis by xaifake: {footage.name}"
    swapped = report.truth.get("label") == 1
    mark = mp4_box(*((SWAP, ILLUSTRATION) if swapped else (COMPOSITE, "analysis by xaifake")))
    with bar, ExitStack() as opened:
        writer = None
        while batch := list(islice(pairs, held)):
            for frame, picture in artist.draw(batch):
                if writer is None:
                    size = picture.shape[1], picture.shape[0]
                    writer = opened.enter_context(
                        VideoWriter(Path(out), CRF, size, title, mark=mark)
                    )
                # A stream may change its size; an encoder cannot.
                writer.write(cv2.resize(picture, size), frame.seconds)
                bar.update()


def _with_faces(footage, finder, small, every):
    """Yield every frame with the faces in it; small ones are looked for as `track_faces` does."""
    shown, searched = tee(footage.read())
    found = finder.follow((frame.image for frame in searched), every)
    for frame, faces in zip(shown, found, strict=True):
        if small and not faces:
            faces = finder.find(frame.image, enlarged=1)
        yield frame, faces


class _Artist:
    """Draws on frames in their order; knows who was where a frame ago."""

    def __init__(self, report, config, finder):
        self.report, self.config, self.finder = report, config, finder
        self.people = [prediction.person for prediction in report.predictions]
        self.doubtful = {id(v.person) for v in report.predictions if v.flags}
        self.scores = {}  # by person: sum and number of the probabilities so far
        self.limits = {}  # by person: what the darkest colour stands for
        self.follower = Follower()
        self.note = wording.overlay_note(config.name)
        if report.truth.get("label") == 1:
            self.note = f"Manipulated research illustration. {self.note}"

    def draw(self, batch):
        """Yield each frame with its drawn picture."""
        seen = [self._who(frame, faces) for frame, faces in batch]
        squares = [
            [face_square(face, self.report.detector.scale) for face, _ in pairs] for pairs in seen
        ]
        crops = [
            cut_square(frame.image, square, self.report.detector.side)[0]
            for (frame, _), ones in zip(batch, squares, strict=True)
            for square in ones
        ]
        maps, logits = iter(()), iter(())
        if crops:
            heatmaps, said = self.config.maps(self.report.detector, np.stack(crops))
            maps, logits = iter(heatmaps), iter(said["logit"])
        for (frame, _), pairs, ones in zip(batch, seen, squares, strict=True):
            picture = frame.image.copy()
            for (_, person), square in zip(pairs, ones, strict=True):
                self._paint(picture, square, person, next(maps), float(expit(next(logits))))
            yield frame, self._banded(picture)

    def _who(self, frame, faces):
        """Say whose each face is: the page's word, or of whom it is followed, or looks like."""
        self.follower.look(frame)
        owners = [self._on_the_page(frame, face) for face in faces]
        for k, followed in enumerate(self.follower.owners(faces)):
            if owners[k] is None and not _among(followed, owners):
                owners[k] = followed
        self._describe(frame, faces, owners)
        self.follower.go_on(frame, faces, owners)
        return list(zip(faces, owners, strict=True))

    def _on_the_page(self, frame, face):
        """Return whose face the page found here in this frame; None if it did not look at it."""
        here = [
            person
            for person in self.people
            for detection in person.detections
            if detection.number == frame.number and overlap(detection.face.box, face.box) >= OVERLAP
        ]
        return here[0] if len(here) == 1 else None

    def _describe(self, frame, faces, owners):
        """Fill in who is not known yet, by what they look like; somebody new if like nobody."""

        def long_ago(person):
            return min((abs(s.number - frame.number) for s in person.detections), default=np.inf)

        unknown = [k for k, owner in enumerate(owners) if owner is None]
        descriptions = [self.finder.describe(frame.image, faces[k]) for k in unknown]
        # Of two who look the same, as parts of a person do, the one seen nearest in time.
        others = [person for person in self.people if not _among(person, owners)]
        found = assign(sorted(others, key=long_ago), descriptions) if unknown else []
        for k, description, owner in zip(unknown, descriptions, found, strict=True):
            if owner is None:
                owner = FaceTrack(description=description)
                self.people.append(owner)
            owners[k] = owner

    def _paint(self, picture, square, person, heatmap, probability):
        left, top, side = square
        total, count = self.scores.get(id(person), (0.0, 0))
        self.scores[id(person)] = total, count = total + probability, count + 1
        heatmap = cv2.GaussianBlur(heatmap.astype(np.float32), (0, 0), SMOOTHED)
        limit = self.limits.setdefault(id(person), colour_limit(heatmap))
        large = cv2.resize(np.clip(heatmap / limit, -1, 1), (side, side))
        height, width = picture.shape[:2]
        rows, columns = (
            slice(max(top, 0), min(top + side, height)),
            slice(max(left, 0), min(left + side, width)),
        )
        large = large[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        picture[rows, columns] = tinted(picture[rows, columns], large, STRENGTH)
        cv2.rectangle(picture, (left, top), (left + side, top + side), (255, 255, 255), 2)
        number = next(k for k, other in enumerate(self.people, 1) if other is person)
        mean = total / count
        label = f"person {number}: {probability:.2f}, so far {mean:.2f}"
        if id(person) in self.doubtful:
            label = f"person {number}: {probability:.2f}, does not count"
        _write(picture, label, (max(left, 2), max(top - 8, 22)))

    def _banded(self, picture):
        height, width = picture.shape[:2]
        band = np.zeros((BAND + height % 2, width, 3), np.uint8)
        _write(band, self.note, (8, 23), fit=width - 16)
        picture = np.concatenate([picture, band])
        return np.ascontiguousarray(picture[:, : width - width % 2])


def _write(picture, text, place, fit=None):
    """Write a line of white text on black; with `fit` made small enough for so many pixels."""
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.65
    (wide, high), _ = cv2.getTextSize(text, font, size, 1)
    if fit and wide > fit:
        size *= fit / wide
    elif not fit:
        x, y = place
        cv2.rectangle(picture, (x - 2, y - high - 5), (x + wide + 4, y + 6), (0, 0, 0), -1)
    cv2.putText(picture, text, place, font, size, (255, 255, 255), 1, cv2.LINE_AA)


def _among(person, people):
    return any(person is other for other in people)
