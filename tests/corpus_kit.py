"""The corpus of bad submissions: its tiny stage, and how an entry becomes files.

Does: build the manifest of ``tests/submissions/_stage``; make honest notebooks; turn an entry's
``submitted/`` folder or ``build.yml`` recipe into a download, as a platform would hand it over.
Does not: grade, or know what is expected (``test_corpus.py`` does).

A recipe has either ``cells`` (answers by cell id) and ``attachment_mb``, which make one notebook,
or ``files``: a list of ``{path, …}`` with one of ``notebook`` (a recipe like the above), ``text``,
``link``, ``hard_link``, ``fifo``, ``socket``, ``zip`` or ``tar`` (lists of members like files, with
``name`` in place of ``path``), and for members ``zeros`` (MiB), ``device`` and ``times``.
"""

from __future__ import annotations

import copy
import io
import os
import shutil
import socket
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from autograder.authoring.stage import Stage
from autograder.manifest import Manifest, TimeLimits, build

CORPUS = Path(__file__).parent / "submissions"
STAGE = "90_pairs"
CANARIES = ("CANARY_HIDDEN_9e2d", "CANARY-SOLUTION-4c1f", "CANARY-MARKS-77b0")
LIMITS = TimeLimits(
    cell_seconds=2.0, call_seconds=1.5, check_seconds=3.0, callbacks_per_call=1000,
    submission_seconds=20.0,
)  # fmt: skip
HONEST = {
    "q1": "def double(x):\n    return x + x",
    "q2": "def twice(function, x):\n    once = function(x)\n    return function(once)",
    "why-answer": "Because once is not enough.",
}


def manifest() -> Manifest:
    """The tiny stage's manifest, with limits of seconds."""
    return replace(build(CORPUS / "_stage", STAGE), limits=LIMITS)


def released() -> NotebookNode:
    """The student edition: stubs in place of answers, no hidden tests, no mark scheme."""
    stage = Stage.load(CORPUS / "_stage", STAGE)
    notebook = copy.deepcopy(stage.notebook)
    for cell, source in zip(notebook.cells, stage.cells, strict=True):
        if source.role == "answer":
            cell.source = source.stub
        elif source.role == "check":
            cell.source = source.visible
        elif source.role == "manual":
            cell.source = source.source.split("### BEGIN MARK SCHEME")[0].rstrip()
    return notebook


def answered(**answers: str) -> NotebookNode:
    """A student's notebook: the release with answers, run once."""
    notebook = released()
    for count, cell in enumerate(notebook.cells, 1):
        cell.source = ({**HONEST, **answers}).get(cell.id, cell.source)
        if cell.cell_type == "code":
            cell.execution_count = count
    return notebook


def to_bytes(notebook: NotebookNode) -> bytes:
    return (nbformat.v4.writes(notebook) + "\n").encode()


def from_recipe(recipe: dict[str, Any]) -> bytes:
    """The bytes of a notebook that a recipe describes."""
    notebook = answered(**recipe.get("cells", {}))
    for cell in notebook.cells:
        if mebibytes := recipe.get("attachment_mb", 0) if cell.id == "q1-task" else 0:
            cell.attachments = {"picture.png": {"image/png": "A" * (mebibytes * 2**20)}}
    return to_bytes(notebook)


def contents(member: dict[str, Any]) -> bytes:
    if "notebook" in member:
        return from_recipe(member["notebook"] or {})
    if "zeros" in member:
        return bytes(member["zeros"] * 2**20)
    if "zip" in member:
        return zip_of(member)
    return member.get("text", "").encode()


def zip_of(recipe: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in recipe["zip"]:
            for number in range(member.get("times", 1)):
                name = member["name"].replace("{n}", str(number))
                entry = zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (0o120777 if "link" in member else 0o100644) << 16
                data = member["link"].encode() if "link" in member else contents(member)
                archive.writestr(entry, data)
        if recipe.get("overlap"):  # a second name for the first member's bytes
            again = copy.copy(archive.filelist[0])
            again.filename = "again.ipynb"
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
    return stream.getvalue()


def tar_of(recipe: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for member in recipe["tar"]:
            entry = tarfile.TarInfo(member["name"])
            if "link" in member:
                entry.type, entry.linkname = tarfile.SYMTYPE, member["link"]
                archive.addfile(entry)
                continue
            if "device" in member:
                entry.type, entry.devmajor, entry.devminor = tarfile.CHRTYPE, 1, 5
                archive.addfile(entry)
                continue
            data = contents(member)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def place(folder: Path, recipe: dict[str, Any]) -> None:
    """Make one file of a recipe below ``folder``."""
    path = folder / recipe["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    if "link" in recipe:
        path.symlink_to(recipe["link"])
    elif "hard_link" in recipe:
        os.link(folder / recipe["hard_link"], path)
    elif "fifo" in recipe:
        os.mkfifo(path)
    elif "socket" in recipe:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path may have 108 bytes at most
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)
        finally:
            os.chdir(here)
    elif "tar" in recipe:
        path.write_bytes(tar_of(recipe))
    else:
        path.write_bytes(contents(recipe))
    if "time" in recipe:
        os.utime(path, (recipe["time"], recipe["time"]))


def make_download(entry: Path, folder: Path) -> Path:
    """The entry's submission between two honest ones, as a folder of submissions."""
    folder.mkdir()
    for name in ("alice", "zoe"):
        (folder / f"{name}.ipynb").write_bytes(to_bytes(answered()))
    if (entry / "submitted").is_dir():
        shutil.copytree(entry / "submitted", folder, dirs_exist_ok=True)
        return folder
    recipe = yaml.safe_load((entry / "build.yml").read_text(encoding="utf-8"))
    for file in recipe.get("files", [{"path": "mallory.ipynb", "notebook": recipe}]):
        place(folder, file)
    return folder


def entries() -> list[Path]:
    """The folders of the corpus, in order."""
    return sorted(path.parent for path in CORPUS.glob("*/expect.yml"))
