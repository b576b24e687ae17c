"""One page about a video: what was found of every face, on what grounds (15_explain_a_video).

The page is a single file that asks for nothing else, runs no code, and explains its own words. All
text that comes from the video's name or header is escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from joblib import cpu_count
from scipy.special import expit

from xaifake.data.alignment import align, small_frames
from xaifake.data.clips import embedded_truth
from xaifake.data.faces import cut_square
from xaifake.data.marks import COMPOSITE, ILLUSTRATION, LABELLED, SWAP
from xaifake.data.media import Media, open_media
from xaifake.detector.detector import Detector, as_detector
from xaifake.errors import UserError
from xaifake.lazy import renamed_arguments
from xaifake.progress import progress_bar
from xaifake.runs import ResultCache, write_text
from xaifake.video import wording
from xaifake.video.case_report import (
    METHODS,
    CaseReport,
    as_faces,
    check_aligned,
    count_maps,
    count_passes,
    deciding_frames,
    find_configs,
    report_case,
    right_places,
)
from xaifake.video.credentials import content_credentials
from xaifake.video.evidence import BASE_RATES
from xaifake.video.pictures import heatmap_pictures, marked_jpeg, place_chart, score_chart
from xaifake.video.reference import Reference, check_faces, log_odds, raised_flags, reference_for
from xaifake.video.steps import contradicting
from xaifake.video.tracks import (
    FaceTrack,
    by_frames,
    may_be_one,
    track_faces,
    watched_frames,
)

_KEPT = "explain_video"  # sub-folder of `cache_dir`
TEMPLATES = Path(__file__).parents[1] / "assets" / "report"
FRAMES = 32
PICTURES = 3  # of a person, that are explained
EXPLAINED = 6  # people, those seen most often; the others get a verdict without heatmaps
MOST_MAPS = 54  # people times methods: what is beyond would make the page too large
PORTRAYED = 40  # people
LEAST_GAP = 0.5  # logits between a fake and its original; below that there is nothing to put back
_COLUMNS = ["person", "frames", "probability", "evidence", "reasons"]
_SEARCH_SECONDS = 0.45  # for a frame of 1920 x 1080, measured on one core of an x86 server
_READ_SECONDS = 0.01  # for a frame of 1920 x 1080 that is not searched
_START_SECONDS = 20  # in which methods prepare the network


@dataclass
class Prediction:
    """What the detector makes of one person.

    Attributes
    ----------
    person : xaifake.video.tracks.FaceTrack
    logits : numpy.ndarray of float, (N,)
        Of the person's detections.
    checks : pandas.DataFrame
        Of `xaifake.video.reference.check_faces`, one row per detection; `unanswered` says whether
        an answer of the detector about this person is not a number.
    deciding : numpy.ndarray of int
        Indices of the detections that decided, the heaviest first.
    case : xaifake.video.case_report.CaseReport or None
        None for people beyond those that are seen most often (`EXPLAINED`, `MOST_MAPS`), and where
        an answer of the detector is not a number.
    notes : list of str
        Why something was left out, in sentences.
    """

    person: FaceTrack
    logits: np.ndarray
    checks: pd.DataFrame
    deciding: np.ndarray
    case: CaseReport | None = None
    notes: list = field(default_factory=list)

    @property
    def probability(self):
        """Of fake: the mean over the frames."""
        return float(expit(np.asarray(self.logits, np.float64)).mean())

    @property
    def flags(self):
        """Names of `xaifake.video.reference.FLAGS` for which the score does not count."""
        return raised_flags(self.checks)

    @property
    def logit(self):
        """The logit of that probability."""
        return log_odds(self.logits)


@dataclass
class Report:
    """Everything that the page says.

    Attributes
    ----------
    footage : xaifake.data.media.Media
    digest : str
        SHA-256 of the file.
    looked_at : int
        Frames that could be read and were searched for faces.
    predictions : list of Prediction
        The person seen most often first.
    reference : xaifake.video.reference.Reference
        What is known of the detector.
    truth : dict
        ``label`` and ``original`` where the footage is one of the embedded clips, else empty.
    settings : dict
        scale, methods, weights and faces (None for the shipped ones) and fingerprint (of the
        weights).
    detector : Detector
    parted : list of tuple
        Two people each, who were taken for one, and whose scores contradict each other.
    """

    footage: Media
    digest: str
    looked_at: int
    predictions: list
    reference: Reference
    truth: dict
    settings: dict
    detector: Detector = field(repr=False)
    parted: list = field(default_factory=list, repr=False)

    @property
    def measured(self):
        """Whether videos like this one are among those that the detector was measured on."""
        return self.truth.get("label") is not None or self.settings["faces"] is not None

    def evidence(self, prediction):
        """Return in a word how much speaks for a swapped face.

        Returns
        -------
        str
            "none", "weak" or "moderate" (`xaifake.video.evidence`), and no more than "weak" for
            footage of a kind that nobody has measured; "withheld" where the score does not count.
        """
        if prediction.flags:
            return "withheld"
        word = self.reference.evidence.word(prediction.logit)
        return "weak" if word == "moderate" and not self.measured else word

    @property
    def alike(self):
        """Who may be one person, by number, and why: (one, other, "step" or "alike")."""
        people = [prediction.person for prediction in self.predictions]
        steps = {frozenset(map(id, pair)) for pair in self.parted}
        return [
            (i + 1, j + 1, "step" if {id(people[i]), id(people[j])} in steps else "alike")
            for i in range(len(people))
            for j in range(i + 1, len(people))
            if may_be_one(people[i], people[j])
        ]

    @property
    def table(self):
        """One row per person, a `pandas.DataFrame`; `reasons` say why evidence is withheld."""
        rows = [
            {
                "person": number,
                "frames": len(prediction.logits),
                "probability": prediction.probability,
                "evidence": self.evidence(prediction),
                "reasons": ", ".join(prediction.flags),
            }
            for number, prediction in enumerate(self.predictions, start=1)
        ]
        return pd.DataFrame(rows, columns=_COLUMNS)

    def html(self, day=None):
        """Return the page.

        Parameters
        ----------
        day : datetime.date, optional
            Written at its end; today if not given. All else is the same for the same input.
        """
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        page = environment.get_template("report.html.jinja")
        return page.render(
            report=self, words=wording, day=(day or date.today()).isoformat(),
            people=[_person(self, n) for n in range(len(self.predictions))],
            tested=self._tested, credentials=content_credentials(self.footage.path),
            version=version("xaifake"),
        )  # fmt: skip

    def write(self, out, day=None):
        """Write the page; it appears whole or not at all."""
        write_text(out, self.html(day))

    @cached_property
    def _tested(self):
        """How often each method was right on the shipped detector; None for another one."""
        return right_places(self.detector.scale) if self.detector.shipped else None


@renamed_arguments(faces="faces_dir", keep="cache_dir", parent="original")
def explain_video(
    path: str | Path,
    detector: Detector | None = None,
    methods: Sequence[str] = METHODS,
    frames: int = FRAMES,
    faces_dir: str | Path | None = None,
    original: str | Path | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    reference: Reference | None = None,
) -> Report:
    """Judge every face in a video, a folder of pictures or a picture, and explain the verdicts.

    Parameters
    ----------
    path : str or Path
        See `xaifake.data.media.open_media`.
    detector : Detector, optional
        The shipped one of the larger scale if not given. For another one give `faces_dir`, faces
        that were cut for its size and that it has not seen.
    methods : sequence of str
        See `xaifake.video.case_report.find_configs`.
    frames : int
        Frames that are looked at, evenly spread over the time.
    faces_dir : str or Path, optional
        Folder of `extract_faces` with test faces that the detector's reliability is measured on;
        the faces that come with the package if not given.
    original : str or Path, optional
        The real video that the footage was made from, pixel by pixel in register; frames may have
        been left out, see `xaifake.data.alignment.align`. The embedded clips' own is found without
        it.
    cache_dir : str or Path, optional
        Folder in which finished maps are kept until the end, so that a second call goes on. They
        lie in a sub-folder of their own; nothing else in the folder is touched.
    progress : bool
        Say how long it will take, and show progress bars.
    reference : xaifake.video.reference.Reference, optional
        What is known of the detector; as `faces_dir` says if not given.

    Returns
    -------
    Report

    Raises
    ------
    UserError
        If there is nothing to see, a method is unknown, the original is another video, or the
        sub-folder of `cache_dir` is there and was not made by this function, or another process is
        at work in it.
    """
    configs = find_configs(methods)
    if frames < 1:
        raise UserError(f"frames={frames}: give the number of frames to look at, at least 1.")
    footage = open_media(path)
    detector = Detector.pretrained() if detector is None else as_detector(detector)
    numbers = footage.spread(frames)
    watched = watched_frames(footage, numbers)
    settings = {
        "scale": detector.known_scale,
        "methods": [config.name for config in configs],
        "weights": None if detector.shipped else detector.name,
        "faces": None if faces_dir is None else Path(faces_dir).name,
        "fingerprint": detector.fingerprint,
    }
    file_digest = _digest(footage.path)
    run = {**settings, "digest": file_digest, "frames": numbers}
    cache = None if cache_dir is None else ResultCache(Path(cache_dir) / _KEPT, run)
    with nullcontext() if cache is None else cache.scratch() as kept:
        pass_seconds = _time_a_pass(detector)
        seconds = _one_person(configs, pass_seconds, numbers, len(watched) - len(numbers))
        if progress:
            print(wording.estimate(len(numbers), len(configs), seconds))
        reference = reference or reference_for(detector, faces_dir, progress)
        predictions, parted, looked_at = judge_footage(
            footage, numbers, detector, reference, progress
        )
        truth = embedded_truth(footage.path)
        if original is not None:
            truth = {"label": None, **truth, "original": Path(original)}
        report = Report(
            footage, file_digest, looked_at, predictions, reference, truth, settings, detector,
            parted,
        )  # fmt: skip
        _examine(report, configs, kept, pass_seconds, progress)
    return report


def check_page(out, path):
    """Return where the page goes; `out`, or a name made from the footage's in this folder.

    Raises
    ------
    UserError
        If there is no such folder, or something else than a page would be overwritten.
    """
    if out is None:
        out = f"{Path(os.path.abspath(path)).name or 'footage'}_report.html"
    out = Path(out)
    if not out.parent.is_dir():
        raise UserError(f"There is no folder {out.parent} to write {out.name} to: make it first.")
    if out.is_dir() or out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{out} is not the name of a page: give one that ends in .html.")
    return out


def judge_footage(footage, numbers, detector, reference, progress=False):
    """Find the people in some footage and judge them.

    Parameters
    ----------
    footage : xaifake.data.media.Media
    numbers : list of int
        The frames that are searched.
    detector : Detector
    reference : xaifake.video.reference.Reference
    progress : bool
        Show a progress bar.

    Returns
    -------
    predictions, parted : list
        Of `judge_people`.
    looked_at : int
        Frames that could be read and were searched.
    """
    read, watched = [], watched_frames(footage, numbers)
    looking = progress_bar(
        footage.read(watched), show=progress, total=len(watched), unit="frame", desc="faces"
    )
    looking = _noted(looking, read)
    people = track_faces(looking, detector.known_scale, detector.side, searched=numbers)
    return *judge_people(detector, people, reference), _searched(read, numbers)


def judge_people(
    detector: Detector, people: list[FaceTrack], reference: Reference
) -> tuple[list[Prediction], list[tuple[FaceTrack, ...]]]:
    """Judge people, and part those whose scores change in a step.

    Parameters
    ----------
    detector : Detector
    people : list of xaifake.video.tracks.FaceTrack
    reference : xaifake.video.reference.Reference

    Returns
    -------
    predictions : list of Prediction
        Not yet explained; the person seen most often first.
    parted : list of tuple
        As in `Report`.
    """
    answers, parted = {}, []
    for person in people:
        logits = detector.logits(person.images)
        high = contradicting(expit(logits.astype(np.float64)))
        parts = [np.ones(len(logits), bool)] if high is None else [high, ~high]
        owners = [person] if high is None else [person.part(part) for part in parts]
        answers |= {id(one): (one, logits[part]) for one, part in zip(owners, parts, strict=True)}
        parted += [] if high is None else [tuple(owners)]
    ordered = by_frames([person for person, _ in answers.values()])
    return [_judge(detector, reference, *answers[id(one)]) for one in ordered], parted


def _judge(detector, reference, person, logits):
    sides = [detection.square[2] for detection in person.detections]
    checks = check_faces(detector, person.images, sides, reference)
    checks["unanswered"] = not np.isfinite(logits).all()
    return Prediction(person, logits, checks, deciding_frames(logits, PICTURES))


def _examine(report, configs, kept, pass_seconds, progress):
    """Explain the people seen most often."""
    predictions = report.predictions[: min(EXPLAINED, max(1, MOST_MAPS // len(configs)))]
    predictions = [prediction for prediction in predictions if "unanswered" not in prediction.flags]
    passes = count_passes(configs)
    maps = sum(count_maps(len(prediction.deciding)) for prediction in predictions)
    total = maps * sum(passes.values())
    originals = _read_originals(report, predictions)
    if progress and predictions:
        print(wording.people_found(len(predictions), maps * len(configs), total * pass_seconds))
    bar = progress_bar(show=progress, total=total, desc="maps", unit="pass", bar_format=wording.BAR)
    with bar:
        for number, prediction in enumerate(predictions):

            def keep(name, make, number=number):
                return kept.cached_arrays(f"person_{number}/{name}", make) if kept else make()

            def done(config, count):
                bar.update(passes[config.name] * count)

            faces = _deciding_faces(report, prediction, originals)
            sign = 1 if prediction.probability >= 0.5 else -1
            prediction.case = report_case(report.detector, faces, sign, configs, keep, done)
            _drop_small_gap(prediction)


def _read_originals(report, predictions):
    """Return the original's frames that the deciding ones were made from, by their numbers."""
    if not predictions or not report.truth.get("original"):
        return {}
    original = open_media(report.truth["original"])
    read, of_original = [], []
    small = small_frames(frame.image for frame in _noted(report.footage.read(), read))
    found = align(small, small_frames(f.image for f in _noted(original.read(), of_original)))
    if not found.is_pair:
        raise UserError(
            f"{report.footage.name} was not made from {original.name}, {found.refusal}. Give the "
            "very video that was manipulated."
        )
    wanted = {v.person.detections[k].number for v in predictions for k in v.deciding}
    matched = dict(zip(read, (of_original[k] for k in found.numbers), strict=True))
    try:
        matched = {number: matched[number] for number in wanted}
        there = {
            frame.number: frame.image for frame in original.read(sorted(set(matched.values())))
        }
        return {number: there[other] for number, other in matched.items()}
    except KeyError as lost:
        raise UserError(f"Frame {lost} of the video or its original cannot be read.") from None


