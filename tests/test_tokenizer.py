"""The tokenizer's own promises: the rule of training, lossless coding, special tokens, files."""

from __future__ import annotations

import copy
import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizer_kit import CORPORA, ENGLISH, naive_merges, plain_merge, strings

from xor2gpt.tokenizer import (
    BYTE_ORDERS,
    PATTERNS,
    Tokenizer,
    count_pieces,
    learn_merges,
    shown,
)
from xor2gpt.tokenizer import encoding as encoding_module
from xor2gpt.tokenizer.encoding import PieceCache, merge
from xor2gpt.tokenizer.pieces import compiled, printable, unprintable

SPECIAL = ["<|endoftext|>", "<|end|>", "<|endof|>", "[PAD]"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CORPORA["all"], 700, special_tokens=SPECIAL)


law = settings(max_examples=60, deadline=None)
small_words = st.dictionaries(
    st.text("ab", min_size=1, max_size=9).map(str.encode), st.integers(1, 6), max_size=8
)


# --- training -------------------------------------------------------------------------------------


def test_overlaps_count_three_and_merge_two() -> None:
    [first, second] = learn_merges({b"aaaa": 5}, 2)
    assert (first.left, first.right, first.count) == (b"a", b"a", 15)
    assert (second.token, second.count) == (b"aaaa", 5)


def test_ties_go_to_the_smallest_ids() -> None:
    counts = {b"zy": 2, b"xy": 2, b"xw": 2, b" x": 2}
    by_value = learn_merges(counts, 4, byte_order=BYTE_ORDERS["value"])
    assert [m.token for m in by_value] == [b" x", b"xw", b"xy", b"zy"]
    gpt2 = learn_merges(counts, 4)  # there the space comes after all letters
    assert [m.token for m in gpt2] == [b"xw", b"xy", b"zy", b" x"]


@law
@given(small_words, st.sampled_from(["gpt2", "value"]), st.integers(1, 3))
@example({b"aaaaaaa": 1, b"aabaab": 2}, "gpt2", 1)
def test_counts_kept_up_to_date_equal_counting_anew(
    counts: dict[bytes, int], order: str, least: int
) -> None:
    found = learn_merges(counts, 12, byte_order=BYTE_ORDERS[order], min_count=least)
    assert [tuple(m) for m in found] == naive_merges(counts, 12, BYTE_ORDERS[order], least)


def test_counting_anew_agrees_on_prose() -> None:
    counts = count_pieces(CORPORA["all"])
    found = learn_merges(counts, 150)
    assert [tuple(m) for m in found] == naive_merges(counts, 150, BYTE_ORDERS["gpt2"])


@settings(law, max_examples=300)
@given(small_words)
def test_no_token_is_made_twice(counts: dict[bytes, int]) -> None:
    tokens = [m.token for m in learn_merges(counts, 50, min_count=1)]
    assert len(set(tokens)) == len(tokens)


def test_training_stops_where_no_pair_is_left() -> None:
    assert learn_merges({b"abc": 1}, 10) == []
    assert [m.token for m in learn_merges({b"abc": 1}, 10, min_count=1)] == [b"ab", b"abc"]
    assert learn_merges({}, 10) == []
    assert Tokenizer.train("", 300).vocab_size == 256


