"""Grading a batch: submissions and a manifest in, one result file per student out.

Does: store submissions by content, keep the ledger, hand jobs to a backend (one warm referee on
this machine, or a cluster), publish results, give up on what cannot be graded without stopping
the others, show progress, stop cleanly at Ctrl-C, and go on where a killed run stopped.
Does not: read archives (``intake``), judge (``engine``), or write into a gradebook.

The files of an output folder::

    results/STUDENT.json              what the world reads; replaced in one step
    .grader/ledger.sqlite             see ``ledger``
    .grader/lock                      held while a run lasts
    .grader/manifests/DIGEST.json     what it was graded with
    .grader/submissions/SHA256.json   what was graded
    .grader/results/KEY.json          what came out, by the hash of all that goes in

Grading is a pure function of files, so a result that a killed run left under its key is taken
over by the next one, and it does not matter which process or machine computes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from autograder import sandbox as sandboxes
from autograder.ledger import Entry, Job, Ledger, RunLock
from autograder.manifest import Manifest
from autograder.model import (
    STUDENT_ID,
    CheckResult,
    ManualResult,
    Result,
    Submission,
    Verdict,
)
from autograder.warm import (
    Configuration,
    Report,
    WarmReferee,
    WarmRefereeError,
    sha256_of,
    write_result,
)
from autograder.warm import Job as WarmJob
from xor2gpt.recipes.files import atomic_write, remove_leftovers

__all__ = ["RunError", "Store", "Summary", "run", "submission_seed"]

MAX_ATTEMPTS = 3  # of a submission whose grading process ended; then it is given up
MOST_RESTARTS = 5  # of the warm referee, in a row without a result between
BEAT_SECONDS = 10.0
PATIENCE_SECONDS = 30.0  # after Ctrl-C, for what is being graded


class RunError(Exception):
    """A run cannot start or go on; the message says why and what to do."""


def submission_seed(seed: int, student: str) -> int:
    """The seed of a student's hidden inputs: 32 bits, from the run's seed and the student's id."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{student}".encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Store:
    """The files of an output folder."""

    out: Path

    @property
    def hidden(self) -> Path:
        return self.out / ".grader"

    @property
    def ledger(self) -> Path:
        return self.hidden / "ledger.sqlite"

    @property
    def lock(self) -> Path:
        return self.hidden / "lock"

    def submission(self, sha256: str) -> Path:
        return self.hidden / "submissions" / f"{sha256}.json"

    def manifest(self, digest: str) -> Path:
        return self.hidden / "manifests" / f"{digest}.json"

    def by_key(self, key: str) -> Path:
        return self.hidden / "results" / f"{key}.json"

    def published(self, student: str) -> Path:
        return self.out / "results" / f"{student}.json"

    def put_submission(self, submission: Submission) -> str:
        """Store a submission; returns the sha256 of its stored form."""
        text = submission.to_json()
        sha256 = sha256_of(text.encode())
        path = self.submission(sha256)
        if not path.is_file() or sha256_of(path.read_bytes()) != sha256:
            atomic_write(path, text)
        return sha256

    def put_manifest(self, manifest: Manifest) -> Path:
        path = self.manifest(manifest.digest)
        atomic_write(path, manifest.to_json())
        return path

    def result(self, path: Path) -> Result | None:
        """A whole and undamaged result, or ``None``."""
        try:
            return Result.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def clean(self) -> None:
        """Delete the temporary files that killed processes left behind."""
        for folder in (self.out / "results", *self.hidden.glob("*/")):
            if folder.is_dir():
                remove_leftovers(folder)


@dataclass
class Summary:
    """How a run ended. ``done`` and ``failed`` are of this run's submissions."""

    stage: str
    out: str
    total: int
    done: int = 0
    failed: int = 0
    kept: int = 0  # were done before, and stay
    verdicts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0  # as the results state them, of what this run graded
    interrupted: bool = False
    stale: list[str] = field(default_factory=list)  # results of students who are not in this run
    errors: dict[str, str] = field(default_factory=dict)  # student -> why it was given up

    @property
    def complete(self) -> bool:
        return self.done == self.total

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "complete": self.complete}

    def text(self) -> str:
        """The summary in a few lines."""
        verdicts = ", ".join(f"{name} {n}" for name, n in sorted(self.verdicts.items()))
        lines = [
            f"{self.stage}: {self.done} of {self.total} submissions graded"
            f" ({self.kept} of them before) in {self.seconds:.1f} s: {verdicts or 'none'}.",
            f"Results: {self.out}/results",
        ]
        for student, error in sorted(self.errors.items()):
            lines.append(f"Given up: {student}: {error}")
        if self.stale:
            lines.append(
                f"{len(self.stale)} older results of students who are not among these submissions "
                f"were left as they are: {', '.join(self.stale[:5])}"
            )
        if not self.complete:
            why = "Stopped" if self.interrupted else "Not everything could be graded"
            lines.append(f"{why}. Go on with the same command and --resume.")
        return "\n".join(lines)


