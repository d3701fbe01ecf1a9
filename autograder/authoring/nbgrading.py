"""nbgrader as a library: the course's settings, a quiet API, and a throw-away course to grade in.

Does: read ``nbgrader_config.py``; run nbgrader's own steps in one process; grade submissions of
one stage in a temporary folder with its own gradebook.
Does not: touch the course's gradebook; protect against hostile work (``python -m autograder``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.apps import NbGraderAPI
from sqlalchemy.exc import SAWarning
from traitlets.config import Config, PyFileConfigLoader

from autograder.authoring.stage import Stage, StageError

CONFIG_FILE = "nbgrader_config.py"


def course_config(root: Path) -> Config:
    """The settings of ``nbgrader_config.py`` for the course in ``root``."""
    if not (root / CONFIG_FILE).is_file():
        raise StageError(f"{root / CONFIG_FILE} is missing: it comes with the course")
    config = PyFileConfigLoader(CONFIG_FILE, path=str(root)).load_config()
    config.CourseDirectory.root = str(root)
    return config


@contextlib.contextmanager
def quiet_api(config: Config) -> Iterator[NbGraderAPI]:
    """nbgrader's API, which keeps its log to its results; this interpreter's programs on PATH."""
    before, path = Path.cwd(), os.environ.get("PATH", "")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{path}"
    api = NbGraderAPI(config=config)
    handlers, propagate = api.log.handlers, api.log.propagate
    api.log.handlers, api.log.propagate = [], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)  # nbgrader's own, and harmless
            yield api
    finally:
        api.log.handlers, api.log.propagate = handlers, propagate
        os.environ["PATH"] = path
        os.chdir(before)


def reason(result: Mapping) -> str:
    """The line of an nbgrader result that says what went wrong."""
    lines = f"{result.get('log', '')}\n{result.get('error', '')}".splitlines()
    marked = [line.split("StageError: ", 1)[1] for line in lines if "StageError: " in line]
    errors = [line for line in lines if "Error" in line and not line.startswith(" ")]
    return (marked or errors or lines or ["nbgrader failed and said nothing"])[0]


def succeed(result: Mapping, what: str) -> None:
    """Raise ``StageError`` unless an nbgrader step worked."""
    if not result["success"]:
        raise StageError(f"{what}: {reason(result)}")


@dataclass
class TemporaryCourse:
    """A copy of one stage with its own gradebook, where nbgrader can do as it likes."""

    root: Path
    stage: str
    api: NbGraderAPI

    def released(self) -> NotebookNode:
        """A fresh copy of the student edition."""
        path = self.root / "notebooks" / self.stage / f"{self.stage}.ipynb"
        return nbformat.read(path, as_version=4)

    def submit(self, student: str, notebook: NotebookNode) -> None:
        """Put a notebook where nbgrader's ``collect`` would."""
        folder = self.root / "submitted" / student / self.stage
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / f"{self.stage}.ipynb")

    def autograde(self, student: str) -> dict[str, float]:
        """Points by graded cell. ``StageError`` when nbgrader gives the submission up."""
        result = self.api.autograde(self.stage, student, force=True, create=True)
        succeed(result, f"{self.stage}: submission '{student}'")
        return self.points(student)

    def points(self, student: str) -> dict[str, float]:
        """What the gradebook holds for each graded cell (0 for a manual question)."""
        with self.api.gradebook as gradebook:
            submission = gradebook.find_submission(self.stage, student)
            return {
                grade.name: float(grade.score)
                for notebook in submission.notebooks
                for grade in notebook.grades
            }


@contextlib.contextmanager
def temporary_course(root: Path, stage: str) -> Iterator[TemporaryCourse]:
    """A throw-away course with one stage, released and ready for submissions."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        shutil.copytree(root / "solutions" / stage, place / "solutions" / stage)
        shutil.copy(root / CONFIG_FILE, place)
        config = course_config(place)
        config.CourseDirectory.db_url = f"sqlite:///{place}/gradebook.db"
        with quiet_api(config) as api:
            succeed(api.generate_assignment(stage, force=True, create=True), stage)
            yield TemporaryCourse(place, stage, api)


def answered(notebook: NotebookNode, answers: Mapping[str, str]) -> NotebookNode:
    """``notebook`` with the sources of answer cells replaced, by exercise name."""
    for cell in notebook.cells:
        extra = cell.metadata.get("xor2gpt", {})
        if extra.get("role") == "answer" and extra["exercise"] in answers:
            cell.source = answers[extra["exercise"]]
    return notebook


def reference_answers(stage: Stage) -> dict[str, str]:
    """The right answers by exercise name."""
    return {name: e.answer.reference for name, e in stage.exercises.items() if e.answer}
