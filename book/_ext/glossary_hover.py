"""Show a term's definition where the term is used.

A link made by the role `{term}` gets the plain text of the glossary's definition: as
`data-definition`, which the style sheet shows when the link is pointed at or focused, and as
`aria-description` for screen readers.
"""

import html

from docutils import nodes
from sphinx import addnodes

GLOSSARY_CLASS = "term-link"


def plain_text(definition):
    """The text of a definition on one line, without the sentence that only names its chapter.

    Parameters
    ----------
    definition : docutils.nodes.definition

    Returns
    -------
    str
    """
    paragraphs = [" ".join(part.astext().split()) for part in definition.findall(nodes.paragraph)]
    return " ".join(paragraphs).partition(" Introduced in ")[0]


def collect(app, doctree):
    """Remember the definitions of a page's glossary, by the anchors of its terms."""
    found = {}
    for glossary in doctree.findall(addnodes.glossary):
        for item in glossary.findall(nodes.definition_list_item):
            definition = next(item.findall(nodes.definition), None)
            for term in item.findall(nodes.term):
                found |= {anchor: plain_text(definition) for anchor in term["ids"]}
    definitions = getattr(app.env, "glossary_definitions", {})
    app.env.glossary_definitions = definitions
    definitions[app.env.docname] = found


def forget(app, env, docname):
    """Drop what was collected from a page that is read again or gone."""
    getattr(env, "glossary_definitions", {}).pop(docname, None)


def merge(app, env, docnames, other):
    """Take over what a parallel reader has collected."""
    env.glossary_definitions = getattr(env, "glossary_definitions", {})
    env.glossary_definitions |= getattr(other, "glossary_definitions", {})


def is_term(link):
    """Whether a link was made by the role `{term}`."""
    return any("std-term" in child.get("classes", []) for child in link.findall(nodes.inline))


def annotate(app, doctree, docname):
    """Mark the links to terms, so that the writer gives them their definitions."""
    known = {}
    for found in getattr(app.env, "glossary_definitions", {}).values():
        known |= found
    for link in doctree.findall(nodes.reference):
        anchor = link.get("refid") or link.get("refuri", "").rpartition("#")[2]
        if is_term(link) and anchor in known:
            link["classes"].append(GLOSSARY_CLASS)
            link["definition"] = known[anchor]


def visit_reference(writer, node):
    """Write a link as Sphinx does, and for a term its definition as attributes of the tag."""
    start = len(writer.body)
    type(writer).visit_reference(writer, node)
    if node.get("definition"):
        text = html.escape(node["definition"], quote=True)
        attributes = f'<a data-definition="{text}" aria-description="{text}" '
        writer.body[start] = writer.body[start].replace("<a ", attributes, 1)


def setup(app):
    """Register the extension and its style sheet."""
    app.connect("doctree-read", collect)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("doctree-resolved", annotate)
    app.add_node(
        nodes.reference,
        override=True,
        html=(visit_reference, lambda writer, node: type(writer).depart_reference(writer, node)),
    )
    app.add_css_file("glossary.css")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
