"""The warm referee: a process that has run a stage's prelude and forks one grader per submission.

Does: start the sandbox's warm interpreter once; for every job read from standard input fork a
child that grades one submission, writes its result file and reports; end everything when its
standard input closes, so that nobody survives the process that started it.
Does not: choose jobs, keep a ledger, or publish results (see ``runner``).

Started as ``python -P -m autograder.warm CONFIGURATION`` (JSON). Jobs and reports are one JSON
object a line. A job names files by content: the same job gives the same result file, whoever
grades it. A report is ``{"job", "ok": true, ...}`` or ``{"job", "ok": false, "cause", "error"}``.

Why a fork per submission: a check may change a prelude object or leave garbage behind; the next
submission starts from the same memory as the first, and memory cannot grow from one to the next.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import gc
import hashlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from autograder.engine import grade
from autograder.lines import Line, LocalLine, OutsideFault
from autograder.manifest import Manifest
from autograder.model import Result, Submission
from autograder.referee import Referee
from autograder.sandbox import SLOTS, Cage, Sandbox, SandboxError

__all__ = ["Configuration", "Job", "Report", "WarmReferee", "WarmRefereeError", "grade_file"]

SLOTS_PER_GRADER = 4  # users of the sandbox that one grader takes in turn
SPARE_SECONDS = 60.0  # beyond the limit that the referee keeps by itself
MOST_SANDBOX_STARTS = 5  # in a row without a graded submission between
PR_SET_PDEATHSIG = 1


class WarmRefereeError(Exception):
    """The warm referee did not start or ended; the message holds its last words."""


@dataclass(frozen=True)
class Configuration:
    """What a warm referee is made from. ``sandbox`` is ``"bwrap"`` or ``"none"``."""

    manifest: str  # path of the manifest's JSON
    digest: str  # the manifest's digest
    sandbox: str = "bwrap"


@dataclass(frozen=True)
class Job:
    """One submission to grade: files and hashes, nothing else."""

    job: int
    submission: str  # path of the stored submission
    sha256: str  # of that file
    result: str  # path to write
    seed: int


@dataclass(frozen=True)
class Report:
    """What became of a job. ``cause`` of a failure: ``outside`` (a process was killed),
    ``died`` (the grader ended), ``sandbox`` (the warm interpreter ended)."""

    job: int
    ok: bool
    digest: str = ""
    verdict: str = ""
    cause: str = ""
    error: str = ""


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_submission(path: Path, sha256: str) -> Submission:
    """A stored submission. Raises ``ValueError`` when the file is not what the hash says."""
    data = path.read_bytes()
    if sha256_of(data) != sha256:
        raise ValueError(f"{path} was changed since it was stored: run the intake again")
    return Submission.from_json(data.decode())


def write_result(path: Path, result: Result) -> None:
    """Write a result file in one step: whole or not at all, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(result.to_json())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def grade_file(referee: Referee, job: Job, start: Callable[[], Line]) -> Report:
    """The pure function of grading: a stored submission in, a result file out.

    Raises :class:`OutsideFault` when it must be done again.
    """
    submission = read_submission(Path(job.submission), job.sha256)
    result = grade(referee.manifest, submission, start, seed=job.seed, referee=referee)
    write_result(Path(job.result), result)
    return Report(job.job, True, digest=result.digest, verdict=result.verdict)


def modules_to_warm(manifest: Manifest) -> list[str]:
    """Modules that the prelude imports, without those that are locked while it is graded."""
    found: list[str] = []
    for source in manifest.prelude:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found += [node.module, *(n for n in names if _is_module(n))]
    blocked = manifest.blocked_modules
    return [
        name
        for name in dict.fromkeys(found)
        if not any(name == b or name.startswith(f"{b}.") for b in blocked)
    ]


def _is_module(name: str) -> bool:
    """Whether a dotted name is a submodule that is loaded (the referee ran the prelude)."""
    return name in sys.modules


