"""Random small models for the tests: ours, and transformers' of the same shape."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from xor2gpt.gpt import GPT, GPTConfig

MODERN = {
    "position": "rope",
    "norm": "rmsnorm",
    "qk_norm": True,
    "activation": "relu2",
    "bias": False,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "explicit": {"fused": False},
    "untied": {"tied": False, "bias": False, "activation": "gelu"},
    "rope": {"position": "rope"},
    "swiglu": {"position": "rope", "norm": "rmsnorm", "activation": "swiglu", "bias": False},
    "modern": MODERN,
}


def small(seed: int = 0, **changes: Any) -> GPT:
    """A model of 2 layers, 2 heads, 16 channels, 31 tokens, context 12, in evaluation mode.

    Its weights are ten times GPT-2's first ones, so that outputs differ visibly.
    """
    sizes = {"vocab_size": 31, "context_length": 12, "n_layer": 2, "n_head": 2, "n_embd": 16}
    model = GPT(GPTConfig(**{**sizes, **changes}), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p.mul_(10)
    return model.eval()


def random_ids(*shape: int, vocab_size: int = 31, seed: int = 0) -> Tensor:
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def _shaken(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter random, biases and norms too, so that nothing is 0 or 1 by chance."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            is_scale = p.dim() == 1 and name.endswith("weight")
            p.copy_(1.0 + 0.2 * noise if is_scale else 0.15 * noise)
    return model.eval()


def hf_gpt2(seed: int = 0, **changes: Any) -> torch.nn.Module:
    """A random ``GPT2LMHeadModel`` without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = {
        "vocab_size": 31,
        "n_positions": 12,
        "n_embd": 24,
        "n_layer": 2,
        "n_head": 3,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": 0,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return _shaken(GPT2LMHeadModel(GPT2Config(**{**settings, **changes})), seed)


def hf_llama(seed: int = 0, *, qk_norm: bool = False, **changes: Any) -> torch.nn.Module:
    """A random ``LlamaForCausalLM``; with ``qk_norm`` a ``Qwen3ForCausalLM``; no shared keys."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    settings = {
        "vocab_size": 31,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "max_position_embeddings": 12,
        "rms_norm_eps": 1e-6,
        "bos_token_id": 0,
        "eos_token_id": None,
        "pad_token_id": None,
        "tie_word_embeddings": False,
    }
    logging.getLogger("transformers").setLevel(logging.ERROR)
    settings |= changes
    if qk_norm:
        head_dim = settings["hidden_size"] // settings["num_attention_heads"]
        return _shaken(Qwen3ForCausalLM(Qwen3Config(**settings, head_dim=head_dim)), seed)
    return _shaken(LlamaForCausalLM(LlamaConfig(**settings)), seed)
