"""The BPE trainer and encoder beside Hugging Face's ``tokenizers`` and a trainer that recounts.

Does: in turns, on the same text, train 1,000 merges on 1 MB with this library, with Hugging Face's
(Rust) and with a trainer that counts all pairs anew before each merge; encode the 1 MB with this
library, Hugging Face's and tiktoken, cold and warm; check that merges and ids are equal.
Does not: use more than one thread, or count the import of a library.

    python benchmarks/tokenizer.py            # writes benchmarks/results/tokenizer/
    python benchmarks/tokenizer.py --rounds 3 --out my-results

The text is tinyshakespeare where the registry can have it (cache or mirror), else the course's
grammar corpus; the result says which. The trainer that recounts is no straw man: it, too, keeps
every distinct piece once, with its count.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # before the import: one thread for everybody
os.environ["RAYON_NUM_THREADS"] = "1"

import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from common import figure_lines, write_result  # noqa: E402  (after the path)

from xor2gpt.recipes.base import Figure  # noqa: E402
from xor2gpt.tokenizer import Tokenizer, count_pieces  # noqa: E402
from xor2gpt.tokenizer.pieces import printable  # noqa: E402

MEGABYTE, MERGES = 1_000_000, 1_000
SMALL, SMALL_MERGES = 150_000, 500


def the_text() -> tuple[str, str]:
    """A megabyte of ASCII text, and its name."""
    from xor2gpt import data

    try:
        return data.load("tinyshakespeare").text[:MEGABYTE], "tinyshakespeare"
    except data.DataError:
        from xor2gpt.data.synthetic import grammar

        source, text, seed = grammar.Grammar(), "", 0
        while len(text) < MEGABYTE:
            text += source.sample(10_000, seed)
            seed += 1
        return text[:MEGABYTE], "grammar corpus"


# --- the three trainers ---------------------------------------------------------------------------


def recounting(text: str, merges: int) -> list[tuple[int, int]]:
    """Merges as pairs of ids: all pairs of the distinct pieces are counted before every merge."""
    order = {byte: i for i, byte in enumerate(Tokenizer().byte_order)}
    words = [
        ([order[byte] for byte in piece], count) for piece, count in count_pieces(text).items()
    ]
    learned: list[tuple[int, int]] = []
    while len(learned) < merges:
        pairs: Counter[tuple[int, int]] = Counter()
        for word, count in words:
            for pair in zip(word, word[1:], strict=False):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        words = [(_replaced(word, best, 256 + len(learned)), count) for word, count in words]
        learned.append(best)
    return learned


def _replaced(word: list[int], pair: tuple[int, int], new: int) -> list[int]:
    if pair[0] not in word:
        return word
    out, i = [], 0
    while i < len(word):
        if word[i] == pair[0] and i + 1 < len(word) and word[i + 1] == pair[1]:
            out.append(new)
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


def ours(text: str, merges: int) -> Tokenizer:
    return Tokenizer.train(text, 256 + merges)


def theirs(text: str, merges: int) -> Any:
    """Hugging Face's BPE with GPT-2's pieces and all 256 bytes."""
    from tokenizers import Tokenizer as HuggingFace
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = HuggingFace(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merges,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


# --- measuring ------------------------------------------------------------------------------------


class Stopwatch:
    """CPU-seconds of this process by name; calls in turns, garbage collected before each."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def __call__(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        gc.collect()
        began = time.process_time()
        result = call(*arguments)
        self.seconds.setdefault(name, []).append(time.process_time() - began)
        return result

    def median(self, name: str) -> float:
        return median(self.seconds[name])


def must_equal(one: Any, other: Any, what: str) -> None:
    if one != other:
        raise SystemExit(f"{what} differ: the times would compare different things")


def pairs_of(tokenizer: Tokenizer) -> list[tuple[int, int]]:
    return [(tokenizer.token_id(a), tokenizer.token_id(b)) for a, b in tokenizer.merges]


