#!/usr/bin/env bash
# papermill turns names made of digits into numbers
# Harms: data
# Call: papermill in.ipynb out.ipynb -p pair 24_23
# Guess: the parameter 24_23, say a pair of people in a data set, reaches the notebook as the text that you gave.
# Effect: a chapter that is run on 24_23 looks for 2423, and one that is run on 07 looks for 7.
# Instead: use -r, which keeps text as it is.
# xaifake: no, tests/test_tools.py::test_names_of_digits_stay_text_from_the_profile_to_the_chapter
source "$(dirname "$0")/environment.bash" papermill==2.7.0
python - 2>errors.txt <<'PYTHON'
import json
import subprocess
import sys
from importlib.metadata import version

texts = ("24_23", "07", "1e3", "1_000.5")
cell = {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "source": "", "execution_count": None, "outputs": []}
kernel = {"name": "python3", "display_name": "Python", "language": "python"}
with open("in.ipynb", "w") as file:
    json.dump({"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}, file)


def passed(option):
    """Return the values that a notebook gets if the texts are given with an option."""
    given = [word for number, text in enumerate(texts) for word in (option, f"name{number}", text)]
    subprocess.run([sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "--prepare-only", *given], check=True)
    with open("out.ipynb") as file:
        cells = json.load(file)["cells"]
    names = {}
    exec("".join(cells[1]["source"]), names)
    return [names[f"name{number}"] for number in range(len(texts))]


found, raw = passed("-p"), passed("-r")
print("papermill", version("papermill"))
for text, value, kept in zip(texts, found, raw):
    print(f"{text:8} with -p gives {value!r}, with -r {kept!r}")
assert found == [2423, 7, 1000.0, 1000.5] and raw == list(texts), "the texts are taken otherwise now"
print("Names of videos that are digits become numbers with -p, and stay text with -r.")
PYTHON
