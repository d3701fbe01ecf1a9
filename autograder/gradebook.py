"""Results into nbgrader's gradebook, so that its own tools keep working on the course.

Does: register a stage with nbgrader's own ``generate_assignment``; write points through nbgrader's
API into SQLite or PostgreSQL; keep what a person graded; write ``autograded/STUDENT/STAGE/*.ipynb``
so that formgrader, manual grading, feedback and export show the student's work and each check's
verdict.
Does not: grade, or put hidden tests, answers or other people's data into a notebook.

The gradebook is the one that ``nbgrader_config.py`` names (``gradebook.db`` in the course's folder
by default); a URL such as ``postgresql+psycopg://user@host/course`` stands for another one.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from nbgrader.api import BaseCell, Comment, Grade, Gradebook, MissingEntry, SubmittedNotebook
from sqlalchemy.exc import SAWarning, SQLAlchemyError
from traitlets.config import Config

from autograder import pages
from autograder.authoring.nbgrading import course_config, quiet_api, succeed
from autograder.authoring.stage import StageError
from autograder.ledger import Ledger
from autograder.manifest import Manifest
from autograder.model import CheckResult, Result, Submission, Verdict
from autograder.runner import Store
from xor2gpt.recipes.files import atomic_write

__all__ = ["CourseGradebook", "GradebookError", "graded_notebook", "record"]

NOT_GRADED = (Verdict.INTERNAL, Verdict.KILLED, Verdict.NEEDS_HUMAN)  # a person has to look


class GradebookError(Exception):
    """The gradebook cannot be used; the message says which one, why, and what to do."""


def _code(source: str) -> str:
    """A student's code as it is shown: no unseen characters, no endless text."""
    shown = pages.cut(source)
    return shown.text + (f"\n# {shown.note}" if shown.note else "")


def _prose(text: str) -> str:
    """A student's Markdown as sanitised HTML on one line: nbgrader's pages clean nothing, and
    what has no line breaks is not read as Markdown a second time."""
    return f"<div>{pages.markdown(pages.cut(text).text)}</div>".replace("\n", "&#10;")


def _verdict_output(check: CheckResult) -> NotebookNode:
    """What a check cell shows. nbgrader's own rule holds: an error output is no points."""
    line = f"{check.verdict}: {check.points:g} of {check.max_points:g} points"
    if check.verdict is Verdict.AC:
        return new_output("stream", name="stdout", text=f"{line}\n")
    message = pages.message_text(check.message) or "no message"
    return new_output(
        "error", ename=str(check.verdict), evalue=message, traceback=[f"{line}\n{message}"]
    )


def graded_notebook(
    manifest: Manifest, released: NotebookNode, result: Result, submission: Submission
) -> NotebookNode:
    """The released notebook with the student's work in its places and the verdicts in the checks.

    Cells of the student's own follow the cell that they follow in the submission. Outputs of other
    cells are left out: they are the reference's, or the student's word.
    """
    notebook = nbformat.from_dict(released)
    known = {cell.id for cell in manifest.cells}
    sources: dict[str, str] = {}
    extras: dict[str | None, list[NotebookNode]] = {}
    place: str | None = None
    for number, cell in enumerate(submission.cells):
        if cell.id in known and cell.id not in sources:
            sources[cell.id] = cell.source
            place = cell.id
        else:
            new = new_code_cell(_code(cell.source), id=f"own-{number}")
            extras.setdefault(place, []).append(new)
    replies = {q.answer_cell: submission.answers.get(q.id, "") for q in manifest.manual}
    answers = {cell.id for cell in manifest.cells if cell.exercise}
    checks = {check.id: check for check in result.checks}
    cells = [*extras.get(None, [])]
    if submission.problem:
        cells.insert(0, new_markdown_cell(_prose(submission.problem), id="problem"))
    for cell in notebook.cells:
        name = cell.get("id", "")
        if name in replies:
            cell.source = _prose(replies[name])
        elif name in known:
            cell.source = _code(sources.get(name, "" if name in answers else cell.source))
        if cell.cell_type == "code":
            cell.outputs = [_verdict_output(checks[name])] if name in checks else []
            cell.execution_count = None
        cells += [cell, *extras.get(name, [])]
    notebook.cells = cells
    return notebook


