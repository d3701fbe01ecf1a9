"""What the grader knows of a stage: built once from ``solutions/``, read by every grading.

Does: collect prelude, student cells, exported names, checks, points, limits and locked modules.
Does not: hold anything of a submission.
"""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import asdict, dataclass, field
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
    id: str
    max_points: float


@dataclass(frozen=True)
class TimeLimits:
    """Seconds of wall-clock time, and bytes."""

    cell_seconds: float = 20.0
    call_seconds: float = 10.0
    check_seconds: float = 30.0
    callbacks_per_call: int = 100_000
    memory_mb: int = 2048


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
    """The manifest of a stage. Raises ``StageError`` where the notebook cannot be graded."""
    stage = Stage.load(root, name)
    prelude = [cell.source for cell in stage.by_role("prelude")]
    if not prelude:
        raise StageError(f"{stage.path}: no cell is tagged 'prelude'; the checks need one")
    cells, exports, checks, manual = [], {}, [], []
    for cell in stage.cells:
        if cell.role == "check":
            checks.append(
                Check(cell.id, str(cell.exercise), cell.points, cell.source, cell.visible)
            )
        elif cell.role == "manual":
            manual.append(ManualQuestion(cell.id, cell.points))
        elif cell.role == "answer":
            exports[str(cell.exercise)] = defined_names(cell.reference)
            cells.append(StudentCell(cell.id, cell.stub, cell.exercise))
        elif cell.is_code and cell.role not in ("prelude", "demo"):
            cells.append(StudentCell(cell.id, cell.source))
    demos = [cell.id for cell in stage.by_role("demo")]
    return Manifest(name, prelude, cells, exports, checks, manual, stage.blocked_modules, demos)
