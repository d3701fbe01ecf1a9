"""Where language models stand: inside deep learning, and inside generative AI.

Does: draw the first figure of book/language-models.md. Does not: give the areas a meaning.
"""

from __future__ import annotations

import sys

from common import Palette, blank, main
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyBboxPatch

# name, left, bottom, width, height
FIELDS = (
    ("Artificial intelligence", 1.5, 1.5, 43.0, 33.5),
    ("Machine learning", 4.0, 2.8, 38.0, 26.5),
    ("Deep learning", 6.5, 4.1, 33.0, 19.6),
)


def draw(palette: Palette) -> Figure:
    """Three nested boxes; an ellipse, generative AI, lies half inside the innermost."""
    figure, axes = blank(4.6, 3.7)
    for panel, (name, left, bottom, width, height) in enumerate(FIELDS):
        axes.add_patch(
            FancyBboxPatch(
                (left, bottom),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=1.5",
                facecolor=palette.panels[panel],
                edgecolor=palette.text,
                lw=1.0,
            )
        )
        axes.text(
            left + 1.6,
            bottom + height - 2.6,
            name,
            va="center",
            color=palette.text,
            weight="bold",
        )
    axes.add_patch(
        FancyBboxPatch(
            (11.0, 7.6),
            16.0,
            8.4,
            boxstyle="round,pad=0,rounding_size=1.5",
            facecolor=palette.panels[3],
            edgecolor=palette.text,
            lw=1.0,
        )
    )
    axes.text(19.0, 12.4, "Large language", ha="center", color=palette.text, weight="bold")
    axes.text(19.0, 9.6, "models", ha="center", color=palette.text, weight="bold")
    ring = {"facecolor": "none", "edgecolor": palette.school["C"], "lw": 1.8, "ls": "--"}
    axes.add_patch(Ellipse((25.4, 12.0), 34.4, 14.6, **ring))
    label = {"color": palette.school["C"], "weight": "bold", "ha": "center"}
    axes.text(33.4, 12.6, "Generative", **label)
    axes.text(33.4, 10.0, "AI", **label)
    return figure


if __name__ == "__main__":
    sys.exit(main("lm_fields", draw))
