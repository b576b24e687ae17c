"""Every frame that a decoder shows is found under its number, whatever the file is like.

Frames carry their number as bars. The truth is what decoding from the first packet on shows, or
what was written. Files are those that public bug reports tell of.
"""

import struct
from fractions import Fraction
from itertools import product

import av
import cv2
import numpy as np
import pytest

import odd_clips
from xaifake.data import decoding
from xaifake.data.decoding import Unreadable
from xaifake.data.media import open_media
from xaifake.errors import UserError

OPEN_GOP = {"x264-params": "keyint=12:open-gop=1:bframes=3"}
REFRESH = {"x264-params": "keyint=20:intra-refresh=1"}
LATE_KEYS = {"x264-params": "keyint=250:scenecut=0"}
# Format, encoder and its options; by what is special about them.
FILES = {
    "plain": ("mp4", "libx264", {}),
    "open groups, mp4": ("mp4", "libx264", OPEN_GOP),
    "open groups, mkv": ("matroska", "libx264", OPEN_GOP),
    "open groups, ts": ("mpegts", "libx264", OPEN_GOP),
    "open groups, flv": ("flv", "libx264", OPEN_GOP),
    "no key frames, ts": ("mpegts", "libx264", REFRESH),
    "no key frames, mp4": ("mp4", "libx264", REFRESH),
    "one key frame, ts": ("mpegts", "libx264", LATE_KEYS),
    "several frames a packet": ("vob", "mpeg2video", {"bf": "2", "g": "12"}),
    "stamps that come twice": ("mpeg", "mpeg2video", {"bf": "2", "g": "12"}),
    "times of decoding only": ("avi", "mpeg4", {"bf": "2"}),
    "no times": ("h264", "libx264", {}),
    "hidden frames": ("webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20"}),
    "key frames alone": ("mov", "mjpeg", {"pix_fmt": "yuvj420p"}),
}


