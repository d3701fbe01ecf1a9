"""Grading as a pure function: a manifest and a submission in, a result out.

Does: hand a submission's cells to the referee, turn what the watchdog saw into verdicts, add up.
Does not: read files, write files, or know about other submissions.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace

from autograder.lines import Line, OutsideFault
from autograder.manifest import Manifest
from autograder.model import (
    CheckResult,
    Flag,
    ManualResult,
    Result,
    Submission,
    Verdict,
    overall_verdict,
)
from autograder.referee import Referee, grade_cells

ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}", re.IGNORECASE)  # in a message, differs from run to run


class _Recorder:
    """Wraps the opening of lines, and remembers what each one's watchdog reported."""

    def __init__(self, start: Callable[[], Line]) -> None:
        self.start, self.lines = start, []

    def __call__(self) -> Line:
        line = self.start()
        self.lines.append(line)
        return line

    @property
    def cpu_seconds(self) -> float:
        return sum(getattr(line, "cpu_seconds", 0.0) for line in self.lines)

    @property
    def peak_memory_mb(self) -> float:
        return max((getattr(line, "peak_memory_mb", 0.0) for line in self.lines), default=0.0)


def grade(
    manifest: Manifest,
    submission: Submission,
    start: Callable[[], Line],
    *,
    seed: int,
    visible: bool = False,
    referee: Referee | None = None,
) -> Result:
    """The result of one submission. ``start`` opens a line to a new student process.

    ``visible`` leaves hidden tests out (a student's self-check). A fault of the grader itself
    becomes the verdict INTERNAL with no points; it never raises for what a student sent. It raises
    ``OutsideFault`` when something outside broke (a process was killed): then grade it again.
    ``referee`` is one of this manifest that is ready, so that the prelude need not run again.
    """
    manual = [ManualResult(question.id, question.max_points) for question in manifest.manual]
    result = Result(
        student=submission.student,
        stage=manifest.stage,
        verdict=Verdict.INVALID,
        points=0.0,
        max_points=manifest.max_points,
        checks=[],
        manual=manual,
        flags=sorted(set(submission.flags)),
        submission=submission.sha256,
        manifest=manifest.digest,
        seed=seed,
        notes=list(submission.notes),
    )
    if submission.problem is not None:
        message = submission.problem
        checks = [
            CheckResult(c.id, Verdict.INVALID, 0.0, c.points, message) for c in manifest.checks
        ]
        return replace(result, checks=checks)
    recorder = _Recorder(start)
    cells = [(cell.id, cell.source) for cell in submission.cells]
    observed: set[Flag] = set()
    before = time.process_time()
    try:
        checks = grade_cells(
            manifest,
            cells,
            recorder,
            seed=seed,
            visible=visible,
            referee=referee,
            observed=observed,
        )
        checks = [replace(c, message=ADDRESS.sub("0x…", c.message)) for c in checks]
    except OutsideFault:
        raise
    except Exception as error:
        text = f"the grader itself failed ({type(error).__name__}); nobody loses points for that"
        checks = [CheckResult(c.id, Verdict.INTERNAL, 0.0, c.points, text) for c in manifest.checks]
    return replace(
        result,
        verdict=overall_verdict(checks),
        points=sum(check.points for check in checks),
        checks=checks,
        flags=sorted({*result.flags, *observed}),
        cpu_seconds=round(time.process_time() - before + recorder.cpu_seconds, 3),
        peak_memory_mb=round(recorder.peak_memory_mb, 1),
    )
