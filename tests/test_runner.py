"""Grading a batch: equal digests however it is run, whatever dies; nobody survives.

Everything runs in real sandboxes, on a small stage that is warm in half a second.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from grading_kit import (
    ANSWERS,
    KINDS,
    PRELUDE,
    Family,
    Trial,
    digests,
    kill_trial,
    prepare,
    results,
    role,
    small_manifest,
    some_submissions,
    start,
    submission,
)

from autograder import runner, warm
from autograder import sandbox as sandboxes
from autograder.ledger import Ledger, LedgerError
from autograder.model import Flag, Result, Submission, Verdict
from autograder.runner import RunError, Store, run, submission_seed

pytestmark = pytest.mark.xdist_group("runner")
MANIFEST = small_manifest()
KILLS = 10


@pytest.fixture(scope="module", autouse=True)
def _bwrap(need_program):
    if sys.platform != "linux":
        pytest.skip("bubblewrap needs Linux")
    need_program("bwrap", why="submissions run behind bubblewrap")


def grade(out: Path, submissions: list[Submission], **options) -> runner.Summary:
    return run(MANIFEST, submissions, out, **{"progress": False, "seed": 5} | options)


@pytest.fixture(scope="module")
def twelve(tmp_path_factory) -> tuple[list[Submission], Path, runner.Summary]:
    """Submissions of every kind, graded without any disturbance by one worker."""
    out = tmp_path_factory.mktemp("undisturbed")
    submissions = some_submissions(12)
    return submissions, out, grade(out, submissions)


def test_every_kind_gets_its_points(twelve) -> None:
    _, out, summary = twelve
    assert summary.complete and (summary.total, summary.failed) == (12, 0)
    points = {name.split("-")[1]: r.points for name, r in results(out).items()}
    assert points == {
        "right": 4, "wrong": 2, "stub": 0, "raises": 3,
        "slow": 3, "exits": 3, "syntax": 3, "warns": 4,
    }  # fmt: skip
    assert summary.verdicts == {"AC": 3, "PARTIAL": 7, "RE": 2}
    result = results(out)["s04-slow"]
    assert [c.verdict for c in result.checks if c.points == 0] == [Verdict.TLE]
    assert [(q.id, q.max_points, q.points) for q in result.manual] == [("why", 2.0, None)]
    assert result.cpu_seconds > 0 and result.peak_memory_mb > 1


def test_nothing_of_one_submission_reaches_the_next(twelve) -> None:
    """The check ``drawn`` marks the prelude's list, and draws from a global generator."""
    _, out, _ = twelve
    kinds = ("right", "warns", "slow", "exits")
    drawn = [r.checks[3] for n, r in results(out).items() if n.split("-")[1] in kinds]
    assert len(drawn) == 5 and {check.verdict for check in drawn} == {Verdict.AC}


def test_two_workers_and_a_second_run_give_equal_digests(twelve, tmp_path: Path) -> None:
    submissions, out, _ = twelve
    for name in ("first", "second"):
        grade(tmp_path / name, submissions[::-1], workers=2)
        assert digests(tmp_path / name) == digests(out)


def test_a_message_with_an_address_in_it_does_not_change_the_digest(tmp_path: Path) -> None:
    ada = submission("ada", double="def double(x):\n    raise ValueError(object())")
    for name in ("first", "second"):
        grade(tmp_path / name, [ada])
    assert "<object object at 0x…>" in results(tmp_path / "first")["ada"].checks[0].message
    assert digests(tmp_path / "first") == digests(tmp_path / "second")


def test_the_seed_is_of_the_run_and_of_the_student(twelve, tmp_path: Path) -> None:
    submissions, out, _ = twelve
    assert len({r.seed for r in results(out).values()}) == 12
    grade(tmp_path, submissions[:1], seed=6)
    [name] = digests(tmp_path)
    assert results(tmp_path)[name].seed == submission_seed(6, name) != submission_seed(5, name)
    assert digests(tmp_path)[name] != digests(out)[name]


def test_resume_does_only_what_is_left(tmp_path: Path) -> None:
    submissions = some_submissions(6)
    grade(tmp_path, submissions[:4])
    times = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "results").iterdir()}
    summary = grade(tmp_path, submissions, resume=True)
    assert (summary.kept, summary.done) == (4, 6)
    again = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "results").iterdir()}
    assert {n: again[n] for n in times} == times and len(again) == 6


def test_a_finished_run_resumes_without_starting_anything(twelve, monkeypatch) -> None:
    submissions, out, _ = twelve
    monkeypatch.setattr(runner, "_backend", lambda *_: pytest.fail("started a backend"))
    assert grade(out, submissions, resume=True).kept == 12


