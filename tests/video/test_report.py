"""The page about a video: right, honest, harmless, and legible in a real browser."""

import base64
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from scipy.special import expit

import example_report
import odd_clips
from xaifake.data import load_faces
from xaifake.data.clips import embedded_clips
from xaifake.data.faces import cut_square, decode_image
from xaifake.data.marks import SWAP, source_type
from xaifake.data.media import open_media
from xaifake.detector import Detector
from xaifake.errors import UserError
from xaifake.judge.runner import MethodConfig
from xaifake.runs import ResultCache
from xaifake.video import report as module, wording
from xaifake.video.case_report import agreement, share_of_evidence
from xaifake.video.pictures import heatmap_pictures
from xaifake.video.reference import FLAGS, learn_reference, load_reference
from xaifake.video.report import Prediction, check_page, explain_video
from xaifake.video.tracks import FaceTrack

DAY = date(2020, 1, 2)
CHEAP = ["gradient (absolute)"]
METHODS = ["gradient (absolute)", "lrp.sequential_preset_b_flat", "grad_cam"]
FAKES = Path("manipulated_sequences/DeepFakeDetection/c23/videos")
FAKE = "006_038__look_around__2UATGMM4.mp4"
REAL = Path("original_sequences/actors/c23/videos/022__look_around.mp4")
HOSTILE = (
    "\"><img src=x onerror=alert(1)> '{{ 7*7 }}' ünïcode ‮& .. <script>alert(1)</script".replace(
        "/", "∕"
    )
)


def explained(path, methods=CHEAP, frames=3, **options):
    return explain_video(path, methods=methods, frames=frames, progress=False, **options)


def text_of(html):
    """What a reader reads: no tags, no pictures, single spaces."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


@pytest.fixture(scope="module")
def clips():
    return embedded_clips("tiny")


@pytest.fixture(scope="module")
def fake(clips, load_once):
    """The report about an embedded fake of a person whom the detector has never seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Detector, "pretrained", load_once)
        return explained(clips / FAKES / FAKE, METHODS, 6)


