"""One plotting style for every stage, and the few kinds of picture that stages share.

Does: set the course's style (light or dark); draw points, decision surfaces, curves, histograms
and confusion matrices on an ``Axes`` that the caller made; print the data behind a picture as text.
Does not: make figures, save or show them, or change matplotlib's settings outside `use_style`.

Colours: five that stay apart for readers with protanopia, deuteranopia or tritanopia, each with at
least 3:1 contrast on its background (WCAG 2.2, 1.4.11), also after the filter by which the book
shows light pictures on dark pages (`css_inverted`). Meaning never hangs on colour alone: every
series has a marker, line style or hatch of its own. Tests compute all of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb

__all__ = [
    "BACKGROUND",
    "HATCHES",
    "LINESTYLES",
    "MARKERS",
    "PALETTE",
    "confusion",
    "contrast_ratio",
    "css_inverted",
    "decision_surface",
    "histogram",
    "loss_curve",
    "points",
    "text_table",
    "use_style",
]

Style = Literal["light", "dark"]
RGB = tuple[float, float, float]

PALETTE: dict[str, tuple[str, ...]] = {
    "light": ("#4656f4", "#d25a14", "#4a0a75", "#459a80", "#1a2a0c"),
    "dark": ("#76d8ff", "#e5b409", "#a8749a", "#53a658", "#fcf9cc"),
}
BACKGROUND = {"light": "#ffffff", "dark": "#121212"}
TEXT = {"light": "#1a1a1a", "dark": "#ececec"}
GRID = {"light": "#d4d4d4", "dark": "#3c3c3c"}
MARKERS = ("o", "s", "^", "D", "v")
LINESTYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
HATCHES = ("", "///", "...", "\\\\\\", "xx")


# --- style ----------------------------------------------------------------------------------------


def use_style(name: Style = "light") -> None:
    """Set matplotlib's settings for every figure made from now on.

    ``"light"`` has an opaque white background, which the book's dark theme inverts; ``"dark"`` is
    for slides and dark editors. Type sizes are chosen so that a picture 5.6 inches wide still
    reads on a phone 360 pixels wide. Raises ``ValueError`` for another name.
    """
    if name not in PALETTE:
        raise ValueError(f"unknown style {name!r}: use 'light' or 'dark'")
    text, background = TEXT[name], BACKGROUND[name]
    mpl.rcParams.update(
        {
            "figure.figsize": (5.6, 3.8),
            "figure.dpi": 110,
            "savefig.dpi": 144,
            "figure.constrained_layout.use": True,
            "figure.facecolor": background,
            "savefig.facecolor": background,
            "savefig.transparent": False,
            "axes.facecolor": background,
            "axes.edgecolor": text,
            "axes.labelcolor": text,
            "axes.titlecolor": text,
            "text.color": text,
            "xtick.color": text,
            "ytick.color": text,
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],  # matplotlib ships it: the same on every machine
            "font.size": 13,
            "axes.titlesize": 14,
            "axes.labelsize": 13,
            "xtick.labelsize": 12,
            "ytick.labelsize": 12,
            "legend.fontsize": 12,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": GRID[name],
            "grid.linewidth": 0.8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=PALETTE[name]) + cycler(linestyle=LINESTYLES),
            "lines.linewidth": 2.2,
            "lines.markersize": 8,
            "hatch.color": text,
            "hatch.linewidth": 0.6,
            "legend.frameon": True,
            "legend.framealpha": 0.9,
            "legend.facecolor": background,
            "legend.edgecolor": GRID[name],
            "svg.hashsalt": "xor2gpt",  # the same picture gives the same file
        }
    )


def _colours() -> list[str]:
    """The current style's series colours."""
    return mpl.rcParams["axes.prop_cycle"].by_key()["color"]


