"""Attention: scaled dot products, masks, rotary positions, and the causal multi-head layer.

Does: compute attention step by step (`scaled_dot_product`) and by torch's fused kernel
(`fused_scaled_dot_product`), with equal results; build causal and padding masks; rotate queries and
keys (RoPE); normalise by the root mean square (RMSNorm); split and merge heads; keep keys and
values of earlier tokens (`KVCache`).
Does not: share keys between heads, attend across sequences, or use floating-point masks.

**Polarity.** Every mask of this module is boolean, and ``True`` means *may attend* (as in
``torch.nn.functional.scaled_dot_product_attention``). Mind that ``torch.nn.MultiheadAttention`` and
``key_padding_mask`` mean the opposite. A query that may attend to nothing gets zeros.

Shapes: B sequences, T queries, S keys, C channels, H heads, D = C / H channels of a head.

Source: Vaswani et al. (2017), "Attention is all you need", section 3.2; RoPE: Su et al. (2021),
"RoFormer", in the half-split layout of Llama; RMSNorm: Zhang and Sennrich (2019); normalised
queries and keys: Henry et al. (2020), "Query-key normalization for transformers", with RMSNorm.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "CausalSelfAttention",
    "KVCache",
    "LayerCache",
    "RMSNorm",
    "apply_rope",
    "attention_weights",
    "causal_mask",
    "fused_scaled_dot_product",
    "merge_heads",
    "padding_mask",
    "rope_tables",
    "scaled_dot_product",
    "split_heads",
]


# --- masks: True = may attend ---------------------------------------------------------------------


def causal_mask(queries: int, keys: int | None = None, *, device: object = None) -> Tensor:
    """``(T, S)`` booleans: query t may attend to the keys up to its own place; True = may attend.

    With more keys than queries, the queries are the *last* T places (the first S − T keys are the
    past). Raises ``ValueError`` for fewer keys than queries.
    """
    keys = queries if keys is None else keys
    if keys < queries:
        raise ValueError(
            f"{queries} queries and {keys} keys: a causal mask needs a key for each query "
            "(the keys are the past and the queries' own places)"
        )
    everything = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return everything.tril(diagonal=keys - queries)


def padding_mask(lengths: Tensor, width: int | None = None, *, side: str = "right") -> Tensor:
    """``(B, S)`` booleans from ``lengths (B,)``: True = a real token, which may be attended to.

    ``side`` is where the padding is: ``"right"`` (training) or ``"left"`` (generation). To combine
    it with a causal mask, write ``padding[:, None, None, :] & causal``.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side={side!r}: the padding is on the 'left' or on the 'right'")
    longest = int(lengths.max())
    width = longest if width is None else width
    if longest > width:
        raise ValueError(f"a sequence of {longest} tokens does not fit into {width} columns")
    column = torch.arange(width, device=lengths.device)  # (S,)
    if side == "left":
        return column >= (width - lengths)[:, None]  # (B, S)
    return column < lengths[:, None]  # (B, S)


def _checked(mask: Tensor | None) -> Tensor | None:
    """``mask`` if it is boolean; a float mask would be added, which means something else."""
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(
            f"a mask of dtype {mask.dtype}: give booleans, True = may attend (mask.bool() of a "
            "0/1 mask; additive −inf masks are not used here)"
        )
    return mask


