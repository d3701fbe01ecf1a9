"""Rules about what is stored: every cell run, in order, without errors, small, and stable."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from autograder.authoring.rules import Context, Problem, rule

MOST_BYTES = int(1.5 * 2**20)
REASON_WORDS = 4


@rule("executed")
def executed(context: Context) -> Iterator[Problem]:
    """Every code cell was run, top to bottom, once."""
    count = 0
    for cell in context.stage.cells:
        if not cell.is_code or not cell.source.strip():
            continue
        count += 1
        if cell.node.execution_count is None:
            yield cell, "was never run: run the tool `run`"
        elif cell.node.execution_count != count:
            yield (
                cell,
                f"was run as number {cell.node.execution_count}, not {count}: "
                "run the notebook from the top with the tool `run`",
            )


@rule("error-output")
def error_output(context: Context) -> Iterator[Problem]:
    """No stored output is an error or a warning."""
    for cell in context.stage.cells:
        for output in cell.node.outputs if cell.is_code else ():
            if output.output_type == "error":
                yield cell, f"stores the error {output.ename}: mend the cell and run again"
            elif output.output_type == "stream" and output.name == "stderr":
                first = "".join(output.text).strip().split("\n")[0][:60]
                yield cell, f"writes to stderr ({first!r}): silence its cause, not the message"


@rule("output-size")
def output_size(context: Context) -> Iterator[Problem]:
    """All outputs together stay small."""
    cells = [cell for cell in context.stage.cells if cell.is_code]
    sizes = [len(json.dumps(cell.node.outputs)) for cell in cells]
    if sum(sizes) >= MOST_BYTES:
        largest = max(range(len(cells)), key=lambda i: sizes[i])
        yield (
            cells[largest],
            f"the outputs take {sum(sizes) / 2**20:.2f} MiB, at most 1.5 MiB; this cell's are the "
            f"largest ({sizes[largest] / 2**20:.2f} MiB): draw fewer points or fewer pictures",
        )


@rule("ignored-output")
def ignored_output(context: Context) -> Iterator[Problem]:
    """An output that nbval ignores has its reason beside it."""
    for cell in context.stage.cells:
        if "nbval-ignore-output" not in cell.tags:
            continue
        comments = re.findall(r"#\s*(.+)$", cell.source, re.MULTILINE)
        if not any(len(comment.split()) >= REASON_WORDS for comment in comments):
            yield cell, "the tag nbval-ignore-output needs a comment that says what is unstable"
