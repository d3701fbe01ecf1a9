"""xor2gpt.gpt: sizes, start, loss, masks, cache, accounting."""

import json
import math

import pytest
import torch
from gpt_kit import OPTIONS, random_ids, small
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from xor2gpt import gpt
from xor2gpt.gpt import (
    GPT,
    IGNORE,
    PRESETS,
    GPTConfig,
    cross_entropy,
    flops_per_token,
    parameter_counts,
    token_loss,
)

OPTION_NAMES = st.sampled_from(sorted(OPTIONS))


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_goes_through_json(name):
    config = GPTConfig.preset(name)
    assert GPTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_presets_can_be_changed_and_bad_settings_are_named():
    assert GPTConfig.preset("gpt2", dropout=0.1).dropout == 0.1
    for changes, message in [
        ({"n_embd": 10, "n_head": 3}, "n_embd=10 must be a multiple of n_head=3"),
        ({"n_layer": 0}, "n_layer=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"position": "sinus"}, "position='sinus': known are 'learned', 'rope'"),
        ({"norm": "batch"}, "norm='batch'"),
        ({"activation": "relu"}, "activation='relu'"),
        ({"n_embd": 9, "n_head": 3, "position": "rope"}, "even head_dim; n_embd / n_head is 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            GPTConfig(**changes)
    with pytest.raises(ValueError, match="no preset 'gpt3'; known are tiny"):
        GPTConfig.preset("gpt3")
    with pytest.raises(ValueError, match="no field block_size"):
        GPTConfig.from_dict({"block_size": 4})


def test_hidden_widths():
    assert GPTConfig().hidden == 3072
    assert GPTConfig(activation="swiglu").hidden == 2048
    assert GPTConfig(n_embd=128, n_head=4, activation="swiglu").hidden == 344  # 341.3 → 8·43
    assert GPTConfig(mlp_width=100).hidden == 100


# --- size and cost --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_parameters_of_gpt2s_four_sizes(name, number):
    """The sizes of the released models, the tied head counted once."""
    assert sum(parameter_counts(PRESETS[name]).values()) == number


def test_parameters_by_part():
    V, T, C, L = 50257, 1024, 768, 12
    assert parameter_counts(PRESETS["gpt2"]) == {
        "token_embedding": V * C,
        "position_embedding": T * C,
        "attention": L * (4 * C * C + 4 * C),
        "mlp": L * (8 * C * C + 5 * C),
        "norms": (2 * L + 1) * 2 * C,
        "head": 0,
    }
    assert parameter_counts(GPTConfig.preset("gpt2", tied=False))["head"] == V * C


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_counts_of_parameters_and_operations_are_those_of_the_real_model(options):
    model = small(**{**options, "fused": False})
    assert sum(parameter_counts(model.config).values()) == sum(
        p.numel() for p in model.parameters()
    )
    with FlopCounterMode(display=False) as counter:
        loss = model(random_ids(3, 7), random_ids(3, 7, seed=1))[1]
        forward = counter.get_total_flops()
        loss.backward()
    assert forward == 3 * 7 * flops_per_token(model.config, 7)
    assert counter.get_total_flops() == 3 * 7 * flops_per_token(model.config, 7, training=True)


# --- the start ------------------------------------------------------------------------------------


def test_first_weights_are_gpt2s_and_repeat():
    config = GPTConfig.preset("small-cpu")
    model, again = (GPT(config, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    other = GPT(config, generator=torch.Generator().manual_seed(8))
    for (name, p), q, r in zip(
        model.named_parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(p, q)
        if p.dim() == 1:
            assert torch.equal(p, torch.full_like(p, float(name.endswith("weight"))))
            continue
        assert not torch.equal(p, r)
        residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
        std = 0.02 / math.sqrt(2 * 4) if residual else 0.02
        assert p.std().item() == pytest.approx(std, rel=0.03), name
        assert abs(p.mean().item()) < 4 * std / math.sqrt(p.numel()), name


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_first_loss_is_about_ln_v(options):
    config = GPTConfig(vocab_size=200, context_length=32, n_layer=2, n_head=2, n_embd=64, **options)
    model = GPT(config, generator=torch.Generator().manual_seed(0))
    ids = random_ids(8, 33, vocab_size=200)
    loss = model(ids[:, :-1], ids[:, 1:])[1]
    assert loss.item() == pytest.approx(math.log(200), abs=0.1)


def test_a_tied_head_is_one_tensor_and_its_gradient_has_both_parts():
    model = small()
    assert model.head is None and model.head_weight is model.token_embedding.weight
    assert "head.weight" not in model.state_dict()
    model(random_ids(1, 4), random_ids(1, 4, seed=1))[1].backward()
    used = set(random_ids(1, 4).flatten().tolist())
    rows = model.token_embedding.weight.grad.abs().sum(1) > 0
    assert rows.all() and len(used) < 31  # the head's part reaches every token, look-ups only four


@pytest.mark.parametrize("position", ["learned", "rope"])
def test_gradients_of_a_large_tied_table_are_dense_and_right(position):
    """Few tokens of a large vocabulary take another way back: the same gradient, added up twice."""
    model = small(vocab_size=500, position=position)
    ids, targets = torch.tensor([[3, 499, 3, 3, 7]]), torch.tensor([[499, 3, 3, 7, 0]])
    for _ in range(2):  # the second time it is added to what is there
        model(ids, targets)[1].backward()
    twin = small(vocab_size=500, position=position)
    twin.head = torch.nn.Linear(16, 500, bias=False)  # a module of its own, the same parameter
    twin.head.weight = twin.token_embedding.weight
    (2 * twin(ids, targets)[1]).backward()
    got = model.token_embedding.weight.grad
    assert not got.is_sparse and not model.token_embedding.sparse
    torch.testing.assert_close(got, twin.token_embedding.weight.grad, atol=1e-6, rtol=1e-5)


# --- loss -----------------------------------------------------------------------------------------


def test_ignored_targets_do_not_count():
    model, ids, targets = small(), random_ids(2, 6), random_ids(2, 6, seed=1)
    targets[0, 2:] = IGNORE
    logits, loss = model(ids, targets)
    chosen = torch.log_softmax(logits, -1)[targets != IGNORE]
    expected = -chosen.gather(1, targets[targets != IGNORE][:, None]).mean()
    torch.testing.assert_close(loss, expected)
    each = cross_entropy(logits, targets, reduction="none")
    assert each.shape == (2, 6) and not each[0, 2:].any()
    total, count = token_loss(model, ids, targets)
    assert count.item() == 8
    torch.testing.assert_close(total / count, expected)
    torch.testing.assert_close(total, each.sum())
    assert model(ids, torch.full_like(ids, IGNORE))[1].isnan()


def test_the_loss_is_float32_under_autocast():
    model, ids = small(), random_ids(2, 6)
    with torch.autocast("cpu", torch.bfloat16):
        logits, loss = model(ids, ids)
    assert logits.dtype == torch.bfloat16 and loss.dtype == torch.float32
    torch.testing.assert_close(loss, model(ids, ids)[1], atol=0.05, rtol=0.05)


# --- laws -----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(option=OPTION_NAMES, T=st.integers(2, 12), data=st.data())
def test_no_token_sees_the_future(option, T, data):
    place = data.draw(st.integers(1, T - 1))
    model, ids = small(**OPTIONS[option]), random_ids(1, T)
    changed = ids.clone()
    changed[0, place:] = (ids[0, place:] + data.draw(st.integers(1, 30))) % 31
    with torch.no_grad():
        before, after = model(ids)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :place], after[:, :place], atol=1e-5, rtol=0)
    assert not torch.allclose(before[:, place], after[:, place])


@settings(max_examples=40, deadline=None)
@given(
    option=OPTION_NAMES,
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    data=st.data(),
)
def test_cached_equals_uncached_for_any_split_and_any_padding(option, lengths, data):
    """Left-padded texts read in chunks give what each text gives by itself in one piece."""
    model, width = small(**OPTIONS[option]), max(lengths)
    cuts = sorted(data.draw(st.sets(st.integers(1, width - 1)))) if width > 1 else []
    ids = random_ids(len(lengths), width, seed=data.draw(st.integers(0, 99)))
    real = torch.arange(width) >= width - torch.tensor(lengths)[:, None]
    cache, chunks = model.new_cache(len(lengths), width), []
    with torch.no_grad():
        for start, end in zip([0, *cuts], [*cuts, width], strict=True):
            mask = None if bool(real.all()) else real[:, :end]
            chunks.append(model(ids[:, start:end], mask=mask, cache=cache)[0])
        together = torch.cat(chunks, dim=1)
        assert together.isfinite().all() and cache.length == width
        for row, length in enumerate(lengths):
            alone = model(ids[row : row + 1, width - length :])[0][0]
            torch.testing.assert_close(together[row, width - length :], alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_padding_on_the_right_changes_nothing(options):
    model, ids = small(**options), random_ids(2, 9)
    mask = torch.arange(9) < torch.tensor([[5], [9]])
    with torch.no_grad():
        padded, alone = model(ids, mask=mask)[0], model(ids[:1, :5])[0]
    torch.testing.assert_close(padded[:1, :5], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_hidden_states_are_what_the_head_reads(options):
    model, ids = small(**options), random_ids(2, 9)
    mask = torch.arange(9) >= torch.tensor([[4], [0]])  # the first text is padded on the left
    with torch.no_grad():
        hidden, padded = model.hidden(ids), model.hidden(ids, mask)
        assert hidden.shape == padded.shape == (2, 9, 16)
        torch.testing.assert_close(hidden @ model.head_weight.T, model(ids)[0])
        torch.testing.assert_close(padded @ model.head_weight.T, model(ids, mask=mask)[0])
        alone = model.hidden(ids[:1, 4:])
    torch.testing.assert_close(padded[:1, 4:], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(hidden[:1, 4:], alone, atol=1e-2)
    with pytest.raises(ValueError, match="13 tokens do not fit"):
        model.hidden(random_ids(1, 13))


def test_last_only_gives_the_last_row():
    model, ids = small(), random_ids(2, 6)
    torch.testing.assert_close(model(ids, last_only=True)[0], model(ids)[0][:, -1:])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_attention_maps_are_what_the_model_uses(options):
    model, ids = small(**options), random_ids(2, 6)
    maps = model.attention_maps(ids)
    assert maps.shape == (2, 2, 2, 6, 6)  # (L, B, H, T, T)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 2, 6))
    assert not maps.triu(1).any()
    x, rope = model._embed(ids, None, None)
    block = model.blocks[0]
    _, _, v = block.attention.project(block.attention_norm(x), rope)
    mixed = (maps[0] @ v).transpose(1, 2).reshape(2, 6, 16)
    expected = block.attention(block.attention_norm(x), rope=rope)
    torch.testing.assert_close(block.attention.out(mixed), expected, atol=1e-5, rtol=1e-4)


def test_dropout_acts_in_training_only():
    model, ids = small(dropout=0.3), random_ids(2, 6)
    assert torch.equal(model(ids)[0], model(ids)[0])
    model.train()
    assert not torch.equal(model(ids)[0], model(ids)[0])


def test_a_batch_can_be_overfitted():
    model = GPT(GPTConfig.preset("tiny"), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = random_ids(4, 17, vocab_size=256)
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(ids[:, :-1], ids[:, 1:])[1]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1  # it starts at ln 256 = 5.5


# --- errors ---------------------------------------------------------------------------------------


def test_bad_input_is_named():
    model = small()
    with pytest.raises(ValueError, match="13 tokens do not fit into a context of 12"):
        model(random_ids(1, 13))
    with pytest.raises(ValueError, match="ids from 31 to 31: .* 31 tokens"):
        model(torch.tensor([[31]]))
    with pytest.raises(ValueError, match=r"ids of shape \(3,\)"):
        model(torch.arange(3))
    with pytest.raises(ValueError, match=r"padding mask of shape \(1, 2\): it needs \(1, 3\)"):
        model(random_ids(1, 3), mask=torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(TypeError, match="True = may attend"):
        model(random_ids(1, 3), mask=torch.ones(1, 3))
    cache = model.new_cache(1)
    model(random_ids(1, 10), cache=cache)
    with pytest.raises(ValueError, match="13 tokens do not fit"):
        model(random_ids(1, 3), cache=cache)


def test_public_names_exist():
    assert all(hasattr(gpt, name) for name in gpt.__all__)