def _allowed(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    """The mask that says everything: ``mask``, and the causal one where it is asked for."""
    mask = _checked(mask)
    if not causal or q.shape[-2] == 1:  # one query is the newest place: all keys are its past
        return mask
    order = causal_mask(q.shape[-2], k.shape[-2], device=q.device)  # (T, S)
    return order if mask is None else mask & order


# --- scaled dot-product attention -----------------------------------------------------------------


def attention_weights(
    q: Tensor, k: Tensor, *, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """softmax(q·kᵀ / √D) over the keys: ``(…, T, D)`` and ``(…, S, D)`` give ``(…, T, S)``.

    ``mask`` is boolean and broadcasts to ``(…, T, S)``; True = may attend. Rows sum to 1; the row
    of a query that may attend to nothing is 0. Raises ``TypeError`` for a mask of numbers.
    """
    allowed = _allowed(q, k, mask, causal)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (…, T, S)
    if allowed is None:
        return scores.softmax(dim=-1)
    weights = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1)
    return weights.masked_fill(~allowed.any(dim=-1, keepdim=True), 0.0)  # 0/0 of an empty row


def scaled_dot_product(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """Attention step by step: ``q (…, T, D)``, ``k (…, S, D)``, ``v (…, S, E)`` → ``(…, T, E)``.

    ``mask``: boolean, True = may attend; ``causal`` forbids the future (see `causal_mask`). Dropout
    sets weights to 0 *after* the softmax and scales the rest by 1 / (1 − dropout).
    """
    weights = attention_weights(q, k, mask=mask, causal=causal)
    return F.dropout(weights, dropout) @ v if dropout else weights @ v


def fused_scaled_dot_product(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """`scaled_dot_product` by torch's kernel, which never holds the ``(T, S)`` weights in memory.

    The same arguments and results. torch's ``is_causal`` lets query t see keys 0…t; ours counts
    from the end when there is a past, so the flag is used only where both mean the same.
    """
    if causal and mask is None and q.shape[-2] == k.shape[-2]:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
    allowed = _allowed(q, k, mask, causal)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropout)


# --- heads ----------------------------------------------------------------------------------------


def split_heads(x: Tensor, n_head: int) -> Tensor:
    """``(B, T, C)`` → ``(B, H, T, D)``: head h gets the channels h·D … (h + 1)·D − 1."""
    B, T, C = x.shape
    if C % n_head:
        raise ValueError(f"{C} channels cannot be split among {n_head} heads: C must be n_head · D")
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)  # (B, H, T, D)


def merge_heads(x: Tensor) -> Tensor:
    """``(B, H, T, D)`` → ``(B, T, C)``: transposes before the heads are laid side by side."""
    B, H, T, D = x.shape
    return x.transpose(1, 2).reshape(B, T, H * D)  # (B, T, C)


# --- rotary positions and RMSNorm -----------------------------------------------------------------


def rope_tables(head_dim: int, length: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """``(cos, sin)``, each ``(length, D)``, of the angles p · base^(−2i/D) at the places p.

    Channels i and i + D/2 form the pair that is turned by angle i. Raises ``ValueError`` for an
    odd ``head_dim``.
    """
    if head_dim % 2:
        raise ValueError(f"RoPE turns pairs of channels: head_dim={head_dim} must be even")
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)  # (D/2,)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency  # (length, D/2)
    angle = torch.cat([angle, angle], dim=-1)  # (length, D)
    return angle.cos(), angle.sin()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of channels of ``x (…, T, D)``; ``cos`` and ``sin`` broadcast to it.

    The product of a turned query and a turned key depends on the distance of their places only.
    """
    low, high = x.chunk(2, dim=-1)  # (…, T, D/2) each
    return x * cos + torch.cat([-high, low], dim=-1) * sin


class RMSNorm(nn.Module):
    """x / √(mean(x²) + eps) · weight over the last dimension; no mean is taken off, no bias."""

    def __init__(self, size: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """``(…, size)`` → ``(…, size)``; the root mean square is taken in float32 at least."""
        wide = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)  # √(sum of squares)
        scale = torch.rsqrt(norm.square() / x.shape[-1] + self.eps)
        return (x * scale).to(x.dtype) * self.weight

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}"


# --- the cache ------------------------------------------------------------------------------------


class LayerCache:
    """Keys and values of one layer, in buffers that are filled from the left."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values  # (B, H, capacity, D) each
        self.length = 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store ``(B, H, T, D)`` new keys and values; all so far as views ``(B, H, S, D)``."""
        end = self.length + k.shape[-2]
        if end > self.keys.shape[-2]:
            raise ValueError(
                f"the cache holds {self.keys.shape[-2]} tokens and {end} were given: make it "
                "longer, or reset it and start from the last tokens of the text"
            )
        self.keys[:, :, self.length : end] = k.detach()
        self.values[:, :, self.length : end] = v.detach()
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class KVCache:
    """Keys and values of every layer for the tokens that a model has read so far.

    Buffers are made once: memory is 2 · n_layer · B · capacity · n_embd numbers. Only for
    inference: gradients do not flow through it.
    """

    def __init__(
        self,
        *,
        n_layer: int,
        n_head: int,
        head_dim: int,
        batch_size: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: object = None,
    ) -> None:
        shape = (n_layer, 2, batch_size, n_head, capacity, head_dim)
        self.buffer = torch.zeros(shape, dtype=dtype, device=device)
        self.layers = [LayerCache(self.buffer[i, 0], self.buffer[i, 1]) for i in range(n_layer)]

    @property
    def length(self) -> int:
        """How many tokens have been read."""
        return self.layers[0].length

    @property
    def capacity(self) -> int:
        """How many tokens fit."""
        return self.buffer.shape[-2]

    def crop(self, length: int = 0) -> None:
        """Forget all but the first ``length`` tokens; 0 empties the cache."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} tokens")
        for layer in self.layers:
            layer.length = length


