"""Catalogues of data sets in the layouts that their makers give them out in, and of tables."""

import json

import pytest
from test_dfd import ACTORS, FAKES, touch

from xaifake.data import compare_with_dfd, read_catalogue, skipped_files, split_by_person
from xaifake.errors import UserError

METHODS = ("Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures")


def face_forensics(root, levels=("c23", "c40")):
    """Lay out a piece of FaceForensics++, https://github.com/ondyari/FaceForensics."""
    for level in levels:
        youtube = f"original_sequences/youtube/{level}/videos"
        touch(root, f"{youtube}/000.mp4", f"{youtube}/003.mp4")
        for method in METHODS:
            videos = f"manipulated_sequences/{method}/{level}/videos"
            touch(root, f"{videos}/000_003.mp4", f"{videos}/003_000.mp4")
    for method in set(METHODS) - {"FaceShifter"}:
        touch(root, f"manipulated_sequences/{method}/masks/videos/000_003.mp4")
    return root


def test_all_methods_of_face_forensics(tmp_path):
    catalogue = read_catalogue(face_forensics(tmp_path)).set_index("video")
    assert len(catalogue) == 2 + 2 * 5 and catalogue.index.is_unique
    assert catalogue.label.sum() == 10 and all("/c23/" in path for path in catalogue.path)
    fake = catalogue.loc["Face2Face_000_003"]
    assert (fake.label, fake.collection, fake.target, fake.source) == (1, "Face2Face", "000", "003")
    assert fake.original == "youtube_000" and fake.scene is None
    masks = tmp_path / "manipulated_sequences/Face2Face/masks/videos"
    assert fake.mask_path == str(masks / "000_003.mp4")
    assert catalogue.mask_path["Face2Face_003_000"] is None
    assert catalogue.mask_path["FaceShifter_000_003"] is None
    assert catalogue.loc["youtube_003", ["label", "target", "original"]].tolist() == [
        0,
        "003",
        None,
    ]
    assert skipped_files(tmp_path) == {}
    other = read_catalogue(tmp_path, compression="c40")
    assert len(other) == 12 and all("/c40/" in path for path in other.path)
    with pytest.raises(UserError, match="same compression level, raw"):
        read_catalogue(tmp_path, compression="raw")


def test_face_forensics_beside_dfd(tmp_path):
    """Both are read, upper-case names too, and what belongs to neither is named."""
    face_forensics(tmp_path, ["c23"])
    strangers = {
        f"{ACTORS}/c23/videos/03__a.avi": "not an .mp4 file",
        "original_sequences/cartoons/c23": "expected one of actors, youtube",
        "manipulated_sequences/Mine": f"expected one of DeepFakeDetection, {', '.join(METHODS)}",
        "original_sequences/youtube/c23/videos/7.mp4": (
            "the name of a real video is <target>.mp4, three digits"
        ),
    }
    touch(tmp_path, f"{ACTORS}/c23/videos/02__a.MP4")
    touch(tmp_path, f"{FAKES}/c23/videos/02_03__a__ABCDEFGH.MP4")
    touch(tmp_path, *(n if "." in n else f"{n}/videos/000.mp4" for n in strangers))
    catalogue = read_catalogue(tmp_path).set_index("video")
    assert len(catalogue) == 12 + 2
    assert catalogue.original["02_03__a__ABCDEFGH"] == "02__a"
    told = skipped_files(tmp_path)
    named = {path.removeprefix(f"{tmp_path}/"): reason for path, reason in told.items()}
    cartoons = named.pop("original_sequences/cartoons")
    assert {**named, "original_sequences/cartoons/c23": cartoons} == strangers
    compared = compare_with_dfd(read_catalogue(tmp_path))
    assert compared.found.to_dict() == {"real": 1, "fake": 1}


