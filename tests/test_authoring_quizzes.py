"""Quiz banks: what is right is read, and what is wrong is named by file, question and field."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from course_kit import ROOT

from autograder.authoring import quizzes
from autograder.authoring.quizzes import QuizError, load

COMMON = {"objective": "O3.1", "source": ["part1.md 4"], "prompt": "Why?", "explanation": "So."}
QUESTIONS = {
    "single": COMMON
    | {
        "options": [
            {"text": "$1$", "correct": True, "feedback": "Yes."},
            {"text": "$2$", "correct": False, "feedback": "No."},
        ]
    },
    "multiple": COMMON
    | {
        "options": [
            {"text": "a", "correct": True, "feedback": "Yes."},
            {"text": "b", "correct": True, "feedback": "Yes."},
            {"text": "c", "correct": False, "feedback": "No."},
        ]
    },
    "numeric": COMMON
    | {
        "answer": 0.25,
        "tolerance": 0.001,
        "unit": "bits",
        "near": [{"value": 0.5, "tolerance": 0.01, "feedback": "Twice."}],
        "feedback": "Compute again.",
    },
    "fill": COMMON
    | {
        "prompt": "A {{1}} has {{2}} sides.",
        "blanks": [
            {"accept": ["square", "rectangle"], "feedback": "Four corners."},
            {"accept": ["4", "four"], "feedback": "Count."},
        ],
    },
    "matching": COMMON
    | {
        "pairs": [
            {"left": "a", "right": "A", "feedback": "Capital."},
            {"left": "b", "right": "B", "feedback": "Capital."},
        ],
        "distractors": ["C"],
    },
    "ordering": COMMON | {"items": ["one", "two", "three"], "feedback": "Count."},
}


def bank() -> dict:
    questions = [
        {"id": f"q3.{k}", "type": kind} | copy.deepcopy(fields)
        for k, (kind, fields) in enumerate(QUESTIONS.items(), start=1)
    ]
    return {"stage": "03_x", "title": "Quiz", "questions": questions}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(data: object, name: str = "03_x") -> Path:
        path = tmp_path / "book" / "quizzes" / f"{name}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_every_type_is_read_with_the_names_of_the_file(write) -> None:
    got = load(write(bank()))
    assert (got.stage, got.title) == ("03_x", "Quiz")
    assert got.ids() == {f"q3.{k}" for k in range(1, 7)}
    single, multiple, numeric, fill, matching, ordering = got.questions
    assert [type(q).__name__ for q in got.questions] == [
        "Choice",
        "Choice",
        "Numeric",
        "Fill",
        "Matching",
        "Ordering",
    ]
    assert single.options[0] == quizzes.Option(text="$1$", correct=True, feedback="Yes.")
    assert [option.correct for option in multiple.options] == [True, True, False]
    assert (numeric.answer, numeric.tolerance, numeric.unit) == (0.25, 0.001, "bits")
    assert numeric.near[0].feedback == "Twice."
    assert fill.blanks[1].accept == ["4", "four"]
    assert matching.pairs[1].right == "B" and matching.distractors == ["C"]
    assert ordering.items == ["one", "two", "three"]
    assert single.source == ["part1.md 4"] and single.objective == "O3.1"


def test_the_optional_fields_may_be_left_out(write) -> None:
    data = bank()
    for name in ("unit", "near"):
        del data["questions"][2][name]
    del data["questions"][4]["distractors"]
    got = load(write(data))
    assert got.questions[2].near == [] and got.questions[2].unit is None
    assert got.questions[4].distractors == []


def test_only_banks_of_pages_have_no_objectives(write) -> None:
    data = bank()
    del data["questions"][0]["objective"]
    data["questions"][1]["objective"] = "D2"
    with pytest.raises(QuizError, match="question 'q3.1': field 'objective': is missing"):
        load(write(data))
    got = load(write(data | {"stage": "diagnostics"}, name="diagnostics"))
    assert got.questions[0].objective is None


Change = Callable[[dict], object]
WRONG: list[tuple[str, Change, str]] = [
    ("no stage", lambda b: b.pop("stage"), "03_x.yml: field 'stage': is missing"),
    ("another stage", lambda b: b.update(stage="04_y"), "field 'stage': '04_y' is not the file's"),
    ("no title", lambda b: b.pop("title"), "field 'title': is missing"),
    ("a field of the bank", lambda b: b.update(titel="x"), "field 'titel': is not known here"),
    ("no questions", lambda b: b.update(questions=[]), "field 'questions': has 0 entries"),
    ("questions in a mapping", lambda b: b.update(questions={}), "must be a list, not dict"),
    ("a question that is text", lambda b: b["questions"].append("?"), "questions[6]: a mapping"),
    ("an id twice", lambda b: b["questions"][1].update(id="q3.1"), "'q3.1' is used twice"),
    ("an id with a space", lambda b: b["questions"][1].update(id="q 2"), "lower-case words"),
    ("an unknown type", lambda b: b["questions"][0].update(type="essay"), "'essay' is none of"),
    ("an odd objective", lambda b: b["questions"][0].update(objective="3.1"), "look like O3.2"),
    ("no source", lambda b: b["questions"][0].update(source=[]), "'q3.1': field 'source': has 0"),
    ("an empty prompt", lambda b: b["questions"][0].update(prompt=" "), "'prompt': is empty"),
    ("a prompt read as a flag", lambda b: b["questions"][0].update(prompt=True), "put it in quot"),
    ("no explanation", lambda b: b["questions"][0].pop("explanation"), "'explanation': is missi"),
    ("a misspelt field", lambda b: b["questions"][0].update(hint="x"), "'hint': is not known"),
    ("no feedback", lambda b: b["questions"][0]["options"][1].pop("feedback"),
     "question 'q3.1': options[1]: field 'feedback': is missing"),
    ("one option", lambda b: b["questions"][0]["options"].pop(), "has 1 entries, at least 2"),
    ("two right options", lambda b: b["questions"][0]["options"][1].update(correct=True),
     "2 are correct; a 'single' question has exactly one"),
    ("no right option", lambda b: [o.update(correct=False) for o in b["questions"][1]["options"]],
     "question 'q3.2': field 'options': none is correct"),
    ("correct as text", lambda b: b["questions"][0]["options"][0].update(correct="yes"),
     "must be true or false, not 'yes'"),
    ("an option twice", lambda b: b["questions"][0]["options"][1].update(text="$1$"),
     "'$1$' occurs 2 times"),
    ("an answer in words", lambda b: b["questions"][2].update(answer="half"), "is not a number"),
    ("a number YAML reads as text", lambda b: b["questions"][2].update(tolerance="1e-3"),
     "YAML wants 0.001 or 1.0e-3"),
    ("an infinite answer", lambda b: b["questions"][2].update(answer=float("inf")), "finite"),
    ("a negative tolerance", lambda b: b["questions"][2].update(tolerance=-1), "at least 0"),
    ("a near answer that is right", lambda b: b["questions"][2]["near"][0].update(value=0.2505),
     "near[0]: field 'value': 0.2505 counts as right"),
    ("a gap too many", lambda b: b["questions"][3].update(prompt="{{1}} {{2}} {{3}}"),
     "question 'q3.4': field 'prompt': holds the gaps [1, 2, 3], but there are 2 blanks"),
    ("a gap twice", lambda b: b["questions"][3].update(prompt="{{1}} {{1}}"), "gaps [1, 1]"),
    ("a gap inside inline code", lambda b: b["questions"][3].update(prompt="`a = {{1}}` {{2}}"),
     "question 'q3.4': field 'prompt': gap {{1}} stands inside code"),
    ("a gap inside double backticks",
     lambda b: b["questions"][3].update(prompt="{{1}} ``a ` {{2}}``"), "gap {{2}} stands inside"),
    ("a gap inside code of two lines", lambda b: b["questions"][3].update(prompt="`{{1}}\n` {{2}}"),
     "gap {{1}} stands inside"),
    ("a gap inside a fence",
     lambda b: b["questions"][3].update(prompt="{{1}}:\n\n```python\nx = {{2}}\n```\n"),
     "gap {{2}} stands inside"),
    ("a gap inside a fence that nothing closes",
     lambda b: b["questions"][3].update(prompt="{{1}}:\n\n~~~\nx = {{2}}"), "gap {{2}} stands"),
    ("a number among the accepted", lambda b: b["questions"][3]["blanks"][1].update(accept=[4]),
     "blanks[1]: field 'accept[0]': 4 is read as int: put it in quotes"),
    ("one pair", lambda b: b["questions"][4]["pairs"].pop(), "field 'pairs': has 1 entries"),
    ("two lefts alike", lambda b: b["questions"][4]["pairs"][1].update(left="a"), "'a' occurs 2"),
    ("a distractor that is right", lambda b: b["questions"][4].update(distractors=["A"]),
     "'A' occurs 2 times"),
    ("two items", lambda b: b["questions"][5]["items"].pop(), "has 2 entries, at least 3"),
    ("an item twice", lambda b: b["questions"][5].update(items=["a", "b", "a"]), "'a' occurs 2"),
]  # fmt: skip


@pytest.mark.parametrize("change, words", [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_what_is_wrong_is_named(write, change: Change, words: str) -> None:
    data = bank()
    change(data)
    with pytest.raises(QuizError) as caught:
        load(write(data))
    assert words in str(caught.value)
    assert str(caught.value).startswith("book/quizzes/03_x.yml:")


@pytest.mark.parametrize(
    "prompt",
    [
        "`a =` {{1}} `+ b`, `c =` {{2}}",
        "`f(`{{1}}`)`{{2}}",
        "``a ` b`` {{1}} `` ` `` {{2}}",
        "```text\nx = 1\n```\n\n{{1}} is `x`\n\n~~~\n`\n~~~\n\n{{2}}",
        "A lone ` {{1}}\n\n ends ` with its paragraph: {{2}}",
        "\\`{{1}}\\` and {{2}}",
    ],
)
def test_a_gap_beside_code_is_fine(write, prompt: str) -> None:
    data = bank()
    data["questions"][3].update(prompt=prompt)
    assert load(write(data)).questions[3].prompt == prompt


@pytest.mark.parametrize(
    "text, words",
    [
        ("stage: [", "line 1 is not valid YAML"),
        ("stage: 03_x\nstage: 03_x\n", "the key 'stage' is written twice"),
        ("- a\n", "a mapping"),
        ("!!python/object:os.system {}", "is not valid YAML"),
    ],
)
def test_broken_yaml_is_named(write, text: str, words: str) -> None:
    with pytest.raises(QuizError, match=f"book/quizzes/03_x.yml:.*{words}"):
        load(write(text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(QuizError, match="x.yml: cannot be read: No such file"):
        load(tmp_path / "x.yml")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "book" / "quizzes").glob("*.yml")), ids=lambda p: p.stem
)
def test_every_bank_of_the_book_can_be_read(path: Path) -> None:
    assert load(path).questions
