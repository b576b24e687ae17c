#!/usr/bin/env bash
# papermill turns names made of digits into numbers
# Harms: data
# Call: papermill in.ipynb out.ipynb -p pair 24_23
# Guess: the parameter 24_23, say a pair of people in a data set, reaches the notebook as the text that you gave.
# Effect: a chapter that is run on 24_23 looks for 2423, and one that is run on 07 looks for 7.
# Instead: use -r, which keeps text as it is.
# xaifake: no, tests/test_tools.py::test_names_of_digits_stay_text_from_the_profile_to_the_chapter
source "$(dirname "$0")/environment.bash" papermill==2.7.0
python - <<'PYTHON'
from importlib.metadata import version

from papermill.cli import _resolve_type

found = {text: _resolve_type(text) for text in ("24_23", "07", "1e3", "nan", "1_000.5")}
print("papermill", version("papermill"))
for text, value in found.items():
    print(f"-p name {text:8} gives {value!r}")
assert found["24_23"] == 2423 and found["07"] == 7, "the texts are taken otherwise now"
print("Names of videos that are digits become numbers: give them with -r, which keeps text as it is.")
PYTHON
