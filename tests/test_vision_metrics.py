"""Classification metrics against scikit-learn and against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, recall_score, top_k_accuracy_score
from torch import nn

from xor2gpt.vision import metrics as me

FEW = settings(max_examples=30, deadline=None)


def scores(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)), rng.integers(0, k, n)


# --- twins ----------------------------------------------------------------------------------------


@FEW
@given(n=st.integers(1, 60), k=st.integers(3, 8), seed=st.integers(0, 10**6), data=st.data())
def test_top_k_equals_scikit_learn(n, k, seed, data):
    logits, labels = scores(n, k, seed)
    top = data.draw(st.integers(1, k - 1))
    twin = top_k_accuracy_score(labels, logits, k=top, labels=range(k))
    assert me.top_k_accuracy(logits, labels, top) == pytest.approx(twin)
    assert me.top_k_accuracy(torch.from_numpy(logits), torch.from_numpy(labels), k) == 1.0


@FEW
@given(n=st.integers(1, 60), k=st.integers(2, 8), seed=st.integers(0, 10**6))
def test_confusion_and_recall_equal_scikit_learn(n, k, seed):
    logits, labels = scores(n, k, seed)
    said = logits.argmax(axis=1)
    found = me.confusion_matrix(said, labels, k)
    assert np.array_equal(found, confusion_matrix(labels, said, labels=range(k)))
    recall = recall_score(labels, said, labels=range(k), average=None, zero_division=np.nan)
    assert np.allclose(me.per_class_accuracy(said, labels, k), recall, equal_nan=True)
    assert me.accuracy(logits, labels) == pytest.approx(np.mean(said == labels))


# --- counted over samples -------------------------------------------------------------------------


def test_accuracy_is_counted_over_samples_not_batches():
    logits = torch.eye(2)[torch.tensor([0, 0, 0, 0, 1])]
    labels = torch.tensor([0, 0, 0, 0, 0])
    counts = me.Tally(2)
    counts.update(logits[:4], labels[:4])  # 4 of 4
    counts.update(logits[4:], labels[4:])  # 0 of 1
    assert counts.accuracy == 0.8, "the mean of the batches' accuracies would be 0.5"


@FEW
@given(cut=st.lists(st.integers(1, 7), min_size=1, max_size=6), seed=st.integers(0, 10**6))
def test_a_tally_does_not_depend_on_the_batches(cut, seed):
    logits, labels = map(torch.from_numpy, scores(sum(cut), 5, seed))
    counts = me.Tally(5, top=(1, 3))
    for x, y in zip(logits.split(cut), labels.split(cut), strict=True):
        counts.update(x, y)
    assert counts.count == sum(cut)
    assert counts.accuracy == pytest.approx(me.accuracy(logits, labels))
    assert counts.top_k(3) == pytest.approx(me.top_k_accuracy(logits, labels, 3))
    said = logits.argmax(1)
    assert np.array_equal(counts.confusion, me.confusion_matrix(said, labels, 5))
    assert np.allclose(counts.per_class, me.per_class_accuracy(said, labels, 5), equal_nan=True)
    assert counts.confusion.trace() / counts.count == pytest.approx(counts.accuracy)


def test_constant_logits_are_worth_class_0_not_everything():
    logits, labels = torch.zeros(10, 4), torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 1])
    assert me.accuracy(logits, labels) == 0.3
    assert me.top_k_accuracy(logits, labels, 2) == 0.6


def test_an_empty_class_is_nan_not_0():
    shares = me.per_class_accuracy([0, 0, 2], [0, 0, 0], 3)
    assert shares[0] == pytest.approx(2 / 3) and np.isnan(shares[1:]).all()
    assert np.isnan(me.Tally(3).accuracy)


def test_half_precision_logits():
    logits, labels = scores(30, 4, 0)
    half = torch.from_numpy(logits).bfloat16()
    assert me.accuracy(half, labels) == me.accuracy(half.float(), labels)


# --- models ---------------------------------------------------------------------------------------


def small_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    )


def test_predict_evaluates_and_puts_every_mode_back():
    model = small_model().train()
    model[1].eval()  # frozen
    images = torch.randn(11, 1, 8, 8)
    stats = model[1].running_mean.clone()
    logits = me.predict(model, images, batch_size=4)
    assert torch.equal(model[1].running_mean, stats)
    assert [m.training for m in model] == [True, False, True, True, True] and model.training
    assert logits.shape == (11, 3) and not logits.requires_grad and not logits.is_inference()
    assert torch.allclose(logits, model.eval()(images), atol=1e-6)
    doubled = me.predict(model, images, prepare=lambda x: 2 * x)
    assert torch.allclose(doubled, me.predict(model, 2 * images), atol=1e-6)
    with pytest.raises(ValueError, match="no pictures"):
        me.predict(model, images[:0])


def test_the_mode_comes_back_after_an_error():
    model = small_model().train()
    with pytest.raises(RuntimeError):
        me.predict(model, torch.zeros(2, 5, 8, 8))
    assert model.training and torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_tally_of_a_model_over_uneven_batches():
    model = small_model()
    images, labels = torch.randn(10, 1, 8, 8), torch.arange(10) % 3
    batches = [(images[:7], labels[:7]), (images[7:], labels[7:], torch.zeros(3))]
    counts = me.tally(model, batches, 3, top=(2,))
    logits = me.predict(model, images)
    assert counts.accuracy == pytest.approx(me.accuracy(logits, labels))
    assert counts.top_k(2) == pytest.approx(me.top_k_accuracy(logits, labels, 2))


# --- mistakes -------------------------------------------------------------------------------------


@FEW
@given(n=st.integers(1, 40), k=st.integers(2, 6), seed=st.integers(0, 10**6))
def test_error_cases_by_a_loop(n, k, seed):
    logits, labels = scores(n, k, seed)
    rows = []
    for i in range(n):
        p = np.exp(logits[i] - logits[i].max())
        p /= p.sum()
        if p.argmax() != labels[i]:
            rows.append((-p.max(), i, labels[i], p.argmax(), p[labels[i]]))
    rows.sort()
    found = me.error_cases(logits, labels)
    assert len(found) == len(rows)
    assert found.index.tolist() == [row[1] for row in rows]
    assert found.label.tolist() == [row[2] for row in rows]
    assert found.prediction.tolist() == [row[3] for row in rows]
    assert np.allclose(found.confidence, [-row[0] for row in rows])
    assert np.allclose(found.true_probability, [row[4] for row in rows])
    assert me.error_cases(logits, labels, limit=2).index.tolist() == found.index[:2].tolist()


def test_class_table_puts_the_worst_first():
    table = me.class_table(np.array([[8, 2, 0], [1, 4, 5], [0, 0, 3]]), ["cat", "dog", "ship"])
    lines = table.splitlines()
    assert lines[0].split() == ["class", "samples", "accuracy", "%", "taken", "for"]
    assert lines[2].split() == ["dog", "10", "40.00", "ship", "(5)"]
    assert lines[3].split() == ["cat", "10", "80.00", "dog", "(2)"]
    assert lines[4].split() == ["ship", "3", "100.00", "–"]


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: me.accuracy(np.zeros((2, 3)), [0, 3]), "labels from 0 to 3 for 3 classes"),
        (lambda: me.accuracy(np.zeros((2, 3)), [-1, 0]), "labels from -1"),
        (lambda: me.accuracy(np.zeros((2, 3)), [0]), "1 labels for 2 rows"),
        (lambda: me.accuracy(np.zeros((2, 3)), [0.0, 1.0]), "integers"),
        (lambda: me.accuracy(np.zeros(3), [0]), r"logits must be \(N, K\)"),
        (lambda: me.accuracy(np.zeros((0, 3)), np.zeros(0, int)), "no samples"),
        (lambda: me.accuracy([[float("nan"), 1.0]], [0]), "1 of 1 rows of logits hold NaN"),
        (lambda: me.top_k_accuracy(np.zeros((1, 3)), [0], 4), "top-4 of 3 classes"),
        (lambda: me.top_k_accuracy(np.zeros((1, 3)), [0], 0), "top-0"),
        (lambda: me.confusion_matrix([0, 1], [0], 2), "2 predictions for 1 labels"),
        (lambda: me.Tally(3).update(np.zeros((1, 4)), [0]), "4 classes in a tally of 3"),
        (lambda: me.Tally(9).top_k(5), "top-5 was not counted"),
        (lambda: me.class_table(np.zeros((2, 2)), ["one"]), "1 names"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