def _deciding_faces(report, prediction, originals):
    detections = [prediction.person.detections[k] for k in prediction.deciding]
    scale = report.detector.scale
    if not originals:
        return as_faces(detections, scale)
    originals = [cut_square(originals[s.number], s.square, len(s.image))[0] for s in detections]
    originals = np.stack(originals)
    faces = as_faces(detections, scale, originals)
    check_aligned(faces)
    if not faces.masks[0].any():
        prediction.notes.append(
            "This face is the same in the original: there is nothing to put back."
        )
        return as_faces(detections, scale)
    return faces


def _drop_small_gap(prediction):
    found = prediction.case.restored
    if found is not None and not LEAST_GAP <= found.gap < np.inf:
        prediction.case.restored = None
        prediction.notes.append(
            f"The original's score is {found.original:.2f}, the video's {found.probability:.2f}: "
            "they hardly differ, so there is nothing that putting back could take away."
        )


def _noted(frames, numbers):
    """Yield frames and note their numbers."""
    for frame in frames:
        numbers.append(frame.number)
        yield frame


def _searched(read, numbers):
    """Return how many frames were searched: those asked for, or the next that could be read."""
    places = np.searchsorted(read, numbers)
    return len(np.unique(places[places < len(read)]))


def _time_a_pass(detector):
    images = np.zeros((PICTURES, detector.side, detector.side, 3), np.uint8)
    detector.logits(images)  # compiles
    start = time.perf_counter()
    detector.logits(images)
    return (time.perf_counter() - start) / PICTURES


