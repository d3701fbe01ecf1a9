"""Recipe ``grammar-small``: how near can a small GPT come to a language whose entropy is known?

Does: train small GPTs, for one pass over fresh sentences, on the words of the course's grammar
(`xor2gpt.data.synthetic.grammar`); measure the loss over a whole validation text
against CPU-seconds of training, the bits above the source (the model's loss less that of the true
probabilities, on the same sentences), and the share of written sentences that the grammar can make;
keep three short texts at several steps.
Does not: repeat a training sentence, or let a window begin inside a sentence when it validates:
sentences are independent, so a row of whole sentences hides nothing that the source knows.

Tokens are the grammar's words; "," and "." are words too. The last thing that a model learns here
is to copy: after "Felix gives Emma a kettle, so" it has to look up who gave what to whom.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xor2gpt.recipes.base import (
    Advance,
    Column,
    Figure,
    Outcome,
    Recipe,
    Table,
    Unit,
    UnitResult,
    register,
)
from xor2gpt.recipes.language import fit
from xor2gpt.recipes.stats import mean_sd

if TYPE_CHECKING:
    from torch import Tensor

    from xor2gpt.gpt import GPT

__all__ = ["RECIPE", "Language", "language", "sentence_rows"]

TRAIN_SENTENCES, VALIDATION_SENTENCES = 200_000, 2_000
TRAIN_SEED, VALIDATION_SEED = 1, 2
WRITTEN = 200  # sentences that are written at the end, to be checked by the grammar
SAMPLE_STEPS = (0, 50, 100, 200, 500, 2000)


@dataclass(frozen=True)
class Language:
    """The grammar's texts as token ids, and what the source itself loses on the second."""

    train: Tensor  # (N,)
    sentences: list[list[int]]  # of the validation text
    words: tuple[str, ...]  # by id
    end: int  # the token that ends a sentence
    true_loss: float  # nats per word of the validation text, by the true probabilities

    @property
    def vocab_size(self) -> int:
        """V, the number of words."""
        return len(self.words)

    def text(self, ids: Sequence[int]) -> str:
        """One line of text."""
        from xor2gpt.data.synthetic.grammar import join_words

        return join_words([self.words[i] for i in ids]).strip()


@functools.cache
def language() -> Language:
    """The training and the validation text."""
    import torch

    from xor2gpt.data.synthetic.grammar import Grammar

    grammar = Grammar()
    number = {word: i for i, word in enumerate(grammar.vocabulary)}
    train = [number[w] for w in grammar.sample_words(TRAIN_SENTENCES, seed=TRAIN_SEED)]
    held = grammar.sample_words(VALIDATION_SENTENCES, seed=VALIDATION_SEED)
    lines = grammar.sample(VALIDATION_SENTENCES, seed=VALIDATION_SEED).splitlines()
    true_loss = -sum(map(grammar.logprob, lines)) / len(held)
    sentences = _split([number[w] for w in held], number["."])
    return Language(torch.tensor(train), sentences, grammar.vocabulary, number["."], true_loss)


def _split(ids: Sequence[int], end: int) -> list[list[int]]:
    """Sentences: the pieces that end with ``end``."""
    sentences, current = [], []
    for token in ids:
        current.append(token)
        if token == end:
            sentences.append(current)
            current = []
    return sentences


def sentence_rows(
    sentences: Sequence[Sequence[int]], end: int, context_length: int, batch_size: int
) -> list[tuple[Tensor, Tensor]]:
    """Batches ``(ids, targets)`` that hold every token as a target once, rows of whole sentences.

    A row begins after the end of a sentence; what is left of it is padding, whose targets do not
    count. Raises ``ValueError`` for a sentence longer than a row.
    """
    import torch

    from xor2gpt.gpt import IGNORE

    rows: list[list[int]] = [[]]
    for sentence in sentences:
        if len(sentence) > context_length:
            raise ValueError(f"a sentence of {len(sentence)} tokens is longer than a row")
        if len(rows[-1]) + len(sentence) > context_length:
            rows.append([])
        rows[-1] += sentence
    ids = torch.full((len(rows), context_length), end)
    targets = torch.full((len(rows), context_length), IGNORE)
    for number, row in enumerate(rows):
        targets[number, : len(row)] = torch.tensor(row)
        ids[number, 1 : len(row)] = torch.tensor(row[:-1])
    return list(zip(ids.split(batch_size), targets.split(batch_size), strict=True))


def _write(model: GPT, spoken: Language, number: int, seed: int, length: int) -> list[str]:
    """``number`` sentences, written from the end of another, at temperature 1."""
    import torch

    from xor2gpt.generation import Sampling, generate

    made = generate(
        model,
        [[spoken.end]] * number,
        length,
        sampling=Sampling(temperature=1.0),
        stop_tokens=[spoken.end],
        generator=torch.Generator().manual_seed(seed),
    )
    return [spoken.text(ids) for ids in made]


def _share_grammatical(texts: Sequence[str]) -> float:
    """Which part of the sentences the grammar can produce."""
    from xor2gpt.data.synthetic.grammar import Grammar, NotInLanguage

    grammar = Grammar()

    def possible(text: str) -> bool:
        try:
            return grammar.probability(text) > 0
        except NotInLanguage:
            return False

    return sum(map(possible, texts)) / len(texts)


