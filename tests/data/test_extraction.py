"""Extraction: known pictures, rejections, damage, kills, and where it may be called from."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import av
import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
import tiny
from hypothesis import given, strategies as st

import xaifake
from xaifake.data import extract_faces, load_faces
from xaifake.data.dataset import read_manifest, read_statuses
from xaifake.data.decoding import Unreadable
from xaifake.data.media import open_media, spaced_frames
from xaifake.errors import UserError
from xaifake.runs import ABANDONED

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(xaifake.__file__).parents[1])}


def catalogue_of(paths, **columns):
    """Make a catalogue of files as they are, all real unless columns say otherwise."""
    rows = pd.DataFrame({"video": [Path(path).stem for path in paths], "path": map(str, paths)})
    plain = {"label": 0, "target": "001", "source": None, "scene": "s", "split": "train"}
    return rows.assign(**{**plain, "mask_path": None, "original": None, **columns})


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".unfinished"
    }


def statuses(folder):
    table = read_statuses(folder)
    return dict(zip(table.video, table.status, strict=True))


# The frames that are taken


@given(count=st.integers(1, 3000), wanted=st.integers(1, 400))
def test_frames_are_spread_evenly(count, wanted):
    numbers = spaced_frames(count, wanted)
    assert len(numbers) == min(count, wanted)
    assert numbers[0] == 0 and numbers[-1] <= count - 1
    if len(numbers) > 1:
        assert numbers[-1] == count - 1
        steps = np.diff(numbers)
        assert steps.min() >= 1 and steps.max() - steps.min() <= 1


def test_the_frames_asked_for_are_read(tmp_path):
    levels = np.arange(20) * 10 + 30
    frames = [np.full((64, 96, 3), level, np.uint8) for level in levels]
    path = tiny.encode(tmp_path / "steps.mp4", frames, crf=10)
    footage = open_media(path, strict=True)
    assert len(footage) == 20
    wanted = [0, 3, 4, 11, 19]
    read = [frame.image for frame in footage.read(wanted)]
    assert [picture.shape for picture in read] == [(64, 96, 3)] * 5
    assert [abs(p.mean() - levels[n]) < 3 for p, n in zip(read, wanted, strict=True)] == [True] * 5
    with pytest.raises(Unreadable, match="20 of 20"):
        list(footage.read([19, 20]))


# What an extraction holds


def test_the_manifest_tells_all(tiny_faces, tiny_catalogue):
    manifest = read_manifest(tiny_faces[0])
    key = ["video", "frame", "scale"]
    assert not manifest.duplicated(key).any()
    pd.testing.assert_frame_equal(manifest, manifest.sort_values(key, ignore_index=True))
    frames = manifest.groupby("video").frame.agg(lambda numbers: sorted(set(numbers)))
    for row in tiny_catalogue.itertuples():
        assert frames[row.video] == spaced_frames(6, 3 if row.label else 4)
    assert sorted(manifest.scale.unique()) == [1.3, 2.0]
    assert manifest.accepted.all() and (manifest.reason == "").all()
    about = manifest.drop_duplicates("video").set_index("video")
    catalogue = tiny_catalogue.set_index("video")
    for column in ("label", "target", "source", "scene", "split", "original"):
        expected = catalogue[column].astype(object).where(catalogue[column].notna(), None)
        found = about[column].astype(object).where(about[column].notna(), None)
        assert found.to_dict() == expected.to_dict()
    landmarks = np.stack(manifest.landmarks).reshape(-1, 68, 2)
    middle = manifest[["left", "top"]].to_numpy() + manifest[["side"]].to_numpy() / 2
    assert np.abs(landmarks[:, 30] - middle).max() <= 0.5
    width = (manifest.box_right - manifest.box_left).to_numpy()
    assert np.abs(manifest.side - manifest.scale * width).max() <= 0.5
    assert not any(
        "/" in str(value) for value in manifest.drop(columns="landmarks").to_numpy().flat
    )
    assert set(statuses(tiny_faces[0]).values()) == {"ok"}


def test_masks_line_up_with_the_swapped_pixels(tiny_faces):
    """Inside the mask a fake differs from its original, outside by compression only."""
    for scale in (1.3, 2.0):
        faces = load_faces(tiny_faces[0], scale=scale)
        fakes = faces[faces.labels == 1]
        away = np.abs(fakes.images.astype(float) - fakes.originals).mean(axis=-1)
        inside, outside = away[fakes.masks], away[~fakes.masks]
        assert inside.mean() > 10 * outside.mean() and outside.mean() < 2
        share = fakes.masks.mean(axis=(1, 2))
        np.testing.assert_allclose(share, fakes.table.mask_share, atol=1e-6)
        # A square of 60 x 60 px was swapped.
        np.testing.assert_allclose(share, 60**2 / fakes.table.side**2, rtol=0.07)
        reals = faces[faces.labels == 0]
        assert not reals.masks.any() and (reals.table.mask_share == 0).all()
        np.testing.assert_array_equal(reals.originals, reals.images)


def test_a_mask_marks_its_pixels_exactly(tmp_path):
    """A fake with a green patch where its mask is white: the crops of both agree."""
    image, _ = tiny.portrait(1)
    image, mask = image.copy(), np.zeros_like(image)
    image[210:250, 90:130], mask[210:250, 90:130] = (0, 255, 0), 255
    clip = tiny.encode(tmp_path / "001_002__s__ABCDEFGH.mp4", [image] * 3, crf=5)
    masks = tiny.encode(tmp_path / "mask.mp4", [mask] * 3)
    catalogue = catalogue_of([clip], label=1, mask_path=str(masks))
    manifest = extract_faces(catalogue, tmp_path / "out", workers=1, progress=False)
    assert manifest.accepted.all()
    for scale in (1.3, 2.0):
        faces = load_faces(tmp_path / "out", scale=scale)
        red, green, blue = np.moveaxis(faces.images.astype(int), -1, 0)
        patch = (green - np.maximum(red, blue)) > 100
        assert faces.masks.any() and faces.originals is None
        union, both = (patch | faces.masks).sum(), (patch & faces.masks).sum()
        assert both / union > 0.93  # they differ by half a pixel along the edge at most
        rows, columns = (np.nonzero(faces.masks[0].any(axis=axis))[0] for axis in (1, 0))
        left, top, side = faces.table.loc[0, ["left", "top", "side"]]
        place = np.array([210 - top, 250 - top, 90 - left, 130 - left]) * 128 / side
        found = [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]
        assert np.abs(place.clip(0, 128) - found).max() <= 1


def test_rejections_are_counted_by_reason(tmp_path, capfd):
    face, other = tiny.portrait(1)[0], tiny.portrait(3)[0]
    plain = np.full_like(face, 120)
    pictures = {
        "nobody": plain,
        "two": np.hstack([face, other]),
        "one": face,
        "at_the_edge": face[:, :210],
    }
    clips = [tiny.encode(tmp_path / f"{n}.mp4", [p] * 2) for n, p in pictures.items()]
    scales = (1.0, 1.3, 3.0)
    manifest = extract_faces(catalogue_of(clips), tmp_path / "out", scales=scales, workers=2)
    reasons = manifest.groupby(["video", "scale"]).reason.agg(set)
    for scale in scales:
        assert reasons["nobody", scale] == {"no_face"}
        assert reasons["two", scale] == {"several_faces"}
        for video in ("one", "at_the_edge"):
            assert reasons[video, scale] == ({"too_small"} if scale == 1.0 else {""})
    assert (manifest.accepted == (manifest.reason == "")).all()
    small = manifest[manifest.reason == "too_small"]
    assert (small.side < 120).all() and small.box_left.notna().all()
    assert manifest[manifest.reason == "no_face"].box_left.isna().all()
    padded = manifest[manifest.accepted].groupby(["video", "scale"]).padded.agg(set)
    assert padded["one", 1.3] == {False} and padded["one", 3.0] == {True}
    assert padded["at_the_edge", 3.0] == {True}
    wide = load_faces(tmp_path / "out", scale=3.0)
    edge = wide[(wide.table.video == "at_the_edge").to_numpy()]
    right = round((210 - edge.table.left[0]) * 128 / edge.table.side[0])
    assert np.abs(np.diff(edge.images[0, :, right + 4 :].astype(int), axis=1)).max() < 20
    told = capfd.readouterr().out
    assert "scale 1.3: 4 accepted, 2 no_face, 2 several_faces" in told
    assert "scale 1.0: 2 no_face, 2 several_faces, 4 too_small" in told


# Damage


def damaged(good, streamed, rng):
    """Yield 200 damaged videos as (kind, bytes)."""
    yield from (("empty", b"") for _ in range(10))
    for i in range(20):
        yield "text", f"This is the text number {i}.\n".encode() * int(rng.integers(1, 400))
    for _ in range(20):
        yield "zeros", bytes(int(rng.integers(1, len(good))))
    for _ in range(45):
        yield "cut", good[: rng.integers(1, len(good))]
    for lost in (1, 2, 5, 10, 20):  # of the last bytes, which are not needed for decoding
        yield "cut", good[:-lost]
    for _ in range(50):
        yield "cut_stream", streamed[: rng.integers(1, len(streamed))]
    for data in [good, streamed] * 20:
        start, stop = sorted(rng.integers(0, len(data), 2))
        yield "hole", data[:start] + bytes(stop - start) + data[stop:]


@pytest.mark.slow
def test_200_damaged_videos_end_in_reasons(tmp_path, capfd):
    rng = np.random.default_rng(0)
    face = np.stack(tiny.moving(tiny.portrait(2)[0], 12))  # noisy, so that no frame is small
    face = np.clip(face + rng.normal(0, 8, face.shape), 0, 255).astype(np.uint8)
    whole = tiny.encode(tmp_path / "whole.mp4", face)
    streamed = tiny.encode(tmp_path / "streamed.mp4", face, faststart=True)
    clips, kinds = [whole, streamed], {}
    for i, (kind, data) in enumerate(damaged(whole.read_bytes(), streamed.read_bytes(), rng)):
        path = tmp_path / f"{kind}_{i:03d}.mp4"
        path.write_bytes(data)
        clips.append(path)
        kinds[path.stem] = kind
    for i in range(10):
        path = tmp_path / f"sound_{i}.mp4"
        tiny.encode_audio(path)
        clips.append(path)
        kinds[path.stem] = "sound"
    clips.append(tmp_path / "gone.mp4")
    assert len(kinds) == 200
    frames = {"real": 2, "fake": 2}
    manifest = extract_faces(
        catalogue_of(clips), tmp_path / "out", frames_per_video=frames, workers=2
    )
    status = statuses(tmp_path / "out")
    assert status["whole"] == status["streamed"] == "ok" and status["gone"] == "missing"
    no_video = re.compile("no video or picture, or its beginning is damaged|holds no video .*")
    part = re.compile(r"truncated or damaged: \d+ of 12 frames can be decoded")
    for video, kind in kinds.items():
        told = status[video]
        if kind == "empty":
            assert told == "empty file"
        elif kind == "text" or kind == "zeros":
            assert no_video.fullmatch(told)
        elif kind == "sound":
            assert no_video.fullmatch(told)
        elif kind == "cut_stream":
            assert no_video.fullmatch(told) or part.fullmatch(told), told
    assert sum(bool(part.fullmatch(told)) for told in status.values()) > 30
    # Where the damage is in no picture the faces are ordinary ones.
    ok = {video for video, told in status.items() if told == "ok"}
    assert {kinds[video] for video in ok & set(kinds)} <= {"cut", "hole"}
    assert set(manifest.video) == ok and len(manifest) == len(ok) * 4
    faces = load_faces(tmp_path / "out")
    undamaged = faces.images[faces.table.video == "whole"]
    for video in ok - {"streamed"}:
        if kinds.get(video) != "hole":
            np.testing.assert_array_equal(faces.images[faces.table.video == video], undamaged)
    out, err = capfd.readouterr()
    for video in set(status) - ok:
        assert f"  {video}: {status[video]}" in out
    bar = re.compile(r"\s*\d+%\|.*video.*")
    leaked = [line for line in re.split(r"[\r\n]", err) if line.strip() and not bar.match(line)]
    assert leaked == []


@pytest.mark.parametrize("kept", [0, 5, 11])
def test_a_video_cut_between_two_frames_is_truncated(tmp_path, kept):
    """No frame is damaged, there are only fewer than the header promises."""
    path = tiny.encode(tmp_path / "a.mp4", tiny.moving(tiny.portrait(1)[0], 12), faststart=True)
    with av.open(str(path)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes()[: starts[kept]])
    reason = f"truncated or damaged: {kept} of 12 frames can be decoded"
    for wanted in ([0], [0, kept - 1]):
        with pytest.raises(Unreadable, match=reason):
            list(open_media(path, strict=True).read(wanted))


def test_masks_and_twins_that_cannot_be_read_are_told(tmp_path):
    image = tiny.portrait(1)[0]
    white = np.full_like(image, 255)
    good = tiny.encode(tmp_path / "mask.mp4", [white] * 4)
    other = {
        "short": tiny.encode(tmp_path / "short_mask.mp4", [white] * 3),
        "small": tiny.encode(tmp_path / "small_mask.mp4", [white[:200, :200]] * 4),
        "none": None,
        "gone": tmp_path / "gone_mask.mp4",
        "lonely": good,
        "fine": good,
    }
    clips = [tiny.encode(tmp_path / f"{name}.mp4", [image] * 4) for name in other]
    real = tiny.encode(tmp_path / "real.mp4", [image] * 4)
    catalogue = catalogue_of([*clips, real], label=[1] * 6 + [0])
    catalogue["mask_path"] = [None if path is None else str(path) for path in other.values()] + [
        None
    ]
    catalogue["original"] = ["real"] * 4 + [None, "real", None]
    manifest = extract_faces(catalogue, tmp_path / "out", originals=True, workers=1, progress=False)
    assert statuses(tmp_path / "out") == {
        "short": "mask: truncated or damaged: 3 of 3 frames can be decoded",
        "small": "mask: 200 x 200 px, the video 300 x 300 px",
        "none": "ok",  # a fake without a mask, which is no fault
        "gone": "mask: missing",
        "lonely": "original: missing",
        "fine": "ok",
        "real": "ok",
    }
    assert set(manifest.video) == {"none", "fine", "real"}
    known = manifest[manifest.mask_source.notna()].groupby("video").mask_source.agg(set).to_dict()
    assert known == {"none": {"difference"}, "fine": {"file"}}


# The same bytes, however it came to be


def test_the_number_of_processes_does_not_matter(tiny_faces, tiny_catalogue, tmp_path):
    folder, settings = tiny_faces
    mixed = tiny_catalogue.sample(frac=1, random_state=0)
    extract_faces(mixed, tmp_path, workers=1, **settings)
    assert contents(tmp_path) == contents(folder)


def test_a_finished_run_is_not_done_again(tiny_faces, tiny_catalogue, tmp_path, monkeypatch):
    folder, settings = tiny_faces
    shutil.copytree(folder, tmp_path / "out")
    monkeypatch.setattr("xaifake.data.workers.ProcessPoolExecutor", None)
    manifest = extract_faces(tiny_catalogue, tmp_path / "out", **settings)
    pd.testing.assert_frame_equal(manifest, read_manifest(folder))
    # Another split needs no faces cut anew.
    other = extract_faces(tiny_catalogue.assign(split="test"), tmp_path / "out", **settings)
    assert set(other.split) == {"test"}


def test_what_a_kill_left_behind_is_cleared(tiny_faces, tiny_catalogue, tmp_path):
    folder, settings = tiny_faces
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    leftovers = ("settings.json", "manifest.parquet", "videos.parquet", "shards/001__s.parquet")
    for name in leftovers:
        (out / f"{name}.4711.unfinished").write_bytes(b"half")
        os.utime(out / f"{name}.4711.unfinished", (time.time() - ABANDONED - 60,) * 2)
    written_now = out / "shards" / "001__s.parquet.0815.unfinished"  # by another machine, say
    written_now.write_bytes(b"half")
    (out / "manifest.parquet").unlink()
    extract_faces(tiny_catalogue, out, **settings)
    assert [*out.rglob("*.unfinished")] == [written_now]
    assert contents(out) == contents(folder)


def test_what_changed_is_cut_anew(tmp_path):
    clips = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    tiny.encode(clips[0], [tiny.portrait(1)[0]] * 2)
    clips[1].write_bytes(b"not yet")
    catalogue = catalogue_of(clips)
    extract_faces(catalogue, tmp_path / "out", workers=1, progress=False)
    assert statuses(tmp_path / "out") == {
        "a": "ok",
        "b": "no video or picture, or its beginning is damaged",
    }
    before = (tmp_path / "out/shards/a.parquet").read_bytes()
    tiny.encode(clips[1], [tiny.portrait(2)[0]] * 2)
    extract_faces(catalogue, tmp_path / "out", workers=1, progress=False)
    assert statuses(tmp_path / "out") == {"a": "ok", "b": "ok"}
    tiny.encode(clips[0], [tiny.portrait(3)[0]] * 3)
    extract_faces(catalogue, tmp_path / "out", workers=1, progress=False)
    assert (tmp_path / "out/shards/a.parquet").read_bytes() != before
    assert read_manifest(tmp_path / "out").groupby("video").size().to_dict() == {"a": 6, "b": 4}


RUN = """
import signal, sys, json
import pandas as pd
from xaifake.data import extract_faces
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    catalogue = pd.read_pickle(sys.argv[1])
    open(sys.argv[4], "w").close()
    extract_faces(catalogue, sys.argv[2], workers=2, **json.loads(sys.argv[3]))
