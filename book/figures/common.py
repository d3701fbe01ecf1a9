"""What the figures of the prose pages share: two palettes, deterministic SVG, and ``--check``.

Does: run a drawing function once for the light and once for the dark theme and write
``NAME-light.svg`` and ``NAME-dark.svg`` beside the script; with ``--check`` compare with the files
that are there instead of writing.
Does not: style the plots of notebooks (that is ``xor2gpt.plots``).
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot as plt  # noqa: E402  the backend has to be chosen first
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch  # noqa: E402

HERE = Path(__file__).resolve().parent

# Text becomes paths, ids come from a fixed salt, and no date is written: same input, same bytes.
STYLE = {
    "svg.fonttype": "path",
    "svg.hashsalt": "from-xor-to-gpt",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "path.simplify": False,
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Palette:
    """The colours of one theme; ``school`` maps a school of AI to its colour."""

    name: str
    text: str
    muted: str
    panels: tuple[str, str, str, str]
    school: Mapping[str, str]


LIGHT = Palette(
    name="light",
    text="#1a1a1a",
    muted="#6b6b6b",
    panels=("#eef4fa", "#d9e8f5", "#bcd6ec", "#93bde0"),
    school={"S": "#0067a3", "C": "#b84a00", "B": "#007a59", "H": "#8a3f7a", "G": "#555555"},
)
DARK = Palette(
    name="dark",
    text="#f0f0f0",
    muted="#a6a6a6",
    panels=("#1b2733", "#22374a", "#2a4a66", "#336185"),
    school={"S": "#6cc0f5", "C": "#f5a35c", "B": "#4fd1a5", "H": "#e39ad2", "G": "#c4c4c4"},
)


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of so many inches; one unit of its axes is a tenth of an inch."""
    figure = plt.figure(figsize=(width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, 10 * width), ylim=(0, 10 * height))
    axes.axis("off")
    return figure, axes


def box(
    axes: Axes,
    palette: Palette,
    centre: tuple[float, float],
    size: tuple[float, float],
    title: str,
    note: str = "",
    panel: int = 1,
) -> None:
    """A rounded box with a bold title and, below it, a smaller note (both may have lines)."""
    (x, y), (width, height) = centre, size
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=1.0",
            facecolor=palette.panels[panel],
            edgecolor=palette.text,
            lw=1.0,
        )
    )
    up = 1.5 + 0.9 * note.count("\n") if note else 0.0
    style = {"ha": "center", "va": "center", "color": palette.text}
    axes.text(x, y + up, title, weight="bold", **style)
    if note:
        axes.text(x, y - 1.4 - 0.2 * note.count("\n"), note, fontsize=9.5, **style)


def arrow(
    axes: Axes,
    palette: Palette,
    start: tuple[float, float],
    end: tuple[float, float],
    bend: float = 0.0,
) -> None:
    """An arrow from ``start`` to ``end``; ``bend`` curves it."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=13,
            color=palette.text,
            lw=1.3,
            shrinkA=0,
            shrinkB=0,
        )
    )


def main(
    name: str, draw: Callable[[Palette], Figure], texts: Mapping[str, str] | None = None
) -> int:
    """Write (or with ``--check`` compare) both themes of figure ``name`` and further text files.

    ``texts`` maps a file name to its content, for data that the page shows as a table.
    Returns the exit status: 1 if a file is missing or differs.
    """
    parser = argparse.ArgumentParser(description=f"Draw the figure {name!r} of the book.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a file would change"
    )
    check = parser.parse_args().check

    wanted: dict[str, bytes] = {}
    for palette in (LIGHT, DARK):
        with plt.rc_context(STYLE):
            figure = draw(palette)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
            plt.close(figure)
        wanted[f"{name}-{palette.name}.svg"] = buffer.getvalue()
    for file, text in (texts or {}).items():
        wanted[file] = text.encode()

    stale = []
    for file, content in wanted.items():
        path = HERE / file
        if path.exists() and path.read_bytes() == content:
            continue
        stale.append(file)
        if not check:
            path.write_bytes(content)
    if check and stale:
        print(
            f"{', '.join(stale)}: not what {name}.py draws with matplotlib "
            f"{matplotlib.__version__}. Run python book/figures/{name}.py and commit the result.",
            file=sys.stderr,
        )
        return 1
    print(f"{name}: {'unchanged' if not stale else 'wrote ' + ', '.join(stale)}")
    return 0
