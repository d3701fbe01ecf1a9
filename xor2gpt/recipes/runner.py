"""Run a recipe unit by unit, keep each finished unit, and write the summary.

Does: show progress on stderr, write one result file per unit at once when it is done, resume from
the files that are there, record machine, versions, seconds and commit, print the figures.
A unit that keeps checkpoints gets a scratch folder, so that it goes on inside a training.
Does not: use more threads than the recipe allows, read settings, or take a file for a result that
another version of the recipe wrote.

The summary is computed from the unit files alone. Stopped and resumed, a recipe therefore ends with
the summary of an uninterrupted run in everything but times.
"""

from __future__ import annotations

import contextlib
import datetime
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xor2gpt
from xor2gpt.machine import describe_machine, pick_device, versions
from xor2gpt.recipes.base import Advance, Figure, Outcome, Recipe, Unit, UnitResult
from xor2gpt.recipes.files import (
    SCHEMA,
    DamagedResult,
    atomic_write,
    plain,
    read_json,
    read_unit,
    remove_leftovers,
    to_text,
)
from xor2gpt.recipes.scratch import Stopwatch, open_scratch

__all__ = ["Stopped", "finished_units", "results_folder", "run", "scratch_folder", "summarise"]

COURSE_ROOT = Path(xor2gpt.__file__).resolve().parents[1]


class Stopped(Exception):
    """The run was interrupted; the message says what is kept and how to go on."""


@dataclass(frozen=True)
class _Setting:
    """The circumstances that every unit of one run shares."""

    machine: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    dirty: bool | None
    source_sha256: str


def results_folder() -> Path:
    """``benchmarks/results`` of the course's checkout, or else of the current folder."""
    root = COURSE_ROOT if (COURSE_ROOT / "benchmarks").is_dir() else Path.cwd()
    return root / "benchmarks" / "results"


def scratch_folder() -> Path:
    """``.cache/recipes`` of the course's checkout, or else of the current folder."""
    root = COURSE_ROOT if (COURSE_ROOT / "benchmarks").is_dir() else Path.cwd()
    return root / ".cache" / "recipes"


