"""Recipe ``sft-instruction-data``: 1,100 real pairs, and what a very small model makes of them.

Does: fine-tune the course's small model on Raschka's 1,100 instructions in the usual split (85 %
training, 10 % test, 5 % validation), from the pretrained weights, from those already tuned on
generated instructions, and from random ones; measure loss, exact match and overlap of words on the
test part, beside the answer of the nearest training instruction; keep answers to read.
Does not: judge open-ended answers. The exact match is expected to be near zero: an answer such as
"The capital of New Zealand is Wellington." needs a fact that a few million weights, trained on
other text, do not hold. The losses say what is learned all the same: the form of an answer.

Seed s shuffles the pairs before they are split, and the units share the splits. The weights of the
epoch with the lowest validation loss count; the test part is looked at once a training. Twenty
instructions come more than once, so some test instructions are in the training part: ``repeated``
counts them, and the unit's ``whole`` names the answers that were right.

Source: Raschka (2024), "Build a large language model (from scratch)", chapter 7 (data, split).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xor2gpt.pretrained import SHIPPED
from xor2gpt.recipes.base import (
    Advance,
    Column,
    Figure,
    Outcome,
    Recipe,
    Table,
    Unit,
    UnitResult,
    register,
)
from xor2gpt.recipes.stats import gains, mean_sd

if TYPE_CHECKING:
    from xor2gpt.gpt import GPT
    from xor2gpt.tokenizer import Tokenizer

__all__ = ["RECIPE", "nearest", "run_unit", "splits", "word_f1"]

SHARES = {"train": 0.85, "test": 0.10}  # validation is the rest
MAX_NEW_TOKENS = 120
SAMPLES = 60  # answers kept to read, of seed 0
GENERATED_PER_FAMILY = 10

Entry = Mapping[str, Any]


# --- data -----------------------------------------------------------------------------------------


def splits(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The pairs, shuffled by the seed: ``train`` (935), ``test`` (110), ``validation`` (55)."""
    import numpy as np

    from xor2gpt import data

    rows = data.load("instruction-data")
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = [rows[i] for i in order]
    first, second = (int(len(rows) * share) for share in SHARES.values())
    return {
        "train": shuffled[:first],
        "test": shuffled[first : first + second],
        "validation": shuffled[first + second :],
    }


def _asked(entry: Entry) -> str:
    return f"{entry['instruction']}\n{entry.get('input') or ''}".strip()


def _repeated(parts: Mapping[str, Sequence[Entry]]) -> float:
    """The share of test instructions that are in the training part too, word by word."""
    known = set(map(_asked, parts["train"]))
    return sum(_asked(entry) in known for entry in parts["test"]) / len(parts["test"])


def word_f1(answer: str, reference: str) -> float:
    """2PR / (P + R) of the words that both have, case and punctuation at their ends aside.

    Each word counts as often as it occurs in both; 0 where they share none.
    """
    found, wanted = (
        Counter(word.strip(".,;:!?'\"()").casefold() for word in text.split())
        for text in (answer, reference)
    )
    common = sum((found & wanted).values())
    return 2 * common / (sum(found.values()) + sum(wanted.values())) if common else 0.0


