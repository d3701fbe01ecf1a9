"""A stage as the tools see it: its notebook's cells, their roles, and its exercises.

Does: read and write a stage notebook, give each cell its role, group cells into exercises, and
derive the three texts of a cell: reference (markers removed), stub (what students see) and
visible (hidden tests removed).
Does not: execute anything; judge anything (see ``lint``).

The roles and their metadata are described in CONTRIBUTING.md; the markers are nbgrader's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat import NotebookNode

BEGIN_SOLUTION, END_SOLUTION = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
BEGIN_MARKS, END_MARKS = "### BEGIN MARK SCHEME", "### END MARK SCHEME"
STUB_MARK = re.compile(r"^(?P<indent>\s*)### STUB(?: (?P<code>.*))?$")
GLOBAL_STUB = "raise NotImplementedError"
STAGE_NAME = re.compile(r"^\d\d_[a-z0-9]+(?:_[a-z0-9]+)*$")


class StageError(Exception):
    """A stage cannot be read or used; the message names the file, the cell and the remedy."""


def repository_root(start: Path | None = None) -> Path:
    """The folder above ``start`` (default: here) that holds ``solutions/`` and ``_config.yml``."""
    here = (start or Path.cwd()).resolve()
    for folder in [here, *here.parents]:
        if (folder / "solutions").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise StageError(f"no course found at or above {here}: run this inside a clone of the course")


def stage_names(root: Path) -> list[str]:
    """The slugs of all stages in ``solutions/``, in order."""
    return sorted(
        p.name
        for p in (root / "solutions").iterdir()
        if STAGE_NAME.match(p.name) and (p / f"{p.name}.ipynb").is_file()
    )


def outside(text: str, begin: str, end: str, where: str = "cell") -> str:
    """``text`` without the regions from a ``begin`` line to an ``end`` line, both included.

    Raises ``StageError`` when a region is not closed, not opened or nested.
    """
    kept, inside = [], False
    for line in text.split("\n"):
        if line.strip() == begin:
            if inside:
                raise StageError(f"{where}: '{begin}' inside a region that is still open")
            inside = True
        elif line.strip() == end:
            if not inside:
                raise StageError(f"{where}: '{end}' without '{begin}' before it")
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise StageError(f"{where}: '{begin}' is never closed by '{end}'")
    return "\n".join(kept)


def reference_source(text: str) -> str:
    """The answer itself: markers and ``### STUB`` lines removed."""
    lines = text.split("\n")
    return "\n".join(
        line
        for line in lines
        if line.strip() not in (BEGIN_SOLUTION, END_SOLUTION) and not STUB_MARK.match(line)
    )


def stub_source(text: str, where: str = "cell") -> str:
    """What the student sees: each solution region replaced by its ``### STUB`` lines, or by
    ``raise NotImplementedError`` at the region's indentation where it has none."""
    kept: list[str] = []
    region: list[str] | None = None
    indent = ""
    for line in text.split("\n"):
        if line.strip() == BEGIN_SOLUTION:
            if region is not None:
                raise StageError(f"{where}: '{BEGIN_SOLUTION}' inside a region that is still open")
            region, indent = [], line[: len(line) - len(line.lstrip())]
        elif line.strip() == END_SOLUTION:
            if region is None:
                raise StageError(f"{where}: '{END_SOLUTION}' without '{BEGIN_SOLUTION}' before it")
            kept += region or [f"{indent}{GLOBAL_STUB}"]
            region = None
        elif region is not None:
            if match := STUB_MARK.match(line):
                region.append((match["indent"] + (match["code"] or "")).rstrip())
        elif STUB_MARK.match(line):
            raise StageError(f"{where}: '### STUB' outside a solution region: {line.strip()!r}")
        else:
            kept.append(line)
    if region is not None:
        raise StageError(f"{where}: '{BEGIN_SOLUTION}' is never closed by '{END_SOLUTION}'")
    return "\n".join(kept)


