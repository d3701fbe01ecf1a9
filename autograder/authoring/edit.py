"""Edit a stage as text: notebook -> percent script -> notebook, and run it.

Does: write a stage as a percent script whose cell headers hold the cell's id and its role in a
few words; read such a script back, keeping the stored outputs of unchanged cells; execute a
stage, store its outputs and the CPU-seconds and memory it took.
Does not: own the source. The notebook in ``solutions/`` is the source; the script is scratch.

The text format is jupytext's py:percent; the cell's title in the header is the cell's id.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from autograder.authoring.stage import Stage, StageError

SCRATCH = ".authoring"
EMPTY_DATA = Path(__file__).resolve().parents[2] / ".cache" / "no-data"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
MEASURED = re.compile(r"(\| Computer time \| ).*( \|)")


def _expand(cell: NotebookNode) -> None:
    """Turn the shorthand of a cell header into nbgrader's and the course's metadata."""
    meta = cell.metadata
    meta.pop("lines_to_next_cell", None)
    cell.id = str(meta.pop("title", "")) or cell.id
    if alt := meta.pop("alt", None):
        meta["mystnb"] = {"image": {"alt": alt}}
    if "hide-output" in meta.get("tags", []):
        meta["jupyter"] = {"outputs_hidden": True}
    points, objective = meta.pop("points", 0), meta.pop("objective", None)
    stars, minutes = meta.pop("stars", None), meta.pop("minutes", None)
    for role in ("task", "answer", "check", "manual"):
        exercise = meta.pop(role, None)
        if exercise is None:
            continue
        extra = {"role": role, "exercise": exercise}
        extra |= {
            key: value
            for key, value in (("stars", stars), ("minutes", minutes), ("objective", objective))
            if value is not None
        }
        meta["xor2gpt"] = extra
        if role != "task":
            meta["nbgrader"] = {
                "grade": role == "check",
                "grade_id": cell.id,
                "locked": role != "answer",
                "schema_version": 3,
                "solution": role == "answer",
                "task": role == "manual",
            }
            if role in ("check", "manual"):
                meta["nbgrader"]["points"] = points


def _shorten(cell: NotebookNode) -> None:
    """The inverse of :func:`_expand`."""
    meta = cell.metadata
    extra = meta.pop("xor2gpt", {})
    points = meta.pop("nbgrader", {}).get("points")
    alt = meta.pop("mystnb", {}).get("image", {}).get("alt")
    meta.pop("jupyter", None)
    rest = dict(meta)
    meta.clear()
    meta["title"] = cell.id
    if role := extra.pop("role", None):
        meta[role] = extra.pop("exercise")
        if points is not None:
            meta["points"] = points
        for key in ("objective", "stars", "minutes"):  # in the order of CONTRIBUTING.md
            if key in extra:
                meta[key] = extra.pop(key)
        meta.update(extra)
    meta.update(rest)
    if alt:
        meta["alt"] = alt


def to_text(stage: Stage) -> str:
    """The stage as a percent script."""
    notebook = nbformat.from_dict(stage.notebook)
    notebook = nbformat.reads(nbformat.writes(notebook), as_version=4)
    for cell in notebook.cells:
        _shorten(cell)
    header = {"xor2gpt": stage.extra}
    notebook.metadata = nbformat.from_dict(
        {"jupytext": {"notebook_metadata_filter": "xor2gpt,-all"}, **header}
    )
    return jupytext.writes(notebook, fmt="py:percent")


def from_text(text: str, old: Stage | None = None) -> NotebookNode:
    """The notebook of a percent script; cells whose id and source are unchanged keep outputs."""
    notebook = jupytext.reads(text, fmt="py:percent")
    extra = notebook.metadata.get("xor2gpt", {})
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNELSPEC, "language_info": LANGUAGE, "xor2gpt": extra}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    before = {(c.id, c.source): c.node for c in old.cells if c.is_code} if old else {}
    if old:
        notebook.metadata.language_info = old.notebook.metadata.get("language_info", LANGUAGE)
    seen: set[str] = set()
    for index, cell in enumerate(notebook.cells):
        if not cell.metadata.get("title"):
            start = cell.source[:40]
            raise StageError(f"cell {index} has no id in its header ('# %% id'): {start!r}")
        _expand(cell)
        if cell.id in seen:
            raise StageError(f"the id '{cell.id}' is used twice")
        seen.add(cell.id)
        if cell.cell_type == "code" and (kept := before.get((cell.id, cell.source))):
            cell.outputs, cell.execution_count = kept.outputs, kept.execution_count
    nbformat.validate(notebook)
    return notebook


def scratch_path(root: Path, name: str) -> Path:
    return root / SCRATCH / f"{name}.py"


def write_text(root: Path, name: str) -> Path:
    """``notebook -> script``; returns the script's path."""
    path = scratch_path(root, name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(to_text(Stage.load(root, name)), encoding="utf-8")
    return path


def write_notebook(root: Path, name: str) -> Path:
    """``script -> notebook``; returns the notebook's path."""
    script = scratch_path(root, name)
    if not script.is_file():
        raise StageError(f"{script} is missing: write it first, or run 'text {name}'")
    target = root / "solutions" / name / f"{name}.ipynb"
    old = Stage.read(target) if target.is_file() else None
    notebook = from_text(script.read_text(encoding="utf-8"), old)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    return target


def kernel_environment() -> dict[str, str]:
    """The environment in which stored outputs are made: one thread, no data but embedded data.

    No mirror, and a data folder in which nothing is ever put: what a machine happens to have
    downloaded cannot reach an output.
    """
    kept = {key: value for key, value in os.environ.items() if key != "XOR2GPT_MIRROR"}
    return kept | {
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "XOR2GPT_DATA": str(EMPTY_DATA),
    }


def run(root: Path, name: str, timeout: int = 300) -> dict[str, float]:
    """Execute a stage top to bottom and store outputs; returns ``cpu_seconds`` and ``memory_mb``.

    The figures go into the notebook's metadata and into the row *Computer time* of the title
    cell. On an error nothing is written; the message names the cell.
    """
    stage = Stage.load(root, name)
    notebook = stage.notebook
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(stage.path.parent)}},
    )
    client.create_kernel_manager()
    assert client.km is not None
    client.km.kernel_spec.argv[0] = sys.executable
    usage = {"cpu_seconds": 0.0, "memory_mb": 0.0}

    def sample(**_: object) -> None:
        provisioner = client.km.provisioner if client.km else None
        pid = getattr(provisioner, "pid", None)
        if pid:
            process = psutil.Process(pid)
            times = process.cpu_times()
            usage["cpu_seconds"] = times.user + times.system
            usage["memory_mb"] = max(usage["memory_mb"], process.memory_info().rss / 2**20)

    client.on_cell_executed = sample
    started = time.time()
    try:
        with client.setup_kernel(env=kernel_environment()):
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)
    except CellExecutionError as error:
        failed = next(
            (
                c.id
                for c in notebook.cells
                if c.get("outputs") and any(o.output_type == "error" for o in c.outputs)
            ),
            "?",
        )
        raise StageError(f"{name}: cell '{failed}' fails:\n{error}") from error
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata["kernelspec"] = KERNELSPEC
    notebook.metadata["language_info"] = LANGUAGE
    notebook.metadata.setdefault("xor2gpt", {})["measured"] = {
        "cpu_seconds": round(usage["cpu_seconds"], 1),
        "memory_mb": round(usage["memory_mb"]),
    }
    measured = (
        f"{usage['cpu_seconds']:.0f} CPU-seconds and {usage['memory_mb']:.0f} MB of memory, "
        "measured with one thread"
    )
    for cell in notebook.cells:
        if cell.id == "title":
            cell.source = MEASURED.sub(rf"\g<1>{measured}\g<2>", cell.source)
    nbformat.write(notebook, stage.path)
    return {**usage, "wall_seconds": time.time() - started}