def test_pieces_are_counted_over_all_texts() -> None:
    assert count_pieces(["a b", "b a"]) == Counter({b"a": 1, b" b": 1, b"b": 1, b" a": 1})
    assert count_pieces("a<x>a", special_tokens=["<x>"]) == Counter({b"a": 2})
    assert count_pieces(iter(["no no", " no"])) == Counter({b" no": 2, b"no": 1})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: learn_merges({b"ab": 1}, -1), "number -1"),
        (lambda: learn_merges({b"ab": 1}, 1, min_count=0), "min_count 0"),
        (lambda: learn_merges({b"ab": 1}, 1, byte_order=range(255)), "each of the 256"),
        (lambda: Tokenizer.train("ab", 256, special_tokens=["<x>"]), "need 257"),
        (lambda: Tokenizer.train("ab", 300, special_tokens=["<x>", "<x>"]), "twice"),
        (lambda: Tokenizer.train("ab", 300, special_tokens="<x>"), "sequence of texts"),
        (lambda: Tokenizer.train("ab", 300, special_tokens=[""]), "cannot be empty"),
        (lambda: Tokenizer.train("ab", 300, pattern="("), "no regular expression"),
        (lambda: Tokenizer.train("ab", 300, byte_order="abc"), "use one of"),
        (lambda: Tokenizer.train("a\ud800b", 300), r"U\+D800 at position 1"),
        (lambda: Tokenizer([(b"a", b"b"), (b"a", b"b")]), "merge 1 makes b'ab'"),
        (lambda: Tokenizer([(b"ab", b"c")]), "no token yet"),
        (lambda: Tokenizer(special_tokens={"<x>": 3}), "ids start at 256"),
        (lambda: Tokenizer(special_tokens={"<x>": 256, "<y>": 256}), "share an id"),
        (lambda: Tokenizer().first_merges(1), "has 0"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- coding ---------------------------------------------------------------------------------------


@law
@given(st.text())
@example("a\x00b \x85\u2028 \u200d\ufeff")
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, disallowed_special=())
    assert tokenizer.decode(ids, errors="strict") == text
    assert all(0 <= i < tokenizer.vocab_size for i in ids)
    assert b"".join(tokenizer.tokens(text)) == text.encode()
    assert "".join(tokenizer.pieces(text)) == text


@law
@given(st.binary())
@example(b"\xff\xfe a\x80\xc3")
@example(b"\xed\xa0\x80")  # how UTF-8 would write a surrogate: not valid
def test_any_bytes_come_back(tokenizer: Tokenizer, data: bytes) -> None:
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


@law
@given(st.text())
def test_valid_bytes_are_encoded_like_their_text(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode_bytes(text.encode()) == tokenizer.encode_ordinary(text)


def test_seeded_strings_come_back(tokenizer: Tokenizer) -> None:
    for text in strings(2000, seed=1):
        assert tokenizer.decode(tokenizer.encode_ordinary(text), errors="strict") == text


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
@law
@given(text=st.text())
def test_every_pattern_covers_every_text(pattern: str, text: str) -> None:
    assert "".join(compiled(PATTERNS[pattern]).findall(text)) == text


@pytest.mark.parametrize("text", ["\ud83d", "fine \udc00 and then"])
def test_lone_surrogates_are_refused_with_a_remedy(tokenizer: Tokenizer, text: str) -> None:
    for call in (tokenizer.encode, tokenizer.encode_ordinary, tokenizer.tokens, tokenizer.pieces):
        with pytest.raises(ValueError, match=r"lone surrogate.*surrogatepass"):
            call(text)
    repaired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert tokenizer.decode(tokenizer.encode(repaired)) == repaired


def test_bytes_are_not_text(tokenizer: Tokenizer) -> None:
    with pytest.raises(TypeError, match="encode_bytes"):
        tokenizer.encode(b"abc")


@law
@given(st.text("abn ", min_size=1, max_size=60).map(str.encode))
@example(b"a" * 60)
def test_the_heap_merges_as_the_rule_says(tokenizer: Tokenizer, piece: bytes) -> None:
    for ranks in (tokenizer._ranks, Tokenizer.train("aaaa bab anna banana " * 3, 290)._ranks):
        assert merge(ranks, piece) == plain_merge(ranks, piece)


def test_merging_goes_by_rank_not_by_position() -> None:
    tokenizer = Tokenizer([(b"b", b"c"), (b"a", b"b")])
    assert [tokenizer.token_bytes(i) for i in tokenizer.encode("abc")] == [b"a", b"bc"]


def test_a_long_piece_is_no_trap(tokenizer: Tokenizer) -> None:
    """Quadratic code would take minutes here."""
    text = "na" * 50_000
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_cache_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding_module, "CACHED_PIECES", 3)
    tokenizer = Tokenizer.train(ENGLISH, 300)
    expected = Tokenizer.train(ENGLISH, 300).encode(ENGLISH)
    assert tokenizer.encode(ENGLISH) == tokenizer.encode(ENGLISH) == expected
    assert len(tokenizer._cache) <= 3
    cache = PieceCache(tokenizer._ranks)
    assert cache["x" * 61] and not cache