# --- the process itself ---------------------------------------------------------------------


def _die_with_parent(parent: int) -> None:
    """Linux ends this process when its parent ends; elsewhere the closed pipes have to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


@dataclass
class _Grader:
    """A child that grades one job."""

    pid: int
    job: Job
    reports: int  # descriptor
    deadline: float
    text: bytes = b""


class _Server:
    """The loop of the warm referee."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        manifest = Manifest.from_json(Path(configuration.manifest).read_text(encoding="utf-8"))
        if manifest.digest != configuration.digest:
            raise WarmRefereeError(
                f"{configuration.manifest} is not the manifest {configuration.digest[:12]}: it was "
                "changed while this run used it; start the run again"
            )
        self.referee = Referee(manifest)
        self.longest = manifest.limits.submission_seconds + SPARE_SECONDS
        self.sandbox: Sandbox | None = None
        self.starts = 0
        self.slots = secrets.randbelow(SLOTS)  # other gradings run on this machine too
        self.graders: dict[int, _Grader] = {}  # by descriptor
        self.selector = selectors.DefaultSelector()
        self.out = os.dup(1)
        os.dup2(2, 1)  # whatever prints, prints to the error stream
        gc.collect()
        gc.freeze()  # a collection in a child would copy every page that they share

    def say(self, document: Mapping[str, Any]) -> None:
        os.write(self.out, (json.dumps(document) + "\n").encode())

    def start_sandbox(self) -> None:
        if self.configuration.sandbox == "none":
            return
        self.starts += 1
        if self.starts > MOST_SANDBOX_STARTS:
            raise WarmRefereeError(
                f"the sandbox ended {MOST_SANDBOX_STARTS} times without a graded submission"
            )
        manifest = self.referee.manifest
        cage = Cage(memory_mb=manifest.limits.memory_mb)
        self.sandbox = Sandbox(cage, modules_to_warm(manifest)).__enter__()

    def fork(self, job: Job) -> None:
        reads, writes = os.pipe()
        self.slots += SLOTS_PER_GRADER
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self.grade_and_exit(job, writes, parent)
        os.close(writes)
        self.graders[reads] = _Grader(pid, job, reads, time.monotonic() + self.longest)
        self.selector.register(reads, selectors.EVENT_READ)

    def grade_and_exit(self, job: Job, writes: int, parent: int) -> NoReturn:
        """In the child: grade, report, end. No destructor of the parent's objects runs here."""
        try:
            _die_with_parent(parent)
            with open(os.devnull, "r+b", buffering=0) as nothing:
                for descriptor in (0, 1, 2):  # what a check prints is of no interest
                    os.dup2(nothing.fileno(), descriptor)
            start: Callable[[], Line] = LocalLine
            if self.sandbox is not None:
                own = range(self.slots, self.slots + SLOTS_PER_GRADER)
                self.sandbox.use_slots(slot % SLOTS for slot in own)
                start = self.sandbox.open
            try:
                report = grade_file(self.referee, job, start)
            except OutsideFault as error:
                gone = self.sandbox is not None and self.sandbox.gone
                cause = "sandbox" if gone or isinstance(error, SandboxError) else "outside"
                report = Report(job.job, False, cause=cause, error=str(error))
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                report = Report(job.job, False, cause="died", error=text)
            os.write(writes, json.dumps(asdict(report)).encode())
        finally:
            os._exit(0)

    def reap(self, grader: _Grader) -> None:
        """Pass on what a child reported, or that it ended without a word."""
        self.selector.unregister(grader.reports)
        os.close(grader.reports)
        del self.graders[grader.reports]
        _, status = os.waitpid(grader.pid, 0)
        try:
            report = json.loads(grader.text)
        except ValueError:
            code = os.waitstatus_to_exitcode(status)
            error = f"the grading process ended without a result (exit status {code})"
            report = asdict(Report(grader.job.job, False, cause="died", error=error))
        if report["ok"]:
            self.starts = 0
        self.say(report)

    def kill_all(self) -> None:
        for grader in self.graders.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(grader.pid, signal.SIGKILL)
        for grader in self.graders.values():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(grader.pid, 0)
        if self.sandbox is not None:
            self.sandbox.close()

    def jobs(self) -> Iterator[Job | None]:
        """Jobs as they come; ``None`` after each look around."""
        self.selector.register(0, selectors.EVENT_READ)
        rest = b""
        while True:
            for key, _ in self.selector.select(timeout=1.0):
                descriptor = key.fd
                data = os.read(descriptor, 2**16)
                if descriptor == 0:
                    if not data:
                        return
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        yield Job(**json.loads(line))
                elif data:
                    self.graders[descriptor].text += data
                else:
                    self.reap(self.graders[descriptor])
            yield None

    def serve(self) -> None:
        try:
            self.start_sandbox()
            self.say({"ready": True, "pid": os.getpid()})
            for job in self.jobs():
                if job is not None:
                    self.fork(job)
                for grader in self.graders.values():
                    if time.monotonic() > grader.deadline:
                        os.kill(grader.pid, signal.SIGKILL)
                if self.sandbox is not None and self.sandbox.gone:
                    self.sandbox.close()
                    self.start_sandbox()
        finally:
            self.kill_all()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        server = _Server(Configuration(**json.loads(sys.argv[1])))
        server.serve()
    except (WarmRefereeError, SandboxError) as error:
        print(f"LAST WORDS {error}", file=sys.stderr)
        sys.exit(3)