def _commit() -> tuple[str | None, bool | None]:
    """``(commit, dirty)`` of the checkout; ``(None, None)`` where git does not tell.

    Dirty means that the library or the pins differ from the commit; a changed page of the book or
    a new result file cannot change a figure.
    """

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(COURSE_ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != COURSE_ROOT:
            return None, None
        changed = git("status", "--porcelain", "--", "xor2gpt", "requirements.txt")
        return git("rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.SubprocessError):
        return None, None


@contextlib.contextmanager
def _limited_threads(threads: int) -> Iterator[None]:
    """Let NumPy, scikit-learn and torch use at most so many threads, and undo it afterwards."""
    import threadpoolctl
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpoolctl.threadpool_limits(limits=threads):
            yield
    finally:
        torch.set_num_threads(before)


def _work(
    recipe: Recipe, unit: Unit, setting: _Setting, advance: Advance, scratch: Path
) -> tuple[Outcome, dict[str, float]]:
    """The unit's outcome and the wall and CPU seconds it took, those before a kill included."""
    if not recipe.keeps_checkpoints:
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = recipe.run_unit(unit, advance)
        return outcome, {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    open_scratch(scratch, {"source": setting.source_sha256, "versions": setting.versions})
    with Stopwatch(scratch / "seconds.json").running() as watch:
        outcome = recipe.run_unit(unit, advance, scratch)
    return outcome, {**watch.seconds(), "starts": watch.starts}


def _run_unit(
    recipe: Recipe, unit: Unit, setting: _Setting, advance: Advance, scratch: Path
) -> dict[str, Any]:
    """Do the work of one unit and return the content of its file."""
    with _limited_threads(recipe.threads):
        outcome, seconds = _work(recipe, unit, setting, advance, scratch)
    _check_outcome(recipe, unit, outcome)
    return plain(
        {
            "schema": SCHEMA,
            "kind": "unit",
            "recipe": {
                "name": recipe.name,
                "version": recipe.version,
                "fingerprint": recipe.fingerprint(unit),
            },
            "unit": {
                "name": unit.name,
                "title": unit.title,
                "hyper": unit.hyper,
                "seeds": unit.seeds,
            },
            "whole": outcome.whole,
            "per_seed": outcome.per_seed,
            "seconds": {name: round(value, 2) for name, value in seconds.items()},
            "device": recipe.device,
            "threads": recipe.threads,
            **asdict(setting),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def _check_outcome(recipe: Recipe, unit: Unit, outcome: Outcome) -> None:
    """Raise ``ValueError`` unless every metric has one value per seed."""
    for metric, values in outcome.per_seed.items():
        if len(values) != len(unit.seeds):
            raise ValueError(
                f"recipe {recipe.name!r}, unit {unit.name!r}: metric {metric!r} has {len(values)} "
                f"values for {len(unit.seeds)} seeds; run_unit must return one per seed"
            )


def finished_units(
    recipe: Recipe, folder: Path, say: Callable[[str], None] = lambda message: None
) -> dict[str, UnitResult]:
    """The recipe's results in ``folder`` by unit name, in the recipe's order.

    A file that is damaged or of another version does not count; ``say`` is told why.
    """
    found: dict[str, UnitResult] = {}
    for unit in recipe.units:
        path = folder / f"{unit.name}.json"
        if not path.exists():
            continue
        try:
            result = read_unit(path)
        except DamagedResult as error:
            say(f"{unit.name}: not counted: {error}")
            continue
        if result.fingerprint != recipe.fingerprint(unit):
            say(f"{unit.name}: not counted: another version of the recipe wrote {path.name}")
            continue
        found[unit.name] = result
    return found


def _distinct(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The different items, in the order of their first appearance."""
    return [item for index, item in enumerate(items) if item not in items[:index]]


def summarise(recipe: Recipe, results: list[UnitResult], figures: list[Figure]) -> dict[str, Any]:
    """The content of ``summary.json``: a function of the unit results and nothing else."""
    return plain(
        {
            "schema": SCHEMA,
            "kind": "summary",
            "recipe": {
                "name": recipe.name,
                "title": recipe.title,
                "description": recipe.description,
                "version": recipe.version,
            },
            "units": [
                {"name": result.unit, "fingerprint": result.fingerprint} for result in results
            ],
            "figures": [asdict(figure) for figure in figures],
            "machines": _distinct([result.machine for result in results]),
            "versions": _distinct([result.versions for result in results]),
            "commits": _distinct([{"commit": r.commit, "dirty": r.dirty} for r in results]),
            "seconds": {
                kind: round(sum(r.seconds[kind] for r in results), 2) for kind in ("wall", "cpu")
            },
            "date": max(result.date for result in results),
        }
    )


@contextlib.contextmanager
def _progress(recipe: Recipe, done: set[str], quiet: bool) -> Iterator[Callable[[Unit], Advance]]:
    """A rich progress bar on stderr over the work of all units; yields ``unit -> advance``."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # a bar only for a person: in a log, the lines per unit tell the same
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(recipe.name, total=sum(unit.work for unit in recipe.units))
        bar.update(task, completed=sum(unit.work for unit in recipe.units if unit.name in done))

        def start(unit: Unit) -> Advance:
            bar.update(task, description=f"{recipe.name}: {unit.name}")
            return lambda seeds: bar.advance(task, unit.work * seeds / len(unit.seeds))

        yield start


def run(
    recipe: Recipe,
    out: Path | None = None,
    *,
    fresh: bool = False,
    quiet: bool = False,
    command: str = "",
    scratch: Path | None = None,
) -> list[Figure]:
    """Run what is missing of ``recipe``, write its files below ``out / recipe.name``; its figures.

    ``fresh`` first deletes the recipe's result files and what killed runs left in its folder below
    ``scratch`` (by default `scratch_folder`; only recipes that keep checkpoints use it). ``quiet``
    shows neither bar nor lines on stderr. ``command`` is what the messages tell a reader to type to
    resume. ``summary.json`` is there only while every unit is. Raises `Stopped` on Ctrl-C,
    ``RuntimeError`` where the recipe's device does not work or where another process runs the unit.
    """
    folder = (out or results_folder()) / recipe.name
    scratch = (scratch or scratch_folder()) / recipe.name
    command = command or f"python -m xor2gpt train {recipe.name}"

    def say(message: str) -> None:
        if not quiet:
            print(message, file=sys.stderr, flush=True)

    if recipe.device != "cpu":
        pick_device(recipe.device)  # a clear error now, not in the middle of the run
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    if fresh:
        _delete_units(recipe, folder, {"summary.json"} | {f"{u.name}.json" for u in recipe.units})
        shutil.rmtree(scratch, ignore_errors=True)
    results = finished_units(recipe, folder, say)
    missing = [unit for unit in recipe.units if unit.name not in results]
    say(_opening(recipe, results, missing))
    if missing:
        (folder / "summary.json").unlink(missing_ok=True)
        _run_missing(
            recipe, missing, folder, set(results), scratch, quiet=quiet, say=say, command=command
        )
        results = finished_units(recipe, folder)
    known = {f"{unit.name}.json" for unit in recipe.units}
    foreign = {path.name for path in folder.glob("*.json")} - known - {"summary.json"}
    for name in _delete_units(recipe, folder, foreign):
        say(f"{name}: deleted: this version of {recipe.name} has no such unit")
    ordered = [results[unit.name] for unit in recipe.units]
    figures = recipe.figures(ordered)
    atomic_write(folder / "summary.json", to_text(summarise(recipe, ordered, figures)) + "\n")
    return figures


def _opening(recipe: Recipe, results: dict[str, UnitResult], missing: list[Unit]) -> str:
    """The first line a run says: how much there is to do."""
    total = len(recipe.units)
    if not missing:
        return f"{recipe.name}: all {total} units are there (--fresh runs them again)"
    kept = f"{len(results)} of {total} units are there, " if results else ""
    return f"{recipe.name}: {kept}{len(missing)} to run"


def _run_missing(
    recipe: Recipe,
    missing: list[Unit],
    folder: Path,
    done: set[str],
    scratch: Path,
    *,
    quiet: bool,
    say: Callable[[str], None],
    command: str,
) -> None:
    """Run the units that have no file yet; each file is written as soon as its unit is done."""
    setting = _Setting(describe_machine(), versions(), *_commit(), recipe.source_sha256())
    try:
        with _progress(recipe, done, quiet) as start:
            for unit in missing:
                own = scratch / f"{unit.name}-{recipe.fingerprint(unit)}"
                content = _run_unit(recipe, unit, setting, start(unit), own)
                atomic_write(folder / f"{unit.name}.json", to_text(content) + "\n")
                shutil.rmtree(own, ignore_errors=True)
                done.add(unit.name)
                say(
                    f"  {len(done)}/{len(recipe.units)} {unit.name}: "
                    f"{content['seconds']['cpu']:.1f} CPU-s"
                )
    except KeyboardInterrupt as error:
        raise Stopped(
            f"Stopped. {len(done)} of {len(recipe.units)} units are kept; "
            f"to go on from there: {command}"
        ) from error


def _delete_units(recipe: Recipe, folder: Path, names: set[str]) -> list[str]:
    """Delete those of the named files that hold this recipe's results; the names of the deleted."""
    deleted = []
    for name in sorted(names):
        kind = "summary" if name == "summary.json" else "unit"
        with contextlib.suppress(FileNotFoundError, DamagedResult):
            if read_json(folder / name, kind).get("recipe", {}).get("name") == recipe.name:
                (folder / name).unlink()
                deleted.append(name)
    return deleted
