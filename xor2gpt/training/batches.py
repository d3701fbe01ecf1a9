"""Batch sources: the ``step``-th batch as a pure function of (seed, step).

Does: shuffle tensors once per epoch (`TensorBatches`), cut a stream of tokens into windows at a
random phase (`WindowBatches`), and walk through a validation split once (`SequentialWindows`).
Does not: read files, use worker processes, or remember a position: the data position of a training
run is its step number, which is why a run can go on exactly where it was killed.

A source has ``batch(step) -> tuple of tensors`` and ``steps_per_epoch``; anything that has these
two can be given to the trainer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from xor2gpt.training.randomness import derived_seed, permutation, philox

__all__ = ["BatchSource", "SequentialWindows", "TensorBatches", "WindowBatches"]

Augment = Callable[..., "tuple[Tensor, ...] | Tensor"]


@runtime_checkable
class BatchSource(Protocol):
    """What the trainer asks of a source of batches."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in which the source shows its data once."""

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """The batch of this step (from 0): the same call always gives the same batch."""


def _checksum(values: Tensor | np.ndarray) -> int:
    """A checksum over the first and the last entries: enough to notice another data set."""
    most = 8192 if values.ndim == 1 else 1
    total = 0
    for part in (values[:most], values[-most:]):
        if isinstance(part, Tensor):
            part = part.detach().cpu().contiguous().view(torch.uint8).numpy()
        total = zlib.crc32(np.ascontiguousarray(part).tobytes(), total)
    return total


def _check_batch_size(batch_size: int) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")


def _check_step(step: int) -> None:
    if step < 0:
        raise IndexError(f"there is no batch {step}: steps count from 0")


class TensorBatches:
    """Batches from tensors that share their first dimension, in a new order every epoch.

    Args:
        tensors: each ``(N, ...)``, on any device; the batches stay on it.
        batch_size: samples per batch.
        seed: the order of epoch ``e`` is a permutation derived from (seed, e).
        shuffle: ``False`` keeps the order of the tensors.
        drop_last: leave out the last batch of an epoch when it is short; the samples left out
            differ from epoch to epoch when shuffling.
        augment: ``augment(generator, *batch) -> batch``; the generator is derived from (seed, step)
            and lives on the tensors' device.

    Raises ``ValueError`` for no data, for lengths that differ, and for a batch that is bigger than
    the data set when ``drop_last`` would leave nothing.
    """

    def __init__(
        self,
        *tensors: Tensor,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        augment: Augment | None = None,
    ) -> None:
        _check_batch_size(batch_size)
        if not tensors:
            raise ValueError("TensorBatches needs at least one tensor, for instance images, labels")
        tensors = tuple(torch.as_tensor(tensor) for tensor in tensors)
        for position, tensor in enumerate(tensors):
            if tensor.ndim == 0 or len(tensor) != len(tensors[0]):
                shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
                raise ValueError(
                    f"tensors of shapes {shapes}: tensor {position} does not have the same first "
                    "dimension as the first one; every tensor holds one entry per sample"
                )
        self.samples = len(tensors[0])
        if self.samples == 0:
            raise ValueError("the data set is empty: there is nothing to train on")
        if drop_last and batch_size > self.samples:
            raise ValueError(
                f"batch_size {batch_size} is bigger than the data set ({self.samples} samples) and "
                "drop_last=True leaves no batch: use a smaller batch_size or drop_last=False"
            )
        self.tensors = tensors
        self.batch_size, self.seed = batch_size, seed
        self.shuffle, self.drop_last, self.augment = shuffle, drop_last, augment
        whole, rest = divmod(self.samples, batch_size)
        self._steps = whole + (1 if rest and not drop_last else 0)
        self._cached: tuple[int, Tensor] | None = None
        permutation(seed, 0, 1)  # refuses a bad seed now rather than at the first batch

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return self._steps

    def order(self, epoch: int) -> Tensor:
        """The samples' order in this epoch, int64 ``(N,)`` on the tensors' device."""
        if self._cached is None or self._cached[0] != epoch:
            order = torch.from_numpy(permutation(self.seed, epoch, self.samples))
            self._cached = (epoch, order.to(self.tensors[0].device))
        return self._cached[1]

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """The batch of this step: tensors of shape ``(B, ...)``, in the order they were given."""
        _check_step(step)
        epoch, position = divmod(step, self._steps)
        start, stop = position * self.batch_size, (position + 1) * self.batch_size
        if self.shuffle:
            chosen = self.order(epoch)[start:stop]
            batch = tuple(tensor[chosen.to(tensor.device)] for tensor in self.tensors)
        else:
            batch = tuple(tensor[start:stop] for tensor in self.tensors)
        if self.augment is None:
            return batch
        generator = torch.Generator(device=self.tensors[0].device)
        generator.manual_seed(derived_seed(self.seed, "augment", step))
        changed = self.augment(generator, *batch)
        return (changed,) if isinstance(changed, Tensor) else tuple(changed)

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """The batches of epoch 0."""
        return (self.batch(step) for step in range(self._steps))

    def signature(self) -> dict[str, Any]:
        """What must agree for a training run to go on with this source."""
        return {
            "source": "TensorBatches",
            "shapes": [list(tensor.shape) for tensor in self.tensors],
            "batch_size": self.batch_size,
            "seed": int(self.seed),
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "augmented": self.augment is not None,
            "checksums": [_checksum(tensor) for tensor in self.tensors],
        }


