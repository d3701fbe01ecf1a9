"""Every bad submission, graded for real between two honest ones. Needs bubblewrap (Linux).

After each entry of ``tests/submissions`` the standing assertions hold: the honest students get
exactly their points, no canary of hidden tests or answers was sent to a student's process or stands
in a result, nobody survives, nothing is left in a temporary folder, and the grader did not raise.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from corpus_kit import CANARIES, HONEST, entries, make_download, manifest

from autograder import sandbox
from autograder.engine import grade
from autograder.intake import collect
from autograder.model import Flag, Result, Submission, SubmittedCell, Verdict
from autograder.referee import Referee

pytestmark = pytest.mark.xdist_group("corpus")
CAGE = sandbox.Cage(
    file_mb=8, processes=24, tmp_mb=16, memory_mb=300, tree_cpu_seconds=6.0, cpu_seconds=8
)
MANIFEST = manifest()
SEED = 20_260_101
MARK = "corpus-"  # what entries call the files that they try to leave behind


class Recorded:
    """Opens lines of the sandbox and keeps what goes through them."""

    def __init__(self, warm: sandbox.Sandbox) -> None:
        self.warm, self.sent, self.received = warm, bytearray(), 0
        self.lines: list[sandbox.SandboxLine] = []

    def __call__(self) -> sandbox.SandboxLine:
        line = self.warm.open()
        read, write = line.read, line.write

        def reading(size: int, deadline: float) -> bytes:
            data = read(size, deadline)
            self.received += len(data)
            return data

        def writing(data: bytes, deadline: float) -> None:
            self.sent += data
            write(data, deadline)

        line.read, line.write = reading, writing  # type: ignore[method-assign]
        self.lines.append(line)
        return line


@pytest.fixture(scope="module")
def warm(need_program: Any) -> Iterator[sandbox.Sandbox]:
    if sys.platform != "linux":
        pytest.skip("bubblewrap needs Linux")
    need_program("bwrap", why="submissions run behind bubblewrap")
    with sandbox.Sandbox(CAGE) as running:
        running.use_slots(range(700, 800))  # users of our own: other tests run at the same time
        yield running


@pytest.fixture(scope="module")
def referee() -> Referee:
    return Referee(MANIFEST)


def points(result: Result, exercise: str) -> float:
    return sum(check.points for check in result.checks if check.id.startswith(exercise))


def verdicts(result: Result, exercise: str) -> set[Verdict]:
    return {check.verdict for check in result.checks if check.id.startswith(exercise)}


def living(warm: sandbox.Sandbox) -> set[int]:
    """Processes behind the sandbox's process that are no zombies."""
    found = set()
    for process in psutil.Process(warm.process.pid).children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def settled(warm: sandbox.Sandbox, before: set[int]) -> set[int]:
    """Who is left of those that came after ``before``; helpers get a moment to end."""
    end = time.monotonic() + 3
    while (left := living(warm) - before) and time.monotonic() < end:
        time.sleep(0.01)
    return left


def left_behind() -> list[str]:
    """Files that an entry, or a user of the sandbox, put into this machine's folders."""
    found = []
    for folder in ("/tmp", "/dev/shm"):
        for item in os.scandir(folder):
            try:
                foreign = sandbox_user(item.stat(follow_symlinks=False).st_uid)
            except OSError:
                continue
            if foreign or item.name.startswith(MARK):
                found.append(item.path)
    return found


def sandbox_user(uid: int) -> bool:
    return 61700 <= uid < 61800


def collect_options(expect: dict[str, Any]) -> dict[str, Any]:
    options = dict(expect.get("collect", {}))
    if "due" in options:
        options["due"] = datetime.fromisoformat(options["due"])
    return options


