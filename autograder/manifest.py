"""What the grader knows of a stage: built once from ``solutions/``, read by every grading.

Does: collect prelude, student cells, exported names, checks, points, limits, locked modules, and
what the released notebook looks like, so that intake finds its cells again.
Does not: hold anything of a submission.
"""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from autograder.authoring.stage import Stage, StageError


@dataclass(frozen=True)
class Check:
    """One check cell: ``source`` with hidden tests, ``visible`` without."""

    id: str
    exercise: str
    points: float
    source: str
    visible: str


@dataclass(frozen=True)
class StudentCell:
    """One cell of the released notebook that runs on the student's side."""

    id: str
    source: str
    exercise: str | None = None  # the exercise that this cell answers


@dataclass(frozen=True)
class ManualQuestion:
    """A question that a person grades. ``title`` is its heading, ``answer_cell`` the id of the
    Markdown cell in which the student answers."""

    id: str
    max_points: float
    title: str = ""
    answer_cell: str | None = None


@dataclass(frozen=True)
class ReleasedCell:
    """One cell of the released notebook as intake looks for it, in the notebook's order.

    ``role`` is ``prelude, demo, check, answer, lesson`` for code, ``question`` or ``reply`` for a
    manual question and its answer cell, ``prose`` for other Markdown (whose text is not kept).
    """

    id: str
    role: str
    source: str = ""
    exercise: str | None = None


@dataclass(frozen=True)
class TimeLimits:
    """Seconds of wall-clock time, and memory. ``submission_seconds`` is for all of it together:
    cells, checks and the repetitions after a process died."""

    cell_seconds: float = 20.0
    call_seconds: float = 10.0
    check_seconds: float = 30.0
    callbacks_per_call: int = 100_000
    memory_mb: int = 2048
    submission_seconds: float = 600.0


@dataclass(frozen=True)
class Manifest:
    stage: str
    prelude: list[str]
    cells: list[StudentCell]
    exports: dict[str, list[str]]  # exercise -> names that its answer defines
    checks: list[Check]
    manual: list[ManualQuestion]
    blocked_modules: list[str]
    demo_cells: list[str]
    limits: TimeLimits = field(default_factory=TimeLimits)
    released: list[ReleasedCell] = field(default_factory=list)

    @property
    def layout(self) -> list[ReleasedCell]:
        """``released``, or what can be told about it where a manifest was written by hand."""
        if self.released:
            return self.released
        layout = [
            ReleasedCell(f"prelude-{index}" if index else "prelude", "prelude", source)
            for index, source in enumerate(self.prelude)
        ]
        for cell in self.cells:
            role = "answer" if cell.exercise else "lesson"
            layout.append(ReleasedCell(cell.id, role, cell.source, cell.exercise))
            layout += [
                ReleasedCell(check.id, "check", check.visible, check.exercise)
                for check in self.checks
                if cell.exercise and check.exercise == cell.exercise
            ]
        layout += [ReleasedCell(name, "demo") for name in self.demo_cells]
        for question in self.manual:
            layout.append(ReleasedCell(question.id, "question", question.title))
            if question.answer_cell:
                layout.append(ReleasedCell(question.answer_cell, "reply"))
        return layout

    @property
    def max_points(self) -> float:
        """Points of the automatic checks."""
        return sum(check.points for check in self.checks)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        data = json.loads(text)
        return cls(
            **{
                **data,
                "cells": [StudentCell(**cell) for cell in data["cells"]],
                "checks": [Check(**check) for check in data["checks"]],
                "manual": [ManualQuestion(**question) for question in data["manual"]],
                "limits": TimeLimits(**data["limits"]),
                "released": [ReleasedCell(**cell) for cell in data.get("released", [])],
            }
        )

    @property
    def digest(self) -> str:
        """sha256 of everything that decides a grade."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def defined_names(source: str) -> list[str]:
    """Names that a cell binds at its top level, in order of appearance."""
    names: list[str] = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(statement.name)
        else:
            names += [
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            ]
    return list(dict.fromkeys(names))


def build(root: Path, name: str) -> Manifest:
    """The manifest of a stage in ``solutions/``. Raises ``StageError`` if it cannot be graded."""
    return from_stage(Stage.load(root, name))


def from_stage(stage: Stage) -> Manifest:
    """The manifest of a stage's notebook: of the source, or of the released one, in which case
    the checks are the visible ones only (``build`` is what grading uses)."""
    prelude = [cell.source for cell in stage.by_role("prelude")]
    if not prelude:
        raise StageError(f"{stage.path}: no cell is tagged 'prelude'; the checks need one")
    cells, exports, checks, manual, released = [], {}, [], [], []
    for cell in stage.cells:
        role, source = cell.role, cell.source
        if role == "check":
            source = cell.visible
            checks.append(Check(cell.id, str(cell.exercise), cell.points, cell.source, source))
        elif role == "manual":
            role, source = "question", source.strip().split("\n")[0]
            manual.append(ManualQuestion(cell.id, cell.points, source))
        elif role == "answer":
            source = cell.stub
            exports[str(cell.exercise)] = defined_names(cell.reference)
            cells.append(StudentCell(cell.id, source, cell.exercise))
        elif cell.is_code and role not in ("prelude", "demo"):
            role = "lesson"
            cells.append(StudentCell(cell.id, source))
        elif not cell.is_code and "answer" in cell.tags and manual:
            role = "reply"
            manual[-1] = replace(manual[-1], answer_cell=cell.id)
        elif not cell.is_code:
            role, source = "prose", ""
        released.append(ReleasedCell(cell.id, role, source, cell.exercise))
    demos = [cell.id for cell in stage.by_role("demo")]
    return Manifest(
        stage=stage.name,
        prelude=prelude,
        cells=cells,
        exports=exports,
        checks=checks,
        manual=manual,
        blocked_modules=stage.blocked_modules,
        demo_cells=demos,
        released=released,
    )
