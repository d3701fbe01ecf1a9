"""The few statistics that figures and tables are made of.

Does: mean and standard deviation over seeds; the 95 % Wilson interval of a rate; differences
between two units, seed by seed.
Does not: test hypotheses, or turn one lucky seed into a claim.

Source: `xor2gpt.evaluate.intervals` for Wilson's interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xor2gpt.evaluate import intervals

if TYPE_CHECKING:
    from xor2gpt.recipes.base import UnitResult

__all__ = ["gains", "mean_sd", "wilson"]


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """``(mean, sample standard deviation)``; the deviation of a single value is NaN.

    Raises ``ValueError`` when there are no values.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("the mean of no values is not defined: was the run empty?")
    sd = float(array.std(ddof=1)) if array.size > 1 else float("nan")
    return float(array.mean()), sd


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """``(low, high)``: the Wilson score interval of the rate ``successes / trials``, in [0, 1].

    Raises ``ValueError`` for fewer than one trial or more successes than trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(
            f"{successes} successes in {trials} trials is no rate: "
            "count 0 <= successes <= trials, and at least one trial"
        )
    interval = intervals.wilson(successes, trials, confidence)
    return interval.low, interval.high


def gains(metric: str, result: UnitResult, found: Mapping[str, UnitResult]) -> list[float]:
    """The metric's difference, seed by seed, to the unit that ``hyper["against"]`` names.

    Empty where the unit names none, where that one was not run, or where they share no seed.
    """
    other = found.get(result.hyper.get("against") or "")
    if other is None or metric not in result.per_seed or metric not in other.per_seed:
        return []
    before = dict(zip(other.seeds, other.per_seed[metric], strict=True))
    pairs = zip(result.seeds, result.per_seed[metric], strict=True)
    return [value - before[seed] for seed, value in pairs if seed in before]
