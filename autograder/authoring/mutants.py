"""Mutants: proof that the checks of a stage lose the right points for the right reasons.

Does: run the reference, the stub, and every wrong and every unusual answer of
``tests/mutants/NN_slug.py`` against all checks of the stage; give the kill matrix and everything
that is misjudged; grade all of them with the grader's own engine, and the four entries of
``NBGRADER`` with nbgrader too: points must agree.
Does not: protect against hostile code (a mutant is ours); look at lesson or demo cells.

Each answer runs in a namespace of prelude names; each check in one of prelude and answer names,
so that nothing that an earlier check left behind can help it. The modules that hold the answers
cannot be imported meanwhile. All of a stage runs in one child process, with a time limit each.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder.authoring.stage import Exercise, Stage, StageError

SECONDS = 20  # for one answer with all checks
LEAST_WRONG, LEAST_RIGHT = 3, 1
LEAST_VISIBLE = 0.8  # share of wrong answers that the visible parts alone must catch
REFERENCE, STUB = "reference", "stub"
ENGINE_SEED = 20_261_122  # hidden inputs in the grader's engine; the notebooks have their own


class MutantError(StageError):
    """The mutants of a stage cannot be used; the message names file, mutant and remedy."""


@dataclass(frozen=True)
class Mutant:
    """One answer that people give. ``loses`` is empty for a right one."""

    name: str
    why: str
    objective: str | None = None
    loses: tuple[str, ...] = ()
    replace: tuple[str, str] | None = None
    source: str | None = None

    @property
    def is_wrong(self) -> bool:
        return bool(self.loses)

    def answer(self, exercise: Exercise, where: str) -> str:
        """The source of the answer cell. ``MutantError`` when ``replace`` does not fit."""
        if self.source is not None:
            return self.source
        assert self.replace is not None and exercise.answer is not None
        old, new = self.replace
        reference = exercise.answer.reference
        if (count := reference.count(old)) != 1:
            raise MutantError(
                f"{where}: the text {old!r} occurs {count} times in the answer cell "
                f"'{exercise.answer.id}', not once: make it longer, or use source="
            )
        return reference.replace(old, new)


def _mutant(name: str, why: str, **fields: Any) -> Mutant:
    if (fields["replace"] is None) == (fields["source"] is None):
        raise MutantError(f"mutant '{name}': give either replace=(old, new) or source=")
    if not name or not why:
        raise MutantError(f"mutant '{name}': name and why must not be empty")
    return Mutant(name, why, **fields)


def wrong(
    name: str,
    why: str,
    *,
    objective: str,
    loses: Sequence[str],
    replace: tuple[str, str] | None = None,
    source: str | None = None,
) -> Mutant:
    """A wrong answer that people really give; it loses exactly the checks ``loses``."""
    if isinstance(loses, str) or not loses:
        raise MutantError(f"mutant '{name}': loses must be a list of at least one check's id")
    return _mutant(
        name, why, objective=objective, loses=tuple(loses), replace=replace, source=source
    )


def right(
    name: str,
    why: str,
    *,
    replace: tuple[str, str] | None = None,
    source: str | None = None,
) -> Mutant:
    """An unusual but right answer; it keeps every point."""
    return _mutant(name, why, replace=replace, source=source)


@dataclass(frozen=True)
class Plan:
    """``tests/mutants/NN_slug.py``, read."""

    path: Path
    mutants: dict[str, list[Mutant]]
    nbgrader: list[str]

    @property
    def label(self) -> str:
        return f"tests/mutants/{self.path.name}"

    def find(self, key: str) -> Mutant:
        exercise, _, name = key.partition("/")
        for mutant in self.mutants.get(exercise, []):
            if mutant.name == name:
                return mutant
        raise MutantError(f"{self.label}: no mutant '{key}'")

    def all_keys(self) -> list[str]:
        return [f"{e}/{m.name}" for e, mutants in self.mutants.items() for m in mutants]


def load(root: Path, name: str) -> Plan:
    """Read the mutants of a stage. ``MutantError`` when the file is missing or broken."""
    path = root / "tests" / "mutants" / f"{name}.py"
    label = f"tests/mutants/{path.name}"
    if not path.is_file():
        raise MutantError(f"{label} is missing: every stage has one (CONTRIBUTING.md, section 3)")
    spec = importlib.util.spec_from_file_location(f"mutants_of_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except MutantError as error:
        raise MutantError(f"{label}: {error}") from error
    except Exception as error:
        raise MutantError(f"{label} cannot be read: {type(error).__name__}: {error}") from error
    for wanted in ("MUTANTS", "NBGRADER"):
        if not hasattr(module, wanted):
            raise MutantError(f"{label} defines no {wanted}")
    return Plan(path, dict(module.MUTANTS), list(module.NBGRADER))


def plan_problems(stage: Stage, plan: Plan) -> list[str]:
    """What is wrong with the list of mutants itself, before anything runs."""
    found: list[str] = []
    graded = {name: e for name, e in stage.exercises.items() if e.checks}
    for name in plan.mutants.keys() - graded.keys():
        found.append(f"{plan.label}: '{name}' is no auto-graded exercise of {stage.name}")
    for name, exercise in graded.items():
        mutants = plan.mutants.get(name, [])
        number = sum(m.is_wrong for m in mutants)
        for kind, have, least in (
            ("wrong", number, LEAST_WRONG),
            ("right", len(mutants) - number, LEAST_RIGHT),
        ):
            if have < least:
                found.append(
                    f"{plan.label}: exercise '{name}' has {have} {kind} answers, "
                    f"at least {least} are needed"
                )
        checks = {check.id for check in exercise.checks}
        names = [m.name for m in mutants]
        for mutant in mutants:
            where = f"{plan.label}: mutant '{name}/{mutant.name}'"
            if names.count(mutant.name) > 1:
                found.append(f"{where}: the name is used {names.count(mutant.name)} times")
            if mutant.is_wrong and mutant.objective not in stage.objectives:
                found.append(f"{where}: {mutant.objective!r} is no objective of {stage.name}")
            for lost in sorted(set(mutant.loses) - checks):
                found.append(f"{where}: loses {lost!r}, which is no check of exercise '{name}'")
            try:
                mutant.answer(exercise, where)
            except MutantError as error:
                found.append(str(error))
    keys = set(plan.all_keys())
    for entry in plan.nbgrader:
        if entry not in keys | {REFERENCE, STUB}:
            found.append(f"{plan.label}: NBGRADER names '{entry}', which is no mutant")
    chosen = [plan.find(entry) for entry in plan.nbgrader if entry in keys]
    if not (
        {REFERENCE, STUB} <= set(plan.nbgrader)
        and any(m.is_wrong for m in chosen)
        and any(not m.is_wrong for m in chosen)
    ):
        found.append(
            f"{plan.label}: NBGRADER must hold 'reference', 'stub', a wrong answer and a right one"
        )
    return found


# --- the child process ---------------------------------------------------------------------


class _Block(importlib.abc.MetaPathFinder):
    """Refuses the modules that hold a stage's answers, and remembers that it had to."""

    def __init__(self, modules: Sequence[str]) -> None:
        self.modules, self.hits = tuple(modules), 0

    def covers(self, name: str) -> bool:
        return any(name == m or name.startswith(f"{m}.") for m in self.modules)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if self.covers(fullname):
            self.hits += 1
            raise ImportError(
                f"'{fullname}' holds the answers of this stage and cannot be imported here"
            )

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if self.covers(name)}
        for name in hidden:
            parent, _, child = name.rpartition(".")
            if parent in sys.modules and hasattr(sys.modules[parent], child):
                delattr(sys.modules[parent], child)
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)
            sys.modules.update(hidden)


