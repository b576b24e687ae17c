#!/usr/bin/env bash
# Importing openvino stores an id for the user and posts an event
# Harms: page
# Call: import openvino
# Expected: an import leaves the home folder alone and contacts nobody.
# Effect: maps are not affected. But a study whose pictures must not leave the house runs a program that contacts the outside.
# Instead: set the environment variable CI, or use the file of opt_in_out.
# xaifake: no, tests/detector/test_forward.py::test_openvino_reports_nothing_to_its_makers
source "$(dirname "$0")/environment.bash" openvino==2026.4.1 openvino-telemetry==2025.2.0 numpy==2.4.6
mkdir home

cat > look.py <<'PY'
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
print("files in the home folder after the import:", len(left))
for url, body in asked:
    print("would have been sent to", url, "with", ", ".join(body))
as_guessed = consent and len(left) == 2 and any("client_id" in body for _, body in asked)
print(
    "Merely importing openvino names this user by an id in a file and posts an event without "
    "having asked." if as_guessed else "The behaviour has changed."
)
sys.stdout.flush()
os._exit(0 if as_guessed else 1)  # without waiting for the sender's threads
PY
env -u CI -u TF_BUILD -u JENKINS_URL -u PYTHONPATH HOME="$folder/home" USERPROFILE="$folder/home" python look.py
