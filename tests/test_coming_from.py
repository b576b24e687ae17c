"""The page for those who come from other libraries: every call of ours on it runs."""

import re

import numpy as np
import pytest

import xaifake
from chapters import ROOT
from page_code import python_blocks

TEXT = (ROOT / "book" / "coming_from.md").read_text(encoding="utf-8")
CALLS = re.findall(r"\| `([^`|]*explain\([^`|]*)` \|$", TEXT, re.MULTILINE)


@pytest.fixture(scope="module")
def page():
    """The names that the page's blocks leave, run in order."""
    names = {}
    for block in python_blocks(TEXT):
        exec(block, names)
    return names


@pytest.mark.parametrize("call", dict.fromkeys(CALLS))
def test_a_call_gives_a_map_of_each_picture(page, call):
    found = np.asarray(eval(call, page))
    assert found.shape[:3] == page["x"].shape[:3] and np.isfinite(found).all()
    assert np.abs(found).max() > 0


def test_no_call_of_ours_is_left_out_and_methods_without_one_are_there(page):
    assert len(CALLS) == len(re.findall(r"\| `\S.*\| `[^`]*explain", TEXT)) >= 20
    rows = TEXT.split("## Methods that hide")[1].split("(lrp-patents)=")[0]
    named = re.findall(r"\| `(\w+)` \|$", rows, re.MULTILINE)
    assert len(named) == 6 and set(named) <= set(xaifake.methods())
