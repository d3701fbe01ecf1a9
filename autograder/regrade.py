"""What another grading would change, before anything is changed.

Does: compare two sets of results student by student and check by check, and say why points move:
another file, another manifest, another seed, another verdict or message of a check; show it as a
table or write it as CSV.
Does not: grade, or write to results or a gradebook.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from autograder import pages
from autograder.export import write_csv
from autograder.model import CheckResult, ManualResult, Result

Kind = Literal["points", "verdict", "message", "new", "gone"]


@dataclass(frozen=True)
class CheckChange:
    """One check or question before and after; ``None`` where it is not there."""

    id: str
    old_points: float | None
    new_points: float | None
    old: str  # verdict and message
    new: str

    @property
    def moves_points(self) -> bool:
        return (self.old_points or 0.0) != (self.new_points or 0.0)


@dataclass(frozen=True)
class Change:
    """One student's change. ``kind`` is the gravest that happened: ``new`` or ``gone`` (a result
    on one side only), ``points``, ``verdict`` (same points) or ``message`` (same verdicts)."""

    student: str
    kind: Kind
    old_points: float | None
    new_points: float | None
    old_verdict: str
    new_verdict: str
    reasons: list[str] = field(default_factory=list)
    checks: list[CheckChange] = field(default_factory=list)

    @property
    def difference(self) -> float:
        return (self.new_points or 0.0) - (self.old_points or 0.0)


def read_results(folder: Path) -> list[Result]:
    """The results in ``FOLDER/*.json``, by student. Raises ``ValueError`` naming a file that is
    not a result or was changed, and when the folder is not there."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: grade first, or name the folder 'results'")
    results = []
    for path in sorted(folder.glob("*.json")):
        try:
            results.append(Result.from_json(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no result of this grader: {error}") from error
    return sorted(results, key=lambda result: result.student)


def _total(result: Result) -> float:
    return result.points + sum(question.points or 0.0 for question in result.manual)


def _said(item: CheckResult | ManualResult | None) -> str:
    if item is None:
        return "not there"
    if isinstance(item, ManualResult):
        return "not graded yet" if item.points is None else "graded by a person"
    return f"{item.verdict}: {item.message}" if item.message else str(item.verdict)


def _check_changes(old: Result, new: Result) -> list[CheckChange]:
    before: dict[str, CheckResult | ManualResult] = {i.id: i for i in [*old.checks, *old.manual]}
    after: dict[str, CheckResult | ManualResult] = {i.id: i for i in [*new.checks, *new.manual]}
    changes = []
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name), after.get(name)
        points = (one.points if one else None, other.points if other else None)
        if points[0] != points[1] or _said(one) != _said(other):
            changes.append(CheckChange(name, *points, _said(one), _said(other)))
    return changes


def _reasons(old: Result, new: Result) -> list[str]:
    reasons = []
    if old.submission != new.submission:
        reasons.append(f"another file ({old.submission[:8]} → {new.submission[:8]})")
    if old.manifest != new.manifest:
        reasons.append(f"another manifest ({old.manifest[:8]} → {new.manifest[:8]})")
    if old.seed != new.seed:
        reasons.append(f"another seed ({old.seed} → {new.seed})")
    if old.max_points != new.max_points:
        most = f"{pages.number(old.max_points)} → {pages.number(new.max_points)}"
        reasons.append(f"other points in reach ({most})")
    return reasons


def _compare(old: Result, new: Result) -> Change | None:
    checks = _check_changes(old, new)
    one, other = _total(old), _total(new)
    kind: Kind
    if one != other or any(check.moves_points for check in checks):
        kind = "points"
    elif old.verdict != new.verdict or any(
        check.old.split(":")[0] != check.new.split(":")[0] for check in checks
    ):
        kind = "verdict"
    elif checks:
        kind = "message"
    else:
        return None
    reasons = _reasons(old, new) or ["the same file, manifest and seed: look at the checks"]
    return Change(
        old.student, kind, one, other, str(old.verdict), str(new.verdict), reasons, checks
    )


def _by_student(results: Iterable[Result] | Mapping[str, Result]) -> dict[str, Result]:
    listed = results.values() if isinstance(results, Mapping) else results
    found: dict[str, Result] = {}
    for result in listed:
        if result.student in found:
            raise ValueError(f"two results of {pages.for_log(result.student)!r} on one side")
        found[result.student] = result
    return found


def diff(
    old_results: Iterable[Result] | Mapping[str, Result],
    new_results: Iterable[Result] | Mapping[str, Result],
) -> list[Change]:
    """Who would change and why; those whose points move most come first."""
    old, new = _by_student(old_results), _by_student(new_results)
    changes = []
    for student in sorted({*old, *new}):
        one, other = old.get(student), new.get(student)
        if one is not None and other is not None:
            change = _compare(one, other)
        elif other is not None:
            why = ["no result before"]
            change = Change(student, "new", None, _total(other), "", str(other.verdict), why)
        elif one is not None:
            why = ["no result now"]
            change = Change(student, "gone", _total(one), None, str(one.verdict), "", why)
        if change is not None:
            changes.append(change)
    return sorted(changes, key=lambda change: (-abs(change.difference), change.student))


def _points(value: float | None) -> str:
    return "–" if value is None else pages.number(value)


def _short(text: str, length: int = 160) -> str:
    line = pages.for_log(text)
    return line if len(line) <= length else line[: length - 1] + "…"


def as_table(changes: Iterable[Change], *, everything: bool = False) -> Table:
    """A table for the terminal. Without ``everything``: changes of points, new and gone."""
    listed = list(changes)
    shown = [c for c in listed if everything or c.kind in ("points", "new", "gone")]
    table = Table(title=_title(listed, shown), title_justify="left", show_lines=True)
    for name in ("student", "points", "verdict", "why", "checks"):
        table.add_column(name, overflow="fold", justify="right" if name == "points" else "left")
    for change in shown:
        moved = [check for check in change.checks if everything or check.moves_points]
        lines = [
            f"{check.id} {_points(check.old_points)} → {_points(check.new_points)}: "
            f"{_short(check.old)} → {_short(check.new)}"
            for check in moved
        ]
        verdict = f"{change.old_verdict or '–'} → {change.new_verdict or '–'}"
        table.add_row(
            Text(_short(change.student)),
            Text(f"{_points(change.old_points)} → {_points(change.new_points)}"),
            Text(change.new_verdict if change.old_verdict == change.new_verdict else verdict),
            Text("; ".join(change.reasons)),
            Text("\n".join(lines)),
        )
    return table


def _title(listed: list[Change], shown: list[Change]) -> str:
    up = sum(change.difference > 0 for change in listed)
    down = sum(change.difference < 0 for change in listed)
    text = f"{len(shown)} of {len(listed)} changes shown: {up} gain points, {down} lose points"
    return text if listed else "nothing would change"


def write_changes(changes: Iterable[Change], path: Path, *, bom: bool = False) -> Path:
    """The changes as CSV: one row for each check that changes, one for a student without such."""
    header = ["student", "kind", "old_points", "new_points", "difference", "old_verdict"]
    header += ["new_verdict", "why", "check", "check_old_points", "check_new_points"]
    header += ["check_old", "check_new"]
    rows: list[list[str | float | None]] = [list(header)]
    for change in changes:
        start = [
            change.student,
            change.kind,
            change.old_points,
            change.new_points,
            change.difference,
            change.old_verdict,
            change.new_verdict,
            "; ".join(change.reasons),
        ]
        for check in change.checks:
            points = [check.old_points, check.new_points]
            rows.append([*start, check.id, *points, check.old, check.new])
        if not change.checks:
            rows.append([*start, "", None, None, "", ""])
    return write_csv(path, rows, bom=bom)