def test_a_lost_result_is_made_again(tmp_path: Path) -> None:
    submissions = some_submissions(2)
    grade(tmp_path, submissions)
    before = digests(tmp_path)
    store = Store(tmp_path)
    store.published("s00-right").unlink()  # the copy under its key is still there
    assert grade(tmp_path, submissions, resume=True).kept == 2
    assert digests(tmp_path) == before
    for path in (store.published("s00-right"), *(tmp_path / ".grader/results").iterdir()):
        path.write_text(path.read_text().replace('"points"', '"pionts"'))
    assert grade(tmp_path, submissions, resume=True).kept == 1
    assert digests(tmp_path) == before


def test_a_damaged_ledger_costs_nothing_but_a_look(tmp_path: Path) -> None:
    submissions = some_submissions(3)
    grade(tmp_path, submissions)
    before, ledger = digests(tmp_path), tmp_path / ".grader" / "ledger.sqlite"
    ledger.write_bytes(b"gone" * 1000)
    with pytest.raises(LedgerError, match="Move it away"):
        grade(tmp_path, submissions, resume=True)
    ledger.unlink()
    made = {p.name: p.stat().st_mtime_ns for p in (tmp_path / ".grader/results").iterdir()}
    assert grade(tmp_path, submissions, resume=True).complete
    assert digests(tmp_path) == before
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / ".grader/results").iterdir()} == made


def test_one_student_can_be_graded_alone(tmp_path: Path) -> None:
    submissions = some_submissions(3)
    summary = grade(tmp_path, submissions, student="s01-wrong")
    assert summary.total == 1 and list(digests(tmp_path)) == ["s01-wrong"]
    with pytest.raises(RunError, match="no submission of 'nobody'"):
        grade(tmp_path, submissions, student="nobody")


def test_of_several_attempts_the_best_is_published(tmp_path: Path) -> None:
    kinds = ("stub", "right", "wrong")
    attempts = [
        replace(submission("ada", **KINDS[kind]), attempt=n) for n, kind in enumerate(kinds, 1)
    ]
    for order in (attempts, attempts[::-1]):
        summary = grade(tmp_path, order)
        assert (summary.total, summary.done) == (3, 3)
        assert results(tmp_path)["ada"].points == 4
    (tmp_path / "results" / "ada.json").unlink()
    assert grade(tmp_path, attempts, resume=True).kept == 3
    assert results(tmp_path)["ada"].points == 4


def test_unreadable_submissions_are_results_too(tmp_path: Path) -> None:
    sentence = "The file is empty: upload the notebook again."
    bad = Submission("bob", MANIFEST.stage, "0" * 64, problem=sentence, flags=[Flag.LATE])
    summary = grade(tmp_path, [bad, submission("ada")])
    assert summary.verdicts == {"INVALID": 1, "AC": 1}
    result = results(tmp_path)["bob"]
    assert {c.message for c in result.checks} == {sentence} and result.flags == [Flag.LATE]


def test_results_of_others_are_left_and_named(tmp_path: Path) -> None:
    grade(tmp_path, [submission("ada")])
    summary = grade(tmp_path, [submission("bob")])
    assert summary.stale == ["ada"] and "1 older results" in summary.text()
    assert set(digests(tmp_path)) == {"ada", "bob"}


# --- what refuses to start ---


