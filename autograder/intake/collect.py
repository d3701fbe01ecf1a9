"""From a download to submissions: one for every student, whatever arrived.

Does: read everything once, keep what counts of each notebook, group by student, choose among
several candidates, look at the roster and at lateness.
Does not: raise for what a student sent; believe any time that a student could have written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from autograder.intake.cells import Matched, match
from autograder.intake.files import (
    NOTEBOOK,
    Caps,
    IntakeError,
    Item,
    escaped,
    printable,
    walk,
    wanted_by_default,
)
from autograder.intake.notebook import Notebook, NotebookProblem, read
from autograder.intake.people import (
    Hand,
    Roster,
    assign_ids,
    is_metadata,
    sort_into_hands,
    stem,
    without_number,
)
from autograder.manifest import Manifest
from autograder.model import Flag, Submission

NOTHING = hashlib.sha256(b"").hexdigest()
LOOKS_LIKE = 0.5  # share of a stage's cells that make a notebook of "another stage" this stage's
SHADOWING = re.compile(  # files that some interpreter, test runner or shell would load by itself
    r"(numpy|torch|random|math|checking|xor2gpt)\.py\Z|(conftest|sitecustomize|usercustomize)\.py\Z"
    r"|.+\.pth\Z|(pytest|tox)\.ini\Z|setup\.cfg\Z|(ipython|jupyter)_\w*config\.(py|json)\Z",
    re.IGNORECASE,
)
IGNORED = ("timestamp.txt",)  # nbgrader's; students can write it, so nobody reads it


@dataclass(frozen=True)
class Candidate:
    """One notebook file of a student, read: cells, or the problem that it has."""

    item: Item
    sha256: str
    matched: Matched | None = None
    notebook: Notebook | None = None
    problem: str | None = None
    right_stage: bool = True

    @property
    def order(self) -> tuple:
        """Later and fuller is better; this stage's notebook before all."""
        changed = self.matched.changed if self.matched else 0
        number = without_number(stem(self.item.name))[1]
        time = self.item.own_time if self.item.own_time is not None else -1.0
        return (self.problem is None, self.right_stage, changed > 0, time, number, changed,
                self.item.path)  # fmt: skip


def _candidate(item: Item, data: bytes, manifest: Manifest, caps: Caps) -> Candidate:
    digest = hashlib.sha256(data).hexdigest()
    try:
        notebook = read(data, caps)
    except NotebookProblem as error:
        return Candidate(item, digest, problem=str(error))
    except (MemoryError, RecursionError) as error:
        text = f"The notebook cannot be read ({type(error).__name__}): it is too large or too deep."
        return Candidate(item, digest, problem=text)
    matched = match(notebook, manifest)
    layout = [cell for cell in manifest.layout if cell.role != "prose"]
    other = notebook.stage not in (None, manifest.stage)
    problem = None
    if other and matched.known < LOOKS_LIKE * len(layout):
        problem = (
            f"This is the notebook of stage '{printable(str(notebook.stage), 60)}', not of "
            f"'{manifest.stage}'. Hand in {manifest.stage}.ipynb."
        )
    elif not matched.known:
        problem = (
            f"No cell of stage '{manifest.stage}' was found in this notebook: is it another one, "
            f"or an empty one? Hand in {manifest.stage}.ipynb."
        )
    right = notebook.stage == manifest.stage or (notebook.stage is None and problem is None)
    return Candidate(item, digest, matched, notebook, problem, right)


def submission_of(
    data: bytes, manifest: Manifest, student: str, *, caps: Caps | None = None, name: str = ""
) -> Submission:
    """One notebook's bytes as a submission (for a self-check, and for tests)."""
    item = Item((name or f"{student}.ipynb",))
    candidate = _candidate(item, data, manifest, caps or Caps())
    return _submission(student, candidate, manifest, Hand(student, [student]))


