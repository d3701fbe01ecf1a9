"""The ledger: what is to be graded, by whom, and what is done. One SQLite file per output folder.

Does: hold one row per submission (a student's attempt) with its content hash, state, lease, tries,
last error and the digest of its result; hand out leases that several processes never get twice;
survive kill -9 of any process at any moment; say clearly why it cannot be used.
Does not: grade, or hold submissions and results themselves (files beside it do, by content hash:
see ``runner.Store``).

The states of a row::

    waiting ──lease──> leased ──finish──> done
       ^                 │ └────give_up──> failed     (the grader's own fault: INTERNAL, KILLED)
       └──release, expiry┘        done, failed ──enrol with other content, or again──> waiting

SQLite runs with a write-ahead log and ``synchronous=FULL``: a state that was written is on disk.
Every change is one ``BEGIN IMMEDIATE`` transaction, so of two processes one waits for the other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SCHEMA", "Entry", "Job", "Ledger", "LedgerError", "RunLock", "content_key"]

SCHEMA = 1
APPLICATION_ID = 0x58475054  # "XGPT": tells our file from any other SQLite file
LEASE_SECONDS = 60.0  # a lease lives so long without a heartbeat
BUSY_SECONDS = 30.0  # how long one process waits for another's transaction

_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE work (
    number     INTEGER PRIMARY KEY,
    stage      TEXT NOT NULL,
    student    TEXT NOT NULL,
    attempt    INTEGER NOT NULL,           -- as intake counts them
    submission TEXT NOT NULL,              -- sha256 of the stored submission
    manifest   TEXT NOT NULL,              -- digest of the stage's manifest
    seed       INTEGER NOT NULL,
    key        TEXT NOT NULL,              -- hash of the three above: the same key, the same result
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'done', 'failed')),
    owner      TEXT,
    expires    REAL,
    heartbeat  REAL,
    tries      INTEGER NOT NULL DEFAULT 0, -- leases since it was last enrolled
    error      TEXT,
    verdict    TEXT,
    result     TEXT,                       -- digest of the result
    UNIQUE (stage, student, attempt)
);
CREATE INDEX work_by_state ON work (state, tries, number);
"""


class LedgerError(Exception):
    """The ledger cannot be used; the message names the file and the remedy."""


def content_key(submission: str, manifest: str, seed: int) -> str:
    """The hash of everything that decides a result."""
    text = json.dumps([submission, manifest, seed])
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A submission as it is enrolled. ``submission`` is the sha256 of its stored form."""

    stage: str
    student: str
    submission: str
    manifest: str
    seed: int
    attempt: int = 1

    @property
    def key(self) -> str:
        return content_key(self.submission, self.manifest, self.seed)


@dataclass(frozen=True)
class Job:
    """A row of the ledger."""

    number: int
    stage: str
    student: str
    attempt: int
    submission: str
    manifest: str
    seed: int
    key: str
    state: str
    owner: str | None
    expires: float | None
    heartbeat: float | None
    tries: int
    error: str | None
    verdict: str | None
    result: str | None


class RunLock:
    """Only one run at a time grades into a folder. The system frees the lock when a run dies."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> RunLock:
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115  (held until the end)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.seek(0)
            holder = self.file.read().strip() or "an unknown process"
            self.file.close()
            raise LedgerError(
                f"{self.path.parent.parent} is in use: {holder} is grading into it. Wait until it "
                "has ended, stop it with Ctrl-C, or choose another output folder"
            ) from error
        self.file.truncate(0)
        self.file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self.file.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self.file.truncate(0)
        self.file.close()


