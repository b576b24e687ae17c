"""Run chapters where they stand and store their outputs in them, ready to be committed.

    python tools/refresh_notebooks.py [notebooks/01_dataset.ipynb ...]     (default: all chapters)

Nothing that differs between machines or runs is stored: no timing, no path, no version.
"""

import sys
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

import chapters


def refresh(path):
    """Execute one notebook with its own parameters and write it back with its outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails; the notebook is then left as it was.
    """
    path = Path(path)
    notebook = chapters.read(path)
    chapters.reduce_metadata(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    with tqdm(total=len(code), desc=path.stem, unit="cell") as bar:
        NotebookClient(
            notebook,
            timeout=None,
            kernel_name=chapters.KERNELSPEC["name"],
            extra_arguments=chapters.QUIET_KERNEL,
            record_timing=False,
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_executed=lambda **_: bar.update(),
        ).execute()
    chapters.reduce_metadata(notebook)
    chapters.write(notebook, path)


def main(arguments):
    """Refresh the chapters named, or all; return 0, or 1 as soon as one fails."""
    chapters.quiet_kernels()
    for path in arguments or chapters.chapter_paths():
        try:
            refresh(path)
        except CellExecutionError as error:
            print(f"{path} is left as it was, because a cell failed:\n{error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