# --- how others use it ----------------------------------------------------------------------


class WarmReferee:
    """A handle on a warm referee's process. A context manager.

    ``submit`` never blocks for long; ``reports`` returns what is there. The process runs in a
    session of its own, so that Ctrl-C reaches only the program that the user sees.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.rest, self.said = b"", ""
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)

    def __enter__(self) -> WarmReferee:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment |= {"MKL_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONHASHSEED": "0"}
        environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "autograder.warm"),
                json.dumps(asdict(self.configuration)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
            start_new_session=True,
        )
        try:
            ready = self._lines(wait=True)
        except BaseException:
            self.close()
            raise
        if not ready or not ready[0].get("ready"):
            raise WarmRefereeError(self.last_words())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def reads(self) -> int:
        """A descriptor that becomes readable when there are reports, or the process ended."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def _lines(self, wait: bool) -> list[dict[str, Any]]:
        """Documents that arrived; an empty list when the process has ended."""
        lines: list[bytes] = []
        while not lines:
            data = os.read(self.reads, 2**16)
            if not data:
                return []
            *lines, self.rest = (self.rest + data).split(b"\n")
            if not wait:
                break
        return [json.loads(line) for line in lines]

    def submit(self, job: Job) -> None:
        """Raises :class:`WarmRefereeError` when the process has ended."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write((json.dumps(asdict(job)) + "\n").encode())
            self.process.stdin.flush()
        except OSError as error:
            raise WarmRefereeError("the warm referee has ended") from error

    def reports(self) -> list[Report]:
        """Waits for at least one. Raises :class:`WarmRefereeError` when the process has ended."""
        found = self._lines(wait=True)
        if not found:
            raise WarmRefereeError(self.last_words())
        return [Report(**document) for document in found]

    def last_words(self) -> str:
        """Why the process ended, in its own words where it had the time."""
        self.close()
        text = self.said
        if "LAST WORDS " in text:
            return text.rpartition("LAST WORDS ")[2]
        tail = text.splitlines()[-1:] or ["it said nothing"]
        return f"the warm referee ended (exit status {self.process.returncode}): {tail[0]}"

    def close(self) -> None:
        """End the process; it takes its children along."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if self.errors.closed:
            return
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.seek(0)
        self.said = self.errors.read().decode(errors="replace").strip()
        self.errors.close()


if __name__ == "__main__":
    main()
