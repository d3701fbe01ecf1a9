"""The learning-rate range test: how the loss answers to a rate that grows from step to step.

Does: train for some steps with a growing rate, return rates and smoothed losses, and put model,
optimizer and random numbers back to where they were.
Does not: pick a rate for you; ``suggestion`` is the steepest descent, a place to start.

Source: Smith (2017), "Cyclical learning rates for training neural networks".
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from xor2gpt.training.batches import BatchSource
from xor2gpt.training.evaluation import device_of, to_device
from xor2gpt.training.precision import autocast, choose_precision
from xor2gpt.training.randomness import preserved_randomness, seed_everything

__all__ = ["RangeTest", "find_learning_rate"]


class RangeTest(NamedTuple):
    """Learning rates and smoothed losses, float64 ``(steps,)`` each, in the order of the steps."""

    lrs: np.ndarray
    losses: np.ndarray

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls most steeply against log(rate)."""
        if len(self.lrs) < 3:
            raise ValueError(f"{len(self.lrs)} steps are too few for a slope: start lower")
        slope = np.gradient(self.losses, np.log(self.lrs))
        return float(self.lrs[int(np.argmin(slope))])


def find_learning_rate(
    model: nn.Module,
    loss: Callable[..., Any],
    train: BatchSource,
    optimizer: Optimizer,
    *,
    start: float = 1e-6,
    end: float = 1.0,
    steps: int = 100,
    smoothing: float = 0.9,
    stop_at: float = 4.0,
    precision: str = "fp32",
    seed: int = 0,
) -> RangeTest:
    """Train ``steps`` steps at rates from ``start`` to ``end``, evenly spaced in the logarithm.

    Args:
        model, loss, train, optimizer: as for the trainer; all are left as they were. With groups of
            different rates, ``lr`` is the rate of the fastest group and the ratios stay.
        smoothing: weight of the past in the (bias-corrected) moving average of the loss.
        stop_at: stop when the smoothed loss exceeds its best value by this factor, or is not
            finite; the last point is left out when it is not finite.

    Returns ``(lrs, losses)``, which may be shorter than ``steps``.
    """
    if not 0 < start < end:
        raise ValueError(f"rates must grow from above 0: start {start!r}, end {end!r}")
    if steps < 2 or not 0 <= smoothing < 1:
        raise ValueError(
            f"steps must be at least 2 and smoothing below 1, not {steps}, {smoothing}"
        )
    tensors = [*model.parameters(), *model.buffers()]
    weights = [tensor.detach().clone() for tensor in tensors]
    optimizer_state = copy.deepcopy(optimizer.state_dict())
    gradients = [(p, p.grad) for p in model.parameters()]
    was_training = model.training
    with preserved_randomness():
        seed_everything(seed)
        try:
            if not was_training:
                model.train()
            rates = np.geomspace(start, end, steps)
            return _range_test(model, loss, train, optimizer, rates, smoothing, stop_at, precision)
        finally:
            with torch.no_grad():
                for tensor, before in zip(tensors, weights, strict=True):
                    tensor.copy_(before)
            optimizer.load_state_dict(optimizer_state)
            for parameter, gradient in gradients:
                parameter.grad = gradient
            if not was_training:
                model.eval()


def _range_test(
    model: nn.Module,
    loss: Callable[..., Any],
    train: BatchSource,
    optimizer: Optimizer,
    rates: np.ndarray,
    smoothing: float,
    stop_at: float,
    precision: str,
) -> RangeTest:
    device = device_of(model)
    precision, _ = choose_precision(precision, device)
    base = [float(group["lr"]) for group in optimizer.param_groups]
    if max(base) <= 0:
        raise ValueError("the optimizer's learning rates are 0: give it any rate above 0")
    lrs, losses, average, best = [], [], 0.0, math.inf
    for step, rate in enumerate(rates):
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = float(rate) * lr / max(base)
        optimizer.zero_grad(set_to_none=True)
        with autocast(precision, device):
            value = loss(model, *to_device(train.batch(step), device))
        mean = value[0] / value[1] if isinstance(value, tuple) else value
        number = float(mean.detach())
        if not math.isfinite(number):
            break
        average = smoothing * average + (1 - smoothing) * number
        smooth = average / (1 - smoothing ** (step + 1))
        lrs.append(float(rate))
        losses.append(smooth)
        best = min(best, smooth)
        if step > 0 and best > 0 and smooth > stop_at * best:
            break
        mean.backward()
        optimizer.step()
    if not losses:
        raise ValueError("the loss is not finite at the very first step, before any update")
    return RangeTest(np.array(lrs), np.array(losses))
