"""nbgrader, with this course's own settings, gives the points that it should.

For every stage a right, a wrong, an empty and a crashing submission go through autograde and
feedback in one process, and the gradebook is exported; the command line is used once.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from course_kit import ROOT, Course
from nbformat import NotebookNode
from nbgrader.apps.exportapp import CsvExportPlugin

from autograder.authoring import mutants
from autograder.authoring.nbgrading import (
    TemporaryCourse,
    answered,
    course_config,
    quiet_api,
    reference_answers,
    succeed,
    temporary_course,
)
from autograder.authoring.release import release
from autograder.authoring.stage import Stage, stage_names

CRASH = "import os\n\nos._exit(1)"


def places() -> list:
    """The small course and every stage."""
    found = [("fixture", "01_lines"), *(("repository", name) for name in stage_names(ROOT))]
    return [pytest.param(*place, id=place[1]) for place in found]


@pytest.mark.parametrize("where, name", places())
def test_four_submissions(where: str, name: str, course: Course) -> None:
    """Right, wrong, empty and crashing work: points, feedback and export (one test, since grading
    a stage takes seconds and everything else looks at its result)."""
    root = course.root if where == "fixture" else ROOT
    stage, plan = Stage.load(root, name), mutants.load(root, name)
    answers = reference_answers(stage)
    key = next(key for key in plan.nbgrader if "/" in key and plan.find(key).is_wrong)
    exercise, mutant = stage.exercises[key.split("/")[0]], plan.find(key)
    submissions = {
        "right": answers,
        "wrong": answers | {exercise.name: mutant.answer(exercise, plan.label)},
        "empty": {},
        "crash": answers | {exercise.name: CRASH},
    }
    checks, manual = stage.by_role("check"), stage.by_role("manual")

    def all_but(lost: Iterable[str]) -> dict[str, float]:
        """Points by graded cell; a manual question waits for a person."""
        points = {c.id: 0.0 if c.id in lost else c.points for c in checks}
        return points | {c.id: 0.0 for c in manual}

    expected = {
        "right": all_but(()),
        "wrong": all_but(mutant.loses),
        "empty": all_but([c.id for c in checks]),
        "crash": all_but([c.id for c in exercise.checks]),
    }
    with temporary_course(root, name) as graded:
        for student, given in submissions.items():
            graded.submit(student, answered(graded.released(), given))
            assert graded.autograde(student) == expected[student], student
        totals = {student: sum(points.values()) for student, points in expected.items()}
        assert totals["right"] == stage.max_points - sum(c.points for c in manual)
        assert totals["empty"] == 0 < totals["wrong"] < totals["right"]
        feedback_shows(graded, totals, stage.max_points)
        export_holds(graded, totals, stage.max_points)


def feedback_shows(graded: TemporaryCourse, totals: dict[str, float], most: float) -> None:
    """Everyone gets a page of feedback with the sum of the points on it."""
    for student, total in totals.items():
        succeed(graded.api.generate_feedback(graded.stage, student, force=True), student)
        page = graded.root / "feedback" / student / graded.stage / f"{graded.stage}.html"
        assert f"(Score: {total:.1f} / {most:.1f})" in page.read_text(encoding="utf-8"), student


def export_holds(graded: TemporaryCourse, totals: dict[str, float], most: float) -> None:
    """The exported CSV has everyone's points."""
    plugin = CsvExportPlugin(parent=graded.api)
    plugin.to = str(graded.root / "grades.csv")
    with graded.api.gradebook as gradebook:
        plugin.export(gradebook)
    with open(plugin.to, newline="", encoding="utf-8") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert {student: float(row["score"]) for student, row in rows.items()} == totals
    assert {float(row["max_score"]) for row in rows.values()} == {most}


# --- what the settings of this course change in nbgrader ---


@pytest.fixture
def one(course: Course) -> Iterator[tuple[TemporaryCourse, Callable[..., NotebookNode]]]:
    """A temporary course of the fixture, and a maker of right submissions."""
    stage = course.stage
    with temporary_course(course.root, "01_lines") as temporary:
        yield (
            temporary,
            lambda **changed: answered(temporary.released(), reference_answers(stage) | changed),
        )


