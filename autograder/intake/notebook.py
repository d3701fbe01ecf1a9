"""One notebook's bytes, read tolerantly: what programs and people really save.

Does: find the encoding, parse JSON with caps, read formats 2 to 4, and keep ids, text and whether
a cell was ever run. Outputs, attachments, widgets and points are dropped before anyone looks.
Does not: know the stage (``cells`` does), execute, or validate what does not matter.

Whatever is wrong becomes one :class:`NotebookProblem`: a sentence that the student understands.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from autograder.intake.files import Caps, printable
from autograder.model import Flag

HAND_IN_AGAIN = "Download the notebook once more (in Jupyter: File, Download) and hand in again."
NOT_A_NOTEBOOK = {
    b"%PDF": "a PDF file",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a compressed archive",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"\x7fELF": "a program",
}


class NotebookProblem(Exception):
    """The bytes are no usable notebook; the text is for the student."""


@dataclass(frozen=True)
class RawCell:
    """A cell as it was handed in. ``kind`` is ``code``, ``markdown`` or ``raw``."""

    index: int
    kind: str
    source: str
    id: str | None = None
    grade_id: str | None = None
    executed: bool = False


@dataclass(frozen=True)
class Notebook:
    cells: list[RawCell]
    stage: str | None = None  # what the notebook's own metadata say
    flags: list[Flag] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def decode(data: bytes) -> tuple[str, str | None]:
    """The text of a file, and a note when it is not plain UTF-8."""
    stripped = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not stripped:
        raise NotebookProblem(f"The file is empty ({len(data)} bytes). {HAND_IN_AGAIN}")
    if not data.strip(b"\x00"):
        raise NotebookProblem(
            f"The file holds nothing but zero bytes: the upload failed. {HAND_IN_AGAIN}"
        )
    for magic, what in NOT_A_NOTEBOOK.items():
        if data.startswith(magic):
            raise NotebookProblem(f"The file is {what}, not a notebook. {HAND_IN_AGAIN}")
    encoding = json.detect_encoding(data[:4096])
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise NotebookProblem(
            f"The file is not in the encoding UTF-8: byte {error.start} is 0x{byte:02X}. Open it "
            "in Jupyter, save it again, and hand that in."
        ) from error
    text = text.removeprefix("\ufeff")
    if encoding == "utf-8-sig":
        return text, "the file began with a byte-order mark"
    return text, None if encoding == "utf-8" else f"the file was in the encoding {encoding}"


def _parse(text: str, caps: Caps, notes: list[str]) -> Any:
    """The JSON document. Raises :class:`NotebookProblem`."""
    values = text.count(",") + text.count("[") + text.count("{")
    if values > caps.values:
        raise NotebookProblem(
            f"The notebook holds more than {caps.values} values, nearly all of them in outputs. "
            "Clear the outputs (in Jupyter: Edit, Clear Outputs of All Cells), save, and hand in."
        )
    repeated: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found) and not repeated:
            seen: set[str] = set()
            repeated.append(next(n for n, _ in found if n in seen or seen.add(n)))  # type: ignore
        return made

    def number(digits: str) -> int | float:
        return int(digits) if len(digits) <= 18 else 0  # no number of a notebook is that long

    try:
        document = json.loads(
            text, object_pairs_hook=pairs, parse_int=number, parse_constant=lambda _: None
        )
    except json.JSONDecodeError as error:
        raise NotebookProblem(_where_it_breaks(text, error)) from error
    except RecursionError as error:
        raise NotebookProblem(
            f"The file is nested deeper than any notebook. {HAND_IN_AGAIN}"
        ) from error
    if repeated:
        name = printable(repeated[0], 40)
        notes.append(f"the file gives '{name}' twice in one place; the last one counts")
    return document


def _where_it_breaks(text: str, error: json.JSONDecodeError) -> str:
    start = text.lstrip()[:300].lower()
    if start.startswith("<"):
        kind = "an HTML page" if "html" in start else "an HTML or XML page"
        return (
            f"The file is {kind}, not a notebook: probably the page was saved instead of the file. "
            + HAND_IN_AGAIN
        )
    place = f"line {error.lineno}, column {error.colno}"
    if not start.startswith("{"):
        return f"The file is not a notebook (no JSON: {error.msg} at {place}). {HAND_IN_AGAIN}"
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return f"The notebook is cut off after {len(text)} characters ({place}). {HAND_IN_AGAIN}"
    if re.search(r"^(<{7}|={7}|>{7})", text, re.MULTILINE):
        return (
            f"The notebook holds marks of a git conflict ({place}). Resolve it and hand in again."
        )
    return f"The notebook is damaged at {place} ({error.msg}). {HAND_IN_AGAIN}"


def _text(value: Any) -> str:
    """A cell's source: a string, or a list of lines."""
    if isinstance(value, list):
        value = "".join(line for line in value if isinstance(line, str))
    if not isinstance(value, str):
        return ""
    # half of a surrogate pair cannot be written anywhere
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 200 else None


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _cell(index: int, value: Any) -> RawCell:
    cell = _dictionary(value)
    kind = cell.get("cell_type")
    source = cell.get("source", cell.get("input"))  # formats 2 and 3 say input
    if kind == "heading":
        level = cell.get("level")
        level = level if isinstance(level, int) and 1 <= level <= 6 else 1
        return RawCell(index, "markdown", "#" * level + " " + _text(source))
    metadata = _dictionary(cell.get("metadata"))
    count = cell.get("execution_count", cell.get("prompt_number"))
    return RawCell(
        index,
        kind if kind in ("code", "markdown") else "raw",
        _text(source),
        _name(cell.get("id")),
        _name(_dictionary(metadata.get("nbgrader")).get("grade_id")),
        isinstance(count, int) and not isinstance(count, bool) and count > 0,
    )


