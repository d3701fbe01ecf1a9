"""Classifiers of two classes beyond accuracy: precision, recall, thresholds, calibration.

Does: counts of right and wrong by kind; precision, recall and F1 with intervals; the
precision-recall curve and the choice of a threshold on it; reliability table and expected
calibration error; the texts a model is most wrong about.
Does not: draw, or repair a badly calibrated model. Choose a threshold on *validation* data: on the
test data it would be tuned to the very texts that judge it.

The class that is looked for is *positive* (spam: 1). A text is called positive where
score ≥ threshold.

Source: Davis and Goadrich (2006), "The relationship between precision-recall and ROC curves";
Naeini et al. (2015), "Obtaining well calibrated probabilities using Bayesian binning"; Guo et al.
(2017), "On calibration of modern neural networks".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from xor2gpt.evaluate.intervals import Estimate, Values, bootstrap, wilson

__all__ = [
    "Counts",
    "Curve",
    "Operating",
    "Reliability",
    "Scores",
    "average_precision",
    "choose_threshold",
    "confusion",
    "expected_calibration_error",
    "precision_recall_curve",
    "precision_recall_f1",
    "reliability",
    "top_label",
    "worst_cases",
]


def _ratio(part: float, whole: float) -> float:
    """``part / whole``; nan of nothing."""
    return part / whole if whole else math.nan


# --- counts ---------------------------------------------------------------------------------------


class Counts(NamedTuple):
    """Texts by what they are and what they were called."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def precision(self) -> float:
        """Of those called positive, the share that is; nan if none was."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Of the positive ones, the share that was found; nan if there are none."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """2·TP / (2·TP + FP + FN): the harmonic mean of both; nan if nothing is or was positive."""
        wrong = self.false_positive + self.false_negative
        return _ratio(2 * self.true_positive, 2 * self.true_positive + wrong)


def confusion(predictions: Values, labels: Values, *, positive: int = 1) -> Counts:
    """`Counts` of ``(N,)`` predicted and true classes; every class but ``positive`` is negative."""
    found, truth = np.asarray(predictions) == positive, np.asarray(labels) == positive
    if found.shape != truth.shape:
        raise ValueError(f"{found.shape} predictions for {truth.shape} labels: give one for each")
    pairs = ((found & truth), (found & ~truth), (~found & truth), (~found & ~truth))
    return Counts(*(int(pair.sum()) for pair in pairs))


@dataclass(frozen=True)
class Scores:
    """Precision, recall and F1 with their intervals, and the counts they are made of."""

    precision: Estimate
    recall: Estimate
    f1: Estimate
    counts: Counts


def _rate(successes: int, trials: int, confidence: float) -> Estimate:
    nothing = Estimate(math.nan, math.nan, math.nan)
    return wilson(successes, trials, confidence) if trials else nothing


def precision_recall_f1(
    predictions: Values,
    labels: Values,
    *,
    positive: int = 1,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> Scores:
    """The three scores of the class ``positive``.

    Precision and recall are rates: they get Wilson intervals over the texts called positive and
    over the positive texts. F1 is no rate; it gets a bootstrap interval. A score of nothing (0 / 0)
    is nan, not 0: a filter that calls nothing spam has no precision.
    """
    counts = confusion(predictions, labels, positive=positive)
    f1 = bootstrap(
        lambda found, truth: confusion(found, truth, positive=positive).f1,
        predictions,
        labels,
        seed=seed,
        resamples=resamples,
        confidence=confidence,
    )
    hits = counts.true_positive
    return Scores(
        _rate(hits, hits + counts.false_positive, confidence),
        _rate(hits, hits + counts.false_negative, confidence),
        f1,
        counts,
    )


# --- thresholds -----------------------------------------------------------------------------------


class Curve(NamedTuple):
    """One point per different score, rising; then recall 0 at precision 1, with no threshold.

    ``precision`` and ``recall`` have M + 1 entries, ``thresholds`` M: scikit-learn's convention.
    """

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray


def _scored(scores: Values, labels: Values, positive: int) -> tuple[np.ndarray, np.ndarray]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels) == positive
    if values.shape != truth.shape or values.ndim != 1 or not len(values):
        raise ValueError(
            f"scores of shape {values.shape} for labels of shape {truth.shape}: give (N,) of both, "
            "the scores of the positive class"
        )
    if not np.isfinite(values).all():
        raise ValueError("a score is nan or infinite: did the model's output overflow?")
    return values, truth


def _cumulated(values: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Falling thresholds, and how many true and false ones score as high or higher."""
    order = np.argsort(-values, kind="stable")
    falling = values[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # ends of ties
    hits = np.cumsum(truth[order])[last]
    return falling[last], hits, last + 1 - hits


def precision_recall_curve(scores: Values, labels: Values, *, positive: int = 1) -> Curve:
    """Precision and recall at every threshold that makes a difference.

    ``scores (N,)``: of the positive class, higher = more likely. Equal scores share a threshold: a
    classifier cannot tell them apart. Raises ``ValueError`` if no text is positive.
    """
    values, truth = _scored(scores, labels, positive)
    if not truth.any():
        raise ValueError(f"no label is {positive}: recall is not defined")
    thresholds, hits, false = _cumulated(values, truth)
    precision, recall = hits / (hits + false), hits / truth.sum()
    return Curve(np.append(precision[::-1], 1.0), np.append(recall[::-1], 0.0), thresholds[::-1])


def average_precision(scores: Values, labels: Values, *, positive: int = 1) -> float:
    """The area under the curve as steps: Σ (R_i − R_{i−1})·P_i; by chance, the positive share."""
    precision, recall, _ = precision_recall_curve(scores, labels, positive=positive)
    return float(-(np.diff(recall) * precision[:-1]).sum())


class Operating(NamedTuple):
    """A threshold (``inf`` calls nothing positive), and its counts on the data it is from."""

    threshold: float
    counts: Counts


def choose_threshold(
    scores: Values,
    labels: Values,
    *,
    min_precision: float | None = None,
    min_recall: float | None = None,
    costs: tuple[float, float] | None = None,
    positive: int = 1,
) -> Operating:
    """The best threshold for one of three wishes.

    Args:
        scores, labels: ``(N,)``, of validation data.
        min_precision: the most recall at this precision or more (few wanted messages lost).
        min_recall: the most precision at this recall or more (few spam messages let through).
        costs: (of a false positive, of a false negative): the least total. A lost wanted message
            usually costs more than a spam message read: (10, 1).

    Among equal ones the highest threshold is taken. Raises ``ValueError`` if not exactly one wish
    is given, or if it cannot be had (the message names the best there is).
    """
    wishes = (min_precision, min_recall, costs)
    if sum(wish is not None for wish in wishes) != 1:
        raise ValueError("give exactly one of min_precision, min_recall and costs")
    values, truth = _scored(scores, labels, positive)
    if not truth.any():
        raise ValueError(f"no label is {positive}: there is nothing to choose a threshold for")
    thresholds, hits, false = _cumulated(values, truth)
    total = int(truth.sum())
    if costs is not None:
        if min(costs) < 0:
            raise ValueError(f"costs {costs} must be 0 or more")
        thresholds = np.append(np.inf, thresholds)
        hits, false = np.append(0, hits), np.append(0, false)
        best = int(np.argmin(costs[0] * false + costs[1] * (total - hits)))
    else:
        precision, recall = hits / (hits + false), hits / total
        if min_precision is not None:
            allowed, wish, name = precision >= min_precision, recall, "precision"
            limit, most = min_precision, precision.max()
        else:
            allowed, wish, name = recall >= min_recall, precision, "recall"
            limit, most = min_recall, recall.max()
        if not allowed.any():
            raise ValueError(f"no threshold has {name} {limit} or more; the most is {most:.4f}")
        best = int(np.argmax(np.where(allowed, wish, -1.0)))
    found = int(hits[best]), int(false[best])
    counts = Counts(*found, total - found[0], len(values) - total - found[1])
    return Operating(float(thresholds[best]), counts)


# --- calibration ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reliability:
    """Texts by the probability they were given; a row per bin that holds any.

    Attributes:
        low, high: edges of the bins, ``(M,)``; a bin holds low < p ≤ high (the first also p = low).
        count: texts, ``(M,)``.
        confidence: their mean probability, ``(M,)``.
        frequency: the share that is positive, ``(M,)``. Calibrated means: equal to `confidence`.
    """

    low: np.ndarray
    high: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    frequency: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: Σ (n_m / N)·|frequency_m − confidence_m|."""
        gaps = np.abs(self.frequency - self.confidence)
        return float((self.count * gaps).sum() / self.count.sum())

    def table(self) -> str:
        """The rows as text, with the expected calibration error below."""
        lines = ["probability      texts   mean p   positive"]
        for row in zip(
            self.low, self.high, self.count, self.confidence, self.frequency, strict=True
        ):
            low, high, count, confidence, frequency = row
            lines.append(
                f"{low:5.3f} to {high:5.3f} {count:7d} {confidence:8.3f} {frequency:10.3f}"
            )
        return "\n".join([*lines, f"expected calibration error {self.error:.4f}"])


def reliability(
    probabilities: Values,
    outcomes: Values,
    *,
    bins: int = 10,
    strategy: Literal["uniform", "quantile"] = "uniform",
) -> Reliability:
    """The reliability table of ``probabilities (N,)`` of the ``outcomes (N,)`` being 1 (or True).

    ``strategy``: bins of equal width, or with about equally many texts. For all classes at once
    give `top_label`'s confidences and whether they were right.
    """
    values, truth = _scored(probabilities, outcomes, 1)
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"probabilities from {values.min()} to {values.max()}: give softmax's")
    if bins < 1 or strategy not in ("uniform", "quantile"):
        raise ValueError(f"bins={bins}, strategy={strategy!r}: 1 or more, 'uniform' or 'quantile'")
    edges = np.linspace(0, 1, bins + 1)
    if strategy == "quantile":
        edges = np.percentile(values, 100 * edges)
    place = np.searchsorted(edges[1:-1], values)
    count = np.bincount(place, minlength=bins)
    used = count > 0
    sums = (np.bincount(place, weights, minlength=bins)[used] for weights in (values, truth))
    confidence, frequency = (total / count[used] for total in sums)
    return Reliability(edges[:-1][used], edges[1:][used], count[used], confidence, frequency)


def expected_calibration_error(probabilities: Values, outcomes: Values, *, bins: int = 10) -> float:
    """`Reliability.error` with bins of equal width. It depends on the number of bins: say it."""
    return reliability(probabilities, outcomes, bins=bins).error


def top_label(probabilities: Values, labels: Values) -> tuple[np.ndarray, np.ndarray]:
    """``(confidence (N,), right (N,))`` of the most likely class of ``probabilities (N, K)``."""
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or truth.shape != values.shape[:1]:
        raise ValueError(f"probabilities {values.shape}, labels {truth.shape}: need (N, K), (N,)")
    return values.max(axis=1), values.argmax(axis=1) == truth


def worst_cases(probabilities: Values, labels: Values, limit: int = 10) -> np.ndarray:
    """Indices of the texts whose true class got the least probability, the worst first.

    ``probabilities (N, K)``, ``labels (N,)``. They show faults of the labels as often as faults of
    the model.
    """
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or truth.shape != values.shape[:1]:
        raise ValueError(f"probabilities {values.shape}, labels {truth.shape}: need (N, K), (N,)")
    return np.argsort(values[np.arange(len(truth)), truth], kind="stable")[:limit]
