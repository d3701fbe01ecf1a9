"""The grader's plain data: what comes in, what goes out.

Does: define a submission as intake hands it on, and a result as it is written, with its digest.
Does not: read archives (``intake``), run anything (``engine``) or render anything (``feedback``).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

STUDENT_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}\Z")


class Verdict(StrEnum):
    """One word for a check, and for a submission's automatic checks together."""

    AC = "AC"  # all points
    PARTIAL = "PARTIAL"  # some points (submissions only)
    WA = "WA"  # wrong answer
    RE = "RE"  # the student's code raised, or its process ended
    TLE = "TLE"  # too slow
    MLE = "MLE"  # too much memory
    OLE = "OLE"  # too much output
    FSLE = "FSLE"  # too much disk
    PIDLE = "PIDLE"  # too many processes or threads
    KILLED = "KILLED"  # ended by something outside
    INVALID = "INVALID"  # the submission cannot be read
    NEEDS_HUMAN = "NEEDS_HUMAN"  # a person must look before points are final
    INTERNAL = "INTERNAL"  # the grader's own fault; graded again by --resume


class Flag(StrEnum):
    """What a person may want to look at; flags never change points."""

    SUSPICIOUS = "SUSPICIOUS"
    TAMPERED_CHECK = "TAMPERED_CHECK"  # a check or prelude cell differs from the release
    DUPLICATED_CELL = "DUPLICATED_CELL"
    MISSING_CELL = "MISSING_CELL"
    MATCHED_BY_TEXT = "MATCHED_BY_TEXT"  # cells had lost their identity
    REORDERED = "REORDERED"
    UPGRADED = "UPGRADED"  # an old notebook format
    AMBIGUOUS_FILE = "AMBIGUOUS_FILE"  # several candidates; the newest was taken
    EXTRA_FILES = "EXTRA_FILES"  # files beside the notebook were ignored
    LATE = "LATE"
    OUTPUT_CUT = "OUTPUT_CUT"  # a cell printed more than is kept
    NEVER_RUN = "NEVER_RUN"  # no cell was ever executed
    UNKNOWN_STUDENT = "UNKNOWN_STUDENT"  # the roster does not list this student


@dataclass(frozen=True)
class SubmittedCell:
    """A code cell of a submission that will run on the student's side.

    ``id`` is the manifest's id of the cell it stands for, or ``extra-K`` for the student's own
    cells. ``matched_by`` is ``id``, ``grade_id``, ``text`` or ``extra``.
    """

    id: str
    source: str
    matched_by: str = "id"


@dataclass(frozen=True)
class Submission:
    """What intake hands to the engine. ``problem`` is a sentence for the student when the
    submission cannot be read; then ``cells`` is empty and the verdict is INVALID.

    ``cells`` are in document order, without prelude, check and demo cells. ``answers`` holds the
    Markdown of the manual questions' answer cells by question id. ``sha256`` is of the notebook's
    bytes as received. ``received`` is the collector's time (ISO 8601, UTC), or ``None``.
    """

    student: str
    stage: str
    sha256: str
    cells: list[SubmittedCell] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    flags: list[Flag] = field(default_factory=list)
    problem: str | None = None
    received: str | None = None
    notes: list[str] = field(default_factory=list)  # how cells were found again, for the report
    attempt: int = 1  # counts a student's attempts, oldest first

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Submission:
        data = json.loads(text)
        data["cells"] = [SubmittedCell(**cell) for cell in data["cells"]]
        data["flags"] = [Flag(flag) for flag in data["flags"]]
        return cls(**data)


@dataclass(frozen=True)
class CheckResult:
    """One check's verdict. ``message`` may be shown to the student."""

    id: str
    verdict: Verdict
    points: float
    max_points: float
    message: str = ""


@dataclass(frozen=True)
class ManualResult:
    """A question that a person grades; ``points`` is ``None`` until then."""

    id: str
    max_points: float
    points: float | None = None


@dataclass(frozen=True)
class Result:
    """One submission's result, as written to ``OUT/results/STUDENT.json``."""

    student: str
    stage: str
    verdict: Verdict
    points: float
    max_points: float
    checks: list[CheckResult]
    manual: list[ManualResult]
    flags: list[Flag]
    submission: str  # sha256 of what was graded
    manifest: str  # digest of the manifest it was graded with
    seed: int
    notes: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0

    @property
    def digest(self) -> str:
        """sha256 of everything but time and memory: equal digests are identical results."""
        data = asdict(self)
        for name in ("cpu_seconds", "peak_memory_mb"):
            del data[name]
        text = json.dumps(data, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "digest": self.digest}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Raises ``ValueError`` when the digest does not fit: the file was changed or cut."""
        data = json.loads(text)
        digest = data.pop("digest", None)
        result = cls(
            **{
                **data,
                "verdict": Verdict(data["verdict"]),
                "checks": [
                    CheckResult(**{**check, "verdict": Verdict(check["verdict"])})
                    for check in data["checks"]
                ],
                "manual": [ManualResult(**question) for question in data["manual"]],
                "flags": [Flag(flag) for flag in data["flags"]],
            }
        )
        if digest != result.digest:
            raise ValueError(
                f"the digest of {result.student}'s result does not fit its content: the file was "
                "changed; grade it again"
            )
        return result


def overall_verdict(checks: list[CheckResult]) -> Verdict:
    """The verdict of the automatic checks together: AC, PARTIAL, or the commonest reason."""
    if all(check.verdict is Verdict.AC for check in checks):
        return Verdict.AC
    if any(check.verdict is Verdict.INTERNAL for check in checks):
        return Verdict.INTERNAL
    if any(check.points > 0 for check in checks):
        return Verdict.PARTIAL
    reasons = [check.verdict for check in checks]
    return max(dict.fromkeys(reasons), key=reasons.count)
