"""Checkpoints: what goes in comes out, and the file is whole whatever happens meanwhile."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from training_kit import same

from xor2gpt import training as tr
from xor2gpt.training import checkpoints
from xor2gpt.training.checkpoints import first_difference

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
TENSORS = st.builds(
    lambda shape, dtype: torch.arange(math.prod(shape)).reshape(shape).to(dtype),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(DTYPES),
)
KEYS = st.text(max_size=4) | st.integers(-9, 9) | st.none()
TREES = st.recursive(
    PLAIN | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


def round_trip(folder: Path, state: Any) -> Any:
    tr.save_checkpoint(folder / "x.safetensors", state)
    return tr.load_checkpoint(folder / "x.safetensors")


@settings(max_examples=60, deadline=None)
@given(tree=TREES)
def test_any_tree_comes_back(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    assert same(round_trip(tmp_path_factory.getbasetemp(), tree), tree)


def test_keys_that_look_alike_stay_apart(tmp_path: Path) -> None:
    one, two = torch.zeros(2), torch.ones(2)
    tree = {1: one, "1": two, "a.b": one + 2, "a": {"b": one + 3}}
    assert same(round_trip(tmp_path, tree), tree)


def test_memory_order_survives(tmp_path: Path) -> None:
    x = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    tree = [x, torch.rand(3, 4).t(), torch.rand(6)[::2], torch.rand(2, 6)[:, 1:3]]
    back = round_trip(tmp_path, tree)
    assert same(back, tree)
    assert back[0].is_contiguous(memory_format=torch.channels_last)
    assert back[0].stride() == x.stride()
    assert back[1].stride() == tree[1].stride()


def test_one_tensor_twice_is_stored_once(tmp_path: Path) -> None:
    weight = torch.rand(300, 100)
    back = round_trip(tmp_path, {"table": weight, "head": weight, "other": weight.t()})
    assert back["table"] is back["head"]
    assert torch.equal(back["other"], weight.t())
    assert len(load_file(tmp_path / "x.safetensors")) == 2


def test_a_view_is_stored_without_the_rest(tmp_path: Path) -> None:
    big = torch.rand(1000, 100)
    assert torch.equal(round_trip(tmp_path, [big[3]])[0], big[3])
    assert (tmp_path / "x.safetensors").stat().st_size < 2000


def test_arrays_and_numbers_of_numpy(tmp_path: Path) -> None:
    back = round_trip(tmp_path, {"a": np.arange(3), "b": np.float32(0.5), "c": np.int64(3)})
    assert back["a"].dtype == np.int64
    assert back["a"].tolist() == [0, 1, 2]
    assert (back["b"], back["c"]) == (0.5, 3)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"a": [1, {2, 3}]}, r"state.a.1 is a set.*no pickle"),
        ({"f": print}, "state.f is a builtin_function"),
        ({(1, 2): 3}, r"has the key \(1, 2\)"),
        ([torch.zeros(2, 2).to_sparse()], "state.0: a checkpoint holds dense tensors"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_named(tmp_path: Path, tree: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        tr.save_checkpoint(tmp_path / "x.safetensors", tree)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    tr.save_checkpoint(path, {"step": 1})

    def half(tensors: Any, file: Path, metadata: Any) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def refused(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    for owner, name, failing in ((checkpoints, "save_file", half), (os, "replace", refused)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            with pytest.raises(OSError, match="No space left"):
                tr.save_checkpoint(path, {"step": 2})
        assert tr.load_checkpoint(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_what_was_loaded_does_not_depend_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tr.save_checkpoint(path, {"w": torch.ones(5000)})
    loaded = tr.load_checkpoint(path)["w"]
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(loaded, torch.ones(5000))


def test_the_leftover_of_a_kill_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".x.safetensors.tmp").write_bytes(b"half a checkpoint")
    assert round_trip(tmp_path, [1]) == [1]
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        tr.load_checkpoint(path)
    tr.save_checkpoint(path, {"w": torch.rand(1000)})
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(tr.CheckpointError, match="cut off or damaged"):
            tr.load_checkpoint(path)
    path.write_bytes(whole.replace(b'\\"format\\": 1', b'\\"format\\": 9'))
    with pytest.raises(tr.CheckpointError, match="format 9"):
        tr.load_checkpoint(path)
    save_file({"w": torch.rand(3)}, path)
    with pytest.raises(tr.CheckpointError, match="was not written by save_checkpoint"):
        tr.load_checkpoint(path)


@pytest.mark.parametrize(
    ("saved", "present", "words"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1}}, None),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, "a.c is 2 in the checkpoint and 3 here"),
        ({"a": 1, "b": 2}, {"a": 1}, "b is in the checkpoint (2) but not here"),
        ({"a": 1}, {"a": 1, "b": [2]}, "b is here ([2]) but not in the checkpoint"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, "a.0.b is 1 in the checkpoint and 2 here"),
        ({"a": [1, 2]}, {"a": [1]}, "a is [1, 2] in the checkpoint and [1] here"),
        ({"a": None}, {"a": "x"}, "a is None in the checkpoint and 'x' here"),
    ],
)
def test_first_difference(saved: Any, present: Any, words: str | None) -> None:
    assert first_difference(saved, present) == words
