"""Stage notebooks as pages: exercise frames, labelled outputs, a line of links under the title.

Does: give each cell of a notebook in ``notebooks/`` a marker before MyST parses it, then use the
markers to frame every exercise (task, answer stub, checks), to label kept outputs as the
reference's, and to collapse outputs under words that say what is inside.
Does not: change any notebook file or any text that an author wrote.

A marker is a ``course-cell`` directive; MyST-NB parses Markdown cells one by one and keeps nothing
of their metadata, so the markers carry it into the document. See CONTRIBUTING.md for the roles.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

from course.elements import element, h, start_tag

STAGE_PAGE = re.compile(r"^notebooks/(?P<slug>\d\d_[a-z0-9_]+)/(?P=slug)$")
HEADING = re.compile(r"^#{1,6} .+$")
OUTPUT_LABEL = "Reference output"
PROMPTS = {
    "output": ("Show what the reference prints", "Hide what the reference prints"),
    "input": ("Show the code of this cell", "Hide the code of this cell"),
    "all": ("Show this cell", "Hide this cell"),
}


class cell_marker(nodes.Invisible, nodes.Element):  # noqa: N801  (docutils names its nodes so)
    """Stands before the content of one notebook cell. ``cell`` holds its id and metadata."""


def stage_of(docname: str) -> str | None:
    """The slug of the stage that a page shows, or None."""
    match = STAGE_PAGE.match(docname)
    return match["slug"] if match else None


def cell_facts(cell: dict[str, Any]) -> dict[str, Any]:
    """What a marker keeps of a cell."""
    metadata = cell.get("metadata", {})
    extra = metadata.get("xor2gpt", {})
    return {
        "id": cell.get("id", ""),
        "role": extra.get("role", ""),
        "exercise": extra.get("exercise", ""),
        "points": metadata.get("nbgrader", {}).get("points", 0),
        "tags": metadata.get("tags", []),
    }


def marker_text(facts: dict[str, Any]) -> str:
    return f"```{{course-cell}}\n:facts: {json.dumps(facts)}\n```"


def add_markers(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with a marker before the content of each cell.

    In a Markdown cell that opens with a heading the marker follows the heading, so that it lands
    inside the section that the heading opens.
    """
    cells: list[dict[str, Any]] = []
    for cell in notebook["cells"]:
        marker = marker_text(cell_facts(cell))
        if cell["cell_type"] == "markdown":
            source = "".join(cell["source"])
            first, _, rest = source.partition("\n")
            parts = [first, marker, rest] if HEADING.match(first) else [marker, source]
            cells.append({**cell, "source": "\n\n".join(parts)})
        else:
            marker_cell = {
                "cell_type": "markdown",
                "id": f"m-{cell.get('id', '')}"[:64],
                "metadata": {},
                "source": marker,
            }
            cells += [marker_cell, cell]
    metadata = {k: v for k, v in notebook["metadata"].items() if k != "xor2gpt"}
    return {**notebook, "cells": cells, "metadata": metadata}


def read_source(app: Sphinx, docname: str, content: list[str]) -> None:
    """``source-read``: markers into stage notebooks. A broken file is left to MyST-NB's error."""
    if stage_of(docname) is None:
        return
    try:
        notebook = json.loads(content[0])
        content[0] = json.dumps(add_markers(notebook))
    except (ValueError, KeyError, TypeError):
        return


