"""A docutils node for any HTML element, and a short way to build trees of them.

Does: let directives mix hand-made HTML with parsed Markdown in one tree, so that math, links and
code inside are treated like everywhere else in the book.
Does not: serve other output formats than HTML (their writers see the content without the tags).

    h("p", {"class": "note"}, "plain text", parsed_nodes)
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from docutils import nodes
from sphinx.application import Sphinx

VOID = {"input", "br", "hr"}
Child = nodes.Node | str | Iterable[nodes.Node]
Attributes = dict[str, str | bool | int | float | None]


class element(nodes.General, nodes.Element):  # noqa: N801  (docutils names its nodes so)
    """One HTML element. ``tag`` is its name, ``html`` its attributes."""


def h(tag: str, attributes: Attributes | None = None, *children: Child) -> element:
    """An element with children: nodes, lists of nodes, or strings (taken as plain text).

    An attribute that is True is written without a value; one that is False or None is left out.
    """
    node = element("", tag=tag, html=dict(attributes or {}))
    for child in children:
        if isinstance(child, str):
            node += nodes.Text(child)
        elif isinstance(child, nodes.Node):
            node += child
        else:
            node.extend(child)
    return node


def start_tag(tag: str, attributes: Attributes) -> str:
    """``<tag name="value" …>`` with values escaped."""
    parts = [tag]
    for name, value in attributes.items():
        if value is True:
            parts.append(name)
        elif value is not False and value is not None:
            parts.append(f'{name}="{html.escape(str(value))}"')
    return f"<{' '.join(parts)}>"


def visit(self, node: element) -> None:
    self.body.append(start_tag(node["tag"], node["html"]))


def depart(self, node: element) -> None:
    if node["tag"] not in VOID:
        self.body.append(f"</{node['tag']}>")


def skip(self, node: element) -> None:
    """Other writers: only the content."""


def setup(app: Sphinx) -> None:
    others = {name: (skip, skip) for name in ("latex", "text", "man", "texinfo")}
    app.add_node(element, html=(visit, depart), **others)