# --- the layer ------------------------------------------------------------------------------------


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention of a decoder: each token attends to itself and to its past.

    ``qkv`` holds the three projections side by side (queries, keys, values), ``out`` the output
    projection. ``qk_norm`` normalises queries and keys per head before the rotation.
    ``fused=False`` computes step by step. Dropout acts on the weights and on the output, in
    training mode only.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        qk_norm: bool = False,
        norm_eps: float = 1e-5,
        fused: bool = True,
    ) -> None:
        super().__init__()
        if n_embd % n_head:
            raise ValueError(f"n_embd={n_embd} is no multiple of n_head={n_head}")
        self.n_head, self.head_dim = n_head, n_embd // n_head
        self.dropout, self.fused = dropout, fused
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=bias)
        self.out = nn.Linear(n_embd, n_embd, bias=bias)
        self.q_norm = RMSNorm(self.head_dim, norm_eps) if qk_norm else None
        self.k_norm = RMSNorm(self.head_dim, norm_eps) if qk_norm else None

    def project(
        self, x: Tensor, rope: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``x (B, T, C)`` → queries, keys, values ``(B, H, T, D)``, normalised and turned."""
        q, k, v = (split_heads(part, self.n_head) for part in self.qkv(x).chunk(3, dim=-1))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = apply_rope(q, *rope).type_as(v), apply_rope(k, *rope).type_as(v)
        return q, k, v

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        rope: tuple[Tensor, Tensor] | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """``(B, T, C)`` → ``(B, T, C)``. The future is always hidden, whatever the mask says.

        ``mask``: boolean, broadcasts to ``(B, H, T, S)``, True = may attend. ``rope``: ``(cos,
        sin)`` of these T places. ``cache``: the layer's past; the new keys are appended to it.
        """
        q, k, v = self.project(x, rope)
        if cache is not None:
            k, v = cache.append(k, v)
        attend = fused_scaled_dot_product if self.fused else scaled_dot_product
        dropout = self.dropout if self.training else 0.0
        y = self.out(merge_heads(attend(q, k, v, mask=mask, causal=True, dropout=dropout)))
        return F.dropout(y, dropout) if dropout else y

    def weights(self, x: Tensor, *, rope: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The attention weights ``(B, H, T, T)`` for the input ``x (B, T, C)``, to look at."""
        q, k, _ = self.project(x, rope)
        return attention_weights(q, k, causal=True)
