"""Results kept piece by piece, so that a long computation which is stopped goes on."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from xaifake import __version__
from xaifake.data.folders import remove_abandoned, whole_file, write_text
from xaifake.errors import UserError


class Parts:
    """A folder of finished pieces that belong to one set of settings.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.
    settings : dict
        Of plain values: what the pieces depend on, beside the version of this package.

    Raises
    ------
    UserError
        If the folder holds pieces that were made with other settings or by another version.
    """

    def __init__(self, folder, settings):
        self.folder = Path(folder)
        path = self.folder / "settings.json"
        settings = {"xaifake version": __version__, **settings}
        settings = json.loads(json.dumps(settings))  # as they will be read
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            different = [k for k in settings.keys() | before if settings.get(k) != before.get(k)]
            if different:
                told = "; ".join(
                    f"{key} was {before.get(key, 'nothing')}, is {settings.get(key, 'nothing')}"
                    for key in sorted(different)
                )
                raise UserError(
                    f"{self.folder} holds results of other settings ({told}): give another folder, "
                    "or delete this one."
                )
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(settings, indent=1) + "\n")
        remove_abandoned(self.folder)

    def arrays(self, name, make):
        """Return the arrays of a piece, a dict; `make` is called if it is not finished yet."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            self._make(path, name, make, lambda made, f: np.savez_compressed(f, **made))
        with np.load(path) as stored:
            return dict(stored)

    def table(self, name, make):
        """Return the table of a piece; `make` is called if it is not finished yet."""
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            self._make(path, name, make, lambda made, f: made.to_parquet(f, index=False))
        return pd.read_parquet(path)

    def seconds(self):
        """Return how long the finished pieces took to make, in all."""
        path = self.folder / "seconds.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return sum(json.loads(line)["seconds"] for line in lines)

    def _make(self, path, name, make, write):
        start = time.perf_counter()
        made = make()
        seconds = round(time.perf_counter() - start, 2)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            write(made, file)
        with open(self.folder / "seconds.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"piece": name, "seconds": seconds}) + "\n")
