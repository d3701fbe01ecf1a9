"""The sandbox seen from outside: bubblewrap, the warm interpreter in it, and a watchdog.

Does: probe what isolation this machine offers; start the warm interpreter behind bubblewrap with
nothing mounted but a read-only runtime; open a :class:`SandboxLine` per submission; watch memory
and processor time of its whole process tree from outside; kill the tree at the end.
Does not: fall back to something weaker by itself. Where bubblewrap is missing the caller decides.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

import autograder
import xor2gpt
from autograder.lines import OutsideFault, PipeLine

WARM_UP_SECONDS = 120.0
POLL_SECONDS = 0.02
SLOTS = 4000  # users 61000 to 64999; process limits count per user
EXACT_POLLS = 10  # one look in so many measures unique memory
TICKS, PAGE = 100, 4096  # a second; bytes
if hasattr(os, "sysconf"):
    TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


class SandboxError(OutsideFault):
    """The sandbox cannot be started; the message says why and what to do."""


@dataclass(frozen=True)
class Cage:
    """Limits of one child; the first six become rlimits, the last two belong to the watchdog."""

    file_mb: int = 64
    open_files: int = 256
    cpu_seconds: int = 150  # of one process; more than the watchdog allows for all together
    address_space_mb: int = 16384
    processes: int = 64
    tmp_mb: int = 128
    memory_mb: int = 2048
    tree_cpu_seconds: float = 120.0


def missing() -> str | None:
    """Why the sandbox cannot run here, with the remedy; ``None`` when nothing is known to miss."""
    if sys.platform != "linux":
        return (
            "bubblewrap needs Linux. Grade on a Linux machine or in a virtual machine; on this one "
            "only self-checks of your own code run."
        )
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed. Remedy: sudo apt-get install bubblewrap"
    return None


HIDDEN = ("/tmp", "/dev", "/proc", "/course", "/runtime")  # folders that are others inside


def inside(path: str) -> str:
    """Where a file of this machine is found inside: at its own place, or below ``/runtime``."""
    covered = any(path == folder or path.startswith(folder + "/") for folder in HIDDEN)
    return f"/runtime{path}" if covered else path


def _executable() -> str:
    """The interpreter, as seen inside: the environment's, unless it links to a hidden place."""
    real = os.path.realpath(sys.executable)
    return inside(real) if inside(real) != real else inside(sys.executable)


def _package_folders() -> list[str]:
    """Folders of installed packages on the path (the environment's own lie below its prefix)."""
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


def _runtime_folders() -> list[str]:
    """What the interpreter needs to read: the system's libraries, Python, the environment."""
    folders = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/fonts"]
    folders += ["/etc/alternatives", "/etc/localtime"]
    folders += [sys.base_prefix, sys.prefix, sysconfig.get_paths()["stdlib"], *_package_folders()]
    return [folder for folder in dict.fromkeys(folders) if os.path.lexists(folder)]


def _binds() -> list[str]:
    """bubblewrap's arguments for the read-only runtime and the four modules that run inside."""
    arguments: list[str] = []
    made: set[str] = set()
    bound: list[str] = []

    def parents(path: Path) -> None:
        for parent in reversed(path.parents):
            if str(parent) != "/" and str(parent) not in made:
                made.add(str(parent))
                arguments.extend(["--perms", "0755", "--dir", str(parent)])

    for folder in _runtime_folders():
        if os.path.islink(folder):
            parents(Path(inside(folder)))
            arguments.extend(["--symlink", os.readlink(folder), inside(folder)])
            continue
        if any(folder.startswith(done + "/") for done in bound):
            continue
        parents(Path(inside(folder)))
        made.add(inside(folder))
        bound.append(folder)
        arguments.extend(["--ro-bind", folder, inside(folder)])
    grader, library = Path(autograder.__file__).parent, Path(xor2gpt.__file__).parent
    for folder in ("/course", "/course/autograder"):
        arguments.extend(["--perms", "0755", "--dir", folder])
    for name in ("__init__", "wire", "student", "zygote"):
        target = f"/course/autograder/{name}.py"
        arguments.extend(["--ro-bind", str(grader / f"{name}.py"), target])
    arguments.extend(["--ro-bind", str(library), "/course/xor2gpt"])
    return arguments


ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp/home",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONPATH": "/course",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "MPLBACKEND": "agg",
    "MPLCONFIGDIR": "/tmp/home/matplotlib",
    "IPYTHONDIR": "/tmp/home/ipython",
}


