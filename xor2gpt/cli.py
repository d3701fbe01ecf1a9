"""The command line: ``python -m xor2gpt doctor | data | recipes | train | results | generate``.

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


data_app = typer.Typer(
    name="data",
    help="The course's data: what there is, get it, check it, find it.",
    epilog=(
        "XOR2GPT_DATA is the cache folder, XOR2GPT_MIRROR a folder or address that holds copies. "
        "Exit codes: 0 fine, 1 something is damaged or could not be fetched, 2 wrong command line."
    ),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app)

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...", help="Names of sets (see `data list`).", show_default=False
    ),
]


def _chosen(names: list[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """The named sets, each known, or the default."""
    from xor2gpt import data

    try:
        return tuple(data.info(name).name for name in names) if names else default
    except data.UnknownDataset as error:
        raise _fail(str(error), EXIT_USAGE) from error


@data_app.command("list")
def data_list(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """List all sets: kind, size, licence, and whether they are here."""
    from xor2gpt import data
    from xor2gpt.data import store

    rows = []
    for name in data.names():
        info = data.info(name)
        here = "embedded" if info.embedded else "cached" if store.held(info) else ""
        rows.append((name, info.kind, f"{info.size / 1e6:.3g}" if info.size else "", here, info))
    if as_json:
        listed = [asdict(info) | {"here": here} for *_, here, info in rows]
        typer.echo(json.dumps(listed, indent=1, ensure_ascii=False))
        return
    table = Table(title=f"{len(rows)} sets", title_justify="left", caption_justify="left")
    for heading in ("name", "gives", "MB", "here", "licence"):
        table.add_column(heading, justify="right" if heading == "MB" else "left")
    for name, kind, size, here, info in rows:
        table.add_row(name, kind, size, here, info.licence)
    table.caption = "`python -m xor2gpt data fetch NAME` gets a set; load it with data.load(NAME)."
    console = Console()
    if not console.is_terminal:
        console.width = 140
    console.print(table)


@data_app.command("fetch")
def data_fetch(
    names: NamesArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="Every set that has files.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Get sets into the cache and verify every file; damaged ones are fetched again."""
    from xor2gpt import data
    from xor2gpt.data.store import names_with_files

    if not names and not everything:
        raise _fail("which set? Name some, or say --all (see `data list`).", EXIT_USAGE)
    failed = 0
    for name in _chosen(names, names_with_files()):
        try:
            place = data.fetch(name, progress=False if quiet else None)
        except (data.DataError, OSError) as error:
            failed += 1
            typer.echo(f"Error: {error}", err=True)
            continue
        typer.echo(f"{name}: {place or 'embedded, nothing to fetch'}")
    if failed:
        raise typer.Exit(EXIT_FAILED)


@data_app.command("verify")
def data_verify(names: NamesArgument = None) -> None:
    """Hash every file in the cache and in a mirror folder; name each damaged or missing one.

    A set that is in neither place is an error only when it was named.
    """
    from xor2gpt import data
    from xor2gpt.data.store import names_with_files

    wrong = 0
    for name in _chosen(names, names_with_files()):
        try:
            findings = data.verify(name)
        except (data.DataError, OSError) as error:
            raise _fail(str(error)) from error
        bad = [row for row in findings if row.status != "whole"]
        for row in bad:
            typer.echo(f"{name}: {row.status} in the {row.place}: {row.path}")
        for place in ("cache", "mirror"):
            rows = [row for row in findings if row.place == place]
            if rows and not any(row in bad for row in rows):
                plural = "" if len(rows) == 1 else "s"
                typer.echo(f"{name}: whole in the {place}, {len(rows)} file{plural}")
        if not findings:
            embedded = data.info(name).embedded
            typer.echo(f"{name}: {'embedded' if embedded else 'not here'}")
            wrong += bool(names) and not embedded
        wrong += len(bad)
    if wrong:
        typer.echo(
            "What to do: `python -m xor2gpt data fetch NAME` replaces what is damaged in the cache "
            "and gets what is missing; a mirror's files are for its keeper to replace.",
            err=True,
        )
        raise typer.Exit(EXIT_FAILED)


