"""One training loop for every stage.

Does: batches as pure functions of the step, schedules, parameter groups, the `Trainer` (validation,
best weights, accumulation, clipping, bf16, moving averages, early stopping, checkpoints with exact
resume), evaluation, the learning-rate range test.
Does not: hold models, losses or data sets; train on several machines; scale a loss for float16.

    trainer = Trainer(model, loss, train, optimizer=AdamW(parameter_groups(model, 0.1), lr=1e-3),
                      schedule=cosine(1000, warmup=100), steps=1000,
                      validate=lambda m: {"loss": evaluate(m, loss, validation)})
    history = trainer.fit()
    trainer.load_best()
"""

from xor2gpt.training.batches import BatchSource, SequentialWindows, TensorBatches, WindowBatches
from xor2gpt.training.checkpoints import load_checkpoint, save_checkpoint
from xor2gpt.training.ema import EMA
from xor2gpt.training.errors import CheckpointError, TrainingFailed, TrainingInterrupted
from xor2gpt.training.evaluation import evaluate, evaluation_mode
from xor2gpt.training.groups import check_parameter_groups, parameter_groups
from xor2gpt.training.lr_finder import RangeTest, find_learning_rate
from xor2gpt.training.metrics_log import read_metrics
from xor2gpt.training.precision import choose_precision
from xor2gpt.training.randomness import preserved_randomness, seed_everything
from xor2gpt.training.schedules import (
    Schedule,
    constant,
    cosine,
    flat_then_linear,
    one_cycle,
    step_decay,
)
from xor2gpt.training.trainer import History, Trainer

__all__ = [
    "EMA",
    "BatchSource",
    "CheckpointError",
    "History",
    "RangeTest",
    "Schedule",
    "SequentialWindows",
    "TensorBatches",
    "Trainer",
    "TrainingFailed",
    "TrainingInterrupted",
    "WindowBatches",
    "check_parameter_groups",
    "choose_precision",
    "constant",
    "cosine",
    "evaluate",
    "evaluation_mode",
    "find_learning_rate",
    "flat_then_linear",
    "load_checkpoint",
    "one_cycle",
    "parameter_groups",
    "preserved_randomness",
    "read_metrics",
    "save_checkpoint",
    "seed_everything",
    "step_decay",
]
