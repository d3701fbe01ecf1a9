"""``make test``: every check of the course, run side by side.

Does: run ruff, the test suite and nbval over ``solutions/`` as separate processes, two at a time,
show each one's output when it ends, and print one line per part and a sum.
Does not: skip a part, or decide what a part contains (pytest and nbval do).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from autograder.authoring.edit import kernel_environment

COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed)")


@dataclass(frozen=True)
class Part:
    """One command of the test run.

    ``pytest`` tells whether its last lines count tests, ``mirror`` whether it may see the real data
    that ``XOR2GPT_MIRROR`` names (stored outputs are compared without them).
    """

    name: str
    command: tuple[str, ...]
    pytest: bool = True
    mirror: bool = False


@dataclass(frozen=True)
class Outcome:
    part: Part
    returncode: int
    output: str
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """``{"passed": 12, "failed": 1}`` from pytest's closing line; empty for other tools."""
        if not self.part.pytest:
            return {}
        closing = [line for line in self.output.splitlines() if COUNTS.search(line)][-1:]
        return {
            ("errors" if what.startswith("error") else what): int(number)
            for line in closing
            for number, what in COUNTS.findall(line)
        }


def parts(workers: int) -> list[Part]:
    """What ``make test`` runs. The two long ones come first."""
    python = sys.executable
    # a worker gets a module, or a class where a long module has several (stages, browser pages)
    pytest = (python, "-m", "pytest", "-q", "--dist", "loadscope")
    nbval = (
        *(python, "-m", "pytest", "-q", "--nbval", "--nbval-current-env", "solutions"),
        *("--nbval-cell-timeout", "120", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg"),
        *("-n", str(workers), "--dist", "loadfile", "--timeout", "600"),
    )
    return [
        Part("tests", (*pytest, "-n", str(workers), "tests"), mirror=True),
        Part("notebooks (nbval)", nbval),
        Part("ruff check", (python, "-m", "ruff", "check", "."), pytest=False),
        Part("ruff format", (python, "-m", "ruff", "format", "--check", "."), pytest=False),
    ]


def environment(part: Part) -> dict[str, str]:
    """What a part's process sees: the stored outputs' environment, the venv's programs first."""
    found = kernel_environment()
    found["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if part.mirror:
        found.pop("XOR2GPT_DATA")
        real = ("XOR2GPT_MIRROR", "XOR2GPT_DATA")
        found |= {name: os.environ[name] for name in real if os.environ.get(name)}
    return found


def run_part(part: Part, root: Path) -> Outcome:
    started = time.monotonic()
    done = subprocess.run(
        part.command,
        cwd=root,
        env=environment(part),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return Outcome(part, done.returncode, done.stdout, time.monotonic() - started)


def run_all(root: Path, workers: int | None = None) -> int:
    """Run every part; returns 0 when all pass, else 1."""
    console = Console(soft_wrap=True)
    workers = workers or max(2, (os.cpu_count() or 2) // 2)
    outcomes = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting = [pool.submit(run_part, part, root) for part in parts(workers)]
        console.print("Running the tests; each part's output follows when it is done.")
        for future in as_completed(waiting):
            outcome = future.result()
            outcomes.append(outcome)
            console.rule(f"{outcome.part.name}: {'ok' if not outcome.returncode else 'FAILED'}")
            console.print(outcome.output.rstrip(), markup=False, highlight=False)
    table = Table("part", "result", "seconds", "tests", title="make test")
    total: dict[str, int] = {"passed": 0, "failed": 0}
    for outcome in outcomes:
        for what, number in outcome.counts.items():
            what = "failed" if what == "errors" else what
            total[what] = total.get(what, 0) + number
        if outcome.returncode and not outcome.counts.get("failed"):
            total["failed"] += 1
        table.add_row(
            outcome.part.name,
            "ok" if not outcome.returncode else "FAILED",
            f"{outcome.seconds:.0f}",
            ", ".join(f"{number} {what}" for what, number in outcome.counts.items()),
        )
    console.print(table)
    skipped = f", {total['skipped']} skipped" if total.get("skipped") else ""
    console.print(f"{total['passed']} passed, {total['failed']} failed{skipped}")
    return 1 if any(outcome.returncode for outcome in outcomes) else 0
