"""What the benchmarks share: processor time of a whole process tree, and the result file.

Does: put this process in a control group of its own, so that the time of everything it starts is
counted (children in namespaces of their own are missed by ``getrusage``); write a result file in
the envelope of the recipes' files.
Does not: measure anything by itself, or need root where the control group is writable anyway.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xor2gpt.machine import describe_machine, versions
from xor2gpt.recipes.base import Figure
from xor2gpt.recipes.files import SCHEMA, atomic_write, plain, to_text
from xor2gpt.recipes.runner import _commit, results_folder  # the one place that asks git

__all__ = ["CpuMeter", "figure_lines", "write_result"]

CGROUP = Path("/sys/fs/cgroup")


class CpuMeter:
    """CPU-seconds of this process and all its descendants, whatever namespaces they are in.

    A context manager. Raises ``RuntimeError`` where no control group can be made.
    """

    def __init__(self) -> None:
        own = f"xor2gpt-benchmark-{os.getpid()}"
        if (CGROUP / "cpuacct").is_dir():  # version 1
            self.folder, self.version = CGROUP / "cpuacct" / own, 1
        else:
            self.folder, self.version = CGROUP / own, 2

    def __enter__(self) -> CpuMeter:
        try:
            self.folder.mkdir()
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))
        except OSError as error:
            raise RuntimeError(
                f"no control group can be made below {CGROUP} ({error}): run the benchmark as root,"
                " or in a scope of your own (systemd-run --user --scope -p Delegate=yes …)"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            (self.folder.parent / "cgroup.procs").write_text(str(os.getpid()))
            self.folder.rmdir()

    @property
    def seconds(self) -> float:
        if self.version == 1:
            return int((self.folder / "cpuacct.usage").read_text()) / 1e9
        lines = (self.folder / "cpu.stat").read_text().splitlines()
        return int(dict(line.split() for line in lines)["usage_usec"]) / 1e6


@contextlib.contextmanager
def metered(meter: CpuMeter, into: list[float]) -> Iterator[None]:
    """Append the CPU-seconds of the block to ``into``."""
    before = meter.seconds
    yield
    into.append(meter.seconds - before)


def figure_lines(figures: Sequence[Figure]) -> str:
    return "\n".join(figure.line() for figure in figures)


def write_result(
    benchmark: str,
    name: str,
    *,
    description: str,
    figures: Sequence[Figure],
    measured: dict[str, Any],
    seconds: dict[str, float],
    out: Path | None = None,
) -> Path:
    """Write ``OUT/BENCHMARK/NAME.json`` (default: ``benchmarks/results``); returns its path.

    ``seconds`` holds ``wall`` and ``cpu`` of the whole measurement.
    """
    if set(seconds) != {"wall", "cpu"}:
        raise ValueError(f"seconds must hold 'wall' and 'cpu', not {sorted(seconds)}")
    found = versions()
    for package in ("nbgrader", "dask", "psycopg"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    commit, dirty = _commit()
    content = plain(
        {
            "schema": SCHEMA,
            "kind": "benchmark",
            "benchmark": {"name": benchmark, "part": name, "description": description},
            "figures": [asdict(figure) for figure in figures],
            "measured": measured,
            "seconds": {key: round(value, 2) for key, value in seconds.items()},
            "machine": describe_machine(),
            "versions": found,
            "commit": commit,
            "dirty": dirty,
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
    path = (out or results_folder()) / benchmark / f"{name}.json"
    atomic_write(path, to_text(content) + "\n")
    return path
