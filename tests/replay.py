"""Compare a chapter's stored outputs with those of an executed copy, by nbval's own comparison.

A chapter runs once, with papermill, and serves both the book and this comparison: nbval asks a
kernel, and the kernel here answers with what the copy holds. Used by conftest.py at the project's
root, for notebooks under `notebooks/` where a folder of copies is given (`--executed`).
"""

from pathlib import Path

from nbval.plugin import IPyNbFile

import chapters


class ReplayedChapter(IPyNbFile):
    """A chapter whose cells are answered from its executed copy."""

    copy = None

    def setup(self):
        """Read the copy; called before the first cell is compared."""
        self.kernel = _Recording(self.copy)
        self.setup_sanitize_files()

    def collect(self):
        """Yield the code cells, marked as what belongs to the book."""
        for cell in super().collect():
            cell.add_marker("book")
            yield cell


class _Recording:
    """What nbval takes for a kernel: gives the outputs of the copy's cells, in order."""

    def __init__(self, copy):
        if not Path(copy).is_file():
            raise FileNotFoundError(f"no executed copy {copy}: tools/run_chapters.py makes them")
        cells = chapters.read(copy).cells
        self.cells = [cell for cell in cells if cell.cell_type == "code"]
        self.number, self.messages = -1, []

    def is_alive(self):
        """Say that more can be asked."""
        return True

    def stop(self):
        """End: there is nothing to end."""

    def execute_cell_input(self, source, allow_stdin=None):
        """Lay out the answer of the next cell; return the number that it goes by."""
        self.number += 1
        cell = self.cells[self.number]
        # One that papermill gave parameters to, or that an older notebook was run for.
        assert cell.source == source, "the executed copy holds other code than the chapter"
        assert cell.execution_count, "the run ended before this cell"
        answers = [_message(output) for output in cell.outputs]
        answers.append(("status", {"execution_state": "idle"}))
        self.messages = [
            {"msg_type": kind, "content": content, "parent_header": {"msg_id": self.number}}
            for kind, content in answers
        ]
        return self.number

    def await_reply(self, number, timeout=None):
        """Return at once: all has been answered."""

    def get_message(self, stream, timeout=None):
        """Return the next message of the cell."""
        return self.messages.pop(0)


def _message(output):
    """Return a stored output as the message of a kernel that had made it."""
    return output.output_type, {k: v for k, v in output.items() if k != "output_type"}