def sequential(path):
    """Return all frames as RGB, as a decoder shows them from the first packet on."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def numbers_in(footage, wanted=None):
    """Return what the frames that are read are said to be, and what they say themselves."""
    return [(frame.number, odd_clips.number_of(frame.image)) for frame in footage.read(wanted)]


@pytest.mark.parametrize("name", FILES)
def test_every_frame_is_found_under_its_number(name, tmp_path, monkeypatch):
    format, codec, options = FILES[name]
    path = odd_clips.film(tmp_path / "clip", odd_clips.counted(90), format, codec, **options)
    shown, footage = sequential(path), open_media(path)
    assert len(footage) == len(shown) == 90 and footage.problems == []
    assert [footage.seconds(k) for k in (0, 1, 89)] == pytest.approx([0, 0.04, 3.56], abs=0.002)
    monkeypatch.setattr(decoding, "_WORTH_A_JUMP", 2)
    rng = np.random.default_rng(0)
    some = [np.unique(rng.integers(0, 90, count)).tolist() for count in (1, 1, 2, 3, 5, 8)]
    for wanted in (range(90), *some):
        read = list(footage.read(wanted))
        assert [frame.number for frame in read] == list(wanted)
        for frame in read:
            np.testing.assert_array_equal(frame.image, shown[frame.number])
    strict = open_media(path, strict=True)
    for frame in strict.read([3, 50]):
        np.testing.assert_array_equal(frame.image, shown[frame.number])


@pytest.mark.parametrize("format", ["mpegts", "vob"])
def test_of_joined_files_all_parts_are_seen(format, tmp_path, monkeypatch):
    """Time stamps begin anew, and mean other frames than before."""
    monkeypatch.setattr(decoding, "_WORTH_A_JUMP", 2)
    codec = "libx264" if format == "mpegts" else "mpeg2video"
    frames = list(odd_clips.counted(120, (320, 240)))
    noise = np.random.default_rng(0).integers(0, 256, frames[0][60:120, :].shape, dtype=np.uint8)
    for frame in frames:
        frame[60:120] = noise  # no frame is small
    ends = (0, 50, 110, 120)
    parts = [
        odd_clips.film(
            tmp_path / f"{k}", frames[start:end], format, codec, start=k % 2 * 30, g="12"
        )
        for k, (start, end) in enumerate(zip(ends, ends[1:], strict=False))
    ]
    path = tmp_path / "joined"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    footage = open_media(path)
    assert len(footage) == 120 and footage.problems == []
    assert numbers_in(footage) == [(k, k) for k in range(120)]
    assert numbers_in(footage, [7, 49, 50, 61, 109, 119]) == [
        (k, k) for k in (7, 49, 50, 61, 109, 119)
    ]
    times = [footage.seconds(k) for k in range(120)]
    np.testing.assert_allclose(times, np.arange(120) / 25, atol=0.05)
    assert footage.spread(3)[1] in (59, 60)


@pytest.mark.parametrize("format", ["mpegts", "matroska", "mp4", "flv"])
def test_what_starts_late_is_read_from_its_start(format, tmp_path):
    path = odd_clips.film(tmp_path / "late", odd_clips.counted(64), format, start=600, **LATE_KEYS)
    footage = open_media(path)
    assert footage.seconds(0) == 0 and footage.seconds(63) == pytest.approx(63 / 25, abs=0.002)
    assert numbers_in(footage, [0, 20, 63]) == [(0, 0), (20, 20), (63, 63)]
    assert footage.problems == []


def test_a_trimmed_file_shows_what_its_edit_list_shows(tmp_path):
    """The frames before are there, and are decoded, but not shown."""
    path = odd_clips.film(
        tmp_path / "trim.mp4", odd_clips.counted(96), "mp4", **{"x264-params": "bframes=2"}
    )
    odd_clips.trim(path, 64, 32)
    footage = open_media(path)
    assert len(footage) == 32 and footage.problems == []
    assert numbers_in(footage) == [(k, k + 64) for k in range(32)]
    assert numbers_in(footage, [31]) == [(31, 95)]
    assert footage.seconds(31) == pytest.approx(31 / 25, abs=0.002)
    strict = open_media(path, strict=True)
    assert numbers_in(strict, [0, 31]) == [(0, 64), (31, 95)]
    odd_clips.trim(path, 10, 20)
    assert numbers_in(open_media(path)) == [(k, k + 10) for k in range(20)]
    assert numbers_in(open_media(path, strict=True)) == [(k, k + 10) for k in range(20)]


def test_frames_without_duration_are_all_shown(tmp_path):
    path = odd_clips.film(tmp_path / "x.mp4", odd_clips.counted(20), "mp4")
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") + 12  # one config: so many frames, so long each
    assert struct.unpack(">I", data[at : at + 4]) == (20,)
    data[at + 4 : at + 8] = bytes(4)
    path.write_bytes(data.replace(b"ctts", b"free").replace(b"edts", b"free"))
    footage = open_media(path)
    assert len(footage) == 20
    assert numbers_in(footage) == [(k, k) for k in range(20)]
    assert len(footage.spread(20)) == 20


def test_frames_that_are_shown_again_keep_the_times(tmp_path):
    """After each frame an empty one, as screen recorders write."""
    path = odd_clips.film(tmp_path / "x.avi", odd_clips.counted(20), "avi", "mpeg4")
    odd_clips.repeat_each(path)
    footage = open_media(path)
    assert numbers_in(footage) == [(k, k) for k in range(20)]
    assert footage.seconds(19) == pytest.approx(38 / 25) and footage.problems == []
    assert len(list(open_media(path, strict=True).read())) == 20


def test_what_is_cut_out_of_a_broadcast_begins_with_its_first_whole_frame(tmp_path):
    path = odd_clips.film(tmp_path / "x.ts", odd_clips.counted(60), "mpegts", **OPEN_GOP)
    with av.open(str(path)) as container:
        places = [(p.pos, p.is_keyframe) for p in container.demux(video=0) if p.size]
    for begin in (places[4][0], [pos for pos, key in places if key][1]):
        (tmp_path / "cut.ts").write_bytes(path.read_bytes()[begin:])
        shown = [odd_clips.number_of(frame) for frame in sequential(tmp_path / "cut.ts")]
        footage = open_media(tmp_path / "cut.ts")
        assert 40 < len(footage) == len(shown)
        assert numbers_in(footage) == list(enumerate(shown)) and shown[-1] == 59
        assert footage.seconds(len(shown) - 1) == pytest.approx((len(shown) - 1) / 25, abs=0.002)


def test_stamps_that_are_not_in_the_order_of_showing_are_found_out(tmp_path):
    """MP4 made without times of display, of frames that are stored in another order."""
    path = odd_clips.film(
        tmp_path / "x.mp4", odd_clips.counted(30), "mp4", **{"x264-params": "bframes=2:b-adapt=0"}
    )
    data = path.read_bytes().replace(b"ctts", b"free").replace(b"edts", b"free")
    path.write_bytes(data)
    footage = open_media(path)
    assert len(footage) == 30
    list(footage.read([29]))
    assert numbers_in(footage) == [(k, k) for k in range(30)]


def test_only_a_promise_about_this_stream_accuses_the_file(tmp_path):
    slow = dict(rate=Fraction(1, 2))
    cases = [("matroska", dict(sound=6)), ("matroska", slow), ("matroska", dict(start=20))]
    for format, how in [*cases, ("flv", dict(sound=6)), ("mpegts", dict(sound=6)), ("mp4", slow)]:
        path = odd_clips.film(tmp_path / "x", odd_clips.counted(20), format, **how)
        footage = open_media(path)
        assert len(footage) == 20 and footage.problems == [], (format, how)
    for how in ({}, dict(sound=4)):
        path = odd_clips.film(tmp_path / "x", odd_clips.counted(100), "matroska", **how)
        footage = open_media(odd_clips.cut_short(path, 0.5))
        assert "cut short" in footage.problems[0]


# As it is to be seen


UPRIGHT = [(a, 0, 0, d) for a, d in product((1, -1), repeat=2)]
LYING = [(0, b, c, 0) for b, c in product((1, -1), repeat=2)]


@pytest.mark.parametrize("matrix", UPRIGHT + LYING)
def test_all_eight_display_matrices(matrix, tmp_path):
    """A pixel (x, y) is shown at (a x + c y, b x + d y) (ISO 14496-12, section 6.2.2)."""
    path = odd_clips.film(tmp_path / "x.mp4", odd_clips.counted(1), "mp4", crf="10")
    plain = next(open_media(path).read()).image
    odd_clips.set_matrix(path, matrix)
    a, b, c, d = matrix
    y, x = np.mgrid[: plain.shape[0], : plain.shape[1]]
    columns, rows = a * x + c * y, b * x + d * y
    columns, rows = columns - columns.min(), rows - rows.min()
    expected = np.zeros((rows.max() + 1, columns.max() + 1, 3), np.uint8)
    expected[rows, columns] = plain
    for strict in (False, True):
        np.testing.assert_array_equal(next(open_media(path, strict).read()).image, expected)


def test_pixels_are_made_square_and_turned_for_everybody(tmp_path):
    frame = next(odd_clips.counted(1, (160, 128)))
    path = odd_clips.film(tmp_path / "x.mp4", [frame], "mp4", sar=Fraction(64, 45), crf="5")
    odd_clips.set_matrix(path, (0, 1, -1, 0))
    expected = np.rot90(cv2.resize(frame, (228, 128)), -1)
    for strict in (False, True):
        image = next(open_media(path, strict).read()).image
        assert image.shape == (228, 128, 3)
        assert np.abs(image.astype(int) - expected).mean() < 4


def colour_of(path, colour, size=(64, 64), **options):
    """Write a clip of one colour; return what is read of it, and what is said about that."""
    frames = [np.full((size[1], size[0], 3), colour, np.uint8)] * 3
    odd_clips.film(path, frames, "matroska", crf="5", **options)
    footage = open_media(path)
    return list(footage.read())[1].image[20, 20].astype(int), footage.about.get("shown", "")


def test_untagged_hd_is_taken_for_bt709_as_players_do(tmp_path):
    """Written by BT.601, (200, 40, 40) reads as (217, 40, 35) by BT.709's matrix, and back."""
    color = np.array([200, 40, 40])
    luma = np.array([0.299, 0.587, 0.114]) @ color
    blue, red = (color[2] - luma) / 1.772, (color[0] - luma) / 1.402
    hd = [
        luma + 1.5748 * red,
        luma - (0.2126 * 1.5748 * red + 0.0722 * 1.8556 * blue) / 0.7152,
        luma + 1.8556 * blue,
    ]
    read, said = colour_of(tmp_path / "sd.mkv", color)
    assert np.abs(read - color).max() <= 3 and said == ""
    read, said = colour_of(tmp_path / "hd.mkv", color, (1280, 64))
    assert np.abs(read - hd).max() <= 3 and "BT.709" in said


