"""Are a model's answers right? Exact match with a table by task, and perplexity.

Does: compare answers with references after a stated normalisation; count answers that cannot be
read as wrong, in the denominator; a table by task family; export; perplexity per token.
Does not: give points for parts of an answer, or judge open-ended ones (`xor2gpt.evaluate.judge`).

An answer that contains the reference is not the answer: "4 or 5" is no 4.

Source: Rajpurkar et al. (2016), "SQuAD: 100,000+ questions for machine comprehension of text"
(exact match after normalising; theirs also drops case, articles and punctuation).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xor2gpt.evaluate.intervals import Estimate, wilson

if TYPE_CHECKING:
    from torch import nn

__all__ = ["AnswerReport", "exact_match", "normalise", "perplexity", "score_answers"]


def normalise(text: str, *, casefold: bool = False, final_stop: bool = True) -> str:
    """NFC, single spaces, none at the ends, and no full stop at the end (``final_stop``).

    ``casefold`` makes letters small: not for tasks about capitals.
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if final_stop:
        text = text.removesuffix(".").rstrip()
    return text.casefold() if casefold else text


def exact_match(answer: str | None, reference: str, *, casefold: bool = False) -> bool:
    """Whether both are equal once normalised; ``None`` (no answer) and an empty one never are."""
    found = "" if answer is None else normalise(answer, casefold=casefold)
    return bool(found) and found == normalise(reference, casefold=casefold)


@dataclass(frozen=True)
class AnswerReport:
    """What `score_answers` found, one entry per answer.

    Attributes:
        right: whether it was right.
        unparsable: whether nothing could be read from it (and so it was wrong).
        families: its kind of task.
    """

    right: tuple[bool, ...]
    unparsable: tuple[bool, ...]
    families: tuple[str, ...]

    @property
    def accuracy(self) -> Estimate:
        """Share of right answers among *all*, with its Wilson interval."""
        return wilson(sum(self.right), len(self.right))

    def rows(self) -> list[dict[str, Any]]:
        """A row per family, by name: family, n, right, unparsable, accuracy, low, high.

        The last row, ``all``, is over the answers, not over the families.
        """
        made = [self._row(family) for family in sorted(set(self.families))]
        return [*made, self._row(None)]

    def _row(self, family: str | None) -> dict[str, Any]:
        chosen = [i for i, name in enumerate(self.families) if family is None or name == family]
        right = sum(self.right[i] for i in chosen)
        rate = wilson(right, len(chosen))
        return {
            "family": "all" if family is None else family,
            "n": len(chosen),
            "right": right,
            "unparsable": sum(self.unparsable[i] for i in chosen),
            "accuracy": rate.value,
            "low": rate.low,
            "high": rate.high,
        }

    def table(self) -> str:
        """The rows as text."""
        rows = self.rows()
        width = max(len(row["family"]) for row in rows)
        lines = [f"{'family':{width}}     n  right  unparsable  accuracy  95 % interval"]
        for row in rows:
            lines.append(
                f"{row['family']:{width}} {row['n']:5d} {row['right']:6d} {row['unparsable']:11d} "
                f"{row['accuracy']:9.3f}  {row['low']:.3f} to {row['high']:.3f}"
            )
        return "\n".join(lines)


def score_answers(
    entries: Sequence[Mapping[str, Any]],
    answers: Sequence[str | None],
    *,
    parse: Callable[[str], str | None] | None = None,
    right: Callable[[Mapping[str, Any], str], bool] | None = None,
) -> AnswerReport:
    """Score one answer per entry (``output``, and ``family`` if there is one).

    Args:
        entries: the tasks, as `xor2gpt.data.synthetic.instructions` makes them.
        answers: the models' texts in the same order; ``None`` where it gave none.
        parse: takes the answer out of a text; ``None`` or ``ValueError`` mean there is none.
        right: ``right(entry, answer)``; by default `exact_match` with the entry's output.

    An answer that is missing, blank, or that ``parse`` cannot read is wrong and stays in the
    denominator: leaving it out would reward a model for saying nothing. Raises ``ValueError`` for
    another number of answers than entries, or none.
    """
    if len(entries) != len(answers) or not len(entries):
        raise ValueError(
            f"{len(answers)} answers to {len(entries)} entries: give one for each; a missing one "
            "is None, not left out"
        )
    check = right or (lambda entry, answer: exact_match(answer, str(entry["output"])))
    marks, unread = [], []
    for entry, answer in zip(entries, answers, strict=True):
        found = answer if answer and answer.strip() else None
        if found is not None and parse is not None:
            try:
                found = parse(found)
            except ValueError:
                found = None
        unread.append(found is None)
        marks.append(found is not None and bool(check(entry, found)))
    families = tuple(str(entry.get("family", "all tasks")) for entry in entries)
    return AnswerReport(tuple(marks), tuple(unread), families)


def perplexity(model: nn.Module, batches: Iterable[tuple[Any, ...]] | Any) -> float:
    """exp(mean loss in nats per target token) of a language model over (ids, targets) batches.

    Every token weighs the same, whatever batch it is in; targets of −100 do not count. V for a
    uniform guess among V tokens, 1 for certainty. Only models with the same tokenizer compare.
    Returns infinity where the exponential is too big for a float.
    """
    from xor2gpt.gpt import token_loss
    from xor2gpt.training.evaluation import evaluate

    mean = evaluate(model, token_loss, batches)
    try:
        return math.exp(mean)
    except OverflowError:
        return math.inf