def _submission(
    student: str, candidate: Candidate, manifest: Manifest, hand: Hand, attempt: int = 1
) -> Submission:
    flags, notes = set(), list(hand.notes)
    matched, notebook = candidate.matched, candidate.notebook
    unreadable = candidate.problem is not None or matched is None
    if notebook is not None and matched is not None and not unreadable:
        flags |= {*notebook.flags, *matched.flags}
        notes += [*notebook.notes, *matched.notes]
    if candidate.item.names > 1:
        flags.add(Flag.SUSPICIOUS)
        notes.append(f"the file has {candidate.item.names} names on the disk (hard links)")
    return Submission(
        student=student,
        stage=manifest.stage,
        sha256=candidate.sha256,
        cells=[] if unreadable else matched.cells,
        answers={} if unreadable else matched.answers,
        flags=sorted(flags),
        problem=candidate.problem,
        notes=notes,
        attempt=attempt,
    )


def _choose(
    student: str, hand: Hand, read_files: dict[int, Candidate], manifest: Manifest, caps: Caps
) -> list[Submission]:
    """A student's submissions, oldest first; the last one is the one to grade."""
    candidates, problems, others = [], [], []
    suspicious = False
    for item in hand.items:
        suspicious |= item.suspicious
        if item.key is not None:
            candidates.append(replace(read_files[item.key], item=item))
        elif item.problem is not None:
            problems.append(item)
        elif item.name not in IGNORED:
            others.append(item)
    if candidates:
        hand.notes += [f"not read: {item.problem}" for item in problems[:5] if item.name]
    candidates.sort(key=lambda candidate: candidate.order)
    more = set()
    if len(candidates) > caps.notebooks:
        hand.notes.append(f"only {caps.notebooks} of {len(candidates)} notebooks were looked at")
    if suspicious:
        more.add(Flag.SUSPICIOUS)
    if not candidates:
        problem = _nothing_usable(problems, others, manifest)
        single = Candidate(problems[0] if problems else Item(("",)), NOTHING, problem=problem)
        return [_with_flags(_submission(student, single, manifest, hand), more)]
    usable = [c for c in candidates if c.problem is None and c.right_stage] or candidates[-1:]
    if len({c.sha256 for c in candidates if c.right_stage}) > 1:
        more.add(Flag.AMBIGUOUS_FILE)
        shown = "/".join(part for part in usable[-1].item.path[-2:])
        hand.notes.append(f"{len(candidates)} notebooks; '{shown}' is the latest or fullest")
    if others:
        more.add(Flag.EXTRA_FILES)
        if any(SHADOWING.match(item.name) or ".ipython" in item.path for item in others):
            more.add(Flag.SUSPICIOUS)
        names = ", ".join(item.name for item in others[:5])
        hand.notes.append(f"{len(others)} other files were ignored: {names}")
    return [
        _with_flags(_submission(student, candidate, manifest, hand, number), more)
        for number, candidate in enumerate(usable, 1)
    ]


def _nothing_usable(problems: list[Item], others: list[Item], manifest: Manifest) -> str:
    if problems:
        return str(problems[0].problem)
    wanted = f"Hand in the notebook {manifest.stage}.ipynb."
    if others:
        names = ", ".join(f"'{item.name}'" for item in others[:3])
        return f"No notebook was handed in, only {names}. {wanted}"
    return f"Nothing was handed in. {wanted}"


def _with_flags(submission: Submission, more: Iterable[Flag]) -> Submission:
    return replace(submission, flags=sorted({*submission.flags, *more}))


def _received(hand: Hand, path: tuple[str, ...] | None, trust_file_times: bool) -> datetime | None:
    if hand.received is not None or not trust_file_times:
        return hand.received
    times = [item.modified for item in hand.items if item.modified is not None]
    if path is not None:
        times = [i.modified for i in hand.items if i.path == path and i.modified] or times
    try:
        return datetime.fromtimestamp(max(times), UTC) if times else None
    except (ValueError, OverflowError, OSError):
        return None


def _with_time(
    submission: Submission, hand: Hand, due: datetime | None, trust_file_times: bool
) -> Submission:
    received = _received(hand, None, trust_file_times)
    flags, notes = set(submission.flags), list(submission.notes)
    if hand.late or (due and received and received > due):
        flags.add(Flag.LATE)
    if due and received is None and not hand.late:
        notes.append("no receipt time is known: whether it came late cannot be told")
    text = received.isoformat(timespec="seconds") if received else None
    return replace(submission, flags=sorted(flags), notes=notes, received=text)


