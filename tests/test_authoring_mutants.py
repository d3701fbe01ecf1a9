"""The mutant runner: it misjudges nothing on the small course, and says what is wrong elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from course_kit import Course
from rich.console import Console

from autograder.authoring import mutants
from autograder.authoring.mutants import MutantError, kill_matrix, right, run_variants, wrong

FILE = "tests/mutants/01_lines.py"


def answers(course: Course, **changed: str) -> dict[str, str]:
    """The reference answers by cell, some of them replaced."""
    cells = course.stage.by_role("answer")
    return {cell.id: changed.get(cell.id, cell.reference) for cell in cells}


def checks(course: Course, *ids: str) -> list[list[str]]:
    return [[c.id, c.source] for c in course.stage.by_role("check") if not ids or c.id in ids]


def run_one(course: Course, seconds: float = 20, **changed: str) -> mutants.Outcome:
    variant = {"answers": answers(course, **changed), "checks": checks(course)}
    return run_variants(course.stage, {"it": variant}, seconds)["it"]


def test_the_small_course_is_judged_right(course: Course) -> None:
    matrix = kill_matrix(course.root, "01_lines")
    assert matrix.problems == []
    assert matrix.visible_share("mse") == 1.0
    assert matrix.visible_share("predict") == 0.75  # the memorised answer needs the hidden part
    assert matrix.visible_share() == 12 / 13
    assert sum(matrix.points("reference").values()) == 7
    assert sum(matrix.points("stub").values()) == 0
    assert matrix.points("mse/sum")["mse-check-1"] == 0
    assert sum(matrix.points("mse/sum").values()) == 5
    assert matrix.full["predict/twin"].blocked


def test_the_matrix_is_printed_by_exercise(course: Course) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    mutants.print_matrix(kill_matrix(course.root, "01_lines"), console.print)
    text = console.export_text()
    rows = [line.split("│")[1:-1] for line in text.splitlines() if "│ no-mean" in line]
    assert [cell.strip() for cell in rows[0]] == [
        "no-mean", "lost", "lost", "kept", "caught", "an array for a number",
    ]  # fmt: skip
    assert "13 wrong and 4 right answers, 92% of the wrong ones caught" in text


BREAKAGES: list[tuple[str, Callable[[Course], object], str]] = [
    (
        "a surviving mutant",
        lambda c: c.edit_file(FILE, '"w * x"', '"b + w * x"'),
        "mutant 'predict/no-bias' (the offset is forgotten) survives: it should lose "
        "'predict-check-1'",
    ),
    (
        "a mutant that keeps one of its checks",
        lambda c: c.edit_file(
            FILE, 'loses=["mse-check-1"]', 'loses=["mse-check-1", "mse-check-2"]'
        ),
        "mutant 'mse/sum' (sum for mean) survives 'mse-check-2': it loses only 'mse-check-1'",
    ),
    (
        "a mutant that loses more than it says",
        lambda c: c.edit_file(
            FILE, 'loses=["mse-check-1", "mse-check-2"]', 'loses=["mse-check-2"]'
        ),
        "mutant 'mse/no-mean' (an array for a number) loses 'mse-check-1' too",
    ),
    (
        "a false kill",
        lambda c: c.edit_file(FILE, "(p - y) @ (p - y) / len(p)", "(p - y) @ (p - y) / 2"),
        "mutant 'mse/dot' (by a dot product): false kill: a right answer loses 'mse-check-1': "
        "AssertionError: mse is wrong on random numbers",
    ),
    (
        "a stub with points",
        lambda c: c.edit(
            "step",
            "### STUB return w + rate * dw, b + rate",
            "### STUB return w - rate * dw, b - rate",
        ),
        "check 'step-check-1': the stub passes",
    ),
    (
        "a wrong reference",
        lambda c: c.edit("gradient", "db = 2 *", "db = 3 *"),
        "check 'gradient-check-1': the reference answer fails: AssertionError: gradient gave",
    ),
    (
        "weak visible parts",
        lambda c: c.edit(
            "gradient-check-1", "checking.close(got, [8.0, 5.0], atol=1e-9)", "len(got) == 2"
        ),
        "the visible parts catch 69% of the wrong answers, at least 80% are needed; unseen: "
        "predict/memorised, gradient/no-two, gradient/no-x, gradient/order",
    ),
    (
        "no mutant that imports the twin",
        lambda c: c.edit_file(
            FILE, "from xor2gpt.autograd import Value", "from xor2gpt.nothing import Value"
        ),
        "no wrong answer imports the library twin (xor2gpt.autograd)",
    ),
    (
        "a check that needs what another check left",
        lambda c: (
            c.edit("mse-check-1", "got = mse", "left = 0.0\ngot = mse"),
            c.edit("mse-check-2", "got, 0.0", "got, left"),
        ),
        "check 'mse-check-2': the reference answer fails: NameError: name 'left' is not defined",
    ),
    (
        "an answer that needs a lesson cell",
        lambda c: (
            c.edit("loss-demo", "print", "factor = 2\nprint"),
            c.edit("gradient", "dw = 2 *", "dw = factor *"),
        ),
        "check 'gradient-check-1': the reference answer fails: NameError: name 'factor'",
    ),
    (
        "a text that occurs twice",
        lambda c: c.edit_file(FILE, 'replace=("error * x", "error")', 'replace=("error", "x")'),
        "mutant 'gradient/no-x': the text 'error' occurs 4 times in the answer cell 'gradient'",
    ),
    (
        "a check of another exercise in loses",
        lambda c: c.edit_file(FILE, 'loses=["step-check-1"]', 'loses=["mse-check-1"]'),
        "mutant 'step/uphill': loses 'mse-check-1', which is no check of exercise 'step'",
    ),
    (
        "an unknown exercise",
        lambda c: c.edit_file(FILE, '    "step": [', '    "steps": ['),
        "'steps' is no auto-graded exercise of 01_lines",
    ),
    (
        "a name used twice",
        lambda c: c.edit_file(FILE, '"no-rate"', '"uphill"'),
        "mutant 'step/uphill': the name is used 2 times",
    ),
    (
        "an entry that is no mutant",
        lambda c: c.edit_file(FILE, '"mse/sum", "pre', '"mse/summe", "pre'),
        "NBGRADER names 'mse/summe', which is no mutant",
    ),
    (
        "too few entries for nbgrader",
        lambda c: c.edit_file(FILE, '"stub", "mse/sum"', '"stub"'),
        "NBGRADER must hold 'reference', 'stub', a wrong answer and a right one",
    ),
]


@pytest.mark.parametrize("change, words", [b[1:] for b in BREAKAGES], ids=[b[0] for b in BREAKAGES])
def test_what_is_misjudged_is_named(course: Course, change: Callable, words: str) -> None:
    change(course)
    problems = kill_matrix(course.root, "01_lines").problems
    assert any(words in problem for problem in problems), "\n".join(problems) or "no problem"


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: wrong("a", "b", objective="O1.1", loses=[], source="x"), "at least one check"),
        (lambda: wrong("a", "b", objective="O1.1", loses="c", source="x"), "must be a list"),
        (lambda: wrong("a", "b", objective="O1.1", loses=["c"]), "either replace"),
        (lambda: right("a", "b", source="x", replace=("x", "y")), "either replace"),
        (lambda: right("a", "", source="x"), "must not be empty"),
    ],
)
def test_a_mutant_that_makes_no_sense_is_refused(make: Callable, words: str) -> None:
    with pytest.raises(MutantError, match=words):
        make()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_text("MUTANTS = {"), "cannot be read: SyntaxError"),
        (lambda path: path.write_text("MUTANTS = {}"), "defines no NBGRADER"),
    ],
)
def test_an_unreadable_file_of_mutants_is_refused(course: Course, change, words: str) -> None:
    change(course.root / FILE)
    with pytest.raises(MutantError, match=f"tests/mutants/01_lines.py.*{words}"):
        mutants.load(course.root, "01_lines")


def test_a_loop_without_end_costs_only_time(course: Course) -> None:
    outcome = run_one(course, seconds=1, step="def step(*_):\n    while True:\n        pass")
    assert outcome.lost == {"step-check-1"}
    assert outcome.checks["step-check-1"] == "TimeoutError: no end after 1 s"


def test_except_exception_does_not_swallow_the_time_limit(course: Course) -> None:
    source = (
        "def step(*_):\n    while True:\n        try:\n            while True: pass\n"
        "        except Exception:\n            pass"
    )
    assert run_one(course, seconds=1, step=source).lost == {"step-check-1"}


def test_a_cell_that_exits_loses_its_own_checks_only(course: Course) -> None:
    outcome = run_one(course, mse="import sys\nsys.exit(0)")
    assert outcome.lost == {"mse-check-1", "mse-check-2"}


def test_a_process_that_dies_is_named(course: Course) -> None:
    with pytest.raises(MutantError, match="ended while it ran 'it'"):
        run_one(course, mse="import os\nos._exit(0)")


def test_the_prelude_cannot_import_the_answers_either(course: Course) -> None:
    course.edit("prelude", "import numpy", "import xor2gpt.autograd\nimport numpy")
    with pytest.raises(MutantError, match="prelude cell 'prelude' fails: ImportError.*autograd"):
        run_one(course)


@pytest.mark.parametrize(
    "line",
    [
        "import xor2gpt.autograd",
        "from xor2gpt import autograd",
        "import importlib\nimportlib.import_module('xor2gpt.autograd')",
        "__import__('xor2gpt.autograd')",
    ],
)
def test_no_way_of_importing_reaches_a_blocked_module(course: Course, line: str) -> None:
    outcome = run_one(course, mse=f"{line}\n{course.stage.cell('mse').reference}")
    assert outcome.blocked
    assert outcome.lost == {"mse-check-1", "mse-check-2"}


def test_nbgrader_agrees_and_differences_are_named(course: Course) -> None:
    matrix = kill_matrix(course.root, "01_lines")
    assert mutants.nbgrader_problems(course.root, matrix) == []
    course.edit_file(FILE, '"mse/sum", "predict/loop"', '"predict/twin", "predict/loop"')
    matrix = kill_matrix(course.root, "01_lines")
    matrix.full["predict/loop"].checks["mse-check-1"] = "AssertionError: made up"
    found = mutants.nbgrader_problems(course.root, matrix)
    assert len(found) == 2
    assert "NBGRADER names 'predict/twin', which imports a blocked module" in found[0]
    assert "'predict/loop': check 'mse-check-1' gives 2.0 points in nbgrader and 0.0" in found[1]
