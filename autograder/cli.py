"""The grader's command line; each command is a thin call into one module.

Exit codes: 0 fine; 1 it ran and something is not as it should be (a check failed, not everything
could be graded, points would change); 2 the command line or the input is unusable; 130 stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

app = typer.Typer(
    help="Grade notebooks: isolated, resumable, the same result every time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

STUDENTS, INSTRUCTORS = "For students", "For instructors"
Stage = Annotated[str, typer.Argument(help="A stage's name, such as 03_xor_backprop.")]
Notebook = Annotated[Path, typer.Argument(help="Your notebook, a .ipynb file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Release = Annotated[
    Path | None, typer.Option(help="The notebook as released, if it is not found by itself.")
]


def say(text: str) -> None:
    """Print plain text; square brackets and paths stay as they are."""
    out.print(text, markup=False, highlight=False)


@contextmanager
def readable_errors(students: bool = False) -> Iterator[None]:
    """Turn the errors that people can mend into one line and exit code 2.

    ``students``: for commands that must not need nbgrader, a ledger or a sandbox.
    """
    from autograder.authoring.stage import StageError
    from autograder.intake import IntakeError
    from autograder.selfcheck import SelfCheckError

    known: tuple[type[Exception], ...] = (StageError, IntakeError, SelfCheckError)
    if not students:
        from autograder.gradebook import GradebookError
        from autograder.ledger import LedgerError
        from autograder.runner import RunError
        from autograder.sandbox import SandboxError

        known += (GradebookError, LedgerError, RunError, SandboxError, ValueError)
    try:
        yield
    except known as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(2) from error


def root_and_manifest(stage: str) -> tuple[Path, Any]:
    """The course's root and the stage's manifest."""
    from autograder.authoring.stage import repository_root
    from autograder.manifest import build as build_manifest

    root = repository_root()
    return root, build_manifest(root, stage)


# --- for students ---------------------------------------------------------------------------------


@app.command(rich_help_panel=STUDENTS)
def check(notebook: Notebook, release: Release = None, as_json: Json = False) -> None:
    """Run the visible checks on your own notebook, as the grader will run them."""
    from autograder import selfcheck
    from autograder.model import Verdict

    with readable_errors(students=True):
        work = selfcheck.read(notebook, release)
        if not as_json:
            say(f"Running your cells and the visible checks of {work.manifest.stage} ...")
        result = selfcheck.check(work)
    if as_json:
        print(result.to_json(), end="")
        raise typer.Exit(0 if result.verdict is Verdict.AC else 1)
    table = Table("check", "", "points", "message", title=f"{result.stage}: visible checks")
    for one in result.checks:
        good = one.verdict is Verdict.AC
        table.add_row(
            escape(one.id),
            "[green]passes[/]" if good else f"[red]{one.verdict}[/]",
            f"{one.points:g} of {one.max_points:g}",
            escape(one.message),
        )
    out.print(table)
    say(f"{result.points:g} of {result.max_points:g} points by visible checks.")
    if work.manifest.manual:
        most = sum(question.max_points for question in work.manifest.manual)
        say(f"{most:g} more points are given by a person, for the questions in words.")
    say("Hidden checks run the same functions with other numbers; they decide the points.")
    raise typer.Exit(0 if result.verdict is Verdict.AC else 1)


@app.command(rich_help_panel=STUDENTS)
def pack(
    notebook: Notebook,
    folder: Annotated[
        Path, typer.Option("--out", help="Where the hand-in file and its receipt go.")
    ] = Path("handin"),
    release: Release = None,
    as_json: Json = False,
) -> None:
    """Say what is unanswered or never run, and write the file to hand in, with a receipt."""
    from autograder import selfcheck

    with readable_errors(students=True):
        work = selfcheck.read(notebook, release)
        target, slip, receipt = selfcheck.pack(work, folder)
    if as_json:
        print(receipt.to_json(), end="")
        return
    for name in receipt.unanswered:
        say(f"not answered yet: {name}")
    for name in receipt.never_run:
        say(f"answered, but the cell was never run: {name} (run it, and its checks)")
    say(f"Hand in this file:  {target}")
    say(f"Keep this receipt:  {slip}   (sha256 {receipt.sha256})")


# --- for instructors ------------------------------------------------------------------------------


@app.command(rich_help_panel=INSTRUCTORS)
def doctor(as_json: Json = False) -> None:
    """Try what isolation this machine offers, and say what is missing and how to get it."""
    from autograder import diagnosis

    checks = diagnosis.run()
    if as_json:
        print(json.dumps([one.__dict__ for one in checks], indent=1))
    else:
        table = Table("", "what", "found", "remedy", title="python -m autograder doctor")
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        for one in checks:
            table.add_row(
                f"[{colours[one.status]}]{one.status}[/]",
                escape(one.name),
                escape(one.found),
                escape(one.remedy),
            )
        out.print(table)
        if diagnosis.ready(checks):
            say("This machine can grade.")
        else:
            say("This machine cannot grade other people's code yet; see the remedies.")
    raise typer.Exit(0 if diagnosis.ready(checks) else 1)


@app.command(rich_help_panel=INSTRUCTORS)
def build(
    stages: Annotated[
        list[str] | None, typer.Argument(help="Stage names; all stages when left out.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Write STAGE.json files here.")
    ] = None,
) -> None:
    """Build the manifests from solutions/: cells, exported names, checks, points, limits."""
    from autograder.authoring.stage import repository_root, stage_names
    from autograder.manifest import build as build_manifest

    with readable_errors():
        root = repository_root()
        table = Table("stage", "checks", "points", "by hand", "locked modules", "digest")
        for name in stages or stage_names(root):
            manifest = build_manifest(root, name)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{name}.json").write_text(manifest.to_json(), encoding="utf-8")
            table.add_row(
                name,
                str(len(manifest.checks)),
                f"{manifest.max_points:g}",
                f"{sum(question.max_points for question in manifest.manual):g}",
                ", ".join(manifest.blocked_modules) or "none",
                manifest.digest[:12],
            )
    out.print(table)


Out = Annotated[Path, typer.Option("--out", help="The folder that 'grade' wrote.")]
Database = Annotated[
    str | None,
    typer.Option("--db", help="nbgrader's gradebook; default: gradebook.db of the course."),
]
Anonymous = Annotated[bool, typer.Option(help="Stable pseudonyms in place of student ids.")]


def gradebook_url(given: str | None) -> str | None:
    """The gradebook's address, or ``None`` where there is none yet."""
    from autograder.authoring.stage import repository_root

    if given:
        return given
    path = repository_root() / "gradebook.db"
    return f"sqlite:///{path}" if path.is_file() else None