@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG")])
def test_hdr_is_tone_mapped_and_it_is_said(transfer, name, tmp_path, monkeypatch):
    """Grey stays grey, lighter stays lighter; PQ's half is 92 cd/m2 and no mere grey 128."""
    tags = f"transfer={transfer}:colorprim=bt2020:colormatrix=bt2020nc"
    levels = np.array([60, 128, 200, 250])
    frames = [np.full((64, 64, 3), level, np.uint8) for level in levels]
    how = {"pix_fmt": "yuv420p10le", "x264-params": tags, "crf": "5"}
    path = odd_clips.film(tmp_path / "hdr.mkv", frames, "matroska", **how)
    footage = open_media(path)
    read = [frame.image[20, 20].astype(int) for frame in footage.read()]
    assert f"{name} tone-mapped" in footage.about["shown"]
    assert np.ptp(read, axis=1).max() <= 2
    assert np.all(np.diff(np.mean(read, axis=1)) > 20)
    assert np.abs(np.mean(read, axis=1) - levels).max() > 10
    monkeypatch.setattr(decoding, "_TO_SDR", "no_such_option=1")
    with pytest.raises(UserError, match=f"HDR video .{name}."):
        list(open_media(path).read())


def moving_bar(count, step):
    """Yield frames with a bright bar that moves to the right by `step` pixels a field."""
    for k in range(count):
        frame = np.full((128, 160, 3), 40, np.uint8)
        for field in (0, 1):
            at = 10 + step * (2 * k + field)
            frame[field::2, at : at + 20] = 220
        yield frame


