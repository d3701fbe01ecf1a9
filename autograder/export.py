"""Points as CSV files for spreadsheets and learning platforms.

Does: write one row per student in the form that a plain spreadsheet, Canvas, Moodle or Gradescope
uses; match students with a roster in any of these forms; say who is unknown, missing or not final.
Does not: talk to a platform, invent a grade for work that nobody has graded, or let a cell become
a formula.

What the platforms read is taken from their sources: Canvas' ``gradebook_importer.rb`` (columns
Student, ID, SIS User ID, SIS Login ID, Section, then assignments; a row "Points Possible"),
Moodle's ``importgradeslib.php`` (the grading worksheet: Identifier, Grade, Last modified (grade))
and its gradebook import (columns are mapped by hand; ID number or e-mail address find the user).
Gradescope imports no points; its form is that of its own "Download grades".
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder import pages
from autograder.model import Flag, Result, Verdict

FORMATS = ("csv", "canvas", "moodle", "gradescope")
FORMULA = re.compile(r"^\s*[=+\-@\t\r\uff0b\uff0d\uff1d\uff20]")
NOT_FINAL = (Verdict.INTERNAL, Verdict.NEEDS_HUMAN)
CELL_LENGTH = 32_000  # Excel takes 32,767 characters in a cell

Row = dict[str, str]

# columns that can hold the id under which a student handed in, over all platforms' exports
ID_COLUMNS = (
    "student",
    "student id",
    "sis login id",
    "sis user id",
    "sid",
    "username",
    "id number",
    "id",
    "identifier",
    "email",
    "email address",
)


# --- cells ----------------------------------------------------------------------------------------


def text_cell(text: str) -> str:
    """Text that a spreadsheet shows and never computes: a leading apostrophe where it would begin
    a formula, no control characters, no half characters."""
    begins_formula = bool(FORMULA.match(text))
    text = pages.CONTROL.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = text[:CELL_LENGTH]
    return "'" + text if begins_formula else text


def cell(value: str | float | int | None) -> str | float | int:
    """A typed cell: numbers stay numbers, nothing is an empty text. Raises ``ValueError`` for a
    number that is none (NaN) or endless."""
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return text_cell(str(value))
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{value} is no number of points: grade again")
    return int(value) if float(value).is_integer() else round(float(value), 4)


def csv_text(rows: Iterable[Sequence[str | float | int | None]]) -> str:
    """Rows as CSV (RFC 4180): every text quoted, numbers bare, lines end with CR LF."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    for row in rows:
        writer.writerow([cell(value) for value in row])
    return stream.getvalue()


def write_csv(
    path: Path, rows: Iterable[Sequence[str | float | int | None]], *, bom: bool = False
) -> Path:
    """Write rows as UTF-8. ``bom`` puts a byte-order mark in front, by which Excel knows it."""
    return pages.write_text(path, ("\ufeff" if bom else "") + csv_text(rows))


# --- rosters --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Roster:
    """Who is in the course: the rows of a CSV file, with its header as it was."""

    header: list[str]
    rows: list[Row]

    @classmethod
    def read(cls, path: Path) -> Roster:
        """Read a roster or a gradebook export. Raises ``ValueError`` when no column can hold an
        id."""
        text = path.read_bytes().decode("utf-8-sig", "replace")
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if any(line)]
        if not lines:
            raise ValueError(f"{path} is empty: export the list of students again")
        header, *body = lines
        rows = [dict(zip(header, line, strict=False)) for line in body]
        return cls.of([row for row in rows if "Points Possible" not in line_start(row)], str(path))

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, str]], where: str = "the roster") -> Roster:
        kept = [dict(row) for row in rows]
        header = list(dict.fromkeys(name for row in kept for name in row))
        if kept and not any(_plain(name) in ID_COLUMNS for name in header):
            raise ValueError(
                f"{where} has no column with the students' ids (its columns: "
                f"{', '.join(map(pages.for_log, header))}): name one of them 'student'"
            )
        return cls(header, kept)

    def find(self) -> dict[str, Row]:
        """Rows by every id that stands for exactly one of them, in small letters."""
        found: dict[str, Row] = {}
        double = set()
        for row in self.rows:
            ids = {
                value.strip().casefold()
                for name, value in row.items()
                if _plain(name) in ID_COLUMNS and value and value.strip()
            }
            for value in ids:
                if value in found:
                    double.add(value)
                found[value] = row
        return {value: row for value, row in found.items() if value not in double}


def line_start(row: Row) -> str:
    return next(iter(row.values()), "")


