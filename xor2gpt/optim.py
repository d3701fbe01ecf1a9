"""Optimizers for language models: AdamW with sensible groups, and Muon.

Does: make AdamW with weight decay on matrices only (`adamw`); orthogonalise matrices by the
Newton–Schulz iteration; and step matrices with Muon, everything else with AdamW, in one optimizer
(`Muon`, `muon`) whose state is tensors and numbers only, so that any checkpoint holds it. Matrices
of the same shape are orthogonalised together, in one batched product.
Does not: schedule learning rates (`xor2gpt.training`), or share work between machines.

Source: Loshchilov and Hutter (2019), "Decoupled weight decay regularization"; Jordan et al. (2024),
"Muon: an optimizer for hidden layers in neural networks" (coefficients, Nesterov momentum, scale);
Liu et al. (2025), "Muon is scalable for LLM training" (the scale that matches AdamW's RMS).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as _adamw_step

from xor2gpt.training.groups import parameter_groups

__all__ = ["COEFFICIENTS", "Muon", "adamw", "muon", "orthogonalise"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of X ← aX + b(XXᵀ)X + c(XXᵀ)²X: steepest at 0, and [0.7, 1.2] maps into itself."""


# --- AdamW ----------------------------------------------------------------------------------------


def _embedding_ids(model: nn.Module) -> set[int]:
    """Which parameters are look-up tables (also where a head uses the same one)."""
    return {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}


def adamw(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    decay_embeddings: bool = True,
) -> torch.optim.AdamW:
    """torch's AdamW, fused, with weight decay on matrices only.

    Biases and the weights of norms never decay: they have one dimension. Embedding tables do (as
    in GPT-2's lineage), unless ``decay_embeddings=False``. Parameters that need no gradient are
    left out.
    """
    groups = parameter_groups(model, weight_decay, decay_embeddings=decay_embeddings)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)


# --- Muon -----------------------------------------------------------------------------------------


