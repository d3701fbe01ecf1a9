"""Feedback for one student, as one HTML file; and zips of it that learning platforms take back.

Does: show verdict, points and message of every check, the questions that a person grades, what
was odd about the file, and the student's own code and answers; pack the files under the names by
which Moodle and Canvas find their students again.
Does not: show a test's source, an expected value, an output that came with a submission, a flag
that is meant for staff, or anything of another student. Grades nothing.

What the platforms expect is read from their sources: Moodle's ``importziplib.php`` takes
``FULLNAME_NUMBER_assignsubmission_file_`` folders, Canvas' ``infer_comment_context_from_filename``
takes the first two numbers between underscores as user and attachment.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from autograder import pages
from autograder.manifest import Check, Manifest
from autograder.model import CheckResult, Flag, Result, Submission, Verdict

ALL_CODE = 300_000  # characters of all cells of a page together
CELLS = 300  # cells on a page

# verdict: (sign, tone, in a table, about a whole submission)
WORDS: dict[Verdict, tuple[str, str, str, str]] = {
    Verdict.AC: ("✓", "good", "passed", "All automatic checks passed."),
    Verdict.PARTIAL: ("◐", "warn", "partly passed", "Some checks passed, some did not."),
    Verdict.WA: ("✗", "bad", "wrong answer", "No check passed: the answers are wrong."),
    Verdict.RE: ("✗", "bad", "error in your code", "No check passed: your code raised errors."),
    Verdict.TLE: ("✗", "bad", "too slow", "No check passed: your code ran out of time."),
    Verdict.MLE: (
        "✗",
        "bad",
        "too much memory",
        "No check passed: too much memory was needed.",
    ),
    Verdict.OLE: ("✗", "bad", "too much output", "No check passed: your code printed too much."),
    Verdict.FSLE: (
        "✗",
        "bad",
        "too much disk",
        "No check passed: too much was written to disk.",
    ),
    Verdict.PIDLE: (
        "✗",
        "bad",
        "too many processes",
        "No check passed: your code started too many processes or threads.",
    ),
    Verdict.KILLED: (
        "✗",
        "bad",
        "ended from outside",
        "No check passed: your code was ended from outside.",
    ),
    Verdict.INVALID: (
        "✗",
        "bad",
        "not read",
        "Your file could not be read; nothing was graded.",
    ),
    Verdict.NEEDS_HUMAN: (
        "?",
        "warn",
        "a person will look",
        "A person will look at this before the points are final.",
    ),
    Verdict.INTERNAL: (
        "?",
        "warn",
        "grader's fault",
        "The grader itself failed. That is not your fault, and you will be graded again.",
    ),
}

# flags that concern the student; SUSPICIOUS is for staff
REMARKS: dict[Flag, str] = {
    Flag.TAMPERED_CHECK: "A check or the prelude in your file is not as handed out. The grader "
    "used its own copy, so this changed no points.",
    Flag.DUPLICATED_CELL: "A cell was there more than once. The one in the expected place counted; "
    "the others ran as cells of your own.",
    Flag.MISSING_CELL: "A cell of the handed-out notebook is missing. What needed it earned no "
    "points.",
    Flag.MATCHED_BY_TEXT: "Cells had lost their identity (some editors remove it) and were found "
    "again by their text. Please check below that each is in its place.",
    Flag.REORDERED: "Cells were not in the handed-out order. They ran in your order.",
    Flag.UPGRADED: "Your notebook was in an old format and was converted.",
    Flag.AMBIGUOUS_FILE: "You handed in several notebooks for this stage. The newest was graded.",
    Flag.EXTRA_FILES: "Files beside your notebook were ignored.",
    Flag.LATE: "This was handed in after the due date.",
    Flag.OUTPUT_CUT: "A cell printed more than is kept. That costs no points.",
    Flag.UNKNOWN_STUDENT: "Your id is not on the course's list. Please tell your teacher.",
    Flag.NEVER_RUN: "No cell of your file had ever been run. Run all cells before you hand in.",
}
MATCHED = {
    "grade_id": "found by its nbgrader name",
    "text": "found again by its text",
    "extra": "a cell of your own",
}


@dataclass(frozen=True)
class _Verdict:
    """A verdict as templates show it."""

    code: str
    sign: str
    tone: str
    words: str
    headline: str

    @classmethod
    def of(cls, verdict: Verdict) -> _Verdict:
        return cls(str(verdict), *WORDS[verdict])


def stage_heading(stage: str) -> str:
    """``03_xor_backprop`` as people say it: ``Stage 3: xor backprop``."""
    if match := re.fullmatch(r"(\d\d)_(\w+)", stage):
        return f"Stage {int(match[1])}: {match[2].replace('_', ' ')}"
    return pages.clean(stage)


def hidden_lines(manifest: Manifest) -> frozenset[str]:
    """The lines of code that only the graders' copy of the checks holds."""
    known = {line.strip() for source in manifest.prelude for line in source.split("\n")}
    for check in manifest.checks:
        known.update(line.strip() for line in check.visible.split("\n"))
    hidden = {line.strip() for check in manifest.checks for line in check.source.split("\n")}
    return frozenset(line for line in hidden - known if len(line) >= 12)


