"""A decoder-only transformer: GPT-2's architecture, and four modern parts as options.

Does: build GPT-2 of any size (124,439,808 parameters as `GPTConfig.preset("gpt2")`), initialise it
as GPT-2 was, give logits and loss, read and write the weights in Hugging Face's and OpenAI's
layouts, count parameters and floating-point operations. Options: rotary positions (RoPE), RMSNorm,
normalised queries and keys (QK-norm), SwiGLU or ReLU² feed-forwards.
Does not: train (`xor2gpt.training`), write text (`xor2gpt.generation`), or share keys among heads.

Masks are boolean, True = may attend (for a padding mask: True = a real token).
Shapes: B sequences, T tokens, C = n_embd channels, H = n_head heads, V = vocab_size.

Source: Radford et al. (2019), "Language models are unsupervised multitask learners", and the
released weights' layout; SwiGLU: Shazeer (2020), "GLU variants improve transformer"; ReLU²: So et
al. (2021), "Primer". See `xor2gpt.attention` for the rest.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xor2gpt.attention import CausalSelfAttention, KVCache, LayerCache, RMSNorm, rope_tables

__all__ = [
    "GPT",
    "IGNORE",
    "PRESETS",
    "Block",
    "FeedForward",
    "GPTConfig",
    "cross_entropy",
    "flops_per_token",
    "parameter_counts",
    "token_loss",
]

IGNORE = -100
"""The target that no loss is taken of (padding, prompts): torch's default ``ignore_index``."""

Position = Literal["learned", "rope"]
Norm = Literal["layernorm", "rmsnorm"]
Activation = Literal["gelu_tanh", "gelu", "relu2", "swiglu"]


# --- settings -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model. The defaults are GPT-2 small.

    ``gelu_tanh`` is GPT-2's approximation of ``gelu``. ``mlp_width`` is the width of the hidden
    layer: by default 4·C, and for ``swiglu``, which has three matrices instead of two, the multiple
    of 8 next above 8·C/3. ``tied``: the head uses the token embedding's matrix. ``fused=False``
    computes attention step by step. Raises ``ValueError`` for sizes that do not fit together.
    """

    vocab_size: int = 50257
    context_length: int = 1024
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    bias: bool = True
    tied: bool = True
    position: Position = "learned"
    norm: Norm = "layernorm"
    norm_eps: float = 1e-5
    qk_norm: bool = False
    activation: Activation = "gelu_tanh"
    mlp_width: int | None = None
    rope_base: float = 10_000.0
    fused: bool = True

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "n_layer", "n_head", "n_embd"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must be 1 or more")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd={self.n_embd} must be a multiple of n_head={self.n_head}")
        if self.position == "rope" and self.head_dim % 2:
            raise ValueError(f"RoPE needs an even head_dim; n_embd / n_head is {self.head_dim}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout={self.dropout!r} must lie in [0, 1)")
        for name, kind in (("position", Position), ("norm", Norm), ("activation", Activation)):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(map(repr, get_args(kind)))
                raise ValueError(f"{name}={getattr(self, name)!r}: known are {known}")

    @property
    def head_dim(self) -> int:
        """D, the channels of one head."""
        return self.n_embd // self.n_head

    @property
    def hidden(self) -> int:
        """The width of the feed-forward's hidden layer."""
        if self.mlp_width is not None:
            return self.mlp_width
        if self.activation == "swiglu":
            return 8 * math.ceil(self.n_embd / 3)
        return 4 * self.n_embd

    @classmethod
    def preset(cls, name: str, **changes: Any) -> GPTConfig:
        """A named configuration (see `PRESETS`), with ``changes``; ``ValueError`` if unknown."""
        if name not in PRESETS:
            raise ValueError(f"there is no preset {name!r}; known are {', '.join(PRESETS)}")
        return dataclasses.replace(PRESETS[name], **changes)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> GPTConfig:
        """The inverse of `to_dict`; missing fields get defaults, unknown ones ``ValueError``."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(settings) - known):
            raise ValueError(f"GPTConfig has no field {', '.join(unknown)}; it has {sorted(known)}")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for JSON."""
        return dataclasses.asdict(self)


