"""The instructor's commands one after the other, on a real stage, in the real sandbox."""

import copy
import csv
import json
import shutil
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from autograder.authoring.nbgrading import answered, reference_answers
from autograder.authoring.stage import Stage
from autograder.cli import app

STAGE = "03_xor_backprop"


@pytest.fixture(scope="module")
def graded(tmp_path_factory, need_program, root) -> Path:
    """A folder with submissions of four students, graded into ``out``; the course is a copy."""
    need_program("bwrap", why="grading runs in the sandbox")
    folder = tmp_path_factory.mktemp("grading")
    course = folder / "course"
    for name in ("solutions", "notebooks"):
        shutil.copytree(root / name / STAGE, course / name / STAGE)
    for name in ("pyproject.toml", "nbgrader_config.py"):
        shutil.copy(root / name, course)
    released = nbformat.read(course / "notebooks" / STAGE / f"{STAGE}.ipynb", as_version=4)
    answers = reference_answers(Stage.load(root, STAGE))
    wrong = answers | {"update": answers["update"].replace("- learning_rate", "+ learning_rate")}
    crash = answers | {"sigmoid": "import os\nos._exit(1)"}
    for student, given in {"ann": answers, "ben": wrong, "cia": {}, "dov": crash}.items():
        target = folder / "submitted" / student / STAGE / f"{STAGE}.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(answered(copy.deepcopy(released), given), target)
    return folder


def call(folder: Path, *arguments: object):
    """Run a command inside the copy of the course."""
    import contextlib

    with contextlib.chdir(folder / "course"):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


EXPECTED = {"ann": 20.0, "ben": 19.0, "cia": 0.0, "dov": 18.0}


def points_in(folder: Path) -> dict[str, float]:
    files = sorted((folder / "out" / "results").glob("*.json"))
    return {path.stem: json.loads(path.read_text())["points"] for path in files}


def test_the_whole_way(graded):
    out = graded / "out"
    done = call(graded, "grade", STAGE, "--submissions", graded / "submitted", "--out", out)
    assert done.exit_code == 0, done.output
    assert points_in(graded) == EXPECTED

    again = call(
        graded,
        *("grade", STAGE, "--submissions", graded / "submitted", "--out", out),
        *("--resume", "--json"),
    )
    facts = json.loads(again.output)
    assert facts["kept"] == 4 and facts["complete"] and sorted(facts["gradebook"]) == list(EXPECTED)

    pages = call(graded, "feedback", "--out", out, "--zip", "plain")
    assert pages.exit_code == 0, pages.output
    page = (out / "feedback" / "cia.html").read_text()
    assert "not answered yet" in page and "HIDDEN" not in page and "<script" not in page
    assert (out / "feedback" / "plain.zip").is_file()

    assert call(graded, "report", "--out", out).exit_code == 0
    assert json.loads((out / "report" / "report.json").read_text())["n"] == 4

    marks = graded / "marks.csv"
    assert call(graded, "export", marks, "--out", out, "--provisional").exit_code == 0
    with marks.open(newline="") as stream:
        rows = {row["student"]: float(row["points"]) for row in csv.DictReader(stream)}
    assert rows == EXPECTED

    same = call(graded, "regrade", STAGE, "--out", out, "--diff")
    assert same.exit_code == 0 and "0 of 4" in same.output, same.output

    alike = call(graded, "similarity", "--out", out)
    assert alike.exit_code == 0 and (out / "similarity.html").is_file()


def test_regrade_says_who_would_change_before_anything_is_written(graded):
    path = graded / "course" / "solutions" / STAGE / f"{STAGE}.ipynb"
    before, old = points_in(graded), path.read_text()
    notebook = json.loads(old)
    for cell in notebook["cells"]:
        if cell["id"] == "update-check-1":
            cell["metadata"]["nbgrader"]["points"] = 3
    path.write_text(json.dumps(notebook))
    shown = call(graded, "regrade", STAGE, "--out", graded / "out", "--diff")
    assert shown.exit_code == 1 and "2 of 4" in shown.output, shown.output
    assert points_in(graded) == before
    done = call(graded, "regrade", STAGE, "--out", graded / "out")
    assert done.exit_code == 0, done.output
    assert points_in(graded) == EXPECTED | {"ann": 22.0, "dov": 20.0}
    path.write_text(old)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grade", "99_none", "--submissions", "x"], "99_none"),
        (["grade", STAGE, "--submissions", "nowhere"], "does not exist"),
        (["grade", STAGE, "--submissions", "x", "--due", "tomorrow"], "ISO 8601"),
        (["grade", STAGE, "--submissions", "x", "--attempts", "all"], "latest or best"),
        (["feedback", "--out", "nowhere"], "holds no grading"),
        (["export", "marks.csv", "--out", "nowhere"], "holds no grading"),
        (["regrade", STAGE, "--out", "nowhere", "--diff"], "holds no grading"),
    ],
)
def test_unusable_input_is_one_readable_line(graded, arguments, words):
    done = call(graded, *arguments)
    assert done.exit_code == 2 and words in done.output, done.output
    assert "Traceback" not in done.output


def test_help_names_every_command():
    text = CliRunner().invoke(app, ["--help"]).output
    for command in ("check", "pack", "doctor", "build", "grade", "feedback", "report", "export"):
        assert command in text
    assert "regrade" in text and "similarity" in text
