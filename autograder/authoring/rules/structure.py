"""Rules about cells, roles, exercises and objectives."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from autograder.authoring import quizzes
from autograder.authoring.mutants import MutantError, plan_problems
from autograder.authoring.mutants import load as load_mutants
from autograder.authoring.rules import Context, Problem, rule
from autograder.authoring.stage import STUB_MARK

WORD = re.compile(r"^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$")
TAGS = {
    "prelude",
    "demo",
    "predict",
    "hide-output",
    "hide-input",
    "photo",
    "answer",
    "nbval-ignore-output",
}
REQUIRED = (
    "title",
    "objectives",
    "retrieval",
    "prelude",
    "misconceptions",
    "conventions",
    "remember",
    "terms",
)
# role -> (cell type, nbgrader's flags, keys that xor2gpt needs beside role and exercise)
ROLES: dict[str, tuple[str, dict[str, bool] | None, set[str]]] = {
    "task": ("markdown", None, {"stars", "minutes"}),
    "answer": (
        "code",
        {"grade": False, "solution": True, "locked": False, "task": False},
        set(),
    ),
    "check": (
        "code",
        {"grade": True, "solution": False, "locked": True, "task": False},
        {"objective"},
    ),
    "manual": (
        "markdown",
        {"grade": False, "solution": False, "locked": True, "task": True},
        {"objective", "minutes"},
    ),
}
EXERCISES, MANUALS, OBJECTIVES = (4, 10), (1, 2), (4, 7)
MOST_THREE_STARS = 0.2
CPU_SECONDS = 60


@rule("metadata")
def metadata(context: Context) -> Iterator[Problem]:
    """The notebook's own metadata."""
    notebook, stage = context.stage.notebook, context.stage
    if (notebook.nbformat, notebook.nbformat_minor) != (4, 5):
        yield None, f"nbformat {notebook.nbformat}.{notebook.nbformat_minor} is not 4.5"
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield None, f"the kernel is {kernel!r}, not 'python3': run the tool `run`"
    if stage.extra.get("stage") != stage.name:
        yield (
            None,
            f"metadata xor2gpt.stage is {stage.extra.get('stage')!r}: write {stage.name!r}",
        )
    blocked = stage.extra.get("blocked_modules")
    if not isinstance(blocked, list) or not all(isinstance(name, str) for name in blocked):
        yield None, "metadata xor2gpt.blocked_modules must be a list of modules ([] for none)"
    measured = stage.extra.get("measured", {})
    if not {"cpu_seconds", "memory_mb"} <= measured.keys():
        yield None, "the stage was never measured: run the tool `run`"
    elif measured["cpu_seconds"] >= CPU_SECONDS:
        yield (
            None,
            f"takes {measured['cpu_seconds']} CPU-seconds, a stage may take {CPU_SECONDS}: "
            "make its runs smaller",
        )


@rule("ids")
def ids(context: Context) -> Iterator[Problem]:
    """Ids are unique words, and the grade_id is the id."""
    seen: set[str] = set()
    for cell in context.stage.cells:
        if cell.id in seen:
            yield cell, "the id is used twice: give each cell its own"
        seen.add(cell.id)
        if not WORD.match(cell.id):
            yield cell, "an id is made of lower-case words, such as loss-curve"
        grade_id = cell.nbgrader.get("grade_id")
        if cell.nbgrader and grade_id != cell.id:
            yield cell, f"the grade_id is {grade_id!r}: it must be the cell's id"


@rule("roles")
def roles(context: Context) -> Iterator[Problem]:
    """Each role has exactly the metadata that CONTRIBUTING.md lists."""
    for cell in context.stage.cells:
        role = cell.extra.get("role")
        if role is None:
            if cell.nbgrader:
                yield cell, "has nbgrader metadata but no role: give it one, or remove them"
            continue
        if role not in ROLES:
            yield cell, f"the role {role!r} is none of {', '.join(ROLES)}"
            continue
        kind, flags, needed = ROLES[role]
        if cell.node.cell_type != kind:
            yield cell, f"a cell with the role {role} is a {kind} cell"
        if not WORD.match(str(cell.exercise)):
            yield cell, f"the exercise's name {cell.exercise!r} is no lower-case word"
        for key in sorted(needed - cell.extra.keys()):
            yield cell, f"the role {role} needs {key}= in the cell's header"
        if flags is None:
            if cell.nbgrader:
                yield cell, f"a cell with the role {role} has no nbgrader metadata"
            continue
        wrong = {key for key, flag in flags.items() if cell.nbgrader.get(key) is not flag}
        if wrong:
            yield (
                cell,
                f"nbgrader's {', '.join(sorted(wrong))} does not fit the role {role}: "
                "write the notebook from its text again",
            )
        if role in ("check", "manual") and cell.points <= 0:
            yield cell, f"a {role} is worth at least some points: add points="


@rule("tags")
def tags(context: Context) -> Iterator[Problem]:
    """Tags come from the list, and sit on the right kind of cell."""
    for cell in context.stage.cells:
        for tag in cell.tags:
            if tag not in TAGS:
                yield cell, f"the tag {tag!r} is unknown (known: {', '.join(sorted(TAGS))})"
        if "answer" in cell.tags and cell.is_code:
            yield cell, "the tag answer is for the Markdown cell of a manual question"
        if not cell.is_code and {"prelude", "demo"} & set(cell.tags):
            yield cell, "only a code cell can be a prelude or a demo"
        if {"prelude", "demo"} <= set(cell.tags) or (cell.extra and "demo" in cell.tags):
            yield cell, "a demo is skipped when grading: it has no other role"


