"""A small language whose entropy is known exactly: the best loss any model can reach on it.

Does: sample English-like sentences from a probabilistic grammar; give entropy, length and n-gram
entropies exactly; give the probability of a sentence and of every next word; make items that test
agreement over a distance.
Does not: claim to be English. No meaning spans two sentences: they are independent.
Source: the entropy of a probabilistic context-free grammar by linear equations [Soule, 1974]; the
probability of a beginning [Stolcke, 1995], here by following all leftmost derivations at once.

What has to be carried over a distance, because a neighbour does not tell it:

- the verb agrees in number with its subject, with relative clauses and places in between, which
  nest (``the king that the dogs chase dances``);
- ``himself, herself, itself, themselves`` agree with the subject;
- the pronoun after ``when ... ,`` agrees with the subject of the clause;
- in ``Ada gives Otto a damp teapot ..., so Otto thanks Ada for the teapot`` two names and a thing
  come back.

Every choice is drawn with whole-number weights, every word belongs to one word class, and no
sentence has two derivations (the tests build the grammar's LR parser, and it has no conflict). So
the entropy of a sentence is the sum over the choices made, each as often as it is expected.

Words are what stands between spaces, and ``,`` and ``.`` are words of their own. A sentence ends
with ``.``; in a text a line break follows it. The first letter of a sentence is a capital.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

__all__ = [
    "AgreementItem",
    "Grammar",
    "NotInLanguage",
    "join_words",
    "ngram_cross_entropy",
    "split_words",
]

Production = tuple[int, tuple[str, ...]]  # weight, symbols
NO_SPACE_BEFORE = frozenset((",", "."))
_WORD = re.compile(r"[A-Za-z]+|[,.]")
_BLOCK = 1 << 15  # random numbers drawn at once


class NotInLanguage(ValueError):
    """The grammar does not produce these words; the message says at which word it fails."""


# --- the language ---------------------------------------------------------------------------------

# A feature is what has to be remembered of a noun phrase: gender for one, "they" for several;
# persons and animals do different things.
PERSONS = ("he", "she", "people")
ANIMALS = ("it", "animals")
FEATURES = (*PERSONS, *ANIMALS)
PLURAL = frozenset(("people", "animals"))
PRONOUNS = {"he": "he", "she": "she", "people": "they", "it": "it", "animals": "they"}
REFLEXIVES = {
    "he": "himself",
    "she": "herself",
    "people": "themselves",
    "it": "itself",
    "animals": "themselves",
}
NAMES_HE = ("Bruno", "Felix", "Otto")
NAMES_SHE = ("Ada", "Emma", "Nora")
THINGS = ("cake", "drum", "hat", "kettle", "lamp", "pickle", "spoon", "teapot")

# Singular and plural form stand at the same place.
_VERBS: dict[str, tuple[tuple[int, str, str], ...]] = {
    "do people": (
        (4, "sings", "sing"),
        (3, "dances", "dance"),
        (3, "snores", "snore"),
        (2, "giggles", "giggle"),
        (2, "complains", "complain"),
        (1, "yodels", "yodel"),
        (1, "faints", "faint"),
    ),
    "do animals": (
        (4, "sleeps", "sleep"),
        (3, "jumps", "jump"),
        (3, "barks", "bark"),
        (2, "purrs", "purr"),
        (2, "sneezes", "sneeze"),
        (1, "hiccups", "hiccup"),
        (1, "moults", "moult"),
    ),
    "act people": (
        (4, "loves", "love"),
        (3, "fears", "fear"),
        (3, "paints", "paint"),
        (2, "praises", "praise"),
        (2, "tickles", "tickle"),
        (1, "hypnotises", "hypnotise"),
        (1, "outwits", "outwit"),
    ),
    "act animals": (
        (4, "chases", "chase"),
        (3, "follows", "follow"),
        (3, "bites", "bite"),
        (2, "licks", "lick"),
        (2, "guards", "guard"),
        (1, "ambushes", "ambush"),
        (1, "sniffs", "sniff"),
    ),
}
_NOUNS: dict[str, tuple[tuple[int, str], ...]] = {
    "he": ((4, "king"), (3, "wizard"), (2, "monk"), (2, "butler"), (1, "duke")),
    "she": ((4, "queen"), (3, "witch"), (2, "nun"), (2, "sister"), (1, "duchess")),
    "people": ((4, "pirates"), (3, "poets"), (2, "bakers"), (2, "plumbers"), (1, "ninjas")),
    "it": ((4, "dog"), (3, "cat"), (2, "goose"), (2, "dragon"), (1, "walrus")),
    "animals": ((4, "dogs"), (3, "cats"), (2, "geese"), (2, "dragons"), (1, "walruses")),
}
_OTHER_CLASSES: dict[str, tuple[tuple[int, str], ...]] = {
    "the": ((1, "the"),),
    "a": ((5, "a"), (3, "this"), (2, "that"), (2, "every")),
    "several": ((4, "two"), (3, "many"), (3, "these"), (2, "some")),
    "adjective": (
        *((4, "tiny"), (4, "round"), (3, "grumpy"), (3, "brave"), (2, "hungry"), (2, "purple")),
        *((2, "sleepy"), (1, "blurry"), (1, "suspicious"), (1, "bearded"), (1, "damp")),
    ),
    "who": ((1, "who"),),
    "preposition": (
        *((4, "near"), (3, "behind"), (3, "beside"), (2, "under"), (2, "above"), (2, "without")),
    ),
    "adverb": (
        *((4, "loudly"), (3, "quietly"), (3, "badly"), (2, "today"), (2, "again")),
        *((1, "twice"), (1, "sideways")),
    ),
    "and": ((1, "and"),),
    "when": ((3, "when"), (1, "because")),
    "gives": ((3, "gives"), (2, "sells"), (1, "lends")),
    "so": ((1, "so"),),
    "thanks": ((3, "thanks"), (1, "pays")),
    "for": ((1, "for"),),
    ",": ((1, ","),),
    ".": ((1, "."),),
}


def _number(feature: str) -> str:
    return "plural" if feature in PLURAL else "singular"


def _kind(feature: str) -> str:
    return "animals" if feature in ANIMALS else "people"


def _verb_class(verb: str, feature: str) -> str:
    """The word class of the form of ``do`` (without object) or ``act`` (with) that agrees."""
    return f"{verb} {_kind(feature)} {_number(feature)}"


def _full_classes() -> dict[str, tuple[tuple[int, str], ...]]:
    classes = dict(_OTHER_CLASSES)
    for feature, nouns in _NOUNS.items():
        classes[f"noun {feature}"] = nouns
    for name, forms in _VERBS.items():
        classes[f"{name} singular"] = tuple((weight, form) for weight, form, _ in forms)
        classes[f"{name} plural"] = tuple((weight, form) for weight, _, form in forms)
    return classes


def _noun_phrases(feature: str) -> dict[str, list[Production]]:
    """A noun with what belongs to it; ``=word`` is that word itself."""
    noun, determiner = f"noun {feature}", "several" if feature in PLURAL else "a"
    core, modifier = f"core {feature}", f"modifier {feature}"
    rules: dict[str, list[Production]] = {
        core: [
            (5, ("the", noun)),
            (2, (determiner, noun)),
            (2, ("the", "adjectives", noun)),
            (1, (determiner, "adjectives", noun)),
        ],
        # Subjects carry more than objects do: what is in between makes agreement hard.
        f"subject {feature}": [(5, (core,)), (5, (core, modifier))],
        f"phrase {feature}": [(8, (core,)), (2, (core, modifier))],
        modifier: [(4, ("place",)), (6, (f"relative {feature}",))],
        f"relative {feature}": [
            (3, ("who", _verb_class("do", feature))),
            (3, ("who", _verb_class("act", feature), "object")),
            *(
                (weight, ("who", f"phrase {other}", _verb_class("act", other)))
                for weight, other in zip((1, 1, 2, 1, 1), FEATURES, strict=True)
            ),
        ],
    }
    if feature in ("he", "she"):
        rules[f"subject {feature}"].append((2, (f"name {feature}",)))
        rules[f"phrase {feature}"].append((2, (f"name {feature}",)))
    return rules


def _gift_rules() -> dict[str, list[Production]]:
    names = NAMES_HE + NAMES_SHE
    rules: dict[str, list[Production]] = {"gift": []}
    for giver in names:
        for taker in names:
            for thing in THINGS:
                if giver != taker:
                    first = (f"={giver}", "gives", f"={taker}", f"present {thing}", ",", "so")
                    then = (f"={taker}", "thanks", f"={giver}", "for", "the", f"={thing}", ".")
                    rules["gift"].append((1, first + then))
    for thing in THINGS:
        noun = f"={thing}"
        rules[f"present {thing}"] = [
            (3, ("a", noun)),
            (3, ("a", "adjectives", noun)),
            (2, ("a", noun, "place")),
            (2, ("a", "adjectives", noun, "place")),
        ]
    return rules


def _full_rules() -> dict[str, list[Production]]:
    rules: dict[str, list[Production]] = {
        "sentence": [(8, ("plain",)), (7, ("turn",)), (5, ("gift",))],
        "plain": [],
        "turn": [],
        "object": [(3, (f"phrase {feature}",)) for feature in FEATURES] + [(5, ("thing",))],
        "adjectives": [(4, ("adjective",)), (1, ("adjective", "adjectives"))],
        "place": [
            (5, ("preposition", "thing")),
            *((1, ("preposition", f"phrase {feature}")) for feature in FEATURES),
        ],
        "thing": [
            (5, ("the", "any thing")),
            (2, ("a", "any thing")),
            (2, ("the", "adjectives", "any thing")),
            (1, ("a", "adjectives", "any thing")),
        ],
        "any thing": [(1, (f"={thing}",)) for thing in THINGS],
        "name he": [(1, (f"={name}",)) for name in NAMES_HE],
        "name she": [(1, (f"={name}",)) for name in NAMES_SHE],
    }
    for weight, feature in zip((3, 3, 2, 2, 2), FEATURES, strict=True):
        subject, does = f"subject {feature}", f"predicate {feature}"
        rules["plain"] += [
            (3 * weight, (subject, does, ".")),
            (weight, (subject, does, "and", does, ".")),
        ]
        pronoun = f"={PRONOUNS[feature]}"
        rules["turn"].append((weight, ("when", subject, does, ",", pronoun, does, ".")))
        rules[does] = [
            (3, (_verb_class("do", feature),)),
            (2, (_verb_class("do", feature), "adverb")),
            (3, (_verb_class("act", feature), "object")),
            (2, (_verb_class("act", feature), f"={REFLEXIVES[feature]}")),
        ]
        rules |= _noun_phrases(feature)
    return rules | _gift_rules()


_TINY_CLASSES: dict[str, tuple[tuple[int, str], ...]] = {
    "the": ((1, "the"),),
    "noun singular": ((3, "king"), (1, "queen")),
    "noun plural": ((2, "pirates"), (1, "poets")),
    "do singular": ((2, "sings"), (1, "snores")),
    "do plural": ((2, "sing"), (1, "snore")),
    "act singular": ((1, "fears"),),
    "act plural": ((1, "fear"),),
    "who": ((1, "who"),),
    ".": ((1, "."),),
}
_TINY_RULES: dict[str, list[Production]] = {
    "sentence": [
        (2, ("subject singular", "do singular", ".")),
        (1, ("subject plural", "do plural", ".")),
    ],
    "subject singular": [
        (2, ("the", "noun singular")),
        (1, ("the", "noun singular", "who", "core", "act plural")),
        (1, ("the", "noun singular", "who", "act singular", "core")),
    ],
    "subject plural": [
        (1, ("the", "noun plural")),
        (1, ("the", "noun plural", "who", "act plural", "core")),
    ],
    "core": [(1, ("the", "noun plural"))],
}


# --- words and text -------------------------------------------------------------------------------


def join_words(words: Iterable[str]) -> str:
    """A text: a space between words, none before ``,`` and ``.``, a line break after ``.``.

    The first letter of each sentence becomes a capital.
    """
    pieces: list[str] = []
    start = True
    for word in words:
        if word in NO_SPACE_BEFORE:
            pieces.append(word)
        elif start:
            pieces.append(word[0].upper() + word[1:])
        else:
            pieces.append(" " + word)
        start = word == "."
        if start:
            pieces.append("\n")
    return "".join(pieces)


def split_words(text: str, names: Iterable[str] = NAMES_HE + NAMES_SHE) -> list[str]:
    """The words of a text, the inverse of :func:`join_words`; punctuation marks are words.

    ``names`` keep their capital; other words lose it at the start of a sentence.

    Raises:
        ValueError: a character that no word of the language has.
    """
    rest = _WORD.sub("", text).strip()
    if rest:
        raise ValueError(f"no word of the language contains {rest.split()[0][0]!r}")
    names = frozenset(names)
    words: list[str] = []
    for word in _WORD.findall(text):
        if (not words or words[-1] == ".") and word not in names:
            word = word[0].lower() + word[1:]
        words.append(word)
    return words


# --- the grammar ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class AgreementItem:
    """A beginning with the right next word and a wrong one.

    Attributes:
        kind: ``verb`` (number of the subject), ``pronoun``, ``name`` or ``thing``.
        prefix: the text before the word.
        right, wrong: the two continuations; both are words of the vocabulary.
        distance: words between what decides and where it is needed.
        attractor: the nearest noun before the verb asks for the wrong form (``verb`` only).
    """

    kind: str
    prefix: str
    right: str
    wrong: str
    distance: int
    attractor: bool = False


class _Choices:
    """Exactly uniform whole numbers below any of the given totals, drawn in blocks."""

    def __init__(self, seed: int | Sequence[int], totals: Iterable[int]) -> None:
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.bound = math.lcm(*totals)
        self.block = iter(())

    def below(self, total: int) -> int:
        """Uniform on 0 .. total-1: the bound is a multiple of every total."""
        for number in self.block:
            return number % total
        self.block = iter(self.rng.integers(0, self.bound, _BLOCK, np.int64).tolist())
        return self.below(total)


class Grammar:
    """A probabilistic context-free grammar with whole-number weights and no empty production.

    Args:
        rules: nonterminal -> productions (weight, symbols); ``None``: the course's language.
        classes: word class -> (weight, word); each word in one class only. A symbol ``=word`` is a
            class of that one word.
        start: the start symbol.

    Raises:
        ValueError: an unknown symbol, an empty production, a weight below 1, a word in two
            classes, or left recursion.
    """

    def __init__(
        self,
        rules: Mapping[str, Sequence[Production]] | None = None,
        classes: Mapping[str, Sequence[tuple[int, str]]] | None = None,
        start: str = "sentence",
    ) -> None:
        if (rules is None) != (classes is None):
            raise ValueError("give both rules and classes, or neither for the course's language")
        self.rules = {k: tuple(v) for k, v in (_full_rules() if rules is None else rules).items()}
        given = _full_classes() if classes is None else classes
        self.classes = {name: tuple(words) for name, words in given.items()}
        self.start = start
        self._add_single_words()
        self._check()
        self._left: dict[str, dict[str, list[tuple[Fraction, tuple[str, ...]]]]] = {}

    @classmethod
    def tiny(cls) -> Grammar:
        """A finite sub-language of 14 words for quick tests: :meth:`sentences` lists it whole."""
        return cls(_TINY_RULES, _TINY_CLASSES)

    def _add_single_words(self) -> None:
        for productions in self.rules.values():
            for _, symbols in productions:
                for symbol in symbols:
                    if symbol.startswith("="):
                        self.classes[symbol] = ((1, symbol[1:]),)

    def _check(self) -> None:
        for name, productions in self.rules.items():
            for weight, symbols in productions:
                if weight < 1 or weight != int(weight) or not symbols:
                    raise ValueError(
                        f"{name!r}: weights are whole numbers from 1 up, and a production has "
                        f"symbols; not {(weight, symbols)}"
                    )
                for symbol in symbols:
                    if (symbol in self.rules) == (symbol in self.classes):
                        raise ValueError(
                            f"{symbol!r} in {name!r} has to be a nonterminal or a word class"
                        )
        self.class_of: dict[str, str] = {}
        for name, words in self.classes.items():
            for _, word in words:
                if word in self.class_of:
                    raise ValueError(f"{word!r} is in {self.class_of[word]!r} and in {name!r}")
                self.class_of[word] = name
        self._refuse_left_recursion()

    def _refuse_left_recursion(self) -> None:
        def visit(symbol: str, path: tuple[str, ...]) -> None:
            if symbol in path:
                raise ValueError(f"left recursion: {' -> '.join((*path, symbol))}")
            for first in {symbols[0] for _, symbols in self.rules.get(symbol, ())}:
                visit(first, (*path, symbol))

        for name in self.rules:
            visit(name, ())

    # --- sampling -----------------------------------------------------------------------------

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All words, sorted; ``,`` and ``.`` are among them."""
        return tuple(sorted(self.class_of))

    @property
    def names(self) -> tuple[str, ...]:
        """The words with a capital, which they keep everywhere."""
        return tuple(word for word in self.vocabulary if word[0].isupper())

    @cached_property
    def _tables(self) -> dict[str, tuple[int, list]]:
        """For every symbol its total weight and one entry a unit of weight."""
        tables: dict[str, tuple[int, list]] = {}
        for name, productions in self.rules.items():
            entries = [symbols[::-1] for weight, symbols in productions for _ in range(weight)]
            tables[name] = (len(entries), entries)
        for name, words in self.classes.items():
            entries = [word for weight, word in words for _ in range(weight)]
            tables[name] = (len(entries), entries)
        return tables

    def _choices(self, seed: int | Sequence[int]) -> _Choices:
        return _Choices(seed, (total for total, _ in self._tables.values()))

    def _derive(self, symbols: Sequence[str], choices: _Choices) -> list[str]:
        """Words drawn for a row of symbols, leftmost symbol first."""
        stack, words, tables = list(reversed(symbols)), [], self._tables
        while stack:
            symbol = stack.pop()
            total, entries = tables[symbol]
            entry = entries[choices.below(total)] if total > 1 else entries[0]
            if symbol in self.classes:
                words.append(entry)
            else:
                stack.extend(entry)
        return words

    def sample_words(self, n_sentences: int, seed: int) -> list[str]:
        """The words of ``n_sentences`` independent sentences, one after the other."""
        if n_sentences < 0:
            raise ValueError(f"n_sentences is 0 or more, not {n_sentences}")
        return self._derive((self.start,) * n_sentences, self._choices(seed))

    def sample(self, n_sentences: int, seed: int) -> str:
        """A text of ``n_sentences`` independent sentences, one a line."""
        return join_words(self.sample_words(n_sentences, seed))

    # --- exact expectations -------------------------------------------------------------------

    @cached_property
    def expected_counts(self) -> dict[str, Fraction]:
        """How often a symbol (nonterminal or word class) is expected in a sentence, exactly.

        The counts solve count(B) = [B is the start] + sum over A of count(A) E[B in a production
        of A].

        Raises:
            ValueError: the expected length is infinite.
        """
        every = (*self.rules, *self.classes)
        parents: dict[str, dict[str, Fraction]] = {name: {} for name in every}
        for name, productions in self.rules.items():
            total = sum(weight for weight, _ in productions)
            for weight, symbols in productions:
                for symbol in symbols:
                    row = parents[symbol]
                    row[name] = row.get(name, Fraction(0)) + Fraction(weight, total)
        constant = {name: {} for name in parents}
        constant[self.start] = {"": Fraction(1)}
        solved = _solve(parents, constant)
        counts = {name: row.get("", Fraction(0)) for name, row in solved.items()}
        if min(counts.values()) < 0:
            raise ValueError("sentences have no finite expected length: the rules recur too often")
        return counts

    @cached_property
    def expected_words(self) -> dict[str, Fraction]:
        """How often each word is expected in a sentence, exactly."""
        counts = {}
        for name, words in self.classes.items():
            total = sum(weight for weight, _ in words)
            for weight, word in words:
                counts[word] = self.expected_counts[name] * Fraction(weight, total)
        return counts

    @cached_property
    def entropy_per_sentence(self) -> float:
        """Entropy of a sentence in nats: each choice's entropy, as often as it is expected.

        Equal to the mean of -log P(sentence), since a sentence has one derivation.
        """
        tables = [
            (name, [weight for weight, _ in options])
            for name, options in (*self.rules.items(), *self.classes.items())
        ]
        return math.fsum(
            float(self.expected_counts[name]) * _entropy(weights) for name, weights in tables
        )

    @cached_property
    def words_per_sentence(self) -> float:
        """Expected words of a sentence, ``,`` and ``.`` included."""
        return float(sum(self.expected_words.values()))

    @cached_property
    def characters_per_sentence(self) -> float:
        """Expected characters of a sentence in a text, spaces and the line break included.

        A word brings its letters and the space before it, a mark itself; the first word has no
        space before it, and the line break makes up for that.
        """
        return float(
            sum(
                count * (1 if word in NO_SPACE_BEFORE else len(word) + 1)
                for word, count in self.expected_words.items()
            )
        )

    @property
    def entropy_per_word(self) -> float:
        """Entropy rate in nats a word: the best mean loss of a model of words."""
        return self.entropy_per_sentence / self.words_per_sentence

    @property
    def entropy_per_character(self) -> float:
        """Entropy rate in nats a character: the best mean loss of a model of characters."""
        return self.entropy_per_sentence / self.characters_per_sentence

    @property
    def bits_per_word(self) -> float:
        """:attr:`entropy_per_word` in bits."""
        return self.entropy_per_word / math.log(2)

    @property
    def bits_per_character(self) -> float:
        """:attr:`entropy_per_character` in bits."""
        return self.entropy_per_character / math.log(2)

    @cached_property
    def unigram_entropy(self) -> float:
        """Exact: the least mean loss (nats a word) of a model that only knows the words' shares."""
        total = sum(self.expected_words.values())
        return -math.fsum(
            float(count / total) * math.log(count / total)
            for count in self.expected_words.values()
            if count
        )

    @cached_property
    def class_pairs(self) -> dict[tuple[str, str], Fraction]:
        """How often word class b is expected right after a, a sentence, exactly.

        The pair (``.``, first word of the next sentence) is included: the text goes on for ever.
        """
        first, last = self._edges(first=True), self._edges(first=False)
        joints: Counter[tuple[str, str]] = Counter()
        for name, productions in self.rules.items():
            total = sum(weight for weight, _ in productions)
            for weight, symbols in productions:
                share = self.expected_counts[name] * Fraction(weight, total)
                for joint in zip(symbols, symbols[1:], strict=False):
                    joints[joint] += share
        joints[self.start, self.start] += Fraction(1)
        pairs: dict[tuple[str, str], Fraction] = {}
        for (left, right), share in joints.items():
            for a, p in last[left].items():
                for b, q in first[right].items():
                    pairs[a, b] = pairs.get((a, b), Fraction(0)) + share * p * q
        return pairs

    @cached_property
    def bigram_entropy(self) -> float:
        """Exact: the least mean loss (nats a word) of a model that knows the word before.

        A word depends on its class only, so it is the classes' conditional entropy plus the
        entropy of the words in their classes.
        """
        classes = math.fsum(
            -float(count) * math.log(count / self.expected_counts[a])
            for (a, _), count in self.class_pairs.items()
        )
        words = math.fsum(
            float(self.expected_counts[name]) * _entropy([weight for weight, _ in words])
            for name, words in self.classes.items()
        )
        return (classes + words) / self.words_per_sentence

    def _edges(self, *, first: bool) -> dict[str, dict[str, Fraction]]:
        """For every symbol the distribution of the class of its first (or last) word."""
        position = 0 if first else -1
        parts: dict[str, dict[str, Fraction]] = {}
        constant: dict[str, dict[str, Fraction]] = {}
        for name, productions in self.rules.items():
            total = sum(weight for weight, _ in productions)
            row: dict[str, Fraction] = {}
            for weight, symbols in productions:
                edge = symbols[position]
                row[edge] = row.get(edge, Fraction(0)) + Fraction(weight, total)
            parts[name] = {edge: p for edge, p in row.items() if edge in self.rules}
            constant[name] = {edge: p for edge, p in row.items() if edge in self.classes}
        return _solve(parts, constant) | {name: {name: Fraction(1)} for name in self.classes}

    # --- probabilities ------------------------------------------------------------------------

    def _expanded(self, symbol: str) -> dict[str, list[tuple[Fraction, tuple[str, ...]]]]:
        """By first word class: the leftmost expansions, each with its probability and the rest."""
        if symbol in self.classes:
            return {symbol: [(Fraction(1), ())]}
        if symbol not in self._left:
            found: dict[str, list[tuple[Fraction, tuple[str, ...]]]] = {}
            total = sum(weight for weight, _ in self.rules[symbol])
            for weight, symbols in self.rules[symbol]:
                for name, expansions in self._expanded(symbols[0]).items():
                    found.setdefault(name, []).extend(
                        (Fraction(weight, total) * p, rest + symbols[1:]) for p, rest in expansions
                    )
            self._left[symbol] = found
        return self._left[symbol]

    def _beginning(self) -> _Stacks:
        return {(self.start,): (Fraction(1), 1)}

    def _advance(self, stacks: _Stacks, word: str) -> _Stacks:
        """The stacks after one more word; values are (probability, number of derivations)."""
        name = self.class_of.get(word)
        if name is None:
            raise NotInLanguage(f"{word!r} is not in the vocabulary of {len(self.class_of)} words")
        after: _Stacks = {}
        chance = self._chance(word)
        for stack, (probability, ways) in stacks.items():
            if not stack:
                continue
            for p, rest in self._expanded(stack[0]).get(name, ()):
                key = rest + stack[1:]
                old, old_ways = after.get(key, (Fraction(0), 0))
                after[key] = (old + probability * p * chance, old_ways + ways)
        return after

    def _chance(self, word: str) -> Fraction:
        """Probability of a word in its class."""
        words = self.classes[self.class_of[word]]
        weight = next(weight for weight, other in words if other == word)
        return Fraction(weight, sum(weight for weight, _ in words))

    def _walk(self, words: Sequence[str]) -> _Stacks:
        stacks = self._beginning()
        for position, word in enumerate(words):
            stacks = self._advance(stacks, word)
            if not stacks:
                before = " ".join(words[:position]) or "the start"
                raise NotInLanguage(f"{word!r} cannot follow {before!r}")
        return stacks

    def probability(self, sentence: str | Sequence[str]) -> Fraction:
        """The exact probability of one sentence (text, or words); 0 if the grammar lacks it."""
        try:
            stacks = self._walk(self._words(sentence))
        except NotInLanguage:
            return Fraction(0)
        return stacks.get((), (Fraction(0), 0))[0]

    def logprob(self, sentence: str | Sequence[str]) -> float:
        """log P(sentence) in nats, from the exact fraction.

        Raises:
            NotInLanguage: the grammar does not produce it; the message names the first word that
                cannot follow, or says that the sentence is not finished.
        """
        words = self._words(sentence)
        found, _ = self._walk(words).get((), (Fraction(0), 0))
        if not found:
            raise NotInLanguage(f"{' '.join(words)!r} is not a whole sentence")
        return math.log(found.numerator) - math.log(found.denominator)

    def derivations(self, sentence: str | Sequence[str]) -> int:
        """How many leftmost derivations a sentence has: 1, or 0 if it is not in the language."""
        try:
            return self._walk(self._words(sentence)).get((), (Fraction(0), 0))[1]
        except NotInLanguage:
            return 0

    def next_word_probabilities(self, prefix: str | Sequence[str] = "") -> dict[str, float]:
        """P(next word | prefix) for every possible next word, exactly: what a perfect model says.

        Only the unfinished last sentence of the prefix matters. After a whole sentence the next
        one begins.

        Raises:
            NotInLanguage: no sentence begins so.
        """
        words = self._words(prefix)
        ends = [position for position, word in enumerate(words) if word == "."]
        stacks = self._walk(words[ends[-1] + 1 :] if ends else words)
        mass: dict[str, Fraction] = {}
        for stack, (probability, _) in stacks.items():
            for name, expansions in self._expanded(stack[0]).items():
                share = probability * sum(p for p, _ in expansions)
                mass[name] = mass.get(name, Fraction(0)) + share
        total = sum(mass.values())
        return {
            word: float(share / total * self._chance(word))
            for name, share in mass.items()
            for _, word in self.classes[name]
        }

    def word_losses(self, text: str | Sequence[str]) -> list[float]:
        """-log P(word | words before) in nats for every word of a text of whole sentences.

        Their mean approaches :attr:`entropy_per_word`; no model has a lower expected loss.

        Raises:
            NotInLanguage: a sentence is not in the language.
        """
        losses: list[float] = []
        stacks, before = self._beginning(), Fraction(1)
        for word in self._words(text):
            stacks = self._advance(stacks, word)
            mass = sum((p for p, _ in stacks.values()), Fraction(0))
            if not mass:
                raise NotInLanguage(f"{word!r} cannot stand at word {len(losses)}")
            ratio = mass / before
            losses.append(math.log(ratio.denominator) - math.log(ratio.numerator))
            before = mass
            if () in stacks:
                stacks, before = self._beginning(), Fraction(1)
        return losses

    def _words(self, text: str | Sequence[str]) -> list[str]:
        return split_words(text, self.names) if isinstance(text, str) else list(text)

    def sentences(self, most: int = 10_000) -> dict[tuple[str, ...], Fraction]:
        """Every sentence with its probability, for a finite grammar.

        Raises:
            ValueError: there are more than ``most``, perhaps infinitely many.
        """
        done: dict[tuple[str, ...], Fraction] = {}
        open_: list[tuple[tuple[str, ...], tuple[str, ...], Fraction]] = [
            ((), (self.start,), Fraction(1))
        ]
        while open_:
            words, stack, probability = open_.pop()
            if not stack:
                done[words] = done.get(words, Fraction(0)) + probability
            else:
                options = self.rules.get(stack[0]) or self.classes[stack[0]]
                total = sum(weight for weight, _ in options)
                for weight, option in options:
                    p = probability * Fraction(weight, total)
                    if stack[0] in self.rules:
                        open_.append((words, tuple(option) + stack[1:], p))
                    else:
                        open_.append(((*words, option), stack[1:], p))
            if len(done) + len(open_) > 10 * most or len(done) > most:
                raise ValueError(f"more than {most} sentences; Grammar.tiny() has few")
        return done

    # --- agreement ----------------------------------------------------------------------------

    def agreement_items(
        self,
        n: int,
        seed: int,
        kinds: Sequence[str] = ("verb", "pronoun", "name", "thing"),
    ) -> list[AgreementItem]:
        """``n`` items, the kinds in turn; see :class:`AgreementItem`.

        A ``verb`` item always has something between subject and verb.

        Raises:
            ValueError: an unknown kind, or a grammar other than the course's language.
        """
        if "gift" not in self.rules:
            raise ValueError("agreement items exist for the course's language only: Grammar()")
        makers = {
            "verb": self._verb_item,
            "pronoun": self._pronoun_item,
            "name": self._name_item,
            "thing": self._thing_item,
        }
        unknown = set(kinds) - set(makers)
        if unknown or not kinds:
            raise ValueError(f"kinds are some of {', '.join(makers)}, not {tuple(kinds)}")
        choices = self._choices([seed, 1])
        return [makers[kinds[number % len(kinds)]](choices) for number in range(n)]

    def _pick(self, options: Sequence, choices: _Choices):
        """One of the options, equally likely."""
        return options[choices.rng.integers(len(options))]

    def _verb_item(self, choices: _Choices) -> AgreementItem:
        feature = self._pick(FEATURES, choices)
        head = self._derive((f"core {feature}",), choices)
        between = self._derive((f"modifier {feature}",), choices)
        _, right, wrong = self._pick(_VERBS[f"{self._pick(('do', 'act'), choices)} "
                                            f"{_kind(feature)}"], choices)  # fmt: skip
        if feature in PLURAL:
            right, wrong = wrong, right
        nearest = next((number for number in map(_noun_number, reversed(between)) if number), "")
        return AgreementItem(
            "verb",
            join_words(head + between),
            right,
            wrong,
            len(between),
            nearest not in ("", _number(feature)),
        )

    def _pronoun_item(self, choices: _Choices) -> AgreementItem:
        feature = self._pick(FEATURES, choices)
        head = self._derive(("when", f"core {feature}"), choices)
        between = self._derive((f"predicate {feature}", ","), choices)
        right = PRONOUNS[feature]
        others = [other for other in ("he", "she", "it", "they") if other != right]
        wrong = self._pick(others, choices)
        return AgreementItem("pronoun", join_words(head + between), right, wrong, len(between))

    def _gift(self, choices: _Choices) -> tuple[list[str], tuple[str, ...]]:
        """The words before the first repetition, and the symbols of the whole sentence."""
        _, symbols = self._pick(self.rules["gift"], choices)
        return self._derive(symbols[:6], choices), symbols

    def _name_item(self, choices: _Choices) -> AgreementItem:
        words, symbols = self._gift(choices)
        giver, taker = symbols[0][1:], symbols[2][1:]
        return AgreementItem("name", join_words(words), taker, giver, len(words) - 3)

    def _thing_item(self, choices: _Choices) -> AgreementItem:
        words, symbols = self._gift(choices)
        thing = symbols[-2][1:]
        distance = len(words) + 5 - words.index(thing) - 1
        words += self._derive(symbols[6:11], choices)
        wrong = self._pick([other for other in THINGS if other != thing], choices)
        return AgreementItem("thing", join_words(words), thing, wrong, distance)


