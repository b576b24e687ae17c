"""Faces as arrays: the same faces by every way of reading them."""

import io
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xaifake.data import extract_faces, load_faces
from xaifake.data.dataset import (
    decode_image,
    pack_faces,
    read_encoded,
    read_manifest,
    read_pairs,
    split_of_fold,
)
from xaifake.errors import UserError


@pytest.fixture(scope="module")
def folder(tiny_faces):
    return tiny_faces[0]


def by_hand(folder, split, scale):
    """Read faces shard by shard, decoding with another library."""
    rows = []
    for path in sorted((folder / "shards").iterdir()):
        rows += pq.read_table(path).to_pylist()
    manifest = read_manifest(folder).set_index(["video", "frame", "scale"])
    rows = [row for row in rows if row["scale"] == scale]
    rows.sort(key=lambda row: (row["video"], row["frame"]))
    about = [manifest.loc[(row["video"], row["frame"], scale)] for row in rows]
    keep = [i for i, one in enumerate(about) if one.split == split]
    return [rows[i] for i in keep], [about[i] for i in keep]


@pytest.mark.parametrize(("split", "scale"), [("train", 1.3), ("test", 2.0)])
def test_faces_are_those_in_the_shards(folder, split, scale):
    faces = load_faces(folder, split, scale)
    rows, about = by_hand(folder, split, scale)
    assert len(faces) == len(rows) == {"train": 4 * 7, "test": 7}[split]
    assert faces.images.shape == (len(rows), 128, 128, 3) and faces.images.dtype == np.uint8
    assert faces.labels.dtype == np.int64 and faces.masks.dtype == bool
    assert faces.labels.tolist() == [one.label for one in about]
    assert faces.scale == scale
    assert list(faces.table.video) == [row["video"] for row in rows]
    assert list(faces.table.frame) == [row["frame"] for row in rows]
    assert (faces.table.side.dtype, faces.table.box_left.dtype) == (np.int64, np.int64)
    for i, row in enumerate(rows):
        other = np.asarray(PIL.Image.open(io.BytesIO(row["image"])))
        assert np.abs(faces.images[i].astype(int) - other).max() <= 4  # decoders round differently
        if row["mask"] is not None:
            png = np.asarray(PIL.Image.open(io.BytesIO(row["mask"])))
            np.testing.assert_array_equal(faces.masks[i], png == 255)
        assert (row["mask"] is not None) == (row["original"] is not None) == bool(faces.labels[i])


def test_all_splits_together(folder):
    parts = [load_faces(folder, split) for split in ("train", "validation", "test")]
    assert len(load_faces(folder)) == sum(map(len, parts))


def test_encoded_faces_are_the_same(folder):
    faces = load_faces(folder, "train", 2.0)
    images, labels, table = read_encoded(folder, "train", 2.0)
    assert all(isinstance(image, bytes) for image in images)
    np.testing.assert_array_equal(np.stack([decode_image(i) for i in images]), faces.images)
    np.testing.assert_array_equal(labels, faces.labels)
    pd.testing.assert_frame_equal(table, faces.table)


def test_pairs_are_the_fakes_and_their_originals(folder):
    faces = load_faces(folder, "train", 2.0)
    fakes = faces[faces.labels == 1]
    pairs = read_pairs(folder, "train", 2.0)
    for encoded, expected in zip(pairs, (fakes.originals, fakes.images), strict=False):
        np.testing.assert_array_equal(np.stack([decode_image(i) for i in encoded]), expected)
    pd.testing.assert_frame_equal(pairs[2], fakes.table)


def without_originals(folder, tmp_path):
    shutil.copytree(folder, copied := tmp_path / "faces")
    for path in (copied / "shards").iterdir():
        shard = pq.read_table(path)
        none = pa.nulls(len(shard), pa.binary())
        pq.write_table(
            shard.set_column(shard.column_names.index("original"), "original", none), path
        )
    return copied


def test_faces_without_twins_make_no_pairs(folder, tmp_path):
    with pytest.raises(UserError, match="No fake of split 'train'.*originals=True"):
        read_pairs(without_originals(folder, tmp_path), "train", 1.3)


@pytest.mark.parametrize("fold", range(5))
def test_a_fold_is_tested_and_the_next_one_validates(fold):
    folds = pd.Series(np.tile(range(5), 3))
    splits = split_of_fold(folds, fold)
    assert set(folds[splits == "test"]) == {fold}
    assert set(folds[splits == "validation"]) == {(fold + 1) % 5}
    assert set(splits) == {"train", "validation", "test"} and len(splits) == 15


