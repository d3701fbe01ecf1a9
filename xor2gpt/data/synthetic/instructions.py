"""Instructions with exact answers, in Alpaca's fields, over twenty-one task families.

Does: make entries ``instruction``, ``input``, ``output`` with their family; decide whether an
answer is right; keep training and test combinations apart.
Does not: test open-ended writing, or need a judge: every answer is one string.
Source: own texts; the fields are those of Stanford Alpaca [Taori et al., 2023].

A *combination* is what is asked: a family with its arguments, whatever the phrasing (``uppercase``
of ``garden``). A hash of the combination alone decides whether it belongs to training or to test,
so the two never meet, whatever seeds and sizes are drawn. Closed lists (opposites, plurals, past
tense) cannot be worked out: there the phrasing is a part of the combination, and a test entry asks
for a known word in a phrasing that training never has with it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "FAMILIES",
    "TEST_PERCENT",
    "answer_is_right",
    "instructions",
    "shown",
    "split_of",
    "train_test",
]

TEST_PERCENT = 20
Entry = dict[str, object]

_WORD_LIST = """
apple bread castle dragon engine forest garden hammer island jacket kitchen ladder market needle
orange pencil quiet river silver table umbrella violin window yellow zebra anchor basket candle
desert eleven finger guitar harbour insect jungle kettle lemon mirror number ocean parrot rabbit
saddle tunnel uncle velvet winter bridge carpet doctor planet summer pepper bottle cotton button
monkey pillow rocket ticket tomato turtle wallet helmet magnet camera banana butter circle
feather flower hollow letter little marble mother narrow paper pocket potato puzzle ribbon
season shadow simple sister spider spring square stone street sugar temple thunder tiger valley
wagon water whistle wonder wooden cloud clock chair plate piano robot radio salad snail snake
sheep shirt shoes
"""
WORDS = tuple(_WORD_LIST.split())
NAMES = (
    *("Ada", "Bruno", "Carla", "David", "Emma", "Felix", "Greta", "Henry", "Irma", "Jonas"),
    *("Klara", "Leo", "Mona", "Nora", "Otto"),
)
VERBS = tuple(["bought", "found", "painted", "lost", "sold", "carried", "washed", "dropped"])
OPPOSITES = (
    *(("hot", "cold"), ("big", "small"), ("fast", "slow"), ("old", "young"), ("light", "dark")),
    *(("happy", "sad"), ("open", "closed"), ("early", "late"), ("full", "empty"), ("hard", "soft")),
    *(("high", "low"), ("near", "far"), ("rich", "poor"), ("strong", "weak"), ("wet", "dry")),
    *(("clean", "dirty"), ("loud", "quiet"), ("thick", "thin"), ("true", "false"), ("up", "down")),
    *(("deep", "shallow"), ("wide", "narrow"), ("sweet", "sour"), ("cheap", "expensive")),
    *(("first", "last"), ("inside", "outside"), ("left", "right"), ("push", "pull")),
    *(("always", "never"), ("begin", "end"), ("buy", "sell"), ("day", "night"), ("win", "lose")),
    *(("friend", "enemy"), ("question", "answer"), ("summer", "winter")),
)
PLURALS = (
    *(("child", "children"), ("mouse", "mice"), ("foot", "feet"), ("tooth", "teeth")),
    *(("goose", "geese"), ("man", "men"), ("woman", "women"), ("knife", "knives")),
    *(("leaf", "leaves"), ("wolf", "wolves"), ("city", "cities"), ("story", "stories")),
    *(("baby", "babies"), ("box", "boxes"), ("fox", "foxes"), ("bus", "buses")),
    *(("glass", "glasses"), ("dish", "dishes"), ("church", "churches"), ("hero", "heroes")),
    *(("potato", "potatoes"), ("key", "keys"), ("toy", "toys"), ("book", "books")),
    *(("tree", "trees"), ("house", "houses"), ("river", "rivers"), ("shelf", "shelves")),
    *(("berry", "berries"), ("lady", "ladies"), ("watch", "watches"), ("tomato", "tomatoes")),
    *(("half", "halves"), ("ox", "oxen"), ("garden", "gardens"), ("window", "windows")),
)
PASTS = (
    *(("go", "went"), ("see", "saw"), ("eat", "ate"), ("run", "ran"), ("write", "wrote")),
    *(("take", "took"), ("give", "gave"), ("come", "came"), ("sing", "sang"), ("drink", "drank")),
    *(("swim", "swam"), ("find", "found"), ("think", "thought"), ("bring", "brought")),
    *(("buy", "bought"), ("teach", "taught"), ("catch", "caught"), ("sleep", "slept")),
    *(("keep", "kept"), ("feel", "felt"), ("leave", "left"), ("lose", "lost"), ("build", "built")),
    *(("send", "sent"), ("fly", "flew"), ("know", "knew"), ("grow", "grew"), ("break", "broke")),
    *(("speak", "spoke"), ("walk", "walked"), ("play", "played"), ("stop", "stopped")),
    *(("carry", "carried"), ("hope", "hoped"), ("wear", "wore"), ("choose", "chose")),
)
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class _Draw:
    """Whole-number draws."""

    def __init__(self, seed: Sequence[int]) -> None:
        self.rng = np.random.Generator(np.random.PCG64(list(seed)))

    def number(self, low: int, high: int) -> int:
        """Uniform on low .. high, both included."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, options: Sequence):
        return options[self.number(0, len(options) - 1)]

    def several(self, options: Sequence, count: int) -> list:
        """Different ones."""
        return [options[int(i)] for i in self.rng.permutation(len(options))[:count]]