_Stacks = dict[tuple[str, ...], tuple[Fraction, int]]


def _noun_number(word: str) -> str:
    """``singular`` or ``plural`` for a noun or name, else the empty string."""
    for feature, nouns in _NOUNS.items():
        if any(word == noun for _, noun in nouns):
            return _number(feature)
    return "singular" if word in THINGS + NAMES_HE + NAMES_SHE else ""


def _entropy(weights: Sequence[int]) -> float:
    """Entropy in nats of whole-number weights."""
    total = sum(weights)
    return math.log(total) - math.fsum(w * math.log(w) for w in weights) / total


def _solve(
    parts: Mapping[str, Mapping[str, Fraction]], constant: Mapping[str, Mapping[str, Fraction]]
) -> dict[str, dict[str, Fraction]]:
    """x with x[a] = constant[a] + sum of parts[a][b] x[b], each x[a] a sparse vector.

    Gaussian elimination in fractions: exact.
    """
    rows = {name: (dict(parts[name]), dict(constant[name])) for name in parts}
    order = list(rows)
    for name in order:
        coefficients, vector = rows[name]
        own = coefficients.pop(name, Fraction(0))
        if own == 1:
            raise ValueError(f"{name!r} comes back with certainty: sentences never end")
        if own:
            factor = 1 / (1 - own)
            coefficients = {key: value * factor for key, value in coefficients.items()}
            vector = {key: value * factor for key, value in vector.items()}
            rows[name] = coefficients, vector
        for other in order:
            if other != name and name in rows[other][0]:
                share = rows[other][0].pop(name)
                for target, source in zip(rows[other], (coefficients, vector), strict=True):
                    for key, value in source.items():
                        target[key] = target.get(key, Fraction(0)) + share * value
    return {name: vector for name, (_, vector) in rows.items()}