@contextlib.contextmanager
def _programs_on_path() -> Iterator[None]:
    """nbgrader calls ``alembic`` when it makes a database."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _utc(received: str) -> datetime.datetime:
    """nbgrader keeps times in UTC without a zone."""
    time = datetime.datetime.fromisoformat(received.replace("Z", "+00:00"))
    return time.astimezone(datetime.UTC).replace(tzinfo=None) if time.tzinfo else time


class CourseGradebook:
    """The gradebook of a course, for one stage. A context manager; raises `GradebookError`.

    ``db_url`` overrides the course's setting; ``autograded`` the folder for graded notebooks.
    """

    def __init__(
        self,
        root: Path,
        manifest: Manifest,
        *,
        db_url: str | None = None,
        autograded: Path | None = None,
    ) -> None:
        self.root, self.manifest, self.stage = root.resolve(), manifest, manifest.stage
        self.config: Config = course_config(self.root)
        url = db_url or self.config.CourseDirectory.get("db_url")
        self.url = str(url or f"sqlite:///{self.root}/gradebook.db")
        self.config.CourseDirectory.db_url = self.url
        self.autograded = autograded or self.root / "autograded"

    def __enter__(self) -> CourseGradebook:
        course = str(self.config.CourseDirectory.get("course_id") or "default_course")
        with self._explained(), _programs_on_path():
            self.book = Gradebook(self.url, course)
        try:
            self.released = self._register()
        except BaseException:
            self.book.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.book.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            url = re.sub(r"//([^:/@]*):[^@]*@", r"//\1:***@", self.url)  # never print a password
            reason = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
            raise GradebookError(
                f"the gradebook {url} cannot be used ({reason}): check the address, that the "
                "server runs and that you may write; results are safe, run this step again"
            ) from error

    # --- the stage ---------------------------------------------------------------------------

    def _register(self) -> NotebookNode:
        """The released notebook; the gradebook knows the stage's cells and points afterwards."""
        path = self.root / "notebooks" / self.stage / f"{self.stage}.ipynb"
        if path.is_file() and self._known_points() == self._points():
            return nbformat.read(path, as_version=4)
        return self._generate()

    def _points(self) -> dict[str, float]:
        graded = [(check.id, check.points) for check in self.manifest.checks]
        return dict(graded + [(q.id, q.max_points) for q in self.manifest.manual])

    def _known_points(self) -> dict[str, float]:
        with self._explained():
            try:
                notebook = self.book.find_notebook(self.stage, self.stage)
            except MissingEntry:
                return {}
            cells = [*notebook.grade_cells, *notebook.task_cells]
            return {cell.name: float(cell.max_score) for cell in cells}

    def _generate(self) -> NotebookNode:
        """Let nbgrader register the stage; what it would release goes to a temporary folder."""
        with tempfile.TemporaryDirectory() as folder:
            config = Config(self.config)
            config.CourseDirectory.release_directory = folder
            with quiet_api(config) as api:
                try:
                    outcome = api.generate_assignment(self.stage, force=True, create=True)
                    succeed(outcome, self.stage)
                except StageError as error:
                    raise GradebookError(
                        f"nbgrader cannot register {self.stage} ({error}): the stage in solutions/ "
                        "must be the one that was released; cells cannot come or go after work "
                        "was graded"
                    ) from error
            path = Path(folder) / self.stage / f"{self.stage}.ipynb"
            notebook = nbformat.read(path, as_version=4)
        self.book.db.expire_all()
        if (known := self._known_points()) != (points := self._points()):
            differ = sorted(k for k in known | points if known.get(k) != points.get(k))
            raise GradebookError(
                f"the manifest of {self.stage} and solutions/{self.stage} differ in "
                f"{', '.join(differ)}: build the manifest again and grade again"
            )
        return notebook

    # --- one student -------------------------------------------------------------------------

    def notebook_path(self, student: str) -> Path:
        return self.autograded / student / self.stage / f"{self.stage}.ipynb"

    def write(self, result: Result, submission: Submission) -> None:
        """One student's points and graded notebook. Writing the same again changes nothing.

        Automatic points are replaced. What a person gave stays; it is marked for another look when
        what it was given for has changed since.
        """
        if (result.student, result.stage) != (submission.student, self.stage):
            raise GradebookError(
                f"the result of {result.student} for {result.stage} and the submission of "
                f"{submission.student} do not belong together"
            )
        changed = self._changed_answers(submission)
        with self._explained():
            notebook = self._submitted(result.student, submission.received)
            self._grades(notebook, result, changed)
            self._comments(notebook, submission)
            self.book.db.commit()
        graded = graded_notebook(self.manifest, self.released, result, submission)
        path = self.notebook_path(result.student)
        text = nbformat.writes(graded)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            atomic_write(path, text)
        if submission.received:
            stamp = _utc(submission.received).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
            (path.parent / "timestamp.txt").write_text(stamp, encoding="utf-8")

    def _changed_answers(self, submission: Submission) -> set[str]:
        """Manual questions whose answer is not the one in the graded notebook that is there."""
        path = self.notebook_path(submission.student)
        if not path.is_file():
            return set()
        with contextlib.suppress(ValueError, nbformat.ValidationError, OSError):
            cells = {c.get("id"): c.source for c in nbformat.read(path, as_version=4).cells}
            return {
                question.id
                for question in self.manifest.manual
                if cells.get(question.answer_cell)
                != _prose(submission.answers.get(question.id, ""))
            }
        return {question.id for question in self.manifest.manual}

    def _submitted(self, student: str, received: str | None) -> SubmittedNotebook:
        """The student's rows, made where they are missing."""
        book = self.book
        try:
            book.find_student(student)
        except MissingEntry:
            book.add_student(student)
        timestamp = _utc(received) if received else None
        try:
            submission = book.find_submission(self.stage, student)
        except MissingEntry:
            extra = {"timestamp": timestamp} if timestamp else {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SAWarning)  # nbgrader's own, and harmless
                submission = book.add_submission(self.stage, student, **extra)
        if timestamp and submission.timestamp != timestamp:
            submission.timestamp = timestamp
        return next(n for n in submission.notebooks if n.name == self.stage)

    def _grades(self, notebook: SubmittedNotebook, result: Result, changed: set[str]) -> None:
        checks = {check.id: check for check in result.checks}
        rows = (
            self.book.db.query(Grade, BaseCell.name)
            .join(BaseCell, Grade.cell_id == BaseCell.id)
            .filter(Grade.notebook_id == notebook.id)
        )
        found = set()
        for grade, name in rows:
            found.add(name)
            if name in checks:
                check = checks[name]
                score = None if check.verdict in NOT_GRADED else check.points
                stale = grade.manual_score is not None and grade.auto_score != score
                needs = (score is None and grade.manual_score is None) or stale
            else:
                score = None
                needs = grade.manual_score is None or name in changed
            if grade.auto_score != score:
                grade.auto_score = score
            if needs and not grade.needs_manual_grade:
                grade.needs_manual_grade = True
            elif not needs and grade.manual_score is None and grade.needs_manual_grade:
                grade.needs_manual_grade = False
        if missing := sorted((checks.keys() | {q.id for q in result.manual}) - found):
            raise GradebookError(
                f"the gradebook has no row for {', '.join(missing)} of {result.student}: the stage "
                "changed after this student was first graded; remove the submission in formgrader "
                "(nbgrader db …) and run this step again"
            )

    def _comments(self, notebook: SubmittedNotebook, submission: Submission) -> None:
        """nbgrader's ``No response.`` beside an answer that is still the stub."""
        stubs = {cell.id: cell.source.strip() for cell in self.manifest.cells if cell.exercise}
        given = {cell.id: cell.source.strip() for cell in submission.cells}
        rows = (
            self.book.db.query(Comment, BaseCell.name)
            .join(BaseCell, Comment.cell_id == BaseCell.id)
            .filter(Comment.notebook_id == notebook.id)
        )
        for comment, name in rows:
            silent = name in stubs and given.get(name, "") in ("", stubs[name])
            text = "No response." if silent else None
            if comment.auto_comment != text:
                comment.auto_comment = text


