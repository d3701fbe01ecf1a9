"""The loop: equal to a plain loop, to one big batch, to the closed forms; and its errors."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training_kit import loss, net, pictures, same, source, state_of, trainer, validation

from xor2gpt import training as tr
from xor2gpt.training import precision as precision_module

# --- against a plain loop


def test_equal_to_a_loop_written_by_hand() -> None:
    schedule = tr.cosine(12, warmup=2)
    by_hand = net()
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(5)
    losses, norms = [], []
    for step in range(12):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * schedule(step)
        optimizer.zero_grad()
        value = loss(by_hand, *source().batch(step))
        value.backward()
        norms.append(float(nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)))
        optimizer.step()
        losses.append(value.item())
    run = trainer(schedule=schedule, clip_norm=0.5, seed=5)
    history = run.fit()
    assert same(state_of(run.model), state_of(by_hand))
    assert history.series("loss") == (list(range(1, 13)), losses)
    assert history.series("grad_norm")[1] == norms
    assert max(norms) > 0.5  # clipping took place
    assert history.reason == "done"
    assert history.seconds > 0


def test_rows_and_series() -> None:
    history = trainer(steps=25, log_every=10).fit()
    assert history.steps == [1, 10, 20, 25]
    assert set(history.rows[0]) == {"step", "loss", "lr", "grad_norm"}
    with pytest.raises(
        KeyError, match="no row has 'accuracy'; there are grad_norm, loss, lr, step"
    ):
        history.series("accuracy")


def test_the_gradient_norm_is_logged_without_clipping() -> None:
    clipped = trainer(clip_norm=1e9).fit()
    assert trainer().fit().series("grad_norm") == clipped.series("grad_norm")


def test_several_optimizers() -> None:
    model = net()
    parts = [
        torch.optim.SGD(model.conv.parameters(), lr=0.1),
        torch.optim.AdamW([*model.norm.parameters(), *model.head.parameters()], lr=0.01),
    ]
    run = tr.Trainer(model, loss, source(), optimizer=parts, steps=3, schedule=lambda step: 0.5)
    assert run.fit().rows[0]["lr"] == 0.05
    assert not same(state_of(model), state_of(net()))


# --- accumulation


class Words(nn.Module):
    """A tiny language model in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(7, 6, dtype=torch.float64)
        self.head = nn.Linear(6, 7, dtype=torch.float64)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids).tanh())


def token_loss(model: nn.Module, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and number of the targets that count; -1 is padding."""
    logits = model(ids).flatten(0, 1)
    total = F.cross_entropy(logits, targets.flatten(), ignore_index=-1, reduction="sum")
    return total, (targets >= 0).sum()


def mean_loss(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())


def padded() -> tuple[Tensor, Tensor]:
    """Sixteen rows of very different lengths."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 7, (16, 9), generator=generator)
    lengths = torch.randint(1, 10, (16, 1), generator=generator)
    targets = torch.randint(0, 7, (16, 9), generator=generator)
    return ids, torch.where(torch.arange(9) < lengths, targets, -1)


@pytest.mark.parametrize("which", ["sum and count", "mean", "count as a number"])
def test_accumulation_equals_one_big_batch(which: str) -> None:
    ids, targets = padded()
    if which == "mean":
        targets = targets.clamp(min=0)

    def counted(model: nn.Module, *batch: Tensor) -> tuple[Tensor, int]:
        total, count = token_loss(model, *batch)
        return total, int(count)

    chosen = {"sum and count": token_loss, "mean": mean_loss, "count as a number": counted}[which]
    runs = {}
    for size, accumulate in ((8, 1), (2, 4)):
        model = Words()
        run = tr.Trainer(
            model,
            chosen,
            tr.TensorBatches(ids, targets, batch_size=size, seed=2),
            optimizer=torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9),
            steps=10,
            accumulate=accumulate,
            clip_norm=0.3,
            log_every=1,
        )
        runs[accumulate] = (run.fit(), model)
    (big, model), (small, other) = runs[1], runs[4]
    for name in ("loss", "grad_norm"):
        assert small.series(name)[1] == pytest.approx(big.series(name)[1], rel=1e-12)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one, two, rtol=0, atol=1e-13)


