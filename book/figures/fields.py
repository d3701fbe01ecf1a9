"""Nested fields: AI contains machine learning, which contains deep learning, which contains LLMs.

Does: draw the figure of book/part1-introduction.md. Does not: give the areas a meaning.
"""

from __future__ import annotations

import sys

from common import Palette, main
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

FIELDS = (
    ("Artificial intelligence", "search, logic, expert systems"),
    ("Machine learning", "logistic regression, k-means"),
    ("Deep learning", "networks of many layers"),
    ("Large language models", "GPT"),
)


def draw(palette: Palette) -> Figure:
    """Four boxes, one inside the other, each with its name and an example at the top."""
    figure = plt.figure(figsize=(4.6, 3.7))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, 46), ylim=(0, 37))
    axes.axis("off")
    for depth, ((name, examples), colour) in enumerate(zip(FIELDS, palette.panels, strict=True)):
        left, bottom = 1.5 + 2.2 * depth, 1.5 + 1.1 * depth
        width, height = 43 - 4.4 * depth, 34 - 9.0 * depth
        axes.add_patch(
            FancyBboxPatch(
                (left, bottom),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=1.5",
                facecolor=colour,
                edgecolor=palette.text,
                lw=1.0,
            )
        )
        top = bottom + height
        axes.text(left + 1.6, top - 2.3, name, va="center", color=palette.text, weight="bold")
        axes.text(left + 1.6, top - 5.3, examples, va="center", color=palette.text, fontsize=10)
    return figure


if __name__ == "__main__":
    sys.exit(main("fields", draw))
