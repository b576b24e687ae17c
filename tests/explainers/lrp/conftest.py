"""The helpers of the folder above are there for the tests of this one, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
