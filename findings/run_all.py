"""Run every script of this folder, and write the page that lists what they found.

    python findings/run_all.py

Each makes an environment of its own in a temporary folder, so packages are loaded from the index.
"""

import datetime
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER.parent / "book" / "libraries.md"
HEAD = """# What libraries really do

Behaviour of other people's packages that is easily guessed wrong, and that changes a heatmap, a
score or a data set. Each line is a script in `findings/`, which installs the pinned packages, runs
them alone on valid input, and fails if the behaviour has changed. Made by
`python findings/run_all.py` on {day}.

| script | guess before the first run | what happens |
| --- | --- | --- |
"""


def guess(script):
    """Return the guess that stands in a script's comments."""
    comments = re.findall(r"^# ?(.*)$", script.read_text(), re.MULTILINE)
    text = "\n".join(comments[1:])
    said = re.search(r"Guess[^:]*:(.*?)(?:\n\n|\Z)", text, re.DOTALL)
    return " ".join(said[1].split()).replace("|", "\\|")


def run(script):
    """Return what a script says last, and the versions that it names."""
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    said = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode:
        sys.exit(f"{script.name} failed:\n{done.stdout}\n{done.stderr}")
    pins = re.findall(r"([a-z0-9-]+)==([0-9.]+)", script.read_text())
    return said[-1].replace("|", "\\|"), ", ".join(f"{name} {number}" for name, number in pins)


def main():
    """Run all and write the page."""
    rows = []
    for script in sorted(FOLDER.glob("*.sh")):
        print(script.name, flush=True)
        found, versions = run(script)
        rows.append(f"| `{script.stem}` | {guess(script)} | {found} ({versions}) |\n")
    PAGE.write_text(HEAD.format(day=datetime.date.today()) + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
