"""Recipe ``spam-generated``: which part to train, which token to read, how to balance.

Does: classify the course's generated messages (`xor2gpt.data.synthetic.messages`, difficulty 0.4,
13 % spam, planted copies) by the majority, by words and characters with logistic regression, and by
the course's small GPT fine-tuned: head alone, last block, everything, or from random weights; with
the last token, the first token or the mean; with ham left out until the classes are even, or with
class weights. Copies stay on one side of every split.
Does not: choose anything on the test part, or use messages of the pretraining (their seeds begin
at 10,000; these begin at 0).

A *seed* draws messages, split, the ham that is left out, first weights and batches. The test part
is read twice: as it is (13 to 16 % spam), and balanced by leaving ham out.

Two in ten messages belong to both classes, and one in five of those has the request of the other
class: about 4 % of all messages cannot be told but by chance, so 96 % is about the ceiling.
"""

from __future__ import annotations

from pathlib import Path
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
from xor2gpt.recipes.spam_common import (
    SPAM,
    Parts,
    difference_figures,
    fit_counts,
    fit_gpt,
    identity,
    over_seeds,
    pretrained,
    scores,
)
from xor2gpt.recipes.stats import mean_sd

__all__ = ["RECIPE", "run_unit", "split"]

MESSAGES = 2_400
DIFFICULTY = 0.4
SHARES = (0.5, 0.1, 0.4)


def split(seed: int, number: int = MESSAGES) -> tuple[tuple[str, ...], np.ndarray, Parts]:
    """Messages, labels and parts of this seed; no group of copies is in two parts."""
    from xor2gpt.data.synthetic.messages import messages
    from xor2gpt.finetune import group_split

    made = messages(number, seed=seed, difficulty=DIFFICULTY)
    parts = group_split(made.labels, made.groups, shares=SHARES, seed=seed)
    return made.texts, made.labels, Parts(*parts)


