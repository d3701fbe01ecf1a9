"""Plain sentences that state what the instruction families ask for: text to pretrain on.

Does: write short documents such as "The word garden is spelled g-a-r-d-e-n." or a small table of
words and their plurals, about the *training* combinations of `xor2gpt.data.synthetic.instructions`
only. A model that has read them may know a thing; to answer an instruction it has still to learn
the form.
Does not: contain an instruction, a prompt template, or any combination of the test split. A closed
list (opposites, plurals, past tense) is stated whole: its test entries ask for a known word in
another phrasing.
Source: own texts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xor2gpt.data.synthetic.instructions import FAMILIES, instructions, shown

__all__ = ["SENTENCES", "skills"]

# {x} is what the families show, {a}, {b} … their arguments, {y} the answer.
SENTENCES: dict[str, tuple[str, ...]] = {
    "spelling": (
        "The word {x} is spelled {y}.",
        "Letter by letter, {x} is {y}.",
        "{x} = {y}",
        "'{x}' with dashes: {y}",
    ),
    "reverse": (
        "Read backwards, {x} is {y}.",
        "From the last letter to the first, {x} becomes {y}.",
        "{x} <-> {y}",
        "'{x}' seen in a mirror: {y}",
    ),
    "uppercase": ("In capitals {x} is {y}.", "The sign says {y}, that is {x}.", "{x} ^ {y}"),
    "lowercase": ("Without capitals {x} is {y}.", "The sign says {x}, I read {y}.", "{x} _ {y}"),
    "sort words": (
        "In a dictionary {x} come as {y}.",
        "From a to z: {x} -> {y}",
        "A list of {x}, in order, is {y}.",
    ),
    "sort numbers": (
        "From small to large {x} come as {y}.",
        "In order: {x} -> {y}",
        "They counted {x}, which is {y} when put in order.",
    ),
    "count letters": (
        "The word {x} is {y} letters long.",
        "{y} letters make {x}.",
        "{x} # {y}",
        "'{x}' has {y} letters",
    ),
    "count a letter": (
        "The word {b} holds the letter {a} {y} times.",
        "In {b} there is {a} {y} times.",
        "{a} in {b} # {y}",
    ),
    "addition": (
        "If you have {a} and get {b} more, you have {y}.",
        "{x} = {y}",
        "{x} makes {y}.",
    ),
    "subtraction": (
        "If you have {a} and give away {b}, you have {y} left.",
        "{x} = {y}",
        "{x} leaves {y}.",
    ),
    "compare numbers": (
        "Of {a} and {b} the larger one is {y}.",
        "{x}: {y} is more.",
        "Between {a} and {b}, {y} wins.",
    ),
    "opposite": (
        "The opposite of {x} is {y}.",
        "Not {x} but {y}.",
        "{x} and {y} are opposites.",
        "'{x}' against '{y}'",
    ),
    "plural": (
        "One {x}, two {y}.",
        "The plural of {x} is {y}.",
        "There is a {x} here and many {y} there.",
    ),
    "past tense": (
        "The past tense of {x} is {y}.",
        "Today they {x}, yesterday they {y}.",
        "To {x}: last week we {y}.",
    ),
    "date format": (
        "The date {x} is the {y}.",
        "{x} means {y}.",
        "On {y} (in short {x}) nothing happened.",
    ),
    "extract number": ("{x} The number is {y}.", "{x} How many? {y}", "{x} So {y} things."),
    "extract name": ("{x} The name is {y}.", "{x} Who? {y}", "{x} It was {y}."),
    "extract e-mail": ("{x} The address is {y}.", "{x} Where to? {y}", "{x} So it goes to {y}."),
    "repeat": ("Say {x}: {y}.", "{x} is {y}", "If you write {x} you get {y}."),
    "first word": (
        "The list {x} begins with {y}.",
        "{x}: {y} comes first.",
        "In front of all of {x} stands {y}.",
    ),
    "last word": (
        "The list {x} ends with {y}.",
        "{x}: {y} comes last.",
        "Behind all of {x} stands {y}.",
    ),
}
_PER_DOCUMENT = 6
_MIXED = 40  # of 100 documents are about several families


def skills(n: int, *, seed: int) -> Iterator[str]:
    """``n`` documents of six sentences each, most about one family, some about several.

    In four of ten documents of one family each sentence has a line of its own, and half of these
    put the thing and its answer on two lines without more words, as tables do.

    Args:
        n: how many documents.
        seed: the same seed gives the same documents on every machine.

    Raises:
        ValueError: a negative ``n``.
    """
    if n < 0:
        raise ValueError(f"n is 0 or more, not {n}")
    rng = np.random.default_rng([seed, 4])
    pools = {family: _Pool(family, seed, i) for i, family in enumerate(FAMILIES)}
    for _ in range(n):
        if rng.integers(100) < _MIXED:
            chosen = [FAMILIES[i] for i in rng.integers(len(FAMILIES), size=_PER_DOCUMENT)]
            yield " ".join(_sentence(pools[family].next(), family, rng) for family in chosen)
            continue
        family = FAMILIES[rng.integers(len(FAMILIES))]
        entries = [pools[family].next() for _ in range(_PER_DOCUMENT)]
        form = rng.integers(10)
        if form < 2:
            yield "\n\n".join(f"{_shown(entry)}\n{entry['output']}" for entry in entries)
        else:
            joint = "\n" if form < 4 else " "
            yield joint.join(_sentence(entry, family, rng) for entry in entries)


class _Pool:
    """Training entries of one family, drawn in lots."""

    def __init__(self, family: str, seed: int, number: int) -> None:
        self.family, self.seed, self.number, self.lot = family, seed, number, 0
        self.entries: list[dict[str, object]] = []

    def next(self) -> dict[str, object]:
        if not self.entries:
            self.lot += 1
            lot_seed = (self.seed * 1_000 + self.number) * 1_000_000 + self.lot
            self.entries = instructions(500, seed=lot_seed, families=[self.family])
        return self.entries.pop()


def _shown(entry: dict[str, object]) -> str:
    """What the family's task shows: its input, wherever this entry's phrasing has put it."""
    return shown(str(entry["family"]), list(entry["arguments"]))


def _sentence(entry: dict[str, object], family: str, rng: np.random.Generator) -> str:
    forms = SENTENCES[family]
    arguments = dict(zip("abcd", map(str, entry["arguments"]), strict=False))
    text = forms[rng.integers(len(forms))]
    return text.format(x=_shown(entry), y=entry["output"], **arguments)
