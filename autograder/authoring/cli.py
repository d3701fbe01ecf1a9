"""The command line of the authoring tools; each command is a thin call into one module."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
    Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False, markup=True)
    return typer.Exit(1)


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
