"""Recipe ``iris-splits``: what an accuracy on 30 test flowers is worth.

Does: measure softmax regression, a 4-10-3 network, scikit-learn's logistic regression and k-means
over 100 stratified 80/20 splits of Iris; the effect of fitting the scaler on all flowers; and, on
pure noise, the effect of choosing features before the split.
Does not: tune anything, stop early, or report the best of several runs.

Seed s fixes the split (``train_test_split(test_size=0.2, stratify=y, random_state=s)``), the first
weights and the order of the batches. The scaler is fitted on the training part unless a unit says
otherwise. The network and its settings (ReLU, Adam 0.01, batches of 16, 100 epochs, mean
cross-entropy) are the course source's.
Data: R. A. Fisher (1936), "The use of multiple measurements in taxonomic problems"; the copy that
scikit-learn ships. The feature-choice experiment follows Ambroise and McLachlan (2002), "Selection
bias in gene extraction on the basis of microarray gene-expression data", PNAS 99.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
from xor2gpt.recipes.stats import mean_sd, wilson

if TYPE_CHECKING:
    import torch

# torch and scikit-learn take seconds to import: the functions below import them when they run,
# so that the command line can list the recipes at once.

__all__ = ["RECIPE", "best_label_accuracy", "fit_torch", "noise_accuracy", "split"]


@functools.cache
def _iris() -> tuple[np.ndarray, np.ndarray]:
    """``(X (150, 4) in cm, y (150,))``, as scikit-learn ships them."""
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True)


def split(
    seed: int, scaler_sees: str = "train"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One stratified split, standardised: ``(X_train (120, 4), X_test (30, 4), y_train, y_test)``.

    ``scaler_sees`` is ``"train"`` (right) or ``"all"`` (the leak).
    """
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = _iris()
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.2, stratify=y, random_state=seed
    )
    scaler = StandardScaler().fit(X_train if scaler_sees == "train" else X)
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


# --- the two networks -----------------------------------------------------------------------------


def _model(hidden: int | None) -> torch.nn.Module:
    """Softmax regression (``hidden=None``, 15 parameters) or a 4-hidden-3 ReLU network."""
    from torch import nn

    if hidden is None:
        return nn.Linear(4, 3)
    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 3))


