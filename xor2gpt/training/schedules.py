"""Learning-rate schedules: pure functions from the step to a factor on the base learning rate.

Does: constant, step decay, cosine with warm-up and floor, OneCycle, flat + linear cooldown.
Does not: hold a state or touch an optimizer. The trainer asks for the factor before every optimizer
step (step 0 is the first), so a schedule cannot be forgotten and needs nothing in a checkpoint.

Source: Loshchilov and Hutter (2017), "SGDR" (cosine); Smith and Topin (2018), "Super-convergence"
(OneCycle, in torch's form).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence

__all__ = ["Schedule", "constant", "cosine", "flat_then_linear", "one_cycle", "step_decay"]

Schedule = Callable[[int], float]


def _whole_steps(value: int | float, total: int, name: str) -> int:
    """``value`` as a number of steps: a whole number, or a fraction below 1 of ``total``."""
    if isinstance(value, float) and 0 <= value < 1:
        return round(value * total)
    if isinstance(value, bool) or value != int(value) or not 0 <= value <= total:
        raise ValueError(
            f"{name} must be a number of steps from 0 to {total}, or a fraction below 1, "
            f"not {value!r}"
        )
    return int(value)


def _check(total: int, floor: float = 0.0) -> None:
    if isinstance(total, bool) or not isinstance(total, int) or total < 1:
        raise ValueError(f"total must be a whole number of at least 1 step, not {total!r}")
    if not 0 <= floor <= 1:
        raise ValueError(f"floor is a factor from 0 to 1 on the base learning rate, not {floor!r}")


def _warm(step: int, warmup: int) -> float:
    """Warm-up: rises by equal amounts and reaches 1 at step ``warmup``; step 0 is above 0."""
    return (step + 1) / (warmup + 1)


def constant() -> Schedule:
    """Always 1."""
    return lambda step: 1.0


def step_decay(every: int | Sequence[int], gamma: float = 0.1) -> Schedule:
    """Multiply by ``gamma`` every ``every`` steps, or at each step of a sequence of milestones."""
    if isinstance(every, int):
        if every < 1:
            raise ValueError(f"every must be at least 1 step, not {every}")
        return lambda step: gamma ** (step // every)
    milestones = sorted(every)
    return lambda step: gamma ** bisect.bisect_right(milestones, step)


def cosine(total: int, warmup: int | float = 0, floor: float = 0.0) -> Schedule:
    """Linear warm-up to 1 at step ``warmup``, then half a cosine down to ``floor`` at ``total``.

    Args:
        total: steps of the whole training; beyond it the factor stays at ``floor``.
        warmup: number of steps, or a fraction below 1 of ``total``.
        floor: the smallest factor.
    """
    _check(total, floor)
    rise = _whole_steps(warmup, total, "warmup")

    def factor(step: int) -> float:
        if step < rise:
            return _warm(step, rise)
        if step >= total:
            return floor
        progress = (step - rise) / (total - rise)
        return 1 - (1 - floor) * 0.5 * (1 - math.cos(math.pi * progress))

    return factor


def one_cycle(
    total: int,
    warmup: float = 0.3,
    *,
    start: float = 1 / 25,
    end: float = 1 / 250_000,
    shape: str = "cos",
) -> Schedule:
    """OneCycle: from ``start`` up to 1 over the first part, then down to ``end`` at the last step.

    Equal to torch's ``OneCycleLR(max_lr=base lr, total_steps=total, pct_start=warmup,
    div_factor=1 / start, final_div_factor=start / end)`` on the learning rate; the momentum stays.

    Args:
        total: steps of the whole training.
        warmup: the fraction of the steps that rises, above 0 and below 1.
        start, end: factors at the first and at the last step.
        shape: ``"cos"`` or ``"linear"``.
    """
    _check(total)
    if not 0 < warmup < 1:
        raise ValueError(
            f"warmup is the fraction of the steps that rises, above 0 and below 1, not {warmup!r}"
        )
    if shape not in ("cos", "linear"):
        raise ValueError(f"shape must be 'cos' or 'linear', not {shape!r}")
    peak, last = max(warmup * total - 1, 0.0), total - 1

    def between(low: float, high: float, progress: float) -> float:
        if shape == "linear":
            return low + (high - low) * progress
        return high + (low - high) / 2 * (1 + math.cos(math.pi * progress))

    def factor(step: int) -> float:
        if step <= peak:
            return between(start, 1.0, step / peak) if peak else 1.0
        if step >= last:
            return end
        return between(1.0, end, (step - peak) / (last - peak))

    return factor


def flat_then_linear(
    total: int, cooldown: int | float = 0.2, *, warmup: int | float = 0, floor: float = 0.0
) -> Schedule:
    """Warm-up, then 1, then a straight line down to ``floor`` over the last ``cooldown`` steps.

    ``cooldown`` and ``warmup`` are numbers of steps, or fractions below 1 of ``total``. The line
    would reach ``floor`` at step ``total``; the last step taken is one before it, so it still
    learns.
    """
    _check(total, floor)
    rise, fall = _whole_steps(warmup, total, "warmup"), _whole_steps(cooldown, total, "cooldown")
    if rise + fall > total:
        raise ValueError(
            f"warmup ({rise}) and cooldown ({fall}) together exceed total ({total} steps)"
        )

    def factor(step: int) -> float:
        if step < rise:
            return _warm(step, rise)
        if step < total - fall:
            return 1.0
        if step >= total:
            return floor if fall else 1.0
        return 1 - (1 - floor) * (step - (total - fall)) / fall

    return factor
