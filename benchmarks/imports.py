"""How long the parts of the library take to import, beside NumPy, and Keras with TensorFlow.

    python benchmarks/imports.py [--rounds 5]

Each import has processes of its own, and all take turns in the same minutes; the first turn, which
finds the files not yet in memory, is not counted. Starting Python is not counted either. The
figures are medians with the smallest and largest; `times NumPy` is the ratio of medians.
`python -X importtime -c "import ..."` tells where the time of one of them goes.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine, spread  # noqa: E402

PEER = "import numpy"
IMPORTS = (
    PEER,
    "import xaifake",
    "import xaifake.data",
    "from xaifake.judge import relevance_mass_accuracy",
    "import tensorflow, keras",
    "from xaifake.explainers import lrp",
    "from xaifake import explain",
    "from xaifake import Detector",
)
TIMED = """\
import sys, time
start = time.perf_counter()
{statement}
print(time.perf_counter() - start, len(sys.modules))
"""


def measure(statement):
    """Run an import in a fresh process; return its seconds and the number of modules loaded."""
    command = [sys.executable, "-c", TIMED.format(statement=statement)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds, modules = done.stdout.split()
    return float(seconds), int(modules)


def main(arguments=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    seconds, modules = {statement: [] for statement in IMPORTS}, {}
    for turn in range(rounds + 1):
        for statement in IMPORTS:
            taken, modules[statement] = measure(statement)
            if turn:
                seconds[statement].append(taken)
    print(machine(np))
    for statement, taken in seconds.items():
        ratio = np.median(taken) / np.median(seconds[PEER])
        told = f"{spread(taken)} s, {modules[statement]} modules, {ratio:.2f} times NumPy"
        print(f"{statement}: {told}")


if __name__ == "__main__":
    main()
