"""The instruction recipes: batches, the shared beginning, splits, resuming, committed results."""

import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xor2gpt import recipes, results
from xor2gpt import training as tr
from xor2gpt.data.synthetic import instructions as generator
from xor2gpt.finetune import ALPACA, CHAT, TEMPLATES
from xor2gpt.gpt import GPT, IGNORE, GPTConfig, token_loss
from xor2gpt.pretrained import SHIPPED
from xor2gpt.recipes import pretrain_small, sft_common, sft_generated, sft_instruction_data
from xor2gpt.recipes.base import Unit, UnitResult
from xor2gpt.recipes.runner import results_folder
from xor2gpt.recipes.sft_common import BucketedBatches, Example, shared_columns, shared_loss
from xor2gpt.tokenizer import Tokenizer

END = 0


@pytest.fixture(scope="module")
def tokenizer():
    entries = sft_generated.entries("train", 20, 0)
    texts = [f"{ALPACA.prompt(e)}{e['output']}\n{CHAT.prompt(e)}" for e in entries]
    return Tokenizer.train(texts, 400, special_tokens=[sft_common.END])


def tiny(vocab_size=64, seed=0, **changes):
    shape = {"context_length": 192, "n_layer": 2, "n_head": 2, "n_embd": 16, "position": "rope"}
    config = GPTConfig(vocab_size=vocab_size, **{**shape, **changes})
    return GPT(config, generator=torch.Generator().manual_seed(seed))


HYPER = {
    "init": "small",
    "template": "alpaca",
    "mask_prompt": True,
    "per_family": 4,
    "epochs": 2.0,
    "batch_size": 16,
    "optimizer": {"name": "muon", "lr": 0.02, "adam_lr": 0.01, "betas": [0.9, 0.95]},
    "warmup": 1,
    "cooldown": 0.5,
    "clip_norm": 1.0,
    "precision": "fp32",
    "validations": 4,
    "keep": "last",
    "full": False,
}


def examples(n, seed=0):
    rng = np.random.default_rng(seed)
    beginnings = {False: [5, 6, 7, 8], True: [5, 6, 9]}
    made = []
    for _ in range(n):
        group = bool(rng.integers(2))
        prompt = [*beginnings[group], *rng.integers(10, 60, rng.integers(1, 12))]
        made.append(Example(prompt, list(rng.integers(10, 60, rng.integers(1, 6))), group))
    return made


# --- batches --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 90), size=st.integers(1, 20), seed=st.integers(0, 5))
def test_every_example_comes_once_an_epoch(n, size, seed):
    found = examples(n, seed)
    batches = BucketedBatches(found, batch_size=size, seed=seed, end_of_text=END)
    for epoch in (0, 3):
        plan = batches.plan(epoch)
        assert len(plan) == batches.steps_per_epoch
        assert sorted(np.concatenate(plan)) == list(range(n))
        for rows in plan:
            assert 1 <= len(rows) <= size
            assert len({found[i].group for i in rows}) == 1


def test_batches_are_a_function_of_seed_and_step():
    found = examples(100)
    one, other = (BucketedBatches(found, batch_size=8, seed=3, end_of_text=END) for _ in range(2))
    late, early = other.batch(40), other.batch(2)
    assert all(map(torch.equal, one.batch(2), early)) and all(map(torch.equal, one.batch(40), late))
    assert one.signature() == other.signature()
    unlike = BucketedBatches(found, batch_size=8, seed=4, end_of_text=END)
    first = [np.concatenate(batches.plan(0)).tolist() for batches in (one, unlike)]
    assert first[0] != first[1] != np.concatenate(one.plan(1)).tolist()
    assert one.signature() != unlike.signature()
    assert (
        one.signature()
        != BucketedBatches(
            [*found[:-1], Example([1], [2], True)], batch_size=8, seed=3, end_of_text=END
        ).signature()
    )
    with pytest.raises(ValueError, match="no examples"):
        BucketedBatches([], batch_size=8, seed=3, end_of_text=END)


