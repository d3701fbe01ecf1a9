"""Byte-level BPE: a trainer, an encoder, a decoder, special tokens and open files.

Does: split text into pieces by a regular expression, learn merges from how often byte pairs occur
in the pieces, encode any text or bytes to ids and decode them back without loss; read GPT-2's files
and write them; hand the same vocabulary to tiktoken.
Does not: normalise text (what comes out is what went in), learn anything but BPE, or download by
itself (`Tokenizer.gpt2` asks the registry `xor2gpt.data`).

    from xor2gpt.tokenizer import Tokenizer
    tokenizer = Tokenizer.train(text, vocab_size=1000, special_tokens=["<|endoftext|>"])
    ids = tokenizer.encode("any text")
    assert tokenizer.decode(ids) == "any text"

Source: Sennrich, Haddow and Birch (2016) for BPE on words; Radford et al. (2019) for bytes in place
of characters and for the pattern; the order of ties is that of Hugging Face's ``tokenizers``.
"""

from xor2gpt.tokenizer.gpt2_files import fill_tiktoken_cache
from xor2gpt.tokenizer.pieces import BYTE_ORDERS, PATTERNS, shown
from xor2gpt.tokenizer.tokenizer import Tokenizer
from xor2gpt.tokenizer.trainer import Merge, count_pieces, learn_merges

__all__ = [
    "BYTE_ORDERS",
    "PATTERNS",
    "Merge",
    "Tokenizer",
    "count_pieces",
    "fill_tiktoken_cache",
    "learn_merges",
    "shown",
]
