"""The spam recipes: splits without leaks, batches, the joint loss, resuming, committed results."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from xor2gpt import recipes, results
from xor2gpt.data import Messages
from xor2gpt.data.synthetic.messages import messages as generated
from xor2gpt.finetune import ClassifierGPT, collate_classification
from xor2gpt.gpt import GPT, GPTConfig
from xor2gpt.recipes import spam_common, spam_generated, spam_sms
from xor2gpt.recipes.base import Unit
from xor2gpt.recipes.runner import results_folder
from xor2gpt.recipes.spam_common import MessageBatches, TokenSplitter, encode
from xor2gpt.tokenizer import Tokenizer

END = "<|endoftext|>"
HYPER = {
    "method": "gpt",
    "start": "pretrained",
    "train": "all",
    "pooling": "mean",
    "epochs": 2,
    "batch_size": 4,
    "max_length": 48,
    "lm_weight": 0.5,
    "split": 0.2,
    "views": 1,
    "ema_decay": 0.9,
    "optimizer": {"name": "muon", "lr": 0.02, "adam_lr": 0.01},
}
COUNTS = {"vectorizer": {"analyzer": "char", "ngram_range": (1, 2)}, "C": 1.0}


@pytest.fixture(scope="session")
def tiny():
    """A model of a few thousand weights and a tokenizer with some merges."""
    texts = generated(200, seed=0).texts
    tokenizer = Tokenizer.train(texts, 300, special_tokens=[END])
    config = GPTConfig(
        vocab_size=300, context_length=64, n_layer=1, n_head=2, n_embd=16, position="rope"
    )
    return GPT(config, generator=torch.Generator().manual_seed(0)).eval(), tokenizer


@pytest.fixture
def shipped(tiny, monkeypatch):
    """The tiny model in the place of the course's."""
    found = (*tiny, {"pretrained_sha256": "a", "pretrained_tokenizer_sha256": "b"})
    for module in (spam_common, spam_sms, spam_generated):
        monkeypatch.setattr(module, "pretrained", lambda: found)
    return tiny


def stand_in():
    """Messages with the collection's numbers: 747 spam with 94 repeats, 4,825 ham with repeats."""
    spam = [f"WIN prize {n} call now, code {n * 7919 % 99991}" for n in range(653)]
    ham = [f"see you at {n} then, bring {n * 104729 % 99991} apples" for n in range(4518)]
    spam += spam[:94]
    ham += ham[: 4825 - 4518]
    labels = np.array([1] * len(spam) + [0] * len(ham))
    order = np.random.default_rng(0).permutation(len(labels))
    texts = np.array(spam + ham, dtype=object)[order]
    return Messages("sms-spam", tuple(texts), labels[order])


@pytest.fixture(scope="module")
def sms():
    return stand_in()


# --- splits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "sizes", "per_class"),
    [("usual", (1045, 149, 300), 747), ("dedup", (914, 130, 262), 653)],
)
def test_sizes_are_those_of_the_protocol(sms, protocol, sizes, per_class):
    parts = spam_sms.split(sms, protocol, seed=3)
    found = [parts.train, parts.validation, parts.test]
    assert tuple(map(len, found)) == sizes
    chosen = np.concatenate(found)
    assert len(np.unique(chosen)) == sum(sizes)  # no message twice
    assert np.bincount(sms.labels[chosen]).tolist() == [per_class, per_class]
    again, other = (spam_sms.split(sms, protocol, seed=seed) for seed in (3, 4))
    assert np.array_equal(again.test, parts.test) and not np.array_equal(other.test, parts.test)


@pytest.mark.parametrize("seed", range(3))
def test_only_the_usual_protocol_leaks_exact_copies(sms, seed):
    leaks = {
        protocol: spam_sms.copies(spam_sms.split(sms, protocol, seed), sms.texts).sum()
        for protocol in ("usual", "dedup")
    }
    assert leaks["dedup"] == 0 < leaks["usual"]
    parts = spam_sms.split(sms, "dedup", seed)
    texts = [{sms.texts[i] for i in part} for part in (parts.train, parts.validation, parts.test)]
    assert not (texts[0] & texts[2] or texts[0] & texts[1] or texts[1] & texts[2])