@data_app.command("where")
def data_where(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One set.", show_default=False)
    ] = None,
) -> None:
    """Print the cache folder and the mirror, or the folder of one set."""
    from xor2gpt import data
    from xor2gpt.data import store

    if name:
        (known,) = _chosen([name], ())
        typer.echo(data.where(known) or "embedded: it needs no file")
        return
    source = store.mirror()
    typer.echo(f"cache: {store.cache_root()}")
    typer.echo(f"mirror: {source.base if source else '(XOR2GPT_MIRROR is not set)'}")


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


@app.command()
def generate(
    model: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A saved model: config.json, weights.")
    ],
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="The text to go on from; - reads stdin.")
    ] = "\n",
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=1, help="New tokens.")] = 200,
    number: Annotated[int, typer.Option(min=1, help="Texts, one after another.")] = 1,
    temperature: Annotated[float, typer.Option(help="0: the likeliest token, always.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Of the k likeliest tokens only.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Of the likeliest p of all mass.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Not below p times the likeliest.")] = None,
    penalty: Annotated[
        float, typer.Option("--repetition-penalty", help="Above 1: fewer repetitions.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed, the same text.")] = 0,
    stop: Annotated[
        list[str] | None, typer.Option(help="A token that ends a text (may be repeated).")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A tokenizer's file, or gpt2.  [default: what lies in FOLDER]",
            show_default=False,
        ),
    ] = None,
    use_cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Reuse past keys.")] = True,
) -> None:
    """Write text with a saved model; the text goes to stdout as it is made.

    FOLDER is what `GPT.save` wrote, with the tokenizer's tokenizer.json beside it, or a folder of
    transformers' GPT-2, Llama or Qwen3. A text that outgrows the model's context goes on from its
    last half.
    """
    import sys

    import torch

    from xor2gpt.generation import Sampling, stream
    from xor2gpt.gpt import GPT

    try:
        sampling = Sampling(temperature, top_k, top_p, min_p, penalty)
    except ValueError as error:
        raise _fail(str(error), EXIT_USAGE) from error
    try:
        network = GPT.load(model).eval()
        words = _tokenizer(model, tokenizer)
        ids = words.encode(sys.stdin.read() if prompt == "-" else prompt)
        stops = [_one_token(words, text) for text in stop or ()]
        generator = torch.Generator().manual_seed(seed)
        for index in range(number):
            made = stream(
                network,
                [ids],
                tokens,
                sampling=sampling,
                stop_tokens=stops,
                generator=generator,
                use_cache=use_cache,
                crop_to=max(1, network.config.context_length // 2),
            )
            if number > 1:
                typer.echo(f"--- {index + 1} ---")
            for text in words.decode_stream(step[0] for step in made if step[0] is not None):
                typer.echo(text, nl=False)
            typer.echo("")
    except (OSError, ValueError, KeyError, LookupError) as error:
        raise _fail(str(error)) from error


def _tokenizer(folder: Path, wish: str | None):
    """The tokenizer that was wished for, or else the one that lies beside the model."""
    from xor2gpt.tokenizer import Tokenizer

    if wish == "gpt2":
        return Tokenizer.gpt2()
    if wish is not None:
        return Tokenizer.load(wish)
    for merges, numbers in (("merges.txt", "vocab.json"), ("vocab.bpe", "encoder.json")):
        if (folder / merges).is_file() and (folder / numbers).is_file():
            return Tokenizer.from_gpt2_files(folder / merges, folder / numbers)
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.load(folder / "tokenizer.json")
    raise ValueError(
        f"{folder} holds no tokenizer.json: save the tokenizer there, or say --tokenizer FILE"
    )


def _one_token(tokenizer, text: str) -> int:
    """The id of a text that is one token; special tokens are."""
    ids = tokenizer.encode(text, allowed_special="all")
    if len(ids) != 1:
        raise ValueError(f"--stop {text!r} is {len(ids)} tokens of this tokenizer: give one")
    return ids[0]
