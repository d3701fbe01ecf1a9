"""Recipe ``xor-seeds``: how often do small sigmoid networks learn XOR?

Does: train 2-h-1 networks on the four points of XOR by full-batch gradient descent, all seeds of a
configuration at once, in NumPy and float64, with the backward pass of stage 03 written out.
Does not: use automatic differentiation (a test compares the gradients with torch's), stop early,
or choose seeds.

Loss: L = 1/2 * sum over the four points of (a2 - y)^2, so that dL/da2 = a2 - y. The mean squared
error that the tables show is (1/4) * sum of (a2 - y)^2 = L / 2.
Shapes: S seeds, N = 4 points, h hidden units; every parameter has S as its first axis.
Source: Rumelhart, Hinton and Williams (1986), "Learning representations by back-propagating
errors", Nature 323; the 2-4-1 setting (learning rate 0.1, 10,000 epochs) is the course source's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
from xor2gpt.recipes.stats import wilson

__all__ = ["RECIPE", "X", "Y", "Network", "gradients", "initial_networks", "predict", "train"]

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])  # (N, 2)
Y = np.array([[0.0], [1.0], [1.0], [0.0]])  # (N, 1)


@dataclass
class Network:
    """The parameters of S networks of one shape.

    ``W1 (S, 2, h)``, ``b1 (S, 1, h)``, ``W2 (S, h, 1)``, ``b2 (S, 1, 1)``.
    """

    W1: np.ndarray
    b1: np.ndarray
    W2: np.ndarray
    b2: np.ndarray


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), any shape, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def initial_networks(
    seeds: Sequence[int], hidden: int, start: str = "normal", std: float = 1.0
) -> Network:
    """One network per seed; weights from N(0, std^2), W1 before W2; biases are zero.

    ``start="normal"`` draws every weight; ``"all-equal"`` draws one number per seed and gives it to
    every weight; ``"equal-units"`` gives every hidden unit the same incoming and the same outgoing
    weights. Raises ``ValueError`` for another ``start``.
    """
    drawn = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        if start == "normal":
            w1, w2 = rng.normal(0.0, std, (2, hidden)), rng.normal(0.0, std, (hidden, 1))
        elif start == "all-equal":
            value = rng.normal(0.0, std)
            w1, w2 = np.full((2, hidden), value), np.full((hidden, 1), value)
        elif start == "equal-units":
            w1 = np.repeat(rng.normal(0.0, std, (2, 1)), hidden, axis=1)
            w2 = np.full((hidden, 1), rng.normal(0.0, std))
        else:
            raise ValueError(f"start {start!r} is none of 'normal', 'all-equal', 'equal-units'")
        drawn.append((w1, w2))
    count = len(drawn)
    return Network(
        W1=np.stack([w1 for w1, _ in drawn]),
        b1=np.zeros((count, 1, hidden)),
        W2=np.stack([w2 for _, w2 in drawn]),
        b2=np.zeros((count, 1, 1)),
    )


def _forward(net: Network) -> tuple[np.ndarray, np.ndarray]:
    """The activations ``(a1 (S, N, h), a2 (S, N, 1))`` on the four points."""
    a1 = sigmoid(X @ net.W1 + net.b1)  # (S, N, h)
    a2 = sigmoid(a1 @ net.W2 + net.b2)  # (S, N, 1)
    return a1, a2


def predict(net: Network) -> np.ndarray:
    """The S networks' outputs on the four points of `X`, ``(S, N, 1)``."""
    return _forward(net)[1]


def gradients(net: Network) -> tuple[Network, np.ndarray]:
    """The gradient of L = 1/2 sum (a2 - y)^2 of each network, and the outputs ``(S, N, 1)``."""
    a1, a2 = _forward(net)
    delta2 = (a2 - Y) * a2 * (1.0 - a2)  # (S, N, 1) = dL/dz2
    delta1 = (delta2 @ net.W2.transpose(0, 2, 1)) * a1 * (1.0 - a1)  # (S, N, h) = dL/dz1
    gradient = Network(
        W1=X.T @ delta1,  # (S, 2, h)
        b1=delta1.sum(axis=1, keepdims=True),
        W2=a1.transpose(0, 2, 1) @ delta2,  # (S, h, 1)
        b2=delta2.sum(axis=1, keepdims=True),
    )
    return gradient, a2


