"""Batches of unequal texts: padded and truncated, for classes and for instructions.

Does: pad and truncate on either side and tell which tokens are real; lay prompt, response and one
end-of-text in a row, with shifted targets and no loss on padding (and, if asked, none on the
prompt); batches from any list of examples by a collate function.
Does not: tokenise, or pad all batches to the longest text of the data set (unless told a width).

**Who shifts.** Here, once: ``targets[i]`` is the token that *follows* ``ids[i]``, as `GPT.forward`
and `token_loss` take them. (transformers' models take unshifted labels and shift inside. Doing both
trains a model to predict the next token but one.)

**What is padding is known by position, never by value**: an end-of-text inside a text is real even
though padding is written with the same id.

Source: Raschka (2024), chapters 6 and 7; −100 is the default ``ignore_index`` of torch's
cross-entropy.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from xor2gpt.attention import padding_mask
from xor2gpt.gpt import IGNORE
from xor2gpt.training.batches import TensorBatches

__all__ = [
    "ClassificationBatch",
    "CollatedBatches",
    "InstructionBatch",
    "collate_classification",
    "collate_instructions",
]

Side = Literal["left", "right"]


# --- classes --------------------------------------------------------------------------------------


class ClassificationBatch(NamedTuple):
    """``ids (B, T)``, ``lengths (B,)``, ``mask (B, T)`` (True = real), ``labels (B,)`` or None."""

    ids: Tensor
    lengths: Tensor
    mask: Tensor
    labels: Tensor | None


def _checked_side(side: str, name: str) -> str:
    if side not in ("left", "right"):
        raise ValueError(f"{name}={side!r}: 'left' or 'right'")
    return side


def collate_classification(
    sequences: Sequence[Sequence[int]],
    labels: Sequence[int] | None = None,
    *,
    pad_id: int,
    max_length: int | None = None,
    width: int | None = None,
    pad: Side = "right",
    truncate: Side = "right",
) -> ClassificationBatch:
    """Texts of token ids as one rectangle of int64.

    Args:
        sequences: B texts of one token or more.
        labels: B class numbers.
        pad_id: the id that fills up; end-of-text in GPT-2, which has no padding token.
        max_length: longer texts are cut to this many tokens.
        width: columns of the result; by default the longest text (after cutting) decides.
        pad: where the padding goes. `ClassifierGPT` takes ``lengths`` for ``"right"`` only; for
            ``"left"`` give it the ``mask``.
        truncate: where texts are cut: ``"right"`` keeps the beginning, ``"left"`` the end.

    Raises ``ValueError`` for an empty text, which has nothing to classify (named by its row), for
    labels of another number, and for a width that is too small.
    """
    _checked_side(pad, "pad")
    keep_end = _checked_side(truncate, "truncate") == "left"
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length={max_length} must be 1 or more")
    rows = [torch.as_tensor(sequence, dtype=torch.long) for sequence in sequences]
    for index, row in enumerate(rows):
        if row.dim() != 1 or not len(row):
            raise ValueError(
                f"text {index} has no tokens: leave it out, or give it one (end-of-text)"
            )
    if not rows:
        raise ValueError("a batch needs one text at least")
    if labels is not None and len(labels) != len(rows):
        raise ValueError(f"{len(labels)} labels for {len(rows)} texts: give one for each")
    if max_length is not None:
        rows = [row[-max_length:] if keep_end else row[:max_length] for row in rows]
    lengths = torch.tensor([len(row) for row in rows])
    mask = padding_mask(lengths, width, side=pad)  # (B, T)
    ids = torch.full(mask.shape, pad_id, dtype=torch.long)
    ids[mask] = torch.cat(rows)
    marks = None if labels is None else torch.as_tensor(labels, dtype=torch.long)
    return ClassificationBatch(ids, lengths, mask, marks)


# --- instructions ---------------------------------------------------------------------------------


class InstructionBatch(NamedTuple):
    """``ids (B, T)`` and ``targets (B, T)``: the following tokens, `IGNORE` where none counts."""

    ids: Tensor
    targets: Tensor


def collate_instructions(
    examples: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    end_of_text: int,
    max_length: int | None = None,
    width: int | None = None,
    mask_prompt: bool = True,
) -> InstructionBatch:
    """Pairs (prompt ids, response ids) as inputs and shifted targets, both int64 ``(B, T)``.

    Each row is prompt + response + end-of-text. The inputs are the row without its last token, the
    targets the row without its first, so that the *one* end-of-text is a target: this is how the
    model learns to stop. (A response that brings its own end-of-text gets no second one.) Then the
    inputs are filled up with end-of-text and the targets with `IGNORE` (−100). No mask is needed:
    the padding is on the right, where no real token looks.

    Args:
        examples: the pairs; a prompt has one token or more, a response may be empty.
        end_of_text: the id that ends a text and fills up the inputs.
        max_length: rows of inputs longer than this lose their end. A response that was cut does not
            get an end-of-text: the model must not learn to stop in the middle.
        width: columns of the result; by default the longest row decides.
        mask_prompt: no loss on the prompt: the first target is the response's first token, which
            stands at the prompt's last place. ``False``: every token but the first is a target.

    Raises ``ValueError`` for an empty prompt, a width that is too small, and a row that is left
    without a target because the prompt fills ``max_length``.
    """
    if not examples:
        raise ValueError("a batch needs one example at least")
    rows: list[tuple[Tensor, Tensor]] = []
    for index, (prompt, response) in enumerate(examples):
        if not len(prompt):
            raise ValueError(f"example {index} has no prompt: there is no place to predict from")
        row = [int(token) for token in (*prompt, *response)]
        if not len(response) or row[-1] != end_of_text:
            row.append(end_of_text)
        ids, targets = row[:-1][:max_length], row[1:][:max_length]
        if mask_prompt:
            hidden = min(len(prompt) - 1, len(targets))
            targets = [IGNORE] * hidden + targets[hidden:]
        if all(target == IGNORE for target in targets):
            raise ValueError(
                f"example {index}: its prompt of {len(prompt)} tokens leaves no room for a "
                f"response within max_length={max_length}; leave it out or raise max_length"
            )
        rows.append((torch.tensor(ids), torch.tensor(targets)))
    lengths = torch.tensor([len(ids) for ids, _ in rows])
    mask = padding_mask(lengths, width)  # (B, T)
    ids = torch.full(mask.shape, end_of_text, dtype=torch.long)
    targets = torch.full(mask.shape, IGNORE, dtype=torch.long)
    ids[mask] = torch.cat([row for row, _ in rows])
    targets[mask] = torch.cat([row for _, row in rows])
    return InstructionBatch(ids, targets)


# --- a source of batches --------------------------------------------------------------------------


class CollatedBatches:
    """Batches of a list of examples by a collate function, for the trainer.

    ``batch(step)`` is a pure function of (seed, step), as for `TensorBatches`, whose order and
    arguments this uses; each batch is as wide as its own longest row.

    Args:
        examples: any list.
        collate: a list of examples → a tuple of tensors, ``functools.partial(collate_instructions,
            end_of_text=…)`` for instance.
        batch_size, seed, shuffle, drop_last: as for `TensorBatches`.
    """

    def __init__(
        self,
        examples: Sequence[Any],
        collate: Callable[[list[Any]], Sequence[Tensor]],
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
    ) -> None:
        self.examples, self.collate = examples, collate
        self._order = TensorBatches(
            torch.arange(len(examples)),
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            drop_last=drop_last,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return self._order.steps_per_epoch

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """The batch of this step."""
        (chosen,) = self._order.batch(step)
        return tuple(self.collate([self.examples[index] for index in chosen.tolist()]))

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """The batches of epoch 0."""
        return (self.batch(step) for step in range(self.steps_per_epoch))

    def signature(self) -> dict[str, Any]:
        """What must agree for a training run to go on with this source."""
        ends = [repr(self.examples[index]) for index in (0, -1)]
        return {
            **self._order.signature(),
            "source": "CollatedBatches",
            "ends": [zlib.crc32(text.encode("utf-8", "surrogatepass")) for text in ends],
        }
