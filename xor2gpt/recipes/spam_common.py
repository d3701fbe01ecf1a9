"""What the two spam recipes share: splits, counted words and characters, and a fine-tuned GPT.

Does: fit TF-IDF and logistic regression on words or characters; fine-tune a GPT body with a new
head so that a kill goes on inside the training; batches of messages of like length with tokens
split at random; scores of a test part; paired differences with intervals.
Does not: choose a setting, or let a validation or test message into anything that is fitted:
`fit_gpt` and `fit_counts` are given the training part and nothing else.

The text of a message is [end of text] message [end of text]: the first one is how texts begin in
pretraining, and the second one has read the whole message.

Source: an auxiliary language-model loss beside the classification loss: Radford et al. (2018),
"Improving language understanding by generative pre-training", section 3.2; language-model training
on the task's own texts: Howard and Ruder (2018), "Universal language model fine-tuning"; tokens
split at random: Provilkov et al. (2020), "BPE-dropout", here on finished tokens; the wider
interval over resampled splits: Nadeau and Bengio (2003), "Inference for the generalization error".
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xor2gpt.recipes.base import Advance, Figure, Outcome, Unit
from xor2gpt.recipes.sft_common import paired

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from xor2gpt.finetune import ClassifierGPT
    from xor2gpt.gpt import GPT
    from xor2gpt.tokenizer import Tokenizer

# torch and scikit-learn take seconds to import: the functions below import them when they run.

__all__ = [
    "MessageBatches",
    "Parts",
    "TokenSplitter",
    "difference_figures",
    "encode",
    "fit_counts",
    "fit_gpt",
    "identity",
    "logit",
    "make_gpt",
    "over_seeds",
    "pretrained",
    "probability",
    "scores",
]

SPAM = 1


@dataclass(frozen=True)
class Parts:
    """A split: rising or drawn indices into one list of messages, each in one part at most."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


# --- counted words and characters -----------------------------------------------------------------


def fit_counts(
    hyper: Mapping[str, Any], texts: Sequence[str], labels: np.ndarray
) -> Callable[[Sequence[str]], np.ndarray]:
    """TF-IDF and logistic regression on these texts; a function from texts to P(spam), ``(N,)``.

    ``hyper["vectorizer"]`` are scikit-learn's arguments, ``hyper["C"]`` its regularisation and
    ``hyper["class_weight"]``, if there, its class weights.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    options = dict(hyper["vectorizer"])
    options["ngram_range"] = tuple(options["ngram_range"])
    vectorizer = TfidfVectorizer(**options)
    model = LogisticRegression(
        C=hyper["C"], max_iter=1000, class_weight=hyper.get("class_weight")
    ).fit(vectorizer.fit_transform(texts), labels)
    return lambda unseen: model.predict_proba(vectorizer.transform(unseen))[:, SPAM]


# --- tokens ---------------------------------------------------------------------------------------


@functools.cache
def pretrained() -> tuple[GPT, Tokenizer, dict[str, str]]:
    """The course's model and tokenizer, and the checksums that tell which they are."""
    from xor2gpt.pretrained import SHIPPED, load_pretrained

    model, tokenizer = load_pretrained("small")
    names = ("sha256", "tokenizer_sha256")
    return model, tokenizer, {f"pretrained_{name}": SHIPPED["small"][name] for name in names}


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> list[np.ndarray]:
    """Token ids of each message between two ends of text; long ones lose their end."""
    from xor2gpt.pretrained import END_OF_TEXT

    end = tokenizer.special_tokens[END_OF_TEXT]
    return [
        np.array([end, *tokenizer.encode_ordinary(text)[: max_length - 2], end]) for text in texts
    ]