def test_decoding_looks_at_every_id(tokenizer: Tokenizer) -> None:
    for wrong in (-1, tokenizer.vocab_size, 10**9):
        with pytest.raises(ValueError, match=f"{wrong} is no id"):
            tokenizer.decode([65, wrong])


def test_decoding_takes_arrays_and_tensors(tokenizer: Tokenizer) -> None:
    import torch

    ids = tokenizer.encode("The bell rings.")
    for given_ids in (tuple(ids), iter(ids), np.array(ids, dtype=np.uint16), torch.tensor(ids)):
        assert tokenizer.decode(given_ids) == "The bell rings."


def test_half_a_character() -> None:
    tokenizer = Tokenizer()
    ids = tokenizer.encode("é🙂")
    assert tokenizer.decode(ids[:-1]) == "é\ufffd"
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode(ids[:-1], errors="strict")
    assert list(tokenizer.decode_stream(ids)) == ["", "é", "", "", "", "🙂"]
    assert list(tokenizer.decode_stream(ids[:-1]))[-1] == "\ufffd"


@law
@given(st.text())
def test_the_stream_adds_up_to_the_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode_ordinary(text)
    assert "".join(tokenizer.decode_stream(ids)) == text


# --- special tokens -------------------------------------------------------------------------------


def test_special_tokens_need_permission(tokenizer: Tokenizer) -> None:
    text = "one<|endoftext|>two"
    special = tokenizer.token_id("<|endoftext|>")
    with pytest.raises(ValueError, match=r"'<\|endoftext\|>' at position 3.*allowed_special"):
        tokenizer.encode(text)
    for allowed in ("all", {"<|endoftext|>"}):
        ids = tokenizer.encode(text, allowed_special=allowed)
        assert ids == [*tokenizer.encode("one"), special, *tokenizer.encode("two")]
        assert tokenizer.decode(ids) == text
    plain = tokenizer.encode(text, disallowed_special=())
    assert special not in plain and tokenizer.decode(plain) == text
    assert tokenizer.encode(text, disallowed_special=["[PAD]"]) == plain
    with pytest.raises(ValueError, match="endoftext"):
        tokenizer.encode(text, allowed_special={"[PAD]"})


