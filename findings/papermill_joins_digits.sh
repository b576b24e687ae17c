#!/usr/bin/env bash
# Guess, written before the first run: the parameter 24_23, say a pair of people in a data set, reaches the notebook
# as the text that was given.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet papermill==2.7.0
cd "$folder"
env/bin/python - <<'PYTHON'
from importlib.metadata import version

from papermill.cli import _resolve_type

found = {text: _resolve_type(text) for text in ("24_23", "07", "1e3", "nan", "1_000.5")}
print("papermill", version("papermill"))
for text, value in found.items():
    print(f"-p name {text:8} gives {value!r}")
assert found["24_23"] == 2423 and found["07"] == 7, "the texts are taken otherwise now"
print("Names of videos that are digits become numbers: give them with -r, which keeps text as it is.")
PYTHON