class _TooSlow(BaseException):
    """Not an Exception: a mutant's ``except Exception`` must not swallow it."""


def _alarm(*_: object) -> None:
    raise _TooSlow


def _seed() -> None:
    random.seed(0)
    for name, seed in (
        ("numpy", lambda m: m.random.seed(0)),
        ("torch", lambda m: m.manual_seed(0)),
    ):
        if name in sys.modules:
            seed(sys.modules[name])


def _execute(source: str, name: str, names: dict[str, Any]) -> str | None:
    """Run one cell; the error as text, or None."""
    try:
        exec(compile(source, f"<{name}>", "exec"), names)
    except _TooSlow:
        raise
    except BaseException as error:  # SystemExit too: the cell failed
        return f"{type(error).__name__}: {error}"
    return None


def _run_cells(
    prelude: list[list[str]],
    answers: Mapping[str, str],
    checks: list[list[str]],
    block: _Block,
    seconds: float,
) -> dict[str, str | None]:
    """``{check: error or None}`` for one set of answers."""
    result: dict[str, str | None] = {}
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, seconds)
        _seed()
        with block.active():
            for cell, source in prelude:
                if error := _execute(source, cell, names):
                    raise MutantError(f"the prelude cell '{cell}' fails: {error}")
            for cell, source in answers.items():
                _execute(source, cell, names)  # an error shows in the checks, as in a notebook
            for cell, source in checks:
                result[cell] = _execute(source, cell, dict(names))
    except _TooSlow:
        for cell, _ in checks:
            result.setdefault(cell, f"TimeoutError: no end after {seconds:g} s")
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
    return result


