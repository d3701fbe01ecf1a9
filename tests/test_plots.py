"""The plotting style: what its colours promise is computed, and the helpers draw what they say."""

import itertools

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xor2gpt import plots

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
CVD = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@pytest.fixture(autouse=True)
def _settings():
    """Every test leaves matplotlib's settings as it found them."""
    with mpl.rc_context():
        yield


@pytest.fixture
def ax():
    plots.use_style("light")
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.subplots()


def picture(ax) -> np.ndarray:
    """The drawn pixels, (height, width, 4)."""
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba()).copy()


def lab(rgb, sight: str) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour as seen with this kind of colour vision."""
    rgb = np.asarray(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(CVD[sight]) @ linear, 0, 1)
    ratio = XYZ @ seen / [0.9505, 1.0, 1.089]
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def shown(style: str) -> tuple[list, tuple]:
    """(series colours, background) as the reader sees them; "inverted" is light on a dark page."""
    if style != "inverted":
        to_rgb = mpl.colors.to_rgb
        return [to_rgb(c) for c in plots.PALETTE[style]], to_rgb(plots.BACKGROUND[style])
    colours = [plots.css_inverted(c) for c in plots.PALETTE["light"]]
    return colours, plots.css_inverted(plots.BACKGROUND["light"])


STYLES = ("light", "dark", "inverted")


@pytest.mark.parametrize("style", STYLES)
def test_lines_have_contrast(style):
    colours, background = shown(style)
    ratios = [plots.contrast_ratio(colour, background) for colour in colours]
    assert min(ratios) >= 3.0, ratios


@pytest.mark.parametrize("style", STYLES)
def test_text_has_contrast(style):
    base = "light" if style == "inverted" else style
    text, background = plots.TEXT[base], plots.BACKGROUND[base]
    if style == "inverted":
        text, background = plots.css_inverted(text), plots.css_inverted(background)
    assert plots.contrast_ratio(text, background) >= 7.0


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("sight", CVD)
def test_colours_stay_apart(style, sight):
    seen = [lab(colour, sight) for colour in shown(style)[0]]
    apart = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert apart >= 20, f"two colours are only {apart:.1f} apart"  # about 2 is just noticeable


def test_contrast_of_black_and_white_is_21():
    assert plots.contrast_ratio("black", "white") == pytest.approx(21.0)
    assert plots.contrast_ratio("#777777", "#777777") == pytest.approx(1.0)


def test_css_filter_keeps_greys_and_hues():
    assert plots.css_inverted("white") == pytest.approx((0, 0, 0), abs=1e-9)
    grey = plots.css_inverted((0.25, 0.25, 0.25))
    assert grey == pytest.approx((0.75, 0.75, 0.75), abs=0.01)
    red, green, blue = plots.css_inverted("#4656f4")
    assert blue > green and blue > red, "blue must stay blue on a dark page"


def test_every_series_differs_without_colour():
    kinds = [plots._style_of(i) for i in range(5)]
    for key in ("marker", "linestyle", "hatch"):
        assert len({str(kind[key]) for kind in kinds}) == 5


def test_unknown_style():
    with pytest.raises(ValueError, match="'sepia'.*'light' or 'dark'"):
        plots.use_style("sepia")


def test_only_use_style_changes_settings(ax):
    before = dict(mpl.rcParams)  # reading the backend also settles it
    plots.decision_surface(ax, lambda p: p[:, 0], (0, 1), (0, 1), steps=20)
    plots.points(ax, np.eye(2), [0, 1])
    plots.loss_curve(ax, {"a": [1.0, 0.5]})
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("style", ["light", "dark"])
def test_pictures_are_opaque_and_repeatable(style):
    def draw() -> np.ndarray:
        plots.use_style(style)
        figure = Figure()
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        plots.decision_surface(ax, lambda p: p[:, 0] * p[:, 1], (0, 1), (0, 1), steps=30)
        plots.points(ax, np.array([[0.2, 0.2], [0.7, 0.9]]), [0, 1], ["no", "yes"])
        return picture(ax)

    first, second = draw(), draw()
    assert np.array_equal(first, second)
    assert (first[..., 3] == 255).all()
    corner = first[0, 0, :3] / 255
    assert corner == pytest.approx(mpl.colors.to_rgb(plots.BACKGROUND[style]), abs=0.01)


def test_decision_surface_asks_once_and_draws_the_boundary(ax):
    calls = []

    def predict(grid):
        calls.append(grid.shape)
        return 1 / (1 + np.exp(-10 * (grid[:, 0] - 0.5)))

    assert plots.decision_surface(ax, predict, (0, 1), (0, 1), steps=50) is ax
    assert calls == [(2500, 2)]
    lines = [c for c in ax.collections if c.get_zorder() == 1]
    xs = np.concatenate([p.vertices[:, 0] for p in lines[-1].get_paths()])
    assert xs == pytest.approx(np.full(len(xs), 0.5), abs=0.01)


def test_decision_surface_of_a_constant_model(ax, recwarn):
    plots.decision_surface(ax, lambda p: np.full(len(p), 0.5), (0, 1), (0, 1), steps=10)
    picture(ax)
    assert not recwarn.list


def test_decision_surface_of_classes_has_hatches(ax):
    plots.decision_surface(ax, lambda p: (3 * p[:, 0]).astype(int) % 3, (0, 1), (0, 1), classes=3)
    assert picture(ax).any()


def test_decision_surface_refuses_a_wrong_count(ax):
    with pytest.raises(ValueError, match="one value per point"):
        plots.decision_surface(ax, lambda p: np.zeros(3), (0, 1), (0, 1), steps=5)


def test_points_use_a_marker_per_class(ax):
    plots.points(ax, np.arange(6.0).reshape(3, 2), np.array([[0], [1], [2]]))
    paths = {str(each.get_paths()[0].vertices) for each in ax.collections}
    assert len(paths) == 3
    with pytest.raises(ValueError, match=r"\(3, 2\).*\(2,\)"):
        plots.points(ax, np.zeros((3, 2)), [0, 1])


def test_loss_curve_takes_lists_and_pairs(ax):
    plots.loss_curve(ax, {"a": [1.0, 0.5, 0.25], "b": ([0, 10], [1.0, 0.1])})
    assert ax.get_yscale() == "log"
    assert [list(line.get_xdata()) for line in ax.get_lines()] == [[0, 1, 2], [0, 10]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_histogram_counts_everything(ax):
    plots.histogram(ax, {"a": [1, 1, 2], "b": [2, 3]}, bins=[0.5, 1.5, 2.5, 3.5])
    assert [bar.get_height() for bar in ax.patches] == [2, 1, 0, 0, 1, 1]
    assert "1.33 ± 0.577" in ax.get_legend().get_texts()[0].get_text()


def test_confusion_shows_counts_that_can_be_read(ax):
    plots.confusion(ax, np.array([[10, 0], [3, 7]]), ["no", "yes"])
    assert [text.get_text() for text in ax.texts] == ["10", "0", "3", "7"]
    shade = ax.images[0].cmap
    for text, share in zip(ax.texts, (1.0, 0.0, 0.3, 0.7), strict=True):
        assert plots.contrast_ratio(text.get_color(), shade(share)[:3]) >= 4.4
    with pytest.raises(ValueError, match=r"2 classes cannot be \(3, 3\)"):
        plots.confusion(ax, np.eye(3), ["no", "yes"])


def test_text_table():
    table = plots.text_table({"epoch": [0, 1000], "loss": [0.25, 0.001234567], "who": ["a", "b"]})
    assert table.splitlines() == [
        "epoch      loss  who",
        "-----  --------  ---",
        "    0      0.25  a",
        " 1000  0.001235  b",
    ]
    with pytest.raises(ValueError, match="equally long"):
        plots.text_table({"a": [1], "b": []})
