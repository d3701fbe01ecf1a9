"""The command line: what it prints where, and with which exit code it leaves."""

import json
import subprocess
import sys

import pytest
from test_recipes import small_recipe
from typer.testing import CliRunner

import xor2gpt
from xor2gpt import doctor, recipes
from xor2gpt.cli import app
from xor2gpt.recipes.base import Outcome

cli = CliRunner()


@pytest.fixture
def small(monkeypatch):
    """A quick recipe called "small", known for this test only."""
    recipe = small_recipe()
    monkeypatch.setitem(recipes.base._REGISTRY, "small", recipe)
    return recipe


def test_version():
    result = cli.invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"xor2gpt {xor2gpt.__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(arguments):
    result = cli.invoke(app, arguments)
    assert result.exit_code == 0
    for command in ("doctor", "recipes", "train", "results", "generate", "data"):
        assert command in result.output
    assert "130" in result.output, "the help names the exit codes"


@pytest.mark.parametrize("arguments", [["nonsense"], ["train", "small", "--nonsense"]])
def test_a_wrong_command_line_leaves_with_2(arguments):
    assert cli.invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize("command", ["train", "results"])
def test_unknown_recipe(command):
    result = cli.invoke(app, [command, "xor-sed"])
    assert result.exit_code == 2
    assert "no recipe 'xor-sed'. Did you mean 'xor-seeds'?" in result.stderr
    assert "iris-splits" in result.stderr


def test_train_without_a_name():
    result = cli.invoke(app, ["train"])
    assert result.exit_code == 2 and "Known: " in result.stderr


@pytest.mark.parametrize("arguments", [["recipes"], ["train", "--list"]])
def test_list_of_recipes(arguments):
    result = cli.invoke(app, arguments)
    assert result.exit_code == 0
    assert all(f"{name}: " in result.output for name in recipes.names())


def test_train_prints_figures_and_nothing_else_on_stdout(small, tmp_path):
    result = cli.invoke(app, ["train", "small", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    for index, line in enumerate(lines):
        word, name, value, unit = line.split(" ")
        assert (word, name, unit) == ("FIGURE", f"small.u{index}", "1")
        assert -5 < float(value) < 5
    assert "4/4 u3" in result.stderr
    assert (tmp_path / "small" / "summary.json").exists()


def test_quiet(small, tmp_path):
    result = cli.invoke(app, ["train", "small", "--out", str(tmp_path), "--quiet"])
    assert result.exit_code == 0 and result.stderr == ""


def test_ctrl_c_leaves_with_130_and_says_how_to_resume(monkeypatch, tmp_path):
    def run_unit(unit, advance):
        if unit.name == "u1":
            raise KeyboardInterrupt
        return Outcome({"value": [1.0] * 5})

    monkeypatch.setitem(recipes.base._REGISTRY, "small", small_recipe(run_unit))
    result = cli.invoke(app, ["train", "small", "--out", str(tmp_path)])
    assert result.exit_code == 130
    assert "1 of 4 units are kept" in result.stderr
    assert f"python -m xor2gpt train small --out {tmp_path}" in result.stderr


def test_an_error_in_a_run_leaves_with_1(monkeypatch, tmp_path):
    recipe = small_recipe(lambda unit, advance: Outcome({"value": []}))
    monkeypatch.setitem(recipes.base._REGISTRY, "small", recipe)
    result = cli.invoke(app, ["train", "small", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "Error: recipe 'small'" in result.stderr and "0 values for 5 seeds" in result.stderr


def test_results(small, tmp_path):
    out = ["--out", str(tmp_path)]
    empty = cli.invoke(app, ["results", "small", *out])
    assert empty.exit_code == 1 and "train small` first" in empty.stderr
    cli.invoke(app, ["train", "small", *out])
    shown = cli.invoke(app, ["results", "small", *out])
    assert shown.exit_code == 0 and "±" in shown.output and "unit 3" in shown.output
    (table,) = json.loads(cli.invoke(app, ["results", "small", "--json", *out]).output)
    assert table["recipe"] == "small" and len(table["rows"]) == 4
    (tmp_path / "small" / "u0.json").write_text("{")
    damaged = cli.invoke(app, ["results", "small", *out])
    assert damaged.exit_code == 1 and "u0.json is cut off or damaged" in damaged.stderr


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_doctor(monkeypatch, status, code):
    check = doctor.Check("course", "python", status, "Python 3.[bold]", "do [this]")
    monkeypatch.setattr(doctor, "run_checks", lambda: [check])
    shown = cli.invoke(app, ["doctor"])
    assert shown.exit_code == code
    assert "Python 3.[bold]" in shown.output and "-> do [this]" in shown.output
    report = cli.invoke(app, ["doctor", "--json"])
    assert report.exit_code == code
    content = json.loads(report.output)
    assert content["ok"] == (code == 0) and content["checks"][0]["status"] == status


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


WITHOUT_TYPER = (
    "import sys, runpy; sys.modules['typer'] = None; sys.argv[1:] = {arguments!r};"
    "runpy.run_module('xor2gpt', run_name='__main__')"
)


def test_without_typer_the_message_says_what_to_install():
    done = run_python(WITHOUT_TYPER.format(arguments=["recipes"]))
    assert done.returncode == 1
    assert "pip install -r requirements.txt" in done.stderr and "Traceback" not in done.stderr


def test_without_typer_doctor_still_reports():
    done = run_python(WITHOUT_TYPER.format(arguments=["doctor"]))
    assert "To study" in done.stdout and "Traceback" not in done.stderr


def test_help_is_quick_because_it_imports_no_torch():
    code = (
        "import sys; from typer.testing import CliRunner; from xor2gpt.cli import app;"
        "r = CliRunner(); r.invoke(app, ['--help']); r.invoke(app, ['recipes']);"
        "print([m for m in ('torch', 'sklearn', 'scipy.stats', 'matplotlib') if m in sys.modules])"
    )
    assert run_python(code).stdout.strip() == "[]"
