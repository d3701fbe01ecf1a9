"""Rules about prelude, answer and check cells: the contract of a check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from autograder.authoring import scopes
from autograder.authoring.rules import Context, Problem, rule
from autograder.authoring.stage import (
    BEGIN_HIDDEN,
    BEGIN_MARKS,
    BEGIN_SOLUTION,
    END_HIDDEN,
    END_MARKS,
    END_SOLUTION,
    STUB_MARK,
    Cell,
    StageError,
    outside,
)

SEED = "GRADING_SEED"
MARKERS = (BEGIN_SOLUTION, END_SOLUTION, BEGIN_HIDDEN, END_HIDDEN, BEGIN_MARKS, END_MARKS)
LIKE_A_MARKER = re.compile(
    r"^\s*#*\s*(?:(?:begin|end)\s+(?:solutions?|hidden|mark\s*scheme)|#+\s*stub\b)", re.IGNORECASE
)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FORBIDDEN_MODULES = _names(
    "asyncio builtins contextlib ctypes datetime gc glob http importlib inspect io multiprocessing "
    "os pathlib pickle requests shutil signal socket subprocess sys tempfile threading time "
    "traceback urllib warnings"
)
FORBIDDEN_BUILTINS = _names(
    "__import__ breakpoint compile eval exec exit get_ipython globals input locals open print quit "
    "vars"
)
FORBIDDEN_MEMBERS = _names(
    "fromfile genfromtxt get_ipython load loads loadtxt memmap perf_counter process_time "
    "read_bytes read_csv read_text redirect_stderr redirect_stdout save savetxt savez to_csv "
    "tofile urlopen write_bytes write_text"
)
UNSEEDED = re.compile(r"^(?:np|numpy)\.random\.(?!default_rng$|Generator$|SeedSequence$)\w+$")
TORCH_RANDOM = re.compile(r"^torch\.(?:rand|randn|randint|randperm|normal|bernoulli)$")
DESCRIBING = {"describe", "type", "len"}  # calls that tell a kind, not a value
SHAPES = {"shape", "dtype", "ndim"}
LEAST_WORDS = 4


def tree_of(source: str) -> ast.Module | None:
    """The syntax tree, or None where rule ``syntax`` has something to say."""
    try:
        return ast.parse(scopes.without_magics(source))
    except SyntaxError:
        return None


def texts(cell: Cell) -> dict[str, str]:
    """The sources that are run or shown, by what they are (one, where the markers are wrong)."""
    try:
        if cell.role == "answer":
            return {"reference": cell.reference, "stub": cell.stub}
        if cell.role == "check":
            return {"check": cell.source, "visible part": cell.visible}
    except StageError:
        pass
    return {"cell": cell.source}


def parsable(cell: Cell) -> bool:
    return all(tree_of(text) is not None for text in texts(cell).values())


def defined(cells: list[Cell]) -> set[str]:
    """The names that cells leave behind (for an answer: its reference)."""
    found: set[str] = set()
    for cell in cells:
        if parsable(cell):
            found |= scopes.defined(scopes.without_magics(next(iter(texts(cell).values()))))
    return found


def needed(cell: Cell) -> set[str]:
    if not parsable(cell):
        return set()
    return set().union(*(scopes.free(scopes.without_magics(t)) for t in texts(cell).values()))


def hidden_part(cell: Cell) -> ast.Module | None:
    """The statements between the hidden markers, as a tree."""
    lines, inside, kept = cell.source.split("\n"), False, []
    for line in lines:
        if line.strip() in (BEGIN_HIDDEN, END_HIDDEN):
            inside = line.strip() == BEGIN_HIDDEN
        elif inside:
            kept.append(line)
    try:
        return ast.parse("\n".join(kept))
    except SyntaxError:
        return None


@rule("markers")
def markers(context: Context) -> Iterator[Problem]:
    """Markers are written exactly, balanced, and in the cells they belong to."""
    belongs = {
        BEGIN_SOLUTION: ("answer", "the answer"),
        BEGIN_HIDDEN: ("check", "hidden tests"),
        BEGIN_MARKS: ("manual", "a mark scheme"),
    }
    pairs = ((BEGIN_SOLUTION, END_SOLUTION), (BEGIN_HIDDEN, END_HIDDEN), (BEGIN_MARKS, END_MARKS))
    for cell in context.stage.cells:
        for line in cell.source.split("\n"):
            exact = line.strip() in MARKERS or STUB_MARK.match(line)
            if not exact and LIKE_A_MARKER.match(line):
                yield cell, f"{line.strip()!r} is almost a marker: write it exactly, or reword it"
        for begin, end in pairs:
            try:
                rest = outside(cell.source, begin, end, "the cell")
            except StageError as error:
                yield cell, f"{str(error).removeprefix('the cell: ')}; put the marker back"
                continue
            role, what = belongs[begin]
            if rest != cell.source and cell.role != role:
                yield cell, f"'{begin}' marks {what} and belongs into a cell with the role {role}"
            if rest == cell.source and cell.role == role:
                yield cell, f"there is no '{begin}': the student edition would show {what}"
        inside = False
        for line in cell.source.split("\n"):
            if line.strip() in (BEGIN_SOLUTION, END_SOLUTION):
                inside = line.strip() == BEGIN_SOLUTION
            elif STUB_MARK.match(line) and not inside:
                yield cell, f"{line.strip()!r} is outside '{BEGIN_SOLUTION}': move it inside"


@rule("syntax")
def syntax(context: Context) -> Iterator[Problem]:
    """Everything that is run or shown is Python: answers with and without stubs, visible parts."""
    for cell in context.stage.cells:
        if not cell.is_code:
            continue
        for what, text in texts(cell).items():
            try:
                ast.parse(scopes.without_magics(text))
            except SyntaxError as error:
                yield cell, f"the {what} is no Python: line {error.lineno}: {error.msg}"


@rule("prelude")
def prelude(context: Context) -> Iterator[Problem]:
    """The prelude sets the seed, and imports nothing that holds an answer."""
    cells = context.stage.by_role("prelude")
    if cells and SEED not in defined(cells):
        yield cells[0], f"{SEED} is not set: write `{SEED} = {context.stage.number}`"
    for cell in cells + context.stage.by_role("answer"):
        tree = tree_of(cell.source)
        for _, module, _ in scopes.imports(tree) if tree else ():
            for blocked in context.stage.blocked_modules:
                if f"{module}.".startswith(f"{blocked}."):
                    yield cell, f"imports {blocked}, which holds this stage's answers: do without"
            if module.endswith(".*"):
                yield cell, f"`from {module[:-2]} import *` hides which names it gives: name them"


@rule("free-names")
def free_names(context: Context) -> Iterator[Problem]:
    """A check uses its own exercise's answer, the prelude and builtins; nothing else."""
    stage = context.stage
    given = defined(stage.by_role("prelude"))
    answers = {e.name: defined([e.answer]) for e in stage.exercises.values() if e.answer}
    for exercise in stage.exercises.values():
        if exercise.answer and not parsable(exercise.answer):
            continue  # rule syntax
        allowed = given | answers.get(exercise.name, set())
        for check in exercise.checks:
            for name in sorted(needed(check) - allowed):
                others = [other for other, names in answers.items() if name in names]
                whose = (
                    f"is made by exercise '{others[0]}': one mistake would cost twice"
                    if others
                    else "is defined neither by the answer nor by the prelude"
                )
                yield check, f"uses '{name}', which {whose}; pass own inputs, or put it there"


