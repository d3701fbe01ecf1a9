"""The course's data: one registry, one way to get a set, one function to load it.

Does: ``load(name)`` any set; say what there is (:func:`names`, :func:`info`), where it lies
(:func:`where`), get it (:func:`fetch`) and check it (:func:`verify`).
Does not: import torch, or anything heavy, before a set needs it.

Order of sources: cache (``XOR2GPT_DATA``), mirror (``XOR2GPT_MIRROR``), canonical addresses.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xor2gpt.data import registry, store
from xor2gpt.data.errors import DamagedFile, DataError, DiskFull, DownloadFailed, FormatError
from xor2gpt.data.registry import Dataset, UnknownDataset, names
from xor2gpt.data.store import Finding

if TYPE_CHECKING:
    from xor2gpt.data.sets import BytePairs, Messages, Pictures, Split, Table, Text

__all__ = [
    "BytePairs",
    "DamagedFile",
    "DataError",
    "Dataset",
    "DiskFull",
    "DownloadFailed",
    "Finding",
    "FormatError",
    "Messages",
    "Pictures",
    "Split",
    "Table",
    "Text",
    "UnknownDataset",
    "fetch",
    "info",
    "load",
    "names",
    "verify",
    "where",
]

_LAZY = {"BytePairs", "Messages", "Pictures", "Split", "Table", "Text", "load"}


def __getattr__(name: str) -> object:
    """What needs numpy is imported on first use."""
    if name in _LAZY:
        from xor2gpt.data import sets

        return getattr(sets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def info(name: str) -> Dataset:
    """What the registry knows of a set: contents, size, licence, citation, files, addresses.

    Raises:
        UnknownDataset: no such set.
    """
    return registry.get(name)


def where(name: str) -> Path | None:
    """The set's folder in the cache, there or not; ``None`` for an embedded set (it has no file).

    Raises:
        UnknownDataset: no such set.
    """
    dataset = registry.get(name)
    return None if dataset.embedded else store.folder(dataset)


def fetch(name: str, *, progress: bool | None = None) -> Path | None:
    """Have a set in the cache, every file hashed; damaged files are fetched again.

    Args:
        name: one of :func:`names`.
        progress: a bar on stderr; ``None`` means where stderr is a terminal.

    Returns:
        its folder; ``None`` for an embedded set.

    Raises:
        UnknownDataset: no such set.
        DataError: no source gives it; the message says what was tried and what to do.
    """
    dataset = registry.get(name)
    return None if dataset.embedded else store.fetch(dataset, progress=progress)


def verify(name: str) -> list[Finding]:
    """Hash a set's files in the cache, and in the mirror where that is a folder.

    Returns:
        one row a file and place; empty where neither holds the set.

    Raises:
        UnknownDataset: no such set.
    """
    return store.verify(registry.get(name))
