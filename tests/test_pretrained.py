"""Models that ship, GPT-2's published layouts, and the text that `small` was trained on."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from xor2gpt import data
from xor2gpt import pretrained as pre
from xor2gpt.data.synthetic.instructions import FAMILIES, instructions, split_of
from xor2gpt.data.synthetic.skills import SENTENCES, drills, other_words, skills
from xor2gpt.finetune import (
    ALPACA,
    TEMPLATES,
    ClassifierGPT,
    class_loss,
    collate_classification,
    collate_instructions,
    encode_example,
    freeze,
)
from xor2gpt.generation import Sampling, generate
from xor2gpt.gpt import GPT, GPTConfig, token_loss
from xor2gpt.pretrained import load_pretrained, read_gpt2_weights, save_pretrained
from xor2gpt.recipes import pretrain_small
from xor2gpt.recipes.base import Unit
from xor2gpt.tokenizer import Tokenizer

SHAPE = {"n_layer": 2, "n_head": 3, "n_embd": 24, "vocab_size": 300, "n_positions": 64}


@pytest.fixture(scope="module")
def twin() -> GPT2LMHeadModel:
    """transformers' GPT-2, small, with random weights."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(**SHAPE, bos_token_id=0, eos_token_id=0)).eval()


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    """A tokenizer with as many ids as the twin."""
    text = " ".join(word for words in SENTENCES.values() for word in words)
    return Tokenizer.train(text, SHAPE["vocab_size"], special_tokens=[pre.END_OF_TEXT])


