"""Every stage of the course keeps the contract of CONTRIBUTING.md."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from course_kit import ROOT

from autograder.authoring import coverage, mutants
from autograder.authoring.lint import lint
from autograder.authoring.quizzes import PAGE_BANKS
from autograder.authoring.release import differences
from autograder.authoring.stage import StageError, stage_names

STAGES = stage_names(ROOT)
PAGES = sorted(name for name in PAGE_BANKS if (ROOT / f"tests/coverage/{name}.yml").exists())


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


class StageContract:
    """What every stage keeps. One class a stage (below), so that workers can share them out."""

    name: str

    def test_lint(self) -> None:
        none(lambda: lint(ROOT, self.name))

    def test_mutants(self) -> None:
        none(lambda: kill_matrix(self.name).problems)

    def test_mutants_through_the_graders_engine(self) -> None:
        none(lambda: mutants.engine_problems(ROOT, kill_matrix(self.name)))

    def test_mutants_through_nbgrader(self) -> None:
        none(lambda: mutants.nbgrader_problems(ROOT, kill_matrix(self.name)))


kill_matrix = functools.cache(functools.partial(mutants.kill_matrix, ROOT))

for _stage in STAGES:
    globals()[f"Test_{_stage}"] = type(f"Test_{_stage}", (StageContract,), {"name": _stage})


@pytest.mark.parametrize("name", [*STAGES, *PAGES])
def test_coverage(name: str) -> None:
    none(lambda: coverage.check(ROOT, name).problems)


def test_the_student_edition_is_what_solutions_generates() -> None:
    none(lambda: differences(ROOT, STAGES))
