"""The lint of a stage: the check contract of CONTRIBUTING.md and the rules of good teaching.

Does: read a stage (nothing is executed) and give every broken rule as a line that names file,
cell, rule and remedy.
Does not: judge whether checks catch wrong answers (``mutants``), whether the student edition is
fresh (``release``), or whether outputs are reproducible (nbval).
"""

from __future__ import annotations

from pathlib import Path

from autograder.authoring.rules import (
    RULES,
    Context,
    Finding,
    apply,
    code,
    outputs,
    structure,
    text,
)
from autograder.authoring.stage import Stage

__all__ = ["RULES", "Finding", "lint"]

RULE_MODULES = (structure, code, text, outputs)  # importing them registers their rules


def lint(root: Path, name: str, only: set[str] | None = None) -> list[Finding]:
    """All findings of stage ``name``; an empty list is a clean stage.

    ``only`` limits the rules (none: all of them). Raises ``StageError`` when the notebook cannot
    be read at all, ``ValueError`` for an unknown rule.
    """
    if only and (unknown := only - RULES.keys()):
        raise ValueError(f"no such rule: {', '.join(sorted(unknown))}")
    return apply(Context(root, Stage.load(root, name)), only or None)