def test_without_bubblewrap_it_refuses_and_says_what_none_gives_up(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(sandboxes.shutil, "which", lambda name: None)
    with pytest.raises(RunError) as caught:
        grade(tmp_path / "out", [submission("ada")])
    text = str(caught.value)
    assert "apt-get install bubblewrap" in text and "--sandbox=none" in text
    assert "your files" in text and "network" in text
    assert not (tmp_path / "out").exists()


def test_sandbox_none_grades_without_one(tmp_path: Path, monkeypatch, twelve) -> None:
    monkeypatch.setattr(sandboxes.shutil, "which", lambda name: None)
    grade(tmp_path, [submission("s00-right")], sandbox="none")
    assert digests(tmp_path)["s00-right"] == digests(twelve[1])["s00-right"]


@pytest.mark.parametrize(
    ("submissions", "options", "text"),
    [
        ([submission("../x")], {}, "'../x' is no student id"),
        ([submission("ada", stage="01_lines")], {}, "is for 01_lines, not for 99_sample"),
        ([submission("ada"), submission("Ada")], {}, "more than one submission of ada"),
        ([submission("ada")], {"workers": 0}, "--workers 0"),
        ([submission("ada")], {"sandbox": "docker"}, "unknown sandbox 'docker'"),
    ],
    ids=["id", "stage", "twice", "workers", "sandbox"],
)
def test_what_makes_no_sense_is_refused(tmp_path, submissions, options, text) -> None:
    with pytest.raises(RunError, match=text.replace(".", r"\.")):
        grade(tmp_path / "out", submissions, **options)
    assert not (tmp_path / "out").exists()


def test_a_prelude_that_fails_is_named(tmp_path: Path) -> None:
    broken = replace(MANIFEST, prelude=["import nothing_of_this_name"])
    with pytest.raises(RunError, match="No module named 'nothing_of_this_name'"):
        run(broken, [submission("ada")], tmp_path, progress=False)


def test_an_empty_batch_is_no_error(tmp_path: Path) -> None:
    assert grade(tmp_path, []).complete


# --- the grader's own faults ---


class Faulty:
    """A backend whose grader dies with some submissions."""

    capacity = 1

    def __init__(self, dies: dict[str, int], cause: str = "died") -> None:
        self.dies, self.cause, self.jobs = dies, cause, []
        self.seen: dict[str, int] = {}

    def submit(self, job: warm.Job) -> None:
        self.jobs.append(job)

    def wait(self, seconds: float) -> list[warm.Report]:
        job = self.jobs.pop()
        graded = Submission.from_json(Path(job.submission).read_text())
        self.seen[graded.student] = self.seen.get(graded.student, 0) + 1
        if self.seen[graded.student] <= self.dies.get(graded.student, 0):
            return [warm.Report(job.job, False, cause=self.cause, error="it was killed")]
        checks = [warm_check(c) for c in MANIFEST.checks]
        result = Result(
            graded.student, MANIFEST.stage, Verdict.AC, 4.0, 4.0, checks, [], [],
            graded.sha256, MANIFEST.digest, job.seed,
        )  # fmt: skip
        warm.write_result(Path(job.result), result)
        return [warm.Report(job.job, True, digest=result.digest, verdict="AC")]

    def close(self) -> None:
        pass


def warm_check(check):
    from autograder.model import CheckResult

    return CheckResult(check.id, Verdict.AC, check.points, check.points)


@pytest.mark.parametrize(("cause", "verdict"), [("died", "INTERNAL"), ("outside", "KILLED")])
def test_a_submission_that_always_kills_its_grader_is_given_up(
    tmp_path: Path, monkeypatch, cause: str, verdict: str
) -> None:
    students = [submission(name) for name in ("ada", "bob", "cyd")]
    faulty = Faulty({"ada": 2, "bob": 99}, cause)
    monkeypatch.setattr(runner, "_backend", lambda *_: faulty)
    summary = grade(tmp_path, students)
    assert faulty.seen == {"ada": 3, "bob": 3, "cyd": 1}
    assert (summary.done, summary.failed) == (2, 1) and not summary.complete
    bob = results(tmp_path)["bob"]
    assert bob.verdict == verdict and bob.points == 0
    assert bob.notes == ["given up after 3 tries: it was killed"]
    assert "bob: given up after 3 tries" in summary.text() and "--resume" in summary.text()

    healthy = Faulty({})
    monkeypatch.setattr(runner, "_backend", lambda *_: healthy)
    assert grade(tmp_path, students, resume=True).complete
    assert healthy.seen == {"bob": 1} and results(tmp_path)["bob"].verdict == "AC"


def test_an_internal_fault_is_graded_again(tmp_path: Path) -> None:
    """The engine answers INTERNAL when the grader itself fails; resume must not keep that."""
    prelude = f"import os\nassert os.getcwd() != '/tmp/home', 'in the sandbox'\n{PRELUDE}"
    broken = replace(MANIFEST, prelude=[prelude])
    for resume in (False, True):
        summary = run(broken, [submission("ada")], tmp_path, progress=False, resume=resume)
        assert (summary.failed, summary.done, summary.kept) == (1, 0, 0)
        assert results(tmp_path)["ada"].verdict is Verdict.INTERNAL
    with Ledger(Store(tmp_path).ledger, broken.stage) as ledger:
        assert [(job.state, job.tries) for job in ledger.jobs()] == [("failed", 1)]


# --- stopping and killing ---


@pytest.fixture
def prepared(twelve, tmp_path: Path) -> Path:
    return prepare(tmp_path / "input", MANIFEST, twelve[0])


def wait_for(out: Path, number: int, process) -> None:
    while process.poll() is None and len(list((out / "results").glob("*.json"))) < number:
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_cleanly_and_says_how_to_go_on(
    prepared: Path, twelve, tmp_path: Path, number: int
) -> None:
    out = tmp_path / "out"
    process = start(prepared, out, seed=5)
    family = Family(process.pid)
    wait_for(out, 3, process)
    os.kill(process.pid, number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    summary = json.loads(output)
    assert summary["interrupted"] and 3 <= summary["done"] < 12 and summary["failed"] == 0
    assert not family.survivors()
    with Ledger(Store(out).ledger, MANIFEST.stage) as ledger:
        counts = ledger.counts()
    assert counts["leased"] == 0 and counts["done"] == summary["done"]
    text = runner.Summary(**{k: v for k, v in summary.items() if k != "complete"}).text()
    assert "Stopped. Go on with the same command and --resume." in text
    summary = grade(out, twelve[0], resume=True)
    assert summary.complete and digests(out) == digests(twelve[1])


@pytest.mark.parametrize(
    "victim", ["main", "warm referee", "grader", "bwrap", "zygote", "sandbox child"]
)
def test_each_kind_of_process_can_be_killed(
    prepared: Path, twelve, tmp_path: Path, victim: str
) -> None:
    """A run goes on by itself when anything but its main process dies."""
    out = tmp_path / "out"
    process = start(prepared, out, seed=5, workers=2)
    family = Family(process.pid)
    wait_for(out, 2, process)
    killed = False
    while not killed and process.poll() is None:
        for member in family.members():
            try:
                if role(member, process.pid) == victim:
                    member.kill()
                    killed = True
                    break
            except psutil.Error:
                continue
    output, errors = process.communicate(timeout=60)
    assert killed and not family.survivors()
    if victim == "main":
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 0, errors
        assert json.loads(output)["complete"]
        assert digests(out) == digests(twelve[1])
    summary = grade(out, twelve[0], resume=True)
    # The second result may be written but not yet noted in the ledger: then it is made again.
    assert summary.complete and summary.kept >= 1 and digests(out) == digests(twelve[1])


def test_ten_random_kills_resume_to_equal_digests(prepared: Path, twelve, tmp_path: Path) -> None:
    chance, expected = random.Random(7), digests(twelve[1])
    trials: list[Trial] = [
        kill_trial(prepared, tmp_path / f"out-{k}", expected, chance, seed=5, workers=2)
        for k in range(KILLS)
    ]
    assert sum(trial.killed is not None for trial in trials) >= KILLS - 3, trials
    assert all(trial.equal for trial in trials), trials
    assert not any(trial.survivors for trial in trials), trials
    assert all(trial.ended_by_itself for trial in trials if trial.killed != "main"), trials


def test_a_second_run_into_the_same_folder_is_refused(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(prepared, out, seed=5)
    wait_for(out, 1, process)
    with pytest.raises(LedgerError, match=f"in use: process {process.pid}"):
        grade(out, [submission("ada")])
    process.communicate(timeout=60)
    assert process.returncode == 0


# --- the warm referee ---


def test_locked_modules_are_not_warmed() -> None:
    prelude = "import numpy as np\nfrom xor2gpt import checking\nfrom xor2gpt.autograd import Value"
    manifest = replace(MANIFEST, prelude=[prelude], blocked_modules=["xor2gpt.autograd"])
    importlib.import_module("xor2gpt.checking")  # as running the prelude does
    names = warm.modules_to_warm(manifest)
    assert {"numpy", "xor2gpt", "xor2gpt.checking"} <= set(names)
    assert not any(name.startswith("xor2gpt.autograd") for name in names)


def test_a_changed_submission_file_is_not_graded(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(submission("ada").to_json())
    with pytest.raises(ValueError, match=r"s\.json was changed"):
        warm.read_submission(path, "0" * 64)


def test_a_grader_leaves_nothing_in_the_warm_referee(tmp_path: Path) -> None:
    """Forty submissions: processes, descriptors and memory of the warm referee stay as they are."""
    store = Store(tmp_path)
    path = store.put_manifest(MANIFEST)
    sha256 = store.put_submission(submission("ada", **ANSWERS))
    file = str(store.submission(sha256))
    seen = []
    with warm.WarmReferee(warm.Configuration(str(path), MANIFEST.digest)) as referee:
        process = psutil.Process(referee.process.pid)
        for k in range(40):
            referee.submit(warm.Job(k, file, sha256, str(tmp_path / f"{k}.json"), 5))
            [report] = referee.reports()
            assert report.ok, report
            if k in (9, 39):
                time.sleep(0.3)
                children = len(process.children(recursive=True))
                seen.append((process.num_fds(), children, process.memory_info().rss / 2**20))
    (files, children, memory), (files_after, children_after, memory_after) = seen
    assert files_after == files and children_after <= children + 1
    assert memory_after < memory + 5
