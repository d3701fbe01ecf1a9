"""Seeds, random states, evaluation and the learning-rate range test."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training_kit import loss, net, pictures, same, source, state_of

from xor2gpt import training as tr
from xor2gpt.training.randomness import random_state, restore_random_state

# --- random numbers


def draw() -> tuple[Any, ...]:
    return torch.rand(2).tolist(), np.random.rand(), random.gauss(0, 1)  # noqa: NPY002


def test_seeds_reach_every_generator() -> None:
    tr.seed_everything(3)
    first = draw()
    assert draw() != first
    tr.seed_everything(3)
    assert draw() == first
    tr.seed_everything(2**64 - 1)
    tr.seed_everything(np.int64(3))
    assert draw() == first
    for bad in (-1, 2**64, 1.0, True):
        with pytest.raises(ValueError, match="seed must be an integer"):
            tr.seed_everything(bad)


def test_random_states_come_back(tmp_path: Any) -> None:
    tr.seed_everything(0)
    random.gauss(0, 1)  # leaves half a pair in the generator
    np.random.standard_normal()  # noqa: NPY002
    tr.save_checkpoint(tmp_path / "r", random_state())
    first = draw()
    restore_random_state(tr.load_checkpoint(tmp_path / "r"))
    assert draw() == first
    restore_random_state(tr.load_checkpoint(tmp_path / "r"))
    with tr.preserved_randomness():
        draw()
    assert draw() == first


# --- evaluation


def test_evaluate_weighs_by_samples() -> None:
    model, (x, y) = net().eval(), pictures(22)
    batches = tr.TensorBatches(x, y, batch_size=8, shuffle=False, drop_last=False)  # 8 + 8 + 6
    assert tr.evaluate(model, loss, batches) == pytest.approx(float(loss(model, x, y).detach()))


def test_evaluate_weighs_by_tokens() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
    tokens = torch.randint(0, 9, (47,))

    def token_loss(model: nn.Module, ids: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        logits = model(ids).flatten(0, 1)
        return F.cross_entropy(logits, targets.flatten(), reduction="sum"), targets.numel()

    expected = F.cross_entropy(model(tokens[:-1]), tokens[1:]).item()
    for context, size in ((6, 3), (50, 1), (1, 8)):
        batches = tr.SequentialWindows(tokens, context, size)
        assert tr.evaluate(model, token_loss, batches) == pytest.approx(expected, rel=1e-6)


def test_evaluate_several_numbers_and_restore_modes() -> None:
    model = net()
    model.norm.eval()
    before, (x, y) = state_of(model), pictures()

    def both(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
        assert not model.training
        logits = model(x)
        assert not logits.requires_grad
        return {
            "loss": F.cross_entropy(logits, y),
            "accuracy": ((logits.argmax(1) == y).sum(), len(y)),
        }

    found = tr.evaluate(model, both, [(x[:3], y[:3]), (x[3:], y[3:])])
    model.eval()
    right = (model(x).argmax(1) == y).double().mean().item()
    assert found == pytest.approx({"loss": float(loss(model, x, y).detach()), "accuracy": right})
    assert same(state_of(model), before)
    model = net()
    model.norm.eval()
    tr.evaluate(model, both, source())
    assert [model.training, model.norm.training, model.drop.training] == [True, False, True]


def test_evaluate_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="the split is empty"):
        tr.evaluate(net(), loss, [])
    with pytest.raises(ValueError, match="every target is ignored"):
        tr.evaluate(net(), lambda m, x, y: (loss(m, x, y) * 0, 0), source())


# --- range test


def quadratic(model: nn.Module, x: Tensor) -> Tensor:
    return 0.5 * (model.weight**2).sum()


def test_range_test_on_a_bowl() -> None:
    """Gradient descent on w²/2: w ← (1 − lr) w, so the losses are known."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=3.0)
    batches = tr.TensorBatches(torch.zeros(1, 1), batch_size=1)
    lrs, losses = tr.find_learning_rate(
        model, quadratic, batches, optimizer, start=1e-3, end=1e3, steps=60, smoothing=0.0
    )
    assert lrs == pytest.approx(np.geomspace(1e-3, 1e3, 60)[: len(lrs)])
    weight = np.concatenate([[1.0], np.cumprod(1 - lrs)[:-1]])
    assert losses == pytest.approx(weight**2 / 2, rel=1e-4)
    assert 2 < lrs[-1] < 100  # above 2 the bowl diverges, and the test stops soon after
    assert model.weight.item() == 1.0
    assert optimizer.param_groups[0]["lr"] == 3.0


def test_smoothing_is_corrected_for_its_start() -> None:
    model = net()
    run = tr.find_learning_rate(
        model, loss, source(), torch.optim.SGD(model.parameters(), lr=1.0), steps=20, smoothing=0.8
    )
    raw = tr.find_learning_rate(
        model, loss, source(), torch.optim.SGD(model.parameters(), lr=1.0), steps=20, smoothing=0.0
    )
    average = 0.0
    for step, value in enumerate(raw.losses):
        average = 0.8 * average + 0.2 * value
        assert run.losses[step] == pytest.approx(average / (1 - 0.8 ** (step + 1)))
    assert run.lrs.min() <= run.suggestion <= run.lrs.max()


def test_range_test_leaves_all_as_it_was() -> None:
    model = net()
    optimizer = torch.optim.AdamW(tr.parameter_groups(model, lr=0.1, rates={"conv": 0.5}), lr=0.1)
    loss(model, *source().batch(0)).backward()
    optimizer.step()
    model.eval()
    before, state = state_of(model), optimizer.state_dict()
    kept = {key: {k: t.clone() for k, t in entry.items()} for key, entry in state["state"].items()}
    gradient, numbers = model.head.weight.grad, torch.get_rng_state()
    tr.find_learning_rate(model, loss, source(), optimizer, steps=8, end=0.1)
    assert same(state_of(model), before)
    assert same(optimizer.state_dict()["state"], kept)
    assert [g["lr"] for g in optimizer.param_groups] == [0.05, 0.05, 0.1, 0.1]
    assert model.head.weight.grad is gradient
    assert torch.equal(torch.get_rng_state(), numbers)
    assert not model.training


def test_range_test_of_a_loss_that_ends_in_nan() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    batches = tr.TensorBatches(torch.zeros(1, 1), batch_size=1)
    before = model.weight.item()
    run = tr.find_learning_rate(
        model, quadratic, batches, optimizer, start=2.5, end=1e30, steps=30, stop_at=1e300
    )
    assert len(run.lrs) < 30
    assert np.isfinite(run.losses).all()
    assert model.weight.item() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"start": 0.0}, "rates must grow"),
        ({"start": 1.0, "end": 0.1}, "rates must grow"),
        ({"steps": 1}, "steps must be at least 2"),
        ({"smoothing": 1.0}, "smoothing below 1"),
    ],
)
def test_range_test_errors(settings: dict[str, Any], words: str) -> None:
    model = net()
    with pytest.raises(ValueError, match=words):
        tr.find_learning_rate(
            model, loss, source(), torch.optim.SGD(model.parameters(), lr=1.0), **settings
        )


def test_range_test_of_a_broken_loss() -> None:
    model = net()
    with pytest.raises(ValueError, match="not finite at the very first step"):
        tr.find_learning_rate(
            model,
            lambda m, x, y: loss(m, x, y) * float("nan"),
            source(),
            torch.optim.SGD(model.parameters(), lr=1.0),
        )
