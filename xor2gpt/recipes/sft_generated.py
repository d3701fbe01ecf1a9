"""Recipe ``sft-generated``: teach the course's small language model to follow instructions.

Does: fine-tune ``small`` on generated instructions of 21 families, and count how many held-out ones
it answers exactly, before and after; compare, seed by seed, the loss on the response alone with
that on everything, Alpaca's template with a short chat template, and pretrained with random first
weights; vary the number of examples; overfit on purpose; measure what is forgotten of the
pretraining text; write the fine-tuned weights of seed 0, which ship as ``small-instruct``.
Does not: choose a step by its test score (the last weights count), or test open-ended writing.

Three parts, whose combinations never meet: *test* is the generator's test split; of its training
split, one combination in ten is *validation* by a hash, where losses were measured and settings
chosen; the rest is *train*. Seed s draws the examples, the test entries (50 a family) and the
batches; the units share them, so that differences are paired. The first weights are the shipped
ones for all seeds; the pretraining text held plain sentences about combinations of the training
split, never one of the test split, and no instruction. (Closed lists it stated whole: there a test
entry asks for a known word in a phrasing that training never has with it.)

What is not untouched: the second part of pretraining (sums, the letters of words) was added because
an earlier checkpoint had failed on such test combinations. No training held them, but that choice
was made with a look at them. Every setting of this recipe was chosen on validation entries.

To ship seed 0: ``python -m xor2gpt train sft-generated``, then
``python -m xor2gpt.pretrained adopt small-instruct .cache/pretrained/small-instruct``.

Source: Ouyang et al. (2022), "Training language models to follow instructions with human feedback"
(its supervised step); Taori et al. (2023), "Alpaca" (template).
"""

from __future__ import annotations

import hashlib
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
from xor2gpt.recipes.stats import gains, mean_sd, wilson

if TYPE_CHECKING:
    from xor2gpt.gpt import GPT
    from xor2gpt.tokenizer import Tokenizer

__all__ = ["RECIPE", "entries", "part_of", "run_unit", "start"]

VALIDATION_PERCENT = 10
PER_FAMILY = {"test": 50, "validation": 10, "train": 10}  # entries that are answered or measured
MAX_NEW_TOKENS = 48
SIDE_BY_SIDE = 210
FORGETTING_WINDOWS = 24
_SEEDS_OF = {"train": 100, "validation": 200, "test": 300}

Entry = Mapping[str, Any]


# --- data -----------------------------------------------------------------------------------------


def part_of(entry: Entry) -> str:
    """``train``, ``validation`` or ``test``: where this entry's combination belongs, whatever seed.

    As in `xor2gpt.data.synthetic.instructions`, the order of the arguments does not count, and the
    phrasing counts for closed lists only.
    """
    from xor2gpt.data.synthetic.instructions import split_of

    family, arguments = str(entry["family"]), list(map(str, entry["arguments"]))
    if split_of(family, arguments, entry["phrasing"]) == "test":
        return "test"
    closed = family in ("opposite", "plural", "past tense")
    key = "|".join(["validation", family, *sorted(arguments), str(entry["phrasing"]) * closed])
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100
    return "validation" if number < VALIDATION_PERCENT else "train"


def entries(part: str, per_family: int, seed: int) -> list[dict[str, Any]]:
    """``per_family`` entries of each family in random order, all of one part.

    Seeds of different parts never give the same draws. Raises ``ValueError`` for another part.
    """
    from xor2gpt.data.synthetic.instructions import FAMILIES, instructions

    if part not in _SEEDS_OF:
        raise ValueError(f"part is 'train', 'validation' or 'test', not {part!r}")
    share = {"train": 1 - VALIDATION_PERCENT / 100, "validation": VALIDATION_PERCENT / 100}
    split = "test" if part == "test" else "train"
    number = round(len(FAMILIES) * per_family / share.get(part, 1.0))
    found: list[dict[str, Any]] = []
    missing = dict.fromkeys(FAMILIES, per_family)
    draw = 0
    while any(missing.values()):
        families = [family for family in FAMILIES if missing[family]]
        drawn_with = (_SEEDS_OF[part] + seed) * 1_000 + draw
        for entry in instructions(number, seed=drawn_with, split=split, families=families):
            family = str(entry["family"])
            if missing[family] and part_of(entry) == part:
                found.append(entry)
                missing[family] -= 1
        draw += 1
    return found


# --- one training ---------------------------------------------------------------------------------