def fit_torch(
    X_train: np.ndarray, y_train: np.ndarray, seed: int, hyper: dict[str, Any]
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """Train the model that ``hyper`` describes; its ``predict`` and the last epoch's mean loss.

    ``predict`` maps ``(n, 4)`` standardised measurements to ``(n,)`` class indices.
    """
    import torch
    from torch.nn.functional import cross_entropy

    # a generator of its own cannot reach nn.Linear's initialisation, so the global one is seeded,
    # and put back afterwards
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(hyper["hidden"])
        kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        optimizer = kinds[hyper["optimizer"]](model.parameters(), lr=hyper["lr"])
        X = torch.tensor(X_train, dtype=torch.float32)  # (120, 4)
        y = torch.tensor(y_train, dtype=torch.long)  # (120,)
        loss_sum = 0.0
        for _ in range(hyper["epochs"]):
            loss_sum = 0.0
            for batch in torch.randperm(len(y)).split(hyper["batch"]):
                loss = cross_entropy(model(X[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss_sum += loss.item() * len(batch)

    def predict(inputs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.tensor(inputs, dtype=torch.float32)).argmax(dim=1).numpy()

    return predict, loss_sum / len(y_train)


def _run_network(seed: int, hyper: dict[str, Any]) -> dict[str, float]:
    """One split, one training. With ``hyper["split"]`` set, only weights and batches change."""
    split_seed = seed if hyper["split"] is None else hyper["split"]
    X_train, X_test, y_train, y_test = split(split_seed)
    predict, loss = fit_torch(X_train, y_train, seed, hyper)
    accuracy = float((predict(X_test) == y_test).mean())
    return {
        "accuracy": accuracy,
        "over_90": int(accuracy > 0.9),
        "accuracy_train": float((predict(X_train) == y_train).mean()),
        "loss_train": loss,
    }


# --- baselines and leaks --------------------------------------------------------------------------


def _run_logistic(seed: int, hyper: dict[str, Any]) -> dict[str, float]:
    """scikit-learn's logistic regression, with the scaler fitted as it should be."""
    from sklearn.linear_model import LogisticRegression

    X_train, X_test, y_train, y_test = split(seed)
    model = LogisticRegression(C=hyper["C"], max_iter=hyper["max_iter"]).fit(X_train, y_train)
    accuracy = float(model.score(X_test, y_test))
    return {
        "accuracy": accuracy,
        "over_90": int(accuracy > 0.9),
        "accuracy_train": float(model.score(X_train, y_train)),
    }


def _run_scaling_leak(seed: int, hyper: dict[str, Any]) -> dict[str, float]:
    """The same split with the scaler fitted on the training part and on all flowers."""
    from sklearn.linear_model import LogisticRegression

    accuracy = {}
    for sees in ("train", "all"):
        X_train, X_test, y_train, y_test = split(seed, sees)
        model = LogisticRegression(C=hyper["C"], max_iter=hyper["max_iter"]).fit(X_train, y_train)
        accuracy[sees] = float(model.score(X_test, y_test))
    return {
        "honest": accuracy["train"],
        "leaky": accuracy["all"],
        "gain": accuracy["all"] - accuracy["train"],
    }


def noise_accuracy(seed: int, choose_on: str, hyper: dict[str, Any]) -> float:
    """Test accuracy on pure noise when the best features are chosen on ``"all"`` or ``"train"``.

    The features are N(0, 1) and know nothing of the three classes of 50, so that 1/3 is what an
    honest test shows.
    """
    from sklearn.feature_selection import SelectKBest, f_classif
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(3), 50)  # (150,)
    X = rng.normal(size=(150, hyper["features"]))
    rows_train, rows_test = train_test_split(
        np.arange(150), test_size=0.2, stratify=y, random_state=seed
    )
    rows = rows_train if choose_on == "train" else np.arange(150)
    chosen = SelectKBest(f_classif, k=hyper["keep"]).fit(X[rows], y[rows]).get_support()
    model = LogisticRegression(max_iter=hyper["max_iter"])
    model.fit(X[rows_train][:, chosen], y[rows_train])
    return float(model.score(X[rows_test][:, chosen], y[rows_test]))


def _run_choice_leak(seed: int, hyper: dict[str, Any]) -> dict[str, float]:
    """The same noise and split with the features chosen inside the training part and before."""
    honest = noise_accuracy(seed, "train", hyper)
    leaky = noise_accuracy(seed, "all", hyper)
    return {"honest": honest, "leaky": leaky, "gain": leaky - honest}


def best_label_accuracy(clusters: np.ndarray, y: np.ndarray) -> float:
    """The share of items that are right under the best one-to-one map of clusters to classes."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(y, clusters)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / len(y))


def _run_kmeans(seed: int, hyper: dict[str, Any]) -> dict[str, float]:
    """k-means on all 150 standardised flowers; it sees no label, so there is nothing to split."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score
    from sklearn.preprocessing import StandardScaler

    X, y = _iris()
    X = StandardScaler().fit_transform(X)
    model = KMeans(hyper["clusters"], n_init=hyper["n_init"], random_state=seed).fit(X)
    return {
        "ari": float(adjusted_rand_score(y, model.labels_)),
        "accuracy": best_label_accuracy(model.labels_, y),
        "inertia": float(model.inertia_),
    }


# --- the recipe -----------------------------------------------------------------------------------

_KINDS = {
    "network": _run_network,
    "logistic": _run_logistic,
    "scaling-leak": _run_scaling_leak,
    "choice-leak": _run_choice_leak,
    "kmeans": _run_kmeans,
}


def run_unit(unit: Unit, advance: Advance) -> Outcome:
    """Run the unit's experiment once per seed."""
    run_one = _KINDS[unit.hyper["kind"]]
    per_seed: dict[str, list[float]] = {}
    for seed in unit.seeds:
        for metric, value in run_one(seed, dict(unit.hyper)).items():
            per_seed.setdefault(metric, []).append(value)
        advance(1)
    return Outcome(per_seed)


_IN_PERCENT = {"accuracy", "accuracy_train", "honest", "leaky", "gain"}


def figures(results: list[UnitResult]) -> list[Figure]:
    """Mean, sd, minimum and maximum of every metric; of ``over_90`` the rate and its interval."""
    rows = []
    for result in results:
        for metric, values in result.per_seed.items():
            name = f"iris-splits.{result.unit}.{metric}"
            if metric == "over_90":
                low, high = wilson(int(sum(values)), len(values))
                rows += [
                    Figure(name, 100 * sum(values) / len(values), "%"),
                    Figure(f"{name}.wilson_low", 100 * low, "%"),
                    Figure(f"{name}.wilson_high", 100 * high, "%"),
                ]
                continue
            scale, unit = (100, "%") if metric in _IN_PERCENT else (1, "1")
            mean, sd = mean_sd(values)
            shown = {"mean": mean, "sd": sd, "min": min(values), "max": max(values)}
            rows += [Figure(f"{name}.{how}", scale * x, unit) for how, x in shown.items()]
    return rows


_SEEDS = tuple(range(100))
_TRAINING = {"optimizer": "adam", "lr": 0.01, "batch": 16, "epochs": 100, "split": None}
_NETWORK = {"kind": "network", **_TRAINING}
_LOGISTIC = {"C": 1.0, "max_iter": 1000}

_UNITS = (
    Unit("softmax-regression", "softmax regression", _SEEDS, {**_NETWORK, "hidden": None}, 8),
    Unit("mlp-4-10-3", "4-10-3 network", _SEEDS, {**_NETWORK, "hidden": 10}, 10),
    Unit(
        "mlp-4-10-3-sgd",
        "4-10-3 network, SGD instead of Adam",
        _SEEDS,
        {**_NETWORK, "hidden": 10, "optimizer": "sgd"},
        7,
    ),
    Unit(
        "mlp-4-10-3-one-split",
        "4-10-3 network, always split 42",
        _SEEDS,
        {**_NETWORK, "hidden": 10, "split": 42},
        10,
    ),
    Unit(
        "logistic-regression",
        "logistic regression (scikit-learn)",
        _SEEDS,
        {"kind": "logistic", **_LOGISTIC},
        0.5,
    ),
    Unit(
        "kmeans-1",
        "k-means, 1 start",
        _SEEDS,
        {"kind": "kmeans", "clusters": 3, "n_init": 1},
        0.2,
    ),
    Unit(
        "kmeans-10",
        "k-means, best of 10 starts",
        _SEEDS,
        {"kind": "kmeans", "clusters": 3, "n_init": 10},
        1,
    ),
    Unit(
        "scaling-leak",
        "scaler fitted before the split (Iris)",
        _SEEDS,
        {"kind": "scaling-leak", **_LOGISTIC},
        1,
    ),
    Unit(
        "choice-leak",
        "20 of 1,000 noise features chosen before the split",
        _SEEDS,
        {"kind": "choice-leak", "features": 1000, "keep": 20, "max_iter": 1000},
        1.5,
    ),
)

_ACCURACY = (
    Column("test accuracy, %", "accuracy", "mean", 100, 1),
    Column("min, %", "accuracy", "min", 100, 1),
    Column("max, %", "accuracy", "max", 100, 1),
    Column("over 90 %", "over_90", "rate"),
    Column("training accuracy, %", "accuracy_train", "mean", 100, 1),
    Column("last training loss", "loss_train", "mean"),
)

RECIPE = register(
    Recipe(
        name="iris-splits",
        title="Iris over 100 splits",
        description=(
            "What an accuracy on 30 test flowers is worth: 100 stratified 80/20 splits, the "
            "scaler fitted on the training part (mean ± sd over splits; one flower is 3.3 points)."
        ),
        version=1,
        units=_UNITS,
        run_unit=run_unit,
        figures=figures,
        tables=(
            Table(
                "Classifiers",
                "Adam or SGD with learning rate 0.01, batches of 16, 100 epochs. The row "
                "'always split 42' changes only first weights and batch order.",
                (
                    "softmax-regression",
                    "mlp-4-10-3",
                    "mlp-4-10-3-sgd",
                    "mlp-4-10-3-one-split",
                    "logistic-regression",
                ),
                _ACCURACY,
            ),
            Table(
                "k-means",
                "All 150 flowers, standardised, 100 random states; accuracy under the best "
                "one-to-one map of clusters to species.",
                ("kmeans-1", "kmeans-10"),
                (
                    Column("adjusted Rand index", "ari", "mean", 1, 3),
                    Column("lowest", "ari", "min", 1, 3),
                    Column("accuracy, %", "accuracy", "mean", 100, 1),
                    Column("lowest, %", "accuracy", "min", 100, 1),
                    Column("inertia", "inertia", "mean", 1, 1),
                ),
            ),
            Table(
                "Two leaks",
                "Logistic regression on the same splits with and without the leak; the gain is "
                "the paired difference. The noise has three classes, so that chance is 33.3 %.",
                ("scaling-leak", "choice-leak"),
                (
                    Column("honest accuracy, %", "honest", "mean", 100, 1),
                    Column("leaky accuracy, %", "leaky", "mean", 100, 1),
                    Column("gain, points", "gain", "mean", 100, 2),
                ),
            ),
        ),
    )
)
