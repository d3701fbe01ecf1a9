"""Read the result files of recipes and turn them into the tables of the book's results page.

Does: load a recipe's files, refuse damaged ones with the file's name and a remedy, aggregate over
seeds (mean ± sd, rates with Wilson intervals), and give each table as plain strings.
Does not: run anything, read the summary (tables come from the unit files), or know about Sphinx.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xor2gpt import recipes
from xor2gpt.machine import machine_line
from xor2gpt.recipes.base import Column, Recipe, Table, UnitResult
from xor2gpt.recipes.files import DamagedResult, read_unit
from xor2gpt.recipes.runner import finished_units, results_folder
from xor2gpt.recipes.stats import gains, mean_sd, wilson

__all__ = [
    "DamagedResult",
    "ResultTable",
    "benchmark_tables",
    "cell",
    "gains",
    "load",
    "mean_sd",
    "results_folder",
    "tables",
    "wilson",
]


@dataclass(frozen=True)
class ResultTable:
    """One table, ready to be shown: every cell is a string.

    ``recipe`` is the recipe's name; ``rows`` has one tuple per unit, as long as ``columns``;
    ``machine``, ``versions`` and ``date`` (of the newest file, ISO 8601, day only) are one line
    each; ``cpu_seconds`` is what the rows cost together; ``note`` says what is missing, or is
    empty.
    """

    recipe: str
    title: str
    description: str
    columns: list[str]
    rows: list[tuple[str, ...]]
    machine: str
    versions: str
    date: str
    cpu_seconds: float
    note: str = ""


def load(name: str, out: Path | None = None) -> dict[str, UnitResult]:
    """The recipe's results by unit name, in its order; units that have not been run are absent.

    Files of another version of the recipe are left out. Raises `xor2gpt.recipes.UnknownRecipe` for
    a name that is no recipe, `DamagedResult` for a file that cannot be read.
    """
    recipe = recipes.get(name)
    folder = (out or results_folder()) / recipe.name
    for unit in recipe.units:
        path = folder / f"{unit.name}.json"
        if path.exists():
            read_unit(path)  # raises where the runner would only run the unit again
    return finished_units(recipe, folder)


def _decimals(value: float, significant: int) -> int:
    """The decimals that show ``value`` to so many significant digits."""
    if not math.isfinite(value) or value == 0.0:
        return 1
    return max(0, significant - 1 - math.floor(math.log10(abs(value))))


def _number(value: float, digits: int | None) -> str:
    """``value`` with so many decimals, or to three significant digits."""
    if not math.isfinite(value):
        return str(value)
    if digits is None and value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.2e}"
    return f"{value:.{_decimals(value, 3) if digits is None else digits}f}"


def cell(column: Column, result: UnitResult, found: Mapping[str, UnitResult] | None = None) -> str:
    """What ``column`` shows of a unit's result; ``"–"`` where the unit has no such metric.

    ``found`` holds the recipe's other results, which a ``"gain"`` needs.
    """
    values = result.per_seed.get(column.metric)
    if column.show == "gain":
        values = gains(column.metric, result, found or {}) or None
    if values is None:
        return "–"
    if column.show == "rate":
        hits, trials = int(sum(values)), len(values)
        low, high = wilson(hits, trials)
        return f"{100 * hits / trials:.1f} % ({100 * low:.1f}–{100 * high:.1f})"
    scaled = column.scale * np.asarray(values, dtype=np.float64)
    if column.show not in ("mean", "gain"):
        functions = {"median": np.median, "min": np.min, "max": np.max}
        return _number(float(functions[column.show](scaled)), column.digits)
    mean, sd = mean_sd(scaled)
    if not math.isfinite(mean):  # 0 / 0 in some seed: precision where nothing was called positive
        return "–"
    sign = "+" if column.show == "gain" else ""
    if not math.isfinite(sd):  # one seed has no spread to show
        return _number(mean, column.digits)
    digits = column.digits
    if digits is None:  # two digits of the spread say how far to trust the mean
        digits = min(_decimals(sd, 2), 6) if sd else _decimals(mean, 3)
    return f"{mean:{sign}.{digits}f} ± {sd:.{digits}f}"


def _lines(texts: Iterable[str]) -> str:
    """The different texts, joined: several only where files come from several machines."""
    return "; ".join(dict.fromkeys(texts))


def _table(recipe: Recipe, table: Table, found: dict[str, UnitResult]) -> ResultTable:
    """One table of ``recipe``, from the results that are there."""
    results = [found[name] for name in table.units if name in found]
    missing = [name for name in table.units if name not in found]
    return ResultTable(
        recipe=recipe.name,
        title=f"{recipe.title}: {table.title}",
        description=table.description,
        columns=["configuration", "seeds", *(column.heading for column in table.columns)],
        rows=[
            (r.title, str(len(r.seeds)), *(cell(column, r, found) for column in table.columns))
            for r in results
        ],
        machine=_lines(machine_line(r.machine) for r in results),
        versions=_lines(", ".join(f"{k} {v}" for k, v in r.versions.items()) for r in results),
        date=max((r.date[:10] for r in results), default=""),
        cpu_seconds=round(sum(r.seconds["cpu"] for r in results), 2),
        note=f"Not run yet: {', '.join(missing)}." if missing else "",
    )


def tables(name: str | None = None, out: Path | None = None) -> list[ResultTable]:
    """The tables of one recipe, or of all recipes and benchmarks, that have at least one row.

    ``out`` is the folder of all results (by default ``benchmarks/results`` of the checkout).
    Raises as `load` does.
    """
    shown = []
    for recipe_name in recipes.names() if name is None else [name]:
        recipe, found = recipes.get(recipe_name), load(recipe_name, out)
        shown += [_table(recipe, table, found) for table in recipe.tables]
    if name is None:
        shown += benchmark_tables(out)
    return [table for table in shown if table.rows]


def benchmark_tables(out: Path | None = None) -> list[ResultTable]:
    """One table for each result file of a benchmark (``benchmarks/*.py``): its figures.

    Raises `DamagedResult` for a file that calls itself a benchmark's and lacks a field.
    """
    shown = []
    for path in sorted((out or results_folder()).glob("*/*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.get("kind") != "benchmark":
                continue
            name, part = data["benchmark"]["name"], data["benchmark"]["part"]
            shown.append(
                ResultTable(
                    recipe=f"benchmarks/{name}.py",
                    title=f"Benchmark {name}: {part}",
                    description=data["benchmark"]["description"],
                    columns=["figure", "value", "unit"],
                    rows=[
                        (
                            figure["name"].removesuffix(f".{part}"),
                            _number(float(figure["value"]), None),
                            "–" if figure["unit"] == "1" else str(figure["unit"]),
                        )
                        for figure in data["figures"]
                    ],
                    machine=machine_line(data["machine"]),
                    versions=", ".join(f"{k} {v}" for k, v in data["versions"].items()),
                    date=data["date"][:10],
                    cpu_seconds=float(data["seconds"]["cpu"]),
                )
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedResult(
                f"{path} is not a benchmark's result ({type(error).__name__}: {error}): delete it "
                "and run the benchmark again"
            ) from error
    return shown
