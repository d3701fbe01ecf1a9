"""`Tokenizer`: text to ids and back.

Does: train, encode, decode (whole or as a stream), keep special tokens apart from text, save to
and load from a JSON file, share its vocabulary with tiktoken.
Does not: pickle (the file is text, and nothing in it is executed), pad or truncate.

**The file** is JSON in UTF-8 with the keys

    format          "xor2gpt-tokenizer"
    version         1
    pattern         the regular expression that cuts text into pieces
    byte_order      the 256 bytes in the order of their ids, as one string of 256 characters
    merges          one string "left right" per merge, in order; merge k makes the id 256 + k
    special_tokens  {text: id}

Bytes are written in GPT-2's printable alphabet (`pieces.printable`), so that merges read like those
of a ``merges.txt``. Everything else follows from these fields.
"""

from __future__ import annotations

import codecs
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xor2gpt.tokenizer.encoding import PieceCache, merge
from xor2gpt.tokenizer.pieces import (
    BYTE_ORDERS,
    PATTERNS,
    check_text,
    compiled,
    pieces_of_bytes,
    printable,
    unprintable,
)
from xor2gpt.tokenizer.trainer import count_pieces, learn_merges, split_at

if TYPE_CHECKING:
    import tiktoken

__all__ = ["Tokenizer"]

FORMAT, VERSION = "xor2gpt-tokenizer", 1
SpecialTokens = Sequence[str] | Mapping[str, int]
Everything = Literal["all"]


