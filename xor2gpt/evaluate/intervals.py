"""How sure a rate is, and whether one classifier is better than another on the same texts.

Does: Wilson's interval in closed form, percentile bootstrap of any statistic (of texts or of whole
groups), accuracy with either, McNemar's exact test, paired bootstrap of a difference.
Does not: account for what varies between trainings: that needs several seeds and splits
(`xor2gpt.recipes`). An interval from one test set says how far *this model's* accuracy on *all*
texts may be from the one counted.

Source: Wilson (1927); Efron (1979), "Bootstrap methods: another look at the jackknife"; McNemar
(1947), "Note on the sampling error of the difference between correlated proportions".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

__all__ = ["Comparison", "Estimate", "accuracy", "bootstrap", "compare", "mcnemar", "wilson"]

Values = Sequence[float] | np.ndarray


class Estimate(NamedTuple):
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def _checked_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} must lie between 0 and 1, for instance 0.95")
    return confidence


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Estimate:
    """The rate successes / trials and its score interval, all in [0, 1].

    With p the rate, n the trials and z the normal quantile (1.96 for 95 %): the ends are
    (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n). 287 of 300 right: 0.957 [0.927, 0.975].
    Raises ``ValueError`` for no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes of {trials} trials: need 0 to n of 1 or more")
    z = NormalDist().inv_cdf((1 + _checked_confidence(confidence)) / 2)
    p = successes / trials
    middle = p + z * z / (2 * trials)
    half = z * math.sqrt(p * (1 - p) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    low = 0.0 if successes == 0 else (middle - half) / scale  # exact at the ends, not 1e-17
    high = 1.0 if successes == trials else (middle + half) / scale
    return Estimate(p, low, high)


def bootstrap(
    statistic: Callable[..., float],
    *columns: Values,
    seed: int,
    resamples: int = 1000,
    confidence: float = 0.95,
    groups: Values | None = None,
) -> Estimate:
    """``statistic(*columns)`` and its percentile interval over resampled rows.

    Each resample draws as many rows as there are, with repeats, and takes the same rows of every
    column: so paired columns stay pairs. With ``groups (N,)`` whole groups are drawn, since texts
    that repeat one another are no independent evidence. Resamples where the statistic is nan (no
    positive text drawn) are left out; if it is nan in all, so are the ends. Raises ``ValueError``
    for columns of unequal length or without rows.
    """
    _checked_confidence(confidence)
    arrays = [np.asarray(column) for column in columns]
    if not arrays or not len(arrays[0]) or any(len(a) != len(arrays[0]) for a in arrays):
        raise ValueError(f"columns of lengths {[len(a) for a in arrays]}: need equal ones, not 0")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be 1 or more")
    rng = np.random.Generator(np.random.PCG64(seed))
    n = len(arrays[0])
    members = None
    if groups is not None:
        if len(groups) != n:
            raise ValueError(f"{len(groups)} groups for {n} rows: give one for each row")
        marks = np.unique(np.asarray(groups), return_inverse=True)[1]
        ends = np.cumsum(np.bincount(marks))[:-1]
        members = np.split(np.argsort(marks, kind="stable"), ends)
    found = np.empty(resamples)
    for number in range(resamples):
        if members is None:
            rows = rng.integers(n, size=n)
        else:
            drawn = rng.integers(len(members), size=len(members))
            rows = np.concatenate([members[group] for group in drawn])
        found[number] = statistic(*(array[rows] for array in arrays))
    value = float(statistic(*arrays))
    found = found[~np.isnan(found)]
    if not len(found):
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))


def _pair(predictions: Values, labels: Values) -> tuple[np.ndarray, np.ndarray]:
    found, truth = np.asarray(predictions), np.asarray(labels)
    if found.shape != truth.shape or found.ndim != 1 or not len(found):
        raise ValueError(
            f"predictions of shape {found.shape} for labels of shape {truth.shape}: give (N,) of "
            "both, class numbers and not scores"
        )
    return found, truth


def accuracy(
    predictions: Values,
    labels: Values,
    *,
    method: Literal["wilson", "bootstrap"] = "wilson",
    confidence: float = 0.95,
    seed: int = 0,
    groups: Values | None = None,
) -> Estimate:
    """The share of texts whose class is right, from 0 to 1, with its interval.

    Args:
        predictions, labels: ``(N,)`` class numbers.
        method: ``"wilson"`` (texts are independent), or ``"bootstrap"``, which takes ``groups``.
        confidence: of the interval.
        seed: of the bootstrap.
        groups: ``(N,)`` group numbers for the bootstrap.
    """
    found, truth = _pair(predictions, labels)
    right = found == truth
    if method == "wilson":
        if groups is not None:
            raise ValueError("Wilson's interval knows no groups: use method='bootstrap'")
        return wilson(int(right.sum()), len(right), confidence)
    if method != "bootstrap":
        raise ValueError(f"method={method!r}: known are 'wilson' and 'bootstrap'")
    return bootstrap(np.mean, right, seed=seed, confidence=confidence, groups=groups)


# --- two classifiers on the same texts ------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        n: texts.
        only_first, only_second: texts that only this one has right. The others say nothing about
            which is better.
        difference: accuracy of the first − accuracy of the second, with its interval.
        p_value: of McNemar's exact test: the chance of so uneven a split, or a more uneven one, if
            both were equally good.
    """

    n: int
    only_first: int
    only_second: int
    difference: Estimate
    p_value: float


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value: b of b + c fair coins, 2·P(X ≤ min(b, c)), at most 1.

    Without a text on which the two differ it is 1. Counts are whole numbers from 0.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts {only_first} and {only_second} must be 0 or more")
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**n)


def compare(
    first: Values,
    second: Values,
    labels: Values,
    *,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 1000,
    groups: Values | None = None,
) -> Comparison:
    """Two classifiers' predictions ``(N,)`` of the same texts, paired text by text.

    The pairing is what makes small differences visible: the texts that both get right, or wrong,
    cancel. Two intervals of accuracy that overlap do *not* say that there is no difference.
    """
    one, truth = _pair(first, labels)
    other, _ = _pair(second, labels)
    right = (one == truth).astype(np.int64), (other == truth).astype(np.int64)
    gap = right[0] - right[1]  # 1: only the first is right, −1: only the second
    only_first, only_second = int((gap == 1).sum()), int((gap == -1).sum())
    difference = bootstrap(
        np.mean, gap, seed=seed, resamples=resamples, confidence=confidence, groups=groups
    )
    p = mcnemar(only_first, only_second)
    return Comparison(len(truth), only_first, only_second, difference, p)