def training(text: str, rounds: int, naive_rounds: int, watch: Stopwatch) -> tuple[Tokenizer, Any]:
    """Train in turns; the slow one in some rounds only. Returns ours and Hugging Face's."""
    ours(text[:1000], 5), theirs(text[:1000], 5)  # imports and compiled patterns
    for turn in range(rounds):
        mine = watch("train ours", ours, text, MERGES)
        other = watch("train huggingface", theirs, text, MERGES)
        if turn < naive_rounds:
            pairs = watch("train recounting", recounting, text, MERGES)
            must_equal(pairs, pairs_of(mine), "the merges of the recounting trainer and ours")
        watch("train ours, small", ours, text[:SMALL], SMALL_MERGES)
        watch("train huggingface, small", theirs, text[:SMALL], SMALL_MERGES)
    merges = json.loads(other.to_str())["model"]["merges"]
    readable = [[printable(left), printable(right)] for left, right in mine.merges]
    must_equal(merges, readable, "the merges of Hugging Face and ours")
    return mine, other


def encoding(text: str, mine: Tokenizer, other: Any, rounds: int, watch: Stopwatch) -> int:
    """Encode in turns. Returns the number of tokens."""
    openai = mine.to_tiktoken()
    ids = mine.encode(text)
    for _ in range(rounds):
        fresh = Tokenizer(mine.merges)  # an empty cache
        must_equal(watch("encode ours, cold", fresh.encode, text), ids, "ids, cold and warm,")
        must_equal(watch("encode ours, warm", mine.encode, text), ids, "ids")
        other_ids = watch("encode huggingface", lambda: other.encode(text).ids)
        must_equal(other_ids, ids, "the ids of Hugging Face and ours")
        must_equal(
            watch("encode tiktoken", openai.encode, text), ids, "the ids of tiktoken and ours"
        )
        must_equal(watch("decode ours", mine.decode, ids), text, "text and decoded text")
    return len(ids)


def figures_of(watch: Stopwatch) -> list[Figure]:
    def speed(name: str) -> float:
        return MEGABYTE / 1e6 / watch.median(name)

    mine = watch.median("train ours")
    return [
        Figure("bpe_train_ratio_vs_naive", mine / watch.median("train recounting"), "1"),
        Figure("bpe_train_ratio_vs_hf", mine / watch.median("train huggingface"), "1"),
        Figure("bpe_train_cpu_seconds_1mb_1000_merges", mine, "s"),
        Figure("bpe_train_cpu_seconds_150kb_500_merges", watch.median("train ours, small"), "s"),
        Figure("bpe_encode_mb_per_s", speed("encode ours, warm"), "MB/s"),
        Figure("bpe_encode_cold_mb_per_s", speed("encode ours, cold"), "MB/s"),
        Figure("bpe_encode_hf_mb_per_s", speed("encode huggingface"), "MB/s"),
        Figure("bpe_encode_tiktoken_mb_per_s", speed("encode tiktoken"), "MB/s"),
        Figure("bpe_decode_mb_per_s", speed("decode ours"), "MB/s"),
    ]


def _versions() -> Mapping[str, str]:
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in ("tokenizers", "tiktoken", "regex")}


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Turns of the fast programs.")] = 9,
    naive_rounds: Annotated[int, typer.Option(min=1, help="Turns of the recounting one.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Instead of benchmarks/results.")] = None,
) -> None:
    """The tokenizer beside Hugging Face's and a trainer that recounts."""
    began, cpu = time.perf_counter(), time.process_time()
    text, name = the_text()
    if not text.isascii():
        raise SystemExit(f"{name} is not ASCII: characters and bytes would differ")
    watch = Stopwatch()
    mine, other = training(text, rounds, min(naive_rounds, rounds), watch)
    tokens = encoding(text, mine, other, rounds, watch)
    figures = figures_of(watch)
    write_result(
        "tokenizer",
        "bpe",
        description=(
            f"Byte-level BPE on {len(text):,} bytes of {name}, GPT-2's pieces, {MERGES:,} merges: "
            "this library (Python), Hugging Face's tokenizers (Rust) and a Python trainer that "
            "counts all pairs of the distinct pieces anew before each merge. In turns in one "
            f"process on one thread, medians of {rounds} rounds ({min(naive_rounds, rounds)} for "
            "the recounting one), CPU-seconds, pieces cut and counted included. Merges and ids "
            "are checked to be equal. Ratios are ours divided by theirs: below 1 is faster. "
            "Encoding is one call for the whole text; warm means that its pieces were seen before."
        ),
        figures=figures,
        measured={
            "text": {"name": name, "bytes": len(text), "tokens": tokens},
            "small": {"bytes": SMALL, "merges": SMALL_MERGES},
            "cpu_seconds": watch.seconds,
            "versions": _versions(),
        },
        seconds={"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu},
        out=out,
    )
    print(figure_lines(figures))


if __name__ == "__main__":
    typer.run(main)