class Ledger:
    """The ledger of one output folder and one stage. A context manager.

    Raises :class:`LedgerError` when the file is damaged, of another version or of another stage.
    """

    def __init__(self, path: Path, stage: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.path, self.stage, self.lease_seconds = path, stage, lease_seconds
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self.db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self.db.row_factory = sqlite3.Row
            try:
                self._open()
            except BaseException:
                self.db.close()
                raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.db.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors in words that name the file and the remedy."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise LedgerError(
                    f"{self.path} is locked: another process has held it for {BUSY_SECONDS:g} s. "
                    "End that process, or choose another output folder"
                ) from error
            raise LedgerError(
                f"{self.path} cannot be used ({error}): check that the folder exists, is writable "
                "and not full, and that it is no network folder that SQLite cannot lock"
            ) from error
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{self.path} is damaged ({error}). {self._remedy}") from error

    @property
    def _remedy(self) -> str:
        return (
            "Move it away (with the files that end in -wal and -shm) and run again with --resume: "
            "finished results lie beside it and are taken over"
        )

    def _open(self) -> None:
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        found = self.db.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        with self._change():
            tables = self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not tables:
                for statement in _TABLES.split(";"):
                    self.db.execute(statement)
                self.db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self.db.execute(f"PRAGMA user_version = {SCHEMA}")
                self.db.execute("INSERT INTO about VALUES ('stage', ?)", (self.stage,))
        if self.db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise LedgerError(f"{self.path} is no ledger of this grader: choose another folder")
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA:
            raise LedgerError(
                f"{self.path} has schema {version}, this version reads {SCHEMA}: grade with the "
                "version that wrote it, or into another folder"
            )
        [stage] = self.db.execute("SELECT value FROM about WHERE name = 'stage'").fetchone()
        if stage != self.stage:
            raise LedgerError(
                f"{self.path} belongs to stage {stage}, not to {self.stage}: "
                "one output folder holds one stage; choose another folder"
            )

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction that nobody else can come between."""
        with self._explained():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    # --- enrolling ---------------------------------------------------------------------------

    def enrol(self, entries: Iterable[Entry], *, resume: bool) -> list[Job]:
        """Bring submissions in; returns their rows, one each.

        The same content again: with ``resume`` what is done stays done and everything else waits
        with its tries set back to none; without, it is graded again. Raises :class:`LedgerError`
        when ``resume`` meets rows of another manifest or seed: a mixture of two gradings helps
        nobody.
        """
        jobs = []
        with self._change():
            for entry in entries:
                row = self._find(entry)
                if row is None:
                    jobs.append(self._insert(entry))
                    continue
                if resume:
                    self._same_grading(row, entry)
                if not (resume and row.state == "done" and row.key == entry.key):
                    self._wait_again(row.number, entry)
                jobs.append(self._row(row.number))
        return jobs

    def _find(self, entry: Entry) -> Job | None:
        found = self.db.execute(
            "SELECT * FROM work WHERE stage = ? AND student = ? AND attempt = ?",
            (entry.stage, entry.student, entry.attempt),
        ).fetchone()
        return Job(**found) if found else None

    def _row(self, number: int) -> Job:
        return Job(**self.db.execute("SELECT * FROM work WHERE number = ?", (number,)).fetchone())

    def _same_grading(self, row: Job, entry: Entry) -> None:
        for name, old, new in (
            ("manifest", row.manifest, entry.manifest),
            ("seed", row.seed, entry.seed),
        ):
            if old != new:
                raise LedgerError(
                    f"{self.path}: {row.student} was graded with another {name} "
                    f"({str(old)[:12]}, now {str(new)[:12]}). Grade everything again without "
                    "--resume, or grade into another folder"
                )

    def _insert(self, entry: Entry) -> Job:
        found = self.db.execute(
            "INSERT INTO work (stage, student, attempt, submission, manifest, seed, key, state) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting') RETURNING *",
            (
                *(entry.stage, entry.student, entry.attempt, entry.submission, entry.manifest),
                *(entry.seed, entry.key),
            ),
        ).fetchone()
        return Job(**found)

    def _wait_again(self, number: int, entry: Entry) -> None:
        self.db.execute(
            "UPDATE work SET state = 'waiting', submission = ?, manifest = ?, seed = ?, key = ?, "
            "tries = 0, owner = NULL, expires = NULL, heartbeat = NULL, verdict = NULL, "
            "result = NULL, error = NULL WHERE number = ?",
            (entry.submission, entry.manifest, entry.seed, entry.key, number),
        )

    # --- leases ------------------------------------------------------------------------------

    def lease(self, owner: str, among: Iterable[int] | None = None) -> Job | None:
        """The next submission, now leased to ``owner``; ``None`` when none waits.

        ``among`` limits it to these rows. A lease that expired is handed out again; a try
        counts when the lease is given, so a worker that dies has used it.
        """
        now = time.time()
        numbers = None if among is None else json.dumps(list(among))
        with self._change():
            found = self.db.execute(
                "SELECT number FROM work WHERE "
                "(state = 'waiting' OR (state = 'leased' AND expires < :now)) AND "
                "(:numbers IS NULL OR number IN (SELECT value FROM json_each(:numbers))) "
                "ORDER BY tries, number LIMIT 1",
                {"now": now, "numbers": numbers},
            ).fetchone()
            if found is None:
                return None
            [number] = found
            self.db.execute(
                "UPDATE work SET state = 'leased', owner = ?, heartbeat = ?, expires = ?, "
                "tries = tries + 1 WHERE number = ?",
                (owner, now, now + self.lease_seconds, number),
            )
            return self._row(number)

    def beat(self, owner: str) -> int:
        """Keep the owner's leases alive; returns how many it holds."""
        now = time.time()
        with self._change():
            return self.db.execute(
                "UPDATE work SET heartbeat = ?, expires = ? WHERE state = 'leased' AND owner = ?",
                (now, now + self.lease_seconds, owner),
            ).rowcount

    def reclaim(self) -> int:
        """Free every lease. Only for who holds the :class:`RunLock`: the owners are dead."""
        with self._change():
            return self.db.execute(
                "UPDATE work SET state = 'waiting', owner = NULL, expires = NULL "
                "WHERE state = 'leased'"
            ).rowcount

    def _settle(self, job: Job, owner: str, assignments: str, values: tuple) -> bool:
        with self._change():
            changed = self.db.execute(
                f"UPDATE work SET {assignments}, owner = NULL, expires = NULL "
                "WHERE number = ? AND state = 'leased' AND owner = ?",
                (*values, job.number, owner),
            ).rowcount
        return changed == 1

    def finish(self, job: Job, owner: str, *, verdict: str, result: str) -> bool:
        """The submission is done. ``False`` when the lease was lost meanwhile (somebody else
        grades it again, with the same result: nothing is wrong)."""
        return self._settle(
            job, owner, "state = 'done', error = NULL, verdict = ?, result = ?", (verdict, result)
        )

    def give_up(self, job: Job, owner: str, *, verdict: str, result: str, error: str) -> bool:
        """The grader could not grade it. The batch goes on; ``--resume`` tries again."""
        return self._settle(
            job,
            owner,
            "state = 'failed', verdict = ?, result = ?, error = ?",
            (verdict, result, error),
        )

    def release(self, job: Job, owner: str, *, error: str | None, counts: bool = True) -> bool:
        """Back to waiting. ``counts=False`` gives the try back: it was not its fault."""
        return self._settle(
            job,
            owner,
            "state = 'waiting', error = ?, tries = max(0, tries - ?)",
            (error, 0 if counts else 1),
        )

    def reopen(self, job: Job) -> None:
        """Back to waiting although it was done: its result is lost."""
        with self._change():
            self.db.execute(
                "UPDATE work SET state = 'waiting', tries = 0, verdict = NULL, result = NULL, "
                "error = 'its result was lost' WHERE number = ?",
                (job.number,),
            )

    # --- looking -----------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """All rows, in order of enrolment."""
        with self._explained():
            rows = self.db.execute("SELECT * FROM work ORDER BY number").fetchall()
        return [Job(**row) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many rows are in each state."""
        states = [job.state for job in self.jobs()]
        return {name: states.count(name) for name in ("waiting", "leased", "done", "failed")}
