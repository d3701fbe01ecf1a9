"""What the instruction recipes share: batches by length, one training, and answers to score.

Does: encode entries; batches whose rows are about as long and begin with the same template; a loss
that reads the rows' common beginning once; train a GPT on responses with `xor2gpt.training`; write
answers greedily until end of text; differences between two units with an interval; the loss on
pretraining texts, to see what is forgotten.
Does not: choose settings, or count an answer that did not end as right.

**The common beginning.** Alpaca's preamble is half of every prompt and the same in all rows of a
batch. With causal attention its keys and values do not depend on what follows, so one row of it is
enough: the others take its keys and values over, and its gradient is the sum of theirs. Loss and
gradients are those of the plain way (tests/test_recipes_sft.py compares them); only the seconds
are not.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xor2gpt.recipes.stats import mean_sd

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from xor2gpt.finetune import Template
    from xor2gpt.gpt import GPT
    from xor2gpt.tokenizer import Tokenizer

# torch is imported by the functions, so that the command line can list the recipes at once

__all__ = [
    "BucketedBatches",
    "Example",
    "answers",
    "encode",
    "fit",
    "fixed_batches",
    "forgetting_texts",
    "kept",
    "paired",
    "precision_note",
    "shared_columns",
    "shared_loss",
    "text_losses",
]

END = "<|endoftext|>"


# --- examples and batches -------------------------------------------------------------------------


class Example(NamedTuple):
    """Token ids of a prompt and of its response; ``group``: which template it has."""

    prompt: list[int]
    response: list[int]
    group: Hashable


def encode(
    tokenizer: Tokenizer, entries: Sequence[Mapping[str, Any]], template: Template
) -> list[Example]:
    """The entries as examples, prompt and response encoded apart."""
    from xor2gpt.finetune import encode_example

    return [
        Example(*encode_example(tokenizer, entry, template), bool(str(entry.get("input") or "")))
        for entry in entries
    ]


class BucketedBatches:
    """Batches of examples of one group and of similar length, in a new order every epoch.

    ``batch(step)`` is a pure function of (seed, step): ids and targets ``(B, T)``. Every example
    comes once an epoch. Each group is shuffled and cut into lots of ``8 · batch_size``; a lot is
    sorted by length and cut into batches of nearly equal numbers, none larger than ``batch_size``;
    then the batches are shuffled. ``mask_prompt`` and ``max_length`` are those of
    `collate_instructions`.
    """

    LOT = 8  # batches that are sorted by length together

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int,
        seed: int,
        end_of_text: int,
        mask_prompt: bool = True,
        max_length: int | None = None,
    ) -> None:
        if not examples:
            raise ValueError("there are no examples: nothing to make batches of")
        self.examples, self.batch_size, self.seed = list(examples), batch_size, seed
        self.options = {
            "end_of_text": end_of_text,
            "mask_prompt": mask_prompt,
            "max_length": max_length,
        }
        names = sorted({example.group for example in examples}, key=repr)
        self._groups = np.array([names.index(example.group) for example in examples])
        self._lengths = np.array([len(e.prompt) + len(e.response) for e in examples])
        self._plans: dict[int, list[np.ndarray]] = {}
        self._steps = len(self.plan(0))

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every example comes once."""
        return self._steps

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Which examples each batch of this epoch holds."""
        if epoch not in self._plans:
            from xor2gpt.training.randomness import permutation

            order = permutation(self.seed, epoch, len(self.examples))
            batches: list[np.ndarray] = []
            for group in range(self._groups.max() + 1):
                rows = order[self._groups[order] == group]
                lot = self.LOT * self.batch_size
                for start in range(0, len(rows), lot):
                    part = rows[start : start + lot]
                    part = part[np.argsort(self._lengths[part], kind="stable")]
                    batches += np.array_split(part, -(-len(part) // self.batch_size))
            shuffled = permutation(self.seed, 2**32 + epoch, len(batches))
            self._plans = {epoch: [batches[number] for number in shuffled]}
        return self._plans[epoch]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Ids and targets of this step."""
        epoch, number = divmod(step, self._steps)
        return _collated(self.examples, self.plan(epoch)[number], self.options)

    def signature(self) -> dict[str, Any]:
        """What must agree for a training to go on with these batches."""
        text = repr([(example.prompt, example.response) for example in self.examples])
        return {
            "source": "BucketedBatches",
            "examples": zlib.crc32(text.encode()),
            "batch_size": self.batch_size,
            "seed": self.seed,
            **self.options,
        }


