"""The pictures of vision draw what they say, and say it without colour too."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from xor2gpt import plots
from xor2gpt.vision import plots as vp


@pytest.fixture(autouse=True)
def _settings():
    """Every test leaves matplotlib's settings as it found them."""
    with mpl.rc_context():
        plots.use_style("light")
        yield


def axes(rows: int = 1, columns: int = 1):
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.subplots(rows, columns)


def labels(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


RNG = np.random.default_rng(0)


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("better", "x", "value"), [("low", 3, 0.5), ("high", 5, 0.9)])
def test_learning_curves_mark_the_best_of_the_named_curve(better, x, value):
    ax = axes()
    curves = {
        "training": ([1, 2, 3, 4, 5], [0.1, 0.0, 0.3, 2.0, 0.4]),
        "validation": ([1, 2, 3, 4, 5], torch.tensor([0.8, float("nan"), 0.5, 0.7, 0.9])),
    }
    vp.learning_curves(ax, curves, best="validation", better=better)
    star = next(line for line in ax.lines if line.get_marker() == "*")
    assert star.get_xdata()[0] == x and star.get_ydata()[0] == pytest.approx(value)
    assert labels(ax) == ["training", "validation", f"best validation: {value} at {x}"]
    drawn = ax.lines[1].get_ydata()
    assert len(drawn) == 4 and not np.isnan(drawn).any()
    styles = {(line.get_linestyle(), line.get_marker()) for line in ax.lines[:2]}
    assert len(styles) == 2, "told apart without colour"


def test_learning_curves_errors():
    with pytest.raises(ValueError, match="no values of 'test'"):
        vp.learning_curves(axes(), {"training": [1.0]}, best="test")
    with pytest.raises(ValueError, match="no values of 'validation'"):
        vp.learning_curves(axes(), {"validation": [float("nan")]}, best="validation")
    with pytest.raises(ValueError, match=r"a curve of \(2,\) values at \(3,\) places"):
        vp.learning_curves(axes(), {"training": ([1, 2, 3], [1.0, 2.0])})


def test_learning_rates_of_functions_and_records():
    ax = axes()
    vp.learning_rate(ax, {"down": lambda s: 1 - s / 4, "seen": [1.0, 0.5]}, steps=4, base=0.2)
    assert np.allclose(ax.lines[0].get_ydata(), [0.2, 0.15, 0.1, 0.05])
    assert np.allclose(ax.lines[1].get_ydata(), [0.2, 0.1])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "learning rate")
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
    with pytest.raises(ValueError, match="say steps="):
        vp.learning_rate(ax, {"down": lambda s: 1.0})


# --- predictions ----------------------------------------------------------------------------------


def test_a_grid_titles_every_picture_and_frames_and_spells_out_mistakes():
    grid = axes(2, 2)
    images = RNG.integers(0, 256, (3, 3, 5, 5), dtype=np.uint8)
    vp.prediction_grid(
        grid, images, [0, 1, 1], [0, 0, 1], classes=["cat", "dog"], confidence=[0.5, 0.9, 1.0]
    )
    titles = [ax.get_title() for ax in grid.ravel()]
    assert titles == ["cat 50 %", "✗ dog 90 %\nis cat", "dog 100 %", ""]
    framed = [any(s.get_visible() for s in ax.spines.values()) for ax in grid.ravel()[:3]]
    assert framed == [False, True, False]
    spine = grid[0, 1].spines["top"]
    assert spine.get_linestyle() != "-" and spine.get_linewidth() >= 2
    assert not grid[1, 1].axison
    assert np.allclose(grid[0, 0].images[0].get_array(), images[0].transpose(1, 2, 0) / 255)
    grid[0, 0].figure.canvas.draw()


def test_a_grid_without_truth_judges_nothing():
    grid = axes(1, 2)
    vp.prediction_grid(grid, torch.rand(2, 1, 4, 4), torch.tensor([3, 7]))
    assert [ax.get_title() for ax in grid] == ["3", "7"]
    assert not any(s.get_visible() for ax in grid for s in ax.spines.values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: vp.prediction_grid(g, np.zeros((3, 4, 4)), [0, 1, 2]), "3 pictures for 2 axes"),
        (lambda g: vp.prediction_grid(g, np.zeros((2, 4, 4)), [0]), "1 predictions for 2"),
        (lambda g: vp.prediction_grid(g, np.zeros((1, 4, 4)), [0], [0, 1]), "2 labels for 1"),
        (lambda g: vp.show_picture(g[0], np.full((3, 4, 4), 1.5)), "undo a normalisation"),
        (lambda g: vp.show_picture(g[0], np.full((4, 4), -0.5)), "values from -0.5"),
        (lambda g: vp.show_picture(g[0], np.zeros((2, 4, 4))), r"got \(2, 4, 4\)"),
    ],
)
def test_picture_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(axes(1, 2))


# --- inside the network ---------------------------------------------------------------------------


def test_a_mosaic_by_hand():
    tiles = np.arange(1, 4)[:, None, None] * np.ones((3, 2, 1))
    board = vp.mosaic(tiles, columns=2)
    n = np.nan
    expected = [[1, n, 2], [1, n, 2], [n, n, n], [3, n, n], [3, n, n]]
    assert np.array_equal(board, np.array(expected), equal_nan=True)
    assert vp.mosaic(np.zeros((5, 4, 3, 3)), gap=2).shape == (2 * 4 + 2, 3 * 3 + 4, 3)
    with pytest.raises(ValueError, match="a mosaic needs"):
        vp.mosaic(np.zeros((0, 2, 2)))


