"""Recipe ``cifar10-ablation``: from the source's recipe to today's, one change at a time.

Does: train a small ResNet on 5,000 CIFAR-10 pictures for 16 epochs, in a ladder of settings that
each add one change to the row before; measure first what changes when only the seed does; try some
other choices against the last row of the ladder; read every training out in four ways (with and
without averaged weights, with and without the mirror image).
Does not: touch the test set (accuracies are on 10,000 other pictures of the training set), tune a
row, or claim that gains add up: each is the gain at its place in the ladder, at this budget.

Every row sees the same 5,000 pictures (500 of each class) as often, in batches of 128; seed s draws
the first weights, the order and the augmentation. Rows with the same seed are therefore paired, and
a row's gain is the mean of paired differences. The budget is the number of pictures seen; where a
row costs a different number of multiply-adds its column says so.

The ladder begins with what the course source does for CIFAR-10 (ResNet with the ImageNet stem, mean
and standard deviation 0.5, SGD with learning rate 0.01, momentum 0.9, weight decay 5e-4, a cosine
schedule that is never stepped), without its augmentation, which is a row of its own, and on a
ResNet of 78,042 parameters in place of 11,181,642.

Source of the changes: He et al. (2016), section 4.2 (stem, crop and flip); Smith and Topin (2018),
"Super-convergence" (OneCycle); Szegedy et al. (2016) (label smoothing); Polyak and Juditsky (1992)
(averaged weights).
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
from xor2gpt.recipes.stats import gains, mean_sd

# torch is imported by the functions, so that the command line can list the recipes at once

__all__ = ["RECIPE", "augmentation", "fit", "pictures", "run_unit"]

_SPLIT_SEED = 2027
TRAIN, HELD = 500, 1000  # pictures per class


def pictures() -> tuple[Any, Any, Any, Any]:
    """5,000 training and 10,000 other pictures, all from the training set, with their labels."""
    from xor2gpt import data
    from xor2gpt.recipes.vision_common import split_indices

    train = data.load("cifar10").train
    kept, held = split_indices(train.labels, (TRAIN, HELD), _SPLIT_SEED)
    return train.images[kept], train.labels[kept], train.images[held], train.labels[held]


def statistics(name: str) -> Any:
    """``"half"``: mean and sd 0.5, as in the source; ``"cifar10"``: those of the training set."""
    from xor2gpt.vision import augment

    return {"half": augment.Statistics((0.5,) * 3, (0.5,) * 3), "cifar10": augment.CIFAR10}[name]


_COLOURS = ("rotation", "jitter")  # these need floats in [0, 1], so they come before normalising


def augmentation(names: tuple[str, ...], normal: Any) -> Any:
    """``augment(generator, images uint8, labels)``: the named steps, in this order, and normalised.

    Rotation and jitter work on colours, crop and flip on normalised pictures (which is faster; the
    crop's border is then the mean colour).
    """
    import functools

    from xor2gpt.recipes import vision_common as vc
    from xor2gpt.vision import augment

    known = {
        "rotation": functools.partial(augment.random_rotation, degrees=10.0),
        "jitter": functools.partial(
            augment.colour_jitter, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.2
        ),
        "crop": functools.partial(augment.random_crop, padding=4, mode="zero"),
        "flip": augment.random_flip,
    }
    first = [known[name] for name in names if name in _COLOURS]
    then = [known[name] for name in names if name not in _COLOURS]

    def change(generator: Any, images: Any, labels: Any) -> tuple[Any, Any]:
        if first:
            images = augment.to_float(images)
        for step in first:
            images = step(generator, images)
        images = vc.prepared(images, normal)
        for step in then:
            images = step(generator, images)
        return images, labels

    return change


def _schedule(name: str, steps: int) -> Any:
    from xor2gpt import training as tr

    known = {
        "never stepped": tr.constant,
        "cosine": lambda: tr.cosine(steps),
        "one-cycle": lambda: tr.one_cycle(steps, 0.25, start=0.05, end=0.0),
    }
    return known[name]()


def fit(
    found: tuple[Any, Any, Any, Any], seed: int, hyper: dict[str, Any], folder: Path | None
) -> tuple[dict[str, float], dict[str, Any]]:
    """Train one seed (or go on from ``folder``) and read it out: ``(metrics, extras)``."""
    import torch

    from xor2gpt import training as tr
    from xor2gpt.recipes import vision_common as vc
    from xor2gpt.vision import resnet

    normal = statistics(hyper["statistics"])
    batches = tr.TensorBatches(
        torch.as_tensor(found[0]),
        torch.as_tensor(found[1]),
        batch_size=hyper["batch"],
        seed=seed,
        augment=augmentation(tuple(hyper["augmentation"]), normal),
    )
    model = resnet.small_resnet(
        hyper["width"],
        hyper["blocks"],
        stem=hyper["stem"],
        generator=torch.Generator().manual_seed(seed),
    ).to(memory_format=torch.channels_last)
    costs = {
        "parameters": resnet.count_parameters(model),
        "multiply_adds": resnet.multiply_adds(model, (3, 32, 32)),
    }
    steps = hyper["epochs"] * batches.steps_per_epoch
    trainer = tr.Trainer(
        model,
        vc.smoothed_loss(hyper["label_smoothing"]),
        batches,
        optimizer=torch.optim.SGD(
            model.parameters(), lr=hyper["lr"], momentum=0.9, weight_decay=5e-4
        ),
        schedule=_schedule(hyper["schedule"], steps),
        steps=steps,
        precision="auto",
        ema_decay=hyper["ema_decay"],
        folder=folder,
        checkpoint_every=100,
        log_every=batches.steps_per_epoch,
        seed=seed,
        progress=False,
    )
    history = trainer.fit()
    sha = vc.digest(model.state_dict())
    held, truth = vc.prepared(found[2], normal), torch.as_tensor(found[3])
    metrics = {}
    for weights in ("", "ema_"):
        if weights:
            trainer.load_ema()
        plain, mirrored = vc.logits(model, held), vc.logits(model, held.flip(-1))
        metrics[f"accuracy_{weights}plain"] = vc.accuracy(plain, truth)
        metrics[f"accuracy_{weights}flip"] = vc.accuracy(plain + mirrored, truth)
    metrics["accuracy"] = metrics.pop("accuracy_plain")
    metrics["accuracy_ema"] = metrics.pop("accuracy_ema_plain")
    return {**metrics, "loss_train": history.rows[-1]["loss"], **costs}, {
        "weights_sha256": sha,
        "loss_curve": [row["loss"] for row in history.rows],
    }


def run_unit(unit: Unit, advance: Advance, scratch: Path) -> Outcome:
    """Train and read out every seed of the unit."""
    from xor2gpt.recipes.vision_common import over_seeds

    found = pictures()
    return over_seeds(
        unit, advance, scratch, lambda seed, hyper, folder: fit(found, seed, hyper, folder)
    )


_READ = {
    "accuracy": "the last weights",
    "accuracy_flip": "the last weights, mirror image averaged in",
    "accuracy_ema": "averaged weights",
    "accuracy_ema_flip": "averaged weights, mirror image averaged in",
}


def figures(results: list[UnitResult]) -> list[Figure]:
    """Accuracies, paired gains, what the read-outs add, and the noise of the seed alone."""
    from xor2gpt.recipes.vision_common import seed_figures

    found = {result.unit: result for result in results}
    rows = []
    for result in results:
        name = f"ablation.{result.unit}"
        rows += seed_figures(name, result, {metric: (100, "%") for metric in _READ})
        rows += seed_figures(name, result, {"seconds": (1, "s")})
        rows.append(Figure(f"{name}.multiply_adds", result.per_seed["multiply_adds"][0], "1"))
        for prefix, differences in (
            ("gain", gains("accuracy", result, found)),
            ("ema_gain", _within(result, "accuracy_ema")),
            ("flip_gain", _within(result, "accuracy_flip")),
        ):
            if differences:
                mean, sd = mean_sd([100 * value for value in differences])
                rows += [Figure(f"{name}.{prefix}", mean, "points")]
                rows += [Figure(f"{name}.{prefix}.sd", sd, "points")]
    rows += _noise(found["seed-noise"])
    return rows


def _within(result: UnitResult, metric: str) -> list[float]:
    """How much another read-out of the same weights adds, seed by seed."""
    pairs = zip(result.per_seed[metric], result.per_seed["accuracy"], strict=True)
    return [value - plain for value, plain in pairs]


def _noise(result: UnitResult) -> list[Figure]:
    """What nothing but the seed does: sd, range, and 'gains' between two halves of the seeds."""
    values = [100 * value for value in result.per_seed["accuracy"]]
    half = len(values) // 2
    fake = [b - a for a, b in zip(values[:half], values[half:], strict=True)]
    mean, sd = mean_sd(fake)
    return [
        Figure("ablation.noise.sd", mean_sd(values)[1], "points"),
        Figure("ablation.noise.range", max(values) - min(values), "points"),
        Figure("ablation.noise.fake_gain", mean, "points"),
        Figure("ablation.noise.fake_gain.sd", sd, "points"),
    ]


# --- the rows -------------------------------------------------------------------------------------

_SOURCE = {
    "stem": "224",
    "statistics": "half",
    "augmentation": (),
    "schedule": "never stepped",
    "lr": 0.01,
    "label_smoothing": 0.0,
    "width": 16,
    "blocks": (1, 1, 1),
    "batch": 128,
    "epochs": 16,
    "ema_decay": 0.99,
}

_STEPS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("stem", "+ 3×3 stem, no pool", {"stem": "32"}),
    ("statistics", "+ the data's mean and sd", {"statistics": "cifar10"}),
    ("cosine", "+ a cosine that is stepped", {"schedule": "cosine"}),
    ("one-cycle", "+ OneCycle up to 0.2", {"schedule": "one-cycle", "lr": 0.2}),
    ("flip", "+ flip", {"augmentation": ("flip",)}),
    ("crop", "+ crop after 4 pixels of padding", {"augmentation": ("crop", "flip")}),
    ("smoothing", "+ label smoothing 0.1", {"label_smoothing": 0.1}),
)
_OTHERS: tuple[tuple[str, str, dict[str, Any], float], ...] = (
    ("no-augmentation", "without crop and flip", {"augmentation": ()}, 1.0),
    (
        "source-augmentation",
        "with the source's rotation and colour jitter as well",
        {"augmentation": ("rotation", "jitter", "crop", "flip")},
        1.2,
    ),
    ("imagenet-stem", "ImageNet stem, same width", {"stem": "224"}, 0.25),
    (
        "imagenet-stem-wide",
        "ImageNet stem, 59 channels: equal multiply-adds",
        {"stem": "224", "width": 59},
        1.0,
    ),
    (
        "deeper",
        "2-2-2 blocks of 11 channels: deeper and narrower, equal multiply-adds",
        {"blocks": (2, 2, 2), "width": 11},
        1.5,
    ),
)
_SEEDS, _MORE = (0, 1, 2), (10, 11, 12, 13, 14, 15)


def _units() -> tuple[Unit, ...]:
    """The null row, the ladder, and other choices against its last row."""
    ladder = [Unit("source", "the source's recipe, no augmentation", _SEEDS, _SOURCE, 0.25)]
    hyper = dict(_SOURCE)
    for name, title, change in _STEPS:
        hyper = {**hyper, **change, "against": ladder[-1].name}
        ladder.append(Unit(name, title, _SEEDS, hyper, 1.0))
    last = {**hyper, "against": ladder[-1].name}
    null = {key: value for key, value in hyper.items() if key != "against"}
    noise = Unit("seed-noise", "the last row of the ladder, six more seeds", _MORE, null, 2)
    others = [
        Unit(name, title, _SEEDS, {**last, **change}, work) for name, title, change, work in _OTHERS
    ]
    return (noise, *ladder, *others)


_UNITS = _units()
_LADDER = ("source", *(name for name, _, _ in _STEPS))
_ACCURACY = Column("accuracy, %", "accuracy", "mean", 100, 2)
_COST = (
    Column("multiply-adds, millions", "multiply_adds", "max", 1e-6, 1),
    Column("seconds a seed", "seconds", "mean", 1, 0),
)

RECIPE = register(
    Recipe(
        name="cifar10-ablation",
        title="CIFAR-10, one change at a time",
        description=(
            "A small ResNet on 5,000 pictures, 16 epochs a run, judged on 10,000 other pictures of "
            "the training set (mean ± sd over seeds). Gains are paired: the same seed with and "
            "without the change."
        ),
        version=1,
        units=_UNITS,
        run_unit=run_unit,
        figures=figures,
        tables=(
            Table(
                "Seed noise",
                "Nothing but the seed changes. A gain that is not several times this spread is "
                "none.",
                ("seed-noise",),
                (
                    _ACCURACY,
                    Column("lowest, %", "accuracy", "min", 100, 2),
                    Column("highest, %", "accuracy", "max", 100, 2),
                    Column("mirror image averaged in, %", "accuracy_flip", "mean", 100, 2),
                ),
            ),
            Table(
                "The ladder",
                "Each row adds one change to the row above it; the gain is the paired difference "
                "to that row, in points.",
                _LADDER,
                (_ACCURACY, Column("gain, points", "accuracy", "gain", 100, 2), *_COST),
            ),
            Table(
                "Other choices",
                "Each row changes one thing in the last row of the ladder; the gain is the paired "
                "difference to that row, in points.",
                tuple(name for name, _, _, _ in _OTHERS),
                (_ACCURACY, Column("gain, points", "accuracy", "gain", 100, 2), *_COST),
            ),
            Table(
                "Four ways to read out the same training",
                "Averaged weights: a moving average with decay 0.99. Mirror image: the logits of "
                "the picture and of its mirror image, averaged.",
                _LADDER,
                tuple(
                    Column(f"{heading}, %", metric, "mean", 100, 2)
                    for metric, heading in _READ.items()
                ),
            ),
        ),
        threads=2,
        keeps_checkpoints=True,
    )
)
