"""xor2gpt.finetune beside torch and scikit-learn; laws of padding, collating and splitting."""

import json
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gpt_kit import OPTIONS, random_ids, small
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from xor2gpt import training as tr
from xor2gpt.data.quality import check_quality
from xor2gpt.data.synthetic import instructions, messages
from xor2gpt.finetune import (
    ALPACA,
    CHAT,
    TEMPLATES,
    ClassifierGPT,
    CollatedBatches,
    Template,
    class_loss,
    class_weights,
    collate_classification,
    collate_instructions,
    encode_example,
    extract_response,
    freeze,
    group_ids,
    group_split,
    load_finetuned,
    predict,
    response_start,
    save_finetuned,
    split_sizes,
    undersample,
)
from xor2gpt.generation import generate
from xor2gpt.gpt import GPT, IGNORE, cross_entropy, token_loss
from xor2gpt.tokenizer import Tokenizer

EOT = 30
BYTES = Tokenizer([], special_tokens=["<|endoftext|>"])


def classifier(pooling="last", seed=1, **changes):
    generator = torch.Generator().manual_seed(seed)
    model = ClassifierGPT(small(**changes), pooling=pooling, generator=generator).eval()
    with torch.no_grad():
        model.head.weight.mul_(50)
        model.head.bias.copy_(torch.tensor([0.3, -0.2]))
    return model


def texts_of(lengths, seed=0):
    return [random_ids(length, seed=seed + i).tolist() for i, length in enumerate(lengths)]


# --- the classifier -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("pooling", ["last", "first", "mean"])
def test_padding_on_either_side_changes_no_logits(options, pooling):
    model = classifier(pooling, **options)
    texts = texts_of([3, 7, 1, 12])
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([text])) for text in texts])
        ids, lengths, mask, _ = collate_classification(texts, pad_id=EOT)
        left = collate_classification(texts, pad_id=EOT, pad="left")
        for logits in (
            model(ids, lengths),
            model(ids, mask=mask),
            model(left.ids, mask=left.mask),
        ):
            torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-4)
    assert alone.std(dim=0).min() > 0.01


@pytest.mark.parametrize("pooling", ["last", "first", "mean"])
def test_pooling_reads_the_places_it_names(pooling):
    model = classifier(pooling)
    ids = random_ids(1, 6)
    with torch.no_grad():
        hidden = F.linear(model.features(ids), model.head.weight, model.head.bias)[0]  # (T, K)
        logits = model(ids, torch.tensor([4]))[0]
    wanted = {"last": hidden[3], "first": hidden[0], "mean": hidden[:4].mean(0)}[pooling]
    torch.testing.assert_close(logits, wanted)


def test_the_first_token_of_a_causal_model_has_read_nothing_else():
    ids = random_ids(2, 5)
    ids[1, 0] = ids[0, 0]
    with torch.no_grad():
        first = classifier("first")(ids)
        last = classifier("last")(ids)
    torch.testing.assert_close(first[0], first[1])
    assert (last[0] - last[1]).abs().max() > 0.01


def test_without_lengths_the_last_column_is_read_even_if_it_is_padding():
    model = classifier()
    ids, lengths, _, _ = collate_classification(texts_of([3, 8]), pad_id=EOT)
    with torch.no_grad():
        blind, told = model(ids), model(ids, lengths)
    torch.testing.assert_close(blind[1], told[1])
    assert (blind[0] - told[0]).abs().max() > 0.01


def test_the_features_are_what_the_language_model_computes():
    gpt = small()
    ids = random_ids(2, 5)
    with torch.no_grad():
        logits = F.linear(ClassifierGPT(gpt).eval().features(ids), gpt.head_weight)
        torch.testing.assert_close(logits, gpt(ids)[0])


