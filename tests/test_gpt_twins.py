"""xor2gpt.gpt beside transformers' GPT-2, Llama and Qwen3 on random weights.

Logits, loss, every gradient and greedy text agree; weights go there and back.
"""

import math

import pytest
import torch
from gpt_kit import OPTIONS, hf_gpt2, hf_llama, random_ids, small

from xor2gpt.generation import generate
from xor2gpt.gpt import GPT, IGNORE, GPTConfig, _write_gpt2, _write_llama

CASES = {
    "gpt2": (hf_gpt2, {}, {}),
    "gpt2, one head": (hf_gpt2, {"n_head": 1, "n_layer": 1}, {}),
    "gpt2, exact gelu": (hf_gpt2, {"activation_function": "gelu"}, {"activation": "gelu"}),
    "gpt2, relu²": (hf_gpt2, {"activation_function": "relu2"}, {"activation": "relu2"}),
    "gpt2, narrow": (hf_gpt2, {"n_inner": 20, "layer_norm_epsilon": 1e-3}, {"norm_eps": 1e-3}),
    "gpt2, untied": (hf_gpt2, {"tie_word_embeddings": False}, {}),
    "llama": (hf_llama, {}, {"context_length": 12}),
    "llama, tied": (
        hf_llama,
        {"tie_word_embeddings": True, "num_attention_heads": 2, "num_key_value_heads": 2},
        {"context_length": 12},
    ),
    "llama, base": (
        hf_llama,
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}, "rms_norm_eps": 1e-4},
        {"context_length": 12, "rope_base": 500.0, "norm_eps": 1e-4},
    ),
    "qwen3 (QK-norm)": (hf_llama, {"qk_norm": True}, {"context_length": 12}),
}
twins = pytest.mark.parametrize("case", CASES)


def pair(case: str) -> tuple[GPT, torch.nn.Module]:
    """Our model with the weights of transformers' random one."""
    make, settings, changes = CASES[case]
    theirs = make(seed=len(case), **settings)
    n_head = theirs.config.num_attention_heads
    ours = GPT.from_huggingface(theirs.state_dict(), n_head=n_head, **changes)
    return ours.eval(), theirs


def our_gradients(model: GPT) -> dict[str, torch.Tensor]:
    """Our gradients under transformers' names."""
    grads = {name: p.grad for name, p in model.named_parameters()}
    write = _write_gpt2 if model.config.position == "learned" else _write_llama
    return write(grads, model.config)


@twins
@pytest.mark.parametrize("fused", [True, False])
def test_logits_loss_and_every_gradient(case, fused):
    ours, theirs = pair(case)
    for block in ours.blocks:
        block.attention.fused = fused
    ids, targets = random_ids(3, 11), random_ids(3, 11, seed=1)
    targets[0, :4] = IGNORE
    labels = torch.cat([torch.full((3, 1), IGNORE), targets[:, :-1]], dim=1)  # transformers shifts
    targets[:, -1] = IGNORE  # it has no target for the last place
    logits, loss = ours(ids, targets)
    expected = theirs(input_ids=ids, labels=labels)
    torch.testing.assert_close(logits, expected.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loss, expected.loss, atol=1e-5, rtol=1e-5)
    loss.backward()
    expected.loss.backward()
    mine = our_gradients(ours)
    for name, p in theirs.named_parameters():
        torch.testing.assert_close(mine.pop(name), p.grad, atol=1e-4, rtol=1e-3, msg=name)
    assert set(mine) <= {"lm_head.weight"}  # a tied head is one parameter there too


@twins
def test_greedy_text_with_and_without_cache(case):
    ours, theirs = pair(case)
    ids = random_ids(2, 5, seed=3)
    expected = theirs.generate(ids, do_sample=False, max_new_tokens=7)[:, 5:].tolist()
    assert generate(ours, ids, 7) == expected
    assert generate(ours, ids, 7, use_cache=False) == expected


@pytest.mark.parametrize("case", ["gpt2", "llama"])
def test_greedy_text_of_unequal_prompts(case):
    ours, theirs = pair(case)
    ids = random_ids(3, 6, seed=4)
    mask = torch.arange(6) >= 6 - torch.tensor([[2], [6], [5]])
    padded = ids * mask  # left padding with token 0
    made = theirs.generate(padded, attention_mask=mask.long(), do_sample=False, max_new_tokens=6)
    prompts = [row[real].tolist() for row, real in zip(ids, mask, strict=True)]
    assert generate(ours, prompts, 6) == made[:, 6:].tolist()


@twins
def test_weights_go_back(case):
    ours, theirs = pair(case)
    back = ours.to_huggingface()
    state = theirs.state_dict()
    assert set(back) == set(state)
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor), name
    theirs.load_state_dict(back)


def test_weights_are_copied():
    ours, theirs = pair("gpt2")
    before = ours.token_embedding.weight.clone()
    with torch.no_grad():
        theirs.transformer.wte.weight.zero_()
    assert torch.equal(ours.token_embedding.weight, before)
    assert all(p.requires_grad for p in ours.parameters())


