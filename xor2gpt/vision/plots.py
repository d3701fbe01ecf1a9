"""Pictures of training and of what a vision network sees, in the style of `xor2gpt.plots`.

Does: learning curves with the best point marked, learning rates, grids of predictions, filters,
feature maps, class activation maps over a picture, a forest plot of an ablation; all on ``Axes``
that the caller made.
Does not: make figures, save or show them, or compute what is drawn (see `xor2gpt.vision.resnet`).

Meaning never hangs on colour alone: mistakes have a thick dashed frame and a ✗ in their title, the
best point a star and its value, effects outside the noise a filled marker.

Cells that show photographs carry the tag ``photo``: the book's dark theme inverts all other
pictures. Shapes: ``images`` are (N, C, H, W) or (N, H, W), uint8 or floats in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import Normal, withStroke

from xor2gpt import plots

__all__ = [
    "activation_overlay",
    "feature_maps",
    "filters",
    "forest",
    "learning_curves",
    "learning_rate",
    "mosaic",
    "prediction_grid",
    "show_picture",
]


def _array(values: Any) -> np.ndarray:
    """A NumPy array of a tensor (on any device, with or without gradient) or a sequence."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _text_colour() -> str:
    return mpl.rcParams["text.color"]


# --- training -------------------------------------------------------------------------------------


def learning_curves(
    ax: Axes,
    curves: Mapping[str, Any],
    *,
    best: str | None = None,
    better: Literal["low", "high"] = "low",
    log: bool = False,
    xlabel: str = "epoch",
    ylabel: str = "loss",
) -> Axes:
    """Curves of training and validation with the best point of one of them marked.

    ``curves`` is as in `xor2gpt.plots.loss_curve`: ``{label: values}`` or ``{label: (x, values)}``.
    ``best`` names the curve that selects the model (the validation's); its ``better`` end gets a
    star, a line down to the axis and its value. NaN values (not measured) are skipped. Raises
    ``ValueError`` for a curve that is not there or has no value.
    """
    known = {name: _known(curve) for name, curve in curves.items()}
    plots.loss_curve(ax, known, log=log, xlabel=xlabel, ylabel=ylabel)
    if best is None:
        return ax
    if best not in known or not len(known[best][1]):
        raise ValueError(f"no values of {best!r} among {list(curves)}: nothing to mark")
    x, values = known[best]
    place = int(values.argmin() if better == "low" else values.argmax())
    ax.axvline(x[place], color=_text_colour(), linestyle=":", linewidth=1.2, zorder=1)
    ax.plot(
        [x[place]],
        [values[place]],
        marker="*",
        markersize=16,
        linestyle="none",
        color=plots._colours()[list(curves).index(best) % len(plots._colours())],
        markeredgecolor=_text_colour(),
        zorder=5,
        label=f"best {best}: {values[place]:.4g} at {x[place]:g}",
    )
    ax.legend()
    return ax


def _known(curve: Any) -> tuple[np.ndarray, np.ndarray]:
    """(x, values) of a curve without its NaNs."""
    x, values = curve if isinstance(curve, tuple) else (np.arange(len(curve)), curve)
    x, values = _array(x).astype(float), _array(values).astype(float)
    if x.shape != values.shape:
        raise ValueError(f"a curve of {values.shape} values at {x.shape} places")
    measured = ~np.isnan(values)
    return x[measured], values[measured]


