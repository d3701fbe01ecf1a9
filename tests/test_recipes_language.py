"""The language recipes: batches, resuming, what counts as reached, and the committed results."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from xor2gpt import recipes, results
from xor2gpt import training as tr
from xor2gpt.gpt import IGNORE
from xor2gpt.recipes import grammar_small, language, shakespeare_char
from xor2gpt.recipes.base import Unit
from xor2gpt.recipes.language import RandomWindows, first_crossing, fit
from xor2gpt.recipes.runner import results_folder

HYPER = {
    "steps": 12,
    "batch_size": 4,
    "clip_norm": 1.0,
    "validate_every": 3,
    "checkpoint_every": 6,
    "sampling": "epochs",
    "schedule": {"name": "flat_then_linear", "warmup": 2, "cooldown": 0.5},
    "model": {"context_length": 32, "n_layer": 1, "n_head": 2, "n_embd": 16},
    "optimizer": {"name": "muon", "lr": 0.02, "adam_lr": 0.01, "betas": [0.9, 0.99]},
}


@pytest.fixture
def short_language(monkeypatch):
    """The grammar's texts, with few sentences."""
    monkeypatch.setattr(grammar_small, "TRAIN_SENTENCES", 400)
    monkeypatch.setattr(grammar_small, "VALIDATION_SENTENCES", 60)
    grammar_small.language.cache_clear()
    yield grammar_small.language
    grammar_small.language.cache_clear()


# --- batches --------------------------------------------------------------------------------------


def test_random_windows_are_a_function_of_seed_and_step():
    tokens = torch.arange(1000)
    source, again = (RandomWindows(tokens, 8, 5, seed=3) for _ in range(2))
    ids, targets = source.batch(17)
    assert ids.shape == targets.shape == (5, 8) and torch.equal(targets, ids + 1)
    assert torch.equal(ids, again.batch(17)[0]) and not torch.equal(ids, source.batch(18)[0])
    assert not torch.equal(ids, RandomWindows(tokens, 8, 5, seed=4).batch(17)[0])
    starts = torch.cat([source.batch(step)[0][:, 0] for step in range(400)])
    assert starts.min() < 10 and starts.max() == 991  # the last window ends with the text
    with pytest.raises(ValueError, match="8 tokens do not hold a window of 8 \\+ 1"):
        RandomWindows(torch.arange(8), 8, 1, seed=0)


def test_rows_hold_every_token_once_and_begin_with_a_sentence():
    sentences = [[1, 2, 0], [3, 0], [4, 5, 6, 0], [7, 0]]
    [(ids, targets)] = grammar_small.sentence_rows(sentences, 0, 5, 8)
    assert targets.tolist() == [[1, 2, 0, 3, 0], [4, 5, 6, 0, IGNORE], [7, 0, *[IGNORE] * 3]]
    assert ids.tolist() == [[0, 1, 2, 0, 3], [0, 4, 5, 6, 0], [0, 7, 0, 0, 0]]
    with pytest.raises(ValueError, match="4 tokens is longer than a row"):
        grammar_small.sentence_rows(sentences, 0, 3, 8)


def test_the_language_is_the_grammars(short_language):
    from xor2gpt.data.synthetic.grammar import Grammar

    spoken, grammar = short_language(), Grammar()
    lines = [spoken.text(ids) for ids in spoken.sentences]
    assert lines == grammar.sample(60, seed=grammar_small.VALIDATION_SEED).splitlines()
    total = sum(map(len, spoken.sentences))
    assert spoken.true_loss == pytest.approx(-sum(map(grammar.logprob, lines)) / total)
    assert spoken.true_loss == pytest.approx(grammar.entropy_per_word, rel=0.25)  # 60 sentences
    assert int(spoken.train.max()) < spoken.vocab_size == len(grammar.vocabulary)
    assert all(sentence[-1] == spoken.end for sentence in spoken.sentences)
    rows = grammar_small.sentence_rows(spoken.sentences, spoken.end, 64, 7)
    assert sum(int((targets != IGNORE).sum()) for _, targets in rows) == total
    assert grammar_small._share_grammatical([*lines[:3], "King the.", "xyzzy"]) == 0.6