class Tokenizer:
    """A byte-level BPE tokenizer.

    ``merges`` are pairs of tokens (bytes) in the order in which they were learned; ids 0 to 255
    are the bytes in ``byte_order`` (a name of `BYTE_ORDERS`, or a permutation), and merge k makes
    the id 256 + k. ``special_tokens`` is a sequence of texts, which get the next ids, or a mapping
    from text to id. ``pattern`` is a regular expression or a name of `PATTERNS`.

    Raises ``ValueError`` for a merge whose parts are no tokens yet or whose result is one already,
    for special tokens that are empty or whose ids are taken, and for a wrong pattern.
    """

    def __init__(
        self,
        merges: Iterable[tuple[bytes, bytes]] = (),
        *,
        special_tokens: SpecialTokens = (),
        pattern: str = "gpt2",
        byte_order: str | Sequence[int] = "gpt2",
    ) -> None:
        self.pattern = PATTERNS.get(pattern, pattern)
        self.byte_order = _order(byte_order)
        self.merges = tuple((bytes(left), bytes(right)) for left, right in merges)
        self._ranks = _ranks(self.merges, self.byte_order)  # token -> id
        self.special_tokens = _with_ids(special_tokens, len(self._ranks))
        self._token_of = {i: token for token, i in self._ranks.items()} | {
            i: text.encode("utf-8") for text, i in self.special_tokens.items()
        }
        self._split = compiled(self.pattern).findall
        self._cache = PieceCache(self._ranks)

    # --- what it is -------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """V: one more than the highest id, so that a table with V rows has a row for every id."""
        return max(self._token_of) + 1

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token. Raises ``ValueError`` for an id that it does not have."""
        try:
            return self._token_of[token_id]
        except KeyError:
            raise ValueError(
                f"{token_id!r} is no id of this tokenizer, whose ids lie in [0, {self.vocab_size})"
            ) from None

    def token_id(self, token: bytes | str) -> int:
        """The id of a token (bytes) or special token (str). Raises ``ValueError`` if not there."""
        table: Mapping[Any, int] = self.special_tokens if isinstance(token, str) else self._ranks
        if token not in table:
            kind = "special token" if isinstance(token, str) else "token"
            raise ValueError(f"{token!r} is no {kind} of this tokenizer")
        return table[token]

    def first_merges(self, number: int) -> Tokenizer:
        """The tokenizer as it was after its first merges; special tokens get the ids after them."""
        if not 0 <= number <= len(self.merges):
            raise ValueError(f"{number} merges: this tokenizer has {len(self.merges)}")
        special = sorted(self.special_tokens, key=self.special_tokens.__getitem__)
        return Tokenizer(
            self.merges[:number],
            special_tokens=special,
            pattern=self.pattern,
            byte_order=self.byte_order,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._as_dict() == other._as_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        special = ", ".join(self.special_tokens) or "none"
        return f"<Tokenizer: {len(self.merges)} merges, V = {self.vocab_size}, special: {special}>"

    def __reduce__(self) -> tuple[Any, ...]:  # copies and worker processes: without the cache
        return _from_dict, (self._as_dict(),)

    # --- training ---------------------------------------------------------------------------------

    @classmethod
    def train(
        cls,
        texts: str | Iterable[str],
        vocab_size: int,
        *,
        special_tokens: Sequence[str] = (),
        pattern: str = "gpt2",
        byte_order: str | Sequence[int] = "gpt2",
        min_count: int = 2,
    ) -> Tokenizer:
        """Learn a vocabulary of ``vocab_size`` ids: 256 bytes, merges, special tokens.

        Smaller where the texts hold no further pair that occurs ``min_count`` times. The rule and
        its ties: `xor2gpt.tokenizer.trainer`. Raises ``ValueError`` where ``vocab_size`` is smaller
        than bytes and special tokens need.
        """
        number = vocab_size - 256 - len(special_tokens)
        if number < 0:
            raise ValueError(
                f"vocab_size {vocab_size} is too small: 256 bytes and {len(special_tokens)} "
                f"special tokens need {vocab_size - number}"
            )
        found = count_pieces(
            texts, pattern=PATTERNS.get(pattern, pattern), special_tokens=special_tokens
        )
        merges = learn_merges(found, number, byte_order=_order(byte_order), min_count=min_count)
        return cls(
            [(merge.left, merge.right) for merge in merges],
            special_tokens=special_tokens,
            pattern=pattern,
            byte_order=byte_order,
        )

    # --- encoding ---------------------------------------------------------------------------------

    def encode(
        self,
        text: str,
        *,
        allowed_special: Everything | Collection[str] = (),
        disallowed_special: Everything | Collection[str] = "all",
    ) -> list[int]:
        """The ids of a text.

        A special token in the text becomes its id only if it is in ``allowed_special`` (or that is
        ``"all"``). One that is not, but is in ``disallowed_special`` (default: all others), raises
        ``ValueError``: text of unknown origin must not be able to forge one by accident. With
        ``disallowed_special=()`` it is encoded as plain text, like any other signs. It is the rule
        of tiktoken.

        Raises ``ValueError`` for a lone surrogate or an unknown name of a special token, and
        ``TypeError`` for what is no str.
        """
        check_text(text)
        allowed = self._chosen(allowed_special, "allowed_special")
        disallowed = self._chosen(disallowed_special, "disallowed_special") - allowed
        if (finder := split_at(disallowed)) and (hit := finder.search(text)):
            raise ValueError(
                f"the text holds the special token {hit.group()!r} at position {hit.start()}. "
                "To make it the special id, name it in allowed_special; "
                "to encode it as plain text, pass disallowed_special=()"
            )
        if not (finder := split_at(allowed)):
            return self._ordinary(text)
        ids, start = [], 0
        for match in finder.finditer(text):
            ids += self._ordinary(text[start : match.start()])
            ids.append(self.special_tokens[match.group()])
            start = match.end()
        return ids + self._ordinary(text[start:])

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text in which nothing is special: no id of a special token can come out."""
        check_text(text)
        return self._ordinary(text)

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of any bytes, UTF-8 or not. For UTF-8 the same as `encode_ordinary` of its text;
        `decode_bytes` gives the bytes back."""
        pieces = pieces_of_bytes(self.pattern, bytes(data))
        return [i for piece in pieces for i in merge(self._ranks, piece)]

    def _ordinary(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._cache.__getitem__, self._split(text))))

    def _chosen(self, names: Everything | Collection[str], argument: str) -> set[str]:
        if names == "all":
            return set(self.special_tokens)
        if isinstance(names, str):
            raise ValueError(f"{argument}={names!r}: give a collection of texts, or 'all'")
        if unknown := set(names) - set(self.special_tokens):
            raise ValueError(
                f"{argument} names {sorted(unknown)}, which this tokenizer does not have; "
                f"its special tokens: {sorted(self.special_tokens)}"
            )
        return set(names)

    # --- decoding ---------------------------------------------------------------------------------

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of the ids (a list, an array or a tensor of shape (T,))."""
        listed = ids.tolist() if hasattr(ids, "tolist") else ids
        return b"".join(map(self.token_bytes, listed))

    def decode(self, ids: Iterable[int], *, errors: str = "replace") -> str:
        """The text of the ids.

        Ids may stop in the middle of a character: such bytes become U+FFFD, or raise
        ``UnicodeDecodeError`` with ``errors="strict"``.
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The text id by id: each item is what became certain with one more id (maybe ``""``).

        A character of several bytes comes when its last byte is there; a last, incomplete one
        comes at the end as U+FFFD.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token_id in ids:
            yield decoder.decode(self.token_bytes(int(token_id)))
        if rest := decoder.decode(b"", final=True):
            yield rest

    def tokens(self, text: str) -> list[bytes]:
        """The tokens of a text as bytes: ``decode_bytes`` of each id. Nothing is special."""
        return [self._token_of[i] for i in self.encode_ordinary(text)]

    def pieces(self, text: str) -> list[str]:
        """The pieces that the pattern cuts a text into."""
        check_text(text)
        return self._split(text)

    # --- files and relatives ----------------------------------------------------------------------

    def _as_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "pattern": self.pattern,
            "byte_order": printable(bytes(self.byte_order)),
            "special_tokens": self.special_tokens,
            "merges": [f"{printable(left)} {printable(right)}" for left, right in self.merges],
        }

    def save(self, path: str | Path) -> Path:
        """Write the file that this module describes, in one step; returns its path."""
        path = Path(path)
        text = json.dumps(self._as_dict(), ensure_ascii=False, indent=0) + "\n"
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=path.name, suffix=".part", encoding="utf-8", delete=False
        ) as part:
            part.write(text)
        os.chmod(part.name, 0o644)
        os.replace(part.name, path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a file that `save` wrote. Raises ``ValueError`` naming what is wrong with it."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            return _from_dict(found, cls)
        except ValueError as error:  # JSON's own errors are ValueErrors
            raise ValueError(f"{path} is no tokenizer file: {error}") from None

    @classmethod
    def from_gpt2_files(cls, vocab_bpe: str | Path, encoder_json: str | Path) -> Tokenizer:
        """Read GPT-2's two files: merges (``vocab.bpe``, ``merges.txt``) and ids
        (``encoder.json``, ``vocab.json``). See `xor2gpt.tokenizer.gpt2_files`."""
        from xor2gpt.tokenizer.gpt2_files import read

        return cls(**read(Path(vocab_bpe), Path(encoder_json)))

    def save_gpt2_files(self, folder: str | Path) -> tuple[Path, Path]:
        """Write ``vocab.bpe`` and ``encoder.json``, which GPT-2's code and Hugging Face read."""
        from xor2gpt.tokenizer.gpt2_files import write

        return write(self, Path(folder))

    @classmethod
    def gpt2(cls) -> Tokenizer:
        """GPT-2's tokenizer, V = 50,257, from the registry's set ``gpt2-bpe``.

        Comes from the cache, the mirror or the network, like every set of `xor2gpt.data`; raises
        what that raises where it cannot be had.
        """
        from xor2gpt.tokenizer.gpt2_files import fetch

        return cls.from_gpt2_files(*fetch())

    def to_tiktoken(self, name: str = "xor2gpt") -> tiktoken.Encoding:
        """The same vocabulary as a ``tiktoken.Encoding``: the same ids for every text.

        (tiktoken's Unicode tables are its own: for characters newer than one of the two libraries
        pieces may differ.) Raises ``ImportError`` where tiktoken is not installed.
        """
        try:
            import tiktoken
        except ImportError as error:
            raise ImportError("to_tiktoken needs tiktoken: pip install tiktoken") from error
        return tiktoken.Encoding(
            name=name,
            pat_str=self.pattern,
            mergeable_ranks=dict(self._ranks),
            special_tokens=dict(self.special_tokens),
        )