def _one_person(configs, pass_seconds, numbers, watched):
    maps = sum(count_passes(configs).values()) * count_maps(min(PICTURES, len(numbers)))
    search = _SEARCH_SECONDS * len(numbers) / cpu_count() + _READ_SECONDS * watched
    return _START_SECONDS + search + maps * pass_seconds


def _digest(path):
    """Return the SHA-256 of a file, or of the sums of a folder's files, as hexadecimal digits."""
    if path.is_dir():
        sums = [_digest(file) for file in sorted(path.iterdir()) if file.is_file()]
        return hashlib.sha256("".join(sums).encode()).hexdigest()
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _person(report, number):
    """Return what the template shows of a person: text, numbers and pictures, no arrays."""
    prediction = report.predictions[number]
    detections = prediction.person.detections
    pictures = len(prediction.deciding) if prediction.case else int(number < PORTRAYED)
    shown = [
        {
            "when": wording.when(detections[k], report.footage),
            "face": _data_url("jpeg", _face(report, detections[k])),
        }
        for k in prediction.deciding[:pictures]
    ]
    word = report.evidence(prediction)
    person = {
        "number": number + 1,
        "prediction": prediction,
        "word": word,
        "doubt": wording.doubt(report, prediction, word),
        "shown": shown,
        "place": place_chart(prediction.logit, report.reference) if word != "withheld" else None,
        "shares": [(rate, *report.reference.evidence.share(word, rate)) for rate in BASE_RATES],
        "chart": score_chart(prediction, report.footage),
        "scores": [
            (wording.when(s, report.footage), float(p))
            for s, p in zip(detections, expit(prediction.logits.astype(np.float64)), strict=True)
        ],
    }
    if prediction.case is not None:
        person |= _maps(report, prediction.case)
    return person


