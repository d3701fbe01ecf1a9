"""The metrics of a training run: rows in memory, and one JSON line each in a file.

Does: append a row; go back to a checkpoint's step, so that after a resume the file holds each step
once; read a file whose last line was cut off by a kill.
Does not: average, plot or judge the numbers.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import IO, Any

__all__ = ["MetricsLog", "read_metrics"]

_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _plain(value: float) -> float | str:
    """JSON has no NaN and no infinity: they are written as words."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a metrics file; a last line without an end is left out."""
    rows = []
    with open(path, encoding="utf-8", newline="") as file:
        for line in file:
            if not line.endswith("\n"):
                break
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            rows.append(
                {key: _WORDS.get(v, v) if isinstance(v, str) else v for key, v in row.items()}
            )
    return rows


class MetricsLog:
    """Rows ``{"step": …, "loss": …}``; with a path each is also a line of a JSONL file.

    The file's lines have one more field, ``seconds`` of training so far; the rows in memory do not,
    so that they are equal on every machine.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = Path(path) if path is not None else None
        self.rows: list[dict[str, Any]] = []
        self._file: IO[str] | None = None

    def begin(self, step: int) -> None:
        """Keep the rows up to this step and go on behind them.

        At step 0 a file that is there already becomes ``NAME.old``.
        """
        if self.path is None or self._file is not None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and step == 0:
            os.replace(self.path, self.path.with_name(self.path.name + ".old"))
        elif self.path.exists():
            kept = [row for row in read_metrics(self.path) if row["step"] <= step]
            self.rows = [{k: v for k, v in row.items() if k != "seconds"} for row in kept]
            temporary = self.path.with_name(f".{self.path.name}.tmp")
            temporary.write_text("".join(map(_line, kept)), encoding="utf-8", newline="\n")
            os.replace(temporary, self.path)
        # Open until close(): one row is written every few steps.
        self._file = open(self.path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115

    def append(self, row: dict[str, Any], seconds: float) -> None:
        """Add a row."""
        self.rows.append(row)
        if self._file is not None:
            self._file.write(_line({**row, "seconds": round(seconds, 3)}))
            self._file.flush()

    def sync(self) -> None:
        """Wait until every row is on the disk (before a checkpoint that counts on them)."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; `begin` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _line(row: dict[str, Any]) -> str:
    return json.dumps({key: _plain(value) for key, value in row.items()}, allow_nan=False) + "\n"