def test_batches_hold_rows_of_similar_length():
    found = examples(640)
    lengths = np.array([len(e.prompt) + len(e.response) for e in found])
    plan = BucketedBatches(found, batch_size=8, seed=0, end_of_text=END).plan(0)
    by_length = sum(lengths[rows].max() * len(rows) for rows in plan)
    order = np.random.default_rng(0).permutation(640).reshape(-1, 8)
    by_chance = sum(lengths[rows].max() * 8 for rows in order)
    assert by_length < 1.1 * lengths.sum() < by_chance


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_one_end_of_text_is_a_target_and_the_prompt_is_not(tokenizer, template):
    entries = sft_generated.entries("train", 2, 0)
    found = sft_common.encode(tokenizer, entries, template)
    end = tokenizer.special_tokens[sft_common.END]
    sources = {
        mask: BucketedBatches(found, batch_size=8, seed=0, end_of_text=end, mask_prompt=mask)
        for mask in (True, False)
    }
    texts = set()
    for step in range(sources[True].steps_per_epoch):
        ids, targets = sources[True].batch(step)
        assert ((targets == end).sum(dim=1) == 1).all()
        for row, wanted in zip(ids.tolist(), targets.tolist(), strict=True):
            begin = next(i for i, target in enumerate(wanted) if target != IGNORE)
            stop = wanted.index(end)
            assert wanted[begin:stop] == row[begin + 1 : stop + 1]
            assert set(wanted[stop + 1 :]) <= {IGNORE} and set(row[stop + 1 :]) <= {end}
            prompt = tokenizer.decode(row[: begin + 1])
            assert prompt.endswith(template.marker)
            texts.add((prompt, tokenizer.decode(wanted[begin:stop])))
        everything = sources[False].batch(step)[1]
        length = (everything != IGNORE).sum(dim=1)
        assert (targets != IGNORE).sum(dim=1).lt(length).all()
        assert (everything[:, :1] == ids[:, 1:2]).all()
    assert texts == {(template.prompt(e), str(e["output"])) for e in entries}


def test_fixed_batches_hold_every_example_once():
    found = examples(70)
    batches = sft_common.fixed_batches(found, end_of_text=END, batch_size=16)
    counted = sum(int((targets != IGNORE).sum()) for _, targets in batches)
    assert counted == sum(len(example.response) + 1 for example in found)
    assert sum(len(ids) for ids, _ in batches) == 70
    assert all(len(set(ids[:, 2].tolist())) == 1 for ids, _ in batches)  # one group each


# --- the beginning that all rows share ------------------------------------------------------------


def test_shared_columns():
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 5, 4]])
    targets = torch.tensor([[2, 3, 4, 0], [2, 5, 4, 0]])
    assert shared_columns(ids, targets) == 1  # the second column's targets differ
    assert shared_columns(ids, torch.full_like(ids, IGNORE)) == 2
    assert shared_columns(ids[:1], targets[:1]) == 4


@pytest.mark.parametrize("mask_prompt", [True, False])
@pytest.mark.parametrize("position", ["rope", "learned"])
def test_the_shared_beginning_changes_neither_loss_nor_gradient(mask_prompt, position):
    source = BucketedBatches(
        examples(60), batch_size=12, seed=0, end_of_text=END, mask_prompt=mask_prompt
    )
    model = tiny(position=position, qk_norm=True, seed=1)
    for parameter in model.parameters():  # far from the start, where attention hardly matters
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(7))
    found = []
    for loss in (token_loss, shared_loss):
        model.zero_grad()
        total, count = zip(*(loss(model, *source.batch(step)) for step in range(4)), strict=True)
        sum(total).backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
        found.append((sum(total).item(), sum(count).item(), gradients))
    (plain, count, gradients), (quick, counted, same) = found
    assert quick == pytest.approx(plain, rel=1e-5) and counted == count
    assert torch.allclose(same, gradients, rtol=1e-3, atol=1e-4 * float(gradients.abs().max()))
    assert float(gradients.abs().max()) > 1.0


