"""Schedules: equal to torch's schedulers, and the laws that make them schedules."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as twins
from training_kit import trainer

from xor2gpt import training as tr

PEAK = 0.4


def twin_rates(make: Callable[[torch.optim.Optimizer], object], steps: int) -> list[float]:
    """The rates that a torch scheduler gives, before each of ``steps`` optimizer steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR warns about its own use of step(epoch)
        scheduler = make(optimizer)
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return rates


def warm(optimizer: torch.optim.Optimizer, steps: int) -> twins.LRScheduler:
    return twins.LinearLR(optimizer, 1 / (steps + 1), 1.0, total_iters=steps)


@pytest.mark.parametrize(
    ("ours", "twin"),
    [
        (tr.constant(), lambda o: twins.ConstantLR(o, factor=1.0)),
        (tr.step_decay(7), lambda o: twins.StepLR(o, 7)),
        (tr.step_decay([30, 5, 12], 0.5), lambda o: twins.MultiStepLR(o, [5, 12, 30], 0.5)),
        (tr.cosine(40, floor=0.1), lambda o: twins.CosineAnnealingLR(o, 40, eta_min=PEAK * 0.1)),
        (
            tr.cosine(40, warmup=8),
            lambda o: twins.SequentialLR(o, [warm(o, 8), twins.CosineAnnealingLR(o, 32)], [8]),
        ),
        (tr.one_cycle(40), lambda o: twins.OneCycleLR(o, PEAK, 40, cycle_momentum=False)),
        (
            tr.one_cycle(40, 0.23, start=0.2, end=0.01, shape="linear"),
            lambda o: twins.OneCycleLR(
                o, PEAK, 40, None, None, 0.23, "linear", False, div_factor=5, final_div_factor=20
            ),
        ),
        (
            tr.flat_then_linear(40, 10, floor=0.25, warmup=4),
            lambda o: twins.SequentialLR(
                o, [warm(o, 4), twins.ConstantLR(o, 1.0), twins.LinearLR(o, 1, 0.25, 10)], [4, 30]
            ),
        ),
    ],
    ids=["constant", "step", "milestones", "cosine", "warmup", "cycle", "cycle-linear", "cooldown"],
)
def test_equal_to_torch(ours: tr.Schedule, twin: Callable) -> None:
    rates = [PEAK * ours(step) for step in range(40)]
    assert rates == pytest.approx(twin_rates(twin, 40), rel=1e-9, abs=1e-12)


@given(total=st.integers(1, 300), share=st.floats(0, 0.99), floor=st.floats(0, 1))
def test_cosine_law(total: int, share: float, floor: float) -> None:
    schedule = tr.cosine(total, warmup=share, floor=floor)
    values = [schedule(step) for step in range(total + 3)]
    rise = round(share * total)
    assert values[0] > 0 or floor == 0 and total == rise  # the first step moves the weights
    assert all(0 <= value <= 1 for value in values)
    assert values[:rise] == sorted(values[:rise])
    falling = values[rise:]
    assert all(a >= b - 1e-12 for a, b in zip(falling, falling[1:], strict=False))
    assert values[-1] == values[-2] == floor
    if rise < total:
        assert values[rise] == pytest.approx(1.0)  # the peak is reached
        jump = max(abs(a - b) for a, b in zip(values, values[1:], strict=False))
        assert jump <= max(1 / (rise + 1), 1.6 / (total - rise)) + 1e-9  # no step but the slopes'


@given(
    total=st.integers(1, 300), share=st.floats(0.01, 0.99), shape=st.sampled_from(["cos", "linear"])
)
def test_one_cycle_law(total: int, share: float, shape: str) -> None:
    schedule = tr.one_cycle(total, share, shape=shape)
    values = [schedule(step) for step in range(total + 3)]
    assert all(0 < value <= 1 + 1e-12 for value in values)
    assert values[-1] == values[total] == 1 / 250_000
    top = values.index(max(values))
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)
    if total > 2 and share * total >= 2:
        assert values[0] == pytest.approx(1 / 25)


@given(
    total=st.integers(1, 300),
    rise=st.floats(0, 0.5),
    fall=st.floats(0, 0.49),
    floor=st.floats(0, 1),
)
def test_flat_then_linear_law(total: int, rise: float, fall: float, floor: float) -> None:
    schedule = tr.flat_then_linear(total, fall, warmup=rise, floor=floor)
    values = [schedule(step) for step in range(total + 1)]
    assert all(0 <= value <= 1 for value in values)
    up, down = round(rise * total), round(fall * total)
    assert all(value == 1 for value in values[up : total - down])
    assert values[:up] == sorted(values[:up])
    assert values[total] == (floor if down else 1.0)
    steps = [
        a - b for a, b in zip(values[total - down :], values[total - down + 1 :], strict=False)
    ]
    assert steps == pytest.approx([(1 - floor) / down] * len(steps) if down else [], abs=1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tr.cosine(0), "total must be a whole number"),
        (lambda: tr.cosine(10, floor=2), "floor is a factor from 0 to 1"),
        (lambda: tr.cosine(10, warmup=11), "warmup must be a number of steps from 0 to 10"),
        (lambda: tr.cosine(10, warmup=1.5), "not 1.5"),
        (lambda: tr.one_cycle(10, 0.0), "above 0 and below 1, not 0.0"),
        (lambda: tr.one_cycle(10, shape="sine"), "'cos' or 'linear', not 'sine'"),
        (lambda: tr.flat_then_linear(10, 6, warmup=5), "together exceed total"),
        (lambda: tr.step_decay(0), "every must be at least 1"),
    ],
)
def test_errors_name_the_value(make: Callable, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_the_loop_steps_the_schedule_for_every_group() -> None:
    def two_groups(model: torch.nn.Module) -> torch.optim.Optimizer:
        groups = tr.parameter_groups(model, lr=0.1, rates={"conv": 0.5})
        return torch.optim.SGD(groups, lr=0.1)

    schedule = tr.cosine(12, warmup=3, floor=0.1)
    run = trainer(optimizer=two_groups, schedule=schedule)
    seen = []
    step = run.optimizers[0].step
    run.optimizers[0].step = lambda: (seen.append([g["lr"] for g in run._groups]), step())
    history = run.fit()
    rates = {group["name"]: group["lr"] for group in run.optimizers[0].param_groups}
    assert rates == {"conv/decay": 0.05, "conv/no_decay": 0.05, "decay": 0.1, "no_decay": 0.1}
    for number, row in enumerate(history.rows):
        factor = schedule(number)
        assert row["lr"] == 0.1 * factor
        assert sorted(set(seen[number])) == pytest.approx([0.05 * factor, 0.1 * factor])
