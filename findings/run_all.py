"""Run the scripts of this folder, and write the page that lists what they found.

    python findings/run_all.py           # all, some three quarters of an hour
    python findings/run_all.py NAME ...  # these; the page keeps the last run of the others
    python findings/run_all.py --page    # none

Each script makes an environment of its own; here those with equal pins share one.
"""

import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER.parent / "book" / "libraries.md"
RUNS = FOLDER / "last_runs.json"
PICTURES = PAGE.parent / "images" / "libraries"
FIELDS = "Harms Call Expected Guess Effect Instead xaifake Picture Caption".split()
HARMS = {  # in the order of damage
    "map": "The map is wrong",
    "score": "The score of a map is wrong",
    "picture": "The network sees another picture, or is another network",
    "data": "Data are not what their names say",
    "page": "Figures, pages and programs",
}
HEAD = """# Libraries under test

This page lists behaviour of other people's packages that is easy to guess wrong, and that changes
a heatmap, a score or a data set without an error. It is grouped by damage, and whatever falsifies
the map comes first. Each entry is a script in `findings/`. The script installs the pinned
packages, runs them alone on valid input, and fails if the behaviour has changed. The output below
is from its last run. 'Expected' is what you would expect. A 'guess' was written down before the
first run, and was wrong. The last column of the table says whether this package falls into the
trap, and the entry names the test. The scripts also draw the pictures. In a map, red is for the
output and blue against it. White is 0, and the largest absolute value of each map is in full
colour.

"""


def header(script):
    """Return the title and the fields of a script's comments."""
    comments = [line[2:] for line in script.read_text("utf-8").splitlines() if line[:2] == "# "]
    fields = dict(re.findall(rf"^({'|'.join(FIELDS)}): (.*)$", "\n".join(comments), re.MULTILINE))
    return {"title": comments[0], **fields}


def run(script, environments):
    """Run a script; return the day and what it printed."""
    folders = {"FINDINGS_ENVIRONMENTS": environments, "FINDINGS_PICTURES": str(PICTURES)}
    done = subprocess.run(
        ["bash", str(script)], capture_output=True, text=True, env=os.environ | folders
    )
    if done.returncode:
        sys.exit(f"{script.name} failed:\n{done.stdout}\n{done.stderr}")
    printed = [line for line in done.stdout.splitlines() if line.strip()]
    return {"date": str(datetime.date.today()), "printed": printed}


def page(scripts, runs):
    """Return the page's text: a table of all, and an entry for each."""
    about = {script: header(script) for script in scripts}
    ordered = sorted(scripts, key=lambda s: (list(HARMS).index(about[s]["Harms"]), s.name))
    rows, entries, before = [], [], None
    for number, script in enumerate(ordered, 1):
        said = about[script]
        if said["Harms"] != before:
            before = said["Harms"]
            entries.append(f"## {HARMS[before]}\n")
        inside = re.split(r"[,:;]", said["xaifake"])[0]
        rows.append(f"| {number} | [{said['title']}](#{script.stem}) | {inside} |")
        entries.append(entry(number, script, said, runs[script.stem]))
    table = "| | what happens | xaifake falls into it |\n| --- | --- | --- |\n" + "\n".join(rows)
    return HEAD + table + "\n\n" + "\n".join(entries)


def entry(number, script, said, ran):
    """Return one script's part of the page."""
    kind = "Expected" if "Expected" in said else "Guess"
    points = {
        "Call": f"``{said['Call']}``",
        kind: said[kind],
        "What it does": said["Effect"],
        "Instead": said["Instead"],
        "Does xaifake fall into it?": re.sub(r"(tests/\S+)", r"`\1`", said["xaifake"]),
        "Script": f"`findings/{script.name}`, last run {ran['date']}",
    }
    listed = "".join(f"- {name}{':' * (name[-1] != '?')} {text}\n" for name, text in points.items())
    if "Picture" in said:
        figure = f"```{{figure}} images/libraries/{script.stem}.png\n:alt: {said['Picture']}\n\n"
        listed += f"\n{figure}{said['Caption']}\n```\n"
    printed = "\n".join(ran["printed"])
    title = f"({script.stem})=\n### {number}. {said['title']}\n\n"
    return f"{title}{listed}\n```text\n{printed}\n```\n"


def main(wanted):
    """Run the scripts that are wanted, and write the page."""
    scripts = sorted(FOLDER.glob("*.sh"))
    runs = json.loads(RUNS.read_text("utf-8")) if RUNS.exists() else {}
    if unknown := set(wanted) - {script.stem for script in scripts} - {"--page"}:
        sys.exit(f"no script of the name {', '.join(sorted(unknown))}")
    chosen = [s for s in scripts if not wanted or s.stem in wanted]
    with tempfile.TemporaryDirectory() as folder:
        environments = os.environ.get("FINDINGS_ENVIRONMENTS", folder)
        for script in chosen:
            print(script.name, flush=True)
            runs[script.stem] = run(script, environments)
            kept = {s.stem: runs[s.stem] for s in scripts if s.stem in runs}
            RUNS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")
    done = [s for s in scripts if s.stem in runs]
    PAGE.write_text(page(done, runs), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
