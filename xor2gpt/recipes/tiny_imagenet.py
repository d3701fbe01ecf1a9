"""Recipe ``tiny-imagenet-part-cpu``: from scratch against transferred from our CIFAR-10 network.

Does: train one network on CIFAR-10; then, on 40 classes of Tiny ImageNet with 10, 50 and 450
labelled pictures a class, train the same architecture from scratch, from the CIFAR-10 weights with
everything tuned, and with the CIFAR-10 network frozen and only a new head trained; three seeds.
Does not: use weights or pictures from elsewhere, choose by the test set, or speak for all 200
classes: these are the first 40 (in the order of ``wnids.txt``), so chance is 2.5 %.

The test set is the official validation pictures of the 40 classes (50 a class), looked at once a
training. Settings were chosen on 50 pictures a class that are held out of the training part; no
training here sees those. Seed s draws which of the 450 remaining pictures a class are labelled
(nested: the 10 are among the 50), the first weights and the batches; the three ways share it, so
that gains are paired. Scratch and tuned see as many pictures with the same schedule; each has the
learning rate that was best for it on the held-out pictures at 10 and 50 labels a class (of 0.12 and
0.24 from scratch; of 0.03, 0.06 and 0.12 tuned), and keeps it at 450. Pictures are averaged from
64² to 32² pixels, the side that the CIFAR-10 network knows.

The first unit trains the CIFAR-10 network (`cifar10_cpu.train`, seed 100). Its weights stay in the
cache folder ``.cache/recipes/tiny-imagenet-part-cpu``; where they are missing, they are trained
again. Every result file carries their sha256.

Source: Yosinski et al. (2014), "How transferable are features in deep neural networks?"; the course
source fine-tunes an ImageNet ResNet-50 on all 200 classes: 80.14 % on the validation pictures that
also chose the epoch, 4.5 hours on an M1 Ultra. Another task: its weights have seen ImageNet itself.
Data: Le and Yang (2015), "Tiny ImageNet visual recognition challenge"; Krizhevsky (2009).
"""

from __future__ import annotations

import hashlib
import json
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

__all__ = ["RECIPE", "fit_head", "fit_network", "pictures", "pretrained", "run_unit"]

_SPLIT_SEED = 2028
HELD = 50  # pictures per class, where settings were chosen
POOL = 450
_PRETRAINING_SEED = 100


# --- data -----------------------------------------------------------------------------------------


def halved(images: Any) -> Any:
    """uint8 (N, 3, 64, 64) → uint8 (N, 3, 32, 32): means of 2×2 pixels, rounded."""
    import torch
    from torch.nn.functional import avg_pool2d

    parts = torch.as_tensor(images).split(2000)
    return torch.cat([avg_pool2d(part.float(), 2).round().to(torch.uint8) for part in parts])


def pictures(seed: int, labels_per_class: int, *, validation: bool = False) -> tuple[Any, ...]:
    """Training images (n, 3, 32, 32) and labels, test images and labels, for this seed.

    With ``validation`` the held-out part of the training pictures takes the test set's place.
    """
    import numpy as np
    import torch

    from xor2gpt import data
    from xor2gpt.recipes.vision_common import split_indices

    found = data.load("tiny-imagenet")
    labels = found.train.labels
    pool, held = split_indices(labels, (POOL, HELD), _SPLIT_SEED)
    order = np.random.default_rng(seed).permutation(pool)
    chosen = np.concatenate(
        [order[labels[order] == label][:labels_per_class] for label in np.unique(labels)]
    )
    if validation:
        test_images, test_labels = found.train.images[held], labels[held]
    else:
        test_images, test_labels = found.test.images, found.test.labels
    return (
        halved(found.train.images[chosen]),
        torch.as_tensor(labels[chosen]),
        halved(test_images),
        torch.as_tensor(test_labels),
    )


# --- the network to transfer from -----------------------------------------------------------------


