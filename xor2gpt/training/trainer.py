"""The training loop of every stage.

Does: optimizer steps with schedule, accumulation, clipping and autocast; validation every few steps
with a copy of the best weights; moving average of the weights; early stopping; a metrics log;
checkpoints from which a run goes on bit for bit; a clear end for a loss that is not finite and for
Ctrl-C.
Does not: know about epochs (``steps`` counts optimizer steps), call optimizers that need a closure
(LBFGS), use several devices, or scale the loss for float16.

A run is a function of its arguments: batches come from (seed, step), schedules from the step, and
the loop has random numbers of its own (dropout and the like), so neither earlier code nor a
validation that draws numbers changes it, and it leaves the caller's generators alone.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from xor2gpt.training.batches import BatchSource
from xor2gpt.training.checkpoints import load_checkpoint, save_checkpoint
from xor2gpt.training.ema import EMA
from xor2gpt.training.errors import TrainingFailed, TrainingInterrupted, failure_message
from xor2gpt.training.evaluation import device_of, evaluation_mode, to_device
from xor2gpt.training.groups import check_parameter_groups
from xor2gpt.training.metrics_log import MetricsLog
from xor2gpt.training.precision import autocast, choose_precision
from xor2gpt.training.randomness import (
    preserved_randomness,
    random_state,
    restore_random_state,
    seed_everything,
)
from xor2gpt.training.resume import (
    bare,
    copied_state,
    describe_data,
    describe_model,
    describe_optimizer,
    load_optimizer,
    refuse_other_run,
    sample_schedule,
)
from xor2gpt.training.schedules import Schedule, constant

__all__ = ["CHECKPOINT", "History", "Trainer"]

CHECKPOINT = "checkpoint.safetensors"
_log = logging.getLogger(__name__)


@dataclass
class History:
    """What a training run recorded.

    Attributes:
        rows: one dictionary per logged step: ``step`` (optimizer steps done), ``loss`` (of that
            step's batch, before its update), ``lr`` (of the fastest group), ``grad_norm`` (before
            clipping), and ``val_…`` where a validation took place.
        best_step, best_value: where the selected metric was best, and its value there.
        reason: ``"running"``, ``"done"`` or ``"patience"``.
        seconds: of wall time in `Trainer.fit`, earlier processes included.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    best_step: int | None = None
    best_value: float | None = None
    reason: str = "running"
    seconds: float = 0.0

    @property
    def steps(self) -> list[int]:
        """The logged steps."""
        return [row["step"] for row in self.rows]

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one column, for a plot; raises ``KeyError`` for an unknown one."""
        pairs = [(row["step"], row[name]) for row in self.rows if name in row]
        if not pairs:
            known = sorted({key for row in self.rows for key in row})
            raise KeyError(f"no row has {name!r}; there are {', '.join(known) or 'no rows'}")
        return [step for step, _ in pairs], [value for _, value in pairs]


class Trainer:
    """Trains a model for a number of optimizer steps.

    Args:
        model: on its device and in its memory format already. A submodule that you put into
            evaluation mode stays there, as long as the model itself is in training mode.
        loss: ``loss(model, *batch)`` → a scalar mean over the batch, or ``(sum, count)``.
        train: a source of batches (``batch(step)``, ``steps_per_epoch``).
        optimizer: a torch optimizer, or several (each trainable parameter in exactly one group);
            their learning rates are the base rates.
        steps: optimizer steps in all.
        schedule: step → factor on the base rates; constant by default.
        accumulate: batches per step, equal to one big batch: the sums of ``(sum, count)`` losses
            are divided by the total count, scalar means count alike. Batch norm sees the small
            batches.
        clip_norm: largest allowed norm of the whole gradient.
        precision: ``"fp32"``, ``"bf16"`` or ``"auto"``; ``precision_note`` says what was chosen.
            Validation runs in the same precision.
        ema_decay: keep a moving average of the weights; validation and best weights then use it.
        ema_warmup: smaller decays at first; see `EMA`.
        validate: ``validate(model) -> {"loss": …, …}``, called in evaluation mode, no gradients.
        validate_every: steps between validations (default: ten in the run); always at the end.
        select: name in validate's dictionary, and ``"min"`` or ``"max"``: what "best" means.
        patience: stop after so many validations without a new best.
        folder: for the checkpoint and ``metrics.jsonl``; `fit` resumes from what it finds there.
        checkpoint_every: steps between checkpoints (default: ten in the run); always at the end.
        seed: of the loop's own random numbers.
        progress: ``True`` or ``False`` for a bar on stderr; ``None``: only on a terminal.
        metrics: a JSONL file of the rows, in place of the folder's ``metrics.jsonl``.
        log_every: steps between rows; numbers are read from the device, and looked at for NaN, only
            then.
        config: plain data that must agree when a checkpoint is resumed; a dataclass
            ``model.config`` is compared without asking.

    Raises ``ValueError`` for arguments that cannot work, naming the value.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Any],
        train: BatchSource,
        *,
        optimizer: Optimizer | Sequence[Optimizer],
        steps: int,
        schedule: Schedule | None = None,
        accumulate: int = 1,
        clip_norm: float | None = None,
        precision: str = "fp32",
        ema_decay: float | None = None,
        ema_warmup: bool = True,
        validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
        validate_every: int | None = None,
        select: tuple[str, str] = ("loss", "min"),
        patience: int | None = None,
        folder: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        seed: int = 0,
        progress: bool | None = None,
        metrics: str | os.PathLike[str] | None = None,
        log_every: int = 10,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        tenth = -(-steps // 10) if isinstance(steps, int) else 1
        self.model, self.loss, self.train, self.validate = model, loss, train, validate
        self.optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
        self.schedule = schedule if schedule is not None else constant()
        self.total_steps, self.accumulate, self.clip_norm = steps, accumulate, clip_norm
        self.validate_every = tenth if validate_every is None else validate_every
        self.checkpoint_every = tenth if checkpoint_every is None else checkpoint_every
        self.select, self.patience, self.log_every = tuple(select), patience, log_every
        self.seed, self.progress, self.config = seed, progress, config
        self.folder = Path(folder) if folder is not None else None
        self._check_arguments()
        self.device = device_of(model)
        self.precision, self.precision_note = choose_precision(precision, self.device)
        _log.info("%s", self.precision_note)

        check_parameter_groups(model, self._groups)
        self._base_lrs = [float(group["lr"]) for group in self._groups]
        self._parameters = [p for group in self._groups for p in group["params"]]
        self.ema = EMA(model, ema_decay, warmup=ema_warmup) if ema_decay is not None else None
        if metrics is None and self.folder is not None:
            metrics = self.folder / "metrics.jsonl"
        self._metrics = MetricsLog(metrics)

        self.step = 0  # optimizer steps done
        self.best_state: dict[str, Tensor] | None = None
        self.history = History()
        self._waited = 0  # validations since the best one
        self._random: dict[str, Any] | None = None
        self._saved_step: int | None = None  # of the checkpoint on disk
        self._recent: list[Tensor] = []  # losses since the last look at them
        self._norm: Tensor | None = None
        self._interrupts = 0
        self._ready = False  # whether the checkpoint in the folder was looked at
        self._began, self._before = 0.0, 0.0

    def _check_arguments(self) -> None:
        numbers = "total_steps accumulate validate_every checkpoint_every log_every patience"
        for name in numbers.split():
            value = getattr(self, name)
            if name == "patience" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                name = name.removeprefix("total_")
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0 or None (off), not {self.clip_norm!r}")
        if len(self.select) != 2 or self.select[1] not in ("min", "max"):
            raise ValueError(f"select must be (name, 'min' or 'max'), not {self.select!r}")
        if self.patience is not None and self.validate is None:
            raise ValueError("patience counts validations: give validate=… as well")
        if self.train.steps_per_epoch < 1:
            raise ValueError("the data set gives no batch: it is empty or smaller than a batch")

    @property
    def _groups(self) -> list[dict[str, Any]]:
        """The optimizers' groups; asked for anew, as ``load_state_dict`` replaces them."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    # --- what a caller uses ---------------------------------------------------------------------

    def fit(self) -> History:
        """Train until ``steps``, or until patience runs out; go on from ``folder``'s checkpoint.

        Calling it again after an interrupt goes on as well. Afterwards the model has the last
        weights; `load_best` puts the best ones in.

        Raises `TrainingFailed` for a loss, gradient or weight that is not finite,
        `TrainingInterrupted` after Ctrl-C, `CheckpointError` for a checkpoint of another run.
        """
        if not self._ready:
            self._resume()
        self._ready = False  # until this call ends in order, a next one reads the checkpoint again
        self._metrics.begin(self.step)
        self.history.rows = self._metrics.rows
        self._began, self._before = time.perf_counter(), self.history.seconds
        if not self.model.training:
            self.model.train()
        try:
            with preserved_randomness(), self._ctrl_c(), self._bar() as bar:
                self._enter_random_stream()
                try:
                    self._loop(bar)
                finally:
                    self._random = random_state()
            self._ready = True
        except TrainingInterrupted:
            self._ready = True
            raise
        finally:
            self.history.seconds = self._seconds()
            self._metrics.close()
            self._set_rates(1.0)
            self._zero_grad()
        return self.history

    def load_best(self) -> None:
        """Put the best weights into the model (with a moving average: the best averaged ones)."""
        if self.best_state is None:
            raise RuntimeError(
                "there are no best weights: give validate=… and call fit() first "
                "(without a validation the model already has the last weights)"
            )
        bare(self.model).load_state_dict(self.best_state)

    def load_ema(self) -> None:
        """Put the averaged weights into the model, for use; it is not trained further then."""
        if self.ema is None:
            raise RuntimeError("there is no moving average: give ema_decay=…")
        with self.ema.applied():
            state = copied_state(self.model)
        bare(self.model).load_state_dict(state)

    # --- the loop -------------------------------------------------------------------------------

    def _loop(self, bar: tqdm | None) -> None:
        while self.step < self.total_steps and self.history.reason != "patience":
            self._set_rates(self.schedule(self.step))
            self._recent.append(self._optimizer_step())
            self.step += 1
            self._after_step()
            if bar is not None:
                self._show(bar)
            if self._interrupts:
                self._stop_for_interrupt()
        if self.history.reason == "running":
            self.history.reason = "done"
        if self.folder is not None and self._saved_step != self.step:
            self._save()

    def _optimizer_step(self) -> Tensor:
        """One step of every optimizer; returns the step's loss, detached, still on the device."""
        self._zero_grad()
        loss = self._big_batch() if self.accumulate > 1 else self._single_batch()
        if self.clip_norm is not None:
            self._norm = nn.utils.clip_grad_norm_(self._parameters, self.clip_norm)
        elif self._is_row(self.step + 1):
            self._norm = nn.utils.get_total_norm(self._gradients())
        for optimizer in self.optimizers:
            optimizer.step()
        if self.ema is not None:
            self.ema.update()
        return loss

    def _single_batch(self) -> Tensor:
        """Gradients and mean loss of one batch."""
        value, count = self._forward(self.step)
        mean = value if count is None else value / count
        mean.backward()
        return mean.detach()

    def _big_batch(self) -> Tensor:
        """Gradients and mean loss of one big batch, from ``accumulate`` small ones."""
        total: Any = 0.0
        counts: Any = 0
        for part in range(self.accumulate):
            value, count = self._forward(self.step * self.accumulate + part)
            value.backward()
            total = total + value.detach()
            counts = counts + (1 if count is None else count)
        # No element at all gives 1 / 0 = inf and then NaN, which the next look at the losses finds.
        scale = torch.as_tensor(counts, dtype=total.dtype, device=total.device).reciprocal()
        torch._foreach_mul_(self._gradients(), scale)
        return total * scale

    def _forward(self, number: int) -> tuple[Tensor, Any]:
        """The loss of one batch as (mean, None) or (sum, count), looked over."""
        batch = to_device(self.train.batch(number), self.device)
        try:
            with autocast(self.precision, self.device):
                value = self.loss(self.model, *batch)
        except Exception as error:
            shapes = ", ".join(str(tuple(t.shape)) for t in batch if isinstance(t, Tensor))
            error.add_note(f"in step {self.step + 1}, with a batch of shapes {shapes}")
            raise
        return _checked_loss(value)

    def _set_rates(self, factor: float) -> None:
        for group, lr in zip(self._groups, self._base_lrs, strict=True):
            if isinstance(group["lr"], Tensor):  # compiled optimizers keep the rate in a tensor
                group["lr"].fill_(lr * factor)
            else:
                group["lr"] = lr * factor

    def _zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self._parameters if p.grad is not None]

    def _enter_random_stream(self) -> None:
        if self._random is None:
            seed_everything(self.seed)
        else:
            restore_random_state(self._random)

    # --- after a step ---------------------------------------------------------------------------

    def _is_validation(self, step: int) -> bool:
        due = step % self.validate_every == 0 or step == self.total_steps
        return self.validate is not None and due

    def _is_row(self, step: int) -> bool:
        due = step % self.log_every == 0 or step in (1, self.total_steps)
        return due or self._is_validation(step)

    def _after_step(self) -> None:
        """What is due after ``self.step`` steps: a row, a validation, a checkpoint."""
        if self._is_row(self.step):
            row = self._row()
            if self._is_validation(self.step):
                row |= self._validated()
            self._metrics.append(row, self._seconds())
        if self.folder is not None and self.step % self.checkpoint_every == 0:
            self._save()

    def _row(self) -> dict[str, Any]:
        """The row of this step, after a look for numbers that are not finite."""
        loss = self._look_at_losses()
        norm = float(self._norm)
        if not math.isfinite(norm):
            self._fail("The gradient's norm is not finite", self.step, loss, norm)
        lr = max(float(group["lr"]) for group in self._groups)
        return {"step": self.step, "loss": loss, "lr": lr, "grad_norm": norm}

    def _look_at_losses(self) -> float:
        """The last loss; fails naming the first step whose loss is not finite."""
        losses = torch.stack(self._recent).tolist()
        self._recent.clear()
        for step, loss in enumerate(losses, self.step - len(losses) + 1):
            if not math.isfinite(loss):
                norm = float(self._norm) if step == self.step and self._norm is not None else None
                self._fail("The loss is not finite", step, loss, norm)
        return losses[-1]

    def _look_at_weights(self) -> None:
        """Refuse to overwrite a good checkpoint with weights that are not finite."""
        norms = torch._foreach_norm([p.detach() for p in self._parameters])
        if not math.isfinite(sum(float(norm) for norm in norms)):
            self._fail("A weight is not finite", self.step, math.nan, None)

    def _fail(self, what: str, step: int, loss: float, norm: float | None) -> None:
        if self._saved_step is not None:
            saved = f"The checkpoint of step {self._saved_step} in {self.folder} is whole and good."
        elif self.folder is not None:
            saved = "There is no checkpoint yet."
        else:
            saved = "No folder was given, so there is no checkpoint."
        lr = max(self._base_lrs) * self.schedule(step - 1)
        message = failure_message(
            what, step, loss=loss, lr=lr, grad_norm=norm, precision=self.precision, saved=saved
        )
        raise TrainingFailed(message, step)

    def _validated(self) -> dict[str, float]:
        """Validate; keep a copy of the weights when they are the best so far; count patience."""
        average = self.ema.applied() if self.ema is not None else nullcontext()
        with average, evaluation_mode(self.model), torch.no_grad(), preserved_randomness():
            with autocast(self.precision, self.device):
                found = {name: float(v) for name, v in self.validate(self.model).items()}
            name, direction = self.select
            if name not in found:
                raise ValueError(
                    f"select names {name!r}, but validate returned {sorted(found)}: "
                    "use select=(one of them, 'min' or 'max')"
                )
            value, best = found[name], self.history.best_value
            if math.isnan(value):
                better = False
            else:
                better = best is None or (value < best if direction == "min" else value > best)
            self._waited = 0 if better else self._waited + 1
            if better:
                self.best_state = copied_state(self.model)
                self.history.best_step, self.history.best_value = self.step, value
        if self.patience is not None and self._waited >= self.patience:
            self.history.reason = "patience"
        return {key if key.startswith("val_") else f"val_{key}": v for key, v in found.items()}

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._began

    # --- checkpoints ----------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        """Plain data that must agree for a checkpoint to be resumed."""
        return {
            "model": describe_model(self.model, self.config),
            "optimizers": [describe_optimizer(optimizer) for optimizer in self.optimizers],
            "base_lrs": self._base_lrs,
            "data": describe_data(self.train),
            "trainer": {
                "seed": self.seed,
                "accumulate": self.accumulate,
                "clip_norm": self.clip_norm,
                "precision": self.precision,
                "ema": None if self.ema is None else [self.ema.decay, self.ema.warmup],
                "select": list(self.select),
            },
        }

    def _save(self) -> None:
        """Write a checkpoint of this step, unless something in it is not finite."""
        if self._recent:
            self._look_at_losses()
        self._look_at_weights()
        self._metrics.sync()  # the rows up to this step are on the disk before the checkpoint is
        history, ema = self.history, self.ema
        save_checkpoint(
            self.folder / CHECKPOINT,
            {
                "kind": "training",
                "settings": self._settings(),
                "schedule": sample_schedule(self.schedule, self.total_steps),
                "step": self.step,
                "model": bare(self.model).state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "random": random_state(),
                "ema": None if ema is None else {"average": ema.average, "updates": ema.updates},
                "best": {
                    "state": self.best_state,
                    "step": history.best_step,
                    "value": history.best_value,
                },
                "waited": self._waited,
                "reason": "patience" if history.reason == "patience" else "running",
                "seconds": self._seconds(),
            },
        )
        self._saved_step = self.step

    def _resume(self) -> None:
        """Take over the checkpoint in the folder, where there is one."""
        if self.folder is None or not (self.folder / CHECKPOINT).is_file():
            return
        path = self.folder / CHECKPOINT
        saved = load_checkpoint(path)
        refuse_other_run(path, saved, self._settings(), self.schedule, self.total_steps)
        bare(self.model).load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            load_optimizer(optimizer, state)
        if self.ema is not None:
            self.ema.load(saved["ema"]["average"], saved["ema"]["updates"])
        best = saved["best"]
        self.best_state = best["state"]
        if self.best_state is not None:
            self.best_state = {n: t.to(self.device) for n, t in self.best_state.items()}
        self.history = History([], best["step"], best["value"], saved["reason"], saved["seconds"])
        self._waited, self.step, self._random = saved["waited"], saved["step"], saved["random"]
        self._saved_step = self.step
        self._recent.clear()
        _log.info("resumed from step %d of %s", self.step, path)

    # --- Ctrl-C and the progress bar --------------------------------------------------------------

    @contextmanager
    def _ctrl_c(self) -> Iterator[None]:
        """Inside, the first Ctrl-C only asks the loop to stop; the second one stops at once."""
        self._interrupts = 0
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return

        def note(number: int, frame: Any) -> None:
            self._interrupts += 1
            if self._interrupts > 1:
                raise KeyboardInterrupt
            print("\nstopping after this step (Ctrl-C again: at once)", file=sys.stderr)

        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)

    def _stop_for_interrupt(self) -> None:
        text = f"stopped after step {self.step} of {self.total_steps}"
        if self.folder is not None:
            if self._saved_step != self.step:
                self._save()
            text += f", saved in {self.folder}: run the same command again to go on from there"
        else:
            text += ": call fit() again to go on (folder=… would let another process go on)"
        print(text, file=sys.stderr)
        raise TrainingInterrupted(text)

    @contextmanager
    def _bar(self) -> Iterator[tqdm | None]:
        show = sys.stderr.isatty() if self.progress is None else self.progress
        if not show:
            yield None
            return
        settings = {"initial": self.step, "unit": "step", "desc": self.precision}
        with tqdm(total=self.total_steps, file=sys.stderr, **settings) as bar:
            yield bar

    def _show(self, bar: tqdm) -> None:
        bar.update()
        row = self.history.rows[-1]
        if row["step"] == self.step:
            shown = {k: f"{v:.4g}" for k, v in row.items() if k not in ("step", "grad_norm")}
            bar.set_postfix(shown, refresh=False)


def _checked_loss(value: Any) -> tuple[Tensor, Any]:
    """What a loss function returned, as (mean, None) or (sum, count), or an error that helps."""
    one, count = value, None
    if isinstance(value, tuple):
        if len(value) != 2:
            raise TypeError(f"the loss returned {len(value)} values: return a mean or (sum, count)")
        one, count = value
    if not isinstance(one, Tensor):
        kind = type(one).__name__
        raise TypeError(f"the loss returned a {kind}, not a tensor: leave out .item() and float()")
    if one.ndim:
        raise ValueError(
            f"the loss has shape {tuple(one.shape)}: return one number, a mean over the batch "
            "(.mean()), or (sum, count)"
        )
    if not one.requires_grad:
        raise ValueError(
            "the loss does not depend on a trainable parameter: is it detached, computed under "
            "torch.no_grad, or is everything frozen?"
        )
    return one, count
