"""Checkpoints: any tree of tensors and plain data in one safetensors file, without pickle.

Does: pack nested dictionaries, lists and tuples (a model's and any optimizer's ``state_dict``,
random states) into tensors plus JSON; write the file so that it is there whole or not at all; read
it back with the same values, dtypes, key types and memory order; name the first difference of two
settings.
Does not: store code or objects, so loading a checkpoint from a stranger runs nothing.

The JSON is in the file's own header (``__metadata__``): one file, hence one atomic rename. Tensors
that are the same tensor (tied weights) are stored once and are one tensor again after loading.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from xor2gpt.training.errors import CheckpointError

__all__ = ["first_difference", "load_checkpoint", "save_checkpoint"]

_HEADER = "xor2gpt"
_FORMAT = 1


# --- packing --------------------------------------------------------------------------------------


class _Packer:
    """Collects the tensors of a tree and turns the tree into JSON data."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._same: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._kept: list[Tensor] = []  # keeps memory addresses unique while packing
        self._storages: set[int] = set()

    def tensor(self, value: Tensor, path: str) -> dict[str, Any]:
        value = value.detach()
        if value.layout != torch.strided or value.is_quantized:
            raise TypeError(f"{path}: a checkpoint holds dense tensors, not {value.layout}")
        address = value.data_ptr()
        same = (address, value.dtype, tuple(value.shape), value.stride(), value.device)
        if address and same in self._same:
            return self._same[same]
        # Dense but permuted (channels_last): store the order of dimensions, to restore the strides.
        order = sorted(range(value.ndim), key=lambda d: (-value.stride(d), d))
        dense = value.permute(order)
        plain = order == list(range(value.ndim)) or not dense.is_contiguous()
        stored = (value if plain else dense).contiguous()
        storage = stored.untyped_storage()
        if storage.data_ptr() in self._storages or storage.nbytes() != stored.nbytes:
            stored = stored.clone()  # a view of a bigger tensor, or two views of one
        self._storages.add(stored.untyped_storage().data_ptr())
        self._kept += [value, stored]
        name = path
        while name in self.tensors:
            name += "'"
        self.tensors[name] = stored
        entry: dict[str, Any] = {"tensor": name}
        if not plain:
            entry["order"] = order
        self._same[same] = entry
        return entry

    def pack(self, value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            return self.tensor(value, path)
        if isinstance(value, np.ndarray):
            return {"array": self.tensor(torch.from_numpy(value.copy()), path)["tensor"]}
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list):
            return [self.pack(item, f"{path}.{i}") for i, item in enumerate(value)]
        if isinstance(value, tuple):
            return {"tuple": [self.pack(item, f"{path}.{i}") for i, item in enumerate(value)]}
        if isinstance(value, Mapping):
            items = [[_key(k, path), self.pack(v, f"{path}.{k}")] for k, v in value.items()]
            if all(isinstance(key, str) for key, _ in items):
                return {"dict": dict(items)}
            return {"items": items}
        raise TypeError(
            f"{path} is a {type(value).__name__}: a checkpoint holds tensors, arrays, numbers, "
            "strings, None, lists, tuples and dictionaries (no pickle, so no other objects)"
        )


def _key(key: Any, path: str) -> str | int | float | bool | None:
    if key is None or isinstance(key, str | int | float | bool):
        return key
    raise TypeError(f"{path} has the key {key!r}: keys must be strings or numbers")


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        tensor = tensors[value["tensor"]]
        if "order" not in value:
            return tensor
        order = value["order"]
        return tensor.permute([order.index(dim) for dim in range(len(order))])
    if "array" in value:
        return tensors[value["array"]].numpy().copy()
    if "tuple" in value:
        return tuple(_unpack(item, tensors) for item in value["tuple"])
    if "items" in value:
        return {key: _unpack(item, tensors) for key, item in value["items"]}
    return {key: _unpack(item, tensors) for key, item in value["dict"].items()}


# --- files ----------------------------------------------------------------------------------------


def _flush_to_disk(path: Path) -> None:
    """Wait until the file (or, where the system can, the folder) has reached the disk."""
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        return  # Windows cannot open a folder
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_checkpoint(path: str | os.PathLike[str], state: Any) -> None:
    """Write a tree of tensors and plain data to ``path``, whole or not at all.

    The data goes to ``.NAME.tmp`` beside it, reaches the disk and takes the name in one step: a
    kill at any moment leaves the earlier file or the new one.

    Args:
        path: usually ``….safetensors``; any safetensors reader can open it.
        state: nested dictionaries, lists and tuples of tensors, arrays, numbers, strings and None.

    Raises ``TypeError`` naming the entry that a checkpoint cannot hold.
    """
    path = Path(path)
    packer = _Packer()
    tree = packer.pack(state, "state")
    header = json.dumps({"format": _FORMAT, "tree": tree}, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        save_file(packer.tensors, temporary, metadata={_HEADER: header})
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_to_disk(path.parent)


def load_checkpoint(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Any:
    """The tree that `save_checkpoint` wrote, with its tensors on ``device``.

    Raises ``FileNotFoundError`` where there is no file, `CheckpointError` for a damaged or foreign
    one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = (file.metadata() or {}).get(_HEADER)
            if header is None:
                raise CheckpointError(
                    f"{path} is a safetensors file, but was not written by save_checkpoint: "
                    "read it with safetensors.torch.load_file"
                )
            # Copies: the tensors would be windows into the file, which the next save replaces.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is cut off or damaged ({error}): delete it and train again, or restore a copy"
        ) from error
    content = json.loads(header)
    if content.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} has format {content.get('format')!r}, this version of xor2gpt reads {_FORMAT}"
        )
    return _unpack(content["tree"], tensors)


# --- comparison -----------------------------------------------------------------------------------


def first_difference(saved: Any, present: Any, path: str = "") -> str | None:
    """The first place where two trees of plain data differ, in words; ``None`` when they agree."""
    if isinstance(saved, Mapping) and isinstance(present, Mapping):
        for key in saved:
            if key not in present:
                return (
                    f"{_join(path, key)} is in the checkpoint ({_short(saved[key])}) but not here"
                )
            if found := first_difference(saved[key], present[key], _join(path, key)):
                return found
        for key in present:
            if key not in saved:
                return (
                    f"{_join(path, key)} is here ({_short(present[key])}) but not in the checkpoint"
                )
        return None
    both = (list, tuple)
    if isinstance(saved, both) and isinstance(present, both) and len(saved) == len(present):
        if all(isinstance(item, int | float | str | bool | None) for item in (*saved, *present)):
            same = list(saved) == list(present)
            return None if same else _differ(path, saved, present)
        pairs = enumerate(zip(saved, present, strict=True))
        found = (first_difference(a, b, _join(path, i)) for i, (a, b) in pairs)
        return next((text for text in found if text), None)
    return None if saved == present else _differ(path, saved, present)


def _differ(path: str, saved: Any, present: Any) -> str:
    return f"{path} is {_short(saved)} in the checkpoint and {_short(present)} here"


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
