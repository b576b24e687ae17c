#!/usr/bin/env bash
# YAML turns most names of FaceForensics++ pairs into numbers and leaves the others as text
# Harms: data
# Call: yaml.safe_load("test: [033_097, 024_073, 519_515]")
# Guess: all names stay text, since a reader would not take them for numbers, or all become numbers.
# Effect: names no longer match files, so videos are missing from a split. The names that stay text hide this.
# Instead: quote the names, or keep lists in JSON or CSV with dtype=str.
# xaifake: no longer, its profiles once did: tests/test_tools.py::test_names_of_digits_stay_text_from_the_profile_to_the_chapter
source "$(dirname "$0")/environment.bash" pyyaml==6.0.3
python - <<'PYTHON'
import yaml

named = {name: yaml.safe_load(name) for name in ("033_097", "024_073", "519_515", "24_23", "07", "08")}
pairs = [f"{a:03}_{(a * 7 + 3) % 1000:03}" for a in range(1000)]  # in the form of the data set
numbers = sum(isinstance(yaml.safe_load(pair), int) for pair in pairs)
print("PyYAML", yaml.__version__)
print("read as:", named)
print(f"of 1000 names in the form 012_345, {numbers} become integers; {sum(p[0] == '0' for p in pairs)} begin with 0, octal where no digit is 8 or 9")
assert named["033_097"] == "033_097" and named["024_073"] == 10299 and named["519_515"] == 519515 and numbers == 945, "names stay text now"
print("024_073 becomes 10299 and 519_515 becomes 519515, while 033_097 stays text.")
PYTHON