@pytest.fixture(scope="module")
def page(fake, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    fake.write(out, DAY)
    return out


@pytest.fixture(scope="module")
def tab(browser, page):
    """The page as it opens from disk, and all that it asked for and complained about."""
    asked, complaints = [], []
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(page.as_uri(), wait_until="load")
    yield opened, asked, complaints
    opened.close()


# What it says


def test_a_fake_of_an_unseen_person_is_found_and_the_page_says_how_sure_one_may_be(fake, page):
    assert fake.table.evidence.tolist() == ["moderate"]
    text = text_of(page.read_text("utf-8"))
    top, rest = text.split("What to do next")
    assert "Person 1: moderate signs of a swapped face, no proof" in top
    known = load_reference(2.0)
    counts = known.evidence.counts("moderate")
    assert f"and {counts['reals']} of {counts['of_reals']} genuine ones" in top
    few = f"{10 * counts['fakes'] / counts['of_fakes']:.0f} manipulated and"
    assert f"most such answers can be false alarms: of 1,000 videos, about {few}" in top
    assert "Not for accusing anybody" in top
    assert "this video is manipulated, a research illustration" in top and "CC BY 4.0" in rest
    share, low, high = known.evidence.share("moderate", 0.01)
    assert " ".join(["1 in 100", *map(wording.percent, (share, low)), "to"]) in rest
    (logit,) = [prediction.logit for prediction in fake.predictions]
    below = [(known.logits[known.labels == k] < logit).sum() for k in (0, 1)]
    assert f"higher than {below[0]} of 64 genuine ones and {below[1]} of 128 manipulated" in rest


def test_the_finding_and_its_doubt_are_in_one_box(tab):
    opened, *_ = tab
    box = opened.locator("section.finding")
    assert box.count() == 1 and "moderate signs" in box.text_content()
    for words in ("no proof", "false alarms", "Not for", "Tested on such", "Only that"):
        assert words in box.text_content()
    assert not re.search(r"\d\.\d", box.text_content())  # no score in the first screen
    opened.set_viewport_size({"width": 390, "height": 844})
    place = box.bounding_box()
    assert place["y"] + place["height"] < 1000
    opened.set_viewport_size({"width": 1280, "height": 800})


def test_a_real_clip_is_not_called_genuine(clips, loaded):
    report = explained(clips / REAL)
    text = text_of(report.html(DAY))
    assert report.table.evidence.tolist() == ["none"] and report.truth["label"] == 0
    assert "none of the signs that the software looks for, which does not mean genuine" in text
    counts = report.reference.evidence.counts("none")
    assert (
        f"{counts['fakes']} of {counts['of_fakes']} manipulated clips got this answer, too, and "
        f"{counts['reals']} of {counts['of_reals']} genuine ones" in text
    )
    assert "not manipulated" in text and report.predictions[0].case.restored is None


def test_the_score_is_the_mean_over_frames_and_the_deciding_ones_are_the_furthest(fake):
    (prediction,) = fake.predictions
    probabilities = expit(prediction.logits)
    assert prediction.probability == pytest.approx(probabilities.mean())
    assert set(prediction.deciding) == set(np.argsort(-probabilities)[:3])
    numbers = [prediction.person.detections[k].number for k in prediction.deciding]
    assert fake.predictions[0].case.faces.table.frame.tolist() == numbers


def test_the_original_of_an_embedded_fake_is_put_back(fake, page):
    back = fake.predictions[0].case.restored
    assert back.probability > 0.9 and back.original < 0.5
    assert "What the software reacts to, by experiment" in page.read_text("utf-8")


def test_an_original_can_be_given_and_must_be_the_right_one(clips, loaded, tmp_path):
    moved = tmp_path / FAKE
    moved.write_bytes((clips / FAKES / FAKE).read_bytes())
    original = clips / REAL.with_name("006__look_around.mp4")
    report = explained(moved, frames=1, original=original)
    assert report.predictions[0].case.restored.gap > 0.5
    with pytest.raises(UserError, match="not made from 022__look_around.mp4"):
        explained(moved, frames=1, original=clips / REAL)
    short = odd_clips.write(tmp_path / "short.mp4", odd_clips.faces(["006"], 2))
    with pytest.raises(UserError, match="do not move alike"):
        explained(moved, frames=1, original=short)


def test_a_fake_of_which_frames_were_left_out_is_laid_over_the_right_ones(clips, loaded, tmp_path):
    frames = [frame.image for frame in open_media(clips / FAKES / FAKE).read()]
    kept = [*range(0, 32, 3), 30]
    fewer = odd_clips.write(tmp_path / "few.mp4", [frames[k] for k in kept], crf=12)
    original = clips / REAL.with_name("006__look_around.mp4")
    report = explained(fewer, frames=1, original=original)
    faces = report.predictions[0].case.faces
    (there,) = open_media(original).read([kept[faces.table.frame[0]]])
    square = tuple(faces.table.loc[0, ["left", "top", "side"]])
    np.testing.assert_array_equal(faces.originals[0], cut_square(there.image, square)[0])


def test_without_a_difference_nothing_is_put_back_and_it_is_said(clips, loaded):
    report = explained(clips / REAL, frames=1, original=clips / REAL)
    assert "nothing to put back" in report.predictions[0].notes[0]
    assert report.predictions[0].notes[0] in text_of(report.html(DAY))


@pytest.mark.parametrize(
    ("logits", "reasons", "label", "word"),
    [
        ([9.0, 9.0], [], 1, "moderate"),
        ([9.0, 9.0], [], None, "weak"),
        ([0.0, 0.0], [], None, "weak"),
        ([-3.0, -2.0], [], 1, "none"),
        ([-3.0, -2.0], [], None, "none"),
        ([9.0, 9.0], ["too_small"], 1, "withheld"),
        ([-9.0, -9.0], ["blurred", "out_of_distribution"], None, "withheld"),
    ],
)
def test_no_word_is_stronger_than_what_was_measured(logits, reasons, label, word, fake):
    detections = fake.predictions[0].person.detections[:2]
    checks = fake.predictions[0].checks[:2].assign(**{name: name in reasons for name in FLAGS})
    prediction = Prediction(FaceTrack(detections), np.array(logits), checks, np.array([0, 1]))
    report = replace(fake, predictions=[prediction], truth={"label": label})
    assert report.evidence(prediction) == word and prediction.flags == reasons
    text = text_of(report.html(DAY))
    top, rest = text.split("What to do next")
    assert wording.FINDINGS[word] in top and all(FLAGS[name] in top for name in reasons)
    assert ("not tested on anything like this" in top) == (label is None and not reasons)
    unmeasured = label is None and word != "withheld"
    assert ("So this page uses no stronger word than weak" in top) == unmeasured
    assert ("1 in 1,000" in rest) == (label is not None and not reasons)
    assert ("It does not count" in rest) == bool(reasons)
    assert ("rests on 2 frames only" in top) == (not reasons)


def test_a_small_and_a_blurred_face_are_said_at_the_top(loaded, tmp_path):
    small = odd_clips.write(tmp_path / "s.mp4", odd_clips.faces(["010"], 3, (320, 240), side=120))
    frames = (cv2.GaussianBlur(f, (0, 0), 5) for f in odd_clips.faces(["010"], 3))
    blurred = odd_clips.write(tmp_path / "b.mp4", frames)
    assert "too_small" in explained(small).predictions[0].flags
    assert "blurred" in explained(blurred).predictions[0].flags


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_gives_no_verdict(clips, load_once, monkeypatch, nothing):
    """One frame of three is enough: its number would be lost in the mean."""
    logits = Detector.logits

    def answer(detector, images, *given, **options):
        found = logits(detector, images, *given, **options)
        found[1:2] = nothing
        return found

    monkeypatch.setattr(Detector, "pretrained", load_once)
    monkeypatch.setattr(Detector, "logits", answer)
    report = explained(clips / REAL)
    assert report.table.evidence.tolist() == ["withheld"]
    assert report.table.reasons.tolist() == ["unanswered"]
    text = text_of(report.html(DAY))
    assert "no answer" in text and FLAGS["unanswered"] in text
    assert "there is nothing to explain" in text and report.predictions[0].case is None


@pytest.mark.parametrize(
    ("passing", "limit", "said"),
    [
        (["noise", "a grey square"], 7.0, "it lets noise and a grey square pass"),
        ([], np.nan, "since what goes on inside of it cannot be compared"),
    ],
)
def test_without_a_guard_there_is_no_verdict_and_it_is_said(
    clips, loaded, monkeypatch, passing, limit, said
):
    known = replace(load_reference(2.0), passing=np.array(passing, str), most_ood_score=limit)
    monkeypatch.setattr(module, "reference_for", lambda *given: known)
    report = explained(clips / REAL)
    assert report.table.evidence.tolist() == ["withheld"]
    assert report.table.reasons.tolist() == ["unchecked"]
    text = text_of(report.html(DAY))
    assert said in text and FLAGS["unchecked"] in text


def test_with_a_guard_the_page_says_what_it_refused(page):
    text = text_of(page.read_text("utf-8"))
    assert "Noise, a grey square and shuffled faces do not pass that last one" in text


# Who is who


@pytest.fixture(scope="module")
def spliced(clips, tmp_path_factory):
    """Frames of a real clip, and of a fake of somebody else: three cuts, all at one place."""
    real, fake = ([f.image for f in open_media(clips / p).read()] for p in (REAL, FAKES / FAKE))
    frames = [*real[:10], *fake[:5], *real[10:20], *fake[5:10]]
    return odd_clips.write(tmp_path_factory.mktemp("spliced") / "spliced.mp4", frames)


def test_a_fake_does_not_hide_behind_another_person(spliced, loaded):
    report = explained(spliced, frames=30)
    assert (report.table.probability > 0.5).tolist() == [False, True]
    assert report.table.evidence.tolist() == ["none", "weak"]
    assert report.table.frames.tolist() == [20, 10] and report.parted == []


def test_nor_if_two_people_are_taken_for_one(spliced, loaded, monkeypatch):
    """The score over time is watched: who is wrongly joined shares no verdict."""
    monkeypatch.setattr("xaifake.video.tracks.SAME_PERSON", 2.0)
    report = explained(spliced, frames=30)
    assert report.table.evidence.tolist() == ["none", "weak"]
    assert report.table.frames.tolist() == [20, 10]
    numbers = sorted(report.predictions[1].person.numbers)
    assert numbers == [*range(10, 15), *range(25, 30)]
    assert report.alike == [(1, 2, "step")]
    assert "were taken for one at first" in text_of(report.html(DAY))


def test_who_may_be_one_is_said_and_why(fake):
    (prediction,) = fake.predictions
    left, right = (prediction.person.part(np.arange(6) % 2 == k) for k in (0, 1))
    predictions = [
        replace(prediction, person=one, logits=prediction.logits[:3], checks=prediction.checks[:3],
                deciding=np.arange(3), case=None)
        for one in (left, right)
    ]  # fmt: skip
    both = replace(fake, predictions=predictions)
    assert both.alike == [(1, 2, "alike")]
    assert "two may be one: 1 and 2. Their faces are alike" in text_of(both.html(DAY))
    parted = replace(both, parted=[(left, right)])
    assert parted.alike == [(1, 2, "step")]
    assert "Person 1 and person 2 were taken for one at first" in text_of(parted.html(DAY))
    together = replace(both, predictions=[predictions[0], replace(predictions[1], person=left)])
    assert together.alike == [] and "may be one" not in text_of(together.html(DAY))
    assert fake.alike == []


def test_of_many_who_may_be_one_some_are_named():
    pairs = [(1, other, "alike") for other in range(2, 20)]
    (sentence,) = wording.maybe_one(pairs)
    assert "1 and 11, and 8 other pairs." in sentence and "1 and 12" not in sentence
    assert wording.maybe_one([]) == []


@pytest.mark.slow
def test_ordinary_clips_have_no_step(clips, loaded):
    """A few; `benchmarks/steps.py` asks of all."""
    paths = [*(clips / FAKES).glob("*.mp4"), *(clips / REAL).parent.glob("*.mp4")]
    for path in sorted(paths)[::4]:
        assert explained(path, frames=32).table.shape[0] == 1, path.name


# What it is given


def test_two_people_have_an_answer_each(loaded, tmp_path):
    frames = odd_clips.faces(["006", "010"], 4, (800, 400), seen={1: range(2)})
    report = explained(odd_clips.write(tmp_path / "two.mp4", frames), frames=4)
    assert report.table.frames.tolist() == [4, 2]
    html = report.html(DAY)
    assert html.count('<section aria-labelledby="person-') == 2 and html.count("Person 2") > 1


def test_beyond_six_people_the_others_have_an_answer_and_no_maps(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "EXPLAINED", 1)
    frames = odd_clips.faces(["006", "010"], 2, (800, 400))
    report = explained(odd_clips.write(tmp_path / "two.mp4", frames), frames=2)
    assert [v.case is None for v in report.predictions] == [False, True]
    assert "Only the people seen most often are explained" in report.html(DAY)


def test_nobody_is_told_with_what_to_do(loaded, tmp_path):
    report = explained(odd_clips.write(tmp_path / "none.mp4", odd_clips.counted(5)))
    text = text_of(report.html(DAY))
    assert report.table.empty and "No face was found in 3 frames" in text and "--frames" in text


def test_a_person_who_comes_and_goes_breaks_the_line(loaded, tmp_path):
    frames = odd_clips.faces(["006"], 10, seen={0: {0, 1, 2, 7, 8, 9}})
    report = explained(odd_clips.write(tmp_path / "goes.mp4", frames), frames=10)
    html = report.html(DAY)
    assert html.count("<polyline") == 2 and "Where the line is broken" in html


def test_a_phones_vertical_video_is_judged_upright(loaded, tmp_path):
    lying = [np.ascontiguousarray(np.rot90(f)) for f in odd_clips.faces(["006"], 3, (480, 640))]
    path = odd_clips.write(tmp_path / "phone.mp4", lying)
    assert explained(path).table.empty  # dlib finds no face that lies on its side
    report = explained(odd_clips.turn(path, 90))
    assert report.table.frames.tolist() == [3]


def test_uneven_times_stand_under_the_chart(loaded, tmp_path):
    path = odd_clips.write(tmp_path / "vfr.mp4", odd_clips.faces(["006"], 3), times=[0, 0.1, 72.0])
    html = explained(path).html(DAY)
    assert ">1:12</text>" in html and ">0.10 s</th>" in html


def test_one_frame_has_no_chart_and_is_called_little(loaded, tmp_path):
    report = explained(odd_clips.write(tmp_path / "one.mp4", odd_clips.faces(["006"], 1)))
    html = report.html(DAY)
    assert "over time" not in html and "The frame that moved the answer most" in html
    assert report.predictions[0].flags or "rests on 1 frame only" in html


def test_an_hour_is_looked_at_in_few_frames(loaded, tmp_path):
    (frame,) = odd_clips.faces(["006"], 1, (480, 360))
    path = odd_clips.write(tmp_path / "hour.mp4", [frame] * 61, times=range(0, 3660, 60))
    report = explained(path, frames=5)
    assert report.table.frames.tolist() == [5] and ">1:00:00</text>" in report.html(DAY)


def test_what_is_missing_of_a_truncated_file_is_said(loaded, tmp_path):
    path = odd_clips.write(tmp_path / "t.mp4", odd_clips.faces(["006"], 12), first=True)
    report = explained(odd_clips.cut_short(path, 0.7), frames=12)
    assert len(report.predictions) == 1 and "cut short" in text_of(report.html(DAY))
    assert report.looked_at == report.table.frames[0] < 12  # those that could be read


def test_pictures_and_wrong_extensions_are_read(loaded, tmp_path):
    for k, frame in enumerate(odd_clips.faces(["006"], 2)):
        cv2.imwrite(str(tmp_path / f"{k}.png"), frame[..., ::-1])
    assert explained(tmp_path).table.frames.tolist() == [2]
    (tmp_path / "0.png").rename(tmp_path / "0.mp4")
    report = explained(tmp_path / "0.mp4")
    assert report.footage.kind == "picture" and "the picture" in report.html(DAY)


# What it is


def test_it_opens_from_disk_and_asks_for_nothing(tab, page):
    opened, asked, complaints = tab
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert complaints == []


def test_axe_finds_nothing(tab):
    opened, *_ = tab
    opened.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = Axe().run(opened, options={"preload": False, "resultTypes": ["violations"]})
    assert [v["id"] for v in found.response["violations"]] == []


def test_every_figure_is_there_and_described(tab):
    opened, *_ = tab
    images = opened.evaluate(
        "[...document.images].map(i => [i.complete && i.naturalWidth, i.alt.length])"
    )
    # Three faces, the maps that failed, each for one of them, and the experiment.
    assert len(images) == 7 and all(wide >= 128 and said > 20 for wide, said in images)
    charts = opened.locator("svg[role=img]")
    labels = [chart.get_attribute("aria-label") for chart in charts.all()]
    assert len(labels) == 2 and "higher than" in labels[0] and "over time" in labels[1]


def test_keys_lead_through_it(tab):
    opened, *_ = tab
    opened.evaluate("document.activeElement.blur()")
    opened.keyboard.press("Tab")
    assert "Skip" in opened.evaluate("document.activeElement.textContent")
    names = set()
    for _ in range(20):
        opened.keyboard.press("Tab")
        names.add(opened.evaluate("document.activeElement.tagName"))
    assert {"SUMMARY", "DIV", "A"} <= names


def test_it_fits_a_phone_and_prints(tab, tmp_path):
    opened, *_ = tab
    opened.set_viewport_size({"width": 390, "height": 844})
    assert opened.evaluate("document.scrollingElement.scrollWidth") <= 390
    opened.set_viewport_size({"width": 1280, "height": 800})
    from pypdf import PdfReader

    opened.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")
    opened.pdf(path=tmp_path / "page.pdf", format="A4", print_background=True)
    pages = PdfReader(tmp_path / "page.pdf").pages
    text = " ".join(p.extract_text() for p in pages)
    assert 3 <= len(pages) <= 12 and "Words on this page" in text
    assert "The score over time" in text  # what is folded is printed too
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": 660, "height": 900})  # what A4 has between its margins
    right = "Math.max(...[...document.images].map(i => i.getBoundingClientRect().right))"
    assert opened.evaluate(right) <= 660
    opened.emulate_media(media="screen")
    opened.set_viewport_size({"width": 1280, "height": 800})


def test_it_is_small(page):
    assert page.stat().st_size < 1_000_000


@pytest.mark.parametrize("people", [6, 60])
def test_many_people_and_methods_stay_under_5_megabytes(fake, people):
    """Maps of noise, which cannot be compressed, in as many methods as there may be."""
    (prediction,) = fake.predictions
    names = list(fake._tested.index)[: module.MOST_MAPS // module.EXPLAINED]
    noise = np.random.default_rng(0)
    maps = {name: noise.normal(size=(3, 128, 128)) for name in names}
    regions = share_of_evidence(maps, prediction.case.faces, 1)
    full = replace(prediction.case, maps=maps, regions=regions, agreement=agreement(maps))
    predictions = [replace(prediction, case=full)] * module.EXPLAINED
    predictions += [replace(prediction, case=None)] * (people - module.EXPLAINED)
    settings = {**fake.settings, "methods": names}
    html = replace(fake, predictions=predictions, settings=settings).html(DAY)
    assert 2_000_000 < len(html.encode()) < 5_000_000


@pytest.mark.parametrize("nothing", [np.nan, np.inf])
def test_nothing_is_said_of_what_is_no_number(nothing):
    found = SimpleNamespace(gap=nothing, original=0.1, probability=0.9)
    prediction = SimpleNamespace(case=SimpleNamespace(restored=found), notes=[])
    module._drop_small_gap(prediction)
    assert prediction.case.restored is None and prediction.notes


def failing(fake, *names):
    """The report, of which only the named methods failed the test."""
    tested = fake._tested.assign(failed=fake._tested.index.isin(names))
    report = replace(fake)
    report.__dict__["_tested"] = tested
    return report


def test_a_map_that_failed_is_collapsed_and_one_that_passed_stands_over_the_face(fake, page):
    html = page.read_text("utf-8")
    assert "all of these maps failed, so none is shown as a finding" in html
    assert html.index("Maps that were tested and failed") < html.index("Sensitivity for frame 1")
    one = failing(fake, "grad_cam").html(DAY)
    place = one.index("Maps that were tested and failed")
    shown, collapsed = one[:place], one[place:]
    assert "LRP (sequential preset b flat) for frame 3" in shown and "Grad-CAM for" not in shown
    assert "Grad-CAM for frame 1" in collapsed and "Grad-CAM for frame 2" not in one
    assert "says a method that passed a test" in shown
    assert "Maps that were" not in failing(fake).html(DAY)


def test_each_map_says_in_its_pixels_what_it_is_worth(fake):
    """The sentence changes the pixels below the map, and no others."""
    (prediction,) = fake.predictions
    heatmaps, faces = prediction.case.maps["grad_cam"][:1], prediction.case.faces[:1]
    said = wording.below_map(fake._tested.loc["grad_cam"])
    right, blind = fake._tested.loc["grad_cam", ["right", "blind"]]
    assert said[0] == "Shows the software, not the video." and "FAILED" in said[1]
    assert f"right place in {right} of 50" in said[1] and said[2].endswith(f"in {blind}.")
    with_text, without = (
        decode_image(heatmap_pictures(heatmaps, faces, lines)[0]).astype(int)
        for lines in (said, ["", "", ""])
    )
    apart = np.abs(with_text - without).max(axis=(1, 2))
    assert with_text.shape == (256 + 3 * 15 + 4, 256, 3)
    assert apart[:240].max() < 60 < 150 < apart[260:].max()  # WebP lets all pixels move a little


def test_every_picture_of_a_fake_is_marked_for_machines(page):
    found = re.findall(r'data:image/\w+;base64,([^"]+)', page.read_text("utf-8"))
    assert {source_type(base64.b64decode(data)) for data in found} == {SWAP} and len(found) == 7


def test_every_method_and_term_is_explained(page):
    html = page.read_text("utf-8")
    words = html[html.index("<dl>") : html.index("</dl>")]
    terms = re.findall(r"<dt>(.*?)</dt>", words)
    assert len(terms) == len(set(terms)) == words.count("<dd>")
    known = " ".join(terms)
    for word in ("score", "frame", "detector", "swapped face", "map", "test clip"):
        assert word in known
    for method in ("Sensitivity", "LRP (sequential preset b flat)", "Grad-CAM"):
        assert method in terms


EXAMPLES = {
    "found": ("moderate signs", "is manipulated"),
    "missed": ("none of the signs that the software looks for", "is manipulated"),
    "genuine": ("none of the signs that the software looks for", "is not manipulated"),
    "false_alarm": ("signs of a swapped face, no proof", "is not manipulated"),
    "withheld": ("no answer", "the face is too small"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_books_examples_are_of_this_template_and_what_they_stand_for(name, page):
    if name == "false_alarm" and not (example_report.FOLDER / "false_alarm.html").exists():
        pytest.skip("none of the clips is one for the shipped detectors")
    html = page.read_text("utf-8")
    example = (example_report.FOLDER / f"{name}.html").read_text("utf-8")
    assert html[html.index("<style>") : html.index("</style>")] in example
    top = text_of(example).split("What to do next")[0]
    assert all(said in top for said in EXAMPLES[name])
    assert set(EXAMPLES) == set(example_report.ANSWERS)


def test_the_same_input_gives_the_same_page_apart_from_the_date(fake, clips, page, loaded):
    again = explained(clips / FAKES / FAKE, METHODS, 6)
    assert again.html(DAY) == page.read_text("utf-8")
    later = fake.html(date(2031, 12, 24))
    assert later != fake.html(DAY) and later.replace("2031-12-24", "2020-01-02") == fake.html(DAY)


def test_a_hostile_name_and_header_do_nothing(loaded, browser, tmp_path):
    path = tmp_path / HOSTILE
    frames = list(odd_clips.faces(["006"], 1))
    odd_clips.write(path, frames, "matroska")
    titled = tmp_path / "titled"
    with av.open(str(path)) as source, av.open(str(titled), "w", format="matroska") as out:
        out.metadata["title"] = "</title><script>alert(1)</script>{{ 7*7 }}"
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    titled.replace(path)
    out = tmp_path / "report.html"
    explained(path).write(out, DAY)
    opened = browser.new_page()
    dialogs = []
    opened.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    opened.goto(out.as_uri(), wait_until="load")
    assert dialogs == [] and opened.locator("script").count() == 0
    assert opened.locator("img:not([src^='data:'])").count() == 0
    shown = opened.locator("h1 bdi").text_content()
    assert shown == HOSTILE.replace("\u202e", "\ufffd")
    assert opened.locator("td", has_text="</title><script>alert(1)</script>{{ 7*7 }}").count()
    opened.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of any bytes")
def test_a_name_that_is_not_unicode_can_be_written(loaded, tmp_path, monkeypatch):
    import os

    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.mp4"))
    odd_clips.write(tmp_path / "x.mp4", odd_clips.counted(1)).rename(path)
    explained(path).write(check_page(None, path).name, DAY)
    (page,) = Path().glob("*.html")
    assert "??.mp4" in page.read_text("utf-8")


# How it runs


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_page(
    clips, loaded, tmp_path, monkeypatch, fake
):
    keep, made = tmp_path / "page.unfinished", []
    maps = MethodConfig.maps

    def dies_at_the_third(config, *arguments):
        made.append(config.name)
        if len(made) == 3:
            raise KeyboardInterrupt
        return maps(config, *arguments)

    monkeypatch.setattr(MethodConfig, "maps", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        explained(clips / FAKES / FAKE, METHODS, 6, cache_dir=keep)
    report = explained(clips / FAKES / FAKE, METHODS, 6, cache_dir=keep)
    assert len(made) == 3 + 3 - 2  # three sets of maps, of which two were there
    assert report.html(DAY) == fake.html(DAY) and not keep.exists()


def test_pieces_of_another_run_make_way(clips, loaded, tmp_path):
    keep = tmp_path / "page.unfinished"
    other = ResultCache(keep / module._KEPT, {"digest": "another file"}).claim()
    other.cached_arrays("person_0/x", lambda: {"a": np.ones(1)})
    assert len(list(keep.rglob("*.npz"))) == 1
    explained(clips / REAL, frames=1, cache_dir=keep)
    assert not keep.exists()


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_that_was_there_keeps_what_is_in_it(clips, loaded, tmp_path):
    """Even the results of another long computation, whose settings differ."""
    other = ResultCache(tmp_path, {"scale": 2.0}).claim()
    other.cached_table("localisation", lambda: pd.DataFrame({"a": [1]}))
    before = files(tmp_path)
    explained(clips / REAL, frames=1, cache_dir=tmp_path)
    assert files(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(map(str, before))
    (empty := tmp_path / "empty").mkdir()
    explained(clips / REAL, frames=1, cache_dir=empty)
    assert empty.is_dir() and not list(empty.iterdir())


@pytest.mark.parametrize("place", [f"{module._KEPT}/theirs.txt", module._KEPT, "a file"])
def test_a_sub_folder_that_is_not_ours_is_refused_and_kept(clips, loaded, tmp_path, place):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("something")
    before = files(tmp_path)
    keep = tmp_path / "a file" if place == "a file" else tmp_path
    with pytest.raises(UserError, match="give (another|a) folder"):
        explained(clips / REAL, frames=1, cache_dir=keep)
    assert files(tmp_path) == before


def test_it_says_beforehand_how_long_it_takes(clips, loaded, capsys):
    explain_video(clips / REAL, methods=CHEAP, frames=2)
    said = capsys.readouterr().out
    assert re.search(r"About \d+ (seconds|minutes) for one person", said)
    assert re.search(r"1 person to explain: 4 maps, about (a few|\d+) (seconds|minutes)", said)


@pytest.mark.parametrize(
    ("out", "message"),
    [("nowhere/page.html", "no folder"), ("page.pdf", "ends in .html"), ("clip", "ends in .html")],
)
def test_a_page_that_cannot_be_written_is_told_beforehand(out, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        check_page(Path(out), "clip.mp4")
    assert check_page(None, "some/where/../clip.mp4") == Path("clip.mp4_report.html")
    assert check_page(None, "..").name == f"{tmp_path.parent.name}_report.html"


def test_a_detector_of_ones_own_is_taken_and_not_praised(clips, load_once, monkeypatch):
    monkeypatch.setattr(module, "reference_for", lambda *given: load_reference(2.0))
    yours = replace(load_once(2.0), shipped=False)
    report = explained(clips / REAL, frames=1, detector=yours)
    text = text_of(report.html(DAY))
    assert "What this detector was trained on is not known here" in text
    assert "Nobody has tested which maps can be trusted for this detector" in text


def small_detector(size):
    """A functional network of another size than Xception's, with weights as they were drawn."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(24, 5, strides=4, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(24, 3, strides=2, padding="same", activation="relu")(x)
    logit = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x))
    return Detector(keras.Model(inputs, logit, name="small"))


@pytest.mark.parametrize("size", [96, 150])
def test_a_detector_of_another_size_goes_through(size, clips, monkeypatch):
    detector, faces = small_detector(size), load_faces(scale=2.0)
    images = np.stack([cv2.resize(image, (size, size)) for image in faces.images])
    known = learn_reference(detector, replace(faces, images=images))
    monkeypatch.setattr(module, "reference_for", lambda *given: known)
    report = explained(clips / FAKES / FAKE, ["gradient", "grad_cam"], frames=2, detector=detector)
    assert report.predictions[0].case.maps["gradient"].shape == (2, size, size)
    assert "small" in text_of(report.html(DAY)) and report.reference.mean.shape == (24,)


def test_bad_requests_are_told(clips):
    with pytest.raises(UserError, match="frames=0"):
        explained(clips / REAL, frames=0)
    with pytest.raises(UserError, match="No method"):
        explained(clips / REAL, ["magic"])


def test_the_command_writes_page_and_video(clips, tmp_path):
    command = [Path(sys.executable).with_name("xaifake"), "explain", clips / REAL, "--frames", 2]
    command += ["--methods", "gradient (absolute), grad_cam", "--video", "out.mp4", "--json"]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "022__look_around.mp4_report.html"
    assert f'"page": "{page.name}"' in done.stdout and "About" in done.stderr
    assert "Grad-CAM" in page.read_text("utf-8") and len(open_media(tmp_path / "out.mp4")) == 32
    assert {p.name for p in tmp_path.iterdir()} == {page.name, "out.mp4"}
