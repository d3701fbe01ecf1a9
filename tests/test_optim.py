"""xor2gpt.optim: AdamW's groups, and Muon beside torch's Muon and AdamW."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xor2gpt.gpt import GPT, GPTConfig
from xor2gpt.optim import Muon, adamw, muon, orthogonalise


def tiny(**changes) -> GPT:
    return GPT(GPTConfig.preset("tiny", **changes), generator=torch.Generator().manual_seed(0))


def names_of(model: GPT, params) -> set[str]:
    wanted = {id(p) for p in params}
    return {name for name, p in model.named_parameters() if id(p) in wanted}


def give_gradients(params, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator)


# --- AdamW ----------------------------------------------------------------------------------------


def test_norms_and_biases_never_decay_and_nothing_is_lost():
    model = tiny()
    groups = adamw(model, lr=1e-3, weight_decay=0.3).param_groups
    decayed, rest = sorted(groups, key=lambda group: -group["weight_decay"])
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.3, 0.0)
    spared = names_of(model, rest["params"])
    assert all(name.endswith(".bias") or "norm" in name for name in spared)
    everything = names_of(model, decayed["params"]) | spared
    assert everything == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_can_be_spared(tied):
    model = tiny(tied=tied)
    groups = adamw(model, lr=1e-3, decay_embeddings=False).param_groups
    spared = set().union(*(names_of(model, g["params"]) for g in groups if not g["weight_decay"]))
    assert {"token_embedding.weight", "position_embedding.weight"} <= spared
    assert "head.weight" not in spared


def test_frozen_parameters_are_left_out():
    model = tiny()
    model.token_embedding.weight.requires_grad_(False)
    groups = adamw(model, lr=1e-3).param_groups
    listed = {id(p) for group in groups for p in group["params"]}
    assert id(model.token_embedding.weight) not in listed
    assert len(listed) == len(list(model.parameters())) - 1


# --- the iteration --------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    size=st.floats(1e-3, 1e3),
    seed=st.integers(0, 99),
)
def test_newton_schulz_keeps_directions_and_moves_singular_values(rows, columns, size, seed):
    """The result is p(Σ) in the basis of the input's SVD, with p the iterated polynomial."""
    generator = torch.Generator().manual_seed(seed)
    G = size * torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    U, S, Vh = torch.linalg.svd(G, full_matrices=False)
    moved = S / (S.square().sum().sqrt() + 1e-7)
    for _ in range(5):
        moved = 3.4445 * moved - 4.7750 * moved**3 + 2.0315 * moved**5
    expected = U @ torch.diag(moved) @ Vh
    got = orthogonalise(G, dtype=torch.float64)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("shape", "dtype"), [((48, 16), "float32"), ((16, 48), "bfloat16")])
def test_rows_or_columns_are_nearly_orthonormal(shape, dtype):
    G = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    Q = orthogonalise(G, dtype=getattr(torch, dtype))
    singular = torch.linalg.svdvals(Q)
    assert singular.min() > 0.6 and singular.max() < 1.25
    U, _, Vh = torch.linalg.svd(G, full_matrices=False)
    cosine = (Q * (U @ Vh)).sum((-2, -1)) / (Q.norm(dim=(-2, -1)) * math.sqrt(16))
    assert cosine.min() > 0.97  # the same directions as the nearest orthogonal matrix


def test_a_batch_is_what_its_matrices_are_one_by_one():
    G = torch.randn(2, 3, 12, 7, generator=torch.Generator().manual_seed(2))
    one_by_one = torch.stack([orthogonalise(m, dtype=torch.float32) for m in G.flatten(0, 1)])
    torch.testing.assert_close(orthogonalise(G, dtype=torch.float32).flatten(0, 1), one_by_one)


def test_a_zero_gradient_gives_a_zero_update():
    assert orthogonalise(torch.zeros(4, 6)).abs().max() == 0.0


# --- Muon -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shapes", [[(16, 16), (16, 16)], [(24, 8), (8, 24), (24, 8)]])
def test_five_steps_agree_with_torch(scale, nesterov, shapes):
    generator = torch.Generator().manual_seed(3)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    options = {"lr": 0.02, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.1}
    mine = Muon(ours, scale=scale, **options)
    twin = torch.optim.Muon(theirs, adjust_lr_fn=scale, **options)
    for step in range(5):
        for params in (ours, theirs):
            give_gradients(params, step)
        mine.step()
        twin.step()
    for a, b in zip(ours, theirs, strict=True):
        # both iterate in bfloat16 (8 bits), batched and one by one: the roundings differ
        torch.testing.assert_close(a, b, atol=5 * 0.02 * 0.02, rtol=0)