def _checked_tokens(tokens: Tensor | np.ndarray, context_length: int) -> Tensor | np.ndarray:
    """``tokens`` when it is a one-dimensional array of integers that holds at least one window."""
    if context_length < 1:
        raise ValueError(f"context_length must be at least 1, not {context_length}")
    if isinstance(tokens, list | tuple):
        tokens = np.asarray(tokens)
    if tokens.ndim != 1:
        raise ValueError(f"tokens must have shape (N,), not {tuple(tokens.shape)}: one long text")
    floating = (
        tokens.dtype.is_floating_point
        if isinstance(tokens, Tensor)
        else tokens.dtype.kind not in "iu"
    )
    if floating and len(tokens):
        raise ValueError(f"tokens must be integers (ids of a vocabulary), not {tokens.dtype}")
    if len(tokens) < context_length + 1:
        raise ValueError(
            f"{len(tokens)} tokens do not hold one window of context_length {context_length} and "
            f"its next token ({context_length + 1} tokens): use more text or a shorter context"
        )
    return tokens


def _windows(tokens: Tensor | np.ndarray, starts: np.ndarray, length: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets ``(B, T)`` from the windows that begin at ``starts`` ``(B,)``."""
    places = starts[:, None] + np.arange(length + 1)  # (B, T + 1)
    if isinstance(tokens, Tensor):
        picked = tokens[torch.from_numpy(places).to(tokens.device)].long()
    else:
        picked = torch.from_numpy(tokens[places].astype(np.int64))
    return picked[:, :-1].contiguous(), picked[:, 1:].contiguous()


class WindowBatches:
    """Random windows of a long text: inputs ``(B, T)`` and targets ``(B, T)``, one token later.

    An epoch cuts the text at a random phase into non-overlapping windows and shuffles them, so a
    token is a target at most once per epoch, and over the epochs windows begin everywhere. Windows
    are numbered through: batch ``s`` holds windows ``s * B`` to ``s * B + B - 1``, and a batch may
    reach into the next epoch. So ``k`` batches of ``B`` hold the windows of one batch of ``k * B``.

    Args:
        tokens: ids ``(N,)``, a tensor or an array (a ``numpy.memmap`` is read piecewise).
        context_length: ``T``.
        batch_size: ``B``.
        seed: phases and orders are derived from (seed, epoch).
    """

    def __init__(
        self, tokens: Tensor | np.ndarray, context_length: int, batch_size: int, seed: int = 0
    ) -> None:
        _check_batch_size(batch_size)
        self.tokens = _checked_tokens(tokens, context_length)
        self.context_length, self.batch_size, self.seed = context_length, batch_size, seed
        most, rest = divmod(len(tokens) - 1, context_length)
        self.windows = max(most - 1, 1)  # per epoch; one less than fit, to have room for the phase
        self._phases = rest + 1 + (context_length if most > 1 else 0)
        self._cached: tuple[int, np.ndarray] | None = None
        permutation(seed, 0, 1)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which (almost) every token is seen once, rounded up."""
        return -(-self.windows // self.batch_size)

    def starts(self, epoch: int) -> np.ndarray:
        """Where the windows of this epoch begin, in their order, int64 ``(windows,)``."""
        if self._cached is None or self._cached[0] != epoch:
            phase = int(philox(self.seed, "phase", epoch).integers(self._phases))
            order = permutation(self.seed, epoch, self.windows)
            self._cached = (epoch, phase + order * self.context_length)
        return self._cached[1]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of this step, int64 ``(B, T)`` each."""
        _check_step(step)
        first, end = step * self.batch_size, (step + 1) * self.batch_size
        parts = []
        while first < end:
            epoch, position = divmod(first, self.windows)
            parts.append(self.starts(epoch)[position : position + end - first])
            first += len(parts[-1])
        starts = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return _windows(self.tokens, starts, self.context_length)

    def signature(self) -> dict[str, Any]:
        """What must agree for a training run to go on with this source."""
        return {
            "source": "WindowBatches",
            "tokens": len(self.tokens),
            "context_length": self.context_length,
            "batch_size": self.batch_size,
            "seed": int(self.seed),
            "checksum": _checksum(self.tokens),
        }


class SequentialWindows:
    """A whole text once, in order, in non-overlapping windows: for the loss on a validation split.

    Every token but the first is a target exactly once. The last window may be shorter; it is a
    batch of its own. Iterate over it, or give it to `evaluate`.
    """

    def __init__(self, tokens: Tensor | np.ndarray, context_length: int, batch_size: int) -> None:
        _check_batch_size(batch_size)
        self.tokens = _checked_tokens(tokens, min(context_length, max(len(tokens) - 1, 1)))
        self.context_length, self.batch_size = context_length, batch_size
        self.windows, self._rest = divmod(len(self.tokens) - 1, context_length)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches."""
        return -(-self.windows // self.batch_size) + (1 if self._rest else 0)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets ``(B, T)``; the last batches may be smaller."""
        if not 0 <= step < self.steps_per_epoch:
            raise IndexError(f"there is no batch {step}: the text has {self.steps_per_epoch}")
        first = step * self.batch_size
        if first >= self.windows:  # the tail
            start = self.windows * self.context_length
            return _windows(self.tokens, np.array([start]), self._rest)
        numbers = np.arange(first, min(first + self.batch_size, self.windows))
        return _windows(self.tokens, numbers * self.context_length, self.context_length)

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self.batch(step) for step in range(self.steps_per_epoch))