def combing(image):
    """Return how much odd lines differ from the even ones around them."""
    grey = image[..., 1].astype(int)
    return np.abs(grey[1:-1:2] - (grey[:-2:2] + grey[2::2]) / 2).mean()


@pytest.mark.parametrize("strict", [False, True])
def test_interlaced_frames_are_deinterlaced_wherever_one_begins(strict, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_WORTH_A_JUMP", 2)
    options = {"x264-params": "tff=1:keyint=8", "crf": "8"}
    path = odd_clips.film(tmp_path / "x.mkv", moving_bar(24, 2), "matroska", **options)
    assert np.median([combing(frame) for frame in sequential(path)]) > 4
    footage = open_media(path, strict)
    every = [frame.image for frame in footage.read()]
    assert len(every) == 24 and max(map(combing, every)) < 1
    assert "deinterlaced" in footage.about["shown"]
    for wanted in ([0], [16], [5, 8, 23], [15, 16, 17]):
        for frame in open_media(path, strict).read(wanted):
            np.testing.assert_array_equal(frame.image, every[frame.number])


# What is no video, and what is not whole


def test_sound_with_a_cover_is_named_and_a_cover_beside_a_video_is_none(tmp_path):
    odd_clips.song(tmp_path / "song.mp3")
    with pytest.raises(UserError, match="sound and a cover, no video"):
        open_media(tmp_path / "song.mp3")


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.srt", "1\n00:00:00,000 --> 00:00:01,000\nHello\n\n"), ("x.txt", "Hello\n" * 30)],
)
def test_text_is_no_video(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="no video|is text"):
        open_media(tmp_path / name)


def test_dolby_vision_without_a_common_layer_is_named(tmp_path):
    path = odd_clips.film(
        tmp_path / "x.mp4", odd_clips.counted(2), "mp4", "libx265", tag="dvh1",
        # Without bframes=0, x265 stamps the packets of a film this short by chance.
        **{"x265-params": "log-level=none:bframes=0"},
    )  # fmt: skip
    with pytest.raises(UserError, match="Dolby Vision"):
        open_media(path)


def test_strict_reading_ends_in_a_reason_where_the_other_goes_on(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    path = odd_clips.film(tmp_path / "x.mp4", frames, "mp4")
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    with pytest.raises(Unreadable, match="truncated or damaged: .* of 20 frames"):
        list(open_media(path, strict=True).read([0]))
    assert 0 < len(list(open_media(path).read())) < 20


def test_interlaced_parts_between_others_have_their_neighbours(tmp_path, monkeypatch):
    """A programme of both: after a jump the frame before the wanted one is decoded too."""
    monkeypatch.setattr(decoding, "_WORTH_A_JUMP", 2)
    parts = []
    for number, how in enumerate(("keyint=8", "tff=1:keyint=8", "keyint=8")):
        options = {"x264-params": how, "crf": "8"}
        path = tmp_path / f"{number}.ts"
        parts.append(odd_clips.film(path, moving_bar(24, 2), "mpegts", **options))
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    every = [frame.image for frame in open_media(path).read()]
    assert len(every) == 72
    assert max(map(combing, every[25:47])) < 1 < min(map(combing, every[:23]))
    for wanted in ([40], [2, 32], [33, 60], [16, 56]):
        for frame in open_media(path).read(wanted):
            np.testing.assert_array_equal(frame.image, every[frame.number])