class CourseCell(SphinxDirective):
    """The marker itself; written by ``add_markers`` only."""

    option_spec = {"facts": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        return [cell_marker("", cell=json.loads(self.options["facts"]))]


def following(node: nodes.Node) -> list[nodes.Node]:
    """The siblings after ``node``."""
    return list(node.parent.children[node.parent.index(node) + 1 :])


def belongs(marker: cell_marker, exercise: str) -> bool:
    """Whether a cell is part of the exercise (the student's answer cell carries a tag only)."""
    cell = marker["cell"]
    return cell["exercise"] == exercise or (not cell["exercise"] and "answer" in cell["tags"])


class StagePages(SphinxTransform):
    """Turn the markers of a stage page into frames, labels and anchors."""

    default_priority = 790  # before Sphinx's domains (850) and the toctree collectors look

    def apply(self, **kwargs: Any) -> None:
        slug = stage_of(self.env.docname)
        if slug is None:
            return
        self.slug = slug
        self.label_outputs()
        self.add_links_line()
        markers = list(self.document.findall(cell_marker))
        for marker in markers:
            if marker["cell"]["role"] in ("task", "manual"):
                self.frame(marker)
        for marker in markers:
            self.finish(marker)

    # --- outputs -------------------------------------------------------------------------------
    def label_outputs(self) -> None:
        for node in list(self.document.findall(nodes.container)):
            if node.get("nb_element") == "cell_code_output":
                node.insert(0, h("p", {"class": "course-label output-label"}, OUTPUT_LABEL))
            if mode := node.get("hide_mode"):
                kind = "output" if mode == "output" else "input" if mode == "input" else "all"
                node["prompt_show"], node["prompt_hide"] = PROMPTS[kind]

    # --- the line under the title ---------------------------------------------------------------
    def add_links_line(self) -> None:
        title = next(self.document.findall(nodes.title), None)
        if title is None:
            return
        name = f"{self.slug}.ipynb"
        download = addnodes.download_reference(
            "", "", nodes.inline("", "Download this notebook"), reftarget=name, refdoc=""
        )
        download["refdoc"] = self.env.docname
        line = h("p", {"class": "stage-links"}, download)
        title.parent.insert(title.parent.index(title) + 1, line)

    # --- exercises ------------------------------------------------------------------------------
    def frame(self, marker: cell_marker) -> None:
        """Frame the exercise whose task (or manual question) ``marker`` opens."""
        exercise = marker["cell"]["exercise"]
        section = marker.parent
        rest = following(marker)
        last = -1  # the last sibling that is part of the exercise
        inside = True
        for i, node in enumerate(rest):
            if isinstance(node, cell_marker):
                inside = belongs(node, exercise)
            if inside and not isinstance(node, cell_marker):
                last = i
        names = [f"exercise-{exercise}"]
        if isinstance(section, nodes.section) and section.index(marker) == 1:
            outside = rest[last + 1 :]
            for node in outside:
                section.remove(node)
            at = section.parent.index(section) + 1
            section.parent[at:at] = outside
            section["classes"] += ["exercise", f"exercise-{marker['cell']['role']}"]
            section["ids"] = [*section["ids"], *names]
        else:  # a task without a heading of its own
            box = h("div", {"class": f"exercise exercise-{marker['cell']['role']}"})
            box["html"]["id"] = names[0]
            at = section.index(marker)
            for node in rest[: last + 1]:
                section.remove(node)
                box += node
            section.insert(at + 1, box)

    def finish(self, marker: cell_marker) -> None:
        """Replace the marker by the anchor and the label of its cell."""
        cell = marker["cell"]
        new: list[nodes.Node] = [h("span", {"id": f"cell-{cell['id']}", "class": "cell-anchor"})]
        self.env.metadata[self.env.docname].setdefault("myst_slugs", {}).setdefault(
            cell["id"], (0, f"cell-{cell['id']}", cell["id"])
        )
        label = {
            "answer": "Your answer",
            "check": f"Check · {points(cell['points'])}",
        }.get(cell["role"])
        if "answer" in cell["tags"]:
            label = "Your answer (this cell of the notebook is where you write it)"
        if label:
            line = h("p", {"class": f"course-label label-{cell['role'] or 'answer'}"})
            line += h("span", {}, label)
            answered = cell["exercise"] if cell["role"] == "answer" else ""
            if "answer" in cell["tags"]:
                answered = question_around(marker)
            if answered and self.config.xor2gpt_reference_answers:
                line += self.answer_link(answered)
            new.append(line)
        if cell["role"]:
            for node in following(marker):
                if isinstance(node, nodes.container):
                    node["classes"].append(f"cell-{cell['role']}")
                    break
                if isinstance(node, cell_marker):
                    break
        marker.replace_self(new)

    def answer_link(self, exercise: str) -> element:
        return h(
            "a",
            {
                "class": "reference-answer-link",
                "data-course-page": f"answers/{self.slug}",
                "data-course-anchor": exercise,
            },
            "Reference answer",
        )


def question_around(marker: cell_marker) -> str:
    """The exercise of the frame that the marker stands in, or ``""``."""
    names = marker.parent.get("ids", []) + [marker.parent.get("html", {}).get("id", "")]
    found = [name for name in names if name.startswith("exercise-")]
    return found[-1].removeprefix("exercise-") if found else ""


def points(value: float) -> str:
    """``1 point``, ``2 points``, ``0.5 points``."""
    return f"{value:g} point{'' if value == 1 else 's'}"


# --- nodes ------------------------------------------------------------------------------------
def visit_hidden(self, node: nodes.Element) -> None:
    """MyST-NB's collapsed code and outputs, with a summary that screen readers hear as shown."""
    show, hide = (self.encode(node[key]) for key in ("prompt_show", "prompt_hide"))
    self.body.append(
        start_tag("details", {"class": " ".join(["hide", "course-hide", *node["classes"]])})
        + f'<summary><span class="collapsed">{show}</span>'
        + f'<span class="expanded">{hide}</span></summary>'
    )


def depart_hidden(self, node: nodes.Element) -> None:
    self.body.append("</details>")


def resolve_links(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """``doctree-resolved``: links to generated pages get their address relative to the page."""
    for node in doctree.findall(element):
        if page := node["html"].pop("data-course-page", None):
            anchor = node["html"].pop("data-course-anchor")
            node["html"]["href"] = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"


def depend_on_solution(app: Sphinx, doctree: nodes.document) -> None:
    """``doctree-read``: a changed reference notebook rebuilds the stage's page and answers."""
    if slug := stage_of(app.env.docname):
        source = Path(app.srcdir, "solutions", slug, f"{slug}.ipynb")
        if source.is_file():
            app.env.note_dependency(str(source))


def setup(app: Sphinx) -> None:
    from myst_nb.sphinx_ import HideCodeCellNode

    app.add_node(cell_marker)
    app.add_directive("course-cell", CourseCell)
    app.add_transform(StagePages)
    app.add_node(HideCodeCellNode, override=True, html=(visit_hidden, depart_hidden))
    app.connect("source-read", read_source)
    app.connect("doctree-read", depend_on_solution)
    app.connect("doctree-resolved", resolve_links)
