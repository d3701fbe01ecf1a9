"""Plain sentences that state what the instruction families ask for: text to pretrain on.

Does: write short documents such as "The word garden is spelled g-a-r-d-e-n." or a small table of
words and their plurals, about the *training* combinations of `xor2gpt.data.synthetic.instructions`
only (`skills`); write pages of practice, sums and the letters of other words (`drills`). A model
that has read them may know a thing; to answer an instruction it has still to learn the form.
Does not: contain an instruction, a prompt template, or any combination of the test split. A closed
list (opposites, plurals, past tense) is stated whole: its test entries ask for a known word in
another phrasing.
Source: own texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from xor2gpt.data.synthetic.instructions import FAMILIES, WORDS, instructions, shown, split_of

__all__ = ["SENTENCES", "drills", "other_words", "skills"]

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


# --- practice -------------------------------------------------------------------------------------

_LINES = 20  # of one page
# How many of 100 pages are of a kind. Addition and subtraction have few different facts, but the
# carry has to be found; a word's letters have to be known token by token.
_PAGES = {"addition": 28, "subtraction": 28, "sort numbers": 4, "sort words": 8, "letters": 32}
_LETTERS = ("spelling", "reverse", "reverse", "spelling", "count letters", "uppercase", "lowercase")
_INVENTED = re.compile(r"([bdfgklmnprstvz][aeiou]){2,3}[nsr]?")  # the instructions' made-up words


def other_words(texts: Iterable[str], *, least: int = 3) -> list[str]:
    """Words of 3 to 9 small letters that occur ``least`` times and that no instruction uses."""
    counts = Counter(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))
    return sorted(
        word
        for word, count in counts.items()
        if count >= least
        and 3 <= len(word) <= 9
        and word not in WORDS
        and not _INVENTED.fullmatch(word)
    )


def drills(n: int, *, seed: int, words: Sequence[str]) -> Iterator[str]:
    """``n`` pages of twenty lines of one kind: sums, orders, or the letters of ``words``.

    Sums are of the families' training combinations, and additions of numbers up to 99, which the
    families do not ask for; ``words`` are from `other_words`.

    Raises:
        ValueError: a negative ``n``, or fewer than three words.
    """
    if n < 0 or len(words) < 3:
        raise ValueError(f"n is 0 or more, not {n}, and there must be 3 words, not {len(words)}")
    rng = np.random.default_rng([seed, 5])
    kinds = [kind for kind, share in _PAGES.items() for _ in range(share)]
    for _ in range(n):
        kind = kinds[rng.integers(len(kinds))]
        make = _letters if kind == "letters" else _fact
        yield "\n".join(make(kind, words, rng) for _ in range(_LINES))


def _fact(kind: str, words: Sequence[str], rng: np.random.Generator) -> str:
    """A line about a combination that does not belong to the test."""
    while True:
        if kind == "addition":
            a, b = (int(k) for k in rng.integers(50 if rng.integers(2) else 100, size=2))
            arguments, answer = (a, b), str(a + b)
        elif kind == "subtraction":
            a = int(rng.integers(1, 100))
            b = int(rng.integers(a + 1))
            arguments, answer = (a, b), str(a - b)
        elif kind == "sort numbers":
            arguments = tuple(int(k) + 1 for k in rng.choice(50, size=3, replace=False))
            answer = " ".join(map(str, sorted(arguments)))
        else:
            pool = WORDS if rng.integers(2) else words
            arguments = tuple(pool[i] for i in rng.choice(len(pool), size=3, replace=False))
            answer = " ".join(sorted(arguments))
        texts = [str(argument) for argument in arguments]
        if split_of(kind, texts) == "train":
            return _line(kind, texts, answer, rng)


def _letters(kind: str, words: Sequence[str], rng: np.random.Generator) -> str:
    word, family = words[rng.integers(len(words))], _LETTERS[rng.integers(len(_LETTERS))]
    answers = {
        "spelling": "-".join(word),
        "reverse": word[::-1],
        "count letters": str(len(word)),
        "uppercase": word.upper(),
        "lowercase": word,
    }
    return _line(
        family, [word.upper() if family == "lowercase" else word], answers[family], rng, plain=False
    )


def _line(
    family: str,
    arguments: list[str],
    answer: str,
    rng: np.random.Generator,
    plain: bool = True,
) -> str:
    """One of the family's sentences; a sum mostly without words."""
    # what a family shows of small letters is capitals: give it the word itself
    thing = arguments[0] if family == "lowercase" else shown(family, arguments)
    forms = SENTENCES[family]
    if plain and family in ("addition", "subtraction") and rng.integers(5):
        return f"{thing} = {answer}"
    text = forms[rng.integers(len(forms))]
    return text.format(x=thing, y=answer, **dict(zip("abcd", arguments, strict=False)))
