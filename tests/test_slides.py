"""The slides: figures found, nothing from elsewhere, usable by keyboard and without scripts."""

import re

import pytest

import make_slides
import pages
from chapters import NOTEBOOKS

KNOWN = {"fig-01-a": (None, "a curve that falls", "The loss falls.")}


@pytest.fixture(scope="module")
def lectures(tmp_path_factory):
    return make_slides.make(tmp_path_factory.mktemp("html"), NOTEBOOKS)


def test_there_are_three_lectures_with_figures_of_the_book(lectures):
    assert [path.name for path in lectures] == [f"lecture_{n}.html" for n in (1, 2, 3)]
    for path in lectures:
        page, text = pages.read_page(path), path.read_text(encoding="utf-8")
        assert 18 <= text.count("<section>") <= 30 and len(page.images) >= 12
        assert all(source.startswith("data:") and alt for source, alt in page.images)
        assert page.loads == [source for source, _ in page.images]  # nothing else is loaded
        assert "manipulated research illustration" in text and len(text) < 3_000_000
        assert not re.search(r"https?://", re.sub(r"<a [^>]*>", "", text))


def test_notes_and_slides_are_taken_apart_and_a_figure_that_no_chapter_has_is_noticed():
    with pytest.raises(ValueError, match="'fig-01-b', which no chapter has"):
        make_slides.lecture("# Title\n\n---\n\n## Slide\n\n![](fig-01-b)\n", KNOWN)
    text = make_slides.lecture("# T < U\n\n---\n\n## Slide\n\n- one\n\nNote: say *two*.\n", {})
    assert "<title>T &lt; U</title>" in text and text.count("<section>") == 2
    assert "<li>one</li>" in text and "<aside>say <em>two</em>.</aside>" in text


def test_the_keyboard_leads_through_the_slides(lectures, browser):
    page = browser.new_page()
    page.goto(lectures[0].as_uri())
    assert page.locator("section:visible").count() == 1
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert page.get_by_role("status").inner_text().startswith("3 of ")
    assert not page.locator("aside:visible").count()
    page.keyboard.press("n")
    assert page.locator("aside:visible").count() == 1
    page.keyboard.press("End")
    last = page.locator("section:visible h2").inner_text()
    assert last == "Which one would you believe?"
    page.get_by_role("button", name="Back").click()
    assert page.locator("section:visible h2").inner_text() != last
    page.close()


def test_without_scripts_all_slides_are_there(lectures, browser):
    page = browser.new_page(java_script_enabled=False)
    page.goto(lectures[1].as_uri())
    count = lectures[1].read_text(encoding="utf-8").count("<section>")
    assert page.locator("section:visible").count() == count
    page.close()
