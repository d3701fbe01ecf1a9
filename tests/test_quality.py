"""The quality report: definitions, planted faults found, clean texts left alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xor2gpt.data import quality
from xor2gpt.data.quality import (
    KINDS,
    PLANTABLE,
    Thresholds,
    check_quality,
    encoding_faults,
    jaccard,
    normalise_text,
    plant_faults,
    repetition,
    scripts,
    shingles,
)
from xor2gpt.data.synthetic.grammar import Grammar
from xor2gpt.data.synthetic.messages import messages


@pytest.fixture(scope="module")
def clean() -> list[str]:
    """Three sentences each: long enough that chance near duplicates do not occur."""
    lines = Grammar().sample(900, seed=5).splitlines()
    return [" ".join(lines[start : start + 3]) for start in range(0, 900, 3)]


def found(text: str) -> set[str]:
    return {fault.kind for fault in check_quality([text]).faults}


def test_clean_texts_have_no_fault(clean):
    report = check_quality(clean)
    assert report.faults == () and report.groups == ()
    assert report.lengths["min"] <= report.lengths["median"] <= report.lengths["max"]


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_planted_faults_are_found_with_precision_and_recall(clean, seed):
    planted = plant_faults(clean, seed, each=8)
    report = check_quality(planted.texts)
    for kind in PLANTABLE:
        truth = {fault.index for fault in planted.faults if fault.kind == kind}
        seen = set(report.indices(kind))
        assert len(truth) == 8
        assert len(truth & seen) / len(truth) == 1, kind  # recall
        assert len(truth & seen) / len(seen) == 1, kind  # precision
    damaged = {fault.index for fault in planted.faults}
    assert set(report.indices()) == damaged


def test_copies_name_their_origin(clean):
    planted = plant_faults(clean, 3, each=6, kinds=("exact duplicate", "near duplicate"))
    report = check_quality(planted.texts)
    assert len(planted.texts) == len(clean) + 12
    assert {(f.index, f.other) for f in planted.faults} == {
        (f.index, f.other) for f in report.faults
    }
    assert set(report.groups) == {(f.other, f.index) for f in planted.faults}
    assert plant_faults(clean, 3).texts == plant_faults(clean, 3).texts


def test_duplicates_of_messages_are_found():
    """Against the generator's groups; templates make cousins, so the limit is set higher."""
    made = messages(1200, seed=0)
    report = check_quality(made.texts, Thresholds(near=0.85))
    place = {index: number for number, group in enumerate(report.groups) for index in group}
    first = {}
    together = total = 0
    for index, group in enumerate(made.groups):
        if group in first:
            total += 1
            together += place.get(index, -1) == place.get(first[group], -2)
        else:
            first[group] = index
    assert total > 100 and together / total > 0.95


# --- encoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["café", "naïve", "5 € – “fine”", "日本語", "Größe", "привет", "🙂", "ça"]
)
@pytest.mark.parametrize("wrong", ["cp1252", "latin-1"])
def test_mojibake_is_seen_and_the_right_text_is_not(text, wrong):
    try:
        broken = text.encode("utf-8").decode(wrong)
    except UnicodeDecodeError:  # Windows-1252 leaves five bytes undefined; browsers keep them
        broken = "".join(
            chr(b) if b in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([b]).decode(wrong)
            for b in text.encode("utf-8")
        )
    assert "mojibake" in encoding_faults(broken)
    assert encoding_faults(text) == {}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a\ufffdb", "replacement character"),
        ("a\x00b", "control character"),
        ("a\x85b", "control character"),
        ("a\rb", "control character"),
        ("a\ud800b", "surrogate"),
        ("a\udfffb", "surrogate"),
    ],
)
def test_encoding_faults(text, kind):
    assert set(encoding_faults(text)) == {kind}


@pytest.mark.parametrize("text", ["a\tb\nc", "a\r\nb", "Ãlvaro", "Âge", "50 °C ± 2", "Â", ""])
def test_what_is_no_fault(text):
    assert encoding_faults(text) == {}


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_checked(text):
    report = check_quality([text, text])
    json.dumps(report.plain())
    assert isinstance(report.table(), str)
    if normalise_text(text) and len(text.strip()) >= 10:
        assert "exact duplicate" in {fault.kind for fault in report.faults}


# --- repetition, scripts, lengths -----------------------------------------------------------------


def test_repetition_by_hand():
    # "abcabcabc" in runs of 3: abc bca cab abc bca cab abc: 3 of 7 are new
    assert repetition("abcabcabc", 3) == pytest.approx(4 / 7)
    assert repetition("abcdefghijkl") == 0
    assert repetition("") == repetition("a") == 0
    assert repetition("hahahahahaha") > 0.4


