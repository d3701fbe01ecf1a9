"""A throw-away course for tests of the authoring tools.

Does: copy the small course of ``tests/fixtures`` and offer small edits that must apply.
Does not: define fixtures (see ``conftest``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.authoring.stage import Stage

ROOT = Path(__file__).resolve().parents[1]
FIXTURE = ROOT / "tests" / "fixtures" / "course"


@dataclass
class Course:
    """A copy of the small course in ``tests/fixtures``, for a test to break as it likes."""

    root: Path
    stage_name: str = "01_lines"

    @property
    def path(self) -> Path:
        return self.root / "solutions" / self.stage_name / f"{self.stage_name}.ipynb"

    @property
    def stage(self) -> Stage:
        return Stage.load(self.root, self.stage_name)

    def change(self, change: Callable[[NotebookNode], object]) -> None:
        """Change the notebook in place."""
        notebook = nbformat.read(self.path, as_version=4)
        change(notebook)
        nbformat.write(notebook, self.path)

    def change_cell(self, cell_id: str, change: Callable[[NotebookNode], object]) -> None:
        def apply(notebook: NotebookNode) -> None:
            found = [cell for cell in notebook.cells if cell.id == cell_id]
            assert found, f"the fixture has no cell {cell_id}"
            change(found[0])

        self.change(apply)

    def edit(self, cell_id: str, old: str, new: str) -> None:
        """Replace text in a cell; it must be there."""

        def apply(cell: NotebookNode) -> None:
            assert old in cell.source, f"{old!r} is not in cell {cell_id}"
            cell.source = cell.source.replace(old, new)

        self.change_cell(cell_id, apply)

    def edit_file(self, name: str, old: str, new: str) -> None:
        """Replace text in a file of the course; it must be there."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new), encoding="utf-8")


def copy_course(target: Path) -> Course:
    """The small course as a root of its own, with the repository's nbgrader settings."""
    shutil.copytree(FIXTURE, target)
    shutil.copy(ROOT / "nbgrader_config.py", target)
    (target / "pyproject.toml").touch()
    return Course(target)
