"""Timeline of artificial intelligence: milestones of the three schools, 1943 to 2024.

Does: draw the figure of book/part1-introduction.md and write its data as a Markdown table.
Does not: claim to be complete; a milestone is here because the page speaks of it.
Sources: the citation keys in ``EVENTS`` (book/references.bib).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from common import Palette, main
from matplotlib import pyplot as plt
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Event:
    """One milestone: year, school (S, C, B, H hybrid, G general), label, sentence, citation key."""

    year: int
    school: str
    label: str
    sentence: str
    key: str


EVENTS = (
    Event(
        1943, "C", "Formal neuron", "McCulloch and Pitts describe a formal neuron", "mcculloch1943"
    ),
    Event(1950, "G", "Turing's imitation game", "Turing proposes the imitation game", "turing1950"),
    Event(
        1955,
        "G",
        "Proposal for Dartmouth",
        "The Dartmouth proposal names the field",
        "mccarthy1955",
    ),
    Event(1956, "S", "Logic Theorist", "Newell and Simon present the Logic Theorist", "newell1956"),
    Event(1958, "C", "Perceptron paper", "Rosenblatt's paper on the perceptron", "rosenblatt1958"),
    Event(
        1969, "C", "Limits of perceptrons", "Minsky and Papert publish Perceptrons", "minsky1969"
    ),
    Event(1982, "S", "R1 (XCON)", "McDermott describes R1, later XCON", "mcdermott1982xcon"),
    Event(
        1986,
        "C",
        "Backpropagation paper",
        "Rumelhart, Hinton and Williams in Nature",
        "rumelhart1986",
    ),
    Event(1986, "B", "Layered robot control", "Brooks controls a robot by layers", "brooks1986"),
    Event(1989, "C", "Convolutional network", "LeCun and others read zip codes", "lecun1989"),
    Event(1995, "H", "TD-Gammon", "Tesauro's network learns by self-play", "tesauro1995"),
    Event(1997, "S", "Deep Blue", "Deep Blue beats Kasparov", "campbell2002deepblue"),
    Event(2009, "G", "ImageNet", "The ImageNet database is published", "deng2009imagenet"),
    Event(2012, "C", "AlexNet", "A deep network wins the ImageNet challenge", "krizhevsky2012"),
    Event(2015, "H", "Atari games (DQN)", "One deep network learns many Atari games", "mnih2015"),
    Event(2016, "H", "AlphaGo", "Networks, tree search and self-play", "silver2016"),
    Event(2017, "H", "AlphaGo Zero", "Go without human games", "silver2017"),
    Event(2017, "C", "Transformer", "Attention is all you need", "vaswani2017"),
    Event(2020, "C", "GPT-3", "A language model with 175 billion parameters", "brown2020"),
    Event(2024, "C", "Nobel Prize in Physics", "Prize for Hopfield and Hinton", "nobel2024"),
)

SCHOOLS = {
    "S": ("Symbolism", "s", 0.0),
    "C": ("Connectionism", "o", 0.75),
    "B": ("Behaviourism", "^", 1.5),
    "H": ("Hybrid", "D", 2.25),
    "G": ("All of AI", "P", 3.0),
}
FIRST, LAST = 1940, 2025


def spread(positions: list[float], gap: float, top: float) -> list[float]:
    """Move sorted ``positions`` apart to at least ``gap``, none beyond ``top``, changing little."""
    placed: list[float] = []
    for position in positions:
        placed.append(max(position, placed[-1] + gap) if placed else position)
    limit = top
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return placed


def draw(palette: Palette) -> Figure:
    """The timeline in one theme, 4.6 by 8 inches, years going down."""
    figure = plt.figure(figsize=(4.6, 8.0))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-2.6, 13.2), ylim=(LAST + 2.5, FIRST - 12.5))
    axes.axis("off")

    for decade in range(FIRST, LAST, 10):
        axes.text(
            -0.9, decade, str(decade), ha="right", va="center", color=palette.muted, fontsize=10
        )
        axes.plot([-0.6, 3.3], [decade, decade], color=palette.muted, lw=0.5, alpha=0.6)
    for letter, (_, _, x) in SCHOOLS.items():
        axes.plot([x, x], [FIRST, LAST], color=palette.school[letter], lw=1.2, alpha=0.7)
    for row, (letter, (title, marker, _)) in enumerate(SCHOOLS.items()):
        y = FIRST - 10.2 + 2.55 * (row % 3)
        x = -0.9 if row < 3 else 7.2
        axes.plot([x], [y], marker=marker, color=palette.school[letter], ms=8, ls="none")
        axes.text(x + 0.6, y, title, va="center", color=palette.text)

    rows = spread([float(event.year) for event in EVENTS], 3.3, LAST + 0.3)
    for event, y in zip(EVENTS, rows, strict=True):
        _, marker, x = SCHOOLS[event.school]
        colour = palette.school[event.school]
        axes.plot([x, 3.5, 4.1], [event.year, event.year, y], color=colour, lw=0.8, alpha=0.8)
        axes.plot([x], [event.year], marker=marker, color=colour, ms=8, ls="none")
        axes.text(4.3, y, f"{event.year}  {event.label}", va="center", color=palette.text)
    return figure


def table() -> str:
    """The same data as a Markdown table, with citations."""
    lines = ["| year | milestone, with its school |", "|---|---|"]
    for event in EVENTS:
        school = SCHOOLS[event.school][0]
        lines.append(f"| {event.year} | *{school}*: {event.sentence} {{cite:p}}`{event.key}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main("timeline", draw, {"timeline-table.md": table()}))
