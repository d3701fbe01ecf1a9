"""What the tests and the soak of batch grading share: a small stage, its submissions, and chaos.

Does: give a manifest that warms up in half a second and submissions of many kinds; run a grading in
a process of its own; kill a random process of it; tell who survived.
Does not: know what a right result is (the tests compare with an undisturbed run).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from autograder.manifest import Check, Manifest, ManualQuestion, StudentCell, TimeLimits
from autograder.model import Result, Submission, SubmittedCell

ROOT = Path(__file__).resolve().parents[1]
PRELUDE = """
import numpy as np
from xor2gpt import checking

GRADING_SEED = 1
SEEN = []  # a check below leaves something here; the next submission must not see it


def slope_at(function, x):
    return float((function(x + 1e-6) - function(x - 1e-6)) / 2e-6)
"""
CHECKS = {
    "double": """
x = np.random.default_rng(GRADING_SEED).normal(size=3)
assert checking.close(double(x.copy()), 2 * x, atol=1e-9), "twice the input"
""",
    "apply": "assert apply(lambda v: v + 1, 3) == 5, 'apply the function twice'",
    "slope": "assert checking.close(slope_at(square, 3.0), 6.0, atol=1e-4), 'the slope is off'",
    "drawn": """
assert not SEEN, "another submission was here"
SEEN.append(1)
x = np.random.normal(size=2)
assert checking.close(double(x.copy()), 2 * x, atol=1e-9), f"wrong on {int(1e6 * x[0])}"
""",
}
ANSWERS = {
    "double": "def double(x):\n    return 2 * x",
    "apply": "def apply(f, x):\n    return f(f(x))",
    "slope": "def square(x):\n    return x * x",
}
EXPORTS = {"double": ["double"], "apply": ["apply"], "slope": ["square"]}
KINDS = {
    "right": {},
    "wrong": {"double": "def double(x):\n    return x"},
    "stub": dict.fromkeys(ANSWERS, "raise NotImplementedError"),
    "raises": {"apply": "def apply(f, x):\n    return 1 / 0"},
    "slow": {"slope": "def square(x):\n    while True: pass"},
    "exits": {"slope": "import os\nos._exit(0)"},
    "syntax": {"apply": "def apply(:"},
    "warns": {"double": "import warnings\nwarnings.warn('hm')\ndef double(x):\n    return x + x"},
}


def small_manifest(stage: str = "99_sample", call_seconds: float = 0.3) -> Manifest:
    """Three exercises, four checks, one manual question."""
    checks = [
        Check(f"{name}-check-1", "double" if name == "drawn" else name, 1.0, source, source)
        for name, source in CHECKS.items()
    ]
    return Manifest(
        stage=stage,
        prelude=[PRELUDE],
        cells=[StudentCell(name, "raise NotImplementedError", name) for name in ANSWERS],
        exports=EXPORTS,
        checks=checks,
        manual=[ManualQuestion("why", 2.0)],
        blocked_modules=[],
        demo_cells=[],
        limits=TimeLimits(cell_seconds=2.0, call_seconds=call_seconds, check_seconds=3.0),
    )


def submission(student: str, stage: str = "99_sample", **answers: str) -> Submission:
    cells = [SubmittedCell(name, source) for name, source in (ANSWERS | answers).items()]
    return Submission(student, stage, "0" * 64, cells, answers={"why": "Because."})


def some_submissions(number: int, kinds: tuple[str, ...] = tuple(KINDS)) -> list[Submission]:
    """``s00-right, s01-wrong, …``"""
    names = [kinds[k % len(kinds)] for k in range(number)]
    return [submission(f"s{k:02}-{name}", **KINDS[name]) for k, name in enumerate(names)]


def digests(out: Path) -> dict[str, str]:
    """Digest by student, of every published result; a damaged file raises."""
    files = sorted((out / "results").glob("*.json"))
    return {f.stem: Result.from_json(f.read_text(encoding="utf-8")).digest for f in files}


def results(out: Path) -> dict[str, Result]:
    files = sorted((out / "results").glob("*.json"))
    return {f.stem: Result.from_json(f.read_text(encoding="utf-8")) for f in files}


# --- a grading in a process of its own --------------------------------------------------------

SCRIPT = """
import json, sys
from pathlib import Path
from autograder.manifest import Manifest
from autograder.model import Submission
from autograder.runner import run