# --- n-grams from a sample ------------------------------------------------------------------------


def ngram_cross_entropy(train: Sequence[str], test: Sequence[str], order: int) -> float:
    """Mean loss (nats a word) on ``test`` of an n-gram model counted on ``train``.

    Measured on samples, unlike :attr:`Grammar.bigram_entropy`: it is above the exact value by what
    the model could not learn from so much text. Witten-Bell smoothing [Witten and Bell, 1991]:
    P(w|h) = (count(hw) + T(h) P(w|shorter h)) / (count(h) + T(h)), T(h) the number of different
    words seen after h, and at the end every word of both samples equally likely.

    Args:
        train, test: words.
        order: 1 unigram, 2 bigram, 3 trigram, ...
    """
    if order < 1 or len(test) < order:
        raise ValueError(f"order is 1 or more and test is longer, not {order} and {len(test)}")
    follows = [_followers(train, length) for length in range(order)]
    uniform = 1 / len(set(train) | set(test))
    losses = []
    for end in range(order - 1, len(test)):
        p = uniform
        for length, table in enumerate(follows):
            seen = table.get(tuple(test[end - length : end]))
            if seen:
                p = (seen.get(test[end], 0) + len(seen) * p) / (seen.total() + len(seen))
        losses.append(-math.log(p))
    return math.fsum(losses) / len(losses)


def _followers(words: Sequence[str], length: int) -> dict[tuple[str, ...], Counter[str]]:
    """For every run of ``length`` words: how often which word follows."""
    table: dict[tuple[str, ...], Counter[str]] = {}
    for history, word in zip(_runs(words, length), words[length:], strict=False):
        table.setdefault(history, Counter())[word] += 1
    return table


def _runs(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    return (
        zip(*(words[start:] for start in range(length)), strict=False) if length else _empty(words)
    )


def _empty(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (() for _ in words)
