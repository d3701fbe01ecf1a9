"""xor2gpt.attention beside torch's kernel, torch's layers and transformers' rotations."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from xor2gpt import attention
from xor2gpt.attention import (
    CausalSelfAttention,
    KVCache,
    RMSNorm,
    apply_rope,
    attention_weights,
    causal_mask,
    fused_scaled_dot_product,
    merge_heads,
    padding_mask,
    rope_tables,
    scaled_dot_product,
    split_heads,
)


def normal(*shape, seed=0, **options):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **options)


def layer(n_embd=12, n_head=3, seed=0, **options) -> CausalSelfAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CausalSelfAttention(n_embd, n_head, **options)


# --- masks ----------------------------------------------------------------------------------------


def test_causal_mask_is_true_where_a_query_may_attend():
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True] * 3]
    with_past = [[True, True, True, False], [True, True, True, True]]
    assert causal_mask(2, 4).tolist() == with_past  # the queries are the last two places
    with pytest.raises(ValueError, match="3 queries and 2 keys"):
        causal_mask(3, 2)


def test_padding_mask_is_true_at_real_tokens():
    lengths = torch.tensor([1, 3])
    assert padding_mask(lengths).tolist() == [[True, False, False], [True] * 3]
    left = [[False, False, False, True], [False, True, True, True]]
    assert padding_mask(lengths, 4, side="left").tolist() == left
    with pytest.raises(ValueError, match="3 tokens does not fit into 2"):
        padding_mask(lengths, 2)
    with pytest.raises(ValueError, match="side='top'"):
        padding_mask(lengths, side="top")


def test_a_mask_of_numbers_is_refused():
    q = normal(1, 2, 4)
    for attend in (scaled_dot_product, fused_scaled_dot_product):
        with pytest.raises(TypeError, match="float32.*True = may attend"):
            attend(q, q, q, mask=torch.zeros(2, 2))


# --- scaled dot-product attention -----------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    T=st.integers(1, 7),
    past=st.integers(0, 4),
    D=st.integers(1, 9),
    causal=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 999),
)
def test_explicit_equals_fused_equals_torch(T, past, D, causal, masked, seed):
    S = T + past
    q, k, v = normal(2, 3, T, D, seed=seed), normal(2, 3, S, D), normal(2, 3, S, D, seed=1)
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(2, 1, T, S, generator=generator) < 0.6 if masked else None  # empty rows too
    ours = scaled_dot_product(q, k, v, mask=mask, causal=causal)
    fused = fused_scaled_dot_product(q, k, v, mask=mask, causal=causal)
    allowed = torch.ones(2, 1, T, S, dtype=torch.bool) if mask is None else mask
    if causal:
        allowed = allowed & torch.ones(T, S, dtype=torch.bool).tril(past)
    twin = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=allowed)
    torch.testing.assert_close(ours, twin.float(), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(fused, twin.float(), atol=2e-6, rtol=1e-5)
    weights = attention_weights(q, k, mask=mask, causal=causal)
    rows = allowed.any(-1).expand(2, 3, T).float()
    torch.testing.assert_close(weights.sum(-1), rows, atol=1e-6, rtol=0)
    assert not weights.masked_select(~allowed.expand_as(weights)).any()


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_explicit_and_fused_agree_even_with_an_empty_row(masked):
    mask = None
    if masked:
        mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
        mask[..., 0] = False  # with the causal mask, query 0 may attend to nothing
    grads = []
    for attend in (scaled_dot_product, fused_scaled_dot_product):
        tensors = [normal(2, 2, 4, 8, seed=seed).requires_grad_() for seed in range(3)]
        attend(*tensors, mask=mask, causal=True).square().sum().backward()
        grads.append([t.grad for t in tensors])
    for a, b in zip(*grads, strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_division_by_the_root_of_head_dim():
    q, k = normal(5, 64), normal(5, 64, seed=1)
    expected = torch.softmax(q @ k.T / 8.0, dim=-1)
    torch.testing.assert_close(attention_weights(q, k), expected)


def test_dropout_keeps_the_mean_and_hits_weights_only_in_training():
    q, k = torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 4000, 4)
    v = torch.ones(1, 1, 4000, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dropped = scaled_dot_product(q, k, v, dropout=0.5)
    assert dropped.item() != 1.0 and dropped.item() == pytest.approx(1.0, abs=0.1)
    attend = layer(dropout=0.5)
    x = normal(2, 4, 12)
    attend.eval()
    torch.testing.assert_close(attend(x), attend(x), atol=0, rtol=0)
    attend.train()
    assert not torch.equal(attend(x), attend(x))


# --- heads ----------------------------------------------------------------------------------------


def test_split_and_merge_are_inverse_and_keep_channels_together():
    x = normal(2, 5, 12)
    heads = split_heads(x, 3)
    assert heads.shape == (2, 3, 5, 4)
    torch.testing.assert_close(heads[:, 1], x[:, :, 4:8], atol=0, rtol=0)
    torch.testing.assert_close(merge_heads(heads), x, atol=0, rtol=0)
    with pytest.raises(ValueError, match="12 channels .* 5 heads"):
        split_heads(x, 5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_is_torchs_multi_head_attention(fused, bias):
    ours = layer(fused=fused, bias=bias)
    twin = torch.nn.MultiheadAttention(12, 3, bias=bias, batch_first=True)
    with torch.no_grad():
        twin.in_proj_weight.copy_(ours.qkv.weight)
        twin.out_proj.weight.copy_(ours.out.weight)
        if bias:
            twin.in_proj_bias.copy_(ours.qkv.bias)
            twin.out_proj.bias.copy_(ours.out.bias)
    x = normal(2, 6, 12)
    future = ~causal_mask(6)  # torch's layer has the opposite polarity
    expected, weights = twin(x, x, x, attn_mask=future, average_attn_weights=False)
    torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.weights(x), weights, atol=1e-5, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    place=st.integers(1, 7),
    fused=st.booleans(),
    qk_norm=st.booleans(),
    rope=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_token_sees_the_future(place, fused, qk_norm, rope, seed):
    attend = layer(n_embd=16, n_head=2, fused=fused, qk_norm=qk_norm)
    tables = rope_tables(8, 8) if rope else None
    x = normal(1, 8, 16, seed=seed)
    changed = x.clone()
    changed[:, place:] = normal(1, 8 - place, 16, seed=seed + 1)
    with torch.no_grad():
        before, after = attend(x, rope=tables), attend(changed, rope=tables)
    torch.testing.assert_close(before[:, :place], after[:, :place], atol=1e-6, rtol=0)
    assert not torch.allclose(before[:, place], after[:, place])


def test_a_mask_cannot_uncover_the_future():
    attend, x = layer(), normal(1, 5, 12)
    everything = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    torch.testing.assert_close(attend(x, mask=everything), attend(x), atol=1e-6, rtol=1e-5)


# --- the cache ------------------------------------------------------------------------------------


def test_the_cache_refuses_too_much_and_can_forget():
    cache = KVCache(n_layer=2, n_head=3, head_dim=4, batch_size=1, capacity=5)
    k = normal(1, 3, 4, 4)
    for one in cache.layers:
        keys, values = one.append(k, 2 * k)
    torch.testing.assert_close(values, 2 * keys, atol=0, rtol=0)
    assert (cache.length, cache.capacity) == (4, 5)
    with pytest.raises(ValueError, match="holds 5 tokens and 8"):
        cache.layers[0].append(k, k)
    cache.crop(1)
    assert cache.length == 1
    with pytest.raises(ValueError, match="cannot keep 2 of 1"):
        cache.crop(2)


# --- rotary positions and RMSNorm -----------------------------------------------------------------


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_rope_is_llamas(base):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    settings_ = LlamaConfig(
        hidden_size=24,
        num_attention_heads=3,
        max_position_embeddings=32,
        rope_parameters={"rope_type": "default", "rope_theta": base},
    )
    q, k = normal(2, 3, 10, 8), normal(2, 3, 10, 8, seed=1)
    cos, sin = LlamaRotaryEmbedding(settings_)(q, torch.arange(10)[None])
    expected = apply_rotary_pos_emb(q, k, cos, sin)
    tables = rope_tables(8, 10, base)
    torch.testing.assert_close(apply_rope(q, *tables), expected[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(apply_rope(k, *tables), expected[1], atol=1e-6, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(i=st.integers(0, 20), j=st.integers(0, 20), shift=st.integers(0, 40), half=st.integers(1, 8))
def test_rope_depends_on_the_distance_only_and_keeps_lengths(i, j, shift, half):
    cos, sin = rope_tables(2 * half, 64)
    q, k = normal(2 * half), normal(2 * half, seed=1)

    def product(a, b):
        return apply_rope(q, cos[a], sin[a]) @ apply_rope(k, cos[b], sin[b])

    torch.testing.assert_close(product(i, j), product(i + shift, j + shift), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(apply_rope(q, cos[i], sin[i]).norm(), q.norm())


def test_rope_needs_pairs():
    with pytest.raises(ValueError, match="head_dim=7"):
        rope_tables(7, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm_is_torchs(dtype):
    ours, twin = RMSNorm(10, eps=1e-3), torch.nn.RMSNorm(10, eps=1e-3)
    weight = normal(10, seed=3)
    for norm in (ours, twin):
        norm.weight.data = weight.clone().to(dtype)
    grads = []
    for norm in (ours, twin):
        x = normal(4, 3, 10).to(dtype).requires_grad_()
        y = norm(x)
        (y.float() * normal(4, 3, 10, seed=4)).sum().backward()
        grads.append((y, x.grad, norm.weight.grad))
    tolerance = 1e-5 if dtype == torch.float32 else 0.05  # bfloat16 has 8 bits
    for a, b in zip(*grads, strict=True):
        assert a.dtype == b.dtype == dtype
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_public_names_exist():
    assert all(hasattr(attention, name) for name in attention.__all__)
    assert math.isclose(RMSNorm(4)(torch.full((1, 4), 3.0)).mean().item(), 1.0, rel_tol=1e-5)