@rule("required-cells")
def required_cells(context: Context) -> Iterator[Problem]:
    """The cells that every stage has, in their order; the prelude before all other code."""
    positions = {cell.id: cell.index for cell in context.stage.cells}
    missing = [name for name in REQUIRED if name not in positions]
    for name in missing:
        yield None, f"there is no cell '{name}': every stage has one (CONTRIBUTING.md, Anatomy)"
    present = [positions[name] for name in REQUIRED if name not in missing]
    if present != sorted(present):
        yield None, f"the required cells come in the order {', '.join(REQUIRED)}"
    code = [cell for cell in context.stage.cells if cell.is_code]
    if not any("prelude" in cell.tags for cell in code):
        yield None, "no cell is tagged prelude: tag the one with the imports"
    elif code[0].role != "prelude":
        yield code[0], "code before the prelude: move it behind"


@rule("exercises")
def exercises(context: Context) -> Iterator[Problem]:
    """Each exercise is a task, an answer and checks, or a manual question; in that order."""
    for name, exercise in context.stage.exercises.items():
        cells = [c for c in context.stage.cells if c.exercise == name]
        counts = Counter(cell.role for cell in cells)
        if exercise.manual:
            if len(cells) > 1:
                yield exercise.manual, f"exercise '{name}' has other cells beside this question"
            continue
        for role in ("task", "answer"):
            if counts[role] != 1:
                yield (
                    cells[0],
                    f"exercise '{name}' has {counts[role]} cells with the role {role}, not one",
                )
        if not exercise.checks:
            yield cells[0], f"exercise '{name}' has no check: add a cell with check=\"{name}\""
        order = [("task", "answer", "check").index(c.role) for c in cells if c.role in ROLES]
        if order != sorted(order):
            yield cells[0], f"exercise '{name}' is not in the order task, answer, checks"


@rule("amount")
def amount(context: Context) -> Iterator[Problem]:
    """How many exercises, how hard, and at least one bug to find."""
    stage = context.stage
    graded = [e for e in stage.exercises.values() if e.checks]
    manual = [e for e in stage.exercises.values() if e.manual]
    for kind, number, (least, most) in (
        ("auto-graded exercises", len(graded), EXERCISES),
        ("manual questions", len(manual), MANUALS),
    ):
        if not least <= number <= most:
            yield None, f"{number} {kind}: a stage has {least} to {most}"
    stars = {e.name: int(e.task.extra.get("stars", 0)) for e in graded if e.task}
    for exercise in graded:
        if exercise.task and stars[exercise.name] not in (1, 2, 3):
            yield exercise.task, f"stars={stars[exercise.name]}: an exercise has 1, 2 or 3"
    if graded and graded[0].task and stars[graded[0].name] != 1:
        yield graded[0].task, "the first exercise of a stage has one star"
    hard = sum(e.points for e in graded if stars.get(e.name) == 3)
    if stage.max_points and hard > MOST_THREE_STARS * stage.max_points:
        yield (
            None,
            f"exercises with three stars carry {hard:g} of {stage.max_points:g} points: "
            f"at most {MOST_THREE_STARS:.0%}",
        )
    bugs = [
        e
        for e in graded
        if e.answer
        and any(STUB_MARK.match(line) for line in e.answer.source.split("\n"))
        and e.task
        and "bug" in e.task.source.split("\n")[0].lower()
    ]
    if not bugs:
        yield (
            None,
            "no exercise lets the student find a bug: one has '### STUB' lines in its answer and "
            "'bug' in its title",
        )


@rule("objectives")
def objectives(context: Context) -> Iterator[Problem]:
    """4 to 7 objectives, numbered, each with a check or a manual question."""
    stage = context.stage
    listed = list(stage.objectives)
    cell = next((c for c in stage.cells if c.id == "objectives"), None)
    if not OBJECTIVES[0] <= len(listed) <= OBJECTIVES[1]:
        yield cell, f"{len(listed)} objectives: a stage has {OBJECTIVES[0]} to {OBJECTIVES[1]}"
    wanted = [f"O{stage.number}.{k}" for k in range(1, len(listed) + 1)]
    if listed != wanted:
        yield cell, f"the objectives are {', '.join(listed)}: number them {', '.join(wanted)}"
    used = Counter()
    for graded in stage.by_role("check") + stage.by_role("manual"):
        objective = graded.extra.get("objective")
        used[objective] += 1
        if objective not in listed:
            yield graded, f"{objective!r} is no objective of this stage: it has {', '.join(listed)}"
    for objective in listed:
        if not used[objective]:
            yield (
                cell,
                f"no check and no manual question names {objective}: write one, or drop it",
            )


@rule("mutants")
def mutants(context: Context) -> Iterator[Problem]:
    """The file of mutants can be read and fits the stage (``mutants`` runs them)."""
    try:
        plan = load_mutants(context.root, context.stage.name)
    except MutantError as error:
        yield f"tests/mutants/{context.stage.name}.py", str(error)
        return
    for problem in plan_problems(context.stage, plan):
        where, _, what = problem.partition(": ")
        yield where, what


@rule("quiz")
def quiz(context: Context) -> Iterator[Problem]:
    """The stage has a quiz that can be read, and its questions name known objectives."""
    label = f"book/quizzes/{context.stage.name}.yml"
    try:
        bank = quizzes.load(context.bank_path)
    except quizzes.QuizError as error:
        yield label, str(error).removeprefix(f"{label}: ")
        return
    for question in bank.questions:
        if question.objective not in context.stage.objectives:
            yield (
                f"{label}: question '{question.id}'",
                f"{question.objective!r} is no objective of {context.stage.name}",
            )
