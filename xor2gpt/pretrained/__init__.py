"""Models that are there before a lesson starts: the course's own, and GPT-2's published weights.

Does: load ``small`` (pretrained by the recipe `pretrain-small`) and ``small-instruct`` (the same
after `sft-generated`), which ship with the course, checked by hash and by configuration; load
``gpt2`` through the data registry once its user has fetched it, or from a file in Hugging Face's or
OpenAI's layout; save a model with its tokenizer in the same form; take a recipe's output into the
course (``python -m xor2gpt.pretrained adopt small FOLDER``).
Does not: download anything without being asked, read pickles, or train.

    model, tokenizer = load_pretrained()            # "small"; in evaluation mode, float32
    ids = tokenizer.encode("The opposite of hot is")

Texts behind the shipped weights: the course's own generators, Shakespeare's plays (public domain)
and the training part of GSM8K (MIT licence); `xor2gpt.recipes.pretrain_small` has the details.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from xor2gpt.gpt import GPT
    from xor2gpt.tokenizer import Tokenizer

__all__ = [
    "END_OF_TEXT",
    "MAX_BYTES",
    "SHIPPED",
    "Pretrained",
    "adopt",
    "load_pretrained",
    "read_gpt2_weights",
    "save_pretrained",
]

END_OF_TEXT = "<|endoftext|>"
MAX_BYTES = 8_000_000
"""The largest folder that may ship with the course."""

_HERE = Path(__file__).parent
_INDEX = _HERE / "shipped.json"
_TOKENIZER = "tokenizer.json"
_HEADS = {768: 12, 1024: 16, 1280: 20, 1600: 25}  # n_embd → n_head of the four published sizes


class Pretrained(NamedTuple):
    """A model in evaluation mode, float32, and the tokenizer it was trained with."""

    model: GPT
    tokenizer: Tokenizer


def _shipped() -> dict[str, dict[str, Any]]:
    return json.loads(_INDEX.read_text("utf-8")) if _INDEX.exists() else {}


SHIPPED: dict[str, dict[str, Any]] = _shipped()
"""By name: ``sha256`` of weights and tokenizer, and the configuration, as ``shipped.json`` says."""


def _names() -> str:
    return ", ".join(map(repr, [*SHIPPED, "gpt2"]))


def load_pretrained(
    name: str = "small", *, weights: str | Path | None = None, **changes: Any
) -> Pretrained:
    """A model and its tokenizer.

    Args:
        name: ``"small"`` or ``"small-instruct"``, which ship with the course; ``"gpt2"``: GPT-2's
            124 million parameters, which the registry has to hold (``python -m xor2gpt data fetch
            gpt2-124m gpt2-bpe``), unless ``weights`` names a file.
        weights: for ``"gpt2"`` only: a file or folder in Hugging Face's layout (``.safetensors``)
            or OpenAI's (``.npz`` of its checkpoint's variables).
        changes: fields of `GPTConfig` that do not change the weights, such as ``dropout=0.1``.

    Raises:
        ValueError: an unknown name, or weights whose hash or configuration is not the expected one.
        FileNotFoundError, xor2gpt.data.DataError: something is not there; the text says what to do.
    """
    if name in SHIPPED:
        if weights is not None:
            raise ValueError(
                f"weights={str(weights)!r}: {name!r} ships with the course; "
                "weights are for 'gpt2' only"
            )
        return _load_shipped(name, changes)
    if name != "gpt2":
        raise ValueError(f"there is no pretrained model {name!r}; known are {_names()}")
    return _load_gpt2(weights, changes)


def _load_shipped(name: str, changes: Mapping[str, Any]) -> Pretrained:
    from xor2gpt.data.hashing import digest_of_file
    from xor2gpt.finetune import load_finetuned
    from xor2gpt.tokenizer import Tokenizer

    expected, folder = SHIPPED[name], _HERE / name
    saved = load_finetuned(folder, sha256=expected["sha256"])
    found = digest_of_file(folder / _TOKENIZER, "sha256:x")
    if found != expected["tokenizer_sha256"]:
        raise ValueError(
            f"{folder / _TOKENIZER} has SHA-256 {found}, shipped.json says "
            f"{expected['tokenizer_sha256']}: restore the file (git checkout) or install again"
        )
    if saved.model.config.to_dict() != expected["config"]:
        raise ValueError(
            f"the configuration in {folder} is not the one in shipped.json: restore the folder"
        )
    return Pretrained(_changed(saved.model, changes), Tokenizer.load(folder / _TOKENIZER))


def _changed(model: GPT, changes: Mapping[str, Any]) -> GPT:
    """The model with other settings and the same weights."""
    if not changes:
        return model
    from xor2gpt.gpt import GPT, GPTConfig

    other = GPT(GPTConfig.from_dict(model.config.to_dict() | dict(changes)))
    try:
        other.load_state_dict(model.state_dict())
    except RuntimeError as error:
        raise ValueError(f"{dict(changes)} would change the weights: {error}") from None
    return other.eval()


# --- GPT-2 ----------------------------------------------------------------------------------------


def read_gpt2_weights(path: str | Path) -> GPT:
    """A GPT with the weights in a file, in Hugging Face's or OpenAI's layout.

    ``path`` is a ``.safetensors`` file of Hugging Face, a folder that holds ``model.safetensors``,
    or a ``.npz`` file of the variables of OpenAI's checkpoint by name (``model/wte``,
    ``model/h0/attn/c_attn/w`` …), as ``numpy.savez`` writes them. The number of heads follows from
    the width, which the four published sizes have in common with nothing else; a ``config.json``
    beside a Hugging Face file has the last word. No pickle is read.

    Raises ``FileNotFoundError``, or ``ValueError`` for another layout or width.
    """
    import numpy as np
    from safetensors.torch import load_file

    from xor2gpt.gpt import GPT

    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: give a .safetensors or .npz file")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            variables = {name.removesuffix(":0"): archive[name] for name in archive.files}
        width = next((v.shape[-1] for k, v in variables.items() if k.endswith("wte")), 0)
        return GPT.from_openai(variables, n_head=_heads(width, path)).eval()
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path.name}: only .safetensors and .npz are read (a pickle can run code)"
        )
    tensors = load_file(path)
    width = next((v.shape[-1] for k, v in tensors.items() if k.endswith("wte.weight")), 0)
    return GPT.from_huggingface(tensors, n_head=_heads(width, path)).eval()


def _heads(width: int, path: Path) -> int:
    """How many heads a GPT-2 of this width has."""
    config = path.with_name("config.json")
    if config.is_file():
        found = json.loads(config.read_text("utf-8")).get("n_head")
        if isinstance(found, int) and found > 0:
            return found
    if width not in _HEADS:
        raise ValueError(
            f"{path} has {width} channels, no GPT-2 of {sorted(_HEADS)}: put a config.json with "
            "n_head beside it"
        )
    return _HEADS[width]


def _load_gpt2(weights: str | Path | None, changes: Mapping[str, Any]) -> Pretrained:
    from xor2gpt import data
    from xor2gpt.gpt import GPT
    from xor2gpt.tokenizer import Tokenizer

    if weights is None:
        model = GPT.from_huggingface(data.load("gpt2-124m"), n_head=12).eval()
    else:
        model = read_gpt2_weights(weights)
    return Pretrained(_changed(model, changes), Tokenizer.gpt2())


# --- saving ---------------------------------------------------------------------------------------


def save_pretrained(
    folder: str | Path,
    model: GPT,
    tokenizer: Tokenizer,
    *,
    notes: Mapping[str, Any] | None = None,
) -> str:
    """Write weights (bfloat16), settings and tokenizer into ``folder``; the weights' SHA-256."""
    import torch

    from xor2gpt.data.hashing import digest_of_file
    from xor2gpt.finetune import save_finetuned

    folder = save_finetuned(model, folder, notes=notes, dtype=torch.bfloat16)
    tokenizer.save(folder / _TOKENIZER)
    return digest_of_file(folder / "model.safetensors", "sha256:x")


def adopt(name: str, folder: str | Path) -> Path:
    """Copy what `save_pretrained` wrote into the course, as the shipped model ``name``.

    ``shipped.json`` gets the hashes and the configuration that `load_pretrained` will demand.
    Raises ``ValueError`` for a folder that is larger than `MAX_BYTES` or damaged.
    """
    import shutil

    from xor2gpt.data.hashing import digest_of_file
    from xor2gpt.finetune import load_finetuned

    folder, target = Path(folder), _HERE / name
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > MAX_BYTES:
        raise ValueError(f"{folder} has {size:,} bytes; what ships may have {MAX_BYTES:,}")
    saved = load_finetuned(folder)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    index = _shipped()
    index[name] = {
        "sha256": saved.sha256,
        "tokenizer_sha256": digest_of_file(target / _TOKENIZER, "sha256:x"),
        "bytes": size,
        "parameters": sum(p.numel() for p in saved.model.parameters()),
        "config": saved.model.config.to_dict(),
    }
    _INDEX.write_text(json.dumps(index, indent=1) + "\n", "utf-8")
    SHIPPED.update(index)
    return target