def orthogonalise(
    matrices: Tensor, *, steps: int = 5, dtype: torch.dtype = torch.bfloat16, eps: float = 1e-7
) -> Tensor:
    """``(…, M, N)`` → the same shape: every singular value moved near 1, directions kept.

    Of a matrix UΣVᵀ it gives about UVᵀ, the nearest one with orthonormal rows (or columns), by
    ``steps`` Newton–Schulz steps: products of matrices, no decomposition. With the default
    coefficients the singular values end between 0.3 and 1.2, near enough for an update. bfloat16
    is enough too, and several times as fast where the processor has it.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    X = matrices.mT if tall else matrices  # the smaller of XXᵀ and XᵀX is squared
    batch = X.shape[:-2]
    X = X.reshape(-1, *X.shape[-2:]).to(dtype)  # (n, M, N), M ≤ N
    X = X / (X.norm(dim=(-2, -1), keepdim=True) + eps)  # singular values ≤ 1
    for _ in range(steps):
        A = X @ X.mT  # (n, M, M)
        A = torch.baddbmm(A, A, A, beta=b, alpha=c)  # bA + cA²
        X = torch.baddbmm(X, A, X, beta=a)  # aX + (bA + cA²)X
    X = X.reshape(*batch, *X.shape[-2:]).to(matrices.dtype)
    return X.mT if tall else X


def _scale(rows: int, columns: int, rule: str) -> float:
    """What an orthogonal update is multiplied by, so that a learning rate fits all shapes."""
    if rule == "original":  # by the spectral norm that a step should have
        return math.sqrt(max(1.0, rows / columns))
    return 0.2 * math.sqrt(max(rows, columns))  # root mean square 0.2, as AdamW's steps have


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, for matrices; AdamW for everything else.

    Groups with ``muon=True`` (the default) hold matrices; ``parts=k`` says that each is k matrices
    one above the other (queries, keys and values), which are orthogonalised one by one. ``scale``
    is ``"original"`` (√max(1, rows/columns)) or ``"match_rms_adamw"`` (0.2·√max(rows, columns)).
    Groups with ``muon=False`` are stepped as torch's AdamW does, with their ``betas`` and ``eps``.
    Every group has its own ``lr`` and ``weight_decay`` (decoupled). ``bf16`` chooses the precision
    of the iteration. Raises ``ValueError`` for a Muon parameter that is no matrix.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        steps: int = 5,
        scale: str = "original",
        bf16: bool = True,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        if scale not in ("original", "match_rms_adamw"):
            raise ValueError(f"scale={scale!r}: known are 'original' and 'match_rms_adamw'")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum={momentum!r} must lie in [0, 1)")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "muon": True,
            "parts": 1,
            "momentum": momentum,
            "nesterov": nesterov,
            "steps": steps,
            "scale": scale,
            "bf16": bf16,
            "betas": betas,
            "eps": eps,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for parameter in group["params"] if group["muon"] else ():
                if parameter.dim() != 2 or parameter.shape[0] % group["parts"]:
                    raise ValueError(
                        f"a parameter of shape {tuple(parameter.shape)} is no stack of "
                        f"{group['parts']} matrices: put it into a group with 'muon': False"
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            with_grad = [p for p in group["params"] if p.grad is not None]
            if with_grad:
                (self._muon if group["muon"] else self._adamw)(group, with_grad)
        return loss

    def _muon(self, group: dict[str, Any], params: list[nn.Parameter]) -> None:
        lr, momentum = float(group["lr"]), group["momentum"]
        grads = [p.grad for p in params]
        for p in params:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum"] for p in params]
        torch._foreach_lerp_(buffers, grads, 1.0 - momentum)
        updates = torch._foreach_lerp(grads, buffers, momentum) if group["nesterov"] else buffers
        if group["weight_decay"]:
            torch._foreach_mul_(params, 1.0 - lr * group["weight_decay"])
        by_shape: dict[torch.Size, list[int]] = {}
        for index, p in enumerate(params):
            by_shape.setdefault(p.shape, []).append(index)
        for (rows, columns), indices in by_shape.items():
            rows //= group["parts"]
            stack = torch.stack([updates[i] for i in indices]).view(-1, rows, columns)
            dtype = torch.bfloat16 if group["bf16"] else torch.float32
            stack = orthogonalise(stack, steps=group["steps"], dtype=dtype)
            change = stack.reshape(len(indices), -1, columns).unbind()
            size = lr * _scale(rows, columns, group["scale"])
            torch._foreach_add_([params[i] for i in indices], list(change), alpha=-size)

    def _adamw(self, group: dict[str, Any], params: list[nn.Parameter]) -> None:
        for p in params:
            if "step" not in self.state[p]:
                self.state[p]["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
                self.state[p]["exp_avg"] = torch.zeros_like(p)
                self.state[p]["exp_avg_sq"] = torch.zeros_like(p)
        states = [self.state[p] for p in params]
        beta1, beta2 = group["betas"]
        _adamw_step(
            params,
            [p.grad for p in params],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def muon(
    model: nn.Module,
    *,
    lr: float = 0.02,
    adam_lr: float = 3e-3,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.95),
    **options: Any,
) -> Muon:
    """`Muon` for a `GPT` (or alike): hidden matrices by Muon; embeddings, head, rest by AdamW.

    The query, key and value matrices that lie in one parameter (names that end in ``qkv.weight``)
    are orthogonalised one by one, and so are the gate and value of SwiGLU. ``weight_decay`` acts
    on the hidden matrices. ``options`` are those of `Muon`.
    """
    tables = _embedding_ids(model)
    stacks: dict[int, list[nn.Parameter]] = {}
    rest: list[nn.Parameter] = []
    gated = getattr(getattr(model, "config", None), "activation", None) == "swiglu"
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        if p.dim() != 2 or id(p) in tables or name == "head.weight":
            rest.append(p)
            continue
        parts = 3 if name.endswith("qkv.weight") else 1
        parts = 2 if gated and name.endswith("mlp.up.weight") else parts
        stacks.setdefault(parts, []).append(p)
    groups: list[dict[str, Any]] = [
        {"name": f"muon/{parts}", "params": stacks[parts], "parts": parts}
        for parts in sorted(stacks)
    ]
    if rest:
        other = {"name": "adamw", "muon": False, "lr": adam_lr, "weight_decay": 0.0}
        groups.append({"params": rest, **other})
    return Muon(groups, lr=lr, weight_decay=weight_decay, betas=betas, **options)