def start(hyper: Mapping[str, Any], seed: int) -> tuple[GPT, Tokenizer]:
    """The model that a unit begins with: the shipped one, or its shape with random weights."""
    import torch

    from xor2gpt.gpt import GPT
    from xor2gpt.pretrained import load_pretrained

    model, tokenizer = load_pretrained("small")
    if hyper["init"] == "random":
        model = GPT(model.config, generator=torch.Generator().manual_seed(seed))
    return model, tokenizer


def _scored(
    model: GPT, tokenizer: Tokenizer, found: Sequence[Entry], template: str
) -> dict[str, Any]:
    """Answers to the entries, which of them ended, and how many are right, in all and by family."""
    from xor2gpt.evaluate import score_answers
    from xor2gpt.finetune import TEMPLATES
    from xor2gpt.recipes.sft_common import answers

    texts, ended = answers(
        model, tokenizer, found, TEMPLATES[template], max_new_tokens=MAX_NEW_TOKENS
    )
    report = score_answers(found, texts)
    return {
        "texts": texts,
        "ended": sum(ended) / len(ended),
        "right": list(report.right),
        "accuracy": report.accuracy.value,
        "families": {row["family"]: row["accuracy"] for row in report.rows()[:-1]},
    }


def _train_one(
    seed: int, hyper: dict[str, Any], folder: Path
) -> tuple[dict[str, float], dict[str, Any]]:
    """One training with everything that is measured before and after."""
    from xor2gpt.finetune import TEMPLATES
    from xor2gpt.recipes import sft_common as sft
    from xor2gpt.recipes.vision_common import digest

    model, tokenizer = start(hyper, seed)
    end, template = tokenizer.special_tokens[sft.END], hyper["template"]
    learned = entries("train", hyper["per_family"], seed)
    found = {
        "test": entries("test", PER_FAMILY["test"], seed),
        "validation": entries("validation", PER_FAMILY["validation"], seed),
        "train": learned[: len(learned) * PER_FAMILY["train"] // hyper["per_family"]],
    }
    measured = {
        name: sft.fixed_batches(
            sft.encode(tokenizer, found[part], TEMPLATES[template]), end_of_text=end
        )
        for name, part in (("loss", "validation"), ("train_loss", "train"))
    }
    metrics, extras = {}, {"first_sha256": digest(model.state_dict())}
    if hyper["full"]:
        texts = sft.forgetting_texts(tokenizer, model.config.context_length, FORGETTING_WINDOWS)
        before = sft.kept(
            folder / "before.json", lambda: _scored(model, tokenizer, found["test"], template)
        )
        extras["text_loss_before"] = sft.text_losses(model, texts)
        metrics |= {"before": before["accuracy"], "ended_before": before["ended"]}
        extras["families_before"] = before["families"]
    batches = sft.BucketedBatches(
        sft.encode(tokenizer, learned, TEMPLATES[template]),
        batch_size=hyper["batch_size"],
        seed=seed,
        end_of_text=end,
        mask_prompt=hyper["mask_prompt"],
    )
    curves = sft.fit(model.train(), batches, measured, hyper, seed, folder)
    model.eval()
    after = _scored(model, tokenizer, found["test"], template)
    seen = _scored(model, tokenizer, found["train"], template)
    extras |= {
        "curves": curves,
        "families": after["families"],
        "weights_sha256": digest(model.state_dict()),
    }
    metrics |= {
        "exact_match": after["accuracy"],
        "ended": after["ended"],
        "train_exact_match": seen["accuracy"],
        "val_loss_before": curves["loss"][0],
        "val_loss": curves["loss"][-1],
        "val_loss_lowest": min(curves["loss"]),
        "train_loss": curves["train_loss"][-1],
        "steps": curves["step"][-1],
    }
    if hyper["full"]:
        extras["text_loss"] = sft.text_losses(model, texts)
        metrics |= _perplexities(extras)
        shipped, extras["shipped_sha256"] = _from_file(model, tokenizer, found, seed, folder)
        metrics["exact_match_bf16"] = shipped["accuracy"]
        extras["side_by_side"] = _side_by_side(found["test"], before, after) if seed == 0 else []
    return metrics, extras


def _perplexities(extras: Mapping[str, Any]) -> dict[str, float]:
    """Of the pretraining's held-out texts: all, and the plays alone."""
    import math

    return {
        f"ppl_{kind}{when}": math.exp(extras[f"text_loss{when}"][kind])
        for kind in ("all", "plays")
        for when in ("_before", "")
    }


def _from_file(
    model: GPT,
    tokenizer: Tokenizer,
    found: Mapping[str, Sequence[Entry]],
    seed: int,
    folder: Path,
) -> tuple[dict[str, Any], str]:
    """The score of the weights as they ship: written in bfloat16 and read back; their SHA-256.

    Seed 0's folder is the one that ships: it stays in `pretrain_small.output_folder`.
    """
    from xor2gpt.finetune import load_finetuned
    from xor2gpt.pretrained import save_pretrained
    from xor2gpt.recipes.pretrain_small import output_folder

    target = output_folder() / "small-instruct" if seed == 0 else folder / "bf16"
    sha = save_pretrained(target, model, tokenizer, notes={"recipe": "sft-generated"})
    again = load_finetuned(target, sha256=sha).model
    return _scored(again, tokenizer, found["test"], "alpaca"), sha


def _side_by_side(
    found: Sequence[Entry], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The first test entries with both answers."""
    return [
        {
            **{key: entry[key] for key in ("family", "instruction", "input", "output")},
            "before": before["texts"][i],
            "after": after["texts"][i],
            "right": after["right"][i],
        }
        for i, entry in enumerate(found[:SIDE_BY_SIDE])
    ]


def run_unit(unit: Unit, advance: Advance, scratch: Path) -> Outcome:
    """Every seed of the unit; a kill goes on inside the training it happened in."""
    from xor2gpt.data.synthetic.instructions import FAMILIES
    from xor2gpt.recipes.sft_common import precision_note
    from xor2gpt.recipes.vision_common import over_seeds

    outcome = over_seeds(unit, advance, scratch, _train_one)
    per_seed = dict(outcome.per_seed)
    for name in ("families", "families_before"):
        if name in outcome.whole:
            for family in FAMILIES:
                key = f"{name}.{family.replace(' ', '-')}"
                per_seed[key] = [found[family] for found in outcome.whole[name]]
    whole = {k: v for k, v in outcome.whole.items() if not k.startswith("families")}
    return Outcome(per_seed, {**whole, "precision": precision_note(unit.hyper)})


# --- figures --------------------------------------------------------------------------------------

MAIN = "alpaca"


def figures(results: list[UnitResult]) -> list[Figure]:
    """Exact match in %, by unit and (main unit) by family; differences paired over the seeds."""
    from xor2gpt.recipes.sft_common import paired

    found = {result.unit: result for result in results}
    rows = []
    for result in results:
        dot = "" if result.unit == MAIN else f".{result.unit}"
        for metric, (name, scale, unit) in _SHOWN.items():
            if metric not in result.per_seed:
                continue
            mean, sd = mean_sd([scale * value for value in result.per_seed[metric]])
            rows += [Figure(f"{name}{dot}", mean, unit), Figure(f"{name}{dot}.sd", sd, unit)]
        points = [100 * value for value in gains("exact_match", result, found)]
        if points:
            name = f"sft_gain.{result.unit}"
            values = zip(("", ".sd", ".low", ".high"), paired(points), strict=True)
            rows += [Figure(f"{name}{what}", value, "points") for what, value in values]
    return rows + _by_family(found[MAIN])


def _by_family(result: UnitResult) -> list[Figure]:
    """Mean over the seeds; the Wilson interval is that of all seeds' answers together."""
    rows = []
    for key, values in result.per_seed.items():
        kind, _, family = key.partition(".")
        if kind not in ("families", "families_before"):
            continue
        name = f"sft_exact_match{kind.removeprefix('families')}.family.{family}"
        rows.append(Figure(name, 100 * mean_sd(values)[0], "%"))
        if kind == "families":
            trials = PER_FAMILY["test"] * len(values)
            low, high = wilson(round(PER_FAMILY["test"] * sum(values)), trials)
            rows += [Figure(f"{name}.low", 100 * low, "%"), Figure(f"{name}.high", 100 * high, "%")]
    return rows


_SHOWN = {  # metric: name, scale, unit
    "exact_match": ("sft_exact_match", 100, "%"),
    "before": ("sft_exact_match_before", 100, "%"),
    "exact_match_bf16": ("sft_exact_match_shipped", 100, "%"),
    "train_exact_match": ("sft_exact_match_train", 100, "%"),
    "ended": ("sft_ended", 100, "%"),
    "val_loss_before": ("sft_val_loss_before", 1, "nats/token"),
    "val_loss": ("sft_val_loss", 1, "nats/token"),
    "val_loss_lowest": ("sft_val_loss_lowest", 1, "nats/token"),
    "train_loss": ("sft_train_loss", 1, "nats/token"),
    "ppl_all_before": ("sft_perplexity_before", 1, "1"),
    "ppl_all": ("sft_perplexity", 1, "1"),
    "ppl_plays_before": ("sft_perplexity_plays_before", 1, "1"),
    "ppl_plays": ("sft_perplexity_plays", 1, "1"),
    "cpu_seconds": ("sft_cpu_seconds", 1, "s"),
}


# --- the recipe -----------------------------------------------------------------------------------

SEEDS = (0, 1, 2, 3, 4)
ALPACA = {
    "first_weights": SHIPPED.get("small", {}).get("sha256"),  # other weights are another run
    "init": "small",
    "template": "alpaca",
    "mask_prompt": True,
    "per_family": 1000,
    "epochs": 1.0,
    "batch_size": 16,
    "optimizer": {"name": "adamw", "lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.0},
    "warmup": 0.05,
    "cooldown": 0.9,
    "clip_norm": 1.0,
    "precision": "fp32",
    "validations": 6,
    "keep": "last",
    "full": True,
}
SHORT = "examples-6300"
PLAIN = {**ALPACA, "per_family": 300, "full": False, "against": SHORT}
MUON = {"name": "muon", "lr": 0.01, "adam_lr": 2e-3, "betas": (0.9, 0.95), "weight_decay": 0.0}


def _sized(per_family: int, epochs: float, seeds: tuple[int, ...], **changes: Any) -> Unit:
    """So many examples, in as many steps as 6,300 examples take in one epoch."""
    hyper = {**PLAIN, "per_family": per_family, "epochs": epochs, **changes}
    times = f"{epochs:g} epochs" if epochs > 1 else "one epoch"
    title = f"{per_family * 21:,} examples, {times}"
    return Unit(f"examples-{per_family * 21}", title, seeds, hyper, 3.5 * len(seeds) / 5)


UNITS = (
    Unit(MAIN, "21,000 examples, one epoch", SEEDS, ALPACA, 11.0),
    _sized(300, 1.0, SEEDS, against=MAIN),
    _sized(100, 3.0, SEEDS[:3]),
    _sized(25, 12.0, SEEDS[:3]),
    _sized(10, 30.0, SEEDS[:3], validations=15),
    Unit(
        "not-masked", "6,300, loss on the prompt too", SEEDS, {**PLAIN, "mask_prompt": False}, 3.5
    ),
    Unit("chat", "6,300, chat template", SEEDS, {**PLAIN, "template": "chat"}, 3.0),
    Unit(
        "random-init",
        "6,300, random first weights (Muon)",
        SEEDS,
        {**PLAIN, "init": "random", "optimizer": MUON},
        3.5,
    ),
)

RECIPE = register(
    Recipe(
        name="sft-generated",
        title="Instruction fine-tuning on generated tasks",
        description=(
            "The course's small model, tuned on instructions of 21 families; exact match of greedy "
            "answers on 1,050 held-out instructions a seed, whose combinations neither fine-tuning "
            "nor pretraining held (mean ± sd over the seeds)."
        ),
        version=1,
        units=UNITS,
        run_unit=run_unit,
        figures=figures,
        tables=(
            Table(
                "Exact match on held-out instructions",
                "The gain is the paired difference, in points: of 6,300 examples to 21,000, of all "
                "others to 6,300. Losses in nats per token of the response, on validation entries; "
                "all rows but the first take as many steps.",
                tuple(unit.name for unit in UNITS),
                (
                    Column("exact match, %", "exact_match", "mean", 100, 1),
                    Column("gain, points", "exact_match", "gain", 100, 1),
                    Column("on training entries, %", "train_exact_match", "mean", 100, 1),
                    Column("validation loss", "val_loss", "mean", 1, 3),
                    Column("its lowest", "val_loss_lowest", "mean", 1, 3),
                    Column("training loss", "train_loss", "mean", 1, 3),
                    Column("CPU-s a seed", "cpu_seconds", "mean", 1, 0),
                ),
            ),
            Table(
                "Before and after",
                "Exact match before, after, and after with the shipped bfloat16 file; perplexity "
                "on pretraining's held-out texts and on the plays among them.",
                (MAIN,),
                (
                    Column("before, %", "before", "mean", 100, 2),
                    Column("after, %", "exact_match", "mean", 100, 1),
                    Column("bfloat16 file, %", "exact_match_bf16", "mean", 100, 1),
                    Column("perplexity before", "ppl_all_before", "mean", 1, 2),
                    Column("perplexity after", "ppl_all", "mean", 1, 2),
                    Column("plays before", "ppl_plays_before", "mean", 1, 2),
                    Column("plays after", "ppl_plays", "mean", 1, 2),
                ),
            ),
        ),
        keeps_checkpoints=True,
    )
)
