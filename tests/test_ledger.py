"""The ledger: every submission once, whatever dies; and errors that name file and remedy."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder import ledger as ledgers
from autograder.ledger import Entry, Ledger, LedgerError, RunLock, content_key

STAGE = "99_sample"


def entries(number: int, manifest: str = "m", seed: int = 1) -> list[Entry]:
    return [Entry(STAGE, f"s{k:02}", f"content-{k}", manifest, seed) for k in range(number)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".grader" / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path):
    with Ledger(path, STAGE) as opened:
        yield opened


def test_a_submission_goes_from_waiting_to_done(ledger: Ledger) -> None:
    [job] = ledger.enrol(entries(1), resume=False)
    assert (job.state, job.tries, job.owner) == ("waiting", 0, None)
    leased = ledger.lease("me")
    assert leased is not None and (leased.state, leased.tries, leased.owner) == ("leased", 1, "me")
    assert leased.expires > time.time() and leased.heartbeat <= time.time()
    assert ledger.lease("me") is None
    assert ledger.finish(leased, "me", verdict="AC", result="digest")
    [row] = ledger.jobs()
    assert (row.state, row.verdict, row.result, row.owner) == ("done", "AC", "digest", None)


def test_the_key_depends_on_everything_that_decides_a_result() -> None:
    keys = {content_key(s, m, n) for s in "ab" for m in "cd" for n in (1, 2)}
    assert len(keys) == 8


def test_resume_keeps_what_is_done_and_repeats_the_rest(ledger: Ledger) -> None:
    ledger.enrol(entries(4), resume=False)
    done, failed, leased = (ledger.lease("me") for _ in range(3))
    ledger.finish(done, "me", verdict="AC", result="d")
    ledger.give_up(failed, "me", verdict="INTERNAL", result="f", error="broke")
    ledger.release(leased, "me", error="died")
    jobs = ledger.enrol(entries(4), resume=True)
    assert [job.state for job in jobs] == ["done", "waiting", "waiting", "waiting"]
    assert [job.tries for job in jobs] == [1, 0, 0, 0]
    assert jobs[0].result == "d" and jobs[1].error is None


def test_without_resume_everything_is_graded_again(ledger: Ledger) -> None:
    ledger.enrol(entries(1), resume=False)
    ledger.finish(ledger.lease("me"), "me", verdict="AC", result="d")
    [job] = ledger.enrol(entries(1), resume=False)
    assert (job.state, job.result, job.tries) == ("waiting", None, 0)


def test_changed_content_is_graded_again_even_with_resume(ledger: Ledger) -> None:
    ledger.enrol(entries(2), resume=False)
    for _ in range(2):
        ledger.finish(ledger.lease("me"), "me", verdict="AC", result="d")
    changed = Entry(STAGE, "s00", "other content", "m", 1)
    jobs = ledger.enrol([changed, entries(2)[1]], resume=True)
    assert [job.state for job in jobs] == ["waiting", "done"]
    assert jobs[0].key == changed.key and jobs[0].result is None


def test_attempts_of_a_student_are_rows_of_their_own(ledger: Ledger) -> None:
    both = [Entry(STAGE, "ada", f"content-{n}", "m", 1, attempt=n) for n in (1, 2)]
    assert len(ledger.enrol(both, resume=False)) == 2
    assert {ledger.lease("me").attempt for _ in range(2)} == {1, 2}


@pytest.mark.parametrize(("name", "value"), [("manifest", "x"), ("seed", 2)])
def test_resume_refuses_a_mixture(ledger: Ledger, name: str, value: object) -> None:
    ledger.enrol(entries(1), resume=False)
    with pytest.raises(LedgerError, match=f"another {name}.*without --resume"):
        ledger.enrol(entries(1, **{name: value}), resume=True)
    assert ledger.jobs()[0].manifest == "m"


def test_fewer_tries_come_first_and_among_limits(ledger: Ledger) -> None:
    jobs = ledger.enrol(entries(3), resume=False)
    first = ledger.lease("me")
    ledger.release(first, "me", error="died")
    assert ledger.lease("me", among=[jobs[2].number]).student == "s02"
    assert ledger.lease("me").student == "s01"
    again = ledger.lease("me")
    assert (again.student, again.tries, again.error) == ("s00", 2, "died")


def test_a_release_can_give_the_try_back(ledger: Ledger) -> None:
    ledger.enrol(entries(1), resume=False)
    ledger.release(ledger.lease("me"), "me", error="stopped", counts=False)
    assert ledger.jobs()[0].tries == 0


def test_an_expired_lease_goes_to_somebody_else_and_the_first_owner_is_told(path: Path) -> None:
    with Ledger(path, STAGE, lease_seconds=0.05) as ledger:
        ledger.enrol(entries(1), resume=False)
        old = ledger.lease("slow")
        assert ledger.lease("quick") is None
        time.sleep(0.1)
        new = ledger.lease("quick")
        assert new is not None and new.tries == 2
        assert not ledger.finish(old, "slow", verdict="AC", result="late")
        assert ledger.finish(new, "quick", verdict="AC", result="d")
        assert ledger.jobs()[0].result == "d"


def test_a_heartbeat_keeps_a_lease(path: Path) -> None:
    with Ledger(path, STAGE, lease_seconds=0.3) as ledger:
        ledger.enrol(entries(1), resume=False)
        ledger.lease("me")
        for _ in range(4):
            time.sleep(0.1)
            assert ledger.beat("me") == 1
        assert ledger.lease("other") is None
        assert ledger.beat("other") == 0


WORKER = """
import json, sys
from pathlib import Path
from autograder.ledger import Ledger
owner, got = sys.argv[2], []
with Ledger(Path(sys.argv[1]), "99_sample") as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    while (job := ledger.lease(owner)) is not None:
        got.append(job.student)
        assert ledger.finish(job, owner, verdict="AC", result=owner)
