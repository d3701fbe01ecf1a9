"""Measuring a model: means over all samples, not over batches.

Does: put the model into evaluation mode and back, module by module; average losses and metrics so
that a short last batch counts for what it holds.
Does not: choose a split, or keep results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xor2gpt.training.batches import BatchSource

__all__ = ["device_of", "evaluate", "evaluation_mode", "to_device"]


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's first parameter or buffer; the CPU for a model without."""
    first = next(model.parameters(), None)
    if first is None:
        first = next(model.buffers(), None)
    return torch.device("cpu") if first is None else first.device


def to_device(batch: Iterable[Any], device: torch.device) -> tuple[Any, ...]:
    """The batch with its tensors on ``device``."""
    return tuple(
        item.to(device, non_blocking=True) if isinstance(item, Tensor) else item for item in batch
    )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """``model.eval()`` inside; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def sum_and_count(value: Any, batch: tuple[Any, ...]) -> tuple[Tensor | float, Tensor | float]:
    """A loss's value as (sum, count): a mean counts for the samples of its batch."""
    if isinstance(value, tuple):
        return value
    first = batch[0] if batch else None
    count = len(first) if isinstance(first, Tensor) and first.ndim else 1
    return value * count, count


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loss: Callable[..., Any],
    batches: BatchSource | Iterable[tuple[Tensor, ...]],
) -> Any:
    """The mean of ``loss`` over all batches, each weighted with its count.

    Args:
        model: evaluated in evaluation mode without gradients; its modes are restored.
        loss: ``loss(model, *batch)``, as for the trainer: a mean over the batch, or ``(sum,
            count)`` (exact for unequal numbers of tokens), or a dictionary of these.
        batches: a source (one epoch of it) or any iterable of tuples.

    Returns a float, or a dictionary of floats when ``loss`` returns a dictionary.
    """
    device = device_of(model)
    if not isinstance(batches, Iterable):
        source = batches
        batches = (source.batch(step) for step in range(source.steps_per_epoch))
    sums: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    named = False
    with evaluation_mode(model):
        for batch in batches:
            batch = to_device(batch, device)
            value = loss(model, *batch)
            named = isinstance(value, Mapping)
            for name, item in (value if named else {"": value}).items():
                total, count = sum_and_count(item, batch)
                total = total.detach().double() if _doubles(total) else total
                sums[name] = sums.get(name, 0.0) + total
                counts[name] = counts.get(name, 0) + count
    if not sums:
        raise ValueError("there is no batch to evaluate on: the split is empty")
    for name, count in counts.items():
        if float(count) == 0:
            raise ValueError(f"{name or 'the loss'} counted no element: every target is ignored")
    means = {name: float(total) / float(counts[name]) for name, total in sums.items()}
    return means if named else means[""]


def _doubles(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type != "mps"  # mps has no float64