def test_the_body_is_a_copy_and_an_untied_head_is_left_out():
    gpt = small(tied=False)
    before = gpt.token_embedding.weight.clone()
    model = ClassifierGPT(gpt, ["a", "b", "c"], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.body.token_embedding.weight.zero_()
    assert torch.equal(gpt.token_embedding.weight, before) and gpt.head is not None
    assert not any(name.startswith("body.head") for name in model.state_dict())
    assert model(random_ids(2, 3)).shape == (2, 3)
    assert model.config.tied and not gpt.config.tied
    again = ClassifierGPT(gpt, ["a", "b", "c"], generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.head.weight, model.head.weight)
    assert not model.head.bias.any()


def test_dropout_of_the_head_acts_in_training_only():
    model = ClassifierGPT(small(), dropout=0.5)
    ids = random_ids(2, 5)
    torch.manual_seed(0)
    assert not torch.equal(model.train()(ids), model(ids))
    assert torch.equal(model.eval()(ids), model(ids))


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"lengths": torch.tensor([2, 0])}, "row 1 is padding alone"),
        ({"mask": torch.tensor([[False] * 3, [True] * 3])}, "row 0 is padding alone"),
        ({"lengths": torch.tensor([2])}, "one per text"),
        ({"lengths": torch.tensor([2, 4])}, "does not fit into 3 columns"),
        ({"mask": torch.ones(2, 3)}, "booleans"),
        ({"mask": torch.ones(2, 2).bool()}, "booleans"),
        ({"lengths": torch.tensor([1, 1]), "mask": torch.ones(2, 3).bool()}, "not both"),
    ],
)
def test_padding_that_cannot_be_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        classifier()(random_ids(2, 3), **arguments)


def test_a_classifier_of_no_use_is_refused():
    for classes in ("spam", ["spam"], ["spam", "spam"], []):
        with pytest.raises(ValueError, match="two or more classes"):
            ClassifierGPT(small(), classes)
    with pytest.raises(ValueError, match="pooling='max'"):
        ClassifierGPT(small(), pooling="max")
    with pytest.raises(ValueError, match="dropout=1.0"):
        ClassifierGPT(small(), dropout=1.0)
    with pytest.raises(ValueError, match=r"give \(B, T\)"):
        classifier()(random_ids(3))


# --- freezing -------------------------------------------------------------------------------------


def test_freeze_trains_what_its_table_says():
    model = classifier()
    everything = [name for name, _ in model.named_parameters()]
    assert freeze(model, "head") == ["head.weight", "head.bias"]
    last = freeze(model, "last-block")
    assert {name.rsplit(".", 1)[0] for name in last if "blocks" not in name} == {
        "body.final_norm",
        "head",
    }
    assert {name for name in last if "blocks" in name} == {
        name for name in everything if name.startswith("body.blocks.1.")
    }
    assert last == [name for name, p in model.named_parameters() if p.requires_grad]
    assert freeze(model, "all") == everything
    with pytest.raises(ValueError, match="train='body'"):
        freeze(model, "body")


def test_an_optimizer_moves_what_is_not_frozen_and_nothing_else():
    model = classifier()
    model(random_ids(2, 4)).sum().backward()  # gradients of everything are there
    trained = freeze(model, "last-block")
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    model(random_ids(2, 4)).square().sum().backward()
    optimizer.step()
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert moved == trained


def test_freeze_a_language_model():
    tied, untied = small(), small(tied=False)
    names = freeze(tied, "last-block")
    assert "token_embedding.weight" not in names
    assert "final_norm.weight" in names and "blocks.1.mlp.up.weight" in names
    assert freeze(untied, "head") == ["head.weight"]
    with pytest.raises(ValueError, match="tied to its token embedding"):
        freeze(tied, "head")


