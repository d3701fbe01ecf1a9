"""The language of known entropy: exact values against brute force, samples and an LR parser."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xor2gpt.data.synthetic.grammar import (
    Grammar,
    NotInLanguage,
    join_words,
    ngram_cross_entropy,
    split_words,
)

# The language as it is: whoever changes it changes every loss that the lessons quote.
VOCABULARY = 149
ENTROPY, WORDS, CHARACTERS = 20.359922163012804, 11.721057644774012, 57.1335304355481
UNIGRAM, BIGRAM = 4.315535427758805, 2.501779995735862  # nats a word
SAMPLE_SHA256 = "7bc851a09ac2e544834cab0f2f1041b991f8db8c3c8f19b8bb40637e0593ee3d"


@pytest.fixture(scope="module")
def language() -> Grammar:
    return Grammar()


@pytest.fixture(scope="module")
def tiny() -> Grammar:
    return Grammar.tiny()


def sentences_of(words: list[str]) -> list[list[str]]:
    found, start = [], 0
    for end, word in enumerate(words, 1):
        if word == ".":
            found.append(words[start:end])
            start = end
    return found


# --- brute force on the finite language -----------------------------------------------------------


def test_tiny_probabilities_sum_to_one(tiny):
    table = tiny.sentences()
    assert len(table) == 32
    assert sum(table.values()) == 1


def test_tiny_entropy_and_lengths_equal_brute_force(tiny):
    table = tiny.sentences()
    entropy = -math.fsum(float(p) * math.log(p) for p in table.values())
    assert tiny.entropy_per_sentence == pytest.approx(entropy, rel=1e-12)
    assert tiny.words_per_sentence == float(sum(p * len(words) for words, p in table.items()))
    characters = sum(p * len(join_words(words)) for words, p in table.items())
    assert tiny.characters_per_sentence == float(characters)
    assert tiny.entropy_per_word == pytest.approx(entropy / tiny.words_per_sentence)
    assert tiny.bits_per_character == pytest.approx(
        entropy / float(characters) / math.log(2), rel=1e-12
    )


def test_tiny_ngram_entropies_equal_brute_force(tiny):
    table = tiny.sentences()
    single: Counter = Counter()
    pairs: Counter = Counter()
    for words, p in table.items():
        for word in words:
            single[word] += p
        for pair in zip(words, words[1:], strict=False):
            pairs[pair] += p
        for following, q in table.items():
            pairs[words[-1], following[0]] += p * q
    total = sum(single.values())
    unigram = -math.fsum(float(p / total) * math.log(p / total) for p in single.values())
    bigram = -math.fsum(float(p / total) * math.log(p / single[a]) for (a, _), p in pairs.items())
    assert tiny.unigram_entropy == pytest.approx(unigram, rel=1e-12)
    assert tiny.bigram_entropy == pytest.approx(bigram, rel=1e-12)


def test_tiny_parser_agrees_with_enumeration(tiny):
    for words, p in tiny.sentences().items():
        assert tiny.probability(words) == p
        assert tiny.derivations(words) == 1
        assert tiny.logprob(words) == pytest.approx(math.log(p), rel=1e-12)


def test_tiny_next_words_equal_brute_force(tiny):
    table = tiny.sentences()
    prefixes = {words[:cut] for words in table for cut in range(len(words))}
    for prefix in prefixes:
        mass: Counter = Counter()
        for words, p in table.items():
            if words[: len(prefix)] == prefix:
                mass[words[len(prefix)]] += p
        expected = {word: float(p / sum(mass.values())) for word, p in mass.items()}
        assert tiny.next_word_probabilities(prefix) == pytest.approx(expected)


# --- the course's language ------------------------------------------------------------------------


def test_exact_values_are_pinned(language):
    assert len(language.vocabulary) == VOCABULARY
    assert language.entropy_per_sentence == pytest.approx(ENTROPY, abs=1e-9)
    assert language.words_per_sentence == pytest.approx(WORDS, abs=1e-9)
    assert language.characters_per_sentence == pytest.approx(CHARACTERS, abs=1e-9)
    assert language.unigram_entropy == pytest.approx(UNIGRAM, abs=1e-9)
    assert language.bigram_entropy == pytest.approx(BIGRAM, abs=1e-9)


def test_bytes_of_a_sample_are_pinned(language):
    digest = hashlib.sha256(language.sample(2000, 0).encode()).hexdigest()
    assert digest == SAMPLE_SHA256
    assert language.sample(5, 1) != language.sample(5, 2)
    assert language.sample(0, 0) == ""


def test_samples_meet_the_exact_values_within_their_standard_errors(language):
    sample = sentences_of(language.sample_words(3000, 7))
    losses = [sum(language.word_losses(sentence)) for sentence in sample]
    for values, exact in (
        (losses, language.entropy_per_sentence),
        ([len(s) for s in sample], language.words_per_sentence),
        ([len(join_words(s)) for s in sample], language.characters_per_sentence),
    ):
        error = statistics.stdev(values) / math.sqrt(len(values))
        assert abs(statistics.fmean(values) - exact) < 3 * error


def test_word_losses_add_up_to_the_logprob(language):
    for sentence in sentences_of(language.sample_words(50, 3)):
        assert sum(language.word_losses(sentence)) == pytest.approx(-language.logprob(sentence))


def test_expected_word_counts_match_a_sample(language):
    n = 20_000
    counted = Counter(language.sample_words(n, 11))
    for word in ("the", "who", "king", "teapot", "Otto", "they", ","):
        expected = float(language.expected_words[word])
        assert counted[word] / n == pytest.approx(expected, rel=0.06)


def test_every_sampled_sentence_has_one_derivation(language):
    for sentence in sentences_of(language.sample_words(400, 5)):
        assert language.derivations(sentence) == 1


def test_the_grammar_is_unambiguous_its_parser_has_no_conflict(language, tiny):
    """LR(1) lookaheads from FOLLOW: a grammar with a conflict-free table has no second parse."""
    assert slr_conflicts(tiny) == []
    assert slr_conflicts(language) == []


def test_the_conflict_finder_sees_an_ambiguous_grammar():
    ambiguous = Grammar(
        {
            "sentence": [(1, ("phrase", "."))],
            "phrase": [(2, ("noun",)), (1, ("noun", "near", "phrase")), (1, ("pair", "phrase"))],
            "pair": [(1, ("noun", "near"))],
        },
        {"noun": [(1, "cat")], "near": [(1, "near")], ".": [(1, ".")]},
    )
    assert slr_conflicts(ambiguous)
    assert ambiguous.derivations(["cat", "near", "cat", "."]) == 2


def test_a_word_has_one_class_and_needs_no_article_an(language):
    words = [word for options in language.classes.values() for _, word in options]
    assert len(words) == len(set(words))
    after_a = set()
    for (left, right), count in language.class_pairs.items():
        if left == "a" and count:
            after_a |= {word for _, word in language.classes[right]}
    assert {"cake", "king"} <= after_a
    assert not [word for word in after_a if word[0] in "aeiou"]


def test_bigram_bound_holds_against_a_counted_model(language):
    train, test = language.sample_words(8000, 1), language.sample_words(800, 2)
    unigram, bigram = (ngram_cross_entropy(train, test, order) for order in (1, 2))
    assert unigram == pytest.approx(language.unigram_entropy, rel=0.02)
    assert bigram == pytest.approx(language.bigram_entropy, rel=0.05)
    assert language.entropy_per_word < 0.75 * language.bigram_entropy
    assert ngram_cross_entropy(train, test, 3) < bigram


def test_ngram_cross_entropy_by_hand():
    # unigram of "a a b": 3 counts, 2 types, uniform 1/2: P(a) = (2 + 2/2) / 5
    assert ngram_cross_entropy(list("aab"), ["a"], 1) == pytest.approx(-math.log(3 / 5))
    with pytest.raises(ValueError, match="order"):
        ngram_cross_entropy(["a"], ["a"], 2)


def test_next_word_probabilities_after_agreement(language):
    after = language.next_word_probabilities("The king who the dogs chase")
    assert sum(after.values()) == pytest.approx(1)
    assert after["dances"] > 0 and "dance" not in after and "bark" not in after
    pronouns = language.next_word_probabilities("When the witch snores,")
    assert pronouns == {"she": 1.0}
    names = language.next_word_probabilities("Ada gives Otto a teapot, so")
    assert names == {"Otto": 1.0}
    start = language.next_word_probabilities("The king sings.\n")
    assert start == language.next_word_probabilities("")


def test_wrong_sentences_are_refused(language):
    assert language.probability("The king sing.") == 0
    assert language.derivations("The king sing.") == 0
    with pytest.raises(NotInLanguage, match="'sing' cannot follow 'the king'"):
        language.logprob("The king sing.")
    with pytest.raises(NotInLanguage, match="not a whole sentence"):
        language.logprob("The king")
    with pytest.raises(NotInLanguage, match="not in the vocabulary"):
        language.logprob("The emperor sings.")
    with pytest.raises(NotInLanguage, match="word 2"):
        language.word_losses("The king sing.")
    with pytest.raises(ValueError, match="'!'"):
        split_words("The king sings!")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 8))
def test_text_round_trips(language, seed, n):
    words = language.sample_words(n, seed)
    text = language.sample(n, seed)
    assert split_words(text, language.names) == words
    assert join_words(words) == text
    assert text.count("\n") == n and text.endswith(".\n")
    assert set(words) <= set(language.vocabulary)


# --- agreement ------------------------------------------------------------------------------------


def test_agreement_items_are_decided_by_the_grammar(language):
    items = language.agreement_items(200, 0)
    assert Counter(item.kind for item in items) == dict.fromkeys(
        ("verb", "pronoun", "name", "thing"), 50
    )
    for item in items:
        following = language.next_word_probabilities(item.prefix)
        assert item.distance >= 1
        if item.kind == "verb":
            assert item.wrong not in following or following[item.right] > 0
        else:
            assert following[item.right] > 0 and item.wrong not in following
    verbs = [item for item in items if item.kind == "verb"]
    assert 10 < sum(item.attractor for item in verbs) < 40
    assert language.agreement_items(20, 1) == language.agreement_items(20, 1)
    with pytest.raises(ValueError, match="kinds"):
        language.agreement_items(1, 0, ("tense",))
    with pytest.raises(ValueError, match="Grammar()"):
        Grammar.tiny().agreement_items(1, 0)


def test_wrong_verbs_make_wrong_sentences(language):
    for item in language.agreement_items(150, 4, ("verb",)):
        assert language.next_word_probabilities(item.prefix).get(item.right, 0) > 0
        assert item.wrong not in language.next_word_probabilities(item.prefix)


# --- errors of a grammar --------------------------------------------------------------------------

CLASSES = {"noun": [(1, "cat")], ".": [(1, ".")]}


@pytest.mark.parametrize(
    ("rules", "classes", "message"),
    [
        ({"sentence": [(1, ())]}, CLASSES, "production has symbols"),
        ({"sentence": [(0, ("noun",))]}, CLASSES, "whole numbers from 1"),
        ({"sentence": [(1, ("verb",))]}, CLASSES, "'verb'"),
        ({"sentence": [(1, ("sentence", "noun"))]}, CLASSES, "left recursion"),
        ({"sentence": [(1, ("noun",))]}, {**CLASSES, "b": [(1, "cat")]}, "'cat'"),
    ],
)
def test_bad_grammars_are_named(rules, classes, message):
    with pytest.raises(ValueError, match=message):
        Grammar(rules, classes)


def test_a_grammar_without_finite_length_is_refused():
    endless = Grammar(
        {"sentence": [(1, ("noun", ".")), (2, ("noun", "sentence", "sentence"))]}, CLASSES
    )
    with pytest.raises(ValueError, match="no finite expected length"):
        _ = endless.words_per_sentence
    with pytest.raises(ValueError, match="more than 10 sentences"):
        endless.sentences(10)


def test_recursion_is_solved_exactly():
    # n cats with probability 2^-n: 2 cats and one full stop expected
    cats = Grammar(
        {"sentence": [(1, ("cats", "."))], "cats": [(1, ("noun",)), (1, ("noun", "cats"))]}, CLASSES
    )
    assert cats.expected_counts["noun"] == Fraction(2)
    assert cats.words_per_sentence == 3
    assert cats.entropy_per_sentence == pytest.approx(2 * math.log(2))


# --- an SLR(1) table, to prove that there is one derivation ---------------------------------------


def slr_conflicts(grammar: Grammar) -> list[str]:
    """Conflicts of the grammar's SLR(1) table; word classes are the terminals."""
    rules = {name: [symbols for _, symbols in options] for name, options in grammar.rules.items()}
    follow = follow_sets(rules, grammar.start)
    start = frozenset([("<start>", (grammar.start,), 0)])
    states, queue, conflicts = {start}, [start], []
    while queue:
        kernel = queue.pop()
        items = closure(kernel, rules)
        shifts: dict[str, set] = {}
        reduces: dict[str, list] = {}
        for name, symbols, dot in items:
            if dot < len(symbols):
                shifts.setdefault(symbols[dot], set()).add((name, symbols, dot + 1))
            elif name != "<start>":
                for terminal in follow[name]:
                    reduces.setdefault(terminal, []).append((name, symbols))
        for terminal, found in reduces.items():
            if len(found) > 1 or terminal in shifts:
                conflicts.append(f"{found} at {terminal!r}")
        for target in map(frozenset, shifts.values()):
            if target not in states:
                states.add(target)
                queue.append(target)
    return conflicts


def closure(kernel, rules) -> set:
    items, queue, opened = set(kernel), list(kernel), set()
    while queue:
        _, symbols, dot = queue.pop()
        symbol = symbols[dot] if dot < len(symbols) else None
        if symbol in rules and symbol not in opened:
            opened.add(symbol)
            new = [(symbol, production, 0) for production in rules[symbol]]
            items.update(new)
            queue.extend(new)
    return items


def follow_sets(rules, start) -> dict[str, set]:
    first = {name: set() for name in rules}
    follow = {name: set() for name in rules}
    follow[start].add("<end>")

    def grow(sets, name, more) -> bool:
        before = len(sets[name])
        sets[name] |= more
        return len(sets[name]) > before

    def firsts(symbol) -> set:
        return first[symbol] if symbol in rules else {symbol}

    while any([grow(first, n, firsts(p[0])) for n, options in rules.items() for p in options]):
        pass
    changed = True
    while changed:
        changed = False
        for name, options in rules.items():
            for production in options:
                for symbol, after in zip(production, (*production[1:], None), strict=True):
                    if symbol in rules:
                        more = follow[name] if after is None else firsts(after)
                        changed |= grow(follow, symbol, more)
    return follow
