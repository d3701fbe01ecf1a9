"""The tokenizer beside tiktoken and Hugging Face's ``tokenizers``, and GPT-2's own vocabulary."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken
import tiktoken_ext.openai_public as openai
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_kit import CORPORA, ENGLISH, huggingface_trained, readable, strings

from xor2gpt import data
from xor2gpt.tokenizer import PATTERNS, Tokenizer, fill_tiktoken_cache, gpt2_files

law = settings(max_examples=60, deadline=None)
SPECIAL = ["<|endoftext|>", "<|pad|>"]


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return Tokenizer.train(CORPORA["all"], 800, special_tokens=SPECIAL)


@pytest.fixture(scope="module")
def twin(trained: Tokenizer) -> tiktoken.Encoding:
    return trained.to_tiktoken()


# --- tiktoken, with our own vocabulary ------------------------------------------------------------


def test_the_patterns_are_those_of_tiktoken() -> None:
    assert PATTERNS["gpt2"] == openai.r50k_pat_str
    assert PATTERNS["gpt4"] in Path(openai.__file__).read_text(encoding="utf-8")


@law
@given(st.text())
def test_tiktoken_gives_the_same_ids(
    trained: Tokenizer, twin: tiktoken.Encoding, text: str
) -> None:
    assert trained.encode_ordinary(text) == twin.encode_ordinary(text)


def test_tiktoken_gives_the_same_ids_on_seeded_strings(
    trained: Tokenizer, twin: tiktoken.Encoding
) -> None:
    assert twin.n_vocab == trained.vocab_size
    for text in strings(3000, seed=2):
        for allowed in ("all", {"<|pad|>"}, set()):
            ids = trained.encode(text, allowed_special=allowed, disallowed_special=())
            assert ids == twin.encode(text, allowed_special=allowed, disallowed_special=())
        assert trained.decode(ids) == twin.decode(ids) == text


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
@pytest.mark.parametrize("order", ["gpt2", "value"])
def test_every_pattern_and_order_agrees(pattern: str, order: str) -> None:
    tokenizer = Tokenizer.train(CORPORA["all"], 500, pattern=pattern, byte_order=order)
    twin = tokenizer.to_tiktoken("own")
    assert twin.name == "own"
    for text in [*CORPORA.values(), *strings(300, seed=3)]:
        assert tokenizer.encode_ordinary(text) == twin.encode_ordinary(text)


@law
@given(
    st.dictionaries(st.text("ab", min_size=1, max_size=8), st.integers(1, 5), max_size=6),
    st.text("ab", max_size=40),
)
def test_small_alphabets_agree(counts: dict[str, int], text: str) -> None:
    """Two letters make the most overlaps and the most ways to the same token."""
    corpus = " ".join(word for word, count in counts.items() for _ in range(count))
    tokenizer = Tokenizer.train(corpus, 276, min_count=1)
    assert tokenizer.encode(text) == tokenizer.to_tiktoken().encode(text)


# --- Hugging Face ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_huggingface_learns_the_same_merges(name: str) -> None:
    theirs = json.loads(huggingface_trained([CORPORA[name]], 400).to_str())["model"]["merges"]
    ours = Tokenizer.train(CORPORA[name], 656)
    assert len(theirs) > 10 and readable(ours.merges) == theirs


@law
@given(
    st.lists(st.text(st.sampled_from("ab 日é\n'1."), max_size=30), min_size=1, max_size=8),
)
def test_huggingface_learns_the_same_merges_from_anything(texts: list[str]) -> None:
    theirs = json.loads(huggingface_trained(texts, 40).to_str())["model"]["merges"]
    assert readable(Tokenizer.train(texts, 296).merges) == theirs


def test_huggingface_encodes_the_same(trained: Tokenizer) -> None:
    theirs = huggingface_trained([CORPORA["all"]], 800 - 256 - len(SPECIAL))
    assert readable(trained.merges) == json.loads(theirs.to_str())["model"]["merges"]
    for text in [*CORPORA.values(), *strings(2000, seed=4)]:
        assert trained.encode_ordinary(text) == theirs.encode(text).ids


def test_huggingface_reads_our_files(trained: Tokenizer, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as HuggingFace
    from tokenizers import models, pre_tokenizers

    merges, ids = trained.save_gpt2_files(tmp_path)
    theirs = HuggingFace(models.BPE.from_file(str(ids), str(merges)))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert theirs.encode(ENGLISH).ids == trained.encode(ENGLISH)
    assert theirs.token_to_id("<|pad|>") == trained.token_id("<|pad|>")
    assert Tokenizer.from_gpt2_files(merges, ids) == trained


# --- GPT-2 ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """GPT-2's files from the mirror, in a cache of this module's own."""
    if not os.environ.get("XOR2GPT_MIRROR"):
        pytest.skip("XOR2GPT_MIRROR is not set: GPT-2's files are not here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XOR2GPT_DATA", str(tmp_path_factory.mktemp("data")))
        try:
            folder = Path(data.fetch("gpt2-bpe"))
        except data.DataError as error:
            pytest.skip(f"the mirror does not hold GPT-2's files: {error}")
        yield folder


def _files(folder: Path) -> tuple[Path, Path]:
    return folder / "vocab.bpe", folder / "encoder.json"


@pytest.fixture(scope="module")
def gpt2(gpt2_folder: Path) -> Tokenizer:
    return Tokenizer.gpt2()


@pytest.fixture(scope="module")
def openai_gpt2(gpt2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tiktoken.Encoding:
    """tiktoken's own GPT-2, read from a cache that we filled."""
    cache = fill_tiktoken_cache(tmp_path_factory.mktemp("tiktoken"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        return tiktoken.Encoding(**openai.gpt2())


def test_gpt2_is_complete(gpt2: Tokenizer) -> None:
    assert gpt2.vocab_size == 50_257 and len(gpt2.merges) == 50_000
    assert gpt2.special_tokens == {"<|endoftext|>": 50_256}
    assert gpt2.encode("Hello, I am") == [15496, 11, 314, 716]
    assert gpt2.encode("someunknownPlace") == [11246, 34680, 27271]
    assert gpt2.encode("大模型") == [32014, 162, 101, 94, 161, 252, 233]
    assert gpt2.encode("<|endoftext|>", allowed_special="all") == [50_256]


def test_gpt2_equals_tiktoken_on_25000_strings(
    gpt2: Tokenizer, openai_gpt2: tiktoken.Encoding
) -> None:
    assert openai_gpt2.n_vocab == gpt2.vocab_size
    texts = sorted(set(strings(27_000, seed=5)))
    assert len(texts) >= 25_000
    theirs = openai_gpt2.encode_ordinary_batch(texts, num_threads=1)
    for text, ids in zip(texts, theirs, strict=True):
        assert gpt2.encode_ordinary(text) == ids, text
        assert gpt2.decode(ids) == text


@settings(max_examples=500, deadline=None)
@given(text=st.text(max_size=80))
def test_gpt2_equals_tiktoken_on_anything(
    gpt2: Tokenizer, openai_gpt2: tiktoken.Encoding, text: str
) -> None:
    assert gpt2.encode(text, allowed_special="all") == openai_gpt2.encode(
        text, allowed_special="all"
    )


def test_gpt2_equals_tiktoken_on_prose(gpt2: Tokenizer, openai_gpt2: tiktoken.Encoding) -> None:
    for text in CORPORA.values():
        assert gpt2.encode(text) == openai_gpt2.encode(text)
    text = data.load("tinyshakespeare").text
    assert gpt2.encode(text) == openai_gpt2.encode(text)


def test_gpt2_files_are_written_as_they_were(
    gpt2: Tokenizer, gpt2_folder: Path, tmp_path: Path
) -> None:
    merges, ids = gpt2.save_gpt2_files(tmp_path)
    theirs = _files(gpt2_folder)
    assert merges.read_bytes() == theirs[0].read_bytes()
    assert json.loads(ids.read_text()) == json.loads(theirs[1].read_text(encoding="utf-8"))


def test_gpt2_as_a_file_of_ours(gpt2: Tokenizer, tmp_path: Path) -> None:
    assert Tokenizer.load(gpt2.save(tmp_path / "gpt2.json")) == gpt2


# --- GPT-2's files without GPT-2 ------------------------------------------------------------------


@pytest.fixture
def small_files(trained: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our own vocabulary in GPT-2's files, as if the registry had fetched it."""
    trained.save_gpt2_files(tmp_path)
    monkeypatch.setattr(gpt2_files, "fetch", lambda: _files(tmp_path))
    return tmp_path


def test_gpt2_comes_from_the_registry(small_files: Path, trained: Tokenizer) -> None:
    assert Tokenizer.gpt2() == trained


def test_tiktokens_cache_is_filled_under_its_names(
    small_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    assert fill_tiktoken_cache() == tmp_path / "cache"
    names = {
        "6d1cbeee0f20b3d9449abfede4726ed8212e3aee": "vocab.bpe",
        "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6": "encoder.json",
    }
    for sha1, name in names.items():
        assert hashlib.sha1(gpt2_files.ADDRESSES[name].encode()).hexdigest() == sha1
        cached = tmp_path / "cache" / sha1
        assert cached.read_bytes() == (small_files / name).read_bytes()
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.setenv("DATA_GYM_CACHE_DIR", str(tmp_path / "gym"))
    assert gpt2_files.tiktoken_cache() == tmp_path / "gym"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    with pytest.raises(ValueError, match="switches tiktoken's cache off"):
        fill_tiktoken_cache()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("vocab.bpe", lambda text: text.replace("\n", "\nbad\n", 1), "line 2"),
        ("encoder.json", lambda text: text.replace('"!": 0', '"!": 9999'), "id 0"),
        ("encoder.json", lambda text: text.replace(": 300,", ": 9999,"), "do not belong together"),
    ],
)
def test_files_that_contradict_each_other(small_files: Path, name, change, message) -> None:
    path = small_files / name
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_gpt2_files(*_files(small_files))
