"""Write the page of the clip that chapter 12 explains, which the book shows as an example.

    python tools/example_report.py

makes `book/example_report.html` with the methods that are the command's own.
"""

import chapters
import run_chapters
from xaifake.data import read_catalogue
from xaifake.data.clips import embedded_clips
from xaifake.video.report import explain_video

PAGE = chapters.ROOT / "book" / "example_report.html"


def example_clip():
    """Return the path of the clip that chapter 12 explains in the published book."""
    which = run_chapters.read_profile("demo")["12_explain_a_video"]["which"]
    catalogue = read_catalogue(embedded_clips("tiny"))
    return catalogue[catalogue.label == 1].path.iloc[which]


if __name__ == "__main__":
    explain_video(example_clip()).write(PAGE)
    print(f"The page is {PAGE}")
