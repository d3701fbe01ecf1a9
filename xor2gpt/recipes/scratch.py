"""Scratch folders: what a unit keeps between a kill and the next start, and its seconds so far.

Does: give a unit a folder of its own, take it over from a killed run of the same code, refuse it
while another process works in it, and count wall and CPU seconds across kills.
Does not: know what a unit writes there, or keep anything once the unit's result file is written.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xor2gpt.recipes.files import atomic_write, remove_leftovers

__all__ = ["Stopwatch", "open_scratch"]

_OWNER = "owner.json"


def _read(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``; ``None`` where there is none or only a part of one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def open_scratch(folder: Path, made_by: Mapping[str, Any]) -> bool:
    """Make ``folder`` ready for this process; whether it holds what an earlier start left.

    ``made_by`` (plain data) says which code writes there: what other code left is deleted, since
    going on with it would mix two versions. Raises ``RuntimeError`` while another process works in
    the folder.
    """
    import psutil

    owner = _read(folder / _OWNER) or {}
    pid = owner.get("pid")
    # a process id comes back after a restart of the machine: its start time tells them apart
    with contextlib.suppress(psutil.Error):
        if pid not in (None, os.getpid()) and psutil.Process(pid).create_time() == owner["since"]:
            raise RuntimeError(
                f"process {pid} is running this unit already: wait for it, or stop it first"
            )
    kept = folder.exists() and owner.get("made_by") == json.loads(json.dumps(dict(made_by)))
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    now = {"pid": os.getpid(), "since": psutil.Process().create_time(), "made_by": dict(made_by)}
    atomic_write(folder / _OWNER, json.dumps(now) + "\n")
    return kept


class Stopwatch:
    """Wall and CPU seconds of a piece of work, kept in a file so that a kill loses a few at most.

    ``path`` holds the seconds so far; ``every`` is the number of seconds between two writes.
    """

    def __init__(self, path: Path, every: float = 0.5) -> None:
        before = _read(path) or {}
        self.path, self.every = path, every
        self.starts = int(before.get("starts", 0)) + 1
        self._before = {kind: float(before.get(kind, 0.0)) for kind in ("wall", "cpu")}
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._stop = threading.Event()

    def seconds(self) -> dict[str, float]:
        """``{"wall": …, "cpu": …}`` so far, earlier starts included."""
        return {
            "wall": self._before["wall"] + time.perf_counter() - self._wall,
            "cpu": self._before["cpu"] + time.process_time() - self._cpu,
        }

    def _write(self) -> None:
        text = json.dumps({**self.seconds(), "starts": self.starts})
        with contextlib.suppress(FileNotFoundError):
            self.path.parent.stat()  # a folder that is gone is not made again
            atomic_write(self.path, text + "\n")

    def _keep_writing(self) -> None:
        while not self._stop.wait(self.every):
            self._write()

    @contextlib.contextmanager
    def running(self) -> Iterator[Stopwatch]:
        """Count while the block runs."""
        self._write()
        writer = threading.Thread(target=self._keep_writing, daemon=True)
        writer.start()
        try:
            yield self
        finally:
            self._stop.set()
            writer.join()
            self._write()