def test_filters_are_scaled_about_mid_grey():
    ax = axes()
    weight = torch.zeros(4, 1, 2, 2, requires_grad=True)
    with torch.no_grad():
        weight[0, 0] = torch.tensor([[2.0, -1.0], [0.0, -2.0]])
        weight[1, 0] = torch.tensor([[0.1, 0.0], [0.0, 0.0]])
    vp.filters(ax, weight)
    board = ax.images[0].get_array()
    assert np.allclose(board[:2, :2], [[1.0, 0.25], [0.5, 0.0]])
    assert np.allclose(board[:2, 3:5], [[1.0, 0.5], [0.5, 0.5]])
    assert np.allclose(board[3:5, :2], 0.5), "a filter of zeros"
    vp.filters(ax, RNG.normal(size=(70, 3, 3, 3)), columns=8)
    assert ax.images[1].get_array().shape == (8 * 4 - 1, 8 * 4 - 1, 3), "64 at most, in colour"
    with pytest.raises(ValueError, match="give conv.weight"):
        vp.filters(ax, np.zeros((3, 3)))


def test_feature_maps_are_scaled_one_by_one_and_silent_ones_are_black():
    ax = axes()
    maps = np.array([[[1.0, 3.0]], [[5.0, 5.0]], [[-1.0, 0.0]]])
    vp.feature_maps(ax, maps, columns=3)
    board = ax.images[0].get_array()
    assert np.allclose(board[:, [0, 1]], [[0, 1]])
    assert np.allclose(board[:, [3, 4]], [[0, 0]])
    assert np.allclose(board[:, [6, 7]], [[0, 1]])
    with pytest.raises(ValueError, match="of one picture"):
        vp.feature_maps(ax, np.zeros((2, 3, 4, 4)))


def test_the_overlay_is_where_the_evidence_is():
    ax = axes()
    evidence = np.full((4, 4), -1.0)
    evidence[1, 2] = 2.0
    vp.activation_overlay(ax, RNG.random((3, 16, 16)), evidence, "ship")
    share = np.asarray(ax.images[1].get_array())
    assert share.shape == (16, 16) and ax.get_title() == "ship"
    row, column = np.unravel_index(share.argmax(), share.shape)
    assert 4 <= row <= 7 and 8 <= column <= 11
    alpha = np.asarray(ax.images[1].get_alpha())
    assert alpha[0, 0] == 0 and alpha.max() > 0.5, "bare where nothing speaks for the class"
    assert len(ax.collections) == 1, "the contours say it without colour"
    ax.figure.canvas.draw()


def test_enlarging_is_torchs_bilinear():
    values = RNG.normal(size=(4, 5))
    twin = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], size=(13, 17), mode="bilinear"
    )
    assert np.allclose(vp._enlarged(values, 13, 17), twin[0, 0])


def test_no_evidence_no_overlay():
    ax = axes()
    vp.activation_overlay(ax, np.zeros((1, 8, 8)), -np.ones((2, 2)))
    assert len(ax.images) == 1 and not ax.collections
    with pytest.raises(ValueError, match=r"one map \(h, w\)"):
        vp.activation_overlay(ax, np.zeros((1, 8, 8)), np.zeros((1, 2, 2)))


# --- ablations ------------------------------------------------------------------------------------


def test_a_forest_fills_only_what_is_clear_of_the_noise():
    ax = axes()
    names = ["seed", "stem", "worse", "touching"]
    vp.forest(
        ax,
        names,
        [0.0, 2.0, -1.5, 0.4],
        [(-0.2, 0.2), (1.5, 2.5), (-2.0, -1.0), (0.2, 0.6)],
        null=(-0.3, 0.3),
    )
    dots = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]
    filled = [dot.get_markerfacecolor() == dot.get_color() for dot in dots]
    assert filled == [False, True, True, False]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == names
    assert [text.get_text() for text in ax.texts] == ["+0.00", "+2.00", "-1.50", "+0.40"]
    low, high = ax.get_ylim()
    assert low > high, "the first row on top"
    assert labels(ax) == ["only the seed changes", "clear of that"]
    band = ax.patches[0]
    assert band.get_hatch() and band.get_x() == -0.3 and band.get_width() == pytest.approx(0.6)
    ax.figure.canvas.draw()


def test_a_forest_without_a_null_band():
    ax = axes()
    vp.forest(ax, ["a"], [1.0], [(0.5, 1.5)])
    assert ax.get_legend() is None and not ax.patches
    assert not any(isinstance(c, PathCollection) for c in ax.collections)


@pytest.mark.parametrize(
    ("effects", "intervals", "message"),
    [
        ([1.0, 2.0], [(0, 2)], "expected"),
        ([1.0], [(0, 2), (0, 2)], "expected"),
        ([3.0], [(0, 2)], "a: the effect 3.0 lies outside"),
    ],
)
def test_forest_errors(effects, intervals, message):
    with pytest.raises(ValueError, match=message):
        vp.forest(axes(), ["a"], effects, intervals)
