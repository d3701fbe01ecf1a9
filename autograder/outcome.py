"""What a grading left behind in its output folder, read back for feedback, reports and exports.

Does: pair each published result with the stored submission and the manifest it was graded with,
and add the points that people gave in nbgrader's gradebook.
Does not: grade, or change a file of the output folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry

from autograder.ledger import Ledger
from autograder.manifest import Manifest
from autograder.model import ManualResult, Result, Submission
from autograder.regrade import read_results
from autograder.runner import RunError, Store


@dataclass(frozen=True)
class Graded:
    """One student's submission beside its result."""

    submission: Submission
    result: Result


@dataclass(frozen=True)
class Outcome:
    """One stage's grading."""

    manifest: Manifest
    graded: list[Graded]

    @property
    def results(self) -> list[Result]:
        return [one.result for one in self.graded]

    @property
    def submissions(self) -> list[Submission]:
        return [one.submission for one in self.graded]


def load(out: Path) -> Outcome:
    """Read an output folder. Raises :class:`RunError` naming what is missing and the remedy."""
    store = Store(out.resolve())
    if not store.ledger.is_file():
        raise RunError(f"{out} holds no grading: give the folder that 'grade --out' wrote")
    try:
        results = {result.student: result for result in read_results(store.out / "results")}
    except ValueError as error:
        raise RunError(str(error)) from error
    if not results:
        raise RunError(f"{out} holds no results yet: grade first")
    manifests = {result.manifest for result in results.values()}
    newest = max(
        (store.manifest(digest) for digest in manifests if store.manifest(digest).is_file()),
        key=lambda path: path.stat().st_mtime,
        default=None,
    )
    if newest is None:
        raise RunError(f"{store.hidden / 'manifests'} is empty: grade again")
    manifest = Manifest.from_json(newest.read_text(encoding="utf-8"))
    with Ledger(store.ledger, manifest.stage) as ledger:
        jobs = {(job.student, job.result): job for job in ledger.jobs()}
    graded = []
    for student, result in sorted(results.items()):
        job = jobs.get((student, result.digest))
        path = store.submission(job.submission) if job else None
        if path is None or not path.is_file():
            raise RunError(
                f"the submission behind {student}'s result is not in {store.hidden}: grade "
                f"{student} again (--student {student})"
            )
        graded.append(Graded(Submission.from_json(path.read_text(encoding="utf-8")), result))
    return Outcome(manifest, graded)


def with_manual_points(results: Iterable[Result], db_url: str) -> tuple[list[Result], dict]:
    """The results with the points that people gave, and their comments by student and question.

    Questions without points stay ungraded. The digests of the copies differ from the originals':
    they are for showing, not for writing back.
    """
    shown, comments = [], {}
    with Gradebook(db_url) as book:
        for result in results:
            manual = []
            for question in result.manual:
                try:
                    grade = book.find_grade(question.id, result.stage, result.stage, result.student)
                    points = grade.manual_score
                    comment = book.find_comment(
                        question.id, result.stage, result.stage, result.student
                    )
                    if comment.comment:
                        comments.setdefault(result.student, {})[question.id] = comment.comment
                except MissingEntry:
                    points = None
                manual.append(ManualResult(question.id, question.max_points, points))
            shown.append(replace(result, manual=manual))
    return shown, comments