"""


@pytest.fixture
def start(tiny_faces, tiny_catalogue, tmp_path):
    """Return a function that starts an extraction in processes of its own."""
    (tmp_path / "run.py").write_text(RUN)
    tiny_catalogue.to_pickle(tmp_path / "catalogue.pickle")
    arguments = [tmp_path / "run.py", tmp_path / "catalogue.pickle", tmp_path / "out"]

    def start():
        return subprocess.Popen(
            [sys.executable, *arguments, json.dumps(tiny_faces[1]), tmp_path / "begun"],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    return start


def wait_for(condition, process, patience=300):
    """Wait until a condition holds; false if the process ended before."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    raise AssertionError("waited in vain")


@pytest.mark.slow
def test_20_kills_change_nothing(start, tiny_faces, tmp_path):
    """Kill all processes of a run at random moments and start again, until 20 kills hit."""
    expected = contents(tiny_faces[0])
    out = tmp_path / "out"
    begun = tmp_path / "begun"
    rng = np.random.default_rng(0)
    kills = 0

    def shards():
        return len(list((out / "shards").glob("*.parquet")))

    while kills < 20:
        before = shards()
        begun.unlink(missing_ok=True)
        process = start()
        # Half of the kills fall anywhere after the start, half among the shards of this run.
        wait_for(begun.exists, process)
        if kills % 2:
            wait_for(lambda before=before: shards() > before, process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 0.3 if kills % 2 else 3))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
            process.communicate()
        else:
            assert process.communicate()[1] == b"" and process.returncode == 0
        if (out / "videos.parquet").is_file():  # written last: this round is over
            assert contents(out) == expected
            shutil.rmtree(out)
    process = start()
    assert process.communicate()[1] == b"" and process.returncode == 0
    assert contents(out) == expected