def _plain(name: str) -> str:
    return name.strip().casefold().replace("_", " ").replace("e-mail", "email")


def field_of(row: Row | None, *names: str) -> str:
    """The first of these columns that a row has, by name without regard to case."""
    plain = {_plain(name): value for name, value in (row or {}).items()}
    return next((plain[name] for name in names if plain.get(name)), "")


# --- points ---------------------------------------------------------------------------------------


def max_points(result: Result) -> float:
    """Automatic and manual points together."""
    return result.max_points + sum(question.max_points for question in result.manual)


def final_points(result: Result, *, provisional: bool = False) -> float | None:
    """All points of a result, or ``None`` while they are not final: a question waits for a person,
    the verdict asks for one, or the grader failed. ``provisional`` counts what waits as 0."""
    waiting = any(question.points is None for question in result.manual)
    if not provisional and (waiting or result.verdict in NOT_FINAL):
        return None
    return result.points + sum(question.points or 0.0 for question in result.manual)


@dataclass
class Exported:
    """What was written, and what a person should know of it."""

    path: Path
    rows: int = 0
    unknown: list[str] = field(default_factory=list)  # handed in, but not on the roster
    missing: list[str] = field(default_factory=list)  # on the roster, but handed nothing in
    pending: list[str] = field(default_factory=list)  # without a grade: points are not final


def _plain_rows(pairs: list[tuple[Result, Row | None]], **_: Any) -> list[list[Any]]:
    checks = list(dict.fromkeys(check.id for result, _ in pairs for check in result.checks))
    questions = list(dict.fromkeys(q.id for result, _ in pairs for q in result.manual))
    header = ["student", "name", "stage", "verdict", "points", "max_points"]
    header += ["manual_points", "manual_max_points", "manual_waiting", "total", "total_max"]
    header += ["late", "flags", *checks, *questions, "submission", "digest"]
    rows: list[list[Any]] = [header]
    for result, row in pairs:
        by_check = {check.id: check.points for check in result.checks}
        by_question = {question.id: question.points for question in result.manual}
        graded = [question for question in result.manual if question.points is not None]
        rows.append(
            [
                result.student,
                _name(row),
                result.stage,
                str(result.verdict),
                result.points,
                result.max_points,
                sum(question.points or 0.0 for question in graded) if graded else None,
                sum(question.max_points for question in result.manual),
                len(result.manual) - len(graded),
                final_points(result),
                max_points(result),
                "yes" if Flag.LATE in result.flags else "no",
                " ".join(result.flags),
                *[by_check.get(name) for name in checks],
                *[by_question.get(name) for name in questions],
                result.submission,
                result.digest,
            ]
        )
    return rows


def _name(row: Row | None) -> str:
    whole = field_of(row, "name", "full name", "student name")
    if not whole and _plain(next(iter(row or {}), "")) == "student" and len(row or {}) > 1:
        whole = field_of(row, "student")  # Canvas calls the name so
    parts = [field_of(row, "first name"), field_of(row, "last name", "surname")]
    return whole or " ".join(part for part in parts if part)


def _canvas_rows(
    pairs: list[tuple[Result, Row | None]], *, assignment: str, provisional: bool, most: float
) -> list[list[Any]]:
    rows: list[list[Any]] = [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", assignment],
        ["    Points Possible", "", "", "", "", most],
    ]
    for result, row in pairs:
        login = field_of(row, "sis login id", "username", "email", "email address")
        rows.append(
            [
                field_of(row, "student") if _is_canvas(row) else _name(row) or result.student,
                field_of(row, "id") if _is_canvas(row) else "",
                field_of(row, "sis user id", "sid", "id number"),
                login or result.student,
                field_of(row, "section", "sections"),
                final_points(result, provisional=provisional),
            ]
        )
    return rows


def _is_canvas(row: Row | None) -> bool:
    return bool(row) and {"student", "id", "section"} <= {_plain(name) for name in row}


def _moodle_rows(
    pairs: list[tuple[Result, Row | None]],
    *,
    assignment: str,
    provisional: bool,
    most: float,
    roster: Roster | None,
) -> list[list[Any]]:
    if roster and {"Identifier", "Grade"} <= set(roster.header):  # Moodle's own grading worksheet
        rows: list[list[Any]] = [roster.header]
        for result, row in pairs:
            if row is None:
                continue  # Moodle would not find the student
            points = final_points(result, provisional=provisional)
            filled: dict[str, Any] = {**row, "Grade": row["Grade"] if points is None else points}
            rows.append([filled.get(name, "") for name in roster.header])
        return rows
    rows = [["Username", "ID number", "Email address", "Full name", f"{assignment} (of {most:g})"]]
    for result, row in pairs:
        email = field_of(row, "email address", "email")
        if not email and re.fullmatch(r"[^@\s]+@[^@\s]+", result.student):
            email = result.student
        rows.append(
            [
                field_of(row, "username", "sis login id") or result.student,
                field_of(row, "id number", "sid", "sis user id") or result.student,
                email,
                _name(row),
                final_points(result, provisional=provisional),
            ]
        )
    return rows


