"""What a recipe is: a named run whose hyper-parameters and seeds are fixed in code.

Does: define `Recipe` and its parts, and keep the registry of all recipes by name.
Does not: run anything (see `xor2gpt.recipes.runner`), or read settings from files or options:
who wants another setting writes another recipe, so that a name always means the same run.

A recipe is a tuple of *units*. A unit is the piece of work that one result file holds: one
configuration over all its seeds. A kill costs at most the unit it happened in; where a unit takes
minutes, the recipe keeps checkpoints in a scratch folder, and a kill costs seconds.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

__all__ = [
    "Column",
    "Figure",
    "Outcome",
    "Recipe",
    "Table",
    "Unit",
    "UnitResult",
    "UnknownRecipe",
    "get",
    "names",
    "register",
]

Advance = Callable[[int], None]
"""How a unit tells the progress bar that so many more seeds are done."""


@dataclass(frozen=True)
class Unit:
    """One configuration: its hyper-parameters (plain data) and the seeds it is repeated over.

    ``work`` says how long it takes beside the recipe's other units (any scale; it only moves the
    progress bar evenly and is no part of what the unit is).
    """

    name: str
    title: str
    seeds: tuple[int, ...]
    hyper: Mapping[str, Any]
    work: float = 1.0

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "-_." for c in self.name):
            raise ValueError(
                f"unit name {self.name!r} is no file name: use letters, digits, '-', '_' and '.'"
            )
        if self.name == "summary":
            raise ValueError("no unit can be called 'summary': that file holds the figures")
        if not self.seeds:
            raise ValueError(f"unit {self.name!r} has no seeds: give it at least one")
        object.__setattr__(self, "hyper", MappingProxyType(dict(self.hyper)))


@dataclass(frozen=True)
class Outcome:
    """What running a unit gives.

    ``per_seed`` maps a metric to one number per seed, in the order of ``unit.seeds``; ``whole``
    holds what belongs to all seeds together (a number, or a list such as a median curve).
    """

    per_seed: Mapping[str, list[float]]
    whole: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class UnitResult:
    """A unit's `Outcome` as it was read back from its file, with the circumstances of the run."""

    unit: str
    title: str
    seeds: tuple[int, ...]
    hyper: dict[str, Any]
    per_seed: dict[str, list[float]]
    whole: dict[str, Any]
    seconds: dict[str, float]
    machine: dict[str, Any]
    versions: dict[str, str]
    device: str
    commit: str | None
    dirty: bool | None
    source_sha256: str
    fingerprint: str
    date: str


@dataclass(frozen=True)
class Figure:
    """One number that prose may quote: a dotted name without spaces, its value and its unit."""

    name: str
    value: float
    unit: str

    def __post_init__(self) -> None:
        if not self.name or any(c.isspace() for c in self.name + self.unit) or not self.unit:
            raise ValueError(
                f"figure {self.name!r} [{self.unit!r}]: name and unit are words without spaces "
                "(use '1' for a plain number)"
            )

    def line(self) -> str:
        """``FIGURE name value unit``, the value to six significant digits."""
        return f"FIGURE {self.name} {self.value:.6g} {self.unit}"


@dataclass(frozen=True)
class Column:
    """A column of a results table: what is shown of one metric, and how.

    ``show`` is ``"mean"`` (mean ± sd over seeds), ``"rate"`` (share of seeds for which the metric
    is 1, in %, with its 95 % Wilson interval), ``"median"``, ``"min"``, ``"max"``, or ``"gain"``
    (the difference, seed by seed, to the unit that ``hyper["against"]`` names; mean ± sd over the
    seeds that both have; a dash for a unit that names none). ``scale`` multiplies the metric first
    (100 for a share in %). ``digits`` are decimals; ``None`` shows three significant digits.
    """

    heading: str
    metric: str
    show: Literal["mean", "rate", "median", "min", "max", "gain"] = "mean"
    scale: float = 1.0
    digits: int | None = None


@dataclass(frozen=True)
class Table:
    """One table of a recipe on the results page: some of its units, one row each."""

    title: str
    description: str
    units: tuple[str, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Recipe:
    """A named run. Raise ``version`` whenever the code changes what a unit computes.

    ``run_unit(unit, advance)`` does the work and calls ``advance(n)`` after each ``n`` seeds;
    ``figures(results)`` turns the results of all units, in order, into `Figure` s;
    ``device`` is the device the code runs on, ``threads`` the number of threads it may use.

    With ``keeps_checkpoints`` it is called as ``run_unit(unit, advance, scratch)``. ``scratch`` is
    a folder of this unit alone: it survives a kill and is deleted once the unit's file is written.
    What the unit saves there must let it end with the same outcome, wherever it was stopped.
    Neither ``threads`` nor ``keeps_checkpoints`` is part of what a unit is.
    """

    name: str
    title: str
    description: str
    version: int
    units: tuple[Unit, ...]
    run_unit: Callable[..., Outcome]
    figures: Callable[[list[UnitResult]], list[Figure]]
    tables: tuple[Table, ...]
    device: str = "cpu"
    threads: int = 1
    keeps_checkpoints: bool = False

    def __post_init__(self) -> None:
        unit_names = [unit.name for unit in self.units]
        if not unit_names or len(set(unit_names)) != len(unit_names):
            raise ValueError(f"recipe {self.name!r} needs units with different names: {unit_names}")
        for table in self.tables:
            if unknown := set(table.units) - set(unit_names):
                raise ValueError(
                    f"table {table.title!r} of recipe {self.name!r} names no unit: {unknown}"
                )

    def unit(self, name: str) -> Unit:
        """The unit called ``name``; raises ``KeyError`` where there is none."""
        for unit in self.units:
            if unit.name == name:
                return unit
        known = ", ".join(unit.name for unit in self.units)
        raise KeyError(f"recipe {self.name!r} has no unit {name!r}; it has {known}")

    def fingerprint(self, unit: Unit) -> str:
        """16 hex digits that change with the recipe's version or the unit's settings or seeds.

        A result file with another fingerprint is from another run and is never mixed in.
        """
        identity = {
            "recipe": self.name,
            "version": self.version,
            "unit": unit.name,
            "seeds": unit.seeds,
            "hyper": dict(unit.hyper),
            "device": self.device,
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def source_sha256(self) -> str:
        """The sha256 of the source file that holds ``run_unit``; ``"unknown"`` without a file.

        It is a record, not an identity: a corrected comment changes it.
        """
        try:
            with open(inspect.getfile(self.run_unit), "rb") as source:
                return hashlib.sha256(source.read()).hexdigest()
        except (OSError, TypeError):
            return "unknown"


class UnknownRecipe(LookupError):
    """A recipe was asked for that the registry does not hold."""


_REGISTRY: dict[str, Recipe] = {}


def register(recipe: Recipe) -> Recipe:
    """Add ``recipe`` to the registry and return it; raises ``ValueError`` if its name is taken."""
    if recipe.name in _REGISTRY:
        raise ValueError(f"there is a recipe {recipe.name!r} already: choose another name")
    _REGISTRY[recipe.name] = recipe
    return recipe


def names() -> list[str]:
    """The names of all recipes, in the order in which they were registered."""
    return list(_REGISTRY)


def get(name: str) -> Recipe:
    """The recipe called ``name``; raises `UnknownRecipe` with the nearest and all known names."""
    if name in _REGISTRY:
        return _REGISTRY[name]
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownRecipe(f"there is no recipe {name!r}.{hint} Known: {', '.join(names())}.")