def pretrained(cache: Path, hyper: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The CIFAR-10 network's state dict and its sha256, from ``cache`` or trained now.

    A kill costs at most 20 steps. Files are named by the settings, so another setting never meets
    them.
    """
    from xor2gpt import training as tr
    from xor2gpt.recipes import cifar10_cpu
    from xor2gpt.recipes import vision_common as vc

    text = json.dumps([_PRETRAINING_SEED, hyper], sort_keys=True)
    name = f"cifar10-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    path = cache / f"{name}.safetensors"
    if not path.exists():
        images, labels, _, _ = cifar10_cpu.pictures(validation=False)
        vc.keep_freed_memory()
        model, _ = cifar10_cpu.train(images, labels, _PRETRAINING_SEED, hyper, cache / name)
        tr.save_checkpoint(path, model.state_dict())
    state = tr.load_checkpoint(path)
    return state, vc.digest(state)


def _fit_pretraining(hyper: dict[str, Any], cache: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The CIFAR-10 network and what it reaches on CIFAR-10's test set."""
    import torch

    from xor2gpt.recipes import cifar10_cpu
    from xor2gpt.recipes import vision_common as vc
    from xor2gpt.vision import augment

    state, sha = pretrained(cache, hyper["pretraining"])
    model = vc.FastNet(hyper["pretraining"]["widths"])
    model.load_state_dict(state)
    _, _, images, labels = cifar10_cpu.pictures(validation=False)
    outputs = vc.logits(model, vc.prepared(images, augment.CIFAR10), "flip")
    return (
        {"accuracy": vc.accuracy(outputs, torch.as_tensor(labels))},
        {"weights_sha256": sha, "pretrained_sha256": sha},
    )


# --- the three ways -------------------------------------------------------------------------------


def fit_network(
    found: tuple[Any, ...],
    seed: int,
    hyper: dict[str, Any],
    folder: Path | None,
    state: dict[str, Any] | None,
) -> tuple[Any, Any]:
    """Train the whole network, from ``state`` (a new head on it) or from scratch: model, logits."""
    import torch

    from xor2gpt import training as tr
    from xor2gpt.recipes import vision_common as vc
    from xor2gpt.vision import augment

    images = vc.prepared(found[0], augment.CIFAR10)
    model = vc.FastNet(hyper["pretraining"]["widths"], int(found[1].max()) + 1, seed=seed)
    if state is None:
        model.whiten_by(images[:5000])
    else:
        body = {name: value for name, value in state.items() if name != "head.weight"}
        missing = model.load_state_dict(body, strict=False)
        assert missing.missing_keys == ["head.weight"] and not missing.unexpected_keys
    model = model.to(memory_format=torch.channels_last)
    batches = vc.FlippedAndShifted(
        images, found[1], batch_size=hyper["batch"], seed=seed, shift=hyper["shift"]
    )
    steps = hyper["epochs"] * batches.steps_per_epoch
    trainer = tr.Trainer(
        model,
        vc.smoothed_loss(hyper["label_smoothing"]),
        batches,
        optimizer=vc.fast_optimizers(model, hyper),
        schedule=tr.flat_then_linear(steps, steps),
        steps=steps,
        precision="auto",
        folder=folder,
        checkpoint_every=50,
        seed=seed,
        progress=False,
    )
    trainer.fit()
    return model, vc.logits(model, vc.prepared(found[2], augment.CIFAR10), "flip")


def fit_head(
    found: tuple[Any, ...],
    seed: int,
    hyper: dict[str, Any],
    folder: Path | None,
    state: dict[str, Any],
) -> tuple[Any, Any]:
    """Freeze the network (in evaluation mode: also its norms) and train a new head: model, logits.

    The frozen network is a fixed function, so its features of every picture and its mirror image
    are computed once; each picture's features are standardised, and the head learns from those.
    """
    import torch
    from torch.nn.functional import cross_entropy, layer_norm

    from xor2gpt import training as tr
    from xor2gpt.recipes import vision_common as vc
    from xor2gpt.vision import augment

    model = vc.FastNet(hyper["pretraining"]["widths"])
    model.load_state_dict(state)
    body = vc.Embedding(model)

    def features(images: Any) -> torch.Tensor:
        images = vc.prepared(images, augment.CIFAR10)
        both = torch.stack([vc.logits(body, x) for x in (images, images.flip(-1))])
        return layer_norm(both, both.shape[2:])  # (2, N, F)

    learned, test = features(found[0]), features(found[2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = torch.nn.Linear(learned.shape[2], int(found[1].max()) + 1)
    batches = tr.TensorBatches(
        learned.flatten(0, 1), found[1].repeat(2), batch_size=hyper["batch"], seed=seed
    )
    trainer = tr.Trainer(
        head,
        lambda head, x, y: cross_entropy(head(x), y, label_smoothing=hyper["label_smoothing"]),
        batches,
        optimizer=torch.optim.AdamW(
            head.parameters(), lr=hyper["lr_head"], weight_decay=hyper["decay"]
        ),
        schedule=tr.cosine(hyper["steps"]),
        steps=hyper["steps"],
        folder=folder,
        seed=seed,
        progress=False,
    )
    trainer.fit()
    with torch.no_grad():
        outputs = head(test).mean(dim=0)
    return head, outputs


def _fit_transfer(
    seed: int, hyper: dict[str, Any], folder: Path, cache: Path, *, validation: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One training of one of the three ways."""
    from xor2gpt.recipes import vision_common as vc

    found = pictures(seed, hyper["labels"], validation=validation)
    state, sha = (None, "none")
    if hyper["way"] != "scratch":
        state, sha = pretrained(cache, hyper["pretraining"])
    if hyper["way"] == "frozen":
        model, outputs = fit_head(found, seed, hyper, folder, state)
    else:
        model, outputs = fit_network(found, seed, hyper, folder, state)
    top5 = outputs.topk(5, dim=1).indices == found[3][:, None]
    return (
        {
            "accuracy": vc.accuracy(outputs, found[3]),
            "top5": float(top5.any(dim=1).double().mean()),
        },
        {"weights_sha256": vc.digest(model.state_dict()), "pretrained_sha256": sha},
    )


def run_unit(unit: Unit, advance: Advance, scratch: Path) -> Outcome:
    """Train and test every seed of the unit; the CIFAR-10 weights stay beside ``scratch``."""
    from xor2gpt.recipes.vision_common import over_seeds

    cache = scratch.parent

    def train_one(seed: int, hyper: dict[str, Any], folder: Path) -> tuple[dict, dict]:
        if hyper["way"] == "pretraining":
            return _fit_pretraining(hyper, cache)
        return _fit_transfer(seed, hyper, folder, cache)

    if unit.hyper["way"] in ("tuned", "frozen"):
        pretrained(cache, unit.hyper["pretraining"])  # its seconds are not the transfer's
    return over_seeds(unit, advance, scratch, train_one)


def figures(results: list[UnitResult]) -> list[Figure]:
    """Accuracies, and what transfer gains over scratch, seed by seed."""
    from xor2gpt.recipes.vision_common import seed_figures

    found = {result.unit: result for result in results}
    rows = []
    for result in results:
        name = f"tiny-imagenet.{result.unit}"
        metrics = {"accuracy": (100, "%"), "seconds": (1, "s"), "cpu_seconds": (1, "s")}
        if "top5" in result.per_seed:
            metrics["top5"] = (100, "%")
        rows += seed_figures(name, result, metrics)
        differences = [100 * value for value in gains("accuracy", result, found)]
        if differences:
            mean, sd = mean_sd(differences)
            low = min(result.per_seed["accuracy"])
            high = max(found[result.hyper["against"]].per_seed["accuracy"])
            rows += [
                Figure(f"{name}.gain", mean, "points"),
                Figure(f"{name}.gain.sd", sd, "points"),
                Figure(f"{name}.lowest_above_highest_scratch", 100 * (low - high), "points"),
            ]
    return rows


# --- the recipe -----------------------------------------------------------------------------------

_PRETRAINING = {
    "widths": (64, 256, 256),
    "batch": 1000,
    "shift": 2,
    "label_smoothing": 0.2,
    "momentum_filters": 0.6,
    "lr_biases": 53.0,
    "lr_head": 670.0,
    "decay": 0.002,
    "epochs": 4,
    "lr_filters": 0.24,
}
_NETWORK = {
    "pretraining": _PRETRAINING,
    "batch": 200,
    "shift": 2,
    "label_smoothing": 0.2,
    "momentum_filters": 0.6,
    "lr_biases": 10.6,
    "lr_head": 134.0,
    "decay": 0.0004,
}
_HEAD = {
    "pretraining": _PRETRAINING,
    "batch": 200,
    "steps": 1000,
    "label_smoothing": 0.1,
    "decay": 0.1,
}
_EPOCHS = {10: 40, 50: 15, 450: 4}  # the more labels, the more steps all the same
_LR = {"scratch": 0.24, "tuned": 0.06}
_LR_HEAD = {10: 0.001, 50: 0.003, 450: 0.003}
_TITLES = {
    "scratch": "from scratch",
    "frozen": "CIFAR-10 network frozen, new head",
    "tuned": "CIFAR-10 network, everything tuned",
}
_SEEDS = (0, 1, 2)


def _unit(labels: int, way: str) -> Unit:
    """One way at one number of labels per class."""
    hyper = {"way": way, "labels": labels}
    if way == "frozen":
        hyper |= {**_HEAD, "lr_head": _LR_HEAD[labels]}
    else:
        hyper |= {**_NETWORK, "epochs": _EPOCHS[labels], "lr_filters": _LR[way]}
    if way != "scratch":
        hyper["against"] = f"scratch-{labels}"
    work = 0.4 if way == "frozen" else labels * _EPOCHS[labels] / 600
    return Unit(f"{way}-{labels}", f"{labels} labels a class: {_TITLES[way]}", _SEEDS, hyper, work)


_TRANSFERS = tuple(_unit(labels, way) for labels in _EPOCHS for way in _TITLES)

RECIPE = register(
    Recipe(
        name="tiny-imagenet-part-cpu",
        title="Transfer from CIFAR-10 to 40 classes of Tiny ImageNet",
        description=(
            "The same small network from scratch and from our own CIFAR-10 weights, at several "
            "numbers of labels a class (mean ± sd over 3 seeds; 2,000 test pictures of 40 classes, "
            "chance is 2.5 %)."
        ),
        version=1,
        units=(
            Unit(
                "pretrained-cifar10",
                "the network trained on CIFAR-10",
                (_PRETRAINING_SEED,),
                {"way": "pretraining", "pretraining": _PRETRAINING},
                5.0,
            ),
            *_TRANSFERS,
        ),
        run_unit=run_unit,
        figures=figures,
        tables=(
            Table(
                "Scratch against transfer",
                "The gain is the paired difference to scratch with the same labels, in points. "
                "Two views at test time (the picture and its mirror image).",
                tuple(unit.name for unit in _TRANSFERS),
                (
                    Column("test accuracy, %", "accuracy", "mean", 100, 1),
                    Column("lowest seed, %", "accuracy", "min", 100, 1),
                    Column("highest seed, %", "accuracy", "max", 100, 1),
                    Column("gain over scratch, points", "accuracy", "gain", 100, 1),
                    Column("top-5, %", "top5", "mean", 100, 1),
                    Column("seconds a seed", "seconds", "mean", 1, 0),
                ),
            ),
            Table(
                "The network to transfer from",
                "Its accuracy on CIFAR-10's own test set, two views, one seed.",
                ("pretrained-cifar10",),
                (
                    Column("CIFAR-10 test accuracy, %", "accuracy", "mean", 100, 2),
                    Column("seconds", "seconds", "mean", 1, 0),
                ),
            ),
        ),
        threads=2,
        keeps_checkpoints=True,
    )
)
