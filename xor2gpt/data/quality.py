"""A report on the quality of a list of texts, before anything is trained on them.

Does: lengths; empty and very short or long texts; exact duplicates (hash of the normalised text)
and near duplicates (Jaccard similarity of character shingles, candidates by MinHash); repetition,
counted in characters so that it works without spaces between words (Chinese, Japanese); encoding
faults (U+FFFD, mojibake, control characters, unpaired surrogates); scripts. :func:`plant_faults`
damages a list in known ways, for an exercise and for the tests.
Does not: repair or drop anything, nor judge truth, style or harm. Does not decode bytes: a text
that was decoded wrongly shows by its traces only.
Source: MinHash [Broder, 1997]; exact and near duplicates in training data [Lee et al., 2022].

Why characters: a test that splits at spaces sees a Chinese text as one word, finds each word once
and calls any repetition clean.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

__all__ = [
    "Fault",
    "Planted",
    "QualityReport",
    "Thresholds",
    "check_quality",
    "encoding_faults",
    "jaccard",
    "normalise_text",
    "plant_faults",
    "repetition",
    "scripts",
    "shingles",
]


@dataclass(frozen=True)
class Thresholds:
    """Limits with their reasons; change them for your texts, and say so.

    Attributes:
        shortest: characters; below 10 a text hardly holds a sentence in English (in Chinese it may:
            take 4).
        longest: characters; what exceeds the context would be cut or swamp the rest.
        repetition: share of a text that repeats (see :func:`repetition`). Ordinary English prose
            of a paragraph stays below 0.2, verse with a refrain about 0.3; a line pasted twice is
            at 0.5.
        near: Jaccard similarity of shingles. One changed word in ten leaves about 0.6 to 0.7; two
            texts from one template with other names stay below.
        shingle: characters a shingle; 5 is about a word.
        foreign: share of letters outside the most common script of the whole list above which a
            text counts as one of another script.
    """

    shortest: int = 10
    longest: int = 10_000
    repetition: float = 0.4
    near: float = 0.7
    shingle: int = 5
    foreign: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.shortest <= self.longest:
            raise ValueError(f"shortest {self.shortest} is above longest {self.longest}")
        for name in ("repetition", "near", "foreign"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share above 0 up to 1, not {getattr(self, name)}")
        if self.shingle < 1:
            raise ValueError(f"a shingle has at least 1 character, not {self.shingle}")


@dataclass(frozen=True)
class Fault:
    """One fault: ``kind``, ``index`` of the text, ``detail`` in words, and for duplicates the
    index of the text that it repeats (``other``)."""

    kind: str
    index: int
    detail: str
    other: int | None = None


KINDS = (
    "empty",
    "short",
    "long",
    "exact duplicate",
    "near duplicate",
    "repetition",
    "replacement character",
    "mojibake",
    "control character",
    "surrogate",
    "foreign script",
)


@dataclass(frozen=True)
class QualityReport:
    """What :func:`check_quality` found.

    Attributes:
        texts: how many were looked at.
        lengths: minimum, quartiles, maximum and mean of the lengths in characters.
        faults: all of them, in order of ``KINDS`` and of the texts.
        groups: indices of texts that repeat one another, exactly or nearly; a split keeps each
            group on one side.
        scripts: letters by script over all texts.
        thresholds: what was applied.
    """

    texts: int
    lengths: dict[str, float]
    faults: tuple[Fault, ...]
    groups: tuple[tuple[int, ...], ...]
    scripts: dict[str, int]
    thresholds: Thresholds = field(default_factory=Thresholds)

    def counts(self) -> dict[str, int]:
        """Texts with each kind of fault; every kind is listed."""
        return {
            kind: len({fault.index for fault in self.faults if fault.kind == kind})
            for kind in KINDS
        }

    def indices(self, *kinds: str) -> list[int]:
        """Sorted indices of texts with any of these kinds of faults (all kinds if none is given).

        Raises:
            ValueError: an unknown kind.
        """
        unknown = set(kinds) - set(KINDS)
        if unknown:
            raise ValueError(f"no such kind: {sorted(unknown)}; there are {', '.join(KINDS)}")
        wanted = kinds or KINDS
        return sorted({fault.index for fault in self.faults if fault.kind in wanted})

    def plain(self) -> dict:
        """The report as dicts, lists, strings and numbers, ready for JSON."""
        return {
            "texts": self.texts,
            "lengths": dict(self.lengths),
            "counts": self.counts(),
            "faults": [asdict(fault) for fault in self.faults],
            "groups": [list(group) for group in self.groups],
            "scripts": dict(self.scripts),
            "thresholds": asdict(self.thresholds),
        }

    def table(self, examples: int = 3) -> str:
        """The report as a text table: counts, shares, and the first examples of each fault."""
        sizes = ", ".join(f"{name} {value:g}" for name, value in self.lengths.items())
        letters = sum(self.scripts.values()) or 1
        mix = ", ".join(f"{name} {n / letters:.1%}" for name, n in self.scripts.items())
        lines = [
            f"{self.texts} texts; characters: {sizes or 'none'}",
            f"scripts: {mix or 'no letters'}",
            f"{'fault':<22}{'texts':>7}{'share':>8}  examples",
        ]
        for kind, count in self.counts().items():
            found = [fault for fault in self.faults if fault.kind == kind][:examples]
            shown = "; ".join(f"{fault.index}: {fault.detail}" for fault in found)
            share = count / max(self.texts, 1)
            lines.append(f"{kind:<22}{count:>7}{share:>8.1%}  {shown}".rstrip())
        return "\n".join(lines)


# --- single measures ------------------------------------------------------------------------------


def normalise_text(text: str) -> str:
    """What exact duplicates share: NFKC, small letters, single spaces, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def repetition(text: str, width: int = 8) -> float:
    """Share of a text's runs of ``width`` characters that have come before: 0 none, near 1 all.

    Spaces at the ends and case do not count. A text shorter than three runs is measured with
    shorter runs (a third of its length, at least 1 character), so that ``hahaha`` shows.
    """
    text = normalise_text(text)
    width = max(1, min(width, len(text) // 3))
    runs = len(text) - width + 1
    if runs < 2:
        return 0.0
    different = len({text[start : start + width] for start in range(runs)})
    return 1 - different / runs


def shingles(text: str, width: int = 5) -> frozenset[str]:
    """All runs of ``width`` characters of the normalised text; a shorter text is one shingle."""
    text = normalise_text(text)
    if len(text) <= width:
        return frozenset([text] if text else [])
    return frozenset(text[start : start + width] for start in range(len(text) - width + 1))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Size of the intersection by size of the union; 1 for two empty sets."""
    union = len(first | second)
    return len(first & second) / union if union else 1.0


# UTF-8 read as Latin-1 or Windows-1252: a lead byte (Â, Ã, â, ð, ï, and 0xE3 to 0xED for Asian
# scripts) followed by what continuation bytes become. The reading is tried out, so that a French
# word with an â is left alone.
_SUSPECT = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]+"
)


def _repaired(run: str) -> str | None:
    """``run`` as it was before it was read wrongly, or ``None`` if it was not."""
    for encoding in ("cp1252", "latin-1"):
        try:
            return run.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    mixed = bytearray()  # Windows-1252 leaves five bytes undefined; they stay as they are
    for character in run:
        try:
            mixed += character.encode("cp1252")
        except UnicodeError:
            if ord(character) > 255:
                return None
            mixed.append(ord(character))
    try:
        return mixed.decode("utf-8")
    except UnicodeError:
        return None


def encoding_faults(text: str) -> dict[str, str]:
    """Kinds of encoding faults in a text with a detail each.

    ``replacement character`` (U+FFFD), ``mojibake``, ``control character`` (all but tab, line feed
    and carriage return before a line feed), ``surrogate`` (half of a pair, which no UTF-8 has).
    """
    found: dict[str, str] = {}
    if count := text.count("\ufffd"):
        found["replacement character"] = f"{count} x U+FFFD"
    for match in _SUSPECT.finditer(text):
        was = _repaired(match.group())
        if was is not None:
            found["mojibake"] = f"{match.group()!a} for {was!a}"
            break
    plain = text.replace("\r\n", "\n")
    odd = [c for c in plain if unicodedata.category(c) == "Cc" and c not in "\t\n"]
    odd = [c for c in odd if "mojibake" not in found or ord(c) < 0x80]  # there they are its bytes
    if odd:
        found["control character"] = f"{len(odd)} x, first U+{ord(odd[0]):04X}"
    if halves := [c for c in text if 0xD800 <= ord(c) <= 0xDFFF]:
        found["surrogate"] = f"{len(halves)} x, first U+{ord(halves[0]):04X}"
    return found


_SCRIPTS = ("LATIN", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "CYRILLIC", "GREEK", "ARABIC",
            "HEBREW", "DEVANAGARI", "THAI")  # fmt: skip


def scripts(text: str) -> Counter[str]:
    """Letters by script, from their Unicode names (``LATIN``, ``CJK``, ...; the rest ``OTHER``)."""
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if character.isalpha():
            name = unicodedata.name(character, "")
            counts[next((s for s in _SCRIPTS if name.startswith(s)), "OTHER")] += count
    return counts


# --- duplicates -----------------------------------------------------------------------------------

_BANDS, _ROWS = 24, 4  # pairs of similarity s become candidates with probability 1 - (1 - s^4)^24
_PRIME = (1 << 31) - 1  # sums and products of numbers below it fit into 64 bits


def _signatures(sets: Sequence[frozenset[str]]) -> np.ndarray:
    """MinHash signatures: int64 (N, BANDS * ROWS); the shingle's hash is CRC-32."""
    rng = np.random.Generator(np.random.PCG64(0))
    factors = rng.integers(1, _PRIME, _BANDS * _ROWS, np.int64)
    offsets = rng.integers(0, _PRIME, _BANDS * _ROWS, np.int64)
    rows = np.full((len(sets), _BANDS * _ROWS), _PRIME, np.int64)
    for number, pieces in enumerate(sets):
        if pieces:
            raw = [zlib.crc32(piece.encode("utf-8", "surrogatepass")) for piece in pieces]
            hashes = np.array(raw, np.int64) % _PRIME
            rows[number] = ((hashes[:, None] * factors + offsets) % _PRIME).min(0)
    return rows


def _candidates(signatures: np.ndarray) -> list[tuple[int, int]]:
    """Pairs that agree in a whole band, sorted. Each text is paired with its bucket's first and
    its predecessor there, not with all: enough to join groups, and linear in the bucket's size."""
    pairs: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        buckets: dict[bytes, list[int]] = {}
        part = np.ascontiguousarray(signatures[:, band * _ROWS : (band + 1) * _ROWS])
        for number, row in enumerate(part):
            buckets.setdefault(row.tobytes(), []).append(number)
        for members in buckets.values():
            pairs.update((members[0], other) for other in members[1:])
            pairs.update(zip(members, members[1:], strict=False))
    return sorted(pairs)


def _find_duplicates(
    texts: Sequence[str], limits: Thresholds
) -> tuple[list[Fault], tuple[tuple[int, ...], ...]]:
    first: dict[bytes, int] = {}
    faults: list[Fault] = []
    parent = list(range(len(texts)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    originals: list[int] = []
    for index, text in enumerate(texts):
        normal = normalise_text(text)
        if not normal or len(text.strip()) < limits.shortest:
            continue
        key = hashlib.sha256(normal.encode("utf-8", "surrogatepass")).digest()
        if key in first:
            faults.append(Fault("exact duplicate", index, f"as {first[key]}", first[key]))
            parent[root(index)] = root(first[key])
        else:
            first[key] = index
            originals.append(index)

    sets = [shingles(texts[index], limits.shingle) for index in originals]
    nearest: dict[int, tuple[float, int]] = {}
    for a, b in _candidates(_signatures(sets)):
        likeness = jaccard(sets[a], sets[b])
        if likeness >= limits.near:
            left, right = originals[a], originals[b]
            parent[root(right)] = root(left)
            if likeness > nearest.get(right, (0.0, 0))[0]:
                nearest[right] = likeness, left
    faults += [
        Fault("near duplicate", index, f"{likeness:.2f} like {other}", other)
        for index, (likeness, other) in sorted(nearest.items())
    ]
    groups: dict[int, list[int]] = {}
    for index in range(len(texts)):
        groups.setdefault(root(index), []).append(index)
    return faults, tuple(sorted(tuple(g) for g in groups.values() if len(g) > 1))


# --- the report -----------------------------------------------------------------------------------


def check_quality(texts: Sequence[str], thresholds: Thresholds | None = None) -> QualityReport:
    """Look at every text and report; nothing is changed.

    The first of several duplicates is no fault, its repetitions are. Texts below the shortest
    length are not compared: two times "ok" says nothing. Near duplicates are found
    with high probability, not with certainty: texts of similarity 0.7 are compared in 998 of 1,000
    cases, of 0.9 practically always; what is reported was measured exactly.

    Raises:
        TypeError: an entry is not a string.
    """
    limits = thresholds or Thresholds()
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {index} is a {type(text).__name__}, not a string")
    by_text = [scripts(text) for text in texts]
    total: Counter[str] = sum(by_text, Counter())
    main = total.most_common(1)[0][0] if total else ""
    faults: list[Fault] = []
    for index, text in enumerate(texts):
        faults += _faults_of_one(index, text, by_text[index], main, limits)
    duplicates, groups = _find_duplicates(texts, limits)
    faults += duplicates
    faults.sort(key=lambda fault: (KINDS.index(fault.kind), fault.index))
    return QualityReport(
        len(texts), _lengths(texts), tuple(faults), groups, dict(total.most_common()), limits
    )


def _lengths(texts: Sequence[str]) -> dict[str, float]:
    if not texts:
        return {}
    sizes = np.array([len(text) for text in texts])
    quarters = np.percentile(sizes, (0, 25, 50, 75, 100), method="lower").tolist()
    names = ("min", "25%", "median", "75%", "max")
    return {**dict(zip(names, quarters, strict=True)), "mean": round(float(sizes.mean()), 1)}


def _faults_of_one(
    index: int, text: str, letters: Counter[str], main: str, limits: Thresholds
) -> list[Fault]:
    bare = text.strip()
    if not bare:
        return [Fault("empty", index, "nothing but white space" if text else "no character")]
    found = []
    if len(bare) < limits.shortest:
        found.append(Fault("short", index, f"{len(bare)} characters"))
    if len(bare) > limits.longest:
        found.append(Fault("long", index, f"{len(bare)} characters"))
    if len(bare) >= limits.shortest and (share := repetition(text)) > limits.repetition:
        found.append(Fault("repetition", index, f"{share:.0%} repeats"))
    found += [Fault(kind, index, detail) for kind, detail in encoding_faults(text).items()]
    count = letters.total()
    broken = any(fault.kind == "mojibake" for fault in found)
    if count and not broken and (count - letters[main]) / count > limits.foreign:
        other = next(name for name, _ in letters.most_common() if name != main)
        found.append(Fault("foreign script", index, other))
    return found


# --- planting -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planted:
    """Damaged texts and what was done: ``faults`` with the kind, index and, for copies, origin."""

    texts: tuple[str, ...]
    faults: tuple[Fault, ...]


# What stands between words, and words: shuffled, so that no two planted texts are alike.
_FOREIGN = (
    (" ", "собака кошка дом река лес окно стол зима книга город море хлеб"),
    (" ", "σκύλος γάτα σπίτι ποτάμι δάσος παράθυρο τραπέζι βιβλίο πόλη θάλασσα ψωμί νύχτα"),
    ("", "天 地 人 山 水 火 木 金 土 日 月 星 花 鸟 鱼 虫 春 夏 秋 冬"),
)
_ACCENTS = ("é", "ü", "ß", "–", "’", "ñ")
PLANTABLE = tuple(kind for kind in KINDS if kind != "long")


def plant_faults(
    texts: Sequence[str], seed: int, each: int = 5, kinds: Sequence[str] = PLANTABLE
) -> Planted:
    """A copy of ``texts`` with ``each`` faults of each kind, in random places.

    Duplicates are added as new texts, all other faults damage a text that is there, at most one
    fault a text; copies are taken from undamaged texts. So there are ``2 * each`` texts more.

    Raises:
        ValueError: too few clean texts of 40 characters and more, or an unknown kind.
    """
    unknown = [kind for kind in kinds if kind not in PLANTABLE]
    if unknown:
        raise ValueError(f"cannot plant {unknown}; there are {', '.join(PLANTABLE)}")
    usable = [index for index, text in enumerate(texts) if len(text.strip()) >= 40]
    needed = each * len(kinds)
    if len(usable) < needed:
        raise ValueError(f"{needed} texts of 40 characters are needed, there are {len(usable)}")
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = [usable[int(place)] for place in rng.permutation(len(usable))[:needed]]
    rows: list[tuple[str, str | None, int | None]] = [(text, None, None) for text in texts]
    for number, index in enumerate(chosen):
        kind = kinds[number // each]
        damaged = _damage(kind, texts[index], rng)
        if "duplicate" in kind:
            rows.append((damaged, kind, index))
        else:
            rows[index] = (damaged, kind, None)
    # Copies go anywhere after their origin, so that the origin is the first of its group.
    order = list(range(len(texts)))
    for copy in range(len(texts), len(rows)):
        start = order.index(rows[copy][2]) + 1
        order.insert(int(rng.integers(start, len(order) + 1)), copy)
    place = {old: new for new, old in enumerate(order)}
    faults = [
        Fault(kind, place[old], "planted", None if origin is None else place[origin])
        for old, (_, kind, origin) in enumerate(rows)
        if kind
    ]
    return Planted(
        tuple(rows[old][0] for old in order), tuple(sorted(faults, key=lambda f: f.index))
    )


def _damage(kind: str, text: str, rng: np.random.Generator) -> str:
    cut = int(rng.integers(5, len(text) - 5))
    if kind == "empty":
        return ("", "  ", "\n")[int(rng.integers(3))]
    if kind == "short":
        return text.strip()[: int(rng.integers(1, 9))].strip()
    if kind == "exact duplicate":
        return (text, text + " ", text.upper())[int(rng.integers(3))]
    if kind == "near duplicate":
        return text[:cut] + "x" + text[cut + 1 :]
    if kind == "repetition":
        return text[: max(8, len(text) // 3)] * 4
    if kind == "foreign script":
        between, listed = _FOREIGN[int(rng.integers(len(_FOREIGN)))]
        words = listed.split()
        return between.join(words[int(place)] for place in rng.permutation(len(words)))
    inserted = {
        "replacement character": "\ufffd",
        "control character": chr(int(rng.integers(1, 9))),
        "surrogate": chr(0xD800 + int(rng.integers(0x800))),
        "mojibake": "",
    }[kind]
    if kind == "mojibake":
        accent = _ACCENTS[int(rng.integers(len(_ACCENTS)))]
        inserted = accent.encode("utf-8").decode("cp1252")
    return text[:cut] + inserted + text[cut:]