def without_source(message: str, hidden: Iterable[str]) -> str:
    """``message``, unless it quotes a line of hidden source (as a traceback would)."""
    if any(line in message for line in hidden):
        return "This check failed while it ran your code."
    return message


def _layout(checks: Iterable[Check | CheckResult]) -> str:
    """Checks and their points; equal for a result and its manifest, also after an update of the
    grader that gave the manifest another digest."""

    def points(check: Check | CheckResult) -> float:
        return check.max_points if isinstance(check, CheckResult) else check.points

    return ", ".join(f"{check.id} ({points(check):g})" for check in checks)


def _when(received: str | None) -> str:
    if not received:
        return ""
    try:
        time = datetime.fromisoformat(received)
    except ValueError:
        return pages.cut(received, length=40, lines=1).text
    zone = f"{time:%Z}"
    return f"{time:%Y-%m-%d %H:%M}" + (f" {zone}" if zone else "")


@dataclass(frozen=True)
class _Masked:
    """Foreign text of one student: cleaned, and without the id on anonymous pages."""

    namer: pages.Namer
    student: str
    hidden: frozenset[str] = frozenset()

    def plain(self, text: str) -> str:
        return self.namer.mask(text, self.student)

    def message(self, text: str) -> str:
        return pages.message_text(self.plain(without_source(text, self.hidden)))

    def code(self, source: str, length: int) -> tuple[Any, str]:
        shown = pages.cut(
            self.plain(source), length=min(length, pages.CELL_LENGTH), columns=pages.LINE_LENGTH
        )
        return pages.highlight(shown.text), shown.note

    def prose(self, text: str) -> tuple[Any, str]:
        shown = pages.cut(self.plain(text))
        return pages.markdown(shown.text), shown.note


def _rows(manifest: Manifest, result: Result, masked: _Masked) -> list[dict[str, Any]]:
    exercises = {check.id: check.exercise for check in manifest.checks}

    def row(index: int, check: CheckResult) -> dict[str, Any]:
        return {
            "index": index,
            "check": check.id,
            "exercise": exercises.get(check.id, check.id),
            "verdict": _Verdict.of(check.verdict),
            "points": check.points,
            "max": check.max_points,
            "message": masked.message(check.message),
            "cell": None,
        }

    return [row(index, check) for index, check in enumerate(result.checks, 1)]