def test_the_shared_beginning_is_read_in_one_row():
    """So that the comparison above is no comparison of one way with itself."""
    source = BucketedBatches(examples(60), batch_size=12, seed=0, end_of_text=END)
    ids, targets = source.batch(0)
    model, seen = tiny(), []
    model.token_embedding.register_forward_hook(lambda m, given, out: seen.append(given[0].shape))
    shared_loss(model, ids, targets)
    columns = shared_columns(ids, targets)
    assert columns >= 3
    assert seen == [(1, columns), (len(ids), ids.shape[1] - columns)]


# --- answers --------------------------------------------------------------------------------------


def test_answers_come_back_in_order_and_end(tokenizer):
    """Ten entries learned by heart, asked in batches of three of unequal length."""
    entries = sft_generated.entries("test", 1, 0)[:10]
    end = tokenizer.special_tokens[sft_common.END]
    model = tiny(tokenizer.vocab_size, n_layer=2, n_embd=64, qk_norm=True)
    found = sft_common.encode(tokenizer, entries, CHAT)
    batch = sft_common._collated(found, range(10), {"end_of_text": end})
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(60):
        loss, count = token_loss(model, *batch)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    ask = {"max_new_tokens": 40, "batch_size": 3}
    texts, ended = sft_common.answers(model, tokenizer, entries, CHAT, **ask)
    assert texts == [e["output"] for e in entries] and all(ended)
    short, ended = sft_common.answers(model, tokenizer, entries, CHAT, max_new_tokens=1)
    assert not any(ended)
    assert all(e["output"].startswith(text) for text, e in zip(short, entries, strict=True))


# --- parts of the data ----------------------------------------------------------------------------


def combination(entry):
    """As `split_of` sees it: the order of the arguments may not count, the phrasing may."""
    closed = entry["family"] in ("opposite", "plural", "past tense")
    commutes = entry["family"] in ("sort words", "sort numbers", "addition", "compare numbers")
    arguments = sorted(entry["arguments"]) if commutes else entry["arguments"]
    return entry["family"], tuple(arguments), entry["phrasing"] if closed else None


def test_parts_share_no_combination_whatever_the_seed():
    found = {
        part: {combination(e) for seed in (0, 1) for e in sft_generated.entries(part, 60, seed)}
        for part in ("train", "validation", "test")
    }
    for one, other in itertools.combinations(found.values(), 2):
        assert len(one) > 400 and not one & other
    pool = generator.instructions(4000, seed=9)
    share = sum(sft_generated.part_of(entry) == "validation" for entry in pool) / 4000
    assert share == pytest.approx(sft_generated.VALIDATION_PERCENT / 100, abs=0.02)
    held = generator.instructions(300, seed=9, split="test")
    assert {sft_generated.part_of(entry) for entry in held} == {"test"}


def test_entries_are_balanced_and_a_function_of_the_seed():
    found = sft_generated.entries("validation", 7, 3)
    assert Counter(e["family"] for e in found) == dict.fromkeys(generator.FAMILIES, 7)
    assert found == sft_generated.entries("validation", 7, 3)
    assert found != sft_generated.entries("validation", 7, 4)
    assert sorted(e["family"] for e in found) != [e["family"] for e in found]
    with pytest.raises(ValueError, match="not 'dev'"):
        sft_generated.entries("dev", 7, 3)


# --- training -------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch, tokenizer, tmp_path):
    """A tiny model in place of the shipped one; few entries."""

    def start(hyper, seed):
        return tiny(tokenizer.vocab_size, seed=7, qk_norm=True).eval(), tokenizer

    monkeypatch.setattr(sft_generated, "start", start)
    monkeypatch.setattr(sft_instruction_data, "_start", start)
    monkeypatch.setattr(sft_generated, "PER_FAMILY", {"test": 2, "validation": 2, "train": 2})
    monkeypatch.setattr(sft_generated, "MAX_NEW_TOKENS", 6)
    monkeypatch.setattr(sft_instruction_data, "MAX_NEW_TOKENS", 6)
    monkeypatch.setattr(sft_instruction_data, "GENERATED_PER_FAMILY", 1)
    monkeypatch.setattr(pretrain_small, "output_folder", lambda: tmp_path / "pretrained")
    ids = torch.arange(60).view(2, 30)
    texts = {"plays": [(ids, ids + 1)], "skills": [(ids + 2, ids + 3)]}
    monkeypatch.setattr(sft_common, "forgetting_texts", lambda *_: texts)


