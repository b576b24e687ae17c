#!/usr/bin/env bash
# Guess, before this was run: "import openvino" is enough for the package openvino_telemetry to write
# an id for this user into the home folder and to hand an event to a sender that posts it to Google
# Analytics, though nobody was asked: without a file that objects, consent is taken as given. Only
# the environment variable CI keeps it quiet.
#
# Needs python3 with venv, and pip's access to a package index. Works in a folder of its own, with
# a home of its own, and sends nothing: urlopen is replaced by a function that records and refuses.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    openvino==2026.4.1 openvino-telemetry==2025.2.0 numpy==2.4.6
mkdir "$place/home"

cat > "$place/look.py" <<'PY'
import json
import os
import sys
import time
import urllib.request
from importlib.metadata import version

SENT = "sent.jsonl"  # a file, since the sender posts from a process of its own


def record(request, *given, **options):
    with open(SENT, "a") as file:
        json.dump([request.full_url.split("?")[0], json.loads(request.data)], file)
        file.write("\n")
    raise OSError("recorded and not sent")


urllib.request.urlopen = record
import openvino  # noqa: E402, F401

for _ in range(100):
    if os.path.exists(SENT):
        break
    time.sleep(0.1)
time.sleep(0.5)
asked = []
if os.path.exists(SENT):
    with open(SENT) as file:
        asked = [json.loads(line) for line in file]
home = os.environ["HOME"]
left = [os.path.join(f, n)[len(home):] for f, _, names in os.walk(home) for n in names]
from openvino_telemetry import Telemetry  # noqa: E402

consent = Telemetry().consent
print("openvino", version("openvino") + ", openvino-telemetry", version("openvino-telemetry"))
print("consent, though nobody was asked:", consent)
print("files in the home folder after the import:", sorted(left))
for url, body in asked:
    print("would have been sent to", url, "with", ", ".join(body) + ":", json.dumps(body["events"]))
as_guessed = consent and bool(left) and bool(asked)
print(
    "Merely importing openvino names this user by an id in a file and posts an event without "
    "having asked." if as_guessed else "The behaviour has changed."
)
sys.stdout.flush()
os._exit(0 if as_guessed else 1)  # without waiting for the sender's threads
PY
cd "$place"
env -u CI -u TF_BUILD -u JENKINS_URL -u PYTHONPATH HOME="$place/home" USERPROFILE="$place/home" \
    "$place/venv/bin/python" look.py
