"""What takes minutes: a hundred kills, and two thousand submissions without growth.

Does: kill -9 a random process of a running grading a hundred times, resume, and compare digests
with an undisturbed run; grade thousands of submissions of all kinds while watching memory,
processes, descriptors and temporary files; write both to ``benchmarks/results/soak/``.
Does not: measure speed (``grading.py``) or try hostile work (``tests/submissions``).

    python benchmarks/soak.py                       # both parts; exit code 1 when one fails
    python benchmarks/soak.py kills --number 20 --out /tmp/x
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]

import grading_kit as kit  # noqa: E402  (after the path)
from common import CpuMeter, figure_lines, write_result  # noqa: E402

from autograder.runner import run  # noqa: E402
from xor2gpt.recipes.base import Figure  # noqa: E402

GROWTH_MB = 10.0  # of one process, from the first tenth to the end


def kills(number: int, seed: int, out: Path | None, meter: CpuMeter) -> bool:
    """``number`` trials; whether all of them resumed to equal digests and nobody survived."""
    began, chance = time.perf_counter(), random.Random(seed)
    manifest, trials = kit.small_manifest(), []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        submissions = kit.some_submissions(12)
        run(manifest, submissions, work / "undisturbed", seed=5, progress=False)
        expected = kit.digests(work / "undisturbed")
        given = kit.prepare(work / "input", manifest, submissions)
        for trial in range(number):
            target = work / f"out-{trial}"
            trials.append(kit.kill_trial(given, target, expected, chance, seed=5, workers=2))
            print(f"{trial + 1}/{number} {asdict(trials[-1])}", file=sys.stderr, flush=True)
    hit = [trial for trial in trials if trial.killed is not None]
    figures = [
        Figure("soak_kills", len(hit), "kills"),
        Figure("soak_kills_equal_digests", sum(trial.equal for trial in hit), "kills"),
        Figure("soak_kills_survivors", sum(trial.survivors for trial in trials), "processes"),
        Figure(
            "soak_kills_run_went_on",
            sum(trial.ended_by_itself for trial in hit if trial.killed != "main"),
            "kills",
        ),
    ]
    write_result(
        "soak",
        "kills",
        description=(
            f"{number} runs of 12 submissions with 2 workers; in each, one process (a role is drawn"
            " first) gets SIGKILL after a random number of results, then the run is resumed and its"
            " digests are compared with an undisturbed run."
        ),
        figures=figures,
        measured={
            "seed": seed,
            "killed": dict(Counter(str(trial.killed) for trial in trials)),
            "trials": [asdict(trial) for trial in trials],
        },
        seconds={"wall": time.perf_counter() - began, "cpu": meter.seconds},
        out=out,
    )
    print(figure_lines(figures), flush=True)
    went_on = all(trial.ended_by_itself for trial in hit if trial.killed != "main")
    return went_on and all(t.equal and not t.survivors for t in trials) and bool(hit)


@dataclass(frozen=True)
class Look:
    """One look at a running grading."""

    results: int
    memory_mb: dict[str, float]  # resident, of the processes that live as long as the run
    descriptors: dict[str, int]
    processes: int
    scratch: int  # entries of the folder for temporary files


def look(main: int, out: Path, tmp: Path) -> Look | None:
    memory, files, count = {}, {}, 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(main)
        for process in (root, *root.children(recursive=True)):
            count += 1
            with contextlib.suppress(psutil.Error):
                role = kit.role(process, main)
                if role in ("main", "warm referee") or (
                    role == "zygote" and process.parent().parent().name().startswith("bwrap")
                ):
                    memory[role] = round(process.memory_info().rss / 2**20, 1)
                    files[role] = process.num_fds()
        done = len(list((out / "results").glob("*.json")))
        return Look(done, memory, files, count, len(os.listdir(tmp)))
    return None


def growth(number: int, out: Path | None, meter: CpuMeter) -> bool:
    """Grade ``number`` submissions of all kinds; whether nothing grew and nothing was left."""
    began, looks = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        target, tmp = work / "out", work / "tmp"
        submissions = kit.some_submissions(number)
        given = kit.prepare(work / "input", kit.small_manifest(), submissions)
        process = kit.start(given, target, tmp=tmp, seed=5, workers=2)
        family = kit.Family(process.pid)
        family._stop.set()  # it would remember thousands; here only the end counts
        while process.poll() is None:
            seen = look(process.pid, target, tmp)
            if seen and seen.results and len(seen.memory_mb) == 3:
                looks.append(seen)
                print(asdict(seen), file=sys.stderr, flush=True)
            family.members()
            time.sleep(2.0)
        errors = process.communicate()[1]
        assert process.returncode == 0, errors[-2000:]
        survivors = family.survivors()
        left = [p.name for p in (*target.rglob("*.tmp"), *tmp.iterdir())]
        results = kit.results(target)
        kinds: dict[str, set] = {}
        for name, result in results.items():
            kinds.setdefault(name.split("-")[1], set()).add(
                (result.points, tuple(check.verdict for check in result.checks))
            )
    early = [seen for seen in looks if seen.results >= number // 10][0]
    late = looks[-1]
    grown = {role: late.memory_mb[role] - early.memory_mb[role] for role in late.memory_mb}
    files = {role: late.descriptors[role] - early.descriptors[role] for role in late.descriptors}
    figures = [
        Figure("soak_submissions", len(results), "submissions"),
        Figure("soak_memory_growth", max(grown.values()), "MB"),
        Figure("soak_descriptor_growth", max(files.values()), "descriptors"),
        Figure("soak_most_processes", max(seen.processes for seen in looks), "processes"),
        Figure("soak_survivors", len(survivors), "processes"),
        Figure("soak_files_left", len(left), "files"),
    ]
    write_result(
        "soak",
        "growth",
        description=(
            f"{number} submissions of {len(kit.KINDS)} kinds (among them endless loops and ended "
            "processes) with 2 workers. Growth is from the first tenth to the end, of the processes"
            " that live as long as the run. Files left are temporary files."
        ),
        figures=figures,
        measured={
            "memory_growth_mb": grown,
            "descriptor_growth": files,
            "looks": [asdict(seen) for seen in looks[:: max(1, len(looks) // 20)]],
            "verdicts_by_kind": {
                kind: [[points, list(verdicts)] for points, verdicts in sorted(found)]
                for kind, found in sorted(kinds.items())
            },
        },
        seconds={"wall": time.perf_counter() - began, "cpu": meter.seconds},
        out=out,
    )
    print(figure_lines(figures), flush=True)
    same = all(len(found) == 1 for found in kinds.values())
    return (
        len(results) == number
        and same
        and max(grown.values()) < GROWTH_MB
        and max(files.values()) <= 2
        and not survivors
        and not left
    )


def main(
    part: Annotated[str, typer.Argument(help="kills, growth or all")] = "all",
    number: Annotated[int | None, typer.Option(help="Default: 100 and 2000.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random kills.")] = 2026,
    out: Annotated[Path | None, typer.Option(help="Instead of benchmarks/results.")] = None,
) -> None:
    """A hundred kills, and two thousand submissions without growth."""
    if part not in ("kills", "growth", "all"):
        raise typer.BadParameter(f"unknown part {part!r}: use kills, growth or all")
    passed = True
    if part in ("kills", "all"):
        with CpuMeter() as meter:
            passed = kills(number or 100, seed, out, meter)
    if part in ("growth", "all"):
        with CpuMeter() as meter:
            passed = growth(number or 2000, out, meter) and passed
    if not passed:
        raise SystemExit("the soak failed: see the figures above")


if __name__ == "__main__":
    typer.run(main)
