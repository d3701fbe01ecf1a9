"""What the tokenizer's tests share: texts, seeded strings, and slow but obvious twins."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from xor2gpt.tokenizer.pieces import printable

ENGLISH = (
    "The bell of the small station rings twice, and nobody looks up. A porter pushes his cart past "
    "the clock, past the bench where the two old friends sit, past the door that never shuts. "
    "It's ten past four; the train isn't late yet. They'll wait, they've waited before.\n\n"
    '"You said three o\'clock," says one. "I said about three," says the other.   \n'
    "In 1987 the line had 24 trains a day; now there're 3.\n"
)
CHINESE = (
    "小站的钟响了两下，没有人抬头。搬运工推着车走过时钟，走过两位老朋友坐着的长椅，"
    "走过那扇总是关不上的门。四点十分了；火车还不算晚点。他们会等的，以前也等过。\n"
    "一九八七年，这条线路每天有二十四趟车，现在只有三趟。\n"
)
CODE = (
    "def merge(ids, pair, new_id):\n"
    '    """Replace every pair of neighbours."""\n'
    "    out, i = [], 0\n"
    "    while i < len(ids):\n"
    "        if ids[i:i + 2] == list(pair):\n"
    "            out.append(new_id)\n"
    "            i += 2\n"
    "        else:\n"
    "            out.append(ids[i]); i += 1\n"
    "    return out\n\n\tif x != 0x1F and y_2 >= 3.14e-10:  # tabs\n"
)
EMOJI = "🙂🙂 👍🏽 👩‍👩‍👧 🇨🇭🇨🇳 ❤️ :-) ¯\\_(ツ)_/¯ 🚂💨…\n"
OTHERS = (
    "Größe, Fußgänger, naïveté, İstanbul, Čeština. Привет, мир! Γειά σου. שלום עולם. مرحبا ١٢٣. "
    "नमस्ते दुनिया। สวัสดีชาวโลก 안녕하세요 세계, こんにちは世界。\u00a0\u3000 x² + ½ = Ⅷ ①\r\n"
)
CORPORA = {
    "English": ENGLISH * 3,
    "Chinese": CHINESE * 3,
    "code": CODE * 3,
    "emoji": EMOJI * 5,
    "others": OTHERS * 3,
    "all": (ENGLISH + CHINESE + CODE + EMOJI + OTHERS) * 2,
}

_BLOCKS = [
    (0x20, 0x7E), (0x20, 0x7E), (0x09, 0x0D), (0x1C, 0x20), (0xA0, 0x17F), (0x370, 0x3FF),
    (0x400, 0x4FF), (0x5D0, 0x5EA), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F),
    (0x2000, 0x206F), (0x20A0, 0x22FF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0xFE00, 0xFE0F), (0x1F300, 0x1FAFF), (0x1F1E6, 0x1F1FF), (0x1D400, 0x1D7FF),
    (0x20000, 0x2A6DF), (0x300, 0x36F), (0xE000, 0xE0FF), (0x10FF00, 0x10FFFF), (0x0, 0x1F),
]  # fmt: skip
_SCRAPS = ["'s", "'ll", "'T", " '", "  ", "\n\n", " \n", "\t", "123", " 9", "--", "...", "the ",
           " of", "ing", "_", "0x", "<|endoftext|>", "\u200d", "\ufe0f", "\x00",
           "\u00a0"]  # fmt: skip


def strings(number: int, seed: int) -> Iterator[str]:
    """Strings in many scripts: random characters, scraps, slices of prose."""
    rng = random.Random(seed)
    prose = CORPORA["all"]
    for _ in range(number):
        parts = []
        for _ in range(rng.randint(1, 6)):
            kind = rng.random()
            if kind < 0.4:
                low, high = rng.choice(_BLOCKS)
                parts += [chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8))]
            elif kind < 0.7:
                parts.append(rng.choice(_SCRAPS))
            else:
                start = rng.randrange(len(prose))
                parts.append(prose[start : start + rng.randint(1, 30)])
        yield "".join(parts)


def naive_merges(
    counts: Mapping[bytes, int], number: int, byte_order: tuple[int, ...], min_count: int = 1
) -> list[tuple[bytes, bytes, int]]:
    """BPE as the rule says it: count every pair anew before every merge."""
    ids = {bytes([byte]): i for i, byte in enumerate(byte_order)}
    words = {tuple(bytes([byte]) for byte in piece): count for piece, count in counts.items()}
    merges = []
    for _ in range(number):
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:], strict=False):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]))
        if pairs[best] < min_count:
            break
        merges.append((*best, pairs[best]))
        ids[best[0] + best[1]] = len(ids)
        words = {_replaced(word, best): count for word, count in words.items()}
    return merges


def _replaced(word: tuple[bytes, ...], pair: tuple[bytes, bytes]) -> tuple[bytes, ...]:
    out, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def plain_merge(ranks: Mapping[bytes, int], piece: bytes) -> list[int]:
    """Encoding as the rule says it: look at all neighbours before every merge."""
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while len(parts) > 1:
        found = [
            (ranks[a + b], i)
            for i, (a, b) in enumerate(zip(parts, parts[1:], strict=False))
            if a + b in ranks
        ]
        if not found:
            break
        _, i = min(found)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [ranks[part] for part in parts]


def huggingface_trained(texts: list[str], merges: int) -> Any:
    """A ``tokenizers.Tokenizer`` (GPT-2's pieces, all 256 bytes) trained on the texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merges,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def readable(merges: Any) -> list[list[str]]:
    """Merges in the printable alphabet, as they stand in Hugging Face's files."""
    return [[printable(merge[0]), printable(merge[1])] for merge in merges]