@dataclass(frozen=True)
class Cell:
    """One cell with its role. ``index`` counts from 0 in the notebook."""

    node: NotebookNode
    index: int
    notebook: str

    @property
    def id(self) -> str:
        return self.node.get("id", f"#{self.index}")

    @property
    def source(self) -> str:
        return self.node.source

    @property
    def is_code(self) -> bool:
        return self.node.cell_type == "code"

    @property
    def tags(self) -> list[str]:
        return list(self.node.metadata.get("tags", []))

    @property
    def extra(self) -> dict:
        """The cell's ``xor2gpt`` metadata."""
        return dict(self.node.metadata.get("xor2gpt", {}))

    @property
    def nbgrader(self) -> dict:
        return dict(self.node.metadata.get("nbgrader", {}))

    @property
    def role(self) -> str:
        """``task, answer, check, manual``, or the tag ``prelude``, ``demo``, or ``lesson``."""
        if role := self.extra.get("role"):
            return role
        return next((tag for tag in ("prelude", "demo") if tag in self.tags), "lesson")

    @property
    def exercise(self) -> str | None:
        return self.extra.get("exercise")

    @property
    def points(self) -> float:
        return float(self.nbgrader.get("points", 0) or 0)

    @property
    def where(self) -> str:
        """How messages name this cell."""
        return f"{self.notebook}: cell '{self.id}'"

    @property
    def reference(self) -> str:
        return reference_source(self.source)

    @property
    def stub(self) -> str:
        return stub_source(self.source, self.where)

    @property
    def visible(self) -> str:
        """The source without hidden tests."""
        return outside(self.source, BEGIN_HIDDEN, END_HIDDEN, self.where)


@dataclass
class Exercise:
    """The cells of one exercise: a task, an answer and its checks, or one manual question."""

    name: str
    task: Cell | None = None
    answer: Cell | None = None
    checks: list[Cell] = field(default_factory=list)
    manual: Cell | None = None

    @property
    def points(self) -> float:
        return sum(c.points for c in self.checks) + (self.manual.points if self.manual else 0)


@dataclass
class Stage:
    """A stage notebook, read once."""

    path: Path
    notebook: NotebookNode

    @classmethod
    def load(cls, root: Path, name: str, folder: str = "solutions") -> Stage:
        """Read ``FOLDER/NAME/NAME.ipynb``. Raises ``StageError`` naming what is wrong."""
        path = root / folder / name / f"{name}.ipynb"
        if not path.is_file():
            known = ", ".join(stage_names(root)) or "none"
            raise StageError(f"no stage {name!r}: {path} is missing (stages here: {known})")
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> Stage:
        try:
            notebook = nbformat.read(path, as_version=4)
        except Exception as error:
            raise StageError(f"{path} is not a readable notebook: {error}") from error
        return cls(path, notebook)

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def number(self) -> int:
        return int(self.name[:2])

    @property
    def extra(self) -> dict:
        return dict(self.notebook.metadata.get("xor2gpt", {}))

    @property
    def blocked_modules(self) -> list[str]:
        return list(self.extra.get("blocked_modules", []))

    @cached_property
    def cells(self) -> list[Cell]:
        label = f"{self.path.parent.parent.name}/{self.path.parent.name}/{self.path.name}"
        return [Cell(node, i, label) for i, node in enumerate(self.notebook.cells)]

    def by_role(self, role: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.role == role]

    def cell(self, cell_id: str) -> Cell:
        for cell in self.cells:
            if cell.id == cell_id:
                return cell
        raise StageError(f"{self.path.name} has no cell '{cell_id}'")

    @cached_property
    def exercises(self) -> dict[str, Exercise]:
        """Exercises by name, in the order of the notebook."""
        found: dict[str, Exercise] = {}
        for cell in self.cells:
            if cell.exercise is None:
                continue
            exercise = found.setdefault(cell.exercise, Exercise(cell.exercise))
            if cell.role == "check":
                exercise.checks.append(cell)
            elif cell.role in ("task", "answer", "manual"):
                setattr(exercise, cell.role, cell)
        return found

    @cached_property
    def objectives(self) -> dict[str, str]:
        """``{"O3.1": "You can …"}`` from the cell ``objectives``."""
        text = "\n".join(cell.source for cell in self.cells if cell.id == "objectives")
        pattern = re.compile(r"^- \*\*(O\d+\.\d+)\*\*\s+(.+)$", re.MULTILINE)
        return {match[1]: match[2].strip() for match in pattern.finditer(text)}

    @property
    def max_points(self) -> float:
        return sum(exercise.points for exercise in self.exercises.values())

    def write(self) -> None:
        nbformat.write(self.notebook, self.path)