class Stop(Exception):
    """In place of a kill."""


def test_stopped_anywhere_a_unit_ends_the_same(small, monkeypatch, tmp_path):
    unit = Unit("u", "u", (0, 1), {**HYPER, "full": True})
    folders = {name: tmp_path / name for name in ("whole", "cut")}
    for folder in folders.values():
        folder.mkdir()
    whole = sft_generated.run_unit(unit, lambda n: None, folders["whole"])
    steps, step = [0], tr.Trainer._optimizer_step

    def counted(self):
        steps[0] += 1
        if steps[0] % 9 == 0:
            raise Stop
        return step(self)

    class Saving(tr.Trainer):
        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, "checkpoint_every": 3})

    monkeypatch.setattr(tr.Trainer, "_optimizer_step", counted)
    monkeypatch.setattr(tr, "Trainer", Saving)
    stops = 0
    for _ in range(20):
        try:
            again = sft_generated.run_unit(unit, lambda n: None, folders["cut"])
            break
        except Stop:
            stops += 1
    assert stops >= 2
    for outcome in (whole, again):
        for name in ("seconds", "cpu_seconds"):
            assert min(outcome.per_seed.pop(name)) > 0
        outcome.whole.pop("starts")
    assert again == whole
    curves = whole.whole["curves"][0]
    assert curves["step"][0] == 0 and curves["epoch"][-1] == HYPER["epochs"]
    assert len(curves["loss"]) == len(curves["step"]) >= 5
    assert whole.per_seed["val_loss"][0] == curves["loss"][-1] < curves["loss"][0]
    assert whole.per_seed["ppl_plays_before"][0] > 1
    assert whole.whole["weights_sha256"][0] != whole.whole["weights_sha256"][1]
    assert whole.whole["first_sha256"][0] == whole.whole["first_sha256"][1]
    rows = whole.whole["side_by_side"]
    assert whole.whole["precision"].startswith("fp32")  # as asked, whatever the processor has
    assert len(rows[0]) == 42 and rows[1] == [] and {"before", "after"} <= set(rows[0][0])
    json.dumps(dict(whole.whole))


def test_the_shipped_file_has_the_digest_that_the_result_states(small, tmp_path):
    from xor2gpt.finetune import load_finetuned

    unit = Unit("u", "u", (0,), {**HYPER, "epochs": 0.5, "full": True})
    outcome = sft_generated.run_unit(unit, lambda n: None, tmp_path)
    folder = tmp_path / "pretrained" / "small-instruct"
    sha = outcome.whole["shipped_sha256"][0]
    model = load_finetuned(folder, sha256=sha).model
    assert Tokenizer.load(folder / "tokenizer.json")
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert torch.equal(weights, weights.bfloat16().float())


@pytest.mark.parametrize(
    "changes", [{"mask_prompt": False}, {"template": "chat"}, {"epochs": 0.5, "validations": 1}]
)
def test_units_differ_in_what_their_settings_say(small, tmp_path, changes):
    outcomes = []
    for hyper in (HYPER, {**HYPER, **changes}):
        folder = tmp_path / str(len(outcomes))
        folder.mkdir()
        outcomes.append(sft_generated.run_unit(Unit("u", "u", (0,), hyper), print, folder))
    shas = [outcome.whole["weights_sha256"] for outcome in outcomes]
    assert shas[0] != shas[1]
    assert not {"before", "ppl_all"} & set(outcomes[0].per_seed)


def test_the_best_weights_are_kept_when_asked(tokenizer, tmp_path):
    """Trained on one text and validated on another: the longer the worse."""
    found = examples(40)
    batches = BucketedBatches(found[:8], batch_size=4, seed=0, end_of_text=END)
    rows = {"loss": sft_common.fixed_batches(found[8:], end_of_text=END)}
    hyper = {**HYPER, "epochs": 40.0, "validations": 20}
    for keep in ("best", "last"):
        model = tiny()
        curves = sft_common.fit(model, batches, rows, {**hyper, "keep": keep}, 0, tmp_path / keep)
        value = tr.evaluate(model, shared_loss, rows["loss"])
        wanted = min(curves["loss"][1:]) if keep == "best" else curves["loss"][-1]
        assert value == pytest.approx(wanted, rel=1e-5)
    assert min(curves["loss"]) < curves["loss"][-1] - 0.1  # it did overfit