def test_a_tag_on_a_check_does_not_skip_it(one) -> None:
    course, submission = one
    notebook = submission(mse="def mse(p, y):\n    return 0.0")
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata["tags"] = ["demo", "skip-execution"]
    course.submit("ada", notebook)
    points = course.autograde("ada")
    assert points["mse-check-1"] == 0 and points["predict-check-1"] == 1


def test_a_warning_is_no_failure_and_a_crash_inside_a_check_costs_that_check(one) -> None:
    course, submission = one
    warns = "import warnings\ndef predict(x, w, b):\n    warnings.warn('hm')\n    return w * x + b"
    dies = "def mse(p, y):\n    import os\n    os._exit(0)"
    course.submit("ada", submission(predict=warns, mse=dies))
    points = course.autograde("ada")
    assert points == {
        "predict-check-1": 1,
        "mse-check-1": 0,
        "mse-check-2": 0,
        "gradient-check-1": 2,
        "step-check-1": 1,
        "why-minus": 0,
    }


def test_tests_that_a_student_changed_are_put_back(one) -> None:
    course, submission = one
    notebook = submission(mse="def mse(p, y):\n    return 0.0")
    for cell in notebook.cells:
        if cell.id == "mse-check-1":
            cell.source = "assert True"
            cell.metadata.nbgrader.points = 50
    course.submit("ada", notebook)
    assert course.autograde("ada")["mse-check-1"] == 0


def test_demo_cells_are_not_run(one) -> None:
    course, submission = one
    notebook = submission()
    for cell in notebook.cells:
        if cell.id == "loss-demo":
            cell.source = "import os\nos._exit(1)"
    course.submit("ada", notebook)
    assert sum(course.autograde("ada").values()) == 7


def test_a_notebook_that_kills_every_kernel_is_given_up(one) -> None:
    course, submission = one
    notebook = submission()
    for cell in notebook.cells:
        if cell.cell_type == "code" and "nbgrader" not in cell.metadata:
            cell.source, cell.metadata["tags"] = "import os\nos._exit(1)", []
        elif cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = "import os\nos._exit(1)"
    course.submit("ada", notebook)
    result = course.api.autograde("01_lines", "ada", force=True, create=True)
    assert not result["success"]
    assert "killed the kernel" in result["log"]
    assert set(course.points("ada").values()) == {0.0}


def test_the_settings_are_read_where_nbgrader_reads_them() -> None:
    config = course_config(ROOT)
    assert config.CourseDirectory.course_id == "xor2gpt"
    with quiet_api(config) as api:
        assert api.coursedir.source_directory == "solutions"
        assert api.coursedir.release_directory == "notebooks"
        assert set(api.get_source_assignments()) == set(stage_names(ROOT))


def test_the_plain_command_line_works(course: Course) -> None:
    """As an instructor types it, in the course's folder, with the venv's programs on PATH."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    }

    def nbgrader(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", *arguments],
            cwd=course.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stderr

    [released] = release(course.root, ["01_lines"], course.root / "made")
    nbgrader("generate_assignment", "01_lines")
    student = course.root / "notebooks" / "01_lines" / "01_lines.ipynb"
    assert student.read_bytes() == released.read_bytes()

    handed_in = course.root / "submitted" / "ada" / "01_lines"
    handed_in.mkdir(parents=True)
    (handed_in / "01_lines.ipynb").write_bytes(student.read_bytes())
    nbgrader("autograde", "01_lines", "--create")
    nbgrader("generate_feedback", "01_lines")
    nbgrader("export", "--to=grades.csv")
    [row] = csv.DictReader((course.root / "grades.csv").open(encoding="utf-8", newline=""))
    assert (row["student_id"], float(row["score"]), float(row["max_score"])) == ("ada", 0, 9)
    assert (course.root / "feedback" / "ada" / "01_lines" / "01_lines.html").is_file()
