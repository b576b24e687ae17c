"""The reference has every public module, and its configs know the chapters that use them."""

import importlib.util
import pkgutil

import pytest

import xaifake
from chapters import NOTEBOOKS, ROOT

PAGES = ROOT / "book" / "api"
# What the user of the library never calls: machinery of one module, told in that module's own page.
INTERNAL = {
    "xaifake.cli",
    "xaifake.lazy",
    "xaifake.progress",
    "xaifake.explainers.innvestigate_worker",
    "xaifake.explainers.lrp.linear",
}
specification = importlib.util.spec_from_file_location("api_links", ROOT / "book/_ext/api_links.py")
api_links = importlib.util.module_from_spec(specification)
specification.loader.exec_module(api_links)


def public_modules():
    """The library's modules with code of their own, packages left out."""
    found = pkgutil.walk_packages(xaifake.__path__, "xaifake.")
    return {module.name for module in found if not module.ispkg} - INTERNAL


def documented(text):
    """The modules that a page documents."""
    lines = [line.strip().partition("automodule:: ") for line in text.splitlines()]
    return {name for _, found, name in lines if found}


def test_every_public_module_has_its_place_in_the_reference():
    texts = [path.read_text(encoding="utf-8") for path in PAGES.glob("*.md")]
    listed = set().union(*map(documented, texts))
    assert public_modules() - listed == {"xaifake.errors"}  # told on the first page
    assert all(importlib.util.find_spec(name) for name in listed)
    assert sum(len(documented(text)) for text in texts) == len(listed)  # nothing is told twice


def test_the_chapters_that_use_a_function_are_found_by_the_name_of_its_definition():
    usage = api_links.usage(NOTEBOOKS)
    assert usage["xaifake.explainers.lrp.methods.relevance_by_layer"] == ["07_lrp"]
    assert usage["xaifake.data.dataset.load_faces"][0] == "02_face_extraction"
    assert usage["xaifake.explainers.api.explain"][0] == "06_lime"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from xaifake.data import load_faces as f", ["xaifake.data.load_faces"]),
        ("import xaifake\nxaifake.explain(1)", ["xaifake.explain"]),
        ("from numpy import mean\n%pip install x", []),
        ("from numpy import mean", []),
    ],
)
def test_the_names_that_a_cell_takes_from_the_library(source, names):
    assert list(api_links.imported(source)) == names


def test_the_line_names_the_chapters_in_order():
    line = api_links.used_in(["02_face_extraction", "12_sanity"])
    assert line == (
        "**Used in** chapters :doc:`2 </notebooks/02_face_extraction>`, "
        ":doc:`12 </notebooks/12_sanity>`."
    )
