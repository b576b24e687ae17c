"""Reliance is counted as defined, found where it was planted, and enough readers are enough."""

import json

import numpy as np
import pandas as pd
import pytest

from xaifake.errors import UserError
from xaifake.video.reliance import (
    COLUMNS,
    read_answers,
    readers_needed,
    reliance,
    simulate_readers,
)


def test_only_contradicting_advice_counts_and_each_kind_apart():
    rows = [  # truth, advice, maps, alone, final
        (1, 1, False, 0, 1), (1, 1, False, 0, 0), (0, 0, False, 1, 0), (0, 0, False, 0, 0),
        (0, 1, False, 0, 0), (0, 1, False, 0, 1), (1, 0, False, 0, 0),
        (1, 1, True, 0, 1), (0, 1, True, 0, 1),
    ]  # fmt: skip
    table = pd.DataFrame([(k % 2, k, *row) for k, row in enumerate(rows)], columns=COLUMNS)
    found = reliance(table, resamples=50)
    assert found.value.tolist() == pytest.approx([2 / 3, 1 / 2, 1, 0, 1 / 3, -1 / 2])
    assert found.n.tolist() == [3, 2, 1, 1, 4, 3]


def test_what_was_planted_is_found_in_many_readers():
    found = reliance(simulate_readers(4000, trust=0.4, persuasion=0.2), resamples=20)
    assert found.value.tolist() == pytest.approx([0.4, 0.6, 0.6, 0.4, 0.2, -0.2], abs=0.02)
    assert (found.low <= found.value).all() and (found.value <= found.high).all()


def test_half_of_the_advice_is_wrong_and_half_of_the_items_have_maps():
    table = simulate_readers(3)
    wrong = table.advice != table.truth
    assert (wrong.groupby(table.reader).sum() == 20).all()
    assert (table.groupby("reader").maps.sum() == 20).all() and len(table) == 120
    pd.testing.assert_frame_equal(table, simulate_readers(3))


def test_with_so_many_readers_a_difference_is_seen_about_as_often_as_asked_for():
    """The formula is for the mean over readers; the analysis pools their answers."""
    needed = readers_needed(0.15)
    assert needed["RAIR"] > 20 and readers_needed(0.3)["RAIR"] < needed["RAIR"] / 3
    seen = []
    for seed in range(60):
        found = reliance(simulate_readers(needed["RAIR"], persuasion=0.15, seed=seed), 0, 100)
        seen.append(found.low[4] > 0)
    assert 0.65 < np.mean(seen) < 0.97


def kept(reader):
    row = dict(zip(COLUMNS[1:], ("a", 1, 0, True, 1, 0)))
    return json.dumps({"reader": reader, "answers": [row, row]})


def test_files_are_read_and_others_refused(tmp_path):
    for name, text in {"a": kept("x"), "b": kept("y"), "c": kept("x"), "d": "{}"}.items():
        (tmp_path / name).write_text(text)
    table = read_answers([tmp_path / "a", tmp_path / "b"])
    assert list(table) == list(COLUMNS) and table.reader.tolist() == ["x", "x", "y", "y"]
    with pytest.raises(UserError, match="2 files of 1 readers"):
        read_answers([tmp_path / "a", tmp_path / "c"])
    for name in ("d", "nothing"):
        with pytest.raises(UserError, match="no file of answers"):
            read_answers([tmp_path / name])