# --- backends ------------------------------------------------------------------------------


class Backend(Protocol):
    """Where jobs are graded."""

    capacity: int  # jobs at a time

    def submit(self, job: WarmJob) -> None: ...

    def wait(self, seconds: float) -> list[Report]:
        """Reports that arrived within ``seconds``; for lost jobs too."""

    def close(self) -> None: ...


class Local:
    """One warm referee on this machine, which forks up to ``workers`` graders at a time."""

    def __init__(self, configuration: Configuration, workers: int) -> None:
        self.configuration, self.capacity = configuration, workers
        self.flying: dict[int, WarmJob] = {}
        self.restarts = 0
        self.warm = self._start()

    def _start(self) -> WarmReferee:
        try:
            return WarmReferee(self.configuration).__enter__()
        except WarmRefereeError as error:
            raise RunError(str(error)) from error

    def submit(self, job: WarmJob) -> None:
        self.flying[job.job] = job
        with contextlib.suppress(WarmRefereeError):  # shows at the next wait
            self.warm.submit(job)

    def wait(self, seconds: float) -> list[Report]:
        if not select.select([self.warm.reads], [], [], seconds)[0]:
            return []
        try:
            reports = self.warm.reports()
        except WarmRefereeError as error:
            return self._restart(error)
        for report in reports:
            self.flying.pop(report.job, None)
        self.restarts = 0
        return reports

    def _restart(self, error: WarmRefereeError) -> list[Report]:
        """A new warm referee; what the old one was grading is lost."""
        self.restarts += 1
        if self.restarts > MOST_RESTARTS:
            raise RunError(
                f"{error}. It ended {MOST_RESTARTS} times in a row; what is done stays done: find "
                "the cause, then run the same command with --resume"
            ) from error
        lost = [Report(job, False, cause="died", error=str(error)) for job in self.flying]
        self.flying.clear()
        self.warm = self._start()
        return lost

    def close(self) -> None:
        self.warm.close()


# --- a run ---------------------------------------------------------------------------------


