"""Parameter groups: which parameters decay, and which part of a model learns how fast.

Does: sort a model's trainable parameters into named groups; check that every one is in exactly one.
Does not: freeze anything (``parameter.requires_grad_(False)`` does) or make the optimizer.

Source: He et al. (2019), "Bag of tricks for image classification" (no decay on biases and norms);
Howard and Ruder (2018), "Universal language model fine-tuning" (discriminative rates).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

__all__ = ["check_parameter_groups", "parameter_groups"]


def _starts_with(name: str, prefix: str) -> bool:
    """Whether a dotted name lies below a dotted prefix: ``layer1.0.conv`` below ``layer1``."""
    return name == prefix or name.startswith(prefix.rstrip(".") + ".")


def _longest_prefix(name: str, prefixes: Iterable[str]) -> str | None:
    return max((p for p in prefixes if _starts_with(name, p)), key=len, default=None)


def _embedding_ids(model: nn.Module) -> set[int]:
    kinds = (nn.Embedding, nn.EmbeddingBag)
    return {id(p) for m in model.modules() if isinstance(m, kinds) for p in m.parameters(False)}


def parameter_groups(
    model: nn.Module,
    weight_decay: float = 0.0,
    *,
    lr: float | None = None,
    rates: Mapping[str, float] | None = None,
    decay_embeddings: bool = True,
    no_decay: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer, each with ``name``, ``params``, ``weight_decay`` (and ``lr``).

    Weight decay acts on matrices and filters, not on parameters with fewer than two dimensions
    (biases, and the scales and shifts of norms).

    Args:
        model: its trainable parameters are sorted; frozen ones are left out.
        weight_decay: for the groups that decay; the others get 0.
        lr: base learning rate of the groups; needed with ``rates``.
        rates: ``{prefix: factor}``: parameters below a prefix learn at ``lr * factor``, the longest
            prefix counts, the others learn at ``lr``.
        decay_embeddings: ``False`` also spares ``nn.Embedding`` tables (and heads tied to them).
        no_decay: prefixes of further parameters to spare.

    Raises ``ValueError`` for a prefix that matches no parameter, for ``rates`` without ``lr``, and
    when nothing is trainable.
    """
    rates = dict(rates or {})
    if rates and lr is None:
        raise ValueError("rates are factors on a base learning rate: give lr=… as well")
    if bad := {prefix: rate for prefix, rate in rates.items() if not rate > 0}:
        raise ValueError(f"rates must be above 0, not {bad}: freeze with requires_grad_(False)")
    names = [name for name, _ in model.named_parameters()]
    for prefix in (*rates, *no_decay):
        if not any(_starts_with(name, prefix) for name in names):
            raise ValueError(
                f"prefix {prefix!r} matches no parameter; the model has {_some(names)}"
            )
    spared = set() if decay_embeddings else _embedding_ids(model)
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        prefix = _longest_prefix(name, rates)
        spare = parameter.ndim < 2 or id(parameter) in spared
        decays = not (spare or _longest_prefix(name, no_decay))
        key = (prefix or "", decays)
        if key not in groups:
            title = "decay" if decays else "no_decay"
            groups[key] = {
                "name": f"{prefix}/{title}" if prefix else title,
                "params": [],
                "weight_decay": weight_decay if decays else 0.0,
            }
            if lr is not None:
                groups[key]["lr"] = lr * rates.get(prefix, 1.0) if prefix else lr
        groups[key]["params"].append(parameter)
    if not groups:
        raise ValueError("the model has no trainable parameter: everything is frozen")
    return list(groups.values())


def _some(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(names[:most])
    return shown + (f", … ({len(names)} in all)" if len(names) > most else "") if names else "none"


def check_parameter_groups(model: nn.Module, groups: Iterable[Mapping[str, Any]]) -> None:
    """Refuse groups that miss a trainable parameter, hold one twice, or hold a stranger.

    Raises ``ValueError`` naming the parameter and the group.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    seen: dict[int, str] = {}
    for number, group in enumerate(groups):
        title = str(group.get("name", f"group {number}"))
        for parameter in group["params"]:
            name = names.get(id(parameter))
            if name is None:
                raise ValueError(
                    f"the optimizer's {title} holds a parameter of shape {tuple(parameter.shape)} "
                    "that is not in the model: make the optimizer after copying the model"
                )
            if id(parameter) in seen:
                raise ValueError(
                    f"parameter {name!r} is in {seen[id(parameter)]} and again in {title}: "
                    "it would be updated twice per step"
                )
            seen[id(parameter)] = title
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in seen:
            raise ValueError(
                f"parameter {name!r} is trainable but in no group of the optimizer: add it, or "
                "freeze it with requires_grad_(False)"
            )
