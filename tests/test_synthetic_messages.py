"""Generated messages: bytes, shares, groups, and a baseline that falls with difficulty."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline

from xor2gpt.data.synthetic.messages import FICTION_AREAS, messages

SHA256 = "810481983f8a82e1642e90274f89730fd7d8971efdb836fd5cbeee8c62854f0a"


def test_bytes_are_pinned():
    made = messages(1000, seed=0)
    lines = "\n".join(
        f"{label}\t{group}\t{kind}\t{text}"
        for text, label, group, kind in zip(
            made.texts, made.labels, made.groups, made.kinds, strict=True
        )
    )
    assert hashlib.sha256(lines.encode()).hexdigest() == SHA256
    assert messages(20, seed=1).texts != messages(20, seed=2).texts


def test_shares_are_what_was_asked_for():
    made = messages(2000, seed=3, exact_copies=0.1, near_copies=0.05)
    assert Counter(made.kinds) == {"original": 1700, "exact": 200, "near": 100}
    originals = np.array(made.kinds) == "original"
    assert made.labels[originals].sum() == 1700 * 13 // 100
    assert messages(200, seed=0, spam_share=0.5, exact_copies=0, near_copies=0).labels.sum() == 100
    copied_spam = made.labels[~originals].mean()
    assert copied_spam > 1.3 * made.labels[originals].mean()  # spam is copied more often


def test_groups_hold_copies_and_nothing_else():
    made = messages(1500, seed=1)
    groups = defaultdict(list)
    for index, group in enumerate(made.groups):
        groups[group].append(index)
    for members in groups.values():
        kinds = [made.kinds[index] for index in members]
        assert kinds.count("original") == 1
        assert len({int(made.labels[index]) for index in members}) == 1
        original = made.texts[members[kinds.index("original")]]
        for index, kind in zip(members, kinds, strict=True):
            if kind == "exact":
                assert made.texts[index] == original
            if kind == "near":
                assert made.texts[index] != original
    originals = [t for t, kind in zip(made.texts, made.kinds, strict=True) if kind == "original"]
    assert len(set(originals)) == len(originals)


def accuracy(difficulty: float) -> float:
    made = messages(2500, seed=0, difficulty=difficulty, spam_share=0.5)
    texts = np.array(made.texts)
    split = GroupShuffleSplit(1, test_size=0.3, random_state=0)
    train, test = next(split.split(texts, made.labels, made.groups))
    assert not set(made.groups[train]) & set(made.groups[test])
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10)
    )
    return model.fit(texts[train], made.labels[train]).score(texts[test], made.labels[test])


def test_a_baseline_falls_with_difficulty():
    easy, usual, hard = (accuracy(d) for d in (0, 0.4, 1))
    assert easy > 0.99
    assert 0.94 < usual < 0.99
    assert 0.8 < hard < usual - 0.03


def test_no_real_number_and_no_real_address():
    made = messages(2000, seed=4, difficulty=1, exact_copies=0, near_copies=0)
    numbers, addresses = [], []
    for text in made.texts:
        numbers += re.findall(r"0\d{3} \d+ \d+", text)
        addresses += re.findall(r"www\.\S+", text.lower())
    assert len(numbers) > 100 and len(addresses) > 100
    for number in numbers:
        area, exchange, last = number.split()
        assert area in FICTION_AREAS and exchange == "496" and re.fullmatch(r"0\d{3}", last)
    assert all(re.match(r"www\.[a-z]+\d\d\.example", address) for address in addresses)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(0, 80),
    seed=st.integers(0, 2**32),
    difficulty=st.floats(0, 1),
    spam=st.floats(0, 1),
)
def test_any_setting_gives_so_many_messages(n, seed, difficulty, spam):
    made = messages(n, seed=seed, difficulty=difficulty, spam_share=spam)
    assert len(made) == len(made.labels) == len(made.groups) == len(made.kinds) == n
    assert all(text.strip() and "{" not in text for text in made.texts)
    assert set(made.labels.tolist()) <= {0, 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"difficulty": 1.5}, "difficulty"),
        ({"spam_share": -0.1}, "spam_share"),
        ({"exact_copies": 0.6, "near_copies": 0.5}, "no original"),
    ],
)
def test_errors_name_the_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        messages(100, seed=0, **arguments)