class _Stop:
    """Ctrl-C, noticed between two steps: once to finish what is being graded, twice to leave."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.now = False

    def __enter__(self) -> _Stop:
        self.before = {}
        with contextlib.suppress(ValueError):  # not in the main thread: the caller's business
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.ask)
        return self

    def ask(self, *_: object) -> None:
        self.now = self.since is not None
        self.since = self.since or time.monotonic()

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        return self.since is not None

    @property
    def out_of_patience(self) -> bool:
        return self.now or (
            self.since is not None and time.monotonic() - self.since > PATIENCE_SECONDS
        )


class _Run:
    """One run over enrolled jobs."""

    def __init__(
        self,
        manifest: Manifest,
        store: Store,
        ledger: Ledger,
        jobs: list[Job],
        max_attempts: int,
        show: Callable[[Summary], None],
    ) -> None:
        self.manifest, self.store, self.ledger = manifest, store, ledger
        self.max_attempts, self.show = max_attempts, show
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"
        self.flying: dict[int, Job] = {}
        self.numbers = [job.number for job in jobs]
        self.best: dict[str, tuple[bool, float, int]] = {}  # by student, of what is published
        self.summary = Summary(manifest.stage, str(store.out), len(jobs))
        self.verdicts: Counter[str] = Counter()
        for job in jobs:
            if job.state == "done" and not self.keep(job):
                ledger.reopen(job)

    def keep(self, job: Job) -> bool:
        """What is done stays done; its result is published again when the file is not there.

        ``False`` when the result is nowhere to be found undamaged: then it is graded again.
        """
        for path in (self.store.by_key(job.key), self.store.published(job.student)):
            result = self.store.result(path)
            if result is not None and result.digest == job.result:
                self.offer(job, result)
                self.summary.kept += 1
                self.count(str(job.verdict))
                return True
        return False

    def offer(self, job: Job, result: Result) -> None:
        """Publish a result unless another attempt of the same student has a better one."""
        graded = result.verdict not in (Verdict.INTERNAL, Verdict.KILLED)
        rank = (graded, result.points, job.attempt)
        if rank >= self.best.get(job.student, rank):
            self.best[job.student] = rank
            path = self.store.published(job.student)
            there = self.store.result(path)
            if there is None or there.digest != result.digest:
                write_result(path, result)

    def count(self, verdict: str) -> None:
        self.summary.done += 1
        self.verdicts[verdict] += 1
        self.summary.verdicts = dict(self.verdicts)

    def take_over(self, job: Job) -> bool:
        """A result that a killed run computed but did not enter in the ledger."""
        result = self.store.result(self.store.by_key(job.key))
        if result is None or result.verdict in (Verdict.INTERNAL, Verdict.KILLED):
            return False
        self.publish(job, result)
        return True

    def publish(self, job: Job, result: Result) -> None:
        self.offer(job, result)
        if result.verdict is Verdict.INTERNAL:
            error = "the grader itself failed; see the notes in the result"
            self.ledger.give_up(
                job, self.owner, verdict=result.verdict, result=result.digest, error=error
            )
            self.summary.failed += 1
            self.summary.errors[job.student] = error
            return
        self.ledger.finish(job, self.owner, verdict=result.verdict, result=result.digest)
        self.summary.cpu_seconds = round(self.summary.cpu_seconds + result.cpu_seconds, 3)
        self.count(result.verdict)

    def next_job(self) -> WarmJob | None:
        """The next job for the backend; jobs whose result is there already are settled here."""
        while (job := self.ledger.lease(self.owner, self.numbers)) is not None:
            if self.take_over(job):
                self.show(self.summary)
                continue
            self.flying[job.number] = job
            return WarmJob(
                job.number,
                str(self.store.submission(job.submission)),
                job.submission,
                str(self.store.by_key(job.key)),
                job.seed,
            )
        return None

    def settle(self, report: Report) -> None:
        job = self.flying.pop(report.job, None)
        if job is None:
            return
        if report.ok:
            result = self.store.result(self.store.by_key(job.key))
            if result is not None and result.digest == report.digest:
                self.publish(job, result)
                self.show(self.summary)
                return
            report = Report(job.number, False, cause="died", error="its result file is damaged")
        if job.tries < self.max_attempts:
            self.ledger.release(job, self.owner, error=report.error)
        else:
            self.give_up(job, report)
            self.show(self.summary)

    def give_up(self, job: Job, report: Report) -> None:
        """A result that says that there is none, and why; the batch goes on."""
        verdict = Verdict.KILLED if report.cause == "outside" else Verdict.INTERNAL
        note = f"given up after {job.tries} tries: {report.error}"
        text = "this submission could not be graded; nobody loses points for that"
        checks = [CheckResult(c.id, verdict, 0.0, c.points, text) for c in self.manifest.checks]
        submission = Submission.from_json(
            self.store.submission(job.submission).read_text(encoding="utf-8")
        )
        result = Result(
            student=job.student,
            stage=job.stage,
            verdict=verdict,
            points=0.0,
            max_points=self.manifest.max_points,
            checks=checks,
            manual=[ManualResult(q.id, q.max_points) for q in self.manifest.manual],
            flags=sorted(set(submission.flags)),
            submission=submission.sha256,
            manifest=job.manifest,
            seed=job.seed,
            notes=[*submission.notes, note],
        )
        self.offer(job, result)
        self.ledger.give_up(job, self.owner, verdict=verdict, result=result.digest, error=note)
        self.summary.failed += 1
        self.summary.errors[job.student] = note

    def drive(self, backend: Backend, stop: _Stop) -> None:
        """Until nothing waits, or until somebody stops it."""
        beaten = time.monotonic()
        while not stop.out_of_patience:
            if time.monotonic() - beaten > BEAT_SECONDS:
                beaten = time.monotonic()
                self.ledger.beat(self.owner)
            while not stop.asked and len(self.flying) < backend.capacity:
                job = self.next_job()
                if job is None:
                    break
                backend.submit(job)
            if not self.flying:
                break
            for report in backend.wait(0.5):
                self.settle(report)
        for job in self.flying.values():
            self.ledger.release(job, self.owner, error="stopped by Ctrl-C", counts=False)
        self.summary.interrupted = stop.asked


@contextlib.contextmanager
def _shown(progress: bool | Console, stage: str, total: int) -> Iterator[Callable]:
    """A progress bar on the error stream; it only moves when something is graded."""
    if progress is False:
        yield lambda summary: None
        return
    console = progress if isinstance(progress, Console) else Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=console, auto_refresh=False)
    with bar:
        task = bar.add_task(f"grading {stage}", total=total)

        def show(summary: Summary) -> None:
            failed = f", {summary.failed} given up" if summary.failed else ""
            bar.update(
                task,
                completed=summary.done + summary.failed,
                description=f"grading {stage}{failed}",
                refresh=True,
            )

        yield show


def _chosen(
    manifest: Manifest, submissions: Iterable[Submission], student: str | None
) -> list[Submission]:
    chosen = list(submissions)
    for submission in chosen:
        if not STUDENT_ID.match(submission.student):
            raise RunError(
                f"{submission.student!r} is no student id: letters, digits and . _ @ + - only, at "
                "most 100, the first a letter or digit"
            )
        if submission.stage != manifest.stage:
            raise RunError(
                f"the submission of {submission.student} is for {submission.stage}, "
                f"not for {manifest.stage}: grade each stage by itself"
            )
    same = Counter((x.student.casefold(), x.attempt) for x in chosen)
    if twice := sorted({student for (student, _), number in same.items() if number > 1}):
        raise RunError(
            f"more than one submission of {', '.join(twice)} with the same attempt number: number "
            "the attempts, or choose one (ids that differ in case only are one student)"
        )
    if student is not None:
        chosen = [submission for submission in chosen if submission.student == student]
        if not chosen:
            raise RunError(f"no submission of {student!r} among those given")
    return chosen


def check_sandbox(sandbox: str) -> None:
    """Raise :class:`RunError` when submissions cannot be locked up and nobody said that they
    need not be."""
    if sandbox not in ("bwrap", "none"):
        raise RunError(f"unknown sandbox {sandbox!r}: use 'bwrap' or 'none'")
    if sandbox == "bwrap" and (problem := sandboxes.missing()):
        raise RunError(
            f"{problem}\nWithout it grading refuses to run. --sandbox=none grades all the same, but"
            " then every submission runs as you: it can read and change your files (solutions,"
            " other submissions, the gradebook), use the network, fill memory and disk, and leave"
            " processes behind. Use it for work that you would run yourself."
        )


def run(
    manifest: Manifest,
    submissions: Iterable[Submission],
    out: Path,
    *,
    workers: int = 1,
    seed: int = 0,
    resume: bool = False,
    student: str | None = None,
    sandbox: str = "bwrap",
    scheduler: str | None = None,
    progress: bool | Console = True,
    max_attempts: int = MAX_ATTEMPTS,
) -> Summary:
    """Grade submissions into ``out``; one result file per student.

    ``resume`` keeps what an earlier run with the same manifest and seed has done, and grades the
    rest, and what was given up, again; without it everything is graded anew. ``student`` limits
    the run to one. ``scheduler`` is the address of a Dask cluster (``tcp://…``) instead of
    ``workers`` on this machine. The same input gives the same digests however it is run.

    Raises :class:`RunError` and ``LedgerError``; a submission never makes it raise.
    """
    if workers < 1:
        raise RunError(f"--workers {workers}: at least 1 is needed")
    chosen = _chosen(manifest, submissions, student)
    if scheduler is None:
        check_sandbox(sandbox)
    store = Store(out.resolve())
    started = time.monotonic()
    with (
        RunLock(store.lock),
        Ledger(store.ledger, manifest.stage) as ledger,
        _Stop() as stop,
        _shown(progress, manifest.stage, len(chosen)) as show,
    ):
        store.clean()
        ledger.reclaim()
        path = store.put_manifest(manifest)
        entries = [
            Entry(
                manifest.stage,
                submission.student,
                store.put_submission(submission),
                manifest.digest,
                submission_seed(seed, submission.student),
                submission.attempt,
            )
            for submission in chosen
        ]
        jobs = ledger.enrol(entries, resume=resume)
        if not resume:
            for job in jobs:
                store.by_key(job.key).unlink(missing_ok=True)
        work = _Run(manifest, store, ledger, jobs, max_attempts, show)
        show(work.summary)
        if work.summary.kept < len(jobs):
            configuration = Configuration(str(path), manifest.digest, sandbox)
            with contextlib.closing(_backend(configuration, workers, scheduler)) as backend:
                work.drive(backend, stop)
    if student is None:
        here = {submission.student for submission in chosen}
        work.summary.stale = sorted(
            file.stem for file in (store.out / "results").glob("*.json") if file.stem not in here
        )
    work.summary.seconds = round(time.monotonic() - started, 3)
    return work.summary


def _backend(configuration: Configuration, workers: int, scheduler: str | None) -> Backend:
    if scheduler is None:
        return Local(configuration, workers)
    from autograder.cluster import Cluster  # Dask is imported where it is asked for

    return Cluster(configuration, scheduler)
