"""The loop in which a GPT writes: predict a token, append it, read everything again.

Does: draw three rounds with the text that goes in and the token that comes out.
Does not: show probabilities; the sentence is made up.
"""

from __future__ import annotations

import sys

from common import Palette, arrow, blank, box, main
from matplotlib.figure import Figure

ROUNDS = (("The cat sat", "on"), ("The cat sat on", "the"), ("The cat sat on the", "mat"))


def draw(palette: Palette) -> Figure:
    """One row a round; a curved arrow carries each new token into the next round's input."""
    figure, axes = blank(4.6, 3.4)
    heads = ((10.5, "input"), (28.0, "model"), (40.5, "1 · next token"))
    for x, head in heads:
        axes.text(x, 32.0, head, ha="center", va="center", color=palette.muted, fontsize=9.5)
    for row, (text, token) in enumerate(ROUNDS):
        y = 26.5 - 10.3 * row
        box(axes, palette, (10.5, y), (19.0, 4.6), text, panel=0)
        box(axes, palette, (28.0, y), (9.0, 4.6), "GPT", panel=2)
        box(axes, palette, (40.5, y), (8.6, 4.6), token, panel=3)
        arrow(axes, palette, (20.2, y), (23.3, y))
        arrow(axes, palette, (32.7, y), (36.0, y))
        if row + 1 < len(ROUNDS):
            arrow(axes, palette, (40.5, y - 2.5), (17.0, y - 7.7), bend=-0.12)
            axes.text(
                23.0,
                y - 5.2,
                "2 · appended",
                ha="center",
                va="center",
                color=palette.muted,
                fontsize=9.5,
                bbox={"facecolor": "none", "edgecolor": "none"},
            )
    return figure


if __name__ == "__main__":
    sys.exit(main("lm_loop", draw))
