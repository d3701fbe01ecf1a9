"""The lint: the small course is clean, and each of many breakages is found where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import nbformat
import pytest
from course_kit import Course

from autograder.authoring.lint import RULES, lint
from autograder.authoring.stage import StageError

NOTEBOOK = "solutions/01_lines/01_lines.ipynb"
MUTANTS = "tests/mutants/01_lines.py"
QUIZ = "book/quizzes/01_lines.yml"


@dataclass(frozen=True)
class Breakage:
    """One way to break the fixture, and what the lint must say about it."""

    name: str
    rule: str
    place: str  # a cell's id, or a file
    words: str
    do: Callable[[Course], object]
    also: set[str] = field(default_factory=set)  # other rules that it breaks, rightly


def edit(cell: str, old: str, new: str) -> Callable[[Course], object]:
    return lambda course: course.edit(cell, old, new)


def edit_file(name: str, old: str, new: str) -> Callable[[Course], object]:
    return lambda course: course.edit_file(name, old, new)


def cell(cell_id: str, change: Callable) -> Callable[[Course], object]:
    return lambda course: course.change_cell(cell_id, change)


def drop(*ids: str) -> Callable[[Course], object]:
    def change(notebook):
        notebook.cells = [c for c in notebook.cells if c.id not in ids]

    return lambda course: course.change(change)


def move_to_front(cell_id: str) -> Callable[[Course], object]:
    def change(notebook):
        notebook.cells.sort(key=lambda c: c.id != cell_id)

    return lambda course: course.change(change)


def put(*path: str, value) -> Callable:
    """Set an entry of a cell's metadata."""

    def change(node):
        place = node.metadata
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def output(kind: str, **fields) -> Callable:
    return lambda node: node.outputs.append(nbformat.v4.new_output(kind, **fields))


def lesson_code(source: str, after: str) -> Callable[[Course], object]:
    """Insert an executed code cell ``extra`` behind a cell."""

    def change(notebook):
        index = [c.id for c in notebook.cells].index(after)
        notebook.cells.insert(index + 1, nbformat.v4.new_code_cell(source, id="extra"))
        count = 0
        for node in notebook.cells:
            if node.cell_type == "code":
                count += 1
                node.execution_count = count

    return lambda course: course.change(change)


