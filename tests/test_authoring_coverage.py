"""Coverage tables: every place that an item names must exist."""

from __future__ import annotations

import pytest
from course_kit import Course

from autograder.authoring.coverage import CoverageError, check, load

FILE = "tests/coverage/01_lines.yml"


def test_the_small_course_is_covered(course: Course) -> None:
    table = check(course.root, "01_lines")
    assert table.problems == []
    assert [item.id for item in table.items] == ["L1-line", "L1-gradient"]
    assert table.items[0].answered_by == ["idea", "exercise:predict", "quiz:q1.1"]


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("[idea,", "[ideas,", "item 'L1-line': 'ideas' is no cell of 01_lines"),
        ("exercise:predict", "exercise:guess", "'exercise:guess' is no exercise of 01_lines"),
        ("quiz:q1.1", "quiz:q1.9", "is no question of book/quizzes/01_lines.yml"),
        ("book/glossary.md#", "book/index.md#", "there is no page book/index.md"),
        ("page:book/", "page:solutions/", "there is no page solutions/glossary.md"),
        ("#term-gradient", "#term-curve", "book/glossary.md has no anchor 'term-curve'"),
        ("page:book", "book:book", "is neither a cell's id nor exercise:"),
        ("id: L1-gradient", "id: L1-line", "item 'L1-line': the id is used twice"),
    ],
)
def test_a_place_that_does_not_exist_is_named(
    course: Course, old: str, new: str, words: str
) -> None:
    course.edit_file(FILE, old, new)
    [problem] = check(course.root, "01_lines").problems
    assert problem.startswith(f"{FILE}: item 'L1-") and words in problem


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("stage: 01_lines", "stage: 02_x", "'stage' is '02_x': write 01_lines"),
        ("stage: 01_lines", "stages: 01_lines", "holds 'stage' and 'items'"),
        ("    what: what a line predicts\n", "", "item 'L1-line': missing or unknown: what"),
        ("what: what a", "why: what a", "missing or unknown: what, why"),
        ("what: what a line predicts", "what: 7", "field 'what' must be text, not 7"),
        ('[idea, "exercise:predict", "quiz:q1.1"]', "[]", "must list at least one place"),
        ('[idea, "exercise:predict", "quiz:q1.1"]', "idea", "must list at least one place"),
        ("id: L1-line", "id: 'L1 line'", "the id 'L1 line' may hold"),
        ("  - id: L1-line\n", "  - id: L1-line\n    id: L1\n", "'id' is written twice"),
        ("items:", "items: [", "is not valid YAML"),
    ],
)
def test_a_malformed_table_is_refused(course: Course, old: str, new: str, words: str) -> None:
    course.edit_file(FILE, old, new)
    with pytest.raises(CoverageError) as caught:
        load(course.root, "01_lines")
    assert FILE in str(caught.value) and words in str(caught.value)


def test_a_stage_without_a_table_fails(course: Course) -> None:
    (course.root / FILE).unlink()
    with pytest.raises(CoverageError, match=f"{FILE} is missing"):
        check(course.root, "01_lines")


def test_a_quiz_that_cannot_be_read_is_a_problem(course: Course) -> None:
    (course.root / "book" / "quizzes" / "01_lines.yml").unlink()
    problems = check(course.root, "01_lines").problems
    assert "the quiz cannot be read" in problems[0]


def test_a_page_of_the_book_has_a_table_without_cells(course: Course) -> None:
    """A bank that belongs to no stage is covered by questions and pages alone."""
    name = "language_models"
    table = course.root / f"tests/coverage/{name}.yml"
    table.write_text(
        f"stage: {name}\nitems:\n  - id: L-1\n    source: a book\n    what: a line\n"
        '    answered_by: ["page:book/glossary.md#term-gradient", idea, "quiz:q1.1"]\n'
    )
    bank = (course.root / "book/quizzes/01_lines.yml").read_text()
    (course.root / f"book/quizzes/{name}.yml").write_text(bank.replace("01_lines", name))
    [problem] = check(course.root, name).problems
    assert problem == f"tests/coverage/{name}.yml: item 'L-1': 'idea' is no cell of {name}"
