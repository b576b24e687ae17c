"""Look over the built HTML: dead links, loads from other hosts, errors shown in a page."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads by itself when the page opens, in contrast to a link that is clicked.
LOADED = dict.fromkeys("audio embed iframe img input script source track video".split(), "src")
LOADED |= {"link": "href", "object": "data"}
LINK_NOT_LOADED = {"canonical", "next", "prev", "search", "index", "author", "license"}
ERROR_MARKS = ("output traceback", "papermill-error-cell")


class Page(HTMLParser):
    """Collects the anchors, links, loads and (source, alt text) of images of one page."""

    def __init__(self):
        super().__init__()
        self.anchors, self.links, self.loads, self.images = set(), [], [], []

    def handle_starttag(self, tag, attributes):
        """Note what the tag refers to and what can refer to it."""
        attributes = {name: value or "" for name, value in attributes}
        self.anchors.update(attributes[key] for key in ("id", "name") if attributes.get(key))
        relation = set(attributes.get("rel", "").split())
        target = attributes.get(LOADED.get(tag, ""))
        if target and not (tag == "link" and relation & LINK_NOT_LOADED):
            self.loads.append(target)
        elif attributes.get("href"):
            self.links.append(attributes["href"])
        if tag == "img":
            self.images.append((attributes.get("src", ""), attributes.get("alt")))


def read_page(path):
    """Parse one HTML file."""
    page = Page()
    page.feed(Path(path).read_text(encoding="utf-8"))
    return page


def page_paths(html):
    """Return the pages under a folder, without the theme's templates in `_static`."""
    return sorted(p for p in Path(html).rglob("*.html") if "_static" not in p.parts)


def problems(html):
    """Return everything wrong with the pages under a folder, one line each.

    Local links whose file or anchor is missing, loads from other hosts, pages with the output of a
    failed cell, pictures without alt text, and a folder without `index.html`.
    """
    html = Path(html).resolve()
    if not (html / "index.html").is_file():
        return ["there is no index.html"]
    pages = {path: read_page(path) for path in page_paths(html)}
    found = []
    for path, page in pages.items():
        name = path.relative_to(html).as_posix()
        text = path.read_text(encoding="utf-8")
        found += [f"{name}: shows a failed cell ({mark})" for mark in ERROR_MARKS if mark in text]
        found += [f"{name}: loads {load}" for load in page.loads if _is_outside(load)]
        for target in page.links + page.loads:
            if not _is_outside(target) and (reason := _dead(target, path, html, pages)):
                found.append(f"{name}: {target} {reason}")
        for source, alt in page.images:
            if not alt or alt.strip() == Path(urlsplit(source).path).name:
                found.append(f"{name}: picture {source} has no alt text")
    return found


def _is_outside(target):
    """Whether a target names a host or another scheme, such as mailto."""
    parts = urlsplit(target)
    return bool(parts.netloc) or parts.scheme not in ("", "data", "javascript")


def _dead(target, path, html, pages):
    """Why a local target leads nowhere, or None."""
    parts = urlsplit(target)
    if parts.scheme or target == "#":
        return None
    file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if file.is_dir():
        file = file / "index.html"
    if not file.is_relative_to(html) or not file.is_file():
        return "does not exist"
    anchor = unquote(parts.fragment)
    if anchor and file in pages and anchor not in pages[file].anchors:
        return "has no such anchor"
    return None