@dataclass(frozen=True)
class Family:
    """A kind of task.

    Attributes:
        phrasings: instructions; ``{x}`` is the argument, put there if the phrasing has it, else
            given as the entry's ``input``.
        draw: arguments of one entry, as strings.
        answer: the exact answer to them.
        show: the arguments as the text that the student of the task reads.
        closed: the answers are a list to be known, so the phrasing belongs to the combination.
    """

    phrasings: tuple[str, ...]
    draw: Callable[[_Draw], tuple[str, ...]]
    answer: Callable[..., str]
    show: Callable[..., str] = lambda *arguments: " ".join(arguments)
    closed: bool = False


def _any_word(draw: _Draw) -> str:
    """A word of the list or, as often, an invented one: letters matter here, not meaning."""
    if draw.number(0, 1):
        return draw.pick(WORDS)
    syllables = [draw.pick("bdfgklmnprstvz") + draw.pick("aeiou") for _ in range(draw.number(2, 3))]
    return "".join(syllables) + draw.pick(("", "", "n", "s", "r"))


def _word(draw: _Draw) -> tuple[str, ...]:
    return (_any_word(draw),)


def _some_words(low: int, high: int) -> Callable[[_Draw], tuple[str, ...]]:
    return lambda draw: tuple(draw.several(WORDS, draw.number(low, high)))


def _numbers(count: int, high: int) -> Callable[[_Draw], tuple[str, ...]]:
    return lambda draw: tuple(str(n) for n in draw.several(range(1, high + 1), count))


def _letter_and_word(draw: _Draw) -> tuple[str, ...]:
    word = _any_word(draw)
    return draw.pick(sorted(set(word))), word


def _from_list(pairs: Sequence[tuple[str, str]], both_ways: bool = False):
    table = dict(pairs)
    if both_ways:
        table |= {right: left for left, right in pairs}
    keys = sorted(table)
    return (lambda draw: (draw.pick(keys),)), table.__getitem__


def _subtraction(draw: _Draw) -> tuple[str, ...]:
    high = draw.number(1, 99)
    return str(high), str(draw.number(0, high))


def _date(draw: _Draw) -> tuple[str, ...]:
    month = draw.number(1, 12)
    return (f"{draw.number(1900, 2099)}-{month:02d}-{draw.number(1, _DAYS[month - 1]):02d}",)


def _long_date(iso: str) -> str:
    year, month, day = iso.split("-")
    return f"{int(day)} {MONTHS[int(month) - 1]} {year}"


def _purchase(draw: _Draw) -> tuple[str, ...]:
    return draw.pick(NAMES), draw.pick(VERBS), str(draw.number(2, 99)), draw.pick(WORDS)


def _purchase_text(name: str, verb: str, number: str, word: str) -> str:
    return f"{name} {verb} {number} things near the {word}."


def _contact(draw: _Draw) -> tuple[str, ...]:
    return draw.pick(NAMES), f"{draw.pick(WORDS)}@{draw.pick(WORDS)}.example"


