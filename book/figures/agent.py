"""The perceive-act loop: environment, sensors, agent, actuators.

Does: draw the figure of book/part1-introduction.md. Does not: say how the agent decides.
"""

from __future__ import annotations

import sys

from common import Palette, main
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

# name, example, centre x, centre y
BOXES = (
    ("Agent", "chooses an action", 23.0, 27.0),
    ("Sensors", "camera, keyboard", 10.5, 16.0),
    ("Actuators", "wheel, screen", 35.5, 16.0),
    ("Environment", "all that is outside", 23.0, 5.0),
)
WIDTH, HEIGHT = 18.5, 6.6
# start, end, bend: the loop runs environment -> sensors -> agent -> actuators -> environment
ARROWS = (
    ((13.6, 5.0), (6.5, 12.5), -0.35),
    ((6.5, 19.5), (13.6, 27.0), -0.35),
    ((32.4, 27.0), (39.5, 19.5), -0.35),
    ((39.5, 12.5), (32.4, 5.0), -0.35),
)


def draw(palette: Palette) -> Figure:
    """Four boxes on a ring with arrows from each to the next."""
    figure = plt.figure(figsize=(4.6, 3.2))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, 46), ylim=(0, 32))
    axes.axis("off")
    for index, (name, example, x, y) in enumerate(BOXES):
        axes.add_patch(
            FancyBboxPatch(
                (x - WIDTH / 2, y - HEIGHT / 2),
                WIDTH,
                HEIGHT,
                boxstyle="round,pad=0,rounding_size=1.2",
                facecolor=palette.panels[1 if index in (1, 2) else 2],
                edgecolor=palette.text,
                lw=1.0,
            )
        )
        axes.text(x, y + 1.4, name, ha="center", va="center", color=palette.text, weight="bold")
        axes.text(x, y - 1.5, example, ha="center", va="center", color=palette.text, fontsize=10)
    for start, end, bend in ARROWS:
        axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>",
                mutation_scale=14,
                color=palette.text,
                lw=1.4,
            )
        )
    return figure


if __name__ == "__main__":
    sys.exit(main("agent", draw))