def test_losses_by_kind_and_over_all_tokens():
    ids = torch.arange(40).view(2, 20)
    short = torch.arange(5)[None]
    model = tiny()
    found = sft_common.text_losses(model, {"a": [(ids, ids + 1)], "b": [(short, short + 1)]})
    assert found["all"] == pytest.approx((40 * found["a"] + 5 * found["b"]) / 45)
    assert found["a"] == pytest.approx(model(ids, ids + 1)[1].item(), rel=1e-5)


def test_kept_is_made_once(tmp_path):
    calls = []
    made = [sft_common.kept(tmp_path / "x.json", lambda: calls.append(0) or {"a": 1})] * 2
    assert made == [{"a": 1}] * 2
    assert sft_common.kept(tmp_path / "x.json", lambda: calls.append(1)) == {"a": 1}
    assert calls == [0]


# --- figures --------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8))
def test_paired_is_students_interval(values):
    mean, sd, low, high = sft_common.paired(values)
    assert mean == pytest.approx(np.mean(values)) and sd == pytest.approx(np.std(values, ddof=1))
    if sd > 1e-9:
        twin = stats.ttest_1samp(values, 0).confidence_interval()
        assert (low, high) == pytest.approx((twin.low, twin.high))
    assert math.isnan(sft_common.paired(values[:1])[2])


def result(unit, per_seed, **hyper):
    nothing = dict.fromkeys(("commit", "dirty", "whole", "machine", "versions"))
    words = dict.fromkeys(("title", "device", "source_sha256", "fingerprint", "date"), "")
    seeds = tuple(range(len(next(iter(per_seed.values())))))
    return UnitResult(
        unit=unit, seeds=seeds, hyper=hyper, per_seed=per_seed, seconds={}, **nothing, **words
    )


def test_figures_are_percent_paired_and_by_family():
    main = result(
        "alpaca",
        {
            "exact_match": [0.9, 0.92, 0.94],
            "before": [0.0, 0.01, 0.02],
            "families.sort-words": [0.5, 0.6, 0.7],
            "families_before.sort-words": [0.0, 0.0, 0.03],
        },
    )
    other = result("chat", {"exact_match": [0.8, 0.9, 0.9]}, against="alpaca")
    found = {f.name: (f.value, f.unit) for f in sft_generated.figures([main, other])}
    assert found["sft_exact_match"] == (pytest.approx(92.0), "%")
    assert found["sft_exact_match.sd"][0] == pytest.approx(2.0)
    assert found["sft_exact_match_before"][0] == pytest.approx(1.0)
    assert found["sft_gain.chat"] == (pytest.approx(np.mean([-10, -2, -4])), "points")
    low = stats.ttest_1samp([-10, -2, -4], 0).confidence_interval().low
    assert found["sft_gain.chat.low"][0] == pytest.approx(low)
    name = "sft_exact_match.family.sort-words"
    assert found[name][0] == pytest.approx(60.0)
    twin = stats.binomtest(90, 150).proportion_ci(method="wilson")
    assert found[f"{name}.low"][0] == pytest.approx(100 * twin.low)
    assert found["sft_exact_match_before.family.sort-words"][0] == pytest.approx(1.0)


# --- the real pairs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        ("The capital is Paris.", "the capital is Paris", 1.0),
        ("Paris", "The capital is Paris.", 2 * 1 * 0.25 / 1.25),
        ("a a a", "a", 2 * (1 / 3) / (4 / 3)),
        ("Rome", "Paris", 0.0),
        ("", "Paris", 0.0),
    ],
)
def test_word_f1(answer, reference, value):
    assert sft_instruction_data.word_f1(answer, reference) == pytest.approx(value)


