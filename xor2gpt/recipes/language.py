"""What the language recipes share: one training of a GPT on one text, from plain settings.

Does: make model, optimizer, schedule and batches from a unit's hyper-parameters; train with
`xor2gpt.training`; measure the loss over a whole validation text in non-overlapping windows; count
the CPU-seconds of training without those of validating.
Does not: choose settings, or hold a training loop of its own.

A training in ``folder`` goes on after a kill from its last checkpoint; the seconds are those of the
steps that count (work that a kill threw away is not counted twice).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xor2gpt.recipes.files import atomic_write

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from xor2gpt.gpt import GPT

# torch takes seconds to import: the functions below import it when they run, so that the command
# line can list the recipes at once.

__all__ = ["Curve", "RandomWindows", "fit", "first_crossing", "make_model", "make_optimizer"]


@dataclass
class Curve:
    """A training as it was measured: the loss over the whole validation text against its cost."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # nats per token
    cpu_seconds: list[float] = field(default_factory=list)  # of training alone, up to that step
    samples: list[dict[str, Any]] = field(default_factory=list)


class RandomWindows:
    """Windows that begin anywhere, drawn with replacement: how nanoGPT's script draws them.

    ``batch(step)`` is a function of (seed, step): ids and targets, ``(B, T)`` each.
    """

    def __init__(self, tokens: Tensor, context_length: int, batch_size: int, seed: int) -> None:
        if len(tokens) <= context_length:
            raise ValueError(f"{len(tokens)} tokens do not hold a window of {context_length} + 1")
        self.tokens, self.context_length = tokens, context_length
        self.batch_size, self.seed = batch_size, seed

    @property
    def steps_per_epoch(self) -> int:
        """Batches with as many tokens as the text has."""
        return max(1, (len(self.tokens) - 1) // (self.context_length * self.batch_size))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        import torch

        last = len(self.tokens) - self.context_length
        starts = np.random.default_rng([self.seed, step]).integers(last, size=(self.batch_size, 1))
        picked = self.tokens[torch.from_numpy(starts) + torch.arange(self.context_length + 1)]
        return picked[:, :-1].contiguous(), picked[:, 1:].contiguous()

    def signature(self) -> dict[str, Any]:
        """What must agree for a training to go on with these batches."""
        return {
            "source": "RandomWindows",
            "tokens": len(self.tokens),
            "context_length": self.context_length,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }


def make_model(hyper: Mapping[str, Any], vocab_size: int, seed: int) -> GPT:
    """The model that ``hyper["model"]`` (fields of `GPTConfig`) describes; the seed starts it."""
    import torch

    from xor2gpt.gpt import GPT, GPTConfig

    config = GPTConfig(vocab_size=vocab_size, **hyper["model"])
    return GPT(config, generator=torch.Generator().manual_seed(seed))


def make_optimizer(model: GPT, hyper: Mapping[str, Any]) -> torch.optim.Optimizer:
    """``hyper["optimizer"]``: ``name`` ("adamw" or "muon") and the function's arguments."""
    from xor2gpt import optim

    options = dict(hyper["optimizer"])
    options["betas"] = tuple(options["betas"])
    make = {"adamw": optim.adamw, "muon": optim.muon}[options.pop("name")]
    return make(model, **options)


def _schedule(hyper: Mapping[str, Any]) -> Callable[[int], float]:
    """``hyper["schedule"]``: ``name`` ("cosine" or "flat_then_linear") and its arguments."""
    from xor2gpt import training as tr

    options = dict(hyper["schedule"])
    make = {"cosine": tr.cosine, "flat_then_linear": tr.flat_then_linear}[options.pop("name")]
    return make(hyper["steps"], **options)


def _loss(model: GPT, ids: Tensor, targets: Tensor) -> Tensor:
    return model(ids, targets)[1]


class _Examiner:
    """Called at each validation: the loss, the CPU-seconds so far, and perhaps samples."""

    def __init__(
        self,
        validation: Iterable[tuple[Tensor, Tensor]],
        folder: Path,
        sample: Callable[[GPT], Sequence[str]] | None,
        sample_steps: Sequence[int],
    ) -> None:
        self.validation, self.path = validation, folder / "samples.json"
        self.sample, self.sample_steps = sample, sample_steps
        self.step: Callable[[], int] = lambda: 0
        self.offset = self.examined = self.began = 0.0

    def begin(self, offset: float) -> None:
        """Training begins, or goes on, after ``offset`` CPU-seconds."""
        self.offset, self.examined, self.began = offset, 0.0, time.process_time()

    def __call__(self, model: GPT) -> dict[str, float]:
        from xor2gpt import training as tr
        from xor2gpt.gpt import token_loss

        now = time.process_time()
        trained = self.offset + now - self.began - self.examined
        loss = tr.evaluate(model, token_loss, self.validation)
        if self.sample is not None and self.step() in self.sample_steps:
            kept = [s for s in self.samples() if s["step"] != self.step()]
            kept.append({"step": self.step(), "loss": loss, "texts": list(self.sample(model))})
            atomic_write(self.path, json.dumps(sorted(kept, key=lambda s: s["step"])))
        self.examined += time.process_time() - now
        return {"loss": loss, "cpu_seconds": trained}

    def samples(self) -> list[dict[str, Any]]:
        """What was sampled so far, earlier starts included."""
        if self.sample is None or not self.path.exists():
            return []
        return json.loads(self.path.read_text(encoding="utf-8"))


def fit(
    hyper: Mapping[str, Any],
    seed: int,
    train: Tensor,
    validation: Iterable[tuple[Tensor, Tensor]],
    vocab_size: int,
    folder: Path,
    *,
    sample: Callable[[GPT], Sequence[str]] | None = None,
    sample_steps: Sequence[int] = (),
    model: GPT | None = None,
) -> tuple[Curve, GPT]:
    """One training of ``hyper["steps"]`` steps; its curve and the model with its last weights.

    ``train`` are token ids ``(N,)``; ``validation`` is any number of times iterable over batches
    ``(ids, targets)`` that hold every target once. ``seed`` fixes the first weights and the order
    of the batches. Validation takes place before training (step 0), every
    ``hyper["validate_every"]`` steps and at the end. ``sample(model)`` writes texts at
    ``sample_steps``, which must be validated steps. ``model`` is trained further; by default a new
    one is made.
    """
    from xor2gpt import training as tr

    if model is None:
        model = make_model(hyper, vocab_size, seed)
    length, size = hyper["model"]["context_length"], hyper["batch_size"]
    sources = {"random": RandomWindows, "epochs": tr.WindowBatches}
    folder.mkdir(parents=True, exist_ok=True)
    examiner = _Examiner(validation, folder, sample, sample_steps)
    trainer = tr.Trainer(
        model,
        _loss,
        sources[hyper["sampling"]](train, length, size, seed),
        optimizer=make_optimizer(model, hyper),
        schedule=_schedule(hyper),
        steps=hyper["steps"],
        clip_norm=hyper["clip_norm"],
        precision=hyper.get("precision", "fp32"),
        ema_decay=hyper.get("ema_decay"),
        validate=examiner,
        validate_every=hyper["validate_every"],
        folder=folder,
        checkpoint_every=hyper["checkpoint_every"],
        seed=seed,
        progress=False,
        log_every=hyper["validate_every"],
    )
    untrained = examiner(model)["loss"]  # a checkpoint is loaded by fit(), not before
    examiner.step = lambda: trainer.step
    examiner.begin(_seconds_at_checkpoint(folder))
    rows = [row for row in trainer.fit().rows if "val_loss" in row]
    curve = Curve(
        [0, *(row["step"] for row in rows)],
        [untrained, *(row["val_loss"] for row in rows)],
        [0.0, *(row["val_cpu_seconds"] for row in rows)],
        examiner.samples(),
    )
    return curve, model


def _seconds_at_checkpoint(folder: Path) -> float:
    """The CPU-seconds of the steps that a checkpoint in ``folder`` holds; 0 without one."""
    from xor2gpt import training as tr
    from xor2gpt.training.trainer import CHECKPOINT

    if not (folder / CHECKPOINT).exists() or not (folder / "metrics.jsonl").exists():
        return 0.0
    step = tr.load_checkpoint(folder / CHECKPOINT)["step"]
    rows = tr.read_metrics(folder / "metrics.jsonl")
    done = [r["val_cpu_seconds"] for r in rows if "val_loss" in r and r["step"] <= step]
    return done[-1] if done else 0.0


def first_crossing(x: Sequence[float], losses: Sequence[float], target: float) -> float:
    """Where a curve first reaches ``target``, between two points on a straight line; inf if never.

    ``x`` are the steps or seconds at which ``losses`` were measured.
    """
    for index, loss in enumerate(losses):
        if loss <= target:
            if index == 0 or losses[index - 1] == loss:
                return float(x[index])
            share = (losses[index - 1] - target) / (losses[index - 1] - loss)
            return float(x[index - 1] + share * (x[index] - x[index - 1]))
    return math.inf