print(json.dumps(got))
"""


def test_several_processes_never_get_the_same_submission(path: Path) -> None:
    with Ledger(path, STAGE) as ledger:
        ledger.enrol(entries(60), resume=False)
    command = [sys.executable, "-c", WORKER, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([*command, f"w{k}"], **pipes) for k in range(3)]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 3
    shares = [json.loads(worker.communicate("go\n", timeout=60)[0]) for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    assert sorted(sum(shares, [])) == [f"s{k:02}" for k in range(60)]
    with Ledger(path, STAGE) as ledger:
        assert ledger.counts() == {"waiting": 0, "leased": 0, "done": 60, "failed": 0}
        owners = {job.student: job.result for job in ledger.jobs()}
    for k, share in enumerate(shares):
        assert all(owners[student] == f"w{k}" for student in share)


VICTIM = """
import sys
from pathlib import Path
from autograder.ledger import Ledger
with Ledger(Path(sys.argv[1]), "99_sample") as ledger:
    for _ in range(2):
        ledger.finish(ledger.lease("victim"), "victim", verdict="AC", result="d")
    ledger.lease("victim")
    ledger.db.execute("BEGIN IMMEDIATE")
    ledger.db.execute("UPDATE work SET state = 'done'")
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_a_process_killed_inside_a_transaction_leaves_what_was_true_before(path: Path) -> None:
    with Ledger(path, STAGE) as ledger:
        ledger.enrol(entries(5), resume=False)
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert victim.stdout.readline() == "ready\n"
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    with Ledger(path, STAGE) as ledger:
        assert ledger.counts() == {"waiting": 2, "leased": 1, "done": 2, "failed": 0}
        assert ledger.reclaim() == 1
        assert ledger.counts()["waiting"] == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["lease", "finish", "release", "fail", "reclaim"]), max_size=30))
def test_nothing_is_lost_whatever_the_order(tmp_path_factory, steps: list[str]) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    held, done, failed = [], set(), set()
    with Ledger(path, STAGE) as ledger:
        ledger.enrol(entries(4), resume=False)
        for step in steps:
            if step == "lease":
                if job := ledger.lease("me"):
                    assert job.student not in done | failed
                    held.append(job)
            elif step == "reclaim":
                ledger.reclaim()
                held.clear()
            elif held:
                job = held.pop()
                if step == "finish":
                    assert ledger.finish(job, "me", verdict="AC", result=job.student)
                    done.add(job.student)
                elif step == "fail":
                    assert ledger.give_up(job, "me", verdict="KILLED", result="r", error="e")
                    failed.add(job.student)
                else:
                    assert ledger.release(job, "me", error="e")
        rows = {job.student: job for job in ledger.jobs()}
        states = {name: {s for s, j in rows.items() if j.state == name} for name in ledger.counts()}
        assert len(rows) == 4 and states["done"] == done and states["failed"] == failed
        assert states["leased"] == {job.student for job in held}
        assert all(rows[student].result == student for student in done)


# --- errors ---


def test_a_file_that_is_no_database_is_named_with_the_remedy(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("these are not the bytes you are looking for" * 100)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite is damaged.*--resume"):
        Ledger(path, STAGE)


def test_a_database_with_a_torn_page_is_noticed_when_it_is_opened(path: Path) -> None:
    with Ledger(path, STAGE) as ledger:
        ledger.enrol(entries(200), resume=False)
    data = bytearray(path.read_bytes())
    assert len(data) > 5 * 4096
    data[2 * 4096 : 4 * 4096] = os.urandom(2 * 4096)
    path.write_bytes(data)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite is damaged"):
        Ledger(path, STAGE)


def test_somebody_elses_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE notes (x)")
    with pytest.raises(LedgerError, match="no ledger of this grader"):
        Ledger(path, STAGE)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]


def test_another_schema_is_refused(path: Path) -> None:
    Ledger(path, STAGE).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 7")
    with pytest.raises(LedgerError, match="schema 7, this version reads 1"):
        Ledger(path, STAGE)


def test_another_stage_is_refused(path: Path) -> None:
    Ledger(path, STAGE).close()
    with pytest.raises(LedgerError, match="belongs to stage 99_sample, not to 03_xor"):
        Ledger(path, "03_xor")


def test_a_ledger_that_stays_locked_is_explained(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ledgers, "BUSY_SECONDS", 0.1)
    with Ledger(path, STAGE) as ledger, Ledger(path, STAGE) as other:
        other.db.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="is locked: another process"):
            ledger.enrol(entries(1), resume=False)
        other.db.execute("ROLLBACK")
        assert len(ledger.enrol(entries(1), resume=False)) == 1


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(tmp_path / "ledger.sqlite", STAGE)


HOLDER = """
import sys
from pathlib import Path
from autograder.ledger import RunLock
with RunLock(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_one_run_at_a_time_and_a_dead_one_does_not_count(tmp_path: Path) -> None:
    lock = tmp_path / "out" / ".grader" / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "ready\n"
    with (
        pytest.raises(LedgerError, match=f"out is in use: process {holder.pid} on "),
        RunLock(lock),
    ):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with RunLock(lock):
        pass