def command(control: int, mode: str, modules: Sequence[str] = ()) -> list[str]:
    """The bubblewrap command line of the warm interpreter, which imports ``modules`` at once."""
    line = ["bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts"]
    line += ["--die-with-parent", "--new-session", "--clearenv"]
    if mode == "user":
        line += ["--unshare-user", "--uid", "0", "--gid", "0"]
    line += ["--cap-add", "ALL"]
    path = ":".join([ENVIRONMENT["PYTHONPATH"], *map(inside, _package_folders())])
    for name, value in (ENVIRONMENT | {"PYTHONPATH": path}).items():
        line += ["--setenv", name, value]
    line += [*_binds(), "--proc", "/proc", "--dev", "/dev"]
    line += ["--perms", "1777", "--tmpfs", "/tmp", "--perms", "1777", "--tmpfs", "/dev/shm"]
    line += ["--remount-ro", "/", "--chdir", "/tmp", "--"]
    return [*line, _executable(), "-P", "-m", "autograder.zygote", str(control), mode, *modules]


class SandboxLine(PipeLine):
    """One submission's process: two pipes, a pidfd, and a watchdog thread.

    ``reason`` says why the watchdog ended it (``"memory"`` or ``"cpu"``), else ``None``.
    ``outside`` says, after :meth:`kill`, what ended it when neither its code nor the watchdog did.
    ``crowded`` says whether its processes and threads were ever at their limit.
    ``peak_memory_mb`` and ``cpu_seconds`` are of the whole tree.
    """

    def __init__(self, read_from: int, write_to: int, status: socket.socket, cage: Cage) -> None:
        super().__init__(read_from, write_to)
        self.status, self.cage = status, cage
        self.reason: str | None = None
        self.outside: str | None = None
        self.crowded = False
        self.peak_memory_mb, self.cpu_seconds = 0.0, 0.0
        data, descriptors, _, _ = socket.recv_fds(status, 4096, 1)
        if not descriptors:
            raise SandboxError(f"a child could not be locked up: {data.decode(errors='replace')}")
        self.pidfd = descriptors[0]
        self.pid = self._pid_of(self.pidfd)
        self._ended = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, daemon=True)
        self._watchdog.start()

    @staticmethod
    def _pid_of(pidfd: int) -> int:
        """The process id in *our* process namespace."""
        text = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pid:")))

    def _pids(self) -> list[int]:
        """The child and everything that it started; orphans stay below process 1 of its ns."""
        found, new = [], [self.pid]
        while new:
            found += new
            below = []
            for pid in new:
                with contextlib.suppress(OSError):
                    for task in os.listdir(f"/proc/{pid}/task"):
                        text = Path(f"/proc/{pid}/task/{task}/children").read_text()
                        below += map(int, text.split())
            new = below
        return found

    def tree(self) -> list[psutil.Process]:
        """The processes of this submission."""
        found = []
        for pid in self._pids():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found

    def _watch(self) -> None:
        polls = 0
        while not self._ended.wait(POLL_SECONDS):
            self._look(exactly=polls % EXACT_POLLS == 0)
            polls += 1
            if self.peak_memory_mb > self.cage.memory_mb:
                self.reason = "memory"
            elif self.cpu_seconds > self.cage.tree_cpu_seconds:
                self.reason = "cpu"
            if self.reason:
                self._signal()
                return

    def _look(self, exactly: bool) -> None:
        """Measure processor time and memory of the whole tree.

        Unique memory costs the kernel a walk over all pages, so it is measured now and then, and
        always when the resident memory, which is cheap to know, comes near the limit.
        """
        pids, cpu, resident, tasks = self._pids(), 0.0, 0.0, 0
        for pid in pids:
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                cpu += sum(map(int, fields[11:15])) / TICKS  # with children that it waited for
                tasks += int(fields[17])
                resident += int(fields[21]) * PAGE / 2**20
        self.crowded |= tasks >= self.cage.processes - 1
        self.cpu_seconds = max(self.cpu_seconds, cpu)
        if exactly or resident > self.cage.memory_mb / 2:
            memory = 0.0
            for pid in pids:
                with contextlib.suppress(OSError):
                    memory += self._unique_mb(pid)
            self.peak_memory_mb = max(self.peak_memory_mb, memory)

    @staticmethod
    def _unique_mb(pid: int) -> float:
        """Memory that exists because of this process: its private pages, or its share of memory
        that is shared within the tree where that is more (so that sharing hides no more than half).
        """
        private = shared = 0
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                private += int(line.split()[1])
            elif line.startswith("Pss_Shmem:"):
                shared = int(line.split()[1])
        return max(private, shared) / 1024

    def ended(self, seconds: float) -> bool:
        """Whether the child is at its end by itself, after waiting for at most ``seconds``."""
        return bool(select.select([self.pidfd], [], [], seconds)[0])

    def _signal(self) -> None:
        with contextlib.suppress(ProcessLookupError, OSError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def kill(self) -> int | None:
        """End the whole tree and wait until it is gone; returns the child's exit status."""
        self._ended.set()
        self._watchdog.join()
        self._look(exactly=True)
        had_ended = bool(select.select([self.pidfd], [], [], 0)[0])
        self._signal()
        self.status.settimeout(10)
        code = None
        with contextlib.suppress(OSError, ValueError):
            code = json.loads(self.status.recv(4096) or b"{}").get("exit")
        # Process 1 of a namespace cannot be killed from inside it, so its own code did not do this.
        if had_ended and self.reason is None and code in (None, -signal.SIGKILL):
            self.outside = "the submission's process was ended by something outside the sandbox"
        self.status.close()
        for descriptor in (self.pidfd, self.read_from, self.write_to):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        return code


class Sandbox:
    """The warm interpreter behind bubblewrap. A context manager; one may serve many workers."""

    def __init__(self, cage: Cage | None = None, modules: Sequence[str] = ()) -> None:
        self.cage, self.modules = cage or Cage(), tuple(modules)
        self.mode = "root" if os.geteuid() == 0 else "user"
        self._lock = threading.Lock()
        self._slots = deque(range(SLOTS))
        self._slots.rotate(secrets.randbelow(SLOTS))  # other gradings run on this machine too

    def __enter__(self) -> Sandbox:
        if problem := missing():
            raise SandboxError(problem)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control = ours
        try:
            self.process = subprocess.Popen(
                command(theirs.fileno(), self.mode, self.modules),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
            )
        finally:
            theirs.close()
        ours.settimeout(WARM_UP_SECONDS)
        try:
            answer = json.loads(ours.recv(65536) or b"{}")
        except (OSError, ValueError):
            answer = {}
        if not answer.get("ready"):
            self.close()
            stderr = (
                self.process.stderr.read().decode(errors="replace") if self.process.stderr else ""
            )
            raise SandboxError(_explain(answer.get("error", ""), stderr))
        ours.settimeout(None)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        self.process.kill()
        self.process.wait()

    @property
    def gone(self) -> bool:
        """Whether the warm interpreter has ended; it says nothing on its socket but that."""
        return bool(select.select([self.control], [], [], 0)[0])

    def use_slots(self, slots: Iterable[int]) -> None:
        """Slots (users) that this process may take; for processes that share the sandbox."""
        self._slots = deque(slots)

    def open(self) -> SandboxLine:
        """A fresh child for one submission. Raises :class:`SandboxError`."""
        child_reads, write_to = os.pipe()
        read_from, child_writes = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with self._lock:
            slot = self._slots.popleft()  # the one that has rested longest
        request = json.dumps({**asdict(self.cage), "slot": slot}).encode()
        try:
            with self._lock:
                socket.send_fds(
                    self.control, [request], [child_reads, child_writes, theirs.fileno()]
                )
        except OSError as error:
            raise SandboxError(f"the warm interpreter is gone: {error}") from error
        finally:
            os.close(child_reads)
            os.close(child_writes)
            theirs.close()
        line = SandboxLine(read_from, write_to, ours, self.cage)
        kill = line.kill

        def kill_and_free() -> int | None:
            code = kill()
            with self._lock:
                self._slots.append(slot)
            return code

        line.kill = kill_and_free  # type: ignore[method-assign]
        return line


def _explain(error: str, stderr: str) -> str:
    """Why the warm interpreter did not start, in words that help."""
    text = f"{error}\n{stderr}".strip() or "it gave no reason"
    hints = []
    if "Permission denied" in text or "Operation not permitted" in text:
        hints.append(
            "Ubuntu 24.04 and later restrict unprivileged user namespaces by AppArmor: "
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile "
            "for bwrap. In Kubernetes the pod needs a security context that allows user namespaces."
        )
    return "\n".join([f"the sandbox did not start: {text}", *hints])


def wait_gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process is gone after at most ``seconds``."""
    end = time.monotonic() + seconds
    while psutil.pid_exists(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
