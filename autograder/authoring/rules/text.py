"""Rules about what is written: headings, hints, questions, tables, links, paths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt

from autograder.authoring.rules import Context, Problem, rule
from autograder.authoring.stage import BEGIN_MARKS, END_MARKS, Cell, outside

HEADING = re.compile(r"^### Exercise (\d+)\.(\d+)(?: (★{1,3}))? (?!★)(\S.*)$")
POINTS_LINE = re.compile(
    r"^\*(\d+) minutes? · (\d+(?:\.\d+)?) points? · (O\d+\.\d+(?:, O\d+\.\d+)*)\*$", re.MULTILINE
)
DETAILS = re.compile(r"<details>(.*?)</details>", re.DOTALL)
HOLE = re.compile(r"(?<!_)_{3}(?!_)")
ABSOLUTE = re.compile(
    r"(?<![\w.:/~-])(?:/(?:home|root|Users|tmp|work|opt|usr|var|mnt|private|workspace)/[\w.-]+"
    r"|[A-Z]:\\\\?[\w.-]+)"
)
MARKDOWN = MarkdownIt("commonmark").enable("table")
HTML_LINK = re.compile(r"<(a|img)\b[^>]*?\b(href|src)\s*=\s*[\"']([^\"']*)[\"'][^>]*>", re.I)
HTML_ALT = re.compile(r"\balt\s*=\s*[\"']\s*\S", re.I)


def heading_of(cell: Cell) -> re.Match[str] | None:
    return HEADING.match(cell.source.split("\n")[0])


@rule("title")
def title(context: Context) -> Iterator[Problem]:
    """The title cell: number, name, and the table of minutes, computer time and assumptions."""
    cell = next((c for c in context.stage.cells if c.id == "title"), None)
    if cell is None:
        return
    if not re.match(rf"^# Stage {context.stage.number}: \S", cell.source):
        yield cell, f"starts with `# Stage {context.stage.number}: ` and the stage's name"
    for row in ("Minutes", "Computer time", "Assumes"):
        if not re.search(rf"^\| {row} \| \S.* \|$", cell.source, re.MULTILINE):
            yield cell, f"the table has no row '{row}'"


@rule("task-text")
def task_text(context: Context) -> Iterator[Problem]:
    """Heading, stars, minutes, points and objectives of a task agree with its cells."""
    number = 0
    for exercise in context.stage.exercises.values():
        cell = exercise.task or exercise.manual
        if cell is None:
            continue
        number += 1
        heading = heading_of(cell)
        if heading is None:
            yield (
                cell,
                f"starts with `### Exercise {context.stage.number}.{number} ★ Title` (one to three "
                "stars)",
            )
        else:
            if (int(heading[1]), int(heading[2])) != (context.stage.number, number):
                yield (
                    cell,
                    f"is numbered {heading[1]}.{heading[2]}, but it is exercise "
                    f"{context.stage.number}.{number} of the notebook",
                )
            stars = cell.extra.get("stars")
            if exercise.task and len(heading[3] or "") != stars:
                yield (
                    cell,
                    f"the heading shows {len(heading[3] or '')} stars, the cell says {stars}",
                )
        lines = POINTS_LINE.findall(cell.source.split("<details>")[0])
        objectives = {c.extra.get("objective") for c in exercise.checks or [cell]}
        minutes = cell.extra.get("minutes")
        if len(lines) != 1:
            wanted = ", ".join(sorted(str(o) for o in objectives))
            yield (
                cell,
                f"needs exactly one line like *{minutes} minutes · {exercise.points:g} points · "
                f"{wanted}*",
            )
            continue
        said, points, named = lines[0]
        if int(said) != minutes:
            yield cell, f"the text says {said} minutes, the cell {minutes}"
        if float(points) != exercise.points:
            yield cell, f"the text says {points} points, the cells sum to {exercise.points:g}"
        if set(named.split(", ")) != objectives:
            yield (
                cell,
                f"the text names {named}, the cells {', '.join(sorted(map(str, objectives)))}",
            )


@rule("hints")
def hints(context: Context) -> Iterator[Problem]:
    """Three hints, each in <details>; the third is a line with a hole."""
    for cell in context.stage.by_role("task"):
        found = DETAILS.findall(cell.source)
        if len(found) != 3 or cell.source.count("<details") != 3:
            yield (
                cell,
                f"has {cell.source.count('<details')} hints in <details>, not three: where in the "
                "lesson, the plan, a line with a hole",
            )
            continue
        for text in found:
            if "<summary>" not in text:
                yield cell, "a hint has no <summary>: the reader sees no name to open"
        if not HOLE.search(found[2]):
            yield cell, "the third hint has no hole `___`: it must not pass when pasted"


@rule("manual-question")
def manual_question(context: Context) -> Iterator[Problem]:
    """A mark scheme with a full, a half and a zero answer; then the cell to answer in."""
    cells = context.stage.cells
    for cell in context.stage.by_role("manual"):
        if BEGIN_MARKS in cell.source and END_MARKS in cell.source:
            shown = outside(cell.source, BEGIN_MARKS, END_MARKS, cell.where).split("\n")
            scheme = "\n".join(line for line in cell.source.split("\n") if line not in shown)
            half = f"{cell.points / 2:g}"
            for word, points in (("full", f"{cell.points:g}"), ("half", half), ("zero", "0")):
                if not re.search(rf"\b(?:{word}|{re.escape(points)} points?)\b", scheme, re.I):
                    yield cell, f"the mark scheme has no sample answer for {word} ({points} points)"
        after = cells[cell.index + 1] if cell.index + 1 < len(cells) else None
        if after is None or after.is_code or "answer" not in after.tags:
            yield cell, "the next cell is the Markdown cell tagged answer, where the student writes"
    for cell in cells:
        if "answer" in cell.tags and (not cell.index or cells[cell.index - 1].role != "manual"):
            yield cell, "the tag answer, but no manual question before it"


@rule("retrieval")
def retrieval(context: Context) -> Iterator[Problem]:
    """Three quick items, with their answers folded away."""
    for cell in context.stage.cells:
        if cell.id != "retrieval":
            continue
        items = len(re.findall(r"^\d+\. ", cell.source.split("<details>\n")[0], re.MULTILINE))
        if items < 3:
            yield cell, f"has {items} numbered items, three are needed"
        if "<details>" not in cell.source:
            yield cell, "the answers are not folded away in <details>"


@rule("predict")
def predict(context: Context) -> Iterator[Problem]:
    """A prediction is asked before a run whose output is folded away."""
    cells = context.stage.cells
    for cell in cells:
        if "predict" not in cell.tags:
            continue
        after = next((c for c in cells[cell.index + 1 :] if c.is_code), None)
        if after is None or not {"demo", "hide-output"} <= set(after.tags):
            yield cell, "the next code cell must be tagged demo and hide-output"


def table_rows(text: str) -> list[list[str]]:
    """The cells of all Markdown tables in ``text``, header rows included."""
    rows: list[list[str]] = []
    inside = False
    for token in MARKDOWN.parse(text):
        if token.type in ("table_open", "table_close"):
            inside = token.type == "table_open"
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and inside:
            rows[-1].append(token.content)
    return rows


@rule("misconceptions")
def misconceptions(context: Context) -> Iterator[Problem]:
    """The table of beliefs names mutants that exist."""
    cell = next((c for c in context.stage.cells if c.id == "misconceptions"), None)
    if cell is None:
        return
    rows = table_rows(cell.source)
    header = [name.lower() for name in rows[0]] if rows else []
    column = next((i for i, name in enumerate(header) if "mutant" in name), None)
    if column is None or len(rows) < 2:
        yield cell, "needs a table with the columns belief, where, mutant, message"
        return
    known = set(context.plan.all_keys()) if context.plan else None
    for row in rows[1:]:
        text = row[column] if column < len(row) else ""
        named = re.findall(r"`([^`]+)`", text)
        if not named:
            yield cell, f"the belief {row[0][:40]!r} names no mutant: write `exercise/mutant`"
        for name in named:
            if known is not None and name not in known:
                yield cell, f"'{name}' is no mutant of tests/mutants/{context.stage.name}.py"


@rule("terms")
def terms(context: Context) -> Iterator[Problem]:
    """The table of terms is in English and Chinese."""
    for cell in context.stage.cells:
        if cell.id != "terms":
            continue
        rows = table_rows(cell.source)
        if len(rows) < 2 or not any(
            "\u4e00" <= c <= "\u9fff" for row in rows for c in "".join(row)
        ):
            yield cell, "needs a table of terms, English and Chinese"


# --- links ---------------------------------------------------------------------------------


def links(text: str) -> Iterator[tuple[str, str, str]]:
    """``(kind, target, alt)`` of every link and picture; kind is ``link`` or ``picture``."""
    for block in MARKDOWN.parse(text):
        for token in [block, *(block.children or [])]:
            if token.type == "link_open":
                yield "link", str(token.attrs.get("href", "")), ""
            elif token.type == "image":
                yield "picture", str(token.attrs.get("src", "")), token.content
            elif token.type in ("html_inline", "html_block"):
                for match in HTML_LINK.finditer(token.content):
                    kind = "link" if match[1].lower() == "a" else "picture"
                    yield kind, match[3], "yes" if HTML_ALT.search(match[0]) else ""


def slugs(heading: str) -> set[str]:
    """The anchors that Jupyter and the book give a heading."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip())
    github = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
    return {plain.replace(" ", "-"), github, re.sub(r"-+", "-", github).strip("-")}


