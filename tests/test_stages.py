"""Every stage of the course keeps the contract of CONTRIBUTING.md."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from course_kit import ROOT

from autograder.authoring import coverage, mutants
from autograder.authoring.lint import lint
from autograder.authoring.release import differences
from autograder.authoring.stage import StageError, stage_names

STAGES = stage_names(ROOT)


def none(find: Callable[[], list]) -> None:
    """Fail with one problem a line, and without a traceback: the text names the place."""
    try:
        problems = find()
    except StageError as error:
        problems = [error]
    if problems:
        pytest.fail("\n".join(map(str, problems)), pytrace=False)


def test_there_are_stages() -> None:
    assert STAGES


@pytest.mark.parametrize("name", STAGES)
def test_lint(name: str) -> None:
    none(lambda: lint(ROOT, name))


@pytest.mark.parametrize("name", STAGES)
def test_mutants(name: str) -> None:
    none(lambda: mutants.kill_matrix(ROOT, name).problems)


@pytest.mark.parametrize("name", STAGES)
def test_mutants_through_the_graders_engine(name: str) -> None:
    none(lambda: mutants.engine_problems(ROOT, mutants.kill_matrix(ROOT, name)))


@pytest.mark.parametrize("name", STAGES)
def test_mutants_through_nbgrader(name: str) -> None:
    none(lambda: mutants.nbgrader_problems(ROOT, mutants.kill_matrix(ROOT, name)))


@pytest.mark.parametrize("name", STAGES)
def test_coverage(name: str) -> None:
    none(lambda: coverage.check(ROOT, name).problems)


def test_the_student_edition_is_what_solutions_generates() -> None:
    none(lambda: differences(ROOT, STAGES))
