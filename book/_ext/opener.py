"""Show a chapter's picture at the top of its page.

The cell tagged `opener` has the picture that stands for its chapter. A copy of the picture's node,
with the same file and the same alternative text, is put below the page's title and linked to the
figure further down.
"""

from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging

TAG = "tag_opener"  # the class that MyST-NB gives to a cell tagged `opener`
MARK = "manipulated research illustration"
AFTER_IMAGES_ARE_COLLECTED = 900

logger = logging.getLogger(__name__)


def find_figure(doctree):
    """The first figure with a name and a picture in a cell tagged `opener`, or None.

    Parameters
    ----------
    doctree : docutils.nodes.document

    Returns
    -------
    docutils.nodes.figure or None
    """
    cells = [node for node in doctree.findall(nodes.container) if TAG in node.get("classes", [])]
    for cell in cells:
        for figure in cell.findall(nodes.figure):
            if figure["ids"] and next(figure.findall(nodes.image), None) is not None:
                return figure
    return None


def build_opener(figure, docname):
    """The picture of a figure as a link to it, with a line that says which figure it is.

    Parameters
    ----------
    figure : docutils.nodes.figure
    docname : str
        The page that the figure is on.

    Returns
    -------
    docutils.nodes.container
        Of class `opener`.
    """
    target = figure["ids"][0]
    image = next(figure.findall(nodes.image)).deepcopy()
    picture = nodes.reference("", "", image, internal=True, refid=target)
    number = addnodes.pending_xref(
        "",
        nodes.literal("", "Figure %s", classes=["xref", "std", "std-numref"]),
        refdoc=docname,
        refdomain="std",
        reftype="numref",
        reftarget=figure["names"][0],
        refexplicit=True,
        refwarn=True,
    )
    words = nodes.paragraph("", "From this chapter: ", number, classes=["opener-caption"])
    caption = next(figure.findall(nodes.caption), None)
    if caption is not None and MARK in caption.astext():
        words += nodes.Text(f" ({MARK})")
    return nodes.container("", picture, words, classes=["opener"])


def add_opener(app, doctree):
    """Put the opener of a page, if it has one, right below its title."""
    title = next(doctree.findall(nodes.title), None)
    figure = find_figure(doctree)
    if figure is None:
        if any(TAG in node.get("classes", []) for node in doctree.findall(nodes.container)):
            logger.warning("the cell tagged 'opener' has no named figure", location=app.env.docname)
        return
    section = title.parent
    section.insert(section.index(title) + 1, build_opener(figure, app.env.docname))


def setup(app):
    """Register the extension and its style sheet."""
    app.connect("doctree-read", add_opener, priority=AFTER_IMAGES_ARE_COLLECTED)
    app.add_css_file("opener.css")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