@pytest.mark.parametrize("entry", entries(), ids=lambda path: path.name)
def test_entry(entry: Path, warm: sandbox.Sandbox, referee: Referee, tmp_path: Path) -> None:
    expect = yaml.safe_load((entry / "expect.yml").read_text(encoding="utf-8"))
    student = expect.get("student", "mallory")
    before, descriptors = living(warm), psutil.Process().num_fds()
    download = make_download(entry, tmp_path / "download")

    submissions = collect(download, MANIFEST, **collect_options(expect))
    assert {s.student for s in submissions} == {"alice", student, "zoe"}, submissions
    order = {"alice": 0, student: 1, "zoe": 2}
    results: dict[str, Result] = {}
    line = Recorded(warm)
    for submission in sorted(submissions, key=lambda s: order[s.student]):
        start = time.monotonic()
        own = Recorded(warm) if submission.student == student else line
        result = grade(MANIFEST, submission, own, seed=SEED, referee=referee)
        results[submission.student] = result
        if submission.student == student:
            wall, bad = time.monotonic() - start, own
        if submission.student == student and expect.get("repeat"):
            again = grade(MANIFEST, submission, own, seed=SEED, referee=referee)
            assert again.digest == result.digest
    result = results[student]

    # what the entry says
    told = [(c.id, c.verdict.value, c.message) for c in result.checks]
    assert points(result, "q1") == expect["points_q1"], told
    assert points(result, "q2") == expect["points_q2"], told
    assert result.verdict == expect["verdict"], told
    for exercise in ("q1", "q2"):
        if wanted := expect.get(f"verdict_{exercise}"):
            assert verdicts(result, exercise) == {wanted}, told
    assert [flag.value for flag in result.flags] == expect["flags"], result.notes
    if says := expect.get("says"):
        assert says in result.checks[0].message, told
    assert wall <= expect["wall_s_max"]
    assert result.peak_memory_mb <= expect["rss_mb_max"]
    assert bad.received <= expect["bytes_out_max"]
    assert all(len(check.message) <= 2000 for check in result.checks)

    # the honest students before and after
    allowed = [Flag.LATE] if expect.get("others_late") else []
    for name in ("alice", "zoe"):
        honest = results[name]
        assert (honest.verdict, honest.points) == (Verdict.AC, 3.0), (name, honest)
        flags = [Flag(f) for f in expect.get("alice_too", [])] if name == "alice" else []
        assert honest.flags == allowed + flags
    answers = {s.student: s.answers for s in submissions}
    assert answers["alice"] == answers["zoe"] == {"why": HONEST["why-answer"]}

    # nothing secret left this process, nothing of the sandbox is left
    for canary in CANARIES:
        assert canary.encode() not in bytes(line.sent) + bytes(bad.sent)
        assert all(canary not in result.to_json() for result in results.values())
    assert settled(warm, before) == set()
    assert psutil.Process().num_fds() == descriptors
    assert left_behind() == []


def test_a_submission_cannot_take_the_grader_for_hours(warm: sandbox.Sandbox) -> None:
    """Each cell keeps its own limit, and every dead process means that all others run again."""
    limits = replace(MANIFEST.limits, cell_seconds=1.0, submission_seconds=3.0)
    slow = [SubmittedCell(f"extra-{n}", "import time\ntime.sleep(0.8)") for n in range(20)]
    cells = [*slow, SubmittedCell("q1", HONEST["q1"]), SubmittedCell("q2", "while True: pass")]
    submission = Submission("mallory", MANIFEST.stage, "0" * 64, cells)
    start = time.monotonic()
    result = grade(replace(MANIFEST, limits=limits), submission, warm.open, seed=SEED)
    assert time.monotonic() - start < 8
    assert (result.verdict, result.points) == (Verdict.TLE, 0.0)
    assert "the whole submission took too long" in result.checks[0].message


def test_the_corpus_covers_the_rows_that_its_readme_lists() -> None:
    text = (Path(__file__).parent / "submissions" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"`([a-e]\d+-[a-z0-9-]+)`", text)
    assert sorted(listed) == [entry.name for entry in entries()]