def _times(draw: _Draw) -> tuple[str, ...]:
    return _any_word(draw), str(draw.number(2, 4))


_opposite_draw, _opposite = _from_list(OPPOSITES, both_ways=True)
_plural_draw, _plural = _from_list(PLURALS)
_past_draw, _past = _from_list(PASTS)

_FAMILIES: dict[str, Family] = {
    "spelling": Family(
        ("Spell the word '{x}' with dashes.", "Put a dash between the letters.", "Spell '{x}'."),
        _word,
        lambda word: "-".join(word),
    ),
    "reverse": Family(
        ("Reverse the word.", "Write '{x}' backwards.", "Turn the letters round."),
        _word,
        lambda word: word[::-1],
    ),
    "uppercase": Family(
        ("Write in capital letters.", "Convert '{x}' to upper case.", "Make it uppercase."),
        _some_words(1, 2),
        lambda *words: " ".join(words).upper(),
    ),
    "lowercase": Family(
        ("Write in small letters.", "Convert '{x}' to lower case.", "Make it lowercase."),
        _some_words(1, 2),
        lambda *words: " ".join(words),
        lambda *words: " ".join(words).upper(),
    ),
    "sort words": Family(
        ("Sort the words by the alphabet.", "Put in alphabetical order: {x}", "Sort these words."),
        _some_words(3, 3),
        lambda *words: " ".join(sorted(words)),
    ),
    "sort numbers": Family(
        ("Sort the numbers, smallest first.", "Put in rising order: {x}", "Sort these numbers."),
        _numbers(3, 50),
        lambda *numbers: " ".join(sorted(numbers, key=int)),
    ),
    "count letters": Family(
        ("How many letters has '{x}'?", "Count the letters.", "Give the number of letters."),
        _word,
        lambda word: str(len(word)),
    ),
    "count a letter": Family(
        ("How often does the letter come?", "Count the letter: {x}", "How often: {x}?"),
        _letter_and_word,
        lambda letter, word: str(word.count(letter)),
        lambda letter, word: f"{letter} in {word}",
    ),
    "addition": Family(
        ("Add the numbers.", "What is {x}?", "Calculate {x}."),
        lambda draw: (str(draw.number(0, 49)), str(draw.number(0, 49))),
        lambda a, b: str(int(a) + int(b)),
        lambda a, b: f"{a} + {b}",
    ),
    "subtraction": Family(
        ("Subtract the numbers.", "What is {x}?", "Calculate {x}."),
        _subtraction,
        lambda a, b: str(int(a) - int(b)),
        lambda a, b: f"{a} - {b}",
    ),
    "compare numbers": Family(
        ("Which number is larger?", "Give the larger number: {x}", "Which is more: {x}?"),
        _numbers(2, 99),
        lambda a, b: str(max(int(a), int(b))),
        lambda a, b: f"{a} or {b}",
    ),
    "opposite": Family(
        ("Give the opposite.", "What is the opposite of '{x}'?", "Name the opposite of {x}."),
        _opposite_draw,
        _opposite,
        closed=True,
    ),
    "plural": Family(
        ("Give the plural.", "What is the plural of '{x}'?", "More than one {x}?"),
        _plural_draw,
        _plural,
        closed=True,
    ),
    "past tense": Family(
        ("Give the past tense.", "What is the past tense of '{x}'?", "Yesterday's form of {x}?"),
        _past_draw,
        _past,
        closed=True,
    ),
    "date format": Family(
        ("Write the date in words.", "Convert {x} to day, month, year.", "Write out {x}."),
        _date,
        _long_date,
    ),
    "extract number": Family(
        ("Which number is in the text?", "Extract the number.", "Find the number: {x}"),
        _purchase,
        lambda name, verb, number, word: number,
        _purchase_text,
    ),
    "extract name": Family(
        ("Which name is in the text?", "Extract the name.", "Who is it about? {x}"),
        _purchase,
        lambda name, verb, number, word: name,
        _purchase_text,
    ),
    "extract e-mail": Family(
        ("Which address is in the text?", "Extract the e-mail address.", "Find the e-mail: {x}"),
        _contact,
        lambda name, address: address,
        lambda name, address: f"Write to {name} at {address} today.",
    ),
    "repeat": Family(
        ("Repeat the word as often as asked.", "Write {x}.", "Repeat: {x}"),
        _times,
        lambda word, times: " ".join([word] * int(times)),
        lambda word, times: f"{word} {times} times",
    ),
    "first word": Family(
        ("Give the first word.", "What is the first word of: {x}", "Which word comes first?"),
        _some_words(3, 4),
        lambda *words: words[0],
    ),
    "last word": Family(
        ("Give the last word.", "What is the last word of: {x}", "Which word comes last?"),
        _some_words(3, 4),
        lambda *words: words[-1],
    ),
}
FAMILIES = tuple(_FAMILIES)