folder, out, options = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
manifest = Manifest.from_json((folder / "manifest.json").read_text())
texts = json.loads((folder / "submissions.json").read_text())
summary = run(manifest, [Submission.from_json(t) for t in texts], out, progress=False, **options)
print(json.dumps(summary.to_dict()))
"""


def prepare(folder: Path, manifest: Manifest, submissions: list[Submission]) -> Path:
    """Write what :func:`start` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(manifest.to_json())
    (folder / "submissions.json").write_text(json.dumps([s.to_json() for s in submissions]))
    return folder


def start(
    folder: Path, out: Path, *, tmp: Path | None = None, **options: object
) -> subprocess.Popen:
    """Begin a grading; its summary comes on standard output. ``tmp`` is for temporary files."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if tmp is not None:
        tmp.mkdir(exist_ok=True)
        environment["TMPDIR"] = str(tmp)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(out), json.dumps(options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def role(process: psutil.Process, main: int) -> str:
    """What a process of a grading is there for."""
    if process.pid == main:
        return "main"
    line = " ".join(process.cmdline())
    parent = process.parent()
    above = " ".join(parent.cmdline()) if parent else ""
    if line.startswith("bwrap"):
        return "bwrap"
    if "autograder.zygote" in line:
        return "zygote" if above.startswith("bwrap") else "sandbox child"
    if "autograder.warm" in line:
        return "grader" if "autograder.warm" in above else "warm referee"
    return "other"


@dataclass
class Family:
    """Remembers every process that a grading ever had."""

    main: int
    seen: dict[tuple[int, float], psutil.Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            self.members()

    def members(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self.main)
            found = [root, *root.children(recursive=True)]
            for process in found:
                with contextlib.suppress(psutil.Error):
                    self.seen[process.pid, process.create_time()] = process
            return found
        return []

    def survivors(self, seconds: float = 10.0) -> list[psutil.Process]:
        """Members that are still there after at most ``seconds``."""
        self._stop.set()
        self._thread.join()
        end = time.monotonic() + seconds
        while True:
            alive = [p for p in self.seen.values() if _alive(p)]
            if not alive or time.monotonic() > end:
                return alive
            time.sleep(0.05)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_one(family: Family, chance: random.Random) -> str | None:
    """kill -9 a random process; first a role is drawn, then who has it. Returns the role."""
    by_role: dict[str, list[psutil.Process]] = {}
    for process in family.members():
        with contextlib.suppress(psutil.Error):
            by_role.setdefault(role(process, family.main), []).append(process)
    by_role.pop("other", None)
    if not by_role:
        return None
    chosen = chance.choice(sorted(by_role))
    with contextlib.suppress(psutil.Error):
        chance.choice(by_role[chosen]).kill()
        return chosen
    return None


@dataclass(frozen=True)
class Trial:
    """One kill: who, after how many results, and what became of it."""

    killed: str | None
    after: int
    ended_by_itself: bool
    kept: int
    equal: bool
    survivors: int
    seconds: float


def kill_trial(
    folder: Path, out: Path, expected: dict[str, str], chance: random.Random, **options: object
) -> Trial:
    """Start a grading, kill one of its processes at a random moment, resume, and compare."""
    began = time.monotonic()
    process = start(folder, out, **options)
    family = Family(process.pid)
    after = chance.randrange(len(expected))
    while process.poll() is None and len(list((out / "results").glob("*.json"))) < after:
        time.sleep(0.002)
    time.sleep(chance.random() * 0.1)
    killed = kill_one(family, chance)
    process.communicate(timeout=120)
    survivors = family.survivors()
    by_itself = process.returncode == 0 and digests(out) == expected
    again = start(folder, out, **{**options, "resume": True})
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors[-2000:]
    return Trial(
        killed=killed,
        after=after,
        ended_by_itself=by_itself,
        kept=json.loads(output)["kept"],
        equal=digests(out) == expected,
        survivors=len(survivors),
        seconds=round(time.monotonic() - began, 2),
    )


def with_stage(manifest: Manifest, stage: str) -> Manifest:
    return replace(manifest, stage=stage)