def test_faces_are_split_by_the_folds_of_their_people(tiny_catalogue, folder, tmp_path):
    people = sorted(tiny_catalogue.target.unique())
    catalogue = tiny_catalogue.assign(fold=tiny_catalogue.target.map(people.index) // 2)
    dealt = tmp_path / "faces"
    extract_faces(
        catalogue, dealt, (1.3,), {"real": 1, "fake": 1}, originals=True, workers=2, progress=False
    )
    assert read_manifest(dealt).fold.dtype == np.int64
    for fold in range(3):
        unseen = set(people[2 * fold : 2 * fold + 2])
        assert set(load_faces(dealt, "test", 1.3, fold).table.target) == unseen
        for read in (read_encoded, read_pairs):
            assert not set(read(dealt, "train", 1.3, fold)[2].target) & unseen
    with pytest.raises(UserError, match=r"fold is 3, of the folds \[0, 1, 2\]"):
        load_faces(dealt, "test", 1.3, fold=3)
    with pytest.raises(UserError, match="not dealt to folds"):
        load_faces(folder, "test", fold=0)


def test_faces_can_be_chosen(folder):
    faces = load_faces(folder, "train")
    mask = faces.labels == 1
    for which in (mask, np.flatnonzero(mask)[::-1], slice(2, 9, 3), [0, 5], 3, -1):
        some = faces[which]
        numbers = np.atleast_1d(np.arange(len(faces))[which])
        assert len(some) == len(numbers) == len(some.table)
        np.testing.assert_array_equal(some.images, faces.images[numbers])
        np.testing.assert_array_equal(some.masks, faces.masks[numbers])
        np.testing.assert_array_equal(some.originals, faces.originals[numbers])
        np.testing.assert_array_equal(some.labels, faces.labels[numbers])
        assert list(some.table.frame) == list(faces.table.frame.iloc[numbers])
        assert list(some.table.index) == list(range(len(numbers)))
        assert some.scale == faces.scale
    assert len(faces[mask][np.zeros(mask.sum(), bool)]) == 0


def test_packed_faces_are_the_same(folder, tmp_path):
    manifest = read_manifest(folder)
    rows = manifest[(manifest.split != "train") & (manifest.frame < 4)]
    pack_faces(folder, tmp_path / "packed", rows.sample(frac=1, random_state=0))
    shards = list((tmp_path / "packed" / "shards").iterdir())
    assert [shard.name for shard in shards] == ["faces.parquet"]
    packed = read_manifest(tmp_path / "packed")
    expected = rows.reset_index(drop=True).assign(shard="faces.parquet")
    pd.testing.assert_frame_equal(packed, expected)
    for scale in (1.3, 2.0):
        whole = load_faces(folder, "test", scale)
        whole = whole[(whole.table.frame < 4).to_numpy()]
        part = load_faces(tmp_path / "packed", "test", scale)
        np.testing.assert_array_equal(part.images, whole.images)
        np.testing.assert_array_equal(part.masks, whole.masks)
        np.testing.assert_array_equal(part.originals, whole.originals)


def test_packing_takes_accepted_rows_only(folder, tmp_path):
    manifest = read_manifest(folder)
    for rows in (manifest[:0], manifest.assign(accepted=False)):
        with pytest.raises(UserError, match="accepted ones only"):
            pack_faces(folder, tmp_path, rows)


def test_what_is_not_there_is_told(folder, tmp_path):
    with pytest.raises(UserError, match="run extract_faces"):
        load_faces(tmp_path)
    with pytest.raises(UserError, match=r"no split 'dev'; there are \['test', 'train', 'valid"):
        load_faces(folder, "dev")
    with pytest.raises(UserError, match=r"no scale 1.5; there are \[1.3, 2.0\]"):
        read_encoded(folder, "train", 1.5)
    shutil.copy(folder / "manifest.parquet", tmp_path)
    table = pq.read_table(tmp_path / "manifest.parquet")
    rejected = table.set_column(
        table.schema.get_field_index("accepted"), "accepted", [[False] * len(table)]
    )
    pq.write_table(rejected, tmp_path / "manifest.parquet")
    with pytest.raises(UserError, match="No face of split 'train' and scale 2.0"):
        load_faces(tmp_path, "train")


def test_without_a_folder_the_faces_of_the_package_are_read(folder, monkeypatch):
    monkeypatch.setattr("xaifake.data.dataset.FACES", folder)
    assert len(load_faces(split="test", scale=2.0)) == len(load_faces(folder, "test", 2.0))


def test_faces_are_read_without_threads_that_outlive_the_reading():
    """Those of pyarrow.dataset, by which read_table reads, may abort a process at its end."""
    code = (
        "import sys; from xaifake.data import load_faces; from xaifake.judge import judged\n"
        "load_faces(); judged('cost'); print('pyarrow.dataset' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
