"""What the project makes says to machines what it is, and no stored picture is without its mark."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

import mark_pictures
import odd_clips
from xaifake.data.clips import _clip_paths, make_scene, plan_clips
from xaifake.data.marks import ILLUSTRATION, MASK, SWAP, marked, mp4_box, source_type, xmp
from xaifake.data.media import open_media
from xaifake.errors import UserError

TERM = f"http://cv.iptc.org/newscodes/digitalsourcetype/{SWAP}"
SVG = b'<?xml version="1.0"?>\n<!-- the <svg> is below -->\n<svg viewBox="0 0 9 9">\n<g/></svg>'


def picture(kind):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    return cv2.imencode(kind, image)[1].tobytes()


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_a_mark_is_what_others_read_and_changes_no_pixel(kind):
    before = picture(kind)
    after = marked(before, SWAP, ILLUSTRATION)
    assert source_type(before) is None and source_type(after) == SWAP
    with Image.open(io.BytesIO(after)) as read:
        said = read.getxmp()["xmpmeta"]["RDF"]["Description"]
        np.testing.assert_array_equal(read, Image.open(io.BytesIO(before)))
    assert said["DigitalSourceType"] == TERM and said["Label"] == ILLUSTRATION
    assert marked(after, MASK) == after == marked(before, SWAP, ILLUSTRATION)


def test_webp_and_svg_carry_it_too(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "WEBP", xmp=xmp(SWAP))
    assert source_type(file.getvalue()) == SWAP
    from xml.etree import ElementTree

    drawn = marked(SVG, SWAP)
    assert source_type(SVG) is None and source_type(drawn) == SWAP
    assert ElementTree.fromstring(drawn)[0].tag.endswith("metadata")


def test_what_is_no_picture_takes_none():
    with pytest.raises(UserError, match="Only JPEG, PNG and SVG"):
        marked(b"\x00\x00\x00\x18ftypmp42", SWAP)


def test_a_video_is_whole_with_its_mark(tmp_path):
    frames = list(odd_clips.counted(3))
    path = odd_clips.write(tmp_path / "clip.mp4", frames)
    before = [frame.image for frame in open_media(path).read()]
    path.write_bytes(path.read_bytes() + mp4_box(SWAP, ILLUSTRATION))
    assert source_type(path.read_bytes()) == SWAP and ILLUSTRATION.encode() in path.read_bytes()
    after = [frame.image for frame in open_media(path).read()]
    np.testing.assert_array_equal(after, before)


def test_clips_are_born_with_it(tmp_path, monkeypatch):
    """A genuine clip and the first fake made of it, two frames each."""
    monkeypatch.setattr("xaifake.data.clips.N_FRAMES", 2)
    plan = plan_clips("tiny")
    group = plan[(plan.target == plan.target[0]) & (plan.scene == plan.scene[0])]
    group = group.sort_values("label").drop_duplicates("label")
    paths = [path for _, row in group.iterrows() for path in _clip_paths(row, tmp_path) if path]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    make_scene(group, tmp_path, 0)
    for (_, row), said in zip(group.iterrows(), ("animated from portraits", ILLUSTRATION)):
        video, mask = _clip_paths(row, tmp_path)
        assert source_type(video.read_bytes()) == SWAP and said.encode() in video.read_bytes()
        assert mask is None or source_type(mask.read_bytes()) == MASK
        assert len(open_media(video)) == 2


def test_no_picture_of_the_package_the_book_or_the_chapters_is_unmarked():
    assert mark_pictures.unmarked() == [], "run python tools/mark_pictures.py"


def test_an_unmarked_one_would_be_found(monkeypatch):
    pair = [("marked", marked(picture(".png"), SWAP)), ("not", picture(".png"))]
    monkeypatch.setattr(mark_pictures, "_stored", lambda: iter(pair))
    assert mark_pictures.unmarked() == ["not"]