def _child(job: Path) -> None:
    """Run a job file; write ``job.result`` (JSON)."""
    task = json.loads(job.read_text(encoding="utf-8"))
    sys.path.insert(0, task["folder"])
    os.chdir(task["folder"])
    warnings.simplefilter("ignore")
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _alarm)
    results: dict[str, Any] = {}
    progress = job.with_suffix(".progress")
    for key, variant in task["variants"].items():
        progress.write_text(key, encoding="utf-8")
        block = _Block(task["blocked"])
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                outcome = _run_cells(
                    task["prelude"],
                    variant["answers"],
                    variant["checks"],
                    block,
                    task["seconds"],
                )
                results[key] = {"checks": outcome, "blocked": block.hits > 0}
            except MutantError as error:
                results[key] = {"error": str(error)}
    job.with_suffix(".result").write_text(json.dumps(results), encoding="utf-8")


# --- the parent ----------------------------------------------------------------------------


@dataclass
class Outcome:
    """How one set of answers fared: ``{check: error or None}``, and whether an import was
    refused."""

    checks: dict[str, str | None]
    blocked: bool = False

    @property
    def lost(self) -> set[str]:
        return {check for check, error in self.checks.items() if error is not None}


@dataclass
class Matrix:
    """Everything that the mutants of a stage showed."""

    stage: Stage
    plan: Plan
    full: dict[str, Outcome]
    visible: dict[str, Outcome]
    problems: list[str] = field(default_factory=list)

    def points(self, key: str) -> dict[str, float]:
        """Points by check for one set of answers."""
        lost = self.full[key].lost
        return {c.id: 0.0 if c.id in lost else c.points for c in self.stage.by_role("check")}

    def visible_share(self, exercise: str | None = None) -> float:
        """The share of wrong answers that the visible parts alone catch."""
        keys = [
            key
            for key in self.visible
            if "/" in key and (exercise is None or key.startswith(f"{exercise}/"))
        ]
        return sum(bool(self.visible[key].lost) for key in keys) / len(keys) if keys else 0.0


def run_variants(
    stage: Stage, variants: Mapping[str, Mapping], seconds: float = SECONDS
) -> dict[str, Outcome]:
    """Run sets of answers in a child process, each for at most ``seconds``.

    A variant is ``{"answers": {cell: source}, "checks": [[cell, source], …]}``. Raises
    ``MutantError`` when the prelude fails or the child dies, naming the variant.
    """
    from autograder.authoring.edit import kernel_environment

    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        task = {
            "folder": folder,
            "prelude": [[c.id, c.source] for c in stage.by_role("prelude")],
            "blocked": stage.blocked_modules,
            "seconds": seconds,
            "variants": variants,
        }
        job.write_text(json.dumps(task), encoding="utf-8")
        command = [sys.executable, "-m", "autograder.authoring.mutants", str(job)]
        environment = kernel_environment() | {"MPLBACKEND": "agg"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, cwd=folder, check=False
        )
        result = job.with_suffix(".result")
        if done.returncode or not result.is_file():
            at = job.with_suffix(".progress")
            key = at.read_text(encoding="utf-8") if at.is_file() else "start"
            tail = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise MutantError(f"{stage.name}: the process ended while it ran '{key}': {tail[0]}")
        data = json.loads(result.read_text(encoding="utf-8"))
    outcomes = {}
    for key, value in data.items():
        if error := value.get("error"):
            raise MutantError(f"{stage.name}: {error}")
        outcomes[key] = Outcome(value["checks"], value["blocked"])
    return outcomes


def _variants(stage: Stage, plan: Plan) -> dict[str, dict[str, dict]]:
    """The full and the visible-only runs of a stage, by key."""
    cells = stage.by_role("answer")
    checks = stage.by_role("check")
    full = [[c.id, c.source] for c in checks]
    shown = [[c.id, c.visible] for c in checks]
    reference = {c.id: c.reference for c in cells}
    runs: dict[str, dict[str, dict]] = {"full": {}, "visible": {}}
    for key, answers in ((REFERENCE, reference), (STUB, {c.id: c.stub for c in cells})):
        runs["full"][key] = {"answers": answers, "checks": full}
        runs["visible"][key] = {"answers": answers, "checks": shown}
    for name, mutants in plan.mutants.items():
        exercise = stage.exercises[name]
        assert exercise.answer is not None
        own = {check.id for check in exercise.checks}
        for mutant in mutants:
            key = f"{name}/{mutant.name}"
            answer = mutant.answer(exercise, f"{plan.label}: mutant '{key}'")
            answers = reference | {exercise.answer.id: answer}
            runs["full"][key] = {"answers": answers, "checks": full}
            if mutant.is_wrong:
                visible = [pair for pair in shown if pair[0] in own]
                runs["visible"][key] = {"answers": answers, "checks": visible}
    return runs


