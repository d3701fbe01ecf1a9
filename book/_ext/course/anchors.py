"""Anchors that links such as ``../../book/glossary.md#term-gradient`` need.

Does: tell MyST about every explicit anchor of a page (it knows headings only), give bibliography
entries their keys as ids (``#rumelhart1986``), and mark the bibliography up as a plain list that
screen readers understand.
Does not: accept an unknown anchor: MyST warns, and the build turns warnings into errors.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

from course.elements import h


def explicit_anchors(app: Sphinx, doctree: nodes.document) -> None:
    """``doctree-read``: explicit targets of the page join MyST's table of link targets."""
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for name, explicit in doctree.nametypes.items():
        anchor = doctree.nameids.get(name)
        if explicit and anchor:
            slugs.setdefault(name, (0, anchor, name))
    for section in doctree.findall(nodes.section):
        for anchor in section["ids"]:
            if anchor.startswith("exercise-"):
                slugs.setdefault(anchor, (0, anchor, section[0].astext()))


def bibliography_anchors(app: Sphinx, env: BuildEnvironment) -> None:
    """``env-updated``: the keys of all bibliography entries join it too."""
    for citation in env.get_domain("cite").citations:
        docname = citation.bibliography_key.docname
        slugs = env.metadata[docname].setdefault("myst_slugs", {})
        slugs[citation.key] = (0, citation.citation_id, citation.key)


class PlainBibliography(SphinxPostTransform):
    """Bibliography entries as an ordinary list.

    The stock markup puts a ``role="list"`` around children that are no list items, and labels made
    of letters and digits that no text of the course uses.
    """

    default_priority = 6  # after sphinxcontrib-bibtex has made the entries (5)
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        for container in list(self.document.findall(nodes.container)):
            entries = [node for node in container.children if isinstance(node, nodes.citation)]
            if not entries or len(entries) != len(container.children):
                continue
            items = h("ul", {"class": "bibliography"})
            for entry in entries:
                item = nodes.list_item("", ids=entry["ids"], classes=["reference-entry"])
                for child in entry.children:
                    if not isinstance(child, nodes.label):
                        item += child
                items += item
            container.replace_self(items)


def setup(app: Sphinx) -> None:
    app.add_post_transform(PlainBibliography)
    app.connect("doctree-read", explicit_anchors)
    app.connect("env-updated", bibliography_anchors)
