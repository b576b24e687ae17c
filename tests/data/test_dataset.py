"""Faces as arrays: the same faces by every way of reading them."""

import io
import shutil

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow.parquet as pq
import pytest

from xaifake.data import load_faces
from xaifake.data.dataset import (
    as_tf_data,
    decode_image,
    pack_faces,
    read_encoded,
    read_manifest,
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
        assert (row["mask"] is not None) == (row["twin"] is not None) == bool(faces.labels[i])


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


def test_faces_can_be_chosen(folder):
    faces = load_faces(folder, "train")
    mask = faces.labels == 1
    for which in (mask, np.flatnonzero(mask)[::-1], slice(2, 9, 3), [0, 5], 3, -1):
        some = faces[which]
        numbers = np.atleast_1d(np.arange(len(faces))[which])
        assert len(some) == len(numbers) == len(some.table)
        np.testing.assert_array_equal(some.images, faces.images[numbers])
        np.testing.assert_array_equal(some.masks, faces.masks[numbers])
        np.testing.assert_array_equal(some.twins, faces.twins[numbers])
        np.testing.assert_array_equal(some.labels, faces.labels[numbers])
        assert list(some.table.frame) == list(faces.table.frame.iloc[numbers])
        assert list(some.table.index) == list(range(len(numbers)))
        assert some.scale == faces.scale
    assert len(faces[mask][np.zeros(mask.sum(), bool)]) == 0


def test_tf_data_equals_the_arrays(folder):
    faces = load_faces(folder, "train")
    batches = list(as_tf_data(faces, 12))
    assert [len(labels) for _, labels in batches] == [12, 12, 4]
    images = np.concatenate([images for images, _ in batches])
    assert images.dtype == np.float32 and images.min() >= -1 and images.max() <= 1
    np.testing.assert_array_equal(np.rint((images + 1) * 127.5), faces.images)
    labels = np.concatenate([labels for _, labels in batches])
    np.testing.assert_array_equal(labels, faces.labels)


def test_tf_data_shuffles_by_seed(folder):
    faces = load_faces(folder, "train")
    shuffled = as_tf_data(faces, len(faces), shuffle_seed=5)
    (first,), (second,) = list(shuffled), list(shuffled)
    (again,) = as_tf_data(faces, len(faces), shuffle_seed=5)
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], second[0])  # each pass in another order
    key = [(image.sum(), label) for image, label in zip(*map(np.asarray, first), strict=True)]
    plain = as_tf_data(faces, len(faces))
    (ordered,) = plain
    expected = [
        (image.sum(), label) for image, label in zip(*map(np.asarray, ordered), strict=True)
    ]
    assert key != expected and sorted(key) == sorted(expected)


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
        np.testing.assert_array_equal(part.twins, whole.twins)


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
