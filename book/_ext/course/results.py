"""The ``course-results`` directive: result files of recipes as tables.

Does: show every table of ``xor2gpt.results`` with what it was measured on, and say so where there
is none yet.
Does not: run a recipe, compute a figure, or read anything but ``benchmarks/results/``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from course.elements import h

if TYPE_CHECKING:
    from xor2gpt.results import ResultTable

FOLDER = Path("benchmarks", "results")


def result_files(folder: Path) -> list[str]:
    """All result files below ``folder``."""
    return [str(path) for path in sorted(folder.glob("*/*.json"))]


def table(columns: list[str], rows: list[tuple[str, ...]], caption: str) -> nodes.Node:
    """An HTML table that scrolls inside its own box; the first column heads its row."""
    head = h("tr", {}, [h("th", {"scope": "col"}, name) for name in columns])
    body = [
        h("tr", {}, h("th", {"scope": "row"}, row[0]), [h("td", {}, text) for text in row[1:]])
        for row in rows
    ]
    return h(
        "div",
        {"class": "table-box", "tabindex": "0", "role": "group", "aria-label": caption},
        h(
            "table",
            {"class": "table results-table"},
            h("thead", {}, head),
            h("tbody", {}, body),
        ),
    )


class CourseResults(SphinxDirective):
    """``{course-results}`` for all recipes, ``{course-results} xor-seeds`` for one.

    The option ``folder`` (from the book's root) reads the results from elsewhere.
    """

    optional_arguments = 1
    option_spec = {"folder": directives.path}

    def run(self) -> list[nodes.Node]:
        from xor2gpt import results

        folder = Path(self.env.srcdir, self.options.get("folder") or FOLDER)
        files = result_files(folder)
        for path in files:
            self.env.note_dependency(path)
        self.env.metadata[self.env.docname].setdefault("course_results", {})[str(folder)] = files
        name = self.arguments[0] if self.arguments else None
        try:
            found = results.tables(name, out=folder)
        except Exception as error:  # the library's messages name the file and the remedy
            raise self.error(f"course-results: {error}") from error
        if not found:
            return [
                h(
                    "p",
                    {"class": "course-note"},
                    "No results yet: ",
                    nodes.literal("", "python -m xor2gpt train RECIPE"),
                    " writes the files that this table is made from.",
                )
            ]
        return [self.show(entry) for entry in found]

    def show(self, entry: ResultTable) -> nodes.Node:
        section = nodes.section(ids=[nodes.make_id(f"results {entry.recipe} {entry.title}")])
        section += nodes.title("", entry.title)
        if entry.description:
            section += nodes.paragraph("", entry.description)
        section += table(entry.columns, entry.rows, entry.title)
        if entry.note:
            section += h("p", {"class": "course-note"}, entry.note)
        facts = [
            ("Recipe", [nodes.literal("", entry.recipe)]),
            ("Machine", [nodes.Text(entry.machine)]),
            ("Versions", [nodes.Text(entry.versions)]),
            ("Date", [nodes.Text(entry.date)]),
            ("CPU time", [nodes.Text(f"{entry.cpu_seconds:,.0f} s")]),
        ]
        items = [[h("dt", {}, name), h("dd", {}, value)] for name, value in facts]
        section += h("dl", {"class": "provenance"}, [node for pair in items for node in pair])
        return section


def outdated(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """``env-get-outdated``: pages whose folder of results has gained or lost a file."""
    return [
        docname
        for docname, metadata in env.metadata.items()
        for folder, files in metadata.get("course_results", {}).items()
        if docname in env.found_docs and result_files(Path(folder)) != files
    ]


def setup(app: Sphinx) -> None:
    app.add_directive("course-results", CourseResults)
    app.connect("env-get-outdated", outdated)
