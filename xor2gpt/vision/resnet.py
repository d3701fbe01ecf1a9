"""Residual networks from blocks: ResNet-18, -34, -50, -101 and a small family for lessons.

Does: build residual networks for pictures of 28² to 224² pixels, with the names and shapes of
torchvision's parameters, so that published checkpoints load; initialise them; list what each layer
costs (`layer_costs`, `multiply_adds`); look inside (`activations`, `class_activation_maps`).
Does not: download weights (`xor2gpt.data`), map foreign names (`xor2gpt.vision.weights`), train.

Shapes: B pictures, C channels, H rows, W columns; everything is (B, C, H, W), also in memory format
channels_last, which is faster on CPUs.

Source: He et al. (2016), "Deep residual learning for image recognition", tables 1 and 6. The
bottleneck strides in its 3×3 convolution, not in the first 1×1 as in the paper: "ResNet v1.5", as
in torchvision, whose weights otherwise load but compute something else. Zero-initialised last
norms: Goyal et al. (2017). Initial weights: He et al. (2015), "Delving deep into rectifiers". Class
activation maps: Zhou et al. (2016).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = [
    "STEMS",
    "BasicBlock",
    "Bottleneck",
    "LayerCost",
    "ResNet",
    "Stem",
    "activations",
    "class_activation_maps",
    "count_parameters",
    "layer_costs",
    "multiply_adds",
    "replace_head",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "small_resnet",
]


# --- stems ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stem:
    """The first convolution: ``kernel``² pixels, ``stride``; ``pool``: a 3×3/2 max pool follows."""

    kernel: int
    stride: int
    pool: bool


STEMS: dict[str, Stem] = {
    "28": Stem(kernel=3, stride=1, pool=False),  # 28 → 28, 14, 7, 4 in the four stages
    "32": Stem(kernel=3, stride=1, pool=False),  # 32 → 32, 16, 8, 4: He et al., section 4.2
    "64": Stem(kernel=3, stride=2, pool=False),  # 64 → 32, 16, 8, 4: weights of the "32" stem fit
    "224": Stem(kernel=7, stride=2, pool=True),  # 224 → 56, 28, 14, 7: He et al., table 1
}
"""Stems by the side of the pictures (in pixels) that they are made for. Any stem takes any size."""


def _stem(stem: str | Stem) -> Stem:
    """The stem of this name. Raises ``ValueError`` for an unknown name."""
    if isinstance(stem, Stem):
        return stem
    if str(stem) not in STEMS:
        raise ValueError(f"unknown stem {stem!r}: use one of {', '.join(STEMS)}, or a Stem")
    return STEMS[str(stem)]


# --- blocks ---------------------------------------------------------------------------------------


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1; no bias, because a batch norm follows."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """The projection of a shortcut whose ends differ in shape; ``None`` where they agree."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(_conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: (B, in, H, W) → (B, channels, H/stride, W/stride).

    Odd sides are rounded up. The shortcut is the identity, or a 1×1 projection (``downsample``)
    where the shapes differ.
    """

    expansion = 1  # output channels / channels

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm just before the sum; with weight 0 the block starts as its shortcut."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += shortcut
        return self.relu(out)


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 and a shortcut: (B, in, H, W) → (B, 4·channels, H/stride, W/stride).

    The expensive 3×3 convolution works on a quarter of the output's channels. It also carries the
    stride (v1.5), so that no pixel is skipped unseen as by a 1×1 convolution with stride 2.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = _conv(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = _conv(channels, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm just before the sum; with weight 0 the block starts as its shortcut."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += shortcut
        return self.relu(out)


# --- the network ----------------------------------------------------------------------------------


class ResNet(nn.Module):
    """Stem, stages of blocks, mean over the map, linear head: (B, C, H, W) → (B, num_classes).

    Stage i (from 0) has ``blocks[i]`` blocks of ``width · 2^i`` channels; each stage after the
    first halves the map. Parameters are named as in torchvision: ``conv1.weight``, ``bn1.…``,
    ``layer1.0.conv1.weight``, ``layer1.0.downsample.0.weight``, ``fc.weight``.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        blocks: number of blocks of each stage, as ``(2, 2, 2, 2)``.
        stem: a name in `STEMS`, or a `Stem`.
        in_channels: channels of the pictures, 1 for grey, 3 for colour.
        num_classes: number of logits.
        width: channels of the stem and of the first stage.
        zero_init_residual: start every block as its shortcut (last norm's weight 0).
        generator: source of the initial weights; torch's global one if ``None``.

    Raises:
        ValueError: unknown stem, no stage, an empty stage, or a number below 1.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: Sequence[int],
        *,
        stem: str | Stem = "224",
        in_channels: int = 3,
        num_classes: int = 1000,
        width: int = 64,
        zero_init_residual: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not blocks or min(blocks) < 1:
            raise ValueError(f"blocks={tuple(blocks)}: each stage needs at least one block")
        for name, value in {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "width": width,
        }.items():
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        first = _stem(stem)
        self.conv1 = _conv(in_channels, width, first.kernel, first.stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if first.pool else nn.Identity()
        self.stages = len(blocks)
        channels = width
        for index, depth in enumerate(blocks):
            stage, channels = self._stage(block, channels, width * 2**index, depth, index)
            self.add_module(f"layer{index + 1}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self.reset_parameters(zero_init_residual, generator)

    @staticmethod
    def _stage(
        block: type[BasicBlock] | type[Bottleneck],
        in_channels: int,
        channels: int,
        depth: int,
        index: int,
    ) -> tuple[nn.Sequential, int]:
        """A stage and its output channels; the first block of all stages but the first strides."""
        out_channels = channels * block.expansion
        first = block(in_channels, channels, stride=1 if index == 0 else 2)
        rest = [block(out_channels, channels) for _ in range(depth - 1)]
        return nn.Sequential(first, *rest), out_channels

    def reset_parameters(
        self, zero_init_residual: bool = False, generator: torch.Generator | None = None
    ) -> None:
        """Draw new weights: He's normal, variance 2 / fan-out, for convolutions; norms 1 and 0.

        The head is drawn from ±1/√(its inputs), as torch draws linear layers.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                _reset_linear(module, generator)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, BasicBlock | Bottleneck):
                    nn.init.zeros_(module.last_norm.weight)

    def features(self, x: Tensor) -> Tensor:
        """The last stage's maps: (B, C, H, W) → (B, fc.in_features, h, w), all ≥ 0.

        Raises ``ValueError`` where ``x`` is no batch of pictures with this network's channels.
        """
        if x.ndim != 4 or x.shape[1] != self.conv1.in_channels:
            raise ValueError(
                f"this network takes (B, {self.conv1.in_channels}, H, W), got {tuple(x.shape)}: "
                "add the batch axis with x[None], or build it with another in_channels"
            )
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stage_modules():
            x = stage(x)
        return x

    def stage_modules(self) -> list[nn.Module]:
        """``layer1``, ``layer2``, … in order."""
        return [self.get_submodule(f"layer{index + 1}") for index in range(self.stages)]

    def embed(self, x: Tensor) -> Tensor:
        """The head's inputs, means over the last maps: (B, C, H, W) → (B, fc.in_features)."""
        return self.avgpool(self.features(x)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.embed(x))  # (B, num_classes)


def _reset_linear(layer: nn.Linear, generator: torch.Generator | None) -> None:
    """Weights and biases uniform in ±1/√(number of inputs)."""
    bound = 1.0 / math.sqrt(layer.in_features)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def replace_head(
    model: ResNet, num_classes: int, *, generator: torch.Generator | None = None
) -> nn.Linear:
    """Give ``model`` a new head for ``num_classes`` classes, in place; returns the new layer.

    Make the optimizer *after* this call: one made before still holds the old head's parameters,
    and the new head never learns. Raises ``ValueError`` for fewer than 1 class.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes} must be at least 1")
    old = model.fc
    model.fc = nn.Linear(
        old.in_features, num_classes, device=old.weight.device, dtype=old.weight.dtype
    )
    _reset_linear(model.fc, generator)
    return model.fc


# --- the family -----------------------------------------------------------------------------------


def resnet18(
    stem: str | Stem = "224", *, in_channels: int = 3, num_classes: int = 1000, **options: object
) -> ResNet:
    """ResNet-18, basic blocks 2-2-2-2: 11,689,512 parameters as published (1,000 classes).

    ``options`` are `ResNet`'s ``width``, ``zero_init_residual``, ``generator``. With the "32" stem
    and 10 classes it has 11,173,962 parameters.
    """
    return _build(BasicBlock, (2, 2, 2, 2), stem, in_channels, num_classes, options)


def resnet34(
    stem: str | Stem = "224", *, in_channels: int = 3, num_classes: int = 1000, **options: object
) -> ResNet:
    """ResNet-34, basic blocks 3-4-6-3: 21,797,672 parameters as published."""
    return _build(BasicBlock, (3, 4, 6, 3), stem, in_channels, num_classes, options)


def resnet50(
    stem: str | Stem = "224", *, in_channels: int = 3, num_classes: int = 1000, **options: object
) -> ResNet:
    """ResNet-50 v1.5, bottlenecks 3-4-6-3: 25,557,032 parameters as published."""
    return _build(Bottleneck, (3, 4, 6, 3), stem, in_channels, num_classes, options)


def resnet101(
    stem: str | Stem = "224", *, in_channels: int = 3, num_classes: int = 1000, **options: object
) -> ResNet:
    """ResNet-101 v1.5, bottlenecks 3-4-23-3: 44,549,160 parameters as published."""
    return _build(Bottleneck, (3, 4, 23, 3), stem, in_channels, num_classes, options)


def small_resnet(
    width: int = 16,
    blocks: Sequence[int] = (2, 2, 2),
    *,
    stem: str | Stem = "32",
    in_channels: int = 3,
    num_classes: int = 10,
    block: type[BasicBlock] | type[Bottleneck] = BasicBlock,
    **options: object,
) -> ResNet:
    """A network that trains in seconds on a CPU: by default 16-32-64 channels, 175,258 parameters.

    With ``width=16`` and n blocks in each of three stages it is He et al.'s CIFAR network of
    6n + 2 layers, but for projections (1×1) where they pad the shortcut with zeros.
    """
    return _build(block, tuple(blocks), stem, in_channels, num_classes, {"width": width, **options})


def _build(
    block: type[BasicBlock] | type[Bottleneck],
    blocks: tuple[int, ...],
    stem: str | Stem,
    in_channels: int,
    num_classes: int,
    options: dict,
) -> ResNet:
    return ResNet(
        block, blocks, stem=stem, in_channels=in_channels, num_classes=num_classes, **options
    )


# --- what it costs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerCost:
    """A convolution or linear layer: its output's shape for one picture, and what it costs."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


def count_parameters(model: nn.Module, *, trainable: bool = False) -> int:
    """Number of parameters, shared ones once; only those that learn with ``trainable``."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def layer_costs(model: nn.Module, shape: Sequence[int]) -> list[LayerCost]:
    """What each convolution and linear layer costs for one input of ``shape``, in order of use.

    ``shape`` is without the batch axis, as ``(3, 224, 224)``. One multiply-add (MAC) is one
    multiplication and one addition, so FLOPs are twice as many; biases, norms, activations and
    pools are left out, as in He et al. (2016). Runs a copy without data (on the meta device): the
    model, its mode and its running statistics stay as they are.
    """
    rows: list[LayerCost] = []
    twin = copy.deepcopy(model).to("meta").eval()
    handles = [
        module.register_forward_hook(_recorder(name, rows))
        for name, module in twin.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        twin(torch.empty(1, *shape, device="meta"))
    for handle in handles:
        handle.remove()
    return rows


def _recorder(name: str, rows: list[LayerCost]):
    """A forward hook that appends the layer's cost to ``rows``."""

    def record(module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            inputs = module.weight[0].numel()  # in_channels/groups · k · k
            size = "×".join(map(str, module.kernel_size))
            stride = "/".join(map(str, dict.fromkeys(module.stride)))
            kind = f"conv {size}/{stride}"
        else:
            inputs, kind = module.in_features, "linear"
        parameters = sum(p.numel() for p in module.parameters(recurse=False))
        shape = tuple(output.shape[1:])
        rows.append(LayerCost(name, kind, shape, parameters, output.numel() * inputs))

    return record


def multiply_adds(model: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-adds of all convolutions and linear layers for one input of ``shape`` (no batch).

    ResNet-18 at ``(3, 224, 224)``: 1.81 · 10⁹. See `layer_costs` for what is counted.
    """
    return sum(row.multiply_adds for row in layer_costs(model, shape))


# --- what it sees ---------------------------------------------------------------------------------


@torch.no_grad()
def activations(model: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """The outputs of the named submodules for ``images (B, C, H, W)``, in the model's mode.

    ``{"layer1": (B, C1, H1, W1), …}``: copies, taken before a later layer changes them in place.
    Raises ``ValueError`` for a name that the model lacks or that it does not run.
    """
    modules = dict(model.named_modules())
    if unknown := [name for name in layers if name not in modules]:
        raise ValueError(f"the model has no {unknown}: use names of model.named_modules()")
    kept: dict[str, Tensor] = {}
    handles = [modules[name].register_forward_hook(_keeper(name, kept)) for name in layers]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    if unused := [name for name in layers if name not in kept]:
        raise ValueError(f"the model does not run {unused} on these images")
    return {name: kept[name] for name in layers}


def _keeper(name: str, kept: dict[str, Tensor]):
    """A forward hook that keeps a copy of the first output."""

    def keep(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        if name not in kept:
            kept[name] = output.detach().clone()

    return keep


@torch.no_grad()
def class_activation_maps(
    model: ResNet, images: Tensor, classes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Where the evidence for a class lies: maps (B, h, w) and the classes (B,) that they are for.

    The logit of class k is the mean over places of Σ_c w_kc · feature_c, plus its bias, because
    mean and linear head commute; the map is that sum at each place. So its mean plus the bias *is*
    the logit. ``classes`` are the predicted ones unless given. Runs in the model's mode: call
    ``model.eval()`` first. Raises ``ValueError`` where the number of classes does not fit.
    """
    features = model.features(images)  # (B, C, h, w)
    if classes is None:
        classes = model.fc(features.mean(dim=(2, 3))).argmax(dim=1)
    classes = torch.as_tensor(classes, device=features.device)
    if classes.shape != (len(images),):
        raise ValueError(f"{tuple(classes.shape)} classes for {len(images)} pictures: one each")
    weights = model.fc.weight[classes]  # (B, C)
    return torch.einsum("bc,bchw->bhw", weights, features), classes