class TokenSplitter:
    """Splits tokens into the two they were merged from, each with probability ``rate``, twice.

    The text stays the same; the model sees it cut in other ways.
    """

    def __init__(self, tokenizer: Tokenizer, rate: float) -> None:
        self.rate = rate
        self.parts = np.full((tokenizer.vocab_size, 2), -1)
        for left, right in tokenizer.merges:
            pair = (tokenizer.token_id(left), tokenizer.token_id(right))
            self.parts[tokenizer.token_id(left + right)] = pair

    def __call__(self, ids: np.ndarray, rng: np.random.Generator, max_length: int) -> np.ndarray:
        """The ids with some tokens split, and never more than ``max_length`` of them."""
        for _ in range(2):
            cut = (rng.random(len(ids)) < self.rate) & (self.parts[ids, 0] >= 0)
            rows = np.stack([ids, np.full_like(ids, -1)], axis=1)
            rows[cut] = self.parts[ids[cut]]
            grown = rows[rows >= 0]
            if len(grown) > max_length:
                break
            ids = grown
        return ids


class MessageBatches:
    """Batches ``(ids (B, T), lengths (B,), labels (B,))`` of messages of like length.

    Every epoch shows each message once, in a new order; ``pool`` batches are drawn together and
    sorted by length, so that little is padding. ``batch(step)`` is a function of (seed, step).
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        labels: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        splitter: TokenSplitter | None = None,
        max_length: int = 256,
        pool: int = 8,
    ) -> None:
        if not len(sequences) or len(sequences) != len(labels):
            raise ValueError(f"{len(sequences)} messages with {len(labels)} labels: give as many")
        self.sequences, self.labels = list(sequences), np.asarray(labels)
        self.batch_size, self.seed, self.pool = batch_size, seed, pool
        self.splitter, self.max_length = splitter, max_length
        self._epoch: tuple[int, list[np.ndarray]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which each message is shown once."""
        return -(-len(self.sequences) // self.batch_size)

    def _rows(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch: indices."""
        from xor2gpt.training.randomness import permutation, philox

        if self._epoch is None or self._epoch[0] != epoch:
            order = permutation(self.seed, epoch, len(self.sequences))
            lengths = np.array([len(ids) for ids in self.sequences])
            size = self.batch_size
            rows: list[np.ndarray] = []
            for start in range(0, len(order), size * self.pool):
                some = order[start : start + size * self.pool]
                some = some[np.argsort(lengths[some], kind="stable")]
                rows += [some[i : i + size] for i in range(0, len(some), size)]
            mixed = philox(self.seed, "augment", epoch).permutation(len(rows))
            self._epoch = (epoch, [rows[i] for i in mixed])
        return self._epoch[1]

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """The batch of this step."""
        import torch

        from xor2gpt.finetune import collate_classification
        from xor2gpt.training.randomness import derived_seed

        epoch, position = divmod(step, self.steps_per_epoch)
        chosen = self._rows(epoch)[position]
        sequences = [self.sequences[i] for i in chosen]
        if self.splitter is not None and self.splitter.rate:
            rng = np.random.default_rng(derived_seed(self.seed, "order", step))
            sequences = [self.splitter(ids, rng, self.max_length) for ids in sequences]
        rows = [torch.from_numpy(ids) for ids in sequences]
        ids, lengths, _, labels = collate_classification(rows, self.labels[chosen], pad_id=0)
        return ids, lengths, labels

    def signature(self) -> dict[str, Any]:
        """What must agree for a training to go on with these batches."""
        text = b"".join(ids.astype(np.int32).tobytes() for ids in self.sequences)
        return {
            "source": "MessageBatches",
            "messages": zlib.crc32(text),
            "labels": zlib.crc32(np.asarray(self.labels, np.int64).tobytes()),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "split": 0.0 if self.splitter is None else self.splitter.rate,
        }


# --- the GPT --------------------------------------------------------------------------------------


def _language_loss(features: Tensor, head: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """Mean loss of the next token, in nats, over the real tokens: features ``(B, T, C)``."""
    import torch
    import torch.nn.functional as F

    from xor2gpt.gpt import IGNORE, cross_entropy

    places = torch.arange(1, ids.shape[1])
    targets = ids[:, 1:].masked_fill(places >= lengths[:, None], IGNORE)
    return cross_entropy(F.linear(features[:, :-1], head), targets)


def _language_step(model: GPT, ids: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
    """The language model's loss on the messages; the labels are not looked at."""
    del labels
    return _language_loss(model.hidden(ids), model.head_weight, ids, lengths)


def _joint_loss(
    lm_weight: float, smoothing: float, weights: np.ndarray | None
) -> Callable[..., Tensor]:
    """Classification loss plus ``lm_weight`` times the language model's on the same messages."""
    import torch
    import torch.nn.functional as F

    table = None if weights is None else torch.as_tensor(weights, dtype=torch.float32)

    def loss(model: ClassifierGPT, ids: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        kept: list[Tensor] = []
        if lm_weight:
            hook = model.body.final_norm.register_forward_hook(lambda *a: kept.append(a[2]))
        logits = model(ids, lengths).float()
        total = F.cross_entropy(logits, labels, weight=table, label_smoothing=smoothing)
        if lm_weight:
            hook.remove()
            language = _language_loss(kept[0], model.body.head_weight, ids, lengths)
            total = total + lm_weight * language
        return total

    return loss


def _optimizer(model: Any, hyper: Mapping[str, Any]) -> torch.optim.Optimizer:
    from xor2gpt import optim

    options = dict(hyper)
    make = {"adamw": optim.adamw, "muon": optim.muon}[options.pop("name")]
    return make(model, betas=(0.9, 0.98), **options)


def _train(
    model: Any,
    loss: Callable[..., Tensor],
    batches: MessageBatches,
    epochs: float,
    hyper: Mapping[str, Any],
    seed: int,
    folder: Path,
) -> None:
    """So many epochs, from the checkpoint in ``folder`` if there is one; averaged weights."""
    from xor2gpt import training as tr

    steps = max(1, round(epochs * batches.steps_per_epoch))
    trainer = tr.Trainer(
        model,
        loss,
        batches,
        optimizer=_optimizer(model, hyper["optimizer"]),
        schedule=tr.cosine(steps, warmup=max(1, steps // 10)),
        steps=steps,
        clip_norm=1.0,
        precision=hyper.get("precision", "fp32"),
        ema_decay=hyper.get("ema_decay"),
        folder=folder,
        checkpoint_every=max(1, min(100, steps // 2)),
        seed=seed,
        progress=False,
    )
    trainer.fit()
    if trainer.ema is not None:
        trainer.load_ema()


def make_gpt(hyper: Mapping[str, Any], seed: int) -> GPT:
    """The course's model, or one of its shape with first weights drawn by ``seed``."""
    import dataclasses

    import torch

    from xor2gpt.gpt import GPT

    model, _, _ = pretrained()
    config = dataclasses.replace(model.config, dropout=hyper.get("body_dropout", 0.0))
    fresh = GPT(config, generator=torch.Generator().manual_seed(seed))
    if hyper["start"] == "pretrained":
        fresh.load_state_dict(model.state_dict())
    return fresh


def fit_gpt(
    hyper: Mapping[str, Any],
    seed: int,
    texts: Sequence[str],
    labels: np.ndarray,
    folder: Path,
) -> Callable[[Sequence[str]], np.ndarray]:
    """Fine-tune a GPT on these texts; a function from texts to P(spam), ``(N,)``.

    First ``lm_epochs`` of language-model training on the texts without labels, if any, then
    ``epochs`` with the head. ``folder`` keeps checkpoints; ``seed`` fixes head, order and splits.
    """
    import torch

    from xor2gpt import finetune

    _, tokenizer, _ = pretrained()
    length = hyper["max_length"]
    sequences = encode(tokenizer, texts, length)
    splitter = TokenSplitter(tokenizer, hyper.get("split", 0.0))
    gpt = make_gpt(hyper, seed)

    def batches(purpose: int) -> MessageBatches:
        return MessageBatches(
            sequences,
            labels,
            batch_size=hyper["batch_size"],
            seed=10 * seed + purpose,
            splitter=splitter,
            max_length=length,
        )

    if hyper.get("lm_epochs"):
        options = {**hyper, "optimizer": hyper["lm_optimizer"], "ema_decay": None}
        _train(
            gpt,
            _language_step,
            batches(1),
            hyper["lm_epochs"],
            options,
            seed,
            folder / "language",
        )
    model = finetune.ClassifierGPT(
        gpt,
        pooling=hyper["pooling"],
        dropout=hyper.get("dropout", 0.0),
        generator=torch.Generator().manual_seed(seed),
    )
    finetune.freeze(model, hyper["train"])
    weights = finetune.class_weights(labels) if hyper.get("class_weight") else None
    loss = _joint_loss(hyper.get("lm_weight", 0.0), hyper.get("smoothing", 0.0), weights)
    _train(model, loss, batches(2), hyper["epochs"], hyper, seed, folder / "classes")

    def spam(unseen: Sequence[str]) -> np.ndarray:
        return _averaged(model, encode(tokenizer, unseen, length), splitter, hyper, seed)

    spam.model = model
    return spam


def _averaged(
    model: ClassifierGPT,
    sequences: list[np.ndarray],
    splitter: TokenSplitter,
    hyper: Mapping[str, Any],
    seed: int,
) -> np.ndarray:
    """P(spam), the log-odds averaged over the text as it is and ``views`` other ways to cut it."""
    from xor2gpt.finetune import predict

    rng = np.random.default_rng(seed)
    odds = []
    for view in range(1 + hyper.get("views", 0)):
        ids = [splitter(s, rng, hyper["max_length"]) for s in sequences] if view else sequences
        found = predict(model, ids, max_length=hyper["max_length"]).double().numpy()
        odds.append(logit(found[:, SPAM]))
    return probability(np.mean(odds, axis=0))


# --- scores ---------------------------------------------------------------------------------------


def logit(p: np.ndarray) -> np.ndarray:
    """log p/(1−p), of probabilities kept away from 0 and 1."""
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def probability(odds: np.ndarray) -> np.ndarray:
    """The inverse of `logit`."""
    return 1 / (1 + np.exp(-odds))


def scores(p: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, precision and recall of "spam" where P(spam) is above one half; loss in nats."""
    from xor2gpt.evaluate import confusion

    said = (p > 0.5).astype(np.int64)
    found = confusion(said, labels)
    right = np.where(labels == SPAM, p, 1 - p)
    return {
        "accuracy": float(np.mean(said == labels)),
        "precision": found.precision,
        "recall": found.recall,
        "loss": float(-np.log(np.clip(right, 1e-7, 1.0)).mean()),
    }


# --- seeds and figures ----------------------------------------------------------------------------


def identity(start: str) -> dict[str, str]:
    """What of the shipped model a unit depends on, without loading it: a part of what a unit is.

    With ``start`` ``"pretrained"`` its weights, with ``"random"`` its tokenizer alone.
    """
    from xor2gpt.pretrained import SHIPPED

    name = {"pretrained": "sha256", "random": "tokenizer_sha256"}[start]
    return {"start": start, f"pretrained_{name}": SHIPPED.get("small", {}).get(name, "none")}


def over_seeds(
    unit: Unit,
    advance: Advance,
    scratch: Path,
    train_one: Callable[[int, dict[str, Any], Path], tuple[dict[str, float], dict[str, Any]]],
) -> Outcome:
    """`vision_common.over_seeds`, its note on precision replaced by what these trainings do."""
    from xor2gpt.recipes import vision_common

    done = vision_common.over_seeds(unit, advance, scratch, train_one)
    note = "float32; Muon's iteration in bfloat16" if "optimizer" in unit.hyper else "float64"
    return Outcome(done.per_seed, {**done.whole, "precision": note})


def difference_figures(
    prefix: str,
    first: Sequence[float],
    second: Sequence[float],
    test_share: float,
) -> list[Figure]:
    """Differences of shares, seed by seed, in points: mean, sd and two 95 % intervals.

    ``low`` and ``high`` are Student's t over the seeds: what other draws of the same collection
    would give. ``corrected_low`` and ``corrected_high`` allow for the messages that the splits
    share, with ``test_share`` test messages for one training message: what new messages may give.
    """
    both = zip(first, second, strict=False)  # a unit with fewer seeds has the first of them
    differences = [100 * (one - other) for one, other in both]
    mean, sd, low, high = paired(differences)
    rows = {"": mean}
    if len(differences) > 1:
        wider = math.sqrt(1 + len(differences) * test_share)
        rows |= {".sd": sd, ".low": low, ".high": high}
        rows |= {
            ".corrected_low": mean - wider * (mean - low),
            ".corrected_high": mean + wider * (high - mean),
        }
    return [Figure(f"{prefix}{name}", value, "points") for name, value in rows.items()]
