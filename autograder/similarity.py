"""Submissions that look alike, as a hint for a person.

Does: compare the students' own code pairwise after taking away what everybody was given and what
many wrote alike; show the passages that two students share side by side.
Does not: decide anything, change points, or prove copying: short exercises have few right answers.

The matching is copydetect's (winnowing, Schleimer, Wilkerson and Aiken, "Winnowing: Local
Algorithms for Document Fingerprinting", SIGMOD 2003, as MOSS does it): names and strings are
blanked, comments and spaces dropped, so renaming hides nothing. We take its fingerprints with
window 1, because a larger window picks fingerprints by Python's salted ``hash`` and gives other
pairs on each run; and we take common fingerprints away ourselves, because its ``boilerplate``
also removes fingerprints that occur twice in one file.

Three numbers decide, all explained on the page: ``passage`` (a shared stretch counts from this
many characters of blanked code on), ``amount`` (so many of them must be shared in all) and
``threshold`` (so much of one student's remaining code must be covered). A stretch that more than
``common`` students have is nobody's.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from rapidfuzz import fuzz

from autograder import pages
from autograder.manifest import Manifest
from autograder.model import Submission

PASSAGE = 30
AMOUNT = 120
THRESHOLD = 0.5
MOST = 200  # pairs in a list
DOCUMENT = 60_000  # characters of a student's own code that are compared
SEPARATOR = "\n\n"


@dataclass(frozen=True)
class Block:
    """One cell of one student. ``marks`` are stretches of ``source`` that the other has too."""

    cell: str
    source: str
    marks: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Pair:
    """Two students whose own code overlaps.

    ``share_a`` is the part of ``a``'s distinctive code that ``b`` has too, from 0 to 1, and the
    other way round; ``amount`` counts shared characters of blanked code; ``spelling`` says how
    alike the shared passages are letter for letter, names and comments included (0 to 1).
    """

    a: str
    b: str
    share_a: float
    share_b: float
    amount: int
    spelling: float
    same_file: bool
    blocks_a: list[Block]
    blocks_b: list[Block]

    @property
    def share(self) -> float:
        return max(self.share_a, self.share_b)


@dataclass
class _Document:
    """One student's own code, its fingerprints, and where its cells begin."""

    submission: Submission
    cells: list[tuple[str, str]]
    print: Any = None  # copydetect.CodeFingerprint
    blanked: str = ""

    @property
    def text(self) -> str:
        return SEPARATOR.join(source for _, source in self.cells)


def _fingerprint(text: str, passage: int) -> Any:
    from copydetect import CodeFingerprint  # imports matplotlib's pyplot: only where needed

    return CodeFingerprint("cell.py", passage, 1, fp=io.StringIO(text), language="python")


def _keep(made: Any, unwanted: set[int]) -> None:
    """Take fingerprints away, and count what is left."""
    from copydetect.utils import get_token_coverage

    made.hashes = made.hashes - unwanted
    made.hash_idx = {value: made.hash_idx[value] for value in made.hashes}
    made.token_coverage = get_token_coverage(made.hash_idx, made.k, len(made.filtered_code))


def _own_cells(manifest: Manifest, submission: Submission) -> list[tuple[str, str]]:
    """The cells that differ from the release, cut to a bearable size."""
    released = {cell.id: cell.source.strip() for cell in manifest.cells}
    titles = {cell.id: cell.exercise for cell in manifest.cells if cell.exercise}
    given = set(released.values()) | {check.visible.strip() for check in manifest.checks}
    cells, left = [], DOCUMENT
    for cell in submission.cells:
        source = pages.clean(cell.source[: 2 * DOCUMENT]).strip()
        if not source or source in given or left <= 0:
            continue
        cells.append((titles.get(cell.id) or cell.id, source[:left]))
        left -= len(source)
    return cells


def _starter(manifest: Manifest, known: Iterable[str], passage: int) -> set[int]:
    """Fingerprints of everything that students were given, or that ``known`` adds."""
    texts = [*manifest.prelude, *(cell.source for cell in manifest.cells)]
    texts += [*(check.visible for check in manifest.checks), *known]
    unwanted: set[int] = set()
    for text in texts:
        unwanted |= _fingerprint(text, passage).hashes
    return unwanted