def learning_rate(
    ax: Axes,
    schedules: Mapping[str, Callable[[int], float] | Sequence[float]],
    *,
    steps: int | None = None,
    base: float = 1.0,
    log: bool = False,
) -> Axes:
    """Learning rate against step, one line per schedule: what the optimizer really got.

    A schedule is a function of the step (drawn for 0 … ``steps`` − 1) or a sequence of recorded
    values; both are multiplied by ``base``. Raises ``ValueError`` for a function without ``steps``.
    """
    for index, (label, schedule) in enumerate(schedules.items()):
        if callable(schedule):
            if steps is None:
                raise ValueError(f"{label!r} is a function of the step: say steps=…")
            values = np.array([float(schedule(step)) for step in range(steps)])
        else:
            values = _array(schedule).astype(float)
        style = plots._style_of(index)
        ax.plot(
            np.arange(len(values)),
            base * values,
            label=label,
            color=style["color"],
            linestyle=style["linestyle"],
        )
    if log:
        ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("learning rate")
    if len(schedules) > 1:
        ax.legend()
    return ax


# --- pictures -------------------------------------------------------------------------------------


def _picture(image: Any) -> np.ndarray:
    """(H, W, 3) or (H, W) floats in [0, 1] for ``imshow``, from (C, H, W) or (H, W).

    Raises ``ValueError`` for another shape, and for floats outside [0, 1], which matplotlib would
    cut off silently.
    """
    image = _array(image)
    image = image / 255.0 if image.dtype == np.uint8 else image.astype(float)
    if image.ndim == 3 and image.shape[0] in (1, 3):
        image = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    elif image.ndim != 2:
        raise ValueError(f"a picture is (1, H, W), (3, H, W) or (H, W), got {image.shape}")
    if image.size and (image.min() < -1e-6 or image.max() > 1 + 1e-6):
        raise ValueError(
            f"a picture with values from {image.min():.3g} to {image.max():.3g}: show uint8 or "
            "floats in [0, 1]; undo a normalisation by augment.denormalise"
        )
    return image.clip(0.0, 1.0)


