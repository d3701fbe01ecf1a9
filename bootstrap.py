"""Make ``.venv`` from the pins, with nothing but Python's standard library.

Does: check Python and pip, create ``.venv``, install ``requirements.txt`` and the course's own
packages, and do nothing when all that is already in place.
Does not: touch anything outside the repository.

    python3 bootstrap.py            what `make book` and `make test` call first
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed.sha256"
OLDEST, TESTED = (3, 11), (3, 11)


def stop(message: str) -> None:
    sys.exit(f"\nThe set-up stops here.\n{message}\n")


def check_python() -> None:
    version = sys.version_info[:2]
    name = ".".join(map(str, version))
    if version < OLDEST:
        stop(
            f"This is Python {name} ({sys.executable}); the course needs Python 3.11.\n"
            "Remedy: install Python 3.11 (your system's packages, python.org, or pyenv), then\n"
            "say which one to use:  make PYTHON=python3.11 book"
        )
    if version > TESTED:
        print(
            f"note: this is Python {name}; the pinned packages are tested with 3.11 only. If an "
            "installation fails, use:  make PYTHON=python3.11 book"
        )
    try:
        import ensurepip  # noqa: F401  (Debian and Ubuntu ship Python without it)
        import venv  # noqa: F401
    except ImportError:
        stop(
            f"Python {name} cannot make virtual environments: venv or ensurepip is missing.\n"
            f"Remedy on Debian and Ubuntu:  sudo apt-get install python{name}-venv"
        )


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def wanted_stamp() -> str:
    """A hash of everything that decides what gets installed."""
    digest = hashlib.sha256(sys.version.encode())
    digest.update(str(ROOT).encode())
    for name in ("requirements.txt", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def call(*command: str | Path) -> bool:
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode == 0


def make_environment() -> None:
    if VENV.exists() and not venv_python().exists():
        stop(
            f"{VENV} exists but is no environment of this system. Remedy: delete it and try again."
        )
    python = venv_python()
    if not python.exists():
        print("Creating .venv ...", flush=True)
        if not call(sys.executable, "-m", "venv", VENV):
            shutil.rmtree(VENV, ignore_errors=True)
            stop("Python could not create .venv; the lines above say why.")
    version = subprocess.run(
        [str(python), "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    if version != ".".join(map(str, sys.version_info[:2])):
        stop(
            f".venv holds Python {version or '(broken)'}, but you run {sys.version.split()[0]}.\n"
            "Remedy: delete the folder .venv and try again."
        )
    if not call(python, "-m", "pip", "--version"):
        stop(f"pip is missing in .venv. Remedy:  {python} -m ensurepip --upgrade")
    print("Installing the pinned packages (about 1 GB; minutes, once) ...", flush=True)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    for arguments in (
        ("-r", "requirements.txt"),
        ("--no-deps", "--no-build-isolation", "-e", "."),
    ):
        if not call(*pip, *arguments):
            stop(
                "pip could not install the packages; its message is above.\n"
                "Remedy: check the network (or your package mirror) and run the command again;\n"
                "what is installed already stays."
            )


def main() -> None:
    check_python()
    wanted = wanted_stamp()
    if venv_python().exists() and STAMP.is_file() and STAMP.read_text() == wanted:
        return
    make_environment()
    STAMP.write_text(wanted)
    print("Set-up done.")


if __name__ == "__main__":
    main()