BREAKAGES = [
    # the four examples of the acceptance list come first (the fourth is in test_release.py)
    Breakage("an end marker is deleted", "markers", "predict", "never closed",
             edit("predict", "    ### END SOLUTION", "")),
    Breakage("a begin marker is deleted", "markers", "predict", "without '### BEGIN SOLUTION'",
             edit("predict", "    ### BEGIN SOLUTION\n", "")),
    Breakage("both markers are deleted", "markers", "predict", "would show the answer",
             lambda c: (c.edit("predict", "    ### BEGIN SOLUTION\n", ""),
                        c.edit("predict", "\n    ### END SOLUTION", ""))),
    Breakage("a name that a check uses is renamed", "free-names", "mse-check-1", "uses 'mse'",
             edit("mse", "def mse", "def error")),
    Breakage("a check has no message", "assert-message", "step-check-1", "has no message",
             edit("step-check-1", ', (\n    "step moves the wrong way or too far: go against the '
                  'gradient, by rate times it"\n)', "")),
    # markers
    Breakage("a marker is misspelt", "markers", "predict", "almost a marker",
             edit("predict", "### BEGIN SOLUTION", "### BEGIN SOLUTIONS")),
    Breakage("a stub line is misspelt", "markers", "step", "almost a marker",
             edit("step", "### STUB return", "### Stub return"), {"amount", "syntax"}),
    Breakage("a stub line is outside", "markers", "predict", "outside",
             edit("predict", "    ### BEGIN", "    ### STUB pass\n    ### BEGIN")),
    Breakage("hidden tests are opened twice", "markers", "mse-check-2", "still open",
             edit("mse-check-2", "### BEGIN HIDDEN TESTS", "### BEGIN HIDDEN TESTS\n" * 2)),
    Breakage("a check has no hidden part", "markers", "predict-check-1", "BEGIN HIDDEN TESTS",
             edit("predict-check-1", "### BEGIN HIDDEN TESTS\n", ""), {"hidden-part"}),
    Breakage("a solution marker in a lesson cell", "markers", "loss-demo", "role answer",
             edit("loss-demo", "print", "### BEGIN SOLUTION\n### END SOLUTION\nprint")),
    Breakage("a manual question without a mark scheme", "markers", "why-minus", "BEGIN MARK",
             lambda c: (c.edit("why-minus", "### BEGIN MARK SCHEME\n", ""),
                        c.edit("why-minus", "\n### END MARK SCHEME", ""))),
    # code
    Breakage("an answer is no Python", "syntax", "mse", "reference is no Python",
             edit("mse", "(p - y) ** 2))", "(p - y) ** 2)"), {"mutants"}),
    Breakage("a stub is no Python", "syntax", "step", "stub is no Python",
             edit("step", "### STUB return w", "### STUB return return w")),
    Breakage("the seed is gone", "prelude", "prelude", "GRADING_SEED is not set",
             edit("prelude", "GRADING_SEED = 1", ""), {"free-names"}),
    Breakage("the prelude imports the answers", "prelude", "prelude", "xor2gpt.autograd",
             edit("prelude", "import checking", "import autograd, checking")),
    Breakage("the prelude imports everything", "prelude", "prelude", "import *",
             edit("prelude", "import numpy as np", "import numpy as np\nfrom math import *")),
    Breakage("an answer imports its twin", "prelude", "mse", "xor2gpt.autograd",
             edit("mse", "    return float", "    import xor2gpt.autograd\n    return float")),
    Breakage("a check uses another exercise", "free-names", "gradient-check-1", "exercise 'mse'",
             edit("gradient-check-1", "got = gradient(", "mse([1], [1])\ngot = gradient(")),
    Breakage("a check uses a demo's name, in a comprehension", "free-names", "mse-check-2", "'fig'",
             edit("mse-check-2", "got = mse(", "axes = [fig for _ in range(2)]\ngot = mse(")),
    Breakage("a check uses a demo's name, in a function", "free-names", "mse-check-2", "'ax'",
             edit("mse-check-2", "got = mse(", "def probe():\n    return ax\n\n\ngot = mse(")),
    Breakage("an answer uses another answer", "answer-names", "gradient", "uses 'predict'",
             edit("gradient", "w * x + b - y", "predict(x, w, b) - y")),
    Breakage("a stub uses a demo's name", "answer-names", "step", "uses 'fig'",
             edit("step", "### STUB return", "### STUB fig\n    ### STUB return")),
    Breakage("a demo redefines a prelude name", "shadow", "loss-demo", "defines 'xs'",
             edit("loss-demo", "print", "xs = xs + 1\nprint")),
    Breakage("a check redefines an answer", "shadow", "step-check-1", "defines 'predict'",
             edit("step-check-1", "got =", "predict = None\ngot =")),
    Breakage("two answers define one name", "shadow", "gradient", "which cell 'mse' defines",
             edit("gradient", "    return dw, db\n    ### END SOLUTION",
                  "    return dw, db\n    ### END SOLUTION\n\n\ndef mse():\n    pass")),
    Breakage("the lesson uses a check's leftovers", "leftovers", "extra", "uses 'got'",
             lesson_code("print(got)", after="mse-check-2")),
    Breakage("a check reads a file", "black-box", "mse-check-1", "calls open",
             edit("mse-check-1", "got =", "open('x')\ngot =")),
    Breakage("a check looks at the clock", "black-box", "mse-check-1", "imports time",
             edit("mse-check-1", "got =", "import time\ngot =")),
    Breakage("a check uses the prelude's os", "black-box", "mse-check-1", "uses os",
             lambda c: (c.edit("prelude", "import numpy", "import os\n\nimport numpy"),
                        c.edit("mse-check-1", "got =", "os.getcwd()\ngot ="))),
    Breakage("a check captures what is printed", "black-box", "mse-check-1", "redirect_stdout",
             edit("mse-check-1", "got =", "from contextlib import redirect_stdout\ngot =")),
    Breakage("a check loads an array from disk", "black-box", "mse-check-1", ".load",
             edit("mse-check-1", "got =", "np.load('x.npy')\ngot =")),
    Breakage("a check draws without a seed", "black-box", "mse-check-1", "no seed",
             edit("mse-check-1", "default_rng(GRADING_SEED)", "default_rng()"), {"hidden-part"}),
    Breakage("a check draws from a global generator", "black-box", "mse-check-1", "np.random.rand",
             edit("mse-check-1", "got =", "np.random.rand(2)\ngot =")),
    Breakage("an empty message", "assert-message", "mse-check-2", "says too little",
             edit("mse-check-2", '"mse of equal arrays is not 0: subtract first"', '""')),
    Breakage("a message of one word", "assert-message", "mse-check-2", "says too little",
             edit("mse-check-2", '"mse of equal arrays is not 0: subtract first"', '"wrong"')),
    Breakage("a message shows a hidden value", "hidden-values", "mse-check-1", "shows 'p'",
             edit("mse-check-1", '"mse is wrong on random', 'f"{p} mse is wrong on random')),
    Breakage("a message formats a hidden value", "hidden-values", "mse-check-1", "shows 'y'",
             edit("mse-check-1", 'number of elements?"', 'number of {} elements?".format(y)')),
    Breakage("a message computes with the seed", "hidden-values", "mse-check-2", "GRADING_SEED",
             edit("mse-check-2", '"mse of equal random', 'f"{GRADING_SEED + 1} mse of random')),
    Breakage("the visible part asserts nothing", "hidden-part", "step-check-1", "visible part",
             edit("step-check-1", "assert checking.close(got, [0.0, 3.0], atol=1e-9), (",
                  "message = (")),
    Breakage("the visible part uses the seed", "hidden-part", "step-check-1", "visible part uses",
             edit("step-check-1", "got = step(1.0", "GRADING_SEED\ngot = step(1.0")),
    Breakage("the hidden part has a fixed seed", "hidden-part", "step-check-1", "memorised",
             edit("step-check-1", "default_rng(GRADING_SEED)", "default_rng(7)")),
    Breakage("the hidden part asserts nothing", "hidden-part", "mse-check-2", "any answer",
             edit("mse-check-2",
                  "assert checking.close(mse(p.copy(), p.copy()), 0.0, atol=1e-12), (", "_ = (")),
    Breakage("a check ends with a number", "last-line", "mse-check-2", "bare expression",
             edit("mse-check-2", "### END HIDDEN TESTS", "0.5\n### END HIDDEN TESTS")),
    # structure
    Breakage("another stage's name", "metadata", NOTEBOOK, "xor2gpt.stage",
             lambda c: c.change(lambda n: n.metadata.xor2gpt.update(stage="02_other"))),
    Breakage("never measured", "metadata", NOTEBOOK, "never measured",
             lambda c: c.change(lambda n: n.metadata.xor2gpt.pop("measured"))),
    Breakage("too slow", "metadata", NOTEBOOK, "CPU-seconds",
             lambda c: c.change(lambda n: n.metadata.xor2gpt.measured.update(cpu_seconds=61.0))),
    Breakage("another kernel", "metadata", NOTEBOOK, "kernel",
             lambda c: c.change(lambda n: n.metadata.kernelspec.update(name="myenv"))),
    Breakage("a grade_id of its own", "ids", "step-check-1", "must be the cell's id",
             cell("step-check-1", put("nbgrader", "grade_id", value="cell-4711"))),
    Breakage("an id that is no word", "ids", "Idea_1", "lower-case words",
             cell("idea", lambda node: node.update(id="Idea_1"))),
    Breakage("a check that is not locked", "roles", "step-check-1", "nbgrader's locked",
             cell("step-check-1", put("nbgrader", "locked", value=False))),
    Breakage("a check without points", "roles", "step-check-1", "add points=",
             cell("step-check-1", put("nbgrader", "points", value=0)), {"task-text"}),
    Breakage("graded cells without a role", "roles", "step-check-1", "no role",
             cell("step-check-1", lambda node: node.metadata.pop("xor2gpt")),
             {"exercises", "mutants", "markers", "amount", "task-text"}),
    Breakage("a task without minutes", "roles", "mse-task", "minutes=",
             cell("mse-task", lambda node: node.metadata.xor2gpt.pop("minutes")), {"task-text"}),
    Breakage("an unknown tag", "tags", "idea", "'import' is unknown",
             cell("idea", lambda node: node.metadata.update(tags=["import"]))),
    Breakage("a check that is a demo", "tags", "mse-check-1", "no other role",
             cell("mse-check-1", lambda node: node.metadata.update(tags=["demo"]))),
    Breakage("no conventions", "required-cells", NOTEBOOK, "no cell 'conventions'",
             drop("conventions")),
    Breakage("terms before the rest", "required-cells", NOTEBOOK, "in the order",
             move_to_front("terms")),
    Breakage("code before the prelude", "required-cells", "extra", "before the prelude",
             lesson_code("1 + 1;", after="retrieval")),
    Breakage("an exercise without a check", "exercises", "step-task", "has no check",
             drop("step-check-1"), {"mutants", "amount", "task-text", "executed"}),
    Breakage("an exercise without a task", "exercises", "step", "0 cells with the role task",
             drop("step-task"), {"amount", "links", "task-text"}),
    Breakage("three stars first", "amount", "predict-task", "has one star",
             lambda c: (c.change_cell("predict-task", put("xor2gpt", "stars", value=2)),
                        c.edit("predict-task", "★", "★★"))),
    Breakage("too much for three stars", "amount", NOTEBOOK, "three stars",
             lambda c: (c.change_cell("mse-task", put("xor2gpt", "stars", value=3)),
                        c.edit("mse-task", "★★", "★★★"))),
    Breakage("nothing to debug", "amount", NOTEBOOK, "find a bug",
             edit("step-task", "Find the bug\n", "Write it\n")),
    Breakage("no manual question", "amount", NOTEBOOK, "0 manual questions",
             drop("why-minus", "why-minus-answer")),
    Breakage("an objective without a check", "objectives", "objectives", "O1.5",
             edit("objectives", "- **O1.4**", "- **O1.5** You can dance.\n- **O1.4**"),
             {"objectives"}),
    Breakage("a check without a known objective", "objectives", "mse-check-1", "'O1.9'",
             cell("mse-check-1", put("xor2gpt", "objective", value="O1.9")), {"task-text"}),
    Breakage("three objectives", "objectives", "objectives", "3 objectives",
             edit("objectives", "- **O1.4** You can say why a step goes against the gradient.", ""),
             {"objectives", "mutants"}),
    Breakage("no mutants", "mutants", MUTANTS, "is missing",
             lambda c: (c.root / MUTANTS).unlink()),
    Breakage("too few mutants", "mutants", MUTANTS, "has 2 wrong answers",
             edit_file(MUTANTS, "NBGRADER = [", 'MUTANTS["step"].pop(1)\nNBGRADER = [')),
    Breakage("a mutant with an unknown objective", "mutants", MUTANTS, "'O2.1'",
             edit_file(MUTANTS, 'objective="O1.4"', 'objective="O2.1"')),
    Breakage("a question with an unknown objective", "quiz", QUIZ, "question 'q1.2'",
             edit_file(QUIZ, "objective: O1.2", "objective: O2.2")),
    Breakage("a quiz without feedback", "quiz", QUIZ, "feedback",
             edit_file(QUIZ, ', feedback: "The offset is missing."', "")),
    Breakage("no quiz", "quiz", QUIZ, "cannot be read", lambda c: (c.root / QUIZ).unlink()),
    # text
    Breakage("the title's number", "title", "title", "# Stage 1:",
             edit("title", "# Stage 1:", "# Stage 7:")),
    Breakage("no time in the title", "title", "title", "'Minutes'",
             edit("title", "| Minutes | 30 |\n", "")),
    Breakage("the heading's stars", "task-text", "mse-task", "shows 1 stars",
             edit("mse-task", "★★", "★")),
    Breakage("the heading's number", "task-text", "mse-task", "numbered 1.3",
             edit("mse-task", "Exercise 1.2", "Exercise 1.3")),
    Breakage("the heading's form", "task-text", "mse-task", "starts with",
             edit("mse-task", "### Exercise 1.2", "## Task 1.2")),
    Breakage("the text's points", "task-text", "mse-task", "2 points, the cells sum to 3",
             edit("mse-task", "3 points", "2 points")),
    Breakage("the text's minutes", "task-text", "mse-task", "6 minutes, the cell 5",
             edit("mse-task", "*5 minutes", "*6 minutes")),
    Breakage("the text's objective", "task-text", "mse-task", "names O1.1",
             edit("mse-task", "O1.2", "O1.1")),
    Breakage("two hints", "hints", "step-task", "2 hints",
             edit("step-task", "<details><summary>Hint 2: plan</summary>Print the numbers, all of "
                  "shape (), before and after.</details>\n", "")),
    Breakage("a third hint without a hole", "hints", "step-task", "no hole",
             edit("step-task", "___", "-")),
    Breakage("a hint without a name", "hints", "step-task", "no <summary>",
             edit("step-task", "<summary>Hint 1: where</summary>", "")),
    Breakage("a mark scheme without a zero", "manual-question", "why-minus", "zero",
             edit("why-minus", '**0 points:** "Because of the formula."', "")),
    Breakage("nowhere to answer", "manual-question", "why-minus", "the next cell",
             drop("why-minus-answer")),
    Breakage("an answer to nothing", "manual-question", "idea", "no manual question before",
             cell("idea", lambda node: node.metadata.update(tags=["answer"]))),
    Breakage("two items to recall", "retrieval", "retrieval", "2 numbered items",
             edit("retrieval", "3. What is the derivative", "What is the derivative")),
    Breakage("a prediction that is spoilt", "predict", "guess", "hide-output",
             cell("loss-demo", lambda node: node.metadata.update(tags=["demo"]))),
    Breakage("a belief about an unknown mutant", "misconceptions", "misconceptions", "'mse/total'",
             edit("misconceptions", "`mse/sum`", "`mse/total`")),
    Breakage("a belief without a mutant", "misconceptions", "misconceptions", "names no mutant",
             edit("misconceptions", "`mse/sum`", "none")),
    Breakage("terms in one language", "terms", "terms", "Chinese",
             edit("terms", "梯度", "pendiente")),
    Breakage("a dead link", "links", "remember", "leads nowhere",
             edit("remember", "01_lines.md", "02_curves.md")),
    Breakage("a dead anchor in a page", "links", "title", "term-curve",
             edit("title", "#term-line", "#term-curve")),
    Breakage("an unknown citation", "links", "idea", "minsky1969",
             edit("idea", "#rumelhart1986", "#minsky1969")),
    Breakage("a dead anchor in the notebook", "links", "misconceptions", "#mse-exercise",
             edit("misconceptions", "(#mse-task)", "(#mse-exercise)")),
    Breakage("a picture on another host", "links", "idea", "another host",
             edit("idea", "## A line", "![A line](https://example.org/line.png)\n\n## A line")),
    Breakage("a link out of the repository", "links", "idea", "leaves the repository",
             edit("idea", "## A line", "[x](../../../secret.md)\n\n## A line")),
    Breakage("a plot without alt text", "alt-text", "line-plot", 'alt="…"',
             cell("line-plot", lambda node: node.metadata.pop("mystnb"))),
    Breakage("a Markdown picture without alt text", "alt-text", "idea", "has no alt text",
             edit("idea", "## A line", "![](../../book/glossary.md)\n\n## A line")),
    Breakage("somebody's folder in a source", "paths", "idea", "/home/ada",
             edit("idea", "## A line", "Look into /home/ada/data.\n\n## A line")),
    Breakage("somebody's folder in an output", "paths", "loss-demo", "/Users/ada",
             cell("loss-demo", output("stream", text="saved /Users/ada/x.png"))),
    # outputs
    Breakage("a cell that was never run", "executed", "loss-demo", "never run",
             cell("loss-demo", lambda node: node.update(execution_count=None, outputs=[]))),
    Breakage("a cell run out of order", "executed", "loss-demo", "number 40",
             cell("loss-demo", lambda node: node.update(execution_count=40))),
    Breakage("a stored error", "error-output", "loss-demo", "ZeroDivisionError",
             cell("loss-demo",
                  output("error", ename="ZeroDivisionError", evalue="", traceback=[]))),
    Breakage("a stored warning", "error-output", "loss-demo", "stderr",
             cell("loss-demo", output("stream", name="stderr", text="UserWarning: hm"))),
    Breakage("large outputs", "output-size", "loss-demo", "MiB",
             cell("loss-demo", output("stream", text="x" * 1_600_000))),
    Breakage("ignored without a reason", "ignored-output", "loss-demo", "what is unstable",
             cell("loss-demo", lambda node: node.metadata.tags.append("nbval-ignore-output"))),
]  # fmt: skip


