"""How a piece becomes ids: merge the neighbours with the lowest rank until none can be merged.

Does: merge one piece in n log n steps; remember pieces it has seen.
Does not: cut text into pieces or know special tokens.

Ranks are ids: what was learned earlier is merged first, wherever it stands. Of several places with
the same rank the leftmost goes first. It is the rule of tiktoken, which looks at the joined bytes;
for merges that were learned by BPE it agrees with the rule on pairs of GPT-2's own code.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

__all__ = ["PieceCache", "merge"]

CACHED_PIECES = 400_000  # with more, the cache starts anew
CACHED_LENGTH = 60  # characters; longer pieces hardly come back

Ranks = Mapping[bytes, int]


def merge(ranks: Ranks, piece: bytes) -> list[int]:
    """The ids of a piece of at least one byte.

    The parts of the piece are a linked list: ``end[s]`` is where the part that starts at ``s``
    ends and the next one starts, ``before[s]`` where the one before it starts. The heap holds the
    neighbours that can be merged.
    """
    if (whole := ranks.get(piece)) is not None:
        return [whole]
    n = len(piece)
    end, before = list(range(1, n + 1)), list(range(-1, n - 1))
    starts_part = [True] * n
    heap: list[tuple[int, int, int]] = []  # (rank, start, stop) of two neighbours

    def offer(start: int) -> None:
        """Put the part that starts here and the next one into the heap, if they can be merged."""
        if start >= 0 and end[start] < n:
            stop = end[end[start]]
            rank = ranks.get(piece[start:stop])
            if rank is not None:
                heapq.heappush(heap, (rank, start, stop))

    for start in range(n):
        offer(start)
    while heap:
        _, start, stop = heapq.heappop(heap)
        middle = end[start]
        if not starts_part[start] or middle == n or end[middle] != stop:
            continue  # one of the two parts is gone or has grown since
        starts_part[middle] = False
        end[start] = stop
        if stop < n:
            before[stop] = start
        offer(before[start])
        offer(start)
    ids, start = [], 0
    while start < n:
        ids.append(ranks[piece[start : end[start]]])
        start = end[start]
    return ids


class PieceCache(dict[str, tuple[int, ...]]):
    """``cache[piece]`` is the tuple of ids; a piece that is not there is encoded on the way."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = tuple(merge(self.ranks, piece.encode("utf-8")))
        if len(piece) <= CACHED_LENGTH:
            if len(self) >= CACHED_PIECES:
                self.clear()
            self[piece] = ids
        return ids
