"""Quiz banks: ``book/quizzes/*.yml`` read, checked and given as dataclasses.

Does: read one bank, check it against the schema of CONTRIBUTING.md (section 4), and return it
with fields named as in the YAML. An error names the file, the question and the field.
Does not: render anything (the book's ``quiz`` directive does); know which objectives a stage has
(``lint`` compares the two).

    bank = load(Path("book/quizzes/03_xor_backprop.yml"))
    bank.questions[0].options[0].feedback
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "Bank",
    "Blank",
    "Choice",
    "Fill",
    "Matching",
    "Near",
    "Numeric",
    "Option",
    "Ordering",
    "Pair",
    "Question",
    "QuizError",
    "load",
]

QUESTION_ID = re.compile(r"^[a-z][a-z0-9]*(?:[.-][a-z0-9]+)*$")
OBJECTIVE = re.compile(r"^O\d+\.\d+$")
LABEL = re.compile(r"^[A-Z]\d+(?:\.\d+)?$")  # the diagnostics may number what they test: D1
PLACEHOLDER = re.compile(r"\{\{(\d+)\}\}")
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n(?:.*?^ {0,3}\1[`~]*[ \t]*$|.*)", re.M | re.S)
# as in Markdown, inline code ends at the next run of just as many backticks, in its paragraph
INLINE_CODE = re.compile(r"(?<![`\\])(`+)(?!`)((?:(?!\n[ \t]*\n).)+?)(?<!`)\1(?!`)", re.S)
# banks of the book's own pages: they belong to no stage, so their questions need no objective
PAGE_BANKS = frozenset({"diagnostics", "language_models"})


class QuizError(Exception):
    """A quiz bank is not as CONTRIBUTING.md says; the message names file, question and field."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a choice question."""

    text: str
    correct: bool
    feedback: str


@dataclass(frozen=True, kw_only=True)
class Near:
    """A wrong number that people really give, and what to say to them."""

    value: float
    tolerance: float
    feedback: str


@dataclass(frozen=True, kw_only=True)
class Blank:
    """One gap of a fill-in question; any of ``accept`` is right (case, spaces do not matter)."""

    accept: list[str]
    feedback: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two things that belong together."""

    left: str
    right: str
    feedback: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What every question has. ``objective`` is None only in the bank of diagnostics."""

    id: str
    type: str
    objective: str | None
    source: list[str]
    prompt: str
    explanation: str


@dataclass(frozen=True, kw_only=True)
class Choice(Question):
    """``single`` (exactly one right option) and ``multiple`` (one or more)."""

    options: list[Option]


@dataclass(frozen=True, kw_only=True)
class Numeric(Question):
    """Right is every number within ``tolerance`` of ``answer``."""

    answer: float
    tolerance: float
    feedback: str
    unit: str | None = None
    near: list[Near]


@dataclass(frozen=True, kw_only=True)
class Fill(Question):
    """The prompt holds ``{{1}}``, ``{{2}}`` …, one for each of ``blanks``."""

    blanks: list[Blank]


@dataclass(frozen=True, kw_only=True)
class Matching(Question):
    """Each ``left`` goes with its ``right``; ``distractors`` go with none."""

    pairs: list[Pair]
    distractors: list[str]


@dataclass(frozen=True, kw_only=True)
class Ordering(Question):
    """``items`` are in the right order."""

    items: list[str]
    feedback: str


