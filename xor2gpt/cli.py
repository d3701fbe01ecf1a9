"""The command line: ``python -m xor2gpt doctor | recipes | train RECIPE | results [RECIPE]``.

Does: parse arguments, call the library, print; figures and tables go to stdout, progress and
errors to stderr.
Does not: hold logic of its own, or take hyper-parameters (a recipe's are fixed in its code).

Exit codes: 0 all is well; 1 a check failed or a run or file gave an error; 2 the command line is
wrong (unknown command, option, recipe); 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from xor2gpt import __version__

__all__ = ["app"]

EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED = 1, 2, 130

app = typer.Typer(
    name="python -m xor2gpt",
    help="From XOR to GPT: check this machine, run the course's training recipes, read results.",
    epilog="Exit codes: 0 fine, 1 a check or a run failed, 2 wrong command line, 130 stopped.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder of all results.  [default: benchmarks/results]",
        show_default=False,
        file_okay=False,
    ),
]


def _fail(message: str, code: int = EXIT_FAILED) -> typer.Exit:
    """Print an error to stderr; the exception to raise."""
    typer.echo(f"Error: {message}", err=True)
    return typer.Exit(code)


def _print_version(wanted: bool) -> None:
    """``--version``: print and leave."""
    if wanted:
        typer.echo(f"xor2gpt {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Show the help when no command is given."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Check this machine: Python, packages, device, memory, and what the grader needs.

    Exits with 0 unless something that students need fails; what only the grader needs is
    reported as a warning.
    """
    from xor2gpt import doctor as checks

    found = checks.run_checks()
    if as_json:
        typer.echo(json.dumps(checks.as_dict(found), indent=1))
    else:
        _print_checks(found)
    if not checks.healthy(found):
        raise typer.Exit(EXIT_FAILED)


def _print_checks(found: list) -> None:
    """The doctor's report, one line a check, the remedy below what is not ok."""
    from xor2gpt import doctor as checks

    console = Console(highlight=False, soft_wrap=True)
    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    for line, status in checks.report_lines(found):
        console.print(line, style=styles.get(status), markup=False)


@app.command("recipes")
def list_recipes() -> None:
    """List the recipes: named training runs with fixed hyper-parameters and seeds."""
    from xor2gpt import recipes

    for name in recipes.names():
        recipe = recipes.get(name)
        seeds = sum(len(unit.seeds) for unit in recipe.units)
        typer.echo(f"{name}: {recipe.title}; {len(recipe.units)} units, {seeds:,} trainings")
        typer.echo(f"    {recipe.description}")


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="The name of a recipe.", show_default=False),
    ] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="List the recipes instead (as `recipes` does).")
    ] = False,
    out: OutOption = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh/--resume",
            help="Delete this recipe's results and run all of it, or keep its finished units.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Run a recipe, write its results, print its figures.

    Each finished unit is kept in DIR/RECIPE/UNIT.json, so a run that was stopped or killed goes on
    where it was. stdout holds one line a figure: FIGURE name value unit.
    """
    if show_list:
        return list_recipes()
    from xor2gpt import recipes
    from xor2gpt.recipes.runner import Stopped, run

    if recipe is None:
        raise _fail(f"which recipe? Known: {', '.join(recipes.names())}.", EXIT_USAGE)
    try:
        chosen = recipes.get(recipe)
    except recipes.UnknownRecipe as error:
        raise _fail(str(error), EXIT_USAGE) from error
    command = f"python -m xor2gpt train {recipe}" + (f" --out {out}" if out else "")
    try:
        figures = run(chosen, out, fresh=fresh, quiet=quiet, command=command)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(EXIT_STOPPED) from stopped
    except (OSError, RuntimeError, ValueError) as error:
        raise _fail(f"recipe {recipe!r}: {error}") from error
    for figure in figures:
        typer.echo(figure.line())


@app.command()
def results(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="One recipe only.", show_default=False),
    ] = None,
    out: OutOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Show the results that are there, as mean ± sd over seeds."""
    from xor2gpt import recipes
    from xor2gpt.results import DamagedResult, results_folder, tables

    try:
        found = tables(recipe, out)
    except recipes.UnknownRecipe as error:
        raise _fail(str(error), EXIT_USAGE) from error
    except DamagedResult as error:
        raise _fail(str(error)) from error
    if as_json:
        typer.echo(json.dumps([asdict(table) for table in found], indent=1, ensure_ascii=False))
        return
    if not found:
        wanted = recipe or recipes.names()[0]
        folder = out or results_folder()
        raise _fail(f"no results below {folder}: run `python -m xor2gpt train {wanted}` first")
    console = Console()
    if not console.is_terminal:
        console.width = 140  # a pipe has no width; rich would cut the table at 80
    for shown in found:
        table = Table(title=shown.title, title_justify="left", caption_justify="left")
        for index, heading in enumerate(shown.columns):
            table.add_column(heading, justify="right" if index else "left")
        for row in shown.rows:
            table.add_row(*row)
        table.caption = " ".join(
            part
            for part in (
                shown.description,
                shown.note,
                f"{shown.cpu_seconds:g} CPU-s on {shown.machine}; {shown.versions}; {shown.date}.",
            )
            if part
        )
        console.print(table)