def _style_of(index: int) -> dict[str, Any]:
    """Colour, marker, line style and hatch of the series with this index."""
    colours = _colours()
    return {
        "color": colours[index % len(colours)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINESTYLES[index % len(LINESTYLES)],
        "hatch": HATCHES[index % len(HATCHES)],
    }


def contrast_ratio(one: str | RGB, other: str | RGB) -> float:
    """WCAG's contrast of two colours, from 1 (equal) to 21 (black on white)."""

    def luminance(colour: str | RGB) -> float:
        channels = np.asarray(to_rgb(colour))
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def css_inverted(colour: str | RGB) -> RGB:
    """What ``filter: invert(1) hue-rotate(180deg)`` makes of a colour (CSS Filter Effects 1)."""
    inverted = 1.0 - np.asarray(to_rgb(colour))
    half_turn = np.array(  # hueRotate's matrix at 180 degrees
        [[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]]
    )
    red, green, blue = np.clip(half_turn @ inverted, 0.0, 1.0)
    return float(red), float(green), float(blue)


def _mixed(colour: str, share: float) -> RGB:
    """``share`` of ``colour`` on the current background."""
    mixed = share * np.array(to_rgb(colour)) + (1 - share) * np.array(_background())
    return tuple(mixed.tolist())


def _background() -> RGB:
    """The current style's background; white where the setting is not a colour."""
    face = mpl.rcParams["axes.facecolor"]
    return (1.0, 1.0, 1.0) if face == "none" else to_rgb(face)


# --- pictures -------------------------------------------------------------------------------------


def points(
    ax: Axes,
    X: np.ndarray,
    y: Sequence[int] | np.ndarray,
    labels: Sequence[str] | None = None,
    *,
    size: float = 60.0,
    legend: bool = True,
) -> Axes:
    """Scatter ``X (n, 2)``, one marker and colour per class of ``y (n,)``, classes 0, 1, ...

    ``labels`` names the classes in the legend (``class 0``, ... otherwise). Raises ``ValueError``
    when the shapes do not fit.
    """
    X, y = np.asarray(X), np.asarray(y).reshape(-1).astype(int)
    if X.ndim != 2 or X.shape[1] != 2 or len(X) != len(y):
        raise ValueError(f"points needs X (n, 2) and y (n,), got {X.shape} and {y.shape}")
    for each in np.unique(y):
        style = _style_of(int(each))
        inside = X[y == each]
        ax.scatter(
            inside[:, 0],
            inside[:, 1],
            s=size,
            marker=style["marker"],
            color=style["color"],
            edgecolors=mpl.rcParams["text.color"],
            linewidths=1.0,
            label=labels[each] if labels is not None else f"class {each}",
            zorder=3,
        )
    if legend:
        ax.legend()
    return ax


def decision_surface(
    ax: Axes,
    predict: Callable[[np.ndarray], np.ndarray],
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    *,
    classes: int | None = None,
    steps: int = 200,
) -> Axes:
    """Colour the plane by what a model says, with lines where it changes its mind.

    ``predict`` maps ``(n, 2)`` points to ``(n,)`` values, and is called once with all grid points.
    Without ``classes`` the values are probabilities of class 1: shades from class 0's colour to
    class 1's, a solid line at 0.5, dashed ones at 0.1 and 0.9. With ``classes`` they are class
    indices: one tint and hatch per class, a solid line between them. Raises ``ValueError`` when
    ``predict`` returns another number of values.
    """
    grid_x, grid_y = np.meshgrid(np.linspace(*xlim, steps), np.linspace(*ylim, steps))
    values = np.asarray(predict(np.column_stack([grid_x.ravel(), grid_y.ravel()])), dtype=float)
    if values.size != grid_x.size:
        raise ValueError(
            f"predict returned {values.shape} for {grid_x.size} points: one value per point"
        )
    values = values.reshape(grid_x.shape)  # (steps, steps)
    line = {"colors": [mpl.rcParams["text.color"]]}
    if classes is None:
        shades = [_mixed(_colours()[0], 0.5), _background(), _mixed(_colours()[1], 0.5)]
        surface = LinearSegmentedColormap.from_list("class 0 to class 1", shades)
        levels = np.linspace(0.0, 1.0, 21)
        ax.contourf(grid_x, grid_y, np.clip(values, 0, 1), levels=levels, cmap=surface, zorder=0)
        _contour(ax, grid_x, grid_y, values, [0.1, 0.9], linestyles="--", linewidths=1.0, **line)
        _contour(ax, grid_x, grid_y, values, [0.5], linestyles="-", linewidths=2.2, **line)
    else:
        between = np.arange(classes + 1) - 0.5
        tints = [_mixed(_style_of(i)["color"], 0.3) for i in range(classes)]
        hatches = [_style_of(i)["hatch"] for i in range(classes)]
        ax.contourf(grid_x, grid_y, values, levels=between, colors=tints, hatches=hatches, zorder=0)
        for each in range(classes):  # class by class: between 0 and 2 there is no class 1
            inside = (values == each).astype(float)
            _contour(ax, grid_x, grid_y, inside, [0.5], linestyles="-", linewidths=1.6, **line)
    ax.set_xlim(*xlim)
    ax.set_ylim(*ylim)
    ax.grid(False)
    return ax


def _contour(
    ax: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, levels: list[float], **how: Any
) -> None:
    """Contour lines at those levels that the values cross (matplotlib warns about others)."""
    crossed = [level for level in levels if values.min() < level < values.max()]
    if crossed:
        ax.contour(x, y, values, levels=crossed, zorder=1, **how)


def loss_curve(
    ax: Axes,
    curves: Mapping[str, Any],
    *,
    log: bool = True,
    xlabel: str = "epoch",
    ylabel: str = "loss",
) -> Axes:
    """One line per entry of ``curves``: ``{label: losses}`` or ``{label: (x, losses)}``.

    A list of losses is drawn against 0, 1, 2, ...; a pair must be a tuple. ``log`` makes the loss
    axis logarithmic.
    """
    for index, (label, curve) in enumerate(curves.items()):
        x, losses = curve if isinstance(curve, tuple) else (np.arange(len(curve)), curve)
        style = _style_of(index)
        style.pop("hatch")
        every = max(1, len(losses) // 8)
        ax.plot(x, losses, label=label, markevery=(index % every, every), markersize=7, **style)
    if log:
        ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if len(curves) > 1:
        ax.legend()
    return ax


def histogram(
    ax: Axes,
    series: Mapping[str, Sequence[float]],
    *,
    bins: int | Sequence[float] = 10,
    xlabel: str = "value",
    ylabel: str = "count",
) -> Axes:
    """Histograms of one or several series over common bins, bars side by side, hatched.

    The legend gives each series' mean ± standard deviation.
    """
    data = [np.asarray(values, dtype=float) for values in series.values()]
    edges = np.histogram_bin_edges(np.concatenate(data), bins=bins)
    width = np.diff(edges) / len(data)  # (number of bins,)
    for index, (label, values) in enumerate(zip(series, data, strict=True)):
        style = _style_of(index)
        spread = f" ± {values.std(ddof=1):.3g}" if len(values) > 1 else ""
        ax.bar(
            edges[:-1] + index * width,
            np.histogram(values, bins=edges)[0],
            width=width,
            align="edge",
            color=style["color"] if not style["hatch"] else _mixed(style["color"], 0.55),
            edgecolor=mpl.rcParams["text.color"],
            linewidth=1.0,
            hatch=style["hatch"],
            label=f"{label}: {values.mean():.3g}{spread}",
        )
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.grid(axis="x", visible=False)
    ax.set_ylim(top=ax.get_ylim()[1] * (1.05 + 0.12 * len(data)))  # room for the legend
    ax.legend()
    return ax


def confusion(ax: Axes, matrix: np.ndarray, labels: Sequence[str]) -> Axes:
    """A confusion matrix ``(k, k)`` of counts: rows are true classes, columns predicted ones.

    The shade is the share of the row; the number is the count. Raises ``ValueError`` when matrix
    and labels do not fit.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (len(labels), len(labels)):
        raise ValueError(f"a confusion matrix of {len(labels)} classes cannot be {matrix.shape}")
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shade = LinearSegmentedColormap.from_list("share", [_background(), to_rgb(_colours()[0])])
    ax.imshow(shares, cmap=shade, vmin=0.0, vmax=1.0)
    text, background = mpl.rcParams["text.color"], _background()
    for (row, column), count in np.ndenumerate(matrix):
        below = shade(float(shares[row, column]))[:3]
        colour = max((text, background), key=lambda c, under=below: contrast_ratio(c, under))
        ax.text(column, row, f"{count}", ha="center", va="center", color=colour)
    ticks = range(len(labels))
    ax.set_xticks(ticks, labels)
    ax.set_yticks(ticks, labels)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    ax.grid(False)
    return ax


# --- the data behind a picture --------------------------------------------------------------------


def text_table(columns: Mapping[str, Sequence[Any]], *, digits: int = 4) -> str:
    """The columns as plain text in fixed width: a heading, a rule, one line per row.

    Floats show ``digits`` significant digits, numbers are aligned to the right. Raises
    ``ValueError`` when the columns are not equally long.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of a table must be equally long, got {lengths}")

    def shown(value: Any) -> str:
        is_float = isinstance(value, float | np.floating)
        return f"{value:.{digits}g}" if is_float else str(value)

    cells = {name: [shown(value) for value in values] for name, values in columns.items()}
    widths = {name: max(map(len, [name, *texts])) for name, texts in cells.items()}
    right = {
        name: all(isinstance(value, int | float | np.number) for value in values)
        for name, values in columns.items()
    }

    def row(texts: Sequence[str]) -> str:
        padded = [
            text.rjust(widths[name]) if right[name] else text.ljust(widths[name])
            for name, text in zip(columns, texts, strict=True)
        ]
        return "  ".join(padded).rstrip()

    rule = "  ".join("-" * widths[name] for name in columns)
    return "\n".join([row(list(columns)), rule, *map(row, zip(*cells.values(), strict=True))])