@pytest.mark.parametrize("seed", range(3))
def test_near_copies_stay_on_one_side(sms, seed):
    different = {text: number for number, text in enumerate(dict.fromkeys(sms.texts))}
    groups = np.array([different[text] // 3 for text in sms.texts])
    parts = spam_sms.split(sms, "grouped", seed, groups)
    sides = [set(groups[part]) for part in (parts.train, parts.validation, parts.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert sum(map(len, (parts.train, parts.validation, parts.test))) == 1306
    assert abs(len(parts.test) - 262) <= 3
    assert spam_sms.copies(spam_sms.split(sms, "dedup", seed), groups).any()  # there it leaks


def test_near_copies_are_found(monkeypatch):
    texts = (
        "You have won a holiday for two, call 0117 496 0123 today",
        "You have won a holiday for two, call 0117 496 0177 today",
        "are we still meeting at the library after lunch?",
        "are we still meeting at the library after lunch?",
        "the train is late again, start without me",
    )
    monkeypatch.setattr(spam_sms, "collection", lambda: Messages("x", texts, np.zeros(5)))
    groups = spam_sms.near_groups.__wrapped__()
    assert groups[0] == groups[1] and groups[2] == groups[3]
    assert len(set(groups)) == 3


def test_an_unknown_protocol_is_refused(sms):
    with pytest.raises(ValueError, match="'leaky': known are usual, dedup, grouped"):
        spam_sms.split(sms, "leaky", 0)


def test_generated_splits_keep_copies_together():
    texts, labels, parts = spam_generated.split(1, 600)
    made = generated(600, seed=1, difficulty=spam_generated.DIFFICULTY)
    assert texts == made.texts and np.array_equal(labels, made.labels)
    sides = [set(made.groups[part]) for part in (parts.train, parts.validation, parts.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert len(np.unique(np.concatenate(dataclasses.astuple(parts)))) == 600
    share = [labels[part].mean() for part in (parts.train, parts.test)]
    assert share[0] == pytest.approx(share[1], abs=0.02)


# --- who sees what --------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch, sms):
    """Every list of texts that a fit is given, under the real collection's numbers."""
    given = []

    def constant(texts, labels):
        given.append((list(texts), np.asarray(labels)))
        return lambda unseen: np.full(len(unseen), 0.25)

    monkeypatch.setattr(spam_sms, "collection", lambda: sms)
    monkeypatch.setattr(spam_sms, "near_groups", lambda: np.arange(len(sms)))
    for module in (spam_sms, spam_generated):
        monkeypatch.setattr(module, "fit_counts", lambda hyper, t, y: constant(t, y))
        monkeypatch.setattr(module, "fit_gpt", lambda hyper, seed, t, y, folder: constant(t, y))
    return given


@pytest.mark.parametrize("method", ["chars", "gpt"])
@pytest.mark.parametrize("protocol", ["usual", "dedup"])
def test_fits_are_given_the_training_part_and_nothing_else(
    seen, shipped, sms, tmp_path, protocol, method
):
    hyper = {"protocol": protocol, "method": method, "counts": COUNTS}
    metrics, extras = spam_sms._fit(5, hyper, tmp_path)
    parts = spam_sms.split(sms, protocol, 5)
    assert len(seen) == (2 if method == "gpt" else 1)
    for texts, labels in seen:
        assert texts == [sms.texts[i] for i in parts.train]
        assert np.array_equal(labels, sms.labels[parts.train])
        if protocol == "dedup":
            assert not set(texts) & {sms.texts[i] for i in (*parts.validation, *parts.test)}
    truth = sms.labels[parts.test]  # P(spam) was 0.25 everywhere: all is called ham
    assert metrics["accuracy"] == pytest.approx(np.mean(truth == 0))
    assert metrics["recall"] == 0.0 and math.isnan(metrics["precision"])
    assert [i for i, _ in extras["wrong"]] == parts.test[truth == 1].tolist()


def test_generated_fits_are_given_the_training_part(seen, shipped, tmp_path):
    texts, labels, parts = spam_generated.split(0, 400)
    base = {"messages": 400, "method": "gpt", "epochs": 4}
    spam_generated._fit(0, {**base, "balance": "undersampling"}, tmp_path)
    spam_generated._fit(0, {**base, "balance": "none"}, tmp_path)
    (few, even), (all_of_them, as_it_is) = seen
    assert np.bincount(even).tolist() == [labels[parts.train].sum()] * 2
    assert set(few) <= set(all_of_them) == {texts[i] for i in parts.train}
    assert np.array_equal(as_it_is, labels[parts.train])


def test_language_training_reads_the_training_texts_alone(shipped, tmp_path, monkeypatch):
    """Both phases get the same texts, and the first one no labels."""
    model, tokenizer = shipped
    made, losses = [], []
    monkeypatch.setattr(
        spam_common,
        "_train",
        lambda model, loss, batches, *rest: (made.append(batches), losses.append(loss)),
    )
    texts, labels = generated(30, seed=1).texts, generated(30, seed=1).labels
    hyper = {**HYPER, "lm_epochs": 1, "lm_optimizer": HYPER["optimizer"]}
    spam_common.fit_gpt(hyper, 0, texts, labels, tmp_path)
    expected = [ids.tolist() for ids in encode(tokenizer, texts, 48)]
    assert [[ids.tolist() for ids in b.sequences] for b in made] == [expected, expected]
    assert made[0].seed != made[1].seed
    ids, lengths, marks = made[0].batch(0)
    assert torch.equal(
        losses[0](model, ids, lengths, marks), losses[0](model, ids, lengths, 1 - marks)
    )


# --- tokens and batches ---------------------------------------------------------------------------


def test_messages_stand_between_two_ends(tiny):
    _, tokenizer = tiny
    end = tokenizer.special_tokens[END]
    short, long = encode(tokenizer, ["hi there", "a" * 500], 20)
    assert short[0] == short[-1] == end and tokenizer.decode(short[1:-1]) == "hi there"
    assert len(long) == 20 and long[-1] == end


def test_split_tokens_spell_the_same_text(tiny):
    _, tokenizer = tiny
    splitter = TokenSplitter(tokenizer, 0.5)
    rng = np.random.default_rng(0)
    texts = generated(40, seed=2).texts
    grown = 0
    for text, ids in zip(texts, encode(tokenizer, texts, 400), strict=True):
        other = splitter(ids, rng, 400)
        assert tokenizer.decode(other[1:-1]) == text
        grown += len(other) > len(ids)
        assert len(splitter(ids, rng, len(ids))) <= len(ids)  # no room: as it was
        assert np.array_equal(TokenSplitter(tokenizer, 0.0)(ids, rng, 400), ids)
    assert grown > 30
    all_cut = TokenSplitter(tokenizer, 1.0)(ids, rng, 10_000)
    twice = [p for i in ids for q in splitter.parts[i] if q >= 0 for p in splitter.parts[q]]
    assert len(all_cut) > len(ids) and sum(p >= 0 for p in twice) > 0


def test_an_epoch_shows_each_message_once_and_little_padding(tiny):
    sequences = [np.full(length, length) for length in range(2, 45)]
    labels = np.arange(len(sequences)) % 2
    source = MessageBatches(sequences, labels, batch_size=4, seed=3)
    assert source.steps_per_epoch == 11
    for epoch in range(3):
        batches = [source.batch(11 * epoch + step) for step in range(11)]
        lengths = torch.cat([lengths for _, lengths, _ in batches])
        assert sorted(lengths.tolist()) == list(range(2, 45))
        for ids, size, marks in batches:
            assert torch.equal(ids[:, 0], size)  # a message's ids say how long it is
            assert torch.equal(marks, size % 2)
    area = sum(ids.numel() for ids, _, _ in batches)
    assert area < 1.3 * sum(range(2, 45))


def test_batches_are_a_function_of_seed_and_step(tiny):
    _, tokenizer = tiny
    made = generated(30, seed=3)
    sequences = encode(tokenizer, made.texts, 60)

    def source(seed):
        return MessageBatches(
            sequences,
            made.labels,
            batch_size=4,
            seed=seed,
            splitter=TokenSplitter(tokenizer, 0.3),
            max_length=60,
        )

    one, other = source(1), source(1)
    forward = [one.batch(step) for step in range(20)]
    backward = [other.batch(step) for step in reversed(range(20))][::-1]
    for a, b in zip(forward, backward, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert any(
        a[0].shape != b[0].shape or not torch.equal(a[0], b[0])
        for a, b in zip(forward, (source(2).batch(step) for step in range(20)), strict=True)
    )
    assert one.signature() == other.signature() != source(2).signature()
    with pytest.raises(ValueError, match="30 messages with 29 labels"):
        MessageBatches(sequences, made.labels[:-1], batch_size=4, seed=0)


# --- training -------------------------------------------------------------------------------------


def test_the_joint_loss_is_the_sum_of_both_and_padding_counts_in_neither(tiny):
    gpt, tokenizer = tiny
    model = ClassifierGPT(gpt, pooling="mean", generator=torch.Generator().manual_seed(1))
    sequences = encode(tokenizer, ["win a prize", "see you at the library tonight", "ok"], 48)
    marks = np.array([1, 0, 0])
    rows = [torch.from_numpy(ids) for ids in sequences]
    ids, lengths, _, labels = collate_classification(rows, marks, pad_id=7)
    found = spam_common._joint_loss(0.5, 0.0, None)(model, ids, lengths, labels)
    classes, tokens = [], []
    for row, label in zip(rows, labels, strict=True):  # one by one: nothing is padded
        classes.append(F.cross_entropy(model(row[None]), label[None]))
        logits = F.linear(model.features(row[None]), model.body.head_weight)[0, :-1]
        tokens.append(F.cross_entropy(logits, row[1:], reduction="none"))
    expected = torch.stack(classes).mean() + 0.5 * torch.cat(tokens).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    alone = spam_common._joint_loss(0.0, 0.0, None)(model, ids, lengths, labels)
    assert alone.item() == pytest.approx(torch.stack(classes).mean().item(), rel=1e-5)
    assert not model.body.final_norm._forward_hooks  # nothing is left behind
    weighted = spam_common._joint_loss(0.0, 0.0, np.array([0.5, 2.0]))
    expected = F.cross_entropy(model(ids, lengths), labels, weight=torch.tensor([0.5, 2.0]))
    assert weighted(model, ids, lengths, labels).item() == pytest.approx(expected.item(), rel=1e-5)
    language = spam_common._language_step(model.body, ids, lengths, labels)
    assert language.item() == pytest.approx(torch.cat(tokens).mean().item(), rel=1e-5)


def test_a_random_start_takes_the_shape_and_nothing_else(shipped):
    model, _ = shipped
    ids = torch.arange(12)[None]
    kept = spam_common.make_gpt({"start": "pretrained"}, 1)
    one, same, other = (spam_common.make_gpt({"start": "random"}, seed) for seed in (1, 1, 2))
    assert torch.equal(kept(ids)[0], model(ids)[0])
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and a.shape == c.shape
        assert a.dim() == 1 or not torch.equal(a, c)
    assert all(
        a.dim() == 1 or not torch.equal(a, b)
        for a, b in zip(one.parameters(), model.parameters(), strict=True)
    )


def test_training_learns_and_leaves_the_shipped_model_alone(shipped, tmp_path):
    model, _ = shipped
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    texts = [f"WIN CASH {n} NOW" for n in range(12)] + [f"see you at {n} mum" for n in range(12)]
    labels = np.repeat([1, 0], 12)
    spam = spam_common.fit_gpt({**HYPER, "epochs": 8}, 0, texts, labels, tmp_path)
    p = spam(["WIN CASH 77 NOW", "see you at 88 mum"])
    assert p[0] > 0.8 and p[1] < 0.2
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("train", ["head", "last-block"])
def test_frozen_parts_stay_as_they_were(shipped, tmp_path, train):
    model, _ = shipped
    made = generated(40, seed=4)
    hyper = {**HYPER, "train": train, "lm_weight": 0.0, "epochs": 1}
    if train == "head":
        hyper["optimizer"] = {"name": "adamw", "lr": 0.03, "weight_decay": 0.0}
    trained = spam_common.fit_gpt(hyper, 0, made.texts, made.labels, tmp_path).model
    pairs = dict(zip(model.state_dict(), trained.body.state_dict().values(), strict=True))
    same = {name: torch.equal(model.state_dict()[name], tensor) for name, tensor in pairs.items()}
    assert same["token_embedding.weight"]
    assert same["blocks.0.mlp.up.weight"] == (train == "head")


# --- units, kills ---------------------------------------------------------------------------------


@pytest.fixture
def few_messages(monkeypatch):
    """A small real-looking collection for `spam_sms`, near copies included."""
    made = generated(240, seed=6, spam_share=0.3)
    found = Messages("sms-spam", made.texts, made.labels)
    monkeypatch.setattr(spam_sms, "collection", lambda: found)
    monkeypatch.setattr(spam_sms, "near_groups", lambda: made.groups)
    return found


def unit_of(recipe, name, **changes):
    """A unit of the recipe as it is registered, but small."""
    unit = recipe.unit(name)
    hyper = {**unit.hyper, **changes}
    if "counts" in hyper:
        hyper["counts"] = COUNTS
    return Unit(unit.name, unit.title, unit.seeds[:2], hyper)


def sizes(unit):
    """The changes that make a unit small."""
    if unit.hyper["method"] != "gpt":
        return {}
    return {
        "max_length": 48,
        "epochs": 1,
        "batch_size": 8,
        "views": min(1, unit.hyper.get("views", 0)),
    }


@pytest.mark.parametrize("name", [u.name for u in spam_sms.RECIPE.units])
def test_every_unit_of_spam_sms_runs(few_messages, shipped, tmp_path, name):
    unit = spam_sms.RECIPE.unit(name)
    small = unit_of(spam_sms.RECIPE, name, **sizes(unit))
    done = []
    outcome = spam_sms.run_unit(small, done.append, tmp_path)
    assert done == [1, 1]
    values = outcome.per_seed["accuracy"]
    assert len(values) == 2 and all(0.0 <= value <= 1.0 for value in values)
    if unit.hyper["method"] == "gpt":
        assert outcome.whole["pretrained_sha256"] == ["a", "a"]
        assert len(outcome.per_seed["accuracy_together"]) == 2
    if unit.hyper["method"] == "majority":
        leaks = outcome.per_seed["near_copies"]
        assert max(leaks) == 0.0 if name.startswith("grouped") else max(leaks) > 0.0


@pytest.mark.parametrize("name", [u.name for u in spam_generated.RECIPE.units])
def test_every_unit_of_spam_generated_runs(shipped, tmp_path, name):
    unit = spam_generated.RECIPE.unit(name)
    small = unit_of(spam_generated.RECIPE, name, messages=200, **sizes(unit))
    outcome = spam_generated.run_unit(small, lambda n: None, tmp_path)
    per_seed = outcome.per_seed
    assert all(len(values) == 2 for values in per_seed.values())
    if name == "majority":
        assert per_seed["accuracy"] == [0.5, 0.5] and min(per_seed["accuracy_as_it_is"]) > 0.75
    for _, test, even in outcome.whole["sizes"]:
        assert even <= test < 200


def test_a_first_token_cannot_tell_messages_apart(shipped, tmp_path):
    """Every message begins with the same token, and a causal place sees nothing behind it."""
    made = generated(40, seed=7)
    hyper = {**HYPER, "pooling": "first", "views": 0}
    p = spam_common.fit_gpt(hyper, 0, made.texts, made.labels, tmp_path)(made.texts)
    assert np.ptp(p) < 1e-5


class Stopping(MessageBatches):
    """Batches that end the process's work at one step of the second phase."""

    stop_at = None

    def batch(self, step):
        if step == Stopping.stop_at and self.seed % 10 == 2:
            Stopping.stop_at = None
            raise KeyboardInterrupt
        return super().batch(step)


def test_a_killed_unit_goes_on_and_ends_the_same(few_messages, shipped, tmp_path, monkeypatch):
    changes = {
        **sizes(spam_sms.RECIPE.unit("dedup-gpt")),
        "epochs": 2,
        "lm_epochs": 1,
        "lm_optimizer": HYPER["optimizer"],
        "split": 0.2,
        "ema_decay": 0.9,
    }
    unit = unit_of(spam_sms.RECIPE, "dedup-gpt", **changes)

    def run(folder):
        return spam_sms.run_unit(unit, lambda n: None, folder)

    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = run(tmp_path / "whole")
    monkeypatch.setattr(spam_common, "MessageBatches", Stopping)
    for step in (11, 3):
        Stopping.stop_at = step
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut")
    resumed = run(tmp_path / "cut")
    times = {"seconds", "cpu_seconds"}
    assert {k: v for k, v in whole.per_seed.items() if k not in times} == {
        k: v for k, v in resumed.per_seed.items() if k not in times
    }
    assert whole.whole["wrong"] == resumed.whole["wrong"]
    assert resumed.whole["starts"][0] > 1


# --- figures --------------------------------------------------------------------------------------


def test_differences_come_with_both_intervals():
    first, second = [0.97, 0.98, 0.96, 0.99], [0.95, 0.97, 0.96, 0.96, 0.5]
    found = {f.name: f.value for f in spam_common.difference_figures("x", first, second, 0.25)}
    points = np.array([2.0, 1.0, 0.0, 3.0])
    plain = stats.ttest_1samp(points, 0.0).confidence_interval(0.95)
    assert found["x"] == pytest.approx(1.5) and found["x.sd"] == pytest.approx(points.std(ddof=1))
    assert (found["x.low"], found["x.high"]) == pytest.approx((plain.low, plain.high))
    # Nadeau and Bengio: the variance of the mean is s² (1/n + test/train)
    half = stats.t.ppf(0.975, 3) * points.std(ddof=1) * math.sqrt(1 / 4 + 0.25)
    wider = (found["x.corrected_low"], found["x.corrected_high"])
    assert wider == pytest.approx((1.5 - half, 1.5 + half))


def test_scores_are_those_of_a_confusion_table():
    p, labels = np.array([0.9, 0.6, 0.4, 0.2, 0.51]), np.array([1, 0, 1, 0, 1])
    found = spam_common.scores(p, labels)
    assert found["accuracy"] == 3 / 5
    assert found["precision"] == pytest.approx(2 / 3) and found["recall"] == pytest.approx(2 / 3)
    expected = -np.log([0.9, 0.4, 0.4, 0.8, 0.51]).mean()
    assert found["loss"] == pytest.approx(expected)
    assert spam_common.probability(spam_common.logit(p)) == pytest.approx(p)


def test_units_differ_in_what_they_say_they_differ_in():
    def differing(one, other):
        a, b = one.hyper, other.hyper
        return {k for k in set(a) | set(b) if a.get(k) != b.get(k)} - {"against", "seeds"}

    unit = spam_sms.RECIPE.unit
    start = {"start", "pretrained_sha256", "pretrained_tokenizer_sha256"}
    for protocol in ("usual", "dedup"):
        assert differing(unit(f"{protocol}-gpt"), unit(f"{protocol}-random")) == start
    assert differing(unit("dedup-gpt"), unit("grouped-gpt")) == {"protocol"}
    assert differing(unit("dedup-gpt"), unit("dedup-gpt-last")) == {"pooling"}
    assert differing(unit("dedup-gpt"), unit("dedup-gpt-no-lm")) == {"lm_weight"}
    for one in spam_sms.RECIPE.units:
        assert one.seeds == spam_sms.SEEDS[: len(one.seeds)] and max(one.seeds) < 100
    unit = spam_generated.RECIPE.unit
    assert differing(unit("all"), unit("random")) == start
    assert differing(unit("all"), unit("last-token")) == {"pooling"}
    assert differing(unit("all"), unit("last-block")) == {"train"}
    assert differing(unit("all"), unit("weights")) == {"balance", "class_weight"}
    for recipe in (spam_sms.RECIPE, spam_generated.RECIPE):
        assert recipe.keeps_checkpoints and recipe.threads == 1
        assert all(len(unit.seeds) >= 5 for unit in recipe.units)


# --- the committed results ------------------------------------------------------------------------


def figures_of(name):
    """The figures, computed again from the committed unit files."""
    found, recipe = results.load(name), recipes.get(name)
    assert list(found) == [unit.name for unit in recipe.units], f"{name}: units are missing"
    summary = json.loads((results_folder() / name / "summary.json").read_text())
    again = {figure.name: figure.value for figure in recipe.figures(list(found.values()))}
    kept = {figure["name"]: float(figure["value"]) for figure in summary["figures"]}
    assert kept == pytest.approx(again, rel=1e-6, nan_ok=True)
    return again, found


def test_real_messages_reach_the_mark():
    """Above what the book's GPT-2 reaches, in less than five CPU-minutes a training."""
    found, _ = figures_of("spam-sms")
    assert found["spam_accuracy_usual"] >= 95.67
    assert found["spam_cpu_seconds_largest"] < 300
    assert found["spam-sms.usual.pretraining"] > 0
    assert found["spam_exact_copies_usual"] > 0 == found["spam_exact_copies_dedup"]
    assert found["spam_near_copies_dedup"] > 0 == found["spam_near_copies_grouped"]


def test_generated_messages_show_what_the_lesson_says():
    found, _ = figures_of("spam-generated")
    assert found["spam-generated.majority.accuracy"] == 50.0
    assert found["spam-generated.first-token.accuracy"] == pytest.approx(50.0, abs=0.5)
    for name in ("all", "last-token", "last-block"):
        assert found[f"spam-generated.{name}.accuracy"] > 75.0


@pytest.mark.parametrize("name", ["spam-sms", "spam-generated"])
def test_the_results_are_of_the_weights_that_ship(name):
    from xor2gpt.pretrained import SHIPPED

    for result in figures_of(name)[1].values():
        if result.hyper["method"] == "gpt":
            assert set(result.whole["pretrained_tokenizer_sha256"]) == {
                SHIPPED["small"]["tokenizer_sha256"]
            }
            if result.hyper["start"] == "pretrained":
                assert set(result.whole["pretrained_sha256"]) == {SHIPPED["small"]["sha256"]}
