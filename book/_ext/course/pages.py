"""Every page of the book: launch buttons, wide tables, long inline code, MathJax's settings.

Does: switch launch buttons off while no repository is named, make wide tables scroll inside a box,
mark inline code that a telephone must break, and name MathJax's settings.
Does not: patch files of the theme; looks live in ``book/theme/static/course.css``.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform

from course.elements import h

MATHJAX = {
    "options": {"enableMenu": False},  # its speech engine would be one more request
    "chtml": {"matchFontHeight": False},  # hints and feedback are typeset while they are hidden
}
LONG_WORD = 24  # characters: about what a nested list leaves of a line of 360 pixels
LAUNCHERS = ("binderhub_url", "jupyterhub_url", "colab_url", "deepnote_url")


def configure(app: Sphinx, config: Config) -> None:
    """``config-inited``: launch buttons need a repository; without one there are none."""
    options = config.html_theme_options
    if not options.get("repository_url"):
        options["launch_buttons"] = {}
        options.pop("repository_url", None)
    settings = dict(config.mathjax3_config or {})
    for part, values in MATHJAX.items():
        settings[part] = {**values, **settings.get(part, {})}
    config.mathjax3_config = settings


class TableBoxes(SphinxPostTransform):
    """Each table in a box of its own, which scrolls sideways where the screen is narrow.

    A head row without a word in it (Markdown cannot leave it out) goes.
    """

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        for table in list(self.document.findall(nodes.table)):
            box = h("div", {"class": "table-box", "tabindex": "0", "role": "group"})
            for head in list(table.findall(nodes.thead)):
                if not head.astext().strip():
                    head.parent.remove(head)
            titles = [node.astext() for node in table.children if isinstance(node, nodes.title)]
            box["html"]["aria-label"] = titles[0] if titles else "Table"
            table.replace_self(box)
            box += table


class LongCode(SphinxPostTransform):
    """Inline code with a word of ``LONG_WORD`` characters or more gets the class ``long-code``.

    Other words of code never break: ``<|unk|>`` or ``-1`` in two parts would be hard to read.
    """

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        for node in self.document.findall(nodes.literal):
            if any(len(word) >= LONG_WORD for word in node.astext().split()):
                node["classes"].append("long-code")


def setup(app: Sphinx) -> None:
    app.add_config_value("comments_config", {}, "")  # Jupyter Book sets it for an unused part
    app.connect("config-inited", configure)
    app.add_post_transform(TableBoxes)
    app.add_post_transform(LongCode)
    app.add_css_file("course.css", priority=900)
