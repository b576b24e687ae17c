#!/usr/bin/env bash
# A Dask cluster computes equal calls only once, so five random draws are one draw five times
# Harms: data
# Call: [client.submit(draw, "face") for _ in range(5)], and client.map(draw, ["face"] * 5)
# Expected: five separate calls.
# Effect: repetitions for an interval, noisy copies or five seeds inside a function become a single one, and the interval has no width.
# Instead: pass pure=False, or pass the seed as an argument.
# xaifake: no, tests/test_known_traps.py::test_equal_jobs_are_all_done
source "$(dirname "$0")/environment.bash" distributed==2026.8.0
python - <<'PYTHON'
import random

import distributed


def draw(name):
    return random.random()


with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
    with distributed.Client(cluster) as client:
        counts = {
            "submit": len(set(client.gather([client.submit(draw, "face") for _ in range(5)]))),
            "map": len(set(client.gather(client.map(draw, ["face"] * 5)))),
            "submit, pure=False": len(set(client.gather([client.submit(draw, "face", pure=False) for _ in range(5)]))),
        }
print("distributed", distributed.__version__)
print("different results of five calls:", counts)
assert counts == {"submit": 1, "map": 1, "submit, pure=False": 5}, "each call is computed now"
print("Five equal calls give one result, five times; with pure=False five.")
PYTHON
