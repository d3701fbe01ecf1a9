"""Precision: float32, or bfloat16 products by autocast where the hardware has them.

Does: choose between "fp32" and "bf16" and say why; give the autocast context.
Does not: use float16 (it needs loss scaling) or change the weights, which stay float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["autocast", "choose_precision"]


def _bf16_hardware(device: torch.device) -> str | None:
    """The hardware behind bfloat16 products on this device, in words; ``None`` without."""
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
        return "the GPU's tensor cores" if has else None
    if device.type == "cpu":
        for name, words in (
            ("_is_amx_tile_supported", "AMX"),
            ("_is_avx512_bf16_supported", "AVX-512 BF16"),
        ):
            if getattr(torch.cpu, name, lambda: False)():
                return f"the processor's {words}"
    return None


def choose_precision(wish: str, device: torch.device) -> tuple[str, str]:
    """``("fp32" | "bf16", why)`` for a wish of ``"fp32"``, ``"bf16"`` or ``"auto"``."""
    if wish == "fp32":
        return "fp32", "fp32: float32 everywhere"
    if wish not in ("bf16", "auto"):
        raise ValueError(f"precision must be 'fp32', 'bf16' or 'auto', not {wish!r}")
    hardware = _bf16_hardware(device)
    if hardware:
        return "bf16", f"bf16: products in bfloat16 on {hardware}, weights in float32"
    if wish == "bf16":
        return (
            "bf16",
            f"bf16, as asked, though torch reports no hardware for it: {device.type} is slow",
        )
    return "fp32", f"fp32: {device.type} has no bfloat16 hardware that torch reports"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context for a forward pass in this precision."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
