"""Checksums as the registry writes them, compared with files and bytes.

Does: hash a file in pieces or bytes at once, compare with ``sha256:…``, ``md5:…`` and
``sha256-prefix:…``.
Does not: decide what happens to a file that differs. MD5 is used only where a publisher gives
nothing better: it finds damage, not malice.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

__all__ = ["Hasher", "digest_of_bytes", "digest_of_file", "matches", "plain_hash"]

_ALGORITHMS = {"sha256": "sha256", "md5": "md5", "sha256-prefix": "sha256"}


class Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def split(checksum: str) -> tuple[str, str]:
    """``("sha256-prefix", "f37072fd")`` of ``"sha256-prefix:f37072fd"``."""
    kind, _, digest = checksum.partition(":")
    if kind not in _ALGORITHMS or not digest:
        raise ValueError(f"{checksum!r} is no checksum: use one of {', '.join(_ALGORITHMS)}")
    return kind, digest


def hasher(checksum: str) -> Hasher:
    """An empty hash object of the checksum's algorithm."""
    return hashlib.new(_ALGORITHMS[split(checksum)[0]], usedforsecurity=False)


def matches(checksum: str, digest: str) -> bool:
    """Whether a hexadecimal digest is the registered one, or begins with the registered prefix."""
    kind, wanted = split(checksum)
    return digest.startswith(wanted) if kind.endswith("-prefix") else digest == wanted


def digest_of_file(path: Path, checksum: str) -> str:
    """The file's digest by the checksum's algorithm."""
    found = hasher(checksum)
    with open(path, "rb") as stream:
        while piece := stream.read(2**20):
            found.update(piece)
    return found.hexdigest()


def digest_of_bytes(data: bytes | memoryview, checksum: str) -> str:
    """The digest of bytes by the checksum's algorithm."""
    found = hasher(checksum)
    found.update(data)
    return found.hexdigest()


def plain_hash(checksum: str | None) -> str | None:
    """The checksum as ``pooch`` reads it; ``None`` where it has no such kind."""
    return None if checksum is None or split(checksum)[0].endswith("-prefix") else checksum
