"""The three stages of building a language model, and where the course does each.

Does: draw stages and steps from top to bottom. Does not: say how long they take.
"""

from __future__ import annotations

import sys

from common import Palette, arrow, blank, box, main
from matplotlib.figure import Figure

# title, steps, centre y, height
STAGES = (
    ("1 · Build", "tokens (9) · attention (10) · model (11)", 31.5, 7.0),
    ("2 · Pretrain", "predict the next token of much raw text (12)", 19.5, 7.0),
)
RESULTS = (
    ("3a · Classify", "text and class (13)", 11.0),
    ("3b · Follow", "instruction and answer (14)", 35.0),
)


def draw(palette: Palette) -> Figure:
    """Build, then pretrain, then two kinds of fine-tuning side by side."""
    figure, axes = blank(4.6, 3.7)
    for title, steps, y, height in STAGES:
        box(axes, palette, (23.0, y), (42.0, height), title, steps, 1)
    for title, steps, x in RESULTS:
        box(axes, palette, (x, 5.5), (21.6, 7.0), title, steps, 2)
        arrow(axes, palette, (x, 15.8), (x, 9.3))
    arrow(axes, palette, (23.0, 27.8), (23.0, 23.3))
    axes.text(
        23.0,
        12.6,
        "fine-tune the foundation model",
        ha="center",
        va="center",
        color=palette.muted,
        fontsize=9.5,
    )
    return figure


if __name__ == "__main__":
    sys.exit(main("lm_stages", draw))
