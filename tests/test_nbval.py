"""nbval compares what ``solutions/`` stores: that it does, and that nothing slips past it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from course_kit import ROOT, Course

from autograder.authoring.edit import kernel_environment
from autograder.authoring.lint import lint
from autograder.authoring.stage import stage_names

OPTIONS = (
    "--nbval",
    "--nbval-current-env",
    "--nbval-cell-timeout=120",
    f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval_sanitize.cfg'}",
)


@pytest.mark.parametrize("name", stage_names(ROOT))
def test_every_cell_of_a_stage_was_run(name: str) -> None:
    """nbval passes a cell without stored outputs in silence, so an unexecuted one is refused."""
    assert [str(finding) for finding in lint(ROOT, name, {"executed"})] == []


def test_every_notebook_in_solutions_is_a_stage() -> None:
    """A notebook that is no stage would be seen by nbval and by no other check."""
    found = {
        p for p in (ROOT / "solutions").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
    }
    assert found == {ROOT / "solutions" / n / f"{n}.ipynb" for n in stage_names(ROOT)}


def write(path: Path, *cells: tuple[str, str]) -> None:
    """A notebook of cells (source, stored text)."""
    notebook = nbformat.v4.new_notebook()
    for count, (source, text) in enumerate(cells, start=1):
        outputs = [nbformat.v4.new_output("stream", text=text)] if text else []
        cell = nbformat.v4.new_code_cell(source, execution_count=count, outputs=outputs)
        notebook.cells.append(cell)
    nbformat.write(notebook, path)


def test_stored_outputs_are_compared(course: Course, tmp_path: Path) -> None:
    (tmp_path / "same.ipynb").write_bytes(course.path.read_bytes())
    write(tmp_path / "changed.ipynb", ("x = 2", ""), ("print(x + 1)", "4\n"))
    write(tmp_path / "address.ipynb", ("print(object())", "<object object at 0x7f0000000000>\n"))
    write(tmp_path / "number.ipynb", ("print(0x1F40)", "8001\n"))
    write(tmp_path / "stderr.ipynb", ("import sys\nprint('!', file=sys.stderr)", ""))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
        + [*OPTIONS, "--rootdir", str(tmp_path), str(tmp_path)],
        env=kernel_environment() | {"PYTEST_ADDOPTS": "", "PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    failed = set(re.findall(r"^FAILED (\w+)\.ipynb::Cell (\d+)", done.stdout, re.MULTILINE))
    assert failed == {("changed", "1"), ("number", "0"), ("stderr", "0")}, done.stdout[-3000:]
