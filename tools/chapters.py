"""What the tools share: where the chapters are, what their parameters are, how they are stored."""

import ast
import base64
import io
import os
import re
from pathlib import Path

import nbformat
import yaml
from PIL import Image

from xaifake.data.marks import FIGURE, ILLUSTRATION, SWAP, marked

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
DPI, DPI_ON_PAGE = 130, 100
QUIET_KERNEL = [
    # Without its warning about local connections, and the "error" that it was told to stop.
    "--IPKernelApp.log_level=50",
    f"--IPKernelApp.exec_files=['{ROOT / 'tools' / 'kernel_start.py'}']",
    # Finer pictures than Matplotlib's own, for the book; `fit_pictures` keeps their size on a page.
    f"--InlineBackend.rc=figure.dpi={DPI}",
]
KEPT_CELL_METADATA = ("tags", "mystnb")
_INTEGER = "tag:yaml.org,2002:int"


class _Loader(yaml.SafeLoader):
    """YAML with the whole numbers of JSON: the names 24_23 and 07 stay text."""

    yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] != _INTEGER]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(_INTEGER, re.compile("-?(0|[1-9][0-9]*)$"), [*"-0123456789"])


def chapter_paths(folder=NOTEBOOKS):
    """Return the chapters in a folder, in the order of the book."""
    return sorted(Path(folder).glob("*.ipynb"))


def read(path):
    """Read a notebook in the current format."""
    return nbformat.read(path, as_version=4)


def as_text(notebook):
    """Return the text of a notebook's file; the same notebook always gives the same text."""
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"


def write(notebook, path):
    """Write a notebook."""
    Path(path).write_text(as_text(notebook), encoding="utf-8")


def read_profile(path):
    """Read parameters by chapter; names of digits, such as 24_23 and 07, need no quotes."""
    return yaml.load(Path(path).read_text(encoding="utf-8"), _Loader) or {}


def title(notebook):
    """Return the title of a chapter."""
    return notebook.cells[0].source.splitlines()[0].removeprefix("# ")


def tags(cell):
    """Return the tags of a cell, an empty list if it has none."""
    return cell.metadata.get("tags", [])


def parameters(notebook):
    """Return names and values in a chapter's one cell tagged `parameters`.

    A ValueError if there is not exactly one such cell, or it has more than `name = literal` lines.
    """
    cells = [cell for cell in notebook.cells if "parameters" in tags(cell)]
    if len(cells) != 1:
        raise ValueError(f"expected one cell tagged 'parameters', found {len(cells)}")
    values = {}
    for statement in ast.parse(cells[0].source).body:
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
            line = ast.unparse(statement)
            raise ValueError(f"the parameters cell may hold only `name = value`, not `{line}`")
        values[statement.targets[0].id] = ast.literal_eval(statement.value)
    return values


def reduce_metadata(notebook):
    """Drop what differs between machines and runs: timings, versions, paths, editor state."""
    notebook.nbformat_minor = 5
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC})
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in KEPT_CELL_METADATA if cell.metadata.get(key)}
        cell.metadata = nbformat.from_dict(kept)
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})


def pictures(notebook):
    """Yield each cell with a picture among its outputs, and the output's data."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                yield cell, output.data


def mark_pictures(notebook):
    """Write into each picture of the outputs from what kind of source it is; no pixel changes.

    A figure whose caption names a manipulated picture is marked as such.
    """
    for cell, data in pictures(notebook):
        caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")
        mark = (SWAP, ILLUSTRATION) if ILLUSTRATION in caption else (FIGURE, "")
        png = marked(base64.b64decode(data["image/png"]), *mark)
        data["image/png"] = base64.b64encode(png).decode()


def fit_pictures(notebook):
    """Pack each picture of the outputs closer, and write how wide a page shows it, in pixels.

    No colour changes, and what is transparent stays so.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                if picture.mode == "RGBA" and picture.getextrema()[3] == (255, 255):
                    picture = picture.convert("RGB")
                picture.save(packed := io.BytesIO(), "PNG", optimize=True)
                output.data["image/png"] = base64.b64encode(packed.getvalue()).decode()
                width = picture.width * DPI_ON_PAGE // DPI
                output.metadata["image/png"] = nbformat.from_dict({"width": width})


def renumber(notebook):
    """Number the cells that have been executed 1, 2, 3, ... as a fresh run would."""
    executed = [cell for cell in notebook.cells if cell.get("execution_count")]
    for count, cell in enumerate(executed, start=1):
        for part in (cell, *cell.outputs):
            if "execution_count" in part:
                part.execution_count = count


def quiet_kernels():
    """Keep TensorFlow's log and progress bars, which go to stderr, out of stored outputs.

    The environment is inherited by the kernels started from here on; a `tqdm` that this process
    has already imported goes on showing its bars.
    """
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}