def test_the_small_course_is_clean(course: Course) -> None:
    assert [str(finding) for finding in lint(course.root, course.stage_name)] == []


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda b: b.name)
def test_breakage_is_found_where_it_is(course: Course, breakage: Breakage) -> None:
    breakage.do(course)
    found = lint(course.root, course.stage_name)
    place = breakage.place if "/" in breakage.place else f"{NOTEBOOK}: cell '{breakage.place}'"
    hits = [f for f in found if f.rule == breakage.rule and breakage.words in str(f)]
    shown = "\n".join(map(str, found))
    assert any(f.where.startswith(place) for f in hits), f"not found at {place}:\n{shown}"
    others = {f.rule for f in found} - {breakage.rule} - breakage.also
    assert not others, f"blames {others} too:\n{shown}"


def test_every_rule_has_a_breakage() -> None:
    assert RULES.keys() - {breakage.rule for breakage in BREAKAGES} == set()


def test_a_finding_names_file_cell_and_rule(course: Course) -> None:
    course.edit("mse", "def mse", "def error")
    line = str(lint(course.root, course.stage_name)[0])
    assert line.startswith(f"{NOTEBOOK}: cell 'mse-check-1': [free-names] uses 'mse'")


def test_only_the_asked_rules_run(course: Course) -> None:
    course.edit("mse-task", "★★", "★")
    course.edit("idea", "## A line", "/home/ada/x")
    assert {f.rule for f in lint(course.root, "01_lines", {"paths"})} == {"paths"}
    with pytest.raises(ValueError, match="no such rule: colour"):
        lint(course.root, "01_lines", {"colour"})


def test_an_unreadable_notebook_is_an_error_not_a_finding(course: Course) -> None:
    course.path.write_text("{", encoding="utf-8")
    with pytest.raises(StageError, match="not a readable notebook"):
        lint(course.root, "01_lines")


@pytest.mark.parametrize(
    "loop, message",
    [
        ('for name, want in (("w", w), ("b", b)):', "{name} is wrong: look at the formula again"),
        ('for name, want in zip(["w", "b"], [w, b]):', "{name} is wrong: look at the formula"),
        ("for row in range(3):", "row {row} is wrong: does it look at every column?"),
        ("for k, want in enumerate([w, b]):", "number {k} is wrong: look at the formula"),
        ("for want in [w, b]:", "gave {checking.describe(got)} of type {type(got)} {got.shape}"),
    ],
)
def test_a_hidden_message_may_name_what_is_no_value(
    course: Course, loop: str, message: str
) -> None:
    course.edit(
        "step-check-1",
        "### END HIDDEN TESTS",
        f'got = step(w, b, dw, db, 0.3)\n{loop}\n    assert True, f"{message}"\n'
        "### END HIDDEN TESTS",
    )
    assert lint(course.root, "01_lines", {"hidden-values"}) == []