def _cells(
    manifest: Manifest, submission: Submission, rows: list[dict[str, Any]], masked: _Masked
) -> tuple[list[dict[str, Any]], int, str]:
    """The cells to show, how many are unchanged, and a note when some are left out."""
    released = {cell.id: cell for cell in manifest.cells}
    shown: list[dict[str, Any]] = []
    unchanged, left, budget = 0, 0, ALL_CODE
    for cell in submission.cells:
        original = released.get(cell.id)
        same = original is not None and original.source.strip() == cell.source.strip()
        exercise = original.exercise if original is not None else None
        if not exercise and (same or not cell.source.strip()):
            unchanged += same
            continue
        if len(shown) >= CELLS or budget <= 0:
            left += 1
            continue
        code, note = ("", "") if same else masked.code(cell.source, budget)
        budget -= min(len(cell.source), pages.CELL_LENGTH)
        index = len(shown) + 1
        checks = [row for row in rows if exercise and row["exercise"] == exercise]
        for row in checks:
            row["cell"] = row["cell"] or index
        if exercise:
            title = f"Exercise {exercise}"
        elif original is not None:
            title = f"Lesson cell {cell.id}, changed by you"
        else:
            title = f"Your own cell {index}"
        shown.append(
            {
                "index": index,
                "title": title,
                "about": "As handed out: not answered."
                if same
                else (MATCHED.get(cell.matched_by, "") if original is not None else ""),
                "checks": checks,
                "code": code,
                "note": note,
            }
        )
    cut = f"Not shown: {left} more of your cells." if left else ""
    return shown, unchanged, cut


def _questions(
    manifest: Manifest,
    result: Result,
    submission: Submission,
    comments: Mapping[str, str],
    masked: _Masked,
) -> list[dict[str, Any]]:
    titles = {question.id: question.title.lstrip("# ") for question in manifest.manual}
    questions = []
    for question in result.manual:
        answer, note = "", ""
        if text := submission.answers.get(question.id, "").strip():
            answer, note = masked.prose(text)
        comment = comments.get(question.id, "").strip()
        questions.append(
            {
                "title": titles.get(question.id) or question.id,
                "max": question.max_points,
                "points": question.points,
                "answer": answer,
                "note": note,
                "comment": masked.prose(comment)[0] if comment else "",
            }
        )
    return questions


def _notes(result: Result, masked: _Masked) -> list[str]:
    """How the file was read. Not on anonymous pages (notes quote the names of files and people),
    and without what is only kept for the way back to a learning platform."""
    if masked.namer.key is not None:
        return []
    kept = [note for note in result.notes if not _labels(note)]
    return [masked.message(note) for note in kept[:100]]


def write_feedback(
    manifest: Manifest,
    submission: Submission,
    result: Result,
    folder: Path,
    *,
    course_title: str,
    manual_comments: Mapping[str, str] | None = None,
    stage_title: str | None = None,
    anonymous: bool = False,
    key: bytes | None = None,
) -> Path:
    """Write ``FOLDER/STUDENT.html`` and return its path.

    ``manual_comments`` holds a grader's Markdown by question id. ``anonymous`` replaces the id by
    a pseudonym (``pages.read_key`` gives the ``key``); what students write themselves stays.
    Raises ``ValueError`` when submission, result and manifest do not belong together: a page must
    never show one student's points beside another's code.
    """
    for ours, theirs, what in (
        (result.student, submission.student, "student"),
        (result.submission, submission.sha256, "sha256 of the graded file"),
        (_layout(result.checks), _layout(manifest.checks), "list of checks"),
    ):
        if ours != theirs:
            raise ValueError(
                f"no feedback for {pages.for_log(result.student)!r}: the result's {what} is "
                f"{pages.for_log(ours)!r}, but {pages.for_log(theirs)!r} was given; grade again or "
                "pass the files that were graded"
            )
    namer = pages.Namer.choose(anonymous, key)
    masked = _Masked(namer, submission.student, hidden_lines(manifest))
    rows = _rows(manifest, result, masked)
    cells, unchanged, cells_cut = _cells(manifest, submission, rows, masked)
    questions = _questions(manifest, result, submission, manual_comments or {}, masked)
    graded = [question for question in result.manual if question.points is not None]
    remarks = [REMARKS[flag] for flag in dict.fromkeys(result.flags) if flag in REMARKS]
    html = pages.render(
        "feedback.html",
        course_title=course_title,
        stage=pages.clean(result.stage),
        stage_title=stage_title or stage_heading(result.stage),
        student=namer.name(submission.student),
        received=_when(submission.received),
        verdict=_Verdict.of(result.verdict),
        problem=masked.message(submission.problem) if submission.problem is not None else "",
        automatic={"points": result.points, "max": result.max_points},
        manual={
            "graded": len(graded),
            "waiting": len(result.manual) - len(graded),
            "points": sum(question.points or 0.0 for question in graded),
            "graded_max": sum(question.max_points for question in graded),
            "max": sum(question.max_points for question in result.manual),
        },
        passed=sum(check.verdict is Verdict.AC for check in result.checks),
        rows=rows,
        questions=questions,
        remarks=remarks + _notes(result, masked),
        cells=cells,
        unchanged=unchanged,
        cells_cut=cells_cut,
        sha256=result.submission,
        digest=result.digest,
        manifest_digest=result.manifest,
    )
    return pages.write_text(folder / f"{namer.stem(submission.student)}.html", html)