# --- loss and prediction --------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, [0.5, 3.0]])
def test_the_loss_is_cross_entropy_over_any_batches(weights):
    model = classifier()
    ids, lengths, _, labels = collate_classification(
        texts_of([4, 6, 2, 5, 3]), [0, 1, 1, 0, 0], pad_id=0
    )
    loss = class_loss(weights)
    total = count = 0.0
    with torch.no_grad():
        for part in (slice(0, 3), slice(3, 5)):
            found = loss(model, ids[part], lengths[part], labels[part])
            total, count = total + float(found[0]), count + float(found[1])
        weight = None if weights is None else torch.tensor(weights)
        wanted = F.cross_entropy(model(ids, lengths), labels, weight=weight)
    assert total / count == pytest.approx(float(wanted), rel=1e-5)


def test_predict_keeps_the_order_and_the_mode():
    model = classifier().train()
    texts = texts_of([5, 2, 20, 1, 8])  # one is longer than the context of 12
    found = predict(model, texts, batch_size=2)
    assert model.training
    with torch.no_grad():
        model.eval()
        alone = torch.cat([model(torch.tensor([text[:12]])) for text in texts]).softmax(-1)
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.sum(1), torch.ones(5))
    assert predict(model, []).shape == (0, 2)
    short = predict(model, texts, max_length=1)
    torch.testing.assert_close(short[2], predict(model, [texts[2][:1]])[0])