PRESETS: dict[str, GPTConfig] = {
    "tiny": GPTConfig(vocab_size=256, context_length=32, n_layer=2, n_head=2, n_embd=32),
    "small-cpu": GPTConfig(vocab_size=256, context_length=64, n_layer=4, n_head=4, n_embd=128),
    "gpt2": GPTConfig(),
    "gpt2-medium": GPTConfig(n_layer=24, n_head=16, n_embd=1024),
    "gpt2-large": GPTConfig(n_layer=36, n_head=20, n_embd=1280),
    "gpt2-xl": GPTConfig(n_layer=48, n_head=25, n_embd=1600),
}


# --- loss -----------------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy in nats of ``logits (B, T, V)`` against ``targets (B, T)``, in float32.

    Targets equal to `IGNORE` do not count; if all do, the mean is nan. ``reduction`` is ``"mean"``
    (over the targets that count), ``"sum"``, or ``"none"`` (``(B, T)``, 0 where ignored).
    """
    V = logits.shape[-1]
    loss = F.cross_entropy(
        logits.float().view(-1, V), targets.reshape(-1), ignore_index=IGNORE, reduction=reduction
    )
    return loss.view(targets.shape) if reduction == "none" else loss


def token_loss(model: nn.Module, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """``(sum of the losses, number of targets that count)``: what `xor2gpt.training` divides.

    ``ids`` and ``targets`` are ``(B, T)``. Sums, not means, so that accumulated batches of unequal
    token counts weigh each token the same.
    """
    logits, _ = model(ids)
    return cross_entropy(logits, targets, reduction="sum"), (targets != IGNORE).sum()


# --- the parts ------------------------------------------------------------------------------------


def _norm(config: GPTConfig) -> nn.Module:
    """A normalisation over the channels."""
    if config.norm == "rmsnorm":
        return RMSNorm(config.n_embd, config.norm_eps)
    return nn.LayerNorm(config.n_embd, config.norm_eps, bias=config.bias)


class FeedForward(nn.Module):
    """Two matrices with a non-linearity between; ``swiglu`` multiplies by a second, gated branch.

    For ``swiglu`` the matrix ``up`` holds gate and value, one above the other.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation, self.dropout = config.activation, config.dropout
        width = 2 * config.hidden if self.activation == "swiglu" else config.hidden
        self.up = nn.Linear(config.n_embd, width, bias=config.bias)
        self.down = nn.Linear(config.hidden, config.n_embd, bias=config.bias)

    def activate(self, x: Tensor) -> Tensor:
        """The non-linearity: ``(B, T, width of up)`` → ``(B, T, hidden)``."""
        if self.activation == "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        if self.activation == "gelu":
            return F.gelu(x)
        if self.activation == "relu2":
            positive = F.relu(x)
            return positive * positive
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, C)`` → ``(B, T, C)``, each token by itself."""
        y = self.down(self.activate(self.up(x)))
        return F.dropout(y, self.dropout) if self.training and self.dropout else y


class Block(nn.Module):
    """Pre-norm block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = _norm(config)
        self.attention = CausalSelfAttention(
            config.n_embd,
            config.n_head,
            dropout=config.dropout,
            bias=config.bias,
            qk_norm=config.qk_norm,
            norm_eps=config.norm_eps,
            fused=config.fused,
        )
        self.mlp_norm = _norm(config)
        self.mlp = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        rope: tuple[Tensor, Tensor] | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """``(B, T, C)`` → ``(B, T, C)``; the arguments are those of `CausalSelfAttention`."""
        x = x + self.attention(self.attention_norm(x), mask=mask, rope=rope, cache=cache)
        return x + self.mlp(self.mlp_norm(x))


# --- the model ------------------------------------------------------------------------------------


