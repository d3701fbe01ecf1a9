"""How good a classifier is: top-k and per-class accuracy, confusion matrix, the worst errors.

Does: count over *samples*, in one vectorised pass or batch by batch (`Tally`); collect a model's
logits (`predict`); find the mistakes it is surest of (`error_cases`).
Does not: average batch accuracies (a short last batch would weigh as much as a full one), compute
losses, draw (`xor2gpt.vision.plots`, `xor2gpt.plots.confusion`).

Shapes: N samples, K classes: ``logits (N, K)`` (any scores that rise with belief), ``labels (N,)``
integers in 0 … K − 1. torch tensors and NumPy arrays are both taken; answers are Python floats and
NumPy arrays.

Source: top-5 error as in Russakovsky et al. (2015), section 4.1. Twins: scikit-learn's
``top_k_accuracy_score``, ``confusion_matrix``, ``recall_score``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    "ErrorCases",
    "Tally",
    "accuracy",
    "class_table",
    "confusion_matrix",
    "error_cases",
    "per_class_accuracy",
    "predict",
    "tally",
    "top_k_accuracy",
]

Array = Tensor | np.ndarray | Sequence


# --- what comes in --------------------------------------------------------------------------------


def _labels(labels: Array, classes: int) -> Tensor:
    """(N,) int64 on the CPU. Raises ``ValueError`` for a label outside 0 … classes − 1."""
    labels = torch.as_tensor(labels).detach().cpu()
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"labels must be (N,) integers, got {tuple(labels.shape)} of {labels.dtype}"
        )
    labels = labels.long()
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(
            f"labels from {int(labels.min())} to {int(labels.max())} for {classes} classes: "
            f"they must lie in 0 … {classes - 1}"
        )
    return labels


def _scored(logits: Array, labels: Array) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and labels (N,) on the CPU, checked."""
    logits = torch.as_tensor(logits).detach().cpu()
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    if logits.ndim != 2:
        raise ValueError(f"logits must be (N, K), got {tuple(logits.shape)}")
    labels = _labels(labels, logits.shape[1])
    if len(labels) != len(logits):
        raise ValueError(f"{len(labels)} labels for {len(logits)} rows of logits")
    if logits.is_floating_point() and logits.isnan().any():
        rows = int(logits.isnan().any(dim=1).sum())
        raise ValueError(f"{rows} of {len(logits)} rows of logits hold NaN: nothing to rank")
    return logits, labels


def _ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) how many classes stand before the true one; of equal scores the lower index is first.

    So constant logits have the accuracy of always saying class 0, not 100 %.
    """
    true = logits.gather(1, labels[:, None])  # (N, 1)
    index = torch.arange(logits.shape[1])
    before = (logits > true) | ((logits == true) & (index < labels[:, None]))
    return before.sum(dim=1)


# --- counting -------------------------------------------------------------------------------------


class Tally:
    """Counts of a classification, batch by batch: ``tally.update(logits, labels)``.

    Everything is a count over samples, so that the result does not depend on how the samples were
    cut into batches.

    Args:
        classes: number of classes K.
        top: the k of the top-k accuracies to count, each in 1 … K.
    """

    def __init__(self, classes: int, top: Iterable[int] = (1,)) -> None:
        self.classes = classes
        self.count = 0
        self.confusion = np.zeros((classes, classes), dtype=np.int64)  # rows true, columns said
        self._hits = {_checked_k(k, classes): 0 for k in (1, *top)}

    def update(self, logits: Array, labels: Array) -> None:
        """Count a batch: logits (B, K), labels (B,)."""
        logits, labels = _scored(logits, labels)
        if logits.shape[1] != self.classes:
            raise ValueError(f"logits of {logits.shape[1]} classes in a tally of {self.classes}")
        ranks = _ranks(logits, labels)
        for k in self._hits:
            self._hits[k] += int((ranks < k).sum())
        self.confusion += confusion_matrix(logits.argmax(dim=1), labels, self.classes)
        self.count += len(labels)

    def top_k(self, k: int) -> float:
        """Share of samples whose true class is among the k best. NaN before any sample."""
        if k not in self._hits:
            raise ValueError(f"top-{k} was not counted: Tally({self.classes}, top=({k},))")
        return self._hits[k] / self.count if self.count else float("nan")

    @property
    def accuracy(self) -> float:
        """Share of samples whose best class is the true one; NaN before any sample."""
        return self.top_k(1)

    @property
    def per_class(self) -> np.ndarray:
        """(K,) share of each class's samples that were recognised; NaN for a class without any."""
        return _recall(self.confusion)


def _checked_k(k: int, classes: int) -> int:
    if not 1 <= k <= classes:
        raise ValueError(f"top-{k} of {classes} classes: k must lie in 1 … {classes}")
    return int(k)


def _recall(confusion: np.ndarray) -> np.ndarray:
    """(K,) diagonal / row sums; NaN for empty rows."""
    support = confusion.sum(axis=1)
    share = np.full(len(confusion), np.nan)
    return np.divide(np.diag(confusion), support, out=share, where=support > 0)


