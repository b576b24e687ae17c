"""Any footage is read as far as it can be, and what is wrong with it is told."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import av
import cv2
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

import odd_clips
from xaifake.data import decoding, media as module
from xaifake.data.media import Media, open_media, readable
from xaifake.errors import UserError


def numbers_in(footage, wanted=None):
    """What the frames that are read say of themselves, beside what they are said to be."""
    return [(frame.number, odd_clips.number_of(frame.image)) for frame in footage.read(wanted)]


@pytest.fixture
def clip(tmp_path):
    return odd_clips.write(tmp_path / "clip.mp4", odd_clips.counted(30))


@pytest.mark.parametrize(
    ("format", "codec", "name"),
    [
        ("mp4", "libx264", "clip.mp4"),
        ("matroska", "libx264", "clip.mkv"),
        ("mpegts", "libx264", "clip.ts"),
        ("webm", "libvpx", "clip.webm"),
        ("avi", "mpeg4", "clip.avi"),
        ("avi", "libx264", "no times of display.avi"),
        ("h264", "libx264", "no times at all.h264"),
        ("mp4", "libx264", "wrong extension.jpg"),
        ("matroska", "libx264", "no extension"),
    ],
)
def test_every_frame_of_every_format_is_the_right_one(format, codec, name, tmp_path):
    path = odd_clips.write(tmp_path / name, odd_clips.counted(30), format, codec)
    footage = open_media(path)
    assert footage.kind == "video" and len(footage) == 30 and footage.problems == []
    assert numbers_in(footage) == [(number, number) for number in range(30)]
    assert numbers_in(footage, [3, 17, 29]) == [(3, 3), (17, 17), (29, 29)]
    assert footage.seconds(29) == pytest.approx(29 / 25, abs=0.002)


def test_a_single_frame_is_a_video_of_one(tmp_path):
    footage = open_media(odd_clips.write(tmp_path / "one.mp4", odd_clips.counted(1)))
    assert footage.spread(32) == [0] and len(list(footage.read())) == 1


def test_uneven_times_are_spread_over_time_and_not_over_frames(tmp_path):
    times = [0, 0.04, 0.08, 0.12, 0.16, 1.0, 4.0]
    path = odd_clips.write(tmp_path / "vfr.mp4", odd_clips.counted(7), times=times)
    footage = open_media(path)
    assert [footage.seconds(k) for k in range(7)] == pytest.approx(times, abs=0.002)
    assert footage.spread(5) == [0, 5, 6]  # 0, 1, 2, 3, 4 seconds: what is nearest to each
    assert [(frame.number, frame.seconds) for frame in footage.read([0, 5, 6])] == [
        (0, 0.0), (5, pytest.approx(1.0, abs=0.002)), (6, pytest.approx(4.0, abs=0.002))
    ]  # fmt: skip


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50, unique=True), st.integers(1, 60))
def test_a_spread_takes_the_frames_nearest_to_even_times(stamps, count):
    """The formula of chapter 15, searched through without sorting."""
    stamps = np.array(sorted(stamps))
    numbers = Media(Path("x"), "video", _stamps=stamps).spread(count)
    assert numbers[0] == 0 and (count == 1 or numbers[-1] == len(stamps) - 1)
    count = min(count, len(stamps))
    even = [stamps[0] + k / max(count - 1, 1) * (stamps[-1] - stamps[0]) for k in range(count)]
    assert numbers == sorted({np.abs(stamps - time).argmin() for time in even})


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_phones_video_is_upright(clip, degrees):
    upright = next(open_media(clip).read([5])).image
    turned = next(open_media(odd_clips.turn(clip, degrees)).read([5])).image
    np.testing.assert_array_equal(turned, np.rot90(upright, -degrees // 90))


def test_pixels_that_are_not_square_are_made_square(clip, tmp_path):
    path = tmp_path / "wide.mp4"
    with av.open(str(clip)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        stream.sample_aspect_ratio = 2
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    assert next(open_media(path).read([0])).image.shape == (120, 320, 3)


def test_large_frames_are_reduced_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_SIDE", 80)
    monkeypatch.setattr(decoding, "LONGEST_SIDE", 80)
    path = odd_clips.write(tmp_path / "x.mp4", odd_clips.counted(2))
    footage = open_media(path)
    assert next(footage.read()).image.shape == (60, 80, 3)
    assert footage.problems == [decoding.REDUCED]
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((100, 400, 3), np.uint8))
    footage = open_media(tmp_path / "x.png")
    assert next(footage.read()).image.shape == (20, 80, 3)
    assert footage.problems == [decoding.REDUCED]


def test_of_a_truncated_video_the_rest_is_read_and_it_is_said(tmp_path):
    path = odd_clips.write(tmp_path / "t.mp4", odd_clips.counted(60), first=True)
    footage = open_media(odd_clips.cut_short(path, 0.6))
    assert 5 < len(footage) < 60
    read = numbers_in(footage)
    assert len(read) > 4 and all(number == told for number, told in read)
    assert len(footage.problems) == 1 and "cut short" in footage.problems[0]


def test_damage_in_the_middle_is_left_out_and_told(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    path = odd_clips.write(tmp_path / "d.mp4", frames)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    footage = open_media(path)
    read = list(footage.read())
    assert 0 < len(read) < 20 and "damaged" in footage.problems[0]


def test_far_frames_are_jumped_to_and_are_the_right_ones(tmp_path, monkeypatch):
    """A group of pictures has 12: from there on 12 packets lead to a frame, and not all before."""
    path = odd_clips.write(tmp_path / "long.mp4", odd_clips.counted(250), codec="mpeg4", rate=1)
    footage, packets, read = open_media(path), decoding._packets, []

    def noted(*arguments):
        for packet in packets(*arguments):
            read.append(packet.pts)
            yield packet

    monkeypatch.setattr(decoding, "_packets", noted)
    assert numbers_in(footage, [0, 100, 249]) == [(0, 0), (100, 100), (249, 249)]
    jumped = len(read)
    monkeypatch.setattr(decoding, "_WORTH_A_JUMP", 1000)
    assert numbers_in(footage, [0, 100, 249]) == [(0, 0), (100, 100), (249, 249)]
    assert jumped < 50 and len(read) - jumped >= 250


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_hour_is_sampled_in_bounded_memory(tmp_path):
    frame = next(odd_clips.counted(1, (320, 180)))
    path = odd_clips.write(tmp_path / "hour.mp4", (frame for _ in range(3600)), rate=1)
    code = (
        "import sys; from xaifake.data.media import open_media\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "footage = open_media(sys.argv[1]); before = peak()\n"
        "found = [frame.seconds for frame in footage.read(footage.spread(64))]\n"
        "print(len(found), found[-1], (peak() - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    count, last, megabytes = done.stdout.split()
    assert (int(count), float(last)) == (64, 3599.0), done.stderr
    assert int(megabytes) < 100  # all 3,600 frames would be 622


def test_a_moving_gif_is_a_video(tmp_path):
    pictures = [Image.fromarray(frame) for frame in odd_clips.counted(4)]
    pictures[0].save(tmp_path / "x.gif", save_all=True, append_images=pictures[1:], duration=100)
    footage = open_media(tmp_path / "x.gif")
    assert footage.kind == "video" and len(footage) == 4


def test_a_picture_is_read_as_it_was_held(tmp_path):
    frame = next(odd_clips.counted(1))
    image = Image.fromarray(frame)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "held.jpg", exif=exif, quality=95)
    footage = open_media(tmp_path / "held.jpg")
    (read,) = footage.read()
    assert footage.kind == "picture" and read.seconds is None
    assert np.abs(read.image.astype(int) - np.rot90(frame, -1)).mean() < 3


@pytest.mark.parametrize(("mode", "format"), [("I;16", "PNG"), ("I;16", "TIFF"), ("L", "PNG")])
def test_grey_of_16_bits_is_scaled_to_8(mode, format, tmp_path):
    grey = np.tile(np.arange(256, dtype=np.uint16), (40, 1))
    values = grey * 257 if mode == "I;16" else grey.astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "x", format=format)
    (read,) = open_media(tmp_path / "x").read()
    np.testing.assert_array_equal(read.image, np.dstack([grey] * 3))


def test_values_without_a_stated_white_are_named(tmp_path):
    Image.fromarray(np.ones((40, 40), np.float32)).save(tmp_path / "x.tiff")
    with pytest.raises(UserError, match="32 bits"):
        open_media(tmp_path / "x.tiff")


def test_a_phones_picture_of_several_parts_is_its_main_one(tmp_path):
    """Beside it are its depth or its highlights; alone or in a folder it is a picture."""
    image = Image.fromarray(next(odd_clips.counted(1)))
    (tmp_path / "phone").mkdir()
    path = tmp_path / "phone" / "IMG_1.jpg"
    image.save(path, format="MPO", save_all=True, append_images=[image.resize((80, 60))])
    for place in (path, path.parent):
        footage = open_media(place)
        assert len(footage) == 1 and footage.problems == []
        assert next(footage.read()).image.shape == (120, 160, 3)
    assert open_media(path).kind == "picture" and open_media(path.parent).kind == "folder"


def test_pages_of_a_tiff_are_pictures(tmp_path):
    pages = [Image.fromarray(frame) for frame in odd_clips.counted(3)]
    pages[0].save(tmp_path / "x.tiff", save_all=True, append_images=pages[1:])
    footage = open_media(tmp_path / "x.tiff")
    assert footage.kind == "folder" and numbers_in(footage) == [(0, 0), (1, 1), (2, 2)]
    assert numbers_in(footage, [2]) == [(2, 2)] and footage.seconds(2) is None


def test_a_moving_webp_is_a_video_with_its_times(tmp_path):
    frames = [Image.fromarray(frame) for frame in odd_clips.counted(4)]
    how = {"save_all": True, "append_images": frames[1:], "duration": [100, 200, 50, 80]}
    frames[0].save(tmp_path / "x.webp", **how)
    footage = open_media(tmp_path / "x.webp")
    assert footage.kind == "video" and numbers_in(footage) == [(k, k) for k in range(4)]
    assert [footage.seconds(k) for k in range(4)] == pytest.approx([0, 0.1, 0.3, 0.35])
    assert numbers_in(footage, [1, 3]) == [(1, 1), (3, 3)]


def test_heic_is_read_whole_or_named(tmp_path):
    """A phone's photo is a grid of tiles, of which FFmpeg would show one."""
    photo = next(odd_clips.counted(1, (1024, 1024)))
    path = odd_clips.heic(tmp_path / "IMG.heic", photo)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "IMG.heic").write_bytes(path.read_bytes())
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        for place in (path, path.parent / "folder"):
            with pytest.raises(UserError, match="HEIC.*pip install pillow-heif"):
                open_media(place)
        return
    for place in (path, path.parent / "folder"):
        (read,) = open_media(place).read()
        assert read.image.shape == (1024, 1024, 3)
        assert np.abs(read.image.astype(int) - photo).mean() < 4


