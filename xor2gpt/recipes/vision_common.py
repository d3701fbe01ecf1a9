"""What the vision recipes share: seeds that survive a kill, a fast network, read-outs, digests.

Does: train one seed after the other so that a killed unit goes on inside a training and ends with
the same weights; count wall and CPU seconds per seed across kills; a small network and an optimizer
that reach 94 % on CIFAR-10 in minutes on two cores; logits averaged over flipped and shifted views;
a sha256 of the final weights.
Does not: fix a hyper-parameter (each recipe does), choose between models, or touch a test set by
itself.

Pictures are held normalised in bfloat16 where the processor has hardware for it (AMX, AVX-512
BF16), in float32 elsewhere; `choose_precision` decides and each result file says which it was.

Source of the network and its training: Jordan (2024), "94% on CIFAR-10 in 3.29 seconds on a single
GPU" (arXiv:2404.00498), with the later Muon version of its code, cifar10-airbench: frozen whitening
of 2×2 patches, identity-started convolutions, batch norms without scales, alternating flips,
2-pixel shifts, label smoothing, orthogonalised filter updates, six views at test time. The code
here is our own; what differs is said in each recipe.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import math
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xor2gpt import training as tr
from xor2gpt.optim import orthogonalise
from xor2gpt.recipes.base import Advance, Figure, Outcome, Unit, UnitResult
from xor2gpt.recipes.files import atomic_write
from xor2gpt.recipes.scratch import Stopwatch
from xor2gpt.recipes.stats import mean_sd
from xor2gpt.training.randomness import derived_seed
from xor2gpt.vision import augment

__all__ = [
    "Embedding",
    "FastNet",
    "FilterMuon",
    "FlippedAndShifted",
    "VIEWS",
    "accuracy",
    "digest",
    "fast_optimizers",
    "keep_freed_memory",
    "logits",
    "over_seeds",
    "precision",
    "prepared",
    "seed_figures",
    "smoothed_loss",
    "split_indices",
]

CPU = torch.device("cpu")
_log = logging.getLogger(__name__)


# --- the machine ----------------------------------------------------------------------------------


def precision() -> tuple[str, str]:
    """``("bf16" | "fp32", why)`` on this processor."""
    return tr.choose_precision("auto", CPU)


def keep_freed_memory() -> bool:
    """Let the allocator keep big freed buffers instead of returning them; whether it could.

    glibc maps every buffer above 32 MiB anew, and the system clears its pages one by one: a fifth
    of a training step's time. Elsewhere than on glibc nothing happens. It holds for the process.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    no_maps, trim, top_pad = (-4, 0), (-1, 2**31 - 1), (-2, 2**28)  # from malloc.h
    return all(mallopt(*option) == 1 for option in (no_maps, trim, top_pad))


# --- seeds that survive a kill --------------------------------------------------------------------

TrainOne = Callable[[int, dict[str, Any], Path], tuple[dict[str, float], dict[str, Any]]]


def over_seeds(unit: Unit, advance: Advance, scratch: Path, train_one: TrainOne) -> Outcome:
    """Run ``train_one(seed, hyper, folder)`` for each seed; what is finished is not run again.

    It returns ``(metrics, extras)``: numbers, and plain data such as a digest. ``folder`` holds the
    checkpoint of that seed alone and is deleted when its numbers are written. Wall and CPU seconds
    of the seed, those before a kill included, are added as ``seconds`` and ``cpu_seconds``.
    """
    keep_freed_memory()
    products, why = precision()
    if products != "bf16":
        _log.warning("%s; the stated seconds are those of a processor with AMX", why)
    rows = []
    for seed in unit.seeds:
        finished, folder = scratch / f"seed-{seed}.json", scratch / f"seed-{seed}"
        if not finished.exists():
            folder.mkdir(exist_ok=True)
            with Stopwatch(folder / "seconds.json").running() as watch:
                metrics, extras = train_one(seed, dict(unit.hyper), folder)
            used = watch.seconds()
            metrics = {**metrics, "seconds": used["wall"], "cpu_seconds": used["cpu"]}
            extras = {**extras, "starts": watch.starts}
            atomic_write(finished, json.dumps({"metrics": metrics, "extras": extras}))
        shutil.rmtree(folder, ignore_errors=True)
        rows.append(json.loads(finished.read_text(encoding="utf-8")))
        advance(1)
    per_seed = {name: [row["metrics"][name] for row in rows] for name in rows[0]["metrics"]}
    whole = {name: [row["extras"][name] for row in rows] for name in rows[0]["extras"]}
    return Outcome(per_seed, {**whole, "precision": why})


def digest(state: Mapping[str, Tensor]) -> str:
    """The sha256 of a state dict: names, types, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


# --- pictures -------------------------------------------------------------------------------------


def prepared(images: np.ndarray | Tensor, statistics: augment.Statistics) -> Tensor:
    """uint8 (N, C, H, W) → normalised, in the precision of the run's products."""
    dtype = torch.bfloat16 if precision()[0] == "bf16" else torch.float32
    parts = [
        augment.normalise(part, statistics).to(dtype)
        for part in torch.as_tensor(images).split(4096)
    ]
    return torch.cat(parts)