@rule("answer-names")
def answer_names(context: Context) -> Iterator[Problem]:
    """An answer, and its stub, use prelude names and their own."""
    given = defined(context.stage.by_role("prelude"))
    for cell in context.stage.by_role("answer"):
        for name in sorted(needed(cell) - given - defined([cell])):
            yield (
                cell,
                f"uses '{name}', which is neither in the prelude nor in this cell: "
                "a grader runs only these two",
            )


@rule("shadow")
def shadow(context: Context) -> Iterator[Problem]:
    """No other cell redefines a name of the prelude or of an answer."""
    owner: dict[str, Cell] = {}
    for cell in context.stage.by_role("prelude") + context.stage.by_role("answer"):
        for name in sorted(defined([cell])):
            if name in owner:
                yield cell, f"defines '{name}', which cell '{owner[name].id}' defines: rename one"
            owner.setdefault(name, cell)
    for cell in context.stage.cells:
        if not cell.is_code or cell.role in ("prelude", "answer"):
            continue
        for name in sorted(defined([cell]) & owner.keys()):
            yield (
                cell,
                f"defines '{name}', which belongs to cell '{owner[name].id}': "
                "checks and answers would see another value; rename it",
            )


@rule("leftovers")
def leftovers(context: Context) -> Iterator[Problem]:
    """The lesson never uses a name that a check left behind: the student's value would differ."""
    last: dict[str, Cell] = {}
    for cell in context.stage.cells:
        if not cell.is_code:
            continue
        if cell.role != "check":
            for name in sorted(needed(cell)):
                if name in last and last[name].role == "check":
                    yield (
                        cell,
                        f"uses '{name}' as check '{last[name].id}' left it: define it here",
                    )
        for name in defined([cell]):
            last[name] = cell


