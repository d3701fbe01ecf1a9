"""What a training checkpoint needs to know about model, optimizer and settings.

Does: describe a run in plain data, so that a checkpoint of another run can be refused with the
first difference; copy a model's state; load an optimizer's state without a change of dtype.
Does not: write files (`checkpoints` does) or decide when to save (the trainer does).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from xor2gpt.training.checkpoints import first_difference
from xor2gpt.training.errors import CheckpointError
from xor2gpt.training.schedules import Schedule

__all__ = [
    "bare",
    "copied_state",
    "describe_data",
    "describe_model",
    "describe_optimizer",
    "load_optimizer",
    "refuse_other_run",
    "sample_schedule",
]


def bare(model: nn.Module) -> nn.Module:
    """The module under ``torch.compile``, whose state has the plain names."""
    return getattr(model, "_orig_mod", model)


def copied_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the state; tensors that are one (tied weights) are copied once."""
    copies: dict[tuple[Any, ...], Tensor] = {}
    state = {}
    for name, tensor in bare(model).state_dict().items():
        key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        if key not in copies or not tensor.numel():
            copies[key] = tensor.detach().clone()
        state[name] = copies[key]
    return state


# --- descriptions ---------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """``value`` as JSON data; what JSON does not know becomes its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def describe_model(model: nn.Module, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Class, configuration (the caller's, and a dataclass ``model.config``), names and shapes."""
    module = bare(model)
    own = getattr(module, "config", None)
    has_config = dataclasses.is_dataclass(own) and not isinstance(own, type)
    return {
        "class": type(module).__name__,
        "config": _plain(dataclasses.asdict(own)) if has_config else None,
        "given_config": _plain(config),
        "state": {
            name: f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
            for name, tensor in module.state_dict().items()
        },
    }


def describe_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Class and options of an optimizer, without parameters and learning rates."""
    skipped = {"params", "param_names", "lr", "initial_lr"}
    groups = [
        {**{k: _plain(v) for k, v in g.items() if k not in skipped}, "tensors": len(g["params"])}
        for g in optimizer.param_groups
    ]
    return {"class": type(optimizer).__name__, "groups": groups}


def describe_data(train: Any) -> dict[str, Any]:
    """A source's own ``signature()`` where it has one, else its class and length."""
    signature = getattr(train, "signature", None)
    if callable(signature):
        return _plain(signature())
    return {"source": type(train).__name__, "steps_per_epoch": train.steps_per_epoch}


def sample_schedule(schedule: Schedule, total: int) -> list[list[float]]:
    """``[step, factor]`` at some steps of a run of ``total`` steps: enough to tell two apart."""
    steps = sorted({total * i // 16 for i in range(16)} | {0, min(1, total - 1), total - 1})
    return [[step, float(schedule(step))] for step in steps]


def _schedule_difference(saved: Sequence[Sequence[float]], schedule: Schedule) -> str | None:
    for step, before in saved:
        now = float(schedule(int(step)))
        if not math.isclose(before, now, rel_tol=1e-9, abs_tol=1e-12):
            return (
                f"the schedule's factor at step {int(step)} is {before:.6g} in the checkpoint "
                f"and {now:.6g} here"
            )
    return None


def refuse_other_run(
    path: Path, saved: Any, settings: Mapping[str, Any], schedule: Schedule, total: int
) -> None:
    """Raise `CheckpointError` naming the first difference between a checkpoint and this run.

    ``total`` may be larger than it was (train longer) where the schedule agrees.
    """
    if not isinstance(saved, dict) or saved.get("kind") != "training":
        raise CheckpointError(f"{path} is no checkpoint of a training run: use another folder")
    difference = first_difference(saved["settings"], settings)
    difference = difference or _schedule_difference(saved["schedule"], schedule)
    if difference is None and saved["step"] > total:
        difference = f"it is at step {saved['step']}, beyond steps={total}"
    if difference is not None:
        raise CheckpointError(
            f"{path} belongs to another run: {difference}. "
            "Use another folder, or delete the file to begin anew"
        )


# --- optimizers -----------------------------------------------------------------------------------


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """``load_state_dict``, but every tensor keeps its saved dtype and memory order.

    (torch's own casts the state of a parameter to the parameter's dtype.)
    """
    optimizer.load_state_dict(state)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    for number, parameter in zip(numbers, parameters, strict=True):
        for key, saved in state["state"].get(number, {}).items():
            if isinstance(saved, Tensor):
                loaded = optimizer.state[parameter][key]
                optimizer.state[parameter][key] = saved.to(loaded.device, copy=True)