def split_indices(
    labels: np.ndarray, per_class: Sequence[int], seed: int
) -> tuple[np.ndarray, ...]:
    """Disjoint index arrays with so many samples of each class, the same number of every class.

    ``split_indices(labels, (4500, 500), 0)`` is CIFAR-10's training set cut into 45,000 and 5,000.
    Each array is in ascending order. Raises ``ValueError`` where a class has too few samples.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in per_class]
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        if len(places) < sum(per_class):
            raise ValueError(f"class {label} has {len(places)} samples, {sum(per_class)} asked")
        for part, chosen in zip(
            parts, np.split(places, np.cumsum(per_class))[: len(per_class)], strict=True
        ):
            part.append(chosen)
    return tuple(np.sort(np.concatenate(part)) for part in parts)


class FlippedAndShifted:
    """Batches with alternating flips and random shifts: a source for `xor2gpt.training.Trainer`.

    Which half of the pictures is flipped in the even epochs is drawn once; the odd epochs flip the
    other half, so that two epochs show every picture both ways. Then each picture is shifted by up
    to ``shift`` pixels along each axis, its edge mirrored. A pure function of (seed, step).
    """

    def __init__(
        self, images: Tensor, labels: Tensor, *, batch_size: int, seed: int, shift: int
    ) -> None:
        number = torch.arange(len(images))
        self._source = tr.TensorBatches(images, labels, number, batch_size=batch_size, seed=seed)
        self.seed, self.shift = seed, shift
        self._coins = augment.flip_coins(self._generator("phase", 0), len(images))

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(derived_seed(self.seed, purpose, number))

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch; a short last one is left out."""
        return self._source.steps_per_epoch

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """``(images (B, C, H, W), labels (B,))`` of this step."""
        images, labels, number = self._source.batch(step)
        epoch = step // self.steps_per_epoch
        images = augment.alternating_flip(images, self._coins[number], epoch)
        if self.shift:
            generator = self._generator("augment", step)
            images = augment.random_crop(generator, images, padding=self.shift)
        return images, labels


# --- the network ----------------------------------------------------------------------------------


class _Norm(nn.BatchNorm2d):
    """Batch norm without a scale (the next layer has one), with quickly moving statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5, momentum=0.4)
        self.weight.requires_grad_(False)


def _identity_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3×3 convolution whose first filters start as the identity."""
    layer = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(layer.weight[:in_channels])
    return layer


class _Group(nn.Module):
    """Convolution, 2×2 max pool, convolution, each with norm and GELU: half the side."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _identity_conv(in_channels, channels), _Norm(channels)
        self.conv2, self.norm2 = _identity_conv(channels, channels), _Norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class FastNet(nn.Module):
    """Frozen whitening of 2×2 patches, three groups, one maximum per channel, linear head.

    (B, C, H, W) → (B, classes); 32² becomes 31², 15², 7², 3². With three channels and widths 64,
    256, 256 it has 1,972,792 parameters, whitening filters included. ``seed`` draws the weights.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 256, 256),
        classes: int = 10,
        *,
        in_channels: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.whiten = nn.Conv2d(in_channels, 8 * in_channels, 2)
            self.whiten.weight.requires_grad_(False)
            nn.init.zeros_(self.whiten.bias)
            pairs = zip((8 * in_channels, *widths[:-1]), widths, strict=True)
            self.groups = nn.ModuleList(_Group(*pair) for pair in pairs)
            self.head = nn.Linear(widths[-1], classes, bias=False)
            with torch.no_grad():
                self.head.weight /= self.head.weight.std()

    @torch.no_grad()
    def whiten_by(self, images: Tensor, eps: float = 5e-4) -> None:
        """Set the first filters to ± the principal axes of 2×2 patches, scaled to variance 1."""
        patches = images.float().unfold(2, 2, 1).unfold(3, 2, 1)  # (N, C, H−1, W−1, 2, 2)
        patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)  # (patches, 4C)
        covariance = (patches.T @ patches / len(patches)).double()  # (4C, 4C); the mean is ≈ 0
        variance, axes = torch.linalg.eigh(covariance)
        filters = (axes / torch.sqrt(variance + eps)).T.reshape(-1, *self.whiten.weight.shape[1:])
        filters = filters.float()
        self.whiten.weight.copy_(torch.cat([filters, -filters]))

    def embed(self, x: Tensor) -> Tensor:
        """The head's inputs, the largest value of each last map: (B, C, H, W) → (B, widths[-1])."""
        x = F.gelu(self.whiten(x))
        for group in self.groups:
            x = group(x)
        return x.amax(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x)) / self.head.in_features  # (B, classes)


