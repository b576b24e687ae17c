"""Write book/model_card.md from the cards that lie beside the shipped weights.

    python tools/model_card.py

Every number on the page comes from a card, and the cards from `tools/ship_detector.py`.
"""

from pathlib import Path

import chapters
from xaifake.detector.xception import detector_card
from xaifake.scales import SCALES

PAGE = chapters.ROOT / "book" / "model_card.md"
TEMPLATE = Path(__file__).with_name("model_card.md")
NAMES = {
    "accuracy": "accuracy",
    "accuracy_always_fake": "accuracy of always saying fake",
    "auc": "ROC AUC",
    "equal_error_rate": "equal error rate",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "fake_above_twin": "fakes scored above their real twin",
    "gap_gone_inside": "share of the gap that goes when the swap is put back",
    "gap_gone_elsewhere": "share that goes when as much elsewhere is put back",
}


def page():
    """Return the text of the page."""
    cards = [detector_card(scale) for scale in SCALES]
    first = cards[0]
    fields = {
        "training": _training(cards),
        "people": first["test"]["confusion"][0]["people"],
        "frames": f"{first['test']['confusion'][0]['n']:,}",
        "clips": f"{first['test']['confusion'][1]['n']:,}",
        "whole": _scores([card["test"]["scores_whole_face"] for card in cards]),
        "all": _scores([card["test"]["scores"] for card in cards]),
        "twins": _intervals([card["test"]["twin_test"] for card in cards]),
        "blurred": _blurred([card["test"]["blurred_reals"] for card in cards]),
        "patch_epochs": first["patch_epochs"],
        "commands": "\n".join(map(_command, cards)),
    }
    for column in ("kind", "region", "degradation", "feather"):
        fields[column] = _recall([card["test"][f"recall_by_{column}"] for card in cards])
    return TEMPLATE.read_text(encoding="utf-8").format(**fields)


def _command(card):
    options = ("epochs", "images_per_epoch", "patch_epochs", "precision", "seed")
    words = [f"--{name.replace('_', '-')} {card[name]}" for name in options]
    first = f"xaifake train faces --out runs/{card['scale']} --scale {card['scale']} "
    return first + " ".join(words[:2]) + " \\\n    " + " ".join(words[2:])


def _table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _training(cards):
    kept = [card["batch_norm_statistics"].replace("_", " ") for card in cards]
    rows = [
        ("images seen", *(f"{card['images']:,}" for card in cards)),
        ("minutes, two CPU cores", *(f"{card['minutes']:.0f}" for card in cards)),
        ("images a second", *(f"{card['images_per_second']:.1f}" for card in cards)),
        ("batch-norm statistics kept", *kept),
        ("validation AUC at the end", *(f"{card['log'][-1]['val_auc']:.3f}" for card in cards)),
    ]
    return _table(["setting", "1.3x", "2.0x"], rows)


def _interval(row):
    if row["low"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def _scores(tables):
    levels = [(level, table) for table in tables for level in ("frame", "video")]
    columns = [{r["score"]: r for r in t if r["level"] == level} for level, t in levels]
    rows = [(NAMES[score], *(_interval(c[score]) for c in columns)) for score in columns[0]]
    return _table(["score", "1.3x, frames", "1.3x, clips", "2.0x, frames", "2.0x, clips"], rows)


def _intervals(tables):
    columns = [{row["score"]: row for row in table} for table in tables]
    rows = [(NAMES[score], *(_interval(c[score]) for c in columns)) for score in columns[0]]
    return _table(["score", "1.3x", "2.0x"], rows)


def _recall(tables):
    name = next(iter(tables[0][0]))
    rows = [
        [str(a[name]).replace("_", " "), a["videos"]]
        + [f"{row['recall_frames']:.3f}" for row in (a, b)]
        for a, b in zip(*tables, strict=True)
    ]
    return _table(["fakes", "clips", "1.3x", "2.0x"], rows)


def _blurred(tables):
    rows = [
        (a["pixels"], a["n"], f"{a['false_fake']:.3f}", f"{b['false_fake']:.3f}")
        for a, b in zip(*tables, strict=True)
    ]
    return _table(["reduced to, pixels", "real faces", "1.3x", "2.0x"], rows)


def write():
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
