"""Make the slides of two lectures from outlines and the book's own figures.

    python tools/make_slides.py

reads `book/slides/lecture_*.md` and the pictures stored in `notebooks/`, and writes one file of
HTML a lecture into `_build/html/slides`; the build of the book does the same. In an outline `---`
separates slides, a paragraph that begins with `Note:` is for the speaker, and `![](fig-06-rules)`
stands for the figure of that name, with its alternative text and its caption.
"""

import base64
import html
import io
import re
import sys
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image

import chapters

OUTLINES = chapters.ROOT / "book" / "slides"
FIGURE = re.compile(r"^!\[\]\(([\w-]+)\)$", re.MULTILINE)
WIDEST = 1400  # pixels; the figures are made for pages
CREDIT = (
    "Faces: Face Research Lab London Set (DeBruine and Jones, 2017), CC BY 4.0, changed; every "
    "swapped face is a manipulated research illustration."
)

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --back: #fff; --text: #1a1a1a; --line: #767676 }}
@media (prefers-color-scheme: dark) {{
  :root {{ --back: #14181e; --text: #eee; --line: #9a9a9a }}
}}
* {{ box-sizing: border-box }}
body {{ margin: 0; background: var(--back); color: var(--text); font: 1.3rem/1.45 sans-serif }}
section {{ min-height: 100vh; padding: 1.5rem 5vw 4.5rem; display: flex; flex-direction: column;
  justify-content: center }}
.live section {{ display: none }}
.live section.shown {{ display: flex }}
h1, h2 {{ line-height: 1.15; margin: 0 0 1rem }}
figure {{ margin: 0; text-align: center }}
img {{ width: auto; height: auto; max-width: 100%; max-height: 66vh; background: #fff;
  padding: .5rem; border-radius: .3rem }}
figcaption {{ font-size: .95rem; text-align: left; max-width: 70rem; margin: .5rem auto 0 }}
aside {{ border-left: .25rem solid var(--line); margin-top: 1rem; padding-left: 1rem;
  font-size: 1rem; display: none }}
.notes aside {{ display: block }}
footer {{ font-size: .75rem }}
nav {{ position: fixed; inset: auto 0 0 0; display: none; gap: .75rem; align-items: center;
  padding: .5rem 5vw; background: var(--back); border-top: 1px solid var(--line) }}
.live nav {{ display: flex }}
nav button {{ font: inherit; font-size: 1rem; min-width: 2.75rem; min-height: 2.75rem }}
:focus-visible {{ outline: 3px solid #d97706; outline-offset: 2px }}
@media (max-width: 40rem) {{ body {{ font-size: 1.05rem }} }}
@media print {{
  .live section {{ display: flex; break-after: page }} nav, .live nav {{ display: none }}
}}
</style>
</head>
<body>
<main>
{slides}
</main>
<nav aria-label="Slides">
<button type="button" id="back">Back</button>
<button type="button" id="next">Next</button>
<span role="status" id="where"></span>
<button type="button" id="notes" aria-pressed="false">Notes</button>
</nav>
<script>
"use strict";
const slides = [...document.querySelectorAll("section")];
const byId = (id) => document.getElementById(id);
let at = 0;
function show(number) {{
  at = Math.max(0, Math.min(slides.length - 1, number));
  slides.forEach((slide, n) => slide.classList.toggle("shown", n === at));
  byId("where").textContent = `${{at + 1}} of ${{slides.length}}`;
  history.replaceState(null, "", `#${{at + 1}}`);
}}
function toggleNotes() {{
  const on = document.body.classList.toggle("notes");
  byId("notes").setAttribute("aria-pressed", on);
}}
const keys = {{
  ArrowRight: () => show(at + 1), PageDown: () => show(at + 1), " ": () => show(at + 1),
  ArrowLeft: () => show(at - 1), PageUp: () => show(at - 1),
  Home: () => show(0), End: () => show(slides.length - 1), n: toggleNotes,
}};
addEventListener("keydown", (event) => {{
  const onButton = event.target.tagName === "BUTTON" && event.key === " ";
  if (!keys[event.key] || onButton || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  keys[event.key]();
}});
addEventListener("hashchange", () => show((parseInt(location.hash.slice(1), 10) || 1) - 1));
byId("back").onclick = () => show(at - 1);
byId("next").onclick = () => show(at + 1);
byId("notes").onclick = toggleNotes;
document.body.classList.add("live");
show((parseInt(location.hash.slice(1), 10) || 1) - 1);
</script>
</body>
</html>
"""


def figures(notebooks):
    """The chapters' figures.

    Parameters
    ----------
    notebooks : Path
        The folder of executed chapters.

    Returns
    -------
    dict of str to (bytes, str, str)
        PNG, alternative text and caption, by the figure's name.
    """
    found = {}
    for path in chapters.chapter_paths(notebooks):
        for cell in chapters.read(path).cells:
            about = cell.metadata.get("mystnb", {})
            pictures = [o.data["image/png"] for o in cell.get("outputs", []) if _has_picture(o)]
            if pictures and "figure" in about:
                figure = about["figure"]
                png = base64.b64decode(pictures[0])
                found[figure["name"]] = png, about["image"]["alt"], figure["caption"]
    return found


def _has_picture(output):
    return "image/png" in output.get("data", {})


def lecture(outline, known):
    """The HTML of one lecture.

    Parameters
    ----------
    outline : str
    known : dict
        As from `figures`.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the outline names a figure that no chapter has.
    """
    parts = [part.strip() for part in re.split(r"^---$", outline, flags=re.MULTILINE)]
    title = parts[0].splitlines()[0].removeprefix("# ")
    slides = [_slide(part, known, number == 1) for number, part in enumerate(parts, start=1)]
    return PAGE.format(title=html.escape(title), slides="\n".join(slides))


def _slide(text, known, is_first):
    text, _, note = text.partition("\nNote: ")
    names = FIGURE.findall(text)
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"the slides name the figure {missing[0]!r}, which no chapter has")
    body = MarkdownIt().render(FIGURE.sub("", text))
    body += "".join(_figure(*known[name]) for name in names)
    if is_first:
        body += f"<footer>{CREDIT}</footer>"
    if note:
        body += f"<aside>{MarkdownIt().renderInline(' '.join(note.split()))}</aside>"
    return f"<section>{body}</section>"


def _figure(png, alt, caption):
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((WIDEST, WIDEST))
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=85)
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<figure><img src="data:image/webp;base64,{data}" width="{picture.width}" '
        f'height="{picture.height}" alt="{html.escape(alt, quote=True)}">'
        f"<figcaption>{MarkdownIt().renderInline(caption)}</figcaption></figure>"
    )


def make(folder, notebooks=chapters.NOTEBOOKS):
    """Write all lectures into `folder/slides` and return their paths."""
    known, written = figures(notebooks), []
    for outline in sorted(OUTLINES.glob("lecture_*.md")):
        path = Path(folder) / "slides" / f"{outline.stem}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lecture(outline.read_text(encoding="utf-8"), known), encoding="utf-8")
        written.append(path)
    return written


def main():
    """Make the slides and say where they are."""
    for path in make(chapters.ROOT / "_build" / "html"):
        print(path.relative_to(chapters.ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