def nearest(train: Sequence[Entry], test: Sequence[Entry]) -> list[str]:
    """For each test entry the output of the most similar training instruction.

    Similar by the cosine of tf-idf vectors over runs of 2 to 5 characters within words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    known = vectors.fit_transform(map(_asked, train))
    similar = vectors.transform(map(_asked, test)) @ known.T
    return [str(train[row]["output"]) for row in similar.toarray().argmax(axis=1)]


# --- one training ---------------------------------------------------------------------------------


def _start(hyper: Mapping[str, Any], seed: int) -> tuple[GPT, Tokenizer]:
    import torch

    from xor2gpt.gpt import GPT
    from xor2gpt.pretrained import load_pretrained

    random = hyper["init"] == "random"
    model, tokenizer = load_pretrained("small" if random else hyper["init"])
    if random:
        model = GPT(model.config, generator=torch.Generator().manual_seed(seed))
    return model, tokenizer


def _read(
    model: GPT, tokenizer: Tokenizer, entries: Sequence[Entry], max_new_tokens: int
) -> dict[str, Any]:
    """Answers and what they are worth."""
    from xor2gpt.evaluate import score_answers
    from xor2gpt.finetune import ALPACA
    from xor2gpt.recipes.sft_common import answers

    texts, ended = answers(model, tokenizer, entries, ALPACA, max_new_tokens=max_new_tokens)
    report = score_answers(entries, texts)
    overlap = [word_f1(text, str(e["output"])) for text, e in zip(texts, entries, strict=True)]
    return {
        "texts": texts,
        "right": list(report.right),
        "exact_match": report.accuracy.value,
        "f1": sum(overlap) / len(overlap),
        "ended": sum(ended) / len(ended),
    }


def _train_one(
    seed: int, hyper: dict[str, Any], folder: Path
) -> tuple[dict[str, float], dict[str, Any]]:
    """One training, with the test part before and after."""
    from xor2gpt import training as tr
    from xor2gpt.finetune import ALPACA
    from xor2gpt.recipes import sft_common as sft
    from xor2gpt.recipes import sft_generated
    from xor2gpt.recipes.vision_common import digest

    model, tokenizer = _start(hyper, seed)
    end, parts = tokenizer.special_tokens[sft.END], splits(seed)
    examples = {name: sft.encode(tokenizer, rows, ALPACA) for name, rows in parts.items()}
    generated = sft_generated.entries("test", GENERATED_PER_FAMILY, seed)
    before = sft.kept(
        folder / "before.json",
        lambda: {
            "test": _read(model, tokenizer, parts["test"], MAX_NEW_TOKENS),
            "generated": _read(model, tokenizer, generated, sft_generated.MAX_NEW_TOKENS),
        },
    )
    measured = {
        name: sft.fixed_batches(examples[part][:110], end_of_text=end, batch_size=16)
        for name, part in (("loss", "validation"), ("train_loss", "train"), ("test_loss", "test"))
    }
    test_batches = measured.pop("test_loss")
    with tr.evaluation_mode(model):
        test_loss_before = tr.evaluate(model, sft.shared_loss, test_batches)
    batches = sft.BucketedBatches(
        examples["train"], batch_size=hyper["batch_size"], seed=seed, end_of_text=end
    )
    curves = sft.fit(model.train(), batches, measured, hyper, seed, folder)
    model.eval()
    after = _read(model, tokenizer, parts["test"], MAX_NEW_TOKENS)
    seen = _read(model, tokenizer, parts["train"][:110], MAX_NEW_TOKENS)
    known = _read(model, tokenizer, generated, sft_generated.MAX_NEW_TOKENS)
    copied = nearest(parts["train"], parts["test"])
    pairs = [(text, str(e["output"])) for text, e in zip(copied, parts["test"], strict=True)]
    best = min(range(len(curves["loss"])), key=curves["loss"].__getitem__)
    metrics = {
        "exact_match_before": before["test"]["exact_match"],
        "exact_match": after["exact_match"],
        "f1_before": before["test"]["f1"],
        "f1": after["f1"],
        "ended_before": before["test"]["ended"],
        "ended": after["ended"],
        "train_exact_match": seen["exact_match"],
        "train_f1": seen["f1"],
        "test_loss_before": test_loss_before,
        "test_loss": tr.evaluate(model, sft.shared_loss, test_batches),
        "val_loss": curves["loss"][best],
        "val_loss_last": curves["loss"][-1],
        "train_loss_last": curves["train_loss"][-1],
        "best_epoch": curves["epoch"][best],
        "generated_before": before["generated"]["exact_match"],
        "generated": known["exact_match"],
        "repeated": _repeated(parts),
        "nearest_f1": sum(word_f1(*pair) for pair in pairs) / len(pairs),
        "nearest_exact_match": sum(a.strip() == b.strip() for a, b in pairs) / len(pairs),
    }
    extras = {
        "curves": curves,
        "weights_sha256": digest(model.state_dict()),
        "right_answers": [
            {key: entry[key] for key in ("instruction", "input", "output")}
            for entry, right in zip(parts["test"], after["right"], strict=True)
            if right
        ],
        "samples": [],
    }
    if seed == 0:
        rows = zip(parts["test"], before["test"]["texts"], after["texts"], strict=True)
        extras["samples"] = [
            {
                **{key: entry[key] for key in ("instruction", "input", "output")},
                "before": first,
                "after": second,
            }
            for entry, first, second in list(rows)[:SAMPLES]
        ]
    return metrics, extras


def run_unit(unit: Unit, advance: Advance, scratch: Path) -> Outcome:
    """Every seed of the unit; a kill goes on inside the training it happened in."""
    from xor2gpt.recipes.sft_common import precision_note
    from xor2gpt.recipes.vision_common import over_seeds

    outcome = over_seeds(unit, advance, scratch, _train_one)
    return Outcome(outcome.per_seed, {**outcome.whole, "precision": precision_note(unit.hyper)})


# --- figures --------------------------------------------------------------------------------------

_SHOWN = {  # metric: scale, unit
    "exact_match_before": (100, "%"),
    "exact_match": (100, "%"),
    "train_exact_match": (100, "%"),
    "f1_before": (100, "%"),
    "f1": (100, "%"),
    "nearest_f1": (100, "%"),
    "nearest_exact_match": (100, "%"),
    "repeated": (100, "%"),
    "ended": (100, "%"),
    "generated_before": (100, "%"),
    "generated": (100, "%"),
    "test_loss_before": (1, "nats/token"),
    "test_loss": (1, "nats/token"),
    "val_loss": (1, "nats/token"),
    "val_loss_last": (1, "nats/token"),
    "train_loss_last": (1, "nats/token"),
    "best_epoch": (1, "epochs"),
    "cpu_seconds": (1, "s"),
}


def figures(results: list[UnitResult]) -> list[Figure]:
    """Means and deviations by unit, and differences paired over the seeds."""
    from xor2gpt.recipes.sft_common import paired

    found = {result.unit: result for result in results}
    rows = []
    for result in results:
        for metric, (scale, unit) in _SHOWN.items():
            mean, sd = mean_sd([scale * value for value in result.per_seed[metric]])
            name = f"sft_real_{metric}.{result.unit}"
            rows += [Figure(name, mean, unit), Figure(f"{name}.sd", sd, unit)]
        for metric, scale, unit in (("test_loss", 1, "nats/token"), ("f1", 100, "points")):
            if values := [scale * value for value in gains(metric, result, found)]:
                name = f"sft_real_gain_{metric}.{result.unit}"
                pairs = zip(("", ".sd", ".low", ".high"), paired(values), strict=True)
                rows += [Figure(f"{name}{what}", value, unit) for what, value in pairs]
    return rows


# --- the recipe -----------------------------------------------------------------------------------


def _sha256(name: str) -> str | None:
    return SHIPPED.get(name, {}).get("sha256")


SEEDS = (0, 1, 2, 3, 4)
SMALL = {
    "first_weights": _sha256("small"),  # other weights are another run
    "init": "small",
    "epochs": 5.0,
    "batch_size": 16,
    "optimizer": {"name": "adamw", "lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.0},
    "warmup": 0.05,
    "cooldown": 0.9,
    "clip_norm": 1.0,
    "precision": "fp32",
    "validations": 5,
    "keep": "best",
}
INSTRUCT = {
    **SMALL,
    "first_weights": _sha256("small-instruct"),
    "init": "small-instruct",
    "against": "small",
}
RANDOM = {
    **SMALL,
    "init": "random",
    "optimizer": {
        "name": "muon",
        "lr": 0.01,
        "adam_lr": 2e-3,
        "betas": (0.9, 0.95),
        "weight_decay": 0.0,
    },
    "against": "small",
}
UNITS = (
    Unit("small", "from the pretrained model", SEEDS, SMALL),
    Unit("small-instruct", "after the generated instructions", SEEDS, INSTRUCT),
    Unit("random-init", "from random weights", SEEDS[:3], RANDOM),
)

RECIPE = register(
    Recipe(
        name="sft-instruction-data",
        title="Instruction fine-tuning on 1,100 real pairs",
        description=(
            "The course's small model on Raschka's instruction data: 935 pairs to train, 110 to "
            "test, 55 to choose the epoch (mean ± sd over shuffles). Overlap is the F1 of words "
            "that answer and reference share; the nearest training instruction's answer, copied, "
            "is the baseline."
        ),
        version=1,
        units=UNITS,
        run_unit=run_unit,
        figures=figures,
        tables=(
            Table(
                "Test part",
                "Loss in nats per token of the response; exact match and overlap of words in %.",
                tuple(unit.name for unit in UNITS),
                (
                    Column("loss before", "test_loss_before", "mean", 1, 2),
                    Column("loss after", "test_loss", "mean", 1, 2),
                    Column("exact match before", "exact_match_before", "mean", 100, 1),
                    Column("exact match after", "exact_match", "mean", 100, 1),
                    Column("overlap before", "f1_before", "mean", 100, 1),
                    Column("overlap after", "f1", "mean", 100, 1),
                    Column("nearest answer's overlap", "nearest_f1", "mean", 100, 1),
                    Column("best epoch", "best_epoch", "mean", 1, 1),
                    Column("CPU-s a seed", "cpu_seconds", "mean", 1, 0),
                ),
            ),
            Table(
                "Learned by heart, and forgotten",
                "Overlap on training entries; validation and training loss after the last epoch; "
                "exact match on the generated instructions before and after.",
                tuple(unit.name for unit in UNITS),
                (
                    Column("overlap on training entries, %", "train_f1", "mean", 100, 1),
                    Column("validation loss, best", "val_loss", "mean", 1, 2),
                    Column("last", "val_loss_last", "mean", 1, 2),
                    Column("training loss, last", "train_loss_last", "mean", 1, 2),
                    Column("generated before, %", "generated_before", "mean", 100, 1),
                    Column("generated after, %", "generated", "mean", 100, 1),
                ),
            ),
        ),
        keeps_checkpoints=True,
    )
)