def test_repetition_works_without_spaces():
    chinese = "今天天气很好，我们去公园散步，看到很多花和鸟，然后回家吃饭。"
    assert "repetition" not in found(chinese)
    assert "repetition" in found("我喜欢学习机器学习。" * 5)
    words = ("我喜欢学习机器学习。" * 5).split()
    assert len(words) == len(set(words)) == 1  # what a test of words sees


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=40), st.integers(1, 9))
def test_repetition_is_a_share_and_grows_with_copies(text, width):
    assert 0 <= repetition(text, width) < 1
    once, many = normalise_text(text), normalise_text((text + " ") * 6)
    if len(once) >= 3 * width:
        assert repetition(many, width) >= repetition(once, width)


def test_scripts():
    assert scripts("abc 123") == {"LATIN": 3}
    assert scripts("漢字 かな Ж") == {"CJK": 2, "HIRAGANA": 2, "CYRILLIC": 1}
    report = check_quality(["Plain English text here.", "今天天气很好我们去公园散步"])
    assert report.indices("foreign script") == [1]
    assert report.scripts["LATIN"] == 20


def test_lengths_and_limits():
    report = check_quality(["", " \n", "short", "x" * 20, "long enough to be fine"])
    assert report.indices("empty") == [0, 1]
    assert report.indices("short") == [2]
    assert report.indices("repetition") == [3]
    long = check_quality(["abcdefghij klm"], Thresholds(longest=12, shortest=4))
    assert long.counts()["long"] == 1
    assert check_quality([]).counts() == dict.fromkeys(KINDS, 0)


# --- duplicates -----------------------------------------------------------------------------------


def test_exact_duplicates_ignore_case_width_and_spaces():
    report = check_quality(["The cat sat down.", "THE  cat sat down. ", "Ｔhe cat sat down."])
    assert [(f.index, f.other) for f in report.faults if f.kind == "exact duplicate"] == [
        (1, 0),
        (2, 0),
    ]
    assert report.groups == ((0, 1, 2),)


def test_jaccard_and_shingles_by_hand():
    assert shingles("ABCD", 2) == {"ab", "bc", "cd"}
    assert shingles("ab", 5) == {"ab"} and shingles(" ", 5) == frozenset()
    assert jaccard(frozenset("abc"), frozenset("bcd")) == 0.5
    assert jaccard(frozenset(), frozenset()) == 1


def test_minhash_agrees_with_all_pairs(clean):
    """Every pair above the limit by brute force is found, and nothing else."""
    planted = plant_faults(clean[:120], 1, each=12, kinds=("near duplicate",))
    sets = [shingles(text) for text in planted.texts]
    limit = Thresholds().near
    pairs = {
        (a, b)
        for a in range(len(sets))
        for b in range(a + 1, len(sets))
        if jaccard(sets[a], sets[b]) >= limit
    }
    report = check_quality(planted.texts)
    assert {(f.other, f.index) for f in report.faults if f.kind == "near duplicate"} == pairs


def test_minhash_estimates_jaccard():
    first, second = shingles("abcdefghijklmnopqrst", 3), shingles("abcdefghijklmnopqrXY", 3)
    a, b = quality._signatures([first, second])
    assert (a == b).mean() == pytest.approx(jaccard(first, second), abs=0.15)


# --- the report and its errors --------------------------------------------------------------------


def test_the_report_is_plain_data_and_a_table(clean):
    report = check_quality(plant_faults(clean, 0, each=2).texts)
    plain = json.loads(json.dumps(report.plain()))
    assert plain["counts"]["mojibake"] == 2
    table = report.table()
    assert all(kind in table for kind in KINDS)
    assert max(map(len, table.encode("ascii", "backslashreplace").splitlines())) < 300


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_quality([b"bytes"]), TypeError, "text 0 is a bytes"),
        (lambda: check_quality([]).indices("typo"), ValueError, "typo"),
        (lambda: Thresholds(shortest=5, longest=3), ValueError, "shortest 5"),
        (lambda: Thresholds(near=0), ValueError, "near"),
        (lambda: Thresholds(shingle=0), ValueError, "shingle"),
        (lambda: plant_faults(["x" * 50], 0), ValueError, "50 texts"),
        (lambda: plant_faults([], 0, kinds=("typo",)), ValueError, "typo"),
    ],
)
def test_errors_name_the_value(call, error, message):
    with pytest.raises(error, match=message):
        call()