def pairs(n):
    words = ["red", "green", "blue", "seven", "nine"]
    return [
        {"instruction": f"Say {words[i % 5]} {i // 5}.", "input": "", "output": f"It is {i}."}
        for i in range(n)
    ]


def test_the_nearest_instructions_answer():
    train = pairs(10)
    asked = [{"instruction": "Please say green 1!", "input": "", "output": "?"}, train[3]]
    assert sft_instruction_data.nearest(train, asked) == ["It is 6.", "It is 3."]


def test_the_usual_split(monkeypatch):
    monkeypatch.setattr("xor2gpt.data.load", lambda name: pairs(1100))
    parts = sft_instruction_data.splits(0)
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": 935,
        "test": 110,
        "validation": 55,
    }
    everything = [row["output"] for rows in parts.values() for row in rows]
    assert sorted(everything) == sorted(row["output"] for row in pairs(1100))
    assert sft_instruction_data.splits(1)["test"] != parts["test"]
    assert sft_instruction_data._repeated(parts) == 0.0
    assert sft_instruction_data._repeated({**parts, "train": parts["test"][:11]}) == 0.1


def test_a_unit_of_the_real_pairs(small, monkeypatch, tmp_path):
    monkeypatch.setattr("xor2gpt.data.load", lambda name: pairs(60))
    hyper = {**HYPER, "keep": "best", "validations": 2}
    outcome = sft_instruction_data.run_unit(Unit("u", "u", (0, 1), hyper), print, tmp_path)
    shown = set(sft_instruction_data._SHOWN)
    assert shown <= set(outcome.per_seed)
    assert outcome.per_seed["test_loss"][0] < outcome.per_seed["test_loss_before"][0]
    assert len(outcome.whole["samples"][0]) == 6 and outcome.whole["samples"][1] == []
    found = {f.name for f in sft_instruction_data.figures([result("u", outcome.per_seed)])}
    assert {"sft_real_exact_match.u", "sft_real_test_loss.u.sd"} <= found


# --- the committed results ------------------------------------------------------------------------


def figures_of(name):
    """The figures, computed again from the committed unit files."""
    found = results.load(name)
    recipe = recipes.get(name)
    assert list(found) == [unit.name for unit in recipe.units], f"{name}: units are missing"
    summary = json.loads((results_folder() / name / "summary.json").read_text())
    again = {figure.name: figure.value for figure in recipe.figures(list(found.values()))}
    assert {f["name"]: f["value"] for f in summary["figures"]} == pytest.approx(again, rel=1e-6)
    return again, found


def test_nine_in_ten_held_out_instructions_are_answered():
    found, units = figures_of("sft-generated")
    assert found["sft_exact_match"] >= 90.0 and found["sft_exact_match_before"] < 5.0
    assert found["sft_exact_match_shipped"] >= 90.0
    assert len(units["alpaca"].seeds) >= 5
    assert found["sft_gain.random-init.high"] < 0  # what pretraining is worth
    assert (
        found["sft_val_loss.examples-210"] > found["sft_val_loss_lowest.examples-210"]
    )  # overfitting
    families = [name for name in found if name.startswith("sft_exact_match.family.")]
    assert len(families) == 3 * len(generator.FAMILIES)


def test_what_ships_is_what_was_measured():
    """The weights of `small` and `small-instruct` are those of the committed result files."""
    main = results.load("sft-generated")["alpaca"]
    assert main.whole["shipped_sha256"][main.seeds.index(0)] == SHIPPED["small-instruct"]["sha256"]
    assert main.hyper["first_weights"] == SHIPPED["small"]["sha256"]
    real = results.load("sft-instruction-data")["small-instruct"]
    assert real.hyper["first_weights"] == SHIPPED["small-instruct"]["sha256"]


def test_the_real_pairs_are_learned_in_form():
    found, units = figures_of("sft-instruction-data")
    assert len(units["small"].seeds) == len(units["small-instruct"].seeds) >= 5
    assert found["sft_real_test_loss.small"] < found["sft_real_test_loss_before.small"] - 0.5
    assert found["sft_real_gain_test_loss.random-init.low"] > 0
