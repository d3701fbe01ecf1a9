"""Batch sources: pure functions of (seed, step) that show every sample once per epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xor2gpt import training as tr
from xor2gpt.training.randomness import permutation

PINNED = [[2, 0, 4, 1, 7, 5, 3, 6], [3, 4, 6, 2, 5, 0, 1, 7]]  # results depend on these orders


def numbers(n: int) -> torch.Tensor:
    return torch.arange(n)


# --- TensorBatches


@given(
    n=st.integers(1, 60),
    size=st.integers(1, 60),
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 9),
)
def test_every_sample_once_per_epoch(n: int, size: int, seed: int, epoch: int) -> None:
    batches = tr.TensorBatches(numbers(n), batch_size=size, seed=seed, drop_last=False)
    steps = range(epoch * len(batches), (epoch + 1) * len(batches))
    seen = torch.cat([batches.batch(step)[0] for step in steps])
    assert sorted(seen.tolist()) == list(range(n))


@given(n=st.integers(2, 40), size=st.integers(1, 40), order=st.permutations(range(12)))
def test_a_batch_depends_on_its_step_only(n: int, size: int, order: list[int]) -> None:
    size = min(n, size)
    straight = tr.TensorBatches(numbers(n), batch_size=size, seed=1)
    asked = tr.TensorBatches(numbers(n), batch_size=size, seed=1)
    expected = [straight.batch(step)[0].tolist() for step in range(12)]
    got = {step: asked.batch(step)[0].tolist() for step in order}
    assert [got[step] for step in range(12)] == expected
    assert all(len(batch) == len(set(batch)) == size for batch in expected)


def test_orders_differ_between_epochs_and_seeds_and_are_pinned() -> None:
    assert permutation(0, 0, 8).tolist() == PINNED[0]
    assert permutation(1, 2, 8).tolist() == PINNED[1]
    orders = {tuple(permutation(seed, epoch, 20)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    large = {tuple(permutation(2**64 - k, 0, 20)) for k in range(1, 6)}
    assert len(large) == 5
    batches = tr.TensorBatches(numbers(20), batch_size=20)
    shown = {tuple(batches.batch(epoch)[0].tolist()) for epoch in range(5)}
    assert len(shown) == 5
    texts = tr.WindowBatches(numbers(201), 10, 19)
    assert len({tuple(texts.batch(epoch)[0][:, 0].tolist()) for epoch in range(5)}) == 5


def test_tensors_stay_together_and_order_can_be_kept() -> None:
    x = torch.arange(20.0).reshape(10, 2)
    a, b = tr.TensorBatches(x, numbers(10), batch_size=4, seed=5).batch(3)
    assert torch.equal(a, x[b])
    kept = tr.TensorBatches(numbers(10), batch_size=4, shuffle=False, drop_last=False)
    assert [batch[0].tolist() for batch in kept] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(kept) == kept.steps_per_epoch == 3
    assert tr.TensorBatches(numbers(10), batch_size=4).steps_per_epoch == 2


def test_augmentation_is_a_function_of_seed_and_step() -> None:
    def noise(generator: torch.Generator, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(x.shape, generator=generator)

    batches = tr.TensorBatches(torch.zeros(6), batch_size=3, seed=2, augment=noise)
    first = batches.batch(4)[0]
    torch.rand(5)
    assert torch.equal(batches.batch(4)[0], first)
    assert not torch.equal(batches.batch(5)[0], first)
    other = tr.TensorBatches(torch.zeros(6), batch_size=3, seed=3, augment=noise)
    assert not torch.equal(other.batch(4)[0], first)


@pytest.mark.parametrize(
    ("tensors", "settings", "words"),
    [
        ((), {}, "at least one tensor"),
        ((numbers(0),), {}, "data set is empty"),
        ((numbers(4), numbers(5)), {}, r"shapes \(4,\), \(5,\): tensor 1 does not have the same"),
        ((numbers(4), torch.tensor(1)), {}, "tensor 1 does not have"),
        (
            (numbers(4),),
            {"batch_size": 5},
            r"batch_size 5 is bigger than the data set \(4 samples\)",
        ),
        ((numbers(4),), {"batch_size": 0}, "batch_size must be a whole number"),
        ((numbers(4),), {"seed": -1}, "seed must be an integer from 0"),
    ],
)
def test_tensor_errors(tensors: tuple, settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tr.TensorBatches(*tensors, **{"batch_size": 2, **settings})


def test_no_negative_step() -> None:
    with pytest.raises(IndexError, match="there is no batch -1"):
        tr.TensorBatches(numbers(4), batch_size=2).batch(-1)


# --- WindowBatches


@given(
    n=st.integers(3, 90),
    context=st.integers(1, 30),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 5),
)
def test_windows_of_an_epoch_do_not_overlap(n: int, context: int, seed: int, epoch: int) -> None:
    context = min(context, n - 1)
    batches = tr.WindowBatches(numbers(n), context, 1, seed)
    seen: list[int] = []
    for step in range(epoch * batches.windows, (epoch + 1) * batches.windows):
        ids, targets = batches.batch(step)
        assert ids.shape == targets.shape == (1, context)
        assert torch.equal(targets, ids + 1)  # the tokens are their own positions
        seen += targets.flatten().tolist()
    assert len(seen) == len(set(seen))
    assert len(seen) > n - 1 - 2 * context or batches.windows == 1
    assert 1 <= min(seen) <= max(seen) < n


@given(n=st.integers(9, 60), k=st.integers(1, 4), size=st.integers(1, 12), step=st.integers(0, 20))
def test_small_batches_make_up_a_big_one(n: int, k: int, size: int, step: int) -> None:
    small = tr.WindowBatches(numbers(n), 4, size, seed=1)
    big = tr.WindowBatches(numbers(n), 4, size * k, seed=1)
    parts = [small.batch(step * k + part)[0] for part in range(k)]
    assert torch.equal(torch.cat(parts), big.batch(step)[0])


def test_windows_begin_everywhere() -> None:
    batches = tr.WindowBatches(numbers(40), 8, 4, seed=0)
    begins = {int(ids[0]) for step in range(200) for ids in batches.batch(step)[0]}
    assert begins == set(range(min(begins), 32))
    assert min(begins) == 0


def test_tokens_may_be_an_array_or_a_file(tmp_path: Path) -> None:
    ids = np.arange(50, dtype=np.uint16)
    ids.tofile(tmp_path / "tokens.bin")
    expected = tr.WindowBatches(torch.arange(50), 6, 3, seed=4)
    for tokens in (ids, np.memmap(tmp_path / "tokens.bin", dtype=np.uint16), list(range(50))):
        got = tr.WindowBatches(tokens, 6, 3, seed=4).batch(2)
        assert torch.equal(got[0], expected.batch(2)[0])
        assert got[1].dtype == torch.int64
        assert got[1].is_contiguous()


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (numbers(6), "6 tokens do not hold one window of context_length 6"),
        (numbers(0), "0 tokens do not hold"),
        (torch.zeros(3, 4, dtype=torch.long), r"shape \(N,\), not \(3, 4\)"),
        (torch.rand(20), "must be integers"),
        (np.zeros(20), "must be integers.*float64"),
    ],
)
def test_window_errors(tokens: torch.Tensor, words: str) -> None:
    for make in (tr.WindowBatches, tr.SequentialWindows):
        if make is tr.SequentialWindows and len(tokens) == 6:
            continue  # a validation text may be shorter than one window
        with pytest.raises(ValueError, match=words if len(tokens) else "tokens do not hold"):
            make(tokens, 6, 2)


# --- SequentialWindows


@given(n=st.integers(2, 90), context=st.integers(1, 30), size=st.integers(1, 5))
def test_every_token_but_the_first_is_a_target_once(n: int, context: int, size: int) -> None:
    batches = tr.SequentialWindows(numbers(n), context, size)
    pairs = list(batches)
    targets = torch.cat([target.flatten() for _, target in pairs])
    assert torch.equal(targets, numbers(n)[1:])
    assert all(torch.equal(a + 1, b) and a.shape[0] <= size for a, b in pairs)
    assert len(pairs) == len(batches)
    with pytest.raises(IndexError, match="there is no batch"):
        batches.batch(len(pairs))


def test_signatures_notice_other_data() -> None:
    one = tr.WindowBatches(numbers(50), 4, 2, seed=0).signature()
    other = tr.WindowBatches(numbers(50) % 7, 4, 2, seed=0).signature()
    assert one != other
    x = torch.rand(6, 2, 2)
    assert (
        tr.TensorBatches(x, batch_size=2).signature()
        != tr.TensorBatches(x + 1, batch_size=2).signature()
    )
    assert (
        tr.TensorBatches(x, batch_size=2).signature()
        == tr.TensorBatches(x.clone(), batch_size=2).signature()
    )