@law
@given(st.lists(st.sampled_from([*SPECIAL, "<|", "|>", "endoftext", "a", " "]), max_size=8))
def test_plain_encoding_never_makes_a_special_id(tokenizer: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    special = set(tokenizer.special_tokens.values())
    for ids in (
        tokenizer.encode_ordinary(text),
        tokenizer.encode(text, disallowed_special=()),
        tokenizer.encode_bytes(text.encode()),
    ):
        assert not special & set(ids)
        assert tokenizer.decode(ids) == text


@law
@given(st.lists(st.sampled_from([*SPECIAL, "one ", "two"]), max_size=8))
def test_all_allowed_cuts_at_each(tokenizer: Tokenizer, parts: list[str]) -> None:
    ids = tokenizer.encode("".join(parts), allowed_special="all")
    assert tokenizer.decode(ids) == "".join(parts)
    wanted = [tokenizer.special_tokens[part] for part in parts if part in SPECIAL]
    assert [i for i in ids if i in set(tokenizer.special_tokens.values())] == wanted


def test_the_longest_special_token_wins() -> None:
    tokenizer = Tokenizer(special_tokens=["<a", "<ab>"])
    assert tokenizer.encode("<ab>", allowed_special="all") == [257]
    assert tokenizer.encode("<ac", allowed_special="all") == [256, *tokenizer.encode("c")]


def test_special_tokens_of_unknown_names(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="does not have"):
        tokenizer.encode("a", allowed_special={"<|im_start|>"})
    with pytest.raises(ValueError, match="collection of texts"):
        tokenizer.encode("a", disallowed_special="[PAD]")
    with pytest.raises(ValueError, match="no special token"):
        tokenizer.token_id("<|im_start|>")
    with pytest.raises(ValueError, match="no token"):
        tokenizer.token_id(b"not there")


def test_training_does_not_look_into_special_tokens() -> None:
    tokenizer = Tokenizer.train("ab<|sep|>" * 50, 300, special_tokens=["<|sep|>"])
    assert [left + right for left, right in tokenizer.merges] == [b"ab"]


def test_ids_with_a_gap() -> None:
    tokenizer = Tokenizer(special_tokens={"<x>": 300})
    assert tokenizer.vocab_size == 301
    with pytest.raises(ValueError, match="299 is no id"):
        tokenizer.decode([299])


# --- what it is, files ----------------------------------------------------------------------------


def test_first_merges_are_the_tokenizer_as_it_grew(tokenizer: Tokenizer) -> None:
    lengths = [len(tokenizer.first_merges(k).encode(ENGLISH)) for k in (0, 1, 10, 100, 440)]
    assert lengths[0] == len(ENGLISH.encode()) and lengths == sorted(lengths, reverse=True)
    small = tokenizer.first_merges(7)
    assert small.merges == tokenizer.merges[:7] and small.vocab_size == 256 + 7 + len(SPECIAL)
    assert list(small.special_tokens) == list(tokenizer.special_tokens)


@pytest.mark.parametrize("order", ["gpt2", "value"])
def test_saved_and_loaded(tmp_path: Path, order: str) -> None:
    tokenizer = Tokenizer.train(CORPORA["all"], 400, special_tokens=["<|x|>"], byte_order=order)
    path = tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(path)
    assert loaded == tokenizer and loaded.vocab_size == 400
    assert loaded.encode(CORPORA["all"]) == tokenizer.encode(CORPORA["all"])
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]
    content = json.loads(path.read_text(encoding="utf-8"))
    assert set(content) == {
        "format", "version", "pattern", "byte_order", "merges", "special_tokens"
    }  # fmt: skip
    assert Tokenizer.train("x", 256) != tokenizer


def test_the_order_of_the_bytes() -> None:
    assert Tokenizer(byte_order="value").encode("A ") == [65, 32]
    assert Tokenizer().encode("A! ") == [32, 0, 220]  # as in GPT-2's encoder.json


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, '"format"'),
        ({"version": 2}, "reads version 1"),
        ({"merges": "a b"}, '"merges" must hold a list'),
        ({"merges": ["a b", "ab"]}, 'merge 1 must be a string "left right"'),
        ({"merges": ["a b", 5]}, "merge 1"),
        ({"merges": ["a 中"]}, "byte alphabet"),
        ({"byte_order": "abc"}, "each of the 256 bytes once"),
        ({"special_tokens": {"<x>": "7"}}, "ids start at 257"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, change: dict, message: str) -> None:
    path = Tokenizer([(b"a", b"b")]).save(tmp_path / "t.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message) as error:
        Tokenizer.load(path)
    assert "t.json" in str(error.value)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"t\.json is no tokenizer file"):
        Tokenizer.load(path)


def test_copies_are_equal_and_carry_no_cache(tokenizer: Tokenizer) -> None:
    tokenizer.encode(ENGLISH)
    for copied in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert copied == tokenizer and not copied._cache
        assert copied.encode(ENGLISH) == tokenizer.encode(ENGLISH)
    assert "V = 700" in repr(tokenizer) and "[PAD]" in repr(tokenizer)


def test_printable_bytes_go_both_ways() -> None:
    every = bytes(range(256))
    assert unprintable(printable(every)) == every
    assert all(c.isprintable() and not c.isspace() for c in printable(every))
    assert printable(b" a\n") == "ĠaĊ"
    assert (
        shown(b" a\n") == "␣a⏎" and shown(b"\xe5\xa4") == "E5 A4" and shown(b"\x00") == "<U+0000>"
    )