@dataclass(frozen=True)
class Bank:
    """One quiz. ``stage`` is the file's stem: a stage's slug, or ``diagnostics``."""

    path: Path
    stage: str
    title: str
    questions: list[Question]

    def ids(self) -> set[str]:
        return {question.id for question in self.questions}


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key written twice in one mapping (PyYAML keeps the last silently)."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key, count in Counter(keys).items():
        if count > 1:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{key}' is written twice", node.start_mark
            )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> Any:
    """The data of a YAML file, keys unique. Raises ``QuizError`` naming file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise QuizError(f"{_label(path)}: cannot be read: {error.strerror}") from error
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: plain data only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise QuizError(f"{_label(path)}:{line} is not valid YAML: {problem}") from error


def _label(path: Path) -> str:
    """``book/quizzes/x.yml`` rather than the whole path of this machine."""
    return "/".join(path.parts[-3:])


class _Fields:
    """One mapping of a bank, read field by field; errors say where."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise QuizError(f"{where}: a mapping (name: value) is needed, not {data!r}")
        self.data, self.where, self.known = data, where, set()

    def error(self, name: str, problem: str) -> QuizError:
        return QuizError(f"{self.where}: field '{name}': {problem}")

    def has(self, name: str) -> bool:
        self.known.add(name)
        return self.data.get(name) is not None

    def _get(self, name: str) -> Any:
        if not self.has(name):
            raise self.error(name, "is missing")
        return self.data[name]

    def text(self, name: str) -> str:
        return self._as_text(name, self._get(name))

    def optional_text(self, name: str) -> str | None:
        return self.text(name) if self.has(name) else None

    def _as_text(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.error(name, f"{value!r} is read as {type(value).__name__}: put it in quotes")
        if not value.strip():
            raise self.error(name, "is empty")
        return value.strip()

    def texts(self, name: str, least: int = 1) -> list[str]:
        values = [self._as_text(f"{name}[{i}]", v) for i, v in enumerate(self.items(name, least))]
        self.distinct(name, values)
        return values

    def number(self, name: str, least: float = -math.inf) -> float:
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(name, f"{value!r} is not a number (YAML wants 0.001 or 1.0e-3)")
        if not math.isfinite(value) or value < least:
            raise self.error(name, f"{value!r} must be a finite number, at least {least}")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise self.error(name, f"must be true or false, not {value!r}")
        return value

    def items(self, name: str, least: int = 1) -> list[Any]:
        value = self._get(name)
        if not isinstance(value, list):
            raise self.error(name, f"must be a list, not {type(value).__name__}")
        if len(value) < least:
            raise self.error(name, f"has {len(value)} entries, at least {least} are needed")
        return value

    def children(self, name: str, least: int = 1) -> Iterable[_Fields]:
        for i, data in enumerate(self.items(name, least)):
            yield _Fields(data, f"{self.where}: {name}[{i}]")

    def distinct(self, name: str, values: Iterable[Hashable]) -> None:
        for value, count in Counter(values).items():
            if count > 1:
                raise self.error(name, f"{value!r} occurs {count} times")

    def nothing_else(self) -> None:
        if unknown := sorted(str(key) for key in self.data if key not in self.known):
            known = ", ".join(sorted(self.known))
            raise self.error(unknown[0], f"is not known here (known: {known})")


def _choice(fields: _Fields, common: dict[str, Any]) -> Choice:
    options = []
    for child in fields.children("options", least=2):
        options.append(
            Option(
                text=child.text("text"),
                correct=child.flag("correct"),
                feedback=child.text("feedback"),
            )
        )
        child.nothing_else()
    fields.distinct("options", [option.text for option in options])
    right = sum(option.correct for option in options)
    if common["type"] == "single" and right != 1:
        raise fields.error("options", f"{right} are correct; a 'single' question has exactly one")
    if right == 0:
        raise fields.error("options", "none is correct; a 'multiple' question has at least one")
    return Choice(**common, options=options)


def _numeric(fields: _Fields, common: dict[str, Any]) -> Numeric:
    answer, tolerance = fields.number("answer"), fields.number("tolerance", least=0.0)
    near = []
    if fields.has("near"):
        for child in fields.children("near"):
            entry = Near(
                value=child.number("value"),
                tolerance=child.number("tolerance", least=0.0),
                feedback=child.text("feedback"),
            )
            if abs(entry.value - answer) <= tolerance:
                raise child.error("value", f"{entry.value} counts as right (answer ± tolerance)")
            child.nothing_else()
            near.append(entry)
    return Numeric(
        **common,
        answer=answer,
        tolerance=tolerance,
        unit=fields.optional_text("unit"),
        near=near,
        feedback=fields.text("feedback"),
    )


def _fill(fields: _Fields, common: dict[str, Any]) -> Fill:
    blanks = []
    for child in fields.children("blanks"):
        blanks.append(Blank(accept=child.texts("accept"), feedback=child.text("feedback")))
        child.nothing_else()
    found = sorted(int(number) for number in PLACEHOLDER.findall(common["prompt"]))
    if found != list(range(1, len(blanks) + 1)):
        raise fields.error(
            "prompt",
            f"holds the gaps {found}, but there are {len(blanks)} blanks: "
            "number the gaps {{1}}, {{2}} … and use each once",
        )
    if inside := _gaps_inside_code(common["prompt"]):
        raise fields.error(
            "prompt",
            f"gap {inside[0]} stands inside code, where no field can be shown: "
            "close the code before it and open it again, such as `x =` {{1}} `+ 1`",
        )
    return Fill(**common, blanks=blanks)


def _gaps_inside_code(prompt: str) -> list[str]:
    """The gaps, such as ``{{2}}``, within inline code or a code fence of a Markdown text."""
    fenced = [match[0] for match in FENCE.finditer(prompt)]
    inline = [match[2] for match in INLINE_CODE.finditer(FENCE.sub("\n\n", prompt))]
    return [gap[0] for text in fenced + inline for gap in PLACEHOLDER.finditer(text)]


def _matching(fields: _Fields, common: dict[str, Any]) -> Matching:
    pairs = []
    for child in fields.children("pairs", least=2):
        pairs.append(
            Pair(
                left=child.text("left"),
                right=child.text("right"),
                feedback=child.text("feedback"),
            )
        )
        child.nothing_else()
    distractors = fields.texts("distractors") if fields.has("distractors") else []
    fields.distinct("pairs", [pair.left for pair in pairs])
    fields.distinct("pairs", [pair.right for pair in pairs] + distractors)
    return Matching(**common, pairs=pairs, distractors=distractors)


def _ordering(fields: _Fields, common: dict[str, Any]) -> Ordering:
    return Ordering(
        **common, items=fields.texts("items", least=3), feedback=fields.text("feedback")
    )


READERS = {
    "single": _choice,
    "multiple": _choice,
    "numeric": _numeric,
    "fill": _fill,
    "matching": _matching,
    "ordering": _ordering,
}


def _question(fields: _Fields, needs_objective: bool) -> Question:
    kind = fields.text("type")
    if kind not in READERS:
        raise fields.error("type", f"{kind!r} is none of {', '.join(READERS)}")
    objective = fields.optional_text("objective")
    if objective is None and needs_objective:
        raise fields.error("objective", "is missing (only the bank of diagnostics has none)")
    pattern = OBJECTIVE if needs_objective else LABEL
    if objective is not None and not pattern.match(objective):
        raise fields.error("objective", f"{objective!r} does not look like O3.2")
    common = {
        "id": fields.text("id"),
        "type": kind,
        "objective": objective,
        "source": fields.texts("source"),
        "prompt": fields.text("prompt"),
        "explanation": fields.text("explanation"),
    }
    question = READERS[kind](fields, common)
    fields.nothing_else()
    return question


def load(path: Path | str) -> Bank:
    """Read and check one bank. Raises ``QuizError`` naming file, question and field."""
    path = Path(path)
    top = _Fields(read_yaml(path), _label(path))
    stage = top.text("stage")
    if stage != path.stem:
        raise top.error("stage", f"{stage!r} is not the file's name, {path.stem!r}")
    questions: list[Question] = []
    seen: set[str] = set()
    for fields in top.children("questions"):
        name = fields.text("id")
        if not QUESTION_ID.match(name):
            raise fields.error("id", f"{name!r}: lower-case words and numbers, such as q3.4")
        if name in seen:
            raise fields.error("id", f"{name!r} is used twice")
        seen.add(name)
        fields.where = f"{top.where}: question '{name}'"
        questions.append(_question(fields, needs_objective=stage not in PAGE_BANKS))
    bank = Bank(path, stage, top.text("title"), questions)
    top.nothing_else()
    return bank