def read(data: bytes, caps: Caps | None = None) -> Notebook:
    """The notebook in ``data``. Raises :class:`NotebookProblem`, and nothing else."""
    caps = caps or Caps()
    notes: list[str] = []
    flags: list[Flag] = []
    text, note = decode(data)
    if note:
        notes.append(note)
    document = _parse(text, caps, notes)
    if not isinstance(document, dict):
        raise NotebookProblem(f"The file is JSON, but not a notebook. {HAND_IN_AGAIN}")
    version = document.get("nbformat")
    if isinstance(version, int) and version > 4:
        raise NotebookProblem(
            f"The notebook is in format {version}, which is newer than format 4 that is graded. "
            "Save it with Jupyter (jupyter nbconvert --to notebook) and hand that in."
        )
    cells = document.get("cells")
    if not isinstance(cells, list):
        sheets = document.get("worksheets")
        if not isinstance(sheets, list):
            raise NotebookProblem(
                f"The file is JSON, but not a notebook: it has no cells. {HAND_IN_AGAIN}"
            )
        parts = [_dictionary(sheet).get("cells") for sheet in sheets]
        cells = [cell for part in parts if isinstance(part, list) for cell in part]
        flags.append(Flag.UPGRADED)
        shown = version if isinstance(version, int) else "3 or older"
        notes.append(f"the notebook was in the old format {shown}")
    if len(cells) > caps.cells:
        raise NotebookProblem(
            f"The notebook has {len(cells)} cells; at most {caps.cells} are read. {HAND_IN_AGAIN}"
        )
    read_cells = [_cell(index, cell) for index, cell in enumerate(cells)]
    if sum(len(cell.source) for cell in read_cells) > caps.source_mb * 2**20:
        raise NotebookProblem(
            f"The cells hold more than {caps.source_mb:g} MiB of text. Keep data in variables that "
            "your code makes, not in the text of cells, and hand in again."
        )
    code = [cell for cell in read_cells if cell.kind == "code"]
    if code and not any(cell.executed for cell in code):
        flags.append(Flag.NEVER_RUN)
    stage = _dictionary(_dictionary(document.get("metadata")).get("xor2gpt")).get("stage")
    return Notebook(read_cells, _name(stage), flags, notes)