def _order(byte_order: str | Sequence[int]) -> tuple[int, ...]:
    if isinstance(byte_order, str):
        if byte_order not in BYTE_ORDERS:
            raise ValueError(f"byte_order {byte_order!r}: use one of {sorted(BYTE_ORDERS)}")
        return BYTE_ORDERS[byte_order]
    if sorted(byte_order) != list(range(256)):
        raise ValueError("byte_order must name each of the 256 bytes once")
    return tuple(byte_order)


def _ranks(merges: Sequence[tuple[bytes, bytes]], byte_order: Sequence[int]) -> dict[bytes, int]:
    """Token to id: the bytes, then the result of each merge."""
    ranks = {bytes([byte]): i for i, byte in enumerate(byte_order)}
    for number, (left, right) in enumerate(merges):
        for part in (left, right):
            if part not in ranks:
                raise ValueError(
                    f"merge {number} joins {left!r} and {right!r}, but {part!r} is no token yet: "
                    "merges must stand in the order in which they were learned"
                )
        if left + right in ranks:
            raise ValueError(f"merge {number} makes {left + right!r}, which is a token already")
        ranks[left + right] = len(ranks)
    return ranks


def _with_ids(special_tokens: SpecialTokens, first: int) -> dict[str, int]:
    """Special tokens with their ids, checked."""
    if isinstance(special_tokens, str):
        raise ValueError(f"special_tokens={special_tokens!r}: give a sequence of texts")
    if isinstance(special_tokens, Mapping):
        table = dict(special_tokens)
    else:
        table = {text: first + k for k, text in enumerate(special_tokens)}
        if len(table) != len(special_tokens):
            raise ValueError(f"special tokens {list(special_tokens)} hold one twice")
    for text, token_id in table.items():
        if not text:
            raise ValueError("a special token cannot be empty")
        check_text(text)
        if not isinstance(token_id, int) or token_id < first:
            raise ValueError(f"special token {text!r} has the id {token_id}: ids start at {first}")
    if len(set(table.values())) != len(table):
        raise ValueError(f"special tokens share an id: {table}")
    return table


def _from_dict(found: Any, cls: type[Tokenizer] = Tokenizer) -> Tokenizer:
    """The tokenizer that `Tokenizer._as_dict` describes."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f'the key "format" must be "{FORMAT}"')
    if found.get("version") != VERSION:
        raise ValueError(f"version {found.get('version')!r}: this code reads version {VERSION}")
    kinds = {"pattern": str, "byte_order": str, "special_tokens": dict, "merges": list}
    for key, kind in kinds.items():
        if not isinstance(found.get(key), kind):
            raise ValueError(f'the key "{key}" must hold a {kind.__name__}')
    merges = []
    for number, line in enumerate(found["merges"]):
        parts = line.split(" ") if isinstance(line, str) else []
        if len(parts) != 2:
            raise ValueError(f'merge {number} must be a string "left right", not {line!r}')
        merges.append((unprintable(parts[0]), unprintable(parts[1])))
    return cls(
        merges,
        special_tokens=found["special_tokens"],
        pattern=found["pattern"],
        byte_order=tuple(unprintable(found["byte_order"])),
    )
