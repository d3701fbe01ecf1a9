"""Foreign weights: read a checkpoint, match its names to a model's, load what fits, and say so.

Does: read ``.pth`` and ``.safetensors`` files without running code from them; rename keys by rules;
report what matches (`match_weights`); load it (`load_matched`), refusing to go on when less matched
than was asked for; freeze layers *with* their batch norms (`freeze`).
Does not: download (`xor2gpt.data`), change shapes, write checkpoints (`xor2gpt.training`).

Why not ``model.load_state_dict(state, strict=False)``: it is content with *no* matching name at
all, and the model then trains from random weights under the name of transfer learning.

Source: the parameter names of torchvision's and transformers' ResNets, read from their code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = [
    "PREFIXES",
    "Match",
    "MatchReport",
    "WeightsMismatch",
    "freeze",
    "from_transformers",
    "load_matched",
    "match_weights",
    "read_weights",
    "unfreeze",
]

Rename = Mapping[str, str] | Sequence[tuple[str, str]] | Callable[[str], str | None]

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.model.")
"""Prefixes that wrappers put before every name (data parallel, torch.compile, trainers)."""

WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state", "weights")
"""Keys under which training scripts keep the weights in a larger checkpoint."""

COUNTER = "num_batches_tracked"  # batch norm's counter: old checkpoints lack it, nothing needs it


class WeightsMismatch(ValueError):
    """Too little of a model or of a checkpoint matched; ``report`` says what."""

    def __init__(self, message: str, report: MatchReport) -> None:
        super().__init__(message)
        self.report = report


# --- reading --------------------------------------------------------------------------------------


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file by name, on the CPU.

    ``.safetensors`` files are read by safetensors, all others by ``torch.load`` with
    ``weights_only=True``, which builds tensors and plain containers but runs no code. Weights
    inside a larger checkpoint are found under the keys in `WRAPPERS`.

    Raises:
        FileNotFoundError: there is no such file (or ``PermissionError``: it may not be read).
        ValueError: it is no checkpoint, is damaged, or holds Python objects.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {str(path)!r}")
    with path.open("rb"):
        pass  # no permission: the system's own error says it best
    try:
        content = _read(path)
    except MemoryError:
        raise
    except Exception as error:  # pickle, zip and safetensors have a dozen kinds, OSError included
        raise ValueError(_unreadable(path, error)) from error
    return _unwrapped(content, path)


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _unreadable(path: Path, error: Exception) -> str:
    """What is wrong with a file that could not be read, judged by how it begins."""
    with path.open("rb") as file:
        head = file.read(256).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"{path.name} is a web page, not a checkpoint: the download was redirected"
    if "weights_only" in str(error) or "Unsupported" in str(error):
        return (
            f"{path.name} holds Python objects besides tensors. Loading those would run code from "
            "the file; ask its author for a state_dict or a .safetensors file"
        )
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"{path.name} is not a whole checkpoint ({first}): fetch it again and compare checksums"


def _unwrapped(content: object, path: Path) -> dict[str, Tensor]:
    """The mapping from names to tensors in ``content``, perhaps one level down."""
    if isinstance(content, Mapping):
        for key in WRAPPERS:
            inner = content.get(key)
            if isinstance(inner, Mapping) and any(torch.is_tensor(v) for v in inner.values()):
                content = inner
                break
        tensors = {str(name): v for name, v in content.items() if torch.is_tensor(v)}
        if tensors:
            return tensors
    raise ValueError(
        f"{path.name} holds no tensors by name but {type(content).__name__}: expected a state_dict"
    )


# --- matching -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Match:
    """One tensor: its name here (``own``) and there (``foreign``), ``None`` where it has none.

    ``status`` is ``loaded``, ``renamed`` (loaded under another name), ``missing`` (here only),
    ``unexpected`` (there only), ``mismatched`` (two shapes) or ``skipped`` (you said so).
    """

    status: str
    own: str | None
    foreign: str | None
    own_shape: tuple[int, ...] | None
    foreign_shape: tuple[int, ...] | None

    @property
    def size(self) -> int:
        """Numbers in the tensor."""
        shape = self.own_shape if self.own_shape is not None else self.foreign_shape
        return int(torch.Size(shape or ()).numel())


@dataclass(frozen=True)
class MatchReport:
    """What of a checkpoint fits a model, tensor by tensor; print it for a table.

    Shares count numbers (weights, biases, and batch norms' running statistics), not tensors, and
    leave out what was skipped and batch norm's counters.
    """

    matches: tuple[Match, ...]
    prefix: str = ""

    def of(self, *status: str) -> list[Match]:
        """The tensors with this status."""
        return [match for match in self.matches if match.status in status]

    @property
    def loaded(self) -> list[Match]:
        """All tensors that fit, renamed or not."""
        return self.of("loaded", "renamed")

    @property
    def renamed(self) -> list[Match]:
        return self.of("renamed")

    @property
    def missing(self) -> list[Match]:
        return self.of("missing")

    @property
    def unexpected(self) -> list[Match]:
        return self.of("unexpected")

    @property
    def mismatched(self) -> list[Match]:
        return self.of("mismatched")

    @property
    def skipped(self) -> list[Match]:
        return self.of("skipped")

    @property
    def share(self) -> float:
        """Share of the model's numbers that the checkpoint fills; 0 for a model without any."""
        return _share(self.loaded, self.missing + self.mismatched)

    @property
    def share_used(self) -> float:
        """Share of the checkpoint's numbers that the model takes."""
        return _share(self.loaded, self.unexpected + self.mismatched)

    def table(self, *, everything: bool = False) -> str:
        """One line a tensor: what did not simply load, or everything."""
        from xor2gpt.plots import text_table

        rows = self.matches if everything else [m for m in self.matches if m.status != "loaded"]
        return text_table(
            {
                "status": [row.status for row in rows],
                "here": [row.own or "–" for row in rows],
                "there": [row.foreign or "–" for row in rows],
                "shape here": [_shown(row.own_shape) for row in rows],
                "shape there": [_shown(row.foreign_shape) for row in rows],
            }
        )

    def summary(self) -> str:
        """Counts and shares in two lines."""
        counts = ", ".join(
            f"{len(self.of(status))} {status}"
            for status in ("loaded", "renamed", "missing", "unexpected", "mismatched", "skipped")
        )
        stripped = f"; prefix {self.prefix!r} removed" if self.prefix else ""
        return (
            f"{counts}{stripped}\n{100 * self.share:.2f} % of the model filled, "
            f"{100 * self.share_used:.2f} % of the checkpoint used"
        )

    def __str__(self) -> str:
        rest = [match for match in self.matches if match.status != "loaded"]
        return self.summary() + (f"\n\n{self.table()}" if rest else "")


def _share(inside: list[Match], outside: list[Match]) -> float:
    counted = [m.size for m in inside if not (m.own or "").endswith(COUNTER)]
    lost = [m.size for m in outside if not (m.own or m.foreign or "").endswith(COUNTER)]
    total = sum(counted) + sum(lost)
    return sum(counted) / total if total else 0.0


def _shown(shape: tuple[int, ...] | None) -> str:
    return "–" if shape is None else "×".join(map(str, shape)) or "scalar"


def match_weights(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    rename: Rename | None = None,
    skip: Iterable[str] = (),
    prefixes: Sequence[str] = PREFIXES,
) -> MatchReport:
    """What of ``state`` fits ``model``; nothing is loaded.

    Args:
        model: the model to fill.
        state: tensors by foreign name, as from `read_weights`.
        rename: from foreign to own names, after prefixes are removed: a dict of whole names or
            dotted beginnings (``{"classifier": "fc"}``), a list of ``(pattern, replacement)`` for
            ``re.sub`` in order, or a function; a function drops a tensor by ``None``.
        skip: patterns with ``*`` of *own* names to leave alone, as ``("fc.*",)`` for a new head.
        prefixes: removed where more than half of the names begin with one.

    Raises:
        ValueError: two foreign tensors would go to one place.
        TypeError: a value of ``state`` is no tensor.
    """
    for name, value in state.items():
        if not torch.is_tensor(value):
            raise TypeError(f"{name!r} is {type(value).__name__}, not a tensor: read_weights(path)")
    own = model.state_dict()
    renamed, prefix = _renamed(state, own, rename, prefixes)
    skipped = tuple(skip)
    matches = [
        _matched(name, tensor, renamed.get(name), state, skipped) for name, tensor in own.items()
    ]
    for name, foreign in renamed.items():
        if name not in own:
            status = "skipped" if _any(name, skipped) else "unexpected"
            matches.append(Match(status, None, foreign, None, tuple(state[foreign].shape)))
    return MatchReport(tuple(matches), prefix)


def _matched(
    name: str,
    tensor: Tensor,
    foreign: str | None,
    state: Mapping[str, Tensor],
    skipped: tuple[str, ...],
) -> Match:
    """The verdict on the model's tensor ``name``."""
    foreign_shape = None if foreign is None else tuple(state[foreign].shape)
    if _any(name, skipped):
        status = "skipped"
    elif foreign is None:
        status = "missing"
    elif foreign_shape != tuple(tensor.shape):
        status = "mismatched"
    else:
        status = "loaded" if foreign == name else "renamed"
    return Match(status, name, foreign, tuple(tensor.shape), foreign_shape)


def _any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _renamed(
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    rename: Rename | None,
    prefixes: Sequence[str],
) -> tuple[dict[str, str], str]:
    """Own name → foreign name, and the prefix that was removed."""
    prefix = _common_prefix(list(state), list(own), prefixes)
    places: dict[str, str] = {}
    for foreign in state:
        name = _rename(foreign.removeprefix(prefix), rename)
        if name is None:
            continue
        if name in places:
            raise ValueError(
                f"both {places[name]!r} and {foreign!r} would be loaded as {name!r}: "
                "make the renaming one-to-one"
            )
        places[name] = foreign
    return places, prefix


def _common_prefix(names: list[str], own: list[str], prefixes: Sequence[str]) -> str:
    """The wrappers' prefixes, one after the other, that most names have and the model has not."""
    removed = ""
    while True:
        for prefix in prefixes:
            longer = removed + prefix
            has = sum(name.startswith(longer) for name in names)
            if 2 * has > len(names) and not any(name.startswith(prefix) for name in own):
                removed = longer
                break
        else:
            return removed


def _rename(name: str, rename: Rename | None) -> str | None:
    if rename is None:
        return name
    if callable(rename):
        return rename(name)
    if isinstance(rename, Mapping):
        for old, new in sorted(rename.items(), key=lambda rule: -len(rule[0])):  # longest first
            if name == old or name.startswith(f"{old.rstrip('.')}."):
                return new.rstrip(".") + name[len(old.rstrip(".")) :]
        return name
    for pattern, replacement in rename:
        name = re.sub(pattern, replacement, name)
    return name


def load_matched(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    rename: Rename | None = None,
    skip: Iterable[str] = (),
    prefixes: Sequence[str] = PREFIXES,
    minimum: float = 1.0,
) -> MatchReport:
    """Load from ``state`` what fits ``model``, in place, and report; arguments as `match_weights`.

    By default everything must fit on both sides but what ``skip`` names. ``minimum`` lowers the
    share (0 to 1) of the model *and* of the checkpoint that has to match; something must match even
    at 0. When it raises, the model is as before. Numbers are converted to the model's dtype and
    device.

    Raises:
        WeightsMismatch: too little matched; its ``report`` and the message name the tensors.
        ValueError: a tensor that would be loaded holds NaN or infinity, or two go to one place.
    """
    if not 0.0 <= minimum <= 1.0:
        raise ValueError(f"minimum={minimum} is a share: use 0 to 1")
    report = match_weights(model, state, rename=rename, skip=skip, prefixes=prefixes)
    _demand(report, minimum)
    for match in report.loaded:
        if not torch.isfinite(state[match.foreign]).all():
            raise ValueError(f"{match.foreign!r} holds NaN or infinity: the checkpoint is broken")
    own = model.state_dict()  # shares memory with the model
    with torch.no_grad():
        for match in report.loaded:
            own[match.own].copy_(state[match.foreign])
    return report


def _demand(report: MatchReport, minimum: float) -> None:
    """Raises `WeightsMismatch` where less than ``minimum`` of model or checkpoint matched."""
    enough = min(report.share, report.share_used) >= minimum
    if report.loaded and report.share > 0 and enough:
        return
    remedy = "give rename=…" if not report.loaded else "name what to leave in skip=… or rename=…"
    examples = [
        f"  {match.status}: here {match.own or '–'} {_shown(match.own_shape)}, "
        f"there {match.foreign or '–'} {_shown(match.foreign_shape)}"
        for status in ("mismatched", "missing", "unexpected")
        for match in report.of(status)[:3]
    ]
    raise WeightsMismatch(
        "\n".join(
            [f"the checkpoint does not fit: {report.summary()}", *examples]
            + [f"{remedy}, or lower minimum={minimum:g} if a part is enough; nothing was loaded"]
        ),
        report,
    )


def from_transformers(name: str) -> str:
    """torchvision's name of a parameter of transformers' ResNet (``ResNetForImageClassification``).

    For ``rename=``. Other names come back as they are. ``encoder.stages.0.layers.1.layer.0
    .convolution.weight`` becomes ``layer1.1.conv1.weight``.
    """
    name = name.removeprefix("resnet.")
    kinds = {"convolution": "conv", "normalization": "bn"}
    if found := re.fullmatch(r"embedder\.embedder\.(convolution|normalization)\.(\w+)", name):
        return f"{kinds[found[1]]}1.{found[2]}"
    if found := re.fullmatch(r"classifier\.1\.(\w+)", name):
        return f"fc.{found[1]}"
    block = r"encoder\.stages\.(\d+)\.layers\.(\d+)\."
    if found := re.fullmatch(block + r"shortcut\.(convolution|normalization)\.(\w+)", name):
        part = 0 if found[3] == "convolution" else 1
        return f"layer{int(found[1]) + 1}.{found[2]}.downsample.{part}.{found[4]}"
    if found := re.fullmatch(block + r"layer\.(\d+)\.(convolution|normalization)\.(\w+)", name):
        layer = f"{kinds[found[4]]}{int(found[3]) + 1}"
        return f"layer{int(found[1]) + 1}.{found[2]}.{layer}.{found[5]}"
    return name


# --- freezing -------------------------------------------------------------------------------------

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def freeze(module: nn.Module, *, norms: bool = True) -> list[str]:
    """Let ``module`` learn no more, in place; returns the names of the parameters that stopped.

    ``requires_grad = False`` does not stop a batch norm: in training mode it still normalises by
    the batch and moves its running statistics, so a "frozen" backbone drifts. With ``norms`` its
    batch norms stay in evaluation mode, also after ``model.train()``; `unfreeze` undoes it. Make
    the optimizer after freezing, from the parameters that still learn.
    """
    stopped = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            parameter.requires_grad_(False)
            stopped.append(name)
    if norms:
        for child in module.modules():
            if isinstance(child, NORMS) and not _hooks(child):
                child.eval()
                child.register_forward_pre_hook(_stay_in_eval)
    return stopped


def unfreeze(module: nn.Module) -> list[str]:
    """Undo `freeze`, in place; batch norms take the mode of ``module``. Returns what learns again.

    Parameters frozen by other means start to learn too.
    """
    started = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            parameter.requires_grad_(True)
            started.append(name)
    for child in module.modules():
        for key in _hooks(child):
            del child._forward_pre_hooks[key]
            child.train(module.training if child is not module else True)
    return started


def _stay_in_eval(norm: nn.Module, _inputs: tuple) -> None:
    """A forward hook of frozen batch norms; a plain function, so that copies of a model keep it."""
    norm.eval()


def _hooks(module: nn.Module) -> list[int]:
    hooks = module._forward_pre_hooks
    return [key for key, hook in hooks.items() if hook is _stay_in_eval]