@pytest.mark.parametrize("tied", [True, False])
def test_names_without_prefix_and_old_buffers_are_read(tied):
    _, theirs = pair("gpt2" if tied else "gpt2, untied")
    state = {k.removeprefix("transformer."): v for k, v in theirs.state_dict().items()}
    state |= {"h.0.attn.bias": torch.ones(1, 1, 12, 12), "h.0.attn.masked_bias": torch.ones(())}
    if tied:
        del state["lm_head.weight"]  # as in the released files
    model = GPT.from_huggingface(state, n_head=3)
    assert model.config.tied is tied
    ids = random_ids(1, 5)
    torch.testing.assert_close(model(ids)[0], theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_openais_variables():
    """Their names, with the leading axis of a convolution of width 1."""
    theirs = hf_gpt2()
    variables = {}
    for name, tensor in theirs.transformer.state_dict().items():
        words = name.split(".")
        if words[0] == "h":
            words = [f"h{words[1]}", *words[2:]]
        norm = words[-2].startswith("ln")
        end = {"weight": "g" if norm else "w", "bias": "b"}[words[-1]]
        words = words[:-1] if words[-2] in ("wte", "wpe") else [*words[:-1], end]
        array = tensor.numpy()
        variables["model/" + "/".join(words)] = (
            array[None] if end == "w" and array.ndim == 2 else array
        )
    variables["model/wte"], variables["model/wpe"] = (
        theirs.transformer.wte.weight.detach().numpy(),
        theirs.transformer.wpe.weight.detach().numpy(),
    )
    assert "model/h0/attn/c_attn/w" in variables and "model/ln_f/g" in variables
    model = GPT.from_openai(variables, n_head=3)
    ids = random_ids(1, 5)
    torch.testing.assert_close(model(ids)[0], theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_wrong_weights_are_named():
    state = hf_gpt2().state_dict()
    with pytest.raises(ValueError, match="no GPT-2 or Llama layout.*'fc.weight'"):
        GPT.from_huggingface({"fc.weight": torch.ones(2, 2)}, n_head=1)
    lacking = {k: v for k, v in state.items() if "h.1.ln_2" not in k}
    with pytest.raises(ValueError, match=r"lack blocks\.1\.mlp_norm\.bias, blocks\.1\.mlp_norm"):
        GPT.from_huggingface(lacking, n_head=3)
    with pytest.raises(ValueError, match="'transformer.h.0.extra.weight' is no name|'h.0.extra"):
        GPT.from_huggingface({**state, "transformer.h.0.extra.weight": torch.ones(2)}, n_head=3)
    bad = {**state, "transformer.h.0.ln_1.weight": torch.ones(7)}
    with pytest.raises(ValueError, match=r"another shape: blocks\.0\.attention_norm\.weight"):
        GPT.from_huggingface(bad, n_head=3)
    shared = hf_llama(num_key_value_heads=1).state_dict()
    with pytest.raises(ValueError, match="heads share their keys"):
        GPT.from_huggingface(shared, n_head=3)


def test_a_mix_of_options_has_no_layout():
    with pytest.raises(ValueError, match="no model of this mix"):
        small(position="rope").to_huggingface()


def test_full_size_agrees_in_shape_with_transformers():
    """GPT-2 small on no device: each of our tensors has its place, transposed where it must be."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        theirs = GPT2LMHeadModel(GPT2Config())
        ours = GPT(GPTConfig.preset("gpt2"))
    expected = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: t.shape for name, t in ours.to_huggingface().items()} == expected
    assert sum(p.numel() for p in theirs.parameters()) == 124_439_808
    assert math.prod(expected["transformer.h.0.attn.c_attn.weight"]) == 768 * 2304


# --- folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_model_goes_through_a_folder(options, tmp_path):
    model, ids = small(**options), random_ids(2, 7)
    assert model.save(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    again = GPT.load(tmp_path / "new" / "folder").eval()
    assert again.config == model.config
    assert torch.equal(again(ids)[0], model(ids)[0])
    assert GPT.load(tmp_path / "new" / "folder", dropout=0.25).config.dropout == 0.25
    again(ids, ids)[1].backward()
    assert all(p.grad is not None for p in again.parameters())


@pytest.mark.parametrize("case", ["gpt2, narrow", "gpt2, relu²", "llama, base", "qwen3 (QK-norm)"])
def test_folders_of_transformers_are_read(case, tmp_path):
    """Eps, activation and base of the rotation come from their config.json."""
    make, settings, changes = CASES[case]
    theirs = make(**settings)
    theirs.save_pretrained(tmp_path)
    ours = GPT.load(tmp_path).eval()
    assert all(getattr(ours.config, name) == value for name, value in changes.items())
    ids = random_ids(2, 7)
    torch.testing.assert_close(ours(ids)[0], theirs(ids).logits, atol=1e-5, rtol=1e-4)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json is not there"):
        GPT.load(tmp_path)
    small().save(tmp_path)
    small(n_layer=1).save(tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text((tmp_path / "config.json").read_text())
    with pytest.raises(ValueError, match=r"(?s)other holds no model that fits: .*blocks\.1\."):
        GPT.load(tmp_path / "other")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="model_type 'bert'"):
        GPT.load(tmp_path)