def test_a_classifier_learns_with_the_trainer():
    generator = torch.Generator().manual_seed(0)
    texts = [random_ids(n, vocab_size=30, seed=n + 50).tolist() for n in range(3, 9)] * 8
    labels = [i % 2 for i in range(48)]
    texts = [[30, *text] if label else text for text, label in zip(texts, labels, strict=True)]
    ids, lengths, _, marks = collate_classification(texts, labels, pad_id=0)
    model = ClassifierGPT(small(), generator=generator)
    freeze(model, "all")
    source = tr.TensorBatches(ids, lengths, marks, batch_size=16, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    tr.Trainer(model, class_loss(), source, optimizer=optimizer, steps=25, log_every=5).fit()
    assert (predict(model, texts).argmax(1) == marks).float().mean() == 1.0


# --- files ----------------------------------------------------------------------------------------


def test_a_classifier_comes_back_whole(tmp_path):
    model = ClassifierGPT(small(position="rope"), ["no", "maybe", "yes"], pooling="mean")
    notes = {"threshold": 0.4, "data": "generated, seed 3"}
    folder = save_finetuned(model, tmp_path / "spam", notes=notes)
    saved = load_finetuned(folder)
    ids = random_ids(2, 6)
    assert torch.equal(saved.model(ids), model.eval()(ids))
    assert saved.model.classes == ("no", "maybe", "yes") and saved.model.pooling == "mean"
    assert saved.notes == notes and len(saved.sha256) == 64
    assert all(p.requires_grad for p in saved.model.parameters()) and not saved.model.training
    assert load_finetuned(folder, sha256=saved.sha256).sha256 == saved.sha256
    assert sorted(p.name for p in folder.iterdir()) == ["finetuned.json", "model.safetensors"]


def test_a_language_model_comes_back_here_and_by_gpt_load(tmp_path):
    model = small(tied=False)
    save_finetuned(model, tmp_path, notes={"template": "chat"})
    ids = random_ids(1, 5)
    for again in (load_finetuned(tmp_path).model, GPT.load(tmp_path).eval()):
        assert torch.equal(again(ids)[0], model(ids)[0])
    full = (tmp_path / "model.safetensors").stat().st_size
    save_finetuned(model, tmp_path, dtype=torch.bfloat16)
    half = load_finetuned(tmp_path).model
    assert (tmp_path / "model.safetensors").stat().st_size < 0.6 * full
    assert half.final_norm.weight.dtype == torch.float32
    torch.testing.assert_close(half(ids)[0], model(ids)[0], rtol=0.05, atol=0.05)


def test_a_damaged_or_foreign_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="finetuned.json"):
        load_finetuned(tmp_path)
    save_finetuned(classifier(), tmp_path)
    with pytest.raises(ValueError, match="the caller says"):
        load_finetuned(tmp_path, sha256="0" * 64)
    note, weights = tmp_path / "finetuned.json", tmp_path / "model.safetensors"
    text, data = note.read_text(), weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ValueError, match="SHA-256"):
        load_finetuned(tmp_path)
    weights.write_bytes(data)
    for change, words in (
        ({"format": 9}, "format 9"),
        ({"classes": ["a", "b", "c"]}, "fits its settings"),
        ({"pooling": "max"}, "pooling='max'"),
    ):
        note.write_text(json.dumps({**json.loads(text), **change}))
        with pytest.raises(ValueError, match=words):
            load_finetuned(tmp_path)
    note.write_text(text[:20])
    with pytest.raises(ValueError, match="damaged"):
        load_finetuned(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        load_finetuned(tmp_path)


def test_notes_that_are_no_plain_data_write_nothing(tmp_path):
    with pytest.raises(TypeError):
        save_finetuned(classifier(), tmp_path / "new", notes={"weights": torch.ones(2)})
    assert not list((tmp_path / "new").glob("*"))


# --- collate: classes -----------------------------------------------------------------------------

SEQUENCES = st.lists(st.lists(st.integers(0, EOT), min_size=1, max_size=9), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    sequences=SEQUENCES,
    limit=st.none() | st.integers(1, 9),
    pad=st.sampled_from(["left", "right"]),
    truncate=st.sampled_from(["left", "right"]),
    extra=st.integers(0, 3),
)
def test_collate_keeps_each_text_and_knows_padding_by_place(sequences, limit, pad, truncate, extra):
    cut = [
        s if limit is None else s[-limit:] if truncate == "left" else s[:limit] for s in sequences
    ]
    width = max(map(len, cut)) + extra
    ids, lengths, mask, labels = collate_classification(
        sequences,
        list(range(len(sequences))),
        pad_id=EOT,  # also inside the texts
        max_length=limit,
        width=width,
        pad=pad,
        truncate=truncate,
    )
    assert ids.shape == mask.shape == (len(sequences), width)
    assert lengths.tolist() == [len(text) for text in cut]
    assert [row[real].tolist() for row, real in zip(ids, mask, strict=True)] == cut
    assert (ids[~mask] == EOT).all()
    assert mask[:, -1 if pad == "left" else 0].all()  # the texts touch the other edge
    assert labels.tolist() == list(range(len(sequences)))


def test_collate_classification_refuses():
    for arguments, words in (
        (([[1], []],), "text 1 has no tokens"),
        (([],), "one text at least"),
        (([[1]], [0, 1]), "2 labels for 1 texts"),
    ):
        with pytest.raises(ValueError, match=words):
            collate_classification(*arguments, pad_id=0)
    for settings_, words in (
        ({"max_length": 0}, "max_length=0"),
        ({"width": 2}, "does not fit into 2 columns"),
        ({"pad": "up"}, "pad='up'"),
        ({"truncate": "up"}, "truncate='up'"),
    ):
        with pytest.raises(ValueError, match=words):
            collate_classification([[1, 2, 3]], pad_id=0, **settings_)
    assert collate_classification([[1, 2, 3]], pad_id=0).labels is None


# --- collate: instructions ------------------------------------------------------------------------

PAIRS = st.lists(
    st.tuples(
        st.lists(st.integers(0, EOT), min_size=1, max_size=6),
        st.lists(st.integers(0, EOT - 1), max_size=6),
    ),
    min_size=1,
    max_size=5,
)


def test_the_worked_example_of_the_book():
    batch = collate_instructions(
        [([0], [1, 2, 3, 4]), ([5], [6]), ([7], [8, 9])], end_of_text=50256, mask_prompt=False
    )
    E, I = 50256, IGNORE  # noqa: E741
    assert batch.ids.tolist() == [[0, 1, 2, 3, 4], [5, 6, E, E, E], [7, 8, 9, E, E]]
    assert batch.targets.tolist() == [[1, 2, 3, 4, E], [6, E, I, I, I], [8, 9, E, I, I]]


@settings(max_examples=80, deadline=None)
@given(pairs=PAIRS, extra=st.integers(0, 3))
def test_masked_prompts_have_no_target_and_one_end_of_text_stays(pairs, extra):
    width = max(len(p) + len(r) for p, r in pairs) + extra
    ids, targets = collate_instructions(pairs, end_of_text=EOT, width=width)
    assert ids.shape == targets.shape == (len(pairs), width)
    for row, aims, (prompt, response) in zip(ids, targets, pairs, strict=True):
        P, R = len(prompt), len(response)
        assert row.tolist() == prompt + response + [EOT] * (width - P - R)
        assert aims.tolist() == ([IGNORE] * (P - 1) + response + [EOT] + [IGNORE] * (width - P - R))


@settings(max_examples=60, deadline=None)
@given(pairs=PAIRS)
def test_unmasked_targets_are_the_inputs_one_place_on(pairs):
    ids, targets = collate_instructions(pairs, end_of_text=EOT, mask_prompt=False)
    for row, aims, (prompt, response) in zip(ids, targets, pairs, strict=True):
        n = len(prompt) + len(response)
        assert aims[: n - 1].tolist() == row[1:n].tolist()
        assert aims[n - 1] == EOT and (aims[n:] == IGNORE).all()


@settings(max_examples=60, deadline=None)
@given(pairs=PAIRS, limit=st.integers(1, 12), mask_prompt=st.booleans())
def test_truncation_keeps_the_beginning_and_makes_no_end(pairs, limit, mask_prompt):
    collate = partial(collate_instructions, end_of_text=EOT, mask_prompt=mask_prompt)
    if mask_prompt and any(len(prompt) > limit for prompt, _ in pairs):
        with pytest.raises(ValueError, match="leaves no room"):
            collate(pairs, max_length=limit)
        return
    whole, cut = collate(pairs), collate(pairs, max_length=limit)
    assert torch.equal(cut.ids, whole.ids[:, :limit])
    assert torch.equal(cut.targets, whole.targets[:, :limit])
    for aims, (prompt, response) in zip(cut.targets, pairs, strict=True):
        ended = len(prompt) + len(response) <= limit
        assert (aims[len(prompt) - 1 :] == EOT).sum() == ended


def test_a_response_with_its_own_end_gets_no_second_one():
    with_end = collate_instructions([([1, 2], [3, EOT])], end_of_text=EOT)
    without = collate_instructions([([1, 2], [3])], end_of_text=EOT)
    assert torch.equal(with_end.ids, without.ids)
    assert torch.equal(with_end.targets, without.targets)


def test_the_loss_is_of_response_and_end_alone():
    model, pairs = small(), [([4, 9, 2], [7, 8]), ([5], [6, 1, 3, 2, 11])]
    ids, targets = collate_instructions(pairs, end_of_text=EOT)
    with torch.no_grad():
        total, count = token_loss(model, ids, targets)
        _, mean = model(ids, targets)
        wanted = []
        for prompt, response in pairs:  # torch's cross-entropy, token by token, without padding
            row = torch.tensor([[*prompt, *response, EOT]])
            logits, _ = model(row[:, :-1])
            start = len(prompt) - 1
            wanted.append(F.cross_entropy(logits[0, start:], row[0, start + 1 :], reduction="none"))
        wanted = torch.cat(wanted)
    assert count == len(wanted) == 9
    torch.testing.assert_close(total, wanted.sum())
    torch.testing.assert_close(mean, wanted.mean())
    # padding in the loss, or the prompt, would be another number
    full = collate_instructions(pairs, end_of_text=EOT, mask_prompt=False)
    counted = torch.where(targets == IGNORE, EOT, targets)
    with torch.no_grad():
        for other in (full.targets, counted):
            assert abs(cross_entropy(model(ids)[0], other) - mean) > 1e-3


def test_collate_instructions_refuses():
    for pairs, words in (([], "one example at least"), ([([], [1])], "example 0 has no prompt")):
        with pytest.raises(ValueError, match=words):
            collate_instructions(pairs, end_of_text=EOT)
    with pytest.raises(ValueError, match="does not fit into 2 columns"):
        collate_instructions([([1, 2], [3])], end_of_text=EOT, width=2)


# --- batches of examples --------------------------------------------------------------------------


def pairs_of(n):
    return [([i % 29, 1], [i % 7] * (i % 4)) for i in range(n)]


def test_collated_batches_are_a_function_of_seed_and_step():
    collate = partial(collate_instructions, end_of_text=EOT)
    one, other = (CollatedBatches(pairs_of(10), collate, batch_size=4, seed=5) for _ in range(2))
    assert isinstance(one, tr.BatchSource) and one.steps_per_epoch == len(one) == 2
    for step in (0, 3, 1):
        for a, b in zip(one.batch(step), other.batch(step), strict=True):
            assert torch.equal(a, b)
    assert one.signature() == other.signature()
    changed = CollatedBatches([*pairs_of(9), ([1], [2])], collate, batch_size=4, seed=5)
    assert changed.signature() != one.signature()
    in_order = CollatedBatches(pairs_of(10), collate, batch_size=4, shuffle=False, drop_last=False)
    assert [len(ids) for ids, _ in in_order] == [4, 4, 2]
    assert in_order.batch(2)[0][:, 0].tolist() == [8, 9]


def test_a_model_learns_to_answer_and_to_stop():
    pairs = [([1, n, 2], [n, n]) for n in range(3, 9)]
    source = CollatedBatches(
        pairs, partial(collate_instructions, end_of_text=EOT), batch_size=6, seed=0
    )
    model = small()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    tr.Trainer(model, token_loss, source, optimizer=optimizer, steps=50, log_every=25).fit()
    made = generate(model, [prompt for prompt, _ in pairs], 6, stop_tokens=[EOT])
    assert made == [[*response, EOT] for _, response in pairs]


# --- prompts --------------------------------------------------------------------------------------

ENTRY = {"instruction": "Reverse the word.", "input": "apple", "output": " elppa\n"}


def test_alpaca_with_and_without_input():
    assert ALPACA.prompt(ENTRY) == (
        "Below is an instruction that describes a task, paired with an input that provides "
        "further context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nReverse the word.\n\n### Input:\napple\n\n### Response:\n"
    )
    bare = (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nReverse the word.\n\n### Response:\n"
    )
    for nothing in ("", "  ", None):
        assert ALPACA.prompt({**ENTRY, "input": nothing}) == bare
    assert ALPACA.prompt({"instruction": "Reverse the word."}) == bare


def test_the_short_format():
    assert CHAT.prompt(ENTRY) == "<|user|>\nReverse the word.\napple\n<|assistant|>\n"
    assert CHAT.prompt({"instruction": "Hi"}) == "<|user|>\nHi\n<|assistant|>\n"
    assert set(TEMPLATES) == {"alpaca", "chat"}


def test_a_template_must_end_where_the_response_begins():
    with pytest.raises(ValueError, match="must end with 'A:'"):
        Template("qa", "Q: {instruction} {input}\nA: ", "Q: {instruction}\nA:", "A:", ())
    with pytest.raises(KeyError, match="instruction"):
        ALPACA.prompt({"input": "x"})


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_braces_and_field_names_in_an_entry_stay(template):
    entry = {"instruction": "Fill {input} and {0} and {instruction}", "input": "{instruction} {x}"}
    prompt = template.prompt(entry)
    assert entry["instruction"] in prompt and entry["input"] in prompt


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@settings(max_examples=40, deadline=None)
@given(
    instruction=st.text(max_size=30), given_input=st.text(max_size=30), answer=st.text(max_size=30)
)
def test_what_was_put_in_comes_out(template, instruction, given_input, answer):
    entry = {"instruction": instruction, "input": given_input, "output": answer}
    prompt = template.prompt(entry)
    text = f"{prompt}{answer}<|endoftext|>and more"
    assert extract_response(text, prompt=prompt, template=template) == answer.strip()
    assert extract_response(text, template=template) == answer.strip()


def test_a_response_ends_where_the_next_turn_begins():
    prompt = ALPACA.prompt(ENTRY)
    assert extract_response(prompt + "elppa\n\n### Instruction:\nNext") == "elppa"
    assert extract_response(prompt + "### Response:\nelppa") == ""
    assert extract_response(prompt + "# A heading\n\n### Another") == "# A heading\n\n### Another"
    chat = CHAT.prompt(ENTRY)
    assert extract_response(chat + "elppa<|end|>\n<|user|>", template=CHAT) == "elppa"
    tricky = {"instruction": "Repeat: ### Response:\nno", "output": "yes"}
    prompt = ALPACA.prompt(tricky)
    assert extract_response(prompt + "yes", prompt=prompt) == "yes"
    with pytest.raises(ValueError, match="does not begin with the prompt"):
        extract_response("something", prompt=prompt)
    with pytest.raises(ValueError, match="another template"):
        extract_response("no marker", template=CHAT)


@given(
    before=st.lists(st.integers(0, 2), max_size=6),
    marker=st.lists(st.integers(0, 2), min_size=1, max_size=3),
    after=st.lists(st.integers(0, 2), max_size=6),
)
def test_the_response_starts_after_the_first_marker_in_ids_as_in_text(before, marker, after):
    whole = before + marker + after
    start = response_start(whole, marker)
    assert whole[start - len(marker) : start] == marker and start <= len(before) + len(marker)
    as_text = ["".join("abc"[i] for i in part) for part in (whole, marker)]
    assert response_start(*as_text) == start
    assert response_start(torch.tensor(whole), marker) == start


def test_an_empty_marker_is_refused():
    with pytest.raises(ValueError, match="empty marker"):
        response_start([1, 2], [])


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_encoded_examples_are_prompt_and_response(template):
    for entry in instructions.instructions(30, seed=1, split="train"):
        prompt, response = encode_example(BYTES, entry, template)
        assert BYTES.decode(prompt) == template.prompt(entry)
        assert BYTES.decode(response) == str(entry["output"]).strip()
        marker = BYTES.encode_ordinary(template.marker)
        assert response_start(prompt + response, marker) == len(prompt)


def test_an_entry_cannot_forge_an_end_of_text():
    prompt, response = encode_example(
        BYTES, {"instruction": "Say <|endoftext|>", "output": "<|endoftext|>"}
    )
    assert BYTES.token_id("<|endoftext|>") not in prompt + response


# --- sampling -------------------------------------------------------------------------------------


def test_undersampling_takes_all_of_the_smallest_class():
    labels = np.array([0] * 4825 + [1] * 747)
    chosen = undersample(labels, seed=3)
    assert len(chosen) == 1494 and (np.diff(chosen) > 0).all()
    assert set(chosen[labels[chosen] == 1]) == set(range(4825, 5572))
    assert np.array_equal(chosen, undersample(labels, seed=3))
    assert not np.array_equal(chosen, undersample(labels, seed=4))
    with pytest.raises(ValueError, match="one at least"):
        undersample([], seed=0)


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_class_weights_are_scikit_learns(labels):
    K = max(labels) + 1
    if len(set(labels)) < K:
        with pytest.raises(ValueError, match="needs one at least"):
            class_weights(labels)
        return
    wanted = compute_class_weight("balanced", classes=np.arange(K), y=np.array(labels))
    np.testing.assert_allclose(class_weights(labels), wanted)
    assert class_weights(labels)[labels].mean() == pytest.approx(1)


def test_sizes_are_exact():
    assert split_sizes(1494, (0.7, 0.1, 0.2)) == (1045, 149, 300)
    assert split_sizes(1100, (0.85, 0.05, 0.10)) == (935, 55, 110)
    assert split_sizes(100, (0.29, 0.71)) == (29, 71)
    for shares in ((0.5, 0.4), (1.2, -0.2), ()):
        with pytest.raises(ValueError, match="add up to 1"):
            split_sizes(10, shares)


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=60),
    group_range=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_a_split_is_complete_disjoint_and_keeps_groups(labels, group_range, seed):
    groups = np.random.Generator(np.random.PCG64(seed)).integers(group_range, size=len(labels))
    parts = group_split(labels, groups, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    sides = [set(groups[part]) for part in parts]
    assert sum(map(len, sides)) == len(set(groups))
    again = group_split(labels, groups, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    shares=st.sampled_from([(0.7, 0.1, 0.2), (0.5, 0.5), (0.85, 0.05, 0.1)]),
    seed=st.integers(0, 1000),
)
def test_without_groups_sizes_are_exact_and_classes_even(counts, shares, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = group_split(labels, shares=shares, seed=seed, exact=True)
    sizes = split_sizes(len(labels), shares)
    assert tuple(map(len, parts)) == sizes
    for part, size in zip(parts, sizes, strict=True):
        found = np.bincount(labels[part], minlength=len(counts))
        expected = size * np.array(counts) / len(labels)
        assert np.abs(found - expected).max() < len(counts) + 0.001


def test_the_usual_protocol_on_messages_with_copies():
    made = messages.messages(2000, seed=5)
    chosen = undersample(made.labels, seed=0)
    labels, groups = made.labels[chosen], made.groups[chosen]
    assert len(np.unique(groups)) < len(groups)  # there are copies to keep together
    parts = group_split(labels, groups, seed=1, exact=True)
    assert tuple(map(len, parts)) == split_sizes(len(labels), (0.7, 0.1, 0.2))
    for part in parts:
        assert abs(labels[part].mean() - 0.5) < 0.02
    leaking = group_split(labels, seed=1)
    shared = set(groups[leaking[0]]) & set(groups[leaking[2]])
    assert shared and not set(groups[parts[0]]) & set(groups[parts[2]])
    assert not np.array_equal(parts[2], group_split(labels, groups, seed=2)[2])


def test_groups_that_do_not_fit_are_told_when_asked():
    groups = [0] * 6 + [1] * 4
    assert sorted(map(len, group_split([0] * 10, groups, shares=(0.5, 0.5), seed=0))) == [4, 6]
    with pytest.raises(ValueError, match=r"sizes \[5, 5\]"):
        group_split([0] * 10, groups, shares=(0.5, 0.5), seed=0, exact=True)
    with pytest.raises(ValueError, match="2 groups for 3 texts"):
        group_split([0, 1, 1], [0, 1], seed=0)


def test_group_numbers_from_lists_of_duplicates():
    assert group_ids(6, [(1, 4), (4, 5), (0, 2)]).tolist() == [0, 1, 0, 2, 1, 1]
    assert group_ids(3, []).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="index 3"):
        group_ids(3, [(0, 3)])
    texts = ["Win a prize now", "see you at noon", "win a  prize NOW", "the train is late"]
    found = group_ids(4, check_quality(texts).groups)
    assert found[0] == found[2] and len(set(found.tolist())) == 3


@pytest.mark.parametrize("seed", range(10))
def test_a_big_group_goes_where_it_has_room(seed):
    groups = [0] * 8 + list(range(1, 13))
    parts = group_split([0] * 20, groups, shares=(0.7, 0.1, 0.2), seed=seed, exact=True)
    assert tuple(map(len, parts)) == (14, 2, 4) and set(range(8)) <= set(parts[0].tolist())
