"""Write book/model_card.md from the cards that lie beside the shipped weights.

    python tools/model_card.py

Every number on the page comes from a card, and the cards from `tools/ship_detector.py`.
"""

from pathlib import Path

import jinja2

import chapters
from xaifake.detector.xception import detector_card
from xaifake.scales import SCALES

PAGE = chapters.ROOT / "book" / "model_card.md"
NAMES = {
    "accuracy": "accuracy",
    "accuracy_always_fake": "accuracy of always saying fake",
    "auc": "ROC AUC",
    "equal_error_rate": "equal error rate",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "fake_above_original": "fakes scored above their original",
    "gap_closed_inside": "share of the gap that goes when the swap is put back",
    "gap_closed_control": "share that goes when as much elsewhere is put back",
}


def page():
    """Return the text of the page."""
    cards = [detector_card(scale) for scale in SCALES]
    tests = [card["test"] for card in cards]

    def side_by_side(table, *levels):
        """Yield the rows of a table, one per detector, or one per detector and level."""
        columns = [
            [row for row in test[table] if level in (None, row.get("level"))]
            for test in tests
            for level in levels or [None]
        ]
        return zip(*columns, strict=True)

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    given = {"cards": cards, "tests": tests, "names": NAMES, "side_by_side": side_by_side}
    return environment.get_template("model_card.md.jinja").render(given)


def write():
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