def run_unit(unit: Unit, advance: Advance, scratch: Path) -> Outcome:
    """Train each seed; a kill goes on inside the training it happened in."""
    from xor2gpt.data.synthetic.grammar import Grammar

    hyper = unit.hyper
    spoken, length = language(), hyper["model"]["context_length"]
    entropy = Grammar().entropy_per_word
    validation = sentence_rows(spoken.sentences, spoken.end, length, 64)
    names = ("val_loss", "bits_above", "percent_above", "grammatical", "cpu_seconds")
    per_seed: dict[str, list[float]] = {name: [] for name in names}
    whole: dict[str, Any] = {"step": [], "val_loss": [], "cpu_seconds": [], "samples": []}
    for seed in unit.seeds:
        first = seed == unit.seeds[0]
        curve, model = fit(
            hyper,
            seed,
            spoken.train,
            validation,
            spoken.vocab_size,
            scratch / f"seed-{seed}",
            sample=(lambda m: _write(m, spoken, 3, 0, length)) if first else None,
            sample_steps=SAMPLE_STEPS,
        )
        above = curve.losses[-1] - spoken.true_loss
        per_seed["val_loss"].append(curve.losses[-1])
        per_seed["bits_above"].append(above / math.log(2))
        per_seed["percent_above"].append(100 * above / entropy)
        written = _write(model, spoken, WRITTEN, seed, length)
        per_seed["grammatical"].append(_share_grammatical(written))
        per_seed["cpu_seconds"].append(curve.cpu_seconds[-1])
        whole["step"] = curve.steps
        whole["val_loss"].append(curve.losses)
        whole["cpu_seconds"].append(curve.cpu_seconds)
        whole["samples"] += curve.samples
        advance(1)
    return Outcome(per_seed, whole | _marks(spoken))


def _marks(spoken: Language) -> dict[str, float]:
    """Lines to draw a curve against, in nats per word."""
    from xor2gpt.data.synthetic.grammar import Grammar

    grammar = Grammar()
    return {
        "vocab_size": spoken.vocab_size,
        "ln_vocab_size": math.log(spoken.vocab_size),
        "unigram_entropy": grammar.unigram_entropy,
        "bigram_entropy": grammar.bigram_entropy,
        "entropy": grammar.entropy_per_word,
        "true_loss": spoken.true_loss,
    }


def figures(results: list[UnitResult]) -> list[Figure]:
    """Distance from the source, in bits per word and in % of its entropy."""
    made = []
    for result in results:
        bits, spread = mean_sd(result.per_seed["bits_above"])
        made += [
            Figure(f"bits_above.{result.unit}", bits, "bits/word"),
            Figure(f"bits_above_sd.{result.unit}", spread, "bits/word"),
        ]
        made += [
            Figure(f"{name}.{result.unit}", float(np.mean(result.per_seed[name])), unit)
            for name, unit in (("percent_above", "%"), ("grammatical", "1"), ("cpu_seconds", "s"))
        ]
    return made


GPT2 = {
    "steps": 2000,
    "batch_size": 16,
    "clip_norm": 1.0,
    "validate_every": 50,
    "checkpoint_every": 500,
    "sampling": "epochs",
    "schedule": {"name": "flat_then_linear", "warmup": 40, "cooldown": 0.95, "floor": 0.0},
    "optimizer": {"name": "adamw", "lr": 4e-3, "betas": (0.9, 0.99), "weight_decay": 0.1},
    "model": {
        "context_length": 64,
        "n_layer": 4,
        "n_head": 2,
        "n_embd": 64,
        "bias": False,
        "activation": "gelu",
    },
}
MODERN = {
    **GPT2,
    "optimizer": {
        "name": "muon",
        "lr": 0.02,
        "adam_lr": 6e-3,
        "betas": (0.9, 0.99),
        "weight_decay": 0.0,
    },
    "model": {
        **GPT2["model"],
        "position": "rope",
        "norm": "rmsnorm",
        "qk_norm": True,
        "activation": "relu2",
    },
}
SEEDS = (0, 1, 2)
UNITS = (
    Unit("gpt2-adamw", "GPT-2's parts, AdamW", SEEDS, GPT2, work=1.0),
    Unit("modern-muon", "modern parts, Muon", SEEDS, MODERN, work=1.5),
)

RECIPE = register(
    Recipe(
        name="grammar-small",
        title="A GPT on a language of known entropy",
        description=(
            "4 layers, 2 heads, 64 channels, 2,000 steps over fresh sentences of the course's "
            "grammar. What is above the source is the model's loss less that of the true "
            "probabilities on the same 2,000 sentences."
        ),
        version=1,
        units=UNITS,
        run_unit=run_unit,
        figures=figures,
        tables=(
            Table(
                "distance from the source",
                "Loss in nats per word; what is above the source in bits per word and in % of "
                f"its entropy; share of {WRITTEN} written sentences that the grammar can produce.",
                tuple(unit.name for unit in UNITS),
                (
                    Column("loss (nats)", "val_loss"),
                    Column("bits above the source", "bits_above"),
                    Column("% above", "percent_above"),
                    Column("grammatical (%)", "grammatical", scale=100.0, digits=1),
                    Column("CPU-s", "cpu_seconds", digits=0),
                ),
            ),
        ),
        keeps_checkpoints=True,
    )
)
