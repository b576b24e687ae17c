"""The rooms stand in order, and the first of them needs no TensorFlow."""

import pkgutil
import subprocess
import sys

from importlinter.cli import lint_imports

import xaifake.data
from chapters import ROOT


def test_each_room_imports_only_from_those_before_it():
    config = str(ROOT / "pyproject.toml")
    assert lint_imports(config_filename=config, no_cache=True) == 0


def test_the_data_room_opens_without_tensorflow():
    modules = [f"xaifake.data.{m.name}" for m in pkgutil.iter_modules(xaifake.data.__path__)]
    code = f"import sys, {', '.join(modules)}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