# --- training -------------------------------------------------------------------------------------


class Stopping:
    """Validation batches that end the process's work at the ``n``-th reading."""

    def __init__(self, batches, n):
        self.batches, self.left = batches, n

    def __iter__(self):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return iter(self.batches)


def test_a_killed_training_goes_on_and_ends_the_same(short_language, tmp_path):
    spoken = short_language()
    rows = grammar_small.sentence_rows(spoken.sentences, spoken.end, 32, 16)

    def run(folder, validation):
        write = lambda model: grammar_small._write(model, spoken, 2, 0, 12)  # noqa: E731
        arguments = (HYPER, 5, spoken.train, validation, spoken.vocab_size, folder)
        return fit(*arguments, sample=write, sample_steps=(0, 3, 12))

    whole, model = run(tmp_path / "whole", rows)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Stopping(rows, 5))  # steps 0, 3, 6, 9: a checkpoint is at 6
    resumed, other = run(tmp_path / "cut", rows)
    assert whole.steps == resumed.steps == [0, 3, 6, 9, 12]
    assert whole.losses == resumed.losses and whole.samples == resumed.samples
    assert [s["step"] for s in whole.samples] == [0, 3, 12]
    assert all(len(s["texts"]) == 2 for s in whole.samples)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    for curve in (whole, resumed):
        assert curve.cpu_seconds[0] == 0.0
        assert all(b > a for a, b in zip(curve.cpu_seconds, curve.cpu_seconds[1:], strict=False))
    assert whole.losses[0] == pytest.approx(math.log(spoken.vocab_size), abs=0.05)
    assert whole.losses[-1] < whole.losses[0] - 0.5


def test_seconds_leave_validation_out(short_language, tmp_path, monkeypatch):
    """A clock that runs only while the model is validated shows no time of training."""
    spoken = short_language()
    rows = grammar_small.sentence_rows(spoken.sentences, spoken.end, 32, 16)
    now = [100.0]
    monkeypatch.setattr(language.time, "process_time", lambda: now[0])

    class Slow:
        def __iter__(self):
            now[0] += 7.0
            return iter(rows)

    curve, _ = fit(HYPER, 0, spoken.train, Slow(), spoken.vocab_size, tmp_path)
    assert curve.cpu_seconds == [0.0] * 5 and now[0] == 100.0 + 7.0 * 5


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("sampling", ["random", "epochs"])
def test_every_kind_of_setting_trains(short_language, tmp_path, name, sampling):
    spoken = short_language()
    rows = grammar_small.sentence_rows(spoken.sentences, spoken.end, 32, 16)
    optimizer = {"name": name, "lr": 0.01, "betas": [0.9, 0.99], "weight_decay": 0.1}
    changes = {"optimizer": optimizer, "sampling": sampling, "ema_decay": 0.9}
    hyper = {**HYPER, **changes, "schedule": {"name": "cosine", "warmup": 2, "floor": 0.1}}
    curve, _ = fit(hyper, 0, spoken.train, rows, spoken.vocab_size, tmp_path)
    assert curve.losses[-1] < curve.losses[0]


def test_where_a_curve_reaches_a_loss():
    assert first_crossing([0, 10, 20], [3.0, 2.0, 1.0], 1.5) == 15.0
    assert first_crossing([0, 10, 20], [3.0, 2.0, 1.0], 2.0) == 10.0
    assert first_crossing([5, 10], [1.0, 2.0], 1.5) == 5.0
    assert first_crossing([0, 10], [3.0, 2.0], 1.0) == math.inf


def test_a_unit_of_the_grammar_recipe(short_language, tmp_path):
    done = []
    unit = Unit("small", "small", (0, 1), HYPER)
    outcome = grammar_small.run_unit(unit, done.append, tmp_path)
    assert done == [1, 1]
    assert all(len(values) == 2 for values in outcome.per_seed.values())
    above = outcome.per_seed["val_loss"][0] - short_language().true_loss
    assert outcome.per_seed["bits_above"][0] == pytest.approx(above / math.log(2))
    assert outcome.whole["entropy"] < outcome.whole["bigram_entropy"]
    assert outcome.whole["unigram_entropy"] < outcome.whole["ln_vocab_size"]
    assert np.shape(outcome.whole["val_loss"]) == np.shape(outcome.whole["cpu_seconds"]) == (2, 5)
    json.dumps(dict(outcome.whole))


