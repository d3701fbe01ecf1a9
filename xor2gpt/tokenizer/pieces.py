"""The alphabet and the pieces: what BPE may merge, and where it must not.

Does: name the patterns that cut text into pieces (no merge crosses a piece); cut text and bytes;
give the two orders in which the 256 bytes get their ids; write bytes as printable characters.
Does not: learn or encode anything.

Source: pattern and printable alphabet of GPT-2 (Radford et al., 2019), in the form that tiktoken
uses: the same pieces, without backtracking.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import regex

__all__ = [
    "BYTE_ORDERS",
    "PATTERNS",
    "check_text",
    "compiled",
    "pieces_of_bytes",
    "printable",
    "shown",
    "unprintable",
]

PATTERNS = {
    # contractions | a word, | a number, | signs, each with the space before it | white space
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    # numbers in groups of at most three digits; a sign may stick to the word after it
    "gpt4": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
}
"""Patterns by name. Every character of any text lies in exactly one match of each of them."""

_PLAIN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in set(_PLAIN)]

BYTE_ORDERS: dict[str, tuple[int, ...]] = {
    "gpt2": (*_PLAIN, *_OTHERS),  # printable ones first: "!" has id 0, the space 220
    "value": tuple(range(256)),  # id = byte: "A" has id 65
}
"""In which order the 256 bytes get the ids 0 to 255."""

_PRINTABLE = {byte: chr(byte) for byte in _PLAIN} | {
    byte: chr(256 + k) for k, byte in enumerate(_OTHERS)
}
_UNPRINTABLE = {character: byte for byte, character in _PRINTABLE.items()}


def printable(token: bytes) -> str:
    """A token in GPT-2's alphabet: one printable character a byte (a space is ``Ġ``)."""
    return "".join(map(_PRINTABLE.__getitem__, token))


def unprintable(text: str) -> bytes:
    """The token that `printable` wrote. Raises ``ValueError`` for any other character."""
    try:
        return bytes(map(_UNPRINTABLE.__getitem__, text))
    except KeyError as error:
        raise ValueError(
            f"{error.args[0]!r} in {text!r} is no character of GPT-2's byte alphabet: "
            "is this a file of a byte-level BPE?"
        ) from None


def shown(token: bytes) -> str:
    """A token for human eyes: its text where it is UTF-8, with visible white space; else hex."""
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        return " ".join(f"{byte:02X}" for byte in token)
    visible = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}
    return "".join(visible.get(c) or (c if c.isprintable() else f"<U+{ord(c):04X}>") for c in text)


@functools.cache
def compiled(pattern: str) -> regex.Pattern[str]:
    """The pattern, compiled once. Raises ``ValueError`` where it is no regular expression."""
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"the pattern {pattern!r} is no regular expression: {error}") from None


def check_text(text: str) -> None:
    """Refuse what has no UTF-8: raises ``TypeError`` for no str, ``ValueError`` for a surrogate."""
    if not isinstance(text, str):
        raise TypeError(
            f"text must be a str, not {type(text).__name__}: for raw bytes use encode_bytes"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text holds a lone surrogate, U+{ord(text[error.start]):04X} at position "
            f"{error.start}: half a character has no UTF-8. Repair it with "
            "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
        ) from None


def pieces_of_bytes(pattern: str, data: bytes) -> Iterator[bytes]:
    """Cut any bytes into pieces: valid UTF-8 as text is cut, other bytes as signs are."""
    text = data.decode("utf-8", "surrogateescape")  # a wrong byte b becomes U+DC00 + b
    for piece in compiled(pattern).findall(text):
        yield piece.encode("utf-8", "surrogateescape")
