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
def readable_errors() -> Iterator[None]:
    """Turn the errors that people can mend into one line and exit code 2."""
    from autograder.authoring.stage import StageError
    from autograder.intake import IntakeError
    from autograder.ledger import LedgerError
    from autograder.runner import RunError
    from autograder.sandbox import SandboxError
    from autograder.selfcheck import SelfCheckError

    known = (StageError, IntakeError, LedgerError, RunError, SandboxError, SelfCheckError)
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

    with readable_errors():
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

    with readable_errors():
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


def run_app(function: Callable[[], None] = app) -> None:
    """Entry point with the exit code of an interrupted program."""
    try:
        function()
    except KeyboardInterrupt:
        sys.exit(130)