def _gradescope_rows(
    pairs: list[tuple[Result, Row | None]], *, assignment: str, provisional: bool, most: float
) -> list[list[Any]]:
    checks = {check.id: check.max_points for result, _ in pairs for check in result.checks}
    questions = {q.id: q.max_points for result, _ in pairs for q in result.manual}
    parts = {**checks, **questions}
    header = ["First Name", "Last Name", "SID", "Email", "Sections"]
    header += ["Total Score", "Max Points", "Status", "Submission ID", "Submission Time"]
    header += ["Lateness (H:M:S)"]
    header += [f"{i}: {name} ({most:g} pts)" for i, (name, most) in enumerate(parts.items(), 1)]
    rows: list[list[Any]] = [header]
    for result, row in pairs:
        points = final_points(result, provisional=provisional)
        by_part = {check.id: check.points for check in result.checks}
        by_part.update({question.id: question.points for question in result.manual})
        first, last = field_of(row, "first name"), field_of(row, "last name", "surname")
        if not first and not last:
            last = _name(row)
        rows.append(
            [
                first,
                last,
                field_of(row, "sid", "sis user id", "id number") or result.student,
                field_of(row, "email", "email address"),
                field_of(row, "sections", "section"),
                points,
                max_points(result),
                "Ungraded" if points is None else "Graded",
                result.submission[:12],
                "",
                "",
                *[by_part.get(name) for name in parts],
            ]
        )
    return rows


def export(
    results: Iterable[Result],
    fmt: str,
    path: Path,
    *,
    roster: Roster | Path | Iterable[Mapping[str, str]] | None = None,
    assignment: str | None = None,
    provisional: bool = False,
    bom: bool = False,
) -> Exported:
    """Write the results of one stage as ``csv``, ``canvas``, ``moodle`` or ``gradescope``.

    ``roster`` (a file, or rows) adds names and the platform's own ids, and tells who is unknown or
    missing. ``assignment`` is the column's name on the platform (default: the stage), for Canvas
    best with its number, ``Stage 3 (4711)``. Points that are not final are left empty and listed
    as ``pending``, unless ``provisional``. Raises ``ValueError`` for an unknown format, two
    results of one student, or results of several stages.
    """
    if fmt not in FORMATS:
        raise ValueError(f"unknown format {fmt!r}: use {', '.join(FORMATS)}")
    ordered = sorted(results, key=lambda result: result.student)
    for one, other in zip(ordered, ordered[1:], strict=False):
        if one.student == other.student:
            raise ValueError(f"two results of {pages.for_log(one.student)!r}: keep one of them")
    stages = sorted({result.stage for result in ordered})
    if len(stages) > 1:
        raise ValueError(f"results of several stages ({', '.join(stages)}): export one at a time")
    if roster is not None and not isinstance(roster, Roster):
        roster = Roster.read(roster) if isinstance(roster, Path) else Roster.of(roster)
    found = roster.find() if roster else {}
    pairs = [(result, found.get(result.student.casefold())) for result in ordered]
    most = max(map(max_points, ordered), default=0.0)
    options: dict[str, Any] = {
        "assignment": assignment or (stages[0] if stages else "points"),
        "provisional": provisional,
        "most": most,
    }
    if fmt == "moodle":
        options["roster"] = roster
    writers = {
        "csv": _plain_rows,
        "canvas": _canvas_rows,
        "moodle": _moodle_rows,
        "gradescope": _gradescope_rows,
    }
    rows = writers[fmt](pairs, **options)
    write_csv(path, rows, bom=bom)
    seen = {id(row) for _, row in pairs if row is not None}
    return Exported(
        path,
        rows=len(rows) - (2 if fmt == "canvas" else 1),
        unknown=[result.student for result, row in pairs if roster and row is None],
        missing=[
            _name(row) or line_start(row)
            for row in (roster.rows if roster else [])
            if id(row) not in seen
        ],
        pending=[r.student for r in ordered if final_points(r, provisional=provisional) is None],
    )