def outcome_of(folder: Path, db: str | None) -> tuple[Any, dict]:
    """A grading with the points that people gave, and their comments."""
    from dataclasses import replace

    from autograder import outcome

    found = outcome.load(folder)
    if (url := gradebook_url(db)) is None:
        return found, {}
    results, comments = outcome.with_manual_points(found.results, url)
    graded = [replace(one, result=r) for one, r in zip(found.graded, results, strict=True)]
    return replace(found, graded=graded), comments


@app.command(rich_help_panel=INSTRUCTORS)
def grade(
    stage: Stage,
    submissions: Annotated[
        Path, typer.Option(help="A folder, zip or tar of submissions, or one notebook.")
    ],
    folder: Annotated[Path, typer.Option("--out", help="Where results and the ledger go.")] = Path(
        "graded"
    ),
    workers: Annotated[int, typer.Option(help="Processes on this machine.")] = 2,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler, tcp://HOST:PORT, instead of workers.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Keep what an earlier run has done.")] = False,
    student: Annotated[str | None, typer.Option(help="Grade this student only.")] = None,
    seed: Annotated[int, typer.Option(help="Decides the hidden inputs.")] = 0,
    sandbox: Annotated[str, typer.Option(help="bwrap, or none (your own code only).")] = "bwrap",
    roster: Annotated[
        Path | None, typer.Option(help="A CSV file of the course's students.")
    ] = None,
    attempts: Annotated[str, typer.Option(help="latest or best.")] = "latest",
    due: Annotated[str | None, typer.Option(help="Due date, ISO 8601 with time zone.")] = None,
    trust_file_times: Annotated[
        bool, typer.Option(help="File times are receipt times (your own collector wrote them).")
    ] = False,
    gradebook: Annotated[bool, typer.Option(help="Write points into nbgrader's gradebook.")] = True,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Grade submissions: isolated, side by side, resumable after any interruption."""
    from datetime import datetime

    from autograder import gradebook as books
    from autograder import intake, runner

    if attempts not in ("latest", "best"):
        raise typer.BadParameter(f"{attempts!r}: use latest or best", param_hint="--attempts")
    try:
        deadline = datetime.fromisoformat(due) if due else None
    except ValueError as error:
        raise typer.BadParameter(
            f"{due!r} is no ISO 8601 date, such as 2026-12-01T23:59:00+01:00", param_hint="--due"
        ) from error
    with readable_errors():
        root, manifest = root_and_manifest(stage)
        received = intake.collect(
            submissions,
            manifest,
            roster=roster,
            attempts=attempts,
            due=deadline,
            trust_file_times=trust_file_times,
        )
        if not as_json and sandbox == "none":
            err.print(
                "[bold red]--sandbox=none: the submissions run with your rights. They can read "
                "your files, use your network and stop your processes.[/]"
            )
        summary = runner.run(
            manifest,
            received,
            folder,
            workers=workers,
            seed=seed,
            resume=resume,
            student=student,
            sandbox=sandbox,
            scheduler=scheduler,
            progress=not as_json,
        )
        _keep_seed(runner.Store(folder.resolve()), seed)
        written = []
        if gradebook:
            written = books.record(root, manifest, folder, db_url=db, student=student)
        absent = intake.missing_students(received, roster) if roster else []
    if as_json:
        facts = {**summary.to_dict(), "gradebook": written, "missing_students": absent}
        print(json.dumps(facts, indent=1))
    else:
        say(summary.text())
        if gradebook:
            say(f"Gradebook: {len(written)} students written.")
        if absent:
            say(f"On the roster, without a submission: {', '.join(absent)}")
    raise typer.Exit(130 if summary.interrupted else 0 if summary.complete else 1)


@app.command(rich_help_panel=INSTRUCTORS)
def feedback(
    folder: Out = Path("graded"),
    target: Annotated[Path | None, typer.Option("--to", help="Default: OUT/feedback.")] = None,
    package: Annotated[
        str | None, typer.Option("--zip", help="Also pack a zip: plain, moodle or canvas.")
    ] = None,
    title: Annotated[str, typer.Option(help="The course's name on the pages.")] = "From XOR to GPT",
    anonymous: Anonymous = False,
    db: Database = None,
) -> None:
    """Write one HTML page per student: verdicts, messages, the notebook; nothing hidden."""
    from autograder import feedback as pages
    from autograder.pages import read_key

    with readable_errors():
        found, comments = outcome_of(folder, db)
        where = target or folder / "feedback"
        key = read_key(folder / ".grader" / "pseudonyms.key") if anonymous else None
        files = {
            one.result.student: pages.write_feedback(
                found.manifest,
                one.submission,
                one.result,
                where,
                course_title=title,
                manual_comments=comments.get(one.result.student),
                anonymous=anonymous,
                key=key,
            )
            for one in found.graded
        }
        say(f"{len(files)} pages in {where}")
        if package:
            labels = pages.labels_from_notes(found.submissions)
            packed = pages.write_zip(files, where / f"{package}.zip", package, labels=labels)
            say(f"Zip for {package}: {packed.path}")
            if packed.unmatched:
                say(f"{package} will not find these students: {', '.join(packed.unmatched)}")


@app.command(rich_help_panel=INSTRUCTORS)
def report(
    folder: Out = Path("graded"),
    target: Annotated[Path | None, typer.Option("--to", help="Default: OUT/report.")] = None,
    anonymous: Anonymous = False,
    db: Database = None,
) -> None:
    """Write the class report: distribution, difficulty, commonest messages, flags."""
    from autograder.pages import read_key
    from autograder.report import write_report

    with readable_errors():
        found, _ = outcome_of(folder, db)
        key = read_key(folder / ".grader" / "pseudonyms.key") if anonymous else None
        where = target or folder / "report"
        say(str(write_report(found.manifest, found.results, where, anonymous=anonymous, key=key)))


@app.command(rich_help_panel=INSTRUCTORS)
def export(
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    folder: Out = Path("graded"),
    fmt: Annotated[
        str, typer.Option("--format", help="csv, canvas, moodle or gradescope.")
    ] = "csv",
    roster: Annotated[
        Path | None, typer.Option(help="The platform's own list of students.")
    ] = None,
    assignment: Annotated[str | None, typer.Option(help="The column's name.")] = None,
    provisional: Annotated[
        bool, typer.Option(help="Count questions that nobody has graded yet as 0.")
    ] = False,
    bom: Annotated[bool, typer.Option(help="A byte-order mark, for Excel.")] = False,
    db: Database = None,
) -> None:
    """Write marks for a learning platform; safe against spreadsheet formulas."""
    from autograder import export as marks

    with readable_errors():
        found, _ = outcome_of(folder, db)
        written = marks.export(
            found.results,
            fmt,
            target,
            roster=roster,
            assignment=assignment,
            provisional=provisional,
            bom=bom,
        )
    say(f"{written.rows} rows in {written.path}")
    for label, names in (
        ("not on the roster", written.unknown),
        ("on the roster, without a submission", written.missing),
        ("not final yet, left empty", written.pending),
    ):
        if names:
            say(f"{label}: {', '.join(names)}")


@app.command(rich_help_panel=INSTRUCTORS)
def regrade(
    stage: Stage,
    folder: Out = Path("graded"),
    diff: Annotated[
        bool, typer.Option("--diff", help="Show whose points would change; write nothing.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Default: as before.")] = None,
    workers: Annotated[int, typer.Option(help="Processes on this machine.")] = 2,
    sandbox: Annotated[str, typer.Option(help="bwrap, or none.")] = "bwrap",
    table: Annotated[Path | None, typer.Option("--csv", help="Write the changes here.")] = None,
    db: Database = None,
) -> None:
    """Grade the stored submissions again with today's checks, and say what changes and why."""
    import tempfile

    from autograder import gradebook as books
    from autograder import outcome, runner
    from autograder import regrade as changes

    with readable_errors():
        root, manifest = root_and_manifest(stage)
        before = outcome.load(folder)
        if before.manifest.stage != stage:
            raise runner.RunError(f"{folder} holds {before.manifest.stage}, not {stage}")
        store = runner.Store(folder.resolve())
        again = seed if seed is not None else _seed_of(store)
        with tempfile.TemporaryDirectory(prefix="regrade-") as scratch:
            trial = runner.run(
                manifest,
                before.submissions,
                Path(scratch),
                workers=workers,
                seed=again,
                sandbox=sandbox,
                progress=True,
            )
            if not trial.complete:
                raise runner.RunError("not everything could be graded again; nothing was written")
            new = changes.read_results(Path(scratch) / "results")
        found = changes.diff(before.results, new)
        out.print(changes.as_table(found))
        if table is not None:
            say(f"Changes: {changes.write_changes(found, table)}")
        moved = [change for change in found if change.difference]
        say(f"{len(moved)} of {len(before.graded)} students' points change.")
        if diff:
            raise typer.Exit(1 if moved else 0)
        runner.run(
            manifest,
            before.submissions,
            folder,
            workers=workers,
            seed=again,
            sandbox=sandbox,
            progress=True,
        )
        _keep_seed(store, again)
        say(f"Gradebook: {len(books.record(root, manifest, folder, db_url=db))} students written.")


def _seed_of(store: Any) -> int:
    """The run's seed that the folder was graded with."""
    path = store.hidden / "seed"
    return int(path.read_text()) if path.is_file() else 0


def _keep_seed(store: Any, seed: int) -> None:
    (store.hidden / "seed").write_text(f"{seed}\n")


@app.command(rich_help_panel=INSTRUCTORS)
def similarity(
    folder: Out = Path("graded"),
    target: Annotated[
        Path | None, typer.Option("--to", help="Default: OUT/similarity.html.")
    ] = None,
    anonymous: Anonymous = False,
) -> None:
    """Compare the students' own code, starter code removed: a hint for a person, no proof."""
    from autograder import outcome
    from autograder import similarity as tool
    from autograder.pages import read_key

    with readable_errors():
        found = outcome.load(folder)
        pairs = tool.similarity(found.manifest, found.submissions)
        key = read_key(folder / ".grader" / "pseudonyms.key") if anonymous else None
        path = tool.write_similarity(
            found.manifest,
            pairs,
            target or folder / "similarity.html",
            compared=len(found.submissions),
            anonymous=anonymous,
            key=key,
        )
    say(f"{len(pairs)} pairs to look at: {path}")


def run_app(function: Callable[[], None] = app) -> None:
    """Entry point with the exit code of an interrupted program."""
    try:
        function()
    except KeyboardInterrupt:
        sys.exit(130)
