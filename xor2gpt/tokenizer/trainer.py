"""The BPE trainer: from texts to a list of merges, with pair counts kept up to date.

Does: count the pieces of texts; merge the commonest pair of neighbours again and again, changing
only the counts that a merge touches.
Does not: hold the text itself (every distinct piece is kept once, with its count), or use threads.

**The rule.** A pair counts once for every place where its two tokens are neighbours inside a piece:
``aaaa`` holds the pair ``(a, a)`` three times. The pair with the highest count is merged; among
equals the one with the smallest ids, first the left id, then the right. The merge replaces the
pair from left to right without overlap: ``aaaa`` becomes two tokens. No bytes become a token twice:
between two borders of tokens merges go on as if the bytes stood alone, so the same bytes always
end as the same token.

**The cost.** One dictionary holds the count of every pair, another the pieces it was seen in.
A merge visits those pieces only. The next best pair comes from a heap whose entries may be too
high: one that is, goes back with its true count. So a merge costs the places where it happens, not
the text.

Source: Sennrich, Haddow and Birch (2016), algorithm 1; the order of ties and the lazy heap follow
Hugging Face's ``tokenizers`` (its trained merges are equal: see ``tests/test_tokenizer_twins.py``).
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import regex

from xor2gpt.tokenizer.pieces import BYTE_ORDERS, PATTERNS, check_text, compiled

__all__ = ["Merge", "count_pieces", "learn_merges", "split_at"]

Pair = tuple[int, int]


class Merge(NamedTuple):
    """One learned step: ``left + right`` became a token when the pair occurred ``count`` times."""

    left: bytes
    right: bytes
    count: int

    @property
    def token(self) -> bytes:
        return self.left + self.right


def split_at(special: Collection[str]) -> regex.Pattern[str] | None:
    """A pattern that finds special tokens, the longest first; ``None`` where there are none."""
    longest_first = sorted(special, key=len, reverse=True)
    return regex.compile("|".join(map(regex.escape, longest_first))) if longest_first else None


def count_pieces(
    texts: str | Iterable[str],
    *,
    pattern: str = PATTERNS["gpt2"],
    special_tokens: Collection[str] = (),
) -> Counter[bytes]:
    """How often each piece occurs in the texts: ``{piece: count}``.

    Texts are cut at special tokens first, which are no part of any piece. Raises ``ValueError``
    for a text with lone surrogates.
    """
    counts: Counter[str] = Counter()
    find, special = compiled(pattern).findall, split_at(special_tokens)
    for text in [texts] if isinstance(texts, str) else texts:
        check_text(text)
        for part in special.split(text) if special else [text]:
            counts.update(find(part))
    return Counter({piece.encode("utf-8"): count for piece, count in counts.items()})


def learn_merges(
    counts: Mapping[bytes, int],
    number: int,
    *,
    byte_order: Sequence[int] = BYTE_ORDERS["gpt2"],
    min_count: int = 2,
) -> list[Merge]:
    """Learn ``number`` merges from pieces and their counts, by the rule at the top of this module.

    The list is shorter where no pair is left that occurs ``min_count`` times. ``byte_order[i]`` is
    the byte with id ``i``; it matters for ties only. Raises ``ValueError`` for a negative number,
    a ``min_count`` below 1, or an order that is no permutation of the 256 bytes.
    """
    if number < 0 or min_count < 1:
        raise ValueError(f"number {number} must be >= 0 and min_count {min_count} >= 1")
    if sorted(byte_order) != list(range(256)):
        raise ValueError("byte_order must name each of the 256 bytes once")
    state = _State(counts, byte_order)
    merges: list[Merge] = []
    while len(merges) < number and (best := state.pop(min_count)):
        pair, count = best
        merges.append(Merge(state.tokens[pair[0]], state.tokens[pair[1]], count))
        state.merge(pair)
    return merges


class _State:
    """Pieces as lists of ids, and the counts of their pairs."""

    def __init__(self, counts: Mapping[bytes, int], byte_order: Sequence[int]) -> None:
        id_of = dict(zip(byte_order, range(256), strict=True))
        self.tokens = [bytes([byte]) for byte in byte_order]
        several = [(piece, count) for piece, count in counts.items() if len(piece) > 1]
        self.words = [[id_of[byte] for byte in piece] for piece, _ in several]
        self.weights = [count for _, count in several]
        self.pairs: defaultdict[Pair, int] = defaultdict(int)
        self.places: defaultdict[Pair, set[int]] = defaultdict(set)  # indices of words
        for index, (word, weight) in enumerate(zip(self.words, self.weights, strict=True)):
            for pair in zip(word, word[1:], strict=False):
                self.pairs[pair] += weight
                self.places[pair].add(index)
        self.heap = [(-count, pair) for pair, count in self.pairs.items()]
        heapq.heapify(self.heap)  # the smallest entry: the highest count, then the smallest ids

    def pop(self, min_count: int) -> tuple[Pair, int] | None:
        """Take the best pair and its count; ``None`` when none has ``min_count``."""
        while self.heap:
            negative, pair = heapq.heappop(self.heap)
            count = self.pairs.get(pair, 0)
            if count < min_count:
                continue
            if count != -negative:  # it has become rarer since it was pushed
                heapq.heappush(self.heap, (-count, pair))
                continue
            return pair, count
        return None

    def merge(self, pair: Pair) -> None:
        """Replace the pair in every word, and bring the counts of its neighbours up to date."""
        left, right = pair
        new = len(self.tokens)
        self.tokens.append(self.tokens[left] + self.tokens[right])
        changes: defaultdict[Pair, int] = defaultdict(int)
        for index in self.places.pop(pair):
            word, weight = self.words[index], self.weights[index]
            at, last = 0, len(word) - 1
            while at < last:
                if word[at] != left or word[at + 1] != right:
                    at += 1
                    continue
                if at > 0:
                    before = word[at - 1]
                    changes[before, left] -= weight
                    changes[before, new] += weight
                    self.places[before, new].add(index)
                if at + 1 < last:
                    after = word[at + 2]
                    changes[right, after] -= weight
                    changes[new, after] += weight
                    self.places[new, after].add(index)
                word[at : at + 2] = [new]
                last -= 1
                at += 1
        del self.pairs[pair]
        changes.pop(pair, None)  # overlaps of aaa: they went with the pair itself
        for changed, difference in changes.items():
            self.pairs[changed] += difference
            if difference > 0:
                heapq.heappush(self.heap, (-self.pairs[changed], changed))
