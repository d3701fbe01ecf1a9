"""What the training tests share: a small model with everything in it, data, and comparisons."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xor2gpt import training as tr
from xor2gpt.training import checkpoints


class Net(nn.Module):
    """Convolution, batch norm, dropout and a linear layer: buffers, random numbers, 4-D weights."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(channels, 2)

    def forward(self, x: Tensor) -> Tensor:  # (B, 1, 4, 4) -> (B, 2)
        return self.head(self.drop(F.relu(self.norm(self.conv(x))).mean((2, 3))))


def net(seed: int = 0, **settings: Any) -> Net:
    """A `Net` with the weights of this seed."""
    torch.manual_seed(seed)
    return Net(**settings)


def pictures(n: int = 22) -> tuple[Tensor, Tensor]:
    """``n`` small pictures and labels, the same on every call."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(n, 1, 4, 4, generator=generator)
    return x, (x.mean((1, 2, 3)) > 0).long()


def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy."""
    return F.cross_entropy(model(x), y)


def source(**settings: Any) -> tr.TensorBatches:
    """Batches of 5 from `pictures`."""
    return tr.TensorBatches(*pictures(), **{"batch_size": 5, "seed": 3, **settings})


def trainer(model: nn.Module | None = None, **settings: Any) -> tr.Trainer:
    """A trainer of `Net` for 12 steps; any argument can be replaced."""
    model = net() if model is None else model
    optimizer = settings.pop("optimizer", None)
    if optimizer is None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    elif callable(optimizer):
        optimizer = optimizer(model)
    train = settings.pop("train", None) or source()
    chosen: dict[str, Any] = {"steps": 12, "log_every": 1, **settings}
    return tr.Trainer(model, chosen.pop("loss", loss), train, optimizer=optimizer, **chosen)


def validation() -> Callable[[nn.Module], dict[str, float]]:
    """A validation on all pictures; it also draws random numbers, which must not matter."""
    data = tr.TensorBatches(*pictures(), batch_size=8, shuffle=False, drop_last=False)

    def validate(model: nn.Module) -> dict[str, float]:
        torch.rand(3)
        return {"loss": tr.evaluate(model, loss, data)}

    return validate


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's state."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: Any, other: Any) -> bool:
    """Whether two trees are equal bit for bit (types of containers included)."""
    if isinstance(one, Tensor):
        return (
            isinstance(other, Tensor)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and torch.equal(one, other)
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


# --- runs that are stopped


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW with two groups."""
    return torch.optim.AdamW(tr.parameter_groups(model, 0.1), lr=0.01)


def everything(model: nn.Module | None = None, **changes: Any) -> tr.Trainer:
    """A run that uses all the loop can remember."""
    chosen: dict[str, Any] = {
        "schedule": tr.one_cycle(12),
        "accumulate": 2,
        "clip_norm": 0.5,
        "ema_decay": 0.9,
        "validate": validation(),
        "validate_every": 3,
        "patience": 100,
        "seed": 4,
    }
    return trainer(model, **{**chosen, **changes})


def killed_run(folder: str, where: str) -> tr.Trainer:
    """A run that is killed in the midst of a step, of writing a checkpoint, or not at all."""
    run = everything(optimizer=adamw, folder=folder or None, checkpoint_every=3)
    batch = run.train.batch

    def deadly_batch(number: int) -> tuple[Tensor, ...]:
        if where == "step" and number == 2 * 4 + 1:  # the second half of step 5
            os.kill(os.getpid(), signal.SIGKILL)
        return batch(number)

    def deadly_save(tensors: Any, path: Path, metadata: Any) -> None:
        save_file(tensors, path, metadata)
        if where == "save" and run.step >= 9:  # the checkpoint of step 6 is there already
            path.write_bytes(path.read_bytes()[:2000])
            os.kill(os.getpid(), signal.SIGKILL)

    save_file = checkpoints.save_file
    checkpoints.save_file = deadly_save
    run.train.batch = deadly_batch
    try:
        run.fit()
    finally:
        checkpoints.save_file = save_file
    return run


def digest(run: tr.Trainer) -> str:
    """A hash of last, best and averaged weights."""
    total = sha256()
    for state in (run.model.state_dict(), run.best_state, run.ema.average):
        for name, tensor in state.items():
            total.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()
