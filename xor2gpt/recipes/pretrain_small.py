"""Recipe ``pretrain-small``: the language model that ships with the course.

Does: train one small GPT, in one pass but for the public texts, on text that the course generates
(plain skill sentences, unlabelled messages, grammar sentences) and on two texts whose licences
allow it: Shakespeare's plays (public domain), and the training part of GSM8K (MIT); go on with a
shorter second part, more than half of it pages of practice (sums, the letters of words), which the
first part taught badly; measure the
loss over whole held-out texts of every kind, and over Edith Wharton's story "The Verdict" (public
domain), of which nothing was trained on; write the weights to `output_folder`, from where
`python -m xor2gpt.pretrained adopt small FOLDER` takes them into the course.
Does not: show the model an instruction, a prompt template, a label, a test combination of the
instruction families, or a real short message.

The model has today's parts (RoPE, QK-norm, ReLU², no biases), trained by Muon; layer norm instead
of RMSNorm because torch has one fused kernel for it on CPUs (a third faster in all).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
from xor2gpt.recipes.language import fit
from xor2gpt.recipes.stats import mean_sd

if TYPE_CHECKING:
    from torch import Tensor

    from xor2gpt.gpt import GPT
    from xor2gpt.tokenizer import Tokenizer

__all__ = ["END", "PATTERN", "RECIPE", "documents", "make_tokenizer", "output_folder"]

END = "<|endoftext|>"
PATTERN = (  # GPT-2's, but each digit alone: numbers are added digit by digit
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++|\p{N}| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
)
SEED = 10_000  # and up: generators' seeds that nothing else in the course uses
VERSES = 1_500  # characters of a play in one document, about
TEMPLATE_COPIES = 400  # in the tokenizer's training text, so that their words become tokens
HELD_OUT = 20  # one in so many plays' parts and of GSM8K's problems is kept for validation


# --- text -----------------------------------------------------------------------------------------


def _skills(number: int, seed: int) -> list[str]:
    from xor2gpt.data.synthetic.skills import skills

    return list(skills(number, seed=seed))


def _messages(number: int, seed: int) -> list[str]:
    from xor2gpt.data.synthetic.messages import messages

    lots = -(-number // 5_000)
    texts = [
        text
        for lot in range(lots)
        for text in messages(
            5_000, seed=seed + lot, spam_share=0.3, exact_copies=0.0, near_copies=0.0
        ).texts
    ]
    return texts[:number]


def _drills(number: int, seed: int) -> list[str]:
    """Pages of practice; the words are those of the plays and problems that train."""
    from xor2gpt.data.synthetic.skills import drills, other_words

    if not number:
        return []
    texts = [*_kept(_plays(), held_out=False), *_kept(_problems(), held_out=False)]
    return list(drills(number, seed=seed, words=other_words(texts)))


def _grammar(number: int, seed: int) -> list[str]:
    from xor2gpt.data.synthetic.grammar import Grammar

    lines = Grammar().sample(8 * number, seed=seed).splitlines()
    return [" ".join(lines[i : i + 8]) for i in range(0, len(lines), 8)]


def _plays() -> list[str]:
    """Shakespeare, cut at speeches into parts of about `VERSES` characters."""
    from xor2gpt import data

    parts, part, length = [], [], 0
    for speech in data.load("tinyshakespeare").text.split("\n\n"):
        part.append(speech)
        length += len(speech) + 2
        if length >= VERSES:
            parts.append("\n\n".join(part))
            part, length = [], 0
    return [*parts, "\n\n".join(part)] if part else parts


def _problems() -> list[str]:
    """GSM8K's training problems with their solutions, without the calculator's marks."""
    import re

    from xor2gpt import data

    rows = data.load("gsm8k")["train"]
    return [
        f"{row['question']}\n{re.sub(r'<<.*?>>', '', row['answer']).replace('####', 'Answer:')}"
        for row in rows
    ]


def _kept(texts: list[str], *, held_out: bool) -> list[str]:
    """The part of a public text that validates, or the one that trains."""
    return [text for i, text in enumerate(texts) if (i % HELD_OUT == 0) == held_out]


def documents(
    mix: Mapping[str, float], *, seed: int = SEED, held_out: bool = False
) -> dict[str, list[str]]:
    """Texts by kind: ``mix`` gives the number of generated documents, and of passes over others.

    With ``held_out`` the validation texts: another seed, the parts that training leaves out.
    """
    seed += 5_000 * held_out
    share = 0.004 if held_out else 1.0
    makers = {"skills": _skills, "messages": _messages, "grammar": _grammar, "drills": _drills}
    made = {
        kind: make(round(mix[kind] * share), seed) for kind, make in makers.items() if kind in mix
    }
    for kind, texts in (("plays", _plays()), ("problems", _problems())):
        kept = _kept(texts, held_out=held_out)
        passes, rest = (1, 0.0) if held_out else divmod(mix[kind], 1)
        made[kind] = kept * int(passes) + kept[: round(rest * len(kept))]
    if held_out:
        from xor2gpt import data

        made["story"] = [data.load("the-verdict").text]
    return made


def make_tokenizer(texts: Mapping[str, list[str]], vocab_size: int) -> Tokenizer:
    """BPE on an equal number of characters of every kind of text, and on the prompt templates.

    The templates are there so that a prompt costs 60 tokens, not 120: the vocabulary knows their
    words, the model has never read them.
    """
    from xor2gpt.finetune import TEMPLATES
    from xor2gpt.tokenizer import Tokenizer

    def some(limit: int = 300_000) -> Iterator[str]:
        for template in TEMPLATES.values():
            yield from [template.with_input, template.without_input] * TEMPLATE_COPIES
        for kind in sorted(texts):
            length = 0
            for text in texts[kind]:
                if length > limit:
                    break
                length += len(text)
                yield text

    return Tokenizer.train(some(), vocab_size, special_tokens=[END], pattern=PATTERN)


def _ids(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    """All texts one after the other, an end-of-text token behind each."""
    end = tokenizer.special_tokens[END]
    ids: list[int] = []
    for text in texts:
        ids += tokenizer.encode_ordinary(text)
        ids.append(end)
    return np.array(ids, np.uint16)


def _prepared(
    hyper: Mapping[str, Any], folder: Path, given: Tokenizer | None
) -> tuple[Tokenizer, Tensor]:
    """Tokenizer and shuffled training ids, from ``folder`` if an earlier start left them there.

    The tokenizer is the ``given`` one, or trained on the same text.
    """
    import torch

    from xor2gpt.tokenizer import Tokenizer

    tokens, vocabulary = folder / "train.npy", folder / "tokenizer.json"
    if not tokens.exists():
        texts = documents(hyper["mix"], seed=hyper.get("text_seed", SEED))
        tokenizer = given or make_tokenizer(texts, hyper["vocab_size"])
        tokenizer.save(vocabulary)
        mixed = [text for kind in sorted(texts) for text in texts[kind]]
        random.Random(SEED).shuffle(mixed)
        np.save(folder / "part.npy", _ids(tokenizer, mixed))
        (folder / "part.npy").replace(tokens)
    ids = torch.from_numpy(np.load(tokens).astype(np.int64))
    return Tokenizer.load(vocabulary), ids


def _windows(ids: np.ndarray, length: int, size: int = 32) -> list[tuple[Tensor, Tensor]]:
    """Batches that hold every token but the first as a target once, in windows of ``length``."""
    import torch

    from xor2gpt.gpt import IGNORE

    count = -(-(len(ids) - 1) // length)
    inputs = torch.zeros(count * length, dtype=torch.long)
    targets = torch.full((count * length,), IGNORE)
    inputs[: len(ids) - 1] = torch.from_numpy(ids[:-1].astype(np.int64))
    targets[: len(ids) - 1] = torch.from_numpy(ids[1:].astype(np.int64))
    shape = (count, length)
    return list(zip(inputs.view(shape).split(size), targets.view(shape).split(size), strict=True))


# --- the run --------------------------------------------------------------------------------------

OPENINGS = ("The opposite of hot is", "The word garden is spelled", "KING:\n", "Hi Tom, are")


def _write(model: GPT, tokenizer: Tokenizer) -> list[str]:
    from xor2gpt.generation import Sampling, generate

    made = generate(
        model,
        [tokenizer.encode_ordinary(text) for text in OPENINGS],
        40,
        sampling=Sampling(temperature=0.0),
        stop_tokens=[tokenizer.special_tokens[END]],
    )
    return [tokenizer.decode(ids) for ids in made]


def output_folder() -> Path:
    """Where the recipe leaves weights: beside the scratch folders, ignored by git."""
    from xor2gpt.recipes.runner import scratch_folder

    return scratch_folder().parent / "pretrained"


def _start(hyper: Mapping[str, Any], seed: int) -> tuple[GPT | None, Tokenizer | None]:
    """Model and tokenizer that an earlier unit left, if this one goes on from them."""
    from xor2gpt.finetune import load_finetuned
    from xor2gpt.tokenizer import Tokenizer

    if "start" not in hyper:
        return None, None
    folder = output_folder() / hyper["start"] / f"seed-{seed}"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not there: this unit goes on from the weights of {hyper['start']!r}. "
            "Run the whole recipe with --fresh"
        )
    return load_finetuned(folder).model, Tokenizer.load(folder / "tokenizer.json")


def run_unit(unit: Unit, advance: Advance, scratch: Path) -> Outcome:
    """Train each seed; a kill goes on inside the training it happened in."""
    from xor2gpt import training as tr
    from xor2gpt.gpt import token_loss
    from xor2gpt.pretrained import save_pretrained

    hyper = unit.hyper
    length = hyper["model"]["context_length"]
    tokenizer, train = _prepared(hyper, scratch, _start(hyper, unit.seeds[0])[1])
    held = {k: _ids(tokenizer, t) for k, t in documents(SMALL["mix"], held_out=True).items()}
    sizes = {
        kind: sum(len(text.encode()) for text in texts)
        for kind, texts in documents(hyper["mix"], seed=hyper.get("text_seed", SEED)).items()
    }
    story = held.pop("story")
    validation = [batch for ids in held.values() for batch in _windows(ids, length)]
    kinds = [*held, "story"]
    names = ("val_loss", "cpu_seconds", *(f"val_loss_{kind}" for kind in kinds))
    per_seed: dict[str, list[float]] = {name: [] for name in names}
    whole: dict[str, Any] = {"step": [], "val_loss": [], "cpu_seconds": [], "samples": []}
    whole |= {"sha256": [], "train_tokens": len(train), "bytes_by_kind": sizes}
    for seed in unit.seeds:
        curve, model = fit(
            hyper,
            seed,
            train,
            validation,
            tokenizer.vocab_size,
            scratch / f"seed-{seed}",
            sample=lambda m: _write(m, tokenizer),
            sample_steps=hyper["sample_steps"],
            model=_start(hyper, seed)[0],
        )
        per_seed["val_loss"].append(curve.losses[-1])
        per_seed["cpu_seconds"].append(curve.cpu_seconds[-1])
        for kind, ids in {**held, "story": story}.items():
            loss = tr.evaluate(model, token_loss, _windows(ids, length))
            per_seed[f"val_loss_{kind}"].append(loss)
        whole["step"] = curve.steps
        whole["val_loss"].append(curve.losses)
        whole["cpu_seconds"].append(curve.cpu_seconds)
        whole["samples"].append(curve.samples)
        folder = output_folder() / unit.name / f"seed-{seed}"
        whole["sha256"].append(save_pretrained(folder, model, tokenizer))
        advance(1)
    return Outcome(per_seed, whole)


def figures(results: list[UnitResult]) -> list[Figure]:
    """The loss over the held-out texts, in nats a token, and by kind of text."""
    made = []
    for result in results:
        prefix = "pretrain" if result.unit == SHIPS else f"pretrain.{result.unit}"
        for name, values in result.per_seed.items():
            mean, spread = mean_sd(values)
            unit = "s" if name == "cpu_seconds" else "nats/token"
            made.append(Figure(f"{prefix}_{name}", mean, unit))
            if len(values) > 1:
                made.append(Figure(f"{prefix}_{name}.sd", spread, unit))
        bits = math.log(2)
        made.append(
            Figure(f"{prefix}_val_bits", result.per_seed["val_loss"][0] / bits, "bits/token")
        )
    return made


SMALL = {
    "vocab_size": 640,
    "steps": 7_700,
    "batch_size": 16,
    "clip_norm": 1.0,
    "precision": "auto",
    "validate_every": 800,
    "checkpoint_every": 400,
    "sample_steps": (800, 2_400, 7_700),
    "sampling": "epochs",
    "schedule": {"name": "flat_then_linear", "warmup": 100, "cooldown": 0.7, "floor": 0.0},
    "optimizer": {
        "name": "muon",
        "lr": 0.02,
        "adam_lr": 4e-3,
        "betas": (0.9, 0.95),
        "weight_decay": 0.0,
    },
    "model": {
        "context_length": 256,
        "n_layer": 4,
        "n_head": 4,
        "n_embd": 256,
        "bias": False,
        "position": "rope",
        "norm": "layernorm",
        "qk_norm": True,
        "activation": "relu2",
    },
    "mix": {"skills": 170_000, "messages": 100_000, "grammar": 6_000, "plays": 4, "problems": 2},
}
PRACTICE = {
    **SMALL,
    "start": "small",
    "text_seed": SEED + 1_000,
    "steps": 1_900,
    "validate_every": 380,
    "checkpoint_every": 380,
    "sample_steps": (1_900,),
    "schedule": {"name": "flat_then_linear", "warmup": 20, "cooldown": 0.95, "floor": 0.0},
    "optimizer": {**SMALL["optimizer"], "lr": 0.012, "adam_lr": 2.4e-3},
    "mix": {
        **{"skills": 17_000, "messages": 10_000, "grammar": 600, "plays": 0.6, "problems": 0.2},
        "drills": 14_000,
    },
}
SHIPS = "practised"
UNITS = (
    Unit("small", "one pass over all text", (0,), SMALL, work=4.0),
    Unit(SHIPS, "then practice: the model that ships", (0,), PRACTICE, work=1.0),
)

RECIPE = register(
    Recipe(
        name="pretrain-small",
        title="The language model that ships with the course",
        description=(
            "4 layers, 4 heads, 256 channels, 640 tokens; 7,700 and 1,900 steps of 16 windows of "
            "256 tokens. Text: skill sentences, unlabelled messages and grammar sentences that the "
            "course generates; Shakespeare's plays; the training part of GSM8K. The second part "
            "has pages of sums and of the letters of words."
        ),
        version=1,
        units=UNITS,
        run_unit=run_unit,
        figures=figures,
        tables=(
            Table(
                "held-out loss by kind of text",
                "Nats per token on texts that were not trained on; the story is of a kind that "
                "was not trained on at all.",
                tuple(unit.name for unit in UNITS),
                (
                    Column("all", "val_loss"),
                    Column("skills", "val_loss_skills"),
                    Column("messages", "val_loss_messages"),
                    Column("grammar", "val_loss_grammar"),
                    Column("plays", "val_loss_plays"),
                    Column("problems", "val_loss_problems"),
                    Column("story", "val_loss_story"),
                    Column("CPU-s", "cpu_seconds", digits=0),
                ),
            ),
        ),
        threads=2,
        keeps_checkpoints=True,
    )
)