def _candidates(documents: Sequence[_Document], amount: int) -> list[tuple[int, int]]:
    """Pairs that share enough fingerprints to be worth a comparison (sparse matrix product)."""
    from scipy.sparse import csr_matrix

    numbers: dict[int, int] = {}
    rows, columns = [], []
    for row, document in enumerate(documents):
        for value in document.print.hashes:
            rows.append(row)
            columns.append(numbers.setdefault(value, len(numbers)))
    if not columns:
        return []
    shape = (len(documents), len(numbers))
    holds = csr_matrix((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=shape)
    shared = (holds @ holds.T).tocoo()
    # a stretch of n characters has n - passage + 1 fingerprints, fewer where it repeats itself
    least = max(1, amount // 8)
    return [
        (int(i), int(j))
        for i, j, count in zip(shared.row, shared.col, shared.data, strict=True)
        if i < j and count >= least
    ]


def _marked(document: _Document, slices: np.ndarray) -> list[Block]:
    """The cells with the stretches that ``slices`` (2, n) of the whole text cover."""
    blocks, start = [], 0
    for name, source in document.cells:
        end = start + len(source)
        marks = []
        for begin, stop in slices.T.astype(int).tolist() if slices.size else []:
            low, high = max(begin, start), min(stop, end)
            if high > low and source[low - start : high - start].strip():
                marks.append((low - start, high - start))
        blocks.append(Block(name, source, _merged(marks)))
        start = end + len(SEPARATOR)
    return blocks


def _merged(marks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(marks):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _shared_text(blocks: Iterable[Block]) -> str:
    return "\n".join(block.source[low:high] for block in blocks for low, high in block.marks)


def _compare(one: _Document, other: _Document) -> Pair:
    from copydetect import compare_files

    _, shares, slices = compare_files(one.print, other.print)
    amounts = [_amount(one.print, other.print), _amount(other.print, one.print)]
    blocks_a, blocks_b = _marked(one, slices[0]), _marked(other, slices[1])
    return Pair(
        a=one.submission.student,
        b=other.submission.student,
        share_a=min(1.0, float(shares[0])),
        share_b=min(1.0, float(shares[1])),
        amount=min(amounts),
        spelling=fuzz.ratio(_shared_text(blocks_a), _shared_text(blocks_b)) / 100,
        same_file=one.submission.sha256 == other.submission.sha256,
        blocks_a=blocks_a,
        blocks_b=blocks_b,
    )


def _amount(one: Any, other: Any) -> int:
    """Characters of blanked code of ``one`` that ``other`` has too."""
    from copydetect.utils import get_token_coverage

    shared = {value: one.hash_idx[value] for value in one.hashes & other.hashes}
    return int(get_token_coverage(shared, one.k, len(one.filtered_code)))


def _identical(documents: Sequence[_Document], amount: int) -> set[tuple[int, int]]:
    """Pairs whose blanked code is the same from end to end, however many have it."""
    groups: dict[str, list[int]] = {}
    for index, document in enumerate(documents):
        if len(document.blanked) >= amount:
            groups.setdefault(document.blanked, []).append(index)
    return {
        (one, other)
        for group in groups.values()
        for position, one in enumerate(group)
        for other in group[position + 1 : position + 1 + MOST]
    }


def similarity(
    manifest: Manifest,
    submissions: Iterable[Submission],
    *,
    threshold: float = THRESHOLD,
    amount: int = AMOUNT,
    passage: int = PASSAGE,
    common: int | None = None,
    known: Iterable[str] = (),
    most: int = MOST,
) -> list[Pair]:
    """Pairs of submissions that share more than chance and the task explain, most alike first.

    ``common`` defaults to the larger of 10 and a tenth of the class. ``known`` are further texts
    that anybody may have used, such as the reference answers. Submissions that cannot be read and
    unanswered ones have no code of their own and are in no pair. Raises ``ValueError`` for a
    threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold {threshold} is no share: use a number above 0 and up to 1")
    if passage < 10:
        raise ValueError(f"passage {passage} is too short to say anything: use 10 or more")
    documents = []
    for submission in sorted(submissions, key=lambda item: item.student):
        document = _Document(submission, _own_cells(manifest, submission))
        if document.cells:
            document.print = _fingerprint(document.text, passage)
            document.blanked = document.print.filtered_code
            documents.append(document)
    whole = [len(document.print.hashes) for document in documents]
    starter = _starter(manifest, known, passage)
    for document in documents:
        _keep(document.print, starter)
    own = {
        index
        for index, document in enumerate(documents)
        if document.print.token_coverage >= amount and whole[index]
    }
    alike = {pair for pair in _identical(documents, amount) if set(pair) <= own}
    full = {pair: _compare(documents[pair[0]], documents[pair[1]]) for pair in sorted(alike)[:most]}

    limit = common if common is not None else max(10, math.ceil(0.1 * len(documents)))
    times = Counter(value for document in documents for value in document.print.hashes)
    everybodys = {value for value, count in times.items() if count > limit}
    for document in documents:
        _keep(document.print, everybodys)
    pairs = list(full.values())
    for one, other in _candidates(documents, amount):
        if (one, other) in full:
            continue
        pair = _compare(documents[one], documents[other])
        if pair.amount >= amount and pair.share >= threshold:
            pairs.append(pair)
    pairs.sort(key=lambda pair: (-round(pair.share, 6), -pair.amount, pair.a, pair.b))
    return pairs[:most]


# --- the page -------------------------------------------------------------------------------------


def _with_marks(block: Block) -> Markup:
    """A cell's source, escaped, with its shared stretches marked; long parts without are cut."""
    parts, at = [], 0
    for low, high in [*block.marks, (len(block.source), len(block.source))]:
        parts.append(Markup.escape(_around(block.source[at:low], at == 0, high == low)))
        if high > low:
            shared = pages.cut(block.source[low:high], length=4000, columns=pages.LINE_LENGTH)
            parts.append(Markup("<mark>{}</mark>").format(shared.text))
        at = high
    return Markup("").join(parts)


def _around(text: str, first: bool, last: bool) -> str:
    """Unshared text with its middle left out where it is long."""
    lines = [
        line if len(line) <= pages.LINE_LENGTH else line[: pages.LINE_LENGTH] + " …"
        for line in pages.clean(text).split("\n")
    ]
    keep = 3
    if len(lines) <= 2 * keep + 1:
        return "\n".join(lines)
    before = [] if first else lines[:keep]
    after = [] if last else lines[-keep:]
    return "\n".join([*before, "…", *after])


def _context(number: int, pair: Pair, namer: pages.Namer) -> dict[str, Any]:
    names = list(dict.fromkeys(block.cell for block in [*pair.blocks_a, *pair.blocks_b]))

    def side(blocks: list[Block], student: str, name: str) -> Markup:
        found = [block for block in blocks if block.cell == name and block.marks]
        masked = [
            Block(block.cell, block.source, block.marks)
            if namer.key is None
            else _mask(block, namer, pair)
            for block in found
        ]
        return Markup("\n\n").join(_with_marks(block) for block in masked)

    sides = [
        {
            "cell": name,
            "a": side(pair.blocks_a, pair.a, name),
            "b": side(pair.blocks_b, pair.b, name),
        }
        for name in names
    ]
    return {
        "number": number,
        "a": namer.name(pair.a),
        "b": namer.name(pair.b),
        "share_a": f"{pair.share_a:.0%}",
        "share_b": f"{pair.share_b:.0%}",
        "amount": pair.amount,
        "spelling": f"{pair.spelling:.0%}",
        "same_file": pair.same_file,
        "sides": [part for part in sides if part["a"] or part["b"]],
    }


def _mask(block: Block, namer: pages.Namer, pair: Pair) -> Block:
    """A block without both students' ids; marks move with the text."""
    pieces, marks, at = [], [], 0
    for low, high in [*block.marks, (len(block.source), len(block.source))]:
        for begin, end, marked in ((at, low, False), (low, high, True)):
            text = namer.mask(namer.mask(block.source[begin:end], pair.a), pair.b)
            start = sum(map(len, pieces))
            pieces.append(text)
            if marked and text:
                marks.append((start, start + len(text)))
        at = high
    return Block(block.cell, "".join(pieces), marks)


def write_similarity(
    manifest: Manifest,
    pairs: Sequence[Pair],
    path: Path,
    *,
    compared: int,
    course_title: str = "From XOR to GPT",
    anonymous: bool = False,
    key: bytes | None = None,
    threshold: float = THRESHOLD,
    amount: int = AMOUNT,
    passage: int = PASSAGE,
    details: int = 50,
) -> Path:
    """Write the page for staff: a list of all pairs, and the shared passages of the first
    ``details`` side by side. ``compared`` is the number of submissions that were looked at."""
    namer = pages.Namer.choose(anonymous, key)
    html = pages.render(
        "similarity.html",
        course_title=course_title,
        stage=pages.clean(manifest.stage),
        compared=compared,
        pairs=[_context(number, pair, namer) for number, pair in enumerate(pairs, 1)],
        details=details,
        threshold=f"{threshold:.0%}",
        amount=amount,
        passage=passage,
    )
    return pages.write_text(path, html)