def test_workers_end_with_their_parent(start, tmp_path):
    process = start()
    assert wait_for(lambda: any((tmp_path / "out/shards").glob("*.parquet")), process)
    process.kill()
    # The workers hold these pipes too: they close when the last process is gone.
    process.communicate(timeout=300)


def test_an_interrupt_ends_all_processes_quietly(start, tiny_faces, tmp_path):
    process = start()
    assert wait_for(lambda: any((tmp_path / "out/shards").glob("*.parquet")), process)
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=300)[1].decode()
    if process.returncode == 0:  # it was done before
        assert error == ""
    else:
        assert error.count("Traceback") == 1 and error.rstrip().endswith("KeyboardInterrupt")
    process = start()
    assert process.communicate()[1] == b"" and process.returncode == 0
    assert contents(tmp_path / "out") == contents(tiny_faces[0])


def test_several_machines_may_cut_into_one_folder(start, tiny_faces, tmp_path):
    processes = [start(), start()]
    assert [process.communicate()[1] for process in processes] == [b""] * 2
    assert contents(tmp_path / "out") == contents(tiny_faces[0])


# Where it may be called from


def test_it_runs_in_a_notebook(tiny_faces, tiny_catalogue, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    tiny_catalogue.to_pickle(tmp_path / "catalogue.pickle")
    cell = f"""
    import pandas as pd
    from xaifake.data import extract_faces
    catalogue = pd.read_pickle({str(tmp_path / "catalogue.pickle")!r})
    manifest = extract_faces(catalogue, {str(tmp_path / "out")!r}, **{tiny_faces[1]!r})
    len(manifest)
    """
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell))])
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    assert [output.output_type for output in notebook.cells[0].outputs] == ["execute_result"]
    assert contents(tmp_path / "out") == contents(tiny_faces[0])


