"""The student edition: ``notebooks/`` made from ``solutions/`` by nbgrader.

Does: run nbgrader's ``generate_assignment`` with the settings of ``nbgrader_config.py``, without
any database; compare the result with the committed files, byte by byte.
Does not: execute anything. What is stored in ``solutions/`` is what is released.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nbformat

from autograder.authoring.nbgrading import course_config, quiet_api, succeed
from autograder.authoring.stage import Stage

REMEDY = "run `make release` (notebooks/ is written by the tool, never by hand)"


def _generate(root: Path, names: list[str], folder: Path) -> None:
    """Write ``folder/NAME/`` for each name. ``StageError`` names file and cell."""
    config = course_config(root)
    config.CourseDirectory.release_directory = str(folder)
    config.GenerateAssignment.no_database = True
    config.SaveCells.enabled = False
    with quiet_api(config) as api:
        for name in names:
            for cell in Stage.load(root, name).cells:  # first, for errors that name the cell
                if cell.is_code:
                    _ = cell.stub, cell.visible
            succeed(api.generate_assignment(name, force=True, create=False), name)
    for path in folder.rglob("*.ipynb"):  # the same bytes on Windows
        if b"\r\n" in (data := path.read_bytes()):
            path.write_bytes(data.replace(b"\r\n", b"\n"))


def release(root: Path, names: list[str], out: Path | None = None) -> list[Path]:
    """Make the student edition of the stages ``names`` in ``out`` (default ``ROOT/notebooks``).

    Returns the notebooks. A file whose bytes do not change is left alone; on an error nothing
    in ``out`` changes.
    """
    out = out or root / "notebooks"
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary).resolve() / "notebooks"
        _generate(root.resolve(), names, made)
        for name in names:
            fresh = _files(made / name)
            for old in _files(out / name) - fresh:
                (out / name / old).unlink()
            for file in fresh:
                source, target = made / name / file, out / name / file
                if not target.is_file() or target.read_bytes() != source.read_bytes():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)
    return [out / name / f"{name}.ipynb" for name in names]


def _files(folder: Path) -> set[Path]:
    """The files below ``folder``, as relative paths, less what Jupyter leaves behind."""
    found = {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}
    return {p for p in found if not {".ipynb_checkpoints", "__pycache__"} & set(p.parts)}


@dataclass(frozen=True)
class Difference:
    """One file of ``notebooks/`` that is not what ``solutions/`` generates."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; {REMEDY}"


def differences(root: Path, names: list[str], complete: bool = True) -> list[Difference]:
    """What differs between ``ROOT/notebooks`` and a fresh release of ``names``.

    With ``complete``, folders of stages that are not in ``names`` are differences too.
    """
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        made, kept = Path(temporary).resolve() / "notebooks", root / "notebooks"
        made.mkdir()
        _generate(root.resolve(), names, made)
        committed = _files(kept) if kept.is_dir() else set()
        if not complete:
            committed = {file for file in committed if file.parts[0] in names}
        for file in sorted(_files(made) | committed):
            label = f"notebooks/{file.as_posix()}"
            if file not in committed:
                found.append(Difference(label, "is missing"))
            elif not (made / file).is_file():
                found.append(Difference(label, "comes from no stage in solutions/"))
            elif (made / file).read_bytes() != (kept / file).read_bytes():
                found.append(Difference(label, first_difference(made / file, kept / file)))
    return found


def first_difference(made: Path, kept: Path) -> str:
    """In words: where the committed file ``kept`` first differs from ``made``."""
    if made.suffix != ".ipynb":
        return "differs from the file in solutions/"
    try:
        new = nbformat.read(made, as_version=nbformat.NO_CONVERT)
        old = nbformat.read(kept, as_version=nbformat.NO_CONVERT)
    except Exception as error:
        return f"is no readable notebook ({type(error).__name__})"
    for i, (a, b) in enumerate(zip(new.cells, old.cells, strict=False)):
        if a != b:
            parts = [key for key in sorted({*a, *b}) if a.get(key) != b.get(key)]
            name = a.get("id") or f"#{i}"
            return f"cell '{name}' differs from what solutions/ generates ({', '.join(parts)})"
    if len(new.cells) != len(old.cells):
        side = "is missing" if len(new.cells) > len(old.cells) else "is not in solutions/"
        longer = new.cells if len(new.cells) > len(old.cells) else old.cells
        extra = longer[min(len(new.cells), len(old.cells))]
        return f"cell '{extra.get('id', '?')}' {side}"
    if new.metadata != old.metadata:
        return "the notebook's metadata differ from what solutions/ generates"
    return "the same cells in other bytes (saved by a program that formats differently?)"
