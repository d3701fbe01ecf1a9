"""``python -m autograder doctor``: what isolation this machine offers, tried and not assumed.

Does: start the real sandbox and look from inside; try each part by itself where it does not start,
so that the remedy names the part; look for what the gradebook needs.
Does not: change anything. The checks that students need are ``python -m xor2gpt doctor``'s.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from autograder import sandbox
from autograder.manifest import TimeLimits
from autograder.referee import Student
from xor2gpt.doctor import Check, check_bubblewrap, check_namespaces, check_seccomp

PROBE = """
import os, socket
status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines())
try:
    socket.create_connection(("127.0.0.1", 9), 1)
    network = "reached"
except OSError:
    network = "none"
forks = 0
try:
    while forks < 200:
        if os.fork() == 0:
            os._exit(0) if forks > 150 else __import__("time").sleep(30)
        forks += 1
except OSError:
    pass
pids = [p for p in os.listdir("/proc") if p.isdigit()]
print(status["CapEff"].strip(), status["Seccomp"].strip(), network, forks, os.getuid())
"""


def _inside(cage: sandbox.Cage) -> tuple[list[str], float, float]:
    """What the probe prints inside the real sandbox; seconds to warm up and per child."""
    started = time.monotonic()
    with sandbox.Sandbox(cage) as warm:
        ready = time.monotonic()
        line = warm.open()
        try:
            student = Student(line, TimeLimits(cell_seconds=20.0))
            printed = student.run("probe", PROBE)["output"].split()
            first = time.monotonic()
        finally:
            line.kill()
    return printed, ready - started, first - ready


def check_sandbox() -> list[Check]:
    """The whole sandbox, started and looked at from inside; parts by themselves if it fails."""
    group = "grader"
    if problem := sandbox.missing():
        return [Check(group, "sandbox", "fail", "cannot be started", problem)]
    cage = sandbox.Cage(processes=16, memory_mb=512)
    try:
        printed, warm_up, child = _inside(cage)
    except Exception as error:
        found = f"does not start: {error}"
        parts = [check_bubblewrap(), check_namespaces(), check_seccomp()]
        return [Check(group, "sandbox", "fail", found[:500], "see the lines below"), *parts]
    capabilities, filtering, network, forks, user = printed
    facts = [
        ("rights", int(capabilities, 16) == 0, f"capabilities {capabilities}, user {user}"),
        ("system-call filter", filtering == "2", f"seccomp mode {filtering}"),
        ("network", network == "none", f"network: {network}"),
        ("process limit", int(forks) < cage.processes, f"stopped after {forks} forks"),
    ]
    checks = [
        Check(group, "sandbox", "ok", f"warm in {warm_up:.1f} s, a child in {child * 1000:.0f} ms")
    ]
    for name, good, found in facts:
        remedy = "" if good else "do not grade here; please report this with your kernel's version"
        checks.append(Check(group, name, "ok" if good else "fail", found, remedy))
    return checks


def check_gradebook() -> Check:
    """nbgrader, and alembic on the path that nbgrader will use."""
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"
    if shutil.which("alembic", path=path) is None:
        return Check(
            "grader",
            "gradebook",
            "warn",
            "alembic is not there, and nbgrader calls it",
            "pip install -r requirements.txt",
        )
    return Check("grader", "gradebook", "ok", "nbgrader's gradebook can be written")


def run() -> list[Check]:
    """All checks, in the order in which they are shown."""
    steps: list[Callable[[], list[Check]]] = [check_sandbox, lambda: [check_gradebook()]]
    return [check for step in steps for check in step()]


def ready(checks: list[Check]) -> bool:
    """Whether other people's code can be graded here."""
    return all(check.status != "fail" for check in checks)
