"""Build the book and show it on this machine.

Does: run Jupyter Book with warnings as errors, print only what went wrong, build from scratch when
the book's own tools have changed or the last build failed, and serve the result on localhost.
Does not: execute a notebook (outputs are the stored ones), need the network, or write outside the
output folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TROUBLE = re.compile(r"\b(WARNING|ERROR|CRITICAL|Traceback|Extension error|Exception)\b")
PROGRAM = "from jupyter_book.cli.main import main; main()"
# what decides how pages look and is no source of a page, so that Sphinx does not watch it
TOOLS = ("book/_ext", "book/theme", "book/vendor", "requirements.txt", "_toc.yml")


class BookError(Exception):
    """The book cannot be built or shown; the message says what to do."""


def build(root: Path, *, config: Path | None = None, output: Path | None = None) -> Path:
    """Build the book of ``root`` and return the path of its ``index.html``.

    ``config`` stands for ``_config.yml``, ``output`` for ``root`` as the folder that gets
    ``_build``. Raises ``BookError`` with every warning when Jupyter Book gives one.
    """
    config = config or root / "_config.yml"
    for needed in (config, root / "_toc.yml"):
        if not needed.is_file():
            raise BookError(f"{needed} is missing: run this inside a clone of the course")
    built = (output or root) / "_build"
    stamp, wanted = built / "tools.sha256", fingerprint(root, config)
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        forget(built)
        shutil.rmtree(built / "html", ignore_errors=True)  # pages that are no longer there
    command = [sys.executable, "-B", "-c", PROGRAM, "build", str(root), "--config", str(config)]
    if output is not None:
        command += ["--path-output", str(output)]
    process = subprocess.run(
        [*command, "-W", "-n", "--keep-going"],
        cwd=root,
        env={**os.environ, "PYTHONUTF8": "1", "NO_COLOR": "1", "MPLCONFIGDIR": str(built)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    index = built / "html" / "index.html"
    if process.returncode != 0 or not index.is_file():
        forget(built)  # a warm rebuild would not repeat the warnings
        raise BookError(
            "the book was not built cleanly (warnings count as errors):\n"
            + what_went_wrong(process.stdout, root)
        )
    stamp.write_text(wanted, encoding="utf-8")
    return index


def fingerprint(root: Path, config: Path) -> str:
    """A hash of what decides how pages look but is no source of a page."""
    digest = hashlib.sha256(f"{sys.version} {config.read_text(encoding='utf-8')}".encode())
    here = Path(__file__).parent
    files = [here / "quizzes.py", here / "stage.py"]
    for name in TOOLS:
        path = root / name
        files += [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for path in files:
        if "__pycache__" not in path.parts and path.is_file():
            digest.update(f"{path.name} ".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def forget(built: Path) -> None:
    """Make the next build read every page again."""
    (built / ".doctrees" / "environment.pickle").unlink(missing_ok=True)


def what_went_wrong(log: str, root: Path) -> str:
    """The warnings of a log, with paths as seen from the root; its end where there are none."""
    lines = [COLOURS.sub("", line).replace(f"{root}{os.sep}", "") for line in log.splitlines()]
    lines = [line.rstrip() for line in lines if line.strip()]
    trouble = [line for line in lines if TROUBLE.search(line)]
    if "Traceback" in log or not trouble:
        return "\n".join(lines[-30:])
    return "\n".join(dict.fromkeys(trouble))


class _Handler(SimpleHTTPRequestHandler):
    """Files of the book, without a line on the terminal for each."""

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def server(html: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of the folder ``html`` on localhost only; port 0 takes a free one.

    Raises ``BookError`` when there is no book or the port is taken.
    """
    if not (html / "index.html").is_file():
        raise BookError(f"{html} holds no book yet: run `make book` first")
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(html)))
    except OSError as error:
        raise BookError(
            f"port {port} is not free ({error.strerror}): take another one with --port"
        ) from error


def serve(root: Path, port: int = 8000) -> None:
    """Show the built book until Ctrl-C."""
    with server(root / "_build" / "html", port) as shown:
        address = f"http://localhost:{shown.server_port}/"
        print(f"The book is at {address}  (Ctrl-C ends this)", flush=True)
        try:
            shown.serve_forever()
        except KeyboardInterrupt:
            print()


def done_message(index: Path) -> str:
    """What the command line says after a build."""
    return f"The book is at {index}\nTo read it in a browser on this machine:  make serve"