def split_of(family: str, arguments: Sequence[str], phrasing: int = 0) -> str:
    """``train`` or ``test``: a fixed fifth of all combinations belongs to the test.

    A hash of family and arguments decides, no seed. For lists whose order is the task's input
    (sorting, comparing, adding) the order does not count, so that a test question is not a training
    question turned round. ``phrasing``, an index into the family's phrasings, counts for closed
    lists only; every word of theirs keeps at least two phrasings for training.
    """
    commutes = family in ("sort words", "sort numbers", "addition", "compare numbers")
    ordered = sorted(arguments) if commutes else list(arguments)
    key = "|".join([family, *ordered]).encode()
    number = int.from_bytes(hashlib.sha256(key).digest()[:4], "big") % 100
    if _FAMILIES[family].closed:  # one phrasing of the word, for so many words that it is a fifth
        phrasings = len(_FAMILIES[family].phrasings)
        held_out = number % phrasings if number < TEST_PERCENT * phrasings else None
        return "test" if phrasing == held_out else "train"
    return "test" if number < TEST_PERCENT else "train"


def shown(family: str, arguments: Sequence[str]) -> str:
    """The arguments as the text that a task of this family is about: ``3 + 4``."""
    return _FAMILIES[family].show(*arguments)


def _entry(name: str, arguments: tuple[str, ...], phrasing: int) -> Entry:
    family = _FAMILIES[name]
    thing = shown(name, arguments)
    text = family.phrasings[phrasing]
    inside = "{x}" in text
    return {
        "instruction": text.replace("{x}", thing),
        "input": "" if inside else thing,
        "output": family.answer(*arguments),
        "family": name,
        "arguments": list(arguments),
        "phrasing": phrasing,
    }


def instructions(
    n: int,
    *,
    seed: int,
    split: str = "train",
    families: Sequence[str] = FAMILIES,
) -> list[Entry]:
    """``n`` entries, the families in turn, in random order.

    Each is a dict with Alpaca's ``instruction``, ``input`` (may be empty) and ``output``, and with
    ``family``, ``arguments`` and ``phrasing`` (an index). A combination may come back, with another
    phrasing or the same: closed lists have few members.

    Args:
        n: how many.
        seed: the same seed gives the same entries on every machine.
        split: ``train`` or ``test``: which combinations.
        families: some of ``FAMILIES``.

    Raises:
        ValueError: an unknown split or family, or a negative ``n``.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split is 'train' or 'test', not {split!r}")
    unknown = [name for name in families if name not in _FAMILIES]
    if unknown or not families:
        raise ValueError(f"no such family: {unknown}; there are {', '.join(FAMILIES)}")
    if n < 0:
        raise ValueError(f"n is 0 or more, not {n}")
    draw = _Draw([seed, split == "test"])
    entries = []
    for number in range(n):
        name = families[number % len(families)]
        while True:
            arguments = _FAMILIES[name].draw(draw)
            phrasing = draw.number(0, len(_FAMILIES[name].phrasings) - 1)
            if split_of(name, arguments, phrasing) == split:
                break
        entries.append(_entry(name, arguments, phrasing))
    return [entries[position] for position in draw.rng.permutation(n)]


def train_test(n_train: int, n_test: int, *, seed: int) -> tuple[list[Entry], list[Entry]]:
    """Training and test entries; no combination is in both."""
    return (
        instructions(n_train, seed=seed, split="train"),
        instructions(n_test, seed=seed, split="test"),
    )


def answer_is_right(entry: Entry, text: str) -> bool:
    """Whether a model's text is the answer.

    Spaces at the ends, runs of spaces, and one full stop at the end do not count; letters, case
    and order do.
    """
    return _tidy(text) == _tidy(str(entry["output"]))


def _tidy(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().removesuffix(".").rstrip()
