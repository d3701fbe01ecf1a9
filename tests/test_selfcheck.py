"""A student's commands: check and pack, on the released notebooks of the course."""

import hashlib
import json
import shutil
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from autograder import selfcheck
from autograder.authoring.nbgrading import answered, reference_answers
from autograder.authoring.stage import Stage
from autograder.cli import app
from autograder.model import Verdict

STAGE = "03_xor_backprop"


@pytest.fixture
def released(root) -> Path:
    return root / "notebooks" / STAGE / f"{STAGE}.ipynb"


@pytest.fixture
def solved(root, released, tmp_path) -> Path:
    """The released notebook with the reference answers filled in, in a folder of the student's."""
    answers = reference_answers(Stage.load(root, STAGE))
    notebook = answered(nbformat.read(released, as_version=4), answers)
    path = tmp_path / "mine" / f"{STAGE}.ipynb"
    path.parent.mkdir()
    nbformat.write(notebook, path)
    return path


def test_the_reference_passes_every_visible_check(solved):
    result = selfcheck.check(selfcheck.read(solved))
    assert result.verdict is Verdict.AC and result.points == result.max_points


def test_the_released_notebook_earns_nothing(released):
    result = selfcheck.check(selfcheck.read(released))
    assert result.points == 0 and {c.verdict for c in result.checks} <= {Verdict.RE, Verdict.WA}


def test_one_wrong_answer_costs_its_checks_only(solved):
    text = solved.read_text().replace("return a * (1.0 - a)", "return 1.0 - a")
    solved.write_text(text)
    result = selfcheck.check(selfcheck.read(solved))
    lost = [check.id for check in result.checks if check.verdict is not Verdict.AC]
    assert lost == ["sigmoid-check-2"]


def test_it_works_outside_the_course_with_a_named_release(solved, released, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(selfcheck, "_released", lambda stage, path: None)
    assert selfcheck.read(solved, released).manifest.max_points == 20
    assert selfcheck.read(solved).manifest.max_points == 20  # its own checks


def test_a_self_check_never_sees_hidden_tests(released):
    manifest = selfcheck.read(released).manifest
    assert all("HIDDEN" not in check.source for check in manifest.checks)
    assert all(check.source == check.visible for check in manifest.checks)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", "no notebook that can be read"),
        (b"<html>login</html>", "no notebook that can be read"),
        (b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "which stage"),
    ],
)
def test_unusable_files_are_explained(tmp_path, content, words):
    path = tmp_path / "homework.ipynb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(selfcheck.SelfCheckError, match=words):
        selfcheck.read(path)


def test_unfinished_names_stubs_and_questions(released, solved):
    lacking = selfcheck.unfinished(selfcheck.read(released))
    assert {"sigmoid", "bug", "backward", "why-symmetry"} <= set(lacking.unanswered)
    lacking = selfcheck.unfinished(selfcheck.read(solved))
    assert lacking.unanswered == ["why-no-line", "why-symmetry"]
    assert "sigmoid" in lacking.never_run  # filled in by a tool, never executed


def test_pack_writes_the_file_and_an_honest_receipt(solved, tmp_path):
    work = selfcheck.read(solved)
    target, slip, receipt = selfcheck.pack(work, tmp_path / "handin")
    assert hashlib.sha256(target.read_bytes()).hexdigest() == receipt.sha256
    assert json.loads(slip.read_text())["stage"] == STAGE
    notebook = nbformat.read(target, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert selfcheck.check(selfcheck.read(target)).points == 20


def test_pack_does_not_overwrite_the_students_notebook(solved):
    before = solved.read_bytes()
    with pytest.raises(selfcheck.SelfCheckError, match="--out"):
        selfcheck.pack(selfcheck.read(solved), solved.parent)
    assert solved.read_bytes() == before


def test_the_commands(solved, released, tmp_path):
    runner = CliRunner()
    good = runner.invoke(app, ["check", str(solved)])
    assert good.exit_code == 0 and "20 of 20 points" in good.output
    stub = runner.invoke(app, ["check", "--json", str(released)])
    assert stub.exit_code == 1 and json.loads(stub.output)["points"] == 0
    packed = runner.invoke(app, ["pack", str(released), "--out", str(tmp_path / "out")])
    assert packed.exit_code == 0 and "not answered yet: sigmoid" in packed.output
    missing = runner.invoke(app, ["check", str(tmp_path / "nothing.ipynb")])
    assert missing.exit_code == 2 and "does not exist" in missing.output


def test_build_writes_manifests(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    done = CliRunner().invoke(app, ["build", STAGE, "--out", str(tmp_path)])
    assert done.exit_code == 0
    manifest = json.loads((tmp_path / f"{STAGE}.json").read_text())
    assert manifest["stage"] == STAGE and manifest["blocked_modules"] == ["xor2gpt.autograd"]
    unknown = CliRunner().invoke(app, ["build", "99_nothing"])
    assert unknown.exit_code == 2 and "99_nothing" in unknown.output


def test_doctor_probes_the_real_sandbox(need_program):
    need_program("bwrap", why="doctor starts the sandbox")
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found = {check["name"]: check["status"] for check in json.loads(done.output)}
    assert done.exit_code == 0, done.output
    assert found["process limit"] == found["network"] == found["rights"] == "ok"


def test_doctor_without_bubblewrap_names_the_remedy(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *a, **k: None)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1 and "apt-get install bubblewrap" in done.output