def _collated(
    examples: Sequence[Example], chosen: Sequence[int], options: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    from xor2gpt.finetune import collate_instructions

    pairs = [(examples[i].prompt, examples[i].response) for i in chosen]
    return tuple(collate_instructions(pairs, **options))


def fixed_batches(
    examples: Sequence[Example],
    *,
    end_of_text: int,
    batch_size: int = 64,
    max_length: int | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """Every example once, by group and length, loss on the response only: to measure a loss."""
    order = sorted(
        range(len(examples)),
        key=lambda i: (repr(examples[i].group), len(examples[i].prompt), len(examples[i].response)),
    )
    options = {"end_of_text": end_of_text, "max_length": max_length}
    batches, rows = [], []
    for i in order:
        if rows and (len(rows) == batch_size or examples[rows[0]].group != examples[i].group):
            batches.append(_collated(examples, rows, options))
            rows = []
        rows.append(i)
    return [*batches, _collated(examples, rows, options)]


# --- the common beginning, read once --------------------------------------------------------------


class _PrefixLayer:
    """In place of a `LayerCache`, for training: remembers one row, then puts it before others."""

    def __init__(self) -> None:
        self.first: tuple[Tensor, Tensor] | None = None

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        if self.first is None:
            self.first = k, v  # (1, H, P, D), with their gradients
            return k, v
        before = (part.expand(len(k), -1, -1, -1) for part in self.first)
        return tuple(torch.cat(pair, dim=2) for pair in zip(before, (k, v), strict=True))


class _Prefix:
    """What `GPT.forward` asks of a cache: ``length`` and ``layers``."""

    def __init__(self, n_layer: int) -> None:
        self.length, self.layers = 0, [_PrefixLayer() for _ in range(n_layer)]


def shared_columns(ids: Tensor, targets: Tensor) -> int:
    """How many columns at the beginning are the same in all rows, ids and targets ``(B, T)``."""
    same = ((ids == ids[:1]) & (targets == targets[:1])).all(dim=0)
    return int(same.long().cumprod(dim=0).sum())


def shared_loss(model: GPT, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`token_loss` (sum, count), with the rows' common beginning computed in one row."""
    from xor2gpt.gpt import IGNORE, cross_entropy, token_loss

    rows = len(ids)
    columns = min(shared_columns(ids, targets), ids.shape[1] - 1)
    if rows < 2 or columns < 2:
        return token_loss(model, ids, targets)
    prefix = _Prefix(model.config.n_layer)
    logits, _ = model(ids[:1, :columns], cache=prefix)
    prefix.length = columns
    first = targets[:1, :columns]
    loss = 0.0
    if bool((first != IGNORE).any()):
        loss = rows * cross_entropy(logits, first, reduction="sum")
    logits, _ = model(ids[:, columns:], cache=prefix)
    loss = loss + cross_entropy(logits, targets[:, columns:], reduction="sum")
    return loss, (targets != IGNORE).sum()


# --- training -------------------------------------------------------------------------------------


def fit(
    model: GPT,
    batches: BucketedBatches,
    losses: Mapping[str, Sequence[tuple[Tensor, Tensor]]],
    hyper: Mapping[str, Any],
    seed: int,
    folder: Path,
) -> dict[str, list[float]]:
    """Train ``model`` for ``hyper["epochs"]`` epochs; the curves, from before the first step on.

    ``losses`` names sets of batches on which the loss is measured ``hyper["validations"]`` times,
    evenly spread; one is called ``"loss"``. The curves are ``epoch``, ``step`` and these names.
    With ``hyper["keep"] == "best"`` the model ends with the weights of the lowest ``"loss"``, else
    with the last. A training in ``folder`` goes on after a kill.
    """
    from xor2gpt import training as tr
    from xor2gpt.recipes.language import make_optimizer

    def measured(model: torch.nn.Module) -> dict[str, float]:
        return {name: tr.evaluate(model, shared_loss, rows) for name, rows in losses.items()}

    steps = math.ceil(hyper["epochs"] * batches.steps_per_epoch)
    every = max(1, round(steps / hyper["validations"]))
    with tr.evaluation_mode(model):
        before = measured(model)  # a checkpoint is loaded by fit(), not here
    trainer = tr.Trainer(
        model,
        shared_loss,
        batches,
        optimizer=make_optimizer(model, hyper),
        schedule=tr.flat_then_linear(steps, hyper["cooldown"], warmup=hyper["warmup"]),
        steps=steps,
        clip_norm=hyper["clip_norm"],
        precision=hyper["precision"],
        validate=measured,
        validate_every=every,
        folder=folder,
        checkpoint_every=100,
        seed=seed,
        progress=False,
        log_every=every,
    )
    rows = [row for row in trainer.fit().rows if "val_loss" in row]
    if hyper["keep"] == "best":
        trainer.load_best()
    marks = [0, *(row["step"] for row in rows)]
    curves = {"step": marks, "epoch": [step / batches.steps_per_epoch for step in marks]}
    for name in losses:
        curves[name] = [before[name], *(row[f"val_{name}"] for row in rows)]
    return curves


def precision_note(hyper: Mapping[str, Any]) -> str:
    """What ``hyper["precision"]`` means on this machine, in words."""
    import torch

    from xor2gpt import training as tr

    return tr.choose_precision(hyper["precision"], torch.device("cpu"))[1]


# --- answers --------------------------------------------------------------------------------------


def answers(
    model: GPT,
    tokenizer: Tokenizer,
    entries: Sequence[Mapping[str, Any]],
    template: Template,
    *,
    max_new_tokens: int,
    batch_size: int = 105,
) -> tuple[list[str], list[bool]]:
    """One greedy answer to each entry, in order, and whether it ended by itself.

    An answer ends at end of text; one that is still going on after ``max_new_tokens`` is handed
    over as far as it got. Prompts that leave less room in the context lose their beginning.
    """
    from xor2gpt.finetune import extract_response
    from xor2gpt.generation import generate

    end = tokenizer.special_tokens[END]
    prompts = [template.prompt(entry) for entry in entries]
    room = model.config.context_length - max_new_tokens
    ids = [tokenizer.encode_ordinary(prompt)[-room:] for prompt in prompts]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    texts, ended = [""] * len(ids), [False] * len(ids)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        made = generate(model, [ids[i] for i in chosen], max_new_tokens, stop_tokens=[end])
        for i, new in zip(chosen, made, strict=True):
            ended[i] = bool(new) and new[-1] == end
            text = tokenizer.decode([token for token in new if token != end])
            texts[i] = extract_response(prompts[i] + text, prompt=prompts[i], template=template)
    return texts, ended


# --- what is forgotten ----------------------------------------------------------------------------


def forgetting_texts(
    tokenizer: Tokenizer, length: int, windows: int
) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Pretraining's held-out texts by kind, the first ``windows`` windows of each."""
    from xor2gpt.recipes import pretrain_small

    seed = pretrain_small.SEED + 5_000  # of generated texts: not the one that trained
    mix = pretrain_small.SMALL["mix"]
    texts = pretrain_small.documents(mix, seed=seed, held_out=True)
    made = {}
    for kind, documents in texts.items():
        ids = pretrain_small._ids(tokenizer, documents)[: windows * length + 1]
        made[kind] = pretrain_small._windows(ids, length)
    return made


def text_losses(
    model: GPT, texts: Mapping[str, Sequence[tuple[Tensor, Tensor]]]
) -> dict[str, float]:
    """Nats per token by kind, and ``all``: over all their tokens."""
    from xor2gpt import training as tr
    from xor2gpt.gpt import IGNORE, token_loss

    found = {kind: tr.evaluate(model, token_loss, rows) for kind, rows in texts.items()}
    counts = {
        kind: sum(int((targets != IGNORE).sum()) for _, targets in rows)
        for kind, rows in texts.items()
    }
    total = sum(found[kind] * counts[kind] for kind in found)
    return {**found, "all": total / sum(counts.values())}


# --- differences ----------------------------------------------------------------------------------


def paired(differences: Sequence[float]) -> tuple[float, float, float, float]:
    """``(mean, sd, low, high)``: with the 95 % interval of Student's t over the seeds.

    NaN where one seed alone gives no spread.
    """
    from scipy.stats import t

    mean, sd = mean_sd(differences)
    n = len(differences)
    half = float(t.ppf(0.975, n - 1)) * sd / math.sqrt(n) if n > 1 else math.nan
    return mean, sd, mean - half, mean + half


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """``make()``, written as JSON to ``path`` once; a later start reads it from there."""
    from xor2gpt.recipes.files import atomic_write

    if not path.exists():
        atomic_write(path, json.dumps(make()))
    return json.loads(path.read_text(encoding="utf-8"))