def show_picture(ax: Axes, image: Any, title: str = "") -> Axes:
    """One picture (C, H, W) or (H, W) without axes, pixels as squares."""
    ax.imshow(_picture(image), cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    if title:
        ax.set_title(title)
    return ax


def prediction_grid(
    axes: np.ndarray | Iterable[Axes],
    images: Any,
    predictions: Sequence[int],
    labels: Sequence[int] | None = None,
    *,
    classes: Sequence[str] | None = None,
    confidence: Sequence[float] | None = None,
    size: float = 9.0,
) -> None:
    """One picture per ``Axes``, titled with what the model said; mistakes framed and written out.

    A right answer's title is ``ship``; a mistake's is ``✗ cat`` over ``is dog``, in a thick dashed
    frame. ``labels`` are the true classes; without them nothing is judged. ``confidence`` adds the
    probability in %. ``size`` is the title's type size in points. Axes left over are switched off.
    Raises ``ValueError`` where the numbers of pictures, predictions and axes do not fit.
    """
    axes = list(np.asarray(list(axes) if not isinstance(axes, np.ndarray) else axes).ravel())
    predictions = _array(predictions).astype(int)
    given = {"predictions": predictions, "labels": labels, "confidence": confidence}
    for name, values in given.items():
        if values is not None and len(values) != len(images):
            raise ValueError(f"{len(values)} {name} for {len(images)} pictures")
    if len(images) > len(axes):
        raise ValueError(f"{len(images)} pictures for {len(axes)} axes")

    def name_of(index: int) -> str:
        return classes[index] if classes is not None else str(index)

    for place, ax in enumerate(axes):
        if place >= len(images):
            ax.axis("off")
            continue
        said = int(predictions[place])
        true = None if labels is None else int(labels[place])
        title = name_of(said)
        if confidence is not None:
            title += f" {100 * float(confidence[place]):.0f} %"
        wrong = true is not None and true != said
        show_picture(ax, images[place])
        ax.set_title(f"✗ {title}\nis {name_of(true)}" if wrong else title, fontsize=size, pad=4)
        if wrong:
            _frame(ax)


def _frame(ax: Axes) -> None:
    """A thick dashed frame in the second series colour."""
    ax.spines[:].set_visible(True)
    for spine in ax.spines.values():
        spine.set(color=plots._colours()[1], linewidth=3.0, linestyle=(0, (2.5, 1.2)))
        spine.set_capstyle("butt")  # a spine's own caps would fill the gaps


# --- inside the network ---------------------------------------------------------------------------


def mosaic(tiles: np.ndarray, columns: int | None = None, *, gap: int = 1) -> np.ndarray:
    """Tiles (N, h, w) or (N, h, w, 3) side by side in one array, row by row, ``gap`` pixels apart.

    ``columns`` is ⌈√N⌉ unless given. Gaps and empty places are NaN, which ``imshow`` leaves
    transparent. Returns (rows·h + gaps, columns·w + gaps[, 3]). Raises ``ValueError`` for no tile.
    """
    if not len(tiles) or tiles.ndim not in (3, 4):
        raise ValueError(f"a mosaic needs tiles (N, h, w) or (N, h, w, 3), got {tiles.shape}")
    columns = int(np.ceil(np.sqrt(len(tiles)))) if columns is None else min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    height, width = tiles.shape[1] + gap, tiles.shape[2] + gap
    board = np.full((rows * height - gap, columns * width - gap, *tiles.shape[3:]), np.nan)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = row * height, column * width
        board[top : top + tiles.shape[1], left : left + tiles.shape[2]] = tile
    return board


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def filters(ax: Axes, weight: Any, *, columns: int | None = None, limit: int = 64) -> Axes:
    """The first ``limit`` filters of a convolution's weight (out, in, k, k) as a mosaic.

    With 3 input channels in colour, otherwise the first input channel in grey. Each filter is
    scaled by its own largest weight: mid-grey is 0, white its largest positive, black its largest
    negative. Weights say nothing about how often or how strongly a filter answers.
    """
    weight = _array(weight).astype(float)[:limit]
    if weight.ndim != 4:
        raise ValueError(f"filters are (out, in, k, k), got {weight.shape}: give conv.weight")
    coloured = weight.shape[1] == 3
    weight = weight.transpose(0, 2, 3, 1) if coloured else weight[:, 0]  # (n, k, k[, 3])
    largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    tiles = 0.5 + 0.5 * weight / np.where(largest > 0, largest, 1.0)
    board = mosaic(tiles, columns)
    _show_board(ax, board)
    return ax


def _show_board(ax: Axes, board: np.ndarray) -> None:
    """A mosaic in [0, 1]; its gaps in the style's background."""
    if board.ndim == 3:
        gaps = np.isnan(board).any(axis=2)
        board = np.where(gaps[..., None], plots._background(), board)
        ax.imshow(board, interpolation="nearest")
    else:
        ax.imshow(board, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    _bare(ax)


def feature_maps(ax: Axes, maps: Any, *, columns: int | None = None, limit: int = 64) -> Axes:
    """The first ``limit`` channels of one picture's activations (C, h, w) as a mosaic.

    Each map is scaled from its own smallest (black) to its largest value (white); a map that is
    the same everywhere is black: a channel that is silent for this picture.
    """
    maps = _array(maps).astype(float)[:limit]
    if maps.ndim != 3:
        raise ValueError(f"feature maps of one picture are (C, h, w), got {maps.shape}")
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    _show_board(ax, mosaic((maps - low) / np.where(span > 0, span, 1.0), columns))
    return ax


def activation_overlay(ax: Axes, image: Any, evidence: Any, title: str = "") -> Axes:
    """A picture (C, H, W) in grey with a class's evidence (h, w) over it.

    Colour and opacity rise with the evidence; where it is at most 0 the picture shows bare.
    Contours at a third and two thirds of the largest evidence say the same in lines. The map is
    enlarged bilinearly: its true resolution is (h, w), often 4 × 4. A map without positive
    evidence leaves the picture bare.
    """
    picture, evidence = _picture(image), _array(evidence).astype(float)
    if evidence.ndim != 2:
        raise ValueError(f"the evidence is one map (h, w), got {evidence.shape}")
    if picture.ndim == 3:
        picture = picture @ np.array([0.299, 0.587, 0.114])  # luma, as augment.grey
    height, width = picture.shape
    show_picture(ax, picture, title)
    share = _enlarged(evidence, height, width).clip(min=0.0)
    if share.max() <= 0:
        return ax
    share = share / share.max()
    ax.imshow(share, cmap="inferno", vmin=0.0, vmax=1.0, alpha=0.65 * share)
    lines = ax.contour(share, levels=[1 / 3, 2 / 3], colors=["white"], linewidths=[1.2, 2.0])
    lines.set_path_effects([withStroke(linewidth=3.5, foreground="black"), Normal()])
    return ax


def _enlarged(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w) → (height, width), bilinear between the centres of the coarse cells."""

    def places(fine: int, coarse: int) -> np.ndarray:
        return ((np.arange(fine) + 0.5) * coarse / fine - 0.5).clip(0, coarse - 1)

    rows, columns = places(height, values.shape[0]), places(width, values.shape[1])
    across = np.array([np.interp(columns, np.arange(values.shape[1]), row) for row in values])
    return np.array([np.interp(rows, np.arange(len(values)), col) for col in across.T]).T


# --- ablations ------------------------------------------------------------------------------------


def forest(
    ax: Axes,
    names: Sequence[str],
    effects: Sequence[float],
    intervals: Sequence[tuple[float, float]] | np.ndarray,
    *,
    null: tuple[float, float] | None = None,
    reference: float = 0.0,
    xlabel: str = "effect on accuracy (points)",
    digits: int = 2,
) -> Axes:
    """A forest plot: one row per change, its effect, its interval, and the band of mere noise.

    ``names``, ``effects (n,)`` and ``intervals (n, 2)`` (low, high) go from top to bottom. ``null``
    is the range that changing only the seed produces; rows whose whole interval lies outside it get
    a filled marker, the others an open one. ``reference`` is the line of no effect. Each row's
    effect is written at the right. Raises ``ValueError`` where the shapes do not fit or an effect
    lies outside its interval.
    """
    effects, intervals = np.asarray(effects, dtype=float), np.asarray(intervals, dtype=float)
    if effects.shape != (len(names),) or intervals.shape != (len(names), 2):
        raise ValueError(
            f"{len(names)} names, effects {effects.shape} and intervals {intervals.shape}: "
            "expected (n,) and (n, 2)"
        )
    for name, effect, (low, high) in zip(names, effects, intervals, strict=True):
        if not low <= effect <= high:
            raise ValueError(f"{name}: the effect {effect} lies outside its interval {low, high}")
    colour, text = plots._colours()[0], _text_colour()
    if null is not None:
        ax.axvspan(
            *null,
            facecolor=plots._mixed(text, 0.12),
            edgecolor=plots._mixed(text, 0.35),
            hatch="///",
            linewidth=0.0,
            zorder=0,
            label="only the seed changes",
        )
    ax.axvline(reference, color=text, linewidth=1.2, zorder=1)
    for row, (effect, (low, high)) in enumerate(zip(effects, intervals, strict=True)):
        clear = null is None or low > null[1] or high < null[0]
        ax.plot([low, high], [row, row], color=colour, linestyle="-", linewidth=2.2, zorder=2)
        ax.plot(
            [effect],
            [row],
            marker="o",
            markersize=9,
            color=colour,
            markerfacecolor=colour if clear else plots._background(),
            markeredgewidth=2.0,
            zorder=3,
        )
        ax.annotate(
            f"{effect:+.{digits}f}",
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
            ha="left",
            fontsize=11,
            annotation_clip=False,
        )
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)  # the first row on top
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(xlabel)
    if null is not None:
        ax.plot([], [], "o", color=colour, markersize=9, label="clear of that")
        where = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.2}
        ax.legend(ncols=2, columnspacing=1.0, **where)
    return ax