@pytest.mark.parametrize("transfer", [16, 18])
def test_an_hdr_picture_is_named(transfer, tmp_path):
    image = Image.fromarray(next(odd_clips.counted(1)))
    image.save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    chunk = b"cICP" + bytes([9, transfer, 0, 1])
    chunk = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "x.png").write_bytes(data[:33] + chunk + data[33:])
    with pytest.raises(UserError, match="HDR picture"):
        open_media(tmp_path / "x.png")


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    for k in (10, 9, 2):
        cv2.imwrite(str(tmp_path / f"frame_{k}.png"), np.full((40, 40, 3), k, np.uint8))
    (tmp_path / "frame_11.png").write_bytes((tmp_path / "frame_9.png").read_bytes()[:-40])
    (tmp_path / "notes.txt").write_text("no picture")
    footage = open_media(tmp_path)
    assert footage.kind == "folder" and len(footage) == 4
    assert [int(frame.image[0, 0, 0]) for frame in footage.read()] == [2, 9, 10]
    assert len(footage.problems) == 2 and "frame_11.png" in footage.problems[1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "empty file"),
        ("text.mp4", b"hello " * 99, "no video or picture"),
        ("half.jpg", b"\xff\xd8\xff\xe0" + bytes(99), "video"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:10,\nclip.mp4\n#EXT-X-ENDLIST\n", "video"),
        ("list.txt", b"ffconcat version 1.0\nfile 'clip.mp4'\n", "only names other files"),
    ],
)
def test_what_cannot_be_shown_is_told_in_a_sentence(name, content, message, clip, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_media(tmp_path / name)


def test_a_header_alone_an_audio_file_and_nothing_are_told(tmp_path):
    path = odd_clips.write(tmp_path / "late.mp4", odd_clips.counted(30))
    with pytest.raises(UserError, match="beginning is damaged"):  # the header is at the end
        open_media(odd_clips.cut_short(path, 0.5))
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(UserError, match="holds no video"):
        open_media(tmp_path / "sound.wav")
    with pytest.raises(UserError, match="There is no"):
        open_media(tmp_path / "nowhere.mp4")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="holds no picture"):
        open_media(tmp_path / "bare")


def test_a_picture_that_is_cut_off_is_told(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "x.jpg"), noise)
    with pytest.raises(UserError, match="damaged"):
        open_media(odd_clips.cut_short(tmp_path / "x.jpg", 0.5))


def test_a_playlist_asks_for_no_other_file_or_address(tmp_path, clip):
    """FFmpeg would open what a playlist names; here it is refused before anything is decoded."""
    for target in (clip, "http://127.0.0.1:9/clip.mp4", "https://127.0.0.1:9/x.ts"):
        path = tmp_path / "list.m3u8"
        path.write_text(f"#EXTM3U\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n")
        with pytest.raises(UserError):
            open_media(path)


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_readable_text_can_be_written_and_turns_nothing(text):
    shown = readable(text)
    shown.encode("utf-8")
    assert len(shown) <= 200
    assert not set("\n\r\t\0\u202e\u2066\x1b") & set(shown)
