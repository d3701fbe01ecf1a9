"""The vision recipes: their parts against definitions, and a kill at any moment changes nothing.

Pictures here are random and networks tiny: no test needs real data, and none looks at a clock.
"""

import dataclasses
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from xor2gpt import data, recipes, results
from xor2gpt import training as tr
from xor2gpt.recipes import (
    cifar10_ablation,
    cifar10_cpu,
    files,
    mnist_cpu,
    runner,
    tiny_imagenet,
)
from xor2gpt.recipes import vision_common as vc
from xor2gpt.recipes.base import Column, UnitResult
from xor2gpt.recipes.stats import gains
from xor2gpt.vision import augment

NAMES = ("mnist-cpu", "cifar10-cpu", "cifar10-ablation", "tiny-imagenet-part-cpu")


def split(n: int, channels: int, side: int, classes: int, seed: int = 0) -> data.Split:
    """Noise on a pattern of 4×4 pixels for each class, so that there is something to learn."""
    noise, labels = np.random.default_rng(seed), np.arange(n) % classes
    patterns = np.random.default_rng(99).integers(0, 150, (classes, channels, 4, 4))
    images = np.tile(patterns, (1, 1, side // 4, side // 4))[labels]
    images = images + noise.integers(0, 100, images.shape)
    return data.Split(images=images.astype(np.uint8), labels=labels.astype(np.int64))


@functools.cache
def small_set(name: str) -> data.Pictures:
    """A stand-in for a real set, of the same shape."""
    channels, side, classes, train, test = {
        "mnist": (1, 28, 10, 240, 40),
        "cifar10": (3, 32, 10, 120, 40),
        "tiny-imagenet": (3, 64, 6, 120, 24),
    }[name]
    return data.Pictures(
        name=name,
        train=split(train, channels, side, classes),
        test=split(test, channels, side, classes, seed=1),
        classes=tuple(str(label) for label in range(classes)),
    )


TINY = {"widths": (4, 8, 8), "batch": 20, "epochs": 2}
RATES = {"lr_filters": 0.05, "lr_biases": 1.0, "lr_head": 10.0, "decay": 0.0}


def tiny(name: str) -> recipes.Recipe:
    """The recipe with its own code and the smallest settings that still use every part."""
    recipe = recipes.get(name)
    pretraining = {**tiny_imagenet._PRETRAINING, **TINY, **RATES}
    kept = []
    for unit in recipe.units:
        hyper = {**unit.hyper, **TINY, **(RATES if "lr_filters" in unit.hyper else {})}
        if name == "mnist-cpu":
            hyper |= {"batch": 50}
        if name == "cifar10-ablation":
            if unit.name not in ("source", "smoothing"):
                continue
            hyper |= {"width": 4}
        if "pretraining" in hyper:
            if unit.hyper.get("labels") not in (None, 10):
                continue
            hyper |= {"pretraining": pretraining, "labels": 5, "steps": 12}
        kept.append(dataclasses.replace(unit, hyper=hyper, seeds=unit.seeds[:2]))
    return dataclasses.replace(
        recipe, units=tuple(kept), tables=(), figures=lambda found: [], threads=1
    )


@pytest.fixture
def small_data(monkeypatch):
    """``data.load`` gives the stand-ins; the splits are cut to their sizes."""
    monkeypatch.setattr(data, "load", small_set)
    use_small_splits(monkeypatch.setattr)


def use_small_splits(set_attribute) -> None:
    set_attribute(cifar10_ablation, "TRAIN", 6)
    set_attribute(cifar10_ablation, "HELD", 6)
    set_attribute(mnist_cpu, "VALIDATION", 40)
    set_attribute(tiny_imagenet, "POOL", 15)
    set_attribute(tiny_imagenet, "HELD", 5)


def outcome(folder: Path) -> dict[str, dict]:
    """What the unit files of a run say, without times and starts."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text())
        if content["kind"] == "unit":
            for name in ("seconds", "cpu_seconds"):
                del content["per_seed"][name]
            del content["whole"]["starts"]
            found[path.stem] = {k: content[k] for k in ("unit", "per_seed", "whole")}
    return found


# --- a kill at any moment -------------------------------------------------------------------------


class Stop(Exception):
    """Stands for a kill in the middle of a training."""


@pytest.mark.parametrize("name", NAMES)
def test_stopped_anywhere_a_recipe_ends_with_the_same_weights(
    name, tmp_path, small_data, monkeypatch
):
    recipe = tiny(name)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run = functools.partial(runner.run, recipe, quiet=True)
    # a checkpoint after every third step, so that a stop falls inside a training
    make = tr.Trainer.__init__
    monkeypatch.setattr(
        tr.Trainer,
        "__init__",
        lambda self, *a, **k: make(self, *a, **{**k, "checkpoint_every": 3}),
    )
    run(whole, scratch=tmp_path / "s1")
    expected = outcome(whole)
    assert len(expected) == len(recipe.units)
    hashes = [sha for unit in expected.values() for sha in unit["whole"]["weights_sha256"]]
    assert all(len(sha) == 64 for sha in hashes) and len(set(hashes)) >= len(recipe.units)

    taken = {"steps": 0}
    step = tr.Trainer._optimizer_step

    def stopping(self):
        taken["steps"] += 1
        if taken["steps"] % 7 == 0:
            raise Stop
        return step(self)

    monkeypatch.setattr(tr.Trainer, "_optimizer_step", stopping)
    for _ in range(60):
        try:
            run(cut, scratch=tmp_path / "s2")
            break
        except Stop:
            continue
    assert taken["steps"] >= 7, "nothing was stopped"
    assert outcome(cut) == expected


PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_recipes_vision as t
t.data.load = t.small_set
t.use_small_splits(setattr)
step = t.tr.Trainer._optimizer_step
def slow(self):
    time.sleep(0.1)
    return step(self)
t.tr.Trainer._optimizer_step = slow
out = Path({out!r})
t.runner.run(t.tiny("cifar10-cpu"), out, quiet=True, scratch=out / "scratch")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_kill_9_inside_a_training(tmp_path, small_data):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    code = PROGRAM.format(tests=str(Path(__file__).parent), out=str(cut))
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 120
    while not list(cut.glob("scratch/cifar10-cpu/*/seed-1/metrics.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.4)  # some steps into the second seed
    process.kill()
    process.wait()
    assert not list((cut / "cifar10-cpu").glob("*.json"))
    for out in (cut, whole):
        runner.run(tiny("cifar10-cpu"), out, quiet=True, scratch=out / "scratch")
    assert outcome(cut) == outcome(whole)
    starts = json.loads((cut / "cifar10-cpu" / "three-minutes.json").read_text())["whole"]["starts"]
    assert starts == [1, 2], "the first seed was run again, or the second was not resumed"


def test_seconds_of_a_seed_include_those_before_a_stop(tmp_path):
    unit = recipes.Unit("u", "u", (0,), {})
    (tmp_path / "seed-0").mkdir()
    before = {"wall": 1000.0, "cpu": 500.0, "starts": 1}
    (tmp_path / "seed-0" / "seconds.json").write_text(json.dumps(before))
    done = vc.over_seeds(unit, lambda n: None, tmp_path, lambda *_: ({"a": 1.0}, {}))
    assert 1000 < done.per_seed["seconds"][0] < 1100 and done.whole["starts"] == [2]
    never = vc.over_seeds(unit, lambda n: None, tmp_path, lambda *_: pytest.fail("ran again"))
    assert never.per_seed == done.per_seed


def test_without_bf16_hardware_it_says_so_and_uses_float32(
    tmp_path, small_data, monkeypatch, caplog
):
    monkeypatch.setattr(tr, "choose_precision", lambda wish, device: ("fp32", "fp32: no hardware"))
    monkeypatch.setattr("xor2gpt.training.trainer.choose_precision", tr.choose_precision)
    recipe = tiny("cifar10-cpu")
    recipe = dataclasses.replace(recipe, units=recipe.units[:1])
    runner.run(recipe, tmp_path, quiet=True, scratch=tmp_path / "s")
    content = json.loads((tmp_path / "cifar10-cpu" / "three-minutes.json").read_text())
    assert content["whole"]["precision"] == "fp32: no hardware"
    assert "fp32: no hardware; the stated seconds" in caplog.text
    assert vc.prepared(small_set("cifar10").train.images, augment.CIFAR10).dtype == torch.float32


def test_missing_data_say_what_to_do(tmp_path, monkeypatch):
    def missing(name):
        raise data.DataError(f"{name} is not here: set XOR2GPT_MIRROR")

    monkeypatch.setattr(data, "load", missing)
    for name in NAMES:
        with pytest.raises(RuntimeError, match="XOR2GPT_MIRROR"):
            runner.run(recipes.get(name), tmp_path, quiet=True, scratch=tmp_path / "s")


# --- digests and splits ---------------------------------------------------------------------------


def test_digest_is_sha256_of_names_shapes_and_bytes():
    state = {"b": torch.tensor(3), "a": torch.tensor([[1.0, 2.0]])}
    text = b"a torch.float32 (1, 2)\n" + np.array([1, 2], np.float32).tobytes()
    text += b"b torch.int64 ()\n" + np.array(3).tobytes()
    assert vc.digest(state) == hashlib.sha256(text).hexdigest()
    assert vc.digest(dict(reversed(state.items()))) == vc.digest(state)
    shifted = {**state, "a": torch.nextafter(state["a"], torch.tensor(9.0))}
    assert vc.digest(shifted) != vc.digest(state)
    weights = torch.randn(4, 3, 3, 3)
    assert vc.digest({"w": weights}) == vc.digest(
        {"w": weights.contiguous(memory_format=torch.channels_last)}
    ), "the memory format is not a part of the weights"


@given(st.integers(0, 99), st.lists(st.integers(1, 4), min_size=1, max_size=3))
@settings(max_examples=25, deadline=None)
def test_split_indices(seed, per_class):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(5), 12))
    parts = vc.split_indices(labels, per_class, seed)
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together) == 5 * sum(per_class), "parts overlap"
    for part, each in zip(parts, per_class, strict=True):
        assert np.bincount(labels[part], minlength=5).tolist() == [each] * 5
        assert (np.diff(part) > 0).all()
    again = vc.split_indices(labels, per_class, seed)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))


def test_split_indices_refuses_too_few():
    with pytest.raises(ValueError, match="class 0 has 3 samples, 5 asked"):
        vc.split_indices(np.repeat([0, 1], 3), (4, 1), 0)


def test_recipes_never_train_on_what_they_are_judged_by(small_data):
    train, _, held, _ = cifar10_ablation.pictures()
    rows = {images.tobytes() for images in train}
    assert rows.isdisjoint(images.tobytes() for images in held)
    kept, chosen_on = mnist_cpu.split(np.zeros(600))
    assert (
        len(chosen_on) == mnist_cpu.VALIDATION
        and len(kept) == 560
        and np.intersect1d(kept, chosen_on).size == 0
    )
    few, _, test, _ = tiny_imagenet.pictures(0, 5)
    more, labels, held, _ = tiny_imagenet.pictures(0, 15, validation=True)
    as_rows = [{x.numpy().tobytes() for x in part} for part in (few, more, held, test)]
    assert as_rows[0] < as_rows[1], "fewer labels are a part of more labels"
    assert as_rows[1].isdisjoint(as_rows[2]) and as_rows[1].isdisjoint(as_rows[3])
    assert labels.bincount().tolist() == [15] * 6


def test_halved_is_the_mean_of_four_pixels():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8)
    means = images.reshape(2, 3, 32, 2, 32, 2).mean(axis=(3, 5))
    assert np.abs(tiny_imagenet.halved(images).numpy() - means).max() <= 0.5


# --- batches --------------------------------------------------------------------------------------


def test_two_epochs_show_every_picture_both_ways():
    images = torch.randn(12, 3, 8, 8)
    source = vc.FlippedAndShifted(images, torch.arange(12), batch_size=4, seed=3, shift=0)
    seen = {}
    for step in range(2 * source.steps_per_epoch):
        for picture, label in zip(*source.batch(step), strict=True):
            seen.setdefault(int(label), []).append(picture)
    assert sorted(seen) == list(range(12))
    for label, (first, second) in seen.items():
        assert torch.equal(first, second.flip(-1))
        assert torch.equal(first, images[label]) or torch.equal(second, images[label])


def test_batches_are_a_function_of_seed_and_step():
    images, labels = torch.randn(12, 3, 8, 8), torch.arange(12)
    make = functools.partial(vc.FlippedAndShifted, images, labels, batch_size=4, shift=2)
    first, again = make(seed=1), make(seed=1)
    later = [first.batch(step) for step in range(5)][4]
    assert all(torch.equal(a, b) for a, b in zip(later, again.batch(4), strict=True))
    assert not torch.equal(make(seed=2).batch(4)[1], later[1])
    assert not torch.equal(first.batch(1)[0], make(seed=1).batch(4)[0])


def test_prepared_is_normalised_in_the_runs_precision():
    images = small_set("cifar10").train.images
    found = vc.prepared(images, augment.CIFAR10)
    assert found.dtype == (torch.bfloat16 if vc.precision()[0] == "bf16" else torch.float32)
    exact = augment.normalise(torch.as_tensor(images), augment.CIFAR10)
    assert torch.allclose(found.float(), exact, atol=0.01)


def test_ablation_augments_before_normalising():
    change = cifar10_ablation.augmentation((), augment.CIFAR10)
    images = torch.as_tensor(small_set("cifar10").train.images[:4])
    found, labels = change(torch.Generator(), images, torch.arange(4))
    assert torch.equal(found, vc.prepared(images, augment.CIFAR10)) and labels.tolist() == [
        0,
        1,
        2,
        3,
    ]
    steps = ("rotation", "jitter", "crop", "flip")
    changed, _ = cifar10_ablation.augmentation(steps, augment.CIFAR10)(
        torch.Generator().manual_seed(1), images, labels
    )
    assert changed.shape == found.shape and not torch.equal(changed, found)


# --- the network and its optimizer ----------------------------------------------------------------


def test_network_is_drawn_from_its_seed_alone():
    before = torch.get_rng_state()
    one, same, other = (vc.FastNet((4, 8, 8), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert vc.digest(one.state_dict()) == vc.digest(same.state_dict())
    assert vc.digest(one.state_dict()) != vc.digest(other.state_dict())
    assert sum(p.numel() for p in vc.FastNet().parameters()) == 1_972_792
    assert vc.FastNet((4, 8, 8), 7)(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_convolutions_start_as_the_identity():
    layer = vc.FastNet((8, 16, 16)).groups[1].conv1
    x = torch.randn(2, 8, 6, 6)
    assert torch.allclose(layer(x)[:, :8], x, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_are_uncorrelated_with_variance_one(channels):
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(40, channels, 12, 12, generator=rng)
    images = noise + 2 * F.avg_pool2d(noise, 3, 1, 1)  # neighbours are correlated
    model = vc.FastNet((4, 8, 8), in_channels=channels)
    model.whiten_by(images, eps=0.0)
    out = model.whiten(images).permute(1, 0, 2, 3).flatten(1).double()  # (8C, patches)
    half = 4 * channels
    assert torch.allclose(out[half:], -out[:half], atol=1e-4)
    second = out[:half] @ out[:half].T / out.shape[1]
    assert torch.allclose(second, torch.eye(half, dtype=torch.float64), atol=1e-3)
    assert not model.whiten.weight.requires_grad and model.whiten.bias.requires_grad


def test_filter_muon_turns_towards_the_nearest_orthogonal_matrix():
    torch.manual_seed(0)
    filters = torch.nn.Parameter(torch.randn(6, 4, 3, 3))
    start = filters.detach().clone()
    optimizer = vc.FilterMuon([filters], lr=0.1, momentum=0.6, steps=12)
    buffer = torch.zeros_like(start)
    for _ in range(2):
        gradient = torch.randn_like(start)
        filters.grad = gradient.clone()
        optimizer.step()
        buffer = 0.6 * buffer + gradient
        ahead = (gradient + 0.6 * buffer).flatten(1).double()
        left, _, right = torch.linalg.svd(ahead, full_matrices=False)
        unit = start * (6**0.5 / start.norm())
        turn = (unit - filters.detach()).flatten(1).double() / 0.1
        cosine = F.cosine_similarity(turn.flatten(), (left @ right).flatten(), dim=0)
        assert cosine > 0.95, "the step is not the orthogonalised momentum"
        singular = torch.linalg.svdvals(turn)
        assert singular.min() > 0.5 and singular.max() < 1.5
        start = filters.detach().clone()


def test_optimizers_hold_every_trained_parameter_once():
    model = vc.FastNet((4, 8, 8))
    optimizers = vc.fast_optimizers(model, dict(cifar10_cpu.RECIPE.units[0].hyper))
    held = [id(p) for o in optimizers for g in o.param_groups for p in g["params"]]
    trained = [id(p) for p in model.parameters() if p.requires_grad]
    assert sorted(held) == sorted(trained)
    for group in optimizers[1].param_groups:  # the share that decays in a step at the full rate
        assert group["lr"] * group["weight_decay"] == pytest.approx(0.002)


def test_smoothed_loss_is_its_definition():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
    images, labels = torch.randn(6, 3, 2, 2), torch.arange(6) % 5
    log = torch.log_softmax(model(images), dim=1)
    truth = 0.8 * F.one_hot(labels, 5) + 0.2 / 5
    expected = -(truth * log).sum(dim=1).mean()
    assert torch.allclose(vc.smoothed_loss(0.2)(model, images, labels), expected, atol=1e-5)


# --- read-outs ------------------------------------------------------------------------------------


class Corner(torch.nn.Module):
    """Logits that depend on place: the sum of a picture weighted by a fixed map."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.randn(3, 10, 10))

    def forward(self, x):
        return (x * self.weights).sum(dim=(1, 2, 3))[:, None].repeat(1, 2)


def test_views_are_the_weighted_means_they_say(monkeypatch):
    monkeypatch.setattr(vc, "precision", lambda: ("fp32", "for the test"))
    model, images = Corner(), torch.randn(7, 3, 10, 10)

    def one(x):
        return model(x).detach()

    def two(x):
        return (one(x) + one(x.flip(-1))) / 2

    padded = F.pad(images, (1, 1, 1, 1), "reflect")
    shifted = (two(padded[..., :10, :10]) + two(padded[..., 2:, 2:])) / 2
    expected = {"plain": one(images), "flip": two(images)}
    expected["flip-shift"] = (two(images) + shifted) / 2
    for view in vc.VIEWS:
        found = vc.logits(model, images, view, batch=3)
        assert torch.allclose(found, expected[view], atol=1e-4), view
    assert model.training, "the mode was not put back"


def test_accuracy_counts_rows():
    outputs = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    assert vc.accuracy(outputs, torch.tensor([1, 1, 1])) == pytest.approx(2 / 3)


def test_keeping_freed_memory_is_safe_to_ask_twice():
    assert vc.keep_freed_memory() == vc.keep_freed_memory()


# --- transfer -------------------------------------------------------------------------------------


def test_a_frozen_network_stays_and_the_head_learns(small_data):
    hyper = dict(tiny("tiny-imagenet-part-cpu").unit("frozen-10").hyper)
    found = tiny_imagenet.pictures(0, 15)
    model = vc.FastNet(hyper["pretraining"]["widths"], seed=4)
    model.whiten_by(vc.prepared(found[0], augment.CIFAR10))
    state = model.state_dict()
    before = vc.digest(state)
    hyper |= {"steps": 150, "lr_head": 0.1}
    head, outputs = tiny_imagenet.fit_head(found, 0, hyper, None, state)
    assert vc.digest(state) == before, "the frozen network was changed"
    assert outputs.shape == (len(found[2]), 6)
    assert [name for name, _ in head.named_parameters()] == ["weight", "bias"]
    assert vc.accuracy(outputs, found[3]) > 0.4, "chance is 1/6"


def test_transfer_begins_with_the_weights_of_the_other_network(small_data, tmp_path):
    hyper = dict(tiny("tiny-imagenet-part-cpu").unit("tuned-10").hyper)
    state, sha = tiny_imagenet.pretrained(tmp_path, hyper["pretraining"])
    made = sorted(path.name for path in tmp_path.iterdir())
    assert tiny_imagenet.pretrained(tmp_path, hyper["pretraining"])[1] == sha
    assert sorted(path.name for path in tmp_path.iterdir()) == made, "it was trained again"
    frozen_rates = {**hyper, "lr_filters": 0.0, "lr_biases": 1e-9, "lr_head": 1e-9, "decay": 0.0}
    found = tiny_imagenet.pictures(0, 5)
    model, _ = tiny_imagenet.fit_network(found, 0, frozen_rates, None, state)
    for name, value in model.named_parameters():
        if name == "head.weight":
            assert value.shape == (6, 8)
        elif "conv" in name:  # scaled to norm √out before each step, otherwise untouched
            assert torch.allclose(value / value.norm(), state[name] / state[name].norm(), atol=1e-5)
        else:
            assert torch.allclose(value, state[name], atol=1e-5), name


# --- what the recipes say -------------------------------------------------------------------------


def test_each_row_of_the_ablation_changes_what_its_title_says():
    recipe = cifar10_ablation.RECIPE
    declared = {name: change for name, _, change in cifar10_ablation._STEPS}
    declared |= {name: change for name, _, change, _ in cifar10_ablation._OTHERS}
    for unit in recipe.units:
        if unit.name in ("source", "seed-noise"):
            continue
        base = recipe.unit(unit.hyper["against"])
        assert unit.seeds == base.seeds, "gains are paired by seed"
        changed = {
            key
            for key in unit.hyper
            if key != "against" and unit.hyper[key] != base.hyper.get(key, unit.hyper[key])
        }
        assert changed == set(declared[unit.name]) and changed
    noise, last = recipe.unit("seed-noise"), recipe.unit("smoothing")
    assert dict(noise.hyper) == {k: v for k, v in last.hyper.items() if k != "against"}
    assert not set(noise.seeds) & set(last.seeds)


def test_equal_cost_rows_cost_the_same():
    from xor2gpt.vision import resnet

    def cost(name: str) -> int:
        hyper = cifar10_ablation.RECIPE.unit(name).hyper
        model = resnet.small_resnet(hyper["width"], hyper["blocks"], stem=hyper["stem"])
        return resnet.multiply_adds(model, (3, 32, 32))

    for name in ("imagenet-stem-wide", "deeper"):
        assert cost(name) == pytest.approx(cost("smoothing"), rel=0.05), name


def result(unit: str, seeds, values, against=None) -> UnitResult:
    """A unit's result with one metric."""
    hyper = {} if against is None else {"against": against}
    texts = dict.fromkeys(("device", "source_sha256", "fingerprint", "date"), "")
    empty = dict.fromkeys(("whole", "seconds", "machine", "versions"), {})
    return UnitResult(
        unit=unit, title=unit, seeds=tuple(seeds), hyper=hyper, per_seed={"a": list(values)},
        commit=None, dirty=None, **texts, **empty,
    )  # fmt: skip


def test_gains_are_paired_by_seed():
    found = {
        "base": result("base", (0, 1, 2), (0.1, 0.2, 0.3)),
        "row": result("row", (2, 0, 9), (0.5, 0.2, 0.9), against="base"),
    }
    assert gains("a", found["row"], found) == pytest.approx([0.2, 0.1])
    assert gains("a", found["base"], found) == [] == gains("b", found["row"], found)
    assert gains("a", found["row"], {}) == []
    column = Column("gain", "a", "gain", 100, 1)
    assert results.cell(column, found["row"], found) == "+15.0 ± 7.1"
    assert results.cell(column, found["base"], found) == "–" == results.cell(column, found["row"])


@pytest.mark.parametrize("name", NAMES)
def test_listing_the_recipes_imports_no_torch(name):
    assert recipes.get(name).keeps_checkpoints and recipes.get(name).threads == 2
    code = f"import sys, xor2gpt.recipes as r; r.get({name!r}); sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(runner.COURSE_ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


# --- the committed results ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_committed_results_are_complete_and_consistent(name):
    recipe = recipes.get(name)
    found = results.load(name)
    assert list(found) == [unit.name for unit in recipe.units], (
        f"run `python -m xor2gpt train {name}` and commit its results"
    )
    path = runner.results_folder() / name / "summary.json"
    figures = [dataclasses.asdict(figure) for figure in recipe.figures(list(found.values()))]
    assert json.loads(path.read_text())["figures"] == files.plain(figures)
    for unit in found.values():
        shas = unit.whole["weights_sha256"]
        assert len(shas) == len(unit.seeds) and all(len(sha) == 64 for sha in shas)


def test_committed_results_reach_what_the_course_promises():
    mnist = results.load("mnist-cpu")["small-net"].per_seed
    assert np.mean(mnist["accuracy"]) >= 0.9957 and max(mnist["seconds"]) <= 600
    cifar = results.load("cifar10-cpu")
    for unit, least, limit in (("three-minutes", 0.8357, 180), ("fifteen-minutes", 0.94, 900)):
        found = cifar[unit].per_seed
        assert len(found["accuracy"]) >= 3
        assert np.mean(found["accuracy"]) >= least and max(found["seconds"]) <= limit
    tiny_part = results.load("tiny-imagenet-part-cpu")
    scratch, tuned = (tiny_part[f"{way}-10"].per_seed["accuracy"] for way in ("scratch", "tuned"))
    assert min(tuned) > max(scratch), "transfer must beat scratch outside the spread of the seeds"
