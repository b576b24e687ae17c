"""How often labelled videos get which word of evidence (chapter 15_explain_a_video).

What the page says of a single video is worth as much as it was on videos like it. So whoever has
some of which the truth is known can count.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from xaifake.data.dfd import read_catalogue
from xaifake.data.media import open_media
from xaifake.errors import UserError
from xaifake.progress import progress_bar
from xaifake.runs import ResultCache
from xaifake.video.evidence import jeffreys
from xaifake.video.reference import reference_for
from xaifake.video.report import FRAMES, judge_footage

if TYPE_CHECKING:
    from xaifake.detector.detector import Detector

ANSWERS = ("no face", "unreadable", "withheld", "none", "weak", "moderate")  # the last one counts
_KEPT = "survey"  # sub-folder of `cache_dir`


def survey_videos(
    folder: str | Path,
    detector: Detector,
    frames: int = FRAMES,
    faces_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Judge every video of a folder, as its page would, without explaining any.

    Parameters
    ----------
    folder : str or Path
        A data set, or a table with the columns file, label and, if known, group (.csv); see
        `xaifake.data.read_catalogue`.
    detector : Detector
    frames : int
        Frames of each video that are looked at.
    faces_dir : str or Path, optional
        As in `xaifake.video.report.explain_video`.
    cache_dir : str or Path, optional
        Folder in which finished videos are kept until the end, so that a second call goes on.
    progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row per video: video, label, target (who is seen), people (how many faces were told
        apart), probability (the highest of them) and answer: of `ANSWERS` the last one that fits
        any of them. The words are the reference's, without the limit that a page sets for videos
        of a kind that nobody has measured: here is where they are measured.

    Raises
    ------
    UserError
        If the folder cannot be read, or all of its videos have the same label.
    """
    catalogue = read_catalogue(folder)
    if catalogue.label.nunique() < 2:
        raise UserError(f"The videos in {folder} all have the same label: give genuine and fake.")
    reference = reference_for(detector, faces_dir, progress)
    settings = {"fingerprint": detector.fingerprint, "frames": frames, "faces": str(faces_dir)}
    cache = None if cache_dir is None else ResultCache(Path(cache_dir) / _KEPT, settings)

    def judge(row):
        return _judge(row, frames, detector, reference)

    if cache is None:
        return pd.concat([judge(row) for row in _rows(catalogue, progress)], ignore_index=True)
    with cache.scratch() as kept:
        judged = [
            kept.cached_table(f"{row.label}_{row.video}", lambda row=row: judge(row))
            for row in _rows(catalogue, progress)
        ]
    return pd.concat(judged, ignore_index=True)


def summarise_answers(survey: pd.DataFrame) -> pd.DataFrame:
    """Count the answers of a survey by the truth.

    Parameters
    ----------
    survey : pandas.DataFrame
        Of `survey_videos`.

    Returns
    -------
    pandas.DataFrame
        One row for genuine and for manipulated videos: videos, targets, the count of each of
        `ANSWERS`, and the share of "moderate" among the videos with its 95 % interval (low, high),
        in which each person counts once.
    """
    rows = []
    for label, name in enumerate(("genuine", "manipulated")):
        own = survey[survey.label == label]
        counts = own.answer.value_counts().reindex(ANSWERS, fill_value=0)
        share, people = counts[ANSWERS[-1]] / len(own), own.target.nunique()
        rows.append(
            {"truth": name, "videos": len(own), "targets": people, **counts.to_dict()}
            | {"share": share, **dict(zip(("low", "high"), jeffreys(share, people), strict=True))}
        )
    return pd.DataFrame(rows)


def _rows(catalogue, progress):
    rows = list(catalogue.itertuples())
    return progress_bar(rows, show=progress, total=len(rows), unit="video", desc="videos")


def _judge(row, frames, detector, reference):
    found = {"video": row.video, "label": int(row.label), "target": str(row.target)}
    try:
        footage = open_media(row.path)
        predictions, *_ = judge_footage(footage, footage.spread(frames), detector, reference)
    except UserError:
        return pd.DataFrame([{**found, "people": 0, "probability": None, "answer": "unreadable"}])
    answers = [
        "withheld" if one.flags else reference.evidence.word(one.logit) for one in predictions
    ]
    return pd.DataFrame(
        [
            found
            | {
                "people": len(predictions),
                "probability": max((one.probability for one in predictions), default=None),
                "answer": max(answers, key=ANSWERS.index, default="no face"),
            }
        ]
    )
