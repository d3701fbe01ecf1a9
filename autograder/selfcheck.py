"""What a student can do alone: run the visible checks, and pack a hand-in.

Does: grade the student's own notebook with the grader's engine and the visible checks only, from
the released notebook; say what is unanswered or was never run; write the file to hand in and a
receipt with its hash.
Does not: need solutions, a sandbox (it is the student's own code on the student's own machine), a
network, or Linux.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import nbformat

from autograder import engine
from autograder.authoring.stage import GLOBAL_STUB, STAGE_NAME, Stage, StageError
from autograder.intake import submission_of
from autograder.lines import LocalLine
from autograder.manifest import Manifest, from_stage
from autograder.model import Result, Submission

UNTOUCHED_REPLY = "*Write your answer here, in place of this line.*"
RECEIPT_VERSION = 1


class SelfCheckError(Exception):
    """The notebook cannot be used; the message says what to do."""


def _stage_of(notebook: nbformat.NotebookNode, path: Path) -> str:
    """Which stage a notebook is of: by its metadata, else by its name."""
    named = notebook.metadata.get("xor2gpt", {}).get("stage")
    for candidate in (named, path.stem, path.parent.name):
        if isinstance(candidate, str) and STAGE_NAME.match(candidate):
            return candidate
    raise SelfCheckError(
        f"{path.name} does not say which stage it is of. Keep the file's name as released "
        "(such as 03_xor_backprop.ipynb), or put it into a folder of that name."
    )


def _released(stage: str, path: Path) -> Path | None:
    """The released notebook of a stage: above the student's file, above here, or in the course."""
    course = Path(__file__).resolve().parents[1]
    for folder in [*path.resolve().parents, *Path.cwd().resolve().parents, Path.cwd(), course]:
        candidate = folder / "notebooks" / stage / f"{stage}.ipynb"
        if candidate.is_file():
            return candidate
    return None


@dataclass(frozen=True)
class Work:
    """A student's notebook beside what was released."""

    path: Path
    data: bytes
    manifest: Manifest
    submission: Submission
    released: Path | None


def read(path: Path, release: Path | None = None) -> Work:
    """Read a student's notebook. ``release`` names the released notebook where it is not found
    by itself; without any, the notebook's own checks are used. Raises :class:`SelfCheckError`."""
    if not path.is_file():
        raise SelfCheckError(f"{path} does not exist. Give the path of your .ipynb file.")
    data = path.read_bytes()
    try:
        notebook = nbformat.reads(data.decode("utf-8-sig"), as_version=4)
    except Exception as error:
        raise SelfCheckError(
            f"{path.name} is no notebook that can be read ({type(error).__name__}: "
            f"{str(error)[:200]}). Open it in JupyterLab, save it, and try again."
        ) from error
    stage = _stage_of(notebook, path)
    source = release or _released(stage, path)
    try:
        if source is not None:
            manifest = from_stage(Stage.read(source))
        else:
            own = Stage(path.with_name(f"{stage}.ipynb"), notebook)
            manifest = from_stage(own)
    except StageError as error:
        raise SelfCheckError(str(error)) from error
    submission = submission_of(data, manifest, "you", name=path.name)
    if submission.problem is not None:
        raise SelfCheckError(submission.problem)
    return Work(path, data, manifest, submission, source)


def check(work: Work) -> Result:
    """Run the visible checks in a process of their own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return engine.grade(
        work.manifest,
        work.submission,
        lambda: LocalLine(environment),
        seed=0,
        visible=True,
    )


@dataclass(frozen=True)
class Unfinished:
    """What a hand-in lacks, by exercise or question."""

    unanswered: list[str] = field(default_factory=list)  # the stub as released
    missing: list[str] = field(default_factory=list)  # the cell is gone
    never_run: list[str] = field(default_factory=list)  # answered, but never executed

    def __bool__(self) -> bool:
        return bool(self.unanswered or self.missing or self.never_run)


def unfinished(work: Work) -> Unfinished:
    """Compare the notebook with the release; a stub that was meant to be changed counts."""
    stubs = {cell.id: cell for cell in work.manifest.cells if cell.exercise}
    answers = {cell.id: cell.source for cell in work.submission.cells if cell.id in stubs}
    ran = _executed_sources(work.data)
    lacking = Unfinished()
    for cell_id, cell in stubs.items():
        name = str(cell.exercise)
        if cell_id not in answers:
            lacking.missing.append(name)
        elif GLOBAL_STUB in answers[cell_id] or (
            work.released is not None and answers[cell_id].strip() == cell.source.strip()
        ):
            lacking.unanswered.append(name)
        elif answers[cell_id].strip() not in ran:
            lacking.never_run.append(name)
    for question in work.manifest.manual:
        text = work.submission.answers.get(question.id, "").strip()
        if not text or text == UNTOUCHED_REPLY:
            lacking.unanswered.append(question.id)
    return lacking


def _executed_sources(data: bytes) -> set[str]:
    notebook = nbformat.reads(data.decode("utf-8-sig"), as_version=4)
    return {
        cell.source.strip()
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.get("execution_count") is not None
    }


@dataclass(frozen=True)
class Receipt:
    """Proof of what was packed; the hash is of the hand-in file's bytes."""

    file: str
    stage: str
    sha256: str
    size: int
    packed: str  # the packing machine's clock, UTC: no proof of when it was handed in
    unanswered: Sequence[str]
    never_run: Sequence[str]
    version: int = RECEIPT_VERSION

    def to_json(self) -> str:
        return json.dumps(self.__dict__, indent=1, ensure_ascii=False) + "\n"


def pack(work: Work, folder: Path) -> tuple[Path, Path, Receipt]:
    """Write ``STAGE.ipynb`` and ``STAGE.receipt.json`` into ``folder``.

    The hand-in is the notebook without outputs (they are never graded, and may be large). Raises
    :class:`SelfCheckError` when it would overwrite the student's own file.
    """
    stage = work.manifest.stage
    target, slip = folder / f"{stage}.ipynb", folder / f"{stage}.receipt.json"
    if target.resolve() == work.path.resolve():
        raise SelfCheckError(
            f"the hand-in would overwrite your notebook {work.path}: choose another folder "
            "with --out"
        )
    notebook = nbformat.reads(work.data.decode("utf-8-sig"), as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    data = (nbformat.writes(notebook) + "\n").encode()
    lacking = unfinished(work)
    receipt = Receipt(
        file=target.name,
        stage=stage,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        packed=datetime.now(UTC).isoformat(timespec="seconds"),
        unanswered=[*lacking.unanswered, *lacking.missing],
        never_run=lacking.never_run,
    )
    folder.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    slip.write_text(receipt.to_json(), encoding="utf-8")
    return target, slip, receipt
