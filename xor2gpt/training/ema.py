"""Exponential moving average of a model's weights.

Does: e ← d e + (1 − d) w after every optimizer step, for all parameters and floating-point
buffers; swap the averaged weights in for an evaluation and out again.
Does not: change the training; recompute batch norm's statistics.

Buffers: batch norm's running mean and variance are averaged like the weights, which fits the
averaged weights well when they change slowly; integer buffers (``num_batches_tracked``) are copied.
For statistics that belong exactly to the averaged weights run ``torch.optim.swa_utils.update_bn``
on the result. With ``warmup`` the decay at update t is min(d, (1 + t) / (10 + t)), so that a short
training is not an average of its random start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["EMA"]


class EMA:
    """The moving average of ``model``'s state; begins as a copy of it."""

    def __init__(self, model: nn.Module, decay: float, *, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(
                f"ema_decay must be from 0 to below 1, not {decay!r}; usual is 0.99 to 0.9999"
            )
        self.decay, self.warmup, self.updates = decay, warmup, 0
        self._model = model
        self._live = dict(_state_tensors(model))
        with torch.no_grad():
            self.average = {name: tensor.detach().clone() for name, tensor in self._live.items()}
        smooth = [n for n, t in self._live.items() if t.is_floating_point() or t.is_complex()]
        self._smooth, self._copied = smooth, [n for n in self._live if n not in set(smooth)]

    def decay_at(self, update: int) -> float:
        """The decay of this update (from 0)."""
        return min(self.decay, (1 + update) / (10 + update)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the model's present weights."""
        live = [self._live[name].detach() for name in self._smooth]
        average = [self.average[name] for name in self._smooth]
        torch._foreach_lerp_(average, live, 1.0 - self.decay_at(self.updates))
        for name in self._copied:
            self.average[name].copy_(self._live[name])
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model holds the averaged weights; afterwards its own, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, tensor in self._live.items():
            tensor.data, self.average[name] = self.average[name], tensor.data

    def load(self, average: dict[str, Tensor], updates: int) -> None:
        """Take over an average from a checkpoint."""
        with torch.no_grad():
            for name, tensor in self.average.items():
                tensor.copy_(average[name])
        self.updates = updates


def _state_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
