"""Answers to labelled videos are counted by the truth, as the page would have given them."""

import pandas as pd
import pytest

import odd_clips
from xaifake.errors import UserError
from xaifake.video import survey as module
from xaifake.video.evidence import jeffreys
from xaifake.video.survey import ANSWERS, summarise_answers, survey_videos


def table(*answers):
    rows = [(f"v{k}", label, who, answer) for k, (label, who, answer) in enumerate(answers)]
    return pd.DataFrame(rows, columns=["video", "label", "target", "answer"])


def test_the_summary_counts_every_answer_once():
    rows = [(0, "a", "none"), (0, "a", "weak"), (0, "b", "moderate"), (0, "b", "no face")]
    rows += [(1, "a", "moderate"), (1, "a", "moderate"), (1, "c", "withheld")]
    found = summarise_answers(table(*rows)).set_index("truth")
    assert found.loc["genuine", list(ANSWERS)].tolist() == [1, 0, 0, 1, 1, 1]
    assert found.loc["manipulated", list(ANSWERS)].tolist() == [0, 0, 1, 0, 0, 2]
    assert found.videos.tolist() == [4, 3] and found.targets.tolist() == [2, 2]
    assert found.share.tolist() == [1 / 4, 2 / 3]
    assert tuple(found.loc["genuine", ["low", "high"]]) == jeffreys(1 / 4, 2)


@pytest.fixture
def videos(tmp_path):
    """A genuine clip of two people, one without a face, one that is none, and a table of them."""
    odd_clips.write(tmp_path / "two.mp4", odd_clips.faces(["006", "010"], 2, (800, 400)))
    odd_clips.write(tmp_path / "none.mp4", odd_clips.counted(3))
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    lines = ["two.mp4,0,a", "none.mp4,1,b", "broken.mp4,1,b"]
    path = tmp_path / "videos.csv"
    path.write_text("\n".join(["file,label,group", *lines]))
    return path


def test_each_video_gets_the_strongest_answer_of_its_people(videos, shipped_detector, monkeypatch):
    # The one has a score of about 0.05, the other of 0.33.
    monkeypatch.setattr(
        "xaifake.video.evidence.Evidence.word",
        lambda _, logit: "moderate" if logit > -1.5 else "weak",
    )
    found = survey_videos(videos, shipped_detector(2.0), 2, progress=False).set_index("video")
    found = found.loc[["two", "none", "broken"]]
    assert found.answer.tolist() == ["moderate", "no face", "unreadable"]
    assert found.people.tolist() == [2, 0, 0] and found.probability.isna().tolist() == [0, 1, 1]


def test_a_survey_that_is_stopped_goes_on(videos, shipped_detector, tmp_path, monkeypatch):
    detector, seen, judge = shipped_detector(2.0), [], module._judge

    def stops_at_the_second(row, *given):
        seen.append(row.video)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return judge(row, *given)

    monkeypatch.setattr(module, "_judge", stops_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        survey_videos(videos, detector, 1, cache_dir=tmp_path / "kept", progress=False)
    found = survey_videos(videos, detector, 1, cache_dir=tmp_path / "kept", progress=False)
    assert len(found) == 3 and len(seen) == 2 + 2 and not (tmp_path / "kept").exists()


def test_videos_of_one_kind_tell_nothing(videos, shipped_detector):
    videos.write_text("file,label\ntwo.mp4,0\nnone.mp4,0\n")
    with pytest.raises(UserError, match="same label"):
        survey_videos(videos, shipped_detector(2.0), progress=False)
