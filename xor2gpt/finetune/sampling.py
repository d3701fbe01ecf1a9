"""Which texts go where: balance, class weights, and splits that keep groups together.

Does: draw as many texts of every class as the smallest has; weigh classes; split into parts of
exact sizes, stratified, with no group on two sides; make group numbers from lists of duplicates.
Does not: find duplicates (`xor2gpt.data.quality`), copy texts to balance classes (a copy on both
sides of a split is a leak), or choose the shares.

Everything is a function of its arguments and a seed, the same on every machine.

Source: class weights N / (K · N_k) as in scikit-learn [Pedregosa et al., 2011]; leaks by
duplicates: Kaufman et al. (2012), "Leakage in data mining".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

__all__ = ["class_weights", "group_ids", "group_split", "split_sizes", "undersample"]


def _labels(labels: Sequence[int] | np.ndarray) -> np.ndarray:
    found = np.asarray(labels)
    if found.ndim != 1 or not len(found):
        raise ValueError(
            f"labels of shape {found.shape}: give one per text, (N,), and one at least"
        )
    return found


def undersample(labels: Sequence[int] | np.ndarray, *, seed: int) -> np.ndarray:
    """Indices, rising, of as many texts of each class as the smallest class has.

    4,825 ham and 747 spam give 747 of each; the spam are all of them, the ham a draw by ``seed``.
    """
    found = _labels(labels)
    rng = np.random.Generator(np.random.PCG64(seed))
    classes, counts = np.unique(found, return_counts=True)
    chosen = [rng.permutation(np.flatnonzero(found == one))[: int(counts.min())] for one in classes]
    return np.sort(np.concatenate(chosen))


def class_weights(labels: Sequence[int] | np.ndarray, n_classes: int | None = None) -> np.ndarray:
    """``(K,)``: N / (K · N_k), so that every class weighs the same and the mean weight is 1.

    Raises ``ValueError`` for a class without a text: no weight makes up for that.
    """
    found = _labels(labels)
    counts = np.bincount(found, minlength=n_classes or 0)
    if not counts.all() or (n_classes is not None and len(counts) > n_classes):
        raise ValueError(
            f"classes with {counts.tolist()} texts: each of the {n_classes or len(counts)} classes "
            "needs one at least, numbered from 0"
        )
    return len(found) / (len(counts) * counts)


def group_ids(n: int, groups: Iterable[Sequence[int]]) -> np.ndarray:
    """A group number for each of ``n`` texts from lists of indices that belong together.

    ``group_ids(len(texts), check_quality(texts).groups)``; who is in no list is a group alone.
    Lists that share a text are one group.
    """
    root = list(range(n))

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    for group in groups:
        for index in group:
            if not 0 <= index < n:
                raise ValueError(f"index {index} in a group, but there are {n} texts")
            one, other = sorted((find(group[0]), find(index)))
            root[other] = one
    return np.unique([find(index) for index in range(n)], return_inverse=True)[1].astype(np.int64)


def split_sizes(n: int, shares: Sequence[float]) -> tuple[int, ...]:
    """How many of ``n`` each part gets: the whole numbers below its share; the last gets the rest.

    1,494 texts at 0.7, 0.1, 0.2 give 1045, 149, 300. Shares are taken as the decimals they are
    written as, so 0.29 of 100 is 29. Raises ``ValueError`` if they do not add up to 1.
    """
    exact = [Fraction(str(share)) for share in shares]
    if not exact or min(exact) < 0 or abs(sum(exact) - 1) > Fraction(1, 10**9):
        raise ValueError(f"shares {list(shares)} must be positive and add up to 1")
    sizes = [int(n * share) for share in exact[:-1]]
    return (*sizes, n - sum(sizes))


def _targets(sizes: Sequence[int], counts: np.ndarray) -> np.ndarray:
    """``(parts, K)`` whole numbers near sizes · counts / N, with exactly these margins."""
    expected = np.outer(sizes, counts) / counts.sum()
    made = np.floor(expected).astype(np.int64)
    remainder = expected - made
    while made.sum() < counts.sum():
        open_cells = np.outer(made.sum(1) < sizes, made.sum(0) < counts)
        part, kind = np.unravel_index(
            np.where(open_cells, remainder, -np.inf).argmax(), remainder.shape
        )
        made[part, kind] += 1
        remainder[part, kind] -= 1
    return made


def group_split(
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[int] | np.ndarray | None = None,
    *,
    shares: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int,
    exact: bool = False,
) -> tuple[np.ndarray, ...]:
    """Rising indices of each part; a group is never on two sides, each text is on one.

    The parts have the sizes of `split_sizes`, and each class the same share in every part, to the
    text — without groups always, with groups as far as they can be laid so: big groups first, each
    by chance in proportion to the places left for its classes, single texts last, which even it
    out. With ``exact=True`` sizes that cannot be met raise ``ValueError``.

    Args:
        labels: ``(N,)`` classes.
        groups: ``(N,)`` group numbers (messages that repeat one another); ``None``: no groups.
        shares: of the parts.
        seed: of the draw.
        exact: insist on the sizes.
    """
    kinds = np.unique(_labels(labels), return_inverse=True)[1]
    marks = np.arange(len(kinds)) if groups is None else np.asarray(groups)
    if marks.shape != kinds.shape:
        raise ValueError(f"{len(marks)} groups for {len(kinds)} texts: give one for each text")
    sizes = np.array(split_sizes(len(kinds), shares))
    need = _targets(sizes, np.bincount(kinds)).astype(np.float64)  # (parts, K)
    room = sizes.copy()

    group_of = np.unique(marks, return_inverse=True)[1]
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(np.bincount(group_of))[:-1])
    rng = np.random.Generator(np.random.PCG64(seed))
    order = sorted(rng.permutation(len(members)), key=lambda group: -len(members[group]))
    part_of = np.empty(len(kinds), np.int64)
    for group in order:
        texts = members[group]
        content = np.bincount(kinds[texts], minlength=need.shape[1])
        part = _draw_part(rng.random(), need, room, content)
        part_of[texts] = part
        need[part] -= content
        room[part] -= len(texts)
    if exact and room.any():
        raise ValueError(
            f"the groups do not fit sizes {sizes.tolist()}: the nearest found is "
            f"{(sizes - room).tolist()}; take other shares, another seed, or exact=False"
        )
    return tuple(np.flatnonzero(part_of == part) for part in range(len(sizes)))


def _draw_part(chance: float, need: np.ndarray, room: np.ndarray, content: np.ndarray) -> int:
    """A part with room for the group, in proportion to the places left for its classes.

    If it fits nowhere: the part with the most room.
    """
    fits = room >= content.sum()
    if not fits.any():
        return int(room.argmax())
    weight = np.where(fits, need.clip(min=0) @ content, 0.0)
    if not weight.any():  # the classes' places are taken, other places are left
        weight = np.where(fits, room, 0).astype(np.float64)
    steps = weight.cumsum() / weight.sum()
    return int(np.searchsorted(steps, chance, side="right").clip(max=len(room) - 1))
