"""Make the slides of the lectures from outlines and the book's own figures.

    python tools/make_slides.py

reads `book/slides/lecture_*.md` and the pictures stored in `notebooks/`, and writes one file of
HTML per lecture into `_build/html/slides`; the build of the book does the same. In an outline `---`
separates slides, a paragraph that begins with `Note:` is for the speaker, and `![](fig-08-rules)`
stands for the figure of that name, with its alternative text and its caption.
"""

import base64
import io
import re
from pathlib import Path

import jinja2
from markdown_it import MarkdownIt
from PIL import Image

import chapters

OUTLINES = chapters.ROOT / "book" / "slides"
FIGURE = re.compile(r"^!\[\]\(([\w-]+)\)$", re.MULTILINE)
WIDEST = 1400  # pixels; the figures are made for pages


def figures(notebooks):
    """Return (PNG, alternative text, caption) of each figure of a folder's chapters, by name."""
    found, paths = {}, chapters.chapter_paths(notebooks)
    for cell in (cell for path in paths for cell in chapters.read(path).cells):
        shown = [output.get("data", {}) for output in cell.get("outputs", [])]
        pictures = [data["image/png"] for data in shown if "image/png" in data]
        about = cell.metadata.get("mystnb", {})
        if pictures and (figure := about.get("figure")):
            png = base64.b64decode(pictures[0])
            found[figure["name"]] = png, about["image"]["alt"], figure["caption"]
    return found


def lecture(outline, known):
    """Return the HTML of one lecture; `known` are its figures, as from `figures`.

    A ValueError names a figure of the outline that is not among them.
    """
    slides = [_slide(part, known) for part in re.split(r"^---$", outline, flags=re.MULTILINE)]
    title = outline.splitlines()[0].removeprefix("# ")
    template = Path(__file__).with_name("slides.html.jinja").read_text(encoding="utf-8")
    return jinja2.Template(template, autoescape=True).render(title=title, slides=slides)


def _slide(text, known):
    text, _, note = text.strip().partition("\nNote: ")
    names = FIGURE.findall(text)
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"the slides name the figure {missing[0]!r}, which no chapter has")
    return {
        "body": MarkdownIt().render(FIGURE.sub("", text)),
        "figures": [_figure(*known[name]) for name in names],
        "note": MarkdownIt().renderInline(" ".join(note.split())),
    }


def _figure(png, alt, caption):
    picture, file = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    picture.thumbnail((WIDEST, WIDEST))
    picture.save(file, "WEBP", quality=85, xmp=Image.open(io.BytesIO(png)).info.get("xmp", b""))
    return {
        "data": base64.b64encode(file.getvalue()).decode(),
        "width": picture.width,
        "height": picture.height,
        "alt": alt,
        "caption": MarkdownIt().renderInline(caption),
    }


def make(folder, notebooks=chapters.NOTEBOOKS):
    """Write all lectures into `folder/slides` and return their paths."""
    known, written = figures(notebooks), []
    for outline in sorted(OUTLINES.glob("lecture_*.md")):
        path = Path(folder) / "slides" / f"{outline.stem}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lecture(outline.read_text(encoding="utf-8"), known), encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    print(*make(chapters.ROOT / "_build" / "html"), sep="\n")
