"""A run that was stopped goes on bit for bit: at any step, with any optimizer, after a SIGKILL."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from training_kit import (
    adamw,
    digest,
    everything,
    killed_run,
    net,
    pictures,
    same,
    source,
    state_of,
    trainer,
)

from xor2gpt import training as tr
from xor2gpt.optim import muon
from xor2gpt.training import trainer as trainer_module


class Peculiar(torch.optim.Optimizer):
    """State of every kind: float64 and integer tensors, numbers, strings, None, nested lists."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.05, "betas": (0.9, 0.99), "note": None})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if not self.state[p]:
                    zeros = torch.zeros_like(p, dtype=torch.float64)
                    signs = torch.zeros_like(p, dtype=torch.int32)
                    self.state[p] = {"sum": zeros, "signs": signs, "t": 0, "last": [None, "x"]}
                state = self.state[p]
                state["t"] += 1
                state["sum"].mul_(group["betas"][0]).add_(p.grad)
                state["signs"] += p.grad.sign().int()
                state["last"] = [float(p.grad.double().norm()), "y"]
                scale = 1 + 0.01 * state["t"] + 1e-3 * state["last"][0]
                p -= group["lr"] / scale * (state["sum"] + 1e-3 * state["signs"]).float()


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), lr=0.1),
    "momentum": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "adamw": adamw,
    "fused": lambda m: torch.optim.AdamW(m.parameters(), lr=0.01, fused=True),
    "amsgrad": lambda m: torch.optim.Adam(m.parameters(), lr=torch.tensor(0.01), amsgrad=True),
    "rmsprop": lambda m: torch.optim.RMSprop(m.parameters(), lr=0.01, momentum=0.5, centered=True),
    "muon": lambda m: muon(m, lr=0.02),
    "peculiar": lambda m: Peculiar(m.parameters()),
}


class Stop(Exception):
    """Ends a run where a kill would."""


def stop_at(run: tr.Trainer, step: int) -> None:
    """Let ``run`` train until it asks for the first batch of this step (from 0), and no further."""
    batch = run.train.batch

    def guarded(number: int) -> tuple[Tensor, ...]:
        if number >= step * run.accumulate:
            raise Stop
        return batch(number)

    run.train.batch = guarded
    with pytest.raises(Stop):
        run.fit()