def anchors_of_text(text: str) -> set[str]:
    found = set(re.findall(r"^\(([^)\s]+)\)=\s*$", text, re.MULTILINE))
    found |= set(re.findall(r"\{#([\w.-]+)", text))
    found |= set(re.findall(r"\b(?:id|name)\s*=\s*[\"']([^\"']+)[\"']", text))
    for match in re.finditer(r"^#{1,6} +(.+)$", text, re.MULTILINE):
        found |= slugs(match[1])
    for block in re.findall(r"^(`{3,}|:{3,})\{glossary\}(.*?)^\1", text, re.M | re.S):
        for term in re.findall(r"^([^\s:`].*)\n(?=\s+\S|:\s)", block[1], re.MULTILINE):
            name = term.strip()
            found |= {f"term-{s}" for s in slugs(name)} | {f"term-{name.replace(' ', '-')}"}
    return found


@cache
def _anchors(path: Path, stamp: float) -> frozenset[str]:
    """The anchors of a file; ``stamp`` is its time of change, so that a cached answer is fresh."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        import nbformat

        cells = nbformat.reads(text, as_version=4).cells
        found = {cell.get("id", "") for cell in cells}
        for cell in cells:
            if cell.cell_type == "markdown":
                found |= anchors_of_text(cell.source)
        return frozenset(found)
    found = anchors_of_text(text)
    if "{bibliography}" in text or path.stem == "bibliography":
        for bib in sorted(path.parent.glob("*.bib")):
            entries = re.findall(r"^@\w+\{\s*([^,\s]+)\s*,", bib.read_text("utf-8"), re.MULTILINE)
            found |= set(entries)
    return frozenset(found)


def anchors(path: Path) -> frozenset[str]:
    return _anchors(path, path.stat().st_mtime)


@rule("links")
def links_rule(context: Context) -> Iterator[Problem]:
    """Link targets exist, in this notebook or in the repository; pictures come with it."""
    folder, own = context.stage.path.parent, anchors(context.stage.path)
    for cell in context.stage.cells:
        if cell.is_code:
            continue
        for kind, target, _ in links(cell.source):
            place, _, anchor = unquote(target).partition("#")
            if kind == "picture" and re.match(r"^(?:https?:)?//", place):
                yield cell, f"the picture {target} lies on another host: draw it, or store it here"
            elif place.startswith("attachment:"):
                if place.removeprefix("attachment:") not in cell.node.get("attachments", {}):
                    yield cell, f"{target} is not attached to this cell"
            elif re.match(r"^(?:https?://|mailto:|data:image/)", place):
                continue
            elif not place:
                if anchor not in own:
                    yield cell, f"#{anchor} is no cell and no heading of this notebook"
            elif place.startswith("/"):
                yield cell, f"the link {target} is absolute: write it relative to the notebook"
            else:
                path = (folder / place).resolve()
                if not path.is_relative_to(context.root.resolve()):
                    yield cell, f"the link {target} leaves the repository"
                elif not path.exists():
                    yield cell, f"the link {target} leads nowhere: {place} does not exist"
                elif anchor and path.suffix in (".md", ".ipynb") and anchor not in anchors(path):
                    yield cell, f"{place} has no anchor '{anchor}': add it there or mend the link"


@rule("alt-text")
def alt_text(context: Context) -> Iterator[Problem]:
    """Every picture says in words what it shows."""
    for cell in context.stage.cells:
        if not cell.is_code:
            for kind, target, alt in links(cell.source):
                if kind == "picture" and not alt.strip():
                    yield cell, f"the picture {target[:60]} has no alt text"
            continue
        alt = cell.node.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        drawn = any(
            mime.startswith("image/")
            for output in cell.node.outputs
            for mime in output.get("data", {})
        )
        if drawn and len(alt.split()) < 3:
            yield cell, 'draws a picture without alt text: add alt="…" to its header'
        if alt and not drawn and cell.node.execution_count:
            yield cell, "has alt text but no picture: was it run?"


@rule("paths")
def paths(context: Context) -> Iterator[Problem]:
    """No path of somebody's machine, in sources or outputs."""
    for cell in context.stage.cells:
        shown = [("source", cell.source)]
        if cell.is_code:
            for output in cell.node.outputs:
                data = output.get("data", {})
                text = [v for mime, v in data.items() if not mime.startswith("image/")]
                shown.append(("output", f"{output.get('text', '')} {text}"))
        for what, text in shown:
            if match := ABSOLUTE.search(text):
                yield cell, f"the {what} holds the absolute path {match[0]}: make it relative"