def tally(
    model: nn.Module,
    batches: Iterable[Sequence[Tensor]],
    classes: int,
    *,
    top: Iterable[int] = (1,),
) -> Tally:
    """The counts of ``model`` over ``batches`` of ``(images, labels, …)``, in evaluation mode.

    No gradients; the model's mode is put back. Images go to the model's device.
    """
    counts = Tally(classes, top)
    with _evaluating(model) as device:
        for images, labels, *_ in batches:
            counts.update(model(images.to(device)), labels)
    return counts


class _evaluating:
    """Evaluation mode without gradients, undone at the end; gives the model's device."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> torch.device:
        self.training = {module: module.training for module in self.model.modules()}
        self.model.eval()
        self.inference = torch.inference_mode()
        self.inference.__enter__()
        first = next(self.model.parameters(), None)
        return first.device if first is not None else torch.device("cpu")

    def __exit__(self, *error: object) -> None:
        self.inference.__exit__(*error)
        for module, training in self.training.items():  # module by module: some may be frozen
            module.training = training


def predict(
    model: nn.Module,
    images: Tensor,
    *,
    batch_size: int = 500,
    prepare: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Logits (N, K) on the CPU for ``images (N, C, H, W)``, in evaluation mode, without gradients.

    ``prepare`` maps each batch to what the model takes (as normalising uint8 pictures). The model's
    mode is put back. Raises ``ValueError`` for no pictures.
    """
    if not len(images):
        raise ValueError("there are no pictures to predict")
    with _evaluating(model) as device:
        parts = []
        for batch in images.split(batch_size):
            batch = batch.to(device)
            parts.append(model(batch if prepare is None else prepare(batch)).cpu())
    return torch.cat(parts)  # (N, K)


# --- single figures -------------------------------------------------------------------------------


def accuracy(logits: Array, labels: Array) -> float:
    """Share of samples whose largest logit is at the true class. Raises for no samples."""
    return top_k_accuracy(logits, labels, 1)


def top_k_accuracy(logits: Array, labels: Array, k: int = 5) -> float:
    """Share of samples whose true class is among the ``k`` largest logits.

    Of equal logits the lower class index counts as larger. Raises ``ValueError`` for k outside
    1 … K and for no samples.
    """
    logits, labels = _scored(logits, labels)
    _checked_k(k, logits.shape[1])
    if not len(labels):
        raise ValueError("there are no samples: an accuracy over nothing is not 0")
    return float((_ranks(logits, labels) < k).double().mean())


def confusion_matrix(predictions: Array, labels: Array, classes: int) -> np.ndarray:
    """(K, K) counts: row = true class, column = predicted class, by one bincount.

    ``predictions`` and ``labels`` are (N,) class indices. Raises ``ValueError`` where one is
    outside 0 … K − 1 or the lengths differ.
    """
    predictions, labels = _labels(predictions, classes), _labels(labels, classes)
    if len(predictions) != len(labels):
        raise ValueError(f"{len(predictions)} predictions for {len(labels)} labels")
    cells = torch.bincount(labels * classes + predictions, minlength=classes * classes)
    return cells.view(classes, classes).numpy()


def per_class_accuracy(predictions: Array, labels: Array, classes: int) -> np.ndarray:
    """(K,) share of each class's samples that were recognised (its recall); NaN without samples."""
    return _recall(confusion_matrix(predictions, labels, classes))


def class_table(confusion: np.ndarray, names: Sequence[str]) -> str:
    """A text table by class, the worst first: samples, accuracy in %, most frequent wrong answer.

    Raises ``ValueError`` where names and matrix do not fit.
    """
    from xor2gpt.plots import text_table

    confusion = np.asarray(confusion)
    if confusion.shape != (len(names), len(names)):
        raise ValueError(f"{len(names)} names for a matrix of {confusion.shape}")
    shares = _recall(confusion)
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(np.where(np.isnan(shares), np.inf, shares), kind="stable")
    taken_for = [
        f"{names[int(row.argmax())]} ({int(row.max())})" if row.max() else "–"
        for row in wrong[order]
    ]
    return text_table(
        {
            "class": [names[i] for i in order],
            "samples": [int(confusion[i].sum()) for i in order],
            "accuracy %": [f"{100 * shares[i]:.2f}" for i in order],
            "taken for": taken_for,
        }
    )


# --- mistakes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ErrorCases:
    """Misclassified samples, (E,) each, the surest mistake first.

    ``index`` is the sample's place, ``confidence`` the softmax probability of the wrong answer,
    ``true_probability`` that of the label.
    """

    index: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    true_probability: np.ndarray

    def __len__(self) -> int:
        return len(self.index)


def error_cases(logits: Array, labels: Array, *, limit: int | None = None) -> ErrorCases:
    """The samples whose best class is wrong, sorted by falling confidence, at most ``limit``.

    Sure mistakes teach most: wrong labels, ambiguous pictures, or a short cut that was learned.
    """
    logits, labels = _scored(logits, labels)
    probabilities = logits.double().softmax(dim=1)
    confidence = probabilities.amax(dim=1)
    prediction = logits.argmax(dim=1)
    index = (prediction != labels).nonzero()[:, 0]
    index = index[confidence[index].argsort(descending=True, stable=True)][:limit]
    return ErrorCases(
        index=index.numpy(),
        label=labels[index].numpy(),
        prediction=prediction[index].numpy(),
        confidence=confidence[index].numpy(),
        true_probability=probabilities[index, labels[index]].numpy(),
    )