def _fit(seed: int, hyper: dict[str, Any], folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Fit one method on one split; its scores on the test part, as it is and balanced."""
    from xor2gpt.evaluate import average_precision
    from xor2gpt.finetune import undersample

    texts, labels, parts = split(seed, hyper["messages"])
    train = parts.train
    if hyper["balance"] == "undersampling":
        train = train[undersample(labels[train], seed=seed)]
    even = undersample(labels[parts.test], seed=seed)  # the same for all methods
    truth = labels[parts.test]
    learned = [texts[i] for i in train]
    extras: dict[str, Any] = {
        "sizes": [len(train), len(parts.test), len(even)],
        "spam": [int(labels[train].sum()), int(truth.sum()), int(truth[even].sum())],
    }
    if hyper["method"] == "majority":
        spam_share = float(np.mean(labels[parts.train] == SPAM))
        p = np.full(len(truth), spam_share)
        return {
            "accuracy": scores(p[even], truth[even])["accuracy"],
            "accuracy_as_it_is": scores(p, truth)["accuracy"],
        }, extras
    if hyper["method"] == "gpt":
        if hyper["balance"] == "none":  # as many steps as with the ham left out
            even_train = undersample(labels[train], seed=seed)
            hyper = {**hyper, "epochs": hyper["epochs"] * len(even_train) / len(train)}
        spam = fit_gpt(hyper, seed, learned, labels[train], folder)
        extras |= pretrained()[2]
    else:
        spam = fit_counts(hyper, learned, labels[train])
    p = spam([texts[i] for i in parts.test])
    whole, balanced = scores(p, truth), scores(p[even], truth[even])
    return {
        "accuracy": balanced["accuracy"],
        "loss": balanced["loss"],
        "accuracy_as_it_is": whole["accuracy"],
        "precision": whole["precision"],
        "recall": whole["recall"],
        "average_precision": average_precision(p, truth),
    }, extras


def run_unit(unit: Unit, advance: Advance, scratch: Path) -> Outcome:
    """Fit and test every seed of the unit; a kill goes on inside the training."""
    return over_seeds(unit, advance, scratch, _fit)


_PERCENT = ("accuracy", "accuracy_as_it_is", "precision", "recall", "average_precision")


def figures(results: list[UnitResult]) -> list[Figure]:
    """Scores in %, CPU-seconds, and the difference to the row that a unit is compared with."""
    found = {result.unit: result for result in results}
    rows: list[Figure] = []
    for result in results:
        for metric in (*_PERCENT, "loss", "cpu_seconds"):
            if metric not in result.per_seed:
                continue
            scale, kind = {"loss": (1.0, "nats"), "cpu_seconds": (1.0, "s")}.get(
                metric, (100.0, "%")
            )
            mean, sd = mean_sd([scale * value for value in result.per_seed[metric]])
            name = f"spam-generated.{result.unit}.{metric}"
            rows += [Figure(name, mean, kind), Figure(f"{name}.sd", sd, kind)]
        other = result.hyper.get("against")
        if other in found:
            rows += difference_figures(
                f"spam-generated.{result.unit}.minus_{other}",
                result.per_seed["accuracy"],
                found[other].per_seed["accuracy"],
                SHARES[2] / SHARES[0],
            )
    return rows


# --- the recipe -----------------------------------------------------------------------------------

SEEDS = tuple(range(5))
_DATA = {"messages": MESSAGES, "balance": "undersampling"}
_TEXT = {"sublinear_tf": True, "lowercase": True}
_WORDS = {
    "method": "words",
    "vectorizer": {**_TEXT, "ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]"},
    "C": 3.0,
}
_CHARS = {
    "method": "chars",
    "vectorizer": {**_TEXT, "analyzer": "char_wb", "ngram_range": (1, 5)},
    "C": 10.0,
}
_GPT = {
    "method": "gpt",
    "train": "all",
    "pooling": "mean",
    "epochs": 3,
    "batch_size": 16,
    "max_length": 256,
    "optimizer": {"name": "muon", "lr": 0.04, "adam_lr": 4e-3},
}
_HEAD = {"train": "head", "optimizer": {"name": "adamw", "lr": 0.03, "weight_decay": 0.0}}


def _units() -> tuple[Unit, ...]:
    ours = {**_DATA, **_GPT, **identity("pretrained"), "against": "all"}
    alone = {name: value for name, value in ours.items() if name != "against"}
    weighted = {"balance": "none", "class_weight": "balanced"}
    return (
        Unit("majority", "majority", SEEDS, {**_DATA, "method": "majority"}, 0.1),
        Unit("words", "words", SEEDS, {**_DATA, **_WORDS, "against": "chars"}, 0.1),
        Unit("chars", "characters", SEEDS, {**_DATA, **_CHARS}, 0.2),
        Unit("all", "GPT: everything, mean", SEEDS, alone, 5),
        Unit("last-block", "GPT: last block, mean", SEEDS, {**ours, "train": "last-block"}, 4),
        Unit("head", "GPT: head, mean", SEEDS, {**ours, **_HEAD}, 4),
        Unit(
            "random",
            "GPT: everything, mean, random start",
            SEEDS,
            {**_DATA, **_GPT, **identity("random"), "against": "all"},
            5,
        ),
        Unit("last-token", "GPT: everything, last token", SEEDS, {**ours, "pooling": "last"}, 5),
        Unit("first-token", "GPT: everything, first token", SEEDS, {**ours, "pooling": "first"}, 5),
        Unit(
            "weights",
            "GPT: class weights, as many steps",
            SEEDS,
            {**ours, **weighted},
            5,
        ),
        Unit(
            "chars-weights",
            "characters: class weights",
            SEEDS,
            {**_DATA, **_CHARS, **weighted, "against": "chars"},
            0.3,
        ),
    )


_UNITS = _units()
_NAMES = tuple(unit.name for unit in _UNITS)
_COLUMNS = (
    Column("accuracy, balanced, %", "accuracy", "mean", 100, 1),
    Column("difference, points", "accuracy", "gain", 100, 1),
    Column("accuracy as it is, %", "accuracy_as_it_is", "mean", 100, 1),
    Column("precision as it is, %", "precision", "mean", 100, 1),
    Column("recall as it is, %", "recall", "mean", 100, 1),
    Column("average precision, %", "average_precision", "mean", 100, 1),
    Column("CPU-s", "cpu_seconds", "mean", 1, 1),
)


def _table(title: str, text: str, names: tuple[str, ...]) -> Table:
    return Table(title, text, names, _COLUMNS)


RECIPE = register(
    Recipe(
        name="spam-generated",
        title="Spam in generated messages",
        description=(
            f"{MESSAGES:,} messages of difficulty {DIFFICULTY}, 13 % of the originals spam; half "
            "for training, 40 % for the test, copies on one side (mean ± sd over 5 draws that all "
            "rows share). Differences are in balanced accuracy, on the same draws."
        ),
        version=1,
        units=_UNITS,
        run_unit=run_unit,
        figures=figures,
        tables=(
            _table(
                "methods",
                "Words are compared with characters, the random start with the pretrained one.",
                ("majority", "words", "chars", "all", "random"),
            ),
            _table(
                "which layers to train",
                "Compared with training everything.",
                ("head", "last-block", "all"),
            ),
            _table(
                "which token to read",
                "A causal model's first place has read the first token alone. Compared with the "
                "mean.",
                ("all", "last-token", "first-token"),
            ),
            _table(
                "how to balance",
                "Ham left out until the classes are even, or all of it with class weights; "
                "compared with leaving out.",
                ("all", "weights", "chars", "chars-weights"),
            ),
        ),
        keeps_checkpoints=True,
    )
)