def test_the_mean_of_means_would_be_wrong() -> None:
    """The padded rows do tell the two apart: without counts the first loss is another one."""
    ids, targets = padded()
    batches = tr.TensorBatches(ids, targets, batch_size=2, seed=2)
    values = [token_loss(Words(), *batches.batch(part)) for part in range(4)]
    right = sum(total.item() for total, _ in values) / sum(int(count) for _, count in values)
    wrong = sum((total / count).item() for total, count in values) / 4
    assert abs(right - wrong) > 1e-3


# --- validation, best weights, patience


def test_best_weights_are_copies_of_the_best_step() -> None:
    values = iter([3.0, 1.0, 2.0, 1.0])
    kept: list[dict[str, Tensor]] = []

    def validate(model: nn.Module) -> dict[str, float]:
        assert not model.training
        assert not torch.is_grad_enabled()
        kept.append(state_of(model))
        return {"loss": next(values)}

    run = trainer(validate=validate, validate_every=3)
    history = run.fit()
    assert (history.best_step, history.best_value) == (6, 1.0)
    assert history.series("val_loss") == ([3, 6, 9, 12], [3.0, 1.0, 2.0, 1.0])
    assert same(dict(run.best_state), kept[1])
    assert same(state_of(run.model), kept[3])
    run.load_best()
    assert same(state_of(run.model), kept[1])
    with torch.no_grad():
        run.model.head.weight.zero_()
    assert same(dict(run.best_state), kept[1])


def test_the_largest_value_can_be_best_and_nan_never_is() -> None:
    values = iter([math.nan, 0.2, 0.9, math.nan])
    run = trainer(
        validate=lambda model: {"accuracy": next(values)},
        validate_every=3,
        select=("accuracy", "max"),
    )
    history = run.fit()
    assert (history.best_step, history.best_value) == (9, 0.9)


def test_patience_counts_validations_without_a_new_best() -> None:
    values = iter([5.0, 4.0, 4.0, 3.0, 3.5, 3.2, 1.0])
    history = trainer(
        steps=70, validate=lambda model: {"loss": next(values)}, validate_every=10, patience=2
    ).fit()
    assert history.reason == "patience"
    assert history.steps[-1] == 60
    assert history.best_step == 40


def test_a_validation_that_draws_numbers_changes_nothing() -> None:
    plain, validated = trainer(), trainer(validate=validation(), validate_every=2)
    plain.fit()
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(9)
    before = torch.get_rng_state()
    validated.fit()
    assert same(state_of(plain.model), state_of(validated.model))
    assert torch.equal(torch.get_rng_state(), before)  # the caller's generators are left alone


def test_a_frozen_submodule_stays_in_evaluation_mode() -> None:
    run = trainer(validate=validation(), validate_every=2)
    run.model.norm.eval()
    before = run.model.norm.running_mean.clone()
    run.fit()
    assert torch.equal(run.model.norm.running_mean, before)
    assert not run.model.norm.training
    assert run.model.drop.training
    model = net().eval()
    other = trainer(model)
    other.fit()  # a model that comes in evaluation mode is trained all the same
    assert model.training
    assert not torch.equal(model.norm.running_mean, before)


def test_select_must_name_a_metric() -> None:
    with pytest.raises(ValueError, match=r"select names 'loss', but validate returned \['error'\]"):
        trainer(validate=lambda model: {"error": 1.0}).fit()


def test_no_best_weights_without_a_validation() -> None:
    with pytest.raises(RuntimeError, match="give validate="):
        trainer().load_best()
    with pytest.raises(RuntimeError, match="give ema_decay="):
        trainer().load_ema()


# --- moving average


@pytest.mark.parametrize("warmup", [False, True])
def test_average_equals_its_closed_form(warmup: bool) -> None:
    decay, kept = 0.8, [state_of(net())]
    run = trainer(ema_decay=decay, ema_warmup=warmup)
    update = run.ema.update
    run.ema.update = lambda: (kept.append(state_of(run.model)), update())
    run.fit()
    decays = [min(decay, (1 + t) / (10 + t)) if warmup else decay for t in range(12)]
    weights = [math.prod(decays)]
    weights += [(1 - decays[t]) * math.prod(decays[t + 1 :]) for t in range(12)]
    assert sum(weights) == pytest.approx(1)
    for name, average in run.ema.average.items():
        if name == "norm.num_batches_tracked":
            assert int(average) == 12  # integers are copied
            continue
        expected = sum(w * state[name].double() for w, state in zip(weights, kept, strict=True))
        assert torch.allclose(average.double(), expected, atol=1e-6), name


