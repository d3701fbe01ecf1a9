"""Samples of the embedded picture sets, and n-gram losses of the grammar against its entropy.

Does: draw the figures of book/datasets.md, section "The embedded sets".
Does not: choose pretty pictures: they are the first of their class.
"""

from __future__ import annotations

import sys

import numpy as np
from common import Palette, main
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from xor2gpt.data.synthetic import pictures
from xor2gpt.data.synthetic.grammar import Grammar, ngram_cross_entropy

SIDE, GAP = pictures.SIDE, 3
COLUMNS = 6


def montage(drawn: pictures.Drawn, classes: range, columns: int) -> np.ndarray:
    """RGBA uint8: a row a class, its first pictures; transparent gaps between them."""
    step = SIDE + GAP
    shape = (len(classes) * step - GAP, columns * step - GAP, 4)
    canvas = np.zeros(shape, np.uint8)
    for row, label in enumerate(classes):
        for column, index in enumerate(np.flatnonzero(drawn.labels == label)[:columns]):
            top, left = row * step, column * step
            canvas[top : top + SIDE, left : left + SIDE, :3] = drawn.images[index].transpose(
                1, 2, 0
            )
            canvas[top : top + SIDE, left : left + SIDE, 3] = 255
    return canvas


def show(
    figure: Figure, palette: Palette, left: float, canvas: np.ndarray, names: list[str]
) -> None:
    """Put a montage at ``left`` inches with the classes' names on its left."""
    width, height = figure.get_size_inches()
    tall = height - 0.1
    wide = tall * canvas.shape[1] / canvas.shape[0]
    axes = figure.add_axes((left / width, 0.05 / height, wide / width, tall / height))
    axes.imshow(canvas, interpolation="none")
    axes.axis("off")
    for row, name in enumerate(names):
        middle = row * (SIDE + GAP) + SIDE / 2
        axes.text(-5, middle, name, ha="right", va="center", color=palette.text, fontsize=10)


def source(palette: Palette) -> Figure:
    """Ten shapes of the set ``shapes``."""
    drawn = pictures.shapes(400, seed=0)
    figure = plt.figure(figsize=(3.6, 4.4))
    show(figure, palette, 0.85, montage(drawn, range(10), COLUMNS), list(pictures.SHAPES))
    return figure


def target(palette: Palette) -> Figure:
    """Twenty shapes of the target domain in two blocks."""
    drawn = pictures.two_domains(0, 10, 0).target.train
    figure = plt.figure(figsize=(4.5, 4.4))
    for left, classes in ((0.85, range(10)), (3.1, range(10, 20))):
        names = [drawn.classes[label] for label in classes]
        show(figure, palette, left, montage(drawn, classes, 3), names)
    return figure


def losses(palette: Palette) -> Figure:
    """Loss in nats a word: exact for unigrams, bigrams and the entropy, counted for trigrams."""
    language = Grammar()
    train, test = language.sample_words(20_000, 1), language.sample_words(2_000, 2)
    bars = (
        ("all words\nequally likely", np.log(len(language.vocabulary))),
        ("word shares\n(unigram)", language.unigram_entropy),
        ("one word back\n(bigram)", language.bigram_entropy),
        ("two words back\n(trigram, counted)", ngram_cross_entropy(train, test, 3)),
        ("entropy:\nthe whole sentence", language.entropy_per_word),
    )
    figure, axes = plt.subplots(figsize=(4.6, 2.9))
    figure.subplots_adjust(left=0.36, right=0.9, top=0.97, bottom=0.18)
    colours = [palette.panels[2]] * (len(bars) - 1) + [palette.school["C"]]
    values = [value for _, value in bars]
    axes.barh(range(len(bars)), values, color=colours, edgecolor=palette.text, linewidth=0.8)
    for row, value in enumerate(values):
        axes.text(value + 0.08, row, f"{value:.2f}", va="center", color=palette.text, fontsize=10)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars], fontsize=9.5)
    axes.invert_yaxis()
    axes.set_xlim(0, 5.6)
    axes.set_xlabel("mean loss, nats a word", color=palette.text)
    axes.set_facecolor("none")
    axes.tick_params(colors=palette.text)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(palette.muted)
    return figure


FIGURES = {"sets_shapes": source, "sets_target": target, "sets_grammar": losses}

if __name__ == "__main__":
    sys.exit(max(main(name, draw) for name, draw in FIGURES.items()))