# --- zips for learning platforms ------------------------------------------------------------------

MOODLE = re.compile(r"[^_/\\\x00-\x1f]+_\d+_assign(?:submission|feedback)_[a-z]+_?")
CANVAS = re.compile(r"[^_/\\\x00-\x1f]*(?:_LATE)?_\d+_\d+_[^/\\\x00-\x1f]+")


@dataclass
class Packed:
    """What went into a zip. The platform will not find the students in ``unmatched``."""

    path: Path
    names: dict[str, str] = field(default_factory=dict)  # student -> name in the zip
    unmatched: list[str] = field(default_factory=list)


def _labels(text: str) -> list[str]:
    """The words of a note that are a platform's names for files or folders."""
    return [
        word
        for word in re.split(r"""['"`‘’“”/\\\n]""", text)
        if MOODLE.fullmatch(word) or (word.endswith(".ipynb") and CANVAS.fullmatch(word))
    ]


def labels_from_notes(submissions: Iterable[Submission]) -> dict[str, str]:
    """The names under which Moodle or Canvas handed submissions out, where intake noted them."""
    found = {}
    for submission in submissions:
        for label in [word for note in submission.notes for word in _labels(note)]:
            found.setdefault(submission.student, label)
    return found


def _name_in_zip(platform: str, student: str, label: str | None) -> tuple[str, bool]:
    """The name of a student's file in the zip, and whether the platform knows it."""
    stem = pages.Namer().stem(student)
    if platform == "moodle":
        if label and MOODLE.fullmatch(label):
            return f"{label}/feedback.html", True
        return f"{stem}/feedback.html", False
    if platform == "canvas":
        if label and CANVAS.fullmatch(label):
            return re.sub(r"\.ipynb$", "", label) + ".html", True
        return f"{stem}.html", False
    return f"{stem}.html", True


def write_zip(
    files: Mapping[str, Path],
    target: Path,
    platform: str = "plain",
    *,
    labels: Mapping[str, str] | None = None,
) -> Packed:
    """Pack feedback files (``{student: path}``) as ``platform`` takes them back.

    ``plain`` is ``STUDENT.html``; ``moodle`` is for "Upload multiple feedback files in a zip";
    ``canvas`` is for "Re-upload submissions". Both need the name under which the platform handed
    the submission out, in ``labels`` (``labels_from_notes`` finds what intake noted). A student
    without one is packed by id, which the platform ignores, and listed as ``unmatched``: guessing
    a number could send feedback to somebody else. Equal files give an equal zip.
    """
    if platform not in ("plain", "moodle", "canvas"):
        raise ValueError(f"unknown platform {platform!r}: use plain, moodle or canvas")
    packed, taken, buffer = Packed(target), {}, BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for student in sorted(files):
            name, known = _name_in_zip(platform, student, (labels or {}).get(student))
            if other := taken.get(name.casefold()):
                raise ValueError(
                    f"{pages.for_log(student)!r} and {pages.for_log(other)!r} would both be "
                    f"{pages.for_log(name)!r} in the zip: give each a label of its own"
                )
            taken[name.casefold()] = student
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[student].read_bytes())
            packed.names[student] = name
            if not known:
                packed.unmatched.append(student)
    pages.write_bytes(target, buffer.getvalue())
    return packed