def test_validation_and_best_weights_use_the_average() -> None:
    seen: list[dict[str, Tensor]] = []

    def validate(model: nn.Module) -> dict[str, float]:
        seen.append(state_of(model))
        return {"loss": 1.0 / len(seen)}

    run, plain = trainer(ema_decay=0.9, validate=validate, validate_every=6), trainer()
    run.fit()
    plain.fit()
    assert same(state_of(run.model), state_of(plain.model))  # the training itself is the same
    assert same(dict(run.best_state), seen[-1])
    assert not same(dict(run.best_state), state_of(run.model))
    run.load_ema()
    assert same(state_of(run.model), seen[-1])


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_decay_must_be_below_one(decay: float) -> None:
    with pytest.raises(ValueError, match=f"not {decay}"):
        trainer(ema_decay=decay)


# --- precision


def test_auto_takes_what_the_processor_has(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for amx, avx, expected in ((1, 1, "AMX"), (0, 1, "AVX-512"), (0, 0, "no bfloat16")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        chosen, why = tr.choose_precision("auto", cpu)
        assert chosen == ("bf16" if amx or avx else "fp32")
        assert expected in why
    assert tr.choose_precision("bf16", cpu)[0] == "bf16"
    assert tr.choose_precision("fp32", cpu)[0] == "fp32"
    assert precision_module.choose_precision("auto", torch.device("mps"))[0] == "fp32"
    with pytest.raises(ValueError, match="not 'fp16'"):
        tr.choose_precision("fp16", cpu)


def test_bf16_computes_in_bfloat16_and_keeps_the_weights(caplog: pytest.LogCaptureFixture) -> None:
    kinds = []

    def watched(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        logits = model(x)
        kinds.append(logits.dtype)
        return F.cross_entropy(logits, y)

    caplog.set_level(logging.INFO, "xor2gpt.training")
    run = trainer(loss=watched, precision="bf16", steps=3)
    rows = run.fit().rows
    assert set(kinds) == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in run.model.parameters())
    assert "bf16" in caplog.text
    exact = trainer(steps=3).fit().rows
    assert rows[0]["loss"] != exact[0]["loss"]
    assert rows[0]["loss"] == pytest.approx(exact[0]["loss"], rel=0.02)


# --- errors


def breaks_at(step: int, kind: str) -> Any:
    """A loss that is not finite (or whose gradient is not) from this call on."""
    calls = iter(range(1000))

    def broken(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        value = loss(model, x, y)
        if next(calls) < step - 1:
            return value
        if kind == "gradient":
            return value + (model.head.bias - model.head.bias.detach()).abs().sum().sqrt()
        return value * {"nan": math.nan, "inf": math.inf}[kind]

    return broken


@pytest.mark.parametrize("kind", ["nan", "inf"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_not_finite_names_its_step(kind: str, accumulate: int) -> None:
    run = trainer(
        loss=breaks_at(7 * accumulate, kind), steps=40, log_every=10, accumulate=accumulate
    )
    with pytest.raises(tr.TrainingFailed) as caught:
        run.fit()
    text = str(caught.value)
    assert caught.value.step == 7  # although it was noticed in step 10
    assert f"The loss is not finite at step 7 (loss {kind}, learning rate 0.1" in text
    for cause in ("too high", "logarithm of 0", "division by 0", "fp16", "data"):
        assert cause in text
    assert "No folder was given" in text


def test_a_gradient_that_is_not_finite(tmp_path: Path) -> None:
    run = trainer(loss=breaks_at(7, "gradient"), clip_norm=1.0, folder=tmp_path, checkpoint_every=3)
    with pytest.raises(
        tr.TrainingFailed, match="gradient's norm is not finite at step 7"
    ) as caught:
        run.fit()
    assert "the gradient overflows although the loss is finite" in str(caught.value)
    assert "The checkpoint of step 6" in str(caught.value)
    saved = tr.load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert saved["step"] == 6
    assert all(torch.isfinite(tensor).all() for tensor in saved["model"].values())


def test_bad_weights_never_overwrite_a_good_checkpoint(tmp_path: Path) -> None:
    run = trainer(loss=breaks_at(8, "gradient"), log_every=100, folder=tmp_path, checkpoint_every=4)
    with pytest.raises(tr.TrainingFailed, match="A weight is not finite at step 8"):
        run.fit()
    assert tr.load_checkpoint(tmp_path / "checkpoint.safetensors")["step"] == 4


def test_a_batch_without_a_target_is_reported() -> None:
    for accumulate in (1, 2):
        run = trainer(loss=lambda m, x, y: (loss(m, x, y) * 0, 0), accumulate=accumulate)
        with pytest.raises(tr.TrainingFailed, match="whose targets are all ignored"):
            run.fit()


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (lambda m, x, y: F.cross_entropy(m(x), y, reduction="none"), ValueError, r"shape \(5,\)"),
        (lambda m, x, y: loss(m, x, y).item(), TypeError, "returned a float, not a tensor"),
        (lambda m, x, y: loss(m, x, y).detach(), ValueError, "does not depend on a trainable"),
        (lambda m, x, y: (loss(m, x, y), 1, 2), TypeError, "returned 3 values"),
    ],
)
def test_a_loss_of_the_wrong_kind(bad: Any, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        trainer(loss=bad).fit()


def test_an_error_in_the_model_says_which_batch() -> None:
    x, y = pictures()
    batches = tr.TensorBatches(x.repeat(1, 2, 1, 1), y, batch_size=4)
    with pytest.raises(RuntimeError) as caught:
        trainer(train=batches).fit()
    assert caught.value.__notes__ == ["in step 1, with a batch of shapes (4, 2, 4, 4), (4,)"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"steps": 2.5}, "steps must be .* not 2.5"),
        ({"accumulate": 0}, "accumulate must be"),
        ({"log_every": True}, "log_every must be"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"select": ("loss", "lowest")}, "'min' or 'max'"),
        ({"patience": 2}, "give validate="),
        ({"precision": "half"}, "not 'half'"),
    ],
)
def test_arguments_that_cannot_work(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trainer(**settings)


# --- Ctrl-C and the bar


def interrupts_at(step: int, times: int = 1) -> Any:
    calls = iter(range(1000))

    def pressed(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        value = loss(model, x, y)  # has moved batch norm's statistics and drawn for dropout
        if next(calls) == step - 1:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return value

    return pressed


def test_ctrl_c_finishes_the_step_and_saves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(loss=interrupts_at(5), folder=tmp_path, checkpoint_every=100)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(tr.TrainingInterrupted, match="stopped after step 5 of 12") as caught:
        run.fit()
    assert isinstance(caught.value, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert "run the same command again to go on" in capsys.readouterr().err
    resumed, whole = trainer(folder=tmp_path), trainer()
    resumed.fit()
    assert whole.fit().rows == resumed.history.rows
    assert same(state_of(resumed.model), state_of(whole.model))


def test_ctrl_c_without_a_folder_goes_on_in_the_same_process() -> None:
    run, whole = trainer(loss=interrupts_at(5)), trainer()
    with pytest.raises(tr.TrainingInterrupted, match=r"call fit\(\) again"):
        run.fit()
    assert run.step == 5
    torch.rand(7)  # whatever the caller does meanwhile
    assert run.fit().rows == whole.fit().rows
    assert same(state_of(run.model), state_of(whole.model))


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    run = trainer(loss=interrupts_at(5, times=2), folder=tmp_path, checkpoint_every=2)
    with pytest.raises(KeyboardInterrupt) as caught:
        run.fit()
    assert not isinstance(caught.value, tr.TrainingInterrupted)
    whole = trainer()
    whole.fit()
    run.loss = loss
    run.fit()  # goes back to the checkpoint of step 4, not to the step that was cut in two
    assert same(state_of(run.model), state_of(whole.model))


def test_a_run_in_another_thread() -> None:
    """Only the main thread may set signal handlers."""
    run, whole = trainer(), trainer()
    thread = threading.Thread(target=run.fit)
    thread.start()
    thread.join()
    whole.fit()
    assert same(state_of(run.model), state_of(whole.model))


def test_the_bar_is_for_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    trainer().fit()
    assert capsys.readouterr() == ("", "")
    trainer(progress=True, validate=validation()).fit()
    out, err = capsys.readouterr()
    assert out == ""
    assert "12/12" in err
    assert "val_loss=" in err