def test_the_other_groups_are_torchs_adamw():
    generator = torch.Generator().manual_seed(4)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5,), (3, 4))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    group = {"params": ours, "muon": False, "lr": 1e-2, "weight_decay": 0.1}
    mine = Muon([group], betas=(0.8, 0.9), eps=1e-6)
    twin = torch.optim.AdamW(theirs, lr=1e-2, weight_decay=0.1, betas=(0.8, 0.9), eps=1e-6)
    for step in range(5):
        for params in (ours, theirs):
            give_gradients(params, step)
        mine.step()
        twin.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_stacked_matrices_are_orthogonalised_one_by_one():
    generator = torch.Generator().manual_seed(5)
    whole = torch.nn.Parameter(torch.randn(12, 4, generator=generator))
    parts = [torch.nn.Parameter(part.clone()) for part in whole.detach().chunk(3)]
    mine = Muon([{"params": [whole], "parts": 3}], bf16=False)
    single = Muon(parts, bf16=False)
    give_gradients([whole], 0)
    for part, gradient in zip(parts, whole.grad.chunk(3), strict=True):
        part.grad = gradient.clone()
    mine.step()
    single.step()
    torch.testing.assert_close(whole, torch.cat([*parts]), atol=1e-6, rtol=1e-6)


def test_helper_puts_hidden_matrices_with_muon_and_the_rest_with_adamw():
    model = tiny(tied=False, activation="swiglu")
    optimizer = muon(model, lr=0.01, adam_lr=0.002, weight_decay=0.05)
    by_kind = {True: set(), False: set()}
    for group in optimizer.param_groups:
        by_kind[group["muon"]] |= names_of(model, group["params"])
        assert group["lr"] == (0.01 if group["muon"] else 0.002)
        assert group["weight_decay"] == (0.05 if group["muon"] else 0.0)
        for name in names_of(model, group["params"]):
            parts = {"qkv.weight": 3, "up.weight": 2}
            assert group["parts"] == parts.get(".".join(name.split(".")[-2:]), 1)
    assert len(by_kind[True]) == 4 * model.config.n_layer
    assert {"head.weight", "token_embedding.weight", "position_embedding.weight"} < by_kind[False]
    assert len(by_kind[True] | by_kind[False]) == len(list(model.parameters()))


def test_state_goes_through_a_state_dict_and_training_goes_on_the_same():
    def trained(steps, model, optimizer, first=0):
        for step in range(first, steps):
            ids = torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            model(ids[:, :-1], ids[:, 1:])[1].backward()
            optimizer.step()
        return model, optimizer

    whole, _ = trained(4, model := tiny(), muon(model, bf16=False))
    half, optimizer = trained(2, model := tiny(), muon(model, bf16=False))
    for state in optimizer.state.values():
        assert all(isinstance(value, torch.Tensor | int | float) for value in state.values())
    other = tiny()
    other.load_state_dict(half.state_dict())
    resumed = muon(other, bf16=False)
    resumed.load_state_dict(optimizer.state_dict())
    trained(4, other, resumed, first=2)
    for a, b in zip(whole.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_parameters_without_gradient_stay():
    p, q = torch.nn.Parameter(torch.ones(3, 3)), torch.nn.Parameter(torch.ones(3, 3))
    optimizer = Muon([p, q])
    give_gradients([p], 0)
    optimizer.step()
    assert torch.equal(q, torch.ones(3, 3)) and not torch.equal(p, torch.ones(3, 3))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"\(5,\) is no stack"):
        Muon([torch.nn.Parameter(torch.ones(5))])
    with pytest.raises(ValueError, match="3 matrices"):
        Muon([{"params": [torch.nn.Parameter(torch.ones(4, 4))], "parts": 3}])
    with pytest.raises(ValueError, match="'spectral'"):
        Muon([torch.nn.Parameter(torch.ones(2, 2))], scale="spectral")
    with pytest.raises(ValueError, match="momentum=1.0"):
        Muon([torch.nn.Parameter(torch.ones(2, 2))], momentum=1.0)
