"""``python -m autograder.authoring``: exit codes, and errors that name the place."""

from __future__ import annotations

import pytest
from course_kit import Course
from typer.testing import CliRunner, Result

from autograder.authoring.cli import app


@pytest.fixture
def call(course: Course, monkeypatch: pytest.MonkeyPatch):
    """Run a command in the small course."""
    monkeypatch.chdir(course.root / "book")  # from below the root, as people do
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return call


def test_release_then_check(course: Course, call) -> None:
    assert call("release", "--check").exit_code == 1
    made = call("release")
    assert made.exit_code == 0 and "notebooks/01_lines/01_lines.ipynb" in made.stdout
    assert call("release", "--check").exit_code == 0
    path = course.root / "notebooks" / "01_lines" / "01_lines.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("Find the bug", "Find it"), "utf-8")
    found = call("release", "--check")
    assert found.exit_code == 1
    assert "notebooks/01_lines/01_lines.ipynb: cell 'step-task' differs" in found.stdout
    assert "run `make release`" in found.stdout


def test_lint_prints_findings_and_fails(course: Course, call) -> None:
    fine = call("lint")
    assert (fine.exit_code, fine.stdout) == (0, "clean: 01_lines\n")
    course.edit("mse", "def mse", "def error")
    found = call("lint", "01_lines", "--rule", "free-names")
    assert found.exit_code == 1
    assert "cell 'mse-check-1': [free-names] uses 'mse'" in found.stdout
    assert call("lint", "--rule", "beauty").exit_code == 1


def test_mutants_prints_the_matrix_and_fails(course: Course, call) -> None:
    fine = call("mutants", "--no-nbgrader")
    assert fine.exit_code == 0
    assert "memorised" in fine.stdout and "no answer is misjudged" in fine.stdout
    course.edit_file("tests/mutants/01_lines.py", '"w * x"', '"b + w * x"')
    found = call("mutants", "--no-nbgrader")
    assert found.exit_code == 1
    assert "mutant 'predict/no-bias' (the offset is forgotten) survives" in found.stdout


def test_coverage_prints_the_table_and_fails(course: Course, call) -> None:
    fine = call("coverage")
    assert fine.exit_code == 0 and "L1-gradient" in fine.stdout
    course.edit_file("tests/coverage/01_lines.yml", "[idea,", "[ideas,")
    found = call("coverage")
    assert found.exit_code == 1 and "'ideas' is no cell" in found.stdout


def test_text_and_notebook_go_round(course: Course, call) -> None:
    before = course.path.read_bytes()
    assert call("text", "01_lines").exit_code == 0
    assert call("notebook", "01_lines").exit_code == 0
    assert course.path.read_bytes() == before


@pytest.mark.parametrize("command", ["text", "run", "release", "lint", "mutants", "coverage"])
def test_an_unknown_stage_is_named(call, command: str) -> None:
    result = call(command, "09_nothing")
    assert result.exit_code == 1
    assert "09_nothing" in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)