def _single(source: Path, manifest: Manifest, caps: Caps) -> tuple[list[Item], dict]:
    """One notebook file: its folder's name is the student where nbgrader's layout is recognised."""
    name = escaped(source.name)
    if source.resolve().parent.name == manifest.stage:
        path = (escaped(source.resolve().parent.parent.name), manifest.stage, name)
    else:
        path = (name,)
    found = source.stat()
    if not source.is_file():
        raise IntakeError(f"{source} is no ordinary file")
    if found.st_size > caps.file_mb * 2**20:
        text = f"'{name}' is larger than {caps.file_mb:g} MiB. Clear its outputs and save it again."
        item = Item(path, problem=text, modified=found.st_mtime)
        return [item], {}
    with source.open("rb") as stream:
        data = stream.read(int(caps.file_mb * 2**20))
    item = Item(path, modified=found.st_mtime, own_time=found.st_mtime, key=0)
    return [item], {0: _candidate(item, data, manifest, caps)}


def collect(
    source: Path,
    manifest: Manifest,
    *,
    roster: Path | None = None,
    attempts: Literal["latest", "best"] = "latest",
    due: datetime | None = None,
    caps: Caps | None = None,
    trust_file_times: bool = False,
) -> list[Submission]:
    """The submissions in ``source``, sorted by student.

    ``source`` is a folder, a zip or tar archive, or one notebook. ``attempts="best"`` returns every
    usable attempt of a student (``attempt`` counts them); the caller grades all and takes the best.
    ``due`` needs a time zone. Receipt times come from the platform's export; file times count only
    with ``trust_file_times``, where the collector itself wrote the files. What cannot be read is a
    submission with a ``problem``. Raises :class:`IntakeError` when ``source``, ``roster`` or
    ``due`` is unusable.
    """
    caps = caps or Caps()
    if due is not None and due.tzinfo is None:
        raise IntakeError(
            f"the due date {due.isoformat()} has no time zone: write {due.isoformat()}+00:00, or "
            "your own offset"
        )
    if not source.exists():
        raise IntakeError(f"{source} does not exist: give a folder, an archive or a notebook")
    people = Roster(roster) if roster else None
    if source.is_file() and NOTEBOOK.search(source.name):
        items, read_files = _single(source, manifest, caps)
    else:
        items, read_files = _read_all(source, manifest, caps)
    submissions: list[Submission] = []
    for student, hand in assign_ids(sort_into_hands(items, manifest.stage, source), people):
        found = _choose(student, hand, read_files, manifest, caps)
        for submission in found if attempts == "best" else found[-1:]:
            submission = _with_time(submission, hand, due, trust_file_times)
            if attempts == "best" and len(found) > 1:
                text = f"attempt {submission.attempt} of {len(found)}"
                submission = replace(submission, notes=[text, *submission.notes])
            if people and student not in people.ids:
                text = f"the roster does not list '{printable(hand.raw)}'"
                submission = replace(
                    _with_flags(submission, {Flag.UNKNOWN_STUDENT}),
                    notes=[*submission.notes, text],
                )
            submissions.append(submission)
    return submissions


def _read_all(
    source: Path, manifest: Manifest, caps: Caps
) -> tuple[list[Item], dict[int, Candidate]]:
    """Every file of ``source``, notebooks read and their bytes let go at once."""
    items: list[Item] = []
    read_files: dict[int, Candidate] = {}
    seen: dict[str, int] = {}

    def wanted(path: tuple[str, ...]) -> bool:
        if is_metadata(path):
            return True
        if not wanted_by_default(path):
            return False
        seen[path[0]] = seen.get(path[0], 0) + 1
        return seen[path[0]] <= caps.notebooks or len(path) == 1

    for item in walk(source, caps, wanted):
        if item.data is not None and not is_metadata(item.path):
            key, data = len(read_files), item.data
            item = replace(item, data=None, key=key)
            read_files[key] = _candidate(item, data, manifest, caps)
        items.append(item)
    return items, read_files


def missing_students(submissions: Iterable[Submission], roster: Path) -> list[str]:
    """Students of the roster without any submission, in the roster's order."""
    there = {submission.student for submission in submissions}
    return [student for student in Roster(roster).ids if student not in there]