def _usable(stage: Stage, plan: Plan) -> Plan:
    """The plan without the mutants that cannot be built (``plan_problems`` names them)."""
    mutants: dict[str, list[Mutant]] = {}
    for name, exercise in stage.exercises.items():
        for mutant in plan.mutants.get(name, []) if exercise.answer else []:
            with contextlib.suppress(MutantError):
                mutant.answer(exercise, "")
                mutants.setdefault(name, []).append(mutant)
    keys = {f"{name}/{mutant.name}" for name in mutants for mutant in mutants[name]}
    chosen = [key for key in plan.nbgrader if key in keys | {REFERENCE, STUB}]
    return Plan(plan.path, mutants, chosen)


def kill_matrix(root: Path, name: str) -> Matrix:
    """Run all mutants of a stage in process. ``problems`` of the result must be empty."""
    stage, plan = Stage.load(root, name), load(root, name)
    problems = plan_problems(stage, plan)
    plan = _usable(stage, plan)
    runs = _variants(stage, plan)
    both = {f"{kind} {key}": run for kind in runs for key, run in runs[kind].items()}
    outcomes = run_variants(stage, both)
    full, visible = (
        {key: outcomes[f"{kind} {key}"] for key in runs[kind]} for kind in ("full", "visible")
    )
    matrix = Matrix(stage, plan, full, visible)
    matrix.problems = problems + list(_judge(matrix))
    return matrix


def _judge(matrix: Matrix) -> Iterator[str]:
    """Everything that is misjudged, each naming mutant and check."""
    stage, plan, full = matrix.stage, matrix.plan, matrix.full
    label = stage.cells[0].notebook if stage.cells else stage.name
    for check in sorted(full[REFERENCE].lost):
        yield f"{label}: check '{check}': the reference answer fails: " + str(
            full[REFERENCE].checks[check]
        )
    for check in sorted(full[STUB].checks.keys() - full[STUB].lost):
        yield f"{label}: check '{check}': the stub passes; an empty notebook must score 0"
    twin_refused = False
    for key in plan.all_keys():
        mutant, outcome = plan.find(key), full[key]
        where = f"{plan.label}: mutant '{key}' ({mutant.why})"
        own = {check.id for check in stage.exercises[key.split("/")[0]].checks}
        if not mutant.is_wrong:
            for check in sorted(outcome.lost):
                yield (
                    f"{where}: false kill: a right answer loses '{check}': {outcome.checks[check]}"
                )
            continue
        expected = set(mutant.loses)
        twin_refused |= outcome.blocked
        if not outcome.lost:
            yield f"{where} survives: it should lose {_names(expected)} and keeps every point"
            continue
        for check in sorted(expected - outcome.lost):
            yield f"{where} survives '{check}': it loses only {_names(outcome.lost)}"
        for check in sorted(outcome.lost - expected):
            yield (
                f"{where} loses '{check}' too, which is not in loses: {outcome.checks[check]}"
                + ("" if check in own else "; one mistake must cost once")
            )
        if outcome.blocked and outcome.lost < own:
            yield f"{where}: imports a blocked module and keeps {_names(own - outcome.lost)}"
    if stage.blocked_modules and not twin_refused:
        modules = ", ".join(stage.blocked_modules)
        yield f"{plan.label}: no wrong answer imports the library twin ({modules}); add one"
    share = matrix.visible_share()
    if share < LEAST_VISIBLE:
        unseen = [k for k, o in matrix.visible.items() if "/" in k and not o.lost]
        yield (
            f"{label}: the visible parts catch {share:.0%} of the wrong answers, at least "
            f"{LEAST_VISIBLE:.0%} are needed; unseen: {', '.join(unseen)}"
        )


def _names(checks: set[str]) -> str:
    return ", ".join(f"'{check}'" for check in sorted(checks))


