"""Scores with their uncertainty: classifiers, answers, and a second model as judge.

Does: `intervals` (Wilson and bootstrap intervals, paired comparison), `classifiers` (precision,
recall, F1, curves, thresholds, calibration), `answers` (exact match with a table by family,
perplexity), `judge` (scores from a local server, resumable). All but `judge` is importable from
here.
Does not: run a model on data (`xor2gpt.finetune.predict`, `xor2gpt.generation`), or draw.

An `Estimate` is (value, low, high): the value and its 95 % interval.
"""

from xor2gpt.evaluate.answers import (
    AnswerReport,
    exact_match,
    normalise,
    perplexity,
    score_answers,
)
from xor2gpt.evaluate.classifiers import (
    Counts,
    Curve,
    Operating,
    Reliability,
    Scores,
    average_precision,
    choose_threshold,
    confusion,
    expected_calibration_error,
    precision_recall_curve,
    precision_recall_f1,
    reliability,
    top_label,
    worst_cases,
)
from xor2gpt.evaluate.intervals import (
    Comparison,
    Estimate,
    accuracy,
    bootstrap,
    compare,
    mcnemar,
    wilson,
)

__all__ = [
    "AnswerReport",
    "Comparison",
    "Counts",
    "Curve",
    "Estimate",
    "Operating",
    "Reliability",
    "Scores",
    "accuracy",
    "average_precision",
    "bootstrap",
    "choose_threshold",
    "compare",
    "confusion",
    "exact_match",
    "expected_calibration_error",
    "mcnemar",
    "normalise",
    "perplexity",
    "precision_recall_curve",
    "precision_recall_f1",
    "reliability",
    "score_answers",
    "top_label",
    "wilson",
    "worst_cases",
]