class GPT(nn.Module):
    """Token ids in, logits of the next token out. ``generator`` makes the first weights repeat.

    A tied head has no parameter of its own: ``head`` is ``None`` and the token embedding's matrix
    is used, so that ``state_dict`` never holds the same tensor twice.
    """

    def __init__(self, config: GPTConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding = None
        if config.position == "learned":
            self.position_embedding = nn.Embedding(config.context_length, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.final_norm = _norm(config)
        self.head = None
        if not config.tied:
            self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self._make_rope()
        self.initialise(generator)

    def _make_rope(self) -> None:
        """The tables of rotary positions: buffers that are computed, never stored."""
        if self.config.position == "rope":
            config = self.config
            tables = rope_tables(config.head_dim, config.context_length, config.rope_base)
            for name, table in zip(("rope_cos", "rope_sin"), tables, strict=True):
                self.register_buffer(name, table, persistent=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """GPT-2's start: weights N(0, 0.02²), biases 0, norms 1.

        The two projections of a block that write into the residual stream get 0.02 / √(2·n_layer),
        so that the stream's variance does not grow with the depth.
        """
        residual = 0.02 / math.sqrt(2 * self.config.n_layer)
        for name, parameter in self.named_parameters():
            if parameter.is_meta:
                return
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                std = residual if name.endswith((".out.weight", ".down.weight")) else 0.02
                parameter.normal_(0.0, std, generator=generator)

    @property
    def head_weight(self) -> Tensor:
        """The head's matrix ``(V, C)``: the token embedding's if tied."""
        return self.token_embedding.weight if self.head is None else self.head.weight

    def new_cache(self, batch_size: int = 1, capacity: int | None = None) -> KVCache:
        """An empty cache for ``batch_size`` texts of up to ``capacity`` tokens (one context)."""
        config, weight = self.config, self.token_embedding.weight
        return KVCache(
            n_layer=config.n_layer,
            n_head=config.n_head,
            head_dim=config.head_dim,
            batch_size=batch_size,
            capacity=config.context_length if capacity is None else capacity,
            dtype=weight.dtype,
            device=weight.device,
        )

    def forward(
        self,
        ids: Tensor,
        targets: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        last_only: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """``ids (B, T)`` → ``(logits (B, T, V), mean loss in nats or None)``.

        ``targets (B, T)`` hold the token that follows each place (already shifted); `IGNORE` does
        not count. ``mask``: padding ``(B, S)``, True = a real token; S counts the cached tokens
        too, and each text's places count its real tokens. ``cache``: what was read before; the new
        tokens are added to it. ``last_only`` computes the logits of the last place only:
        ``(B, 1, V)``. Raises ``ValueError`` for a text beyond the context or an id beyond the
        vocabulary.
        """
        x = self._stream(ids, mask, cache)  # (B, T, C)
        if last_only:
            x = x[:, -1:]
        logits = F.linear(self.final_norm(x), self.head_weight)  # (B, T, V)
        return logits, None if targets is None else cross_entropy(logits, targets)

    def hidden(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """``ids (B, T)`` → the hidden states after the last norm, ``(B, T, C)``: the head's input.

        ``mask (B, T)``: padding, True = a real token. Raises ``ValueError`` as `forward` does.
        """
        return self.final_norm(self._stream(ids, mask, None))

    def _stream(self, ids: Tensor, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        """The residual stream after the last block, ``(B, T, C)``."""
        x, rope = self._embed(ids, mask, cache)  # (B, T, C)
        allowed = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, S)
        for number, block in enumerate(self.blocks):
            x = block(
                x, mask=allowed, rope=rope, cache=None if cache is None else cache.layers[number]
            )
        return x

    def _embed(
        self, ids: Tensor, mask: Tensor | None, cache: KVCache | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Token and place as ``(B, T, C)``, and the rotation of these places, if any."""
        config, start = self.config, 0 if cache is None else cache.length
        if ids.dim() != 2:
            raise ValueError(f"ids of shape {tuple(ids.shape)}: give (B, T), a row per text")
        B, T = ids.shape
        if mask is not None and mask.shape != (B, start + T):
            raise ValueError(
                f"a padding mask of shape {tuple(mask.shape)}: it needs ({B}, {start + T}), a "
                "column for each cached and each new token"
            )
        places = self._places(start, T, mask)
        try:
            x = self._look_up(ids)  # (B, T, C)
        except IndexError as error:
            raise ValueError(
                f"ids from {int(ids.min())} to {int(ids.max())}: this model's vocabulary has "
                f"{config.vocab_size} tokens (0 to {config.vocab_size - 1})"
            ) from error
        rope = None
        if self.position_embedding is None:
            cos, sin = self.rope_cos[places], self.rope_sin[places]  # (T, D) or (B, T, D)
            rope = (cos, sin) if mask is None else (cos[:, None], sin[:, None])
        elif mask is None:
            x = x + self.position_embedding.weight[places]  # a slice: no look-up is needed
        else:
            x = x + self.position_embedding(places)
        return F.dropout(x, config.dropout) if self.training and config.dropout else x, rope

    def _look_up(self, ids: Tensor) -> Tensor:
        """``token_embedding(ids)``, ``(B, T, C)``.

        A tied table gets a dense gradient from the head anyway. With few tokens of a large
        vocabulary the look-up then hands over the gradients of its rows only, which are added to
        that; it would otherwise make a second table, of zeros nearly everywhere.
        """
        few = self.head is None and 8 * ids.numel() <= self.config.vocab_size
        self.token_embedding.sparse = few and torch.is_grad_enabled()
        try:
            return self.token_embedding(ids)
        finally:
            self.token_embedding.sparse = False

    def _places(self, start: int, T: int, mask: Tensor | None) -> slice | Tensor:
        """The place of each token in its own text: a slice for all, or ``(B, T)`` with padding."""
        if mask is None:
            places, longest = slice(start, start + T), start + T
        else:
            places = (mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, start:]
            longest = int(places.max()) + 1
        if longest > self.config.context_length:
            raise ValueError(
                f"{longest} tokens do not fit into a context of {self.config.context_length}: "
                f"keep the last ones, ids[:, -{self.config.context_length}:]"
            )
        return places

    @torch.no_grad()
    def attention_maps(self, ids: Tensor) -> Tensor:
        """The attention weights of every layer and head for ``ids (B, T)``: ``(L, B, H, T, T)``."""
        x, rope = self._embed(ids, None, None)
        maps = []
        for block in self.blocks:
            maps.append(block.attention.weights(block.attention_norm(x), rope=rope))
            x = block(x, rope=rope)
        return torch.stack(maps)

    # --- files ---

    def save(self, folder: str | Path) -> Path:
        """Write ``config.json`` and ``model.safetensors`` (no pickle) into ``folder``; returns it.

        A tokenizer saved beside them as ``tokenizer.json`` makes the folder complete for
        ``python -m xor2gpt generate``.
        """
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}
        part = folder / "model.safetensors.part"
        save_file(state, part)
        settings = {"model_type": _MODEL_TYPE, **self.config.to_dict()}
        (folder / "config.json").write_text(json.dumps(settings, indent=1) + "\n", "utf-8")
        part.replace(folder / "model.safetensors")
        return folder

    @classmethod
    def load(cls, folder: str | Path, **changes: Any) -> GPT:
        """The model that `save` wrote, or transformers' GPT-2, Llama or Qwen3 in their folder.

        ``changes`` are fields of `GPTConfig` to set otherwise (``dropout``, ``fused``, …). Raises
        ``FileNotFoundError`` or ``ValueError`` that names the file and what is wrong with it.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name} is not there: no folder of a saved model")
        try:
            settings = json.loads((folder / "config.json").read_text("utf-8"))
            kind = settings.pop("model_type", None)
            tensors = load_file(folder / "model.safetensors")
            if kind != _MODEL_TYPE:
                n_head, fields = _huggingface_fields(kind, settings)
                return cls.from_huggingface(tensors, n_head=n_head, **{**fields, **changes})
            with torch.device("meta"):
                model = cls(GPTConfig.from_dict({**settings, **changes}))
            model.load_state_dict(tensors, assign=True)
        except (ValueError, KeyError, RuntimeError) as error:
            raise ValueError(f"{folder} holds no model that fits: {error}") from error
        model._make_rope()  # the one above is on no device
        return model.requires_grad_(True)

    # --- weights of others ---

    @classmethod
    def from_huggingface(
        cls, state_dict: Mapping[str, Tensor], *, n_head: int, **changes: Any
    ) -> GPT:
        """A model with the weights of transformers' ``GPT2LMHeadModel`` or ``LlamaForCausalLM``.

        Sizes are read off the tensors, which are copied; the number of heads cannot be, so it is
        asked for. ``changes`` are further fields of `GPTConfig` that no tensor shows:
        ``norm_eps``, ``activation``, ``rope_base``, and ``context_length`` for rotary positions.
        Qwen3's layout (Llama's with ``q_norm`` and ``k_norm``) works as far as each head has keys
        of its own. Raises ``ValueError`` with the names that are missing or too many.
        """
        tensors = _without_buffers(state_dict)
        read = _read_llama if "model.embed_tokens.weight" in tensors else _read_gpt2
        found, settings = read(tensors)
        with torch.device("meta"):
            model = cls(GPTConfig(**{**settings, "n_head": n_head, **changes}))
        expected = model.state_dict()
        wrong = [
            name for name in expected if name in found and found[name].shape != expected[name].shape
        ]
        if missing := sorted(set(expected) - set(found)):
            raise ValueError(f"these weights lack {', '.join(missing)}: is it a whole model?")
        if extra := sorted(set(found) - set(expected)):
            raise ValueError(f"these weights have no place in the model: {', '.join(extra)}")
        if wrong:
            raise ValueError(f"these weights have another shape: {', '.join(wrong)}")
        model.load_state_dict({name: t.clone() for name, t in found.items()}, assign=True)
        model._make_rope()  # the one above is on no device
        return model.requires_grad_(True)

    @classmethod
    def from_openai(cls, variables: Mapping[str, Any], *, n_head: int, **changes: Any) -> GPT:
        """A model with the variables of OpenAI's GPT-2 checkpoints, by name.

        Names are ``model/wte``, ``model/h0/attn/c_attn/w`` …; values are arrays or tensors (the
        convolutions of width 1 have a leading axis of length 1).
        """
        renamed = {}
        for name, value in variables.items():
            words = name.removeprefix("model/").split("/")
            last = {"g": "weight", "b": "bias", "w": "weight"}.get(words[-1])
            words = [*words[:-1], last] if last else [*words, "weight"]
            if words[0].startswith("h") and words[0][1:].isdigit():
                words = ["h", words[0][1:], *words[1:]]
            tensor = torch.as_tensor(value)
            renamed[".".join(words)] = tensor[0] if tensor.dim() == 3 else tensor
        return cls.from_huggingface(renamed, n_head=n_head, **changes)

    def to_huggingface(self) -> dict[str, Tensor]:
        """The weights under transformers' names: GPT-2's layout, or Llama's for its options.

        Raises ``ValueError`` for a mix of options that neither has.
        """
        config = self.config
        kind = (config.position, config.norm, config.bias)
        gated = config.activation == "swiglu"
        if kind == ("learned", "layernorm", True) and not gated and not config.qk_norm:
            return _write_gpt2(self.state_dict(), config)
        if kind == ("rope", "rmsnorm", False) and gated:
            return _write_llama(self.state_dict(), config)
        raise ValueError(
            "transformers has no model of this mix of options: GPT-2 is position='learned', "
            "norm='layernorm', bias=True; Llama is position='rope', norm='rmsnorm', "
            "activation='swiglu', bias=False"
        )


# --- layouts --------------------------------------------------------------------------------------

_MODEL_TYPE = "xor2gpt"
_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu": "gelu", "relu2": "relu2"}  # transformers' names


def _huggingface_fields(kind: str | None, settings: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Heads, and the fields of our configuration that a ``config.json`` of transformers tells."""
    if kind == "gpt2":
        activation = settings.get("activation_function", "gelu_new")
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation_function {activation!r}: known are {list(_ACTIVATIONS)}")
        fields = {
            "activation": _ACTIVATIONS[activation],
            "norm_eps": settings.get("layer_norm_epsilon", 1e-5),
        }
        return settings["n_head"], fields
    if kind in ("llama", "qwen3"):
        rope = settings.get("rope_parameters") or {}
        if rope.get("rope_type", "default") != "default" or settings.get("rope_scaling"):
            raise ValueError("scaled rotary positions are not supported")
        fields = {
            "context_length": settings["max_position_embeddings"],
            "norm_eps": settings.get("rms_norm_eps", 1e-6),
            "rope_base": rope.get("rope_theta", settings.get("rope_theta", 10_000.0)),
        }
        return settings["num_attention_heads"], fields
    raise ValueError(f"model_type {kind!r}: known are 'xor2gpt', 'gpt2', 'llama', 'qwen3'")


_GPT2_BLOCK = {  # our name of a block's part → (GPT-2's name, is it a Conv1D, stored transposed?)
    "attention_norm": ("ln_1", False),
    "attention.qkv": ("attn.c_attn", True),
    "attention.out": ("attn.c_proj", True),
    "mlp_norm": ("ln_2", False),
    "mlp.up": ("mlp.c_fc", True),
    "mlp.down": ("mlp.c_proj", True),
}
_LLAMA_BLOCK = {  # our name → Llama's names, whose matrices lie one above the other in ours
    "attention_norm": ("input_layernorm",),
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.q_norm": ("self_attn.q_norm",),
    "attention.k_norm": ("self_attn.k_norm",),
    "attention.out": ("self_attn.o_proj",),
    "mlp_norm": ("post_attention_layernorm",),
    "mlp.up": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down": ("mlp.down_proj",),
}


def _without_buffers(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights alone: old files hold masks and frequencies too."""
    masks = (".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq")
    return {name: tensor for name, tensor in state_dict.items() if not name.endswith(masks)}


def _layers(names: Iterable[str], marker: str) -> int:
    """How many blocks the names ``…marker.NUMBER.…`` speak of."""
    numbers = [int(name.split(marker, 1)[1].split(".")[0]) for name in names if marker in name]
    return max(numbers) + 1 if numbers else 0


def _read_gpt2(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """GPT-2's tensors under our names, and the fields of the configuration that they show."""
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    if "wte.weight" not in tensors or "wpe.weight" not in tensors:
        raise ValueError(
            f"no GPT-2 or Llama layout: there is no wte.weight and no model.embed_tokens.weight "
            f"among {len(tensors)} names such as {sorted(tensors)[:3]}"
        )
    head = tensors.pop("lm_head.weight", None)
    names = {"wte": "token_embedding", "wpe": "position_embedding", "ln_f": "final_norm"}
    parts = {theirs: (ours, turned) for ours, (theirs, turned) in _GPT2_BLOCK.items()}
    found = {}
    for name, tensor in tensors.items():
        part, _, kind = name.rpartition(".")
        if part in names:
            found[f"{names[part]}.{kind}"] = tensor
            continue
        _, number, inner = part.split(".", 2) if part.startswith("h.") else ("", "", part)
        if inner not in parts:
            raise ValueError(f"{name!r} is no name of GPT-2's layout")
        ours, turned = parts[inner]
        found[f"blocks.{number}.{ours}.{kind}"] = (
            tensor.T if turned and kind == "weight" else tensor
        )
    wte = tensors["wte.weight"]
    tied = head is None or head.data_ptr() == wte.data_ptr() or torch.equal(head, wte)
    if not tied:
        found["head.weight"] = head
    width = found["blocks.0.mlp.up.weight"].shape[0] if "blocks.0.mlp.up.weight" in found else None
    return found, {
        "vocab_size": wte.shape[0],
        "n_embd": wte.shape[1],
        "context_length": tensors["wpe.weight"].shape[0],
        "n_layer": _layers(tensors, "h."),
        "tied": tied,
        "mlp_width": None if width == 4 * wte.shape[1] else width,
    }


def _write_gpt2(state: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Our tensors (weights, or gradients) under the names of ``GPT2LMHeadModel``."""
    made = {
        "transformer.wte.weight": state["token_embedding.weight"],
        "transformer.wpe.weight": state["position_embedding.weight"],
    }
    for number in range(config.n_layer):
        for ours, (theirs, turned) in _GPT2_BLOCK.items():
            for kind in ("weight", "bias"):
                tensor = state[f"blocks.{number}.{ours}.{kind}"]
                turn = turned and kind == "weight"
                name = f"transformer.h.{number}.{theirs}.{kind}"
                made[name] = tensor.T.contiguous() if turn else tensor
    for kind in ("weight", "bias"):
        made[f"transformer.ln_f.{kind}"] = state[f"final_norm.{kind}"]
    made["lm_head.weight"] = state["token_embedding.weight" if config.tied else "head.weight"]
    return made


def _read_llama(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Llama's tensors under our names, and the fields of the configuration that they show."""
    embedding = tensors["model.embed_tokens.weight"]
    found = {
        "token_embedding.weight": embedding,
        "final_norm.weight": tensors["model.norm.weight"],
    }
    n_layer = _layers(tensors, "model.layers.")
    for number in range(n_layer):
        start = f"model.layers.{number}."
        if f"{start}self_attn.q_proj.bias" in tensors:
            raise ValueError("projections with biases and RoPE: this layout is not supported")
        shapes = {tensors[f"{start}self_attn.{x}_proj.weight"].shape for x in "qkv"}
        if len(shapes) > 1:
            raise ValueError(f"heads share their keys here (shapes {shapes}): not supported")
        for ours, theirs in _LLAMA_BLOCK.items():
            parts = [tensors.get(f"{start}{name}.weight") for name in theirs]
            if all(part is not None for part in parts):
                found[f"blocks.{number}.{ours}.weight"] = torch.cat(parts)
    head = tensors.get("lm_head.weight")
    tied = head is None or head.data_ptr() == embedding.data_ptr()
    if not tied:
        found["head.weight"] = head
    settings = {
        "vocab_size": embedding.shape[0],
        "n_embd": embedding.shape[1],
        "n_layer": n_layer,
        "mlp_width": tensors["model.layers.0.mlp.down_proj.weight"].shape[1],
        "bias": False,
        "tied": tied,
        "position": "rope",
        "norm": "rmsnorm",
        "norm_eps": 1e-6,
        "activation": "swiglu",
        "qk_norm": "model.layers.0.self_attn.q_norm.weight" in tensors,
    }
    return found, settings


def _write_llama(state: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Our tensors (weights, or gradients) under the names of ``LlamaForCausalLM``."""
    made = {"model.embed_tokens.weight": state["token_embedding.weight"]}
    for number in range(config.n_layer):
        for ours, theirs in _LLAMA_BLOCK.items():
            tensor = state.get(f"blocks.{number}.{ours}.weight")
            if tensor is None:  # no QK-norm
                continue
            for name, part in zip(theirs, tensor.chunk(len(theirs)), strict=True):
                made[f"model.layers.{number}.{name}.weight"] = part
    made["model.norm.weight"] = state["final_norm.weight"]
    made["lm_head.weight"] = state["token_embedding.weight" if config.tied else "head.weight"]
    return made


# --- accounting -----------------------------------------------------------------------------------


def _skeleton(config: GPTConfig) -> GPT:
    """The model without memory for its weights."""
    with torch.device("meta"):
        return GPT(config)


def parameter_counts(config: GPTConfig) -> dict[str, int]:
    """Parameters by part, over all layers; the values add up to the model's total.

    Parts: ``token_embedding``, ``position_embedding``, ``attention``, ``mlp``, ``norms``,
    ``head`` (0 if tied). No memory is used: the model is built without its weights.
    """
    parts = dict.fromkeys(
        ("token_embedding", "position_embedding", "attention", "mlp", "norms", "head"), 0
    )
    for name, parameter in _skeleton(config).named_parameters():
        words = name.split(".")
        part = words[2] if words[0] == "blocks" else words[0]
        parts["norms" if part.endswith("_norm") else part] += parameter.numel()
    return parts


def flops_per_token(config: GPTConfig, length: int | None = None, *, training: bool = False) -> int:
    """Floating-point operations per token of a text of ``length`` tokens (one context).

    A multiply-add counts as two. Counted are the matrix products: every weight matrix and the head
    (2 each), the scores and the weighted sums (4·C·length per layer, as computed without skipping
    the masked half). Norms, softmax and look-ups are left out: they move memory, not arithmetic.
    ``training`` adds the backward pass: twice the forward.
    """
    length = config.context_length if length is None else length
    counts = [
        parameter.numel()
        for name, parameter in _skeleton(config).named_parameters()
        if parameter.dim() == 2 and not name.endswith("embedding.weight")
    ]
    head = config.vocab_size * config.n_embd if config.tied else 0
    forward = 2 * (sum(counts) + head) + config.n_layer * 4 * config.n_embd * length
    return 3 * forward if training else forward