def test_a_script_without_a_guard_is_told(tiny_catalogue, tmp_path):
    tiny_catalogue.to_pickle(tmp_path / "catalogue.pickle")
    script = tmp_path / "script.py"
    script.write_text(
        "import pandas as pd\nfrom xaifake.data import extract_faces\n"
        f"extract_faces(pd.read_pickle({str(tmp_path / 'catalogue.pickle')!r}), 'out')\n"
    )
    run = subprocess.run(
        [sys.executable, script], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "UserError" in run.stderr.splitlines()[-1] and "__main__" in run.stderr.splitlines()[-1]


# What is refused


@pytest.mark.parametrize(
    "other",
    [
        {"scales": (1.3,)},
        {"frames_per_video": {"real": 4, "fake": 4}},
        {"originals": False},
        {"size": 64},
        {"smallest": 100},
        {"full_search": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_folder_begun_with_other_settings_is_refused(tiny_faces, tiny_catalogue, other):
    folder, settings = tiny_faces
    before = contents(folder)
    with pytest.raises(
        UserError, match=f"other settings .{next(iter(other))} was .*another folder"
    ):
        extract_faces(tiny_catalogue, folder, **{**settings, **other})
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda rows: rows.drop(columns="split"), {}, "split_by_person"),
        (lambda rows: rows.assign(split=[None] + ["train"] * 11), {}, "split_by_person"),
        (lambda rows: pd.concat([rows, rows]), {}, "each video only once"),
        (lambda rows: rows[:0], {}, "at least one video"),
        (None, {"frames_per_video": {"real": 3}}, "'real' and for 'fake'"),
        (None, {"frames_per_video": {"real": 0, "fake": 3}}, "'real' and for 'fake'"),
        (None, {"scales": ()}, "factors above 0"),
        (None, {"scales": (0.0, 1.3)}, "factors above 0"),
    ],
)
def test_wrong_arguments_are_told(tiny_catalogue, tmp_path, change, settings, message):
    with pytest.raises(UserError, match=message):
        catalogue = change(tiny_catalogue) if change else tiny_catalogue
        extract_faces(catalogue, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()
