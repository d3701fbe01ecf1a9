"""GPT-2's two files, and tiktoken's cache.

Does: read and write ``vocab.bpe`` (one merge a line) and ``encoder.json`` (token to id); fetch the
originals from the course's registry; put them where tiktoken looks, so that
``tiktoken.get_encoding("gpt2")`` works without a network.
Does not: know any other model's files.

Source: Radford et al. (2019); tiktoken's cache names a file by the SHA-1 of its address.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xor2gpt.tokenizer.pieces import printable, unprintable

if TYPE_CHECKING:
    from xor2gpt.tokenizer.tokenizer import Tokenizer

__all__ = ["ADDRESSES", "fetch", "fill_tiktoken_cache", "read", "tiktoken_cache", "write"]

DATASET = "gpt2-bpe"
_BASE = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
ADDRESSES = {name: _BASE + name for name in ("vocab.bpe", "encoder.json")}


def read(vocab_bpe: Path, encoder_json: Path) -> dict[str, Any]:
    """The arguments of `Tokenizer` that the two files stand for.

    Tokens of ``encoder.json`` that no merge makes are special tokens. Raises ``ValueError`` where
    the files contradict each other.
    """
    lines = vocab_bpe.read_text(encoding="utf-8").split("\n")
    merges = []
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#version"):
            continue
        parts = line.split(" ")
        if len(parts) != 2:
            raise ValueError(f'{vocab_bpe}, line {number}: "left right" expected, not {line!r}')
        merges.append((unprintable(parts[0]), unprintable(parts[1])))
    ids: dict[str, int] = json.loads(encoder_json.read_text(encoding="utf-8"))
    byte_of = {i: text for text, i in ids.items() if i < 256}
    try:
        byte_order = tuple(unprintable(byte_of[i])[0] for i in range(256))
    except KeyError as error:
        raise ValueError(f"{encoder_json} has no token with the id {error.args[0]}") from None
    made = [printable(left + right) for left, right in merges]
    for number, text in enumerate(made):
        if ids.get(text) != 256 + number:
            raise ValueError(
                f"the files do not belong together: merge {number} makes {text!r}, whose id in "
                f"{encoder_json} is {ids.get(text)}, not {256 + number}"
            )
    known = {byte_of[i] for i in range(256)} | set(made)
    special = {text: i for text, i in ids.items() if text not in known}
    return {"merges": merges, "special_tokens": special, "byte_order": byte_order}


def write(tokenizer: Tokenizer, folder: Path) -> tuple[Path, Path]:
    """Write both files into a folder that exists; returns their paths."""
    vocab_bpe, encoder_json = folder / "vocab.bpe", folder / "encoder.json"
    lines = [f"{printable(left)} {printable(right)}" for left, right in tokenizer.merges]
    _replace(vocab_bpe, "\n".join(["#version: 0.2", *lines, ""]).encode("utf-8"))
    first_special = 256 + len(tokenizer.merges)
    ids = {printable(tokenizer.token_bytes(i)): i for i in range(first_special)}
    _replace(encoder_json, json.dumps(ids | tokenizer.special_tokens).encode("utf-8"))
    return vocab_bpe, encoder_json


def fetch() -> tuple[Path, Path]:
    """``vocab.bpe`` and ``encoder.json`` from the registry, verified by their SHA-256."""
    from xor2gpt import data

    folder = Path(data.fetch(DATASET))
    return folder / "vocab.bpe", folder / "encoder.json"


def tiktoken_cache() -> Path:
    """The folder in which tiktoken keeps what it downloaded."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            return Path(os.environ[variable])
    return Path(tempfile.gettempdir()) / "data-gym-cache"


def fill_tiktoken_cache(folder: str | Path | None = None) -> Path:
    """Put GPT-2's files into tiktoken's cache (or ``folder``); returns the folder.

    ``tiktoken.get_encoding("gpt2")`` then works with no network. Raises ``ValueError`` where
    tiktoken's cache is switched off (its variable is empty), and what the registry raises where
    the files cannot be had.
    """
    cache = Path(folder) if folder is not None else tiktoken_cache()
    if not str(folder or os.environ.get("TIKTOKEN_CACHE_DIR", "?")):
        raise ValueError("TIKTOKEN_CACHE_DIR is empty, which switches tiktoken's cache off")
    cache.mkdir(parents=True, exist_ok=True)
    for path in fetch():
        name = hashlib.sha1(ADDRESSES[path.name].encode()).hexdigest()
        _replace(cache / name, path.read_bytes())
    return cache


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as part:
        part.write(content)
    os.chmod(part.name, 0o644)
    os.replace(part.name, path)
