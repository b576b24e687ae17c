"""The study's page draws by the code, keeps the answers in a file, and sends nothing anywhere."""

import json

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

import make_study
from xaifake.video.reliance import COLUMNS, read_answers

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="
ITEMS = [
    {"item": str(k), "truth": k % 2, "advice": (k + k // 2) % 2, "face": PIXEL, "map": PIXEL}
    for k in range(40)
]


def take_part(browser, page, code, folder, changes_mind=False):
    """Answer everything as somebody with this code; return the saved file and what was asked."""
    asked, tab = [], browser.new_page()
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.as_uri(), wait_until="load")
    tab.click("#begin")
    assert tab.is_visible("#consent")  # no code was given
    tab.fill("#code", code)
    tab.click("#begin")
    assert tab.is_hidden("#drawn")
    tab.click("[data-answer='0']")
    assert "The detector says" in tab.text_content("#ask")
    tab.click(f"[data-answer='{int(changes_mind)}']")
    both = f"document.querySelector(`[data-answer='${{k % 2 * {int(changes_mind)}}}']`).click()"
    tab.evaluate(f"() => {{ for (let k = 0; k < 78; k++) {both}; }}")
    tab.evaluate("document.querySelectorAll('input[value=\"0\"]').forEach(i => i.click())")
    tab.click("#form button")
    with tab.expect_download() as saved:
        tab.click("#save")
    path = folder / f"{code}.json"
    saved.value.save_as(path)
    tab.close()
    return path, [url for url in asked if not url.startswith(("data:", "blob:", "file:"))]


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "study.html"
    path.write_text(make_study.render(ITEMS), encoding="utf-8")
    return path


def test_a_reader_keeps_the_answers_and_nothing_is_sent(browser, page, tmp_path):
    one, asked = take_part(browser, page, "a", tmp_path)
    two, _ = take_part(browser, page, "b", tmp_path, changes_mind=True)
    assert asked == []
    table = read_answers([one, two])
    assert list(table) == list(COLUMNS) and (table.groupby("reader").item.nunique() == 40).all()
    assert (table.alone == 0).all() and table.groupby("reader").final.mean().tolist() == [0, 1]
    right = table.advice == table.truth
    assert (table.groupby(["reader", right]).maps.mean() == 0.5).all()
    orders = [part.item.tolist() for _, part in table.groupby("reader")]
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0], key=int)
    (tmp_path / "again").mkdir()
    again, _ = take_part(browser, page, "a", tmp_path / "again")
    assert again.read_bytes() == one.read_bytes()
    understood = json.loads(one.read_text())["understood"]
    assert understood == [right == 0 for *_, right in make_study.QUESTIONS]


def test_axe_finds_nothing(browser, page):
    tab = browser.new_page()
    tab.goto(page.as_uri(), wait_until="load")
    tab.evaluate("document.querySelectorAll('section').forEach(s => s.hidden = false)")
    found = Axe().run(tab, options={"preload": False, "resultTypes": ["violations"]})
    assert [v["id"] for v in found.response["violations"]] == []
    tab.close()


@pytest.mark.parametrize("false_alarms", [2, 10, 30])
def test_half_of_the_advice_is_wrong_whatever_the_detector(false_alarms):
    labels = np.repeat([0, 1], 100)
    advice = labels.copy()
    advice[:false_alarms] = 1
    advice[150:] = 0
    chosen = make_study.choose(labels, advice)
    wrong = advice[chosen] != labels[chosen]
    assert len(set(chosen.tolist())) == 40 and wrong.sum() == 20
    assert (labels[chosen] == 0)[wrong].sum() == min(false_alarms, 10)
    assert labels[chosen][~wrong].mean() == 0.5


def test_too_good_a_detector_makes_no_study():
    labels = np.repeat([0, 1], 100)
    with pytest.raises(ValueError, match="20 of 40 faces"):
        make_study.choose(labels, labels)