def test_a_unit_of_the_shakespeare_recipe(tmp_path, monkeypatch):
    text = torch.randint(65, (3000,), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(shakespeare_char, "tokens", lambda: (text[:2500], text[2500:], 65))
    unit = Unit("small", "small", (3,), HYPER)
    outcome = shakespeare_char.run_unit(unit, lambda n: None, tmp_path)
    assert outcome.whole["step"] == [0, 3, 6, 9, 12]
    assert outcome.per_seed["val_bits"][0] == pytest.approx(
        outcome.per_seed["val_loss"][0] / math.log(2)
    )
    assert outcome.per_seed["cpu_to_target"] == [math.inf]


# --- the committed results ------------------------------------------------------------------------


def figures_of(name: str) -> dict[str, float]:
    """The figures, computed again from the committed unit files."""
    found = results.load(name)
    recipe = recipes.get(name)
    assert list(found) == [unit.name for unit in recipe.units], f"{name}: units are missing"
    summary = json.loads((results_folder() / name / "summary.json").read_text())
    again = {figure.name: figure.value for figure in recipe.figures(list(found.values()))}
    assert {f["name"]: f["value"] for f in summary["figures"]} == pytest.approx(again, rel=1e-6)
    for result in found.values():
        assert len(result.seeds) >= 3
        assert np.shape(result.whole["val_loss"]) == (len(result.seeds), len(result.whole["step"]))
        last = [losses[-1] for losses in result.whole["val_loss"]]
        assert last == pytest.approx(result.per_seed["val_loss"], rel=1e-6)
    return again


def test_shakespeare_reaches_its_marks():
    """nanoGPT's last loss in half of its CPU-seconds at most; 1.62 nats after 2,000 steps."""
    found = figures_of("shakespeare-char")
    assert found["cpu_share_to_nanogpt_loss.modern-muon"] <= 0.5
    assert found["cpu_share_to_nanogpt_loss.muon"] <= 0.5
    assert found["val_loss.modern-muon"] <= 1.62
    assert found["val_loss.nanogpt-recipe"] == pytest.approx(1.91, abs=0.02)


def test_the_grammar_is_learnt_to_two_percent():
    found = figures_of("grammar-small")
    assert found["percent_above.modern-muon"] <= 2.0
    assert found["bits_above.modern-muon"] > 0  # below the source would be a fault of the measure


def test_the_first_point_of_a_committed_curve_repeats():
    """The loss before training: model, text and measure are the same as then."""
    result = results.load("grammar-small")["gpt2-adamw"]
    spoken = grammar_small.language()
    hyper = recipes.get("grammar-small").unit("gpt2-adamw").hyper
    length = hyper["model"]["context_length"]
    rows = grammar_small.sentence_rows(spoken.sentences, spoken.end, length, 64)
    model = language.make_model(hyper, spoken.vocab_size, result.seeds[0])
    from xor2gpt.gpt import token_loss

    loss = tr.evaluate(model, token_loss, rows)
    assert result.whole["step"][0] == 0
    assert loss == pytest.approx(result.whole["val_loss"][0][0], abs=1e-4)
    assert result.whole["true_loss"] == pytest.approx(spoken.true_loss, abs=1e-6)


def test_units_differ_in_what_they_say_they_differ_in():
    """The same sizes and steps everywhere, so that losses can be compared."""
    sizes = ("n_layer", "n_head", "n_embd", "context_length")
    units = recipes.get("shakespeare-char").units
    assert {tuple(u.hyper["model"][name] for name in sizes) for u in units} == {(4, 4, 128, 64)}
    assert {(u.hyper["steps"], u.hyper["batch_size"]) for u in units} == {(2000, 12)}
    for name in ("shakespeare-char", "grammar-small"):
        assert recipes.get(name).keeps_checkpoints
        for unit in recipes.get(name).units:
            assert unit.hyper["checkpoint_every"] % unit.hyper["validate_every"] == 0
            assert dataclasses.is_dataclass(unit) and len(unit.seeds) >= 3
