"""Recipe ``cifar10-cpu``: what two cores reach on CIFAR-10 in three and in fifteen minutes.

Does: train a small network (`vision_common.FastNet`) on all 50,000 training pictures, three seeds
under three minutes and three under fifteen, and read each final network out on the test set once.
Does not: choose an epoch, a seed or a setting by the test set, use data from elsewhere, or train on
several machines.

Protocol. Every hyper-parameter was chosen beforehand on a validation part: 5,000 of the 50,000
training pictures, trained on the other 45,000 (``fit(pictures(validation=True), …)``). The numbers
here come from trainings on all 50,000, as in the works we compare with; the last weights are read
out, once. ``accuracy`` is with six views of each test picture (flip and one-pixel shifts),
``accuracy_flip`` with two, ``accuracy_plain`` with one. ``seconds`` is wall time from pictures in
memory to the test accuracy, normalising and whitening included; reading and unpacking the files
comes on top once per unit and is in the unit's own ``seconds``. The short unit's number of epochs
was cut from 3.5 to 3 after a first run, in which one of three seeds took 183.6 seconds: the clock
decided, not the accuracy (which was 92.33 % on the mean, more than now).

Source: Jordan (2024), "94% on CIFAR-10 in 3.29 seconds on a single GPU", and cifar10-airbench
(94.01 % in 2.59 s on an A100: 8 epochs in batches of 2,000). Changed: batches of 1,000, bfloat16
autocast with float32 weights, the whitening's bias learns to the end, the statistics of the norms.
The course source's figure to compare with: 83.57 % after 208 epochs and 79.9 minutes on an M1
Ultra (83.67 % after 277 epochs and 636.5 minutes on 32 virtual cores).
Data: Krizhevsky (2009), "Learning multiple layers of features from tiny images".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

# torch is imported by the functions, so that the command line can list the recipes at once

__all__ = ["RECIPE", "fit", "pictures", "run_unit", "train"]

VALIDATION = 500  # pictures per class, where settings were chosen
_SPLIT_SEED = 2026


def pictures(validation: bool) -> tuple[Any, Any, Any, Any]:
    """Training and test pictures; with ``validation`` both come from the training set."""
    from xor2gpt import data
    from xor2gpt.recipes.vision_common import split_indices

    found = data.load("cifar10")
    train, test = found.train, found.test
    if not validation:
        return train.images, train.labels, test.images, test.labels
    kept, held = split_indices(train.labels, (5000 - VALIDATION, VALIDATION), _SPLIT_SEED)
    return train.images[kept], train.labels[kept], train.images[held], train.labels[held]


def train(
    images: Any, labels: Any, seed: int, hyper: dict[str, Any], folder: Path | None
) -> tuple[Any, float]:
    """A `FastNet` trained on images uint8 (N, 3, 32, 32) and labels (N,), and its last loss.

    It goes on from the checkpoint in ``folder`` where there is one.
    """
    import torch

    from xor2gpt import training as tr
    from xor2gpt.recipes import vision_common as vc
    from xor2gpt.vision import augment

    images, labels = vc.prepared(images, augment.CIFAR10), torch.as_tensor(labels)
    batches = vc.FlippedAndShifted(
        images, labels, batch_size=hyper["batch"], seed=seed, shift=hyper["shift"]
    )
    model = vc.FastNet(hyper["widths"], seed=seed)
    model.whiten_by(images[:5000])
    model = model.to(memory_format=torch.channels_last)
    steps = round(hyper["epochs"] * batches.steps_per_epoch)
    trainer = tr.Trainer(
        model,
        vc.smoothed_loss(hyper["label_smoothing"]),
        batches,
        optimizer=vc.fast_optimizers(model, hyper),
        schedule=tr.flat_then_linear(steps, steps),
        steps=steps,
        precision="auto",
        folder=folder,
        checkpoint_every=20,
        seed=seed,
        progress=False,
    )
    return model, trainer.fit().rows[-1]["loss"]


def fit(
    pictures: tuple[Any, Any, Any, Any], seed: int, hyper: dict[str, Any], folder: Path | None
) -> tuple[dict[str, float], dict[str, Any]]:
    """Train one seed and read it out: ``(metrics, extras)``.

    ``pictures`` are training images uint8 (N, 3, 32, 32), labels (N,), test images, test labels.
    """
    import torch

    from xor2gpt.recipes import vision_common as vc
    from xor2gpt.vision import augment

    model, loss = train(pictures[0], pictures[1], seed, hyper, folder)
    test, truth = vc.prepared(pictures[2], augment.CIFAR10), torch.as_tensor(pictures[3])
    outputs = {view: vc.logits(model, test, view) for view in vc.VIEWS}
    right = outputs["flip-shift"].argmax(dim=1) == truth
    return (
        {
            "accuracy": vc.accuracy(outputs["flip-shift"], truth),
            "accuracy_flip": vc.accuracy(outputs["flip"], truth),
            "accuracy_plain": vc.accuracy(outputs["plain"], truth),
            "loss_train": loss,
            "epochs": hyper["epochs"],
        },
        {
            "weights_sha256": vc.digest(model.state_dict()),
            "accuracy_per_class": [
                float(right[truth == label].double().mean()) for label in range(10)
            ],
        },
    )


def run_unit(unit: Unit, advance: Advance, scratch: Path) -> Outcome:
    """Train and test every seed of the unit."""
    from xor2gpt.recipes.vision_common import over_seeds

    found = pictures(validation=False)
    return over_seeds(
        unit, advance, scratch, lambda seed, hyper, folder: fit(found, seed, hyper, folder)
    )


def figures(results: list[UnitResult]) -> list[Figure]:
    """Mean, sd, minimum and maximum over seeds, and the slowest seed in minutes."""
    from xor2gpt.recipes.vision_common import seed_figures

    shown = {
        "accuracy": (100, "%"),
        "accuracy_flip": (100, "%"),
        "accuracy_plain": (100, "%"),
        "seconds": (1, "s"),
        "cpu_seconds": (1, "s"),
    }
    rows = []
    for result in results:
        name = f"cifar10.{result.unit.replace('-', '_')}"
        rows += seed_figures(name, result, shown)
        rows.append(Figure(f"{name}.epochs", result.hyper["epochs"], "1"))
    return rows


_SEEDS = (0, 1, 2)
_COMMON = {
    "widths": (64, 256, 256),
    "batch": 1000,
    "shift": 2,
    "label_smoothing": 0.2,
    "momentum_filters": 0.6,
    "lr_biases": 53.0,
    "lr_head": 670.0,
    "decay": 0.002,
}

RECIPE = register(
    Recipe(
        name="cifar10-cpu",
        title="CIFAR-10 on two cores",
        description=(
            "A small network with whitened input, orthogonalised updates and six views at test "
            "time, on all 50,000 training pictures (mean ± sd over 3 seeds, 10,000 test pictures). "
            "Settings were chosen on a validation part of the training set."
        ),
        version=1,
        units=(
            Unit(
                "three-minutes",
                "under 3 minutes",
                _SEEDS,
                {**_COMMON, "epochs": 3, "lr_filters": 0.24},
                1.0,
            ),
            Unit(
                "fifteen-minutes",
                "under 15 minutes",
                _SEEDS,
                {**_COMMON, "epochs": 12, "lr_filters": 0.12},
                3.0,
            ),
        ),
        run_unit=run_unit,
        figures=figures,
        tables=(
            Table(
                "Accuracy within a time limit",
                "Six views: each test picture, its mirror image, and both shifted by one pixel "
                "along the diagonal. The course source reports 83.57 % after 208 epochs and 79.9 "
                "minutes on an M1 Ultra (one seed, one view).",
                ("three-minutes", "fifteen-minutes"),
                (
                    Column("test accuracy, six views, %", "accuracy", "mean", 100, 2),
                    Column("lowest seed, %", "accuracy", "min", 100, 2),
                    Column("two views, %", "accuracy_flip", "mean", 100, 2),
                    Column("one view, %", "accuracy_plain", "mean", 100, 2),
                    Column("epochs", "epochs", "max", 1, 0),
                    Column("seconds a seed", "seconds", "mean", 1, 0),
                    Column("slowest, s", "seconds", "max", 1, 0),
                ),
            ),
        ),
        threads=2,
        keeps_checkpoints=True,
    )
)
