"""Generated instructions: bytes, answers computed a second way, disjoint splits."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xor2gpt.data.synthetic import instructions as module
from xor2gpt.data.synthetic.instructions import (
    FAMILIES,
    answer_is_right,
    instructions,
    split_of,
    train_test,
)

SHA256 = "bf8c379edc23a40f0f8dae3c8b9696f4de239bdb32cccc88ef738323ea130a9b"
CLOSED = {"opposite", "plural", "past tense"}


@pytest.fixture(scope="module")
def parts():
    return train_test(6000, 2000, seed=0)


def test_bytes_are_pinned(parts):
    text = json.dumps([part[:500] for part in parts], sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == SHA256
    assert instructions(30, seed=1) != instructions(30, seed=2)


def test_entries_have_alpacas_fields(parts):
    assert len(FAMILIES) == 21
    for entry in parts[0]:
        assert {"instruction", "input", "output", "family"} <= set(entry)
        assert entry["instruction"] and entry["output"] and "{" not in entry["instruction"]
    counts = Counter(entry["family"] for entry in parts[1])
    assert set(counts) == set(FAMILIES) and max(counts.values()) - min(counts.values()) <= 1


def combination(entry: dict) -> tuple:
    name, arguments = entry["family"], entry["arguments"]
    if name in ("sort words", "sort numbers", "addition", "compare numbers"):
        arguments = sorted(arguments)
    return (name, *arguments, *([entry["phrasing"]] if name in CLOSED else []))


def test_train_and_test_share_no_combination(parts):
    train, test = ({combination(entry) for entry in part} for part in parts)
    assert train and test and not train & test
    other_train, other_test = train_test(3000, 3000, seed=99)
    assert not train & {combination(entry) for entry in other_test}
    assert not test & {combination(entry) for entry in other_train}


def test_no_prompt_is_in_both_parts(parts):
    def prompts(part):
        return {(entry["instruction"], entry["input"]) for entry in part}

    assert not prompts(parts[0]) & prompts(parts[1])


def test_words_of_closed_lists_keep_phrasings_for_training():
    for family, pairs in (("plural", module.PLURALS), ("past tense", module.PASTS)):
        held_out = 0
        for word, _ in pairs:
            where = [split_of(family, [word], phrasing) for phrasing in range(3)]
            assert where.count("train") >= 2
            held_out += where.count("test")
        assert 0.1 < held_out / (3 * len(pairs)) < 0.32


def test_a_fifth_of_the_combinations_is_for_the_test():
    found = [split_of("addition", [str(a), str(b)]) for a in range(50) for b in range(a, 50)]
    assert found.count("test") / len(found) == pytest.approx(0.2, abs=0.03)
    assert split_of("addition", ["3", "4"]) == split_of("addition", ["4", "3"])


def test_answers_are_right_computed_from_what_is_shown(parts):
    """Each answer again, from the text of the entry only."""
    seen = Counter()
    for entry in parts[0][:3000] + parts[1][:1500]:
        expected = solve(entry)
        if expected is not None:
            assert entry["output"] == expected, entry
            seen[entry["family"]] += 1
    assert set(seen) == set(FAMILIES) - CLOSED


def solve(entry: dict) -> str | None:
    shown = entry["input"] or entry["instruction"]
    arguments = entry["arguments"]
    assert all(part.lower() in shown.lower() for part in arguments)
    match entry["family"]:
        case "spelling":
            return "".join(f"{c}-" for c in arguments[0])[:-1]
        case "reverse":
            return "".join(reversed(arguments[0]))
        case "uppercase":
            return " ".join(word.upper() for word in arguments)
        case "lowercase":
            assert " ".join(arguments).upper() in shown
            return " ".join(arguments).lower()
        case "sort words":
            a, b, c = arguments
            return next(
                f"{x} {y} {z}"
                for x, y, z in ((a, b, c), (a, c, b), (b, a, c), (b, c, a), (c, a, b), (c, b, a))
                if x <= y <= z
            )
        case "sort numbers":
            return " ".join(str(n) for n in sorted(int(a) for a in arguments))
        case "count letters":
            return str(sum(1 for _ in arguments[0]))
        case "count a letter":
            return str(sum(c == arguments[0] for c in arguments[1]))
        case "addition":
            return str(sum(map(int, arguments)))
        case "subtraction":
            assert int(arguments[0]) >= int(arguments[1])
            return str(int(arguments[0]) - int(arguments[1]))
        case "compare numbers":
            a, b = map(int, arguments)
            return str(a if a > b else b)
        case "date format":
            day = datetime.date.fromisoformat(arguments[0])
            return f"{day.day} {day.strftime('%B')} {day.year}"
        case "extract number":
            return next(word for word in shown.split() if word.isdigit())
        case "extract name":
            return next(word for word in shown.split() if word in module.NAMES)
        case "extract e-mail":
            return next(word for word in shown.split() if "@" in word)
        case "repeat":
            return " ".join(arguments[0] for _ in range(int(arguments[1])))
        case "first word":
            return arguments[0]
        case "last word":
            return arguments[-1]
    return None


def test_closed_lists_have_one_answer_a_word():
    for pairs in (module.OPPOSITES, module.PLURALS, module.PASTS):
        left = [word for word, _ in pairs]
        assert len(left) == len(set(left))
    both = [word for pair in module.OPPOSITES for word in pair]
    doubled = {word for word in both if both.count(word) > 1}
    assert not doubled


def test_an_answer_may_have_spaces_and_a_full_stop():
    entry = {"output": "a-b"}
    for right in ("a-b", " a-b\n", "a-b.", "a-b ."):
        assert answer_is_right(entry, right)
    for wrong in ("", "A-B", "ab", "a-b-", "a-b..", "The answer is a-b"):
        assert not answer_is_right(entry, wrong)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), split=st.sampled_from(["train", "test"]))
def test_every_entry_is_on_its_side_and_answers_itself(seed, split):
    for entry in instructions(21, seed=seed, split=split):
        assert split_of(entry["family"], entry["arguments"], entry["phrasing"]) == split
        assert answer_is_right(entry, entry["output"])


def test_two_families_only():
    found = instructions(10, seed=0, families=("reverse", "addition"))
    counts = defaultdict(int)
    for entry in found:
        counts[entry["family"]] += 1
    assert counts == {"reverse": 5, "addition": 5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, "'dev'"),
        ({"families": ("poetry",)}, "poetry"),
        ({"families": ()}, "no such family"),
    ],
)
def test_errors_name_the_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        instructions(5, seed=0, **arguments)
    with pytest.raises(ValueError, match="-1"):
        instructions(-1, seed=0)
