"""The set-up says what is missing and how to get it; a second call does nothing."""

import builtins
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bootstrap(tmp_path, monkeypatch):
    """bootstrap.py as a module that believes a temporary folder to be the repository."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "installed.sha256")
    return module


def test_an_old_python_is_refused_with_the_remedy(bootstrap, monkeypatch):
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 1))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11") as stopped:
        bootstrap.check_python()
    assert "make PYTHON=python3.11 book" in str(stopped.value)


def test_a_newer_python_is_warned_about_and_not_refused(bootstrap, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 13, 0))
    bootstrap.check_python()
    assert "tested with 3.11 only" in capsys.readouterr().out


def test_a_python_without_venv_names_the_package(bootstrap, monkeypatch):
    real = builtins.__import__

    def fake(name, *args, **kwargs):
        if name == "ensurepip":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(SystemExit, match=r"apt-get install python3\.\d+-venv"):
        bootstrap.check_python()


def test_a_foreign_environment_is_named(bootstrap):
    bootstrap.VENV.mkdir()
    with pytest.raises(SystemExit, match="delete it and try again"):
        bootstrap.make_environment()


def make_fake_environment(bootstrap, script):
    python = bootstrap.venv_python()
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="uses a shell script as interpreter")
def test_an_environment_of_another_python_is_named(bootstrap):
    make_fake_environment(bootstrap, "echo 3.8")
    with pytest.raises(SystemExit, match=r"holds Python 3\.8"):
        bootstrap.make_environment()


@pytest.mark.skipif(sys.platform == "win32", reason="uses a shell script as interpreter")
def test_a_missing_pip_is_named(bootstrap):
    version = ".".join(map(str, sys.version_info[:2]))
    make_fake_environment(bootstrap, f'[ "$1" = -c ] && echo {version} && exit 0\nexit 1')
    with pytest.raises(SystemExit, match="pip is missing"):
        bootstrap.make_environment()


@pytest.mark.skipif(sys.platform == "win32", reason="uses a shell script as interpreter")
def test_a_failed_installation_leaves_no_stamp(bootstrap):
    version = ".".join(map(str, sys.version_info[:2]))
    script = f'[ "$1" = -c ] && echo {version} && exit 0\n[ "$3" = --version ] && exit 0\nexit 1'
    make_fake_environment(bootstrap, script)
    with pytest.raises(SystemExit, match="could not install"):
        bootstrap.main()
    assert not bootstrap.STAMP.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="uses a shell script as interpreter")
def test_nothing_happens_when_everything_is_in_place(bootstrap, monkeypatch):
    make_fake_environment(bootstrap, "exit 1")
    bootstrap.STAMP.write_text(bootstrap.wanted_stamp())
    monkeypatch.setattr(bootstrap, "call", lambda *a: pytest.fail("it ran a command"))
    bootstrap.main()


def test_a_changed_pin_installs_again(bootstrap):
    before = bootstrap.wanted_stamp()
    (bootstrap.ROOT / "requirements.txt").write_text("numpy==0")
    assert bootstrap.wanted_stamp() != before


def test_make_alone_lists_the_targets(need_program):
    make = need_program("make", why="the README's commands are make targets")
    done = subprocess.run([make, "-s"], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert {"make book", "make test", "make serve"} <= {
        "make " + line.split()[1] for line in done.stdout.splitlines() if line.startswith("make ")
    }


def test_make_without_python_says_so(need_program):
    make = need_program("make", why="the README's commands are make targets")
    done = subprocess.run(
        [make, "-s", "book", "PYTHON="], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode != 0 and "Install Python 3.11" in done.stdout


def test_requirements_pin_every_package_exactly():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    assert all("==" in line and "+" not in line for line in pins)
    names = [line.split("==")[0].lower() for line in pins]
    assert len(names) == len(set(names))


def test_the_students_pins_are_the_courses():
    course = set((ROOT / "requirements.txt").read_text().splitlines())
    student = [
        line
        for line in (ROOT / "requirements-student.txt").read_text().splitlines()
        if "==" in line
    ]
    assert student and set(student) <= course