class Embedding(nn.Module):
    """A network without its head: pictures → the head's inputs, (B, C, H, W) → (B, F)."""

    def __init__(self, model: FastNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.embed(x)


class FilterMuon(torch.optim.Optimizer):
    """Muon for convolutions: filters of fixed norm, orthogonalised Nesterov momentum.

    Each filter bank is a matrix (out, in·k·k). It is scaled to norm √out before every step, so
    that ``lr`` is the size of the turn; weight decay then has nothing to do. ``steps`` are those of
    `xor2gpt.optim.orthogonalise`.
    """

    def __init__(
        self, filters: Iterable[nn.Parameter], *, lr: float, momentum: float, steps: int = 3
    ) -> None:
        super().__init__(filters, {"lr": lr, "momentum": momentum, "steps": steps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step from the gradients that are there."""
        for group in self.param_groups:
            for filters in group["params"]:
                if filters.grad is None:
                    continue
                state = self.state[filters]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(filters)
                state["momentum"].mul_(group["momentum"]).add_(filters.grad)
                ahead = filters.grad.add(state["momentum"], alpha=group["momentum"])
                turn = orthogonalise(ahead.flatten(1), steps=group["steps"])
                filters.mul_(math.sqrt(len(filters)) / filters.norm())
                filters.add_(turn.view(filters.shape), alpha=-group["lr"])


def fast_optimizers(model: FastNet, hyper: Mapping[str, Any]) -> list[torch.optim.Optimizer]:
    """Muon for the filters, Nesterov SGD for biases and head, from a unit's hyper-parameters.

    ``decay`` is the share of a bias or of the head that decays in a step at the full rate.
    """
    filters = [m.weight for group in model.groups for m in (group.conv1, group.conv2)]
    biases = [m.bias for group in model.groups for m in (group.norm1, group.norm2)]
    rest = [
        {"params": [model.whiten.bias, *biases], "lr": hyper["lr_biases"]},
        {"params": [model.head.weight], "lr": hyper["lr_head"]},
    ]
    for group in rest:
        group["weight_decay"] = hyper["decay"] / group["lr"]
    return [
        FilterMuon(filters, lr=hyper["lr_filters"], momentum=hyper["momentum_filters"]),
        torch.optim.SGD(rest, lr=hyper["lr_head"], momentum=0.85, nesterov=True),
    ]


def smoothed_loss(smoothing: float) -> Callable[..., Tensor]:
    """``loss(model, images, labels)``: mean cross-entropy in float32, labels smoothed."""

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return F.cross_entropy(model(images).float(), labels, label_smoothing=smoothing)

    return loss


# --- reading a model out --------------------------------------------------------------------------

VIEWS = ("plain", "flip", "flip-shift")
"""One view; the mean over a picture and its mirror image; six views, those shifted by one pixel
along the diagonal (both ways) with half of the weight."""


def _flipped(model: nn.Module, images: Tensor) -> Tensor:
    return augment.flip_average(model, images)


def _flipped_and_shifted(model: nn.Module, images: Tensor) -> Tensor:
    side = images.shape[-1]
    padded = F.pad(images, (1, 1, 1, 1), "reflect")
    corners = [padded[..., at : at + side, at : at + side] for at in (0, 2)]
    corners = [c.contiguous(memory_format=torch.channels_last) for c in corners]
    shifted = (_flipped(model, corners[0]) + _flipped(model, corners[1])) / 2
    return (_flipped(model, images) + shifted) / 2


@torch.no_grad()
def logits(model: nn.Module, images: Tensor, view: str = "plain", batch: int = 500) -> Tensor:
    """``(N, classes)`` float32 of prepared pictures under one of `VIEWS`, in evaluation mode."""
    read = {"plain": lambda m, x: m(x), "flip": _flipped, "flip-shift": _flipped_and_shifted}[view]
    with tr.evaluation_mode(model), torch.autocast("cpu", torch.bfloat16, precision()[0] == "bf16"):
        return torch.cat(
            [
                read(model, part.contiguous(memory_format=torch.channels_last)).float()
                for part in images.split(batch)
            ]
        )


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """The share of rows whose largest logit is the label's."""
    return float((outputs.argmax(dim=1) == labels).double().mean())


# --- figures --------------------------------------------------------------------------------------


def seed_figures(
    prefix: str, result: UnitResult, metrics: Mapping[str, tuple[float, str]]
) -> list[Figure]:
    """``prefix.metric`` (the mean), ``.sd``, ``.min`` and ``.max`` over the seeds.

    ``metrics`` maps a metric to ``(scale, unit)``.
    """
    figures = []
    for metric, (scale, unit) in metrics.items():
        values = [scale * value for value in result.per_seed[metric]]
        mean, sd = mean_sd(values)
        shown = {"": mean}
        if len(values) > 1:  # one seed has no spread
            shown |= {".sd": sd, ".min": min(values), ".max": max(values)}
        figures += [Figure(f"{prefix}.{metric}{how}", x, unit) for how, x in shown.items()]
    return figures