@rule("black-box")
def black_box(context: Context) -> Iterator[Problem]:
    """A check uses no file, network, clock, printed text, interpreter internals or loose dice."""
    bound = {}
    for cell in context.stage.by_role("prelude"):
        tree = tree_of(cell.source)
        bound |= {name: module for name, module, _ in scopes.imports(tree)} if tree else {}
    for cell in context.stage.by_role("check"):
        tree = tree_of(cell.source)
        if tree is None:
            continue
        here = bound | {name: module for name, module, _ in scopes.imports(tree)}
        for name, module, _ in scopes.imports(tree):
            if module.split(".")[0] in FORBIDDEN_MODULES:
                yield cell, f"imports {name}: a check compares returned data and nothing else"
        for node in ast.walk(tree):
            yield from ((cell, what) for what in _not_black_box(node, here))


def _not_black_box(node: ast.AST, bound: dict[str, str]) -> Iterator[str]:
    data_only = "a check compares returned data and nothing else"
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        if node.id in FORBIDDEN_BUILTINS:
            yield f"calls {node.id}: {data_only}"
        elif bound.get(node.id, "").split(".")[0] in FORBIDDEN_MODULES:
            yield f"uses {node.id} ({bound[node.id]}): {data_only}"
    elif isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_MEMBERS:
        yield f"uses .{node.attr}: {data_only}"
    elif isinstance(node, ast.Call):
        called = scopes.dotted(node.func)
        keywords = {keyword.arg for keyword in node.keywords}
        if called.endswith("random.default_rng") and not (node.args or node.keywords):
            yield f"{called}() has no seed: pass {SEED} or a number"
        elif UNSEEDED.match(called) or (TORCH_RANDOM.match(called) and "generator" not in keywords):
            yield f"{called} draws from a global generator: make one from {SEED} or a number"


@rule("assert-message")
def assert_message(context: Context) -> Iterator[Problem]:
    """Every assert says in words what is wrong."""
    for cell in context.stage.by_role("check"):
        tree = tree_of(cell.source)
        for node in ast.walk(tree) if tree else ():
            if not isinstance(node, ast.Assert):
                continue
            code = ast.unparse(node.test)
            if node.msg is None:
                yield (
                    cell,
                    f"`assert {code[:50]}` has no message: say what was observed, the likely "
                    "cause, and where in the lesson it is explained",
                )
            elif _words(node.msg) < LEAST_WORDS:
                yield cell, f"the message of `assert {code[:50]}` says too little: write a sentence"


def _words(message: ast.expr) -> int:
    """Words of literal text in a message; many for an expression that is no text at all."""
    literals = [n.value for n in ast.walk(message) if isinstance(n, ast.Constant)]
    strings = [text for text in literals if isinstance(text, str)]
    if not strings and not isinstance(message, ast.Constant):
        return LEAST_WORDS  # a name or a call: cannot be told
    return len(re.findall(r"\w+", " ".join(strings)))


