"""The video with heatmaps: the same frames at the same times, marked, drawn upon faces alone."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import odd_clips
from xaifake.data.clips import embedded_clips
from xaifake.data.media import Frame, open_media
from xaifake.errors import UserError
from xaifake.video import overlay
from xaifake.video.overlay import BAND, check_overlay, write_overlay
from xaifake.video.report import explain_video

CHEAP = ["gradient (absolute)"]
TIMES = [0, 0.04, 0.1, 0.5, 0.52, 0.9, 1.5, 1.6, 1.7, 2.5]


def explained(path, frames=2):
    return explain_video(path, methods=CHEAP, frames=frames, progress=False)


@pytest.fixture
def two(loaded, tmp_path):
    """A clip of two people, the second of whom leaves, with uneven times, and its report."""
    frames = odd_clips.faces(["006", "010"], len(TIMES), (800, 400), seen={1: range(6)})
    path = odd_clips.write(tmp_path / "two.mp4", frames, times=TIMES)
    return path, explained(path)


def test_frames_and_times_are_those_of_the_clip(two, tmp_path):
    path, report = two
    write_overlay(report, tmp_path / "out.mp4", progress=False)
    before, after = open_media(path), open_media(tmp_path / "out.mp4")
    assert len(after) == len(before) == len(TIMES)
    times = [after.seconds(k) for k in range(len(after))]
    assert times == pytest.approx([before.seconds(k) for k in range(len(before))], abs=0.002)
    assert after.about["title"] == "Analysis by xaifake: two.mp4"
    assert not list(tmp_path.glob("*.unfinished"))


def test_it_is_drawn_upon_the_faces_alone_and_marked_below(two, tmp_path):
    path, report = two
    write_overlay(report, tmp_path / "out.mp4", progress=False)
    pairs = zip(open_media(path).read(), open_media(tmp_path / "out.mp4").read(), strict=True)
    for number, (before, after) in enumerate(pairs):
        height = before.image.shape[0]
        assert after.image.shape[0] == height + BAND
        band, picture = after.image[height:], after.image[:height].astype(int)
        assert (band > 200).any()  # the words
        changed = cv2.GaussianBlur(np.abs(picture - before.image).max(-1).astype(float), (0, 0), 3)
        free = np.ones(changed.shape, bool)
        for prediction in report.predictions:
            for detection in prediction.person.detections:
                left, top, side = detection.square
                free[max(top - 60, 0) : top + side + 30, max(left - 30, 0) : left + side + 120] = (
                    False
                )
        assert changed[free].max() < 12
        halves = [changed[:, :400], changed[:, 400:]]
        assert [bool(half.max() > 40) for half in halves] == [True, number < 6]


def test_people_keep_their_number_after_a_cut(loaded, tmp_path):
    frames = [*odd_clips.faces(["006"], 4), *odd_clips.faces(["010"], 4)]
    report = explained(odd_clips.write(tmp_path / "cut.mp4", frames), 8)
    artist = overlay._Artist(report, overlay.find_configs(CHEAP)[0], overlay.FaceFinder())
    owners = [
        artist._who(Frame(k, k / 25, image), artist.finder.find(image))[0][1]
        for k, image in enumerate(frames)
    ]
    assert owners[0] is owners[3] and owners[4] is owners[7] and owners[0] is not owners[4]
    assert len(artist.people) == 2


def test_a_manipulated_clip_says_so_and_a_doubtful_score_does_not_count(
    loaded, tmp_path, monkeypatch
):
    written = []
    monkeypatch.setattr(overlay, "_write", lambda p, text, *_, **__: written.append(text))
    fake = sorted((embedded_clips("tiny") / Path("manipulated_sequences/DeepFakeDetection")
                   / "c23/videos").iterdir())[0]  # fmt: skip
    report = explained(fake)
    report.footage._stamps = report.footage._stamps[:4]
    write_overlay(report, tmp_path / "fake.mp4", progress=False)
    assert sum("ANALYSIS" in text for text in written) == 4
    assert all(
        t.startswith("Manipulated research illustration.") for t in written if "ANALYSIS" in t
    )
    assert any("so far" in text for text in written)
    written.clear()
    small = odd_clips.write(tmp_path / "s.mp4", odd_clips.faces(["010"], 3, (320, 240), side=120))
    write_overlay(explained(small), tmp_path / "small.mp4", progress=False)
    assert any("does not count" in text for text in written)
    assert not any("so far" in text or "Manipulated" in text for text in written)


def test_the_running_score_is_the_mean_so_far(two, tmp_path, monkeypatch):
    path, report = two
    written = []
    monkeypatch.setattr(overlay, "_write", lambda p, text, *_, **__: written.append(text))
    report.predictions[0].checks[["too_small", "blurred", "out_of_distribution"]] = False
    write_overlay(report, tmp_path / "out.mp4", progress=False)
    scores = [
        tuple(float(part) for part in text.removeprefix("person 1: ").split(", so far "))
        for text in written
        if text.startswith("person 1: ")
    ]
    assert len(scores) == len(TIMES)
    for k, (_, mean) in enumerate(scores, start=1):
        assert mean == pytest.approx(np.mean([now for now, _ in scores[:k]]), abs=0.011)


def test_a_run_that_is_stopped_leaves_nothing(two, tmp_path, monkeypatch):
    _, report = two
    monkeypatch.setattr(
        overlay._Artist, "_paint", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        write_overlay(report, tmp_path / "out.mp4", progress=False)
    assert not list(tmp_path.glob("out*"))


def test_what_cannot_be_written_is_told_beforehand(tmp_path, loaded):
    picture = tmp_path / "x.png"
    cv2.imwrite(str(picture), np.full((60, 60, 3), 90, np.uint8))
    with pytest.raises(UserError, match="needs a video"):
        write_overlay(explained(picture), tmp_path / "out.mp4")
    with pytest.raises(UserError, match="is no video"):
        check_overlay(Path("out.mp4"), picture)
    clip = odd_clips.write(tmp_path / "clip.mp4", odd_clips.counted(1))
    for out, message in ((clip, "is the video"), (Path("x.avi"), "ends in .mp4"),
                         (Path("nowhere/x.mp4"), "no folder")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            check_overlay(out, clip)
    assert check_overlay(None, clip) is None
