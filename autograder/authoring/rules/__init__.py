"""The rules of the lint: what a rule is, what it sees, and the list of all rules.

A rule is a generator of findings, registered under an id by ``@rule("free-names")``. The modules
beside this one hold the rules: ``structure`` (cells, roles, exercises, objectives), ``code``
(prelude, answers, checks), ``text`` (headings, hints, links, tables), ``outputs`` (what is stored).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autograder.authoring import mutants, quizzes
from autograder.authoring.stage import Cell, Stage, StageError


@dataclass(frozen=True)
class Finding:
    """One broken rule: where, which, what is wrong and what to do about it."""

    rule: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: [{self.rule}] {self.what}"


@dataclass
class Context:
    """What a rule sees: the stage and, where they can be read, its mutants and its quiz."""

    root: Path
    stage: Stage

    @property
    def label(self) -> str:
        """How messages name the notebook."""
        return f"solutions/{self.stage.name}/{self.stage.name}.ipynb"

    @cached_property
    def plan(self) -> mutants.Plan | None:
        """The mutants, or None when they cannot be read (rule ``mutants`` says why)."""
        try:
            return mutants.load(self.root, self.stage.name)
        except StageError:
            return None

    @property
    def bank_path(self) -> Path:
        return self.root / "book" / "quizzes" / f"{self.stage.name}.yml"

    @cached_property
    def bank(self) -> quizzes.Bank | None:
        """The quiz, or None when it cannot be read (rule ``quiz`` says why)."""
        try:
            return quizzes.load(self.bank_path)
        except quizzes.QuizError:
            return None


Problem = tuple[Cell | str | None, str]  # a cell, another place, or the notebook; and what is wrong
Check = Callable[[Context], Iterator[Problem]]
RULES: dict[str, Check] = {}


def rule(name: str) -> Callable[[Check], Check]:
    """Register a rule: it yields :data:`Problem`, and says in ``what`` what to do, too."""

    def register(check: Check) -> Check:
        assert name not in RULES, f"two rules are called {name}"
        RULES[name] = check
        return check

    return register


def apply(context: Context, only: set[str] | None = None) -> list[Finding]:
    """All findings of all rules (or of ``only`` these), in the order of the rules."""
    found = []
    for name, check in RULES.items():
        if only is not None and name not in only:
            continue
        for place, what in check(context):
            where = place.where if isinstance(place, Cell) else place or context.label
            found.append(Finding(name, where, what))
    return found
