"""Result files: one JSON file per finished unit, and one summary per recipe.

Does: write a file so that it is there whole or not at all; read it back; refuse a damaged one.
Does not: judge whether a result is good, or merge files of different runs.

Numbers of a run are kept to eight significant digits. JSON has no NaN and no infinity; they are
written as the strings ``"nan"``, ``"inf"``, ``"-inf"``, so that a run that diverged keeps its file.
"""

from __future__ import annotations

import json
import math
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xor2gpt.recipes.base import UnitResult

__all__ = [
    "SCHEMA",
    "DamagedResult",
    "atomic_write",
    "plain",
    "read_json",
    "read_unit",
    "remove_leftovers",
    "to_text",
]

SCHEMA = 1
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_UNIT_FIELDS = {
    "recipe": dict,
    "unit": dict,
    "per_seed": dict,
    "whole": dict,
    "seconds": dict,
    "machine": dict,
    "versions": dict,
    "device": str,
    "source_sha256": str,
    "date": str,
}


class DamagedResult(ValueError):
    """A result file cannot be read; the message names the file, the fault and the remedy."""


def plain(value: Any) -> Any:
    """``value`` as JSON data: NumPy numbers become Python's, floats keep eight significant digits.

    Raises ``TypeError`` for what JSON cannot hold.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # a NumPy array or number, a torch tensor
        return plain(value.tolist())
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        if not math.isfinite(number):
            return {math.inf: "inf", -math.inf: "-inf"}.get(number, "nan")
        return float(f"{number:.8g}")
    raise TypeError(
        f"a result cannot hold a {type(value).__name__} ({value!r}): "
        "return numbers, strings, lists and dictionaries"
    )


def _revive(value: Any) -> Any:
    """`plain`'s strings for non-finite numbers, as numbers again."""
    if isinstance(value, str):
        return _NON_FINITE.get(value, value)
    if isinstance(value, list):
        return [_revive(item) for item in value]
    return {k: _revive(v) for k, v in value.items()} if isinstance(value, dict) else value


def to_text(value: Any, indent: int = 0) -> str:
    """JSON text that diffs well: one line per key, one line per list of plain values."""
    pad, inner = " " * indent, " " * (indent + 1)
    if isinstance(value, dict) and value:
        rows = [f"{inner}{json.dumps(k)}: {to_text(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{pad}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        rows = [f"{inner}{to_text(item, indent + 1)}" for item in value]
        return "[\n" + ",\n".join(rows) + f"\n{pad}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def atomic_write(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` so that a reader sees the old file or the new one, never a part.

    The text goes to ``.NAME.PID.tmp`` in the same folder, reaches the disk, and takes the name in
    one step; a kill before that step leaves only the temporary file, which no reader looks at.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files in ``folder`` that killed processes left behind."""
    import psutil

    for leftover in folder.glob(".*.tmp"):
        writer = leftover.name.split(".")[-2]
        if not (writer.isdigit() and psutil.pid_exists(int(writer))):
            leftover.unlink(missing_ok=True)


def read_json(path: Path, kind: str) -> dict[str, Any]:
    """The file's content when it is a result file of this ``kind`` (``"unit"`` or ``"summary"``).

    Raises `DamagedResult` for one that is cut off, of another schema or of another kind, and
    ``FileNotFoundError`` where there is none.
    """
    remedy = "delete it and run its recipe again (finished units are kept)"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DamagedResult(f"{path} is not text ({error}): {remedy}") from error
    except json.JSONDecodeError as error:
        raise DamagedResult(f"{path} is cut off or damaged ({error}): {remedy}") from error
    if not isinstance(content, dict) or "schema" not in content:
        raise DamagedResult(f"{path} is no result file (it has no 'schema'): {remedy}")
    if content["schema"] != SCHEMA:
        raise DamagedResult(
            f"{path} has schema {content['schema']!r}, this version of xor2gpt reads {SCHEMA}: "
            "update xor2gpt, or " + remedy
        )
    if content.get("kind") != kind:
        raise DamagedResult(f"{path} is a {content.get('kind')!r} file, not a {kind!r}: {remedy}")
    return content


def read_unit(path: Path) -> UnitResult:
    """The result in a unit's file.

    Raises `DamagedResult` when a field is missing or of the wrong kind, or when a metric does not
    have one value per seed.
    """
    content = read_json(path, "unit")
    remedy = "delete it and run its recipe again"
    for name, kind in _UNIT_FIELDS.items():
        if not isinstance(content.get(name), kind):
            raise DamagedResult(f"{path} has no field {name!r} of type {kind.__name__}: {remedy}")
    unit, recipe = content["unit"], content["recipe"]
    for owner, name, keys in ((unit, "unit", "name title seeds hyper"), (recipe, "recipe", "name")):
        for key in keys.split():
            if key not in owner:
                raise DamagedResult(f"{path} has no field '{name}.{key}': {remedy}")
    per_seed = _revive(content["per_seed"])
    for metric, values in per_seed.items():
        if not isinstance(values, list) or len(values) != len(unit["seeds"]):
            count = len(values) if isinstance(values, list) else "no list of"
            raise DamagedResult(
                f"{path}: metric {metric!r} has {count} values "
                f"for {len(unit['seeds'])} seeds: {remedy}"
            )
    return UnitResult(
        unit=unit["name"],
        title=unit["title"],
        seeds=tuple(unit["seeds"]),
        hyper=unit["hyper"],
        per_seed=per_seed,
        whole=_revive(content["whole"]),
        seconds=content["seconds"],
        machine=content["machine"],
        versions=content["versions"],
        device=content["device"],
        commit=content.get("commit"),
        dirty=content.get("dirty"),
        source_sha256=content["source_sha256"],
        fingerprint=recipe.get("fingerprint", ""),
        date=content["date"],
    )