def test_celeb_df(tmp_path):
    touch(
        tmp_path,
        "Celeb-real/id0_0000.mp4",
        "Celeb-real/id16_0003.mp4",
        "Celeb-synthesis/id0_id16_0000.mp4",
        "Celeb-synthesis/id16_id0_0007.mp4",
        "Celeb-synthesis/id16__0007.mp4",
        "YouTube-real/00170.mp4",
        "List_of_testing_videos.txt",
    )
    catalogue = read_catalogue(tmp_path).set_index("video")
    fake = catalogue.loc["id0_id16_0000"]
    assert (fake.label, fake.target, fake.source, fake.original) == (1, "id0", "id16", "id0_0000")
    assert catalogue.original["id16_id0_0007"] is None and catalogue.mask_path.isna().all()
    assert catalogue.label.to_dict() == {
        "00170": 0, "id0_0000": 0, "id16_0003": 0, "id0_id16_0000": 1, "id16_id0_0007": 1,
    }  # fmt: skip
    assert catalogue.target["00170"] == "youtube00170"
    told = skipped_files(tmp_path)
    assert "<target>_<source>_<number>" in told[str(tmp_path / "Celeb-synthesis/id16__0007.mp4")]
    assert "expected one of" in told[str(tmp_path / "List_of_testing_videos.txt")]
    assert len(told) == 2


def dfdc_part(folder, **labels):
    """Write videos and their list as a part of DFDC has them: the name's real video or None."""
    touch(folder, *(f"{name}.mp4" for name in labels))
    listed = {
        f"{name}.mp4": {"label": "FAKE" if original else "REAL", "split": "train"}
        | ({"original": f"{original}.mp4"} if original else {})
        for name, original in labels.items()
    }
    (folder / "metadata.json").write_text(json.dumps(listed))
    return listed


@pytest.mark.parametrize("parts", [["dfdc_train_part_0", "dfdc_train_part_1"], [""]])
def test_dfdc(tmp_path, parts):
    for number, part in enumerate(parts):
        names = {f"real{number}": None, f"fake{number}": f"real{number}"}
        listed = dfdc_part(tmp_path / part, **names, **{f"orphan{number}": "control"})
        touch(tmp_path / part, "stray.mp4")
        listed["gone.mp4"] = {"label": "REAL", "split": "train", "original": None}
        listed["odd.mp4"] = {"label": "MAYBE"}
        (tmp_path / part / "metadata.json").write_text(json.dumps(listed))
    catalogue = read_catalogue(tmp_path).set_index("video")
    assert len(catalogue) == 3 * len(parts) and catalogue.source.isna().all()
    assert catalogue.loc["fake0", ["label", "target", "original"]].tolist() == [1, "real0", "real0"]
    assert catalogue.loc["real0", ["label", "target", "original"]].tolist() == [0, "real0", None]
    assert catalogue.loc["orphan0", ["target", "original"]].tolist() == ["control", None]
    told = {path.rsplit("/", 1)[-1]: reason for path, reason in skipped_files(tmp_path).items()}
    assert told == {
        "stray.mp4": "not named in metadata.json",
        "gone.mp4": "named in metadata.json, but not there",
        "odd.mp4": "its label in metadata.json is 'MAYBE'",
    }


def test_a_table_of_any_files(tmp_path):
    touch(tmp_path, "a/one.mov", "b/one.mov", "two.mp4", "masks/two.mp4", "three.webm")
    (tmp_path / "mine.csv").write_text(
        "file,label,group,mask\na/one.mov,REAL,anna,\nb/one.mov,0,berta,\n"
        "two.mp4,fake,anna,masks/two.mp4\nthree.webm,1,,masks/none.mp4\n"
        "four.mp4,1,,\ntwo.mp4,perhaps,,\n"
    )
    catalogue = read_catalogue(tmp_path / "mine.csv").set_index("video")
    assert catalogue.label.to_dict() == {"a_one.mov": 0, "b_one.mov": 0, "two.mp4": 1, "three": 1}
    assert catalogue.target.to_dict() == {
        "a_one.mov": "anna", "b_one.mov": "berta", "two.mp4": "anna", "three": "three",
    }  # fmt: skip
    assert catalogue.mask_path["two.mp4"] == str(tmp_path / "masks/two.mp4")
    assert catalogue.mask_path["three"] is None
    assert skipped_files(tmp_path / "mine.csv") == {
        str(tmp_path / "masks/none.mp4"): "the mask of three.webm, missing",
        str(tmp_path / "four.mp4"): "missing",
        str(tmp_path / "two.mp4"): "its label is 'perhaps', expected 0 or 1, real or fake",
    }
    assert set(split_by_person(catalogue.reset_index(), 0).split) == {"train", "validation", "test"}
    (tmp_path / "mine.csv").write_text("name,label\n")
    with pytest.raises(UserError, match="columns name, label: give file and label"):
        read_catalogue(tmp_path / "mine.csv")