def train(
    net: Network, lr: float, epochs: int, *, bias: bool = True, record: Sequence[int] = ()
) -> np.ndarray:
    """Train in place by full-batch gradient descent; the mean squared errors ``(len(record), S)``.

    ``record`` lists ascending epochs (numbers of updates made) at which the error is kept.
    Without ``bias`` the biases stay what they are.
    """
    wanted, kept = set(record), []
    for epoch in range(epochs + 1):
        gradient, a2 = gradients(net)
        if epoch in wanted:
            kept.append(((a2 - Y) ** 2).mean(axis=(1, 2)))  # (S,)
        if epoch == epochs:
            break
        net.W1 -= lr * gradient.W1
        net.W2 -= lr * gradient.W2
        if bias:
            net.b1 -= lr * gradient.b1
            net.b2 -= lr * gradient.b2
    return np.array(kept)


def curve_epochs(epochs: int) -> list[int]:
    """Up to 41 epochs from 0 to ``epochs``, spaced evenly on a logarithmic axis."""
    points = np.unique(np.round(np.geomspace(1, epochs, 40)).astype(int))
    return [0, *points.tolist()]


def run_unit(unit: Unit, advance: Advance) -> Outcome:
    """Train the unit's networks and measure them; the curve is the median over seeds."""
    hyper = unit.hyper
    parts = [unit.seeds[i : i + 50] for i in range(0, len(unit.seeds), 50)]  # so the bar moves
    metrics: dict[str, list[np.ndarray]] = {}
    curves, epochs = [], curve_epochs(hyper["epochs"])
    for seeds in parts:
        net = initial_networks(seeds, hyper["hidden"], hyper["start"], hyper["std"])
        a1 = _forward(net)[0]
        slope = (a1 * (1.0 - a1)).mean(axis=(1, 2))  # (S,) mean of sigmoid'(z1) before training
        curve = train(net, hyper["lr"], hyper["epochs"], bias=hyper["bias"], record=epochs)
        error = np.abs(predict(net) - Y).max(axis=(1, 2))  # (S,) of the worst of four points
        part = {
            "solved": (error < 0.5).astype(int),
            "within_0.1": (error < 0.1).astype(int),
            "mse_start": curve[0],
            "mse_final": curve[-1],
            "worst_error": error,
            "hidden_slope_start": slope,
        }
        for name, values in part.items():
            metrics.setdefault(name, []).append(values)
        curves.append(curve)
        advance(len(seeds))
    mse = np.concatenate(curves, axis=1)  # (len(epochs), S)
    low, middle, high = np.quantile(mse, [0.1, 0.5, 0.9], axis=1)
    return Outcome(
        per_seed={name: np.concatenate(parts).tolist() for name, parts in metrics.items()},
        whole={
            "curve_epoch": epochs,
            "curve_mse_10th_percentile": low,
            "curve_mse_median": middle,
            "curve_mse_90th_percentile": high,
        },
    )


def figures(results: list[UnitResult]) -> list[Figure]:
    """Per configuration: both rates with their 95 % Wilson intervals, and the final errors."""
    rows = []
    for result in results:
        name = f"xor-seeds.{result.unit}"
        for metric in ("solved", "within_0.1"):
            hits, trials = int(sum(result.per_seed[metric])), len(result.seeds)
            low, high = wilson(hits, trials)
            rows += [
                Figure(f"{name}.{metric}", 100 * hits / trials, "%"),
                Figure(f"{name}.{metric}.wilson_low", 100 * low, "%"),
                Figure(f"{name}.{metric}.wilson_high", 100 * high, "%"),
            ]
        final = result.per_seed["mse_final"]
        rows += [
            Figure(f"{name}.mse_final.median", float(np.median(final)), "1"),
            Figure(f"{name}.mse_final.worst", float(np.max(final)), "1"),
        ]
    return rows