def record(
    root: Path,
    manifest: Manifest,
    out: Path,
    *,
    db_url: str | None = None,
    autograded: Path | None = None,
    student: str | None = None,
) -> list[str]:
    """Write the published results of ``out`` (see ``runner``) into the gradebook.

    Returns the students that were written. A result of another manifest is refused.
    """
    store = Store(out.resolve())
    with Ledger(store.ledger, manifest.stage) as ledger:
        jobs = [job for job in ledger.jobs() if job.state in ("done", "failed")]
    written: list[str] = []
    with CourseGradebook(root, manifest, db_url=db_url, autograded=autograded) as book:
        for job in jobs:
            if student not in (None, job.student) or job.student in written:
                continue
            result = store.result(store.published(job.student))
            if result is None:
                raise GradebookError(
                    f"{store.published(job.student)} is missing or damaged: grade "
                    f"{job.student} again (--student {job.student})"
                )
            if result.manifest != manifest.digest:
                raise GradebookError(
                    f"{job.student} was graded with another version of {manifest.stage} "
                    f"({result.manifest[:12]}, now {manifest.digest[:12]}): grade again"
                )
            if (submission := _graded_submission(store, jobs, result)) is not None:
                book.write(result, submission)
                written.append(job.student)
    return written


def _graded_submission(store: Store, jobs: list, result: Result) -> Submission | None:
    """The stored submission that a published result belongs to (of several attempts, that one)."""
    for job in jobs:
        if job.student == result.student and job.result == result.digest:
            text = store.submission(job.submission).read_text(encoding="utf-8")
            return Submission.from_json(text)
    return None