def _face(report, detection):
    label = report.truth.get("label")
    return detection.portrait if label is None else marked_jpeg(detection.portrait, label == 1)


def _maps(report, case):
    """Return pictures of the maps, of those that failed the first alone, and what tests say."""
    tested, label = report._tested, report.truth.get("label")
    source = (COMPOSITE, "") if label is None else (SWAP, LABELLED[label])
    mark = [ILLUSTRATION] if label == 1 else []
    passed, failed = {}, {}
    for method, heatmaps in case.maps.items():
        good = tested is not None and not tested.failed[method]
        count = len(heatmaps) if good else 1
        said = wording.below_map(None if tested is None else tested.loc[method])
        said = [*said, *mark]
        pictures = heatmap_pictures(heatmaps[:count], case.faces[:count], said, source)
        (passed if good else failed)[method] = [_data_url("webp", data) for data in pictures]
    shown = {"passed": passed, "failed": failed, "checks": _checks(case)}
    if case.restored is not None:
        said = [wording.NOT_THE_VIDEO, wording.BELOW_EFFECT, *mark]
        pictures = heatmap_pictures(case.restored.effect[None], case.faces[:1], said, source)
        shown["effect"] = _data_url("webp", pictures[0])
    return shown


def _checks(case):
    """Return of each method with how many others it agrees, and under how many changes it stays."""
    pairs, stable = case.agreement, case.stability
    checks = {}
    for method in case.maps:
        others = pairs[(pairs.one == method) | (pairs.other == method)].beyond_centre
        kept = stable[stable.method == method]
        kept = (kept.correlation / kept.ceiling).replace([np.inf, -np.inf], np.nan)
        checks[method] = {
            "agrees": int((others >= wording.SAME).sum()), "others": len(others),
            "stays": int((kept >= wording.STABLE).sum()), "changes": len(kept),
        }  # fmt: skip
    return checks


def _data_url(kind, data):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