def _unit(name: str, title: str, **changes: Any) -> Unit:
    """A configuration: the source's 2-4-1 network, with the named settings changed."""
    hyper = {"hidden": 4, "bias": True, "lr": 0.1, "epochs": 10_000, "start": "normal", "std": 1.0}
    if unknown := set(changes) - set(hyper):
        raise TypeError(f"unknown settings {sorted(unknown)}: known are {sorted(hyper)}")
    hyper |= changes
    return Unit(name, title, tuple(range(200)), hyper, work=hyper["epochs"] / 10_000)


_UNITS = (
    _unit("2-4-1", "2-4-1, the source's setting"),
    _unit("2-2-1", "2-2-1", hidden=2),
    _unit("2-3-1", "2-3-1", hidden=3),
    _unit("2-8-1", "2-8-1", hidden=8),
    _unit("2-2-1-no-bias", "2-2-1 without biases", hidden=2, bias=False),
    _unit(
        "2-2-1-no-bias-long",
        "2-2-1 without biases, 100,000 epochs",
        hidden=2,
        bias=False,
        epochs=100_000,
    ),
    _unit("2-4-1-no-bias", "2-4-1 without biases", bias=False),
    _unit("all-equal", "all weights equal at the start", start="all-equal"),
    _unit("equal-units", "equal hidden units at the start", start="equal-units"),
    _unit("std-3", "weights from N(0, 3²)", std=3.0),
    _unit("std-10", "weights from N(0, 10²)", std=10.0),
    _unit("std-30", "weights from N(0, 30²)", std=30.0),
    _unit("std-0.1", "weights from N(0, 0.1²)", std=0.1),
    _unit("lr-0.01", "learning rate 0.01", lr=0.01),
    _unit("lr-1", "learning rate 1", lr=1.0),
    _unit("lr-10", "learning rate 10", lr=10.0),
    _unit("lr-30", "learning rate 30", lr=30.0),
    _unit("lr-100", "learning rate 100", lr=100.0),
)

_COLUMNS = (
    Column("all four right", "solved", "rate"),
    Column("all within 0.1", "within_0.1", "rate"),
    Column("final MSE, median", "mse_final", "median"),
    Column("final MSE, worst", "mse_final", "max"),
)

RECIPE = register(
    Recipe(
        name="xor-seeds",
        title="XOR over 200 seeds",
        description=(
            "How often small sigmoid networks learn XOR by full-batch gradient descent "
            "(loss ½Σ(a−y)², learning rate 0.1, 10,000 epochs, weights from N(0, 1), biases zero, "
            "unless a row says otherwise). Rates with their 95 % Wilson intervals."
        ),
        version=1,
        units=_UNITS,
        run_unit=run_unit,
        figures=figures,
        tables=(
            Table(
                "Width and bias",
                "The number of hidden units, and what the biases are worth.",
                (
                    "2-4-1",
                    "2-2-1",
                    "2-3-1",
                    "2-8-1",
                    "2-2-1-no-bias",
                    "2-2-1-no-bias-long",
                    "2-4-1-no-bias",
                ),
                _COLUMNS,
            ),
            Table(
                "The start",
                "2-4-1 networks whose first weights are equal, too large or too small; the slope "
                "is the mean of σ′(z) over the hidden units before the first step.",
                ("2-4-1", "all-equal", "equal-units", "std-0.1", "std-3", "std-10", "std-30"),
                (*_COLUMNS, Column("slope at the start", "hidden_slope_start", "mean")),
            ),
            Table(
                "The step",
                "2-4-1 networks with learning rates from too small to too large.",
                ("lr-0.01", "2-4-1", "lr-1", "lr-10", "lr-30", "lr-100"),
                _COLUMNS,
            ),
        ),
    )
)
