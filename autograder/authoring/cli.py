"""The command line of the authoring tools; each command is a thin call into one module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from autograder.authoring import edit
from autograder.authoring.stage import StageError, repository_root, stage_names

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console()
StageArgument = Annotated[str, typer.Argument(help="A stage's name, such as 03_xor_backprop.")]
StagesArgument = Annotated[
    list[str] | None, typer.Argument(help="Stage names; all stages when left out.")
]


def fail(error: Exception) -> typer.Exit:
    """Print an error for people and give the exit to raise."""
    Console(stderr=True, soft_wrap=True).print(
        f"[bold red]error:[/] {escape(str(error))}", highlight=False
    )
    return typer.Exit(1)


def report(problems: Sequence[object], fine: str) -> None:
    """Print problems, one a line, and exit with 1; or say that all is fine."""
    for problem in problems:
        console.print(escape(str(problem)), highlight=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)
    console.print(fine, highlight=False)


def chosen(stages: list[str] | None) -> tuple[Path, list[str]]:
    """The course's root and the stages a command works on."""
    root = repository_root()
    return root, stages or stage_names(root)


@app.command()
def text(stage: StageArgument) -> None:
    """Write a stage as a percent script into .authoring/, to edit it in any editor."""
    try:
        console.print(edit.write_text(repository_root(), stage))
    except StageError as error:
        raise fail(error) from error


@app.command()
def notebook(stage: StageArgument) -> None:
    """Read the script back into the notebook; unchanged cells keep their outputs."""
    try:
        console.print(edit.write_notebook(repository_root(), stage))
    except StageError as error:
        raise fail(error) from error


@app.command()
def run(stages: StagesArgument = None) -> None:
    """Execute stages, store their outputs, and measure CPU-seconds and memory."""
    try:
        root, names = chosen(stages)
        for name in names:
            used = edit.run(root, name)
            console.print(
                f"{name}: {used['cpu_seconds']:.1f} CPU-s, {used['memory_mb']:.0f} MB, "
                f"{used['wall_seconds']:.1f} s"
            )
    except StageError as error:
        raise fail(error) from error


# The tools below import nbgrader or run code, which takes a second: they load when they are used.


@app.command()
def release(
    stages: StagesArgument = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail when notebooks/ is not fresh.")
    ] = False,
) -> None:
    """Make the student edition: notebooks/ from solutions/."""
    from autograder.authoring import release as tool

    try:
        root, names = chosen(stages)
        if check:
            found = tool.differences(root, names, complete=not stages)
            report(found, f"notebooks/ is what solutions/ generates: {', '.join(names)}")
        else:
            for path in tool.release(root, names):
                console.print(path.relative_to(root).as_posix())
    except StageError as error:
        raise fail(error) from error


@app.command()
def lint(
    stages: StagesArgument = None,
    rule: Annotated[
        list[str] | None, typer.Option(help="Only this rule (repeat for more).")
    ] = None,
) -> None:
    """Check stages against the contract of CONTRIBUTING.md; nothing is executed."""
    from autograder.authoring.lint import lint as tool

    try:
        root, names = chosen(stages)
        found = [finding for name in names for finding in tool(root, name, set(rule or ()))]
        report(found, f"clean: {', '.join(names)}")
    except (StageError, ValueError) as error:
        raise fail(error) from error


@app.command()
def mutants(
    stages: StagesArgument = None,
    nbgrader: Annotated[
        bool, typer.Option(help="Run the entries of NBGRADER through nbgrader, too.")
    ] = True,
    engine: Annotated[
        bool, typer.Option(help="Grade every answer with the grader's own engine, too.")
    ] = True,
) -> None:
    """Run wrong, unusual and empty answers against all checks; print the kill matrix."""
    from autograder.authoring import mutants as tool

    try:
        root, names = chosen(stages)
        problems = []
        for name in names:
            matrix = tool.kill_matrix(root, name)
            tool.print_matrix(matrix, console.print)
            problems += matrix.problems
            if engine:
                problems += tool.engine_problems(root, matrix)
            if nbgrader:
                problems += tool.nbgrader_problems(root, matrix)
        report(problems, "no answer is misjudged")
    except StageError as error:
        raise fail(error) from error


@app.command()
def coverage(stages: StagesArgument = None) -> None:
    """Print where each item of the sources is answered; fail when a place does not exist."""
    from autograder.authoring import coverage as tool

    try:
        root, names = chosen(stages)
        problems = []
        for name in names:
            table = tool.check(root, name)
            tool.print_table(table, console.print)
            problems += table.problems
        report(problems, "every item is answered somewhere")
    except StageError as error:
        raise fail(error) from error


@app.command()
def book() -> None:
    """Build the book; a warning is an error."""
    from autograder.authoring import book as tool

    try:
        print(tool.done_message(tool.build(repository_root())))
    except (StageError, tool.BookError) as error:
        raise fail(error) from error


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="The port on localhost.")] = 8000,
) -> None:
    """Show the built book on localhost until Ctrl-C."""
    from autograder.authoring import book as tool

    try:
        tool.serve(repository_root(), port)
    except (StageError, tool.BookError) as error:
        raise fail(error) from error


@app.command()
def test(
    workers: Annotated[
        int | None, typer.Option(help="Processes for each part; at least 2.")
    ] = None,
) -> None:
    """Run every check and test of the course: what `make test` does."""
    from autograder.authoring import testing as tool

    try:
        raise typer.Exit(tool.run_all(repository_root(), workers))
    except StageError as error:
        raise fail(error) from error