def nbgrader_problems(root: Path, matrix: Matrix) -> list[str]:
    """Run the entries of ``NBGRADER`` through nbgrader; where its points differ from ours."""
    from autograder.authoring.nbgrading import answered, reference_answers, temporary_course

    stage, plan = matrix.stage, matrix.plan
    found = []
    with temporary_course(root, stage.name) as course:
        for key in plan.nbgrader:
            if matrix.full[key].blocked:
                found.append(
                    f"{plan.label}: NBGRADER names '{key}', which imports a blocked module; "
                    "plain nbgrader does not block it: choose another"
                )
                continue
            answers = {} if key == STUB else reference_answers(stage)
            if "/" in key:
                name = key.split("/")[0]
                answers[name] = plan.find(key).answer(stage.exercises[name], plan.label)
            student = key.replace("/", "-")
            course.submit(student, answered(course.released(), answers))
            got = course.autograde(student)
            for check, points in matrix.points(key).items():
                if got.get(check) != points:
                    found.append(
                        f"{plan.label}: '{key}': check '{check}' gives {got.get(check)} points "
                        f"in nbgrader and {points} in process"
                    )
    return found


@contextlib.contextmanager
def _student_processes(manifest: Any) -> Iterator[Callable[[], Any]]:
    """How the grader's engine starts a student process here: in the sandbox where there is one."""
    from autograder import sandbox
    from autograder.lines import LocalLine
    from autograder.warm import modules_to_warm

    if sandbox.missing() is None:
        with sandbox.Sandbox(modules=modules_to_warm(manifest)) as warm:
            yield warm.open
    else:
        yield lambda: LocalLine({**os.environ, "OMP_NUM_THREADS": "1"})


def engine_problems(root: Path, matrix: Matrix, seed: int = ENGINE_SEED) -> list[str]:
    """Grade every answer of the matrix with the grader's own engine; where its points differ.

    The engine runs checks and answers in different processes, and draws other hidden inputs
    (``seed``) than the notebook's: a check that keeps its contract judges alike in both.
    """
    from autograder import engine
    from autograder.manifest import build
    from autograder.model import Submission, SubmittedCell
    from autograder.referee import Referee

    manifest = build(root, matrix.stage.name)
    referee = Referee(manifest)
    found = []
    with _student_processes(manifest) as start:
        for key, variant in _variants(matrix.stage, matrix.plan)["full"].items():
            cells = [
                SubmittedCell(cell.id, variant["answers"].get(cell.id, cell.source))
                for cell in manifest.cells
            ]
            submission = Submission("mutant", manifest.stage, "0" * 64, cells)
            result = engine.grade(manifest, submission, start, seed=seed, referee=referee)
            ours = matrix.points(key)
            found += [
                f"{matrix.plan.label}: '{key}': check '{check.id}' gives {check.points:g} points "
                f"in the grader ({check.verdict}: {check.message}) and {ours[check.id]:g} in "
                "process: see book/writing-checks.md"
                for check in result.checks
                if check.points != ours[check.id]
            ]
    return found


def print_matrix(matrix: Matrix, write: Callable[[Any], None]) -> None:
    """The kill matrix: one table per exercise, rows mutants, columns checks."""
    from rich.table import Table

    number = len(matrix.stage.by_role("check"))
    for name, mutants in matrix.plan.mutants.items():
        own = [check.id for check in matrix.stage.exercises[name].checks]
        share = matrix.visible_share(name)
        table = Table(title=f"{name}: visible parts catch {share:.0%}", title_justify="left")
        table.add_column("answer", no_wrap=True)
        for check in own:
            table.add_column(check.removeprefix(f"{name}-"), justify="center")
        table.add_column(f"other {number - len(own)}", justify="center")
        table.add_column("visible", justify="center")
        table.add_column("why")
        rows: list[tuple[str, Mutant | None]] = [(REFERENCE, None), (STUB, None)]
        for key, mutant in rows + [(f"{name}/{m.name}", m) for m in mutants]:
            lost = matrix.full[key].lost
            expected = set(mutant.loses) if mutant else set(own) if key == STUB else set()
            marks = [
                ("lost" if check in lost else "kept")
                if (check in lost) == (check in expected)
                else ("[bold red]LOST[/]" if check in lost else "[bold red]KEPT[/]")
                for check in own
            ]
            others = len(lost - set(own))
            rest = "" if key == STUB else "kept" if not others else f"[bold red]{others} LOST[/]"
            seen = matrix.visible.get(key)
            visible = "" if seen is None or mutant is None else "caught" if seen.lost else "-"
            shown = mutant.name if mutant else key
            table.add_row(shown, *marks, rest, visible, mutant.why if mutant else "")
        write(table)
    wrongs = [key for key in matrix.visible if "/" in key]
    write(
        f"{matrix.stage.name}: {len(wrongs)} wrong and "
        f"{len(matrix.plan.all_keys()) - len(wrongs)} right answers, "
        f"{matrix.visible_share():.0%} of the wrong ones caught by visible parts alone"
    )


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