@rule("hidden-part")
def hidden_part_rule(context: Context) -> Iterator[Problem]:
    """A check has a visible part with an assert and a hidden part with the grader's seed."""
    for cell in context.stage.by_role("check"):
        if "visible part" not in texts(cell) or not parsable(cell):
            continue  # rules markers and syntax
        visible, hidden = tree_of(cell.visible), hidden_part(cell)
        if not any(isinstance(node, ast.Assert) for node in ast.walk(visible or ast.Module([]))):
            yield cell, "the visible part asserts nothing: the student cannot check the answer"
        if any(isinstance(n, ast.Name) and n.id == SEED for n in ast.walk(visible)):
            yield cell, f"the visible part uses {SEED}: show fixed examples instead"
        if hidden is None or BEGIN_HIDDEN not in cell.source:
            continue  # rule markers
        names = {n.id for n in ast.walk(hidden) if isinstance(n, ast.Name)}
        if SEED not in names:
            yield cell, f"the hidden part does not use {SEED}: memorised answers would pass"
        if not any(isinstance(node, ast.Assert) for node in ast.walk(hidden)):
            yield cell, "the hidden part asserts nothing: it would give points for any answer"


@rule("last-line")
def last_line(context: Context) -> Iterator[Problem]:
    """A check ends with a statement: nbgrader takes a number for partial credit."""
    for cell in context.stage.by_role("check"):
        for what, text in texts(cell).items():
            tree = tree_of(text)
            if tree and tree.body and isinstance(tree.body[-1], ast.Expr):
                yield (
                    cell,
                    f"the {what} ends with the bare expression "
                    f"`{ast.unparse(tree.body[-1])[:40]}`: end with an assert",
                )


@rule("hidden-values")
def hidden_values(context: Context) -> Iterator[Problem]:
    """A message of a hidden assert shows no value made in the hidden part."""
    for cell in context.stage.by_role("check"):
        tree = hidden_part(cell)
        if tree is None:
            continue
        secret = (scopes.defined(ast.unparse(tree)) | {SEED}) - _constant_targets(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert) and node.msg is not None:
                for name in sorted(_shown(node.msg) & secret):
                    yield (
                        cell,
                        f"the message of a hidden assert shows '{name}': describe its kind with "
                        "checking.describe, never its value",
                    )


def _shown(message: ast.AST) -> set[str]:
    """Names whose values a message may show: all but those that are only described."""
    if isinstance(message, ast.Name):
        return {message.id}
    if isinstance(message, ast.Attribute) and message.attr in SHAPES:
        return set()
    if isinstance(message, ast.Call):
        function = message.func
        last = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if last in DESCRIBING:
            return set()
    return set().union(*(_shown(child) for child in ast.iter_child_nodes(message)), set())


def _constant_targets(tree: ast.AST) -> set[str]:
    """Loop variables that run over constants written in the code: names, not hidden values."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.comprehension):
            found |= _constant_names(node.target, node.iter)
    return found


def _constant_names(target: ast.expr, values: ast.expr) -> set[str]:
    if isinstance(values, ast.Call):
        name = scopes.dotted(values.func)
        if name == "range" and isinstance(target, ast.Name):
            return {target.id} if all(isinstance(a, ast.Constant) for a in values.args) else set()
        if name == "zip" and isinstance(target, ast.Tuple):
            pairs = zip(target.elts, values.args, strict=False)
            return set().union(*(_constant_names(t, v) for t, v in pairs), set())
        if name == "enumerate" and isinstance(target, ast.Tuple) and values.args:
            counter = {target.elts[0].id} if isinstance(target.elts[0], ast.Name) else set()
            return counter | _constant_names(target.elts[1], values.args[0])
        return set()
    if not isinstance(values, ast.Tuple | ast.List):
        return set()
    if isinstance(target, ast.Name):
        return {target.id} if all(isinstance(v, ast.Constant) for v in values.elts) else set()
    if not isinstance(target, ast.Tuple):
        return set()
    rows = [v.elts for v in values.elts if isinstance(v, ast.Tuple | ast.List)]
    if len(rows) != len(values.elts):
        return set()
    columns = [ast.Tuple(list(column)) for column in zip(*rows, strict=False)]
    pairs = zip(target.elts, columns, strict=False)
    return set().union(*(_constant_names(t, c) for t, c in pairs), set())