def assert_equal_runs(one: tr.Trainer, other: tr.Trainer) -> None:
    """All that a run leaves behind is equal bit for bit, the seconds excepted."""
    assert same(state_of(one.model), state_of(other.model))
    states = [[o.state_dict()["state"] for o in run.optimizers] for run in (one, other)]
    assert same(*states)
    assert one.history.rows == other.history.rows
    for name in ("best_step", "best_value", "reason"):
        assert getattr(one.history, name) == getattr(other.history, name)
    assert one._waited == other._waited
    assert same(one._random, other._random)
    assert (one.best_state is None) == (other.best_state is None)
    if one.best_state is not None:
        assert same(dict(one.best_state), dict(other.best_state))
    if one.ema is not None:
        assert same(one.ema.average, other.ema.average)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    whole = everything(optimizer=OPTIMIZERS[name])
    whole.fit()
    stop_at(everything(optimizer=OPTIMIZERS[name], folder=tmp_path, checkpoint_every=5), 8)
    resumed = everything(net(seed=99), optimizer=OPTIMIZERS[name], folder=tmp_path)
    resumed.fit()
    assert_equal_runs(whole, resumed)
    assert [g["lr"] for g in resumed._groups] == [g["lr"] for g in whole._groups]


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    stops=st.lists(st.integers(1, 11), min_size=1, max_size=3, unique=True).map(sorted),
    every=st.integers(1, 6),
    options=st.fixed_dictionaries(
        {
            "accumulate": st.sampled_from([1, 3]),
            "log_every": st.sampled_from([1, 4]),
            "ema_decay": st.sampled_from([None, 0.9]),
            "clip_norm": st.sampled_from([None, 0.5]),
        }
    ),
)
def test_a_run_goes_on_from_any_step(
    stops: list[int], every: int, options: dict, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    whole = everything(**options)
    whole.fit()
    for stop in stops:
        stop_at(everything(folder=folder, checkpoint_every=every, **options), stop)
    model = net(seed=99 if (folder / "checkpoint.safetensors").exists() else 0)
    resumed = everything(model, folder=folder, checkpoint_every=every, **options)
    resumed.fit()
    assert_equal_runs(whole, resumed)
    lines = tr.read_metrics(folder / "metrics.jsonl")
    assert [
        {k: v for k, v in line.items() if k != "seconds"} for line in lines
    ] == whole.history.rows


def test_channels_last_and_bf16_go_on_bit_for_bit(tmp_path: Path) -> None:
    def run(**changes: Any) -> tr.Trainer:
        model = net(channels=8).to(memory_format=torch.channels_last)
        return everything(model, optimizer=OPTIMIZERS["momentum"], precision="bf16", **changes)

    whole = run()
    whole.fit()
    stop_at(run(folder=tmp_path, checkpoint_every=5), 7)
    resumed = run(folder=tmp_path)
    resumed.fit()
    assert_equal_runs(whole, resumed)


def test_augmentation_goes_on_too(tmp_path: Path) -> None:
    def run(**changes: Any) -> tr.Trainer:
        def noise(generator: torch.Generator, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return x + torch.randn(x.shape, generator=generator), y

        return everything(train=source(augment=noise), **changes)

    whole = run()
    whole.fit()
    stop_at(run(folder=tmp_path, checkpoint_every=4), 9)
    resumed = run(folder=tmp_path)
    resumed.fit()
    assert_equal_runs(whole, resumed)


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table = nn.Embedding(9, 4)
            self.head = nn.Linear(4, 9, bias=False)
            self.head.weight = self.table.weight

    def token_loss(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
        logits = model.head(model.table(ids))
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def run(**changes: Any) -> tr.Trainer:
        batches = tr.WindowBatches(torch.arange(60) % 9, 5, 2, seed=1)
        chosen = {"validate": lambda m: {"loss": tr.evaluate(m, token_loss, batches)}} | changes
        return everything(Tied(), loss=token_loss, train=batches, **chosen)

    whole = run()
    whole.fit()
    stop_at(run(folder=tmp_path, checkpoint_every=4), 9)
    resumed = run(folder=tmp_path)
    resumed.fit()
    assert_equal_runs(whole, resumed)
    assert resumed.model.head.weight is resumed.model.table.weight


# --- patience, the end, longer runs


def test_patience_is_remembered(tmp_path: Path) -> None:
    def run(**changes: Any) -> tr.Trainer:
        def validate(model: nn.Module) -> dict[str, float]:
            return {"loss": {2: 1.0, 4: 3.0, 6: 2.0}.get(made[0].step, 4.0)}

        made = [trainer(validate=validate, validate_every=2, patience=4, steps=30, **changes)]
        return made[0]

    whole = run()
    assert whole.fit().steps[-1] == 10  # best at 2, then 4, 6, 8, 10 without a new best
    stop_at(run(folder=tmp_path, checkpoint_every=1), 7)
    resumed = run(folder=tmp_path, checkpoint_every=1)
    resumed.fit()
    assert_equal_runs(whole, resumed)
    again = run(folder=tmp_path, checkpoint_every=1)
    assert again.fit().reason == "patience"  # a run that was stopped early does not go on
    assert_equal_runs(resumed, again)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = everything(folder=tmp_path)
    first.fit()
    saved = tr.load_checkpoint(tmp_path / "checkpoint.safetensors")
    second = everything(net(seed=5), folder=tmp_path)
    second.train.batch = None  # nobody asks for a batch
    assert second.fit().rows == first.history.rows
    assert same(state_of(second.model), state_of(first.model))
    assert second.history.seconds >= saved["seconds"] > 0
    second.load_best()
    assert same(state_of(second.model), dict(first.best_state))


def test_a_run_can_be_made_longer(tmp_path: Path) -> None:
    trainer(steps=8, folder=tmp_path).fit()
    longer, whole = trainer(steps=12, folder=tmp_path), trainer(steps=12)
    longer.fit()
    whole.fit()
    assert same(state_of(longer.model), state_of(whole.model))
    with pytest.raises(tr.CheckpointError, match="it is at step 12, beyond steps=8"):
        trainer(steps=8, folder=tmp_path).fit()


# --- the metrics file


def test_the_file_holds_each_step_once(tmp_path: Path) -> None:
    stop_at(trainer(folder=tmp_path, checkpoint_every=4), 7)
    path = tmp_path / "metrics.jsonl"
    assert [row["step"] for row in tr.read_metrics(path)] == [1, 2, 3, 4, 5, 6, 7]
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"step": 8, "lo')  # cut off by a kill
    trainer(folder=tmp_path, checkpoint_every=4).fit()
    rows = tr.read_metrics(path)
    assert [row["step"] for row in rows] == list(range(1, 13))
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_a_new_run_keeps_the_old_file_aside(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    trainer(metrics=path, steps=3).fit()
    trainer(metrics=path, steps=5).fit()
    assert len(tr.read_metrics(path)) == 5
    assert len(tr.read_metrics(tmp_path / "log.jsonl.old")) == 3


def test_numbers_that_json_does_not_know(tmp_path: Path) -> None:
    values = iter([float("inf"), float("nan")])
    run = trainer(
        steps=4, metrics=tmp_path / "m", validate=lambda m: {"loss": next(values)}, validate_every=2
    )
    run.fit()
    for line in (tmp_path / "m").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    read = [row.get("val_loss") for row in tr.read_metrics(tmp_path / "m")]
    assert read[1] == float("inf")
    assert read[3] != read[3]


# --- other runs are refused


@dataclass
class Config:
    """Heads do not show in any shape."""

    n_head: int = 2


def with_config(n_head: int) -> nn.Module:
    model = net()
    model.config = Config(n_head)
    return model


def test_another_run_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    base: dict[str, Any] = {"folder": tmp_path, "config": {"width": 3}, "steps": 4}
    trainer(with_config(2), **base).fit()
    x, y = pictures()
    others: list[tuple[Callable[[], tr.Trainer], str]] = [
        (lambda: trainer(net(channels=4), **base), "model.config is .*n_head.*checkpoint and None"),
        (lambda: trainer(with_config(4), **base), "n_head is 2 in the checkpoint and 4 here"),
        (
            lambda: trainer(with_config(2), **{**base, "config": {"width": 4}}),
            "given_config.width is 3 in the checkpoint and 4 here",
        ),
        (
            lambda: trainer(with_config(2), optimizer=OPTIMIZERS["adamw"], **base),
            "optimizers.0.class is 'SGD' in the checkpoint and 'AdamW' here",
        ),
        (
            lambda: trainer(with_config(2), optimizer=OPTIMIZERS["sgd"], **base),
            "optimizers.0.groups.0.momentum is 0.9 in the checkpoint and 0 here",
        ),
        (lambda: trainer(with_config(2), train=source(seed=8), **base), "data.seed is 3"),
        (
            lambda: trainer(
                with_config(2), train=tr.TensorBatches(x + 1, y, batch_size=5, seed=3), **base
            ),
            "data.checksums",
        ),
        (lambda: trainer(with_config(2), seed=1, **base), "trainer.seed is 0"),
        (lambda: trainer(with_config(2), accumulate=2, **base), "trainer.accumulate is 1"),
        (lambda: trainer(with_config(2), ema_decay=0.9, **base), "trainer.ema is None"),
        (
            lambda: trainer(with_config(2), schedule=tr.cosine(4), **base),
            "schedule's factor at step 1 is 1 in the checkpoint and 0.85",
        ),
    ]
    for make, words in others:
        with pytest.raises(tr.CheckpointError, match=f"belongs to another run: .*{words}"):
            make().fit()
    wider = net(channels=4)
    wider.config = Config(2)
    shape = r"conv.weight is 'float32\[3, 1, 3, 3\]' in the checkpoint and 'float32\[4, 1, 3, 3\]'"
    with pytest.raises(tr.CheckpointError, match=shape):
        trainer(wider, **base).fit()
    tr.save_checkpoint(tmp_path / "checkpoint.safetensors", {"weights": 1})
    with pytest.raises(tr.CheckpointError, match="is no checkpoint of a training run"):
        trainer(with_config(2), **base).fit()


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    trainer(folder=tmp_path).fit()
    path = tmp_path / trainer_module.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(tr.CheckpointError, match="checkpoint.safetensors is cut off or damaged"):
        trainer(folder=tmp_path).fit()


# --- SIGKILL

CHILD = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from training_kit import adamw, digest, killed_run
print(digest(killed_run(sys.argv[2], sys.argv[3])))
"""


def test_a_killed_process_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    expected = digest(killed_run("", "never"))
    here = str(Path(__file__).parent)
    left = []
    for where, code in (("step", -signal.SIGKILL), ("save", -signal.SIGKILL), ("never", 0)):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, here, str(tmp_path), where],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stderr
        left.append(tr.load_checkpoint(tmp_path / "checkpoint.safetensors")["step"])
    assert left == [3, 6, 12]
    assert done.stdout.strip() == expected
    assert [row["step"] for row in tr.read_metrics(tmp_path / "metrics.jsonl")] == list(
        range(1, 13)
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.safetensors", "metrics.jsonl"]
