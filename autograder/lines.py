"""How the referee reaches a student's process: bytes with deadlines, and a way to end it.

Does: define a line; implement it over pipes (``select``, non-blocking) and, for systems without
``select`` on pipes (Windows), over threads; start a process on this machine without a sandbox.
Does not: know what the bytes mean (see ``wire``), or lock anything up (see ``sandbox``).
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Line", "LocalLine", "OutsideFault", "PipeLine", "StudentDied", "StudentTimeout"]


class OutsideFault(Exception):
    """Something outside the submission broke while it was graded: it must be graded again."""


class StudentDied(Exception):
    """The student's process ended or closed the line."""


class StudentTimeout(Exception):
    """The student's process did not answer in time."""


class Line(Protocol):
    """A student's process. ``deadline`` is a reading of ``time.monotonic``."""

    def read(self, size: int, deadline: float) -> bytes:
        """Up to ``size`` bytes; empty at the end. Raises :class:`StudentTimeout`."""

    def write(self, data: bytes, deadline: float) -> None:
        """All of ``data``. Raises :class:`StudentTimeout` or :class:`StudentDied`."""

    def kill(self) -> Any:
        """End the process and everything it started."""


class PipeLine:
    """A line over two descriptors. Neither a silent nor a deaf process can block the referee."""

    def __init__(self, read_from: int, write_to: int) -> None:
        self.read_from, self.write_to = read_from, write_to
        os.set_blocking(write_to, False)

    def read(self, size: int, deadline: float) -> bytes:
        left = max(0.0, min(deadline - time.monotonic(), 1e6))
        ready, _, _ = select.select([self.read_from], [], [], left)
        if not ready:
            raise StudentTimeout
        return os.read(self.read_from, size)

    def write(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            left = max(0.0, min(deadline - time.monotonic(), 1e6))
            _, ready, _ = select.select([], [self.write_to], [], left)
            if not ready:
                raise StudentTimeout
            try:
                rest = rest[os.write(self.write_to, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise StudentDied from error

    def close(self) -> None:
        for descriptor in (self.read_from, self.write_to):
            with contextlib.suppress(OSError):
                os.close(descriptor)


class ThreadedLine:
    """A line over a process's standard streams, with a thread for each direction."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process
        self.incoming: queue.Queue[bytes] = queue.Queue()
        self.outgoing: queue.Queue[bytes] = queue.Queue()
        self.rest = b""
        for work in (self._reads, self._writes):
            threading.Thread(target=work, daemon=True).start()

    def _reads(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while chunk := self.process.stdout.read1(2**16):
                self.incoming.put(chunk)
        self.incoming.put(b"")

    def _writes(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := self.outgoing.get():
                self.process.stdin.write(data)
                self.process.stdin.flush()

    def read(self, size: int, deadline: float) -> bytes:
        if not self.rest:
            try:
                left = max(0.0, min(deadline - time.monotonic(), 1e6))
                self.rest = self.incoming.get(timeout=left)
            except queue.Empty as error:
                raise StudentTimeout from error
        chunk, self.rest = self.rest[:size], self.rest[size:]
        return chunk

    def write(self, data: bytes, deadline: float) -> None:
        if self.process.poll() is not None:
            raise StudentDied
        self.outgoing.put(data)

    def close(self) -> None:
        self.outgoing.put(b"")


class LocalLine:
    """A student process on this machine **without a sandbox**: for self-checks and for tests.

    ``threads`` chooses how to talk; by default threads where ``select`` cannot watch pipes.
    """

    def __init__(
        self, environment: Mapping[str, str] | None = None, *, threads: bool = os.name == "nt"
    ) -> None:
        own_group: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "autograder.student"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment if environment is not None else os.environ),
            **own_group,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.talk: PipeLine | ThreadedLine
        if threads:
            self.talk = ThreadedLine(self.process)
        else:
            read_from = os.dup(self.process.stdout.fileno())
            write_to = os.dup(self.process.stdin.fileno())
            self.process.stdout.close()
            self.process.stdin.close()
            self.talk = PipeLine(read_from, write_to)
        self.read, self.write = self.talk.read, self.talk.write

    def kill(self) -> None:
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.talk.close()