def openai_variables(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Hugging Face's tensors under the names, and in the shapes, of OpenAI's checkpoint."""
    made = {}
    for name, tensor in state.items():
        if name == "lm_head.weight" or name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        name = re.sub(r"^h\.(\d+)\.", r"h\1.", name.removeprefix("transformer."))
        *path, kind = name.split(".")
        norm = path[-1].startswith("ln_")
        leaf = {"bias": "b", "weight": "g" if norm else "w"}[kind]
        array = tensor.numpy()
        if leaf == "w" and path[0].startswith("h"):
            array = array[None]  # a convolution of width 1
        key = path if path[-1] in ("wte", "wpe") else [*path, leaf]
        made["/".join(["model", *key])] = array
    return made


@pytest.fixture(scope="module", params=["folder", "safetensors", "npz"])
def published(request, twin, tmp_path_factory):
    """The twin's weights as a file in one of the published layouts."""
    folder = tmp_path_factory.mktemp(request.param)
    state = {name: tensor.contiguous() for name, tensor in twin.state_dict().items()}
    (folder / "config.json").write_text(json.dumps({"n_head": SHAPE["n_head"]}))
    if request.param == "npz":
        np.savez(folder / "gpt2.npz", **openai_variables(state))
        return folder / "gpt2.npz"
    # the published file holds the body only, without the prefix, and old masks
    body = {
        k.removeprefix("transformer."): v.clone() for k, v in state.items() if "lm_head" not in k
    }
    body["h.0.attn.bias"] = torch.ones(1, 1, 8, 8).tril()
    save_file(body, folder / "model.safetensors")
    return folder if request.param == "folder" else folder / "model.safetensors"


# --- GPT-2's layouts ------------------------------------------------------------------------------


def test_published_layouts_give_the_twins_logits(published, twin):
    model = read_gpt2_weights(published)
    ids = torch.randint(0, SHAPE["vocab_size"], (2, 17))
    with torch.no_grad():
        torch.testing.assert_close(model(ids)[0], twin(ids).logits, atol=1e-4, rtol=1e-4)
    assert not model.training


def test_both_kinds_of_fine_tuning_run_on_gpt2(published, words, monkeypatch):
    """The calls of stages 13 and 14, on published weights: same code, other model."""
    monkeypatch.setattr(Tokenizer, "gpt2", classmethod(lambda cls: words))
    for name, options in (("small", {}), ("gpt2", {"weights": published})):
        model, tokenizer = load_pretrained(name, dropout=0.1, **options)
        assert model.config.dropout == 0.1
        end = tokenizer.special_tokens[pre.END_OF_TEXT]
        texts = ["Claim your prize now", "See you at noon"]
        rows = [tokenizer.encode_ordinary(text) for text in texts]
        batch = collate_classification(rows, [1, 0], pad_id=end, max_length=32)
        classifier = ClassifierGPT(model, ["ham", "spam"], generator=torch.Generator())
        freeze(classifier, train="last-block")
        total, count = class_loss()(classifier, batch.ids, batch.lengths, batch.labels)
        total.backward()
        assert count == 2
        assert {
            name.split(".")[0] for name, p in classifier.named_parameters() if p.grad is not None
        }

        for parameter in model.parameters():
            parameter.requires_grad_(True)
        example = {"instruction": "Add.", "input": "1 + 2", "output": "3"}
        short = TEMPLATES["chat"]
        pair = encode_example(tokenizer, example, short)
        ids, targets = collate_instructions([pair], end_of_text=end, max_length=64)
        total, count = token_loss(model, ids, targets)
        assert torch.isfinite(total)
        assert count == len(pair[1]) + 1  # the response, and one end of text
        made = generate(model.eval(), [pair[0]], 3, sampling=Sampling(temperature=0.0))
        assert len(made[0]) <= 3


def test_what_is_no_gpt2_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not there"):
        read_gpt2_weights(tmp_path / "absent.npz")
    pickled = tmp_path / "pytorch_model.bin"
    pickled.write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match="pickle can run code"):
        read_gpt2_weights(pickled)
    save_file({"wte.weight": torch.zeros(5, 24)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="24 channels"):
        read_gpt2_weights(tmp_path)
    np.savez(tmp_path / "objects.npz", **{"model/wte": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="[Oo]bject arrays|allow_pickle"):
        read_gpt2_weights(tmp_path / "objects.npz")


# --- what ships -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(pre.SHIPPED))
def test_shipped_models_are_whole(name):
    facts = pre.SHIPPED[name]
    folder = pre._HERE / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= pre.MAX_BYTES
    model, tokenizer = load_pretrained(name)
    assert sum(p.numel() for p in model.parameters()) == facts["parameters"]
    assert model.config.vocab_size == tokenizer.vocab_size
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_small_knows_what_it_read():
    model, tokenizer = load_pretrained("small")
    prompt = tokenizer.encode_ordinary("The opposite of hot is")
    made = generate(model, [prompt], 6, sampling=Sampling(temperature=0.0))
    assert tokenizer.decode(made[0]).strip().startswith("cold")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The shipped models in another folder, free to be damaged."""
    shutil.copytree(pre._HERE / "small", tmp_path / "small")
    monkeypatch.setattr(pre, "_HERE", tmp_path)
    return tmp_path / "small"


@pytest.mark.parametrize("part", ["model.safetensors", "tokenizer.json", "finetuned.json"])
def test_a_changed_file_is_refused(copied, part):
    content = bytearray((copied / part).read_bytes())
    place = content.index(b'"n_layer": 4') + 11 if part == "finetuned.json" else len(content) - 9
    content[place] = ord("3") if part == "finetuned.json" else content[place] ^ 1
    (copied / part).write_bytes(content)
    with pytest.raises(ValueError, match="SHA-256|configuration|no model that fits"):
        load_pretrained("small")


def test_wrong_names_and_changes_are_named():
    with pytest.raises(ValueError, match="'smal'.*known are 'small'"):
        load_pretrained("smal")
    with pytest.raises(ValueError, match="for 'gpt2' only"):
        load_pretrained("small", weights="x.npz")
    with pytest.raises(ValueError, match="would change the weights"):
        load_pretrained("small", n_embd=128)


def test_without_the_file_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("XOR2GPT_DATA", str(tmp_path))
    monkeypatch.setenv("XOR2GPT_MIRROR", str(tmp_path))
    with pytest.raises(data.DataError, match="gpt2-124m"):
        load_pretrained("gpt2")


def test_save_and_adopt(tmp_path, monkeypatch, words):
    course = tmp_path / "course"
    course.mkdir()
    monkeypatch.setattr(pre, "_HERE", course)
    monkeypatch.setattr(pre, "_INDEX", course / "shipped.json")
    monkeypatch.setattr(pre, "SHIPPED", {})
    config = GPTConfig(vocab_size=300, context_length=16, n_layer=1, n_head=2, n_embd=8)
    model = GPT(config, generator=torch.Generator().manual_seed(1))
    sha = save_pretrained(tmp_path / "made", model, words, notes={"recipe": "none"})
    pre.adopt("mine", tmp_path / "made")
    assert pre.SHIPPED["mine"]["sha256"] == sha
    loaded, tokenizer = load_pretrained("mine")
    assert tokenizer == words
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor.bfloat16().float())
    monkeypatch.setattr(pre, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="what ships may have 100"):
        pre.adopt("mine", tmp_path / "made")


# --- the text -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def some_skills() -> list[str]:
    return list(skills(3_000, seed=1))


def test_skills_are_about_every_family_and_repeatable(some_skills):
    assert set(SENTENCES) == set(FAMILIES)
    assert some_skills[:50] == list(skills(50, seed=1))
    assert some_skills[:50] != list(skills(50, seed=2))
    with pytest.raises(ValueError, match="0 or more"):
        next(skills(-1, seed=1))


def test_skills_hold_no_template_and_no_instruction(some_skills):
    text = "\n".join(some_skills)
    for template in TEMPLATES.values():
        assert template.marker.strip() not in text
    assert "Below is an instruction" not in text
    for entry in instructions(200, seed=5):
        if len(str(entry["instruction"])) > 20 and "{" not in str(entry["instruction"]):
            assert str(entry["instruction"]) not in text


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_no_test_combination_is_in_the_skills(seed):
    """No sentence states thing and answer of a test entry, for families that can be worked out."""
    from xor2gpt.data.synthetic.skills import _Pool

    for number, family in enumerate(FAMILIES):
        pool = _Pool(family, seed, number)
        for _ in range(5):
            entry = pool.next()
            arguments, phrasing = entry["arguments"], int(entry["phrasing"])
            assert split_of(family, arguments, phrasing) == "train"


@pytest.fixture
def no_files(monkeypatch):
    """Stand-ins for the texts that are not generated."""
    monkeypatch.setattr(pretrain_small, "_plays", lambda: [f"play {i}" for i in range(60)])
    monkeypatch.setattr(pretrain_small, "_problems", lambda: [f"problem {i}" for i in range(60)])
    monkeypatch.setattr(data, "load", lambda name: type("Text", (), {"text": f"the {name}"}))


def test_the_recipe_goes_on_after_a_kill(no_files, monkeypatch, tmp_path):
    """Stopped in the middle, started again: the same weights as in one go."""
    mix = {"skills": 40, "messages": 30, "grammar": 5, "plays": 1, "problems": 1}
    monkeypatch.setattr(pretrain_small, "documents", _few(pretrain_small.documents, mix))
    shape = {**pretrain_small.SMALL["model"], "n_layer": 1, "n_embd": 16, "context_length": 32}
    hyper = {
        **pretrain_small.SMALL,
        **{"mix": mix, "vocab_size": 300, "steps": 6, "model": shape, "batch_size": 2},
        **{"validate_every": 3, "checkpoint_every": 2, "sample_steps": (6,), "precision": "fp32"},
        "schedule": {"name": "flat_then_linear", "warmup": 1, "cooldown": 0.5, "floor": 0.0},
    }
    unit = Unit("tiny", "for the test", (0,), hyper, work=1.0)
    made = {}
    for name in ("whole", "killed"):
        monkeypatch.setattr(pretrain_small, "output_folder", lambda name=name: tmp_path / name)
        scratch = tmp_path / f"{name}-scratch"
        scratch.mkdir()
        if name == "killed":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(pretrain_small, "_write", _stop)
                with pytest.raises(InterruptedError):
                    pretrain_small.run_unit(unit, lambda n: None, scratch)
        made[name] = pretrain_small.run_unit(unit, lambda n: None, scratch)
    assert made["whole"].per_seed["val_loss"] == made["killed"].per_seed["val_loss"]
    assert made["whole"].whole["sha256"] == made["killed"].whole["sha256"]
    assert made["whole"].per_seed["val_loss"][0] < math.log(300)
    assert {f.name for f in pretrain_small.figures([_result(unit, made["whole"])])} >= {
        "pretrain.tiny_val_loss",
        "pretrain.tiny_val_loss_story",
    }


def _few(real, mix):
    """`documents`, with held-out texts of a size that a test can wait for."""

    def documents(wanted, *, seed=1, held_out=False):
        if not held_out:
            return real(wanted, seed=seed)
        more = {kind: 250 * number for kind, number in mix.items()}
        return {kind: texts[:4] for kind, texts in real(more, held_out=True).items()}

    return documents


def _stop(*args):
    raise InterruptedError


def _result(unit, outcome):
    return type("Result", (), {"unit": unit.name, "per_seed": outcome.per_seed})()


def test_drills_hold_no_test_combination():
    """Every plain sum and every order of three is one that belongs to training, or to no family."""
    words = other_words(["river boats carry winter grain beyond the northern harbour walls"] * 3)
    assert "river" not in words  # a word of the instructions
    assert {"boats", "grain", "northern"} <= set(words)
    text = "\n".join(drills(400, seed=3, words=words))
    sums = re.findall(r"^(\d+) ([+-]) (\d+) = (\d+)$", text, re.MULTILINE)
    assert len(sums) > 1_000
    for a, sign, b, answer in sums:
        assert int(answer) == (int(a) + int(b) if sign == "+" else int(a) - int(b))
        family = "addition" if sign == "+" else "subtraction"
        assert split_of(family, [a, b]) == "train"
    orders = re.findall(r"^From a to z: (\w+) (\w+) (\w+) -> (.+)$", text, re.MULTILINE)
    assert len(orders) > 20
    for *three, answer in orders:
        assert answer.split() == sorted(three)
        assert split_of("sort words", three) == "train"
    spelled = re.findall(r"^The word (\w+) is spelled (.+)\.$", text, re.MULTILINE)
    assert spelled
    assert all(answer == "-".join(word) and word in words for word, answer in spelled)
    with pytest.raises(ValueError, match="3 words, not 1"):
        next(drills(1, seed=1, words=["one"]))


def test_held_out_documents_are_not_trained_on(no_files):
    mix = {"skills": 500, "messages": 500, "grammar": 250, "plays": 2, "problems": 3}
    train = pretrain_small.documents(mix)
    held = pretrain_small.documents(mix, held_out=True)
    assert held["story"] == ["the the-verdict"]
    assert "story" not in train
    assert len(train["plays"]) == 2 * 57
    assert len(held["plays"]) == 3
    for kind, texts in train.items():
        assert len(held[kind]) >= 1
        assert not set(texts) & set(held[kind]), kind


def test_prompts_are_short_because_the_tokenizer_knows_the_template():
    _, tokenizer = load_pretrained("small")
    example = {"instruction": "Give the opposite.", "input": "hot", "output": "cold"}
    assert len(encode_example(tokenizer, example, ALPACA)[0]) < 80
    assert tokenizer.pieces("12") == ["1", "2"]  # each digit alone
