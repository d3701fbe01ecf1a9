"""Coverage tables: where the course answers each item of its sources.

Does: read ``tests/coverage/NN_slug.yml`` and check that everything an item points at exists: a
cell, an exercise, a quiz question, a page of the book. A table named after a bank of the book's own
pages (such as ``language_models``) belongs to no stage: its places are questions and pages.
Does not: judge whether the place answers the item well. That is for a reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder.authoring import quizzes
from autograder.authoring.rules.text import anchors
from autograder.authoring.stage import Stage, StageError

ITEM_ID = re.compile(r"^[A-Za-z0-9][\w.-]*$")
FIELDS = {"id", "source", "what", "answered_by"}


class CoverageError(StageError):
    """A coverage table cannot be read; the message names file, item and field."""


@dataclass(frozen=True)
class Item:
    """One thing that a source teaches, and the places where the course does."""

    id: str
    source: str
    what: str
    answered_by: list[str]


@dataclass
class Table:
    """The coverage of one stage. ``problems`` must be empty."""

    stage: str
    items: list[Item]
    problems: list[str] = field(default_factory=list)


def _label(name: str) -> str:
    return f"tests/coverage/{name}.yml"


def _item(data: Any, where: str) -> Item:
    if not isinstance(data, dict):
        raise CoverageError(f"{where}: an item is a mapping with {', '.join(sorted(FIELDS))}")
    if data.keys() != FIELDS:
        odd = ", ".join(sorted(map(str, data.keys() ^ FIELDS)))
        raise CoverageError(f"{where}: missing or unknown: {odd}")
    for name in ("id", "source", "what"):
        if not isinstance(data[name], str) or not data[name].strip():
            raise CoverageError(f"{where}: field '{name}' must be text, not {data[name]!r}")
    places = data["answered_by"]
    if not isinstance(places, list) or not places or not all(isinstance(p, str) for p in places):
        raise CoverageError(f"{where}: field 'answered_by' must list at least one place")
    if not ITEM_ID.match(data["id"]):
        raise CoverageError(f"{where}: the id {data['id']!r} may hold letters, digits, '.', '-'")
    return Item(**data)


def load(root: Path, name: str) -> Table:
    """Read a stage's table. Raises ``CoverageError`` when it is missing or malformed."""
    path, label = root / "tests" / "coverage" / f"{name}.yml", _label(name)
    if not path.is_file():
        raise CoverageError(f"{label} is missing: every stage has one (CONTRIBUTING.md, section 5)")
    try:
        data = quizzes.read_yaml(path)
    except quizzes.QuizError as error:
        raise CoverageError(str(error)) from error
    if not isinstance(data, dict) or data.keys() != {"stage", "items"}:
        raise CoverageError(f"{label}: the file holds 'stage' and 'items', and nothing else")
    if data["stage"] != name:
        raise CoverageError(f"{label}: 'stage' is {data['stage']!r}: write {name}")
    if not isinstance(data["items"], list) or not data["items"]:
        raise CoverageError(f"{label}: 'items' must be a list of at least one item")
    items = []
    for i, entry in enumerate(data["items"]):
        known = entry.get("id", f"#{i}") if isinstance(entry, dict) else f"#{i}"
        items.append(_item(entry, f"{label}: item '{known}'"))
    return Table(name, items)


def check(root: Path, name: str) -> Table:
    """The table of a stage, with everything that it points at looked up."""
    table = load(root, name)
    stage = None if name in quizzes.PAGE_BANKS else Stage.load(root, name)
    bank_path = root / "book" / "quizzes" / f"{name}.yml"
    try:
        questions = quizzes.load(bank_path).ids()
    except quizzes.QuizError as error:
        questions = set()
        table.problems.append(f"{_label(name)}: the quiz cannot be read: {error}")
    cells = {cell.id for cell in stage.cells} if stage else set()
    exercises = set(stage.exercises) if stage else set()
    seen: set[str] = set()
    for item in table.items:
        where = f"{_label(name)}: item '{item.id}'"
        if item.id in seen:
            table.problems.append(f"{where}: the id is used twice")
        seen.add(item.id)
        for place in item.answered_by:
            for problem in _place(place, root, name, cells, exercises, questions):
                table.problems.append(f"{where}: {problem}")
    return table


def _place(
    place: str,
    root: Path,
    table: str,
    cells: set[str],
    exercises: set[str],
    questions: set[str],
) -> Iterator[str]:
    kind, _, name = place.partition(":")
    if not name:
        if place not in cells:
            yield f"'{place}' is no cell of {table}"
    elif kind == "exercise":
        if name not in exercises:
            yield f"'{place}' is no exercise of {table}"
    elif kind == "quiz":
        if name not in questions:
            yield f"'{place}' is no question of book/quizzes/{table}.yml"
    elif kind == "page":
        path, _, anchor = name.partition("#")
        if not path.startswith("book/") or not (root / path).is_file():
            yield f"'{place}': there is no page {path}"
        elif anchor and anchor not in anchors(root / path):
            yield f"'{place}': {path} has no anchor '{anchor}'"
    else:
        yield f"'{place}' is neither a cell's id nor exercise:…, quiz:… or page:book/…"


def print_table(table: Table, write: Callable[[Any], None]) -> None:
    """The table for people: item, what it is, where it is answered."""
    from rich.table import Table as RichTable

    shown = RichTable(title=f"{table.stage}: {len(table.items)} items", title_justify="left")
    for column in ("item", "what", "answered by"):
        shown.add_column(column)
    for item in table.items:
        shown.add_row(item.id, item.what, ", ".join(item.answered_by))
    write(shown)
